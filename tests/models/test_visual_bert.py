"""VisualBERT: boxes as regions in one stream with the words, against transformers' plain call."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from building import present
from families import BOXES, example_for

import vqa_explain as vx
from vqa_explain.features.regions import grid_regions

Models = Callable[[str], Any]


def plain(model: Any, example: vx.Example, **changes: Any) -> Any:
    """The network called as its documentation says."""
    inputs = dict(model.tokenizer(example.question, return_tensors="pt"))
    features = torch.as_tensor(example.features)[None]
    more = {"visual_embeds": features, "visual_attention_mask": torch.ones(features.shape[:2])}
    return model.module(**{**inputs, **more, **changes})


def test_scores_are_those_of_the_plain_call(models: Models, noise_picture: np.ndarray) -> None:
    model = models("visual_bert")
    example = example_for(model, noise_picture)
    encoded = model.encode(example)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))
        theirs = plain(model, example).logits
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_masked_word_is_the_mask_token_and_a_dropped_box_is_not_attended_to(
    models: Models, noise_picture: np.ndarray
) -> None:
    model = models("visual_bert")
    example = example_for(model, noise_picture)
    encoded = model.encode(example)
    shown = torch.tensor([[True, False, True, True, False]])
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    said[0, 2] = False
    regions = grid_regions((5, 1), (5, 1))
    ours = model.coalition_scores(
        encoded, present(encoded, regions, shown, said), {"image": "drop", "question": "mask"}, 0
    )
    ids = encoded.ids.clone()
    ids[0, 2] = model.tokenizer.mask_token_id
    with torch.no_grad():
        theirs = plain(model, example, input_ids=ids, visual_attention_mask=shown.float())
    np.testing.assert_allclose(ours, theirs.logits, atol=1e-5)


def test_relevance_follows_the_rule_of_one_stream(
    models: Models, noise_picture: np.ndarray
) -> None:
    """Chefer et al. 2021, equation 6, on the attention that transformers gives.

    The answer is read from the token before the end token, as the original code has it.
    """
    model = models("visual_bert")
    example = example_for(model, noise_picture)
    found = plain(model, example, output_attentions=True)
    slopes = torch.autograd.grad(found.logits[0, 2], found.attentions)
    flow = torch.eye(found.attentions[0].shape[-1])
    for slope, heads in zip(slopes, found.attentions, strict=True):
        flow = flow + (slope[0] * heads[0]).clamp(min=0).mean(dim=0) @ flow
    count = len(model.encode(example).tokens)
    row = flow[count - 2].detach().numpy()
    why = vx.explain(model, example, method="relevance", target="red")
    np.testing.assert_allclose([t.value for t in why.tokens], row[:count], atol=1e-6)
    np.testing.assert_allclose([r.value for r in why.regions], row[count:], atol=1e-6)
    assert np.abs(row[count:]).max() > 1e-4


def test_regions_are_the_detectors_boxes(models: Models, noise_picture: np.ndarray) -> None:
    model = models("visual_bert")
    why = vx.explain(model, example_for(model, noise_picture), method="shapley", budget=200)
    assert [r.box for r in why.regions] == [tuple(box) for box in BOXES.tolist()]


def test_words_cannot_be_hidden_since_the_answer_is_read_by_their_number(
    models: Models, noise_picture: np.ndarray
) -> None:
    model = models("visual_bert")
    example = example_for(model, noise_picture)
    with pytest.raises(vx.InvalidInput, match="question fill"):
        vx.explain(model, example, method="shapley", fills={"question": "pad"}, budget=200)


def test_a_picture_without_boxes_is_refused(models: Models, noise_picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="sees boxes, not pixels"):
        vx.explain(models("visual_bert"), noise_picture, "What color is it?")
