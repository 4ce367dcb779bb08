"""Baselines that are drawn: fills, or examples of a data set."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vqa_explain.baselines import Baselines
from vqa_explain.datasets.loading import load_dataset
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.features.base import inputs_called
from vqa_explain.methods.base import BASELINES, FILLS_HELP, TEXT_FILLS, Task, asked_fills
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

ANY = "any"  # of the fills, drawn anew for each sample
BASELINES_HELP = (
    "examples, or the name of a data set, that baselines are drawn from (default: fills)"
)
KEPT = 64  # leaves of examples that are not read again


@dataclass(frozen=True)
class Drawing:
    """What methods that draw baselines have in common."""

    samples: int = parameter(16, "baselines, at most", low=2, high=1_000_000)
    image_baseline: str = parameter(
        ANY,
        "where the picture starts: a fill, or any of them at random",
        choices=(ANY, *BASELINES),
    )
    text_baseline: str | None = parameter(
        None, "where the words start (default: the model's)", choices=TEXT_FILLS
    )
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)
    baselines: Baselines | None = parameter(None, BASELINES_HELP, examples=True)


@dataclass(frozen=True, eq=False)
class Starts:
    """Where paths to the example may start.

    Attributes:
        task: what was asked.
        fills: input name → the fills that its baseline is drawn from; nothing for the model's own.
        examples: that baselines are drawn from; () where fills are all.
        names: the inputs that are taken from these examples.
    """

    task: Task
    fills: Mapping[str, Sequence[str]]
    examples: Sequence[Example] = ()
    names: tuple[str, ...] = ()
    _known: dict[int, Leaves] = field(default_factory=dict)

    @classmethod
    def of(cls, task: Task, method: Any) -> "Starts":
        """Those that a method's parameters ask for.

        Raises:
            InvalidInput: the examples have none of the example's inputs, or a name is unknown.
        """
        inputs = task.encoded.inputs
        fills = {name: [fill] for name, fill in asked_fills(method, inputs).items()}
        for one in inputs:
            if fills.get(one.name) == [ANY]:
                fills[one.name] = list(one.feature.leaf_fills())
        given: Baselines | None = method.baselines
        if given is None:
            return cls(task, fills)
        examples = load_dataset(str(given)) if given.examples is None else given.examples
        return cls(task, fills, examples, _taken(task, given, examples[0]))

    def draw(self, rng: np.random.Generator, count: int) -> list[Leaves]:
        """So many baselines' leaves (1, …), each drawn from all."""
        drawn = {name: rng.choice(list(fills), count) for name, fills in self.fills.items()}
        seeds = [int(seed) for seed in rng.integers(2**31, size=count)]
        which: Sequence[int | None] = [None] * count
        if self.names:
            which = rng.integers(len(self.examples), size=count).tolist()
        return [
            self._start(
                {name: str(fills[row]) for name, fills in drawn.items()}, seeds[row], which[row]
            )
            for row in range(count)
        ]

    def some(self, rng: np.random.Generator, most: int) -> list[Leaves]:
        """The leaves (1, …) of all examples, or of so many of them, none twice; of fills so many
        draws.
        """
        if not self.names:
            return self.draw(rng, most)
        count = len(self.examples)
        chosen = range(count) if count <= most else sorted(rng.choice(count, most, replace=False))
        usual = {name: str(fills[0]) for name, fills in self.fills.items()}
        return [self._start(usual, self.task.seed, int(number)) for number in chosen]

    def _start(self, fills: Mapping[str, str], seed: int, number: int | None) -> Leaves:
        found = self.task.baselines(fills, seed)
        if number is None:
            return found
        return self.task.kept_fixed({**found, **self._leaves_of(number)})

    def _leaves_of(self, number: int) -> Leaves:
        """The leaves (1, …) of the inputs that are taken from an example.

        Raises:
            InvalidInput: it lacks an input, or has one of another size.
        """
        if number in self._known:
            return self._known[number]
        task, values = self.task, {one.name: one.value for one in self.examples[number].given}
        missing = [name for name in self.names if name not in values]
        if missing:
            raise InvalidInput(
                f"example {number} of the baselines has no input {missing[0]!r}; leave it out of "
                "the baselines, or name the inputs that all have in vx.Baselines(…, inputs=…)"
            )
        changed = task.encoded.example.changed({name: values[name] for name in self.names})
        read, own = task.model.leaves(task.model.encode(changed)), task.leaves()
        for name in self.names:
            if read[name].shape != own[name].shape:
                raise InvalidInput(
                    f"input {name!r} of example {number} of the baselines has another size than "
                    f"the example's ({_size(read[name])} and {_size(own[name])}), so that no line "
                    "leads from one to the other; name the inputs that are taken from the baselines "
                    "in vx.Baselines(…, inputs=…), such as the picture's alone"
                )
        found = {name: read[name] for name in self.names}
        if len(self._known) < KEPT:
            self._known[number] = found
        return found


def _size(leaf: Any) -> str:
    return " × ".join(map(str, leaf.shape[1:]))


def _taken(task: Task, given: Baselines, first: Any) -> tuple[str, ...]:
    """The names of the inputs that are taken from the examples.

    Raises:
        InvalidInput: there is no such input, or the examples have none of the example's.
    """
    if not isinstance(first, Example):
        raise InvalidInput(
            f"baselines are examples, such as vx.Example(image), not {type(first).__name__}"
        )
    inputs = task.encoded.inputs
    if given.inputs is not None:
        found: list[str] = []
        for called in given.inputs:
            names = inputs_called(inputs, called)
            if not names:
                known = ", ".join(one.name for one in inputs)
                raise InvalidInput(
                    f"the example has no input {called!r} to be taken from baselines; it has {known}"
                )
            found += names
        return tuple(dict.fromkeys(found))
    there = {one.name for one in first.given}
    shared = tuple(one.name for one in inputs if one.name in there and not one.fixed)
    if not shared:
        raise InvalidInput(
            f"the baselines have the inputs {', '.join(sorted(there))}, and the example has "
            f"{', '.join(one.name for one in inputs)}; give examples with the same inputs"
        )
    return shared
