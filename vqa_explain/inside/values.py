"""`layer_values`: what every element of a layer does to a score."""

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from vqa_explain._numbers import checked_whole
from vqa_explain.cost import Cost
from vqa_explain.errors import is_one_of, unknown
from vqa_explain.explaining import AskedTarget
from vqa_explain.files import write_atomically
from vqa_explain.inside.asking import Asked, asked_task, names_of
from vqa_explain.inside.drawn import OfAnswer
from vqa_explain.methods import METHODS, create
from vqa_explain.methods.base import check_support
from vqa_explain.methods.inside import LayerMethod
from vqa_explain.models.base import Model
from vqa_explain.models.inside import path_of_layer
from vqa_explain.target import Answer
from vqa_explain.units import unit_named


@dataclass(frozen=True, eq=False)
class LayerValues(OfAnswer):
    """What every element of a layer does to a score.

    Attributes:
        layer: its path.
        method: that found the values.
        values: (…) float64 shaped as what the layer gives for the example; (C,) or (N,) where whole
            units or positions were ablated.
        unit: what the values are, a name of `vqa_explain.units`.
        target, contrast: the answer that is explained, less which (or `None`).
        answer: what the model answers.
        change: what the values should add up to; `None` where they do not.
        gap: how far their sum is from it; `None` likewise.
        cost: examples through the model forward and backward.
        errors: (…) float64 the values' standard errors, of methods that draw baselines; else `None`.
    """

    layer: str
    method: str
    values: np.ndarray
    unit: str
    target: str
    contrast: str | None
    answer: Answer
    change: float | None
    gap: float | None
    cost: Cost
    errors: np.ndarray | None = None

    def top(self, count: int = 10) -> list[tuple[tuple[int, ...], float]]:
        """The elements of the largest sizes: the place of each, and its value.

        Raises:
            InvalidInput: `count` is no whole number from 1 on.
        """
        count = checked_whole("count", count, 1)
        order = np.argsort(-np.abs(self.values), axis=None, kind="stable")[:count]
        places = np.stack(np.unravel_index(order, self.values.shape), axis=1).tolist()
        return [(tuple(place), float(self.values[tuple(place)])) for place in places]

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes one row for each element: its place along each axis, from 0, and its value."""
        text = io.StringIO(newline="")
        rows = csv.writer(text)
        rows.writerow([*(f"axis_{number}" for number in range(self.values.ndim)), "value"])
        for place, value in np.ndenumerate(self.values):
            rows.writerow([*place, repr(float(value))])
        return write_atomically(path, text.getvalue().encode())

    def __repr__(self) -> str:
        unit = unit_named(self.unit).text.replace("{score}", f"the score of {self.whose}")
        lines = [
            f"{self.method} at {self.layer}, {tuple(self.values.shape)}: {unit}",
            *(f"  {_spelled(place):>16}  {value:+.4g}" for place, value in self.top(8)),
        ]
        if self.gap is not None and self.change is not None:
            lines.append(f"  they add up to {self.change:+.4g}, with a gap of {self.gap:.2g}")
        return "\n".join(lines)


def _spelled(place: Sequence[int]) -> str:
    return ", ".join(map(str, place))


def layer_values(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    layer: Any,
    method: str = "layer_conductance",
    target: AskedTarget | None = None,
    contrast: str | int | None = None,
    score: str | None = None,
    answers: Sequence[str] | None = None,
    seed: int = 0,
    **parameters: Any,
) -> LayerValues:
    """What every element of a layer does to one answer's score, such as each unit of a hidden
    layer.

    `explain` with the same method sums these values over the units of each position, and carries
    them to words and regions.

    Args:
        model, image, question, target, contrast, score, answers, seed: as `explain` takes them.
        layer: path of the layer in the network, or the layer itself.
        method: a method whose name begins with "layer", or "internal_influence".
        **parameters: the method's own.

    Raises:
        InvalidInput: an input, a name or a parameter cannot be used; or the layer runs several
            times in one pass of the network.
        Unsupported: the network lets nobody look inside, or gives no gradient.
    """
    known = [name for name, cls in METHODS.items() if issubclass(cls, LayerMethod)]
    if not is_one_of(method, known):
        raise unknown("method of layers", method, known)
    asked = Asked(target, contrast, score, answers, seed)
    with asked_task(model, image, question, asked, "layer_values") as (task, best):
        path = path_of_layer(task.model.module, layer)
        chosen = create(method, {"layer": path, **parameters})
        check_support(chosen, task.model, task.encoded)
        found = cast(LayerMethod, chosen).inside(task)
        return LayerValues(
            found.layer,
            method,
            found.values.numpy(),
            chosen.unit,
            *names_of(task),
            best,
            found.change,
            found.gap,
            task.cost,
            None if found.errors is None else found.errors.numpy(),
        )
