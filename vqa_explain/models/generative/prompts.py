"""The prompt around a question: the chat template's tokens, the picture's, and which are the question's own."""

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.features.text import Token, check_question, group_tokens
from vqa_explain.features.words import Word, split_words
from vqa_explain.models.wording import check_spelling


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


def read_prompt(
    processor: Any, question: object, picture: Any, config: Any
) -> tuple[Prompt, dict[str, Any]]:
    """The prompt, and what the processor makes of it and the picture (a PIL image).

    Raises:
        InvalidInput: the question spells out a special token, which the model would take for a command.
        Unsupported: the question's tokens cannot be found in the prompt.
    """
    asked = check_question(question)
    tokenizer = processor.tokenizer
    marks = {
        str(mark)
        for mark in [*tokenizer.all_special_tokens, *tokenizer.get_added_vocab()]
        if mark.strip()
    }
    spelled = next((mark for mark in sorted(marks, key=len, reverse=True) if mark in asked), None)
    if spelled is not None:
        raise InvalidInput(
            f"the question contains {spelled!r}, which the model takes for a command; leave it out"
        )
    text, start, kept = _prompted(processor, asked)
    inputs = dict(processor(text=text, images=picture, return_tensors="pt"))
    inputs.pop("labels", None)
    if "input_ids" not in inputs:
        raise Unsupported(
            f"{type(processor).__name__} does not turn a question into tokens (it returns {', '.join(inputs)}), so "
            "words cannot be explained; wrap the network in vqa_explain.CustomModel"
        )
    ids = inputs["input_ids"][0].tolist()
    image = getattr(config, "image_token_id", None)
    image = image if image is not None else getattr(config, "image_token_index", None)
    plain = tokenizer(text, return_offsets_mapping=True)
    spans = _aligned(plain["input_ids"], plain["offset_mapping"], ids)
    inside = [s is not None and s[0] < start + len(kept) and s[1] > start for s in spans]
    if not any(inside):
        raise Unsupported("the question's tokens cannot be found in the prompt of this processor")
    if kept not in asked:
        raise Unsupported(
            f"the chat template adds blanks to the question {asked[:60]!r}, so its words have no sure place"
        )
    shift = asked.index(kept) - start  # the template may have trimmed the question
    local = [
        (max(0, s[0] + shift), min(len(asked), s[1] + shift)) if own and s else (0, 0)
        for s, own in zip(spans, inside, strict=True)
    ]
    where = np.array([i for i, number in enumerate(ids) if number != image])
    tokens, words = group_tokens(
        split_words(asked),
        asked,
        tokenizer.convert_ids_to_tokens([ids[i] for i in where]),
        [ids[i] for i in where],
        [local[i] for i in where],
        [not inside[i] for i in where],
    )
    check_spelling(tokenizer, tokens, words, type(processor).__name__)
    _check_whole(asked, words, kept)
    return Prompt(len(ids), where, np.flatnonzero(np.array(ids) == image), tokens, words), inputs


# A question that no template and no other text has.
_MARK = "qzxwjvkq"


def _prompted(processor: Any, question: str) -> tuple[str, int, str]:
    """The prompt, where the question begins in it, and what of the question is there.

    Where it is, is found with another question in its place: the template's own text may hold the
    same words.

    Raises:
        Unsupported: the template changes the question, or uses it more than once.
    """
    around = _template(processor, _MARK).split(_MARK)
    if len(around) == 1:
        raise Unsupported(
            "the chat template changes the question or leaves it out, so its words have no sure place in the "
            "prompt; give a processor with another chat template"
        )
    if len(around) != 2:
        raise Unsupported(
            f"the chat template uses the question {len(around) - 1} times instead of once, so its words "
            "have no one place in the prompt; give a processor with another chat template"
        )
    before, after = around
    text = _template(processor, question)
    kept = text[len(before) : len(text) - len(after)]
    if not (text.startswith(before) and text.endswith(after)) or kept.strip() != question.strip():
        raise Unsupported(
            f"the chat template changes the question {question[:60]!r} to {kept[:60]!r}, so its words "
            "have no sure place in the prompt; write it as the template does"
        )
    return text, len(before), kept


def _check_whole(question: str, words: tuple[Word, ...], kept: str) -> None:
    """Every letter and digit of the question that the prompt has must be in a word with a token.

    Raises:
        Unsupported: one is not, so that its value would be missing.
    """
    covered = {i for word in words for i in range(word.start, word.end)}
    start = question.index(kept)
    missing = next(
        (
            question[i]
            for i in range(start, start + len(kept))
            if question[i].isalnum() and i not in covered
        ),
        None,
    )
    if missing is not None:
        raise Unsupported(
            f"the character {missing!r} of the question has no token that can be found in the prompt; "
            "write the question otherwise"
        )


def _template(processor: Any, question: str) -> str:
    """The processor's chat template with the picture and the question, or the two alone where it has none."""
    if getattr(processor, "chat_template", None):
        content = [{"type": "image"}, {"type": "text", "text": question}]
        said = [{"role": "user", "content": content}]
        return str(processor.apply_chat_template(said, add_generation_prompt=True, tokenize=False))
    mark = getattr(processor, "image_token", None) or "<image>"
    return f"{getattr(mark, 'content', mark)}{question}"


def _aligned(
    plain: list[int], spans: list[tuple[int, int]], ids: list[int]
) -> list[tuple[int, int] | None]:
    """The characters of each token of `ids`, where processors multiply and add tokens; `None` for theirs."""
    found: list[tuple[int, int] | None] = [None] * len(ids)
    for block in SequenceMatcher(None, plain, ids, autojunk=False).get_matching_blocks():
        found[block.b : block.b + block.size] = spans[block.a : block.a + block.size]
    return found
