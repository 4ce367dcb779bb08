// @ts-check
// What a screen hears: its source, keys, the pointer, the theme, its size.
import { KEY } from "./dom.js";
import { keepFocus } from "./focus.js";
import { catchKeys } from "./keys.js";
import { closeOutside } from "./setup.js";
import { pressed } from "./shortcuts.js";
import { watchTheme } from "./theme.js";

/** What is on the screen, for who waits until it is there. @param {any[]} shown */
export function idsOf(...shown) {
  return shown.map((one) => one?.id ?? "").join(" ");
}

/** What is asked for and not shown yet, where the source does not say it itself. @param {any} entry of the list */
export function pendingOf(entry) {
  const over = !entry || entry.state === "done";
  return over ? null : { state: entry.state, message: entry.message, comparison: false };
}

/** Gives what ends each. @param {any} screen see app.js @returns {(() => void)[]} */
export function listen(screen) {
  const { source, root, stage } = screen;
  const alone = !source.live && document.querySelectorAll(".vx-root").length === 1;
  const sizes = new ResizeObserver(() => screen.drawSoon());
  sizes.observe(stage);
  const takeFocus = () => {
    if (!root.contains(document.activeElement)) root.focus({ preventScroll: true });
  };
  root.addEventListener("click", takeFocus);
  const byPointer = () => {
    screen.byKeys = false;
  };
  const byKeys = () => {
    screen.byKeys = true;
  };
  const closeOthers = (/** @type {Event} */ event) => closeOutside(root, /** @type {Node} */ (event.target));
  document.addEventListener("pointerdown", closeOthers, true);
  root.addEventListener("pointermove", byPointer);
  root.addEventListener(KEY, byKeys, true); // before the view that it is meant for acts on it
  return [
    source.on("list", () => screen.list()),
    source.on("shown", () => void screen.refresh()),
    source.on("options", () => screen.makeForm()),
    source.on("whatif", () => screen.asking.hear()),
    source.on("state", () => screen.shared.hear()),
    source.on("thumbnails", (/** @type {any} */ sent) => void screen.thumbs.hear(sent)),
    catchKeys(
      root,
      alone,
      (event) => pressed(screen, event),
      (event) => event.key === " " && screen.look.peek && screen.set("peek", false),
    ),
    keepFocus(root),
    watchTheme(() => screen.readTheme()),
    () => sizes.disconnect(),
    () => root.removeEventListener("click", takeFocus),
    () => root.removeEventListener("pointermove", byPointer),
    () => document.removeEventListener("pointerdown", closeOthers, true),
    () => root.removeEventListener(KEY, byKeys, true),
    () => clearTimeout(screen.asking.waiting),
    () => cancelAnimationFrame(screen.drawn),
    () => cancelAnimationFrame(screen.listing),
  ];
}
