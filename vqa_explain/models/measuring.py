"""Where the elements of a network's input lie in the picture, found by sending test pictures
through.

A processor or transform is called, never read: pictures of waves go through it, and the phase with
which a wave arrives at an element says which place of the picture the element shows (phase
shifting, Zuo et al. 2018, doi:10.1016/j.optlaseng.2018.04.019, section 2). Each wave is taken less
its negative, so that what a transform adds, or multiplies by, cancels. An element at which no wave
arrives is padding.
"""

import pickle
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_erosion
from torch import Tensor

from vqa_explain._precision import equal_tensors, in_float64
from vqa_explain._shown import percent_text
from vqa_explain.errors import InvalidInput
from vqa_explain.features.geometry import AlignedGeometry, Axis, Geometry, ScatteredGeometry
from vqa_explain.features.regions import grid_regions

# A picture (H, W, 3) uint8 → frames (1, C, H', W'), or whatever else shows it, such as tiles.
Prepare = Callable[[np.ndarray], Sequence[Tensor]]

# Number of waves across a side of the picture. The coarse one has less than one period, so each
# place has its own phase. The fine one is six times as exact; the coarse one tells which period
# applies.
COARSE, FINE = 0.9, 6.0
# Sides up to this many pixels need no fine wave: eight bits of brightness place an element in
# them to 0.02 pixels.
SHORT = 64
# Black and white that differ by less than this share of a wave's strength are the same.
FAINT = 0.05
# A wave that arrives with less than this share of its strength is that of padding.
WEAKEST = 0.5
# Shares of elements that must show what the geometry says: of a test picture, and of a mark in the
# picture itself, whose sharpened or rounded edges may differ.
AGREE, AGREE_ON_PICTURE = 0.98, 0.9
# Brightness of the marks that are put into a picture.
MARK = 64
TRIES = 3  # calls that must all move a random state before a transform counts as random
# The least share of a frame's variance over CELLS × CELLS cells that the picture must explain,
# unless
# it is plain: no cells differ by more than PLAIN levels of brightness.
EXPLAINED, CELLS, PLAIN = 0.45, 12, 32
KEPT = 32  # picture sizes whose geometry is kept


class PictureReader:
    """Reads pictures as a network does, and knows where each element of its input lies.

    Args:
        prepare: what makes the network's input of a picture (H, W, 3) uint8: frames (1, C, H', W').
        name: the model, for errors.
        lined_up: whether a frame's elements lie in rows and columns of an even grid where they do
            so nearly; else each lies where it was measured.
    """

    def __init__(self, prepare: Prepare, name: str, lined_up: bool = True) -> None:
        self.prepare, self._name, self._lined_up = prepare, name, lined_up
        self._known: OrderedDict[tuple[int, int], _Measured] = OrderedDict()

    def read(self, picture: np.ndarray) -> tuple[Tensor, Geometry]:
        """The first frame of a picture, and its geometry: see `locate`."""
        self._measure(picture)
        frames = self.prepare(picture)
        return frames[0], self.locate(picture, frames)[0]

    def _measure(self, picture: np.ndarray) -> "_Measured":
        """What is known of pictures of this one's size."""
        size = (picture.shape[0], picture.shape[1])
        if size not in self._known:
            _refuse_random(self.prepare, picture, self._name)
            geometries = measure(self.prepare, size, self._name, self._lined_up)
            marks = Blocks.of(size, geometries, density=0.3)
            arrive = tuple(marks.expected(geometry) for geometry in geometries)
            self._known[size] = _Measured(geometries, marks, arrive)
        self._known.move_to_end(size)
        if len(self._known) > KEPT:
            self._known.popitem(last=False)
        return self._known[size]

    def locate(self, picture: np.ndarray, frames: Sequence[Tensor]) -> tuple[Geometry, ...]:
        """Where the frames of a picture lie in it, measured once for each size.

        Raises:
            InvalidInput: the transform draws random numbers, does not look at the picture, moves
                pixels in a way that cannot be followed, or moves them depending on what the
                picture shows.
        """
        known = self._measure(picture)
        sizes = [tuple(frame.shape[-2:]) for frame in frames]
        if [geometry.frame for geometry in known.geometries] != sizes:
            raise InvalidInput(
                f"the transform of model {self._name!r} gives {sizes} for this image and "
                f"{[geometry.frame for geometry in known.geometries]} for others of its size; make "
                "its result depend on the size alone"
            )
        for frame, geometry in zip(frames, known.geometries, strict=True):
            if _explained(picture, frame, geometry) < EXPLAINED:
                raise self._moved()
        self._check_on(picture, frames, known)
        return known.geometries

    def _moved(self) -> InvalidInput:
        return InvalidInput(
            f"the transform of model {self._name!r} moves the pixels of this image otherwise than "
            "those of test pictures of its size, so values have no place in it; use a transform "
            "whose crop depends on the size alone"
        )

    def _check_on(self, picture: np.ndarray, frames: Sequence[Tensor], known: "_Measured") -> None:
        """Marks put into this picture must arrive where test pictures say, whatever it shows."""
        marked, strong = _marked(picture, known.marks)
        together = zip(frames, self.prepare(marked), known.geometries, known.arrive, strict=True)
        for before, after, geometry, (there, certain) in together:
            clear = certain & (~there | (geometry.labels_to_frame(strong.view(np.int8)) == 1))
            if not (there & clear).any() or not (~there & clear).any():
                continue
            change = _beyond_a_scale(_gray(before), _gray(after), ~there & clear)
            limit = 0.25 * np.median(change[there & clear])
            found = change > limit
            agreeing = min(found[there & clear].mean(), (~found[~there & clear]).mean())
            if limit <= 0 or agreeing < AGREE_ON_PICTURE:
                raise self._moved()


