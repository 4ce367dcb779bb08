"""Gradients with other rules at the nonlinearities: guided backpropagation,
deconvolution and DeepLift.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vqa_explain import units
from vqa_explain.errors import Unsupported
from vqa_explain.methods.base import (
    BASELINES,
    FILLS_HELP,
    GAP,
    TEXT_FILLS,
    Attribution,
    Task,
    asked_fills,
    of_one,
    register_method,
    total,
)
from vqa_explain.methods.passes import WholePass, leaves_pass
from vqa_explain.models.base import Leaves, Limited, Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.registry import parameter

KIND = "none: rectified gradients do not add up to a score"
RECTIFIERS = (nn.ReLU, nn.ReLU6)
CURVES = (
    *RECTIFIERS,
    nn.LeakyReLU,
    nn.PReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.Tanh,
    nn.Softplus,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Hardtanh,
)
Rule = Callable[[Tensor], Tensor]


@contextmanager
def replaced(rules: dict[nn.Module, Rule]) -> Iterator[None]:
    """These modules compute by these functions inside."""
    before = {module: vars(module).get("forward") for module in rules}
    try:
        for module, rule in rules.items():
            vars(module)["forward"] = rule
        yield
    finally:
        for module, own in before.items():
            if own is None:
                vars(module).pop("forward", None)
            else:
                vars(module)["forward"] = own


class _Rectified(torch.autograd.Function):
    """A rectifier forward; backward only positive gradients pass, by the rule of the paper."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, keep_negative_inputs: bool) -> Tensor:
        # Not the input itself, which the network may change in place afterwards.
        ctx.passed = None if keep_negative_inputs else (x > 0) & (x < ceiling)
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        positive = gradients[0].clamp(min=0)
        return positive if ctx.passed is None else positive * ctx.passed, None, None


# Everything by which a network can rectify, module or function, and the ceiling. Those that end in
# "_" work in place.
_RELU = (torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu, F.relu_)
_CLAMP = (
    torch.clamp,
    torch.clamp_,
    Tensor.clamp,
    Tensor.clamp_,
    torch.clip,
    torch.clip_,
    Tensor.clip,
    Tensor.clip_,
)
_CLAMP_MIN = (torch.clamp_min, torch.clamp_min_, Tensor.clamp_min, Tensor.clamp_min_)
_HARDTANH = (F.hardtanh, F.hardtanh_)
_MAXIMUM = (torch.maximum, Tensor.maximum, torch.max, Tensor.max, torch.fmax, Tensor.fmax)
_CEILINGS = (None, 6, float("inf"))  # of ReLU and ReLU6; a clamp to any other range is no rectifier


def _ceiling(function: Any, args: tuple[Any, ...], settings: dict[str, Any]) -> float | None:
    """The ceiling of a rectifier, infinity for a plain one;
    `None` where the call is no rectifier.
    """
    if function in _RELU:
        return float("inf")
    if function is F.relu6:
        return 6.0
    bounds = dict(zip(("min", "max"), args[1:], strict=False)) | settings
    low, high = bounds.get("min"), bounds.get("max")
    if function in _HARDTANH:
        named = dict(zip(("min_val", "max_val"), args[1:], strict=False)) | settings
        low, high = named.get("min_val", -1.0), named.get("max_val", 1.0)
    elif function in _MAXIMUM:
        # The larger of a tensor and a tensor of zeros.
        low, high = args[1] if len(args) > 1 else settings.get("other"), None
        if not isinstance(low, Tensor):
            return None
    elif function is F.threshold:
        named = dict(zip(("threshold", "value"), args[1:], strict=False)) | settings
        low, high = (0, None) if (named["threshold"], named["value"]) == (0, 0) else (None, None)
    elif function not in (*_CLAMP, *_CLAMP_MIN):
        return None
    if low is None or not _is_zero(low) or isinstance(high, Tensor) or high not in _CEILINGS:
        return None
    return float("inf") if high is None else float(high)


def _is_zero(value: Any) -> bool:
    return bool((value == 0).all()) if isinstance(value, Tensor) else value == 0


class _RectifierRule(TorchFunctionMode):
    """Inside, every rectifier of a network follows the rule, whether it is a module or a function.

    Attributes:
        count: how many calls followed it.
    """

    def __init__(self, keep_negative_inputs: bool) -> None:
        super().__init__()
        self.keep_negative_inputs = keep_negative_inputs
        self.count = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        settings = dict(kwargs or {})
        args = args or (settings.pop("input", settings.pop("self", None)),)
        x = args[0]
        ceiling = _ceiling(func, args, settings) if isinstance(x, Tensor) else None
        if ceiling is None or not x.requires_grad:
            return func(*args, **settings) if args[0] is not None else func(**(kwargs or {}))
        self.count += 1
        y = _Rectified.apply(x, ceiling, self.keep_negative_inputs)
        asked = settings.get("inplace", False) or any(one is True for one in args[1:])
        in_place = asked or getattr(func, "__name__", "").endswith("_")
        return x.copy_(y) if in_place else y


