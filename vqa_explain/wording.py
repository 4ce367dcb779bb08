"""Values, errors and counts as texts."""

import math
import re
from collections.abc import Sequence

from vqa_explain.features.parts import PlayerValue, band_of

_MOST_DECIMALS = 6
DEPENDS = "†"  # marks a value whose sign depends on the fill


def everything_but(fixed: Sequence[str]) -> str:
    """What is absent where no player is present, in words.

    >>> everything_but([]), everything_but(["photo", "system"])
    ('everything', 'everything but photo and system')
    """
    if not fixed:
        return "everything"
    listed = f"{', '.join(fixed[:-1])} and {fixed[-1]}" if len(fixed) > 1 else fixed[0]
    return f"everything but {listed}"


def value_text(value: float, error: float | None, signed: bool = True) -> str:
    """A value and its standard error; the sign is written where there are two.

    The error has one significant digit, and the value ends where it does.

    >>> value_text(1.2345, 0.0171), value_text(0.5, None, signed=False), value_text(1234.0, 96.0)
    ('+1.23 ± 0.02', '0.5', '+1200 ± 100')
    """
    sign = "+" if signed else ""
    if not error:
        return f"{value:{sign}.3g}"
    exponent = _exponent(error)
    # Further digits would be wider than any list has room for.
    if not -_MOST_DECIMALS <= exponent <= _MOST_DECIMALS:
        return f"{value:{sign}.3g} ± {error:.1g}"
    digits = max(0, -exponent)
    rounded = round(value, -exponent) + 0.0  # no minus before zero
    return f"{rounded:{sign}.{digits}f} ± {round(error, -exponent):.{digits}f}"


def player_text(player: PlayerValue, signed: bool = True) -> str:
    """A player's value as `value_text` tells it, with a mark where its sign depends on the fill."""
    band = band_of(player)
    mark = DEPENDS if band is not None and band[0] <= 0 <= band[1] else ""
    return value_text(player.value, player.error, signed) + mark


def with_minus(number: str) -> str:
    """A number with the sign that is as wide as a plus; terminals and files keep the hyphen.

    >>> with_minus("-0.30 ± 0.03"), with_minus("“up-to-date” × top (1) -1")
    ('−0.30 ± 0.03', '“up-to-date” × top (1) −1')
    """
    return re.sub(r"(?<![^\s(])-(?=\.?\d)", "−", number)


def place_text(box: Sequence[int], size: Sequence[int]) -> str:
    """Where a region lies in its picture.

    Args:
        box: (left, top, right, bottom) in pixels.
        size: (height, width) of the picture.

    >>> place_text((0, 0, 10, 10), (90, 90)), place_text((40, 0, 50, 9), (90, 90))
    ('upper left', 'top')
    >>> place_text((40, 40, 50, 50), (90, 90)), place_text((80, 40, 90, 50), (90, 90))
    ('middle', 'right')
    """
    left, top, right, bottom = box
    height, width = size
    row = min(2, int(3 * (top + bottom) / 2 / height))
    column = min(2, int(3 * (left + right) / 2 / width))
    if row == 1:
        return ("left", "middle", "right")[column]
    if column == 1:
        return ("top", "", "bottom")[row]
    return f"{('upper', '', 'lower')[row]} {('left', '', 'right')[column]}"


def _exponent(error: float) -> int:
    """The place of an error's one significant digit: 10 to that power.

    >>> _exponent(0.0171), _exponent(0.0971), _exponent(170.0)
    (-2, -1, 2)
    """
    return int(f"{error:.0e}".partition("e")[2]) if math.isfinite(error) else 99


def counted(number: int, one: str, several: str) -> str:
    return f"{number:,} {one if number == 1 else several}"
