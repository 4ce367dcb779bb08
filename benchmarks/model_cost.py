"""What one explanation costs on each family: tiny random checkpoints, then a ViLT and a SmolVLM of
published sizes.

    python benchmarks/model_cost.py          # everything, about ten minutes on two cores
    python benchmarks/model_cost.py tiny     # the tiny ones only

Integrated gradients of 16 nodes, leave one out, and Shapley values of a 3 × 3 grid and the words at
a budget of 200 (64 at full size), of an answer of one token among two; seconds, with the model
loaded and the picture read.
"""

import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import torch
import transformers as tf

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import checkpoints
from custom_net import custom
from families import example_for
from speed import full_size

import vqa_explain as vx

METHODS = {
    "integrated_gradients": {"steps": 16},
    "leave_one_out": {},
    "shapley": {"budget": 200},
}


def row(name: str, model: object, picture: np.ndarray, **changed: dict) -> None:
    """Prints one line of the table."""
    example = example_for(model, picture)
    own = {"answers": ["yes", "no"]} if model.labels is None else {}
    parts = {} if model.family == "lxmert" else {"regions": 3}
    seconds = []
    for method, parameters in METHODS.items():
        began = time.perf_counter()
        vx.explain(model, example, method=method, **own, **parts, **changed.get(method, parameters))
        seconds.append(time.perf_counter() - began)
    size = sum(p.numel() for p in model.module.parameters())
    print(
        f"| {name} | {size / 1e6:.2f} | " + " | ".join(f"{s:.2f}" for s in seconds) + " |",
        flush=True,
    )


def smolvlm() -> object:
    """A random SmolVLM of 256 M parameters, as published: 512 px tiles of 64 tokens, 30 layers."""
    small, processor = checkpoints.smolvlm()
    words = processor.tokenizer
    text = tf.LlamaConfig(
        vocab_size=49280,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
    )
    vision = {**checkpoints.vision_settings(512, 16), "hidden_size": 768, "intermediate_size": 3072}
    vision |= {"num_hidden_layers": 12, "num_attention_heads": 12}
    config = tf.SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=small.config.image_token_id,
        scale_factor=4,
    )
    sizes = {"size": {"longest_edge": 512}, "max_image_size": {"longest_edge": 512}}
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(**sizes),
        words,
        processor.video_processor,
        image_seq_len=64,
        chat_template=processor.chat_template,
    )
    return vx.load(tf.SmolVLMForConditionalGeneration(config), processor=processor, device="cpu")


def main() -> None:
    """Prints the table."""
    warnings.filterwarnings("ignore")
    print(
        "| model | M parameters | integrated gradients | leave one out | Shapley |\n| --- | --- | "
        "--- | --- | --- |"
    )
    picture = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        for family in checkpoints.MAKERS:
            row(
                family, vx.load(checkpoints.checkpoint(family, Path(folder)), device="cpu"), picture
            )
    row("custom", custom(), picture)
    if sys.argv[1:] == ["tiny"]:
        return
    large = np.random.default_rng(0).integers(0, 256, (384, 512, 3), dtype=np.uint8)
    fewer = {"integrated_gradients": {"steps": 16}, "shapley": {"budget": 64}}
    row("vilt, published size", full_size()[0], large, **fewer)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = smolvlm()
    row("smolvlm, published size", model, large, **fewer)


if __name__ == "__main__":
    main()
