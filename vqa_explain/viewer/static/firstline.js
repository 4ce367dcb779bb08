// @ts-check
// The first line in words. It says what was measured of the model, or only what the values themselves say.

import { explainedAnswer, likelihood } from "./answers.js";
import { cropOf } from "./crops.js";
import { el, fill } from "./dom.js";
import { partOf } from "./layout.js";
import { inSentence, isOfNumber, sentence, TEXTS, unitName } from "./names.js";
import { percent, points, twoSided, valueText } from "./numbers.js";
import { isUnsure, rankedPlayers } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Members} Members */

const LONG = 40; // letters of an answer that is not said again

/** What the line calls an answer: a long one is written beside the line anyway. @param {string} answer */
function inShort(answer) {
  return answer.length > LONG ? "the answer" : answer;
}

const NAMED = 3; // parts in a line

/**
 * A part in a sentence; a region with its number where another large one lies at the same place.
 * @param {Explanation} explanation @param {import("./types").Part} part @param {number} index
 */
function nameApart(explanation, part, index) {
  const name = inSentence(part, index);
  if (!part.size) return name;
  const large = rankedPlayers(explanation).slice(0, 2 * NAMED);
  const isTwin = (/** @type {any} */ one) =>
    one.part === part && one.index !== index && inSentence(part, one.index) === name;
  return large.some(isTwin) ? `${name} (${index})` : name;
}

/**
 * The line. `mark(members)` is told of the clause under the pointer, `take(members)` of a click on one.
 * @param {{mark: (members: Members | null) => void, take: (members: Members) => void}} told
 */
