"""Regions: how a picture divides into the players of a game."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from vqa_explain._shown import percent_text, shown
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.features.base import ALWAYS, Division
from vqa_explain.features.geometry import Geometry

SEGMENTS = 24  # at most, where no number is given
SEGMENTED = 256  # pixels along the longer side of what is segmented
FINEST = 100.0  # the smallest scale of segments; each next one is COARSER times as large
COARSER = 1.5
RESTS = ("refuse", "one", "grid")
OVERLAPS = ("refuse", "smaller")
NOWHERE = (0, 0, 0, 0)  # the box of a region without pixels


@dataclass(frozen=True, eq=False)
class Regions(Division):
    """A division of the model's frame: `owner` (H', W') holds 0 … count-1, each region's number.

    Padding belongs to no region and has the number -1: it stays as it is, whatever is absent.
    """

    @property
    def labels(self) -> np.ndarray:
        """(H', W') each pixel's region, -1 in padding."""
        return self.owner

    def snapped(self, grid: tuple[int, int]) -> "Regions":
        """Every cell of the grid (rows, columns) given whole to the region that holds most of it.

        Raises:
            InvalidInput: a region would be left without a cell.
        """
        cells = grid_regions(self.owner.shape, grid)
        held = np.zeros((cells.count, self.count + 1), dtype=np.int64)
        np.add.at(held, (cells.owner.ravel(), self.owner.ravel()), 1)
        owner = held[:, :-1].argmax(axis=1)
        owner[held[:, :-1].sum(axis=1) == 0] = ALWAYS  # a cell of nothing but padding
        empty = np.setdiff1d(np.arange(self.count), owner)
        if len(empty):
            raise InvalidInput(
                f"fill 'drop' takes away whole patches, and region {empty[0]} holds most of none "
                f"({len(empty)} of {self.count} regions; the model has {grid[0]} × {grid[1]} "
                "patches); choose larger regions or another image_fill, such as 'blur'"
            )
        return Regions(owner[cells.owner], self.count)


def of_cells(division: Division, grid: tuple[int, int]) -> np.ndarray | None:
    """The region (rows, columns) that holds each cell of a grid, or `None` where one is divided."""
    cells = grid_regions(division.owner.shape, grid).owner.ravel()
    owner = np.zeros(cells.max() + 1, dtype=division.owner.dtype)
    owner[cells] = division.owner.ravel()
    return owner.reshape(grid) if (owner[cells] == division.owner.ravel()).all() else None


@dataclass(frozen=True, eq=False)
class Boxes:
    """Regions that are boxes (left, top, right, bottom) in pixels of the picture, right and bottom
    exclusive.

    Attributes:
        boxes: (R, 4).
        rest: what lies in no box: "refuse" it, "one" more region, or the cells of the model's
            "grid".
        overlap: "refuse" boxes that overlap, or give shared pixels to the "smaller" box.
    """

    boxes: Sequence[Sequence[float]]
    rest: str = "refuse"
    overlap: str = "refuse"

    def masks(self, size: tuple[int, int]) -> np.ndarray:
        """(R, H, W) bool.

        Raises:
            InvalidInput: a box is not four numbers, or holds no pixel of the picture.
        """
        boxes = _numbers(
            self.boxes, "boxes must be (R, 4): left, top, right, bottom in pixels"
        ).astype(float)
        if boxes.ndim != 2 or boxes.shape[1] != 4 or not len(boxes) or not np.isfinite(boxes).all():
            raise InvalidInput(
                f"boxes must be (R, 4): left, top, right, bottom in pixels; got shape {boxes.shape}"
            )
        masks = np.zeros((len(boxes), *size), dtype=bool)
        for mask, box in zip(masks, np.rint(boxes).astype(int), strict=True):
            left, top, right, bottom = np.maximum(box, 0)
            mask[top:bottom, left:right] = True
        return masks


@dataclass(frozen=True, eq=False)
class Masks:
    """Regions that are masks (R, H, W) bool of the picture, for example from a segmenter;
    see `Boxes` for the rest.
    """

    values: Any
    rest: str = "refuse"
    overlap: str = "refuse"

    def masks(self, size: tuple[int, int]) -> np.ndarray:
        """(R, H, W) bool.

        Raises:
            InvalidInput: the masks are not of the picture's size.
        """
        masks = _numbers(self.values, f"masks must be (R, {size[0]}, {size[1]}), as the picture is")
        if masks.ndim != 3 or masks.shape[1:] != size or not len(masks):
            raise InvalidInput(
                f"masks must be (R, {size[0]}, {size[1]}), as the picture is; got {masks.shape}"
            )
        if masks.dtype != bool and not np.isin(masks, (0, 1)).all():
            raise InvalidInput("masks must be bool, or 0 and 1")
        return masks.astype(bool)


