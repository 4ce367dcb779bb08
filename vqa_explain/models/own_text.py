"""How a network of one's own reads a question: by a vocabulary,
or by a function that says its pieces.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.features.text import Token, check_question, group_tokens
from vqa_explain.features.words import Word, own_split, split_words

Split = Callable[[str], Sequence[str]]


def read_own(
    text: Any, split: Split | None, question: object
) -> tuple[Tensor, tuple[Token, ...], tuple[Word, ...]]:
    """Token numbers (1, T), tokens and words of a question; each piece is a token and a word.

    Args:
        text: a vocabulary {word: number}, or a function of the question that gives (piece, number)
            pairs, or numbers alone, one for each piece of `split`; or a batch of one question, of
            either kind.
        split: a function of the question that gives its pieces in order; `None` for Unicode's
            words.

    Raises:
        InvalidInput: the question is not a text with words, a word has no number, or it is not
            known which piece a number belongs to.
    """
    asked = check_question(question)
    own = None if split is None else own_split(asked, list(split(asked)))
    if isinstance(text, Mapping):
        words, numbers = _by_vocabulary(text, asked, own)
    else:
        words, numbers = _by_function(text, asked, own)
    texts, spans = [w.text for w in words], [(w.start, w.end) for w in words]
    tokens, grouped = group_tokens(words, asked, texts, numbers, spans, [False] * len(words))
    return torch.tensor([numbers], dtype=torch.long), tokens, grouped


def numbered_vocabulary(text: Any) -> Any:
    """A vocabulary that is a list of words as {word: place}; anything else as it is.

    Raises:
        InvalidInput: it is neither a vocabulary, nor a tokenizer, nor a function.
    """
    if isinstance(text, list | tuple) and text and all(isinstance(word, str) for word in text):
        return {word: place for place, word in enumerate(text)}
    if not isinstance(text, Mapping) and not callable(text):
        raise InvalidInput(
            "text= must be a vocabulary {word: number}, a transformers tokenizer or a function, "
            f"not {type(text).__name__}"
        )
    return text


def _by_vocabulary(
    vocabulary: Mapping[str, int], question: str, own: tuple[Word, ...] | None
) -> tuple[tuple[Word, ...], list[int]]:
    words = split_words(question) if own is None else own
    # Marks that the vocabulary does not know are left out, as networks of one's own mostly do.
    words = tuple(w for w in words if any(c.isalnum() for c in w.text) or w.text in vocabulary)
    numbers: list[int] = []
    for word in words:
        number = _looked_up(vocabulary, word.text)
        if number is None:
            raise InvalidInput(
                f'the vocabulary has no word {word.text!r} and no "<unk>"; add one of them'
            )
        numbers.append(int(number))
    return words, numbers


def _looked_up(vocabulary: Mapping[str, int], word: str) -> int | None:
    """The number of a word: as written, else in lower case, however its accents are written."""
    for form in (word, word.lower()):
        for normal in ("NFC", "NFD"):
            if (found := vocabulary.get(unicodedata.normalize(normal, form))) is not None:
                return found
    return vocabulary.get("<unk>")


def _by_function(
    function: Callable[[str], Any], question: str, own: tuple[Word, ...] | None
) -> tuple[tuple[Word, ...], list[int]]:
    given = _one_row(function(question), question)
    if given and all(isinstance(one, tuple | list) and len(one) == 2 for one in given):
        pieces = own_split(question, [piece for piece, _ in given])
        return pieces, [_whole(number, question) for _, number in given]
    if own is None:
        raise InvalidInput(
            f"text= gave {len(given)} numbers for {question[:60]!r} and does not say which words "
            "they belong to; return (piece, number) pairs, or give words=, a function that splits "
            "the question"
        )
    if len(given) != len(own):
        raise InvalidInput(
            f"text= gave {len(given)} numbers and words= {len(own)} pieces for {question[:60]!r}; "
            "give one number per piece"
        )
    return own, [_whole(number, question) for number in given]


def _one_row(given: Any, question: str) -> list[Any]:
    """What a function returned for a question, as a list; of a batch of one, its only row.

    Raises:
        InvalidInput: it is not a sequence, or is a batch of several.
    """
    if isinstance(given, Mapping):  # as a tokenizer gives
        given = given.get("input_ids", given)
    if isinstance(given, Mapping | str) or not hasattr(given, "__iter__"):
        raise InvalidInput(
            f"text= gave a value of type {type(given).__name__} for {question[:60]!r}; return "
            "(piece, number) pairs or numbers"
        )
    rows = given.tolist() if isinstance(given, Tensor | np.ndarray) else list(given)
    if not isinstance(rows, list):
        raise InvalidInput(
            f"text= gave a single number for {question[:60]!r}; return a list of (piece, number) "
            "pairs or of numbers"
        )
    if not rows or not all(_is_row(row) for row in rows):
        return rows
    if len(rows) > 1:
        raise InvalidInput(
            f"text= gave a batch of {len(rows)} for {question[:60]!r}; return the numbers of this "
            "question only"
        )
    return list(rows[0])


def _is_row(row: Any) -> bool:
    """Whether this is a list of numbers or pairs, and not a (piece, number) pair itself."""
    if isinstance(row, Tensor | np.ndarray):
        return row.ndim > 0
    return isinstance(row, list | tuple) and not any(isinstance(one, str) for one in row)


def _whole(number: Any, question: str) -> int:
    """A token number as an `int`.

    Raises:
        InvalidInput: it is not a whole number.
    """
    try:
        found = int(number)
        whole = not isinstance(number, str) and bool(found == number)
    except (TypeError, ValueError, OverflowError):
        whole = False
    if not whole:
        raise InvalidInput(
            f"text= gave {number!r} for {question[:60]!r}, which is not a token number; return "
            "whole numbers"
        )
    return found
