import assert from "node:assert/strict";
import { test } from "node:test";
import { inSentence, methodTitle, placeName, unitName } from "../../../vqa_explain/viewer/static/names.js";
import {
  canShareScale,
  countingOf,
  rankedPlayers,
  scaleOf,
  sharesOf,
  unsureOf,
} from "../../../vqa_explain/viewer/static/scales.js";

const players = (values, error = null) => values.map((value) => ({ value, error }));

/** Regions and words with these values. */
function explained(regions, words, more = {}) {
  return {
    shared: true,
    fromZero: true,
    signed: true,
    parts: [
      { name: "image", kind: "image", player: "region", size: [9, 9], players: regions },
      { name: "question", kind: "text", player: "word", players: words },
    ],
    ...more,
  };
}

test("own scales are filled by each kind, and one scale by the largest of all", () => {
  const one = explained(players([-0.5, 5]), players([2.5, -1]));
  const [image, question] = one.parts;
  assert.deepEqual(scaleOf(one, image, { scale: "own" }), { bare: 0, full: 5, times: 1 });
  assert.deepEqual(scaleOf(one, question, { scale: "own" }), { bare: 0, full: 2.5, times: 2 });
  assert.deepEqual(scaleOf(one, question, { scale: "one" }), { bare: 0, full: 5, times: 1 });
  assert.deepEqual(sharesOf(question, scaleOf(one, question, { scale: "own" })), [1, -0.4]);
});

test("values that cannot be compared never share a scale", () => {
  const apart = explained(players([5]), players([2]), { shared: false });
  assert.equal(canShareScale(apart), false);
  assert.equal(scaleOf(apart, apart.parts[1], { scale: "one" }).full, 2);
  const alone = { ...apart, shared: true, parts: apart.parts.slice(0, 1) };
  assert.equal(canShareScale(alone), false);
});

test("mean scores run from the smallest value to the largest", () => {
  const means = explained(players([0.7, 0.9]), players([0.8]), { fromZero: false });
  assert.deepEqual(scaleOf(means, means.parts[0], { scale: "own" }), { bare: 0.7, full: 0.9, times: 1 });
});

test("what counts is for the answer, told from zero, and above the threshold", () => {
  const part = { players: [...players([3, -3, 0.2, 1], 0.2)] };
  const scale = { bare: 0, full: 3 };
  assert.deepEqual([...countingOf(part, scale, 0)], [0, 3]);
  assert.deepEqual([...countingOf(part, scale, 0.5)], [0]);
  assert.deepEqual([...unsureOf(part)], [2]);
  // Without standard errors, a tenth of the largest counts.
  assert.deepEqual([...countingOf({ players: players([3, 0.2, 1]) }, scale, 0)], [0, 2]);
});

test("a value without a standard error is never said to be unsure", () => {
  assert.deepEqual([...unsureOf({ players: players([0, 1e-9]) })], []);
});

test("parts are ranked by size, over all inputs", () => {
  const one = explained(players([-4, 1]), players([2.5]));
  assert.deepEqual(
    rankedPlayers(one).map(({ part, index, value }) => [part.name, index, value]),
    [
      ["image", 0, -4],
      ["question", 0, 2.5],
      ["image", 1, 1],
    ],
  );
});

test("a region is named by its place in the picture", () => {
  const at = (box) => ({ kind: "image", player: "region", alone: true, size: [90, 180], players: [{ box }] });
  assert.equal(placeName(at([0, 0, 20, 20]), 0), "upper left");
  assert.equal(placeName(at([80, 0, 100, 20]), 0), "top");
  assert.equal(placeName(at([80, 40, 100, 50]), 0), "middle");
  assert.equal(placeName(at([160, 70, 180, 90]), 0), "lower right");
  assert.equal(inSentence(at([80, 40, 100, 50]), 0), "the region in the middle");
  assert.equal(inSentence(at([0, 40, 20, 50]), 0), "the region at the left");
});

test("methods and units are written as people write them", () => {
  assert.equal(methodTitle("integrated_gradients"), "Integrated gradients");
  assert.equal(methodTitle("shapley"), "Shapley values");
  assert.equal(unitName({ addsUp: true, score: "log_probability" }), "points of log probability");
  assert.equal(unitName({ addsUp: false, unit: "gradient size" }), "gradient size");
});

test("values that are rounding beside those of another kind fill no scale of their own", () => {
  const one = explained(players([1e-8, -2e-8]), players([0.4, -0.1]));
  const [image, question] = one.parts;
  assert.equal(scaleOf(one, image, { scale: "own" }).full, 0.4);
  assert.equal(scaleOf(one, question, { scale: "own" }).full, 0.4);
  assert.equal(scaleOf(explained(players([0.004, 0]), players([0.4])), image, { scale: "own" }).full, 0.004);
});
