"""Mistakes that people make with a checkpoint end in one sentence that names the remedy."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES
from architectures.trying import PICTURE, example_of, loaded, network
from families import QUESTION

import vqa_explain as vx

EXAMPLE = vx.Example(PICTURE, QUESTION)
BOTH = ("vilt", "blip", "clip", "siglip", "llava")  # families of one processor for both


def refused(ask: Callable[..., Any], *given: Any, **asked: Any) -> str:
    """The one sentence of what is refused."""
    with pytest.raises((vx.InvalidInput, vx.Unsupported)) as caught:
        ask(*given, **asked)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("part", ["tokenizer", "image_processor"])
@pytest.mark.parametrize("family", BOTH)
def test_a_part_of_a_processor_is_none(
    models: Callable[[str], Any], family: str, part: str
) -> None:
    model = models(family)
    given = getattr(model.processor, part)
    message = refused(vx.load, model.module, processor=given, device="cpu")
    assert f"a {type(given).__name__}, does not read both pictures and texts" in message
    assert "give what transformers' AutoProcessor reads" in message


@pytest.mark.parametrize("family", [*BOTH, "lxmert", "vit"])
def test_the_folder_of_a_processor_is_none(models: Callable[[str], Any], family: str) -> None:
    module = models(family).module
    more: Any = {"boxes": lambda _: None} if family == "lxmert" else {}
    for given in ("some/folder", Path("some/folder")):
        asked = {"processor": given, "device": "cpu", **more}
        message = refused(vx.load, module, **asked)
        assert "from_pretrained('some/folder')" in message


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_the_processor_of_another_model(models: Callable[[str], Any], family: str) -> None:
    processor = models("llava").processor
    message = refused(vx.load, models(family).module, processor=processor, device="cpu")
    assert "cannot be set up with LlavaProcessor" in message
    assert "give the processor that it was trained with" in message


def test_an_adapter_without_its_network(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA"}))
    assert "peft.PeftModel.from_pretrained" in refused(vx.load, str(tmp_path))


MARKED = [
    name
    for name in ("llava", "qwen3_vl", "internvl", "paligemma", "florence2", "mllama", "idefics2")
    if name in ARCHITECTURES
]


@pytest.mark.parametrize("asked", ["answers", "target", "contrast"])
@pytest.mark.parametrize("name", MARKED)
def test_an_answer_holds_no_picture(name: str, asked: str) -> None:
    model, config = loaded(name), network(name)[0].config
    number = getattr(config, "image_token_id", None) or config.image_token_index
    mark = model.processor.tokenizer.decode([number])
    named: Any = {"target": "no", asked: f"a {mark} red"}
    named["answers"] = ["yes", "no", *([named["answers"]] if asked == "answers" else [])]
    message = refused(vx.explain, model, example_of(model), method="saliency", **named)
    assert f"contains {mark!r}, which stands for a picture" in message


def test_a_picture_that_the_model_writes_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    module, processor = network("qwen2_5_vl")
    model = vx.load(module, processor=processor, device="cpu")
    number = module.config.image_token_id

    plain = module.generate

    def write(**inputs: Any) -> Any:
        if inputs.get("return_dict_in_generate") is not False:  # to measure how it is run
            return plain(**inputs)
        own = torch.tensor([[number, 7]])
        return torch.cat([inputs["input_ids"], own], dim=1)

    monkeypatch.setattr(module, "generate", write)
    message = refused(vx.explain, model, example_of(model), method="saliency")
    assert "writes '<|image_pad|>' into its answer" in message
    assert "give answers=" in message
    given = vx.explain(model, example_of(model), method="saliency", answers=["yes", "no"])
    assert given.target in ("yes", "no")


@pytest.mark.parametrize("name", ["qwen2_5_vl", "florence2"])
def test_a_network_that_does_not_tell_its_logits(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module, processor = network(name)
    ids = torch.tensor([[5, 7]])
    monkeypatch.setattr(module, "generate", lambda **inputs: ids)
    message = refused(lambda: vx.load(module, processor=processor, device="cpu").encode(EXAMPLE))
    assert "generate returns no logits" in message
    assert "wrap it in vqa_explain.CustomModel" in message


def test_answers_that_begin_alike_are_told_apart_by_a_later_token(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    ids = [
        model.processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        for text in ("red circle", "red square", "red")
    ]
    apart = next(n for n, (a, b) in enumerate(zip(ids[0], ids[1], strict=False)) if a != b)

    def ask(contrast: str, token: int) -> vx.Explanation:
        asked: Any = {"target": "red circle", "contrast": contrast, "target_token": token}
        found: vx.Explanation = vx.explain(
            model, noise_picture, QUESTION, method="leave_one_out", regions=2, **asked
        )
        return found

    for token in range(apart):
        assert f"give target_token={apart}" in refused(ask, "red square", token)
    assert "leave target_token= out" in refused(ask, "red", len(ids[2]) - 1)
    assert any(word.value for word in ask("red square", apart).words)


def test_a_division_of_what_a_model_does_not_take(
    models: Callable[[str], Any], noise_picture: np.ndarray, tmp_path: Path
) -> None:
    classifier = models("vit")
    asks: list[Callable[..., Any]] = [vx.explain, vx.evidence]
    for ask in asks:
        for words in ("tokens", {"question": "tokens"}):
            message = refused(ask, classifier, noise_picture, words=words)
            assert "words= divides texts" in message
            assert "takes only image; leave it out" in message
    examples = [vx.Example(noise_picture, answer="cat")]
    out = tmp_path / "run"
    message = refused(vx.evaluate, classifier, examples, words="tokens", out=out)
    assert "words= divides texts" in message
    assert not out.exists()


def test_pictures_of_a_model_that_reads_texts_alone(tmp_path: Path) -> None:
    from text_checkpoints import text_checkpoint

    model = vx.load(text_checkpoint("bert", tmp_path), device="cpu")
    for regions in (3, "segments", {"image": 3}):
        message = refused(vx.explain, model, question="a fine film", regions=regions)
        assert "regions= divides pictures" in message
        assert "takes only question; leave it out" in message


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("shapley", {"text_fill": "mask"}),
        ("leave_one_out", {"text_fill": "pad"}),
        ("occlusion", {"text_fill": "mask"}),
        ("integrated_gradients", {"text_baseline": "mask"}),
    ],
)
def test_a_fill_of_what_a_model_does_not_take(
    models: Callable[[str], Any], noise_picture: np.ndarray, method: str, asked: dict[str, str]
) -> None:
    message = refused(vx.explain, models("vit"), noise_picture, method=method, **asked)
    assert f"{next(iter(asked))}= is of another kind" in message
    assert "takes only image; leave it out" in message


@pytest.mark.slow
def test_a_network_that_fails_on_a_picture_says_so_with_given_answers_too() -> None:
    """Where it does not get as far as writing, its scores would fail in the same way."""
    module, processor = network("pix2struct")
    model = vx.load(module, processor=processor, device="cpu", check=False)
    vx.explain(model, PICTURE, method="saliency", answers=["yes", "no"])
    long = np.random.default_rng(0).integers(0, 255, (20, 4000, 3), dtype=np.uint8)
    message = refused(vx.explain, model, long, method="saliency", answers=["yes", "no"])
    assert "fails on this example" in message
    assert "pictures of another size" in message


@pytest.mark.parametrize("name", ["llava", "paligemma", "florence2"])
def test_a_question_that_is_missing_is_asked_for(name: str) -> None:
    module, processor = network(name)
    model = vx.load(module, processor=processor, device="cpu", check=False)
    message = refused(vx.explain, model, PICTURE, answers=["yes", "no"])
    assert "the example has none; give a question" in message


def test_an_output_that_is_one_number_has_no_answers(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    message = refused(vx.explain, models("clip"), noise_picture, QUESTION, answers=["a"])
    assert "gives the one output 'fits'; leave answers" in message
