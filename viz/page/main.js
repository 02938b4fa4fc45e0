/* The page: reads the family, holds the view, and draws again whatever a change touches. */

import { details as openDetails, drawn, server } from "./data.js";
import { BUNDLE, ESTIMATED, GUARDED, PROPOSED, clade, pedigree, plant, shownValue } from "./forest.js";
import { ALIKE, CLADE, HIDDEN, NOBODY_OUT, arrange, reveal } from "./lines.js";
import { aggregate, litStripes, spans } from "./stripes.js";
import { MARGIN, NEAR, axisTicks, billed, columns, fitted, marked, paint } from "./plate.js";
import { colouring, readTheme, shade } from "./colours.js";
import { controls, fill, tellControls } from "./controls.js";
import { writePanel } from "./panel.js";
import { search } from "./find.js";
import { outline } from "./outline.js";
import { asSvg, newick, savePng, saveSvg } from "./save.js";
import { place, read as readHash, write as writeHash } from "./hash.js";
import { CROWD, around, axisOf, bestByRow, holding, rowAt, rowsOf, seen as shownNow, stands, wanted } from "./far.js";
import { at, count, make, short } from "./words.js";

const ROW = [17, 26];       // px a line at first
const TIGHT = 14;           // px a line, where all then fit
const LARGEST = 40;         // px a line
const FOLDED_FROM = 150;    // organisms from which on what is alike is folded at first
const REST = 700;           // ms without a new window before the server is asked what takes long
const AFAR_FROM = 2500;     // lines from which on the whole is shown first

const plate = at("plate"), canvas = at("canvas"), map = at("map");
const app = { server, plate, lit: null, hover: -1, details: null, moved: false };

async function start() {
  let block;
  try { block = await first(); } catch (error) { if (!server) throw error; return empty(error.message); }
  const forest = app.forest = plant(block);
  server?.changes(() => renew().catch(({ message }) => say(message)));
  if (!forest.n) return empty();
  app.view = {
    top: 0, h: ROW[0], zx: 1, px: 0, axis: "generation", niche: forest.niche,
    colour: forest.niche >= 0 ? "fitness" : "relation", size: "same",
    columns: firstColumns(forest), shown: new Set(["relation", ...(forest.flags.some((flags) => flags & ~(ESTIMATED | GUARDED | PROPOSED | BUNDLE)) ? ["status"] : []), "power"]),
    chosen: -1, other: -1, comparing: false, root: -1, only: -1, plan: false, after: false,
    fold: !forest.window && forest.n > FOLDED_FROM, folded: new Set(), opened: new Set(),
    filter: NOBODY_OUT,
  };
  if (forest.window) { app.view.shown.add("status"); document.body.dataset.window = "true"; }
  app.start = { ...app.view, shown: new Set(app.view.shown) };
  readHash(app);
  theme(localTheme());
  app.theme = readTheme();
  widen();
  search(app);
  app.lines = arrange(forest, app.view);
  if (needsDetails(app.view)) await app.open();
  app.colours = colouring(app.forest, app.view, app.theme, app.details);
  controls(app);
  tellControls(app);
  measure();  // once what stands around the plate has its room
  compose();
  if (forest.window) await settle();
  else if (!app.moved) firstView();
  lightUp();
  listen();
  tell();
  plate.dataset.ready = "true";
  if (app.view.chosen >= 0 || app.view.plan) await app.open().then(() => writePanel(app));
}

// ---- a family too large for a page ------------------------------------------------------------------

/** What the address names, where that is a part of a large family; else all, or a window on all. */
async function first() {
  const where = server && place();
  if (where) {
    const each = stands(where.span, at("stage").getBoundingClientRect().height);
    try { return await drawn(rowsOf({ start: where.first, end: where.first + where.span - 1, each })); } catch { /* it is no more there */ }
  }
  return drawn();
}

/** The whole, for the map, and the place in the address. */
async function settle() {
  const { forest, view } = app;
  const whole = place() ? plant(await server.whole()) : forest;
  app.whole = whole.window.start === whole.window.first && whole.window.end === whole.window.last ? whole : null;
  view.top = forest.window.above;
  view.h = app.height / (forest.n - view.top);
  app.moved = true;
  hold();
  warm();
}

/** The best of each row in the niche shown, as soon as the picture is there. */
async function warm() {
  const { view } = app;
  for (const forest of new Set([app.forest, app.whole])) {
    const k = view.niche, niche = forest?.niches[k];
    if (!forest?.window || forest.window.each === 1 || !niche?.direction || niche.crowd > CROWD || forest.best?.k === k) continue;
    const found = await server.best(niche, forest.window).catch(() => null);
    if (found?.snapshot !== forest.window.snapshot || view.niche !== k) continue;
    forest.best = { k, values: bestByRow(forest, found) };
    compose();
    lightUp();
    redraw();
  }
}

/** Does what can wait once no window was asked for in a while. */
app.atRest = async (act) => {
  do { app.rested = true; await fetching?.catch(() => {}); await new Promise((done) => setTimeout(done, REST)); } while (!app.rested || fetching);
  act();
};

let fetching = null, missed = false, last = "";

/** Asks for what the view shows or soon will; one question at a time, the last one counts. */
function reach() {
  if (fetching) { missed = true; return; }
  const where = wanted(app), same = where && String(Object.values(where));
  if (!where || same === last) return;  // what the server cannot give is not asked for again and again
  last = same;
  app.rested = false;
  ask(() => where, (forest) => turn(forest)).catch(({ message }) => say(message));
}

