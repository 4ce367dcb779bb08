"""What is settled of an explanation, and that figures outline it."""

from typing import Any

import building
import numpy as np
import pytest
from matplotlib import pyplot
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.text import Text

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.figures.parts import ink
from vqa_explain.target import Answer

WIDE = 1.959964


def explanation(values: list[float], error: float | None) -> vx.Explanation:
    """Two words and regions in a row, of these values, all with one standard error."""
    count = len(values) - 2
    labels = np.repeat(np.arange(count, dtype=np.int32), 4)[None].repeat(4, axis=0)
    regions = tuple(
        RegionValue((4 * n, 0, 4 * n + 4, 4), value, error) for n, value in enumerate(values[2:])
    )
    words = (WordValue("what", 0, 4, values[0], error), WordValue("color", 5, 10, values[1], error))
    found: vx.Explanation = building.explanation(
        question="what color",
        image=np.array(values[2:])[labels],
        picture=np.full((4, 4 * count, 3), 120, np.uint8),
        labels=labels,
        regions=regions,
        words=words,
        answers=(Answer("red", 0.9, 0),),
        target="red",
        contrast=None,
        score="logit",
        share={"image": 0.5, "question": 0.5},
        error=error,
        error_kind="largest standard error",
        cost=Cost(),
        method="shapley",
        parameters={},
        provenance={"model": "scenes", "seed": 0},
    )
    return found


def written_in(figure: Figure) -> str:
    """All that a figure says, in one line."""
    texts = [text.get_text() for text in figure.findobj(Text) if isinstance(text, Text)]
    return " ".join(" ".join(texts).split())


@pytest.mark.parametrize(
    ("values", "error", "wanted"),
    [
        ([0.1, 9.0, 5.0, 0.2, -0.1], 0.1, {"question": (1,), "image": (0,)}),
        ([0.1, -9.0, 0.0, 0.2, -0.1], 0.1, {"question": (1,)}),
        ([5.0, 5.1, 4.9, 5.0, 5.2], 0.1, {}),
        ([0.1, 9.0, 5.0, 0.2, -0.1], 0.0, None),
        ([0.1, 9.0, 5.0, 0.2, -0.1], None, None),
        ([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0], 0.01, {"question": (0, 1), "image": (0, 1, 2)}),
        # Neither of two like ones is surely the first, and both are surely the first two.
        ([0.1, 9.0, 9.05, 0.2, -0.1], 0.1, {"image": (0,), "question": (1,)}),
    ],
)
def test_the_most_important_parts_that_are_certain(
    values: list[float], error: float | None, wanted: Any
) -> None:
    why = explanation(values, error)
    assert why.settled_parts == wanted
    count = sum(map(len, (wanted or {}).values()))
    if wanted is None:
        assert why.settled_text == ""
    elif count == 0:
        assert why.settled_text == "no part is settled as the most important at 95%"
    elif count == 1:
        assert why.settled_text == "the most important part, settled at 95%"
    else:
        assert why.settled_text == f"the {count} most important parts, settled at 95%"
    if count:
        # By the definition: further apart than two simultaneous intervals.
        sizes = np.sort(np.abs(values))[::-1]
        assert error is not None
        assert sizes[count - 1] - sizes[count] > 2 * WIDE * error


def outlines_of(axes: Any) -> int:
    """The lines about regions; what is filled is the hatching."""
    return sum(not getattr(one, "filled", False) for one in axes.collections)


@pytest.mark.parametrize("style", ["default", "dark_background"])
def test_figures_outline_what_is_settled(style: str) -> None:
    why = explanation([0.1, 9.0, 5.0, 0.2, -0.1], 0.1)
    with pyplot.style.context(style):
        figure = why.plot()
        texts = {text.get_text(): text for axes in figure.axes for text in axes.texts}
        edges = {}
        for word in ("what", "color"):
            box = texts[word].get_bbox_patch()
            assert box is not None
            edges[word] = (box.get_linewidth(), to_rgba(box.get_edgecolor()))
        assert edges["color"] == (1.6, to_rgba(ink()))
        assert edges["what"][0] < 1
        # The overlay has two lines around the one region; the picture alone has none.
        outlines = [outlines_of(axes) for axes in figure.axes if axes.images]
        assert max(outlines) == 2
        assert "outlined: the 2 most important parts, settled at 95%" in written_in(figure)
    pyplot.close("all")


@pytest.mark.slow
def test_figures_say_where_nothing_is_settled() -> None:
    figure = explanation([5.0, 5.1, 4.9, 5.0, 5.2], 0.1).plot()
    assert "no part is settled as the most important at 95%" in written_in(figure)
    assert "outlined" not in written_in(figure)
    assert not any(outlines_of(axes) for axes in figure.axes if axes.images)
    exact = explanation([5.0, 5.1, 4.9, 5.0, 5.2], 0.0).plot()
    assert "settled" not in written_in(exact)
    pyplot.close("all")
