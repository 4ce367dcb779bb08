"""Pictures in any form, tiles, patches in a list, or a whole beside its parts, by measurement.

Each small frame of such a tensor, a tile or a patch, shows rows and columns of the picture. Which
ones they are is measured with test pictures. What a changed frame is in the tensor follows from
that: the processor's own values stay, and what the frame differs from the untouched one is added,
resampled to every element that shows it.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqa_explain.errors import Unsupported
from vqa_explain.features.geometry import AlignedGeometry, Axis, Geometry
from vqa_explain.models.generative.pixels import (
    followed,
    not_blank,
    pattern,
    resampling,
    rough_cells,
)
from vqa_explain.models.measuring import PictureReader

Make = Callable[[np.ndarray], Tensor]  # a picture (H, W, 3) uint8 → the tensor that shows it
Size = tuple[int, int]

OWN_CHANNEL = 0.98  # the least share of a primary color's change that must be in its own channel
ROUNDED = 0.02  # the share of a pattern's change that is rounding
STRAY = 0.35  # how far an element may lie from its row or column, in steps of elements
NEAR = 0.05  # how near an element must be to one of the frame to have its value, in steps
ALIKE = 0.05  # by what share scales may differ that are one
ON_GRID = 0.4  # how well elements must lie on an even grid: 1 if all do, 0 if none
SCALE_JUMP = 0.15  # by how much, in logarithms, one scale must differ from the next
SCALE_SHARE = 0.15  # the least share of small frames that have a scale of their own
EDGE = 0.75  # how near the edge, in pixels of the picture, places may be cut off
BLUR = 1e-3  # by what share of a side a place may be measured wrong
MOST_PRODUCTS = 2**26  # of rows and columns that are sampled at once
MOST_TIMES = 4  # how often a picture may stand in a patch, as in those of videos


@dataclass(frozen=True, eq=False)
class Form:
    """Which elements of a tensor are which pixel of which small frame.

    Attributes:
        shape: the tensor's.
        at: of each group of small frames, (T, N, 3, h, w) int64 places in the flat tensor, for T
            repetitions in time. All of a group show the picture at one scale.
    """

    shape: tuple[int, ...]
    at: tuple[Tensor, ...]

    def split(self, values: Tensor) -> list[Tensor]:
        """Of each group, the small frames (N, 3, h, w) of a tensor of this shape."""
        return [values.reshape(-1)[group[0]] for group in self.at]

    def joined(self, frames: Tensor) -> Tensor:
        """(B, *shape) tensors of all small frames (B, S, 3, h, w); 0 where no picture shows."""
        flat = frames.new_zeros(len(frames), math.prod(self.shape))
        parts = frames.split([group.shape[1] for group in self.at], dim=1)
        for group, part in zip(self.at, parts, strict=True):
            for once in group:
                flat = flat.index_copy(1, once.flatten().to(flat.device), part.flatten(1))
        return flat.reshape(-1, *self.shape)


def find_forms(make: Make, size: Size) -> Iterator[Form]:
    """The forms that the tensor that shows pictures (H, W) may have, the simplest first.

    Raises:
        Unsupported: no arrangement fits, such as that colors are mixed in it.
    """
    dark, bright, primaries = _probes(make, size)
    changes = (bright - dark) != 0
    fitting = 0
    for at in _arrangements(changes):
        shown = changes.reshape(-1)[at[0]].flatten(2).any(dim=2)  # (G, N): the others are padding
        groups = tuple(group[:, own] for group, own in zip(at.unbind(1), shown, strict=True))
        form = Form(tuple(dark.shape), tuple(group for group in groups if group.shape[1]))
        if all(_own_share(one, form, k) >= OWN_CHANNEL for k, one in enumerate(primaries)):
            fitting += 1
            yield form
    if not fitting:
        raise _unknown(tuple(dark.shape))


def _probes(make: Make, size: Size) -> tuple[Tensor, Tensor, list[Tensor]]:
    """What a processor makes of two opposite pictures, and what each color alone changes.

    The pictures are black and white. Where each picture is standardized these become the same, and
    a pattern and the same upside down are told apart instead: mean and deviation are equal.

    Raises:
        Unsupported: the tensor's shape depends on what the picture shows.
    """
    black = np.zeros((*size, 3), dtype=np.uint8)
    plain, mark, other = black, black + 255, black
    if standardizes(make, size):
        plain, mark = black + 128, pattern(size)
        other = mark[::-1, ::-1].copy()
    dark, bright = make(other), make(mark)
    if dark.shape != bright.shape:
        raise _unknown(tuple(dark.shape))
    primaries = []
    for channel in range(3):
        sides = []
        for shown in (mark, other):
            picture = plain.copy()
            picture[:, :, channel] = shown[:, :, channel]
            sides.append(make(picture))
        primaries.append((sides[0] - sides[1]).abs())
    return dark, bright, primaries


def standardizes(make: Make, size: Size) -> bool:
    """Whether black and white pictures (H, W) become the same: each is standardized by itself."""
    black, mark = np.zeros((*size, 3), dtype=np.uint8), pattern(size)
    plain = (make(black + 255) - make(black)).abs().max()
    return bool(plain <= ROUNDED * (make(mark) - make(255 - mark)).abs().max())


def _unknown(shape: tuple[int, ...]) -> Unsupported:
    return Unsupported(
        f"the processor gives a picture as a tensor {shape}, in which its colors and pixels cannot "
        "be told apart; give a larger picture, or wrap the network in vqa_explain.CustomModel"
    )


def _own_share(change: Tensor, form: Form, channel: int) -> float:
    """The share of a primary color's change that is in the channel of that number."""
    flat = change.reshape(-1)
    own = sum(float(flat[group[:, :, channel]].sum()) for group in form.at)
    return own / max(float(change.sum()), 1e-300)