def _numbers(values: Any, wanted: str) -> np.ndarray:
    """The array of what should be numbers, all rows of one length."""
    try:
        found = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"{wanted}; the rows differ in length") from error
    if found.dtype.kind not in "biuf":
        raise InvalidInput(f"{wanted}; got {str(values)[:60]!r}")
    return found


def grid_regions(frame: tuple[int, ...], grid: tuple[int, int]) -> Regions:
    """Divides a frame into rows × columns cells of as equal a size as whole pixels allow.

    >>> grid_regions((2, 4), (1, 2)).labels.tolist()
    [[0, 0, 1, 1], [0, 0, 1, 1]]
    """
    if not all(1 <= cells <= size for cells, size in zip(grid, frame, strict=True)):
        raise InvalidInput(
            f"a grid of {grid[0]} × {grid[1]} does not fit a picture of {frame[0]} × {frame[1]} "
            "pixels"
        )
    rows = np.arange(frame[0]) * grid[0] // frame[0]
    columns = np.arange(frame[1]) * grid[1] // frame[1]
    return Regions(rows[:, None] * grid[1] + columns[None, :], grid[0] * grid[1])


def divide(asked: Any, picture: np.ndarray, geometry: Geometry, own: tuple[int, int]) -> Regions:
    """The regions that a user asked for, in the model's frame.

    Args:
        asked: `None` for the model's `own` grid; a number n or "n" for n × n cells; (rows, columns)
            or "rowsxcolumns"; "slic" or "slic:count" for superpixels; "segments" or
            "segments:most" for areas of like color; `Boxes`, `Masks`, or labels (H, W) of the
            picture's pixels.
        picture: (H, W, 3) uint8.
        geometry: where the frame lies in the picture.
        own: (rows, columns).

    Raises:
        InvalidInput: it is none of these, does not fit, leaves pixels out, overlaps, or lies
            outside the frame.
    """
    if isinstance(asked, Boxes | Masks):
        labels = _from_masks(asked, geometry.original, geometry, own)
    elif (
        isinstance(asked, np.ndarray)
        and asked.shape == geometry.original
        and np.issubdtype(asked.dtype, np.integer)
    ):
        labels = asked
    elif isinstance(asked, str) and asked.split(":")[0] in FOLLOWING:
        kind, _, count = asked.partition(":")
        labels = FOLLOWING[kind](picture, _count(asked, kind, count))
    else:
        return _shown_cells(geometry, _grid(asked, own), of_frame=asked is None)
    carried = geometry.labels_to_frame(labels)
    if not isinstance(asked, str) and len(hidden := np.setdiff1d(labels, carried)):
        raise InvalidInput(
            f"region {hidden[0]} is cropped away or too small for the model to see; leave it out"
        )
    return numbered(carried, geometry.inside)


def _shown_cells(geometry: Geometry, grid: tuple[int, int], *, of_frame: bool) -> Regions:
    """The cells of a grid, `of_frame` or of the part of it that shows the picture."""
    if of_frame or geometry.inside.all():
        return numbered(grid_regions(geometry.frame, grid).labels, geometry.inside)
    rows, columns = np.nonzero(geometry.inside)
    top, left = int(rows.min()), int(columns.min())
    bottom, right = int(rows.max()) + 1, int(columns.max()) + 1
    labels = np.full(geometry.frame, -1)
    labels[top:bottom, left:right] = grid_regions((bottom - top, right - left), grid).labels
    return numbered(labels, geometry.inside)


def numbered(labels: np.ndarray, inside: np.ndarray) -> Regions:
    """Regions of the labels (H', W') that are `inside`, numbered in their order;
    the rest belongs to none.
    """
    found, numbers = np.unique(labels[inside], return_inverse=True)
    owner = np.full(labels.shape, -1)
    owner[inside] = numbers
    return Regions(owner, len(found))


def _grid(asked: Any, own: tuple[int, int]) -> tuple[int, int]:
    if asked is None:
        return own
    try:
        parts = (
            asked.lower().split("x")
            if isinstance(asked, str)
            else [asked]
            if np.isscalar(asked)
            else list(asked)
        )
        numbers = [int(str(part)) for part in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) not in (1, 2) or min(numbers) < 1:
        raise InvalidInput(
            f"regions {_told(asked)!r} are unknown; give a number n for an n × n grid, (rows, "
            "columns), 'segments', 'slic:50', Boxes, Masks, or an integer label for each pixel of "
            "the picture"
        )
    return numbers[0], numbers[-1]


