// Which interactions stand out from their standard errors; the same rules as findings.py. All of it is pure.
import { largest, partners } from "./layout.js";

/** Standard errors below which a value is not told from zero. */
export const ENOUGH = 2;

/** |value| / error: infinite where exact, 0 where nothing is told from zero. */
export function ratio(value, error, least = 0) {
  if (error === null || error === undefined || !Number.isFinite(value) || !Number.isFinite(error)) return 0;
  if (Math.abs(value) <= least) return 0;
  return error > 0 ? Math.abs(value) / error : Infinity;
}

/** What a word or region does with each of its partners: {values, errors, ratios, unsure, best}. */
export function partnersOf(explanation, kind, index) {
  const { interactions, interactionErrors } = explanation;
  const values = partners(interactions, kind, index);
  const errors = interactionErrors ? partners(interactionErrors, kind, index) : values.map(() => null);
  const least = 1e-6 * largest(interactions.data); // what 32 bits leave of an exact zero
  const ratios = values.map((value, i) => ratio(value, errors[i], least));
  const unsure = new Set([...ratios.keys()].filter((i) => ratios[i] < ENOUGH));
  const above = (a, b) => (ratios[a] === ratios[b] ? Math.abs(values[a]) > Math.abs(values[b]) : ratios[a] > ratios[b]);
  const best = ratios.reduce((most, _, i) => (above(i, most) ? i : most), 0);
  return { values, errors, ratios, unsure, best };
}

/** The value of full color for interactions: the largest that is told from zero, or of all where none is. */
export function pairScale(explanation) {
  const { interactions, interactionErrors } = explanation;
  if (!interactions) return null;
  const all = Array.from(interactions.data);
  const told = all.filter((value, i) => ratio(value, interactionErrors?.data[i]) >= ENOUGH);
  return largest(told.length ? told : all);
}

/** Evaluations after which a value would be two errors from zero, in two digits; errors shrink as 1/√N. */
export function neededBudget(value, error, spent) {
  const exact = spent * ((ENOUGH * error) / value) ** 2;
  if (!Number.isFinite(exact) || !error) return null;
  const step = 10 ** (Math.floor(Math.log10(Math.max(exact, 1))) - 1);
  return Math.max(1, Math.round(Math.ceil(exact / step - 1e-9) * step));
}
