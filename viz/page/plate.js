/* Draws the plate: the phylogram on the left, the table on the right, one organism a line. The pen is a
   canvas context, or what writes SVG; the scene says what is where. Only what is seen is drawn. */

import { AGAINST, ALIVE, CULLED, ESTIMATED, GHOST, PROPOSED, PROTECTED, BEARING, cladeOf, goodness, is, onFront, originOf, scored, shownValue, status } from "./forest.js";
import { ALIKE, CLADE, HIDDEN, ORGANISM } from "./lines.js";
import { contrast, shade } from "./colours.js";
import { count, figure, moment, short, si, ticks, timeTicks } from "./words.js";

export const NEAR = 10;     // px a line from which on there are words
const FINE = 2;      // px a line below which lines melt into stripes
export const MARGIN = 26;   // px beside the first and the last organism
const EDGE = 4;             // px between the edge of the tree and what curves reach
const SHAPES = { quantized: "square", prune: "square", convert: "square", merge: "diamond", adapter: "triangle" };

/** Columns from the right edge of the tree: [{key, x, width, k}], chosen by the user, as many as fit. */
export function columns(view, width, wide, forest) {
  const narrow = width < 560;
  if (forest.window?.each > 1) return fewColumns(narrow ? width : width - 30, narrow ? 128 : Math.min(wide.name, 260), narrow, view.niche, wide);
  const several = forest.units.length > 1, bill = narrow ? (several ? 98 : 64) : several ? wide.power : 112;  // a figure cut short would be another
  const name = Math.min(wide.name, narrow ? Math.max(76, width - 154 - bill) : width > 880 ? 290 : 230);
  const wanted = [{ key: "name", width: name }];
  if (!narrow && view.shown.has("relation")) wanted.push({ key: "relation", width: 84 });
  if (!narrow && view.shown.has("status")) wanted.push({ key: "status", width: wide.status });
  const niches = narrow ? [view.niche].filter((k) => k >= 0) : view.columns;
  for (const k of niches) wanted.push({ key: "niche", k, width: 62 });
  if (view.shown.has("power")) wanted.push({ key: "power", width: bill });
  const least = narrow ? 92 : Math.max(200, width * 0.25);
  const total = () => wanted.reduce((sum, one) => sum + one.width, 0);
  if (!narrow) wanted[0].width = Math.max(Math.min(name, 220), Math.min(name, name - (total() + least - width)));
  while (wanted.length > 2 && width - total() < least) wanted.splice(dropped(wanted, view), 1);
  const heats = wanted.filter(({ key }) => key === "niche"), spare = Math.max(0, width - total() - least) / (heats.length || 1);
  for (const one of heats) one.width = Math.min(one.width + spare, Math.max(one.width, wide.niche(one.k)));
  const tree = Math.max(least, Math.min(width - total(), narrow ? width : Math.max(480, width * 0.46)));
  let x = tree;
  for (const one of wanted) { one.x = x; x += one.width; }
  return { tree, table: wanted, right: x };
}

/** Where a row stands for many there is little to say of it, and the tree has the room. */
function fewColumns(width, name, narrow, k, wide) {
  const table = [{ key: "name", width: name }, ...(narrow ? [] : [{ key: "relation", width: 128 }, { key: "status", width: 96 }]), ...(k < 0 ? [] : [{ key: "niche", k, width: narrow ? 62 : Math.max(62, wide.niche(k)) }])];
  const tree = Math.max(92, width - table.reduce((sum, one) => sum + one.width, 0));
  let x = tree;
  for (const one of table) { one.x = x; x += one.width; }
  return { tree, table, right: x };
}

/** Which column goes first where there is no room: a niche that does not colour, then status, ... */
function dropped(wanted, view) {
  for (let i = wanted.length - 1; i > 0; i -= 1) if (wanted[i].key === "niche" && wanted[i].k !== view.niche) return i;
  const order = ["status", "relation", "power", "niche"];
  return wanted.findIndex((one) => one.key === order.find((key) => wanted.some((other) => other.key === key)));
}

/** Everything between the head and the foot of the plate. */
export function paint(pen, scene) {
  const { view, lines, height } = scene;
  const first = Math.max(0, Math.floor(view.top)), last = Math.min(lines.length - 1, Math.ceil(view.top + height / view.h));
  if (!lines.length) return;
  if (view.h >= FINE) {
    bands(pen, scene);
    inTree(pen, scene, () => { grid(pen, scene); branches(pen, scene, first, last); further(pen, scene, first, last); lit(pen, scene, first, last); nodes(pen, scene, first, last); });
    table(pen, scene, first, last);
  } else {
    stripes(pen, scene, first, last);
  }
  if (view.h < NEAR) labels(pen, scene);
}

