"""Class activation maps: a layer's activations weighted by the gradient of the score."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import InvalidInput
from vqa_explain.methods.base import Attribution, Task, of_one, register_method
from vqa_explain.methods.passes import WholePass
from vqa_explain.methods.rules import guided_pass
from vqa_explain.models.attending import Stepwise
from vqa_explain.models.base import Leaves, Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.maps import captured, channels_first, next_layer_of_shape
from vqa_explain.registry import parameter

KIND = "none: activation maps do not add up to a score"

# A sum over channels is nothing if it is below this share of its terms' sizes, or below that many
# units in the last place of a short type. Signs by chance leave about 1/√C of it, 1.6 % for 4,096
# channels; rounding, and the ε of a normalization, leave far less.
CANCELLED = 0.01
CANCELLED_UNITS = 8


@dataclass(frozen=True)
class LayerStates:
    """A layer's states of one example, and the gradients of the score there.

    Attributes:
        path: of the layer.
        maps: input name → activation and gradient, (C, h, w) each, of a picture's cells, or (C, 1,
            T') each, of a text's first tokens; nothing for inputs that the layer has no states of.
        planes: the names of the inputs whose elements have rows and columns, as pictures do.
    """

    path: str
    maps: dict[str, tuple[Tensor, Tensor]]
    planes: frozenset[str]

    @property
    def cancels(self) -> bool:
        """Whether activation × gradient sums to nothing over the channels of every cell.

        Where a normalization comes next, the size of a cell's state changes nothing, so that its
        gradient has no part along the state (Euler's theorem on homogeneous functions).
        """
        return all(_cancels(*self.maps[name]) for name in self.planes)


def _cancels(activation: Tensor, gradient: Tensor) -> bool:
    """Whether the product of maps (C, h, w) sums to nothing over the channels of every cell."""
    terms = in_float64(activation) * in_float64(gradient)
    total, sizes = terms.sum(dim=0).abs().max(), terms.abs().sum(dim=0).max()
    share = max(CANCELLED, CANCELLED_UNITS * torch.finfo(activation.dtype).eps)
    return bool(total <= share * sizes) and bool(sizes > 0)


def _layer_pass(path: str | None, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
    """A forward pass that is differentiated in what the layer gives, the model's own by default.

    What was found is the layer's path, and whether it gave any tensor.
    """
    path = path or model.default_layer(encoded)
    given = {name: leaf.requires_grad_(True) for name, leaf in leaves.items()}
    with torch.enable_grad(), captured(model.module, path) as caught:
        scores = model.scores(encoded, given)
    if len(caught) == 2 and isinstance(model, Stepwise):
        # The prompt runs first, and then the answer's tokens, which have no place in the
        # picture or question.
        del caught[1]
    tensors = [output for output in caught if isinstance(output, Tensor)]
    over = tuple(output for output in tensors if output.requires_grad)
    return WholePass(scores, over, (path, bool(tensors)))


def _layer(task: Task, whole: WholePass) -> tuple[Tensor, Tensor]:
    """Activation and gradient of the score in a layer: maps (a, b, c) or a sequence (N, D)."""
    path, has_tensors = whole.found
    pairs = zip(whole.over, task.slopes_of(whole), strict=True)
    # Of a layer that runs several times, the score may need one output alone.
    needed = [(output, slope) for output, slope in pairs if slope is not None]
    if has_tensors and not needed:
        raise InvalidInput(
            f"the score does not depend on layer {path!r}; choose one that it passes through"
        )
    if len(needed) != 1 or needed[0][0].ndim not in (3, 4):
        shapes = [tuple(output.shape) for output, _ in needed]
        raise InvalidInput(
            f"layer {path!r} gives {shapes}, not one output (B, C, h, w) or (B, N, D); choose "
            "another"
        )
    output, gradient = needed[0]
    activation = output[0].detach()
    if not isinstance(task.model, Stepwise) or activation.ndim != 2:
        return activation, gradient[0]
    # Where answers are read in rows of their own, the prompt is the same in each, and what stands
    # behind it is theirs.
    length = task.model.prompt_length(task.encoded)
    return activation[:length], gradient.sum(dim=0)[:length]


def _states_of(task: Task, whole: WholePass) -> LayerStates:
    """A layer's states as maps of each input's cells or tokens, where it has them.

    Args:
        task: what was asked.
        whole: what `_layer_pass` gave for the layer.

    Raises:
        InvalidInput: it has one map, and the example several inputs that it could be of.
    """
    path, _ = whole.found
    maps, planes = maps_of(task, path, *_layer(task, whole))
    return LayerStates(path, {name: (one[0], one[1]) for name, one in maps.items()}, planes)


def maps_of(
    task: Task, path: str, *states: Tensor
) -> tuple[dict[str, tuple[Tensor, ...]], frozenset[str]]:
    """What a layer has for each input: of tensors shaped as its output for one example, (C, h, w)
    each of a picture's cells, or (C, 1, T') of a text's tokens.

    Args:
        task: what was asked.
        path: the layer's.
        states: such tensors, (a, b, c) of maps or (N, D) of a sequence.

    Returns:
        Input name → its part of each tensor, nothing for inputs that the layer has no states of;
        and the names of the inputs whose elements have rows and columns.

    Raises:
        InvalidInput: it has one map, and the example several inputs that it could be of; or its
            states have no place in any input.
    """
    model, encoded = task.model, task.encoded
    grids = {one.name: one.feature.grid(one.content) for one in encoded.inputs}
    planes = [name for name, grid in grids.items() if grid is not None]
    if states[0].ndim == 3:
        if len(planes) != 1:
            raise InvalidInput(
                f"layer {path!r} gives one map, and the example has {len(planes)} pictures; use "
                "a method over pixels, such as integrated_gradients, or vx.layer_values, which "
                "lists the values of a layer's units"
            )
        turned = tuple(channels_first(model, encoded, path, one) for one in states)
        return {planes[0]: turned}, frozenset(planes)
    where = model.positions(encoded, len(states[0]), path)  # a sequence
    maps = {}
    for name, grid in grids.items():
        positions = where.of.get(name, np.empty(0, dtype=int))
        if not len(positions):
            continue
        # What has no rows and columns, as a text, is one row.
        own = (1, len(positions)) if grid is None else where.grid or grid
        maps[name] = tuple(values[positions].T.unflatten(1, own) for values in states)
    return maps, frozenset(planes) & maps.keys()


@dataclass(frozen=True)
class Cam:
    """What class activation maps have in common; `_weigh` tells them apart."""

    layer: str | None = parameter(None, "path of the layer in the network (default: the model's)")
    interpolate: str = parameter(
        "bilinear", "how the map is enlarged to the picture", choices=("bilinear", "nearest")
    )

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        return _layer_pass(self.layer, model, encoded, leaves)

    def __call__(self, task: Task) -> Attribution:
        values, kind = self._map(task)
        return Attribution(values, None, kind)

    def _map(self, task: Task) -> tuple[dict[str, np.ndarray], str]:
        """Input name → values (…) of the map, enlarged to the input's elements,
        and which layer was read.
        """
        states = self._states(task)
        weigh = self._weighing(task, states)
        values = {}
        for one in task.encoded.inputs:
            if one.name in states.maps and not one.fixed:
                weighed = weigh(*states.maps[one.name])
                values[one.name] = one.feature.of_map(one.content, weighed, self.interpolate)
            else:
                values[one.name] = np.zeros(one.shape)
        return values, f"{KIND}; read at layer {states.path!r}"

    def _states(self, task: Task) -> LayerStates:
        """What is weighed: the states of the layer that was asked for, or of the model's."""
        return _states_of(task, task.opened(self.whole_pass))

    def _weighing(self, task: Task, states: LayerStates) -> Callable[[Tensor, Tensor], Tensor]:
        """What weighs each input's states; some ask the network first."""
        return self._weigh

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(h, w) from (C, h, w)."""
        raise NotImplementedError


# What class activation maps say of themselves, unless one of them says otherwise.
register_cam = partial(
    register_method,
    unit=units.ACTIVATION,
    needs={"gradients", "pixels"},
    error=KIND,
    cost="1 forward, 1 backward",
)


@register_cam("grad_cam", source="Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2")
@dataclass(frozen=True)
class GradCam(Cam):
    """relu(Σ_c mean(∂f/∂A_c) · A_c): channels weighted by their mean gradient. Never negative.

    In a transformer the map is over the patches' states of a layer; words get the same sum over
    their own states. An answer of several tokens is explained by the gradient of the sum of their
    log-probabilities.
    """

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient.mean(dim=(1, 2))[:, None, None] * activation).sum(dim=0).clamp(min=0)


@register_cam(
    "grad_cam_plus_plus",
    source="Chattopadhay et al. 2018, arXiv:1710.11063, equations 10 and 19",
)
@dataclass(frozen=True)
class GradCamPlusPlus(Cam):
    """Grad-CAM with the positive gradients weighted by place,
    so that several objects of a class all show.
    """

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        square = gradient**2
        below = 2 * square + activation.sum(dim=(1, 2))[:, None, None] * gradient**3
        alpha = torch.where(
            gradient != 0, square / torch.where(below != 0, below, torch.ones_like(below)), 0.0
        )
        weights = (alpha * gradient.clamp(min=0)).sum(dim=(1, 2))
        return (weights[:, None, None] * activation).sum(dim=0).clamp(min=0)


@register_cam(
    "hires_cam",
    source="Draelos & Carin 2020, arXiv:2011.08891, equation 5",
)
@dataclass(frozen=True)
class HiResCam(Cam):
    """relu(Σ_c ∂f/∂A_c ⊙ A_c): every place weighted by its own gradient, so that it shows only what
    the score used.

    States that go into a normalization and nowhere else have no gradient along themselves, so that
    this sum is zero. The default is then the next layer with states of this shape whose sum is not
    zero, which is the normalization.

    Raises:
        InvalidInput: the sum is zero, up to rounding, at the layer that was asked for.
    """

    def _states(self, task: Task) -> LayerStates:
        states = super()._states(task)
        if not states.cancels:
            return states
        following = next_layer_of_shape(task.model, task.encoded, states.path)
        after = self._states_at(task, following) if following else states
        if self.layer is None and not after.cancels:
            return after
        remedy = f"give layer={following!r}" if not after.cancels else "use grad_cam"
        raise InvalidInput(
            f"hires_cam is zero at layer {states.path!r}, up to rounding, as it is where a "
            f"normalization comes next; {remedy}"
        )

    def _states_at(self, task: Task, path: str) -> LayerStates:
        return _states_of(task, task.fresh(partial(_layer_pass, path)))

    def _weigh(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return (gradient * activation).sum(dim=0).clamp(min=0)


@register_cam(
    "guided_grad_cam",
    source="Selvaraju et al. 2017, arXiv:1610.02391, section 3.2",
    unit=units.GUIDED_ACTIVATION,
    cost="3 forwards, 2 backwards",
)
@dataclass(frozen=True)
class GuidedGradCam(GradCam):
    """Grad-CAM's map times guided backpropagation: where,
    and which pixels there. Needs a network with ReLUs.
    """

    def __call__(self, task: Task) -> Attribution:
        values, kind = self._map(task)
        found = of_one(task.encoded, task.gradients_of(task.fresh(guided_pass)))
        products = {name: value * found[name] for name, value in values.items()}
        return Attribution(products, None, kind)
