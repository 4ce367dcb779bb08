"""Trains the shipped model that writes captions: `python -m vqa_explain.training.captions`.

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
from transformers import LlavaForConditionalGeneration, LlavaProcessor, ViltForQuestionAnswering

from vqa_explain.datasets.everyday.dataset import ground_seed, plan
from vqa_explain.datasets.everyday.drawing import Drawn, draw
from vqa_explain.datasets.everyday.objects import COLORS, KINDS, plural
from vqa_explain.datasets.everyday.scene import SIZE, Item, Scene
from vqa_explain.features.image import BLANKS
from vqa_explain.training import llava, vilt
from vqa_explain.training.everyday import GRID, PATCH, patch_areas

SPLIT = "captions-train"
QUESTIONS = (
    *("", ""),  # most often, the picture alone
    "What is in the picture?",
    "What do you see?",
    "Describe the picture.",
    "What does the picture show?",
)
FEW = 56  # patches that nearly always hold all objects
SOLID = PATCH * PATCH // 12  # pixels of an object on a patch that tell what it is
# The heads that learn where the object lies that was just named, and that is named next.
SAID, NEXT = llava.Look(1, 0), llava.Look(2, 0)
SIDES = {"left": "right", "right": "left"}  # what a mirror makes of words
FILLS = ("mean", "mean", "mean", "blur", "constant")  # of absent pixels; the first is the default


def caption_words() -> list[str]:
    """Every word that captions and the questions that ask for them use."""
    texts = [*COLORS, *KINDS, *map(plural, KINDS), *QUESTIONS]
    texts += [plan(SPLIT, number).text for number in range(2000)]
    return sorted({word.lower() for text in texts for word in re.findall(r"\w+", text)})


class Heads(nn.Module):
    """Heads that exist in training only; they tell the layers what to look for, long before words
    reward it.
    """

    def __init__(self, tower: int, decoder: int) -> None:
        super().__init__()
        self.kind = nn.Linear(tower, len(KINDS) + 1)  # what is on this patch, or nothing
        self.color = nn.Linear(tower, len(COLORS) + 1)  # what it is painted in
        # From this patch to the middle of its object, right and down, and how large it is; patches.
        self.where = nn.Linear(tower, 3)
        # The place of the object that this word names, in shares of the side.
        self.place = nn.Linear(decoder, 2)


@dataclass
class Batch:
    """Tensors of B examples: T tokens of a caption, P patches in raster order, N mentions."""

    pixels: Tensor  # (B, 3, H, W) uint8
    ids: Tensor  # (B, T) the caption and its end; 0 is padding
    kind: Tensor  # (B, P) index, the last means none, -100 is not scored
    color: Tensor  # (B, P)
    where: Tensor  # (B, P, 3), NaN where there is no object
    mentions: Tensor  # (N, 3): example, the first and the last token of the phrase
    owned: Tensor  # (N, P) 0 or 1: the patches of the objects that it names
    next: Tensor  # (N, P) 0 or 1: those that it may name; of the first phrase, all objects
    place: Tensor  # (N, 2), NaN where it names several
    decided: Tensor  # (N,) bool: what was said and the picture decide the word


class _Stream(Dataset):
    """Batches by number: the n-th batch is the same in every run, so a resumed run sees what it
    would have seen. Half of each are the mirrored pictures of the other half.
    """

    def __init__(self, processor: LlavaProcessor, steps: int, size: int, seed: int) -> None:
        self.vocabulary = processor.tokenizer.get_vocab()
        self.steps, self.size, self.seed = steps, size // 2, seed

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        drawn = []
        for number in range(step * self.size, (step + 1) * self.size):
            scene = plan(SPLIT, number, seed=self.seed)
            picture = draw(scene, ground_seed(SPLIT, number, self.seed))
            drawn += [(scene, picture), mirrored(scene, picture)]
        return make_batch(drawn, self.vocabulary)


def mirrored(scene: Scene, picture: Drawn) -> tuple[Scene, Drawn]:
    """The example in a mirror: its picture, and its caption with left and right exchanged."""
    parts = re.split(r"(\w+)", scene.text)
    text = "".join(SIDES.get(part, part) for part in parts)
    items = tuple(_mirrored_item(item) for item in scene.items)

    def moved(at: int) -> int:
        begins = re.split(r"(\w+)", scene.text[:at])
        return len("".join(SIDES.get(part, part) for part in begins))

    mentions = tuple(
        type(one)(moved(one.start), moved(one.end), one.items) for one in scene.mentions
    )
    flipped = Drawn(picture.image[:, ::-1], picture.masks[:, :, ::-1], picture.touched[:, :, ::-1])
    changed = Scene(
        family=scene.family,
        text=text,
        answer=scene.answer,
        items=items,
        about=scene.about,
        decisive=scene.decisive,
        mentions=mentions,
        ground=scene.ground,
    )
    return changed, flipped


def _mirrored_item(item: Item) -> Item:
    return Item(
        item.kind, item.color, item.size, SIZE - item.x, item.y, -item.angle, not item.mirrored
    )


def make_batch(drawn: list[tuple[Scene, Drawn]], vocabulary: dict[str, int]) -> Batch:
    """Tensors and the labels of the helping heads for drawn scenes."""
    size, every = len(drawn), GRID * GRID
    kind = np.full((size, every), len(KINDS))
    color = np.full((size, every), len(COLORS))
    where = np.full((size, every, 3), np.nan, dtype=np.float32)
    rows, mentions, owned, following, place, decided = [], [], [], [], [], []
    kinds, colors = list(KINDS), list(COLORS)
    middle = np.stack(np.meshgrid(np.arange(GRID), np.arange(GRID)), axis=-1).reshape(every, 2)
    for b, (scene, picture) in enumerate(drawn):
        row, ends = vilt.words_of(scene.text, vocabulary)
        rows.append(row[1:])  # without [CLS]
        area = patch_areas(picture.masks)
        solid = (area == area.max(axis=0)) & (area >= SOLID)
        covered = (area > 0).any(axis=0)
        kind[b, covered] = color[b, covered] = -100
        for index, item in enumerate(scene.items):
            mine = solid[index]
            kind[b, mine] = kinds.index(item.kind)
            if item.color is not None:
                color[b, mine] = colors.index(item.color)
            at = np.array([item.x, item.y]) / PATCH - 0.5
            where[b, mine, :2] = (at - middle)[mine]
            where[b, mine, 2] = item.size / PATCH
        for number, mention in enumerate(scene.mentions):
            last = ends.index(mention.end)
            first = sum(end <= mention.start for end in ends)
            mentions.append((b, first, last))
            objects = solid[list(mention.items)].any(axis=0)
            owned.append(objects)
            following.append(objects if number else solid.any(axis=0))
            decided.append(number > 0)
            only = scene.items[mention.items[0]]
            single = len(mention.items) == 1
            place.append((only.x / SIZE, only.y / SIZE) if single else (np.nan, np.nan))
    ids = np.zeros((size, max(map(len, rows))), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    pixels = np.stack([picture.image for _, picture in drawn]).transpose(0, 3, 1, 2)
    return Batch(
        pixels=torch.from_numpy(pixels.copy()),
        ids=torch.from_numpy(ids),
        kind=torch.from_numpy(kind),
        color=torch.from_numpy(color),
        where=torch.from_numpy(where),
        mentions=torch.tensor(mentions, dtype=torch.long),
        owned=torch.tensor(np.array(owned, dtype=np.float32)),
        next=torch.tensor(np.array(following, dtype=np.float32)),
        place=torch.tensor(place, dtype=torch.float32),
        decided=torch.tensor(decided),
    )


@dataclass
class Hidden:
    """What is absent in a batch.

    Attributes:
        pixels: (B, 3, H, W) normalized, with absent places filled.
        kept: (B, K) the patches that go through the tower.
        left: (B, L) which of these the decoder receives.
        caption: (B, T) the caption, with absent words masked.
        heard: (B, Q) bool, the words of the question that are there.
        whole: whether nothing that decides is hidden.
    """

    pixels: Tensor
    kept: Tensor
    left: Tensor
    caption: Tensor
    heard: Tensor
    whole: bool


def _seen_share(size: int, g: torch.Generator) -> Tensor:
    """(B,) the share that stays, evenly from 0 to 1."""
    return torch.rand(size, generator=g)


def absent_pixels(size: int, g: torch.Generator) -> Tensor:
    """(B, 1, H, W) bool: places that are absent, cells of a grid or blobs, at rates from 0 to 1."""
    cells = int(torch.randint(3, 11, (), generator=g))
    field = torch.rand(size, 1, cells, cells, generator=g)
    if torch.rand((), generator=g) < 0.5:
        field = F.interpolate(field, size=(SIZE, SIZE), mode="bilinear", align_corners=False)
    else:
        field = F.interpolate(field, size=(SIZE, SIZE), mode="nearest")
    ranks = field.flatten(1)
    share = _seen_share(size, g)
    limit = torch.stack([row.quantile(float(part)) for row, part in zip(ranks, share, strict=True)])
    return field > limit[:, None, None, None]


def hide(
    batch: Batch, step: int, steps: int, question: int, mask_id: int, g: torch.Generator
) -> Hidden:
    """Chooses what is absent.

    Three batches of four lose background patches at most; every fourth loses places of the picture,
    by pixels or by patches in turn, words of the question, and words that were written before.
    """
    size, every = len(batch.ids), GRID * GRID
    pixels = vilt.normalize(batch.pixels)
    heard = torch.ones(size, question, dtype=torch.bool)
    all_patches = torch.arange(every).expand(size, -1)
    if step % 4 != 3 or step <= steps // 12:
        count = every if step % 8 == 1 or step > steps * 0.85 else FEW
        order = torch.rand(size, every, generator=g) + (batch.kind != len(KINDS))
        kept = order.topk(count, dim=1).indices.sort(dim=1).values
        left = torch.arange(count).expand(size, -1)
        return Hidden(pixels, kept, left, batch.ids, heard, True)
    left = all_patches
    if step % 8 == 3:
        gone = absent_pixels(size, g)
        fill = FILLS[int(torch.randint(len(FILLS), (), generator=g))]
        pixels = torch.where(gone, BLANKS[fill](pixels, step), pixels)
    else:
        count = int(torch.randint(1, every + 1, (), generator=g))
        order = torch.rand(size, every, generator=g)
        left = order.topk(count, dim=1).indices.sort(dim=1).values
    heard = torch.rand(size, question, generator=g) < _seen_share(size, g)[:, None]
    rate = torch.rand(size, generator=g) * (torch.rand(size, generator=g) < 0.6)
    away = torch.rand(batch.ids.shape, generator=g) < rate[:, None]
    # An absent word stays absent in what is read, never in what is to be written.
    caption = torch.where(away & (batch.ids >= len(vilt.SPECIAL)), mask_id, batch.ids)
    return Hidden(pixels, all_patches, left, caption, heard, False)


def loss(
    model: LlavaForConditionalGeneration,
    heads: Heads,
    batch: Batch,
    question: list[int],
    hidden: Hidden,
    start: int,
) -> tuple[Tensor, Tensor]:
    """Total loss, and whether each phrase that is decided gets its last word right."""
    size = len(batch.ids)
    asked = torch.tensor(question).expand(size, -1)
    text = torch.cat([asked, hidden.caption[:, :-1]], dim=1)
    told = torch.ones(size, text.shape[1] - len(question), dtype=torch.bool)
    heard = torch.cat([hidden.heard, told], dim=1)
    heard[:, len(question) - 1] = True  # [SEP], which no word is
    seen = llava.seen_patches(model, hidden.pixels, hidden.kept)
    kept = hidden.kept.gather(1, hidden.left)
    received = llava.picked(seen, hidden.left)
    given = llava.sequence(model, received, kept, text, heard, start)
    before = kept.shape[1] + len(question)  # the place that says the caption's first word
    states = llava.decoded(model, given, before)
    scores = llava.logits(model, states[-1])
    total = 2 * F.cross_entropy(scores.flatten(0, 1), batch.ids.flatten(), ignore_index=0)
    if hidden.whole:
        total = total + _patch_loss(heads, batch, seen, hidden.kept)
        total = total + _look_loss(model, heads, batch, states, given, kept, before)
    rows = batch.mentions[batch.decided]
    best = scores.detach()[rows[:, 0], rows[:, 2]].argmax(1)
    return total, best == batch.ids[rows[:, 0], rows[:, 2]]


def _patch_loss(heads: Heads, batch: Batch, seen: Tensor, kept: Tensor) -> Tensor:
    """Patches know what they show."""
    kind, color = batch.kind.gather(1, kept), batch.color.gather(1, kept)
    total = F.cross_entropy(heads.kind(seen).flatten(0, 1), kind.flatten())
    total = total + F.cross_entropy(heads.color(seen).flatten(0, 1), color.flatten())
    where = llava.picked(batch.where, kept)
    there = ~where.isnan().any(2)
    return total + 0.3 * F.l1_loss(heads.where(seen)[there], where[there])


def _look_loss(
    model: LlavaForConditionalGeneration,
    heads: Heads,
    batch: Batch,
    states: list[Tensor],
    given: llava.Sequence,
    kept: Tensor,
    before: int,
) -> Tensor:
    """A word that names looks at its object and knows its place; the word before it, at the object
    that is named next.
    """
    example, first, last = batch.mentions.T
    said = torch.stack([example, before + 1 + last], dim=1)
    coming = torch.stack([example, before + first], dim=1)
    total = torch.zeros(())
    for look, at, patches in ((SAID, said, batch.owned), (NEXT, coming, batch.next)):
        owned = patches.gather(1, kept[example])
        mass = llava.looked_at(model, states, given, look, at, owned)
        total = total - 0.5 * (mass + 1e-3).log().mean()
    single = ~batch.place.isnan().any(1)
    state = states[SAID.layer + 1][said[single, 0], said[single, 1]]
    return total + F.l1_loss(heads.place(state), batch.place[single])


app = cyclopts.App(help="Train the model that writes captions.")


@app.default
def train(
    *,
    start: Path = Path("data/everyday"),
    out: Path = Path("data/captions"),
    work: Path = Path("build/captions"),
    steps: int = 4_000,
    batch: int = 64,
    rate: float = 8e-4,
    seed: int = 0,
    every: int = 100,
    bfloat16: bool = False,
) -> None:
    """Trains for `steps` batches, keeping a checkpoint in `work` after each `every`, and writes the
    model to `out`.

    Args:
        start: the folder of the ViLT whose first layers the vision tower begins with.
        out: the folder of the finished model.
        work: the folder of checkpoints; a run that finds one there resumes it.
        batch: examples in each, an even number: half of them are mirrored.
        bfloat16: whether to multiply in bfloat16, which pays on few processors at this size.
    """
    processor = llava.make_processor(caption_words(), SIZE, PATCH)
    known = ViltForQuestionAnswering.from_pretrained(start)
    model = llava.make_model(processor, known, seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        heads = Heads(known.config.hidden_size, model.config.text_config.hidden_size)
    trained = nn.ModuleDict({"model": model, "heads": heads})
    words = processor.tokenizer
    asked = [words(text).input_ids[1:] for text in QUESTIONS]  # without [CLS]

    def loss_of(data: Batch, step: int, g: torch.Generator) -> tuple[Tensor, Tensor, bool]:
        question = asked[int(torch.randint(len(asked), (), generator=g))]
        hidden = hide(data, step, steps, len(question), words.mask_token_id, g)
        told = loss(model, heads, data, question, hidden, words.cls_token_id)
        return (*told, hidden.whole)

    stream = _Stream(processor, steps, batch, seed)
    vilt.train(trained, stream, loss_of, vilt.Run(work, steps, batch, rate, seed, every, bfloat16))
    vilt.save(model, processor, out)


if __name__ == "__main__":
    app()