const yOf = (scene, line) => (line - scene.view.top + 0.5) * scene.view.h;

function inTree(pen, scene, draw) {
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, scene.geo.tree - 2, scene.height);
  pen.clip();
  draw();
  pen.restore();
}

function stroke(pen, colour, width, dashes, path) {
  pen.strokeStyle = colour;
  pen.lineWidth = width;
  pen.setLineDash(dashes);
  pen.beginPath();
  path();
  pen.stroke();
  if (dashes.length) pen.setLineDash([]);
}

function bands(pen, scene) {
  const { view, theme, lines, geo } = scene;
  for (const [i, colour] of [[scene.hover, theme.mute], [view.other, theme.band], [view.chosen, theme.band]]) {
    const line = i >= 0 ? lines.of[i] : -1;
    if (line < 0) continue;
    pen.fillStyle = colour;
    pen.fillRect(0, yOf(scene, line) - view.h / 2, geo.right + 12, view.h);
  }
}

function grid(pen, scene) {
  const { theme, height, lines, view } = scene;
  const bottom = Math.min(height, (lines.length - view.top) * view.h);
  stroke(pen, theme.hair, 1, [], () => {
    for (const one of scene.ticks) { pen.moveTo(one.x, 0); pen.lineTo(one.x, bottom); }
  });
}

/** Elbows to the main parents; where the axis is not known of a child, dashed. */
function branches(pen, scene, first, last) {
  const { view, theme, lines, xs } = scene;
  const bend = Math.min(5, view.h * 0.32), plain = [], dashed = [];
  for (let line = first; line <= last; line += 1) {
    const up = lines.up[line];
    if (up < 0) continue;
    const unsure = !scene.sure[lines.node[line]] || status(scene.forest, lines.node[up]) === GHOST;
    (unsure ? dashed : plain).push(line);
  }
  const arms = (which) => () => {
    for (const line of which) {
      const px = xs(lines.node[lines.up[line]]), x = xs(lines.node[line]), y = yOf(scene, line);
      const r = Math.min(bend, Math.max(0, (x - px) / 2));
      pen.moveTo(px, y - r);
      pen.quadraticCurveTo(px, y, px + r, y);
      pen.lineTo(x, y);
    }
  };
  const faded = scene.fading ? 0.45 : 1;
  pen.globalAlpha = faded;
  stroke(pen, theme.branch, 1.1, [], () => {
    arms(plain)();
    for (const line of trunks(lines, first, last)) {
      const x = xs(lines.node[line]);
      pen.moveTo(x, Math.max(-4, yOf(scene, line)));
      pen.lineTo(x, Math.min(scene.height + 4, yOf(scene, lines.last[line]) - bend));
    }
  });
  if (dashed.length) stroke(pen, theme.branch, 1.1, [3, 3], arms(dashed));
  pen.globalAlpha = 1;
  runs(pen, scene, first, last);
}

/** Lines whose trunk down to their children is seen: those in the window, and ancestors of the first. */
function* trunks(lines, first, last) {
  for (let line = first; line <= last; line += 1) if (lines.last[line] > line) yield line;
  for (let line = lines.up[first]; line >= 0; line = lines.up[line]) if (lines.last[line] >= first) yield line;
}

/** A tick for each step of a run that is folded. */
function runs(pen, scene, first, last) {
  const { lines, xs, theme, view } = scene, arm = Math.min(4, view.h * 0.28);
  stroke(pen, theme.soft, 1.1, [], () => {
    for (let line = first; line <= last; line += 1) {
      const from = lines.first[line], to = lines.node[line], every = Math.max(1, Math.ceil((to - from) / 60));
      for (let i = from; i < to; i += every) {
        const x = xs(i), y = yOf(scene, line);
        pen.moveTo(x, y - arm); pen.lineTo(x, y + arm);
      }
    }
  });
}

const MOST_CURVES = 160;