def _explained(picture: np.ndarray, frame: Tensor, geometry: Geometry) -> float:
    """The share of a frame's variance, over cells, that the picture at its places explains, 0 to 1.

    One for a picture or a frame that is plain, in which there is nothing to be out of place.
    """
    inside = binary_erosion(geometry.inside, border_value=1)  # at its edge, padding shines through
    if not inside.any():
        return 1.0
    channels = [geometry.sampled(picture[:, :, channel])[inside] for channel in range(3)]
    sides = zip(geometry.original, geometry.frame, strict=True)
    # Cells of several pixels and elements, so that how a transform smooths does not matter.
    rows, columns = (max(1, min(CELLS, size // 8, length // 4)) for size, length in sides)
    grid = (rows, columns)
    numbers = np.unique(grid_regions(geometry.frame, grid).labels[inside], return_inverse=True)[1]
    counts = np.bincount(numbers)
    causes = np.stack([np.bincount(numbers, c) / counts for c in channels], axis=1)
    found = np.bincount(numbers, _gray(frame)[inside]) / counts
    if np.ptp(causes, axis=0).max() < PLAIN or len(counts) < 9 or not np.isfinite(found).all():
        return 1.0
    design = np.column_stack([causes, np.ones(len(causes))])
    residual = found - design @ np.linalg.lstsq(design, found, rcond=None)[0]
    return 1.0 - float(residual.var() / max(found.var(), 1e-300))


def _beyond_a_scale(before: np.ndarray, after: np.ndarray, untouched: np.ndarray) -> np.ndarray:
    """(H', W') how much a frame changed, but for a scale and shift of what was left untouched.

    A transform that standardizes each picture scales and shifts all of it when a part changes.
    """
    known, became = before[untouched], after[untouched]
    spread = known.var()
    scale = ((known - known.mean()) * became).mean() / spread if spread > 1e-12 else 1.0
    result: np.ndarray = np.abs(after - became.mean() - scale * (before - known.mean()))
    return result


def _refuse_random(prepare: Prepare, picture: np.ndarray, name: str) -> None:
    """Refuses a transform that draws random numbers; what it drew is given back.

    Another thread may draw at the same time, so only what moves the state each time is refused.

    Raises:
        InvalidInput: Python's, numpy's or torch's global random state moves with every call.
    """
    if all(_draws(prepare, picture) for _ in range(TRIES)):
        raise InvalidInput(
            f"the transform of model {name!r} has a random step: it draws random numbers, so the "
            "same image may give another input each time; use the transform of evaluation"
        )
    first, second = prepare(picture), prepare(picture)
    if not all(equal_tensors(one, other) for one, other in zip(first, second, strict=True)):
        raise InvalidInput(
            f"the transform of model {name!r} gives another input each time for the same image; "
            "use one without random steps"
        )


def _draws(prepare: Prepare, picture: np.ndarray) -> bool:
    """Whether a global random state moves during one call; it is put back if so."""
    own, arrays, tensors = random.getstate(), np.random.get_state(), torch.get_rng_state()
    prepare(picture)
    moved = False
    if random.getstate() != own:
        random.setstate(own)
        moved = True
    if pickle.dumps(np.random.get_state()) != pickle.dumps(arrays):
        np.random.set_state(arrays)
        moved = True
    if not torch.equal(torch.get_rng_state(), tensors):
        torch.set_rng_state(tensors)
        moved = True
    return moved


def measure(
    prepare: Prepare, size: tuple[int, int], name: str, lined_up: bool = True
) -> tuple[Geometry, ...]:
    """The geometry of each frame of pictures (H, W); `lined_up` as for `PictureReader`.

    Raises:
        InvalidInput: a frame does not depend on the picture, or not in a way that can be followed.
    """
    sides = [side for side in (0, 1) if size[side] > 1]
    signs = _signs(prepare, size)
    waves = {side: _along(prepare, size, side, signs) for side in sides}
    flat = [] if sides else _difference(prepare, np.full(size, 255.0))
    found: list[Geometry] = []
    for number in range(len(flat or waves[sides[0]])):
        strengths = [waves[side][number][1] for side in sides] or [np.abs(flat[number])]
        strength = np.mean(strengths, axis=0)
        nowhere = np.full(strength.shape, 0.5)  # a side of one pixel has one place
        places = [waves[side][number][0] if side in waves else nowhere for side in (0, 1)]
        strongest = float(strength.max(initial=0.0))
        if not np.isfinite(strength).all() or strongest <= 0:
            raise InvalidInput(
                f"the transform of model {name!r} gives the same for every image, or no finite "
                "numbers"
            )
        inside = strength >= WEAKEST * strongest
        if lined_up:
            found.append(_geometry(size, (places[0], places[1]), inside))
        else:
            found.append(ScatteredGeometry(size, np.stack(places, axis=-1), inside))
    geometries = tuple(found)
    _verify(prepare, size, geometries, signs, name)
    return geometries


def _signs(prepare: Prepare, size: tuple[int, int]) -> list[int]:
    """Of each frame, -1 if brighter pictures give lower numbers, else 1."""
    bright = 200 + 55 * np.random.default_rng(0).random(size)
    found = []
    for change in _difference(prepare, bright):
        # Of a transform that takes the mean off, nothing is left but noise about 0.
        clear = abs(change.sum()) > 0.5 * np.abs(change).sum()
        found.append(-1 if clear and change.sum() < 0 else 1)
    return found


def _along(
    prepare: Prepare, size: tuple[int, int], side: int, signs: Sequence[int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each frame, where its elements (H', W') lie along one side, in pixels, and how strong."""
    length = size[side]
    cycles = min(COARSE, 0.15 * length)  # so that neighboring pixels are less than a quarter apart
    coarse = _wave(prepare, size, side, cycles)
    # Half a wave has a mean, which a transform that standardizes each picture takes off.
    needs_fine = length > SHORT or _takes_brightness_off(prepare, size, coarse)
    fine = _wave(prepare, size, side, FINE) if needs_fine else coarse
    found = []
    for slow, fast, sign in zip(coarse, fine, signs, strict=True):
        slow, fast = sign * slow, sign * fast
        turns = np.angle(slow) / (2 * np.pi) % 1.0
        turns = np.where(turns > (1 + cycles) / 2, turns - 1, turns)
        place = turns / cycles
        if needs_fine:
            turns = np.angle(fast) / (2 * np.pi)
            place = (np.round(place * FINE - turns) + turns) / FINE
        found.append((np.clip(place, 0, 1) * length, np.abs(slow)))
    return found


def _takes_brightness_off(
    prepare: Prepare, size: tuple[int, int], waves: Sequence[np.ndarray]
) -> bool:
    """Whether black and white are nearly the same, unlike what `waves` give."""
    flat = _difference(prepare, np.full(size, 255.0))
    pairs = zip(flat, waves, strict=True)
    return all(np.abs(one).max() < FAINT * np.abs(wave).max() for one, wave in pairs)


def _wave(prepare: Prepare, size: tuple[int, int], side: int, cycles: float) -> list[np.ndarray]:
    """Of each frame (H', W') complex: strength and phase with which a wave along one side
    arrives.
    """
    angles = 2 * np.pi * cycles * (np.arange(size[side]) + 0.5) / size[side]
    across = (slice(None), None) if side == 0 else (None, slice(None))
    real, imaginary = (
        _difference(prepare, np.broadcast_to((127.5 + 127.5 * values)[across], size))
        for values in (np.cos(angles), np.sin(angles))
    )
    return [a + 1j * b for a, b in zip(real, imaginary, strict=True)]


def _difference(prepare: Prepare, gray: np.ndarray) -> list[np.ndarray]:
    """Of each frame (H', W'), what a gray picture (H, W) and its negative differ by."""
    picture = np.repeat(np.rint(gray).astype(np.uint8)[:, :, None], 3, axis=2)
    light, dark = prepare(picture), prepare(255 - picture)
    if [frame.shape for frame in light] != [frame.shape for frame in dark]:
        raise InvalidInput(
            "the transform gives frames whose number or size depends on what the image shows; make "
            "them depend on its size alone"
        )
    return [_gray(one) - _gray(other) for one, other in zip(light, dark, strict=True)]


def _gray(frame: Tensor) -> np.ndarray:
    """(H', W') float64, the mean over channels."""
    return in_float64(frame.detach())[0].mean(dim=0).numpy()


def _geometry(
    size: tuple[int, int], places: tuple[np.ndarray, np.ndarray], inside: np.ndarray
) -> Geometry:
    """Rows and columns where the frame has them, and single points where it has not."""
    rows = inside.sum(axis=1) > inside.sum(axis=1).max() / 2
    columns = inside.sum(axis=0) > inside.sum(axis=0).max() / 2
    # Where a picture was padded before it was resized, its corners are weaker than its sides.
    odd = inside ^ (rows[:, None] & columns[None, :])
    odd[np.ix_(~_inner(rows), ~_inner(columns))] = False
    if not odd.any():
        along_rows = _axis(size[0], places[0], rows, columns)
        along_columns = _axis(size[1], places[1].T, columns, rows)
        if along_rows is not None and along_columns is not None:
            return AlignedGeometry(along_rows, along_columns)
    return ScatteredGeometry(size, np.stack(places, axis=-1), inside)


def _inner(inside: np.ndarray) -> np.ndarray:
    """(F,) bool: which elements are inside with both of their neighbors."""
    wide = np.pad(inside, 1)
    result: np.ndarray = inside & wide[2:] & wide[:-2]
    return result


def _axis(size: int, places: np.ndarray, own: np.ndarray, other: np.ndarray) -> Axis | None:
    """The axis of places (F, G) that differ along F alone; `None` where they do not.

    `own` (F,) and `other` (G,) say which are inside.
    """
    within = places[np.ix_(own, other)]
    centers = np.full(len(own), np.nan)
    centers[own] = np.median(within, axis=1)
    steps = np.abs(np.diff(centers[own]))
    extent = float(np.median(steps)) if len(steps) else float(size)
    if np.abs(within - centers[own][:, None]).max() > 0.3 * max(extent, 1.0):
        return None
    exact = _resized(size, centers, own)
    if exact is not None:
        return exact
    return Axis(size, _continued(centers, own), min(extent, float(size)), own)


def _continued(centers: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The centers (F,), those of padding going on in steps as large as between the others."""
    numbers = np.flatnonzero(own)
    step = float(np.median(np.diff(centers[own]))) if len(numbers) > 1 else 0.0
    nearest = numbers[np.abs(np.arange(len(own))[:, None] - numbers).argmin(axis=1)]
    result: np.ndarray = centers[nearest] + (np.arange(len(own)) - nearest) * step
    return result


def _resized(size: int, centers: np.ndarray, inside: np.ndarray) -> Axis | None:
    """The resizing and crop, in whole pixels, that places these centers (F,);
    `None` if none does.
    """
    length, numbers = len(centers), np.flatnonzero(inside)
    found = centers[inside]
    candidates = [(length, 0), (len(found), -int(numbers[0]))]
    # Near the ends, smoothing bends the line, and enlarging stops at the last pixel's center.
    middle = (found > 1.5) & (found < size - 1.5)
    if middle.sum() >= 3:
        slope = np.polyfit(numbers[middle], found[middle], 1)[0]
        guess = round(size / slope) if slope > 0 else 0
        for scaled in range(max(1, guess - 3), guess + 4):
            offset = np.median(found[middle] * scaled / size - numbers[middle] - 0.5)
            candidates.append((scaled, round(float(offset))))
    errors = []
    for scaled, offset in candidates:
        axis = Axis.resized(size, scaled, length, offset)
        expected = np.clip(axis.centers[inside], 0.5, size - 0.5)
        error = np.abs(expected - np.clip(found, 0.5, size - 0.5))
        step = max(1.0, axis.extent)
        fits = error.max() <= 0.35 * step and np.array_equal(axis.inside, inside)
        if middle.any():
            fits = fits and error[middle].max() <= 0.12 * step
        errors.append((float(error[middle].mean() if middle.any() else error.mean()), axis) if fits
                      else (np.inf, axis))  # fmt: skip
    best = min(range(len(errors)), key=lambda i: (round(errors[i][0], 2), i))
    return None if not np.isfinite(errors[best][0]) else errors[best][1]


def _verify(
    prepare: Prepare,
    size: tuple[int, int],
    geometries: tuple[Geometry, ...],
    signs: Sequence[int],
    name: str,
) -> None:
    """A picture of blocks must arrive as the geometries say."""
    blocks = Blocks.of(size, geometries, density=0.5)
    changes = _difference(prepare, blocks.picture())
    for arrived, geometry, sign in zip(changes, geometries, signs, strict=True):
        there, clear = blocks.expected(geometry)
        if not clear.any():
            continue
        agreeing = float(((sign * arrived > 0) == there)[clear].mean())
        if agreeing < AGREE:
            raise InvalidInput(
                f"the transform of model {name!r} moves pixels in a way that cannot be followed: "
                f"of a test picture of {size[1]} × {size[0]}, {percent_text(1 - agreeing)} arrives "
                "elsewhere than measured; use another transform, such as Resize and CenterCrop"
            )


@dataclass(frozen=True, eq=False)
class Blocks:
    """Random blocks of a picture.

    Attributes:
        rows, columns: (n + 1,) and (m + 1,), the pixels at which blocks begin, and the picture's
            ends.
        drawn: (n, m) bool, the blocks.
    """

    rows: np.ndarray
    columns: np.ndarray
    drawn: np.ndarray

    @classmethod
    def of(cls, size: tuple[int, int], geometries: Sequence[Geometry], density: float) -> "Blocks":
        """Blocks of a picture (H, W) that are some elements wide in every frame."""
        counts = []
        for axis, side in enumerate(size):
            elements = min(int(g.inside.any(axis=1 - axis).sum()) for g in geometries)
            counts.append(int(np.clip(min(side // 12, elements // 8), 1, 8)))
        drawn = np.random.default_rng(0).random((counts[0], counts[1])) < density
        drawn.flat[0], drawn.flat[-1] = True, False
        rows, columns = (
            np.arange(count + 1) * side // count for count, side in zip(counts, size, strict=True)
        )
        return cls(rows, columns, drawn)

    def spans(self) -> Iterator[tuple[slice, slice]]:
        """Rows and columns of each block that is drawn."""
        for row, column in np.argwhere(self.drawn):
            yield (
                slice(int(self.rows[row]), int(self.rows[row + 1])),
                slice(int(self.columns[column]), int(self.columns[column + 1])),
            )

    def picture(self) -> np.ndarray:
        """(H, W) 255 in blocks, else 0."""
        gray = np.zeros((int(self.rows[-1]), int(self.columns[-1])))
        for span in self.spans():
            gray[span] = 255
        return gray

    def expected(self, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
        """(H', W') bool: where a block shows, and where that is certain."""
        near = [
            _near(edges, max(1.0, extent))
            for edges, extent in zip((self.rows, self.columns), geometry.extents, strict=True)
        ]
        far = ~(near[0][:, None] | near[1][None, :])
        clear = (geometry.labels_to_frame(far.astype(np.int8)) == 1) & geometry.inside
        return geometry.labels_to_frame(self.picture()) == 255, clear


def _near(edges: np.ndarray, extent: float) -> np.ndarray:
    """(size,) bool: which pixels of a side are within one and a half elements of an inner edge."""
    pixels = np.arange(edges[-1]) + 0.5
    inner = edges[1:-1]
    if not len(inner):
        return np.zeros(len(pixels), dtype=bool)
    near: np.ndarray = np.abs(pixels[:, None] - inner).min(axis=1) < 1.5 * extent + 0.5
    return near


@dataclass(frozen=True, eq=False)
class _Measured:
    """What is known of one picture size: geometries, marks,
    and where these arrive in each frame.
    """

    geometries: tuple[Geometry, ...]
    marks: Blocks
    arrive: tuple[tuple[np.ndarray, np.ndarray], ...]


def _marked(picture: np.ndarray, marks: Blocks) -> tuple[np.ndarray, np.ndarray]:
    """The picture with marks, and (H, W) bool where they change its brightness much.

    A block is made brighter or darker as a whole, so that pixels that are merged do not cancel.
    """
    marked = picture.copy()
    strong = np.zeros(picture.shape[:2], dtype=bool)
    for span in marks.spans():
        block = picture[span]
        brighter, darker = np.minimum(block, 255 - MARK) + MARK, np.maximum(block, MARK) - MARK
        changed = brighter if block.mean() < 127.5 else darker
        marked[span] = changed
        strong[span] = np.abs(changed.astype(np.int16) - block).mean(axis=2) > MARK / 2
    return marked, strong
