// Small helpers for elements. Text is always set as text, never as markup.

/** An element with attributes, listeners (on…) and children; strings become text. */
export function el(name, attributes = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") Object.assign(node.style, value);
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

/** Replaces what a node holds. */
export function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
}

/** A labeled control. */
export function field(text, control, hint) {
  const label = el("label", { class: "vx-field", title: hint || null }, el("span", {}, text), control);
  return label;
}

/** A select over choices [value, text]. */
export function select(choices, chosen, change, name) {
  const node = el("select", { onchange: () => change(node.value), "aria-label": name || null });
  for (const [value, text] of choices) node.append(el("option", { value, selected: value === chosen }, text));
  return node;
}