/** Further parents: dotted, in the accent, as wide as their share; the chosen organism's in full. */
function further(pen, scene, first, last) {
  const { forest, view, lines, theme } = scene;
  const { child, parent } = forest.further;
  const shown = [];
  for (let number = 0; number < child.length && shown.length < MOST_CURVES; number += 1) {
    const a = lines.of[child[number]], b = lines.of[parent[number]];
    const own = touches(scene, child[number], parent[number]);
    if (a < 0 || b < 0 || a === b) continue;
    const seen = (line) => line >= first && line <= last;
    if (own ? Math.max(a, b) < first || Math.min(a, b) > last : view.h < 6 || !(seen(a) || seen(b))) continue;
    shown.push([number, own]);
  }
  pen.lineCap = "round";
  for (const [number, own] of shown) curve(pen, scene, number, own);
  pen.lineCap = "butt";
}

const touches = (scene, child, parent) => {
  const { chosen } = scene.view;
  return chosen >= 0 && (child === chosen || parent === chosen || (scene.ancestors?.[child] === 1 && scene.ancestors[parent] === 1));
};

function curve(pen, scene, number, own) {
  const { forest, lines, xs, theme, view } = scene;
  const { child, parent, weight } = forest.further;
  const x = xs(child[number]), y = yOf(scene, lines.of[child[number]]);
  const px = xs(parent[number]), py = yOf(scene, lines.of[parent[number]]);
  const reach = Math.max(16, Math.abs(x - px) * 0.55), share = weight[number];
  const left = EDGE - view.px, right = left + (scene.geo.tree - 2 * MARGIN) * view.zx + 2 * (MARGIN - EDGE);  // no curve leaves the tree
  pen.globalAlpha = own || (view.chosen < 0 && !scene.fading) ? 0.95 : 0.3;
  stroke(pen, theme.accent, 0.9 + 1.8 * Math.min(1, Number.isNaN(share) ? 0.5 : Math.abs(share)), own ? [] : [0.1, 3.6], () => {
    const [[a, b], ...rest] = within([px, Math.min(px + reach, right), Math.max(x - reach, left), x], py, y, scene.height);
    pen.moveTo(a, b);
    pen.bezierCurveTo(...rest.flat());
  });
  pen.globalAlpha = 1;
}

/** The part of such a curve that is seen, as its four points: dots far outside would cost most of a frame.
    Its ends are level, so that y runs as 3t² - 2t³ of the way (smoothstep), which has an inverse. */
function within(xs, from, to, height) {
  const inverse = (y) => 0.5 - Math.sin(Math.asin(1 - 2 * Math.min(1, Math.max(0, (y - from) / (to - from || 1)))) / 3);
  const [start, end] = [inverse(-40), inverse(height + 40)].sort((a, b) => a - b), ys = [from, from, to, to];
  const mix = (a, b, t) => a + (b - a) * t;
  const blossom = ([a, b, c, d], r, s, t) => mix(mix(mix(a, b, r), mix(b, c, r), s), mix(mix(b, c, r), mix(c, d, r), s), t);
  return [[start, start, start], [start, start, end], [start, end, end], [end, end, end]].map((at) => [blossom(xs, ...at), blossom(ys, ...at)]);
}

/** In ink, over everything: the main line down to the chosen organism, and to the one it is compared with. */
function lit(pen, scene, first, last) {
  const { view, lines, xs, theme, forest } = scene;
  stroke(pen, theme.ink, 1.9, [], () => {
    for (const end of [view.chosen, view.other]) {
      for (let i = end; i >= 0 && lines.of[i] >= 0 && forest.parent[i] >= 0; i = forest.parent[i]) {
        const line = lines.of[i], up = lines.up[line];
        if (up < 0) break;
        i = lines.first[line];
        const y = yOf(scene, line), py = yOf(scene, up);
        if (y < -8 || py > scene.height + 8) continue;
        const px = xs(lines.node[up]), r = Math.min(5, view.h * 0.32);
        pen.moveTo(px, Math.max(-6, py));
        pen.lineTo(px, Math.min(scene.height + 6, y - r));
        pen.quadraticCurveTo(px, y, Math.min(px + r, xs(lines.node[line])), y);
        pen.lineTo(xs(lines.node[line]), y);
      }
    }
  });
}

// ---- organisms ---------------------------------------------------------------------------------

export const shapeOf = (forest, i) => SHAPES[originOf(forest, i)] ?? "dot";

function radius(scene, i) {
  const { view, forest } = scene;
  const size = Math.max(0.9, Math.min(5, view.h * 0.29));
  if (view.size === "same" || view.h < 4) return size;
  const value = forest.count?.[i] > 1 && view.size !== "clade" ? NaN : view.size === "clade" ? Math.log2(cladeOf(forest, i)) / Math.log2((forest.window ? forest.window.last - forest.window.first : forest.n) + 2)
    : view.size === "power" ? forest.power[i] / scene.mostPower
      : Math.log10(scene.details?.parameters[i] ?? NaN) / 11;
  return Number.isNaN(value) ? size * 0.6 : size * (0.55 + 1.1 * Math.min(1, Math.max(0, value)));
}

