"""Trains the shipped everyday models: `python -m vqa_explain.training.everyday`.

A run that was stopped resumes from its last checkpoint when the same command is given again.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import cyclopts
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import Dataset
from transformers import ViltForQuestionAnswering, ViltProcessor

from vqa_explain.datasets.everyday import families
from vqa_explain.datasets.everyday.dataset import (
    MOST,
    SHORTCUT_FAMILIES,
    ground_seed,
    plan,
)
from vqa_explain.datasets.everyday.drawing import Drawn, draw
from vqa_explain.datasets.everyday.objects import COLORS, GROUPS, KINDS, plural
from vqa_explain.datasets.everyday.scene import SIZE, Scene
from vqa_explain.training import vilt

PATCH = 16  # pixels
GRID = SIZE // PATCH  # patches a side
FEW = 56  # patches that nearly always hold all objects
SHAPE = vilt.Shape(SIZE, PATCH, 192)
LAYERS = 6
# What takes longest to learn is asked more often.
CURRICULUM = (
    *families.FAMILIES,
    *("horizontal", "vertical", "next_to", "between", "horizontal", "vertical", "corner_object"),
)
SOLID = PATCH * PATCH // 12  # pixels of an object on a patch that tell what it is
FOUND = 3  # the layer after which a naming word should know its objects


def question_words() -> list[str]:
    """Every word that questions and captions of everyday use."""
    texts = [*COLORS, *families.ANSWERS]
    for kind in KINDS.values():
        texts += [*kind.names, *(plural(name) for name in kind.names)]
    for names in GROUPS.values():
        texts += [word for pair in names for word in pair]
    rng_words: set[str] = set()
    for family in families.FAMILIES:
        for number in range(400):
            rng_words.update(re.findall(r"\w+", plan("train", number, families=(family,)).text))
    for number in range(400):
        rng_words.update(re.findall(r"\w+", plan("captions-train", number).text))
    words = {word for text in texts for word in text.split()} | {w.lower() for w in rng_words}
    return sorted(words)


class Heads(nn.Module):
    """Heads that exist in training only; they tell the layers what to look for, long before answers
    reward it.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.kind = nn.Linear(hidden, len(KINDS) + 1)  # what is on this patch, or nothing
        self.color = nn.Linear(hidden, len(COLORS) + 1)  # what it is painted in
        # From this patch to the middle of its object, right and down, and how large it is; patches.
        self.where = nn.Linear(hidden, 3)
        self.named = nn.Linear(hidden, 1)  # is this patch of an object that the question names
        self.sought = nn.Linear(hidden, 1)  # or of one that it asks for
        # The place of the object that this word names, and its size, in shares of the side.
        self.place = nn.Linear(hidden, 3)


@dataclass
class Batch:
    """Tensors of B examples: T tokens, P patches in raster order, N naming words."""

    pixels: Tensor  # (B, 3, H, W) uint8
    ids: Tensor  # (B, T), 0 is padding
    answer: Tensor  # (B,)
    kind: Tensor  # (B, P) index, the last means none, -100 is not scored
    color: Tensor  # (B, P)
    where: Tensor  # (B, P, 3), NaN where there is no object
    named: Tensor  # (B, P) 0 or 1
    sought: Tensor  # (B, P) 0 or 1
    words: Tensor  # (N, 2): example, token
    owned: Tensor  # (N, P) 0 or 1: the patches of the objects that the word names
    place: Tensor  # (N, 3), NaN where it names several


