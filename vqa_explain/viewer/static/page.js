// The entry of a page that has its explanations in it.

import { mount } from "./app.js";
import { el, field, select } from "./dom.js";

function file(payloads) {
  let selected = 0;
  let other = -1;
  const listeners = [];
  const changed = () => {
    for (const call of listeners) call();
  };
  const title = (p) => p.heading;
  return {
    live: false,
    on: (name, call) => {
      if (name === "shown") listeners.push(call);
      return () => listeners.splice(listeners.indexOf(call), 1);
    },
    entries: () =>
      payloads.map((p) => ({
        title: title(p),
        answer: p.contrast ? `${p.target} rather than ${p.contrast}` : p.target,
        correct: p.label === null ? null : p.answers[0].text === p.label,
        state: "done",
      })),
    selected: () => selected,
    select: (index) => {
      selected = index;
      changed();
    },
    shown: () => payloads[selected] ?? null,
    compared: () => payloads[other] ?? null,
    comparison: () => {
      const choices = payloads.map((p, i) => [String(i), `${i + 1}. ${title(p)} ${p.method}`]);
      return el(
        "div",
        { class: "vx-form" },
        field(
          "compare with",
          select(
            [["-1", "nothing"], ...choices],
            "-1",
            (value) => {
              other = Number(value);
              changed();
            },
            "compare with",
          ),
        ),
      );
    },
    progress: () => ({}),
    options: () => ({}),
    whatif: () => null,
    problem: () => "",
    send: () => undefined,
  };
}

const payloads = JSON.parse(document.getElementById("explanations").textContent);
const root = document.getElementById("viewer");
root.classList.add("vx-root");
mount(root, file(payloads));
