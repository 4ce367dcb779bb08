"""Static figures with matplotlib."""

import math
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vqa_explain import colors
from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart
from vqa_explain.figures.parts import (
    LEADING,
    Block,
    Look,
    blocks_of,
    height_of,
    legend,
    look_of,
    plain,
)
from vqa_explain.figures.text_lines import shortened, text_width, wrapped

# All lengths are points, 72 to the inch.
_VIEW = (302.0, 268.0)  # width and height of a view with its title and color bar
_BAR = 200.0  # height of a color bar, at least
_MARGIN = 14.0  # at the left and right of the figure
_NOTE_SIZE = 7.5
_TITLE_SIZE = 12.0
_SMALL_VIEW = (210.0, 190.0)  # the same where there are more than two pictures
_ACROSS = 4  # pictures side by side, at most
_SHARES = ("#5b7083", "#8a6d1b", "#3f7d5a", "#86507a", "#a65a3d", "#4a58a6")


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


def plot(
    explanation: Explanation, views: Sequence[str] = ("picture", "overlay"), cmap: Any = None
) -> Figure:
    """The pictures in several views, colored words, bars of tables, each input's share, and color
    bars with units.

    One picture has its views side by side; several have one column each, and one color bar. Inputs
    that were fixed are pale. A kind of input that `register_drawing` does not know is a list of
    bars, one for each player.

    A color bar begins at 0 where the method's values are never below zero, and at the smallest
    value where zero means nothing (mean scores). Words have a bar of their own unless they share
    the map's scale. Pairs of words and regions are named with their standard errors, those that
    stand out most from them. Notes stand at the bottom.

    The figure is not registered with pyplot, so it needs no closing; notebooks show it, `savefig`
    writes it.

    Args:
        views: of `VIEWS`: the "picture"; the values laid "overlay" it, or alone as "signed",
            "positive", "negative" or "absolute"; or the picture "masked", seen only as far as
            values speak for the answer.
        cmap: a matplotlib color map, by name or itself, in place of our own, for the map and the
            words. Where values lie on one side of zero, a diverging map is used from its middle on,
            and any other map whole.

    Raises:
        InvalidInput: there is no such view or color map, or no negative values to show.
    """
    _check(explanation, views, cmap)
    rows, columns = _layout(explanation, views)
    one = _view_size(len(_pictures(explanation)))
    width = max(2 * _VIEW[0], columns * one[0])
    room = width - 2 * _MARGIN
    title = _title(explanation, room)
    footer = _footer(explanation, room)
    blocks = _blocks(explanation, views, cmap, room)
    below_blocks = height_of(footer, _NOTE_SIZE)
    below = below_blocks + sum(block.height for block in blocks)
    height = below + rows * one[1] + height_of(title, _TITLE_SIZE)
    # The layout engine places the views alone; what stands below them has its place.
    place = (0, below / height, 1, 1 - below / height)
    layout = ConstrainedLayoutEngine(rect=place) if rows else None
    figure = Shown(figsize=(width / 72, height / 72), layout=layout)
    _views(figure, explanation, views, cmap)
    top = below
    for block in blocks:
        bottom = top - block.height
        box = (_MARGIN / width, bottom / height, room / width, block.height / height)
        axes = figure.add_axes(box, xlim=(0, room), ylim=(0, block.height))
        axes.set_axis_off()
        block.draw(axes)
        top = bottom
    if footer:
        figure.text(
            _MARGIN / width,
            below_blocks / height,
            plain("\n".join(footer)),
            va="top",
            fontsize=_NOTE_SIZE,
            linespacing=1.3,
        )
    heading = figure.suptitle(plain("\n".join(title)), fontsize=_TITLE_SIZE)
    if not rows:  # then no layout engine places it
        heading.set(y=1 - 0.3 * _TITLE_SIZE * LEADING / height, va="top")
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
            f"view 'negative' has nothing to show: values of {explanation.method!r} "
            f"({explanation.unit}) {why}; leave it out"
        )
    if isinstance(cmap, str) and cmap not in matplotlib.colormaps:
        raise unknown("color map", cmap, matplotlib.colormaps)


def _title(explanation: Explanation, room: float) -> list[str]:
    """The question and the answer, each in at most two lines."""
    best = explanation.answers[0]
    texts = (explanation.heading, f"answer: {best.text} ({best.shown})")
    return [line for text in texts for line in wrapped(text, _TITLE_SIZE, room, most=2)]