# Nodes of autograd's graph that rectify, and what they keep of a bound.
_RECTIFYING = {
    "ReluBackward0": None,
    "HardtanhBackward0": "_saved_min_val",
    "ThresholdBackward0": "_saved_threshold",
}
_RECTIFYING |= {"ClampMinBackward0": "_saved_min", "ClampBackward1": "_saved_min"}


def _left_alone(values: Tensor) -> str | None:
    """The name of a rectifier in the graph of these values that does not follow the rule."""
    waiting, seen = [values.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if node.name() in _RECTIFYING:
            bound = _RECTIFYING[node.name()]
            if bound is None or getattr(node, bound, None) == 0:
                return node.name().removesuffix("Backward0")
        waiting += [following for following, _ in node.next_functions]
    return None


def rectified_pass(
    keep_negative_inputs: bool, model: Model, encoded: Encoded, leaves: Leaves
) -> WholePass:
    """A forward pass whose gradients in the leaves are with only positive ones passed by every
    ReLU, also where its input was negative or not.

    A ReLU is any of torch's rectifiers, as a module or a function: `relu`, `relu6`, `clamp(min=0)`,
    `maximum` with zeros, `hardtanh` and `threshold` where they are the same. One written out by
    hand, such as `x * (x > 0)`, is not seen and keeps its gradient.

    Raises:
        Unsupported: the network has no ReLU, so the rule would change nothing; or it has one that
            cannot follow it.
    """
    with _RectifierRule(keep_negative_inputs) as rule:
        whole = leaves_pass(model, encoded, leaves)
    left = _left_alone(whole.scores)
    if left is not None:
        raise Unsupported(
            f"model {model.name!r} has a rectifier ({left}) within compiled code, which "
            "cannot follow the rule; use saliency or integrated_gradients, or load the network "
            "uncompiled"
        )
    if rule.count == 0:
        kinds = sorted(
            {type(m).__name__ for m in model.module.modules() if "activation" in type(m).__module__}
        )
        raise Unsupported(
            f"the rule is about ReLU and model {model.name!r} has none (its activations: "
            f"{', '.join(kinds) or 'functions inside forward'}); use saliency or "
            "integrated_gradients"
        )
    rule_again = partial(_RectifierRule, keep_negative_inputs)
    return replace(whole, inside=rule_again, is_rewritten=True)


# Of guided backpropagation: only where the input was positive too.
guided_pass = partial(rectified_pass, False)


@register_method(
    "guided_backprop",
    source="Springenberg et al. 2015, arXiv:1412.6806, section 3.4",
    unit=units.GRADIENT,
    needs={"gradients"},
    error=KIND,
    cost="2 forwards, 1 backward",
)
@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient with every ReLU passing only what is positive both ways: input forward,
    gradient backward.
    """

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        return guided_pass(model, encoded, leaves)

    def __call__(self, task: Task) -> Attribution:
        found = task.gradients_of(task.opened(self.whole_pass))
        return Attribution(of_one(task.encoded, found), None, KIND)


@register_method(
    "deconvolution",
    source="Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1",
    unit=units.GRADIENT,
    needs={"gradients"},
    error=KIND,
    cost="2 forwards, 1 backward",
)
@dataclass(frozen=True)
class Deconvolution:
    """The gradient with every ReLU passing what is positive on the way back,
    whatever its input was.
    """

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        return rectified_pass(True, model, encoded, leaves)

    def __call__(self, task: Task) -> Attribution:
        found = task.gradients_of(task.opened(self.whole_pass))
        return Attribution(of_one(task.encoded, found), None, KIND)


class _Rescaled(torch.autograd.Function):
    """A curve over inputs of which the first half belongs to x and the second to x';
    backward their slope passes.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, curve: Rule) -> Tensor:
        # A copy, and no output: the network may change both in place afterwards.
        ctx.save_for_backward(x.clone())
        ctx.curve = curve
        return curve(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        y = ctx.curve(x)
        slope = (y.chunk(2)[0] - y.chunk(2)[1]) / (run := x.chunk(2)[0] - x.chunk(2)[1])
        slope, flat = (
            slope.repeat(2, *[1] * (x.ndim - 1)),
            (run.abs() < 1e-7).repeat(2, *[1] * (x.ndim - 1)),
        )
        with torch.enable_grad():  # where x and x' meet, the slope is the derivative
            here = x.detach().requires_grad_(True)
            (derivative,) = torch.autograd.grad(ctx.curve(here).sum(), here)
        return gradients[0] * torch.where(flat, derivative, slope), None


class _RescaledMax(torch.autograd.Function):
    """Max pooling of such halves: each window's change goes to the places of the two maxima.

    From x' the output rises to the larger of both maxima at the place where x has its own, and
    falls from there to x's maximum at the place where x' has its own, as in the authors' code.
    Windows that overlap add up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: nn.MaxPool2d) -> Tensor:
        y, places = F.max_pool2d(
            x,
            pool.kernel_size,
            pool.stride,
            pool.padding,
            pool.dilation,
            pool.ceil_mode,
            return_indices=True,
        )
        ctx.save_for_backward(x.clone(), y.clone(), places)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, y, places = ctx.saved_tensors
        ours, theirs = y.chunk(2)
        larger = torch.maximum(ours, theirs)
        change = gradients[0] * torch.cat([larger - theirs, ours - larger])
        landed = (
            torch.zeros_like(x)
            .flatten(2)
            .scatter_add(2, places.flatten(2), change.flatten(2))
            .view_as(x)
        )
        total = landed.chunk(2)[0] + landed.chunk(2)[1]
        run = x.chunk(2)[0] - x.chunk(2)[1]
        ratio = torch.where(run.abs() < 1e-7, torch.zeros_like(run), total / run)
        return torch.cat([ratio, ratio]), None


@register_method(
    "deep_lift",
    source="Shrikumar et al. 2017, arXiv:1704.02685, section 3.5.1",
    unit=units.POINTS,
    needs={"gradients"},
    error=GAP,
    cost="2 forwards, 2 backwards",
)
@dataclass(frozen=True)
class DeepLift:
    """(x − x') times the slope between the two at every nonlinearity, the rescale rule, instead of
    its derivative.

    The error is the completeness gap: nonlinear steps that are no modules of a known kind
    (functions inside a forward, products of activations) are followed by their gradient and do not
    add up.
    """

    image_baseline: str | None = parameter(
        None, "where the picture starts (default: blur)", choices=BASELINES
    )
    text_baseline: str | None = parameter(
        None, "where the words start (default: the model's)", choices=TEXT_FILLS
    )
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def __call__(self, task: Task) -> Attribution:
        start = task.baselines(asked_fills(self, task.encoded.inputs))
        values, change = lifted(task, start)
        return Attribution(values, abs(total(values) - change), GAP)


def lifted(task: Task, start: Leaves) -> tuple[dict[str, np.ndarray], float]:
    """Input name → values (…) by the rescale rule from a baseline's leaves (1, …), and the score's
    change.

    Raises:
        Unsupported: see `rescaled` and `Task.check_value`.
    """
    leaves = task.leaves()
    with rescaled(task):
        pairs = {name: torch.cat([leaf, start[name]]) for name, leaf in leaves.items()}
        scores, slopes = task.gradients(pairs, whole=True)
    task.check_value(scores[0])
    products = {name: (leaf - start[name]) * slopes[name][:1] for name, leaf in leaves.items()}
    return of_one(task.encoded, products), float(scores[0] - scores[1])


def rescaled(task: Task) -> AbstractContextManager[None]:
    """Inside, gradients are slopes between the first and the second of two examples in one call.

    Raises:
        Unsupported: the network takes a fixed number of examples, or multiplies activations.
    """
    if isinstance(task.model, Limited) and task.model.at_once is not None:
        raise Unsupported(
            "the rescale rule compares two pictures in one call, and model "
            f"{task.model.name!r} takes {task.model.at_once} at a time; use "
            "integrated_gradients"
        )
    return replaced(_rescale_rules(task))


def _rescale_rules(task: Task) -> dict[nn.Module, Rule]:
    """The rule of every nonlinear module of the network."""
    modules = list(task.model.module.modules())
    attention = next((type(m).__name__ for m in modules if "Attention" in type(m).__name__), None)
    if attention:
        raise Unsupported(
            f"the rescale rule is about curves of one variable, and model {task.model.name!r} "
            f"multiplies activations ({attention}); use attn_lrp or integrated_gradients"
        )

    def curved(module: nn.Module) -> Rule:
        plain = module.forward

        def rule(x: Tensor) -> Tensor:
            # A copy goes in, since some modules compute in place.
            found: Tensor = _Rescaled.apply(x, lambda v: plain(v.clone()))
            return x.copy_(found) if getattr(module, "inplace", False) else found

        return rule

    def pooled(module: nn.MaxPool2d) -> Rule:
        return lambda x: _RescaledMax.apply(x, module)

    rules: dict[nn.Module, Rule] = {}
    for module in modules:
        if isinstance(module, CURVES) or type(module).__module__ == "transformers.activations":
            rules[module] = curved(module)
        elif isinstance(module, nn.MaxPool2d):
            rules[module] = pooled(module)
    return rules
