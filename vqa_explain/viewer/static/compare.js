// Two explanations beside each other: what may be chosen, where one's region lies in the other, how far they agree.
import { el, field, select } from "./dom.js";
import { amount, rankCorrelation, regionAt, shareOf } from "./layout.js";
import { answerName } from "./panels.js";

/** Whether both divide pictures of one size into as many regions, so that region i is at one place in both. */
export function alike(one, other) {
  return one.regions.length === other.regions.length && one.size.join() === other.size.join();
}

/** The region of `to` in the middle of a region of `from`, or -1. */
export function matching(from, to, region) {
  if (region < 0 || alike(from, to)) return region;
  const [left, top, right, bottom] = from.regions[region].box;
  const [height, width] = to.labels.shape;
  const x = Math.floor((((left + right) / 2) * width) / from.size[1]);
  const y = Math.floor((((top + bottom) / 2) * height) / from.size[0]);
  return regionAt(to.labels, [Math.min(x, width - 1), Math.min(y, height - 1)]);
}

/** Why no difference and no correlation of two explanations has a meaning, in one sentence; "" where they have. */
export function refusal(one, other) {
  const why = (reason) => `${reason}, so no difference is drawn and no correlation given.`;
  if (one.pictureId !== other.pictureId) return why("They are of different pictures");
  if (one.score !== other.score) return why(`They explain different scores (${one.score}; ${other.score})`);
  if (otherAnswer(one, other)) return why("They explain different answers");
  if (one.signed !== other.signed) return why("One has values of two signs and the other only sizes");
  if (one.unit !== other.unit) return why(`Their values have different units (${one.unit}; ${other.unit})`);
  return alike(one, other) ? "" : why("They divide the picture in different ways");
}

/** Whether the targets or contrasts differ; label numbers tell two labels of one text apart, within one model. */
function otherAnswer(one, other) {
  if (one.target !== other.target || one.contrast !== other.contrast) return true;
  if (one.model !== other.model) return false;
  const numbers = (e) => [e.targetIndex ?? null, e.contrastIndex ?? null].join();
  return one.question === other.question && numbers(one) !== numbers(other);
}

/** The value of a word or region of `from` in the other explanation, as text; "" where it has no partner there. */
export function partnerText(from, to, hover) {
  const index = (hover.what === "word" ? matchingWord : matching)(from, to, hover.index);
  if (index < 0) return "";
  const thing = hover.what === "word" ? to.words[index] : to.regions[index];
  const unit = from.unit === to.unit ? "" : ` (${to.unit})`;
  return `; compared: ${amount(to, thing.value, thing.error)}${unit}`;
}

/** Region by region, each in shares of its own scale. */
export function differences(one, other) {
  const share = (e, region) => shareOf(e.regions[region].value, e.regionBare ?? 0, e.regionScale);
  return one.regions.map((_, region) => share(one, region) - share(other, region));
}

/** How far the order of the values agrees, over regions and, where they can be compared with them, words. */
export function agreementOf(one, other) {
  const refused = refusal(one, other);
  if (refused) return refused;
  const words = one.shared !== false && matchingWord(one, other, 0) === 0;
  const values = (e) => [...e.regions, ...(words ? e.words : [])].map((part) => part.value);
  const rank = rankCorrelation(values(one), values(other));
  return rank === null ? "" : `Rank correlation with ${nameOf(one, other)}: ${rank.toFixed(2)}`;
}

/** What sets the other explanation apart from this one. */
export function nameOf(one, other) {
  if (one.question !== other.question) return other.question === null ? "image classification" : `“${other.question}”`;
  if (one.model !== other.model) return other.model;
  if (one.method !== other.method) return other.method;
  return other.explained;
}

/** A line over the compared explanation. */
export function headingOf(one, other) {
  const name = nameOf(one, other);
  return name === other.explained ? name : `${name}: ${other.explained}`;
}

/** The word of the other question that a word stands for, or -1. */
export function matchingWord(one, other, word) {
  return one.question === other.question && one.words.length === other.words.length ? word : -1;
}

/** The groups [name, [value, text]...] that a kernel can set beside what is shown. */
function choices(options, entries, shown) {
  const named = (what, names, first = 0) => names.map((text, i) => [JSON.stringify([what, i + first]), text]);
  const byText = (what, names) => names.map((text) => [JSON.stringify([what, text]), text]);
  const others = (shown?.answers ?? []).filter((a) => a.index !== shown.targetIndex);
  const answers = others.map((a) => [JSON.stringify(["answer", a.index]), answerName(shown, a)]);
  return [
    [
      "method",
      byText(
        "method",
        options.methods.map((m) => m.name),
      ),
    ],
    ["answer", answers],
    ["model", named("model", options.models, 1)],
    [
      "example",
      named(
        "example",
        entries.map((entry, i) => `${i + 1}. ${entry.title.slice(0, 60)}`),
      ),
    ],
  ];
}

/** The choice of what to compare with; `run(message)` is told. */
export function comparisonView(run) {
  const node = el("div", { class: "vx-form" });
  let known = "";

  function show(options, entries, shown) {
    const groups = choices(options, entries, shown);
    const now = JSON.stringify(groups);
    if (now === known) return; // what a person is choosing from stays as it is
    const chosen = node.querySelector("select")?.value ?? "";
    known = now;
    const list = select(
      [["", "nothing"]],
      "",
      (value) => {
        const [what, which] = value ? JSON.parse(value) : [null, null];
        run({ action: "compare", what, which });
      },
      "compare with",
    );
    for (const [name, values] of groups) {
      if (!values.length) continue;
      list.append(
        el(
          "optgroup",
          { label: name },
          ...values.map(([value, text]) => el("option", { value, selected: value === chosen }, text)),
        ),
      );
    }
    node.replaceChildren(field("compare with", list));
  }

  return { node, show };
}
