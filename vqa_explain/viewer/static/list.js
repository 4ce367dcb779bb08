// @ts-check
// The list of examples with what became of each.
import { el, fill, roving, select } from "./dom.js";
import { percent } from "./numbers.js";

/** @typedef {import("./types").Entry} Entry */

/**
 * The list. `choose(index)` and `cancel(index)` are told.
 * @param {(index: number) => void} choose
 * @param {(index: number) => void} cancel
 */
export function entriesView(choose, cancel) {
  const rows = el("ol", { class: "vx-entries", "aria-label": "examples" });
  const counts = el("div", { class: "vx-counts" });
  const search = el("input", {
    type: "search",
    class: "vx-search",
    placeholder: "Search questions",
    "aria-label": "Search questions, answers and names",
    oninput: filter,
  });
  const outcome = select(
    ["all", "right", "wrong"].map((name) => [name, name]),
    "all",
    filter,
    "outcome",
  );
  outcome.className = "vx-tool vx-outcome";
  const head = el("div", { class: "vx-list-head" }, search, counts, outcome);
  const node = el("div", { class: "vx-examples" }, head, rows);
  const rove = roving(rows, ".vx-entry");
  /** @type {any[]} */
  const lines = [];

  function filter() {
    const asked = search.value.trim().toLowerCase();
    for (const { item, entry } of lines) {
      const told = [entry.title, entry.answer, entry.id].join("\n").toLowerCase();
      const other = outcome.value !== "all" && entry.correct !== (outcome.value === "right");
      item.hidden = other || !told.includes(asked);
    }
  }

  /**
   * Rows are changed in place, so that the focus stays.
   * @param {Entry[]} entries
   * @param {number} selected
   * @param {any} progress
   * @param {(index: number) => HTMLElement | null} thumbOf
   */
  function show(entries, selected, progress, thumbOf) {
    // With thousands of examples, what has not changed is not looked at again.
    let [changes, added] = [lines.length !== entries.length, false];
    while (lines.length > entries.length) lines.pop().item.remove();
    while (lines.length < entries.length) {
      const line = rowOf(lines.length);
      lines.push(line);
      rows.append(line.item);
      added = true;
    }
    lines.forEach((line, index) => {
      const entry = entries[index];
      const isSelected = index === selected;
      const same = line.entry === entry && line.isSelected === isSelected && entry.state !== "running";
      line.isSelected = isSelected;
      changes ||= line.entry !== entry;
      if (!same) updateEntry(line, entry, isSelected, progress.index === index ? progress : {});
      const thumb = thumbOf(index);
      if (thumb !== line.thumb) line.picture.replaceChildren(...(thumb ? [thumb] : [String(index + 1)]));
      else if (!line.picture.hasChildNodes()) line.picture.textContent = String(index + 1);
      line.thumb = thumb;
    });
    if (!changes) return;
    fill(counts, ...countsOf(entries));
    head.hidden = entries.length < 2;
    const known = entries.some((entry) => typeof entry.correct === "boolean");
    outcome.hidden = !known;
    if (!known) outcome.value = "all";
    filter();
    if (added) rove();
  }

  function rowOf(/** @type {number} */ index) {
    const line = /** @type {any} */ ({ thumb: null });
    line.picture = el("span", { class: "vx-thumb", "aria-hidden": "true" });
    [line.title, line.said, line.meter, line.share] = [el("bdi"), el("bdi"), el("i"), el("span", { class: "vx-soft" })];
    line.bar = el("span", { class: "vx-meter", "aria-hidden": "true" }, line.meter);
    line.small = el("small", {}, line.said, line.bar, line.share);
    line.button = el(
      "button",
      { type: "button", class: "vx-entry", onclick: () => choose(index) },
      line.picture,
      el("span", { class: "vx-lines-of" }, el("span", { class: "vx-asked" }, line.title), line.small),
    );
    line.stop = () => stop(line, index);
    line.item = el("li", {}, line.button);
    return line;
  }

  function stop(/** @type {any} */ line, /** @type {number} */ index) {
    line.button.focus(); // the button that was pressed goes away
    cancel(index);
  }

  return { node, show };
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

/** "200: 193 right, 7 wrong". @param {Entry[]} entries @returns {any[]} */
function countsOf(entries) {
  const right = entries.filter((entry) => entry.correct === true).length;
  const wrong = entries.filter((entry) => entry.correct === false).length;
  const whole = el("b", {}, String(entries.length));
  if (!right && !wrong) return [whole, entries.length === 1 ? " example" : " examples"];
  return [
    whole,
    `: ${right}`,
    el("span", { class: "vx-right" }, " right"),
    `, ${wrong}`,
    el("span", { class: "vx-bad" }, " wrong"),
  ];
}
