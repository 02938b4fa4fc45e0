/* How figures are written, and elements made: what comes from outside is text, never HTML. */

export const figure = (value, digits) => {
  const text = value.toFixed(digits);
  return value !== 0 && Number(text) === 0 ? value.toPrecision(2) : text;
};

export const count = (number) => number.toLocaleString("en");

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
