"""Units inside a network as what is explained: their values take the place of answers' scores.

Methods see a model with one real number per unit, so that each of them explains a unit as it
explains an answer.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain._shown import LARGEST, shown
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example
from vqa_explain.features.base import Feature, Present
from vqa_explain.features.image import DROP
from vqa_explain.models.attending import Attentive, Positions
from vqa_explain.models.base import Leaves, Model, OpenModel, described, has_open_inputs
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.heads import HeadsOf, heads_of_block, seen
from vqa_explain.models.maps import captured, channels_first, check_layer
from vqa_explain.models.sharing import holds_network
from vqa_explain.target import REAL

# Layers that keep channels before positions in (B, C, T).
ROWS_OF_CHANNELS = (nn.Conv1d, nn.BatchNorm1d, nn.MaxPool1d, nn.AvgPool1d)
MOVING = (DROP, "delete")  # fills that take absent parts out of the sequence
READOUT = "readout"  # the positions where the answer is read
OF_ANSWERS = (
    "it reads attention from where an answer is read, and the target is a unit inside the network"
)


@dataclass(frozen=True, eq=False)
class Unit:
    """A unit of a layer, which `explain` takes as a target: what words and regions add to its
    value.

    Attributes:
        layer: path of the layer in the network, or the layer itself.
        index: the number of a channel, from 0, whose mean over all positions is the value; or, as
            a tuple, the place of one element in what the layer gives for one example, such as
            (channel, row, column) or (position, channel).
        direction: (C,) in place of an index: the channels' means are summed with these weights.
        head: in place of an index, the number of an attention head of the layer, which is a block
            then: the norm of what the head gives at a position, the mean over all positions.
        position: of a head alone: the one position that counts, from 0, or "readout" for where the
            answer is read.
        run: which run of the layer, from 0, where it runs several times in one pass of the network.
    """

    layer: str | nn.Module
    index: int | tuple[int, ...] | None = None
    direction: Any = None
    head: int | None = None
    position: int | Literal["readout"] | None = None
    run: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.layer, str | nn.Module):
            raise InvalidInput(
                f"a unit's layer is its path or the layer itself, not {type(self.layer).__name__}"
            )
        named = (self.index is not None, self.direction is not None, self.head is not None)
        if sum(named) != 1:
            raise InvalidInput(
                "a unit is named by index= or by direction= or by head=; give one of them, such as "
                f"vx.Unit({self.layer!r}, 0)"
            )
        if self.direction is not None:
            object.__setattr__(self, "direction", _numbers(self.direction))
        if self.position is not None and self.head is None:
            raise InvalidInput(
                "position= is of heads; name an element of a layer by its place, such as index=(3, 17)"
            )
        places = self.index if isinstance(self.index, tuple) else (self.index,)
        at = None if self.position == READOUT else self.position
        for number in (*places, self.run, self.head, at):
            if number is not None and not (
                isinstance(number, Integral) and 0 <= int(number) <= LARGEST
            ):
                raise InvalidInput(
                    "a unit's index, head, position and run are whole numbers from 0, not "
                    f"{shown(number)}"
                )

    def text(self, path: str) -> str:
        """What it is called in explanations."""
        if self.head is not None:
            at = "" if self.position is None else f" at position {self.position}"
            at = " at the readout" if self.position == READOUT else at
            named = f"norm of head {self.head}{at}"
        else:
            named = "a direction" if self.index is None else f"unit {self.index}"
        again = "" if self.run is None else f", run {self.run}"
        return f"{named} of {path}{again}"


def _numbers(direction: Any) -> np.ndarray:
    """(C,) float64, the weights of a direction.

    Raises:
        InvalidInput: they are no row of finite numbers.
    """
    given = direction.detach().cpu() if isinstance(direction, Tensor) else direction
    try:
        found = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InvalidInput(f"a unit's direction is a row of numbers: {error}") from error
    if found.ndim != 1 or not np.isfinite(found).all():
        raise InvalidInput(
            f"a unit's direction is a row of finite numbers, not of shape {found.shape}; give one "
            "number for each unit of the layer"
        )
    return found


def units_among(target: Any) -> tuple[Unit, ...]:
    """The units that are asked for as targets; () where answers are.

    Raises:
        InvalidInput: some targets are units and others are answers.
    """
    asked = target if isinstance(target, list | tuple) else [target]
    found = tuple(one for one in asked if isinstance(one, Unit))
    if found and len(found) < len(asked):
        raise InvalidInput(
            "targets are units or answers, and the list holds both; explain them in two calls"
        )
    return found


def path_of_layer(module: nn.Module, layer: str | nn.Module) -> str:
    """The path of a layer that is given by its path or as itself.

    Raises:
        InvalidInput: it is no layer of the network.
    """
    if isinstance(layer, str):
        return layer
    if not isinstance(layer, nn.Module):
        raise InvalidInput(
            f"a layer is named by its path or given as itself, not by {type(layer).__name__}"
        )
    found = next((path for path, part in module.named_modules() if part is layer), "")
    if not found:
        raise InvalidInput(
            f"the layer given, a {type(layer).__name__}, is not one inside the network; give its "
            "path"
        )
    return found


@dataclass(frozen=True, eq=False)
class Runs:
    """What a layer gave while the network ran for B examples.

    Attributes:
        path: of the layer.
        outputs: of each of its runs, in their order.
        rows: B.
        at_once: how many rows the network takes; `None` for any number.
    """

    path: str
    outputs: Sequence[Any]
    rows: int
    at_once: int | None

    @property
    def count(self) -> int:
        """How often the layer runs in one pass of the network."""
        calls = 1 if self.at_once is None else math.ceil(self.rows / self.at_once)
        return max(1, len(self.outputs) // calls)

    def of(self, run: int | None) -> Tensor | None:
        """(B, …) what it gave in one run, by its number; in the only one with `None`. `None` where
        it did not run once for each example.

        Raises:
            InvalidInput: it gives no tensor, runs several times and none is named, or has no such
                run.
        """
        count = self.count
        if not self.outputs or not all(isinstance(one, Tensor) for one in self.outputs):
            raise InvalidInput(
                f"layer {self.path!r} gives no tensor when the network runs; choose another"
            )
        if run is None and count > 1:
            raise InvalidInput(
                f"layer {self.path!r} runs {count} times in one pass of the network; say which "
                f"with run=, from 0 to {count - 1}"
            )
        if run is not None and run >= count:
            times = "once" if count == 1 else f"{count} times"
            raise InvalidInput(
                f"layer {self.path!r} has no run {run}; it runs {times}, numbered from 0"
            )
        found = self.outputs[run or 0 :: count]
        if {len(one) for one in found} != {self.at_once or self.rows}:
            return None
        # The last call of a network of a fixed number of rows may have been filled up.
        return found[0] if len(found) == 1 else torch.cat(list(found))[: self.rows]


@contextmanager
def watched(module: nn.Module, paths: Iterable[str]) -> Iterator[dict[str, list[Any]]]:
    """Path of a layer → a list that receives what it gives at each run, inside."""
    with ExitStack() as hooks:
        yield {path: hooks.enter_context(captured(module, path)) for path in dict.fromkeys(paths)}


@contextmanager
def altered(module: nn.Module, path: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inside, the network goes on with `change` of what a layer gives, of its first tensor."""
    check_layer(module, path)

    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    handle = module.get_submodule(path).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def is_one_by_one(model: Model) -> bool:
    """Whether examples pass a network singly when one looks inside, since answers are read in rows
    of their own.
    """
    return (model.model if isinstance(model, UnitModel) else model).labels is None


