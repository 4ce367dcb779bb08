// What is shown next to the picture: answers, shares of the inputs, the color scale, where it all comes from.
import { css, mapOf, over, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { amount, twoSided } from "./layout.js";

const SHARES = [
  "light-dark(#40566a, #8fb0cc)",
  "light-dark(#7a5c12, #d9b95f)",
  "light-dark(#2f6b4a, #86c9a3)",
  "light-dark(#77456b, #d3a3c8)",
  "light-dark(#9a4a2f, #e3a58e)",
  "light-dark(#3b4a9a, #a9b5f0)",
];

/** An answer's probability in percent; its value where the model gives real numbers. */
export function likelihood(answer) {
  if (answer.probability === null) return Number(answer.value.toPrecision(4)).toString();
  return `${(100 * answer.probability).toFixed(1)}%`;
}

/** Whether an answer is the one of this label number, or of this text where no number is known. */
function isAnswer(answer, index, text) {
  return index === null || index === undefined ? answer.text === text : answer.index === index;
}

/** An answer's text, with its label number where another answer has the same text. */
export function answerName(explanation, answer) {
  const same = explanation.answers.filter((other) => other.text === answer.text);
  return same.length > 1 ? `${answer.text} (label ${answer.index})` : answer.text;
}

/** Answers with probabilities; live, a click explains one by its number, "why not" makes one the contrast. */
export function answersView(choose) {
  const node = el("div", { class: "vx-answers", role: "group", "aria-label": "answers" });

  function show(explanation, live) {
    const rows = explanation.answers.map((answer) => {
      const chosen = isAnswer(answer, explanation.targetIndex, explanation.target);
      const other = explanation.contrast !== null && isAnswer(answer, explanation.contrastIndex, explanation.contrast);
      const right = explanation.label !== null && answer.text === explanation.label;
      const text = answerName(explanation, answer);
      const name = el("bdi", {}, text);
      const mark = right ? el("span", { class: "vx-right", title: "the true answer" }, " ✓") : null;
      const bar = el("i", { class: "vx-part", style: { width: `${100 * answer.probability}%` } });
      const share = el("span", { class: "vx-number" }, likelihood(answer));
      const main = live
        ? el(
            "button",
            {
              type: "button",
              class: "vx-answer",
              "aria-pressed": String(chosen),
              title: "explain this answer",
              onclick: () => choose(answer.index, null),
            },
            name,
            mark,
          )
        : el("span", { class: `vx-answer${chosen ? " vx-chosen" : ""}` }, name, mark);
      const why =
        live && !chosen
          ? el(
              "button",
              {
                type: "button",
                class: "vx-why",
                "aria-pressed": String(other),
                "aria-label": `why not ${text}`,
                onclick: () => choose(explanation.targetIndex ?? explanation.target, other ? null : answer.index),
              },
              "why not?",
            )
          : null;
      return el(
        "div",
        { class: "vx-row" },
        main,
        el("span", { class: "vx-track", "aria-hidden": "true" }, bar),
        share,
        why,
      );
    });
    fill(node, ...rows);
  }

  return { node, show };
}

/** Each input's share of the absolute total, where their values can be compared; nothing where there is one. */
export function sharesView() {
  const node = el("div", { class: "vx-shares" });

  function show(explanation) {
    const shares = Object.entries(explanation.share);
    node.hidden = shares.length < 2;
    if (explanation.whyNoShares) {
      fill(node, el("div", { class: "vx-soft" }, `Share: none, since ${explanation.whyNoShares}.`));
      return;
    }
    const background = (i) => ({ background: SHARES[i % SHARES.length] });
    const parts = shares.map(([, share], i) => el("i", { style: { width: `${100 * share}%`, ...background(i) } }));
    // Below the bar, where the name of a small share has room too.
    const names = shares.map(([name, share], i) =>
      el(
        "span",
        { title: `${name} ${(100 * share).toFixed(1)}%` },
        el("i", { style: background(i) }),
        `${name} ${Math.round(100 * share)}%`,
      ),
    );
    fill(
      node,
      el("div", { class: "vx-share-bar", "aria-hidden": "true" }, ...parts),
      el("div", { class: "vx-share-names vx-soft" }, "Share of the absolute total: ", ...names),
    );
  }

  return { node, show };
}

/** A color scale of a map, or of words: from the value where colors begin to the one of full color. */
export function legendView(kind = "vx-legend") {
  const node = el("div", { class: kind });

  function show(explanation, bare, full, unit, map) {
    const low = twoSided(explanation) ? -1 : 0;
    const at = [0, 0.25, 0.5, 0.75, 1].map((part) => low + part * (1 - low));
    const ends = at.map((value) => css(over(tint(value, mapOf(explanation, map)), [255, 255, 255])));
    const start = bare + low * (full - bare);
    const ramp = el("i", { class: "vx-ramp", style: { background: `linear-gradient(90deg, ${ends.join(", ")})` } });
    fill(
      node,
      el("span", {}, start === 0 ? "0" : amount(explanation, start)),
      ramp,
      el("span", {}, amount(explanation, full)),
      el("span", { class: "vx-soft vx-unit" }, unit),
    );
  }

  return { node, show };
}

/** A clause with a capital and a full stop. */
export function sentence(clause) {
  return `${clause.slice(0, 1).toUpperCase()}${clause.slice(1)}.`;
}

/** What a reader must know of the values, and of those of a compared explanation; hidden where there is nothing. */
export function notesView() {
  const node = el("div", { class: "vx-notes", role: "note", "aria-label": "notes" });

  function show(explanation, compared) {
    const own = explanation.notes.map(sentence);
    const others = (compared?.notes ?? []).map((note) => `Compared explanation: ${note}.`);
    fill(node, ...[...own, ...others].map((text) => el("div", {}, text)));
    node.hidden = node.childElementCount === 0;
  }

  return { node, show };
}

/** Method, parameters, error and origin. */
export function detailsView() {
  const node = el("div", { class: "vx-details vx-soft" });

  function show(explanation) {
    const parameters = Object.entries(explanation.parameters)
      .map(([name, value]) => `${name}=${value}`)
      .join(", ");
    fill(
      node,
      el("div", {}, `Explained: ${explanation.explained}. Values: ${explanation.unitText}`),
      el("div", {}, `By ${explanation.method}${parameters ? ` (${parameters})` : ""}. Error: ${explanation.errorText}`),
      ...explanation.facts.map((fact) => el("div", {}, sentence(fact))),
      el("div", {}, explanation.origin),
    );
  }

  return { node, show };
}
