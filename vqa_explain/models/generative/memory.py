"""What the vision side made of pictures, kept while one game is played.

Coalitions often show the same picture: those that lack other words only, or ask for it again in a
later batch. The vision side is most of the work, so it sees each picture once.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

# A picture of SmolVLM takes 0.2 MB, and one of 1,000 tokens of 2,048 numbers takes 8 MB.
KEPT = 256 * 2**20


class PictureMemory:
    """Key of a picture → what was made of it; the oldest leave when they take too many bytes.

    Args:
        limit: the bytes that may be kept.
    """

    def __init__(self, limit: int = KEPT) -> None:
        self._limit, self._bytes = limit, 0
        self._made: dict[bytes, Any] = {}

    def get(self, key: bytes) -> Any:
        """What was made of this picture; `None` if it is not kept."""
        return self._made.get(key)

    def keep(self, key: bytes, made: Any) -> None:
        """Keeps what was made of a picture, as long as there is room for it."""
        if key in self._made:
            return
        self._made[key] = made
        self._bytes += _bytes_of(made)
        while self._bytes > self._limit:
            oldest = next(iter(self._made))
            self._bytes -= _bytes_of(self._made.pop(oldest))

    def rows(self, keys: Sequence[bytes], make: Callable[[list[int]], Sequence[Any]]) -> list[Any]:
        """What is made of each picture.

        Args:
            keys: of the pictures.
            make: the numbers of pictures among them → what is made of these, in order. It is
                called once, with those that are not kept.
        """
        fresh = [number for number, key in enumerate(keys) if key not in self._made]
        found = {key: self._made[key] for key in keys if key in self._made}
        if fresh:
            for number, made in zip(fresh, make(fresh), strict=True):
                found[keys[number]] = made
                self.keep(keys[number], made)
        return [found[key] for key in keys]


def _bytes_of(made: Any) -> int:
    return sum(tensor.nbytes for tensor in tensors_in(made))


def tensors_in(made: Any) -> Iterator[Tensor]:
    """All tensors in an object made of mappings, sequences and dataclasses."""
    if isinstance(made, Tensor):
        yield made
    elif isinstance(made, Mapping):
        for part in made.values():
            yield from tensors_in(part)
    elif isinstance(made, list | tuple):
        for part in made:
            yield from tensors_in(part)
    elif is_dataclass(made):
        for one in fields(made):
            yield from tensors_in(getattr(made, one.name))
