/* The panel answers in sentences: who the chosen organism is, why it lives, what it descends from, its
   fitness with doubt and rank, its power, its history. Without one, it tells about the family. */

import { ALIVE, AGAINST, BEARING, CULLED, ESTIMATED, GHOST, GUARDED, PROPOSED, PROTECTED, children, clade, cladeOf, goodness, is, mrca, onFront, originOf, parents, pedigree, rank, scored, status, valueOf, wayDown } from "./forest.js";
import { shade } from "./colours.js";
import { CROWD, PIECE, named } from "./far.js";
import { at, count, counted, day, figure, make, minute, short, si, svg } from "./words.js";
import { billed } from "./plate.js";
import { plot } from "./plot.js";

const MANY = 12;  // children, proposals and the like that are spelled out at first
const GUARDS = { protected: "it is protected", aliased: "it holds the alias production", "load-bearing": "others need it to run", leased: "it is leased", young: "it is too young to judge", founder: "it is the only founder of a living clade" };

export function writePanel(app) {
  const panel = at("panel"), { view } = app;
  panel.classList.toggle("idle", view.chosen < 0 && !view.plan);
  at("about").setAttribute("aria-expanded", String(familyShown()));
  const parts = view.chosen < 0 ? (view.plan ? plan(app) : family(app))
    : view.other >= 0 ? comparison(app) : organism(app);
  const about = [view.chosen, view.other].map((i) => app.forest.name[i] ?? "").concat(view.plan).join("\n"), same = panel.dataset.about === about;
  const scrolled = panel.scrollTop, held = reached(panel).findIndex((one) => one.matches(":focus-visible"));
  panel.dataset.about = about;
  panel.replaceChildren(...parts.filter(Boolean));
  panel.scrollTop = same ? scrolled : 0;
  if (held >= 0) ((same && reached(panel)[held]) || panel).focus({ preventScroll: true });
}

/** On a narrow window the panel about the family is opened and closed; on a wide one it is always there. */
export const familyShown = () => at("panel").matches(".idle.open");

/** What keys reach in the panel: what they are on they stay on when all is written anew. */
const reached = (panel) => [...panel.querySelectorAll("a, button, canvas")];

const heading = (text) => make("h3", {}, text);
/** A name that leads to its organism: a link, so that it wraps as text does and can be copied. */
const link = (app, i, most = 60) => make("a", { href: `#${new URLSearchParams({ at: app.forest.name[i].slice(0, 200) })}`, dir: "auto", className: "link", onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey) return; event.preventDefault(); app.choose(i, { move: true }); } }, short(app.forest.name[i], most));
const act = (text, onclick, more = {}) => make("button", { type: "button", className: "act", onclick, ...more }, text);

/** So many of a list, the rest behind a button. */
function some(items, write, box, most = MANY) {
  const show = (from, to) => items.slice(from, to).forEach((one) => box.append(write(one)));
  show(0, most);
  if (items.length > most) {
    const more = act(`${count(items.length - most)} more`, () => { more.remove(); show(most, most + 500); });
    box.append(more);
  }
  return box;
}

// ---- the family --------------------------------------------------------------------------------

