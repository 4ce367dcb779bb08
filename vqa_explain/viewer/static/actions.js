// @ts-check
// What a person does in a viewer: points, pins, takes away, changes how things are drawn.
import { awayOfMembers, TakenAway } from "./away.js";
import { matching } from "./compare.js";
import { showInside } from "./diving.js";
import { viewOf } from "./frame.js";
import { ofDepth } from "./inside.js";
import { partOf, zoomed } from "./layout.js";
import { twoSided } from "./numbers.js";
import { countingOf, scaleOf } from "./scales.js";
import { LOOK } from "./shared.js";
import { fedText, fedWords, NO_WORDS, ofWords, sameSpan } from "./wordrows.js";

/** @typedef {import("./types").Members} Members */
/** @typedef {import("./types").Place} Place */
/** @typedef {import("./wordrows.js").Span} Span */

export const NO_WORDS_KEPT = { wordsKept: NO_WORDS, wordsShown: NO_WORDS };

/** The state of a screen, and what changes it. app.js adds what is drawn of it, and what the kernel is told. */
export class Actions {
  constructor() {
    /** @type {import("./types").Look} */
    this.look = {
      ...{ map: "orange-purple", strength: 1, threshold: 0, smooth: false, truth: false, scale: "own" },
      ...{ unit: "regions", pane: "picture", page: "example", narrow: "map", peek: false, dark: false, frame: 0 },
      views: new Map(),
    };
    /** @type {any} */ this.shown = null;
    /** @type {any} */ this.whole = null; // of which that of a word of its answer may be shown
    /** @type {Span} */ this.wordsKept = NO_WORDS; // of its answer, by a click
    /** @type {Span} */ this.wordsShown = NO_WORDS; // of its answer that color the inputs
    /** @type {import("./inside.js").Depth | null} */ this.depth = null; // the block or head that is looked at
    this.shownSerial = 0;
    /** @type {any[]} */ this.compared = [];
    this.beside = 0; // how many columns were asked for when they were last shown
    /** @type {Place | null} */ this.hover = null;
    /** @type {Place | null} */ this.pinned = null;
    /** @type {Members | null} */ this.marked = null;
    /** @type {Members | null} */ this.held = null; // by a click on a clause of a page
    this.taken = new TakenAway();
    /** @type {any} */ this.found = null;
    /** @type {Record<string, string>} input → what its absent parts become, in place of the explanation's */
    this.fills = {};
    this.page = "example";
    this.pairScale = /** @type {number | null} */ (null);
    /** @type {any} */ this.views = null;
    /** @type {any} */ this.source = null;
    /** @type {any} */ this.frameNode = null;
    /** @type {any} */ this.compareBox = null;
    /** @type {any} */ this.pages = null;
    /** @type {any} */ this.shared = null;
  }

  // These are app.js's.

  draw() {}
  listed() {}
  tell() {}
  showLine() {}
  changed() {}
  readTheme() {}

  /** Another column beside the explanation, or others. @param {(columns: any[]) => any[]} change */
  setColumns(change) {
    this.source.setColumns(change([...this.source.columns()]));
  }

  /** Whether a column has come since the last time, which a person wants to see. @param {any[]} compared */
  isWidened(compared) {
    const [before, now] = [this.beside, this.source.columns().length];
    if (compared.length || !now) this.beside = now; // else they are computed anew, of another example
    return this.beside > before;
  }

  /** @param {string} page */
  open(page) {
    this.freeWord();
    if (page === "compare" && !this.compared.length) this.compareBox.querySelector("select")?.focus();
    else this.set("page", page);
  }

  showPage() {
    const page = this.page === "compare" && !this.compared.length ? "example" : this.page;
    const before = this.frameNode.dataset.page;
    const looks = this.source.live || this.whole?.inside;
    this.pages.offer(["example", "compare", "table", ...(looks ? ["inside"] : [])]);
    this.pages.set(page);
    this.frameNode.dataset.page = page;
    this.views.table.node.hidden = page !== "table";
    this.views.inside.node.hidden = page !== "inside";
    if (before === page) return;
    if (before) this.listed(); // when it opens, it is listed anyway
    if ([before, page].includes("inside")) showInside(this);
  }

  /** Another way to draw. @param {string} name @param {any} value */
  set(name, value) {
    const { look } = this;
    if (name === "zoom") this.zoom(value);
    /** @type {any} */ else look[name] = value;
    if (LOOK.includes(name)) this.shared.tellLook();
    if (name === "page") {
      this.page = value;
      this.showPage();
    }
    if (name === "map") this.readTheme();
    this.draw();
  }

  /** @param {number} factor 0 shows whole pictures */
  zoom(factor) {
    if (!factor) return this.look.views.clear();
    for (const { name, size } of this.shown?.parts ?? [])
      if (size) this.look.views.set(name, zoomed(viewOf(this.look, name), factor, [0.5, 0.5]));
  }

  /** Another view of a picture: zoomed, or moved. @param {string} name @param {any} view */
  turn(name, view) {
    this.look.views.set(name, view);
    this.draw();
  }

  /**
   * The cursor over a compared explanation, carried to the same place of the one shown.
   * @param {number} place of the column @param {string} name @param {any} kind @param {number} index
   */
  actOther(place, name, kind, index) {
    const [from, to] = [partOf(this.compared[place], name), partOf(this.shown, name)];
    const same = matching(from, to, index);
    if (kind === "toggle" && !from.size) return;
    this.act(name, same < 0 ? "leave" : kind, same);
  }

