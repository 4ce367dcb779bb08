// @ts-check
// Where the focus goes when what has it goes away: a row that was made anew, a button that has done its work.
// Without this it falls to the page, and in a notebook the next letter edits a cell.

const FOCUSABLE = "button, input, select, textarea, summary, a[href], [tabindex]";
// What hides a part of the viewer; class names are left out, since they change with every move of the pointer.
const HIDES = ["hidden", "disabled", "open", "data-page"];

/** @param {any} node */
function canHaveFocus(node) {
  return node.isConnected && !node.disabled && node.checkVisibility({ visibilityProperty: true });
}

/**
 * A node that is taken out loses the focus, even where it is put back at once.
 * @param {Node} node @param {MutationRecord[]} records
 */
function wasMoved(node, records) {
  return records.some(({ removedNodes }) => [...removedNodes].some((one) => one.contains(node)));
}

/** What tells controls of one kind apart. @param {Element} node */
function controlName(node) {
  return [node.localName, node.classList[0], node.getAttribute("aria-label") ?? node.textContent].join("\n");
}

/** Controls like `node` in `box`. @param {Element} box @param {Element} node @returns {HTMLElement[]} */
function controlsLike(box, node) {
  const all = /** @type {HTMLElement[]} */ ([...box.querySelectorAll(FOCUSABLE)]);
  return all.filter((one) => one.localName === node.localName && one.classList[0] === node.classList[0]);
}

/** A node that had the focus, and where it stood: its boxes from the inside, and its place in each among its like. */
class Held {
  /** @param {HTMLElement} root @param {HTMLElement} node */
  constructor(root, node) {
    this.root = root;
    this.node = node;
    this.name = controlName(node);
    /** @type {{box: HTMLElement, place: number}[]} */ this.boxes = [];
    for (let box = node.parentElement; box && root.contains(box); box = box.parentElement)
      this.boxes.push({ box, place: controlsLike(box, node).indexOf(node) });
  }

  /** The same control made anew, the next of its kind, or the first control where it stood. @returns {HTMLElement} */
  heir() {
    for (const { box, place } of this.boxes) {
      if (!canHaveFocus(box)) continue;
      const like = controlsLike(box, this.node).filter(canHaveFocus);
      const same = like.find((one) => controlName(one) === this.name);
      const found = same ?? like[Math.min(place, like.length - 1)];
      const first = found ?? (box === this.root ? box : [...box.querySelectorAll(FOCUSABLE)].find(canHaveFocus));
      if (first) return /** @type {HTMLElement} */ (first);
    }
    return this.root;
  }
}

/** Keeps the focus in `root` while a person works there. Gives what ends it. @param {HTMLElement} root */
export function keepFocus(root) {
  /** @type {Held | null} */ let held = null;
  const remember = (/** @type {FocusEvent} */ event) => {
    const node = /** @type {HTMLElement} */ (event.target);
    held = node === root ? null : new Held(root, node);
  };
  const forget = (/** @type {FocusEvent} */ event) => {
    const isElsewhere = event.relatedTarget && !root.contains(/** @type {Node} */ (event.relatedTarget));
    if (isElsewhere) held = null;
  };
  const pressed = (/** @type {PointerEvent} */ event) => {
    if (!event.composedPath().includes(root)) held = null;
  };
  const check = (/** @type {MutationRecord[]} */ records) => {
    if (!held) return;
    const mayHave = canHaveFocus(held.node);
    if (mayHave && !wasMoved(held.node, records)) return;
    // Within a shadow tree the document has the focus on its host.
    const active = /** @type {Document | ShadowRoot} */ (root.getRootNode()).activeElement;
    const isFree = !active || active === document.body || active === held.node;
    const heir = mayHave ? held.node : held.heir();
    held = null;
    if (isFree && heir !== active) heir.focus({ preventScroll: true });
  };
  const changes = new MutationObserver(check);
  changes.observe(root, { childList: true, subtree: true, attributes: true, attributeFilter: HIDES });
  root.addEventListener("focusin", remember);
  root.addEventListener("focusout", forget);
  document.addEventListener("pointerdown", pressed, true);
  return () => {
    changes.disconnect();
    root.removeEventListener("focusin", remember);
    root.removeEventListener("focusout", forget);
    document.removeEventListener("pointerdown", pressed, true);
  };
}
