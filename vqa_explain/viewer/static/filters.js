// @ts-check
// Ranges of numbers that a table's examples must lie in: a chip for each, and a menu to add one.
import { cellText } from "./cells.js";
import { el, field, fill, select } from "./dom.js";
import { menu } from "./setup.js";

/** @typedef {import("./cells.js").Cell} Cell */

/** @param {(changes: any) => void} change is told of other ranges */
export function rangesView(change) {
  const chips = el("span", { class: "vx-chips" });
  const form = el("div", { class: "vx-form", role: "group", "aria-label": "filter" });
  const add = menu("+ filter", form, "vx-chip");
  const node = el("div", { class: "vx-ranges" }, chips, add.node);
  let known = "";

  /** @param {Cell[]} cells @param {any} filter */
  function show(cells, filter) {
    const ranges = Object.entries(filter.ranges ?? {});
    const equals = Object.entries(filter.equals ?? {});
    const now = JSON.stringify([cells.map(({ name }) => name), ranges, equals, filter.only?.length]);
    if (now === known) return; // what a person is typing stays as it is
    known = now;
    const less = (/** @type {[string, any][]} */ all, /** @type {string} */ name) =>
      Object.fromEntries(all.filter(([other]) => other !== name));
    const told = ranges.map(([name, ends]) => {
      const cell = cells.find((one) => one.name === name);
      const [low, high] = ends.map((/** @type {number} */ end) => (cell ? cellText(cell, end) : end));
      return chip(`${name} ${low} to ${high}`, () => change({ ranges: less(ranges, name) }));
    });
    const same = equals.map(([name, text]) =>
      chip(`${name}: ${text.slice(0, 60)}`, () => change({ equals: less(equals, name) })),
    );
    const only = filter.only ? [chip(`only ${filter.only.length} selected`, () => change({ only: null }))] : [];
    fill(chips, ...told, ...same, ...only);
    add.node.hidden = cells.length === 0;
    if (cells.length) fill(form, ...fieldsOf(cells, Object.fromEntries(ranges)));
  }

  /** @param {Cell[]} cells @param {Record<string, number[]>} ranges */
  function fieldsOf(cells, ranges) {
    const which = select(
      cells.map(({ name }) => [name, name]),
      cells[0].name,
      () => undefined,
      "column",
    );
    const ends = ["from", "to"].map((name) => el("input", { type: "number", step: "any", "aria-label": name }));
    const apply = () => {
      const cell = /** @type {Cell} */ (cells.find(({ name }) => name === which.value));
      const percent = cell.kind === "share" ? 100 : 1;
      const given = ends.map((one, i) => (one.value === "" ? [cell.low, cell.high][i] : Number(one.value) / percent));
      change({ ranges: { ...ranges, [cell.name]: given } });
      add.node.open = false;
      add.label.focus();
    };
    const hint = el("div", { class: "vx-small vx-soft" }, "Shares are in percent; an empty field is no limit.");
    const button = el("button", { type: "button", class: "vx-main", onclick: apply }, "Filter");
    return [field("column", which), field("from", ends[0]), field("to", ends[1]), button, hint];
  }

  return { node, show };
}

/** @param {string} text @param {() => void} remove */
function chip(text, remove) {
  return el(
    "button",
    { type: "button", class: "vx-chip", title: "Take the filter away", onclick: remove },
    `${text} ×`,
  );
}
