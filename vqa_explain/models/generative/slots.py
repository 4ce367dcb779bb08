"""Which elements of a processor's tensors show which picture, found by changing one and looking.

Processors put several pictures into one tensor: behind each other, as rows of patches, as tiles, or
as frames of a video two by two. None of that is read off a class: each picture in turn is replaced
by a pattern and by its negative, and what differs is its slot.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import Unsupported

GRIDS = {  # tensors of flat patches, and which tensor says how many each picture has
    "pixel_values": "image_grid_thw",
    "pixel_values_videos": "video_grid_thw",
}


@dataclass(frozen=True, eq=False)
class Slot:
    """The part of a tensor that shows one picture.

    Attributes:
        shape: the tensor's, or that in which it is looked at.
        index: the part, a range of each axis that has one.
    """

    shape: tuple[int, ...]
    index: tuple[slice, ...] = ()

    def get(self, whole: Tensor) -> Tensor:
        """The part of the tensor."""
        return whole.reshape(self.shape)[self.index]

    def put(self, wholes: Tensor, values: Tensor) -> Tensor:
        """Tensors of B examples (B · n, …) with other values (B · m, …) in this part of each."""
        changed = wholes.reshape(-1, *self.shape).clone()
        where = (slice(None), *self.index)
        changed[where] = values.reshape(changed[where].shape)
        return changed.reshape(wholes.shape)


def whole_tensor(tensor: Tensor) -> Slot:
    """The slot of a picture that has the tensor for itself."""
    return Slot(tuple(tensor.shape))


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """The names of the tensors in which two outputs of a processor differ.

    Raises:
        Unsupported: one of them holds no real numbers, or has another shape.
    """
    found = []
    for name, value in one.items():
        if not isinstance(value, Tensor):
            continue
        like = other[name]
        if value.shape == like.shape and torch.equal(value, like):
            continue
        if not value.is_floating_point() or value.shape != like.shape:
            raise Unsupported(
                f"the processor's {name} depends on what the picture shows, which no adapter can "
                "follow; wrap the network in vqa_explain.CustomModel"
            )
        found.append(name)
    return found


def slots_between(one: Mapping[str, Any], other: Mapping[str, Any], steps: Any) -> dict[str, Slot]:
    """The slots of a picture, from what a processor gives for a pattern there and for its negative.

    Args:
        one, other: the processor's tensors.
        steps: what the processor treats such pictures with.

    Returns:
        Tensor name → slot; empty where the picture changes nothing.

    Raises:
        Unsupported: what changes is no block of the tensor, or holds no real numbers.
    """
    return {
        name: _slot(name, one[name], other[name], GRIDS.get(name) in one, steps)
        for name in differing(one, other)
    }


def _slot(name: str, one: Tensor, other: Tensor, patches: bool, steps: Any) -> Slot:
    shape = tuple(one.shape)
    axes: tuple[int, ...] = tuple(
        range(max(1, one.ndim - 3))
    )  # of pictures, and of tiles or frames
    if one.ndim == 2 and patches:
        time, side = (getattr(steps, key, 0) for key in ("temporal_patch_size", "patch_size"))
        if shape[1] == 3 * time * side**2:
            # patch, channel, time, pixel: two frames of a video share a patch
            shape, axes = (shape[0], 3, time, side**2), (0, 2)
    differs = (one != other).reshape(shape)
    index = [slice(0, size) for size in shape[: max(axes) + 1]]
    for axis in axes:
        rest = [a for a in range(len(shape)) if a != axis]
        places = np.flatnonzero(differs.any(dim=rest).numpy())
        index[axis] = slice(int(places[0]), int(places[-1]) + 1)
    slot = Slot(shape, tuple(index))
    rest = [a for a in range(len(shape)) if a not in axes]
    if not slot.get(differs).any(dim=rest).all():
        raise Unsupported(
            f"what a picture changes in the processor's {name} is no block of it, which no "
            "adapter can follow; give one picture alone, or wrap the network in "
            "vqa_explain.CustomModel"
        )
    return slot


def check_apart(slots: Sequence[Mapping[str, Slot]], names: Sequence[str]) -> None:
    """Refuses pictures that share elements.

    Raises:
        Unsupported: two do.
    """
    for number, one in enumerate(slots):
        for other_number, other in enumerate(slots[:number]):
            if any(_overlap(one[name].index, other[name].index) for name in one.keys() & other):
                raise Unsupported(
                    f"pictures {names[other_number]!r} and {names[number]!r} are mixed in the "
                    "processor's output, which no adapter can follow; give one picture alone"
                )


def _overlap(one: Sequence[slice], other: Sequence[slice]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(one, other, strict=True))


@dataclass(frozen=True, eq=False)
class Cut:
    """What several slots take up of one tensor, so that they can be given to the network alone."""

    region: Slot

    @classmethod
    def around(cls, slots: Sequence[Slot]) -> "Cut":
        """The smallest part of the tensor that holds all slots."""
        ranges = zip(*(slot.index for slot in slots), strict=True)
        index = tuple(
            slice(min(one.start for one in axis), max(one.stop for one in axis)) for axis in ranges
        )
        return cls(Slot(slots[0].shape, index))

    def tensor(self, whole: Tensor) -> Tensor:
        """That part, in the form of the tensor."""
        part = self.region.get(whole)
        return part.reshape(-1, *whole.shape[1:]) if whole.ndim == 2 else part

    def inside(self, slot: Slot) -> Slot:
        """A slot as it lies in the part."""
        starts = [one.start for one in self.region.index]
        moved = tuple(
            slice(one.start - start, one.stop - start)
            for one, start in zip(slot.index, starts, strict=True)
        )
        sizes = [one.stop - one.start for one in self.region.index]
        return replace(slot, shape=(*sizes, *slot.shape[len(sizes) :]), index=moved)
