"""Trains the shipped scenes model: `python -m vqa_explain.training.scenes --out data/scenes`.

A run that was stopped resumes from its last checkpoint when the same command is given again.
"""

import math
from pathlib import Path

import cyclopts
import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import ViltProcessor

from vqa_explain.datasets import scenes
from vqa_explain.training import vilt
from vqa_explain.training.vilt import Batch

GRID = 8  # patches a side
# Relations and comparisons take longest to learn, so they are asked more often.
CURRICULUM = (*scenes.FAMILIES, "same_color", "same_shape", "more")
# number of the first scene of a run that goes on from a finished model: none that it has seen
LATER = 1_000_000


def question_words() -> list[str]:
    """Every word that scenes and easy-VQA questions use."""
    text = (
        "what color shape size is the object objects there an are how many same as more than left "
        "right of above below a no not does image contain present in it which black gray teal "
        "brown rectangle"
    )
    return [*text.split(), *scenes.ANSWERS, *scenes.PLURALS.values()]


class _Stream(Dataset):
    """Batches by number: the n-th batch is the same in every run,
    so a resumed run sees what it would have seen.
    """

    def __init__(
        self,
        processor: ViltProcessor,
        steps: int,
        size: int,
        seed: int,
        first: int,
        families: tuple[str, ...],
    ) -> None:
        vocabulary = processor.tokenizer.get_vocab()
        self.vocabulary, self.steps, self.size, self.seed = vocabulary, steps, size, seed
        self.first, self.families = first, families

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        first = self.first + step * self.size
        numbers = range(first, first + self.size)
        return make_batch([_drawn(n, self.seed, self.families) for n in numbers], self.vocabulary)


