// The question: each word a button on the colour of its value.
import { css, ink, over, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { pieces, points } from "./layout.js";

const PAPER = [255, 255, 255];

/** A question's words. `act(kind, index)` is told of "enter", "leave" and "toggle". */
export function questionView(name, act, kind = "vx-question") {
  const node = el("div", { class: kind, dir: "auto", role: "group", "aria-label": name });
  let buttons = [];

  function show(explanation, live) {
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
        el("small", { dir: "ltr" }, points(word.value, word.error)),
      );
      buttons.push(button);
      return button;
    });
    fill(node, ...parts);
  }

  /** Colours the words by values over a scale, and marks those that are dropped and the one in focus. */
  function color(values, scale, map, dropped, focused) {
    buttons.forEach((button, index) => {
      const ground = over(tint(values[index] / scale, map), PAPER);
      button.style.backgroundColor = css(ground);
      button.style.color = ink(ground);
      button.classList.toggle("vx-dropped", dropped.has(index));
      button.classList.toggle("vx-focused", focused === index);
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(dropped.has(index)));
    });
  }

  return { node, show, color };
}
