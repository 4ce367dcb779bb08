"""Class activation maps: a layer's activations weighted by the gradient of the score."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vqa_explain import units
from vqa_explain.errors import InvalidInput
from vqa_explain.methods.base import Attribution, Task, register_method
from vqa_explain.methods.gradients import sums
from vqa_explain.methods.rules import guided
from vqa_explain.models.base import Stepwise
from vqa_explain.models.maps import captured, channels_first
from vqa_explain.precision import in_float64
from vqa_explain.registry import parameter

KIND = "none: activation maps do not add up to a score"


def _layer(task: Task, path: str) -> tuple[Tensor, Tensor]:
    """Activation and gradient of the score there, of the example: maps (a, b, c) or a sequence (N, D)."""
    leaves = {name: leaf.requires_grad_(True) for name, leaf in task.leaves().items()}
    with torch.enable_grad(), captured(task.model.module, path) as caught:
        value = task.score(leaves)
        if len(caught) == 2 and isinstance(task.model, Stepwise):
            # The prompt runs first, and then the answer's tokens, which have no place in the picture or question.
            del caught[1]
        if len(caught) != 1 or not isinstance(caught[0], Tensor) or caught[0].ndim not in (3, 4):
            shapes = [tuple(getattr(c, "shape", ())) for c in caught]
            raise InvalidInput(
                f"layer {path!r} gives {shapes}, not one output (B, C, h, w) or (B, N, D); choose another"
            )
        (gradient,) = torch.autograd.grad(value.sum(), caught[0], allow_unused=True)
    task.cost.backwards += 1
    if gradient is None:
        raise InvalidInput(
            f"the score does not depend on layer {path!r}; choose one that it passes through"
        )
    activation = caught[0][0].detach()
    if not isinstance(task.model, Stepwise) or activation.ndim != 2:
        return activation, gradient[0]
    # Where answers are read in rows of their own, the prompt is the same in each, and what stands behind it is theirs.
    length = task.model.prompt_length(task.encoded)
    return activation[:length], gradient.sum(dim=0)[:length]


@dataclass(frozen=True)
class _Cam:
    """What class activation maps have in common; `_weigh` tells them apart."""

    source: ClassVar[str]
    needs: ClassVar[frozenset[str]] = frozenset({"gradients", "pixels"})
    unit: ClassVar[str] = units.ACTIVATION
    error: ClassVar[str] = KIND
    cost: ClassVar[str] = "1 forward, 1 backward"

    layer: str | None = parameter(None, "path of the layer in the network (default: the model's)")
    interpolate: str = parameter(
        "bilinear", "how the map is enlarged to the picture", choices=("bilinear", "nearest")
    )

    def __call__(self, task: Task) -> Attribution:
        frame, tokens, kind = self._map(task)
        return Attribution(frame, tokens, None, kind)

    def _map(self, task: Task) -> tuple[np.ndarray, np.ndarray, str]:
        """The map enlarged to the frame (H', W'), the tokens' values (T,), and which layer was read."""
        model, encoded = task.model, task.encoded
        path = self.layer or model.default_layer(encoded)
        activation, gradient = _layer(task, path)
        tokens = np.zeros(len(encoded.tokens))
        if activation.ndim == 3:
            activation = channels_first(model, encoded, path, activation)
            gradient = channels_first(model, encoded, path, gradient)
        else:  # a sequence: patches make the map, words have a value each
            where = model.positions(encoded, len(activation), path)
            if len(where.text):
                words, slope = activation[where.text].T[:, None], gradient[where.text].T[:, None]
                tokens = in_float64(self._weigh(words, slope)[0]).numpy()
            rows, columns = where.grid or encoded.grid
            activation = activation[where.image].T.unflatten(1, (rows, columns))
            gradient = gradient[where.image].T.unflatten(1, (rows, columns))
        cam = in_float64(self._weigh(activation, gradient))[None, None]
        size = encoded.geometry.frame
        corners = False if self.interpolate == "bilinear" else None
        enlarged = F.interpolate(cam, size=size, mode=self.interpolate, align_corners=corners)
        return enlarged[0, 0].numpy(), tokens, f"{KIND}; read at layer {path!r}"

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(h, w) from (C, h, w)."""
        raise NotImplementedError


@register_method
@dataclass(frozen=True)
class GradCam(_Cam):
    """relu(Σ_c mean(∂f/∂A_c) · A_c): channels weighted by their mean gradient. Never negative.

    In a transformer the map is over the patches' states of a layer; words get the same sum over their own states. An
    answer of several tokens is explained by the gradient of the sum of their log-probabilities.
    """

    name: ClassVar[str] = "grad_cam"
    source: ClassVar[str] = "Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2"

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.mean(dim=(1, 2))[:, None, None] * activation).sum(dim=0).clamp(min=0)


@register_method
@dataclass(frozen=True)
class GradCamPlusPlus(_Cam):
    """Grad-CAM with the positive gradients weighted by place, so that several objects of a class all show."""

    name: ClassVar[str] = "grad_cam_plus_plus"
    source: ClassVar[str] = "Chattopadhay et al. 2018, arXiv:1710.11063, equations 10 and 19"

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        square = gradient**2
        below = 2 * square + activation.sum(dim=(1, 2))[:, None, None] * gradient**3
        alpha = torch.where(
            gradient != 0, square / torch.where(below != 0, below, torch.ones_like(below)), 0.0
        )
        weights = (alpha * gradient.clamp(min=0)).sum(dim=(1, 2))
        return (weights[:, None, None] * activation).sum(dim=0).clamp(min=0)


@register_method
@dataclass(frozen=True)
class HiResCam(_Cam):
    """relu(Σ_c ∂f/∂A_c ⊙ A_c): every place weighted by its own gradient, so that it shows only what the score used."""

    name: ClassVar[str] = "hires_cam"
    source: ClassVar[str] = "Draelos & Carin 2020, arXiv:2011.08891, equation 5"

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(dim=0).clamp(min=0)


@register_method
@dataclass(frozen=True)
class GuidedGradCam(GradCam):
    """Grad-CAM's map times guided backpropagation: where, and which pixels there. Needs a network with ReLUs."""

    name: ClassVar[str] = "guided_grad_cam"
    unit: ClassVar[str] = units.GUIDED_ACTIVATION
    source: ClassVar[str] = "Selvaraju et al. 2017, arXiv:1610.02391, section 3.2"
    cost: ClassVar[str] = "2 forwards, 2 backwards"

    def __call__(self, task: Task) -> Attribution:
        frame, tokens, kind = self._map(task)
        image, words = sums(guided(task, keep_negative_inputs=False))
        return Attribution(frame * image, tokens * words, None, kind)
