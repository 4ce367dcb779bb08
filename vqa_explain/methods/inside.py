"""What the units and positions of a layer do to the score.

Each method values every element of what a layer gives for the example. `vqa_explain.layer_values`
hands these values out; `explain` sums them over the units of each position and carries them to
words and regions.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput
from vqa_explain.games.quadrature import gauss
from vqa_explain.methods.base import (
    BASELINES,
    FILLS_HELP,
    TEXT_FILLS,
    Attribution,
    Task,
    asked_fills,
    register_method,
)
from vqa_explain.methods.layers import maps_of
from vqa_explain.methods.rules import rescaled
from vqa_explain.methods.states import (
    Between,
    Points,
    conductance,
    of_example,
    output_at,
    points_at,
    score_with,
)
from vqa_explain.models.base import Leaves
from vqa_explain.models.maps import channels_first
from vqa_explain.registry import parameter

GAP = "completeness gap, with what positions without a place hold"
NO_SUM = "none: these values do not add up to a score"


@dataclass(frozen=True, eq=False)
class LayerFound:
    """What a method found in a layer.

    Attributes:
        layer: its path.
        values: (…) float64 shaped as the layer's output for one example, or with one unit where
            positions are valued as a whole.
        change: the change of the score that the values should add up to; `None` where they do not.
        errors: (…) float64 the values' standard errors, of methods that draw.
    """

    layer: str
    values: Tensor
    change: float | None = None
    errors: Tensor | None = None

    @property
    def gap(self) -> float | None:
        """How far the sum of all values is off."""
        return None if self.change is None else abs(float(self.values.sum()) - self.change)


@dataclass(frozen=True)
class LayerMethod:
    """What these methods have in common; `inside` tells them apart."""

    layer: str | None = parameter(None, "path of the layer in the network (default: the model's)")

    def __call__(self, task: Task) -> Attribution:
        found = self.inside(task)
        return attribution_of(task, found)

    def inside(self, task: Task) -> LayerFound:
        """The values of the layer's elements."""
        raise NotImplementedError

    def path(self, task: Task) -> str:
        """The layer that was asked for, or the model's own."""
        return self.layer or task.model.default_layer(task.encoded)


def attribution_of(task: Task, found: LayerFound) -> Attribution:
    """A layer's values at the places of words and regions. What stands elsewhere, as in special
    tokens, is in the error.
    """
    values = _placed(task, found)
    if found.change is None:
        return Attribution(values, None, NO_SUM)
    seen = float(task.players.sums(values).sum())
    return Attribution(values, abs(seen - found.change), GAP)


def _placed(task: Task, found: LayerFound) -> dict[str, np.ndarray]:
    """Input name → values (…) of its elements: those of the layer's positions, summed over units.

    Raises:
        InvalidInput: the layer has no positions, or none that belong to an input.
    """
    if found.values.ndim not in (2, 3):
        raise InvalidInput(
            f"layer {found.layer!r} gives {tuple(found.values.shape)} for one example, whose "
            "elements have no place in words or pictures; vx.layer_values lists them"
        )
    maps, planes = maps_of(task, found.layer, found.values)
    values = {}
    for one in task.encoded.inputs:
        if one.name not in maps or one.fixed:
            values[one.name] = np.zeros(one.shape)
            continue
        summed = maps[one.name][0].sum(dim=0)
        if one.name in planes:
            grid = (summed.shape[0], summed.shape[1])
            values[one.name] = one.feature.of_states(one.content, summed.flatten().numpy(), grid)
        else:
            values[one.name] = one.feature.of_map(one.content, summed, "nearest")
    return values


@dataclass(frozen=True)
class OnPath(LayerMethod):
    """Those that begin at a baseline."""

    image_baseline: str | None = parameter(
        None, "where the picture starts (default: the model's fill)", choices=BASELINES
    )
    text_baseline: str | None = parameter(
        None, "where the words start (default: the model's)", choices=TEXT_FILLS
    )
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def between(self, task: Task) -> Between:
        """The line from the baseline to the example."""
        return Between(task, task.baselines(asked_fills(self, task.encoded.inputs)))


@dataclass(frozen=True)
class InSteps(OnPath):
    """Those that sum over nodes between the baseline and the example."""

    steps: int = parameter(64, "steps between the baseline and the example", low=2, high=4096)


