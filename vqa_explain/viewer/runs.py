"""What a viewer takes of a finished run: its examples with what was measured of each."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from vqa_explain.examples import Example
from vqa_explain.models.base import Model
from vqa_explain.viewer.requests import Entry, MethodChoice


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A run with its model and data set.

    Attributes:
        examples: those that were looked at, read when they are needed.
        entries: a line for each, with its numbers.
        divided: "regions", "words", "columns" and "players" as `explain` takes them.
        seed: the run's.
    """

    model: Model
    examples: Sequence[Example]
    entries: Sequence[Entry]
    method: MethodChoice | None
    divided: Mapping[str, Any]
    seed: int


@runtime_checkable
class FinishedRun(Protocol):
    """What `vqa_explain.Report` is to a viewer."""

    def opened(self, model: Model | None, dataset: Iterable[Example] | None) -> OpenedRun:
        """The run, with the model and data set that are given or that its plan names."""
        ...


class ExamplesAt(Sequence[Example]):
    """Examples of a data set at some places, each read when it is first needed, and kept: what is
    shown must be the same object later.
    """

    def __init__(self, dataset: Any, places: Sequence[int]) -> None:
        self._dataset = dataset
        self._places = places
        self._known: dict[int, Example] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        if number not in self._known:
            self._known[number] = self._dataset[self._places[number]]
        return self._known[number]
