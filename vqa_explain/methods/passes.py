"""One forward pass of the whole example, kept with its graph.

A method that needs no other pass takes the answer from it too, and differentiates the scores of all
targets of a call in it.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.models.attending import Attentive, Streaming
from vqa_explain.models.base import Leaves, Model, check_finite
from vqa_explain.models.encoded import Encoded
from vqa_explain.target import Target

_log = logging.getLogger("vqa_explain")

# Targets whose gradients one backward pass computes together, at most: what it keeps of the layers
# grows with them.
TARGETS_AT_ONCE = 10

Slopes = tuple[Tensor | None, ...]


@dataclass(eq=False)
class WholePass:
    """A forward pass of the whole example.

    Attributes:
        scores: (1, K) of the answers, in the graph.
        over: the tensors that gradients are asked of: leaves, maps of attention, or states of a
            layer.
        found: what else was seen inside, such as the leaves or an `Attention`.
        inside: what a target is computed inside of, such as a method's rules for operations.
        is_rewritten: whether a method changed the operations, so that the scores have to be compared
            with those of the network as it is.
        seconds: what it took, where it ran before the method was called.
        is_counted: whether the cost of an explanation holds it.
    """

    scores: Tensor
    over: tuple[Tensor, ...]
    found: Any = None
    inside: Callable[[], AbstractContextManager[Any]] = nullcontext
    is_rewritten: bool = False
    seconds: float = 0.0
    is_counted: bool = False
    _known: dict[int, Slopes] = field(default_factory=dict)

    def value(self, target: Target) -> Tensor:
        """The target's score (1,) float64, in the graph."""
        with torch.enable_grad(), self.inside():
            value = in_float64(target(self.scores))
        check_finite(value, "the target's score")
        return value

    def slopes(self, targets: Sequence[Target], number: int) -> Slopes:
        """The gradient of one target, by its number, in each tensor of `over`; `None` where it does
        not depend on it.

        Those of several targets are computed together.
        """
        if number not in self._known:
            first = number - number % TARGETS_AT_ONCE
            some = range(first, min(first + TARGETS_AT_ONCE, len(targets)))
            found = self._slopes([self.value(targets[n]) for n in some], len(targets) > 1)
            self._known = dict(zip(some, found, strict=True))
        return self._known[number]

    def _slopes(self, values: list[Tensor], again: bool) -> list[Slopes]:
        """The gradients of each value; the graph stays where they are asked for `again`."""
        if len(values) > 1 and self.over and self.scores.requires_grad:
            try:
                return self._together(values)
            except RuntimeError as error:  # an operation without a rule for batches, or no memory
                _log.info("targets are differentiated one by one: %s", error)
        return [self._alone(value, again) for value in values]

    def _alone(self, value: Tensor, again: bool) -> Slopes:
        if not value.requires_grad or not self.over:
            return (None,) * len(self.over)
        return torch.autograd.grad(value.sum(), self.over, allow_unused=True, retain_graph=again)

    def _together(self, values: list[Tensor]) -> list[Slopes]:
        """The gradients of several values by one backward pass from the scores."""
        found = torch.autograd.grad(
            self.scores,
            self.over,
            torch.stack([self._direction(value) for value in values]),
            allow_unused=True,
            retain_graph=True,
            is_grads_batched=True,
        )
        numbers = range(len(values))
        return [tuple(None if one is None else one[n] for one in found) for n in numbers]

    def _direction(self, value: Tensor) -> Tensor:
        """(1, K) the value's gradient in the scores."""
        if not value.requires_grad:
            return torch.zeros_like(self.scores)
        (slope,) = torch.autograd.grad(value.sum(), self.scores, retain_graph=True)
        return slope


WholeRun = Callable[[Model, Encoded, Leaves], WholePass]


@runtime_checkable
class OnePass(Protocol):
    """A method whose first forward pass is of the whole example, and gives the answers too."""

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass | None:
        """That pass, over the example's leaves; `None` where it does not score whole answers."""
        ...


def leaves_pass(model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
    """A forward pass that is differentiated in the leaves."""
    given = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
    with torch.enable_grad():
        scores = model.scores(encoded, given)
    return WholePass(scores, tuple(given.values()), given)


def attention_pass(model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
    """A forward pass whose attention can be seen, differentiated in it."""
    found = cast(Attentive, model).attention(encoded)
    check_finite(found.scores, "the model's answer")
    return WholePass(found.scores, found.every_map, found)


def streams_pass(model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
    """The same of a network of two streams."""
    found = cast(Streaming, model).streams(encoded)
    check_finite(found.scores, "the model's answer")
    return WholePass(found.scores, found.every_map, found)
