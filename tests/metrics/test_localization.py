"""Localisation, modality and sparseness against Quantus and by hand."""

from typing import Any

import numpy as np
import pytest
import quantus
import torch
from cases import network_case, table_case
from skimage import data
from test_faithfulness import Small

import vqa_explain as vx
from vqa_explain.metrics.localization import PointingGame, RelevanceMass, RelevanceRank, mass, rank
from vqa_explain.metrics.modality import Sparseness

# Quantus does not state the types of its metrics as they are.
QUANTUS: Any = quantus


@pytest.fixture
def located() -> tuple[vx.Case, dict[str, Any], np.ndarray]:
    picture = np.repeat(data.camera()[40::64, 40::64][:, :, None], 3, axis=2)
    values = np.random.default_rng(8).normal(size=64)
    truth = np.zeros((8, 8), bool)
    truth[2:5, 1:4] = True
    network = Small().eval()
    case = network_case(network, picture, values, (8, 8), truth=truth)
    x = case.task.encoded.pixels[:, :1].numpy()
    given = {
        "model": network,
        "x_batch": x,
        "y_batch": np.array([0]),
        "a_batch": values.reshape(1, 1, 8, 8),
        "device": "cpu",
    }
    return case, given, truth[None, None]


def theirs(metric: type[Any], given: dict[str, Any], truth: np.ndarray) -> float:
    settings = {
        "abs": False,
        "normalise": False,
        "disable_warnings": True,
        "return_aggregate": False,
    }
    return float(np.ravel(metric(**settings)(**given, s_batch=truth, channel_first=True))[0])


def test_rank_is_quantus(located: tuple[vx.Case, dict[str, Any], np.ndarray]) -> None:
    case, given, truth = located
    assert RelevanceRank()(case) == pytest.approx(
        theirs(QUANTUS.RelevanceRankAccuracy, given, truth)
    )


def test_mass_is_quantus_of_the_positive_part(
    located: tuple[vx.Case, dict[str, Any], np.ndarray],
) -> None:
    case, given, truth = located
    given = {**given, "a_batch": np.maximum(given["a_batch"], 0)}
    assert RelevanceMass()(case) == pytest.approx(
        theirs(QUANTUS.RelevanceMassAccuracy, given, truth)
    )


def test_pointing_game_is_quantus(located: tuple[vx.Case, dict[str, Any], np.ndarray]) -> None:
    case, given, truth = located
    assert PointingGame()(case) == theirs(QUANTUS.PointingGame, given, truth) == 0.0
    best = np.unravel_index(given["a_batch"].argmax(), truth.shape)
    truth[best] = True
    assert case.example.masks is not None
    case.example.masks[0][best[2:]] = True
    assert PointingGame()(case) == theirs(QUANTUS.PointingGame, given, truth) == 1.0


def test_sparseness_is_quantus(located: tuple[vx.Case, dict[str, Any], np.ndarray]) -> None:
    case, given, _ = located
    metric = QUANTUS.Sparseness(
        abs=True, normalise=False, disable_warnings=True, return_aggregate=False
    )
    # Quantus adds 1e-7 to every value.
    assert Sparseness()(case) == pytest.approx(
        float(metric(**given, channel_first=True)[0]), abs=1e-5
    )


def test_equal_values_are_drawn_by_lot() -> None:
    truth = np.array([True, True, False, False])
    assert rank(np.ones(4), truth) == 0.5
    assert rank(np.array([3.0, 1, 1, 1]), truth) == pytest.approx((1 + 1 / 3) / 2)
    assert rank(np.array([0.0, 0, 5, 5]), truth) == 0.0
    assert np.isnan(rank(np.ones(4), np.zeros(4, bool)))
    assert mass(np.array([2.0, -5, 1, 1]), truth) == 0.5
    assert mass(np.array([-1.0, -2, -3, 0]), truth) == 0.0


def test_pointing_where_all_is_negative_or_equal() -> None:
    truth = np.array([[True, False], [False, False]])
    picture = np.full((2, 2, 3), 255, np.uint8)
    for values, expected in (
        ([-1, -2, -3, -4], 1.0),
        ([-2, -1, -3, -4], 0.0),
        ([0, 0, 0, 0], 0.25),
        ([1, 1, 0, 0], 0.5),
    ):
        case = network_case(_Flat(), picture, values, (2, 2), truth=truth)
        assert PointingGame()(case) == expected


class _Flat(Small):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)[:, :2] * self.first.sum()


def test_gini_by_hand() -> None:
    assert Sparseness()(table_case([0.5] * 16, [1, 1, 1, 1], (2, 2))) == pytest.approx(0)
    assert Sparseness()(table_case([0.5] * 16, [0, 0, 0, 5], (2, 2))) == pytest.approx(0.75)
    # Σ (2i − n − 1) x_i / (n Σ x) of 1, 2, 3, 4 is (−3 − 2 + 3 + 12) / 40.
    assert Sparseness()(table_case([0.5] * 16, [4, -2, 3, 1], (2, 2))) == pytest.approx(0.25)


def test_a_mask_of_another_size_is_refused() -> None:
    picture = np.full((2, 2, 3), 255, np.uint8)
    case = network_case(_Flat(), picture, [1, 2, 3, 4], (2, 2), truth=np.ones((3, 2), bool))
    with pytest.raises(vx.InvalidInput, match="must agree"):
        RelevanceMass()(case)
