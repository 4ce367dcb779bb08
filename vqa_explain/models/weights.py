"""How to see that the weights of a network have changed."""

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn


def tensors_of(module: nn.Module) -> Iterator[Tensor]:
    """Its parameters and buffers."""
    yield from module.parameters()
    yield from module.buffers()


def places(module: nn.Module) -> tuple[tuple[int, int], ...]:
    """Where each weight and buffer is, and how often it was changed in place.

    It takes microseconds. Changes through a tensor's `.data` are not counted, unless its memory is
    another.
    """
    return tuple(
        (one.data_ptr(), one._version) for one in tensors_of(module) if not one.is_inference()
    )


def contents(module: nn.Module) -> tuple[Any, ...]:
    """A check sum of each weight and buffer, which depends on the place of every bit.

    It takes 14 ms for ResNet-18 on one core, four times as long as plain sums. But sums stay the
    same where numbers change places, or one gains what another loses.
    """
    return tuple((one.dtype, one.shape, zlib.crc32(bits(one))) for one in tensors_of(module))


def bits(tensor: Tensor) -> Any:
    """The bytes of a tensor, as an array on the CPU; of a quantized one,
    those of its whole numbers.
    """
    values = tensor.detach().cpu()
    values = (values.int_repr() if values.is_quantized else values).contiguous()
    return values.reshape(-1).view(torch.uint8).numpy()
