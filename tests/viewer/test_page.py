"""The exported page in a real browser: what is drawn and said, against the Python values."""

import dataclasses
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import add_column, axe_problems, opened_browser, watched_page
from building import replaced
from pages import MAP, at_region, box_of, made, matched, number, opened, pairs_of, said
from playwright.sync_api import Page

import vqa_explain as vx
from vqa_explain.features.parts import RegionValue
from vqa_explain.models.vilt import ViltModel
from vqa_explain.target import Answer
from vqa_explain.viewer.export import page as page_of

HOSTILE = [
    "<script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=\'owned\'">',
    "\u202eright to left\u202c and </script><script>document.title='owned'</script>",
    "x" * 10_000,
    "ما لون الدائرة؟",
    "]]>--><!-- \u2028 \x00 ${alert(1)} `",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.mark.slow
def test_pointing_says_the_values_of_python(browser: Any, tmp_path: Path) -> None:
    why = made()
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        canvas = page.locator(MAP)
        for region in (0, 7, 35):
            at_region(page, canvas, why, region)
            found = matched(
                r"^[a-z ]+ \((\d+)\): ([+−][\d.e-]+) ± ([\d.]+) points of logit, (for|against) red",
                said(page),
            )
            assert int(found[1]) == region
            assert number(found[2]) == pytest.approx(why.regions[region].value, abs=5.1e-3)
            assert (found[4] == "for") == (why.regions[region].value > 0)
            assert number(found[3]) == pytest.approx(0.02)
            best = int(np.abs(pairs_of(why)[:, region]).argmax())
            assert f"works most with “{why.words[best].text}”" in said(page)
        for index, word in enumerate(why.words):
            page.locator(f'[data-word="{index}"]').hover()
            assert f"“{word.text}”: " in said(page)
            best = int(np.abs(pairs_of(why)[index]).argmax())
            assert re.search(rf"works most with [a-z ]+ \({best}\) \(", said(page))
        assert wrong == []


@pytest.mark.slow
def test_a_number_that_is_explained_is_called_no_answer(
    browser: Any, tmp_path: Path, scenes_model: ViltModel, scene: vx.Example
) -> None:
    unit = vx.Unit("vilt.encoder.layer.3", 17)
    why = vx.explain(scenes_model, scene, target=unit, method="input_x_gradient")
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        text = page.locator(".vx-root").inner_text()
        assert f"The value of\n{why.target}" in text
        assert f"{why.answers[0].value:.4g}" in text
        assert "lowers it" in text
        assert "raises it" in text
        for said_of_answers in ("It answers", "rather than", "against", f"for {why.target}"):
            assert said_of_answers not in text
        page.locator('[data-word="1"]').hover()
        assert re.search(r"(raises|lowers) it|cannot be told", said(page))
        assert wrong == []


def test_pointing_at_a_word_draws_the_regions_that_it_works_with(
    browser: Any, tmp_path: Path
) -> None:
    why = made()
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        word = int(np.abs(pairs_of(why)).max(axis=1).argmax())
        page.locator(f'[data-word="{word}"]').hover()
        pixel = """([x, y]) => { const c = document.querySelector('.vx-map .vx-canvas');
          return [...c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data]; }"""
        for region in np.argsort(-np.abs(pairs_of(why)[word]))[:3]:
            left, top, right, bottom = why.regions[region].box
            red, _, blue, _ = page.evaluate(pixel, [(left + right) / 120, (top + bottom) / 120])
            assert (red > blue) == (pairs_of(why)[word, region] > 0)
        assert wrong == []


@pytest.mark.slow
def test_keys_reach_every_region_word_and_view(browser: Any, tmp_path: Path) -> None:
    why = made()
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        canvas = page.locator(MAP)
        canvas.focus()
        for key, region in (
            ("ArrowRight", 0),
            ("ArrowRight", 1),
            ("ArrowDown", 7),
            ("ArrowLeft", 6),
            ("ArrowUp", 0),
        ):
            page.keyboard.press(key)
            assert f"({region}):" in said(page)
        page.keyboard.press("+")
        page.keyboard.press("0")
        page.keyboard.press("Escape")
        assert said(page).startswith("Wider line")
        page.locator('[data-word="0"]').focus()
        assert said(page).startswith("“What”")
        assert wrong == []


@pytest.mark.slow
def test_drawing_controls_change_the_picture(browser: Any, tmp_path: Path) -> None:
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [made()])
        picture = "() => document.querySelector('.vx-map .vx-canvas').toDataURL()"
        seen = [page.evaluate(picture)]
        slider = page.get_by_role("slider", name="Hide values below")
        box = box_of(slider)
        page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + 10)
        assert "hidden below" in page.locator(".vx-legend").inner_text()
        seen.append(page.evaluate(picture))
        page.locator(".vx-view-menu").click()
        page.get_by_label("opacity").fill("0.2")
        seen.append(page.evaluate(picture))
        page.get_by_label("colors").select_option("red-blue")
        seen.append(page.evaluate(picture))
        page.get_by_label("zoom in").click()
        seen.append(page.evaluate(picture))
        assert len(set(seen)) == len(seen)
        page.get_by_label("whole picture").click()
        assert page.evaluate(picture) == seen[3]
        assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_notes_are_on_the_screen_with_those_of_a_compared_one(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    one, other = (
        replaced(made(seed=i), notes=notes) for i, notes in enumerate([(), ("it is <b>0</b>",)])
    )
    one = replaced(one, padding=0.125, answer_without_inputs="blue")
    with watched_page(browser, color_scheme=scheme) as (page, wrong):
        opened(page, tmp_path / "a.html", [one, other])
        notes = page.get_by_role("note")
        assert notes.count() == 0
        assert "On padding around the picture: 13% of its values." in (
            page.locator(".vx-details").text_content() or ""
        )
        assert "the model answers “blue”." in (page.locator(".vx-details").text_content() or "")
        add_column(page, 1)
        page.wait_for_selector(".vx-notes:not([hidden])")
        assert notes.inner_text() == "Compared explanation: it is <b>0</b>."
        page.locator(".vx-entry").nth(1).click()
        page.wait_for_selector('#viewer[data-ready="1"]')
        assert notes.inner_text().startswith("It is <b>0</b>.")
        assert wrong == []


@pytest.mark.slow
def test_two_explanations_are_compared(browser: Any, tmp_path: Path) -> None:
    one, other = made(), made(seed=1)
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [one, other])
        add_column(page, 1)
        page.wait_for_selector("[data-column=difference]")
        values = [
            np.array([r.value for r in e.regions] + [w.value for w in e.words])
            for e in (one, other)
        ]
        ranks = np.array([v.argsort().argsort() for v in values])
        expected = np.corrcoef(ranks)[0, 1]
        text = page.locator(".vx-agreement").inner_text()
        assert number(matched(r": ([−-]?[\d.]+)$", text)[1]) == pytest.approx(expected, abs=0.006)
        page.locator(".vx-entry").nth(1).click()
        page.wait_for_selector('#viewer[data-ready="1"]')
        assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("question", HOSTILE)
