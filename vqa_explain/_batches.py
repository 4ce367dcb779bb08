"""How many examples go through a network at once."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import numpy as np
from torch import nn

from vqa_explain._memory import HalvingBatches, keep_freed_memory
from vqa_explain.models.base import Model, Sized
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.network import footprint

# Bytes that the widest layer of one batch may take. On two cores an example through a full-size
# ViLT took 0.60 s alone, 0.35 s in fours, 0.30 s in eights and 0.29 s in sixteens, which is 30 MB;
# one through EfficientNet-Lite0 5.6 ms in threes, 5.0 ms in sixes, which is 28 MB, and 6.9 ms in
# batches of 24. A GPU has more to fill.
WIDEST = {"cpu": 28 * 2**20}
WIDEST_ELSEWHERE = 512 * 2**20

# How many times as wide as the largest leaf a layer is taken to be before it is measured: the
# widest of EfficientNet-Lite0 is 8 times as wide.
WIDENING = 8

# Coalitions in a batch. The scenes model took 0.96 ms an example in batches of 16, 0.82 in 32, 0.74
# in 48 to 128.
MOST = {"cpu": 64}
MOST_ELSEWHERE = 256


class Batches:
    """How many examples go through the model at once: as many as keep its widest layer within
    `WIDEST`.

    The width is measured in bytes on the first batch, where the model does not know it (`Sized`),
    so the sizes depend on the model and the example alone, and the same call gives the same bits.
    """

    def __init__(self, model: Model, encoded: Encoded) -> None:
        keep_freed_memory()
        self.limit = WIDEST.get(model.device.type, WIDEST_ELSEWHERE)
        self._model, self._encoded = model, encoded
        # Bytes of the widest layer, for one whole example; 0 until measured.
        self.bytes = float(model.widest(encoded)) if isinstance(model, Sized) else 0.0
        self.fitting = HalvingBatches(model, MOST.get(model.device.type, MOST_ELSEWHERE))

    @cached_property
    def first(self) -> int:
        """How many go through while the width is not measured; asked for only then,
        since leaves take time.
        """
        leaves = self._model.leaves(self._encoded).values()
        return max(2, self.limit // (WIDENING * max(leaf.nbytes for leaf in leaves)))

    def split(self, lengths: np.ndarray) -> Iterator[slice]:
        """Slices of the examples, sorted by `lengths` (N,),
        the shares of a whole one that each needs.
        """
        start = 0
        while start < len(lengths):
            if not self.bytes:
                size = min(self.first, self.fitting.most)
            else:  # the longest of the batch decides, and it is the last
                some = lengths[start : start + self.fitting.most]
                size = max(
                    1, int((some * np.arange(1, len(some) + 1) * self.bytes <= self.limit).sum())
                )
            left = len(lengths) - start
            # 47 are 24 and 23 rather than 32 and 15.
            size = math.ceil(left / math.ceil(left / size))
            yield slice(start, start + size)
            start += size

    @contextmanager
    def measured(self, module: nn.Module, examples: float) -> Iterator[None]:
        """Notes the widest output of any layer, the first time."""
        if self.bytes:
            yield
            return
        with footprint(module) as found:
            yield
        self.bytes = found.widest / examples
