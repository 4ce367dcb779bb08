"""Tiny random checkpoints of models of two towers: a picture and a text give how well they fit."""

from pathlib import Path
from typing import Any

import transformers as tf
from checkpoints import (
    SMALL,
    bert_settings,
    clip,
    randomized,
    siglip,
    token_id,
    tokenizer,
    vision_settings,
    word_pieces,
)
from more_checkpoints import CROP, SQUARE
from tokenizers import processors

CROP_32: dict[str, Any] = {"crop_size": {"shortest_edge": 32}, "size_divisor": 8}
ENDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}


def ended(start: str, end: str, *more: str) -> Any:
    """A byte-level tokenizer that puts texts between two tokens."""
    words = tokenizer(["<pad>", start, end, *more], pad_token="<pad>", eos_token=end)
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(start, 1), (end, 2)]
    )
    return words


def siglip2() -> tuple[Any, Any]:
    """Pictures of any shape as patches (NaFlex); texts are padded by its processor."""
    special = ["<pad>", "</s>", "<unk>", "<bos>", "<mask>"]
    words = tokenizer(special, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    own = {"max_position_embeddings": 64, "pad_token_id": 0, "eos_token_id": 1}
    text = {**bert_settings(len(words)), **own, "projection_size": 32}
    vision = {**SMALL, "patch_size": 16, "num_patches": 64}
    pictures = tf.Siglip2ImageProcessor()
    processor: Any = tf.Siglip2Processor(pictures, words)
    return tf.Siglip2Model(tf.Siglip2Config(text_config=text, vision_config=vision)), processor


def metaclip_2() -> tuple[Any, Any]:
    words = ended("<|startoftext|>", "<|endoftext|>")
    text = {**bert_settings(len(words)), **ENDS}
    config = tf.MetaClip2Config(
        text_config=text, vision_config=vision_settings(32, 8), projection_dim=16
    )
    return tf.MetaClip2Model(config), tf.CLIPProcessor(tf.CLIPImageProcessor(**CROP), words)


def altclip() -> tuple[Any, Any]:
    """Its text tower counts positions from behind its padding number, as RoBERTa does."""
    words = ended("<s>", "</s>", "<mask>")
    text = {**bert_settings(len(words)), **ENDS, "project_dim": 24, "type_vocab_size": 1}
    config = tf.AltCLIPConfig(
        text_config=text, vision_config=vision_settings(32, 8), projection_dim=16
    )
    return tf.AltCLIPModel(config), tf.AltCLIPProcessor(tf.CLIPImageProcessor(**CROP), words)


def chinese_clip() -> tuple[Any, Any]:
    words = word_pieces()
    config = tf.ChineseCLIPConfig(
        text_config=bert_settings(len(words)),
        vision_config=vision_settings(32, 8),
        projection_dim=16,
    )
    pictures = tf.ChineseCLIPImageProcessor(**SQUARE, do_center_crop=False)
    return tf.ChineseCLIPModel(config), tf.ChineseCLIPProcessor(pictures, words)


def clipseg() -> tuple[Any, Any]:
    words = ended("<|startoftext|>", "<|endoftext|>")
    text = {**bert_settings(len(words)), **ENDS}
    config = tf.CLIPSegConfig(
        text_config=text, vision_config=vision_settings(32, 8), projection_dim=16
    )
    pictures = tf.ViTImageProcessor(**SQUARE)
    return tf.CLIPSegModel(config), tf.CLIPSegProcessor(pictures, words)


def groupvit() -> tuple[Any, Any]:
    words = ended("<|startoftext|>", "<|endoftext|>")
    text = {**bert_settings(len(words)), **ENDS}
    vision: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 48,
        "depths": [1, 1, 1],
        "num_hidden_layers": 3,
        "num_group_tokens": [8, 4, 0],
        "num_output_groups": [8, 4, 0],
        "num_attention_heads": 4,
        "image_size": 32,
        "patch_size": 8,
    }
    config = tf.GroupViTConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=16,
        projection_intermediate_dim=32,
    )
    return tf.GroupViTModel(config), tf.CLIPProcessor(tf.CLIPImageProcessor(**CROP), words)


def align() -> tuple[Any, Any]:
    """Its vision tower is a convolutional network; texts are padded by its processor."""
    words = word_pieces()
    vision = {
        "image_size": 64,
        "width_coefficient": 0.25,
        "depth_coefficient": 0.2,
        "hidden_dim": 64,
        "depth_divisor": 8,
        "drop_connect_rate": 0.0,
    }
    text = bert_settings(len(words), max_position_embeddings=64)
    config = tf.AlignConfig(text_config=text, vision_config=vision, projection_dim=80)
    size: dict[str, Any] = {"size": {"height": 64, "width": 64}}
    pictures = tf.EfficientNetImageProcessor(**size)
    return tf.AlignModel(config), tf.AlignProcessor(pictures, words)


def tipsv2() -> tuple[Any, Any]:
    """Its text tower has no table of positions; texts are padded by its processor."""
    words = tokenizer(["<pad>", "<unk>"], pad_token="<pad>", unk_token="<unk>")
    vision = {**SMALL, "image_size": 32, "patch_size": 8, "mlp_ratio": 1}
    del vision["intermediate_size"]
    config = tf.Tipsv2Config(
        text_config={"vocab_size": len(words), **SMALL, "max_position_embeddings": 64},
        vision_config=vision,
    )
    pictures = tf.Tipsv2ImageProcessor(**SQUARE)
    return tf.Tipsv2Model(config), tf.Tipsv2Processor(pictures, words)


