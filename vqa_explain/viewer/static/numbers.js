// @ts-check
// How numbers are written, and what is computed of lists of them. All of it is pure and tested under node.

/** @typedef {import("./types").Explanation} Explanation */

/** Decimals that show an error with one digit; its value gets the same number. @param {number} error */
export function placesOf(error) {
  let power = Math.floor(Math.log10(error));
  if (Math.round(error / 10 ** power) === 10) power += 1;
  return Math.min(6, Math.max(0, -power));
}

/** A size without a sign: two decimals, or two digits where these would show too little. @param {number} size */
function bare(size) {
  if (size === 0) return "0";
  if (size < 1e-3 || size >= 1e5) return size.toExponential(1).replace("-", "−");
  if (size < 0.0995) return size.toPrecision(2);
  return size.toFixed(size >= 99.5 ? 1 : 2);
}

/** "± 0.04", or "" where there is none. @param {number | null | undefined} error */
export function errorText(error) {
  if (!error) return "";
  return `± ${error < 1e-5 ? error.toExponential(0).replace("-", "−") : error.toFixed(placesOf(error))}`;
}

/** "+1.23", in as many decimals as its error has. @param {number} value @param {number | null} [error] */
export function valueText(value, error) {
  const size = Math.abs(value);
  const known = error && error >= 1e-5;
  const text = known ? size.toFixed(placesOf(error)) : bare(size);
  if (Number(text.replace("−", "-")) === 0) return text;
  return `${value < 0 ? "−" : "+"}${text}`;
}

/** "+1.23 ± 0.04": rounded to the error. @param {number} value @param {number | null} [error] */
export function points(value, error) {
  return error ? `${valueText(value, error)} ${errorText(error)}` : valueText(value);
}

/** "about 12 s left". @param {number} seconds */
export function leftText(seconds) {
  if (seconds < 1) return "under 1 s left";
  if (seconds < 90) return `about ${Math.ceil(seconds)} s left`;
  return seconds < 5400 ? `about ${Math.round(seconds / 60)} min left` : `about ${(seconds / 3600).toFixed(1)} h left`;
}

/** "98.5%", "42%", "<0.1%", "0%". @param {number} share */
export function percent(share) {
  if (share === 0) return "0%";
  if (share >= 0.9995) return "100%";
  if (share >= 0.1 && share <= 0.9) return `${Math.round(100 * share)}%`;
  return share >= 0.0005 ? `${(100 * share).toFixed(1)}%` : "<0.1%";
}

/**
 * Whether values speak for and against, so that signs are written and colors run to both sides of zero.
 * @param {any} explanation
 */
export function twoSided(explanation) {
  return explanation.signed !== false && explanation.fromZero !== false;
}

/**
 * A value of an explanation; the sign is written where there are two.
 * @param {any} explanation
 * @param {number} value
 * @param {number | null} [error]
 */
export function amount(explanation, value, error) {
  const text = points(value, error);
  return twoSided(explanation) ? text : text.replace(/^\+/, "");
}

/** "†" behind a value whose sign depends on what absent parts become. @param {{band?: number[] | null}} player */
export function dependsMark({ band }) {
  return band && band[0] <= 0 && band[1] >= 0 ? "†" : "";
}

/**
 * A value as a share of full color: 0 at the value without color and 1 at `full`.
 * @param {number} value
 * @param {number} bareValue
 * @param {number} full
 */
export function shareOf(value, bareValue, full) {
  return full > bareValue ? (value - bareValue) / (full - bareValue) : 0;
}

/** The largest absolute value, at least a tiny one. @param {Iterable<number>} values */
export function largest(values) {
  let most = 1e-12;
  for (const value of values) most = Math.max(most, Math.abs(value));
  return most;
}

/** "a, b or c". @param {string[]} texts */
export function listed(texts, last = "or") {
  return texts.length < 2 ? texts.join("") : `${texts.slice(0, -1).join(", ")} ${last} ${texts.at(-1)}`;
}

/** Ranks with ties averaged. @param {number[]} values */
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

/**
 * Spearman's rank correlation of two lists of the same length, or null where one does not vary.
 * @param {number[]} one
 * @param {number[]} other
 */
export function rankCorrelation(one, other) {
  const [a, b] = [ranks(one), ranks(other)];
  const mean = (/** @type {number[]} */ values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const [ma, mb] = [mean(a), mean(b)];
  let [ab, aa, bb] = [0, 0, 0];
  a.forEach((value, i) => {
    ab += (value - ma) * (b[i] - mb);
    aa += (value - ma) ** 2;
    bb += (b[i] - mb) ** 2;
  });
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : null;
}

/**
 * How many values lie in each of `count` equal steps from −full to +full, or from `low` to full.
 * @param {number[]} values
 * @param {number} low
 * @param {number} full
 */
export function histogram(values, low, full, count = 45) {
  const found = new Array(count).fill(0);
  for (const value of values) {
    const step = Math.floor(((value - low) / (full - low || 1)) * count);
    found[Math.max(0, Math.min(count - 1, step))] += 1;
  }
  return found;
}

/** "10,000". Without `toLocaleString`, which first reads tables of all languages. @param {number} count */
export function countText(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ",");
}
