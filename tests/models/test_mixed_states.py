"""States of trained networks mix, and still show the cells of their grid; shuffled ones do not."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.models.places import shows_cells


@pytest.fixture(scope="module")
def writer() -> vx.Model:
    """The shipped model that writes captions, whose tower is trained."""
    return vx.load("captions", device="cpu")


@pytest.mark.parametrize("number", range(4))
def test_a_trained_tower_shows_its_cells_for_any_picture(writer: Any, number: int) -> None:
    example = vx.load_dataset("everyday:captions")[number]
    encoded = writer.encode(vx.Example(example.image))
    pixels = encoded["image"].content.pixels

    def tokens(frames: torch.Tensor) -> torch.Tensor:
        return torch.stack(list(writer.module.get_image_features(frames).pooler_output))

    assert shows_cells(tokens, pixels, (10, 10))
    rows = np.arange(100).reshape(10, 10)
    orders = {
        "columns first": rows.T,
        "upside down": rows[::-1],
        "tiles": rows.reshape(2, 5, 2, 5).swapaxes(1, 2),
        "shuffled in each quarter": shuffled_in_quarters(rows),
        "shuffled": np.random.default_rng(1).permutation(rows.ravel()),
    }
    for name, order in orders.items():
        moved = partial(in_order, tokens, torch.from_numpy(order.ravel().copy()))
        assert not shows_cells(moved, pixels, (10, 10)), name


def in_order(
    tokens: Callable[[torch.Tensor], torch.Tensor], order: torch.Tensor, frames: torch.Tensor
) -> torch.Tensor:
    return tokens(frames)[:, order]


def shuffled_in_quarters(rows: np.ndarray) -> np.ndarray:
    found, rng = rows.copy(), np.random.default_rng(0)
    for quarter in np.ndindex(2, 2):
        part = tuple(slice(5 * side, 5 * side + 5) for side in quarter)
        found[part] = rng.permutation(rows[part].ravel()).reshape(5, 5)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grad_cam", "attention"])
def test_words_of_a_trained_model_have_maps_of_patches(writer: vx.Model, method: str) -> None:
    example = vx.load_dataset("everyday:captions")[0]
    why = vx.explain(
        writer, example.image, method=method, target="sentence", answers=[str(example.answer)]
    )
    assert all(row.image.max() > row.image.min() for row in why.outputs)
