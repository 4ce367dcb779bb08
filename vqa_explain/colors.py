"""The one home of colors of figures and pages without scripts: signed values to orange (for the
answer) and purple (against it), sizes to slate, as in the viewer (`viewer/static/color.js`).
"""

from dataclasses import dataclass

import numpy as np

# Orange and purple are told apart by every kind of color vision: their ends are 66 or more apart in
# CIELAB as protanopes, deuteranopes and tritanopes see them (Machado et al. 2009).
FOR = (182, 90, 0)
AGAINST = (75, 42, 135)
SIZE = (47, 57, 78)  # slate: neither for nor against


@dataclass(frozen=True)
class Palette:
    """The colors of values above and below zero, and where a legend begins,
    as a share of the scale.
    """

    above: tuple[int, int, int]
    below: tuple[int, int, int]
    low: float


SIGNED = Palette(FOR, AGAINST, -1.0)
SIZES = Palette(SIZE, SIZE, 0.0)  # for values that are never below zero


@dataclass(frozen=True)
class Scale:
    """What the colors of values stand for.

    Attributes:
        bare: the value without color.
        full: the value of full color, and of every value beyond it.
        palette: two hues, for values on both sides of `bare`, or one.
    """

    bare: float
    full: float
    palette: Palette

    @property
    def low(self) -> float:
        """The value where a legend begins: that of full color on the other side,
        or the one without color.
        """
        return self.bare + self.palette.low * (self.full - self.bare)

    def shares(self, values: np.ndarray | float) -> np.ndarray:
        """(…,) values as shares of full color, from `palette.low` to 1;
        0 where all values are alike.
        """
        distance = np.asarray(values, dtype=np.float64) - self.bare
        width = self.full - self.bare
        if not width > 0:
            return np.zeros_like(distance)
        return np.clip(distance / width, self.palette.low, 1)

    def of(self, value: float) -> tuple[int, int, int]:
        """The color of a value over white."""
        return over_white(float(self.shares(value)), 1, self.palette)


def signed_rgba(
    values: np.ndarray, scale: float, palette: Palette = SIGNED, strength: float = 0.8
) -> np.ndarray:
    """(…,) values to (…, 4) uint8: the color says the sign, the opacity |value| / scale,
    at most `strength`.
    """
    values = np.asarray(values, dtype=np.float64)
    rgba = np.empty((*values.shape, 4), dtype=np.uint8)
    rgba[..., :3] = np.where(values[..., None] >= 0, palette.above, palette.below)
    size = np.clip(np.abs(values) / scale, 0, 1) if scale > 0 else np.zeros_like(values)
    rgba[..., 3] = np.rint(255 * strength * size)
    return rgba


def over_white(value: float, scale: float, palette: Palette = SIGNED) -> tuple[int, int, int]:
    """The color of a word: `signed_rgba` laid over white."""
    red, green, blue = (int(c) for c in on_white(np.array(value), scale, palette))
    return red, green, blue


def on_white(values: np.ndarray, scale: float, palette: Palette = SIGNED) -> np.ndarray:
    """(…,) values in color over white, (…, 3) uint8."""
    rgba = signed_rgba(values, scale, palette).astype(np.float64)
    return np.rint(255 + (rgba[..., :3] - 255) * rgba[..., 3:] / 255).astype(np.uint8)


def ink(color: tuple[float, float, float]) -> str:
    """ "white" or "black", whichever is told apart better from a color of 0 … 255 (WCAG 2.2,
    contrast ratio).

    >>> ink((255, 255, 0)), ink((20, 20, 90))
    ('black', 'white')
    """
    light = float(luminance(np.asarray(color, dtype=float) / 255))
    return "white" if 1.05 / (light + 0.05) >= (light + 0.05) / 0.05 else "black"


def luminance(channels: np.ndarray) -> np.ndarray:
    """(…, 3) red, green and blue of 0 … 1 to their relative luminance (…,) of 0 … 1 (WCAG 2.2)."""
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    result: np.ndarray = linear @ np.array([0.2126, 0.7152, 0.0722])
    return result


def overlay(
    picture: np.ndarray, values: np.ndarray, scale: float, palette: Palette = SIGNED
) -> np.ndarray:
    """The picture (H, W, 3) in gray with values (H, W) laid over it, uint8."""
    gray = picture.astype(np.float64) @ [0.299, 0.587, 0.114]
    faded = np.repeat((0.6 * gray + 0.4 * 255)[:, :, None], 3, axis=2)
    rgba = signed_rgba(values, scale, palette).astype(np.float64)
    alpha = rgba[:, :, 3:] / 255
    return np.rint(faded * (1 - alpha) + rgba[:, :, :3] * alpha).astype(np.uint8)


def masked(picture: np.ndarray, values: np.ndarray, scale: float) -> np.ndarray:
    """The picture (H, W, 3), faded to white where values (H, W) do not speak for the answer,
    uint8.
    """
    seen = np.clip(values / scale, 0, 1)[:, :, None] if scale > 0 else np.zeros((*values.shape, 1))
    result: np.ndarray = np.rint(picture * seen + 255 * (1 - seen)).astype(np.uint8)
    return result