/** One window at a time: asked for and put to use before the next is, so that none comes late over another. */
async function ask(where, use) {
  while (fetching) await fetching.catch(() => {});
  fetching = drawn(where()).then((block) => use(plant(block))).finally(() => { fetching = null; if (missed) { missed = false; reach(); } });
  return fetching;
}

/** Another window in place of what is drawn, where one is by now. */
function turn(forest, to = shownNow(app)) {
  const { view } = app, id = app.chosenId, grown = forest.window.new - app.forest.window.new;
  if (forest.window.start !== app.forest.window.start || forest.window.each !== app.forest.window.each) last = "";
  if (forest.window.snapshot !== app.forest.window.snapshot) { history.replaceState(null, "", location.pathname + location.search); location.reload(); return; }
  Object.assign(app, { forest, details: null, names: null, used: null, found: null, brushed: null, picked: null, hover: -1 });
  Object.assign(view, { chosen: id ? forest.id.indexOf(id) : -1, other: -1, root: -1, only: -1, folded: new Set(), opened: new Set() });
  widen();
  measure();
  relay();
  const top = rowAt(forest, to.first);
  view.h = app.height / Math.max(0.5, rowAt(forest, to.first + to.span) - top);
  view.top = top;
  hold();
  lightUp();
  app.research();
  tell();
  warm();
  if (grown > 0) say(`${count(grown)} more since: the registry has changed.`);
  if (view.chosen >= 0) app.open().then(() => writePanel(app));
}

/** Shows so many positions from the first on. */
function show(first, span) {
  return ask(() => around(app, first, span), (forest) => turn(forest, { first, span })).catch(({ message }) => say(message));
}

/** Into the row of i: its clade, or what it stands for, over the whole height. */
app.into = (i) => { const { forest } = app; return show(forest.pos[i], Math.max(forest.clade[i], forest.count[i], 24)); };

/** To an organism wherever it is, by its id; false where the server knows no place for it here. */
app.jump = async (id) => {
  const rows = Math.max(24, Math.round(2 * app.height / ROW[0])), span = app.height / ROW[0];
  const there = await ask(() => ({ at: `#${id}`, rows }), (forest) => {
    const i = forest.id.indexOf(id);
    if (!forest.window || i < 0) return false;
    app.chosenId = id;
    turn(forest, { first: Math.max(forest.window.start, forest.pos[i] - (app.height - app.covered) / ROW[0] / 2), span });
    return true;
  }).catch(() => false);
  if (there) await app.choose(app.forest.id.indexOf(id));
  return there;
};

// ---- what was registered since --------------------------------------------------------------------

const PAUSE = 1000;  // ms between two families that are fetched
let renewing = null, again = false;

/** Takes the family anew from the server, and stays where one is; several changes at once are one. */
function renew() {
  again = true;
  return renewing ??= (async () => {
    while (again) {
      again = false;
      if (app.forest?.window) await anew(); else take(plant(await drawn()));
      if (app.view && (app.view.chosen >= 0 || app.view.plan || needsDetails(app.view))) { await app.open(); tell(); }
      await new Promise((done) => setTimeout(done, PAUSE));
    }
  })().finally(() => { renewing = null; });
}

/** The same window as it is now; and the map, where the snapshot is another. */
async function anew() {
  await ask(() => rowsOf(app.forest.window), (forest) => turn(forest));
}

/** Another state of the family in place of what is drawn. Organisms and niches go by name. */
function take(forest) {
  if (!app.view || !forest.n || forest.window) { if (forest.n) location.reload(); return; }
  const { view, forest: before, start: first } = app, held = anchor(), grown = forest.n - before.n;
  const niche = (k) => (k < 0 ? -1 : forest.niches.findIndex(({ name }) => name === before.niches[k].name));
  const others = forest.niches.some(({ name }) => !before.niches.some((one) => one.name === name));
  Object.assign(app, { forest, details: null, names: null, used: null, found: null, brushed: null, hover: -1 });
  const row = (i) => (i < 0 ? -1 : app.byName(before.name[i])), rows = (set) => new Set([...set].map(row).filter((i) => i >= 0));
  for (const key of ["chosen", "other", "root", "only"]) view[key] = row(view[key]);
  for (const key of ["folded", "opened"]) view[key] = rows(view[key]);
  view.columns = others ? firstColumns(forest) : view.columns.map(niche).filter((k) => k >= 0);
  view.niche = niche(view.niche) >= 0 ? niche(view.niche) : forest.niche;
  if (view.colour === "fitness" && view.niche < 0) view.colour = "relation";
  view.filter = { ...view.filter, niche: niche(view.filter.niche), until: view.filter.until === null ? null : view.filter.until + before.epoch - forest.epoch };
  if (!forest.axes[view.axis]) view.axis = "generation";
  app.start = { ...first, niche: forest.niche, columns: others ? firstColumns(forest) : first.columns.map(niche).filter((k) => k >= 0) };
  widen();
  measure();
  relay();
  keep(held && { ...held, i: row(held.i) });
  lightUp();
  fill(app);
  app.research();
  tell();
  if (grown) say(`${count(Math.abs(grown))} ${Math.abs(grown) === 1 ? "row" : "rows"} ${grown > 0 ? "more" : "fewer"}: the registry has changed.`);
}

function firstColumns(forest) {
  const first = forest.niches.map((_, k) => k).slice(0, 4);
  if (forest.niche >= 0 && !first.includes(forest.niche)) first[first.length - 1] = forest.niche;
  return first;
}

function empty(why) {
  at("empty").hidden = false;
  if (why) at("empty").textContent = why;
  for (const part of document.querySelectorAll(".top > :not(h1), .legend, #panel, #heads, #axis, .zoom, .map")) part.hidden = true;
  plate.dataset.ready = "true";
}

