import assert from "node:assert/strict";
import { test } from "node:test";
import { awayOfChosen, chosenOf, TakenAway } from "../../../vqa_explain/viewer/static/away.js";
import { apart } from "../../../vqa_explain/viewer/static/layout.js";

const ALL = new Map([
  ["image", new Set([0, 1, 2, 3])],
  ["question", new Set([0, 1])],
]);

function taken() {
  const found = new TakenAway();
  found.all = ALL;
  return found;
}

test("what is clicked is taken away, and again put back", () => {
  const one = taken();
  one.toggle("image", 2);
  one.toggle("question", 0);
  assert.deepEqual(one.members(), { image: [2], question: [0] });
  one.toggle("image", 2);
  assert.deepEqual(one.members(), { question: [0] });
  assert.ok(one.undo() && one.undo() && one.undo() && !one.undo());
  assert.deepEqual(one.members(), {});
});

test("where only the chosen is kept, all else is away", () => {
  const one = taken();
  one.setKeep(true);
  assert.ok(!one.any()); // nothing is chosen yet
  one.toggle("image", 2);
  assert.deepEqual(one.members(), { image: [0, 1, 3], question: [0, 1] });
  one.toggle("question", 1);
  assert.deepEqual(one.members(), { image: [0, 1, 3], question: [0] });
  one.toggle("image", 2);
  one.toggle("question", 1);
  assert.ok(!one.any()); // nothing is chosen any more
});

test("what was chosen stays chosen when it is kept and not taken away", () => {
  const one = taken();
  one.toggle("image", 1);
  one.paint("question", [0, 1]);
  one.endStroke();
  one.setKeep(true);
  assert.deepEqual(one.members(), { image: [0, 2, 3] });
  assert.deepEqual(
    [...one.chosen()].map(([name, some]) => [name, [...some]]),
    [
      ["image", [1]],
      ["question", [0, 1]],
    ],
  );
  one.setKeep(false);
  assert.deepEqual(one.members(), { image: [1], question: [0, 1] });
});

test("a box and a stroke are one step back each", () => {
  const one = taken();
  one.paint("image", [0, 1]);
  one.endStroke();
  one.paint("image", [1]);
  one.paint("image", [2]);
  one.endStroke();
  assert.deepEqual(one.members(), { image: [0, 1, 2] });
  one.undo();
  assert.deepEqual(one.members(), { image: [0, 1] });
  one.undo();
  assert.deepEqual(one.members(), {});
});

const CHANGES = [
  ["a click", (one) => one.toggle("question", 0)],
  ["a clause", (one) => one.take(new Map([["question", new Set([1])]]))],
  ["a new stroke", (one) => one.endStroke()],
  ["another mode", (one) => one.setKeep(!one.keep)],
];

for (const [name, change] of CHANGES)
  for (const keep of [false, true])
    test(`a stroke that follows ${name} is a step of its own, where what is chosen is ${keep ? "kept" : "taken"}`, () => {
      const one = taken();
      one.setKeep(keep);
      one.paint("image", [0]);
      one.paint("image", [1]);
      change(one);
      const before = [one.members(), one.keep];
      one.paint("image", [2]);
      one.paint("image", [3]);
      one.paint("image", [3]); // again over the same
      assert.ok(one.undo());
      assert.deepEqual([one.members(), one.keep], before);
    });

test("every step back changes something, and they all lead to the beginning", () => {
  const one = taken();
  one.setKeep(true);
  one.paint("image", [1]);
  one.endStroke();
  one.paint("image", [1]); // nothing new
  one.endStroke();
  one.take(new Map([["image", new Set([0, 2])]]));
  one.take(new Map([["image", new Set([2, 0])]])); // the same
  one.setKeep(true);
  const told = () => JSON.stringify([one.members(), one.keep]);
  let [now, steps] = [told(), 0];
  for (; one.undo(); steps += 1) {
    assert.notEqual(told(), now);
    now = told();
  }
  assert.equal(steps, 3);
  assert.deepEqual([one.members(), one.keep], [{}, true]);
});

test("chosen and away are each other's complement, whatever is chosen", () => {
  for (let bits = 0; bits < 64; bits++) {
    const image = new Set([0, 1, 2, 3].filter((i) => bits & (1 << i)));
    const question = new Set([0, 1].filter((i) => bits & (16 << i)));
    const chosen = new Map([
      ["image", image],
      ["question", question],
    ]);
    const away = awayOfChosen(chosen, ALL, true);
    const count = [...away.values()].reduce((sum, some) => sum + some.size, 0);
    const picked = image.size + question.size;
    assert.equal(count, picked ? 6 - picked : 0);
    const back = chosenOf(away, ALL, true);
    if (picked && picked < 6) assert.deepEqual(back, chosen);
  }
});

test("numbers on the map never lie over each other; the larger stay", () => {
  let seed = 3;
  const random = () => {
    seed = (seed * 16807) % 2147483647;
    return seed / 2147483647;
  };
  for (let round = 0; round < 40; round++) {
    const boxes = Array.from({ length: 12 }, () => ({ x: 100 * random(), y: 100 * random(), wide: 30, high: 14 }));
    const kept = apart([null, ...boxes]);
    assert.equal(kept[0], boxes[0]);
    const overlap = (a, b) => Math.abs(a.x - b.x) < 30 && Math.abs(a.y - b.y) < 14;
    for (const one of kept) assert.ok(kept.every((other) => one === other || !overlap(one, other)));
    for (const one of boxes) assert.ok(kept.includes(one) || kept.some((other) => overlap(one, other)));
    assert.ok(apart(boxes, [{ x: 50, y: 50, wide: 400, high: 400 }]).length === 0);
  }
});
