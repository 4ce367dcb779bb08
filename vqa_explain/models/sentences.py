"""An answer of several words as candidates, one for each word: its score is the log-probability of
the word given those before it.

All of them have the tokens of the whole answer, so that one pass scores every word.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool

from vqa_explain.features.text import group_tokens
from vqa_explain.features.words import split_words
from vqa_explain.models.candidates import Candidates
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.thinking import NOTHING, Marks, Thought, thought_nothing
from vqa_explain.models.wording import stand_in
from vqa_explain.models.writing import Draws, Writing


@runtime_checkable
class Wording(Protocol):
    """A model that writes its answers token by token."""

    def generate(
        self, encoded: Encoded, asked: Writing | None = None, streamer: Any = None
    ) -> tuple[str, ...]:
        """What the model answers by itself, best first.

        Args:
            encoded: the example.
            asked: how; where it says nothing, what the model was loaded with.
            streamer: of transformers, which gets each token at once.
        """
        ...

    @property
    def writing(self) -> Writing:
        """What it was loaded with."""
        ...

    def sample(
        self, encoded: Encoded, asked: Writing | None, draws: Draws
    ) -> list[tuple[int, ...]]:
        """The tokens of answers drawn at random, each with the one that ends it.

        Args:
            encoded: the example.
            asked: how; where it says nothing, what the model was loaded with.
            draws: how many, and how.
        """
        ...

    def as_sequences(
        self, encoded: Encoded, ids: Sequence[tuple[int, ...]], temperature: float
    ) -> Encoded:
        """The example whose candidates are these sequences of tokens, scored at a temperature."""
        ...

    @property
    def marks(self) -> Marks | None:
        """The marks around what the model thinks before it answers; `None` where it declares
        none.
        """
        ...

    def parted(self, encoded: Encoded, ids: Sequence[int]) -> tuple[Thought, tuple[int, ...]]:
        """What the model thought, and the tokens of its answer, of tokens that it wrote."""
        ...

    def thought(self, encoded: Encoded) -> Thought:
        """What the model thought before the answer that `generate` gave last."""
        ...

    def as_thought(self, encoded: Encoded) -> Encoded:
        """The example whose one candidate is that thought.

        Raises:
            InvalidInput: the model thought nothing.
        """
        ...

    def as_words(self, encoded: Encoded, answer: int) -> Encoded:
        """The example whose candidates are the words of one of its answers, and after them that
        answer itself. Their scores are log-probabilities, and those of the words add up to the
        answer's.
        """
        ...

    def with_earlier_words(
        self, encoded: Encoded, word: int, kept: Bool[np.ndarray, "M T"]
    ) -> Encoded:
        """The example whose M candidates are one of its words, each with only some of the T words
        before it; the tokens of the others are the mask token where there is one, else padding.
        """
        ...

    def without_earlier_words(self, encoded: Encoded) -> Encoded:
        """The same example of which the network reads no word of the answer before the one that is
        scored: each of their tokens is the mask token where there is one, else padding.
        """
        ...


def with_some_before(
    encoded: Encoded, word: int, kept: Bool[np.ndarray, "M T"], tokenizer: Any
) -> Encoded:
    """What `Wording.with_earlier_words` gives."""
    given = candidates_of(encoded)
    assert given.spans is not None, "`with_words` comes first"
    first, behind = given.spans[word]
    absent, ids = _absent(tokenizer), given.ids[word]
    places = given.spans[:word]
    rows = []
    for present in kept:
        row = list(ids[:behind])
        for here, (start, end) in zip(present, places, strict=True):
            row[start:end] = row[start:end] if here else [absent] * (end - start)
        rows.append(tuple(row))
    many = len(rows)
    found = replace(
        given,
        texts=(given.texts[word],) * many,
        ids=tuple(rows),
        pieces=(given.pieces[word][:behind],) * many,
        spans=((first, behind),) * many,
    )
    return replace(encoded, labels=found.texts, candidates=found)


def _absent(tokenizer: Any) -> int:
    """The token that stands for one that is absent."""
    found: int = stand_in(tokenizer, "pad" if tokenizer.mask_token_id is None else "mask")
    return found


def words_of(candidates: Candidates, answer: int, tokenizer: Any) -> Candidates:
    """The words of one of the candidates, and after them the whole, as candidates.

    Words are those of `features.words.split_words`, as in questions; marks are words by themselves,
    and words that share a token are one. Every token is in one word: one of blanks alone in the
    word that follows, or the last.

    Args:
        candidates: the answers.
        answer: the number of one of them.
        tokenizer: what wrote its tokens.
    """
    ids, pieces = candidates.ids[answer], candidates.pieces[answer]
    whole = candidates.texts[answer]
    text, spans = _in_characters(tokenizer, ids, whole)
    tokens, words = group_tokens(split_words(text), text, pieces, ids, spans, [False for _ in ids])
    texts, ends, last = [], [], -1
    for number, token in enumerate(tokens):
        if token.word > last:
            texts.append(words[token.word].text)
            ends.append(number + 1)
            last = token.word
        elif token.word == last and ends:
            ends[-1] = number + 1
    if not ends:  # nothing in it is a word
        texts, ends = [whole], [len(ids)]
    ends[-1] = len(ids)
    parts = [*zip([0, *ends[:-1]], ends, strict=True), (0, len(ids))]
    many = len(parts)
    return Candidates(
        (*texts, whole),
        (ids,) * many,
        (pieces,) * many,
        lengths="sum",
        spans=tuple(parts),
        history=candidates.history,
        thinking=candidates.thinking,
    )


def with_words(encoded: Encoded, answer: int, tokenizer: Any) -> Encoded:
    """What `Wording.as_words` gives."""
    found = words_of(candidates_of(encoded), answer, tokenizer)
    return replace(encoded, labels=found.texts, candidates=found)


def with_sequences(
    encoded: Encoded, ids: Sequence[tuple[int, ...]], tokenizer: Any, temperature: float
) -> Encoded:
    """What `Wording.as_sequences` gives."""
    texts = tuple(tokenizer.decode(list(row), skip_special_tokens=True).strip() for row in ids)
    pieces = tuple(tuple(tokenizer.decode([one]) for one in row) for row in ids)
    found = Candidates(texts, tuple(ids), pieces, temperature=temperature)
    return replace(encoded, labels=texts, candidates=found)


def without_words(encoded: Encoded, tokenizer: Any) -> Encoded:
    """What `Wording.without_earlier_words` gives."""
    given = candidates_of(encoded)
    assert given.spans is not None, "`with_words` comes first"
    absent = _absent(tokenizer)
    own = [
        (*[absent] * first, *ids[first:behind])
        for ids, (first, behind) in zip(given.ids, given.spans, strict=True)
    ]
    found = replace(given, ids=tuple(own))
    return replace(encoded, candidates=found)


def _in_characters(
    tokenizer: Any, ids: tuple[int, ...], given: str
) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens, and which characters (start, end) of it each is.

    It is the text as it was given, where the tokens spell it but for blanks and letters' case, or
    where the tokenizer gives these tokens for it, of which some may be unknown.
    What they begin with is decoded again and again, since a token alone may be no text: part of a
    character, or a word without the blank before it. A token that ends within a character has none.
    """
    whole: str = tokenizer.decode(ids)
    if len(_letters(given)) != len(_letters(whole)):
        known = _offsets(tokenizer, ids, given)
        if known is not None:
            return given, known
    text = given if len(_letters(given)) == len(_letters(whole)) else whole
    ends = [0, *(place + 1 for place, letter in enumerate(text) if not letter.isspace())]
    at, spans = 0, []
    for count in range(1, len(ids) + 1):
        alike = whole[: _alike(tokenizer.decode(ids[:count]), whole)]
        end = max(at, ends[len(_letters(alike))])
        spans.append((at, end))
        at = end
    return text, spans


