// @ts-check
// Explanations beside each other: columns with one cursor, each with its own scale, and how far they agree.
import { columnTools } from "./adding.js";
import { agreementView } from "./agreement.js";
import { barsView } from "./bars.js";
import { differences, refusal } from "./compare.js";
import { el, fill } from "./dom.js";
import { partOf } from "./layout.js";
import { rampView } from "./legend.js";
import { listsView } from "./lists.js";
import { methodTitle } from "./names.js";
import { largest, percent } from "./numbers.js";
import { pictureView } from "./picture.js";
import { scaleOf, sharesOf, unsureOf } from "./scales.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Act} Act */

const NOTHING = new Set();
const LEAST_DIFFERENCE = 1e-9; // of full color: below it lies rounding

/**
 * What a column is of, in words: the answer, then what sets it apart, then the parameters.
 * @param {Explanation} one the first column @param {Explanation} explanation
 */
function aboutOf(one, explanation) {
  const contrast = explanation.contrast ? ` rather than ${explanation.contrast}` : "";
  const given = Object.entries(explanation.parameters).map(([name, value]) => `${name.replaceAll("_", " ")} ${value}`);
  const apart = [
    one.heading === explanation.heading ? "" : `“${explanation.heading}”`,
    one.model === explanation.model ? "" : explanation.model,
    given.join(", "),
  ].filter(Boolean);
  const said = apart.length ? `. ${apart.join("; ")}` : "";
  return [el("b", {}, `why ${explanation.target}${contrast}`), said];
}

/** "image 54%, question 46%" and what it cost. @param {Explanation} explanation */
function footOf(explanation) {
  const shares = Object.entries(explanation.share);
  const told = shares.length > 1 && !explanation.whyNoShares;
  const text = told ? shares.map(([name, share]) => `${name} ${percent(share)}`).join(", ") : "";
  return el("div", { class: "vx-col-foot vx-small" }, el("span", {}, text), el("span", {}, explanation.cost ?? ""));
}

/**
 * @param {{act: Act, actOther: (number: number) => Act, turn: (name: string, view: any) => void,
 *   remove: (number: number) => void, change: (number: number, column: any) => void}} told
 */
