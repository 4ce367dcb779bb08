// An input as a list of bars: a table's columns, and the players of every kind that has no view of its own.
import { css, mapOf, over, PAPER, tint } from "./color.js";
import { el, fill } from "./dom.js";
import { amount, barPlaces } from "./layout.js";

/** A list of bars. `act(kind, index)` is told of "enter", "leave" and "toggle". */
export function barsView(name, act, kind = "vx-bars", mark = "data-player") {
  const node = el("div", { class: kind, role: "group", "aria-label": name });
  let rows = [];
  let shown = null;

  function show(explanation, part, live) {
    shown = explanation;
    node.classList.toggle("vx-fixed", part.fixed);
    const places = barPlaces(part.players, explanation.fromZero !== false, part.full);
    rows = part.players.map((player, index) => row(player, index, places[index], live));
    if (part.fixed) fill(node, el("span", {}, part.title || "fixed"));
    else fill(node, ...rows.map((one) => one.node));
  }

  function row(player, index, place, live) {
    const percent = (share) => `${(100 * share).toFixed(2)}%`;
    const bar = el("i", { class: "vx-bar", style: { left: percent(place.start), width: percent(place.width) } });
    const whisker = place.whisker
      ? el("i", {
          class: "vx-whisker",
          style: { left: percent(place.whisker.start), width: percent(place.whisker.width) },
        })
      : null;
    const zero = el("i", { class: "vx-zero", style: { left: percent(place.zero) } });
    const button = el(
      "button",
      {
        type: "button",
        class: "vx-column",
        "aria-pressed": live ? "false" : null,
        [mark]: index,
        onmouseenter: () => act("enter", index),
        onmouseleave: () => act("leave", index),
        onfocus: () => act("enter", index),
        onblur: () => act("leave", index),
        onclick: () => act("toggle", index),
      },
      el("bdi", {}, player.text),
      el("span", { class: "vx-rail", "aria-hidden": "true" }, zero, bar, whisker),
      el("span", { class: "vx-number", dir: "ltr" }, amount(shown, player.value, player.error)),
    );
    return { node: button, bar };
  }

  /** Colors the bars by shares of full color; marks those away, the one in focus, and those not told from zero. */
  function draw({ shares, map, away, focused, unsure = new Set() }) {
    rows.forEach(({ node: button, bar }, index) => {
      const value = unsure.has(index) ? 0 : shares[index];
      bar.style.backgroundColor = css(over(tint(value, mapOf(shown, map)), PAPER));
      button.classList.toggle("vx-unsure", unsure.has(index));
      button.classList.toggle("vx-dropped", away.has(index));
      button.classList.toggle("vx-focused", focused === index);
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(away.has(index)));
    });
  }

  return { node, show, draw };
}
