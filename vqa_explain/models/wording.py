"""Questions as tokens: reading them, and what stands for absent ones. Shared by adapters with a
plain tokenizer.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from vqa_explain.errors import InvalidInput
from vqa_explain.features.text import TextFeature, Token, check_question, group_tokens
from vqa_explain.features.words import Word, split_words


def text_feature(tokenizer: Any, *more: str) -> TextFeature:
    """The fills that a tokenizer allows: "mask" where it has a token for that, "pad",
    and `more`.
    """
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
    if not getattr(tokenizer, "is_fast", True):
        raise InvalidInput(
            f"the tokenizer of model {name!r} cannot say which characters its tokens are of; use "
            "the fast one (use_fast=True)"
        )
    # A special token that is spelled out is text like any other.
    asked_for = {
        "return_offsets_mapping": True,
        "return_special_tokens_mask": True,
        "split_special_tokens": True,
    }
    text = tokenizer(asked, **asked_for, **settings)
    ids = text["input_ids"]
    if limit is not None and len(ids) > limit:
        raise InvalidInput(
            f"the question has {len(ids)} tokens and model {name!r} takes {limit}; shorten the "
            "question"
        )
    special = [bool(s) for s in text["special_tokens_mask"]]
    texts = tokenizer.convert_ids_to_tokens(ids)
    spans = text["offset_mapping"]
    tokens, words = group_tokens(split_words(asked), asked, texts, ids, spans, special)
    check_spelling(tokenizer, tokens, words, name)
    return torch.tensor([ids]), tokens, words


def check_spelling(
    tokenizer: Any, tokens: Sequence[Token], words: Sequence[Word], name: str
) -> None:
    """The tokens of every word, decoded, must spell it, whatever their case and marks.

    Words with an unknown token are left out: it spells nothing.

    Raises:
        InvalidInput: those of a word spell something else, so its value would be another's.
    """
    for number, word in enumerate(words):
        ids = [token.id for token in tokens if token.word == number]
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            continue
        said = tokenizer.decode(ids, clean_up_tokenization_spaces=False).strip()
        said = said.removeprefix(_continued(tokenizer))  # a word may go on where a mark was dropped
        if _letters(said) != _letters(word.text):
            raise InvalidInput(
                f"the tokens of the word {word.text!r} spell {said!r} in model {name!r}, so the "
                "word would get the value of another; write the question otherwise"
            )


def _continued(tokenizer: Any) -> str:
    """What a tokenizer puts before tokens that continue a word, such as "##"."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    return getattr(model, "continuing_subword_prefix", None) or ""


def _letters(text: str) -> str:
    """What is left of a text without case, marks and blanks."""
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    return "".join(
        c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Mn", "Cf", "Cc")
    )


def stand_in(tokenizer: Any, fill: str) -> int:
    """The token that stands for an absent one."""
    mask = tokenizer.mask_token_id if fill == "mask" else None
    known = (mask, tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id)
    found = next((number for number in known if number is not None), None)
    if found is None:
        raise InvalidInput(
            f"the tokenizer has no token that could stand for an absent word (fill {fill!r}): no "
            "mask, pad, end or unknown token; give it one of them"
        )
    return int(found)


def all_absent(ids: Tensor, tokens: tuple[Token, ...], absent: int) -> Tensor:
    """The token numbers (1, T) with every word's replaced by `absent`; special tokens stay."""
    own = torch.tensor([t.word >= 0 for t in tokens], device=ids.device)
    return torch.where(own, absent, ids)


@contextmanager
def words_replaced(embedding: nn.Module, *words: Tensor) -> Iterator[None]:
    """Whatever token numbers the embedding is asked for inside, it gives `words`, of several texts
    in turn.

    Networks that take no embeddings get a differentiable text leaf so. It is a copy: some change it
    in place.
    """
    turns = cycle(words)
    handle = embedding.register_forward_hook(lambda *_: next(turns).clone())
    try:
        yield
    finally:
        handle.remove()
