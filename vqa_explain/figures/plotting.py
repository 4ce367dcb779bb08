"""Static figures with matplotlib."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vqa_explain import colors
from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.explanation import Explanation, value_text
from vqa_explain.features.parts import WordValue
from vqa_explain.figures.colormaps import own_map, part_of_map
from vqa_explain.figures.text_lines import shortened, text_width, wrapped

# All lengths are points, 72 to the inch.
_VIEW = (302.0, 268.0)  # width and height of a view with its title and color bar
_BAR = 200.0  # height of a color bar, at least
_MARGIN = 14.0  # at the left and right of the figure
_LEADING = 1.35  # from line to line, in font sizes
_NOTE_SIZE = 7.5
_TITLE_SIZE = 12.0
_WORD_SIZE = 10.0
_WORD_ROW = 36.0
_WORD_ROOM = 16.0  # around a word
_SHARES = ("#5b7083", "#8a6d1b")


# View → what of the values it shows, and the ends of its scale; `None` for those without a scale.
VIEWS: dict[str, Any] = {
    "picture": None,
    "overlay": (lambda v: v, -1, 1),
    "signed": (lambda v: v, -1, 1),
    "positive": (lambda v: np.maximum(v, 0), 0, 1),
    "negative": (lambda v: np.minimum(v, 0), -1, 0),
    "absolute": (np.abs, 0, 1),
    "masked": None,
}


class Shown(Figure):
    """A figure that notebooks show by themselves, pyplot or not."""

    def _repr_png_(self) -> bytes:
        sink = BytesIO()
        self.savefig(sink, format="png", dpi=72)
        return sink.getvalue()


@dataclass(frozen=True)
class _Block:
    """What stands below the views over the figure's whole width: its height in points, and how it is drawn.

    It draws into axes whose unit is the point, from (0, 0) at the lower left.
    """

    height: float
    draw: Callable[[Axes], None]


def plot(
    explanation: Explanation, views: Sequence[str] = ("picture", "overlay"), cmap: Any = None
) -> Figure:
    """The picture in several views side by side, the colored words, each modality's share, and bars with units.

    A color bar begins at 0 where the method's values are never below zero, and at the smallest value
    where zero means nothing (mean scores). Words have a bar of their own unless they share the map's scale. Pairs
    of words and regions are named with their standard errors, those that stand out most from them. Notes stand at
    the bottom.

    The figure is not registered with pyplot, so it needs no closing; notebooks show it, `savefig` writes it.

    Args:
        views: of `VIEWS`: the "picture"; the values laid "overlay" it, or alone as "signed", "positive", "negative" or
            "absolute"; or the picture "masked", seen only as far as values speak for the answer.
        cmap: a matplotlib color map, by name or itself, in place of our own, for the map and the words. Where values
            lie on one side of zero, a diverging map is used from its middle on, and any other map whole.

    Raises:
        InvalidInput: there is no such view or color map, or no negative values to show.
    """
    _check(explanation, views, cmap)
    width = max(2, len(views)) * _VIEW[0]
    room = width - 2 * _MARGIN
    title = _title(explanation, room)
    footer = _footer(explanation, room)
    blocks = _blocks(explanation, views, cmap, room)
    below_blocks = _height(footer, _NOTE_SIZE)
    below = below_blocks + sum(block.height for block in blocks)
    height = below + _VIEW[1] + _height(title, _TITLE_SIZE)
    # The layout engine places the views alone; what stands below them has its place.
    layout = ConstrainedLayoutEngine(rect=(0, below / height, 1, 1 - below / height))
    figure = Shown(figsize=(width / 72, height / 72), layout=layout)
    _views(figure, explanation, views, cmap)
    top = below
    for block in blocks:
        bottom = top - block.height
        place = (_MARGIN / width, bottom / height, room / width, block.height / height)
        axes = figure.add_axes(place, xlim=(0, room), ylim=(0, block.height))
        axes.set_axis_off()
        block.draw(axes)
        top = bottom
    if footer:
        figure.text(
            _MARGIN / width,
            below_blocks / height,
            _plain("\n".join(footer)),
            va="top",
            fontsize=_NOTE_SIZE,
            linespacing=1.3,
        )
    figure.suptitle(_plain("\n".join(title)), fontsize=_TITLE_SIZE)
    return figure


def _check(explanation: Explanation, views: Sequence[str], cmap: Any) -> None:
    for view in views:
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
    if not views:
        raise InvalidInput("no view is asked for; name at least one")
    unit = explanation.values_unit
    if "negative" in views and not unit.two_sided:
        why = (
            "are never below zero"
            if not unit.signed
            else "are no changes for or against the answer"
        )
        raise InvalidInput(
            f"view 'negative' has nothing to show: values of {explanation.method!r} ({explanation.unit}) {why}; "
            "leave it out"
        )
    if isinstance(cmap, str) and cmap not in matplotlib.colormaps:
        raise unknown("color map", cmap, matplotlib.colormaps)


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is, without mathematics."""
    return text.replace("$", r"\$")


