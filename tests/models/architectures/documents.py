"""Networks that read documents."""

from typing import Any

from checkpoints import chat, text_settings, vision_settings
from more_checkpoints import SQUARE, number, pieces

from architectures.base import SHALLOW, Made, architecture, mixed_attention, tf

EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "mlp_layer_types": ["dense", "sparse", "sparse"],
}
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
SIZE = {"shortest_edge": 32 * 32, "longest_edge": 32 * 64}


@architecture("paddleocr_vl")
def paddleocr_vl() -> Made:
    words = pieces(
        image_token="<|IMAGE_PLACEHOLDER|>",
        video_token="<|video_pad|>",
        vision_start_token="<|IMAGE_START|>",
        vision_end_token="<|IMAGE_END|>",
    )
    config = tf.PaddleOCRVLConfig(
        text_config=text_settings(len(words), rope_parameters=ROPE, head_dim=8),
        vision_config={**SHALLOW, "image_size": 32, "patch_size": 8},
        image_token_id=number(words, "<|IMAGE_PLACEHOLDER|>"),
        video_token_id=number(words, "<|video_pad|>"),
        vision_start_token_id=number(words, "<|IMAGE_START|>"),
        vision_end_token_id=number(words, "<|IMAGE_END|>"),
    )
    template = chat("<|IMAGE_START|><|IMAGE_PLACEHOLDER|><|IMAGE_END|>")
    pictures = tf.PaddleOCRVLImageProcessor(patch_size=8, size=SIZE)
    processor = tf.PaddleOCRVLProcessor(pictures, words, chat_template=template)
    return tf.PaddleOCRVLForConditionalGeneration(config), processor


@architecture("lighton_ocr")
def lighton_ocr() -> Made:
    words = pieces(
        image_token="<|image_pad|>",
        image_break_token="<|vision_pad|>",
        image_end_token="<|vision_end|>",
    )
    vision = tf.PixtralVisionConfig(**SHALLOW, image_size=64, patch_size=8, head_dim=8)
    config = tf.LightOnOcrConfig(
        vision_config=vision,
        text_config=tf.Qwen3Config(**text_settings(len(words)), head_dim=8),
        image_token_id=number(words, "<|image_pad|>"),
        spatial_merge_size=2,
    )
    processor = tf.LightOnOcrProcessor(
        tf.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=16),
        words,
        patch_size=8,
        spatial_merge_size=2,
        chat_template=chat("<|image_pad|>"),
    )
    return tf.LightOnOcrForConditionalGeneration(config), processor


@architecture("granite_docling")
def granite_docling() -> Made:
    tiles = [f"<row_{row}_col_{column}>" for row in range(1, 5) for column in range(1, 5)]
    words = pieces("<fake_token_around_image>", "<global-img>", *tiles, image_token="<image>")
    vision = vision_settings(
        32, 8, out_hidden_size=32, scale_factor=2, deepstack_visual_indexes=[0, 1]
    )
    text = text_settings(len(words), pad_token_id=0, bos_token_id=1, eos_token_id=2)
    config = tf.GraniteDoclingConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=number(words, "<image>"),
        pad_token_id=0,
    )
    processor = tf.GraniteDoclingProcessor(
        tf.GraniteDoclingImageProcessor(**SQUARE, max_patches=4),
        words,
        image_seq_len=4,
        chat_template=chat("<image>"),
    )
    return tf.GraniteDoclingForConditionalGeneration(config), processor


@architecture("hunyuan_vl")
def hunyuan_vl() -> Made:
    words = pieces(image_token="<img>", image_start_token="<im_start>", image_end_token="<im_end>")
    vision = {
        **SHALLOW,
        "out_hidden_size": 32,
        "patch_size": 8,
        "img_max_token_num": 64,
        "max_image_size": 64,
        "min_image_size": 32,
        "text_hidden_size": 32,
    }
    text = text_settings(len(words), rope_parameters=ROPE, head_dim=8)
    config = tf.HunYuanVLConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=number(words, "<img>"),
        image_start_token_id=number(words, "<im_start>"),
        image_end_token_id=number(words, "<im_end>"),
    )
    pictures = tf.HunYuanVLImageProcessor(patch_size=8, size=SIZE)
    processor = tf.HunYuanVLProcessor(
        pictures, words, chat_template=chat("<im_start><img><im_end>")
    )
    return tf.HunYuanVLForConditionalGeneration(config), processor


