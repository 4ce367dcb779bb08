// @ts-check
// The parts of the inputs, the largest values first; or the pairs of a pinned word.
import { barOn } from "./bars.js";
import { colorAt, css } from "./color.js";
import { cropOf } from "./crops.js";
import { el, fill } from "./dom.js";
import { barPlaces, partOf } from "./layout.js";
import { playerName, shortName } from "./names.js";
import { amount, dependsMark, points } from "./numbers.js";
import { isUnsure, rankedPlayers } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {{part: any, index: number, value: number, error: number | null, band?: number[] | null}} Ranked */

const RANKED_ROWS = 7;

/**
 * The ranked list. `act(name, kind, index)` is told of the row under the pointer.
 * @param {import("./types").Act} act
 */
export function rankedView(act) {
  const title = el("span");
  const rows = el("div", { class: "vx-ranked" });
  const rest = el("div", { class: "vx-small vx-soft" });
  const hint = el("span", { class: "vx-small vx-soft" });
  const node = el("section", { class: "vx-card vx-ranked-card" }, el("h2", {}, title, hint), rows, rest);
  /** @type {Map<string, any>} */
  let lines = new Map();
  let known = "";

  /** @param {Explanation} explanation @param {any} frame see app.js */
  function draw(explanation, frame) {
    const { pinned } = frame;
    const now = JSON.stringify([frame.serial, pinned, frame.look.map, frame.look.dark]);
    if (now !== known) build(explanation, frame);
    known = now;
    for (const line of lines.values()) line.node.classList.toggle("vx-hot", frame.hotOf(line.name).has(line.index));
  }

  function build(/** @type {Explanation} */ explanation, /** @type {any} */ frame) {
    const { pinned } = frame;
    const all = pinned ? pinnedPairs(explanation, frame) : rankedPlayers(explanation);
    const listed = all.slice(0, RANKED_ROWS);
    const places = barPlaces(listed, explanation.fromZero !== false, 0, 2);
    lines = new Map(
      listed.map((one, i) => [`${one.part.name} ${one.index}`, rowOf(explanation, one, places[i], frame)]),
    );
    fill(rows, ...[...lines.values()].map((line) => line.node));
    const name = pinned ? shortName(partOf(explanation, pinned.part), pinned.index) : "";
    fill(title, pinned ? `Pairs with ${name}` : "Parts, ranked");
    const hasErrors = listed.some(({ error }) => error);
    hint.textContent = hasErrors ? "± standard error" : "";
    const more = all.length > RANKED_ROWS ? `${all.length - RANKED_ROWS} more. ` : "";
    const bands = listed.some(({ band }) => band)
      ? " Brackets: what the fills give. † the sign depends on the fill."
      : "";
    rest.textContent = `${more}${hasErrors ? "Whiskers: two standard errors." : ""}${bands}`;
  }

  function rowOf(
    /** @type {Explanation} */ explanation,
    /** @type {Ranked} */ one,
    /** @type {any} */ place,
    /** @type {any} */ frame,
  ) {
    const { part, index, value, error } = one;
    const { rail, bar } = barOn(place);
    const unsure = isUnsure(one);
    bar.style.backgroundColor = unsure ? "" : css(colorAt(Math.sign(value) * 0.75, frame.palette, frame.sided));
    const name = playerName(explanation, part.name, index);
    const text = part.kind === "text" ? el("b", {}, el("bdi", {}, part.players[index].text)) : el("span", {}, name);
    const said = frame.pinned ? points(value, error) : amount(explanation, value, error);
    const [number, ...rest] = `${said}${dependsMark(one)}`.split(" ");
    const node = el(
      "div",
      {
        class: unsure ? "vx-rank vx-unsure" : "vx-rank",
        title: name,
        onmouseenter: () => act(part.name, "enter", index),
        onmouseleave: () => act(part.name, "leave", index),
      },
      el("span", { class: "vx-who" }, part.size ? cropOf(part, index, 18) : null, text),
      rail,
      el("span", { class: "vx-number" }, number, el("i", {}, rest.length ? ` ${rest.join(" ")}` : "")),
    );
    return { node, name: part.name, index };
  }

  return { node, draw };
}

/**
 * The pairs of the pinned player, those that stand out most from their errors first.
 * @param {Explanation} explanation
 * @param {any} frame
 * @returns {Ranked[]}
 */
function pinnedPairs(explanation, frame) {
  const all = [...frame.pairs.values()].flatMap((pair) =>
    pair.values.map((/** @type {number} */ value, /** @type {number} */ index) => ({
      part: partOf(explanation, pair.name),
      index,
      value,
      error: pair.errors[index],
      ratio: pair.ratios[index],
    })),
  );
  return all.sort((one, other) => other.ratio - one.ratio || Math.abs(other.value) - Math.abs(one.value));
}
