// @ts-check
// Which interactions stand out from their standard errors; the same rules as findings.py. All of it is pure.
import { partners } from "./layout.js";
import { largest } from "./numbers.js";

/** Standard errors below which a value is not told from zero. */
export const ENOUGH = 2;

/** |value| / error: infinite where exact, 0 where nothing is told from zero. */
export function ratio(value, error, least = 0) {
  if (error === null || error === undefined || !Number.isFinite(value) || !Number.isFinite(error)) return 0;
  if (Math.abs(value) <= least) return 0;
  return error > 0 ? Math.abs(value) / error : Infinity;
}

/**
 * What a player of an input does with those of each other input:
 * [{name, values, errors, ratios, unsure, best}], one for each input that it is paired with.
 */
export function partnersOf(explanation, name, index) {
  // What 32 bits leave of an exact zero.
  const least = 1e-6 * Math.max(...explanation.joint.map((one) => largest(one.values.data)));
  return explanation.joint
    .filter((one) => one.first === name || one.second === name)
    .map((one) => {
      const side = one.first === name ? "first" : "second";
      const values = partners(one.values, side, index);
      const errors = one.errors ? partners(one.errors, side, index) : values.map(() => null);
      const ratios = values.map((value, i) => ratio(value, errors[i], least));
      const unsure = new Set([...ratios.keys()].filter((i) => ratios[i] < ENOUGH));
      const found = { name: side === "first" ? one.second : one.first, values, errors, ratios, unsure };
      return { ...found, best: [...values.keys()].reduce((most, i) => (above(found, i, found, most) ? i : most), 0) };
    });
}

/** Whether one pair stands out more than another: by value over error, then by size. */
function above(one, i, other, j) {
  if (one.ratios[i] !== other.ratios[j]) return one.ratios[i] > other.ratios[j];
  return Math.abs(one.values[i]) > Math.abs(other.values[j]);
}

/** Of what `partnersOf` gave, the input with the pair that stands out most. */
export function strongest(found) {
  return found.reduce((most, one) => (above(one, one.best, most, most.best) ? one : most));
}

/** The value of full color for interactions: the largest that is told from zero, or of all where none is. */
export function pairScale(explanation) {
  const all = [];
  const told = [];
  for (const { values, errors } of explanation.joint)
    values.data.forEach((value, i) => {
      all.push(value);
      if (ratio(value, errors?.data[i]) >= ENOUGH) told.push(value);
    });
  return all.length ? largest(told.length ? told : all) : null;
}

/** Evaluations after which a value would be two errors from zero, in two digits; errors shrink as 1/√N. */
export function neededBudget(value, error, spent) {
  const exact = spent * ((ENOUGH * error) / value) ** 2;
  if (!Number.isFinite(exact) || !error) return null;
  const step = 10 ** (Math.floor(Math.log10(Math.max(exact, 1))) - 1);
  return Math.max(1, Math.round(Math.ceil(exact / step - 1e-9) * step));
}