export function columnsView(told) {
  const columns = el("div", { class: "vx-cols" });
  const agreement = agreementView();
  const node = el("div", { class: "vx-compare", hidden: true }, columns, agreement.node);
  /** @type {any[]} */
  let made = [];

  /**
   * @param {Explanation} explanation @param {any[]} compared each with the number of its column
   * @param {any} options of a kernel; null where nothing can be computed
   */
  function show(explanation, compared, options) {
    node.hidden = !compared.length;
    made = [];
    agreement.show(explanation, compared);
    if (!compared.length) return fill(columns);
    made.push(column(explanation, explanation, "explanation", told.act, null));
    compared.forEach((other, place) => {
      const name = place ? `compared ${place + 1}` : "compared";
      const tools = columnTools(other, options, {
        remove: () => told.remove(other.column),
        change: (next) => told.change(other.column, next),
      });
      made.push(column(explanation, other, name, told.actOther(place), tools));
    });
    const [only] = compared;
    if (compared.length === 1 && !refusal(explanation, only)) made.push(difference(explanation, only));
    columns.style.setProperty("--vx-columns", String(made.length));
    fill(columns, ...made.map((one) => one.node));
  }

  /**
   * @param {Explanation} first @param {Explanation} explanation @param {string} label @param {Act} act
   * @param {Node | null} tools
   */
  function column(first, explanation, label, act, tools) {
    const lists = listsView(act, true, barsView);
    lists.show(explanation, false);
    const maps = mapsOf(explanation, label, act);
    const told = aboutOf(first, explanation);
    const about = el("p", { class: "vx-small vx-soft" }, ...told);
    about.title = about.textContent ?? "";
    const heading = [el("h2", {}, el("span", {}, methodTitle(explanation.method)), tools), about];
    const parts = [...heading, ...maps.map(({ view }) => view.node), lists.node, footOf(explanation)];
    const made = el("section", { class: "vx-col", "data-column": label }, ...parts);
    return { node: made, explanation, maps, lists, values: null };
  }

  function difference(/** @type {Explanation} */ explanation, /** @type {Explanation} */ compared) {
    const signed = /** @type {any} */ ({
      ...explanation,
      ...{ signed: true, fromZero: true, target: "the first", contrast: "the second" },
    });
    const maps = mapsOf(signed, "difference", told.act).filter(({ name }) => partOf(compared, name)?.players.length);
    const whole = explanation.fromZero === false ? "range of values" : "largest value";
    const about = `first minus second, in shares of each one's ${whole}`;
    const heading = [el("h2", {}, "Difference"), el("p", { class: "vx-small vx-soft" }, about)];
    const values = new Map(
      maps.map(({ name }) => [name, differences(partOf(explanation, name), partOf(compared, name))]),
    );
    const parts = [...heading, ...maps.map(({ view }) => view.node)];
    const made = el("section", { class: "vx-col", "data-column": "difference" }, ...parts);
    return { node: made, explanation: signed, maps, lists: null, values };
  }

  function mapsOf(/** @type {Explanation} */ explanation, /** @type {string} */ label, /** @type {Act} */ act) {
    const pictures = explanation.parts.filter((part) => part.size && part.players.length);
    return pictures.map((part) => {
      const name = part.alone ? label : `${part.name}, ${label}`;
      const tell = (/** @type {any} */ kind, /** @type {number} */ index) => act(part.name, kind, index);
      const view = pictureView(name, tell, (turned) => told.turn(part.name, turned));
      view.show(explanation, part);
      view.say(part.alone ? "" : part.name);
      const legend = rampView();
      view.node.append(legend.node);
      return { name: part.name, view, legend };
    });
  }

  /**
   * @param {any} frame see app.js
   * @param {(place: number, name: string) => number} focusOther the player of a column under the cursor
   */
  function draw(frame, focusOther) {
    made.forEach((one, number) => {
      const { explanation } = one;
      const place = one.values ? -1 : number - 1;
      const sided = one.values ? true : place < 0 ? frame.sided : frame.sidedOthers[place];
      const focusOf = place < 0 ? frame.focusOf : (/** @type {string} */ name) => focusOther(place, name);
      for (const map of one.maps) drawMap(one, map, frame, sided, focusOf);
      const hot = (/** @type {string} */ name) => new Set([focusOf(name)].filter((index) => index >= 0));
      const bare = { pairs: new Map(), pinned: null, awayOf: () => NOTHING };
      one.lists?.draw({ ...frame, ...bare, sided, hotOf: hot, explanation });
    });
  }

  return { node, show, draw };
}

/** @param {any} one a column @param {any} map @param {any} frame @param {boolean} sided @param {any} focusOf */
function drawMap({ explanation, values: all }, { name, view, legend }, frame, sided, focusOf) {
  const part = partOf(explanation, name);
  const values = all?.get(name);
  const most = values ? largest(values) : 0;
  const isSame = most < LEAST_DIFFERENCE;
  const scale = values ? { bare: 0, full: most, times: 1 } : scaleOf(explanation, part, frame.look);
  const shares = values ? values.map((/** @type {number} */ value) => value / scale.full) : sharesOf(part, scale);
  const { threshold, strength, smooth, unit } = frame.look;
  view.draw({
    ...frame.common,
    ...{ sided, kind: "map", away: NOTHING, only: null, edges: true, labeled: true, threshold, strength, smooth },
    shares: explanation.byPlayer || unit === "regions" || values ? shares : null,
    unsure: values ? NOTHING : unsureOf(part),
    written: values?.map((/** @type {number} */ value) => [value, null]),
    view: frame.viewOf(name),
    focused: focusOf(name),
  });
  const ends = values && isSame ? { ...scale, full: 0 } : scale;
  const said = isSame ? "no difference" : "shares";
  legend.show(explanation, ends, frame.palette, sided, values ? said : undefined);
}
