"""What is asked of a model behind an interface: the pictures and the messages of one coalition."""

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, Given, read_image
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature, called, check_question
from vqa_explain.features.words import Word
from vqa_explain.models.matching import NOUNS

TEXT = TextFeature.kind
PICTURE = ImageFeature.kind
MARK = "___"  # what an absent word becomes under the fill "mask"

Message = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked once: the content of one request.

    Attributes:
        pictures: (H, W, 3) uint8 each, in the order in which the messages show them.
        messages: the chat; its pictures are the parts {"type": "image"}, in order.
        key: a hash of both: two coalitions with one key are the same question.
    """

    pictures: tuple[np.ndarray, ...]
    messages: list[Message]
    key: str

    @classmethod
    def of(cls, pictures: Sequence[np.ndarray], messages: list[Message]) -> "Question":
        """The question of these pictures and messages."""
        found = hashlib.sha256(json.dumps(messages, sort_keys=True, default=repr).encode())
        for one in pictures:
            found.update(repr(one.shape).encode())
            found.update(np.ascontiguousarray(one).tobytes())
        return cls(tuple(pictures), messages, found.hexdigest())

    def with_images(self) -> tuple[list[Any], list[Message]]:
        """The pictures as PIL images, and the messages with these in their parts."""
        from PIL import Image

        images = [Image.fromarray(one) for one in self.pictures]
        following = iter(images)
        return images, [_with_images(message, following) for message in self.messages]


def _with_images(message: Message, following: Any) -> Message:
    if isinstance(message["content"], str):
        return dict(message)
    parts = [
        {**part, PICTURE: next(following)} if part["type"] == PICTURE else dict(part)
        for part in message["content"]
    ]
    return {**message, "content": parts}


@dataclass(frozen=True, eq=False)
class Conversation:
    """What an example says and shows, in order.

    Attributes:
        given: its inputs.
        pictures: input name → (H, W, 3) uint8.
        texts: input name → its text.
        messages: the chat, of an example that is one; else all is one turn of the user.
    """

    given: tuple[Given, ...]
    pictures: Mapping[str, np.ndarray]
    texts: Mapping[str, str]
    messages: Sequence[Mapping[str, Any]] | None

    def question(self, pictures: Mapping[str, np.ndarray], texts: Mapping[str, str]) -> Question:
        """The same with these pictures and texts, by input name."""
        shown = [pictures[one.name] for one in self.given if one.kind == PICTURE]
        return Question.of(shown, self._messages(texts))

    def _messages(self, texts: Mapping[str, str]) -> list[Message]:
        if self.messages is None:
            return [{"role": "user", "content": _parts(self.given, texts)}]
        found = []
        for turn, message in enumerate(self.messages):
            own = [one for one in self.given if one.turn == turn]
            plain = isinstance(message["content"], str)
            content = texts[own[0].name] if plain else _parts(own, texts)
            found.append({**message, "content": content})
        return found


def _parts(given: Sequence[Given], texts: Mapping[str, str]) -> list[Message]:
    """The parts of one message. A text of which nothing is left is left out."""
    parts: list[Message] = []
    for one in given:
        if one.kind == PICTURE:
            parts.append({"type": PICTURE})
        elif texts[one.name]:
            parts.append({"type": TEXT, "text": texts[one.name]})
    # A message needs a part.
    return parts or [{"type": TEXT, "text": ""}]


def read_conversation(example: Example, name: str) -> Conversation:
    """What an example says and shows to model `name`.

    Raises:
        InvalidInput: an input is neither a picture nor a text or cannot be read, or there is none.
    """
    given = example.given
    if not given:
        raise InvalidInput(f"the example for model {name!r} is empty; give a picture or a text")
    for one in given:
        if one.kind not in (PICTURE, TEXT):
            noun = NOUNS.get(one.kind) or f"a value of type {type(one.value).__name__}"
            remedy = "give its frames as pictures" if one.kind == "video" else "leave it out"
            raise InvalidInput(
                f"model {name!r} takes pictures and texts, and input {one.name!r} is {noun}; "
                f"{remedy}"
            )
    pictures = {one.name: read_image(one.value) for one in given if one.kind == PICTURE}
    texts = {
        one.name: check_question(one.value, called(one.name)) for one in given if one.kind == TEXT
    }
    return Conversation(given, pictures, texts, example.messages)


def text_without(source: str, words: Sequence[Word], states: Sequence[int]) -> str:
    """A text of which some words are absent.

    Args:
        source: the text.
        words: its words, in order.
        states: of each word `PRESENT`, `DELETED` or `MASKED`.

    >>> from vqa_explain.features.words import split_words
    >>> words = split_words("Is it red?")
    >>> some = ([1, 1, 0, 1], [0, 1, 1, 1])
    >>> tuple(text_without("Is it red?", words, present) for present in some)
    ('Is it?', 'it red?')
    """
    if all(state == PRESENT for state in states):
        return source
    text, at, gap = "", 0, ""
    deleted = ""  # what was left out since the last word that stays
    for word, state in zip(words, states, strict=True):
        before = source[at : word.start]
        gap = before if not deleted else min(gap, before, key=len)
        at = word.end
        if state == DELETED:
            deleted += word.text
            continue
        said = word.text if state == PRESENT else MARK
        text += _between(text, gap, said, deleted) + said
        deleted = ""
    after = source[at:]
    return text + (after if not deleted else min(gap, after, key=len))


PRESENT, DELETED, MASKED = 1, 0, -1


def _between(before: str, gap: str, after: str, deleted: str) -> str:
    """What stands between two words that stay.

    Nothing at the beginning of a text whose first word is gone, and a blank where only a mark such
    as "/" kept two words apart.
    """
    if not deleted:
        return gap
    if not before:
        return ""
    apart = not any(_is_letter(one) for one in deleted)
    joined = not gap and _is_letter(before[-1]) and _is_letter(after[0])
    return " " if apart and joined else gap


def _is_letter(character: str) -> bool:
    """A letter or digit, or a mark that one carries."""
    return character.isalnum() or unicodedata.category(character).startswith("M")
