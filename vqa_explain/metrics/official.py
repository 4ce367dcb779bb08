"""What an answer is worth, with the official normalization of VQA (Antol et al. 2015)."""

import re
from collections import Counter

import numpy as np

from vqa_explain.examples import Example
from vqa_explain.target import folded

# The official normalization of answers (Antol et al. 2015, and the evaluation code that came with
# it): punctuation, number words, articles, and apostrophes of contractions put back.
_NUMBERS = {
    word: str(n)
    for n, word in enumerate(("zero", "one", "two", "three", "four", "five", "six", "seven"))
}
_NUMBERS |= {"eight": "8", "nine": "9", "ten": "10"}
_NUMBERS["none"] = "0"
_ARTICLES = {"a", "an", "the"}
_PUNCTUATION = [*';/[]"{}()=+\\_-><@`,?!']
# Contractions whose spellings without one apostrophe are mended. Those that begin with "I" are not,
# nor are "let's", "she's" and "it's": the official table has no lower-case entry for them.
_CONTRACTIONS = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't
haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've
might've mustn't must've needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've
shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll
someone's something'd something'd've something'll that's there'd there'd've there're there's they'd
they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't
would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
_RESTORED = {
    word[:at] + word[at + 1 :]: word
    for word in _CONTRACTIONS.split()
    for at, letter in enumerate(word)
    if letter == "'"
}


def normalized(answer: str) -> str:
    """The answer as the official evaluation compares it.

    >>> normalized("The two dogs, isnt it?")
    "2 dogs isn't it"
    """
    text = _without_punctuation(on_one_line(answer))
    words = [_NUMBERS.get(word, word) for word in text.lower().split()]
    return " ".join(_RESTORED.get(word, word) for word in words if word not in _ARTICLES)


def on_one_line(answer: str) -> str:
    """The answer with blanks for line breaks and tabs, which the official code does to every
    answer.

    >>> on_one_line("dark\\nred ")
    'dark red'
    """
    return answer.replace("\n", " ").replace("\t", " ").strip()


def _without_punctuation(text: str) -> str:
    commas = re.search(r"\d,\d", text) is not None
    out = text
    for mark in _PUNCTUATION:
        # A mark beside a blank, and every mark of an answer with a comma between digits, goes;
        # others become blanks.
        gone = f"{mark} " in text or f" {mark}" in text or commas
        out = out.replace(mark, "" if gone else " ")
    return re.sub(r"\.(?!\d)", "", out)


def vqa_score(answer: str, given: tuple[str, ...]) -> float:
    """The mean over the leave-one-out subsets of the given answers of min(matches / 3, 1).

    Antol et al. 2015, with the normalization of the official code where people did not all answer
    alike.

    >>> vqa_score("red", ("red",) * 2 + ("pink",) * 8)
    0.6
    """
    answer, given = on_one_line(answer), tuple(map(on_one_line, given))
    if len(set(given)) > 1:
        answer, given = normalized(answer), tuple(map(normalized, given))
    matches = np.array([g == answer for g in given], dtype=float)
    if len(given) == 1:
        return float(matches[0])
    return float(np.minimum((matches.sum() - matches) / 3, 1).mean())


def true_answers(example: Example) -> tuple[str, ...]:
    """The answers that are right, as they are written; () where none is known.

    Where only people's answers are known, these are what most of them gave, as the answers that
    VQA's data sets call the true ones are; of several that equally many gave, all.
    """
    if example.answer is not None and example.answer.strip():
        return (example.answer,)
    given = [text for text in example.answers if text.strip()]
    counts = Counter(map(folded, given))
    most = max(counts.values(), default=0)
    return tuple(dict.fromkeys(text for text in given if counts[folded(text)] == most))


def credit(example: Example, text: str) -> float:
    """What an answer is worth: 1 where it is a true one (see `true_answers`),
    without regard to case, else 0.
    """
    return float(folded(text) in map(folded, true_answers(example)))
