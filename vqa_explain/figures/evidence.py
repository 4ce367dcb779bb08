"""The figure of evidence: what keeps an answer and what flips it, cut out, the rest faded."""

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from vqa_explain.colors import luminance
from vqa_explain.errors import InvalidInput
from vqa_explain.features.parts import Part, PicturePart, TextPart
from vqa_explain.figures.letters import complete_letters
from vqa_explain.figures.parts import faded, height_of, ink, plain
from vqa_explain.figures.plotting import Shown
from vqa_explain.figures.text_lines import shortened, text_width, wrapped
from vqa_explain.figures.views import LONGEST
from vqa_explain.files import path_of, write_atomically
from vqa_explain.searching import Evidence, EvidenceState

# All lengths are points, 72 to the inch.
_WIDE = 230.0  # a panel
_GAP = 18.0
_MARGIN = 16.0
_HEAD = 37.0  # above a panel: what is present, and what the model answers
_PICTURE = 210.0  # a picture's height at most
_WORD_SIZE, _WORD_ROW, _WORD_GAP = 11.0, 19.0, 7.0
_PART_GAP = 6.0
_SAID_SIZE = 9.0
_FADED = 0.85  # how far what is absent fades into the paper
_ABSENT = 0.7  # how far the words that are absent fade
_ANSWERS = ("#8a3d00", "#ffb35c")  # the color of answers on a light ground, and on a dark one