function family(app) {
  const { forest, view } = app;
  const best = view.niche >= 0 && !forest.window ? scored(forest, view.niche) : null;
  return [
    make("h2", { dir: "auto" }, forest.title),
    make("p", { className: "said" }, `${forest.counts.join(", ")}.`),
    forest.hidden ? make("p", {}, `${forest.counted ? "" : "At least "}${counted(forest.hidden, "more organism")} ${forest.hidden === 1 ? "is" : "are"} not in this page; the rows that are not drawn count them.${app.server ? " Choose an organism, or search, to go on from there; `lineage doctor --repair --apply` builds the snapshot by which all of it can be shown." : ""}`) : null,
    ...(forest.window ? window_(app) : []),
    app.server?.forest() ? make("p", {}, make("a", { className: "act", href: app.server.forest() }, "the whole forest")) : null,
    make("p", {}, "Choose an organism to read why it lives. Arrow keys walk the tree, / searches, ? lists all keys."),
    app.picked?.length ? heading(`${count(app.picked.length)} selected in the plot`) : null,
    app.picked?.length ? some(app.picked, (point) => make("li", {}, farLink(app, point), make("span", { className: "figure" }, figure(point.y, forest.niches[view.niche].digits))), make("ul", { className: "ranking" })) : null,
    best?.ranked.length && best.direction ? heading(`Fittest in ${short(best.name)}`) : null,
    best?.ranked.length && best.direction ? some(best.ranked.slice(0, 5), (i) => make("li", {},
      link(app, i), make("span", { className: "figure" }, figure(valueOf(forest, view.niche, i), best.digits))), make("ol", { className: "ranking" })) : null,
    ...(plot(app) ?? []),
  ];
}

/** What a window shows, what it cannot, and where that is. */
function window_(app) {
  const { window } = app.forest, total = window.last - window.first + 1;
  const rows = window.each === 1 ? "Each row is an organism." : `A row stands for ${count(window.each)} organisms, of the one named and of smaller clades beside it. Zoom in, or press Enter on a row, to see them.`;
  return [
    make("p", {}, `${rows} The tree is as of the interval snapshot; organisms are as of now.`),
    total <= PIECE ? make("p", {}, make("a", { className: "act", href: app.server.piece(PIECE) }, `draw all ${count(total)} in one piece`), ": some seconds, then all controls work.")
      : make("p", {}, WINDOW_LACKS),
  ];
}

/** Said instead of a control that could not work. */
export const WINDOW_LACKS = `The selection plan, growth with time, other axes, folding, and filters by relation or niche need everybody at once: draw the family of an organism that has at most ${count(PIECE)} in one piece.`;

// ---- one organism ------------------------------------------------------------------------------

function organism(app) {
  const { forest, view, details } = app, i = view.chosen, state = status(forest, i);
  const close = make("button", { type: "button", className: "close", title: "Close (Esc)", "aria-label": "Close", onclick: () => app.choose(-1) }, "✕");
  return [
    close,
    make("h2", { dir: "auto", className: state === AGAINST ? "against" : "" }, forest.name[i]),
    identity(forest, details, i),
    make("p", { className: `state ${forest.statuses[state].replace(" ", "-")}` }, [
      forest.statuses[state], is(forest, i, PROTECTED) ? "◆ protected" : "", is(forest, i, BEARING) ? "load-bearing" : "",
    ].filter(Boolean).join(" · ")),
    make("p", {}, facts(forest, details, i)),
    actions(app, i),
    heading(state === ALIVE ? "Why it lives" : state === AGAINST ? "Why it is selected against" : "What became of it"),
    ...why(app, i),
    heading("Pedigree"),
    ...relatives(app, i),
    ...fitnessOf(app, i),
    ...powerOf(app, i),
    ...(plot(app) ?? []),
    ...labelsOf(details, i),
    ...history(details, i),
  ];
}

function identity(forest, details, i) {
  const digest = details ? hex(details, i) : "";
  const aliases = details ? details["aliases.words"][details.aliases[i]].split("\t").filter(Boolean).join(", ") : "";
  const parts = [details?.version[i] ? `v${details.version[i]}` : "", aliases, digest.slice(0, 12)].filter(Boolean);
  return make("p", { className: "mono", title: digest, dir: "auto" }, parts.join(" · ") || (details ? "no digest known" : "…"));
}

export function hex(details, i) {
  const bytes = details.digest.subarray(32 * i, 32 * i + 32);
  return bytes.every((one) => one === 0) ? "" : [...bytes].map((one) => one.toString(16).padStart(2, "0")).join("");
}

const word = (details, key, i) => details?.[`${key}.words`][details[key][i]] ?? "";

