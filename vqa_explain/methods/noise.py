"""Gradient methods averaged over random inputs: SmoothGrad, VarGrad and gradient SHAP."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.methods.base import (
    BASELINES,
    METHODS,
    TEXT_FILLS,
    Attribution,
    Task,
    over_regions,
    register_method,
    until_stopped,
)
from vqa_explain.methods.gradients import summed
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

OF = ("saliency", "input_x_gradient", "integrated_gradients")
ERROR = "largest standard error of a region or token"
NO_SUM = "none: variances do not add up to a score"


class _Spread:
    """Running mean and variance (Welford) of image and tokens, and of the sums over regions."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.count = 0
        self.mean: list[np.ndarray] = []
        self.square: list[np.ndarray] = []

    def add(self, image: np.ndarray, tokens: np.ndarray) -> None:
        values = [image, tokens, over_regions(self.task, image)]
        self.count += 1
        if not self.mean:
            self.mean, self.square = values, [np.zeros_like(v) for v in values]
            return
        for k, value in enumerate(values):
            step = value - self.mean[k]
            self.mean[k] = self.mean[k] + step / self.count
            self.square[k] = self.square[k] + step * (value - self.mean[k])

    def variance(self) -> list[np.ndarray]:
        return [s / max(1, self.count - 1) for s in self.square]

    def error(self) -> float:
        """The largest standard error of the mean of a region or token."""
        _, tokens, cells = self.variance()
        return float(np.sqrt(np.concatenate([tokens, cells]).max() / self.count))


def _noisy(task: Task, of: str, samples: int, noise: float) -> _Spread:
    """The method's values at `samples` points x + ε, ε normal with deviation `noise` times each leaf's range."""
    leaves, generator, method = (
        task.leaves(),
        torch.Generator().manual_seed(task.seed),
        METHODS[of](),
    )
    spread = _Spread(task)

    def found() -> Iterator[Attribution]:
        for _ in range(samples):
            shift = {
                name: (torch.randn(leaf.shape, generator=generator) * noise).to(leaf)
                * (leaf.max() - leaf.min())
                for name, leaf in leaves.items()
            }
            yield method(replace(task, shift=shift, progress=None))

    for one in until_stopped(task, found()):
        spread.add(one.image, one.tokens)
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
    """The mean of a gradient method over noisy copies of picture and words."""

    of: str = parameter("saliency", "the method that is averaged", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(
        0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0
    )

    def __call__(self, task: Task) -> Attribution:
        spread = _noisy(task, self.of, self.samples, self.noise)
        return Attribution(spread.mean[0], spread.mean[1], spread.error(), ERROR)

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
    """The variance of a gradient method over noisy copies of picture and words. Never negative.

    Of saliency it is in squared sizes of the gradient, of the other methods in squared points. Over a region the
    variances of its pixels are summed.
    """

    of: str = parameter("saliency", "the method whose variance is taken", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(
        0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0
    )

    def __call__(self, task: Task) -> Attribution:
        image, tokens, _ = _noisy(task, self.of, self.samples, self.noise).variance()
        return Attribution(image, tokens, None, NO_SUM)

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
class GradientShap:
    """The mean of (x − x') · ∇f(x' + α(x − x')) over random α in [0, 1] and random baselines x'.

    The baselines are the picture's fills, drawn anew for each sample, and the absent words. The error is the largest
    standard error of a region or token; the sum estimates f(x) less the mean score of the baselines.
    """

    samples: int = parameter(64, "draws of a baseline and a point between", low=2, high=1_000_000)
    image_baseline: str = parameter(
        "any",
        "where the picture starts: a fill, or any of them at random",
        choices=("any", *BASELINES),
    )
    text_baseline: str | None = parameter(
        None, "where the words start (default: the model's)", choices=TEXT_FILLS
    )

    def __call__(self, task: Task) -> Attribution:
        leaves, spread = task.leaves(), _Spread(task)
        for images, tokens in until_stopped(task, self._terms(task, leaves)):
            for image, words in zip(images, tokens, strict=True):
                spread.add(image, words)
            if task.progress:
                task.progress(spread.count, self.samples)
        return Attribution(spread.mean[0], spread.mean[1], spread.error(), ERROR)

    def _terms(self, task: Task, leaves: Leaves) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of (x − x') · ∇f at random points, images (B, H', W') and tokens (B, T)."""
        rng = np.random.default_rng(task.seed)
        _, at_once = task.whole(leaves)
        known = next(feature.fills for feature in task.model.features if feature.name == "image")
        names = (
            [b for b in BASELINES if b in known]
            if self.image_baseline == "any"
            else [self.image_baseline]
        )
        for first in range(0, self.samples, at_once):
            some = min(at_once, self.samples - first)
            fills = [str(f) for f in rng.choice(names, some)]
            seeds = [int(s) for s in rng.integers(2**31, size=some)]
            starts = [
                task.model.baselines(task.encoded, task.fills(fill, self.text_baseline), seed)
                for fill, seed in zip(fills, seeds, strict=True)
            ]
            alpha = torch.from_numpy(rng.random(some))
            path, away = {}, {}
            for name, leaf in leaves.items():
                start = torch.cat([s[name] for s in starts])
                away[name] = leaf - start
                path[name] = start + alpha.to(leaf).view(-1, *[1] * (leaf.ndim - 1)) * away[name]
            _, gradient = task.gradients(path)
            yield summed({name: away[name] * g for name, g in gradient.items()})