// ---- what follows from what ----------------------------------------------------------------------

/** The size of the plate, and where columns lie. */
function measure() {
  const box = at("stage").getBoundingClientRect();
  app.width = box.width;
  app.height = Math.max(40, box.height);
  // what the panel covers where it is a sheet from below (page.css): up to 55 % of the screen
  app.covered = getComputedStyle(at("panel")).position === "fixed" ? Math.max(0, box.bottom - 0.45 * innerHeight) : 0;
  app.geo = columns(app.view, app.width - (app.width < 560 ? 26 : 62), app.wide, app.forest);
  const ratio = window.devicePixelRatio || 1;
  app.mapWidth = app.width < 560 ? 22 : 48;
  for (const [one, width] of [[canvas, app.width], [map, app.mapWidth]]) {
    one.width = Math.round(width * ratio);
    one.height = Math.round(app.height * ratio);
  }
  Object.assign(canvas.style, { width: `${app.width}px`, height: `${app.height}px` });
  Object.assign(map.style, { width: `${app.mapWidth}px`, height: `${app.height}px` });
  app.mapped = null;
}

/** Lines, and everything that is computed from them. */
function relay() {
  const { forest, view } = app;
  app.lines = arrange(forest, view);
  compose();
}

function compose() {
  const { forest, view, lines, geo, theme } = app, { at: along, sure } = forest.axes[view.axis];
  let low = Infinity, high = -Infinity;
  const reach = (i) => { if (along[i] < low) low = along[i]; if (along[i] > high) high = along[i]; };
  if (view.filter.until !== null) for (let i = 0; i < forest.n; i += 1) reach(i);  // while the tree grows its axis stands still
  else for (let line = 0; line < lines.length; line += 1) { reach(lines.node[line]); reach(lines.first[line]); }
  if (!(low <= high)) [low, high] = [0, 1];
  const fixed = forest.window && axisOf(forest);
  if (fixed) ({ low, high } = fixed);
  const room = geo.tree - 2 * MARGIN, most = view.axis === "generation" ? (high - low) * 74 : room;
  // Where one long run would push all others to the edge, the axis is logarithmic, and says so.
  const log = fixed ? fixed.log : view.axis !== "time" && low >= 0 && longTail(lines, along, low, high);
  const turn = log ? (value) => Math.log2(1 + value - low) : (value) => value - low;
  const back = log ? (value) => 2 ** value - 1 + low : (value) => value + low;
  const scale = high > low ? ((log ? room : Math.min(room, most)) * view.zx) / turn(high) : 0;
  const atX = (value) => MARGIN + turn(value) * scale - view.px;
  let mostPower = 0;
  for (let i = 0; i < forest.n; i += 1) if (forest.power[i] > mostPower) mostPower = forest.power[i];
  const paintBy = app.colours = colouring(forest, view, theme, app.details);
  let levels = null, long = null;
  app.scene = {
    forest, view, lines, geo, theme, sure, atX, low, high, xs: (i) => atX(along[i]), valueAt: (x) => (scale ? back((x + view.px - MARGIN) / scale) : low), log,
    details: app.details, paint: paintBy, mostPower, said: app.said, height: app.height, hover: app.hover,
    levels: () => (levels ??= aggregate(forest, lines, along, paintBy.good, geo.table.filter((one) => one.key === "niche").map((one) => one.k))),
    spans: () => (long ??= spans(lines)),
  };
  app.mapped = null;
  hold();
}

function longTail(lines, along, low, high) {
  if (lines.length < 50) return false;
  const some = [], every = Math.max(1, Math.floor(lines.length / 2000));
  for (let line = 0; line < lines.length; line += every) some.push(along[lines.node[line]]);
  some.sort((a, b) => a - b);
  return high - low > 8 * (some[Math.floor(some.length * 0.9)] - low);
}

/** How many rows the panel covers, while it is there: so much further the sheet goes. */
const beneath = () => (app.view.chosen >= 0 || app.view.plan ? app.covered / app.view.h : 0);

/** Keeps the view within the sheet. */
function hold() {
  const { view, lines, height, geo } = app;
  if (app.forest.window) return within();
  const fit = height / Math.max(1, lines.length);
  view.h = Math.min(LARGEST, Math.max(Math.min(fit, ROW[0]), view.h));
  const below = view.h >= NEAR && lines.length * view.h > height + 1 ? 1 : 0;
  view.top = Math.max(0, Math.min(view.top, lines.length - height / view.h + below + beneath()));
  view.px = Math.max(0, Math.min(view.px, (geo.tree - 2 * MARGIN) * (view.zx - 1)));
}

/** The same in a window: it ends where its rows end, and more are on their way. */
function within() {
  const { view, lines, height, geo, forest: { window } } = app, above = window.start > window.first ? window.above : 0;
  view.h = Math.min(LARGEST, Math.max(height / Math.max(1, lines.length - above), view.h));
  view.top = Math.max(above, Math.min(view.top, lines.length - height / view.h + (window.end === window.last ? beneath() : 0)));
  view.px = Math.max(0, Math.min(view.px, (geo.tree - 2 * MARGIN) * (view.zx - 1)));
  if (app.moved) reach();
}

function firstView() {
  const { view, lines, height } = app, fit = height / Math.max(1, lines.length);
  view.h = lines.length > AFAR_FROM ? fit : fit >= TIGHT ? Math.min(ROW[1], fit) : ROW[0];
  view.top = 0;
  hold();
}

