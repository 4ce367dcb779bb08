// The inputs of an explanation, each drawn by the view of its kind: pictures on canvases, words, or bars.
import { barsView } from "./bars.js";
import { differences } from "./compare.js";
import { el, fill } from "./dom.js";
import { largest, partOf, shareOf } from "./layout.js";
import { legendView } from "./panels.js";
import { pictureView } from "./picture.js";
import { wordsView } from "./words.js";

const PAIRS_UNIT = "points of interaction; hatched: within 2 standard errors";
const MANY_PICTURES = 2; // beyond, they are drawn smaller

/** Kind → the view of its players; kinds that are not here are bars. */
const LISTS = { text: wordsView };

/** A part's values as shares of full color. */
function sharesOf(part) {
  return part.players.map(({ value }) => shareOf(value, part.bare, part.full));
}

/** Whether an input is the only one besides pictures, and a text, so that nobody asks which it is. */
function namedByItself(explanation, part) {
  return part.kind === "text" && explanation.parts.filter((one) => !one.size).length === 1;
}

function labelOf(explanation, part) {
  if (namedByItself(explanation, part)) return null;
  return el("div", { class: "vx-name" }, part.name, part.fixed ? el("span", { class: "vx-soft" }, " fixed") : null);
}

/** Legends of the lists of players, one for each text of a legend. */
function legendsView() {
  const node = el("div", { class: "vx-legends" });
  let legends = new Map();

  function show(explanation, needed) {
    const listed = explanation.parts.filter((part) => part.players.length && !part.size);
    legends = new Map(listed.map((part) => [part.legend, { part, parts: [], view: legendView("vx-word-legend") }]));
    for (const part of listed) legends.get(part.legend).parts.push(part);
    fill(node, ...(needed ? [...legends.values()].map(({ view }) => view.node) : []));
  }

  function draw(explanation, map, pairs, scale) {
    for (const { part, parts, view } of legends.values()) {
      if (parts.some(({ name }) => pairs.has(name))) view.show(explanation, 0, scale, PAIRS_UNIT, map);
      else view.show(explanation, part.bare, part.full, part.legend, map);
    }
  }

  return { node, show, draw };
}

/** Whether lists of players need a legend: a map's does not hold for them, or they show pairs at times. */
function needsLegend(explanation) {
  const hasMap = explanation.parts.some((part) => part.size && part.players.length);
  return !(explanation.oneScale && hasMap) || explanation.joint.length > 0;
}

/** What is drawn of one picture: as it is, and with its map; or only as it is where it is fixed. */
function pictureGroup(part, { act, turn }) {
  const tell = (kind, index) => act(part.name, kind, index);
  const turned = (view) => turn(part.name, view);
  const [first, second] = part.alone ? ["picture", "explanation"] : [part.name, `${part.name}, explained`];
  const plain = pictureView(first, tell, turned);
  const heat = part.fixed ? null : pictureView(second, tell, turned);
  const legend = legendView();
  if (heat) heat.node.append(legend.node);
  const node = el("div", { class: "vx-group" });

  function show(next, mine) {
    plain.show(next, mine);
    plain.node.classList.toggle("vx-fixed", mine.fixed);
    if (mine.fixed) plain.say(`${mine.name}: fixed`);
    heat?.show(next, mine);
    heat?.say(`${mine.alone ? "explanation" : mine.name}, by ${next.byPlayer ? mine.player : "pixel"}`);
    fill(node, plain.node, heat?.node);
  }

  function draw(next, mine, { look, viewOf, pairs, pairScale, awayOf, focusOf }) {
    const pair = pairs.get(mine.name);
    const common = { ...look, view: viewOf(mine.name), away: awayOf(mine.name), focused: focusOf(mine.name) };
    const none = { unsure: new Set(), values: new Array(mine.players.length).fill(0), scale: 1 };
    plain.draw({ ...common, ...none, plain: common.away.size === 0 });
    const values = pair
      ? { values: pair.values, unsure: pair.unsure, scale: pairScale }
      : { values: null, unsure: new Set(), scale: mine.full };
    heat?.draw({ ...common, ...values, plain: false });
    if (pair) legend.show(next, 0, pairScale, PAIRS_UNIT, look.map);
    else legend.show(next, mine.mapBare, mine.mapFull, mine.mapLegend, look.map);
  }

  return { node, show, draw, legend: legend.node };
}

/** The view of a list of players, with the input's name above it. */
function listGroup(explanation, part, { act }, more = []) {
  const alone = namedByItself(explanation, part);
  const make = LISTS[part.kind] ?? barsView;
  const label = alone ? `the ${part.name}'s ${part.player}s` : `${part.player}s of ${part.name}`;
  const [kind, mark, name] = more.length ? more : [undefined, undefined, label];
  const view = make(name, (what, index) => act(part.name, what, index), kind, mark);
  const node = el("div", { class: "vx-part-list" }, labelOf(explanation, part), view.node);

  function draw(_, mine, { look, pairs, pairScale, awayOf, focusOf }) {
    const pair = pairs.get(mine.name);
    view.draw({
      shares: pair ? pair.values.map((value) => value / pairScale) : sharesOf(mine),
      unsure: pair?.unsure,
      map: look.map,
      away: awayOf(mine.name),
      focused: focusOf(mine.name),
    });
  }

  return { node, show: (next, mine, live) => view.show(next, mine, live), draw };
}

