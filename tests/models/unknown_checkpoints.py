"""Makers of tiny models that write their answer in ways that no adapter knows."""

from typing import Any

import transformers as tf
from checkpoints import bert_settings, chat, text_settings, vision_settings, word_pieces
from more_checkpoints import idefics2, number, pieces

SIZE: dict[str, Any] = {"size": {"height": 32, "width": 32}}
CROP: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def video_llava() -> tuple[Any, Any]:
    """Gives the picture in a tensor of another name."""
    words = pieces("<image>", "<video>")
    config = tf.VideoLlavaConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
        video_token_index=number(words, "<video>"),
    )
    processor = tf.VideoLlavaProcessor(
        tf.VideoLlavaImageProcessor(**CROP),
        tf.VideoLlavaVideoProcessor(**CROP),
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.VideoLlavaForConditionalGeneration(config), processor


def blip_caption() -> tuple[Any, Any]:
    """Shows the picture to its decoder by cross-attention alone."""
    words = word_pieces()
    marks = {"bos_token_id": 5, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3}
    text = {**bert_settings(len(words)), **marks, "encoder_hidden_size": 32}
    config = tf.BlipConfig(
        text_config=text,
        vision_config=vision_settings(32, 8),
        projection_dim=16,
        image_text_hidden_size=16,
    )
    processor = tf.BlipProcessor(tf.BlipImageProcessor(**SIZE), words)
    return tf.BlipForConditionalGeneration(config), processor


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
    processor = tf.Blip2Processor(tf.BlipImageProcessor(**SIZE), words, num_query_tokens=8)
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


def idefics2_split() -> tuple[Any, Any]:
    """Five tensors of one picture, and nobody says how they lie in it."""
    module, processor = idefics2()
    processor.image_processor.do_image_splitting = True
    return module, processor


def internvl() -> tuple[Any, Any]:
    """Tiles in a batch of their own."""
    words = pieces(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    config = tf.InternVLConfig(
        vision_config={
            **small,
            "num_attention_heads": 4,
            "image_size": [32, 32],
            "patch_size": [8, 8],
        },
        text_config=tf.Qwen2Config(**text_settings(len(words))),
        image_token_id=number(words, "<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    pictures = tf.GotOcr2ImageProcessor(**SIZE, crop_to_patches=True, min_patches=1, max_patches=4)
    processor = tf.InternVLProcessor(
        pictures,
        words,
        tf.InternVLVideoProcessor(**SIZE),
        image_seq_length=4,
        chat_template=chat("<IMG_CONTEXT>\n"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


# Maker → what the refusal says.
UNKNOWN = {
    video_llava: "pixel_values_images but no pixel_values",
    blip_caption: "not give its decoder a sequence of embeddings",
    pix2struct: "does not turn a question into tokens",
    blip2: "fails on what its processor makes of a picture and a question",
    idefics2_split: "not known where they lie in the picture",
    internvl: "a form that is not known",
}
