// @ts-check
// The rows of an answer's words: one, the sum over several, and what one part of the inputs adds to each of them.
import { largest, listed, points, shareOf } from "./numbers.js";
import { isUnsure } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Output} Output */
/** @typedef {import("./types").Part} Part */
/** @typedef {[number, number]} Span the first and the last word; [-1, -1] for none */
/** @typedef {{value: number, error: number | null, share: number}} Fed */

/** @type {Span} */
export const NO_WORDS = [-1, -1];
const MOST_FED = 3; // words that are named
const MOST_OF_MAP = 0.995; // Full color of a map of pixels is at this quantile of their sizes, as in explanation.py.

/** @param {Span} one @param {Span} other */
export function sameSpan(one, other) {
  return one[0] === other[0] && one[1] === other[1];
}

/**
 * The explanation of one word of the answer, or of the whole where the number is none of a word.
 * @param {Explanation} whole @param {number} number @returns {Explanation}
 */
export function ofWord(whole, number) {
  const row = whole.outputs?.[number];
  return row ? withRow(whole, row) : whole;
}

/**
 * The explanation of the words from one to another, in any order: the sum of theirs.
 * @param {Explanation} whole @param {Span} span @returns {Explanation}
 */
export function ofWords(whole, span) {
  const [first, last] = [Math.min(...span), Math.max(...span)];
  const count = whole.outputs?.length ?? 0;
  if (first < 0 || last >= count || (first === 0 && last === count - 1 && count > 1)) return whole;
  if (first === last) return ofWord(whole, first);
  return withRow(whole, summed(whole, (whole.outputs ?? []).slice(first, last + 1)));
}

/** @param {Explanation} whole @param {Output} row @returns {Explanation} */
function withRow(whole, row) {
  const parts = whole.parts.map((part, index) => {
    const { values, errors, bands, ...look } = row.parts[index];
    const players = part.players.map((player, i) => ({
      ...player,
      ...{ value: values[i], error: errors?.[i] ?? null, band: bands?.[i] ?? null },
    }));
    return { ...part, ...look, players };
  });
  const { target, explained, unitText, share, errorText, error } = row;
  // Pairs are those of the whole, whose values a word has a part of.
  const alone = { joint: [], pairs: null, pairsTitle: "" };
  return { ...whole, ...alone, parts, target, explained, unitText, share, errorText, error };
}

/**
 * The sum of rows. Errors of words from the same coalitions depend on each other, so that of a sum is at most the sum
 * of theirs, which is told.
 * @param {Explanation} whole @param {Output[]} rows @returns {Output}
 */
function summed(whole, rows) {
  const parts = whole.parts.map((_, place) => sumOfPart(rows.map((row) => row.parts[place])));
  const target = rows.map((row) => row.target).join(" ");
  const errors = rows.map((row) => row.error);
  const names = whole.parts.map(({ name }) => name);
  const inputs = names.map((name, place) => /** @type {[string, number[]]} */ ([name, parts[place].values]));
  const error = errors.includes(null) ? null : errors.reduce((sum, one) => Number(sum) + Number(one), 0);
  return {
    ...rows[0],
    ...{ target, parts, error, errorText: "", contrast: null },
    explained: `the sum over ${rows.length} words of the answer, “${target}”`,
    share: sharesOfInputs(inputs.filter(([name]) => name in whole.share)),
  };
}

/** @param {Output["parts"]} parts of one input, by word */
function sumOfPart(parts) {
  const add = (/** @type {number[][]} */ lists) => lists[0].map((_, i) => lists.reduce((sum, one) => sum + one[i], 0));
  const errors = parts.map((part) => part.errors);
  const values = add(parts.map((part) => part.values));
  const known = errors.every((one) => one !== null);
  const found = { ...parts[0], values, errors: known ? add(/** @type {number[][]} */ (errors)) : null, bands: [] };
  const full = largest(values);
  return parts[0].heat ? { ...found, full, ...sumOfMaps(parts) } : { ...found, full };
}

/**
 * A map of single pixels, as far as the maps of the words are drawn: in 127 steps to their full colors.
 * @param {any[]} parts
 */
function sumOfMaps(parts) {
  const { shape, data } = parts[0].heat;
  const sums = new Float32Array(data.length);
  for (const { heat, mapFull } of parts)
    for (let i = 0; i < sums.length; i++) sums[i] += (heat.data[i] * mapFull) / 127;
  const sizes = sums.map(Math.abs).sort();
  const full = sizes[Math.floor(MOST_OF_MAP * (sizes.length - 1))] || sizes[sizes.length - 1];
  const steps = Int8Array.from(sums, (value) => Math.round(127 * Math.max(-1, Math.min(1, value / (full || 1)))));
  return { heat: { shape, data: steps }, mapBare: 0, mapFull: full };
}

/** The inputs' shares of the absolute values. @param {[string, number[]][]} inputs @returns {Record<string, number>} */
export function sharesOfInputs(inputs) {
  const sizes = inputs.map(([, values]) => values.reduce((sum, value) => sum + Math.abs(value), 0));
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return Object.fromEntries(inputs.map(([name], i) => [name, total ? sizes[i] / total : 0]));
}

/**
 * What one part of an input adds to each word, and its share of the most that any part of that input adds to one;
 * nothing where zero means nothing.
 * @param {Explanation} whole @param {import("./types").Place | null} place @returns {Fed[] | null}
 */
export function fedWords(whole, place) {
  const number = place ? whole.parts.findIndex(({ name }) => name === place.part) : -1;
  const rows = (whole.outputs ?? []).map((row) => row.parts[number]);
  if (!place || !rows.length || number < 0 || whole.fromZero === false) return null;
  const full = largest(rows.flatMap((row) => row.values));
  return rows.map(({ values, errors }) => {
    const value = values[place.index];
    return { value, error: errors?.[place.index] ?? null, share: shareOf(value, 0, full) };
  });
}

/**
 * The words that a part adds most to, in words; "" where none can be told from zero.
 * @param {Explanation} whole @param {import("./types").Place} place
 */
export function fedText(whole, place) {
  const told = (fedWords(whole, place) ?? []).map((fed, number) => ({ ...fed, text: whole.outputs?.[number].target }));
  const sure = told.filter((fed) => fed.value !== 0 && !isUnsure(fed));
  const most = sure.sort((one, other) => Math.abs(other.value) - Math.abs(one.value)).slice(0, MOST_FED);
  if (!most.length) return "";
  return `; most for ${listed(
    most.map(({ text, value, error }) => `“${text}” ${points(value, error)}`),
    "and",
  )}`;
}