def _height(lines: Sequence[str], size: float) -> float:
    """Points that lines take, with a margin below; 0 for none."""
    return (len(lines) + 1) * _LEADING * size if lines else 0.0


def _title(explanation: Explanation, room: float) -> list[str]:
    """The question and the answer, each in at most two lines."""
    best = explanation.answers[0]
    question = explanation.question or "image classification"
    texts = (question, f"answer: {best.text} ({best.shown})")
    return [line for text in texts for line in wrapped(text, _TITLE_SIZE, room, most=2)]


def _footer(explanation: Explanation, room: float) -> list[str]:
    """The error, and the notes; each begins a line."""
    notes = [f"note: {note}" for note in explanation.notes]
    texts = [*_error_lines(explanation), *notes]
    return [line for text in texts for line in wrapped(text, _NOTE_SIZE, room)]


def _error_lines(explanation: Explanation) -> list[str]:
    """The error with its kind; of a method without one, only what else it says, such as the layer that it read."""
    if explanation.error is not None:
        return [f"error: {explanation.error_text}"]
    clauses = explanation.error_kind.split("; ")
    return [clause for clause in clauses if not clause.startswith("none")]


@dataclass(frozen=True)
class _Look:
    """The colors of one view: `ends` are the values at the two ends of `cmap`."""

    ends: tuple[float, float]
    cmap: Colormap

    @property
    def norm(self) -> Normalize:
        return Normalize(*self.ends)


def _look(scale: colors.Scale, cmap: Any, low: float = -1, high: float = 1) -> _Look:
    """The colors from `low` to `high`, in shares of full color; one-sided scales begin at their bare value."""
    low = max(low, scale.palette.low)
    width = scale.full - scale.bare
    width = width if width > 0 else 1.0  # where all values are alike
    chosen = own_map(scale, low, high) if cmap is None else part_of_map(cmap, low, high)
    return _Look((scale.bare + low * width, scale.bare + high * width), chosen)


def _views(figure: Figure, explanation: Explanation, views: Sequence[str], cmap: Any) -> None:
    """The views side by side; the last one that has colors says their unit."""
    grid = figure.add_gridspec(1, len(views))
    colored = [column for column, view in enumerate(views) if VIEWS[view] is not None]
    for column, view in enumerate(views):
        axes = figure.add_subplot(grid[0, column])
        axes.set_axis_off()
        axes.set_title(_plain(_view_title(explanation, view)), fontsize=9)
        bar = _view(figure, axes, explanation, view, cmap)
        if bar is not None and column == colored[-1]:
            label = wrapped(explanation.map_legend, 8, _BAR, most=4)
            bar.set_label(_plain("\n".join(label)), fontsize=8)


def _view_title(explanation: Explanation, view: str) -> str:
    if view == "picture":
        return view
    what = "regions" if explanation.by_player else "pixels"
    return shortened(f"{view}: {what}, {explanation.method}", 9, _VIEW[0] - 60)


