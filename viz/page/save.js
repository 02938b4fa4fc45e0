/* Takes what is seen out of the page: as SVG, as PNG, as Newick on the clipboard. */

import { BUNDLE, parents } from "./forest.js";
import { SvgPen } from "./pen.js";
import { at, make } from "./words.js";

const HEAD = 46, FOOT = 34;

export function saveSvg(app) {
  const { geo, height, theme } = app.scene;
  const pen = new SvgPen(document.createElement("canvas").getContext("2d"));
  sheet(app, pen);
  save(new Blob([pen.document(Math.ceil(geo.right + 24), Math.ceil(height + HEAD + FOOT), theme.font)], { type: "image/svg+xml" }), "lineage-tree.svg");
}

export function savePng(app) {
  const { geo, height } = app.scene, scale = 2;
  const canvas = make("canvas", { width: Math.ceil((geo.right + 24) * scale), height: Math.ceil((height + HEAD + FOOT) * scale) });
  const pen = canvas.getContext("2d");
  pen.scale(scale, scale);
  sheet(app, pen);
  canvas.toBlob((blob) => save(blob, "lineage-tree.png"), "image/png");
}

/** The plate with its heads, axis and what the colours mean, on paper. */
function sheet(app, pen) {
  const { scene, theme } = app, { geo, height } = scene;
  pen.fillStyle = theme.paper;
  pen.fillRect(0, 0, Math.ceil(geo.right + 24), Math.ceil(height + HEAD + FOOT));
  pen.textBaseline = "middle";
  const say = (text, x, y, colour = theme.soft, weight = "") => {
    pen.font = `${weight}11px ${theme.font}`;
    pen.fillStyle = colour;
    pen.fillText(text, x, y);
  };
  say(app.forest.axes[app.view.axis].label, 24, 14, theme.soft, "650 ");
  pen.textAlign = "center";
  for (const { x, text } of scene.ticks) say(text, x, 34);
  for (const head of app.heads()) {
    pen.textAlign = head.key === "niche" ? "center" : "left";
    const x = head.key === "niche" ? head.x + head.width / 2 : head.x + (head.key === "power" ? 10 : 0);
    say(head.text.slice(0, 14), x, head.small ? 20 : 34, theme.soft, "650 ");
    if (head.small) say(head.small.slice(0, 14), x, 34);
  }
  pen.textAlign = "left";
  pen.save();
  pen.translate(0, HEAD);
  pen.save();
  pen.beginPath();
  pen.rect(0, 0, geo.right + 24, height);
  pen.clip();
  app.paint(pen);
  pen.restore();
  pen.restore();
  const said = [...at("signs").children].map((one) => one.textContent.trim()).join("   ");
  say(`${at("scale").textContent.replace(/\s+/g, " ")}   ${said}`, 24, HEAD + height + FOOT / 2);
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
