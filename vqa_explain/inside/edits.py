"""Many changes of states inside a network, each of one example, in few passes."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain.errors import Unsupported
from vqa_explain.methods.base import Task
from vqa_explain.models.base import check_finite
from vqa_explain.models.heads import Place, changed
from vqa_explain.models.inside import is_one_by_one

AT_ONCE = 32  # changed examples in one pass of the network


@dataclass(frozen=True, eq=False)
class Edit:
    """One change of one example's states.

    Attributes:
        place: where.
        change: (N, D) states of one row → those in their place.
        every_run: whether states of an answer, which run behind a prompt, are changed too.
    """

    place: Place
    change: Callable[[Tensor], Tensor]
    every_run: bool = False


@torch.no_grad()
def scores_of(task: Task, edits: Sequence[Edit]) -> Tensor:
    """(E, K) float64 scores of the example with each of E edits alone, counted.

    Raises:
        Unsupported: a layer does not run once for each example.
    """
    size = 1 if is_one_by_one(task.model) else AT_ONCE
    found = [_scores(task, edits[first : first + size]) for first in range(0, len(edits), size)]
    scores = torch.cat(found)
    check_finite(scores, "the model's answer with changed states")
    return scores


def _scores(task: Task, edits: Sequence[Edit]) -> Tensor:
    rows: dict[Place, list[tuple[int, Edit]]] = defaultdict(list)
    for row, edit in enumerate(edits):
        rows[edit.place].append((row, edit))
    with ExitStack() as hooks:
        for place, some in rows.items():
            change = _in_rows(task, place, some, len(edits))
            hooks.enter_context(changed(task.model.module, place, change))
        count = len(edits)
        leaves = {name: leaf.expand(count, *leaf.shape[1:]) for name, leaf in task.leaves().items()}
        found = task.model.scores(task.encoded, leaves)
    task.cost.forwards += count
    return in_float64(found)


def _in_rows(
    task: Task, place: Place, edits: Sequence[tuple[int, Edit]], count: int
) -> Callable[[Tensor], Tensor]:
    """The change of states (B, N, D) by edits of single rows."""
    alone = is_one_by_one(task.model)
    runs = 0

    def change(states: Tensor) -> Tensor:
        nonlocal runs
        runs += 1
        if not alone and len(states) != count:
            raise Unsupported(
                f"layer {place.path!r} of model {task.model.name!r} does not run once for each "
                "example, so that its states cannot be changed"
            )
        found = states.clone()
        for row, edit in edits:
            if runs > 1 and not edit.every_run:
                continue
            # Of a model that writes, all rows belong to the one example.
            for own in range(len(states)) if alone else (row,):
                found[own] = edit.change(states[own])
        return found

    return change


@torch.no_grad()
def seen_at(task: Task, places: Sequence[Place], encoded: Any) -> dict[Place, Tensor]:
    """(N, D) the states at each place of one example in the layer's first run, counted."""
    seen: dict[Place, Tensor] = {}

    def note(place: Place) -> Callable[[Tensor], Tensor]:
        def keep(states: Tensor) -> Tensor:
            seen.setdefault(place, states[0].detach().clone())
            return states

        return keep

    with ExitStack() as hooks:
        for place in places:
            hooks.enter_context(changed(task.model.module, place, note(place)))
        task.model.scores(encoded, task.model.leaves(encoded))
    task.cost.forwards += 1
    return seen
