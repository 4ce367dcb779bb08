"""Reads a data set that is the user's own code: whatever it raises ends one example, not the
rest.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from vqa_explain.errors import VQAExplainError
from vqa_explain.examples import Example


def reason_of(error: BaseException) -> str:
    """An error as one sentence; the type's name tells an error that is not ours."""
    if isinstance(error, VQAExplainError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def can_be_read(dataset: object) -> bool:
    """Whether it may hold examples, one after another or by place, as torch's data sets do."""
    if isinstance(dataset, str | bytes | Mapping):
        return False
    return isinstance(dataset, Iterable) or _has_places(dataset)


def _has_places(dataset: object) -> bool:
    return hasattr(dataset, "__getitem__") and hasattr(dataset, "__len__")


class Reading:
    """Iterates over the examples of a data set, and notes what cannot be read.

    Where examples can be read by their place, an unreadable one does not end the rest.
    """

    def __init__(self, dataset: Iterable[Example]) -> None:
        self._dataset: Any = dataset
        self.failures: list[str] = []  # one for each example that is left out
        self._end = ""  # why the rest cannot be read

    def __iter__(self) -> Iterator[Example]:
        for found in self._all():
            if isinstance(found, Example):
                yield found
            elif isinstance(found, BaseException):
                self.failures.append(reason_of(found))
            else:
                self.failures.append(f"it is no Example but a {type(found).__name__}")

    def _all(self) -> Iterator[Any]:
        """What the data set holds; an error stands for what cannot be read."""
        try:
            if not _has_places(self._dataset):
                yield from self._dataset
                return
            for number in range(len(self._dataset)):
                yield self._one(number)
        except GeneratorExit:  # nobody wants more
            raise
        except BaseException as error:  # the data set is the user's code: any error can come
            self._end = reason_of(error)

    def _one(self, number: int) -> Any:
        try:
            return self._dataset[number]
        except BaseException as error:
            return error

    def problem(self) -> str:
        """What a person must know of the reading, or ""."""
        sentences = []
        if self.failures:
            sentences.append(
                f"examples that failed and are left out: {len(self.failures):,}; first: "
                f"{self.failures[0]}"
            )
        if self._end:
            sentences.append(f"the data set cannot be read to its end: {self._end}")
        return "; ".join(sentences)
