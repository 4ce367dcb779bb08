"""Figures and pages: which value has which color, what legends say, and that nothing is cut."""

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from building import explanation, replaced
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.text import Text

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.figures.colormaps import is_diverging
from vqa_explain.target import Answer
from vqa_explain.viewer.bundle import STATIC
from vqa_explain.viewer.export import article, page
from vqa_explain.viewer.payload import packed, payload

# matplotlib's own classes, from its page "Choosing Colormaps in Matplotlib".
DIVERGING = (
    "PiYG", "PRGn", "BrBG", "PuOr", "RdGy", "RdBu", "RdYlBu", "RdYlGn", "Spectral", "coolwarm", "bwr", "seismic",
    "berlin", "managua", "vanimo",
)  # fmt: skip
SEQUENTIAL = (
    "viridis", "plasma", "inferno", "magma", "cividis", "Greys", "Purples", "Blues", "Greens", "Oranges", "Reds",
    "YlOrBr", "YlOrRd", "OrRd", "PuRd", "RdPu", "BuPu", "GnBu", "PuBu", "YlGnBu", "PuBuGn", "BuGn", "YlGn",
    "binary", "gray", "bone", "pink", "spring", "summer", "autumn", "winter", "cool", "Wistia", "hot", "afmhot",
    "gist_heat", "copper", "jet", "turbo", "cubehelix", "gnuplot", "gnuplot2", "CMRmap", "ocean", "terrain",
)  # fmt: skip
OWN = LinearSegmentedColormap.from_list("own", ["#004488", "#fffff4", "#bb5566"])
VALUES = (-2.0, -0.5, 0.0, 0.5, 1.0, 2.0)  # of the regions, from the left


def made(
    values: tuple[Any, ...] = VALUES,
    words: tuple[Any, ...] = (1.0, -0.5),
    unit: str = "points",
    **changes: Any,
) -> vx.Explanation:
    """An explanation with one column of pixels for each region, and words "w0", "w1" and so on."""
    labels = np.repeat(np.arange(len(values), dtype=np.int32)[None], 6, axis=0)
    said = [f"w{i}" for i in range(len(words))]
    starts = np.cumsum([0, *(len(text) + 1 for text in said)])
    fields = {
        "question": " ".join(said) or None,
        "answers": (Answer("red", 0.75, 0),),
        "target": "red",
        "contrast": None,
        "score": "logit",
        "words": tuple(
            WordValue(text, int(at), int(at) + len(text), value, None)
            for text, at, value in zip(said, starts, words, strict=False)
        ),
        "tokens": (),
        "image": np.asarray(values)[labels] / 6,
        "regions": tuple(RegionValue((i, 0, i + 1, 6), v, None) for i, v in enumerate(values)),
        "labels": labels,
        "share": {"image": 0.8, "question": 0.2} if words else {"image": 1.0},
        "error": 0.1,
        "error_kind": "largest standard error",
        "cost": Cost(1, 1, 0.5),
        "method": "made",
        "parameters": {},
        "provenance": {"model": "made", "seed": 0},
        "picture": np.full((*labels.shape, 3), 120, dtype=np.uint8),
        "unit": unit,
    }
    return explanation(**{**fields, **changes})


def drawn(figure: Any) -> Any:
    """The last picture drawn in the first axes that have one: an (H, W,
    4) array of colors of 0 … 1.
    """
    image = next(axes for axes in figure.axes if axes.get_images()).get_images()[-1]
    return image.to_rgba(image.get_array(), norm=True)


def word_colors(figure: Any) -> dict[Any, Any]:
    """The colors under the words, by the word."""
    texts = (text for axes in figure.axes for text in axes.texts)
    return {t.get_text(): t.get_bbox_patch().get_facecolor() for t in texts if t.get_bbox_patch()}


def bars_of(figure: Any) -> list[Axes]:
    """The color bars, from the top."""
    bars = [axes for axes in figure.findobj(Axes) if axes.get_label() == "color bar"]
    return sorted(bars, key=lambda axes: -axes.get_window_extent().y0)


def texts_of(figure: Any) -> Any:
    return " ".join(" ".join(t.get_text() for t in figure.findobj(Text)).split())


@pytest.mark.parametrize("name", [*DIVERGING, *SEQUENTIAL])
@pytest.mark.parametrize("reverse", [False, True])
def test_maps_that_diverge_are_told_from_others(name: str, reverse: bool) -> None:
    if name not in matplotlib.colormaps:
        pytest.skip("this matplotlib has no such map")
    cmap = matplotlib.colormaps[name]
    assert is_diverging(cmap.reversed() if reverse else cmap) == (name in DIVERGING)


