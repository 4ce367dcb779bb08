"""The blocks of a network: which they are, where their sequences hold each input, and what happens
when their states are changed.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.methods.base import Task
from vqa_explain.models.attending import Stepwise
from vqa_explain.models.base import Leaves, best_answers, check_finite
from vqa_explain.models.inside import altered, path_of_layer, watched
from vqa_explain.models.maps import check_layer
from vqa_explain.target import Answer

REST = "readout"  # positions that belong to no input: special tokens, and where the answer is read
# What a layer gives in each of its runs, in their order.
Runs = Sequence[Tensor]
Change = Callable[[int, Tensor], Tensor]  # number of the run, what the layer gave → what goes on


@dataclass(frozen=True, eq=False)
class Blocks:
    """The blocks that an example passes, one after the other.

    Attributes:
        task: what is asked.
        paths: of the blocks.
        groups: input name → the positions of its words or cells in each block's sequence.
        length: of the sequence, without what stands behind a prompt.
    """

    task: Task
    paths: tuple[str, ...]
    groups: Mapping[str, np.ndarray]
    length: int

    @classmethod
    def of(cls, task: Task, asked: Any) -> "Blocks":
        """The blocks that were asked for, by path or as layers, or those that the model's default
        layer is one of.

        Raises:
            InvalidInput: there is no such layer, or its sequence holds no input.
            Unsupported: the network is no row of blocks over one sequence.
        """
        if getattr(task.model, "at_once", None) is not None:
            raise Unsupported(
                f"model {task.model.name!r} takes a fixed number of examples at a time, so that "
                "its layers cannot be changed one example at a time"
            )
        module = task.model.module
        if isinstance(asked, str | nn.Module):
            asked = [asked]
        paths = _usual(task) if asked is None else [path_of_layer(module, one) for one in asked]
        if not paths:
            raise InvalidInput("blocks= is empty; name at least one layer")
        for path in paths:
            check_layer(module, path)
        outputs = outputs_of(task, paths, task.leaves())
        shapes = {tuple(outputs[path][0].shape[1:]) if outputs[path] else () for path in paths}
        shape = next(iter(shapes))
        if len(shapes) > 1 or len(shape) != 2:
            told = ", ".join(map(str, sorted(shapes)[:3]))
            raise Unsupported(
                f"the blocks of model {task.model.name!r}, such as {paths[0]!r}, give {told} for "
                "one example, which is no one sequence of positions; vx.layer_values reads single "
                "layers"
            )
        length = shape[0]
        if isinstance(task.model, Stepwise):
            length = min(length, task.model.prompt_length(task.encoded))
        return cls(task, tuple(paths), _groups(task, paths[-1], length), length)

    @property
    def rest(self) -> np.ndarray:
        """The positions that belong to no input."""
        known = np.concatenate([np.empty(0, dtype=int), *self.groups.values()])
        return np.setdiff1d(np.arange(self.length), known)

    def by_group(self, runs: Runs) -> list[float]:
        """The sum of values (R, N, D) of each run over each group, and over all other positions."""
        rows = [in_float64(one).sum(dim=0).sum(dim=-1).numpy() for one in runs]
        total = float(sum(one.sum() for one in rows))
        found = [float(rows[0][positions].sum()) for positions in self.groups.values()]
        return [*found, total - sum(found)]


def _usual(task: Task) -> list[str]:
    """The paths of the blocks beside the model's default layer; else of the longest row of layers
    that are alike.

    Raises:
        Unsupported: the network has no such row.
    """
    module = task.model.module
    try:
        path = task.model.default_layer(task.encoded)
    except Unsupported:  # as of a model that sees no picture
        path = ""
    home, _, name = path.rpartition(".")
    if not home or not name.isdigit():
        rows = [
            (sum(1 for _ in part.children()), path)
            for path, part in module.named_modules()
            if _is_row(part)
        ]
        if not rows:
            raise Unsupported(
                f"model {task.model.name!r} has no row of blocks that are alike; name them with "
                "blocks=[…]"
            )
        home = max(rows)[1]
    return [f"{home}.{name}" for name, _ in module.get_submodule(home).named_children()]


def _is_row(part: nn.Module) -> bool:
    """Whether it is a list of several layers of one class that have layers themselves."""
    if not isinstance(part, nn.ModuleList | nn.Sequential) or len(part) < 2:
        return False
    return len({type(one) for one in part}) == 1 and any(True for _ in part[0].children())


def _groups(task: Task, path: str, length: int) -> dict[str, np.ndarray]:
    """Input name → positions of what a person sees of it, such as words and not special tokens."""
    where = task.model.positions(task.encoded, length, path)
    found = {}
    for one in task.encoded.inputs:
        positions = where.of.get(one.name, np.empty(0, dtype=int))
        owner = task.players.of[one.name].division.owner
        if owner.ndim == 1 and len(owner) >= len(positions):  # a text's special tokens are left out
            positions = positions[owner[: len(positions)] >= 0]
        if len(positions):
            found[one.name] = positions
    return found


@torch.no_grad()
def outputs_of(task: Task, paths: Iterable[str], leaves: Leaves) -> dict[str, list[Tensor]]:
    """What each layer gives for one example in each of its runs, by one counted pass."""
    with watched(task.model.module, paths) as outputs:
        check_finite(task.model.scores(task.encoded, leaves), "the model's answer")
    task.cost.forwards += 1
    return {
        path: [one for one in runs if isinstance(one, Tensor)] for path, runs in outputs.items()
    }


@torch.no_grad()
def scores_with(task: Task, path: str, change: Change, leaves: Leaves | None = None) -> Tensor:
    """(1, K) float64 scores of the example with what a layer gives changed, counted."""
    number = -1

    def in_order(output: Tensor) -> Tensor:
        nonlocal number
        number += 1
        return change(number, output)

    with altered(task.model.module, path, in_order):
        found = task.model.scores(task.encoded, task.leaves() if leaves is None else leaves)
    task.cost.forwards += 1
    scores = in_float64(found)
    check_finite(scores, "the model's answer with changed states")
    return scores


def patched(states: Runs, positions: Any) -> Change:
    """The change that gives some positions other states, in the layer's first run."""

    def change(number: int, output: Tensor) -> Tensor:
        if number:
            return output
        other = output.clone()
        other[:, positions] = states[0][:, positions].to(other)
        return other

    return change


def replaced_by(states: Runs) -> Change:
    """The change that gives a layer other states altogether, in each of its runs."""

    def change(number: int, output: Tensor) -> Tensor:
        return states[number] if number < len(states) else output

    return change


def best_of(task: Task, scores: Tensor) -> Answer:
    """The best answer of scores (1, K)."""
    return best_answers(task.model.kind, task.encoded, scores, 1)[0]
