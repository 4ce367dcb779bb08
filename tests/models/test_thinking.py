"""What a model thinks before its answer is told apart from it, and either can be explained."""

import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
import transformers
from architectures.base import ARCHITECTURES
from architectures.trying import PICTURE
from checkpoints import tokenizer
from jinja2 import Template

import vqa_explain as vx
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.thinking import Marks, find_marks, parted

THOUGHTS, SAID = "the circle is red", "a red circle."
QUESTION = "What color is the circle?"

# How a template writes turns; each says something of reasoning in its own way.
TURNS = (
    "{% for m in messages %}<{{ m.role }}>{% if m.content is string %}{% set said = m.content %}"
    "{% else %}{% set said = m.content | selectattr('text', 'defined') | map(attribute='text') | "
    "join('') %}{% endif %}BODY<end>{% endfor %}{% if add_generation_prompt %}<assistant>OPEN"
    "{% endif %}"
)
FIELD = "{% if m.NAME %}<NAME>\n{{ m.NAME }}\n</NAME>\n\n{% endif %}{{ said }}"
CHANNELS = (
    "{% if m.thinking %}<|channel|>analysis<|message|>{{ m.thinking }}<|end|><assistant>"
    "<|channel|>final<|message|>{% endif %}{{ said }}"
)
LEFT_OUT = (
    "{% if m.role == 'assistant' %}{{ said.split('</mull>')[-1] }}{% else %}{{ said }}{% endif %}"
)
ITEMS = (
    "{% if m.content is not string %}{% for c in m.content if c.type == 'thinking' %}[PONDER]"
    "{{ c.thinking }}[/PONDER]{% endfor %}{% endif %}{{ said }}"
)
TEMPLATES: dict[str, tuple[str, str, Marks | None]] = {
    "field": (FIELD.replace("NAME", "reasoning_content"), "",
              Marks("<reasoning_content>", "</reasoning_content>")),
    "other field": (FIELD.replace("NAME", "reasoning"), "", Marks("<reasoning>", "</reasoning>")),
    "opened": (FIELD.replace("NAME", "reasoning"), "<reasoning>\n",
               Marks("<reasoning>", "</reasoning>")),
    "channels": (CHANNELS, "", Marks("<|channel|>analysis<|message|>",
                 "<|end|><assistant><|channel|>final<|message|>")),
    "items": (ITEMS, "", Marks("[PONDER]", "[/PONDER]")),
    "left out": (LEFT_OUT, "", Marks("<mull>", "</mull>")),
    "none": ("{{ said }}", "", None),
}  # fmt: skip


class Processor:
    """A processor with a chat template and a tokenizer."""

    def __init__(self, body: str, opening: str, special: tuple[str, ...] = ()) -> None:
        self.chat_template: str | None = TURNS.replace("BODY", body).replace("OPEN", opening)
        self.tokenizer = tokenizer(["<pad>", *special])

    def apply_chat_template(
        self, messages: Any, *, add_generation_prompt: bool, tokenize: bool
    ) -> str:
        assert not tokenize
        given = {"messages": messages, "add_generation_prompt": add_generation_prompt}
        return str(Template(str(self.chat_template)).render(**given))


@pytest.mark.parametrize("case", TEMPLATES)
def test_marks_are_what_the_template_writes(case: str) -> None:
    body, opening, wanted = TEMPLATES[case]
    assert find_marks(Processor(body, opening)) == wanted


def test_marks_that_a_tokenizer_declares() -> None:
    processor = Processor("{{ said }}", "", ("<think>", "</think>", "<box>", "</box>"))
    assert find_marks(processor) == Marks("<think>", "</think>")
    fields = {"content": {}, "thinking": {"open": "<a>", "close": "</a>"}}
    processor.tokenizer.response_template = {"fields": fields, "start_anchor": "x"}
    assert find_marks(processor) == Marks("<a>", "</a>")
    assert find_marks(Processor("{{ said }}", "", ("<box>", "</box>"))) is None
    assert find_marks(SimpleNamespace(tokenizer=tokenizer(["<pad>"]))) is None


def test_a_template_that_refuses_turns_declares_nothing() -> None:
    processor = Processor("{{ said }}", "")
    processor.chat_template = "{{ nothing.of.this }}"
    assert find_marks(processor) is None


SPECIAL: dict[str, tuple[str, ...]] = {"one token each": ("<think>", "</think>"), "several": ()}


@pytest.mark.parametrize("special", SPECIAL)
@pytest.mark.parametrize("opened", [False, True])
@pytest.mark.parametrize("blank", ["", "\n", "\n\n", " "])
@pytest.mark.parametrize("thoughts", [THOUGHTS, "", "1 < 2 </b> 🍎", "красный"])
def test_thoughts_and_answers_are_parted(
    special: str, opened: bool, blank: str, thoughts: str
) -> None:
    words: Any = tokenizer(["<pad>", *SPECIAL[special]])
    marks = Marks("<think>", "</think>")
    text = ("" if opened else "<think>") + blank + thoughts + blank + "</think>" + blank + SAID
    ids = words(text, add_special_tokens=False)["input_ids"]
    thought, answer = parted(words, ids, marks, opened)
    assert thought.text == thoughts
    assert words.decode(thought.ids).strip() == thoughts
    assert thought.history + answer == tuple(ids)
    assert words.decode(answer) == SAID or words.decode(answer) == blank + SAID
    assert words.decode(answer).strip() == SAID
    assert thought.closed


