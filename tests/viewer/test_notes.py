"""Notes of examples: written in page and viewer, kept in what is exported, not in the link."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import opened_browser, watched_page
from live_page import live
from pages import made, opened
from playwright.sync_api import Page

pytestmark = pytest.mark.slow  # each opens a page

NOTE = "note of this example"
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\"> & 'so' \u2028"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


def go_to(page: Page, place: int) -> None:
    page.locator(".vx-entry").nth(place).click()
    page.wait_for_selector(f'#viewer[data-ready="{place}"]')


def test_a_note_is_of_one_example_and_saved_with_the_page(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(f"Which is {i}?", seed=i) for i in range(3)])
        save = page.get_by_role("button", name="Save the page")
        assert save.is_hidden()
        page.keyboard.press("j")
        page.wait_for_selector('#viewer[data-ready="1"]')
        page.keyboard.press("n")
        page.keyboard.type("jk? looks at the rim")  # letters that are keys elsewhere
        page.keyboard.press("Escape")
        page.keyboard.press("j")
        page.wait_for_selector('#viewer[data-ready="2"]')
        assert page.get_by_label(NOTE).input_value() == ""
        page.get_by_label(NOTE).fill(HOSTILE)
        go_to(page, 1)  # at once: what was typed is of the example before
        assert page.get_by_label(NOTE).input_value() == "jk? looks at the rim"
        page.locator(".vx-note .vx-star").click()
        assert page.evaluate("location.hash") == "#example=1&stars=1"
        page.evaluate(
            "location.hash = '#example=2'"
        )  # a link within the page keeps what is written
        page.wait_for_selector('#viewer[data-ready="2"]')
        assert page.get_by_label(NOTE).input_value() == HOSTILE
        go_to(page, 1)
        page.locator(".vx-note .vx-star").click()
        with page.expect_download() as told:
            save.click()
        told.value.save_as(tmp_path / "b.html")
        page.goto((tmp_path / "b.html").as_uri())
        page.wait_for_selector('#viewer[data-ready="0"]')
        assert page.locator("#viewer").count() == 1
        assert save.is_hidden()
        for place, note in enumerate(["", "jk? looks at the rim", HOSTILE]):
            go_to(page, place)
            assert page.get_by_label(NOTE).input_value() == note
        stars = page.locator(".vx-note .vx-star").get_attribute("aria-pressed")
        assert stars == "false"
        assert page.title() == "Why this answer?"
        assert wrong == []


def test_notes_are_a_column_of_the_csv(browser: Any, tmp_path: Path) -> None:
    note = 'one, "two"\nthree'
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(seed=i) for i in range(2)])
        page.get_by_label(NOTE).fill(note)
        page.get_by_role("button", name="Table", exact=True).click()
        page.get_by_label("select all that are listed").check()
        with page.expect_download() as told:
            page.get_by_role("button", name="CSV").click()
        with Path(told.value.path()).open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert [row["note"] for row in rows] == [note, ""]
        assert wrong == []


def test_a_kernel_is_told_of_notes_and_tells_them(browser: Any) -> None:
    entry = {"state": "done", "answer": "red", "correct": None, "message": "", "label": None}
    entries = [{**entry, "title": f"{i}?", "id": f"e{i}"} for i in range(2)]
    kept = "(name) => window.model.get('notes')"
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False, grid=3), entries=entries)
        sets = "window.model.times = 0; const set = window.model.set;"
        page.evaluate(f"{sets} model.set = (...all) => {{ model.times += 1; set(...all); }}")
        page.get_by_label(NOTE).press_sequentially("a long note of forty letters, as typed it")
        page.keyboard.press("Escape")
        assert page.evaluate(kept) == {
            "e0": {"star": False, "note": "a long note of forty letters, as typed it"}
        }
        assert page.evaluate("model.times") < 10  # not once for each letter
        told = {"e0": {"star": True, "note": "from Python"}}
        page.evaluate("(value) => window.model.set('notes', value)", told)
        page.wait_for_function("document.querySelector('.vx-note-text').value === 'from Python'")
        assert page.locator(".vx-note .vx-star").inner_text() == "★"
        page.get_by_label(NOTE).fill("")
        page.locator(".vx-note .vx-star").click()
        assert page.evaluate(kept) == {}
        assert wrong == []


@pytest.mark.parametrize(("width", "scheme"), [(1400, "dark"), (400, "light")])
def test_the_note_has_room_and_a_name(
    browser: Any, tmp_path: Path, width: int, scheme: Any
) -> None:
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with watched_page(browser, **settings) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(seed=i) for i in range(2)])
        page.get_by_label(NOTE).fill("It looks at the rim.")
        page.get_by_label(NOTE).blur()
        page.get_by_role("button", name="Save the page").scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []
