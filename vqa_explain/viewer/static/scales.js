// @ts-check
// What full color stands for, which values are told from zero, and which are drawn. Pure; tested under node.
import { ENOUGH } from "./findings.js";
import { largest, shareOf, twoSided } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */
/** @typedef {import("./types").Look} Look */
/** @typedef {{bare: number, full: number, times: number}} Scale */

/** Values up to this share of the largest of all fill no scale of their own. */
const ROUNDING = 1e-5;

/** @param {Explanation} explanation @param {(part: Part) => boolean} has */
function valuesOf(explanation, has) {
  const parts = explanation.parts.filter((part) => !part.fixed && has(part));
  return parts.flatMap((part) => part.players.map(({ value }) => value));
}

/** @param {Explanation} explanation @param {number[]} values @returns {Scale} */
function scaleOfValues(explanation, values) {
  if (explanation.fromZero !== false) return { bare: 0, full: values.length ? largest(values) : 0, times: 1 };
  return { bare: Math.min(...values), full: Math.max(...values), times: 1 };
}

/** Whether players of several kinds have values that one scale can hold. @param {Explanation} explanation */
export function canShareScale(explanation) {
  const kinds = new Set(explanation.parts.filter((part) => part.players.length).map((part) => part.player));
  return explanation.shared !== false && kinds.size > 1;
}

/**
 * The values without color and of full color for a part's players, and how often they are magnified beside one scale.
 * @param {Explanation} explanation @param {Part} part @param {{scale: string}} look @returns {Scale}
 */
export function scaleOf(explanation, part, look) {
  const own = scaleOfValues(
    explanation,
    valuesOf(explanation, (other) => other.player === part.player),
  );
  if (!canShareScale(explanation)) return own;
  const one = scaleOfValues(
    explanation,
    valuesOf(explanation, () => true),
  );
  const isRounding = explanation.fromZero !== false && own.full <= ROUNDING * one.full;
  if (look.scale === "one" || isRounding) return one;
  return { ...own, times: explanation.fromZero !== false && own.full ? one.full / own.full : 1 };
}

/** The scale of a map of single pixels. @param {Part} part @returns {Scale} */
export function pixelScale(part) {
  return { bare: part.mapBare ?? 0, full: part.mapFull ?? 0, times: 1 };
}

/**
 * Whether a value cannot be told from zero; one without a standard error is never said to be so.
 * @param {{value: number, error: number | null}} player
 */
export function isUnsure(player) {
  return Boolean(player.error) && Math.abs(player.value) < ENOUGH * Number(player.error);
}

/** The numbers of a part's players that cannot be told from zero. @param {Part} part */
export function unsureOf(part) {
  return new Set([...part.players.keys()].filter((index) => isUnsure(part.players[index])));
}

/** A part's values as shares of full color. @param {Part} part @param {Scale} scale */
export function sharesOf(part, scale) {
  return part.players.map(({ value }) => shareOf(value, scale.bare, scale.full));
}

/**
 * The regions that count for the answer: above zero, beyond two errors and above the threshold.
 * @param {Part} part
 * @param {Scale} scale
 * @param {number} threshold
 */
export function countingOf(part, scale, threshold) {
  const shares = sharesOf(part, scale);
  const hasErrors = part.players.some(({ error }) => error);
  const least = Math.max(threshold, hasErrors ? 0 : LEAST_SHARE);
  const counts = (/** @type {number} */ index) => shares[index] > least && !isUnsure(part.players[index]);
  return new Set([...part.players.keys()].filter(counts));
}

/** The share of full color above which a value without a standard error counts. */
export const LEAST_SHARE = 0.1;

/** Every player of every input, the largest first: [{part, index, value, error, band}]. @param {Explanation} explanation */
export function rankedPlayers(explanation) {
  const all = explanation.parts.flatMap((part) =>
    part.players.map(({ value, error, band }, index) => ({ part, index, value, error, band })),
  );
  return all.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
}

/**
 * Where a legend begins: full color on the other side, or the value without color.
 * @param {Explanation} explanation
 */
export function lowOf(explanation) {
  return twoSided(explanation) ? -1 : 0;
}
