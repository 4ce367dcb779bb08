"""Where the elements of a model's frame lie in the picture,
and how values and labels are carried.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from scipy.ndimage import map_coordinates, uniform_filter

# A picture's pixel is seen by the nearest element of the frame if it lies within this many of the
# elements' spacings (or pixels, where elements are closer). One half is an element's own cell.
REACH = 0.75

# Pixels of a side that are carried together.
BAND = 64

Band = tuple[slice, slice]
Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the picture, ends exclusive


class Geometry(ABC):
    """Where a model's frame lies in the picture.

    Attributes:
        original: (H, W) of the picture.
        frame: (H', W') that the model sees.
    """

    original: tuple[int, int]
    frame: tuple[int, int]

    @property
    @abstractmethod
    def inside(self) -> np.ndarray:
        """(H', W') bool: which elements show the picture; the others are padding."""

    @property
    def centers(self) -> np.ndarray:
        """(H', W', 2) float64, the row and column of each element's center, in pixels.

        Raises:
            NotImplementedError: its elements are no points, but boxes of any size.
        """
        raise NotImplementedError

    @property
    @abstractmethod
    def extents(self) -> tuple[float, float]:
        """How many pixels of the picture an element covers along rows and columns."""

    @abstractmethod
    def to_original(self, values: np.ndarray) -> np.ndarray:
        """Carries (H', W') values to (H, W) by area and keeps the sum of those `inside`.

        Values of padding are left out. Pixels that the model does not see get 0.
        """

    @abstractmethod
    def labels_to_original(self, labels: np.ndarray) -> np.ndarray:
        """Carries (H', W') integer labels to (H, W);
        -1 where the model does not see the picture.
        """

    @abstractmethod
    def labels_to_frame(self, labels: np.ndarray) -> np.ndarray:
        """Carries (H, W) labels to the frame (H', W') by nearest pixel; -1 in padding."""

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """Carries (H, W) values to the frame (H', W'), each element's nearest pixel;
        0 in padding.
        """
        return np.where(self.inside, self.labels_to_frame(values.astype(np.float64)), 0.0)

    @abstractmethod
    def box(self, mask: np.ndarray) -> Box:
        """The smallest box of whole pixels that holds the elements of `mask` (H', W') `inside`."""


@dataclass(frozen=True, eq=False)
class Axis:
    """One side of a frame of F elements.

    Attributes:
        size: pixels of the picture along this side.
        centers: (F,) float64, where each element's center lies, in pixels: pixel i is i to i + 1.
        extent: how many pixels of the picture an element covers.
        inside: (F,) bool, which elements show the picture.
    """

    size: int
    centers: np.ndarray
    extent: float
    inside: np.ndarray

    @classmethod
    def resized(cls, size: int, scaled: int, length: int, offset: int = 0) -> "Axis":
        """A side that was resized to `scaled` and then cut to `length` elements from `offset`
        on.
        """
        at = np.arange(length) + offset
        return cls(size, (at + 0.5) * size / scaled, size / scaled, (at >= 0) & (at < scaled))

    @cached_property
    def shares(self) -> np.ndarray:
        """(size, F): the share of each element that lies on each pixel. Sums to 1,
        for padding to 0.
        """
        center = np.clip(self.centers, 0, self.size)
        low = np.clip(center - self.extent / 2, 0, self.size)
        high = np.clip(center + self.extent / 2, 0, self.size)
        pixels = np.arange(self.size)[:, None]
        shared = np.clip(np.minimum(high, pixels + 1) - np.maximum(low, pixels), 0, None)
        nothing = shared.sum(axis=0) <= 0  # an element without an extent lies on one pixel
        shared[self.nearest[nothing], np.flatnonzero(nothing)] = 1
        result: np.ndarray = shared / shared.sum(axis=0) * self.inside
        return result

    @cached_property
    def bands(self) -> tuple[Band, ...]:
        """Runs of pixels, each with a run of elements that has all of those that lie on it."""
        found = []
        for start in range(0, self.size, BAND):
            pixels = slice(start, min(start + BAND, self.size))
            lying = np.flatnonzero(self.shares[pixels].any(axis=0))
            ends = (int(lying[0]), int(lying[-1]) + 1) if len(lying) else (0, 0)
            found.append((pixels, slice(*ends)))
        return tuple(found)

    def carried(self, values: torch.Tensor) -> torch.Tensor:
        """(N, size) the sums over elements of values (N, F), by their shares on each pixel.

        Only a few elements lie on a pixel: most products of the whole matrices would be with zero.
        """
        # By torch, since the threads of numpy's products would still hold the cores when the model
        # wants them.
        shares = torch.from_numpy(self.shares)
        result = values.new_empty(len(values), self.size)
        for pixels, elements in self.bands:
            result[:, pixels] = values[:, elements] @ shares[pixels, elements].T
        return result

    @cached_property
    def shown(self) -> np.ndarray:
        """(size,) the element that shows each pixel; F where none does."""
        element, near = self.seen
        return np.where(near, element, len(self.centers))

    @cached_property
    def nearest(self) -> np.ndarray:
        """(F,) the pixel that each element's center lies on."""
        result: np.ndarray = np.clip(np.floor(self.centers + 1e-9).astype(int), 0, self.size - 1)
        return result

    @cached_property
    def seen(self) -> tuple[np.ndarray, np.ndarray]:
        """(size,) the element whose center is nearest to each pixel's, and whether it is near."""
        elements = np.flatnonzero(self.inside)
        if not len(elements):
            return np.zeros(self.size, dtype=int), np.zeros(self.size, dtype=bool)
        pixels = np.arange(self.size) + 0.5
        order = elements[np.argsort(self.centers[elements], kind="stable")]
        centers = self.centers[order]
        after = np.clip(np.searchsorted(centers, pixels), 0, len(order) - 1)
        before = np.maximum(after - 1, 0)
        # Half-way between two elements, the pixel belongs to the later one: cells are [low, high).
        later = centers[after] - pixels <= pixels - centers[before] + 1e-9
        chosen = np.where(later, after, before)
        distance = np.abs(centers[chosen] - pixels)
        near = distance <= max(self.extent / 2, 0.5) + 1e-6
        return order[chosen], near


