// @ts-check
// What is painted on a picture's canvas: the picture, a gray copy, the colors of values, hatching and outlines.
import { colorAt, css, tintTable } from "./color.js";
import { shapesOf } from "./crops.js";
import { NOWHERE } from "./layout.js";

/** @typedef {import("./types").Palette} Palette */
/**
 * @typedef {object} Paint
 * @property {"picture" | "map"} kind
 * @property {number[] | null} shares of full color for each region; null draws single pixels
 * @property {Set<number>} unsure @property {Set<number>} away @property {Set<number> | null} only
 * @property {number} threshold @property {number} strength @property {boolean} smooth @property {boolean} truth
 * @property {boolean} edges whether regions get outlines
 * @property {Palette} palette @property {boolean} dark @property {boolean} sided
 */

/** @type {WeakMap<object, Map<boolean, HTMLCanvasElement>>} */
const grays = new WeakMap();

/**
 * The picture in gray, stretched to the brightness that colors are seen on.
 * @param {any} part
 * @param {boolean} dark
 */
function grayOf(part, dark) {
  let themes = grays.get(part.bitmap);
  if (!themes) {
    themes = new Map();
    grays.set(part.bitmap, themes);
  }
  let found = themes.get(dark);
  if (!found) {
    found = grayCopy(part, dark ? [0.12, 0.5] : [0.8, 1]);
    themes.set(dark, found);
  }
  return found;
}

/** @param {any} part @param {number[]} range */
function grayCopy(part, [low, high]) {
  const [height, width] = part.labels.shape;
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d", { willReadFrequently: true }));
  pen.drawImage(part.bitmap, 0, 0, width, height);
  const image = pen.getImageData(0, 0, width, height);
  const { data } = image;
  const counts = new Uint32Array(256);
  const light = new Uint8Array(width * height);
  for (let i = 0; i < light.length; i++) {
    light[i] = 0.3 * data[4 * i] + 0.59 * data[4 * i + 1] + 0.11 * data[4 * i + 2];
    counts[light[i]] += 1;
  }
  const [least, most] = [quantile(counts, 0.01, light.length), quantile(counts, 0.99, light.length)];
  for (let i = 0; i < light.length; i++) {
    const share = Math.min(1, Math.max(0, (light[i] - least) / Math.max(1, most - least)));
    data.fill(255 * (low + (high - low) * share), 4 * i, 4 * i + 3);
    data[4 * i + 3] = 255;
  }
  pen.putImageData(image, 0, 0);
  return canvas;
}

/** @param {Uint32Array} counts @param {number} share @param {number} whole */
function quantile(counts, share, whole) {
  let seen = 0;
  for (let level = 0; level < 256; level++) {
    seen += counts[level];
    if (seen >= share * whole) return level;
  }
  return 255;
}

/**
 * Colors of a map in pixels of the label map, on `sheet`.
 * @param {HTMLCanvasElement} sheet
 * @param {any} part
 * @param {Paint} how
 */
function tinted(sheet, part, how) {
  const [height, width] = part.labels.shape;
  const image = new ImageData(width, height);
  const out = new Uint32Array(image.data.buffer);
  const tints = new Uint32Array(tintTable(how.palette, how.sided, how.strength, how.threshold).buffer);
  const labels = part.labels.data;
  if (how.shares) {
    const levels = new Uint32Array(how.shares.map((share, i) => (bareRegion(how, i) ? 0 : levelOf(tints, share))));
    for (let i = 0; i < out.length; i++) out[i] = labels[i] === NOWHERE ? 0 : levels[labels[i]];
  } else {
    const heat = part.heat.data;
    const away = how.away.size > 0;
    for (let i = 0; i < out.length; i++) out[i] = away && how.away.has(labels[i]) ? 0 : tints[heat[i] + 127];
  }
  if (sheet.width !== width || sheet.height !== height) [sheet.width, sheet.height] = [width, height];
  /** @type {CanvasRenderingContext2D} */ (sheet.getContext("2d")).putImageData(image, 0, 0);
}

/** @param {Paint} how @param {number} index */
function bareRegion(how, index) {
  return how.away.has(index) || how.unsure.has(index);
}

