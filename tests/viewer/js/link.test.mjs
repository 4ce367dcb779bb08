import assert from "node:assert/strict";
import { test } from "node:test";
import { linkOf, stateOfLink } from "../../../vqa_explain/viewer/static/link.js";

const OPENING = stateOfLink("", 10);

test("a page as it opens has no link of its own", () => {
  assert.equal(linkOf(OPENING), "");
  assert.equal(OPENING.example, 0);
  assert.equal(OPENING.look.map, "orange-purple");
});

test("every state comes back from its link", () => {
  const states = [
    { example: 3 },
    { look: { ...OPENING.look, page: "table", map: "red-blue", threshold: 0.25, truth: true } },
    { look: { ...OPENING.look, strength: 0.5, scale: "one", unit: "pixels", pane: "matrix", smooth: true } },
    { filter: { ...OPENING.filter, search: "a & b=c #1", outcome: "wrong", sort: "image's share", descending: true } },
    { filter: { ...OPENING.filter, ranges: { "a:b, c": [-0.5, 2], error: [0, 0.1] }, only: [1, 2] } },
    { filter: { ...OPENING.filter, equals: { kind: "a: b & c", answer: "__proto__", "true answer": "=,é" } } },
    { selection: [1, 4, 9], columns: [2, 0], stars: [7] },
  ];
  for (const changed of states) {
    const state = { ...OPENING, ...changed };
    assert.deepEqual(stateOfLink(linkOf(state), 10), state);
  }
  assert.equal(
    linkOf({ ...OPENING, look: { ...OPENING.look, page: "table" }, selection: [1, 4] }),
    "page=table&selection=1,4",
  );
});

test("a link that fits nothing opens the page as usual", () => {
  for (const link of [
    "example=10",
    "example=-1",
    "example=x",
    "page=tables&map=jet&outcome=maybe&scale=2",
    "selection=99,x,-1&columns=&stars=1e1",
    "range=error:a:2&range=:&range",
    "equal=kind:&equal=:a&equal=__proto__:a&equal=constructor:a&equal=question:a&equal",
    "strength=&threshold=x",
    "__proto__=1&constructor=2",
    "%",
  ])
    assert.deepEqual(stateOfLink(link, 10), OPENING, link);
  assert.equal(stateOfLink("threshold=7&strength=0", 10).look.threshold, 1);
  assert.equal(stateOfLink("strength=0", 10).look.strength, 0.1);
});
