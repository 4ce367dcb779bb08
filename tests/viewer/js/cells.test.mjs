import assert from "node:assert/strict";
import { test } from "node:test";
import {
  cellsOf,
  cellText,
  countsOf,
  csvOf,
  isOpen,
  numeric,
  ordered,
  placeIn,
} from "../../../vqa_explain/viewer/static/cells.js";
import { axesOf, inArea, ticksOf } from "../../../vqa_explain/viewer/static/scatter.js";

const ENTRIES = [
  {
    title: "What color?",
    answer: "cyan",
    label: "cyan",
    correct: true,
    probability: 0.9,
    id: "a",
    numbers: { error: 0.2, mass: -3 },
  },
  { title: "How many?", answer: "3", label: "2", correct: false, probability: 0.5, id: "b", numbers: { error: 0.05 } },
  { title: "Is it red?", answer: "no", label: null, correct: null, probability: null, id: "", numbers: {} },
  {
    title: "How many dots?",
    answer: "2",
    label: "2",
    correct: true,
    probability: 0.7,
    id: "d",
    numbers: { error: 0.1, mass: 8 },
  },
];
const CELLS = cellsOf(ENTRIES);
const order = (filter) => ordered(ENTRIES, filter, CELLS);

test("a table has columns for every number that any example has", () => {
  assert.deepEqual(
    CELLS.map(({ name, kind }) => [name, kind]),
    [
      ["question", "words"],
      ["answer", "words"],
      ["confidence", "share"],
      ["error", "error"],
      ["mass", "number"],
    ],
  );
  const mass = CELLS.at(-1);
  assert.deepEqual([mass.low, mass.high], [-3, 8]);
  assert.equal(placeIn(mass, 2.5), 0.5);
  assert.deepEqual(
    [cellText(mass, -3), cellText(mass, null), cellText(CELLS[2], 0.5), cellText(CELLS[3], 0.2)],
    ["−3", "", "50%", "± 0.2"],
  );
  assert.deepEqual(
    cellsOf([{ title: "x", state: "done", probability: null }]).map(({ name }) => name),
    ["question", "answer"],
  );
});

test("examples pass a filter by search, outcome, ranges and places", () => {
  assert.ok(isOpen({}) && isOpen({ search: "", outcome: "all", ranges: {}, only: null, sort: "" }));
  assert.deepEqual(order({}), [0, 1, 2, 3]);
  assert.deepEqual(order({ search: "HOW " }), [1, 3]);
  assert.deepEqual(order({ search: "cyan" }), [0]);
  assert.deepEqual(order({ outcome: "right" }), [0, 3]);
  assert.deepEqual(order({ outcome: "wrong", search: "color" }), []);
  assert.deepEqual(order({ ranges: { error: [0.1, 0.2] } }), [0, 3]);
  assert.deepEqual(order({ ranges: { error: [0, 1], confidence: [0, 0.6] } }), [1]);
  assert.deepEqual(order({ ranges: { nothing: [0, 1] } }), []);
  assert.deepEqual(order({ only: [3, 1], outcome: "right" }), [3]);
});

test("examples are sorted by any column; those without its number come last", () => {
  assert.deepEqual(order({ sort: "error" }), [1, 3, 0, 2]);
  assert.deepEqual(order({ sort: "error", descending: true }), [0, 3, 1, 2]);
  assert.deepEqual(order({ sort: "mass" }), [0, 3, 1, 2]);
  assert.deepEqual(order({ sort: "question" }), [3, 1, 2, 0]);
  assert.deepEqual(order({ sort: "no such column" }), [0, 1, 2, 3]);
});

test("sorting is what a stable sort of the values gives, for many lists", () => {
  let seed = 7;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 50; round++) {
    const many = Array.from({ length: 40 }, (_, i) => ({
      title: `q${i}`,
      numbers: random() < 0.2 ? {} : { v: Math.floor(random() * 6) },
    }));
    const cells = cellsOf(many);
    const has = many.map((one, i) => [one.numbers.v, i]);
    const known = has.filter(([v]) => v !== undefined).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    const expected = [...known, ...has.filter(([v]) => v === undefined)].map(([, i]) => i);
    assert.deepEqual(ordered(many, { sort: "v" }, cells), expected);
  }
});

test("ten thousand examples are filtered and sorted at once", () => {
  const many = Array.from({ length: 10_000 }, (_, i) => ({
    title: `question ${i}`,
    correct: i % 7 > 0,
    numbers: { v: (i * 37) % 1000 },
  }));
  const cells = cellsOf(many);
  const found = ordered(many, { search: "question", outcome: "wrong", sort: "v" }, cells);
  assert.equal(found.length, Math.ceil(10_000 / 7));
  assert.ok(found.every((place, i) => !i || many[found[i - 1]].numbers.v <= many[place].numbers.v));
});

test("counts are of what is known", () => {
  const { all, right, wrong, confidence } = countsOf(ENTRIES);
  assert.deepEqual([all, right, wrong], [4, 2, 1]);
  assert.ok(Math.abs(confidence - 0.7) < 1e-12);
  assert.equal(countsOf([]).confidence, null);
});

test("a file of the selection is quoted, and holds no formula", () => {
  const hostile = [
    { title: '=cmd("x"), 1\nnext', answer: "@sum", label: null, correct: null, id: "", numbers: { v: -1 } },
  ];
  const text = csvOf(hostile, [0], cellsOf(hostile), { 0: { star: true, note: "why, so" } });
  assert.equal(
    text,
    'example,id,question,answer,v,true answer,kind,correct,star,note\r\n0,,"\'=cmd(""x""), 1\nnext",\'@sum,-1,,,,true,"why, so"\r\n',
  );
});

test("axes have round marks within their ends", () => {
  assert.deepEqual(ticksOf(0, 1), [0, 0.25, 0.5, 0.75, 1]);
  assert.deepEqual(ticksOf(-3, 8), [0, 5]);
  assert.deepEqual(ticksOf(-1, 1), [-1, -0.5, 0, 0.5, 1]);
  assert.deepEqual(ticksOf(2, 2), [2]);
});

test("a rectangle holds the points in it", () => {
  const points = [
    { index: 4, x: 0.1, y: 0.1 },
    { index: 7, x: 0.5, y: 0.9 },
  ];
  assert.deepEqual(inArea(points, [0, 0, 0.5, 0.5]), [4]);
  assert.deepEqual(inArea(points, [0, 0, 0.5, 0.9]), [4, 7]);
});

test("a scatter begins with columns that vary: confidence, then what is measured, and last what is right or wrong", () => {
  const entry = (accuracy, mass, error, probability = 0.5 + mass / 4) => ({
    title: "q",
    state: "done",
    probability,
    numbers: { accuracy, error, mass },
  });
  const some = [entry(0, 0.2, 0.01), entry(1, 0.6, 0.02), entry(1, 0.9, 0.03)];
  const axes = (entries) => axesOf(numeric(cellsOf(entries)), entries);
  assert.deepEqual(axes(some), ["confidence", "mass", "error", "accuracy"]);
  assert.deepEqual(axes(some.map(({ probability, ...rest }) => rest)).slice(0, 2), ["mass", "error"]);
  const onlyBinary = [entry(0, 1, 0.01), entry(1, 0, 0.02), entry(1, 1, 0.03)];
  assert.deepEqual(axes(onlyBinary).slice(-2).sort(), ["accuracy", "mass"]);
  assert.deepEqual(axes([]), []);
});
