/* What colours mean. Fitness and other amounts run along the page's own scale, which rises evenly in
   lightness; kinds take the colours of Okabe and Ito (2008, "Color universal design"), which colour-
   blind people tell apart. Shape, words or a figure always say the same. */

import { AGAINST, ALIVE, goodness, originOf, scored, shownValue, status } from "./forest.js";
import { short } from "./words.js";

const KINDS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b3a12f", "#7f7f7f"];
const STEPS = 24;

export function readTheme() {
  const style = getComputedStyle(document.documentElement);
  const read = (name) => style.getPropertyValue(`--${name}`).trim();
  const theme = { font: getComputedStyle(document.body).fontFamily };
  for (const name of ["paper", "sheet", "ink", "soft", "faint", "hair", "branch", "band", "mute", "bar", "accent", "alive"])
    theme[name] = read(name);
  theme.swatches = read("scale").split(/\s+/);
  theme.scale = Array.from({ length: STEPS }, (_, i) => mixed(theme.swatches, i / (STEPS - 1)));
  theme.letters = theme.scale.map((colour) => lettersOn(colour));
  return theme;
}

function mixed(swatches, part) {
  const at = part * (swatches.length - 1), i = Math.min(swatches.length - 2, Math.floor(at));
  const [low, high] = [channels(swatches[i]), channels(swatches[i + 1])];
  const hex = low.map((c, k) => Math.round(c + (high[k] - c) * (at - i)).toString(16).padStart(2, "0"));
  return `#${hex.join("")}`;
}

const channels = (colour) => [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));

function luminance(colour) {  // WCAG 2.2, relative luminance
  const [r, g, b] = channels(colour).map((c) => {
    c /= 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

export function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
}

const lettersOn = (ground) => ["#000000", "#ffffff"].reduce((one, other) =>
  (contrast(ground, one) > contrast(ground, other) ? one : other));

export const shade = (good) => Math.round(good * (STEPS - 1));

/** How organisms are coloured: `of(i)` a colour or null, `good(i)` 0 to 1 or null where it is an amount,
    and `legend`: either {low, high} in words or [[colour, word]]. */
export function colouring(forest, view, theme, details) {
  if (view.colour === "fitness") return fitness(forest, view, theme);
  const found = others(forest, view.colour, theme, details), one = (i) => !(forest.count?.[i] > 1);  // the first of many speaks for itself
  return { ...found, of: (i) => (one(i) ? found.of(i) : null), good: (i) => (one(i) ? found.good(i) : null) };
}

function others(forest, by, theme, details) {
  if (by === "power") return amount(forest, theme, (i) => (forest.unit[i] === 0 ? forest.power[i] : NaN), "less power", "more", true);
  if (by === "age") return amount(forest, theme, (i) => (forest.axes.time?.sure[i] ? forest.axes.time.at[i] : NaN), "older", "newer", false);
  if (by === "relation") return kinds(forest, (i) => originOf(forest, i));
  if (by === "status") return kinds(forest, (i) => forest.statuses[status(forest, i)]);
  if (by === "licence") return kinds(forest, (i) => details?.["licence.words"][details.licence[i]] || "unknown", theme.mute);
  const key = by.slice(4);
  return kinds(forest, (i) => tagOf(details, i, key) ?? "unknown", theme.mute);
}

function tagOf(details, i, key) {
  const tags = details?.["tags.words"][details.tags[i]];
  const found = tags?.split("\t").find((tag) => tag === key || tag.startsWith(`${key} `));
  return found?.slice(key.length + 1);
}

function fitness(forest, view, theme) {
  const k = view.niche;
  if (k < 0) return { of: () => null, good: () => null, legend: "nothing is scored" };
  const { name, direction, best, worst, digits } = scored(forest, k);
  const good = (i) => (status(forest, i) === ALIVE || forest.count?.[i] > 1 ? goodness(forest, k, shownValue(forest, k, i)) : null);
  const of = (i) => { const part = good(i); return part === null ? null : theme.scale[shade(part)]; };
  if (!direction) return { of, good, legend: `which way is better in ${name} is not known` };
  if (best === undefined) return { of, good, legend: `nothing alive is scored in ${name}` };
  return { of, good, legend: { what: forest.window?.each > 1 ? `${short(name, 22)}, best of a row` : name, low: `worse ${worst.toFixed(digits)}`, high: `${best.toFixed(digits)} better` } };
}

function amount(forest, theme, value, low, high, log) {
  let least = Infinity, most = -Infinity;
  for (let i = 0; i < forest.n; i += 1) {
    const one = value(i);
    if (one < least && (!log || one > 0)) least = one;
    if (one > most) most = one;
  }
  const scale = log ? Math.log : (x) => x;
  const good = (i) => {
    const one = value(i);
    if (Number.isNaN(one) || (log && !(one > 0))) return null;
    return most === least ? 1 : (scale(one) - scale(least)) / (scale(most) - scale(least));
  };
  return { of: (i) => { const part = good(i); return part === null ? null : theme.scale[shade(part)]; }, good, legend: { what: "", low, high } };
}

/** The commonest seven have a colour of their own; what is not known has that of `unknown`. */
function kinds(forest, word, unknown) {
  const counts = new Map();
  for (let i = 0; i < forest.n; i += 1) if (!forest.more[i]) counts.set(word(i), (counts.get(word(i)) ?? 0) + 1);
  const common = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([one]) => one);
  const known = common.filter((one) => !unknown || one !== "unknown");
  const colour = new Map(known.map((one, i) => [one, KINDS[Math.min(i, KINDS.length - 1)]]));
  const legend = known.slice(0, 7).map((one) => [colour.get(one), one]);
  if (known.length > 7) legend.push([KINDS[7], "other"]);
  if (known.length < common.length) { colour.set("unknown", unknown); legend.push([unknown, "unknown"]); }
  return { of: (i) => (status(forest, i) === AGAINST ? null : colour.get(word(i))), good: () => null, legend };
}
