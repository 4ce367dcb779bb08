// @ts-check
// The legend of the map: a histogram of values with a threshold to drag, and the ends of the color scale.
import { rampText } from "./color.js";
import { el, fill, onKey } from "./dom.js";
import { isRaised, TEXTS, unitName } from "./names.js";
import { amount, histogram, valueText } from "./numbers.js";
import { lowOf } from "./scales.js";

const MOST_HIDDEN = 0.98; // of full color, which a threshold never hides

/**
 * Words and numbers at the two ends of a scale.
 * @param {any} explanation
 * @param {{bare: number, full: number}} scale
 */
export function endsOf(explanation, scale) {
  const low = lowOf(explanation);
  const start = scale.bare + low * (scale.full - scale.bare);
  const numbers = [start === 0 ? "0" : amount(explanation, start), amount(explanation, scale.full)];
  if (low === 0) return { numbers, words: ["", ""] };
  if (isRaised(explanation)) return { numbers, words: ["− lowers it", "+ raises it"] };
  const against = explanation.contrast ? `− for ${explanation.contrast}` : `− against ${explanation.target}`;
  return { numbers, words: [against, `+ for ${explanation.target}`] };
}

/** What is said of errors below a map's legend. @param {any} frame @param {any} part */
export function errorsText(frame, part) {
  if (frame.pairPlace) return TEXTS.unsureLines;
  return part.players.some((/** @type {any} */ one) => one.error) ? TEXTS.unsure : TEXTS.noErrors;
}

/** A plain scale, without a histogram: for columns. */
export function rampView() {
  const node = el("div", { class: "vx-legend vx-plain" });

  /** @param {any} explanation @param {any} scale @param {any} palette @param {boolean} sided */
  function show(explanation, scale, palette, sided, unit = unitName(explanation)) {
    const { numbers, words } = endsOf(explanation, scale);
    const ramp = el("i", { class: "vx-ramp", style: { background: rampText(lowOf(explanation), palette, sided) } });
    fill(
      node,
      el("span", {}, el("b", { class: "vx-against" }, words[0]), " ", numbers[0]),
      ramp,
      el("span", {}, numbers[1], " ", el("b", { class: "vx-for" }, words[1])),
      el("span", { class: "vx-unit vx-soft" }, unit),
    );
  }

  return { node, show };
}

/** The map's legend. `change(share)` is told of another threshold. @param {(share: number) => void} change */
export function legendView(change) {
  const bars = el("div", { class: "vx-histogram", "aria-hidden": "true" });
  const ramp = el("i", { class: "vx-ramp" });
  const hidden = el("i", { class: "vx-hidden" });
  const grip = el("i", { class: "vx-grip" });
  const slider = el(
    "div",
    { class: "vx-threshold", role: "slider", tabindex: "0", "aria-label": "Hide values below", "aria-valuemin": "0" },
    bars,
    ramp,
    hidden,
    grip,
  );
  const [left, middle, right] = [el("span"), el("span", { class: "vx-soft" }), el("span")];
  const [key, unit] = [el("span"), el("span", { class: "vx-unit" })];
  const node = el(
    "div",
    { class: "vx-legend" },
    slider,
    el("div", { class: "vx-ends" }, left, middle, right),
    el("div", { class: "vx-ends" }, key, unit),
  );
  /** @type {any} */
  let now = { low: -1, share: 0 };
  let dragging = false;

  /** @param {number} share of full color, from the value without color */
  function set(share) {
    change(share < 0.02 ? 0 : Math.min(MOST_HIDDEN, share));
  }

  function drag(/** @type {PointerEvent} */ event) {
    const bounds = slider.getBoundingClientRect();
    const at = (event.clientX - bounds.left) / bounds.width;
    set(Math.abs(now.low + at * (1 - now.low)));
  }

  slider.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    dragging = true;
    slider.setPointerCapture(event.pointerId);
    drag(event);
  });
  slider.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (dragging) drag(event);
  });
  for (const end of ["pointerup", "pointercancel"]) slider.addEventListener(end, () => (dragging = false));
  onKey(slider, (event) => {
    const step = /** @type {Record<string, number>} */ ({ ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 })[
      event.key
    ];
    if (event.key === "Home") set(0);
    else if (step) set(now.share + 0.05 * step);
    else return;
    event.preventDefault();
  });

  /**
   * @param {any} explanation @param {{bare: number, full: number}} scale @param {number[]} values of the map's players
   * @param {any} frame see app.js @param {string} said what the hatching or the lines mean
   */
  function show(explanation, scale, values, frame, said) {
    const low = lowOf(explanation);
    const { numbers, words } = endsOf(explanation, scale);
    const share = frame.look.threshold;
    now = { low, share };
    const counts = histogram(values, scale.bare + low * (scale.full - scale.bare), scale.full);
    const top = Math.sqrt(Math.max(1, ...counts));
    const height = (/** @type {number} */ count) => `${count ? Math.max(2, (26 * Math.sqrt(count)) / top) : 0}px`;
    fill(bars, ...counts.map((count) => el("i", { style: { height: height(count) } })));
    ramp.style.background = rampText(low, frame.palette, frame.sided);
    const zero = low ? 50 : 0;
    const width = low ? 50 * share : 100 * share;
    Object.assign(hidden.style, { left: `${zero - (low ? width : 0)}%`, width: `${low ? 2 * width : width}%` });
    grip.style.left = `${zero + width}%`;
    const value = scale.bare + share * (scale.full - scale.bare);
    const text = share ? `hidden below ${valueText(value).replace("+", "")}` : "nothing is hidden";
    slider.setAttribute("aria-valuemax", String(scale.full));
    slider.setAttribute("aria-valuenow", String(value));
    slider.setAttribute("aria-valuetext", text);
    fill(left, el("b", { class: "vx-against" }, words[0]), " ", el("span", { class: "vx-soft" }, numbers[0]));
    middle.textContent = share ? text : TEXTS.drag;
    middle.classList.toggle("vx-hide-s", !share);
    fill(right, el("span", { class: "vx-soft" }, numbers[1]), " ", el("b", { class: "vx-for" }, words[1]));
    const mark = said === TEXTS.unsure ? "vx-hatchkey" : "vx-linekey";
    fill(key, said === TEXTS.noErrors ? null : el("i", { class: mark }), said);
    unit.textContent = unitName(explanation);
    unit.title = explanation.unitText;
  }

  return { node, show };
}
