// What stands beside the picture: answers, shares of the modalities, the colour scale, where it all comes from.
import { css, over, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { points } from "./layout.js";

const SHARES = ["#40566a", "#7a5c12"];

/** An answer's probability in percent; its value where the model gives real numbers. */
export function amount(answer) {
  if (answer.probability === null) return Number(answer.value.toPrecision(4)).toString();
  return `${(100 * answer.probability).toFixed(1)} %`;
}

/** Answers with probabilities; live, a click explains one, and "why not" makes one the contrast. */
export function answersView(choose) {
  const node = el("div", { class: "vx-answers", role: "group", "aria-label": "answers" });

  function show(explanation, live) {
    const rows = explanation.answers.map((answer) => {
      const chosen = answer.text === explanation.target;
      const other = answer.text === explanation.contrast;
      const right = explanation.label !== null && answer.text === explanation.label;
      const name = el("bdi", {}, answer.text);
      const mark = right ? el("span", { class: "vx-right", title: "the true answer" }, " ✓") : null;
      const bar = el("i", { class: "vx-part", style: { width: `${100 * answer.probability}%` } });
      const share = el("span", { class: "vx-number" }, amount(answer));
      const main = live
        ? el(
            "button",
            {
              type: "button",
              class: "vx-answer",
              "aria-pressed": String(chosen),
              title: "explain this answer",
              onclick: () => choose(answer.text, null),
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
                "aria-label": `why not ${answer.text}`,
                onclick: () => choose(explanation.target, other ? null : answer.text),
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

/** Each modality's share of the absolute total. */
export function sharesView() {
  const node = el("div", { class: "vx-shares" });

  function show(explanation) {
    const parts = Object.entries(explanation.share).map(([name, share], i) =>
      el(
        "div",
        {
          style: { width: `${100 * share}%`, background: SHARES[i % 2] },
          title: `${name} ${(100 * share).toFixed(1)} %`,
        },
        `${name} ${Math.round(100 * share)} %`,
      ),
    );
    fill(node, ...parts);
  }

  return { node, show };
}

/** The colour scale in points of the score. */
export function legendView() {
  const node = el("div", { class: "vx-legend" });

  function show(scale, unit, map) {
    const ends = [-1, -0.5, 0, 0.5, 1].map((value) => css(over(tint(value, map), [255, 255, 255])));
    const ramp = el("i", { class: "vx-ramp", style: { background: `linear-gradient(90deg, ${ends.join(", ")})` } });
    fill(
      node,
      el("span", {}, points(-scale)),
      ramp,
      el("span", {}, points(scale)),
      el("span", { class: "vx-soft" }, unit),
    );
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
      el("div", {}, `Explained: ${explanation.unit}`),
      el("div", {}, `By ${explanation.method}${parameters ? ` (${parameters})` : ""}. Error: ${explanation.errorText}`),
      el("div", {}, explanation.origin),
    );
  }

  return { node, show };
}
