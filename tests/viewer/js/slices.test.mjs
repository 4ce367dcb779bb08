import assert from "node:assert/strict";
import { test } from "node:test";
import { cellsOf, ordered } from "../../../vqa_explain/viewer/static/cells.js";
import { meansOf, slicesOf, waysOf } from "../../../vqa_explain/viewer/static/slices.js";

const KINDS = ["color", "count", ""];

/** Examples of every kind, outcome and answer, with ties and numbers that are not known. */
function examples(count) {
  return Array.from({ length: count }, (_, i) => ({
    title: `${i}?`,
    state: "done",
    kind: KINDS[i % 3],
    answer: "abc"[(i * 5) % 3],
    label: i % 4 ? "a" : null,
    correct: i % 4 ? i % 5 > 0 : null,
    probability: (i % 7) / 7,
    numbers: i % 6 ? { "image's share": (i % 11) / 10, error: (i % 2) / 10 } : {},
  }));
}

const ENTRIES = examples(97);
const CELLS = cellsOf(ENTRIES);
const FILTERS = [
  {},
  { outcome: "wrong" },
  { equals: { kind: "count" }, ranges: { error: [0, 0.05] } },
  { search: "1", ranges: { "image's share": [0.2, 0.9] } },
  { equals: { answer: "b", kind: "color" }, outcome: "right", sort: "error" },
];
const isNear = (a, b) => a === b || Math.abs(a - b) < 1e-12;
const mean = (values) => (values.length ? values.reduce((a, b) => a + b, 0) / values.length : null);

test("examples are divided by what is known of them", () => {
  assert.deepEqual(waysOf(ENTRIES, CELLS), [
    ...["kind", "answer", "true answer", "outcome", "confidence", "image's share", "error"],
  ]);
  assert.deepEqual(waysOf([{ title: "a", state: "waiting", answer: "", correct: null }], []), []);
  assert.equal(meansOf(CELLS)[0].name, "image's share");
});

test("a group says what the table says once it is filtered by that group", () => {
  for (const filter of FILTERS)
    for (const way of waysOf(ENTRIES, CELLS)) {
      const slices = slicesOf(ENTRIES, filter, CELLS, way);
      for (const one of slices.filter((slice) => slice.filter)) {
        const members = ordered(ENTRIES, { ...filter, ...one.filter }, CELLS).map((place) => ENTRIES[place]);
        assert.equal(one.count, members.length, `${way} ${one.text}`);
        const judged = members.filter(({ correct }) => correct !== null);
        assert.equal(one.right, mean(judged.map(({ correct }) => Number(correct))));
        for (const [i, cell] of meansOf(CELLS).entries())
          assert.ok(isNear(one.means[i], mean(members.map(cell.of).filter((value) => value !== null))));
      }
    }
});

test("groups hold every example that the other conditions let through, once", () => {
  for (const filter of FILTERS)
    for (const way of waysOf(ENTRIES, CELLS)) {
      const { [way]: _, ...equals } = filter.equals ?? {};
      const { [way]: __, ...ranges } = filter.ranges ?? {};
      const rest = { ...filter, equals, ranges, ...(way === "outcome" ? { outcome: "all" } : {}) };
      const slices = slicesOf(ENTRIES, filter, CELLS, way);
      const sum = slices.reduce((all, { count }) => all + count, 0);
      assert.equal(sum, ordered(ENTRIES, rest, CELLS).length, way);
      assert.ok(slices.every(({ count }) => count > 0));
    }
});

test("pieces of a number are at most four, and equal numbers are in one", () => {
  const pieces = slicesOf(ENTRIES, {}, CELLS, "confidence");
  assert.equal(pieces.length, 4);
  const ends = pieces.map(({ filter }) => filter.ranges.confidence);
  for (const [i, [low]] of ends.entries()) if (i) assert.ok(low > ends[i - 1][1]);
  assert.equal(slicesOf(ENTRIES, {}, CELLS, "error").filter(({ filter }) => filter).length, 2);
});
