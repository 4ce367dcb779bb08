"""`layers`: what each block of a network does to an answer."""

import csv
import io
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from vqa_explain._numbers import checked_whole
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.explaining import AskedTarget
from vqa_explain.explanation import Explanation
from vqa_explain.features.base import by_input
from vqa_explain.files import path_of, write_atomically
from vqa_explain.finishing import finish
from vqa_explain.inside.asking import Asked, asked_task, names_of
from vqa_explain.inside.blocks import (
    REST,
    Blocks,
    best_of,
    outputs_of,
    patched,
    replaced_by,
    scores_with,
)
from vqa_explain.inside.drawn import Drawn, OfAnswer
from vqa_explain.inside.heads import Heads
from vqa_explain.methods import create
from vqa_explain.methods.base import Task
from vqa_explain.methods.inside import LayerFound, attribution_of
from vqa_explain.methods.states import Between, conductance, of_example
from vqa_explain.models.base import Model
from vqa_explain.models.base import answers as answers_of
from vqa_explain.models.inside import Unit, is_one_by_one
from vqa_explain.showing import drawing
from vqa_explain.target import Answer


@dataclass(frozen=True, eq=False)
class Layers(Drawn, OfAnswer):
    """What each of L blocks does to an answer.

    `plot` draws blocks from left to right: the conductance of each group as bars, the early answers
    as a strip, and the answers without each input.

    Attributes:
        blocks: their paths, in order.
        groups: the inputs by name, and "readout" for all other positions: special tokens and those
            where the answer is read.
        conductance: (L, G) how much of the score's change from the baseline runs through the
            positions of each group behind each block. Over the groups it adds up to `change`.
        change: the score of the example less that of the baseline.
        gaps: (L,) how far the sums are from it.
        early: what the network answers if its head reads each block in place of the last. Of a
            model that writes, the best of the candidates.
        without: input name → what the model answers if the states of the input's positions become
            those of the baseline's behind each block.
        lost: input name → (L,) how much of the score is lost then.
        maps: for each block, its conductance on words and regions, as an explanation by
            "layer_conductance"; () where blocks run several times.
        answer: what the model answers.
        target, contrast, score: whose score it is, less whose (or `None`), and of which kind.
        cost: examples through the model forward and backward, and seconds.
    """

    figure: ClassVar[str] = "layers figure"

    blocks: tuple[str, ...]
    groups: tuple[str, ...]
    conductance: Float[np.ndarray, "L G"]
    change: float
    gaps: Float[np.ndarray, " L"]
    early: tuple[Answer, ...]
    without: Mapping[str, tuple[Answer, ...]]
    lost: Mapping[str, Float[np.ndarray, " L"]]
    maps: tuple[Explanation, ...]
    answer: Answer
    target: str
    contrast: str | None
    score: str
    cost: Cost

    def settled(self, name: str) -> int | None:
        """The number, from 0, of the block behind which an input no longer changes the answer: for
        it and each later one, its states can be exchanged for the baseline's. `None` if there is
        none.

        Raises:
            InvalidInput: there is no such input.
        """
        if not is_one_of(name, self.without):
            raise unknown("input", name, self.without)
        same = [one.index == self.answer.index for one in self.without[name]]
        changed = [number for number, stays in enumerate(same) if not stays]
        first = changed[-1] + 1 if changed else 0
        return first if first < len(same) else None

    def settled_text(self, name: str) -> str:
        """What `settled` says of an input, without its subject."""
        behind = self.settled(name)
        if behind is None:
            return "changes the answer behind every block"
        return f"no longer changes the answer behind block {behind}"

    def decided(self) -> int:
        """The number, from 0, of the block from which on the early answer is the model's answer."""
        other = [i for i, one in enumerate(self.early) if one.index != self.answer.index]
        return other[-1] + 1 if other else 0

    def table(self) -> list[dict[str, Any]]:
        """One row for each block: its number and path, the conductance of each group, the gap, the
        early answer with its probability, and the answer without each input behind it.
        """
        rows = []
        for number, path in enumerate(self.blocks):
            row: dict[str, Any] = {"block": number, "layer": path}
            row |= dict(zip(self.groups, self.conductance[number].tolist(), strict=True))
            early = self.early[number]
            row |= {"gap": float(self.gaps[number]), "early answer": early.text}
            row["probability"] = early.value if early.probability is None else early.probability
            for name, answers in self.without.items():
                row[f"without {name}"] = answers[number].text
                row[f"lost without {name}"] = float(self.lost[name][number])
            rows.append(row)
        return rows

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes the table."""
        text = io.StringIO(newline="")
        table = self.table()
        rows = csv.DictWriter(text, list(table[0]))
        rows.writeheader()
        rows.writerows(table)
        return write_atomically(path, text.getvalue().encode())

    def to_html(self, path: str | os.PathLike[str], heads: Heads | None = None) -> Path:
        """Writes one HTML file that needs no network: the strip of blocks, each block's map, and
        each head's.

        Args:
            path: of the file.
            heads: what `vqa_explain.heads` found for the same example; by default no heads are
                shown.

        Raises:
            Unsupported: the blocks have no maps.
        """
        return write_atomically(path_of(path), drawing("layers page")(self, heads).encode())

    def summary(self) -> dict[str, Any]:
        """All of it as plain values, for JSON."""
        return {
            "target": self.target,
            "contrast": self.contrast,
            "score": self.score,
            "answer": self.answer.text,
            "change": self.change,
            "decided": self.decided(),
            "settled": {name: self.settled(name) for name in self.without},
            "blocks": self.table(),
        }

    def __repr__(self) -> str:
        lines = [
            f"{self.score.replace('_', ' ')} of {self.whose}, {self.change:+.3f} from the "
            "baseline; conductance by block:",
            f"  block {''.join(f'{name:>12}' for name in self.groups)}  early answer",
        ]
        for number, early in enumerate(self.early):
            values = "".join(f"{value:12.3f}" for value in self.conductance[number])
            lines.append(f"  {number:5d} {values}  {early.text} {early.shown}")
        lines += [f"  {name}: {self.settled_text(name)}" for name in self.without]
        return "\n".join(lines)


def layers(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    target: AskedTarget | None = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    blocks: Sequence[Any] | None = None,
    steps: int = 32,
    fills: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Any = None,
) -> Layers:
    """What each block of a network does to one answer: how much of the score runs through words,
    picture and readout there, what the network would answer from there, and from where on an input
    is no longer needed.

    All blocks share one pass of integrated gradients.

    Args:
        model, image, question, target, contrast, score, answers, seed, progress: as `explain` takes
            them.
        blocks: the paths of the blocks, in order, or the layers themselves; by default the row of
            blocks that the model's default layer is in.
        steps: between the baseline and the example.
        fills: what the baseline of single inputs is, as methods take it.

    Raises:
        InvalidInput: an input, a name or a layer cannot be used.
        Unsupported: the network is no row of blocks over one sequence, lets nobody look inside, or
            gives no gradient.
    """
    steps = checked_whole("steps", steps, 2)
    if isinstance(target, Unit):
        raise InvalidInput("layers follows an answer through the network; give one as target=")
    began = time.perf_counter()
    asked = Asked(target, contrast, score, answers, seed, progress)
    with asked_task(model, image, question, asked, "layers") as (task, best):
        row = Blocks.of(task, blocks)
        start = task.baselines(by_input(fills or {}, task.encoded.inputs, "fills"))
        found, change = conductance(Between(task, start), row.paths, steps)
        values = np.array([row.by_group(found[path]) for path in row.paths])
        without, lost = _without(row, start)
        task.cost.seconds = time.perf_counter() - began
        return Layers(
            row.paths,
            (*row.groups, REST),
            values,
            change,
            np.abs(values.sum(axis=1) - change),
            _early(row),
            without,
            lost,
            tuple(_maps(task, row.paths, found, change, {"steps": steps, "fills": fills})),
            best,
            *names_of(task),
            task.target.score,
            task.cost,
        )


def _maps(
    task: Task,
    paths: Sequence[str],
    found: Mapping[str, Sequence[Any]],
    change: float,
    how: Mapping[str, Any],
) -> Iterator[Explanation]:
    """What the conductance of each block is on words and regions.

    Args:
        found: path of a block → the conductance of each of its runs.
        change: the score's.
        how: parameters of the method.
    """
    if any(len(runs) > 1 for runs in found.values()) and not is_one_by_one(task.model):
        return
    best = answers_of(task.model, task.encoded)
    task.cost.forwards += 1
    for path in paths:
        method = create("layer_conductance", {"layer": path, **how})
        values = LayerFound(path, of_example(task, path, found[path]), change)
        yield finish(task, method, attribution_of(task, values), best)


def _early(row: Blocks) -> tuple[Answer, ...]:
    """What the network answers when its head reads each block in place of the last."""
    task, last = row.task, row.paths[-1]
    outputs = outputs_of(task, row.paths, task.leaves())
    return tuple(
        best_of(task, scores_with(task, last, replaced_by(outputs[path]))) for path in row.paths
    )


def _without(
    row: Blocks, start: Mapping[str, Any]
) -> tuple[dict[str, tuple[Answer, ...]], dict[str, np.ndarray]]:
    """What the model answers, and what of the score is lost, with each input's states behind each
    block exchanged for those of its baseline.
    """
    task = row.task
    whole = _score(task, scores_with(task, row.paths[-1], lambda _number, output: output))
    answers, lost = {}, {}
    for name, positions in row.groups.items():
        other = outputs_of(task, row.paths, {**task.leaves(), name: start[name]})
        scores = [scores_with(task, path, patched(other[path], positions)) for path in row.paths]
        answers[name] = tuple(best_of(task, one) for one in scores)
        lost[name] = np.array([whole - _score(task, one) for one in scores])
    return answers, lost


def _score(task: Task, scores: Any) -> float:
    return float(task.target(scores))
