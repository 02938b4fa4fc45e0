/* Where the data comes from in the explorer: from the server that gave the page, window by window.
   Addresses are relative, so that each keeps the token that the page's own address begins with. */

import { unpack } from "./block.js";

const SAID = 6;  // references of parents that are spelled out
const wanted = new URLSearchParams(location.search);
const asked = new URLSearchParams(["ref", "niche", "limit"].filter((key) => wanted.has(key)).map((key) => [key, wanted.get(key)]));
let version = null;  // of the window that is drawn: its details must be of the same

async function ask(path, parameters = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(parameters)}`);
  if (!answer.ok) throw new Error((await answer.json()).error);
  return answer;
}

const window_ = async (part, more) => unpack(await (await ask(`api/window/${part}`, { ...Object.fromEntries(asked), ...more })).arrayBuffer());

let place = {};  // the window that is drawn: {start, end, rows} or {at, rows}; empty for the whole

/** What is needed to draw; of a family too large for a page, a window. */
export async function drawn(where = {}) {
  const block = await window_("drawn", where);
  version = block.version;
  place = where;
  opened = null;
  return block;
}

/** Everything else that is known of what is drawn; fetched once, when it is first asked for. */
export const details = () => (opened ??= window_("details", { ...place, version }));
let opened = null;

const from = (ref, limit) => `?${new URLSearchParams({ ...Object.fromEntries(asked), ...(ref && { ref }), ...(limit && { limit }) })}`;

export const server = {
  /** The address of the page that draws the family of an organism. */
  from: (id) => from(`#${id}`),
  /** The address of the page that draws up to so many in one piece: a family, or what this page is of. */
  piece: (limit, id) => from(id && `#${id}`, limit),
  /** The address of the page of the whole forest; empty where this is it. */
  forest: () => (asked.has("ref") ? location.pathname : ""),
  /** Organisms of the whole registry that a text finds: {id, label}. */
  search: async (q) => (await (await ask("api/search", { q })).json()).organisms,
  /** The whole of a large family, for the map; what is drawn stays what details are asked of. */
  whole: () => window_("drawn"),
  /** Why an organism lives, judged by the server, and its places. */
  explain: async (id) => (await ask("api/explain", { ref: `#${id}` })).json(),
  /** Who competes in a niche: the front whole, and some of the others. */
  competition: async ({ task, metric, split }) => (await ask("api/niche", { niche: `${task}/${metric}`, split })).json(),
  /** The best score in each row of a window. */
  best: async ({ task, metric, split }, { start, end, each }) =>
    (await ask("api/fitness", { ...Object.fromEntries(asked), niche: `${task}/${metric}`, split, start, end, each })).json(),
  /** Parents of an organism, drawn or not: {id, name, relation}. */
  parents: async (id) => (await (await ask("api/organism", { ref: `#${id}` })).json()).parents.slice(0, SAID)
    .map(({ parent, relation }) => ({ id: parent.id, name: parent.ref, relation })),
  /** Calls `tell` after something was recorded. */
  changes: (tell) => {
    const source = new EventSource("api/changes");
    source.addEventListener("change", ({ data }) => { if (Number(data) > version) tell(); });
  },
};
