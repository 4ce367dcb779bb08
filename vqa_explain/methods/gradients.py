"""Methods that differentiate the score with respect to all leaves at once."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.games.quadrature import gauss, refined
from vqa_explain.methods.base import (
    BASELINES,
    FILLS_HELP,
    GAP,
    TEXT_FILLS,
    Attribution,
    Task,
    alternatives,
    asked_fills,
    of_leaves,
    of_one,
    register_method,
    total,
)
from vqa_explain.methods.passes import WholePass, leaves_pass
from vqa_explain.models.base import Leaves, Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.registry import parameter

NO_SUM = "none: gradients do not add up to a score"


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
    """The size of the score's gradient, |∂f/∂x|, per pixel and token. Unsigned; it does not add up
    to a score.

    Of a pixel it is the largest color channel or their sum; of a token, the sum over the embedding.
    """

    channels: str = parameter("max", "how color channels are joined", choices=("max", "sum"))

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        return leaves_pass(model, encoded, leaves)

    def __call__(self, task: Task) -> Attribution:
        gradient = task.gradients_of(task.opened(self.whole_pass))
        sizes = {name: g.abs() for name, g in gradient.items()}
        values = of_one(task.encoded, sizes, largest=self.channels == "max")
        return Attribution(values, None, NO_SUM)


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

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        return leaves_pass(model, encoded, leaves)

    def __call__(self, task: Task) -> Attribution:
        leaves, whole = task.leaves(), task.opened(self.whole_pass)
        value, gradient = whole.value(task.target).detach(), task.gradients_of(whole)
        products = {name: leaves[name] * g for name, g in gradient.items()}
        values = of_one(task.encoded, products)
        zeros = {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
        zero = task.score_as_is(task.kept_fixed(zeros))
        return Attribution(values, abs(total(values) - float(value - zero)), GAP)


@register_method(
    "integrated_gradients",
    source="Sundararajan et al. 2017, arXiv:1703.01365, equation 1",
    unit=units.POINTS,
    needs={"gradients"},
    error=GAP,
    cost="steps forwards and backwards; with tolerance as many as the score's curve needs, often 7 "
    "to 31, and below 2 · steps",
)
@dataclass(frozen=True)
class IntegratedGradients:
    """(x − x') · ∫ ∂f(x' + α(x − x')) dα, words and pixels on one joint path from the baseline x'.

    The error is the completeness gap |Σa − (f(x) − f(x'))|; of several baselines, that of the mean.
    The rule is Gauss–Legendre's with `steps` nodes. With `tolerance`, rules of 7, 15, 31, … nodes
    are tried until each gap is at most tolerance · |f(x) − f(x')| or the next would have more than
    `steps`. Up to 63 nodes each rule reuses the evaluations of the one before; larger rules start
    anew.
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
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def __call__(self, task: Task) -> Attribution:
        leaves = task.leaves()
        whole, at_once = task.whole_as_is(leaves)
        several = alternatives(asked_fills(self, task.encoded.inputs))
        found, gaps = [], []
        for number, fills in enumerate(several):
            start, done = task.baselines(fills), number * self.steps
            path = _Path(task, leaves, start, at_once, done, len(several) * self.steps)
            values, gap = self._along(path, whole)
            found.append(values)
            gaps.append(gap)
        means = {name: np.mean([one[name] for one in found], axis=0) for name in leaves}
        return Attribution(means, abs(float(np.mean(gaps))), GAP)

    def _along(self, path: "_Path", whole: float) -> tuple[dict[str, np.ndarray], float]:
        """Input name → values (…), and the completeness gap, of one baseline."""
        change = whole - float(path.task.score_as_is(path.start))
        rules = (gauss(self.steps),) if self.tolerance is None else refined(self.steps)
        for nodes, weights in rules:
            values = path.integral(nodes, weights)
            gap = total(values) - change
            if self.tolerance is not None and abs(gap) <= self.tolerance * max(abs(change), 1e-6):
                break
        return values, gap


# Elements from which the values at a node are kept in single precision: those of pictures, at every
# node, are large, and come from a network in single precision.
MANY = 4096


@dataclass
class _Path:
    """The straight line from `start` to `leaves`: (x − x') · ∂f at every node that was asked for,
    kept.
    """

    task: Task
    leaves: Leaves
    start: Leaves
    at_once: int
    before: int  # nodes of earlier paths, and of all paths, for the progress
    total: int
    known: dict[float, dict[str, np.ndarray]] = field(default_factory=dict)

    def integral(self, nodes: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Input name → the weighted sums (…) over the nodes."""
        keys = [round(a, 12) for a in nodes.tolist()]
        todo = [a for a in keys if a not in self.known]
        for first in range(0, len(todo), self.at_once):
            self._evaluate(todo[first : first + self.at_once])
        sums = {name: np.zeros(values.shape) for name, values in self.known[keys[0]].items()}
        for weight, key in zip(weights.tolist(), keys, strict=True):
            for name, values in self.known[key].items():
                sums[name] += weight * values
        return sums

    def _evaluate(self, nodes: list[float]) -> None:
        away = {name: leaf - self.start[name] for name, leaf in self.leaves.items()}
        points = {}
        for name, difference in away.items():
            alpha = torch.tensor(nodes, device=difference.device, dtype=difference.dtype)
            points[name] = (
                self.start[name] + alpha.view(-1, *[1] * (difference.ndim - 1)) * difference
            )
        _, gradient = self.task.gradients_as_is(points)
        products = {name: away[name] * g for name, g in gradient.items()}
        found = of_leaves(self.task.encoded, products)
        for row, node in enumerate(nodes):
            self.known[node] = {name: _kept(values[row]) for name, values in found.items()}
        if self.task.progress:
            self.task.progress(self.before + len(self.known), self.total)


def _kept(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float32) if values.size >= MANY else values