function nodes(pen, scene, first, last) {
  for (let line = first; line <= last; line += 1) node(pen, scene, line);
}

function node(pen, scene, line) {
  const { lines, forest, theme, view } = scene;
  const i = lines.node[line], kind = lines.kind[line], x = scene.xs(i), y = yOf(scene, line);
  if (x < -12 || x > scene.geo.tree + 12) return;
  pen.globalAlpha = scene.dim(i, 0.32);
  if (kind === HIDDEN || kind === ALIKE) dots(pen, scene, x, y);
  else if (kind === CLADE) wedge(pen, scene, i, x, y);
  else mark(pen, scene, i, x, y, radius(scene, i));
  pen.globalAlpha = 1;
  if (i === view.chosen || i === view.other) stroke(pen, theme.ink, 1.8, [], () => circle(pen, x, y, radius(scene, i) + 2.6));
}

function circle(pen, x, y, r) { pen.moveTo(x + r, y); pen.arc(x, y, r, 0, 2 * Math.PI); }

export function outline(pen, shape, x, y, r) {
  if (shape === "square") pen.rect(x - r * 0.88, y - r * 0.88, r * 1.76, r * 1.76);
  else if (shape === "diamond") { pen.moveTo(x, y - r * 1.25); pen.lineTo(x + r * 1.25, y); pen.lineTo(x, y + r * 1.25); pen.lineTo(x - r * 1.25, y); pen.closePath(); }
  else if (shape === "triangle") { pen.moveTo(x, y - r * 1.2); pen.lineTo(x + r * 1.15, y + r * 0.85); pen.lineTo(x - r * 1.15, y + r * 0.85); pen.closePath(); }
  else circle(pen, x, y, r);
}

function mark(pen, scene, i, x, y, r) {
  const { forest, theme, view } = scene;
  const state = status(forest, i), colour = state === CULLED || state === GHOST ? null : scene.paint.of(i);
  pen.fillStyle = colour ?? theme.paper;
  pen.strokeStyle = colour && contrast(colour, theme.paper) > 1.9 ? colour : theme.faint;
  pen.lineWidth = 1.1;
  pen.setLineDash(state === CULLED || state === GHOST ? [2, 1.8] : []);
  pen.beginPath();
  outline(pen, shapeOf(forest, i), x, y, r);
  pen.fill();
  if (view.h >= 4) pen.stroke();
  pen.setLineDash([]);
  const goes = view.plan && is(forest, i, PROPOSED);
  if ((state === AGAINST || goes) && view.h >= 6) {
    const arm = r * 0.5;
    stroke(pen, goes ? theme.accent : theme.soft, goes ? 1.6 : 1.1, [], () => {
      pen.moveTo(x - arm, y - arm); pen.lineTo(x + arm, y + arm);
      pen.moveTo(x - arm, y + arm); pen.lineTo(x + arm, y - arm);
    });
  }
}

function dots(pen, scene, x, y) {
  const r = Math.min(1.6, scene.view.h * 0.1);
  pen.fillStyle = scene.theme.soft;
  pen.beginPath();
  for (const dx of [-4.5, 0, 4.5]) circle(pen, x + dx, y, r);
  pen.fill();
}

/** A folded clade: a wedge as long as the clade reaches. */
function wedge(pen, scene, i, x, y) {
  const { forest, theme, view } = scene;
  let far = x;
  const every = Math.max(1, Math.floor(forest.size[i] / 500));
  for (let j = i; j < i + forest.size[i]; j += every) far = Math.max(far, scene.xs(j));
  const half = Math.min(6, view.h * 0.38), end = Math.max(x + 14, Math.min(far, scene.geo.tree - 8));
  pen.fillStyle = scene.paint.of(i) ?? theme.mute;
  pen.strokeStyle = theme.soft;
  pen.lineWidth = 1.1;
  pen.beginPath();
  pen.moveTo(x - 3, y); pen.lineTo(end, y - half); pen.lineTo(end, y + half); pen.closePath();
  pen.fill();
  pen.stroke();
}

// ---- the table ---------------------------------------------------------------------------------

