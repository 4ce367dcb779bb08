import assert from "node:assert/strict";
import { test } from "node:test";
import { fedText, fedWords, ofWord, ofWords } from "../../../vqa_explain/viewer/static/wordrows.js";

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

const row = (target, values, errors, error) => ({
  ...{ target, explained: target, sources: {}, share: {}, error, errorText: "" },
  parts: values.map((own, place) => ({ values: own, errors: errors[place], full: 9, bare: 0 })),
});
const sentence = {
  ...whole,
  share: { image: 0.5, question: 0.5 },
  outputs: [
    row("a", [[1], [0]], [[0.1], [0.1]], 0.1),
    row("red", [[-3], [2]], [[0.5], null], 0.5),
    row("dog", [[0.05], [-1]], [[0.1], [0.1]], 0.2),
  ],
};

test("words together are the sum of their rows, in any order, with errors that are at most the sum of theirs", () => {
  for (const span of [
    [0, 1],
    [1, 0],
  ]) {
    const found = ofWords(sentence, span);
    assert.equal(found.target, "a red");
    assert.deepEqual(found.parts[0].players, [{ value: -2, error: 0.6, band: null, box: [0, 0, 9, 9] }]);
    assert.equal(found.parts[1].players[0].error, null); // one of them is not known
    assert.deepEqual(found.share, { image: 0.5, question: 0.5 });
    assert.equal(found.error, 0.6);
    assert.equal(found.parts[0].full, 2);
  }
  assert.equal(ofWords(sentence, [0, 2]), sentence);
  assert.equal(ofWords(sentence, [-1, -1]), sentence);
  assert.equal(ofWords(sentence, [1, 9]), sentence);
  assert.deepEqual(ofWords(sentence, [1, 1]), ofWord(sentence, 1));
});

test("maps of single pixels add up as far as they are drawn", () => {
  const withMap = (one, steps, mapFull) => {
    const heat = { shape: [1, 3], data: Int8Array.from(steps) };
    return { ...one, parts: [{ ...one.parts[0], heat, mapFull, mapBare: 0 }, one.parts[1]] };
  };
  const [a, red, dog] = sentence.outputs;
  const outputs = [withMap(a, [127, 0, 0], 2), withMap(red, [-127, 127, 64], 1), dog];
  const { heat, mapFull } = ofWords({ ...sentence, outputs }, [0, 1]).parts[0];
  assert.equal(mapFull, 1);
  assert.deepEqual([...heat.data], [127, 127, 64]);
});

test("a part's words are told from the most, but for those that cannot be told from zero", () => {
  const place = { part: "image", index: 0 };
  assert.deepEqual(
    fedWords(sentence, place).map(({ share }) => share),
    [1 / 3, -1, 0.05 / 3],
  );
  assert.equal(fedText(sentence, place), "; most for “red” −3.0 ± 0.5 and “a” +1.0 ± 0.1");
  assert.equal(fedWords(whole, null), null);
  assert.equal(fedWords({ ...sentence, outputs: [] }, place), null);
  assert.equal(fedWords({ ...sentence, fromZero: false }, place), null);
});
