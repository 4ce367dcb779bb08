import assert from "node:assert/strict";
import { test } from "node:test";
import { ofWord } from "../../../vqa_explain/viewer/static/sentence.js";

const whole = {
  target: "a red circle",
  explained: "the whole",
  whyNoShares: "",
  share: { image: 0.5, question: 0.5 },
  parts: [
    {
      name: "image",
      size: [9, 9],
      fixed: false,
      full: 5,
      bare: 0,
      players: [{ value: 1, error: 0.1, box: [0, 0, 9, 9] }],
    },
    { name: "question", fixed: false, full: 5, bare: 0, players: [{ value: 2, error: 0.2, text: "what" }] },
  ],
  outputs: [
    {
      target: "red",
      explained: "word 2",
      sources: {},
      share: { image: 0.75, question: 0.25 },
      parts: [
        { values: [-3], errors: [0.5], full: 3, bare: 0 },
        { values: [1], errors: null, full: 1, bare: 0 },
      ],
    },
  ],
};

test("a word has values, errors and scales of its own, and the places of the whole", () => {
  const one = ofWord(whole, 0);
  assert.equal(one.target, "red");
  assert.deepEqual(one.parts[0].players, [{ value: -3, error: 0.5, band: null, box: [0, 0, 9, 9] }]);
  assert.deepEqual(one.parts[1].players, [{ value: 1, error: null, band: null, text: "what" }]);
  assert.equal(one.parts[0].full, 3);
  assert.deepEqual(one.share, { image: 0.75, question: 0.25 });
  assert.equal(whole.parts[0].players[0].value, 1);
  assert.deepEqual(one.joint, []); // those of the whole are not the word's
});

test("a number of no word gives the whole", () => {
  assert.equal(ofWord(whole, -1), whole);
  assert.equal(ofWord({ ...whole, outputs: undefined }, 0).target, "a red circle");
});
