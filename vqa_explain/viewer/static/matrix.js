// @ts-check
// The interactions of words with regions as a matrix.
import { colorAt, css, ink } from "./color.js";
import { cropOf } from "./crops.js";
import { el, fill } from "./dom.js";
import { ratio } from "./findings.js";
import { partOf } from "./layout.js";
import { shortName } from "./names.js";
import { points, valueText } from "./numbers.js";

const MATRIX_ROWS = 11; // that fit into a pane and can be read

/**
 * The matrix of one pair of inputs. `pin(place)` is told of a chosen word.
 * @param {(place: import("./types").Place) => void} pin
 */
export function matrixView(pin) {
  const node = el("div", { class: "vx-matrix-box" });
  let known = "";

  /** @param {import("./types").Explanation} explanation @param {any} frame */
  function draw(explanation, frame) {
    const { pinned } = frame;
    const now = JSON.stringify([frame.serial, pinned, frame.pairScale, frame.look.map, frame.look.dark]);
    if (now === known) return; // its buttons stay, so that a press of the pointer ends on the one it began on
    known = now;
    const joint =
      explanation.joint.find((one) => pinned && (one.first === pinned.part || one.second === pinned.part)) ??
      explanation.joint[0];
    if (!joint) return fill(node);
    const [first, second] = [partOf(explanation, joint.first), partOf(explanation, joint.second)];
    const flipped = Boolean(first.size) && !second.size; // words are columns
    const [columns, rows] = flipped ? [second, first] : [first, second];
    const wide = joint.values.shape[1];
    const at = (/** @type {number} */ column, /** @type {number} */ row) =>
      flipped ? row * wide + column : column * wide + row;
    const ratioAt = (/** @type {number} */ i) => ratio(joint.values.data[i], joint.errors?.data[i]);
    const best = (/** @type {number} */ row) =>
      Math.max(
        ...columns.players.map((/** @type {any} */ _, /** @type {number} */ column) => ratioAt(at(column, row))),
      );
    const chosen = [...rows.players.keys()].sort((a, b) => best(b) - best(a)).slice(0, MATRIX_ROWS);
    const cell = (/** @type {number} */ column, /** @type {number} */ row) => {
      const i = at(column, row);
      const [value, error] = [joint.values.data[i], joint.errors?.data[i] ?? null];
      const unsure = ratioAt(i) < 2 && error !== null;
      const ground = colorAt(value / frame.pairScale, frame.palette);
      const style = unsure ? {} : { background: css(ground), color: ink(ground) };
      const title = `${shortName(columns, column)} and ${shortName(rows, row)}: ${points(value, error)}`;
      return el("td", { class: unsure ? "vx-unsure" : null, style, title }, unsure ? "" : valueText(value, error));
    };
    const header = columns.players.map((/** @type {any} */ player, /** @type {number} */ column) =>
      el(
        "th",
        { scope: "col" },
        el(
          "button",
          {
            type: "button",
            "aria-pressed": String(pinned?.part === columns.name && pinned.index === column),
            onclick: () => pin({ part: columns.name, index: column }),
          },
          player.text ?? shortName(columns, column),
        ),
      ),
    );
    const lines = chosen.map((row) =>
      el(
        "tr",
        {},
        el("th", { scope: "row" }, shortName(rows, row), rows.size ? cropOf(rows, row, 20) : null),
        ...columns.players.map((/** @type {any} */ _, /** @type {number} */ column) => cell(column, row)),
      ),
    );
    const table = el(
      "table",
      { class: "vx-matrix", "aria-label": explanation.pairsTitle },
      el("thead", {}, el("tr", {}, el("td"), ...header)),
      el("tbody", {}, ...lines),
    );
    fill(node, table);
  }

  return { node, draw };
}
