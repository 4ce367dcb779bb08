"""Texts: tokens, the words that they belong to, and words as players."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vqa_explain.errors import InvalidInput
from vqa_explain.features.base import Division, Feature, Found, Windows
from vqa_explain.features.parts import Part, TextPart, TokenValue, WordValue
from vqa_explain.features.words import Word, in_characters, in_one_run, word_place
from vqa_explain.own_fills import Fill, checked_words


@dataclass(frozen=True)
class Token:
    """A token of the model: its text, number, character span in the question,
    and word (-1 if special).
    """

    text: str
    id: int
    start: int
    end: int
    word: int
    special: bool


def called(name: str) -> str:
    """How messages call a text: the question, or the text of this name."""
    return "the question" if name == "question" else f"the text {name!r}"


def check_question(question: object, called: str = "the question") -> str:
    """The question as it is, or an error: it must be text with at least one letter or digit.

    Args:
        question: the question, or another text.
        called: what messages call it.
    """
    if not isinstance(question, str):
        raise InvalidInput(
            f"{called} must be text, not {type(question).__name__}; write it as a string"
        )
    if not question.strip():
        or_without = "" if called == "the question" else ", or leave it out"
        raise InvalidInput(f"{called} is empty; give at least one word{or_without}")
    if any("\ud800" <= c <= "\udfff" for c in question):
        raise InvalidInput(
            f"{called} holds half of a character (a lone surrogate); decode its bytes as UTF-8"
        )
    if not any(c.isalnum() for c in question):
        raise InvalidInput(
            f"{called} {question[:40]!r} has no words, only marks; write it in words"
        )
    return question


def group_tokens(
    words: Sequence[Word],
    question: str,
    tokens: Sequence[str],
    ids: Sequence[int],
    spans: Sequence[tuple[int, int]],
    special: Sequence[bool],
) -> tuple[tuple[Token, ...], tuple[Word, ...]]:
    """Gives every token the word that its characters lie in.

    Words that share a token are made one, since the model cannot tell them apart. Words that got no
    token are left out, since the model does not see them.
    """
    owner = np.full(len(question), -1)
    for number, word in enumerate(words):
        owner[word.start : word.end] = number
    touched = [
        [] if sp else sorted(set(owner[start : max(end, start + 1)].tolist()) - {-1})
        for (start, end), sp in zip(spans, special, strict=True)
    ]
    merged = _merged(len(words), touched)
    of_token = [merged[numbers[0]] if numbers else -1 for numbers in touched]
    kept = sorted({number for number in of_token if number >= 0})
    renumber = {old: new for new, old in enumerate(kept)}
    parts = [[w for w, group in zip(words, merged, strict=True) if group == old] for old in kept]
    grouped = tuple(
        Token(text, number, start, end, renumber.get(word, -1), sp)
        for text, number, (start, end), word, sp in zip(
            tokens, ids, spans, of_token, special, strict=True
        )
    )
    return grouped, tuple(
        Word(question[part[0].start : part[-1].end], part[0].start, part[-1].end) for part in parts
    )


def _merged(count: int, touched: Sequence[Sequence[int]]) -> list[int]:
    """The first word of the group of each word, where words that one token touches are a group."""
    group = list(range(count))
    for numbers in touched:
        for number in range(numbers[0], numbers[-1]) if numbers else ():
            group[number + 1] = group[number]
    return group


@dataclass(frozen=True, eq=False)
class Pieces(Division):
    """A division of a text: its pieces, and the piece of each token, `owner` (T,), -1 for special
    tokens.

    Attributes:
        words: the pieces.
        by_user: whether the user gave phrases, so that pieces need not be made of the model's
            words.
    """

    words: tuple[Word, ...] = ()
    by_user: bool = False


def _pieces(words: tuple[Word, ...], owner: np.ndarray, by_user: bool = False) -> Pieces:
    return Pieces(owner, len(words), words, by_user)


def group_words(
    asked: str | Sequence[str | tuple[int, int]] | None,
    question: str,
    words: tuple[Word, ...],
    tokens: tuple[Token, ...],
) -> Pieces:
    """The pieces of a question that a user asked for.

    Args:
        asked: "words" (also `None`), "tokens", "ngrams:n" for runs of n words, or phrases of the
            question, as text or as character spans (start, end): each becomes one piece, and every
            word in none of them is its own.
        question: the question; words and tokens are its own.

    Raises:
        InvalidInput: it is none of these; a phrase is not in the question, overlaps another, cuts a
            token, or has no token.
    """
    owner = np.array([t.word for t in tokens], dtype=int)
    plain = asked if isinstance(asked, str) else None  # of an array, == gives an array
    if asked is None or plain == "words":
        return _pieces(words, owner)
    if plain == "tokens":
        own = [t for t in tokens if t.word >= 0]
        numbers = np.cumsum(owner >= 0) - 1
        pieces = tuple(Word(question[t.start : t.end] or t.text, t.start, t.end) for t in own)
        return _pieces(pieces, np.where(owner >= 0, numbers, -1))
    if isinstance(asked, str):
        kind, _, count = asked.partition(":")
        if kind != "ngrams" or not count.isdecimal() or int(count) < 1:
            raise InvalidInput(
                f"words {asked!r} are unknown; give 'words', 'tokens', 'ngrams:2', or a list of "
                "phrases"
            )
        groups = [
            range(i, min(i + int(count), len(words))) for i in range(0, len(words), int(count))
        ]
    elif isinstance(asked, list | tuple) and asked and all(map(_is_phrase, asked)):
        return _own_pieces(asked, question, words, tokens)
    else:
        raise InvalidInput(
            f"words {str(asked)[:60]!r} are unknown; give 'words', 'tokens', 'ngrams:2', or a list "
            "of phrases: texts, or (start, end) in characters"
        )
    piece_of = np.empty(len(words) + 1, dtype=int)
    piece_of[-1] = -1  # where special tokens point
    for number, group in enumerate(groups):
        piece_of[list(group)] = number
    spans = [(words[group[0]].start, words[group[-1]].end) for group in groups]
    return _pieces(tuple(Word(question[a:b], a, b) for a, b in spans), piece_of[owner])


def _is_phrase(one: object) -> bool:
    if isinstance(one, tuple | list):
        return len(one) == 2 and all(isinstance(end, int) for end in one)
    return isinstance(one, str)


def _own_pieces(
    asked: Sequence[str | tuple[int, int]],
    question: str,
    words: tuple[Word, ...],
    tokens: tuple[Token, ...],
) -> Pieces:
    """The user's phrases, and every word, or part of one, between them."""
    phrases = _phrases(asked, question)
    taken = np.full(len(question), -1)
    for number, phrase in enumerate(phrases):
        if (taken[phrase.start : phrase.end] >= 0).any():
            raise InvalidInput(
                f"the phrase {phrase.text!r} overlaps another phrase; use each part of the "
                "question once"
            )
        taken[phrase.start : phrase.end] = number
    rest = len(phrases)
    for word in words:
        free = taken[word.start : word.end] < 0
        # What a phrase leaves of a word on each side of it is a piece of its own.
        starts = np.flatnonzero(free & ~np.insert(free[:-1], 0, False))
        for start in starts:
            stop = start + int(np.argmin(np.append(free[start:], False)))
            taken[word.start + start : word.start + stop] = rest
            rest += 1
    owner = np.array(
        [-1 if t.word < 0 else _piece_of(t, taken, question) for t in tokens], dtype=int
    )
    silent = next((p for n, p in enumerate(phrases) if n not in owner), None)
    if silent is not None:
        raise InvalidInput(
            f"the phrase {silent.text!r} has no token of its own that the model sees; make it "
            "longer"
        )
    spans = [np.flatnonzero(taken == number) for number in range(rest)]
    order = sorted(set(owner[owner >= 0].tolist()), key=lambda number: spans[number][0])
    renumber = {old: new for new, old in enumerate(order)}
    ends = [(int(spans[number][0]), int(spans[number][-1]) + 1) for number in order]
    pieces = tuple(Word(question[start:end], start, end) for start, end in ends)
    numbers = np.array([renumber.get(number, -1) for number in owner.tolist()], dtype=int)
    return _pieces(pieces, numbers, by_user=True)


