/* Search: by name, alias, tag and digest, with suggestions; what is found is lit in the tree. */

import { hex } from "./panel.js";
import { at, count, make, short } from "./words.js";

const SUGGESTED = 8;

export function search(app) {
  const box = at("search"), list = at("suggested");
  let found = [], shown = [], active = -1, lower = null, haystack = null, of = null;

  const look = async () => {
    const sought = box.value.trim().toLowerCase();
    if (of !== app.forest) { of = app.forest; lower = haystack = null; }
    lower ??= app.forest.name.map((name) => name.toLowerCase());
    const words = sought ? await everything() : null;
    if (box.value.trim().toLowerCase() !== sought || of !== app.forest) return;
    found = sought ? matching(app, sought, lower, words) : [];
    app.searched(sought ? found : null);
    at("found").textContent = sought ? `${count(found.length)} ${app.forest.window ? "here" : "found"}` : "";
    suggest(sought);
    if (sought && app.server) farther(sought);
  };

  /** What else the registry has, outside of what is drawn, once typing rests. */
  const farther = (sought) => {
    clearTimeout(asking);
    settle();
    fetched = new Promise((done) => { settle = done; asking = setTimeout(() => fetchOthers(sought).then(done), 200); });
  };
  let asking = 0, settle = () => {}, fetched = null, looking = null;

  const fetchOthers = async (sought) => {
    const there = await app.server.search(box.value.trim()).catch(({ message }) => { app.say(message); return []; });
    if (box.value.trim().toLowerCase() !== sought || picked === sought) return;
    const ids = new Set(app.forest.id), place = list.children.length;
    const others = there.filter(({ id }) => !ids.has(id)).slice(0, SUGGESTED);
    shown.push(...others);
    list.append(...others.map((one, k) => suggestion(place + k, one.label, "elsewhere", () => pick(one))));
    list.hidden = !list.children.length;
    box.setAttribute("aria-expanded", String(!list.hidden));
  };

  /** By row what else it is known by: aliases and tags; and where digests are. */
  const everything = async () => {
    const details = await app.open();
    haystack ??= app.forest.name.map((_, i) => `${details["aliases.words"][details.aliases[i]]}\n${details["tags.words"][details.tags[i]]}`.toLowerCase());
    return { haystack, details };
  };

  const suggest = (sought) => {
    shown = found.slice(0, SUGGESTED);
    active = -1;
    list.replaceChildren(...shown.map((i, place) => option(app, i, place, pick)));
    list.hidden = !sought || !shown.length || picked === sought;
    box.setAttribute("aria-expanded", String(!list.hidden));
    box.removeAttribute("aria-activedescendant");
  };

  let picked = "";  // what was sought when one was picked: no suggestion is added to it any more
  const pick = (i) => {
    picked = box.value.trim().toLowerCase();
    clearTimeout(asking);
    settle();
    if (typeof i === "object") { farAway(i.id); return; }
    list.hidden = true; box.setAttribute("aria-expanded", "false");
    app.choose(i, { move: true });
  };

  /** Into its window of a large family, else to its own family. */
  const farAway = async (id) => {
    if (!app.forest.window) { location.assign(app.server.from(id)); return; }
    box.value = "";
    look();
    if (await app.jump(id)) app.focus(); else location.assign(app.server.from(id));
  };

  /** What Enter goes to: who is called so, drawn or not, else the next of those found. */
  const nextFound = (back) => {
    const sought = box.value.trim().toLowerCase(), here = found.indexOf(app.view.chosen);
    const elsewhere = shown.find((one) => one.label?.toLowerCase() === sought) ?? (found.length ? undefined : shown[0]);
    if (elsewhere && lower[found[0]] !== sought) return elsewhere;
    return found[here < 0 ? 0 : (here + (back ? found.length - 1 : 1)) % found.length];
  };

  /** Enter waits for the answer to what was typed before it; meanwhile the window may turn, which asks again. */
  const enter = async (back) => {
    const sought = box.value.trim().toLowerCase();
    for (let last = []; last[0] !== looking || last[1] !== fetched;) {
      last = [looking, fetched];
      await looking;
      if (active >= 0 || lower?.[found[0]] === sought) break;
      await fetched;
    }
    if (shown.length && box.value.trim().toLowerCase() === sought) pick(active >= 0 ? shown[active] : nextFound(back));
  };

  const move = (step) => {
    if (!shown.length) return;
    list.hidden = false;
    active = (active + step + shown.length) % shown.length;
    [...list.children].forEach((one, place) => one.setAttribute("aria-selected", String(place === active)));
    box.setAttribute("aria-activedescendant", `suggested-${active}`);
  };

  /** The family is another: what was searched is searched again. */
  app.research = () => { if (box.value.trim()) looking = look(); };
  box.addEventListener("input", () => { picked = ""; looking = look(); });
  box.addEventListener("blur", () => { setTimeout(() => { list.hidden = true; box.setAttribute("aria-expanded", "false"); }, 150); });
  box.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") move(1);
    else if (event.key === "ArrowUp") move(-1);
    else if (event.key === "Enter") enter(event.shiftKey);
    else if (event.key === "Escape") { box.value = ""; look(); app.focus(); } else return;
    event.preventDefault();
    event.stopPropagation();
  });
}

const option = ({ forest }, i, place, pick) => suggestion(place, forest.name[i], forest.origins[forest.origin[i]], () => pick(i));

function suggestion(place, name, said, pick) {
  const one = make("li", { role: "option", id: `suggested-${place}`, "aria-selected": "false" },
    make("bdi", {}, short(name, 48)), make("small", {}, said));
  one.addEventListener("pointerdown", (event) => { event.preventDefault(); pick(); });
  return one;
}

/** The one of that name comes first, then names that begin so, names that hold it, then aliases, tags and digests. */
function matching(app, sought, lower, { haystack, details }) {
  const whole = [], begin = [], within = [], other = [];
  const digest = /^[0-9a-f]{4,64}$/.test(sought);
  for (let i = 0; i < lower.length; i += 1) {
    if (app.forest.more[i]) continue;
    const where = lower[i].indexOf(sought);
    if (lower[i] === sought) whole.push(i);
    else if (where === 0) begin.push(i);
    else if (where > 0) within.push(i);
    else if (haystack[i].includes(sought) || (digest && hex(details, i).startsWith(sought))) other.push(i);
  }
  return [...whole, ...begin, ...within, ...other];
}
