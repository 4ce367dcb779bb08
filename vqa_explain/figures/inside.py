"""Figures of matrices inside a network: heads of blocks, and states that were copied."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg

from vqa_explain.errors import InvalidInput
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import JointValues, PicturePart
from vqa_explain.figures.evidence import written_figure
from vqa_explain.figures.letters import complete_letters
from vqa_explain.figures.matrix import Table, look_of_matrix, table
from vqa_explain.figures.parts import ink, legend, plain
from vqa_explain.figures.plotting import Shown
from vqa_explain.figures.text_lines import shortened
from vqa_explain.inside.driving import Driving
from vqa_explain.inside.heads import Heads
from vqa_explain.inside.patching import Patched
from vqa_explain.inside.permuting import Permuted

_MARGIN = 14.0  # points
_GAP = 6.0
_BAR = "#5b7083"
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


def plot_permuted(found: Permuted, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
    """See `Drawn.plot`."""
    check_width(width)
    count = len(found.parts)
    height = 72 * 0.9 + 14 * count
    figure = Shown(figsize=(width, height / 72), layout="constrained")
    axes = figure.add_subplot()
    places = np.arange(count)
    axes.barh(places, found.lost, xerr=found.errors, color=_BAR, ecolor=ink(), height=0.7)
    axes.axvline(0, color=ink(), linewidth=0.8)
    names = [plain(shortened(f"{name}, {part}", 8, 72 * width / 3)) for name, part in found.parts]
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.tick_params(axis="x", labelsize=8)
    axes.set_xlabel("points lost, with standard errors over permutations", fontsize=8)
    return figure if path is None else written_figure(figure, path, dpi)


def plot_driving(found: Driving, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
    """See `Drawn.plot`."""
    check_width(width)
    across = min(len(found), max(1, int(width / NARROWEST)))
    down = -(-len(found) // across)
    pictures = [_drawn(why, dpi) for why in found.explanations]
    tallest = max(len(one) / one.shape[1] for one in pictures)
    each = width / across
    figure = Shown(figsize=(width, 0.5 + down * (each * tallest + 0.3)), layout="constrained")
    figure.suptitle(plain(shortened(found.unit, 11, 72 * width - 2 * _MARGIN)), fontsize=11)
    grid = figure.subplots(down, across, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture, title in zip(grid.flat, pictures, found.titles, strict=False):
        axes.imshow(picture, interpolation="antialiased")
        axes.set_title(title, fontsize=9, color=ink())
    return figure if path is None else written_figure(figure, path, dpi)


def _drawn(why: Explanation, dpi: int) -> np.ndarray:
    """(H, W, 4) uint8, an explanation's figure."""
    views = ["overlay"] if any(isinstance(part, PicturePart) for part in why.parts) else []
    figure = why.plot(views) if views else why.plot()
    canvas = FigureCanvasAgg(figure)
    figure.set_dpi(dpi)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())


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
    return figure if path is None else written_figure(figure, path, dpi)
