// @ts-check
// The two panes: the map on the left; the picture, what counts, all values or the matrix of pairs on the right.
import { el, fill, switchOf } from "./dom.js";
import { partOf } from "./layout.js";
import { matrixView } from "./matrix.js";
import { shortName } from "./names.js";
import { largest } from "./numbers.js";
import { pictureView } from "./picture.js";
import { countingOf, LEAST_SHARE, pixelScale, scaleOf, sharesOf, unsureOf } from "./scales.js";
import { framesOf, stripView } from "./strip.js";
import { valuesView } from "./values.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Part} Part */

const NO_REGIONS = new Set();
const UPRIGHT = 0.75; // width by height, up to which four pictures have room in a row

/**
 * @param {{act: import("./types").Act, turn: (name: string, view: any) => void, pin: (place: any) => void, set: (name: string, value: any) => void, takeAway: () => void}} told
 */
export function panesView(told) {
  const title = el("span", { class: "vx-title" });
  const units = switchOf(
    "map of",
    [
      ["regions", "Regions"],
      ["pixels", "Pixels"],
    ],
    (value) => told.set("unit", value),
  );
  const flips = [0, 1].map(() =>
    switchOf(
      "show",
      [
        ["map", "Map"],
        ["picture", "Picture"],
      ],
      (value) => told.set("narrow", value),
      "vx-only-narrow",
    ),
  );
  const tabs = switchOf(
    "right pane",
    [
      ["matrix", "Matrix"],
      ["picture", "Picture"],
      ["only", "Only what counts"],
      ["values", "Values"],
    ],
    (value) => told.set("pane", value),
  );
  const maps = el("div", { class: "vx-pictures vx-map" });
  const plains = el("div", { class: "vx-pictures vx-plain-pictures" });
  const values = valuesView(told.act);
  const strip = stripView((number) => told.set("frame", number));
  const matrix = matrixView(told.pin);
  const peek = el("span", { class: "vx-micro vx-hide-m" }, "hold Space: picture");
  const left = el(
    "div",
    { class: "vx-pane" },
    el("div", { class: "vx-cap" }, title, flips[0].node, units.node),
    maps,
    strip.node,
  );
  const right = el(
    "div",
    { class: "vx-pane vx-second" },
    el("div", { class: "vx-cap" }, flips[1].node, tabs.node, peek),
    plains,
    values.node,
    matrix.node,
  );
  const node = el("div", { class: "vx-panes" }, left, right);
  /** @type {Map<string, any>} */
  let groups = new Map();
  let known = "";
  let captioned = "";
  /** @type {any} */
  let shown = null;

  function show(/** @type {Explanation} */ explanation) {
    shown = explanation;
    const pictures = explanation.parts.filter((part) => part.size);
    const now = JSON.stringify(pictures.map((part) => [part.name, part.fixed, part.alone]));
    if (now !== known) build(pictures);
    known = now;
    for (const part of pictures) {
      const { heat, plain } = groups.get(part.name);
      heat?.show(explanation, part);
      plain.show(explanation, part);
    }
    node.hidden = pictures.length === 0;
    const isUpright = pictures.every(({ size }) => size && size[1] <= UPRIGHT * size[0]);
    node.classList.toggle("vx-upright", pictures.length === 2 && isUpright);
    const places = ["picture", "only", "values"];
    tabs.offer(explanation.joint.length ? ["matrix", ...places] : places);
    units.offer(explanation.byPlayer ? ["regions"] : ["regions", "pixels"]);
    values.show(explanation);
  }

  function build(/** @type {Part[]} */ pictures) {
    groups = new Map(pictures.map((part) => [part.name, groupOf(part)]));
    const heats = [...groups.values()].filter((group) => group.heat);
    fill(maps, ...heats.map((group) => group.heat.node));
    fill(plains, ...[...groups.values()].map((group) => group.plain.node));
    for (const box of [maps, plains]) box.classList.toggle("vx-several", box.childElementCount > 1);
  }

  function groupOf(/** @type {Part} */ part) {
    const tell = (/** @type {any} */ kind, /** @type {number} */ index) => told.act(part.name, kind, index);
    const turned = (/** @type {any} */ view) => told.turn(part.name, view);
    const names = part.alone ? ["picture", "explanation"] : [part.name, `${part.name}, explained`];
    const plain = pictureView(names[0], tell, turned);
    const heat = part.fixed ? null : pictureView(names[1], tell, turned);
    if (!part.alone) heat?.say(part.name);
    if (!part.alone || part.fixed) plain.say(part.fixed ? `${part.name}: fixed` : part.name);
    plain.node.classList.toggle("vx-fixed", part.fixed);
    return { part, plain, heat };
  }

  /** What the map of a picture is drawn by. @param {Part} part @param {any} frame */
  function mapOf(part, frame) {
    const pair = frame.pairs.get(part.name);
    if (pair) {
      const shares = pair.values.map((/** @type {number} */ value) => value / frame.pairScale);
      const written = pair.values.map((/** @type {number} */ value, /** @type {number} */ i) => [
        value,
        pair.errors[i],
      ]);
      return { shares, unsure: pair.unsure, written, sided: true };
    }
    if (frame.look.unit === "pixels" && !shown.byPlayer) return { shares: null, unsure: NO_REGIONS };
    return { shares: sharesOf(part, scaleOf(shown, part, frame.look)), unsure: unsureOf(part) };
  }

  /** @param {any} frame see app.js */
  function draw(frame) {
    const { look } = frame;
    node.dataset.show = look.narrow;
    const pane = look.pane === "matrix" && !shown.joint.length ? "picture" : look.pane;
    const frames = framesOf(shown);
    const large = Math.min(look.frame, frames.length - 1);
    strip.draw(shown, look, frame.serial, frame.sided, large);
    for (const box of [maps, plains]) box.classList.toggle("vx-several", !frames.length && box.childElementCount > 1);
    const joined = { ...frame.common, threshold: look.threshold, strength: look.strength, smooth: look.smooth };
    for (const {
      part: { name },
      plain,
      heat,
    } of groups.values()) {
      const part = partOf(shown, name);
      const isBehind = frames.length > 0 && frames.indexOf(part) !== large;
      for (const view of [heat, plain]) if (view) view.node.hidden = isBehind;
      const common = { ...joined, view: frame.viewOf(name), away: frame.awayOf(name), focused: frame.focusOf(name) };
      const bare = { shares: null, unsure: NO_REGIONS, only: null, kind: "picture", edges: false, labeled: false };
      const map = { ...bare, kind: "map", edges: true, labeled: true, ...mapOf(part, frame) };
      heat?.draw({ ...common, ...(look.peek ? bare : map) });
      const counts = pane === "only" ? countingOf(part, scaleOf(shown, part, look), look.threshold) : null;
      plain.draw({ ...common, ...bare, only: part.fixed ? null : counts });
    }
    units.set(look.unit);
    tabs.set(pane);
    for (const flip of flips) flip.set(look.narrow);
    plains.hidden = pane !== "picture" && pane !== "only";
    values.node.hidden = pane !== "values";
    matrix.node.hidden = pane !== "matrix";
    if (pane === "matrix") matrix.draw(shown, frame);
    caption(frame);
  }

  function caption(/** @type {any} */ frame) {
    const { pinned } = frame;
    const place = pinned ?? frame.pairPlace;
    // A button that is made anew between the press and the release of the pointer hears no click.
    const now = JSON.stringify([place, pinned, frame.look.unit, frame.serial, shown.target]);
    if (now === captioned) return;
    captioned = now;
    if (!place) {
      const what = partOf(shown, [...groups.keys()][0] ?? "")?.player ?? "region";
      const text = frame.look.unit === "pixels" && !shown.byPlayer ? "pixel" : what;
      fill(
        title,
        ...(shown.addsUp
          ? [`What each ${text} adds to `, el("b", {}, shown.target)]
          : [`Each ${text}: `, el("b", {}, shown.unit)]),
      );
      return;
    }
    const part = partOf(shown, place.part);
    const name = part.kind === "text" ? part.players[place.index].text : shortName(part, place.index);
    const free = () => told.pin(null);
    const chip = pinned
      ? el(
          "button",
          { type: "button", class: "vx-chip vx-pin", title: "Free it", onclick: free },
          el("bdi", {}, name),
          " ×",
        )
      : el("b", { class: "vx-pin" }, el("bdi", {}, name));
    const take = el("button", { type: "button", class: "vx-tool", onclick: told.takeAway }, "Take away");
    fill(title, el("span", {}, "Parts that work with"), chip, pinned && frame.live ? take : null);
  }

  /** What the right pane shows, in words. @param {any} frame */
  function noteOf(frame) {
    const pane = frame.look.pane;
    const part = shown.parts.find((/** @type {Part} */ one) => one.size);
    if (!part) return "";
    if (pane === "matrix" && shown.joint.length) return `${shown.pairsTitle}. Hatched: within two standard errors.`;
    if (pane === "only") {
      const hasErrors = part.players.some((/** @type {any} */ one) => one.error);
      const which = hasErrors ? "beyond two standard errors" : `above ${Math.round(100 * LEAST_SHARE)}% of the largest`;
      return `${part.player.slice(0, 1).toUpperCase()}${part.player.slice(1)}s for the answer, ${which}. The rest is gray.`;
    }
    if (pane === "values") return "The largest values come first.";
    const sizes = shown.parts.flatMap((/** @type {Part} */ one) =>
      one.size ? [`${one.size[1]} × ${one.size[0]}`] : [],
    );
    return `${[...new Set(sizes)].join(", ")} pixels`;
  }

  return { node, maps, show, draw, noteOf, group: (/** @type {string} */ name) => groups.get(name) };
}

/** The scale and the values that the map's legend shows. @param {Explanation} explanation @param {any} frame */
export function legendOf(explanation, frame) {
  const part =
    explanation.parts.find((one) => one.size && !one.fixed && one.players.length) ??
    explanation.parts.find((one) => one.players.length);
  if (!part) return null;
  const values = explanation.parts
    .filter((one) => one.player === part.player)
    .flatMap((one) => one.players.map(({ value }) => value));
  const pairs = [...frame.pairs.values()].flatMap((pair) => pair.values);
  if (pairs.length) return { scale: { bare: 0, full: frame.pairScale ?? largest(pairs) }, values: pairs, part };
  if (part.size && frame.look.unit === "pixels" && !explanation.byPlayer)
    return { scale: pixelScale(part), values, part };
  return { scale: scaleOf(explanation, part, frame.look), values, part };
}
