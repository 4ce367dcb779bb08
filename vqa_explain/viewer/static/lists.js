// @ts-check
// The inputs that are no pictures, one list of players each: words as chips, all others as bars.
import { barsView } from "./bars.js";
import { el, fill } from "./dom.js";
import { scaleOf, sharesOf, unsureOf } from "./scales.js";
import { wordsView } from "./words.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

/** Kind → the view of its players; kinds that are not here are bars. @type {Record<string, typeof wordsView>} */
const LISTS = { text: wordsView };

/**
 * Whether an input is the only one besides pictures, and a text, so that nobody asks which it is.
 * @param {Explanation} explanation
 * @param {Part} part
 */
function namedByItself(explanation, part) {
  return part.kind === "text" && explanation.parts.filter((one) => !one.size).length === 1;
}

/** What a list is called. @param {Explanation} explanation @param {Part} part @param {boolean} compared */
function labelOf(explanation, part, compared) {
  const whose = namedByItself(explanation, part) ? "" : ` of ${part.name}`;
  if (compared) return `${part.player}s${whose} of the compared explanation`;
  return whose ? `${part.player}s${whose}` : `the ${part.name}'s ${part.player}s`;
}

/**
 * All lists. `act(name, kind, index)` is told what a person does.
 * @param {import("./types").Act} act @param {boolean} compared @param {any} makeText the view of a text's words
 */
export function listsView(act, compared = false, makeText = wordsView) {
  const node = el("div", { class: "vx-texts" });
  /** @type {Map<string, any>} */
  let views = new Map();
  let known = "";
  /** @type {any} */
  let shown = null;

  function show(/** @type {Explanation} */ explanation, /** @type {boolean} */ live) {
    shown = explanation;
    const now = JSON.stringify(explanation.parts.map((part) => [part.name, part.kind, part.fixed]));
    if (now !== known) build(explanation);
    known = now;
    for (const part of explanation.parts) views.get(part.name)?.show(explanation, part, live);
    if (explanation.parts.every((part) => part.size))
      fill(node, el("p", { class: "vx-soft" }, `${explanation.heading}: no question`));
  }

  function build(/** @type {Explanation} */ explanation) {
    const listed = explanation.parts.filter((part) => !part.size);
    views = new Map(listed.map((part) => [part.name, viewOf(explanation, part)]));
    const label = (/** @type {Part} */ part) =>
      el("div", { class: "vx-name" }, part.name, part.fixed ? el("span", { class: "vx-soft" }, " fixed") : null);
    const group = (/** @type {Part} */ part) => [
      namedByItself(explanation, part) ? null : label(part),
      views.get(part.name).node,
    ];
    fill(node, ...listed.map((part) => el("div", { class: "vx-part-list" }, ...group(part))));
  }

  function viewOf(/** @type {Explanation} */ explanation, /** @type {Part} */ part) {
    const make = compared && part.kind === "text" ? makeText : (LISTS[part.kind] ?? barsView);
    const name = labelOf(explanation, part, compared);
    const tell = (/** @type {any} */ kind, /** @type {number} */ index) => act(part.name, kind, index);
    if (!compared) return make(name, tell);
    return make(name, tell, part.kind === "text" ? "vx-bars vx-compared-words" : "vx-bars", "data-compared-word");
  }

  /** @param {any} frame see app.js */
  function draw(frame) {
    for (const part of shown.parts) {
      const view = views.get(part.name);
      if (!view || part.fixed) continue;
      const pair = frame.pairs.get(part.name);
      const shares = pair
        ? pair.values.map((/** @type {number} */ value) => value / frame.pairScale)
        : sharesOf(part, scaleOf(shown, part, frame.look));
      view.draw({
        shares,
        unsure: pair ? pair.unsure : unsureOf(part),
        palette: frame.palette,
        sided: frame.sided || Boolean(pair),
        away: frame.awayOf(part.name),
        hot: frame.hotOf(part.name),
        pinned: frame.pinned?.part === part.name ? frame.pinned.index : -1,
      });
    }
  }

  return { node, show, draw };
}
