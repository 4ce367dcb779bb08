"""How many threads work, so that they do not stand in each other's way."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import RLock

import torch
from threadpoolctl import ThreadpoolController

_turn = RLock()


@cache
def _linear_algebra() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")


@contextmanager
def quiet_linear_algebra() -> Iterator[None]:
    """Inside, numpy's linear algebra works with one thread.

    OpenBLAS' threads spin for some 25 ms after each product, in case another comes, and hold the
    cores that torch wants: of two cores, the first 32 coalitions of an explanation took 3.0 ms each
    after a product and 2.0 ms without. The limit is the process's: of several threads that explain
    at once, the one that set it lifts it.
    """
    if not _turn.acquire(blocking=False):
        yield
        return
    try:
        with _linear_algebra().limit(limits=1):
            yield
    finally:
        _turn.release()


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
