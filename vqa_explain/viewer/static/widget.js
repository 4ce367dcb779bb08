// The entry of a notebook's widget: the source is the kernel.
import { mount } from "./app.js";

function kernel(model) {
  const on = (name, call) => {
    const traits = {
      change: ["entries", "shown", "compared", "selected", "progress", "problem"],
      options: ["options"],
      whatif: ["whatif"],
    }[name];
    let due = false;
    const once = () => {
      if (due) return;
      due = true;
      queueMicrotask(() => {
        due = false;
        call();
      });
    };
    for (const trait of traits) model.on(`change:${trait}`, once);
    return () => {
      for (const trait of traits) model.off(`change:${trait}`, once);
    };
  };
  let lost = "";
  model.on("comm_live_update", () => {
    lost = model.comm_live
      ? ""
      : "The kernel is gone: what is here stays, but nothing new can be computed. Run the cell again.";
    model.trigger("change:problem");
  });
  const something = (value) => (value && Object.keys(value).length ? value : null);
  return {
    live: model.get("live"),
    on,
    entries: () => model.get("entries"),
    selected: () => model.get("selected"),
    select: (index) => {
      model.set("selected", index);
      model.save_changes();
    },
    shown: () => something(model.get("shown")),
    compared: () => something(model.get("compared")),
    progress: () => model.get("progress"),
    comparison: () => null,
    options: () => model.get("options"),
    whatif: () => something(model.get("whatif")),
    problem: () => lost || model.get("problem"),
    send: (message) => model.send(message),
  };
}

function render({ model, el }) {
  el.classList.add("vx-root");
  return mount(el, kernel(model));
}

export default { render };