def _offsets(tokenizer: Any, ids: tuple[int, ...], given: str) -> list[tuple[int, int]] | None:
    """Which characters of a text its tokens are, as the tokenizer says; `None` where it says
    nothing, or gives the text other tokens.
    """
    if not getattr(tokenizer, "is_fast", False):
        return None
    found = tokenizer(given, add_special_tokens=False, return_offsets_mapping=True)
    if tuple(found["input_ids"]) != tuple(ids):
        return None
    return [(int(first), int(behind)) for first, behind in found["offset_mapping"]]


def _letters(text: str) -> str:
    """A text without its blanks."""
    return "".join(text.split())


def _alike(one: str, other: str) -> int:
    """With how many characters two texts begin alike."""
    pairs = zip(one, other, strict=False)
    return next((n for n, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


class Thoughtless:
    """What adapters have in common whose models write answers and think nothing before."""

    name: str
    answer_tokenizer: Any  # of what the model writes
    marks = None

    def parted(self, encoded: Encoded, ids: Sequence[int]) -> tuple[Thought, tuple[int, ...]]:
        return NOTHING, tuple(ids)

    def thought(self, encoded: Encoded) -> Thought:
        return NOTHING

    def as_thought(self, encoded: Encoded) -> Encoded:
        raise thought_nothing(self.name)

    def as_words(self, encoded: Encoded, answer: int) -> Encoded:
        return with_words(encoded, answer, self.answer_tokenizer)

    def as_sequences(
        self, encoded: Encoded, ids: Sequence[tuple[int, ...]], temperature: float
    ) -> Encoded:
        return with_sequences(encoded, ids, self.answer_tokenizer, temperature)

    def with_earlier_words(self, encoded: Encoded, word: int, kept: np.ndarray) -> Encoded:
        return with_some_before(encoded, word, kept, self.answer_tokenizer)

    def without_earlier_words(self, encoded: Encoded) -> Encoded:
        return without_words(encoded, self.answer_tokenizer)
