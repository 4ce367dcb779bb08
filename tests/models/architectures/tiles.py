"""Networks that see pictures in tiles."""

from typing import Any

import torch
from checkpoints import chat, text_settings, vision_settings
from more_checkpoints import SQUARE, number, pieces

from architectures.base import POINTS, SHALLOW, Made, architecture, from_chat, tf


@architecture("mllama")
def mllama() -> Made:
    words = pieces(image_token="<|image|>")
    text = dict(
        text_settings(len(words)),
        cross_attention_layers=[1, 3],
        num_hidden_layers=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_global_layers": 1,
        "attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "intermediate_layers_indices": [0, 1],
        "vision_output_dim": 96,
        "max_num_tiles": 4,
        "supported_aspect_ratios": [[1, 1], [1, 2], [1, 3], [1, 4], [2, 1], [2, 2], [3, 1], [4, 1]],
    }
    config = tf.MllamaConfig(
        vision_config=vision, text_config=text, image_token_index=number(words, "<|image|>")
    )
    processor = tf.MllamaProcessor(
        tf.MllamaImageProcessor(**SQUARE, max_image_tiles=4),
        words,
        chat_template=chat("<|image|>"),
    )
    module = tf.MllamaForConditionalGeneration(config)
    for name, parameter in module.named_parameters():
        if "gate" in name and parameter.ndim <= 1:
            torch.nn.init.constant_(parameter, 0.5)  # at 0 no picture would count
    return module, processor


def _as_float32(processor: Any, picture: Any, question: str) -> dict[str, Any]:
    """Llama 4's processor gives bfloat16, and `generate` casts it to the network's number type."""
    inputs = from_chat(processor, picture, question)
    return {**inputs, "pixel_values": inputs["pixel_values"].float()}


@architecture("llama4", call=_as_float32)
def llama4() -> Made:
    names = [
        "<|image|>",
        "<|image_start|>",
        "<|image_end|>",
        "<|patch|>",
        "<|tile_x_separator|>",
        "<|tile_y_separator|>",
    ]
    words = pieces(*names)
    text = dict(
        text_settings(len(words)),
        head_dim=8,
        intermediate_size_mlp=48,
        num_local_experts=2,
        num_experts_per_tok=1,
        interleave_moe_layer_step=1,
        attention_chunk_size=512,
        num_hidden_layers=4,
    )
    vision = {
        "hidden_size": 32,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
        "projector_input_dim": 32,
        "projector_output_dim": 32,
        "vision_output_dim": 32,
        "pixel_shuffle_ratio": 0.5,
    }
    config = tf.Llama4Config(
        text_config=text,
        vision_config=vision,
        image_token_index=number(words, "<|patch|>"),
        boi_token_index=number(words, "<|image_start|>"),
        eoi_token_index=number(words, "<|image_end|>"),
    )
    processor = tf.Llama4Processor(
        tf.Llama4ImageProcessor(**SQUARE, max_patches=4, resize_to_max_canvas=False),
        words,
        patch_size=8,
        pixel_shuffle_ratio=0.5,
        chat_template=chat("<|image|>"),
    )
    return tf.Llama4ForConditionalGeneration(config), processor


@architecture("aya_vision")
def aya_vision() -> Made:
    words = pieces(
        "<image>",
        "<|START_OF_IMG|>",
        "<|END_OF_IMG|>",
        "<|IMG_PATCH|>",
        "<|IMG_LINE_BREAK|>",
        "TILE",
        "TILE_GLOBAL",
        *[f"TILE_{i}" for i in range(1, 6)],
    )
    text = tf.Cohere2Config(
        **text_settings(len(words)),
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        logit_scale=1.0,
    )
    config = tf.AyaVisionConfig(
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8), vision_use_head=False),
        text_config=text,
        image_token_index=number(words, "<|IMG_PATCH|>"),
        downsample_factor=2,
        adapter_layer_norm_eps=1e-6,
        alignment_intermediate_size=64,
    )
    pictures = tf.GotOcr2ImageProcessor(
        **SQUARE, crop_to_patches=True, min_patches=1, max_patches=4
    )
    processor = tf.AyaVisionProcessor(
        pictures,
        words,
        patch_size=8,
        img_size=32,
        downsample_factor=2,
        chat_template=chat("<image>"),
    )
    return tf.AyaVisionForConditionalGeneration(config), processor


