"""The page of a run in a browser, and its report beside it."""

from pathlib import Path
from typing import Any

import pytest
from browser import opened_browser, watched_page

import vqa_explain as vx

pytestmark = pytest.mark.slow  # each opens a page


@pytest.fixture(scope="module")
def run(scenes_model: Any, tmp_path_factory: Any) -> vx.Report:
    folder = tmp_path_factory.mktemp("run") / "run"
    metrics = ["accuracy", "relevance_mass"]
    return vx.evaluate(
        scenes_model, vx.load_dataset("scenes:test"), ["saliency"], metrics, folder, limit=12,
        workers=1,
    )  # fmt: skip


@pytest.mark.parametrize(("width", "scheme"), [(1400, "light"), (400, "dark")])
def test_a_card_opens_its_example_in_the_viewers_page(
    run: vx.Report, tmp_path: Path, width: int, scheme: Any
) -> None:
    run.to_viewer(tmp_path / "viewer.html")
    address = run.to_html(tmp_path / "report.html").as_uri()
    size = {"width": width, "height": 900}
    with (
        opened_browser() as browser,
        watched_page(browser, viewport=size, color_scheme=scheme) as (page, wrong),
    ):
        for place, (shown, why) in list(enumerate(run.shown()))[::8]:
            page.goto(address)
            page.get_by_role("link", name="Open in the viewer").nth(place).click()
            page.wait_for_selector(f'#viewer[data-ready="{shown.index}"]')
            assert page.locator(".vx-entry[aria-current] .vx-asked").inner_text() == why.question
            assert page.locator(".vx-answers").get_by_text(why.target).count() > 0
        page.goto(address)
        page.get_by_role("link", name="Open in the viewer").last.scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []
