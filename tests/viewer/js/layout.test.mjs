import assert from "node:assert/strict";
import { test } from "node:test";
import {
  largest,
  moved,
  NOWHERE,
  outline,
  partners,
  pieces,
  points,
  rankCorrelation,
  ranks,
  regionAt,
  toPicture,
  zoomed,
} from "../../../vqa_explain/viewer/static/layout.js";

const BOX = { left: 10, top: 20, width: 200, height: 100 };
const WHOLE = { zoom: 1, x: 0, y: 0 };

test("a point of the drawn box is a pixel of the picture", () => {
  assert.deepEqual(toPicture([10, 20], BOX, [50, 100], WHOLE), [0, 0]);
  assert.deepEqual(toPicture([209.9, 119.9], BOX, [50, 100], WHOLE), [99, 49]);
  assert.equal(toPicture([9, 20], BOX, [50, 100], WHOLE), null);
  assert.equal(toPicture([10, 120], BOX, [50, 100], WHOLE), null);
});

test("zooming keeps what is under the pointer, and the picture fills its box", () => {
  const point = [60, 45];
  const share = [0.25, 0.25];
  const before = toPicture(point, BOX, [1000, 1000], WHOLE);
  const view = zoomed(WHOLE, 4, share);
  const after = toPicture(point, BOX, [1000, 1000], view);
  assert.ok(Math.abs(before[0] - after[0]) <= 1 && Math.abs(before[1] - after[1]) <= 1);
  assert.deepEqual(zoomed(view, 1e-9, share), WHOLE);
  assert.equal(zoomed(view, 1e9, share).zoom, 16);
  assert.equal(moved(view, 100, 0).x, 0);
  assert.equal(moved(view, -100, 0).x, -3);
});

test("regions and the partners of players are read from arrays", () => {
  const labels = { shape: [2, 2], data: new Uint32Array([0, 1, NOWHERE, 2]) };
  assert.deepEqual(
    [
      [0, 0],
      [1, 0],
      [0, 1],
      [1, 1],
    ].map((place) => regionAt(labels, place)),
    [0, 1, -1, 2],
  );
  assert.equal(regionAt(labels, null), -1);
  const interactions = { shape: [2, 3], data: new Float32Array([1, 2, 3, 4, 5, 6]) };
  assert.deepEqual(partners(interactions, "first", 1), [4, 5, 6]);
  assert.deepEqual(partners(interactions, "second", 2), [3, 6]);
  assert.equal(largest([-3, 2]), 3);
});

test("numbers have three digits that count", () => {
  assert.equal(points(1.23456, 0.0171), "+1.23 ± 0.0171");
  assert.equal(points(-0.5, 0), "−0.5");
  assert.equal(points(0.00001234), "+1.2e-5");
  assert.equal(points(0), "+0");
});

test("ranks average ties, and their correlation is Spearman's", () => {
  assert.deepEqual(ranks([3, 1, 3, 2]), [2.5, 0, 2.5, 1]);
  assert.equal(rankCorrelation([1, 2, 3], [2, 4, 9]), 1);
  assert.equal(rankCorrelation([1, 2, 3], [9, 4, 2]), -1);
  assert.ok(Math.abs(rankCorrelation([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) - 0.8207826816681233) < 1e-12);
  assert.equal(rankCorrelation([1, 1], [1, 2]), null);
});

test("a question is cut at code points, as Python counts", () => {
  const words = [
    { start: 0, end: 2 },
    { start: 5, end: 8 },
  ];
  assert.deepEqual(pieces("is 🍩 red?", words), [
    { text: "is", word: 0 },
    { text: " 🍩 ", word: -1 },
    { text: "red", word: 1 },
    { text: "?", word: -1 },
  ]);
});

test("an outline goes once around", () => {
  const inside = new Set([4]);
  assert.equal(outline([3, 3], (i) => inside.has(i)).length, 4);
  assert.equal(outline([1, 2], () => true).length, 6);
  assert.equal(outline([2, 2], () => false).length, 0);
});