def at_example(task: Task, layer: str, rules: AbstractContextManager[Any] | None = None) -> Points:
    """What a layer holds for the example, and the gradient there, under rules for gradients."""
    return points_at(task, [layer], task.leaves(), rules)


_register = partial(register_method, needs={"gradients", "pixels"})
_NODES = "steps forwards and backwards, and 2 forwards"


@_register(
    "layer_activation",
    source="Captum's LayerActivation",
    unit=units.STATE,
    error=NO_SUM,
    cost="1 forward, 1 backward",
)
@dataclass(frozen=True)
class LayerActivation(LayerMethod):
    """A: what a layer gives at each position, summed over its units. It says nothing of the target.

    The layer must be one that the score depends on.
    """

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        states = at_example(task, layer).of[layer]
        return LayerFound(layer, of_example(task, layer, [in_float64(a[0][:1]) for a, _ in states]))


@_register(
    "layer_gradient_x_activation",
    source="Captum's LayerGradientXActivation; Shrikumar et al. 2016, arXiv:1605.01713",
    unit=units.POINTS,
    error=NO_SUM,
    cost="1 forward, 1 backward",
)
@dataclass(frozen=True)
class LayerGradientXActivation(LayerMethod):
    """A · ∂f/∂A: the first-order guess of what each unit of a layer adds over an activation of
    zero.
    """

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        states = at_example(task, layer).of[layer]
        products = [in_float64(activation * slope)[0] for activation, slope in states]
        return LayerFound(layer, of_example(task, layer, products))


@_register(
    "layer_conductance",
    source="Dhamdhere et al. 2018, arXiv:1805.12233, equation 1; Shrikumar et al. 2018, "
    "arXiv:1807.09946",
    unit=units.POINTS,
    error=GAP,
    cost="steps + 2 forwards, steps + 1 backwards",
)
@dataclass(frozen=True)
class LayerConductance(InSteps):
    """∫ ∂f/∂A · dA: how much of the score's change from the baseline to the example runs through
    each unit of a layer.

    Over all units of a layer that everything passes through it adds up to the change. The rule is
    the trapezoid's.
    """

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        found, change = conductance(self.between(task), [layer], self.steps)
        return LayerFound(layer, of_example(task, layer, found[layer]), change)


@_register(
    "internal_influence",
    source="Leino et al. 2018, arXiv:1802.03788, definition 1",
    unit=units.INFLUENCE,
    error=NO_SUM,
    cost="steps + 1 forwards, steps backwards",
)
@dataclass(frozen=True)
class InternalInfluence(InSteps):
    """∫ ∂f/∂A dα: the gradient in each unit of a layer, averaged between the baseline and the
    example.
    """

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        nodes, weights = gauss(self.steps)
        known = dict(zip(nodes.tolist(), weights.tolist(), strict=True))
        sums: list[Tensor] = []
        for places, points in self.between(task).points([layer], nodes):
            weight = torch.tensor([known[place] for place in places.tolist()])
            parts = [
                torch.tensordot(weight.double(), in_float64(slope), dims=1)
                for _, slope in points.of[layer]
            ]
            sums = [a + b for a, b in zip(sums, parts, strict=True)] if sums else parts
        return LayerFound(layer, of_example(task, layer, sums))


@_register(
    "layer_integrated_gradients",
    source="Sundararajan et al. 2017, arXiv:1703.01365, over the states of a layer, as Captum's "
    "LayerIntegratedGradients",
    unit=units.POINTS,
    error=GAP,
    cost="steps + 4 forwards, steps backwards",
)
@dataclass(frozen=True)
class LayerIntegratedGradients(InSteps):
    """(A − A') · ∫ ∂f(A' + α(A − A')) dα: integrated gradients of the network behind a layer, from
    what the layer gives for the baseline.

    What passes the layer by stays the example's own.
    """

    def inside(self, task: Task) -> LayerFound:
        layer, between = self.path(task), self.between(task)
        here = output_at(task, layer, between.at(np.array([1.0])))
        there = output_at(task, layer, between.at(np.array([0.0])))
        nodes, weights = gauss(self.steps)
        place = torch.tensor(nodes).to(here).view(-1, *[1] * (here.ndim - 1))
        states = (there + place * (here - there)).detach().requires_grad_(True)
        with torch.enable_grad():
            scores = score_with(task, layer, states)
            (slopes,) = torch.autograd.grad(scores.sum(), states)
        task.cost.backwards += len(states)
        mean = torch.tensordot(torch.tensor(weights), in_float64(slopes), dims=1)
        with torch.no_grad():
            ends = score_with(task, layer, torch.cat([there, here]))
        values = in_float64(here - there)[0] * mean
        return LayerFound(layer, of_example(task, layer, [values]), float(ends[1] - ends[0]))


