"""The Gemma line: Gemma 3n and Gemma 4."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkpoints import chat, text_settings, vision_settings
from more_checkpoints import SQUARE, number, pieces
from torch import nn
from transformers import AutoModel

from architectures.base import SHALLOW, Made, architecture, tf


@architecture("gemma3n", answer_type=0)
def gemma3n() -> Made:
    words = pieces(
        image_token="<image_soft_token>",
        boi_token="<start_of_image>",
        eoi_token="<end_of_image>",
        audio_token="<audio_soft_token>",
        boa_token="<start_of_audio>",
        eoa_token="<end_of_audio>",
    )
    n = len(words)
    text = {
        "vocab_size": n,
        "vocab_size_per_layer_input": n,
        "hidden_size": 32,
        "hidden_size_per_layer_input": 8,
        "intermediate_size": [48] * 4,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_kv_shared_layers": 1,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 8,
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * 4,
        "pad_token_id": 0,
        "altup_num_inputs": 2,
        "max_position_embeddings": 2048,
    }
    vision = {
        "architecture": "mobilenetv5_base",
        "hidden_size": 32,
        "vocab_offset": n,
        "vocab_size": 4,
    }
    audio = {
        "hidden_size": 16,
        "conf_num_attention_heads": 2,
        "conf_num_hidden_layers": 1,
        "vocab_offset": n + 4,
        "vocab_size": 4,
        "sscp_conv_channel_size": [4, 4],
        "input_feat_size": 16,
    }
    config = tf.Gemma3nConfig(
        text_config=text,
        vision_config=vision,
        audio_config=audio,
        vision_soft_tokens_per_image=4,
        image_token_id=number(words, "<image_soft_token>"),
        boi_token_id=number(words, "<start_of_image>"),
        eoi_token_id=number(words, "<end_of_image>"),
        audio_token_id=number(words, "<audio_soft_token>"),
        boa_token_id=number(words, "<start_of_audio>"),
        eoa_token_id=number(words, "<end_of_audio>"),
    )
    processor = tf.Gemma3nProcessor(
        tf.Gemma3nAudioFeatureExtractor(feature_size=16),
        tf.SiglipImageProcessor(**SQUARE),
        words,
        image_seq_length=4,
        chat_template=chat("<image_soft_token>"),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AutoModel, "from_config", _tiny_vision)
        return tf.Gemma3nForConditionalGeneration(config), processor


_from_config: Any = AutoModel.from_config


def _tiny_vision(config: Any, **more: Any) -> Any:
    """Any network as transformers makes it, but for timm's encoder, which has 300 M weights."""
    if type(config).__name__ == "Gemma3nVisionConfig":
        return _Convolution()
    return _from_config(config, **more)


class _Convolution(nn.Module):
    """In the place of timm's encoder, with its interface."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 32, 16, 16)

    def forward(self, pixel_values: torch.Tensor, **_more: Any) -> SimpleNamespace:
        features = self.convolution(pixel_values)
        return SimpleNamespace(last_hidden_state=features, pooler_output=None)


@architecture("gemma4", answer_type=0)
def gemma4() -> Made:
    words = pieces(
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    words.add_special_tokens({"additional_special_tokens": ["<|video|>"]})
    n = len(words)
    text = {
        "vocab_size": n,
        "vocab_size_per_layer_input": n,
        "hidden_size": 32,
        "hidden_size_per_layer_input": 8,
        "intermediate_size": 48,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "layer_types": ["sliding_attention", "full_attention"] * 2,
        "sliding_window": 8,
        "pad_token_id": 0,
        "max_position_embeddings": 2048,
        "global_head_dim": 8,
    }
    vision = {
        **SHALLOW,
        "num_key_value_heads": 4,
        "head_dim": 8,
        "patch_size": 8,
        "pooling_kernel_size": 2,
    }
    config = tf.Gemma4Config(
        text_config=text,
        vision_config=vision,
        image_token_id=number(words, "<|image|>"),
        boi_token_id=number(words, "<|image>"),
        eoi_token_id=number(words, "<image|>"),
        video_token_id=number(words, "<|video|>"),
    )
    processor = tf.Gemma4Processor(
        tf.Gemma4AudioFeatureExtractor() if hasattr(tf, "Gemma4AudioFeatureExtractor") else None,
        tf.Gemma4ImageProcessor(patch_size=8, max_soft_tokens=70, pooling_kernel_size=2),
        words,
        tf.Gemma4VideoProcessor(),
        chat_template=chat("<|image|>"),
        image_seq_length=70,
    )
    return tf.Gemma4ForConditionalGeneration(config), processor


@architecture("t5gemma2", encoder_decoder=True, start=1)
def t5gemma2() -> Made:
    words = pieces(
        image_token="<image_soft_token>", boi_token="<start_of_image>", eoi_token="<end_of_image>"
    )
    text = {
        **text_settings(len(words), head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        "sliding_window": 8,
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "query_pre_attn_scalar": 8,
    }
    encoder = {
        "text_config": text,
        "vision_config": vision_settings(32, 8),
        "mm_tokens_per_image": 4,
        "boi_token_index": number(words, "<start_of_image>"),
        "eoi_token_index": number(words, "<end_of_image>"),
        "image_token_index": number(words, "<image_soft_token>"),
    }
    config = tf.T5Gemma2Config(
        encoder=encoder, decoder=text, image_token_index=number(words, "<image_soft_token>")
    )
    processor = tf.Gemma3Processor(
        tf.Gemma3ImageProcessor(**SQUARE),
        words,
        image_seq_length=4,
        chat_template=chat("<start_of_image>"),
    )
    return tf.T5Gemma2ForConditionalGeneration(config), processor


@architecture("gemma4_unified", answer_type=0)
def gemma4_unified() -> Made:
    words = pieces(
        "<|video|>",
        image_token="<|image|>",
        boi_token="<|image>",
        eoi_token="<image|>",
        audio_token="<|audio|>",
        boa_token="<|audio>",
        eoa_token="<audio|>",
    )
    text = {
        **text_settings(len(words), head_dim=8, global_head_dim=8, pad_token_id=0),
        "layer_types": ["sliding_attention", "full_attention", "full_attention"],
        "sliding_window": 8,
    }
    vision = {
        "patch_size": 8,
        "pooling_kernel_size": 2,
        "mm_embed_dim": 32,
        "mm_posemb_size": 64,
        "output_proj_dims": 32,
    }
    config = tf.Gemma4UnifiedConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=number(words, "<|image|>"),
        boi_token_id=number(words, "<|image>"),
        eoi_token_id=number(words, "<image|>"),
        video_token_id=number(words, "<|video|>"),
    )
    processor = tf.Gemma4UnifiedProcessor(
        tf.Gemma4UnifiedAudioFeatureExtractor(),
        tf.Gemma4UnifiedImageProcessor(patch_size=8, max_soft_tokens=70, pooling_kernel_size=2),
        words,
        tf.Gemma4UnifiedVideoProcessor(patch_size=8, pooling_kernel_size=2),
        image_seq_length=70,
        chat_template=chat("<|image|>"),
    )
    return tf.Gemma4UnifiedForConditionalGeneration(config), processor
