/* Which organisms have a line of their own: what is filtered out has none, chains of one run fold into
   one line with ticks, five or more like leaves into a counted one, and clades where a person says so. */

import { AGAINST, BUNDLE, GUARDED, PROPOSED, PROTECTED, is, onFront, pedigree, scored, status } from "./forest.js";

export const ORGANISM = 0;
export const ALIKE = 1;
export const CLADE = 2;
export const HIDDEN = 3;
const LIKE = 5;  // so many like leaves fold

/** The filter that leaves everybody. */
export const NOBODY_OUT = { relation: "", status: "", niche: -1, until: null };

/** Lines from top to bottom: `node` (the organism that speaks for it), `kind`, `count` (organisms it
    stands for), `up` (the line of its parent, -1), `last` (the line of its last child, itself for
    none), `first` (the first organism of a folded chain); and `of`, by organism its line or -1. */
export function arrange(forest, view) {
  const { n, size, parent } = forest;
  const [start, end] = view.root >= 0 ? [view.root, view.root + size[view.root]] : [0, n];
  const keep = kept(forest, view, start, end);
  const folding = view.fold ? folds(forest, view, keep, start, end) : null;
  const room = end - start;
  const lines = {
    length: 0, node: new Int32Array(room), kind: new Uint8Array(room), count: new Int32Array(room),
    up: new Int32Array(room), last: new Int32Array(room), first: new Int32Array(room),
    of: new Int32Array(n).fill(-1), keep,
  };
  let waiting = -1;
  for (let i = start; i < end;) {
    if (keep && !keep[i]) { i += size[i]; continue; }
    if (folding?.inner[i]) { if (waiting < 0) waiting = i; i += 1; continue; }
    const bundle = folding ? folding.bundle[i] : 0;
    if (bundle && bundle !== i + 1) { lines.of[i] = lines.of[bundle - 1]; i += 1; continue; }
    const closed = size[i] > 1 && view.folded.has(i);
    const kind = forest.flags[i] & BUNDLE ? HIDDEN : bundle ? ALIKE : closed ? CLADE : ORGANISM;
    const line = lines.length++;
    const head = waiting >= 0 ? waiting : i;
    lines.node[line] = i;
    lines.kind[line] = kind;
    lines.first[line] = head;
    lines.count[line] = kind === HIDDEN ? forest.more[i] : kind === ALIKE ? folding.counts.get(i) : kind === CLADE ? size[i] : 1;
    const above = i === start && view.root >= 0 ? -1 : parent[head];
    lines.up[line] = above < start ? -1 : lines.of[above];
    lines.last[line] = line;
    if (lines.up[line] >= 0) lines.last[lines.up[line]] = line;
    for (let j = head; j <= i; j += 1) lines.of[j] = line;
    waiting = -1;
    if (closed) for (let j = i; j < i + size[i]; j += 1) lines.of[j] = line;
    i += closed ? size[i] : 1;
  }
  for (const key of ["node", "kind", "count", "up", "last", "first"])
    lines[key] = lines[key].subarray(0, lines.length);
  return lines;
}

/** What the filters leave, and all main parents above it; null for everything. */
function kept(forest, view, start, end) {
  const { relation, status: wanted, niche, until } = view.filter;
  const filtered = relation || wanted || niche >= 0 || until !== null;
  const only = view.only >= 0 ? pedigree(forest, view.only) : null;
  if (forest.window || (!filtered && !only && !view.after)) return null;
  const keep = new Uint8Array(forest.n);
  const where = niche >= 0 ? scored(forest, niche).where : null;
  const origin = relation ? forest.origins.indexOf(relation) : -1;
  const at = until === null ? null : forest.axes.time;
  for (let i = end - 1; i >= start; i -= 1) {
    const fits = (!only || only[i])
      && (!relation || forest.origin[i] === origin)
      && (!wanted || forest.statuses[status(forest, i)] === wanted)
      && (!where || where[i] >= 0)
      && (!at || at.at[i] <= until)
      && !(view.after && gone(forest, i));
    if (fits) keep[i] = 1;
    if (keep[i] && forest.parent[i] >= start) keep[forest.parent[i]] = 1;
  }
  return keep;
}

const gone = (forest, i) => is(forest, i, PROPOSED) || status(forest, i) === AGAINST;

/** `inner`: steps of a run between two others. `bundle`: 1 + the first of the like leaves that this
    one is folded with, 0 for none; `counts` by that first one. */
function folds(forest, view, keep, start, end) {
  const { size, parent, origin, flags } = forest;
  const goesOn = forest.origins.indexOf("continue");
  const inner = new Uint8Array(forest.n), bundle = new Uint32Array(forest.n), counts = new Map();
  const plain = (i) => !(flags[i] & (PROTECTED | GUARDED | BUNDLE)) && !view.opened.has(i)
    && !forest.further.above.has(i) && !forest.further.below.has(i);
  const front = frontOf(forest, view);
  const alone = (i) => size[i] > 1 && size[i + 1] === size[i] - 1;
  let group = new Map(), above = -1;
  for (let i = start; i < end; i += 1) {
    if (keep && !keep[i]) { i += size[i] - 1; continue; }
    if (goesOn > 0 && origin[i] === goesOn && i > start && alone(i) && origin[i + 1] === goesOn && plain(i))
      inner[i] = 1;
    if (size[i] > 1 || parent[i] < 0 || !plain(i) || front(i) || view.opened.has(parent[i])) continue;
    if (parent[i] !== above) { close(group, bundle, counts); group = new Map(); above = parent[i]; }
    const key = origin[i] * 4 + status(forest, i);
    const like = group.get(key);
    if (like) like.push(i); else group.set(key, [i]);
  }
  close(group, bundle, counts);
  return { inner, bundle, counts };
}

function close(group, bundle, counts) {
  for (const like of group.values()) {
    if (like.length < LIKE) continue;
    for (const i of like) bundle[i] = like[0] + 1;
    counts.set(like[0], like.length);
  }
}

/** Who is on the front of the niche shown is never folded away. */
function frontOf(forest, view) {
  if (view.niche < 0) return () => false;
  scored(forest, view.niche);
  return (i) => onFront(forest, view.niche, i);
}

/** Opens whatever hides organism i; whether anything changed. */
export function reveal(forest, view, lines, i) {
  let changed = false;
  for (let j = forest.parent[i]; j >= 0; j = forest.parent[j]) changed = view.folded.delete(j) || changed;
  const line = lines.of[i];
  if (line >= 0 && lines.node[line] !== i && !changed) {
    view.opened.add(lines.kind[line] === ALIKE ? forest.parent[i] : i);
    return true;
  }
  if (line < 0 && !changed && hides(forest, view, i)) {
    view.filter = NOBODY_OUT;
    view.root = -1;
    view.only = -1;
    view.after = false;
    return true;
  }
  return changed;
}

const hides = (forest, view) => view.root >= 0 || view.only >= 0 || view.after
  || view.filter.relation || view.filter.status || view.filter.niche >= 0 || view.filter.until !== null;
