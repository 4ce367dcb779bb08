"""The prompt around a question: the chat template's tokens, the picture's, and which are the question's own."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.text import Token, Word, check_question, group_tokens


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question in its prompt.

    Attributes:
        length: the number of tokens.
        text: positions of all tokens but the picture's (T,), and `image` the picture's (N,).
        tokens: those of `text`; the template's are special.
        words: the question's.
    """

    length: int
    text: np.ndarray
    image: np.ndarray
    tokens: tuple[Token, ...]
    words: tuple[Word, ...]


def read_prompt(processor: Any, question: object, picture: Any, config: Any) -> tuple[Prompt, dict[str, Any]]:
    """The prompt, and what the processor makes of it and the picture (a PIL image).

    Raises:
        InvalidInput: the question spells out a special token, which the model would take for a command.
        Unsupported: the question's tokens cannot be found in the prompt.
    """
    asked = check_question(question)
    tokenizer = processor.tokenizer
    marks = {str(mark) for mark in [*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()] if mark.strip()}
    spelled = next((mark for mark in sorted(marks, key=len, reverse=True) if mark in asked), None)
    if spelled is not None:
        raise InvalidInput(f"the question contains {spelled!r}, which the model takes for a command; leave it out")
    text = _template(processor, asked)
    inputs = dict(processor(text=text, images=picture, return_tensors="pt"))
    inputs.pop("labels", None)
    ids = inputs["input_ids"][0].tolist()
    image = getattr(config, "image_token_id", None)
    image = image if image is not None else getattr(config, "image_token_index", None)
    plain = tokenizer(text, return_offsets_mapping=True)
    spans = _aligned(plain["input_ids"], plain["offset_mapping"], ids)
    start = text.rfind(asked)
    inside = [s is not None and s[0] < start + len(asked) and s[1] > start for s in spans]
    if not any(inside):
        raise Unsupported("the question's tokens cannot be found in the prompt of this processor")
    local = [
        (max(0, s[0] - start), min(len(asked), s[1] - start)) if own and s else (0, 0)
        for s, own in zip(spans, inside, strict=True)
    ]
    where = np.array([i for i, number in enumerate(ids) if number != image])
    tokens, words = group_tokens(
        asked,
        tokenizer.convert_ids_to_tokens([ids[i] for i in where]),
        [ids[i] for i in where],
        [local[i] for i in where],
        [not inside[i] for i in where],
    )
    return Prompt(len(ids), where, np.flatnonzero(np.array(ids) == image), tokens, words), inputs


def _template(processor: Any, question: str) -> str:
    """The processor's chat template with the picture and the question, or the two alone where it has none."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        said = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False))
    mark = getattr(processor, "image_token", None) or "<image>"
    return f"{getattr(mark, 'content', mark)}{question}"


def _aligned(plain: list[int], spans: list[tuple[int, int]], ids: list[int]) -> list[tuple[int, int] | None]:
    """The characters of each token of `ids`, where processors multiply and add tokens; `None` for theirs."""
    found: list[tuple[int, int] | None] = [None] * len(ids)
    for block in SequenceMatcher(None, plain, ids, autojunk=False).get_matching_blocks():
        found[block.b : block.b + block.size] = spans[block.a : block.a + block.size]
    return found
