"""What happens when memory runs out, and how freed memory is kept for the next layer."""

import errno
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Protocol, TypeVar

import torch

from vqa_explain.errors import OutOfMemory, Unanswered

T = TypeVar("T")
# What oneDNN, with which torch computes on processors, says where it gets no memory.
ONE_DNN = ("could not create a primitive", "could not create a memory object")


class Placed(Protocol):
    """What has a name and runs somewhere."""

    @property
    def name(self) -> str: ...
    @property
    def device(self) -> torch.device: ...


@cache
def keep_freed_memory() -> None:
    """Lets the C library keep up to 64 MiB of freed memory, so that layers' outputs reuse it.

    glibc hands memory back once more than twice its largest freed block lies free, and clears it
    anew when asked again. A freed block of just under 32 MiB raises that bound for good: a picture
    through EfficientNet-Lite0 took 42 ms without and 29 ms with it.
    """
    torch.zeros(2**25 - 2**14, dtype=torch.uint8)


@contextmanager
def must_fit(model: Placed) -> Iterator[None]:
    """Turns a lack of memory inside into `OutOfMemory`, which names the model,
    the device and the remedy.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        raise OutOfMemory(
            f"one example through model {model.name!r} does not fit into the memory of "
            f"{model.device}; load the model on another device or give a smaller picture"
        ) from error


@dataclass
class HalvingBatches:
    """How many examples go through a model at once: at most `most`,
    and half as many for good where they do not fit.
    """

    model: Placed
    most: int

    def parts(self, count: int, run: Callable[[slice], T]) -> Iterator[T]:
        """What `run` gives for each part of `count` examples, in order.

        Raises:
            OutOfMemory: not even one example fits.
        """
        done = 0
        while done < count:
            part = slice(done, min(done + self.most, count))
            size = part.stop - part.start
            try:
                with must_fit(self.model):
                    found = run(part)
            except OutOfMemory:
                if size == 1:
                    raise
            else:
                yield found
                done = part.stop
                continue
            # Here the error is gone, and with it what the batch that did not fit still held.
            self.most = size // 2
            if self.model.device.type == "cuda":
                torch.cuda.empty_cache()


def may_pass(error: Exception) -> bool:
    """Whether a later try with the same input may succeed: memory, the system or an endpoint was at
    fault, and not the input.
    """
    return (
        is_of_the_system(error)
        or isinstance(error, OutOfMemory | Unanswered)
        or lacks_memory(error)
    )


def is_of_the_system(error: Exception) -> bool:
    """Whether the system was at fault, or code that raises its errors whatever the system does."""
    return isinstance(error, OSError) and not lacks_memory(error)


def lacks_memory(error: Exception) -> bool:
    """Whether the error says that memory ran out, and is not yet ours."""
    if isinstance(error, OutOfMemory):
        return False
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    # Of others the words say nothing, such as those of a user's metric on how shares are allocated.
    said = str(error)
    return isinstance(error, RuntimeError) and ("alloc" in said or said in ONE_DNN)
