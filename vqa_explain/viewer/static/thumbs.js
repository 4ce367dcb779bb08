// @ts-check
// Small pictures and maps for the list and the table: of what is in view, made or asked for when it comes into view.
import { paletteOf } from "./color.js";
import { array, unpacked } from "./data.js";
import { el } from "./dom.js";
import { twoSided } from "./numbers.js";
import { paintPicture } from "./paint.js";
import { scaleOf, sharesOf } from "./scales.js";

const SIDE = 44; // CSS pixels
const SHARP = 2;
const MOST_KEPT = 2000; // the oldest are made anew
const SETTLED = 120; // milliseconds that rows stay in view before a kernel is asked
const MOST_ASKED = 200;

const UNMARKED = {
  ...{ unsure: new Set(), away: new Set(), only: null, threshold: 0, strength: 1, smooth: false, truth: false },
  edges: false,
};

/** @param {any} part @param {"map" | "picture"} kind @param {any} how */
export function painted(part, kind, how) {
  const [height, width] = part.labels.shape;
  const scale = (SIDE * SHARP) / Math.max(height, width);
  const canvas = el("canvas", { width: Math.max(1, width * scale), height: Math.max(1, height * scale) });
  const whole = { zoom: 1, x: 0, y: 0 };
  paintPicture(canvas, document.createElement("canvas"), part, { ...UNMARKED, ...how, kind }, whole);
  return canvas;
}

/** The parts of a thumbnail: what is drawn and how. @param {any} explanation unpacked */
function ofExplanation(explanation) {
  const part = explanation.parts.find((/** @type {any} */ one) => one.size && one.players.length);
  if (!part) return null;
  const shares = sharesOf(part, scaleOf(explanation, part, { scale: "own" }));
  return { part, shares, sided: twoSided(explanation) };
}

/** The same of what a kernel sends for the list alone. @param {any} small see payload.py */
async function ofSmall(small) {
  const [heat, picture] = await Promise.all([array(small.heat), array(small.picture)]);
  const bitmap = await createImageBitmap(new Blob([/** @type {any} */ (picture).data], { type: "image/webp" }));
  const part = { players: [], heat, bitmap, labels: { shape: /** @type {any} */ (heat).shape, data: [] } };
  return { part, shares: null, sided: small.sided };
}

/** The thumbnails of all examples. `made()` is told of new ones. */
export class Thumbs {
  /** @param {any} source @param {any} look @param {() => void} made */
  constructor(source, look, made) {
    this.source = source;
    this.look = look;
    this.made = made;
    /** @type {Map<number, any>} */
    this.known = new Map();
    /** @type {Set<number>} */ this.asked = new Set();
    /** @type {Map<string, number[]>} who shows rows → those in view */ this.inView = new Map();
    this.waiting = 0;
    this.drawn = "";
  }

  /** @param {number} index */
  entry(index) {
    return this.source.entries()[index];
  }

  /** What is kept of an example, unless it is of another list or other colors. @param {number} index */
  found(index) {
    const known = this.known.get(index);
    if (!known || known.title !== this.entry(index)?.title) return null;
    const colors = `${this.look.map} ${this.look.dark}`;
    if (known.colors !== colors) {
      const { part, shares, sided } = known.drawn;
      const how = { shares, sided, palette: paletteOf(this.look.map, this.look.dark), dark: this.look.dark };
      Object.assign(known, { map: painted(part, "map", how), picture: painted(part, "picture", how), colors });
    }
    return known;
  }

  /** The map of an example for the list. @param {number} index */
  at(index) {
    return this.found(index)?.map ?? null;
  }

  /** A copy that can stand elsewhere. @param {number} index @param {"map" | "picture"} kind */
  copy(index, kind) {
    const from = this.found(index)?.[kind];
    if (!from) return null;
    const canvas = el("canvas", { width: from.width, height: from.height });
    canvas.getContext("2d").drawImage(from, 0, 0);
    return canvas;
  }

  /** @param {number} index @param {any} drawn */
  remember(index, drawn) {
    const title = this.entry(index)?.title;
    if (!drawn || title === undefined) return;
    this.known.delete(index);
    this.known.set(index, { title, drawn, colors: "" });
    if (this.known.size > MOST_KEPT) this.known.delete(this.known.keys().next().value ?? -1);
    this.made();
  }

  /** @param {number} index @param {any} explanation */
  keep(index, explanation) {
    this.remember(index, ofExplanation(explanation));
  }

  /** What a kernel has sent. @param {[number, any][]} sent */
  async hear(sent) {
    for (const [index, small] of sent) this.remember(index, await ofSmall(small));
  }

  /** Rows that are in view now, of one who shows them. @param {string} who @param {number[]} indices */
  want(who, indices) {
    this.inView.set(who, indices);
    if (this.waiting || !this.lacking().length) return;
    this.waiting = window.setTimeout(() => {
      this.waiting = 0;
      void this.get(this.lacking());
    }, SETTLED);
  }

  /** What is in view, is explained, and has no thumbnail. */
  lacking() {
    const isLacking = (/** @type {number} */ index) =>
      this.entry(index)?.state === "done" && !this.asked.has(index) && !this.found(index);
    return [...new Set([...this.inView.values()].flat())].filter(isLacking).slice(0, MOST_ASKED);
  }

  /** @param {number[]} indices */
  async get(indices) {
    if (!indices.length) return;
    for (const index of indices) this.asked.add(index);
    if (!this.source.payloadAt) return this.source.murmur({ action: "thumbnails", indices });
    for (const index of indices) {
      const payload = this.source.payloadAt(index);
      if (payload) this.keep(index, await unpacked(payload));
      await new Promise((done) => setTimeout(done)); // so that nothing waits for all of them
    }
  }

  /** Another list, or other explanations. */
  forget() {
    this.known.clear();
    this.asked.clear();
  }
}
