/* The niche plot: fitness against power, the front as a stair. Brushing over it selects in the tree;
   arrow keys walk along the front. */

import { ALIVE, goodness, onFront, scored, status } from "./forest.js";
import { shade } from "./colours.js";
import { CROWD, named } from "./far.js";
import { fitted } from "./plate.js";
import { at, count, counted, make, short, ticks } from "./words.js";

const W = 332, H = 208, LEFT = 40, TOP = 10, RIGHT = 12, BOTTOM = 34;

/** The heading and the plot of the niche shown; null where there is nothing to plot. */
export function plot(app) {
  const { forest, view } = app, k = view.niche;
  if (k < 0 || !scored(forest, k).direction || !forest.units.length) return null;
  const niche = scored(forest, k), points = forest.window ? competitors(app, niche) : competing(forest, k);
  if (!points || points.length < 2) return null;
  const front = points.filter(({ leads }) => leads).sort((a, b) => a.x - b.x);
  const canvas = make("canvas", { tabIndex: 0, role: "img", "aria-label": `Fitness in ${short(niche.name)} against ${forest.units[0].words}: ${count(points.length)} organisms, ${count(front.length)} on the front. Left and right walk along the front.` });
  const axes = scales(points, niche);
  const own = { canvas, points, front, axes, niche, brush: null };
  canvas.addEventListener("keydown", (event) => walk(app, own, event));
  brushing(app, own);
  app.plotted = () => draw(app, own);
  queueMicrotask(app.plotted);
  const tools = make("p", { className: "acts" },
    front.length ? make("button", { type: "button", className: "act", onclick: () => app.brush(front) }, "select the front") : null,
    app.brushed || app.picked ? make("button", { type: "button", className: "act", onclick: () => app.brush(null) }, `clear the ${count((app.picked ?? app.brushed).length)} selected`) : null);
  const some = points.others ? make("p", {}, `The whole front, and ${count(points.length - front.length)} of ${counted(points.others, "other")}.`) : null;
  return [make("h3", {}, `${short(niche.name)}: fitness against power`), canvas, some, tools];
}

/** Who is drawn and scored: {i, name, x: power, y: fitness, alive, leads: whether on the front}. */
function competing(forest, k) {
  const niche = scored(forest, k), points = [];
  niche.rows.forEach((i, j) => {
    if (forest.unit[i] !== 0 || Number.isNaN(forest.power[i])) return;
    const alive = status(forest, i) === ALIVE;
    points.push({ i, name: forest.name[i], x: forest.power[i], y: niche.values[j], alive, leads: alive && onFront(forest, k, i) });
  });
  return points;
}

/** The same of a window, as the server gives them: the whole front and some of the others; `i` is -1 for
    who is not drawn. null until they are there. */
function competitors(app, niche) {
  const { forest } = app, known = (app.competitions ??= new Map());
  if (niche.crowd > CROWD) return null;
  if (!known.has(niche.name)) {
    known.set(niche.name, null);
    app.atRest(() => app.server.competition(niche).then((found) => { known.set(niche.name, found); app.told(); }).catch(() => known.delete(niche.name)));
  }
  const found = known.get(niche.name), unit = forest.units[0], rows = new Map([...forest.id].map((id, i) => [id, i]));
  if (!found) return null;
  const points = found.members.filter(({ per }) => per === unit.per).map((one) => ({
    ...named(one.organism), i: rows.get(one.organism.id) ?? -1, x: one.joules * unit.factor, y: one.value,
    alive: one.state !== "marked", leads: one.state === "front",
  }));
  const { front, ...rest } = found.counts;
  return Object.assign(points, { others: Object.values(rest).reduce((sum, many) => sum + many, 0) });
}

