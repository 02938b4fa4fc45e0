/* Lines thinner than a pixel, added up beforehand: level k holds a stripe for every 2^k lines, so that
   a frame draws as many stripes as there are pixels, however many organisms there are. */

import { AGAINST, ALIVE, CULLED, goodness, shownValue, status } from "./forest.js";

/** Levels of {from, to, good, gone, power, heat: [by column]}: the leftmost parent and the rightmost
    organism of a stripe, mean goodness (NaN for none) of the colour and of each niche in `columns`, the
    share that is selected against or culled, and mean power. */
export function aggregate(forest, lines, x, good, columns) {
  const n = lines.length;
  const level = { n, from: new Float32Array(n), to: new Float32Array(n), good: new Float32Array(n), gone: new Float32Array(n), power: new Float32Array(n), heat: columns.map(() => new Float32Array(n)) };
  for (let line = 0; line < n; line += 1) {
    const i = lines.node[line], up = lines.up[line];
    level.to[line] = x[i];
    level.from[line] = up < 0 ? x[i] : x[lines.node[up]];
    level.good[line] = good(i) ?? NaN;
    const state = status(forest, i);
    level.gone[line] = state === AGAINST || state === CULLED ? 1 : 0;
    level.power[line] = forest.unit[i] === 0 ? forest.power[i] : NaN;
    if (forest.window) many(forest, level, line, i);
  }
  columns.forEach((k, c) => {
    for (let line = 0; line < n; line += 1) {
      const i = lines.node[line], many = forest.count?.[i] > 1;
      level.heat[c][line] = (many || status(forest, i) === ALIVE ? goodness(forest, k, shownValue(forest, k, i)) : null) ?? NaN;
    }
  });
  const levels = [level];
  while (levels[levels.length - 1].n > 256) levels.push(halved(levels[levels.length - 1]));
  return levels;
}

/** A row that stands for many: from the parents of the oldest in it to the youngest. */
function many(forest, level, line, i) {
  if (forest.count[i] === 1) return;
  level.from[line] = Math.max(0, forest.low[i] - 1);
  level.to[line] = forest.high[i];
  level.gone[line] = (forest.against[i] + forest.culled[i]) / forest.count[i];
  level.power[line] = NaN;  // what one of so many costs says little of the rest
}

function halved(level) {
  const n = Math.ceil(level.n / 2);
  const next = { n, from: new Float32Array(n), to: new Float32Array(n), good: mean(level.good, n), gone: mean(level.gone, n), power: mean(level.power, n), heat: level.heat.map((one) => mean(one, n)) };
  for (let i = 0; i < n; i += 1) {
    const a = 2 * i, b = Math.min(a + 1, level.n - 1);
    next.from[i] = Math.min(level.from[a], level.from[b]);
    next.to[i] = Math.max(level.to[a], level.to[b]);
  }
  return next;
}

function mean(values, n) {
  const found = new Float32Array(n);
  for (let i = 0; i < n; i += 1) {
    const a = values[2 * i], b = 2 * i + 1 < values.length ? values[2 * i + 1] : NaN;
    found[i] = Number.isNaN(a) ? b : Number.isNaN(b) ? a : (a + b) / 2;
  }
  return found;
}

/** Level by level which stripes hold a line that is lit. */
export function litStripes(lines, lit, levels) {
  let own = Uint8Array.from(lines.node, (i) => lit[i]);
  return levels.map(({ n }, k) => {
    if (k) { const below = own; own = Uint8Array.from({ length: n }, (_, s) => below[2 * s] | (below[2 * s + 1] ?? 0)); }
    return own;
  });
}

/** The lines with children, those first whose children reach furthest down. */
export function spans(lines) {
  const found = [];
  for (let line = 0; line < lines.length; line += 1) if (lines.last[line] > line) found.push(line);
  const reach = (line) => lines.last[line] - line;
  return Int32Array.from(found.sort((a, b) => reach(b) - reach(a)));
}
