"""The focus stays in the viewer, whatever goes away under it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from browser import opened_browser, watched_page
from live_page import live, messages, sent_of
from pages import made

from vqa_explain.target import Answer

pytestmark = pytest.mark.slow  # they open a page

# The controls that are seen, by their kinds: menus are open, for what they hold is seen too.
CONTROLS = """() => {
  for (const menu of document.querySelectorAll(".vx-root details")) menu.open = true;
  const all = document.querySelectorAll(
    ".vx-root :is(button, input, select, textarea, summary, [tabindex])");
  const seen = [...all].filter((one) => one.checkVisibility({ visibilityProperty: true }));
  const kindOf = (one) => one.className.split(" ")[0] + (one.getAttribute("aria-label") ?? "");
  return new Map(seen.map((one) => [kindOf(one), one]));
}"""
KINDS = f"() => [...({CONTROLS})().keys()]"
FOCUS = f"""(kind) => {{
  const one = ({CONTROLS})().get(kind);
  one?.focus();
  return one !== undefined && document.activeElement === one;
}}"""
COLUMNS = "(columns) => window.model.set('columns', columns)"
LOST = "!document.querySelector('.vx-root').contains(document.activeElement)"


@pytest.fixture(scope="module")
def page() -> Iterator[Any]:
    settings = {"viewport": {"width": 1400, "height": 900}}
    with opened_browser() as browser, watched_page(browser, **settings) as (opened, wrong):
        yield opened
        assert wrong == []


def other() -> Any:
    """An explanation of which no control is that of `made()`."""
    answers = (Answer("green", 0.5, 2), Answer("violet", 0.3, 3), Answer("white", 0.2, 4))
    without_pairs = made("Is it so?", grid=2, interactions=False)
    return replace(without_pairs, answers=answers, target="violet")


def test_no_control_loses_the_focus_to_the_page(page: Any) -> None:
    first, second = sent_of(made(), "first"), sent_of(other(), "second")
    put = live(page, made())
    lost = []
    kinds = page.evaluate(KINDS)
    assert {"method", "vx-clause", "vx-answer", "vx-word"} <= set(kinds)
    for kind in kinds:
        put("shown", first)
        page.wait_for_function(FOCUS, arg=kind)
        put("shown", second)
        if page.evaluate(LOST):
            lost.append(kind)
    assert lost == []


def test_the_like_of_a_control_that_goes_away_has_the_focus(page: Any) -> None:
    put = live(page, made())
    page.locator(".vx-answer").nth(1).focus()
    put("shown", sent_of(other(), "second"))
    assert page.evaluate("document.activeElement.textContent") == "violet"
    page.locator('[data-word="1"]').focus()
    put("shown", sent_of(made("Which color is it?"), "third"))
    assert page.evaluate("document.activeElement.dataset.word") == "1"


def test_a_column_that_goes_away_leaves_the_focus_here(page: Any) -> None:
    put = live(page, made())
    beside = [{**sent_of(made(seed=1), "second"), "column": 0}]
    page.evaluate(COLUMNS, [{"method": "interactions", "parameters": {}}])
    put("compared", beside)
    page.get_by_role("button", name="take the column away").focus()
    page.keyboard.press("Enter")
    assert messages(page, "columns")[-1]["columns"] == []
    page.evaluate(COLUMNS, [])
    put("compared", [])
    assert not page.evaluate(LOST)


def test_another_example_does_not_open_the_columns(page: Any) -> None:
    put = live(page, made())
    page.evaluate(COLUMNS, [{"method": "interactions", "parameters": {}}])
    put("compared", [{**sent_of(made(seed=1), "second"), "column": 0}])
    shown = ".vx-viewer[data-page={}]"
    assert page.locator(shown.format("compare")).count() == 1
    page.locator(".vx-top").get_by_role("button", name="Example", exact=True).click()
    put("compared", [])
    put("shown", sent_of(other(), "third"))
    put("compared", [{**sent_of(made(seed=2), "fourth"), "column": 0}])
    assert page.locator(shown.format("example")).count() == 1
