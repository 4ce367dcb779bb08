"""Trains the shipped scenes model: `python -m vqa_explain.training.scenes --out data/scenes`.

A run that was stopped goes on from its last checkpoint when the same command is given again.
"""

import json
import math
import re
import time
from pathlib import Path

import cyclopts
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
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
        found = [
            (m.start(), m.end(), vocabulary[m[0].lower()])
            for m in re.finditer(r"\w+|\?", scene.question)
        ]
        rows.append([vocabulary["[CLS]"], *(word for _, _, word in found), vocabulary["[SEP]"]])
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
            token = 1 + next(i for i, (_, stop, _) in enumerate(found) if stop == end)
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


def _absence(
    step: int, steps: int, size: int, g: torch.Generator
) -> tuple[torch.Tensor, int, bool]:
    """What is hidden in this batch: word rates (B,), patches kept, and whether objects are spared.

    Three batches of four lose background patches at most (36 patches hold nearly always all
    objects, and the shorter sequence costs half), fewer of them late; every fourth loses words and
    any patches at a rate from 0 to 1.
    """
    every = GRID * GRID
    if step % 4 == 3 and step > steps // 8:
        keep = int(torch.randint(1, every + 1, (), generator=g))
        rate = torch.rand(size, generator=g) * (torch.rand(size, generator=g) < 0.7)
        return rate, keep, False
    whole = step % 8 == 1 or (step > steps * 0.8 and step % 2 == 0)
    return torch.zeros(size), every if whole else 36, True


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
        work: the folder of checkpoints; a run that finds one there goes on from it.
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
    optimizer = torch.optim.AdamW(
        trained.parameters(), lr=rate, weight_decay=0.01, betas=(0.9, 0.98)
    )
    work.mkdir(parents=True, exist_ok=True)
    latest, start, spent = work / "latest.pt", 0, 0.0
    if latest.exists():
        state = torch.load(latest, weights_only=True)
        trained.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        start, spent = state["step"], state["seconds"]
    families = (*CURRICULUM, *["relation"] * (relations - 1))
    stream = _Stream(processor, steps, batch, seed, 0 if start_from is None else LATER, families)
    loader = DataLoader(
        stream, batch_size=None, sampler=range(start, steps), num_workers=1, prefetch_factor=4
    )
    mask_id = processor.tokenizer.mask_token_id
    began, right = time.monotonic() - spent, []
    model.train()
    for step, data in enumerate(loader, start=start):
        g = torch.Generator().manual_seed(seed * 1_000_003 + step)
        word_rate, keep, spare = _absence(step, steps, batch, g)
        ids, kept = vilt.drop(data, word_rate, keep, spare, mask_id, g)
        for group in optimizer.param_groups:
            group["lr"] = vilt.learning_rate(step, steps, rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            total, correct = vilt.loss(model, heads, data, ids, kept)
        optimizer.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        if spare:
            right.append(correct.float().mean().item())
        if (step + 1) % every == 0 or step + 1 == steps:
            seconds = time.monotonic() - began
            print(
                f"step {step + 1}/{steps}  loss {total.item():.3f}  accuracy {np.mean(right):.3f}  "
                f"{seconds:.0f} s",
                flush=True,
            )
            right = []
            state = {
                "weights": trained.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save({**state, "seconds": seconds}, work / "next.pt")
            (work / "next.pt").replace(latest)
    vilt.save(model, processor, out)
    record = {
        "steps": steps,
        "batch": batch,
        "seed": seed,
        "seconds": round(time.monotonic() - began),
        "rate": rate,
    }
    (work / "training.json").write_text(json.dumps(record))


if __name__ == "__main__":
    app()
