"""The matrix of interactions: one row for each player of an input, one column for each of another."""

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle

from vqa_explain import colors
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import JointValues, PicturePart
from vqa_explain.figures.colormaps import own_map, part_of_map
from vqa_explain.figures.parts import Block, Look, legend, plain
from vqa_explain.figures.text_lines import shortened, text_width
from vqa_explain.findings import ENOUGH

_NAMES = 0.28  # of the width, for the rows' names at most
_CELL = 18.0  # the height of a row, at most
_LOWEST_CELL = 9.0
_MOST_ROWS = 60
_SIZE = 8.5
_MOST_HATCHED = 4000  # cells; more take longer to draw than anybody looks


def matrices(explanation: Explanation, cmap: Any, room: float) -> list[Block]:
    """For each pair of inputs its matrix and, below, the color bar."""
    blocks = []
    for joint in explanation.joint:
        largest = float(np.nanmax(np.abs(joint.values), initial=0.0)) or 1.0
        scale = colors.Scale(0.0, largest, colors.SIGNED)
        chosen = own_map(scale) if cmap is None else part_of_map(cmap, -1, 1)
        look = Look((-largest, largest), chosen)
        said = f"{explanation.unit_text}, brought only together; own scale"
        if joint.errors is not None:
            said += f"; hatched: within {ENOUGH:.0f} standard errors of zero"
        blocks += [_matrix(explanation, joint, look, room), legend(said, look, ("", ""), room)]
    return blocks


def _matrix(explanation: Explanation, joint: JointValues, look: Look, room: float) -> Block:
    first, second = explanation[joint.first], explanation[joint.second]
    rows, columns = joint.values.shape
    shown = min(rows, _MOST_ROWS)
    names = [shortened(player.text, _SIZE, _NAMES * room) for player in first.players[:shown]]
    if isinstance(first, PicturePart):
        names = [str(number) for number in range(shown)]
    left = max(text_width(name, _SIZE) for name in names) + 8
    cell = max(_LOWEST_CELL, min(_CELL, 340 / shown))
    wide = min((room - left) / columns, 2.5 * _CELL)
    below = 30.0
    height = shown * cell + below + 14
    across = f"{second.player} of {joint.second}" if second.player != joint.second else joint.second

    def draw(axes: Axes) -> None:
        said = f"{explanation.pairs_title}: what they add only together"
        axes.text(0, height - 2, plain(said), va="top", fontsize=9.5)
        top, right = height - 14.0, left + wide * columns
        axes.imshow(
            joint.values[:shown],
            cmap=look.cmap,
            norm=Normalize(*look.ends),
            extent=(left, right, top - shown * cell, top),
            aspect="auto",
            interpolation="nearest",
        )
        axes.set_xlim(0, room)
        axes.set_ylim(0, height)
        for number, name in enumerate(names):
            middle = top - (number + 0.5) * cell
            axes.text(left - 5, middle, plain(name), ha="right", va="center", fontsize=_SIZE)
        step = max(1, int(np.ceil(text_width("00", 8) * 1.3 / wide)))
        for number in range(0, columns, step):
            place = left + (number + 0.5) * wide
            axes.text(place, top - shown * cell - 3, str(number), ha="center", va="top", fontsize=8)
        axes.text(left, 4, plain(across), va="bottom", fontsize=_SIZE)
        if joint.errors is not None and rows * columns <= _MOST_HATCHED:
            _hatch(axes, joint, (left, top), (wide, cell), shown)

    return Block(height, draw)


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
            Rectangle(place, *cell, fill=False, hatch="////", edgecolor="#9a9a9a", linewidth=0)
        )
