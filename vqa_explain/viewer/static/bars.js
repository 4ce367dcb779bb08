// @ts-check
// An input as a list of bars: a table's columns, and the players of every kind that has no view of its own.
import { colorAt, css } from "./color.js";
import { el, fill, roving } from "./dom.js";
import { barPlaces } from "./layout.js";
import { amount, dependsMark } from "./numbers.js";
import { scaleOf } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

/** @param {number} share */
function inPercent(share) {
  return `${(100 * share).toFixed(2)}%`;
}

/**
 * Zero, a bar, a whisker, and a bracket around what several fills give, on a rail.
 * @param {{zero: number, start: number, width: number, whisker: any, band: any}} place
 * @returns {{rail: HTMLElement, bar: HTMLElement}}
 */
export function barOn(place) {
  const bar = el("i", { class: "vx-bar", style: { left: inPercent(place.start), width: inPercent(place.width) } });
  const piece = (/** @type {string} */ kind, /** @type {any} */ ends) =>
    ends ? el("i", { class: kind, style: { left: inPercent(ends.start), width: inPercent(ends.width) } }) : null;
  const error = piece("vx-whisker", place.whisker);
  const band = piece("vx-band", place.band);
  const zero = el("i", { class: "vx-zero", style: { left: inPercent(place.zero) } });
  return { rail: el("span", { class: "vx-rail", "aria-hidden": "true" }, zero, bar, error, band), bar };
}

/**
 * A list of bars. `act(kind, index)` is told of "enter", "leave" and "toggle".
 * @param {string} name
 * @param {(kind: any, index: number) => void} act
 */
export function barsView(name, act, kind = "vx-bars", mark = "data-player") {
  const node = el("div", { class: kind, role: "group", "aria-label": name });
  const rove = roving(node, ".vx-column");
  /** @type {any[]} */
  let rows = [];

  function show(/** @type {Explanation} */ explanation, /** @type {Part} */ part, /** @type {boolean} */ live) {
    node.classList.toggle("vx-fixed", part.fixed);
    const { full } = scaleOf(explanation, part, { scale: "own" });
    const places = barPlaces(part.players, explanation.fromZero !== false, full);
    rows = part.players.map((player, index) => {
      const { rail, bar } = barOn(places[index]);
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
        rail,
        el(
          "span",
          { class: "vx-number", dir: "ltr" },
          amount(explanation, player.value, player.error),
          dependsMark(player),
        ),
      );
      return { node: button, bar };
    });
    if (part.fixed) fill(node, el("span", {}, part.title || "fixed"));
    else fill(node, ...rows.map((one) => one.node));
    rove();
  }

  /** As words are drawn. @param {any} how */
  function draw({ shares, unsure, palette, sided, away, hot }) {
    rows.forEach(({ node: button, bar }, index) => {
      bar.style.backgroundColor = css(colorAt(unsure.has(index) ? 0 : shares[index], palette, sided));
      button.classList.toggle("vx-unsure", unsure.has(index));
      button.classList.toggle("vx-dropped", away.has(index));
      button.classList.toggle("vx-focused", hot.has(index));
      if (button.hasAttribute("aria-pressed")) button.setAttribute("aria-pressed", String(away.has(index)));
    });
  }

  return { node, show, draw };
}
