/* Takes what is seen out of the page: as SVG, as PNG, as Newick on the clipboard. */

import { BUNDLE, parents } from "./forest.js";
import { signs } from "./controls.js";
import { SvgPen } from "./pen.js";
import { outline } from "./plate.js";
import { make, short } from "./words.js";

const HEAD = 46, LINE = 20;

export function saveSvg(app) {
  save(new Blob([asSvg(app)], { type: "image/svg+xml" }), "lineage-tree.svg");
}

/** What is seen, as the text of an SVG. */
export function asSvg(app) {
  const pen = new SvgPen(document.createElement("canvas").getContext("2d")), [width, height] = size(app);
  sheet(app, pen, width, height);
  return pen.document(width, height, app.theme.font);
}

export function savePng(app) {
  const scale = 2, [width, height] = size(app);
  const canvas = make("canvas", { width: width * scale, height: height * scale }), pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  sheet(app, pen, width, height);
  canvas.toBlob((blob) => save(blob, "lineage-tree.png"), "image/png");
}

/** Rows that are there, not the empty ground below them. */
const drawnHeight = ({ height, lines, view }) => Math.min(height, Math.max(40, (lines.length - view.top) * view.h));

function size(app) {
  const width = Math.ceil(app.scene.geo.right + 24), pen = document.createElement("canvas").getContext("2d");
  pen.font = `11px ${app.theme.font}`;
  return [width, Math.ceil(drawnHeight(app.scene) + HEAD + LINE * (1 + explained(app, pen, width)))];
}

/** Says what colours and signs mean, and draws it where `y` is given; in how many lines. */
function explained(app, pen, width, y = null) {
  let x = 24, line = 0;
  const put = (room, draw) => {
    if (x > 24 && x + room > width - 12) { x = 24; line += 1; }
    if (y !== null) draw(x, y + line * LINE);
    x += room;
  };
  const say = (text) => put(pen.measureText(text).width + 14, (left, at) => { pen.fillStyle = app.theme.soft; pen.fillText(text, left, at); });
  const swatch = (colours) => put(12 * colours.length + 6, (left, at) => colours.forEach((colour, i) => { pen.fillStyle = colour; pen.fillRect(left + 12 * i, at - 4, 12, 8); }));
  const { legend } = app.scene.paint;
  if (typeof legend === "string") say(legend);
  else if (Array.isArray(legend)) for (const [colour, word] of legend) { swatch([colour]); say(short(word || "none", 24)); }
  else { say(`${short(legend.what, 36)}${legend.what ? ": " : ""}${legend.low}`); swatch(app.theme.swatches); say(legend.high); }
  for (const { key, text } of signs(app)) {
    const room = key === "further" ? 34 : SIGNS[key] ? 16 : 0;  // a sign and its words stay together
    put(room + pen.measureText(text).width + 14, (left, at) => {
      if (room) drawSign(pen, app.theme, key, left + 6, at);
      pen.fillStyle = app.theme.soft;
      pen.fillText(text, left + room, at);
    });
  }
  return line + 1;
}

const SIGNS = { dot: "dot", square: "square", diamond: "diamond", triangle: "triangle", hollow: "dot" };

function drawSign(pen, theme, key, x, y) {
  pen.strokeStyle = key === "further" ? theme.accent : theme.soft;
  pen.lineWidth = key === "further" ? 1.8 : 1.1;
  pen.lineCap = key === "further" ? "round" : "butt";
  pen.setLineDash({ hollow: [2, 1.8], further: [0.1, 3.6] }[key] ?? []);
  pen.beginPath();
  if (key === "further") { pen.moveTo(x - 4, y); pen.lineTo(x + 22, y); } else outline(pen, SIGNS[key], x, y, 4.2);
  pen.stroke();
  pen.setLineDash([]);
  pen.lineCap = "butt";
}

/** The plate with its heads, axis and what the colours mean, on paper. */
function sheet(app, pen, width, height) {
  const { scene, theme } = app, { geo } = scene, below = HEAD + drawnHeight(scene);
  pen.fillStyle = theme.paper;
  pen.fillRect(0, 0, width, height);
  pen.textBaseline = "middle";
  const say = (text, x, y, colour = theme.soft, weight = "") => {
    pen.font = `${weight}11px ${theme.font}`;
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  };
  say(app.forest.axes[app.view.axis].label, 24, 14, theme.soft, "650 ");
  pen.textAlign = "center";
  for (const { middle, text } of scene.ticks) say(text, middle, 34);
  for (const head of app.heads()) {
    pen.textAlign = head.key === "niche" ? "center" : "left";
    const x = head.key === "niche" ? head.x + head.width / 2 : head.x + (head.key === "power" ? 10 : 0);
    say(head.text, x, head.small ? 20 : 34, theme.soft, "650 ");
    if (head.small) say(head.small.slice(0, 14), x, 34);
  }
  pen.textAlign = "left";
  pen.save();
  pen.translate(0, HEAD);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, width, below - HEAD);
  pen.clip();
  app.paint(pen);
  pen.restore();
  pen.restore();
  pen.font = `11px ${theme.font}`;
  explained(app, pen, width, below + LINE);
}

function save(blob, name) {
  const link = make("a", { href: URL.createObjectURL(blob), download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

/** The clade of i, or everything: a generation a unit; further parents stand in comments. */
export function newick(forest, i = -1) {
  const out = [];
  const [start, end] = i >= 0 ? [i, i + forest.size[i]] : [0, forest.n];
  const open = [];
  const label = (j) => {
    const others = parents(forest, j).slice(1).map(([k]) => forest.name[k].replace(/[[\]{}]/g, ""));
    const length = forest.parent[j] >= start ? `:${forest.generation[j] - forest.generation[forest.parent[j]]}` : "";
    const text = forest.flags[j] & BUNDLE ? `${forest.more[j]} more` : forest.name[j];
    return `'${text.replaceAll("'", "''")}'${others.length ? `[also of ${others.join(", ")}]` : ""}${length}`;
  };
  const first = (j) => j === start || forest.parent[j] === j - 1 || forest.parent[j] < start;
  for (let j = start; j < end; j += 1) {
    while (open.length && j >= open[open.length - 1] + forest.size[open[open.length - 1]]) close(out, open, label);
    if (forest.parent[j] < start && j > start) out.push(";\n");
    else if (!first(j)) out.push(",");
    if (forest.size[j] > 1) { out.push("("); open.push(j); } else out.push(label(j));
  }
  while (open.length) close(out, open, label);
  return `${out.join("")};\n`;
}

function close(out, open, label) {
  out.push(")", label(open.pop()));
}
