"""What layers hold, and the gradient of the score there, at points between a baseline and an
example.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.methods.base import Task, rows_of
from vqa_explain.models.attending import Stepwise
from vqa_explain.models.base import Leaves, check_finite
from vqa_explain.models.inside import Runs, altered, is_one_by_one, watched

T = TypeVar("T")
STATES_AT_ONCE = 32  # that replace a layer's in one pass of the network

# Of one run of a layer: what it gave and the gradient there, each (n, R, …) of n points, whose R
# rows belong to one example: several where answers are read in rows of their own.
State = tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Points:
    """The network at n points.

    Attributes:
        scores: (n,) float64, the target's.
        of: path of a layer → the state of each of its runs.
    """

    scores: Tensor
    of: Mapping[str, Sequence[State]]


def points_at(
    task: Task,
    paths: Sequence[str],
    leaves: Leaves,
    inside: AbstractContextManager[Any] | None = None,
) -> Points:
    """What layers hold for leaves (n, …), by one forward and backward pass, counted.

    Args:
        task: what was asked.
        paths: of the layers.
        leaves: of the points; 1 point where examples pass the network singly.
        inside: what the pass runs in, such as rules for gradients.

    Raises:
        InvalidInput: a layer gives no tensor, or the score does not depend on it.
    """
    given = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
    with torch.enable_grad(), inside or nullcontext(), watched(task.model.module, paths) as outputs:
        scores = in_float64(task.target(task.model.scores(task.encoded, given)))
        runs = {path: _runs(task, path, outputs[path], rows_of(leaves)) for path in paths}
        wanted = [one for several in runs.values() for one in several if one.requires_grad]
        slopes: Sequence[Tensor | None] = ()
        if wanted and scores.requires_grad:
            slopes = torch.autograd.grad(scores.sum(), wanted, allow_unused=True)
    check_finite(scores, "the target's score")
    task.cost.forwards += len(scores)
    task.cost.backwards += len(scores)
    known = {id(one): slope for one, slope in zip(wanted, slopes, strict=False)}
    found = {}
    for path, several in runs.items():
        if all(known.get(id(one)) is None for one in several):
            raise _independent(path)
        # A network of a fixed number of rows may have been filled up.
        rows = len(scores) if at_once(task) else None
        found[path] = [_state(one, known.get(id(one)), len(scores), rows) for one in several]
    return Points(scores.detach(), found)


def passed_through(task: Task, path: str, leaves: Leaves, part: Tensor) -> tuple[Leaves, Leaves]:
    """The gradient of the score in leaves (n, …) as far as it runs through some elements of a
    layer, and the whole gradient, by one forward pass, one backward pass, and one more from the layer on.

    Args:
        task: what was asked.
        path: of the layer.
        leaves: of the points.
        part: (…) bool, the elements among what the layer gives for one example.

    Raises:
        InvalidInput: the layer gives no tensor, or the score does not depend on it.
    """
    given = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
    count = rows_of(leaves)
    with torch.enable_grad(), watched(task.model.module, [path]) as outputs:
        scores = in_float64(task.target(task.model.scores(task.encoded, given)))
        # Of a model that writes, behind the prompt's run come those of the answer's tokens.
        runs = [one for one in _runs(task, path, outputs[path], count)[:1] if one.requires_grad]
        over = [*runs, *given.values()]
        slopes: Sequence[Tensor | None] = [None] * len(over)
        if scores.requires_grad:
            slopes = torch.autograd.grad(scores.sum(), over, allow_unused=True, retain_graph=True)
        check_finite(scores, "the target's score")
        task.cost.forwards += count
        task.cost.backwards += count  # and as many from the layer on
        inner, whole = slopes[: len(runs)], slopes[len(runs) :]
        used = [(run, slope) for run, slope in zip(runs, inner, strict=True) if slope is not None]
        if not used:
            raise _independent(path)
        passed = torch.stack([(_only(slope, part) * run).sum() for run, slope in used]).sum()
        through = torch.autograd.grad(passed, list(given.values()), allow_unused=True)
    return _or_zeros(given, through), _or_zeros(given, whole)


def _independent(path: str) -> InvalidInput:
    return InvalidInput(
        f"the score does not depend on layer {path!r}; choose one that it passes through"
    )


def _only(slope: Tensor, part: Tensor) -> Tensor:
    """A slope (B, …), zero outside of some elements (…)."""
    mask = torch.zeros(slope.shape[1:], dtype=slope.dtype, device=slope.device)
    # Behind a prompt stand the answer's positions.
    mask[tuple(slice(0, size) for size in part.shape)] = part.to(mask)
    return slope * mask


def _or_zeros(leaves: Leaves, slopes: Sequence[Tensor | None]) -> Leaves:
    """Leaf by leaf its slope; zeros where there is none."""
    found = {}
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        found[name] = torch.zeros_like(leaf) if slope is None else slope.detach()
        check_finite(found[name], "the gradient")
    return found


def at_once(task: Task) -> int | None:
    """How many examples the network takes; `None` for any number."""
    return getattr(task.model, "at_once", None)


def _state(output: Tensor, slope: Tensor | None, count: int, rows: int | None) -> State:
    slope = torch.zeros_like(output) if slope is None else slope
    output, slope = output[:rows], slope[:rows]
    shape = (count, len(output) // count, *output.shape[1:])
    check_finite(slope, "the gradient")
    return output.detach().reshape(shape), slope.reshape(shape)


def _runs(task: Task, path: str, outputs: Sequence[Any], rows: int) -> list[Tensor]:
    """What a layer gave in each of its runs, a row for each point or several."""
    if is_one_by_one(task.model):
        tensors = [one for one in outputs if isinstance(one, Tensor)]
        if tensors:
            return tensors
    runs = Runs(path, outputs, rows, at_once(task))
    found = [runs.of(number if runs.count > 1 else None) for number in range(runs.count)]
    tensors = [one for one in found if one is not None]
    if len(tensors) < len(found):
        raise Unsupported(
            f"layer {path!r} of model {task.model.name!r} does not run once for each example; "
            "choose a layer behind it"
        )
    return tensors


@dataclass(frozen=True, eq=False)
class Between:
    """The straight line from a baseline to the example.

    Attributes:
        task: what was asked.
        start: the baseline's leaves.
    """

    task: Task
    start: Leaves

    def at(self, places: np.ndarray) -> Leaves:
        """The leaves (n, …) at places (n,) of 0 … 1."""
        found = {}
        for name, leaf in self.task.leaves().items():
            away = leaf - self.start[name]
            place = torch.tensor(places, device=leaf.device, dtype=leaf.dtype)
            found[name] = self.start[name] + place.view(-1, *[1] * (leaf.ndim - 1)) * away
        return found

    def points(
        self, paths: Sequence[str], places: np.ndarray
    ) -> Iterator[tuple[np.ndarray, Points]]:
        """The network at places (n,), some at a time."""
        return self.batches(places, lambda leaves: points_at(self.task, paths, leaves))

    def batches(
        self, places: np.ndarray, work: Callable[[Leaves], T]
    ) -> Iterator[tuple[np.ndarray, T]]:
        """What some work gives for the leaves at places (n,), some at a time."""
        most = 1
        if not is_one_by_one(self.task.model):
            _, most = self.task.whole(self.task.leaves())
        # The states of a pass are seen as the network gives them.
        most = min(most, at_once(self.task) or most)
        for first in range(0, len(places), most):
            some = places[first : first + most]
            leaves = self.at(some)

            def run(rows: slice, leaves: Leaves = leaves) -> tuple[int, T]:
                own = {name: x[rows] for name, x in leaves.items()}
                return rows_of(own), work(own)

            done = 0
            for count, part in self.task.fitting.parts(len(some), run):
                yield some[done : done + count], part
                done += count
            if self.task.progress:
                self.task.progress(first + len(some), len(places))


def conductance(
    path: Between, layers: Sequence[str], steps: int
) -> tuple[dict[str, list[Tensor]], float]:
    """How much of the score's change runs through each element of layers, all of them in one pass
    of integrated gradients.

    That is Σ ½ (g_i + g_{i+1}) (A_{i+1} − A_i) over `steps` equal steps, the trapezoid of
    ∫ ∂f/∂A · dA.

    Args:
        path: from the baseline to the example.
        layers: their paths.
        steps: of the path.

    Returns:
        Path of a layer → the conductance (R, …) float64 of each of its runs; and the score's
        change.
    """
    sums: dict[str, list[Tensor]] = {}
    before: Mapping[str, Sequence[State]] = {}
    ends: list[float] = []
    for _, points in path.points(layers, np.linspace(0, 1, steps + 1)):
        ends += [float(points.scores[0]), float(points.scores[-1])]
        for layer, runs in points.of.items():
            parts = [
                _trapezoid(state, before[layer][number] if before else None)
                for number, state in enumerate(runs)
            ]
            known = sums.get(layer)
            sums[layer] = (
                parts if known is None else [a + b for a, b in zip(known, parts, strict=True)]
            )
        before = {
            layer: [(activation[-1:], slope[-1:]) for activation, slope in runs]
            for layer, runs in points.of.items()
        }
    return sums, ends[-1] - ends[0]


def _trapezoid(state: State, before: State | None) -> Tensor:
    """(R, …) float64, the part of the sum that these points add."""
    activation, slope = state
    if before is not None:
        activation = torch.cat([before[0], activation])
        slope = torch.cat([before[1], slope])
    steps = (slope[1:] + slope[:-1]) * (activation[1:] - activation[:-1]) / 2
    return in_float64(steps).sum(dim=0)


def of_example(task: Task, layer: str, runs: Sequence[Tensor]) -> Tensor:
    """(…) values shaped as the layer's output for one example, of values (R, …) of each run.

    Where a model writes, the prompt's positions alone: what stands behind it is the answer's.

    Raises:
        InvalidInput: the layer runs several times.
    """
    if is_one_by_one(task.model):
        whole = runs[0].sum(dim=0)
        if isinstance(task.model, Stepwise) and whole.ndim == 2:
            return whole[: task.model.prompt_length(task.encoded)]
        return whole
    if len(runs) > 1:
        raise _several(layer, len(runs))
    return runs[0].sum(dim=0)


def _several(layer: str, runs: int) -> InvalidInput:
    return InvalidInput(
        f"layer {layer!r} runs {runs} times in one pass of the network, so that its values have no "
        "one place; choose a layer that runs once, or explain a unit of one run, such as "
        f"target=vx.Unit({layer!r}, 0, run=0)"
    )


def output_at(task: Task, layer: str, leaves: Leaves) -> Tensor:
    """(n, R, …) what a layer gives for leaves (n, …): see `scored_output_at`."""
    return scored_output_at(task, layer, leaves)[1]


def scored_output_at(task: Task, layer: str, leaves: Leaves) -> tuple[Tensor, Tensor]:
    """(n,) scores, and (n, R, …) what a layer gives for leaves (n, …), counted,
    of a layer that runs once; of one that runs for a prompt and then for an answer, for the prompt.

    Raises:
        InvalidInput: it gives no tensor, or runs several times.
        Unsupported: it does not run once for each example.
    """
    with torch.no_grad(), watched(task.model.module, [layer]) as outputs:
        scores = task.score(leaves)
    runs = _runs(task, layer, outputs[layer], rows_of(leaves))
    if len(runs) > 1 and not is_one_by_one(task.model):
        raise _several(layer, len(runs))
    count = rows_of(leaves)
    return scores, runs[0].reshape(count, len(runs[0]) // count, *runs[0].shape[1:])


def score_with(task: Task, layer: str, states: Tensor) -> Tensor:
    """(n,) float64 scores of the example with a layer's output replaced by states (n, R, …),
    counted; differentiable in them.

    Raises:
        Unsupported: the network takes a fixed number of examples at once.
    """
    if at_once(task) is not None:
        raise Unsupported(
            f"model {task.model.name!r} takes {at_once(task)} examples at a time, so that "
            "the states of a layer cannot be replaced; use layer_conductance"
        )
    size = 1 if is_one_by_one(task.model) else STATES_AT_ONCE
    found = []
    for first in range(0, len(states), size):
        some = states[first : first + size]
        leaves = {
            name: leaf.expand(len(some), *leaf.shape[1:]) for name, leaf in task.leaves().items()
        }

        waiting = [some.flatten(0, 1)]  # for the first run of the layer

        def instead(output: Tensor, waiting: list[Tensor] = waiting) -> Tensor:
            return waiting.pop() if waiting else output

        with altered(task.model.module, layer, instead):
            found.append(in_float64(task.target(task.model.scores(task.encoded, leaves))))
    values = torch.cat(found)
    check_finite(values, "the target's score")
    task.cost.forwards += len(values)
    return values