function facts(forest, details, i) {
  const [main, ...others] = parents(forest, i);
  const made = main ? `${main[1]} of ${short(forest.name[main[0]], 40)}${others.length ? ` and ${counted(others.length, "other")}` : ""}` : originOf(forest, i);
  const known = (key) => details && !Number.isNaN(details[key][i]) ? details[key][i] : null;
  const parameters = known("parameters"), bytes = known("bytes"), step = app_step(forest, i);
  return [
    word(details, "kind", i), made, `generation ${forest.generation[i]}`,
    parameters !== null ? `${si(parameters, "").trim().replace("G", "B")} parameters` : "",
    bytes !== null ? si(bytes, "B") : "", word(details, "precision", i), word(details, "architecture", i),
    word(details, "licence", i), word(details, "run", i) ? `run ${short(word(details, "run", i), 40)}` : "", step,
    known("created") !== null ? `made ${day(known("created"))}` : "", known("registered") !== null ? `registered ${day(known("registered"))}` : "",
  ].filter(Boolean).join(" · ");
}

const app_step = (forest, i) => (forest.axes.step?.sure[i] ? `step ${count(forest.axes.step.at[i])}` : "");

function actions(app, i) {
  const { forest, view } = app, box = make("p", { className: "acts" });
  if (forest.window) {
    if (forest.clade[i] > 1) box.append(act("show its clade", () => app.into(i), { title: "Its clade over the whole height (Space)" }));
    onward(app, i, box);
    return box;
  }
  if (forest.size[i] > 1) box.append(act(view.folded.has(i) ? "unfold" : "fold", () => app.fold(i), { title: "Fold its clade (Space)" }));
  box.append(
    act(view.root === i ? "whole tree" : "root here", () => app.reroot(view.root === i ? -1 : i), { title: "Show its clade alone (R)", "aria-pressed": String(view.root === i) }),
    act("ancestors only", () => app.only(view.only === i ? -1 : i), { title: "Show only what it descends from (A)", "aria-pressed": String(view.only === i) }),
    act(view.comparing ? "choose the other …" : "compare", () => app.compare(), { title: "Compare with the organism chosen next (C)", "aria-pressed": String(view.comparing) }),
    act("copy Newick", () => app.copyNewick(), { title: "Copy its clade as Newick" }),
  );
  if (app.server) onward(app, i, box);
  return box;
}

/** In the explorer: the family of this one, drawn by the server; and its parents where they are not drawn. */
function onward(app, i, box) {
  const { forest, server } = app, id = forest.id[i], drawn = new Set(forest.id);
  const to = (text, own, title) => make("a", { className: "act", href: server.from(own), title, dir: "auto" }, text);
  const piece = forest.window && forest.clade[i] <= PIECE;
  if (forest.window ? forest.clade[i] > 1 : !forest.rooted || i)
    box.append(make("a", { className: "act", href: piece ? server.piece(PIECE, id) : server.from(id), title: "Draw what descends from it" }, piece ? "draw its family in one piece" : "draw its family"));
  if (parents(forest, i).length) return;
  server.parents(id).then((above) => box.append(...above.filter((one) => !drawn.has(one.id)).map((one) =>
    to(`↑ ${short(one.name, 40)}`, one.id, `Its parent (${one.relation}), not drawn here`)))).catch(() => {});
}

/** A name of an organism that may not be drawn: {id, name}. */
function farLink(app, { id, name }) {
  const i = app.forest.id.indexOf(id);
  return i >= 0 ? link(app, i, 40) : make("a", { href: app.server.from(id), dir: "auto", className: "link", onclick: (event) => { if (event.ctrlKey || event.metaKey || event.shiftKey) return; event.preventDefault(); app.jump(id); } }, short(name, 40));
}

const AGAIN = 10000;  // ms before one is judged anew, while the registry goes on