def _phrases(asked: Sequence[str | tuple[int, int]], question: str) -> list[Word]:
    """Where each phrase is: behind the one before if it is there, else anywhere."""
    found: list[Word] = []
    at = 0
    for phrase in asked:
        if isinstance(phrase, str):
            places = (
                word_place(phrase, question, at),
                word_place(phrase, question),
                question.find(phrase, at),
                question.find(phrase),
            )
            start = next((place for place in places if place >= 0), -1) if phrase.strip() else -1
            end = start + len(phrase)
        else:
            start, end = phrase
        if not 0 <= start < end <= len(question) or not question[start:end].strip():
            raise InvalidInput(
                f"the phrase {phrase!r} is not in the question; copy it as it stands there"
            )
        found.append(Word(question[start:end], start, end))
        at = end
    return found


def _piece_of(token: Token, taken: np.ndarray, question: str) -> int:
    """The piece whose characters a token is made of; blanks do not count."""
    places = range(token.start, max(token.end, token.start + 1))
    numbers = {int(taken[i]) for i in places if i < len(taken) and not question[i].isspace()} - {-1}
    if len(numbers) > 1:
        raise InvalidInput(
            f"a phrase cuts the token {question[token.start : token.end]!r}, which the model sees "
            "as one; give phrases of whole tokens"
        )
    return numbers.pop() if numbers else -1