/** Who is lit: what is searched or brushed, else the pedigree and the clade of the chosen ones. */
function lightUp() {
  const { forest, view, scene } = app;
  const marked = app.found ?? app.brushed ?? (forest.window && view.filter.status ? holding(forest, view.filter.status) : null);
  app.ancestors = null;
  app.lit = null;
  if (marked) {
    app.lit = new Uint8Array(forest.n);
    for (const i of marked) app.lit[i] = 1;
    if (view.chosen >= 0) app.lit[view.chosen] = 1;
  } else if (view.chosen >= 0) {
    app.ancestors = pedigree(forest, view.chosen);
    const other = view.other >= 0 ? pedigree(forest, view.other) : clade(forest, view.chosen);
    app.lit = app.ancestors.map((one, i) => one | other[i]);
  }
  scene.ancestors = app.ancestors;
  scene.fading = app.lit !== null;
  let stripes = null;
  scene.litStripes = () => (stripes ??= litStripes(app.lines, app.lit, scene.levels()));
  scene.found = app.found && app.found.length <= 200 ? app.found : null;
  scene.dim = dimmer(app.lit, marked ? 1 : 1.5);
}

const dimmer = (lit, soft) => (i, least) => (!lit || lit[i] ? 1 : least * soft);

// ---- drawing ------------------------------------------------------------------------------------

let asked = 0;
const redraw = () => { asked ||= requestAnimationFrame(draw); };

function draw() {
  asked = 0;
  const ratio = window.devicePixelRatio || 1, pen = canvas.getContext("2d");
  app.scene.hover = app.hover;
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, app.width, app.height);
  app.scene.ticks = axisTicks(app.scene);
  app.paint(pen);
  drawMap(ratio);
  plate.dataset.lines = app.lines.length;
  if (app.forest.window) { const { start: from, end, each } = app.forest.window; plate.dataset.window = `${from} ${end} ${each}`; }
}

app.paint = (pen) => paint(pen, { ...app.scene, ticks: app.scene.ticks ?? axisTicks(app.scene) });

/** The whole tree, small; the window on it; drawn once and kept. */
function drawMap(ratio) {
  const { scene, view, lines, theme, height } = app, pen = map.getContext("2d"), width = app.mapWidth;
  const far = app.forest.window, all = app.whole;
  map.parentElement.hidden = far ? !all || far.last - far.first < shownNow(app).span + 1 : lines.length * view.h <= height + 1;
  if (map.parentElement.hidden) return;
  app.mapped ??= mapOf(ratio, width);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, map.width, map.height);
  pen.drawImage(app.mapped, 0, 0);
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  const [from, part] = place_();
  const top = from * height, window_ = Math.max(6, part * height);
  pen.fillStyle = theme.ink;
  pen.globalAlpha = 0.07;
  pen.fillRect(0, top, width, window_);
  pen.globalAlpha = 1;
  pen.strokeStyle = theme.ink;
  pen.lineWidth = 1;
  pen.strokeRect(0.5, Math.min(height - window_, top) + 0.5, width - 1, window_ - 1);
  for (const i of [...(scene.found ?? []), view.chosen]) {
    if (i < 0 || lines.of[i] < 0) continue;
    pen.fillStyle = theme.accent;
    const where = far ? (app.forest.pos[i] - far.first) / (far.last - far.first + 1) : lines.of[i] / lines.length;
    pen.fillRect(0, where * height - 1, width, 2);
  }
  map.setAttribute("aria-valuenow", String(Math.round((100 * from) / Math.max(1e-9, 1 - part))));
}

/** Where in the whole the view begins, and how much of it is seen, as parts of 1. */
function place_() {
  const { view, lines, height, forest: { window } } = app;
  if (!window) return [view.top / lines.length, height / view.h / lines.length];
  const { first, span } = shownNow(app), total = window.last - window.first + 1;
  return [(first - window.first) / total, span / total];
}

/** The whole as it was first drawn: rows of their own beside those of the window. */
function wholeScene() {
  const { whole: forest, view } = app, lines = arrange(forest, view), { low, high, log } = axisOf(forest);
  const turn = log ? (value) => Math.log2(1 + value) : (value) => value;
  const { good } = colouring(forest, view, app.theme, null);
  return { lines, low, high, atX: turn, levels: () => aggregate(forest, lines, forest.axes.generation.at, good, []) };
}

function mapOf(ratio, width) {
  const { theme, height } = app, scene = app.whole ? wholeScene() : app.scene, { lines } = scene;
  const drawn_ = make("canvas", { width: map.width, height: map.height }), pen = drawn_.getContext("2d");
  pen.scale(ratio, ratio);
  const levels = scene.levels(), k = Math.max(0, Math.min(levels.length - 1, Math.ceil(Math.log2(lines.length / height))));
  const level = levels[k], each = height / level.n;
  const least = scene.atX(scene.low), span = scene.atX(scene.high) - least || 1;
  for (let s = 0; s < level.n; s += 1) {
    const x = (value) => 3 + ((scene.atX(value) - least) / span) * (width - 8);
    pen.fillStyle = theme.branch;
    pen.globalAlpha = 0.55;
    pen.fillRect(x(level.from[s]), s * each, Math.max(1, x(level.to[s]) - x(level.from[s])), Math.max(0.5, each * 0.6));
    if (Number.isNaN(level.good[s])) continue;
    pen.globalAlpha = 1;
    pen.fillStyle = theme.scale[shade(level.good[s])];
    pen.fillRect(x(level.to[s]) - 1, s * each, 3, Math.max(1, each));
  }
  return drawn_;
}

// ---- heads and axis -------------------------------------------------------------------------------

