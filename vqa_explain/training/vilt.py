"""A small ViLT and its training step: fast forward, random absence of patches and words, and
helping heads.

Patches leave the sequence and words become [MASK] in part of the batches, with rates from 0 to 1,
while the answer stays the true one. So the network learns the answer's distribution given whatever
is visible, and the game that a perturbation method plays on it, v(S) = score given the players in
S, is in distribution for every coalition S (the surrogate of Frye et al. 2021, "Shapley
explainability on the data manifold", equation 9).
"""

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset
from transformers import (
    BertTokenizer,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessor,
    ViltProcessor,
)

from vqa_explain.errors import InvalidInput

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
CELLS = 36  # 6 x 6 cells of 2 px in a patch
AROUND = 81  # 9 x 9 cells of 4 px in a patch and those about it
# the layer after which a naming word should know its object; the rest compare, count and answer
FOUND = 4
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"


def make_processor(words: list[str], size: int, divisor: int) -> ViltProcessor:
    """A word-piece tokenizer whose whole words are `words` (the rest falls apart into letters),
    and image steps.
    """
    pieces = [*SPECIAL, *"?.,!'-\"", *LETTERS, *(f"##{c}" for c in LETTERS), *sorted(set(words))]
    vocabulary = {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = BertTokenizer(vocab=vocabulary, do_lower_case=True, model_max_length=40)
    images = ViltImageProcessor(
        size={"shortest_edge": size},
        size_divisor=divisor,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    return ViltProcessor(images, tokenizer)


@dataclass(frozen=True)
class Shape:
    """How large a network is: pixels of a picture and of a patch, numbers of a state."""

    side: int = 96
    patch: int = 12
    hidden: int = 128


def make_model(
    processor: ViltProcessor,
    answers: tuple[str, ...],
    layers: int,
    seed: int,
    shape: Shape = Shape(),
) -> ViltForQuestionAnswering:
    """A small ViLT, randomly initialized.

    Places start as sines and cosines of column and row. ViLT's own start of zeros left every patch
    without a place for thousands of steps: shapes, which span patches, and relations were not
    learnt at all.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = ViltForQuestionAnswering(
            ViltConfig(
                vocab_size=len(processor.tokenizer),
                hidden_size=shape.hidden,
                num_hidden_layers=layers,
                num_attention_heads=4,
                intermediate_size=2 * shape.hidden,
                hidden_dropout_prob=0.0,
                attention_probs_dropout_prob=0.0,
                max_position_embeddings=40,
                image_size=shape.side,
                patch_size=shape.patch,
                id2label=dict(enumerate(answers)),
                label2id={a: i for i, a in enumerate(answers)},
            )
        )
    side = model.config.image_size // model.config.patch_size
    with torch.no_grad():
        model.vilt.embeddings.position_embeddings[0, 1:] += places(side, model.config.hidden_size)
        first, second = model.vilt.encoder.layer[:2]
        look_aside(first.attention.attention, ((1, 0), (-1, 0), (0, 1), (0, -1)))
        look_aside(second.attention.attention, ((1, 1), (-1, 1), (1, -1), (-1, -1)))
    return model


def waves(width: int) -> Tensor:
    """(width / 4,) angular frequencies of the places, for wavelengths of 2.5 to 40 patches."""
    return 2 * math.pi / torch.logspace(math.log10(2.5), math.log10(40), width // 4)


def look_aside(attention: nn.Module, offsets: tuple[tuple[int, int], ...]) -> None:
    """Starts head h looking at the patch that lies `offsets[h]` (columns, rows) away, as a
    convolution would.

    A key holds sines and cosines of its place, a query those of its place plus the offset, so that
    their product is a sum of cosines of the distance (a start for transformers as Trockman and
    Kolter 2023 argue for).
    """
    width = attention.query.in_features
    head = attention.attention_head_size
    # Frequencies of an axis; its sines lie before its cosines, columns before rows.
    count = width // 4
    # Every second one, short waves first: they tell neighbors apart.
    used = torch.arange(0, 2 * (head // 4), 2)
    for h, offset in enumerate(offsets):
        for axis, step in enumerate(offset):
            sine, cosine = 2 * axis * count + used, (2 * axis + 1) * count + used
            row = h * head + axis * head // 2 + torch.arange(len(used))
            turn = waves(width)[used] * step
            attention.key.weight[row, sine] += 1
            attention.key.weight[row + len(used), cosine] += 1
            attention.query.weight[row, sine] += turn.cos()
            attention.query.weight[row, cosine] += turn.sin()
            attention.query.weight[row + len(used), cosine] += turn.cos()
            attention.query.weight[row + len(used), sine] -= turn.sin()


def places(side: int, width: int, size: float = 0.35) -> Tensor:
    """(side², width): sines and cosines of each patch's column and row."""
    phase = torch.arange(side)[:, None] * waves(width)
    line = torch.cat([phase.sin(), phase.cos()], dim=1)
    column = line[None].expand(side, -1, -1)
    row = line[:, None].expand(-1, side, -1)
    return size * torch.cat([column, row], dim=2).flatten(0, 1)


def words_of(text: str, vocabulary: dict[str, int]) -> tuple[list[int], list[int]]:
    """The token numbers of a text between [CLS] and [SEP], and the characters at which its words
    and marks end.
    """
    found = list(re.finditer(r"\w+|[?.,!]", text))
    words = [vocabulary[one[0].lower()] for one in found]
    return [vocabulary["[CLS]"], *words, vocabulary["[SEP]"]], [one.end() for one in found]


class Heads(nn.Module):
    """Heads that exist in training only; they tell the layers what to look for,
    long before answers reward it.
    """

    def __init__(self, hidden: int, shapes: int, colors: int, cells: int) -> None:
        super().__init__()
        self.outline = nn.Linear(hidden, CELLS)  # which cells of this patch an object covers
        # Which cells of this patch and the eight about it its object covers.
        self.around = nn.Linear(hidden, AROUND)
        self.shape = nn.Linear(hidden, shapes + 1)  # the shape on this patch, or none
        self.color = nn.Linear(hidden, colors + 1)
        # Is this patch part of an object that the question is about.
        self.ground = nn.Linear(hidden, 1)
        # The object that this word names: its column, row, shape, color and size.
        self.named = nn.ModuleList(nn.Linear(hidden, n) for n in (cells, cells, shapes, colors, 2))
        # Is the object that this word names right of, below, of the color and of the shape of the
        # one named before.
        self.compare = nn.Linear(hidden, 4)
        # The same of the question's two objects, from where the answer is read.
        self.pair = nn.Linear(hidden, 4)


@dataclass
class Batch:
    """Tensors of B examples: T tokens, P patches in raster order,
    N named objects over the batch.
    """

    pixels: Tensor  # (B, 3, H, W) uint8
    ids: Tensor  # (B, T), 0 is padding
    answer: Tensor  # (B,)
    outline: Tensor  # (B, P, CELLS) 0 or 1
    around: Tensor  # (B, P, AROUND) 0 or 1
    shape: Tensor  # (B, P) index, the last means none, -100 is not scored
    color: Tensor  # (B, P)
    ground: Tensor  # (B, P) 0 or 1
    named: Tensor  # (N, 7): example, token; column, row, shape, color and size of the object
    owned: Tensor  # (N, P) 0 or 1: the patches of the named object
    # (N, 4) 1 if right of, below, as colored, as shaped as the object named before, else 0, or NaN
    compared: Tensor


def hidden_states(
    model: ViltForQuestionAnswering, pixels: Tensor, ids: Tensor, kept: Tensor | None
) -> list[Tensor]:
    """The states after the embeddings and after each layer, (B, T + 1 + kept patches, D), patches
    in raster order.

    The same sums as transformers' own forward (a test says so) without its random order of patches.
    """
    embeddings = model.vilt.embeddings
    kinds = embeddings.token_type_embeddings.weight
    text = embeddings.text_embeddings(input_ids=ids) + kinds[0]
    patches = embeddings.patch_embeddings(pixels).flatten(2).transpose(1, 2)
    patches = patches + embeddings.position_embeddings[:, 1:] + kinds[1]
    if kept is not None:
        patches = patches.gather(1, kept[:, :, None].expand(-1, -1, patches.shape[2]))
    first = (embeddings.cls_token + embeddings.position_embeddings[:, :1] + kinds[1]).expand(
        len(ids), -1, -1
    )
    x = torch.cat([text, first, patches], dim=1)
    visible = torch.cat(
        [ids != 0, torch.ones(x.shape[0], x.shape[1] - ids.shape[1], dtype=torch.bool)], dim=1
    )
    states = [x]
    heads = model.config.num_attention_heads
    for layer in model.vilt.encoder.layer:
        h = layer.layernorm_before(x)
        attention = layer.attention.attention
        q, k, v = (
            f(h).unflatten(2, (heads, -1)).transpose(1, 2)
            for f in (attention.query, attention.key, attention.value)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible[:, None, None, :])
        x = x + layer.attention.output.dense(mixed.transpose(1, 2).flatten(2))
        h = layer.intermediate(layer.layernorm_after(x))
        x = x + layer.output.dense(h)
        states.append(x)
    return states


def looked_at(
    model: ViltForQuestionAnswering, state: Tensor, layer: int, named: Tensor, owned: Tensor
) -> Tensor:
    """(N,) how much of the first head's attention in `layer` goes from each naming word to its
    object's patches.

    `state` (B, tokens, D) enters the layer; `owned` (N, kept patches) marks the object; the patches
    come last.
    """
    block = model.vilt.encoder.layer[layer]
    attention = block.attention.attention
    width = attention.attention_head_size
    h = block.layernorm_before(state)
    q = attention.query(h[named[:, 0], named[:, 1]])[:, :width]
    k = attention.key(h)[:, :, :width][named[:, 0]]
    weights = (torch.einsum("nd,ntd->nt", q, k).float() / math.sqrt(width)).softmax(1)
    return (weights[:, -owned.shape[1] :] * owned).sum(1)


def logits(model: ViltForQuestionAnswering, last: Tensor) -> Tensor:
    """Answer logits (B, K) from the last layer's states."""
    return model.classifier(model.vilt.pooler(model.vilt.layernorm(last)))


def normalize(pixels: Tensor) -> Tensor:
    """uint8 pixels to the range -1 … 1, as the processor does with mean and deviation 0.5."""
    return pixels.float() / 127.5 - 1.0


def drop(
    ids: Tensor, objects: Tensor, absence: "Absence", mask_id: int, g: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Chooses the patches that stay (objects first when spared) and masks words.

    Args:
        ids: (B, T) tokens.
        objects: (B, P) bool, the patches that show one.

    Returns:
        Token ids (B, T) and patch indices (B, kept) in raster order.
    """
    order = torch.rand(objects.shape, generator=g)
    if absence.spare_objects:
        order = order + objects
    kept = order.topk(absence.keep, dim=1).indices.sort(dim=1).values
    gone = (ids >= len(SPECIAL)) & (torch.rand(ids.shape, generator=g) < absence.rate[:, None])
    return torch.where(gone, mask_id, ids), kept


@dataclass
class Absence:
    """What is hidden in a batch: words at `rate` (B,), all but `keep` patches."""

    rate: Tensor
    keep: int
    spare_objects: bool


def absence(
    step: int, steps: int, size: int, patches: int, few: int, g: torch.Generator
) -> Absence:
    """What is hidden in this batch.

    Three batches of four lose background patches at most (`few` patches hold nearly always all
    objects, and the shorter sequence costs less), fewer of them late; every fourth loses words and
    any patches at a rate from 0 to 1.
    """
    if step % 4 == 3 and step > steps // 8:
        keep = int(torch.randint(1, patches + 1, (), generator=g))
        rate = torch.rand(size, generator=g) * (torch.rand(size, generator=g) < 0.7)
        return Absence(rate, keep, False)
    whole = step % 8 == 1 or (step > steps * 0.8 and step % 2 == 0)
    return Absence(torch.zeros(size), patches if whole else few, True)


def loss(
    model: ViltForQuestionAnswering, heads: Heads | None, batch: Batch, ids: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    """Total loss, and whether each answer is right (B,)."""
    states = hidden_states(model, normalize(batch.pixels), ids, kept)
    scores = logits(model, states[-1])
    total = F.cross_entropy(scores, batch.answer)
    if heads is not None:
        total = total + help_loss(model, heads, batch, states, ids.shape[1], kept)
    return total, scores.argmax(1) == batch.answer


def help_loss(
    model: ViltForQuestionAnswering,
    heads: Heads,
    batch: Batch,
    states: list[Tensor],
    tokens: int,
    kept: Tensor,
) -> Tensor:
    """What the helping heads add.

    Patches know their outline after layer 1, their object's outline after 2 and what it is after
    `FOUND` - 1, naming words after `FOUND`, pairs one layer later.
    """
    early, found, later = states[FOUND - 1], states[FOUND], states[FOUND + 1]
    outline = batch.outline.gather(1, kept[:, :, None].expand(-1, -1, CELLS))
    drawn = F.binary_cross_entropy_with_logits(heads.outline(states[1][:, tokens + 1 :]), outline)
    solid = (batch.shape.gather(1, kept) >= 0) & (
        batch.shape.gather(1, kept) < heads.shape.out_features - 1
    )
    near = batch.around.gather(1, kept[:, :, None].expand(-1, -1, AROUND))[solid]
    if len(near):
        drawn = drawn + 0.5 * F.binary_cross_entropy_with_logits(
            heads.around(states[2][:, tokens + 1 :][solid]), near
        )
    seen = early[:, tokens + 1 :].flatten(0, 1)
    dense = F.cross_entropy(heads.shape(seen), batch.shape.gather(1, kept).flatten())
    dense = dense + F.cross_entropy(heads.color(seen), batch.color.gather(1, kept).flatten())
    ground = heads.ground(found[:, tokens + 1 :])[:, :, 0]
    total = (
        2.0 * drawn
        + dense
        + 3.0 * F.binary_cross_entropy_with_logits(ground, batch.ground.gather(1, kept))
    )
    owned = batch.owned.gather(1, kept[batch.named[:, 0]])
    whole = owned.sum(1) > 0.5 * batch.owned.sum(1)  # what is not there cannot be found
    named, owned, truth = batch.named[whole], owned[whole], batch.compared[whole]
    if len(named) == 0:
        return total
    mass = looked_at(model, states[FOUND - 1], FOUND - 1, named, owned)
    total = total - 0.5 * (mass + 1e-3).log().mean()
    word = found[named[:, 0], named[:, 1]]
    for head, label in zip(heads.named, named[:, 2:].T, strict=True):
        total = total + 0.3 * F.cross_entropy(head(word), label)
    known = ~truth.isnan()
    if known.any():
        compared = heads.compare(later[named[:, 0], named[:, 1]])[known]
        total = total + F.binary_cross_entropy_with_logits(compared, truth[known])
        pair = heads.pair(states[-1][named[:, 0], 0])[known]
        total = total + 0.5 * F.binary_cross_entropy_with_logits(pair, truth[known])
    return total


def fast_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16;
    without them it is many times slower than float32.
    """
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def learning_rate(step: int, steps: int, peak: float) -> float:
    """Warm-up over 3 % of the steps, level to the half, then down a straight line to nothing."""
    return peak * min(1.0, (step + 1) / (0.03 * steps), (steps - step) / (0.5 * steps))


@dataclass(frozen=True)
class Run:
    """How long and how a model is trained.

    Attributes:
        work: the folder of checkpoints; a run that finds one there resumes it.
        steps: batches in all.
        batch: examples in each.
        rate: the largest learning rate.
        seed: of what is hidden in batches.
        every: batches from checkpoint to checkpoint.
        bfloat16: whether to multiply in bfloat16.
    """

    work: Path
    steps: int
    batch: int
    rate: float
    seed: int
    every: int
    bfloat16: bool

    @property
    def settings(self) -> dict[str, Any]:
        """What a run that is resumed must have alike."""
        return {"steps": self.steps, "batch": self.batch, "seed": self.seed, "rate": self.rate}


# Of a batch, its number and a generator: the loss, which answers are right (B,), and whether they
# count, as they do where nothing that decides was hidden.
Step = Callable[[Any, int, torch.Generator], tuple[Tensor, Tensor, bool]]


def train(trained: nn.Module, stream: Dataset, loss_of: Step, run: Run) -> None:
    """Trains a module on the batches of a stream, the n-th of which is the same in every run.

    Leaves checkpoints in the folder, and the settings with the time taken as "training.json".
    """
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=run.rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    run.work.mkdir(parents=True, exist_ok=True)
    latest, start, spent = run.work / "latest.pt", 0, 0.0
    if latest.exists():
        state = torch.load(latest, weights_only=True)
        if state.get("settings", run.settings) != run.settings:
            raise InvalidInput(
                f"{latest} is of a run with other settings, {state['settings']}; give these, or "
                "another work="
            )
        trained.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        start, spent = state["step"], state["seconds"]
    loader = DataLoader(
        stream, batch_size=None, sampler=range(start, run.steps), num_workers=1, prefetch_factor=4
    )
    began, right = time.monotonic() - spent, []
    trained.train()
    for step, data in enumerate(loader, start=start):
        g = torch.Generator().manual_seed(run.seed * 1_000_003 + step)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, run.steps, run.rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=run.bfloat16):
            total, correct, counts = loss_of(data, step, g)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        if counts:
            right.append(correct.float().mean().item())
        if (step + 1) % run.every == 0 or step + 1 == run.steps:
            seconds = time.monotonic() - began
            print(
                f"step {step + 1}/{run.steps}  loss {total.item():.3f}  "
                f"accuracy {np.mean(right or [np.nan]):.3f}  {seconds:.0f} s",
                flush=True,
            )
            right = []
            state = {
                "weights": trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
                "seconds": seconds,
                "settings": run.settings,
            }
            torch.save(state, run.work / "next.pt")
            (run.work / "next.pt").replace(latest)
    record = {**run.settings, "seconds": round(time.monotonic() - began)}
    (run.work / "training.json").write_text(json.dumps(record))


def save(model: ViltForQuestionAnswering, processor: ViltProcessor, folder: Path) -> None:
    """Writes the checkpoint in hub format: safetensors, config, tokenizer and processor files."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
