"""Figures of matrices inside a network: heads of blocks, and states that were copied."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.features.parts import JointValues
from vqa_explain.figures.evidence import written_figure
from vqa_explain.figures.letters import complete_letters
from vqa_explain.figures.matrix import Table, look_of_matrix, table
from vqa_explain.figures.parts import legend
from vqa_explain.figures.plotting import Shown
from vqa_explain.inside.heads import Heads
from vqa_explain.inside.patching import Patched

_MARGIN = 14.0  # points
_GAP = 6.0
NARROWEST = 3.0  # inches


def check_width(width: float) -> None:
    """Refuses a figure in which nothing has room."""
    if not width >= NARROWEST:
        raise InvalidInput(f"width must be at least {NARROWEST:g} inches, not {width!r}")


def plot_heads(found: Heads, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
    """See `Drawn.plot`."""
    score = found.score.replace("_", " ")
    title = f"{score} of {found.whose}: lost without each head"
    said = "points lost without the head; below zero, the score is higher without it"
    return _plot(found.lost, None, (title, "head", said), path, dpi, width)


def plot_patched(found: Patched, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
    """See `Drawn.plot`."""
    title = f"“{found.clean.text}” becomes “{found.other.text}” by copied states"
    said = "share of the scores' difference that is carried over; 1 is all of it"
    return _plot(found.shares, found.groups, (title, "states of", said), path, dpi, width)


def _plot(
    values: np.ndarray,
    columns: Sequence[str] | None,
    texts: tuple[str, str, str],
    path: Any,
    dpi: int,
    width: float,
) -> Any:
    """A matrix with a row for each block, and its color bar."""
    check_width(width)
    title, across, said = texts
    room = 72 * width - 2 * _MARGIN
    look = look_of_matrix(values, None)
    rows = [f"block {number}" for number in range(len(values))]
    joint = JointValues("block", across, np.asarray(values, dtype=np.float64))
    blocks = [
        table(Table(joint, rows, columns, title, across), look, room),
        legend(said, look, ("", ""), room),
    ]
    height = 2 * _MARGIN + sum(block.height for block in blocks) + _GAP
    figure = Shown(figsize=(width, height / 72))
    top = height - _MARGIN
    for block in blocks:
        bottom = (top - block.height) / height
        box = (_MARGIN / (72 * width), bottom, room / (72 * width), block.height / height)
        axes = figure.add_axes(box, xlim=(0, room), ylim=(0, block.height))
        axes.set_axis_off()
        block.draw(axes)
        top -= block.height + _GAP
    complete_letters(figure)
    return figure if path is None else written_figure(figure, Path(path), dpi)
