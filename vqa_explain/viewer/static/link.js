// @ts-check
// The state of a page as its link: what differs from how the page opens. Pure; tested under node.

import { WORDS } from "./cells.js";

/** How a page opens. */
const OPENING = {
  look: {
    ...{ page: "example", map: "orange-purple", strength: 1, threshold: 0, smooth: false, truth: false },
    ...{ scale: "own", unit: "regions", pane: "picture" },
  },
  filter: { search: "", outcome: "all", sort: "", descending: false },
};

/** What is written of a look and a filter as it is: one name, one text. @type {Record<string, any>} */
const AS_TEXT = { ...OPENING.look, ...OPENING.filter };

/** @param {number[]} numbers */
function listText(numbers) {
  return numbers.join(",");
}

/** @param {string | null} text @param {number} count numbers from 0 to below it are kept */
function listOf(text, count) {
  const numbers = (text ?? "").split(",").filter((one) => /^\d+$/.test(one));
  return numbers.map(Number).filter((number) => number < count);
}

/**
 * The link of a state: "page=table&selection=1,4".
 * @param {{example: number, look: any, filter: any, selection: number[], columns: number[], stars: number[]}} state
 */
export function linkOf(state) {
  const told = new URLSearchParams();
  if (state.example) told.set("example", String(state.example));
  for (const [name, usual] of Object.entries(AS_TEXT)) {
    const value = name in OPENING.look ? state.look[name] : state.filter[name];
    if (value !== undefined && value !== usual) told.set(name, String(value));
  }
  for (const [name, ends] of Object.entries(state.filter.ranges ?? {}))
    told.append("range", `${name}:${ends.join(":")}`);
  for (const [name, text] of Object.entries(state.filter.equals ?? {})) told.append("equal", `${name}:${text}`);
  if (state.filter.only) told.set("only", listText(state.filter.only));
  for (const name of /** @type {const} */ (["selection", "columns", "stars"]))
    if (state[name].length) told.set(name, listText(state[name]));
  return told.toString().replaceAll("%2C", ",").replaceAll("%3A", ":");
}

/** A text as what its name usually holds; undefined where it is none. @param {any} usual @param {string} text */
function readAs(usual, text) {
  if (typeof usual === "number") return Number.isFinite(Number(text)) && text !== "" ? Number(text) : undefined;
  if (typeof usual === "boolean") return text === "true";
  return text.slice(0, 300);
}

/**
 * The state that a link names; what it does not name, or names wrongly, is as the page opens.
 * @param {string} link without "#" @param {number} count of examples
 */
export function stateOfLink(link, count) {
  const told = new URLSearchParams(link);
  const look = /** @type {Record<string, any>} */ ({ ...OPENING.look });
  const filter = /** @type {Record<string, any>} */ ({ ...OPENING.filter, ranges: {}, equals: {}, only: null });
  for (const [name, usual] of Object.entries(AS_TEXT)) {
    const text = told.get(name);
    const value = text === null ? undefined : readAs(usual, text);
    if (value !== undefined) (name in look ? look : filter)[name] = value;
  }
  for (const text of told.getAll("range")) {
    const [, name, low, high] = /^(.*):([^:]+):([^:]+)$/.exec(text) ?? [];
    if (name && Number.isFinite(Number(low)) && Number.isFinite(Number(high)))
      filter.ranges[name] = [Number(low), Number(high)];
  }
  for (const text of told.getAll("equal")) {
    const [, name, value] = /^([^:]+):(.+)$/s.exec(text.slice(0, 400)) ?? [];
    if (name && Object.hasOwn(WORDS, name)) filter.equals[name] = value;
  }
  if (told.has("only")) filter.only = listOf(told.get("only"), count);
  const kept = CHOICES.filter(([name, known]) => !known.includes(look[name] ?? filter[name]));
  for (const [name] of kept) (name in look ? look : filter)[name] = AS_TEXT[name];
  const range = (/** @type {string} */ name, low, high) => (look[name] = Math.min(high, Math.max(low, look[name])));
  range("strength", 0.1, 1);
  range("threshold", 0, 1);
  const [selection, columns, stars] = ["selection", "columns", "stars"].map((name) => listOf(told.get(name), count));
  return { example: listOf(told.get("example"), count)[0] ?? 0, look, filter, selection, columns, stars };
}

/** What a name may hold, so that a link that was written by hand breaks nothing. @type {[string, string[]][]} */
const CHOICES = [
  ["page", ["example", "compare", "table", "inside"]],
  ["map", ["orange-purple", "red-blue", "brown-teal"]],
  ["scale", ["own", "one"]],
  ["unit", ["regions", "pixels"]],
  ["pane", ["picture", "only", "values", "matrix"]],
  ["outcome", ["all", "right", "wrong"]],
];
