"""Where things stand on the exported page and in the live viewer, at every width, in both themes."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several
from browser import add_column, opened_browser, watched_page
from building import replaced
from live_page import listed, live, messages, sent_of
from pages import MAP, at_region, box_of, made, number, opened
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart
from vqa_explain.target import Answer
from vqa_explain.viewer.payload import packed, preview

pytestmark = pytest.mark.slow  # each opens a browser; test_page has what is fast

WIDTHS = (1400, 1000, 600, 320)
LONG = " ".join(["What color is the large circle that is left of the small star"] * 4) + "?"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened_one:
        yield opened_one


def is_sideways(page: Page) -> bool:
    return bool(page.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("wide", WIDTHS)
def test_nothing_scrolls_sideways(browser: Any, tmp_path: Path, wide: int, scheme: str) -> None:
    explained = [made(interactions=False), made(LONG, grid=14, size=(60, 180), seed=1)]
    with watched_page(browser, color_scheme=scheme, viewport={"width": wide, "height": 900}) as (
        page,
        wrong,
    ):
        opened(page, tmp_path / "a.html", explained)
        assert not is_sideways(page)
        page.locator(".vx-entry").nth(1).click()
        page.wait_for_selector('#viewer[data-ready="1"]')
        page.locator('[data-word="3"]').click()  # pins it
        assert not is_sideways(page)
        add_column(page, 0)
        page.wait_for_selector("[data-column=compared]")
        assert not is_sideways(page)
        assert wrong == []


@pytest.mark.parametrize("size", [(60, 60), (90, 60), (60, 90)])
def test_all_of_an_explanation_is_in_view_at_1400_by_900(
    browser: Any, tmp_path: Path, size: tuple[int, int]
) -> None:
    """Line, words, map, picture, legend, ranges, answers, parts and facts; and the maps are large."""
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(interactions=False, size=size)])
        seen = ".vx-first, .vx-question, .vx-pic, .vx-legend, .vx-lengths, .vx-answers, .vx-ranked"
        for node in page.locator(f"{seen}, .vx-facts:visible").all():
            box = box_of(node)
            assert box["y"] >= 0
            assert box["y"] + box["height"] <= 900
        first, second = (box_of(node) for node in page.locator(".vx-pic").all())
        assert first["y"] == second["y"]
        assert first["width"] == second["width"]
        assert max(first["width"], first["height"]) >= 320
        assert first["x"] + first["width"] <= second["x"]
        assert wrong == []


def test_one_column_below_640_pixels(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser, viewport={"width": 420, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(interactions=False)])
        assert page.locator(".vx-pic:visible").count() == 1
        map_box = box_of(page.locator(".vx-pic:visible"))
        assert box_of(page.locator(".vx-answers"))["y"] > map_box["y"] + map_box["height"]
        page.get_by_role("group", name="show").locator("visible=true").first.get_by_text(
            "Picture"
        ).click()
        assert page.locator(".vx-pic:visible canvas").get_attribute("aria-label") == "picture"
        assert wrong == []


PLACES = """() => Object.fromEntries(
  [".vx-question", ".vx-map .vx-canvas", ".vx-legend", ".vx-lengths", ".vx-ranked", ".vx-keys"].map((one) => {
    const { x, y, width, height } = document.querySelector(one).getBoundingClientRect();
    return [one, [x, y, width, height].map(Math.round)];
  }))"""


def test_nothing_moves_between_states(browser: Any) -> None:
    """Pointing, pinning, hiding small values, what-ifs before and after their answer."""
    why = made()
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, why)
        places = page.evaluate(PLACES)

        def unmoved() -> bool:
            return bool(page.evaluate(PLACES) == places)

        at_region(page, page.locator(MAP), why, 7)
        assert unmoved()
        page.locator('[data-word="1"]').click()
        assert unmoved()
        page.locator(".vx-cap").get_by_role("button", name="Take away").click()
        assert unmoved()
        message = messages(page, "whatif")[-1]
        found = {"answers": [{"text": "blue", "probability": 0.5, "index": 1}], "change": -1.0}
        put("whatif", {"serial": message["serial"], **found, "predicted": -0.5, "fills": "mask"})
        assert unmoved()
        for name in ("Only what counts", "Values", "Matrix", "One scale"):
            page.get_by_role("button", name=name).click()
            assert unmoved(), name
        assert wrong == []


def test_only_what_counts_keeps_the_color_of_those_regions_alone(
    browser: Any, tmp_path: Path
) -> None:
    why = made(interactions=False)
    color = """([x, y]) => { const c = document.querySelector('.vx-second .vx-canvas');
      const [r, g, b] = c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data;
      return Math.max(r, g, b) - Math.min(r, g, b); }"""
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        page.get_by_role("button", name="Only what counts").click()
        for region in why.regions:
            left, top, right, bottom = region.box
            points = [
                [(x + 0.5) / 60, (y + 0.5) / 60]
                for x in range(left, right, 3)
                for y in range(top, bottom, 3)
            ]
            strongest = max(page.evaluate(color, point) for point in points)
            # The picture is noise, so that every region has some color in it.
            assert (strongest > 60) == (region.value > 2 * (region.error or 0))
        assert wrong == []


def test_a_value_within_two_errors_is_hatched_and_has_no_color(
    browser: Any, tmp_path: Path
) -> None:
    why = made(interactions=False)
    part = why.parts[0]
    assert isinstance(part, PicturePart)
    regions = [dataclasses.replace(one, error=0.01) for one in why.regions]
    regions[7] = dataclasses.replace(regions[7], value=5.0, error=2.6)
    unsure = dataclasses.replace(
        why, parts=(dataclasses.replace(part, regions=tuple(regions)), why.parts[1])
    )
    grayness = """([x, y, w, h]) => { const c = document.querySelector('.vx-map .vx-canvas');
      const data = c.getContext('2d').getImageData(x * c.width, y * c.height, w * c.width, h * c.height).data;
      const seen = new Set(); let most = 0;
      for (let i = 0; i < data.length; i += 4) {
        most = Math.max(most, Math.abs(data[i] - data[i + 2]));
        seen.add(data[i]);
      }
      return [most, seen.size]; }"""
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [unsure])
        left, top, right, bottom = (side / 60 for side in unsure.regions[7].box)
        inner = [left + 0.03, top + 0.03, right - left - 0.06, bottom - top - 0.06]
        colored, _ = page.evaluate(grayness, inner)
        assert colored <= 2
        assert "within 2 standard errors of zero" in page.locator(".vx-legend").inner_text()
        row = page.locator(".vx-rank", has_text="upper left (7)")
        assert "vx-unsure" in (row.get_attribute("class") or "")
        at_region(page, page.locator(MAP), unsure, 7)
        assert "cannot be told from zero" in page.locator(".vx-said").inner_text()
        assert wrong == []


def test_the_threshold_is_moved_by_keys_and_says_its_value(browser: Any, tmp_path: Path) -> None:
    why = made(interactions=False)
    full = max(abs(region.value) for region in why.regions)
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        slider = page.get_by_role("slider", name="Hide values below")
        slider.focus()
        for _ in range(4):
            page.keyboard.press("ArrowRight")
        said = page.locator(".vx-legend").inner_text()
        assert "hidden below" in said
        value = number(said.split("hidden below ")[1].split("\n")[0])
        assert value == pytest.approx(0.2 * full, abs=6e-3)
        page.keyboard.press("Home")
        assert "hidden below" not in page.locator(".vx-legend").inner_text()
        assert wrong == []


def test_keys_of_the_page_go_through_examples_and_show_the_picture(
    browser: Any, tmp_path: Path
) -> None:
    explained = [made(interactions=False), made(interactions=False, seed=1)]
    picture = f"() => document.querySelector('{MAP}').toDataURL()"
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", explained)
        page.keyboard.press("j")
        page.wait_for_selector('#viewer[data-ready="1"]')
        page.keyboard.press("k")
        page.wait_for_selector('#viewer[data-ready="0"]')
        drawn = page.evaluate(picture)
        page.locator(MAP).focus()
        page.keyboard.down("Space")
        assert page.evaluate(picture) != drawn
        page.keyboard.up("Space")
        assert page.evaluate(picture) == drawn
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        assert page.get_by_role("dialog").is_hidden()
        assert wrong == []


def test_lists_have_one_tab_stop_each(browser: Any, tmp_path: Path) -> None:
    explained = [made(interactions=False), made(interactions=False, seed=1)]
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", explained)
        for kind in (".vx-entry", ".vx-question .vx-word"):
            stops = page.locator(f'{kind}[tabindex="0"]')
            assert stops.count() == 1
            stops.focus()
            page.keyboard.press("ArrowRight")
            second = page.locator(kind).nth(1)
            assert second.evaluate("node => node === document.activeElement && node.tabIndex === 0")
            assert stops.count() == 1
        assert wrong == []


def test_a_page_catches_no_keys_outside_of_the_viewer(browser: Any) -> None:
    """Nor those with Ctrl inside; all others end in it, also before listeners of the capture phase."""
    with watched_page(browser) as (page, wrong):
        live(page, made(interactions=False))
        page.evaluate(
            "window.heard = []; document.addEventListener('keydown', (e) => heard.push(e.key), true)"
        )
        page.locator(MAP).focus()
        for key in ("b", "d", "x", "m", "ArrowDown", "Enter"):
            page.keyboard.press(key)
        assert page.evaluate("heard") == []
        page.keyboard.press("Control+s")
        assert "s" in page.evaluate("heard")
        page.evaluate("document.activeElement.blur(); heard.length = 0")
        page.keyboard.press("b")
        assert page.evaluate("heard") == ["b"]
        assert wrong == []


def test_a_clause_takes_its_parts_away(browser: Any) -> None:
    why = made(interactions=False)
    with watched_page(browser) as (page, wrong):
        live(page, why)
        clause = page.locator(".vx-clause").first
        name = clause.inner_text()
        clause.click()
        message = messages(page, "whatif")[-1]
        best = max(
            (player.value, part.name, index)
            for part in why.parts
            for index, player in enumerate(part.players)
        )
        assert message["away"] == {best[1]: [best[2]]}
        assert name
        assert wrong == []


def line_of(alone: str, without: str) -> dict[str, Any]:
    return {
        "members": {"question": [1]},
        "alone": {"answer": alone, "probability": 0.66},
        "missing": {"question": [1]},
        "without": {"answer": without, "probability": 0.97},
        "blind": {"name": "picture", "answer": "red", "probability": 0.7},
    }


@pytest.mark.parametrize(
    ("alone", "without", "because"),
    [("red", "blue", True), ("red", "red", False), ("blue", "blue", False)],
)
def test_because_is_said_only_where_it_was_measured(
    browser: Any, alone: str, without: str, because: bool
) -> None:
    why: vx.Explanation = made(interactions=False)
    with watched_page(browser) as (page, wrong):
        put = live(page, why)
        put("shown", {**sent_of(why, "second"), "line": line_of(alone, without)})
        said = page.locator(".vx-sentence").inner_text()
        assert ("because" in said) == because
        assert f"{alone} (66%)" in said
        assert f"answers {without} (97.0%)" in said
        assert ("still answers" in said) == (without == "red")
        assert "still answers red (70%)" in page.locator(".vx-facts").first.inner_text()
        assert wrong == []


def test_an_example_is_seen_before_it_is_explained(browser: Any) -> None:
    """Its picture, its question and its answers at once, without a value of the last one."""
    why = made(interactions=False)
    asked = vx.Example(255 - why.picture, "Is it blue?", answer="no")
    answers = [Answer("yes", 0.8, 4), Answer("no", 0.2, 5)]
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, why)
        places = page.evaluate(PLACES)
        page.evaluate(
            "window.model.set('pending', {index: 1, state: 'running', comparison: false})"
        )
        assert page.locator(".vx-stage").evaluate("node => node.matches('.vx-old')")
        page.evaluate("window.model.set('selected', 1)")
        put("preview", {"index": 1, **preview(asked, answers, packed)})
        assert page.locator(".vx-question").inner_text() == "Is it blue?"
        assert page.locator(".vx-big").inner_text() == "yes80%"
        assert "✗ the true answer is no" in page.locator(".vx-first").inner_text()
        assert page.locator(".vx-answer").all_inner_texts() == ["yes", "no ✓"]
        assert page.locator(".vx-rank").count() == 0
        assert not page.locator(".vx-stage").evaluate("node => node.matches('.vx-old')")
        assert page.locator(".vx-busy").is_visible()
        after = page.evaluate(PLACES)
        assert after[".vx-map .vx-canvas"] == places[".vx-map .vx-canvas"]
        page.evaluate("window.model.set('preview', {}); window.model.set('pending', {})")
        put("shown", sent_of(why, "again"))
        assert page.locator(".vx-word").count() == len(why.words)
        assert page.evaluate(PLACES) == places
        assert wrong == []


def test_what_runs_says_how_long_and_is_cancelled_from_the_stage(browser: Any) -> None:
    """Also where there is one example, and so no list."""
    pending = {"index": 0, "state": "running", "message": "", "comparison": False}
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        live(page, made(interactions=False, grid=3), entries=[listed(0, state="running")])
        places = page.evaluate(PLACES)
        page.evaluate("(one) => window.model.set('pending', one)", pending)
        busy = page.locator(".vx-busy")
        for done in (100, 200):
            told = f"{{index: 0, done: {done}, total: 4000}}"
            page.evaluate(f"() => window.model.set('progress', {told})")
            busy.get_by_text(f"{done} of 4,000 calls of the model").wait_for()
        assert busy.inner_text().splitlines()[0].endswith(" left")
        assert page.evaluate(PLACES) == places
        assert busy.get_by_role("button", name="Cancel all").is_hidden()
        busy.get_by_role("button", name="Cancel", exact=True).click()
        assert messages(page, "cancel")[-1]["index"] == 0
        more = [listed(number, state=state) for number, state in enumerate(("running", "waiting"))]
        page.evaluate("(more) => window.model.set('entries', more)", more)
        busy.get_by_role("button", name="Cancel all").click()
        assert len(messages(page, "cancel all")) == 1
        page.evaluate("window.model.set('pending', {})")
        busy.wait_for(state="hidden")
        assert page.evaluate("document.activeElement !== document.body")
        assert wrong == []


def test_a_clause_of_a_page_stays_marked_until_it_is_freed(browser: Any, tmp_path: Path) -> None:
    why = made(interactions=False)
    marked = "document.querySelectorAll('.vx-hot[d^=M], .vx-word.vx-focused').length"
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        assert page.evaluate(marked) == 0
        page.locator(".vx-clause").first.hover()
        assert page.evaluate(marked) > 0
        page.mouse.move(0, 0)
        assert page.evaluate(marked) == 0
        page.locator(".vx-clause").first.click()
        page.mouse.move(0, 0)
        assert page.evaluate(marked) > 0
        page.keyboard.press("Escape")
        assert page.evaluate(marked) == 0
        assert wrong == []


def test_lines_run_from_a_pinned_word_and_are_dashed_where_unsure(
    browser: Any, tmp_path: Path
) -> None:
    why = made()
    values = np.zeros((len(why.words), len(why.regions)))
    values[1, 7], values[1, 22], values[1, 30] = 2.0, -1.0, 0.5
    errors = np.full_like(values, 0.1)
    errors[1, 30] = 1.0
    paired = replaced(why, interactions=values, interaction_errors=errors)
    drawn = """[...document.querySelectorAll('.vx-lines path:not(.vx-halo, .vx-way)')].map((one) =>
      [Number.parseFloat(one.style.strokeWidth), one.style.strokeDasharray !== 'none'])"""
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [paired])
        assert page.evaluate(drawn) == []
        page.locator('[data-word="1"]').click()
        page.mouse.move(0, 0)
        lines = page.evaluate(drawn)
        assert [dashed for _, dashed in lines] == [True, False, False]
        widths = [wide for wide, dashed in lines if not dashed]
        assert widths == pytest.approx([1.2 + 5.5 / 2, 1.2 + 5.5], abs=0.01)
        assert "works together with" in page.locator(".vx-sentence").inner_text()
        assert page.get_by_role("button", name="Matrix").get_attribute("aria-pressed") == "true"
        page.keyboard.press("Escape")
        assert page.evaluate(drawn) == []
        assert wrong == []


SIZES = {
    "landscape": [(80, 120), (70, 120)],
    "one upright": [(80, 120), (100, 70)],
    "upright": [(120, 80), (120, 90)],
    "panorama": [(40, 160), (80, 120)],
}


@pytest.mark.parametrize("kind", SIZES)
def test_several_pictures_are_large_and_in_view(browser: Any, tmp_path: Path, kind: str) -> None:
    """Words, maps and answers at 1400 × 900, and the pictures where they are not upright with others."""
    parts = [several.picture(f"image {i}", i, size=size) for i, size in enumerate(SIZES[kind])]
    why = several.explanation(*parts, several.text("question", "Which picture is older?", 3))
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        boxes = [box_of(one) for one in page.locator(".vx-pic:visible").all()]
        assert len(boxes) == 4
        assert min(max(box["width"], box["height"]) for box in boxes) >= 320
        seen = boxes[:2] if kind == "one upright" else boxes
        seen += [box_of(page.locator(one)) for one in (".vx-question", ".vx-answers")]
        assert max(box["y"] + box["height"] for box in seen) <= 900
        for wide in (1000, 600, 320):
            page.set_viewport_size({"width": wide, "height": 900})
            assert not is_sideways(page)
        assert wrong == []


def test_the_true_region_is_offered_where_there_is_one(browser: Any) -> None:
    def with_truth(truth: Any) -> Any:
        one = sent_of(made(), f"truth {truth is not None}")
        next(part for part in one["parts"] if "size" in part)["truth"] = truth
        return one

    known = packed(np.pad(np.ones((20, 20), np.uint8), 20))
    with watched_page(browser, viewport={"width": 1400, "height": 900}) as (page, wrong):
        put = live(page, made())
        page.locator("summary", has_text="View").click()
        for truth in (None, known, None):
            put("shown", with_truth(truth))
            assert page.get_by_label("true region").is_visible() == (truth is not None)
        assert wrong == []
