// @ts-check
// What the keys of keys.js do to a viewer.

/** @param {any} screen see app.js @param {KeyboardEvent} event */
export function pressed(screen, event) {
  const target = /** @type {Element} */ (event.composedPath()[0]);
  const onButton = target instanceof Element && target.matches("button, summary, a, [role=slider]");
  const { source } = screen;
  if (screen.views.help.open) return; // Escape closes it
  if (event.key === "j" || event.key === "k") step(screen, event.key === "j" ? 1 : -1);
  else if (event.key === "?") screen.views.help.showModal();
  else if (event.key === " " && !onButton) screen.set("peek", true);
  else if (event.key === "n" && !screen.views.note.node.hidden) screen.views.note.focus();
  else if (event.key === "Escape") goBack(screen);
  else if (source.live && /^[1-5]$/.test(event.key)) explainAnswer(screen, Number(event.key) - 1);
  else if (source.live && event.key === "c") contrastRunnerUp(screen);
  else return;
  event.preventDefault();
}

/** The next example that is listed, in the order of the list. @param {any} screen @param {number} by */
function step({ source, examples }, by) {
  const { order } = examples;
  const next = order[order.indexOf(source.selected()) + by];
  if (next !== undefined) source.select(next);
}

/** Frees what is pinned or kept; else takes one step back. @param {any} screen */
function goBack(screen) {
  const open = screen.root.querySelector("details[open]:not(.vx-more)");
  if (open) {
    open.open = false;
    open.querySelector("summary").focus();
  } else if (screen.pinned) screen.pin(null);
  else if (screen.held) {
    screen.held = null;
    screen.mark(null);
  } else if (screen.wordsKept[0] >= 0) screen.freeWord();
  else if (screen.source.live) screen.undo();
}

/** @param {any} screen @param {number} place in the list of answers */
function explainAnswer(screen, place) {
  const answer = screen.shown?.answers[place];
  if (answer) screen.tellKernel({ action: "target", target: answer.index, contrast: null });
}

/** Compares with the most likely other answer, or no longer. @param {any} screen */
function contrastRunnerUp(screen) {
  const { shown } = screen;
  if (!shown) return;
  const target = shown.targetIndex ?? shown.target;
  const other = shown.answers.find((/** @type {any} */ one) => one.text !== shown.target);
  const contrast = shown.contrast === null ? (other?.index ?? null) : null;
  screen.tellKernel({ action: "target", target, contrast });
}
