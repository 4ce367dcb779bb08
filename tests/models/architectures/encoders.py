"""Encoder-decoders, networks with a resampler, and others unlike LLaVA."""

import string
from typing import Any

from checkpoints import SMALL, chat, text_settings
from more_checkpoints import SQUARE, number, pieces
from tokenizers import processors

from architectures.base import (
    SHALLOW,
    Made,
    architecture,
    from_film,
    from_picture,
    from_question,
    tf,
)


def _llama(size: int) -> Any:
    return tf.LlamaConfig(**text_settings(size))


def _opt(size: int) -> Any:
    return tf.OPTConfig(
        vocab_size=size,
        hidden_size=32,
        word_embed_proj_dim=32,
        ffn_dim=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        max_position_embeddings=256,
    )


def _t5(size: int) -> Any:
    return tf.T5Config(
        vocab_size=size,
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=0,
        pad_token_id=0,
    )


def syllables() -> Any:
    """A tokenizer of BERT's kind, that cuts longer words in two and those it does not know into
    letters.
    """
    known = ["what", "is", "it", "the", "col", "##or", "cir", "##cle", "?"]
    letters = [mark + letter for mark in ("", "##") for letter in string.ascii_lowercase]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    numbers = {token: number for number, token in enumerate([*special, *known, *letters])}
    return tf.BertTokenizer(vocab=numbers)


def _blip(title: str, language: Any) -> Made:
    is_video = title == "InstructBlipVideo"
    words = pieces("<video>") if is_video else pieces()
    pictures = (tf.InstructBlipVideoVideoProcessor if is_video else tf.BlipImageProcessor)(**SQUARE)
    # InstructBLIP's resampler reads the question with a tokenizer of its own.
    tokenizers = (words, syllables()) if title.startswith("InstructBlip") else (words,)
    processor = getattr(tf, title + "Processor")(pictures, *tokenizers, num_query_tokens=4)
    vision = {
        **SHALLOW,
        "image_size": 32,
        "patch_size": 8,
    }
    resampler = {
        **SHALLOW,
        "encoder_hidden_size": 32,
        "vocab_size": len(tokenizers[-1]),
        "max_position_embeddings": 64,
    }
    kind = "video" if is_video else "image"
    config = getattr(tf, title + "Config")(
        vision_config=vision,
        qformer_config=resampler,
        text_config=language(len(words)).to_dict(),
        num_query_tokens=4,
        **{f"{kind}_token_index": number(words, f"<{kind}>")},
    )
    return getattr(tf, title + "ForConditionalGeneration")(config), processor


@architecture("blip-2", call=from_question)
def blip2_opt() -> Made:
    return _blip("Blip2", _opt)


@architecture("blip-2", encoder_decoder=True, call=from_question)
def blip2_t5() -> Made:
    return _blip("Blip2", _t5)


@architecture("instructblip", call=from_question)
def instructblip_vicuna() -> Made:
    return _blip("InstructBlip", _llama)


@architecture("instructblip", encoder_decoder=True, call=from_question)
def instructblip_t5() -> Made:
    return _blip("InstructBlip", _t5)


@architecture("instructblipvideo", call=from_film)
def instructblipvideo_vicuna() -> Made:
    return _blip("InstructBlipVideo", _llama)


@architecture("instructblipvideo", encoder_decoder=True, call=from_film)
def instructblipvideo_t5() -> Made:
    return _blip("InstructBlipVideo", _t5)


@architecture("florence2", encoder_decoder=True, start=2, call=from_question)
def florence2() -> Made:
    words = pieces(image_token="<image>")
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    vision = {
        "depths": (1, 1),
        "embed_dim": (16, 32),
        "num_heads": (2, 2),
        "num_groups": (2, 2),
        "patch_size": (7, 3),
        "patch_stride": (4, 2),
        "patch_padding": (3, 1),
        "patch_prenorm": (False, True),
        "window_size": 4,
        "projection_dim": 32,
        "max_position_embeddings": 16,
        "drop_path_rate": 0.0,
    }
    text = {
        "vocab_size": len(words),
        "d_model": 32,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "encoder_ffn_dim": 48,
        "decoder_ffn_dim": 48,
        "max_position_embeddings": 256,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "decoder_start_token_id": 2,
    }
    config = tf.Florence2Config(
        vision_config=vision, text_config=text, image_token_id=number(words, "<image>")
    )
    pictures = tf.CLIPImageProcessor(
        **SQUARE,
        crop_size=SQUARE["size"],
        do_center_crop=False,
    )
    pictures.image_seq_length = 17
    processor = tf.Florence2Processor(pictures, words, num_additional_image_tokens=1)
    return tf.Florence2ForConditionalGeneration(config), processor


