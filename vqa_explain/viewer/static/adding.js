// @ts-check
// What a column of the comparison is set by: a form of its method, parameters, answers, example and model.
import { parametersForm } from "./controls.js";
import { el, field, select } from "./dom.js";
import { answerName, methodTitle } from "./names.js";
import { menu } from "./setup.js";

/** @typedef {import("./types").Explanation} Explanation */

const MOST_EXAMPLES = 1000; // offered by number; a field of numbers takes any

/**
 * A button that takes the column away, and where a kernel can compute, a menu of what it is set by.
 * @param {any} explanation with its "column", and "spec", what it was asked by @param {any} options
 * @param {{remove: () => void, change: (column: any) => void}} told
 */
export function columnTools(explanation, options, { remove, change }) {
  const name = `${methodTitle(explanation.method)}, ${explanation.explained}`;
  const close = el(
    "button",
    { type: "button", class: "vx-tool", "aria-label": `take the column away: ${name}`, onclick: remove },
    "×",
  );
  if (!options) return el("span", { class: "vx-col-tools" }, close);
  const form = menu("…", columnForm(explanation, options, change), "vx-column-menu");
  form.label.setAttribute("aria-label", `set the column: ${name}`);
  return el("span", { class: "vx-col-tools" }, form.node, close);
}

/** @param {any} explanation @param {any} options @param {(column: any) => void} change */
function columnForm(explanation, options, change) {
  const asked = explanation.spec ?? {};
  const chosen = parametersForm(options, explanation.method, { ...explanation.parameters, ...asked.parameters });
  const answers = explanation.answers.map((/** @type {any} */ one) => [one.text, answerName(explanation, one)]);
  const same = ["", "as beside it"];
  const target = select([same, ...answers], asked.target ?? "", () => undefined, "column answer");
  const contrast = select([["", "any other"], ...answers], asked.contrast ?? "", () => undefined, "column contrast");
  const models = [["0", "this model"], ...options.models.map((/** @type {string} */ text, i) => [String(i + 1), text])];
  const model = select(models, String(asked.model ?? 0), () => undefined, "column model");
  const example = el("input", {
    ...{ type: "number", min: 1, max: MOST_EXAMPLES, placeholder: "the one chosen", "aria-label": "column example" },
    value: Number.isInteger(asked.example) ? asked.example + 1 : "",
  });
  const apply = () =>
    change({
      ...chosen.choice(),
      target: target.value || null,
      contrast: contrast.value || null,
      example: example.value === "" ? null : Number(example.value) - 1,
      model: Number(model.value),
    });
  return el(
    "div",
    { class: "vx-form", role: "group", "aria-label": "column" },
    chosen.node,
    field("answer", target),
    field("rather than", contrast),
    field("example", example),
    options.models.length ? field("model", model) : null,
    el("button", { type: "button", class: "vx-main", onclick: apply }, "Explain"),
  );
}
