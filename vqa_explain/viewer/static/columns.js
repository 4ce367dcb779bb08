// @ts-check
// Explanations beside each other: columns with one cursor, each with its own scale, and how far they agree.
import { differences, headingOf, refusal } from "./compare.js";
import { el, fill } from "./dom.js";
import { partOf } from "./layout.js";
import { rampView } from "./legend.js";
import { listsView } from "./lists.js";
import { methodTitle } from "./names.js";
import { largest } from "./numbers.js";
import { pictureView } from "./picture.js";
import { scaleOf, sharesOf, unsureOf } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */

const NOTHING = new Set();

/**
 * @param {{act: import("./types").Act, actOther: import("./types").Act, turn: (name: string, view: any) => void}} told
 */
export function columnsView(told) {
  const columns = el("div", { class: "vx-cols" });
  const agreement = el("p", { class: "vx-agreement vx-small" });
  const node = el("div", { class: "vx-compare", hidden: true }, columns, agreement);
  /** @type {any[]} */
  let made = [];

  /** @param {Explanation} explanation @param {Explanation | null} compared @param {string} said how far they agree */
  function show(explanation, compared, said) {
    node.hidden = !compared;
    agreement.textContent = compared ? said : "";
    made = [];
    if (!compared) return fill(columns);
    made.push(column(explanation, methodTitle(explanation.method), explanation.explained, "explanation", told.act));
    made.push(column(compared, headingOf(explanation, compared), compared.explained, "compared", told.actOther));
    if (!refusal(explanation, compared)) made.push(difference(explanation, compared));
    fill(columns, ...made.map((one) => one.node));
  }

  function column(
    /** @type {Explanation} */ explanation,
    /** @type {string} */ title,
    /** @type {string} */ about,
    /** @type {string} */ label,
    /** @type {import("./types").Act} */ act,
  ) {
    const lists = listsView(act, true);
    lists.show(explanation, false);
    const maps = mapsOf(explanation, label, act);
    const heading = [el("h2", {}, el("span", {}, title)), el("p", { class: "vx-small vx-soft" }, about)];
    return {
      node: el(
        "section",
        { class: "vx-col", "data-column": label },
        ...heading,
        ...maps.map(({ view }) => view.node),
        lists.node,
      ),
      explanation,
      maps,
      lists,
      values: null,
    };
  }

  function difference(/** @type {Explanation} */ explanation, /** @type {Explanation} */ compared) {
    const signed = /** @type {any} */ ({
      ...explanation,
      signed: true,
      fromZero: true,
      target: "the first",
      contrast: "the second",
    });
    const maps = mapsOf(signed, "difference", told.act).filter(({ name }) => partOf(compared, name)?.players.length);
    const whole = explanation.fromZero === false ? "range of values" : "largest value";
    const about = `first minus second, in shares of each one's ${whole}`;
    const heading = [el("h2", {}, "Difference"), el("p", { class: "vx-small vx-soft" }, about)];
    const values = new Map(
      maps.map(({ name }) => [name, differences(partOf(explanation, name), partOf(compared, name))]),
    );
    return {
      node: el(
        "section",
        { class: "vx-col", "data-column": "difference" },
        ...heading,
        ...maps.map(({ view }) => view.node),
      ),
      explanation: signed,
      maps,
      lists: null,
      values,
    };
  }

  function mapsOf(
    /** @type {Explanation} */ explanation,
    /** @type {string} */ label,
    /** @type {import("./types").Act} */ act,
  ) {
    const pictures = explanation.parts.filter((part) => part.size && part.players.length);
    return pictures.map((part) => {
      const name = part.alone ? label : `${part.name}, ${label}`;
      const view = pictureView(
        name,
        (kind, index) => act(part.name, kind, index),
        (turned) => told.turn(part.name, turned),
      );
      view.show(explanation, part);
      view.say(part.alone ? "" : part.name);
      const legend = rampView();
      view.node.append(legend.node);
      return { name: part.name, view, legend };
    });
  }

  /**
   * @param {any} frame see app.js
   * @param {(name: string) => number} focusOther the region of the second under the cursor
   */
  function draw(frame, focusOther) {
    made.forEach((one, number) => {
      const { explanation } = one;
      const sided = one.values ? true : number ? frame.sidedOther : frame.sided;
      const focusOf = number === 1 ? focusOther : frame.focusOf;
      for (const { name, view, legend } of one.maps) {
        const part = partOf(explanation, name);
        const values = one.values?.get(name);
        const scale = values ? { bare: 0, full: largest(values), times: 1 } : scaleOf(explanation, part, frame.look);
        const shares = values ? values.map((/** @type {number} */ value) => value / scale.full) : sharesOf(part, scale);
        view.draw({
          ...frame.common,
          sided,
          kind: "map",
          shares: explanation.byPlayer || frame.look.unit === "regions" || values ? shares : null,
          unsure: values ? NOTHING : unsureOf(part),
          written: values?.map((/** @type {number} */ value) => [value, null]),
          away: NOTHING,
          only: null,
          edges: true,
          labeled: true,
          threshold: frame.look.threshold,
          strength: frame.look.strength,
          smooth: frame.look.smooth,
          view: frame.viewOf(name),
          focused: focusOf(name),
        });
        legend.show(explanation, scale, frame.palette, sided, values ? "shares" : undefined);
      }
      const hot = (/** @type {string} */ name) => new Set([focusOf(name)].filter((index) => index >= 0));
      one.lists?.draw({ ...frame, pairs: new Map(), pinned: null, sided, hotOf: hot, awayOf: () => NOTHING });
    });
  }

  return { node, show, draw };
}
