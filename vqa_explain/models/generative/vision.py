"""The part of a network that sees pictures and nothing else, found by measurement.

A network that is called as a whole gets each picture again with every candidate and with every
coalition of other words. Its vision side gives the same each time, so it runs once for each
picture.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.models.generative.batched import Batched, OneAtATime, find_batched
from vqa_explain.models.generative.memory import PictureMemory, tensors_in
from vqa_explain.models.network import method_replaced, open_layers

MOST_TRIES = 4  # parts that are looked at closely, the largest first
ROUNDING = 1e-5  # by what share of the largest number a batch may differ from one by one

Told = tuple[Any, ...]  # what tells what a part is given from anything else
Given = tuple[tuple[Any, ...], dict[str, Any]]  # arguments


@dataclass(frozen=True, eq=False)
class Pictures:
    """Which pictures each example of a batch shows.

    Attributes:
        of: (B,) a number; examples of one number show the same.
        keys: what each number is known by in `memory`.
        memory: what was made of pictures before; `None` if nothing is kept.
    """

    of: Tensor
    keys: Sequence[bytes] = ()
    memory: PictureMemory | None = None


@dataclass(frozen=True, eq=False)
class VisionSide:
    """A part whose output depends on pictures alone, and for each example on its own.

    Attributes:
        part: that module of the network.
        takes, gives: how its arguments and its output are those of several examples.
    """

    part: nn.Module
    takes: Batched
    gives: Batched

    @contextmanager
    def shared(self, pictures: Pictures) -> Iterator[None]:
        """Inside, the first call of the part computes each picture once."""
        own = self.part.forward
        done = False

        def once(*args: Any, **named: Any) -> Any:
            nonlocal done
            again, done = done, True
            given = None if again else self._apart((args, named), pictures.of)
            if given is not None:
                try:
                    return self._made(own, given, pictures)
                except _UnlikeMeasured:  # such as for pictures of another size
                    pass
            return own(*args, **named)

        with method_replaced(self.part, "forward", once):
            yield

    def _apart(self, given: Given, of: Tensor) -> list[Given] | None:
        """What each example gives; `None` where examples of one number do not give the same.

        They should, but a network may rearrange them before.
        """
        apart: list[Given] | None = self.takes.apart(given, len(of))
        if apart is None:
            return None
        first, which = _firsts(of)
        for row, number in enumerate(which.tolist()):
            pairs = zip(tensors_in(apart[row]), tensors_in(apart[first[number]]), strict=True)
            if first[number] != row and not all(torch.equal(one, two) for one, two in pairs):
                return None
        return apart

    def _made(self, run: Callable[..., Any], given: list[Given], pictures: Pictures) -> Any:
        """What the part makes of all examples."""
        first, which = _firsts(pictures.of)
        numbers = pictures.of[first].tolist()
        keys = [pictures.keys[n] if pictures.keys else str(n).encode() for n in numbers]
        memory = PictureMemory() if pictures.memory is None else pictures.memory

        def make(fresh: list[int]) -> list[Any]:
            args, named = self.takes.together([given[first[number]] for number in fresh])
            found = self.gives.apart(run(*args, **named), len(fresh))
            if found is None:
                raise _UnlikeMeasured
            return found

        made = memory.rows(keys, make)
        return self.gives.together([made[number] for number in which.tolist()])


class _UnlikeMeasured(Exception):
    """The output of the part is not that of several examples as it was when it was found."""


def _firsts(of: Tensor) -> tuple[list[int], Tensor]:
    """The first example of each number, and which of these (B,) each example is like."""
    _, which = of.unique(return_inverse=True)
    rows = torch.arange(len(which))
    first = rows.new_full((int(which.max()) + 1,), len(rows))
    return first.scatter_reduce(0, which, rows, "amin").tolist(), which


def find_vision(
    module: nn.Module,
    run: Callable[[], object],
    otherwise: Callable[[], object],
    others: Callable[[], object],
    count: int,
) -> VisionSide | None:
    """The largest part that sees pictures alone, and each by itself; `None` if there is none.

    Args:
        module: the network.
        run: calls it with an example.
        otherwise: calls it with the same pictures, other words and a longer answer.
        others: calls it with `count` examples: that one, but for the last, of another picture.
        count: 2, or 1 for a network that takes one example at a time.
    """
    with torch.no_grad():
        before, after = _given(module, run), _given(module, otherwise)
        parts = [part for part, told in before.items() if told and told == after.get(part)]
        parts.sort(key=_size, reverse=True)
        for part in parts[:MOST_TRIES]:
            found = _seeing_each_alone(part, run, otherwise, others, count)
            if found is not None:
                return found
    return None


def _size(part: nn.Module) -> int:
    return sum(weight.numel() for weight in part.parameters())


def _given(module: nn.Module, run: Callable[[], object]) -> dict[nn.Module, Told | None]:
    """What each part with parts of its own is given; `None` if it is called several times."""
    found: dict[nn.Module, Told | None] = {}

    def note(part: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        told = tuple(_told(one) for one in tensors_in((args, named)))
        found[part] = None if part in found else told

    with ExitStack() as hooks:
        for path, part in open_layers(module):
            if path and any(True for _ in part.children()):
                handle = part.register_forward_pre_hook(note, with_kwargs=True)
                hooks.callback(handle.remove)
        run()
    return found


def _told(tensor: Tensor) -> Told:
    flat = tensor.detach().flatten().double()
    weights = torch.linspace(1, 2, len(flat), dtype=flat.dtype, device=flat.device)
    return (tuple(tensor.shape), float(flat.sum()), float(flat @ weights))


def _seeing_each_alone(
    part: nn.Module,
    run: Callable[[], object],
    otherwise: Callable[[], object],
    others: Callable[[], object],
    count: int,
) -> VisionSide | None:
    """The part, if it gives the same for other words, and for a picture whatever is beside it."""
    (given, alone), (_, reworded), (all_given, found) = (
        _call_of(part, call) for call in (run, otherwise, others)
    )
    takes: Batched | None = OneAtATime()
    gives: Batched | None = OneAtATime()
    if count > 1:
        takes, gives = find_batched(given, all_given), find_batched(alone, found)
    if takes is None or gives is None:
        return None
    rows = gives.apart(found, count)
    if rows is None or not _near(alone, reworded):
        return None
    if not all(_near(alone, row) for row in rows[:-1]) or _near(alone, rows[-1]):
        return None
    return VisionSide(part, takes, gives)


def _call_of(part: nn.Module, run: Callable[[], object]) -> tuple[Given, Any]:
    """The arguments and the output of the one call of a part."""
    found: list[tuple[Given, Any]] = []

    def note(_part: nn.Module, args: tuple[Any, ...], named: dict[str, Any], output: Any) -> None:
        # A copy, since networks add to an output when they have it.
        found.append(((args, named), copy.copy(output)))

    handle = part.register_forward_hook(note, with_kwargs=True)
    try:
        run()
    finally:
        handle.remove()
    return found[0]


def _near(one: Any, other: Any) -> bool:
    """Whether the tensors in two outputs are the same but for rounding."""
    pairs = list(zip(tensors_in(one), tensors_in(other), strict=False))
    return bool(pairs) and all(_near_tensors(*pair) for pair in pairs)


def _near_tensors(one: Tensor, other: Tensor) -> bool:
    if one.shape != other.shape:
        return False
    if not one.numel():
        return True
    rounding = 8 * torch.finfo(one.dtype).eps if one.is_floating_point() else 0.0
    allowed = max(ROUNDING, rounding) * float(one.double().abs().max())
    return float((one.double() - other.double()).abs().max()) <= allowed