  /** @type {import("./types").Act | ((name: string, kind: string, index: number) => void)} */
  act(name, kind, index) {
    if (kind === "toggle") this.choose(name, index);
    else if (kind === "paint") this.paint(name, index);
    else if (kind === "stroke") this.taken.endStroke();
    else if (kind === "box") this.takeBox(name, /** @type {any} */ (index));
    else {
      this.hover = kind === "enter" ? { part: name, index } : null;
      this.draw();
      this.tell();
    }
  }

  /**
   * A click on a player: a word of an explanation with pairs is pinned, all else is taken away.
   * @param {string} name
   * @param {number} index
   */
  choose(name, index) {
    const pins = this.shown.joint.length > 0 && !partOf(this.shown, name).size;
    const again = this.pinned?.part === name && this.pinned.index === index;
    if (pins) this.pin(again ? null : { part: name, index });
    else this.toggle(name, index);
  }

  /** @param {Place | null} place */
  pin(place) {
    this.pinned = place;
    if (place && this.look.pane === "picture" && !this.found) this.look.pane = "matrix";
    if (!place && this.look.pane === "matrix") this.look.pane = "picture";
    this.showLine();
    this.draw();
    this.tell();
  }

  takePinned() {
    const { pinned } = this;
    if (!pinned) return;
    this.pin(null);
    this.toggle(pinned.part, pinned.index);
  }

  /** @param {string} name @param {number} index */
  toggle(name, index) {
    if (!this.source.live || this.isInside()) return;
    this.taken.toggle(name, index);
    this.changed();
  }

  /** @param {string} name @param {number} index */
  paint(name, index) {
    if (!this.source.live || this.isInside()) return;
    if (this.taken.paint(name, [index])) this.changed();
  }

  /** All regions in a box, as one step. @param {string} name @param {number[]} indices */
  takeBox(name, indices) {
    if (!this.source.live || !indices.length || this.isInside()) return;
    const isNew = this.taken.paint(name, indices);
    this.taken.endStroke();
    if (isNew) this.changed();
  }

  /** Whether what is chosen is kept, or taken away. @param {boolean} keep */
  setKeep(keep) {
    this.taken.setKeep(keep);
    this.changed();
  }

  /** Another fill of an input in what-ifs; "" is the explanation's. @param {string} name @param {string} fill */
  setFill(name, fill) {
    if (fill) this.fills[name] = fill;
    else delete this.fills[name];
    this.changed();
  }

  /** @param {Map<string, Set<number>>} away @param {boolean} keep whether what is there was chosen */
  takeAll(away, keep = false) {
    if (!this.source.live) return;
    this.taken.take(away, keep);
    this.changed();
  }

  /** A click on a clause shows it: the model answers without its parts. @param {Members} members */
  takeClause(members) {
    if (this.source.live) this.takeAll(awayOfMembers(members));
    else {
      this.held = this.held === members ? null : members;
      this.mark(this.held);
    }
  }

  /** @param {Members | null} members */
  mark(members) {
    this.marked = members ?? this.held;
    this.draw();
  }

  keepWhatCounts() {
    const { shown, look } = this;
    const away = new Map();
    for (const part of shown?.parts ?? []) {
      if (part.fixed || !part.players.length) continue;
      const kept = countingOf(part, scaleOf(shown, part, look), 0);
      away.set(part.name, new Set([...part.players.keys()].filter((index) => !kept.has(index))));
    }
    if (shown) this.takeAll(away);
  }

  undo() {
    if (this.taken.undo()) this.changed();
  }

  reset() {
    if (this.taken.any()) this.takeAll(new Map());
  }

  /** The word of the answer under the pointer, or in focus, colors the inputs; else those that were clicked.
   * @param {number} number */
  pointWord(number) {
    this.showWords(number < 0 ? this.wordsKept : [number, number]);
  }

  /** @param {Span} span */
  showWords(span) {
    if (sameSpan(span, this.wordsShown) || !this.whole) return;
    this.wordsShown = span;
    this.recolor();
  }

  /** The explanation that colors the inputs: the whole, that of words of the answer, or that of a block or head. */
  colored() {
    if (this.isInside() && this.depth) return ofDepth(this.whole, this.depth);
    return ofWords(this.whole, this.wordsShown);
  }

  /** What the part under the pointer adds to each word of the answer, where they are told. */
  fed() {
    const fed = this.isInside() ? null : fedWords(this.whole, this.hover);
    return fed && { fed, sided: twoSided(this.whole) };
  }

  /** The same in words. */
  fedText() {
    return this.hover && !this.isInside() ? fedText(this.whole, this.hover) : "";
  }

  recolor() {
    this.shown = this.colored();
    this.shownSerial += 1; // so that all is painted anew
    const { shown, source } = this;
    this.views.lists.show(shown, source.live && !this.isInside());
    this.views.panes.show(shown);
    this.views.facts.show(shown);
    this.draw();
    this.tell();
  }

  /** Whether blocks and heads color the inputs. */
  isInside() {
    return this.page === "inside" && Boolean(this.whole?.inside);
  }

  /** The whole colors the inputs again. */
  freeWord() {
    this.views.sentence.stop();
    this.keepWords(NO_WORDS);
  }

  /** Words of the answer color the inputs until others do. @param {Span} span */
  keepWords(span) {
    this.wordsKept = span;
    this.showWords(span);
    this.draw();
  }
}