def test_hostile_text_is_text(browser: Any, tmp_path: Path, question: str) -> None:
    why = made(question)
    label = Answer(question[:300], 0.75, 0)
    why = replaced(why, answers=(label,), target=label.text, method=question[:50])
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        assert page.title() == "Why this answer?"
        assert page.locator("img").count() == 0
        shown = page.locator(".vx-question").evaluate(
            "node => [...node.childNodes].map(n => n.querySelector ? (n.querySelector('bdi') ?? "
            "n).textContent : n.textContent).join('')"
        )
        assert shown == question.replace("\x00", "\x00")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert wrong == []


def test_words_of_a_right_to_left_question_run_from_right_to_left(
    browser: Any, tmp_path: Path
) -> None:
    question = "ما لون الدائرة الكبيرة؟"
    spans = [(0, 2), (3, 6), (7, 14), (15, 22)]
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [made(question, words=spans)])
        boxes = [box_of(page.locator(f'[data-word="{i}"]')) for i in range(4)]
        assert [b["x"] for b in boxes] == sorted((b["x"] for b in boxes), reverse=True)
        room = box_of(page.locator(".vx-question"))
        assert boxes[0]["x"] + boxes[0]["width"] == pytest.approx(room["x"] + room["width"], abs=12)
        assert wrong == []


