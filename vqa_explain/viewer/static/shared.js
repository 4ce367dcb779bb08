// @ts-check
// What a view shares with its kernel and other views, or with the link of its page: how things are drawn, what is
// taken away, which examples are listed, selected and noted.
import { awayOfMembers } from "./away.js";
import { partOf } from "./layout.js";

/** What a look has that is shared; the rest, such as the zoom, is a view's own. */
export const LOOK = ["page", "map", "strength", "threshold", "smooth", "truth", "scale", "unit", "pane"];

/** @param {any} one @param {any} other */
function same(one, other) {
  return one === other || JSON.stringify(one) === JSON.stringify(other);
}

/** Input name → numbers in order, without inputs that lack none. @param {import("./types").Members} members */
function inOrder(members) {
  const lacking = Object.entries(members ?? {}).filter(([, numbers]) => numbers.length);
  const sorted = lacking.map(([name, numbers]) => [name, [...numbers].sort((a, b) => a - b)]);
  return Object.fromEntries(sorted.sort(([a], [b]) => (a < b ? -1 : 1)));
}

export class Shared {
  /** @param {any} screen see app.js */
  constructor(screen) {
    this.screen = screen;
    this.source = screen.source;
    this.filter = this.source.state("filter") ?? {};
    this.selection = this.source.state("selection") ?? [];
    this.notes = this.source.state("notes") ?? {};
    this.readLook();
  }

  /** What is drawn is told. */
  tellLook() {
    const { look } = this.screen;
    this.tell("look", Object.fromEntries(LOOK.map((name) => [name, look[name]])));
  }

  /** What is away is told. */
  tellHidden() {
    this.tell("hidden", inOrder(this.screen.taken.members()));
  }

  /** @param {"filter" | "selection" | "notes"} name @param {any} value */
  set(name, value) {
    this[name] = value;
    this.tell(name, value);
    this.screen.listed();
  }

  /** @param {string} name @param {any} value */
  tell(name, value) {
    if (!same(this.source.state(name), value)) this.source.setState(name, value);
  }

  /** Something was set elsewhere. */
  hear() {
    const { screen } = this;
    if (this.readLook()) screen.relook();
    this.hearHidden();
    let listed = false;
    for (const name of /** @type {const} */ (["filter", "selection", "notes"])) {
      const told = this.source.state(name);
      if (told === undefined || same(told, this[name])) continue;
      this[name] = told;
      listed = true;
    }
    if (listed) screen.listed();
  }

  /** Takes the look that was set elsewhere; whether anything is another. */
  readLook() {
    const { look } = this.screen;
    const told = this.source.state("look") ?? {};
    const changed = LOOK.filter((name) => told[name] !== undefined && told[name] !== look[name]);
    for (const name of changed) look[name] = told[name];
    return changed.length > 0;
  }

  hearHidden() {
    const { screen } = this;
    const told = this.source.state("hidden");
    if (!told || !screen.shown || screen.shown.isPreview) return;
    if (same(inOrder(told), inOrder(screen.taken.members()))) return;
    if (this.isOfShown(told)) screen.takeAll(awayOfMembers(told));
  }

  /** What was away when the view opened. */
  firstHidden() {
    const told = this.source.state("hidden") ?? {};
    if (Object.keys(told).length && this.isOfShown(told)) this.screen.taken.now = awayOfMembers(told);
  }

  /** @param {import("./types").Members} members */
  isOfShown(members) {
    return Object.entries(members).every(([name, numbers]) => {
      const count = partOf(this.screen.shown, name)?.players.length ?? 0;
      return numbers.every((number) => number < count);
    });
  }
}
