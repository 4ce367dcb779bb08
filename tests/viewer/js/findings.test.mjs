import assert from "node:assert/strict";
import { test } from "node:test";
import { mapOf, tint } from "../../../vqa_explain/viewer/static/color.js";
import { neededBudget, pairScale, partnersOf, ratio } from "../../../vqa_explain/viewer/static/findings.js";
import { amount, barPlaces } from "../../../vqa_explain/viewer/static/layout.js";
import { hoverText, pairText, playersText } from "../../../vqa_explain/viewer/static/telling.js";
import { changeText } from "../../../vqa_explain/viewer/static/whatif.js";

/** An explanation of two words and three regions with these interactions and errors, row by row. */
function explained(values, errors, more = {}) {
  const array = (data) => ({ shape: [2, 3], data: Float32Array.from(data) });
  return {
    parts: [
      { name: "image", kind: "image", player: "region", alone: true, players: [0, 1, 2].map((value) => ({ value })) },
      {
        name: "question",
        kind: "text",
        player: "word",
        alone: true,
        players: [
          { text: "red", value: 1, error: 0.1 },
          { text: "left", value: 2, error: 0.1 },
        ],
      },
    ],
    joint: [{ first: "question", second: "image", values: array(values), errors: errors && array(errors) }],
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
  const [found] = partnersOf(explained([5, 1, 0.1, 0, 0, 0], [4, 0.1, 0.1, 1, 1, 1]), "question", 0);
  assert.equal(found.name, "image");
  assert.equal(found.best, 1);
  assert.deepEqual([...found.unsure], [0, 2]);
  assert.equal(pairScale(explained([5, 1, 0.1, 0, 0, 0], [4, 0.1, 0.1, 1, 1, 1])), 1);
  assert.equal(pairScale(explained([5, 1, 0.1, 0, 0, 0], [4, 4, 4, 4, 4, 4])), 5);
});

test("the issue's pair is no finding and says which budget would tell", () => {
  const text = pairText(explained([1.32, 0.1, 0, 0, 0, 0], [1.69, 1, 1, 1, 1, 1]), { part: "question", index: 0 });
  assert.match(text, /no pair with it is beyond 2 standard errors \(nearest: region 0 \+1\.32 ± 1\.69\)/);
  assert.match(text, /raise the budget to about 6,600$/);
  assert.equal(neededBudget(1.32, 1.69, 1000), 6600);
});

test("what stands out among all pairs works, what only two errors tell may work", () => {
  const one = explained([1, 0, 0, 0, 0, 0.23], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
  assert.match(pairText(one, { part: "question", index: 0 }), /works most with region 0 \(\+1 ± 0\.1\)/);
  assert.match(pairText(one, { part: "image", index: 2 }), /may work with “left” \(\+0\.23 ± 0\.1\), but chance/);
  assert.match(pairText(explained([1, 0, 0, 0, 0, 0], null), { part: "question", index: 0 }), /states no error/);
  assert.match(pairText({ ...one, joint: [] }, { part: "question", index: 0 }), /no interactions/);
});

test("sizes have no sign and one hue, and their unit is shown with them", () => {
  const sizes = explained([1, 0, 0, 0, 0, 0], null, {
    joint: [],
    signed: false,
    unitText: "share of attention, without a unit",
  });
  assert.equal(amount(sizes, 978), "978");
  assert.equal(amount({ signed: true }, 978), "+978");
  const text = hoverText(sizes, null, { part: "question", index: 1 });
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

test("of several inputs, the pair that stands out most is named with its input", () => {
  const one = explained([1, 0, 0, 0, 0, 0], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
  const table = { name: "patient", kind: "table", player: "column", alone: true, players: [{ text: "age = 63" }] };
  const scan = { ...one.parts[0], name: "scan" };
  const array = (shape, data) => ({ shape, data: Float32Array.from(data) });
  const joint = [
    ...one.joint,
    { first: "patient", second: "question", values: array([1, 2], [3, 0.2]), errors: array([1, 2], [0.1, 0.1]) },
    {
      first: "scan",
      second: "question",
      values: array([3, 2], [0, 0, 4, 0, 0, 0]),
      errors: array([3, 2], new Array(6).fill(0.1)),
    },
  ];
  const parts = [...one.parts.map((part) => ({ ...part, alone: part.kind !== "image" })), table, scan].map((part) =>
    part.name === "scan" ? { ...part, alone: false } : part,
  );
  const all = { ...one, parts, joint };
  assert.deepEqual(
    partnersOf(all, "question", 0).map(({ name, values }) => [name, values.length]),
    [
      ["image", 3],
      ["patient", 1],
      ["scan", 3],
    ],
  );
  assert.match(pairText(all, { part: "question", index: 0 }), /works most with region 1 of scan \(\+4 ± 0\.1\)/);
  assert.match(pairText(all, { part: "question", index: 1 }), /may work with column age = 63/);
  assert.equal(pairScale(all), 4);
  assert.equal(playersText(all), "a word, a region or a column");
  assert.equal(playersText(all, true), "words, regions or columns");
});

test("bars begin at zero, and whiskers are two errors wide", () => {
  const [one, other] = barPlaces(
    [
      { value: 3, error: 1 },
      { value: -1, error: null },
    ],
    true,
  );
  assert.deepEqual(one, { zero: 0.2, start: 0.2, width: 0.6000000000000001, whisker: { start: 0.6, width: 0.4 } });
  assert.deepEqual([other.start, other.whisker], [0, null]);
});
