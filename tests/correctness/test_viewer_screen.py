"""What the viewer draws and asks for, in a real browser,
with a kernel whose every message is seen.
"""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import replaced

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel
from vqa_explain.target import Answer
from vqa_explain.viewer.export import page as page_of

sys.path.insert(0, str(Path(__file__).parent.parent / "viewer"))
from browser import add_column, keep_screenshot, opened_browser, watched_page
from live_page import SET, live, messages, sent_of
from pages import made


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.parametrize(
    ("row", "button"), [(0, ".vx-answer"), (1, ".vx-answer"), (1, ".vx-why"), (2, ".vx-why")]
)
@pytest.mark.slow
def test_a_click_sends_the_number_of_the_answer_and_the_explanation_it_is_of(
    browser: Any, row: int, button: str
) -> None:
    answers = (Answer("crane", 0.5, 7), Answer("crane", 0.3, 4), Answer("dog", 0.2, 0))
    why = replaced(made(), answers=answers, target="crane", target_index=7)
    with watched_page(browser) as (page, wrong):
        live(page, why)
        rows = page.locator(".vx-row")
        assert rows.nth(0).inner_text().startswith("crane (label 7)")
        assert rows.nth(1).inner_text().startswith("crane (label 4)")
        assert rows.nth(2).inner_text().startswith("dog")
        assert [
            rows.nth(i).locator(".vx-answer").get_attribute("aria-pressed") for i in range(3)
        ] == [
            "true",
            "false",
            "false",
        ]
        rows.nth(row).locator(button).click()
        (message,) = messages(page, "target")
        index = answers[row].index
        expected = (index, None) if button == ".vx-answer" else (7, index)
        assert (message["target"], message["contrast"]) == expected
        assert message["explanation"] == "first"
        assert wrong == []


@pytest.mark.slow
def test_a_what_if_is_asked_about_what_is_on_the_screen(browser: Any) -> None:
    why = made(interactions=False)
    with watched_page(browser) as (page, wrong):
        put = live(page, why)
        page.locator('[data-word="1"]').click()
        put("selected", 1)  # another example is chosen and not shown yet
        message = messages(page, "whatif")[-1]
        assert (message["away"], message["explanation"]) == ({"question": [1]}, "first")
        found = {
            "answers": [{"text": "red", "probability": 0.5}],
            "change": -0.174,
            "predicted": 1.012,
        }
        put(
            "whatif",
            {"serial": message["serial"], **found, "fills": "regions: constant; words: mask"},
        )
        text = page.locator(".vx-change").inner_text()
        assert text.startswith("Change of logit of “red”")
        assert "measured −0.17" in text
        assert "predicted +1.01 ± 0.01" in text
        assert "regions: constant" in page.locator(".vx-whatif").inner_text()
        line = page.locator(".vx-first").inner_text()
        assert "still answers" in line
        assert "fell by 0.17 points of logit" in line
        assert wrong == []


@pytest.mark.slow
def test_a_late_answer_is_not_shown_beside_another_example(browser: Any) -> None:
    why = made(interactions=False)
    # The same question.
    other = replaced(
        made(seed=3, interactions=False), picture=np.zeros((60, 60, 3), dtype=np.uint8)
    )
    with watched_page(browser) as (page, wrong):
        put = live(page, why)
        page.locator('[data-word="1"]').click()
        message = messages(page, "whatif")[-1]
        put("shown", sent_of(other, "second"))
        put("whatif", {"serial": message["serial"], "answers": [], "change": 1.0, "predicted": 1.0})
        assert page.locator(".vx-change").count() == 0
        assert page.locator(".vx-dropped").count() == 0
        assert wrong == []


@pytest.mark.slow
def test_what_is_taken_away_is_asked_anew_about_another_explanation_of_the_example(
    browser: Any,
) -> None:
    why = made(interactions=False)
    with watched_page(browser) as (page, wrong):
        put = live(page, why)
        page.locator('[data-word="1"]').click()
        first = messages(page, "whatif")[-1]
        put(
            "shown",
            sent_of(
                replaced(made(seed=3, interactions=False), method="saliency", unit="gradient size"),
                "second",
            ),
        )
        again = messages(page, "whatif", 2)[-1]
        assert page.locator(".vx-dropped").count() == 1
        assert (again["explanation"], again["away"]) == ("second", {"question": [1]})
        assert again["serial"] != first["serial"]
        found = {
            "answers": [],
            "change": 0.5,
            "predicted": None,
            "fills": "regions: blur; words: mask",
        }
        put("whatif", {"serial": again["serial"], **found})
        assert "Values in gradient size predict none" in page.locator(".vx-whatif").inner_text()
        assert "predicted" not in page.locator(".vx-change").inner_text()
        assert wrong == []


