// @ts-check
// An answer of several words: each a chip in the color of the picture's share; one that is pointed at recolors all
// inputs, and one that is clicked stays.
import { colorAt, css, ink } from "./color.js";
import { el, fill, roving } from "./dom.js";
import { percent, points } from "./numbers.js";
import { wordTableView } from "./wordtable.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Output} Output */

/**
 * The explanation of one word of the answer, or of the whole where the number is none of a word.
 * @param {Explanation} whole @param {number} number @returns {Explanation}
 */
export function ofWord(whole, number) {
  const row = whole.outputs?.[number];
  if (!row) return whole;
  const parts = whole.parts.map((part, index) => {
    const { values, errors, bands, ...look } = row.parts[index];
    const players = part.players.map((player, i) => ({
      ...player,
      ...{ value: values[i], error: errors?.[i] ?? null, band: bands?.[i] ?? null },
    }));
    return { ...part, ...look, players };
  });
  const { target, explained, unitText, share, errorText, error } = row;
  // Pairs are those of the whole, whose values a word has a part of.
  const alone = { joint: [], pairs: null, pairsTitle: "" };
  return { ...whole, ...alone, parts, target, explained, unitText, share, errorText, error };
}

/** Where a word comes from, in points, for its tooltip. @param {Output} row */
function sourcesText(row) {
  const told = Object.entries(row.sources).map(([name, value]) => `${name} ${value.toFixed(2)}`);
  return told.length ? `\nlog probability: ${told.join(", ")}` : "";
}

const MOST_EARLIER = 4; // words that are named

/** What a word owes to the words before it, the most important first. @param {Output[]} outputs @param {number} number */
export function earlierText(outputs, number) {
  const row = outputs[number];
  if (!row?.earlier?.length) return "";
  const all = row.earlier.map((value, i) => ({ value, error: row.earlierErrors?.[i], text: outputs[i]?.target ?? "" }));
  all.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
  const named = all.slice(0, MOST_EARLIER).map(({ value, error, text }) => `“${text}” ${points(value, error)}`);
  const more = all.length > MOST_EARLIER ? `; ${all.length - MOST_EARLIER} more are smaller` : "";
  return `“${row.target}” and the words before it: ${named.join(", ")}${more}`;
}

/** Whether another word stands there in the sentence that this one is compared with. @param {Output} row */
function isOther(row) {
  return typeof row.contrast === "string" && row.contrast !== row.target;
}

/**
 * The answer's words. `told.point(number)` is told of the word under the pointer or in focus, -1 for none, and
 * `told.pin(number)` of a click.
 * @param {{point: (number: number) => void, pin: (number: number) => void}} told
 */
export function sentenceView(told) {
  const words = el("div", { class: "vx-answer-words", dir: "auto", role: "group", "aria-label": "the answer's words" });
  const hint = el("span", { class: "vx-small vx-soft" });
  const earlier = el("div", { class: "vx-small vx-earlier", hidden: true });
  const table = wordTableView();
  const node = el(
    "div",
    { class: "vx-answer-line", hidden: true },
    el("div", {}, el("b", { class: "vx-small" }, "Answer "), hint),
    words,
    earlier,
    table.node,
  );
  const rove = roving(words, ".vx-answer-word");
  /** @type {any[]} */
  let chips = [];
  let known = "";
  /** @type {Output[]} */
  let outputs = [];

  function show(/** @type {Explanation} */ whole) {
    outputs = whole.outputs ?? [];
    node.hidden = outputs.length === 0;
    const now = JSON.stringify([whole.id, outputs.map(({ parts, ...row }) => row)]);
    if (now === known) return; // the same words keep their buttons, and the one in focus keeps the focus
    known = now;
    const colored = outputs.some((row) => row.pictureShare !== null);
    const flagged = outputs.some((row) => row.notFromPictures) ? "underlined: not from the picture · " : "";
    hint.textContent = `${colored ? "stronger: a larger share of the values is on the picture · " : ""}${flagged}point at a word, or click it to keep it`;
    earlier.hidden = !outputs.some((row) => row.earlier?.length);
    table.show(whole);
    chips = outputs.map((row, number) => chipOf(row, number));
    fill(words, ...chips.map(({ button }) => button));
    rove();
  }

  function chipOf(/** @type {Output} */ row, /** @type {number} */ number) {
    const share = row.pictureShare;
    const from = share === null ? "" : `, ${percent(share)} of the values on the picture`;
    const button = el(
      "button",
      {
        type: "button",
        class: `vx-answer-word${row.notFromPictures ? " vx-flagged" : ""}`,
        "aria-pressed": "false",
        "data-answer-word": number,
        title: `${row.target}: ${percent(row.probability)} after the words before it${from}${sourcesText(row)}`,
        onmouseenter: () => told.point(number),
        onmouseleave: () => told.point(-1),
        onfocus: () => told.point(number),
        onblur: () => told.point(-1),
        onclick: () => told.pin(number),
      },
      el("bdi", {}, row.target),
      isOther(row) ? el("small", { class: "vx-not" }, " not ", el("bdi", {}, row.contrast)) : null,
    );
    return { button, share };
  }

  /** @param {any} palette @param {number} shown the word that colors the inputs @param {number} pinned */
  function draw(palette, shown, pinned) {
    if (!earlier.hidden)
      earlier.textContent = earlierText(outputs, shown) || "Point at a word for what it owes to the words before it.";
    chips.forEach(({ button, share }, number) => {
      const ground = colorAt(share ?? 0, palette, false);
      button.style.backgroundColor = share === null ? "" : css(ground);
      button.style.color = share === null ? "" : ink(ground);
      button.classList.toggle("vx-focused", shown === number);
      button.classList.toggle("vx-pinned", pinned === number);
      button.setAttribute("aria-pressed", String(pinned === number));
    });
  }

  return { node, show, draw };
}
