// @ts-check
// The table of examples: search, filters, sorting, a selection, and beside it a scatter of two columns.
import { ANSWER, CONFIDENCE, cellText, KIND, noteName, numeric, placeIn, QUESTION, WITHOUT } from "./cells.js";
import { el, fill, roving, switchOf } from "./dom.js";
import { rangesView } from "./filters.js";
import { countsText, searchField } from "./list.js";
import { pickedView } from "./picked.js";
import { changes, inTurns, rowsView } from "./rows.js";
import { scatterView } from "./scatter.js";
import { slicesView, waysOf } from "./slices.js";

/** @typedef {import("./types").Entry} Entry */
/** @typedef {import("./cells.js").Cell} Cell */

const BINS = 20;
const AT_ONCE = 500; // examples, of which all is drawn in one task

/**
 * @param {{open: (index: number) => void, filter: (changes: any) => void, select: (places: number[]) => void,
 *   star: (places: number[], on: boolean) => void, inView: (indices: number[]) => void,
 *   picked: (indices: number[]) => void, live: boolean}} told
 */
export function tableView(told) {
  const search = searchField((text) => told.filter({ search: text }));
  const outcomes = ["all", "right", "wrong"].map((value) =>
    el("button", { type: "button", class: "vx-chip", onclick: () => told.filter({ outcome: value }) }, titled(value)),
  );
  const ranges = rangesView(told.filter);
  const counts = el("div", { class: "vx-table-counts", role: "status" });
  const head = el(
    "div",
    { class: "vx-table-head" },
    search,
    el("div", { class: "vx-outcomes", role: "group", "aria-label": "right or wrong" }, ...outcomes),
    ranges.node,
    counts,
  );
  const names = el("div", { class: "vx-table-row vx-table-names", role: "row" });
  const body = el("div", { class: "vx-table-rows", role: "rowgroup" });
  const table = el("div", { role: "table", "aria-label": "examples" }, el("div", { role: "rowgroup" }, names), body);
  const box = el("div", { class: "vx-table-box" }, table);
  const scatter = scatterView(told.select);
  const slices = slicesView(told.filter);
  const tabs = switchOf(
    "beside the table",
    [
      ["scatter", "Scatter"],
      ["kinds", "By kind"],
      ["slices", "Slices"],
    ],
    (chosen) => {
      tab = chosen;
      showSide();
    },
  );
  let tab = "scatter";
  const picked = pickedView({ ...told, only: (/** @type {any} */ only) => told.filter({ only }) });
  const side = el("div", { class: "vx-table-side" }, tabs.node, scatter.node, slices.node, picked.node);
  const node = el("div", { class: "vx-table", hidden: true }, head, el("div", { class: "vx-table-body" }, box, side));
  const rows = rowsView(body, box, { make: rowOf, update: updateRow, shown: told.inView });
  const rove = roving(body, ".vx-asks");
  /** @type {any} */ let now = {
    entries: [],
    cells: [],
    order: [],
    filter: {},
    selection: [],
    notes: {},
    thumbs: null,
  };
  /** @type {Set<number>} */ let selected = new Set();
  /** @type {any} */ let chosen = null;
  let last = -1; // the row whose box was checked last, for a range
  let known = "";
  const turns = inTurns();
  const [binsChanged, pickedChanged] = [changes(), changes()];

  /**
   * @param {{entries: Entry[], cells: Cell[], order: number[], filter: any, selection: number[], notes: any, counts: any,
   *   thumbs: any, current: number, palette: any}} next
   */
  function show(next) {
    now = next;
    if (next.selection !== chosen) selected = new Set(next.selection);
    chosen = next.selection;
    const { cells, filter } = next;
    fill(counts, ...countsText(next.counts));
    const wished = filter.outcome ?? "all";
    for (const [i, value] of ["all", "right", "wrong"].entries()) {
      outcomes[i].setAttribute("aria-pressed", String(wished === value));
      outcomes[i].hidden = !next.counts.known;
    }
    if (document.activeElement !== search) search.value = filter.search ?? "";
    ranges.show(numeric(cells), filter);
    const wide = numeric(cells).length + Number(cells.some(({ name }) => name === WITHOUT));
    node.style.setProperty("--vx-cells", String(wide));
    const columns = JSON.stringify([cells.map(({ name }) => name), filter.sort, filter.descending]);
    if (columns !== known) buildNames();
    known = columns;
    rows.show(next.order);
    table.setAttribute("aria-rowcount", String(next.order.length + 1));
    rove();
    const soon = next.order.length > AT_ONCE ? turns.soon : (/** @type {any} */ _, /** @type {any} */ call) => call();
    soon("side", showSide);
    soon("bins", drawBins);
    soon("picked", showPicked);
  }

  /** What is selected, where that is others or they have other stars or pictures. */
  function showPicked() {
    const maps = picked.wanted(now, selected).map((/** @type {number} */ place) => now.thumbs.found(place)?.map);
    if (pickedChanged(now.entries, now.order, selected, now.notes, now.cells, ...maps))
      picked.show({ ...now, selected });
  }

  /** The scatter, or groups. */
  function showSide() {
    const { entries, cells, order, thumbs } = now;
    const ways = waysOf(entries, cells);
    const drawn = numeric(cells).length < 2 ? [] : ["scatter"];
    const offered = [...drawn, ...(ways.includes(KIND) ? ["kinds"] : []), ...(ways.length ? ["slices"] : [])];
    if (!offered.includes(tab)) tab = offered[0] ?? "scatter";
    tabs.offer(offered);
    tabs.set(tab);
    scatter.node.hidden = tab !== "scatter" || !drawn.length;
    slices.node.hidden = tab === "scatter";
    if (tab === "scatter")
      scatter.show({ entries, table: cells, cells: numeric(cells), order, selected, dark: thumbs.look.dark });
    else slices.show(now, tab === "kinds" ? KIND : "");
  }

  function buildNames() {
    const { cells, filter } = now;
    const all = el("input", { type: "checkbox", "aria-label": "select all that are listed", onchange: toggleAll });
    const named = cells.map((/** @type {Cell} */ cell) => nameOf(cell, filter));
    const pictures = el("span", { class: "vx-cell-pictures" }, "Picture, map");
    const focused = names.contains(document.activeElement) ? document.activeElement?.textContent : null;
    fill(names, headCell(all), headCell(pictures), ...named, headCell(el("span", {}, "★")));
    // The button that was pressed is another one now.
    if (focused) [...names.querySelectorAll(".vx-sort")].find((one) => isOfColumn(one, focused))?.focus();
  }

  function nameOf(/** @type {Cell} */ cell, /** @type {any} */ filter) {
    const isSorted = filter.sort === cell.name;
    const ways = isSorted ? (filter.descending ? ["descending", " ↓"] : ["ascending", " ↑"]) : ["none", ""];
    const title = cell.name === ANSWER ? "Answer (truth)" : titled(cell.name).replaceAll("_", " ");
    const button = el(
      "button",
      { type: "button", class: "vx-sort", title: cell.name, onclick: () => sortBy(cell) },
      `${title}${ways[1]}`,
    );
    const bins = cell.kind === "words" ? null : el("span", { class: "vx-bins", "data-bins": cell.name });
    const found = headCell(button, bins);
    found.setAttribute("aria-sort", ways[0]);
    found.classList.add(`vx-cell-${cell.kind}`);
    if (cell.name === WITHOUT) found.classList.add("vx-cell-more");
    return found;
  }

  /** Numbers begin with the largest, words with the first; again turns, and once more ends it. @param {Cell} cell */
  function sortBy(cell) {
    const { sort, descending } = now.filter;
    const first = cell.kind !== "words";
    if (sort !== cell.name) told.filter({ sort: cell.name, descending: first });
    else if (Boolean(descending) === first) told.filter({ sort: cell.name, descending: !first });
    else told.filter({ sort: "", descending: false });
  }

  function drawBins() {
    const { entries, cells, order } = now;
    if (!binsChanged(order, cells, selected, names.firstChild)) return;
    for (const cell of numeric(cells)) {
      const [all, chosen] = [new Array(BINS).fill(0), new Array(BINS).fill(0)];
      for (const index of order) {
        const value = cell.of(entries[index]);
        if (value === null) continue;
        const bin = Math.min(BINS - 1, Math.floor(placeIn(cell, value) * BINS));
        all[bin] += 1;
        if (selected.has(index)) chosen[bin] += 1;
      }
      const most = Math.max(1, ...all);
      const height = (/** @type {number} */ count) => `${count ? Math.max(1, (18 * count) / most) : 0}px`;
      const bars = all.map((count, i) =>
        el("i", { style: { height: height(count) } }, el("u", { style: { height: height(chosen[i]) } })),
      );
      const place = [...names.querySelectorAll(".vx-bins")].find((one) => one.dataset.bins === cell.name);
      if (place) fill(place, ...bars);
    }
  }

  function rowOf(/** @type {number} */ index) {
    const line = /** @type {any} */ ({});
    line.check = el("input", { type: "checkbox", onclick: (event) => check(index, event) });
    line.pictures = el("span", { class: "vx-cell-pictures", "aria-hidden": "true" });
    line.open = el("button", { type: "button", class: "vx-asks", tabindex: "-1", onclick: () => told.open(index) });
    line.star = el("button", { type: "button", class: "vx-star", onclick: () => told.star([index], !line.starred) });
    line.cells = el("div", { class: "vx-table-cells" });
    line.item = el("div", { class: "vx-table-row", role: "row" });
    return line;
  }

  function updateRow(/** @type {any} */ line, /** @type {number} */ index) {
    const { entries, cells, thumbs } = now;
    const entry = entries[index];
    const starred = Boolean(now.notes[noteName(entry, index)]?.star);
    const isSelected = selected.has(index);
    line.check.checked = isSelected;
    line.item.classList.toggle("vx-selected", isSelected);
    if (index === now.current) line.item.setAttribute("aria-current", "true");
    else line.item.removeAttribute("aria-current");
    const picture = thumbs.found(index);
    if (picture !== line.thumb || picture?.colors !== line.colors) {
      line.thumb = picture;
      line.colors = picture?.colors;
      fill(line.pictures, thumbs.copy(index, "picture"), thumbs.copy(index, "map"));
    }
    if (line.entry === entry && line.cellsOf === cells && line.starred === starred) return;
    Object.assign(line, { entry, cellsOf: cells, starred });
    line.check.setAttribute("aria-label", `select ${entry.title.slice(0, 80)}`);
    line.open.replaceChildren(el("bdi", {}, entry.title));
    line.open.title = entry.title.slice(0, 300);
    line.star.textContent = starred ? "★" : "☆";
    line.star.setAttribute("aria-pressed", String(starred));
    line.star.setAttribute("aria-label", `star ${entry.title.slice(0, 80)}`);
    const filled = cells.map((/** @type {Cell} */ cell) => cellOfEntry(line, cell, entry));
    fill(line.item, rowCell(line.check), rowCell(line.pictures), ...filled, rowCell(line.star));
  }

  function check(/** @type {number} */ index, /** @type {MouseEvent} */ event) {
    const order = rows.order();
    const [from, to] = [order.indexOf(last), order.indexOf(index)].sort((a, b) => a - b);
    const places = event.shiftKey && from >= 0 ? order.slice(from, to + 1) : [index];
    const on = /** @type {HTMLInputElement} */ (event.target).checked;
    const next = new Set(selected);
    for (const place of places) on ? next.add(place) : next.delete(place);
    last = index;
    told.select([...next]);
  }

  function toggleAll(/** @type {Event} */ event) {
    const on = /** @type {HTMLInputElement} */ (event.target).checked;
    const next = new Set(selected);
    for (const place of rows.order()) on ? next.add(place) : next.delete(place);
    told.select([...next]);
  }

  const leave = () => {
    rows.leave();
    turns.leave();
  };
  return { node, show, leave };
}

