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
