import assert from "node:assert/strict";
import { test } from "node:test";
import { mapOf, tint } from "../../../vqa_explain/viewer/static/color.js";
import { neededBudget, pairScale, partnersOf, ratio } from "../../../vqa_explain/viewer/static/findings.js";
import { amount } from "../../../vqa_explain/viewer/static/layout.js";
import { hoverText, pairText } from "../../../vqa_explain/viewer/static/telling.js";
import { changeText } from "../../../vqa_explain/viewer/static/whatif.js";

/** An explanation of two words and three regions with these interactions and errors, row by row. */
function explained(values, errors, more = {}) {
  const array = (data) => ({ shape: [2, 3], data: Float32Array.from(data) });
  return {
    words: [
      { text: "red", value: 1, error: 0.1 },
      { text: "left", value: 2, error: 0.1 },
    ],
    regions: [0, 1, 2].map((value) => ({ value, error: 0.1, box: [0, 0, 1, 1] })),
    interactions: array(values),
    interactionErrors: errors && array(errors),
    pairs: { spent: 1000, sure: 2.64, text: "" },
    signed: true,
    unitText: "points of logit of “red”",
    ...more,
  };
}

test("a ratio is infinite where exact and 0 where nothing is told from zero", () => {
  assert.equal(ratio(-3, 1), 3);
  assert.equal(ratio(1, 0), Infinity);
  assert.equal(ratio(0, 0), 0);
  assert.equal(ratio(1e-9, 0, 1e-6), 0);
  assert.equal(ratio(1, null), 0);
  assert.equal(ratio(Number.NaN, 1), 0);
});

test("partners are ranked by value over error, and those below two errors are unsure", () => {
  const found = partnersOf(explained([5, 1, 0.1, 0, 0, 0], [4, 0.1, 0.1, 1, 1, 1]), "word", 0);
  assert.equal(found.best, 1);
  assert.deepEqual([...found.unsure], [0, 2]);
  assert.equal(pairScale(explained([5, 1, 0.1, 0, 0, 0], [4, 0.1, 0.1, 1, 1, 1])), 1);
  assert.equal(pairScale(explained([5, 1, 0.1, 0, 0, 0], [4, 4, 4, 4, 4, 4])), 5);
});

test("the issue's pair is no finding and says which budget would tell", () => {
  const text = pairText(explained([1.32, 0.1, 0, 0, 0, 0], [1.69, 1, 1, 1, 1, 1]), { what: "word", index: 0 });
  assert.match(text, /no pair with it is beyond 2 standard errors \(nearest: region 0 \+1\.32 ± 1\.69\)/);
  assert.match(text, /raise the budget to about 6,600$/);
  assert.equal(neededBudget(1.32, 1.69, 1000), 6600);
});

test("what stands out among all pairs works, what only two errors tell may work", () => {
  const one = explained([1, 0, 0, 0, 0, 0.23], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
  assert.match(pairText(one, { what: "word", index: 0 }), /works most with region 0 \(\+1 ± 0\.1\)/);
  assert.match(pairText(one, { what: "region", index: 2 }), /may work with “left” \(\+0\.23 ± 0\.1\), but chance/);
  assert.match(pairText(explained([1, 0, 0, 0, 0, 0], null), { what: "word", index: 0 }), /states no error/);
  assert.match(pairText({ ...one, interactions: null }, { what: "word", index: 0 }), /no interactions/);
});

test("sizes have no sign and one hue, and their unit is shown with them", () => {
  const sizes = explained([1, 0, 0, 0, 0, 0], null, {
    interactions: null,
    signed: false,
    unitText: "share of attention, without a unit",
  });
  assert.equal(amount(sizes, 978), "978");
  assert.equal(amount({ signed: true }, 978), "+978");
  const text = hoverText(sizes, null, { what: "word", index: 1 });
  assert.ok(text.startsWith("“left”: 2 ± 0.1 share of attention, without a unit"));
  assert.doesNotMatch(text, /points/);
  for (const map of ["red-blue", "orange-purple", "brown-teal"]) {
    assert.equal(mapOf({ signed: true }, map), map);
    const one = mapOf(sizes, map);
    assert.deepEqual(tint(0.5, one).slice(0, 3), tint(-0.5, one).slice(0, 3));
    assert.notDeepEqual(tint(0.5, one).slice(0, 3), tint(0.5, map).slice(0, 3));
  }
});

test("a what-if predicts only where values are points", () => {
  const points = { explained: "logit of “red”", unit: "points" };
  const found = { change: -0.174, predicted: 1.012, fills: "regions: constant; words: mask" };
  assert.equal(
    changeText(found, points),
    "measured change of logit of “red”: −0.174, predicted +1.01 (absent regions: constant; words: mask)",
  );
  const sizes = { explained: "logit of “red”", unit: "gradient size" };
  const text = changeText({ ...found, predicted: null }, sizes);
  assert.match(text, /values in gradient size predict none/);
  assert.doesNotMatch(text, /predicted/);
  assert.equal(changeText({ change: null }, points), "");
});