/** @param {Uint32Array} tints @param {number} share */
function levelOf(tints, share) {
  return tints[Math.max(-127, Math.min(127, Math.round(127 * share))) + 127];
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {Path2D} path
 * @param {string} color
 * @param {number} step
 * @param {number} thick in canvas pixels
 */
function hatch(pen, path, color, step, thick) {
  pen.save();
  pen.clip(path);
  pen.setTransform(1, 0, 0, 1, 0, 0);
  const { width, height } = pen.canvas;
  pen.strokeStyle = color;
  pen.lineWidth = thick;
  pen.beginPath();
  for (let x = -height; x < width; x += step) {
    pen.moveTo(x, height);
    pen.lineTo(x + height, 0);
  }
  pen.stroke();
  pen.restore();
}

/** @param {any[]} shapes @param {Iterable<number>} indices */
function joined(shapes, indices) {
  const path = new Path2D();
  for (const index of indices) if (shapes[index]) path.addPath(shapes[index].path);
  return path;
}

/**
 * Outlines of regions that are told from zero: solid for the answer, dashed against it.
 * @param {CanvasRenderingContext2D} pen
 * @param {any[]} shapes
 * @param {Paint} how
 * @param {number} zoom
 */
function strokeEdges(pen, shapes, how, zoom) {
  const sharp = devicePixelRatio || 1;
  /** @type {number[]} */ (how.shares).forEach((share, index) => {
    if (Math.abs(share) <= Math.max(0.02, how.threshold) || bareRegion(how, index)) return;
    const size = Math.min(1, Math.abs(share));
    pen.strokeStyle = css(colorAt(Math.sign(share), how.palette, how.sided));
    pen.globalAlpha = 0.45 + 0.55 * size;
    pen.lineWidth = (sharp * (1.2 + 1.8 * size)) / zoom;
    pen.setLineDash(how.sided && share < 0 ? [(6 * sharp) / zoom, (4 * sharp) / zoom] : []);
    pen.stroke(shapes[index].path);
  });
  pen.setLineDash([]);
  pen.globalAlpha = 1;
}

/**
 * Paints a canvas anew.
 * @param {HTMLCanvasElement} canvas
 * @param {HTMLCanvasElement} sheet
 * @param {any} part
 * @param {Paint} how
 * @param {import("./types").View} view
 */
export function paintPicture(canvas, sheet, part, how, view) {
  const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const [height, width] = part.labels.shape;
  const sharp = devicePixelRatio || 1;
  pen.setTransform(1, 0, 0, 1, 0, 0);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const zoom = (canvas.width / width) * view.zoom;
  pen.setTransform(zoom, 0, 0, zoom, view.x * canvas.width, view.y * canvas.height);
  pen.imageSmoothingEnabled = zoom < 2 || how.smooth;
  const hatchColor = how.dark ? "rgba(238,238,236,0.16)" : "rgba(26,27,30,0.16)";
  const shapes = part.players.length ? shapesOf(part) : [];
  if (how.kind === "map") {
    pen.drawImage(grayOf(part, how.dark), 0, 0, width, height);
    tinted(sheet, part, how);
    if (how.smooth) pen.filter = `blur(${Math.round((canvas.width / Math.sqrt(part.players.length || 1)) * 0.25)}px)`;
    pen.drawImage(sheet, 0, 0);
    pen.filter = "none";
    if (how.unsure.size) hatch(pen, joined(shapes, how.unsure), hatchColor, 9 * sharp, 1.5 * sharp);
    if (how.edges && how.shares && how.sided) strokeEdges(pen, shapes, how, zoom);
  } else {
    pen.drawImage(how.only ? grayOf(part, how.dark) : part.bitmap, 0, 0, width, height);
    if (how.only) {
      pen.save();
      pen.clip(joined(shapes, how.only));
      pen.drawImage(part.bitmap, 0, 0, width, height);
      pen.restore();
    }
  }
  if (how.away.size) strokeAway(pen, joined(shapes, how.away), how, zoom);
}

/**
 * Regions that are taken away: paper with thick lines, and a dashed border.
 * @param {CanvasRenderingContext2D} pen
 * @param {Path2D} path
 * @param {Paint} how
 * @param {number} zoom
 */
function strokeAway(pen, path, how, zoom) {
  const sharp = devicePixelRatio || 1;
  pen.fillStyle = how.dark ? "#4a4d54" : "#d3d4d6";
  pen.fill(path);
  hatch(pen, path, how.dark ? "#6b6f78" : "#b4b6ba", 8 * sharp, 2.5 * sharp);
  pen.strokeStyle = how.dark ? "#eeeeec" : "#1a1b1e";
  pen.lineWidth = (2 * sharp) / zoom;
  pen.setLineDash([(6 * sharp) / zoom, (4 * sharp) / zoom]);
  pen.stroke(path);
  pen.setLineDash([]);
}
