/* Draws the family that stands in #family as JSON: tree on the left, table on the right, the same
   row for the same organism. Whatever comes from outside is written as text, never as HTML. */
"use strict";
(() => {
const family = JSON.parse(document.getElementById("family").textContent);
const { rows, niches, units } = family;
const at = (id) => document.getElementById(id);
const plate = at("plate"), panel = at("panel"), search = at("search");

const MARGIN = 28;          // px beside the first and the last generation
const STEP = 74;            // px a generation, at most
const TREE = [200, 290];    // px of the tree, least, where generations are few and many
const ROW = [17, 26];       // px a row, least and most
const HEAT_COLUMNS = 4;     // niches in the table
const BAR = 46;             // px of the longest power bar
const LISTED = 200;         // folded ones that the panel names

let niche = family.niche;   // the one that colours, -1 where nothing is scored
let chosen = -1, hovered = -1;
let told = null;            // the organism or the line that the panel tells of
let matches = null;         // rows found, null while nothing is searched
let theme, network, nodes, place;

// ---- what is known ----------------------------------------------------------------------------

rows.forEach((row, i) => { row.number = i; row.parents = []; row.children = []; });
for (const edge of family.edges) {
  rows[edge.to].parents.push({ ...edge, row: rows[edge.from] });
  rows[edge.from].children.push({ ...edge, row: rows[edge.to] });
}
rows.forEach((row) => {
  row.parents.sort((a, b) => b.main - a.main);
  row.children.sort((a, b) => a.row.number - b.row.number);
});
// Whom a line speaks for are organisms too: they have the line's number, and kin of their own.
for (const row of rows) row.members?.forEach((one, k, all) => {
  const next = (other) => [{ main: true, relation: other.origin, row: other }];
  one.number = row.number;
  one.parents = row.steps && k ? next(all[k - 1]) : row.parents;
  one.children = !row.steps ? [] : k < all.length - 1 ? next(all[k + 1]) : row.children;
});
const lines = rows.filter((row) => !row.more);
const ones = (row) => row.members ?? [row];
const last = (row) => ones(row).at(-1);  // whoever has children in a line is its last
const organisms = lines.flatMap(ones);
const isAlive = (row) => row.status === "alive";
const mainParent = (row) => row.parents.find((link) => link.main)?.row;
const scoreOf = (row, which) => row.scores?.find((score) => score[0] === which);
const onFront = (row, which) => row.front?.includes(which) ?? false;

// For every niche: the values of the living, and which end of them is better.
niches.forEach((one, which) => {
  const scored = organisms.filter((row) => isAlive(row) && scoreOf(row, which));
  one.sign = one.direction === "lower" ? -1 : 1;
  one.ranked = scored.sort((a, b) => one.sign * (scoreOf(b, which)[1] - scoreOf(a, which)[1]));
  one.values = one.ranked.map((row) => scoreOf(row, which)[1]);
});

/** From 0, the worst of the living, to 1, the best; null where nobody knows which is better. */
function goodness(which, value) {
  const { values, direction } = niches[which];
  if (!direction || !values.length) return null;
  const best = values[0], worst = values[values.length - 1];
  return best === worst ? 1 : Math.min(1, Math.max(0, (value - worst) / (best - worst)));
}

/** The colour of the best of a line. */
function colourOf(row, which) {
  const found = ones(row).filter((one) => which >= 0 && isAlive(one) && scoreOf(one, which))
    .map((one) => goodness(which, scoreOf(one, which)[1])).filter((good) => good !== null);
  return found.length ? mixed(Math.max(...found) * (theme.scale.length - 1)) : null;
}

function mixed(position) {
  const i = Math.min(theme.scale.length - 2, Math.floor(position)), part = position - i;
  const [low, high] = [theme.scale[i], theme.scale[i + 1]].map(channels);
  return `rgb(${low.map((c, k) => Math.round(c + (high[k] - c) * part)).join(",")})`;
}

const channels = (colour) => colour.startsWith("#")
  ? [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16))
  : colour.match(/\d+/g).map(Number);

function luminance(colour) {  // WCAG 2.2, relative luminance
  const [r, g, b] = channels(colour).map((c) => {
    c /= 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

/** Dark or light letters, whichever contrasts more with the ground they stand on. */
const lettersOn = (ground) => ["#000000", "#ffffff"]
  .reduce((one, other) => (contrast(ground, one) > contrast(ground, other) ? one : other));

function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  theme = { scale: read("scale").split(/\s+/) };
  for (const name of ["paper", "ink", "soft", "faint", "hair", "branch", "band", "mute", "accent"])
    theme[name] = read(name);
}

// ---- writing ----------------------------------------------------------------------------------

/** An element of `children`: elements, or text that stays text. */
function make(tag, properties = {}, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

function svg(tag, attributes) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}

/** To so many places; where that left less than two digits, to two. */
const figure = (value, digits) =>
  (Number.isInteger(value) || Math.abs(value) >= 10 ** (1 - digits) ? value.toFixed(digits) : value.toPrecision(2));
const scored = (which, value) => figure(value, niches[which].digits);
const power = ({ value, unit, source }) =>
  (source === "estimated" ? "~" : "") + figure(value, units[unit].digits);
const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
const link = (row) => make("button", {
  type: "button", dir: "auto", onclick: () => choose(row.number, true, row),
}, short(row.name));
const short = (name) => (name.length > 60 ? `${name.slice(0, 59)}…` : name);

function withPrefix(value, base, unit) {
  const prefixes = ["", "k", "M", "G", "T", "P"];
  let i = 0;
  while (value >= base && i < prefixes.length - 1) { value /= base; i += 1; }
  return `${value >= 100 || i === 0 ? Math.round(value) : value.toPrecision(2)} ${prefixes[i]}${unit}`;
}

function marks(row) {
  return row.held ?? [
    row.status === "selected against" ? "✕ selected against" : row.status === "alive" ? "" : row.status,
    row.protected ? "◆ protected" : "", row.bearing ? "load-bearing" : "",
  ].filter(Boolean).join(" · ");
}

// ---- the table --------------------------------------------------------------------------------

/** The niches of the table: the first few, the chosen one always among them. */
function columns() {
  const first = niches.map((_, i) => i).slice(0, HEAT_COLUMNS);
  if (niche >= 0 && !first.includes(niche)) first[first.length - 1] = niche;
  return first;
}

function writeHeads() {
  const unit = units.length === 1 ? units[0].unit : "serving";
  at("heads").replaceChildren(
    make("th", { role: "columnheader", className: "name" }, "Organism"),
    make("th", { role: "columnheader", className: "origin" }, "Relation"),
    make("th", { role: "columnheader", className: "status" }, "Status"),
    ...columns().map((which) => make("th", {
      role: "columnheader", className: which === niche ? "heat chosen" : "heat", title: niches[which].name,
    }, make("bdi", {}, niches[which].task), make("small", {}, niches[which].metric))),
    ...(units.length ? [make("th", { role: "columnheader", className: "power" }, unit)] : []),
  );
}

function writeRows() {
  const shown = columns();
  const most = organisms.reduce((so, one) => Math.max(so, one.serving?.value ?? 0), 0);
  at("rows").replaceChildren(...rows.map((row) => {
    const line = make("tr", { role: "row", tabIndex: -1 });
    line.setAttribute("aria-level", depth(row) + 1);
    line.addEventListener("click", () => choose(row.number));
    line.addEventListener("mouseenter", () => hover(row.number));
    row.line = line;
    if (row.more) {
      line.className = "more";
      line.append(
        make("td", { role: "gridcell", className: "name" }, row.name),
        make("td", { role: "gridcell", className: "origin" }),
        make("td", { role: "gridcell", className: "status" }, "not drawn"),
      );
      return line;
    }
    line.classList.toggle("gone", !isAlive(row));
    line.classList.toggle("against", row.status === "selected against");
    line.classList.toggle("ghost", row.status === "ghost");
    line.append(
      make("td", { role: "gridcell", className: "name" }, make("bdi", {}, row.name.slice(0, 200)),
        row.aliases ? make("small", { dir: "auto" }, row.aliases.join(", ")) : null),
      make("td", { role: "gridcell", className: "origin" }, row.origin),
      make("td", { role: "gridcell", className: "status" }, marks(row)),
      ...shown.map((which) => heatCell(row, which)),
    );
    if (units.length) line.append(powerCell(row, most));
    return line;
  }));
}

function depth(row) {
  if (row.depth === undefined) {
    const parent = mainParent(row);  // rows are in pre-order: a parent is known before its children
    row.depth = parent ? parent.depth + 1 : 0;
  }
  return row.depth;
}

function heatCell(row, which) {
  const cell = make("td", { role: "gridcell", className: which === niche ? "heat chosen" : "heat" });
  if (row.members) return rangeCell(cell, row, which);
  const score = scoreOf(row, which);
  if (!score) return cell;
  const text = scored(which, score[1]);
  const box = make("span", {}, onFront(row, which) ? make("b", {}, text) : text);
  const colour = colourOf(row, which);
  if (colour) Object.assign(box.style, { background: colour, color: lettersOn(colour) });
  cell.append(box);
  return cell;
}

/** From the least to the largest, above a band with the share of each shade. */
function rangeCell(cell, row, which) {
  const scored = row.members.filter((one) => scoreOf(one, which));
  if (!scored.length) return cell;
  const front = scored.every((one) => onFront(one, which));
  const box = make("span", { className: "range" }, front ? make("b", {}, row.ranges[which]) : row.ranges[which]);
  const best = (one) => (isAlive(one) ? goodness(which, scoreOf(one, which)[1]) ?? -1 : -1);
  const shades = scored.sort((a, b) => best(a) - best(b)).map((one) => colourOf(one, which) ?? theme.mute);
  const part = (i) => `${((100 * i) / shades.length).toFixed(1)}%`;
  const stops = shades.map((shade, i) => `${shade} ${part(i)} ${part(i + 1)}`);
  box.style.backgroundImage = `linear-gradient(90deg, ${stops.join(",")})`;
  cell.append(box);
  return cell;
}

/** What serving costs, with its unit where there are several. */
function billed(row) {
  if (row.members) return row.cost ?? "";
  return row.serving ? power(row.serving) + (units.length === 1 ? "" : ` ${units[row.serving.unit].unit}`) : "";
}

function powerCell(row, most) {
  const cell = make("td", { role: "gridcell", className: "power" });
  const costs = ones(row).map((one) => one.serving).filter(Boolean);
  if (units.length === 1 && costs.length) {
    const bar = make("i"), much = costs.reduce((so, one) => Math.max(so, one.value), 0);
    bar.style.width = `${Math.max(2, (BAR * much) / (most || 1))}px`;
    cell.append(bar);
  }
  cell.append(billed(row));
  return cell;
}

// ---- the tree ---------------------------------------------------------------------------------

/** Where everything lies, in px of the sheet: rows as high as fits, generations as wide. */
function measure() {
  const head = at("axis").offsetHeight;
  const fit = Math.floor((plate.clientHeight - head - 10) / Math.max(1, rows.length));
  const height = Math.min(ROW[1], Math.max(ROW[0], fit));
  const root = document.documentElement.style;
  root.setProperty("--row", `${height}px`);
  root.setProperty("--tree", `${(family.generations - 1) * STEP + 2 * MARGIN + 20}px`);
  root.setProperty("--tree-least", `${Math.min(TREE[1], Math.max(TREE[0], family.generations * 9))}px`);
  const width = at("tree").clientWidth;
  const last = Math.max(1, ...rows.map((row) => row.generation));
  const step = Math.min(STEP, (width - 2 * MARGIN) / last);
  place = {
    height, width, step, window: plate.clientHeight - head,
    size: Math.max(1.6, Math.min(5, height * 0.3, step * 0.45)),
    x: (row) => MARGIN + row.generation * step,
    y: (row) => (row.number + 0.5) * height,
  };
}

function writeAxis() {
  const each = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((n) => n * place.step >= 26) ?? 5000;
  const ticks = [make("span", { className: "what" }, family.axis)];
  for (let g = 0; g < family.generations; g += each) {
    const tick = make("span", {}, String(g));
    tick.style.left = `${MARGIN + g * place.step}px`;
    ticks.push(tick);
  }
  place.ticks = each;
  at("axis").replaceChildren(...ticks);
}

function nodeOf(row) {
  const colour = colourOf(row, niche);
  const fill = colour ?? theme.paper;
  const pale = !colour || contrast(colour, theme.paper) < 1.9;
  const line = pale ? theme.faint : colour;
  const both = { background: fill, border: line };
  const dashed = row.status === "culled" || row.status === "ghost";
  return {
    id: row.number, x: place.x(row), y: place.y(row),
    size: row.more ? 0.5 : place.size * (row.steps ? 0.7 : 1) * (row.shape === "dot" ? 1 : row.shape === "square" ? 0.9 : 1.15),
    color: { ...both, highlight: both, hover: both },
    opacity: matches && !matches.has(row.number) ? 0.25 : 1,
    borderWidth: 1.1, borderWidthSelected: 1.1,
    shapeProperties: { borderDashes: dashed ? [2, 2] : false },
  };
}

function plant() {
  const shapes = family.nodes.map((node) => node.shape);
  rows.forEach((row, i) => { row.shape = shapes[i]; });
  nodes = new vis.DataSet(rows.map((row) => ({ ...nodeOf(row), shape: row.shape })));
  const edges = new vis.DataSet(family.edges.map(({ from, to }) => ({ from, to, hidden: true })));
  network = new vis.Network(at("network"), { nodes, edges }, {
    autoResize: false, physics: false, layout: { improvedLayout: false },
    nodes: { fixed: true, chosen: false, label: undefined, scaling: { label: false } },
    interaction: {
      dragNodes: false, dragView: false, zoomView: false, selectable: false, keyboard: false,
    },
  });
  network.on("beforeDrawing", drawBranches);
  network.on("afterDrawing", drawMarks);
  network.on("click", ({ pointer }) => choose(rowAt(pointer.canvas.y)));
}

const rowAt = (y) => {
  const i = Math.floor(y / place.height);
  return i >= 0 && i < rows.length ? i : -1;
};

/** Keeps the canvas, which is as high as the window, over the part of the sheet that is seen. */
function follow() {
  network?.moveTo({
    position: { x: place.width / 2, y: plate.scrollTop + place.window / 2 }, scale: 1, animation: false,
  });
}

function drawBranches(ctx) {
  const top = plate.scrollTop - place.height, bottom = plate.scrollTop + place.window + place.height;
  const seen = (a, b) => Math.max(a, b) >= top && Math.min(a, b) <= bottom;
  for (const [i, colour] of [[hovered, theme.mute], [chosen, theme.band]]) {
    if (i < 0) continue;
    ctx.fillStyle = colour;
    ctx.fillRect(0, i * place.height, place.width, place.height);
  }
  drawGrid(ctx, top, bottom);
  ctx.lineJoin = "round";
  for (const row of rows) {
    const parent = mainParent(row);
    if (!parent || !seen(place.y(parent), place.y(row))) continue;
    stroke(ctx, theme.branch, 1.1, parent.status === "ghost" ? [3, 3] : [], () => elbow(ctx, parent, row));
    if (row.steps) ticks(ctx, parent, row);
  }
  for (const row of rows) if (row.members && !row.steps && seen(place.y(row), place.y(row))) stack(ctx, row);
  for (const edge of family.edges) {
    const parent = rows[edge.from], child = rows[edge.to];
    if (edge.main || !seen(place.y(parent), place.y(child))) continue;
    ctx.globalAlpha = chosen < 0 || edge.to === chosen || edge.from === chosen ? 0.95 : 0.4;
    further(ctx, parent, child, edge.width);
    ctx.globalAlpha = 1;
  }
  for (let row = rows[chosen]; row && mainParent(row); row = mainParent(row))
    stroke(ctx, theme.ink, 1.9, [], () => elbow(ctx, mainParent(row), row));
}

/** Hairlines for the generations, and a dotted leader from every organism to its name. */
function drawGrid(ctx, top, bottom) {
  const end = Math.min(bottom, rows.length * place.height);
  for (let g = 0; g < family.generations; g += place.ticks) {
    const x = MARGIN + g * place.step;
    stroke(ctx, theme.hair, 1, [], () => { ctx.moveTo(x, Math.max(0, top)); ctx.lineTo(x, end); });
  }
  const first = Math.max(0, rowAt(Math.max(0, top)));
  for (const row of rows.slice(first, first + Math.ceil((bottom - top) / place.height) + 1)) {
    const y = place.y(row);
    stroke(ctx, theme.hair, 1, [1, 3], () => {
      ctx.moveTo(place.x(row) + place.size + 5, y);
      ctx.lineTo(place.width, y);
    });
  }
}

function stroke(ctx, colour, width, dashes, path) {
  ctx.strokeStyle = colour;
  ctx.lineWidth = width;
  ctx.setLineDash(dashes);
  ctx.beginPath();
  path();
  ctx.stroke();
  ctx.setLineDash([]);
}

function elbow(ctx, parent, child) {
  const [px, py, cx, cy] = [place.x(parent), place.y(parent), place.x(child), place.y(child)];
  ctx.moveTo(px, py);
  ctx.arcTo(px, cy, cx, cy, Math.max(0, Math.min(5, (cx - px) / 2, (cy - py) / 2)));
  ctx.lineTo(cx, cy);
}

/** A tick for each folded step, or as many as can be told apart. */
function ticks(ctx, parent, child) {
  const y = place.y(child), end = place.x(child), room = end - place.x(parent);
  const many = Math.min(child.members.length, Math.max(1, Math.floor(room / 3)));
  stroke(ctx, theme.soft, 1, [], () => {
    for (let k = 0; k < many; k += 1) {
      const x = end - (room * k) / many;
      ctx.moveTo(x, y - 3); ctx.lineTo(x, y + 3);
    }
  });
}

/** Several alike: two more shapes behind the one that is drawn. */
function stack(ctx, row) {
  const y = place.y(row), r = place.size;
  const corners = {
    square: [[-0.88, -0.88], [0.88, -0.88], [0.88, 0.88], [-0.88, 0.88]],
    diamond: [[0, -1.25], [1.25, 0], [0, 1.25], [-1.25, 0]],
    triangle: [[0, -1.2], [1.15, 0.85], [-1.15, 0.85]],
  }[row.shape];
  for (const away of [1.3, 0.65]) {
    const x = place.x(row) + away * r;
    const outline = () => {
      if (!corners) ctx.arc(x, y, r, 0, 7);
      else corners.forEach(([a, b], k) => (k ? ctx.lineTo : ctx.moveTo).call(ctx, x + a * r, y + b * r));
      ctx.closePath();
      ctx.fillStyle = theme.paper;
      ctx.fill();
    };
    stroke(ctx, theme.faint, 1.1, [], outline);
  }
}

/** A further parent: dotted, in the accent, as wide as its share. */
function further(ctx, parent, child, share) {
  const [px, py, cx, cy] = [place.x(parent), place.y(parent), place.x(child), place.y(child)];
  const reach = Math.max(18, Math.abs(cx - px) * 0.55);
  ctx.lineCap = "round";
  stroke(ctx, theme.accent, 0.9 + 1.6 * Math.min(1, share), [0.1, 3.4], () => {
    ctx.moveTo(px, py);
    ctx.bezierCurveTo(px + reach, py, cx - reach, cy, cx, cy);
  });
  ctx.lineCap = "butt";
}

/** Signs upon the organisms: a ring for the chosen one, a cross for selected against, three dots
    for a bundle. */
function drawMarks(ctx) {
  if (chosen >= 0) {
    stroke(ctx, theme.ink, 1.8, [], () => {
      ctx.arc(place.x(rows[chosen]), place.y(rows[chosen]), place.size + 2.2, 0, 7);
    });
  }
  const arm = place.size * 0.45;
  for (const row of rows) {
    const [x, y] = [place.x(row), place.y(row)];
    if (y < plate.scrollTop - 20 || y > plate.scrollTop + place.window + 20) continue;
    if (row.status === "selected against" && place.size > 2.5) {
      stroke(ctx, theme.soft, 1.1, [], () => {
        ctx.moveTo(x - arm, y - arm); ctx.lineTo(x + arm, y + arm);
        ctx.moveTo(x - arm, y + arm); ctx.lineTo(x + arm, y - arm);
      });
    }
    if (row.more) {
      ctx.fillStyle = theme.soft;
      for (const dx of [-5, 0, 5]) { ctx.beginPath(); ctx.arc(x + dx, y, 1.5, 0, 7); ctx.fill(); }
    }
  }
}

// ---- choosing ---------------------------------------------------------------------------------

function hover(i) {
  if (i === hovered) return;
  hovered = i;
  network?.redraw();
}

/** Shows everything about row `i` (-1: about the family), or of `one` in it; `move` brings it into view
    and focus. */
function choose(i, move = false, one = rows[i]) {
  if (rows[i]?.more) one = mainParent(rows[i]), i = one?.number ?? -1;
  told = one;
  mark(rows[Math.max(0, chosen)].line, false);
  chosen = i;
  mark(rows[Math.max(0, chosen)].line, true);
  writePanel();
  if (i >= 0) reveal(i, move);
  network?.redraw();
}

/** One line at a time takes the focus of the table: the chosen one, else the first. */
function mark(line, yes) {
  line.tabIndex = yes ? 0 : -1;
  line.classList.toggle("chosen", yes && chosen >= 0);
  line.setAttribute("aria-selected", String(yes && chosen >= 0));
}

/** Scrolls as little as shows row `i` in full; on a narrow screen the panel covers rows below it. */
function reveal(i, focus) {
  const y = i * place.height;
  const covered = getComputedStyle(panel).position === "fixed" ? panel.offsetHeight : 0;
  const room = Math.max(3 * place.height, place.window - covered);
  if (y < plate.scrollTop) plate.scrollTop = y;
  else if (y + place.height > plate.scrollTop + room) plate.scrollTop = y + place.height - room;
  if (focus && document.activeElement !== search) rows[i].line.focus({ preventScroll: true });
}

// ---- the panel --------------------------------------------------------------------------------

function writePanel() {
  panel.classList.toggle("idle", chosen < 0);
  panel.replaceChildren(...(chosen < 0 ? aboutFamily() : about(told)));
  panel.scrollTop = 0;
}

const heading = (text) => make("h3", {}, text);

function aboutFamily() {
  const best = niches.map((one, which) => [one, one.direction ? one.ranked[0] : null, which]);
  const body = make("tbody", {}, ...best.filter(([, row]) => row).slice(0, 12).map(([one, row, which]) =>
    make("tr", {}, make("td", { className: "niche", dir: "auto" }, one.name), make("td", {}, link(row)),
      make("td", { className: "figure" }, make("b", {}, scored(which, scoreOf(row, which)[1]))))));
  return [
    make("h2", { dir: "auto" }, family.title),
    make("p", {}, `${family.counts.join(", ")}.`),
    ...(body.children.length ? [heading("Best of the living"), make("table", {}, body)] : []),
    ...(rows.length ? [
      heading("How to read it"),
      make("p", {}, "Every organism has one row, below its main parent; it was made as its shape says. "
        + "Choose one, on the tree or in the table, for everything known about it."),
      heading("Keys"),
      make("p", {}, key("/"), " search, ", key("Enter"), " the next one found, ", key("↑"), " ", key("↓"),
        " rows, ", key("←"), " parent, ", key("→"), " first child, ", key("Esc"), " back here."),
    ] : []),
  ];
}

const key = (name) => make("kbd", {}, name);

const close = () => make("button", {
  className: "close", type: "button", title: "Close (Escape)", ariaLabel: "Close", onclick: () => choose(-1),
}, "✕");

/** A line that speaks for several: what they are, and each of them. */
function aboutSeveral(row) {
  const sought = search.value.trim().toLowerCase();
  const found = sought ? row.members.filter((one) => hits(one, sought)) : [];
  const listed = [...found, ...row.members.filter((one) => !found.includes(one))];
  const value = (one) => (niche >= 0 && scoreOf(one, niche) ? scored(niche, scoreOf(one, niche)[1]) : "");
  const body = listed.slice(0, LISTED).map((one) => make("tr", {},
    make("td", { className: "who", dir: "auto" }, link(one)), make("td", { className: "figure" }, value(one)),
    make("td", { className: "rank" }, marks(one))));
  const rest = listed.length - body.length;
  return [
    close(),
    make("h2", { dir: "auto", className: row.status === "selected against" ? "against" : "" }, row.name),
    make("p", { className: row.held ? "state" : "state alive" }, row.held || "alive"),
    madeBy(row),
    heading(niche < 0 ? "Folded here" : `Folded here, with ${short(niches[niche].name)}`),
    make("table", {}, make("tbody", {}, ...body)),
    rest ? make("p", {}, `and ${rest.toLocaleString("en")} more.`) : null,
    ...pedigree(row),
  ].filter(Boolean);
}

function about(row) {
  if (row.members) return aboutSeveral(row);
  return [
    close(),
    make("h2", { dir: "auto", className: row.status === "selected against" ? "against" : "" }, row.name),
    identity(row),
    make("p", { className: `state ${row.status}` },
      row.status === "ghost" ? "ghost: named as a parent, not registered"
        : [isAlive(row) ? "alive" : "", marks(row)].filter(Boolean).join(" · ")),
    madeBy(row),
    row.aliases ? make("p", {}, "Also called ", make("b", {}, row.aliases.join(", ")), ".") : null,
    heading(isAlive(row) ? "Why it lives" : "What became of it"),
    ...verdict(row).map((sentence) => make("p", { className: "said" }, sentence)),
    ...pedigree(row), ...fitness(row), ...powerOf(row),
  ].filter(Boolean);
}

/** `v1 · 7c0e91d4...` */
function identity(row) {
  const digest = row.digest
    ? make("span", { className: "mono", title: row.digest }, row.digest.slice(0, 16)) : null;
  const version = row.version ? `v${row.version}` : "";
  return make("p", { className: "identity" }, version, version && digest ? " · " : "", digest);
}

/** `finetune of A1, generation 5 · 230 k parameters · 0.9 MB` */
function madeBy(row) {
  const facts = [
    row.kind, row.parameters ? `${withPrefix(row.parameters, 1000, "").trim()} parameters` : null,
    row.bytes ? withPrefix(row.bytes, 1000, "B") : null, row.precision, row.architecture, row.licence,
    row.run ? `run ${row.run}` : null,
    row.step !== undefined ? `step ${row.step.toLocaleString("en")}` : null,
    row.created ? `made ${row.created}` : null, row.registered ? `registered ${row.registered}` : null,
  ].filter(Boolean);
  const text = make("p", {}, row.origin);
  row.parents.forEach((one, k) => {
    text.append(k ? ", " : " of ", link(last(one.row)));
    if (one.share) text.append(` ${one.share}`);
    if (!row.members && one.relation !== row.origin) text.append(` (${one.relation})`);
  });
  text.append(row.members ? "." : `, generation ${row.born}`, ...facts.map((fact) => ` · ${fact}`));
  return text;
}

function verdict(row) {
  if (row.status === "selected against")
    return [row.reason ?? "It is selected against; no reason is recorded."];
  if (row.status === "culled") return ["Its files are gone; the record stays.", row.reason ?? ""];
  if (row.status === "ghost")
    return ["A child names it as its parent. It becomes an organism when it is registered."];
  const said = [];
  if (row.front) {
    const where = row.front.map((which) => niches[which].name).join(", ");
    said.push(`On the front of ${where}: no living organism as cheap is fitter.`);
  }
  for (const [which, value] of row.scores.slice(0, 6)) {
    const better = onFront(row, which) || !row.serving ? null : dominator(row, which, value);
    if (!better) continue;
    const [more, less] = [scoreOf(better, which)[1], value].map((one) => scored(which, one));
    said.push(`In ${niches[which].name}, ${short(better.name)} is fitter at no more power: ${more} against ${less}.`);
  }
  if (row.protected) said.push("It is protected.");
  if (row.bearing) said.push("Something that is not culled needs it at run time.");
  if (!row.scores.length) said.push("It has no score, so selection can't judge it.");
  else if (!row.serving) said.push("What serving it costs is not known, so selection can't judge it.");
  return said.length ? said : ["Nothing is said against it."];
}

/** The fittest living organism of this picture that beats `row` at no more power. */
function dominator(row, which, value) {
  const { sign, direction, ranked } = niches[which];
  return direction && ranked.find((other) => other.serving?.unit === row.serving.unit
    && other.serving.value <= row.serving.value && sign * (scoreOf(other, which)[1] - value) > 0);
}

function pedigree(row) {
  const line = [];
  for (let up = row; up; up = mainParent(up) && last(mainParent(up))) line.unshift(up);
  const text = make("p", {});
  const shown = line.length > 8 ? [...line.slice(0, 3), null, ...line.slice(-4)] : line;
  shown.forEach((one, k) => {
    if (k) text.append(" → ");
    if (one === null) text.append(`… ${line.length - 7} more …`);
    else text.append(one === row ? make("b", {}, short(row.name)) : link(one));
  });
  const below = make("p", {});
  const bundles = row.children.filter((one) => one.row.more);
  const born = row.children.filter((one) => !one.row.more);
  if (born.length) {
    const count = born.reduce((so, one) => so + (one.row.steps ? 1 : ones(one.row).length), 0);
    below.append(`${plural(count, "child", "children")}: `);
    born.slice(0, 10).forEach((one, k) => {
      const how = one.row.members ? one.row.origin : one.relation;
      below.append(k ? ", " : "", link(one.row), ` ${how}${one.share ? ` (${one.share})` : ""}`);
    });
    below.append(born.length > 10 ? ` and ${born.length - 10} more.` : ".");
  } else if (!bundles.length) below.append("No children.");
  bundles.forEach((one) => below.append(` ${plural(one.row.more, "organism")} below it not drawn.`));
  return [heading("Pedigree"), text, below];
}

function fitness(row) {
  if (!row.scores?.length) return [];
  const lines = row.scores.slice(0, 40).map((score) => fitnessLine(row, score));
  return [heading("Fitness, better to the right"), make("table", {}, make("tbody", {}, ...lines))];
}

/** Niche, place among the living, score with its doubt, rank. */
function fitnessLine(row, [which, value, stderr, n]) {
  const { name, direction, values, sign } = niches[which];
  const ranked = isAlive(row) && direction;
  const rank = 1 + values.filter((other) => sign * (other - value) > 0).length;
  const way = direction ? `${direction} is better` : "which way is better is not known";
  const text = scored(which, value);
  return make("tr", {},
    make("td", { className: "niche", dir: "auto", title: `${name}, ${way}` }, name),
    make("td", {}, direction && values.length ? strip(row, which, value, stderr) : ""),
    make("td", { className: "figure", title: n ? plural(n, "example") : "" },
      onFront(row, which) ? make("b", {}, text) : text, stderr === null ? "" : ` ± ${scored(which, stderr)}`),
    make("td", { className: "rank", title: ranked ? `rank ${rank} of ${values.length} alive` : "" },
      ranked ? `${rank} / ${values.length}` : ""));
}

/** All the living as ticks, this one as a dot with one standard error to each side. */
function strip(row, which, value, stderr) {
  const x = (v) => 5 + 62 * goodness(which, v);
  const picture = svg("svg", { class: "strip", viewBox: "0 0 72 20", "aria-hidden": "true" });
  const { values } = niches[which], each = Math.ceil(values.length / 60);
  for (const v of values.filter((_, k) => k % each === 0 || k === values.length - 1)) {
    picture.append(svg("line", { x1: x(v), x2: x(v), y1: 6, y2: 14 }));
  }
  if (stderr) {
    picture.append(svg("line", { class: "doubt", x1: x(value - stderr), x2: x(value + stderr), y1: 10, y2: 10 }));
  }
  picture.append(svg("circle", { cx: x(value), cy: 10, r: 4, fill: colourOf(row, which) ?? theme.paper }));
  return picture;
}

function powerOf(row) {
  const line = (what, much, known) => make("tr", {}, make("td", {}, what),
    make("td", { className: "figure" }, make("b", {}, much)), make("td", { className: "rank" }, known));
  const lines = [];
  if (row.serving) {
    const unit = units[row.serving.unit];
    const [joules, ...per] = unit.words.split(" ");
    lines.push(line(`serving ${per.join(" ")}`, `${figure(row.serving.value, unit.digits)} ${joules}`, row.serving.source));
  }
  if (row.training) lines.push(line("its own training", row.training.value, row.training.source));
  if (!lines.length) return [];
  const table = make("table", {}, make("tbody", {}, ...lines));
  return [heading("Power"), table, row.serving?.meter ? make("p", {}, `Serving by ${row.serving.meter}.`) : null];
}

// ---- the niche, the legend --------------------------------------------------------------------

function writeLegend() {
  const used = {
    further: family.edges.some((edge) => !edge.main),
    against: organisms.some((row) => row.status === "selected against"),
    hollow: organisms.some((row) => row.status === "culled" || row.status === "ghost"),
    protected: organisms.some((row) => row.protected), front: organisms.some((row) => row.front),
    estimated: organisms.some((row) => row.serving?.source === "estimated"),
    steps: rows.some((row) => row.steps), stack: rows.some((row) => row.members && !row.steps),
    bundle: rows.some((row) => row.more),
  };
  for (const item of document.querySelectorAll(".legend li"))
    item.hidden = !(used[item.dataset.when] ?? rows.some((row) => row.shape === item.dataset.when && !row.more));
  const one = niches[niche];
  at("colour").hidden = !niches.length;
  if (!one) return;
  if (!one.direction || !one.values.length) {
    at("scale").replaceChildren(one.direction ? `nothing alive is scored in ${one.name}`
      : `which way is better in ${one.name} is not known`);
    return;
  }
  const swatches = theme.scale.map((colour) => {
    const box = make("i");
    box.style.background = colour;
    return box;
  });
  const [best, worst] = [one.values[0], one.values[one.values.length - 1]].map((v) => scored(niche, v));
  at("scale").replaceChildren(`${one.name}: worse ${worst}`, make("span", {}, ...swatches), `${best} better`);
}

function writeNiches() {
  at("niche").replaceChildren(...niches.map((one, which) =>
    make("option", { value: which, selected: which === niche }, short(one.name))));
  at("niche").addEventListener("change", (event) => { niche = Number(event.target.value); repaint(); });
}

// ---- searching --------------------------------------------------------------------------------

const searchable = (row) => [row.name, ...(row.aliases ?? []), row.origin, row.status].join("\n").toLowerCase();

const hits = (row, sought) => searchable(row).includes(sought)
  || (sought.length > 3 && row.digest?.startsWith(sought));

function find() {
  const sought = search.value.trim().toLowerCase();
  const found = sought ? organisms.filter((row) => hits(row, sought)) : [];
  matches = sought ? new Set(found.map((row) => row.number)) : null;
  at("found").textContent = matches ? `${found.length.toLocaleString("en")} found` : "";
  for (const row of rows) row.line.classList.toggle("lost", matches !== null && !matches.has(row.number));
  nodes?.update(rows.map(nodeOf));
  if (matches?.size && !matches.has(chosen)) reveal([...matches][0], false);
}

function nextFound(step) {
  const found = [...(matches ?? [])];
  if (!found.length) return;
  const here = found.indexOf(chosen);
  choose(found[here < 0 ? 0 : (here + step + found.length) % found.length], true);
}

// ---- keys -------------------------------------------------------------------------------------

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target === search) return onSearchKey(event);
  if (event.target.tagName === "SELECT") return;
  const row = rows[chosen];
  const first = () => lines[0], end = () => lines[lines.length - 1];
  const beside = (step) => lines[lines.indexOf(row) + step] ?? row;
  const go = {
    ArrowDown: () => (row ? beside(1) : first()),
    ArrowUp: () => (row ? beside(-1) : end()),
    ArrowLeft: () => (row ? mainParent(row) ?? row : first()),
    ArrowRight: () => (row ? row.children.find((one) => one.main && !one.row.more)?.row ?? row
      : first()),
    Home: first, End: end,
  }[event.key];
  if (event.key === "/") search.focus();
  else if (event.key === "Escape") choose(-1);
  else if (go) choose(go().number, true);
  else return;
  event.preventDefault();
}

function onSearchKey(event) {
  if (event.key === "Enter") nextFound(event.shiftKey ? -1 : 1);
  else if (event.key === "Escape") {
    search.value = "";
    find();
    search.blur();
    rows[chosen]?.line.focus();
  } else return;
  event.preventDefault();
}

// ---- all together -----------------------------------------------------------------------------

/** Everything that colour or the chosen niche changes. */
function repaint() {
  readTheme();
  writeHeads();
  writeRows();
  arrange();
  writeLegend();
  choose(chosen, false, told);
  find();
}

/** Everything that the size of the window changes. */
function arrange() {
  measure();
  writeAxis();
  const box = at("network");
  box.style.height = `${Math.max(1, Math.min(place.window, rows.length * place.height))}px`;
  place.window = box.clientHeight;
  if (!network) plant();
  nodes.update(rows.map(nodeOf));
  network.setSize("100%", "100%");
  network.redraw();
  follow();
}

/** Columns as wide as what they say, within bounds. */
function writeWidths() {
  const pen = document.createElement("canvas").getContext("2d");
  const { fontFamily } = getComputedStyle(document.body);
  const column = (name, font, least, most, said) => {
    pen.font = `${font} ${fontFamily}`;
    const widest = rows.reduce((so, row) => Math.max(so, pen.measureText(said(row).slice(0, 80)).width), 0);
    document.documentElement.style.setProperty(
      `--${name}`, `${Math.min(most, Math.max(least, Math.ceil(widest) + 14))}px`);
  };
  column("name", "650 13px", 74, 230, (row) => [row.name, ...(row.aliases ?? [])].join(" "));
  column("origin", "12px", 84, 120, (row) => row.origin ?? "");
  column("status", "12px", 132, 190, (row) => row.held ?? "");
  column("power", "12px", 108, 190, (row) => `${billed(row)}${"m".repeat(units.length === 1 ? 6 : 1)}`);  // beside the bar, whatever the font
}

if (!rows.length) {
  at("sheet").hidden = true;
  at("empty").hidden = false;
  for (const part of [at("colour"), panel, ...document.querySelectorAll(".legend, .find")]) part.hidden = true;
  return;
}
writeWidths();
writeNiches();
repaint();
search.addEventListener("input", find);
document.addEventListener("keydown", onKey);
plate.addEventListener("scroll", follow, { passive: true });
at("network").addEventListener("mousemove", (event) => hover(rowAt(event.offsetY + plate.scrollTop)));
plate.addEventListener("mouseleave", () => hover(-1));
new ResizeObserver(arrange).observe(plate);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
})();