function table(pen, scene, first, last) {
  const { view, theme, geo } = scene;
  if (view.h >= NEAR) leaders(pen, scene, first, last);
  const size = Math.min(13, Math.max(8, view.h * 0.74));
  const fonts = { plain: `${size}px ${theme.font}`, bold: `650 ${size}px ${theme.font}`, small: `${size * 0.92}px ${theme.font}`, quiet: `italic ${size}px ${theme.font}` };
  pen.textBaseline = "middle";
  const most = scene.mostPower;
  for (const column of geo.table) {
    if (column.key === "niche") { cells(pen, scene, column, first, last, fonts); continue; }
    if (view.h < NEAR && column.key !== "power") continue;
    for (let line = first; line <= last; line += 1) {
      const i = scene.lines.node[line], y = yOf(scene, line);
      pen.globalAlpha = scene.dim(i, 0.42);
      if (column.key === "name") name(pen, scene, line, column, y, fonts);
      else if (column.key === "relation") write(pen, scene.said(line, "relation"), column.x, y, column.width - 8, fonts.small, theme.soft);
      else if (column.key === "status") write(pen, marks(scene, line), column.x, y, column.width - 8, fonts.small, theme.soft);
      else if (column.key === "power") power(pen, scene, line, column, y, fonts, most);
    }
    pen.globalAlpha = 1;
  }
}

function leaders(pen, scene, first, last) {
  const { theme, geo, lines } = scene;
  stroke(pen, theme.hair, 1, [1, 3], () => {
    for (let line = first; line <= last; line += 1) {
      const x = scene.xs(lines.node[line]) + 10, y = Math.round(yOf(scene, line)) + 0.5;
      if (x < geo.tree - 10) { pen.moveTo(Math.max(0, x), y); pen.lineTo(geo.tree - 6, y); }
    }
  });
}

/** Text cut to its column, the cut shown; right-to-left text starts where the column does. */
function write(pen, text, x, y, room, font, colour, tail = 0) {
  if (!text) return 0;
  pen.font = font;
  pen.fillStyle = colour;
  pen.textAlign = "left";
  const cut = fitted(pen, text, room, font, tail);
  pen.fillText(cut, x, y + 0.5);
  return cut.length;
}

const widths = new Map();

/** Letters of a name that stay where it is cut: versions and steps are at the end. */
const tailOf = (room) => (room < 120 ? 0 : Math.floor(room / 40));

/** As much of a text as there is room for, with so many letters of its end. Measured once for a text, a font
    and a room: a frame writes hundreds. */
export function fitted(pen, text, room, font, tail = 0) {
  const key = `${font}|${room}|${tail}|${text.length > 300 ? text.slice(0, 300) : text}`;
  let cut = widths.get(key);
  if (cut !== undefined) return cut;
  cut = text.length > 200 ? `${text.slice(0, 200)}…` : text;
  if (pen.measureText(cut).width > room) {
    const end = tail && text.length <= 200 ? `…${text.slice(-tail).replace(/^[\udc00-\udfff]/, "")}` : "…";
    let low = 0, high = cut.length - tail;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (pen.measureText(`${cut.slice(0, middle)}${end}`).width <= room) low = middle; else high = middle - 1;
    }
    if (low && /[\ud800-\udbff]/.test(cut[low - 1])) low -= 1;
    cut = `${cut.slice(0, low)}${end}`;
  }
  if (widths.size > 20000) widths.clear();
  widths.set(key, cut);
  return cut;
}

function name(pen, scene, line, column, y, fonts) {
  const { forest, lines, view, theme } = scene;
  const i = lines.node[line], kind = lines.kind[line], state = status(forest, i);
  const folded = kind !== ORGANISM || state === GHOST;
  const quiet = folded || state !== ALIVE;
  const font = i === view.chosen ? fonts.bold : folded && kind !== CLADE ? fonts.quiet : fonts.plain;
  const text = scene.said(line, "name"), room = column.width - 10;
  write(pen, text, column.x, y, room, font, quiet ? theme.faint : theme.ink, tailOf(room));
  if (kind === ORGANISM && (state === AGAINST || (view.plan && is(forest, i, PROPOSED)))) {
    const width = pen.measureText(fitted(pen, text, room, font, tailOf(room))).width;
    stroke(pen, state === AGAINST ? theme.faint : theme.accent, 1, [], () => { pen.moveTo(column.x, y + 0.5); pen.lineTo(column.x + width, y + 0.5); });
  }
}

