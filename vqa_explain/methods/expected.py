"""Methods whose values are means over baselines that are drawn: DeepLIFT-SHAP, and gradient SHAP
and DeepLIFT-SHAP of layers.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.methods.base import (
    Attribution,
    Task,
    register_method,
    until_stopped,
)
from vqa_explain.methods.inside import GAP, LayerFound, LayerMethod, lifted_at
from vqa_explain.methods.noise import ERROR, Spread
from vqa_explain.methods.rules import lifted, rescaled
from vqa_explain.methods.starts import Drawing, Starts
from vqa_explain.methods.states import Between, of_example, points_at, scored_output_at
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter


@register_method(
    "deep_lift_shap",
    source="Lundberg & Lee 2017, arXiv:1705.07874, section 4.2; Shrikumar et al. 2017, "
    "arXiv:1704.02685, section 3.5.1",
    unit=units.POINTS,
    needs={"gradients"},
    error=ERROR,
    cost="2 forwards and 2 backwards for each baseline",
)
@dataclass(frozen=True)
class DeepLiftShap(Drawing):
    """The mean of DeepLIFT over many baselines: all examples that are given, or `samples` of them,
    none twice; else fills.

    The values add up to f(x) less the mean score of the baselines, as far as DeepLIFT's do.
    """

    def __call__(self, task: Task) -> Attribution:
        rescaled(task)  # refuses a network before baselines are read
        starts = Starts.of(task, self).some(np.random.default_rng(task.seed), self.samples)
        spread = Spread(task)
        for values in until_stopped(task, (lifted(task, start)[0] for start in starts)):
            spread.add(values)
            if task.progress:
                task.progress(spread.count, len(starts))
        return Attribution(spread.mean, spread.error(), ERROR)


@dataclass(frozen=True)
class _LayerDrawing(LayerMethod, Drawing):
    """Those of layers."""

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        count, change = 0, 0.0
        mean, square = torch.zeros(()), torch.zeros(())
        for values, moved in until_stopped(task, self._draws(task, layer)):
            count += 1
            step = values - mean
            mean = mean + step / count
            square = square + step * (values - mean)
            change += moved
            if task.progress:
                task.progress(count, self.samples)
        errors = (square / max(1, count - 1) / count).sqrt()
        return LayerFound(layer, mean, change / count, errors)

    def _draws(self, task: Task, layer: str) -> Iterator[tuple[Tensor, float]]:
        """Of one baseline after the other, the layer's values (…) and the score's change."""
        raise NotImplementedError


@register_method(
    "layer_gradient_shap",
    source="Captum's LayerGradientShap; Erion et al. 2021, arXiv:1906.10670, equation 3",
    unit=units.POINTS,
    needs={"gradients", "pixels"},
    error=GAP,
    cost="2 forwards and 1 backward for each sample, and 1 forward",
)
@dataclass(frozen=True)
class LayerGradientShap(_LayerDrawing):
    """The mean of (A − A') · ∂f/∂A over random baselines, A' being what a layer gives there, and
    random points on the line from each to the example.

    The gap counts that points are drawn: it shrinks with the root of `samples`.
    """

    samples: int = parameter(64, "draws of a baseline and a point between", low=2, high=1_000_000)

    def _draws(self, task: Task, layer: str) -> Iterator[tuple[Tensor, float]]:
        rng, starts = np.random.default_rng(task.seed), Starts.of(task, self)
        whole, here = scored_output_at(task, layer, task.leaves())
        for _ in range(self.samples):
            (start,) = starts.draw(rng, 1)
            place = rng.random(1)
            score, there = scored_output_at(task, layer, start)
            point = points_at(task, [layer], Between(task, start).at(place))
            slope = point.of[layer][0][1]
            values = in_float64((here - there) * slope)[0]
            yield of_example(task, layer, [values]), float(whole - score)


@register_method(
    "layer_deep_lift_shap",
    source="Captum's LayerDeepLiftShap; Lundberg & Lee 2017, arXiv:1705.07874, section 4.2",
    unit=units.POINTS,
    needs={"gradients", "pixels"},
    error=GAP,
    cost="2 forwards and 2 backwards for each baseline",
)
@dataclass(frozen=True)
class LayerDeepLiftShap(_LayerDrawing):
    """The mean of DeepLIFT of a layer over many baselines: all examples that are given, or
    `samples` of them, none twice; else fills.
    """

    def _draws(self, task: Task, layer: str) -> Iterator[tuple[Tensor, float]]:
        rescaled(task)  # refuses a network before baselines are read
        rng = np.random.default_rng(task.seed)
        starts: list[Leaves] = Starts.of(task, self).some(rng, self.samples)
        for start in starts:
            yield lifted_at(task, layer, start)
