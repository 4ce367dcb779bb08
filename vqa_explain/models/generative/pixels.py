"""How one picture becomes the tensors of a model that writes: frames, tiles or flat patches.

Methods see one frame (B, 3, H', W'). A layout carries it to the form that the model takes, in steps
that gradients pass: those of overlapping tiles come back to the frame summed.
Every further tensor that shows the picture follows the frame by how the two lie in the picture.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa_explain.errors import Unsupported
from vqa_explain.features.geometry import AlignedGeometry, Axis, Geometry
from vqa_explain.models.generative.slots import GRIDS, differing

MAIN = "pixel_values"


class Layout(Protocol):
    """One picture's frame.

    Attributes:
        frame: (1, 3, H', W') normalized pixels.
        grid: (rows, columns) into which it divides.
        counted: whether the model makes one token of each cell of the grid. Which token that is, is
            measured: see `models.places`.
    """

    @property
    def frame(self) -> Tensor: ...
    @property
    def grid(self) -> tuple[int, int]: ...
    @property
    def counted(self) -> bool: ...
    @property
    def others(self) -> tuple[Tensor, ...]:
        """What shows the picture besides the frame, (1, 3, h, w) each."""
        ...

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        """The model's tensors by name, of frames (B, 3, H', W').

        Args:
            frames: what to show.
            places: where the frame and the `others` lie in the picture.
        """
        ...


@dataclass
class Single:
    """The model sees the frame itself, and perhaps the picture in other sizes too.

    Attributes:
        name: the frame's tensor.
        tile: whether the model takes it as the only one, (B, 1, 3, H', W'), of several tiles.
        more: further tensors (1, 3, h, w) that show the picture, by name.
        gains: how many times as much as the frame each of those answers to a change, (3,) by
            channel.
    """

    frame: Tensor
    grid: tuple[int, int]
    counted: bool
    name: str
    tile: bool
    more: dict[str, Tensor]
    gains: dict[str, Tensor]

    @property
    def others(self) -> tuple[Tensor, ...]:
        return tuple(self.more.values())

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        found = {self.name: not_blank(frames[:, None]) if self.tile else frames}
        change = frames - self.frame
        for (name, exact), place in zip(self.more.items(), places[1:], strict=True):
            gain = self.gains[name].to(change)[:, None, None]
            found[name] = exact + gain * followed(change, places[0], place)
        return found


@dataclass
class Patches:
    """Flat patches (patches, 3 · time · side²) in blocks of `merge` × `merge`, as Qwen cuts them.

    Attributes:
        name: their tensor.
        time: how often the frame stands in each patch.
    """

    name: str
    frame: Tensor
    grid: tuple[int, int]
    side: int
    merge: int
    time: int
    counted: bool = True
    others: tuple[Tensor, ...] = ()

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        """(B · patches, 3 · time · side²), each frame repeated over time."""
        cut = frames.unflatten(3, (-1, self.merge, self.side))
        cut = cut.unflatten(2, (-1, self.merge, self.side))
        # batch, block row, block column, row, column, channel, y, x
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7)
        repeated = cut[:, :, :, :, :, :, None].expand(*cut.shape[:6], self.time, -1, -1)
        return {self.name: repeated.flatten(5).flatten(0, 4)}


@dataclass
class Tiles:
    """Tiles (B, N, 3, h, w) of the frame, and the whole picture in one tile, first or last.

    The processor resizes the picture twice, in steps of its own. Its values stay as they are, and
    what the frame differs from the untouched one is added: cut for the tiles, and resized for the
    whole.
    """

    frame: Tensor
    grid: tuple[int, int]
    exact: Tensor
    whole_first: bool
    counted: bool = False

    @property
    def others(self) -> tuple[Tensor, ...]:
        return (self.exact[:, 0 if self.whole_first else -1],)

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        height, width = self.exact.shape[-2:]
        change = frames - self.frame
        tiles = change.unflatten(3, (-1, width)).unflatten(2, (-1, height))
        tiles = tiles.permute(0, 2, 4, 1, 3, 5).flatten(1, 2)
        whole = followed(change, places[0], places[1])[:, None]
        parts = [whole, tiles] if self.whole_first else [tiles, whole]
        return {MAIN: not_blank(self.exact + torch.cat(parts, dim=1))}


def followed(change: Tensor, source: Geometry, target: Geometry) -> Tensor:
    """What a change of one frame (B, C, H', W') is in another (B, C, h, w) of the same picture.

    Raises:
        Unsupported: the rows of one are not rows of the other.
    """
    if not isinstance(source, AlignedGeometry) or not isinstance(target, AlignedGeometry):
        raise Unsupported(
            "the model sees the picture several times, turned or warped differently, which no "
            "adapter can follow; wrap the network in vqa_explain.CustomModel"
        )
    rows = resampling(source.rows, target.rows).to(change)
    columns = resampling(source.columns, target.columns).to(change)
    return rows @ change @ columns.T


def resampling(source: Axis, target: Axis) -> Tensor:
    """(h, H') weights of the elements of one axis that make those of another: bilinear, smoothed.

    A triangle about the target's center, as wide as the larger of both elements, as Pillow has it.
    Rows sum to 1; to less in padding, which may show a little of the picture at its edge.
    """
    reach = max(source.extent, target.extent)
    apart = np.abs(target.centers[:, None] - source.centers[None, :])
    weights = np.clip(1 - apart / max(reach, 1e-9), 0, None)
    shown = weights * source.inside
    # An element that shows nothing but the picture is made of the picture alone.
    whole = np.where(target.inside, shown.sum(axis=1), weights.sum(axis=1))
    return torch.from_numpy(shown / np.maximum(whole[:, None], 1e-12))


def not_blank(tiles: Tensor) -> Tensor:
    """Tiles (…, 3, h, w) of which none is zero everywhere."""
    # Some models take such a tile for padding, and skip it.
    blank = (tiles == 0).flatten(-3).all(dim=-1)[..., None, None, None]
    return tiles + blank.to(tiles) * 1e-12


Gains = dict[str, Tensor]  # the tensors that show the picture → how strongly (3,): see `gains_of`


def pattern(size: tuple[int, int]) -> np.ndarray:
    """A picture (H, W, 3) uint8 that differs from its negative nearly everywhere."""
    rows, columns = np.indices(size)
    gray = ((rows * 3 + columns * 5) % 256).astype(np.uint8)
    return np.repeat(gray[:, :, None], 3, axis=2)


def gains_of(make: Callable[[np.ndarray], dict[str, Any]], size: tuple[int, int]) -> Gains:
    """The tensors of a processor that depend on what a picture (H, W) shows.

    Returns:
        By name, how much black and white differ in it, (3,) by channel, where several show it; else
        1.

    Raises:
        Unsupported: one of them holds no real numbers, their shapes depend on it, or several show
            it and in one black and white are the same, as where each picture is standardized.
    """
    picture = pattern(size)
    found = differing(make(picture), make(255 - picture))
    if len(found) == 1:
        return {found[0]: torch.ones(3)}
    white, black = (make(np.full_like(picture, level)) for level in (255, 0))
    gains = {name: _most(white[name] - black[name]) for name in found}
    flat = next((name for name, gain in gains.items() if not bool(gain.all())), None)
    if flat is not None:
        raise Unsupported(
            f"the processor shows the picture in {', '.join(found)}, and black and white are the "
            f"same in {flat!r}, so that none can follow another; wrap the network in "
            "vqa_explain.CustomModel"
        )
    return gains


def _most(difference: Tensor) -> Tensor:
    """(3,) of each channel of (…, 3, h, w), the number that is farthest from 0."""
    if difference.ndim < 3:
        return torch.ones(3)
    flat = difference.movedim(-3, 0).flatten(1)
    return flat.gather(1, flat.abs().argmax(dim=1, keepdim=True))[:, 0]


def lay_out(
    inputs: dict[str, Any], steps: Any, picture: np.ndarray, tokens: int, gains: Gains
) -> Layout | None:
    """The layout of what a processor gave for one picture; `None` if its form is not known here.

    Args:
        inputs: the processor's tensors, as they are for this picture alone.
        steps: what the processor treats pictures with.
        picture: (H, W, 3) uint8.
        tokens: how many tokens the model makes of it.
        gains: which of the inputs show the picture: see `gains_of`.

    Raises:
        Unsupported: no tensor shows the picture.
    """
    if len(gains) > 1:
        return _several(inputs, gains, tokens)
    name = next(iter(gains), MAIN)
    if name not in inputs:
        raise Unsupported(
            f"the processor returns {', '.join(inputs)}, and none of them depends on what a "
            f"picture of {picture.shape[1]} × {picture.shape[0]} pixels shows; give a larger "
            "picture, another processor, or wrap the network in vqa_explain.CustomModel"
        )
    values = inputs[name]
    if values.ndim == 2 and GRIDS.get(name) in inputs:
        return _patches(name, values, inputs[GRIDS[name]][0].tolist(), steps)
    if values.ndim == 5 and values.shape[1] == 1:
        grid, counted = cells_of(tokens, (values.shape[3], values.shape[4]))
        return Single(values[:, 0], grid, counted, name, True, {}, {})
    if values.ndim == 5 and name == MAIN and "image_sizes" in inputs:
        return _any_resolution(values, steps, (picture.shape[0], picture.shape[1]))
    if values.ndim == 5 and name == MAIN:
        return _split(values, steps, Image.fromarray(picture))
    if values.ndim == 4 and len(values) == 1 and values.shape[1] == 3:
        grid, counted = cells_of(tokens, (values.shape[2], values.shape[3]))
        return Single(values, grid, counted, name, False, {}, {})
    return None


def _several(inputs: dict[str, Any], gains: Gains, tokens: int) -> Single | None:
    """The picture in several sizes at once: the finest is the frame, and the others follow it.

    `None` where it is cut to parts.
    """
    shown = {name: inputs[name] for name in gains}
    if any(values.ndim != 4 or values.shape[:2] != (1, 3) for values in shown.values()):
        return None
    finest = max(shown, key=lambda name: shown[name].shape[2] * shown[name].shape[3])
    frame = shown.pop(finest)
    grid, counted = cells_of(tokens, (frame.shape[2], frame.shape[3]))
    relative = {name: gains[name] / gains[finest] for name in shown}
    return Single(frame, grid, counted, finest, False, shown, relative)


def cells_of(tokens: int, frame: tuple[int, int]) -> tuple[tuple[int, int], bool]:
    """The grid of as many square cells as there are tokens, and whether the frame has such a grid.

    Where it has not, about 12 cells along the long side.

    >>> cells_of(16, (32, 128)), cells_of(16, (64, 64)), cells_of(17, (64, 64))
    (((2, 8), True), ((4, 4), True), ((12, 12), False))
    """
    rows = math.isqrt(max(1, tokens * frame[0] // frame[1]))
    if (
        tokens
        and rows * (tokens // rows) == tokens
        and rows * frame[1] == tokens // rows * frame[0]
    ):
        return (rows, tokens // rows), True
    return rough_cells(frame), False


def rough_cells(frame: tuple[int, int]) -> tuple[int, int]:
    """(rows, columns) of about 12 cells along the long side, where a model has no grid."""
    most = max(frame)
    rows, columns = (max(1, round(12 * side / most)) for side in frame)
    return rows, columns


def _patches(name: str, values: Tensor, grid: list[int], steps: Any) -> Patches | None:
    """Puts patches back together that are cut as Qwen's are; `None` for others."""
    _, rows, columns = grid
    sizes = ("patch_size", "merge_size", "temporal_patch_size")
    side, merge, most = (getattr(steps, key, 0) for key in sizes)
    # A picture stands in a patch as often as the patch is deep, and a frame of a video once.
    times = values.shape[1] // max(1, 3 * side**2)
    if values.shape != (rows * columns, 3 * times * side**2) or not 0 < times <= most:
        return None
    cut = values.unflatten(1, (3, times, side, side))[:, :, 0]
    cut = cut.unflatten(0, (rows // merge, columns // merge, merge, merge))
    frame = cut.permute(4, 0, 2, 5, 1, 3, 6).flatten(4, 6).flatten(1, 3)[None]
    return Patches(name, frame, (rows // merge, columns // merge), side, merge, times)


def _assembled(tiles: Tensor, columns: int) -> Tensor:
    """The frame (1, 3, rows · h, columns · w) of tiles (N, 3, h, w) in raster order."""
    result: Tensor = (
        tiles.unflatten(0, (-1, columns)).permute(2, 0, 3, 1, 4).flatten(3, 4).flatten(1, 2)[None]
    )
    return result


def _any_resolution(values: Tensor, steps: Any, size: tuple[int, int]) -> Tiles | None:
    """LLaVA's tiles: the whole first; the picture is resized into the best canvas and padded."""
    from transformers.image_processing_utils import select_best_resolution

    canvases = getattr(steps, "image_grid_pinpoints", None) or [[0, 0]]
    height, width = select_best_resolution(size, canvases)
    tall, wide = values.shape[-2:]
    if not height or values.shape[1] != (height // tall) * (width // wide) + 1:
        return None
    frame = _assembled(values[0, 1:], width // wide)
    return Tiles(frame, rough_cells((height, width)), values, whole_first=True)


def _split(values: Tensor, steps: Any, picture: Any) -> Tiles | None:
    """Idefics3's tiles: the picture resized to whole tiles, then the whole in one."""
    rows, columns = _rows_and_columns(steps, picture)
    if not rows or values.shape[1] != rows * columns + 1:
        return None
    frame = _assembled(values[0, :-1], columns)
    return Tiles(frame, rough_cells((frame.shape[2], frame.shape[3])), values, whole_first=False)


def _rows_and_columns(steps: Any, picture: Any) -> tuple[int, int]:
    """The rows and columns of tiles that Idefics3 makes; (0, 0) where it does not say."""
    try:
        found = steps(picture, return_tensors="pt", return_row_col_info=True)
    except (TypeError, ValueError):  # it does not know this argument
        return 0, 0
    if "rows" not in found or "cols" not in found:
        return 0, 0
    return int(found["rows"][0][0]), int(found["cols"][0][0])
