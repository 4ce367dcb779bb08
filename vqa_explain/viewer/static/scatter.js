// @ts-check
// Two columns of the table against each other; a rectangle that is dragged selects what lies in it.
import { CONFIDENCE, cellText, ERROR } from "./cells.js";
import { el, fill, select } from "./dom.js";
import { changes } from "./rows.js";

/** @typedef {import("./cells.js").Cell} Cell */

const [LEFT, RIGHT, TOP, BOTTOM] = [42, 18, 8, 34]; // CSS pixels around the plot
const RATIO = 0.86;
const STEPS = 4;
const MANY_POINTS = 1000;

/** Marks on an axis from low to high, at round numbers. @param {number} low @param {number} high @returns {number[]} */
export function ticksOf(low, high) {
  if (!(high > low)) return [low];
  const rough = (high - low) / STEPS;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((one) => one * power).find((one) => one >= rough * 0.999) ?? rough;
  const found = [];
  for (let at = Math.ceil(low / step - 1e-9); at * step <= high * (1 + 1e-9) + 1e-12; at++)
    found.push(Number((at * step).toPrecision(12)) + 0); // no zero below zero
  return found;
}

/** The places of the points in a rectangle of shares of the plot. @param {any[]} points @param {number[]} area */
export function inArea(points, [left, bottom, right, top]) {
  return points.filter(({ x, y }) => x >= left && x <= right && y >= bottom && y <= top).map(({ index }) => index);
}

/**
 * The columns in the order in which a scatter takes them: confidence, what is measured, the error, and last those that
 * hold two values alone, such as right and wrong, which draw two lines. Pure; tested under node.
 * @param {Cell[]} cells with numbers @param {import("./types").Entry[]} entries @returns {string[]}
 */
export function axesOf(cells, entries) {
  const isBinary = (/** @type {Cell} */ cell) =>
    entries.every((entry) => [null, cell.low, cell.high].includes(cell.of(entry)));
  const rankOf = (/** @type {Cell} */ cell) => {
    if (cell.name === CONFIDENCE) return 0;
    if (isBinary(cell)) return 3;
    return cell.name === ERROR ? 2 : 1;
  };
  const ranked = cells.map((cell) => ({ name: cell.name, rank: rankOf(cell) }));
  return ranked.sort((one, other) => one.rank - other.rank).map(({ name }) => name);
}

