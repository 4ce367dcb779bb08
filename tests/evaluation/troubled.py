"""Data sets that do what those of strangers do, at chosen rows. Light, since workers import it."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import vqa_explain as vx

PICTURES = np.random.default_rng(0).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)


def example(number: int) -> vx.Example:
    """An example of the small networks of the tests."""
    return vx.Example(PICTURES[number % 100], answer="a", id=f"e{number}")


class InOrder:
    """Rows that can be read in order alone; `at` is called with each number."""

    fingerprint = "in order"

    def __init__(self, count: int | None, at: Callable[[int], Any] = example) -> None:
        self.count, self.at = count, at

    def __iter__(self) -> Iterator[Any]:
        number = 0
        while self.count is None or number < self.count:
            yield self.at(number)
            number += 1


class ByNumber:
    """Rows by number without `__iter__`, as torch's map-style data sets."""

    fingerprint = "by number"

    def __init__(self, says: int, has: int, at: Callable[[int], Any] = example) -> None:
        self.says, self.has, self.at = says, has, at

    def __len__(self) -> int:
        return self.says

    def __getitem__(self, number: int) -> Any:
        if number >= self.has:
            raise IndexError(f"index {number} is out of range")
        return self.at(number)


class Dangerous(ByNumber):
    """Rows whose reading ends or stops a worker process.

    Args:
        ends: the row that ends each process that reads it, but for this one.
        stops: the row that stops the first process that reads it.
        mark: a file that is there once that has happened.
    """

    fingerprint = "dangerous"

    def __init__(self, count: int, ends: int, stops: int, mark: Path) -> None:
        super().__init__(count, count)
        self.ends, self.stops, self.mark, self.parent = ends, stops, mark, os.getpid()

    def __getitem__(self, number: int) -> Any:
        if os.getpid() != self.parent:
            if number == self.ends:
                os._exit(7)
            if number == self.stops and not self.mark.exists():
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGSTOP)
        return super().__getitem__(number)


class Endless(ByNumber):
    """Rows of which one is computed without end by every process but this one; it gives signs of
    life meanwhile.
    """

    fingerprint = "endless"

    def __init__(self, count: int, row: int) -> None:
        super().__init__(count, count)
        self.row, self.parent = row, os.getpid()

    def __getitem__(self, number: int) -> Any:
        while number == self.row and os.getpid() != self.parent:
            sum(range(1000))
        return super().__getitem__(number)
