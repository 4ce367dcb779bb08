"""Static figures with matplotlib."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from vqa_explain._shown import percent_text
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart
from vqa_explain.figures.letters import complete_letters
from vqa_explain.figures.matrix import matrices
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
from vqa_explain.figures.scales import ScaleChoice, Scales
from vqa_explain.figures.sentence import (
    chips,
    chosen_words,
    of_words,
    tables,
    unit_of_words,
    word_title,
)
from vqa_explain.figures.text_lines import text_width, wrapped
from vqa_explain.figures.views import (
    MATRIX,
    TITLE_SIZE,
    VIEWS,
    draw_view,
    is_cropped,
    look_of_view,
    number_regions,
    view_title,
)
from vqa_explain.findings import Pair
from vqa_explain.wording import place_text, value_text, with_minus

# All lengths are points, 72 to the inch. A notebook's cell is about 800 wide.
_WIDTH = 620.0
_MARGIN = 14.0
_GAP = 12.0  # between views
_TALLEST = 440.0  # a picture in the figure's usual height, and where there are more than two
_TALLEST_OF_MANY = 170.0
_NARROWEST = 130.0  # the place of a view, so that its title can be read
_LOWEST = 48.0
_ACROSS = 4  # pictures side by side, at most
_VIEWS_ACROSS = 3  # views of one picture side by side, at most
_WIDE = 2.0  # from this width in heights on, views of one picture stand below each other
_HEADING_SIZE = 13.0
_WHY_SIZE = 11.0
_NOTE_SIZE = 8.5
_MOST_LINES = 12  # of a question
_SHARES = ("#5b7083", "#8a6d1b", "#3f7d5a", "#86507a", "#a65a3d", "#4a58a6")


class Shown(Figure):
    """A figure that notebooks show by themselves, pyplot or not."""

    def _repr_png_(self) -> bytes:
        sink = BytesIO()
        self.savefig(sink, format="png", dpi=100)
        return sink.getvalue()


@dataclass(frozen=True)
class _Cell:
    """A view of a picture, and where it is: from the left of its row, with its size; and what
    stands above it, in place of what the view shows.
    """

    part: PicturePart
    view: str
    left: float
    width: float
    height: float
    title: str = ""


@dataclass(frozen=True)
class _Row:
    """Views side by side."""

    cells: tuple[_Cell, ...]

    @property
    def height(self) -> float:
        return max(cell.height for cell in self.cells) + TITLE_SIZE * LEADING + _GAP


def plot(
    explanation: Explanation,
    views: str | Sequence[str] = ("picture", "overlay"),
    cmap: Any = None,
    *,
    title: str | None = None,
    figsize: tuple[float, float] | None = None,
    ax: Axes | None = None,
    scale: ScaleChoice = "own",
    percentile: float | None = None,
    outputs: Sequence[str | int] | None = None,
) -> Figure:
    """The pictures in several views, colored words, bars of tables, each input's share, and color
    bars with units.

    One picture has its views side by side, or below each other where it is wide; several have one
    column each. Inputs that were fixed are pale. A kind of input that `register_drawing` does not
    know is a list of bars, one for each player. A dashed line surrounds what the model sees of a
    picture, where that is a part of it.

    A color bar begins at 0 where the method's values are never below zero, and at the smallest
    value where zero means nothing (mean scores). Pairs of words and regions are named with their
    standard errors, those that stand out most from them. Notes stand at the bottom.

    Of a sentence it has the answer's words, the picture once for each of those that it matters most
    for, all on one scale, and the words of the answer against those of the question.

    The figure is not registered with pyplot, so it needs no closing; notebooks show it, `savefig`
    writes it.

    Args:
        views: of `VIEWS`: the "picture"; the values laid "overlay" it, or alone as "signed",
            "positive", "negative" or "absolute"; the picture "masked", seen only as far as values
            speak for the answer; or the "matrix" of interactions.
        cmap: a matplotlib color map, by name or itself, in place of our own, for the map and the
            words. Where values lie on one side of zero, a diverging map is used from its middle on,
            and any other map whole.
        title: in place of the question and of what is explained.
        figsize: width and height in inches; pictures take the height that is left.
        ax: axes of a figure of yours, which get one view of the one picture, and nothing else.
        scale: "own" gives each kind of input the colors of its own largest value, "shared" all
            kinds those of the largest of all.
        percentile: full color at this percentile of the sizes, such as 99, in place of the largest.
        outputs: of a sentence, the words whose pictures are drawn, or their numbers from 0; by
            default the six that the pictures matter most for.

    Raises:
        InvalidInput: there is no such view, color map or word, or nothing to show of it; or a size,
            scale or percentile cannot be.
    """
    views = (views,) if isinstance(views, str) else tuple(views)
    if explanation.outputs and ax is not None and outputs is not None:
        raise InvalidInput(
            "ax= takes one view of one picture; write why.outputs[number].plot(…, ax=ax)"
        )
    if explanation.outputs and ax is None:
        if scale != "own":
            raise InvalidInput("the words of a sentence have one scale; leave scale= out")
        return _plot_words(explanation, views, cmap, title, figsize, percentile, outputs)
    if outputs is not None:
        raise InvalidInput(
            "outputs= names words of a sentence; explain one by target='sentence', or leave it out"
        )
    _check(explanation, views, cmap)
    if views == (MATRIX,):  # whose columns are regions, which are numbered on the picture
        views = ("picture", "overlay", MATRIX)
    scales = Scales(explanation, scale, percentile)
    if ax is not None:
        return _in_axes(ax, scales, views, cmap, title)
    width = _width(figsize)
    room = width - 2 * _MARGIN
    head = _head(explanation, title, room)
    footer = _footer(explanation, room)
    blocks = _blocks(scales, views, cmap, room)
    rest = head.height + sum(block.height for block in blocks) + height_of(footer, _NOTE_SIZE)
    rows = _rows(explanation, views, room, None if figsize is None else 72 * figsize[1] - rest)
    height = rest + sum(row.height for row in rows) + 4
    figure = Shown(figsize=(width / 72, height / 72))
    top = _draw_block(figure, head, height - 4)
    for row in rows:
        _draw_row(figure, row, scales, cmap, top, MATRIX in views)
        top -= row.height
    return _ended(figure, blocks, footer, top)


def _ended(figure: Figure, blocks: Sequence[Block], footer: Sequence[str], top: float) -> Figure:
    """The figure with what stands below `top`."""
    for block in blocks:
        top = _draw_block(figure, block, top)
    if footer:
        figure.text(
            _MARGIN / (72 * figure.get_figwidth()),
            top / (72 * figure.get_figheight()),
            plain("\n".join(footer)),
            va="top",
            fontsize=_NOTE_SIZE,
            linespacing=1.3,
        )
    complete_letters(figure)
    return figure


def _plot_words(
    explanation: Explanation,
    views: Sequence[str],
    cmap: Any,
    title: str | None,
    figsize: tuple[float, float] | None,
    percentile: float | None,
    outputs: Sequence[str | int] | None,
) -> Figure:
    """The figure of a sentence; see `plot`."""
    _check(explanation, views, cmap)
    matrix = MATRIX in views
    view = next((view for view in views if VIEWS[view] is not None or view == "masked"), "overlay")
    words = [] if tuple(views) == (MATRIX,) else chosen_words(explanation, outputs)
    scales = Scales(of_words(explanation, words), "own", percentile)
    width = _width(figsize)
    room = width - 2 * _MARGIN
    head, line = _head(explanation, title, room), chips(explanation, words, room)
    pictures = [part for part in _pictures(explanation) if not part.fixed]
    shown = [(part, "picture", "") for part in pictures if matrix]
    for number in words:
        for part in _pictures(explanation.outputs[number]):
            if not part.fixed:
                named = word_title(explanation, number, room / _VIEWS_ACROSS)
                alone = len(pictures) == 1
                shown.append((part, view, named if alone else f"{named}, {part.name}"))
    blocks = []
    look = look_of_view(scales, view, cmap) if words and pictures else None
    if look is not None:
        player = pictures[0].player if explanation.by_player else "pixel"
        blocks.append(legend(unit_of_words(explanation, player), look, ("", ""), room))
    blocks += tables(explanation, cmap, room, matrix)
    footer = _footer(explanation, room)
    rest = head.height + line.height + height_of(footer, _NOTE_SIZE)
    rest += sum(block.height for block in blocks)
    rows = _rows_of_words(shown, room, None if figsize is None else 72 * figsize[1] - rest)
    height = rest + sum(row.height for row in rows) + 4
    figure = Shown(figsize=(width / 72, height / 72))
    top = _draw_block(figure, line, _draw_block(figure, head, height - 4))
    for row in rows:
        _draw_row(figure, row, scales, cmap, top, matrix)
        top -= row.height
    return _ended(figure, blocks, footer, top)


def _rows_of_words(
    shown: Sequence[tuple[PicturePart, str, str]], room: float, left: float | None
) -> list[_Row]:
    """Pictures with their views and titles, three in a row."""
    across = (room - (_VIEWS_ACROSS - 1) * _GAP) / _VIEWS_ACROSS
    lines = math.ceil(len(shown) / _VIEWS_ACROSS)
    tallest = _TALLEST
    if left is not None:
        tallest = max(_LOWEST, left / max(1, lines) - TITLE_SIZE * LEADING - _GAP)
    rows = []
    for first in range(0, len(shown), _VIEWS_ACROSS):
        cells = []
        for number, (part, view, title) in enumerate(shown[first : first + _VIEWS_ACROSS]):
            height, width = part.picture.shape[:2]
            factor = min(across / width, tallest / height)
            size = max(1.0, width * factor), max(1.0, height * factor)
            cells.append(_Cell(part, view, number * (across + _GAP), *size, title))
        rows.append(_Row(tuple(cells)))
    return rows


def _check(explanation: Explanation, views: Sequence[str], cmap: Any) -> None:
    for view in views:
        if not is_one_of(view, VIEWS):
            if isinstance(view, str) and Path(view).suffix:
                raise InvalidInput(
                    f"plot() gives a figure and writes no file; write plot().savefig({view!r})"
                )
            raise unknown("view", str(view), VIEWS)
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
    if MATRIX in views and not explanation.joint and not explanation.outputs:
        raise InvalidInput(
            f"view {MATRIX!r} shows interactions, or the words of a sentence, and there are none; "
            "explain with method='interactions' or target='sentence'"
        )
    if isinstance(cmap, str) and cmap not in matplotlib.colormaps:
        raise unknown("color map", cmap, matplotlib.colormaps)


def _width(figsize: tuple[float, float] | None) -> float:
    """The figure's width in points.

    Raises:
        InvalidInput: the size is none.
    """
    if figsize is None:
        return _WIDTH
    try:
        width, height = map(float, figsize)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"figsize must be (width, height) in inches, not {figsize!r}") from error
    if not (3 <= width <= 100 and 1 <= height <= 100):
        raise InvalidInput(f"figsize must be from (3, 1) to (100, 100) inches, not {figsize!r}")
    return 72 * width


# What is drawn: from the top.


def _head(explanation: Explanation, title: str | None, room: float) -> Block:
    """What was asked, and what is explained; or a title of the user's own."""
    texts: list[tuple[str, float, str]]
    if title is not None:
        texts = [(title, _HEADING_SIZE, "bold")]
    else:
        texts = [
            (explanation.heading, _HEADING_SIZE, "bold"),
            (explanation.why_text, _WHY_SIZE, "normal"),
        ]
    # A bold letter is up to a tenth wider.
    told = [
        (wrapped(text, size, room / 1.12, most=_MOST_LINES), size, weight)
        for text, size, weight in texts
    ]
    height = sum(len(lines) * LEADING * size for lines, size, _ in told) + 8

    def draw(axes: Axes) -> None:
        top = height
        for lines, size, weight in told:
            text = plain("\n".join(lines))
            axes.text(
                0, top, text, va="top", fontsize=size, fontweight=weight, linespacing=LEADING - 0.1
            )
            top -= len(lines) * LEADING * size

    return Block(height, draw)