@dataclass(frozen=True, eq=False)
class AlignedGeometry(Geometry):
    """A frame whose rows show rows of the picture and whose columns show columns."""

    rows: Axis
    columns: Axis

    @classmethod
    def resized(
        cls,
        original: tuple[int, int],
        scaled: tuple[int, int],
        frame: tuple[int, int] | None = None,
        offset: tuple[int, int] = (0, 0),
    ) -> "AlignedGeometry":
        """A picture (H, W) that was resized to `scaled`, then cropped or padded to `frame`.

        Args:
            original: (H, W).
            scaled: (h, w) after resizing.
            frame: (H', W'); by default `scaled`.
            offset: (top, left) of the frame in the resized picture; negative where it is padded.
        """
        sides = zip(original, scaled, frame or scaled, offset, strict=True)
        rows, columns = (Axis.resized(*side) for side in sides)
        return cls(rows, columns)

    @property
    def original(self) -> tuple[int, int]:  # type: ignore[override]
        return self.rows.size, self.columns.size

    @property
    def frame(self) -> tuple[int, int]:  # type: ignore[override]
        return len(self.rows.centers), len(self.columns.centers)

    @cached_property
    def inside(self) -> np.ndarray:
        result: np.ndarray = self.rows.inside[:, None] & self.columns.inside[None, :]
        return result

    @property
    def centers(self) -> np.ndarray:
        rows, columns = np.meshgrid(self.rows.centers, self.columns.centers, indexing="ij")
        return np.stack([rows, columns], axis=-1)

    @property
    def extents(self) -> tuple[float, float]:
        return self.rows.extent, self.columns.extent

    def to_original(self, values: np.ndarray) -> np.ndarray:
        given = torch.from_numpy(np.array(values, dtype=np.float64, order="C"))
        return self.columns.carried(self.rows.carried(given.T).T).numpy()

    def labels_to_original(self, labels: np.ndarray) -> np.ndarray:
        # One row and column more stand for what no element shows.
        framed = np.pad(labels, ((0, 1), (0, 1)), constant_values=-1)
        return framed.take(self.rows.shown, axis=0).take(self.columns.shown, axis=1)

    def labels_to_frame(self, labels: np.ndarray) -> np.ndarray:
        return np.where(self.inside, labels[np.ix_(self.rows.nearest, self.columns.nearest)], -1)

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """The same of the mean over what each element covers, in single precision:
        it is for comparing.
        """
        rows, columns = (
            torch.from_numpy(axis.shares).float() for axis in (self.rows, self.columns)
        )
        given = torch.from_numpy(values.astype(np.float32))
        return (rows.T @ given @ columns).double().numpy()

    def box(self, mask: np.ndarray) -> Box:
        within = mask & self.inside
        left, right = _span(self.columns, within.any(axis=0))
        top, bottom = _span(self.rows, within.any(axis=1))
        return left, top, right, bottom


