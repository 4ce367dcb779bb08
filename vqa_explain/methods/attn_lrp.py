"""Layer-wise relevance propagation through attention,
as gradients with other rules at some operations.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from vqa_explain import units
from vqa_explain.methods.base import Attribution, Task, of_one, register_method, total
from vqa_explain.methods.passes import WholePass, leaves_pass
from vqa_explain.models.base import Leaves, Model
from vqa_explain.models.encoded import Encoded

KIND = "conservation gap: what biases and positions keep"

CURVES = {
    F.relu,
    F.relu6,
    F.gelu,
    F.silu,
    F.mish,
    F.elu,
    F.leaky_relu,
    F.hardswish,
    F.tanh,
    torch.relu,
    torch.tanh,
    Tensor.relu,
    Tensor.tanh,
    torch.relu_,
    torch.tanh_,
    Tensor.relu_,
    Tensor.tanh_,
    F.elu_,
    F.leaky_relu_,
}
PRODUCTS = {
    torch.matmul,
    torch.bmm,
    torch.mul,
    torch.multiply,
    Tensor.matmul,
    Tensor.bmm,
    Tensor.mul,
    Tensor.multiply,
    Tensor.__matmul__,
    Tensor.__mul__,
    Tensor.__rmul__,
}
SCALES = {torch.rsqrt, Tensor.rsqrt}  # root mean square normalization written out


class Identity(torch.autograd.Function):
    """A curve whose relevance passes unchanged: backward the gradient is f(x) / x (equation 9)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor) -> Tensor:
        ctx.save_for_backward(torch.where(x.abs() < 1e-10, torch.zeros_like(y), y / x))
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.saved_tensors[0], None


class _Halved(torch.autograd.Function):
    """A product of two activations, each of which takes half of its relevance (equation 7)."""

    @staticmethod
    def forward(ctx: Any, product: Tensor) -> Tensor:
        return product.clone()  # the network may change it in place, which a view forbids

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0] / 2


class Rules(TorchFunctionMode):
    """Inside, input × gradient is relevance: every torch operation gets AttnLRP's rule on the way
    back.

    Linear layers, sums and softmax keep their gradient (the ε rule with ε → 0, and equation 13, in
    this form); curves pass relevance unchanged, products of two activations share it, normalization
    takes its scale as fixed (section 3.3.3). The rules are of operations, not of modules, so that
    any network's own code runs.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is F.layer_norm:
            return _layer_norm(*args, **kwargs)
        if func in SCALES:
            return func(*args, **kwargs).detach()
        if func in CURVES:
            return passed_unchanged(func, args, kwargs)
        if (
            func in PRODUCTS
            and len(args) == 2
            and all(isinstance(a, Tensor) and a.requires_grad for a in args)
        ):
            return _Halved.apply(func(*args, **kwargs))
        return func(*args, **kwargs)


def passed_unchanged(func: Callable[..., Any], args: Any, settings: dict[str, Any]) -> Tensor:
    """What a curve gives, with its relevance passed unchanged. A curve that works in place changes
    its input, which the network may use again.
    """
    x, *others = args or (settings.pop("input"),)
    with torch.no_grad():
        copy = x.clone()
        before = copy._version
        y = func(copy, *others, **settings)
    found: Tensor = Identity.apply(x, y)
    return found if copy._version == before else x.copy_(found)


def _layer_norm(
    x: Tensor,
    normalized_shape: Any,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    axes = tuple(range(-len(normalized_shape), 0))
    centered = x - x.mean(dim=axes, keepdim=True)
    y = centered * (centered.detach().square().mean(dim=axes, keepdim=True) + eps).rsqrt()
    y = y if weight is None else y * weight
    return (
        y if bias is None else y + bias
    ).contiguous()  # as torch gives it: some networks go on with a view


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """torch's fused attention written out, both products halved."""
    if enable_gqa:
        times = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(times, -3), value.repeat_interleave(times, -3)
    scores = _Halved.apply(query @ key.transpose(-2, -1)) * (scale or query.shape[-1] ** -0.5)
    if is_causal:
        scores = scores.masked_fill(
            scores.new_ones(scores.shape[-2:]).triu(1).bool(), float("-inf")
        )
    if attn_mask is not None:
        scores = (
            scores.masked_fill(~attn_mask, float("-inf"))
            if attn_mask.dtype == torch.bool
            else scores + attn_mask
        )
    result: Tensor = _Halved.apply(scores.softmax(dim=-1) @ value)
    return result


@register_method(
    "attn_lrp",
    source="Achtibat et al. 2024, arXiv:2402.05602, section 3.3",
    unit=units.POINTS,
    needs={"gradients"},
    error=KIND,
    cost="2 forwards, 1 backward",
)
@dataclass(frozen=True)
class AttnLrp:
    """The score handed back layer by layer to pixels and tokens, each operation sharing it among
    its inputs.

    One backward pass. The error is the conservation gap |Σ relevance − f(x)|: biases, positions and
    the tokens that the model adds itself keep their part.
    """

    def whole_pass(self, model: Model, encoded: Encoded, leaves: Leaves) -> WholePass:
        with Rules():
            whole = leaves_pass(model, encoded, leaves)
        return replace(whole, inside=Rules, is_rewritten=True)

    def __call__(self, task: Task) -> Attribution:
        leaves, whole = task.leaves(), task.opened(self.whole_pass)
        score, gradient = whole.value(task.target).detach(), task.gradients_of(whole)
        products = {name: leaf * gradient[name] for name, leaf in leaves.items()}
        values = of_one(task.encoded, products)
        return Attribution(values, abs(total(values) - float(score)), KIND)
