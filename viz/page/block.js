/* A block of columns as it is packed in Python (lineage/trees/columns.py), opened. */

const BYTES = { u8: [1, Uint8Array], u32: [4, Uint32Array], f32: [4, Float32Array], f64: [8, Float64Array] };

/** A deflated block as {...head, column by name}. */
export async function unpack(deflated) {
  const stream = new Response(deflated).body.pipeThrough(new DecompressionStream("deflate-raw"));
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
