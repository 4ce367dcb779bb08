// @ts-check
// Groups of examples beside the table: how many, how many are right, and the means of what was measured of them. A
// click on a group filters the table.
import { ANSWER, CONFIDENCE, cellText, KIND, numeric, ordered, TRUTH, WORDS } from "./cells.js";
import { el, fill, roving, select } from "./dom.js";
import { countText, percent } from "./numbers.js";

/** @typedef {import("./types").Entry} Entry */
/** @typedef {import("./types").Filter} Filter */
/** @typedef {import("./cells.js").Cell} Cell */
/** @typedef {{text: string, filter: any, count: number, right: number | null, means: (number | null)[]}} Slice */

export const OUTCOME = "outcome";
const PIECES = 4; // of the examples, where they are divided by a number
const MOST_SLICES = 200;

/** By what examples can be divided. @param {Entry[]} entries @param {Cell[]} cells */
export function waysOf(entries, cells) {
  const known = [KIND, ANSWER, TRUTH].filter((name) => entries.some((entry) => WORDS[name](entry)));
  const outcome = entries.some(({ correct }) => typeof correct === "boolean") ? [OUTCOME] : [];
  return [...known, ...outcome, ...numeric(cells).map(({ name }) => name)];
}

/** A filter without what a click on one of these groups sets. @param {Filter} filter @param {string} way */
function without(filter, way) {
  const { [way]: _, ...equals } = filter.equals ?? {};
  const { [way]: __, ...ranges } = filter.ranges ?? {};
  return { ...filter, equals, ranges, outcome: way === OUTCOME ? "all" : filter.outcome, sort: "", descending: false };
}

/**
 * The groups, the largest first, those of numbers from the least. The filter's other conditions hold in all of them.
 * @param {Entry[]} entries @param {Filter} filter @param {Cell[]} cells @param {string} way @returns {Slice[]}
 */
export function slicesOf(entries, filter, cells, way) {
  const rest = without(filter, way);
  const listed = ordered(entries, rest, cells).map((place) => entries[place]);
  const cell = numeric(cells).find(({ name }) => name === way);
  const groups = cell ? piecesOf(listed, cell, rest) : groupsOf(listed, way, rest);
  return groups.map(({ text, filter: change, members }) => {
    const judged = members.filter(({ correct }) => typeof correct === "boolean");
    const right = judged.length ? judged.filter(({ correct }) => correct).length / judged.length : null;
    const means = meansOf(cells).map((one) => meanOf(members.map(one.of)));
    return { text, filter: change, count: members.length, right, means };
  });
}

/** The columns whose means are told. @param {Cell[]} cells */
export function meansOf(cells) {
  const shares = (/** @type {Cell} */ { name }) => Number(!name.endsWith("'s share"));
  return numeric(cells).sort((one, other) => shares(one) - shares(other));
}

/** @param {any[]} values */
function meanOf(values) {
  const known = values.filter((value) => typeof value === "number");
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}

/** @param {Entry[]} listed @param {string} way @param {any} rest of the filter */
function groupsOf(listed, way, rest) {
  /** @type {Map<string, Entry[]>} */
  const found = new Map();
  for (const entry of listed) {
    const text = way === OUTCOME ? outcomeOf(entry) : (WORDS[way](entry) ?? "");
    const members = found.get(text);
    if (members) members.push(entry);
    else found.set(text, [entry]);
  }
  const change = (/** @type {string} */ text) => {
    if (!text) return null; // what is not known is no group that a filter could ask for
    return way === OUTCOME ? { outcome: text } : { equals: { ...rest.equals, [way]: text } };
  };
  const groups = [...found].map(([text, members]) => ({ text, filter: change(text), members }));
  return groups.sort((one, other) => other.members.length - one.members.length || (one.text < other.text ? -1 : 1));
}

/** @param {Entry} entry */
function outcomeOf({ correct }) {
  return typeof correct === "boolean" ? (correct ? "right" : "wrong") : "";
}

/** Pieces of a number's examples of about the same size; equal numbers are in one. @param {Entry[]} listed @param {Cell} cell @param {any} rest */
function piecesOf(listed, cell, rest) {
  const known = listed.filter((entry) => cell.of(entry) !== null);
  const lacking = listed.filter((entry) => cell.of(entry) === null);
  known.sort((one, other) => cell.of(one) - cell.of(other));
  /** @type {Entry[][]} */
  const pieces = [];
  for (const [place, entry] of known.entries()) {
    const isFull = place >= (pieces.length * known.length) / PIECES;
    const isNew = place === 0 || cell.of(entry) !== cell.of(known[place - 1]);
    if (isFull && isNew) pieces.push([]);
    pieces[pieces.length - 1].push(entry);
  }
  const groups = pieces.map((members) => {
    const ends = [cell.of(members[0]), cell.of(members[members.length - 1])];
    const [low, high] = ends.map((end) => cellText(cell, end));
    const text = low === high ? low : `${low} to ${high}`;
    return { text, filter: { ranges: { ...rest.ranges, [cell.name]: ends } }, members };
  });
  return lacking.length ? [...groups, { text: "", filter: null, members: lacking }] : groups;
}

