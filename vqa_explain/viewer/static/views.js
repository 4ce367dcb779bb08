// @ts-check
// All views of a screen, each told what a person does in it.
import { answersView } from "./answers.js";
import { columnsView } from "./columns.js";
import { comparisonView } from "./compare.js";
import { dive } from "./diving.js";
import { el } from "./dom.js";
import { factsView, notesView } from "./facts.js";
import { firstLineView } from "./firstline.js";
import { insideView } from "./inside.js";
import { helpDialog } from "./keys.js";
import { legendView } from "./legend.js";
import { lengthsView } from "./lengths.js";
import { entriesView } from "./list.js";
import { listsView } from "./lists.js";
import { noteView } from "./note.js";
import { panesView } from "./panes.js";
import { rankedView } from "./ranked.js";
import { sentenceView } from "./sentence.js";
import { setupView } from "./setup.js";
import { busyLine, questionEditor } from "./skeleton.js";
import { tableView } from "./table.js";
import { whatifView } from "./whatif.js";

/** @param {any} screen see app.js */
export function viewsOf(screen) {
  const views = /** @type {any} */ ({});
  const act = screen.act.bind(screen);
  const choose = (/** @type {any} */ target, /** @type {any} */ contrast) =>
    screen.tellKernel({ action: "target", target, contrast });
  const turn = screen.turn.bind(screen);
  const set = screen.set.bind(screen);
  views.form = el("div", { class: "vx-side" });
  views.said = el("div", { class: "vx-said", role: "status" });
  views.problem = el("div", { class: "vx-problem", role: "alert" });
  views.setup = setupView(choose, screen.source.live ? views.form : null);
  views.first = firstLineView({ mark: screen.mark.bind(screen), take: screen.takeClause.bind(screen) });
  views.sentence = sentenceView({ point: screen.pointWord.bind(screen), keep: screen.keepWords.bind(screen) });
  views.inside = insideView({ choose: (depth) => dive(screen, depth) });
  views.lists = listsView(act);
  views.panes = panesView({ act, turn, set, pin: screen.pin.bind(screen), takeAway: () => screen.takePinned() });
  views.legend = legendView((share) => set("threshold", share));
  views.lengths = lengthsView((scale) => set("scale", scale));
  views.columns = columnsView({
    act,
    turn,
    actOther: (place) => screen.actOther.bind(screen, place),
    remove: (number) => screen.setColumns((/** @type {any[]} */ all) => all.filter((_, i) => i !== number)),
    change: (number, column) =>
      screen.setColumns((/** @type {any[]} */ all) => all.map((one, i) => (i === number ? column : one))),
  });
  views.answers = answersView(choose);
  views.ranked = rankedView(act);
  views.facts = factsView();
  views.notes = notesView();
  views.note = noteView({
    write: (place, text) => screen.examples.write(place, text),
    star: (places, on) => screen.examples.star(places, on),
    save: screen.source.save ?? null,
  });
  views.whatif = whatifView({
    undo: () => screen.undo(),
    reset: () => screen.reset(),
    put: (name, index) => screen.toggle(name, index),
    take: (away, keep) => screen.takeAll(away, keep),
    keepOnly: () => screen.keepWhatCounts(),
    keep: (keep) => screen.setKeep(keep),
    fill: (name, fill) => screen.setFill(name, fill),
  });
  views.entries = entriesView({
    choose: (index) => screen.source.select(index),
    cancel: (index) => screen.source.send({ action: "cancel", index }),
    filter: (changes) => screen.examples.refilter(changes),
    inView: (indices) => screen.thumbs.want("list", indices),
  });
  views.table = tableView({
    open: (index) => screen.examples.open(index),
    filter: (changes) => screen.examples.refilter(changes),
    select: (places) => screen.examples.select(places),
    star: (places, on) => screen.examples.star(places, on),
    inView: (indices) => screen.thumbs.want("table", indices),
    picked: (indices) => screen.thumbs.want("picked", indices),
    live: screen.source.live,
  });
  views.comparison = comparisonView((column) => screen.setColumns((/** @type {any[]} */ all) => [...all, column]));
  views.help = helpDialog(screen.source.live);
  views.editor = questionEditor(
    () => screen.asking.later(() => screen.asking.askQuestion()),
    (question) => screen.tellKernel({ action: "explain question", question }),
  );
  views.pairsNote = el("div", { class: "vx-small vx-soft vx-pairs" });
  views.paneNote = el("div", { class: "vx-small vx-soft vx-pane-note" });
  const { source } = screen;
  const stop = {
    cancel: () => source.send({ action: "cancel", index: source.selected() }),
    cancelAll: () => source.send({ action: "cancel all" }),
  };
  views.busy = busyLine(source.live ? stop : null);
  return views;
}
