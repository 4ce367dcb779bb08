// @ts-check
// Which players are taken away, and what was away before, so that every step can be taken back.

/** @typedef {Map<string, Set<number>>} Away input name → the numbers of its players that are taken away */

/** @param {Away} away @returns {Away} */
export function copied(away) {
  return new Map([...away].map(([name, numbers]) => [name, new Set(numbers)]));
}

/** @param {import("./types").Members} members @returns {Away} */
export function awayOfMembers(members) {
  return new Map(Object.entries(members).map(([name, numbers]) => [name, new Set(numbers)]));
}

/** @param {Away} away @returns {[string, number][]} */
export function membersOf(away) {
  return [...away].flatMap(([name, numbers]) =>
    [...numbers].map((index) => /** @type {[string, number]} */ ([name, index])),
  );
}

/** What is away, with its history. */
export class TakenAway {
  constructor() {
    /** @type {Away} */
    this.now = new Map();
    /** @type {Away[]} */
    this.past = [];
    this.stroking = false;
  }

  clear() {
    [this.now, this.past, this.stroking] = [new Map(), [], false];
  }

  /** @param {string} name */
  of(name) {
    return this.now.get(name) ?? new Set();
  }

  any() {
    return membersOf(this.now).length > 0;
  }

  /** Input name → numbers, of inputs that lack some. @returns {import("./types").Members} */
  members() {
    const lacking = [...this.now].filter(([, numbers]) => numbers.size);
    return Object.fromEntries(lacking.map(([name, numbers]) => [name, [...numbers]]));
  }

  /** @param {string} name @param {number} index */
  toggle(name, index) {
    this.past.push(copied(this.now));
    const numbers = new Set(this.of(name));
    if (!numbers.delete(index)) numbers.add(index);
    this.now.set(name, numbers);
  }

  /** One region more of a stroke, which is one step of the history. @param {string} name @param {number} index */
  paint(name, index) {
    if (!this.stroking) this.past.push(copied(this.now));
    this.stroking = true;
    this.now.set(name, new Set([...this.of(name), index]));
  }

  endStroke() {
    this.stroking = false;
  }

  /** @param {Away} away */
  take(away) {
    this.past.push(copied(this.now));
    this.now = copied(away);
  }

  /** Goes one step back; whether there was one. */
  undo() {
    const before = this.past.pop();
    if (before) this.now = before;
    return before !== undefined;
  }
}
