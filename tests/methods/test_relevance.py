"""Attention methods by hand on three tokens, and by the authors' rules on attention taken from
transformers directly.
"""

from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.methods.relevance import TwoStreams, rollout, whole_maps
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

ONE = torch.tensor([[[0.5, 0.5, 0.0], [0.0, 1.0, 0.0], [0.2, 0.2, 0.6]]], dtype=torch.float64)
TWO = torch.tensor([[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.5, 0.5]]], dtype=torch.float64)


def test_rollout_on_three_tokens_by_hand() -> None:
    # (A₂ + I)/2 · (A₁ + I)/2, row 0: half of row 0 of the first factor and half of its row 2.
    first = [[0.75, 0.25, 0.0], [0.0, 1.0, 0.0], [0.1, 0.1, 0.8]]
    by_hand = [0.5 * first[0][k] + 0.5 * first[2][k] for k in range(3)]
    np.testing.assert_allclose(rollout([ONE, TWO], 0.5)[0], by_hand)


def test_what_a_sliding_window_keeps_of_the_last_positions_stands_at_the_end() -> None:
    """Three tokens of the prompt and one of the answer, which sees the two before it and itself."""
    behind = torch.tensor([[[0.2, 0.3, 0.5]]], dtype=torch.float64)
    (whole,) = whole_maps([ONE[None]], [behind[None]])
    expected = [[*row, 0.0] for row in ONE[0].tolist()] + [[0.0, 0.2, 0.3, 0.5]]
    np.testing.assert_array_equal(whole[0], expected)


@pytest.fixture(scope="module")
def seen(scenes_model: ViltModel, scene: vx.Example) -> tuple[list[Any], list[Any], Any]:
    """transformers' own forward on patches in raster order: logits, attention,
    gradients of the target.
    """
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")
    embeddings = scenes_model.module.vilt.embeddings
    patches = embeddings.patch_embeddings(inputs["pixel_values"]).flatten(2).transpose(1, 2)
    patches = torch.cat([embeddings.cls_token, patches], dim=1) + embeddings.position_embeddings
    output = scenes_model.module(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        image_embeds=patches,
        pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long),
        output_attentions=True,
    )
    score = output.logits[0, scenes_model.labels.index("yes")]
    gradients = torch.autograd.grad(score, output.attentions)
    return (
        [a.detach()[0] for a in output.attentions],
        [g[0] for g in gradients],
        inputs["input_ids"].shape[1],
    )


def compare(why: vx.Explanation, row: np.ndarray, tokens: torch.Tensor) -> None:
    np.testing.assert_allclose([t.value for t in why.tokens], row[:tokens], rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(
        [r.value for r in why.regions], row[tokens + 1 :], rtol=1e-4, atol=1e-7
    )


def test_raw_attention_is_the_layers_own(
    scenes_model: ViltModel, scene: vx.Example, seen: tuple[list[Any], list[Any], Any]
) -> None:
    maps, _, tokens = seen
    why = vx.explain(scenes_model, scene, method="attention", layer=1)
    compare(why, maps[1].mean(0)[0].numpy(), tokens)


def test_relevance_follows_the_authors_rules(
    scenes_model: ViltModel, scene: vx.Example, seen: tuple[list[Any], list[Any], Any]
) -> None:
    """avg_heads and apply_self_attention_rules as the paper's equations 5 and 6 have them,
    written plainly.
    """
    maps, gradients, tokens = seen
    size = maps[0].shape[-1]
    r = torch.eye(size)
    for cam, grad in zip(maps, gradients, strict=True):
        weighted = torch.zeros(size, size)
        for head in range(len(cam)):
            weighted += torch.relu(grad[head] * cam[head]) / len(cam)
        r = r + torch.matmul(weighted, r)
    why = vx.explain(scenes_model, scene, method="relevance", target="yes")
    compare(why, r[0].numpy(), tokens)


def test_rollout_follows_all_layers(
    scenes_model: ViltModel, scene: vx.Example, seen: tuple[list[Any], list[Any], Any]
) -> None:
    maps, _, tokens = seen
    r = np.eye(maps[0].shape[-1])
    for a in maps:
        r = (0.5 * a.mean(0).numpy() + 0.5 * np.eye(len(r))) @ r
    compare(vx.explain(scenes_model, scene, method="attention_rollout"), r[0], tokens)


def test_a_layer_that_is_not_there_is_refused(scenes_model: ViltModel, scene: vx.Example) -> None:
    with pytest.raises(vx.InvalidInput, match="layer 40 does not exist"):
        vx.explain(scenes_model, scene, method="attention", layer=40)


def test_a_classifier_without_attention_is_told_what_works(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    with pytest.raises(
        vx.Unsupported, match=r"needs attention.*these work: .*integrated_gradients"
    ):
        vx.explain(linear, picture, method="attention")


def test_two_streams_follow_the_authors_rules() -> None:
    """One self-attention layer each, a crossing, and self-attention again,
    with the paper's equations as they stand.
    """
    g = torch.Generator().manual_seed(0)
    t1, t2 = (torch.rand(3, 3, generator=g) for _ in range(2))
    i1 = torch.rand(4, 4, generator=g)
    ti, it = torch.rand(3, 4, generator=g), torch.rand(4, 3, generator=g)
    r_tt, r_ii, r_ti, r_it = torch.eye(3), torch.eye(4), torch.zeros(3, 4), torch.zeros(4, 3)
    r_tt, r_ti = r_tt + t1 @ r_tt, r_ti + t1 @ r_ti
    r_ii, r_it = r_ii + i1 @ r_ii, r_it + i1 @ r_it
    hat_t, hat_i = r_tt - torch.eye(3), r_ii - torch.eye(4)
    bar_t = hat_t / hat_t.sum(1, keepdim=True) + torch.eye(3)
    bar_i = hat_i / hat_i.sum(1, keepdim=True) + torch.eye(4)
    new_ti, new_it = r_ti + bar_t.T @ ti @ bar_i, r_it + bar_i.T @ it @ bar_t
    new_tt, new_ii = r_tt + ti @ r_it, r_ii + it @ r_ti
    new_tt, new_ti = new_tt + t2 @ new_tt, new_ti + t2 @ new_ti
    found = TwoStreams.of_sizes({"text": 3, "image": 4})
    found.attend("text", t1)
    found.attend("image", i1)
    found.attend_across({("text", "image"): ti, ("image", "text"): it})
    found.attend("text", t2)
    for key, expected in {
        ("text", "text"): new_tt,
        ("text", "image"): new_ti,
        ("image", "text"): new_it,
        ("image", "image"): new_ii,
    }.items():
        torch.testing.assert_close(found.maps[key], expected)


def test_streams_that_have_not_attended_cross_without_dividing_by_zero() -> None:
    found = TwoStreams.of_sizes({"text": 2, "image": 2})
    found.attend_across({("text", "image"): torch.full((2, 2), 0.5)})
    torch.testing.assert_close(found.maps["text", "image"], torch.full((2, 2), 0.5))
