// @ts-check
// A list of which only the rows in view are in the page, so that ten thousand scroll as ten do.

const SPARE = 4; // rows before and after those in view
const FEW = 80; // rows that are all made, each as high as it is

/**
 * Rows in `holder`, which scrolls itself or lies in `scroller`. A row has a node, `item`.
 * @param {HTMLElement} holder @param {HTMLElement} scroller
 * @param {{make: (index: number) => any, update: (line: any, index: number) => void, shown?: (indices: number[]) => void}} of
 */
export function rowsView(holder, scroller, { make, update, shown }) {
  /** @type {number[]} */ let order = [];
  /** @type {Map<number, any>} */ const lines = new Map();
  let drawn = 0;
  holder.tabIndex = -1;

  /** The size of a row along the list, whether it runs sideways, and what of it is in view. */
  function measured() {
    const style = getComputedStyle(holder);
    const sideways = style.display === "flex" && style.flexDirection === "row";
    const first = /** @type {HTMLElement} */ (holder.firstElementChild);
    const size = (sideways ? first?.offsetWidth : first?.offsetHeight) || 60;
    const view = sideways ? scroller.clientWidth : scroller.clientHeight;
    return { sideways, size, view, at: sideways ? Math.abs(scroller.scrollLeft) : scroller.scrollTop };
  }

  /** @param {number[]} indices in their order */
  function show(indices) {
    order = indices;
    draw();
  }

  function draw() {
    drawn = 0;
    const many = order.length > FEW;
    holder.classList.toggle("vx-many", many);
    if (many && !holder.firstElementChild) put(order.slice(0, 1));
    const { sideways, size, view, at } = measured();
    const start = many ? Math.max(0, Math.min(order.length, Math.floor(at / size)) - SPARE) : 0;
    const end = many ? Math.min(order.length, start + Math.ceil(view / size) + 2 * SPARE) : order.length;
    put(order.slice(start, end));
    const [before, after] = [start * size, (order.length - end) * size].map((one) => (many ? `${one}px` : "0px"));
    holder.style.setProperty("--vx-before", before);
    holder.style.setProperty("--vx-after", after);
    holder.dataset.sideways = String(sideways);
    shown?.(order.slice(start, end));
  }

  /** These rows, and no others, are in the page. @param {number[]} indices */
  function put(indices) {
    const wanted = new Set(indices);
    for (const [index, line] of lines) {
      if (wanted.has(index)) continue;
      if (line.item.contains(document.activeElement)) holder.focus({ preventScroll: true });
      line.item.remove();
      lines.delete(index);
    }
    let next = holder.firstElementChild;
    for (const index of indices) {
      let line = lines.get(index);
      if (!line) {
        line = make(index);
        lines.set(index, line);
      }
      if (line.item === next) next = line.item.nextElementSibling;
      else holder.insertBefore(line.item, next);
      update(line, index);
    }
  }

  function drawSoon() {
    if (order.length > FEW && !drawn) drawn = requestAnimationFrame(draw);
  }

  /** Scrolls to a row, where it is out of view. @param {number} index */
  function reveal(index) {
    const place = order.indexOf(index);
    const { sideways, size, view, at } = measured();
    if (place < 0 || !view) return;
    const known = lines.get(index)?.item;
    if (order.length <= FEW && known) return known.scrollIntoView?.({ block: "nearest", inline: "nearest" });
    const [low, high] = [place * size, (place + 1) * size - view];
    const to = at > low ? low : at < high ? high : at;
    if (to !== at) scroller.scrollTo(sideways ? { left: to } : { top: to });
  }

  scroller.addEventListener("scroll", drawSoon, { passive: true });
  const sizes = new ResizeObserver(drawSoon);
  sizes.observe(scroller);

  return { show, draw, reveal, order: () => order, leave: () => sizes.disconnect() };
}

/**
 * Calls what can wait one after another, each in a task of its own, so that a click is answered in between. A call
 * takes the place of one of its name that waits.
 */
export function inTurns() {
  /** @type {Map<string, () => void>} */
  const waiting = new Map();
  let timer = 0;

  function next() {
    timer = 0;
    const [[name, call]] = waiting;
    waiting.delete(name);
    call();
    go();
  }

  function go() {
    if (waiting.size && !timer) timer = window.setTimeout(next);
  }

  return {
    /** @param {string} name @param {() => void} call */
    soon(name, call) {
      waiting.set(name, call);
      go();
    },
    leave() {
      waiting.clear();
      clearTimeout(timer);
    },
  };
}

/** Gives whether what is told is other than it was the last time, each part the same object or not. */
export function changes() {
  /** @type {any[]} */
  let before = [];
  return (/** @type {any[]} */ ...now) => {
    const isOther = now.length !== before.length || now.some((one, i) => one !== before[i]);
    before = now;
    return isOther;
  };
}
