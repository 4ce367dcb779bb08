import assert from "node:assert/strict";
import { test } from "node:test";
import {
  moved,
  NOWHERE,
  neighbor,
  outlines,
  partners,
  pieces,
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

test("outlines go around every region once, with holes, and know its middle", () => {
  const labels = { shape: [3, 3], data: Uint32Array.from([0, 0, 0, 0, 1, 0, 0, 0, 0]) };
  const [ring, middle] = outlines(labels, 2);
  assert.equal(middle.d, "M1 1H2V2H1Z");
  assert.deepEqual([middle.x, middle.y, middle.area], [1.5, 1.5, 1]);
  assert.equal(ring.d.match(/M/g).length, 2);
  assert.equal(ring.area, 8);
  const [half, , none] = outlines({ shape: [1, 4], data: Uint32Array.from([0, 0, 1, NOWHERE]) }, 3);
  assert.equal(half.d, "M0 0H2V1H0Z");
  assert.deepEqual([none.d, none.area], ["", 0]);
});

test("the outline of a region encloses its pixels and no others", () => {
  const labels = { shape: [12, 17], data: new Uint32Array(12 * 17).map((_, i) => (i * i + 3 * (i % 17)) % 5) };
  outlines(labels, 5).forEach(({ d, area }, region) => {
    // The area by the shoelace formula, loop by loop: holes count below zero.
    let whole = 0;
    for (const loop of d.split("Z").filter(Boolean)) {
      let [x, y] = loop
        .match(/M(\d+) (\d+)/)
        .slice(1)
        .map(Number);
      const [firstX, firstY] = [x, y];
      const to = (u, v) => {
        whole += x * v - u * y;
        [x, y] = [u, v];
      };
      for (const [, letter, at] of loop.matchAll(/([HV])(\d+)/g)) {
        if (letter === "H") to(Number(at), y);
        else to(x, Number(at));
      }
      to(firstX, firstY);
    }
    assert.equal(whole / 2, area);
    assert.equal(area, labels.data.filter((one) => one === region).length);
  });
});

test("arrows go to the nearest region that way", () => {
  const players = [0, 1, 2, 3].map((i) => ({
    box: [(i % 2) * 10, Math.floor(i / 2) * 10, (i % 2) * 10 + 10, Math.floor(i / 2) * 10 + 10],
  }));
  assert.equal(neighbor(players, -1, [1, 0]), 0);
  assert.equal(neighbor(players, 0, [1, 0]), 1);
  assert.equal(neighbor(players, 1, [0, 1]), 3);
  assert.equal(neighbor(players, 1, [1, 0]), 1);
});
