"""Layer-wise relevance propagation of convolutional networks, as gradients with other rules at
linear layers and curves.

Relevance is what flows times the gradient: R = x · g. In this form a linear operation whose gradient
stays as it is follows the ε rule with ε → 0, so that sums, means, views and joins need no rule of
their own, in any network's own code. Only what a composite changes is changed.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vqa_explain import units
from vqa_explain._precision import in_float64
from vqa_explain.errors import Unsupported
from vqa_explain.methods import attn_lrp
from vqa_explain.methods.attn_lrp import CURVES, Identity, passed_unchanged
from vqa_explain.methods.base import Attribution, Task, of_one, register_method, total
from vqa_explain.methods.inside import NO_SUM, LayerFound, LayerMethod, at_example
from vqa_explain.methods.passes import WholePass, leaves_pass
from vqa_explain.methods.states import of_example
from vqa_explain.models.base import Leaves, Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.registry import parameter

KIND = "conservation gap: what biases keep"
EPSILON = 1e-6  # added to what is divided by, with its sign, as zennit does
GAMMA = 0.25
REMEMBERED = 8  # linear operations, between one and the normalization behind it

TRANSPOSED = {torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d}
CONVOLUTIONS = {torch.conv1d, torch.conv2d, torch.conv3d} | TRANSPOSED
_CURVES = CURVES | {
    *(torch.sigmoid, Tensor.sigmoid, F.softplus, F.hardsigmoid),
    *(torch.sigmoid_, Tensor.sigmoid_),
}
Apply = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # input, weight, bias → output


def _stable(values: Tensor) -> Tensor:
    """Values that can be divided by."""
    return values + torch.where(values < 0, -EPSILON, EPSILON)


@dataclass(eq=False)
class Linear:
    """One linear operation of one pass: what it was given, and its parameters.

    A normalization behind it changes the parameters to those of both together, before anything is
    handed back. The weight of a transposed convolution is (inputs, outputs of a group, …), any
    other (outputs, …).
    """

    apply: Apply
    given: Tensor
    weight: Tensor
    bias: Tensor | None
    is_transposed: bool

    def term(self, given: Tensor, weight: Tensor, with_bias: Callable[[Tensor], Tensor] | None
             ) -> Tensor:  # fmt: skip
        """The output of other inputs and weights; with the bias changed, or without it."""
        bias = None if self.bias is None or with_bias is None else with_bias(self.bias)
        return self.apply(given, weight, bias)

    def back(self, given: Tensor, weight: Tensor, share: Tensor) -> Tensor:
        """The gradient of the operation of other inputs and weights in its input."""
        with torch.enable_grad():
            at = given.detach().requires_grad_(True)
            (found,) = torch.autograd.grad(self.apply(at, weight, None), at, share)
        return found


Rule = Callable[[Linear, Tensor], Tensor]  # the operation, relevance of its output → gradient


def _positive(values: Tensor) -> Tensor:
    return values.clamp(min=0)


def _negative(values: Tensor) -> Tensor:
    return values.clamp(max=0)


def _epsilon(step: Linear, relevance: Tensor) -> Tensor:
    """R_j = Σ_k x_j w_jk / (z_k + ε) R_k, over x_j."""
    output = step.term(step.given, step.weight, lambda bias: bias)
    return step.back(step.given, step.weight, relevance / _stable(output))


def _signed(step: Linear, relevance: Tensor, up: bool) -> Tensor:
    """The same of the terms x_j w_jk that are positive (or negative) alone."""
    x, w = step.given, step.weight
    one, other = (_positive, _negative) if up else (_negative, _positive)
    output = step.term(_positive(x), one(w), one) + step.term(_negative(x), other(w), None)
    share = relevance / _stable(output)
    return torch.where(x > 0, step.back(x, one(w), share), step.back(x, other(w), share))


def _alpha_beta(alpha: float, beta: float) -> Rule:
    def rule(step: Linear, relevance: Tensor) -> Tensor:
        found = alpha * _signed(step, relevance, True)
        return found - beta * _signed(step, relevance, False) if beta else found

    return rule


def _gamma(step: Linear, relevance: Tensor) -> Tensor:
    """Weights of the output's sign count 1 + γ times."""
    x, w = step.given, step.weight
    output = step.term(x, w, lambda bias: bias)
    up, down = relevance * (output > 0), relevance * (output < 0)
    return _favored(step, up, True) + _favored(step, down, False)


def _favored(step: Linear, relevance: Tensor, up: bool) -> Tensor:
    """The same with the terms x_j w_jk that are positive (or negative) counting 1 + γ times."""
    x, w = step.given, step.weight
    one, other = (_positive, _negative) if up else (_negative, _positive)
    more, less = w + GAMMA * one(w), w + GAMMA * other(w)
    whole = step.term(_positive(x), more, lambda bias: bias + GAMMA * one(bias))
    whole = whole + step.term(_negative(x), less, None)
    share = relevance / _stable(whole)
    return torch.where(x > 0, step.back(x, more, share), step.back(x, less, share))


