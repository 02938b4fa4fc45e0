/* Where the data comes from: here, out of the page itself. The explorer puts another module in its
   place, viz/explorer/data.js, which exports the same. */

import { unpack } from "./block.js";

/** The server that the page came from: a file has none. */
export const server = null;

/** What is needed to draw. */
export const drawn = () => block("drawn");

/** Everything else that is known; opened once, when it is first asked for. */
export const details = () => (opened ??= block("details"));
let opened;

const block = (id) => unpack(Uint8Array.from(atob(document.getElementById(id).textContent), (character) => character.charCodeAt(0)));
