"""A model that no adapter knows is refused in one sentence when it is loaded,
and a sound one is not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import GENERATIVE, MAKERS, randomized
from families import QUESTION
from unknown_checkpoints import UNKNOWN

import vqa_explain as vx
from vqa_explain.models.generative import pixels


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.mark.parametrize("make", UNKNOWN, ids=lambda make: make.__name__)
def test_a_model_that_no_adapter_knows_is_refused_at_load(make: Any) -> None:
    module, processor = make()
    with pytest.raises(vx.VQAExplainError, match=UNKNOWN[make]) as caught:
        vx.load(module, processor=processor, device="cpu")
    assert "\n" not in str(caught.value)
    assert "vqa_explain.CustomModel" in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", GENERATIVE)
def test_untouched_initial_weights_pass_the_self_check(name: Any, seed: int) -> None:
    """Whose scores hardly move, so that those of two answers alone may stay by chance."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module, processor = GENERATIVE[name]()
    vx.load(module, processor=processor, device="cpu")


@pytest.mark.parametrize("name", ["llava_onevision", "idefics3"])
def test_a_tile_that_does_not_follow_is_still_found_there(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, processor = GENERATIVE[name]()
    monkeypatch.setattr(
        pixels,
        "followed",
        lambda change, _, target: change.new_zeros(len(change), 3, *target.frame),
    )
    with pytest.raises(vx.InvalidInput, match="a changed frame scores as the changed picture"):
        vx.load(module, processor=processor, device="cpu")


def tiles_of(name: str, change: Callable[..., Any]) -> vx.Model:
    """A family's inputs with another number of tiles than its processor says."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, processor = GENERATIVE[name]()
    model: Any = vx.load(module, processor=processor, device="cpu")
    read = model._read

    def changed(conversation: Any) -> tuple[Any, dict[Any, Any]]:
        prompt, inputs = read(conversation)
        return prompt, {**inputs, "pixel_values": change(inputs["pixel_values"])}

    model._read = changed
    explained: vx.Model = model
    return explained


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("idefics3", lambda tiles: tiles[:, 1:]),
        ("idefics3", lambda tiles: tiles.repeat(1, 2, 1, 1, 1)),
        ("llava_onevision", lambda tiles: tiles[:, 1:]),
        ("qwen2_vl", lambda patches: patches[:-4]),
        ("qwen2_vl", lambda patches: patches[:, :-3]),
    ],
)
def test_tiles_and_patches_of_another_number_are_refused(
    name: str, change: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    model = tiles_of(name, change)
    with pytest.raises(vx.Unsupported, match="among others and as"):
        model.encode(vx.Example(noise_picture, QUESTION))


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_processor_that_reads_no_picture_is_refused_at_load(name: str) -> None:
    module, _ = randomized(MAKERS[name])
    tokenizer = randomized(MAKERS["llava"])[1].tokenizer
    with pytest.raises(vx.InvalidInput, match=r"which reads no picture: .*; give its image proc"):
        vx.load(module, processor=tokenizer, device="cpu")


@pytest.mark.parametrize(("name", "told"), [("llava", True), ("blip", False), ("vilt", False)])
def test_a_question_without_a_chat_template_says_so(
    name: str, told: bool, noise_picture: np.ndarray
) -> None:
    """Where a template lacks; what has one, and what never has, says nothing."""
    module, processor = randomized(MAKERS[name])
    ways = [(processor, False)]
    if told:
        bare = randomized(MAKERS[name])[1]
        bare.chat_template = None
        ways.append((bare, True))
    for reading, lacks in ways:
        model = vx.load(module, processor=reading, device="cpu")
        given: dict[str, Any] = {"answers": ["yes", "no"]} if model.labels is None else {}
        why = vx.explain(model, noise_picture, QUESTION, method="leave_one_out", regions=2, **given)
        assert any("no chat template" in note for note in why.notes) == lacks
