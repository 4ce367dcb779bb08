"""Networks that read documents."""

from typing import Any

from checkpoints import chat, text_settings, vision_settings
from more_checkpoints import number, pieces

from architectures.base import SHALLOW, SQUARE, Made, architecture, mixed_attention, tf

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


@architecture("minicpmv4_6")
def minicpmv4_6() -> Made:
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
    config = tf.MiniCPMV4_6Config(
        vision_config={**SHALLOW, "image_size": 64, "patch_size": 8},
        text_config={"model_type": "qwen3_5_text", **mixed_attention(len(words))},
        insert_layer_id=0,
        image_size=64,
        image_token_id=number(words, "<|image_pad|>"),
        video_token_id=number(words, "<|video_pad|>"),
    )
    processor = tf.MiniCPMV4_6Processor(
        tf.MiniCPMV4_6ImageProcessor(**sizes),
        tf.MiniCPMV4_6VideoProcessor(**sizes),
        words,
        chat_template=chat("<|image_pad|>"),
    )
    return tf.MiniCPMV4_6ForConditionalGeneration(config), processor
