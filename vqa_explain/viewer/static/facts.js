// @ts-check
// Shares, the answer without a picture, error, cost and origin; and notes on the values.
import { el, fill } from "./dom.js";
import { methodTitle, sentence } from "./names.js";
import { errorText, percent } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */

/** Facts about an explanation. */
export function factsView() {
  const [list, more] = [el("dl", { class: "vx-facts" }), el("dl", { class: "vx-facts" })];
  const rest = el("details", { class: "vx-more" }, el("summary", {}, "More"), more);
  const node = el("section", { class: "vx-card vx-details" }, list, rest);

  function show(/** @type {Explanation} */ explanation) {
    if (/** @type {any} */ (explanation).isPreview) {
      rest.hidden = true;
      return fill(list);
    }
    rest.hidden = false;
    rowsOf(list, [
      ["Share", inputShares(explanation)],
      ...blindOf(explanation),
      ["Error", errorOf(explanation)],
      ["Cost", explanation.origin],
    ]);
    rowsOf(more, [
      ["Explained", explanation.explained],
      ["Values", explanation.unitText],
      ["Method", `${methodTitle(explanation.method)}${parametersOf(explanation)}`],
      ...explanation.facts.map((fact) => /** @type {[string, any]} */ (["Absent", sentence(fact)])),
    ]);
  }

  return { node, show };
}

/** Fills a list of terms; those that say nothing are left out. @param {Element} list @param {[string, any][]} rows */
function rowsOf(list, rows) {
  const kept = rows.filter(([, said]) => said !== null && said !== "");
  fill(list, ...kept.flatMap(([name, said]) => [el("dt", {}, name), el("dd", {}, said)]));
}

/** @param {Explanation} explanation @returns {[string, any][]} */
function blindOf(explanation) {
  const blind = explanation.line?.blind;
  if (!blind) return [];
  const same = blind.answer === explanation.answers[0].text;
  const share = blind.probability === null ? "" : ` (${percent(blind.probability)})`;
  const said = el(
    "span",
    { class: same ? "vx-bad" : null },
    `it ${same ? "still " : ""}answers ${blind.answer}${share}`,
  );
  return [[`No ${blind.name}`, said]];
}

/** "at most ± 0.02 (largest standard error)", in as many digits as it has. @param {any} explanation */
function errorOf(explanation) {
  const { error, errorKind } = explanation;
  if (error === null || error === undefined || !errorKind) return explanation.errorText;
  return error === 0 ? `0 (${errorKind})` : `at most ${errorText(error)} (${errorKind})`;
}

/** @param {Explanation} explanation */
function parametersOf(explanation) {
  const given = Object.entries(explanation.parameters).map(([name, value]) => `${name}=${value}`);
  return given.length ? ` (${given.join(", ")})` : "";
}

/**
 * Each input's share of the absolute total, where their values can be compared; nothing where there is one.
 * @param {Explanation} explanation
 */
function inputShares(explanation) {
  const shares = Object.entries(explanation.share);
  if (explanation.whyNoShares && shares.length > 1) return `none, since ${explanation.whyNoShares}`;
  if (shares.length < 2) return null;
  const width = (/** @type {number} */ share) => ({ width: `${100 * share}%` });
  return el(
    "div",
    { class: "vx-shares" },
    el(
      "div",
      { class: "vx-share-bar", "aria-hidden": "true" },
      ...shares.map(([, share]) => el("i", { style: width(share) })),
    ),
    el(
      "div",
      { class: "vx-share-names" },
      ...shares.map(([name, share]) =>
        el("span", { title: `of the absolute total: ${percent(share)}` }, `${name} ${percent(share)}`),
      ),
    ),
  );
}

/** What a reader must know of the values, and of those of a compared explanation; hidden where there is nothing. */
export function notesView() {
  const node = el("div", { class: "vx-notes", role: "note", "aria-label": "notes" });

  function show(/** @type {Explanation} */ explanation, /** @type {Explanation[]} */ compared) {
    const own = explanation.notes.map(sentence);
    const others = compared.flatMap(({ notes }) => notes.map((note) => `Compared explanation: ${note}.`));
    fill(node, ...[...own, ...others].map((text) => el("div", {}, text)));
    node.hidden = node.childElementCount === 0;
  }

  return { node, show };
}