/** Whether a header's button is the one that had this text, whatever its arrow. @param {Element} button @param {string} text */
function isOfColumn(button, text) {
  const bare = (/** @type {string | null} */ one) => (one ?? "").replace(/ [↓↑]$/, "");
  return bare(button.textContent) === bare(text);
}

/** @param {string} text */
function titled(text) {
  return `${text.slice(0, 1).toUpperCase()}${text.slice(1)}`;
}

/** @param {any[]} children */
function headCell(...children) {
  return el("div", { role: "columnheader" }, ...children);
}

/** @param {any[]} children */
function rowCell(...children) {
  return el("div", { role: "cell" }, ...children);
}

/** @param {any} line @param {Cell} cell @param {Entry} entry */
function cellOfEntry(line, cell, entry) {
  if (cell.name === QUESTION) return rowCell(line.open);
  const value = cell.of(entry);
  if (cell.name === ANSWER) return answerCell(entry);
  if (cell.name === WITHOUT) return withoutCell(entry);
  const text = el("span", { class: "vx-number" }, cellText(cell, value));
  const bar =
    cell.kind === "error" || value === null
      ? null
      : el("span", { class: "vx-meter" }, el("i", { style: { width: `${100 * placeIn(cell, value)}%` } }));
  const found = rowCell(bar, text);
  found.classList.add(`vx-cell-${cell.kind}`);
  if (cell.name !== CONFIDENCE) found.classList.add("vx-cell-more");
  return found;
}

/** "yes same", where the answer stays. @param {Entry} entry */
function withoutCell({ answer, without }) {
  const stays = typeof without === "string" && without === answer;
  const text = el(stays ? "b" : "span", { class: stays ? null : "vx-soft" }, el("bdi", {}, without ?? ""));
  const found = rowCell(text, stays ? " same" : null);
  found.classList.add("vx-cell-more");
  return found;
}

/** "3 ✗ (2)". @param {Entry} entry */
function answerCell(entry) {
  const { correct, state } = entry;
  if (state !== "done") return rowCell(el("span", { class: "vx-soft", title: entry.message ?? "" }, state));
  const mark = correct === true ? " ✓" : correct === false ? " ✗" : "";
  const truth = correct === false && entry.label ? ` (${entry.label})` : "";
  const kind = correct === true ? "vx-right" : correct === false ? "vx-bad" : "";
  return rowCell(
    el(
      correct === false ? "b" : "span",
      { class: correct === false ? "vx-bad" : null },
      el("bdi", {}, entry.answer ?? ""),
    ),
    el("span", { class: kind }, mark),
    el("span", { class: "vx-soft" }, truth),
  );
}
