// What the pointer or the focus is on, in words.
import { partnerText } from "./compare.js";
import { ENOUGH, neededBudget, partnersOf, strongest } from "./findings.js";
import { amount, listed, partOf, points } from "./layout.js";

/** What a player is called: a word in quotes, a region by its number, others by their text. */
export function playerName(explanation, name, index) {
  const part = partOf(explanation, name);
  const player = part.players[index];
  const where = part.alone ? "" : ` of ${name}`;
  if (part.kind === "text") return `“${player.text}”${where}`;
  if (part.kind === "image") return `${part.player} ${index}${where}`;
  return `${part.player} ${player.text}${where}`;
}

/** What the players of all inputs are called, words first: "a word or a region", or in the plural. */
export function playersText(explanation, plural = false) {
  const live = explanation.parts.filter((part) => part.players.length);
  const ordered = [...live.filter((part) => part.kind === "text"), ...live.filter((part) => part.kind !== "text")];
  const names = [...new Set(ordered.map((part) => part.player))];
  const article = (name) => (/^[aeiou]/.test(name) ? `an ${name}` : `a ${name}`);
  return listed(names.map((name) => (plural ? `${name}s` : article(name))));
}

/** What a player brings with its partners; only what stands out from its error is named as a finding. */
export function pairText(shown, hover) {
  const several = shown.parts.filter((part) => part.players.length).length > 1;
  const found = partnersOf(shown, hover.part, hover.index);
  if (!found.length) return several ? "; this method has no interactions" : "";
  const { name, values, errors, ratios, best } = strongest(found);
  const partner = playerName(shown, name, best);
  if (errors[best] === null) return "; the method states no error of its pairs, so none is named";
  const value = points(values[best], errors[best]);
  if (ratios[best] >= (shown.pairs?.sure ?? ENOUGH)) return `; works most with ${partner} (${value})`;
  if (ratios[best] >= ENOUGH)
    return `; may work with ${partner} (${value}), but chance puts one pair in 20 beyond ${ENOUGH} standard errors`;
  const budget = neededBudget(values[best], errors[best], shown.pairs?.spent ?? 0);
  const remedy = budget ? `; raise the budget to about ${budget.toLocaleString("en")}` : "";
  return `; no pair with it is beyond ${ENOUGH} standard errors (nearest: ${partner} ${value})${remedy}`;
}

/** A player with its value and unit, its partners, and its value in a compared explanation. */
export function hoverText(shown, compared, hover) {
  const player = partOf(shown, hover.part).players[hover.index];
  const value = `${amount(shown, player.value, player.error)} ${shown.unitText}`;
  const beside = compared ? partnerText(shown, compared, hover) : "";
  return `${playerName(shown, hover.part, hover.index)}: ${value}${pairText(shown, hover)}${beside}`;
}
