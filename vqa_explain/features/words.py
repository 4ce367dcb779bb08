"""How a question divides into words: Unicode's rules,
and a library's for scripts without blanks.
"""

import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import regex

from vqa_explain.errors import InvalidInput

# Word boundaries of Unicode Standard Annex 29, revision 45, section 4.1: the module `regex` has
# them.
_BOUNDARY = regex.compile(r"\b", flags=regex.V1 | regex.WORD)
_UNSEEN = ("Cc", "Cf", "Mn", "Me")  # Unicode's categories of what has no body of its own
# Marks that join two words that they touch on both sides, as in "T-shirt". (A tailoring: UAX 29,
# section 4.1, notes it as common, and leaves the hyphen out of its default rules.)
_HYPHENS = "-\u2010\u2011"
# Runs of text that are written without blanks between words, and that a library divides.
_KANA = regex.compile(r"[\p{Hiragana}\p{Katakana}]")
_HAN_OR_KANA = r"(?P<han>(?:[\p{Han}\p{Hiragana}\p{Katakana}ー々〆]\p{M}*)+)"
_RUN = regex.compile(_HAN_OR_KANA + r"|(?P<thai>\p{Thai}+)")
# Scripts written without blanks for which no library is at hand. Unicode's rules divide these into
# characters with their marks (line breaking class SA), and an explanation says so.
UNDIVIDED = ("Lao", "Khmer", "Myanmar", "Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom")
# And of these they make one word of a whole run, which an explanation says too.
ONE_RUN = ("Javanese", "Balinese")
_WITHOUT_BLANKS = regex.compile(
    "["
    + "".join(
        rf"\p{{{script}}}"
        for script in ("Han", "Hiragana", "Katakana", "Thai", *UNDIVIDED, *ONE_RUN)
    )
    + "]"
)


@dataclass(frozen=True)
class Word:
    """A word of the question with its character span."""

    text: str
    start: int
    end: int


def split_words(question: str) -> tuple[Word, ...]:
    """The words of a question in order; marks that are no part of a word are words by themselves.

    Words are those of Unicode Standard Annex 29, joined at hyphens. Runs of Chinese, Japanese and
    Thai are divided by the library `budoux`, Japanese into phrases.

    >>> [w.text for w in split_words("What's this T-shirt, 3.5 or 1,000?")]
    ["What's", 'this', 'T-shirt', ',', '3.5', 'or', '1,000', '?']
    """
    pieces = _joined(question, list(_divided(question)))
    return tuple(Word(question[a:b], a, b) for a, b in pieces if _visible(question[a:b]))


def own_split(question: str, pieces: Sequence[str]) -> tuple[Word, ...]:
    """The words of a question as someone else divided it, each found behind the one before.

    Raises:
        InvalidInput: a piece is empty, or not in the question in this order.
    """
    words: list[Word] = []
    at = 0
    for piece in pieces:
        start = next_place(piece, question, at) if isinstance(piece, str) and piece.strip() else -1
        if start < 0:
            raise InvalidInput(
                f"the piece {piece!r} is not in the question {question[:60]!r} behind the pieces "
                "before it; give the pieces in the order of the question"
            )
        at = start + len(piece)
        words.append(Word(piece, start, at))
    return tuple(words)


def word_place(piece: str, question: str, at: int = 0) -> int:
    """Where a piece stands from `at` on and is no part of a longer word; -1 if it does not.

    >>> word_place("his", "this is his")
    8
    """
    start = question.find(piece, at)
    while start >= 0 and not _stands_alone(question, start, len(piece)):
        start = question.find(piece, start + 1)
    return start


def next_place(piece: str, question: str, at: int) -> int:
    """Where a piece stands from `at` on: as a word, else anywhere; -1 if it does not.

    Where it follows at once, blanks aside, it is taken there: scripts without blanks have no words
    that stand alone.
    """
    following = len(question) - len(question[at:].lstrip())
    start = word_place(piece, question, at)
    if question.startswith(piece, following) and (start < 0 or start == following):
        return following
    return start if start >= 0 else question.find(piece, at)


def places_of_phrase(phrase: str, question: str) -> list[tuple[int, int]]:
    """Every place (start, end) where a phrase stands in the question as words, without regard to
    case.

    In scripts without blanks, where it stands at all.

    >>> places_of_phrase("his", "Is this his?"), places_of_phrase("圆", "这个圆是什么?")
    ([(8, 11)], [(2, 3)])
    """
    if not phrase:
        return []
    without_blanks = _WITHOUT_BLANKS.search(phrase) is not None
    found = regex.finditer(regex.escape(phrase), question, regex.IGNORECASE, overlapped=True)
    return [
        match.span()
        for match in found
        if without_blanks or _stands_alone(question, match.start(), len(match.group()))
    ]


