// Geometry and numbers, without a page: all of it is pure and tested under node.

export const NOWHERE = 2 ** 32 - 1;

/** The place [x, y] in a picture of [height, width] under a point of its drawn box, or null outside. */
export function toPicture(point, box, size, view) {
  const x = ((point[0] - box.left) / box.width - view.x) / view.zoom;
  const y = ((point[1] - box.top) / box.height - view.y) / view.zoom;
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return null;
  return [Math.floor(x * size[1]), Math.floor(y * size[0])];
}

/** The view {zoom, x, y} after zooming by a factor about a point [0…1, 0…1]; the picture always fills its box. */
export function zoomed(view, factor, about) {
  const zoom = Math.min(16, Math.max(1, view.zoom * factor));
  const ratio = zoom / view.zoom;
  return clamped({ zoom, x: about[0] - (about[0] - view.x) * ratio, y: about[1] - (about[1] - view.y) * ratio });
}

/** The view moved by shares of the box. */
export function moved(view, x, y) {
  return clamped({ ...view, x: view.x + x, y: view.y + y });
}

function clamped(view) {
  const least = 1 - view.zoom;
  return { zoom: view.zoom, x: Math.min(0, Math.max(least, view.x)), y: Math.min(0, Math.max(least, view.y)) };
}

/** The region at [x, y] of a label map {shape, data}, or -1. */
export function regionAt(labels, place) {
  if (!place) return -1;
  const label = labels.data[place[1] * labels.shape[1] + place[0]];
  return label === undefined || label === NOWHERE ? -1 : label;
}

/** One row (of a player of the first input) or column (of the second) of interactions {shape: [A, B], data}. */
export function partners(interactions, side, index) {
  const [firsts, seconds] = interactions.shape;
  if (side === "first") return Array.from(interactions.data.subarray(index * seconds, (index + 1) * seconds));
  return Array.from({ length: firsts }, (_, first) => interactions.data[first * seconds + index]);
}

/** What an explanation says of the input of that name, or undefined. */
export function partOf(explanation, name) {
  return explanation.parts.find((part) => part.name === name);
}

/** "a, b or c". */
export function listed(texts) {
  return texts.length < 2 ? texts.join("") : `${texts.slice(0, -1).join(", ")} or ${texts.at(-1)}`;
}

/** Where bars of values lie, in shares of their rail: {zero, start, width, whisker: {start, width} or null}.
 *
 * A bar is as long as its color is strong: the value of full color is a whole side. */
export function barPlaces(players, fromZero, full = 0) {
  const ends = players.flatMap(({ value, error }) => [value - (error ?? 0), value + (error ?? 0)]);
  if (players.some(({ value }) => value > 0)) ends.push(full);
  if (fromZero && players.some(({ value }) => value < 0)) ends.push(-full);
  const low = Math.min(...(fromZero ? [0] : []), ...ends);
  const high = Math.max(...(fromZero ? [0] : []), ...ends);
  const place = (value) => (high > low ? Math.min(1, Math.max(0, (value - low) / (high - low))) : 0);
  return players.map(({ value, error }) => {
    const [zero, end] = [place(0), place(value)];
    const whisker = error ? { start: place(value - error), width: place(value + error) - place(value - error) } : null;
    return { zero, start: Math.min(zero, end), width: Math.abs(end - zero), whisker };
  });
}

/** The largest absolute value, at least a tiny one. */
export function largest(values) {
  let most = 1e-12;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** "+1.23 ± 0.04": three digits that count; the error where there is one. */
export function points(value, error) {
  const text = `${value < 0 ? "−" : "+"}${digits(Math.abs(value))}`;
  return error ? `${text} ± ${digits(error)}` : text;
}

/** Whether values speak for and against, so that signs are written and colors run to both sides of zero. */
export function twoSided(explanation) {
  return explanation.signed !== false && explanation.fromZero !== false;
}

/** A value of an explanation; the sign is written where there are two. */
export function amount(explanation, value, error) {
  const text = points(value, error);
  return !twoSided(explanation) && value >= 0 ? text.slice(1) : text;
}

/** A value as a share of full color: 0 at the value without color, `bare`, and 1 at `full`. */
export function shareOf(value, bare, full) {
  return full > bare ? (value - bare) / (full - bare) : 0;
}

function digits(value) {
  if (value !== 0 && (value < 1e-3 || value >= 1e5)) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

/** Ranks with ties averaged. */
export function ranks(values) {
  const order = [...values.keys()].sort((a, b) => values[a] - values[b]);
  const found = new Array(values.length);
  for (let start = 0; start < order.length; ) {
    let end = start;
    while (end + 1 < order.length && values[order[end + 1]] === values[order[start]]) end++;
    for (let i = start; i <= end; i++) found[order[i]] = (start + end) / 2;
    start = end + 1;
  }
  return found;
}

/** Spearman's rank correlation of two lists of the same length, or null where one does not vary. */
export function rankCorrelation(one, other) {
  const [a, b] = [ranks(one), ranks(other)];
  const mean = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    ab += (value - ma) * (b[i] - mb);
    aa += (value - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  });
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : null;
}

/** Pieces of a question between and at its words: [{text, word}], word -1 between them. Spans count code points. */
export function pieces(question, words) {
  const letters = [...question];
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

/** Line segments [[x, y], [x, y]] around the pixels where `inside(index)` holds, in pixels of [height, width]. */
export function outline(shape, inside) {
  const [height, width] = shape;
  const lines = [];
  const at = (x, y) => x >= 0 && y >= 0 && x < width && y < height && inside(y * width + x);
  for (let y = 0; y <= height; y++) {
    for (let x = 0; x <= width; x++) {
      if (x < width && at(x, y) !== at(x, y - 1))
        lines.push([
          [x, y],
          [x + 1, y],
        ]);
      if (y < height && at(x, y) !== at(x - 1, y))
        lines.push([
          [x, y],
          [x, y + 1],
        ]);
    }
  }
  return lines;
}
