"""CLIP and SigLIP against transformers called plainly."""

import numpy as np
import pytest
import torch
from families import QUESTION, on_all
from PIL import Image
from transformers import AutoProcessor

import vqa_explain as vx

LABELS = ["a photo of a cat", "a red circle", "the mug"]


def plain(model, texts, picture, family):
    more = {"padding": "max_length", "max_length": 40} if family == "siglip" else {"padding": True}
    inputs = dict(model.processor.tokenizer(texts, return_tensors="pt", **more))
    if family == "siglip":  # which its authors call without a mask
        inputs.pop("attention_mask")
    inputs.pop("token_type_ids", None)
    pixels = model.processor.image_processor(Image.fromarray(picture), return_tensors="pt")
    with torch.no_grad():
        return model.module(**inputs, **pixels).logits_per_image


@on_all(("clip", "siglip"))
def test_the_score_is_how_well_the_text_fits(models, noise_picture, family):
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
def test_labels_make_a_zero_shot_classifier(folders, models, noise_picture, family):
    model = vx.load(folders(family), labels=LABELS, device="cpu")
    theirs = plain(models(family), LABELS, noise_picture, family).softmax(-1)[0]
    why = vx.explain(model, noise_picture, method="grad_cam")
    assert why.target == LABELS[int(theirs.argmax())]
    by_text = {a.text: a.probability for a in why.answers}
    np.testing.assert_allclose([by_text[t] for t in LABELS], theirs, atol=1e-5)
    assert why.question is None


@pytest.mark.parametrize("labels", [[], ["a cat"], "a cat", ["a", ""]])
def test_labels_must_be_texts_to_choose_among(folders, labels):
    with pytest.raises(vx.InvalidInput, match="at least two texts"):
        vx.load(folders("clip"), labels=labels, device="cpu")


@pytest.mark.parametrize("family", ["clip", "siglip"])
def test_texts_are_read_anew_when_the_weights_have_changed(folders, noise_picture, family):
    model = vx.load(folders(family), labels=LABELS, device="cpu")
    encoded = model.encode(vx.Example(noise_picture))
    before = model.plain_scores(encoded)
    network = model.module.module
    with torch.no_grad():
        for weight in network.text_model.parameters():
            weight.copy_(weight.roll(1))  # which keeps every sum
        processor = AutoProcessor.from_pretrained(folders(family))
        fresh = vx.load(network, processor=processor, labels=LABELS, device="cpu")
        assert not torch.allclose(model.plain_scores(encoded), before, atol=1e-3)
        torch.testing.assert_close(model.plain_scores(encoded), fresh.plain_scores(encoded))