@pytest.mark.slow
def test_two_views_do_not_take_each_others_answers(browser: Any) -> None:
    with watched_page(browser) as (page, wrong):
        put = live(page, made(interactions=False), views=2)
        page.wait_for_function("document.querySelectorAll('[data-ready]').length === 2")
        page.locator(".view").nth(0).locator('[data-word="1"]').click()  # both show it as away
        one, other = messages(page, "whatif", 2)
        assert one["serial"] != other["serial"]
        put("whatif", {"serial": one["serial"], "answers": [], "change": 1.0, "predicted": 1.0})
        changes = [page.locator(".view").nth(i).locator(".vx-change").count() for i in (0, 1)]
        assert sorted(changes) == [0, 1]
        assert wrong == []


@pytest.mark.slow
def test_pairs_within_their_errors_are_hatched_and_named_with_them(browser: Any) -> None:
    why = made()
    values = np.zeros_like(why.interactions)
    values[1, 7], values[1, 8] = 2.0, 1.5
    errors = np.full_like(values, 0.1)
    errors[1, 8] = 1.0
    why = replaced(why, interactions=values, interaction_errors=errors, parameters={"budget": 500})
    pixel = """([x, y]) => { const c = document.querySelector('.vx-map .vx-canvas');
      return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 20, 20).data]; }"""
    with watched_page(browser) as (page, wrong):
        live(page, why)
        page.locator('[data-word="1"]').hover()
        said = page.locator(".vx-said").inner_text()
        assert "works most with upper left (7) (+2.0 ± 0.1)" in said
        seen = {}
        for region in (7, 8):
            left, top, _, _ = why.regions[region].box
            data = np.array(page.evaluate(pixel, [(left + 2) / 60, (top + 2) / 60])).reshape(-1, 4)
            seen[region] = float((data[:, 0] - data[:, 2]).mean())  # red above blue
        assert seen[7] > 40
        assert abs(seen[8]) < 5
        assert "within 2 standard errors" in page.locator(".vx-legend").first.inner_text()
        page.locator('[data-word="0"]').hover()
        assert (
            "no pair with it is beyond 2 standard errors" in page.locator(".vx-said").inner_text()
        )
        note = page.locator(".vx-pairs").inner_text()
        assert note == f"Words × regions: {why.findings()[1]}."
        keep_screenshot(page, "pairs")
        assert wrong == []


UNSIGNED = {
    "method": "saliency",
    "unit": "gradient size",
    "interactions": None,
    "interaction_errors": None,
}
POSITIVE = [abs(v) + 0.1 for v in np.random.default_rng(6).normal(size=36)]


def positive(why: vx.Explanation) -> vx.Explanation:
    """The explanation with sizes in place of signed values."""
    regions = tuple(type(r)(r.box, v, None) for r, v in zip(why.regions, POSITIVE, strict=True))
    words = tuple(type(w)(w.text, w.start, w.end, abs(w.value), None) for w in why.words)
    return replaced(why, regions=regions, words=words, **UNSIGNED)


@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda why: replaced(why, method="lime"), None),
        (lambda why: replaced(why, picture=255 - why.picture), "different pictures"),
        (lambda why: replaced(why, target="blue"), "different answers"),
        (lambda why: replaced(why, contrast="blue"), "different answers"),
        (lambda why: replaced(why, target_index=5), "different answers"),
        (lambda why: replaced(why, score="probability"), "different scores"),
        (positive, "values of two signs and the other only sizes"),
        (lambda why: replaced(why, method="rise", unit="mean score"), "different units"),
    ],
)
@pytest.mark.slow
def test_each_map_has_its_own_legend_and_what_has_no_meaning_is_refused(
    browser: Any, tmp_path: Path, change: Any, refused: str | None
) -> None:
    one = replaced(made(), target_index=0)
    other = change(replaced(made(seed=1), target_index=0))
    (tmp_path / "a.html").write_text(page_of([one, other]))
    with watched_page(browser) as (page, wrong):
        page.goto((tmp_path / "a.html").as_uri())
        page.wait_for_selector("[data-ready]")
        add_column(page, 1)
        page.wait_for_selector("[data-column=compared]")
        agreement = page.locator(".vx-agreement").inner_text()
        legends = page.locator(".vx-col .vx-legend").all_inner_texts()
        assert ("Rank correlation" in agreement) == (refused is None)
        assert page.locator(".vx-col").count() == len(legends) == (3 if refused is None else 2)
        if refused:
            assert refused in agreement
        for why, legend in zip((one, other), legends, strict=False):
            two_sided = why.values_unit.two_sided
            top = re.search(r"\+?([\d.]+) \+ for" if two_sided else r"\n([\d.]+)\n", legend)
            assert top is not None, legend
            if why.values_unit.from_zero:
                largest = max(abs(region.value) for region in why.regions)
                assert float(top[1]) == pytest.approx(largest, abs=5.1e-3)
            unit = "points of logit" if why.values_unit.adds_up else why.unit
            assert unit in legend.replace("points of probability", "points of logit")
            assert legend.startswith("0\n") == (not why.values_unit.signed)
        assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("mixed", [False, True])
