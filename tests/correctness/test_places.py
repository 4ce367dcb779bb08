"""Where things are in the picture: what a transform does is found out by calling it (issue's
section A).

Truth is the transform itself: a block put into a picture must come back to its place.
"""

import pickle
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from torch import nn
from torchvision.transforms import v2

import vqa_explain as vx
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.models.transforms import picture_reader

SIZES = [(480, 640), (37, 411), (300, 120), (64, 65)]


def steps(*before: Any) -> Any:
    return v2.Compose([*before, v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])


def own(change: Callable[..., Any], side: int = 96) -> Callable[..., torch.Tensor]:
    """A function of one's own: a change of the PIL picture, then a resize."""

    def transform(picture: Any) -> torch.Tensor:
        result: torch.Tensor = v2.functional.pil_to_tensor(
            change(picture).resize((side, side))
        ).float()
        return result

    return transform


def standardized(picture: Any) -> torch.Tensor:
    values = v2.functional.pil_to_tensor(picture.resize((80, 60))).float()
    result: torch.Tensor = (values - values.mean()) / values.std()
    return result


def letterboxed(picture: Any) -> Any:
    return ImageOps.pad(picture, (96, 96), color=(90, 20, 200))


TRANSFORMS: dict[str, Callable[..., Any]] = {
    "resize": steps(v2.Resize((224, 224))),
    "resize then crop": steps(v2.Resize(256), v2.CenterCrop(224)),
    "crop then resize": steps(v2.CenterCrop(480), v2.Resize(224)),
    "crop past the edges": steps(v2.CenterCrop(448)),
    "pad": steps(v2.Pad(20), v2.Resize((224, 224))),
    "pad with the edge": steps(v2.Pad((40, 0, 10, 30), padding_mode="edge"), v2.Resize((96, 96))),
    "lambda": steps(v2.Lambda(lambda picture: picture.crop((5, 3, 60, 35)))),
    "RGB": steps(v2.RGB(), v2.Resize((96, 96))),
    "gray": steps(v2.Grayscale(3), v2.Resize((96, 80))),
    "inverted": own(ImageOps.invert),
    "gamma": lambda p: (v2.functional.pil_to_tensor(p.resize((96, 96))).float() / 255) ** 2.2,
    "standardized": standardized,
    "letterbox": lambda p: v2.functional.pil_to_tensor(letterboxed(p)).float(),
    "mirrored": own(ImageOps.mirror),
    "upside down": own(ImageOps.flip),
    "quarter turn": own(lambda picture: picture.transpose(Image.Transpose.ROTATE_90)),
    "turned": own(lambda picture: picture.rotate(10)),
    "nearest": steps(v2.Resize((224, 224), interpolation=v2.InterpolationMode.NEAREST)),
    "ConvNeXt": tf.ConvNextImageProcessor(size={"shortest_edge": 224}, crop_pct=0.875),
    "CLIP": tf.CLIPImageProcessor(),
    "LLaVA, padded": tf.LlavaImageProcessor(do_pad=True),
    "Janus": tf.JanusImageProcessor(),
    "DeepSeek-VL": tf.DeepseekVLImageProcessor(),
    "LeViT": tf.LevitImageProcessor(),
    "PoolFormer": tf.PoolFormerImageProcessor(),
    "EfficientNet": tf.EfficientNetImageProcessor(),
    "Perceiver": tf.PerceiverImageProcessor(),
}


