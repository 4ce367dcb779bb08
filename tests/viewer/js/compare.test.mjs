import assert from "node:assert/strict";
import { test } from "node:test";
import {
  agreementOf,
  cellOf,
  differences,
  headingOf,
  matching,
  partnerText,
  refusal,
  shortTitle,
} from "../../../vqa_explain/viewer/static/compare.js";

/** An explanation over a square of 4 × 4 pixels in equal columns. */
function columns(values, { picture = {}, question = {}, ...more } = {}) {
  const wide = 4 / values.length;
  const data = Uint32Array.from({ length: 16 }, (_, i) => Math.floor((i % 4) / wide));
  return {
    heading: "Which?",
    method: "shapley",
    model: "scenes",
    target: "red",
    contrast: null,
    score: "logit",
    explained: "logit of “red”",
    unit: "points",
    signed: true,
    shared: true,
    parts: [
      {
        name: "image",
        kind: "image",
        pictureId: "one",
        bare: 0,
        full: 2,
        size: [4, 4],
        labels: { shape: [4, 4], data },
        players: values.map((value, i) => ({ value, box: [i * wide, 0, (i + 1) * wide, 4] })),
        ...picture,
      },
      { name: "question", kind: "text", title: "Which?", players: [{ value: 1 }], ...question },
    ],
    ...more,
  };
}

const image = (explanation) => explanation.parts[0];

test("a region matches the one in its middle", () => {
  const [four, two] = [image(columns([1, 2, 3, 4])), image(columns([1, 2]))];
  assert.deepEqual(
    [0, 1, 2, 3].map((region) => matching(four, two, region)),
    [0, 0, 1, 1],
  );
  assert.equal(matching(two, four, 1), 3);
  assert.equal(matching(four, image(columns([4, 3, 2, 1])), 2), 2);
  assert.equal(matching(four, two, -1), -1);
});

test("a player of another list matches only where both say the same", () => {
  const row = (title, count) => ({ name: "row", kind: "table", title, players: new Array(count).fill({ value: 0 }) });
  assert.equal(matching(row("age = 3", 2), row("age = 3", 2), 1), 1);
  assert.equal(matching(row("age = 3", 2), row("age = 4", 2), 1), -1);
  assert.equal(matching(row("age = 3", 2), row("age = 3", 3), 1), -1);
  assert.equal(matching(row("age = 3", 2), { ...row("age = 3", 2), kind: "text" }, 1), -1);
  assert.equal(matching(row("age = 3", 2), undefined, 1), -1);
});

test("differences are in shares of each scale", () => {
  const other = columns([1, 1], { picture: { full: 1 } });
  assert.deepEqual(differences(image(columns([2, -1])), image(other)), [0, -1.5]);
});

test("agreement counts words only of one question, and names what differs", () => {
  const nine = { players: [{ value: 9 }] };
  const one = columns([1, 2, 3], { question: nine });
  const other = (more = {}) => columns([3, 2, 1], { question: { ...nine, ...more }, method: "lime" });
  assert.equal(agreementOf(one, other()), "Rank correlation with LIME: 0.20");
  const asked = { ...other({ title: "Who?" }), heading: "Who?" };
  assert.equal(agreementOf(one, asked), "Rank correlation with “Who?”: -1.00");
  assert.match(agreementOf(one, columns([1, 2])), /different ways/);
  assert.equal(headingOf(one, other()), "LIME: logit of “red”");
  assert.equal(headingOf(one, { ...one, explained: "logit of “blue”" }), "logit of “blue”");
  const classified = { ...one, heading: "Image classification", parts: [image(one)] };
  assert.equal(headingOf(one, classified), "image classification: logit of “red”");
});

test("what has no meaning is refused in one sentence", () => {
  const one = columns([1, 2, 3]);
  const numbers = { targetIndex: 0, contrastIndex: null };
  const cases = [
    [{ picture: { pictureId: "two" } }, /different pictures/],
    [{ picture: { name: "image 2" }, question: { name: "text" } }, /different inputs/],
    [{ target: "blue" }, /different answers/],
    [{ contrast: "blue" }, /different answers/],
    [{ targetIndex: 1, contrastIndex: null }, /different answers/],
    [{ score: "probability" }, /different scores \(logit; probability\)/],
    [{ signed: false, unit: "gradient size" }, /signs/],
    [{ unit: "mean score" }, /different units \(points; mean score\)/],
  ];
  assert.equal(refusal({ ...one, ...numbers }, { ...columns([3, 2, 1]), ...numbers, method: "lime" }), "");
  for (const [change, said] of cases) {
    const text = agreementOf({ ...one, ...numbers }, columns([3, 2, 1], { ...numbers, ...change }));
    assert.match(text, said);
    assert.match(text, /no difference is drawn and no correlation given\.$/);
    assert.doesNotMatch(text, /Rank/);
  }
  assert.match(refusal(one, columns([1, 2])), /different ways/);
});

test("words that cannot be compared with regions are left out of the correlation", () => {
  const unshared = { signed: false, unit: "gradient size", shared: false, question: { players: [{ value: 9 }] } };
  assert.match(agreementOf(columns([1, 2, 3], unshared), columns([3, 2, 1], unshared)), /: -1\.00$/);
});

test("a value of another unit says its unit", () => {
  const [one, other] = [columns([1, 2]), columns([0.5, 0.25], { unit: "share of attention", signed: false })];
  assert.equal(partnerText(one, other, { part: "image", index: 0 }), "; compared: 0.50 (share of attention)");
  assert.equal(partnerText(one, one, { part: "image", index: 1 }), "; compared: +2.00");
});

test("a cell of the matrix ranks the same parts, and says what differs", () => {
  const one = columns([1, 2, 3, 4]);
  assert.equal(cellOf(one, one).rank, 1);
  assert.equal(cellOf(one, one).why, "");
  // By hand: the ranks of (1, 2, 3, 4, 1) and (4, 3, 2, 1, 1).
  const turned = columns([4, 3, 2, 1]);
  const [a, b] = [
    [0.5, 2, 3, 4, 0.5],
    [4, 3, 2, 0.5, 0.5],
  ];
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
  const product = (u, v) => u.reduce((sum, value, i) => sum + (value - mean(u)) * (v[i] - mean(v)), 0);
  const expected = product(a, b) / Math.sqrt(product(a, a) * product(b, b));
  assert.ok(Math.abs(cellOf(one, turned).rank - expected) < 1e-12);
  const blue = cellOf(one, { ...turned, target: "blue" });
  assert.deepEqual([blue.rank, blue.why], [cellOf(one, turned).rank, "different answers"]);
  const sizes = cellOf(columns([-4, 1, 2, 3]), { ...columns([4, 1, 2, 3]), signed: false, unit: "attention" });
  assert.equal(sizes.rank, 1);
  assert.ok(sizes.unsigned && sizes.why.includes("sizes without signs"));
});

test("a cell of parts that are not the same is empty", () => {
  const one = columns([1, 2, 3, 4]);
  assert.deepEqual(cellOf(one, columns([1, 2, 3, 4], { picture: { pictureId: "two" } })).why, "different pictures");
  assert.deepEqual(cellOf(one, columns([1, 2])).rank, null);
  assert.equal(cellOf(columns([1, 1, 1, 1]), one).rank, null);
});

test("a column is called by its method and answers", () => {
  assert.equal(shortTitle(columns([1])), "Shapley values, red");
  assert.equal(shortTitle(columns([1], { contrast: "blue" })), "Shapley values, red − blue");
});
