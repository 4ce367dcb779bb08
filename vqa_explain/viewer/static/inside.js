// @ts-check
// Inside the network: a strip of blocks, what runs through each, what it would answer, and its heads. A block or head
// that is chosen colors the inputs.
import { colorAt, css } from "./color.js";
import { el, fill, roving, svg } from "./dom.js";
import { percent, valueText } from "./numbers.js";
import { ofWord, sharesOfInputs } from "./wordrows.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Inside} Inside */
/** @typedef {{block: number, head: number}} Depth head -1 is the whole block */

const BARS = 64; // the height of a block's bars, in pixels
const MOST_TOLD = 14; // blocks whose answers are all written; of more, those that differ from the block before

/** The block that is looked at first: where the answer is first read. @param {Inside} inside @returns {Depth} */
export function firstDepth(inside) {
  return { block: Math.min(inside.decided, inside.blocks.length - 1), head: -1 };
}

/** @param {Explanation} whole @param {Explanation} base of its maps @returns {Explanation} */
function withPictures(whole, base) {
  const known = new Map(whole.parts.map((part) => [part.pictureId, part.bitmap]));
  const parts = base.parts.map((part) => (part.size ? { ...part, bitmap: known.get(part.pictureId) } : part));
  const { id, answers, label } = whole;
  return { ...base, id, answers, label, parts };
}

/**
 * What a block or a head does, as an explanation of the same inputs.
 * @param {Explanation} whole @param {Depth} depth @returns {Explanation}
 */
export function ofDepth(whole, { block, head }) {
  const { inside } = whole;
  if (!inside?.base) return whole;
  const attention = inside.heads?.attention;
  if (head < 0 || !attention) {
    const outputs = inside.blocks.map(({ row }) => /** @type {any} */ (row));
    return { ...ofWord(withPictures(whole, { ...inside.base, outputs }), block), outputs: [] };
  }
  const [, heads, players] = attention.values.shape;
  let at = (block * heads + head) * players;
  const base = withPictures(whole, attention.base);
  const parts = base.parts.map((part) => ({
    ...part,
    players: part.players.map((player) => ({ ...player, value: attention.values.data[at++], error: null, band: null })),
  }));
  const free = parts.filter((part) => !part.fixed);
  const share = sharesOfInputs(free.map(({ name, players: all }) => [name, all.map(({ value }) => value)]));
  return { ...base, parts, share, explained: `attention of head ${head} in block ${block}` };
}

/** What is lost without a head, as a clause. @param {number} lost */
function lossText(lost) {
  const size = valueText(Math.abs(lost)).replace("+", "");
  return lost < 0 ? `the score is ${size} higher without it` : `${size} is lost without it`;
}

/**
 * Bars of one block from a common zero.
 * @param {number[]} values @param {number} low @param {number} high
 */
function barsOf(values, low, high) {
  const wide = 10 * values.length;
  const y = (/** @type {number} */ value) => (BARS * (high - value)) / (high - low || 1);
  const bars = values.map((value, group) => {
    const [top, bottom] = [Math.min(y(value), y(0)), Math.max(y(value), y(0))];
    return svg("rect", {
      ...{ x: 10 * group + 1, y: top, width: 8, height: Math.max(0.75, bottom - top) },
      class: `vx-group-${groupClass(group, values.length)}`,
    });
  });
  const zero = svg("line", { x1: 0, x2: wide, y1: y(0), y2: y(0), class: "vx-zero" });
  const box = { viewBox: `0 0 ${wide} ${BARS}`, preserveAspectRatio: "none", class: "vx-block-bars" };
  return svg("svg", { ...box, "aria-hidden": "true" }, ...bars, zero);
}

/** The last group is all that belongs to no input. @param {number} group @param {number} count */
function groupClass(group, count) {
  return group === count - 1 ? "rest" : String(group % 5);
}

/** @param {Inside} inside @param {number} number */
function toldOf(inside, number) {
  const { values, early, without } = inside.blocks[number];
  const sums = inside.groups.map((name, group) => `${name} ${valueText(values[group])}`).join(", ");
  const others = Object.entries(without).map(([name, one]) => `; without the ${name}: ${one.text}`);
  return `Block ${number}: ${sums}. Read early it answers ${early.text} ${early.shown}${others.join("")}.`;
}

/**
 * The strip. `told.choose(depth)` is told of a block or head that is chosen.
 * @param {{choose: (depth: Depth) => void}} told
 */
