"""Many pictures through a network without gradients,
by the fastest way that gives what the network gives.
"""

from collections.abc import Callable
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.fast.fused import Followed, Plan, available, follow, hooked
from vqa_explain.models.weights import contents, places

# A quicker way may differ from the network by this share of its largest logit; rounding gives some
# 1e-6.
CLOSE = 1e-4
FUSED, SIDE_BY_SIDE, PLAIN = "fused", "side by side", "plain"


class Quick:
    """Logits (B, K) for pixels (B, 3, H, W) on a CPU.

    The ways, the first that works being kept: convolutions that do what follows them
    (`models.fused`), with channels that lie side by side in memory; the latter alone; the network
    as it is. They are compared with the network on the first picture, and again when the weights or
    the size of the pictures have changed. For that, each call looks where the weights are and how
    often they were changed, and each new example at every number. A network whose layers carry
    hooks runs as it is, so that they see what they would.
    """

    def __init__(self, module: nn.Module, logits: Callable[[Tensor], Tensor]) -> None:
        self._module, self._logits = module, logits
        self._ways: tuple[str, ...] = ((FUSED,) if available() else ()) + (SIDE_BY_SIDE, PLAIN)
        self._plan: Plan | None = None
        # The pictures' size and the weights' contents, when the way was chosen.
        self._weights: tuple[Any, ...] | None = None
        self._places: tuple[Any, ...] | None = None  # of the weights, when they were last looked at
        self._example: Any = None  # a reference to the example that they were last looked at for

    def __getstate__(self) -> dict[str, Any]:
        """Copies choose for themselves: theirs may be other weights,
        and oneDNN's layouts cannot be written down.
        """
        return self.__dict__ | {
            "_plan": None,
            "_weights": None,
            "_places": None,
            "_example": None,
        }

    def __call__(self, encoded: Encoded, pixels: Tensor) -> Tensor:
        if hooked(self._module) or pixels.device.type != "cpu" or self._ways[0] == PLAIN:
            return self._logits(pixels)
        known = self._example is not None and self._example() is encoded
        if not known or self._places != places(self._module):
            self._look(pixels[:1])
            self._example, self._places = ref(encoded), places(self._module)
        way = self._ways[0]
        if way == PLAIN:
            return self._logits(pixels)
        found = self._by(way, pixels)
        if found is not None:
            return found
        self._drop(way)
        self._weights = self._example = None
        return self(encoded, pixels)

    def _look(self, pixels: Tensor) -> None:
        """Chooses a way, unless one was chosen with the weights as they are."""
        weights = (pixels.shape, *contents(self._module))
        if weights == self._weights:
            return
        self._plan, plain = None, self._logits(pixels)
        while (way := self._ways[0]) != PLAIN:
            found = self._by(way, pixels)
            if found is not None and _close(found, plain):
                break
            self._drop(way)
        self._weights = weights

    def _drop(self, way: str) -> None:
        self._ways = tuple(other for other in self._ways if other != way)

    def _by(self, way: str, pixels: Tensor) -> Tensor | None:
        """The logits by one way, None where it fails: a network may want one layout,
        perhaps of large batches only.
        """
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        try:
            if way == SIDE_BY_SIDE:
                return self._logits(pixels)
            plan = self._plan
            if plan is None:
                self._plan = plan = follow(self._module, self._logits, pixels[:1])
            if not plan.convolutions:
                return None
            with Followed(plan):
                return self._logits(pixels)
        except RuntimeError as error:
            if lacks_memory(error):
                raise
            return None


def _close(found: Tensor, plain: Tensor) -> bool:
    if found.shape != plain.shape:
        return False
    return torch.allclose(
        found, plain, rtol=0, atol=CLOSE * float(plain.abs().nan_to_num(0).max()), equal_nan=True
    )
