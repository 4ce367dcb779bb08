// @ts-check
// What the model answers without some words, regions or columns, next to what the values predict.
import { copied, membersOf, sameAway } from "./away.js";
import { cropOf } from "./crops.js";
import { el, fill, select, switchOf } from "./dom.js";
import { partOf } from "./layout.js";
import { playerName, playersText, unitName } from "./names.js";
import { errorText, valueText } from "./numbers.js";

/** @typedef {import("./types").Explanation} Explanation */
/** @typedef {import("./types").WhatIf} WhatIf */

const TRIES = 6; // that are remembered

/**
 * The error of a sum of values: at most the sum of their errors, however they hang together.
 * @param {Explanation} explanation
 * @param {Map<string, Set<number>>} away
 */
export function errorOfSum(explanation, away) {
  let sum = 0;
  for (const [name, numbers] of away)
    for (const index of numbers) sum += partOf(explanation, name).players[index].error ?? 0;
  return sum;
}

/**
 * The card of what-ifs, with buttons to go back.
 * @param {{undo: () => void, reset: () => void, put: (name: string, index: number) => void, take: (away: Map<string, Set<number>>, keep: boolean) => void,
 *   keepOnly: () => void, keep: (keep: boolean) => void, fill: (name: string, fill: string) => void}} told
 */
export function whatifView(told) {
  const chips = el("div", { class: "vx-chips" });
  const body = el("div", { class: "vx-note" });
  const axis = el("div", {});
  const problem = el("div", { class: "vx-bad", role: "alert" });
  const tried = el("div", { class: "vx-chips" });
  const button = (/** @type {string} */ text, /** @type {() => void} */ call) =>
    el("button", { type: "button", class: "vx-tool", onclick: call }, text);
  const [undo, reset] = [button("Undo", told.undo), button("Reset", told.reset)];
  const keep = button("Keep what counts", told.keepOnly);
  const acts = el("div", { class: "vx-acts" }, undo, reset, keep);
  const modes = switchOf(
    "what is clicked",
    [
      ["take", "Take away"],
      ["keep", "Keep only"],
    ],
    (value) => told.keep(value === "keep"),
  );
  const filling = el("div", { class: "vx-fills vx-small" });
  let offeredNow = "";
  /** @type {Map<string, string>} input → the fill of its explanation, once it was told */
  const own = new Map();
  const node = el(
    "section",
    { class: "vx-card vx-whatif" },
    el("h2", {}, "What if?", modes.node),
    chips,
    body,
    axis,
    problem,
    filling,
    acts,
    tried,
  );
  /** @type {{away: Map<string, Set<number>>, keep: boolean, text: string, answer: string}[]} */
  let tries = [];

  /**
   * A button that does nothing stays in the tab order, so that the focus is not lost.
   * @param {any} one
   * @param {boolean} on
   */
  const allow = (one, on) => one.setAttribute("aria-disabled", String(!on));

  /**
   * @param {WhatIf | null} found
   * @param {Explanation | null} explanation
   * @param {import("./away.js").TakenAway} taken
   * @param {{given: Record<string, string>, offered: any[]}} fills
   */
  function show(found, explanation, taken, fills) {
    const away = taken.now;
    const gone = explanation ? membersOf(away) : [];
    node.classList.toggle("vx-now-live", gone.length > 0);
    allow(undo, taken.past.length > 0);
    allow(reset, gone.length > 0);
    modes.set(taken.keep ? "keep" : "take");
    if (explanation) showFills(explanation, found, fills);
    const chosen = explanation ? membersOf(taken.chosen()) : [];
    fill(chips, ...chosen.map(([name, index]) => chipOf(/** @type {Explanation} */ (explanation), name, index)));
    problem.textContent = found?.error ?? "";
    fill(body, explanation ? bodyText(found, explanation, gone.length > 0) : "");
    if (explanation && found && !found.error) fill(axis, axisOf(found, explanation, away));
    else fill(axis, emptyAxis());
    if (explanation && found && !found.error && gone.length) remember(explanation, taken, chosen, found);
    fill(tried, tries.length ? el("span", { class: "vx-small vx-soft" }, "Tried") : null, ...tries.map(tryOf));
  }

  /** What absent parts become, input by input; another fill than the explanation's is marked. */
  function showFills(
    /** @type {Explanation} */ explanation,
    /** @type {WhatIf | null} */ found,
    /** @type {{given: Record<string, string>, offered: any[]}} */ { given, offered },
  ) {
    const free = explanation.parts.filter((part) => !part.fixed && part.players.length);
    const rows = free.map((part) => {
      const { name, kind } = part;
      const choices = (offered ?? []).find((one) => one.name === name || one.kind === kind)?.fills ?? [];
      const used = found?.used?.[name];
      if (used && !given[name]) own.set(name, used.length > 1 ? `mean over ${used.join(", ")}` : used[0]);
      return { part, choices, chosen: given[name] ?? "", usual: own.get(name) };
    });
    const now = JSON.stringify(rows.map(({ part, ...row }) => [part.name, row]));
    if (now === offeredNow) return; // the menu that a person is in stays
    offeredNow = now;
    const several = rows.filter(({ choices }) => choices.length > 1);
    const menuOf = (/** @type {any} */ { part, choices, chosen, usual }) => {
      const others = choices.filter((/** @type {string} */ one) => one !== usual);
      const named = others.map((/** @type {string} */ one) => [one, one]);
      const change = (/** @type {string} */ value) => told.fill(part.name, value);
      const menu = select([["", usual ?? "as explained"], ...named], chosen, change, `fill of ${part.name}`);
      menu.className = "vx-pick";
      return el("label", {}, `${part.player}s become `, menu);
    };
    filling.hidden = !several.length;
    fill(filling, ...several.map(menuOf));
  }

  function chipOf(/** @type {Explanation} */ explanation, /** @type {string} */ name, /** @type {number} */ index) {
    const part = partOf(explanation, name);
    const text = part.kind === "text" ? part.players[index].text : playerName(explanation, name, index);
    return el(
      "button",
      { type: "button", class: "vx-chip", title: "No longer", onclick: () => told.put(name, index) },
      part.size ? cropOf(part, index, 16) : null,
      el("bdi", {}, text),
      el("span", { class: "vx-soft", "aria-hidden": "true" }, "×"),
    );
  }

  function remember(
    /** @type {Explanation} */ explanation,
    /** @type {import("./away.js").TakenAway} */ { now: away, keep },
    /** @type {[string, number][]} */ chosen,
    /** @type {WhatIf} */ found,
  ) {
    const sign = keep ? "" : "− ";
    const names = chosen.map(([name, index]) => {
      const part = partOf(explanation, name);
      return `${sign}${part.kind === "text" ? part.players[index].text : playerName(explanation, name, index)}`;
    });
    const said = names.length > 3 ? `${sign}${names.length} parts` : names.join(", ");
    tries = [
      ...tries.filter((one) => !sameAway(one.away, away)),
      { away: copied(away), keep, text: keep ? `only ${said}` : said, answer: found.answers[0]?.text ?? "" },
    ];
    tries = tries.slice(-TRIES);
  }

  function tryOf(/** @type {any} */ one) {
    const title = `It answers ${one.answer}`;
    return el(
      "button",
      { type: "button", class: "vx-chip", title, onclick: () => told.take(one.away, one.keep) },
      one.text,
    );
  }

  function forget() {
    tries = [];
    own.clear();
  }

  return { node, show, forget };
}

