"""What an example says to a model that writes: texts, pictures and videos, in order."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.examples import Example, Given, check_frames, read_image
from vqa_explain.features.text import called, check_question

PLAIN = "what is it?"  # asked where only the pictures matter
# The same words with the same blanks about them, and so as many tokens, in two orders.
SAME_WORDS = ("so what is it now?", "so is what it now?")
TEXT: Final = "text"
PICTURE: Final = "image"
VIDEO: Final = "video"


@dataclass(frozen=True, eq=False)
class Visual:
    """A picture, or a video, which is several.

    Attributes:
        name: as it was given.
        frames: (H, W, 3) uint8 each; of a picture, itself.
        is_video: whether it goes the processor's way for videos.
    """

    name: str
    frames: tuple[np.ndarray, ...]
    is_video: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """The name of each frame as an input: a picture's own, or such as "video frame 1"."""
        if not self.is_video:
            return (self.name,)
        return tuple(f"{self.name} frame {number}" for number in range(1, len(self.frames) + 1))

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        height, width = self.frames[0].shape[:2]
        return height, width

    @property
    def form(self) -> tuple[bool, int, int, int]:
        """What its geometry depends on: whether it is a video, its frames, height and width."""
        return (self.is_video, len(self.frames), *self.size)

    def with_frame(self, number: int, picture: np.ndarray) -> "Visual":
        """The same with another picture in one frame."""
        frames = [picture if i == number else frame for i, frame in enumerate(self.frames)]
        return replace(self, frames=tuple(frames))


@dataclass(frozen=True, eq=False)
class Conversation:
    """What is said and shown, in order.

    Attributes:
        given: the inputs as they were given.
        texts: input name → its text.
        visuals: the pictures and videos, in order.
        messages: the chat, of an example that is one; else all is one turn of the user.
        marked: whether a token marks each picture in a prompt that no template makes; some
            processors put their own.
    """

    given: tuple[Given, ...]
    texts: Mapping[str, str]
    visuals: tuple[Visual, ...]
    messages: Sequence[Mapping[str, Any]] | None = None
    marked: bool = True

    def prompt(
        self,
        processor: Any,
        texts: Mapping[str, str] | None = None,
        behind: Mapping[str, str] | None = None,
    ) -> str:
        """The prompt by the processor's chat template, or all in a row where it has none.

        Args:
            processor: the processor.
            texts: input name → what is said in place of its text.
            behind: the name of a picture or video → a text to put behind it.

        Raises:
            InvalidInput: the template refuses the messages; or the processor has no template, which
                a chat needs.
        """
        texts, behind = texts or self.texts, behind or {}
        if getattr(processor, "chat_template", None):
            return self._by_template(processor, texts, behind)
        if self.messages is not None:
            raise InvalidInput(
                f"{type(processor).__name__} has no chat template, so it takes no messages; give "
                "the pictures and one question by Example.of"
            )
        return self._in_a_row(processor, texts, behind)

    def _by_template(
        self, processor: Any, texts: Mapping[str, str], behind: Mapping[str, str]
    ) -> str:
        from jinja2 import TemplateError

        messages = self._messages(texts, behind)
        try:
            return str(
                processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
            )
        except TemplateError as error:
            raise InvalidInput(
                f"the chat template refuses these messages: {error}; give them in the order of "
                "roles that it takes"
            ) from error

    def _messages(
        self, texts: Mapping[str, str], behind: Mapping[str, str]
    ) -> list[dict[str, Any]]:
        """The messages, each text replaced."""
        if self.messages is None:
            one_turn = [{"type": one.kind} for one in self.given]
            messages: Sequence[Mapping[str, Any]] = [{"role": "user", "content": one_turn}]
        else:
            messages = self.messages
        names = iter(self.given)
        return [_refilled(message, names, texts, behind) for message in messages]

    def _in_a_row(self, processor: Any, texts: Mapping[str, str], behind: Mapping[str, str]) -> str:
        row, said_before = "", False
        for one in self.given:
            if one.kind == TEXT:
                # Without a break, the last word of one text and the first of the next would be one.
                row += ("\n" if said_before else "") + texts[one.name]
            elif self.marked:
                row += _placeholder(processor, one.kind) + behind.get(one.name, "")
            said_before = one.kind == TEXT
        return row