def _minicpm(title: str, reader: str, **more: Any) -> Made:
    words = pieces(
        image_token="<|image_pad|>",
        video_token="<|video_pad|>",
        image_start_token="<image>",
        image_end_token="</image>",
        slice_start_token="<slice>",
        slice_end_token="</slice>",
        image_id_start_token="<image_id>",
        image_id_end_token="</image_id>",
    )
    sizes: dict[str, Any] = {"scale_resolution": 64, "patch_size": 8, "max_slice_nums": 4}
    marks = {
        "image_start_id": "<image>",
        "image_end_id": "</image>",
        "slice_start_id": "<slice>",
        "slice_end_id": "</slice>",
    }
    ids = {name: number(words, token) for name, token in marks.items()}
    config = getattr(tf, f"{title}Config")(
        vision_config={**SHALLOW, "image_size": 64, "patch_size": 8},
        text_config={"model_type": "qwen3_5_text", **mixed_attention(len(words))},
        insert_layer_id=0,
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
        **(ids if title.endswith("7") else {}),
        **more,
    )
    processor = getattr(tf, f"{title}Processor")(
        getattr(tf, f"{reader}ImageProcessor")(**sizes),
        getattr(tf, f"{reader}VideoProcessor")(**sizes),
        words,
        chat_template=chat("<|image_pad|>"),
    )
    return getattr(tf, f"{title}ForConditionalGeneration")(config), processor


@architecture("minicpmv4_6")
def minicpmv4_6() -> Made:
    return _minicpm("MiniCPMV4_6", "MiniCPMV4_6", image_size=64)


@architecture("minicpmv4_7")
def minicpmv4_7() -> Made:
    return _minicpm("MiniCPMV4_7", "MiniCPMV4_6", image_size=64)


@architecture("minicpm_ocr")
def minicpm_ocr() -> Made:
    return _minicpm("MiniCPMOcr", "MiniCPMOcr")


@architecture("deepseek_ocr2")
def deepseek_ocr2() -> Made:
    """Its encoder has 256 queries for a picture and 144 for a tile, whatever their sizes."""
    words = pieces(image_token="<image>")
    sam = {
        "hidden_size": 32,
        "output_channels": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 512,
        "patch_size": 8,
        "window_size": 8,
        "global_attn_indexes": [],
        "mlp_dim": 48,
        "downsample_channels": [16, 32],
    }
    text = {**text_settings(len(words)), **EXPERTS}
    encoder = {**SHALLOW, "num_key_value_heads": 2, "vocab_size": 8}
    config = tf.DeepseekOcr2Config(
        vision_config={"sam_config": sam, "encoder_config": encoder},
        text_config=text,
        image_token_id=number(words, "<image>"),
    )
    pictures = tf.DeepseekOcr2ImageProcessor(size={"height": 512, "width": 512}, tile_size=384)
    processor = tf.DeepseekOcr2Processor(
        pictures, words, patch_size=8, downsample_ratio=4, chat_template=chat("<image>")
    )
    return tf.DeepseekOcr2ForConditionalGeneration(config), processor


@architecture("unlimited_ocr")
def unlimited_ocr() -> Made:
    words = pieces(image_token="<image>")
    sam = {
        "hidden_size": 32,
        "output_channels": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 4,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
        "downsample_channels": [16, 32],
    }
    text = {**text_settings(len(words)), **EXPERTS}
    encoder = {**SHALLOW, "image_size": 64, "patch_size": 16}
    config = tf.UnlimitedOcrConfig(
        vision_config={"sam_config": sam, "encoder_config": encoder},
        text_config=text,
        image_token_id=number(words, "<image>"),
    )
    pictures = tf.UnlimitedOcrImageProcessor(
        size={"height": 64, "width": 64}, tile_size=64, max_patches=4
    )
    processor = tf.UnlimitedOcrProcessor(
        pictures, words, patch_size=4, downsample_ratio=4, chat_template=chat("<image>")
    )
    return tf.UnlimitedOcrForConditionalGeneration(config), processor