app.heads = () => app.geo.table.map((one) => ({
  ...one,
  text: one.key === "name" ? "Organism" : one.key === "relation" ? "Relation" : one.key === "status" ? "Status"
    : one.key === "niche" ? headed(app.forest.niches[one.k].task, one.width) : app.forest.units.length === 1 ? app.forest.units[0].unit : "Power",
  small: one.key === "niche" ? `${app.forest.window?.each > 1 ? "best " : ""}${app.forest.niches[one.k].metric}` : "",
}));

function headed(task, width) {
  const pen = canvas.getContext("2d");
  pen.font = HEADS();
  return fitted(pen, task, width - 4, HEADS(), 3);
}

const HEADS = () => `650 12px ${app.theme.font}`;  // 11 px, and letters somewhat apart

function writeHeads() {
  const { view } = app;
  at("heads").replaceChildren(...app.heads().map((head) => {
    const niche = head.key === "niche";
    const box = niche
      ? make("button", { type: "button", title: `Colour by ${app.forest.niches[head.k].name}`, "aria-pressed": String(view.colour === "fitness" && view.niche === head.k), onclick: () => app.set({ niche: head.k, colour: "fitness" }) }, make("bdi", {}, head.text), make("small", {}, head.small))
      : make("span", {}, head.text);
    box.className = `head ${head.key}`;
    box.style.left = `${head.x}px`;
    box.style.width = `${head.width}px`;
    return box;
  }));
}

function writeAxis() {
  const { scene, forest, view } = app;
  scene.ticks = axisTicks(scene);
  if (server) { at("title").textContent = forest.title; document.title = `${forest.title} · lineage`; }
  at("counts").replaceChildren(...forest.counts.flatMap((one) => [" ", make("span", {}, `· ${one}`)]));
  at("axis").replaceChildren(make("span", { className: "what" }, `${forest.axes[view.axis].label}${scene.log ? ", log scale" : ""}`), ...scene.ticks.map(({ middle, text }) => {
    const tick = make("span", { className: "at" }, text);
    tick.style.left = `${middle}px`;
    return tick;
  }));
}

// ---- words of a line ------------------------------------------------------------------------------

app.said = (line, what) => {
  const { forest, lines } = app, i = lines.node[line], kind = lines.kind[line];
  if (what === "relation") {
    if (forest.window && forest.count[i] > 1) return kind === HIDDEN ? "" : `+ ${count(forest.count[i] - 1)}`;
    const steps = i - lines.first[line];
    return kind === ALIKE || kind === HIDDEN ? "" : steps ? `${count(steps + 1)} steps` : forest.origins[forest.origin[i]];
  }
  if (kind === HIDDEN && forest.window) return `${count(lines.count[line])} more${gone(forest, i)}`;
  if (kind === HIDDEN) return `+ ${count(lines.count[line])} more, not drawn`;
  if (kind === ALIKE) return `${count(lines.count[line])} ${forest.origins[forest.origin[i]]}${(forest.flags[i] & 3) === 1 ? ", selected against" : ""}`;
  if (kind === CLADE) return `${short(forest.name[i], 80)} + ${count(lines.count[line] - 1)}`;
  return forest.name[i];
};

const gone = ({ against, culled }, i) => (against[i] ? `, ${count(against[i])} selected against` : "") + (culled[i] ? `, ${count(culled[i])} culled` : "");

app.value = (k, i) => shownValue(app.forest, k, i);

app.byName = (name) => {
  if (!app.names) {
    app.names = new Map();
    app.forest.name.forEach((one, i) => { if (!(app.forest.flags[i] & BUNDLE)) app.names.set(one.slice(0, 200), i); });
  }
  return app.names.get(name.slice(0, 200)) ?? app.names.get(name.replace(/@v1$/, "").slice(0, 200)) ?? -1;
};

/** Whether what is drawn needs more than what is enough to draw. */
const needsDetails = ({ colour, size }) => colour === "licence" || colour.startsWith("tag ") || size === "parameters";

app.open = async () => {
  while (!app.details) {
    const { forest } = app;
    let found;
    try { found = await openDetails(); } catch (error) { if (!server) throw error; }
    if (found && app.forest === forest) { app.details = found; if (app.scene) { compose(); lightUp(); } }
    else if (!found) { await new Promise((done) => setTimeout(done, PAUSE)); if (forest.window) await anew(); else take(plant(await drawn())); }  // the registry went on
  }
  return app.details;
};

// ---- acts -----------------------------------------------------------------------------------------

/** Everything that may have changed is said and drawn again. */
function tell() {
  writeHeads();
  writeAxis();
  tellControls(app);
  writePanel(app);
  outline(app);
  redraw();
  remember();
}

let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => writeHash(app), 250);
}

const LAID = ["root", "only", "fold", "filter", "after"];

/** A change of the view. */
app.set = async (change) => {
  const held = app.scene && anchor();
  Object.assign(app.view, change);
  if (needsDetails(app.view)) await app.open();
  measure();
  if (LAID.some((key) => key in change)) relay(); else compose();
  if (LAID.some((key) => key in change)) keep(held);
  lightUp();
  tell();
  if ("niche" in change) warm();
};

/** The organism in the middle of the window and where it is, so that a fold does not lose one's place. */
function anchor() {
  const { view, lines, height } = app;
  const own = view.chosen >= 0 ? lines.of[view.chosen] : -1;
  const line = own >= 0 && own >= view.top && own < view.top + height / view.h ? own : Math.min(lines.length - 1, Math.floor(view.top));
  return line < 0 ? null : { i: lines.node[line], dy: line - view.top };
}

function keep(held) {
  const { view, lines } = app;
  if (held && lines.of[held.i] >= 0) view.top = lines.of[held.i] - held.dy;
  if (!app.moved) firstView();
  hold();
}

