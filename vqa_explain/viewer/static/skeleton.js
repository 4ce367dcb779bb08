// @ts-check
// Where everything stands: the bar, the list, the stage and the rail.

import { el, switchOf } from "./dom.js";
import { keysRow } from "./keys.js";
import { countText, leftText } from "./numbers.js";
import { lookForm, menu } from "./setup.js";

/**
 * The text field for another question, behind a button; the question can become an example of its own.
 * @param {() => void} asked @param {(question: string) => void} explain
 */
export function questionEditor(asked, explain) {
  const input = el("input", {
    type: "text",
    class: "vx-edit",
    dir: "auto",
    "aria-label": "the question, to edit",
    oninput: asked,
  });
  const add = () => input.value.trim() && explain(input.value.trim());
  const button = el("button", { type: "button", class: "vx-tool", onclick: add }, "Explain this question");
  const field = el("div", { class: "vx-edit-box" }, input, button);
  return { input, node: el("details", { class: "vx-editor" }, el("summary", {}, "✎ Edit question"), field) };
}

/**
 * What is being computed, how far it is, and buttons that end it.
 * @param {{cancel: () => void, cancelAll: () => void} | null} told `null` where nobody computes
 */
export function busyLine(told) {
  const said = el("span", { class: "vx-small" });
  const progress = el("progress", { max: 1, "aria-label": "progress of what is computed" });
  const button = (/** @type {string} */ text, /** @type {() => void} */ call) =>
    el("button", { type: "button", class: "vx-tool", onclick: call }, text);
  const all = told && button("Cancel all", told.cancelAll);
  const buttons = told ? [button("Cancel", told.cancel), all] : [];
  const node = el("div", { class: "vx-busy", hidden: true }, said, progress, ...buttons);
  let [work, began, first] = ["", 0, 0];

  /** Seconds to go, where it goes on as it began. @param {number} index @param {number} done @param {number} total */
  function secondsLeft(index, done, total) {
    const now = performance.now();
    if (work !== `${index} ${total}` || done < first) [work, began, first] = [`${index} ${total}`, now, done];
    return done > first ? ((total - done) * (now - began)) / (done - first) / 1000 : null;
  }

  /** @param {number} index @param {number} done @param {number} total */
  function progressText(index, done, total) {
    const left = secondsLeft(index, done, total);
    const calls = `${countText(done)} of ${countText(total)} calls of the model`;
    return left === null ? calls : `${calls}, ${leftText(left)}`;
  }

  /**
   * @param {any} entry of the list
   * @param {any} told progress
   * @param {boolean} isSelected whether the progress is of this entry
   * @param {() => boolean} hasOthers whether other examples wait
   */
  function show(entry, { index, done, total }, isSelected, hasOthers) {
    const running = entry?.state === "running" || entry?.state === "waiting";
    node.hidden = !running;
    if (!running) return;
    if (all) all.hidden = !hasOthers();
    const known = isSelected && total;
    if (known) progress.value = Number(done) / Number(total);
    else progress.removeAttribute("value");
    said.textContent = known ? progressText(Number(index), Number(done), Number(total)) : `${entry.state} …`;
  }

  return { node, show };
}

/** The stage: line in words, words, panes, legend. @param {any} views see app.js @param {boolean} live */
export function stageOf(views, live) {
  const under = [el("div", {}, views.legend.node), el("div", {}, views.lengths.node)];
  return el(
    "div",
    { class: "vx-stage", role: "group", "aria-label": "explanation" },
    views.first.node,
    views.inside.node,
    views.sentence.node,
    el("div", { class: "vx-asking" }, views.lists.node, live ? views.editor.node : null),
    views.busy.node,
    views.panes.node,
    views.columns.node,
    el("div", { class: "vx-readouts" }, views.said, views.pairsNote, views.paneNote),
    el("div", { class: "vx-under" }, ...under),
    views.notes.node,
    keysRow(live),
  );
}

/** @param {any} views @param {boolean} live */
function railOf(views, live) {
  return el(
    "div",
    { class: "vx-rail-cards", role: "group", "aria-label": "answers and details" },
    views.answers.node,
    views.ranked.node,
    live ? views.whatif.node : null,
    views.facts.node,
    views.note.node,
  );
}

/**
 * The whole, with the parts of it that change: {node, main, pages, compareBox}.
 * @param {any} views @param {HTMLElement} stage @param {any} look
 * @param {{set: (name: string, value: any) => void, open: (page: string) => void, live: boolean}} told
 */
export function skeleton(views, stage, look, { set, open, live }) {
  const pages = switchOf(
    "view",
    [
      ["example", "Example"],
      ["compare", "Compare"],
      ["table", "Table"],
      ["inside", "Inside"],
    ],
    open,
  );
  views.drawing = lookForm(look, set);
  const drawing = menu("View", views.drawing.node, "vx-view-menu");
  const help = () => views.help.showModal();
  const ask = el("button", { type: "button", class: "vx-tool", "aria-label": "keys and help", onclick: help }, "?");
  const compareBox = el("span", { class: "vx-compare-with" });
  const tools = el("div", { class: "vx-tools" }, compareBox, drawing.node, ask);
  const bar = el("div", { class: "vx-top" }, pages.node, views.setup.node, tools);
  const main = el(
    "div",
    { class: "vx-main-grid" },
    el("div", { class: "vx-list", role: "group", "aria-label": "list" }, views.entries.node),
    el("div", { class: "vx-body" }, views.problem, stage),
    railOf(views, live),
  );
  const node = el("div", { class: `vx-viewer${live ? "" : " vx-static"}` }, bar, main, views.table.node);
  return { node, main, pages, compareBox };
}