def _footer(explanation: Explanation, room: float) -> list[str]:
    """The error, and the notes; each begins a line."""
    notes = [f"note: {note}" for note in explanation.notes]
    texts = [*_error_lines(explanation), *notes]
    return [line for text in texts for line in wrapped(text, _NOTE_SIZE, room)]


def _error_lines(explanation: Explanation) -> list[str]:
    """The error with its kind; of a method without one, only what else it says,
    such as the layer that it read.
    """
    if explanation.error is not None:
        return [f"error: {explanation.error_text}"]
    clauses = explanation.error_kind.split("; ")
    return [clause for clause in clauses if not clause.startswith("none")]


def _pictures(explanation: Explanation) -> list[PicturePart]:
    return [part for part in explanation.parts if isinstance(part, PicturePart)]


def _view_size(count: int) -> tuple[float, float]:
    """The width and height of a view with its title and color bar, of so many pictures."""
    return _VIEW if count <= 2 else _SMALL_VIEW


def _layout(explanation: Explanation, views: Sequence[str]) -> tuple[int, int]:
    """(rows, columns) of views: one picture has its views side by side,
    several have one column each.
    """
    count = len(_pictures(explanation))
    if count <= 1:
        return count, len(views)
    columns = min(count, _ACROSS)
    return math.ceil(count / columns) * len(views), columns


def _views(figure: Figure, explanation: Explanation, views: Sequence[str], cmap: Any) -> None:
    """One picture in its views, or several with a view of all of them in each row."""
    pictures = _pictures(explanation)
    rows, columns = _layout(explanation, views)
    if not rows:
        return
    grid = figure.add_gridspec(rows, columns)
    colored = [view for view in views if VIEWS[view] is not None]
    if len(pictures) == 1:
        for column, view in enumerate(views):
            axes = figure.add_subplot(grid[0, column])
            look = _view(axes, explanation, pictures[0], view, cmap)
            _color_bar(figure, [axes], look, explanation if view in colored[-1:] else None)
        return
    for first in range(0, len(pictures), columns):
        for number, view in enumerate(views):
            row = first // columns * len(views) + number
            told = explanation if view in colored[-1:] else None
            _row(
                figure,
                grid[row, :],
                explanation,
                pictures[first : first + columns],
                view,
                cmap,
                told,
            )


def _row(
    figure: Figure,
    place: Any,
    explanation: Explanation,
    pictures: Sequence[PicturePart],
    view: str,
    cmap: Any,
    told: Explanation | None,
) -> None:
    """One view of several pictures, which have one scale and so one color bar."""
    columns = min(len(_pictures(explanation)), _ACROSS)
    grid = place.subgridspec(1, columns)
    drawn = [figure.add_subplot(grid[0, column]) for column in range(len(pictures))]
    looks = [
        _view(axes, explanation, part, view, cmap)
        for axes, part in zip(drawn, pictures, strict=True)
    ]
    found = next((look for look in looks if look is not None), None)
    _color_bar(figure, drawn, found, told)


def _color_bar(
    figure: Figure, axes: Sequence[Axes], look: Look | None, told: Explanation | None
) -> None:
    """A color bar beside axes, with the unit of the explanation that is told;
    none without colors.
    """
    if look is None:
        return
    bar = figure.colorbar(ScalarMappable(look.norm, look.cmap), ax=list(axes), shrink=0.9)
    bar.ax.tick_params(labelsize=7)
    if told is not None:
        label = wrapped(told.map_legend, 8, _BAR, most=4)
        bar.set_label(plain("\n".join(label)), fontsize=8)


def _view_title(explanation: Explanation, part: PicturePart, view: str) -> str:
    what = "regions" if explanation.by_player else "pixels"
    said = view if view == "picture" else f"{view}: {what}, {explanation.method}"
    if part.fixed:
        said = f"{part.name}: fixed"
    elif not explanation.is_alone(part):
        said = part.name if view == "picture" else f"{part.name}, {view}"
    width, _ = _view_size(len(_pictures(explanation)))
    return shortened(said, 9, width - 60)


