"""LLaVA and its kin: picture tokens among the words of a decoder."""

from checkpoints import chat, text_settings, vision_settings
from more_checkpoints import CROP, SQUARE, number, pieces

from architectures.base import POINTS, SHALLOW, Made, architecture, tf


@architecture("llava_next")
def llava_next() -> Made:
    words = pieces(image_token="<image>")
    config = tf.LlavaNextConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
        image_grid_pinpoints=POINTS,
    )
    pictures = tf.LlavaNextImageProcessor(
        **CROP,
        image_grid_pinpoints=POINTS,
    )
    processor = tf.LlavaNextProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaNextForConditionalGeneration(config), processor


@architecture("llava")
def llava_siglip_full() -> Made:
    words = pieces(image_token="<image>")
    config = tf.LlavaConfig(
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8)),
        text_config=tf.Qwen2Config(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    processor = tf.LlavaProcessor(
        tf.SiglipImageProcessor(**SQUARE),
        words,
        patch_size=8,
        vision_feature_select_strategy="full",
        chat_template=chat("<image>"),
    )
    return tf.LlavaForConditionalGeneration(config), processor


@architecture("vipllava")
def vipllava() -> Made:
    words = pieces(image_token="<image>")
    config = tf.VipLlavaConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
        vision_feature_layers=[-2, -3],
    )
    config.vision_feature_layer = (-2, -3)
    pictures = tf.CLIPImageProcessor(**CROP)
    processor = tf.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.VipLlavaForConditionalGeneration(config), processor


@architecture("llava_next_video")
def llava_next_video() -> Made:
    words = pieces(image_token="<image>", video_token="<video>")
    config = tf.LlavaNextVideoConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
        video_token_index=number(words, "<video>"),
        image_grid_pinpoints=POINTS,
    )
    pictures = tf.LlavaNextImageProcessor(
        **CROP,
        image_grid_pinpoints=POINTS,
    )
    processor = tf.LlavaNextVideoProcessor(
        tf.LlavaNextVideoVideoProcessor(**CROP),
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaNextVideoForConditionalGeneration(config), processor


def _pixtral(kind: str) -> Made:
    words = pieces("[IMG]", "[IMG_BREAK]", "[IMG_END]")
    vision = tf.PixtralVisionConfig(
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        image_size=64,
        patch_size=8,
        head_dim=8,
    )
    text = tf.MistralConfig(**text_settings(len(words)), head_dim=8)
    pictures = tf.PixtralImageProcessor(size={"longest_edge": 64}, patch_size=8)
    if kind == "mistral3":
        config = tf.Mistral3Config(
            vision_config=vision,
            text_config=text,
            image_token_index=number(words, "[IMG]"),
            spatial_merge_size=2,
        )
        return tf.Mistral3ForConditionalGeneration(config), tf.PixtralProcessor(
            pictures, words, patch_size=8, spatial_merge_size=2, chat_template=chat("[IMG]")
        )
    config = tf.LlavaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=number(words, "[IMG]"),
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
    )
    return tf.LlavaForConditionalGeneration(config), tf.PixtralProcessor(
        pictures, words, patch_size=8, spatial_merge_size=1, chat_template=chat("[IMG]")
    )


@architecture("llava")
def pixtral() -> Made:
    return _pixtral("llava")


@architecture("mistral3")
def mistral3() -> Made:
    return _pixtral("mistral3")


@architecture("video_llama_3")
def video_llama_3() -> Made:
    words = pieces(image_token="<image>", video_token="<video>")
    vision = {
        **SHALLOW,
        "patch_size": 8,
    }
    config = tf.VideoLlama3Config(
        text_config=tf.Qwen2Config(**text_settings(len(words))).to_dict(),
        vision_config=vision,
        image_token_id=number(words, "<image>"),
        video_token_id=number(words, "<video>"),
    )
    size = {"min_pixels": 32 * 32, "max_pixels": 64 * 64, "patch_size": 8}
    processor = tf.VideoLlama3Processor(
        tf.VideoLlama3ImageProcessor(**size),
        words,
        tf.VideoLlama3VideoProcessor(**size),
        chat_template=chat("<image>"),
    )
    return tf.VideoLlama3ForConditionalGeneration(config), processor


@architecture("fast_vlm", spread=0.12)
def fast_vlm() -> Made:
    words = pieces(image_token="<image>")
    vision = {
        "architecture": "fastvit_mci0",
        "do_pooling": True,
        "global_pool": "avg",
        "hidden_size": 1024,
        "model_type": "timm_wrapper",
        "initializer_range": 0.02,
        "model_args": {"inference_mode": True},
    }
    config = tf.FastVlmConfig(
        vision_config=vision,
        text_config=tf.Qwen2Config(**text_settings(len(words))),
        image_token_index=number(words, "<image>"),
    )
    pictures = tf.CLIPImageProcessor(
        size={"shortest_edge": 256}, crop_size={"height": 256, "width": 256}
    )
    processor = tf.LlavaProcessor(
        pictures,
        words,
        patch_size=32,
        vision_feature_select_strategy="full",
        num_additional_image_tokens=0,
        chat_template=chat("<image>"),
    )
    return tf.FastVlmForConditionalGeneration(config), processor
