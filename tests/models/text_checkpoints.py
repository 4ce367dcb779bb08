"""Tiny random text classifiers in hub format, with real tokenizers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from checkpoints import SMALL, tokenizer

LABELS = {0: "negative", 1: "neutral", 2: "positive"}
BERT_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bert_tokenizer() -> Any:
    from tokenizers import processors

    words = tokenizer(
        BERT_TOKENS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return words


def settings(words: Any, **more: Any) -> dict[str, Any]:
    return {
        "vocab_size": len(words),
        **SMALL,
        "max_position_embeddings": 64,
        "id2label": LABELS,
        "pad_token_id": words.pad_token_id,
        **more,
    }


def bert() -> tuple[Any, Any]:
    words = bert_tokenizer()
    return tf.BertForSequenceClassification(tf.BertConfig(**settings(words))), words


def roberta() -> tuple[Any, Any]:
    words = bert_tokenizer()
    return tf.RobertaForSequenceClassification(tf.RobertaConfig(**settings(words))), words


def distilbert() -> tuple[Any, Any]:
    words = bert_tokenizer()
    config = tf.DistilBertConfig(
        vocab_size=len(words),
        dim=32,
        hidden_dim=48,
        n_layers=3,
        n_heads=4,
        max_position_embeddings=64,
        id2label=LABELS,
        pad_token_id=words.pad_token_id,
    )
    return tf.DistilBertForSequenceClassification(config), words


def deberta() -> tuple[Any, Any]:
    words = bert_tokenizer()
    config = tf.DebertaV2Config(
        **settings(words), relative_attention=True, pos_att_type=["p2c", "c2p"]
    )
    return tf.DebertaV2ForSequenceClassification(config), words


def gpt2() -> tuple[Any, Any]:
    words = tokenizer(["<pad>"], pad_token="<pad>")
    config = tf.GPT2Config(
        vocab_size=len(words),
        n_embd=32,
        n_layer=3,
        n_head=4,
        n_positions=64,
        id2label=LABELS,
        pad_token_id=words.pad_token_id,
    )
    return tf.GPT2ForSequenceClassification(config), words


def bart() -> tuple[Any, Any]:
    """An encoder and a decoder: two streams, whose attention cannot be read as one."""
    words = tokenizer(
        ["<pad>", "<s>", "</s>", "<mask>"],
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
    )
    from tokenizers import processors

    words.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    config = tf.BartConfig(
        vocab_size=len(words),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=48,
        decoder_ffn_dim=48,
        max_position_embeddings=64,
        id2label=LABELS,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
    )
    return tf.BartForSequenceClassification(config), words


ATTENDING: dict[str, Callable[[], tuple[Any, Any]]] = {
    "bert": bert,
    "roberta": roberta,
    "distilbert": distilbert,
    "deberta": deberta,
    "gpt2": gpt2,
}
TEXT_MAKERS = {**ATTENDING, "bart": bart}


def text_checkpoint(name: str, folder: Path) -> Path:
    """A folder that `vx.load` reads: random weights by a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, words = TEXT_MAKERS[name]()
        for p in module.parameters():
            if p.ndim > 1:
                torch.nn.init.normal_(p, std=0.2)  # so that the answer depends on every word
    path = folder / name
    module.save_pretrained(path)
    words.save_pretrained(path)
    return path
