"""matplotlib's color maps, cut so that zero has the color that it should have."""

from typing import Any

import matplotlib
import numpy as np
from matplotlib.colors import Colormap, LinearSegmentedColormap

from vqa_explain import colors

# of the way from black to white, by which the middle of a diverging map differs from its ends
_APART = 0.12
_PALE = 0.65  # of the ends' colorfulness, below which the middle of a diverging map lies
_COUNT = 256  # colors of a map that is cut


def own_map(scale: colors.Scale, low: float = -1, high: float = 1) -> LinearSegmentedColormap:
    """Our own colors over white, from `low` to `high` in shares of the scale, for color bars."""
    at = np.linspace(max(low, scale.palette.low), high, 3)
    ends = [np.array(colors.over_white(share, 1, scale.palette)) / 255 for share in at]
    return LinearSegmentedColormap.from_list("own", ends)


def part_of_map(cmap: str | Colormap, low: float, high: float) -> Colormap:
    """The part of a map for values from `low` to `high`, in shares of full color: (-1, 1), (0, 1)
    or (-1, 0).

    A value of zero has the middle of a diverging map, whatever the part. Sequential maps are used
    whole on one side of zero: zero has their first color.
    """
    whole = matplotlib.colormaps[cmap] if isinstance(cmap, str) else cmap
    if low < 0 < high:
        return whole
    if is_diverging(whole):
        first, last = (0.5, 1.0) if low >= 0 else (0.0, 0.5)
        cut: Any = whole(np.linspace(first, last, _COUNT))
        return LinearSegmentedColormap.from_list(
            f"{whole.name} from {first} to {last}", cut, _COUNT
        )
    return whole if low >= 0 else whole.reversed()


def is_diverging(cmap: Colormap) -> bool:
    """Whether a map runs over a pale middle, or over a dark one, to two ends.

    Its lightness rises to the middle and falls from there, or the other way round, and the middle
    has less color than the ends. So it is measured, which holds for maps of the user's own too.
    """
    found = np.asarray(cmap(np.linspace(0, 1, 5)))[:, :3]
    lightness = np.cbrt(colors.luminance(found))
    steps = np.diff(lightness)
    steps = steps if steps[0] > 0 else -steps
    there_and_back = (steps[:2] > 0).all() and (steps[2:] < 0).all()
    apart = np.abs(lightness[2] - lightness[[0, 4]]).min() > _APART
    colorfulness = found.max(axis=1) - found.min(axis=1)
    pale = colorfulness[2] < _PALE * colorfulness[[0, 4]].max()
    return bool(there_and_back and apart and pale)
