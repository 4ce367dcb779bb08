// @ts-check
// The entry of a page that has its explanations in it.

import { mount } from "./app.js";
import { select } from "./dom.js";
import { methodTitle } from "./names.js";

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
        probability: p.answers[0].probability,
        id: p.exampleId,
        label: p.label,
        state: "done",
      })),
    selected: () => selected,
    select: (index) => {
      selected = index;
      changed();
    },
    payloadAt: (index) => payloads[index],
    shown: () => payloads[selected] ?? null,
    compared: () => payloads[other] ?? null,
    comparison: () => {
      const choices = payloads.map((p, i) => [String(i), `${i + 1}. ${title(p)}, ${methodTitle(p.method)}`]);
      const list = select(
        [["-1", "+ Compare with nothing"], ...choices],
        "-1",
        (value) => {
          other = Number(value);
          changed();
        },
        "compare with",
      );
      list.className = "vx-tool";
      return list;
    },
    progress: () => ({}),
    options: () => ({}),
    whatif: () => null,
    problem: () => "",
    send: () => undefined,
  };
}

const found = /** @type {HTMLElement} */ (document.getElementById("explanations"));
const payloads = JSON.parse(found.textContent ?? "[]");
// A picture is in the page once, however many explanations are of it.
const parts = payloads.flatMap((one) => one.parts);
const pictures = new Map(parts.filter((part) => part.picture).map((part) => [part.pictureId, part.picture]));
for (const part of parts) if (part.size) part.picture = pictures.get(part.pictureId);
const root = /** @type {HTMLElement} */ (document.getElementById("viewer"));
root.classList.add("vx-root");
mount(root, file(payloads));
