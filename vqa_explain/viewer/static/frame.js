// @ts-check
// What all views draw by: the cursor, what is away, the pairs of a word, colors.
import { partnersOf } from "./findings.js";
import { largest, twoSided } from "./numbers.js";

const WHOLE = { zoom: 1, x: 0, y: 0 };

/** @param {import("./types").Look} look @param {string} name */
export function viewOf(look, name) {
  return look.views.get(name) ?? WHOLE;
}

/**
 * Full color for pairs: of those with one player, or of all on one scale.
 * @param {any[]} found
 * @param {number | null} whole
 * @param {string} scale
 */
function scaleOfPairs(found, whole, scale) {
  if (scale === "one") return whole;
  const sure = found.flatMap(({ values, unsure }) =>
    values.filter((/** @type {any} */ _, /** @type {number} */ index) => !unsure.has(index)),
  );
  return sure.length ? largest(sure) : whole;
}

/**
 * All that a painted canvas depends on but its view, so that pointing at a region paints none anew.
 * @param {any} screen
 * @param {any} pairPlace
 */
function paintKey({ shownSerial, look, taken, page }, pairPlace) {
  const { views, narrow, frame, ...drawn } = look;
  return JSON.stringify([shownSerial, drawn, taken.members(), pairPlace, page]);
}

/** @param {any} screen see app.js */
export function frameOf(screen) {
  const { shown, compared, look, hover, pinned, marked, taken, palette } = screen;
  const pairPlace = shown.joint.length ? (pinned ?? hover) : null;
  const found = pairPlace ? partnersOf(shown, pairPlace.part, pairPlace.index) : [];
  const sided = twoSided(shown);
  const hovered = (/** @type {string} */ name) => (hover?.part === name ? hover.index : -1);
  return {
    look,
    palette,
    sided,
    sidedOthers: compared.map(twoSided),
    live: screen.source.live,
    common: { palette, dark: look.dark, sided, truth: look.truth, key: paintKey(screen, pairPlace) },
    pairs: new Map(found.map((one) => [one.name, one])),
    pairScale: scaleOfPairs(found, screen.pairScale, look.scale),
    pairPlace,
    pinned,
    serial: screen.shownSerial,
    viewOf: (/** @type {string} */ name) => viewOf(look, name),
    // The parts of a block's map may be others than those that can be taken away.
    awayOf: (/** @type {string} */ name) => (screen.isInside() ? new Set() : taken.of(name)),
    /** The one region that is outlined. @param {string} name */
    focusOf: (name) => (hovered(name) < 0 ? (marked?.[name]?.[0] ?? -1) : hovered(name)),
    /** All players that are marked. @param {string} name */
    hotOf: (name) => new Set([...(marked?.[name] ?? []), hovered(name)].filter((index) => index >= 0)),
  };
}
