// @ts-check
// What a view asks the kernel about the explanation on its screen, and which answers are its own.
import { hearInside } from "./diving.js";

const PAUSE = 150; // milliseconds after the last change before the model is asked

/** The questions of one screen. Each has a serial, which comes back with its answer. */
export class Asking {
  /** @param {any} screen see app.js */
  constructor(screen) {
    this.screen = screen;
    // Another view of the same kernel asks too: a number of this view's own tells its answers from theirs.
    this.me = Math.random().toString(36).slice(2);
    this.questions = 0;
    this.serial = "";
    /** @type {any} */ this.unanswered = null; // the question that is open
    this.waiting = 0;
  }

  /** Words of this view's own for a question that is like no other. */
  number() {
    this.questions += 1;
    return `${this.me} ${this.questions}`;
  }

  /** @param {any} question in place of the one that is open */
  ask(question) {
    this.serial = this.number();
    this.unanswered = { ...question, serial: this.serial };
    this.screen.tellKernel(this.unanswered);
  }

  /** What the model answers without what is taken away. */
  askWithout() {
    const { taken, fills } = this.screen;
    this.ask({ action: "whatif", away: taken.members(), fills });
  }

  /** What it answers to the question in the editor. */
  askQuestion() {
    this.ask({ action: "question", question: this.screen.views.editor.input.value });
  }

  /** What the line in words may say: the kernel measures it once the explanation is on the screen. */
  askLine() {
    const { shown, source } = this.screen;
    if (source.live && source.options().line && shown.id && shown.line === undefined)
      this.screen.tellKernel({ action: "line", serial: `line ${shown.id}` });
  }

  /** Once a person pauses. @param {() => void} call */
  later(call) {
    clearTimeout(this.waiting);
    this.waiting = window.setTimeout(call, PAUSE);
  }

  /** An answer that comes late is of what was here before. */
  forget() {
    clearTimeout(this.waiting);
    this.serial = this.number();
    this.unanswered = null;
  }

  /** The kernel has answered a question, of this view or another. */
  hear() {
    const { screen } = this;
    const found = screen.source.whatif();
    if (!found) return;
    const isAside = /^(line|inside) /.test(String(found.serial));
    if (found.serial === this.serial) {
      this.unanswered = null;
      screen.showWhatIf(found);
    } else if (!isAside && this.unanswered) {
      screen.tellKernel(this.unanswered); // another view's question took the place of this one's
    }
    void hearInside(screen, found);
    if (!screen.shown?.id || found.serial !== `line ${screen.shown.id}`) return;
    screen.whole.line = screen.shown.line = found.line ?? null;
    screen.showLine();
    screen.views.facts.show(screen.shown);
  }
}
