"""Makers of tiny models that write their answer in ways that no adapter can follow."""

from typing import Any

import transformers as tf
from more_checkpoints import SQUARE, number, pieces


def pix2struct() -> tuple[Any, Any]:
    """Draws the question into the picture."""
    words = pieces("<unk>")
    small = {"hidden_size": 32, "d_ff": 48, "d_kv": 8}
    vision = {**small, "num_hidden_layers": 2, "num_attention_heads": 4, "seq_len": 64}
    text = {**small, "vocab_size": len(words), "num_layers": 2, "num_heads": 4}
    config = tf.Pix2StructConfig(
        text_config=text, vision_config={**vision, "patch_embed_hidden_size": 192}, is_vqa=False
    )
    patches: dict[str, Any] = {
        "patch_size": {"height": 8, "width": 8},
        "max_patches": 32,
        "is_vqa": False,
    }
    pictures = tf.Pix2StructImageProcessor(**patches)
    processor = tf.Pix2StructProcessor(pictures, words)
    return tf.Pix2StructForConditionalGeneration(config), processor


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
    pix2struct: "its colors and pixels cannot be told apart",
    blip2: "generate fails on its processor's tensors",
}
