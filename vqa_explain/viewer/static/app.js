// One viewer over a source of explanations: a kernel that computes, or a page that has them.

import {
  agreementOf,
  alike,
  comparisonView,
  differences,
  headingOf,
  matching,
  matchingWord,
  refusal,
} from "./compare.js";
import { drawingView, entriesView, methodForm } from "./controls.js";
import { unpacked } from "./data.js";
import { el, fill } from "./dom.js";
import { pairScale, partnersOf } from "./findings.js";
import { largest, shareOf, zoomed } from "./layout.js";
import { answersView, detailsView, legendView, notesView, sharesView } from "./panels.js";
import { pictureView } from "./picture.js";
import { hoverText } from "./telling.js";
import { whatifView } from "./whatif.js";
import { questionView } from "./words.js";

const PAIRS_UNIT = "points of interaction; hatched: within 2 standard errors";

/** The words' values as shares of full color. */
function wordShares(explanation) {
  return explanation.words.map((w) => shareOf(w.value, explanation.wordBare, explanation.wordScale));
}

/** Whether two explanations are of one picture, question and division, so that what is taken away is in both. */
function sameExample(one, other) {
  return one.pictureId === other.pictureId && one.question === other.question && alike(one, other);
}

/** Whether words need a legend of their own: the map's does not hold for them, or they show pairs at times. */
function needsLegend(explanation) {
  return explanation.words.length > 0 && (!explanation.oneScale || explanation.interactions !== null);
}

const WHOLE = { zoom: 1, x: 0, y: 0 };