@architecture("lfm2_vl")
def lfm2_vl() -> Made:
    words = pieces(
        image_token="<image>",
        image_start_token="<|image_start|>",
        image_end_token="<|image_end|>",
        image_thumbnail_token="<|img_thumbnail|>",
        **{f"t{r}{c}": f"<|img_row_{r}_col_{c}|>" for r in range(1, 4) for c in range(1, 4)},
    )
    text = tf.Lfm2Config(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        layer_types=["conv", "full_attention", "conv"],
        max_position_embeddings=2048,
        pad_token_id=0,
        block_auto_adjust_ff_dim=False,
    )
    vision = tf.Siglip2VisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        patch_size=8,
        num_patches=16,
    )
    config = tf.Lfm2VlConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=number(words, "<image>"),
        downsample_factor=2,
        projector_hidden_size=32,
    )
    pictures = tf.Lfm2VlImageProcessor(
        downsample_factor=2,
        do_image_splitting=True,
        min_tiles=2,
        max_tiles=4,
        use_thumbnail=True,
        min_image_tokens=4,
        max_image_tokens=16,
        encoder_patch_size=8,
        tile_size=32,
    )
    return tf.Lfm2VlForConditionalGeneration(config), tf.Lfm2VlProcessor(
        pictures, words, chat_template=chat("<image>")
    )


@architecture("granite4_vision")
def granite4_vision() -> Made:
    words = pieces(image_token="<image>")
    resampler = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "encoder_hidden_size": 32,
        "cross_attention_frequency": 1,
    }
    config = tf.Granite4VisionConfig(
        # Its resampler has one head for every 64 channels.
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8, hidden_size=64)).to_dict(),
        text_config=text_settings(len(words)),
        qformer_config=resampler,
        image_token_index=number(words, "<image>"),
        image_grid_pinpoints=POINTS,
        downsample_rate="1/2",
        deepstack_layer_map=[[-2, 0]],
        spatial_target_layers=[1],
        spatial_vision_layer=-1,
        vision_feature_select_strategy="full",
        image_seq_length=4,
    )
    pictures = tf.LlavaNextImageProcessor(
        **SQUARE,
        crop_size=SQUARE["size"],
        image_grid_pinpoints=POINTS,
    )
    processor = tf.Granite4VisionProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=chat("<image>"),
        downsample_rate="1/2",
    )
    return tf.Granite4VisionForConditionalGeneration(config), processor


@architecture("aria", answer_type=0)
def aria() -> Made:
    words = pieces(image_token="<|img|>")
    vision = {
        **SHALLOW,
        "image_size": 980,
        "patch_size": 140,
    }
    text = tf.AriaTextConfig(
        **text_settings(len(words)),
        moe_num_experts=4,
        moe_topk=2,
        moe_num_shared_experts=1,
        pad_token_id=0,
    )
    config = tf.AriaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=number(words, "<|img|>"),
        projector_patch_to_query_dict={49: 4},
    )
    processor = tf.AriaProcessor(
        tf.AriaImageProcessor(max_image_size=980, min_image_size=140),
        words,
        size_conversion={980: 4, 490: 4},
        chat_template=chat("<|img|>"),
    )
    return tf.AriaForConditionalGeneration(config), processor


@architecture("cohere2_vision")
def cohere2_vision() -> Made:
    words = pieces(
        image_token="<image>",
        boi_token="<|START_OF_IMG|>",
        eoi_token="<|END_OF_IMG|>",
        img_line_break_token="<|IMG_LINE_BREAK|>",
    )
    text = tf.Cohere2Config(
        **text_settings(len(words)),
        sliding_window=8,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        logit_scale=1.0,
    )
    config = tf.Cohere2VisionConfig(
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8), vision_use_head=False),
        text_config=text,
        image_token_id=number(words, "<image>"),
        downsample_factor=2,
        alignment_intermediate_size=64,
    )
    # Its processor counts patch_size² tokens for each tile.
    pictures = tf.Cohere2VisionImageProcessor(**SQUARE, max_patches=4, patch_size=2)
    processor = tf.Cohere2VisionProcessor(pictures, words, chat_template=chat("<image>"))
    return tf.Cohere2VisionForConditionalGeneration(config), processor


