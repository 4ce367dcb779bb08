"""Methods that differentiate the score with respect to all leaves at once."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from vqa_explain.methods.base import Attribution, Task, parameter, register
from vqa_explain.models.base import Leaves

IMAGE_FILLS = ("blur", "mean", "constant", "noise")
NODES_AT_ONCE = 16  # examples through the model in one batch


def sums(values: Leaves) -> tuple[np.ndarray, np.ndarray]:
    """Channels and embedding dimensions of leaves of batch 1 summed: image (H', W') and tokens (T,)."""
    image = values["image"].double().sum(dim=1)[0].cpu().numpy()
    text = values.get("text")
    return image, np.zeros(0) if text is None else text.double().sum(dim=2)[0].cpu().numpy()


@register
@dataclass(frozen=True)
class Saliency:
    """The size of the score's gradient, |∂f/∂x|, per pixel and token. Unsigned; it does not add up to a score.

    The image part takes the largest channel or their sum; the text part sums over the embedding.
    """

    name: ClassVar[str] = "saliency"
    source: ClassVar[str] = "Simonyan et al. 2013, arXiv:1312.6034, section 3"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    channels: str = parameter("max", "how colour channels are joined", choices=("max", "sum"))

    def __call__(self, task: Task) -> Attribution:
        _, gradient = task.gradients(task.leaves())
        sizes = {name: g.abs() for name, g in gradient.items()}
        image, tokens = sums(sizes)
        if self.channels == "max":
            image = sizes["image"].amax(dim=1)[0].double().cpu().numpy()
        return Attribution(image, tokens, None, "none: gradients do not add up to a score")


@register
@dataclass(frozen=True)
class InputXGradient:
    """x · ∂f/∂x, the first-order guess of what each input adds over an input of zero."""

    name: ClassVar[str] = "input_x_gradient"
    source: ClassVar[str] = "Shrikumar et al. 2016, arXiv:1605.01713"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def __call__(self, task: Task) -> Attribution:
        leaves = task.leaves()
        value, gradient = task.gradients(leaves)
        image, tokens = sums({name: leaves[name] * g for name, g in gradient.items()})
        with torch.no_grad():
            zero = task.score({name: torch.zeros_like(leaf) for name, leaf in leaves.items()})
        gap = image.sum() + tokens.sum() - float(value - zero)
        return Attribution(image, tokens, abs(gap), "completeness gap")


def clenshaw_curtis(intervals: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights of the rule with `intervals` + 1 nodes on [0, 1]; doubling `intervals` keeps old nodes.

    Clenshaw & Curtis 1960; weights by Waldvogel 2006, BIT 46, equation 2.4 with 3.10 summed directly.
    """
    angle = np.pi * np.arange(intervals + 1) / intervals
    order = np.arange(1, intervals // 2 + 1)
    scale = np.where(2 * order == intervals, 1.0, 2.0) / (4 * order**2 - 1)
    weights = 1 - (scale[None, :] * np.cos(2 * order[None, :] * angle[:, None])).sum(axis=1)
    weights *= np.where(np.isin(np.arange(intervals + 1), (0, intervals)), 1.0, 2.0) / intervals
    return (1 - np.cos(angle)) / 2, weights / 2


@register
@dataclass(frozen=True)
class IntegratedGradients:
    """(x − x') · ∫ ∂f(x' + α(x − x')) dα, words and pixels on one joint path from the baseline x'.

    The error is the completeness gap |Σa − (f(x) − f(x'))|. With `tolerance`, the number of nodes doubles, keeping
    all that were evaluated, until the gap is at most tolerance · |f(x) − f(x')| or `steps` is reached.
    """

    name: ClassVar[str] = "integrated_gradients"
    source: ClassVar[str] = "Sundararajan et al. 2017, arXiv:1703.01365, equation 1"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    steps: int = parameter(
        64, "intervals of the path, rounded up to an even number; with tolerance: at most", low=2, high=4096
    )
    tolerance: float | None = parameter(
        None, "stop when the gap is this share of the score's change", low=0.0, high=1.0
    )
    image_baseline: str = parameter("blur", "where the picture starts", choices=IMAGE_FILLS)
    text_baseline: str | None = parameter(None, "where the words start (default: the model's)", choices=("mask", "pad"))

    def __call__(self, task: Task) -> Attribution:
        leaves = task.leaves()
        start = task.model.baselines(task.encoded, task.fills(self.image_baseline, self.text_baseline), task.seed)
        with torch.no_grad():
            change = float(task.score(leaves) - task.score(start))
        most = self.steps + self.steps % 2
        intervals = most if self.tolerance is None else min(4, most)
        known: dict[float, Leaves] = {}
        while True:
            nodes, weights = clenshaw_curtis(intervals)
            self._evaluate(task, leaves, start, [a for a in nodes.tolist() if round(a, 12) not in known], known, most)
            mean = {
                name: sum(
                    w * known[round(a, 12)][name].double()
                    for a, w in zip(nodes.tolist(), weights.tolist(), strict=True)
                )
                for name in leaves
            }
            image, tokens = sums({name: (leaves[name] - start[name]) * mean[name] for name in leaves})
            gap = abs(image.sum() + tokens.sum() - change)
            enough = self.tolerance is None or gap <= self.tolerance * max(abs(change), 1e-6)
            if enough or intervals * 2 > most:
                return Attribution(image, tokens, gap, "completeness gap")
            intervals *= 2

    def _evaluate(
        self, task: Task, leaves: Leaves, start: Leaves, nodes: list[float], known: dict[float, Leaves], most: int
    ) -> None:
        for first in range(0, len(nodes), NODES_AT_ONCE):
            some = nodes[first : first + NODES_AT_ONCE]
            path = {
                name: start[name]
                + torch.tensor(some, device=leaf.device, dtype=leaf.dtype).view(-1, *[1] * (leaf.ndim - 1))
                * (leaf - start[name])
                for name, leaf in leaves.items()
            }
            _, gradient = task.gradients(path)
            for row, node in enumerate(some):
                known[round(node, 12)] = {name: g[row : row + 1] for name, g in gradient.items()}
            if task.progress:
                task.progress(len(known), most + 1)
