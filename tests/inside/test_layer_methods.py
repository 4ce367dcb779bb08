"""Values of layers against Captum's classes, by hand, and their sums."""

from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from networks import (
    LABELS,
    QUESTION,
    Convolutions,
    Idle,
    convolutions,
    photo,
    pixels,
    reader,
    to_tensor,
)

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel

GRAY: Any = {"image_baseline": "constant"}
LAYERS = ["first", "relu1", "second", "last"]


def start() -> torch.Tensor:
    """The baseline of one color."""
    model = convolutions()
    encoded = model.encode(vx.Example(photo()))
    found: torch.Tensor = model.baselines(encoded, {"image": "constant"}, 0)["image"]
    return found


def of(module: torch.nn.Module, layer: str) -> torch.nn.Module:
    return module.get_submodule(layer)


@pytest.mark.each
@pytest.mark.parametrize("layer", LAYERS)
def test_values_equal_captums(layer: str) -> None:
    module, x = Convolutions().eval(), pixels()
    gauss = {"n_steps": 32, "method": "gausslegendre", "baselines": start()}
    expected = {
        "layer_activation": captum.attr.LayerActivation(module, of(module, layer)).attribute(x),
        "layer_gradient_x_activation": captum.attr.LayerGradientXActivation(
            module, of(module, layer)
        ).attribute(x, target=1),
        "internal_influence": captum.attr.InternalInfluence(module, of(module, layer)).attribute(
            x, target=1, **gauss
        ),
        "layer_integrated_gradients": captum.attr.LayerIntegratedGradients(
            module, of(module, layer)
        ).attribute(x, target=1, **gauss),
    }
    for method, theirs in expected.items():
        more: Any = {}
        if method in ("internal_influence", "layer_integrated_gradients"):
            more = {"steps": 32, **GRAY}
        found = vx.layer_values(
            convolutions(), photo(), layer=layer, method=method, target="b", **more
        )
        np.testing.assert_allclose(found.values, theirs[0].detach(), atol=1e-6, err_msg=method)
        assert found.values.any()


@pytest.mark.each
@pytest.mark.parametrize("layer", LAYERS)
def test_conductance_equals_captums_both_ways(layer: str) -> None:
    """Captum takes the gradient at the beginning of each step. Its mean with the way back, which
    takes those at the ends, is the trapezoid.
    """
    module = Convolutions().eval()
    other = captum.attr.LayerConductance(module, of(module, layer))
    how: Any = {"target": 2, "n_steps": 24, "method": "riemann_trapezoid"}
    forth = other.attribute(pixels(), baselines=start(), **how)[0].detach()
    back = other.attribute(start(), baselines=pixels(), **how)[0].detach()
    found = vx.layer_values(convolutions(), photo(), layer=layer, target="c", steps=24, **GRAY)
    np.testing.assert_allclose(found.values, (forth - back) / 2, atol=1e-6)
    with torch.no_grad():
        change = float((module(pixels()) - module(start()))[0, 2])
    assert found.change == pytest.approx(change, abs=1e-6)
    assert found.gap is not None
    assert found.gap == pytest.approx(abs(found.values.sum() - change), abs=1e-6)
    assert found.gap < 0.02 * np.abs(found.values).sum()  # of 24 steps


@pytest.mark.filterwarnings("ignore:Setting forward")
def test_deep_lift_of_a_layer_equals_captums() -> None:
    module = Convolutions().eval()
    for layer in ("first", "second"):
        theirs = captum.attr.LayerDeepLift(module, of(module, layer)).attribute(
            pixels(), baselines=start(), target=1
        )
        found = vx.layer_values(
            convolutions(), photo(), layer=layer, method="layer_deep_lift", target="b", **GRAY
        )
        np.testing.assert_allclose(found.values, theirs[0].detach(), atol=1e-6)


@pytest.mark.parametrize("each", ["position", "unit"])
def test_ablation_equals_captums(each: str) -> None:
    module = Convolutions().eval()
    mask = torch.arange(16).reshape(1, 1, 4, 4).expand(1, 8, 4, 4)
    if each == "unit":
        mask = torch.arange(8)[None, :, None, None].expand(1, 8, 4, 4)
    theirs = captum.attr.LayerFeatureAblation(module, module.second).attribute(
        pixels(), layer_baselines=0, target=0, layer_mask=mask
    )[0]
    found = vx.layer_values(
        convolutions(), photo(), layer="second", method="layer_ablation", target="a", each=each
    )
    ours = found.values if each == "unit" else found.values.sum(axis=0)
    np.testing.assert_allclose(ours, theirs[:, 0, 0] if each == "unit" else theirs[0], atol=1e-6)
    (place, largest), *_ = found.top(1)
    assert abs(largest) == np.abs(found.values).max() == abs(found.values[place])