app.choose = async (i, { move = false } = {}) => {
  const { view, forest } = app;
  if (move && i >= 0 && forest.window?.each > 1 && forest.id[i]) return app.jump(forest.id[i]);
  if (i >= 0 && forest.flags[i] & BUNDLE) i = forest.parent[i];
  if (i >= 0 && view.comparing && i !== view.chosen) { view.other = i; view.comparing = false; }
  else { view.chosen = i; view.other = -1; app.chosenId = forest.id?.[i]; if (i < 0) { view.comparing = false; app.brushed = app.picked = null; } }
  if (i >= 0 && reveal(forest, view, app.lines, i)) { const held = anchor(); relay(); keep(held); }
  if (i >= 0 && !app.details) await app.open();
  if (move && i >= 0) toView(i); else hold();
  lightUp();
  tell();
};

function toView(i) {
  const { view, lines, height } = app, line = lines.of[i];
  if (line < 0) return;
  const seen = height - app.covered, room = Math.max(1, seen / view.h - 1);
  if (view.h < NEAR && lines.length * ROW[0] > height) { view.h = ROW[0]; view.top = line - seen / view.h / 2; app.moved = true; }
  else if (line < view.top) view.top = line;
  else if (line > view.top + room - 1) view.top = line - room + 1;
  hold();
}

app.focus = () => plate.focus({ preventScroll: true });

app.step = (by) => {
  const { lines } = app, end = moving();
  const here = end >= 0 ? lines.of[end] : -1;
  let line = here >= 0 ? Math.min(lines.length - 1, Math.max(0, here + by))
    : by === -Infinity ? 0 : by > 0 && by < Infinity ? Math.ceil(app.view.top) : lines.length - 1;
  const way = by < 0 ? -1 : 1;
  while (lines.kind[line] === HIDDEN && lines.kind[line + way] !== undefined) line += way;
  if (lines.kind[line] === HIDDEN) return;
  goTo(lines.node[line], true);
};
/** Whom arrow keys move: of two that are compared, the other. */
const moving = () => (app.view.other >= 0 ? app.view.other : app.view.chosen);
/** A folded row is walked onto without opening it. With keys a comparison goes on. */
async function goTo(i, keys = false) {
  const { view } = app;
  if ((view.comparing || (keys && view.other >= 0)) && i !== view.chosen) { view.other = i; view.comparing = false; }
  else { view.chosen = i; view.other = -1; app.chosenId = app.forest.id?.[i]; }
  if (!app.details) await app.open();
  toView(i);
  lightUp();
  tell();
}
app.page = () => Math.max(1, Math.floor(app.height / app.view.h) - 2);
app.toParent = () => {
  const { lines } = app, end = moving();
  if (end < 0) return app.step(-Infinity);
  const up = lines.up[lines.of[end]];
  if (up >= 0) goTo(lines.node[up], true);
};
app.toChild = () => {
  const { lines } = app, end = moving();
  if (end < 0) return app.step(-Infinity);
  const line = lines.of[end];
  if (lines.kind[line] === CLADE) return app.fold(end);
  if (lines.last[line] > line && lines.kind[line + 1] !== HIDDEN) goTo(lines.node[line + 1], true);
};

app.fold = (i) => {
  if (app.forest.window) { app.into(i); return; }
  const { view, forest, lines } = app, line = lines.of[i];
  if (line >= 0 && lines.kind[line] === ALIKE) view.opened.add(forest.parent[lines.node[line]]);
  else if (line >= 0 && lines.first[line] < lines.node[line] && forest.size[i] === 1) for (let j = lines.first[line]; j < lines.node[line]; j += 1) view.opened.add(j);
  else if (view.folded.has(i)) view.folded.delete(i);
  else if (forest.size[i] > 1) view.folded.add(i);
  app.set({ filter: view.filter });
};
app.everything = () => app.set({ filter: NOBODY_OUT, root: -1, only: -1, after: false }).then(() => { fill(app); tell(); if (!app.forest.window) app.fitOrRows(); app.focus(); });
app.reroot = (i) => { if (i >= 0 || app.view.root >= 0) app.set({ root: i, zx: 1, px: 0 }).then(() => app.fitOrRows()); };
app.only = (i) => { if (i >= 0 || app.view.only >= 0) app.set({ only: i }).then(() => app.fitOrRows()); };
app.compare = () => { if (app.view.chosen >= 0) { app.view.comparing = !app.view.comparing; tell(); } };
app.plan = (plan) => app.open().then(() => { if (plan) app.view.shown.add("status"); app.view.chosen = -1; app.view.other = -1; return app.set({ plan, after: plan && app.view.after }); });
/** Shows the panel about the family where there is no room for it beside the tree, or hides it. */
app.family = async (open) => {
  at("panel").classList.toggle("open", open);
  if (app.view.plan) await app.plan(false);
  else if (app.view.chosen >= 0) await app.choose(-1);
  else tell();
  (open ? at("panel") : plate).focus({ preventScroll: true });
};
app.after = (after) => app.set({ after });
app.nextAxis = () => { const keys = Object.keys(app.forest.axes); app.set({ axis: keys[(keys.indexOf(app.view.axis) + 1) % keys.length], zx: 1, px: 0 }); };
app.nextNiche = () => { if (app.forest.niches.length) app.set({ colour: "fitness", niche: (app.view.niche + 1) % app.forest.niches.length }); };
app.searched = (found) => { app.found = found; if (found?.length && found.length < 50) nearest(found); lightUp(); redraw(); };
/** Points of the plot are selected: those that are drawn are lit, and in a window the panel lists all. */
app.brush = (points) => {
  const drawn = points?.map(({ i }) => i).filter((i) => i >= 0);
  app.brushed = drawn?.length ? drawn : null;
  app.picked = app.forest.window ? points : null;
  lightUp();
  tell();
};
app.told = () => writePanel(app);
app.resized = () => { measure(); compose(); if (!app.moved) firstView(); lightUp(); tell(); };

