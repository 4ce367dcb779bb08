"""How a value that was given stands in a message. Loads nothing, since the shell needs it."""

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
