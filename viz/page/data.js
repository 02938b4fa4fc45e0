/* Where the data comes from: here, out of the page itself. The explorer brings another module with
   the same two functions. A block is {...head, column by name}. */

const BYTES = { u8: [1, Uint8Array], u32: [4, Uint32Array], f32: [4, Float32Array], f64: [8, Float64Array] };

/** What is needed to draw. */
export const drawn = () => block("drawn");

/** Everything else that is known; opened once, when it is first asked for. */
export const details = () => (opened ??= block("details"));
let opened;

async function block(id) {
  const text = document.getElementById(id).textContent;
  const deflated = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([deflated]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return read(new Uint8Array(await new Response(stream).arrayBuffer()));
}

function read(bytes) {
  const utf8 = new TextDecoder();
  const length = new DataView(bytes.buffer).getUint32(0, true);
  const head = JSON.parse(utf8.decode(bytes.subarray(4, 4 + length)));
  const found = { ...head };
  let at = 4 + length;
  for (const [name, kind, size] of head.columns) {
    const part = bytes.subarray(at, at + size);
    found[name] = kind === "text" ? utf8.decode(part).split("\n") : kind === "b32" ? part : numbers(part, kind);
    at += size;
  }
  return found;
}

/** Numbers are stored a byte's place at a time: all first bytes, then all second ones. */
function numbers(part, kind) {
  const [each, Kind] = BYTES[kind];
  const count = part.length / each, plain = new Uint8Array(part.length);
  for (let place = 0; place < each; place += 1) {
    const from = place * count;
    for (let i = 0; i < count; i += 1) plain[i * each + place] = part[from + i];
  }
  return new Kind(plain.buffer);
}
