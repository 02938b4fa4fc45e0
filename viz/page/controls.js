/* What stands around the plate: axis, colour, the menus for columns, filters and export, the time
   slider, the legend, and the keys. */

import { AGAINST, BUNDLE, CULLED, ESTIMATED, GHOST, GUARDED, PROPOSED, PROTECTED, status } from "./forest.js";
import { ofStatus } from "./far.js";
import { WINDOW_LACKS, familyShown } from "./panel.js";
import { shapeOf } from "./plate.js";
import { at, count, counted, make, moment, short, svg } from "./words.js";

export function controls(app) {
  fill(app);
  onColour(app);
  onTime(app);
  at("theme").addEventListener("click", () => app.turnTheme());
  at("about").addEventListener("click", () => app.family(!familyShown()));
  at("plan").addEventListener("click", () => app.plan(!app.view.plan));
  at("everything").addEventListener("click", () => app.everything());
  for (const [id, act] of [["zoom-in", () => app.zoom(1.4)], ["zoom-out", () => app.zoom(1 / 1.4)], ["fit", () => app.fit()]])
    at(id).addEventListener("click", act);
  for (const [id, act] of [["save-svg", () => app.saveSvg()], ["save-png", () => app.savePng()], ["copy-newick", () => app.copyNewick()], ["print", () => window.print()]])
    at(id).addEventListener("click", () => { act(); closeMenus(); });
  menus(app);
  document.addEventListener("keydown", (event) => onKey(app, event));
}

/** What there is to choose among follows from the family. */
export function fill(app) {
  axisChoice(app);
  colourChoice(app);
  for (const [id, write] of Object.entries(MENUS)) if (!at(id).hidden) write(app);
  timeBar(app);
  at("plan").hidden = !app.forest.flags.some((flag) => flag & (PROPOSED | GUARDED));
}

/** A button and the box it opens; one at a time, closed by Escape and by a click elsewhere. */
function menus(app) {
  for (const button of document.querySelectorAll("[aria-controls$='-menu']")) {
    const box = at(button.getAttribute("aria-controls"));
    button.addEventListener("click", () => {
      const open = box.hidden;
      closeMenus();
      if (open) MENUS[box.id]?.(app);
      box.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
      if (open) box.querySelector("input, select, button")?.focus();
    });
    box.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      closeMenus();
      button.focus();
      event.stopPropagation();
    });
  }
  document.addEventListener("pointerdown", (event) => { if (!event.target.closest(".menu, [aria-controls$='-menu']")) closeMenus(); });
}

function closeMenus() {
  for (const button of document.querySelectorAll("[aria-controls$='-menu']")) {
    at(button.getAttribute("aria-controls")).hidden = true;
    button.setAttribute("aria-expanded", "false");
  }
}

function axisChoice(app) {
  const { axes } = app.forest, box = at("axes");
  box.hidden = Object.keys(axes).length < 2;
  if (box.hidden) return;
  box.replaceChildren(...Object.entries(axes).map(([key, { label }]) =>
    make("button", { type: "button", id: `axis-${key}`, onclick: () => app.set({ axis: key, zx: 1, px: 0 }) }, label)));
}

function colourChoice(app) {
  const { forest } = app, box = at("colour");
  const option = (value, text) => make("option", { value }, text);
  const niches = make("optgroup", { label: "fitness in" }, ...forest.niches.map(({ name }, k) => option(`niche ${k}`, short(name, 40))));
  const others = make("optgroup", { label: "other" }, option("relation", "relation"), option("status", "status"));
  if (forest.units.length) others.append(option("power", "power"));
  if (forest.axes.time) others.append(option("age", "age"));
  others.append(option("licence", "licence"));
  box.replaceChildren(...(forest.niches.length ? [niches] : []), others);
  if (app.details) addTags(app, box);
}

function onColour(app) {
  const box = at("colour");
  box.addEventListener("change", () => {
    const niche = box.value.startsWith("niche ");
    app.set(niche ? { colour: "fitness", niche: Number(box.value.slice(6)) } : { colour: box.value });
  });
  box.addEventListener("focus", () => addTags(app, box));
}

