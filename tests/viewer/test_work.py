"""How much is done for ten thousand examples, in counts: sorts, drawn charts, rows. No time is asserted."""

from collections.abc import Iterator
from typing import Any

import pytest
from browser import opened_browser, watched_page
from live_page import listed, live, traits_of
from pages import made
from playwright.sync_api import Page

pytestmark = pytest.mark.slow  # each opens a page

MANY = 10_000
NOTHING = {"sorts": 0, "scatters": 0, "bins": 0, "pictures": 0}
# Sorts of long lists, drawings of the scatter, histograms above the columns, and pictures painted.
COUNTED = """() => {
  window.counts = { sorts: 0, scatters: 0, bins: 0, pictures: 0 };
  const sort = Array.prototype.sort;
  Array.prototype.sort = function (...all) {
    if (this.length > 1000) window.counts.sorts += 1;
    return sort.apply(this, all);
  };
  const { scale, drawImage } = CanvasRenderingContext2D.prototype;
  CanvasRenderingContext2D.prototype.scale = function (...all) {
    if (this.canvas.classList.contains("vx-scatter")) window.counts.scatters += 1;
    return scale.apply(this, all);
  };
  CanvasRenderingContext2D.prototype.drawImage = function (...all) {
    if (this.canvas.classList.contains("vx-canvas")) window.counts.pictures += 1;
    return drawImage.apply(this, all);
  };
  const fill = Element.prototype.replaceChildren;
  Element.prototype.replaceChildren = function (...all) {
    if (this.classList.contains("vx-bins")) window.counts.bins += 1;
    return fill.apply(this, all);
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


def entry(number: int) -> dict[str, Any]:
    return listed(number, kind=["color", "count"][number % 2])


def work(page: Page) -> dict[str, int]:
    """What was done since the last call, once nothing waits."""
    idle = "() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => "
    page.evaluate(f"{idle}setTimeout(done, 50)), 50))")
    found: dict[str, int] = page.evaluate("() => ({ ...window.counts })")
    page.evaluate("() => { for (const name in window.counts) window.counts[name] = 0; }")
    return found


def test_what_has_not_changed_is_not_done_again(browser: Any) -> None:
    why = made(interactions=False)
    columns = 3  # of numbers
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        page.evaluate(COUNTED)
        live(page, why, entries=[entry(number) for number in range(MANY)])
        opening = work(page)
        assert opening["sorts"] == opening["scatters"] == opening["bins"] == 0
        page.evaluate("(one) => window.model.set('shown', one)", traits_of(why)["shown"])
        again = work(page)
        assert opening["pictures"] <= again["pictures"] + 1  # the first is painted no more often
        page.get_by_role("button", name="Table", exact=True).click()
        done = work(page)
        assert (done["scatters"], done["sorts"], done["pictures"]) == (1, 0, 0)
        assert done["bins"] == columns
        assert 10 < page.locator(".vx-table-rows .vx-table-row").count() < 40
        page.get_by_role("button", name="Mass").click()
        assert work(page)["sorts"] == 1
        page.locator(".vx-table-rows .vx-star").nth(2).click()
        assert work(page) == NOTHING
        page.locator(".vx-table-rows input").nth(3).click()
        done = work(page)
        assert (done["sorts"], done["scatters"], done["bins"]) == (0, 1, columns)
        page.locator(".vx-table-box").evaluate("(node) => { node.scrollTop = 200000; }")
        assert work(page) == NOTHING
        assert page.locator(".vx-table-rows .vx-table-row").count() < 40
        page.locator(".vx-table .vx-search").fill("What is 12")
        done = work(page)
        assert done["sorts"] <= 1
        assert done["scatters"] == 1
        page.get_by_role("button", name="By kind").click()
        assert work(page)["scatters"] == 0
        assert page.locator(".vx-slices tbody tr").count() == 2
        assert wrong == []


def test_the_header_keeps_the_focus_when_it_sorts(browser: Any) -> None:
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False, grid=3), entries=[entry(i) for i in range(5)])
        page.get_by_role("button", name="Table", exact=True).click()
        page.get_by_role("button", name="Mass").focus()
        for shown in ("Mass ↓", "Mass ↑", "Mass"):
            page.keyboard.press("Enter")
            assert page.evaluate("document.activeElement.textContent") == shown
        assert wrong == []
