// @ts-check
// How a screen looks inside: it asks the kernel once, and shows the block or head that is chosen.
import { unpackedInside } from "./data.js";
import { firstDepth } from "./inside.js";

/** What is inside, where it is looked at; a kernel is asked for it. @param {any} screen see app.js */
export function showInside(screen) {
  const { whole } = screen;
  if (!whole || whole.isPreview) return;
  if (screen.page === "inside") {
    if (whole.inside) screen.depth ??= firstDepth(whole.inside);
    screen.views.inside.show(whole.inside ?? null, whole.insideError ?? "");
    if (!whole.inside && !whole.insideError) ask(screen);
  }
  screen.hover = null;
  screen.recolor();
}

/** Another block, or head. @param {any} screen @param {import("./inside.js").Depth} depth */
export function dive(screen, depth) {
  if (JSON.stringify(depth) === JSON.stringify(screen.depth)) return;
  screen.depth = depth;
  screen.hover = null;
  screen.recolor();
}

/** Each view's question has a serial of its own: an answer that is the same as before is no news. @param {any} screen */
function ask(screen) {
  const { shown, source } = screen;
  if (!source.live || !shown.id) return;
  screen.tellKernel({ action: "inside", serial: `inside ${shown.id} ${screen.asking.number()}` });
}

/** @param {any} screen @param {any} found the answer to any view's question */
export async function hearInside(screen, found) {
  const { whole } = screen;
  if (!whole?.id || !String(found.serial).startsWith(`inside ${whole.id} `)) return;
  const inside = found.error ? null : await unpackedInside(found.inside);
  if (screen.whole !== whole || whole.inside) return;
  Object.assign(whole, { inside, insideError: found.error ?? "" });
  showInside(screen);
}