def _view(
    axes: Axes, explanation: Explanation, part: PicturePart, view: str, cmap: Any
) -> Look | None:
    """Draws one view of one picture; gives its colors, or `None` where it has none."""
    axes.set_axis_off()
    axes.set_title(plain(_view_title(explanation, part, view)), fontsize=9)
    if part.fixed:
        axes.imshow(_pale(part.picture))
        return None
    values, _ = explanation.heat_of(part)
    scale = explanation.map_colors
    if view == "picture":
        axes.imshow(part.picture)
        return None
    if view == "masked":
        axes.imshow(colors.masked(part.picture, scale.shares(values), 1))
        return None
    shows, low, high = VIEWS[view]
    shown = shows(values)
    if low == 0 and not explanation.values_unit.from_zero:
        scale = _scale_of_part(scale, shows)
    look = look_of(scale, cmap, low, high)
    if cmap is not None:
        axes.imshow(part.picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        opacity = 0.7 if view == "overlay" else 1
        axes.imshow(shown, cmap=look.cmap, alpha=opacity, norm=look.norm)
    elif view == "overlay":
        axes.imshow(colors.overlay(part.picture, scale.shares(shown), 1, scale.palette))
    else:
        axes.imshow(colors.on_white(scale.shares(shown), 1, scale.palette))
    return look


def _pale(picture: np.ndarray) -> np.ndarray:
    """A picture that was left as it is, faded halfway to white."""
    return ((picture.astype(np.uint16) + 255) // 2).astype(np.uint8)


def _scale_of_part(scale: colors.Scale, part: Callable[[np.ndarray], np.ndarray]) -> colors.Scale:
    """The scale of what a view shows of values, as "positive" or "absolute" do,
    that do not begin at zero.
    """
    ends = part(np.array([scale.bare, scale.full]))
    holds_zero = scale.bare < 0 < scale.full
    low = 0.0 if holds_zero else float(ends.min())
    return colors.Scale(low, float(ends.max()), scale.palette)


def _blocks(explanation: Explanation, views: Sequence[str], cmap: Any, room: float) -> list[Block]:
    """What stands below the views, from the top."""
    blocks, legends = [], {}
    for part in explanation.parts:
        if isinstance(part, PicturePart):
            continue
        look = look_of(explanation.colors_of(part.kind), cmap)
        blocks += blocks_of(part, explanation, look, room)
        if part.players:
            legends[explanation.legend_of(part)] = look
    pictures = [part for part in explanation.parts if isinstance(part, PicturePart)]
    has_map = any(part.players for part in pictures) and any(VIEWS[v] is not None for v in views)
    if not (has_map and explanation.one_scale):  # else the map's legend holds for all
        blocks += [legend(said, look, room) for said, look in legends.items()]
    if explanation.pairs:
        blocks.append(_pairs(explanation, room))
    # A share of one input alone, or of values that have no common unit, says nothing.
    if len(explanation.share) > 1 and not explanation.values_unit.why_no_shares:
        blocks.append(_shares(explanation, room))
    return blocks


def _pairs(explanation: Explanation, room: float) -> Block:
    """The pairs of words and regions that stand out from their errors,
    with what is to be known of all of them.
    """
    found, said = explanation.findings()
    texts = [
        f"{explanation.pairs_title}, by value / standard error:",
        *map(explanation.pair_text, found),
        said,
    ]
    lines = [line for text in texts for line in wrapped(text, 7, room, most=3)]
    height = height_of(lines, 7)

    def draw(axes: Axes) -> None:
        axes.text(0, height, plain("\n".join(lines)), va="top", fontsize=7, linespacing=1.3)

    return Block(height, draw)


def _shares(explanation: Explanation, room: float) -> Block:
    """A bar of the inputs' shares, named in it where there is room, and above it in any case."""
    said = f"share of the absolute total: {explanation.share_text}"
    lines = wrapped(said, 8, room)

    def draw(axes: Axes) -> None:
        start = 0.0
        for number, (name, share) in enumerate(explanation.share.items()):
            wide = share * room
            axes.barh(11, wide, left=start, height=16, color=_SHARES[number % len(_SHARES)])
            label = f"{name} {share:.0%}"
            if text_width(label, 9) + 8 < wide:
                axes.text(
                    start + wide / 2, 11, label, ha="center", va="center", color="white", fontsize=9
                )
            start += wide
        axes.text(0, 22, plain("\n".join(lines)), va="bottom", fontsize=8, linespacing=1.3)

    return Block(36.0 + (len(lines) - 1) * LEADING * 8, draw)
