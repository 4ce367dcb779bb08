"""Questions of every kind: treated as plain text, or refused in one clear error;
never as control.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from families import example_for
from guard import answered_or_refused, called, refused, unchanged

import vqa_explain as vx
from vqa_explain.features.text import check_question
from vqa_explain.models.vilt import ViltModel

PICTURE = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
BLANKS = {
    f"U+{ord(c):04X}": c
    for c in "\t\n\v\f\r \x85\xa0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
}


@pytest.mark.parametrize(
    "question", ["", *BLANKS.values(), " \n\t ", *(3 * b for b in BLANKS.values())], ids=called
)
def test_nothing_is_asked(question: str) -> None:
    refused(lambda: check_question(question), "the question is empty")


@pytest.mark.parametrize(
    "question",
    [
        "?",
        "?!…",
        "🟥🔵",
        "👩‍👩‍👧‍👦",
        "\u0301\u0302",
        "\u200f\u200f",
        "\0\0",
        "—",
        "^_~"[0:1],
        "<>",
        "☃",
    ],
    ids=called,
)
def test_marks_without_words(question: str) -> None:
    refused(lambda: check_question(question), "has no words, only marks")


@pytest.mark.parametrize(
    "question",
    [
        7,
        3.5,
        float("nan"),
        b"What?",
        ["What?"],
        ("What?",),
        {"q": "What?"},
        True,
        object(),
        str,
        np.array("What?"),
    ],
    ids=called,
)
def test_what_is_no_text(scenes_model: ViltModel, question: Any) -> None:
    refused(lambda: vx.explain(scenes_model, PICTURE, question, method="saliency"), "must be text")


PLAIN = {
    "markup": "<script>alert(1)</script> red?",
    "an image tag": '"><img src=x onerror=alert(1)> red?',
    "quotes": "'; DROP TABLE answers; -- red?",
    "a template": "{{ 7 * 7 }} ${HOME} %s {0} red?",
    "right to left": "ما لون الدائرة red?",
    "an override": "\u202ered circle?\u202c",
    "combining marks": "re\u0301\u0302\u0303\u0304d" + "\u0301" * 20 + "?",
    "emoji between": "🟥 red 👩‍👩‍👧‍👦?",
    "a lone surrogate's name": "\\ud800 red?",
    "full width": "ｒｅｄ ｃｉｒｃｌｅ？",
    "NUL": "red\0circle?",
    "a byte order mark": "\ufeffred?",
    "line ends": "red\r\ncircle\u2028?",
    "a path": "../../etc/passwd red?",
    "CJK": "圆圈是什么颜色?",
    "one letter": "a",
    "digits": "123 456",
    "very spaced": "red" + " " * 500 + "?",
    "upper": "WHAT COLOR IS THE CIRCLE?",
    "mathematics": "$x_1^2$ red?",
}


@pytest.mark.parametrize("name", PLAIN)
def test_plain_text_is_explained_and_drawn_as_it_is(
    scenes_model: ViltModel, tmp_path: Path, name: str
) -> None:
    question = PLAIN[name]
    with unchanged(scenes_model.module, tmp_path, may_add=("why.html", "why.png", "why.vqax")):
        why = vx.explain(scenes_model, PICTURE, question, method="saliency")
        assert why.question == question
        assert all(question[w.start : w.end] == w.text for w in why.words)
        page = why.to_html(tmp_path / "why.html").read_text()
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        why.plot().savefig(tmp_path / "why.png")
        assert vx.load_explanation(why.save(tmp_path / "why.vqax")).question == question


@pytest.mark.parametrize(
    "code", [*range(1, 9), 11, 12, *range(14, 32), *range(0x7F, 0x85), *range(0x86, 0xA0)], ids=hex
)
def test_control_characters(scenes_model: ViltModel, code: int) -> None:
    question = f"What color is the{chr(code)} circle?"
    with unchanged(scenes_model.module):
        why = vx.explain(scenes_model, PICTURE, question, method="saliency")
    assert [w.text for w in why.words][-2:] == ["circle", "?"]


@pytest.mark.parametrize("length", [100, 1_000, 10_000, 100_000])
@pytest.mark.parametrize("piece", ["red ", "a", "🟥 red "], ids=called)
def test_too_long(scenes_model: ViltModel, length: int, piece: str) -> None:
    question = (piece * length)[:length]
    call: Callable[[], Any] = lambda: vx.explain(scenes_model, PICTURE, question, method="saliency")  # noqa: E731
    with unchanged(scenes_model.module):
        if piece == "a" and length > 100:  # one word that the tokenizer does not know
            assert len(call().words) == 1
        elif piece != "a" and length == 100:  # 25 or 34 words
            assert len(call().words) < 40
        else:
            assert len(refused(call, r"tokens and model 'scenes' takes 40; shorten")) < 300


MARKS = [
    "[SEP]",
    "[CLS]",
    "[MASK]",
    "[PAD]",
    "[UNK]",
    "<image>",
    "<pad>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<fake_token_around_image>",
    "<end_of_utterance>",
    "[DEC]",
    "[ENC]",
    "USER:",
    "ASSISTANT:",
    "<bos>",
    "<eos>",
]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize(
    "family", ["vilt", "blip", "lxmert", "clip", "llava", "qwen2_vl", "idefics3", "paligemma"]
)
def test_special_tokens_spelled_out_are_text_or_refused(
    models: Callable[[str], Any], family: str, mark: str
) -> None:
    """The tokens of the question itself never have a special token's number."""
    model = models(family)
    tokenizer = getattr(model, "processor", None)
    tokenizer = getattr(tokenizer, "tokenizer", tokenizer) or model.tokenizer
    special = set(tokenizer.all_special_ids)
    question = f"What color is {mark} the circle?"
    with unchanged(model.module):
        encoded = answered_or_refused(
            lambda: model.encode(example_for(model, PICTURE, question)), f"{re.escape(mark)}|tokens"
        )
    if encoded is None:
        return
    plain = model.encode(example_for(model, PICTURE, "What color is the circle?"))
    own = [t.id for t in encoded.tokens if not t.special]
    assert len(own) > len([t for t in plain.tokens if not t.special])
    unknown = tokenizer.unk_token_id
    assert [number for number in own if number in special and number != unknown] == []
    assert sum(t.special for t in encoded.tokens) == sum(t.special for t in plain.tokens)
