// The one home of colors in the viewer: values from -1 to 1 become red, green, blue and opacity.
import { twoSided } from "./layout.js";

/** What words and bars are colored over. */
export const PAPER = [255, 255, 255];

const ENDS = {
  "red-blue": [
    [178, 24, 43],
    [33, 102, 172],
  ],
  "orange-purple": [
    [179, 88, 6],
    [84, 39, 136],
  ],
  "brown-teal": [
    [140, 81, 10],
    [1, 102, 94],
  ],
};

/** Names of the color maps; the first is the default. All keep their order for color-blind readers. */
export const MAPS = Object.keys(ENDS);

// For values that do not speak for and against: one hue, which is neither for the answer nor against it.
const SIZES = { "red-blue": [84, 39, 143], "orange-purple": [0, 109, 44], "brown-teal": [84, 39, 143] };

/** The ends of a map: [above zero, below zero]. A name with "sizes of " before it has one hue. */
function ends(map) {
  if (!map.startsWith(ONE_HUE)) return ENDS[map];
  const hue = SIZES[map.slice(ONE_HUE.length)];
  return [hue, hue];
}

const ONE_HUE = "sizes of ";

/** The map that an explanation's values are drawn in: one hue where they have one side. */
export function mapOf(explanation, map) {
  return twoSided(explanation) ? map : ONE_HUE + map;
}

/** Red, green, blue and opacity (0 … 255) of a value from -1 to 1: the hue says the sign, the opacity the size. */
export function tint(value, map = MAPS[0], strength = 0.8) {
  const [positive, negative] = ends(map);
  const size = Math.min(1, Math.abs(value));
  return [...(value >= 0 ? positive : negative), Math.round(255 * strength * size)];
}

/** A table of 255 tints for whole numbers -127 … 127, as one array (255 × 4); below the threshold nothing shows. */
export function table(map, strength, threshold) {
  const found = new Uint8ClampedArray(255 * 4);
  for (let level = -127; level <= 127; level++) {
    const value = level / 127;
    if (Math.abs(value) >= threshold) found.set(tint(value, map, strength), (level + 127) * 4);
  }
  return found;
}

/** A tint laid over a ground [r, g, b]: [r, g, b]. */
export function over(rgba, ground) {
  const part = rgba[3] / 255;
  return ground.map((under, i) => Math.round(under + (rgba[i] - under) * part));
}

function luminance(rgb) {
  const linear = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** The contrast of two colors by WCAG 2, from 1 to 21. */
export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

/** Black or white, whichever is read better on a ground. */
export function ink(ground) {
  return contrast(ground, [255, 255, 255]) >= contrast(ground, [0, 0, 0]) ? "#fff" : "#000";
}

/** CSS for [r, g, b]. */
export function css(rgb) {
  return `rgb(${rgb.join(",")})`;
}
