"""Random networks of published sizes, with tiny tokenizers: nothing is downloaded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers as tf

import vqa_explain as vx
from vqa_explain.training.scenes import question_words
from vqa_explain.training.vilt import make_processor

sys.path.append(str(Path(__file__).resolve().parent.parent / "tests" / "models"))
import checkpoints

QUESTION = "What color is the circle?"
Made = tuple[Any, Any]  # a network and its processor


def vilt() -> Made:
    """ViLT, 118 M parameters: 384 pixels in patches of 32, 12 layers."""
    module = tf.ViltForQuestionAnswering(tf.ViltConfig(num_labels=100))
    return module, make_processor(question_words(), 384, 32)


def smolvlm() -> Made:
    """SmolVLM-256M: frames of 512 pixels that become 64 tokens, 12 and 30 layers."""
    small, processor = checkpoints.smolvlm()
    text = tf.LlamaConfig(
        vocab_size=49280,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
    )
    vision = {**checkpoints.vision_settings(512, 16), "hidden_size": 768, "intermediate_size": 3072}
    vision |= {"num_hidden_layers": 12, "num_attention_heads": 12}
    config = tf.SmolVLMConfig(
        vision_config=vision,
        text_config=text,
        image_token_id=small.config.image_token_id,
        scale_factor=4,
    )
    sizes = {"size": {"longest_edge": 512}, "max_image_size": {"longest_edge": 512}}
    processor = tf.SmolVLMProcessor(
        tf.SmolVLMImageProcessor(**sizes),
        processor.tokenizer,
        processor.video_processor,
        image_seq_len=64,
        chat_template=processor.chat_template,
    )
    return tf.SmolVLMForConditionalGeneration(config), processor


def qwen2_5_vl(layers: int = 36, vision_layers: int = 32) -> Made:
    """Qwen2.5-VL-3B, or with fewer layers of the same widths; about 250 tokens for a picture."""
    small, processor = checkpoints.qwen2_5_vl()
    roles = ("vision_start", "vision_end", "image", "video")
    ids = {f"{role}_token_id": getattr(small.config, f"{role}_token_id") for role in roles}
    text = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 11008,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 2,
        "rope_parameters": {
            "rope_type": "default",
            "type": "default",
            "mrope_section": [16, 24, 24],
            "rope_theta": 1000000.0,
        },
    }
    vision = {
        "depth": vision_layers,
        "hidden_size": 1280,
        "out_hidden_size": 2048,
        "intermediate_size": 3420,
        "num_heads": 16,
        "fullatt_block_indexes": [n for n in range(vision_layers) if n % 8 == 7 or n == 1],
    }
    config = tf.Qwen2_5_VLConfig(text_config=text, vision_config=vision, **ids)
    pictures = tf.Qwen2VLImageProcessor(min_pixels=56 * 56, max_pixels=448 * 448)
    processor = tf.Qwen2_5_VLProcessor(
        pictures,
        processor.tokenizer,
        processor.video_processor,
        chat_template=processor.chat_template,
    )
    return tf.Qwen2_5_VLForConditionalGeneration(config), processor


# Name → the network of published size, and a tiny one of the same form.
NETWORKS: dict[str, tuple[Callable[[], Made], Callable[[], Made]]] = {
    "ViLT": (vilt, checkpoints.MAKERS["vilt"]),
    "SmolVLM-256M": (smolvlm, checkpoints.smolvlm),
    "Qwen2.5-VL-3B": (qwen2_5_vl, checkpoints.qwen2_5_vl),
}


def drawn(make: Callable[[], Made]) -> Made:
    """A network with the same random weights every time, and its processor."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, processor = make()
    return module.eval(), processor


def picture_of(seed: int = 0, shape: tuple[int, int] = (384, 512)) -> np.ndarray:
    """A picture of noise."""
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def example() -> vx.Example:
    return vx.Example(picture_of(), QUESTION)


def encoded_tensors(model: Any) -> dict[str, torch.Tensor]:
    """What the processor gives for the example, on the model's device and in its number type."""
    found = model.processor(**_prompt(model), return_tensors="pt")
    dtype = next(model.module.parameters()).dtype
    tensors = {k: v.to(model.device) for k, v in found.items() if isinstance(v, torch.Tensor)}
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in tensors.items()}


def _prompt(model: Any) -> dict[str, Any]:
    from PIL import Image

    shown = Image.fromarray(picture_of())
    if not getattr(model.processor, "chat_template", None):
        return {"text": QUESTION, "images": shown}
    content = [{"type": "image"}, {"type": "text", "text": QUESTION}]
    chat = [{"role": "user", "content": content}]
    asked = model.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    return {"text": asked, "images": shown}


def repeated(tensors: dict[str, torch.Tensor], batch: int) -> dict[str, torch.Tensor]:
    """The tensors of as many examples."""
    return {k: v.repeat(batch, *[1] * (v.ndim - 1)) for k, v in tensors.items()}
