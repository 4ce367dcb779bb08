// What the pointer or the focus is on, in words.
import { partnerText } from "./compare.js";
import { ENOUGH, neededBudget, partnersOf } from "./findings.js";
import { amount, points } from "./layout.js";

/** What a word or region brings with its partners; only what stands out from its error is named as a finding. */
export function pairText(shown, hover) {
  if (!shown.interactions) return shown.words.length ? "; this method has no interactions" : "";
  const { values, errors, ratios, best } = partnersOf(shown, hover.what, hover.index);
  const partner = hover.what === "word" ? `region ${best}` : `“${shown.words[best].text}”`;
  if (errors[best] === null) return "; the method states no error of its pairs, so none is named";
  const value = points(values[best], errors[best]);
  if (ratios[best] >= (shown.pairs?.sure ?? ENOUGH)) return `; works most with ${partner} (${value})`;
  if (ratios[best] >= ENOUGH)
    return `; may work with ${partner} (${value}), but chance puts one pair in 20 beyond ${ENOUGH} standard errors`;
  const budget = neededBudget(values[best], errors[best], shown.pairs?.spent ?? 0);
  const remedy = budget ? `; raise the budget to about ${budget.toLocaleString("en")}` : "";
  return `; no pair with it is beyond ${ENOUGH} standard errors (nearest: ${partner} ${value})${remedy}`;
}

/** A word or region with its value and unit, its partners, and its value in a compared explanation. */
export function hoverText(shown, compared, hover) {
  const thing = hover.what === "word" ? shown.words[hover.index] : shown.regions[hover.index];
  const name = hover.what === "word" ? `“${thing.text}”` : `region ${hover.index}`;
  const value = `${amount(shown, thing.value, thing.error)} ${shown.unitText}`;
  return `${name}: ${value}${pairText(shown, hover)}${compared ? partnerText(shown, compared, hover) : ""}`;
}