/** Brings the first of those found into the window, where none is. */
function nearest(found) {
  const { lines, view, height } = app, seen = (i) => lines.of[i] >= view.top && lines.of[i] < view.top + height / view.h;
  if (found.some(seen)) return;
  const first = found.find((i) => lines.of[i] >= 0);
  if (first !== undefined) { view.top = lines.of[first] - height / view.h / 2; hold(); }
}

app.saveSvg = () => saveSvg(app);
app.savePng = () => savePng(app);
app.copyNewick = async () => {
  if (app.forest.window) { say("A window holds no whole clade: the command lineage tree writes one with --format newick."); return; }
  const text = newick(app.forest, app.view.chosen >= 0 ? app.view.chosen : app.view.root);
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no clipboard from a file in some browsers: the old way
    const box = make("textarea", { value: text, "aria-label": "Newick" });
    document.body.append(box);
    box.select();
    document.execCommand("copy");
    box.remove();
  }
  say("The Newick text is on the clipboard.");
};

const say = app.say = (text) => {
  at("said").textContent = text;
  setTimeout(() => { if (at("said").textContent === text) at("said").textContent = ""; }, Math.max(4000, 50 * text.length));
};

// ---- moving about ------------------------------------------------------------------------------------

app.zoom = (factor, y = app.height / 2) => {
  const { view } = app, line = view.top + y / view.h;
  view.h *= factor;
  const { h } = view;
  hold();
  if (view.h !== h) view.top = line - y / view.h; else view.top = line - y / h;
  seen();
};
app.stretch = (factor, x = app.geo.tree / 2) => {
  const { view } = app, before = view.zx;
  view.zx = Math.min(200, Math.max(1, view.zx * factor));
  view.px = (view.px + x - MARGIN) * (view.zx / before) - x + MARGIN;
  compose();
  lightUp();
  seen();
};
app.fit = () => { if (app.forest.window) { const { first, last } = app.forest.window; show(first, last - first + 1); return; } const { view } = app; view.h = app.height / app.lines.length; view.top = 0; Object.assign(view, { zx: 1, px: 0 }); compose(); lightUp(); seen(); };
app.rows = () => { const { view } = app; app.zoom(ROW[0] / view.h); };
app.whereNow = () => shownNow(app);
app.fitOrRows = () => { firstView(); seen(); };

/** After a move: the sheet is held, drawn and remembered. */
function seen() {
  app.moved = true;
  hold();
  writeAxisSoon();
  redraw();
  remember();
}

let axisAsked = 0;
function writeAxisSoon() { axisAsked ||= requestAnimationFrame(() => { axisAsked = 0; writeAxis(); }); }

function pan(dx, dy) {
  const { view } = app;
  view.top += dy / view.h;
  if (dx && view.zx > 1) { view.px += dx; hold(); compose(); lightUp(); }
  seen();
}

