"""Gradient methods averaged over random inputs: SmoothGrad, VarGrad and gradient SHAP."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from vqa_explain.features.image import grid_regions
from vqa_explain.methods.base import METHODS, Attribution, Task, parameter, register
from vqa_explain.methods.gradients import IMAGE_FILLS, NODES_AT_ONCE, sums
from vqa_explain.models.base import Leaves

OF = ("saliency", "input_x_gradient", "integrated_gradients")
Values = tuple[np.ndarray, np.ndarray]  # image (H', W'), tokens (T,)


class _Spread:
    """Running mean and variance (Welford) of image and tokens, and of the sums over the model's grid."""

    def __init__(self, task: Task) -> None:
        frame = (task.encoded.pixels.shape[2], task.encoded.pixels.shape[3])
        self.regions = grid_regions(frame, task.encoded.grid)
        self.count = 0
        self.mean: list[np.ndarray] = []
        self.square: list[np.ndarray] = []

    def add(self, image: np.ndarray, tokens: np.ndarray) -> None:
        cells = np.bincount(self.regions.labels.ravel(), image.ravel(), minlength=self.regions.count)
        values = [image, tokens, cells]
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
    leaves, generator, method = task.leaves(), torch.Generator().manual_seed(task.seed), METHODS[of]()
    spread = _Spread(task)
    for number in range(samples):
        shift = {
            name: (torch.randn(leaf.shape, generator=generator) * noise).to(leaf) * (leaf.max() - leaf.min())
            for name, leaf in leaves.items()
        }
        found = method(replace(task, shift=shift, progress=None))
        spread.add(found.image, found.tokens)
        if task.progress:
            task.progress(number + 1, samples)
    return spread


@register
@dataclass(frozen=True)
class SmoothGrad:
    """The mean of a gradient method over noisy copies of picture and words."""

    name: ClassVar[str] = "smoothgrad"
    source: ClassVar[str] = "Smilkov et al. 2017, arXiv:1706.03825, section 2.2"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    of: str = parameter("saliency", "the method that is averaged", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0)

    def __call__(self, task: Task) -> Attribution:
        spread = _noisy(task, self.of, self.samples, self.noise)
        return Attribution(
            spread.mean[0], spread.mean[1], spread.error(), "largest standard error of a region or token"
        )


@register
@dataclass(frozen=True)
class VarGrad:
    """The variance of a gradient method over noisy copies of picture and words, in squared points. Never negative."""

    name: ClassVar[str] = "vargrad"
    source: ClassVar[str] = "Adebayo et al. 2018, arXiv:1810.03307, section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    of: str = parameter("saliency", "the method whose variance is taken", choices=OF)
    samples: int = parameter(32, "noisy copies", low=2, high=100_000)
    noise: float = parameter(0.1, "standard deviation, as a share of the range of pixels and of embeddings", low=0.0)

    def __call__(self, task: Task) -> Attribution:
        image, tokens, _ = _noisy(task, self.of, self.samples, self.noise).variance()
        return Attribution(image, tokens, None, "none: variances do not add up to a score")


@register
@dataclass(frozen=True)
class GradientShap:
    """The mean of (x − x') · ∇f(x' + α(x − x')) over random α in [0, 1] and random baselines x'.

    The baselines are the picture's fills, drawn anew for each sample, and the absent words. The error is the largest
    standard error of a region or token; the sum estimates f(x) less the mean score of the baselines.
    """

    name: ClassVar[str] = "gradient_shap"
    source: ClassVar[str] = "Erion et al. 2021, arXiv:1906.10670, equation 3; Lundberg & Lee 2017"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    samples: int = parameter(64, "draws of a baseline and a point between", low=2, high=1_000_000)
    image_baseline: str = parameter(
        "any", "where the picture starts: a fill, or any of them at random", choices=("any", *IMAGE_FILLS)
    )
    text_baseline: str | None = parameter(None, "where the words start (default: the model's)", choices=("mask", "pad"))

    def __call__(self, task: Task) -> Attribution:
        rng, leaves, spread = np.random.default_rng(task.seed), task.leaves(), _Spread(task)
        for path, away in self._paths(task, leaves, rng):
            _, gradient = task.gradients(path)
            for row in range(len(path["image"])):
                part = slice(row, row + 1)
                spread.add(*sums({name: away[name][part] * g[part] for name, g in gradient.items()}))
            if task.progress:
                task.progress(spread.count, self.samples)
        return Attribution(
            spread.mean[0], spread.mean[1], spread.error(), "largest standard error of a region or token"
        )

    def _paths(self, task: Task, leaves: Leaves, rng: np.random.Generator) -> Iterator[tuple[Leaves, Leaves]]:
        """Batches of points x' + α(x − x') and of x − x'."""
        names = IMAGE_FILLS if self.image_baseline == "any" else (self.image_baseline,)
        for first in range(0, self.samples, NODES_AT_ONCE):
            some = min(NODES_AT_ONCE, self.samples - first)
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
            yield path, away