def _stands_alone(question: str, start: int, length: int) -> bool:
    """Whether a piece is not in the middle of letters or digits on either side."""
    end = start + length
    if question[start : start + 1] and _is_mark(question[start]):
        return False
    if end < len(question) and _is_mark(question[end]):  # a vowel sign or accent of the last letter
        return False
    before = start > 0 and _in_a_word(question[start - 1]) and question[start].isalnum()
    after = end < len(question) and question[end].isalnum() and _in_a_word(question[end - 1])
    return not before and not after


def _is_mark(character: str) -> bool:
    """Whether a character combines with the one before it."""
    return unicodedata.category(character).startswith("M")


def _in_a_word(character: str) -> bool:
    """Whether it is a letter or digit, or a mark of one."""
    return character.isalnum() or _is_mark(character)


def in_characters(question: str, words: Sequence[Word]) -> tuple[str, ...]:
    """The scripts of a question whose words are not told apart: each character is a word.

    They are told apart where a model or user brings a division, `words`, that is another. A
    boundary is one of ours where words of one character touch.

    >>> in_characters("What is មាន?", split_words("What is មាន?"))
    ('Khmer',)
    >>> in_characters("What is មាន?", own_split("What is មាន?", ["What", "is", "មាន"]))
    ()
    """
    characters = set(_divided(question))
    ours = [word for word in words if (word.start, word.end) in characters]
    touching = "".join(a.text + b.text for a, b in pairwise(ours) if a.end == b.start)
    return _scripts(UNDIVIDED, touching)


def in_one_run(question: str, words: Sequence[Word]) -> tuple[str, ...]:
    """The scripts of a question whose words are not told apart: all of a run is one word.

    >>> in_one_run("ꦲꦏ꧀ꦱꦫ?", split_words("ꦲꦏ꧀ꦱꦫ?"))
    ('Javanese',)
    """
    runs = set(_divided(question))
    return _scripts(ONE_RUN, "".join(word.text for word in words if (word.start, word.end) in runs))


def _scripts(names: Sequence[str], text: str) -> tuple[str, ...]:
    """Those of the scripts that a text has letters of."""
    return tuple(name for name in names if regex.search(rf"\p{{{name}}}", text))


def _divided(question: str) -> Iterator[tuple[int, int]]:
    """Spans between Unicode's boundaries, and in runs without blanks between a library's."""
    at = 0
    for run in _RUN.finditer(question):
        yield from _spans(_BOUNDARY.split(question[at : run.start()]), at)
        pieces = _parser(_language(run, question))(run[0])
        yield from _spans(_with_marks(pieces), run.start())
        at = run.end()
    yield from _spans(_BOUNDARY.split(question[at:]), at)


def _with_marks(pieces: Sequence[str]) -> list[str]:
    """The pieces, a combining mark staying with the letter before it."""
    found: list[str] = []
    for piece in pieces:
        if found and unicodedata.category(piece[0]).startswith("M"):
            found[-1] += piece
        else:
            found.append(piece)
    return found


def _spans(pieces: Sequence[str], start: int) -> Iterator[tuple[int, int]]:
    for piece in pieces:
        if piece:
            yield start, start + len(piece)
        start += len(piece)


def _language(run: regex.Match[str], question: str) -> str:
    """Thai by its script, Japanese by kana anywhere in the question, else Chinese."""
    if run["thai"]:
        return "thai"
    return "japanese" if _KANA.search(question) else "simplified_chinese"


@cache
def _parser(language: str) -> Callable[[str], list[str]]:
    import budoux

    parse: Callable[[str], list[str]] = getattr(budoux, f"load_default_{language}_parser")().parse
    return parse


def _joined(question: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans, those that touch a hyphen on both sides being one."""
    number = 0
    while number < len(spans):
        start, end = spans[number]
        while number + 2 < len(spans) and _joins(question, spans[number : number + 3]):
            number += 2
            end = spans[number][1]
        yield start, end
        number += 1


def _joins(question: str, three: Sequence[tuple[int, int]]) -> bool:
    """Whether two words touch a hyphen between them."""
    before, hyphen, after = (question[start:end] for start, end in three)
    touching = three[0][1] == three[1][0] and three[1][1] == three[2][0]
    return touching and hyphen in _HYPHENS and _is_letter(before[-1]) and _is_letter(after[0])


def _is_letter(character: str) -> bool:
    """A letter or digit, or a mark that one carries."""
    return character.isalnum() or unicodedata.category(character).startswith("M")


def _visible(piece: str) -> bool:
    """Whether a piece holds anything but blanks, controls, marks of format and stray accents."""
    return any(not c.isspace() and unicodedata.category(c) not in _UNSEEN for c in piece)
