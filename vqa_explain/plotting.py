"""Static figures with matplotlib."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure

from vqa_explain import colors
from vqa_explain.explanation import Explanation

_LINE = 46  # characters of the question in a line of the figure


def colormap() -> LinearSegmentedColormap:
    """The colours of `colors.signed_rgba` over white, for colour bars."""
    ends = [np.array(c) / 255 for c in (colors.over_white(-1, 1), (255, 255, 255), colors.over_white(1, 1))]
    return LinearSegmentedColormap.from_list("signed", ends)


def plot(explanation: Explanation) -> Figure:
    """The picture, its overlay, the coloured words, each modality's share, and a colour bar with units.

    The figure is not registered with pyplot, so it needs no closing; notebooks show it, `savefig` writes it.
    """
    has_words = bool(explanation.words)
    figure = Figure(figsize=(8.4, 5.2 if has_words else 4.4), layout="constrained")
    heights = [5, 1.3, 0.35] if has_words else [5, 0.35]
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    _pictures(figure, grid, explanation)
    if has_words:
        _words(figure.add_subplot(grid[1, :]), explanation)
    _shares(figure.add_subplot(grid[-1, :]), explanation)
    best = explanation.answers[0]
    question = _plain(explanation.question) if explanation.question else "image classification"
    figure.suptitle(f"{question}\nanswer: {_plain(best.text)} ({best.probability:.1%})", fontsize=12)
    return figure


def _plain(text: str) -> str:
    """Text that matplotlib shows as it is, without mathematics."""
    return text.replace("$", r"\$")


def _pictures(figure: Figure, grid: Any, explanation: Explanation) -> None:
    original, overlay = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    values, scale = explanation.heat
    original.imshow(explanation.picture)
    original.set_title("picture", fontsize=9)
    overlay.imshow(colors.overlay(explanation.picture, values, scale))
    what = "regions" if explanation.by_region else "pixels"
    overlay.set_title(f"{what}, {explanation.method}", fontsize=9)
    for axes in (original, overlay):
        axes.set_axis_off()
    shown = matplotlib.cm.ScalarMappable(Normalize(-scale or -1, scale or 1), colormap())
    unit = "a region or word" if explanation.by_region else "a pixel"
    bar = figure.colorbar(shown, ax=overlay, shrink=0.9)
    bar.set_label(_plain(f"{explanation.unit},\npoints {unit}"), fontsize=8)
    bar.ax.tick_params(labelsize=7)


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
            color = np.array(colors.over_white(word.value, explanation.scale)) / 255
            ink = colors.ink(tuple(255 * color))
            box = {"facecolor": color, "edgecolor": "none", "boxstyle": "round,pad=0.3"}
            axes.text(middle, -2.2 * row - 0.7, _plain(word.text), ha="center", va="center", bbox=box, color=ink)
            error = "" if not word.error else f"±{word.error:.2f}"
            axes.text(middle, -2.2 * row - 1.65, f"{word.value:+.2f}{error}", ha="center", fontsize=6.5)
            at += len(word.text) + 3


def _shares(axes: Any, explanation: Explanation) -> None:
    axes.set_axis_off()
    axes.set_xlim(0, 1)
    start = 0.0
    for number, (name, share) in enumerate(explanation.share.items()):
        axes.barh(0, share, left=start, height=0.9, color=("#5b7083", "#c2a34f")[number % 2])
        if share > 0.08:
            axes.text(start + share / 2, 0, f"{name} {share:.0%}", ha="center", va="center", color="white", fontsize=9)
        start += share
    axes.set_title(f"share of the absolute total; error {explanation.error_text}", fontsize=8, loc="left")
