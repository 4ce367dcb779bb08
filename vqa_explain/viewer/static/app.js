// @ts-check
// One viewer over a source of explanations: a kernel that computes, or a page that has them.
import { Actions, NO_WORDS_KEPT } from "./actions.js";
import { Asking } from "./asking.js";
import { matching, sameExample } from "./compare.js";
import { methodForm } from "./controls.js";
import { pause, unpacked } from "./data.js";
import { showInside } from "./diving.js";
import { fill } from "./dom.js";
import { Examples } from "./examples.js";
import { pairScale } from "./findings.js";
import { frameOf } from "./frame.js";
import { partOf } from "./layout.js";
import { errorsText } from "./legend.js";
import { linesView } from "./lines.js";
import { idsOf, listen, pendingOf } from "./listening.js";
import { playersText, sentence, TEXTS } from "./names.js";
import { legendOf } from "./panes.js";
import { withoutValues } from "./preview.js";
import { Shared } from "./shared.js";
import { skeleton, stageOf } from "./skeleton.js";
import { hoverText } from "./telling.js";
import { applyPalette } from "./theme.js";
import { Thumbs } from "./thumbs.js";
import { viewsOf } from "./views.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").Members} Members */
/** @typedef {import("./types").Place} Place */
/** @typedef {import("./types").Source} Source */

const MOST_COLUMNS = 6; // the explanation itself among them

class Screen extends Actions {
  /** @param {HTMLElement} root @param {Source} source */
  constructor(root, source) {
    super();
    this.root = root;
    this.source = source;
    this.asking = new Asking(this);
    this.drawn = 0;
    this.listing = 0;
    this.state = "done"; // or what became of what is asked for and not shown yet
    this.previewed = "";
    this.byKeys = false;
    /** @type {any} */ this.main = null;
    /** @type {any} */ this.palette = null;
    /** @type {symbol | null} */ this.asked = null;
    this.shared = new Shared(this);
    this.page = this.look.page;
    this.thumbs = new Thumbs(source, this.look, () => this.listSoon());
    this.examples = new Examples(this);
    this.views = viewsOf(this);
    this.layOut();
    this.stops = listen(this);
    this.readTheme();
    this.makeForm();
    void this.refresh();
  }

  layOut() {
    this.stage = stageOf(this.views, this.source.live);
    this.views.lines = linesView(this.stage, (name) => this.views.panes.group(name));
    this.stage.append(this.views.lines.node);
    const told = { set: this.set.bind(this), open: this.open.bind(this), live: this.source.live };
    const { node, main, pages, compareBox } = skeleton(this.views, this.stage, this.look, told);
    Object.assign(this, { frameNode: node, main, pages, compareBox });
    this.root.tabIndex = -1; // so that a click beside all buttons keeps the keys here
    this.root.dataset.lmSuppressShortcuts = "true"; // Lab's and Notebook's own listeners pass these elements by
    fill(this.root, this.frameNode, this.views.help);
  }

  // What the kernel is told, and what it says.

  /** A message about the explanation on the screen, whatever the kernel is computing. @param {any} message */
  tellKernel(message) {
    this.source.send({ ...message, explanation: this.shown?.id });
  }

  changed() {
    this.shared.tellHidden();
    this.showWhatIf(null);
    this.draw();
    this.tell();
    this.asking.later(() => this.asking.askWithout());
  }

  /** @param {import("./types").WhatIf | null} found */
  showWhatIf(found) {
    this.found = found;
    const { whole: shown, taken, source } = this; // the kernel measures the whole answer
    if (source.live)
      this.views.whatif.show(found, shown, taken, { given: this.fills, offered: source.options().fills });
    if (!shown) return;
    const after = found && !found.error && found.answers.length ? found.answers : null;
    this.views.answers.show(shown, source.live && !shown.isPreview, after);
    this.showLine();
  }

  // What is on the screen.

  readTheme() {
    this.palette = applyPalette(this.root, this.frameNode, this.look);
    this.drawSoon();
    this.listSoon();
  }

  /** The look was set elsewhere. */
  relook() {
    this.page = this.look.page;
    this.showPage();
    this.readTheme();
  }

  drawSoon() {
    cancelAnimationFrame(this.drawn);
    this.drawn = requestAnimationFrame(() => this.draw());
  }