export function insideView(told) {
  const line = el("p", { class: "vx-inside-line" });
  const legend = el("div", { class: "vx-inside-legend vx-small" });
  const strip = el("div", { class: "vx-blocks", role: "group", "aria-label": "blocks of the network" });
  const matrix = el("div", { class: "vx-heads", role: "group", "aria-label": "attention heads" });
  const said = el("div", { class: "vx-inside-said vx-small", role: "status" });
  const problem = el("div", { class: "vx-bad", role: "alert" });
  const scroll = el("div", { class: "vx-inside-scroll" }, strip, matrix);
  const node = el("section", { class: "vx-inside", "aria-label": "inside" }, line, problem, legend, scroll, said);
  const [roveBlocks, roveHeads] = [
    roving(strip, ".vx-block"),
    roving(matrix, ".vx-head", () => inside?.blocks.length ?? 1),
  ];
  /** @type {Inside | null} */
  let inside = null;
  /** @type {any[]} */
  let cells = [];

  /** @param {Inside | null} found @param {string} error what went wrong in its place */
  function show(found, error) {
    problem.textContent = error;
    line.textContent = found ? found.said.join(" ") : error ? "" : "Looking inside the network …";
    for (const one of [legend, scroll, said]) one.hidden = !found;
    if (!found || found === inside) return;
    inside = found;
    build(found);
  }

  function build(/** @type {Inside} */ found) {
    const names = found.groups.map((name, group) =>
      el("span", {}, el("i", { class: `vx-group-${groupClass(group, found.groups.length)}` }), name),
    );
    const unit = `bars: what runs through it, of the change of ${valueText(found.change)} · lines: what the answer needs from there on`;
    const lost = found.heads ? " · below: heads, by what is lost without each" : "";
    fill(legend, ...names, el("span", { class: "vx-soft" }, `${unit}${lost}`));
    const all = found.blocks.flatMap(({ values }) => values);
    const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
    strip.style.setProperty("--blocks", String(found.blocks.length));
    matrix.style.setProperty("--blocks", String(found.blocks.length));
    fill(strip, ...found.blocks.map((_, number) => blockOf(found, number, low, high)));
    buildHeads(found);
    roveBlocks();
    roveHeads();
  }

  function blockOf(/** @type {Inside} */ found, /** @type {number} */ number, /** @type {number} */ low, high) {
    const { values, early } = found.blocks[number];
    const before = found.blocks[number - 1]?.early.text;
    const isTold = found.blocks.length <= MOST_TOLD || early.text !== before;
    const needed = Object.entries(found.settled).map(([name, behind]) =>
      el("i", {
        class: `vx-needed vx-group-${groupClass(found.groups.indexOf(name), found.groups.length)}`,
        "data-over": behind !== null && number >= behind ? "true" : null,
      }),
    );
    const right = early.text === found.answer;
    const chance = early.probability === null ? early.shown : percent(early.probability);
    return el(
      "button",
      {
        type: "button",
        class: "vx-block",
        title: toldOf(found, number),
        "aria-pressed": "false",
        "data-block": number,
        onclick: () => told.choose({ block: number, head: -1 }),
        onfocus: () => told.choose({ block: number, head: -1 }),
      },
      el("span", { class: "vx-small" }, String(number)),
      barsOf(values, low, high),
      el("span", { class: "vx-needs" }, ...needed),
      el("bdi", { class: `vx-early${right ? " vx-right" : ""}` }, isTold ? early.text : "·"),
      el("small", {}, isTold ? chance : ""),
    );
  }

  function buildHeads(/** @type {Inside} */ found) {
    const most = Math.max(0, ...(found.heads?.lost ?? []).map((row) => row.length));
    cells = [];
    const rows = Array.from({ length: most }, (_, head) =>
      found.blocks.map((_, block) => {
        const lost = found.heads?.lost[block][head];
        if (lost === undefined) return el("span", {});
        const becomes = found.heads?.becomes[block][head];
        const other = becomes === found.answer ? "" : `; the answer becomes ${becomes}`;
        const text = `Block ${block}, head ${head}: ${lossText(lost)}${other}`;
        const choose = () => told.choose({ block, head });
        const button = el("button", {
          ...{ type: "button", class: "vx-head", title: text, "aria-label": text, "aria-pressed": "false" },
          ...{ "data-head": `${block} ${head}`, "data-flips": other ? "true" : null, onclick: choose, onfocus: choose },
        });
        cells.push({ button, lost });
        return button;
      }),
    );
    matrix.hidden = most === 0;
    fill(matrix, ...rows.flat());
  }

  /** @param {any} palette @param {Depth} depth */
  function draw(palette, depth) {
    if (!inside) return;
    const most = Math.max(...cells.map(({ lost }) => Math.abs(lost)), 0) || 1;
    for (const { button, lost } of cells) button.style.backgroundColor = css(colorAt(lost / most, palette, true));
    for (const button of strip.children) {
      const isChosen = Number(button.dataset.block) === depth.block;
      button.setAttribute("aria-pressed", String(isChosen && depth.head < 0));
      button.classList.toggle("vx-in", isChosen);
    }
    for (const { button } of cells)
      button.setAttribute("aria-pressed", String(button.dataset.head === `${depth.block} ${depth.head}`));
    const chosen = depth.head < 0 ? null : matrix.querySelector(`[data-head="${depth.block} ${depth.head}"]`);
    const seen = inside.heads?.attention ? "Colors: where it looks." : "The network does not show where it looks.";
    said.textContent = chosen ? `${chosen.title}. ${seen}` : toldOf(inside, depth.block);
  }

  return { node, show, draw };
}