def test_cells_of_a_map_are_carried_to_the_picture() -> None:
    model = convolutions()
    found = vx.layer_values(model, photo(), layer="second", target="b", steps=16, **GRAY)
    why = vx.explain(
        model, photo(), method="layer_conductance", layer="second", target="b", steps=16,
        regions=4, **GRAY,
    )  # fmt: skip
    cells = [region.value for region in why.regions]
    np.testing.assert_allclose(cells, found.values.sum(axis=0).ravel(), atol=1e-6)
    assert why.error == pytest.approx(found.gap, abs=1e-6)


@pytest.mark.slow
def test_conductance_of_words_and_patches_adds_up_over_a_block(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """Everything passes through a block; the first tokens of text and picture hold the rest."""
    layer = "vilt.encoder.layer.2"
    found = vx.layer_values(scenes_model, scene, layer=layer, steps=64)
    assert found.gap is not None
    assert found.change is not None
    assert found.gap < 0.02 * abs(found.change)
    why = vx.explain(scenes_model, scene, method="layer_conductance", layer=layer, regions=8)
    encoded = scenes_model.encode(scene)
    words = len(encoded.tokens)
    by_position = found.values.sum(axis=1)
    assert [token.value for token in why.tokens] == pytest.approx(by_position[:words], abs=1e-5)
    regions = [region.value for region in why.regions]
    np.testing.assert_allclose(regions, by_position[words + 1 :], atol=1e-5)


def test_a_layer_without_positions_is_a_list(tmp_path: Path) -> None:
    model = reader()
    how: Any = {"layer": "hidden", "target": "a", "steps": 16}
    found = vx.layer_values(model, photo(), QUESTION, **how)
    assert found.values.shape == (7,)
    assert "they add up to" in repr(found)
    path = found.to_csv(tmp_path / "values.csv")
    rows = path.read_text().splitlines()
    assert rows[0] == "axis_0,value"
    assert float(rows[3].split(",")[1]) == found.values[2]
    with pytest.raises(vx.InvalidInput, match=r"no place in words or pictures; vx.layer_values"):
        vx.explain(model, photo(), QUESTION, method="layer_conductance", **how)


def test_a_unit_may_be_the_target_of_a_layer() -> None:
    """What of a unit runs through a layer before it, against the sum over all units there."""
    unit = vx.Unit("second", (3, 1, 2))
    found = vx.layer_values(convolutions(), photo(), layer="first", target=unit, **GRAY)
    module = Convolutions().eval()
    with torch.no_grad():
        ends = [
            module.second(module.relu1(module.first(x)))[0, 3, 1, 2] for x in (start(), pixels())
        ]
    assert found.change == pytest.approx(float(ends[1] - ends[0]), abs=1e-6)
    assert found.gap is not None
    assert found.gap < 1e-3


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"layer": "secnd"}, "did you mean 'second'"),
        ({"layer": "again"}, "runs 2 times in one pass"),
        ({"layer": "again", "method": "layer_integrated_gradients"}, "runs 2 times in one pass"),
        ({"layer": "second", "method": "saliency"}, "unknown method of layers 'saliency'"),
        ({"layer": "second", "target": ["a"]}, "takes one target"),
        ({"layer": "second", "score": "logits"}, "unknown score 'logits'"),
        ({"layer": "second", "answers": ["a"]}, "has answers of its own"),
        ({"layer": "second", "steps": 1}, "steps"),
        ({"layer": "second", "target": "a", "contrast": "a"}, "choose two different"),
    ],
)
@pytest.mark.each
def test_what_cannot_be_valued_is_told(how: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.layer_values(convolutions(), photo(), **how)
    model = convolutions()
    assert not any(part._forward_hooks for part in model.module.modules())


def test_a_layer_that_the_score_does_not_reach_is_told() -> None:
    model = vx.load(Idle().eval(), transform=to_tensor, labels=LABELS, device="cpu")
    with pytest.raises(vx.InvalidInput, match="does not depend on layer 'second'"):
        vx.layer_values(model, photo(), layer="second")