@pytest.mark.parametrize("cmap", ["PuOr_r", "RdGy", "seismic", OWN])
@pytest.mark.parametrize("view", ["positive", "negative", "absolute", "signed"])
def test_zero_has_the_middle_of_a_diverging_map_in_every_view(cmap: Any, view: str) -> None:
    whole = matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap
    part = {
        "positive": lambda v: max(v, 0),
        "negative": lambda v: min(v, 0),
        "absolute": abs,
        "signed": float,
    }[view]
    figure = made().plot(views=[view], cmap=cmap)
    expected = [whole((part(value) / 2 + 1) / 2) for value in VALUES]
    np.testing.assert_allclose(drawn(figure)[0], expected, atol=0.03)
    bar = bars_of(figure)[0]
    assert bar.get_xlim() == {"positive": (0, 2), "negative": (-2, 0), "absolute": (0, 2)}.get(
        view, (-2, 2)
    )


@pytest.mark.parametrize("cmap", ["Reds", "turbo"])
def test_zero_has_the_first_color_of_a_sequential_map_on_either_side(cmap: str) -> None:
    whole = matplotlib.colormaps[cmap]
    for view, sign in (("positive", 1), ("negative", -1), ("absolute", None)):
        figure = made().plot(views=[view], cmap=cmap)
        sizes = [abs(v) if sign is None else max(sign * v, 0) for v in VALUES]
        expected = [whole(size / 2) for size in sizes]
        np.testing.assert_allclose(drawn(figure)[0], expected, atol=0.03)


@pytest.mark.parametrize(
    ("unit", "zero"), [("points", -2.0), ("gradient size", 0.0), ("share of attention", 0.0)]
)
@pytest.mark.parametrize("cmap", ["PuOr_r", "Greens"])
def test_words_have_the_colors_of_regions_of_their_value(unit: str, zero: float, cmap: str) -> None:
    values, words = (1.0, 2.0, 0.5), (0.5, 2.0)
    figure = made(values, words, unit).plot(views=["signed"], cmap=cmap)
    regions, found = drawn(figure)[0], word_colors(figure)
    # The largest word is as large as the largest region, so that scales are alike whether shared or
    # not.
    np.testing.assert_allclose(found["w0"][:3], regions[2][:3], atol=0.02)
    np.testing.assert_allclose(found["w1"][:3], regions[1][:3], atol=0.02)
    whole = matplotlib.colormaps[cmap]
    middle_on = zero == 0 and cmap == "PuOr_r"
    at = 0.5 + 0.5 * 0.25 if middle_on else (0.5 - zero) / (2 - zero)
    np.testing.assert_allclose(found["w0"], whole(at), atol=0.03)


# Method's unit, whether values are of pixels, whether there are words → the legends that there must
# be.
LEGENDS = [
    ("points", False, True, ["per region or word"]),
    ("points", True, True, ["per pixel", "per word"]),
    ("gradient size", True, True, ["per pixel", "per word"]),
    ("gradient size", False, True, ["per region", "per word"]),
    ("share of attention", False, True, ["per region or word"]),
    ("points", False, False, ["per region"]),
    ("points", True, False, ["per pixel"]),
    ("mean score", False, True, ["per region or word"]),
    ("mean score", True, True, ["per pixel", "per word"]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "pixels", "asked", "expected"), LEGENDS)
def test_each_scale_has_one_legend_with_its_unit(
    unit: str, pixels: bool, asked: bool, expected: list[str]
) -> None:
    words = (3.0, 0.25) if asked else ()
    why = made((1.0, 2.0, 0.5), words, unit, by_player=not pixels)
    figure = why.plot(scale="shared" if why.one_scale else "own")
    said = texts_of(figure)
    for each in ("per pixel", "per region", "per word", "per region or word"):
        count = said.count(each) - (said.count("per region or word") if each == "per region" else 0)
        assert count == (each in expected), each
        assert (f"{each}<" in article(why) or f"{each};" in article(why)) == (each in expected)
    sent = payload(why, packed)
    assert sent["parts"][0]["mapLegend"].startswith(f"{why.unit_text}, {expected[0]}")
    assert sent["oneScale"] == (expected == ["per region or word"])
    ends = [bar.get_xlim()[1] for bar in bars_of(figure)]
    assert len(ends) == len(expected)
    assert (pytest.approx(3.0) in ends) == asked


