"""Pictures: regions as players, what an absent region becomes,
and the way back to the original picture.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary

from vqa_explain._precision import in_float64
from vqa_explain._shown import percent_text
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.base import Division, Feature, Found, Windows
from vqa_explain.features.geometry import AlignedGeometry, Box, BoxGeometry, Geometry
from vqa_explain.features.large import FrameValues
from vqa_explain.features.parts import Part, PicturePart, RegionValue
from vqa_explain.features.regions import NOWHERE, Regions, divide, grid_regions, region_boxes
from vqa_explain.own_fills import Draws, Fill, checked_picture


def _blur(pixels: Tensor, _seed: int) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    sigma = max(pixels.shape[-2:]) / 12
    # The kernel reaches 2 sigma but never past what reflection padding allows.
    size = [2 * max(0, min(int(2 * sigma), side - 1)) + 1 for side in pixels.shape[-1:-3:-1]]
    # In half precision a wide kernel takes minutes on a CPU, and loses digits.
    wide = pixels.float() if pixels.dtype in (torch.float16, torch.bfloat16) else pixels
    if max(size) > ONE_PASS:
        return _blurred_by_axis(wide, size, sigma).to(pixels)
    result: Tensor = gaussian_blur(wide, size, [sigma, sigma]).to(pixels)
    return result


# Torchvision's kernel is a square: of a picture of 640 × 480 it took 20 s where one axis after the
# other takes 0.5 s. Wider kernels than this go by axis; the result is the same up to rounding.
ONE_PASS = 63


def _blurred_by_axis(pixels: Tensor, size: list[int], sigma: float) -> Tensor:
    """The same blur of pixels (B, C, H, W), by a kernel (columns, rows) that is a product."""
    blurred = pixels
    channels = pixels.shape[1]
    for side, axis in zip(size, (3, 2), strict=True):
        reach = side // 2
        steps = torch.arange(-reach, reach + 1, dtype=pixels.dtype, device=pixels.device)
        kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
        kernel = kernel / kernel.sum()
        shape = [channels, 1, 1, 1]
        shape[axis] = side
        padding = [reach, reach, 0, 0] if axis == 3 else [0, 0, reach, reach]
        padded = F.pad(blurred, padding, mode="reflect")
        line = kernel.reshape([1, 1, 1, -1] if axis == 3 else [1, 1, -1, 1]).expand(shape)
        blurred = F.conv2d(padded, line, groups=channels)
    return blurred


def _mean(pixels: Tensor, _seed: int) -> Tensor:
    return pixels.mean(dim=(-2, -1), keepdim=True).expand_as(pixels).clone()


def _constant(pixels: Tensor, _seed: int) -> Tensor:
    return torch.zeros_like(pixels)


def _noise(pixels: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    return pixels.mean(dim=(-2, -1), keepdim=True) + noise * pixels.std(dim=(-2, -1), keepdim=True)


def _inpaint(pixels: Tensor, present: Tensor) -> Tensor:
    """Absent pixels from their neighbors: averages of what is present, from the finest scale that
    has any.

    The push and pull of Gortler et al. 1996, "The lumigraph", section 3.4. Where nothing is present
    at all: the mean.
    """
    known, weight = pixels * present, present.to(pixels)
    levels = [(known, weight)]
    while max(known.shape[-2:]) > 1:
        known, weight = (
            F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (known, weight)
        )
        levels.append((known, weight))
    guess = pixels.mean(dim=(-2, -1), keepdim=True).expand_as(known)
    for known, weight in reversed(levels):
        guess = F.interpolate(guess, size=known.shape[-2:], mode="bilinear", align_corners=False)
        guess = torch.where(weight > 0, known / weight.clamp(min=1e-12), guess)
    return guess


# What a picture shows where everything is absent, from the model's (1, C, H', W') pixels and a
# seed. "constant" is the middle of the model's normalized range.
BLANKS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "blur": _blur,
    "mean": _mean,
    "constant": _constant,
    "noise": _noise,
}
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # pixels → their blank pictures

# What an absent region becomes: a part of such a picture, or "inpaint", which looks at what is
# present. A further fill, "drop", leaves the region's patches out of the sequence: see the models.
FILLS = (*BLANKS, "inpaint")
DROP = "drop"


def blank(pixels: Tensor, fill: str, seed: int) -> Tensor:
    """The picture with everything absent after a fill of `BLANKS`; not to be written into.

    It is kept as long as `pixels`, since every batch of coalitions asks for it.
    """
    known = _known.setdefault(pixels, {})
    key = (fill, seed, pixels._version)
    if key not in known:
        known[key] = BLANKS[fill](pixels, seed)
    result: Tensor = known[key]
    return result


def baseline(
    pixels: Tensor, geometry: Geometry, fill: str, seed: int, instead: str = "mean"
) -> Tensor:
    """The frame with the whole picture absent; padding stays as it is.

    Args:
        pixels: (1, C, H', W').
        geometry: which of them show the picture.
        fill: a fill.
        seed: for fills that draw.
        instead: what stands for fills that no picture can show, such as "drop".
    """
    empty = BLANKS[fill if fill in BLANKS else instead](pixels, seed)
    if geometry.inside.all():
        return empty
    inside = torch.from_numpy(geometry.inside).to(pixels.device)
    return torch.where(inside, empty, pixels)


def fill_in(pixels: Tensor, present: Tensor, fill: str, seed: int) -> Tensor:
    """The frame (N, C, H', W') with the absent pixels of `present` (N, H',
    W') filled after `fill`.
    """
    present = present[:, None]
    absent = _inpaint(pixels, present) if fill == "inpaint" else blank(pixels, fill, seed)
    return torch.where(present, pixels, absent)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as a model reads it.

    Attributes:
        original: (H, W, 3) uint8, the picture as it was given.
        pixels: (1, C, H', W') what the model sees, its frame.
        geometry: where the frame lies in the picture.
        grid: (rows, columns) of the model's own division of the frame.
    """

    original: np.ndarray
    pixels: Tensor
    geometry: Geometry
    grid: tuple[int, int]


TOLD_PADDING = 0.005  # share of values on padding from which an explanation tells of it


@dataclass(frozen=True)
class ImageFeature(Feature):
    """Pictures: one leaf of pixels (B, C, H', W') each, elements that are pixels,
    players that are regions.
    """

    name: str = "image"
    fills: tuple[str, ...] = FILLS
    default_fill: str = "mean"
    kind: ClassVar[str] = PicturePart.kind
    channels: ClassVar[int | None] = 1
    takes_functions: ClassVar[bool] = True

    def shape(self, content: Picture) -> tuple[int, ...]:
        return content.geometry.frame

    def divide(self, content: Picture, asked: Any) -> Regions:
        return divide(asked, content.original, content.geometry, content.grid)

    def whole_parts(self, content: Picture, division: Division, fill: str) -> Division:
        if not self.shortens(fill):
            return division
        return Regions(division.owner, division.count).snapped(content.grid)

    def shortens(self, fill: str) -> bool:
        return fill == DROP

    def leaf_fills(self) -> tuple[str, ...]:
        return tuple(fill for fill in BLANKS if fill in self.fills)

    def length(self, content: Picture) -> int:
        return content.grid[0] * content.grid[1]

    def grid(self, content: Picture) -> tuple[int, int]:
        return content.grid

    def collect(self, values: Tensor, largest: bool = False) -> np.ndarray:
        if not largest:
            return super().collect(values)
        return in_float64(values).amax(dim=1).numpy()

    def windows(
        self,
        content: Picture,
        division: Division,
        *,
        side: int | None,
        stride: int | None,
        run: int,
    ) -> Windows:
        """Squares of the frame, the last of a row cut at the edge so that all is covered."""
        inside = content.geometry.inside
        side = side or max(1, round(max(inside.shape) / 8))
        stride = stride or max(1, side // 2)
        if stride > side:
            raise InvalidInput(
                f"stride {stride} is above window {side}, so pixels would be left out; lower it"
            )
        squares = _Squares(inside.shape, side, stride)

        def gather(drops: np.ndarray) -> np.ndarray:
            values, times = np.zeros(inside.shape), np.zeros(inside.shape)
            for drop, place in zip(drops, squares.places, strict=True):
                seen = inside[place]
                values[place] += seen * drop / max(1, seen.sum())  # padding never changes
                times[place] += 1
            return values / times

        return Windows(squares, gather)

    def soft_masks(
        self,
        content: Picture,
        division: Division,
        rng: np.random.Generator,
        count: int,
        *,
        cells: int,
        probability: float,
    ) -> Tensor:
        """Grids of `cells` × `cells`, each cell there with `probability`, enlarged and shifted."""
        return smooth_masks(rng, count, content.geometry.frame, cells, probability)

    def of_states(
        self, content: Picture, states: np.ndarray, grid: tuple[int, int] | None
    ) -> np.ndarray:
        """Each cell's value spread over its pixels in the picture, or over all if none are."""
        cells = grid_regions(content.geometry.frame, grid or content.grid)
        inside = content.geometry.inside
        shown = np.bincount(cells.owner[inside], minlength=cells.count)
        over = np.where(shown > 0, shown, cells.area)
        counts = inside | (shown == 0)[cells.owner]
        return np.where(counts, (states / over)[cells.owner], 0.0)

    def of_map(self, content: Picture, values: Tensor, mode: str) -> np.ndarray:
        enlarged = F.interpolate(
            in_float64(values)[None, None],
            size=content.geometry.frame,
            mode=mode,
            align_corners=False if mode == "bilinear" else None,
        )
        return enlarged[0, 0].numpy()

    def carry(self, content: Picture, found: Found) -> PicturePart:
        """The values in the original picture."""
        geometry = content.geometry
        where = geometry.labels_to_original(found.division.owner.astype(np.int32))
        boxes = _boxes(geometry, where, found.division)
        return PicturePart(
            name=found.name,
            fixed=found.fixed,
            picture=content.original,
            image=geometry.to_original(found.elements),
            labels=where,
            regions=tuple(
                RegionValue(box, float(found.values[i]), found.error(i))
                for i, box in enumerate(boxes)
            ),
            padding=_on_padding(found.elements, geometry),
            frame=_framed(found.elements, geometry),
        )

    def refilled(
        self, content: Picture, division: Division, absent: np.ndarray, fill: Fill, seed: int
    ) -> np.ndarray:
        """(H, W, 3) uint8, the picture with its absent regions filled."""
        if isinstance(content.geometry, BoxGeometry):
            raise Unsupported(
                f"the model sees a detector's boxes of {self.name!r}, whose features no fill of "
                f"your own gives; choose one of {', '.join(self.fills)}"
            )
        if isinstance(fill.function, Draws):
            raise InvalidInput(
                f"fill {str(fill)!r} draws words, and {self.name!r} is a picture; give it as "
                "text_fill="
            )
        where = content.geometry.labels_to_original(division.owner)
        mask = np.append(absent, False)[where]  # -1, which the model does not see, is the last
        given = fill(content.original.copy(), mask.copy(), seed)
        picture = checked_picture(given, content.original.shape[:2], fill)
        return np.where(mask[..., None], picture, content.original)

    def notes(self, content: Picture, found: Found, part: Part) -> tuple[str, ...]:
        assert isinstance(part, PicturePart)
        # A picture of the usual name needs no name; of several, each is told apart.
        called = "the picture" if found.name == self.kind else f"input {found.name!r}"
        notes = []
        if not part.image.any() and not found.fixed:
            notes.append(f"every value of {called} is 0: the method found nothing in it")
        if part.padding >= TOLD_PADDING:
            notes.append(
                f"{percent_text(part.padding)} of the values of {called} fell on padding around it, "
                "which shows nothing, and are in no region"
            )
        return tuple(notes)


class _Squares(Sequence[np.ndarray]):
    """The masks (H', W') of square windows, computed when asked for."""

    def __init__(self, frame: tuple[int, ...], side: int, stride: int) -> None:
        self.frame = frame
        rows, columns = (_starts(size, side, stride) for size in frame)
        self.places = [
            (slice(top, top + side), slice(left, left + side)) for top in rows for left in columns
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, number: Any) -> Any:
        mask = np.zeros(self.frame, dtype=bool)
        mask[self.places[number]] = True
        return mask


def _starts(size: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one axis;
    the last is cut at the edge so that all is covered.
    """
    count = 1 + max(0, -(-(size - window) // stride))
    return [i * stride for i in range(count)]


def smooth_masks(
    rng: np.random.Generator, count: int, frame: tuple[int, int], cells: int, probability: float
) -> Tensor:
    """(N, H', W') from 0 to 1: grids of `cells` × `cells`, each cell there with `probability`,
    enlarged and shifted.
    """
    tall, wide = (-(-side // cells) for side in frame)
    grids = torch.from_numpy(
        (rng.random((count, 1, cells, cells)) < probability).astype(np.float32)
    )
    large = F.interpolate(
        grids, ((cells + 1) * tall, (cells + 1) * wide), mode="bilinear", align_corners=False
    )[:, 0]
    tops, lefts = rng.integers(tall, size=count), rng.integers(wide, size=count)
    return torch.stack(
        [m[t : t + frame[0], e : e + frame[1]] for m, t, e in zip(large, tops, lefts, strict=True)]
    )


def _framed(values: np.ndarray, geometry: Geometry) -> FrameValues | None:
    """The frame's values where they can be carried to the picture again."""
    if not isinstance(geometry, AlignedGeometry):
        return None
    return FrameValues(np.array(values, dtype=np.float64), geometry)


def _on_padding(values: np.ndarray, geometry: Geometry) -> float:
    """The share of the absolute values (H', W') of a frame that lies on padding."""
    sizes = np.abs(values)
    whole = float(sizes.sum())
    return float(sizes[~geometry.inside].sum()) / whole if whole else 0.0


def _boxes(geometry: Geometry, where: np.ndarray, regions: Division) -> list[Box]:
    """Each region's bounding box in the picture.

    A detector's boxes are their own, since smaller ones may hide them. So are those of regions
    smaller than a pixel, which no pixel of the picture is nearest to.
    """
    found = region_boxes(where, regions.count)
    boxed = isinstance(geometry, BoxGeometry) and regions.count == len(geometry.boxes)
    hidden = [number for number, box in enumerate(found) if box == NOWHERE]
    for number in range(regions.count) if boxed else hidden:
        found[number] = geometry.box(regions.owner == number)
    return found