@pytest.mark.slow
def test_the_cursor_is_linked_where_pictures_are_divided_differently(
    browser: Any, tmp_path: Path
) -> None:
    one, other = made(grid=6), made(grid=3, seed=1)
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [one, other])
        add_column(page, 1)
        page.wait_for_selector("[data-column=compared]")
        at_region(page, page.locator("[data-column=explanation] .vx-canvas"), one, 35)
        assert said(page).startswith("lower right (35):")
        found = number(matched(r"; compared: ([+−][\d.e-]+)", said(page))[1])
        assert found == pytest.approx(other.regions[8].value, abs=5.1e-3)
        words = page.locator("[data-column=compared] .vx-compared-words")
        assert [
            number(v.split(" ")[0]) for v in words.locator(".vx-number").all_inner_texts()
        ] == pytest.approx([w.value for w in other.words], abs=5.1e-3)
        words.locator("button").nth(2).hover()
        assert said(page).startswith("“is”:")
        at_region(page, page.locator("[data-column=compared] .vx-canvas"), other, 4)
        assert re.match(r"[a-z ]+ \((14|15|20|21)\):", said(page))
        assert wrong == []


@pytest.mark.slow
def test_a_page_cannot_be_made_to_run_another_script(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(
        page_of([made()]).replace("</main>", "</main><script>document.title='owned'</script>")
    )
    with watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("#viewer[data-ready]")
        assert page.title() == "Why this answer?"
        assert any("Content Security Policy" in w for w in wrong)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("wide", [420, 1280])
@pytest.mark.slow
def test_axe_finds_nothing(browser: Any, tmp_path: Path, scheme: str, wide: int) -> None:
    with watched_page(
        browser, color_scheme=scheme, viewport={"width": wide, "height": 900}, bypass_csp=True
    ) as (
        page,
        _,
    ):
        noted = dataclasses.replace(made(), notes=("it is 0", "half of it fell on padding"))
        opened(page, tmp_path / "a.html", [noted, made(seed=1)])
        assert axe_problems(page, tmp_path) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_a_hover_paints_within_a_frame(browser: Any, tmp_path: Path) -> None:
    """1,000 × 1,000 pixels and 60 players; the time is printed, and only a gross failure fails."""
    why = made("a b c d e f g h i j k", grid=7, size=(1000, 1000))
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        times = []
        for index in range(len(why.words)):
            page.locator(f'[data-word="{index}"]').hover()
            taken = page.locator("#viewer").get_attribute("data-frame")
            assert taken is not None
            times.append(float(taken))
        print(f"median {np.median(times):.1f} ms, most {max(times):.1f} ms")
        assert np.median(times) < 100
        assert wrong == []


@pytest.mark.slow
def test_twenty_explanations_take_less_than_five_megabytes(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    from skimage import data

    picture = data.astronaut()[:384, :384]
    explained = []
    for i in range(20):
        why = made(grid=12, size=(384, 384), seed=i)
        explained.append(
            replaced(
                why,
                picture=picture,
                by_player=False,
                image=np.random.default_rng(i).normal(size=(384, 384)),
            )
        )
    assert len(page_of(explained).encode()) < 5_000_000


@pytest.mark.slow
def test_view_makes_a_page_of_files(tmp_path: Path) -> None:
    import sys

    why = made()
    why.save(tmp_path / "a.vqax")
    command = [
        sys.executable,
        "-m",
        "vqa_explain.shell.app",
        "view",
        str(tmp_path / "a.vqax"),
        "-o",
        str(tmp_path / "p.html"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path / "p.html").read_text().startswith("<!doctype html>")
    assert vx.load_explanation(tmp_path / "a.vqax").target == "red"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("share", "texts"),
    [(0.02, ("2.0%", "98.0%")), (0.21, ("21%", "79%")), (0.5, ("50%", "50%"))],
)
@pytest.mark.parametrize("wide", [400, 1200])
def test_the_shares_are_named_in_full_at_any_width(
    browser: Any, tmp_path: Path, share: float, texts: tuple[str, str], wide: int
) -> None:
    why = replaced(made(), share={"image": share, "question": 1 - share})
    with watched_page(browser, viewport={"width": wide, "height": 900}) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        names = page.locator(".vx-share-names span")
        assert names.all_inner_texts() == [f"image {texts[0]}", f"question {texts[1]}"]
        for node in names.all():
            assert node.evaluate("n => n.scrollWidth <= n.clientWidth || n.clientWidth === 0")
            box = box_of(node)
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= wide
        assert wrong == []


@pytest.mark.slow
def test_the_legend_is_of_the_map_that_is_drawn(browser: Any, tmp_path: Path) -> None:
    """Of regions on their own scale, on one with words, of pixels, and of pairs."""
    why = made(interactions=False)
    regions = max(abs(region.value) for region in why.regions)
    words = max(abs(word.value) for word in why.words)
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        assert top_of_legend(page) == pytest.approx(regions, abs=5.1e-3)
        page.get_by_role("button", name="One scale").click()
        assert top_of_legend(page) == pytest.approx(max(regions, words), abs=5.1e-3)
        assert "one scale for words and regions" in page.locator(".vx-lengths").inner_text()
        assert wrong == []
    pixels = dataclasses.replace(why, by_player=False)
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [pixels])
        page.get_by_role("button", name="Pixels").click()
        assert top_of_legend(page) == pytest.approx(pixels.map_colors.full, rel=0.06)
        assert wrong == []
    pairs = made()
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [pairs])
        page.locator('[data-word="2"]').hover()
        assert top_of_legend(page) == pytest.approx(np.abs(pairs_of(pairs)[2]).max(), abs=5.1e-3)
        assert wrong == []
    classifier = dataclasses.replace(why, parts=why.parts[:1], share={"image": 1.0})
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [classifier])
        assert "word" not in page.locator("main").inner_text().lower()
        assert wrong == []


