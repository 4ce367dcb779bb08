"""How a value that was given, or a probability, is written. Loads nothing, since the shell needs it."""

import math
from typing import Any

LARGEST = 2**63 - 1  # what whole numbers of other programs hold
MOST_SHOWN = 80  # characters of a value in a message


def shown(value: Any) -> str:
    """The value in few characters, without writing a long one whole."""
    if isinstance(value, list | tuple | dict) or getattr(value, "ndim", None):
        return f"a {type(value).__name__}"
    if isinstance(value, int) and abs(value) > LARGEST:  # which may have a million digits
        return "a number beyond 64 bits"
    text = repr(value[:MOST_SHOWN] if isinstance(value, str) else value)
    return text[:MOST_SHOWN]


def percent_text(share: float) -> str:
    """A probability or share in percent, by the rule of the viewer's numbers.js.

    >>> [percent_text(share) for share in (0.98, 0.561, 0.0004, 0.9996, 0, 1.2, -0.03)]
    ['98.0%', '56%', '<0.1%', '100%', '0%', '120%', '−3.0%']
    """
    if share < 0:
        return f"−{percent_text(-share)}"
    if share >= 0.9995 or 0.1 <= share <= 0.9:
        return f"{math.floor(100 * share + 0.5)}%"  # halves go up, as in JavaScript
    if share == 0:
        return "0%"
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"


def percent_with_error(share: float, error: float) -> str:
    """A share with its standard error, which has one digit; the share has the same place.

    >>> [percent_with_error(0.4217, error) for error in (0.031, 0.004, 0.0)]
    ['42% ± 3%', '42.2% ± 0.4%', '42%']
    """
    if not error > 0:
        return percent_text(share)
    places = max(0, -math.floor(math.log10(float(f"{100 * error:.0e}"))))
    return f"{share:.{places}%} ± {error:.{places}%}"