def plot(found: Evidence, path: Any = None, *, most: int = 1, dpi: int = 150) -> Any:
    """Panels side by side: everything, and for each goal its smallest sets.

    Returns:
        The figure; where a path is given, the path of the file.

    Raises:
        InvalidInput: `most` is below 1, or the path is of no kind that matplotlib writes.
    """
    if most < 1:
        raise InvalidInput(f"most must be at least 1, not {most!r}")
    panels = found.states(most)
    columns = min(len(panels), 4)
    rows = -(-len(panels) // columns)
    tall = max(_height(found, panel) for panel in panels)
    width = 2 * _MARGIN + columns * _WIDE + (columns - 1) * _GAP
    height = 2 * _MARGIN + rows * tall + (rows - 1) * _GAP
    figure = Shown(figsize=(width / 72, height / 72))
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        left = _MARGIN + column * (_WIDE + _GAP)
        bottom = height - _MARGIN - (row + 1) * tall - row * _GAP
        box = (left / width, bottom / height, _WIDE / width, tall / height)
        axes = figure.add_axes(box, xlim=(0, _WIDE), ylim=(0, tall))
        axes.set_axis_off()
        _draw(axes, found, panel, tall)
    complete_letters(figure)
    if path is None:
        return figure
    return written_figure(figure, path, dpi)


def written_figure(figure: Shown, path: str | os.PathLike[str], dpi: int) -> Path:
    """The path of the file that the figure was written to.

    Raises:
        InvalidInput: it is of no kind that matplotlib writes, or no path.
    """
    path = path_of(path)
    kind = path.suffix[1:].lower()
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise InvalidInput(
            f"a figure cannot be written as {path.name!r}; end it in one of: "
            f"{', '.join('.' + one for one in sorted(known))}"
        )
    sink = BytesIO()
    figure.savefig(sink, format=kind, dpi=dpi)
    return write_atomically(path, sink.getvalue())


def _ground() -> np.ndarray:
    """(3,) the color of the figure's paper, of 0 … 1."""
    return np.array(to_rgb(matplotlib.rcParams["figure.facecolor"]))


def _answer_color() -> str:
    return _ANSWERS[0 if luminance(_ground()) > 0.2 else 1]


def _draw(axes: Axes, found: Evidence, panel: EvidenceState, tall: float) -> None:
    axes.text(0, tall - 2, plain(panel.head), va="top", fontsize=10, color=ink())
    answer = shortened(panel.answer, 13, _WIDE / 1.12)
    axes.text(
        0,
        tall - 16,
        plain(answer),
        va="top",
        fontsize=13,
        fontweight="bold",
        color=_answer_color(),
    )
    top = tall - _HEAD
    for part in found.parts:
        if isinstance(part, PicturePart):
            size = _size(part)
            top -= size[1] + 8
            _draw_picture(axes, part, panel, (0, top, *size))
        else:
            top = _draw_words(axes, part, panel, top) - _PART_GAP
    lines = wrapped(panel.said, _SAID_SIZE, _WIDE, most=2)
    text = plain("\n".join(lines))
    axes.text(0, top - 6, text, va="top", fontsize=_SAID_SIZE, color=ink(), linespacing=1.3)


def _size(part: PicturePart) -> tuple[float, float]:
    """Width and height of a picture in a panel."""
    height, width = part.picture.shape[:2]
    scale = min(_WIDE / width, _PICTURE / height)
    return width * scale, height * scale


def _draw_picture(
    axes: Axes, part: PicturePart, panel: EvidenceState, box: tuple[float, float, float, float]
) -> None:
    left, bottom, width, height = box
    count = len(part.players)
    there = np.array([part.fixed or panel.holds(part.name, i) for i in range(count)] + [True])
    small = part.smaller(LONGEST)
    # Label −1, which the model does not see, takes the last place: it is left as it is.
    shown = there[small.labels] if panel.present is not None and count else None
    pixels = small.picture.astype(np.float32)
    if shown is not None:
        faint = pixels + _FADED * (255 * _ground() - pixels)
        pixels = np.where(shown[:, :, None], pixels, faint)
    axes.imshow(
        np.rint(pixels).astype(np.uint8),
        extent=(left, left + width, bottom, bottom + height),
        aspect="auto",
        interpolation="nearest",
    )
    axes.set_xlim(0, _WIDE)
    if shown is not None and shown.any() and not shown.all():
        across = left + (np.arange(shown.shape[1]) + 0.5) * width / shown.shape[1]
        down = bottom + height - (np.arange(shown.shape[0]) + 0.5) * height / shown.shape[0]
        axes.contour(across, down, shown.astype(float), [0.5], colors=ink(), linewidths=1.0)


def _rows(part: Part) -> list[list[tuple[int, str, float]]]:
    """The players of a text or table in rows: each with its number, text and width."""
    rows: list[list[tuple[int, str, float]]] = [[]]
    used = 0.0
    room = _WIDE if isinstance(part, TextPart) else 0.0  # a column of a table has its own row
    for number, player in enumerate(part.players):
        text = shortened(player.text, _WORD_SIZE, _WIDE / 1.12)  # a bold one is wider
        width = text_width(text, _WORD_SIZE, "bold") + _WORD_GAP
        if used + width > room and rows[-1]:
            rows.append([])
            used = 0.0
        rows[-1].append((number, text, width))
        used += width
    return rows


def _draw_words(axes: Axes, part: Part, panel: EvidenceState, top: float) -> float:
    """Present words in black, the others pale; gives the height where they end."""
    for row in _rows(part):
        left = 0.0
        for number, text, width in row:
            there = part.fixed or panel.holds(part.name, number)
            marked = there and panel.stressed and not part.fixed
            axes.text(
                left,
                top - 4,
                plain(text),
                va="top",
                fontsize=_WORD_SIZE,
                fontweight="bold" if marked else "normal",
                color=ink() if there else faded(_ABSENT),
            )
            left += width
        top -= _WORD_ROW
    return top


def _height(found: Evidence, panel: EvidenceState) -> float:
    height = _HEAD + height_of(_lines(panel.said), _SAID_SIZE) + 6
    for part in found.parts:
        if isinstance(part, PicturePart):
            height += _size(part)[1] + 8
        else:
            height += _WORD_ROW * len(_rows(part)) + _PART_GAP
    return height


def _lines(said: str) -> Sequence[str]:
    return wrapped(said, _SAID_SIZE, _WIDE, most=2)