def _footer(explanation: Explanation, room: float) -> list[str]:
    """The error, and the notes; each begins a line."""
    notes = [f"note: {note}" for note in explanation.notes]
    cropped = any(is_cropped(part) for part in _pictures(explanation))
    marks = ["dashed: what the model sees of the picture"] if cropped else []
    texts = [*_error_lines(explanation), *_settled_lines(explanation), *marks, *notes]
    return [line for text in texts for line in wrapped(text, _NOTE_SIZE, room)]


def _error_lines(explanation: Explanation) -> list[str]:
    """The error with its kind; of a method without one, only what else it says,
    such as the layer that it read.
    """
    if explanation.error is not None:
        return [f"error: {_error_size(explanation.error)} ({explanation.error_kind})"]
    clauses = explanation.error_kind.split("; ")
    return [clause for clause in clauses if not clause.startswith("none")]


def _error_size(error: float) -> str:
    """An error in the one digit that it has, as values have it.

    >>> _error_size(0.0161), _error_size(0.0)
    ('at most ± 0.02', '0')
    """
    return f"at most ± {error:.1g}" if error else "0"


def _settled_lines(explanation: Explanation) -> list[str]:
    """Which of the most important parts are certain: those that are outlined."""
    said = explanation.settled_text
    if not said:
        return []
    return [f"outlined: {said}" if explanation.settled_parts else said]