/** What the server said of the chosen organism of a window; asked once one stays with it. */
function judged(app, i) {
  const { forest } = app, id = forest.id[i], known = (app.judged ??= new Map()), last = known.get(id);
  const fresh = (one) => one && (one.version === forest.version || Date.now() - one.at < AGAIN);
  if (fresh(last)) return last.answer;
  setTimeout(async () => {
    if (forest.id[app.view.chosen] !== id || app.forest !== forest || fresh(known.get(id))) return;
    const one = { version: forest.version, at: Date.now(), answer: last?.answer ?? null };
    known.set(id, one);
    one.answer = await app.server.explain(id).catch(({ message }) => ({ error: message }));
    if (app.chosenId === id) writePanel(app);
  }, 150);
  return last?.answer ?? null;
}

const crowded = ({ niches }, own) => own.reduce((sum, k) => sum + niches[k].crowd, 0) > CROWD;

/** The verdict of the server, niche by niche. */
function verdict(app, i) {
  const { forest } = app, own = scoresOf(app, i), say = (text) => make("p", {}, text);
  if (!own.length) return [say("It cannot be judged: it has no score.")];
  if (crowded(forest, own)) return [say("So many are scored where it is that the page judges nobody; the command explain does.")];
  const found = judged(app, i);
  if (!found) return [say("Being judged …")];
  if (found.error) return [say(`It could not be judged: ${found.error}`)];
  if (found.missing) return [say(`It cannot be judged: ${found.missing === "score" ? "it has no score that counts" : "what serving it costs is not known"}.`)];
  const said = found.standings.map((one) => {
    const name = nicheName(one), niche = forest.niches.find((other) => other.name === name), unit = forest.units.find(({ per }) => per === one.per);
    const value = (number) => (niche ? figure(number, niche.digits) : String(number));
    if (one.verdict === "front") return frontOf(name);
    if (!one.by) return make("p", {}, "Contested in ", make("b", { dir: "auto" }, short(name)), ": nobody on the front beats it beyond doubt.");
    return make("p", {}, "Beaten in ", make("b", { dir: "auto" }, short(name)), " by ", farLink(app, named(one.by)), `: ${value(one.by_value)} against ${value(one.value)}`
      + `, at ${unit ? `${figure(one.by_joules * unit.factor, unit.digits)} ${unit.unit}` : `${si(one.by_joules, "J")} per ${one.per}`}.`);
  });
  if (!said.length) said.push(say("It cannot be judged: which way is better is not known."));
  else if (found.standings.every(({ by }) => by) && status(forest, i) === ALIVE) said.push(say(found.guards.length
    ? `Beaten wherever it is scored, and kept all the same: ${GUARDS[found.guards[0]] ?? found.guards[0]}.`
    : "A selection would mark it: it is beaten wherever it is scored."));
  return said;
}

const nicheName = ({ task, metric, split }) => `${task}/${metric}${split ? ` (${split})` : ""}`;

const frontOf = (name) => make("p", { className: "said" }, "On the front of ", make("b", { dir: "auto" }, short(name)), ": nobody that costs no more is fitter beyond doubt.");