def _count(asked: str, kind: str, count: str) -> int | None:
    """How many regions were asked for; `None` where it is not said."""
    if count and (not count.isdecimal() or int(count) < 1):
        raise InvalidInput(f"regions {asked!r}: write their number as in '{kind}:30'")
    return int(count) if count else None


def _superpixels(picture: np.ndarray, count: int | None) -> np.ndarray:
    """SLIC (Achanta et al. 2012) by scikit-image, on the picture; about 50 by default."""
    from skimage.segmentation import slic

    labels: np.ndarray = slic(picture, n_segments=count or 50, compactness=10, start_label=0)
    return labels


def _segments(picture: np.ndarray, most: int | None) -> np.ndarray:
    """Areas of like color (Felzenszwalb & Huttenlocher 2004, Efficient graph-based image
    segmentation) by scikit-image: the finest that are at most so many.

    A picture of one color, which has no areas, is divided into 4 × 4 cells.
    """
    from skimage.segmentation import felzenszwalb

    most = most or SEGMENTS
    height, width = picture.shape[:2]
    shrunk = min(1.0, SEGMENTED / max(height, width))
    size = (max(1, round(width * shrunk)), max(1, round(height * shrunk)))
    small = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))
    least = max(1, small.shape[0] * small.shape[1] // (9 * most))  # pixels of an area
    scale = FINEST
    labels = felzenszwalb(small, scale=scale, sigma=0.8, min_size=least)
    while labels.max() >= most:
        scale *= COARSER
        labels = felzenszwalb(small, scale=scale, sigma=0.8, min_size=least)
    if not labels.max():
        return grid_regions((height, width), (min(4, height), min(4, width))).labels
    whole = Image.fromarray(labels.astype(np.int32)).resize(
        (width, height), Image.Resampling.NEAREST
    )
    return np.asarray(whole)


# Regions that follow the picture, by name: from the picture and a number that may be left out.
FOLLOWING: dict[str, Callable[[np.ndarray, int | None], np.ndarray]] = {
    "slic": _superpixels,
    "segments": _segments,
}


def _from_masks(
    asked: Boxes | Masks, size: tuple[int, int], geometry: Geometry, own: tuple[int, int]
) -> np.ndarray:
    """Labels (H, W) of masks, and of what they leave."""
    if not is_one_of(asked.rest, RESTS):
        raise unknown("rest of regions", asked.rest, RESTS)
    if not is_one_of(asked.overlap, OVERLAPS):
        raise unknown("overlap of regions", asked.overlap, OVERLAPS)
    masks = asked.masks(size)
    for number, mask in enumerate(masks):
        if not mask.any():
            raise InvalidInput(
                f"region {number} holds no pixel of the picture of {size[1]} × {size[0]}; leave it "
                "out"
            )
    labels = np.full(size, -1)
    if asked.overlap == "refuse" and (masks.sum(axis=0) > 1).any():
        row, column = np.argwhere(masks.sum(axis=0) > 1)[0]
        first, second = np.flatnonzero(masks[:, row, column])[:2]
        raise InvalidInput(
            f"regions {first} and {second} overlap at pixel ({column}, {row}); give "
            "overlap='smaller' to leave shared pixels to the smaller one"
        )
    for number in np.argsort(-masks.sum(axis=(1, 2)), kind="stable"):
        labels[masks[number]] = number
    covered = np.setdiff1d(np.arange(len(masks)), labels)
    if len(covered):
        raise InvalidInput(f"region {covered[0]} is wholly covered by smaller ones; leave it out")
    left = labels < 0
    if left.any():
        if asked.rest == "refuse":
            raise InvalidInput(
                f"the regions leave out {percent_text(left.mean())} of the picture; give rest='one' "
                "to make it one more region, or rest='grid' to divide it"
            )
        labels[left] = len(masks)
        if asked.rest == "grid":
            cells = geometry.labels_to_original(grid_regions(geometry.frame, own).labels)
            labels[left] = len(masks) + np.unique(cells[left], return_inverse=True)[1]
    return labels


def region_boxes(labels: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    """Bounding boxes (left, top, right, bottom) of labels 0 … count-1; `NOWHERE` for one without
    pixels.
    """
    from scipy.ndimage import find_objects

    # One pass for all of them.
    found = find_objects(labels + 1, max_label=count)
    return [
        NOWHERE if at is None else (at[1].start, at[0].start, at[1].stop, at[0].stop)
        for at in found
    ]


def _told(asked: Any) -> str:
    """What was asked for, in few characters; a number of thousands of digits has no text."""
    return shown(asked) if isinstance(asked, int) else str(asked)[:60]