def _drawn(
    number: int, seed: int, families: tuple[str, ...]
) -> tuple[scenes.Scene, np.ndarray, np.ndarray]:
    most = min(5, 1 + number // 7_500)  # 1 object at first, all 5 after 30,000 examples
    scene = scenes.plan("train", number, seed=seed, most=most, families=families)
    return scene, *scenes.draw(scene, np.random.default_rng([0, seed, number]))


def make_batch(
    drawn: list[tuple[scenes.Scene, np.ndarray, np.ndarray]], vocabulary: dict[str, int]
) -> Batch:
    """Tensors and the labels of the helping heads for drawn scenes."""
    rows, named, owned, compared = [], [], [], []
    shape = np.full((len(drawn), GRID * GRID), len(scenes.SHAPES))
    color = np.full((len(drawn), GRID * GRID), len(scenes.COLORS))
    ground = np.zeros((len(drawn), GRID * GRID), dtype=np.float32)
    colors = tuple(scenes.COLORS)
    outline = np.zeros((len(drawn), GRID * GRID, vilt.CELLS), dtype=np.float32)
    around = np.zeros((len(drawn), GRID * GRID, vilt.AROUND), dtype=np.float32)
    cell = scenes.SIZE // GRID
    for b, (scene, _, masks) in enumerate(drawn):
        row, ends = vilt.words_of(scene.question, vocabulary)
        rows.append(row)
        fine = masks.any(axis=0)[1::2, 1::2].reshape(GRID, cell // 2, GRID, cell // 2)
        outline[b] = fine.swapaxes(1, 2).reshape(GRID * GRID, vilt.CELLS)
        area = (
            masks.reshape(len(masks), GRID, cell, GRID, cell)
            .sum(axis=(2, 4))
            .reshape(len(masks), -1)
        )
        for index, item in enumerate(scene.items):
            mine = (area[index] == area.max(axis=0)) & (area[index] > 0)
            solid = mine & (area[index] >= 14)  # a tenth of the patch: enough to tell what it is
            shape[b, mine], color[b, mine] = -100, -100
            around[b, solid] = _windows(masks[index])[solid]
            shape[b, solid], color[b, solid] = (
                scenes.SHAPES.index(item.shape),
                colors.index(item.color),
            )
            if index in scene.about:
                ground[b, area[index] >= 14] = 1
        before = None
        for index, _, end in scene.named:
            token = 1 + ends.index(end)
            item = scene.items[index]
            kind = (
                scenes.SHAPES.index(item.shape),
                colors.index(item.color),
                tuple(scenes.RADII).index(item.size),
            )
            named.append((b, token, int(item.x) // cell, int(item.y) // cell, *kind))
            owned.append(area[index] >= 14)
            compared.append(_compare(item, before))
            before = item
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    for b, row in enumerate(rows):
        ids[b, : len(row)] = row
    return Batch(
        pixels=torch.from_numpy(
            np.stack([image for _, image, _ in drawn]).transpose(0, 3, 1, 2).copy()
        ),
        ids=torch.from_numpy(ids),
        answer=torch.tensor([scenes.ANSWERS.index(scene.answer) for scene, _, _ in drawn]),
        outline=torch.from_numpy(outline),
        around=torch.from_numpy(around),
        shape=torch.from_numpy(shape),
        color=torch.from_numpy(color),
        ground=torch.from_numpy(ground),
        named=torch.tensor(named, dtype=torch.long).reshape(-1, 7),
        owned=torch.tensor(np.array(owned, dtype=np.float32)).reshape(-1, GRID * GRID),
        compared=torch.tensor(compared, dtype=torch.float32).reshape(-1, 4),
    )


def _windows(mask: np.ndarray) -> np.ndarray:
    """(patches, AROUND) the mask about each patch, 12 px further on every side,
    in cells of 4 px.
    """
    coarse = np.pad(mask[2::4, 2::4], 3)
    windows = np.lib.stride_tricks.sliding_window_view(coarse, (9, 9))[::3, ::3]
    return windows.reshape(GRID * GRID, vilt.AROUND)


def _compare(item: scenes.Item, before: scenes.Item | None) -> tuple[float, float, float, float]:
    """Is it right of, below, as colored and as shaped as the one before: 1 or 0,
    NaN where that cannot be said.
    """
    if before is None:
        return math.nan, math.nan, math.nan, math.nan
    right, below = (
        float(d > 0) if abs(d) > 6 else math.nan for d in (item.x - before.x, item.y - before.y)
    )
    return right, below, float(item.color == before.color), float(item.shape == before.shape)


app = cyclopts.App(help="Train the scenes model.")


@app.default
def train(
    *,
    out: Path = Path("data/scenes"),
    work: Path = Path("build/scenes"),
    start_from: Path | None = None,
    steps: int = 9000,
    batch: int = 64,
    rate: float = 1e-3,
    layers: int = 6,
    relations: int = 3,
    seed: int = 0,
    every: int = 500,
    bfloat16: bool | None = None,
) -> None:
    """Trains for `steps` batches, keeping a checkpoint in `work` after each `every`, and writes the
    model to `out`.

    Args:
        out: the folder of the finished model.
        work: the folder of checkpoints; a run that finds one there resumes it.
        start_from: a finished model whose training goes on, on scenes that it has not seen.
        relations: how often relations are asked, where other families are asked once or twice.
        bfloat16: whether to multiply in bfloat16; by default where the processor does so fast.
    """
    if bfloat16 is None:
        bfloat16 = vilt.fast_bfloat16()
    processor = vilt.make_processor(question_words(), scenes.SIZE, 12)
    model = vilt.make_model(processor, scenes.ANSWERS, layers, seed)
    if start_from is not None:
        model.load_state_dict(
            vilt.ViltForQuestionAnswering.from_pretrained(start_from).state_dict()
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed + 1)
        heads = vilt.Heads(128, len(scenes.SHAPES), len(scenes.COLORS), GRID)
    trained = torch.nn.ModuleDict({"model": model, "heads": heads})
    families = (*CURRICULUM, *["relation"] * (relations - 1))
    stream = _Stream(processor, steps, batch, seed, 0 if start_from is None else LATER, families)
    mask_id = processor.tokenizer.mask_token_id

    def loss_of(
        data: Batch, step: int, g: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, bool]:
        absence = vilt.absence(step, steps, batch, GRID * GRID, 36, g)
        objects = data.shape != data.shape.max()
        ids, kept = vilt.drop(data.ids, objects, absence, mask_id, g)
        return (*vilt.loss(model, heads, data, ids, kept), absence.spare_objects)

    vilt.train(trained, stream, loss_of, vilt.Run(work, steps, batch, rate, seed, every, bfloat16))
    vilt.save(model, processor, out)


if __name__ == "__main__":
    app()
