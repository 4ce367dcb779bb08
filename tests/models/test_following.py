"""Pictures that a processor standardizes, or cuts to patches in one row; batches that fail."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import vqa_explain as vx
from vqa_explain.models.generative.decoding import takes_batches
from vqa_explain.models.generative.following import Follower, standardizes

PICTURE = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)
SIDE = 8


def standardized(picture: np.ndarray) -> Tensor:
    """(1, patches, 3 · 8 · 8) of a picture less its mean, by its deviation."""
    values = torch.from_numpy(picture.copy()).float()
    least = values.numel() ** -0.5
    values = (values - values.mean()) / values.std(correction=0).clamp_min(least)
    cut = values.unflatten(1, (-1, SIDE)).unflatten(0, (-1, SIDE))
    found: Tensor = cut.permute(0, 2, 1, 3, 4).flatten(2).flatten(0, 1)[None]
    return found


def strip(picture: np.ndarray) -> Tensor:
    """(1, 3, 8, patches · 8) the patches in one row, as MiniCPM-V has them."""
    values = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1
    cut = values.unflatten(2, (-1, SIDE)).unflatten(1, (-1, SIDE))
    found: Tensor = cut.permute(0, 2, 1, 3, 4).flatten(2)[None]
    return found


@pytest.mark.parametrize("make", [standardized, strip])
def test_a_changed_frame_is_what_the_processor_makes_of_the_changed_picture(
    make: Callable[[np.ndarray], Tensor],
) -> None:
    other = PICTURE.copy()
    other[8:20, 24:40] = 255 - other[8:20, 24:40] // 2
    follower = Follower(make, PICTURE, "model")
    one = follower.read("pixels", make(PICTURE), PICTURE)
    changed = follower.read("pixels", make(other), other).frame
    assert one.frame.shape == (1, 3, 48, 64)
    theirs = make(other)
    found = one.values(changed, ())["pixels"].reshape(theirs.shape)
    # 1 % of the range: where elements lie is measured.
    torch.testing.assert_close(found, theirs, atol=0.02, rtol=0)


def test_a_blended_frame_is_standardized_as_its_picture_would_be() -> None:
    """Half gray: the processor would take off another mean and divide by another deviation."""
    follower = Follower(standardized, PICTURE, "model")
    one = follower.read("pixels", standardized(PICTURE), PICTURE)
    gray = PICTURE.copy()
    gray[:, :32] = round(float(PICTURE.mean()))
    blended = one.frame.clone()
    blended[:, :, :, :32] = blended.mean()
    theirs = standardized(gray)
    found = one.values(blended, ())["pixels"].reshape(theirs.shape)
    torch.testing.assert_close(found, theirs, atol=0.02, rtol=0)


def test_only_a_processor_that_takes_brightness_off_standardizes() -> None:
    assert standardizes(standardized, (48, 64))
    assert not standardizes(strip, (48, 64))


@pytest.mark.parametrize(("size", "said"), [((1, 8), "1 pixel high"), ((8, 1), "1 pixel wide")])
def test_a_picture_of_one_row_or_column_is_refused_for_that(
    size: tuple[int, int], said: str
) -> None:
    """Its parts show the same everywhere along that side, so that nothing tells where they lie."""

    def tiles(picture: np.ndarray) -> Tensor:
        values = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1
        large = F.interpolate(values, scale_factor=8, mode="bilinear")[0]
        cut = large.unflatten(2, (-1, SIDE)).unflatten(1, (-1, SIDE))
        found: Tensor = cut.permute(1, 3, 0, 2, 4).flatten(0, 1)
        return found

    picture = np.random.default_rng(5).integers(0, 256, (*size, 3), dtype=np.uint8)
    with pytest.raises(vx.Unsupported, match=f"cannot be told apart .* more than {said}"):
        Follower(tiles, picture, "model")


def mixes(inputs: dict[str, Tensor]) -> Tensor:
    """Each row sees the first."""
    return inputs["pixels"] + inputs["pixels"][:1]


def needs_one(inputs: dict[str, Tensor]) -> Tensor:
    """A length is that of the first row."""
    return inputs["pixels"].reshape(1, -1) + torch.zeros(1, 4)


def apart(inputs: dict[str, Tensor]) -> Tensor:
    """Each row by itself."""
    return 2 * inputs["pixels"]


@pytest.mark.parametrize(("compute", "takes"), [(mixes, False), (needs_one, False), (apart, True)])
def test_a_batch_is_taken_where_its_rows_are_as_alone(
    compute: Callable[[dict[str, Tensor]], Tensor], takes: bool
) -> None:
    inputs = {"pixels": torch.tensor([[1.0, 2.0, 3.0, 4.0]]), "ids": torch.tensor([[5]])}
    assert takes_batches(compute, inputs, "network") is takes
