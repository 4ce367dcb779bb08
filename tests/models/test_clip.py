"""CLIP and SigLIP against transformers called plainly."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from families import QUESTION, on_all
from PIL import Image
from transformers import AutoProcessor

import vqa_explain as vx

LABELS = ["a photo of a cat", "a red circle", "the mug"]


def plain(model: Any, texts: list[str], picture: np.ndarray, family: str) -> Any:
    more = {"padding": "max_length", "max_length": 40} if family == "siglip" else {"padding": True}
    inputs = dict(model.processor.tokenizer(texts, return_tensors="pt", **more))
    if family == "siglip":  # which its authors call without a mask
        inputs.pop("attention_mask")
    inputs.pop("token_type_ids", None)
    pixels = model.processor.image_processor(Image.fromarray(picture), return_tensors="pt")
    with torch.no_grad():
        return model.module(**inputs, **pixels).logits_per_image


@on_all(("clip", "siglip"))
def test_the_score_is_how_well_the_text_fits(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))
    theirs = plain(model, [QUESTION], noise_picture, family)
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    why = vx.explain(model, noise_picture, QUESTION, method="shapley", regions=2, budget=200)
    assert why.target == "fits"
    assert why.answers[0].probability == pytest.approx(float(theirs.sigmoid()), abs=1e-4)


@on_all(("clip", "siglip"))
def test_labels_make_a_zero_shot_classifier(
    folders: Callable[[str], Path],
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
    family: Any,
) -> None:
    model = vx.load(folders(family), labels=LABELS, device="cpu")
    theirs = plain(models(family), LABELS, noise_picture, family).softmax(-1)[0]
    why = vx.explain(model, noise_picture, method="grad_cam")
    assert why.target == LABELS[int(theirs.argmax())]
    by_text = {a.text: a.probability for a in why.answers}
    assert [by_text[t] for t in LABELS] == pytest.approx(theirs.tolist(), abs=1e-5)
    assert why.question is None


@pytest.mark.parametrize("labels", [[], ["a cat"], "a cat", ["a", ""]])
def test_labels_must_be_texts_to_choose_among(
    folders: Callable[[str], Path], labels: list[object] | list[str] | str
) -> None:
    with pytest.raises(vx.InvalidInput, match="at least two texts"):
        vx.load(folders("clip"), labels=labels, device="cpu")


def rolled_in_place(weight: Any) -> None:
    weight.copy_(weight.roll(1))  # which keeps every sum


def rolled_in_data(weight: Any) -> None:
    weight.data.copy_(weight.data.roll(1))


def other_data(weight: Any) -> None:
    weight.data = weight.data.roll(1)


def text_body(network: Any) -> Any:
    return network.text_model


def whole_network(network: Any) -> Any:
    return network


def last_text_layer(network: Any) -> Any:
    projection = getattr(network, "text_projection", None)
    return network.text_model.head if projection is None else projection


@pytest.mark.parametrize("part", [text_body, last_text_layer, whole_network])
@pytest.mark.parametrize("change", [rolled_in_place, rolled_in_data, other_data])
@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_texts_follow_the_weights(
    folders: Callable[[str], Path], noise_picture: np.ndarray, family: str, change: Any, part: Any
) -> None:
    model: Any = vx.load(folders(family), labels=LABELS, device="cpu")
    vx.explain(model, noise_picture, method="occlusion", regions=2)
    network = model.module
    before = model.plain_scores(model.encode(vx.Example(noise_picture)))
    with torch.no_grad():
        for weight in part(network).parameters():
            change(weight)
    processor = AutoProcessor.from_pretrained(folders(family))
    themselves = SimpleNamespace(processor=processor, module=network.eval())
    expected = plain(themselves, LABELS, noise_picture, family)
    found = model.plain_scores(model.encode(vx.Example(noise_picture)))
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, before, atol=1e-4)
    by_text = {
        answer.text: answer.probability
        for answer in vx.explain(model, noise_picture, method="occlusion", regions=2).answers
    }
    shares = expected.softmax(-1)[0].tolist()
    assert [by_text[text] for text in LABELS] == pytest.approx(shares, abs=1e-5)


def test_texts_follow_weights_in_place_within_an_example(
    folders: Callable[[str], Path], noise_picture: np.ndarray
) -> None:
    model: Any = vx.load(folders("clip"), labels=LABELS, device="cpu")
    encoded = model.encode(vx.Example(noise_picture))
    before = model.plain_scores(encoded)
    with torch.no_grad():
        for weight in model.module.text_model.parameters():
            rolled_in_place(weight)
    found = model.plain_scores(encoded)
    assert not torch.allclose(found, before, atol=1e-4)
    again = model.plain_scores(model.encode(vx.Example(noise_picture)))
    torch.testing.assert_close(found, again)
