"""What a sentence costs: every word against every part, in CPU seconds.

    python benchmarks/sentences.py          # about five minutes on two cores

A random network of the shape of SmolVLM-256M with four layers on each side, a sentence of about 40
words, and about 60 parts; leave one out, whose coalitions are the same for all. Rows are ratios of
CPU seconds, medians of three rounds in turn:

- one call for each token (`target_token=`) over the matrix of all words;
- the matrix over the explanation of the whole answer alone;
- the matrix over bare forward passes of the same coalitions, prompt and sentence together, at the
  same batch size.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import published
import torch

import vqa_explain as vx

WORDS = (
    "a red circle stands left of the small blue square and above a green triangle that is near the "
    "large yellow star while two purple lines cross behind it and a gray cat looks at all of them "
    "from the lower corner of the picture"
)
ROUNDS = 3
TOKENS = 6  # that are explained one by one; the rest cost the same


def cpu_seconds(call: Callable[[], Any]) -> float:
    began = time.process_time()
    call()
    return time.process_time() - began


def small() -> vx.Model:
    """Four layers of each side."""
    module, processor = published.smolvlm()
    module.model.text_model.layers = module.model.text_model.layers[:4]
    module.model.vision_model.encoder.layers = module.model.vision_model.encoder.layers[:4]
    module.config.text_config.num_hidden_layers = 4
    return vx.load(module.eval(), processor=processor, device="cpu")


def main() -> None:
    torch.set_num_threads(1)
    model = small()
    picture = np.random.default_rng(0).integers(0, 256, (384, 384, 3), dtype=np.uint8)
    example = vx.Example(picture, published.QUESTION)
    asked: dict[str, Any] = {"method": "leave_one_out", "answers": [WORDS], "regions": 7}
    why = vx.explain(model, example, target="sentence", **asked)
    count = len(next(iter(why.written.tokens.values())))
    print(f"{len(why.outputs)} words, {count} tokens, {len(why.matrix.parts)} parts")
    encoded = model.with_answers(model.encode(example), [WORDS])
    coalitions = len(why.matrix.parts) + 2

    @torch.no_grad()
    def bare() -> None:
        leaves = model.leaves(encoded)
        for first in range(0, coalitions, 8):
            rows = min(8, coalitions - first)
            model.scores(encoded, {k: v.expand(rows, *v.shape[1:]) for k, v in leaves.items()})

    found: dict[str, list[float]] = {"tokens": [], "whole": [], "bare": []}
    for _ in range(ROUNDS):
        matrix = cpu_seconds(lambda: vx.explain(model, example, target="sentence", **asked))
        whole = cpu_seconds(lambda: vx.explain(model, example, target=WORDS, **asked))
        few = [
            cpu_seconds(lambda t=t: vx.explain(model, example, target_token=t, **asked))
            for t in np.linspace(0, count - 1, TOKENS).astype(int).tolist()
        ]
        found["tokens"].append(count * float(np.mean(few)) / matrix)
        found["whole"].append(matrix / whole)
        found["bare"].append(matrix / cpu_seconds(bare))
    for name, ratios in found.items():
        print(f"{name}: {median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
