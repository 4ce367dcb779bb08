"""How several callers share one network: one at a time, in evaluation mode, and left as it was.

Explaining puts hooks on a network, replaces functions of its layers and freezes its parameters,
each for a while. Two threads that did so at once would see each other's changes: a viewer at work
and a cell that calls `explain` are two such threads. So every call of a network holds that
network's lock.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from itertools import count
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import nn

from vqa_explain.models.unwrapping import all_parts, outside_inference_mode, uncompiled

T = TypeVar("T")

# The methods of `models.base.Model` and its kin that run the network, or put hooks on it.
NETWORK_CALLS = (
    "encode",
    "leaves",
    "baselines",
    "scores",
    "coalition_scores",
    "attention",
    "streams",
    "generate",
    "default_layer",
    "positions",
    "plain_answer",
    "plain_scores",
)


@dataclass(eq=False)
class _Use:
    """A network in use: by which thread, and its modules that were in training mode before."""

    thread: int
    network: nn.Module
    switched: list[nn.Module]


@dataclass(eq=False)
class _Custody:
    """The lock of some modules, and the networks made of them that are in use now,
    all by the lock's holder.
    """

    number: int = field(default_factory=count().__next__)
    lock: threading.RLock = field(default_factory=threading.RLock)
    uses: list[_Use] = field(default_factory=list)


_registry = threading.RLock()
_all: WeakSet[_Custody] = WeakSet()
_of_module: WeakKeyDictionary[nn.Module, _Custody] = WeakKeyDictionary()
_of_network: WeakKeyDictionary[nn.Module, tuple[_Custody, ...]] = WeakKeyDictionary()


def _custodies(network: nn.Module) -> tuple[_Custody, ...]:
    """The custodies of a network's modules, in the order in which every thread takes their locks.

    Usually there is one. A network that is made of others, such as a classifier around an encoder
    that is explained too, has theirs, and one more for the modules that it adds.
    """
    found = _of_network.get(network)
    if found is not None:
        return found
    with _registry:
        parts = list(network.modules())
        known = {one.number: one for part in parts if (one := _of_module.get(part)) is not None}
        fresh = [part for part in parts if part not in _of_module]
        if fresh:
            own = _Custody()
            _all.add(own)
            known[own.number] = own
            _of_module.update((part, own) for part in fresh)
        found = tuple(known[number] for number in sorted(known))
        _of_network[network] = found
        return found


_before_use: ContextVar[Callable[[], None] | None] = ContextVar("before_use", default=None)


@contextmanager
def asked_before_use(question: Callable[[], None]) -> Iterator[None]:
    """Inside, this thread calls `question` before each use of a network.

    What it raises ends the work, also that of methods which tell no progress.
    """
    before = _before_use.set(question)
    try:
        yield
    finally:
        _before_use.reset(before)


_between_batches: ContextVar[Callable[[], None] | None] = ContextVar("between", default=None)


@contextmanager
def let_go_between_batches(call: Callable[[], None]) -> Iterator[None]:
    """Inside, this thread makes `call` after each batch of a game's coalitions.

    Nothing is hung on the network then, so that the call may use it.
    """
    before = _between_batches.set(call)
    try:
        yield
    finally:
        _between_batches.reset(before)


def a_batch_is_over() -> None:
    """Makes the call that was asked for between batches, if one was."""
    call = _between_batches.get()
    if call is not None:
        with torch.enable_grad():
            call()


@contextmanager
def network_held(network: nn.Module) -> Iterator[None]:
    """Inside, no other thread uses the network, all of its modules are in evaluation mode, and none
    is compiled.

    Afterwards each module is as it was. Calls may be nested, and only the outermost looks at the
    modules.
    """
    question = _before_use.get()
    if question is not None:
        question()
    custodies = _custodies(network)
    with ExitStack() as held:
        for one in custodies:
            held.enter_context(one.lock)
        uses = custodies[0].uses
        if any(use.network is network for use in uses):
            yield
            return
        use = _Use(threading.get_ident(), network, _training(network))
        uses.append(use)
        try:
            _set_training(use.switched, False)
            with uncompiled(network), outside_inference_mode():
                yield
        finally:
            _set_training(use.switched, True)
            uses.remove(use)


def _training(network: nn.Module) -> list[nn.Module]:
    """Its modules that are in training mode."""
    # A frozen scripted module has no mode.
    return [part for part in all_parts(network) if getattr(part, "training", False)]


def _set_training(modules: list[nn.Module], mode: bool) -> None:
    # The flag alone, since `train` and `eval` may do more in classes of the user's own, and reach
    # every module below.
    for module in modules:
        module.training = mode


def holds_network(adapter: type[T]) -> type[T]:
    """A class decorator: the methods of `NETWORK_CALLS` hold the network `module` of the adapter
    while they run.
    """
    for name in NETWORK_CALLS:
        if name in vars(adapter):
            setattr(adapter, name, _holding(vars(adapter)[name]))
    return adapter


def _holding(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        with network_held(self.module):
            return method(self, *args, **kwargs)

    return call


def _forget_other_threads() -> None:
    """In a forked process: what other threads held is free, as they are gone,
    and modules get their modes back.
    """
    global _registry
    _registry = threading.RLock()
    for custody in list(_all):
        gone = [use for use in custody.uses if use.thread != threading.get_ident()]
        if len(gone) == len(custody.uses):
            custody.lock = threading.RLock()
        for use in gone:
            _set_training(use.switched, True)
            custody.uses.remove(use)


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_other_threads)
