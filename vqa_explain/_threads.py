"""How many threads work, so that they do not stand in each other's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import Lock
from typing import Any

import torch
from threadpoolctl import OpenBLASController, ThreadpoolController


def _take_over() -> None:
    """Lets this thread set OpenBLAS' threads. Threadpoolctl leaves them to the thread that set them
    first, even if the user's own code did.
    """
    OpenBLASController.clear_controlling_thread(force=True)


class _Limit:
    """One limit for the whole process, held from the first thread that explains to the last."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.inside = 0
        self.limit: Any = None

    def enter(self) -> None:
        with self.lock:
            if self.inside == 0:
                _take_over()
                self.limit = _linear_algebra().limit(limits=1)
            self.inside += 1

    def leave(self) -> None:
        with self.lock:
            self.inside -= 1
            if self.inside == 0:
                _take_over()
                self.limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread()


@cache
def _linear_algebra() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


_limit = _Limit()


@contextmanager
def quiet_linear_algebra() -> Iterator[None]:
    """Inside, numpy's linear algebra works with one thread.

    OpenBLAS' threads spin for some 25 ms after each product, in case another comes, and hold the
    cores that torch wants: of two cores, the first 32 coalitions of an explanation took 3.0 ms each
    after a product and 2.0 ms without. The limit is the process's: of several threads that explain
    at once, the last to end lifts it, or the bits of the others would depend on when one ended.
    """
    _limit.enter()
    try:
        yield
    finally:
        _limit.leave()


@contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Inside, the processor works with one thread,
    so that the bits do not depend on how work was divided.
    """
    before = torch.get_num_threads()
    if device.type == "cpu":
        torch.set_num_threads(1)
    try:
        with quiet_linear_algebra():
            yield
    finally:
        torch.set_num_threads(before)