function why(app, i) {
  const { forest, details } = app, state = status(forest, i);
  if (state === GHOST) return [make("p", {}, "It was named as a parent, and never registered.")];
  if (state === CULLED) return [make("p", {}, "Its files are gone; the record stays.")];
  if (forest.window) return [state === AGAINST ? make("p", { className: "said" }, word(details, "reason", i) || "Selected against.") : null, ...verdict(app, i)].filter(Boolean);
  const said = [];
  const reason = word(details, "reason", i) || "Selected against.", beating = rivals(app, i);
  // what follows says the same, with links and costs
  if (state === AGAINST && !(beating.length && beating.every(({ name }) => reason.includes(name)))) said.push(make("p", { className: "said" }, reason));
  const fronts = forest.niches.map((_, k) => k).filter((k) => valueOf(forest, k, i) !== null && onFront(forest, k, i));
  for (const k of fronts) said.push(frontSentence(app, i, k));
  for (const rival of beating) {
    const niche = forest.niches[rival.niche], unit = forest.units[forest.unit[i]];
    said.push(make("p", {}, "Beaten in ", make("b", { dir: "auto" }, short(niche.name)), " by ", make("bdi", {}, byName(app, rival.name)),
      `: ${figure(rival.value, niche.digits)} against ${figure(valueOf(forest, rival.niche, i), niche.digits)}`
      + (unit && !Number.isNaN(rival.power) ? `, at ${figure(rival.power, unit.digits)} ${unit.unit}` : "") + "."));
  }
  const guard = word(details, "guard", i);
  if (guard) said.push(make("p", {}, `Beaten wherever it is scored, and kept all the same: ${GUARDS[guard] ?? guard}.`));
  if (is(forest, i, PROPOSED)) said.push(make("p", {}, "A selection would mark it: it is beaten wherever it is scored."));
  if (!said.length) said.push(make("p", {}, unjudged(app, i)));
  return said;
}

function unjudged(app, i) {
  const { forest } = app, own = scoresOf(app, i);
  if (!own.length) return "It cannot be judged: it has no score.";
  if (Number.isNaN(forest.power[i])) return "It cannot be judged: what serving it costs is not known.";
  if (!own.some((k) => forest.niches[k].direction)) return "It cannot be judged: which way is better is not known.";
  return "It is contested: on no front, and nobody on one beats it beyond doubt.";
}

function byName(app, name) {
  const i = app.byName(name);
  return i >= 0 ? link(app, i, 40) : make("b", {}, short(name, 40));
}

function frontSentence(app, i, k) {
  const { forest } = app, niche = scored(forest, k), value = valueOf(forest, k, i);
  const place = rank(forest, k, value);
  const next = niche.ranked.find((j) => j !== i && niche.sign * (valueOf(forest, k, j) - value) > 0);
  const said = frontOf(niche.name);
  if (place === 1) said.append(" It is the fittest of all drawn.");
  else if (next !== undefined) said.append(" Fittest is ", link(app, niche.ranked[0], 40), `, ${figure(valueOf(forest, k, niche.ranked[0]), niche.digits)}.`);
  return said;
}

function rivals(app, i) {
  const { details } = app;
  if (!details) return [];
  details.rivalsOf ??= grouped(details["rival.row"]);
  return (details.rivalsOf.get(i) ?? []).map((j) => ({
    niche: details["rival.niche"][j], name: details["rival.name.words"][details["rival.name"][j]],
    value: details["rival.value"][j], power: details["rival.power"][j],
  }));
}

/** Rows come as steps from one to the next. */
function grouped(steps) {
  const found = new Map();
  let row = 0;
  steps.forEach((step, j) => {
    row += step;
    if (found.has(row)) found.get(row).push(j); else found.set(row, [j]);
  });
  return found;
}

function relatives(app, i) {
  const { forest } = app, own = parents(forest, i), parts = [];
  if (own.length) {
    const way = make("p", { className: "way" });
    const chain = [];
    for (let j = i; j >= 0; j = forest.direct?.[j] === 0 ? -1 : forest.parent[j]) chain.unshift(j);
    const shown = chain.length > 9 ? [...chain.slice(0, 2), -1, ...chain.slice(-6)] : chain;
    shown.forEach((j, place) => way.append(place ? " → " : "", j < 0 ? `… ${count(chain.length - 8)} more …` : j === i ? make("b", { dir: "auto" }, short(forest.name[j], 40)) : link(app, j, 40)));
    parts.push(way);
    if (own.length > 1) {
      const of = make("p", {}, `${own[0][1]} of `);
      own.forEach(([j, , share], place) => of.append(place ? ", " : "", link(app, j, 40), share ? ` ${share}` : ""));
      parts.push(of);
    }
  } else if (forest.generation[i] && forest.window) parts.push(make("p", {}, `Generation ${count(forest.generation[i])}; its parents are not in this window.`));
  else parts.push(make("p", {}, status(forest, i) === GHOST ? "Its own parents are not known." : "A founder: it has no parent here."));
  const below = children(forest, i);
  if (below.length) {
    parts.push(make("p", {}, `${counted(below.length, "child", "children")}${forest.window ? " in this window" : ""}, ${counted(cladeOf(forest, i) - 1, "descendant")} through main parents:`));
    parts.push(some(below, ([j, relation, share]) => make("li", {}, link(app, j, 40), make("span", { className: "figure" }, `${relation}${share ? ` ${share}` : ""}`)), make("ul", { className: "children" }), 6));
  }
  return parts;
}

