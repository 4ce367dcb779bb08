// @ts-check
// Keys. They are caught before the page that holds the viewer sees them: a notebook would edit its cells by them.
import { el, KEY } from "./dom.js";

/** Keys and what they do; the first column is shown under the map. */
export const KEYS = [
  [["j", "k"], "next, previous"],
  [["1", "5"], "explain an answer"],
  [["c"], "rather than …"],
  [["↑↓←→"], "move over regions"],
  [["Enter"], "take away"],
  [["n"], "write a note"],
  [["Esc"], "undo, free"],
  [["?"], "all keys"],
];

const MORE = [
  [["Space"], "hold: the picture in the map's place"],
  [["+", "−", "0"], "zoom the picture in the focus; 0 is the whole picture"],
  [["Shift", "drag"], "take away, or keep, all regions that are passed"],
  [["Alt", "drag"], "the same of all regions in a box"],
  [["Ctrl", "wheel"], "zoom"],
  [["⇧", "←→"], "on a word of the answer: several together"],
  [["Tab"], "next group; arrows move inside one: words, answers, examples, groups, blocks and heads"],
];

/** @param {any[]} rows */
function hints(rows) {
  return rows.map(([keys, text]) =>
    el("span", {}, ...keys.map((/** @type {string} */ key) => el("kbd", {}, key)), text),
  );
}

/** Keys that ask the model. */
const ASKING = ["1", "c", "Enter", "Shift", "Alt"];

/** @param {any[]} rows @param {boolean} live */
function offered(rows, live) {
  return live ? rows : rows.filter(([keys]) => !ASKING.includes(keys[0]));
}

/** The row of keys under the map. @param {boolean} live */
export function keysRow(live) {
  return el("div", { class: "vx-keys vx-hide-s" }, ...hints(offered(KEYS, live)));
}

/** All keys, in a dialog. @param {boolean} live whether there is a model to ask */
export function helpDialog(live) {
  const close = el("button", { type: "button", class: "vx-tool", onclick: () => node.close() }, "Close");
  const rows = el("div", { class: "vx-keys" }, ...hints(offered([...KEYS, ...MORE], live)));
  const node = el("dialog", { class: "vx-help", "aria-label": "all keys" }, el("h2", {}, "Keys"), rows, close);
  return node;
}

/**
 * Catches the keys that are pressed inside `root`, and gives each to the part of the viewer that has the focus, then
 * to `handle`. Keys with Ctrl, Alt or the command key are left to the page. Gives a function that ends it.
 * @param {HTMLElement} root @param {boolean} alone whether keys on the page itself are meant too
 * @param {(event: KeyboardEvent) => void} handle @param {(event: KeyboardEvent) => void} release
 */
export function catchKeys(root, alone, handle, release) {
  const inside = (/** @type {Event} */ event) => {
    const target = /** @type {Node | null} */ (event.composedPath()[0] ?? null);
    return target !== null && (root.contains(target) || (alone && target === document.body));
  };
  const typing = (/** @type {Event} */ event) => {
    const target = event.composedPath()[0];
    return target instanceof Element && target.matches("input, select, textarea");
  };
  const down = (/** @type {KeyboardEvent} */ event) => {
    if (!inside(event) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.stopImmediatePropagation();
    const target = /** @type {EventTarget} */ (event.composedPath()[0]);
    target.dispatchEvent(new CustomEvent(KEY, { detail: event, bubbles: true }));
    if (!event.defaultPrevented && !typing(event)) handle(event);
  };
  const up = (/** @type {KeyboardEvent} */ event) => {
    release(event); // wherever the focus has gone
    if (inside(event) && !event.ctrlKey && !event.metaKey && !event.altKey) event.stopImmediatePropagation();
  };
  // On the window and in the capture phase: before the listeners of any notebook, which are on the document.
  window.addEventListener("keydown", down, true);
  window.addEventListener("keyup", up, true);
  return () => {
    window.removeEventListener("keydown", down, true);
    window.removeEventListener("keyup", up, true);
  };
}