def response(reader: Any, picture: np.ndarray, top: int, left: int, height: int, width: int) -> Any:
    """(H', W') how much a block of a picture changes each element of the frame,
    by the transform itself.
    """
    marked = picture.copy()
    marked[top : top + height, left : left + width] = (
        255 - marked[top : top + height, left : left + width]
    )
    before, geometry = reader.read(picture)
    after, _ = reader.read(marked)
    return (after - before).abs().mean(dim=1)[0].double().numpy(), geometry


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_block_comes_back_to_its_place(name: str, size: tuple[int, int]) -> None:
    reader = picture_reader(TRANSFORMS[name], name)
    # Little but not nothing to see, since a standardized plain picture has no numbers.
    picture = np.random.default_rng(0).integers(40, 60, (*size, 3)).astype(np.uint8)
    height, width = max(8, size[0] // 8), max(8, size[1] // 8)
    seen = 0
    for down, across in ((0.5, 0.5), (0.35, 0.6), (0.6, 0.4)):
        top, left = int(down * size[0] - height / 2), int(across * size[1] - width / 2)
        change, geometry = response(reader, picture, top, left, height, width)
        change[change < 0.3 * change.max()] = 0
        carried = geometry.to_original(change)
        assert carried.sum() == pytest.approx(change[geometry.inside].sum())
        if carried.sum() == 0:
            continue  # cropped away
        seen += 1
        margin = int(np.ceil(1.5 * max(1, *geometry.extents)))
        inside = carried[
            max(0, top - margin) : top + height + margin,
            max(0, left - margin) : left + width + margin,
        ]
        assert inside.sum() > 0.97 * carried.sum(), "values lie elsewhere than the block"
        shown = geometry.labels_to_original(np.zeros(geometry.frame, int))
        shown = shown[top - margin : top + height + margin, left - margin : left + width + margin]
        if (shown < 0).any() or not shown.size:
            continue  # the crop cuts the block, and its center with it
        rows, columns = np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5
        total = carried.sum()
        center = (carried.sum(1) @ rows / total, carried.sum(0) @ columns / total)
        step = max(2.0, *geometry.extents)
        assert center == pytest.approx((top + height / 2, left + width / 2), abs=step)
    assert seen or name == "lambda"


def aligned(transform: Callable[..., Any], height: int, width: int) -> AlignedGeometry:
    """Where the frame of this transform lies in a black picture of this size."""
    reader = picture_reader(transform, "net")
    _, geometry = reader.read(np.zeros((height, width, 3), np.uint8))
    assert isinstance(geometry, AlignedGeometry)
    return geometry


def test_a_convnext_crop_is_the_one_that_the_network_sees() -> None:
    """640 × 480 at size 224 and crop_pct 0.875: resized to 341 × 256, then the middle 224."""
    geometry = aligned(TRANSFORMS["ConvNeXt"], 480, 640)
    assert geometry.columns.centers[0] - geometry.columns.extent / 2 == pytest.approx(
        58 * 640 / 341, abs=0.6
    )
    assert geometry.columns.centers[-1] + geometry.columns.extent / 2 == pytest.approx(
        (58 + 224) * 640 / 341, abs=0.6
    )
    assert geometry.rows.centers[0] - geometry.rows.extent / 2 == pytest.approx(
        16 * 480 / 256, abs=0.6
    )


def test_the_place_of_a_resize_and_crop_is_exact() -> None:
    """480 × 640 at 256: resized to 256 × 341, then the middle 224, from 16 and 58 on."""
    geometry = aligned(TRANSFORMS["resize then crop"], 480, 640)
    at = np.arange(224) + 0.5
    np.testing.assert_allclose(geometry.rows.centers, (at + 16) * 480 / 256, rtol=1e-12)
    np.testing.assert_allclose(geometry.columns.centers, (at + 58) * 640 / 341, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 90),
    st.integers(1, 90),
    st.integers(8, 70),
    st.integers(8, 70),
    st.integers(-5, 5),
    st.integers(-5, 5),
)
def test_any_resize_and_crop_is_found(
    height: Any, width: Any, tall: Any, wide: Any, top: Any, left: Any
) -> None:
    """Against the closed form: the center of element i is (i + offset + ½) · size / resized."""

    def transform(picture: Any) -> torch.Tensor:
        values = v2.functional.pil_to_tensor(picture.resize((wide, tall))).float()
        result: torch.Tensor = v2.functional.crop(values, top, left, tall, wide)
        return result

    geometry = aligned(transform, height, width)
    for axis, size, scaled, offset in (
        (geometry.rows, height, tall, top),
        (geometry.columns, width, wide, left),
    ):
        at = np.arange(scaled) + offset
        inside = (at >= 0) & (at < scaled)
        np.testing.assert_array_equal(axis.inside, inside)
        expected = (at[inside] + 0.5) * size / scaled
        np.testing.assert_allclose(
            np.clip(axis.centers[inside], 0.5, size - 0.5),
            np.clip(expected, 0.5, size - 0.5),
            atol=0.45 * max(1, size / scaled),
        )


def erased(picture: Any) -> torch.Tensor:
    values = v2.functional.pil_to_tensor(picture.resize((32, 32))).float()
    values[:, random.randrange(32)] = 0
    result: torch.Tensor = values
    return result


def noisy(picture: Any) -> torch.Tensor:
    values = v2.functional.pil_to_tensor(picture.resize((32, 32))).float()
    result: torch.Tensor = (
        values + torch.from_numpy(np.random.default_rng().normal(size=values.shape)).float()
    )
    return result


def noisy_by_numpy(picture: Any) -> torch.Tensor:
    values = v2.functional.pil_to_tensor(picture.resize((32, 32))).float()
    result: torch.Tensor = values + torch.from_numpy(np.random.normal(size=values.shape)).float()
    return result


