"""`feature_permutation`: what is lost of a model's scores over a data set where one part of its
inputs is exchanged between examples.
"""

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain._precision import in_float64
from vqa_explain._shown import percent_text
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example
from vqa_explain.explaining import AskedTarget
from vqa_explain.features.base import Input
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.files import write_atomically
from vqa_explain.inside.asking import Asked, asked_task, checked_rows, encoded_like
from vqa_explain.inside.drawn import Drawn
from vqa_explain.methods.base import Task
from vqa_explain.models.base import Leaves, Model, best_answers, check_finite
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.inside import is_one_by_one
from vqa_explain.models.sharing import network_held

AT_ONCE = 32  # changed examples in one pass of the network
CELLS = (4, 4)  # rows and columns of a picture's parts
WHOLE = "whole"
MOST = 2**26  # changed examples that are kept, 16 bytes each
OF = ("answer", "truth")


@dataclass(frozen=True, eq=False)
class Permuted(Drawn):
    """What is lost where one part of the inputs is exchanged between examples.

    `plot` draws a bar for each part, with its standard error.

    Attributes:
        parts: the G parts, each as (input, what it is called).
        lost: (G,) the mean over examples and permutations of the score less what it is with the
            part from another example.
        errors: (G,) standard errors of `lost` over the permutations.
        changed: (G,) the share of examples and permutations in which the answer changes; NaN where
            a model that writes has one candidate, which is always the answer.
        by_example: (N, G) the mean over permutations for each example.
        scores: (N,) the examples' scores.
        targets: of each example, the answer whose score is meant.
        repeats: how many permutations of each part.
        cost: examples through the model forward, and seconds.
    """

    figure: ClassVar[str] = "permutation figure"

    parts: tuple[tuple[str, str], ...]
    lost: Float[np.ndarray, " G"]
    errors: Float[np.ndarray, " G"]
    changed: Float[np.ndarray, " G"]
    by_example: Float[np.ndarray, "N G"]
    scores: Float[np.ndarray, " N"]
    targets: tuple[str, ...]
    repeats: int
    cost: Cost

    def top(self, count: int = 10) -> list[tuple[str, str, float, float]]:
        """The parts of the largest losses: input, part, what is lost, and its standard error.

        Raises:
            InvalidInput: `count` is no whole number from 1 on.
        """
        count = checked_whole("count", count, 1)
        order = np.argsort(-np.abs(self.lost), kind="stable")[:count]
        return [(*self.parts[i], float(self.lost[i]), float(self.errors[i])) for i in order]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each part."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(("input", "part", "lost", "standard error", "share of answers changed"))
        for number, part in enumerate(self.parts):
            numbers = (self.lost[number], self.errors[number], self.changed[number])
            rows.writerow([*part, *(repr(float(one)) for one in numbers)])
        return write_atomically(path, text.getvalue().encode())

    def __repr__(self) -> str:
        lines = [
            f"lost where a part comes from another of {len(self.scores)} examples, "
            f"{self.repeats} permutations:"
        ]
        for name, part, lost, error in self.top(8):
            number = self.parts.index((name, part))
            changed = self.changed[number]
            told = "" if np.isnan(changed) else f", the answer changes in {percent_text(changed)}"
            lines.append(f"  {name}, {part}: {lost:+.3f} ± {error:.3f}{told}")
        return "\n".join(lines)


