"""Explanations of any inputs: every place shows every value of every input, and nothing is cut."""

import html
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import several
from building import replaced
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console

import vqa_explain as vx
from vqa_explain import showing
from vqa_explain.features.parts import ColumnValue, PicturePart, TablePart, TextPart
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.viewer.export import article, page
from vqa_explain.viewer.payload import payload, raw
from vqa_explain.wording import value_text, with_minus

sys.path.insert(0, str(Path(__file__).parent.parent / "viewer"))
from browser import add_column, opened_browser, watched_page
from live_page import live
from test_figures import texts_of, texts_seen

CASES = sorted(several.CASES)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with opened_browser() as opened:
        yield opened


@pytest.fixture
def no_drawings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The drawings that a test registers are forgotten after it."""
    monkeypatch.setattr(showing, "_of_kind", {})


def printed(why: vx.Explanation) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    for table in explanation_tables(why):
        console.print(table)
    return console.export_text()


@pytest.mark.parametrize("case", CASES)
def test_the_viewer_is_sent_every_value_of_every_input(case: str) -> None:
    why = several.CASES[case]()
    sent = payload(why, raw)
    assert [part["name"] for part in sent["parts"]] == [part.name for part in why.parts]
    for part, found in zip(why.parts, sent["parts"], strict=True):
        assert (found["kind"], found["fixed"]) == (part.kind, part.fixed)
        assert [player["value"] for player in found["players"]] == part.values
        assert [player["error"] for player in found["players"]] == [p.error for p in part.players]
        if isinstance(part, PicturePart):
            labels = np.frombuffer(found["labels"]["data"], np.uint32).reshape(part.labels.shape)
            np.testing.assert_array_equal(labels.astype(np.int32), part.labels)
            heat = np.frombuffer(found["heat"]["data"], np.int8).reshape(part.labels.shape)
            values = np.append(part.values, 0.0)[part.labels]
            np.testing.assert_allclose(heat / 127 * found["mapFull"], values, atol=0.02)
    for joint, found in zip(why.joint, sent["joint"], strict=True):
        assert (found["first"], found["second"]) == (joint.first, joint.second)
        values = np.frombuffer(found["values"]["data"], np.float32).reshape(joint.values.shape)
        np.testing.assert_allclose(values, joint.values, rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_every_word_and_column_has_its_value_in_figure_notebook_and_terminal(case: str) -> None:
    why = several.CASES[case]()
    figure, notebook = texts_of(why.plot()), html.unescape(article(why))
    terminal = " ".join(printed(why).split())
    for part in why.parts:
        if part.fixed:
            said = part.title or part.name
            assert said in figure
            assert said in notebook
            assert said in terminal
            continue
        for player in part.players:
            said = value_text(player.value, player.error)
            assert said in notebook
            if not isinstance(part, PicturePart):
                assert with_minus(said) in figure
                assert f"{player.value:+.4g}" in terminal
        if len(why.parts) > 2:
            assert part.name in figure or isinstance(part, TextPart)
            assert part.name in notebook or isinstance(part, TextPart)


@pytest.mark.parametrize("case", CASES)
def test_one_scale_has_one_legend_in_figure_and_notebook(case: str) -> None:
    why = several.CASES[case]()
    players = list(dict.fromkeys(part.player for part in why.parts if part.players))
    legend = f"{why.unit_text}, per {' or '.join(players)}"
    assert texts_of(why.plot(scale="shared")).count(legend) == 1
    maps = sum(isinstance(part, PicturePart) and not part.fixed for part in why.parts)
    assert html.unescape(article(why)).count(legend) == max(1, maps)


LONG: dict[str, Callable[[], vx.Explanation]] = {
    **several.CASES,
    "long name": lambda: several.explanation(
        several.picture("picture " * 30, 1),
        several.picture("image 2", 2),
        several.text("question " * 40, "Which one?"),
    ),
    "long column": lambda: several.explanation(
        TablePart(
            name="row", columns=tuple(ColumnValue("W" * 200, "x" * 90, v, 0.5) for v in (1e-9, -2))
        ),
    ),
    "many columns": lambda: several.explanation(
        TablePart(name="row", columns=tuple(ColumnValue(f"c{i}", "1", i, 3.0) for i in range(90))),
    ),
    "long fixed text": lambda: several.explanation(
        several.text("system", "say $x_1^2$ " * 300, fixed=True), several.text("user", "Why?")
    ),
    "many inputs": lambda: several.explanation(
        *(several.picture(f"page {i}", i, grid=2) for i in range(9)), several.text("question", "W?")
    ),
}


@pytest.mark.parametrize("views", [["overlay"], ["picture", "overlay", "positive"]])
@pytest.mark.parametrize("case", LONG)
def test_no_text_leaves_the_figure_and_no_part_lies_on_another(case: str, views: list[str]) -> None:
    figure = LONG[case]().plot(views=views)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for text in texts_seen(figure):
        if text.get_text().strip():
            box = text.get_window_extent(renderer)
            assert figure.bbox.x0 - 1 <= box.x0, text.get_text()[:60]
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()[:60]
            assert figure.bbox.y0 - 1 <= box.y0, text.get_text()[:60]
            assert box.y1 <= figure.bbox.y1 + 1, text.get_text()[:60]
    boxes = [axes.get_tightbbox(renderer) for axes in figure.axes]
    for number, one in enumerate(boxes):
        for other in boxes[number + 1 :]:
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            down = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across < 2 or down < 2


@pytest.mark.slow
def test_bars_that_are_left_out_are_said() -> None:
    figure = texts_of(LONG["many columns"]().plot())
    assert "the 40 of 90 columns with the largest values" in figure
    assert "c89 = 1" in figure
    assert "c49 = 1" not in figure


def test_a_drawing_of_ones_own_is_used_in_figures_and_notebooks(no_drawings: None) -> None:
    @vx.register_drawing("table", "figure")
    def draw(part: TablePart, explanation: vx.Explanation, axes: Any) -> None:
        axes.bar([c.column for c in part.columns], part.values)
        axes.set_title(f"own drawing of {part.name}")

    @vx.register_drawing("table", "page")
    def tell(part: TablePart, explanation: vx.Explanation) -> str:
        return f"<p>own telling of {html.escape(part.name)}</p>"

    why = several.table_and_picture()
    assert "own drawing of patient" in texts_of(why.plot())
    assert "<p>own telling of patient</p>" in why._repr_html_()
    with pytest.raises(vx.InvalidInput, match="place to draw"):
        vx.register_drawing("table", "screen")  # type: ignore[arg-type]
    with pytest.raises(vx.InvalidInput, match="must be a function"):
        vx.register_drawing("table", "page")("no function")  # type: ignore[type-var]


def opened(page_: Any, path: Path, explained: list[vx.Explanation]) -> None:
    path.write_text(page(explained))
    page_.goto(path.as_uri())
    page_.wait_for_selector("#viewer[data-ready]")


@pytest.mark.slow
@pytest.mark.parametrize("wide", [400, 1200])
@pytest.mark.parametrize("case", CASES)
def test_a_page_draws_every_input_and_says_every_value(
    browser: Any, tmp_path: Path, case: str, wide: int
) -> None:
    why = several.CASES[case]()
    with watched_page(browser, viewport={"width": wide, "height": 900}) as (screen, wrong):
        opened(screen, tmp_path / "a.html", [why])
        assert screen.evaluate("document.documentElement.scrollWidth <= innerWidth")
        pictures = [part for part in why.parts if isinstance(part, PicturePart)]
        fixed = sum(part.fixed for part in pictures)
        assert screen.locator(".vx-canvas").count() == 2 * len(pictures) - fixed
        lists = [part for part in why.parts if not isinstance(part, PicturePart) and part.players]
        buttons = screen.locator(".vx-word, .vx-column")
        expected = [player for part in lists for player in part.players]
        assert buttons.count() == len(expected)
        for number, player in enumerate(expected):
            buttons.nth(number).hover()
            said = screen.locator(".vx-said").inner_text()
            assert player.text in said
            found = re.search(r": ([+−]?)([\d.e-]+)", said)
            assert found is not None
            value = float(found[2]) * (-1 if found[1] == "−" else 1)
            places = len(found[2].partition(".")[2])
            assert value == pytest.approx(player.value, rel=6e-3, abs=0.51 * 10**-places)
        for part in why.parts:
            if part.fixed and part.title:
                assert part.title in screen.locator(".vx-texts").first.inner_text()
        assert wrong == []


@pytest.mark.slow
def test_pointing_at_a_region_names_its_picture_and_draws_its_partners(
    browser: Any, tmp_path: Path
) -> None:
    why = several.two_pictures()
    with watched_page(browser) as (screen, wrong):
        opened(screen, tmp_path / "a.html", [why])
        canvas = screen.get_by_role("application", name="image 2, explained")
        before = screen.evaluate("document.querySelectorAll('.vx-map .vx-canvas')[0].toDataURL()")
        canvas.focus()
        screen.keyboard.press("ArrowRight")
        said = screen.locator(".vx-said").inner_text()
        assert re.match(r"[a-z ]+ \(0\) of image 2: ", said)
        assert "works most with" in said
        assert (
            screen.evaluate("document.querySelectorAll('.vx-map .vx-canvas')[0].toDataURL()")
            != before
        )
        assert wrong == []


def until_away(screen: Any, away: dict[str, list[int]]) -> None:
    """Waits until the newest question is about these players."""
    screen.wait_for_function(
        """(away) => {
          const asked = window.sent.filter((one) => one.action === "whatif").at(-1)?.away ?? null;
          return JSON.stringify(asked) === JSON.stringify(away);
        }""",
        arg=away,
    )


@pytest.mark.slow
def test_what_is_taken_away_is_asked_by_the_names_of_inputs(browser: Any) -> None:
    with watched_page(browser) as (screen, wrong):
        live(screen, several.table_and_picture())
        screen.locator('[data-player="2"]').click()  # pins it, since there are pairs
        screen.locator(".vx-cap").get_by_role("button", name="Take away").click()
        canvas = screen.get_by_role("application", name="explanation")
        canvas.focus()
        screen.keyboard.press("ArrowRight")
        screen.keyboard.press("Enter")
        until_away(screen, {"patient": [2], "scan": [0]})
        screen.get_by_role("button", name="Undo").click()
        until_away(screen, {"patient": [2]})
        screen.get_by_role("button", name="Reset").click()
        until_away(screen, {})
        assert screen.get_by_label("the question, to edit").is_hidden()
        assert wrong == []


@pytest.mark.slow
@pytest.mark.parametrize("case", ["two pictures", "table alone", "two texts", "chat"])
def test_explanations_of_the_same_inputs_are_compared_input_by_input(
    browser: Any, tmp_path: Path, case: str
) -> None:
    why = several.CASES[case]()
    other = replaced(why, method="lime")
    with watched_page(browser) as (screen, wrong):
        opened(screen, tmp_path / "a.html", [why, other])
        before = screen.locator(".vx-canvas").count()
        add_column(screen, 1)
        agreement = screen.locator(".vx-agreement", has_text="Rank correlation")
        agreement.wait_for()
        assert agreement.inner_text() == "Rank correlation with LIME: 1.00"
        maps = sum(isinstance(part, PicturePart) and not part.fixed for part in why.parts)
        assert screen.locator(".vx-canvas").count() == before + 3 * maps
        assert wrong == []


def test_a_page_of_unlike_explanations_says_only_what_holds_of_all() -> None:
    explained = [several.CASES[case]() for case in CASES]
    intro = page(explained).split("<main>")[1].split("</p>")[0]
    assert "Point at a word, a region or a column for its value." in intro
    assert "scale" not in intro
    held = json.loads(page(explained).split('id="explanations">')[1].split("</script>")[0])
    assert len(held) == len(CASES)


@pytest.mark.slow
def test_full_color_of_a_map_is_of_the_pictures_that_have_values() -> None:
    """A fixed picture, whose pixels are all 0,
    does not move the percentile that full color stands at.
    """
    free = several.picture("image 1", 1)
    fixed = several.picture("image 2", 2, fixed=True)
    alone = several.explanation(free, by_player=False)
    both = several.explanation(free, fixed, by_player=False)
    expected = np.quantile(np.abs(free.image), 0.995)
    assert alone.map_colors.full == both.map_colors.full == pytest.approx(expected)
    words = several.text("question", "a b")
    assert several.explanation(words, by_player=False).map_colors.full >= 0