/** @param {WhatIf | null} found @param {Explanation} explanation @param {boolean} any */
function bodyText(found, explanation, any) {
  const things = playersText(explanation);
  if (!any && !found)
    return `Click ${things} to take it away. The model answers again, and the measured change is shown next to the predicted one.`;
  if (!found) return "Asking the model …";
  if (found.error) return "";
  const fills = found.fills ? `Absent parts become: ${found.fills}.` : "";
  if (found.change === null || found.change === undefined) return fills;
  if (found.otherFills) return `The values are of another fill, so they predict nothing here. ${fills}`;
  if (found.predicted === null || found.predicted === undefined)
    return `Values in ${explanation.unit} predict none. ${fills}`;
  return `${gapText(found.change, found.predicted)} ${fills}`;
}

/**
 * How far the measured change is from the sum of values, which is right where parts do not work together.
 * @param {number} change
 * @param {number} predicted
 */
export function gapText(change, predicted) {
  const gap = Math.abs(change - predicted);
  if (gap < 0.05 * Math.max(Math.abs(change), Math.abs(predicted))) return "About as predicted.";
  const size = valueText(gap).replace("+", "");
  const more = Math.abs(change) > Math.abs(predicted) && Math.sign(change) === Math.sign(predicted);
  return `${size} ${more ? "more" : "less"} than predicted: parts that work together do not simply add up.`;
}

/**
 * Measured and predicted change on one axis.
 * @param {WhatIf} found
 * @param {Explanation} explanation
 * @param {Map<string, Set<number>>} away
 */
function axisOf(found, explanation, away) {
  if (found.change === null || found.change === undefined) {
    const best = found.answers[0];
    return el("div", { class: "vx-now" }, best ? `now: ${best.text}` : "");
  }
  const { change } = found;
  const predicted = found.predicted ?? null;
  const error = found.predictedError ?? errorOfSum(explanation, away);
  const ends = [0, change, ...(predicted === null ? [] : [predicted - error, predicted + error])];
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const place = (/** @type {number} */ value) => 8 + 84 * (high > low ? (value - low) / (high - low) : 0.5);
  const at = (/** @type {number} */ value) => ({ left: `${place(value)}%` });
  const label = (/** @type {string} */ kind, /** @type {number} */ value, /** @type {any[]} */ ...texts) => {
    const side = place(value) < 50 ? { left: `${place(value) - 3}%` } : { right: `${97 - place(value)}%` };
    return el("span", { class: kind, style: side }, ...texts);
  };
  const whisker = {
    left: `${place(Number(predicted) - error)}%`,
    width: `${place(Number(predicted) + error) - place(Number(predicted) - error)}%`,
  };
  const atMost = errorText(error) && membersOf(away).length > 1 ? " at most" : "";
  const prediction =
    predicted === null
      ? []
      : [
          el("i", { class: "vx-spread", style: whisker }),
          el("i", { class: "vx-dot vx-open", style: at(predicted) }),
          label(
            "vx-below",
            predicted,
            `predicted ${valueText(predicted, error)} ${errorText(error)}${error ? atMost : ""}`,
          ),
        ];
  return el(
    "div",
    { class: "vx-change" },
    el(
      "div",
      { class: "vx-micro" },
      `Change of ${explanation.explained}${explanation.addsUp ? `, ${unitName(explanation)}` : ""}`,
    ),
    el(
      "div",
      { class: "vx-line" },
      el("i", { class: "vx-base" }),
      el("i", { class: "vx-origin", style: at(0) }),
      label("vx-above", change, "measured ", el("b", {}, valueText(change))),
      ...prediction,
      el("i", { class: "vx-dot", style: at(change) }),
    ),
  );
}

function emptyAxis() {
  return el(
    "div",
    { class: "vx-line vx-empty-line" },
    el("i", { class: "vx-base" }),
    el("i", { class: "vx-origin", style: { left: "92%" } }),
    el("span", { class: "vx-below", style: { left: "0" } }, "● measured  ○ predicted ± error"),
  );
}