function scales(points, niche) {
  const xs = points.map(({ x }) => x), ys = points.map(({ y }) => y).sort((a, b) => niche.sign * (a - b));
  const worst = ys[Math.floor(ys.length * (ys.length > 40 ? 0.02 : 0))], best = ys[ys.length - 1];
  let low = Infinity, high = -Infinity;
  for (const x of xs) { if (x < low) low = x; if (x > high) high = x; }
  const log = low > 0 && high / low > 50, turn = log ? Math.log10 : (x) => x;
  if (!log) low = Math.min(0, low);
  const [a, b] = [turn(low), turn(high)], pad = (b - a || 1) * 0.04, span = Math.abs(best - worst) || 1;
  return {
    log, low, high, best, worst,
    x: (x) => LEFT + ((turn(x) - a + pad) / (b - a + 2 * pad || 1)) * (W - LEFT - RIGHT),
    y: (y) => TOP + ((niche.sign * (best - y) + span * 0.05) / (span * 1.1)) * (H - TOP - BOTTOM),
  };
}

function draw(app, own) {
  const { canvas, points, front, axes } = own, { theme, view, forest } = app;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = W * ratio;
  canvas.height = H * ratio;
  const pen = canvas.getContext("2d");
  pen.scale(ratio, ratio);
  frame(pen, app, own);
  pen.save();
  pen.beginPath();
  pen.rect(LEFT, 0, W - LEFT, H - BOTTOM + 4);
  pen.clip();
  stair(pen, theme, front, axes);
  for (const { i, x, y, alive } of points) {
    const good = i < 0 || forest.window ? goodness(forest, view.niche, y) : null;
    const colour = good === null ? app.scene.paint.of(i) : theme.scale[shade(good)];
    pen.globalAlpha = app.lit && i >= 0 && !app.lit[i] ? 0.25 : points.length > 3000 ? 0.6 : 1;
    pen.fillStyle = alive ? colour ?? theme.bar : theme.hair;
    pen.strokeStyle = alive ? theme.soft : theme.faint;
    pen.lineWidth = 0.7;
    pen.beginPath();
    pen.arc(axes.x(x), axes.y(y), points.length > 1000 ? 2 : 3.4, 0, 7);
    pen.fill();
    if (points.length <= 1000) pen.stroke();
  }
  pen.globalAlpha = 1;
  const here = points.find(({ i }) => i >= 0 && i === view.chosen);
  if (here) {
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 2;
    pen.beginPath();
    pen.arc(axes.x(here.x), axes.y(here.y), 6, 0, 7);
    pen.stroke();
  }
  pen.restore();
  names(pen, app, own, here);
  if (own.brush) {
    const [x, y, w, h] = box(own.brush);
    pen.strokeStyle = theme.accent;
    pen.lineWidth = 1;
    pen.setLineDash([3, 2]);
    pen.strokeRect(x, y, w, h);
  }
}

function frame(pen, app, { axes, niche }) {
  const { theme, forest } = app;
  pen.clearRect(0, 0, W, H);
  pen.font = `11px ${theme.font}`;
  pen.textBaseline = "middle";
  pen.textAlign = "right";
  for (const value of ticks(Math.min(axes.best, axes.worst), Math.max(axes.best, axes.worst), 4)) {
    const y = axes.y(value);
    if (y < TOP - 2 || y > H - BOTTOM + 2) continue;
    pen.fillStyle = theme.hair;
    pen.fillRect(LEFT, Math.round(y), W - LEFT - RIGHT, 1);
    pen.fillStyle = theme.soft;
    pen.fillText(String(Number(value.toPrecision(4))), LEFT - 6, y);
  }
  pen.textAlign = "center";
  const marks = axes.log ? decades(axes.low, axes.high) : ticks(axes.low, axes.high, 4);
  for (const value of marks) pen.fillText(String(Number(value.toPrecision(3))), axes.x(value), H - BOTTOM + 12);
  pen.textAlign = "right";
  pen.fillText(`${forest.units[0].words} →`, W - RIGHT, H - 7);
  pen.textAlign = "left";
  pen.fillText(niche.direction === "lower" ? "↑ lower is better" : "↑ higher is better", 2, H - 7);
}

function decades(low, high) {
  const found = [];
  for (let p = Math.ceil(Math.log10(low) - 1e-9); 10 ** p <= high * 1.0001; p += 1) found.push(10 ** p);
  return found.length > 6 ? found.filter((_, i) => i % 2 === 0) : found;
}

