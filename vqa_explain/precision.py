"""Numbers as exact as they can be had, on any device."""

from torch import Tensor


def in_float64(values: Tensor) -> Tensor:
    """The values in float64 on the CPU, in the graph of what they were computed from.

    They are moved first and widened then, since some devices, such as "mps", have no float64.
    """
    return values.cpu().double()
