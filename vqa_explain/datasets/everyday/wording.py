"""Templates of questions and captions: text with phrases in braces.

In "Is there a {X}?" the phrase X is put in; braces about anything else, as in "What {color} is the
{X}?", mark words that decide the answer. "a" becomes "an" where the phrase asks for it.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from vqa_explain.datasets.everyday.scene import Mention


@dataclass(frozen=True)
class Phrase:
    """A phrase with the items that it names, if any."""

    text: str
    items: tuple[int, ...] = ()


@dataclass(frozen=True)
class Said:
    """A text with the characters of its deciding words, and of those that name objects."""

    text: str
    decisive: tuple[tuple[int, int], ...]
    mentions: tuple[Mention, ...]


def say(template: str, phrases: Mapping[str, Phrase]) -> Said:
    """The text of a template."""
    text = ""
    decisive: list[tuple[int, int]] = []
    mentions: list[Mention] = []
    for plain, braced in re.findall(r"([^{]*)(?:\{([^}]*)\})?", template):
        text += plain
        if not braced:
            continue
        phrase = phrases.get(braced, Phrase(braced))
        if re.search(r"\b[Aa] $", text) and phrase.text[0] in "aeiou":
            text = text[:-1] + "n "
        span = (len(text), len(text) + len(phrase.text))
        text += phrase.text
        decisive.append(span)
        if phrase.items:
            mentions.append(Mention(*span, phrase.items))
    return Said(text, tuple(decisive), tuple(mentions))
