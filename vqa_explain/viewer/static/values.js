// @ts-check
// All values as a table, for reading and for screen readers.
import { el, fill } from "./dom.js";
import { playerName, unitName } from "./names.js";
import { dependsMark, errorText, valueText } from "./numbers.js";
import { isUnsure, rankedPlayers } from "./scales.js";

/** "−0.02 … +0.11", in as many decimals as the error has. @param {any} one */
function bandText({ band, error }) {
  return band ? band.map((/** @type {number} */ end) => valueText(end, error)).join(" … ") : "";
}

/**
 * Every word and region with value and error, the largest first. `enter(name, index)` is told of the row under the
 * pointer.
 * @param {import("./types").Act} act
 */
export function valuesView(act) {
  const body = el("tbody");
  const head = el("tr");
  const table = el("table", { class: "vx-values" }, el("thead", {}, head), body);
  const node = el("div", { class: "vx-scroll", tabindex: "0", role: "region", "aria-label": "all values" }, table);

  /** @param {import("./types").Explanation} explanation */
  function show(explanation) {
    const unit = el("span", { class: "vx-soft" }, ` ${unitName(explanation)}`);
    const ranked = rankedPlayers(explanation);
    const hasBands = ranked.some(({ band }) => band);
    fill(
      head,
      el("th", { scope: "col" }, "Part"),
      el("th", { scope: "col" }, "Value", unit),
      el("th", { scope: "col" }, "Standard error"),
      hasBands ? el("th", { scope: "col" }, "Under each fill") : null,
    );
    const rows = ranked.map((one) => {
      const error = one.error ? errorText(one.error).slice(2) : "–";
      const name = playerName(explanation, one.part.name, one.index);
      return el(
        "tr",
        {
          onmouseenter: () => act(one.part.name, "enter", one.index),
          onmouseleave: () => act(one.part.name, "leave", one.index),
        },
        el("th", { scope: "row" }, one.part.kind === "text" ? `word ${name}` : name),
        el(
          "td",
          {},
          valueText(one.value, one.error),
          dependsMark(one),
          isUnsure(one) ? el("span", { class: "vx-soft" }, " (unsure)") : null,
        ),
        el("td", {}, error),
        hasBands ? el("td", {}, bandText(one)) : null,
      );
    });
    fill(body, ...rows);
  }

  return { node, show };
}
