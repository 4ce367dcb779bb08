"""The Qwen-VL line from Qwen3-VL on, and the thinker of Qwen2.5-Omni."""

from typing import Any

from checkpoints import chat, text_settings
from more_checkpoints import number, pieces

from architectures.base import Made, architecture, mixed_attention, numbers, tf


def _qwen(kind: str) -> Made:
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = pieces(*names)
    roles = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids = dict(zip(roles, numbers(words, names), strict=True))
    rope = {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
    }
    vision: dict[str, Any] = {
        "depth": 3,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 16,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
    }
    text = text_settings(len(words), rope_parameters=rope, head_dim=8)
    if kind in ("qwen3_vl", "qwen3_vl_moe"):
        vision["deepstack_visual_indexes"] = [0, 1]
    if kind in ("qwen3_5", "qwen3_5_moe"):
        text = mixed_attention(len(words))
    if kind.endswith("moe"):
        text |= {
            "num_experts": 4,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "shared_expert_intermediate_size": 16,
            "decoder_sparse_step": 1,
        }
    title = {
        "qwen3_vl": "Qwen3VL",
        "qwen3_vl_moe": "Qwen3VLMoe",
        "qwen3_5": "Qwen3_5",
        "qwen3_5_moe": "Qwen3_5Moe",
    }[kind]
    config = getattr(tf, title + "Config")(text_config=text, vision_config=vision, **ids)
    size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 128}
    pictures = tf.Qwen2VLImageProcessor(
        patch_size=16, merge_size=2, temporal_patch_size=2, size=size
    )
    processor = tf.Qwen3VLProcessor(
        pictures,
        words,
        tf.Qwen3VLVideoProcessor(patch_size=16, size=size),
        chat_template=chat("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return getattr(tf, title + "ForConditionalGeneration")(config), processor


@architecture("qwen3_vl")
def qwen3_vl() -> Made:
    return _qwen("qwen3_vl")


@architecture("qwen3_vl_moe")
def qwen3_vl_moe() -> Made:
    return _qwen("qwen3_vl_moe")


@architecture("qwen3_5")
def qwen3_5() -> Made:
    return _qwen("qwen3_5")


@architecture("qwen3_5_moe")
def qwen3_5_moe() -> Made:
    return _qwen("qwen3_5_moe")


@architecture("qwen2_5_omni_thinker")
def qwen2_5_omni_thinker() -> Made:
    words = pieces(
        image_token="<|IMAGE|>",
        video_token="<|VIDEO|>",
        audio_token="<|AUDIO|>",
        vision_bos_token="<|vision_bos|>",
        vision_eos_token="<|vision_eos|>",
        audio_bos_token="<|audio_bos|>",
        audio_eos_token="<|audio_eos|>",
    )
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    audio = {
        "d_model": 32,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "encoder_layers": 1,
        "output_dim": 32,
        "num_mel_bins": 16,
        "n_window": 10,
    }
    config = tf.Qwen2_5OmniThinkerConfig(
        text_config=text_settings(len(words), rope_parameters=rope),
        vision_config=vision,
        audio_config=audio,
        image_token_index=number(words, "<|IMAGE|>"),
        video_token_index=number(words, "<|VIDEO|>"),
        audio_token_index=number(words, "<|AUDIO|>"),
        audio_start_token_id=number(words, "<|audio_bos|>"),
        audio_end_token_id=number(words, "<|audio_eos|>"),
    )
    config.vision_start_token_id = number(words, "<|vision_bos|>")
    config.vision_end_token_id = number(words, "<|vision_eos|>")
    sizes: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 56 * 112}
    processor = tf.Qwen2_5OmniProcessor(
        tf.Qwen2VLImageProcessor(**sizes),
        tf.Qwen2VLVideoProcessor(**sizes),
        tf.WhisperFeatureExtractor(feature_size=16),
        words,
        chat_template=chat("<|vision_bos|><|IMAGE|><|vision_eos|>"),
    )
    return tf.Qwen2_5OmniThinkerForConditionalGeneration(config), processor


@architecture("qwen3_omni_moe_thinker")
def qwen3_omni_moe_thinker() -> Made:
    words = pieces(
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        audio_token="<|audio_pad|>",
        vision_bos_token="<|vision_start|>",
        vision_eos_token="<|vision_end|>",
        audio_bos_token="<|audio_start|>",
        audio_eos_token="<|audio_end|>",
    )
    rope = {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "mrope_interleaved": True,
        "rope_theta": 10000.0,
    }
    text = {
        **text_settings(len(words), rope_parameters=rope, head_dim=8),
        "num_experts": 4,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 16,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 16,
        "out_hidden_size": 32,
        "num_position_embeddings": 16,
        "deepstack_visual_indexes": [0, 1],
    }
    audio = {
        "d_model": 32,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "encoder_layers": 1,
        "output_dim": 32,
        "num_mel_bins": 16,
        "n_window": 10,
        "downsample_hidden_size": 8,
    }
    config = tf.Qwen3OmniMoeThinkerConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
        audio_token_id=number(words, "<|audio_pad|>"),
        audio_start_token_id=number(words, "<|audio_start|>"),
    )
    config.vision_start_token_id = number(words, "<|vision_start|>")
    size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 128}
    processor = tf.Qwen3OmniMoeProcessor(
        tf.Qwen2VLImageProcessor(patch_size=16, size=size),
        tf.Qwen2VLVideoProcessor(patch_size=16, size=size),
        tf.WhisperFeatureExtractor(feature_size=16),
        words,
        chat_template=chat("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    return tf.Qwen3OmniMoeThinkerForConditionalGeneration(config), processor


@architecture("exaone4_5")
def exaone4_5() -> Made:
    words = pieces(image_token="<|image_pad|>", video_token="<|video_pad|>")
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "num_key_value_heads": 2,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    text = {
        "model_type": "exaone4",
        **text_settings(len(words)),
        "sliding_window": 8,
        "sliding_window_pattern": "LG",
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
    }
    config = tf.Exaone4_5_Config(
        text_config=text,
        vision_config=vision,
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
    )
    sizes: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 56 * 112}
    processor = tf.Exaone4_5_Processor(
        tf.Qwen2VLImageProcessor(**sizes),
        words,
        tf.Qwen2VLVideoProcessor(**sizes),
        chat_template=chat("<|image_pad|>"),
    )
    return tf.Exaone4_5_ForConditionalGeneration(config), processor
