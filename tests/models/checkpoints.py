"""Tiny random checkpoints in hub format: real configurations, tokenizers and processors,
saved by save_pretrained.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

TEXTS = [
    "What color is the circle? Is there a red square on the left? How many small blue triangles "
    "are there?",
    "a photo of a cat, a dog; yes no red green blue two three nothing unknown the mug isn't naïve.",
]


def tokenizer(special: list[str], **named: Any) -> tf.PreTrainedTokenizerFast:
    """A byte-level tokenizer of a few hundred pieces, with these special tokens."""
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
    )
    inner.train_from_iterator(TEXTS, trainer)
    return tf.PreTrainedTokenizerFast(tokenizer_object=inner, **named)


def token_id(words: tf.PreTrainedTokenizerFast, token: str) -> int:
    """The number of one token."""
    found = words.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def chat(image: str) -> str:
    """A chat template with the picture first."""
    return (
        "{% for m in messages %}USER: {% for c in m['content'] %}{% if c['type'] == 'image' %}"
        + image
        + "{% else %}\n{{ c['text'] }}{% endif %}{% endfor %}\n{% endfor %}ASSISTANT:"
    )


SMALL = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
}


def text_settings(size: int, **more: object) -> dict[str, Any]:
    return {
        "vocab_size": size,
        **SMALL,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        **more,
    }


def vision_settings(image: int, patch: int, **more: object) -> dict[str, Any]:
    return {
        **SMALL,
        "image_size": image,
        "patch_size": patch,
        **more,
    }


def llava() -> tuple[Any, Any]:
    words = tokenizer(
        ["<pad>", "<s>", "</s>", "<image>"], pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    config = tf.LlavaConfig(
        vision_config=tf.CLIPVisionConfig(**vision_settings(32, 8)),
        text_config=tf.LlamaConfig(**text_settings(len(words))),
        image_token_index=token_id(words, "<image>"),
    )
    pictures = tf.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor = tf.LlavaProcessor(
        pictures,
        words,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat("<image>"),
    )
    return tf.LlavaForConditionalGeneration(config), processor


def llava_onevision() -> tuple[Any, Any]:
    words = tokenizer(
        ["<pad>", "</s>", "<image>", "<video>"],
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens={"image_token": "<image>", "video_token": "<video>"},
    )
    points = [[32, 32], [32, 64], [64, 32], [64, 64]]
    config = tf.LlavaOnevisionConfig(
        vision_config=tf.SiglipVisionConfig(**vision_settings(32, 8)),
        text_config=tf.Qwen2Config(**text_settings(len(words))),
        image_token_index=token_id(words, "<image>"),
        video_token_index=token_id(words, "<video>"),
        image_grid_pinpoints=points,
    )
    pictures = tf.LlavaOnevisionImageProcessor(
        size={"height": 32, "width": 32}, image_grid_pinpoints=points
    )
    processor = tf.LlavaOnevisionProcessor(
        pictures,
        words,
        tf.LlavaOnevisionVideoProcessor(size={"height": 32, "width": 32}),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
        chat_template=chat("<image>"),
    )
    return tf.LlavaOnevisionForConditionalGeneration(config), processor


def _qwen(version: str) -> tuple[Any, Any]:
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = tokenizer(["<pad>", "</s>", *names], pad_token="<pad>", eos_token="</s>")
    roles = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids: dict[str, Any] = {
        role: token_id(words, name) for role, name in zip(roles, names, strict=True)
    }
    rope = {
        "rope_type": "default",
        "type": "default",
        "mrope_section": [1, 1, 2],
        "rope_theta": 10000.0,
    }
    text = text_settings(len(words), rope_parameters=rope)
    sizes: dict[str, Any] = {"min_pixels": 56 * 56, "max_pixels": 56 * 112}
    vision: dict[str, Any]
    if version == "2":
        vision = {
            "depth": 2,
            "embed_dim": 32,
            "hidden_size": 32,
            "num_heads": 2,
            "patch_size": 14,
            "mlp_ratio": 2,
        }
        module: Any = tf.Qwen2VLForConditionalGeneration(
            tf.Qwen2VLConfig(text_config=text, vision_config=vision, **ids)
        )
        kind: Any = tf.Qwen2VLProcessor
    else:
        vision = {
            "depth": 2,
            "hidden_size": 32,
            "out_hidden_size": 32,
            "intermediate_size": 48,
            "num_heads": 2,
            "patch_size": 14,
            "window_size": 56,
            "fullatt_block_indexes": [1],
        }
        module = tf.Qwen2_5_VLForConditionalGeneration(
            tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
        )
        kind = tf.Qwen2_5_VLProcessor
    template = chat("<|vision_start|><|image_pad|><|vision_end|>")
    pictures = tf.Qwen2VLImageProcessor(**sizes)
    processor = kind(pictures, words, tf.Qwen2VLVideoProcessor(**sizes), chat_template=template)
    return module, processor


def qwen2_vl() -> tuple[Any, Any]:
    return _qwen("2")


def qwen2_5_vl() -> tuple[Any, Any]:
    return _qwen("2.5")


def _idefics(kind: str) -> tuple[Any, Any]:
    marks = [f"<row_{r}_col_{c}>" for r in range(1, 5) for c in range(1, 5)]
    words = tokenizer(
        [
            "<pad>",
            "</s>",
            "<fake_token_around_image>",
            "<image>",
            "<global-img>",
            "<end_of_utterance>",
            *marks,
        ],
        pad_token="<pad>",
        eos_token="</s>",
        extra_special_tokens={
            "fake_image_token": "<fake_token_around_image>",
            "image_token": "<image>",
            "global_image_token": "<global-img>",
            "end_of_utterance_token": "<end_of_utterance>",
        },
    )
    common: dict[str, Any] = {
        "vision_config": vision_settings(32, 8),
        "text_config": tf.LlamaConfig(**text_settings(len(words))),
        "image_token_id": token_id(words, "<image>"),
        "scale_factor": 2,
    }
    sizes: dict[str, Any] = {"size": {"longest_edge": 64}, "max_image_size": {"longest_edge": 32}}
    if kind == "idefics3":
        module: Any = tf.Idefics3ForConditionalGeneration(tf.Idefics3Config(**common))
        processor: Any = tf.Idefics3Processor(
            tf.Idefics3ImageProcessor(**sizes),
            words,
            image_seq_len=4,
            chat_template=chat("<image>"),
        )
        return module, processor
    module = tf.SmolVLMForConditionalGeneration(tf.SmolVLMConfig(**common))
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(**sizes),
        words,
        tf.SmolVLMVideoProcessor(size={"longest_edge": 32}, max_image_size={"longest_edge": 32}),
        image_seq_len=4,
        chat_template=chat("<image>"),
    )
    return module, processor


def idefics3() -> tuple[Any, Any]:
    return _idefics("idefics3")


def smolvlm() -> tuple[Any, Any]:
    return _idefics("smolvlm")


def paligemma() -> tuple[Any, Any]:
    words = tokenizer(
        ["<pad>", "<bos>", "<eos>", "<image>"],
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
    )
    vision = tf.SiglipVisionConfig(**vision_settings(32, 8, projection_dim=32))
    text = tf.GemmaConfig(**text_settings(len(words)), head_dim=8, pad_token_id=0)
    config = tf.PaliGemmaConfig(
        vision_config=vision,
        text_config=text,
        image_token_index=token_id(words, "<image>"),
        projection_dim=32,
    )
    pictures: Any = tf.SiglipImageProcessor(size={"height": 32, "width": 32})
    pictures.image_seq_length = 16  # a name of PaliGemma's that the processor does not declare
    return tf.PaliGemmaForConditionalGeneration(config), tf.PaliGemmaProcessor(pictures, words)


def word_pieces() -> tf.BertTokenizer:
    """A BERT tokenizer of whole words and letters."""
    from vqa_explain.training.scenes import question_words

    letters = "abcdefghijklmnopqrstuvwxyz'?.,"
    words = sorted(
        {w.lower() for w in question_words()}
        | {w.strip("?.,;").lower() for t in TEXTS for w in t.split()}
    )
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[DEC]",
        *words,
        *letters,
        *(f"##{c}" for c in letters),
    ]
    return tf.BertTokenizer(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))})


def bert_settings(size: int, **more: object) -> dict[str, Any]:
    return {
        "vocab_size": size,
        **SMALL,
        "max_position_embeddings": 40,
        **more,
    }


def vilt() -> tuple[Any, Any]:
    words = word_pieces()
    settings = bert_settings(len(words), image_size=48, patch_size=8, num_labels=4)
    config = tf.ViltConfig(**settings)
    config.id2label = dict(enumerate(["yes", "no", "red", "blue"]))
    sizes: dict[str, Any] = {"size": {"shortest_edge": 32}, "size_divisor": 8}
    pictures = tf.ViltImageProcessor(**sizes)
    return tf.ViltForQuestionAnswering(config), tf.ViltProcessor(pictures, words)


def blip() -> tuple[Any, Any]:
    words = word_pieces()
    marks = {
        "bos_token_id": 5,
        "pad_token_id": 0,
        "sep_token_id": 3,
        "eos_token_id": 3,
        "encoder_hidden_size": 32,
    }
    config = tf.BlipConfig(
        text_config={**bert_settings(len(words)), **marks},
        vision_config=vision_settings(32, 8),
        projection_dim=16,
        image_text_hidden_size=16,
    )
    pictures = tf.BlipImageProcessor(size={"height": 32, "width": 32})
    return tf.BlipForQuestionAnswering(config), tf.BlipProcessor(pictures, words)


def lxmert() -> tuple[Any, Any]:
    words = word_pieces()
    config = tf.LxmertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        l_layers=2,
        x_layers=2,
        r_layers=1,
        visual_feat_dim=16,
        num_qa_labels=4,
        max_position_embeddings=40,
    )
    config.id2label = dict(enumerate(["yes", "no", "red", "blue"]))
    return tf.LxmertForQuestionAnswering(config), words


def visual_bert() -> tuple[Any, Any]:
    words = word_pieces()
    config: Any = tf.VisualBertConfig(
        vocab_size=len(words),
        hidden_size=32,
        intermediate_size=48,
        num_attention_heads=4,
        num_hidden_layers=2,
        visual_embedding_dim=16,
        max_position_embeddings=40,
    )
    config.id2label = dict(enumerate(["yes", "no", "red", "blue"]))
    return tf.VisualBertForQuestionAnswering(config), words


def clip() -> tuple[Any, Any]:
    words = tokenizer(
        ["<pad>", "<|startoftext|>", "<|endoftext|>"], pad_token="<pad>", eos_token="<|endoftext|>"
    )
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>",
        special_tokens=[("<|startoftext|>", 1), ("<|endoftext|>", 2)],
    )
    text = {**bert_settings(len(words)), "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = tf.CLIPConfig(
        text_config=text, vision_config=vision_settings(32, 8), projection_dim=16
    )
    pictures = tf.CLIPImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    return tf.CLIPModel(config), tf.CLIPProcessor(pictures, words)


def siglip() -> tuple[Any, Any]:
    words = tokenizer(["<pad>", "</s>"], pad_token="<pad>", eos_token="</s>")
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", 1)]
    )
    text = {
        **bert_settings(len(words)),
        "pad_token_id": 0,
        "eos_token_id": 1,
        "projection_size": 32,
    }
    config = tf.SiglipConfig(text_config=text, vision_config=vision_settings(32, 8))
    pictures = tf.SiglipImageProcessor(size={"height": 32, "width": 32})
    return tf.SiglipModel(config), tf.SiglipProcessor(pictures, words)


def vit() -> tuple[Any, Any]:
    config = tf.ViTConfig(**vision_settings(32, 8, num_labels=3))
    config.id2label = dict(enumerate(["cat", "dog", "cup"]))
    return tf.ViTForImageClassification(config), tf.ViTImageProcessor(
        size={"height": 32, "width": 32}
    )


def swin() -> tuple[Any, Any]:
    settings: dict[str, Any] = {
        "image_size": 32,
        "patch_size": 2,
        "embed_dim": 16,
        "depths": [1, 2],
        "num_heads": [2, 2],
        "window_size": 4,
        "num_labels": 3,
    }
    return tf.SwinForImageClassification(tf.SwinConfig(**settings)), tf.ViTImageProcessor(
        size={"height": 32, "width": 32}
    )


def resnet() -> tuple[Any, Any]:
    settings: dict[str, Any] = {
        "embedding_size": 8,
        "hidden_sizes": [8, 16],
        "depths": [1, 1],
        "layer_type": "basic",
        "num_labels": 3,
    }
    return tf.ResNetForImageClassification(tf.ResNetConfig(**settings)), tf.ViTImageProcessor(
        size={"height": 32, "width": 32}
    )


GENERATIVE = {
    "llava": llava,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "idefics3": idefics3,
    "smolvlm": smolvlm,
    "paligemma": paligemma,
}
OTHERS = {
    "vilt": vilt,
    "blip": blip,
    "lxmert": lxmert,
    "visual_bert": visual_bert,
    "clip": clip,
    "siglip": siglip,
    "vit": vit,
    "swin": swin,
    "resnet": resnet,
}
MAKERS = {**GENERATIVE, **OTHERS}


NEW_TOKENS = 12  # that a network with random weights writes


def randomized(make: Callable[[], tuple[Any, Any]], spread: float = 0.2) -> tuple[Any, Any]:
    """A network and its processor, with the same random weights every time."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, processor = make()
        for weight in module.parameters():
            if weight.ndim > 1:
                # Larger than usual, so that the answer depends on everything.
                torch.nn.init.normal_(weight, std=spread)
    if hasattr(module, "generation_config"):  # what has random weights never ends an answer
        module.generation_config.max_new_tokens = NEW_TOKENS
    return module, processor


def checkpoint(family: str, folder: Path) -> Path:
    """A folder that `vx.load` reads: random weights by a fixed seed."""
    module, processor = randomized(MAKERS[family])
    path = folder / family
    module.save_pretrained(path)
    if processor is not None:
        processor.save_pretrained(path)
    return path
