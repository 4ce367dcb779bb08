"""What a model writes before its answer: reasoning, between marks that its processor declares.

No family is known by name. Marks are, in this order: those of the tokenizer's `response_template`;
what the chat template writes around the reasoning of a message that has some; pairs of marks
whose inside the template leaves out of earlier turns; and pairs of added tokens that speak of
thinking.
"""

import logging
import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from vqa_explain.errors import InvalidInput

log = logging.getLogger("vqa_explain")
INSIDE, BEHIND, ASKED = "qzxwjvkqaa", "qzxwjvkqbb", "qzxwjvkqcc"  # texts that no template has
# Where templates look for the reasoning of a message.
FIELDS = ("reasoning_content", "reasoning", "thinking")
MARK = re.compile(r"<\|?/?[\w:]+\|?>|\[/?[A-Z_]+\]")  # such as <think>, </think> and [THINK]
SPEAKS_OF_THINKING = re.compile("think|thought|reason", re.IGNORECASE)


@dataclass(frozen=True)
class Marks:
    """The texts before and behind what a model thinks."""

    opening: str
    closing: str


@dataclass(frozen=True)
class Thought:
    """What a model wrote before its answer, as tokens.

    Attributes:
        text: what it thought, without marks and special tokens; "" for nothing.
        ids: the tokens of that text.
        before: the tokens that open it.
        history: all tokens before the answer, marks included.
        closed: whether it came to an end, so that an answer follows.
    """

    text: str
    ids: tuple[int, ...]
    before: tuple[int, ...]
    history: tuple[int, ...]
    closed: bool


NOTHING = Thought("", (), (), (), True)


def thought_nothing(name: str) -> InvalidInput:
    """That model `name` thought nothing which could be explained."""
    return InvalidInput(
        f"model {name!r} thought nothing before this answer; explain the answer by "
        "target='sentence'"
    )


def find_marks(processor: Any) -> Marks | None:
    """The marks around what the model of a processor thinks; `None` where it declares none."""
    tokenizer = getattr(processor, "tokenizer", processor)
    return (
        _of_responses(tokenizer)
        or _of_messages(processor)
        or _left_out(processor, tokenizer)
        or _added(tokenizer)
    )


def parted(
    tokenizer: Any, ids: Sequence[int], marks: Marks | None, opened: bool
) -> tuple[Thought, tuple[int, ...]]:
    """What a model thought, and the tokens of its answer.

    Blank tokens between both belong to the thought, so that any answer can stand behind it.

    Args:
        tokenizer: what decodes.
        ids: the tokens that the model wrote.
        marks: those of its processor; `None` for a model that does not think.
        opened: whether the prompt ends with the opening mark, so that it thinks from the start.
    """
    row = tuple(ids)
    if marks is None:
        return NOTHING, row
    text = _decoded(tokenizer, row)
    begins = text.lstrip().startswith(marks.opening)
    closed = marks.closing in text
    if not (closed or begins or opened):
        return NOTHING, row
    behind = _first(row, lambda start: marks.closing in _decoded(tokenizer, start))
    start = _first(row, lambda part: marks.opening in _decoded(tokenizer, part)) if begins else 0
    end = len(row)
    if closed:
        at = text.index(marks.closing)
        end = _first(row, lambda part: len(_decoded(tokenizer, part)) > at) - 1
        while behind < len(row) and not _decoded(tokenizer, row[behind : behind + 1]).strip():
            behind += 1
    special = set(tokenizer.all_special_ids)
    inner = tuple(one for one in row[start : max(start, end)] if one not in special)
    shown = tokenizer.decode(inner).strip()
    thought = Thought(shown, inner, row[:start], row[:behind], closed)
    return thought, row[behind:]


def _decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=False))


def _first(row: tuple[int, ...], holds: Any) -> int:
    """With how many first tokens something holds, which then stays so; all of them if with none."""
    many = range(len(row) + 1)
    return min(len(row), bisect_left(many, True, key=lambda count: holds(row[:count])))


