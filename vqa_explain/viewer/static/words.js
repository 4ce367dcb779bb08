// The question: each word a button on the color of its value.
import { css, ink, mapOf, over, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { amount, pieces } from "./layout.js";

const PAPER = [255, 255, 255];

/** A question's words. `act(kind, index)` is told of "enter", "leave" and "toggle". */
export function questionView(name, act, kind = "vx-question") {
  const node = el("div", { class: kind, dir: "auto", role: "group", "aria-label": name });
  let buttons = [];
  let shown = null;

  function show(explanation, live) {
    shown = explanation;
    if (explanation.question === null) {
      buttons = [];
      fill(node, el("span", { class: "vx-soft" }, "Image classification: no question"));
      return;
    }
    buttons = [];
    const parts = pieces(explanation.question, explanation.words).map((piece) => {
      if (piece.word < 0) return el("span", {}, piece.text);
      const word = explanation.words[piece.word];
      const button = el(
        "button",
        {
          type: "button",
          class: "vx-word",
          "aria-pressed": live ? "false" : null,
          [kind === "vx-question" ? "data-word" : "data-compared-word"]: piece.word,
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

  /** Colors the words by shares of full color; marks those dropped, the one in focus, and those not told from zero. */
  function color(shares, map, dropped, focused, unsure = new Set()) {
    buttons.forEach((button, index) => {
      const value = unsure.has(index) ? 0 : shares[index];
      const ground = over(tint(value, mapOf(shown, map)), PAPER);
      button.classList.toggle("vx-unsure", unsure.has(index));
      button.style.backgroundColor = css(ground);
      button.style.color = ink(ground);
      button.classList.toggle("vx-dropped", dropped.has(index));
      button.classList.toggle("vx-focused", focused === index);
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(dropped.has(index)));
    });
  }

  return { node, show, color };
}