export function firstLineView(told) {
  const [above, answer, share, below] = [
    el("span", { class: "vx-it" }),
    el("bdi", {}),
    el("small"),
    el("span", { class: "vx-small vx-below-answer" }),
  ];
  const said = el("div", { class: "vx-answer-box" }, above, el("span", { class: "vx-big" }, answer, share), below);
  const text = el("p", { class: "vx-sentence" });
  const node = el("div", { class: "vx-first" }, said, text);

  /** @param {any[]} children @param {Members} members */
  function clause(children, members, kind = "") {
    return el(
      "button",
      {
        type: "button",
        class: `vx-clause ${kind}`,
        onmouseenter: () => told.mark(members),
        onmouseleave: () => told.mark(null),
        onfocus: () => told.mark(members),
        onblur: () => told.mark(null),
        onclick: () => told.take(members),
      },
      ...children,
    );
  }

  /**
   * A part as a clause, with its cut-out.
   * @param {Explanation} explanation
   * @param {string} name
   * @param {number} index
   */
  function partClause(explanation, name, index) {
    const part = partOf(explanation, name);
    const crop = part.size ? cropOf(part, index) : null;
    const against = part.players[index].value < 0 ? "vx-negative" : "";
    return clause([crop, el("bdi", {}, nameApart(explanation, part, index))], { [name]: [index] }, against);
  }

  /**
   * Parts in a row: regions first, then "the words large and color".
   * @param {Explanation} explanation
   * @param {Members} members
   * @returns {any[]}
   */
  function listOf(explanation, members) {
    const all = Object.entries(members).flatMap(([name, numbers]) => numbers.map((index) => ({ name, index })));
    const kindOf = (/** @type {any} */ one) => partOf(explanation, one.name).kind;
    const words = all.filter((one) => kindOf(one) === "text");
    const others = all.filter((one) => kindOf(one) !== "text");
    const clauses = others.map((one) => [partClause(explanation, one.name, one.index)]);
    if (words.length) {
      const each = words.map((one) => [partClause(explanation, one.name, one.index)]);
      clauses.push([words.length > 1 ? "the words " : "the word ", ...inRow(each)]);
    }
    return inRow(clauses);
  }

  /** @param {any[]} children */
  function say(...children) {
    fill(text, ...children);
  }

  const checked = (/** @type {string} */ words) => el("span", { class: "vx-checked" }, words);

  /** @param {Explanation} explanation */
  function box(explanation) {
    const best = explanation.answers[0];
    above.textContent = best ? (isOfNumber(explanation) ? TEXTS.itsValue : TEXTS.itAnswers) : "";
    for (const one of [answer, share, below]) one.textContent = "";
    if (!best) return;
    answer.textContent = best.text;
    share.textContent = likelihood(best);
    const right = explanation.label === null ? null : best.text === explanation.label;
    fill(
      below,
      right === null
        ? null
        : el(
            "span",
            { class: right ? "vx-right" : "vx-bad" },
            right ? "✓ right" : `✗ the true answer is ${explanation.label}`,
          ),
    );
  }

  /**
   * The model's answer with everything present.
   * @param {Explanation} explanation
   * @param {string} state of the list's entry
   */
  function show(explanation, state) {
    box(explanation);
    const asked = explainedAnswer(explanation);
    const other = asked !== explanation.answers[0] && !explanation.line;
    const of = asked && other ? `For ${explanation.target}: ` : "";
    if (state === "running" || state === "waiting") {
      const old = /** @type {any} */ (explanation).isPreview ? "" : " What is shown here is of the last explanation.";
      return say(`The reason is being computed.${old}`);
    }
    const { isPreview, message } = /** @type {any} */ (explanation);
    if (isPreview) return say(message ? sentence(message) : "There is no explanation of this example.");
    const { line } = explanation;
    if (line?.alone) say(of, ...measured(explanation, line, line.alone));
    else say(of, ...valued(explanation));
  }

  /**
   * @param {Explanation} explanation
   * @param {import("./types").Line} line
   * @param {import("./types").Outcome} alone
   */
  function measured(explanation, line, alone) {
    const { target } = explanation;
    const count = Object.values(line.members).flat().length;
    const these = ["", "this alone gives", "these two alone give", "these three alone give"][count];
    const enough = alone.answer === target;
    // "Because" is said only where the answer stays with these parts alone, and goes without the first of them.
    const decisive = enough && line.without?.answer !== target && target === explanation.answers[0].text;
    const [start, more] = [
      decisive ? "Mainly because of " : `Most for ${inShort(target)}: `,
      enough ? "" : ", so more is needed",
    ];
    return [
      start,
      ...listOf(explanation, line.members),
      `${decisive ? ":" : ";"} ${these} ${alone.answer}${inBrackets(alone)}${more}. `,
      ...without(explanation, line),
      checked("Every answer in this line was measured, with those parts away."),
    ];
  }

  /** @param {Explanation} explanation @param {import("./types").Line} line @returns {any[]} */
  function without(explanation, line) {
    if (!line.without || !line.missing) return [];
    const still = line.without.answer === explanation.answers[0].text ? "still " : "";
    const [[name, numbers]] = Object.entries(line.missing);
    const part = partOf(explanation, name);
    const word = part.kind === "text" ? "the word " : "";
    const answered = clause([`${line.without.answer}${inBrackets(line.without)}`], line.missing, "vx-then");
    return [`Without ${word}${inSentence(part, numbers[0])} it ${still}answers `, answered, ". "];
  }

  /** Only what the explanation itself holds. @param {Explanation} explanation @returns {any[]} */
  function valued(explanation) {
    const sided = twoSided(explanation);
    const large = rankedPlayers(explanation).filter(
      (one) => !isUnsure(one) && (!sided || one.value > 0) && one.value !== 0,
    );
    const top = large.slice(0, NAMED);
    if (!top.length) return ["No part can be told from zero. ", checked("Raise the budget to tell more.")];
    const each = top.map((one) => [
      partClause(explanation, one.part.name, one.index),
      " ",
      el("span", { class: "vx-soft vx-number" }, `(${points(one.value, one.error).replace(/^\+/, sided ? "+" : "")})`),
    ]);
    const start = explanation.addsUp
      ? `Most is added to ${inShort(explanation.target)} by `
      : "The largest values have ";
    const caution = explanation.addsUp
      ? `These are values, ${unitName(explanation)}; no answer without them was measured.`
      : `Values: ${unitName(explanation)}.`;
    return [start, ...inRow(each), ". ", checked(caution)];
  }

  /**
   * The answer without what is away.
   * @param {Explanation} explanation
   * @param {import("./types").WhatIf} found
   * @param {Members} members
   */
  function showWhatIf(explanation, found, members) {
    box(explanation);
    const [now, was] = [found.answers[0], explanation.answers[0]];
    if (!now) return;
    above.textContent = now.text === was.text ? TEXTS.stillAnswers : TEXTS.nowAnswers;
    answer.textContent = now.text;
    share.textContent = likelihood(now);
    fill(below, el("span", { class: "vx-soft" }, `was ${was.text}, ${likelihood(was)}`));
    const count = Object.values(members).flat().length;
    const parts = count > 4 ? [`${count} parts`] : listOf(explanation, members);
    say("Without ", ...parts, ". ", ...scoreText(explanation, found), checked("Measured: one call of the model."));
  }

  /** @param {Explanation} explanation @param {import("./types").WhatIf} found @returns {any[]} */
  function scoreText(explanation, found) {
    if (found.change === null || found.change === undefined) return [];
    const unit = explanation.addsUp ? ` ${unitName(explanation)}` : "";
    const size = el("b", {}, valueText(Math.abs(found.change)).replace("+", ""));
    return [`The score of ${explanation.target} ${found.change < 0 ? "fell" : "rose"} by `, size, `${unit}. `];
  }

  /** What works with a pinned word. @param {Explanation} explanation @param {any} frame */
  function showPairs(explanation, frame) {
    box(explanation);
    const { pinned } = frame;
    const all = [...frame.pairs.values()].flatMap((pair) =>
      pair.values.map((/** @type {number} */ value, /** @type {number} */ index) => ({
        name: pair.name,
        index,
        value,
        error: pair.errors[index],
        sure: !pair.unsure.has(index),
      })),
    );
    const sure = all.filter((one) => one.sure).sort((a, b) => Math.abs(b.value) - Math.abs(a.value));
    const start = [
      "The ",
      partOf(explanation, pinned.part).player,
      " ",
      partClause(explanation, pinned.part, pinned.index),
    ];
    if (!sure.length) return say(...start, " has no pair beyond two standard errors.");
    const told2 = sure.slice(0, 2).map((one) => {
      const part = partOf(explanation, one.name);
      const crop = part.size ? cropOf(part, one.index) : null;
      const name = clause(
        [crop, inSentence(part, one.index)],
        { [one.name]: [one.index] },
        one.value < 0 ? "vx-negative" : "",
      );
      return [one.value > 0 ? "with " : "against ", name, ` (${points(one.value, one.error)})`];
    });
    const third = sure[2];
    const rest = third
      ? `Its other pairs are ${points(Math.abs(third.value), third.error).replace("+", "")} or less.`
      : "";
    say(...start, " works together ", ...inRow(told2), ". ", checked(`± one standard error. ${rest}`));
  }

  return { node, show, showWhatIf, showPairs };
}

/** @param {import("./types").Outcome} outcome */
function inBrackets(outcome) {
  return outcome.probability === null ? "" : ` (${percent(outcome.probability)})`;
}

/** "a, b and c" of lists of nodes. @param {any[][]} items @returns {any[]} */
function inRow(items) {
  return items.flatMap((item, i) => [i ? (i === items.length - 1 ? " and " : ", ") : "", ...item]);
}
