// @ts-check
// The table of examples: its columns, which examples pass a filter, and their order. Pure; tested under node.
import { errorText, percent } from "./numbers.js";

/** @typedef {import("./types").Entry} Entry */
/** @typedef {import("./types").Filter} Filter */
/** @typedef {{name: string, kind: "words" | "share" | "error" | "number", of: (entry: Entry) => any, low: number, high: number}} Cell */

export const [QUESTION, ANSWER, CONFIDENCE, ERROR] = ["question", "answer", "confidence", "error"];

export const [KIND, TRUTH, WITHOUT] = ["kind", "true answer", "without picture"];

/** What a filter can ask to be one text. @type {Record<string, (entry: Entry) => string | null | undefined>} */
export const WORDS = {
  [KIND]: (entry) => entry.kind,
  [ANSWER]: (entry) => entry.answer,
  [TRUTH]: (entry) => entry.label,
};

/** @type {Cell} */
const BLIND = { name: WITHOUT, kind: "words", of: (entry) => entry.without ?? null, low: 0, high: 0 };

/** Those that every table has. @type {Cell[]} */
const EVERY_TABLE = [
  { name: QUESTION, kind: "words", of: (entry) => entry.title, low: 0, high: 0 },
  { name: ANSWER, kind: "words", of: (entry) => entry.answer || null, low: 0, high: 0 },
  { name: CONFIDENCE, kind: "share", of: (entry) => entry.probability ?? null, low: 0, high: 1 },
];

/** All columns: question, answer, confidence, and every number that an example has. @param {Entry[]} entries */
export function cellsOf(entries) {
  /** @type {Map<string, [number, number]>} */
  const ends = new Map();
  for (const { numbers } of entries) {
    for (const name in numbers) {
      const known = ends.get(name);
      const value = numbers[name];
      if (!known) ends.set(name, [value, value]);
      else if (value < known[0]) known[0] = value;
      else if (value > known[1]) known[1] = value;
    }
  }
  const found = [...ends].map(([name, [low, high]]) => numberCell(name, low, high));
  const known = entries.some((entry) => typeof entry.probability === "number");
  const measured = entries.some((entry) => typeof entry.without === "string") ? [BLIND] : [];
  return [...EVERY_TABLE.filter((cell) => known || cell.name !== CONFIDENCE), ...found, ...measured];
}

/** @param {string} name @param {number} low @param {number} high @returns {Cell} */
function numberCell(name, low, high) {
  const of = (/** @type {Entry} */ entry) => entry.numbers?.[name] ?? null;
  if (name === ERROR) return { name, kind: "error", of, low: 0, high };
  const isShare = low >= 0 && high <= 1;
  return { name, kind: isShare ? "share" : "number", of, low: isShare ? 0 : low, high: isShare ? 1 : high };
}

/** The columns that hold numbers. @param {Cell[]} cells */
export function numeric(cells) {
  return cells.filter((cell) => cell.kind !== "words");
}

/** A number of a column as it is written; "" where there is none. @param {Cell} cell @param {any} value */
export function cellText(cell, value) {
  if (value === null || value === undefined) return "";
  if (cell.kind === "share") return percent(value);
  if (cell.kind === "error") return value === 0 ? "0" : errorText(value);
  if (cell.kind === "words") return String(value);
  return Number(value.toPrecision(3)).toString().replace("-", "−");
}

/** How far a number is from the least to the greatest of its column, 0 … 1. @param {Cell} cell @param {any} value */
export function placeIn(cell, value) {
  if (value === null || !(cell.high > cell.low)) return 0;
  return Math.min(1, Math.max(0, (value - cell.low) / (cell.high - cell.low)));
}

/** @type {WeakMap<Entry, string>} */
const searched = new WeakMap();

/** What a search looks into, in small letters. @param {Entry} entry */
function searchText(entry) {
  let found = searched.get(entry);
  if (found === undefined) {
    found = [entry.title, entry.answer, entry.label, entry.id].join("\n").toLowerCase();
    searched.set(entry, found);
  }
  return found;
}

/** Whether a filter lets all pass in the order of the data set. @param {Filter} filter */
export function isOpen(filter) {
  const { search, outcome, ranges, equals, sort, only } = filter;
  const asked = [ranges, equals].some((one) => Object.keys(one ?? {}).length > 0);
  return !search && (outcome ?? "all") === "all" && !sort && !only && !asked;
}

