"""Figures: what their titles say, how large things are, and how long they take to draw."""

import dataclasses
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.style
import numpy as np
import pytest
from building import replaced
from matplotlib.figure import Figure
from matplotlib.text import Text
from test_figures import drawn, made, texts_of

import vqa_explain as vx
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.target import Answer
from vqa_explain.wording import value_text

ANSWERS = (Answer("cyan", 0.98, 1), Answer("blue", 0.013, 0))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"target": "cyan"}, "why “cyan”, the model's answer, 98.0%"),
        ({"target": "blue"}, "why “blue”; the model answers “cyan”, 98.0%"),
        (
            {"target": "blue", "contrast": "cyan"},
            "why “blue” rather than “cyan”; the model answers “cyan”, 98.0%",
        ),
    ],
)
def test_the_title_says_what_is_explained(change: dict[str, Any], expected: str) -> None:
    why = made(answers=ANSWERS, **change)
    assert why.why_text == expected
    assert expected in texts_of(why.plot())
    assert texts_of(why.plot(title="Mine")).startswith("Mine")
    assert "why" not in texts_of(why.plot(title="Mine"))


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (2.4212, 0.0171, "+2.42 ± 0.02"),
        (-0.512, 0.26, "-0.5 ± 0.3"),
        (0.01, 0.0971, "+0.0 ± 0.1"),
        (1234.0, 96.0, "+1200 ± 100"),
        (1234.0, 0.0, "+1.23e+03"),
        (1.5e-9, 2e-10, "+1.5e-09 ± 2e-10"),
    ],
)
def test_values_are_rounded_to_their_error(value: float, error: float, expected: str) -> None:
    assert value_text(value, error) == expected


def test_each_kind_has_its_own_scale_unless_one_is_shared() -> None:
    """Words of 10 and regions of 0.1: on one scale the map is as good as white."""
    why = made((0.1, -0.1, 0.05), (10.0, -5.0))
    own = drawn(why.plot(views=["signed"]))[0]
    shared = drawn(why.plot(views=["signed"], scale="shared"))[0]
    assert own[0][:3].min() < 0.5
    assert shared[0][:3].min() > 0.95
    assert "own scale" in texts_of(why.plot())
    assert "own scale" not in texts_of(why.plot(scale="shared"))


def test_full_color_may_begin_at_a_percentile() -> None:
    why = made((1.0,) * 99 + (100.0,), ())
    assert drawn(why.plot(views=["signed"]))[0][0][:3].min() > 0.95
    assert drawn(why.plot(views=["signed"], percentile=90))[0][0][:3].min() < 0.5


@pytest.mark.slow
def test_the_ends_of_a_scale_name_the_answers() -> None:
    alone, against = made(), made(contrast="cyan")
    assert "against “red”" in texts_of(alone.plot())
    assert "for “red”" in texts_of(alone.plot())
    assert "for “cyan”" in texts_of(against.plot())
    assert "against" not in texts_of(made(unit="gradient size").plot())


