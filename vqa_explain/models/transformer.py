"""What adapters of transformers share: tokens that leave a sequence,
and attention that can be seen.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor


def to_front(present: Tensor) -> Tensor:
    """(N, most present) numbers of the columns of `present` (N, T),
    those present first and in order.
    """
    most = int(present.sum(1).max())
    return (~present).byte().argsort(dim=1, stable=True)[:, :most]


def to_back(present: Tensor) -> Tensor:
    """The same with those present last and in order, so that every row ends with one."""
    most = int(present.sum(1).max())
    return present.byte().argsort(dim=1, stable=True)[:, present.shape[1] - most :]


@contextmanager
def eager_attention(module: Any) -> Iterator[None]:
    """Attention is written out inside, so that its probabilities can be seen and differentiated."""
    configs = {
        id(c): c for part in module.modules() if (c := getattr(part, "config", None)) is not None
    }
    before = [
        (c, c._attn_implementation) for c in configs.values() if hasattr(c, "_attn_implementation")
    ]
    for config, _ in before:
        config._attn_implementation = "eager"
    try:
        yield
    finally:
        for config, kind in before:
            config._attn_implementation = kind
