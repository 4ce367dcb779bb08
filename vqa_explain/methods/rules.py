"""Gradients with other rules at the nonlinearities: guided backpropagation, deconvolution and DeepLift."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vqa_explain import units
from vqa_explain.errors import Unsupported
from vqa_explain.methods.base import BASELINES, GAP, TEXT_FILLS, Attribution, Task, register_method
from vqa_explain.methods.gradients import sums
from vqa_explain.models.base import Leaves
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
    with ExitStack() as undo:
        for module, rule in rules.items():
            undo.enter_context(patch.object(module, "forward", rule))
        yield


class _Rectified(torch.autograd.Function):
    """A rectifier forward; backward only positive gradients pass, by the rule of the paper."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ceiling: float, keep_negative_inputs: bool) -> Tensor:
        ctx.save_for_backward(x)
        ctx.ceiling, ctx.keep = ceiling, keep_negative_inputs
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (x,) = ctx.saved_tensors
        passed = gradients[0].clamp(min=0)
        return passed if ctx.keep else passed * ((x > 0) & (x < ctx.ceiling)), None, None


def guided(task: Task, keep_negative_inputs: bool) -> Leaves:
    """Gradients of the leaves with only positive ones passed by every ReLU, also where its input was negative or not.

    Raises:
        Unsupported: the network has no ReLU module, so the rule would change nothing.
    """
    found = [m for m in task.model.module.modules() if isinstance(m, RECTIFIERS)]
    if not found:
        kinds = sorted({type(m).__name__ for m in task.model.module.modules() if "activation" in type(m).__module__})
        raise Unsupported(
            f"the rule is about ReLU modules and model {task.model.name!r} has none (its activations: "
            f"{', '.join(kinds) or 'functions inside forward'}); use saliency or integrated_gradients"
        )

    def ruled(module: nn.Module) -> Rule:
        ceiling = 6.0 if isinstance(module, nn.ReLU6) else float("inf")
        return lambda x: _Rectified.apply(x, ceiling, keep_negative_inputs)

    with replaced({module: ruled(module) for module in found}):
        return task.gradients(task.leaves())[1]


@register_method
@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient with every ReLU passing only what is positive both ways: input forward, gradient backward."""

    name: ClassVar[str] = "guided_backprop"
    unit: ClassVar[str] = units.GRADIENT
    source: ClassVar[str] = "Springenberg et al. 2015, arXiv:1412.6806, section 3.4"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})
    error: ClassVar[str] = KIND
    cost: ClassVar[str] = "1 forward, 1 backward"

    def __call__(self, task: Task) -> Attribution:
        return Attribution(*sums(guided(task, keep_negative_inputs=False)), None, KIND)


@register_method
@dataclass(frozen=True)
class Deconvolution:
    """The gradient with every ReLU passing what is positive on the way back, whatever its input was."""

    name: ClassVar[str] = "deconvolution"
    unit: ClassVar[str] = units.GRADIENT
    source: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})
    error: ClassVar[str] = KIND
    cost: ClassVar[str] = "1 forward, 1 backward"

    def __call__(self, task: Task) -> Attribution:
        return Attribution(*sums(guided(task, keep_negative_inputs=True)), None, KIND)


class _Rescaled(torch.autograd.Function):
    """A curve over inputs of which the first half belongs to x and the second to x'; backward their slope passes."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, curve: Rule) -> Tensor:
        y = curve(x)
        ctx.save_for_backward(x, y)
        ctx.curve = curve
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, y = ctx.saved_tensors
        slope = (y.chunk(2)[0] - y.chunk(2)[1]) / (run := x.chunk(2)[0] - x.chunk(2)[1])
        slope, flat = slope.repeat(2, *[1] * (x.ndim - 1)), (run.abs() < 1e-7).repeat(2, *[1] * (x.ndim - 1))
        with torch.enable_grad():  # where x and x' meet, the slope is the derivative
            here = x.detach().requires_grad_(True)
            (derivative,) = torch.autograd.grad(ctx.curve(here).sum(), here)
        return gradients[0] * torch.where(flat, derivative, slope), None