def top_of_legend(page: Page) -> float:
    """The value of full color, as the legend says."""
    return number(page.locator(".vx-legend .vx-ends > span").nth(2).inner_text().split(" ")[0])


@pytest.mark.slow
def test_mean_scores_are_drawn_from_the_smallest_to_the_largest(
    browser: Any, tmp_path: Path
) -> None:
    """The region of the smallest value has no color, that of the largest has the full one."""
    values = 0.7 + 0.03 * np.random.default_rng(5).random(36)
    why = made(interactions=False)
    regions = tuple(
        RegionValue(r.box, float(v), None) for r, v in zip(why.regions, values, strict=True)
    )
    words = tuple(dataclasses.replace(w, value=0.715, error=None) for w in why.words)
    why = replaced(why, regions=regions, words=words, unit="mean score", method="rise")
    depth = """([x, y]) => { const c = document.querySelector('.vx-map .vx-canvas');
      const [r, g, b] = c.getContext('2d').getImageData(x * c.width, y * c.height, 1, 1).data;
      return Math.max(r, g, b) - Math.min(r, g, b); }"""
    with watched_page(browser) as (page, wrong):
        opened(page, tmp_path / "a.html", [why])
        colors = []
        for at in (values.argmin(), np.abs(values - 0.715).argmin(), values.argmax()):
            left, top, right, bottom = regions[at].box
            colors.append(page.evaluate(depth, [(left + right) / 120, (top + bottom) / 120]))
        assert colors[0] < 5 < colors[1] < colors[2]
        ends = page.locator(".vx-legend .vx-ends > span")
        low, high = ends.nth(0).inner_text().strip(), ends.nth(2).inner_text().strip()
        assert (number(low), number(high)) == pytest.approx(
            (values.min(), values.max()), abs=5.1e-3
        )
        assert wrong == []


TITLES = "(rows) => rows.map((row) => row.title)"


@pytest.mark.slow
def test_a_page_knows_names_and_outcomes_and_filters_by_them(browser: Any, tmp_path: Path) -> None:
    explained = [made(seed=seed) for seed in range(3)]
    best = explained[0].answers[0].text
    examples = [
        vx.Example(why.picture, why.question, answer=answer, id=name)
        for why, answer, name in zip(explained, [best, "else", best], "pqr", strict=True)
    ]
    path = tmp_path / "a.html"
    path.write_text(page_of(explained, examples=examples))
    with watched_page(browser) as (page, wrong):
        page.goto(path.as_uri())
        page.wait_for_selector("#viewer[data-ready]")
        entries = page.locator(".vx-entry")
        assert ["✓" in text or "✗" in text for text in entries.all_inner_texts()] == [True] * 3
        assert "2 right, 1 wrong" in page.locator(".vx-counts").inner_text()

        names = [title.split(":")[0] for title in entries.evaluate_all(TITLES)]
        page.get_by_label("outcome").select_option("wrong")
        assert [one.split(":")[0] for one in entries.evaluate_all(TITLES)] == names[1:2]
        page.get_by_label("outcome").select_option("all")
        search = page.locator(".vx-list .vx-search")
        search.fill("nothing has this in it")
        assert entries.count() == 0
        search.fill("")
        assert [one.split(":")[0] for one in entries.evaluate_all(TITLES)] == names
        assert entries.nth(1).get_attribute("title").startswith("q: ")  # type: ignore[union-attr]
        assert wrong == []
