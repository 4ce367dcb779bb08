"""Matrices: of interactions, with a row for each player of an input and a column for each of
another; and of the words of an answer against players.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from vqa_explain import colors
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import JointValues, PicturePart
from vqa_explain.figures.parts import Block, Look, legend, look_of, plain
from vqa_explain.figures.scales import HATCH, HATCH_COLOR, HATCHED
from vqa_explain.figures.text_lines import shortened, text_width
from vqa_explain.findings import ENOUGH

_NAMES = 0.28  # of the width, for the rows' names at most
_CELL = 18.0  # the height of a row, at most
_LOWEST_CELL = 9.0
_MOST_ROWS = 60
_SIZE = 8.5
_ABOVE = 8.0  # between a matrix and what stands above it
_UPRIGHT = 70.0  # for the columns' names, at most
_MOST_HATCHED = 4000  # cells; more take longer to draw than anybody looks


@dataclass(frozen=True)
class Table:
    """What a matrix shows.

    Attributes:
        joint: its values, and their errors.
        rows: what the rows are called.
        columns: what the columns are called, written upwards; `None` for their numbers from 0.
        title: what stands above.
        across: what the columns are of.
    """

    joint: JointValues
    rows: Sequence[str]
    columns: Sequence[str] | None
    title: str
    across: str


def matrices(explanation: Explanation, cmap: Any, room: float) -> list[Block]:
    """For each pair of inputs its matrix and, below, the color bar."""
    blocks = []
    for joint in explanation.joint:
        first, second = explanation[joint.first], explanation[joint.second]
        rows = [player.text for player in first.players]
        if isinstance(first, PicturePart):
            rows = [str(number) for number in range(len(rows))]
        named = second.player != joint.second
        across = f"{second.player} of {joint.second}" if named else joint.second
        title = f"{explanation.pairs_title}: what they add only together"
        look = look_of_matrix(joint.values, cmap)
        said = f"{explanation.unit_text}, brought only together; own scale"
        if joint.errors is not None:
            said += HATCHED
        block = table(Table(joint, rows, None, title, across), look, room)
        blocks += [block, legend(said, look, ("", ""), room)]
    return blocks


def look_of_matrix(values: np.ndarray, cmap: Any, palette: colors.Palette = colors.SIGNED) -> Look:
    """The colors of values up to the largest size, on one side of zero or on both."""
    largest = float(np.nanmax(np.abs(values), initial=0.0)) or 1.0
    return look_of(colors.Scale(0.0, largest, palette), cmap)


def table(shown: Table, look: Look, room: float) -> Block:
    """A matrix with the names of its rows and columns."""
    rows, columns = shown.joint.values.shape
    drawn = min(rows, _MOST_ROWS)
    names = [shortened(name, _SIZE, _NAMES * room) for name in shown.rows[:drawn]]
    left = max(text_width(name, _SIZE) for name in names) + 8
    cell = max(_LOWEST_CELL, min(_CELL, 340 / drawn))
    wide = min((room - left) / columns, 2.5 * _CELL)
    upright = [shortened(name, _SIZE, _UPRIGHT) for name in shown.columns or ()]
    below = 30.0 + max((text_width(name, _SIZE) - 10 for name in upright), default=0.0)
    height = drawn * cell + below + 14 + _ABOVE

    def draw(axes: Axes) -> None:
        left_out = f"; the first {drawn} of {rows}" if drawn < rows else ""
        axes.text(0, height - _ABOVE, plain(shown.title + left_out), va="top", fontsize=9.5)
        top, right = height - 14.0 - _ABOVE, left + wide * columns
        axes.imshow(
            shown.joint.values[:drawn],
            cmap=look.cmap,
            norm=Normalize(*look.ends),
            extent=(left, right, top - drawn * cell, top),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_xlim(0, room)
        axes.set_ylim(0, height)
        for number, name in enumerate(names):
            middle = top - (number + 0.5) * cell
            axes.text(left - 5, middle, plain(name), ha="right", va="center", fontsize=_SIZE)
        _name_columns(axes, upright or columns, (left, top - drawn * cell - 3), wide)
        axes.text(left, 4, plain(shown.across), va="bottom", fontsize=_SIZE)
        if shown.joint.errors is not None and rows * columns <= _MOST_HATCHED:
            _hatch(axes, shown.joint, (left, top), (wide, cell), drawn)

    return Block(height, draw)


def _name_columns(
    axes: Axes, names: Sequence[str] | int, corner: tuple[float, float], wide: float
) -> None:
    """The columns' names, or so many numbers from 0, below their upper left `corner`; as many as
    have room.
    """
    upright = not isinstance(names, int)
    texts = list(map(str, range(names))) if isinstance(names, int) else list(names)
    room = text_width("00", 8) * 1.3 if not upright else _SIZE * 1.2
    for number in range(0, len(texts), max(1, int(np.ceil(room / wide)))):
        place = corner[0] + (number + 0.5) * wide
        turned = {"rotation": 90, "fontsize": _SIZE} if upright else {"fontsize": 8}
        axes.text(place, corner[1], plain(texts[number]), ha="center", va="top", **turned)


def _hatch(
    axes: Axes,
    joint: JointValues,
    corner: tuple[float, float],
    cell: tuple[float, float],
    shown: int,
) -> None:
    """Lines over what is not told from zero."""
    assert joint.errors is not None, "the caller looks"
    unsure = np.abs(joint.values) < ENOUGH * joint.errors
    for row, column in np.argwhere(unsure[:shown]):
        place = (corner[0] + column * cell[0], corner[1] - (row + 1) * cell[1])
        axes.add_patch(
            Rectangle(place, *cell, fill=False, hatch=HATCH, edgecolor=HATCH_COLOR, linewidth=0)
        )
