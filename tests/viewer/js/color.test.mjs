import assert from "node:assert/strict";
import { test } from "node:test";
import {
  colorAt,
  contrast,
  cover,
  css,
  ink,
  isDark,
  MAPS,
  paletteOf,
  tintTable,
} from "../../../vqa_explain/viewer/static/color.js";

const PALETTES = MAPS.flatMap((map) => [paletteOf(map, false), paletteOf(map, true)]);

test("orange and purple are the default, in the colors of the design", () => {
  assert.equal(MAPS[0], "orange-purple");
  const palette = paletteOf(MAPS[0], false);
  assert.deepEqual(colorAt(1, palette), [0xb6, 0x5a, 0x00]);
  assert.deepEqual(colorAt(-1, palette), [0x4b, 0x2a, 0x87]);
  assert.deepEqual(colorAt(0, palette), [0xf6, 0xf5, 0xf2]);
  assert.deepEqual(colorAt(2, palette), colorAt(1, palette));
});

test("the sign is the hue; sizes have one hue, which is neither for nor against", () => {
  for (const palette of PALETTES) {
    assert.notDeepEqual(colorAt(0.5, palette), colorAt(-0.5, palette));
    assert.deepEqual(colorAt(0.5, palette, false), colorAt(-0.5, palette, false));
    assert.notDeepEqual(colorAt(0.5, palette, false), colorAt(0.5, palette));
  }
  assert.equal(cover(0), 0);
  assert.ok(cover(0.1) < cover(0.9));
});

/** A color as people with one kind of cone missing see it: Machado et al. 2009, severity 1, in linear light. */
const MISSING = {
  protan: [0.152286, 1.052583, -0.204868, 0.114503, 0.786281, 0.099216, -0.003882, -0.048116, 1.051998],
  deutan: [0.367322, 0.860646, -0.227968, 0.280085, 0.672501, 0.047413, -0.01182, 0.04294, 0.968881],
  tritan: [1.255528, -0.076749, -0.178779, -0.078411, 0.930809, 0.147602, 0.004733, 0.691367, 0.3039],
};
const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);

function lab(rgb, matrix) {
  const [r, g, b] = rgb.map(linear);
  const seen = matrix
    ? [0, 1, 2].map((row) =>
        Math.min(1, Math.max(0, matrix[3 * row] * r + matrix[3 * row + 1] * g + matrix[3 * row + 2] * b)),
      )
    : [r, g, b];
  const [x, y, z] = [
    (0.4124 * seen[0] + 0.3576 * seen[1] + 0.1805 * seen[2]) / 0.9505,
    0.2126 * seen[0] + 0.7152 * seen[1] + 0.0722 * seen[2],
    (0.0193 * seen[0] + 0.1192 * seen[1] + 0.9505 * seen[2]) / 1.089,
  ].map((t) => (t > 0.008856 ? Math.cbrt(t) : 7.787 * t + 16 / 116));
  return [116 * y - 16, 500 * (x - y), 200 * (y - z)];
}

test("the ends of the default map are far apart for every kind of color vision", () => {
  for (const dark of [false, true]) {
    const palette = paletteOf(MAPS[0], dark);
    for (const matrix of [null, ...Object.values(MISSING)]) {
      const [one, other] = [lab(colorAt(1, palette), matrix), lab(colorAt(-1, palette), matrix)];
      const apart = Math.hypot(...one.map((value, i) => value - other[i]));
      assert.ok(apart > 34, `${dark} ${apart}`);
    }
  }
});

test("the table holds every level and nothing below the threshold", () => {
  const palette = paletteOf("red-blue", false);
  const found = tintTable(palette, true, 1, 0.5);
  assert.equal(found.length, 255 * 4);
  assert.deepEqual([...found.subarray(254 * 4, 254 * 4 + 3)], [165, 24, 43]);
  assert.deepEqual([...found.subarray(0, 3)], [31, 90, 156]);
  assert.equal(found[(127 + 60) * 4 + 3], 0);
  assert.ok(found[(127 + 65) * 4 + 3] > 0);
});

test("words on any ground can be read", () => {
  for (const palette of PALETTES) {
    for (let value = -1; value <= 1; value += 0.05) {
      for (const sided of [true, false]) {
        const ground = colorAt(value, palette, sided);
        const rgb = ink(ground) === "#fff" ? [255, 255, 255] : [0, 0, 0];
        assert.ok(contrast(ground, rgb) >= 4.5);
      }
    }
  }
  assert.equal(css([1, 2, 3]), "rgb(1,2,3)");
  assert.equal(contrast([0, 0, 0], [255, 255, 255]), 21);
});

test("a theme is told by the background that is drawn", () => {
  assert.equal(isDark("rgb(23, 24, 27)"), true);
  assert.equal(isDark("rgb(255, 255, 255)"), false);
  assert.equal(isDark("rgba(0, 0, 0, 0)"), false);
});
