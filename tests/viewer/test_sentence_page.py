"""The words of an answer in the page: what is pointed at, clicked and reached by keys."""

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import axe_problems, opened_browser, watched_page
from building import explanation, replaced
from playwright.sync_api import Locator, Page

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.target import Answer
from vqa_explain.units import GRADIENT_SIZE

VALUES = np.array([[1.0, 0.0, 0.5], [-2.0, 3.0, 0.0], [0.0, -1.0, 4.0]])  # words × question's words
ANSWER = ["a", "red", "dog"]


def sentence() -> vx.Explanation:
    """A sentence of three words with known values of the question's three words."""
    labels = np.repeat([0, 1], 32)[None].repeat(64, axis=0).astype(np.int32)
    boxes = [(0, 0, 32, 64), (32, 0, 64, 64)]
    regions = tuple(
        RegionValue(box, value, 0.1) for box, value in zip(boxes, (2.0, -1.0), strict=True)
    )
    whole = explanation(
        question="what is it",
        image=np.zeros((64, 64)),
        picture=np.full((64, 64, 3), 90, dtype=np.uint8),
        labels=labels,
        regions=regions,
        words=words_of(VALUES.sum(axis=0)),
        answers=(Answer(" ".join(ANSWER), 0.1, 0),),
        target=" ".join(ANSWER),
        contrast=None,
        score="log_probability",
        share={"image": 0.5, "question": 0.5},
        error=0.1,
        error_kind="largest standard error",
        cost=Cost(10, 0, 0.5),
        method="shapley",
        parameters={},
        provenance={"model": "made", "seed": 0},
    )
    rows = [
        replaced(
            whole,
            target=text,
            answers=(Answer(text, 0.5, number),),
            words=words_of(values),
            share={"image": number / 2, "question": 1 - number / 2},
        )
        for number, (text, values) in enumerate(zip(ANSWER, VALUES, strict=True))
    ]
    found: vx.Explanation = replaced(whole, outputs=tuple(rows))
    return found


def words_of(values: np.ndarray) -> tuple[WordValue, ...]:
    spans = [(0, 4), (5, 7), (8, 10)]
    return tuple(
        WordValue("what is it"[a:b], a, b, float(value), 0.01)
        for (a, b), value in zip(spans, values, strict=True)
    )


def told(page: Page) -> list[str]:
    """The values below the question's words."""
    return [text.split(" ")[0] for text in page.locator("[data-word] small").all_inner_texts()]


def chip(page: Page, number: int) -> Locator:
    return page.locator(f'[data-answer-word="{number}"]')


def expected(number: int) -> list[float]:
    return [float(value) for value in VALUES[number]]


def read(page: Page) -> list[float]:
    return [float(text.replace("−", "-").replace("+", "")) for text in told(page)]


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 360])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_word_recolors_the_question(tmp_path: Path, width: int, scheme: str) -> None:
    path = sentence().to_html(tmp_path / "page.html")
    settings = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme}
    with opened_browser() as browser, watched_page(browser, **settings) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        whole = told(page)
        for number in range(len(ANSWER)):
            chip(page, number).hover()
            assert read(page) == pytest.approx(expected(number), abs=0.01)
        page.mouse.move(1, 1)
        assert told(page) == whole  # nothing was clicked
        chip(page, 2).click()
        page.mouse.move(1, 1)
        assert read(page) == pytest.approx(expected(2), abs=0.01)
        assert chip(page, 2).get_attribute("aria-pressed") == "true"
        chip(page, 2).press("ArrowLeft")
        assert read(page) == pytest.approx(expected(1), abs=0.01)
        chip(page, 1).press("Tab")
        chip(page, 2).click()  # frees it
        page.mouse.move(1, 1)
        page.evaluate("document.activeElement.blur()")
        assert told(page) == whole
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not wrong


def together(first: int, last: int) -> list[float]:
    return [float(value) for value in VALUES[first : last + 1].sum(axis=0)]


def opened(page: Page, why: vx.Explanation, folder: Path) -> list[str]:
    """What is told of the whole answer, once the page is there."""
    page.goto(why.to_html(folder / "page.html").as_uri())
    page.wait_for_selector("[data-shown]")
    return told(page)


