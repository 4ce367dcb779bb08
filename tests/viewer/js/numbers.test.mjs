import assert from "node:assert/strict";
import { test } from "node:test";
import {
  amount,
  errorText,
  histogram,
  largest,
  leftText,
  listed,
  percent,
  placesOf,
  points,
  rankCorrelation,
  ranks,
  valueText,
} from "../../../vqa_explain/viewer/static/numbers.js";

test("an error has one digit, and its value the same place", () => {
  assert.equal(points(2.419, 0.0189), "+2.42 ± 0.02");
  assert.equal(points(-0.006, 0.0096), "−0.01 ± 0.01");
  assert.equal(points(0.003, 0.02), "0.00 ± 0.02");
  assert.equal(points(123.4, 17), "+123 ± 17");
  assert.equal(points(1.32, 0.96), "+1 ± 1");
  assert.equal(placesOf(0.00034), 4);
  assert.equal(errorText(null), "");
});

test("without an error there are two decimals, or two digits where these would be too few", () => {
  assert.equal(points(-0.5, 0), "−0.50");
  assert.equal(valueText(4.996), "+5.00");
  assert.equal(valueText(0.0459), "+0.046");
  assert.equal(valueText(0.04), "+0.040");
  assert.equal(valueText(0.00001234), "+1.2e−5");
  assert.equal(valueText(978), "+978.0");
  assert.equal(points(0), "0");
});

test("the sign is written where there are two", () => {
  assert.equal(amount({ signed: false }, 3, 0.1), "3.0 ± 0.1");
  assert.equal(amount({ signed: true }, 3, 0.1), "+3.0 ± 0.1");
  assert.equal(amount({ signed: true, fromZero: false }, -3), "−3.00");
});

test("probabilities are whole percents from 10 to 90, else with one decimal", () => {
  assert.deepEqual([1, 0.9996, 0.985, 0.9, 0.5049, 0.1, 0.0994, 0.0004, 1e-9, 0].map(percent), [
    "100%",
    "100%",
    "98.5%",
    "90%",
    "50%",
    "10%",
    "9.9%",
    "<0.1%",
    "<0.1%",
    "0%",
  ]);
});

test("how long work takes is said in one unit", () => {
  assert.deepEqual([0.2, 11.2, 89, 600, 9000].map(leftText), [
    "under 1 s left",
    "about 12 s left",
    "about 89 s left",
    "about 10 min left",
    "about 2.5 h left",
  ]);
});

test("ranks average ties, and their correlation is Spearman's", () => {
  assert.deepEqual(ranks([3, 1, 3, 2]), [2.5, 0, 2.5, 1]);
  assert.equal(rankCorrelation([1, 2, 3], [2, 4, 9]), 1);
  assert.equal(rankCorrelation([1, 2, 3], [9, 4, 2]), -1);
  assert.ok(Math.abs(rankCorrelation([1, 2, 3, 4, 5], [5, 6, 7, 8, 7]) - 0.8207826816681233) < 1e-12);
  assert.equal(rankCorrelation([1, 1], [1, 2]), null);
});

test("a histogram counts every value once", () => {
  const counts = histogram([-1, -1, 0, 0.99, 1], -1, 1, 4);
  assert.deepEqual(counts, [2, 0, 1, 2]);
  assert.equal(largest([-3, 2]), 3);
  assert.equal(listed(["a", "b", "c"], "and"), "a, b and c");
});
