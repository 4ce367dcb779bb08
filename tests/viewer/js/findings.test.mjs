import assert from "node:assert/strict";
import { test } from "node:test";
import { withAfter } from "../../../vqa_explain/viewer/static/answers.js";
import { neededBudget, pairScale, partnersOf, ratio } from "../../../vqa_explain/viewer/static/findings.js";
import { barPlaces } from "../../../vqa_explain/viewer/static/layout.js";
import { playersText } from "../../../vqa_explain/viewer/static/names.js";
import { amount, dependsMark } from "../../../vqa_explain/viewer/static/numbers.js";
import { hoverText, pairText } from "../../../vqa_explain/viewer/static/telling.js";
import { errorOfSum, gapText } from "../../../vqa_explain/viewer/static/whatif.js";

const BOXES = [
  [0, 0, 3, 3],
  [6, 0, 9, 3],
  [3, 3, 6, 6],
];

/** An explanation of two words and three regions with these interactions and errors, row by row. */
function explained(values, errors, more = {}) {
  const array = (data) => ({ shape: [2, 3], data: Float32Array.from(data) });
  return {
    parts: [
      {
        name: "image",
        kind: "image",
        player: "region",
        alone: true,
        size: [9, 9],
        players: [0, 1, 2].map((value, i) => ({ value, error: null, box: BOXES[i] })),
      },
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
    addsUp: true,
    score: "logit",
    target: "red",
    contrast: null,
    unit: "points",
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
  assert.match(text, /no pair with it is beyond 2 standard errors \(nearest: upper left \(0\) \+1 ± 2\)/);
  assert.match(text, /raise the budget to about 6,600$/);
  assert.equal(neededBudget(1.32, 1.69, 1000), 6600);
});

test("what stands out among all pairs works, what only two errors tell may work", () => {
  const one = explained([1, 0, 0, 0, 0, 0.23], [0.1, 0.1, 0.1, 0.1, 0.1, 0.1]);
  assert.match(pairText(one, { part: "question", index: 0 }), /works most with upper left \(0\) \(\+1\.0 ± 0\.1\)/);
  assert.match(pairText(one, { part: "image", index: 2 }), /may work with “left” \(\+0\.2 ± 0\.1\), but chance/);
  assert.match(pairText(explained([1, 0, 0, 0, 0, 0], null), { part: "question", index: 0 }), /states no error/);
  assert.equal(pairText({ ...one, joint: [] }, { part: "question", index: 0 }), "");
});

test("sizes have no sign, and their unit is shown with them", () => {
  const sizes = explained([1, 0, 0, 0, 0, 0], null, {
    joint: [],
    signed: false,
    addsUp: false,
    unit: "share of attention",
  });
  assert.equal(amount(sizes, 978), "978.0");
  const text = hoverText(sizes, [], { part: "question", index: 1 });
  assert.equal(text, "“left”: 2.0 ± 0.1 share of attention");
});

test("what is pointed at says which way it speaks, and what cannot be told from zero", () => {
  const one = explained([0, 0, 0, 0, 0, 0], null, { joint: [] });
  const said = (value, error, more = {}) => {
    one.parts[1].players[0] = { text: "red", value, error };
    return hoverText({ ...one, ...more }, [], { part: "question", index: 0 });
  };
  assert.equal(said(1, 0.1), "“red”: +1.0 ± 0.1 points of logit, for red");
  assert.equal(said(-1, 0.1), "“red”: −1.0 ± 0.1 points of logit, against red");
  assert.equal(said(-1, 0.1, { contrast: "blue" }), "“red”: −1.0 ± 0.1 points of logit, for blue");
  assert.equal(said(0.15, 0.1), "“red”: +0.1 ± 0.1 points of logit, cannot be told from zero");
});

test("the error of a prediction is at most the sum of its parts' errors", () => {
  const one = explained([0, 0, 0, 0, 0, 0], null);
  assert.ok(Math.abs(errorOfSum(one, new Map([["question", new Set([0, 1])]])) - 0.2) < 1e-12);
  assert.equal(gapText(-8.63, -6.75), "1.88 more than predicted: parts that work together do not simply add up.");
  assert.match(gapText(-0.17, 1.01), /^1\.18 less than predicted/);
  assert.equal(gapText(1, 1.01), "About as predicted.");
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
  assert.match(
    pairText(all, { part: "question", index: 0 }),
    /works most with upper right \(1\) of scan \(\+4\.0 ± 0\.1\)/,
  );
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
  const whisker = { start: 0.6, width: 0.4 };
  assert.deepEqual(one, { zero: 0.2, start: 0.2, width: 0.6000000000000001, whisker, band: null });
  assert.deepEqual([other.start, other.whisker], [0, null]);
});

test("answers after a what-if are added once, and two labels of one text are two answers", () => {
  const before = [
    { text: "crane", index: 7, probability: 0.5 },
    { text: "crane", index: 4, probability: 0.3 },
    { text: "dog", index: 0, probability: 0.2 },
  ];
  const after = [
    { text: "cat", index: 1, probability: 0.6 },
    { text: "dog", index: 9, probability: 0.3 },
    { text: "crane", index: 5, probability: 0.1 },
  ];
  const told = (list) => list.map(({ text, index }) => `${text} ${index}`);
  assert.deepEqual(told(withAfter(before, null)), ["crane 7", "crane 4", "dog 0"]);
  assert.deepEqual(told(withAfter(before, after)), ["crane 7", "crane 4", "dog 0", "cat 1", "crane 5"]);
});

test("a bracket lies where every fill's values lie, on the axis of the bars", () => {
  const players = [
    { value: 2, error: 0.5, band: [-1, 3] },
    { value: 1, error: 0.1 },
  ];
  const [one, other] = barPlaces(players, true);
  const at = (share) => -1 + share * 4; // from the least to the greatest of all ends
  assert.ok(Math.abs(at(one.band.start) + 1) < 1e-12);
  assert.ok(Math.abs(at(one.band.start + one.band.width) - 3) < 1e-12);
  assert.ok(Math.abs(at(one.zero)) < 1e-12);
  assert.equal(other.band, null);
  assert.deepEqual(
    [[-1, 3], [0, 1], [0.1, 2], [-2, -1], null].map((band) => dependsMark({ band })),
    ["†", "†", "", "", ""],
  );
});