def _arrangements(changes: Tensor) -> Iterator[Tensor]:
    """Every arrangement (T, G, N, 3, h, w) that a tensor's shape allows.

    Args:
        changes: the tensor's elements that depend on the picture, bool.
    """
    shape = changes.shape
    places = torch.arange(changes.numel()).reshape(shape)
    if changes.ndim >= 3 and shape[-3] == 3:
        yield places.reshape(1, -1, 1, *shape[-3:])
    if changes.ndim >= 3 and shape[-1] == 3:
        yield places.movedim(-1, -3).reshape(1, -1, 1, 3, shape[-3], shape[-2])
    if changes.ndim >= 3 and shape[-3] == 3:
        yield from _strips(places)
    if changes.ndim < 2:
        return
    varying = torch.nonzero(changes.reshape(-1, shape[-1]).any(dim=0)).flatten()
    if not len(varying):
        return
    first, count = int(varying[0]), int(varying[-1] - varying[0]) + 1
    patches = places[..., first : first + count].reshape(-1, shape[-2], count)
    for times in range(1, MOST_TIMES + 1):
        side = math.isqrt(count // (3 * times))
        if 3 * times * side**2 != count:
            continue
        # channel, time, y, x; time, channel, y, x; time, y, x, channel
        yield patches.unflatten(2, (3, times, side, side)).permute(3, 0, 1, 2, 4, 5)
        yield patches.unflatten(2, (times, 3, side, side)).permute(2, 0, 1, 3, 4, 5)
        yield patches.unflatten(2, (times, side, side, 3)).permute(2, 0, 1, 5, 3, 4)


def _strips(places: Tensor) -> Iterator[Tensor]:
    """The square patches of a tensor (…, 3, h, w) in which they stand in one row or column."""
    height, width = places.shape[-2:]
    flat = places.reshape(-1, 3, height, width)
    if width > height and width % height == 0:
        yield flat.unflatten(3, (-1, height)).permute(0, 3, 1, 2, 4)[None]
    if height > width and height % width == 0:
        yield flat.unflatten(2, (-1, width)).permute(0, 2, 1, 3, 4)[None]


@dataclass(frozen=True, eq=False)
class Sampling:
    """How the rows and columns of a frame become those of small frames.

    Attributes:
        rows, columns: (R, H') and (C, W') weights of the frame's rows and columns.
        row_of, column_of: (S, h) and (S, w), which of them each small frame has.
    """

    rows: Tensor
    columns: Tensor
    row_of: Tensor
    column_of: Tensor

    def small(self, frame: Tensor) -> Tensor:
        """(B, S, 3, h, w) of a frame (B, 3, H', W')."""
        rows, columns = self.rows.to(frame), self.columns.to(frame)
        all_of_them = rows @ frame @ columns.T
        row_of, column_of = self.row_of.to(frame.device), self.column_of.to(frame.device)
        found = all_of_them[:, :, row_of[:, :, None], column_of[:, None, :]]
        return found.transpose(1, 2)


@dataclass(frozen=True, eq=False)
class Followed:
    """One picture in a tensor of any form.

    Attributes:
        name: the tensor.
        exact: what the processor gave for it.
        frame: (1, 3, H', W') the picture as finely as the tensor shows it.
        follower: what was measured of the processor.
        counted, others: see `pixels.Layout`.
    """

    name: str
    exact: Tensor
    frame: Tensor
    follower: "Follower"
    counted: bool = False
    others: tuple[Tensor, ...] = ()

    @property
    def geometry(self) -> AlignedGeometry:
        return self.follower.geometry

    @property
    def grid(self) -> Size:
        return rough_cells((self.frame.shape[2], self.frame.shape[3]))

    def given_as(self, given: Mapping[str, Tensor]) -> "Followed":
        """The same picture in tensors of another number type, or on another device."""
        exact = given[self.name]
        return replace(self, exact=exact, frame=self.frame.to(exact))

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        """(B, …) what the processor gave, and what the frames (B, 3, H', W') add to it."""
        return {self.name: self.plus(self.follower.change(self.frame, frames))}

    def plus(self, change: Tensor) -> Tensor:
        """(B, …) what the processor gave, and a change of the frame (B, 3, H', W')."""
        changed = self.exact + self.follower.added(change)
        return not_blank(changed) if self.exact.ndim > 3 else changed


@dataclass(frozen=True, eq=False)
class FollowedTogether:
    """One picture in several tensors, such as the whole of it and its tiles.

    Attributes:
        finest: the tensor with the smallest elements, whose frame is the picture's.
        coarser: the others, whose frames follow that one.
        gains: by name, how many times as much as the finest each of those answers to a change,
            (3,) by channel.
        counted, others: see `pixels.Layout`.
    """

    finest: Followed
    coarser: tuple[Followed, ...]
    gains: Mapping[str, Tensor]
    counted: bool = False
    others: tuple[Tensor, ...] = ()

    @property
    def frame(self) -> Tensor:
        return self.finest.frame

    @property
    def grid(self) -> Size:
        return self.finest.grid

    @property
    def geometry(self) -> AlignedGeometry:
        return self.finest.geometry

    def given_as(self, given: Mapping[str, Tensor]) -> "FollowedTogether":
        """See `Followed`."""
        finest = self.finest.given_as(given)
        coarser = tuple(one.given_as(given) for one in self.coarser)
        return replace(self, finest=finest, coarser=coarser)

    def values(self, frames: Tensor, places: Sequence[Geometry]) -> dict[str, Tensor]:
        """(B, …) each tensor: what the processor gave, and what frames (B, 3, H', W') add."""
        found = self.finest.values(frames, places)
        change = frames - self.finest.frame
        for one in self.coarser:
            gain = self.gains[one.name].to(change)[:, None, None]
            found[one.name] = one.plus(gain * followed(change, self.geometry, one.geometry))
        return found


def follow_together(parts: Sequence[Followed], gains: Mapping[str, Tensor]) -> FollowedTogether:
    """One picture in several tensors; `gains` are those of `pixels.gains_of`."""
    finest, *coarser = sorted(parts, key=lambda one: math.prod(one.geometry.extents))
    relative = {one.name: gains[one.name] / gains[finest.name] for one in coarser}
    return FollowedTogether(finest, tuple(coarser), relative)


class Follower:
    """What was measured of one processor for pictures of one size.

    Args:
        make: a picture → the tensor that shows it, alone.
        picture: (H, W, 3) uint8, the first of its size.
        name: the model, for errors.

    Attributes:
        geometry: where the frame lies in the picture.

    Raises:
        Unsupported: the tensor has no form in which the picture can be followed.
        InvalidInput: the processor draws random numbers, or moves pixels in other ways that cannot
            be followed.
    """

    def __init__(self, make: Make, picture: np.ndarray, name: str) -> None:
        self._make, self._size = make, (picture.shape[0], picture.shape[1])
        self._form, self._reader, groups, (rows, columns) = self._found_form(picture, name)
        height, width = self._form.at[0].shape[-2:]
        self._axes = list(zip(rows, columns, strict=True))
        self._shows = torch.cat(
            [torch.from_numpy(group.inside).reshape(-1, height, width) for group in groups]
        )
        self._finest = tuple(min(axes[side].extent for axes in self._axes) for side in (0, 1))
        frame = [max(1, round(s / e)) for s, e in zip(self._size, self._finest, strict=True)]
        self._frame: Size = (frame[0], frame[1])
        self._sampling = self._sampled()
        self.geometry = AlignedGeometry(
            *(
                Axis(axis.size, axis.centers, axis.extent, weights.sum(dim=0).numpy() > 0)
                for axis, weights in zip(
                    self._frame_axes(), (self._sampling.rows, self._sampling.columns), strict=True
                )
            )
        )
        levels = [self._small(make(np.full_like(picture, level))) for level in (0, 255)]
        self._standardizes = standardizes(make, self._size)
        self._offset = self._typical(levels[0])
        self._gain = self._typical(levels[1] - levels[0])

    def _found_form(
        self, picture: np.ndarray, name: str
    ) -> tuple[Form, PictureReader, tuple[Geometry, ...], list[list[Axis]]]:
        """The first form whose small frames show rows and columns, and where these lie."""
        refused: Unsupported | None = None
        for form in find_forms(self._make, self._size):
            # Parts of a picture continue each other, so that all together tell their grid best.
            alone = len(form.at) == form.at[0].shape[1] == 1
            prepare = partial(self._shown_groups, form)
            reader = PictureReader(prepare, name, lined_up=alone)
            groups = reader.locate(picture, prepare(picture))
            height, width = form.at[0].shape[-2:]
            try:
                axes = [
                    snapped([a for one in groups for a in _axes_of(one, height, width, side)])
                    for side in (0, 1)
                ]
            except Unsupported as error:
                refused = error
                continue
            return form, reader, groups, axes
        assert refused is not None  # `find_forms` raises where there is none
        raise refused

    def read(self, name: str, exact: Tensor, picture: np.ndarray) -> Followed:
        """The layout of a picture.

        Args:
            name: the tensor that shows it.
            exact: what the processor gave for it.
            picture: (H, W, 3) uint8.

        Raises:
            Unsupported: the tensor has another shape than that of the picture alone.
            InvalidInput: the processor moves the pixels of this picture otherwise.
        """
        if tuple(exact.shape) != self._form.shape:
            raise Unsupported(
                f"the processor gives a picture as {tuple(exact.shape)} among others and as "
                f"{self._form.shape} alone, which no adapter can follow; give one picture"
            )
        values = self._make(picture)
        # The network may compute with fewer digits than its processor gives.
        if not torch.allclose(values.to(exact), exact, atol=1e-5):
            raise Unsupported(
                "the processor shows a picture otherwise among several than alone, which no "
                "adapter can follow; give one picture"
            )
        self._reader.locate(picture, _groups_of(self._form, values))
        frame = self._with_own_values(self._resized(picture), self._small(values))
        return Followed(name, exact, frame.to(exact), self)

    def change(self, frame: Tensor, others: Tensor) -> Tensor:
        """(B, 3, H', W') what a tensor shows of frames (B, 3, H', W') besides (1, 3, H', W').

        Where the processor standardizes each picture, so are these: to the mean and deviation of
        that one, which it has by now. That is exact up to what resizing does to a deviation.
        """
        if not self._standardizes:
            return others - frame
        mean, deviation = _mean_and_deviation(frame)
        own_mean, own_deviation = _mean_and_deviation(others)
        return (others - own_mean) * (deviation / own_deviation) + mean - frame

    def added(self, change: Tensor) -> Tensor:
        """(B, …) what a change of the frame (B, 3, H', W') is in the tensor."""
        frames = self._sampling.small(change) * self._shows[:, None].to(change)
        return self._form.joined(frames)

    def _shown_groups(self, form: Form, picture: np.ndarray) -> tuple[Tensor, ...]:
        """`_groups_of` what the processor makes of a picture."""
        return _groups_of(form, self._make(picture))

    def _small(self, values: Tensor) -> Tensor:
        """(S, 3, h, w) all small frames of a tensor."""
        return torch.cat(self._form.split(values))

    def _frame_axes(self) -> tuple[Axis, Axis]:
        rows, columns = (
            Axis.resized(size, length, length)
            for size, length in zip(self._size, self._frame, strict=True)
        )
        return rows, columns

    def _sampled(self) -> Sampling:
        weights, numbers = [], []
        for side, source in enumerate(self._frame_axes()):
            starts: dict[tuple[object, ...], int] = {}
            parts: list[Tensor] = []
            own = []
            for axes in self._axes:
                axis = axes[side]
                # Patches of one row share their rows, those of one column their columns.
                key = (axis.centers.round(6).tobytes(), axis.inside.tobytes(), axis.extent)
                if key not in starts:
                    starts[key] = len(axis.centers) * len(parts)
                    parts.append(resampling(source, axis))
                own.append(torch.arange(len(axis.centers)) + starts[key])
            weights.append(torch.cat(parts))
            numbers.append(torch.stack(own))
        if len(weights[0]) * len(weights[1]) > MOST_PRODUCTS:
            raise Unsupported(
                f"the processor cuts a picture into {len(self._axes)} parts on no common grid, "
                "which no adapter can follow; wrap the network in vqa_explain.CustomModel"
            )
        return Sampling(weights[0], weights[1], numbers[0], numbers[1])

    def _typical(self, frames: Tensor) -> Tensor:
        """(3, 1, 1) the median of small frames (S, 3, h, w) over what shows the picture."""
        shown = frames.transpose(0, 1)[:, self._shows]
        return shown.median(dim=1).values[:, None, None]

    def _resized(self, picture: np.ndarray) -> Tensor:
        """(1, 3, H', W') the picture in the tensor's units."""
        values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
        resized = F.interpolate(values, self._frame, mode="bilinear", antialias=True)
        if self._standardizes:
            mean, deviation = _mean_and_deviation(values)
            return (resized - mean) / deviation
        return self._offset + self._gain * resized

    def _with_own_values(self, frame: Tensor, small: Tensor) -> Tensor:
        """The frame with the processor's own values wherever an element is one of the frame's."""
        found = frame.clone()
        (rows, near_rows), (columns, near_columns) = (
            _whole_places([axes[s] for axes in self._axes], self._finest[s], self._frame[s])
            for s in (0, 1)
        )
        near = self._shows.numpy() & near_rows[:, :, None] & near_columns[:, None, :]
        which, row, column = near.nonzero()
        # Of an element that several of them show, numpy keeps the last one's value.
        own = small.to(found).numpy()[which, :, row, column].T
        found[0].numpy()[:, rows[which, row], columns[which, column]] = own
        return found


def _mean_and_deviation(frames: Tensor) -> tuple[Tensor, Tensor]:
    """(B, 1, 1, 1) each, of frames (B, 3, H, W); a picture of one color has a small deviation."""
    flat = frames.flatten(1)
    least = 1 / (255 * math.sqrt(flat.shape[1]))
    deviation = flat.var(dim=1, correction=0).clamp_min(least**2).sqrt()
    return flat.mean(dim=1)[:, None, None, None], deviation[:, None, None, None]


def _groups_of(form: Form, values: Tensor) -> tuple[Tensor, ...]:
    """(1, 3, N · h, w) of each group of a tensor, its small frames below each other."""
    return tuple(group.transpose(0, 1).flatten(1, 2)[None] for group in form.split(values))


def _axes_of(geometry: Geometry, height: int, width: int, side: int) -> list[Axis]:
    """The rows (side 0) or columns (1) of the picture that each small frame of a group shows.

    Args:
        geometry: of the group, its small frames (height, width) below each other.

    Raises:
        Unsupported: they show no rows and columns, but the picture turned or warped; or it has too
            few of them to be told apart.
    """
    places = geometry.centers.reshape(-1, height, width, 2)[..., side]
    inside = geometry.inside.reshape(-1, height, width)
    size = geometry.original[side]
    across = 2 - side  # the axis along which all elements show the same row, or column
    along = np.ma.masked_array(places, ~inside)
    middle: Any = np.ma.median(along, axis=across)  # type: ignore[no-untyped-call]
    seen: Any = inside.any(axis=across)
    found: list[Axis] = [Axis(size, middle[0].filled(0.0), 0.0, seen[0])] * len(middle)
    for alike in _of_one_scale(middle):
        extent = _mean_step(middle[alike])
        stray = np.abs(along[alike] - np.expand_dims(middle[alike], across)).max()
        allowed = max(STRAY * extent, BLUR * size)
        if extent == 0 or math.isnan(extent):
            raise _too_small(geometry.original, side)
        if extent < 0 or np.ma.is_masked(stray) or float(stray) > allowed:
            raise Unsupported(
                "the processor turns or warps parts of the picture, which no adapter can follow; "
                "wrap the network in vqa_explain.CustomModel"
            )
        for number in alike:
            found[number] = Axis(size, middle[number].filled(0.0), extent, seen[number])
    return found


def _too_small(size: Size, side: int) -> Unsupported:
    """What is said of a picture (H, W) whose rows (side 0) or columns (1) are all one place."""
    lines, along = (("rows", "high"), ("columns", "wide"))[side]
    return Unsupported(
        f"the {lines} of a picture {size[1]} × {size[0]} cannot be told apart in the parts that "
        f"the processor cuts it into; give one that is more than {size[side]} "
        f"{'pixel' if size[side] == 1 else 'pixels'} {along}"
    )


def _of_one_scale(places: np.ma.MaskedArray) -> list[np.ndarray]:
    """The numbers of those of several axes (N, F) that have one scale each.

    A list of patches may hold those of the whole picture, and behind them those of its parts. Of
    a picture that is much enlarged, steps within a patch are too small to be told: then all have
    one scale.
    """
    # The median, since places at the picture's edge may be cut off.
    steps = np.array([_median_step(row) for row in places])
    typical = np.nanmedian(steps) if np.isfinite(steps).any() else 0.0
    if not typical > 0:
        return [np.arange(len(places))]
    known = np.where(np.isfinite(steps) & (steps > 0), steps, typical)
    order = np.argsort(known, kind="stable")
    jumps = np.flatnonzero(np.diff(np.log(known[order])) > SCALE_JUMP) + 1
    found = list(np.split(order, jumps))
    clear = all(
        np.ptp(np.log(known[alike])) < SCALE_JUMP and len(alike) >= SCALE_SHARE * len(places)
        for alike in found
    )
    return found if clear else [order]


def _mean_step(places: np.ma.MaskedArray) -> float:
    """The mean distance of neighbors along each of several axes (N, F), nan if there are none."""
    sums, counts = 0.0, 0
    for row in places:
        own = row.compressed()
        if len(own) > 1:
            sums, counts = sums + float(own[-1] - own[0]), counts + len(own) - 1
    return sums / counts if counts else float("nan")


def _median_step(places: np.ma.MaskedArray) -> float:
    """The median distance of neighbors along one axis (F,), nan if there are none."""
    own = places.compressed()
    return float(np.median(np.diff(own))) if len(own) > 1 else float("nan")


def snapped(axes: list[Axis]) -> list[Axis]:
    """The axes with their elements on one even grid per scale, where they lie on one.

    They are measured one by one, and processors resize a picture before they cut it: parts of it
    continue each other.
    """
    found = list(axes)
    waiting = list(range(len(axes)))
    while waiting:
        extent = axes[waiting[0]].extent
        alike = [n for n in waiting if abs(axes[n].extent / extent - 1) < ALIKE]
        waiting = [n for n in waiting if n not in set(alike)]
        size = axes[alike[0]].size
        places = np.concatenate([axes[n].centers[axes[n].inside] for n in alike]) / size
        # Those at the edge of an enlarged picture are cut off.
        within = (places * size > EDGE) & (places * size < size - EDGE)
        places = places[within] if within.any() else places
        about = size / float(np.median([axes[n].extent for n in alike]))
        counts = np.arange(max(1, int(about * 0.97) - 2), int(about * 1.03) + 3)
        phases = [np.exp(2j * np.pi * places * count).mean() for count in counts]
        best = int(np.argmax(np.abs(phases)))
        if abs(phases[best]) < ON_GRID:
            continue
        count, shift = int(counts[best]), float(np.angle(phases[best]) / (2 * np.pi))
        for n in alike:
            if not axes[n].inside.any():  # it shows too little to say where it lies
                continue
            numbers = np.arange(len(axes[n].centers))
            at = axes[n].centers / size * count - numbers
            start = round(float(at[axes[n].inside].mean()) - shift) + shift
            found[n] = Axis(size, (start + numbers) * size / count, size / count, axes[n].inside)
    return found


def _whole_places(axes: Sequence[Axis], step: float, length: int) -> tuple[np.ndarray, np.ndarray]:
    """(S, F) the element of a frame on which each of S axes lies, and whether it lies just there."""
    at = np.stack([axis.centers for axis in axes]) / step - 0.5
    nearest = np.clip(np.rint(at), 0, length - 1)
    near = np.stack([axis.inside for axis in axes]) & (np.abs(at - nearest) < NEAR)
    extents = np.array([axis.extent for axis in axes])
    near &= (np.abs(extents / step - 1) < NEAR / max(1, length))[:, None]
    return nearest.astype(np.int64), near