def _of_responses(tokenizer: Any) -> Marks | None:
    """The marks of the one field besides the content that a response template declares as text."""
    fields = (getattr(tokenizer, "response_template", None) or {}).get("fields", {})
    for name, field in fields.items():
        opening, closing = field.get("open"), field.get("close")
        known = name in FIELDS or SPEAKS_OF_THINKING.search(name)
        if known and isinstance(opening, str) and isinstance(closing, str):
            return Marks(opening.strip(), closing.strip())
    return None


def _rendered(processor: Any, messages: list[dict[str, Any]], ask: bool = False) -> str:
    """What the chat template makes of messages; "" where it has none, or takes them not."""
    if not getattr(processor, "chat_template", None):
        return ""
    try:
        return str(
            processor.apply_chat_template(messages, add_generation_prompt=ask, tokenize=False)
        )
    except Exception as error:  # of any kind: a template is a stranger's program
        log.info("the chat template takes no such messages: %s", error)
        return ""


def _said(role: str, text: str, listed: bool, **more: Any) -> dict[str, Any]:
    content: Any = [{"type": "text", "text": text}] if listed else text
    return {"role": role, "content": content, **more}


def _of_messages(processor: Any) -> Marks | None:
    """What the template writes around the reasoning of an answer that has some."""
    for listed in (True, False):
        asked = _said("user", ASKED, listed)
        prompt = _rendered(processor, [asked], ask=True)
        for message in _with_reasoning(listed):
            whole = _rendered(processor, [asked, message])
            inside, behind = whole.find(INSIDE), whole.find(BEHIND)
            if not 0 <= inside < behind:
                continue
            closing = whole[inside + len(INSIDE) : behind].strip()
            both = zip(prompt, whole, strict=False)
            begun = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], both))
            opening = whole[begun:inside].strip() or _last_mark(whole[:inside])
            if opening and closing:
                return Marks(opening, closing)
    return None


def _last_mark(text: str) -> str:
    """The mark that a text ends with, or else what stands behind its last blank; "" for nothing."""
    marks = MARK.findall(text)
    if marks and text.rstrip().endswith(marks[-1]):
        return str(marks[-1])
    return [*text.split(), ""][-1]


def _with_reasoning(listed: bool) -> Iterator[dict[str, Any]]:
    """An answer with reasoning, in each form that templates take."""
    for field in FIELDS:
        yield _said("assistant", BEHIND, listed, **{field: INSIDE})
    thoughts = {"type": "thinking", "thinking": INSIDE}
    yield {"role": "assistant", "content": [thoughts, {"type": "text", "text": BEHIND}]}


def _left_out(processor: Any, tokenizer: Any) -> Marks | None:
    """A pair of marks whose inside the template leaves out of what was said before."""
    template = str(getattr(processor, "chat_template", None) or "")
    for marks in _pairs([*MARK.findall(template), *tokenizer.get_added_vocab()]):
        for listed in (True, False):
            spoken = f"{marks.opening}{INSIDE}{marks.closing}{BEHIND}"
            turns = [("user", ASKED), ("assistant", spoken), ("user", ASKED)]
            whole = _rendered(processor, [_said(role, text, listed) for role, text in turns])
            if BEHIND in whole and INSIDE not in whole:
                return marks
    return None


def _added(tokenizer: Any) -> Marks | None:
    """A pair of added tokens that speak of thinking."""
    pairs = _pairs([*tokenizer.get_added_vocab(), *tokenizer.all_special_tokens])
    return next((one for one in pairs if SPEAKS_OF_THINKING.search(one.opening)), None)


def _pairs(texts: Sequence[str]) -> list[Marks]:
    """Those of which one is the other with a slash, such as <think> and </think>."""
    there = dict.fromkeys(str(one) for one in texts)
    closing = [one for one in there if "/" in one and one.replace("/", "", 1) in there]
    # A template that cuts the text behind the closing mark may name that alone.
    alone = [one for one in there if "/" in one and one not in closing]
    return [Marks(one.replace("/", "", 1), one) for one in [*closing, *alone]]
