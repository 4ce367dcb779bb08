// What the model answers without some words, regions or columns, next to what the values predict.
import { el, fill } from "./dom.js";
import { points } from "./layout.js";
import { likelihood } from "./panels.js";
import { playersText } from "./telling.js";

/** The change that was measured and, where the values are points, the one that they predict; "" without a change. */
export function changeText(found, explanation) {
  if (found.change === null || found.change === undefined) return "";
  const measured = `measured change of ${explanation.explained}: ${points(found.change)}`;
  const predicted =
    found.predicted === null || found.predicted === undefined
      ? `values in ${explanation.unit} predict none`
      : `predicted ${points(found.predicted)}`;
  return `${measured}, ${predicted}${found.fills ? ` (absent ${found.fills})` : ""}`;
}

/** The answer to a what-if, with buttons to go back. */
export function whatifView(undo, reset) {
  const node = el("div", { class: "vx-whatif" });

  function show(found, explanation, any, past) {
    const buttons = [
      el("button", { type: "button", onclick: undo, disabled: !past }, "Undo"),
      el("button", { type: "button", onclick: reset, disabled: !any }, "Reset"),
    ];
    const things = explanation ? playersText(explanation, true) : "";
    const lines = [el("span", { class: "vx-soft" }, any || found ? "" : `Click ${things} to take them away. `)];
    if (any && !found) lines.push(el("span", { class: "vx-soft" }, "asking the model…"));
    if (found?.error) lines.push(el("span", { class: "vx-bad" }, found.error));
    else if (found) {
      const best = found.answers
        .slice(0, 3)
        .map((a) => `${a.text} ${likelihood(a)}`)
        .join(", ");
      lines.push(el("span", { class: "vx-now" }, `now: ${best}`));
      const change = changeText(found, explanation);
      if (change) lines.push(el("span", { class: "vx-change" }, change));
    }
    fill(node, ...buttons, ...lines);
  }

  return { node, show };
}
