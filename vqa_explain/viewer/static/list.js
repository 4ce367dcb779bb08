// @ts-check
// The list of examples with what became of each.
import { countsOf } from "./cells.js";
import { el, fill, roving, select } from "./dom.js";
import { countText, percent } from "./numbers.js";
import { rowsView } from "./rows.js";

/** @typedef {import("./types").Entry} Entry */

/**
 * The list. `choose(index)` and `cancel(index)` are told, `filter(changes)` of another filter, `inView(indices)` of
 * the rows that are seen.
 * @param {{choose: (index: number) => void, cancel: (index: number) => void, filter: (changes: any) => void,
 *   inView: (indices: number[]) => void}} told
 */
export function entriesView(told) {
  const list = el("ol", { class: "vx-entries", "aria-label": "examples" });
  const counts = el("div", { class: "vx-counts" });
  const search = searchField((text) => told.filter({ search: text }));
  const outcome = select(
    ["all", "right", "wrong"].map((name) => [name, name]),
    "all",
    (value) => told.filter({ outcome: value }),
    "outcome",
  );
  outcome.className = "vx-tool vx-outcome";
  const head = el("div", { class: "vx-list-head" }, search, counts, outcome);
  const node = el("div", { class: "vx-examples" }, head, list);
  const rove = roving(list, ".vx-entry");
  let selected = -1;
  /** @type {any} */ let now = { entries: [], progress: {}, thumbOf: () => null };
  const rows = rowsView(list, list, { make: rowOf, update: updateRow, shown: told.inView });

  /**
   * Rows are changed in place, so that the focus stays.
   * @param {{entries: Entry[], selected: number, progress: any, thumbOf: (index: number) => any, order: number[], filter: any, counts: any}} next
   */
  function show(next) {
    now = next;
    const moved = selected !== next.selected;
    selected = next.selected;
    rows.show(next.order);
    if (moved) rows.reveal(selected);
    fill(counts, ...countsText(next.counts));
    head.hidden = next.entries.length < 2;
    outcome.hidden = !next.counts.right && !next.counts.wrong;
    outcome.value = next.filter.outcome ?? "all";
    if (document.activeElement !== search) search.value = next.filter.search ?? "";
    rove();
  }

  function rowOf(/** @type {number} */ index) {
    const line = /** @type {any} */ ({ thumb: null });
    line.picture = el("span", { class: "vx-thumb", "aria-hidden": "true" });
    [line.title, line.said, line.meter, line.share] = [el("bdi"), el("bdi"), el("i"), el("span", { class: "vx-soft" })];
    line.bar = el("span", { class: "vx-meter", "aria-hidden": "true" }, line.meter);
    line.small = el("small", {}, line.said, line.bar, line.share);
    line.button = el(
      "button",
      { type: "button", class: "vx-entry", tabindex: "-1", onclick: () => told.choose(index) },
      line.picture,
      el("span", { class: "vx-lines-of" }, el("span", { class: "vx-asked" }, line.title), line.small),
    );
    line.stop = () => stop(line, index);
    line.item = el("li", {}, line.button);
    return line;
  }

  function updateRow(/** @type {any} */ line, /** @type {number} */ index) {
    const entry = now.entries[index];
    const isSelected = index === selected;
    const isSame = line.entry === entry && line.isSelected === isSelected && entry.state !== "running";
    line.isSelected = isSelected;
    if (!isSame) updateEntry(line, entry, isSelected, now.progress.index === index ? now.progress : {});
    const thumb = now.thumbOf(index);
    if (thumb !== line.thumb) line.picture.replaceChildren(...(thumb ? [thumb] : [String(index + 1)]));
    else if (!line.picture.hasChildNodes()) line.picture.textContent = String(index + 1);
    line.thumb = thumb;
  }

  function stop(/** @type {any} */ line, /** @type {number} */ index) {
    line.button.focus(); // the button that was pressed goes away
    told.cancel(index);
  }

  return { node, show, leave: rows.leave };
}

/** A field that tells of each letter. @param {(text: string) => void} tell */
export function searchField(tell) {
  const field = el("input", {
    ...{ type: "search", class: "vx-search", placeholder: "Search questions" },
    "aria-label": "Search questions, answers and names",
    oninput: () => tell(field.value),
  });
  return field;
}

/** @param {any} line @param {Entry} entry @param {boolean} selected @param {any} progress */
function updateEntry(line, entry, selected, progress) {
  line.entry = entry;
  const running = entry.state === "running";
  const known = entry.correct !== null && entry.correct !== undefined;
  const mark = known ? (entry.correct ? " ✓" : " ✗") : "";
  const answer = entry.answer && entry.state !== "cancelled" ? `${entry.answer}${mark}` : entry.state;
  line.button.className = `vx-entry vx-${entry.state}`;
  line.small.className = known ? (entry.correct ? "vx-is-right" : "vx-is-wrong") : "";
  if (selected) line.button.setAttribute("aria-current", "true");
  else line.button.removeAttribute("aria-current");
  line.title.textContent = entry.title;
  line.said.textContent = (entry.state === "error" ? entry.message : answer) ?? "";
  const name = entry.id ? `${entry.id}: ` : "";
  line.button.title = `${name}${entry.title.slice(0, 300)}: ${line.said.textContent}`;
  const share = entry.state === "done" ? (entry.probability ?? null) : null;
  line.bar.hidden = share === null;
  line.meter.style.width = `${100 * (share ?? 0)}%`;
  line.share.textContent = share === null ? "" : percent(share);
  if (running || line.cancel) showRunning(line, running, progress);
}

/**
 * The progress of what runs, and a button to cancel it; made when they are first needed.
 * @param {any} line
 * @param {boolean} running
 * @param {any} progress
 */
function showRunning(line, running, progress) {
  if (!line.cancel) {
    line.progress = el("progress", { max: 1, "aria-label": "progress" });
    line.small.after(line.progress);
    line.cancel = el("button", { type: "button", class: "vx-cancel", onclick: line.stop }, "cancel");
    line.item.append(line.cancel);
  }
  line.progress.hidden = !running;
  if (running && progress.total) line.progress.value = progress.done / progress.total;
  else line.progress.removeAttribute("value");
  line.cancel.hidden = !running;
  line.cancel.setAttribute("aria-label", `cancel ${line.entry.title}`);
}

/** "200: 193 right, 7 wrong"; "33 of 200: …" where not all pass. @param {any} counts @returns {any[]} */
export function countsText({ all, right, wrong, of }) {
  const whole = el("b", {}, countText(all));
  const part = of === undefined || of === all ? "" : ` of ${countText(of)}`;
  if (!right && !wrong) return [whole, part, (of ?? all) === 1 ? " example" : " examples"];
  return [
    whole,
    `${part}: ${countText(right)}`,
    el("span", { class: "vx-right" }, " right"),
    `, ${countText(wrong)}`,
    el("span", { class: "vx-bad" }, " wrong"),
  ];
}
