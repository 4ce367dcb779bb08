// @ts-check
// Maps as small pictures for the list.
import { paletteOf } from "./color.js";
import { unpacked } from "./data.js";
import { el } from "./dom.js";
import { twoSided } from "./numbers.js";
import { paintPicture } from "./paint.js";
import { scaleOf, sharesOf } from "./scales.js";

const SIDE = 44; // CSS pixels
const SHARP = 2;

/**
 * The map of an explanation's first picture, or null where it has none.
 * @param {any} explanation
 * @param {any} frame see app.js
 */
function thumbOf(explanation, frame) {
  const part = explanation.parts.find((/** @type {any} */ one) => one.size && one.players.length);
  if (!part) return null;
  const [height, width] = part.labels.shape;
  const side = SIDE * SHARP;
  const scale = side / Math.max(height, width);
  const canvas = el("canvas", { width: Math.max(1, width * scale), height: Math.max(1, height * scale) });
  const how = {
    kind: /** @type {"map"} */ ("map"),
    shares: sharesOf(part, scaleOf(explanation, part, { scale: "own" })),
    unsure: new Set(),
    away: new Set(),
    only: null,
    threshold: 0,
    strength: 1,
    smooth: false,
    truth: false,
    edges: false,
    palette: paletteOf(frame.look.map, frame.look.dark),
    dark: frame.look.dark,
    sided: frame.sided,
  };
  paintPicture(canvas, document.createElement("canvas"), part, how, { zoom: 1, x: 0, y: 0 });
  return canvas;
}

const MOST_THUMBS = 400;

/** The small maps of a list. `made()` is told of a new one. */
export class Thumbs {
  /** @param {import("./types").Source} source @param {import("./types").Look} look @param {() => void} made */
  constructor(source, look, made) {
    this.source = source;
    this.look = look;
    this.made = made;
    /** @type {Map<number, {title: string, node: any}>} */
    this.known = new Map();
  }

  /** @param {number} index */
  at(index) {
    const found = this.known.get(index);
    return found && found.title === this.source.entries()[index]?.title ? found.node : null;
  }

  /** @param {number} index @param {any} explanation */
  keep(index, explanation) {
    const node = thumbOf(explanation, { look: this.look, sided: twoSided(explanation) });
    const title = this.source.entries()[index]?.title;
    if (!node || title === undefined) return;
    this.known.set(index, { title, node });
    this.made();
  }

  /** Those of all examples of a page, one after another so that nothing waits for them. */
  async makeAll() {
    const { payloadAt } = this.source;
    if (!payloadAt) return;
    for (let index = 0; index < Math.min(MOST_THUMBS, this.source.entries().length); index++) {
      this.keep(index, await unpacked(payloadAt(index)));
      await new Promise((done) => setTimeout(done));
    }
  }
}
