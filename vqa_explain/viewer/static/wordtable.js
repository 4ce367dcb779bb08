// @ts-check
// The words of an answer against all parts of the inputs: a table that any word sorts, and a file of it.
import { csvText } from "./cells.js";
import { el, fill, saveAs } from "./dom.js";
import { playerName } from "./names.js";
import { countText, points, valueText } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {{name: string, part: string, values: number[], errors: (number | null)[]}} PartRow */

const MOST_ROWS = 60; // parts that are drawn; the file has all

/** Each part with its value for every word. @param {Explanation} whole @returns {PartRow[]} */
export function partRows(whole) {
  const outputs = whole.outputs ?? [];
  return whole.parts.flatMap((part, place) =>
    part.players.map((_, index) => ({
      name: playerName(whole, part.name, index),
      part: part.name,
      values: outputs.map((row) => row.parts[place].values[index]),
      errors: outputs.map((row) => row.parts[place].errors?.[index] ?? null),
    })),
  );
}

/** @param {number[]} values */
function sizeOf(values) {
  return values.reduce((sum, value) => sum + Math.abs(value), 0);
}

/**
 * The rows by one word's values, the largest first or last; by the sum of all sizes where no word is named.
 * @param {PartRow[]} rows @param {number} word @param {boolean} descending
 */
export function sortedRows(rows, word, descending) {
  const key = (/** @type {PartRow} */ row) => (word < 0 ? sizeOf(row.values) : row.values[word]);
  return [...rows].sort((one, other) => (descending ? key(other) - key(one) : key(one) - key(other)));
}

/** One line for each word and part. @param {Explanation} whole */
export function wordsCsv(whole) {
  const outputs = whole.outputs ?? [];
  const rows = partRows(whole);
  const lines = outputs.flatMap((output, number) =>
    rows.map(({ name, part, values, errors }) => [
      ...[number, output.target, output.probability, part, name],
      ...[values[number], errors[number]],
    ]),
  );
  return csvText([["number", "word", "probability", "input", "part", "value", "standard_error"], ...lines]);
}

/** The table, closed until it is asked for. */
export function wordTableView() {
  const note = el("span", { class: "vx-small vx-soft" });
  const save = el("button", { type: "button", class: "vx-tool", onclick: saveRows }, "CSV");
  const [head, body] = [el("tr"), el("tbody")];
  const table = el("table", { class: "vx-word-values" }, el("thead", {}, head), body);
  const scroll = el(
    "div",
    { class: "vx-word-scroll", tabindex: "0", role: "region", "aria-label": "words and parts" },
    table,
  );
  const node = el(
    "details",
    { class: "vx-word-table", ontoggle: draw },
    el("summary", {}, "All words and parts as a table"),
    el("div", { class: "vx-acts" }, save, note),
    scroll,
  );
  /** @type {any} */ let whole = null;
  /** @type {PartRow[]} */ let rows = [];
  let [word, descending] = [-1, true];

  function saveRows() {
    saveAs(new Blob([wordsCsv(whole)], { type: "text/csv" }), "words.csv");
  }

  /** @param {Explanation} next */
  function show(next) {
    whole = next;
    rows = [];
    [word, descending] = [-1, true];
    draw();
  }

  function draw() {
    if (!node.open || !whole?.outputs?.length) return;
    if (!rows.length) rows = partRows(whole);
    const names = ["all words", ...whole.outputs.map((/** @type {any} */ row) => row.target)];
    const focused = head.contains(document.activeElement) ? word : null;
    const sorters = names.map((name, i) => sorter(name, i - 1));
    fill(head, el("th", { scope: "col" }, "Part"), ...sorters.map((one) => one.cell));
    if (focused !== null) sorters[focused + 1].button.focus();
    const drawn = sortedRows(rows, word, descending).slice(0, MOST_ROWS);
    fill(body, ...drawn.map(rowOf));
    const all = countText(rows.length);
    note.textContent = rows.length > MOST_ROWS ? `${MOST_ROWS} of ${all} parts; the file has all` : `${all} parts`;
  }

  function sorter(/** @type {string} */ name, /** @type {number} */ number) {
    const isSorted = number === word;
    const arrow = isSorted ? (descending ? " ↓" : " ↑") : "";
    const sort = () => {
      [word, descending] = [number, isSorted ? !descending : true];
      draw();
    };
    const button = el("button", { type: "button", class: "vx-sort", onclick: sort }, el("bdi", {}, name), arrow);
    const way = isSorted ? (descending ? "descending" : "ascending") : "none";
    return { button, cell: el("th", { scope: "col", "aria-sort": way }, button) };
  }

  function rowOf(/** @type {PartRow} */ row) {
    const cells = row.values.map((value, i) =>
      el("td", { title: points(value, row.errors[i]) }, valueText(value, row.errors[i])),
    );
    const sum = el("td", { class: "vx-soft", title: "sum of the sizes" }, valueText(sizeOf(row.values)).slice(1));
    return el("tr", {}, el("th", { scope: "row" }, el("bdi", {}, row.name)), sum, ...cells);
  }

  return { node, show };
}
