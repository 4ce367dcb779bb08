"""`patch`: where inside a network the difference between two examples is carried."""

import csv
import io
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vqa_explain._precision import in_float64
from vqa_explain._shown import percent_text
from vqa_explain.asking import asked_example
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, is_one_of, unknown
from vqa_explain.examples import Example
from vqa_explain.explaining import AskedTarget
from vqa_explain.features.base import Found
from vqa_explain.files import write_atomically
from vqa_explain.inside.asking import Asked, asked_task, encoded_like, names_of
from vqa_explain.inside.blocks import REST, Blocks, best_of
from vqa_explain.inside.drawn import Drawn
from vqa_explain.inside.edits import Edit, scores_of, seen_at
from vqa_explain.inside.heads import copied
from vqa_explain.methods.base import Task
from vqa_explain.models.base import Model, check_finite
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.heads import Place, heads_of_block
from vqa_explain.models.inside import Unit
from vqa_explain.target import Answer, Target, quoted

LEAST = 1e-6  # of the scores' size: a smaller difference has no shares


@dataclass(frozen=True, eq=False)
class Patched(Drawn):
    """How much of the difference between two examples copying single states carries over.

    `plot` draws blocks from top to bottom and groups from left to right, in the color of their
    share.

    Attributes:
        blocks: the paths of the L blocks.
        groups: what the states belong to: an input's words, each one by itself; an input without
            words, such as a picture, as a whole; and "readout" for all other positions. Or heads.
        shares: (L, G) the share of the difference that is carried over when these states of one
            block become the other example's. 1 is all of it.
        becomes: for each block, what the model answers with the states of each group.
        clean, other: what the model answers to the two examples.
        difference: the score of the other example less that of the clean one.
        target: what the score is of.
        cost: examples through the model forward, and seconds.
    """

    figure: ClassVar[str] = "patch figure"

    blocks: tuple[str, ...]
    groups: tuple[str, ...]
    shares: Float[np.ndarray, "L G"]
    becomes: tuple[tuple[Answer, ...], ...]
    clean: Answer
    other: Answer
    difference: float
    target: str
    cost: Cost

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each block and group: the share, and the answer with its states."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(("block", "layer", "group", "share", "answer"))
        for (number, column), share in np.ndenumerate(self.shares):
            answer = self.becomes[number][column].text
            named = (number, self.blocks[number], self.groups[column])
            rows.writerow((*named, repr(float(share)), answer))
        return write_atomically(path, text.getvalue().encode())

    def __repr__(self) -> str:
        lines = [
            f"“{self.clean.text}” becomes “{self.other.text}”: {self.target} changes by "
            f"{self.difference:+.3f}; the largest share carried by one group of states:"
        ]
        for number, shares in enumerate(self.shares):
            column = int(np.argmax(shares))
            lines.append(f"  block {number}: {self.groups[column]}, {percent_text(shares[column])}")
        return "\n".join(lines)


def patch(
    model: Model,
    clean: Example,
    other: Example,
    *,
    target: AskedTarget | None = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    blocks: Sequence[Any] | None = None,
    of: Literal["positions", "heads"] = "positions",
) -> Patched:
    """How much of the difference between two examples, such as another color or another word, is
    carried over by copying the states of single words, of the picture, or of the readout from the
    one to the other, behind each block; or what each attention head gives at all positions.

    The states are the other example's; the rest of the clean example stays.

    Args:
        model: what `vqa_explain.load` gave.
        clean: the example whose states are changed.
        other: the example that they are taken from. Its inputs must align: as many tokens, and a
            picture of the same size.
        target: the answer whose score is compared; by default the model's answer to the clean
            example, less its answer to the other one.
        contrast, score, answers: as `explain` takes them.
        blocks: the paths of the blocks, in order, or the layers themselves; by default the row of
            blocks that the model's default layer is in.
        of: "positions", or "heads" of each block.

    Raises:
        InvalidInput: the examples do not align, or the score does not tell them apart.
        Unsupported: the network is no row of blocks over one sequence, or lets nobody look inside.
    """
    for one in (clean, other):
        if not isinstance(one, Example):
            raise InvalidInput(
                f"clean= and other= are examples, such as vx.Example(image, question), not "
                f"{type(one).__name__}"
            )
    if isinstance(target, Unit):
        raise InvalidInput("patch compares scores of answers; give an answer as target=")
    if not is_one_of(of, MAKERS):
        raise unknown("kind of states: of=", str(of), MAKERS)
    began = time.perf_counter()
    asked = Asked(target, contrast, score, answers)
    with asked_task(model, clean, None, asked, "patch") as (task, _):
        row = Blocks.of(task, blocks)
        encoded = encoded_like(task, asked_example(model, other, None))
        _check_alike(task.encoded, encoded)
        ends = _ends(task, encoded)
        mine, theirs = best_of(task, ends[:1]), best_of(task, ends[1:])
        goal = _goal(task, asked, mine, theirs)
        scores = goal(ends)
        difference = float(scores[1] - scores[0])
        if abs(difference) <= LEAST * max(1.0, float(scores.abs().max())):
            raise InvalidInput(
                f"the score of {_named(task, goal)} is the same for both examples, so that there "
                "is no difference to carry over; give another target="
            )
        groups, edits = MAKERS[of](row, encoded)
        found = scores_of(task, edits)
        shape = (len(row.paths), len(groups))
        shares = ((goal(found) - scores[0]) / difference).numpy().reshape(shape)
        texts = [best_of(task, one[None]) for one in found]
        task.cost.seconds = time.perf_counter() - began
        return Patched(
            row.paths,
            groups,
            shares,
            tuple(tuple(texts[i : i + shape[1]]) for i in range(0, len(texts), shape[1])),
            mine,
            theirs,
            difference,
            _named(task, goal),
            task.cost,
        )


