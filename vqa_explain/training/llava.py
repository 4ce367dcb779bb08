"""A small LLaVA: a vision tower, a projector and a decoder, with a fast forward pass for training.

Its tower begins with the first layers of a trained ViLT, which already knows what is on a patch.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import (
    BertTokenizer,
    GenerationConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    SiglipImageProcessor,
    SiglipVisionConfig,
    ViltForQuestionAnswering,
)

from vqa_explain.training import vilt

IMAGE = "<image>"
LONGEST = 40  # tokens that the model writes at most by itself
# The picture, and then what is asked.
TEMPLATE = (
    "{% for message in messages %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}" + IMAGE + "{% else %} {{ part['text'] }}{% endif %}"
    "{% endfor %}{% endfor %}"
)


@dataclass(frozen=True)
class Shape:
    """How large a network is.

    Attributes:
        tower: layers of the vision tower; its width is that of the ViLT that it begins with.
        decoder: layers of the decoder.
        width: numbers of a state of the decoder.
    """

    tower: int = 3
    decoder: int = 4
    width: int = 128


def make_processor(words: list[str], size: int, patch: int) -> LlavaProcessor:
    """A tokenizer whose whole words are `words` (the rest falls apart into letters), image steps of
    `size` pixels, and the template of a prompt.
    """
    letters = [*vilt.LETTERS, *(f"##{letter}" for letter in vilt.LETTERS)]
    pieces = [*vilt.SPECIAL, IMAGE, *"?.,!'-\"", *letters, *sorted(set(words))]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = BertTokenizer(
        vocab=vocabulary,
        do_lower_case=True,
        additional_special_tokens=[IMAGE],
        bos_token="[CLS]",
        eos_token="[SEP]",
    )
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    images = SiglipImageProcessor(
        size={"height": size, "width": size}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return LlavaProcessor(
        images,
        tokenizer,
        patch_size=patch,
        vision_feature_select_strategy="full",
        chat_template=TEMPLATE,
        image_token=IMAGE,
    )


def make_model(
    processor: LlavaProcessor, start: ViltForQuestionAnswering, seed: int, shape: Shape = Shape()
) -> LlavaForConditionalGeneration:
    """A small LLaVA, randomly initialized, whose tower is that of `start`."""
    known, words = start.config, processor.tokenizer
    vision = SiglipVisionConfig(
        hidden_size=known.hidden_size,
        intermediate_size=known.intermediate_size,
        num_hidden_layers=shape.tower,
        num_attention_heads=known.num_attention_heads,
        image_size=known.image_size,
        patch_size=known.patch_size,
        hidden_act="gelu",
        layer_norm_eps=known.layer_norm_eps,
        vision_use_head=False,
    )
    text = LlamaConfig(
        vocab_size=len(words),
        hidden_size=shape.width,
        intermediate_size=2 * shape.width,
        num_hidden_layers=shape.decoder,
        num_attention_heads=4,
        max_position_embeddings=256,
        initializer_range=0.05,
        tie_word_embeddings=False,
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        pad_token_id=words.pad_token_id,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=words.convert_tokens_to_ids(IMAGE),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=False,
        question_optional=True,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlavaForConditionalGeneration(config)
    _begin_with(model.model.vision_tower, start)
    model.generation_config = GenerationConfig(
        bos_token_id=words.cls_token_id,
        eos_token_id=words.sep_token_id,
        pad_token_id=words.pad_token_id,
        max_new_tokens=LONGEST,
    )
    return model


@torch.no_grad()
def _begin_with(tower: nn.Module, start: ViltForQuestionAnswering) -> None:
    """Copies patches, places and first layers; a text that is absent is not there at all."""
    embeddings = start.vilt.embeddings
    kind = embeddings.token_type_embeddings.weight[1]
    projection = embeddings.patch_embeddings.projection
    tower.embeddings.patch_embedding.load_state_dict(projection.state_dict())
    places = embeddings.position_embeddings[0, 1:] + kind
    tower.embeddings.position_embedding.weight.copy_(places)
    for own, known in zip(tower.encoder.layers, start.vilt.encoder.layer, strict=False):
        attention = known.attention.attention
        for there, here in (
            (known.layernorm_before, own.layer_norm1),
            (attention.query, own.self_attn.q_proj),
            (attention.key, own.self_attn.k_proj),
            (attention.value, own.self_attn.v_proj),
            (known.attention.output.dense, own.self_attn.out_proj),
            (known.layernorm_after, own.layer_norm2),
            (known.intermediate.dense, own.mlp.fc1),
            (known.output.dense, own.mlp.fc2),
        ):
            here.load_state_dict(there.state_dict())


def seen_patches(
    model: LlavaForConditionalGeneration, pixels: Tensor, kept: Tensor | None
) -> Tensor:
    """(B, kept patches, D) the tower's last states of normalized pixels, patches in raster order.

    Patches that are not `kept` (B, K) are left out from the beginning.
    """
    tower = model.model.vision_tower
    embeddings = tower.embeddings
    x = embeddings.patch_embedding(pixels).flatten(2).transpose(1, 2)
    x = x + embeddings.position_embedding.weight
    if kept is not None:
        x = picked(x, kept)
    heads = tower.config.num_attention_heads
    for layer in tower.encoder.layers:
        h, own = layer.layer_norm1(x), layer.self_attn
        q, k, v = (
            f(h).unflatten(2, (heads, -1)).transpose(1, 2)
            for f in (own.q_proj, own.k_proj, own.v_proj)
        )
        mixed = F.scaled_dot_product_attention(q, k, v)
        x = x + own.out_proj(mixed.transpose(1, 2).flatten(2))
        h = layer.layer_norm2(x)
        x = x + layer.mlp.fc2(F.gelu(layer.mlp.fc1(h)))
    return x


def picked(states: Tensor, kept: Tensor) -> Tensor:
    """(B, K, D) the states (B, P, D) with the numbers `kept` (B, K)."""
    return states.gather(1, kept[:, :, None].expand(-1, -1, states.shape[2]))


@dataclass
class Sequence:
    """What the decoder receives.

    Attributes:
        states: (B, L, D) embeddings: [CLS], the patches that stay, and then the text.
        positions: (B, L).
        visible: (B, 1, L, L) bool, what each position looks at.
    """

    states: Tensor
    positions: Tensor
    visible: Tensor


def sequence(
    model: LlavaForConditionalGeneration,
    seen: Tensor,
    kept: Tensor,
    text: Tensor,
    heard: Tensor,
    start: int,
) -> Sequence:
    """The decoder's input of patches that stay and of a text.

    Args:
        seen: (B, K, D) the tower's states.
        kept: (B, K) the numbers of these patches.
        text: (B, T) token numbers.
        heard: (B, T) bool, the tokens that others may look at.
        start: the number of the first token, [CLS].
    """
    embed = model.model.language_model.embed_tokens
    size, every = len(text), model.model.vision_tower.embeddings.num_positions
    first = embed(torch.full((size, 1), start))
    shown = model.model.multi_modal_projector(seen)
    states = torch.cat([first, shown, embed(text)], dim=1)
    positions = torch.cat(
        [
            torch.zeros(size, 1, dtype=torch.long),
            kept + 1,
            (every + 1 + torch.arange(text.shape[1])).expand(size, -1),
        ],
        dim=1,
    )
    there = torch.ones(size, 1 + kept.shape[1], dtype=torch.bool)
    attended = torch.cat([there, heard], dim=1)
    length = states.shape[1]
    earlier = torch.ones(length, length, dtype=torch.bool).tril()
    visible = (earlier & attended[:, None, :]) | torch.eye(length, dtype=torch.bool)
    return Sequence(states, positions, visible[:, None])


def turn(states: Tensor, angles: Tensor) -> Tensor:
    """Rotary embedding of states (B, H, L, D / H) by angles (B, L, D / 2H)."""
    cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
    one, other = states.chunk(2, dim=-1)
    return torch.cat([one * cosine - other * sine, other * cosine + one * sine], dim=-1)


def _normed(norm: nn.Module, x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)


def _in_heads(states: Tensor, size: int) -> Tensor:
    """(B, H, L, size) of states (B, L, H · size)."""
    return states.unflatten(2, (-1, size)).transpose(1, 2)


def angles_of(model: LlavaForConditionalGeneration, positions: Tensor) -> Tensor:
    """(B, L, D / 2H) what a state at each position is turned by."""
    frequencies = model.model.language_model.rotary_emb.inv_freq
    return positions[:, :, None].float() * frequencies


def decoded(model: LlavaForConditionalGeneration, given: Sequence, first: int) -> list[Tensor]:
    """The states that enter the decoder's first layer, and those after each, (B, L, D).

    The same sums as transformers' own forward; a test says so. The last layer computes only the
    places from `first` on, (B, L - first, D), from which words are read.
    """
    x, angles = given.states, angles_of(model, given.positions)
    states, layers = [x], model.model.language_model.layers
    for number, layer in enumerate(layers):
        here = first if number == len(layers) - 1 else 0
        own, h = layer.self_attn, _normed(layer.input_layernorm, x)
        q = turn(_in_heads(own.q_proj(h[:, here:]), own.head_dim), angles[:, here:])
        k = turn(_in_heads(own.k_proj(h), own.head_dim), angles)
        v = _in_heads(own.v_proj(h), own.head_dim)
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=given.visible[:, :, here:])
        x = x[:, here:] + own.o_proj(mixed.transpose(1, 2).flatten(2))
        h = _normed(layer.post_attention_layernorm, x)
        x = x + layer.mlp.down_proj(F.silu(layer.mlp.gate_proj(h)) * layer.mlp.up_proj(h))
        states.append(x)
    return states


def logits(model: LlavaForConditionalGeneration, last: Tensor) -> Tensor:
    """Scores (…, V) of the next token from the last layer's states."""
    return model.lm_head(_normed(model.model.language_model.norm, last))


