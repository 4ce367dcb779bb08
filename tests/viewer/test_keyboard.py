"""Every control of the page by keyboard, on every tab; the list of keys; axe on groups."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import axe_problems, opened_browser, watched_page
from live_page import live
from pages import made, opened
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.viewer.export import page_of_payloads
from vqa_explain.viewer.inside import payload_of_inside
from vqa_explain.viewer.payload import packed, payload

pytestmark = pytest.mark.slow  # each opens a page

# Controls that can be seen, in the order of the page, each with the group whose arrows lead to it.
CONTROLS = """() => {
  const all = [...document.querySelectorAll(
    "#viewer :is(button, input, select, textarea, summary, a[href], [role=slider])")];
  const seen = all.filter((one) => one.checkVisibility({ visibilityProperty: true }) && !one.disabled);
  window.controls = seen;
  return seen.map((one) => [one.tabIndex, one.className + " " + (one.ariaLabel ?? one.textContent.slice(0, 30))]);
}"""
FOCUSED = "() => window.controls.indexOf(document.activeElement)"
# Whether arrows lead from some control that Tab reaches to this one: they are alike, in one group.
BESIDE = """([place, reached]) => {
  const one = window.controls[place];
  const kind = one.classList[0];
  return reached.some((other) => window.controls[other].classList[0] === kind);
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


@pytest.fixture(scope="module")
def address(scenes_model: Any, tmp_path_factory: Any) -> str:
    """A page of three examples, of which the first has what is inside."""
    data = vx.load_dataset("scenes:test")
    told = []
    for place in range(3):
        why = vx.explain(scenes_model, data[place], method="leave_one_out", regions=3)
        told.append({**payload(why, packed, data[place]), "line": None, "entry": None})
    layers, heads = vx.layers(scenes_model, data[0], steps=4), vx.heads(scenes_model, data[0])
    told[0]["inside"] = payload_of_inside(layers, heads, packed)
    path: Path = tmp_path_factory.mktemp("page") / "a.html"
    path.write_text(page_of_payloads(told, "Why this answer?", ""))
    return path.as_uri()


def go(page: Page, address: str, tab: str) -> None:
    page.goto("about:blank")
    compared = "&columns=1" if tab == "compare" else ""
    page.goto(f"{address}#page={tab}{compared}")
    page.wait_for_selector("#viewer[data-ready]")


@pytest.mark.parametrize("tab", ["example", "compare", "table", "inside"])
def test_every_control_is_reached_in_order(browser: Any, address: str, tab: str) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        go(page, address, tab)
        controls = page.evaluate(CONTROLS)
        reached: list[int] = []
        for _ in range(3 * len(controls)):
            page.keyboard.press("Tab")
            place = page.evaluate(FOCUSED)
            if reached and place < 0 and page.evaluate("document.activeElement === document.body"):
                break
            if place >= 0:
                reached.append(place)
        assert reached == sorted(set(reached))
        for place, (stop, name) in enumerate(controls):
            if place not in reached:
                assert stop == -1, name  # else Tab passed it by
                assert page.evaluate(BESIDE, [place, reached]), name
        assert wrong == []


def test_arrows_move_over_blocks_and_heads(browser: Any, address: str) -> None:
    chosen = "document.activeElement.dataset.head ?? document.activeElement.dataset.block"
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        go(page, address, "inside")
        page.locator('[data-head="0 0"]').focus()
        for key, where in [("Right", "1 0"), ("Down", "1 1"), ("Left", "0 1"), ("Up", "0 0")]:
            page.keyboard.press(f"Arrow{key}")
            assert page.evaluate(chosen) == where
            assert page.locator(".vx-head[aria-pressed=true]").get_attribute("data-head") == where
        assert wrong == []


def keys_told(page: Page) -> list[str]:
    page.keyboard.press("?")
    rows = page.locator(".vx-help .vx-keys > span")
    found = [" ".join(one.locator("kbd").all_inner_texts()) for one in rows.all()]
    page.keyboard.press("Escape")
    assert page.locator(".vx-help").is_hidden()
    return found


def test_the_list_of_keys_has_those_that_work_here(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(seed=i) for i in range(2)])
        told = keys_told(page)
        assert wrong == []
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(grid=3))
        page.locator(".vx-top button").first.focus()
        all_told = keys_told(page)
        assert set(all_told) - set(told) == {"1 5", "c", "Enter", "Shift drag", "Alt drag"}
        assert {"j k", "n", "?", "Esc", "Space", "Tab"} <= set(told) <= set(all_told)
        assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_groups(
    browser: Any, address: str, tmp_path: Path, scheme: Any
) -> None:
    settings = {"color_scheme": scheme, "viewport": {"width": 1400, "height": 900}}
    with watched_page(browser, **settings, bypass_csp=True) as (page, _):
        go(page, address, "table")
        page.get_by_role("button", name="By kind").click()
        assert axe_problems(page, tmp_path) == []
