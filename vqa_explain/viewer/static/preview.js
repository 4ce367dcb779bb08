// @ts-check
// An example before it is explained: the picture, the question and the answers, without a value.
import { NOWHERE } from "./layout.js";

/** @typedef {import("./types").Explanation} Explanation */

/** What all parts have that nothing is known of yet. */
const UNKNOWN = { alone: true, player: "part", bare: 0, full: 0, legend: "", mapBare: 0, mapFull: 0, truth: null };

/** A part without players, over a picture without regions. @param {any} part unpacked */
function partWithoutValues(part) {
  const found = { ...UNKNOWN, ...part, players: [] };
  if (!part.bitmap) return found;
  const { width, height } = part.bitmap;
  found.labels = { shape: [height, width], data: new Uint32Array(width * height).fill(NOWHERE) };
  found.heat = { shape: [height, width], data: new Int8Array(width * height) };
  return found;
}

/** What the views draw of an example that is not explained. @param {any} preview unpacked @returns {Explanation} */
export function withoutValues(preview) {
  const best = preview.answers[0];
  return /** @type {any} */ ({
    id: "",
    isPreview: true,
    joint: [],
    pairsTitle: "",
    pairs: null,
    edits: null,
    contrast: null,
    targetIndex: best?.index ?? null,
    contrastIndex: null,
    score: "score",
    explained: "",
    unit: "",
    unitText: "",
    signed: true,
    fromZero: true,
    addsUp: false,
    shared: true,
    whyNoShares: "",
    share: {},
    oneScale: false,
    byPlayer: true,
    errorText: "",
    notes: [],
    facts: [],
    method: preview.method ?? "",
    model: "",
    parameters: {},
    origin: "",
    ...preview,
    target: best?.text ?? "",
    parts: preview.parts.map(partWithoutValues),
  });
}
