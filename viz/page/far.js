/* A window on a family that is too large for a page: rows are organisms or stripes of many, and have
   positions in the whole. What the view shows is asked of the server, before it is reached. */

export const CROWD = 500000;  // scores in a niche from which on nobody is judged for the page: it would take seconds
export const PIECE = 20000;   // organisms that can be drawn in one piece

const BESIDE = 0.6;   // of what is seen, fetched on either side of it
const EDGE = 0.25;    // of what is seen, left before more is fetched
const COARSE = 0.8;   // px a row below which rows stand for four times as many
const FINE = 4.5;     // px a row above which they stand for a fourth

/** The position at a place among the rows, which may be a fraction. */
function positionAt({ pos, count, n }, row) {
  const i = Math.max(0, Math.min(n - 1, Math.floor(row)));
  return pos[i] + (row - i) * count[i];
}

/** The place among the rows of a position. */
export function rowAt({ pos, count, n, window }, position) {
  let low = window.above, high = n - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (pos[middle] <= position) low = middle; else high = middle - 1;
  }
  return low + (position - pos[low]) / count[low];
}

/** What the view shows: the first position and how many. */
export function seen({ forest, view, height }) {
  const first = positionAt(forest, view.top), last = positionAt(forest, view.top + height / view.h);
  return { first, span: Math.max(1, last - first) };
}

/** How many organisms a row stands for where so many pixels show so many. */
export const stands = (span, height) => 4 ** Math.max(0, Math.ceil(Math.log(span / height) / Math.log(4)));

/** The window to ask for; null while the one that is there does. */
export function wanted(app) {
  const { window } = app.forest, { first, span } = seen(app);
  const each = stands(span, app.height), px = (app.height / span) * window.each;
  const fits = each === window.each || (px > COARSE && px < FINE);
  const low = first - EDGE * span < window.start && window.start > window.first;
  const high = first + (1 + EDGE) * span > window.end && window.end < window.last;
  return fits && !low && !high ? null : around(app, first, span, fits ? window.each : each);
}

/** The window that shows `span` positions from `first` on. */
export function around({ forest, height }, first, span, each = stands(span, height)) {
  const { window } = forest;
  const start = Math.max(window.first, Math.floor(first - BESIDE * span));
  const end = Math.min(window.last, Math.ceil(first + (1 + BESIDE) * span));
  return rowsOf({ start, end, each });
}

/** What to ask for, so that each row from `start` to `end` stands for `each`. */
export const rowsOf = ({ start, end, each }) => ({ start, end, rows: Math.max(1, Math.ceil((end - start + 1) / each)) });

/** By row the best score of those it stands for, out of what the server says of its rows; NaN for none. */
export function bestByRow({ n, pos, count, window: { above } }, { start, each, best }) {
  const first = Math.floor(start / each);
  return Float32Array.from({ length: n }, (_, i) => (i < above || count[i] === 1 ? NaN : best[Math.floor(pos[i] / each) - first] ?? NaN));
}

/** An organism of the API as it is called here. */
export const named = ({ id, name, ref, version }) => ({ id, name: name && version === 1 ? name : ref });

/** By status how many a row stands for. */
export function ofStatus({ statuses, alive, against, culled, count }, status, i) {
  const known = [alive[i], against[i], culled[i]], k = statuses.indexOf(status);
  return k < known.length ? known[k] : count[i] - known.reduce((sum, one) => sum + one, 0);
}

/** The rows that hold somebody of a status. */
export function holding(forest, status) {
  const found = [];
  for (let i = 0; i < forest.n; i += 1) if (ofStatus(forest, status, i)) found.push(i);
  return found;
}

/** The axis of a window: from 0 to a power of two, so that it stays while one moves about. */
export function axisOf(forest) {
  let most = 8;
  for (let i = 0; i < forest.n; i += 1) while (forest.high[i] > most) most *= 2;
  return { low: 0, high: most, log: most > 64 };
}
