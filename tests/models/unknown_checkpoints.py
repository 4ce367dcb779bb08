"""Makers of tiny models that write their answer in ways that no adapter can follow."""

from typing import Any

import transformers as tf
from more_checkpoints import SQUARE, number, pieces


def blip2() -> tuple[Any, Any]:
    """Its processor makes another number of picture tokens than the network."""
    words = pieces()
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    small["num_attention_heads"] = 4
    processor = tf.Blip2Processor(tf.BlipImageProcessor(**SQUARE), words, num_query_tokens=8)
    config = tf.Blip2Config(
        vision_config={**small, "image_size": 32, "patch_size": 8},
        qformer_config={**small, "encoder_hidden_size": 32, "vocab_size": len(words)},
        text_config=tf.OPTConfig(
            vocab_size=len(words),
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=48,
            num_hidden_layers=2,
            num_attention_heads=4,
        ).to_dict(),
        num_query_tokens=4,
        image_token_index=number(words, "<image>"),
    )
    return tf.Blip2ForConditionalGeneration(config), processor


# Maker → what the refusal says.
UNKNOWN = {
    blip2: "generate fails on its processor's tensors",
}