def _pictures(explanation: Explanation) -> list[PicturePart]:
    return [part for part in explanation.parts if isinstance(part, PicturePart)]


def _grid(explanation: Explanation, views: Sequence[str]) -> Iterator[list[tuple[Any, str]]]:
    """Rows of (picture, view); `None` where a place stays empty.

    One picture has its views side by side; several have one column each. What is fixed has no
    values, so it is drawn once.
    """
    pictures = _pictures(explanation)
    shown = [view for view in views if view != MATRIX]
    if len(pictures) == 1:
        some = shown[:1] if pictures[0].fixed else shown
        height, width = pictures[0].picture.shape[:2]
        across = 1 if width > _WIDE * height else min(len(some), _VIEWS_ACROSS)
        across = 2 if len(some) == 4 and across > 1 else across
        for first in range(0, len(some), across):
            yield [(pictures[0], view) for view in some[first : first + across]]
        return
    for first in range(0, len(pictures), _ACROSS):
        some_pictures = pictures[first : first + _ACROSS]
        for view in shown:
            row = [None if one.fixed and view != shown[0] else one for one in some_pictures]
            if any(row):
                yield [(one, view) for one in row]


def _rows(
    explanation: Explanation, views: Sequence[str], room: float, left: float | None
) -> list[_Row]:
    """Where the views are.

    Args:
        left: the height that is left for them; `None` where the figure takes what they need.
    """
    grid = list(_grid(explanation, views))
    if not grid:
        return []
    count = len(_pictures(explanation))
    columns = max(len(row) for row in grid)
    across = (room - (columns - 1) * _GAP) / columns
    tallest = _TALLEST if count <= 2 else _TALLEST_OF_MANY
    if left is not None:
        tallest = max(_LOWEST, left / len(grid) - TITLE_SIZE * LEADING - _GAP)
    rows = []
    for row in grid:
        cells = []
        for number, (part, view) in enumerate(row):
            if part is None:
                continue
            height, width = part.picture.shape[:2]
            factor = min(across / width, tallest / height)
            size = max(1.0, width * factor), max(1.0, height * factor)
            cells.append(_Cell(part, view, number * (across + _GAP), *size))
        rows.append(_Row(tuple(_closed_up(cells, across) if count == 1 else cells)))
    return rows


