"""The text feature: tokens, the words that they belong to, and what an absent word becomes."""

import re
from dataclasses import dataclass

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


@dataclass(frozen=True)
class TextFeature:
    """A question as a model's input: one leaf of token embeddings, players that are words."""

    name: str = "text"
    fills: tuple[str, ...] = ("mask", "pad")
    default_fill: str = "mask"