@pytest.mark.parametrize("special", SPECIAL)
def test_what_is_no_thought(special: str) -> None:
    words, marks = tokenizer(["<pad>", *SPECIAL[special]]), Marks("<think>", "</think>")
    ids = tuple(words(SAID, add_special_tokens=False)["input_ids"])
    assert parted(words, ids, marks, False)[1] == ids
    assert parted(words, ids, None, True)[1] == ids
    # Nor an answer, where the thought has no end.
    thought, answer = parted(words, ids, marks, True)
    assert (thought.text, thought.closed, answer) == (SAID, False, ())


NAMES = ["qwen3_vl", "internvl", "florence2"]


def thinking_model(name: str, opened: bool = False) -> Any:
    """A model whose tokenizer has marks of thinking; they are rows of its embeddings."""
    module, processor = ARCHITECTURES[name].made()
    words = processor.tokenizer
    words.add_tokens(["<think>", "</think>"])
    module.generation_config.eos_token_id = module.generation_config.max_new_tokens = None
    size = module.get_input_embeddings().weight.shape[0]
    if len(words) > size:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            module.resize_token_embeddings(len(words), mean_resizing=False)
            torch.nn.init.normal_(module.get_input_embeddings().weight[size:], std=0.2)
    if opened:
        processor.chat_template += "<think>\n"
    return vx.load(module, processor=processor, device="cpu", max_new_tokens=60)


class Writes(transformers.LogitsProcessor):
    """Makes a network write certain tokens."""

    def __init__(self, ids: list[int]) -> None:
        self.left = list(ids)

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        wanted = torch.full_like(scores, -1e9)
        wanted[:, self.left.pop(0)] = 0.0
        return wanted


@contextmanager
def writing(model: Any, text: str) -> Iterator[None]:
    """Inside, the network writes this text by itself, by transformers' own `generate`."""
    ids = model.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    plain = model.module.generate

    def generate(*args: Any, **asked: Any) -> Any:
        if asked.get("return_dict_in_generate"):
            return plain(*args, **asked)
        asked["max_new_tokens"] = min(asked["max_new_tokens"], len(ids))
        return plain(*args, **asked, logits_processor=[Writes(ids)])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model.module, "generate", generate)
        yield


WHOLE = f"<think>\n{THOUGHTS}\n</think>\n\n{SAID}"


def example() -> vx.Example:
    return vx.Example(PICTURE, QUESTION)


@pytest.mark.parametrize(
    ("name", "opened"), [*((name, False) for name in NAMES), ("qwen3_vl", True), ("internvl", True)]
)
def test_an_answer_comes_with_what_was_thought(name: str, opened: bool) -> None:
    model = thinking_model(name, opened)
    with writing(model, WHOLE.removeprefix("<think>\n") if opened else WHOLE):
        said: list[str] = []
        thought: list[str] = []
        found = vx.answer(model, example(), stream=said.append, stream_thinking=thought.append)
        alone: list[str] = []
        vx.answer(model, example(), stream=alone.append)
    assert found == SAID
    assert found.thinking == THOUGHTS
    assert "".join(said).strip() == SAID
    assert len(said) > 2
    assert "".join(thought).strip() == THOUGHTS
    assert alone == said
    assert pickle.loads(pickle.dumps(found)).thinking == THOUGHTS  # our own


