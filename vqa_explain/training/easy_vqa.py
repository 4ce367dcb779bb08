"""Trains the shipped easy-VQA model from the scenes model: `python -m
vqa_explain.training.easy_vqa`.

A run that was stopped goes on from its last checkpoint when the same command is given again.
"""

import time
from pathlib import Path

import cyclopts
import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from transformers import ViltForQuestionAnswering, ViltProcessor

from vqa_explain.datasets.easy_vqa import EasyVQA, package_folder
from vqa_explain.training import vilt

ANSWERS = (
    "yes",
    "no",
    "circle",
    "rectangle",
    "triangle",
    "black",
    "gray",
    "teal",
    "brown",
    "red",
    "green",
    "blue",
    "yellow",
)


def start_from(folder: Path, seed: int) -> tuple[ViltForQuestionAnswering, ViltProcessor]:
    """The scenes model with a fresh last layer for these answers."""
    processor = ViltProcessor.from_pretrained(folder)
    parent = ViltForQuestionAnswering.from_pretrained(folder)
    model = vilt.make_model(processor, ANSWERS, parent.config.num_hidden_layers, seed)
    weights = {
        name: w for name, w in parent.state_dict().items() if not name.startswith("classifier.3")
    }
    missing = model.load_state_dict(weights, strict=False).missing_keys
    if {name.rsplit(".", 1)[0] for name in missing} != {"classifier.3"}:
        raise ValueError(f"the scenes model has another shape: {missing}")
    return model, processor


def read(
    split: str, processor: ViltProcessor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pictures (I, 3, 96, 96) uint8, and for each question its picture, token ids and answer."""
    rows = EasyVQA(split)._rows
    count = 1 + max(image for _, _, image in rows)
    folder = package_folder() / split / "images"
    pictures = np.stack(
        [
            np.asarray(
                Image.open(folder / f"{i}.png")
                .convert("RGB")
                .resize((96, 96), Image.Resampling.BICUBIC)
            )
            for i in range(count)
        ]
    )
    ids = processor.tokenizer([q for q, _, _ in rows], padding=True, return_tensors="pt")[
        "input_ids"
    ]
    answer = torch.tensor([ANSWERS.index(a) for _, a, _ in rows])
    return (
        torch.from_numpy(pictures.transpose(0, 3, 1, 2).copy()),
        torch.tensor([i for _, _, i in rows]),
        ids,
        answer,
    )


app = cyclopts.App(help="Train the easy-VQA model.")


@app.default
def train(
    *,
    out: Path = Path("data/easy-vqa"),
    start: Path = Path("data/scenes"),
    work: Path = Path("build/easy-vqa"),
    steps: int = 1000,
    batch: int = 128,
    rate: float = 6e-4,
    seed: int = 0,
    every: int = 100,
    bfloat16: bool | None = None,
) -> None:
    """Trains for `steps` batches on all training questions,
    pictures mirrored at random (no question is spatial).
    """
    if bfloat16 is None:
        bfloat16 = vilt.fast_bfloat16()
    model, processor = start_from(start, seed)
    pictures, image, ids, answer = read("train", processor)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.02)
    work.mkdir(parents=True, exist_ok=True)
    latest, first, spent = work / "latest.pt", 0, 0.0
    if latest.exists():
        state = torch.load(latest, weights_only=True)
        model.load_state_dict(state["weights"])
        optimizer.load_state_dict(state["optimizer"])
        first, spent = state["step"], state["seconds"]
    began, right = time.monotonic() - spent, []
    model.train()
    for step in range(first, steps):
        g = torch.Generator().manual_seed(seed * 1_000_003 + step)
        rows = torch.randint(len(answer), (batch,), generator=g)
        pixels = pictures[image[rows]]
        for axis in (2, 3):
            mirrored = torch.rand(batch, 1, 1, 1, generator=g) < 0.5
            pixels = torch.where(mirrored, pixels.flip(axis), pixels)
        hide = step % 4 == 3
        keep = int(torch.randint(1, 65, (), generator=g)) if hide else 64
        kept = torch.rand(batch, 64, generator=g).topk(keep, dim=1).indices.sort(dim=1).values
        words = torch.rand(batch, 1, generator=g) * float(hide)
        gone = (ids[rows] >= len(vilt.SPECIAL)) & (torch.rand(ids[rows].shape, generator=g) < words)
        asked = torch.where(gone, processor.tokenizer.mask_token_id, ids[rows])
        for group in optimizer.param_groups:
            group["lr"] = vilt.learning_rate(step, steps, rate)
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            states = vilt.hidden_states(
                model, vilt.normalize(pixels), asked, kept if hide else None
            )
            scores = vilt.logits(model, states[-1])
            loss = F.cross_entropy(scores, answer[rows])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if not hide:
            right.append((scores.argmax(1) == answer[rows]).float().mean().item())
        if (step + 1) % every == 0 or step + 1 == steps:
            seconds = time.monotonic() - began
            print(
                f"step {step + 1}/{steps}  loss {loss.item():.3f}  accuracy {np.mean(right):.3f}  "
                f"{seconds:.0f} s",
                flush=True,
            )
            right = []
            state = {
                "weights": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "step": step + 1,
            }
            torch.save({**state, "seconds": seconds}, work / "next.pt")
            (work / "next.pt").replace(latest)
    vilt.save(model, processor, out)


if __name__ == "__main__":
    app()