def _closed_up(cells: Sequence[_Cell], across: float) -> list[_Cell]:
    """Views of one picture side by side without the room that a narrow picture leaves."""
    place = min(across, max(_NARROWEST, *(cell.width for cell in cells)))
    return [
        replace(cell, left=number * (place + 2 * _GAP)) if place < across - 2 * _GAP else cell
        for number, cell in enumerate(cells)
    ]


def _draw_row(
    figure: Figure, row: _Row, scales: Scales, cmap: Any, top: float, numbered: bool
) -> None:
    whole_width, whole_height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    upper = top - TITLE_SIZE * LEADING - 2
    for cell in row.cells:
        left, bottom = _MARGIN + cell.left, upper - cell.height
        axes = figure.add_axes(
            (
                left / whole_width,
                bottom / whole_height,
                cell.width / whole_width,
                cell.height / whole_height,
            )
        )
        draw_view(axes, cell.part, cell.view, scales, cmap)
        if numbered and cell.view == "picture" and not cell.part.fixed:
            number_regions(axes, cell.part)
        # A narrow picture may have a wider title, up to the next column.
        ends = [one.left for one in row.cells if one.left > cell.left]
        room = min(ends, default=whole_width - 2 * _MARGIN) - cell.left - _GAP / 2
        figure.text(
            left / whole_width,
            (upper + 4) / whole_height,
            cell.title or view_title(scales.explanation, cell.part, cell.view, room),
            fontsize=TITLE_SIZE,
            va="bottom",
        )