def _view(figure: Figure, axes: Axes, explanation: Explanation, view: str, cmap: Any) -> Any:
    """Draws one view; gives its color bar, or `None` where it has no colors."""
    values, _ = explanation.heat
    scale = explanation.map_colors
    if view == "picture":
        axes.imshow(explanation.picture)
        return None
    if view == "masked":
        axes.imshow(colors.masked(explanation.picture, scale.shares(values), 1))
        return None
    part, low, high = VIEWS[view]
    shown = part(values)
    if low == 0 and not explanation.values_unit.from_zero:
        scale = _scale_of_part(scale, part)
    look = _look(scale, cmap, low, high)
    if cmap is not None:
        axes.imshow(explanation.picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        opacity = 0.7 if view == "overlay" else 1
        axes.imshow(shown, cmap=look.cmap, alpha=opacity, norm=look.norm)
    elif view == "overlay":
        axes.imshow(colors.overlay(explanation.picture, scale.shares(shown), 1, scale.palette))
    else:
        axes.imshow(colors.on_white(scale.shares(shown), 1, scale.palette))
    bar = figure.colorbar(ScalarMappable(look.norm, look.cmap), ax=axes, shrink=0.9)
    bar.ax.tick_params(labelsize=7)
    return bar


def _scale_of_part(scale: colors.Scale, part: Callable[[np.ndarray], np.ndarray]) -> colors.Scale:
    """The scale of what a view shows of values, as "positive" or "absolute" do, that do not begin at zero."""
    ends = part(np.array([scale.bare, scale.full]))
    holds_zero = scale.bare < 0 < scale.full
    low = 0.0 if holds_zero else float(ends.min())
    return colors.Scale(low, float(ends.max()), scale.palette)


def _blocks(explanation: Explanation, views: Sequence[str], cmap: Any, room: float) -> list[_Block]:
    """What stands below the views, from the top."""
    blocks = []
    if explanation.words:
        look = _look(explanation.word_colors, cmap)
        blocks.append(_words(explanation, look, room))
        map_says_it = explanation.one_scale and any(VIEWS[view] is not None for view in views)
        if not map_says_it:
            blocks.append(_word_bar(explanation, look, room))
    if explanation.pairs:
        blocks.append(_pairs(explanation, room))
    # A share of one feature alone, or of values that have no common unit, says nothing.
    if len(explanation.share) > 1 and not explanation.values_unit.why_no_shares:
        blocks.append(_shares(explanation, room))
    return blocks


def _words(explanation: Explanation, look: _Look, room: float) -> _Block:
    """The words in rows on the colors of their values."""
    cells = [_WordCell.of(word, explanation, room) for word in explanation.words]
    rows: list[list[_WordCell]] = [[]]
    for cell in cells:
        if rows[-1] and sum(c.width for c in rows[-1]) + cell.width > room:
            rows.append([])
        rows[-1].append(cell)

    def draw(axes: Axes) -> None:
        for number, row in enumerate(rows):
            left = (room - sum(cell.width for cell in row)) / 2
            for cell in row:
                cell.draw(axes, left + cell.width / 2, _WORD_ROW * (len(rows) - number), look)
                left += cell.width

    return _Block(_WORD_ROW * len(rows), draw)


@dataclass(frozen=True)
class _WordCell:
    """A word and its value, as they are written, and the width of the two in points."""

    text: str
    said: str
    value: float
    width: float

    @classmethod
    def of(cls, word: WordValue, explanation: Explanation, room: float) -> "_WordCell":
        text = shortened(word.text, _WORD_SIZE, room - _WORD_ROOM)
        said = value_text(word.value, word.error, explanation.values_unit.two_sided)
        width = max(text_width(text, _WORD_SIZE), text_width(said, 6.5)) + _WORD_ROOM
        return cls(text, said, word.value, width)

    def draw(self, axes: Axes, middle: float, top: float, look: _Look) -> None:
        red, green, blue, _ = look.cmap(look.norm(self.value))
        axes.text(
            middle,
            top - 12,
            _plain(self.text),
            ha="center",
            va="center",
            bbox={
                "facecolor": (red, green, blue),
                "edgecolor": "none",
                "boxstyle": "round,pad=0.3",
            },
            color=colors.ink((255 * red, 255 * green, 255 * blue)),
            fontsize=_WORD_SIZE,
        )
        axes.text(middle, top - 23, self.said, ha="center", va="top", fontsize=6.5)


def _word_bar(explanation: Explanation, look: _Look, room: float) -> _Block:
    """The color bar of the words, with its unit."""
    lines = wrapped(explanation.word_legend, 8, room, most=2)
    height = _height(lines, 8) + 16

    def draw(axes: Axes) -> None:
        axes.text(room / 2, 2, _plain("\n".join(lines)), ha="center", va="bottom", fontsize=8)
        place = axes.inset_axes((room / 2 - 110, height - 9, 220, 7), transform=axes.transData)
        bar = axes.figure.colorbar(
            ScalarMappable(look.norm, look.cmap), cax=place, orientation="horizontal"
        )
        bar.ax.tick_params(labelsize=7, length=2, pad=1)

    return _Block(height, draw)


def _pairs(explanation: Explanation, room: float) -> _Block:
    """The pairs of words and regions that stand out from their errors, with what is to be known of all of them."""
    found, said = explanation.findings()
    texts = [
        "words × regions, by value / standard error:",
        *map(explanation.pair_text, found),
        said,
    ]
    lines = [line for text in texts for line in wrapped(text, 7, room, most=3)]
    height = _height(lines, 7)

    def draw(axes: Axes) -> None:
        axes.text(0, height, _plain("\n".join(lines)), va="top", fontsize=7, linespacing=1.3)

    return _Block(height, draw)


def _shares(explanation: Explanation, room: float) -> _Block:
    """A bar of the features' shares, named in it where there is room, and above it in any case."""

    def draw(axes: Axes) -> None:
        start = 0.0
        for number, (name, share) in enumerate(explanation.share.items()):
            wide = share * room
            axes.barh(11, wide, left=start, height=16, color=_SHARES[number % 2])
            label = f"{name} {share:.0%}"
            if text_width(label, 9) + 8 < wide:
                axes.text(
                    start + wide / 2, 11, label, ha="center", va="center", color="white", fontsize=9
                )
            start += wide
        said = f"share of the absolute total: {explanation.share_text}"
        axes.text(0, 22, said, va="bottom", fontsize=8)

    return _Block(36.0, draw)