def _span(axis: Axis, elements: np.ndarray) -> tuple[int, int]:
    """The whole pixels, at least one, that some elements of an axis cover."""
    if not elements.any():
        return 0, 0
    low = axis.centers[elements].min() - axis.extent / 2
    high = axis.centers[elements].max() + axis.extent / 2
    start = int(np.clip(np.floor(low + 1e-6), 0, axis.size - 1))
    return start, int(np.clip(np.ceil(high - 1e-6), start + 1, axis.size))


@dataclass(frozen=True, eq=False)
class ScatteredGeometry(Geometry):
    """A frame whose elements lie anywhere in the picture: turned, mirrored, warped or cut in
    pieces.

    Attributes:
        points: (H', W', 2) float64, the row and column of each element's center, in pixels.
        shown: (H', W') bool, which elements show the picture.
    """

    original: tuple[int, int]
    points: np.ndarray
    shown: np.ndarray

    @property
    def frame(self) -> tuple[int, int]:  # type: ignore[override]
        return self.shown.shape[0], self.shown.shape[1]

    @property
    def inside(self) -> np.ndarray:
        return self.shown

    @property
    def centers(self) -> np.ndarray:
        return self.points

    @property
    def extents(self) -> tuple[float, float]:
        return self.extent, self.extent

    @cached_property
    def extent(self) -> float:
        """How many pixels of the picture an element covers along a side:
        the median of all steps.
        """
        steps = [
            np.linalg.norm(np.diff(self.points, axis=axis), axis=-1)[both]
            for axis, both in ((0, self.shown[1:] & self.shown[:-1]), (1, _pairs(self.shown)))
        ]
        found = np.concatenate([step.ravel() for step in steps])
        return float(np.median(found)) if len(found) else float(max(self.original))

    @cached_property
    def _seen(self) -> tuple[np.ndarray, np.ndarray]:
        """(H, W) the number of the element nearest to each pixel, and whether it is near."""
        from scipy.spatial import cKDTree

        numbers = np.flatnonzero(self.shown.ravel())
        rows, columns = np.indices(self.original)
        pixels = np.stack([rows.ravel(), columns.ravel()], axis=-1) + 0.5
        distance, chosen = cKDTree(self.points[self.shown]).query(pixels)
        near = distance <= REACH * max(self.extent, 1.0)
        return numbers[chosen].reshape(self.original), near.reshape(self.original)

    @cached_property
    def _nearest(self) -> np.ndarray:
        """(H', W', 2) the pixel on which each element's center lies."""
        most = np.array(self.original) - 1
        result: np.ndarray = np.clip(np.floor(self.points).astype(int), 0, most)
        return result

    def to_original(self, values: np.ndarray) -> np.ndarray:
        """Spreads each element's value evenly over the pixels nearest to it,
        or puts it on its own.
        """
        values = np.where(self.shown, np.asarray(values, dtype=np.float64), 0.0).ravel()
        element, near = self._seen
        pixels = np.bincount(element[near], minlength=len(values))
        spread = values / np.maximum(pixels, 1)
        carried = np.where(near, spread[element], 0.0)
        alone = (pixels == 0) & self.shown.ravel()
        rows, columns = self._nearest.reshape(-1, 2)[alone].T
        np.add.at(carried, (rows, columns), values[alone])
        return carried

    def labels_to_original(self, labels: np.ndarray) -> np.ndarray:
        element, near = self._seen
        return np.where(near, labels.ravel()[element], -1)

    def labels_to_frame(self, labels: np.ndarray) -> np.ndarray:
        rows, columns = np.moveaxis(self._nearest, -1, 0)
        return np.where(self.shown, labels[rows, columns], -1)

    def sampled(self, values: np.ndarray) -> np.ndarray:
        """The same of the mean over a square as large as an element, between pixels."""
        reach = max(1, round(self.extent))
        smooth = uniform_filter(values.astype(np.float64), reach, mode="nearest")
        places = np.moveaxis(self.points - 0.5, -1, 0)
        between = map_coordinates(smooth, places, order=1, mode="nearest")
        return np.where(self.shown, between, 0.0)

    def box(self, mask: np.ndarray) -> Box:
        points = self.points[mask & self.shown]
        if not len(points):
            return 0, 0, 0, 0
        low, high = points.min(axis=0) - self.extent / 2, points.max(axis=0) + self.extent / 2
        most = np.array(self.original)
        start = np.clip(np.floor(low + 1e-6).astype(int), 0, most - 1)
        stop = np.clip(np.ceil(high - 1e-6).astype(int), start + 1, most)
        return int(start[1]), int(start[0]), int(stop[1]), int(stop[0])


