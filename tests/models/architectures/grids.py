"""Networks that see a picture as a grid of patches, as Qwen2-VL does, whatever its size."""

from typing import Any

from checkpoints import chat, text_settings
from more_checkpoints import number, pieces

from architectures.base import SHALLOW, Made, architecture, from_chat, tf

SIZE = {"shortest_edge": 64 * 64, "longest_edge": 64 * 128}
MARKS = {
    "image_token": "<|image_pad|>",
    "video_token": "<|video_pad|>",
    "vision_start_token": "<|vision_start|>",
    "vision_end_token": "<|vision_end|>",
}
# Latent attention with an index, and experts, as DeepSeek has them.
LATENT = {
    "num_key_value_heads": 4,
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "kv_lora_rank": 16,
    "q_lora_rank": 16,
    "qk_rope_head_dim": 8,
    "qk_nope_head_dim": 8,
    "v_head_dim": 8,
    "index_head_dim": 8,
    "index_n_heads": 2,
}
TEMPLATE = "<|vision_start|><|image_pad|><|vision_end|>"
ROPE = {
    "rope_type": "default",
    "mrope_section": [1, 1, 2],
    "mrope_interleaved": True,
    "rope_theta": 10000.0,
}
DEEP = {
    "depth": 2,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_heads": 2,
    "patch_size": 16,
    "out_hidden_size": 32,
    "num_position_embeddings": 16,
    "deepstack_visual_indexes": [0, 1],
}


def _ids(words: Any, **marks: str) -> dict[str, int]:
    """The numbers of the special tokens, by the names that a configuration gives them."""
    return {f"{name}_id": number(words, token) for name, token in (marks or MARKS).items()}


def _pictures(patch: int = 16, **more: Any) -> Any:
    return tf.Qwen2VLImageProcessor(patch_size=patch, size=SIZE, **more)


def _videos(patch: int = 16, **more: Any) -> Any:
    return tf.Qwen3VLVideoProcessor(patch_size=patch, size=SIZE, **more)


@architecture("hyperclovax_vision_v2")
def hyperclovax_vision_v2() -> Made:
    words = pieces(**MARKS)
    vision = {
        "model_type": "qwen2_5_vl",
        "depth": 2,
        "hidden_size": 32,
        "out_hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 2,
        "patch_size": 14,
        "window_size": 56,
        "fullatt_block_indexes": [1],
    }
    config = tf.HyperCLOVAXVisionV2Config(
        text_config={"model_type": "hyperclovax", **text_settings(len(words))},
        vision_config={**vision, "model_type": "qwen2_5_vl_vision"},
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
    )
    sizes: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 56 * 112}
    processor = tf.HyperCLOVAXVisionV2Processor(
        tf.Qwen2VLImageProcessor(**sizes),
        words,
        tf.Qwen2VLVideoProcessor(**sizes),
        chat_template=chat(TEMPLATE),
    )
    return tf.HyperCLOVAXVisionV2ForConditionalGeneration(config), processor


@architecture("lfm3_vl")
def lfm3_vl() -> Made:
    words = pieces(**MARKS)
    text = {
        "model_type": "lfm3",
        **text_settings(len(words)),
        "layer_types": ["conv", "full_attention", "conv"],
        "pad_token_id": 0,
    }
    vision = {**SHALLOW, "num_key_value_heads": 2, "layer_types": ["conv", "full_attention"]}
    config = tf.Lfm3VlConfig(
        text_config=text, vision_config=vision, projector_hidden_size=32, **_ids(words)
    )
    processor = tf.Lfm3VlProcessor(_pictures(), words, _videos(), chat_template=chat(TEMPLATE))
    return tf.Lfm3VlForConditionalGeneration(config), processor


@architecture("cohere_compass")
def cohere_compass() -> Made:
    marks = {name: token.upper() for name, token in MARKS.items()}
    words = pieces(**marks)
    text = {
        **text_settings(len(words), bos_token_id=1, eos_token_id=2),
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 8,
        "logit_scale": 1.0,
        "rope_parameters": {"sliding_attention": ROPE, "full_attention": None},
    }
    config = tf.CohereCompassConfig(text_config=text, vision_config=DEEP, **_ids(words, **marks))
    processor = tf.CohereCompassProcessor(
        tf.CohereCompassImageProcessor(patch_size=16, size=SIZE),
        words,
        tf.CohereCompassVideoProcessor(patch_size=16, size=SIZE),
        chat_template=chat(TEMPLATE.upper()),
    )
    return tf.CohereCompassForConditionalGeneration(config), processor


def _with_types(processor: Any, picture: Any, question: str) -> dict[str, Any]:
    """The processor's output with the kinds of its tokens, which its network needs."""
    return from_chat(processor, picture, question, return_mm_token_type_ids=True)