def _flat(step: Linear, relevance: Tensor) -> Tensor:
    """Relevance spread evenly over all inputs of each output. It is no gradient."""
    even, ones = torch.ones_like(step.given), torch.ones_like(step.weight)
    return step.back(even, ones, relevance / _stable(step.term(even, ones, None)))


@dataclass(frozen=True)
class Composite:
    """Which rule is for which operation.

    Attributes:
        convolution: of convolutions.
        linear: of fully connected layers.
        flat: whether the first of them has the flat rule.
    """

    convolution: Rule
    linear: Rule = _epsilon
    flat: bool = False


COMPOSITES = {
    "epsilon": Composite(_epsilon),
    "epsilon_plus": Composite(_alpha_beta(1, 0)),
    "epsilon_alpha2_beta1": Composite(_alpha_beta(2, 1)),
    "epsilon_gamma": Composite(_gamma),
    "epsilon_plus_flat": Composite(_alpha_beta(1, 0), flat=True),
    "epsilon_alpha2_beta1_flat": Composite(_alpha_beta(2, 1), flat=True),
    "epsilon_gamma_flat": Composite(_gamma, flat=True),
}


class _ByRule(torch.autograd.Function):
    """A linear operation whose gradient is that of a rule."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, step: Linear, rule: Rule) -> Tensor:
        ctx.save_for_backward(y)
        ctx.step, ctx.rule = step, rule
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (y,) = ctx.saved_tensors
        with torch._C.DisableTorchFunction():  # the rules compute by torch's own operations
            return ctx.rule(ctx.step, y * gradients[0]), None, None, None


@dataclass(eq=False)
class _Memory:
    """What a pass has computed: the last linear operations by what they gave, and whether the first
    was seen.
    """

    steps: list[tuple[Tensor, int, Linear]] = field(default_factory=list)  # and its version
    first: Tensor | None = None  # what the operation with the flat rule was given


class Rules(TorchFunctionMode):
    """Inside, input × gradient is relevance by a composite.

    Attributes:
        composite: which rules.
        memory: what was computed.
    """

    def __init__(self, composite: Composite) -> None:
        super().__init__()
        self.composite, self.memory = composite, _Memory()
        self.others = attn_lrp.Rules()  # of products of two activations and of layer norms

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = dict(kwargs or {})
        if func in CONVOLUTIONS or func is F.linear:
            return self._linear(func, args, settings)
        if func is F.batch_norm:
            return self._normalized(args, settings)
        if func in _CURVES:
            return passed_unchanged(func, args, settings)
        if func in (F.group_norm, F.instance_norm) and args[0].requires_grad:
            with torch.no_grad():
                y = func(*args, **settings)
            return Identity.apply(args[0], y)
        found = self.others.__torch_function__(func, types, args, settings)
        # What looks at a layer lets the network go on with a copy.
        if func is Tensor.clone and (step := self._step_of(args[0])) is not None:
            self._remember(found, step)
        return found

    def _linear(self, func: Any, args: Any, settings: dict[str, Any]) -> Any:
        names = ("input", "weight", "bias")
        given = dict(zip(names, args, strict=False))
        for name in names:
            if name in settings:
                given[name] = settings.pop(name)
        x, weight, bias = given["input"], given["weight"].detach(), given.get("bias")
        if not x.requires_grad:
            return func(x, weight, bias, *args[3:], **settings)

        def apply(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            found: Tensor = func(x, weight, bias, *args[3:], **settings)
            return found

        with torch.no_grad():
            y = apply(x, weight, bias)
        own = None if bias is None else bias.detach()
        step = Linear(apply, x.detach().clone(), weight, own, func in TRANSPOSED)
        rule = self.composite.linear if func is F.linear else self.composite.convolution
        if self.composite.flat and self.memory.first is None:
            self.memory.first, rule = x, _flat
        found = _ByRule.apply(x, y, step, rule)
        self._remember(found, step)
        return found

    def _remember(self, found: Tensor, step: Linear) -> None:
        self.memory.steps = [
            *self.memory.steps[1 - REMEMBERED :],
            (found, found._version, step),
        ]

    def _step_of(self, found: Tensor) -> Linear | None:
        """The linear operation that gave a tensor, which no operation in place changed since."""
        for one, version, step in self.memory.steps:
            if one is found and found._version == version:
                return step
        return None

    def _normalized(self, args: Any, settings: dict[str, Any]) -> Any:
        """A batch norm: one with the linear operation that it stands behind, and else relevance
        passes.
        """
        names = ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum",
                 "eps")  # fmt: skip
        given = dict(zip(names, args, strict=False)) | settings
        x = given["input"]
        with torch.no_grad():
            y = F.batch_norm(*args, **settings)
        if not x.requires_grad:
            return y
        step = self._step_of(x)
        fixed = not given.get("training") and given["running_var"] is not None
        # A norm's channels are axis 1, which are the outputs unless a batch has further axes.
        if step is not None and fixed and x.ndim == step.weight.ndim:
            _merge(step, given)
        return Identity.apply(x, y)


def _merge(step: Linear, given: dict[str, Any]) -> None:
    """Makes a linear operation one with the batch norm behind it."""
    mean, variance = given["running_mean"], given["running_var"]
    weight, bias = given.get("weight"), given.get("bias")
    scale = (variance + given.get("eps", 1e-5)).rsqrt()
    scale = (scale if weight is None else scale * weight).detach()
    own = torch.zeros_like(mean) if step.bias is None else step.bias
    step.bias = ((own - mean) * scale + (0 if bias is None else bias)).detach()
    factors = scale[:, None]
    if step.is_transposed:
        inputs, outputs = step.weight.shape[:2]
        groups = len(scale) // outputs
        factors = scale.view(groups, outputs).repeat_interleave(inputs // groups, dim=0)
    step.weight = step.weight * factors.view(*factors.shape, *[1] * (step.weight.ndim - 2))


def composite_named(model: Model, name: str) -> Composite:
    """The composite of that name, for a model that it can be used with.

    Raises:
        Unsupported: the network multiplies activations.
    """
    names = (type(part).__name__ for part in model.module.modules())
    attention = next((one for one in names if "Attention" in one), None)
    if attention:
        raise Unsupported(
            f"these rules are of convolutional networks, and model {model.name!r} multiplies "
            f"activations ({attention}); use attn_lrp"
        )
    return COMPOSITES[name]


COMPOSITE = parameter("epsilon_plus", "the rules, as zennit calls them", choices=tuple(COMPOSITES))


@register_method(
    "lrp",
    source="Bach et al. 2015, PLoS ONE 10(7), equations 58 and 60; composites: Montavon et al. "
    "2019, Layer-wise relevance propagation: an overview; Kohlbrenner et al. 2020, "
    "arXiv:1910.09840",
    unit=units.POINTS,
    needs={"gradients"},
    error=KIND,
    cost="1 forward, 1 backward",
)
@dataclass(frozen=True)
class Lrp:
    """The score of a convolutional network handed back layer by layer, convolutions by one rule and
    fully connected layers by the ε rule.

    "plus" hands on what is positive alone, "alpha2_beta1" twice that less what is negative, "gamma"
    favors what is positive, and "flat" spreads the first layer's relevance evenly. A batch norm
    behind a convolution is one with it. Transformers have attn_lrp.

    Raises:
        Unsupported: the network multiplies activations; or something comes before the first layer,
            where that has the flat rule; or the score differs under the rules.
    """

    composite: str = COMPOSITE

    def __call__(self, task: Task) -> Attribution:
        rules = Rules(composite_named(task.model, self.composite))
        leaves = task.leaves()

        def run(model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
            with rules:
                whole = leaves_pass(model, encoded, leaves)
            return replace(whole, inside=lambda: rules, is_rewritten=True)

        whole = task.fresh(run)
        score, gradient = whole.value(task.target).detach(), task.gradients_of(whole)
        values = of_one(
            task.encoded, _relevance(task, leaves, gradient, whole.over, rules.memory.first)
        )
        return Attribution(values, abs(total(values) - float(score)), KIND)


def _relevance(
    task: Task, leaves: Leaves, gradient: Leaves, given: Sequence[Tensor], first: Tensor | None
) -> Leaves:
    """Leaf by leaf its relevance: input × gradient, and of the flat rule what it gave.

    Raises:
        Unsupported: the operation with the flat rule was given no leaf.
    """
    if first is not None and not any(one is first for one in given):
        raise Unsupported(
            f"model {task.model.name!r} changes its input before the first layer, which the flat "
            "rule hands relevance to; choose a composite without it, such as epsilon_plus"
        )
    products = {}
    for (name, leaf), own in zip(leaves.items(), given, strict=True):
        products[name] = gradient[name] if own is first else leaf * gradient[name]
    return products


@register_method(
    "layer_lrp",
    source="Bach et al. 2015, PLoS ONE 10(7), equations 58 and 60, as Captum's LayerLRP",
    unit=units.POINTS,
    needs={"gradients", "pixels"},
    error=NO_SUM,
    cost="1 forward, 1 backward",
)
@dataclass(frozen=True)
class LayerLrp(LayerMethod):
    """The relevance of each unit of a layer, by the same rules as lrp.

    Captum's LayerLRP has the composite "epsilon" unless it is told otherwise.
    """

    composite: str = COMPOSITE

    def inside(self, task: Task) -> LayerFound:
        layer = self.path(task)
        rules: AbstractContextManager[Any] = Rules(composite_named(task.model, self.composite))
        points = at_example(task, layer, rules)
        task.check_value(points.scores[0])
        products = [in_float64(activation * slope)[0] for activation, slope in points.of[layer]]
        return LayerFound(layer, of_example(task, layer, products))
