"""Groups of examples beside the table, in a browser."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import several
from browser import keep_screenshot, opened_browser, watched_page
from live_page import listed, live
from pages import made, opened
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.viewer.export import page as page_of

pytestmark = pytest.mark.slow  # each opens a page


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


def entry(number: int) -> dict[str, Any]:
    is_count = number % 4 == 0
    return listed(
        number,
        correct=number % 3 > 0,
        probability=0.5,
        label="red" if number % 3 else "blue",
        kind="<b>count</b>" if is_count else "color",
        without="red" if number % 2 else "green",
        numbers={"image's share": 0.7 if is_count else 0.2, "error": 0.1},
    )


def rows(page: Page) -> list[list[str]]:
    found = page.locator(".vx-slices tbody tr")
    cells = "(row) => [...row.children].map((one) => one.textContent.trim())"
    return [one.evaluate(cells) for one in found.all()]


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_click_on_a_kind_filters_the_table(browser: Any, width: int, scheme: Any) -> None:
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    entries = [entry(number) for number in range(12)]
    with watched_page(browser, **settings) as (page, wrong):
        live(page, made(interactions=False, grid=3), entries=entries)
        page.get_by_role("button", name="Table", exact=True).click()
        page.get_by_role("button", name="By kind").click()
        found = rows(page)
        assert [one[:3] for one in found] == [
            ["color", "9", "67%"],
            ["<b>count</b>", "3", "67%"],
        ]
        assert [one[3] for one in found] == ["20%", "70%"]
        page.get_by_role("button", name="<b>count</b>", exact=True).focus()
        page.keyboard.press("Enter")
        kept = "() => window.model.get('filter').equals"
        assert page.evaluate(kept) == {"kind": "<b>count</b>"}
        assert page.locator(".vx-table-rows .vx-asks").count() == 3
        assert page.evaluate("document.activeElement.textContent") == "<b>count</b>"
        assert [one[1] for one in rows(page)] == ["9", "3"]  # others can still be chosen
        page.get_by_role("button", name="Slices").click()
        page.get_by_label("slices by").select_option("outcome")
        assert [one[:2] for one in rows(page)] == [["right", "2"], ["wrong", "1"]]
        page.locator(".vx-slice").first.click()
        assert page.locator(".vx-table-rows .vx-asks").count() == 2
        page.locator(".vx-slice").first.click()  # again ends it
        page.get_by_role("button", name="kind: <b>count</b>").click()
        assert page.locator(".vx-table-rows .vx-asks").count() == 12
        page.get_by_label("slices by").select_option("true answer")
        held = Counter(one["label"] for one in entries)
        assert {one[0]: int(one[1]) for one in rows(page)} == dict(held)
        page.locator(".vx-slices").scroll_into_view_if_needed()
        if width > 1000:
            row = page.locator(".vx-table-rows .vx-table-row")
            assert row.nth(1).inner_text().endswith("red same\n☆")
            assert row.nth(2).inner_text().endswith("green\n☆")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []


def test_a_page_knows_kinds_and_answers_without_the_picture(
    browser: Any, tmp_path: Path, scenes_model: Any
) -> None:
    data = vx.load_dataset("scenes:test")
    examples = [data[number] for number in range(3)]
    explained = [vx.explain(scenes_model, one, method="saliency", regions=2) for one in examples]
    line = {
        "members": {"question": [0]},
        "missing": {"question": [0]},
        "alone": {"answer": "2", "probability": 0.5},
        "without": {"answer": "2", "probability": 0.5},
    }
    blind = {"name": "picture", "answer": "none", "probability": 0.5}
    path = tmp_path / "a.html"
    path.write_text(
        page_of(explained, examples=examples, lines=[{**line, "blind": blind}, None, None])
    )
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        kinds = Counter(one.family for one in examples)
        family = examples[2].family
        page.goto(f"{path.as_uri()}#page=table&equal=kind:{family}")
        page.wait_for_selector("#viewer[data-ready]")
        assert page.locator(".vx-table-rows .vx-asks").count() == kinds[family]
        page.get_by_role("button", name=f"kind: {family}").click()
        page.get_by_role("button", name="By kind").click()
        assert {one[0]: int(one[1]) for one in rows(page)} == dict(kinds)
        heads = page.locator(".vx-table-names > *").all_inner_texts()
        assert any("Without picture" in head for head in heads)
        assert "none" in page.locator(".vx-table-rows .vx-table-row").first.inner_text()
        keep_screenshot(page)
        assert wrong == []


def test_long_names_of_columns_are_read_whole(browser: Any) -> None:
    names = ["accuracy_without_image", "relevance_mass, leave_one_out"]
    entries = [{**entry(i), "numbers": dict.fromkeys(names, float(i > 1))} for i in range(4)]
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False, grid=3), entries=entries)
        page.get_by_role("button", name="Table", exact=True).click()
        heads = page.locator(".vx-sort").all()
        assert [one.inner_text() for one in heads][3:5] == [
            "Accuracy without image",
            "Relevance mass, leave one out",
        ]
        sizes = "(one) => [one.scrollHeight - one.clientHeight, one.scrollWidth - one.clientWidth]"
        assert {
            one.inner_text(): one.evaluate(sizes) for one in heads if max(one.evaluate(sizes)) > 1
        } == {}
        row = page.locator(".vx-table-rows .vx-table-row").first
        assert row.locator(".vx-number").all_inner_texts()[1:] == ["0%", "0%"]
        assert wrong == []


def test_a_clause_of_two_lines_begins_where_lines_begin(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser, viewport={"width": 400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [several.frames()])
        aligned = "(one) => getComputedStyle(one).textAlign"
        clauses = page.locator(".vx-clause").all()
        assert {one.evaluate(aligned) for one in clauses} == {"start"}
        assert wrong == []
