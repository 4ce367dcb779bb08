// @ts-check
// Arrays as they come from Python: bytes in a widget, deflated base64 in a page.

const KINDS = { uint8: Uint8Array, int8: Int8Array, uint32: Uint32Array, float32: Float32Array };

async function inflated(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

/** {shape, data} with a typed array, of an array from Python. */
export async function array(packed) {
  if (!packed) return null;
  let buffer;
  if (packed.data64 !== undefined) {
    buffer = await inflated(packed.data64);
  } else {
    const view = packed.data;
    buffer = view.buffer ? view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) : view;
  }
  return { shape: packed.shape, data: new KINDS[packed.type](buffer) };
}

const ARRAYS = ["labels", "heat", "truth"];

/** An input ready to draw: arrays decoded, the picture as a bitmap. */
async function unpackedPart(part) {
  const found = { ...part };
  for (const name of ARRAYS) found[name] = await array(part[name]);
  if (part.picture) {
    const picture = /** @type {any} */ (await array(part.picture));
    found.bitmap = await createImageBitmap(new Blob([picture.data], { type: "image/webp" }));
  }
  return found;
}

/** A word of an answer: pixels have values of their own where a method values pixels. */
async function unpackedOutput(row) {
  const parts = row.parts.map(async (part) => (part.heat ? { ...part, heat: await array(part.heat) } : part));
  return { ...row, parts: await Promise.all(parts) };
}

/** What is inside a network, ready to draw. */
export async function unpackedInside(inside) {
  const { base, heads } = inside;
  const attention = heads?.attention && {
    values: await array(heads.attention.values),
    base: await unpacked(heads.attention.base),
  };
  return { ...inside, base: base && (await unpacked(base)), heads: heads && { ...heads, attention } };
}

/** An explanation ready to draw. */
export async function unpacked(payload) {
  const parts = await Promise.all(payload.parts.map(unpackedPart));
  const joint = await Promise.all(
    (payload.joint ?? []).map(async (one) => ({
      ...one,
      values: await array(one.values),
      errors: await array(one.errors),
    })),
  );
  const outputs = await Promise.all((payload.outputs ?? []).map(unpackedOutput));
  const found = { ...payload, parts, joint, outputs };
  return payload.inside ? { ...found, inside: await unpackedInside(payload.inside) } : found;
}

/** Until another task, so that the browser may answer a person in between. @returns {Promise<void>} */
export function pause() {
  return new Promise((done) => setTimeout(done));
}