class _RescaledMax(torch.autograd.Function):
    """Max pooling of such halves: each window's change goes to the places of the two maxima.

    From x' the output rises to the larger of both maxima at the place where x has its own, and falls from there to
    x's maximum at the place where x' has its own, as in the authors' code. Windows that overlap add up.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: nn.MaxPool2d) -> Tensor:
        y, places = F.max_pool2d(
            x, pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode, return_indices=True
        )
        ctx.save_for_backward(x, y, places)
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        x, y, places = ctx.saved_tensors
        ours, theirs = y.chunk(2)
        larger = torch.maximum(ours, theirs)
        change = gradients[0] * torch.cat([larger - theirs, ours - larger])
        landed = torch.zeros_like(x).flatten(2).scatter_add(2, places.flatten(2), change.flatten(2)).view_as(x)
        total = landed.chunk(2)[0] + landed.chunk(2)[1]
        run = x.chunk(2)[0] - x.chunk(2)[1]
        ratio = torch.where(run.abs() < 1e-7, torch.zeros_like(run), total / run)
        return torch.cat([ratio, ratio]), None


@register_method
@dataclass(frozen=True)
class DeepLift:
    """(x − x') times the slope between the two at every nonlinearity, the rescale rule, instead of its derivative.

    The error is the completeness gap: nonlinear steps that are no modules of a known kind (functions inside a
    forward, products of activations) are followed by their gradient and do not add up.
    """

    name: ClassVar[str] = "deep_lift"
    unit: ClassVar[str] = units.POINTS
    source: ClassVar[str] = "Shrikumar et al. 2017, arXiv:1704.02685, section 3.5.1"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})
    error: ClassVar[str] = GAP
    cost: ClassVar[str] = "2 forwards, 2 backwards"

    image_baseline: str | None = parameter(None, "where the picture starts (default: blur)", choices=BASELINES)
    text_baseline: str | None = parameter(None, "where the words start (default: the model's)", choices=TEXT_FILLS)

    def __call__(self, task: Task) -> Attribution:
        rules = _rescale_rules(task)
        leaves = task.leaves()
        start = task.model.baselines(task.encoded, task.fills(self.image_baseline, self.text_baseline), task.seed)
        with replaced(rules):
            pairs = {name: torch.cat([leaf, start[name]]) for name, leaf in leaves.items()}
            scores, slopes = task.gradients(pairs, whole=True)
        image, tokens = sums({name: (leaf - start[name]) * slopes[name][:1] for name, leaf in leaves.items()})
        gap = abs(image.sum() + tokens.sum() - float(scores[0] - scores[1]))
        return Attribution(image, tokens, gap, GAP)


def _rescale_rules(task: Task) -> dict[nn.Module, Rule]:
    """The rule of every nonlinear module of the network."""
    modules = list(task.model.module.modules())
    attention = next((type(m).__name__ for m in modules if "Attention" in type(m).__name__), None)
    if attention:
        raise Unsupported(
            f"the rescale rule is about curves of one variable, and model {task.model.name!r} multiplies activations "
            f"({attention}); use attn_lrp or integrated_gradients"
        )

    def curved(module: nn.Module) -> Rule:
        plain = module.forward
        # A copy goes in, since some modules compute in place.
        return lambda x: _Rescaled.apply(x, lambda v: plain(v.clone()))

    def pooled(module: nn.MaxPool2d) -> Rule:
        return lambda x: _RescaledMax.apply(x, module)

    rules: dict[nn.Module, Rule] = {}
    for module in modules:
        if isinstance(module, CURVES) or type(module).__module__ == "transformers.activations":
            rules[module] = curved(module)
        elif isinstance(module, nn.MaxPool2d):
            rules[module] = pooled(module)
    return rules
