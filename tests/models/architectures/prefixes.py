"""Networks that put a fixed number of picture tokens before the text."""

from typing import Any

from checkpoints import SMALL, bert_settings, vision_settings, word_pieces
from more_checkpoints import CROP, pieces

from architectures.base import SHALLOW, Made, architecture, from_question, tf


@architecture("git", call=from_question)
def git() -> Made:
    words = word_pieces()
    words.model_input_names = ["input_ids", "attention_mask"]
    config = tf.GitConfig(
        **{**bert_settings(len(words)), "max_position_embeddings": 128},
        vision_config=vision_settings(32, 8),
        bos_token_id=2,
        eos_token_id=3,
    )
    return tf.GitForCausalLM(config), tf.GitProcessor(tf.CLIPImageProcessor(**CROP), words)


def _kosmos_text(size: int) -> dict[str, Any]:
    return {
        "vocab_size": size,
        "embed_dim": 32,
        "layers": 3,
        "ffn_dim": 48,
        "attention_heads": 4,
        "dropout": 0.0,
        "max_position_embeddings": 512,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


@architecture("kosmos-2", call=from_question)
def kosmos2() -> Made:
    words = pieces("<unk>", *(f"<spare_{n}>" for n in range(64)))
    words.unk_token = "<unk>"
    pictures = tf.CLIPImageProcessor(**CROP)
    processor = tf.Kosmos2Processor(pictures, words, num_patch_index_tokens=16)
    config = tf.Kosmos2Config(
        text_config=_kosmos_text(len(words)),
        vision_config={**SMALL, "image_size": 32, "patch_size": 8},
        latent_query_num=64,
    )
    return tf.Kosmos2ForConditionalGeneration(config), processor


@architecture("kosmos-2.5", call=from_question)
def kosmos2_5() -> Made:
    words = pieces(
        image_token="<image>", boi_token="<image_start>", eoi_token="<image_end>", unk_token="<unk>"
    )
    vision = {**SHALLOW, "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8}
    vision |= {"patch_embed_hidden_size": 192, "patch_size": 8}
    config = tf.Kosmos2_5Config(
        text_config=_kosmos_text(len(words)), vision_config=vision, latent_query_num=4
    )
    pictures = tf.Kosmos2_5ImageProcessor(patch_size={"height": 8, "width": 8}, max_patches=32)
    processor = tf.Kosmos2_5Processor(pictures, words, num_image_tokens=4)
    # Its own number of patches is 4096, whatever the reader of pictures says.
    processor.images_kwargs = {**processor.images_kwargs, "max_patches": 96}
    return tf.Kosmos2_5ForConditionalGeneration(config), processor