@pytest.mark.parametrize(("unit", "pixels", "asked", "expected"), LEGENDS)
def test_a_page_says_only_what_holds_of_all(
    unit: str, pixels: bool, asked: bool, expected: list[str]
) -> None:
    why = made((1.0, 2.0, 0.5), (3.0, 0.25) if asked else (), unit, by_player=not pixels)
    intro = page([why]).split("<main>")[1].split("</p>")[0]
    one_scale = expected == ["per region or word"]
    assert ("are in one unit" in intro) == one_scale
    assert ("scales of their own" in intro) == (len(expected) == 2)
    assert ("word" in intro.lower()) == asked
    assert ("speaks for" in intro) == (unit == "points")
    if asked:  # with one of the other kind, neither sentence holds of both
        other = made((1.0, 2.0), (1.0,), "points", by_player=not one_scale)
        both = page([why, other]).split("<main>")[1].split("</p>")[0]
        assert "one scale" not in both
        assert "scales of their own" not in both


def test_mean_scores_are_shown_from_the_smallest_to_the_largest() -> None:
    values = (0.71, 0.73, 0.72)
    why = made(values, (0.7, 0.735), "mean score")
    assert (why.word_colors.bare, why.word_colors.full) == (0.7, 0.735)
    figure = why.plot(views=["overlay"])
    assert bars_of(figure)[0].get_xlim() == pytest.approx((0.71, 0.73))
    assert bars_of(figure)[1].get_xlim() == pytest.approx((0.7, 0.735))
    assert "from the smallest value to the largest" in texts_of(figure)
    shared = why.plot(views=["overlay"], scale="shared")
    assert bars_of(shared)[0].get_xlim() == pytest.approx((0.7, 0.735))
    assert to_rgba(word_colors(figure)["w0"]) == (1, 1, 1, 1)
    shown = drawn(why.plot(views=["signed"]))[0]
    assert shown[1].sum() < shown[2].sum() < shown[0].sum()
    sent = payload(why, packed)
    picture = sent["parts"][0]
    assert (picture["mapBare"], picture["mapFull"]) == (0.7, 0.735)
    for text in (repr(why), article(why), texts_of(figure)):
        assert "+0.7" not in text
    assert '<div class="scale">0.7<i' in article(why)


def test_mean_scores_below_zero_and_places_that_were_not_seen() -> None:
    labels = np.array([[0, 1, -1]], dtype=np.int32)
    picture = np.full((1, 3, 3), 120, dtype=np.uint8)
    for by_player in (True, False):
        why = made(
            (-5.0, -4.0), (), "mean score", labels=labels, picture=picture, by_player=by_player,
            image=np.array([[-5.0, -4.0, 0.0]]),
        )  # fmt: skip
        assert (why.map_colors.bare, why.map_colors.full) == (-5.0, -4.0)
        first, second, unseen = drawn(why.plot(views=["signed"]))[0]
        assert first.tolist() == unseen.tolist() != second.tolist()


def test_one_pixel_with_a_value_is_seen() -> None:
    image = np.zeros((30, 30))
    image[3, 4] = 2.0
    labels = np.zeros((30, 30), dtype=np.int32)
    picture = np.zeros((30, 30, 3), dtype=np.uint8)
    why = made((2.0,), (), image=image, labels=labels, picture=picture, by_player=False)
    shown = drawn(why.plot(views=["signed"]))
    assert shown[3, 4].tolist() != shown[0, 0].tolist()
    assert why.heat[1] == 2.0


def texts_seen(figure: Any) -> Iterator[Any]:
    """Every text that is drawn: axes that are off draw no ticks."""
    yield from figure.texts
    for axes in figure.findobj(Axes):
        yield from (*axes.texts, axes.title)
        if axes.axison:
            yield from (*axes.get_xticklabels(), *axes.get_yticklabels())
            yield from (axes.xaxis.label, axes.yaxis.label)


