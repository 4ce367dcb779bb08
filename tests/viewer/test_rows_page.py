"""Rows of names, bars and numbers in a page: one zero for all, nothing cut, bands over fills."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import add_column, opened_browser, watched_page
from pages import opened
from playwright.sync_api import Browser, Page
from several import explanation, picture, table, text

import vqa_explain as vx
from vqa_explain.features.parts import ColumnValue
from vqa_explain.target import Answer

pytestmark = pytest.mark.slow  # each opens a page

# Where the zero of each row of each list is, in pixels.
ZEROS = """() => [...document.querySelectorAll(".vx-bars, .vx-ranked")]
  .filter((list) => list.offsetWidth)
  .map((list) => [...list.querySelectorAll(".vx-zero")].map((zero) => zero.getBoundingClientRect().x))"""
# What is cut, or reaches beyond its card.
CUT = """() => [...document.querySelectorAll(".vx-who > :last-child, .vx-answer, .vx-rank .vx-number, .vx-column bdi")]
  .filter((node) => node.offsetWidth)
  .filter((node) => {
    const card = node.closest(".vx-card, .vx-bars").getBoundingClientRect();
    const own = node.getBoundingClientRect();
    return node.scrollWidth > node.clientWidth + 1 && node.clientWidth > 0
      || node.scrollHeight > node.clientHeight + 3 && node.clientHeight > 0
      || own.right > card.right + 0.5 || own.left < card.left - 0.5;
  })
  .map((node) => node.textContent)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with opened_browser() as opened_one:
        yield opened_one


def shown() -> vx.Explanation:
    """Values with errors of different lengths, in inputs and columns with long names."""
    errors = (0.0071, 0.2, 0.03, 1.0)
    patient = table("the patient's record")
    columns = tuple(
        replace(one, error=error) for one, error in zip(patient.columns, errors, strict=True)
    )
    long = ColumnValue("a column with a name that is long", "and a value", 3.21, 0.0042)
    found = explanation(
        picture("the first picture", 1),
        text("question", "Is anything there that nobody expects?"),
        replace(patient, columns=(*columns, long)),
    )
    answers = tuple(
        Answer(name, 0.4 / (number + 1), number)
        for number, name in enumerate(["red", "Egyptian cat or tabby", "a window screen"])
    )
    why: vx.Explanation = replace(found, answers=answers, target="red")
    return why


def zeros_agree(page: Page) -> bool:
    lists = page.evaluate(ZEROS)
    assert sum(len(one) for one in lists) > 7
    return all(max(one) - min(one) < 0.6 for one in lists if one)


@pytest.mark.parametrize("width", [1400, 1000, 600, 320])
def test_rows_have_one_zero_and_no_name_or_number_is_cut(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    with watched_page(browser, viewport={"width": width, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [shown(), shown()])
        assert zeros_agree(page)
        assert page.evaluate(CUT) == []
        add_column(page, 1)
        page.wait_for_selector("[data-column=compared]")
        assert zeros_agree(page)
        ends = page.locator("[data-column=difference] .vx-legend").inner_text()
        assert "no difference" in ends
        assert "e−" not in ends
        assert wrong == []


def test_a_value_whose_sign_depends_on_the_fill_is_marked_and_has_a_bracket(
    browser: Browser, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    whole = shown()

    def banded(one: Any) -> Any:
        low, high = sorted(one.value + rng.normal(size=2) * 0.7)
        return replace(one, band=(float(low), float(high)))

    parts: list[Any] = []
    part: Any
    for part in whole.parts:
        name = {"text": "words", "image": "regions", "table": "columns"}[part.kind]
        parts.append(replace(part, **{name: tuple(map(banded, getattr(part, name)))}))
    why = replace(whole, parts=tuple(parts))
    depends = {name: ~some for name, some in why.steady.items()}
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        chips = page.locator(".vx-word").all_inner_texts()
        assert [text.endswith("†") for text in chips] == depends["question"].tolist()
        bars = page.locator(".vx-column .vx-number").all_inner_texts()
        assert [text.endswith("†") for text in bars] == depends["the patient's record"].tolist()
        brackets = page.locator(".vx-column .vx-band").evaluate_all(
            "all => all.map((one) => one.getBoundingClientRect()).map(({ left, right }) => [left, right])"
        )
        zero = page.evaluate(ZEROS)[0][0]
        sides = (np.array(brackets) - zero > 0.5).tolist()
        bands = why.bands["the patient's record"]
        assert sides == (bands > 0).tolist()
        # A pixel is as much of the values in every row.
        scale = np.diff(brackets, axis=1) / np.diff(bands, axis=1)
        np.testing.assert_allclose(scale, scale.mean(), rtol=0.05)
        page.get_by_role("button", name="Values", exact=True).click()
        told = page.locator(".vx-values tbody").inner_text()
        assert told.count("†") == sum(int(some.sum()) for some in depends.values())
        assert wrong == []


def test_two_regions_of_one_place_are_told_apart_and_no_value_is_broken_in_two(
    browser: Browser, tmp_path: Path
) -> None:
    part = picture("image", 1, grid=7)
    values = {23: 5.0, 24: 4.0, 0: 3.0}  # two in the middle, one at the upper left
    regions = tuple(
        replace(region, value=values.get(number, 0.1)) for number, region in enumerate(part.regions)
    )
    why = explanation(replace(part, regions=regions), text("question", "What is it?"))
    with watched_page(browser, viewport={"width": 320, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        names = [name.strip() for name in page.locator(".vx-sentence bdi").all_inner_texts()]
        assert names == [
            "the region in the middle (23)",
            "the region in the middle (24)",
            "the region at the upper left",
        ]
        for value in page.locator(".vx-sentence .vx-number").all():
            assert len(value.evaluate("(node) => [...node.getClientRects()]")) == 1
        assert wrong == []