export function marks({ forest, lines, view }, line) {
  if (lines.kind[line] === ALIKE || lines.kind[line] === HIDDEN) return "";
  return marked(forest, forest.flags[lines.node[line]], view.plan);
}

/** What the flags of an organism say, in words. */
export function marked({ statuses }, flags, plan) {
  const state = flags & 3;
  return [
    state === AGAINST ? "✕ selected against" : state === ALIVE ? "" : statuses[state],
    plan && flags & PROPOSED ? "✕ would go" : "",
    flags & PROTECTED ? "◆ protected" : "", flags & BEARING ? "load-bearing" : "",
  ].filter(Boolean).join(" · ");
}

function cells(pen, scene, column, first, last, fonts) {
  const { forest, theme, view, lines } = scene, { digits } = scored(forest, column.k);
  const gap = view.h >= 14 ? 2 : view.h >= 8 ? 1 : 0;
  pen.textAlign = "center";
  for (let line = first; line <= last; line += 1) {
    const i = lines.node[line], many = forest.count?.[i] > 1;
    if (lines.kind[line] === ALIKE || (lines.kind[line] === HIDDEN && !many)) continue;
    const value = shownValue(forest, column.k, i);
    if (value === null) continue;
    const alive = many || status(forest, i) === ALIVE, good = alive ? goodness(forest, column.k, value) : null;
    const y = yOf(scene, line);
    pen.globalAlpha = scene.dim(i, 0.42);
    pen.fillStyle = good === null ? theme.mute : theme.scale[shade(good)];
    pen.fillRect(column.x + 1.5, y - view.h / 2 + gap / 2, column.width - 3, Math.max(0.7, view.h - gap));
    if (view.h < NEAR) continue;
    pen.font = alive && onFront(forest, column.k, i) ? fonts.bold.replace("650", "750") : fonts.small;
    pen.fillStyle = good === null ? theme.soft : theme.letters[shade(good)];
    pen.fillText(figure(value, digits), column.x + column.width / 2, y + 0.5);
  }
  pen.globalAlpha = 1;
  pen.textAlign = "left";
}

function power(pen, scene, line, column, y, fonts, most) {
  const { forest, theme, view, lines } = scene, i = lines.node[line];
  const value = forest.power[i];
  if (Number.isNaN(value) || lines.kind[line] === ALIKE || lines.kind[line] === HIDDEN) return;
  const one = forest.units.length === 1, bar = column.width > 80 ? 46 : 0;
  if (one && bar) {
    pen.fillStyle = status(forest, i) === ALIVE ? theme.bar : theme.hair;
    const thick = Math.min(5, view.h * 0.5);
    pen.fillRect(column.x + 10, y - thick / 2, Math.max(2, (bar * value) / most), thick);
  }
  if (view.h < NEAR) return;
  const x = !one || !bar ? 6 : 16 + bar;
  write(pen, billed(forest, i), column.x + x, y, column.width - x, fonts.small, theme.soft);
}

/** What serving i costs; with its unit, where there are several or it shall be `whole`. */
export function billed(forest, i, whole = forest.units.length > 1) {
  const unit = forest.units[forest.unit[i]];
  return (is(forest, i, ESTIMATED) ? "~" : "") + figure(forest.power[i], unit.digits) + (whole ? ` ${unit.unit}` : "");
}

// ---- from afar ---------------------------------------------------------------------------------

function stripes(pen, scene) {
  const { view, theme, height, geo } = scene;
  const levels = scene.levels();
  const k = Math.max(0, Math.min(levels.length - 1, Math.ceil(Math.log2(1 / view.h))));
  const level = levels[k], each = view.h * 2 ** k, top = (view.top * view.h) / each;
  const first = Math.max(0, Math.floor(top)), last = Math.min(level.n - 1, Math.ceil(top + height / each));
  const y = (stripe) => (stripe - top) * each;
  inTree(pen, scene, () => {
    grid(pen, scene);
    pen.fillStyle = theme.branch;
    pen.globalAlpha = scene.forest.window ? 0.8 : 0.5;
    const thick = Math.max(0.6, each * 0.55);
    for (let s = first; s <= last; s += 1) {
      const from = scene.atX(level.from[s]), to = scene.atX(level.to[s]);
      pen.fillRect(from, y(s) + (each - thick) / 2, Math.max(1.5, to - from), thick);
    }
    pen.globalAlpha = 0.9;
    longTrunks(pen, scene);
    pen.globalAlpha = 1;
    runOf(level.good, first, last, (s, length, good) => {
      pen.fillStyle = theme.scale[shade(good)];
      for (let j = s; j < s + length; j += 1) pen.fillRect(scene.atX(level.to[j]) - 1, y(j), 4, each);
    });
  });
  let c = 0;
  for (const column of geo.table) {
    if (column.key === "status" || column.key === "power") bars(pen, scene, column, level[column.key === "status" ? "gone" : "power"], { first, last, y, each });
    if (column.key !== "niche") continue;
    const heat = level.heat[c++];
    runOf(heat, first, last, (s, length, good) => {
      pen.fillStyle = theme.scale[shade(good)];
      pen.fillRect(column.x + 1.5, y(s), column.width - 3, Math.max(1, length * each));
    });
  }
  if (scene.fading) veil(pen, scene, scene.litStripes()[k], { first, last, y, each });
  inTree(pen, scene, () => lit(pen, scene, 0, 0));
  chosenLine(pen, scene);
}

