// @ts-check
// The frames of a video: one is shown large, and below it a strip of all with a slider.
import { paletteOf } from "./color.js";
import { el, fill, roving } from "./dom.js";
import { scaleOf, sharesOf } from "./scales.js";
import { painted } from "./thumbs.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

const LEAST_FRAMES = 2;

/**
 * The frames of the explanation's one video, in order; none where it has other pictures too.
 * @param {Explanation} explanation @returns {Part[]}
 */
export function framesOf(explanation) {
  const pictures = explanation.parts.filter((part) => part.size);
  const names = pictures.map((part) => /^(.*) frame \d+$/.exec(part.name)?.[1]);
  const same = pictures.length >= LEAST_FRAMES && names[0] !== undefined && names.every((name) => name === names[0]);
  return same ? pictures : [];
}

/** The strip. `choose(number)` is told of another frame. @param {(number: number) => void} choose */
export function stripView(choose) {
  const slider = el("input", {
    ...{ type: "range", min: 0, step: 1, class: "vx-film-slider", "aria-label": "frame" },
    oninput: () => choose(Number(slider.value)),
  });
  const frames = el("div", { class: "vx-film-frames", role: "group", "aria-label": "frames" });
  const node = el("div", { class: "vx-film", hidden: true }, slider, frames);
  const rove = roving(frames, "button");
  /** @type {any[]} */ let buttons = [];
  let known = "";

  /** @param {Explanation} explanation @param {any} look @param {number} serial @param {boolean} sided @param {number} chosen */
  function draw(explanation, look, serial, sided, chosen) {
    const parts = framesOf(explanation);
    node.hidden = parts.length === 0;
    if (node.hidden) return;
    const now = JSON.stringify([serial, look.map, look.dark, look.scale]);
    if (now !== known) build(explanation, parts, look, sided);
    known = now;
    slider.value = String(chosen);
    slider.setAttribute("aria-valuetext", parts[chosen].name);
    for (const [number, button] of buttons.entries()) button.setAttribute("aria-pressed", String(number === chosen));
  }

  function build(
    /** @type {Explanation} */ explanation,
    /** @type {Part[]} */ parts,
    /** @type {any} */ look,
    /** @type {boolean} */ sided,
  ) {
    const how = { sided, palette: paletteOf(look.map, look.dark), dark: look.dark };
    slider.max = String(parts.length - 1);
    buttons = parts.map((part, number) => {
      const shares = part.players.length ? sharesOf(part, scaleOf(explanation, part, look)) : null;
      const map = painted(part, part.fixed ? "picture" : "map", { ...how, shares });
      const name = el("span", { class: "vx-micro" }, String(number + 1));
      return el("button", { type: "button", title: part.name, onclick: () => choose(number) }, map, name);
    });
    fill(frames, ...buttons);
    rove();
  }

  return { node, draw };
}