def sized(width: int, height: int, **changes: Any) -> vx.Explanation:
    labels = np.zeros((height, width), dtype=np.int32)
    labels[:, width // 2 :] = 1
    regions = (
        RegionValue((0, 0, width // 2, height), 1.0, None),
        RegionValue((width // 2, 0, width, height), -1.0, None),
    )
    picture = np.full((height, width, 3), 90, dtype=np.uint8)
    changed = {"labels": labels, "regions": regions, "picture": picture, "image": labels / 3.0}
    return made((1.0, -1.0), **{**changed, **changes})


def boxes(figure: Figure) -> list[tuple[float, float]]:
    """The width and height in points of every picture."""
    size = 72 * figure.get_size_inches()
    found = [axes.get_position() for axes in figure.axes if axes.get_images()]
    return [(box.width * size[0], box.height * size[1]) for box in found]


@pytest.mark.parametrize(("width", "height"), [(300, 900), (900, 300), (600, 600), (1500, 100)])
def test_pictures_have_the_room_that_they_need(width: int, height: int) -> None:
    found = boxes(sized(width, height).plot())
    assert len(found) == 2
    for wide, tall in found:
        assert wide / tall == pytest.approx(width / height, rel=1e-6)
        assert wide > 280 or tall > 280


def test_a_long_question_is_told_and_the_figure_grows() -> None:
    long = " ".join(f"word{i}" for i in range(60))
    short, tall = made().plot(), replaced(made(), question=long).plot()
    assert tall.get_figheight() > short.get_figheight() + 0.5
    assert "word59" in texts_of(tall)


@pytest.mark.slow
def test_a_figure_has_the_size_that_is_asked_for_where_it_has_room() -> None:
    figure = sized(600, 600).plot(figsize=(6, 5))
    assert tuple(figure.get_size_inches()) == pytest.approx((6, 5), abs=0.1)
    with pytest.raises(vx.InvalidInput, match="figsize must be"):
        made().plot(figsize=(0, 1))


def test_a_view_can_be_drawn_in_axes_of_ones_own() -> None:
    figure = Figure(figsize=(6, 3))
    left, right = figure.subplots(1, 2)
    assert made().plot("overlay", ax=left) is figure
    assert left.get_title().startswith("why “red”")
    assert not right.get_images()
    with pytest.raises(vx.InvalidInput, match="one view of one picture"):
        made().plot(["overlay", "masked"], ax=right)


def test_what_the_model_does_not_see_is_marked() -> None:
    why = sized(600, 400)
    labels = why.labels.copy()
    assert "dashed" not in texts_of(why.plot())
    labels[:, :100] = -1
    cropped = replaced(why, labels=labels)
    figure = cropped.plot()
    assert "dashed: what the model sees" in texts_of(figure)
    lines = next(a for a in figure.axes if a.get_images()).collections[0].get_paths()[0].vertices
    assert lines[:, 0].min() == pytest.approx(99.5, abs=0.6)


def test_interactions_are_drawn_as_a_matrix() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 6))
    why = replaced(made(), interactions=values, interaction_errors=np.full((2, 6), 0.3))
    figure = why.plot("matrix")
    shown = [image.get_array() for axes in figure.axes for image in axes.get_images()]
    assert any(one.shape == values.shape and np.allclose(one, values) for one in shown)
    hatched = [p for axes in figure.axes for p in axes.patches if p.get_hatch()]
    assert len(hatched) == int((np.abs(values) < 0.6).sum())
    with pytest.raises(vx.InvalidInput, match="there are none; explain with method='interactions'"):
        made().plot("matrix")


def test_a_file_in_place_of_a_view_is_explained() -> None:
    with pytest.raises(vx.InvalidInput, match=r"writes no file; write plot\(\).savefig\('x.png'\)"):
        made().plot("x.png")
    with pytest.raises(vx.InvalidInput, match="did you mean 'overlay'"):
        made().plot("overlai")


def test_a_fixed_picture_is_drawn_once() -> None:
    why = made()
    drawn_part: Any = why.parts[0]
    picture = dataclasses.replace(drawn_part, fixed=True, regions=())
    alone = dataclasses.replace(why, parts=(picture, why.parts[1]))
    assert len(boxes(alone.plot())) == 1
    other = dataclasses.replace(why.parts[0], name="image 2")
    both = dataclasses.replace(why, parts=(picture, other, why.parts[1]))
    assert len(boxes(both.plot())) == 3


@pytest.mark.slow
def test_a_legend_stands_once_for_all_views_and_rows() -> None:
    why = made()
    pictures = [dataclasses.replace(why.parts[0], name=f"image {i}") for i in range(6)]
    many = dataclasses.replace(why, parts=(*pictures, why.parts[1]))
    for one in (why, many):
        said = texts_of(one.plot(views=["overlay", "signed"]))
        assert said.count("per region") == 1


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_text_is_told_from_the_ground(style: str) -> None:
    why = made()
    question: Any = why.parts[1]
    fixed = dataclasses.replace(question, fixed=True, words=(), name="system")
    with matplotlib.style.context(style):
        figure = dataclasses.replace(why, parts=(*why.parts, fixed)).plot()
        ground = np.array(matplotlib.colors.to_rgb(figure.get_facecolor()))
        for text in figure.findobj(Text):
            on_color = text.get_bbox_patch() is not None or "%" in text.get_text()[-1:]
            if text.get_text() and not on_color:
                ink = np.array(matplotlib.colors.to_rgb(text.get_color()))
                assert np.abs(ink - ground).max() > 0.4, text.get_text()


def test_letters_that_no_font_has_are_boxes_and_said(caplog: pytest.LogCaptureFixture) -> None:
    strange = chr(0x10330)  # Gothic
    why = replaced(made(), question=f"{strange} what")
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        figure = why.plot()
    assert "□ what" in texts_of(figure) or strange in texts_of(figure)
    assert ("in no installed font" in caplog.text) == ("□" in texts_of(figure))


LARGE = """
import resource, sys, time
sys.path.insert(0, {tests!r})
from test_figures_drawn import sized
from matplotlib.backends.backend_agg import FigureCanvasAgg
sized(40, 30).plot()._repr_png_()  # fonts are read once
why = sized(4000, 3000, by_player={by_player})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
began = time.process_time()
why.plot()._repr_png_()
print(time.process_time() - began, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


@pytest.mark.slow
@pytest.mark.parametrize("by_player", [True, False])
def test_twelve_megapixels_are_drawn_at_the_size_of_the_screen(by_player: bool) -> None:
    """More than 500 MiB were taken before pictures were made smaller."""
    here = Path(__file__).parent
    code = f"import sys; sys.path.insert(0, {str(here.parent)!r})\n" + LARGE.format(
        tests=str(here), by_player=by_player
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    seconds, megabytes = map(float, done.stdout.split())
    print(f"{seconds:.2f} s, {megabytes:.0f} MiB")
    assert megabytes < 500


ERRORS = [(0.1, False), (0.5, False), (0.51, True), (3.0, True), (None, False)]  # of the value ±1


@pytest.mark.parametrize("sign", [1.0, -1.0])
@pytest.mark.parametrize(("error", "expected"), ERRORS)
def test_what_is_within_two_standard_errors_is_hatched(
    sign: float, error: float | None, expected: bool
) -> None:
    regions = tuple(RegionValue((i, 0, i + 1, 6), sign, error) for i in range(2))
    words = (WordValue("w0", 0, 2, sign, error), WordValue("w1", 3, 5, 2 * sign, 0.1))
    whole = made(values=(sign, sign), method="shapley")
    figure = replaced(whole, regions=regions, words=words).plot(views=["signed"])
    chips = [text for text in figure.findobj(Text) if text.get_text() in ("w0", "w1")]
    hatched = [bool(chip.get_bbox_patch().get_hatch()) for chip in chips]
    assert hatched == [expected, False]
    maps = figure.findobj(lambda one: bool(getattr(one, "hatches", [])))
    assert bool(maps) == expected
    assert ("hatched: within 2 standard errors of zero" in texts_of(figure)) == expected
