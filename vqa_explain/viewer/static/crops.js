// @ts-check
// The shapes of regions, and regions as small pictures.
import { el } from "./dom.js";
import { outlines } from "./layout.js";

/** @typedef {import("./types").Part} Part */
/** @typedef {{d: string, x: number, y: number, area: number, path: Path2D}} Shape */

/** @type {WeakMap<object, Shape[]>} */
const known = new WeakMap();

/**
 * The outline, middle and size of every region of a picture, in pixels of its label map.
 * @param {any} part
 * @returns {Shape[]}
 */
export function shapesOf(part) {
  let found = known.get(part.labels);
  if (!found) {
    found = outlines(part.labels, part.players.length).map((one) => ({ ...one, path: new Path2D(one.d) }));
    known.set(part.labels, found);
  }
  return found;
}

/**
 * A region cut out, with a pale margin, as a picture of `side` CSS pixels.
 * @param {any} part
 * @param {number} index
 */
export function cropOf(part, index, side = 22) {
  const sharp = 2;
  const canvas = el("canvas", {
    class: "vx-crop",
    width: side * sharp,
    height: side * sharp,
    style: { width: `${side}px`, height: `${side}px` },
    "aria-hidden": "true",
  });
  const pen = canvas.getContext("2d");
  const [height, width] = part.labels.shape;
  const scale = width / part.size[1];
  const [left, top, right, bottom] = part.players[index].box.map((/** @type {number} */ at) => at * scale);
  const wide = Math.max(right - left, bottom - top, 1) * 1.15;
  const zoom = (side * sharp) / wide;
  pen.setTransform(zoom, 0, 0, zoom, -zoom * ((left + right - wide) / 2), -zoom * ((top + bottom - wide) / 2));
  pen.imageSmoothingEnabled = zoom < 2;
  pen.globalAlpha = 0.25;
  pen.drawImage(part.bitmap, 0, 0, width, height);
  pen.globalAlpha = 1;
  pen.clip(shapesOf(part)[index].path);
  pen.drawImage(part.bitmap, 0, 0, width, height);
  return canvas;
}
