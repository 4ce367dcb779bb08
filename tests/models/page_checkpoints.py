"""Tiny networks that answer questions about pages, with random weights."""

from collections.abc import Callable
from typing import Any

import transformers
from checkpoints import randomized, word_pieces
from tokenizers.pre_tokenizers import ByteLevel

import vqa_explain as vx

tf: Any = transformers
QUESTION = "What color is the circle?"
WORDS = ("The", "circle", "is", "red", "and", "the", "square", "blue", "yes", "red")
BOXES = [[90 * n + 10, 100 + 40 * (n % 3), 90 * n + 85, 130 + 40 * (n % 3)] for n in range(10)]
PAGE = vx.Page(WORDS, BOXES, size=(1000, 1000))
SMALL: dict[str, Any] = {
    "hidden_size": 24,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_2d_position_embeddings": 1024,
}


def layoutlm() -> tuple[Any, Any]:
    words = word_pieces()
    config = tf.LayoutLMConfig(**SMALL, vocab_size=len(words), max_position_embeddings=64)
    return tf.LayoutLMForQuestionAnswering(config), words


def byte_words() -> Any:
    """LayoutLMv3's tokenizer, of single bytes and of pairs."""
    letters = sorted(ByteLevel.alphabet())
    pairs = [("Ġ", "t"), ("Ġ", "c"), ("r", "e"), ("re", "d"), ("Ġ", "i"), ("Ġi", "s")]
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *letters, *map("".join, pairs)]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    return tf.LayoutLMv3Tokenizer(vocab=vocabulary, merges=pairs)


def layoutlmv3() -> tuple[Any, Any]:
    words = byte_words()
    sizes = {"coordinate_size": 4, "shape_size": 4, "input_size": 32, "patch_size": 8}
    buckets = {"rel_pos_bins": 8, "max_rel_pos": 16, "rel_2d_pos_bins": 8, "max_rel_2d_pos": 32}
    config = tf.LayoutLMv3Config(
        **SMALL,
        **sizes,
        **buckets,
        vocab_size=len(words),
        max_position_embeddings=130,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    pictures = tf.LayoutLMv3ImageProcessor(apply_ocr=False, size={"height": 32, "width": 32})
    return tf.LayoutLMv3ForQuestionAnswering(config), tf.LayoutLMv3Processor(pictures, words)


def udop() -> tuple[Any, Any]:
    """A network that writes about pages: its tokenizer has one piece for some words."""
    letters = [chr(number) for number in range(33, 127)]
    words = ["▁", "▁the", "▁circle", "▁is", "▁red", "ed", "re", "ir"]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    pieces += [*((word, -1.0) for word in words), *((letter, -3.0) for letter in letters)]
    tokenizer = tf.UdopTokenizer(vocab=pieces)
    config = tf.UdopConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_decoder_layers=2,
        num_heads=4,
        image_size=32,
        patch_size=8,
        decoder_start_token_id=0,
        relative_bias_args=[{"type": kind} for kind in ("1d", "horizontal", "vertical")],
    )
    pictures = tf.LayoutLMv3ImageProcessor(apply_ocr=False, size={"height": 32, "width": 32})
    return tf.UdopForConditionalGeneration(config), tf.UdopProcessor(pictures, tokenizer)


PAGE_WRITERS: dict[str, Callable[[], tuple[Any, Any]]] = {"udop": udop}
PAGE_MAKERS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "layoutlm": layoutlm,
    "layoutlmv3": layoutlmv3,
}


def made(name: str) -> tuple[Any, Any]:
    """A network and its processor, with the same random weights every time."""
    module, processor = randomized({**PAGE_MAKERS, **PAGE_WRITERS}[name])
    return module.eval().requires_grad_(False), processor


def example_of(model: Any, picture: Any, page: Any = PAGE, question: str = QUESTION) -> vx.Example:
    """The question and the page, with the picture where the model sees one."""
    given = {"question": question, "page": page}
    if len(model.features) == 3:
        given = {"image": picture, **given}
    return vx.Example.of(given)
