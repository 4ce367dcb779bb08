// @ts-check
// Geometry, without a page: all of it is pure and tested under node.

/** @typedef {import("./types").View} View */
/** @typedef {import("./types").Part} Part */
/** @typedef {import("./types").Packed} Packed */

export const NOWHERE = 2 ** 32 - 1;

/**
 * The place [x, y] in a picture of [height, width] under a point of its drawn box, or null outside.
 * @param {number[]} point
 * @param {any} box
 * @param {number[]} size
 * @param {View} view
 */
export function toPicture(point, box, size, view) {
  const x = ((point[0] - box.left) / box.width - view.x) / view.zoom;
  const y = ((point[1] - box.top) / box.height - view.y) / view.zoom;
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
  return [Math.floor(x * size[1]), Math.floor(y * size[0])];
}

/**
 * The view {zoom, x, y} after zooming by a factor about a point [0…1, 0…1]; the picture always fills its box.
 * @param {View} view
 * @param {number} factor
 * @param {number[]} about
 */
export function zoomed(view, factor, about) {
  const zoom = Math.min(16, Math.max(1, view.zoom * factor));
  const ratio = zoom / view.zoom;
  return clamped({ zoom, x: about[0] - (about[0] - view.x) * ratio, y: about[1] - (about[1] - view.y) * ratio });
}

/** The view moved by shares of the box. @param {View} view @param {number} x @param {number} y */
export function moved(view, x, y) {
  return clamped({ ...view, x: view.x + x, y: view.y + y });
}

/** @param {View} view @returns {View} */
function clamped(view) {
  const least = 1 - view.zoom;
  return { zoom: view.zoom, x: Math.min(0, Math.max(least, view.x)), y: Math.min(0, Math.max(least, view.y)) };
}

/** The region at [x, y] of a label map {shape, data}, or -1. @param {Packed} labels @param {number[] | null} place */
export function regionAt(labels, place) {
  if (!place) return -1;
  const label = labels.data[place[1] * labels.shape[1] + place[0]];
  return label === undefined || label === NOWHERE ? -1 : label;
}

/**
 * One row (of a player of the first input) or column (of the second) of interactions {shape: [A, B], data}.
 * @param {Packed} interactions
 * @param {string} side
 * @param {number} index
 * @returns {number[]}
 */
export function partners(interactions, side, index) {
  const [firsts, seconds] = interactions.shape;
  if (side === "first") return Array.from(interactions.data.subarray(index * seconds, (index + 1) * seconds));
  return Array.from({ length: firsts }, (_, first) => interactions.data[first * seconds + index]);
}

/**
 * What an explanation says of the input of that name.
 * @param {{parts: Part[]}} explanation
 * @param {string} name
 * @returns {any}
 */
export function partOf(explanation, name) {
  return explanation.parts.find((part) => part.name === name);
}

/**
 * Where bars of values lie, in shares of their rail: {zero, start, width, whisker: {start, width} or null, band: alike}.
 *
 * A bar is as long as its color is strong: the value of full color is a whole side.
 * @param {import("./types").Player[]} players @param {boolean} fromZero
 */
export function barPlaces(players, fromZero, full = 0, times = 1) {
  const spread = (/** @type {import("./types").Player} */ player) => times * (player.error ?? 0);
  const ends = players.flatMap((one) => [one.value - spread(one), one.value + spread(one), ...(one.band ?? [])]);
  if (players.some(({ value }) => value > 0)) ends.push(full);
  if (fromZero && players.some(({ value }) => value < 0)) ends.push(-full);
  const low = Math.min(...(fromZero ? [0] : []), ...ends);
  const high = Math.max(...(fromZero ? [0] : []), ...ends);
  const place = (/** @type {number} */ value) =>
    high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0;
  return players.map((player) => {
    const { value, error } = player;
    const [zero, end] = [place(0), place(value)];
    const most = spread(player);
    const between = (/** @type {number} */ from, /** @type {number} */ to) => ({
      start: place(from),
      width: place(to) - place(from),
    });
    const whisker = error ? between(value - most, value + most) : null;
    const band = player.band ? between(player.band[0], player.band[1]) : null;
    return { zero, start: Math.min(zero, end), width: Math.abs(end - zero), whisker, band };
  });
}

/**
 * Pieces of a question between and at its words: [{text, word}], word -1 between them. Spans count code points.
 * @param {string} question
 * @param {any[]} words
 */
