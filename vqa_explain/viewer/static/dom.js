// @ts-check
// Small helpers for elements. Text is always set as text, never as markup.

const SVG = "http://www.w3.org/2000/svg";

/** What a child of an element may be: nothing is added for null. @typedef {Node | string | null | undefined} Child */

/** @param {Element} node @param {Record<string, any>} attributes @param {Child[]} children */
function dressed(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") setStyle(/** @type {HTMLElement} */ (node), value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...present(children));
}

/** @param {HTMLElement} node @param {Record<string, any>} style names with hyphens are set too, such as "--share" */
function setStyle(node, style) {
  for (const [name, value] of Object.entries(style)) {
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.style[/** @type {any} */ (name)] = value;
  }
}

/** @param {Child[]} children @returns {(Node | string)[]} */
function present(children) {
  return /** @type {(Node | string)[]} */ (children.filter((child) => child !== null && child !== undefined));
}

/**
 * An element with attributes, listeners (on…) and children; strings become text.
 * @param {string} name @param {Record<string, any>} attributes @param {Child[]} children
 * @returns {any}
 */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  dressed(node, attributes, children);
  return node;
}

/**
 * The same for drawings.
 * @param {string} name
 * @param {Record<string, any>} attributes
 * @param {Child[]} children
 * @returns {any}
 */
export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  dressed(node, attributes, children);
  return node;
}

/** Replaces what a node holds. @param {Element} node @param {Child[]} children */
export function fill(node, ...children) {
  node.replaceChildren(...present(children));
}

/** A labeled control. @param {string} text @param {Node} control @param {string} [hint] */
export function field(text, control, hint) {
  return el("label", { class: "vx-field", title: hint || null }, el("span", {}, text), control);
}

/**
 * A select over choices [value, text].
 * @param {string[][]} choices @param {string} chosen @param {(value: string) => void} change @param {string} [name]
 */
export function select(choices, chosen, change, name) {
  const node = el("select", { onchange: () => change(node.value), "aria-label": name || null });
  for (const [value, text] of choices) node.append(el("option", { value, selected: value === chosen }, text));
  return node;
}

/**
 * Buttons of which one is pressed. `set(value)` presses one; `offer(values)` shows only some.
 * @param {string} name @param {string[][]} choices [value, text] @param {(value: string) => void} choose
 */
export function switchOf(name, choices, choose, kind = "") {
  const buttons = new Map(
    choices.map(([value, text]) => [
      value,
      el("button", { type: "button", "aria-pressed": "false", onclick: () => choose(value) }, text),
    ]),
  );
  const node = el("div", { class: `vx-switch ${kind}`, role: "group", "aria-label": name }, ...buttons.values());
  return {
    node,
    /** @param {string} chosen */
    set(chosen) {
      for (const [value, button] of buttons) button.setAttribute("aria-pressed", String(value === chosen));
    },
    /** @param {string[]} values */
    offer(values) {
      for (const [value, button] of buttons) button.hidden = !values.includes(value);
      node.hidden = values.length < 2;
    },
  };
}

/**
 * One tab stop for many buttons: arrows move between them. Gives a function to call after the buttons were made anew.
 * @param {HTMLElement} node @param {string} selector @param {() => number} [across] how many lie side by side, in a grid
 */
export function roving(node, selector, across = () => 1) {
  const items = () => /** @type {HTMLElement[]} */ ([...node.querySelectorAll(selector)]);
  /** @param {HTMLElement | undefined} current */
  const settle = (current) => {
    for (const item of items()) item.tabIndex = item === current ? 0 : -1;
  };
  node.addEventListener("focusin", (event) => {
    const item = /** @type {Element} */ (event.target).closest(selector);
    if (item) settle(/** @type {HTMLElement} */ (item));
  });
  onKey(node, (event) => {
    const step = /** @type {Record<string, number>} */ ({
      ...{ ArrowRight: 1, ArrowLeft: -1, ArrowDown: across(), ArrowUp: -across() },
    })[event.key];
    const all = items();
    const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
    if (!step || at < 0) return;
    event.preventDefault();
    all[Math.max(0, Math.min(all.length - 1, at + step))].focus();
  });
  return () => {
    const all = items();
    if (!all.some((item) => item.tabIndex === 0) || all.filter((item) => item.tabIndex === 0).length > 1)
      settle(all[0]);
  };
}

/** The event that stands for a key inside the viewer: see keys.js. */
export const KEY = "vx-key";

/** Hears keys on a node. @param {EventTarget} node @param {(event: KeyboardEvent) => void} call */
export function onKey(node, call) {
  node.addEventListener(KEY, (event) => {
    const original = /** @type {CustomEvent} */ (event).detail;
    if (!original.defaultPrevented) call(original);
  });
}

/** Gives a person a file. @param {Blob} blob @param {string} name */
export function saveAs(blob, name) {
  const address = URL.createObjectURL(blob);
  el("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}