@architecture("vision-encoder-decoder", encoder_decoder=True, start=1, call=from_picture)
def donut() -> Made:
    words = pieces()
    encoder = tf.DonutSwinConfig(
        image_size=[32, 32],
        patch_size=4,
        embed_dim=16,
        depths=[1, 1],
        num_heads=[2, 2],
        window_size=4,
    )
    decoder = tf.MBartConfig(
        vocab_size=len(words),
        d_model=32,
        decoder_layers=2,
        decoder_attention_heads=4,
        decoder_ffn_dim=48,
        is_decoder=True,
        add_cross_attention=True,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    config = tf.VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = 1
    config.pad_token_id = 0
    return tf.VisionEncoderDecoderModel(config), tf.DonutProcessor(
        tf.DonutImageProcessor(**SQUARE), words
    )


def _without_a_header(processor: Any, picture: Any, _question: str) -> dict[str, Any]:
    """Pix2Struct as a captioner: a question would be drawn with a font that is downloaded."""
    found = from_picture(processor, picture, "")
    return {name: found[name] for name in ("flattened_patches", "attention_mask")}


@architecture("got_ocr2")
def got_ocr2() -> Made:
    words = pieces("<imgpad>", "<img>", "</img>", "<|im_start|>", "<|im_end|>")
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 256,
        "patch_size": 4,
        "output_channels": 16,
        "window_size": 8,
        "global_attn_indexes": [],  # 4096 patches: over windows alone
        "mlp_dim": 48,
    }
    config = tf.GotOcr2Config(
        vision_config=vision,
        text_config=tf.Qwen2Config(**text_settings(len(words))).to_dict(),
        image_token_index=number(words, "<imgpad>"),
        image_seq_length=256,
    )
    processor = tf.GotOcr2Processor(
        tf.GotOcr2ImageProcessor(size={"height": 256, "width": 256}),
        words,
        chat_template=chat("<img><imgpad></img>"),
    )
    return tf.GotOcr2ForConditionalGeneration(config), processor


@architecture("pix2struct", encoder_decoder=True, call=_without_a_header)
def pix2struct() -> Made:
    words = pieces("<unk>")
    small = {"hidden_size": 32, "d_ff": 48, "d_kv": 8}
    vision = {**small, "num_hidden_layers": 2, "num_attention_heads": 4, "seq_len": 64}
    text = {**small, "vocab_size": len(words), "num_layers": 2, "num_heads": 4}
    config = tf.Pix2StructConfig(
        text_config=text, vision_config={**vision, "patch_embed_hidden_size": 192}, is_vqa=False
    )
    patches: dict[str, Any] = {
        "patch_size": {"height": 8, "width": 8},
        "max_patches": 32,
        "is_vqa": False,
    }
    pictures = tf.Pix2StructImageProcessor(**patches)
    processor = tf.Pix2StructProcessor(pictures, words)
    return tf.Pix2StructForConditionalGeneration(config), processor


def from_parts(processor: Any, picture: Any, question: str) -> dict[str, Any]:
    """The processor's output for a prompt that is a list of pictures and texts."""
    return dict(processor(text=[[picture, question]], images=None, return_tensors="pt"))


@architecture("idefics", call=from_parts)
def idefics() -> Made:
    words = pieces("<image>", "<fake_token_around_image>", "<end_of_utterance>")
    vision = {
        "embed_dim": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    config = tf.IdeficsConfig(
        vocab_size=len(words),
        **SMALL,
        vision_config=vision,
        alpha_initializer="ones",  # at 0 no picture would count
        freeze_text_layers=False,
        freeze_vision_layers=False,
    )
    pictures = tf.IdeficsImageProcessor(**SQUARE, image_size=32)
    return tf.IdeficsForVisionText2Text(config), tf.IdeficsProcessor(pictures, words)


def _formula_reader(**settings: Any) -> Made:
    words = pieces()
    vision = {
        "hidden_size": 32,
        "output_channels": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "image_size": 64,
        "patch_size": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 48,
        "post_conv_in_channels": 16,
        "post_conv_mid_channels": 16,
        "post_conv_out_channels": 32,
        "decoder_hidden_size": 32,
    }
    text = {
        "vocab_size": len(words),
        "max_position_embeddings": 64,
        "decoder_layers": 2,
        "decoder_ffn_dim": 48,
        "decoder_attention_heads": 4,
        "d_model": 32,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    config = tf.PPFormulaNetConfig(text_config=text, vision_config=vision)
    pictures = tf.PPFormulaNetImageProcessor(size={"height": 64, "width": 64}, **settings)
    return tf.PPFormulaNetForConditionalGeneration(config), tf.PPFormulaNetProcessor(
        pictures, words
    )


@architecture("pp_formulanet", encoder_decoder=True, start=2, call=from_picture)
def pp_formulanet() -> Made:
    """Its processor crops the margin by what the picture shows, which cannot be followed."""
    return _formula_reader()


@architecture("pp_formulanet", encoder_decoder=True, start=2, call=from_picture)
def pp_formulanet_uncropped() -> Made:
    return _formula_reader(do_crop_margin=False)
