"""Geometry: sums are conserved and pixels land where the transform took them from."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa_explain.errors import InvalidInput
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.features.image import blank
from vqa_explain.features.regions import grid_regions, of_cells

sizes = st.integers(1, 60)


@settings(max_examples=60, deadline=None)
@given(
    sizes,
    sizes,
    sizes,
    sizes,
    st.integers(-5, 5),
    st.integers(-5, 5),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_sum_is_conserved_on_odd_sizes(
    height: Any, width: Any, rh: Any, rw: Any, top: Any, left: Any, fh: Any, fw: Any
) -> None:
    geometry = AlignedGeometry.resized((height, width), (rh, rw), (fh, fw), (top, left))
    values = np.random.default_rng(0).normal(size=(fh, fw))
    carried = geometry.to_original(values)
    assert carried.shape == (height, width)
    assert carried.sum() == pytest.approx(values[geometry.inside].sum(), abs=1e-9)


def test_cropped_away_pixels_get_nothing() -> None:
    geometry = AlignedGeometry.resized((10, 20), (10, 20), (10, 10), (0, 5))
    carried = geometry.to_original(np.ones((10, 10)))
    np.testing.assert_array_equal(carried[:, 5:15], 1)
    assert carried[:, :5].sum() == carried[:, 15:].sum() == 0


def test_doubling_spreads_a_pixel_over_four_and_halving_gathers() -> None:
    up = AlignedGeometry.resized((4, 4), (2, 2), (2, 2))
    np.testing.assert_allclose(up.to_original(np.array([[4.0, 0], [0, 0]]))[:2, :2], 1)
    down = AlignedGeometry.resized((1, 1), (2, 2), (2, 2))
    np.testing.assert_allclose(down.to_original(np.array([[1.0, 2], [3, 4]])), [[10]])


def test_padding_is_left_out() -> None:
    geometry = AlignedGeometry.resized((2, 2), (2, 2), (4, 4), (-1, -1))
    np.testing.assert_allclose(geometry.to_original(np.ones((4, 4))), 1)
    assert geometry.inside.sum() == 4


def test_labels_follow_the_pixels() -> None:
    geometry = AlignedGeometry.resized((6, 8), (6, 8), (4, 4), (1, 2))
    labels = geometry.labels_to_original(np.arange(16).reshape(4, 4))
    np.testing.assert_array_equal(labels[1:5, 2:6], np.arange(16).reshape(4, 4))
    assert (labels == -1).sum() == 48 - 16


def test_grid_cells_are_equal_as_far_as_pixels_allow() -> None:
    regions = grid_regions((10, 7), (3, 2))
    area = np.bincount(regions.labels.ravel())
    assert regions.count == 6
    assert area.sum() == 70
    assert area.min() >= 3 * 3
    with pytest.raises(InvalidInput, match="does not fit"):
        grid_regions((4, 4), (5, 1))


def test_regions_of_whole_cells_are_told_from_others() -> None:
    columns = grid_regions((12, 12), (1, 3))
    np.testing.assert_array_equal(of_cells(columns, (3, 3)), [[0, 1, 2]] * 3)
    assert of_cells(columns, (2, 2)) is None


def test_a_blank_picture_is_kept_until_the_picture_changes() -> None:
    pixels = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    first = blank(pixels, "mean", 0)
    assert blank(pixels, "mean", 0) is first
    pixels.add_(1)
    torch.testing.assert_close(blank(pixels, "mean", 0), first + 1)


def test_a_wide_blur_is_the_one_of_torchvision() -> None:
    """It goes axis by axis, and torchvision's kernel is a square."""
    from torchvision.transforms.functional import gaussian_blur

    pixels = torch.rand(1, 3, 30, 420, generator=torch.Generator().manual_seed(0))
    truth = gaussian_blur(pixels, [2 * 70 - 1 + 2, 2 * 29 + 1], [35.0, 35.0])
    assert torch.allclose(blank(pixels, "blur", 0), truth, atol=1e-5)
