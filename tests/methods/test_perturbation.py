"""Occlusion and leave-one-out against Captum and against the model called by hand."""

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from building import present

import vqa_explain as vx
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


@pytest.mark.parametrize(("window", "stride"), [(24, 24), (24, 12), (16, 8)])
def test_occlusion_equals_captum(
    scenes_model: ViltModel, scene: vx.Example, window: int, stride: int
) -> None:
    encoded = scenes_model.encode(scene)
    leaves = scenes_model.leaves(encoded)
    start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)

    def forward(image: Any) -> torch.Tensor:
        text = leaves["question"].expand(len(image), -1, -1)
        return scenes_model.scores(encoded, {"image": image, "question": text})[
            :, scenes_model.labels.index("yes")
        ]

    with torch.no_grad():
        theirs = captum.attr.Occlusion(forward).attribute(
            leaves["image"], (3, window, window), (3, stride, stride), baselines=start["image"]
        )
    ours = vx.explain(
        scenes_model,
        scene,
        method="occlusion",
        target="yes",
        window=window,
        stride=stride,
        image_fill="mean",
    )
    # Captum gives a window's whole difference to each of its pixels and channels; ours is spread
    # over the pixels.
    np.testing.assert_allclose(ours.image, theirs[0, 0].numpy() / window**2, atol=1e-6)


@pytest.mark.slow
def test_occlusion_of_words_equals_captum_feature_ablation(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    leaves = scenes_model.leaves(encoded)
    start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
    owner = torch.tensor([t.word + 1 for t in encoded.tokens])

    def forward(text: torch.Tensor) -> torch.Tensor:
        image = leaves["image"].expand(len(text), -1, -1, -1)
        return scenes_model.scores(encoded, {"image": image, "question": text})[
            :, scenes_model.labels.index("no")
        ]

    groups = owner[None, :, None].expand_as(leaves["question"])
    with torch.no_grad():
        theirs = captum.attr.FeatureAblation(forward).attribute(
            leaves["question"], baselines=start["question"], feature_mask=groups
        )
    ours = vx.explain(scenes_model, scene, method="occlusion", target="no")
    expected = [
        float(theirs[0, (owner == w + 1).nonzero()[0, 0], 0]) for w in range(len(encoded.words))
    ]
    np.testing.assert_allclose([w.value for w in ours.words], expected, atol=1e-4)


def test_occlusion_of_a_linear_model_gives_each_window_its_terms(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    ours = vx.explain(
        linear, picture, method="occlusion", target="c", window=1, stride=1, image_fill="constant"
    )
    terms = linear.module.weight[2].detach().numpy() * picture.transpose(2, 0, 1) / 255
    np.testing.assert_allclose(ours.image, terms.sum(0), atol=1e-4)
    assert ours.error is not None
    assert ours.error < 1e-3


def test_ngrams_share_the_loss_of_their_words(scenes_model: ViltModel, scene: vx.Example) -> None:
    encoded = scenes_model.encode(scene)
    all_at_once = vx.explain(
        scenes_model, scene, method="occlusion", ngram=len(encoded.words), target="yes"
    )
    assert len({round(w.value, 9) for w in all_at_once.words}) == 1
    said = torch.tensor([[t.special for t in encoded.tokens]])
    regions = torch.ones(1, 64, dtype=torch.bool)
    from vqa_explain.features.regions import grid_regions

    division = grid_regions((96, 96), (8, 8))
    fills = {"image": "mean", "question": "mask"}
    silent = scenes_model.coalition_scores(
        encoded, present(encoded, division, regions, said), fills, 0
    )
    full = scenes_model.coalition_scores(
        encoded, present(encoded, division, regions, torch.ones_like(said)), fills, 0
    )
    expected = float((full - silent)[0, scenes_model.labels.index("yes")])
    assert sum(w.value for w in all_at_once.words) == pytest.approx(expected, abs=1e-4)


def test_leave_one_out_is_the_loss_of_each_word_asked_of_the_plain_network(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    ours = vx.explain(scenes_model, scene, method="leave_one_out", target="yes")
    tokenizer = scenes_model.processor.tokenizer
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")

    def plain(ids: Any) -> float:
        with torch.no_grad(), torch.random.fork_rng():
            return float(
                scenes_model.module(**{**inputs, "input_ids": ids}).logits[
                    0, scenes_model.labels.index("yes")
                ]
            )

    full = plain(inputs["input_ids"])
    for number, word in enumerate(ours.words):
        ids = inputs["input_ids"].clone()
        ids[0, 1 + number] = tokenizer.mask_token_id  # every word of scenes is one token
        assert word.value == pytest.approx(full - plain(ids), abs=1e-4)
