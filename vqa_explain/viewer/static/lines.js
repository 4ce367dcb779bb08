// @ts-check
// Lines from a word to the regions that it works with: as wide as the value is large, dashed where it is unsure.
import { colorAt, css } from "./color.js";
import { shapesOf } from "./crops.js";
import { svg } from "./dom.js";
import { partOf } from "./layout.js";

const SURE = 5; // lines to pairs beyond two errors
const UNSURE = 2; // and to pairs below

/**
 * Lines over the stage.
 * @param {HTMLElement} stage
 * @param {(name: string) => any} groupOf the pictures of an input
 */
export function linesView(stage, groupOf) {
  const node = svg("svg", { class: "vx-lines", "aria-hidden": "true" });

  /**
   * The middle of a player in the stage, or null where it is not on the screen.
   * @param {any} explanation
   * @param {string} name
   * @param {number} index
   * @param {any} frame
   */
  function placeOf(explanation, name, index, frame) {
    const part = partOf(explanation, name);
    const whole = stage.getBoundingClientRect();
    if (!part.size) {
      const chip = stage.querySelector(
        `.vx-part-list:nth-child(${listNumber(explanation, name)}) :is([data-word="${index}"], [data-player="${index}"])`,
      );
      const found = chip ?? null;
      if (!found) return null;
      const box = found.getBoundingClientRect();
      return [box.left + box.width / 2 - whole.left, box.bottom - whole.top];
    }
    const canvas = groupOf(name)?.heat?.canvas;
    if (!canvas?.clientWidth) return null;
    const box = canvas.getBoundingClientRect();
    const shape = shapesOf(part)[index];
    const { zoom, x, y } = frame.viewOf(name);
    const [height, width] = part.labels.shape;
    const across = (shape.x / width) * zoom + x;
    const down = (shape.y / height) * zoom + y;
    if (across < 0 || across > 1 || down < 0 || down > 1) return null;
    return [box.left - whole.left + across * box.width, box.top - whole.top + down * box.height];
  }

  /**
   * From a word to its name over the map, where the lines begin, so that they cross nothing else.
   * @param {number[]} from
   * @returns {[any, number[]]}
   */
  function wayOverName([x, y]) {
    const name = stage.querySelector(".vx-pin");
    if (!name) return [null, [x, y]];
    const [box, whole] = [name.getBoundingClientRect(), stage.getBoundingClientRect()];
    const [to, top] = [box.left + box.width / 2 - whole.left, box.top - whole.top];
    const middle = (y + 3 + top) / 2;
    const d = `M${x} ${y + 3}V${middle}H${to}V${top}`;
    return [svg("path", { d, class: "vx-way" }), [to, box.bottom - whole.top + 1]];
  }

  function listNumber(/** @type {any} */ explanation, /** @type {string} */ name) {
    const lists = explanation.parts.filter((/** @type {any} */ part) => !part.size);
    return lists.findIndex((/** @type {any} */ part) => part.name === name) + 1;
  }

  /** @param {any} explanation @param {any} frame see app.js */
  function draw(explanation, frame) {
    const place = frame.pairPlace;
    const from = place && !frame.look.peek ? placeOf(explanation, place.part, place.index, frame) : null;
    if (!from) return node.replaceChildren();
    const [way, start] = partOf(explanation, place.part).size ? [null, from] : wayOverName(from);
    const all = [...frame.pairs.values()].flatMap((pair) =>
      pair.values.map((/** @type {number} */ value, /** @type {number} */ index) => {
        return { name: pair.name, value, index, unsure: pair.unsure.has(index) };
      }),
    );
    all.sort((one, other) => Math.abs(other.value) - Math.abs(one.value));
    const sure = all.filter((one) => !one.unsure).slice(0, SURE);
    const unsure = all.filter((one) => one.unsure && one.value !== 0).slice(0, UNSURE);
    const drawn = [...unsure, ...sure.reverse()].flatMap((one) => lineTo(explanation, start, one, frame));
    node.replaceChildren(...(way ? [way] : []), ...drawn);
  }

  function lineTo(
    /** @type {any} */ explanation,
    /** @type {number[]} */ from,
    /** @type {any} */ one,
    /** @type {any} */ frame,
  ) {
    const to = placeOf(explanation, one.name, one.index, frame);
    if (!to) return [];
    const share = one.value / frame.pairScale;
    const wide = one.unsure ? 1.5 : 1.2 + 5.5 * Math.min(1, Math.abs(share));
    const stroke = one.unsure ? "var(--vx-ink-3)" : css(colorAt(Math.sign(share), frame.palette));
    const [[x0, y0], [x1, y1]] = [from, to];
    const lift = Math.abs(y1 - y0) > 60 ? 14 : 0; // above the value that is written there
    const end = y1 - Math.sign(y1 - y0) * lift;
    const d = `M${x0} ${y0} C${x0} ${y0 + (end - y0) * 0.5} ${x1} ${end - (end - y0) * 0.55} ${x1} ${end}`;
    return [
      svg("path", { d, class: "vx-halo", style: { "stroke-width": `${wide + 2.5}px` } }),
      svg("path", {
        d,
        style: { stroke, "stroke-width": `${wide}px`, "stroke-dasharray": one.unsure ? "4 4" : "none" },
      }),
      svg("circle", { cx: x1, cy: end, r: Math.max(3, wide * 0.75), style: { fill: stroke } }),
    ];
  }

  return { node, draw };
}