@architecture("cosmos3_edge", call=_with_types)
def cosmos3_edge() -> Made:
    words = pieces(**MARKS)
    text = {
        **text_settings(len(words), head_dim=8, bos_token_id=1, eos_token_id=2),
        "rope_parameters": ROPE,
    }
    vision = {**SHALLOW, "patch_size": 16, "num_patches": 16}
    config = tf.Cosmos3EdgeConfig(
        text_config=text, vision_config=vision, projector_hidden_size=32, **_ids(words)
    )
    processor = tf.Cosmos3EdgeProcessor(
        tf.Cosmos3EdgeImageProcessor(patch_size=16, size=SIZE),
        words,
        tf.Cosmos3EdgeVideoProcessor(patch_size=16, size=SIZE),
        chat_template=chat(TEMPLATE),
    )
    return tf.Cosmos3EdgeForConditionalGeneration(config), processor


@architecture("cosmos3_omni")
def cosmos3_omni() -> Made:
    words = pieces(**MARKS)
    config = tf.Cosmos3OmniConfig(
        text_config=text_settings(len(words), rope_parameters=ROPE, head_dim=8),
        vision_config=DEEP,
        **_ids(words),
    )
    processor = tf.Qwen3VLProcessor(_pictures(), words, _videos(), chat_template=chat(TEMPLATE))
    return tf.Cosmos3OmniForConditionalGeneration(config), processor


@architecture("muse_glimmer")
def muse_glimmer() -> Made:
    names = ("patch", "image_start", "image_end", "video", "vid_frame_separator", "vid_start")
    marks = [f"<|{name}|>" for name in (*names, "vid_end")]
    words = pieces(*marks)
    text = {
        **text_settings(len(words), head_dim=8, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 8,
    }
    vision = {**SHALLOW, "patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8}
    config = tf.MuseGlimmerConfig(
        text_config=text,
        vision_config={**vision, "max_position_embeddings": 64},
        image_token_id=number(words, "<|patch|>"),
        video_token_id=number(words, "<|video|>"),
        out_hidden_size=128,
        projector_hidden_size=32,
    )
    processor = tf.MuseGlimmerProcessor(
        tf.MuseGlimmerImageProcessor(patch_size=8, max_image_tokens=32),
        tf.MuseGlimmerVideoProcessor(patch_size=8),
        words,
        chat_template=chat("<|patch|>"),
    )
    return tf.MuseGlimmerForConditionalGeneration(config), processor


@architecture("minimax_m3_vl")
def minimax_m3_vl() -> Made:
    marks = ["]<]image[>[", "]<]video[>[", "]<]start of image[>[", "]<]end of image[>["]
    words = pieces(*marks)
    text = {
        **text_settings(len(words), head_dim=8, bos_token_id=1, eos_token_id=2),
        "num_experts_per_tok": 2,
        "num_local_experts": 4,
        "dense_intermediate_size": 48,
        "shared_intermediate_size": 16,
        "rotary_dim": 8,
        "index_n_heads": 2,
        "index_head_dim": 8,
        "index_block_size": 8,
    }
    vision = {**SHALLOW, "image_size": 64, "patch_size": 16}
    config = tf.MiniMaxM3VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_index=number(words, marks[0]),
        video_token_index=number(words, marks[1]),
        projector_hidden_size=32,
    )
    processor = tf.MiniMaxM3VLProcessor(
        tf.MiniMaxM3VLImageProcessor(patch_size=16, size=SIZE),
        words,
        tf.MiniMaxM3VLVideoProcessor(patch_size=16, size=SIZE),
        chat_template=chat(marks[0]),
    )
    return tf.MiniMaxM3SparseForConditionalGeneration(config), processor


@architecture("hy_v4_vl")
def hy_v4_vl() -> Made:
    words = pieces(**MARKS)
    text = {
        **text_settings(len(words), head_dim=8, pad_token_id=0, rope_parameters=ROPE),
        "num_key_value_heads": 4,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8,
        "v_head_dim": 8,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "hc_mult": 2,
    }
    vision = {**SHALLOW, "out_hidden_size": 32, "patch_size": 16, "max_image_size": 128}
    config = tf.HYV4VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
    )
    processor = tf.HYV4VLProcessor(
        tf.HYV4VLImageProcessor(patch_size=16, size=SIZE),
        words,
        tf.HYV4VLVideoProcessor(patch_size=16, size=SIZE),
        chat_template=chat(TEMPLATE),
    )
    return tf.HYV4VLForConditionalGeneration(config), processor


