"""Gradients with other rules at the ReLUs: guided backpropagation and deconvolution."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar
from unittest.mock import patch

import torch
from torch import Tensor, nn

from vqa_explain.errors import Unsupported
from vqa_explain.methods.base import Attribution, Task, register
from vqa_explain.methods.gradients import sums
from vqa_explain.models.base import Leaves

KIND = "none: rectified gradients do not add up to a score"
RECTIFIERS = (nn.ReLU, nn.ReLU6)


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
    with ExitStack() as undo:
        for module in found:
            ceiling = 6.0 if isinstance(module, nn.ReLU6) else float("inf")

            def ruled(x: Tensor, ceiling: float = ceiling) -> Tensor:
                return _Rectified.apply(x, ceiling, keep_negative_inputs)

            undo.enter_context(patch.object(module, "forward", ruled))
        return task.gradients(task.leaves())[1]


@register
@dataclass(frozen=True)
class GuidedBackprop:
    """The gradient with every ReLU passing only what is positive both ways: input forward, gradient backward."""

    name: ClassVar[str] = "guided_backprop"
    source: ClassVar[str] = "Springenberg et al. 2015, arXiv:1412.6806, section 3.4"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def __call__(self, task: Task) -> Attribution:
        return Attribution(*sums(guided(task, keep_negative_inputs=False)), None, KIND)


@register
@dataclass(frozen=True)
class Deconvolution:
    """The gradient with every ReLU passing what is positive on the way back, whatever its input was."""

    name: ClassVar[str] = "deconvolution"
    source: ClassVar[str] = "Zeiler & Fergus 2014, arXiv:1311.2901, section 2.1"
    needs: ClassVar[frozenset[str]] = frozenset({"gradients"})

    def __call__(self, task: Task) -> Attribution:
        return Attribution(*sums(guided(task, keep_negative_inputs=True)), None, KIND)