function listen() {
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const unit = event.deltaMode === 1 ? 17 : event.deltaMode === 2 ? app.height : 1;
    const box = canvas.getBoundingClientRect();
    if (event.altKey) app.stretch(Math.exp(-event.deltaY * unit * 0.002), event.clientX - box.left);
    else if (event.ctrlKey || event.metaKey) app.zoom(Math.exp(-event.deltaY * unit * 0.0035), event.clientY - box.top);
    else pan(event.shiftKey ? event.deltaY * unit : event.deltaX * unit, event.shiftKey ? 0 : event.deltaY * unit);
  }, { passive: false });
  fingers();
  canvas.addEventListener("dblclick", (event) => { const i = under(event); if (i >= 0) app.fold(i); });
  canvas.addEventListener("mousemove", (event) => { const i = under(event); if (i !== app.hover) { app.hover = i; canvas.title = i >= 0 && unreadable(i) ? short(app.forest.name[i], 200) : ""; redraw(); } });
  canvas.addEventListener("mouseleave", () => { app.hover = -1; redraw(); });
  onMap();
  new ResizeObserver(([{ contentRect: { width, height } }]) => { if (width && (Math.abs(width - app.width) > 1 || Math.abs(height - app.height) > 1)) app.resized(); }).observe(at("stage"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  window.addEventListener("hashchange", async () => {
    if (app.forest.window) { location.reload(); return; }
    readHash(app);
    if (needsDetails(app.view) || app.view.chosen >= 0 || app.view.plan) await app.open();
    measure();
    relay();
    lightUp();
    tell();
  });
  onPaper();
}

/** Whether the name of i is cut, or its row too low for one. */
function unreadable(i) {
  const pen = canvas.getContext("2d");
  pen.font = `13px ${app.theme.font}`;
  return app.view.h < NEAR || pen.measureText(app.forest.name[i].slice(0, 200)).width > app.geo.table[0].width - 10;
}

/** Paper is light, and takes the picture in lines instead of pixels. */
function onPaper() {
  let before;
  window.addEventListener("beforeprint", () => {
    before = document.documentElement.dataset.theme;
    document.documentElement.dataset.theme = "light";
    repaint();
    const { documentElement: picture } = new DOMParser().parseFromString(asSvg(app), "image/svg+xml");
    at("paper").replaceChildren(document.adoptNode(picture));
  });
  window.addEventListener("afterprint", () => {
    at("paper").replaceChildren();
    if (before) document.documentElement.dataset.theme = before; else delete document.documentElement.dataset.theme;
    repaint();
  });
}

const under = (event) => {
  const box = canvas.getBoundingClientRect(), line = Math.floor(app.view.top + (event.clientY - box.top) / app.view.h);
  return line >= 0 && line < app.lines.length ? app.lines.node[line] : -1;
};

/** One finger or the mouse pans, two zoom; what moved less than a little is a click. */
function fingers() {
  const down = new Map();
  let far = 0, apart = 0;
  canvas.addEventListener("pointerdown", (event) => {
    down.set(event.pointerId, { x: event.clientX, y: event.clientY });
    far = down.size > 1 ? 100 : 0;
    apart = 0;
  });
  canvas.addEventListener("pointermove", (event) => {
    const from = down.get(event.pointerId);
    if (!from) return;
    const dx = event.clientX - from.x, dy = event.clientY - from.y;
    far += Math.abs(dx) + Math.abs(dy);
    if (far > 5) canvas.setPointerCapture(event.pointerId);
    Object.assign(from, { x: event.clientX, y: event.clientY });
    if (down.size === 1 && far > 5) pan(-dx, -dy);
    if (down.size === 2) {
      const [a, b] = [...down.values()], now = Math.hypot(a.x - b.x, a.y - b.y);
      if (apart) app.zoom(now / apart, (a.y + b.y) / 2 - canvas.getBoundingClientRect().top);
      apart = now;
    }
  });
  const up = (event) => {
    if (!down.delete(event.pointerId) || event.type === "pointercancel" || far > 5) return;
    const i = under(event);
    app.focus();
    if (i >= 0 && app.forest.window && app.forest.flags[i] & BUNDLE) { app.into(i); return; }
    if (i >= 0) goTo(app.forest.flags[i] & BUNDLE ? app.forest.parent[i] : i);
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}

function onMap() {
  const go = (event) => {
    const { view, lines, height } = app, box = map.getBoundingClientRect();
    if (app.forest.window) { const { first, last } = app.forest.window, { span } = shownNow(app); show(Math.max(first, first + ((event.clientY - box.top) / height) * (last - first + 1) - span / 2), span); return; }
    view.top = ((event.clientY - box.top) / height) * lines.length - height / view.h / 2;
    seen();
  };
  map.addEventListener("pointerdown", (event) => { map.setPointerCapture(event.pointerId); go(event); });
  map.addEventListener("pointermove", (event) => { if (map.hasPointerCapture(event.pointerId)) go(event); });
  map.addEventListener("wheel", (event) => { event.preventDefault(); pan(0, event.deltaY); }, { passive: false });
  map.addEventListener("keydown", (event) => {
    const by = { ArrowDown: 3, ArrowUp: -3, PageDown: app.page(), PageUp: -app.page(), Home: -Infinity, End: Infinity }[event.key];
    if (by === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    if (app.forest.window && Math.abs(by) === Infinity) { const { first, last } = app.forest.window, { span } = shownNow(app); show(by < 0 ? first : last - span + 1, span); return; }
    app.view.top = by === Infinity ? app.lines.length : by === -Infinity ? 0 : app.view.top + by;
    seen();
  });
}

// ---- light and dark ------------------------------------------------------------------------------------

function theme(which) {
  if (which) document.documentElement.dataset.theme = which; else delete document.documentElement.dataset.theme;
  at("theme").setAttribute("aria-label", `Colours: ${which ?? "as the system"}`);
  at("theme").title = `Colours: ${which ?? "as the system"} (T)`;
}

/** A page from a file may have no storage. */
function localTheme() {
  try { return localStorage.getItem("lineage-theme"); } catch { return null; }
}

app.turnTheme = () => {
  const now = document.documentElement.dataset.theme, next = { undefined: "dark", dark: "light" }[now] ?? null;
  theme(next);
  try { if (next) localStorage.setItem("lineage-theme", next); else localStorage.removeItem("lineage-theme"); } catch { /* not kept, then */ }
  repaint();
};

function repaint() {
  app.theme = readTheme();
  compose();
  lightUp();
  tell();
}

/** Columns are as wide as what they say needs, of names the longest are measured; those of niches are as wide
    as their heads, where there is room. */
function widen() {
  const { forest } = app, pen = canvas.getContext("2d"), every = Math.max(1, Math.floor(forest.n / 3000));
  let name = 70, status = 90, power = 80;
  pen.font = `650 13px ${app.theme.font}`;
  for (const one of [...forest.name].sort((a, b) => b.length - a.length).slice(0, 64)) name = Math.max(name, pen.measureText(one.slice(0, 60)).width);
  pen.font = `12px ${app.theme.font}`;
  for (const flags of new Set(forest.flags)) if (!(flags & BUNDLE)) status = Math.max(status, pen.measureText(marked(forest, flags)).width);
  if (forest.units.length > 1) for (let i = 0; i < forest.n; i += every) if (!Number.isNaN(forest.power[i])) power = Math.max(power, pen.measureText(billed(forest, i)).width);
  const before = forest.window ? app.wide : null;  // from window to window columns only grow
  app.wide = {
    name: Math.max(before?.name ?? 0, Math.ceil(name) + 18), status: Math.max(before?.status ?? 0, Math.min(220, Math.ceil(status) + 14)),
    power: Math.max(before?.power ?? 0, Math.min(140, Math.ceil(power) + 8)),
    niche: (k) => { pen.font = HEADS(); return Math.min(92, pen.measureText(forest.niches[k].task.slice(0, 200)).width + 6); },
  };
}

start();
