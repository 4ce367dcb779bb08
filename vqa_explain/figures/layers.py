"""The figure of what each block of a network does to an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from vqa_explain import colors
from vqa_explain.figures.evidence import written_figure
from vqa_explain.figures.inside import check_width
from vqa_explain.figures.letters import complete_letters
from vqa_explain.figures.parts import faded, ink, plain
from vqa_explain.figures.plotting import Shown
from vqa_explain.figures.text_lines import shortened, text_width, wrapped
from vqa_explain.inside.blocks import REST
from vqa_explain.inside.layers import Layers
from vqa_explain.target import Answer
from vqa_explain.wording import with_minus

# All lengths are points, 72 to the inch.
_MARGIN = 14.0
_NAMES = 96.0  # to the left of the blocks
_BARS = 150.0
_STRIP = 30.0  # the height of a row of answers
_TITLE, _LEGEND, _AXIS = 30.0, 18.0, 18.0
_SIZE, _SMALL = 8.5, 7.5
_LEAST_LETTERS = 4  # of an answer that is cut; fewer say nothing
_SIZES_OF_CELLS = (_SMALL, 6.8, 6.2)  # the first in which an answer has room
# Told apart by color-blind readers too, on a light ground and on a dark one (Okabe and Ito).
_OF_INPUTS = ("#e08a00", "#3d8fd9", "#12a37a", "#cc6fa4", "#8f7ad6")
_OF_REST = "#8c8c8c"


@dataclass(frozen=True)
class _Columns:
    """Where the blocks are drawn: from the left, each so wide."""

    left: float
    wide: float
    count: int

    def middle(self, number: int) -> float:
        return self.left + (number + 0.5) * self.wide

    @property
    def right(self) -> float:
        return self.left + self.count * self.wide


def plot(found: Layers, path: Any = None, *, dpi: int = 150, width: float = 7.2) -> Any:
    """Bars of conductance for each block, and below them the answers that are read from it.

    Returns:
        The figure; where a path is given, the path of the file.

    Raises:
        InvalidInput: the width is too small, or the path is of no kind that matplotlib writes.
    """
    check_width(width)
    wide = 72 * width - 2 * _MARGIN
    rows = 1 + len(found.without)
    said = wrapped(_said(found), _SIZE, wide, most=8)
    title = 14.0 + 11.5 * len(said)
    legend = _legend_rows(found.groups, wide)
    below = title + _LEGEND * len(legend)
    height = 2 * _MARGIN + below + _BARS + _AXIS + rows * (_STRIP + 4)
    figure = Shown(figsize=(width, height / 72))
    box = (_MARGIN / (72 * width), _MARGIN / height, wide / (72 * width), 1 - 2 * _MARGIN / height)
    axes = figure.add_axes(box, xlim=(0, wide), ylim=(0, height - 2 * _MARGIN))
    axes.set_axis_off()
    left = min(_NAMES, 0.26 * wide)
    columns = _Columns(left, (wide - left) / len(found.blocks), len(found.blocks))
    top = height - 2 * _MARGIN
    axes.text(0, top, plain(_title(found, wide)), va="top", fontsize=10, color=ink())
    axes.text(0, top - 14, plain("\n".join(said)), va="top", fontsize=_SIZE, color=faded(0.25))
    _draw_legend(axes, found.groups, legend, top - title)
    top -= below
    _draw_bars(axes, found, columns, top - _BARS)
    top -= _BARS + _AXIS
    _draw_strip(axes, "early answer", found.early, found, columns, top - _STRIP)
    for name, answers in found.without.items():
        top -= _STRIP + 4
        _draw_strip(axes, f"without {name}", answers, found, columns, top - _STRIP)
    complete_letters(figure)
    return figure if path is None else written_figure(figure, path, dpi)


def _title(found: Layers, wide: float) -> str:
    score = found.score.replace("_", " ")
    return shortened(f"Where the {score} of {found.whose} runs", 10, wide)


def _said(found: Layers) -> str:
    parts = [
        f"Bars: conductance behind each block; each column adds up to {found.change:+.2f}, the "
        f"change from the baseline (gap at most {found.gaps.max():.2g})."
    ]
    parts += [f"{name}: {found.settled_text(name)}." for name in found.without]
    return " ".join(parts)


def _colors(groups: Sequence[str]) -> list[str]:
    inputs = [name for name in groups if name != REST]
    return [
        _OF_REST if name == REST else _OF_INPUTS[inputs.index(name) % len(_OF_INPUTS)]
        for name in groups
    ]


def _legend_rows(groups: Sequence[str], wide: float) -> list[list[int]]:
    """The numbers of the groups in each row of the legend."""
    rows: list[list[int]] = [[]]
    used = 0.0
    for number, name in enumerate(groups):
        room = text_width(shortened(name, _SIZE, wide / 2), _SIZE) + 26
        if used + room > wide and rows[-1]:
            rows.append([])
            used = 0.0
        rows[-1].append(number)
        used += room
    return rows


def _draw_legend(
    axes: Axes, groups: Sequence[str], rows: Sequence[Sequence[int]], top: float
) -> None:
    wide, hues = axes.get_xlim()[1], _colors(groups)
    for line, row in enumerate(rows):
        left, middle = 0.0, top - (line + 0.5) * _LEGEND
        for number in row:
            name = shortened(groups[number], _SIZE, wide / 2)
            axes.add_patch(Rectangle((left, middle - 4), 10, 8, color=hues[number], linewidth=0))
            axes.text(left + 14, middle, plain(name), va="center", fontsize=_SIZE, color=ink())
            left += text_width(name, _SIZE) + 26


def _draw_bars(axes: Axes, found: Layers, columns: _Columns, bottom: float) -> None:
    """Stacked bars, those above zero upwards, with a line at the sum."""
    values = found.conductance
    high = max(float(np.clip(values, 0, None).sum(axis=1).max()), found.change, 0.0)
    low = min(float(np.clip(values, None, 0).sum(axis=1).min()), found.change, 0.0)
    scale = (_BARS - 8) / ((high - low) or 1.0)
    zero = bottom - low * scale
    for number in range(columns.count):
        ends = {True: zero, False: zero}
        for value, hue in zip(values[number], _colors(found.groups), strict=True):
            size = float(value) * scale
            start = ends[size >= 0]
            place = (columns.middle(number) - 0.36 * columns.wide, min(start, start + size))
            axes.add_patch(Rectangle(place, 0.72 * columns.wide, abs(size), color=hue, linewidth=0))
            ends[size >= 0] = start + size
    axes.plot([columns.left, columns.right], [zero, zero], color=faded(0.4), linewidth=0.8)
    level = zero + found.change * scale
    line = [columns.left, columns.right]
    axes.plot(line, [level, level], color=ink(), linewidth=0.8, linestyle=(0, (4, 3)))
    for value, height in ((0.0, zero), (found.change, level)):
        if value or abs(level - zero) > 10:
            text = with_minus(f"{value:+.2f}") if value else "0"
            axes.text(
                columns.left - 6, height, text, ha="right", va="center", fontsize=_SIZE, color=ink()
            )
    room = text_width("00", _SIZE) * 1.5
    axes.text(0, bottom - 4, "block", va="top", fontsize=_SIZE, color=faded(0.25))
    for number in range(0, columns.count, max(1, int(np.ceil(room / columns.wide)))):
        axes.text(
            columns.middle(number), bottom - 4, str(number), ha="center", va="top",
            fontsize=_SIZE, color=faded(0.25),
        )  # fmt: skip


def _draw_strip(
    axes: Axes,
    name: str,
    answers: Sequence[Answer],
    found: Layers,
    columns: _Columns,
    bottom: float,
) -> None:
    """A cell for each block, in violet by its probability where it is the model's answer, else in
    gray.
    """
    label = wrapped(name, _SIZE, columns.left - 8, most=2)
    axes.text(
        0, bottom + _STRIP / 2, plain("\n".join(label)), va="center", fontsize=_SIZE, color=ink()
    )
    for number, one in enumerate(answers):
        place = (columns.left + number * columns.wide, bottom)
        cell = Rectangle(place, columns.wide - 1, _STRIP, facecolor=_shade(one, found), linewidth=0)
        axes.add_patch(cell)
    for first, last in _alike(answers):
        size = _size_of(answers[first].text, columns.wide - 3)
        left = columns.left + first * columns.wide
        if size is None:
            room = (last - first + 1) * columns.wide
            _write_once(axes, answers[first].text, (left + room / 2, bottom), room)
            continue
        for number in range(first, last + 1):
            middle = (columns.middle(number), bottom)
            _write(axes, answers[number], found, middle, columns.wide, size)


def _alike(answers: Sequence[Answer]) -> list[tuple[int, int]]:
    """The first and last numbers of each run of one answer."""
    found: list[tuple[int, int]] = []
    for number, one in enumerate(answers):
        if found and answers[number - 1].index == one.index:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found


def _size_of(text: str, room: float) -> float | None:
    """The first font size at which a text has room; `None` if there is none."""
    return next((size for size in _SIZES_OF_CELLS if text_width(text, size) <= room), None)


def _shade(one: Answer, found: Layers) -> tuple[float, float, float]:
    share = 0.5 if one.probability is None else one.probability
    strength = 0.15 + 0.75 * share
    hue = colors.SIZE if one.index == found.answer.index else (120, 120, 120)
    mixed = 255 + (np.array(hue) - 255) * strength
    red, green, blue = (mixed / 255).tolist()
    return red, green, blue


def _write(
    axes: Axes, one: Answer, found: Layers, middle: tuple[float, float], wide: float, size: float
) -> None:
    """An answer in its cell, and its probability where that has room."""
    lines = [one.text]
    if text_width(one.shown, _SMALL) <= wide - 3:
        lines.append(one.shown)
    red, green, blue = (255 * channel for channel in _shade(one, found))
    axes.text(
        middle[0],
        middle[1] + _STRIP / 2,
        plain("\n".join(lines)),
        ha="center",
        va="center",
        fontsize=size,
        color=colors.ink((red, green, blue)),
        linespacing=1.25,
    )


def _write_once(axes: Axes, text: str, middle: tuple[float, float], room: float) -> None:
    """An answer over all cells of its run, on a plate of the paper's color."""
    short = shortened(text, _SMALL, room - 8)
    if len(short) < min(len(text), _LEAST_LETTERS):
        return
    ground = matplotlib.rcParams["figure.facecolor"]
    axes.text(
        middle[0],
        middle[1] + _STRIP / 2,
        plain(short),
        ha="center",
        va="center",
        fontsize=_SMALL,
        color=ink(),
        bbox={"facecolor": ground, "edgecolor": "none", "boxstyle": "round,pad=0.25", "alpha": 0.9},
    )