@architecture("perception_lm")
def perception_lm() -> Made:
    words = pieces(image_token="<|image|>", video_token="<|video|>")
    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 4, "patch_size": 8, "img_size": [32, 32]}
    vision = {
        "architecture": "vit_pe_core_large_patch14_336",
        "model_type": "timm_wrapper",
        "model_args": {
            **sizes,
            "ref_feat_shape": [4, 4],
            "global_pool": "",
            "use_post_transformer_norm": False,
        },
        "initializer_range": 0.02,
    }
    config = tf.PerceptionLMConfig(
        vision_config=vision,
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        projector_pooling_ratio=2,
        image_token_id=number(words, "<|image|>"),
        video_token_id=number(words, "<|video|>"),
    )
    pictures = tf.PerceptionLMImageProcessor(tile_size=32, max_num_tiles=4)
    processor = tf.PerceptionLMProcessor(
        tf.PerceptionLMVideoProcessor(size={"height": 32, "width": 32}),
        pictures,
        words,
        patch_size=8,
        pooling_ratio=2,
        chat_template=chat("<|image|>"),
    )
    return tf.PerceptionLMForConditionalGeneration(config), processor


@architecture("molmo2")
def molmo2() -> Made:
    marks = {
        "image_start_token": "<im_start>",
        "image_end_token": "<im_end>",
        "image_patch_token": "<im_patch>",
        "image_col_token": "<im_col>",
        "low_res_image_start_token": "<low_res_im_start>",
        "image_token": "<|image|>",
        "video_token": "<|video|>",
        "frame_start_token": "<frame_start>",
        "frame_end_token": "<frame_end>",
    }
    words = pieces(**marks)
    heads = {"num_attention_heads": 4, "num_key_value_heads": 4, "head_dim": 8, "hidden_size": 32}
    vision = {**SHALLOW, **heads, "image_size": [32, 32], "patch_size": 8}
    adapter = {**heads, "intermediate_size": 48, "text_hidden_size": 32}
    text = text_settings(len(words), head_dim=8, additional_vocab_size=8)
    config = tf.Molmo2Config(
        vision_config=vision,
        adapter_config={**adapter, "vision_feature_layer": [1, 0]},
        text_config=text,
        image_start_token_id=number(words, "<im_start>"),
        low_res_image_start_token_id=number(words, "<low_res_im_start>"),
        image_end_token_id=number(words, "<im_end>"),
        image_patch_id=number(words, "<im_patch>"),
        frame_start_token_id=number(words, "<frame_start>"),
        frame_end_token_id=number(words, "<frame_end>"),
    )
    pictures = tf.Molmo2ImageProcessor(
        **SQUARE, patch_size=8, max_crops=4, overlap_margins=[1, 1], pooling_size=[2, 2]
    )
    videos = tf.Molmo2VideoProcessor(**SQUARE, patch_size=8)
    processor = tf.Molmo2Processor(pictures, videos, words, chat_template=chat("<|image|>"))
    return tf.Molmo2ForConditionalGeneration(config), processor


