"""The page of a run in a browser, and its report beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
from browser import opened_browser, watched_page

import vqa_explain as vx
from vqa_explain.viewer.export import page_of_payloads

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


@pytest.mark.parametrize("width", [1400, 320])
def test_a_run_opens_as_a_table_and_examples_without_an_explanation_say_what_is_known(
    run: vx.Report, tmp_path: Path, width: int
) -> None:
    address = run.to_viewer(tmp_path / "viewer.html").as_uri()
    kept = {shown.index for shown, _ in run.shown()}
    place = next(place for place in range(12) if place not in kept)
    listed = list(run.answered().to_dict("records"))
    size = {"width": width, "height": 900}
    with opened_browser() as browser, watched_page(browser, viewport=size) as (page, wrong):
        page.goto(f"{address}#example={place}")
        page.wait_for_selector(f'#viewer[data-ready="{place}"]')
        for _ in range(2):  # also where no explanation was on the screen before
            page.get_by_role("button", name="Table", exact=True).click()
            page.wait_for_function("document.querySelectorAll('.vx-asks').length === 12")
            page.get_by_role("button", name="Example", exact=True).click()
        assert page.get_by_role("button", name="Inside", exact=True).count() == 0
        assert page.locator(".vx-big bdi").inner_text() == str(listed[place]["predicted"])
        assert "not in this page" in page.locator(".vx-sentence").inner_text()
        asked = page.locator(".vx-stage").get_by_text(str(listed[place]["question"]))
        assert asked.first.is_visible()
        page.get_by_role("button", name="Table", exact=True).click()
        axes = [page.get_by_label(f"{axis} axis").input_value() for axis in "xy"]
        assert axes == ["confidence", "relevance_mass"]  # accuracy is 0 or 1
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []


def test_a_run_whose_first_example_is_not_explained_opens_as_a_table(
    run: vx.Report, tmp_path: Path
) -> None:
    text = run.to_viewer(tmp_path / "viewer.html").read_text()
    start = text.index('id="explanations">') + len('id="explanations">')
    told = json.loads(text[start : text.index("</script>", start)])
    told.sort(key=lambda one: "parts" in one)  # those with an explanation come last
    (tmp_path / "sorted.html").write_text(page_of_payloads(told, "run", ""))
    with opened_browser() as browser, watched_page(browser) as (page, wrong):
        page.goto((tmp_path / "sorted.html").as_uri())
        page.wait_for_selector("#viewer[data-ready]")
        page.wait_for_selector(".vx-table:not([hidden]) .vx-asks")
        assert wrong == []
