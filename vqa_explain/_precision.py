"""Numbers as exact as they can be had, on any device."""

import torch
from torch import Tensor


def in_float64(values: Tensor) -> Tensor:
    """The values in float64 on the CPU, in the graph of what they were computed from.

    They are moved first and widened then, since some devices, such as "mps", have no float64.
    """
    return values.cpu().double()


def equal_tensors(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors have one shape and the same numbers, NaN being equal to NaN."""
    return one.shape == other.shape and bool(torch.isclose(one, other, 0, 0, equal_nan=True).all())