@architecture("kimi_k25")
def kimi_k25() -> Made:
    marks = ["<|media_pad|>", "<|video|>", "<|media_begin|>", "<|media_end|>"]
    words = pieces(*marks[2:], image_token=marks[0], video_token=marks[1])
    text = {
        "model_type": "deepseek_v3",
        **text_settings(len(words)),
        "num_key_value_heads": 4,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_group": 1,
        "topk_group": 1,
        "moe_intermediate_size": 16,
        "first_k_dense_replace": 1,
    }
    vision = {**SHALLOW, "patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8}
    config = tf.Kimi_K25Config(
        text_config=text,
        vision_config=vision,
        projection_hidden_size=32,
        image_token_id=number(words, marks[0]),
        video_token_id=number(words, marks[1]),
        vision_start_token_id=number(words, marks[2]),
        vision_end_token_id=number(words, marks[3]),
    )
    pictures = tf.Kimi_K25ImageProcessor(patch_size=8, max_patches=64)
    processor = tf.Kimi_K25Processor(
        pictures,
        words,
        tf.Kimi_K25VideoProcessor(patch_size=8),
        chat_template=chat("<|media_begin|><|media_pad|><|media_end|>"),
    )
    return tf.Kimi_K25ForConditionalGeneration(config), processor


@architecture("qianfan_ocr")
def qianfan_ocr() -> Made:
    words = pieces(
        start_image_token="<img>", end_image_token="</img>", context_image_token="<IMG_CONTEXT>"
    )
    config = tf.QianfanOCRConfig(
        vision_config={**SHALLOW, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=tf.Qwen3Config(**text_settings(len(words)), head_dim=8),
        image_token_id=number(words, "<IMG_CONTEXT>"),
        image_seq_length=4,
        downsample_ratio=0.5,
    )
    processor = tf.QianfanOCRProcessor(
        tf.GotOcr2ImageProcessor(**SQUARE, crop_to_patches=True, min_patches=1, max_patches=4),
        words,
        image_seq_length=4,
        image_placeholder_token="<image>",
        chat_template=chat("<image>"),
    )
    return tf.QianfanOCRForConditionalGeneration(config), processor


@architecture("step3p7")
def step3p7() -> Made:
    words = pieces(
        "<im_patch>", "<patch_start>", "<patch_end>", "<patch_newline>", "<im_start>", "<im_end>"
    )
    text = {
        **text_settings(len(words), head_dim=8, pad_token_id=0),
        "layer_types": ["full_attention", "sliding_attention", "full_attention"],
        "mlp_layer_types": ["dense", "sparse", "sparse"],
        "sliding_window": 8,
        "num_sliding_attention_heads": 4,
        "num_experts_per_tok": 2,
        "n_routed_experts": 4,
        "num_local_experts": 4,
        "moe_intermediate_size": 16,
        "share_expert_dim": 16,
    }
    vision = {
        **SHALLOW,
        "image_size": 64,
        "patch_size": 8,
        "mlp_ratio": 1.5,
        "max_position_embeddings": 64,
    }
    config = tf.Step3p7Config(
        vision_config=vision, text_config=text, image_token_id=number(words, "<im_patch>")
    )
    pictures = tf.Step3p7ImageProcessor(
        size={"height": 64, "width": 64}, patch_size=32, vision_patch_size=8, downsampler_stride=4
    )
    processor = tf.Step3p7Processor(pictures, words, chat_template=chat("<im_patch>"))
    return tf.Step3p7ForConditionalGeneration(config), processor


@architecture("nemotron_h_omni")
def nemotron_h_omni() -> Made:
    words = pieces(
        "<so_start>",
        "<so_end>",
        image_token="<image>",
        video_token="<video>",
        audio_token="<so_embedding>",
        image_start_token="<img>",
        image_end_token="</img>",
    )
    text = {
        "model_type": "nemotron_h",
        "vocab_size": len(words),
        "hidden_size": 32,
        "layers_block_type": ["mamba", "attention", "mlp"],
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 8,
        "max_position_embeddings": 2048,
        "intermediate_size": 48,
        "ssm_state_size": 8,
        "mamba_num_heads": 4,
        "mamba_head_dim": 16,
        "n_groups": 1,
        "chunk_size": 8,
    }
    vision = {
        "model_type": "radio",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "mlp_ratio": 1.5,
        "image_size": 64,
        "patch_size": 16,
        "max_img_size": 128,
        "video_temporal_patch_size": 2,
    }
    config = tf.NemotronH_Omni_Reasoning_V3_Config(
        text_config=text,
        vision_config=vision,
        projector_hidden_size=32,
        vision_hidden_size=32,
        image_token_id=number(words, "<image>"),
        video_token_id=number(words, "<video>"),
        audio_token_id=number(words, "<so_embedding>"),
    )
    processor = tf.NemotronH_Omni_Reasoning_V3Processor(
        tf.NemotronH_Omni_Reasoning_V3ImageProcessor(min_num_patches=4, max_num_patches=24),
        tf.NemotronH_Omni_Reasoning_V3VideoProcessor(),
        words,
        tf.ParakeetFeatureExtractor(feature_size=16),
        chat_template=chat("<image>"),
    )
    return tf.NemotronH_Omni_Reasoning_V3(config), processor