def test_the_page_says_one_scale_only_where_it_holds(
    browser: Any, tmp_path: Path, mixed: bool
) -> None:
    explained = [made(), positive(made(seed=1))] if mixed else [made()]
    (tmp_path / "a.html").write_text(page_of(explained))
    with watched_page(browser) as (page, wrong):
        page.goto((tmp_path / "a.html").as_uri())
        page.wait_for_selector("[data-ready]")
        text = page.locator("main > p").inner_text()
        assert ("are in one unit" in text) == (not mixed)
        if mixed:
            page.locator(".vx-entry").nth(1).click()
            page.wait_for_selector('[data-ready="1"]')
            page.locator('[data-word="0"]').hover()
            assert "gradient size" in page.locator(".vx-said").inner_text()
            assert "points" not in page.locator(".vx-body").inner_text()
            assert "+" not in page.locator(".vx-question").inner_text()
            assert "cannot be compared" in page.locator(".vx-facts").first.inner_text()
            assert page.get_by_role("button", name="One scale").is_hidden()
        assert wrong == []


@pytest.mark.slow
def test_what_python_sends_is_json(scenes_model: ViltModel) -> None:
    why = vx.explain(scenes_model, vx.load_dataset("scenes:test")[0], method="attention")
    json.dumps(sent_of(why, "a"), allow_nan=False)


@pytest.mark.slow
def test_changes_of_the_list_are_heard_one_by_one_and_not_sent_back(browser: Any) -> None:
    with watched_page(browser) as (page, wrong):
        live(page, made())
        asked = "window.sent.map((one) => one.action).filter((one) => one !== 'thumbnails')"
        assert page.evaluate(asked) == ["hello"]
        entry = {"title": "three", "state": "done", "answer": "red", "correct": True}
        page.evaluate("(entry) => window.model.hear({ entries: [[2, entry]] })", entry)
        page.wait_for_function("document.querySelectorAll('.vx-entry').length === 3")
        assert "three" in page.locator(".vx-entry").nth(2).inner_text()
        states = page.evaluate("window.model.get('entries').map((one) => one.title)")
        assert states == ["one", "one", "three"]
        assert page.evaluate(asked) == ["hello"]
        # Of what came while nobody listened: the whole list is asked for, once.
        late = [[number, {**entry, "title": f"late {number}"}] for number in (4, 5)]
        hear_each = "(all) => all.forEach((one) => window.model.hear({ entries: [one] }))"
        page.evaluate(hear_each, late)
        assert page.evaluate(asked) == ["hello", "hello"]
        whole = [{**entry, "title": f"all {number}"} for number in range(6)]
        page.evaluate("(all) => window.model.set('entries', all)", whole)
        page.wait_for_function("document.querySelectorAll('.vx-entry').length === 6")
        assert "all 3" in page.locator(".vx-entry").nth(3).inner_text()
        assert wrong == []


@pytest.mark.slow
def test_without_a_kernel_the_screen_says_so_and_is_dimmed(browser: Any) -> None:
    """A view says hello when it opens; in a notebook that is opened again nobody hears it."""
    with watched_page(browser) as (page, wrong):
        live(page, made(), is_there=False)
        page.wait_for_selector('[data-stale="true"]', timeout=60_000)
        assert "The kernel does not answer" in page.locator(".vx-problem").inner_text()
        dimmed = "getComputedStyle(document.querySelector('.vx-panes')).opacity"
        assert float(page.evaluate(dimmed)) < 1
        page.evaluate(SET, ["heard", 1])
        page.wait_for_selector('[data-stale="false"]')
        assert wrong == []
