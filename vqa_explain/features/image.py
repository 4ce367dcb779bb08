"""The image feature: where the model's pixels lie in the picture, and what an absent region becomes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.weak import WeakIdKeyDictionary


@dataclass(frozen=True)
class Geometry:
    """How the original picture became the model's frame: resized, then cropped or padded.

    Attributes:
        original: (H, W) of the picture.
        resized: (h, w) after resizing.
        frame: (H', W') that the model sees.
        offset: (top, left) of the frame within the resized picture; negative where the frame is padded.
    """

    original: tuple[int, int]
    resized: tuple[int, int]
    frame: tuple[int, int]
    offset: tuple[int, int] = (0, 0)

    @cached_property
    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        axes = zip(self.original, self.resized, self.frame, self.offset, strict=True)
        rows, columns = (_overlap(*axis) for axis in axes)
        return rows, columns

    def to_original(self, values: np.ndarray) -> np.ndarray:
        """Carries (H', W') values to (H, W) by area, keeping their sum; cropped-away pixels get 0.

        The share of a padding pixel goes to the nearest pixel of the picture.
        """
        rows, columns = map(torch.from_numpy, self._weights)
        # By torch, since the threads of numpy's products would still hold the cores when the model wants them.
        return (rows @ torch.from_numpy(np.array(values, dtype=np.float64, order="C")) @ columns.T).numpy()

    def labels_to_original(self, labels: np.ndarray) -> np.ndarray:
        """Carries (H', W') integer labels to (H, W) by nearest pixel; -1 where the picture was cropped away."""
        index, seen = [], []
        for size, scaled, frame, offset in zip(self.original, self.resized, self.frame, self.offset, strict=True):
            at = np.floor((np.arange(size) + 0.5) * scaled / size).astype(int) - offset
            index.append(np.clip(at, 0, frame - 1))
            seen.append((at >= 0) & (at < frame))
        carried = labels[np.ix_(*index)]
        return np.where(seen[0][:, None] & seen[1][None, :], carried, -1)

    def labels_to_frame(self, labels: np.ndarray) -> np.ndarray:
        """Carries (H, W) labels to the frame (H', W') by nearest pixel; padding takes the nearest label."""
        index = []
        for size, scaled, frame, offset in zip(self.original, self.resized, self.frame, self.offset, strict=True):
            at = np.clip(np.arange(frame) + offset, 0, scaled - 1)
            index.append(np.clip(((at + 0.5) * size / scaled).astype(int), 0, size - 1))
        return labels[np.ix_(*index)]


@dataclass(frozen=True, eq=False)
class BoxGeometry(Geometry):
    """A frame that is a list of R boxes, R × 1, and where they lie in the picture; they may overlap.

    Attributes:
        boxes: (R, 4) left, top, right, bottom in pixels of the picture.
    """

    boxes: np.ndarray = field(default_factory=lambda: np.zeros((0, 4)))

    @classmethod
    def of(cls, original: tuple[int, int], boxes: np.ndarray) -> "BoxGeometry":
        """The geometry of these boxes in a picture of `original` (H, W)."""
        frame = (len(boxes), 1)
        return cls(original, frame, frame, (0, 0), boxes)

    @property
    def shares(self) -> np.ndarray:
        """(R, 4) the boxes as shares of the picture's sides."""
        height, width = self.original
        return self.boxes / np.array([width, height, width, height], dtype=float)

    def _slices(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each box, of at least one pixel within the picture."""
        found = []
        for left, top, right, bottom in self.boxes:
            spans = []
            for low, high, size in ((top, bottom, self.original[0]), (left, right, self.original[1])):
                start = int(np.clip(np.floor(low), 0, size - 1))
                spans.append(slice(start, int(np.clip(np.ceil(high), start + 1, size))))
            found.append((spans[0], spans[1]))
        return found

    def to_original(self, values: np.ndarray) -> np.ndarray:
        """Spreads each box's value evenly over its pixels; where boxes overlap, they add up."""
        carried = np.zeros(self.original)
        for value, where in zip(np.asarray(values, dtype=np.float64)[:, 0], self._slices(), strict=True):
            carried[where] += value / carried[where].size
        return carried

    def labels_to_original(self, labels: np.ndarray) -> np.ndarray:
        """The label of the smallest box over each pixel; -1 where there is none."""
        carried = np.full(self.original, -1)
        slices = self._slices()
        for number in np.argsort([-carried[where].size for where in slices], kind="stable"):
            carried[slices[number]] = labels[number, 0]
        return carried

    def labels_to_frame(self, labels: np.ndarray) -> np.ndarray:
        """The label that most of each box's pixels have."""
        most = [np.unique(labels[where], return_counts=True) for where in self._slices()]
        return np.array([[values[counts.argmax()]] for values, counts in most])


def _overlap(size: int, scaled: int, frame: int, offset: int) -> np.ndarray:
    """(size, frame): the share of each frame pixel's extent that lies on each original pixel; columns sum to 1."""
    at = np.clip(np.arange(frame) + offset, 0, scaled - 1)
    low, high = at * size / scaled, (at + 1) * size / scaled
    edges = np.arange(size)
    shared = np.minimum(high, edges[:, None] + 1) - np.maximum(low, edges[:, None])
    shared = np.maximum(shared, 0)
    return shared / shared.sum(axis=0)


def _blur(pixels: Tensor, _seed: int) -> Tensor:
    from torchvision.transforms.functional import gaussian_blur

    sigma = max(pixels.shape[-2:]) / 12
    # The kernel reaches 2 sigma but never past what reflection padding allows.
    size = [2 * max(0, min(int(2 * sigma), side - 1)) + 1 for side in pixels.shape[-1:-3:-1]]
    return gaussian_blur(pixels, size, [sigma, sigma])


def _mean(pixels: Tensor, _seed: int) -> Tensor:
    return pixels.mean(dim=(-2, -1), keepdim=True).expand_as(pixels).clone()


def _constant(pixels: Tensor, _seed: int) -> Tensor:
    return torch.zeros_like(pixels)


def _noise(pixels: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(pixels.shape, generator=generator).to(pixels)
    return pixels.mean(dim=(-2, -1), keepdim=True) + noise * pixels.std(dim=(-2, -1), keepdim=True)


def _inpaint(pixels: Tensor, present: Tensor) -> Tensor:
    """Absent pixels from their neighbours: averages of what is present, from the finest scale that has any.

    The push and pull of Gortler et al. 1996, "The lumigraph", section 3.4. Where nothing is present at all: the mean.
    """
    known, weight = pixels * present, present.to(pixels)
    levels = [(known, weight)]
    while max(known.shape[-2:]) > 1:
        known, weight = (F.avg_pool2d(x, 2, ceil_mode=True, count_include_pad=False) for x in (known, weight))
        levels.append((known, weight))
    guess = pixels.mean(dim=(-2, -1), keepdim=True).expand_as(known)
    for known, weight in reversed(levels):
        guess = F.interpolate(guess, size=known.shape[-2:], mode="bilinear", align_corners=False)
        guess = torch.where(weight > 0, known / weight.clamp(min=1e-12), guess)
    return guess


# What a picture shows where everything is absent, from the model's (1, 3, H', W') pixels and a seed. "constant" is
# the middle of the model's normalised range.
BLANKS: dict[str, Callable[[Tensor, int], Tensor]] = {
    "blur": _blur,
    "mean": _mean,
    "constant": _constant,
    "noise": _noise,
}
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()  # pixels → their blank pictures

# What an absent region becomes: a part of such a picture, or "inpaint", which looks at what is present. A further
# fill, "drop", leaves the region's patches out of the sequence: see the models.
FILLS = (*BLANKS, "inpaint")


def blank(pixels: Tensor, fill: str, seed: int) -> Tensor:
    """The picture with everything absent after a fill of `BLANKS`; not to be written into.

    It is kept as long as `pixels`, since every batch of coalitions asks for it.
    """
    known = _known.setdefault(pixels, {})
    key = (fill, seed, pixels._version)
    if key not in known:
        known[key] = BLANKS[fill](pixels, seed)
    return known[key]


def baseline(pixels: Tensor, fill: str, seed: int, instead: str = "blur") -> Tensor:
    """The picture with everything absent; `instead` stands for fills that no such picture can show, such as "drop"."""
    return BLANKS[fill if fill in BLANKS else instead](pixels, seed)


def fill_in(pixels: Tensor, present: Tensor, fill: str, seed: int) -> Tensor:
    """The frame (N, 3, H', W') with the absent pixels of `present` (N, H', W') filled after `fill`."""
    present = present[:, None]
    absent = _inpaint(pixels, present) if fill == "inpaint" else blank(pixels, fill, seed)
    return torch.where(present, pixels, absent)


@dataclass(frozen=True)
class ImageFeature:
    """A picture as a model's input: one leaf of pixels, players that are regions."""

    name: str = "image"
    fills: tuple[str, ...] = FILLS
    default_fill: str = "blur"
