"""ViLT's answers where nobody looks inside, for many coalitions at once.

The answer is read from the first token of the last layer. Of that layer only this token is
computed, attention runs fused, and no gradients are kept; the scores are those of `transformers`'
own forward up to rounding. Not every layer's hooks would fire.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import ViltForQuestionAnswering
from transformers.activations import GELUActivation

from vqa_explain.models.fast.fused import available

# Width of a head up to which plain products are faster on a CPU than fused attention: 1.24 ms
# against 1.43 of 32 × 77 states in heads of 32; in heads of 64 they are as fast with 100 states and
# slower with 250.
NARROW = 32


# Where the layers that are computed here are defined.
HOMES = ("transformers.models.vilt.modeling_vilt", "transformers.activations", "torch.nn.modules.")


def as_built(module: nn.Module) -> bool:
    """Whether every layer is one that transformers builds, and computes by its own forward.

    Others, such as those of LoRA or quantized ones, have weights that are not all that they compute
    with.
    """
    if type(module).forward is not ViltForQuestionAnswering.forward:
        return False
    waiting = [module]
    while waiting:  # `module.modules()`, which makes each one's name, takes five times as long
        part = waiting.pop()
        if "forward" in part.__dict__ or (
            part is not module and not type(part).__module__.startswith(HOMES)
        ):
            return False
        waiting += [inner for inner in part._modules.values() if inner is not None]
    return True


@torch.no_grad()
def answer_scores(
    module: ViltForQuestionAnswering, text: Tensor, heard: Tensor, patches: Tensor, seen: Tensor
) -> Tensor:
    """Answer logits (B, K).

    Args:
        text: (B, T, D) word embeddings, before positions are added.
        heard: (B, T) 1 where a token is there.
        patches: (B, 1 + M, D) image tokens with positions, behind the image's own first one.
        seen: (B, 1 + M) 1 where an image token is there.
    """
    vilt: Any = module.vilt
    states, there = vilt.embeddings(None, heard, None, None, seen, text, patches)
    mask = None
    if not bool(there.all()):
        mask = torch.zeros(
            len(there), 1, 1, there.shape[1], dtype=states.dtype, device=states.device
        )
        mask.masked_fill_(there[:, None, None] == 0, torch.finfo(states.dtype).min)
    *layers, last = vilt.encoder.layer
    for layer in layers:
        states = _block(layer, states, mask)
    return _answer(module, _first(last, states, mask))


@torch.no_grad()
def chosen_scores(
    module: ViltForQuestionAnswering, text: Tensor, patches: Tensor, here: Tensor
) -> Tensor:
    """Answer logits (N, K) where every token is one of two, at its place: with it there, or as it
    is where absent.

    What is computed of a token alone, up to the first layer's queries, keys and values, is computed
    of the two and chosen from.

    Args:
        text: (2, T, D) word embeddings before positions are added, there and absent.
        patches: (2, 1 + M, D) image tokens with positions, likewise.
        here: (N, T + 1 + M) which tokens are there.
    """
    vilt: Any = module.vilt
    heard, seen = (
        torch.ones(part.shape[:2], dtype=torch.long, device=part.device) for part in (text, patches)
    )
    both, _ = vilt.embeddings(None, heard, None, None, seen, text, patches)
    here = here[:, :, None]
    states = torch.where(here, both[0], both[1])
    *layers, last = vilt.encoder.layer
    for number, layer in enumerate(layers):
        read = _read(layer, both if number == 0 else states)
        states = _block(
            layer, states, None, torch.where(here, read[0], read[1]) if number == 0 else read
        )
    return _answer(module, _first(last, states, None))


def _answer(module: Any, first: Tensor) -> Tensor:
    """Answer logits (B, K) of the first state (B, 1, D) after the last layer."""
    logits: Tensor = module.classifier(module.vilt.pooler(module.vilt.layernorm(first)))
    return logits


def _read(layer: Any, states: Tensor) -> Tensor:
    """Queries, keys and values (B, S, 3 D) of a layer by one product:
    three of 128 by 128 took 0.96 ms, one 0.82 ms.
    """
    attend, normed = layer.attention.attention, layer.layernorm_before(states)
    parts = (attend.query, attend.key, attend.value)
    biases = None if attend.query.bias is None else torch.cat([part.bias for part in parts])
    return F.linear(normed, torch.cat([part.weight for part in parts]), biases)


def _block(layer: Any, states: Tensor, mask: Tensor | None, read: Tensor | None = None) -> Tensor:
    """The states (B, S, D) after a layer; `read` is what it reads of them, if that is known."""
    query, key, value = (_read(layer, states) if read is None else read).chunk(3, dim=-1)
    own = layer.attention.output(
        _attend(layer.attention.attention, query, key, value, mask), states
    ).add_(states)
    result: Tensor = layer.output(_widened(layer.intermediate, layer.layernorm_after(own)), own)
    return result


def _first(layer: Any, states: Tensor, mask: Tensor | None) -> Tensor:
    """The first state (B, 1, D) after a layer, without keys and values of the others.

    A head's score of state j is qᵀ(K xⱼ + k) = (Kᵀq)ᵀxⱼ + qᵀk, of which softmax does not see the
    last; its output is Σ aⱼ (V xⱼ + v) = V Σ aⱼ xⱼ + v.
    """
    attend = layer.attention.attention
    normed = layer.layernorm_before(states)
    count, width = attend.num_attention_heads, attend.attention_head_size
    query = attend.query(normed[:, 0]).unflatten(-1, (count, width))
    sought = torch.einsum("bhd,hde->bhe", query, attend.key.weight.unflatten(0, (count, width)))
    scores = sought @ normed.transpose(1, 2) / math.sqrt(width)  # (B, heads, S)
    shares = (scores if mask is None else scores + mask[:, 0]).softmax(dim=-1)
    mixed = torch.einsum(
        "bhe,hde->bhd", shares @ normed, attend.value.weight.unflatten(0, (count, width))
    ).flatten(1)
    if attend.value.bias is not None:
        mixed = mixed + attend.value.bias
    own = layer.attention.output(mixed[:, None], states[:, :1]) + states[:, :1]
    result: Tensor = layer.output(layer.intermediate(layer.layernorm_after(own)), own)
    return result


def _attend(attend: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """(B, count, D) mixed states for queries (B, count, D), keys and values (B, S, D)."""
    count, width = attend.num_attention_heads, attend.attention_head_size
    query, key, value = (
        part.unflatten(-1, (count, width)).transpose(1, 2) for part in (query, key, value)
    )
    if width > NARROW or query.device.type != "cpu":
        return (
            F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
            .transpose(1, 2)
            .flatten(2)
        )
    query, key, value = (part.flatten(0, 1) for part in (query, key, value))
    added = query.new_zeros(1, 1, 1) if mask is None else mask[:, 0].repeat_interleave(count, dim=0)
    scores = torch.baddbmm(
        added, query, key.transpose(1, 2), alpha=1 / math.sqrt(width), beta=float(mask is not None)
    )
    result: Tensor = (
        torch.bmm(scores.softmax(dim=-1), value)
        .unflatten(0, (-1, count))
        .transpose(1, 2)
        .flatten(2)
    )
    return result


def _widened(layer: Any, given: Tensor) -> Tensor:
    """The wide layer of a block; oneDNN computes its GELU where it writes the product."""
    known = isinstance(layer.intermediate_act_fn, GELUActivation) and given.dtype == torch.float32
    if not known or given.device.type != "cpu" or not available():
        wide: Tensor = layer(given)
        return wide
    dense = layer.dense
    result: Tensor = torch.ops.mkldnn._linear_pointwise(
        given, dense.weight, dense.bias, "gelu", [], "none"
    )
    return result
