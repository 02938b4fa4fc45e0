/* How figures are written, and elements made: what comes from outside is text, never HTML. */

/** To so many places; where that left less than two digits, to two. */
export const figure = (value, digits) =>
  (Number.isInteger(value) || Math.abs(value) >= 10 ** (1 - digits) ? value.toFixed(digits) : value.toPrecision(2));

/** A whole number, its thousands apart; toLocaleString would load all that is known of languages first. */
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

export const counted = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

const LARGE = [[1e15, "P"], [1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"], [1, ""], [1e-3, "m"], [1e-6, "µ"], [1e-9, "n"]];

/** `3.1 MJ`: three digits and an SI prefix. */
export function si(value, unit) {
  if (!value) return `0 ${unit}`;
  const rounded = Number(value.toPrecision(3));
  const [size, prefix] = LARGE.find(([least]) => Math.abs(rounded) >= least) ?? LARGE[LARGE.length - 1];
  return `${Number((rounded / size).toPrecision(3))} ${prefix}${unit}`;
}

export const short = (text, most = 60) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);

export const day = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 10);
export const minute = (seconds) => new Date(seconds * 1000).toISOString().slice(0, 16).replace("T", " ");

/** A time as exactly as a span of so many seconds asks for. */
export const moment = (seconds, span) => (span > 2 * 86400 ? day(seconds) : span > 600 ? minute(seconds).slice(span > 43200 ? 5 : 11) : new Date(seconds * 1000).toISOString().slice(11, 19));

/** An element of `children`: elements, or text that stays text. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("aria-") || key === "role" || key === "for") element.setAttribute(key, value);
    else element[key] = value;
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

export const at = (id) => document.getElementById(id);

const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800, 1209600];
const MONTH = 2629800;  // s, a twelfth of a year

/** Round times, UTC, as seconds since `epoch`: about `many` of them between low and high. */
export function timeTicks(epoch, low, high, many) {
  const raw = (high - low) / Math.max(1, many), step = CLOCK.find((one) => one >= raw), found = [];
  if (!(high > low)) return [low];
  if (step) {
    for (let at = Math.ceil((epoch + low) / step) * step; at <= epoch + high; at += step) found.push(at - epoch);
    return found;
  }
  const months = [1, 2, 3, 6, 12, 24, 60, 120].find((one) => one * MONTH >= raw) ?? 1200, begin = new Date((epoch + low) * 1000);
  for (let month = Math.ceil((begin.getUTCFullYear() * 12 + begin.getUTCMonth()) / months) * months; ; month += months) {
    const at = Date.UTC(1970, month - 1970 * 12) / 1000;
    if (at > epoch + high) return found;
    if (at >= epoch + low) found.push(at - epoch);
  }
}

/** Round steps for an axis: about `many` of them between low and high. */
export function ticks(low, high, many) {
  const span = high - low;
  if (!(span > 0)) return [low];
  const raw = span / Math.max(1, many), power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= raw);
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9) * step; at <= high + step * 1e-9; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}
