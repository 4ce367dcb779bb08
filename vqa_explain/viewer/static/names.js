// @ts-check
// What methods, answers, words and regions are called.
import { partOf } from "./layout.js";
import { listed } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

/** English texts of labels, in one table so that other languages can be added. */
export const TEXTS = {
  itAnswers: "It answers",
  itsValue: "The value of",
  nowAnswers: "Now it answers",
  stillAnswers: "It still answers",
  hintLive: " Click takes it away; Shift-drag, several.",
  hintPairs: "Wider line: stronger pair. Click a word to pin it, Esc to free it.",
  unsure: "within 2 standard errors of zero",
  unsureLines: "within 2 standard errors of zero",
  noErrors: "no standard error is defined",
  drag: "drag to hide small values",
  ownScales: "Own scales",
  oneScale: "One scale",
  noExample: "There is no example to show.",
};

/** Whether a number is explained, such as a unit's or a regression's: there are no answers to choose from.
 * @param {Explanation} explanation
 */
export function isOfNumber(explanation) {
  const answers = explanation.answers ?? [];
  return answers.length > 0 && answers.every((answer) => answer.probability === null);
}

/** Whether there is no answer that a value could speak for or against: it raises or lowers a number.
 * @param {Explanation} explanation
 */
export function isRaised(explanation) {
  return isOfNumber(explanation) && !explanation.contrast;
}

/** @type {Record<string, string>} */
const METHODS = {
  shapley: "Shapley values",
  lime: "LIME",
  rise: "RISE",
  deep_lift: "DeepLIFT",
  lrp: "LRP",
  gradcam: "Grad-CAM",
  grad_cam: "Grad-CAM",
  smoothgrad: "SmoothGrad",
};

/** A method's name as people write it. @param {string} name */
export function methodTitle(name) {
  const text = METHODS[name] ?? name.replaceAll("_", " ");
  return text.slice(0, 1).toUpperCase() + text.slice(1);
}

/** The unit of values in short, such as "points of logit". @param {Explanation} explanation */
export function unitName(explanation) {
  return explanation.addsUp ? `points of ${explanation.score.replaceAll("_", " ")}` : explanation.unit;
}

const PLACE_ROWS = ["upper", "", "lower"];
const PLACE_COLUMNS = ["left", "", "right"];

/** Where a region lies in its picture: "upper left", "top", "middle". @param {Part} part @param {number} index */
export function placeName(part, index) {
  const [left, top, right, bottom] = /** @type {number[]} */ (part.players[index].box);
  const [height, width] = /** @type {number[]} */ (part.size);
  const third = (/** @type {number} */ at, /** @type {number} */ whole) => Math.min(2, Math.floor((3 * at) / whole));
  const row = third((top + bottom) / 2, height);
  const column = third((left + right) / 2, width);
  if (row === 1) return PLACE_COLUMNS[column] || "middle";
  if (column === 1) return row === 0 ? "top" : "bottom";
  return `${PLACE_ROWS[row]} ${PLACE_COLUMNS[column]}`;
}

/**
 * What a player is called: a word in quotes, a region by its place and number, others by their text.
 * @param {Explanation} explanation
 * @param {string} name
 * @param {number} index
 */
export function playerName(explanation, name, index) {
  const part = partOf(explanation, name);
  const where = part.alone ? "" : ` of ${name}`;
  const kind = part.kind === "text" || part.size ? "" : `${part.player} `;
  return `${kind}${shortName(part, index)}${where}`;
}

/** The same without the input's name. @param {Part} part @param {number} index */
export function shortName(part, index) {
  const player = part.players[index];
  if (part.kind === "text") return `“${player.text}”`;
  if (part.size) return `${placeName(part, index)} (${index})`;
  return player.text ?? String(index);
}

/**
 * A player in a sentence: "the region at the top", "the word", "the column age = 3"; a word itself is a clause of its
 * own.
 * @param {Part} part
 * @param {number} index
 */
export function inSentence(part, index) {
  if (part.kind === "text") return String(part.players[index].text);
  const where = part.alone ? "" : ` of ${part.name}`;
  if (!part.size) return `${part.player} ${part.players[index].text}${where}`;
  const place = placeName(part, index);
  const preposition = ["top", "bottom", "left", "right", "upper left", "upper right", "lower left", "lower right"];
  return `the ${part.player} ${preposition.includes(place) ? `at the ${place}` : "in the middle"}${where}`;
}

/**
 * What the players of all inputs are called, words first: "a word or a region", or in the plural.
 * @param {Explanation} explanation
 */
export function playersText(explanation, plural = false) {
  const live = explanation.parts.filter((part) => part.players.length);
  const ordered = [...live.filter((part) => part.kind === "text"), ...live.filter((part) => part.kind !== "text")];
  const names = [...new Set(ordered.map((part) => part.player))];
  const article = (/** @type {string} */ name) => (/^[aeiou]/.test(name) ? `an ${name}` : `a ${name}`);
  return listed(names.map((name) => (plural ? `${name}s` : article(name))));
}

/**
 * An answer's text, with its label number where another answer has the same text.
 * @param {Explanation} explanation
 * @param {import("./types").Answer} answer
 */
export function answerName(explanation, answer) {
  const same = explanation.answers.filter((other) => other.text === answer.text);
  return same.length > 1 ? `${answer.text} (label ${answer.index})` : answer.text;
}

/** A clause with a capital and a full stop. @param {string} clause */
export function sentence(clause) {
  return `${clause.slice(0, 1).toUpperCase()}${clause.slice(1)}.`;
}