export function pieces(question, words) {
  const letters = [...question];
  /** @type {{text: string, word: number}[]} */
  const found = [];
  let at = 0;
  words.forEach((word, index) => {
    if (word.start > at) found.push({ text: letters.slice(at, word.start).join(""), word: -1 });
    found.push({ text: letters.slice(word.start, word.end).join(""), word: index });
    at = word.end;
  });
  if (at < letters.length) found.push({ text: letters.slice(at).join(""), word: -1 });
  return found;
}

/**
 * Outlines of all regions of a label map: for each, {d, x, y, area}: a path, its middle and its pixels.
 *
 * Borders are followed with the region to the right, so that every loop closes on itself.
 * @param {Packed} labels @param {number} count
 */
export function outlines(labels, count) {
  const [height, width] = labels.shape;
  const { data } = labels;
  const wide = width + 1;
  const sums = Array.from({ length: count }, () => [0, 0, 0]);
  /** @type {Map<number, number[]>[]} */
  const steps = Array.from({ length: count }, () => new Map());
  const put = (/** @type {number} */ region, /** @type {number} */ from, /** @type {number} */ to) => {
    const known = steps[region].get(from);
    if (known) known.push(to);
    else steps[region].set(from, [to]);
  };
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const i = y * width + x;
      const region = data[i];
      if (region >= count) continue;
      const sum = sums[region];
      sum[0] += x + 0.5;
      sum[1] += y + 0.5;
      sum[2] += 1;
      const corner = y * wide + x;
      if (y === 0 || data[i - width] !== region) put(region, corner, corner + 1);
      if (x === width - 1 || data[i + 1] !== region) put(region, corner + 1, corner + wide + 1);
      if (y === height - 1 || data[i + width] !== region) put(region, corner + wide + 1, corner + wide);
      if (x === 0 || data[i - 1] !== region) put(region, corner + wide, corner);
    }
  }
  return sums.map(([x, y, area], region) => ({
    d: loops(steps[region], wide),
    x: area ? x / area : 0,
    y: area ? y / area : 0,
    area,
  }));
}

/**
 * The path along steps from corner to corner; corners on a straight line are left out.
 * @param {Map<number, number[]>} next
 * @param {number} wide
 */
function loops(next, wide) {
  const found = [];
  for (const start of next.keys()) {
    let at = start;
    let [before, text] = [0, ""];
    for (let to = next.get(at)?.pop(); to !== undefined; to = next.get(at)?.pop()) {
      const step = to - at;
      if (text && step !== before) text += corner(at, before, wide);
      if (!text) text = `M${at % wide} ${Math.floor(at / wide)}`;
      [before, at] = [step, to];
      if (at === start) break;
    }
    if (text) found.push(`${text}Z`);
  }
  return found.join("");
}

/** @param {number} at @param {number} step @param {number} wide */
function corner(at, step, wide) {
  return Math.abs(step) === 1 ? `H${at % wide}` : `V${Math.floor(at / wide)}`;
}

/**
 * The nearest of `players` with boxes, from one of them, whose middle lies in the direction [dx, dy].
 * @param {any[]} players
 * @param {number} from
 * @param {number[]} direction
 */
export function neighbor(players, from, [dx, dy]) {
  if (!players.length) return -1;
  if (from < 0) return 0;
  const middle = (/** @type {any} */ { box }) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const [x, y] = middle(players[from]);
  let [best, least] = [from, Infinity];
  players.forEach((region, index) => {
    const [u, v] = middle(region);
    const along = (u - x) * dx + (v - y) * dy;
    const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
    if (along > 0.5 && along + 2 * across < least) [best, least] = [index, along + 2 * across];
  });
  return best;
}

/**
 * Those of some boxes {x, y, wide, high} about their middles that no earlier one, nor one of `there`, overlaps.
 * @template {{x: number, y: number, wide: number, high: number}} Box
 * @param {(Box | null)[]} boxes the most important first @param {Box[]} there @returns {Box[]}
 */
export function apart(boxes, there = []) {
  /** @type {Box[]} */
  const kept = [];
  for (const box of boxes) {
    const isFree = (/** @type {Box} */ other) =>
      box !== null &&
      (Math.abs(box.x - other.x) >= (box.wide + other.wide) / 2 ||
        Math.abs(box.y - other.y) >= (box.high + other.high) / 2);
    if (box && [...there, ...kept].every(isFree)) kept.push(box);
  }
  return kept;
}
