// A text: each word a button on the color of its value; a fixed text is pale.
import { css, ink, mapOf, over, PAPER, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { amount, pieces } from "./layout.js";

/**
 * A text's words. `act(kind, index)` is told of "enter", "leave" and "toggle"; `mark` names the attribute of
 * the buttons that holds a word's number.
 */
export function wordsView(name, act, kind = "vx-question", mark = "data-word") {
  const node = el("div", { class: kind, dir: "auto", role: "group", "aria-label": name });
  let buttons = [];
  let shown = null;

  function show(explanation, part, live) {
    shown = explanation;
    node.classList.toggle("vx-fixed", part.fixed);
    buttons = [];
    const parts = pieces(part.title, part.players).map((piece) => {
      if (piece.word < 0) return el("span", {}, piece.text);
      const word = part.players[piece.word];
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
        el("small", { dir: "ltr" }, amount(explanation, word.value, word.error)),
      );
      buttons.push(button);
      return button;
    });
    fill(node, ...parts);
  }

  /** Colors the words by shares of full color; marks those away, the one in focus, and those not told from zero. */
  function draw({ shares, map, away, focused, unsure = new Set() }) {
    buttons.forEach((button, index) => {
      const value = unsure.has(index) ? 0 : shares[index];
      const ground = over(tint(value, mapOf(shown, map)), PAPER);
      button.classList.toggle("vx-unsure", unsure.has(index));
      button.style.backgroundColor = css(ground);
      button.style.color = ink(ground);
      button.classList.toggle("vx-dropped", away.has(index));
      button.classList.toggle("vx-focused", focused === index);
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(away.has(index)));
    });
  }

  return { node, show, draw };
}
