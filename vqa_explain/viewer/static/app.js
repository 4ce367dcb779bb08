// One viewer over a source of explanations: a kernel that computes, or a page that has them.

import { agreementOf, comparisonView, headingOf, matching, refusal } from "./compare.js";
import { drawingView, entriesView, methodForm } from "./controls.js";
import { unpacked } from "./data.js";
import { el, fill } from "./dom.js";
import { pairScale, partnersOf } from "./findings.js";
import { partOf, zoomed } from "./layout.js";
import { answersView, detailsView, notesView, sharesView } from "./panels.js";
import { comparedView, partsView } from "./parts.js";
import { hoverText, playersText } from "./telling.js";
import { whatifView } from "./whatif.js";

/** Whether two explanations are of the same inputs, divided alike, so that what is taken away is in both. */
function sameExample(one, other) {
  const told = (e) => e.parts.map((p) => [p.name, p.kind, p.title, p.pictureId, p.players.length, p.size]);
  return JSON.stringify(told(one)) === JSON.stringify(told(other));
}

/** A copy of the players that are away: input name → their numbers. */
function copied(away) {
  return new Map([...away].map(([name, numbers]) => [name, new Set(numbers)]));
}

const WHOLE = { zoom: 1, x: 0, y: 0 };

/** Mounts the viewer; gives a function that takes it away. */
export function mount(root, source) {
  const look = { map: "red-blue", strength: 0.8, threshold: 0, smooth: false, truth: false, views: new Map() };
  const state = {
    shown: null,
    compared: null,
    hover: null,
    away: new Map(), // input name → the numbers of its players that are taken away
    past: [],
    serial: "",
    asked: null,
  };
  const said = el("div", { class: "vx-said", role: "status", "aria-live": "polite" });
  const problem = el("div", { class: "vx-problem", role: "alert" });
  const parts = partsView({ act, turn });
  const other = comparedView({ act: onOther, turn });
  const answers = answersView((target, contrast) => tellKernel({ action: "target", target, contrast }));
  const shares = sharesView();
  const notes = notesView();
  const details = detailsView();
  const entries = entriesView(
    (index) => source.select(index),
    (index) => source.send({ action: "cancel", index }),
  );
  const whatif = whatifView(undo, reset);
  const pairsNote = el("div", { class: "vx-soft vx-pairs" });
  const agreement = el("div", { class: "vx-soft vx-agreement" });
  const form = el("div", { class: "vx-side" });
  const comparison = comparisonView((message) => source.send(message));
  const edit = el("input", {
    type: "text",
    class: "vx-edit",
    dir: "auto",
    "aria-label": "the question, to edit",
    oninput: () => later(ask),
  });
  const stage = el(
    "div",
    { class: "vx-stage", role: "group", "aria-label": "explanation" },
    parts.texts,
    parts.legends,
    source.live ? edit : null,
    parts.pictures,
    pairsNote,
    other.texts,
    other.legends,
    agreement,
    said,
    whatif.node,
    answers.node,
    shares.node,
    notes.node,
    details.node,
  );
  const drawing = drawingView(look, onLook);
  fill(
    root,
    el(
      "div",
      { class: `vx-viewer${source.live ? "" : " vx-static"}` },
      el("div", { class: "vx-list", role: "group", "aria-label": "list" }, entries.node, form),
      el("div", { class: "vx-body" }, problem, drawing, stage),
    ),
  );

  let waiting = 0;
  function later(call) {
    clearTimeout(waiting);
    waiting = setTimeout(call, 150);
  }

  /** A message about the explanation on the screen, whatever the kernel is computing. */
  function tellKernel(message) {
    source.send({ ...message, explanation: state.shown?.id });
  }

  // Another view of the same kernel asks too: a number of this view's own tells its answers from theirs.
  const me = Math.random().toString(36).slice(2);
  let questions = 0;
  function nextSerial() {
    questions += 1;
    state.serial = `${me} ${questions}`;
    return state.serial;
  }

  function ask() {
    tellKernel({ action: "question", question: edit.value, serial: nextSerial() });
  }

  function onLook(name, value) {
    if (name !== "zoom") look[name] = value;
    else if (!value) look.views.clear();
    else for (const { name: picture } of pictures()) turn(picture, zoomed(viewOf(picture), value, [0.5, 0.5]), false);
    draw();
  }

  function pictures() {
    return state.shown ? state.shown.parts.filter((part) => part.size) : [];
  }

  function viewOf(name) {
    return look.views.get(name) ?? WHOLE;
  }

  /** Another view of a picture: zoomed, or moved. */
  function turn(name, view, redraw = true) {
    look.views.set(name, view);
    if (redraw) draw();
  }

  /** The cursor over the compared explanation, carried to the same place of the one shown. */
  function onOther(name, kind, index) {
    const [from, to] = [partOf(state.compared, name), partOf(state.shown, name)];
    const same = matching(from, to, index);
    if (kind === "toggle" && !from.size) return;
    act(name, same < 0 ? "leave" : kind, same);
  }

  function act(name, kind, index) {
    if (kind === "toggle") {
      if (!source.live) return;
      state.past.push(copied(state.away));
      const numbers = awayOf(name);
      if (numbers.has(index)) numbers.delete(index);
      else numbers.add(index);
      state.away.set(name, numbers);
      changed();
    } else state.hover = kind === "enter" ? { part: name, index } : null;
    draw();
    tell();
  }

  function awayOf(name) {
    return state.away.get(name) ?? new Set();
  }

  function anyAway() {
    return [...state.away.values()].some((numbers) => numbers.size > 0);
  }

  function changed() {
    showWhatif(null);
    later(() => {
      const away = Object.fromEntries([...state.away].map(([name, numbers]) => [name, [...numbers]]));
      tellKernel({ action: "whatif", away, serial: nextSerial() });
    });
  }

  function undo() {
    if (!state.past.length) return;
    state.away = state.past.pop();
    changed();
    draw();
  }

  function reset() {
    if (anyAway()) state.past.push(state.away);
    state.away = new Map();
    changed();
    draw();
  }

  /** What the pointer or the focus is on, in words. */
  function tell() {
    const { shown, compared, hover } = state;
    if (shown && hover) said.textContent = hoverText(shown, compared, hover);
    else if (shown) said.textContent = `Point at ${playersText(shown)} for its value.`;
  }

  function draw() {
    const { shown, compared, hover } = state;
    if (!shown) return;
    const began = performance.now();
    const found = hover ? partnersOf(shown, hover.part, hover.index) : [];
    const pairs = new Map(found.map((one) => [one.name, one]));
    const common = { look, viewOf, pairScale: state.pairScale };
    parts.draw({ ...common, pairs, awayOf, focusOf: (name) => (hover?.part === name ? hover.index : -1) });
    if (compared) {
      const focusOf = (name) =>
        hover?.part === name ? matching(partOf(shown, name), partOf(compared, name), hover.index) : -1;
      other.draw({ ...common, focusOf });
    }
    root.dataset.frame = (performance.now() - began).toFixed(2);
  }

  function showWhatif(found) {
    if (!source.live) return;
    whatif.show(found, state.shown, anyAway(), state.past.length > 0);
  }

  /** The list and the problem, without touching what is drawn: they change with every step of progress. */
  function list() {
    entries.show(source.entries(), source.selected(), source.progress());
    const entry = source.entries()[source.selected()];
    if (source.live) comparison.show(source.options(), source.entries(), state.shown);
    problem.textContent = source.problem() || (entry?.state === "error" ? entry.message : "");
    if (!source.shown() && !source.entries().length) said.textContent = "There is no example to show.";
  }

  async function refresh() {
    list();
    const payload = source.shown();
    if (!payload) {
      stage.classList.add("vx-empty");
      root.dataset.shown = idsOf(null, null);
      return;
    }
    const newest = Symbol("newest");
    state.asked = newest;
    const [shown, compared] = await Promise.all([
      unpacked(payload),
      source.compared() ? unpacked(source.compared()) : null,
    ]);
    if (state.asked !== newest) return; // a newer one has come since
    const same = state.shown && sameExample(state.shown, shown);
    if (!same) {
      [state.away, state.past] = [new Map(), []];
      look.views.clear();
      clearTimeout(waiting);
      nextSerial(); // an answer that comes late is of what was here before
    }
    Object.assign(state, { shown, compared, hover: null, pairScale: pairScale(shown) });
    stage.classList.remove("vx-empty");
    if (source.live) comparison.show(source.options(), source.entries(), shown);
    edit.value = shown.edits === null ? "" : partOf(shown, shown.edits).title;
    edit.hidden = shown.edits === null;
    drawing.classList.toggle("vx-no-picture", pictures().length === 0);
    parts.show(shown, source.live);
    other.show(shown, compared, parts, compared ? headingOf(shown, compared) : "", refusal);
    agreement.textContent = compared ? agreementOf(shown, compared) : "";
    pairsNote.textContent = shown.pairs ? `${capital(shown.pairsTitle)}: ${shown.pairs.text}.` : "";
    answers.show(shown, source.live);
    shares.show(shown);
    notes.show(shown, compared);
    details.show(shown);
    // What is taken away stays away, and the model is asked anew about the explanation that is shown now.
    if (source.live && anyAway()) changed();
    else showWhatif(null);
    draw();
    tell();
    root.dataset.ready = String(source.selected());
    root.dataset.shown = idsOf(shown, compared);
  }

  /** What is on the screen, for who waits until it is there. */
  function idsOf(...shown) {
    return shown.map((one) => one?.id ?? "").join(" ");
  }

  function capital(text) {
    return text.slice(0, 1).toUpperCase() + text.slice(1);
  }

  function makeForm() {
    if (source.live)
      fill(
        form,
        methodForm(source.options(), (message) => source.send(message)),
        comparison.node,
      );
    else if (source.entries().length > 1) fill(form, source.comparison());
  }

  const stops = [
    source.on("list", list),
    source.on("shown", () => void refresh()),
    source.on("options", makeForm),
    source.on("whatif", () => {
      const found = source.whatif();
      if (found && found.serial === state.serial) showWhatif(found);
    }),
  ];
  const moment = matchMedia("(prefers-color-scheme: dark)");
  moment.addEventListener("change", draw);
  makeForm();
  showWhatif(null);
  void refresh();
  return () => {
    clearTimeout(waiting);
    moment.removeEventListener("change", draw);
    for (const stop of stops) stop();
  };
}
