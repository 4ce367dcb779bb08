"""What a model writes by itself is what plain `generate` writes with the checkpoint's own settings."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import pytest
import torch
from architectures.base import ARCHITECTURES
from architectures.trying import PICTURE, example_of, loaded, network

import vqa_explain as vx
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.writing import Writing

# Decoders that run alone, a network that runs as a whole, encoders with a decoder, and networks
# that leave the writing to a part of theirs.
NAMES = ["qwen3_vl", "qwen2_vl", "mllama", "florence2", "blip2_t5", "blip2_opt"]
MOST: dict[str, Any] = {"max_new_tokens": 8}
VARIED: dict[str, Any] = {**MOST, "no_repeat_ngram_size": 1}  # else some write one word for ever
GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1}


def configurations(module: Any) -> list[Any]:
    """The generation configurations of a network and its parts."""
    found = (getattr(one, "generation_config", None) for one in module.modules())
    return [one for one in found if one is not None]


@contextmanager
def with_settings(module: Any, **settings: Any) -> Iterator[None]:
    """Inside, the checkpoint has these settings of its own and says no number of tokens else."""
    given = configurations(module)
    before = [copy.deepcopy(vars(one)) for one in given]
    for one in given:
        for name, value in {"max_new_tokens": None, **settings}.items():
            setattr(one, name, value)
    try:
        yield
    finally:
        for one, kept in zip(given, before, strict=True):
            vars(one).clear()
            vars(one).update(kept)


def plain(name: str, **more: Any) -> tuple[tuple[int, ...], str]:
    """The tokens and the text that plain `generate` gives, without the prompt."""
    module, processor = network(name)
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    with torch.no_grad():
        row = module.generate(**inputs, **GREEDY, tokenizer=processor.tokenizer, **more)[0].tolist()
    prompt = inputs["input_ids"][0].tolist() if "input_ids" in inputs else []
    if row[: len(prompt)] == prompt:
        row = row[len(prompt) :]
    words = [one for one in row if one not in processor.tokenizer.all_special_ids]
    return tuple(words), processor.tokenizer.decode(words).strip()


def said(name: str, **more: Any) -> str:
    return str(vx.answer(loaded(name), example_of(loaded(name)), **more))


def settings_of(name: str) -> dict[str, dict[str, Any]]:
    """Settings each of which changes what this network writes."""
    module, _ = network(name)
    with with_settings(module, **VARIED):
        ids, _ = plain(name)
    return {
        "number of tokens": {**VARIED, "max_new_tokens": 3},
        "ends": {**VARIED, "eos_token_id": [ids[4], ids[3]]},
        "suppressed": {**VARIED, "suppress_tokens": [ids[0]]},
        "suppressed first": {**VARIED, "begin_suppress_tokens": [ids[0]]},
        "bad words": {**VARIED, "bad_words_ids": [[ids[1]]]},
        "stop": {**VARIED, "stop_strings": [stops(name)[0]]},
        "repetition": {**MOST, "repetition_penalty": 9.0},
        "no repetition": VARIED,
    }


def stops(name: str) -> list[str]:
    """Texts of tokens that this network writes, in their order."""
    module, processor = network(name)
    with with_settings(module, **VARIED):
        ids, _ = plain(name)
    texts = [processor.tokenizer.decode([one]) for one in ids]
    found = [one for one in texts[:-1] if one.isascii() and one.strip()]
    assert len(found) > 1
    return found


SETTINGS = ("number of tokens", "ends", "suppressed", "suppressed first", "bad words", "stop")


@pytest.mark.parametrize("setting", [*SETTINGS, "repetition", "no repetition"])
@pytest.mark.parametrize("name", NAMES)
def test_the_settings_of_a_checkpoint_hold(name: str, setting: str) -> None:
    module, _ = network(name)
    loaded(name)
    with with_settings(module, **settings_of(name)[setting]):
        ids, text = plain(name)
        assert said(name) == text
        encoded = loaded(name).encode(example_of(loaded(name)))
        loaded(name).generate(encoded)
        assert loaded(name).with_answers(encoded, [text]).candidates.ids == (ids,)
    with with_settings(module, **VARIED):
        assert setting not in SETTINGS or plain(name)[0] != ids


@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_that_says_the_whole_length(name: str) -> None:
    """A `max_length` counts the prompt, or the decoder's first token."""
    module, processor = network(name)
    loaded(name)
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    behind = module.config.is_encoder_decoder or name == "blip2_t5"
    prompt = 1 if behind else inputs["input_ids"].shape[1]
    with with_settings(module, max_length=prompt + 4):
        assert said(name) == plain(name)[1]
        assert said(name, max_new_tokens=2) == plain(name, max_new_tokens=2)[1]
    if not behind:
        with with_settings(module, max_length=prompt), pytest.raises(InvalidInput) as error:
            said(name)
        assert "give max_new_tokens=" in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_what_the_user_stops_at_comes_first(name: str) -> None:
    module, _ = network(name)
    loaded(name)
    one, other, *_ = stops(name)
    with with_settings(module, **VARIED):
        whole = plain(name)[1]
    with with_settings(module, **VARIED, stop_strings=[one]):
        assert said(name) == plain(name)[1]
        assert said(name, stop=other) == plain(name, stop_strings=[other])[1]
        assert said(name, stop=[other, one]) == plain(name, stop_strings=[other, one])[1]
        assert said(name, stop=[]) == whole
        pieces: list[str] = []
        said(name, stop=[other], stream=pieces.append)
        assert "".join(pieces).strip() == said(name, stop=[other])
        asked: dict[str, Any] = {"method": "saliency", "target": "sentence", "stop": [other]}
        why = vx.explain(loaded(name), example_of(loaded(name)), **asked)
        assert why.target == said(name, stop=other)


def test_a_model_is_loaded_with_what_it_stops_at() -> None:
    module, processor = network("qwen3_vl")
    stop = stops("qwen3_vl")[1]
    with with_settings(module, **VARIED):
        model = vx.load(module, processor=processor, device="cpu", stop=stop)
        wanted = plain("qwen3_vl", stop_strings=[stop])[1]
        assert vx.answer(model, example_of(model)) == wanted
        # What is asked later comes first.
        assert vx.answer(model, example_of(model), stop=[]) == plain("qwen3_vl")[1]


def test_what_was_written_before_is_not_written_again() -> None:
    model = loaded("qwen3_vl")
    encoded = model.encode(example_of(model))
    short = model.generate(encoded, Writing(most=1))
    longer = model.generate(encoded, Writing(most=4))
    assert short != longer
    assert longer == (said("qwen3_vl", max_new_tokens=4),)


@pytest.mark.parametrize("stop", ["", [""], [".", ""], 3, [3], {"a": 1}, b"."])
def test_what_ends_no_answer_is_refused(stop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: Any, **_more: Any) -> Any:
        raise AssertionError("nothing is computed")

    model = loaded("qwen3_vl")
    monkeypatch.setattr(model, "encode", refuse)
    for ask in (vx.answer, vx.explain):
        with pytest.raises(InvalidInput, match=r"^stop "):
            ask(model, PICTURE, "What color?", stop=stop)
    module, processor = network("qwen3_vl")
    with pytest.raises(InvalidInput, match=r"^stop "):
        vx.load(module, processor=processor, stop=stop)


def test_a_model_with_answers_of_its_own_stops_nowhere() -> None:
    model = vx.load("easy-vqa", device="cpu")
    for ask in (vx.answer, vx.explain):
        with pytest.raises(Unsupported, match="leave max_new_tokens= and stop= out"):
            ask(model, PICTURE, "What color is the circle?", stop=["."])
