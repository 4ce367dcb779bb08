"""Examples by number, as a list has them."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import overload

from vqa_explain.examples import Example


class LazySequence(ABC):
    """A sequence whose examples are made or read when asked for. A slice gives a list."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def example(self, index: int) -> Example:
        """The example of that number, from 0 up to the length."""

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        count = len(self)
        if isinstance(index, slice):
            return [self.example(i) for i in range(*index.indices(count))]
        if not -count <= index < count:
            raise IndexError(f"there are {count} examples, no number {index}")
        return self.example(index % count)

    def __iter__(self) -> Iterator[Example]:
        return (self.example(i) for i in range(len(self)))
