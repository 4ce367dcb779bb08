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
    """A probability in percent, by the rule of the viewer's numbers.js.

    >>> [percent_text(share) for share in (0.98, 0.561, 0.0004, 0.9996)]
    ['98.0%', '56%', '<0.1%', '100%']
    """
    if share >= 0.9995:
        return "100%"
    if 0.1 <= share <= 0.9:
        return f"{math.floor(100 * share + 0.5)}%"  # halves go up, as in JavaScript
    return f"{share:.1%}" if share >= 0.0005 else "<0.1%"
