"""Class activation maps and ReLU rules against Captum and pytorch-grad-cam,
on a real network and by hand.
"""

from typing import Any

import captum.attr
import numpy as np
import pytest
import pytorch_grad_cam
import torch
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn
from torch.nn import functional as F

import vqa_explain as vx
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

SIDE = 32


class Net(nn.Module):
    """Convolutions and rectifiers, with maps of 16 × 16 and of 8 × 8."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first = nn.Conv2d(3, 8, 3, padding=1, stride=2)
            self.relu = nn.ReLU()
            self.second = nn.Conv2d(8, 12, 3, padding=1, stride=2)
            self.relu2 = nn.ReLU()
            self.last = nn.Linear(12 * 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu2(self.second(self.relu(self.first(x))))
        result: torch.Tensor = self.last(F.adaptive_avg_pool2d(x, 2).flatten(1))
        return result


class ToTensor:
    def __call__(self, image: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


@pytest.fixture(scope="module")
def net() -> vx.Model:
    return vx.load(Net(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


@pytest.fixture(scope="module")
def steep() -> vx.Model:
    """With large gradients: pytorch-grad-cam adds 1e-6 to a denominator that the paper has
    without.
    """
    module = Net()
    with torch.no_grad():
        module.last.weight *= 1000
    return vx.load(module, transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def pixels(photo: np.ndarray) -> torch.Tensor:
    return ToTensor()(photo)[None]


@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_grad_cam_equals_captum(net: vx.Model, photo: np.ndarray, layer: str, mode: str) -> None:
    x = pixels(photo)
    theirs = captum.attr.LayerGradCam(net.module, net.module.get_submodule(layer)).attribute(
        x, target=1, relu_attributions=True
    )
    theirs = captum.attr.LayerAttribution.interpolate(theirs, (SIDE, SIDE), interpolate_mode=mode)[
        0, 0
    ]
    why = vx.explain(net, photo, method="grad_cam", target="b", layer=layer, interpolate=mode)
    np.testing.assert_allclose(why.image, theirs.detach().numpy(), atol=1e-6)


@pytest.mark.parametrize(
    ("method", "theirs"),
    [
        ("grad_cam", pytorch_grad_cam.GradCAM),
        ("grad_cam_plus_plus", pytorch_grad_cam.GradCAMPlusPlus),
        ("hires_cam", pytorch_grad_cam.HiResCAM),
    ],
)
def test_maps_equal_those_of_pytorch_grad_cam(
    steep: vx.Model, photo: np.ndarray, method: str, theirs: type[Any]
) -> None:
    """Before their scaling to 0 … 1, on the layer's own 8 × 8 cells."""
    net = steep
    x = pixels(photo).requires_grad_()
    with theirs(model=net.module, target_layers=[net.module.second]) as cam:
        cam(input_tensor=x, targets=[ClassifierOutputTarget(1)])
        activation = cam.activations_and_grads.activations[0].numpy()
        gradient = cam.activations_and_grads.gradients[0].numpy()
        raw = cam.get_cam_image(x, cam.target_layers[0], [1], activation, gradient, False)[0]
    ours = vx.explain(net, photo, method=method, target="b", layer="second", interpolate="nearest")
    cells = ours.image[2::4, 2::4]
    np.testing.assert_allclose(cells, np.maximum(raw, 0), rtol=1e-4, atol=1e-3)
    assert cells.max() > 0


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("guided_backprop", captum.attr.GuidedBackprop), ("deconvolution", captum.attr.Deconvolution)],
)
def test_relu_rules_equal_captum_and_leave_the_network_as_it_was(
    net: vx.Model, photo: np.ndarray, method: str, theirs: type[Any]
) -> None:
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = (
            theirs(Net().eval()).attribute(pixels(photo).requires_grad_(), target=2).sum(1)[0]
        )
    why = vx.explain(net, photo, method=method, target="c")
    np.testing.assert_allclose(why.image, expected.detach().numpy(), atol=1e-6)
    assert "forward" not in vars(net.module.relu)
    plain = vx.explain(net, photo, method="saliency", target="c")
    expected = (
        captum.attr.Saliency(net.module)
        .attribute(pixels(photo).requires_grad_(), target=2)
        .amax(1)[0]
    )
    np.testing.assert_allclose(plain.image, expected.detach().numpy(), atol=1e-6)


def test_guided_grad_cam_equals_captum(net: vx.Model, photo: np.ndarray) -> None:
    module = Net().eval()
    with pytest.warns(UserWarning, match="backward hooks"):
        expected = captum.attr.GuidedGradCam(module, module.second).attribute(
            pixels(photo).requires_grad_(), target=0, interpolate_mode="bilinear"
        )
    why = vx.explain(net, photo, method="guided_grad_cam", target="a", layer="second")
    np.testing.assert_allclose(why.image, expected.sum(1)[0].detach().numpy(), atol=1e-6)


def test_the_default_layer_is_the_last_with_maps(net: vx.Model, photo: np.ndarray) -> None:
    named = vx.explain(net, photo, method="grad_cam", target="a", layer="relu2")
    default = vx.explain(net, photo, method="grad_cam", target="a")
    np.testing.assert_array_equal(named.image, default.image)


def test_hires_cam_over_patches_and_words_by_hand(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """The states after a layer, times their gradients, summed:
    written out on transformers' own forward.
    """
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")
    embeddings = scenes_model.module.vilt.embeddings
    patches = embeddings.patch_embeddings(inputs["pixel_values"]).flatten(2).transpose(1, 2)
    patches = torch.cat([embeddings.cls_token, patches], dim=1) + embeddings.position_embeddings
    output = scenes_model.module(
        input_ids=inputs["input_ids"],
        image_embeds=patches,
        pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long),
        output_hidden_states=True,
    )
    state = output.hidden_states[3]
    (gradient,) = torch.autograd.grad(output.logits[0, scenes_model.labels.index("yes")], state)
    product = (state * gradient)[0].sum(1).clamp(min=0).detach().numpy()
    tokens = inputs["input_ids"].shape[1]
    why = vx.explain(
        scenes_model,
        scene,
        method="hires_cam",
        target="yes",
        layer="vilt.encoder.layer.2",
        interpolate="nearest",
    )
    np.testing.assert_allclose(
        [t.value for t in why.tokens], product[:tokens], rtol=1e-3, atol=1e-6
    )
    np.testing.assert_allclose(
        why.image[6::12, 6::12].ravel(), product[tokens + 1 :], rtol=1e-3, atol=1e-6
    )


def test_a_layer_that_is_not_there_is_refused_with_a_near_name(
    net: vx.Model, photo: np.ndarray
) -> None:
    with pytest.raises(vx.InvalidInput, match="no layer 'secnd'; did you mean 'second'"):
        vx.explain(net, photo, method="grad_cam", layer="secnd")


def test_networks_without_rectifiers_or_maps_are_refused(
    curved: ClassifierModel, picture: np.ndarray, scenes_model: ViltModel, scene: vx.Example
) -> None:
    with pytest.raises(vx.Unsupported, match="has none"):
        vx.explain(scenes_model, scene, method="guided_backprop")
    with pytest.raises(vx.Unsupported, match="has no layer with maps"):
        vx.explain(curved, picture, method="grad_cam")