@architecture("qwen4_exp")
def qwen4_exp() -> Made:
    words = pieces(**MARKS)
    rope = {**ROPE, "mrope_section": [1, 1, 0], "partial_rotary_factor": 0.5}
    text = {
        **text_settings(len(words), rope_parameters=rope, head_dim=8, pad_token_id=0),
        "num_hidden_layers": 4,
        "layer_types": ["linear_attention", "full_attention"] * 2,
        "linear_key_head_dim": 8,
        "linear_value_head_dim": 8,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 4,
        "moe_intermediate_size": 16,
        "shared_expert_intermediate_size": 16,
        "num_experts_per_tok": 2,
        "num_experts": 4,
        "hc_count": 2,
        "hc_lowrank": 8,
        "ngram_vocab_size_base": 64,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 256,
        "indexer_compress_ratio": 4,
    }
    vision = {name: value for name, value in DEEP.items() if name != "deepstack_visual_indexes"}
    config = tf.Qwen4ExpConfig(text_config=text, vision_config=vision, **_ids(words))
    processor = tf.Qwen3VLProcessor(_pictures(), words, _videos(), chat_template=chat(TEMPLATE))
    return tf.Qwen4ExpForConditionalGeneration(config), processor


@architecture("muse_spark")
def muse_spark() -> Made:
    names = ("patch", "image_start", "image_end", "video", "vid_frame_separator", "vid_start")
    sounds = ("vid_end", "audio", "soft_audio_start", "soft_audio_end")
    words = pieces(*(f"<|{name}|>" for name in (*names, *sounds)))
    text = {
        **text_settings(len(words), head_dim=8, bos_token_id=1, eos_token_id=2, pad_token_id=0),
        "layer_types": ["sliding_attention", "full_attention", "sliding_attention"],
        "sliding_window": 8,
        "moe_intermediate_size": 16,
        "moe_hidden_size": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
    }
    vision = {**SHALLOW, "patch_size": 8, "pos_emb_height": 8, "pos_emb_width": 8}
    audio = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "out_hidden_size": 32}
    config = tf.MuseSparkConfig(
        text_config=text,
        vision_config={**vision, "max_position_embeddings": 64},
        audio_config=audio,
        image_token_id=number(words, "<|patch|>"),
        video_token_id=number(words, "<|video|>"),
        audio_token_id=number(words, "<|audio|>"),
        out_hidden_size=128,
        projector_hidden_size=32,
    )
    processor = tf.MuseSparkProcessor(
        tf.MuseGlimmerImageProcessor(patch_size=8, max_image_tokens=32),
        tf.MuseGlimmerVideoProcessor(patch_size=8),
        words,
        tf.MuseSparkFeatureExtractor(),
        chat_template=chat("<|patch|>"),
    )
    return tf.MuseSparkForConditionalGeneration(config), processor


@architecture("dots3_note")
def dots3_note() -> Made:
    words = pieces("<|imgpad|>", "<|video_pad|>", "<|audio_comp_pad|>")
    text = {
        **text_settings(len(words), pad_token_id=0, bos_token_id=1, eos_token_id=2),
        **LATENT,
        "head_dim": 16,
        "layer_types": ["full_attention"] * 3,
        "shared_experts_intermediate_size": 16,
    }
    vision = {
        **SHALLOW,
        "patch_size": 8,
        "moe_intermediate_size": 16,
        "num_local_experts": 4,
        "num_experts_per_tok": 2,
        "adapter_in_dim": 32,
        "adapter_out_dim": 32,
        "mlp_layer_types": ["dense", "dense"],
    }
    audio = {**SHALLOW, "downsample_hidden_size": 8, "feature_size": 16}
    config = tf.Dots3NoteConfig(
        text_config=text,
        vision_config=vision,
        audio_config={**audio, "adapter_input_size": 32, "adapter_out_dim": 32},
        image_token_id=number(words, "<|imgpad|>"),
        video_token_id=number(words, "<|video_pad|>"),
        audio_token_id=number(words, "<|audio_comp_pad|>"),
    )
    size = {"shortest_edge": 32 * 32, "longest_edge": 32 * 64}
    processor = tf.Dots3NoteProcessor(
        tf.Qwen2VLImageProcessor(patch_size=8, temporal_patch_size=1, size=size),
        words,
        tf.Qwen3VLVideoProcessor(patch_size=8, temporal_patch_size=1, size=size),
        tf.Dots3NoteFeatureExtractor(),
        chat_template=chat("<|imgpad|>"),
    )
    return tf.Dots3NoteForConditionalGeneration(config), processor


@architecture("mistral_large4")
def mistral_large4() -> Made:
    words = pieces("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    text = {
        **text_settings(len(words), pad_token_id=0),
        **LATENT,
        "head_dim": 8,
    }
    vision = tf.PixtralVisionConfig(**SHALLOW, image_size=64, patch_size=8, head_dim=8)
    config = tf.MistralLarge4Config(
        vision_config=vision,
        text_config=text,
        image_token_index=number(words, "[IMG]"),
        spatial_merge_size=2,
    )
    processor = tf.PixtralProcessor(
        tf.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=8),
        words,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=chat("[IMG]"),
    )
    return tf.MistralLarge4ForConditionalGeneration(config), processor