def _draw_block(figure: Figure, block: Block, top: float) -> float:
    """Draws a block below `top`, and gives where it ends."""
    width, height = 72 * figure.get_figwidth(), 72 * figure.get_figheight()
    room, bottom = width - 2 * _MARGIN, top - block.height
    box = (_MARGIN / width, bottom / height, room / width, block.height / height)
    axes = figure.add_axes(box, xlim=(0, room), ylim=(0, block.height))
    axes.set_axis_off()
    block.draw(axes)
    return bottom


def _in_axes(
    axes: Axes, scales: Scales, views: Sequence[str], cmap: Any, title: str | None
) -> Figure:
    """One view in axes of the user's."""
    # Those that show values, before the picture alone.
    shown = [view for view in views if VIEWS[view] is not None or view == "masked"] or list(views)
    pictures = _pictures(scales.explanation)
    if len(pictures) != 1 or len(shown) != 1 or MATRIX in shown:
        raise InvalidInput(
            "ax= takes one view of one picture; name one view, such as views='overlay', or leave "
            "ax= out"
        )
    draw_view(axes, pictures[0], shown[0], scales, cmap)
    axes.set_aspect("equal")
    width = 72 * axes.get_window_extent().width / axes.figure.dpi
    said = title if title is not None else scales.explanation.why_text
    axes.set_title(plain("\n".join(wrapped(said, 10, max(width, 120), most=4))), fontsize=10)
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes belong to a figure"
    complete_letters(figure)
    return figure


def _blocks(scales: Scales, views: Sequence[str], cmap: Any, room: float) -> list[Block]:
    """What stands below the views, from the top."""
    explanation = scales.explanation
    blocks = _map_legends(scales, views, cmap, room)
    has_map = bool(blocks)
    legends = {}
    for part in explanation.parts:
        if isinstance(part, PicturePart):
            continue
        look = look_of(scales.of(part.kind), cmap)
        blocks += blocks_of(part, explanation, scales, look, room)
        if part.players:
            legends[scales.legend_of(part)] = look
    if not (has_map and scales.is_shared):  # else the map's legend holds for all
        blocks += [legend(said, look, scales.ends, room) for said, look in legends.items()]
    if MATRIX in views:
        blocks += matrices(explanation, cmap, room)
    if explanation.pairs:
        blocks.append(_pairs(explanation, MATRIX in views, room))
    # A share of one input alone, or of values that have no common unit, says nothing.
    if len(explanation.share) > 1 and not explanation.values_unit.why_no_shares:
        blocks.append(_shares(explanation, room))
    return blocks