@pytest.mark.slow
def test_several_words_together_show_their_sum(tmp_path: Path) -> None:
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        whole = opened(page, sentence(), tmp_path)
        for first, last in ((0, 1), (1, 2), (2, 1)):
            chip(page, first).click()
            chip(page, last).click(modifiers=["Shift"])
            for away in (False, True):
                assert read(page) == pytest.approx(together(min(first, last), max(first, last)))
                if not away:
                    page.mouse.move(1, 1)
            pressed = [chip(page, n).get_attribute("aria-pressed") for n in range(len(ANSWER))]
            assert pressed.count("true") == 2
            page.keyboard.press("Escape")
            page.evaluate("document.activeElement.blur()")
            assert told(page) == whole
        chip(page, 0).hover()
        page.mouse.down()
        chip(page, 1).hover()
        page.mouse.up()
        page.mouse.move(1, 1)
        assert read(page) == pytest.approx(together(0, 1))
        chip(page, 2).hover()  # a word alone, for as long as it is pointed at
        assert read(page) == pytest.approx(expected(2), abs=0.01)
        page.mouse.move(1, 1)
        assert read(page) == pytest.approx(together(0, 1))
        chip(page, 0).click()
        chip(page, 2).click(modifiers=["Shift"])
        page.mouse.move(1, 1)
        assert told(page) == whole
        assert not wrong


@pytest.mark.slow
def test_several_words_by_keys_alone(tmp_path: Path) -> None:
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        opened(page, sentence(), tmp_path)
        chip(page, 0).focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("Shift+ArrowRight")
        assert read(page) == pytest.approx(together(1, 2))
        page.keyboard.press("Shift+ArrowLeft")
        assert read(page) == pytest.approx(expected(1), abs=0.01)
        page.keyboard.press("Shift+ArrowLeft")
        assert read(page) == pytest.approx(together(0, 1))
        assert page.evaluate("document.activeElement.dataset.answerWord") == "0"
        assert "2 words together" in page.locator(".vx-answer-line .vx-acts").first.inner_text()
        assert not wrong


@pytest.mark.slow
def test_several_words_by_touch(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"has_touch": True, "viewport": {"width": 360, "height": 800}}
    with opened_browser() as browser, watched_page(browser, **settings) as (page, wrong):
        opened(page, sentence(), tmp_path)
        button = page.get_by_role("button", name="Range", exact=True)
        for kept in (False, True):  # a word that is kept is the first of them
            if kept:
                chip(page, 1).tap()
            button.tap()
            assert button.get_attribute("aria-pressed") == "true"
            if not kept:
                chip(page, 1).tap()
            chip(page, 2).tap()
            assert button.get_attribute("aria-pressed") == "false"
            assert read(page) == pytest.approx(together(1, 2))
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not wrong


@pytest.mark.slow
def test_values_that_do_not_add_up_are_not_added(tmp_path: Path) -> None:
    why = sentence()
    rows = tuple(replaced(row, unit=GRADIENT_SIZE) for row in why.outputs)
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        opened(page, replaced(why, unit=GRADIENT_SIZE, outputs=rows), tmp_path)
        assert not page.get_by_role("button", name="Range", exact=True).is_visible()
        chip(page, 0).click()
        chip(page, 2).click(modifiers=["Shift"])
        pressed = [chip(page, n).get_attribute("aria-pressed") for n in range(len(ANSWER))]
        assert pressed == ["false", "false", "true"]
        assert not wrong


@pytest.mark.slow
@pytest.mark.parametrize("way", ["tap", "Enter"])
def test_words_are_played_one_after_another(tmp_path: Path, way: str) -> None:
    settings: dict[str, Any] = {"has_touch": way == "tap"}
    with opened_browser() as browser, watched_page(browser, **settings) as (page, wrong):
        page.clock.install()
        whole = opened(page, sentence(), tmp_path)
        button = page.locator(".vx-answer-line .vx-tool").first

        def press() -> None:
            getattr(button, way)() if way != "Enter" else button.press(way)

        page.clock.pause_at(page.evaluate("Date.now() / 1000") + 1)
        press()
        assert button.inner_text() == "Pause"
        for number in range(len(ANSWER)):
            assert read(page) == pytest.approx(expected(number), abs=0.01)
            assert chip(page, number).get_attribute("aria-pressed") == "true"
            page.clock.run_for(900)
        assert told(page) == whole
        assert button.inner_text() == "Play"
        press()
        page.clock.run_for(900)
        press()  # stays where it is
        page.clock.run_for(5000)
        assert read(page) == pytest.approx(expected(1), abs=0.01)
        press()  # and goes on from there
        page.clock.run_for(900)
        assert read(page) == pytest.approx(expected(2), abs=0.01)
        chip(page, 0).click()  # ends it
        page.clock.run_for(5000)
        page.mouse.move(1, 1)
        assert read(page) == pytest.approx(expected(0), abs=0.01)
        assert not wrong


