// @ts-check
// The entry of a page that has its explanations in it. Its link carries its state.

import { mount } from "./app.js";
import { noteName } from "./cells.js";
import { saveAs } from "./dom.js";
import { linkOf, stateOfLink } from "./link.js";
import { methodTitle } from "./names.js";

const MOST_OFFERED = 500; // columns; a menu of more cannot be read

/** A line of the list. @param {any} p an explanation, or {entry} of an example that is not explained here */
function entryOf(p) {
  if (p.entry) return p.entry;
  return {
    title: p.heading,
    answer: p.contrast ? `${p.target} rather than ${p.contrast}` : p.target,
    correct: p.label === null ? null : p.answers[0].text === p.label,
    probability: p.answers[0].probability,
    id: p.exampleId,
    label: p.label,
    numbers: p.numbers ?? {},
    kind: p.exampleKind ?? "",
    without: p.line?.blind?.answer ?? null,
    state: "done",
  };
}

/** What is known of an example that is only listed, as a kernel tells one that is not explained yet. @param {any} entry */
function previewOf(entry) {
  const { title, answer, probability, id, label, kind, message } = entry;
  const question = { name: "question", kind: "text", fixed: true, title, players: [] };
  const answers = answer ? [{ text: answer, probability: probability ?? null, index: null }] : [];
  const known = { label: label ?? null, exampleId: id, exampleKind: kind, message };
  return { heading: title, parts: [question], answers, ...known };
}

/** The explanations of a page as a source. @param {any[]} payloads @param {any} notes that were exported with them */
function file(payloads, notes) {
  const entries = payloads.map(entryOf);
  /** @type {Record<string, Set<() => void>>} */
  const listeners = { shown: new Set(), state: new Set(), list: new Set() };
  const tell = (/** @type {string} */ name) => {
    for (const call of listeners[name]) call();
  };
  const count = payloads.length;
  const isShown = (/** @type {number} */ index) => Boolean(payloads[index]?.parts);
  let state = /** @type {any} */ ({ notes });

  /** Takes the state of the link; what a page has no model for is left out. */
  function read() {
    const found = stateOfLink(location.hash.slice(1), count);
    const named = new Map(found.stars.map((index) => [noteName(entries[index], index), index]));
    const starred = [...named.keys()].map((name) => [name, { star: true, note: state.notes[name]?.note ?? "" }]);
    // What was written stays; of what the page came with, the stars as well.
    const written = Object.entries(state.notes).map(([name, { note }]) => [
      name,
      { star: Boolean(notes[name]?.star), note },
    ]);
    const columns = found.columns.filter(isShown).slice(0, 5);
    if (!location.hash && payloads[found.example]?.inside) found.look.page = "inside";
    if (!location.hash && count && !isShown(found.example)) found.look.page = "table";
    state = { ...found, columns, hidden: {}, notes: Object.fromEntries([...written, ...starred]) };
  }

  function write() {
    const stars = [...entries.keys()].filter((index) => {
      const name = noteName(entries[index], index);
      return state.notes[name]?.star && !notes[name]?.star;
    });
    const link = linkOf({ ...state, stars });
    try {
      history.replaceState(null, "", link ? `#${link}` : location.pathname + location.search);
    } catch {
      // A page inside another has no link of its own.
    }
  }

  read();
  addEventListener("hashchange", () => {
    read();
    for (const name of Object.keys(listeners)) tell(name);
  });
  const change = (/** @type {any} */ changes, /** @type {string} */ name) => {
    Object.assign(state, changes);
    write();
    tell(name);
  };
  /** @type {any} */ let judged = notes; // for which `isUnsaved` holds
  let isUnsaved = false;
  function unsaved() {
    if (judged !== state.notes) isUnsaved = JSON.stringify(state.notes) !== JSON.stringify(notes);
    judged = state.notes;
    return isUnsaved;
  }
  const titled = (/** @type {any} */ p, /** @type {number} */ i) => `${i + 1}. ${p.heading}, ${methodTitle(p.method)}`;
  const offered = [...payloads.keys()].filter(isShown).slice(0, MOST_OFFERED);
  const choices = [["explanation", offered.map((i) => [{ example: i }, titled(payloads[i], i)])]];
  return {
    live: false,
    on: (/** @type {string} */ name, /** @type {() => void} */ call) => {
      listeners[name]?.add(call);
      return () => listeners[name]?.delete(call);
    },
    entries: () => entries,
    selected: () => state.example,
    select: (/** @type {number} */ example) => change({ example }, "shown"),
    payloadAt: (/** @type {number} */ index) => (isShown(index) ? payloads[index] : null),
    shown: () => (isShown(state.example) ? payloads[state.example] : null),
    compared: () =>
      isShown(state.example)
        ? state.columns.map((/** @type {number} */ index, /** @type {number} */ column) => ({
            ...payloads[index],
            column,
          }))
        : [],
    preview: () => {
      const isListed = count > 0 && !isShown(state.example);
      return isListed ? { ...previewOf(entries[state.example]), index: state.example } : null;
    },
    columns: () => state.columns.map((/** @type {number} */ example) => ({ example })),
    setColumns: (/** @type {any[]} */ columns) => change({ columns: columns.map(({ example }) => example) }, "shown"),
    columnChoices: () => choices,
    state: (/** @type {string} */ name) => state[name],
    setState: (/** @type {string} */ name, /** @type {any} */ value) => change({ [name]: value }, "state"),
    murmur: () => undefined,
    progress: () => ({}),
    options: () => ({}),
    whatif: () => null,
    problem: () => {
      const entry = entries[state.example];
      return entry?.state === "error" ? `Not explained: ${entry.message}` : "";
    },
    send: () => undefined,
    unsaved,
    save: () => savePage(state.notes),
  };
}

/** Gives this page as a file, as it came but with these notes. @param {any} notes */
function savePage(notes) {
  const copy = /** @type {HTMLElement} */ (document.documentElement.cloneNode(true));
  const viewer = /** @type {HTMLElement} */ (copy.querySelector("#viewer"));
  viewer.replaceWith(Object.assign(document.createElement("div"), { id: "viewer" }));
  const kept = /** @type {HTMLElement} */ (copy.querySelector("#notes"));
  // In the page's own JSON nothing may end the element.
  kept.textContent = JSON.stringify(notes).replaceAll("<", "\\u003c");
  const name = decodeURIComponent(location.pathname.split("/").pop() ?? "") || "explanations.html";
  saveAs(new Blob(["<!doctype html>\n", copy.outerHTML, "\n"], { type: "text/html" }), name);
}

/** @param {string} id */
function held(id) {
  return JSON.parse(document.getElementById(id)?.textContent ?? "null");
}

const explanations = held("explanations") ?? [];
// A picture is in the page once, however many explanations are of it.
const parts = explanations.flatMap((/** @type {any} */ one) => one.parts ?? []);
const pictures = new Map(
  parts
    .filter((/** @type {any} */ part) => part.picture)
    .map((/** @type {any} */ part) => [part.pictureId, part.picture]),
);
for (const part of parts) if (part.size) part.picture = pictures.get(part.pictureId);
const root = /** @type {HTMLElement} */ (document.getElementById("viewer"));
root.classList.add("vx-root");
mount(root, file(explanations, held("notes") ?? {}));
