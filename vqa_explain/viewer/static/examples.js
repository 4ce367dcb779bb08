// @ts-check
// The examples of a screen: which are listed and in which order, what is selected, stars. List and table show it.
import { cellsOf, countsOf, isOpen, noteName, ordered } from "./cells.js";

const BETWEEN_ORDERS = 250; // milliseconds between two orders of a list that still grows

export class Examples {
  /** @param {any} screen see app.js */
  constructor(screen) {
    this.screen = screen;
    /** @type {number[]} */ this.order = [];
    /** @type {any[] | null} */ this.cells = null; // of what is seen, once they are needed
    /** @type {any} */ this.counts = { all: 0, right: 0, wrong: 0 };
    this.known = "";
    this.computed = 0;
    this.later = 0;
    /** @type {any[]} */ this.seen = [];
  }

  /** Draws the list, and the table where it is open. */
  show() {
    const { screen } = this;
    const { source, views, thumbs, shared } = screen;
    const [entries, selected] = [source.entries(), source.selected()];
    const entry = entries[selected];
    views.note.node.hidden = !entry || !(source.live || source.save);
    if (entry) views.note.show(selected, shared.notes[noteName(entry, selected)], Boolean(source.unsaved?.()));
    this.reorder(entries);
    const told = { entries, order: this.order, counts: this.counts, filter: shared.filter };
    const thumbOf = (/** @type {number} */ index) => thumbs.at(index);
    views.entries.show({ ...told, selected, progress: source.progress(), thumbOf });
    if (views.table.node.hidden) return;
    const { selection, notes } = shared;
    views.table.show({ ...told, cells: this.cellsNow(), selection, notes, thumbs, current: selected });
  }

  /** The columns of the table. */
  cellsNow() {
    this.cells ??= cellsOf(this.seen);
    return this.cells;
  }

  /** The order, where anything has changed; not with each of thousands of changes. @param {any[]} entries */
  reorder(entries) {
    const { filter } = this.screen.shared;
    const asked = JSON.stringify(filter);
    const same = entries.length === this.seen.length && entries.every((entry, i) => entry === this.seen[i]);
    if (same && asked === this.known) return;
    const now = performance.now();
    const isFresh = asked !== this.known || entries.length < 500 || now - this.computed > BETWEEN_ORDERS;
    if (!isFresh && entries.length === this.seen.length) {
      if (!this.later)
        this.later = window.setTimeout(() => {
          this.later = 0;
          this.show();
        }, BETWEEN_ORDERS);
      return;
    }
    this.known = asked;
    this.computed = now;
    this.seen = [...entries];
    this.cells = null;
    this.order = isOpen(filter) ? [...entries.keys()] : ordered(entries, filter, this.cellsNow());
    const all = countsOf(entries);
    const listed = isOpen(filter) ? all : countsOf(this.order.map((place) => entries[place]));
    this.counts = { ...listed, of: all.all, known: all.right + all.wrong > 0 };
  }

  /** @param {any} changes of the filter */
  refilter(changes) {
    const { shared } = this.screen;
    shared.set("filter", { ...shared.filter, ...changes });
  }

  /** @param {number[]} places */
  select(places) {
    const { shared } = this.screen;
    shared.set(
      "selection",
      [...places].sort((a, b) => a - b),
    );
  }

  /** @param {number} index */
  open(index) {
    this.screen.source.select(index);
    this.screen.open("example");
  }

  /** @param {number[]} places @param {boolean} on */
  star(places, on) {
    this.renote(places, { star: on });
  }

  /** What a person writes of an example. @param {number} place @param {string} text */
  write(place, text) {
    this.renote([place], { note: text });
  }

  /** @param {number[]} places @param {{star?: boolean, note?: string}} changes */
  renote(places, changes) {
    const { shared, source } = this.screen;
    const notes = { ...shared.notes };
    for (const place of places) {
      const entry = source.entries()[place];
      if (!entry) continue; // of a list that is gone
      const name = noteName(entry, place);
      const note = { star: false, note: "", ...notes[name], ...changes };
      if (note.star || note.note) notes[name] = note;
      else delete notes[name];
    }
    shared.set("notes", notes);
  }
}
