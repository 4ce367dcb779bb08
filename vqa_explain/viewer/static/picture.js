// @ts-check
// A picture with its map: zoom, pan, pointing at regions. Nothing here waits for the kernel.
import { colorAt, css, ink } from "./color.js";
import { shapesOf } from "./crops.js";
import { el, fill, onKey, svg } from "./dom.js";
import { apart, moved, neighbor, outlines, regionAt, toPicture, zoomed } from "./layout.js";
import { amount, dependsMark } from "./numbers.js";
import { paintPicture } from "./paint.js";

/** @typedef {import("./types").View} View */

const USUAL = 424; // CSS pixels, where nothing is laid out yet
const LABELED = 4; // regions whose value is written on the map

/**
 * A canvas over one picture.
 * @param {string} name @param {(kind: any, region: number) => void} act is told of "enter", "leave", "toggle", "paint" and "box"
 * @param {(view: View) => void} turn is told of new views
 */
export function pictureView(name, act, turn) {
  const canvas = el("canvas", { class: "vx-canvas", tabindex: "0", role: "application", "aria-label": name });
  const labels = svg("g", { class: "vx-labels" });
  const hot = svg("path", { class: "vx-hot" });
  const truth = svg("path", { class: "vx-truth" });
  const lasso = svg("rect", { class: "vx-lasso" });
  const turned = svg("g", {}, truth, hot, labels, lasso);
  const cover = svg("svg", { class: "vx-cover", "aria-hidden": "true" }, turned);
  const box = el("div", { class: "vx-pic" }, canvas, cover);
  const caption = el("figcaption", {});
  const node = el("figure", { class: "vx-picture" }, box, caption);
  const sheet = document.createElement("canvas");
  /** @type {any} */ let shown = null;
  /** @type {any} */ let part = null;
  /** @type {any} */ let look = null;
  /** @type {any} */ let dragged = null;
  let over = -1;
  let painted = "";

  function show(/** @type {any} */ explanation, /** @type {any} */ next) {
    shown = explanation;
    part = next;
    const [height, width] = next.labels.shape;
    box.style.setProperty("--vx-ratio", String(width / height));
    cover.setAttribute("viewBox", `0 0 ${width} ${height}`);
    truth.removeAttribute("d"); // drawn around the true region when it is asked for
  }

  /** Draws by what paint.js takes and {view, focused, labeled}. @param {any} next */
  function draw(next) {
    look = next;
    if (!part) return;
    const [height, width] = part.labels.shape;
    const sharp = Math.min(2, devicePixelRatio || 1);
    const wide = Math.max(1, Math.round((canvas.clientWidth || USUAL) * sharp));
    const high = Math.max(1, Math.round((wide * height) / width));
    const key = `${look.key} ${JSON.stringify(look.view)} ${wide}`;
    if (key === painted) return focus(look.focused);
    painted = key;
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    paintPicture(canvas, sheet, part, look, look.view);
    const { zoom, x, y } = look.view;
    turned.setAttribute("transform", `translate(${x * width} ${y * height}) scale(${zoom})`);
    if (look.truth && part.truth && !truth.hasAttribute("d")) truth.setAttribute("d", trueOutline());
    truth.style.display = look.truth && part.truth ? "" : "none";
    write();
    focus(look.focused);
  }

  function trueOutline() {
    const { shape, data } = part.truth;
    return outlines({ shape, data: data.map((/** @type {number} */ one) => (one > 0 ? 0 : 1)) }, 1)[0].d;
  }

  /** Outlines a region; -1 is none. @param {number} region */
  function focus(region) {
    const shape = region >= 0 && part?.players.length ? shapesOf(part)[region] : null;
    hot.setAttribute("d", shape?.d ?? "");
  }

  /** Writes the largest values on the map, and what is taken away; one that another covers is left out. */
  function write() {
    const texts = apart([...look.away].map((index) => label(index, "taken away", 13, null)));
    if (look.kind === "map" && look.shares && look.labeled) {
      const sure = (/** @type {number} */ i) => !look.unsure.has(i) && !look.away.has(i);
      const large = (/** @type {number} */ i) => Math.abs(look.shares[i]) >= Math.max(0.05, look.threshold);
      const order = [...look.shares.keys()].filter((i) => sure(i) && large(i));
      order.sort((a, b) => Math.abs(look.shares[b]) - Math.abs(look.shares[a]));
      const made = order.slice(0, 3 * LABELED).map((index) => {
        const [value, error] = look.written?.[index] ?? [part.players[index].value, part.players[index].error];
        const deep = Math.abs(look.shares[index]) > 0.55;
        const mark = look.written?.[index] ? "" : dependsMark(part.players[index]);
        return label(index, `${amount(shown, value, error).split(" ")[0]}${mark}`, deep ? 20 : 14, look.shares[index]);
      });
      texts.push(...apart(made, texts).slice(0, LABELED));
    }
    fill(labels, ...texts.map(({ node: text }) => text));
  }

  /** @param {number} index @param {string} text @param {number} size in CSS pixels @param {number | null} share */
  function label(index, text, size, share) {
    const shape = shapesOf(part)[index];
    if (!shape?.area) return null;
    const unit = part.labels.shape[1] / ((canvas.clientWidth || USUAL) * look.view.zoom);
    const fitting = Math.min(size * unit, (1.55 * Math.sqrt(shape.area)) / text.length);
    if (fitting < 9 * unit) return null;
    const deep = share !== null && Math.abs(share) > 0.55;
    const style = /** @type {Record<string, string>} */ ({ "font-size": `${fitting}px` });
    if (deep) {
      // The rim is the region's color, so that the text is read where it reaches beyond the region.
      style.stroke = css(colorAt(share, look.palette, look.sided));
      style.fill = ink(colorAt(share, look.palette, look.sided));
    } else if (share !== null) style.fill = css(colorAt(Math.sign(share), look.palette, look.sided));
    const written = svg("text", { x: shape.x, y: shape.y, style }, text);
    return { node: written, x: shape.x, y: shape.y, wide: 0.62 * fitting * text.length, high: fitting };
  }

  function under(/** @type {PointerEvent} */ event) {
    const bounds = canvas.getBoundingClientRect();
    return regionAt(part.labels, toPicture([event.clientX, event.clientY], bounds, part.labels.shape, look.view));
  }

  /** Where the pointer is, in pixels of the labels. @param {PointerEvent} event @returns {number[]} */
  function placeOf(event) {
    const bounds = canvas.getBoundingClientRect();
    const [height, width] = part.labels.shape;
    const { zoom, x, y } = look.view;
    const share = [(event.clientX - bounds.left) / bounds.width, (event.clientY - bounds.top) / bounds.height];
    return [((share[0] - x) / zoom) * width, ((share[1] - y) / zoom) * height];
  }

  function drawBox(/** @type {number[]} */ [x, y], /** @type {number[]} */ [toX, toY]) {
    const box = { x: Math.min(x, toX), y: Math.min(y, toY), width: Math.abs(toX - x), height: Math.abs(toY - y) };
    for (const [name, value] of Object.entries(box)) lasso.setAttribute(name, String(value));
  }

  /** The regions whose middle lies in a box. @param {number[]} one @param {number[]} other @returns {any} */
  function middlesIn(one, other) {
    const [left, right] = [one[0], other[0]].sort((a, b) => a - b);
    const [top, bottom] = [one[1], other[1]].sort((a, b) => a - b);
    const isIn = (/** @type {any} */ s) => s?.area && s.x >= left && s.x <= right && s.y >= top && s.y <= bottom;
    const shapes = part.players.length ? shapesOf(part) : [];
    return [...shapes.keys()].filter((index) => isIn(shapes[index]));
  }

  function enter(/** @type {number} */ region) {
    if (region === over) return;
    over = region;
    act(region < 0 ? "leave" : "enter", region);
  }

  canvas.addEventListener("pointermove", (/** @type {PointerEvent} */ event) => {
    if (!part || !look) return;
    if (dragged?.box) {
      dragged.far = true;
      drawBox(dragged.box, placeOf(event));
    } else if (dragged && event.shiftKey) {
      dragged.far = true;
      const region = under(event);
      if (region >= 0 && region !== dragged.last) act("paint", region);
      Object.assign(dragged, { stroke: true, last: region });
    } else if (dragged && look.view.zoom > 1) {
      const bounds = canvas.getBoundingClientRect();
      const [x, y] = [event.clientX - dragged.x, event.clientY - dragged.y];
      turn(moved(look.view, x / bounds.width, y / bounds.height));
      dragged = { x: event.clientX, y: event.clientY, far: true };
    } else enter(under(event));
  });
  function endDrag() {
    if (dragged?.stroke) act("stroke", -1);
    dragged = null;
    lasso.removeAttribute("width");
  }

  canvas.addEventListener("pointerleave", () => {
    endDrag();
    enter(-1);
  });
  canvas.addEventListener("pointercancel", endDrag);
  canvas.addEventListener("pointerdown", (/** @type {PointerEvent} */ event) => {
    canvas.setPointerCapture(event.pointerId); // a drag that leaves the picture goes on
    endDrag();
    dragged = { x: event.clientX, y: event.clientY, far: false, box: event.altKey && part ? placeOf(event) : null };
  });
  canvas.addEventListener("pointerup", (/** @type {PointerEvent} */ event) => {
    if (dragged && !dragged.far && part) {
      const region = under(event);
      if (region >= 0) act("toggle", region);
    }
    if (dragged?.far && dragged.box) act("box", middlesIn(dragged.box, placeOf(event)));
    endDrag();
    canvas.focus({ preventScroll: true }); // a notebook may have taken the focus for its cell
  });
  canvas.addEventListener("wheel", onWheel, { passive: false });
  canvas.addEventListener("blur", () => enter(-1));
  onKey(canvas, (event) => {
    if (!part) return;
    const steps = /** @type {Record<string, number[]>} */ ({
      ArrowRight: [1, 0],
      ArrowLeft: [-1, 0],
      ArrowDown: [0, 1],
      ArrowUp: [0, -1],
    });
    if (event.key in steps) enter(neighbor(part.players, over, steps[event.key]));
    else if (event.key === "Enter" && over >= 0) act("toggle", over);
    else if (event.key === "0") turn({ zoom: 1, x: 0, y: 0 });
    else if (event.key === "+" || event.key === "-")
      turn(zoomed(look.view, event.key === "+" ? 1.25 : 0.8, [0.5, 0.5]));
    else if (event.key === "Escape" && over >= 0) enter(-1);
    else return;
    event.preventDefault();
  });

  function onWheel(/** @type {WheelEvent} */ event) {
    if (!event.ctrlKey && !event.metaKey) return; // the page scrolls unless zooming is asked for
    event.preventDefault();
    const bounds = canvas.getBoundingClientRect();
    const about = [(event.clientX - bounds.left) / bounds.width, (event.clientY - bounds.top) / bounds.height];
    turn(zoomed(look.view, event.deltaY < 0 ? 1.25 : 0.8, about));
  }

  return { node, canvas, box, show, draw, focus, say: (/** @type {string} */ text) => (caption.textContent = text) };
}
