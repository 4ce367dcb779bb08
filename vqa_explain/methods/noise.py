"""Gradient methods averaged over random inputs: SmoothGrad, VarGrad and gradient SHAP."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.methods.base import (
    METHODS,
    Attribution,
    Task,
    Values,
    of_leaves,
    register_method,
    until_stopped,
)
from vqa_explain.methods.starts import Drawing, Starts
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

OF = ("saliency", "input_x_gradient", "integrated_gradients")
ERROR = "largest standard error of a region or token"
NO_SUM = "none: variances do not add up to a score"


class Spread:
    """Running mean and variance (Welford) of every element of every input,
    and of the sums over players.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self.count = 0
        self.mean: dict[str, np.ndarray] = {}
        self.square: dict[str, np.ndarray] = {}
        self.of_players = np.zeros((2, len(task.players)))  # mean and square

    def add(self, values: Values) -> None:
        """One draw's values (…) by input."""
        self.count += 1
        for name, value in values.items():
            before = self.mean.get(name, np.zeros_like(value)), self.square.get(name, 0.0)
            self.mean[name], self.square[name] = self._moved(*before, value)
        mean, square = self.of_players
        self.of_players[:] = self._moved(mean, square, self.task.players.sums(values))

    def _moved(
        self, mean: np.ndarray, square: np.ndarray | float, value: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean and the sum of squares with one more value, the `count`-th."""
        step = value - mean
        moved = mean + step / self.count
        return moved, square + step * (value - moved)

    def variance(self) -> dict[str, np.ndarray]:
        """Input name → (…) each element's variance."""
        return {name: square / max(1, self.count - 1) for name, square in self.square.items()}

    def error(self) -> float:
        """The largest standard error of the mean of a player,
        or of an element of an input of few.
        """
        largest = [(self.of_players[1] / max(1, self.count - 1)).max(initial=0.0)]
        # Errors of single pixels are left out: nobody reads pixels one by one.
        largest += [
            values.max(initial=0.0) for values in self.variance().values() if values.ndim == 1
        ]
        return float(np.sqrt(max(largest) / self.count))


def _noisy(task: Task, of: str, samples: int, noise: float) -> Spread:
    """The method's values at `samples` points x + ε,
    ε normal with deviation `noise` times each leaf's range.
    """
    leaves, method = task.leaves(), METHODS[of]()
    generator = torch.Generator().manual_seed(task.seed)
    spread = Spread(task)

    def found() -> Iterator[Attribution]:
        for _ in range(samples):
            shift = {}
            for name, leaf in leaves.items():
                drawn = torch.randn(leaf.shape, generator=generator) * noise
                shift[name] = drawn.to(leaf) * (leaf.max() - leaf.min())
                if task.encoded[name].fixed:
                    shift[name] = torch.zeros_like(leaf)
            yield method(replace(task, shift=shift, progress=None))

    for one in until_stopped(task, found()):
        spread.add(one.values)
        if task.progress:
            task.progress(spread.count, samples)
    return spread


@register_method(
    "smoothgrad",
    source="Smilkov et al. 2017, arXiv:1706.03825, section 2.2",
    unit=units.GRADIENT_SIZE,  # of the default; see `unit_of_values`
    needs={"gradients"},
    error=ERROR,
    cost="samples × the method's cost",
)
@dataclass(frozen=True)
class SmoothGrad:
    """The mean of a gradient method over noisy copies of the inputs."""

    of: str = parameter("saliency", "the method that is averaged", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(
        0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0
    )

    def __call__(self, task: Task) -> Attribution:
        spread = _noisy(task, self.of, self.samples, self.noise)
        return Attribution(spread.mean, spread.error(), ERROR)

    def unit_of_values(self) -> str:
        """That of the method that is averaged."""
        return units.unit_of(METHODS[self.of])


@register_method(
    "vargrad",
    source="Adebayo et al. 2018, arXiv:1810.03307, section 3",
    unit=units.SQUARED_GRADIENT,  # of the default; see `unit_of_values`
    needs={"gradients"},
    error=NO_SUM,
    cost="samples × the method's cost",
)
@dataclass(frozen=True)
class VarGrad:
    """The variance of a gradient method over noisy copies of the inputs. Never negative.

    Of saliency it is in squared sizes of the gradient, of the other methods in squared points. Over
    a region the variances of its pixels are summed.
    """

    of: str = parameter("saliency", "the method whose variance is taken", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(
        0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0
    )

    def __call__(self, task: Task) -> Attribution:
        found = _noisy(task, self.of, self.samples, self.noise).variance()
        return Attribution(found, None, NO_SUM)

    def unit_of_values(self) -> str:
        """The square of that of the method whose variance is taken."""
        return units.of_variance(units.unit_of(METHODS[self.of]))


@register_method(
    "gradient_shap",
    source="Erion et al. 2021, arXiv:1906.10670, equation 3; Lundberg & Lee 2017",
    unit=units.POINTS,
    needs={"gradients"},
    error=ERROR,
    cost="samples forwards and backwards",
)
@dataclass(frozen=True)
class GradientShap(Drawing):
    """The mean of (x − x') · ∇f(x' + α(x − x')) over random α in [0, 1] and random baselines x'.

    The baselines are the picture's fills, drawn anew for each sample, and the absent words; or
    examples, as in expected gradients. The error is the largest standard error of a region or
    token; the sum estimates f(x) less the mean score of the baselines.
    """

    samples: int = parameter(64, "draws of a baseline and a point between", low=2, high=1_000_000)

    def __call__(self, task: Task) -> Attribution:
        leaves, spread = task.leaves(), Spread(task)
        for batch in until_stopped(task, self._terms(task, leaves)):
            draws = len(next(iter(batch.values())))
            for row in range(draws):
                spread.add({name: values[row] for name, values in batch.items()})
            if task.progress:
                task.progress(spread.count, self.samples)
        return Attribution(spread.mean, spread.error(), ERROR)

    def _terms(self, task: Task, leaves: Leaves) -> Iterator[dict[str, np.ndarray]]:
        """Batches of (x − x') · ∇f at random points: input name → values (B, …)."""
        rng = np.random.default_rng(task.seed)
        _, at_once = task.whole_as_is(leaves)
        drawing = Starts.of(task, self)
        for first in range(0, self.samples, at_once):
            some = min(at_once, self.samples - first)
            starts = drawing.draw(rng, some)
            alpha = torch.from_numpy(rng.random(some))
            path, away = {}, {}
            for name, leaf in leaves.items():
                start = torch.cat([s[name] for s in starts])
                away[name] = leaf - start
                path[name] = start + alpha.to(leaf).view(-1, *[1] * (leaf.ndim - 1)) * away[name]
            _, gradient = task.gradients_as_is(path)
            yield of_leaves(task.encoded, {name: away[name] * g for name, g in gradient.items()})
