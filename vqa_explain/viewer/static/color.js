// @ts-check
// The one home of colors in the viewer: shares of full color from -1 to 1 become red, green and blue.

/** @typedef {import("./types").Palette} Palette */

/** @param {string} text "#rrggbb, …" from weak to strong @returns {number[][]} */
function ramp(text) {
  return text.split(" ").map((one) => [1, 3, 5].map((at) => Number.parseInt(one.slice(at, at + 2), 16)));
}

// Four steps from weak to strong. Orange and purple are told apart by every kind of color vision (Machado 2009: the ends
// are 66 or more apart in light, 35 or more in dark); the others keep their order.
const RAMPS = {
  light: {
    zero: "#f6f5f2",
    size: "#d9dce2 #a5adba #67728a #2f394e",
    "orange-purple": ["#fde3bf #f9bd6f #ea8a1e #b65a00", "#dfd9f1 #b6a8de #8266c0 #4b2a87"],
    "red-blue": ["#fbdfd5 #f3a98c #d65f4c #a5182b", "#d8e7f3 #9bc6e0 #4a92c6 #1f5a9c"],
    "brown-teal": ["#f3e6c6 #dfc07c #b9802a #7d4a09", "#d3ece7 #8fcfc4 #3b978e #02584f"],
  },
  dark: {
    zero: "#25272b",
    size: "#383d46 #5d6673 #97a1b1 #e0e6ef",
    "orange-purple": ["#4a3417 #8a5714 #d98420 #ffbf70", "#332c4d #594a8f #8f7bd8 #cdc1ff"],
    "red-blue": ["#4a2420 #8c3a30 #dd6a58 #ffb3a2", "#1c3347 #2c5a85 #5c9bd3 #b2d8ff"],
    "brown-teal": ["#433217 #7d5b1d #c0913f #f2d28d", "#143a36 #23675f #4ba598 #a8e6da"],
  },
};

/** Names of the color maps; the first is the default. */
export const MAPS = ["orange-purple", "red-blue", "brown-teal"];

/** The colors of a map in one theme. @param {string} map @param {boolean} dark @returns {Palette} */
export function paletteOf(map, dark) {
  const theme = /** @type {Record<string, any>} */ (dark ? RAMPS.dark : RAMPS.light);
  const [plus, minus] = theme[map];
  return { zero: ramp(theme.zero)[0], plus: ramp(plus), minus: ramp(minus), size: ramp(theme.size) };
}

/**
 * The color of a share from -1 to 1 of full color; of sizes without a sign where `sided` is false.
 * @param {number} share
 * @param {Palette} palette
 */
export function colorAt(share, palette, sided = true) {
  const signed = share < 0 ? palette.minus : palette.plus;
  const steps = [palette.zero, ...(sided ? signed : palette.size)];
  const at = Math.min(1, Math.abs(share)) * 4;
  const step = Math.min(3, Math.floor(at));
  return steps[step].map((from, i) => Math.round(from + (steps[step + 1][i] - from) * (at - step)));
}

/**
 * How much of the gray picture a share covers: nothing at zero, so that no color is seen there.
 * @param {number} share
 */
export function cover(share) {
  const size = Math.min(1, Math.abs(share));
  return size < 1 / 255 ? 0 : Math.min(0.93, 0.12 + 0.9 * size);
}

/**
 * Tints for whole numbers -127 … 127, as one array (255 × 4) of red, green, blue and opacity; nothing below the threshold.
 * @param {Palette} palette @param {boolean} sided @param {number} strength @param {number} threshold
 */
export function tintTable(palette, sided, strength, threshold) {
  const found = new Uint8ClampedArray(255 * 4);
  for (let level = -127; level <= 127; level++) {
    const share = level / 127;
    if (Math.abs(share) < threshold) continue;
    found.set([...colorAt(share, palette, sided), 255 * strength * cover(share)], (level + 127) * 4);
  }
  return found;
}

/**
 * The background of a legend from share `low` to 1.
 * @param {number} low
 * @param {Palette} palette
 * @param {boolean} sided
 */
export function rampText(low, palette, sided) {
  const stops = Array.from({ length: 21 }, (_, i) => css(colorAt(low + ((1 - low) * i) / 20, palette, sided)));
  return `linear-gradient(90deg, ${stops.join(", ")})`;
}

/** @param {number[]} rgb */
function luminance(rgb) {
  const linear = rgb.map((c) => (c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

/** The contrast of two colors by WCAG 2, from 1 to 21. @param {number[]} one @param {number[]} other */
export function contrast(one, other) {
  const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
  return (light + 0.05) / (dark + 0.05);
}

/** Black or white, whichever is read better on a ground. @param {number[]} ground */
export function ink(ground) {
  return contrast(ground, [255, 255, 255]) >= contrast(ground, [0, 0, 0]) ? "#fff" : "#000";
}

/** CSS for [r, g, b]. @param {number[]} rgb */
export function css(rgb) {
  return `rgb(${rgb.join(",")})`;
}

/** Whether a computed color, such as "rgb(23, 24, 27)", is dark. @param {string} text */
export function isDark(text) {
  const found = (text.match(/[\d.]+/g) ?? []).map(Number);
  return found.length >= 3 && found[3] !== 0 && luminance(found.slice(0, 3)) < 0.2;
}
