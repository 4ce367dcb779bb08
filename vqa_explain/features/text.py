"""The text feature: tokens, the words that they belong to, and what an absent word becomes."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vqa_explain.errors import InvalidInput

# A word is letters and digits, with inner apostrophes and hyphens; any other visible mark is a word by itself.
_WORD = re.compile(r"\w+(?:['’\-]\w+)*|[^\w\s]")


@dataclass(frozen=True)
class Word:
    """A word of the question with its character span."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Token:
    """A token of the model: its text, number, character span in the question, and word (-1 if special)."""

    text: str
    id: int
    start: int
    end: int
    word: int
    special: bool


def split_words(question: str) -> tuple[Word, ...]:
    """The words of a question in order.

    >>> [w.text for w in split_words("What's this?")]
    ["What's", 'this', '?']
    """
    return tuple(Word(m[0], m.start(), m.end()) for m in _WORD.finditer(question))


def check_question(question: object) -> str:
    """The question as it is, or an error: it must be text with at least one letter or digit."""
    if not isinstance(question, str):
        raise InvalidInput(f"the question must be text, not {type(question).__name__}; write it as a string")
    if not question.strip():
        raise InvalidInput("the question is empty; write what you want to know about the image")
    if any("\ud800" <= c <= "\udfff" for c in question):
        raise InvalidInput("the question holds half of a character (a lone surrogate); decode its bytes as UTF-8")
    if not any(c.isalnum() for c in question):
        raise InvalidInput(f"the question {question[:40]!r} has no words, only marks; write it in words")
    return question


def group_tokens(
    question: str, tokens: list[str], ids: list[int], spans: list[tuple[int, int]], special: list[bool]
) -> tuple[tuple[Token, ...], tuple[Word, ...]]:
    """Gives every token the word that its characters lie in; words that got no token are left out."""
    words = split_words(question)
    owner = {i: number for number, word in enumerate(words) for i in range(word.start, word.end)}
    found = [
        -1 if sp else next((owner[i] for i in range(start, max(end, start + 1)) if i in owner), -1)
        for (start, end), sp in zip(spans, special, strict=True)
    ]
    kept = sorted({number for number in found if number >= 0})
    renumber = {old: new for new, old in enumerate(kept)}
    grouped = tuple(
        Token(text, number, start, end, renumber.get(word, -1), sp)
        for text, number, (start, end), word, sp in zip(tokens, ids, spans, found, special, strict=True)
    )
    return grouped, tuple(words[number] for number in kept)


@dataclass(frozen=True, eq=False)
class Units:
    """A division of the question: its pieces, and the piece of each token, `owner` (T,), -1 for special tokens."""

    words: tuple[Word, ...]
    owner: np.ndarray


def group_words(
    asked: str | Sequence[str | tuple[int, int]] | None,
    question: str | None,
    words: tuple[Word, ...],
    tokens: tuple[Token, ...],
) -> Units:
    """The pieces of a question that a user asked for.

    Args:
        asked: "words" (also `None`), "tokens", "ngrams:n" for runs of n words, or phrases of the question, as text or
            as character spans (start, end): each becomes one piece, and every word in none of them is its own.
        question: the question; words and tokens are its own.

    Raises:
        InvalidInput: it is none of these; a phrase is not in the question, cuts a word, or shares one with another.
    """
    owner = np.array([t.word for t in tokens], dtype=int)
    if asked is None or asked == "words":
        return Units(words, owner)
    if asked == "tokens":
        own = [t for t in tokens if t.word >= 0]
        numbers = np.cumsum(owner >= 0) - 1
        pieces = tuple(Word((question or "")[t.start : t.end] or t.text, t.start, t.end) for t in own)
        return Units(pieces, np.where(owner >= 0, numbers, -1))
    if isinstance(asked, str):
        kind, _, count = asked.partition(":")
        if kind != "ngrams" or not count.isdecimal() or int(count) < 1:
            raise InvalidInput(f"words {asked!r} are unknown; give 'words', 'tokens', 'ngrams:2', or a list of phrases")
        groups = [range(i, min(i + int(count), len(words))) for i in range(0, len(words), int(count))]
    elif isinstance(asked, list | tuple) and all(map(_is_phrase, asked)):
        groups = _phrases(asked, question or "", words)
    else:
        raise InvalidInput(
            f"words {str(asked)[:60]!r} are unknown; give 'words', 'tokens', 'ngrams:2', or a list of phrases: texts, "
            "or (start, end) in characters"
        )
    piece_of = np.empty(len(words) + 1, dtype=int)
    piece_of[-1] = -1  # where special tokens point
    for number, group in enumerate(groups):
        piece_of[list(group)] = number
    spans = [(words[group[0]].start, words[group[-1]].end) for group in groups]
    return Units(tuple(Word((question or "")[a:b], a, b) for a, b in spans), piece_of[owner])


def _is_phrase(one: object) -> bool:
    if isinstance(one, tuple | list):
        return len(one) == 2 and all(isinstance(end, int) for end in one)
    return isinstance(one, str)


def _phrases(asked: Sequence[str | tuple[int, int]], question: str, words: tuple[Word, ...]) -> list[range]:
    """Runs of words, in order: the phrases asked for, and single words between them."""
    runs: list[range] = []
    for phrase in asked:
        start = question.find(phrase) if isinstance(phrase, str) else phrase[0]
        end = start + len(phrase) if isinstance(phrase, str) else phrase[1]
        inside = [i for i, w in enumerate(words) if w.start < end and start < w.end]
        if start < 0 or not inside:
            raise InvalidInput(f"the phrase {phrase!r} is not in the question; copy it as it stands there")
        if words[inside[0]].start < start or words[inside[-1]].end > end:
            raise InvalidInput(f"the phrase {phrase!r} cuts a word of the question; give whole words")
        if any(i in run for i in inside for run in runs):
            raise InvalidInput(f"the phrase {phrase!r} shares a word with another; a word is in one phrase only")
        runs.append(range(inside[0], inside[-1] + 1))
    taken = {i for run in runs for i in run}
    return sorted([*runs, *(range(i, i + 1) for i in range(len(words)) if i not in taken)], key=lambda run: run[0])


@dataclass(frozen=True)
class TextFeature:
    """A question as a model's input: one leaf of token embeddings, players that are words."""

    name: str = "text"
    fills: tuple[str, ...] = ("mask", "pad", "delete")
    default_fill: str = "mask"
