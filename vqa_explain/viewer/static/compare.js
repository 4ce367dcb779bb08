// @ts-check
// Two explanations beside each other: what may be chosen, which player of one is which of the other, how far they agree.
import { el, select } from "./dom.js";
import { partOf, regionAt } from "./layout.js";
import { answerName, methodTitle } from "./names.js";
import { amount, rankCorrelation, shareOf } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */

const MOST_COMPARED = 200; // examples that are offered: a menu of more cannot be read

/** Whether both say the same of one input, divided alike, so that player i is the same in both. */
export function alike(one, other) {
  if (!one || !other || one.kind !== other.kind || one.players.length !== other.players.length) return false;
  return one.size ? one.size.join() === other.size.join() : one.title === other.title;
}

/**
 * Whether two explanations are of the same inputs, divided alike, so that what is taken away is in both.
 * @param {Explanation} one
 * @param {Explanation} other
 */
export function sameExample(one, other) {
  const told = (/** @type {Explanation} */ e) =>
    e.parts.map((p) => [p.name, p.kind, p.title, p.pictureId, p.players.length, p.size]);
  return JSON.stringify(told(one)) === JSON.stringify(told(other));
}

/** The player of an input in another explanation that a player stands for, or -1; a region: the one in its middle. */
export function matching(from, to, index) {
  if (index < 0 || !from || !to || from.kind !== to.kind) return -1;
  if (alike(from, to)) return index;
  if (!from.size) return -1;
  const [left, top, right, bottom] = from.players[index].box;
  const [height, width] = to.labels.shape;
  const x = Math.floor((((left + right) / 2) * width) / from.size[1]);
  const y = Math.floor((((top + bottom) / 2) * height) / from.size[0]);
  return regionAt(to.labels, [Math.min(x, width - 1), Math.min(y, height - 1)]);
}

/** The inputs [one's, other's] that have one name and kind in both, and values. */
function pairsOf(one, other) {
  return one.parts
    .filter((part) => part.players.length)
    .map((part) => [part, partOf(other, part.name)])
    .filter(([part, same]) => same?.kind === part.kind);
}

function hasText(explanation) {
  return explanation.parts.some((part) => part.kind === "text" && !part.fixed);
}

/** Why no difference and no correlation of two explanations has a meaning, in one sentence; "" where they have. */
export function refusal(one, other) {
  const why = (reason) => `${reason}, so no difference is drawn and no correlation given.`;
  const both = pairsOf(one, other);
  const pictures = (e) => e.parts.filter((part) => part.size && part.players.length);
  if (both.some(([mine, its]) => mine.pictureId !== its.pictureId)) return why("They are of different pictures");
  if (!both.length || pictures(one).length !== pictures(other).length) return why("They are of different inputs");
  if (one.score !== other.score) return why(`They explain different scores (${one.score}; ${other.score})`);
  if (otherAnswer(one, other)) return why("They explain different answers");
  if (one.signed !== other.signed) return why("One has values of two signs and the other only sizes");
  if (one.unit !== other.unit) return why(`Their values have different units (${one.unit}; ${other.unit})`);
  if (both.some(([mine, its]) => mine.size && !alike(mine, its)))
    return why("They divide the picture in different ways");
  return both.some(([mine, its]) => alike(mine, its))
    ? ""
    : why("They are of different inputs, or divide them otherwise");
}

/** Whether the targets or contrasts differ; label numbers tell two labels of one text apart, within one model. */
function otherAnswer(one, other) {
  if (one.target !== other.target || one.contrast !== other.contrast) return true;
  if (one.model !== other.model) return false;
  const numbers = (e) => [e.targetIndex ?? null, e.contrastIndex ?? null].join();
  return one.heading === other.heading && numbers(one) !== numbers(other);
}

/** The value of a player of `from` in the other explanation, as text; "" where it has no partner there. */
export function partnerText(from, to, hover) {
  const part = partOf(to, hover.part);
  const index = matching(partOf(from, hover.part), part, hover.index);
  if (index < 0) return "";
  const { value, error } = part.players[index];
  const unit = from.unit === to.unit ? "" : ` (${to.unit})`;
  return `; compared: ${amount(to, value, error)}${unit}`;
}

/** Player by player of one input, each in shares of its own scale. */
export function differences(one, other) {
  const share = (part, index) => shareOf(part.players[index].value, part.bare, part.full);
  return one.players.map((_, index) => share(one, index) - share(other, index));
}

