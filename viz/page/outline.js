/* The tree for a screen reader: the lines around the chosen one as items of a tree, each said in words,
   while the canvas is for the eye. */

import { status } from "./forest.js";
import { marks } from "./plate.js";
import { figure, make, short } from "./words.js";

const AROUND = 25;

export function outline(app) {
  const { lines, view, forest, plate } = app;
  const tree = plate.querySelector("#outline");
  const here = Math.max(0, view.chosen >= 0 ? lines.of[view.chosen] : Math.floor(view.top));
  const from = Math.max(0, here - AROUND), to = Math.min(lines.length, here + AROUND);
  const items = [];
  for (let line = from; line < to; line += 1) items.push(item(app, line));
  tree.replaceChildren(...items);
  if (view.chosen >= 0 && lines.of[view.chosen] >= 0) plate.setAttribute("aria-activedescendant", `line-${lines.of[view.chosen]}`);
  else plate.removeAttribute("aria-activedescendant");
}

function item(app, line) {
  const { lines, view, forest } = app, i = lines.node[line];
  const said = [short(app.said(line, "name"), 200), app.said(line, "relation"), lines.kind[line] ? "" : forest.statuses[status(forest, i)], marks(app.scene, line).replace(/[✕◆]/g, "")];
  for (const k of view.niche >= 0 ? [view.niche] : []) {
    const value = app.value(k, i);
    if (value !== null) said.push(`${forest.niches[k].name} ${figure(value, forest.niches[k].digits)}`);
  }
  if (!Number.isNaN(forest.power[i])) said.push(`${figure(forest.power[i], forest.units[forest.unit[i]].digits)} ${forest.units[forest.unit[i]].words}`);
  const one = make("div", { role: "treeitem", id: `line-${line}`, "aria-level": String(forest.depth[i] + 1), "aria-selected": String(i === view.chosen) }, said.filter(Boolean).join(", "));
  if (forest.size[i] > 1) one.setAttribute("aria-expanded", String(!view.folded.has(i)));
  return one;
}