/** Whether a filter asks for a group. @param {any} filter @param {any} change what a click on the group sets */
function isAsked(filter, change) {
  const [[name, value]] = Object.entries(change ?? { none: null });
  if (name === OUTCOME) return filter.outcome === value;
  const kept = filter[name] ?? {};
  return value !== null && JSON.stringify(sortedPairs(kept)) === JSON.stringify(sortedPairs(value));
}

/** @param {any} value */
function sortedPairs(value) {
  return Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1));
}

/** @param {(changes: any) => void} change is told of another filter */
export function slicesView(change) {
  const by = el("span");
  const head = el("div", { class: "vx-scatter-axes" }, by);
  const names = el("tr");
  const body = el("tbody");
  const table = el("table", { class: "vx-slices" }, el("thead", {}, names), body);
  const box = el("div", { class: "vx-slices-box", tabindex: "0", role: "group", "aria-label": "groups" }, table);
  const more = el("div", { class: "vx-small vx-soft" });
  const node = el("div", {}, head, box, more);
  const rove = roving(body, "button");
  let chosen = "";
  let known = "";
  /** @type {any} */ let now = null;

  /** @param {any} next see table.js @param {string} fixed by what they are divided; "" lets a person choose */
  function show(next, fixed) {
    now = { ...next, fixed };
    const ways = waysOf(next.entries, next.cells).filter((name) => name !== KIND);
    head.hidden = Boolean(fixed);
    if (!ways.includes(chosen)) chosen = ways[0] ?? "";
    if (JSON.stringify(ways) !== known)
      fill(
        by,
        "by ",
        select(
          ways.map((name) => [name, name]),
          chosen,
          pick,
          "slices by",
        ),
      );
    known = JSON.stringify(ways);
    draw();
  }

  function pick(/** @type {string} */ way) {
    chosen = way;
    draw();
  }

  function draw() {
    const { entries, cells, filter, fixed } = now;
    const way = fixed || chosen;
    const means = meansOf(cells);
    const titles = [way, "number", "right", ...means.map(({ name }) => (name === CONFIDENCE ? name : `mean ${name}`))];
    fill(names, ...titles.map((title) => el("th", { scope: "col" }, title.replaceAll("_", " "))));
    const found = way ? slicesOf(entries, filter, cells, way) : [];
    const focused = [...body.querySelectorAll("button")].indexOf(document.activeElement);
    fill(
      body,
      ...found
        .slice(0, MOST_SLICES)
        .map((one) => rowOfSlice(one, means, isAsked(filter, one.filter), () => turn(one, way))),
    );
    if (focused >= 0) body.querySelectorAll("button")[focused]?.focus();
    const rest = found.length - MOST_SLICES;
    more.textContent = rest > 0 ? `${countText(rest)} smaller groups are not listed.` : "";
    rove();
  }

  /** A click filters, another one ends it. @param {Slice} one @param {string} way */
  function turn(one, way) {
    const { equals, ranges, outcome } = without(now.filter, way);
    change(isAsked(now.filter, one.filter) ? { equals, ranges, outcome } : one.filter);
  }

  return { node, show };
}

/** @param {Slice} one @param {Cell[]} means @param {boolean} asked @param {() => void} turn */
function rowOfSlice({ text, filter, count, right, means: values }, means, asked, turn) {
  const named = text || "not known";
  const button = el(
    "button",
    { type: "button", class: "vx-slice", "aria-pressed": String(asked), title: "Show only these", onclick: turn },
    el("bdi", {}, named),
  );
  const share =
    right === null ? null : el("span", { class: "vx-meter" }, el("i", { style: { width: `${100 * right}%` } }));
  return el(
    "tr",
    { class: asked ? "vx-selected" : null },
    el("th", { scope: "row" }, filter ? button : el("span", { class: "vx-soft" }, named)),
    el("td", {}, countText(count)),
    el("td", {}, share, right === null ? "–" : ` ${percent(right)}`),
    ...means.map((cell, i) => el("td", {}, cellText(cell, values[i]) || "–")),
  );
}