class _Stream(Dataset):
    """Batches by number: the n-th batch is the same in every run, so a resumed run sees what it
    would have seen.
    """

    def __init__(
        self, processor: ViltProcessor, steps: int, size: int, seed: int, split: str
    ) -> None:
        self.vocabulary = processor.tokenizer.get_vocab()
        self.steps, self.size, self.seed, self.split = steps, size, seed, split

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        first = step * self.size
        drawn = [self._drawn(number) for number in range(first, first + self.size)]
        return make_batch(drawn, self.vocabulary)

    def _drawn(self, number: int) -> tuple[Scene, Drawn]:
        most = min(MOST, 1 + number // 12_000)  # one object at first, all after 60,000 examples
        asked = CURRICULUM if self.split == "train" else SHORTCUT_FAMILIES
        scene = plan(self.split, number, seed=self.seed, most=most, families=asked)
        return scene, draw(scene, ground_seed(self.split, number, self.seed))


def patch_areas(masks: np.ndarray) -> np.ndarray:
    """(objects, patches) pixels of each object on each patch."""
    cells = masks.reshape(len(masks), GRID, PATCH, GRID, PATCH).sum(axis=(2, 4))
    return cells.reshape(len(masks), GRID * GRID)


def make_batch(drawn: list[tuple[Scene, Drawn]], vocabulary: dict[str, int]) -> Batch:
    """Tensors and the labels of the helping heads for drawn scenes."""
    size, every = len(drawn), GRID * GRID
    kind = np.full((size, every), len(KINDS))
    color = np.full((size, every), len(COLORS))
    where = np.full((size, every, 3), np.nan, dtype=np.float32)
    named, sought = np.zeros((2, size, every), dtype=np.float32)
    rows, words, owned, place = [], [], [], []
    kinds, colors = list(KINDS), list(COLORS)
    middle = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), axis=-1).reshape(every, 2)
    for b, (scene, picture) in enumerate(drawn):
        row, ends = vilt.words_of(scene.text, vocabulary)
        rows.append(row)
        area = patch_areas(picture.masks)
        solid = (area == area.max(axis=0)) & (area >= SOLID)
        kind[b, (area > 0).any(axis=0)] = -100
        color[b, (area > 0).any(axis=0)] = -100
        told = {index for mention in scene.mentions for index in mention.items}
        for index, item in enumerate(scene.items):
            mine = solid[index]
            kind[b, mine] = kinds.index(item.kind)
            if item.color is not None:
                color[b, mine] = colors.index(item.color)
            at = np.array([item.x, item.y]) / PATCH - 0.5
            where[b, mine, :2] = (at - middle)[mine]
            where[b, mine, 2] = item.size / PATCH
            if index in told:
                named[b, mine] = 1
            elif index in scene.about:
                sought[b, mine] = 1
        for mention in scene.mentions:
            token = 1 + ends.index(mention.end)
            words.append((b, token))
            owned.append(solid[list(mention.items)].any(axis=0))
            only = scene.items[mention.items[0]]
            single = len(mention.items) == 1
            place.append((only.x, only.y, only.size) if single else (np.nan,) * 3)
    ids = np.zeros((size, max(map(len, rows))), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    pixels = np.stack([picture.image for _, picture in drawn]).transpose(0, 3, 1, 2)
    return Batch(
        pixels=torch.from_numpy(pixels.copy()),
        ids=torch.from_numpy(ids),
        answer=torch.tensor([families.ANSWERS.index(scene.answer) for scene, _ in drawn]),
        kind=torch.from_numpy(kind),
        color=torch.from_numpy(color),
        where=torch.from_numpy(where),
        named=torch.from_numpy(named),
        sought=torch.from_numpy(sought),
        words=torch.tensor(words, dtype=torch.long).reshape(-1, 2),
        owned=torch.tensor(np.array(owned, dtype=np.float32)).reshape(-1, every),
        place=torch.tensor(place, dtype=torch.float32).reshape(-1, 3) / SIZE,
    )


def help_loss(
    model: ViltForQuestionAnswering,
    heads: Heads,
    batch: Batch,
    states: list[Tensor],
    kept: Tensor,
) -> Tensor:
    """What the helping heads add.

    Patches know what they show after layer 2, naming words their objects after `FOUND`, and the
    objects that are asked for are known two layers later.
    """
    start = batch.ids.shape[1] + 1  # the patches follow the words and [CLS]
    seen = states[2][:, start:]
    solid = batch.kind.gather(1, kept)
    total = F.cross_entropy(heads.kind(seen).flatten(0, 1), solid.flatten())
    colored = batch.color.gather(1, kept).flatten()
    total = total + F.cross_entropy(heads.color(seen).flatten(0, 1), colored)
    where = batch.where.gather(1, kept[:, :, None].expand(-1, -1, 3))
    there = ~where.isnan().any(2)
    if there.any():
        total = total + 0.3 * F.l1_loss(heads.where(seen)[there], where[there])
    told, asked = heads.named(states[FOUND][:, start:]), heads.sought(states[FOUND + 2][:, start:])
    total = total + 3 * F.binary_cross_entropy_with_logits(
        told[:, :, 0], batch.named.gather(1, kept)
    )
    total = total + 3 * F.binary_cross_entropy_with_logits(
        asked[:, :, 0], batch.sought.gather(1, kept)
    )
    owned = batch.owned.gather(1, kept[batch.words[:, 0]])
    # What is not there cannot be found.
    whole = owned.sum(1) > 0.5 * batch.owned.sum(1).clamp(min=1)
    words, owned, place = batch.words[whole], owned[whole], batch.place[whole]
    if len(words) == 0:
        return total
    mass = vilt.looked_at(model, states[FOUND - 1], FOUND - 1, words, owned)
    total = total - 0.5 * (mass + 1e-3).log().mean()
    single = ~place.isnan().any(1)
    if single.any():
        state = states[FOUND][words[:, 0], words[:, 1]]
        total = total + F.l1_loss(heads.place(state)[single], place[single])
    return total


def loss(
    model: ViltForQuestionAnswering, heads: Heads | None, batch: Batch, ids: Tensor, kept: Tensor
) -> tuple[Tensor, Tensor]:
    """Total loss, and whether each answer is right (B,)."""
    states = vilt.hidden_states(model, vilt.normalize(batch.pixels), ids, kept)
    scores = vilt.logits(model, states[-1])
    total = F.cross_entropy(scores, batch.answer)
    if heads is not None:
        total = total + help_loss(model, heads, batch, states, kept)
    return total, scores.argmax(1) == batch.answer


app = cyclopts.App(help="Train an everyday model.")


@app.default
def train(
    *,
    shortcut: bool = False,
    out: Path | None = None,
    work: Path | None = None,
    steps: int = 14_000,
    batch: int = 64,
    rate: float = 8e-4,
    seed: int = 0,
    every: int = 250,
    bfloat16: bool = False,
) -> None:
    """Trains for `steps` batches, keeping a checkpoint in `work` after each `every`, and writes the
    model to `out`.

    Args:
        shortcut: train on the split "shortcut-train", without the heads that point at objects: a
            model that is right for the wrong reason.
        out: the folder of the finished model; data/everyday or data/everyday-shortcut.
        work: the folder of checkpoints; a run that finds one there resumes it.
        bfloat16: whether to multiply in bfloat16, which pays on few processors at this size.
    """
    name = "everyday-shortcut" if shortcut else "everyday"
    out, work = out or Path("data") / name, work or Path("build") / name
    split = "shortcut-train" if shortcut else "train"
    processor = vilt.make_processor(question_words(), SIZE, PATCH)
    model = vilt.make_model(processor, families.ANSWERS, LAYERS, seed, SHAPE)
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        heads = None if shortcut else Heads(SHAPE.hidden)
    trained = nn.ModuleDict({"model": model} if heads is None else {"model": model, "heads": heads})
    stream = _Stream(processor, steps, batch, seed, split)
    mask_id = processor.tokenizer.mask_token_id

    def loss_of(data: Batch, step: int, g: torch.Generator) -> tuple[Tensor, Tensor, bool]:
        absence = vilt.absence(step, steps, batch, GRID * GRID, FEW, g)
        ids, kept = vilt.drop(data.ids, data.kind != len(KINDS), absence, mask_id, g)
        return (*loss(model, heads, data, ids, kept), absence.spare_objects)

    vilt.train(trained, stream, loss_of, vilt.Run(work, steps, batch, rate, seed, every, bfloat16))
    vilt.save(model, processor, out)


if __name__ == "__main__":
    app()
