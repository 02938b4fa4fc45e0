/* The view in the address: what is after # tells niche, axis, colour, where one is and what is chosen, so
   that a link shows the same. Organisms go by name, which a page drawn anew still knows. */

const SHOWN = ["relation", "status", "power"];
const said_ = (shown) => SHOWN.filter((key) => shown.has(key)).join(" ");

export function write(app) {
  const { view, forest } = app, said = new URLSearchParams();
  const name = (i) => forest.name[i].slice(0, 200);
  for (const key of ["axis", "colour", "size"]) if (view[key] !== app.start[key]) said.set(key, view[key]);
  if (view.niche !== app.start.niche) said.set("niche", forest.niches[view.niche].name);
  for (const [key, i] of [["at", view.chosen], ["with", view.other], ["root", view.root], ["only", view.only]]) if (i >= 0) said.set(key, name(i));
  if (view.plan) said.set("plan", view.after ? "after" : "before");
  if (view.fold !== app.start.fold) said.set("fold", view.fold ? "1" : "0");
  if (view.folded.size) for (const i of [...view.folded].slice(0, 20)) said.append("closed", name(i));
  for (const key of ["relation", "status"]) if (view.filter[key]) said.set(`of-${key}`, view.filter[key]);
  if (view.filter.niche >= 0) said.set("of-niche", forest.niches[view.filter.niche].name);
  if (String(view.columns) !== String(app.start.columns)) { if (!view.columns.length) said.set("column", ""); for (const k of view.columns) said.append("column", forest.niches[k].name); }
  if (said_(view.shown) !== said_(app.start.shown)) said.set("shown", said_(view.shown));
  if (view.filter.until !== null) said.set("until", String(Math.round(forest.epoch + view.filter.until)));
  if (forest.window) { const { first, span } = app.whereNow(); said.set("from", String(Math.round(first))); said.set("span", String(Math.round(span))); }
  else if (app.moved) { said.set("y", view.top.toFixed(1)); said.set("h", view.h.toFixed(4)); }
  const text = String(said);
  if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

/** The part of a large family that the address names: {first, span}; null for none. */
export function place() {
  const said = new URLSearchParams(location.hash.slice(1)), [first, span] = ["from", "span"].map((key) => Number(said.get(key) ?? NaN));
  return first >= 0 && span >= 1 ? { first: Math.floor(first), span: Math.ceil(span) } : null;
}

export function read(app) {
  const said = new URLSearchParams(location.hash.slice(1)), { view, forest } = app;
  if (![...said].length) return;
  const row = (key) => (said.has(key) ? app.byName(said.get(key)) : -1);
  const niche = (key) => forest.niches.findIndex((one) => one.name === said.get(key));
  if (forest.axes[said.get("axis")]) view.axis = said.get("axis");
  if (/^(fitness|power|age|relation|status|licence|tag .+)$/.test(said.get("colour"))) view.colour = said.get("colour");
  if (["same", "clade", "power", "parameters"].includes(said.get("size"))) view.size = said.get("size");
  if (said.has("niche") && niche("niche") >= 0) view.niche = niche("niche");
  if (said.has("column")) view.columns = said.getAll("column").map((name) => forest.niches.findIndex((one) => one.name === name)).filter((k) => k >= 0);
  if (said.has("shown")) view.shown = new Set(said.get("shown").split(" ").filter((key) => SHOWN.includes(key)));
  [view.chosen, view.other, view.root, view.only] = ["at", "with", "root", "only"].map(row);
  view.plan = said.has("plan");
  view.after = said.get("plan") === "after";
  if (said.has("fold")) view.fold = said.get("fold") === "1";
  view.folded = new Set(said.getAll("closed").map((name) => app.byName(name)).filter((i) => i >= 0));
  view.filter = {
    relation: forest.origins.includes(said.get("of-relation")) ? said.get("of-relation") : "",
    status: forest.statuses.includes(said.get("of-status")) ? said.get("of-status") : "",
    niche: said.has("of-niche") ? niche("of-niche") : -1,
    until: said.has("until") && forest.axes.time && Number.isFinite(Number(said.get("until"))) ? Number(said.get("until")) - forest.epoch : null,
  };
  if (forest.window) { app.chosenId = view.chosen >= 0 ? forest.id[view.chosen] : null; return; }
  const [y, h] = ["y", "h"].map((key) => Number(said.get(key) ?? NaN));
  if (Number.isFinite(y) && h > 0) { view.top = y; view.h = h; app.moved = true; }
}
