"""The tab "Inside": the strip of blocks and the matrix of heads, in a page and over a kernel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import axe_problems, opened_browser, watched_page
from live_page import live, messages
from pages import made
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.viewer.inside import payload_of_inside
from vqa_explain.viewer.payload import packed


@pytest.fixture(scope="module")
def browser() -> Any:
    with opened_browser() as found:
        yield found


@pytest.fixture(scope="module")
def example() -> vx.Example:
    found: vx.Example = vx.load_dataset("scenes:test")[0]
    return found


@pytest.fixture(scope="module")
def found(scenes_model: Any, example: vx.Example) -> tuple[vx.Layers, vx.Heads]:
    return vx.layers(scenes_model, example, steps=8), vx.heads(scenes_model, example)


@pytest.fixture
def address(found: tuple[vx.Layers, vx.Heads], tmp_path: Path) -> str:
    layers, heads = found
    return layers.to_html(tmp_path / "inside.html", heads).as_uri()


def words(page: Page) -> list[float]:
    """The values that the words of the question show."""
    texts = page.locator(".vx-word small span").all_inner_texts()
    return [float(text.replace("−", "-")) for text in texts]


@pytest.mark.slow
def test_a_block_and_a_head_color_the_inputs(
    browser: Any, found: tuple[vx.Layers, vx.Heads], address: str
) -> None:
    layers, heads = found
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        page.goto(address)
        page.wait_for_selector("[data-ready]")
        assert page.get_by_role("button", name="Inside").get_attribute("aria-pressed") == "true"
        assert page.locator(".vx-block").count() == len(layers.blocks)
        assert page.locator(".vx-early").all_inner_texts() == [one.text for one in layers.early]
        first = layers.decided()
        assert page.locator(f'[data-block="{first}"]').get_attribute("aria-pressed") == "true"
        for number in (first, 0, 4):
            page.locator(f'[data-block="{number}"]').click()
            expected = [word.value for word in layers.maps[number].words]
            np.testing.assert_allclose(words(page), expected, rtol=0.06, atol=6e-3)
        page.keyboard.press("ArrowRight")
        expected = [word.value for word in layers.maps[5].words]
        np.testing.assert_allclose(words(page), expected, rtol=0.06, atol=6e-3)
        page.locator('[data-head="1 2"]').click()
        assert heads.attention is not None
        expected = heads.attention[1, 2, -len(layers.maps[0].words) :].tolist()
        np.testing.assert_allclose(words(page), expected, rtol=0.06, atol=6e-3)
        lost = heads.lost[1, 2]
        said = page.locator(".vx-inside-said").inner_text()
        assert f"{abs(lost):.2f}" in said
        assert ("lost without it" in said) == (lost >= 0)
        page.get_by_role("button", name="Example", exact=True).click()
        expected = [word.value for word in layers.maps[first].words]
        np.testing.assert_allclose(words(page), expected, rtol=0.06, atol=6e-3)
        assert page.locator(".vx-inside").is_hidden()
        assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [1400, 400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tab_has_room_and_names(
    browser: Any, address: str, width: int, scheme: Any, tmp_path: Path
) -> None:
    size = {"width": width, "height": 900}
    with watched_page(browser, viewport=size, color_scheme=scheme, bypass_csp=True) as (
        page,
        wrong,
    ):
        page.goto(address)
        page.wait_for_selector("[data-ready]")
        assert axe_problems(page, tmp_path) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert wrong == []


@pytest.mark.slow
def test_a_kernel_is_asked_once_the_tab_is_opened(
    browser: Any, found: tuple[vx.Layers, vx.Heads], scenes_model: Any, example: vx.Example
) -> None:
    layers, heads = found
    why = vx.explain(scenes_model, example, method="saliency", regions=3)
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, why)
        assert page.evaluate("window.sent.filter((one) => one.action === 'inside').length") == 0
        page.get_by_role("button", name="Inside").click()
        (asked,) = messages(page, "inside")
        assert asked["serial"].startswith(f"inside {asked['explanation']} ")
        assert "Looking inside" in page.locator(".vx-inside").inner_text()
        other = {"serial": "inside another", "inside": payload_of_inside(layers, heads, packed)}
        put("whatif", other)
        assert page.locator(".vx-block").count() == 0
        put("whatif", {**other, "serial": asked["serial"]})
        page.wait_for_selector(".vx-block")
        before = page.evaluate("window.sent.length")
        page.locator(".vx-word").first.click()  # takes nothing away: these are a block's words
        page.get_by_role("button", name="Example", exact=True).click()
        page.get_by_role("button", name="Inside").click()
        page.locator(".vx-block").first.click()
        later = page.evaluate(f"window.sent.slice({before}).map((one) => one.action)")
        assert set(later) <= {"line"}
        assert wrong == []


@pytest.mark.slow
def test_what_cannot_be_looked_into_is_said_in_the_tab(browser: Any) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, made(interactions=False, grid=3))
        page.get_by_role("button", name="Inside").click()
        (asked,) = messages(page, "inside")
        put("whatif", {"serial": asked["serial"], "error": "no row of blocks"})
        assert page.locator(".vx-inside").inner_text() == "no row of blocks"
        assert wrong == []


@pytest.mark.slow
def test_a_page_without_what_is_inside_has_no_tab(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser) as (page, wrong):
        page.goto(made(interactions=False, grid=3).to_html(tmp_path / "why.html").as_uri())
        page.wait_for_selector("[data-ready]")
        assert page.get_by_role("button", name="Inside").is_hidden()
        assert wrong == []
