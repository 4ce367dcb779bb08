"""The GLM-V line."""

from checkpoints import chat, text_settings
from more_checkpoints import number, pieces

from architectures.base import Made, architecture, numbers, tf


def _glm(kind: str) -> Made:
    names = [
        "<|image|>",
        "<|video|>",
        "<|begin_of_image|>",
        "<|end_of_image|>",
        "<|begin_of_video|>",
        "<|end_of_video|>",
    ]
    words = pieces(*names)
    roles = (
        "image_token_id",
        "video_token_id",
        "image_start_token_id",
        "image_end_token_id",
        "video_start_token_id",
        "video_end_token_id",
    )
    ids = dict(zip(roles, numbers(words, names), strict=True))
    rope = {
        "rope_type": "default",
        "mrope_section": [1, 1, 2],
        "rope_theta": 10000.0,
        "partial_rotary_factor": 1.0,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 8,
        "image_size": 32,
        "out_hidden_size": 32,
        "spatial_merge_size": 2,
        "temporal_patch_size": 2,
    }
    text = text_settings(len(words), rope_parameters=rope, head_dim=8)
    network, reader = {
        "glm4v": ("Glm4v", "Glm4v"),
        "glm46v": ("Glm46V", "Glm46V"),
        "glm_ocr": ("GlmOcr", "Glm46V"),
        "glm4v_moe": ("Glm4vMoe", "Glm4v"),
    }[kind]
    if kind == "glm4v_moe":
        text |= {
            "n_routed_experts": 4,
            "n_shared_experts": 1,
            "num_experts_per_tok": 2,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
            "n_group": 1,
            "topk_group": 1,
        }
    config = getattr(tf, network + "Config")(text_config=text, vision_config=vision, **ids)
    size = {"shortest_edge": 32 * 32 * 2, "longest_edge": 32 * 64 * 2}
    pictures = getattr(tf, reader + "ImageProcessor")(patch_size=8, size=size)
    videos = getattr(tf, reader + "VideoProcessor")(patch_size=8, size=size)
    processor = getattr(tf, reader + "Processor")(
        pictures, words, videos, chat_template=chat("<|begin_of_image|><|image|><|end_of_image|>")
    )
    return getattr(tf, network + "ForConditionalGeneration")(config), processor


@architecture("glm4v")
def glm4v() -> Made:
    return _glm("glm4v")


@architecture("glm46v")
def glm46v() -> Made:
    return _glm("glm46v")


@architecture("glm_ocr")
def glm_ocr() -> Made:
    return _glm("glm_ocr")


@architecture("glm4v_moe")
def glm4v_moe() -> Made:
    return _glm("glm4v_moe")


@architecture("ernie4_5_vl_moe")
def ernie4_5_vl_moe() -> Made:
    names = {
        f"{kind}_{role}token": f"<|{kind}_{role}token|>"
        for kind in ("image", "video")
        for role in ("", "start_", "end_")
    }
    words = pieces(**names)
    rope = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
    text = {
        **text_settings(len(words), rope_parameters=rope),
        "moe_intermediate_size": [16, 16],
        "moe_k": 2,
        "moe_num_experts": 4,
        "moe_num_shared_experts": 1,
    }
    vision = {
        "depth": 2,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_heads": 4,
        "patch_size": 8,
    }
    ids = {f"{name}_id": number(words, token) for name, token in names.items()}
    config = tf.Ernie4_5_VLMoeConfig(text_config=text, vision_config=vision, **ids)
    size = {"shortest_edge": 32 * 32, "longest_edge": 32 * 64}
    processor = tf.Ernie4_5_VLMoeProcessor(
        tf.Ernie4_5_VLMoeImageProcessor(patch_size=8, size=size),
        words,
        tf.Ernie4_5_VLMoeVideoProcessor(patch_size=8, size=size),
        chat_template=chat("<|image_start_token|><|image_token|><|image_end_token|>"),
    )
    return tf.Ernie4_5_VLMoeForConditionalGeneration(config), processor
