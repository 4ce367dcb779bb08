import assert from "node:assert/strict";
import { test } from "node:test";
import { contrast, css, ink, MAPS, over, table, tint } from "../../../vqa_explain/viewer/static/color.js";

test("the sign is the hue and the size the opacity", () => {
  for (const map of MAPS) {
    assert.notDeepEqual(tint(0.5, map).slice(0, 3), tint(-0.5, map).slice(0, 3));
    assert.equal(tint(0.5, map)[3], tint(-0.5, map)[3]);
    assert.ok(tint(0.2, map)[3] < tint(0.9, map)[3]);
    assert.equal(tint(2, map)[3], tint(1, map)[3]);
  }
});

test("the table holds every level and nothing below the threshold", () => {
  const found = table("red-blue", 1, 0.5);
  assert.equal(found.length, 255 * 4);
  assert.deepEqual([...found.subarray(254 * 4)], [178, 24, 43, 255]);
  assert.deepEqual([...found.subarray(0, 4)], [33, 102, 172, 255]);
  assert.equal(found[(127 + 60) * 4 + 3], 0);
});

test("words on any ground can be read", () => {
  for (const map of MAPS) {
    for (let value = -1; value <= 1; value += 0.05) {
      const ground = over(tint(value, map), [255, 255, 255]);
      const rgb = ink(ground) === "#fff" ? [255, 255, 255] : [0, 0, 0];
      assert.ok(contrast(ground, rgb) >= 4.5, `${map} at ${value}`);
    }
  }
  assert.equal(css([1, 2, 3]), "rgb(1,2,3)");
  assert.equal(contrast([0, 0, 0], [255, 255, 255]), 21);
});
