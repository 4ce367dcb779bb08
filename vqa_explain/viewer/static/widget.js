// @ts-check
// The entry of a notebook's widget: the source is the kernel.
import { mount } from "./app.js";

const PATIENCE = 5000; // milliseconds
const UNHEARD =
  "The kernel does not answer: it is busy with a cell, or gone. What is here stays; run the cell again for more.";

/** The kernel as a source; `waits` hears whether a message of this view is not heard by it yet, and `stale` whether it
 * is given up. */
function kernel(model, waits, stale) {
  const watching = new Set();
  const thumbs = new Set();
  const on = (name, call) => {
    const traits = {
      list: ["entries", "progress", "problem", "pending", "preview"],
      shown: ["shown", "compared", "selected"],
      state: ["look", "hidden", "filter", "selection", "notes"],
      options: ["options"],
      whatif: ["whatif"],
    }[name];
    if (name === "thumbnails") {
      thumbs.add(call);
      return () => thumbs.delete(call);
    }
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
    if (name === "list") watching.add(once);
    return () => {
      watching.delete(once);
      for (const trait of traits) model.off(`change:${trait}`, once);
    };
  };
  let lost = "";
  let sent = 0;
  let asked = false;
  const say = (text) => {
    if (text === lost) return;
    lost = text;
    stale(text !== "");
    for (const call of watching) call();
  };
  model.on("change:heard", () => {
    asked = false;
    const heard = model.get("heard") >= sent;
    if (heard) say("");
    waits(!heard);
  });
  // Every message is heard at once by a kernel that is there and not busy with a cell.
  const send = (message) => {
    const number = Math.max(sent, model.get("heard")) + 1;
    sent = number;
    waits(true);
    setTimeout(() => {
      if (model.get("heard") < number) say(UNHEARD);
    }, PATIENCE);
    try {
      model.send({ ...message, number });
    } catch {
      say(UNHEARD); // the way to the kernel is closed
    }
  };
  // Changes of the list: the list itself is not sent again, and, changed in place, not sent back.
  let waiting = 0;
  let incomplete = false;
  const askForAll = () => {
    if (asked) return;
    asked = true;
    send({ action: "hello" });
    setTimeout(() => {
      asked = false;
      if (incomplete) askForAll(); // the question itself was lost
    }, PATIENCE);
  };
  model.on("change:entries", () => {
    incomplete = false;
  });
  const heardChange = (message) => {
    if (message.thumbnails) for (const call of thumbs) call(message.thumbnails);
    if (!message.entries) return;
    const entries = model.get("entries");
    for (const [index, entry] of message.entries) {
      // Those before it came while nobody listened: the whole list is asked for.
      if (index > entries.length) {
        incomplete = true;
        return askForAll();
      }
      entries[index] = entry;
    }
    // Of ten thousand examples each tells of two changes: the list is drawn for many of them at once.
    if (waiting) return;
    waiting = setTimeout(() => {
      waiting = 0;
      for (const call of watching) call();
    }, 20);
  };
  model.on("msg:custom", heardChange);
  // What was sent before this view was there is lost, and in a saved notebook there may be no kernel at all.
  if (model.get("live")) askForAll();
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
    compared: () => (something(model.get("shown")) ? (model.get("compared") ?? []) : []),
    columns: () => model.get("columns") ?? [],
    setColumns: (columns) => send({ action: "columns", columns }),
    state: (name) => model.get(name),
    setState: (name, value) => {
      model.set(name, value);
      model.save_changes();
    },
    murmur: (message) => {
      try {
        model.send(message);
      } catch {
        say(UNHEARD); // the way to the kernel is closed
      }
    },
    progress: () => model.get("progress"),
    options: () => model.get("options"),
    whatif: () => something(model.get("whatif")),
    pending: () => something(model.get("pending")),
    preview: () => something(model.get("preview")),
    problem: () => lost || model.get("problem"),
    send,
    leave: () => model.off("msg:custom", heardChange),
  };
}

function render({ model, el }) {
  el.classList.add("vx-root");
  const waits = (whether) => {
    el.dataset.waits = String(whether);
  };
  const stale = (whether) => {
    el.dataset.stale = String(whether);
  };
  const source = kernel(model, waits, stale);
  const leave = mount(el, source);
  return () => {
    source.leave();
    leave();
  };
}

export default { render };