/** Tags are among the details: their keys join the list when it is first used. */
async function addTags(app, box) {
  const details = await app.open(), keys = new Map();
  for (const line of details["tags.words"]) for (const tag of line.split("\t").filter(Boolean)) {
    const key = tag.split(" ")[0];
    keys.set(key, (keys.get(key) ?? 0) + 1);
  }
  if (!keys.size || box.querySelector("#tag-colours")) return;
  const common = [...keys].sort((a, b) => b[1] - a[1]).slice(0, 20);
  box.append(make("optgroup", { label: "tag", id: "tag-colours" }, ...common.map(([key]) => make("option", { value: `tag ${key}` }, short(key, 40)))));
}

// ---- menus -------------------------------------------------------------------------------------

const tick = (text, checked, change) => {
  const box = make("input", { type: "checkbox", checked });
  box.addEventListener("change", () => change(box.checked));
  return make("label", { className: "tick" }, box, make("bdi", {}, text));
};

function choice(label, options, value, change, id) {
  const box = make("select", { id }, ...options.map(([key, text]) => make("option", { value: key, selected: String(key) === String(value) }, text)));
  box.addEventListener("change", () => change(box.value));
  return make("label", { className: "pick" }, label, box);
}

function viewMenu(app) {
  const { view, forest } = app, menu = at("view-menu");
  const column = (key) => (on) => { if (on) view.shown.add(key); else view.shown.delete(key); app.set({}); };
  const niches = make("div", { className: "niches" });
  forest.niches.forEach(({ name }, k) => niches.append(tick(short(name, 40), view.columns.includes(k), (on) => {
    app.set({ columns: on ? [...view.columns, k].sort((a, b) => a - b) : view.columns.filter((one) => one !== k) });
  })));
  menu.replaceChildren(
    make("h2", {}, "Columns"), forest.window ? make("p", {}, "Seen where each row is an organism; from afar there is the niche that colours.") : "", tick("relation", view.shown.has("relation"), column("relation")), tick("status", view.shown.has("status"), column("status")), tick("power", view.shown.has("power"), column("power")),
    forest.niches.length ? make("h2", {}, "Niches") : "", niches,
    make("h2", {}, "Tree"),
    choice("size by", [["same", "nothing"], ["clade", "size of clade"], ["power", "power"], ["parameters", "parameters"]], view.size, (size) => app.set({ size }), "size"),
    ...(forest.window ? [] : [tick("fold what is alike", view.fold, (fold) => { view.opened.clear(); app.set({ fold }); }),
    make("button", { type: "button", className: "act", onclick: () => { view.folded.clear(); app.set({ fold: false, root: -1, only: -1 }); app.fit(); } }, "unfold everything")]),
  );
}

function filterMenu(app) {
  const { forest, view } = app, menu = at("filter-menu");
  const set = (part) => app.set({ filter: { ...app.view.filter, ...part } });
  const statusChoice = (what) => choice(what, [["", "any"], ...forest.statuses.map((one) => [one, one])], view.filter.status, (value) => set({ status: value }), "of-status");
  if (forest.window) {
    menu.replaceChildren(make("h2", {}, "Light up"), statusChoice("rows with"), make("p", {}, WINDOW_LACKS));
    return;
  }
  const origins = [...new Set(forest.origins)].filter(Boolean).map((one) => [one, one]);
  menu.replaceChildren(
    make("h2", {}, "Show only"),
    choice("relation", [["", "any"], ...origins], view.filter.relation, (relation) => set({ relation }), "of-relation"),
    statusChoice("status"),
    forest.niches.length ? choice("scored in", [[-1, "any or none"], ...forest.niches.map(({ name }, k) => [k, short(name, 40)])], view.filter.niche, (k) => set({ niche: Number(k) }), "of-niche") : "",
    make("p", {}, "What leads to them stays."),
    make("button", { type: "button", className: "act", onclick: () => app.everything() }, "show all"),
  );
}

/** Menus that are written when they are opened. */
const MENUS = { "view-menu": viewMenu, "filter-menu": filterMenu };

