"""Questions about pages as tokens: which are of the question, which of which word of the page."""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, product
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Page
from vqa_explain.features.text import Text, Token, check_question, group_tokens
from vqa_explain.features.words import Word, split_words
from vqa_explain.models.wording import check_spelling

SCALE = 1000  # of a page's sides, in parts of which networks take boxes
QUESTION, PAGE = 0, 1  # a tokenizer's numbers of the two texts


@dataclass(frozen=True, eq=False)
class ReadPage:
    """A question and a page, as one sequence of N tokens.

    Attributes:
        inputs: the network's tensors of them, such as `input_ids` (1, N) and `bbox` (1, N, 4).
        texts: the question and the page.
        places: where their tokens are among the N.
    """

    inputs: dict[str, Tensor]
    texts: tuple[Text, Text]
    places: tuple[np.ndarray, np.ndarray]


def read_page(
    processor: Any, question: object, page: Page, limit: int | None, name: str
) -> ReadPage:
    """The tokens of a question and a page.

    Args:
        processor: a tokenizer of pairs of texts; its own way to place boxes is used if it has one.
        question: a text.
        page: the words and boxes.
        limit: how many tokens the model takes; `None` where that is not known.
        name: the model's, for errors.

    Raises:
        InvalidInput: the tokenizer cannot say which characters its tokens are of, there are too
            many tokens, or a word is one of its special tokens.
    """
    asked = check_question(question)
    if not getattr(processor, "is_fast", True):
        raise InvalidInput(
            f"the tokenizer of model {name!r} cannot say which characters its tokens are of; use "
            "the fast one (use_fast=True)"
        )
    boxes = page.scaled(SCALE)
    found = _tokenized(processor, asked, list(page.words), boxes)
    count = found["input_ids"].shape[1]
    if limit is not None and count > limit:
        raise InvalidInput(
            f"the question and the page have {count} tokens and model {name!r} takes {limit}; give "
            "the words of a part of the page"
        )
    encoding = found.encodings[0]
    _check_special(processor, encoding, name)
    spaced = _spaced(page.words)
    starts = (_starts_of_pieces(asked), [word.start for word in spaced])
    words = (split_words(asked), spaced)
    sources = (asked, page.text)
    read = [
        _text_of(processor, encoding, number, sources[number], words[number], starts[number], name)
        for number in (QUESTION, PAGE)
    ]
    inputs = {key: value for key, value in found.items() if isinstance(value, Tensor)}
    return ReadPage(inputs, (read[0][0], read[1][0]), (read[0][1], read[1][1]))


def _tokenized(processor: Any, question: str, words: list[str], boxes: list[list[int]]) -> Any:
    """What a tokenizer gives, with `bbox`."""
    if "boxes" in inspect.signature(type(processor).__call__).parameters:
        return processor(question, words, boxes=boxes, return_tensors="pt")
    # transformers' own call of networks whose tokenizer knows nothing of boxes.
    settings = {"is_split_into_words": True, "return_token_type_ids": True}
    found = processor(question.split(), words, **settings, return_tensors="pt")
    encoding = found.encodings[0]
    each = zip(encoding.ids, encoding.sequence_ids, encoding.word_ids, strict=True)
    placed = [
        boxes[word] if text == PAGE else _box_beside(number == processor.sep_token_id)
        for number, text, word in each
    ]
    found["bbox"] = torch.tensor([placed])
    return found


def _box_beside(ends: bool) -> list[int]:
    """The box of a token that is not of the page: of one that `ends` a text, or another."""
    return [SCALE] * 4 if ends else [0] * 4


def _check_special(processor: Any, encoding: Any, name: str) -> None:
    """Refuses words that spell a special token, which would be control and not text."""
    unknown = processor.unk_token_id
    for number, text in zip(encoding.ids, encoding.sequence_ids, strict=True):
        if text is not None and number in processor.all_special_ids and number != unknown:
            raise InvalidInput(
                f"the text {processor.decode([number])!r} is a special token of model {name!r}; "
                "write it otherwise"
            )


def _starts_of_pieces(question: str) -> list[int]:
    """Where each piece between blanks begins: tokenizers of pages count characters from there."""
    starts, at = [], 0
    for piece in question.split():
        at = question.index(piece, at)
        starts.append(at)
        at += len(piece)
    return starts


def _spaced(words: Sequence[str]) -> tuple[Word, ...]:
    """A page's words and where they are in its text, with a blank between them."""
    ends = accumulate(len(word) + 1 for word in words)
    spans = ((end - 1 - len(word), end - 1) for word, end in zip(words, ends, strict=True))
    return tuple(Word(word, *span) for word, span in zip(words, spans, strict=True))


def _text_of(
    processor: Any,
    encoding: Any,
    number: int,
    source: str,
    words: tuple[Word, ...],
    starts: Sequence[int],
    name: str,
) -> tuple[Text, np.ndarray]:
    """One of the two texts, and where its tokens are."""
    places = [place for place, text in enumerate(encoding.sequence_ids) if text == number]
    ids = [encoding.ids[place] for place in places]
    offsets = [starts[encoding.word_ids[place]] for place in places]
    spans = [
        (offset + encoding.offsets[place][0], offset + encoding.offsets[place][1])
        for offset, place in zip(offsets, places, strict=True)
    ]
    texts = [encoding.tokens[place] for place in places]
    tokens, seen = group_tokens(words, source, texts, ids, spans, [False] * len(ids))
    check_spelling(processor, tokens, seen, name)
    return Text(source, torch.tensor([ids]), tokens, seen), np.array(places)


Span = tuple[int, int]  # the first and the last token of an answer, among those of the page


def span_text(page: Text, span: Span) -> str:
    """The text of a span, as it stands on the page."""
    return page.source[page.tokens[span[0]].start : page.tokens[span[1]].end]


def spans_of(page: Text, text: str) -> list[Span]:
    """Every span of whole tokens that is a text; if none is, those that differ from it in case."""
    exact = _spans_in(page.source, page.tokens, text.strip())
    # A text that is longer or shorter in lower case would have other places.
    lower, wanted = page.source.lower(), text.strip().lower()
    if exact or len(lower) != len(page.source):
        return exact
    return _spans_in(lower, page.tokens, wanted)


def _spans_in(source: str, tokens: Sequence[Token], text: str) -> list[Span]:
    # One character may have several tokens, and a mark of a blank begins where its word does.
    starts: dict[int, list[int]] = {}
    ends: dict[int, list[int]] = {}
    for number, token in enumerate(tokens):
        starts.setdefault(token.start, []).append(number)
        ends.setdefault(token.end, []).append(number)
    found: list[Span] = []
    at = source.find(text) if text else -1
    while at >= 0:
        lasts = [
            last
            for end in ends.get(at + len(text), ())
            for last in _with_blanks(source, tokens, end)
        ]
        pairs = product(starts.get(at, ()), dict.fromkeys(lasts))
        found += [(first, last) for first, last in pairs if first <= last]
        at = source.find(text, at + 1)
    return found


def _with_blanks(source: str, tokens: Sequence[Token], last: int) -> Iterator[int]:
    """A token and those marks of blanks behind it: an answer with them spells the same."""
    yield last
    for number in range(last + 1, len(tokens)):
        if source[tokens[number].start : tokens[number].end].strip():
            return
        yield number
