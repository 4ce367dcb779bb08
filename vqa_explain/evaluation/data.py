"""A user's data set as a run reads it: a row that cannot be read is one error, and not the end."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.examples import Example

log = logging.getLogger("vqa_explain")


class Unreadable(InvalidInput):
    """A data set that ends in an error before its end."""


@dataclass(frozen=True, eq=False)
class ByNumber:
    """A data set that has a length and gives examples by number, such as a list.

    It need not have an `__iter__`. What cannot be read is an example that says why.

    Attributes:
        given: the user's.
        name: what it is called.
        count: its length.
    """

    given: Any
    name: str
    count: int

    @property
    def total(self) -> int:
        """How many examples there are."""
        return self.count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Example:
        try:
            found = self.given[number]
        except Exception as error:  # of any kind: one bad row must not end the run
            return unreadable(number, self.name, error)
        return _checked(found, number, self.name)

    def __iter__(self) -> Iterator[Example]:
        return (self[number] for number in range(self.count))


@dataclass(frozen=True, eq=False)
class InOrder:
    """A data set that is read from its beginning, each time anew.

    Attributes:
        given: the user's.
        name: what it is called.
        total: how many examples there are, where that is known.
    """

    given: Iterable[Any]
    name: str
    total: int | None

    def __iter__(self) -> Iterator[Example]:
        """The examples.

        Raises:
            Unreadable: the data set raised an error after some of them.
        """
        count = 0
        try:
            for found in self.given:
                yield _checked(found, count, self.name)
                count += 1
        except Exception as error:  # of any kind, since it is the user's own code
            if count == 0 and isinstance(error, VQAExplainError):
                raise
            raise Unreadable(
                f"data set {self.name!r} cannot be read beyond its first {count:,} examples "
                f"({_said(error)}); mend it, and the same call goes on; what is finished is kept"
            ) from error
        if self.total is not None and count < self.total:
            log.warning(
                "data set %r says that it has %d examples, and it has %d",
                self.name, self.total, count,
            )  # fmt: skip


Data = ByNumber | InOrder


def opened(dataset: Any, name: str, limit: int | None) -> Data:
    """The data set, to be read again and again.

    Args:
        dataset: what the user gave.
        name: what it is called.
        limit: how many examples are taken, from the first; `None` for all.

    Raises:
        InvalidInput: it is no data set, it is empty, it can be read only once, or it is shorter
            than it says.
    """
    by_number = hasattr(dataset, "__getitem__")
    if isinstance(dataset, str | bytes | dict) or not (by_number or isinstance(dataset, Iterable)):
        raise InvalidInput(f"a data set is a sequence of Examples, not {type(dataset).__name__}")
    if isinstance(dataset, Iterator):
        raise InvalidInput(
            "a generator can be read only once, so a run could not be resumed; give a list, or an "
            "object whose __iter__ begins anew"
        )
    length = _length(dataset)
    found: Data
    if by_number and length is not None:
        found = ByNumber(dataset, name, length)
        _check_length(found, limit)
    else:
        # An object that has only __getitem__ is read until IndexError, as Python's `iter` does.
        found = InOrder(dataset, name, length if length is not None else _stated(dataset))
    _check_first(dataset, found)
    return found


def _length(dataset: Any) -> int | None:
    """What `len` says; `None` where it says nothing, as for data sets that stream."""
    try:
        return len(dataset)
    except (TypeError, NotImplementedError, AttributeError):
        return None
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f"the length of the data set is no number of examples ({error}); mend its __len__"
        ) from error


def _stated(dataset: Any) -> int | None:
    """How many examples the data set's file says that it has (`Table.count`)."""
    try:
        count = getattr(dataset, "count", None)
    except Exception:  # of any kind: what is wrong with the file is told where it is read
        return None
    return count if isinstance(count, int) and not isinstance(count, bool) else None


def _check_length(data: ByNumber, limit: int | None) -> None:
    """Raises where the last example that is asked for is not there."""
    asked = data.count if limit is None else min(limit, data.count)
    if asked == 0:
        return
    try:
        data.given[asked - 1]
    except IndexError as error:
        raise InvalidInput(
            f"data set {data.name!r} says that it has {data.count:,} examples, and number "
            f"{asked - 1:,} is not there ({error}); mend its __len__, or give a limit"
        ) from error
    except Exception:  # told where that example is judged
        return


def _check_first(dataset: Any, data: Data) -> None:
    first = next(iter(data), None)
    if first is None:
        raise InvalidInput(f"data set {data.name!r} is empty; give one that has rows")
    if not isinstance(first.image, WrongType):
        return
    raise InvalidInput(
        f"a data set is a sequence of Examples; its first item is of type {first.image.kind}"
    )


class WrongType(InvalidInput):
    """An item that is no example."""

    def __init__(self, number: int, name: str, kind: str) -> None:
        super().__init__(number, name, kind)
        self.number, self.name, self.kind = number, name, kind

    def __str__(self) -> str:
        return (
            f"row {self.number} of data set {self.name!r} is of type {self.kind}, and no Example; "
            "mend it"
        )


def _checked(found: Any, number: int, name: str) -> Example:
    """The item, or an example that says that it is none."""
    if isinstance(found, Example):
        return found
    wrong = WrongType(number, name, type(found).__name__)
    return Example(image=wrong, id=f"{name}/{number}")


def unreadable(number: int, name: str, error: Exception) -> Example:
    """An example in place of a row that cannot be read; it says why where it is judged."""
    wrong = InvalidInput(
        f"row {number} of data set {name!r} cannot be read: {_said(error)}; mend it"
    )
    return Example(image=wrong, id=f"{name}/{number}")


def _said(error: Exception) -> str:
    text = str(error) if isinstance(error, VQAExplainError) else f"{type(error).__name__}: {error}"
    return " ".join(text.split())[:300]


def first_rows(data: Iterable[Example], most: int | None) -> Iterator[Example]:
    """The first examples, up to where the data set cannot be read any more."""
    try:
        yield from islice(iter(data), most)
    except Unreadable:
        return


def can_be_indexed(dataset: Any) -> bool:
    """Whether workers can take examples from it by number."""
    return isinstance(dataset, Sequence) or (
        hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    )
