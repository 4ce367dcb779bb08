// @ts-check
// An answer of several words: each a chip in the color of the picture's share; one that is pointed at recolors all
// inputs, and one that is clicked stays, as do several in a row. They can be played one after another.
import { colorAt, css, ink } from "./color.js";
import { el, fill, onKey, roving } from "./dom.js";
import { percent, points } from "./numbers.js";
import { NO_WORDS, sameSpan } from "./wordrows.js";
import { wordTableView } from "./wordtable.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Output} Output */
/** @typedef {import("./wordrows.js").Span} Span */

/** Where a word comes from, in points, for its tooltip. @param {Output} row */
function sourcesText(row) {
  const told = Object.entries(row.sources).map(([name, value]) => `${name} ${value.toFixed(2)}`);
  return told.length ? `\nlog probability: ${told.join(", ")}` : "";
}

const MOST_EARLIER = 4; // words that are named
const STEP = 900; // milliseconds for each word that is played

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
 * `told.keep(span)` of those that are to stay.
 * @param {{point: (number: number) => void, keep: (span: Span) => void}} told
 */
export function sentenceView(told) {
  const words = el("div", { class: "vx-answer-words", dir: "auto", role: "group", "aria-label": "the answer's words" });
  const hint = el("span", { class: "vx-small vx-soft" });
  const earlier = el("div", { class: "vx-small vx-earlier", hidden: true });
  const table = wordTableView();
  const play = el("button", { type: "button", class: "vx-tool", title: "step through the words", onclick: playOrStop });
  const range = el(
    "button",
    { type: "button", class: "vx-tool", title: "choose the first and the last of several words", onclick: beginRange },
    "Range",
  );
  const node = el(
    "div",
    { class: "vx-answer-line", hidden: true },
    el("div", { class: "vx-acts" }, el("b", { class: "vx-small" }, "Answer"), play, range, hint),
    words,
    earlier,
    table.node,
  );
  onKey(words, extendByKey); // before arrows alone move the focus
  const rove = roving(words, ".vx-answer-word");
  /** @type {any[]} */
  let chips = [];
  let known = "";
  let usual = "";
  /** @type {Output[]} */
  let outputs = [];
  /** @type {Span} */ let kept = NO_WORDS;
  let [canAdd, choosing] = [false, false];
  let [timer, pressedAt] = [0, -1];

  function show(/** @type {Explanation} */ whole) {
    outputs = whole.outputs ?? [];
    node.hidden = outputs.length === 0;
    const now = JSON.stringify([whole.id, outputs.map(({ parts, ...row }) => row)]);
    if (now === known) return; // the same words keep their buttons, and the one in focus keeps the focus
    known = now;
    stop();
    canAdd = whole.addsUp !== false && outputs.length > 1;
    range.hidden = !canAdd;
    setChoosing(false);
    const colored = outputs.some((row) => row.pictureShare !== null);
    const flagged = outputs.some((row) => row.notFromPictures) ? "underlined: not from the picture · " : "";
    const several = canAdd ? "; Shift or a drag keeps several" : "";
    usual = `${colored ? "stronger: a larger share of the values is on the picture · " : ""}${flagged}point at a word, or click it to keep it${several}`;
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
        onmousedown: () => (pressedAt = number),
        onmouseenter: (/** @type {MouseEvent} */ event) => entered(number, event),
        onmouseleave: () => told.point(-1),
        onfocus: () => told.point(number),
        onblur: () => told.point(-1),
        onclick: (/** @type {MouseEvent} */ event) => choose(number, event.shiftKey),
      },
      el("bdi", {}, row.target),
      isOther(row) ? el("small", { class: "vx-not" }, " not ", el("bdi", {}, row.contrast)) : null,
    );
    return { button, share };
  }

  function keep(/** @type {Span} */ span) {
    kept = span;
    told.keep(span);
  }

  function entered(/** @type {number} */ number, /** @type {MouseEvent} */ event) {
    const isDrag = canAdd && event.buttons === 1 && pressedAt >= 0 && pressedAt !== number;
    if (isDrag) keep([pressedAt, number]);
    else told.point(number);
  }

  /** A click keeps a word, and a click on the same frees it. */
  function choose(/** @type {number} */ number, /** @type {boolean} */ extends_) {
    stop();
    if (canAdd && (extends_ || choosing) && kept[0] >= 0) {
      setChoosing(false);
      keep([kept[0], number]);
    } else keep(sameSpan(kept, [number, number]) ? NO_WORDS : [number, number]);
  }

  function setChoosing(/** @type {boolean} */ on) {
    choosing = on;
    range.setAttribute("aria-pressed", String(on));
  }

  function beginRange() {
    stop();
    setChoosing(!choosing);
    keep(choosing && kept[0] >= 0 ? [kept[0], kept[0]] : kept);
  }

  /** Shift and an arrow keep one more word, or one less. @param {KeyboardEvent} event */
  function extendByKey(event) {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const at = chips.findIndex(({ button }) => button === document.activeElement);
    if (!event.shiftKey || !step || at < 0 || !canAdd) return;
    event.preventDefault();
    stop();
    const next = Math.max(0, Math.min(chips.length - 1, at + step));
    const first = kept[0] >= 0 ? kept[0] : at;
    chips[next].button.focus();
    keep([first, next]);
  }

  function playOrStop() {
    if (timer) return stop();
    const begin = kept[0] >= 0 && kept[1] < outputs.length - 1 ? kept[1] : 0;
    keep([begin, begin]);
    timer = window.setInterval(playNext, STEP);
    sayPlaying();
  }

  /** The next word, or the whole behind the last. */
  function playNext() {
    const next = kept[1] + 1;
    if (next < outputs.length) return keep([next, next]);
    stop();
    keep(NO_WORDS);
  }

  function stop() {
    clearInterval(timer);
    timer = 0;
    sayPlaying();
  }

  function sayPlaying() {
    play.textContent = timer ? "Pause" : "Play";
  }

  /**
   * @param {any} palette @param {Span} shown the words that color the inputs @param {Span} keeps
   * @param {{fed: {share: number}[], sided: boolean} | null} pointed what the part under the pointer adds to each word
   */
  function draw(palette, shown, keeps, pointed) {
    kept = keeps;
    const [first, last] = spanInOrder(keeps);
    const text = outputs.slice(first, last + 1).map((row) => row.target);
    hint.textContent = text.length > 1 && first >= 0 ? `“${text.join(" ")}”, ${text.length} words together` : usual;
    if (choosing) hint.textContent = first < 0 ? "click the first word, then the last" : "click the last word";
    if (!earlier.hidden)
      earlier.textContent =
        earlierText(outputs, shown[0] === shown[1] ? shown[0] : -1) ||
        "Point at a word for what it owes to the words before it.";
    chips.forEach(({ button, share }, number) => {
      const strength = pointed ? pointed.fed[number].share : share;
      const ground = colorAt(strength ?? 0, palette, pointed?.sided ?? false);
      button.style.backgroundColor = strength === null ? "" : css(ground);
      button.style.color = strength === null ? "" : ink(ground);
      button.classList.toggle("vx-focused", isInSpan(shown, number));
      button.classList.toggle("vx-pinned", isInSpan(keeps, number));
      button.setAttribute("aria-pressed", String(isInSpan(keeps, number)));
    });
  }

  return { node, show, draw, stop };
}

/** @param {Span} span @returns {Span} */
function spanInOrder([one, other]) {
  return one <= other ? [one, other] : [other, one];
}

/** @param {Span} span @param {number} number */
function isInSpan(span, number) {
  const [first, last] = spanInOrder(span);
  return first <= number && number <= last;
}
