// One viewer over a source of explanations: a kernel that computes, or a page that has them.

import {
  agreementOf,
  alike,
  comparisonView,
  differences,
  headingOf,
  matching,
  matchingWord,
  partnerText,
} from "./compare.js";
import { drawingView, entriesView, methodForm } from "./controls.js";
import { unpacked } from "./data.js";
import { el, fill } from "./dom.js";
import { largest, partners, points, zoomed } from "./layout.js";
import { amount, answersView, detailsView, legendView, sharesView } from "./panels.js";
import { pictureView } from "./picture.js";
import { questionView } from "./words.js";

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
    serial: 0,
    asked: null,
  };
  const said = el("div", { class: "vx-said", role: "status", "aria-live": "polite" });
  const problem = el("div", { class: "vx-problem", role: "alert" });
  const question = questionView("the question's words", onWord);
  const otherWords = questionView("words of the compared explanation", onOtherWord, "vx-compared-words");
  const plain = pictureView("picture", onRegion, onView);
  const heat = pictureView("explanation", onRegion, onView);
  const second = pictureView("compared", onOther, onView);
  const difference = pictureView("difference", onRegion, onView);
  const answers = answersView((target, contrast) => source.send({ action: "target", target, contrast }));
  const shares = sharesView();
  const legend = legendView();
  const details = detailsView();
  const entries = entriesView(
    (index) => source.select(index),
    (index) => source.send({ action: "cancel", index }),
  );
  const whatif = el("div", { class: "vx-whatif" });
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
    source.live ? edit : null,
    pictures,
    legend.node,
    otherWords.node,
    agreement,
    said,
    whatif,
    answers.node,
    shares.node,
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

  function ask() {
    source.send({ action: "question", question: edit.value, serial: ++state.serial });
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
      source.send({ action: "whatif", words: [...state.dropped], regions: [...state.hidden], serial: ++state.serial }),
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
      said.textContent = "Point at a word or a region for its value.";
      return;
    }
    const thing = hover.what === "word" ? shown.words[hover.index] : shown.regions[hover.index];
    const name = hover.what === "word" ? `“${thing.text}”` : `region ${hover.index}`;
    let text = `${name}: ${points(thing.value, thing.error)} points of ${shown.unit}`;
    if (shown.interactions) {
      const values = partners(shown.interactions, hover.what, hover.index);
      const best = values.reduce((b, v, i) => (Math.abs(v) > Math.abs(values[b]) ? i : b), 0);
      const partner = hover.what === "word" ? `region ${best}` : `“${shown.words[best].text}”`;
      text += `; works most with ${partner} (${points(values[best])})`;
    } else if (shown.words.length) text += "; this method has no interactions";
    if (compared) text += partnerText(shown, compared, hover);
    said.textContent = text;
  }

  function drawingOf(explanation, extra) {
    return {
      ...look,
      values: null,
      scale: explanation.scale,
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
    let [regions, words] = [{}, { values: shown.words.map((w) => w.value), scale: shown.scale || 1 }];
    if (shown.interactions && hover) {
      const values = partners(shown.interactions, hover.what, hover.index);
      const scale = largest(shown.interactions.data);
      if (hover.what === "word") regions = { values, scale };
      else words = { values, scale };
    }
    plain.draw(
      drawingOf(shown, { plain: state.hidden.size === 0, values: new Array(shown.regions.length).fill(0), scale: 1 }),
    );
    heat.draw(drawingOf(shown, regions));
    question.color(words.values, words.scale, look.map, state.dropped, hover?.what === "word" ? hover.index : -1);
    legend.show(
      regions.scale ?? (shown.byRegion ? shown.scale : shown.heatScale),
      regions.scale ? "points of interaction" : shown.byRegion ? "points of the score" : "points a pixel",
      look.map,
    );
    if (compared) {
      const focused = hover?.what === "region" ? matching(shown, compared, hover.index) : -1;
      second.draw(drawingOf(compared, { hidden: new Set(), focused }));
      const word = hover?.what === "word" ? matchingWord(shown, compared, hover.index) : -1;
      const values = compared.words.map((w) => w.value);
      otherWords.color(values, compared.scale || 1, look.map, new Set(), word);
      if (alike(shown, compared)) {
        const values = differences(shown, compared);
        difference.draw(drawingOf(shown, { values, scale: largest(values), hidden: new Set() }));
      }
    }
    root.dataset.frame = (performance.now() - began).toFixed(2);
  }

  function showWhatif(found) {
    if (!source.live) return;
    const any = state.dropped.size + state.hidden.size > 0;
    const buttons = [
      el("button", { type: "button", onclick: undo, disabled: !state.past.length }, "Undo"),
      el("button", { type: "button", onclick: reset, disabled: !any }, "Reset"),
    ];
    const lines = [el("span", { class: "vx-soft" }, any || found ? "" : "Click words or regions to take them away. ")];
    if (any && !found) lines.push(el("span", { class: "vx-soft" }, "asking the model…"));
    if (found?.error) lines.push(el("span", { class: "vx-bad" }, found.error));
    else if (found) {
      const best = found.answers
        .slice(0, 3)
        .map((a) => `${a.text} ${amount(a)}`)
        .join(", ");
      lines.push(el("span", { class: "vx-now" }, `now: ${best}`));
      if (found.change !== null && found.change !== undefined) {
        lines.push(
          el(
            "span",
            { class: "vx-change" },
            `measured ${points(found.change)}, the explanation foretold ${points(found.predicted)}`,
          ),
        );
      }
    }
    fill(whatif, ...buttons, ...lines);
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
    const same = state.shown && state.shown.question === shown.question && alike(state.shown, shown);
    if (!same) {
      [state.dropped, state.hidden, state.past] = [new Set(), new Set(), []];
      look.view = WHOLE;
    }
    Object.assign(state, { shown, compared, hover: null });
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
      compared && alike(shown, compared) ? difference.node : null,
    );
    if (compared) {
      second.show(compared);
      second.say(headingOf(shown, compared));
      difference.show(shown);
      otherWords.show(compared, false);
    }
    otherWords.node.hidden = !compared;
    agreement.textContent = compared ? agreementOf(shown, compared) : "";
    answers.show(shown, source.live);
    shares.show(shown);
    details.show(shown);
    showWhatif(null);
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
