// @ts-check
// What is selected in the table: how many, their small maps, and what can be done with them.
import { countsOf, csvOf, noteName } from "./cells.js";
import { el, fill, saveAs } from "./dom.js";
import { countText, percent } from "./numbers.js";

const MOST_MAPS = 16;
const MOST_PLACES = 8;

/**
 * @param {{open: (index: number) => void, only: (places: number[] | null) => void, select: (places: number[]) => void,
 *   star: (places: number[], on: boolean) => void, picked: (indices: number[]) => void, live: boolean}} told
 */
export function pickedView(told) {
  const [title, about] = [el("b"), el("span", { class: "vx-small vx-soft" })];
  const maps = el("div", { class: "vx-picked-maps" });
  const code = el("code", { class: "vx-code" });
  /** @type {any} */ let now = { places: [] };
  const button = (/** @type {string} */ text, /** @type {() => void} */ call, kind = "vx-tool") =>
    el("button", { type: "button", class: kind, onclick: call }, text);
  const star = button("★ Star all", () => told.star(now.places, !now.starred));
  const acts = el(
    "div",
    { class: "vx-acts" },
    button("Show only these", () => told.only(now.places), "vx-main"),
    button("Open first", () => told.open(now.places[0])),
    star,
    button("CSV", save),
    button("None", () => told.select([])),
  );
  const node = el("section", { class: "vx-picked" }, el("h2", {}, title, about), maps, acts, code);

  function save() {
    const text = csvOf(now.entries, now.places, now.cells, now.notes);
    saveAs(new Blob([text], { type: "text/csv" }), "examples.csv");
  }

  /** Those whose maps are shown. @param {any} next see table.js @param {Set<number>} selected */
  function wanted({ order }, selected) {
    const found = [];
    if (selected.size)
      for (const place of order) {
        if (selected.has(place)) found.push(place);
        if (found.length === MOST_MAPS) break;
      }
    return found;
  }

  /** @param {any} next see table.js */
  function show(next) {
    const { entries, order, selected, thumbs, notes } = next;
    const seen = selected.size ? new Set(order) : selected;
    const rest = [...selected].filter((place) => !seen.has(place) && place < entries.length);
    const listed = selected.size ? order.filter((/** @type {number} */ place) => selected.has(place)) : [];
    const places = [...listed, ...rest];
    const starred = places.length > 0 && places.every((place) => notes[noteName(entries[place], place)]?.star);
    now = { ...next, places, starred };
    const { all, right, wrong, confidence } = countsOf(places.map((place) => entries[place]));
    title.textContent = all ? `${countText(all)} selected` : "Nothing is selected";
    const outcome = right || wrong ? `${right} right, ${wrong} wrong; ` : "";
    about.textContent = confidence === null ? outcome : `${outcome}mean confidence ${percent(confidence)}`;
    fill(maps, ...places.slice(0, MOST_MAPS).map((place) => thumbs.copy(place, "map")));
    maps.hidden = !all;
    told.picked(places.slice(0, MOST_MAPS));
    acts.hidden = !all;
    star.textContent = starred ? "☆ Take stars away" : "★ Star all";
    code.hidden = !told.live || !all;
    const first = [...places].sort((a, b) => a - b).slice(0, MOST_PLACES);
    code.textContent = `viewer.selection  # [${first.join(", ")}${all > MOST_PLACES ? ", …" : ""}]`;
  }

  return { node, show, wanted };
}
