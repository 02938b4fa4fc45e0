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

function block(id) {
  const text = atob(document.getElementById(id).textContent), bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i += 1) bytes[i] = text.charCodeAt(i);
  return unpack(bytes);
}