def _blip_config(size: int) -> Any:
    marks = {"bos_token_id": 5, "pad_token_id": 0, "sep_token_id": 3, "eos_token_id": 3}
    return tf.BlipConfig(
        text_config={**bert_settings(size), **marks, "encoder_hidden_size": 32},
        vision_config=vision_settings(32, 8),
        projection_dim=16,
        image_text_hidden_size=16,
    )


def blip_towers() -> tuple[Any, Any]:
    words = word_pieces()
    pictures = tf.BlipImageProcessor(**SQUARE)
    return tf.BlipModel(_blip_config(len(words))), tf.BlipProcessor(pictures, words)


def blip_retrieval() -> tuple[Any, Any]:
    """One stream: its text encoder looks at the picture, and a head says whether they match."""
    words = word_pieces()
    pictures = tf.BlipImageProcessor(**SQUARE)
    module = tf.BlipForImageTextRetrieval(_blip_config(len(words)))
    return module, tf.BlipProcessor(pictures, words)


def blip_2_retrieval(queries: int = 4) -> tuple[Any, Any]:
    """Its processor puts a place for each query before the text."""
    words = word_pieces()
    words.add_tokens(["<image>"], special_tokens=True)
    common = {**SMALL, "cross_attention_frequency": 2, "encoder_hidden_size": 32}
    own = {"vocab_size": len(words), "max_position_embeddings": 40}
    config = tf.Blip2Config(
        vision_config=vision_settings(32, 8),
        qformer_config={**common, **own, "use_qformer_text_input": True},
        num_query_tokens=queries,
        image_text_hidden_size=16,
        image_token_index=token_id(words, "<image>"),
    )
    pictures = tf.BlipImageProcessor(**SQUARE)
    processor = tf.Blip2Processor(pictures, words, num_query_tokens=queries)
    return tf.Blip2ForImageTextRetrieval(config), processor


def bridgetower() -> tuple[Any, Any]:
    """Two towers with layers across them, and a head that says whether text and picture match."""
    words = ended("<s>", "</s>", "<mask>")
    own = {"max_position_embeddings": 64, "type_vocab_size": 1, "pad_token_id": 0}
    vision = {"hidden_size": 64, "num_hidden_layers": 3, "patch_size": 8, "image_size": 32}
    text = {**bert_settings(len(words)), **own, "num_hidden_layers": 3}
    config = tf.BridgeTowerConfig(
        text_config=text,
        vision_config=vision,
        hidden_size=32,
        num_attention_heads=4,
        num_hidden_layers=2,
    )
    pictures = tf.BridgeTowerImageProcessor(size={"shortest_edge": 32}, **CROP_32)
    return tf.BridgeTowerForImageAndTextRetrieval(config), tf.BridgeTowerProcessor(pictures, words)


def _flava() -> tuple[Any, Any]:
    """A configuration and a processor."""
    words = word_pieces()
    config = tf.FlavaConfig(
        text_config=bert_settings(len(words)),
        image_config=vision_settings(32, 8),
        multimodal_config=dict(SMALL),
        image_codebook_config={},
        hidden_size=32,
        projection_dim=16,
        init_codebook=False,
    )
    config.return_loss = False  # else its plain call wants what only training has
    pictures = tf.FlavaImageProcessor(**(CROP | SQUARE))
    return config, tf.FlavaProcessor(pictures, words)


def flava() -> tuple[Any, Any]:
    """It takes as many pictures as texts, and asks its embedding twice."""
    config, processor = _flava()
    return tf.FlavaForPreTraining(config), processor


def flava_alone() -> tuple[Any, Any]:
    """Its plain call gives states of both towers and no score."""
    config, processor = _flava()
    return tf.FlavaModel(config), processor


def xclip() -> tuple[Any, Any]:
    """Videos and texts."""
    words = ended("<|startoftext|>", "<|endoftext|>")
    text = {**bert_settings(len(words)), **ENDS}
    vision = {**vision_settings(32, 8), "num_frames": 2, "mit_hidden_size": 32}
    more = {"mit_intermediate_size": 48, "mit_num_attention_heads": 4, "mit_num_hidden_layers": 1}
    config = tf.XCLIPConfig(text_config=text, vision_config={**vision, **more}, projection_dim=16)
    pictures = tf.VideoMAEImageProcessor(**CROP)
    return tf.XCLIPModel(config), tf.XCLIPProcessor(pictures, words)


TOWERS = {
    "clip": clip,
    "siglip": siglip,
    "align": align,
    "altclip": altclip,
    "blip": blip_towers,
    "blip_2": blip_2_retrieval,
    "blip_retrieval": blip_retrieval,
    "bridgetower": bridgetower,
    "chinese_clip": chinese_clip,
    "clipseg": clipseg,
    "flava": flava,
    "groupvit": groupvit,
    "metaclip_2": metaclip_2,
    "siglip2": siglip2,
    "tipsv2": tipsv2,
}
REFUSED = {"flava_alone": flava_alone, "xclip": xclip}


def tower_checkpoint(name: str, folder: Path) -> Path:
    """A folder that `vx.load` reads: random weights by a fixed seed."""
    module, processor = randomized({**TOWERS, **REFUSED}[name])
    path = folder / name
    module.save_pretrained(path)
    processor.save_pretrained(path)
    return path