function stair(pen, theme, front, axes) {
  if (!front.length) return;
  pen.strokeStyle = theme.accent;
  pen.lineWidth = 1.5;
  pen.beginPath();
  front.forEach(({ x, y }, place) => {
    if (place) pen.lineTo(axes.x(x), axes.y(front[place - 1].y)); else pen.moveTo(axes.x(x), axes.y(y));
    pen.lineTo(axes.x(x), axes.y(y));
  });
  pen.lineTo(W - RIGHT, axes.y(front[front.length - 1].y));
  pen.stroke();
}

/** The chosen one, then those on the front, where no name lies over another or over the edge. */
function names(pen, app, { points, front, axes }, here) {
  const { theme } = app, taken = [];
  pen.font = `11px ${theme.font}`;
  pen.textBaseline = "middle";
  for (const point of new Set([here, front[0], front[front.length - 1], ...front].filter(Boolean))) {
    if (taken.length > (points.length > 60 ? 2 : 6) || (points.length > 500 && point !== here)) break;
    const text = fitted(pen, point.name, 112, pen.font, 5), width = pen.measureText(text).width;
    const x = axes.x(point.x), y = axes.y(point.y);
    const spots = [[x + 8, y - 9], [x + 8, y + 10], [x - width - 8, y - 9], [x - width - 8, y + 10]];
    const spot = spots.find(([left, top]) => left > LEFT && left + width < W && top > 6 && top < H - BOTTOM - 4
      && taken.every(([l, t, w]) => left > l + w + 4 || left + width + 4 < l || Math.abs(top - t) > 12)
      && (points.length > 300 || points.every((one) => one === point || Math.abs(axes.y(one.y) - top) > 9 || axes.x(one.x) < left - 5 || axes.x(one.x) > left + width + 5)));
    if (!spot) continue;
    taken.push([...spot, width]);
    pen.textAlign = "left";
    pen.lineWidth = 3;
    pen.strokeStyle = theme.sheet;
    pen.strokeText(text, ...spot);
    pen.fillStyle = point === here ? theme.ink : theme.soft;
    pen.fillText(text, ...spot);
  }
}

const box = ([a, b, c, d]) => [Math.min(a, c), Math.min(b, d), Math.abs(c - a), Math.abs(d - b)];

function brushing(app, own) {
  const { canvas, points, axes } = own;
  const place = (event) => {
    const seen = canvas.getBoundingClientRect();
    return [((event.clientX - seen.left) * W) / seen.width, ((event.clientY - seen.top) * H) / seen.height];
  };
  canvas.addEventListener("pointerdown", (event) => { canvas.setPointerCapture(event.pointerId); own.brush = [...place(event), ...place(event)]; });
  canvas.addEventListener("pointermove", (event) => {
    if (!own.brush) return;
    own.brush.splice(2, 2, ...place(event));
    draw(app, own);
  });
  canvas.addEventListener("pointerup", (event) => {
    if (!own.brush) return;
    const [x, y, w, h] = box([own.brush[0], own.brush[1], ...place(event)]);
    own.brush = null;
    if (w < 4 && h < 4) return nearest(app, points, axes, x, y);
    app.brush(points.filter((p) => axes.x(p.x) >= x && axes.x(p.x) <= x + w && axes.y(p.y) >= y && axes.y(p.y) <= y + h));
  });
  canvas.addEventListener("pointercancel", () => { own.brush = null; });
}

function nearest(app, points, axes, x, y) {
  let best = null, least = 100;
  for (const p of points) {
    const far = (axes.x(p.x) - x) ** 2 + (axes.y(p.y) - y) ** 2;
    if (far < least) { least = far; best = p; }
  }
  if (best) goTo(app, best);
}

const goTo = (app, { i, id }) => (i < 0 ? app.jump(id) : app.choose(i, { move: true }));

function walk(app, { front }, event) {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || !front.length) return;
  event.preventDefault();
  event.stopPropagation();
  const here = front.findIndex(({ i }) => i >= 0 && i === app.view.chosen);
  const next = front[here < 0 ? 0 : Math.min(front.length - 1, Math.max(0, here + step))];
  Promise.resolve(goTo(app, next)).then(() => at("panel").querySelector("canvas")?.focus());
}
