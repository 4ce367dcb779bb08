"""Pictures in a figure: the picture, the values laid over it or alone, or the picture masked."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from vqa_explain import colors
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart
from vqa_explain.figures.parts import Look, look_of, plain
from vqa_explain.figures.scales import HATCH, HATCH_COLOR, Scales
from vqa_explain.figures.text_lines import shortened

LONGEST = 1200  # pixels of a view's longer side: 300 dots per inch in a figure of usual width
_MOST_NUMBERS = 80  # regions that are numbered on the picture
TITLE_SIZE = 9.5
MATRIX = "matrix"

# View → what of the values it shows, and the ends of its scale; `None` for those without a scale.
VIEWS: dict[str, Any] = {
    "picture": None,
    "overlay": (lambda v: v, -1, 1),
    "signed": (lambda v: v, -1, 1),
    "positive": (lambda v: np.maximum(v, 0), 0, 1),
    "negative": (lambda v: np.minimum(v, 0), -1, 0),
    "absolute": (np.abs, 0, 1),
    "masked": None,
    MATRIX: None,
}


def values_of(part: PicturePart, explanation: Explanation, scale: colors.Scale) -> np.ndarray:
    """(H, W) what is drawn of a picture. Where the model saw nothing is the value without color."""
    if part.fixed:
        return np.full(part.labels.shape, scale.bare)
    if explanation.by_player:
        # The last stands for label -1.
        found: np.ndarray = np.array([*part.values, scale.bare])[part.labels]
        return found
    if explanation.values_unit.from_zero:
        return part.image
    return np.where(part.labels < 0, scale.bare, part.image)


def look_of_view(scales: Scales, view: str, cmap: Any) -> Look | None:
    """The colors of a view; `None` where it has none."""
    if VIEWS[view] is None:
        return None
    _, low, high = VIEWS[view]
    return look_of(_scale_of_view(scales, view), cmap, low, high)


def _scale_of_view(scales: Scales, view: str) -> colors.Scale:
    shows, low, _ = VIEWS[view]
    scale = scales.of_map()
    if low == 0 and not scales.explanation.values_unit.from_zero:
        return _scale_of_part(scale, shows)
    return scale


def _scale_of_part(scale: colors.Scale, part: Callable[[np.ndarray], np.ndarray]) -> colors.Scale:
    """The scale of what a view shows of values, as "positive" or "absolute" do,
    that do not begin at zero.
    """
    ends = part(np.array([scale.bare, scale.full]))
    holds_zero = scale.bare < 0 < scale.full
    low = 0.0 if holds_zero else float(ends.min())
    return colors.Scale(low, float(ends.max()), scale.palette)


def draw_view(axes: Axes, part: PicturePart, view: str, scales: Scales, cmap: Any) -> None:
    """One view of one picture, which fills its axes."""
    axes.set_axis_off()
    small = part.smaller(LONGEST)
    if part.fixed:
        axes.imshow(_pale(small.picture), aspect="auto")
        return
    _draw_values(axes, small, view, scales, cmap)
    if VIEWS[view] is not None:
        if scales.explanation.by_player:
            _hatch_unsure(axes, small, scales)
        _outline_settled(axes, small, scales.explanation)
    if is_cropped(small):
        _mark_frame(axes, small.labels >= 0)


def is_cropped(part: PicturePart) -> bool:
    """Whether the model sees a part of the picture, and not the rest."""
    within = part.labels >= 0
    return not part.fixed and bool(within.any()) and not bool(within.all())


def _draw_values(axes: Axes, found: PicturePart, view: str, scales: Scales, cmap: Any) -> None:
    if view == "picture":
        axes.imshow(found.picture, aspect="auto")
        return
    values = values_of(found, scales.explanation, scales.of_map())
    if view == "masked":
        shares = scales.of_map().shares(values)
        axes.imshow(colors.masked(found.picture, shares, 1), aspect="auto")
        return
    shown = VIEWS[view][0](values)
    if cmap is not None:
        look = look_of_view(scales, view, cmap)
        assert look is not None, "views of values have colors"
        axes.imshow(found.picture.mean(axis=2), cmap="gray", vmin=0, vmax=255, aspect="auto")
        opacity = 0.7 if view == "overlay" else 1
        axes.imshow(shown, cmap=look.cmap, alpha=opacity, norm=look.norm, aspect="auto")
        return
    scale = _scale_of_view(scales, view)
    shares = scale.shares(shown)
    if view == "overlay":
        axes.imshow(colors.overlay(found.picture, shares, 1, scale.palette), aspect="auto")
    else:
        axes.imshow(colors.on_white(shares, 1, scale.palette), aspect="auto")


def _hatch_unsure(axes: Axes, part: PicturePart, scales: Scales) -> None:
    """Lines over the regions that cannot be told from zero."""
    within = np.isin(part.labels, scales.unsure(part))
    if not within.any():
        return
    drawn = axes.contourf(within, levels=[0.5, 1.5], colors="none", hatches=[HATCH])
    drawn.set_edgecolor(HATCH_COLOR)
    drawn.set_linewidth(0)
    axes.set_xlim(-0.5, within.shape[1] - 0.5)
    axes.set_ylim(within.shape[0] - 0.5, -0.5)


def _outline_settled(axes: Axes, part: PicturePart, explanation: Explanation) -> None:
    """A line around each region that is surely among the most important parts."""
    for number in (explanation.settled_parts or {}).get(part.name, ()):
        _line_around(
            axes, part.labels == number, (("white", "solid", 2.2), ("black", "solid", 1.0))
        )


def _mark_frame(axes: Axes, within: np.ndarray) -> None:
    """A dashed line around what the model sees, where it sees a part of the picture."""
    _line_around(axes, within, (("white", "solid", 1.2), ("black", "dashed", 1.2)))


def _line_around(axes: Axes, within: np.ndarray, strokes: Sequence[tuple[str, str, float]]) -> None:
    """Lines, each of a color, a style and a width, around pixels (H, W) bool."""
    if not within.any():  # a region that no pixel of a smaller drawing shows
        return
    framed = np.pad(within, 1)
    rows, columns = (np.arange(-1, count + 1) for count in within.shape)
    for color, style, width in strokes:
        axes.contour(columns, rows, framed, [0.5], colors=color, linestyles=style, linewidths=width)
    axes.set_xlim(-0.5, within.shape[1] - 0.5)
    axes.set_ylim(within.shape[0] - 0.5, -0.5)


def number_regions(axes: Axes, part: PicturePart) -> None:
    """The regions' numbers on the picture, as the columns of a matrix are called."""
    height, width = part.picture.shape[:2]
    shrink = max(1.0, max(height, width) / LONGEST)
    if len(part.regions) > _MOST_NUMBERS:
        return
    for number, region in enumerate(part.regions):
        left, top, right, bottom = region.box
        axes.text(
            (left + right) / 2 / shrink,
            (top + bottom) / 2 / shrink,
            str(number),
            ha="center",
            va="center",
            fontsize=7.5,
            color="black",
            bbox={"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.6},
        )


def view_title(explanation: Explanation, part: PicturePart, view: str, width: float) -> str:
    """What a view shows, in at most `width` points."""
    what = "regions" if explanation.by_player else "pixels"
    said = view if view == "picture" else f"{view}: {what}, {explanation.method}"
    if part.fixed:
        said = f"{part.name}: fixed"
    elif not explanation.is_alone(part):
        said = part.name if view == "picture" else f"{part.name}, {view}"
    return plain(shortened(said, TITLE_SIZE, width))


def _pale(picture: np.ndarray) -> np.ndarray:
    """A picture that was left as it is, faded halfway to white."""
    return ((picture.astype(np.uint16) + 255) // 2).astype(np.uint8)
