"""The explanation that knows nothing: what every metric's values are to be measured against."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from vqa_explain import units
from vqa_explain.methods.base import Attribution, Task

NAME = "random"


@dataclass(frozen=True)
class RandomValues:
    """Each player has a value drawn evenly from 0 … 1, anew for every example."""

    name: ClassVar[str] = NAME
    unit: ClassVar[str] = units.DRAWN
    source: ClassVar[str] = "–"
    needs: ClassVar[frozenset[str]] = frozenset()
    error: ClassVar[str] = "–"
    cost: ClassVar[str] = "nothing"
    number: int = 0  # of the example

    def __call__(self, task: Task) -> Attribution:
        rng = np.random.default_rng((task.seed, self.number, 17))
        values = rng.random(len(task.players))
        return Attribution(task.players.spread(values), None, "random", task.players, values)
