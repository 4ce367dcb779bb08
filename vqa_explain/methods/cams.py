"""More class activation maps: by place, by channel sums, by principal components, by the network's
own answers.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.methods.base import Task
from vqa_explain.methods.inside import parts_of, scores_without
from vqa_explain.methods.layers import Cam, LayerStates, register_cam
from vqa_explain.methods.states import of_example, output_at

SMALL = 1e-7  # of a channel's sum, below which it is not divided by


def _weighted(weights: Tensor, activation: Tensor) -> Tensor:
    """(h, w) relu of the sum of channels (C, h, w) with weights (C,)."""
    return (weights.to(activation)[:, None, None] * activation).sum(dim=0).clamp(min=0)


@register_cam("layer_cam", source="Jiang et al. 2021, LayerCAM, IEEE TIP 30, equations 8 and 9")
@dataclass(frozen=True)
class LayerCam(Cam):
    """relu(Σ_c relu(∂f/∂A_c) ⊙ A_c): every place weighted by its own gradient where that is
    positive, which suits early layers with fine maps.
    """

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.clamp(min=0) * activation).sum(dim=0).clamp(min=0)


@register_cam("xgrad_cam", source="Fu et al. 2020, arXiv:2008.02312, equation 8")
@dataclass(frozen=True)
class XGradCam(Cam):
    """relu(Σ_c w_c · A_c), w_c the gradient's mean over places weighted by the activation there:
    Σ ∂f/∂A_c ⊙ A_c / Σ A_c.
    """

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        products = (gradient * activation).sum(dim=(1, 2))
        return _weighted(products / (activation.sum(dim=(1, 2)) + SMALL), activation)


def first_component(maps: Tensor) -> Tensor:
    """(h, w) maps (C, h, w) projected on their first principal component over places.

    A component has no sign by itself: it gets the one with which the places that stand out most are
    positive, as the sum of cubes says. Sums of channels would not do, since they cancel before a
    normalization.
    """
    rows = in_float64(maps).flatten(1).T
    centered = rows - rows.mean(dim=0)
    _, _, components = torch.linalg.svd(centered, full_matrices=False)
    values = centered @ components[0]
    sign = 1.0 if float((values**3).sum()) >= 0 else -1.0
    found: Tensor = (sign * values).reshape(maps.shape[1:])
    return found


@register_cam(
    "eigen_cam",
    source="Muhammad & Yeasin 2020, arXiv:2008.00299, section 3",
    unit=units.STATE,
)
@dataclass(frozen=True)
class EigenCam(Cam):
    """The first principal component of a layer's activations over places, where it is positive. It
    says nothing of the target.
    """

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return first_component(activation).clamp(min=0)


@register_cam("eigen_grad_cam", source="pytorch-grad-cam's EigenGradCAM")
@dataclass(frozen=True)
class EigenGradCam(Cam):
    """The first principal component of activation × gradient over places, where it is positive."""

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return first_component(gradient * activation).clamp(min=0)


@register_cam(
    "ablation_cam",
    source="Desai & Ramaswamy 2020, Ablation-CAM, WACV, equations 2 and 3",
    unit=units.STATE,
    cost="channels + 3 forwards, 1 backward",
)
@dataclass(frozen=True)
class AblationCam(Cam):
    """relu(Σ_c w_c · A_c), w_c the share of the score that is lost without channel c:
    (f − f without A_c) / f.
    """

    def _weighing(self, task: Task, states: LayerStates) -> Callable[[Tensor, Tensor], Tensor]:
        with torch.no_grad():
            state = output_at(task, states.path, task.leaves())
            parts = parts_of(task, states.path, of_example(task, states.path, [state[0]]), "unit")
            left, whole = scores_without(task, states.path, state, parts)
        if not float(whole.abs()):
            raise InvalidInput(
                "the score is 0, of which nothing is a share; explain another target, or use "
                "score_cam"
            )
        weights = (whole - left) / whole
        return lambda activation, _gradient: _weighted(weights, activation)


@register_cam(
    "score_cam",
    source="Wang et al. 2020, arXiv:1910.01279, equations 5 to 8",
    unit=units.STATE,
    cost="channels + 1 forwards, 1 backward",
)
@dataclass(frozen=True)
class ScoreCam(Cam):
    """relu(Σ_c w_c · A_c), w_c the softmax over channels of the score of the picture seen through
    A_c, which is enlarged and brought to 0 … 1.
    """

    def _weighing(self, task: Task, states: LayerStates) -> Callable[[Tensor, Tensor], Tensor]:
        planes = sorted(states.planes)
        leaves = task.leaves()
        if len(planes) != 1 or leaves[planes[0]].ndim != 4:
            raise Unsupported(
                f"score_cam looks at one picture through a layer, and layer {states.path!r} holds "
                f"{len(planes)}; use grad_cam"
            )
        name = planes[0]
        activation = states.maps[name][0]
        pixels = leaves[name]
        # With the corners aligned, as the authors' program has it.
        masks = F.interpolate(
            activation[None].float(), size=pixels.shape[2:], mode="bilinear", align_corners=True
        )[0]
        low, high = masks.amin(dim=(1, 2)), masks.amax(dim=(1, 2))
        width = (high - low)[:, None, None]
        masks = torch.where(width > 0, (masks - low[:, None, None]) / width.clamp(min=1e-30), 0.0)
        given = {other: leaf.expand(len(masks), *leaf.shape[1:]) for other, leaf in leaves.items()}
        given[name] = pixels * masks[:, None].to(pixels)
        with torch.no_grad():
            weights = task.score(given).softmax(dim=0)
        return lambda activation, _gradient: _weighted(weights, activation)
