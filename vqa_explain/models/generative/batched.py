"""How arguments and outputs of a part of a network are those of several examples.

Tensors have rows for each example, and lists entries. Which do is measured: it doubles where there
are two examples instead of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


class Batched(Protocol):
    """How a value is that of several examples."""

    def apart(self, value: Any, count: int) -> list[Any] | None:
        """The values of `count` examples; `None` where it is not that of so many."""
        ...

    def together(self, values: Sequence[Any]) -> Any:
        """The value of several examples."""
        ...


@dataclass(frozen=True)
class Constant:
    """A value that is the same whatever the examples are."""

    value: Any

    def apart(self, value: Any, count: int) -> list[Any] | None:
        return [value] * count if _is_same(value, self.value) else None

    def together(self, values: Sequence[Any]) -> Any:
        return values[0]


@dataclass(frozen=True)
class Rows:
    """A tensor with as many rows for each example."""

    def apart(self, value: Any, count: int) -> list[Any] | None:
        if not isinstance(value, Tensor) or not value.ndim or len(value) % count:
            return None
        # Clones, so that what is kept of one example does not keep all others.
        return [one.clone() for one in value.chunk(count)] if len(value) else None

    def together(self, values: Sequence[Any]) -> Any:
        return torch.cat(list(values))


@dataclass(frozen=True)
class Entries:
    """A list or tuple with as many entries for each example."""

    def apart(self, value: Any, count: int) -> list[Any] | None:
        if not isinstance(value, list | tuple) or len(value) % count:
            return None
        each = len(value) // count
        return [value[n * each : (n + 1) * each] for n in range(count)]

    def together(self, values: Sequence[Any]) -> Any:
        found = [_copied(one) for value in values for one in value]
        return tuple(found) if isinstance(values[0], tuple) else found


@dataclass(frozen=True)
class OneAtATime:
    """A value of a network that takes one example at a time."""

    def apart(self, value: Any, count: int) -> list[Any] | None:
        return [value] if count == 1 else None

    def together(self, values: Sequence[Any]) -> Any:
        return _copied(values[0])


@dataclass(frozen=True)
class Several:
    """A list or tuple of values that are each those of all examples."""

    parts: tuple[Batched, ...]

    def apart(self, value: Any, count: int) -> list[Any] | None:
        if not isinstance(value, list | tuple) or len(value) != len(self.parts):
            return None
        found = [part.apart(one, count) for part, one in zip(self.parts, value, strict=True)]
        if any(one is None for one in found):
            return None
        return [type(value)(one[n] for one in found if one is not None) for n in range(count)]

    def together(self, values: Sequence[Any]) -> Any:
        columns = zip(*values, strict=True)
        found = [part.together(one) for part, one in zip(self.parts, columns, strict=True)]
        return tuple(found) if isinstance(values[0], tuple) else found


@dataclass(frozen=True)
class Named:
    """The same by name, such as the outputs of transformers."""

    parts: Mapping[str, Batched]

    def apart(self, value: Any, count: int) -> list[Any] | None:
        if not isinstance(value, Mapping) or set(value) != set(self.parts):
            return None
        found = {name: part.apart(value[name], count) for name, part in self.parts.items()}
        if any(one is None for one in found.values()):
            return None
        rows = [{k: one[n] for k, one in found.items() if one is not None} for n in range(count)]
        return [type(value)(**row) for row in rows]

    def together(self, values: Sequence[Any]) -> Any:
        kind = type(values[0])
        return kind(**{k: part.together([v[k] for v in values]) for k, part in self.parts.items()})


def find_batched(one: Any, two: Any) -> Batched | None:
    """How a value is that of several examples; `None` if it is in no way that is known here.

    Args:
        one: that of one example.
        two: that of two.
    """
    if isinstance(one, Tensor) and isinstance(two, Tensor) and one.ndim == two.ndim > 0:
        if len(two) == 2 * len(one) and one.shape[1:] == two.shape[1:]:
            return Rows()
        return Constant(one) if _is_same(one, two) else None
    if isinstance(one, Mapping) and isinstance(two, Mapping) and set(one) == set(two):
        named = {name: find_batched(one[name], two[name]) for name in one}
        known = {name: part for name, part in named.items() if part is not None}
        return Named(known) if len(known) == len(named) else None
    if isinstance(one, list | tuple) and type(one) is type(two):
        if len(two) == 2 * len(one) > 0:
            return Entries()
        if len(two) != len(one):
            return None
        parts = [find_batched(a, b) for a, b in zip(one, two, strict=True)]
        found = tuple(part for part in parts if part is not None)
        return Several(found) if len(found) == len(parts) else None
    return Constant(one) if _is_same(one, two) else None


def _copied(value: Any) -> Any:
    """The same with tensors of its own: networks add to what they have, and it may be kept."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, Mapping):
        return type(value)(**{name: _copied(part) for name, part in value.items()})
    if isinstance(value, list | tuple):
        return type(value)(_copied(part) for part in value)
    return value


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and torch.equal(one, other)
    if isinstance(one, Tensor) or isinstance(other, Tensor):
        return False
    return one is other or bool(one == other)