const scoresOf = (app, i) => app.forest.niches.map((_, k) => k).filter((k) => valueOf(app.forest, k, i) !== null);

function fitnessOf(app, i) {
  const own = scoresOf(app, i);
  if (!own.length) return [];
  const body = make("tbody");
  some(own, (k) => fitnessRow(app, i, k), body, 12);
  return [heading("Fitness, among all alive"), make("table", {}, body)];
}

function errorOf({ forest, details }, k, i) {
  const niche = scored(forest, k);
  return details ? details["score.stderr"][niche.first + niche.where[i]] : NaN;
}

function fitnessRow(app, i, k) {
  const { forest, details } = app, niche = scored(forest, k), j = niche.where[i], value = niche.values[j];
  const error = errorOf(app, k, i), n = details ? details["score.n"][niche.first + j] : NaN;
  const place = status(forest, i) === ALIVE && niche.direction ? placeOf(app, i, k, value) : "";
  return make("tr", { title: Number.isNaN(n) ? "" : `of ${count(n)} examples` },
    make("th", { scope: "row", dir: "auto", className: k === app.view.niche ? "now" : "" }, short(niche.name)),
    make("td", {}, strip(app, niche, value, error)),
    make("td", { className: "figure" }, make("b", {}, figure(value, niche.digits)), Number.isNaN(error) ? "" : ` ± ${figure(error, niche.digits)}`),
    make("td", { className: "rank" }, place));
}

function placeOf(app, i, k, value) {
  const { forest } = app, niche = scored(forest, k);
  if (!forest.window) return `${count(rank(forest, k, value))} of ${count(niche.ranked.length)}`;
  const found = crowded(forest, scoresOf(app, i)) ? null : judged(app, i)?.places?.find((one) => nicheName(one) === niche.name);
  return found ? `${count(found.place)} of ${count(found.of)}` : "";
}

/** The organism on the strip of all the living, worst to best, with a standard error to both sides. */
function strip(app, niche, value, error) {
  const box = svg("svg", { class: "strip", viewBox: "0 0 84 20", "aria-hidden": "true" });
  const { sorted } = niche, { window } = app.forest;
  if (!sorted.length) return box;
  const all = [...(window ? [niche.best, niche.worst] : [sorted[0], sorted[sorted.length - 1]]), value], low = Math.min(...all), high = Math.max(...all);
  const x = (v) => 5 + (74 * (high === low ? 0.5 : (v - low) / (high - low))) * 1;
  const turned = (v) => (niche.direction === "lower" ? 84 - x(v) : x(v));
  const every = Math.max(1, Math.floor(sorted.length / 60));
  for (let j = 0; j < sorted.length; j += every) box.append(svg("line", { x1: turned(sorted[j]), x2: turned(sorted[j]), y1: 6, y2: 14 }));
  if (!Number.isNaN(error)) box.append(svg("line", { class: "doubt", x1: turned(value - error), x2: turned(value + error), y1: 10, y2: 10 }));
  const good = goodness(app.forest, app.forest.niches.indexOf(niche), value);
  const dot = svg("circle", { cx: turned(value), cy: 10, r: 4 });
  dot.style.fill = good === null ? app.theme.mute : app.theme.scale[shade(good)];
  box.append(dot);
  return box;
}