LONG: dict[str, dict[str, Any]] = {
    "layer": {"error": None, "error_kind": f"none: no sum; read at layer {'.blocks.12' * 40!r}"},
    "question of words": {"question": "why " * 400},
    "question of one word": {"question": "x" * 3000},
    "question in Chinese": {"question": "圆是什么颜色" * 60},
    "mathematics": {"question": "$x_1^2$ " * 60},
    "answer": {"answers": (Answer("a label that goes on " * 30, 0.5, 0),)},
    "target": {"target": "a label that goes on " * 30},
    "one long target": {"target": "W" * 500},
    "method": {"method": "m" * 300},
    "note": {"notes": ("W" * 700, "a sentence that goes on " * 30)},
    "error": {"error_kind": "largest of many errors " * 20},
    "words": {"words": tuple(WordValue("word" * (1 + i % 9), 0, 1, 1.0, 0.5) for i in range(120))},
    "a wide word": {"words": (WordValue("W" * 400, 0, 1, 1.0, 0.5),)},
    "pairs": {
        "interactions": np.full((2, 6), 5.0),
        "interaction_errors": np.full((2, 6), 0.1),
        "words": tuple(WordValue("W" * 300, 0, 1, 1.0, 0.5) for _ in range(2)),
    },
}


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.parametrize("views", [["overlay"], ["picture", "positive", "signed", "masked"]])
@pytest.mark.parametrize("case", LONG)
def test_no_text_leaves_the_figure_or_lies_on_another_part(case: str, views: list[str]) -> None:
    why = replaced(made(), **LONG[case])
    if case.startswith("question"):
        assert why.question is not None
        why = replaced(why, words=(WordValue(why.question[:3000], 0, 3, 1.0, 0.5),))
    figure = why.plot(views=views)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    for text in texts_seen(figure):
        if not text.get_text().strip():
            continue
        box = text.get_window_extent(renderer)
        assert figure.bbox.x0 - 1 <= box.x0, text.get_text()[:60]
        assert box.x1 <= figure.bbox.x1 + 1, text.get_text()[:60]
        assert figure.bbox.y0 - 1 <= box.y0, text.get_text()[:60]
        assert box.y1 <= figure.bbox.y1 + 1, text.get_text()[:60]
    parts = [axes.get_tightbbox(renderer) for axes in figure.axes]
    below = [part for axes, part in zip(figure.axes, parts, strict=True) if not axes.images]
    pictures = [part for axes, part in zip(figure.axes, parts, strict=True) if axes.images]
    assert all(picture.height > 100 for picture in pictures)
    words = [part for part in below if part.width > 0.5 * figure.bbox.width]
    assert all(
        part.y1 <= picture.y0 + 1 or part.y0 >= picture.y1 - 1  # the title is above
        for part in words
        for picture in pictures
    )


@pytest.mark.slow
def test_lines_that_say_nothing_are_left_out() -> None:
    kind = "none: attention does not add up to a score"
    sizes = made((1.0, 2.0), (1.0,), "gradient size", error=None, error_kind=kind)
    assert "none" not in texts_of(sizes.plot())
    assert "share of the" not in texts_of(sizes.plot())
    layered = dataclasses.replace(sizes, error_kind=f"{kind}; read at layer 'a.b'")
    assert "read at layer 'a.b'" in texts_of(layered.plot())
    classifier = made(words=())
    assert "100%" not in texts_of(classifier.plot())
    assert "100%" not in article(classifier)
    assert "image 80%, question 20%" in texts_of(made().plot())


@pytest.mark.parametrize(
    ("forwards", "backwards", "expected"),
    [
        (1, 1, "1 forward pass, 1 backward pass, "),
        (2, 0, "2 forward passes, 0 backward passes, "),
        (12345, 1, "12,345 forward passes, 1 backward pass, "),
    ],
)
def test_passes_are_counted_in_english(forwards: int, backwards: int, expected: str) -> None:
    why = made(cost=Cost(forwards, backwards, 0.5))
    for text in (repr(why), article(why), payload(why, packed)["origin"]):
        assert expected in text


DECODE = """
import { readFileSync } from "node:fs";
import { array } from "STATIC/data.js";
import { regionAt } from "STATIC/layout.js";
const labels = await array(JSON.parse(readFileSync(process.argv[3], "utf8")));
const places = JSON.parse(process.argv[2]);
console.log(JSON.stringify(places.map((place) => regionAt(labels, place))));
"""


@pytest.mark.parametrize("count", [3, 65_535, 65_536, 80_000])
def test_every_region_arrives_in_the_viewer_under_its_own_number(
    count: int, tmp_path: Path
) -> None:
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    side = 300
    labels = np.full((side, side), -1, dtype=np.int32)
    labels.flat[: side * side - side] = np.arange(side * side - side) % count
    region = RegionValue((0, 0, 1, 1), 0.5, None)
    why = replaced(
        made(),
        labels=labels,
        regions=(region,) * count,
        image=np.zeros((side, side)),
        picture=np.zeros((side, side, 3), dtype=np.uint8),
    )
    places = [(5, 0), (135, 218), (136, 218), (0, 250), (299, 298), (0, 299), (299, 299)]
    sent = json.dumps(payload(why, packed)["parts"][0]["labels"])
    (tmp_path / "decode.mjs").write_text(DECODE.replace("STATIC", STATIC.as_uri()))
    (tmp_path / "labels.json").write_text(sent)
    done = subprocess.run(
        ["node", tmp_path / "decode.mjs", json.dumps(places), tmp_path / "labels.json"],
        capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [int(labels[y, x]) for x, y in places]
