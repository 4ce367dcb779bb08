"""ViLT's answers where nobody looks inside, for many coalitions at once.

The answer is read from the first token of the last layer. Of that layer only this token is computed, attention runs
fused, and no gradients are kept; the scores are those of `transformers`' own forward up to rounding. Hooks on the
blocks do not fire, those on their parts do.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import ViltForQuestionAnswering


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
        mask = torch.zeros(len(there), 1, 1, there.shape[1], dtype=states.dtype, device=states.device)
        mask.masked_fill_(there[:, None, None] == 0, torch.finfo(states.dtype).min)
    layers = vilt.encoder.layer
    for layer in layers[:-1]:
        states = _block(layer, states, states.shape[1], mask)
    first = _block(layers[-1], states, 1, mask)
    pooled: Tensor = module.classifier(vilt.pooler(vilt.layernorm(first)))
    return pooled


def _block(layer: Any, states: Tensor, count: int, mask: Tensor | None) -> Tensor:
    """The first `count` states (B, count, D) after a layer."""
    attend, own = layer.attention.attention, states[:, :count]
    normed = layer.layernorm_before(states)
    heads = (attend.num_attention_heads, attend.attention_head_size)
    query, key, value = (
        part(given).unflatten(-1, heads).transpose(1, 2)
        for part, given in ((attend.query, normed[:, :count]), (attend.key, normed), (attend.value, normed))
    )
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    own = own + layer.attention.output(mixed.transpose(1, 2).flatten(2), own)
    return layer.output(layer.intermediate(layer.layernorm_after(own)), own)