/** The slider that grows the tree. */
function timeBar(app) {
  const { forest, view } = app, slider = at("time");
  at("grow").hidden = !forest.axes.time;
  if (!forest.axes.time) return;
  let high = 0;
  for (const value of forest.axes.time.at) if (value > high) high = value;
  slider.max = String(high);
  slider.step = String(Math.max(1, Math.floor(high / 500)));
  slider.value = String(view.filter.until ?? high);
}

function onTime(app) {
  const bar = at("timebar"), slider = at("time"), said = at("when"), button = at("grow");
  const tell = () => {
    const { forest } = app, high = Number(slider.max), until = Number(slider.value), all = until >= high;
    const text = moment(forest.epoch + until, high);
    said.textContent = text;
    slider.setAttribute("aria-valuetext", text);
    app.set({ filter: { ...app.view.filter, until: all ? null : until } });
  };
  slider.addEventListener("input", tell);
  button.addEventListener("click", () => {
    bar.hidden = !bar.hidden;
    button.setAttribute("aria-expanded", String(!bar.hidden));
    if (bar.hidden) { slider.value = slider.max; tell(); } else { tell(); slider.focus(); }
    app.resized();
  });
  at("play").addEventListener("click", () => play(slider, tell));
}

let playing = 0;

function play(slider, tell) {
  const high = Number(slider.max);
  clearInterval(playing);
  if (Number(slider.value) >= high) slider.value = "0";
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  playing = setInterval(() => {
    slider.value = String(Number(slider.value) + high / (still ? 6 : 60));
    tell();
    if (Number(slider.value) >= high) clearInterval(playing);
  }, still ? 800 : 60);
}

// ---- what the controls say ---------------------------------------------------------------------

/** All that follows from the view. */
export function tellControls(app) {
  const { view, forest } = app;
  for (const key of Object.keys(forest.axes)) at(`axis-${key}`)?.setAttribute("aria-pressed", String(view.axis === key));
  at("colour").value = view.colour === "fitness" ? `niche ${view.niche}` : view.colour;
  at("plan").setAttribute("aria-pressed", String(view.plan));
  const narrowed = view.filter.relation || view.filter.status || view.filter.niche >= 0 || view.filter.until !== null || view.root >= 0 || view.only >= 0;
  at("narrowed").textContent = !narrowed ? "" : forest.window ? holds(forest, view.filter.status) : `${counted(app.lines.length, "row")} of ${count(forest.n)}`;
  at("everything").hidden = !narrowed;
  legend(app);
}

const shape = (tag, attributes) => () => svg("svg", { viewBox: "-7 -7 14 14", "aria-hidden": "true" }, svg(tag, attributes));
const SIGNS = [
  { key: "dot", shape: shape("circle", { r: 4.6 }), text: "trained" },
  { key: "square", shape: shape("rect", { x: -4.2, y: -4.2, width: 8.4, height: 8.4 }), text: "quantized, pruned, converted" },
  { key: "diamond", shape: shape("path", { d: "M0-5.6 5.6 0 0 5.6-5.6 0z" }), text: "merge" },
  { key: "triangle", shape: shape("path", { d: "M0-5.4 5.2 4-5.2 4z" }), text: "adapter" },
  { key: "further", shape: () => svg("svg", { viewBox: "0 -7 30 14", class: "dotted", "aria-hidden": "true" }, svg("path", { d: "M1 0H29" })), text: "further parent, width = share" },
  { key: "against", mark: "s", text: "struck: selected against" },
  { key: "hollow", shape: shape("circle", { r: 4.6, "stroke-dasharray": "2 1.7" }), text: "culled, or a ghost" },
  { key: "protected", text: "◆ protected" },
  { key: "front", mark: "b", text: "bold: on the front of its niche" },
  { key: "estimated", text: "~ estimated" },
  { key: "bundle", text: "… several, folded or not drawn" },
];

/** How many of a status the rows of a window hold. */
function holds(forest, wanted) {
  let found = 0, all = 0;
  for (let i = forest.window.above; i < forest.n; i += 1) { found += ofStatus(forest, wanted, i); all += forest.count[i]; }
  return `${count(found)} ${wanted} of ${count(all)} ${all < forest.window.last - forest.window.first + 1 ? "hereabouts" : ""}`.trim();
}