def feature_permutation(
    model: Model,
    examples: Sequence[Example] | str,
    *,
    target: AskedTarget | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    of: Literal["answer", "truth"] = "answer",
    parts: Mapping[str, Any] | None = None,
    repeats: int = 10,
    limit: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Permuted:
    """What is lost of the score, and how often the answer changes, where one part of the inputs is
    exchanged between the examples of a data set: a column of tables, a cell of pictures, or the
    words at one place of the question.

    What a part tells by itself is lost then, and how often its values occur is not. A word may come
    to a place behind the question's end, and a place may lose its word.

    Args:
        model: what `vqa_explain.load` gave.
        examples: at least two, or the name of a data set.
        target: the answer whose score is meant, for all examples; by default each example's own.
        score: as `explain` takes it.
        answers: candidates of a model that writes its answers; without them its own answer is the
            only one, and whether it changes is not known.
        of: whether each example's own answer is the model's, or the true one.
        parts: input name → how it is divided: (rows, columns) of pictures, which are 4 × 4 cells by
            default, or as `explain` takes it; "whole" for the whole input. Inputs that are not named
            are divided as usual.
        repeats: permutations of each part. The error is over them.
        limit: the first examples only.
        seed: of the permutations.
        progress: called with (done, in all).

    Raises:
        InvalidInput: fewer than two examples, inputs that do not align, or a wrong name or number.
        Unsupported: the network lets nobody look inside, or takes a fixed number of examples.
    """
    began = time.perf_counter()
    if not is_one_of(of, OF):
        raise unknown("kind of answers: of=", str(of), OF)
    rows = checked_rows(model, examples, limit, 2, "feature_permutation")
    repeats = checked_whole("repeats", repeats, 2)
    seed = checked_seed(seed)
    with network_held(model.module), torch.no_grad():
        read = [_Row.of(model, row) for row in rows]
    groups = _groups(read, parts or {})
    if repeats * len(groups) * len(rows) > MOST:
        raise InvalidInput(
            f"repeats={repeats:,} permutations of {len(groups)} parts of {len(rows)} examples are "
            f"more than {MOST:,} changed examples; give fewer of either"
        )
    draws = drawn_permutations(len(rows), len(groups), repeats, seed)  # (R, G, N)
    lost = np.zeros((repeats, len(groups), len(rows)))
    changed = np.zeros_like(lost)
    scores, targets, cost = [], [], Cost()
    for number, row in enumerate(rows):
        own = _truth(row, number) if of == "truth" and target is None else target
        with asked_task(
            model, row, None, Asked(own, None, score, answers), "feature_permutation"
        ) as asked:
            task, best = asked
            found = _scores(task, [(task.encoded, task.leaves())])
            whole = float(task.target(found))
            for which, group in enumerate(groups):
                others = [read[other] for other in draws[:, which, number].tolist()]
                after = _scores(task, [group.exchanged(task, read[number], one) for one in others])
                lost[:, which, number] = whole - task.target(after).numpy()
                index = [
                    best_answers(model.kind, task.encoded, one[None], 1)[0].index for one in after
                ]
                is_choice = len(task.encoded.labels) > 1  # one candidate is always the answer
                changed[:, which, number] = np.array(index) != best.index if is_choice else np.nan
            scores.append(whole)
            targets.append(task.target.text(task.encoded.labels))
            cost.forwards += task.cost.forwards
        if progress:
            progress(number + 1, len(rows))
    means = lost.mean(axis=2)
    cost.seconds = time.perf_counter() - began
    return Permuted(
        tuple((group.name, group.text) for group in groups),
        means.mean(axis=0),
        means.std(axis=0, ddof=1) / np.sqrt(repeats),
        changed.mean(axis=(0, 2)),
        lost.mean(axis=0).T,
        np.array(scores),
        tuple(targets),
        repeats,
        cost,
    )


def _truth(row: Example, number: int) -> str:
    if row.answer is None:
        raise InvalidInput(
            f"example {number} has no true answer; give Example(…, answer=…), or of='answer'"
        )
    return row.answer


@dataclass(frozen=True, eq=False)
class _Row:
    """One example as the model reads it."""

    example: Example
    inputs: tuple[Input, ...]
    leaves: Leaves

    @classmethod
    def of(cls, model: Model, example: Example) -> "_Row":
        encoded = model.encode(example)
        return cls(example, encoded.inputs, model.leaves(encoded))

    def words(self, name: str) -> list[str]:
        """The words of a text."""
        return str(next(one.value for one in self.example.given if one.name == name)).split()


@dataclass(frozen=True, eq=False)
class _Group:
    """A part of the inputs that is exchanged.

    Attributes:
        name: of the input.
        text: what the part is called.
        mask: (1, …) bool, its places in a leaf; `None` for the words at a place.
        place: of these words, from 0; `None` for all.
    """

    name: str
    text: str
    mask: Tensor | None = None
    place: int | None = None

    def exchanged(self, task: Task, own: _Row, other: _Row) -> tuple[Encoded, Leaves]:
        """The example and its leaves (1, …) with this part of another."""
        if self.mask is not None:
            mine, theirs = task.leaves(), other.leaves[self.name].to(task.leaves()[self.name])
            leaf = torch.where(self.mask.to(theirs.device), theirs, mine[self.name])
            return task.encoded, {**mine, self.name: leaf}
        words = _with_word(own.words(self.name), other.words(self.name), self.place)
        example = own.example.changed({self.name: " ".join(words)})
        encoded = encoded_like(task, example)
        return encoded, task.model.leaves(encoded)


def _with_word(own: list[str], other: list[str], place: int | None) -> list[str]:
    """Words of which one, or all, are another text's."""
    if place is None:
        return other
    found = [*own[:place], *other[place : place + 1], *own[place + 1 :]]
    return found or own  # of a text nothing may be left


def _groups(rows: Sequence[_Row], parts: Mapping[str, Any]) -> list[_Group]:
    """The parts of all inputs.

    Raises:
        InvalidInput: the examples have different inputs, or parts= names none of them.
    """
    names = [one.name for one in rows[0].inputs if not one.fixed]
    for number, row in enumerate(rows):
        here = [one.name for one in row.inputs if not one.fixed]
        if here != names:
            raise InvalidInput(
                f"example {number} has the inputs {', '.join(here)}, and the first has "
                f"{', '.join(names)}; parts are exchanged between examples with the same inputs"
            )
    for name in parts:
        if not is_one_of(name, names):
            raise unknown("input in parts", str(name), names)
    found: list[_Group] = []
    for one in rows[0].inputs:
        if one.name in names:
            make = _of_words if one.kind == TextFeature.kind else _of_elements
            found += make(rows, one, parts.get(one.name))
    return found


def _of_words(rows: Sequence[_Row], one: Input, asked: Any) -> list[_Group]:
    """The words at each place of a text."""
    if asked == WHOLE:
        return [_Group(one.name, WHOLE)]
    if asked not in (None, "words"):
        raise InvalidInput(f"a text is exchanged by 'words' or as a 'whole', not {asked!r}")
    most = max(len(row.words(one.name)) for row in rows)
    return [_Group(one.name, f"word {place + 1}", place=place) for place in range(most)]


def _of_elements(rows: Sequence[_Row], one: Input, asked: Any) -> list[_Group]:
    """The cells of a picture, or the columns of a table.

    Raises:
        InvalidInput: the examples' inputs are of different sizes.
    """
    shape = rows[0].leaves[one.name].shape
    for number, row in enumerate(rows):
        if row.leaves[one.name].shape != shape:
            raise InvalidInput(
                f"input {one.name!r} of example {number} has another size than the first one's, so "
                "that their parts do not align; give examples of one size"
            )
    feature = one.feature
    if asked == WHOLE:
        everything = torch.ones((1, *one.shape), dtype=torch.bool)
        return [_Group(one.name, WHOLE, feature.over_channels(everything))]
    if asked is None and one.kind == ImageFeature.kind:
        asked = CELLS
    division = feature.divide(one.content, asked)
    texts = _texts(one, division.count, asked)
    masks = [torch.from_numpy(division.owner == number)[None] for number in range(division.count)]
    return [
        _Group(one.name, text, feature.over_channels(mask))
        for text, mask in zip(texts, masks, strict=True)
    ]


def _texts(one: Input, count: int, asked: Any) -> list[str]:
    """What the parts of an input are called."""
    if one.kind == ImageFeature.kind:
        if isinstance(asked, int):
            asked = (asked, asked)
        if isinstance(asked, tuple):
            return [
                f"row {number // asked[1] + 1}, column {number % asked[1] + 1}"
                for number in range(count)
            ]
        return [f"region {number + 1}" for number in range(count)]
    columns = getattr(one.content, "columns", None)
    if columns is not None and len(columns) == count:
        return [str(column) for column in columns]
    return [f"part {number + 1}" for number in range(count)]


def drawn_permutations(rows: int, groups: int, repeats: int, seed: int) -> np.ndarray:
    """(R, G, N) permutations of N examples, none of which leaves all of them in their place."""
    rng, same = np.random.default_rng(seed), np.arange(rows)
    found = np.empty((repeats, groups, rows), dtype=int)
    for repeat in range(repeats):
        for group in range(groups):
            drawn = rng.permutation(rows)
            while (drawn == same).all():
                drawn = rng.permutation(rows)
            found[repeat, group] = drawn
    return found


@torch.no_grad()
def _scores(task: Task, given: Sequence[tuple[Encoded, Leaves]]) -> Tensor:
    """(n, K) float64 scores of examples with changed parts, counted; in batches where they are read
    alike.
    """
    found: list[Tensor] = []
    first = 0
    while first < len(given):
        encoded = given[first][0]
        count = 1
        most = 1 if is_one_by_one(task.model) else AT_ONCE
        while count < most and first + count < len(given) and given[first + count][0] is encoded:
            count += 1
        rows = [leaves for _, leaves in given[first : first + count]]
        leaves = {name: torch.cat([row[name] for row in rows]) for name in rows[0]}
        found.append(in_float64(task.model.scores(encoded, leaves)))
        first += count
    scores = torch.cat(found)
    check_finite(scores, "the model's answer with exchanged parts")
    task.cost.forwards += len(scores)
    return scores