/** Mounts the viewer; gives a function that takes it away. */
export function mount(root, source) {
  const look = { map: "red-blue", strength: 0.8, threshold: 0, smooth: false, truth: false, view: WHOLE };
  const state = {
    shown: null,
    compared: null,
    hover: null,
    dropped: new Set(),
    hidden: new Set(),
    past: [],
    serial: "",
    asked: null,
  };
  const said = el("div", { class: "vx-said", role: "status", "aria-live": "polite" });
  const problem = el("div", { class: "vx-problem", role: "alert" });
  const question = questionView("the question's words", onWord);
  const wordLegend = legendView("vx-word-legend");
  const otherWordLegend = legendView("vx-word-legend");
  const otherWords = questionView("words of the compared explanation", onOtherWord, "vx-compared-words");
  const plain = pictureView("picture", onRegion, onView);
  const heat = pictureView("explanation", onRegion, onView);
  const second = pictureView("compared", onOther, onView);
  const difference = pictureView("difference", onRegion, onView);
  const answers = answersView((target, contrast) => tellKernel({ action: "target", target, contrast }));
  const shares = sharesView();
  // Each map has a scale of its own, so each has its own legend.
  const legends = new Map([heat, second, difference].map((view) => [view, legendView()]));
  for (const [view, legend] of legends) view.node.append(legend.node);
  const notes = notesView();
  const details = detailsView();
  const entries = entriesView(
    (index) => source.select(index),
    (index) => source.send({ action: "cancel", index }),
  );
  const whatif = whatifView(undo, reset);
  const pairsNote = el("div", { class: "vx-soft vx-pairs" });
  const agreement = el("div", { class: "vx-soft vx-agreement" });
  const pictures = el("div", { class: "vx-pictures" }, plain.node, heat.node);
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
    question.node,
    wordLegend.node,
    source.live ? edit : null,
    pictures,
    pairsNote,
    otherWords.node,
    otherWordLegend.node,
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
    if (name === "zoom") look.view = value ? zoomed(look.view, value, [0.5, 0.5]) : WHOLE;
    else look[name] = value;
    draw();
  }

  function onView(view) {
    look.view = view;
    draw();
  }

  function onWord(kind, index) {
    act("word", kind, index, state.dropped);
  }

  function onRegion(kind, index) {
    act("region", kind, index, state.hidden);
  }

  /** The cursor over the compared explanation, carried to the same place of the one shown. */
  function onOther(kind, index) {
    const region = matching(state.compared, state.shown, index);
    act("region", region < 0 ? "leave" : kind, region, state.hidden);
  }

  function onOtherWord(kind, index) {
    const word = matchingWord(state.compared, state.shown, index);
    if (kind !== "toggle") act("word", word < 0 ? "leave" : kind, word, state.dropped);
  }

  function act(what, kind, index, absent) {
    if (kind === "toggle") {
      if (!source.live) return;
      state.past.push([new Set(state.dropped), new Set(state.hidden)]);
      if (absent.has(index)) absent.delete(index);
      else absent.add(index);
      changed();
    } else state.hover = kind === "enter" ? { what, index } : null;
    draw();
    tell();
  }

  function changed() {
    showWhatif(null);
    later(() =>
      tellKernel({
        action: "whatif",
        words: [...state.dropped],
        regions: [...state.hidden],
        serial: nextSerial(),
      }),
    );
  }

  function undo() {
    if (!state.past.length) return;
    [state.dropped, state.hidden] = state.past.pop();
    changed();
    draw();
  }

  function reset() {
    if (state.dropped.size || state.hidden.size) state.past.push([state.dropped, state.hidden]);
    [state.dropped, state.hidden] = [new Set(), new Set()];
    changed();
    draw();
  }

  /** What the pointer or the focus is on, in words. */
  function tell() {
    const { shown, compared, hover } = state;
    if (!shown || !hover) {
      said.textContent = `Point at ${shown?.words.length ? "a word or a region" : "a region"} for its value.`;
      return;
    }
    said.textContent = hoverText(shown, compared, hover);
  }

  function drawingOf(explanation, extra) {
    return {
      ...look,
      values: null,
      scale: explanation.regionScale,
      unsure: new Set(),
      hidden: state.hidden,
      focused: state.hover?.what === "region" ? state.hover.index : -1,
      plain: false,
      ...extra,
    };
  }

  function draw() {
    const { shown, compared, hover } = state;
    if (!shown) return;
    const began = performance.now();
    let [regions, words] = [{}, { shares: wordShares(shown) }];
    if (shown.interactions && hover) {
      const { values, unsure } = partnersOf(shown, hover.what, hover.index);
      if (hover.what === "word") regions = { values, unsure, scale: state.pairScale };
      else words = { shares: values.map((v) => v / state.pairScale), unsure, pairs: true };
    }
    plain.draw(
      drawingOf(shown, { plain: state.hidden.size === 0, values: new Array(shown.regions.length).fill(0), scale: 1 }),
    );
    heat.draw(drawingOf(shown, regions));
    const focus = hover?.what === "word" ? hover.index : -1;
    question.color(words.shares, look.map, state.dropped, focus, words.unsure);
    if (words.pairs) wordLegend.show(shown, 0, state.pairScale, PAIRS_UNIT, look.map);
    else wordLegend.show(shown, shown.wordBare, shown.wordScale, shown.wordLegend, look.map);
    if (regions.values) legends.get(heat).show(shown, 0, state.pairScale, PAIRS_UNIT, look.map);
    else legends.get(heat).show(shown, shown.heatBare, shown.heatScale, shown.mapLegend, look.map);
    if (compared) drawCompared(shown, compared, hover);
    root.dataset.frame = (performance.now() - began).toFixed(2);
  }

  function drawCompared(shown, compared, hover) {
    const focused = hover?.what === "region" ? matching(shown, compared, hover.index) : -1;
    second.draw(drawingOf(compared, { hidden: new Set(), focused }));
    legends.get(second).show(compared, compared.heatBare, compared.heatScale, compared.mapLegend, look.map);
    const word = hover?.what === "word" ? matchingWord(shown, compared, hover.index) : -1;
    otherWords.color(wordShares(compared), look.map, new Set(), word);
    otherWordLegend.show(compared, compared.wordBare, compared.wordScale, compared.wordLegend, look.map);
    if (refusal(shown, compared)) return;
    const apart = differences(shown, compared);
    difference.draw(drawingOf(shown, { values: apart, scale: largest(apart), hidden: new Set() }));
    const whole = shown.fromZero === false ? "range of values" : "largest value";
    legends
      .get(difference)
      .show({ signed: true }, 0, largest(apart), `difference, in shares of each one's ${whole}`, look.map);
  }

  function showWhatif(found) {
    if (!source.live) return;
    const any = state.dropped.size + state.hidden.size > 0;
    whatif.show(found, state.shown, any, state.past.length > 0);
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
      return;
    }
    const turn = Symbol("newest");
    state.asked = turn;
    const [shown, compared] = await Promise.all([
      unpacked(payload),
      source.compared() ? unpacked(source.compared()) : null,
    ]);
    if (state.asked !== turn) return; // a newer one has come since
    const same = state.shown && sameExample(state.shown, shown);
    if (!same) {
      [state.dropped, state.hidden, state.past] = [new Set(), new Set(), []];
      look.view = WHOLE;
      clearTimeout(waiting);
      nextSerial(); // an answer that comes late is of what was here before
    }
    Object.assign(state, { shown, compared, hover: null, pairScale: pairScale(shown) });
    stage.classList.remove("vx-empty");
    question.show(shown, source.live);
    if (source.live) comparison.show(source.options(), source.entries(), shown);
    edit.value = shown.question ?? "";
    edit.hidden = shown.question === null;
    for (const view of [plain, heat]) view.show(shown);
    heat.say(shown.byRegion ? "explanation, by region" : "explanation, by pixel");
    fill(
      pictures,
      plain.node,
      heat.node,
      compared ? second.node : null,
      compared && !refusal(shown, compared) ? difference.node : null,
    );
    if (compared) {
      second.show(compared);
      second.say(headingOf(shown, compared));
      difference.show({ ...shown, signed: true, fromZero: true }); // a difference of sizes has two signs
      otherWords.show(compared, false);
    }
    otherWords.node.hidden = !compared;
    wordLegend.node.hidden = !needsLegend(shown);
    otherWordLegend.node.hidden = !compared || !needsLegend(compared);
    agreement.textContent = compared ? agreementOf(shown, compared) : "";
    pairsNote.textContent = shown.pairs ? `Words × regions: ${shown.pairs.text}.` : "";
    answers.show(shown, source.live);
    shares.show(shown);
    notes.show(shown, compared);
    details.show(shown);
    // What is taken away stays away, and the model is asked anew about the explanation that is shown now.
    if (source.live && state.dropped.size + state.hidden.size > 0) changed();
    else showWhatif(null);
    draw();
    tell();
    root.dataset.ready = String(source.selected());
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