/** The signs that are drawn, and what they mean: {key, text}, with a `shape`, or the `mark` of its first word. */
export function signs({ forest, view, used }) {
  return SIGNS.filter(({ key }) => used.has(key) || (key === "bundle" && view.fold));
}

function legend(app) {
  const { theme } = app;
  app.used ??= usedBy(app.forest);
  at("signs").replaceChildren(...signs(app).map(({ shape, mark, text }) => make("li", {}, shape ? shape() : null, mark ? make("span", {}, make(mark, {}, text.split(":")[0]), text.slice(text.indexOf(":"))) : text)));
  const { legend: scale } = app.colours;
  const parts = typeof scale === "string" ? [scale] : Array.isArray(scale)
    ? scale.map(([colour, word]) => make("span", { className: "kind" }, swatch(colour), make("bdi", {}, short(word || "none", 24))))
    : [`${short(scale.what, 36)}${scale.what ? ": " : ""}${scale.low}`, make("span", { className: "swatches" }, ...theme.swatches.map(swatch)), scale.high];
  if (app.forest.window?.each > 1 && app.view.colour !== "fitness") parts.unshift("rows that are one organism:");
  at("scale").replaceChildren(...parts);
}

function swatch(colour) {
  const box = make("i", { "aria-hidden": "true" });
  box.style.background = colour;
  return box;
}

/** Only what is drawn is explained. */
function usedBy(forest) {
  const used = new Set(forest.further.child.length ? ["further"] : []);
  for (let i = 0; i < forest.n; i += 1) {
    const flags = forest.flags[i], state = status(forest, i);
    if (flags & BUNDLE) { used.add("bundle"); continue; }
    used.add(shapeOf(forest, i));
    if (state === AGAINST) used.add("against");
    if (state === CULLED || state === GHOST) used.add("hollow");
    if (flags & PROTECTED) used.add("protected");
    if (flags & ESTIMATED) used.add("estimated");
  }
  if (forest.niches.some(({ front }) => front.includes(1))) used.add("front");
  return used;
}

// ---- keys --------------------------------------------------------------------------------------

const NEEDS_ALL = ["r", "a", "c", "p", "u"];  // what a window on a larger family cannot answer

function onKey(app, event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["INPUT", "SELECT", "TEXTAREA"].includes(event.target.tagName)) return;
  const { view } = app;
  if (app.forest.window && NEEDS_ALL.includes(event.key)) { app.say(WINDOW_LACKS); return; }
  const moves = {
    ArrowDown: () => app.step(1), ArrowUp: () => app.step(-1), ArrowLeft: () => app.toParent(), ArrowRight: () => app.toChild(),
    Home: () => app.step(-Infinity), End: () => app.step(Infinity), PageDown: () => app.step(app.page()), PageUp: () => app.step(-app.page()),
  };
  const acts = {
    "/": () => at("search").focus(), Escape: () => (at("help").open ? at("help").close() : familyShown() ? app.family(false) : app.choose(-1)),
    "+": () => app.zoom(1.4), "=": () => app.zoom(1.4), "-": () => app.zoom(1 / 1.4), 0: () => app.fit(), 1: () => app.rows(),
    ">": () => app.stretch(1.4), "<": () => app.stretch(1 / 1.4),
    r: () => app.reroot(view.root >= 0 && view.root === view.chosen ? -1 : view.chosen), a: () => app.only(view.only >= 0 ? -1 : view.chosen),
    c: () => app.compare(), p: () => app.plan(!view.plan), t: () => app.turnTheme(), x: () => app.nextAxis(), n: () => app.nextNiche(), u: () => app.set({ fold: !view.fold }),
    "?": () => at("help").showModal(),
  };
  const onButton = event.target.closest("button, a, summary, canvas[tabindex], [role=scrollbar]");
  if ((event.key === " " || event.key === "Enter") && !onButton) { if (view.chosen >= 0) app.fold(view.chosen); }
  else if (moves[event.key] && !event.target.closest("[role=scrollbar], canvas[tabindex], .panel")) moves[event.key]();
  else if (acts[event.key]) acts[event.key]();
  else return;
  event.preventDefault();
}
