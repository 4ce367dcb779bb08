"""The errors a user can meet. Each message names the thing that is wrong and the remedy."""

import difflib
from collections.abc import Iterable
from typing import Any

from vqa_explain._shown import MOST_SHOWN, shown


class VQAExplainError(Exception):
    """Base of every error that this package raises on purpose."""


class InvalidInput(VQAExplainError, ValueError):
    """An image, question, answer, parameter or file that cannot be used as given."""


class Unanswered(InvalidInput):
    """An endpoint that gives no answer now, or may not be asked again yet; later it may."""


class NothingWritten(InvalidInput):
    """A model that writes its answers writes none here; candidates can still be scored."""


class StillThinking(NothingWritten):
    """A model that thinks before it answers has come to no answer."""


class MissingColumn(InvalidInput):
    """A table has no column for a field; the remedy is written differently in Python and in the
    shell.

    Args:
        problem: what is missing, and what there is.
        field: the field of an Example.
    """

    def __init__(self, problem: str, field: str) -> None:
        super().__init__(problem, field)
        self.problem, self.field = problem, field

    def __str__(self) -> str:
        return f"{self.problem}; say which holds it: fields={{{self.field!r}: …}}"


class Unsupported(VQAExplainError):
    """A method asks for something the model cannot do."""


class NonFiniteScore(VQAExplainError, ArithmeticError):
    """The model answered NaN or infinity, so nothing true can be said about it."""


class OutOfMemory(VQAExplainError, MemoryError):
    """Not even one example fits into the device's memory."""


def is_one_of(value: Any, known: Iterable[Any]) -> bool:
    """Whether the value is one of these; an array, or what cannot be hashed, never is."""
    return any(isinstance(value, type(one)) and value == one for one in known)


def unknown(kind: str, name: Any, known: Iterable[str]) -> InvalidInput:
    """An error for a name that is not in `known`, with the nearest names or, failing that,
    the first ones.
    """
    known = list(known)
    lowered = {k.lower(): k for k in known}
    asked = name[:MOST_SHOWN].lower() if isinstance(name, str) else ""
    near = [lowered[n] for n in difflib.get_close_matches(asked, lowered, n=3, cutoff=0.6)]
    if near:
        remedy = f"did you mean {' or '.join(repr(n) for n in near)}?"
    else:
        first = ", ".join(known[:12]) + (f", … ({len(known)} in all)" if len(known) > 12 else "")
        remedy = f"choose one of: {first}"
    return InvalidInput(f"unknown {kind} {shown(name)}; {remedy}")


def unwritable(path: object, error: OSError | ValueError) -> InvalidInput:
    """An error for a file or folder that the system will not write;
    it is a ValueError where a name has NUL.
    """
    reason = getattr(error, "strerror", None) or error
    return InvalidInput(f"{str(path)!r} cannot be written: {reason}; choose another folder")
