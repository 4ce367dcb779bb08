"""Which state of a layer shows which cell of the frame, found by changing cells and looking.

A layer's output has no names on its axes: a number of tokens that happens to be a square need not
be a grid, and the last axis of a map may be its columns or its channels. So some cells of the frame
are changed, and the states that change most are compared with those that should.
"""

import math
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.features.regions import grid_regions

States = Callable[[Tensor], Tensor]  # pixels (B, C, H', W') → states (B, N, …) or maps

# How well the states that should change most must stand out, as the area under the ROC curve: 1 if
# each of them changes more than every other, one half if they are like the others.
CLEAR = 0.9
# States of trained networks mix, so that single cells stand out less there. This area is enough if
# quarters of the frame stand out. States in any other order have an area near one half, and
# quarters near 1.
MIXED = 0.7
OWN_QUARTER = 1.5  # times as much as by another quarter's change
PROBES = 2  # changed frames beside the frame itself: three forward passes of what is looked at
BALANCED = 20  # times that rows and columns are brought to sum to 1
ROOM = 5  # tokens of its own that a vision transformer may have before or behind its patches

Grid = tuple[int, int]


def frames_with_changes(pixels: Tensor, grid: Grid) -> tuple[Tensor, np.ndarray]:
    """The frame and others with some cells changed (1 + PROBES, C, H', W'), and which (PROBES,
    cells).
    """
    rng = np.random.default_rng(0)
    cells = grid_regions((pixels.shape[2], pixels.shape[3]), grid)
    some = max(1, cells.count // 8)
    frames, chosen = [pixels[0]], np.zeros((PROBES, cells.count), dtype=bool)
    for row in chosen:
        row[rng.choice(cells.count, some, replace=False)] = True
        mask = torch.from_numpy(row[cells.labels]).to(pixels.device)
        frames.append(torch.where(mask, _other(pixels, rng), pixels[0]))
    return torch.stack(frames), chosen


def _other(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """(C, H', W') the frame turned over about its mean, and noise,
    so that a plain one changes too.
    """
    noise = torch.from_numpy(rng.normal(size=pixels.shape[1:])).to(pixels)
    spread = pixels.std(correction=0)
    return 2 * pixels[0].mean() - pixels[0] + (2 * spread + 0.1) * noise


def standing_out(changes: np.ndarray, chosen: np.ndarray) -> float:
    """The smallest area under the ROC curve of changes (PROBES,
    cells) of the cells that were chosen.
    """
    worst = 1.0
    for row, expected in zip(changes, chosen, strict=True):
        ours, theirs = row[expected], row[~expected]
        if not len(ours) or not len(theirs):
            continue
        above = (ours[:, None] > theirs).mean() + 0.5 * (ours[:, None] == theirs).mean()
        worst = min(worst, float(above))
    return worst


def sizes_of_changes(states: Tensor) -> np.ndarray:
    """(PROBES, N) how much each state (1 + PROBES, N, …) differs from that of the frame itself."""
    values = in_float64(states.detach()).flatten(2)
    return (values[1:] - values[:1]).abs().sum(dim=2).numpy()


def shows_cells(states: States, pixels: Tensor, grid: Grid) -> bool:
    """Whether states (B, rows · columns, D) are the cells of the grid in raster order."""
    frames, chosen = frames_with_changes(pixels, grid)
    with torch.no_grad():
        found = sizes_of_changes(states(frames))
    if found.shape != chosen.shape:
        return False
    clear = standing_out(found, chosen)
    if chosen.shape[1] == 1 or clear >= CLEAR:
        return True
    return clear >= MIXED and min(grid) > 1 and _quarters_in(states, pixels, grid) >= OWN_QUARTER


def cells_in_sequence(
    states: States, pixels: Tensor, length: int, grids: Sequence[Grid]
) -> tuple[int, Grid] | None:
    """The first patch, and the grid, of a sequence (B, N, D); `None` if it holds no grid.

    Args:
        states: the sequence of a layer, for frames.
        pixels: (1, C, H', W').
        length: N.
        grids: grids that the network is known to make, to choose among.
    """
    fitting = [grid for grid in dict.fromkeys(grids) if 0 <= length - grid[0] * grid[1] <= ROOM]
    best: tuple[float, int, Grid] | None = None
    for grid in fitting:
        if grid[0] * grid[1] < 2:
            continue
        frames, chosen = frames_with_changes(pixels, grid)
        with torch.no_grad():
            found = sizes_of_changes(states(frames))
        for first in range(length - grid[0] * grid[1] + 1):
            clear = standing_out(found[:, first : first + chosen.shape[1]], chosen)
            if clear >= CLEAR and (best is None or clear > best[0]):
                best = clear, first, grid
    if best is not None:
        return best[1:]
    return _mixed_sequence(states, pixels, length, fitting)


def _mixed_sequence(
    states: States, pixels: Tensor, length: int, grids: Sequence[Grid]
) -> tuple[int, Grid] | None:
    """The same of states that have mixed so much that single cells do not stand out, but quarters
    do.

    Quarters cannot tell grids of several shapes apart, so there must be one alone that fits
    exactly.
    """
    exact = [grid for grid in grids if grid[0] * grid[1] == length and min(grid) > 1]
    if len(exact) != 1:
        return None
    return (0, exact[0]) if _quarters_in(states, pixels, exact[0]) > 1 else None


def _quarters_in(states: States, pixels: Tensor, grid: Grid) -> float:
    """How many times as much states (B, rows · columns, D) of a quarter of the grid change by the
    change of that quarter of the frame as by another, at the least.
    """
    frames = _with_each_changed(pixels, (2, 2))
    with torch.no_grad():
        change = sizes_of_changes(states(frames)).reshape(4, *grid)
    return _own_quarter(change, (2, 2))


def channel_order(states: States, pixels: Tensor, shape: Sequence[int]) -> str | None:
    """Whether maps (B, a, b, c) have their channels "first" or "last"; `None` if they are no maps.

    The quarters of the frame are changed one by one. In a map, each changes its own quarter most,
    however large the layer's receptive field; along an axis of channels, all of them change alike.

    Args:
        states: the output of a layer, for frames.
        pixels: (1, C, H', W').
        shape: (a, b, c).
    """
    orders = {"first": ((shape[1], shape[2]), 1), "last": ((shape[0], shape[1]), 3)}
    frame = (pixels.shape[2], pixels.shape[3])
    clear: dict[str, float] = {}
    for name, (grid, channels) in orders.items():
        coarse = (min(2, grid[0]), min(2, grid[1]))
        if grid[0] > frame[0] or grid[1] > frame[1] or coarse == (1, 1):
            continue
        frames = _with_each_changed(pixels, coarse)
        with torch.no_grad():
            found = in_float64(states(frames).detach()).movedim(channels, -1)
        change = (found[1:] - found[:1]).abs().sum(dim=-1).numpy()
        clear[name] = _own_quarter(change, coarse)
    best = max(clear, key=lambda name: clear[name], default=None)
    return best if best is not None and clear[best] > 1 else None


def _with_each_changed(pixels: Tensor, grid: Grid) -> Tensor:
    """The frame, and the frame with each cell of a grid changed (1 + cells, C, H', W')."""
    rng = np.random.default_rng(0)
    cells = grid_regions((pixels.shape[2], pixels.shape[3]), grid)
    other = _other(pixels, rng)
    labels = torch.from_numpy(cells.labels).to(pixels.device)
    changed = [torch.where(labels == cell, other, pixels[0]) for cell in range(cells.count)]
    return torch.stack([pixels[0], *changed])


def _own_quarter(change: np.ndarray, quarters: Grid) -> float:
    """How many times as much a quarter changes by its own change as by another, at the least.

    `change` (quarters, h, w) is what each of them, changed, does to each place.

    Quarters differ in contrast, and places in how much they answer. So rows (what was changed) and
    columns (where) are first brought to sum to 1, again and again (Sinkhorn & Knopp 1967).
    """
    cells = grid_regions(change.shape[1:], quarters)
    share = np.stack([cells.sums(row) for row in change]) / cells.area
    share += 1e-12 * share.max(initial=1e-300)
    for _ in range(BALANCED):
        share = share / share.sum(axis=1, keepdims=True)
        share = share / share.sum(axis=0, keepdims=True)
    own = np.diag(share)
    others = np.where(np.eye(len(share), dtype=bool), -np.inf, share)
    largest = np.maximum(others.max(axis=0), others.max(axis=1))
    return float((own / np.maximum(largest, 1e-300)).min())


def halvings(grid: Grid) -> Iterator[Grid]:
    """A grid, and those that merging 2 × 2 cells again and again makes of it, rounded up."""
    while min(grid) >= 1:
        yield grid
        if max(grid) == 1:
            return
        grid = (math.ceil(grid[0] / 2), math.ceil(grid[1] / 2))
