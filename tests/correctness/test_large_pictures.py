"""Explanations of large pictures: what a file of theirs takes, and that it gives the same values."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from PIL import Image
from torch import nn
from torchvision.transforms import Compose, Resize

import vqa_explain as vx

HEIGHT, WIDTH = 3000, 4000


class Small(nn.Module):
    """A network of 64 × 64 pixels whose values differ from pixel to pixel."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.weight = nn.Parameter(torch.randn(2, 3, 64, 64, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = torch.einsum("bchw,kchw->bk", x, self.weight)
        return scores


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    """Twelve megapixels with detail and grain, which do not become small without loss."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (150, 200, 3), dtype=np.uint8))
    smooth = np.asarray(coarse.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC), dtype=np.int16)
    grain = rng.integers(-3, 4, (HEIGHT, WIDTH, 1), dtype=np.int16)
    found: np.ndarray = np.clip(smooth + grain, 0, 255).astype(np.uint8)
    return found


def explained(photo: np.ndarray, method: str) -> vx.Explanation:
    transform = Compose([Resize((64, 64)), ToTensor()])
    model = vx.load(Small(), transform=transform, labels=["a", "b"], device="cpu")
    return vx.explain(model, Image.fromarray(photo), method=method, regions=8)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["input_x_gradient", "leave_one_out"])
def test_twelve_megapixels_take_less_than_five_megabytes(
    photo: np.ndarray, tmp_path: Path, method: str
) -> None:
    why = explained(photo, method)
    path = why.save(tmp_path / "why.vqax")
    assert path.stat().st_size < 5_000_000
    read = vx.load_explanation(path)
    np.testing.assert_array_equal(read.image, why.image)
    np.testing.assert_array_equal(read.labels, why.labels)
    assert read.labels.dtype == why.labels.dtype
    assert [r.value for r in read.regions] == [r.value for r in why.regions]
    difference = read.picture.astype(int) - why.picture
    assert np.sqrt((difference**2).mean()) < 4  # of 255
    assert read.save(tmp_path / "again.vqax").stat().st_size < 5_000_000


@pytest.mark.slow
def test_values_that_someone_has_replaced_are_kept_as_they_are(
    photo: np.ndarray, tmp_path: Path
) -> None:
    why = explained(photo, "input_x_gradient")
    part: Any = why.parts[0]
    changed = dataclasses.replace(part, image=part.image * 2)
    path = dataclasses.replace(why, parts=(changed,)).save(tmp_path / "why.vqax")
    np.testing.assert_array_equal(vx.load_explanation(path).image, part.image * 2)


def test_a_small_picture_is_kept_to_the_bit(tmp_path: Path, linear: Any) -> None:
    picture = np.random.default_rng(2).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    why = vx.explain(linear, picture, method="saliency")
    read = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    np.testing.assert_array_equal(read.picture, picture)
    np.testing.assert_array_equal(read.image, why.image)
