"""Pictures as models of two towers see them: by their processor, followed by measurement."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.image import Picture
from vqa_explain.models.generative.following import Followed, Follower
from vqa_explain.models.measuring import KEPT, PictureReader
from vqa_explain.models.sources import GRID
from vqa_explain.models.towers.texts import Rows

PIXELS = "pixel_values"


def trial_picture() -> np.ndarray:
    """(H, W, 3) uint8, for trials."""
    rows, columns = np.indices((48, 72))
    return np.stack([3 * columns, 5 * rows, rows + columns], axis=2).astype(np.uint8)


def picture_rows(processor: Any, picture: np.ndarray, name: str) -> Rows:
    """What a processor makes of one picture (H, W, 3) uint8.

    Raises:
        InvalidInput: it fails.
    """
    try:
        found = processor(images=[Image.fromarray(picture)], return_tensors="pt")
    except (RuntimeError, ValueError, TypeError, ZeroDivisionError) as error:
        raise InvalidInput(
            f"the processor of model {name!r} fails on this image: {error}"
        ) from error
    return {key: value for key, value in found.items() if isinstance(value, Tensor)}


# Of module level, so that readers can be sent to other processes.
def _pixels(processor: Any, name: str, picture: np.ndarray) -> Tensor:
    """What shows a picture in the network's input, in any form."""
    found = picture_rows(processor, picture, name).get(PIXELS)
    if found is None:
        raise Unsupported(
            f"the processor of model {name!r} gives no {PIXELS} for a picture; give the processor "
            "that it was trained with"
        )
    return found


def _patches(processor: Any, name: str, picture: np.ndarray) -> Tensor:
    return _pixels(processor, name, picture)[0].float()


def _frame(processor: Any, name: str, picture: np.ndarray) -> tuple[Tensor]:
    return (_pixels(processor, name, picture),)


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture as the network sees it.

    Attributes:
        content: its frame and where that lies.
        rest: further arguments of the network, of one row, such as the number of patches.
        followed: how frames become the network's tensor, where that is none itself but patches.
        patches: how many of these show the picture. Those behind them are padding, which the
            network does not attend to and is not given.
    """

    content: Picture
    rest: Rows
    followed: Followed | None = None
    patches: int | None = None

    def rows(self, frames: Tensor) -> Rows:
        """What the network is given for frames (B, C, H', W')."""
        count = len(frames)
        rest = {key: value.expand(count, *value.shape[1:]) for key, value in self.rest.items()}
        if self.followed is None:
            return {PIXELS: frames, **rest}
        values = self.followed.values(frames, (self.content.geometry,))[PIXELS]
        return {PIXELS: values[:, : self.patches], **rest}


def _without_padding(rest: Rows, length: int) -> tuple[Rows, int]:
    """Further arguments of a picture of `length` patches without those of padding, and the number
    of patches that are none.

    A mask that is 1 and then 0 says which are.
    """
    counts = {length}
    for value in rest.values():
        if tuple(value.shape) == (1, length) and not value.is_floating_point():
            count = int(value.sum())
            if count and bool((value[0, :count] == 1).all()) and not value[0, count:].any():
                counts.add(count)
    count = min(counts)
    cut = {
        key: value[:, :count] if tuple(value.shape[:2]) == (1, length) else value
        for key, value in rest.items()
    }
    return cut, count


def _check_parts(processor: Any, module: Any, name: str) -> None:
    if hasattr(module, "get_video_features") or hasattr(processor, "video_processor"):
        raise Unsupported(
            f"model {name!r} takes videos, of which no adapter explains the frames together; "
            "give a model of pictures, such as CLIP"
        )


def _patch_grid(patches: int, frame: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of square patches of a frame: of the pairs whose product is their number,
    the one whose shape is most like the frame's.
    """
    pairs = [(rows, patches // rows) for rows in range(1, patches + 1) if patches % rows == 0]
    return min(pairs, key=lambda pair: abs(math.log(pair[0] * frame[1] / (pair[1] * frame[0]))))


class PictureRows:
    """Reads pictures by a model's processor.

    Args:
        processor: it.
        module: the network, whose configuration may name the size of its patches.
        name: the model, for errors.
        device: where tensors go.

    Raises:
        Unsupported: it takes videos.
    """

    def __init__(self, processor: Any, module: Any, name: str, device: torch.device) -> None:
        _check_parts(processor, module, name)
        self._processor, self._module, self._name = processor, module, name
        self._device = device
        self._reader = PictureReader(partial(_frame, processor, name), name)
        # Of pictures (H, W) that become patches.
        self._followers: OrderedDict[tuple[int, int], Follower] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Copies in other processes measure for themselves."""
        return self.__dict__ | {"_followers": OrderedDict()}

    def read(self, picture: np.ndarray) -> Seen:
        """A picture (H, W, 3) uint8.

        Raises:
            InvalidInput: the processor fails, or moves pixels in ways that cannot be followed.
            Unsupported: it gives no tensor in which the picture can be followed.
        """
        rows = picture_rows(self._processor, picture, self._name)
        exact = rows.pop(PIXELS, None)
        rest = {key: value.to(self._device) for key, value in rows.items()}
        if exact is not None and exact.ndim != 4 and len(exact) == 1:
            return self._followed(picture, exact, rest)
        pixels, geometry = self._reader.read(picture)
        pixels = pixels.to(self._device, self._module.dtype)
        return Seen(Picture(picture, pixels, geometry, self._grid(geometry.frame)), rest)

    def _followed(self, picture: np.ndarray, exact: Tensor, rest: Rows) -> Seen:
        """A picture that becomes patches or tiles (…)."""
        size = (picture.shape[0], picture.shape[1])
        if size not in self._followers:
            make = partial(_patches, self._processor, self._name)
            self._followers[size] = Follower(make, picture, self._name)
        self._followers.move_to_end(size)
        if len(self._followers) > KEPT:
            self._followers.popitem(last=False)
        follower = self._followers[size]
        read = follower.read(PIXELS, exact[0], picture)
        exact, frame = (
            values.to(self._device, self._module.dtype) for values in (read.exact, read.frame)
        )
        followed = replace(read, exact=exact, frame=frame)
        rest, patches = _without_padding(rest, len(exact))
        grid = _patch_grid(patches, follower.geometry.frame)
        content = Picture(picture, frame, follower.geometry, grid)
        return Seen(content, rest, followed, patches)

    def _grid(self, frame: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the network's own patches of a frame; of `GRID` where it has none."""
        vision = getattr(self._module.config, "vision_config", None)
        patch = getattr(vision, "patch_size", None)
        if isinstance(patch, int) and min(frame) >= patch:
            return frame[0] // patch, frame[1] // patch
        return min(GRID[0], frame[0]), min(GRID[1], frame[1])
