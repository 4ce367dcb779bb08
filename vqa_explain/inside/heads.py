"""`heads`: what is lost of an answer's score without each attention head."""

import csv
import io
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vqa_explain._numbers import checked_whole
from vqa_explain.cost import Cost
from vqa_explain.explaining import AskedTarget
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.finishing import finish
from vqa_explain.inside.asking import Asked, asked_task, names_of
from vqa_explain.inside.blocks import Blocks, best_of, scores_with
from vqa_explain.inside.drawn import Drawn, OfAnswer
from vqa_explain.inside.edits import Edit, scores_of
from vqa_explain.methods import create
from vqa_explain.methods.base import Task
from vqa_explain.methods.relevance import read_from, row_of, whole_maps
from vqa_explain.models.base import Model
from vqa_explain.models.heads import HeadsOf, heads_of_block
from vqa_explain.target import Answer


def without(heads: HeadsOf, head: int) -> Edit:
    """The edit that sets what a head gives to zero."""

    def change(states: Tensor) -> Tensor:
        found = states.clone()
        found[..., heads.part(head, states)] = 0
        return found

    return Edit(heads.place, change, every_run=True)


def copied(heads: HeadsOf, head: int, other: Tensor) -> Edit:
    """The edit that takes what a head gives at all positions from states (N, D) of another
    example.
    """

    def change(states: Tensor) -> Tensor:
        part = heads.part(head, states)
        found = states.clone()
        # Behind a prompt stand the answer's positions, which stay.
        found[: len(other), part] = other[:, part].to(found)
        return found

    return Edit(heads.place, change)


@dataclass(frozen=True, eq=False)
class Heads(Drawn, OfAnswer):
    """What is lost without each attention head.

    `plot` draws blocks from top to bottom and heads from left to right, in the color of what is
    lost.

    Attributes:
        blocks: the paths of the L blocks.
        lost: (L, H) the score less what it is with that head's output set to zero; NaN where a
            block has fewer heads than others.
        becomes: for each block, what the model answers without each of its heads.
        attention: (L, H, P) how much each head looks from where the answer is read at each of the
            P words and regions, in the order of the inputs' players: shares, of which special
            tokens have the rest. NaN where a block has fewer heads; `None` where the network does
            not show the attention of all blocks.
        looks: the mean over the last block's heads, as an explanation by "attention".
        answer: what the model answers.
        target, contrast, score: whose score it is, less whose (or `None`), and of which kind.
        whole: the score.
        cost: examples through the model forward, and seconds.
    """

    figure: ClassVar[str] = "heads figure"

    blocks: tuple[str, ...]
    lost: Float[np.ndarray, "L H"]
    becomes: tuple[tuple[Answer, ...], ...]
    attention: Float[np.ndarray, "L H P"] | None
    looks: Explanation | None
    answer: Answer
    target: str
    contrast: str | None
    score: str
    whole: float
    cost: Cost

    def top(self, count: int = 10) -> list[tuple[int, int, float]]:
        """The heads of the largest losses and gains: block, head, and what is lost.

        Raises:
            InvalidInput: `count` is no whole number from 1 on.
        """
        count = checked_whole("count", count, 1)
        sizes = np.abs(np.nan_to_num(self.lost))
        order = np.argsort(-sizes, axis=None, kind="stable")[: min(count, len(self))]
        places = [np.unravel_index(one, self.lost.shape) for one in order]
        return [(int(row), int(head), float(self.lost[row, head])) for row, head in places]

    def __len__(self) -> int:
        """How many heads there are in all."""
        return int(np.isfinite(self.lost).sum())

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each head: block and head from 0, the block's path, what is lost, and
        the answer without it.
        """
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(("block", "head", "layer", "lost", "answer without it"))
        for number, answers in enumerate(self.becomes):
            for head, answer in enumerate(answers):
                lost = repr(float(self.lost[number, head]))
                rows.writerow((number, head, self.blocks[number], lost, answer.text))
        return write_atomically(path, text.getvalue().encode())

    def __repr__(self) -> str:
        score = self.score.replace("_", " ")
        lines = [f"{score} of {self.whose} is {self.whole:.3f}; lost without one head:"]
        for number, head, lost in self.top(8):
            text = self.becomes[number][head].text
            other = "" if text == self.answer.text else f", the answer becomes “{text}”"
            lines.append(f"  block {number}, head {head}: {lost:+.3f}{other}")
        return "\n".join(lines)


def heads(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    target: AskedTarget | None = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    blocks: Sequence[Any] | None = None,
) -> Heads:
    """What is lost of an answer's score without each attention head, whose output is set to zero at
    all positions. Heads share passes of the network.

    Args:
        model, image, question, target, contrast, score, answers: as `explain` takes them.
        blocks: the paths of the blocks, in order, or the layers themselves; by default the row of
            blocks that the model's default layer is in.

    Raises:
        InvalidInput: an input, a name or a layer cannot be used.
        Unsupported: the network has no row of blocks with attention heads, or lets nobody look
            inside.
    """
    began = time.perf_counter()
    asked = Asked(target, contrast, score, answers)
    with asked_task(model, image, question, asked, "heads") as (task, best):
        row = Blocks.of(task, blocks)
        places = [heads_of_block(task.model.module, path) for path in row.paths]
        edits = [without(place, head) for place in places for head in range(place.count)]
        unchanged = scores_with(task, row.paths[-1], lambda _number, output: output)
        whole = float(task.target(unchanged))
        scores = scores_of(task, edits)
        lost = np.full((len(places), max(place.count for place in places)), np.nan)
        becomes, done = [], 0
        for number, place in enumerate(places):
            own = scores[done : done + place.count]
            lost[number, : place.count] = whole - task.target(own).numpy()
            becomes.append(tuple(best_of(task, own[i : i + 1]) for i in range(place.count)))
            done += place.count
        attention, looks = _attention(task, lost, best)
        task.cost.seconds = time.perf_counter() - began
        return Heads(
            row.paths,
            lost,
            tuple(becomes),
            attention,
            looks,
            best,
            *names_of(task),
            task.target.score,
            whole,
            task.cost,
        )


def _attention(task: Task, lost: np.ndarray, best: Answer) -> tuple[Any, Explanation | None]:
    """(L, H, P) how much heads look at players, for as many as `lost` (L, H) has; and the mean over
    the last block's as an explanation. Both are means over the places where an answer of several
    tokens is read, and `None` where not all attention can be seen.
    """
    if "attention" not in task.model.capabilities:
        return None, None
    places: list[np.ndarray] = []
    rows: list[Tensor] = []
    for found, _ in task.answer_steps():
        heads = [one.shape[1] for one in found.maps]
        if found.layers is not None or heads != np.isfinite(lost).sum(axis=1).tolist():
            return None, None
        values = np.full((*lost.shape, len(task.players)), np.nan)
        with torch.no_grad():
            for block, maps in enumerate(whole_maps(found.maps, found.written)):
                for head, one in enumerate(maps):
                    read = read_from(task, found, row_of(found, one))
                    values[block, head] = task.players.sums(read.values)
        places.append(values)
        rows.append(row_of(found, maps.mean(dim=0)))
    last = read_from(task, found, torch.stack(rows).mean(dim=0))
    looks = finish(task, create("attention", {}), last, [best])
    return np.stack(places).mean(axis=0), looks