/** Every input of an explanation. `act(name, kind, index)` and `turn(name, view)` are told what a person does. */
export function partsView(told) {
  const [texts, pictures] = [el("div", { class: "vx-texts" }), el("div", { class: "vx-pictures" })];
  const legends = legendsView();
  let groups = new Map();
  let known = "";
  let shown = null;

  function show(explanation, live) {
    shown = explanation;
    const now = JSON.stringify(explanation.parts.map((part) => [part.name, part.kind, part.fixed]));
    if (now !== known) build(explanation);
    known = now;
    for (const part of explanation.parts) groups.get(part.name).show(explanation, part, live);
    // Maps have one scale, so the last one's legend is that of all; while pairs are drawn, only some show them.
    const maps = explanation.parts.filter((part) => part.size && !part.fixed);
    for (const part of maps) groups.get(part.name).legend.hidden = !explanation.joint.length && part !== maps.at(-1);
    legends.show(explanation, needsLegend(explanation));
    const text = "Image classification: no question";
    const onlyPicture = explanation.parts.length === 1 && explanation.parts[0].size;
    if (onlyPicture) fill(texts, el("div", { class: "vx-question" }, el("span", { class: "vx-soft" }, text)));
  }

  function build(explanation) {
    const of = (part) => (part.size ? pictureGroup(part, told) : listGroup(explanation, part, told));
    groups = new Map(explanation.parts.map((part) => [part.name, of(part)]));
    const nodes = (pick) => explanation.parts.filter(pick).map((part) => groups.get(part.name).node);
    fill(texts, ...nodes((part) => !part.size));
    fill(pictures, ...nodes((part) => part.size));
    pictures.classList.toggle("vx-small", pictures.childElementCount > MANY_PICTURES);
  }

  function draw(settings) {
    for (const part of shown.parts) groups.get(part.name).draw(shown, part, settings);
    legends.draw(shown, settings.look.map, settings.pairs, settings.pairScale);
  }

  return { texts, pictures, legends: legends.node, show, draw, group: (name) => groups.get(name) };
}

/** The same of a compared explanation: each picture is next to the one of the same name, and its lists are below. */
export function comparedView({ act, turn }) {
  const texts = el("div", { class: "vx-texts" });
  const legends = legendsView();
  let [lists, pictures] = [new Map(), []];
  let [shown, compared] = [null, null];

  function show(one, other, parts, heading, refusal) {
    for (const { second, difference } of pictures) {
      second.node.remove();
      difference?.node.remove();
    }
    [shown, compared, pictures, lists] = [one, other, [], new Map()];
    texts.hidden = !other;
    legends.node.hidden = !other;
    if (!other) return;
    const refused = refusal(one, other);
    pictures = one.parts
      .filter((part) => part.size && part.players.length && partOf(other, part.name)?.size)
      .map((part) => beside(part, parts.group(part.name).node, heading, refused));
    for (const part of other.parts.filter((one) => !one.size)) {
      const alone = namedByItself(other, part);
      const label = alone
        ? `${part.player}s of the compared explanation`
        : `${part.player}s of ${part.name} of the compared explanation`;
      const list = listGroup(other, part, { act }, [listClass(part), "data-compared-word", label]);
      list.show(other, part, false);
      lists.set(part.name, list);
    }
    fill(texts, ...[...lists.values()].map(({ node }) => node));
    legends.show(other, needsLegend(other));
  }

  function listClass(part) {
    return part.kind === "text" ? "vx-compared-words" : "vx-bars";
  }

  /** The compared picture, and the difference where it has a meaning. */
  function beside(part, group, heading, refused) {
    const its = partOf(compared, part.name);
    const made = (name, tell) => {
      const view = pictureView(
        name,
        (kind, index) => tell(kind, index),
        (view) => turn(part.name, view),
      );
      const legend = legendView();
      view.node.append(legend.node);
      return Object.assign(view, { legend });
    };
    const label = (text) => (part.alone ? text : `${part.name}, ${text}`);
    const second = made(label("compared"), (kind, index) => act(part.name, kind, index));
    second.show(compared, its);
    second.say(heading);
    group.append(second.node);
    if (refused) return { part, its, second, difference: null };
    const difference = made(label("difference"), (kind, index) => act(part.name, kind, index));
    // A difference of sizes has two signs.
    difference.show({ ...shown, signed: true, fromZero: true }, part);
    group.append(difference.node);
    return { part, its, second, difference };
  }

  function draw({ look, viewOf, focusOf, pairScale }) {
    const none = { away: new Set(), unsure: new Set(), plain: false };
    for (const { part, its, second, difference } of pictures) {
      const common = { ...look, ...none, view: viewOf(part.name) };
      second.draw({ ...common, values: null, scale: its.full, focused: focusOf(part.name) });
      second.legend.show(compared, its.mapBare, its.mapFull, its.mapLegend, look.map);
      if (!difference) continue;
      const apart = differences(part, its);
      difference.draw({ ...common, values: apart, scale: largest(apart), focused: focusOf(part.name) });
      const whole = shown.fromZero === false ? "range of values" : "largest value";
      const unit = `difference, in shares of each one's ${whole}`;
      difference.legend.show({ signed: true }, 0, largest(apart), unit, look.map);
    }
    const settings = { look, pairs: new Map(), pairScale, awayOf: () => new Set(), focusOf };
    for (const [name, list] of lists) list.draw(compared, partOf(compared, name), settings);
    legends.draw(compared, look.map, new Map(), pairScale);
  }

  return { texts, legends: legends.node, show, draw };
}
