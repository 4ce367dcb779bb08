"""Numbers that the user gives, checked where they come in."""

from numbers import Integral
from typing import Any

from vqa_explain._shown import LARGEST, shown
from vqa_explain.errors import InvalidInput


def checked_whole(name: str, value: Any, least: int) -> int:
    """A whole number, numpy's too, as Python's own.

    Args:
        name: what it is called in the message.
        value: what was given.
        least: the smallest that can be used.

    Raises:
        InvalidInput: it is no whole number from `least` on, or does not fit into 64 bits.
    """
    is_whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_whole or not least <= value <= LARGEST:
        raise InvalidInput(f"{name} must be a whole number from {least} on, not {shown(value)}")
    return int(value)


def checked_seed(value: Any) -> int:
    """A seed that every generator takes: from 0 to 2⁶³ − 1.

    Raises:
        InvalidInput: it is none.
    """
    return checked_whole("seed", value, 0)
