// @ts-check
// What the pointer or the focus is on, in words.
import { partnerText } from "./compare.js";
import { ENOUGH, neededBudget, partnersOf, strongest } from "./findings.js";
import { partOf } from "./layout.js";
import { isRaised, playerName, unitName } from "./names.js";
import { amount, countText, dependsMark, points, twoSided } from "./numbers.js";
import { isUnsure } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */

/**
 * What a player brings with its partners; only what stands out from its error is named as a finding.
 * @param {any} shown
 * @param {import("./types").Place} hover
 */
export function pairText(shown, hover) {
  const found = partnersOf(shown, hover.part, hover.index);
  if (!found.length) return "";
  const { name, values, errors, ratios, best } = strongest(found);
  const partner = playerName(shown, name, best);
  if (errors[best] === null) return "; the method states no error of its pairs, so none is named";
  const value = points(values[best], errors[best]);
  if (ratios[best] >= (shown.pairs?.sure ?? ENOUGH)) return `; works most with ${partner} (${value})`;
  if (ratios[best] >= ENOUGH)
    return `; may work with ${partner} (${value}), but chance puts one pair in 20 beyond ${ENOUGH} standard errors`;
  const budget = neededBudget(values[best], errors[best], shown.pairs?.spent ?? 0);
  const remedy = budget ? `; raise the budget to about ${countText(budget)}` : "";
  return `; no pair with it is beyond ${ENOUGH} standard errors (nearest: ${partner} ${value})${remedy}`;
}

/** Which way a value speaks, where values speak. @param {Explanation} explanation @param {any} player */
export function sideText(explanation, player) {
  if (!twoSided(explanation)) return "";
  if (isUnsure(player)) return ", cannot be told from zero";
  if (dependsMark(player)) return ", whose sign depends on what absent parts become";
  if (player.value === 0) return "";
  if (isRaised(explanation)) return player.value > 0 ? ", raises it" : ", lowers it";
  if (player.value > 0) return `, for ${explanation.target}`;
  return explanation.contrast ? `, for ${explanation.contrast}` : `, against ${explanation.target}`;
}

/**
 * A player with its value and unit, its partners, and its value in a compared explanation.
 * @param {any} shown
 * @param {any[]} compared
 * @param {import("./types").Place} hover
 */
export function hoverText(shown, compared, hover) {
  const player = partOf(shown, hover.part).players[hover.index];
  const value = `${amount(shown, player.value, player.error)}${dependsMark(player)} ${unitName(shown)}${sideText(shown, player)}`;
  const beside = compared.map((/** @type {any} */ other) => partnerText(shown, other, hover)).join("");
  return `${playerName(shown, hover.part, hover.index)}: ${value}${pairText(shown, hover)}${beside}`;
}
