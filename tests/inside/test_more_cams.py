"""The other class activation maps against pytorch-grad-cam."""

from typing import Any

import numpy as np
import pytest
import pytorch_grad_cam
import torch
from networks import SIDE, Convolutions, convolutions, photo, pixels, to_tensor
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

import vqa_explain as vx
from vqa_explain.methods.cams import first_component
from vqa_explain.models.vilt import ViltModel


def theirs(kind: type[Any], layer: str, target: int) -> np.ndarray:
    """(h, w) of the layer's own cells, before it is cut at zero and scaled."""
    module = Convolutions().eval()
    x = pixels().requires_grad_()
    with kind(model=module, target_layers=[module.get_submodule(layer)]) as cam:
        goals = [ClassifierOutputTarget(target)]
        cam(input_tensor=x, targets=goals)
        activation = cam.activations_and_grads.activations[0].numpy()
        kept = cam.activations_and_grads.gradients  # nothing of those that need no gradient
        gradient = kept[0].numpy() if kept else np.zeros_like(activation)
        raw: np.ndarray = cam.get_cam_image(
            x, cam.target_layers[0], goals, activation, gradient, False
        )[0]
        return raw


def ours(method: str, layer: str, target: str) -> np.ndarray:
    """(h, w) the same of ours."""
    side = {"relu1": 8, "relu2": 4}[layer]
    why = vx.explain(
        convolutions(), photo(), method=method, layer=layer, target=target, interpolate="nearest"
    )
    step = SIDE // side
    return why.image[step // 2 :: step, step // 2 :: step]


@pytest.mark.each
@pytest.mark.parametrize("layer", ["relu1", "relu2"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("layer_cam", pytorch_grad_cam.LayerCAM),
        ("xgrad_cam", pytorch_grad_cam.XGradCAM),
        ("ablation_cam", pytorch_grad_cam.AblationCAM),
        ("score_cam", pytorch_grad_cam.ScoreCAM),
    ],
)
def test_maps_equal_those_of_pytorch_grad_cam(method: str, kind: type[Any], layer: str) -> None:
    for target, name in enumerate("abc"):
        expected = np.maximum(theirs(kind, layer, target), 0)
        np.testing.assert_allclose(ours(method, layer, name), expected, rtol=1e-4, atol=1e-6)
    assert np.abs(ours(method, layer, "a")).max() + np.abs(ours(method, layer, "b")).max() > 0


@pytest.mark.parametrize("layer", ["relu1", "relu2"])
@pytest.mark.parametrize(
    ("method", "kind"),
    [
        ("eigen_cam", pytorch_grad_cam.EigenCAM),
        ("eigen_grad_cam", pytorch_grad_cam.EigenGradCAM),
    ],
)
def test_components_equal_theirs_up_to_their_sign(method: str, kind: type[Any], layer: str) -> None:
    raw = theirs(kind, layer, 1)
    found = ours(method, layer, "b")
    one, other = np.maximum(raw, 0), np.maximum(-raw, 0)
    near = [np.allclose(found, side, rtol=1e-4, atol=1e-5) for side in (one, other)]
    assert any(near)
    assert found.max() > 0


def test_a_component_has_a_sign_of_its_own() -> None:
    maps = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    found = first_component(maps)
    assert torch.allclose(found, first_component(maps.flip(0)), atol=1e-6)
    assert torch.allclose(found, first_component(-maps), atol=1e-6)
    assert float((found**3).sum()) > 0


@pytest.mark.slow
def test_maps_of_patches_and_words_by_hand(scenes_model: ViltModel, scene: vx.Example) -> None:
    """Of a transformer a channel is a unit at all positions."""
    layer = "vilt.encoder.layer.3"
    found = vx.layer_values(scenes_model, scene, layer=layer, method="layer_ablation", each="unit")
    states = vx.layer_values(scenes_model, scene, layer=layer, method="layer_activation").values
    encoded = scenes_model.encode(scene)
    with torch.no_grad():
        score = float(scenes_model.scores(encoded, scenes_model.leaves(encoded)).max())
    cells = states[len(encoded.tokens) + 1 :] @ (found.values / score)
    why = vx.explain(
        scenes_model, scene, method="ablation_cam", layer=layer, interpolate="nearest", regions=8
    )
    expected = np.maximum(cells, 0).reshape(8, 8)
    np.testing.assert_allclose(why.image[6::12, 6::12], expected, atol=1e-4)


def test_a_score_of_zero_has_no_shares() -> None:
    class Still(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Conv2d(3, 4, 2, stride=2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            means = torch.relu(self.maps(x)).mean(dim=(2, 3))
            return torch.cat([means.sum(dim=1, keepdim=True), means[:, :1] * 0], dim=1)

    model = vx.load(Still().eval(), transform=to_tensor, labels=["a", "b"], device="cpu")
    with pytest.raises(vx.InvalidInput, match="of which nothing is a share"):
        vx.explain(model, photo(), method="ablation_cam", layer="maps", target="b")
