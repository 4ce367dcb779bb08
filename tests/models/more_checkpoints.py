"""Makers of further tiny checkpoints, of models whose pictures,
prompts or tokens are unlike the others'.
"""

from typing import Any

import transformers as tf
from checkpoints import (
    bert_settings,
    chat,
    randomized,
    text_settings,
    tokenizer,
    vision_settings,
    word_pieces,
)

SQUARE: dict[str, Any] = {"size": {"height": 32, "width": 32}}
CROP: dict[str, Any] = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def pieces(*special: Any, **named: Any) -> Any:
    """A tokenizer with the usual special tokens and these."""
    usual = ["<pad>", "<s>", "</s>"]
    names: dict[str, Any] = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    extra: dict[str, Any] = {"extra_special_tokens": named} if named else {}
    return tokenizer([*usual, *special, *named.values()], **names, **extra)


def number(words: Any, token: str) -> Any:
    return words.convert_tokens_to_ids(token)


def deepseek_vl() -> tuple[Any, Any]:
    words = pieces(image_token="<image_placeholder>")
    config = tf.DeepseekVLConfig(
        text_config=tf.LlamaConfig(**text_settings(len(words))).to_dict(),
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8)).to_dict(),
        image_token_id=number(words, "<image_placeholder>"),
    )
    pictures = tf.DeepseekVLImageProcessor(size={"height": 32, "width": 32}, min_size=8)
    template = chat("<image_placeholder>")
    processor = tf.DeepseekVLProcessor(pictures, words, num_image_tokens=16, chat_template=template)
    return tf.DeepseekVLForConditionalGeneration(config), processor


def deepseek_vl_hybrid() -> tuple[Any, Any]:
    """Two encoders, each of which gets the picture in a tensor of its own,
    normalized differently.
    """
    words = pieces(image_token="<image_placeholder>")
    high = tf.SamVisionConfig(
        hidden_size=32,
        output_channels=8,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
        mlp_dim=48,
        window_size=2,
        global_attn_indexes=[1],
    )
    config = tf.DeepseekVLHybridConfig(
        text_config=tf.LlamaConfig(**text_settings(len(words))).to_dict(),
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8)).to_dict(),
        high_res_vision_config=high.to_dict(),
        image_token_id=number(words, "<image_placeholder>"),
    )
    pictures = tf.DeepseekVLHybridImageProcessor(
        size={"height": 32, "width": 32},
        high_res_size={"height": 64, "width": 64},
        image_mean=[0.5] * 3,
        image_std=[0.3] * 3,
        high_res_image_std=[0.2, 0.25, 0.5],
        min_size=8,
    )
    template = chat("<image_placeholder>")
    processor = tf.DeepseekVLHybridProcessor(
        pictures, words, num_image_tokens=16, chat_template=template
    )
    return tf.DeepseekVLHybridForConditionalGeneration(config), processor


def janus() -> tuple[Any, Any]:
    words = pieces(
        image_token="<image_placeholder>", boi_token="<begin_of_image>", eoi_token="<end_of_image>"
    )
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projection_dim": 32,
        "num_image_tokens": 16,
        "mlp_ratio": 1.5,
        "depth": 1,
    }
    codes = {
        "embed_dim": 8,
        "num_embeddings": 16,
        "latent_channels": 32,
        "base_channels": 32,
        "channel_multiplier": [1, 1],
        "num_res_blocks": 1,
        "num_patches": 4,
        "image_token_embed_dim": 32,
        "projection_dim": 32,
        "num_hidden_layers": 1,
    }
    config = tf.JanusConfig(
        text_config=tf.LlamaConfig(**text_settings(len(words))).to_dict(),
        vision_config=vision,
        vq_config=codes,
        image_token_id=number(words, "<image_placeholder>"),
    )
    pictures = tf.JanusImageProcessor(size={"height": 32, "width": 32}, min_size=8)
    template = chat("<image_placeholder>")
    processor = tf.JanusProcessor(pictures, words, num_image_tokens=16, chat_template=template)
    return tf.JanusForConditionalGeneration(config), processor


def idefics2(latents: int = 16) -> tuple[Any, Any]:
    """A resampler: its latents look at the whole picture, however many there are."""
    words = pieces("<image>", "<fake_token_around_image>", "<end_of_utterance>")
    resampler = {
        "hidden_size": 32,
        "resampler_n_latents": latents,
        "resampler_depth": 1,
        "resampler_n_heads": 4,
        "resampler_head_dim": 8,
        "num_key_value_heads": 2,
    }
    config = tf.Idefics2Config(
        vision_config=vision_settings(64, 8),
        text_config=tf.MistralConfig(**text_settings(len(words)), pad_token_id=0),
        perceiver_config=resampler,
        image_token_id=number(words, "<image>"),
    )
    pictures = tf.Idefics2ImageProcessor(
        size={"longest_edge": 64, "shortest_edge": 64}, do_image_splitting=False
    )
    processor = tf.Idefics2Processor(
        pictures, words, image_seq_len=latents, chat_template=chat("<image>")
    )
    return tf.Idefics2ForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    """A chat template that trims the question, and attention with a window."""
    words = pieces(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )
    text = text_settings(
        len(words),
        head_dim=8,
        pad_token_id=0,
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        query_pre_attn_scalar=8,
    )
    config = tf.Gemma3Config(
        text_config=text,
        vision_config=vision_settings(32, 8),
        mm_tokens_per_image=4,
        boi_token_index=number(words, "<start_of_image>"),
        eoi_token_index=number(words, "<end_of_image>"),
        image_token_index=number(words, "<image_soft_token>"),
    )
    trimming = chat("<start_of_image>").replace("{{ c['text'] }}", "{{ c['text'] | trim }}")
    processor = tf.Gemma3Processor(
        tf.Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        words,
        image_seq_length=4,
        chat_template=trimming,
    )
    return tf.Gemma3ForConditionalGeneration(config), processor


def llava_padded() -> tuple[Any, Any]:
    """LLaVA 1.5 as its authors had it: pictures padded to a square."""
    words = pieces("<image>")
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
    )
    pictures = tf.LlavaImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, do_pad=True
    )
    processor = tf.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaForConditionalGeneration(config), processor


MORE = {
    "deepseek_vl": deepseek_vl,
    "deepseek_vl_hybrid": deepseek_vl_hybrid,
    "janus": janus,
    "idefics2": idefics2,
    "gemma3": gemma3,
    "llava_padded": llava_padded,
}


def made(name: str) -> Any:
    """A network and its processor, with random weights by a fixed seed."""
    module, processor = randomized(MORE[name])
    return module.eval(), processor


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
    processor = tf.BlipProcessor(tf.BlipImageProcessor(**SQUARE), words)
    return tf.BlipForConditionalGeneration(config), processor


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
    pictures = tf.GotOcr2ImageProcessor(
        **SQUARE, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = tf.InternVLProcessor(
        pictures,
        words,
        tf.InternVLVideoProcessor(**SQUARE),
        image_seq_length=4,
        chat_template=chat("<IMG_CONTEXT>\n"),
    )
    return tf.InternVLForConditionalGeneration(config), processor


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


def idefics2_split() -> tuple[Any, Any]:
    """Tiles of one picture and the whole."""
    module, processor = idefics2()
    processor.image_processor.do_image_splitting = True
    return module, processor
