"""The words of an answer in the page: what is pointed at, clicked and reached by keys."""

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from browser import axe_problems, opened_browser, watched_page
from building import explanation, replaced
from playwright.sync_api import Locator, Page

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.target import Answer

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


@pytest.mark.slow
def test_the_words_are_accessible(tmp_path: Path) -> None:
    path = sentence().to_html(tmp_path / "page.html")
    with opened_browser() as browser, watched_page(browser, bypass_csp=True) as (page, _):
        page.goto(path.as_uri())
        page.wait_for_selector("[data-shown]")
        chip(page, 1).click()
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