/**
 * The places of the examples that pass, in order; examples without the number that is sorted by come last.
 * @param {Entry[]} entries @param {Filter} filter @param {Cell[]} cells @returns {number[]}
 */
export function ordered(entries, filter, cells) {
  if (isOpen(filter)) return [...entries.keys()];
  const asked = (filter.search ?? "").trim().toLowerCase();
  const only = filter.only ? new Set(filter.only) : null;
  const ranges = Object.entries(filter.ranges ?? {}).map(([name, ends]) => ({
    of: cells.find((cell) => cell.name === name)?.of ?? (() => null),
    ends,
  }));
  const equals = Object.entries(filter.equals ?? {}).map(([name, text]) => ({
    of: Object.hasOwn(WORDS, name) ? WORDS[name] : () => null,
    text,
  }));
  const outcome = filter.outcome ?? "all";
  const passes = (/** @type {Entry} */ entry, /** @type {number} */ place) =>
    (!only || only.has(place)) &&
    (outcome === "all" || entry.correct === (outcome === "right")) &&
    (!asked || searchText(entry).includes(asked)) &&
    equals.every(({ of, text }) => of(entry) === text) &&
    ranges.every(({ of, ends }) => isWithin(of(entry), ends));
  const kept = [...entries.keys()].filter((place) => passes(entries[place], place));
  const cell = cells.find(({ name }) => name === filter.sort);
  return cell ? sortedBy(kept, entries, cell, Boolean(filter.descending)) : kept;
}

/** @param {any} value @param {number[]} ends */
function isWithin(value, [low, high]) {
  return typeof value === "number" && value >= low && value <= high;
}

/** @param {number[]} places @param {Entry[]} entries @param {Cell} cell @param {boolean} descending */
function sortedBy(places, entries, cell, descending) {
  const turn = descending ? -1 : 1;
  const keyed = places.map((place) => ({ place, key: cell.of(entries[place]) }));
  const order = (/** @type {any} */ one, /** @type {any} */ other) => {
    if (one.key === null || other.key === null) return Number(one.key === null) - Number(other.key === null);
    if (one.key === other.key) return one.place - other.place;
    return (one.key < other.key ? -1 : 1) * turn;
  };
  return keyed.sort(order).map(({ place }) => place);
}

/** How many of these there are, are right and are wrong, and their mean confidence. @param {Entry[]} entries */
export function countsOf(entries) {
  let [right, wrong, sum, known] = [0, 0, 0, 0];
  for (const { correct, probability } of entries) {
    if (correct === true) right += 1;
    if (correct === false) wrong += 1;
    if (typeof probability !== "number") continue;
    sum += probability;
    known += 1;
  }
  return { all: entries.length, right, wrong, confidence: known ? sum / known : null };
}

/** Rows as comma-separated values. @param {any[][]} rows */
export function csvText(rows) {
  const quoted = (/** @type {any} */ value) => {
    // A spreadsheet would run a text that begins like a formula.
    const text = typeof value === "string" ? value.replace(/^[=+\-@\t\r]/, "'$&") : String(value ?? "");
    return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return `${rows.map((one) => one.map(quoted).join(",")).join("\r\n")}\r\n`;
}

/** A file of comma-separated values. @param {Entry[]} entries @param {number[]} places @param {Cell[]} cells @param {any} notes */
export function csvOf(entries, places, cells, notes) {
  const head = ["example", "id", ...cells.map(({ name }) => name), TRUTH, KIND, "correct", "star", "note"];
  const row = (/** @type {number} */ place) => {
    const entry = entries[place];
    const note = notes[noteName(entry, place)] ?? {};
    const values = cells.map((cell) => cell.of(entry));
    return [
      place,
      entry.id,
      ...values,
      entry.label,
      entry.kind ?? "",
      entry.correct,
      note.star ?? false,
      note.note ?? "",
    ];
  };
  return csvText([head, ...places.map(row)]);
}

/** What a note is kept by: the example's own name, else its place. @param {Entry} entry @param {number} place */
export function noteName(entry, place) {
  return entry.id || String(place);
}
