"""Methods that differentiate the score with respect to all leaves at once."""

from dataclasses import dataclass, field

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.games.quadrature import gauss, refined
from vqa_explain.methods.base import BASELINES, GAP, TEXT_FILLS, Attribution, Task, register_method
from vqa_explain.models.base import Leaves
from vqa_explain.precision import in_float64
from vqa_explain.registry import parameter

NO_SUM = "none: gradients do not add up to a score"


def summed(values: Leaves) -> tuple[np.ndarray, np.ndarray]:
    """Channels and embedding dimensions summed: images (B, H', W') and tokens (B, T), float64."""
    image = in_float64(values["image"]).sum(dim=1).numpy()
    text = values.get("text")
    return image, np.zeros((len(image), 0)) if text is None else in_float64(text).sum(dim=2).numpy()


def sums(values: Leaves) -> tuple[np.ndarray, np.ndarray]:
    """The same of leaves of batch 1: image (H', W') and tokens (T,)."""
    image, tokens = summed(values)
    return image[0], tokens[0]


@register_method(
    "saliency",
    source="Simonyan et al. 2013, arXiv:1312.6034, section 3",
    unit=units.GRADIENT_SIZE,
    needs={"gradients"},
    error=NO_SUM,
    cost="1 forward, 1 backward",
)
@dataclass(frozen=True)
class Saliency:
    """The size of the score's gradient, |∂f/∂x|, per pixel and token. Unsigned; it does not add up to a score.

    The image part takes the largest channel or their sum; the text part sums over the embedding.
    """

    channels: str = parameter("max", "how color channels are joined", choices=("max", "sum"))

    def __call__(self, task: Task) -> Attribution:
        _, gradient = task.gradients(task.leaves())
        sizes = {name: g.abs() for name, g in gradient.items()}
        image, tokens = sums(sizes)
        if self.channels == "max":
            image = in_float64(sizes["image"]).amax(dim=1)[0].numpy()
        return Attribution(image, tokens, None, NO_SUM)


@register_method(
    "input_x_gradient",
    source="Shrikumar et al. 2016, arXiv:1605.01713",
    unit=units.POINTS,
    needs={"gradients"},
    error=GAP,
    cost="2 forwards, 1 backward",
)
@dataclass(frozen=True)
class InputXGradient:
    """x · ∂f/∂x, the first-order guess of what each input adds over an input of zero."""

    def __call__(self, task: Task) -> Attribution:
        leaves = task.leaves()
        value, gradient = task.gradients(leaves)
        image, tokens = sums({name: leaves[name] * g for name, g in gradient.items()})
        with torch.no_grad():
            zero = task.score({name: torch.zeros_like(leaf) for name, leaf in leaves.items()})
        gap = image.sum() + tokens.sum() - float(value - zero)
        return Attribution(image, tokens, abs(gap), GAP)


@register_method(
    "integrated_gradients",
    source="Sundararajan et al. 2017, arXiv:1703.01365, equation 1",
    unit=units.POINTS,
    needs={"gradients"},
    error=GAP,
    cost="steps forwards and backwards; with tolerance as many as the score's curve needs, often 7 to 31, "
    "and below 2 · steps",
)
@dataclass(frozen=True)
class IntegratedGradients:
    """(x − x') · ∫ ∂f(x' + α(x − x')) dα, words and pixels on one joint path from the baseline x'.

    The error is the completeness gap |Σa − (f(x) − f(x'))|; of several baselines, that of the mean. The rule is
    Gauss–Legendre's with `steps` nodes. With `tolerance`, rules of 7, 15, 31, … nodes are tried until each gap is at
    most tolerance · |f(x) − f(x')| or the next would have more than `steps`. Up to 63 nodes each rule reuses the
    evaluations of the one before; larger rules start anew.
    """

    steps: int = parameter(
        64, "nodes on the path; with tolerance, the most nodes of one rule", low=2, high=4096
    )
    tolerance: float | None = parameter(
        None, "stop when the gap is this share of the score's change", low=0.0, high=1.0
    )
    image_baseline: str | tuple[str, ...] | None = parameter(
        None,
        "where the picture starts (default: blur); of several, the mean is taken",
        choices=BASELINES,
        several=True,
    )
    text_baseline: str | None = parameter(
        None, "where the words start (default: the model's)", choices=TEXT_FILLS
    )

    def __call__(self, task: Task) -> Attribution:
        leaves = task.leaves()
        whole, at_once = task.whole(leaves)
        asked = self.image_baseline
        names = tuple(asked) if isinstance(asked, list | tuple) else (asked,)
        images, tokens, gaps = [], [], []
        for number, name in enumerate(names):
            start = task.model.baselines(
                task.encoded, task.fills(name, self.text_baseline), task.seed
            )
            path = _Path(task, leaves, start, at_once, number * self.steps, len(names) * self.steps)
            image, words, gap = self._along(path, whole)
            images.append(image)
            tokens.append(words)
            gaps.append(gap)
        return Attribution(
            np.mean(images, axis=0), np.mean(tokens, axis=0), abs(float(np.mean(gaps))), GAP
        )

    def _along(self, path: "_Path", whole: float) -> tuple[np.ndarray, np.ndarray, float]:
        """Image (H', W'), tokens (T,) and completeness gap of one baseline."""
        with torch.no_grad():
            change = whole - float(path.task.score(path.start))
        rules = (gauss(self.steps),) if self.tolerance is None else refined(self.steps)
        for nodes, weights in rules:
            image, tokens = path.integral(nodes, weights)
            gap = float(image.sum() + tokens.sum() - change)
            if self.tolerance is not None and abs(gap) <= self.tolerance * max(abs(change), 1e-6):
                break
        return image, tokens, gap


@dataclass
class _Path:
    """The straight line from `start` to `leaves`: (x − x') · ∂f at every node that was asked for, kept."""

    task: Task
    leaves: Leaves
    start: Leaves
    at_once: int
    before: int  # nodes of earlier paths, and of all paths, for the progress
    total: int
    known: dict[float, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)

    def integral(self, nodes: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The weighted sums over the nodes: image (H', W') and tokens (T,)."""
        keys = [round(a, 12) for a in nodes.tolist()]
        todo = [a for a in keys if a not in self.known]
        for first in range(0, len(todo), self.at_once):
            self._evaluate(todo[first : first + self.at_once])
        image, tokens = (np.zeros_like(part, dtype=np.float64) for part in self.known[keys[0]])
        for weight, key in zip(weights.tolist(), keys, strict=True):
            image += weight * self.known[key][0]
            tokens += weight * self.known[key][1]
        return image, tokens

    def _evaluate(self, nodes: list[float]) -> None:
        away = {name: leaf - self.start[name] for name, leaf in self.leaves.items()}
        points = {}
        for name, difference in away.items():
            alpha = torch.tensor(nodes, device=difference.device, dtype=difference.dtype)
            points[name] = (
                self.start[name] + alpha.view(-1, *[1] * (difference.ndim - 1)) * difference
            )
        _, gradient = self.task.gradients(points)
        images, tokens = summed({name: away[name] * g for name, g in gradient.items()})
        self.known.update(
            zip(nodes, zip(images.astype(np.float32), tokens, strict=True), strict=True)
        )
        if self.task.progress:
            self.task.progress(self.before + len(self.known), self.total)