function powerOf(app, i) {
  const { forest, details } = app, rows = [], unit = forest.units[forest.unit[i]];
  const row = (what, value, how) => rows.push(make("tr", {}, make("th", { scope: "row" }, what), make("td", { className: "figure" }, make("b", {}, value)), make("td", { className: "rank" }, how)));
  if (!Number.isNaN(forest.power[i]))
    row(`serving, ${unit.words.split(" ").slice(1).join(" ")}`, `${is(forest, i, ESTIMATED) ? "~" : ""}${figure(forest.power[i], unit.digits)} ${unit.words.split(" ")[0]}`, word(details, "serving.source", i) || (is(forest, i, ESTIMATED) ? "estimated" : ""));
  if (!Number.isNaN(forest.training[i])) row("its own training", si(forest.training[i], "J"), word(details, "training.source", i));
  const above = pedigree(forest, i);
  let sum = 0, metered = 0, all = 0;
  for (let j = 0; j < forest.n; j += 1) if (above[j]) { all += 1; if (!Number.isNaN(forest.training[j])) { sum += forest.training[j]; metered += 1; } }
  if (metered && all > 1 && !forest.window) row("embodied, with its ancestors", si(sum, "J"), metered < all ? `known of ${count(metered)} of ${count(all)}` : "");
  return [heading("Power"), rows.length ? make("table", {}, make("tbody", {}, ...rows)) : make("p", {}, "What serving it costs is not known.")];
}

function labelsOf(details, i) {
  const tags = word(details, "tags", i);
  if (!tags) return [];
  return [heading("Tags"), make("ul", { className: "tags" }, ...tags.split("\t").map((tag) => make("li", { dir: "auto" }, short(tag, 80))))];
}

function history(details, i) {
  if (!details) return [];
  details.eventsOf ??= grouped(details["event.row"]);
  const events = details.eventsOf.get(i) ?? [];
  if (!events.length) return [];
  const of = (key, j) => details[`event.${key}.words`][details[`event.${key}`][j]];
  return [heading("History"), some(events, (j) => make("li", {},
    make("time", {}, `${minute(details["event.at"][j])} `), make("b", {}, of("kind", j).replaceAll("_", " ")),
    make("span", {}, ` ${of("who", j)}`, of("command", j) ? make("code", {}, ` ${short(of("command", j), 50)}`) : "")), make("ul", { className: "events" }), 8)];
}

// ---- two organisms -----------------------------------------------------------------------------

function comparison(app) {
  const { forest, view } = app, [a, b] = [view.chosen, view.other];
  const common = mrca(forest, a, b), since = common[common.length - 1];
  const rows = forest.niches.map((niche, k) => [niche, k]).filter(([, k]) => valueOf(forest, k, a) !== null || valueOf(forest, k, b) !== null);
  const cell = (k, i, other) => {
    const value = valueOf(forest, k, i), than = valueOf(forest, k, other), niche = forest.niches[k];
    const better = value !== null && than !== null && niche.direction && niche.sign * (value - than) > 0;
    const error = value === null ? NaN : errorOf(app, k, i);
    return make("td", { className: "figure" }, value === null ? "–" : make(better ? "b" : "span", {}, figure(value, niche.digits)), Number.isNaN(error) ? "" : ` ± ${figure(error, niche.digits)}`);
  };
  const row = (what, ...cells) => make("tr", {}, make("th", { scope: "row", dir: "auto" }, what), ...cells);
  const bill = (i) => make("td", { className: "figure" }, Number.isNaN(forest.power[i]) ? "–" : billed(forest, i, true));
  const body = make("tbody");
  some(rows, ([niche, k]) => row(short(niche.name), cell(k, a, b), cell(k, b, a)), body, 20);
  if (forest.units.length) body.append(row("serving", bill(a), bill(b)));
  return [
    make("button", { type: "button", className: "close", "aria-label": "End the comparison", onclick: () => app.choose(-1) }, "✕"),
    make("h2", {}, link(app, a, 40), make("span", { className: "and" }, " and "), link(app, b, 40)),
    make("p", { className: "said" }, ...(common.length ? ["Most recent common ancestor: ", ...common.flatMap((i, place) => [place ? ", " : "", link(app, i, 40)]), "."] : ["They have no common ancestor here."])),
    make("table", { className: "two" }, make("thead", {}, make("tr", {}, make("th", {}, "niche"), ...[a, b].map((i) => make("th", { className: "figure", dir: "auto", title: forest.name[i] }, short(forest.name[i], 40))))), body),
    ...[a, b].flatMap((i) => branchOf(app, since, i)),
  ];
}

