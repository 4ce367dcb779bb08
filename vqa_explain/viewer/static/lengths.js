// @ts-check
// The values of words and of regions on one axis, at true length, and the switch of the color scales.
import { el, fill, switchOf } from "./dom.js";
import { TEXTS } from "./names.js";
import { amount, twoSided } from "./numbers.js";
import { canShareScale, scaleOf } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */

/** Strips of values. `choose(scale)` is told of "one" or "own". @param {(scale: string) => void} choose */
export function lengthsView(choose) {
  const scales = switchOf(
    "color scales",
    [
      ["one", TEXTS.oneScale],
      ["own", TEXTS.ownScales],
    ],
    choose,
  );
  const strips = el("div", { class: "vx-strips" });
  const note = el("div", { class: "vx-micro" });
  const title = el("span", { class: "vx-small" }, el("b", {}, "True lengths"));
  const more = el("span", { class: "vx-soft vx-hide-xs" });
  title.append(more);
  const node = el("div", { class: "vx-lengths" }, el("div", { class: "vx-cap" }, title, scales.node), strips, note);

  let known = "";

  /** @param {Explanation} explanation @param {any} frame see app.js */
  function show(explanation, frame) {
    const now = JSON.stringify([frame.serial, frame.look.scale]);
    if (now === known) return;
    known = now;
    const kinds = [...new Set(explanation.parts.filter((part) => part.players.length).map((part) => part.player))];
    const ordered = kinds.reverse(); // words first, as they are above
    const together = canShareScale(explanation);
    const valuesOf = (/** @type {string} */ kind) =>
      explanation.parts.filter((part) => part.player === kind).flatMap((part) => part.players.map((one) => one.value));
    const all = ordered.map((kind) => ({ kind, values: valuesOf(kind) }));
    const range = rangeOf(
      explanation,
      all.flatMap(({ values }) => values),
    );
    const rows = all.map(({ kind, values }) => {
      const own = together ? range : rangeOf(explanation, values);
      return strip(explanation, `${values.length} ${kind}${values.length === 1 ? "" : "s"}`, values, own);
    });
    fill(strips, ...rows);
    scales.set(frame.look.scale);
    scales.node.hidden = !together;
    const names = ordered.map((kind) => `${kind}s`).join(" and ");
    more.textContent = kinds.length < 2 ? "" : together ? `, ${names} on one axis` : `, ${names} on axes of their own`;
    note.textContent = noteOf(explanation, ordered, together, frame.look);
  }

  return { node, show };
}

/** @param {Explanation} explanation @param {number[]} values @returns {number[]} */
function rangeOf(explanation, values) {
  const ends = explanation.fromZero === false ? values : [0, ...values];
  return [Math.min(...ends), Math.max(...ends)];
}

/** @param {Explanation} explanation @param {string} label @param {number[]} values @param {number[]} range */
function strip(explanation, label, values, [low, high]) {
  const place = (/** @type {number} */ value) => (high > low ? (100 * (value - low)) / (high - low) : 0);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  const ticks = values.map((value) =>
    el("i", { class: value < 0 ? "vx-tick vx-minus" : "vx-tick", style: { left: `${place(value)}%` } }),
  );
  const span = { left: `${place(least)}%`, width: `${place(most) - place(least)}%` };
  const zero = low <= 0 && high >= 0 ? el("i", { class: "vx-zero", style: { left: `${place(0)}%` } }) : null;
  return el(
    "div",
    { class: twoSided(explanation) ? "vx-strip" : "vx-strip vx-sizes" },
    el("span", {}, label),
    el("span", { class: "vx-axis", "aria-hidden": "true" }, el("i", { class: "vx-span", style: span }), ...ticks, zero),
    el("span", { class: "vx-micro vx-number" }, `${amount(explanation, least)} … ${amount(explanation, most)}`),
  );
}

/** @param {Explanation} explanation @param {string[]} kinds @param {boolean} together @param {any} look */
function noteOf(explanation, kinds, together, look) {
  if (kinds.length < 2) return "";
  const names = kinds.map((kind) => `${kind}s`).join(" and ");
  if (!together) return `Colors: ${names} have scales of their own, since their values cannot be compared.`;
  if (look.scale === "one") return `Colors: one scale for ${names}.`;
  const timesOf = (/** @type {string} */ kind) => {
    const part = explanation.parts.find((one) => one.player === kind && one.players.length);
    const { times } = scaleOf(explanation, /** @type {any} */ (part), look);
    return `${kind}s ×${times < 1.05 ? 1 : times.toFixed(times < 10 ? 1 : 0)}`;
  };
  return `Colors: ${kinds.map(timesOf).join(", ")}, so that each kind fills its scale.`;
}
