// @ts-check
// The bar: what is explained, as a sentence; menus; help.

import { isAnswer } from "./answers.js";
import { MAPS } from "./color.js";
import { el, field, fill, select } from "./dom.js";
import { answerName, isRaised, methodTitle } from "./names.js";

/** @typedef {import("./types").Explanation} Explanation */

/** A button that opens a panel under it. @param {string} text @param {Node} content */
export function menu(text, content, kind = "") {
  const label = el("summary", { class: `vx-tool ${kind}` }, text);
  const node = el("details", { class: "vx-menu" }, label, el("div", { class: "vx-panel" }, content));
  node.addEventListener("focusout", (/** @type {FocusEvent} */ event) => {
    // To nothing: a press on the panel itself, or another window.
    if (event.relatedTarget && !node.contains(/** @type {Node} */ (event.relatedTarget))) node.open = false;
  });
  return { node, label };
}

/** Closes what is open and not under the pointer. @param {Element} root @param {Node} target */
export function closeOutside(root, target) {
  for (const node of /** @type {NodeListOf<HTMLDetailsElement>} */ (root.querySelectorAll("details[open]")))
    if (!node.contains(target) && !node.matches(".vx-more")) node.open = false;
}

/**
 * How the maps are drawn. `change(name, value)` is told.
 * @param {any} look
 * @param {(name: string, value: any) => void} change
 */
export function lookForm(look, change) {
  const range = el("input", {
    type: "range",
    min: 0.1,
    max: 1,
    step: 0.05,
    value: look.strength,
    oninput: () => change("strength", Number(range.value)),
  });
  const check = (/** @type {string} */ name, /** @type {string} */ text) => {
    const box = el("input", { type: "checkbox", checked: look[name], onchange: () => change(name, box.checked) });
    return field(text, box);
  };
  const truth = check("truth", "true region");
  const zoom = (/** @type {string} */ text, /** @type {string} */ name, /** @type {number} */ factor) =>
    el(
      "button",
      { type: "button", class: "vx-tool", "aria-label": name, title: name, onclick: () => change("zoom", factor) },
      text,
    );
  const colors = select(
    MAPS.map((name) => [name, name]),
    look.map,
    (value) => change("map", value),
    "colors",
  );
  const node = el(
    "div",
    { class: "vx-form", role: "group", "aria-label": "drawing" },
    field("colors", colors),
    field("opacity", range),
    check("smooth", "smooth"),
    truth,
    el(
      "span",
      { class: "vx-zoom" },
      zoom("−", "zoom out", 0.8),
      zoom("+", "zoom in", 1.25),
      zoom("whole", "whole picture", 0),
    ),
  );
  /** The true region is offered where it is known. @param {Explanation} explanation */
  const show = ({ parts }) => {
    truth.hidden = !parts.some((part) => part.truth);
  };
  return { node, show };
}

/**
 * "Why cyan rather than any other, by Shapley values with 32 regions".
 * @param {(target: number | string, contrast: number | null) => void} choose @param {Node | null} form of the method
 */
export function setupView(choose, form) {
  const asked = el("span", { class: "vx-setup-part" });
  const means = el("span", { class: "vx-setup-part" });
  const method = form ? menu("", form, "vx-pick") : null;
  const name = method ? method.label : el("b", {});
  // The menu stays in the page: a person may have it open while what is explained changes.
  const node = el("div", { class: "vx-setup" }, asked, method ? method.node : name, means);
  let known = "";

  /** @param {Explanation} explanation @param {boolean} live */
  function show(explanation, live) {
    node.hidden = !live && !explanation.method; // an example of a run that is only listed
    name.textContent = methodTitle(explanation.method);
    const now = JSON.stringify([
      explanation.id,
      explanation.heading,
      explanation.target,
      explanation.contrast,
      explanation.method,
    ]);
    if (now === known) return; // what a person is choosing from stays as it is
    known = now;
    const answers = explanation.answers.map((one) => [String(one.index), answerName(explanation, one)]);
    const target = explanation.targetIndex ?? explanation.target;
    const indexOf = (/** @type {number | null} */ index, /** @type {string | null} */ text) =>
      explanation.answers.find((one) => isAnswer(one, index, text))?.index;
    const chosen = indexOf(explanation.targetIndex, explanation.target);
    const other = explanation.contrast === null ? undefined : indexOf(explanation.contrastIndex, explanation.contrast);
    const listed = live && chosen !== undefined && (explanation.contrast === null || other !== undefined);
    const why = listed
      ? pick(answers, String(chosen), (value) => choose(Number(value), null), "why")
      : el("b", {}, explanation.target);
    const rather = listed
      ? pick(
          [["", "any other"], ...answers.filter(([index]) => index !== String(chosen))],
          other === undefined ? "" : String(other),
          (value) => choose(target, value === "" ? null : Number(value)),
          "rather than",
        )
      : el("b", {}, explanation.contrast ?? "any other");
    const soft = (/** @type {string} */ text) => el("span", {}, text);
    const than = isRaised(explanation) ? [] : [soft("rather than"), rather];
    fill(asked, soft("Why"), why, ...than, soft("by"));
    fill(means, ...divisionOf(explanation), ...fillOf(explanation));
  }

  return { node, show };
}

/** @param {string[][]} choices @param {string} chosen @param {(value: string) => void} change @param {string} name */
function pick(choices, chosen, change, name) {
  const node = select(choices, chosen, change, name);
  node.className = "vx-pick";
  return node;
}

/** "with 32 regions". @param {Explanation} explanation @returns {any[]} */
function divisionOf(explanation) {
  const pictures = explanation.parts.filter((part) => part.size && part.players.length);
  if (pictures.length !== 1) return [];
  const [{ players, player }] = pictures;
  return [el("span", { class: "vx-hide-xs" }, "with"), el("b", {}, `${players.length} ${player}s`)];
}

/** "absent regions become mean", where it was asked for. @param {Explanation} explanation @returns {any[]} */
function fillOf(explanation) {
  const given = explanation.parameters.image_fill;
  if (typeof given !== "string") return [];
  return [el("span", { class: "vx-hide-xs" }, "absent regions become"), el("b", {}, given)];
}