@holds_network
class UnitModel:
    """A model whose outputs are the values of units inside another's network.

    Args:
        model: the other model.
        units: what is explained.
        answers: what the other model scores meanwhile, where its answers are any texts; by default
            what it answers by itself.

    Raises:
        InvalidInput: there is no such layer.
        Unsupported: the layer takes no hooks.
    """

    kind = REAL

    __repr__ = described

    def __init__(
        self, model: Model, units: Sequence[Unit], answers: Sequence[str] | None = None
    ) -> None:
        self.model, self._answers = model, answers
        self.name, self.family, self.device = model.name, model.family, model.device
        self.module = model.module
        self.features: tuple[Feature, ...] = model.features
        self.open_inputs = has_open_inputs(model)
        self.drawn_weights: Sequence[str] = getattr(model, "drawn_weights", ())
        self._units = [(one, path_of_layer(model.module, one.layer)) for one in units]
        self.labels: tuple[str, ...] = tuple(one.text(path) for one, path in self._units)
        if len(set(self.labels)) < len(self.labels):  # two directions
            self.labels = tuple(f"{text} ({n})" for n, text in enumerate(self.labels))
        for path in self._paths:
            check_layer(model.module, path)
        self._heads = {
            path: _checked_head(model.module, path, one.head)
            for one, path in self._units
            if one.head is not None
        }
        self._readouts: WeakKeyDictionary[Encoded, tuple[int, ...]] = WeakKeyDictionary()

    @property
    def _paths(self) -> list[str]:
        return [path for _, path in self._units]

    @property
    def capabilities(self) -> frozenset[str]:
        return self.model.capabilities

    def encode(self, example: Example) -> Encoded:
        encoded = self.model.encode(example)
        if self.model.labels is None:
            open_model = cast(OpenModel, self.model)
            texts = self._answers or open_model.generate(encoded)
            encoded = open_model.with_answers(encoded, list(texts))
        refusals = {**encoded.refusals, "attention": OF_ANSWERS, "flow": OF_ANSWERS}
        if any(one.position == READOUT for one, _ in self._units):
            self._readouts[encoded] = _readout(self.model, encoded)
        found = Encoded(example, encoded.inputs, self.labels, encoded, refusals)
        with torch.no_grad():
            self.scores(found, self.leaves(found))  # units out of range are told at once
        return found

    def leaves(self, encoded: Encoded) -> Leaves:
        return self.model.leaves(_own(encoded))

    def baselines(self, encoded: Encoded, fills: Mapping[str, str], seed: int) -> Leaves:
        return self.model.baselines(_own(encoded), dict(fills), seed)

    def positions(self, encoded: Encoded, length: int, layer: str | None = None) -> Positions:
        return self.model.positions(_own(encoded), length, layer)

    def default_layer(self, encoded: Encoded) -> str:
        return self.model.default_layer(_own(encoded))

    def scores(self, encoded: Encoded, leaves: Leaves) -> Tensor:
        rows = len(next(iter(leaves.values())))
        found = self._values(encoded, rows, lambda own: self.model.scores(own, leaves))
        if found is None:
            raise self._shared()
        return found

    @torch.no_grad()
    def coalition_scores(
        self,
        encoded: Encoded,
        present: Mapping[str, Present],
        fills: Mapping[str, str],
        seed: int,
    ) -> Tensor:
        def run(some: Mapping[str, Present]) -> Callable[[Encoded], Tensor]:
            return lambda own: self.model.coalition_scores(own, some, fills, seed)

        moved = [one.name for one in encoded.inputs if fills[one.name] in MOVING]
        self._check_kept(moved)
        rows = len(next(iter(present.values())))
        # Where parts leave the sequence, a batch fills up to its longest, and means would count
        # that.
        found = None if moved else self._values(encoded, rows, run(present))
        if found is not None:
            return found
        # Coalitions that share a part of the input may share its pass through the layer.
        each = [self._values(encoded, 1, run(_only(present, row))) for row in range(rows)]
        alone = [one for one in each if one is not None]
        if len(alone) < rows:
            raise self._shared()
        return torch.cat(alone)

    def _check_kept(self, moved: Sequence[str]) -> None:
        """Refuses an element at a position where parts of some inputs leave the sequence.

        Raises:
            InvalidInput: a unit is such an element.
        """
        for unit, path in self._units:
            at_position = unit.position
            if isinstance(unit.index, tuple) and len(unit.index) == 2:
                at_position = unit.index[0]
            if moved and at_position not in (None, 0, READOUT):
                raise InvalidInput(
                    f"absent parts of {moved[0]!r} leave the sequence of layer {path!r}, so "
                    f"that position {at_position} is another one then; choose fills "
                    "that keep it, such as image_fill='mean' and text_fill='mask'"
                )

    def _shared(self) -> Unsupported:
        paths = ", ".join(dict.fromkeys(map(repr, self._paths)))
        return Unsupported(
            f"layer {paths} of model {self.name!r} does not run once for each example, so that its "
            "units have no value there; choose a layer behind it"
        )

    def _values(
        self, encoded: Encoded, rows: int, run: Callable[[Encoded], Tensor]
    ) -> Tensor | None:
        """(B, U) the units' values while the other model runs; `None` where a layer does not run
        once for each of B examples.
        """
        plain = [path for unit, path in self._units if unit.head is None]
        with watched(self.module, plain) as outputs, ExitStack() as hooks:
            of_heads = {
                path: hooks.enter_context(seen(self.module, heads.place))
                for path, heads in self._heads.items()
            }
            run(_own(encoded))
        at_once = getattr(self.model, "at_once", None)
        values = []
        for unit, path in self._units:
            given = (outputs if unit.head is None else of_heads)[path]
            states = Runs(path, given, rows, at_once).of(unit.run)
            if states is None:
                return None
            values.append(self._value(encoded, unit, path, states))
        return torch.stack(values, dim=1)

    def _norm(self, encoded: Encoded, unit: Unit, path: str, states: Tensor) -> Tensor:
        """(B,) the norm of what a head gives, of states (B, N, D)."""
        states = states.flatten(1, -2)
        part = self._heads[path].part(cast(int, unit.head), states)
        norms: Tensor = torch.linalg.vector_norm(states[..., part], dim=-1)
        if unit.position is None:
            return norms.mean(dim=1)
        if unit.position == READOUT:
            return norms[:, list(self._readouts[encoded.state])].mean(dim=1)
        place = int(unit.position)
        if place >= norms.shape[1]:
            raise InvalidInput(
                f"layer {path!r} has no position {unit.position}; its {norms.shape[1]} positions "
                f"are numbered 0 to {norms.shape[1] - 1}"
            )
        return norms[:, place]

    def _value(self, encoded: Encoded, unit: Unit, path: str, given: Tensor) -> Tensor:
        """(B,) a unit's value in what its layer gives (B, …)."""
        if unit.head is not None:
            return self._norm(encoded, unit, path, given)
        shape = tuple(given.shape[1:])
        if isinstance(unit.index, tuple):
            inside = len(unit.index) == len(shape) and all(
                place < size for place, size in zip(unit.index, shape, strict=False)
            )
            if not inside:
                raise InvalidInput(
                    f"layer {path!r} gives {shape} for one example, which has no element "
                    f"{unit.index}"
                )
            found: Tensor = given.movedim(0, -1)[unit.index]
            return found
        if len(shape) not in (1, 2, 3):
            raise InvalidInput(
                f"layer {path!r} gives {shape} for one example, which are no channels; name one "
                "element by a tuple"
            )
        if len(shape) == 3:
            given = channels_first(self.model, _own(encoded), path, given).flatten(2)
        elif len(shape) == 2 and not isinstance(self.module.get_submodule(path), ROWS_OF_CHANNELS):
            given = given.transpose(1, 2)
        return _channel(unit, path, given if len(shape) == 1 else given.mean(dim=2))