@dataclass(frozen=True, eq=False)
class Text:
    """A text as a model reads it.

    Attributes:
        source: the text as it was given.
        ids: (1, T) token numbers.
        tokens, words: the text as the model and as people read it.
    """

    source: str
    ids: Tensor
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True)
class TextFeature(Feature):
    """Texts: one leaf of token embeddings (B, T, D) each, elements that are tokens,
    players that are words.
    """

    name: str = "question"
    fills: tuple[str, ...] = ("mask", "pad", "delete")
    default_fill: str = "mask"
    kind: ClassVar[str] = TextPart.kind
    channels: ClassVar[int | None] = 2
    takes_functions: ClassVar[bool] = True

    def shape(self, content: Text) -> tuple[int, ...]:
        return (len(content.tokens),)

    def divide(self, content: Text, asked: Any) -> Pieces:
        return group_words(asked, content.source, content.words, content.tokens)

    def windows(
        self, content: Text, division: Division, *, side: int | None, stride: int | None, run: int
    ) -> Windows:
        """Runs of words."""
        count = division.count
        starts = range(max(1, count - run + 1) if count else 0)
        runs = [list(range(start, min(start + run, count))) for start in starts]

        def gather(drops: np.ndarray) -> np.ndarray:
            values, times = np.zeros(count), np.zeros(count)
            for drop, words in zip(drops, runs, strict=True):
                values[words] += drop / len(words)
                times[words] += 1
            return division.spread(values / np.maximum(times, 1))

        return Windows([np.isin(division.owner, words) for words in runs], gather)

    def carry(self, content: Text, found: Found) -> TextPart:
        """The values of words as people read them."""
        pieces = words_of(content, found.division)
        return TextPart(
            name=found.name,
            fixed=found.fixed,
            source=content.source,
            words=tuple(
                WordValue(w.text, w.start, w.end, float(found.values[i]), found.error(i))
                for i, w in enumerate(pieces)
            ),
            tokens=tuple(
                TokenValue(token.text, int(word), token.special, float(value))
                for token, word, value in zip(
                    content.tokens, found.division.owner, found.elements, strict=True
                )
            ),
        )

    def refilled(
        self, content: Text, division: Division, absent: np.ndarray, fill: Fill, seed: int
    ) -> str:
        """The text with its absent words filled; what is between words stays."""
        words = words_of(content, division)
        texts = [word.text for word in words]
        given = checked_words(fill(texts.copy(), absent.tolist(), seed), len(words), fill)
        text, end = "", 0
        for word, new, is_absent in zip(words, given, absent.tolist(), strict=True):
            text += content.source[end : word.start] + (new if is_absent else word.text)
            end = word.end
        text += content.source[end:]
        if not any(character.isalnum() for character in text):
            raise InvalidInput(
                f"fill {str(fill)!r} leaves no word where all words of a text are absent; have it "
                "give a word that stands for any, such as 'something'"
            )
        return text

    def notes(self, content: Text, found: Found, part: Part) -> tuple[str, ...]:
        """What a reader must know of how a text was divided into words."""
        if found.fixed:
            return ()
        division = found.division
        own = division.words if isinstance(division, Pieces) and division.by_user else content.words
        return _notes_of_words(content.source, own)


@dataclass(frozen=True)
class PageFeature(TextFeature):
    """The words of a page, each in its box: a text whose absent words keep their boxes.

    They cannot be hidden from attention: answers are read from the states of the words themselves.
    """

    name: str = "page"
    fills: tuple[str, ...] = ("mask",)
    takes_functions: ClassVar[bool] = False  # its words have boxes, which no function gives


def words_of(content: Text, division: Division) -> tuple[Word, ...]:
    """The pieces of a text that its players are; () where it has none."""
    return division.words if isinstance(division, Pieces) else ()


def _notes_of_words(source: str, pieces: Sequence[Word]) -> tuple[str, ...]:
    """What a reader must know of how a text was divided into pieces, one sentence each."""
    found = [("are divided into characters", script) for script in in_characters(source, pieces)]
    found += [
        ("are not told apart, so that a whole run is one word", s)
        for s in in_one_run(source, pieces)
    ]
    return tuple(
        f"words in the script {script.replace('_', ' ')} {what}, since no library here knows them; "
        "words= takes a division of your own"
        for what, script in found
    )