/** Over stripes that hold nobody who is lit. */
function veil(pen, { theme, geo }, on, { first, last, y, each }) {
  pen.fillStyle = theme.paper;
  pen.globalAlpha = 0.72;
  for (let s = first; s <= last;) {
    let end = s;
    while (end <= last && !on[end]) end += 1;
    if (end > s) pen.fillRect(0, y(s), geo.right + 12, (end - s) * each);
    s = end + 1;
  }
  pen.globalAlpha = 1;
}

/** From afar a bar says which share of a stripe is selected against or culled, or its mean power. */
function bars(pen, scene, column, values, { first, last, y, each }) {
  const { theme } = scene, gone = column.key === "status";
  const room = gone ? Math.min(64, column.width - 24) : 46, most = gone ? 1 : largest(values, first, last), x = column.x + (gone ? 0 : 10);
  pen.fillStyle = gone ? theme.accent : theme.bar;
  for (let s = first; s <= last; s += 1) if (values[s] > 0) pen.fillRect(x, y(s), Math.max(1, (room * values[s]) / most), Math.max(0.6, each * 0.8));
}

function largest(values, first, last) {
  let most = 0;
  for (let s = first; s <= last; s += 1) if (values[s] > most) most = values[s];
  return most;
}

/** Stripes next to each other of one shade are one rectangle. */
function runOf(values, first, last, draw) {
  for (let s = first; s <= last;) {
    const good = values[s];
    if (Number.isNaN(good)) { s += 1; continue; }
    let end = s + 1;
    while (end <= last && shade(values[end]) === shade(good)) end += 1;
    draw(s, end - s, good);
    s = end;
  }
}

function longTrunks(pen, scene) {
  const { view, lines, theme, height } = scene, spans = scene.spans();
  const least = 3 / view.h;
  stroke(pen, theme.branch, 1, [], () => {
    for (let j = 0, drawn = 0; j < spans.length && drawn < 3000; j += 1) {
      const line = spans[j];
      if (lines.last[line] - line < least) break;
      const y = yOf(scene, line), end = yOf(scene, lines.last[line]);
      if (end < 0 || y > height) continue;
      const x = Math.round(scene.xs(lines.node[line])) + 0.5;
      pen.moveTo(x, Math.max(-2, y)); pen.lineTo(x, Math.min(height + 2, end));
      drawn += 1;
    }
  });
}

function chosenLine(pen, scene) {
  const { view, lines, theme, geo } = scene;
  const line = view.chosen >= 0 ? lines.of[view.chosen] : -1;
  if (line < 0) return;
  pen.fillStyle = theme.accent;
  pen.fillRect(0, yOf(scene, line) - 0.75, geo.right, 1.5);
}

/** Names of the clades that are large enough to be read, as on a map: the largest first, none over
    another; and what is searched or chosen before all. */