  draw() {
    const { shown, compared } = this;
    if (!shown || !this.palette || this.page === "table") return; // nothing of it is seen there
    const began = performance.now();
    const frame = frameOf(this);
    if (compared.length && this.page === "compare") {
      const { hover } = this;
      const other = (/** @type {number} */ place, /** @type {string} */ name) =>
        hover?.part === name ? matching(partOf(shown, name), partOf(compared[place], name), hover.index) : -1;
      this.views.columns.draw(frame, other);
    } else {
      this.views.sentence.draw(this.palette, this.wordsShown, this.wordsKept, this.fed());
      if (this.depth) this.views.inside.draw(this.palette, this.depth);
      this.views.lists.draw(frame);
      this.views.panes.draw(frame);
      this.views.lines.draw(shown, frame);
      const legend = legendOf(shown, frame);
      this.views.legend.node.hidden = !legend;
      if (legend) this.views.legend.show(shown, legend.scale, legend.values, frame, errorsText(frame, legend.part));
      this.views.lengths.show(shown, frame);
      this.views.paneNote.textContent = this.views.panes.noteOf(frame);
    }
    this.views.ranked.draw(shown, frame);
    this.root.dataset.frame = (performance.now() - began).toFixed(2);
  }

  /** What the pointer or the focus is on, in words. */
  tell() {
    const { shown, compared, hover } = this;
    const { said } = this.views;
    if (!shown) return;
    said.setAttribute("aria-live", this.byKeys ? "polite" : "off"); // what the pointer passes is not read aloud
    said.textContent = hover ? hoverText(shown, compared, hover) + this.fedText() : this.hint();
    said.title = said.textContent;
  }

  hint() {
    const { shown, source } = this;
    if (shown.joint.length) return TEXTS.hintPairs;
    const things = playersText(shown);
    if (!things) return "";
    return `Point at ${things} for its value.${source.live && !this.isInside() ? TEXTS.hintLive : ""}`;
  }

  showLine() {
    const { whole: shown, found } = this;
    if (!shown) return;
    if (this.pinned && this.shown.joint.length) this.views.first.showPairs(shown, frameOf(this));
    else if (this.taken.any() && found && !found.error) this.views.first.showWhatIf(shown, found, this.taken.members());
    else this.views.first.show(shown, this.state);
  }

  /** The list, the table and the problem, without touching what is drawn: they change with every step of progress. */
  list() {
    const { source } = this;
    const [entries, selected] = [source.entries(), source.selected()];
    this.examples.show();
    const entry = entries[selected];
    const pending = source.pending ? source.pending() : pendingOf(entry);
    this.offerColumns();
    const failed = pending?.state === "error" ? `Not explained: ${pending.message}` : "";
    this.views.problem.textContent = source.problem() || failed;
    const old = Boolean(pending) && !pending.comparison && !this.shown?.isPreview;
    this.stage.classList.toggle("vx-old", Boolean(this.shown) && old);
    const progress = source.progress();
    const isOpen = (/** @type {any} */ one, /** @type {number} */ i) =>
      i !== selected && (one.state === "waiting" || one.state === "running");
    this.views.busy.show(pending, progress, progress.index === selected, () => entries.some(isOpen));
    if (!source.shown() && !entries.length) this.views.said.textContent = TEXTS.noExample;
    const state = pending && !pending.comparison ? pending.state : "done";
    if (state !== this.state) {
      this.state = state;
      this.showLine();
    }
    const preview = this.previewKey();
    if (preview !== this.previewed) {
      this.previewed = preview;
      void this.refresh();
    }
    this.main.classList.toggle("vx-no-list", entries.length < 2);
  }

  listSoon() {
    cancelAnimationFrame(this.listing);
    this.listing = requestAnimationFrame(() => this.examples.show());
  }

  /** The filter, the selection or notes are others. */
  listed() {
    this.examples.show();
  }

  offerColumns() {
    const { source } = this;
    if (source.live) this.views.comparison.show(source.options(), source.entries(), this.shown);
    else this.views.comparison.offer(source.columnChoices?.() ?? []);
    const room = source.columns().length < MOST_COLUMNS - 1 && source.entries().length > 0;
    this.compareBox.hidden = !room || (!source.live && source.entries().length < 2);
  }

  /** What tells one preview of the selected example from another; "" where there is none. */
  previewKey() {
    const preview = this.source.preview?.();
    return preview?.index === this.source.selected() ? `${preview.index} ${preview.answers.length}` : "";
  }

