"""Layers as maps: which of them class activation maps can read, and how."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.models.base import Encoded, Model, open_layers


def cells_of(length: int) -> tuple[int, int]:
    """How many tokens come before the patches in a sequence, and the side of the square that these make.

    (0, 0) if there is none: vision transformers put up to five tokens of their own first.
    """
    for first in range(6):
        side = math.isqrt(max(0, length - first))
        if side >= 2 and side * side == length - first:
            return first, side
    return 0, 0


def channels_first(maps: Tensor) -> Tensor:
    """Maps (…, C, h, w); those of layers that keep channels last, (…, h, w, C), turned."""
    rows, columns, last = maps.shape[-3:]
    return maps.movedim(-1, -3) if rows == columns != last else maps


def last_map(model: Model, encoded: Encoded) -> str:
    """Path of the last layer with maps (B, C, h, w), or a block's sequence of patches, that the answer reads all over.

    The last block of a vision transformer that reads its answer from one token is none, since no other token of it
    matters: the block before is.

    Raises:
        Unsupported: there is none.
    """
    found: dict[str, Tensor] = {}
    twice: set[str] = set()  # a layer that runs again, such as a shared activation, has no one map

    def note(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if not isinstance(first, Tensor) or len(first) != 1 or isinstance(module, nn.Dropout | nn.Softmax):
                return
            maps = first.ndim == 4 and channels_first(first).shape[2:].numel() > 1
            block = first.ndim == 3 and name[-1].isdigit() and cells_of(first.shape[1])[1] > 1
            if (maps or block) and first.requires_grad:
                if found.pop(name, None) is not None:
                    twice.add(name)
                found[name] = first

        return hook

    handles = [part.register_forward_hook(note(name)) for name, part in open_layers(model.module) if name]
    try:
        with torch.enable_grad():
            leaves = {name: leaf.requires_grad_(True) for name, leaf in model.leaves(encoded).items()}
            score = model.scores(encoded, leaves).amax()
            slopes = torch.autograd.grad(score, list(found.values()), allow_unused=True) if found else ()
    finally:
        for handle in handles:
            handle.remove()
    for (name, layer), slope in reversed(list(zip(found.items(), slopes, strict=True))):
        if slope is None or name in twice:
            continue
        used = channels_first(slope)[0].abs().sum(dim=0) if layer.ndim == 4 else slope[0].abs().sum(dim=1)
        if float((used > 0).float().mean()) > 0.5:
            return name
    raise Unsupported(
        f"model {model.name!r} has no layer with maps (B, C, h, w), which class activation maps need; "
        "use another method, such as integrated_gradients or occlusion"
    )