/** @param {(places: number[]) => void} choose is told what a rectangle holds */
export function scatterView(choose) {
  const canvas = el("canvas", { class: "vx-scatter", role: "img" });
  const axes = [el("span"), el("span")];
  const said = el(
    "div",
    { class: "vx-small vx-soft" },
    ...["● right or not known  ", el("b", { class: "vx-bad" }, "✕ wrong"), "  Drag to select."],
  );
  const head = el("div", { class: "vx-scatter-axes" }, "x ", axes[0], " y ", axes[1]);
  const node = el("section", { class: "vx-scatter-card" }, head, canvas, said);
  /** @type {any} */ let now = { entries: [], cells: [], order: [], selected: new Set() };
  /** @type {string[]} */ let usual = [];
  /** @type {string[]} */ let chosen = ["", ""];
  const picked = ["", ""]; // by a person; the rest follows what is known by now
  /** @type {any[]} */ let points = [];
  /** @type {number[] | null} */ let area = null; // that is dragged: two corners, in shares of the plot
  let known = "";
  const [isChanged, areOthers, areNew] = [changes(), changes(), changes()];

  /** @param {any} next see table.js */
  function show(next) {
    now = next;
    if (node.hidden) return;
    const names = next.cells.map((/** @type {Cell} */ cell) => cell.name);
    if (areNew(next.table)) usual = axesOf(next.cells, next.entries);
    chosen = picked.map((name, i) => (names.includes(name) ? name : usual[i]));
    const told = JSON.stringify([names, chosen]);
    if (told !== known) for (const i of [0, 1]) fill(axes[i], axisSelect(names, i));
    known = told;
    if (isChanged(next.order, next.selected, next.table, next.dark)) draw();
  }

  function axisSelect(/** @type {string[]} */ names, /** @type {number} */ i) {
    const change = (/** @type {string} */ value) => {
      chosen[i] = value;
      picked[i] = value;
      draw();
    };
    return select(
      names.map((name) => [name, name]),
      chosen[i],
      change,
      `${"xy"[i]} axis`,
    );
  }

  function draw() {
    const wide = canvas.clientWidth;
    if (!wide || node.hidden || !now.cells.length) return;
    const high = Math.round(wide * RATIO);
    const sharp = Math.min(2, devicePixelRatio || 1);
    Object.assign(canvas, { width: wide * sharp, height: high * sharp });
    canvas.style.height = `${high}px`;
    const [across, up] = chosen.map((name) => now.cells.find((/** @type {Cell} */ cell) => cell.name === name));
    if (areOthers(now.order, now.table, across, up)) points = pointsOf(now, across, up);
    const style = getComputedStyle(node);
    const pen = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
    pen.scale(sharp, sharp);
    pen.font = `11px ${style.fontFamily}`;
    const plot = { left: LEFT, top: TOP, wide: wide - LEFT - RIGHT, high: high - TOP - BOTTOM };
    const color = (/** @type {string} */ name) => inTheme(style.getPropertyValue(name), now.dark);
    drawAxes(pen, plot, across, up, color);
    drawPoints(pen, plot, points, now.selected, color);
    if (area) drawArea(pen, plot, area, color);
    const wrong = points.filter((one) => one.wrong).length;
    const label = `${chosen[0]} against ${chosen[1]}: ${points.length} examples, ${wrong} wrong`;
    canvas.setAttribute("aria-label", label);
  }

  /** Where the pointer is, in shares of the plot from its lower left. @param {PointerEvent} event */
  function placeOf(event) {
    const bounds = canvas.getBoundingClientRect();
    const share = (/** @type {number} */ at, /** @type {number} */ whole) =>
      Math.min(1.02, Math.max(-0.02, at / whole));
    return [
      share(event.clientX - bounds.left - LEFT, bounds.width - LEFT - RIGHT),
      1 - share(event.clientY - bounds.top - TOP, bounds.height - TOP - BOTTOM),
    ];
  }

  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    canvas.setPointerCapture(event.pointerId);
    const at = placeOf(event);
    area = [...at, ...at];
  });
  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!area) return;
    area = [area[0], area[1], ...placeOf(event)];
    draw();
  });
  canvas.addEventListener("pointerup", () => {
    if (!area) return;
    const [x, y, toX, toY] = area;
    const corners = [Math.min(x, toX), Math.min(y, toY), Math.max(x, toX), Math.max(y, toY)];
    area = null;
    choose(inArea(points, corners));
  });
  canvas.addEventListener("pointercancel", () => {
    area = null;
    draw();
  });
  let width = 0;
  new ResizeObserver(() => {
    if (canvas.clientWidth !== width) draw();
    width = canvas.clientWidth;
  }).observe(canvas);

  return { node, show, draw };
}

/** A color of the style sheet, "light-dark(#fff, #000)", as a canvas reads it. @param {string} text @param {boolean} dark */
function inTheme(text, dark) {
  const [, light, other] = /light-dark\(([^,]+),([^)]+)\)/.exec(text) ?? [];
  return light ? (dark ? other : light).trim() : text;
}

/** Each listed example that has both numbers, in shares of the axes. @param {any} now @param {Cell} across @param {Cell} up */
function pointsOf({ entries, order }, across, up) {
  const share = (/** @type {Cell} */ cell, /** @type {any} */ value) =>
    cell.high > cell.low ? (value - cell.low) / (cell.high - cell.low) : 0.5;
  const found = [];
  for (const index of order) {
    const [one, other] = [across.of(entries[index]), up.of(entries[index])];
    if (one === null || other === null) continue;
    found.push({ index, x: share(across, one), y: share(up, other), wrong: entries[index].correct === false });
  }
  return found;
}

