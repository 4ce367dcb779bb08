"""`driving`: the examples of a data set that drive one unit most, each with its words and regions."""

import csv
import io
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float

from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.files import path_of, write_atomically
from vqa_explain.inside.asking import checked_rows
from vqa_explain.inside.drawn import Drawn
from vqa_explain.models.base import Model
from vqa_explain.models.inside import Unit, UnitModel
from vqa_explain.models.sharing import network_held
from vqa_explain.showing import drawing

METHOD = "integrated_gradients"
SET_HERE = ("image", "question", "target")  # of each explanation, by the unit and its examples


@dataclass(frozen=True, eq=False)
class Driving(Drawn):
    """The examples that drive a unit most.

    `plot` draws each one's explanation, from the one with the largest value on.

    Attributes:
        unit: what it is called.
        values: (N,) the unit's value for each of the examples.
        indices: of the examples that drive it most, from the largest value on.
        explanations: what words and regions add to the unit's value in each of these.
        cost: examples through the model forward, and seconds; the explanations have their own.
    """

    figure: ClassVar[str] = "driving figure"

    unit: str
    values: Float[np.ndarray, " N"]
    indices: tuple[int, ...]
    explanations: tuple[Explanation, ...]
    cost: Cost

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def titles(self) -> list[str]:
        """Of each explanation: which example it is, and the unit's value there."""
        return [f"example {number}: {self.values[number]:.4g}" for number in self.indices]

    def to_html(self, path: str | os.PathLike[str]) -> Path:
        """Writes one HTML file that needs no network: all explanations, to look through."""
        return write_atomically(path_of(path), drawing("page")(list(self.explanations)).encode())

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each example of the data set: its number and the unit's value."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow(("example", "value"))
        rows.writerows((number, repr(float(one))) for number, one in enumerate(self.values))
        return write_atomically(path, text.getvalue().encode())

    def __repr__(self) -> str:
        lines = [f"{self.unit} over {len(self.values)} examples, the largest values:"]
        for title, why in zip(self.titles, self.explanations, strict=True):
            words = sorted(why.words, key=lambda word: -word.value)[:3]
            named = ", ".join(f"“{word.text}” {word.value:+.3g}" for word in words)
            lines.append(f"  {title}" + (f" ({named})" if named else ""))
        return "\n".join(lines)


def driving(
    model: Model,
    unit: Unit,
    examples: Sequence[Example] | str,
    *,
    k: int = 8,
    method: str = METHOD,
    limit: int | None = None,
    answers: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> Driving:
    """The examples of a data set that have the largest values of a unit, each with what its words
    and regions add to that value.

    Args:
        model: what `vqa_explain.load` gave.
        unit: such as `vx.Unit("layer3.1.conv2", 17)`.
        examples: a list of examples, or the name of a data set.
        k: how many examples are explained.
        method: that explains them.
        limit: the first examples only.
        answers: what the model scores meanwhile, where its answers are any texts.
        progress: called with (done, in all) as examples are read.
        **settings: as `explain` takes them, such as `regions`, and the method's own parameters.

    Raises:
        InvalidInput: there are no examples, one cannot be read, there is no such unit, or a setting
            is not the caller's to make.
        Unsupported: the network lets nobody look inside.
    """
    began = time.perf_counter()
    if not isinstance(unit, Unit):
        raise InvalidInput(
            f"driving takes one vx.Unit, such as vx.Unit('layer3.1.conv2', 17), not "
            f"{type(unit).__name__}"
        )
    _check_settings(settings)
    rows = checked_rows(model, examples, limit, 1, "driving")
    k = checked_whole("k", k, 1)
    inner, cost = UnitModel(model, [unit], answers), Cost()
    values = np.zeros(len(rows))
    with network_held(model.module), torch.no_grad():
        for number, row in enumerate(rows):
            encoded = inner.encode(row)
            values[number] = float(inner.scores(encoded, inner.leaves(encoded))[0, 0])
            cost.forwards += 1
            if progress:
                progress(number + 1, len(rows))
    order = tuple(int(one) for one in np.argsort(-values, kind="stable")[:k])
    cost.seconds = time.perf_counter() - began
    whys = [
        explain(model, rows[number], method=method, target=unit, answers=answers, **settings)
        for number in order
    ]
    return Driving(inner.labels[0], values, order, tuple(whys), cost)


def _check_settings(settings: Mapping[str, Any]) -> None:
    """Refuses settings of explanations that are not the caller's to make, before any example is
    read.

    Raises:
        InvalidInput: an example or a target is among them, or the seed is none.
    """
    taken = next((name for name in SET_HERE if name in settings), None)
    if taken is not None:
        raise InvalidInput(
            f"driving explains its unit in the examples that it finds; leave {taken}= out"
        )
    checked_seed(settings.get("seed", 0))
