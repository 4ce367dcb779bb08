"""What passes over the same leaves gave, for the words of an answer, which one method explains one
after another.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from vqa_explain.methods.passes import TARGETS_AT_ONCE
from vqa_explain.models.base import Leaves
from vqa_explain.target import Target

KEPT_BYTES = 2**28  # of gradients, which words that come next may read

Gradients = tuple[Tensor, Leaves]


@dataclass(eq=False)
class SharedPasses:
    """Scores of all words, and gradients of the next few.

    Attributes:
        scores: digest of leaves → the scores (B, K) there.
        at_once: how many examples a pass with gradients takes in; 0 where that is not known yet.
    """

    scores: dict[bytes, Tensor] = field(default_factory=dict)
    at_once: int = 0
    _gradients: dict[tuple[bytes, int], Gradients] = field(default_factory=dict)
    _group: int = -1
    _room: int = 0

    def gradients(self, key: bytes, targets: Sequence[Target], target: Target) -> Gradients | None:
        """The target's scores (B,) and gradients at leaves with this digest, if they are known."""
        group, number = self._place(targets, target)
        if group != self._group:
            self._group, self._room = group, KEPT_BYTES
            self._gradients.clear()
        return self._gradients.pop((key, number), None)

    def with_next(
        self, targets: Sequence[Target], target: Target, leaves: Leaves
    ) -> Sequence[Target]:
        """The target, and those after it whose gradients in the leaves are computed with its own:
        as many as there is room for.
        """
        _, number = self._place(targets, target)
        behind = TARGETS_AT_ONCE - 1 - number % TARGETS_AT_ONCE
        size = sum(leaf.nbytes for leaf in leaves.values())
        many = min(behind, self._room // max(1, size))
        return (target, *_in_turn(targets)[number + 1 : number + 1 + many])

    def keep(self, key: bytes, targets: Sequence[Target], target: Target, found: Gradients) -> None:
        """Keeps scores and gradients until they are asked for."""
        _, number = self._place(targets, target)
        self._gradients[key, number] = found
        self._room -= sum(slope.nbytes for slope in found[1].values())

    def _place(self, targets: Sequence[Target], target: Target) -> tuple[int, int]:
        """The group that a target is computed in, and its number in the order of asking."""
        number = _in_turn(targets).index(target)
        return number // TARGETS_AT_ONCE, number


def _in_turn(targets: Sequence[Target]) -> tuple[Target, ...]:
    """The sentence, which is asked about first, and its words."""
    return (targets[-1], *targets[:-1])


def digest(leaves: Leaves) -> bytes:
    """What tells leaves from others."""
    found = hashlib.blake2b(digest_size=16)
    for name, leaf in leaves.items():
        found.update(f"{name} {tuple(leaf.shape)} {leaf.dtype}".encode())
        found.update(leaf.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return found.digest()