/** How far the order of the values agrees, over the inputs that are alike and can be compared with each other. */
export function agreementOf(one, other) {
  const refused = refusal(one, other);
  if (refused) return refused;
  const rank = rankOf(one, other, false);
  return rank === null ? "" : `Rank correlation with ${nameOf(one, other)}: ${rank.toFixed(2)}`;
}

/** The rank correlation of all values that are of the same players; of their sizes where `unsigned`; null: none. */
function rankOf(one, other, unsigned) {
  let both = pairsOf(one, other).filter(([mine, its]) => alike(mine, its));
  if (one.shared === false || other.shared === false) {
    const kind = (both.find(([mine]) => mine.size) ?? both[0])[0].kind;
    both = both.filter(([mine]) => mine.kind === kind);
  }
  const size = (value) => (unsigned ? Math.abs(value) : value);
  const values = (side) => both.flatMap((pair) => pair[side].players.map((player) => size(player.value)));
  return rankCorrelation(values(0), values(1));
}

/**
 * One cell of the matrix of rank correlations: {rank, unsigned, why}. Orders can be compared across answers and units,
 * sizes cannot; `why` says what differs, or why there is no rank.
 */
export function cellOf(one, other) {
  const both = pairsOf(one, other);
  if (both.some(([mine, its]) => mine.pictureId !== its.pictureId)) return { rank: null, why: "different pictures" };
  if (!both.some(([mine, its]) => alike(mine, its))) return { rank: null, why: "no parts in common" };
  if (both.some(([mine, its]) => mine.size && !alike(mine, its))) return { rank: null, why: "other regions" };
  const unsigned = one.signed !== other.signed;
  const rank = rankOf(one, other, unsigned);
  const differing = [
    otherAnswer(one, other) ? "different answers" : "",
    one.unit === other.unit ? "" : "different units",
    unsigned ? "sizes without signs" : "",
  ];
  const why = rank === null ? "the values of one do not vary" : differing.filter(Boolean).join("; ");
  return { rank, unsigned, why };
}

/** What is under the header of a column: "Shapley values, cyan − yellow". */
export function shortTitle(explanation) {
  const contrast = explanation.contrast ? ` − ${explanation.contrast}` : "";
  return `${methodTitle(explanation.method)}, ${explanation.target}${contrast}`;
}

/** What sets the other explanation apart from this one. */
export function nameOf(one, other) {
  if (one.heading !== other.heading)
    return hasText(other) ? `“${other.heading}”` : other.heading.slice(0, 1).toLowerCase() + other.heading.slice(1);
  if (one.model !== other.model) return other.model;
  if (one.method !== other.method) return methodTitle(other.method);
  return other.explained;
}

/** A line over the compared explanation. */
export function headingOf(one, other) {
  const name = nameOf(one, other);
  return name === other.explained ? name : `${name}: ${other.explained}`;
}

/** The groups [name, [column, text]...] that a kernel can set beside what is shown. */
function choices(options, entries, shown) {
  const others = (shown?.answers ?? []).filter((a) => a.index !== shown.targetIndex);
  const titled = entries.slice(0, MOST_COMPARED).map((entry, i) => `${i + 1}. ${entry.title.slice(0, 60)}`);
  return [
    ["method", options.methods.map((m) => [{ method: m.name }, methodTitle(m.name)])],
    ["answer", others.map((a) => [{ target: a.index }, answerName(shown, a)])],
    ["model", options.models.map((text, i) => [{ model: i + 1 }, text])],
    ["example", titled.map((text, i) => [{ example: i }, text])],
  ];
}

/** The choice of another column; `add(column)` is told. */
export function comparisonView(add) {
  const list = select([["", "+ Add column"]], "", chosen, "compare with");
  list.className = "vx-tool";
  const node = el("span", {}, list);
  let known = "";

  function chosen(value) {
    list.value = "";
    if (value) add(JSON.parse(value));
  }

  /** @param {any[]} groups [name, [column, text]...] */
  function offer(groups) {
    const now = JSON.stringify(groups);
    if (now === known) return; // what a person is choosing from stays as it is
    known = now;
    const option = ([column, text]) => el("option", { value: JSON.stringify(column) }, text);
    const filled = groups.filter(([, columns]) => columns.length);
    const grouped = filled.map(([name, columns]) => el("optgroup", { label: name }, ...columns.map(option)));
    list.replaceChildren(el("option", { value: "" }, "+ Add column"), ...grouped);
  }

  const show = (options, entries, shown) => offer(choices(options, entries, shown));
  return { node, offer, show };
}
