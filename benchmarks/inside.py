"""How much sooner heads are ablated together than one at a time.

    python benchmarks/inside.py
    python benchmarks/inside.py --rounds 5

The network is a ViLT of 6 blocks of 12 heads with random weights, over a picture and a question of
scenes. One at a time, each head is set to zero by a hook of torch's own and the example passes the
network alone. The rounds alternate; times are the least of each.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import ViltConfig, ViltForQuestionAnswering

import vqa_explain as vx
from vqa_explain.models.heads import heads_of_block
from vqa_explain.models.vilt import ViltModel

BLOCKS, HEADS = 6, 12


def seventy_two(model: Any) -> Any:
    """The model with a network of 72 heads, and random weights."""
    own = model.module.config
    config = ViltConfig(
        **{**own.to_dict(), "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS,
           "hidden_size": 16 * HEADS, "intermediate_size": 64 * HEADS}
    )  # fmt: skip
    torch.manual_seed(0)
    return ViltModel(
        ViltForQuestionAnswering(config).eval(), model.processor, "72 heads", torch.device("cpu")
    )


def one_at_a_time(model: Any, example: vx.Example, blocks: tuple[str, ...]) -> None:
    """The scores without each head, each in a pass of its own."""
    encoded = model.encode(example)
    leaves = model.leaves(encoded)
    for path in blocks:
        heads = heads_of_block(model.module, path)
        layer = model.module.get_submodule(heads.place.path)
        for head in range(heads.count):

            def without(_layer: Any, inputs: Any, head: int = head, heads: Any = heads) -> Any:
                states = inputs[0].clone()
                states[..., heads.part(head, states)] = 0
                return (states,)

            handle = layer.register_forward_pre_hook(without)
            with torch.no_grad():
                model.scores(encoded, leaves)
            handle.remove()


def seconds(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    asked = argparse.ArgumentParser()
    asked.add_argument("--rounds", type=int, default=3)
    rounds = asked.parse_args().rounds
    example = vx.load_dataset("scenes:test")[0]
    model = seventy_two(vx.load("scenes"))
    blocks = vx.heads(model, example).blocks  # warm
    times: dict[str, list[float]] = {"together": [], "one at a time": []}
    for _ in range(rounds):
        times["together"].append(seconds(lambda: vx.heads(model, example)))
        times["one at a time"].append(seconds(lambda: one_at_a_time(model, example, blocks)))
    least = {name: min(some) for name, some in times.items()}
    ratio = least["one at a time"] / least["together"]
    print("| 72 heads | seconds, least | seconds, most |\n| --- | --- | --- |")
    for name, some in times.items():
        print(f"| {name} | {min(some):.3f} | {max(some):.3f} |")
    print(f"\nOne at a time takes {ratio:.1f} times as long.")


if __name__ == "__main__":
    main()
