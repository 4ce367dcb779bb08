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

/** Whether the same is away. @param {Away} one @param {Away} other */
export function sameAway(one, other) {
  const told = (/** @type {Away} */ away) => membersOf(away).map(String).sort().join(";");
  return told(one) === told(other);
}

/** @param {Away} away @param {Away} all @returns {Away} every player that is not away */
function complement(away, all) {
  const rest = (/** @type {string} */ name, /** @type {Set<number>} */ numbers) =>
    new Set([...numbers].filter((number) => !away.get(name)?.has(number)));
  return new Map([...all].map(([name, numbers]) => [name, rest(name, numbers)]));
}

/**
 * What a person chose: what is away, or, where only the chosen is kept, what is there. Nothing is chosen where
 * nothing is away.
 * @param {Away} away @param {Away} all @param {boolean} keep @returns {Away}
 */
export function chosenOf(away, all, keep) {
  if (!keep) return copied(away);
  return membersOf(away).length ? complement(away, all) : new Map();
}

/** The other way round. @param {Away} chosen @param {Away} all @param {boolean} keep @returns {Away} */
export function awayOfChosen(chosen, all, keep) {
  return keep && membersOf(chosen).length ? complement(chosen, all) : keep ? new Map() : copied(chosen);
}

/** What is away, with its history. */
export class TakenAway {
  constructor() {
    this.keep = false; // whether only what is chosen is there
    /** @type {Away} every player that can be away */
    this.all = new Map();
    /** @type {Away} */
    this.now = new Map();
    /** @type {{now: Away, keep: boolean}[]} */
    this.past = [];
    this.stroking = false;
  }

  /**
   * One step of the history, unless it changes nothing; whether it changes anything. It ends a stroke.
   * @param {Away} away @param {boolean} keep @param {boolean} goesOn whether it belongs to the step before
   */
  step(away, keep, goesOn = false) {
    const isSame = keep === this.keep && sameAway(away, this.now);
    if (!isSame && !goesOn) this.past.push({ now: copied(this.now), keep: this.keep });
    [this.now, this.keep, this.stroking] = [away, keep, false];
    return !isSame;
  }

  clear() {
    [this.now, this.past, this.stroking, this.keep] = [new Map(), [], false, false];
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

  /** What a person chose: see `chosenOf`. */
  chosen() {
    return chosenOf(this.now, this.all, this.keep);
  }

  /** @param {string} name @param {number} index */
  toggle(name, index) {
    const chosen = this.chosen();
    const numbers = new Set(chosen.get(name));
    if (!numbers.delete(index)) numbers.add(index);
    chosen.set(name, numbers);
    this.step(awayOfChosen(chosen, this.all, this.keep), this.keep);
  }

  /**
   * More players of a stroke or a box, which is one step of the history; whether any of them is new.
   * @param {string} name @param {number[]} indices
   */
  paint(name, indices) {
    const chosen = this.chosen();
    chosen.set(name, new Set([...(chosen.get(name) ?? []), ...indices]));
    const goesOn = this.stroking;
    const isNew = this.step(awayOfChosen(chosen, this.all, this.keep), this.keep, goesOn);
    this.stroking = goesOn || isNew;
    return isNew;
  }

  /** Whether what is chosen is kept or taken away; what was chosen stays chosen. @param {boolean} keep */
  setKeep(keep) {
    const chosen = this.chosen();
    if (membersOf(chosen).length) this.step(awayOfChosen(chosen, this.all, keep), keep);
    else [this.keep, this.stroking] = [keep, false];
  }

  endStroke() {
    this.stroking = false;
  }

  /** @param {Away} away @param {boolean} keep whether what is there was chosen */
  take(away, keep = false) {
    this.step(copied(away), keep);
  }

  /** Goes one step back; whether there was one. */
  undo() {
    const before = this.past.pop();
    if (before) Object.assign(this, before);
    this.stroking = false;
    return before !== undefined;
  }
}