@architecture("glm5_next")
def glm5_next() -> Made:
    names = ["<|image|>", "<|video|>"]
    sides = [f"<|{side}_of_{kind}|>" for kind in ("image", "video") for side in ("begin", "end")]
    words = pieces(*names, *sides)
    roles = ("image_token", "video_token", "image_start_token", "image_end_token")
    text = {
        **text_settings(len(words), pad_token_id=0),
        "num_key_value_heads": 4,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "kv_lora_rank": 16,
        "q_lora_rank": 16,
        "v_head_dim": 8,
        "qk_nope_head_dim": 8,
        "index_head_dim": 8,
        "index_n_heads": 2,
        "layer_types": ["linear_attention", "indexed_attention", "linear_attention"],
        "linear_head_dim": 8,
        "linear_num_heads": 4,
        "hc_mult": 2,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 8,
        "image_size": 32,
        "out_hidden_size": 32,
        "projection_intermediate_size": 48,
    }
    ids = _ids(words, **dict(zip(roles, [*names, *sides[:2]], strict=True)))
    config = tf.Glm5NextConfig(text_config=text, vision_config=vision, **ids)
    sizes: dict[str, Any] = {"patch_size": 8, "min_image_tokens": 4, "max_image_tokens": 16}
    processor = tf.Glm5NextProcessor(
        tf.Glm5NextImageProcessor(**sizes),
        words,
        tf.Glm5NextVideoProcessor(patch_size=8),
        chat_template=chat("<|begin_of_image|><|image|><|end_of_image|>"),
    )
    return tf.Glm5NextForConditionalGeneration(config), processor


@architecture("inkling2")
def inkling2() -> Made:
    return _inkling("Inkling2", {})


@architecture("inkling2_loop")
def inkling2_loop() -> Made:
    loop = {"loop_layer_index_start": 2, "loop_layer_index_end": 4, "loop_num_passes": 2}
    return _inkling("Inkling2Loop", {**loop, "loop_gate_rank": 4})


def _inkling(title: str, more: dict[str, Any]) -> Made:
    words = pieces(image_token="<|image|>")
    heads = {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8}
    text = {
        **text_settings(len(words), head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        **heads,
        "num_hidden_layers": 4,
        "unpadded_vocab_size": len(words),
        "sliding_window_size": 8,
        "d_rel": 4,
        "rel_extent": 64,
        "layer_types": ["hybrid_sliding", "hybrid"] * 2,
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_layers_per_attn_res_block": 2,
        **more,
    }
    vision = {
        **SHALLOW,
        "patch_size": 20,
        "posemb_grid_size": 4,
        "projection_hidden_dim": 32,
        "text_hidden_size": 32,
    }
    config = getattr(tf, f"{title}Config")(
        text_config=text, vision_config=vision, image_token_id=number(words, "<|image|>")
    )
    processor = tf.Inkling2Processor(
        tf.Inkling2ImageProcessor(), words, chat_template=chat("<|image|>")
    )
    return getattr(tf, f"{title}ForConditionalGeneration")(config), processor


@architecture("inkling_mm_model")
def inkling() -> Made:
    words = pieces(image_token="<|image|>", audio_token="<|audio|>")
    heads = {"swa_num_attention_heads": 4, "swa_num_key_value_heads": 2, "swa_head_dim": 8}
    text = {
        **text_settings(len(words), head_dim=8, pad_token_id=0, bos_token_id=1, eos_token_id=2),
        **heads,
        "sliding_window_size": 8,
        "d_rel": 4,
        "rel_extent": 64,
        "layer_types": ["hybrid_sliding", "hybrid", "hybrid_sliding"],
        "moe_intermediate_size": 16,
        "n_routed_experts": 4,
        "num_experts_per_tok": 2,
        "n_shared_experts": 1,
    }
    config = tf.InklingConfig(
        text_config=text,
        vision_config={**SHALLOW, "patch_size": 20, "text_hidden_size": 32},
        audio_config={"n_mel_bins": 16, "mel_vocab_size": 16, "text_hidden_size": 32},
        image_token_id=number(words, "<|image|>"),
        audio_token_id=number(words, "<|audio|>"),
    )
    processor = tf.InklingProcessor(
        tf.InklingFeatureExtractor(),
        tf.InklingImageProcessor(size={"height": 20, "width": 20}),
        words,
        chat_template=chat("<|image|>"),
    )
    return tf.InklingForConditionalGeneration(config), processor