def _checked_head(module: nn.Module, path: str, head: int) -> HeadsOf:
    """The heads of a block, one of which is asked for.

    Raises:
        InvalidInput: it has no head of this number.
        Unsupported: it has no heads that can be told apart.
    """
    found = heads_of_block(module, path)
    if head >= found.count:
        raise InvalidInput(
            f"block {path!r} has no head {head}; its {found.count} heads are numbered 0 to "
            f"{found.count - 1}"
        )
    return found


def _readout(model: Model, encoded: Encoded) -> tuple[int, ...]:
    """The positions where the answer is read; the last one as −1, which it is too where parts leave
    the sequence.

    Raises:
        Unsupported: the model does not say where.
    """
    if "attention" not in model.capabilities or "attention" in encoded.refusals:
        raise Unsupported(
            f"model {model.name!r} does not say where its answer is read; give the head's "
            "position= as a number, or leave it out for the mean over all"
        )
    found = cast(Attentive, model).attention(encoded)
    last = found.length - 1
    return tuple(-1 if place == last else place for place in found.readout)


def _channel(unit: Unit, path: str, means: Tensor) -> Tensor:
    """(B,) a unit's value, of the channels' means (B, C)."""
    count = means.shape[1]
    if unit.index is not None:
        if cast(int, unit.index) >= count:
            raise InvalidInput(
                f"layer {path!r} has no unit {unit.index}; its {count} units are numbered 0 to "
                f"{count - 1}"
            )
        return means[:, cast(int, unit.index)]
    weights = torch.from_numpy(unit.direction).to(means)
    if weights.shape != (count,):
        raise InvalidInput(
            f"layer {path!r} has {count} units, and the direction has shape "
            f"{tuple(weights.shape)}; give one number for each unit"
        )
    return means @ weights


def _only(present: Mapping[str, Present], row: int) -> dict[str, Present]:
    """One of the coalitions."""
    one = slice(row, row + 1)
    return {name: replace(some, players=some.players[one]) for name, some in present.items()}


def _own(encoded: Encoded) -> Encoded:
    """The example as the other model reads it, with the same inputs fixed."""
    own: Encoded = encoded.state
    return replace(own, inputs=encoded.inputs)
