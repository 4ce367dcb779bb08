"""Pictures as models of two towers see them: by their processor, followed by measurement."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.image import Picture
from vqa_explain.models.measuring import PictureReader
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


def _pixels(processor: Any, name: str, picture: np.ndarray) -> tuple[Tensor]:
    """The one frame (1, C, H', W') of a picture; of module level, so that readers can be sent to
    other processes.
    """
    return (picture_rows(processor, picture, name)[PIXELS],)


@dataclass(frozen=True, eq=False)
class Seen:
    """A picture as the network sees it.

    Attributes:
        content: its frame and where that lies.
        rest: further arguments of the network, of one row.
    """

    content: Picture
    rest: Rows

    def rows(self, frames: Tensor) -> Rows:
        """What the network is given for frames (B, C, H', W')."""
        count = len(frames)
        rest = {key: value.expand(count, *value.shape[1:]) for key, value in self.rest.items()}
        return {PIXELS: frames, **rest}


class PictureRows:
    """Reads pictures by a model's processor.

    Args:
        processor: it.
        module: the network, whose configuration may name the size of its patches.
        name: the model, for errors.
        device: where tensors go.

    Raises:
        Unsupported: it takes no pictures, or videos.
    """

    def __init__(self, processor: Any, module: Any, name: str, device: torch.device) -> None:
        if getattr(processor, "image_processor", None) is None or hasattr(
            module, "get_video_features"
        ):
            raise Unsupported(
                f"model {name!r} takes videos, of which no adapter explains the frames together; "
                "give a model of pictures, such as CLIP"
            )
        self._processor, self._module, self._name = processor, module, name
        self._device = device
        self._reader = PictureReader(partial(_pixels, processor, name), name)

    def read(self, picture: np.ndarray) -> Seen:
        """A picture (H, W, 3) uint8.

        Raises:
            InvalidInput: the processor fails, or moves pixels in ways that cannot be followed.
            Unsupported: it gives no tensor in which the picture can be followed.
        """
        rows = picture_rows(self._processor, picture, self._name)
        shape = tuple(rows[PIXELS].shape) if PIXELS in rows else None
        if shape is None or len(shape) != 4 or shape[0] != 1:
            raise Unsupported(
                f"the processor of model {self._name!r} gives {PIXELS} of shape {shape} for a "
                "picture, not (1, C, H, W), which no adapter can follow; wrap the network in "
                "vqa_explain.CustomModel"
            )
        pixels, geometry = self._reader.read(picture)
        pixels = pixels.to(self._device, self._module.dtype)
        rest = {key: value.to(self._device) for key, value in rows.items() if key != PIXELS}
        return Seen(Picture(picture, pixels, geometry, self._grid(geometry.frame)), rest)

    def _grid(self, frame: tuple[int, int]) -> tuple[int, int]:
        """(rows, columns) of the network's own patches of a frame; of `GRID` where it has none."""
        vision = getattr(self._module.config, "vision_config", None)
        patch = getattr(vision, "patch_size", None)
        if isinstance(patch, int) and min(frame) >= patch:
            return frame[0] // patch, frame[1] // patch
        return min(GRID[0], frame[0]), min(GRID[1], frame[1])