def plain_steps(model: Any, text: str) -> tuple[np.ndarray, list[int]]:
    """Log-probabilities of each token of a text behind the prompt, by one plain pass."""
    processor = model.processor
    name = next(n for n in NAMES if type(ARCHITECTURES[n].made()[0]) is type(model.module))
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
    more = {}
    if model.module.config.is_encoder_decoder:
        more["decoder_input_ids"] = torch.tensor([[ARCHITECTURES[name].start, *ids[:-1]]])
        count = 0
    else:
        count = inputs["input_ids"].shape[1] - 1
        longer = {"input_ids": ids, "attention_mask": [1] * len(ids)}
        for key, values in inputs.items():
            if key in longer or key in ("mm_token_type_ids", "token_type_ids"):
                tail = torch.tensor([longer.get(key, [0] * len(ids))])
                inputs[key] = torch.cat([values, tail], dim=1)
    with torch.no_grad():
        logits = model.module(**inputs, **more).logits[0, count : count + len(ids)].double()
    return logits.log_softmax(-1)[range(len(ids)), ids].numpy(), ids


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_either_has_the_scores_of_a_plain_pass(name: str, tmp_path: Path) -> None:
    model = thinking_model(name)
    steps, ids = plain_steps(model, WHOLE)
    decode: Callable[[list[int]], str] = model.processor.tokenizer.decode
    answer = next(n for n in range(len(ids)) if decode(ids[n:]) == SAID)
    inner = ids.index(model.processor.tokenizer.convert_tokens_to_ids("</think>"))
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 1}
    with writing(model, WHOLE):
        why = vx.explain(model, example(), target="sentence", **asked)
        thought = vx.explain(model, example(), target="thinking", **asked)
        given = vx.explain(model, example(), target=SAID, answers=["blue", SAID], **asked)
    allowed = 1e-4 * np.abs(steps).sum()
    for explained, part in ((why, steps[answer:]), (thought, steps[1:inner])):
        logs = explained.matrix.log_probabilities
        np.testing.assert_allclose(logs.sum(), part.sum(), rtol=0, atol=allowed)
    assert (why.target, why.thinking) == (SAID, THOUGHTS)
    assert (thought.target, thought.thinking) == (THOUGHTS, "")
    assert any("target='thinking' explains them" in note for note in why.notes)
    # Candidates that are given stand behind the thought too.
    told = {one.text: one.probability for one in given.answers}
    np.testing.assert_allclose(np.log(told[SAID]), steps[answer:].sum(), rtol=0, atol=allowed)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert again.thinking == THOUGHTS
    assert again.written == why.written


@pytest.mark.slow
def test_rows_behind_a_thought_are_those_of_target_token() -> None:
    model = thinking_model("qwen3_vl")
    with writing(model, WHOLE):
        for method in ("saliency", "attention", "relevance", "grad_cam"):
            why = vx.explain(model, example(), target="sentence", method=method)
            one = vx.explain(model, example(), target=SAID, target_token=0, method=method)
            encoded = model.encode(example())
            model.generate(encoded)
            words = model.as_words(model.with_answers(encoded, [SAID]), 0).candidates
            assert words.spans[0] == (0, 1)
            for mine, wanted in zip(why.outputs[0].parts, one.parts, strict=True):
                np.testing.assert_allclose(mine.values, wanted.values, rtol=1e-3, atol=1e-6)


def test_a_thought_without_an_end() -> None:
    model = thinking_model("qwen3_vl")
    with writing(model, f"<think>{THOUGHTS}"):
        for ask in (vx.answer, vx.explain):
            with pytest.raises(InvalidInput, match="give more by max_new_tokens="):
                ask(model, example())
        with pytest.raises(InvalidInput, match="give more by max_new_tokens="):
            vx.explain(model, example(), answers=["yes", "no"])
        why = vx.explain(model, example(), target="thinking", method="saliency")
        assert why.target == THOUGHTS


@pytest.mark.parametrize("stop", ["\n", "light", THOUGHTS[-1]])
def test_a_stop_string_inside_a_thought_is_named(stop: str) -> None:
    model = thinking_model("qwen3_vl")
    ends = THOUGHTS if stop in THOUGHTS else THOUGHTS + stop
    until = ends[: ends.index(stop) + len(stop)]
    with writing(model, f"<think>{until}"):
        for ask in (vx.answer, vx.explain):
            with pytest.raises(InvalidInput, match=r"has the stop string .* stop=.. for none"):
                ask(model, example(), stop=stop)
        with pytest.raises(InvalidInput, match="give more by max_new_tokens="):
            vx.answer(model, example(), stop="§")


def test_a_thought_with_its_closing_mark_alone_is_not_streamed_as_the_answer() -> None:
    model = thinking_model("qwen3_vl")
    for text, wanted in ((f"{THOUGHTS}</think>{SAID}", THOUGHTS), (SAID, "")):
        said: list[str] = []
        thought: list[str] = []
        with writing(model, text):
            found = vx.answer(model, example(), stream=said.append, stream_thinking=thought.append)
        assert "".join(said).strip() == found == SAID
        assert "".join(thought).strip() == found.thinking == wanted


@pytest.mark.slow
def test_what_is_not_thought_is_not_explained() -> None:
    model = thinking_model("qwen3_vl")
    with writing(model, SAID):
        assert vx.answer(model, example()).thinking == ""
        with pytest.raises(InvalidInput, match="thought nothing before this answer"):
            vx.explain(model, example(), target="thinking")
    asked: dict[str, Any]
    for asked in ({"contrast": "a"}, {"target_token": 1}, {"answers": ["a"]}):
        with pytest.raises(InvalidInput, match="leave"):
            vx.explain(model, example(), target="thinking", **asked)
    with pytest.raises(InvalidInput, match="stands alone"):
        vx.explain(model, example(), target=["thinking", "a"])
    module, processor = ARCHITECTURES["qwen3_vl"].made()
    plain = vx.load(module, processor=processor, device="cpu")
    with pytest.raises(Unsupported, match="declares no marks"):
        vx.explain(plain, example(), target="thinking")
