"""LXMERT: boxes as regions, and relevance against the authors' update rules for two streams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from building import present
from families import BOXES, QUESTION, example_for

import vqa_explain as vx
from vqa_explain.features.regions import grid_regions


def plain(model: Any, example: vx.Example, **masks: Any) -> Any:
    """transformers called as its documentation says,
    with the boxes as shares of the picture's sides.
    """
    height, width = example.image.shape[:2]
    inputs = model.tokenizer(example.question, return_tensors="pt")
    return model.module(
        **{**dict(inputs), **masks},
        visual_feats=torch.as_tensor(example.features)[None],
        visual_pos=torch.tensor(BOXES / [width, height, width, height]).float()[None],
        output_attentions=True,
    )


def test_scores_are_transformers(models: Callable[[str], Any], noise_picture: np.ndarray) -> None:
    model = models("lxmert")
    example = example_for(model, noise_picture)
    encoded = model.encode(example)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))
        theirs = plain(model, example).question_answering_score
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_a_dropped_box_is_one_that_attention_does_not_see(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("lxmert")
    example = example_for(model, noise_picture)
    encoded = model.encode(example)
    shown = torch.tensor([[True, False, True, True, False]])
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    said[0, 2] = False
    regions = grid_regions((5, 1), (5, 1))
    ours = model.coalition_scores(
        encoded, present(encoded, regions, shown, said), {"image": "drop", "question": "pad"}, 0
    )
    with torch.no_grad():
        theirs = plain(
            model, example, visual_attention_mask=shown.float(), attention_mask=said.float()
        )
    np.testing.assert_allclose(ours, theirs.question_answering_score, atol=1e-5)


def authors_relevance(found: Any, maps: dict[Any, Any], target: int) -> tuple[Any, Any]:
    """Chefer et al. 2021, the rules for LXMERT, written out:
    equations 5 to 11 in the order of its layers.
    """
    slopes = dict(
        zip(
            maps,
            torch.autograd.grad(found[0, target], list(maps.values()), allow_unused=True),
            strict=True,
        )
    )

    def mean(key: tuple[Any, ...]) -> Any:
        slope = slopes[key]
        if slope is None:
            return torch.zeros(maps[key].shape[2:])
        return (slope[0] * maps[key][0].detach()).clamp(min=0).mean(dim=0)

    def normalized(r: Any) -> torch.Tensor:
        rest = r - torch.eye(len(r))
        sums = rest.sum(dim=-1, keepdim=True)
        return torch.where(sums > 0, rest / sums.clamp(min=1e-30), rest) + torch.eye(len(r))

    t, i = maps["l", 0].shape[-1], maps["r", 0].shape[-1]
    tt, ii, ti, it = torch.eye(t), torch.eye(i), torch.zeros(t, i), torch.zeros(i, t)
    for number in range(2):
        a = mean(("l", number))
        tt, ti = tt + a @ tt, ti + a @ ti
    a = mean(("r", 0))
    ii, it = ii + a @ ii, it + a @ it
    for number in range(2):
        across, back = mean(("x", number, "ti")), mean(("x", number, "it"))
        ti_more, tt_more = normalized(tt).T @ across @ normalized(ii), across @ it
        it_more, ii_more = normalized(ii).T @ back @ normalized(tt), back @ ti
        ti, tt, it, ii = ti + ti_more, tt + tt_more, it + it_more, ii + ii_more
        a = mean(("x", number, "tt"))
        tt, ti = tt + a @ tt, ti + a @ ti
        a = mean(("x", number, "ii"))
        ii, it = ii + a @ ii, it + a @ it
    return tt[0].numpy(), ti[0].numpy()


# Which map of attention: the stream, the layer, and in a crossing layer who looks at whom.
Key = tuple[str, int] | tuple[str, int, str]


def test_relevance_follows_the_authors_rules(
    models: Callable[[str], Any], noise_picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models("lxmert")
    example = example_for(model, noise_picture)
    encoder = model.module.lxmert.encoder
    maps: dict[Key, torch.Tensor] = {}
    named: dict[torch.nn.Module, list[Key]] = {
        block.attention.self: [("l", n)] for n, block in enumerate(encoder.layer)
    }
    named |= {block.attention.self: [("r", n)] for n, block in enumerate(encoder.r_layers)}
    for n, block in enumerate(encoder.x_layers):
        named[block.visual_attention.att] = [("x", n, "ti"), ("x", n, "it")]
        named[block.lang_self_att.self] = [("x", n, "tt")]
        named[block.visn_self_att.self] = [("x", n, "ii")]
    softmax = torch.nn.functional.softmax
    running: list[torch.nn.Module] = []

    def watched(scores: Any, dim: Any) -> torch.Tensor:
        maps[named[running[-1]][sum(k in maps for k in named[running[-1]])]] = found = softmax(
            scores, dim=dim
        )
        return found

    handles = [m.register_forward_pre_hook(lambda m, _: running.append(m)) for m in named]
    try:
        with monkeypatch.context() as patched:
            patched.setattr(torch.nn.functional, "softmax", watched)
            scores = plain(model, example).question_answering_score
    finally:
        for handle in handles:
            handle.remove()
    words, boxes = authors_relevance(scores, maps, 2)
    why = vx.explain(model, example, method="relevance", target="red")
    np.testing.assert_allclose([t.value for t in why.tokens], words, atol=1e-6)
    np.testing.assert_allclose([r.value for r in why.regions], boxes, atol=1e-6)
    assert np.abs(boxes).max() > 1e-4


def test_regions_are_the_detectors_boxes_and_overlaps_add_up(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("lxmert")
    why = vx.explain(model, example_for(model, noise_picture), method="shapley", budget=200)
    assert [r.box for r in why.regions] == [tuple(box) for box in BOXES.tolist()]
    heat = np.zeros(noise_picture.shape[:2])
    for region in why.regions:
        left, top, right, bottom = region.box
        heat[top:bottom, left:right] += region.value / ((right - left) * (bottom - top))
    np.testing.assert_allclose(why.image, heat, atol=1e-9)
    assert why.labels[12, 12] == 2  # the smallest box over a pixel


def test_a_detector_can_be_given_instead(
    folders: Callable[[str], Path], models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    example = example_for(models("lxmert"), noise_picture)
    seen = []

    def detector(picture: Any) -> tuple[Any, np.ndarray]:
        seen.append(picture.shape)
        return example.features, BOXES

    model = vx.load(folders("lxmert"), boxes=detector, device="cpu")
    parts: dict[str, Any] = {"method": "saliency"}
    ours = vx.explain(model, noise_picture, QUESTION, **parts)
    np.testing.assert_array_equal(ours.image, vx.explain(models("lxmert"), example, **parts).image)
    assert seen == [noise_picture.shape]


@pytest.mark.parametrize(
    ("features", "boxes", "words"),
    [
        (None, None, "sees boxes, not pixels"),
        (np.zeros((5, 7)), BOXES, r"must be \(R, 16\), not \(5, 7\)"),
        (np.zeros((3, 16)), BOXES, r"boxes must be \(3, 4\)"),
        (np.zeros((5, 16)), BOXES * np.nan, "boxes must be"),
    ],
)
def test_wrong_features_and_boxes_are_named(
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
    features: np.ndarray | None,
    boxes: np.ndarray | None,
    words: str,
) -> None:
    with pytest.raises(vx.InvalidInput, match=words):
        vx.explain(
            models("lxmert"), vx.Example(noise_picture, QUESTION, features=features, boxes=boxes)
        )


def test_pixel_methods_refuse_with_the_reason(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("lxmert")
    with pytest.raises(
        vx.Unsupported,
        match=r"needs the pixels of a picture, and this model sees none; these work: .*shapley",
    ):
        vx.explain(model, example_for(model, noise_picture), method="occlusion")
