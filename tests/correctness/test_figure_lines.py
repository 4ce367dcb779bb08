"""Lines of figures end inside the figure at any resolution, as the renderer itself measures them."""

from dataclasses import replace

import pytest
import several
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from vqa_explain.figures.text_lines import text_width
from vqa_explain.wording import value_text

NOTE = "values are means over the fills blur, mean and constant; 7 of 23 keep their sign at 95%, "
LINES = (
    NOTE,
    "iiii llll rrrr tttt ffff",
    "MMMM WWWW mmmm wwww",
    "“large” × region 13 +3.48 ± 0.07",
)


def outside(figure: Figure, dpi: int) -> list[str]:
    """The texts that reach beyond the right edge where the figure is drawn at this resolution."""
    figure.set_dpi(dpi)
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    right = figure.get_figwidth() * dpi
    return [text.get_text() for text in texts if text.get_window_extent(renderer).x1 > right + 1e-6]


@pytest.mark.slow
@pytest.mark.parametrize("dpi", [72, 100, 150])
def test_no_line_of_a_figure_reaches_beyond_its_edge(dpi: int) -> None:
    for name in ("two pictures", "chat", "table and picture"):
        why = several.CASES[name]()
        figure = replace(why, notes=(NOTE + NOTE, NOTE + "and † marks the others")).plot()
        assert outside(figure, dpi) == [], name


@pytest.mark.parametrize("dpi", [72, 100, 150])
def test_a_line_is_measured_as_wide_as_it_is_drawn(dpi: int) -> None:
    for size in (8, 8.5, 9, 11, 13):
        for line in LINES:
            figure = Figure(dpi=dpi)
            drawn = figure.text(0, 0, line, fontsize=size)
            extent = drawn.get_window_extent(FigureCanvasAgg(figure).get_renderer())
            assert extent.width * 72 / dpi <= text_width(line, size) * 1.01, (line, size)


def test_figures_say_errors_in_one_digit_and_minus_signs_as_wide_as_plus() -> None:
    why = replace(several.CASES["two pictures"](), error=0.0161)
    texts = [text.get_text() for axes in why.plot().axes for text in axes.texts]
    texts += [text.get_text() for text in why.plot().texts]
    assert any("error: at most ± 0.02 (" in text for text in texts)
    negative = [
        value_text(word.value, word.error)
        for part in why.parts
        if part.kind == "text"
        for word in part.players
        if word.value < -0.1
    ]
    assert negative
    assert all(any(one.replace("-", "−") in text for text in texts) for one in negative)