def _refilled(
    message: Mapping[str, Any],
    names: Any,
    texts: Mapping[str, str],
    behind: Mapping[str, str],
) -> dict[str, Any]:
    """A message with the texts of the inputs that come next."""
    if isinstance(message["content"], str):
        return {**message, "content": texts[next(names).name]}
    contents = []
    for content in message["content"]:
        name = next(names).name
        if content["type"] == TEXT:
            contents.append({**content, "text": texts[name]})
            continue
        contents.append(content)
        if name in behind:
            contents.append({"type": TEXT, "text": behind[name]})
    return {**message, "content": contents}


def _placeholder(processor: Any, kind: str) -> str:
    """What stands for a picture or a video in a prompt that no template makes.

    Raises:
        Unsupported: the processor has none for videos.
    """
    mark = getattr(processor, f"{kind}_token", None)
    if mark is None and kind == VIDEO:
        raise Unsupported(
            f"{type(processor).__name__} has no token for videos; give the frames as pictures"
        )
    return str(getattr(mark, "content", mark) or "<image>")


def read_conversation(example: Example, name: str) -> Conversation:
    """What an example says and shows to model `name`.

    Raises:
        InvalidInput: an input is of another kind, cannot be read, or has a name that a video's
            frame has; or a picture and a question were to be given, and the picture is missing.
    """
    short = example.inputs is None and example.messages is None
    if short:  # a picture that was forgotten is no question without one
        if example.image is None:
            raise InvalidInput(
                f"model {name!r} answers about pictures, and the example has none; give one, or a "
                "chat without pictures as messages"
            )
        given: tuple[Given, ...] = (Given("image", PICTURE, example.image),)
        if example.question is not None:
            given += (Given("question", TEXT, example.question),)
    else:
        given = example.given
    visuals = [_visual(one, name) for one in given if one.kind != TEXT]
    texts = {
        one.name: check_question(one.value, called(one.name)) for one in given if one.kind == TEXT
    }
    names = [*texts, *(frame for visual in visuals for frame in visual.names)]
    twice = next((one for one in names if names.count(one) > 1), None)
    if twice is not None:
        raise InvalidInput(f"two inputs are called {twice!r}, a frame of a video; rename the other")
    return Conversation(given, texts, tuple(visuals), example.messages)


def plain_conversation(visuals: Sequence[Visual], question: str = PLAIN) -> Conversation:
    """The pictures and videos with a question behind them that does not matter."""
    shown = [Given(one.name, VIDEO if one.is_video else PICTURE, None) for one in visuals]
    asked = Given(_unused([one.name for one in visuals]), TEXT, question)
    return Conversation((*shown, asked), {asked.name: question}, tuple(visuals))


def _unused(names: Sequence[str]) -> str:
    name = "question"
    while name in names:
        name += "?"
    return name


def _visual(given: Given, name: str) -> Visual:
    """A picture or video, read."""
    if given.kind == PICTURE:
        return Visual(given.name, (read_image(given.value),))
    check_frames(given.value, given.name)
    if given.kind != VIDEO:
        raise InvalidInput(
            f"model {name!r} takes pictures, videos and texts, and input {given.name!r} is none "
            "of them but a "
            f"{given.kind if given.kind == 'table' else type(given.value).__name__}; leave it out"
        )
    frames = tuple(read_image(frame) for frame in given.value)
    sizes = {frame.shape[:2] for frame in frames}
    if len(sizes) > 1:
        raise InvalidInput(
            f"the frames of {given.name!r} have {len(sizes)} sizes; make them all of one size"
        )
    return Visual(given.name, frames, is_video=True)