@pytest.mark.slow
def test_a_part_shows_the_words_that_it_feeds(tmp_path: Path) -> None:
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        opened(page, sentence(), tmp_path)

        def colors() -> list[str]:
            return [
                chip(page, n).evaluate("node => getComputedStyle(node).backgroundColor")
                for n in range(len(ANSWER))
            ]

        before = colors()
        for way in ("hover", "focus"):
            seen = []
            for word in range(VALUES.shape[1]):
                getattr(page.locator(f'[data-word="{word}"]'), way)()
                said = page.locator(".vx-said").inner_text().split("most for")[1]
                order = [n for n in np.argsort(-np.abs(VALUES[:, word])) if VALUES[n, word]]
                assert re.findall("“(\\w+)” [+−]", said) == [ANSWER[n] for n in order]
                seen.append(colors())
            bare = {row[n] for n, row in zip((2, 0, 1), seen, strict=True)}  # where values are 0
            assert len(bare) == 1
            assert len({seen[1][1], seen[1][2], seen[2][2], *bare}) == 4  # +3, −1, +4 and 0
            page.mouse.move(1, 1)
            page.evaluate("document.activeElement.blur()")
            assert colors() == before
        assert not wrong


@pytest.mark.slow
def test_the_words_are_accessible(tmp_path: Path) -> None:
    path = sentence().to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser, bypass_csp=True) as (page, _):
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        chip(page, 1).click()
        page.get_by_role("button", name="Range", exact=True).click()
        assert not axe_problems(page, tmp_path)


@pytest.mark.slow
def test_an_explanation_of_one_word_has_no_line_of_words(tmp_path: Path) -> None:
    path = replaced(sentence(), outputs=()).to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        assert not page.locator(".vx-answer-line").is_visible()
        assert not wrong


@pytest.mark.slow
def test_all_words_and_parts_are_a_table_that_any_word_sorts_and_a_file(tmp_path: Path) -> None:
    why = sentence()
    path = why.to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser, viewport={"width": 360, "height": 900}) as (page, wrong):  # fmt: skip
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        page.get_by_text("All words and parts as a table").click()
        table = page.locator(".vx-word-values")
        for number, word in enumerate(ANSWER):
            for step in (-1, 1):  # the largest first, then the smallest
                table.locator(".vx-sort").nth(number + 1).click()
                shown = table.locator(f"tbody td:nth-child({number + 3})").all_inner_texts()
                values = [float(text.replace("−", "-")) for text in shown]
                order = np.sort(why.matrix.values[number])[::step]
                assert values == pytest.approx(list(order), abs=0.006)
                focused = page.evaluate("document.activeElement.textContent")
                assert focused.startswith(word)
        with page.expect_download() as download:
            page.get_by_role("button", name="CSV", exact=True).click()
        text = Path(download.value.path()).read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(text)))
        saved = np.array([float(row["value"]) for row in rows])
        np.testing.assert_allclose(saved.reshape(why.matrix.values.shape), why.matrix.values)
        assert [row["word"] for row in rows[:: len(why.matrix.parts)]] == ANSWER
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        assert not wrong


@pytest.mark.slow
def test_a_word_says_what_it_owes_to_earlier_words_and_what_it_stands_for(tmp_path: Path) -> None:
    why = sentence()
    first, red, dog = why.outputs
    rows = (
        first,
        replaced(red, earlier=(0.25,), earlier_errors=(0.02,), contrast="blue"),
        replaced(dog, earlier=(-0.5, 1.25), earlier_errors=(0.1, 0.03)),
    )
    path = replaced(why, outputs=rows).to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        assert [node.inner_text().strip() for node in page.locator(".vx-not").all()] == ["not blue"]
        chip(page, 2).hover()
        said = page.locator(".vx-earlier").inner_text()
        assert said == "“dog” and the words before it: “red” +1.25 ± 0.03, “a” −0.5 ± 0.1"
        chip(page, 0).hover()
        assert "Point at a word" in page.locator(".vx-earlier").inner_text()
        assert not wrong