def _map_legends(scales: Scales, views: Sequence[str], cmap: Any, room: float) -> list[Block]:
    """The color bars of the map: one for each scale, whichever views have it."""
    if not any(not part.fixed and part.players for part in _pictures(scales.explanation)):
        return []
    looks: dict[tuple[float, float], tuple[Look, str]] = {}
    for view in views:
        look = look_of_view(scales, view, cmap)
        if look is not None:
            looks.setdefault(look.ends, (look, view))
    several = len(looks) > 1
    blocks = []
    for number, (look, view) in enumerate(looks.values()):
        said = scales.map_legend if number == 0 else ""
        said = f"{view}: {said}" if several and said else said or view
        ends = scales.ends if look.ends[0] < 0 < look.ends[1] else ("", "")
        blocks.append(legend(said, look, ends, room))
    return blocks


def _pairs(explanation: Explanation, numbered: bool, room: float) -> Block:
    """The pairs of words and regions that stand out from their errors,
    with what is to be known of all of them; regions by their numbers where these are drawn.
    """
    found, said = explanation.findings()
    texts = [
        f"{explanation.pairs_title}, by value / standard error:",
        *(_pair_text(explanation, pair, numbered) for pair in found),
        said,
    ]
    lines = [line for text in texts for line in wrapped(text, _NOTE_SIZE, room, most=3)]
    height = height_of(lines, _NOTE_SIZE)

    def draw(axes: Axes) -> None:
        text = plain("\n".join(lines))
        axes.text(0, height, text, va="top", fontsize=_NOTE_SIZE, linespacing=1.3)

    return Block(height, draw)


def _pair_text(explanation: Explanation, pair: Pair, numbered: bool) -> str:
    """A pair with its value; regions by their numbers, and by their places where no number is
    drawn.
    """
    joint = explanation.joint[pair.inputs]
    names = list(explanation.pair_names(pair))
    for at, (name, number) in enumerate(((joint.first, pair.first), (joint.second, pair.second))):
        part = explanation[name]
        if not isinstance(part, PicturePart):
            continue
        place = place_text(part.regions[number].box, part.picture.shape[:2])
        names[at] = f"region {number}" if numbered else f"{place} ({number})"
        names[at] += "" if explanation.is_alone(part) else f" of {name}"
    return with_minus(f"{names[0]} × {names[1]} {value_text(pair.value, pair.error)}")


def _shares(explanation: Explanation, room: float) -> Block:
    """A bar of the inputs' shares, named in it where there is room, and above it in any case."""
    said = f"share of the absolute total: {explanation.share_text}"
    lines = wrapped(said, 9, room)

    def draw(axes: Axes) -> None:
        start = 0.0
        for number, (name, share) in enumerate(explanation.share.items()):
            wide = share * room
            axes.barh(11, wide, left=start, height=16, color=_SHARES[number % len(_SHARES)])
            label = f"{name} {percent_text(share)}"
            if text_width(label, 9) + 8 < wide:
                axes.text(
                    start + wide / 2,
                    11,
                    plain(label),
                    ha="center",
                    va="center",
                    color="white",
                    fontsize=9,
                )
            start += wide
        axes.text(0, 22, plain("\n".join(lines)), va="bottom", fontsize=9, linespacing=1.3)

    return Block(math.ceil(38.0 + (len(lines) - 1) * LEADING * 9), draw)