function labels(pen, scene) {
  const { view, lines, forest, theme, height, geo } = scene;
  const taken = [];  // by slot of 15 px the y of the name in it
  pen.textBaseline = "middle";
  const put = (line, bold) => {
    const y = yOf(scene, line), slot = Math.floor(y / 15);
    if (y < 6 || y > height - 6 || [slot - 1, slot, slot + 1].some((one) => Math.abs((taken[one] ?? -99) - y) < 15)) return;
    taken[slot] = y;
    const i = lines.node[line], size = cladeOf(forest, i);
    const column = geo.table[0];
    const text = size > 1 && !bold ? `${short(forest.name[i], 40)}` : forest.name[i];
    write(pen, text, column.x, y, column.width - 10, `${bold ? 650 : 400} 12px ${theme.font}`, theme.ink, tailOf(column.width));
    if (size > 1 && geo.table[1]?.key === "relation") write(pen, `${count(size)} in all`, geo.table[1].x, y, geo.table[1].width - 6, `11px ${theme.font}`, theme.soft);
    else if (lines.kind[line] !== ORGANISM && geo.table[1]?.key === "relation") write(pen, scene.said(line, "name"), geo.table[1].x, y, geo.table[1].width - 6, `11px ${theme.font}`, theme.soft);
  };
  if (view.chosen >= 0 && lines.of[view.chosen] >= 0) put(lines.of[view.chosen], true);
  for (const i of scene.found ?? []) if (lines.of[i] >= 0) put(lines.of[i], true);
  if (forest.window) smallOnes(pen, scene);
  const spans = scene.spans();
  for (let j = 0; j < spans.length; j += 1) {
    if ((lines.last[spans[j]] - spans[j] + 1) * view.h < 14 && j > 400) break;
    put(spans[j], false);
  }
  if (!forest.window) return;
  const each = Math.max(1, Math.round(64 / view.h));  // where no clade is large: one here and there
  for (let line = Math.floor(view.top / each) * each; line < Math.min(lines.length, view.top + height / view.h); line += each)
    if (line >= forest.window.above && lines.kind[line] === ORGANISM) put(line, false);
}

/** Says in the tree how many organisms there are in a long stretch of clades too small for a row. */
function smallOnes(pen, scene) {
  const { view, lines, forest, theme, height, geo } = scene, end = Math.min(lines.length, Math.ceil(view.top + height / view.h));
  for (let line = Math.max(forest.window.above, Math.floor(view.top)); line < end; line += 1) {
    let many = 0, last = line;
    for (; last < end && lines.kind[last] === HIDDEN && lines.up[last] < 0; last += 1) many += lines.count[last];
    if ((last - line) * view.h > 40) {
      const y = (yOf(scene, line) + yOf(scene, last - 1)) / 2, x = Math.max(64, geo.tree * 0.3), font = `italic 12px ${theme.font}`;
      const text = `${count(many)} ${geo.tree < 220 ? "more" : geo.tree < 340 ? "in small clades" : "organisms in smaller clades, or alone"}`;
      pen.font = font;
      pen.fillStyle = theme.paper;
      pen.globalAlpha = 0.85;
      pen.fillRect(x - 5, y - 9, Math.min(pen.measureText(text).width, geo.tree * 0.7 - 12) + 10, 18);
      pen.globalAlpha = 1;
      write(pen, text, x, y, geo.tree * 0.7 - 12, font, theme.soft);
    }
    line = Math.max(line, last - 1);
  }
}

// ---- the axis ----------------------------------------------------------------------------------

/** Ticks in the window: [{x, text, middle}]; `middle` is that of the text, which is whole at the left edge too. */
export function axisTicks(scene) {
  const { geo, view } = scene;
  const low = scene.valueAt(MARGIN), high = scene.valueAt(geo.tree - MARGIN);
  const each = view.axis === "generation" ? 30 : 74;
  const many = Math.max(2, Math.floor(geo.tree / each));
  let found = scene.log ? logTicks(low, high) : view.axis === "time" ? timeTicks(scene.forest.epoch, low, high, many) : ticks(low, high, many);
  if (view.axis === "generation") found = [...new Set(found.map(Math.round))];
  const kept = [];
  for (const value of found) {
    const x = scene.atX(value), text = axisText(scene, value, high - low), before = kept[kept.length - 1], middle = Math.max(x, 3.3 * text.length);
    if (x > 4 && x < geo.tree - 4 && !(before && middle - before.middle < 3.3 * (text.length + before.text.length) + 7)) kept.push({ x, text, middle });
  }
  return kept;
}

function logTicks(low, high) {
  const found = [0];
  for (let size = 10 ** Math.floor(Math.log10(Math.max(1, high) * 1e-4)); size <= high; size *= 10)
    for (const one of [1, 2, 5]) if (size * one >= Math.max(1, low) && size * one <= high) found.push(size * one);
  return found;
}

function axisText(scene, value, span) {
  const { view, forest } = scene;
  if (view.axis === "time") return moment(forest.epoch + value, span);
  if (view.axis === "joules") return si(value, "J");
  return view.axis === "step" || value >= 10000 ? si(value, "").trim() : String(value);
}
