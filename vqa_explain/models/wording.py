"""Questions as tokens: reading them, and what stands for absent ones. Shared by adapters with a plain tokenizer."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.features.text import TextFeature, Token, Word, check_question, group_tokens


def text_feature(tokenizer: Any, *more: str) -> TextFeature:
    """The fills that a tokenizer allows: "mask" where it has a token for that, "pad", and `more`."""
    fills = ("pad", *more) if tokenizer.mask_token_id is None else ("mask", "pad", *more)
    return TextFeature(fills=fills, default_fill=fills[0])


def read_question(
    tokenizer: Any, question: object, limit: int | None, name: str, **settings: Any
) -> tuple[Tensor, tuple[Token, ...], tuple[Word, ...]]:
    """Token numbers (1, T), tokens and words of a question.

    Raises:
        InvalidInput: it is no text with words, or has more than `limit` tokens for model `name`.
    """
    asked = check_question(question)
    # A special token that is spelled out is text like any other.
    asked_for = {"return_offsets_mapping": True, "return_special_tokens_mask": True, "split_special_tokens": True}
    text = tokenizer(asked, **asked_for, **settings)
    ids = text["input_ids"]
    if limit is not None and len(ids) > limit:
        raise InvalidInput(f"the question has {len(ids)} tokens and model {name!r} takes {limit}; shorten the question")
    special = [bool(s) for s in text["special_tokens_mask"]]
    tokens, words = group_tokens(asked, tokenizer.convert_ids_to_tokens(ids), ids, text["offset_mapping"], special)
    return torch.tensor([ids]), tokens, words


def stand_in(tokenizer: Any, fill: str) -> int:
    """The token that stands for an absent one."""
    mask = tokenizer.mask_token_id if fill == "mask" else None
    known = (mask, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    return next((number for number in known if number is not None), 0)


def all_absent(ids: Tensor, tokens: tuple[Token, ...], absent: int) -> Tensor:
    """The token numbers (1, T) with every word's replaced by `absent`; special tokens stay."""
    own = torch.tensor([t.word >= 0 for t in tokens], device=ids.device)
    return torch.where(own, absent, ids)


@contextmanager
def words_replaced(embedding: nn.Module, words: Tensor) -> Iterator[None]:
    """Whatever token numbers the embedding is asked for inside, it gives `words`.

    Networks that take no embeddings get a differentiable text leaf so. It is a copy: some change it in place.
    """
    handle = embedding.register_forward_hook(lambda *_: words.clone())
    try:
        yield
    finally:
        handle.remove()