function branchOf(app, since, i) {
  const { forest } = app, way = since === undefined ? [i] : wayDown(forest, since, i);
  const list = make("ol", { className: "steps" });
  for (const [place, j] of way.entries()) if (place || way.length === 1) {
    const [, relation, share] = parents(forest, j).find(([parent]) => parent === way[place - 1]) ?? [0, originOf(forest, j), ""];
    list.append(make("li", {}, `${relation}${share ? ` (${share})` : ""} → `, link(app, j, 40)));
  }
  return [heading(`On the branch to ${short(forest.name[i], 30)}`), way.length > 1 || since === undefined ? list : make("p", {}, "Nothing: it is that ancestor itself.")];
}

// ---- the selection plan --------------------------------------------------------------------------

function plan(app) {
  const { forest, view, details } = app, going = [], kept = [];
  for (let i = 0; i < forest.n; i += 1) { if (is(forest, i, PROPOSED)) going.push(i); else if (is(forest, i, GUARDED) && status(forest, i) === ALIVE) kept.push(i); }
  let living = 0, bytes = 0;
  for (let i = 0; i < forest.n; i += 1) if (!forest.more[i] && status(forest, i) === ALIVE) living += 1;
  if (details) for (const i of going) bytes += details.bytes[i] || 0;
  const swap = make("div", { className: "segments", role: "group", "aria-label": "Before or after the selection" });
  for (const [text, after] of [["before", false], ["after", true]])
    swap.append(make("button", { type: "button", "aria-pressed": String(view.after === after), onclick: () => app.after(after) }, text));
  return [
    make("button", { type: "button", className: "close", "aria-label": "Close the plan", onclick: () => app.plan(false) }, "✕"),
    make("h2", {}, "Selection plan"),
    make("p", { className: "said" }, going.length ? `${count(going.length)} of ${counted(living, "living organism")} no longer ${going.length === 1 ? "justifies its" : "justify their"} power bill${bytes ? `, and hold ${si(bytes, "B")}` : ""}.` : `Nothing would go: each of the ${counted(living, "living organism")} is fit somewhere, kept, or cannot be judged.`),
    swap,
    going.length ? heading("Would go, and why") : null,
    going.length ? some(going, (i) => make("li", {}, link(app, i), ...reasons(app, i)), make("ul", { className: "plan" })) : null,
    kept.length ? heading("Beaten, and kept") : null,
    kept.length ? some(kept, (i) => make("li", {}, link(app, i), make("span", { className: "figure" }, GUARDS[word(details, "guard", i)] ?? "")), make("ul", { className: "children" })) : null,
    make("p", {}, "Nothing is changed here. ", make("code", {}, "lineage select --apply"), " marks them."),
  ];
}

function reasons(app, i) {
  const { forest } = app;
  return rivals(app, i).slice(0, 3).map((rival) => {
    const niche = forest.niches[rival.niche];
    return make("span", { className: "because" }, `${short(niche.name, 30)}: ${figure(valueOf(forest, rival.niche, i), niche.digits)}, beaten by ${short(rival.name, 30)} ${figure(rival.value, niche.digits)}`);
  });
}