@_register(
    "layer_deep_lift",
    source="Shrikumar et al. 2017, arXiv:1704.02685, section 3.5.1",
    unit=units.POINTS,
    error=GAP,
    cost="2 forwards, 2 backwards",
)
@dataclass(frozen=True)
class LayerDeepLift(OnPath):
    """(A − A') times the slope between the two at every nonlinearity behind a layer, the rescale
    rule.
    """

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        return LayerFound(layer, *lifted_at(task, layer, self.between(task).start))


def lifted_at(task: Task, layer: str, start: Leaves) -> tuple[Tensor, float]:
    """(…) values of a layer's elements by the rescale rule from a baseline's leaves (1, …), and the
    score's change.
    """
    pairs = Between(task, start).at(np.array([1.0, 0.0]))
    points = points_at(task, [layer], pairs, rescaled(task))
    task.check_value(points.scores[0])
    values = [in_float64((a[:1] - a[1:]) * slope[:1])[0] for a, slope in points.of[layer]]
    return of_example(task, layer, values), float(points.scores[0] - points.scores[1])


@_register(
    "layer_ablation",
    source="Captum's LayerFeatureAblation; Morcos et al. 2018, arXiv:1803.06959, section 2",
    unit=units.POINTS,
    error=NO_SUM,
    cost="positions + 2 forwards",
)
@dataclass(frozen=True)
class LayerAblation(LayerMethod):
    """f − f with one position of a layer set to zero: what is lost without it.

    `vx.layer_values` takes each="unit" too, which sets one unit to zero at all positions. Of a
    layer without positions each unit is one. Losses are of one position at a time, and do not add
    up.
    """

    each: str = parameter("position", "what is set to zero at once", choices=("position", "unit"))

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        state = output_at(task, layer, task.leaves())  # (1, R, …)
        parts = parts_of(task, layer, of_example(task, layer, [state[0]]), self.each)
        left, whole = scores_without(task, layer, state, parts)
        lost = (whole - left).reshape(-1, *[1] * (parts.ndim - 1))
        size = parts.flatten(1).sum(dim=1).reshape(lost.shape)
        if self.each == "unit" and parts.ndim > 2:
            return LayerFound(layer, lost.flatten())
        values = (parts.cpu() * lost / size.cpu()).sum(dim=0)
        return LayerFound(layer, values)


@torch.no_grad()
def scores_without(task: Task, layer: str, state: Tensor, parts: Tensor) -> tuple[Tensor, Tensor]:
    """(P,) float64 scores with each part (P, …) bool of a layer's state (1, R, …) set to zero, and
    (1,) with none.
    """
    mask = torch.ones((len(parts), *state.shape[2:]), dtype=state.dtype, device=state.device)
    # Behind a prompt stand the answer's positions, which stay.
    inside = tuple(slice(0, size) for size in parts.shape[1:])
    mask[(slice(None), *inside)] = (~parts).to(mask)
    left = score_with(task, layer, state * mask[:, None])
    return left, score_with(task, layer, state)


def parts_of(task: Task, layer: str, state: Tensor, each: str) -> Tensor:
    """(P, …) bool, the elements of each position, or of each unit, of a state (…)."""
    places: Any = np.arange(state.numel()).reshape(state.shape)
    if state.ndim > 3:
        raise InvalidInput(
            f"layer {layer!r} gives {tuple(state.shape)} for one example, which are no positions "
            "with units; choose another"
        )
    if state.ndim > 1:
        axis = -1
        if state.ndim == 3:
            first = channels_first(task.model, task.encoded, layer, state)
            axis = 0 if first.shape == state.shape and first is state else -1
        units_last = np.moveaxis(places, axis, -1)
        count = units_last.shape[-1]
        numbers = units_last.reshape(-1, count)
        rows = numbers if each == "position" else numbers.T
    else:
        rows = places[:, None]
    parts = torch.zeros((len(rows), state.numel()), dtype=torch.bool, device=state.device)
    parts.scatter_(1, torch.from_numpy(rows.copy()).to(state.device), True)
    return parts.reshape(len(rows), *state.shape)
