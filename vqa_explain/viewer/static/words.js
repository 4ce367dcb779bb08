// @ts-check
// A text: each word a chip in the color of its value; a fixed text is pale.
import { colorAt, css, ink } from "./color.js";
import { el, fill, roving } from "./dom.js";
import { pieces } from "./layout.js";
import { amount, dependsMark } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

/**
 * A text's words. `act(kind, index)` is told of "enter", "leave" and "toggle"; `mark` names the attribute of the
 * buttons that holds a word's number.
 * @param {string} name @param {(kind: any, index: number) => void} act
 */
export function wordsView(name, act, kind = "vx-question", mark = "data-word") {
  const node = el("div", { class: kind, dir: "auto", role: "group", "aria-label": name });
  const rove = roving(node, ".vx-word");
  /** @type {{button: any, value: any, error: any, depends: any}[]} */
  let chips = [];
  let known = "";

  function show(/** @type {Explanation} */ explanation, /** @type {Part} */ part, /** @type {boolean} */ live) {
    node.classList.toggle("vx-fixed", part.fixed);
    const now = JSON.stringify([part.title, part.fixed, live, part.players.map((word) => [word.start, word.end])]);
    if (now !== known) build(part, live);
    known = now; // the same words keep their buttons, and the one in focus keeps the focus
    chips.forEach(({ value, error, depends }, index) => {
      const word = part.players[index];
      const [text, ...rest] = amount(explanation, word.value, word.error).split(" ");
      value.textContent = text;
      error.textContent = rest.length ? ` ${rest.join(" ")}` : "";
      depends.textContent = dependsMark(word);
    });
  }

  function build(/** @type {Part} */ part, /** @type {boolean} */ live) {
    chips = [];
    const nodes = pieces(part.title, part.players).map((piece) => {
      if (piece.word < 0) return el("span", { class: /^ +$/.test(piece.text) ? "vx-space" : null }, piece.text);
      const [value, error, depends] = [el("span", {}), el("i", {}), el("b", { class: "vx-depends" })];
      const button = el(
        "button",
        {
          type: "button",
          class: "vx-word",
          "aria-pressed": live ? "false" : null,
          [mark]: piece.word,
          onmouseenter: () => act("enter", piece.word),
          onmouseleave: () => act("leave", piece.word),
          onfocus: () => act("enter", piece.word),
          onblur: () => act("leave", piece.word),
          onclick: () => act("toggle", piece.word),
        },
        el("bdi", {}, piece.text),
        el("small", { dir: "ltr" }, value, error, depends),
      );
      chips.push({ button, value, error, depends });
      return button;
    });
    fill(node, ...nodes);
    rove();
  }

  /**
   * Colors the words by shares of full color; marks those away, the one in focus, and those not told from zero.
   * @param {{shares: number[], unsure: Set<number>, palette: any, sided: boolean, away: Set<number>, hot: Set<number>, pinned: number}} how
   */
  function draw({ shares, unsure, palette, sided, away, hot, pinned }) {
    chips.forEach(({ button }, index) => {
      const ground = colorAt(unsure.has(index) ? 0 : shares[index], palette, sided);
      button.style.backgroundColor = away.has(index) ? "" : css(ground);
      button.style.color = away.has(index) ? "" : ink(ground);
      button.classList.toggle("vx-unsure", unsure.has(index));
      button.classList.toggle("vx-dropped", away.has(index));
      button.classList.toggle("vx-focused", hot.has(index));
      button.classList.toggle("vx-pinned", pinned === index);
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(away.has(index)));
    });
  }

  return { node, show, draw };
}
