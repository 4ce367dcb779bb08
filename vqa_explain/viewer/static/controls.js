// The form of a method, made from its parameters; the filter; and how things are drawn.
import { MAPS } from "./color.js";
import { el, field, fill, select } from "./dom.js";

/** How the maps are drawn. `change(name, value)` is told. */
export function drawingView(look, change) {
  const range = (name, text, low, high, step) =>
    field(
      text,
      el("input", {
        type: "range",
        min: low,
        max: high,
        step,
        value: look[name],
        oninput: (e) => change(name, Number(e.target.value)),
      }),
    );
  const check = (name, text) =>
    field(
      text,
      el("input", { type: "checkbox", checked: look[name], onchange: (e) => change(name, e.target.checked) }),
    );
  const zoom = (text, name, factor) =>
    el("button", { type: "button", "aria-label": name, title: name, onclick: () => change("zoom", factor) }, text);
  const colors = field(
    "colors",
    select(
      MAPS.map((name) => [name, name]),
      look.map,
      (value) => change("map", value),
      "colors",
    ),
  );
  colors.classList.add("vx-colors"); // the one control that means something without a picture
  return el(
    "div",
    { class: "vx-drawing", role: "group", "aria-label": "drawing" },
    range("strength", "opacity", 0, 1, 0.05),
    range("threshold", "threshold", 0, 0.95, 0.05),
    colors,
    check("smooth", "smooth"),
    check("truth", "true region"),
    el(
      "span",
      { class: "vx-zoom" },
      zoom("−", "zoom out", 0.8),
      zoom("+", "zoom in", 1.25),
      zoom("whole", "whole picture", 0),
    ),
  );
}

function control(parameter, value, change) {
  const name = `parameter ${parameter.name}`;
  if (parameter.choices) {
    const choices = parameter.choices.map((choice) => [String(choice), String(choice)]);
    if (parameter.default === null) choices.unshift(["", "default"]);
    return select(choices, String(value ?? ""), (text) => change(text === "" ? null : text), name);
  }
  if (typeof parameter.default === "boolean") {
    return el("input", {
      type: "checkbox",
      checked: value,
      "aria-label": name,
      onchange: (e) => change(e.target.checked),
    });
  }
  const number = typeof parameter.default === "number" || parameter.low !== undefined;
  return el("input", {
    type: number ? "number" : "text",
    min: parameter.low,
    max: parameter.high,
    step: "any",
    value: value ?? "",
    placeholder: "default",
    "aria-label": name,
    onchange: (e) => change(e.target.value === "" ? null : number ? Number(e.target.value) : e.target.value),
  });
}

/** Method and parameters; which examples; `run(action)` is told what to do. */
export function methodForm(options, run) {
  const node = el("div", { class: "vx-form", role: "group", "aria-label": "method and examples" });
  let method = options.method;
  let values = { ...options.parameters };
  let filter = options.filter;
  let count = options.count;
  const parameters = el("div", { class: "vx-parameters" });
  const about = el("div", { class: "vx-soft" });

  function list() {
    const described = options.methods.find((m) => m.name === method);
    about.textContent = described.about;
    fill(
      parameters,
      ...described.parameters.map((p) =>
        field(
          p.name,
          control(p, values[p.name] ?? p.default, (v) => (values[p.name] = v)),
          p.help,
        ),
      ),
    );
  }

  const methods = select(
    options.methods.map((m) => [m.name, m.name]),
    method,
    (name) => {
      method = name;
      values = {};
      list();
    },
    "method",
  );
  const filters = ["all", "correct", "incorrect", ...options.classes.map((name) => `answer: ${name}`)];
  list();
  fill(
    node,
    field("method", methods),
    parameters,
    el(
      "button",
      { type: "button", class: "vx-main", onclick: () => run({ action: "method", method, parameters: values }) },
      "Explain",
    ),
    about,
    field(
      "examples",
      select(
        filters.map((name) => [name, name]),
        filter,
        (name) => (filter = name),
        "examples",
      ),
    ),
    field(
      "number",
      el("input", {
        type: "number",
        min: 1,
        max: 1000,
        value: count,
        onchange: (e) => (count = Math.max(1, Number(e.target.value) || 1)),
      }),
    ),
    el("button", { type: "button", onclick: () => run({ action: "fetch", filter, count }) }, "Fetch"),
  );
  return node;
}

/** The list of examples with what became of each. `choose(index)` and `cancel(index)` are told. */
export function entriesView(choose, cancel) {
  const node = el("ol", { class: "vx-entries", "aria-label": "examples" });

  function show(entries, selected, progress) {
    const rows = entries.map((entry, index) => {
      const running = entry.state === "running";
      const mark = entry.correct === null || entry.correct === undefined ? "" : entry.correct ? " ✓" : " ✗";
      const answer = entry.answer && entry.state !== "cancelled" ? `${entry.answer}${mark}` : entry.state;
      const said = entry.state === "error" ? entry.message : answer;
      const part = running && progress.index === index && progress.total ? progress.done / progress.total : null;
      return el(
        "li",
        {},
        el(
          "button",
          {
            type: "button",
            class: `vx-entry vx-${entry.state}`,
            "aria-current": index === selected ? "true" : null,
            onclick: () => choose(index),
          },
          el("bdi", {}, entry.title),
          el("small", {}, el("bdi", {}, said || "")),
          running ? el("progress", { max: 1, value: part, "aria-label": "progress" }) : null,
        ),
        running
          ? el(
              "button",
              {
                type: "button",
                class: "vx-cancel",
                "aria-label": `cancel ${entry.title}`,
                onclick: () => cancel(index),
              },
              "cancel",
            )
          : null,
      );
    });
    fill(node, ...rows);
  }

  return { node, show };
}
