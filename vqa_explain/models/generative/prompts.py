"""The prompt: which of its tokens are of which text or picture, and which the template adds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.text import Token, called, group_tokens
from vqa_explain.features.words import Word, split_words
from vqa_explain.models.generative.conversation import Conversation
from vqa_explain.models.wording import check_spelling

Inputs = dict[str, Any]  # what a processor gives, by name
# A prompt (of a conversation that shows the same) → what the processor gives for it.
Process = Callable[[str], Inputs]
Characters = tuple[int, int]  # the first and the end of a token, in characters of a prompt


@dataclass(frozen=True, eq=False)
class TextTokens:
    """One text's share of the prompt.

    Attributes:
        ids: (T,) token numbers.
        tokens: the T tokens; those that the template adds are special.
        words: the text's.
    """

    ids: tuple[int, ...]
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


@dataclass(frozen=True, eq=False)
class Prompt:
    """The prompt as tokens.

    Attributes:
        length: how many there are.
        places: the name of a text, picture or video → the positions of its tokens. Texts share all
            positions that show nothing: what the template adds belongs to the text before it, or
            else to the first.
        texts: input name → its tokens.
        written: the prompt before it was made tokens.
        found: input name → where that text is in `written`.
    """

    length: int
    places: Mapping[str, np.ndarray]
    texts: Mapping[str, TextTokens]
    written: str = ""
    found: Mapping[str, "TextPlace"] = field(default_factory=dict)


@dataclass(frozen=True)
class TextPlace:
    """Where a text is in the prompt.

    Attributes:
        start, end: in characters of the prompt.
        skipped: how many characters of the text's beginning the template trims.
    """

    start: int
    end: int
    skipped: int

    def local(self, span: Characters | None, length: int) -> Characters | None:
        """A token's characters in the text, of so many; `None` for one that the template adds.

        Args:
            span: its characters in the prompt, or `None` for a token of the processor's own.
            length: the text's.
        """
        if span is None or span[0] >= self.end or span[1] <= self.start:
            return None
        shift = self.skipped - self.start
        return max(0, span[0] + shift), min(length, span[1] + shift)


def read_prompt(
    processor: Any, conversation: Conversation, process: Process, config: Any
) -> tuple[Prompt, Inputs]:
    """The prompt, and what the processor makes of it.

    Args:
        processor: the processor.
        conversation: what is said and shown.
        process: a prompt → what the processor gives for it and what is shown.
        config: the model's.

    Raises:
        InvalidInput: a text spells out a special token, which the model would take for a command.
        Unsupported: the tokens of a text, or of a picture, cannot be told.
    """
    _refuse_commands(processor, conversation.texts)
    prompt, found = locate_texts(
        lambda texts: conversation.prompt(processor, texts), conversation.texts
    )
    inputs = process(prompt)
    if "input_ids" not in inputs:
        raise Unsupported(
            f"{type(processor).__name__} does not turn a question into tokens (it returns "
            f"{', '.join(inputs)}), so words cannot be explained; wrap the network in "
            "vqa_explain.CustomModel"
        )
    ids: list[int] = inputs["input_ids"][0].tolist()
    visual = np.isin(ids, _visual_tokens(config, conversation))
    spans = _characters(processor.tokenizer, prompt, ids)
    owner = _owners(spans, found)
    shares = _shares(owner, visual, list(found))
    texts = {
        name: _text_tokens(processor, name, conversation.texts[name], found[name], ids, spans, at)
        for name, at in shares.items()
    }
    shown = _places_shown(processor, conversation, process, visual, config)
    return Prompt(len(ids), {**shares, **shown}, texts, prompt, found), inputs


def bare_settings(tokenizer: Any, prompt: str) -> dict[str, Any]:
    """How tokenizers are called for a prompt: some begin it with what `tokenizer` would put there
    once more.
    """
    start = getattr(tokenizer, "bos_token", None)
    begins_itself = bool(start) and prompt.startswith(str(start))
    return {"add_special_tokens": False} if begins_itself else {}


def _refuse_commands(processor: Any, texts: Mapping[str, str]) -> None:
    tokenizer = processor.tokenizer
    placeholders = [getattr(processor, f"{kind}_token", None) for kind in ("image", "video")]
    named = [str(getattr(mark, "content", mark)) for mark in placeholders if mark is not None]
    marks = {
        str(mark)
        for mark in [*tokenizer.all_special_tokens, *tokenizer.get_added_vocab(), *named]
        if mark.strip()
    }
    for name, text in texts.items():
        longest = sorted(marks, key=len, reverse=True)
        spelled = next((mark for mark in longest if mark in text), None)
        if spelled is not None:
            raise InvalidInput(
                f"{called(name)} contains {spelled!r}, which the model takes for a command; leave "
                "it out"
            )


# A text that no template and no other text has; letters behind it tell several apart.
_MARK = "qzxwjvkq"


def _mark(number: int) -> str:
    first, second, third = number // 676 % 26, number // 26 % 26, number % 26
    return _MARK + "".join(chr(ord("a") + letter) for letter in (first, second, third))


def locate_texts(
    render: Callable[[Mapping[str, str]], str], texts: Mapping[str, str]
) -> tuple[str, dict[str, TextPlace]]:
    """The prompt, and where each text is in it, in the prompt's order.

    Where they are is found with marks in their place: the template's own text, or another text, may
    hold the same words.

    Args:
        render: texts by name → the prompt.
        texts: the texts.

    Raises:
        Unsupported: the template changes a text, leaves it out, or uses it more than once.
    """
    marks = {name: _mark(number) for number, name in enumerate(texts)}
    marked = render(marks)
    for name, mark in marks.items():
        times = marked.count(mark)
        if times == 0:
            raise Unsupported(
                f"the chat template changes {called(name)} or leaves it out, so its words have no "
                'sure place in the prompt; give its content as [{"type": "text", "text": …}], '
                "which some templates need, or a processor with another chat template"
            )
        if times > 1:
            raise Unsupported(
                f"the chat template uses {called(name)} {times} times instead of once, so its "
                "words have no one place in the prompt; give a processor with another chat "
                "template"
            )
    order = sorted(texts, key=lambda name: marked.index(marks[name]))
    between: list[str] = []  # what the template puts before each text, and behind the last
    rest = marked
    for name in order:
        before, rest = rest.split(marks[name])
        between.append(before)
    between.append(rest)
    prompt = render(texts)
    return prompt, _followed(prompt, order, texts, between)


def _followed(
    prompt: str, order: list[str], texts: Mapping[str, str], between: list[str]
) -> dict[str, TextPlace]:
    """Where each text is in a prompt that must be made of them and what is between them."""
    found: dict[str, TextPlace] = {}
    at = len(between[0])
    intact = prompt.startswith(between[0])
    for number, name in enumerate(order):
        text, behind = texts[name], between[number + 1]
        is_last = number == len(order) - 1
        # A template may trim a text on either side.
        forms = (text, text.lstrip(), text.rstrip(), text.strip())
        fits = [
            form
            for form in dict.fromkeys(forms)
            if (prompt[at:] == form + behind if is_last else prompt.startswith(form + behind, at))
        ]
        if not intact or not fits:
            kept = prompt[at : at + len(text)]
            raise Unsupported(
                f"the chat template changes {called(name)} {text[:60]!r} to {kept[:60]!r}, so its "
                "words have no sure place in the prompt; write it as the template does"
            )
        kept = fits[0]
        found[name] = TextPlace(at, at + len(kept), text.index(kept))
        at += len(kept) + len(behind)
    return found


def visual_tokens(config: Any, videos: bool = False) -> list[int]:
    """The numbers of the tokens that stand for pictures, and for videos where there are any."""
    names = ["image_token_id", "image_token_index"]
    if videos:
        names += ["video_token_id", "video_token_index"]
    known = [getattr(config, name, None) for name in names]
    return [number for number in known if isinstance(number, int)]


def _visual_tokens(config: Any, conversation: Conversation) -> list[int]:
    return visual_tokens(config, any(visual.is_video for visual in conversation.visuals))


def _characters(tokenizer: Any, prompt: str, ids: list[int]) -> list[Characters | None]:
    """The characters of each token; `None` for tokens that the processor adds or multiplies."""
    plain = tokenizer(prompt, return_offsets_mapping=True, **bare_settings(tokenizer, prompt))
    return _aligned(plain["input_ids"], plain["offset_mapping"], ids)


def _aligned(plain: list[int], spans: list[Characters], ids: list[int]) -> list[Characters | None]:
    found: list[Characters | None] = [None] * len(ids)
    for block in SequenceMatcher(None, plain, ids, autojunk=False).get_matching_blocks():
        found[block.b : block.b + block.size] = spans[block.a : block.a + block.size]
    return found


def _owners(spans: list[Characters | None], found: Mapping[str, TextPlace]) -> list[str | None]:
    """The text that each token is of; `None` for the template's.

    Raises:
        Unsupported: a text has no token, or a token is of two texts.
    """
    owner: list[str | None] = [None] * len(spans)
    for name, place in found.items():
        mine = [
            i
            for i, span in enumerate(spans)
            if span is not None and span[0] < place.end and span[1] > place.start
        ]
        if not mine:
            raise Unsupported(
                f"the tokens of {called(name)} cannot be found in the prompt of this processor"
            )
        shared = next((other for i in mine if (other := owner[i]) is not None), None)
        if shared is not None:
            raise Unsupported(
                f"one token of the prompt is of {called(shared)} and of {called(name)}; put a "
                "line break between them"
            )
        for i in mine:
            owner[i] = name
    return owner


def _shares(owner: list[str | None], visual: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """Each text's positions, and with them the template's behind it, or before the first.

    Args:
        owner: the text that each token is of.
        visual: (N,) bool, the tokens of pictures.
        names: the texts in the prompt's order.
    """
    if not names:
        return {}
    starts = [owner.index(name) for name in names]
    ends = [*starts[1:], len(owner)]
    starts[0] = 0
    positions = np.flatnonzero(~visual)
    return {
        name: positions[(positions >= start) & (positions < end)]
        for name, start, end in zip(names, starts, ends, strict=True)
    }


def _text_tokens(
    processor: Any,
    name: str,
    text: str,
    place: TextPlace,
    ids: list[int],
    spans: list[Characters | None],
    positions: np.ndarray,
) -> TextTokens:
    """The tokens and words of one text, of positions that it has in the prompt.

    Raises:
        Unsupported: a letter or digit of it has no token there.
    """
    mine = [place.local(spans[i], len(text)) for i in positions]
    numbers = tuple(ids[i] for i in positions)
    tokens, words = group_tokens(
        split_words(text),
        text,
        processor.tokenizer.convert_ids_to_tokens(list(numbers)),
        numbers,
        [span or (0, 0) for span in mine],
        [span is None for span in mine],
    )
    check_spelling(processor.tokenizer, tokens, words, type(processor).__name__)
    _check_whole(name, text, words, place)
    return TextTokens(numbers, tokens, words)


def _check_whole(name: str, text: str, words: tuple[Word, ...], place: TextPlace) -> None:
    """Every letter and digit of a text that the prompt has must be in a word with a token.

    Raises:
        Unsupported: one is not, so that its value would be missing.
    """
    covered = {i for word in words for i in range(word.start, word.end)}
    kept = range(place.skipped, place.skipped + place.end - place.start)
    missing = next((text[i] for i in kept if text[i].isalnum() and i not in covered), None)
    if missing is not None:
        raise Unsupported(
            f"the character {missing!r} of {called(name)} has no token that can be found in the "
            "prompt; write it otherwise"
        )


def _places_shown(
    processor: Any,
    conversation: Conversation,
    process: Process,
    visual: np.ndarray,
    config: Any,
) -> dict[str, np.ndarray]:
    """The name of each picture and video → the positions of its tokens.

    Tokens of pictures may stand side by side, or in many runs for one picture. So the processor is
    asked once more for a prompt with a mark behind each of them, and the tokens before each mark
    are counted.

    Raises:
        Unsupported: the marks do not part the tokens.
    """
    names = [one.name for one in conversation.visuals]
    positions = np.flatnonzero(visual)
    if len(names) < 2:
        return dict.fromkeys(names, positions)
    marks = {name: f" {_mark(number)} " for number, name in enumerate(names)}
    prompt = conversation.prompt(processor, None, marks)
    ids = process(prompt)["input_ids"][0].tolist()
    spans = _characters(processor.tokenizer, prompt, ids)
    ends = [_first_token(prompt, spans, mark.strip()) for mark in marks.values()]
    shown = np.flatnonzero(np.isin(ids, _visual_tokens(config, conversation)))
    counts = np.diff([0, *(int((shown < end).sum()) for end in ends)])
    if counts.sum() != len(positions) or (counts < 1).any() or len(shown) != len(positions):
        raise Unsupported(
            f"it cannot be told which of the prompt's {len(positions)} picture tokens are of "
            f"which of {', '.join(map(repr, names))}; give one picture, or wrap the network in "
            "vqa_explain.CustomModel"
        )
    return dict(zip(names, np.split(positions, np.cumsum(counts)[:-1]), strict=True))


def _first_token(prompt: str, spans: list[Characters | None], mark: str) -> int:
    """The position of the first token of a mark; -1 where it is not there once."""
    if prompt.count(mark) != 1:
        return -1
    start = prompt.index(mark)
    end = start + len(mark)
    inside = (i for i, span in enumerate(spans) if span and span[0] < end and span[1] > start)
    return next(inside, -1)
