// @ts-check
// The forms: a method with its parameters, and which examples are fetched.
import { el, field, fill, select } from "./dom.js";
import { methodTitle } from "./names.js";

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
    options.methods.map((m) => [m.name, methodTitle(m.name)]),
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
