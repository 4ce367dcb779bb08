// @ts-check
// A person's note of the example on the screen, and its star.
import { el, onKey } from "./dom.js";

const LONGEST_NOTE = 5000; // characters
const NOTE_PAUSE = 300; // milliseconds after the last letter before it is told

/**
 * @param {{write: (place: number, text: string) => void, star: (places: number[], on: boolean) => void,
 *   save: (() => void) | null}} told `save` writes a page with its notes, where there is no kernel
 */
export function noteView(told) {
  const text = el("textarea", {
    ...{ class: "vx-note-text", rows: 2, maxlength: LONGEST_NOTE, dir: "auto", "aria-label": "note of this example" },
    ...{ placeholder: "Write a note", oninput: typed, onchange: flush },
  });
  const star = el("button", { type: "button", class: "vx-star", onclick: () => told.star([place], !starred) });
  const save = el(
    "button",
    { type: "button", class: "vx-tool", hidden: true, onclick: () => told.save?.() },
    "Save the page with its notes",
  );
  const node = el("section", { class: "vx-card vx-note" }, el("h2", {}, "Note", star), text, save);
  let place = -1;
  let starred = false;
  let waiting = 0;

  function typed() {
    clearTimeout(waiting);
    waiting = window.setTimeout(flush, NOTE_PAUSE);
  }

  /** Tells what was typed, of the example that it was typed for. */
  function flush() {
    clearTimeout(waiting);
    waiting = 0;
    told.write(place, text.value);
  }

  onKey(text, (event) => {
    if (event.key !== "Escape") return;
    event.preventDefault(); // nothing else is undone by it
    text.blur();
  });

  /** @param {number} now the place of the example @param {any} note @param {boolean} unsaved */
  function show(now, note, unsaved) {
    if (waiting) flush(); // of the example before this one, or of this one
    const typing = now === place && document.activeElement === text;
    place = now;
    starred = Boolean(note?.star);
    if (!typing) text.value = note?.note ?? "";
    star.textContent = starred ? "★" : "☆";
    star.setAttribute("aria-pressed", String(starred));
    star.setAttribute("aria-label", "star this example");
    save.hidden = !unsaved;
  }

  return { node, show, focus: () => text.focus() };
}