def _pairs(shown: np.ndarray) -> np.ndarray:
    """(H', W' - 1) bool: which neighbors in a row both show the picture."""
    result: np.ndarray = shown[:, 1:] & shown[:, :-1]
    return result


@dataclass(frozen=True, eq=False)
class BoxGeometry(Geometry):
    """A frame that is a list of R boxes, R × 1, and where they lie in the picture; they may
    overlap.

    Attributes:
        boxes: (R, 4) left, top, right, bottom in pixels of the picture.
    """

    original: tuple[int, int]
    boxes: np.ndarray

    @property
    def frame(self) -> tuple[int, int]:  # type: ignore[override]
        return len(self.boxes), 1

    @property
    def inside(self) -> np.ndarray:
        return np.ones(self.frame, dtype=bool)

    @property
    def extents(self) -> tuple[float, float]:
        sides = np.median(self.boxes[:, 2:] - self.boxes[:, :2], axis=0)
        return float(sides[1]), float(sides[0])

    @property
    def shares(self) -> np.ndarray:
        """(R, 4) the boxes as shares of the picture's sides."""
        height, width = self.original
        result: np.ndarray = self.boxes / np.array([width, height, width, height], dtype=float)
        return result

    def _slices(self) -> list[tuple[slice, slice]]:
        """Rows and columns of each box, of at least one pixel within the picture."""
        return [(_within(box[1::2], self.original[0]), _within(box[::2], self.original[1]))
                for box in self.boxes]  # fmt: skip

    def to_original(self, values: np.ndarray) -> np.ndarray:
        """Spreads each box's value evenly over its pixels; where boxes overlap, they add up."""
        carried = np.zeros(self.original)
        for value, where in zip(
            np.asarray(values, dtype=np.float64)[:, 0], self._slices(), strict=True
        ):
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

    def box(self, mask: np.ndarray) -> Box:
        chosen = np.rint(self.boxes[mask[:, 0]])
        if not len(chosen):
            return 0, 0, 0, 0
        left, top = chosen[:, :2].min(axis=0)
        right, bottom = chosen[:, 2:].max(axis=0)
        return int(left), int(top), int(right), int(bottom)


def _within(ends: Sequence[float], size: int) -> slice:
    """The pixels, at least one, of a picture's side between two ends."""
    start = int(np.clip(np.floor(ends[0]), 0, size - 1))
    return slice(start, int(np.clip(np.ceil(ends[1]), start + 1, size)))
