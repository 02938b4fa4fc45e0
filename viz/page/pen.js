/* A pen that writes SVG: the part of a canvas context that the plate uses. What is drawn on the screen is
   exported by drawing it again with this. */

const round = (value) => Number(value.toFixed(2));
const escaped = (text) => text.replace(/[<>&"]/g, (one) => `&#${one.charCodeAt(0)};`).replace(/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g, "");

export class SvgPen {
  constructor(measure) {
    Object.assign(this, { out: [], path: "", fillStyle: "", strokeStyle: "", lineWidth: 1, globalAlpha: 1, font: "", textAlign: "left", textBaseline: "middle", lineCap: "butt", dashes: [], clips: 0, opened: [] });
    this.measure = measure;
  }
  measureText(text) { this.measure.font = this.font; return this.measure.measureText(text); }
  save() { this.opened.push(0); }
  restore() { for (let i = this.opened.pop(); i > 0; i -= 1) this.out.push("</g>"); }
  clip() {
    const id = `clip${this.clips++}`;
    this.out.push(`<clipPath id="${id}"><path d="${this.path}"/></clipPath><g clip-path="url(#${id})">`);
    this.opened[this.opened.length - 1] += 1;
  }
  translate(x, y) { this.out.push(`<g transform="translate(${round(x)} ${round(y)})">`); this.opened[this.opened.length - 1] += 1; }
  setLineDash(dashes) { this.dashes = dashes; }
  beginPath() { this.path = ""; }
  closePath() { this.path += "Z"; }
  moveTo(x, y) { this.path += `M${round(x)} ${round(y)}`; }
  lineTo(x, y) { this.path += `L${round(x)} ${round(y)}`; }
  quadraticCurveTo(a, b, x, y) { this.path += `Q${round(a)} ${round(b)} ${round(x)} ${round(y)}`; }
  bezierCurveTo(a, b, c, d, x, y) { this.path += `C${[a, b, c, d, x, y].map(round).join(" ")}`; }
  rect(x, y, w, h) { this.path += `M${round(x)} ${round(y)}h${round(w)}v${round(h)}h${round(-w)}Z`; }
  arc(x, y, r) { this.path += `M${round(x + r)} ${round(y)}a${round(r)} ${round(r)} 0 1 1 ${round(-2 * r)} 0a${round(r)} ${round(r)} 0 1 1 ${round(2 * r)} 0`; }
  get alpha() { return this.globalAlpha < 1 ? ` opacity="${round(this.globalAlpha)}"` : ""; }
  fill() { if (this.path) this.out.push(`<path d="${this.path}" fill="${this.fillStyle}"${this.alpha}/>`); }
  stroke() {
    const dashes = this.dashes.length ? ` stroke-dasharray="${this.dashes.join(" ")}" stroke-linecap="${this.lineCap}"` : "";
    if (this.path) this.out.push(`<path d="${this.path}" fill="none" stroke="${this.strokeStyle}" stroke-width="${round(this.lineWidth)}"${dashes}${this.alpha}/>`);
  }
  fillRect(x, y, w, h) { this.out.push(`<rect x="${round(x)}" y="${round(y)}" width="${round(Math.max(0, w))}" height="${round(h)}" fill="${this.fillStyle}"${this.alpha}/>`); }
  fillText(text, x, y) {
    const [, italic, weight, size] = this.font.match(/^(italic )?(\d{3} )?([\d.]+)px/) ?? [null, "", "", "12"];
    const anchor = this.textAlign === "center" ? ` text-anchor="middle"` : "";
    this.out.push(`<text x="${round(x)}" y="${round(y)}" dominant-baseline="central" font-size="${size}"${weight ? ` font-weight="${weight.trim()}"` : ""}${italic ? ` font-style="italic"` : ""}${anchor} fill="${this.fillStyle}"${this.alpha}>${escaped(text)}</text>`);
  }
  document(width, height, font) {
    return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="${escaped(font)}">\n${this.out.join("\n")}\n</svg>\n`;
  }
}
