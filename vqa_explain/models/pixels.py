"""How one picture becomes the pixel values of a generative model's processor: one frame, tiles, or flat patches.

Methods see one frame (B, 3, H', W'). A layout carries it to the form that the model takes: linear and differentiable,
so that gradients come back to the frame, those of overlapping tiles summed.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from vqa_explain.errors import InvalidInput
from vqa_explain.features.image import Geometry
from vqa_explain.models.transforms import trace_geometry


class Layout(Protocol):
    """One picture's frame and where it lies.

    Attributes:
        frame: (1, 3, H', W') normalised pixels.
        geometry: where the frame lies in the picture.
        grid: (rows, columns) into which it divides.
        ordered: whether the model's image tokens are the grid's cells in raster order.
    """

    frame: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    ordered: bool

    def values(self, frames: Tensor) -> Tensor:
        """Pixel values as the model takes them, of frames (B, 3, H', W')."""
        ...


@dataclass
class Single:
    """The model sees the frame itself, or, `as_tile`, as the only one of several tiles that there might be."""

    frame: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    ordered: bool = True
    as_tile: bool = False

    def values(self, frames: Tensor) -> Tensor:
        """The frames, (B, 3, H', W') or (B, 1, 3, H', W')."""
        return _not_blank(frames[:, None]) if self.as_tile else frames


@dataclass
class Patches:
    """Flat patches (patches, 3 · time · side²) in blocks of `merge` × `merge`, as Qwen's processors cut them."""

    frame: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    side: int
    merge: int
    time: int
    ordered: bool = True

    def values(self, frames: Tensor) -> Tensor:
        """(B · patches, 3 · time · side²), each frame repeated over time."""
        cut = frames.unflatten(3, (-1, self.merge, self.side)).unflatten(2, (-1, self.merge, self.side))
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)  # batch, block row, block column, row, column, channel, y, x
        return cut[:, :, :, :, :, :, None].expand(*cut.shape[:6], self.time, -1, -1).flatten(5).flatten(0, 4)


@dataclass
class Tiles:
    """Tiles (B, N, 3, h, w) that the frame divides into, and the whole picture in one tile, first or last.

    The processor resizes the picture twice, in steps of its own. Its values stay as they are, and what the frame
    differs from the untouched one is added: cut for the tiles, resized for the whole.
    """

    frame: Tensor
    geometry: Geometry
    grid: tuple[int, int]
    exact: Tensor
    whole_first: bool
    ordered: bool = False

    def values(self, frames: Tensor) -> Tensor:
        """(B, N, 3, h, w)."""
        height, width = self.exact.shape[-2:]
        change = frames - self.frame
        tiles = change.unflatten(3, (-1, width)).unflatten(2, (-1, height)).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        (top, left), (h, w) = self.geometry.offset, self.geometry.resized
        content = change[:, :, -top : h - top, -left : w - left]  # without the padding
        whole = F.interpolate(content, (height, width), mode="bilinear", antialias=True, align_corners=False)[:, None]
        return _not_blank(self.exact + torch.cat([whole, tiles] if self.whole_first else [tiles, whole], dim=1))


def _not_blank(tiles: Tensor) -> Tensor:
    """Tiles (B, N, 3, h, w) of which none is zero everywhere: some models take such a tile for padding and skip it."""
    blank = (tiles == 0).flatten(2).all(dim=2)[:, :, None, None, None]
    return tiles + blank.to(tiles) * 1e-12


def lay_out(inputs: dict[str, Any], processor: Any, picture: Any, tokens: int) -> Layout:
    """The layout of what a processor gave for one picture (a PIL image), of which the model makes `tokens` tokens.

    Raises:
        InvalidInput: pixel values of a form that is not known here.
    """
    values, size = inputs["pixel_values"], (picture.height, picture.width)
    steps = processor.image_processor
    if values.ndim == 2 and "image_grid_thw" in inputs:
        return _patches(values, inputs["image_grid_thw"][0].tolist(), steps, size)
    if values.ndim == 5 and values.shape[1] == 1:
        frame = (values.shape[3], values.shape[4])
        return Single(values[:, 0], Geometry(size, frame, frame), _square(tokens, frame), as_tile=True)
    if values.ndim == 5 and "image_sizes" in inputs:
        return _any_resolution(values, steps, size)
    if values.ndim == 5:
        return _split(values, steps, picture)
    if values.ndim == 4 and len(values) == 1:
        frame = (values.shape[2], values.shape[3])
        return Single(values, trace_geometry(steps, size, frame), _square(tokens, frame))
    raise InvalidInput(
        f"{type(steps).__name__} gives pixel values {tuple(values.shape)}, a form that is not known; wrap the network "
        "in vqa_explain.CustomModel"
    )


def _square(tokens: int, frame: tuple[int, int]) -> tuple[int, int]:
    """The grid of image tokens of a square frame, or about 12 cells along the long side if they make none."""
    side = math.isqrt(tokens)
    return (side, side) if side * side == tokens else _cells(frame)


def _cells(frame: tuple[int, int]) -> tuple[int, int]:
    most = max(frame)
    rows, columns = (max(1, round(12 * side / most)) for side in frame)
    return rows, columns


def _patches(values: Tensor, grid: list[int], steps: Any, size: tuple[int, int]) -> Patches:
    """Puts the patches back together."""
    _, rows, columns = grid
    side, merge, time = steps.patch_size, steps.merge_size, steps.temporal_patch_size
    cut = values.unflatten(1, (3, time, side, side))[:, :, 0]
    cut = cut.unflatten(0, (rows // merge, columns // merge, merge, merge))
    frame = cut.permute(4, 0, 2, 5, 1, 3, 6).flatten(4, 6).flatten(1, 3)[None]
    shape = (rows * side, columns * side)
    return Patches(frame, Geometry(size, shape, shape), (rows // merge, columns // merge), side, merge, time)


def _assembled(tiles: Tensor, columns: int) -> Tensor:
    """The frame (1, 3, rows · h, columns · w) of tiles (N, 3, h, w) in raster order."""
    return tiles.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[None]


def _any_resolution(values: Tensor, steps: Any, size: tuple[int, int]) -> Tiles:
    """LLaVA's tiles: the whole first; the picture is resized into the best canvas and padded on both sides."""
    from transformers.image_processing_utils import select_best_resolution

    height, width = select_best_resolution(size, steps.image_grid_pinpoints)
    frame = _assembled(values[0, 1:], width // values.shape[-1])
    if width * size[0] < height * size[1]:  # as wide as the canvas
        resized = (min(math.ceil(size[0] * width / size[1]), height), width)
    else:
        resized = (height, min(math.ceil(size[1] * height / size[0]), width))
    offset = (-((height - resized[0]) // 2), -((width - resized[1]) // 2))
    geometry = Geometry(size, resized, (height, width), offset)
    return Tiles(frame, geometry, _cells((height, width)), values, whole_first=True)


def _split(values: Tensor, steps: Any, picture: Any) -> Tiles:
    """Idefics3's tiles: the picture resized to whole tiles, then the whole in one."""
    found = steps(picture, return_tensors="pt", return_row_col_info=True)
    columns = int(found["cols"][0][0])
    frame = _assembled(values[0, :-1], columns)
    shape = (frame.shape[2], frame.shape[3])
    return Tiles(frame, Geometry((picture.height, picture.width), shape, shape), _cells(shape), values, False)
