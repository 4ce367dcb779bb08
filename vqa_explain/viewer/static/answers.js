// @ts-check
// The model's answers, before and after parts are taken away.
import { el, fill, roving } from "./dom.js";
import { answerName, isOfNumber } from "./names.js";
import { percent } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Answer} Answer */

const MOST_ANSWERS = 6;
const ROW_HEIGHT = 25; // CSS pixels, as in the style sheet

/** An answer's probability in percent; its value where the model gives real numbers. @param {any} answer */
export function likelihood(answer) {
  if (answer.probability === null || answer.probability === undefined)
    return answer.value === undefined ? "" : Number(answer.value.toPrecision(4)).toString();
  return percent(answer.probability);
}

/**
 * Whether an answer is the one of this label number, or of this text where no number is known.
 * @param {Answer} answer
 * @param {number | null} index
 * @param {string | null} text
 */
export function isAnswer(answer, index, text) {
  return index === null || index === undefined ? answer.text === text : answer.index === index;
}

/** The answer that is explained, among those listed, or undefined. @param {Explanation} explanation */
export function explainedAnswer(explanation) {
  return explanation.answers.find((answer) => isAnswer(answer, explanation.targetIndex, explanation.target));
}

/**
 * Answers with probabilities; live, a click explains one by its number, "why not" makes one the contrast.
 * @param {(target: number | string, contrast: number | null) => void} choose
 */
export function answersView(choose) {
  const rows = el("div", { class: "vx-answers", role: "group", "aria-label": "answers" });
  const hint = el("span", { class: "vx-small vx-soft" });
  const rest = el("div", { class: "vx-small vx-soft" });
  const node = el("section", { class: "vx-card" }, el("h2", {}, "Answers", hint), rows, rest);
  const rove = roving(rows, "button.vx-answer");
  /** @type {any[]} */
  let lines = [];
  let known = "";

  /** @param {Explanation} explanation @param {boolean} live @param {Answer[] | null} after */
  function show(explanation, live, after) {
    node.hidden = explanation.answers.length === 1 && isOfNumber(explanation) && !after; // it stands above
    hint.textContent = after ? "before → after" : live ? "click one to explain it" : "";
    const listed = withAfter(explanation.answers, after);
    // Room for those that may come with a what-if, so that what stands below does not move.
    const isFew = !live || explanation.answers.length < MOST_ANSWERS - 1;
    rows.style.minHeight = `${ROW_HEIGHT * (isFew ? listed.length : MOST_ANSWERS)}px`;
    const now = JSON.stringify([listed.map(({ index, text }) => [index, text]), live]);
    if (now !== known) build(explanation, listed, live);
    known = now; // the same answers keep their buttons, and the one in focus keeps the focus
    for (const [i, line] of lines.entries()) updateAnswer(line, listed[i], explanation, after);
    const sum = explanation.answers.reduce((whole, answer) => whole + (answer.probability ?? 0), 0);
    const left = 1 - sum;
    rest.textContent =
      explanation.answers[0]?.probability === null || left < 5e-7 ? "" : `others, together ${percent(left)}`;
  }

  function build(/** @type {Explanation} */ explanation, /** @type {Answer[]} */ listed, /** @type {boolean} */ live) {
    lines = listed.map((answer) => rowOf(explanation, answer, live));
    fill(rows, ...lines.map(({ row }) => row));
    rove();
  }

  function rowOf(/** @type {Explanation} */ explanation, /** @type {Answer} */ answer, /** @type {boolean} */ live) {
    const line = /** @type {any} */ ({ answer });
    const text = answerName(explanation, answer);
    line.mark = el("span", { class: "vx-right", title: "the true answer" });
    const name = [el("bdi", {}, text), line.mark];
    line.main = live
      ? el(
          "button",
          {
            type: "button",
            class: "vx-answer",
            title: `explain ${text}`,
            onclick: () => choose(line.answer.index, null),
          },
          ...name,
        )
      : el("span", { class: "vx-answer", title: text }, ...name);
    [line.before, line.now] = [el("u"), el("i")];
    line.track = el("span", { class: "vx-track", "aria-hidden": "true" }, line.before, line.now);
    line.share = el("span", { class: "vx-number vx-small" });
    line.why = live
      ? el(
          "button",
          { type: "button", class: "vx-why", "aria-label": `why not ${text}`, onclick: () => ask(line) },
          "why not?",
        )
      : null;
    line.row = el("div", { class: "vx-row" }, line.main, line.track, line.share, line.why);
    return line;
  }

  function ask(/** @type {any} */ line) {
    const { explanation, answer, other } = line;
    choose(explanation.targetIndex ?? explanation.target, other ? null : answer.index);
  }

  return { node, show };
}

/** @param {any} line @param {Answer} answer @param {Explanation} explanation @param {Answer[] | null} after */
function updateAnswer(line, answer, explanation, after) {
  const chosen = isAnswer(answer, explanation.targetIndex, explanation.target);
  const other = explanation.contrast !== null && isAnswer(answer, explanation.contrastIndex, explanation.contrast);
  Object.assign(line, { answer, explanation, other });
  line.mark.textContent = explanation.label !== null && answer.text === explanation.label ? " ✓" : "";
  line.row.classList.toggle("vx-chosen", chosen);
  if (line.main.localName === "button") line.main.setAttribute("aria-pressed", String(chosen));
  const before = explanation.answers.find((one) => one.index === answer.index && one.text === answer.text);
  const then = after?.find((one) => isSame(one, answer, explanation.answers));
  line.row.classList.toggle("vx-two", Boolean(after));
  line.before.style.width = after ? `${100 * (before?.probability ?? 0)}%` : "0";
  line.now.style.width = `${100 * ((after ? then : before)?.probability ?? 0)}%`;
  const texts = [before ? likelihood(before) : "", then ? likelihood(then) : ""];
  fill(line.share, ...(after ? [`${texts[0]} → `, el("b", {}, texts[1] || "–")] : [texts[0]]));
  if (!line.why) return;
  line.why.hidden = chosen;
  line.why.setAttribute("aria-pressed", String(other));
}

/**
 * Whether two answers are one: by their texts, and by label numbers where several have that text.
 * @param {Answer} one
 * @param {Answer} other
 * @param {Answer[]} all
 */
export function isSame(one, other, all) {
  const shared = all.filter((answer) => answer.text === one.text).length > 1;
  return one.text === other.text && (!shared || one.index === other.index);
}

/** The first answers, and those that became likely. @param {Answer[]} before @param {Answer[] | null} after */
export function withAfter(before, after) {
  if (!after) return before.slice(0, MOST_ANSWERS);
  const kept = before.slice(0, 3);
  const added = [...after]
    .sort((one, other) => (other.probability ?? 0) - (one.probability ?? 0))
    .filter((answer) => !kept.some((one) => isSame(one, answer, before)));
  return [...kept, ...added].slice(0, MOST_ANSWERS);
}
