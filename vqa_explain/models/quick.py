"""Many pictures through a network without gradients, by the fastest way that gives what the network gives."""

from collections.abc import Callable
from typing import Any
from weakref import ref

import torch
from torch import Tensor, nn

from vqa_explain.memory import lacks_memory
from vqa_explain.models.base import Encoded
from vqa_explain.models.fused import Followed, Plan, available, follow

# A quicker way may differ from the network by this share of its largest logit; rounding gives some 1e-6.
CLOSE = 1e-4
FUSED, SIDE_BY_SIDE, PLAIN = "fused", "side by side", "plain"


class Quick:
    """Logits (B, K) for pixels (B, 3, H, W) on a CPU.

    The ways, the first that works being kept: convolutions that do what follows them (`models.fused`), with channels
    that lie side by side in memory; the latter alone; the network as it is. The first pictures of each example go
    through the network as it is, too: where the two differ the weights may have changed, or the way is not for this
    network. One whose layers carry hooks runs as it is, so that they see what they would.
    """

    def __init__(self, module: nn.Module, logits: Callable[[Tensor], Tensor]) -> None:
        self._module, self._logits = module, logits
        self._ways: tuple[str, ...] = ((FUSED,) if available() else ()) + (SIDE_BY_SIDE, PLAIN)
        self._plan: Plan | None = None
        self._checked: Any = None  # a reference to the example that the way was last checked with

    def __getstate__(self) -> dict[str, Any]:
        """Copies find their own plan: theirs may be other weights, and oneDNN's layouts cannot be written down."""
        return self.__dict__ | {"_plan": None, "_checked": None}

    def __call__(self, encoded: Encoded, pixels: Tensor) -> Tensor:
        hooked = any(layer._forward_hooks or layer._forward_pre_hooks for layer in self._module.modules())
        if hooked or pixels.device.type != "cpu":
            return self._logits(pixels)
        if self._checked is None or self._checked() is not encoded:
            self._choose(pixels[:1])
            self._checked = ref(encoded)
        way = self._ways[0]
        if way == PLAIN:
            return self._logits(pixels)
        found = self._by(way, pixels)
        if found is not None:
            return found
        self._drop(way)
        self._checked = None
        return self(encoded, pixels)

    def _choose(self, pixels: Tensor) -> None:
        """Drops the ways that do not give what the network gives."""
        if self._ways[0] == PLAIN:
            return
        plain = self._logits(pixels)
        while (way := self._ways[0]) != PLAIN:
            fresh = self._plan is None
            found = self._by(way, pixels)
            if found is not None and _close(found, plain):
                return
            if way == FUSED and not fresh:
                self._plan = None  # once more, with the weights as they are now
            else:
                self._drop(way)

    def _drop(self, way: str) -> None:
        self._ways = tuple(other for other in self._ways if other != way)

    def _by(self, way: str, pixels: Tensor) -> Tensor | None:
        """The logits by one way, None where it fails: a network may want one layout, perhaps of large batches only."""
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        try:
            if way == SIDE_BY_SIDE:
                return self._logits(pixels)
            plan = self._plan
            if plan is None:
                self._plan = plan = follow(self._logits, pixels[:1])
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
    return torch.allclose(found, plain, rtol=0, atol=CLOSE * float(plain.abs().nan_to_num(0).max()), equal_nan=True)