  async refresh() {
    if (!this.root.dataset.ready) await pause(); // a page that opens is drawn in short steps
    this.previewed = this.previewKey();
    this.list();
    const payload = this.previewed ? this.source.preview?.() : this.source.shown();
    this.main.classList.toggle("vx-nothing", !payload);
    if (!payload) {
      this.stage.classList.add("vx-empty");
      this.showPage();
      this.root.dataset.ready = String(this.source.selected());
      this.root.dataset.shown = idsOf(null);
      return;
    }
    const newest = Symbol("newest");
    this.asked = newest;
    const beside = this.previewed ? [] : this.source.compared();
    const isPreview = Boolean(this.previewed);
    const [found, ...compared] = await Promise.all([payload, ...beside].map(unpacked));
    if (this.asked !== newest) return; // a newer one has come since
    const shown = isPreview ? withoutValues(found) : found;
    const isFirst = !this.shown || this.shown.isPreview;
    this.forget(shown);
    this.main.classList.toggle("vx-unexplained", isPreview && !this.source.live);
    for (const one of compared) one.spec = this.source.columns()[one.column];
    if (this.isWidened(compared) && this.page !== "table" && this.shown) this.set("page", "compare");
    Object.assign(this, { ...NO_WORDS_KEPT, whole: shown, depth: null });
    Object.assign(this, { shown, compared, hover: null, marked: null, held: null, pairScale: pairScale(shown) });
    this.shownSerial += 1;
    if (isFirst) this.shared.firstHidden();
    for (const step of this.showAll()) {
      step();
      if (isFirst) await pause();
      if (this.asked !== newest) return;
    }
    this.draw();
    this.tell();
    this.root.dataset.ready = String(this.source.selected());
    this.root.dataset.shown = idsOf(shown, ...compared);
  }

  /** What belonged to another example is gone. @param {any} shown */
  forget(shown) {
    const before = this.whole;
    if (this.pinned && (!before || !sameExample(before, shown) || !shown.joint.length)) this.pinned = null;
    if (before && sameExample(before, shown)) return;
    this.taken.clear();
    this.look.frame = 0;
    if (before && !shown.isPreview) this.shared.tellHidden();
    this.look.views.clear();
    this.views.whatif.forget();
    this.asking.forget();
  }

  /** What shows the explanation, in steps: the inputs, what is said of them, and what it leads to. */
  showAll() {
    return [() => this.showInputs(), () => this.showFacts(), () => this.showRest()];
  }

  showInputs() {
    const { shown, compared, source } = this;
    const free = shown.parts.filter((/** @type {any} */ part) => !part.fixed);
    this.taken.all = new Map(free.map((/** @type {any} */ part) => [part.name, new Set(part.players.keys())]));
    this.stage.classList.remove("vx-empty");
    this.offerColumns();
    this.views.editor.input.value = shown.edits === null ? "" : partOf(shown, shown.edits).title;
    this.views.editor.node.hidden = shown.edits === null;
    this.views.setup.show(shown, source.live);
    this.views.drawing.show(shown);
    this.views.sentence.show(shown);
    this.views.lists.show(shown, source.live);
    this.views.panes.show(shown);
    this.views.columns.show(shown, compared, source.live ? source.options() : null);
  }

  showFacts() {
    const { shown, compared } = this;
    this.views.pairsNote.textContent = shown.pairs ? sentence(`${shown.pairsTitle}: ${shown.pairs.text}`) : "";
    this.frameNode.classList.toggle("vx-has-pairs", shown.joint.length > 0);
    this.views.notes.show(shown, compared);
    this.views.facts.show(shown);
    this.showPage();
    if (this.page === "inside") showInside(this);
  }

  showRest() {
    const { shown, source } = this;
    // What is taken away stays away, and the model is asked anew about the explanation that is shown now.
    if (source.live && this.taken.any()) this.changed();
    else this.showWhatIf(null);
    this.showLine();
    this.asking.askLine();
    if (!shown.isPreview && !source.payloadAt) this.thumbs.keep(source.selected(), shown);
    this.list();
  }

  makeForm() {
    const { source } = this;
    if (source.live) {
      const { form } = this.views;
      const run = (/** @type {any} */ message) => {
        source.send(message);
        const menu = form.closest("details");
        menu.open = false; // what is computed is seen, and the focus stays where it was opened
        menu.querySelector("summary").focus();
      };
      fill(form, methodForm(source.options(), run));
    }
    fill(this.compareBox, this.views.comparison.node);
  }

  leave() {
    for (const stop of [...this.stops, this.views.sentence.stop]) stop();
    this.views.entries.leave();
    this.views.table.leave();
  }
}

/** Mounts the viewer; gives a function that takes it away. @param {HTMLElement} root @param {Source} source */
export function mount(root, source) {
  const screen = new Screen(root, source);
  return () => screen.leave();
}
