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

/**
 * A method with its parameters: {node, choice()}, of which a parameter that was never set has its default.
 * @param {any} options @param {string} chosen @param {Record<string, any>} given
 */
export function parametersForm(options, chosen, given) {
  let method = chosen;
  let values = { ...given };
  const parameters = el("div", { class: "vx-parameters" });
  const about = el("div", { class: "vx-soft" });

  function list() {
    const described = options.methods.find((m) => m.name === method);
    about.textContent = described?.about ?? "";
    const known = described?.parameters ?? [];
    values = Object.fromEntries(Object.entries(values).filter(([name]) => known.some((p) => p.name === name)));
    const set = (p) => (value) => (values[p.name] = value);
    fill(parameters, ...known.map((p) => field(p.name, control(p, values[p.name] ?? p.default, set(p)), p.help)));
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
  list();
  const set = () => Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
  return {
    node: el("div", {}, field("method", methods), parameters),
    about,
    choice: () => ({ method, parameters: set() }),
  };
}

/** Method and parameters; which examples; `run(action)` is told what to do. */
export function methodForm(options, run) {
  const node = el("div", { class: "vx-form", role: "group", "aria-label": "method and examples" });
  let filter = options.filter;
  let count = options.count;
  const chosen = parametersForm(options, options.method, options.parameters);
  const filters = ["all", "correct", "incorrect", ...options.classes.map((name) => `answer: ${name}`)];
  const explain = () => run({ action: "method", ...chosen.choice() });
  fill(
    node,
    chosen.node,
    el("button", { type: "button", class: "vx-main", onclick: explain }, "Explain"),
    chosen.about,
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
        max: 100000,
        value: count,
        onchange: (e) => (count = Math.max(1, Number(e.target.value) || 1)),
      }),
    ),
    el("button", { type: "button", onclick: () => run({ action: "fetch", filter, count }) }, "Fetch"),
  );
  return node;
}