def _check_alike(clean: Encoded, other: Encoded) -> None:
    """Checks that two examples have the same inputs, of the same sizes."""
    names = [[one.name for one in encoded.inputs] for encoded in (clean, other)]
    if names[0] != names[1]:
        raise InvalidInput(
            f"the examples have the inputs {', '.join(names[0])} and {', '.join(names[1])}; "
            "patching needs the same inputs"
        )
    for one, its in zip(clean.inputs, other.inputs, strict=True):
        if one.shape != its.shape:
            raise InvalidInput(
                f"input {one.name!r} has elements {one.shape} in the clean example and {its.shape} "
                "in the other one, so that their states do not align; choose examples with as many "
                "tokens and pictures of one size"
            )


@torch.no_grad()
def _ends(task: Task, other: Encoded) -> Tensor:
    """(2, K) float64 scores of both examples, counted."""
    ends = [
        in_float64(task.model.scores(one, task.model.leaves(one))) for one in (task.encoded, other)
    ]
    task.cost.forwards += 2
    scores = torch.cat(ends)
    check_finite(scores, "the model's answer")
    return scores


def _goal(task: Task, asked: Asked, mine: Answer, theirs: Answer) -> Target:
    """The score that was asked for; else the lead of the clean answer over the other one."""
    if asked.target is not None or asked.contrast is not None or mine.index == theirs.index:
        return task.target
    return Target(mine.index, theirs.index, task.target.score, kind=task.model.kind)


def _named(task: Task, goal: Target) -> str:
    return f"{goal.score.replace('_', ' ')} of {quoted(*names_of(task, goal))}"


def _positions(task: Task, row: Blocks) -> dict[str, np.ndarray]:
    """What states belong to → their positions: each word, each other input, and the rest."""
    found: dict[str, np.ndarray] = {}
    where = task.model.positions(task.encoded, row.length, row.paths[-1])
    for one in task.encoded.inputs:
        if one.name not in row.groups:
            continue
        division = task.players.of[one.name].division
        if division.owner.ndim != 1:
            found[one.name] = row.groups[one.name]
            continue
        positions = where.of[one.name]
        owner = division.owner[: len(positions)]
        zeros = Found(
            one.name, np.zeros(one.shape), division, np.zeros(division.count), None, False
        )
        players = one.feature.carry(one.content, zeros).players
        for number, player in enumerate(players):
            own = positions[owner == number]
            if len(own):
                found[_unused(player.text, found)] = own
    rest = row.rest
    return {**found, REST: rest} if len(rest) else found


def _unused(text: str, known: Mapping[str, Any]) -> str:
    """The text, with a number where a word occurs again."""
    count = 2
    name = text
    while name in known or name == REST:
        name = f"{text} ({count})"
        count += 1
    return name


def _copied(place: Place, states: Tensor, positions: np.ndarray) -> Edit:
    """The edit that takes states (N, D) of some positions from the other example."""
    where = torch.from_numpy(positions)

    def change(own: Tensor) -> Tensor:
        found = own.clone()
        found[where] = states[where].to(found)
        return found

    return Edit(place, change)


Edits = tuple[tuple[str, ...], list[Edit]]  # what states belong to, and its edits block by block


def _of_positions(row: Blocks, other: Encoded) -> Edits:
    """The edits that copy the states of each word, of each other input and of the rest."""
    groups = _positions(row.task, row)
    places = [Place(path) for path in row.paths]
    states = seen_at(row.task, places, other)
    edits = [_copied(place, states[place], where) for place in places for where in groups.values()]
    return tuple(groups), edits


def _of_heads(row: Blocks, other: Encoded) -> Edits:
    """The edits that copy what each head gives.

    Raises:
        Unsupported: heads cannot be told apart, or blocks have different numbers of them.
    """
    heads = [heads_of_block(row.task.model.module, path) for path in row.paths]
    counts = {one.count for one in heads}
    if len(counts) > 1:
        raise Unsupported(
            f"the blocks of model {row.task.model.name!r} have {min(counts)} to {max(counts)} "
            "heads; name blocks that have as many with blocks=[…]"
        )
    states = seen_at(row.task, [one.place for one in heads], other)
    edits = [copied(one, head, states[one.place]) for one in heads for head in range(one.count)]
    return tuple(f"head {head}" for head in range(heads[0].count)), edits


MAKERS = {"positions": _of_positions, "heads": _of_heads}