@pytest.mark.parametrize(
    "random_step",
    [
        steps(v2.Resize((32, 32)), v2.RandomHorizontalFlip(0.1)),
        steps(v2.RandomResizedCrop(32)),
        steps(v2.Resize((32, 32)), v2.RandomErasing(0.01)),
        steps(v2.Resize((32, 32)), v2.RandomApply([v2.Grayscale(3)], p=0.01)),
        steps(v2.Resize((32, 32)), v2.ColorJitter(0.1)),
        erased,
        noisy,
        noisy_by_numpy,
    ],
)
def test_random_steps_are_refused_and_leave_no_state(
    random_step: Any, noise_picture: np.ndarray
) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    states = torch.get_rng_state(), random.getstate(), pickle.dumps(np.random.get_state())
    with pytest.raises(vx.InvalidInput, match="random step"):
        vx.explain(vx.load(net, transform=random_step, labels=["a", "b", "c"]), noise_picture)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert pickle.dumps(np.random.get_state()) == states[2]


def trimmed(picture: Any) -> torch.Tensor:
    """Cropped to what is not black, as some readers of scans do."""
    result: torch.Tensor = v2.functional.pil_to_tensor(
        picture.crop(picture.getbbox()).resize((32, 32))
    ).float()
    return result


def test_a_crop_that_depends_on_what_the_picture_shows_is_refused() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    model = vx.load(net, transform=trimmed, labels=["a", "b", "c"])
    scan = np.zeros((120, 160, 3), np.uint8)
    scan[70:110, 90:150] = np.random.default_rng(0).integers(40, 256, (40, 60, 3))
    with pytest.raises(vx.InvalidInput, match=r"moves (the )?pixels"):
        vx.explain(model, scan, method="saliency")


def shifted(picture: Any) -> torch.Tensor:
    """Moved to the right by an eighth where the last pixel says so."""
    values = v2.functional.pil_to_tensor(picture.resize((64, 64))).float()
    left = 8 if picture.getpixel((127, 127)) == (7, 7, 7) else 0
    result: torch.Tensor = values[:, :, (torch.arange(64) - left).clamp(min=0)]
    return result


def test_a_shift_of_a_picture_that_looks_alike_everywhere_is_refused() -> None:
    """Colors that grow evenly explain the shifted frame too, so only marks in the picture tell."""
    ramp = np.zeros((128, 128, 3), np.uint8)
    ramp[:] = np.linspace(30, 220, 128)[None, :, None]
    picture_reader(shifted, "net").read(ramp)
    ramp[-1, -1] = 7
    with pytest.raises(vx.InvalidInput, match="moves the pixels of this image"):
        picture_reader(shifted, "net").read(ramp)


def test_a_transform_that_ignores_the_picture_is_refused(noise_picture: np.ndarray) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 3))
    model = vx.load(net, transform=lambda _: torch.ones(3, 32, 32), labels=["a", "b", "c"])
    with pytest.raises(vx.InvalidInput, match="gives the same for every image"):
        vx.explain(model, noise_picture)


class Weighted(nn.Module):
    """A linear network: the score of class k is the sum of the pixels by fixed weights."""

    def __init__(self, side: int) -> None:
        super().__init__()
        weights = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3 * side * side)))
        self.weights = nn.Parameter(weights.float())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1) @ self.weights.T


@pytest.mark.parametrize("size", [(37, 411), (90, 30), (100, 448)])
def test_padding_lights_up_nothing(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    net = Weighted(224)
    model = vx.load(net, transform=steps(v2.CenterCrop(224)), labels=["a", "b"], device="cpu")
    encoded = model.encode(vx.Example(picture))
    padded = ~encoded.geometry.inside
    assert padded.mean() > 0.3
    windows: dict[str, Any] = {"window": 30, "stride": 30}
    for method, more in (("occlusion", windows), ("leave_one_out", {})):
        why = vx.explain(model, picture, method=method, target="a", **more)
        assert why.padding == 0
        assert all(r.box[2] > r.box[0] and r.box[3] > r.box[1] for r in why.regions)
        # A linear network's effects add up to f(x) − f(x with the picture, not its padding,
        # of the mean color).
        blank = model.baselines(encoded, {"image": "mean"}, 0)["image"]
        assert torch.equal(
            blank[0, :, torch.from_numpy(padded)], encoded.pixels[0, :, torch.from_numpy(padded)]
        )
        with torch.no_grad():
            change = float((net(encoded.pixels) - net(blank))[0, 0])
        if method == "leave_one_out":
            assert sum(r.value for r in why.regions) == pytest.approx(change, rel=1e-3, abs=1e-3)
        assert why.image.sum() == pytest.approx(sum(r.value for r in why.regions), abs=1e-4)
    why = vx.explain(model, picture, method="saliency", target="a", channels="sum")
    slopes = net.weights[0].detach().abs().reshape(3, 224, 224).sum(0).numpy()
    assert why.padding == pytest.approx(slopes[padded].sum() / slopes.sum(), rel=1e-4)
    assert "padding" in repr(why)
    assert why.image.sum() == pytest.approx(slopes[~padded].sum(), rel=1e-4)