@dataclass(frozen=True)
class Look:
    """One attention head that learns in training where to look: its layer and its number."""

    layer: int
    head: int


def looked_at(
    model: LlavaForConditionalGeneration,
    states: list[Tensor],
    given: Sequence,
    look: Look,
    at: Tensor,
    owned: Tensor,
) -> Tensor:
    """(N,) how much of a head's attention goes from places of the sequence to their patches.

    Args:
        states: what `decoded` gave.
        at: (N, 2) example and place of the sequence.
        owned: (N, kept patches) 1 for the patches that it should look at.
    """
    layer = model.model.language_model.layers[look.layer]
    own, angles = layer.self_attn, angles_of(model, given.positions)
    rows = slice(look.head * own.head_dim, (look.head + 1) * own.head_dim)
    h = _normed(layer.input_layernorm, states[look.layer])
    k = turn(F.linear(h, own.k_proj.weight[rows])[:, None], angles)[:, 0]
    asked, turned = h[at[:, 0], at[:, 1]][:, None], angles[at[:, 0], at[:, 1]][:, None]
    q = turn(F.linear(asked, own.q_proj.weight[rows])[:, None], turned)[:, 0, 0]
    scores = torch.einsum("nd,nld->nl", q, k[at[:, 0]]) / math.sqrt(own.head_dim)
    allowed = given.visible[at[:, 0], 0, at[:, 1]]
    weights = scores.masked_fill(~allowed, -math.inf).softmax(1)
    return (weights[:, 1 : 1 + owned.shape[1]] * owned).sum(1)
