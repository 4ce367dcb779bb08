"""Static figures with matplotlib."""

import textwrap
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from vqa_explain import colors
from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.explanation import Explanation, value_text

_LINE = 46  # characters of the question in a line of the figure
_NOTE_SIZE = 7.5  # points; the type of notes
_NOTE_CHARACTERS = 17  # of a note in one inch of that size, with room to spare for wide letters


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


def colormap(
    low: float = -1, high: float = 1, palette: colors.Palette = colors.SIGNED
) -> LinearSegmentedColormap:
    """The colors of `colors.signed_rgba` over white from `low` to `high`, for color bars."""
    ends = [
        np.array(colors.over_white(at, 1, palette)) / 255 for at in (low, (low + high) / 2, high)
    ]
    return LinearSegmentedColormap.from_list("signed", ends)


class Shown(Figure):
    """A figure that notebooks show by themselves, pyplot or not."""

    def _repr_png_(self) -> bytes:
        sink = BytesIO()
        self.savefig(sink, format="png", dpi=72)
        return sink.getvalue()


def plot(
    explanation: Explanation, views: Sequence[str] = ("picture", "overlay"), cmap: Any = None
) -> Figure:
    """The picture in several views side by side, the colored words, each modality's share, and bars with units.

    The bar of a method whose values are never below zero begins at 0. Pairs of words and regions are named with their
    standard errors, those that stand out most from them. Notes stand at the bottom.

    The figure is not registered with pyplot, so it needs no closing; notebooks show it, `savefig` writes it.

    Args:
        views: of `VIEWS`: the "picture"; the values laid "overlay" it, or alone as "signed", "positive", "negative" or
            "absolute"; or the picture "masked", seen only as far as values speak for the answer.
        cmap: a matplotlib color map, by name or itself, in place of our own.

    Raises:
        InvalidInput: there is no such view or color map, or no negative values to show.
    """
    for view in views:
        if view not in VIEWS:
            raise unknown("view", view, VIEWS)
    if not views:
        raise InvalidInput("no view is asked for; name at least one")
    if "negative" in views and not explanation.values_unit.signed:
        raise InvalidInput(
            f"view 'negative' has nothing to show: values of {explanation.method!r} ({explanation.unit}) are never "
            "below zero; leave it out"
        )
    if isinstance(cmap, str) and cmap not in matplotlib.colormaps:
        raise unknown("colour map", cmap, matplotlib.colormaps)
    has_words = bool(explanation.words)
    heights = [5.0, *([1.3] if has_words else []), *([1.0] if explanation.pairs else []), 0.35]
    width, height = max(2, len(views)) * 4.2, 3.6 + 0.8 * (len(heights) - 1)
    notes = _note_lines(explanation, int(width * _NOTE_CHARACTERS))
    below = (len(notes) + 1) * 1.3 * _NOTE_SIZE / 72 if notes else 0.0  # inches
    share = below / (height + below)  # of the figure, which the notes have to themselves
    layout = ConstrainedLayoutEngine(rect=(0, share, 1, 1 - share))
    figure = Shown(figsize=(width, height + below), layout=layout)
    grid = figure.add_gridspec(len(heights), len(views), height_ratios=heights)
    last = max(
        (column for column, view in enumerate(views) if VIEWS[view] is not None), default=None
    )
    for column, view in enumerate(views):
        _view(figure, figure.add_subplot(grid[0, column]), explanation, view, cmap, column == last)
    if has_words:
        _words(figure.add_subplot(grid[1, :]), explanation)
    if explanation.pairs:
        _pairs(figure.add_subplot(grid[-2, :]), explanation)
    _shares(figure.add_subplot(grid[-1, :]), explanation)
    best = explanation.answers[0]
    question = _plain(explanation.question) if explanation.question else "image classification"
    if notes:
        figure.text(
            0.02, share, _plain("\n".join(notes)), va="top", fontsize=_NOTE_SIZE, linespacing=1.3
        )
    figure.suptitle(f"{question}\nanswer: {_plain(best.text)} ({best.shown})", fontsize=12)
    return figure


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is, without mathematics."""
    return text.replace("$", r"\$")


def _view(
    figure: Figure, axes: Any, explanation: Explanation, view: str, cmap: Any, last: bool
) -> None:
    """One view; the last one that has colors says their unit."""
    values, scale = explanation.heat
    what = "regions" if explanation.by_region else "pixels"
    axes.set_axis_off()
    axes.set_title(
        "picture" if view == "picture" else f"{view}: {what}, {explanation.method}", fontsize=9
    )
    if view == "picture":
        axes.imshow(explanation.picture)
        return
    if view == "masked":
        axes.imshow(colors.masked(explanation.picture, values, scale))
        return
    part, low, high = VIEWS[view]
    palette = explanation.palette
    low = max(low, palette.low)
    values, ends = part(values), {"vmin": low * (scale or 1), "vmax": high * (scale or 1)}
    if cmap is not None:
        axes.imshow(explanation.picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        axes.imshow(values, cmap=cmap, alpha=0.7 if view == "overlay" else 1, **ends)
    elif view == "overlay":
        axes.imshow(colors.overlay(explanation.picture, values, scale, palette))
    else:
        axes.imshow(colors.on_white(values, scale, palette))
    shown = matplotlib.cm.ScalarMappable(Normalize(**ends), cmap or colormap(low, high, palette))
    bar = figure.colorbar(shown, ax=axes, shrink=0.9)
    bar.ax.tick_params(labelsize=7)
    if last:
        bar.set_label(_plain(_bar_label(explanation)), fontsize=8)


def _bar_label(explanation: Explanation) -> str:
    """The unit, and what has one such value."""
    what = "per pixel"
    if explanation.by_region:
        shared = explanation.words and explanation.values_unit.shared
        what = "per region or word" if shared else "per region"
    return f"{explanation.unit_text},\n{what}"


def _words(axes: Any, explanation: Explanation) -> None:
    axes.set_axis_off()
    lines: list[list[Any]] = [[]]
    for word in explanation.words:
        if sum(len(w.text) + 3 for w in lines[-1]) + len(word.text) > _LINE and lines[-1]:
            lines.append([])
        lines[-1].append(word)
    axes.set_xlim(0, max(sum(len(w.text) + 3 for w in line) for line in lines))
    axes.set_ylim(-2.2 * len(lines), 0)
    for row, line in enumerate(lines):
        at = (axes.get_xlim()[1] - sum(len(w.text) + 3 for w in line)) / 2
        for word in line:
            middle = at + (len(word.text) + 3) / 2
            color = (
                np.array(colors.over_white(word.value, explanation.word_scale, explanation.palette))
                / 255
            )
            ink = colors.ink(tuple(255 * color))
            box = {"facecolor": color, "edgecolor": "none", "boxstyle": "round,pad=0.3"}
            axes.text(
                middle,
                -2.2 * row - 0.7,
                _plain(word.text),
                ha="center",
                va="center",
                bbox=box,
                color=ink,
            )
            said = value_text(word.value, word.error, explanation.values_unit.signed)
            axes.text(middle, -2.2 * row - 1.65, said, ha="center", fontsize=6.5)
            at += len(word.text) + 3


def _pairs(axes: Any, explanation: Explanation) -> None:
    """The pairs of words and regions that stand out from their errors, with what is to be known of all of them."""
    found, said = explanation.findings()
    lines = [
        "words × regions, by value / standard error:",
        *map(explanation.pair_text, found),
        said,
    ]
    axes.set_axis_off()
    axes.text(0, 1, _plain("\n".join(lines)), transform=axes.transAxes, va="top", fontsize=7)


def _note_lines(explanation: Explanation, characters: int) -> list[str]:
    """The notes as lines of at most so many characters; each note begins a line."""
    notes = [f"note: {note}" for note in explanation.notes]
    return [
        line for note in notes for line in textwrap.wrap(note, characters, subsequent_indent="   ")
    ]


def _shares(axes: Any, explanation: Explanation) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    if len(explanation.share) > 1 and explanation.values_unit.why_no_shares:
        axes.set_title(
            f"share {explanation.share_text}; error {explanation.error_text}",
            fontsize=8,
            loc="left",
        )
        return
    start = 0.0
    for number, (name, share) in enumerate(explanation.share.items()):
        axes.barh(0, share, left=start, height=0.9, color=("#5b7083", "#c2a34f")[number % 2])
        if share > 0.08:
            axes.text(
                start + share / 2,
                0,
                f"{name} {share:.0%}",
                ha="center",
                va="center",
                color="white",
                fontsize=9,
            )
        start += share
    axes.set_title(
        f"share of the absolute total; error {explanation.error_text}", fontsize=8, loc="left"
    )
