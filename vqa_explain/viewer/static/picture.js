// The picture with its heat map on a canvas: zoom, pan, pointing at regions. Nothing here waits for the kernel.
import { mapOf, table } from "./color.js";
import { el } from "./dom.js";
import { moved, NOWHERE, outline, regionAt, toPicture, zoomed } from "./layout.js";

const HEIGHT = 270; // as in the style sheet

/** A canvas over one picture. `act(kind, region)` is told of "enter", "leave" and "toggle"; `turn` of new views. */
export function pictureView(name, act, turn) {
  const canvas = el("canvas", { class: "vx-canvas", tabindex: "0", role: "img", "aria-label": name });
  const caption = el("figcaption", {}, name);
  const node = el("figure", { class: "vx-picture" }, canvas, caption);
  const sheet = document.createElement("canvas");
  let shown = null;
  let part = null;
  let contour = null;
  let look = null;
  let dragged = null;
  let over = -1;

  function show(explanation, next) {
    shown = explanation;
    part = next;
    const [height, width] = next.labels.shape;
    sheet.width = width;
    sheet.height = height;
    const ratio = Math.min(2, window.devicePixelRatio || 1);
    canvas.height = HEIGHT * ratio;
    canvas.width = Math.round((HEIGHT * ratio * width) / height);
    canvas.style.aspectRatio = `${width} / ${height}`;
    contour = null; // drawn around the true region when it is asked for
  }

  /** Draws by {view, map, strength, threshold, values, scale, away, unsure, focused, truth, plain, smooth}. */
  function draw(next) {
    look = next;
    if (!part) return;
    const pen = canvas.getContext("2d");
    const [height, width] = part.labels.shape;
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.clearRect(0, 0, canvas.width, canvas.height);
    const zoom = (canvas.width / width) * look.view.zoom;
    pen.setTransform(zoom, 0, 0, zoom, look.view.x * canvas.width, look.view.y * canvas.height);
    pen.imageSmoothingEnabled = zoom < 2 || look.smooth;
    if (!look.plain) {
      pen.fillStyle = "#fff";
      pen.fillRect(0, 0, width, height);
      pen.filter = "grayscale(1) opacity(0.6)";
    }
    pen.drawImage(part.bitmap, 0, 0, width, height);
    pen.filter = "none";
    if (!look.plain) {
      paint(width, height);
      if (look.smooth) pen.filter = `blur(${Math.round((canvas.width / Math.sqrt(part.players.length)) * 0.25)}px)`;
      pen.drawImage(sheet, 0, 0);
      pen.filter = "none";
    }
    if (look.truth && part.truth) {
      const { shape, data } = part.truth;
      contour ??= outline(shape, (i) => data[i] > 0);
      strokes(pen, contour, "#000", "#ffd84d", zoom);
    }
    if (look.focused >= 0) strokes(pen, edges(look.focused), "#fff", "#000", zoom);
  }

  function paint(width, height) {
    const image = new ImageData(width, height);
    const out = new Uint32Array(image.data.buffer);
    const tints = new Uint32Array(table(mapOf(shown, look.map), look.strength, look.threshold).buffer);
    const { labels, heat } = part;
    if (look.values) {
      const levels = look.values.map(
        (v) => tints[Math.max(-127, Math.min(127, Math.round((127 * v) / look.scale))) + 127],
      );
      for (let i = 0; i < out.length; i++) out[i] = labels.data[i] === NOWHERE ? 0 : levels[labels.data[i]];
    } else {
      for (let i = 0; i < out.length; i++) out[i] = tints[heat.data[i] + 127];
    }
    if (look.unsure?.size) doubt(out, labels.data, width);
    if (look.away.size) hatch(out, labels.data, width);
    sheet.getContext("2d").putImageData(image, 0, 0);
  }

  /** Regions whose value is not told from zero: thin lines over the picture, and no color. */
  function doubt(out, labels, width) {
    const step = Math.max(3, Math.round(width / 40));
    for (let i = 0; i < out.length; i++) {
      if (look.unsure.has(labels[i])) out[i] = ((i % width) + Math.floor(i / width)) % step === 0 ? 0x90707070 : 0;
    }
  }

  function hatch(out, labels, width) {
    const step = Math.max(2, Math.round(width / 60));
    for (let i = 0; i < out.length; i++) {
      if (look.away.has(labels[i]))
        out[i] = ((i % width) + Math.floor(i / width)) % (2 * step) < step ? 0xff555555 : 0xffbbbbbb;
    }
  }

  function edges(region) {
    const [left, top, right, bottom] = part.players[region].box;
    const scale = part.labels.shape[1] / part.size[1];
    const box = [left, top, right, bottom].map((side) => Math.round(side * scale));
    const shape = [Math.max(1, box[3] - box[1]), Math.max(1, box[2] - box[0])];
    const { data, shape: whole } = part.labels;
    const inside = (i) => data[(box[1] + Math.floor(i / shape[1])) * whole[1] + box[0] + (i % shape[1])] === region;
    return outline(shape, inside).map((line) => line.map(([x, y]) => [x + box[0], y + box[1]]));
  }

  function strokes(pen, lines, under, upper, zoom) {
    for (const [color, wide] of [
      [under, 4],
      [upper, 2],
    ]) {
      pen.strokeStyle = color;
      pen.lineWidth = (wide * (window.devicePixelRatio || 1)) / zoom;
      pen.beginPath();
      for (const [from, to] of lines) {
        pen.moveTo(...from);
        pen.lineTo(...to);
      }
      pen.stroke();
    }
  }

  function under(event) {
    const place = toPicture(
      [event.clientX, event.clientY],
      canvas.getBoundingClientRect(),
      part.labels.shape,
      look.view,
    );
    return regionAt(part.labels, place);
  }

  function enter(region) {
    if (region === over) return;
    over = region;
    act(region < 0 ? "leave" : "enter", region);
  }

  canvas.addEventListener("pointermove", (event) => {
    if (!part || !look) return;
    if (dragged && event.shiftKey) {
      paintOver(under(event));
      return;
    }
    if (dragged && look.view.zoom > 1) {
      const box = canvas.getBoundingClientRect();
      turn(moved(look.view, (event.clientX - dragged.x) / box.width, (event.clientY - dragged.y) / box.height));
      dragged = { x: event.clientX, y: event.clientY, far: true };
      return;
    }
    enter(under(event));
  });
  /** With Shift held, dragging takes away every region that it passes. */
  function paintOver(region) {
    dragged.far = true;
    if (region >= 0 && !look.away.has(region)) act("toggle", region);
  }

  canvas.addEventListener("pointerleave", () => enter(-1));
  canvas.addEventListener("pointerdown", (event) => {
    dragged = { x: event.clientX, y: event.clientY, far: false };
  });
  canvas.addEventListener("pointerup", (event) => {
    if (dragged && !dragged.far && part) {
      const region = under(event);
      if (region >= 0) act("toggle", region);
    }
    dragged = null;
  });
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return; // the page scrolls unless zooming is asked for
      event.preventDefault();
      const box = canvas.getBoundingClientRect();
      const about = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      turn(zoomed(look.view, event.deltaY < 0 ? 1.25 : 0.8, about));
    },
    { passive: false },
  );
  canvas.addEventListener("blur", () => enter(-1));
  canvas.addEventListener("keydown", (event) => {
    if (!part) return;
    const steps = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
    if (event.key in steps) {
      event.preventDefault();
      enter(neighbor(over, steps[event.key]));
    } else if ((event.key === "Enter" || event.key === " ") && over >= 0) {
      event.preventDefault();
      act("toggle", over);
    } else if (event.key === "+" || event.key === "-" || event.key === "0") {
      event.preventDefault();
      turn(event.key === "0" ? { zoom: 1, x: 0, y: 0 } : zoomed(look.view, event.key === "+" ? 1.25 : 0.8, [0.5, 0.5]));
    } else if (event.key === "Escape") enter(-1);
  });

  /** The nearest region whose middle lies that way. */
  function neighbor(from, [dx, dy]) {
    if (!part.players.length) return -1;
    if (from < 0) return 0;
    const middle = ({ box }) => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    const [x, y] = middle(part.players[from]);
    let [best, least] = [from, Infinity];
    part.players.forEach((region, index) => {
      const [u, v] = middle(region);
      const along = (u - x) * dx + (v - y) * dy;
      const across = Math.abs((u - x) * dy) + Math.abs((v - y) * dx);
      if (along > 0.5 && along + 2 * across < least) [best, least] = [index, along + 2 * across];
    });
    return best;
  }

  return { node, canvas, show, draw, say: (text) => (caption.textContent = text) };
}