/** @param {CanvasRenderingContext2D} pen @param {any} plot @param {Cell} across @param {Cell} up @param {(name: string) => string} color */
function drawAxes(pen, plot, across, up, color) {
  const { left, top, wide, high } = plot;
  pen.strokeStyle = color("--vx-line");
  pen.fillStyle = color("--vx-ink-2");
  const share = (/** @type {Cell} */ cell, /** @type {number} */ value) =>
    cell.high > cell.low ? (value - cell.low) / (cell.high - cell.low) : 0.5;
  pen.textAlign = "center";
  pen.beginPath();
  for (const tick of ticksOf(across.low, across.high)) {
    const x = left + wide * share(across, tick);
    pen.moveTo(x, top);
    pen.lineTo(x, top + high);
    pen.fillText(axisText(across, tick), x, top + high + 13);
  }
  pen.textAlign = "right";
  for (const tick of ticksOf(up.low, up.high)) {
    const y = top + high * (1 - share(up, tick));
    pen.moveTo(left, y);
    pen.lineTo(left + wide, y);
    pen.fillText(axisText(up, tick), left - 5, y + 4);
  }
  pen.stroke();
  pen.textAlign = "center";
  pen.fillText(`${across.name} →`, left + wide / 2, top + high + 28);
  pen.save();
  pen.translate(9, top + high / 2);
  pen.rotate(-Math.PI / 2);
  pen.fillText(`${up.name} →`, 0, 0);
  pen.restore();
}

/** @param {Cell} cell @param {number} value */
function axisText(cell, value) {
  if (cell.kind === "share") return `${Math.round(100 * value)}%`;
  return cell.kind === "error" ? String(value) : cellText(cell, value);
}

/** @param {CanvasRenderingContext2D} pen @param {any} plot @param {any[]} points @param {Set<number>} selected @param {(name: string) => string} color */
function drawPoints(pen, { left, top, wide, high }, points, selected, color) {
  const at = (/** @type {any} */ one) => [left + wide * one.x, top + high * (1 - one.y)];
  const dots = (/** @type {boolean} */ chosen, /** @type {string} */ fill, /** @type {number} */ alpha) => {
    pen.fillStyle = fill;
    pen.globalAlpha = alpha;
    for (const one of points) {
      if (one.wrong || selected.has(one.index) !== chosen) continue;
      const [x, y] = at(one);
      if (many)
        pen.fillRect(x - 2, y - 2, 4, 4); // many circles take many times as long
      else {
        pen.beginPath();
        pen.arc(x, y, 3, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    pen.globalAlpha = 1;
  };
  const many = points.length > MANY_POINTS;
  dots(false, color("--vx-ink-3"), many ? 0.25 : 0.5);
  dots(true, color("--vx-accent"), 1);
  pen.strokeStyle = color("--vx-bad");
  for (const one of points.filter(({ wrong }) => wrong)) {
    const [x, y] = at(one);
    pen.lineWidth = selected.has(one.index) ? 2.5 : 1.5;
    pen.beginPath();
    pen.moveTo(x - 4, y - 4);
    pen.lineTo(x + 4, y + 4);
    pen.moveTo(x + 4, y - 4);
    pen.lineTo(x - 4, y + 4);
    pen.stroke();
  }
  pen.lineWidth = 1;
}

/** @param {CanvasRenderingContext2D} pen @param {any} plot @param {number[]} area @param {(name: string) => string} color */
function drawArea(pen, { left, top, wide, high }, [x, y, toX, toY], color) {
  const box = [left + wide * Math.min(x, toX), top + high * (1 - Math.max(y, toY))];
  const size = [wide * Math.abs(toX - x), high * Math.abs(toY - y)];
  pen.globalAlpha = 0.15;
  pen.fillStyle = color("--vx-accent");
  pen.fillRect(box[0], box[1], size[0], size[1]);
  pen.globalAlpha = 1;
  pen.strokeStyle = color("--vx-accent");
  pen.setLineDash([4, 3]);
  pen.strokeRect(box[0], box[1], size[0], size[1]);
  pen.setLineDash([]);
}
