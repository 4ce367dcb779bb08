"""The live viewer in a browser, over a kernel of the page's own, whose every message is seen."""

import base64
from collections.abc import Callable
from typing import Any

from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.payload import packed, payload

# A model as anywidget gives it to a view: traits in Python, here in the page.
KERNEL = """async ([code, traits, isThere]) => {
  const { default: widget } = await import("data:text/javascript;base64," + code);
  const listeners = {};
  window.sent = [];
  window.model = {
    get: (name) => traits[name],
    set: (name, value) => { traits[name] = value; (listeners["change:" + name] ?? []).forEach((call) => call()); },
    on: (name, call) => (listeners[name] ??= []).push(call),
    off: () => undefined,
    send: (message) => {
      window.sent.push(message);
      if (isThere && message.number) queueMicrotask(() => window.model.set("heard", message.number));
    },
    hear: (message) => (listeners["msg:custom"] ?? []).forEach((call) => call(message)),
    save_changes: () => undefined,
  };
  for (const el of document.querySelectorAll(".view")) widget.render({ model: window.model, el });
}"""

SET = """([name, value]) => {
  for (const el of document.querySelectorAll("[data-ready]")) delete el.dataset.ready;
  window.model.set(name, value);
}"""


def sent_of(why: vx.Explanation, key: str) -> dict[str, Any]:
    return {**payload(why, packed), "id": key}


def traits_of(why: vx.Explanation, **more: Any) -> dict[str, Any]:
    entries = [{"title": "one", "state": "done", "answer": why.target, "correct": None}] * 2
    options = {
        "methods": [{"name": "interactions", "about": "", "parameters": []}],
        "method": "interactions",
        "parameters": {},
        "filter": "all",
        "classes": [],
        "count": 2,
        "models": [],
    }
    empty = {
        "compared": [],
        "columns": [],
        "progress": {},
        "problem": "",
        "whatif": {},
        "heard": 0,
        "selected": 0,
        "live": True,
    }
    return {**empty, "entries": entries, "options": options, "shown": sent_of(why, "first"), **more}


def listed(number: int, **more: Any) -> dict[str, Any]:
    """An example's line in the list, as a kernel sends it."""
    return {
        "title": f"What is {number}?",
        "state": "done",
        "answer": "red",
        "correct": number % 9 > 0,
        "probability": (number % 100) / 100,
        "id": f"e{number}",
        "label": "red",
        "message": "",
        "numbers": {"error": (number * 7 % 50) / 100, "mass": (number * 13 % 100) / 100},
        **more,
    }


def live(
    page: Page, why: vx.Explanation, views: int = 1, is_there: bool = True, **more: Any
) -> Callable[..., None]:
    """The viewer over a kernel of the page's own, which hears each message if it is there;
    gives the traits' setter.
    """
    page.set_content(f"<style>{style()}</style>" + '<div class="view"></div>' * views)
    code = base64.b64encode(script("widget").encode()).decode()
    page.evaluate(KERNEL, [code, traits_of(why, **more), is_there])
    page.wait_for_selector("[data-ready]")

    def put(name: str, value: int | dict[str, Any]) -> None:
        page.evaluate(SET, [name, value])
        if name != "whatif":  # which is drawn at once, all else when its arrays are unpacked
            page.wait_for_selector("[data-ready]")

    return put


def messages(page: Page, action: str, count: int = 1) -> list[Any]:
    """What was sent, once there are so many messages of that action."""
    of_action = f"window.sent.filter((one) => one.action === '{action}')"
    page.wait_for_function(f"{of_action}.length >= {count}")
    return list(page.evaluate(of_action))
