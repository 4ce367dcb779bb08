// @ts-check
// How far the columns agree: one sentence for two, a matrix of rank correlations for more.
import { agreementOf, cellOf, shortTitle } from "./compare.js";
import { el, fill } from "./dom.js";

/** @typedef {import("./types").Explanation} Explanation */

const EXPLAINED =
  "Rank correlation over the parts that both have. 1 means the same order. Where one has no signs, sizes are compared " +
  "without signs: |·|. Each map fills its own color scale; its ends are written under it. One cursor moves over all columns.";

export function agreementView() {
  const said = el("p", { class: "vx-agreement vx-small" });
  const table = el("table", { class: "vx-ranks" });
  const about = el("div", { class: "vx-small vx-soft" }, el("h2", {}, "Do they agree?"), EXPLAINED);
  const whole = el("div", { class: "vx-agree", hidden: true }, el("div", { class: "vx-ranks-box" }, table), about);
  const node = el("div", {}, said, whole);

  /** @param {Explanation} explanation @param {Explanation[]} compared */
  function show(explanation, compared) {
    said.textContent = compared.length === 1 ? agreementOf(explanation, compared[0]) : "";
    said.hidden = compared.length !== 1;
    whole.hidden = compared.length < 2;
    if (compared.length > 1) fill(table, ...rankRows([explanation, ...compared]));
  }

  return { node, show };
}

/** @param {Explanation[]} all */
function rankRows(all) {
  const titles = all.map(shortTitle);
  const head = titles.map((title, i) => el("th", { scope: "col", title }, `${i + 1}`));
  const cell = (/** @type {Explanation} */ one, /** @type {Explanation} */ other) => cellNode(cellOf(one, other));
  const row = (/** @type {Explanation} */ one, /** @type {number} */ i) =>
    el("tr", {}, el("th", { scope: "row" }, `${i + 1}. ${titles[i]}`), ...all.map((other) => cell(one, other)));
  return [el("thead", {}, el("tr", {}, el("td"), ...head)), el("tbody", {}, ...all.map(row))];
}

/** @param {{rank: number | null, unsigned?: boolean, why: string}} found */
function cellNode({ rank, unsigned, why }) {
  if (rank === null) return el("td", { class: "vx-soft", title: why }, "–");
  const text = `${rank
    .toFixed(2)
    .replace("-", "−")
    .replace(/^1\.00$/, "1")}${unsigned ? " |·|" : ""}`;
  // Darker where the orders agree: below zero they do not.
  const shade = `color-mix(in srgb, var(--vx-bar) ${Math.round(45 * Math.max(0, rank))}%, var(--vx-raised))`;
  return el("td", { title: why, style: { background: shade } }, text);
}
