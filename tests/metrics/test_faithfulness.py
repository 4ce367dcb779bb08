"""Faithfulness metrics against games worked by hand, Captum,
Quantus and the papers' definitions.
"""

from typing import Any

import captum.metrics
import numpy as np
import pytest
import quantus
import torch
from cases import network_case, table_case
from quantus.functions.perturb_func import noisy_linear_imputation
from skimage import data
from torch import nn

import vqa_explain as vx
from vqa_explain.methods import create
from vqa_explain.metrics.faithfulness import (
    Comprehensiveness,
    Deletion,
    FaithfulnessCorrelation,
    Infidelity,
    Insertion,
    PerturbationNegative,
    PerturbationPositive,
    Road,
    SensitivityMax,
    Sufficiency,
)
from vqa_explain.metrics.imputation import imputed

# Quantus does not state the types of its metrics as they are.
QUANTUS: Any = quantus
ROAD_IMPUTATION: Any = noisy_linear_imputation

# v(S) of three players 1, 2, 4 (as binary digits): v(∅), v(1), v(2), v(12), v(3), v(13), v(23),
# v(123).
THREE = [0.10, 0.30, 0.20, 0.60, 0.15, 0.50, 0.40, 0.90]


def test_deletion_of_three_players_by_hand() -> None:
    # |a| takes 2, then 0, then 1 away: 0.90, v(12) = 0.60, v(2) = 0.20, 0.10.
    case = table_case(THREE, [0.5, 0.1, -0.9], (1, 3))
    found = Deletion(steps=3)(case)
    np.testing.assert_allclose(found.scores, [0.90, 0.60, 0.20, 0.10], atol=1e-6)
    assert found.value == pytest.approx((0.45 + 0.60 + 0.20 + 0.05) / 3, abs=1e-6)
    # Signed, the most positive first: 0, 1, 2: 0.90, v(23) = 0.40, v(3) = 0.15, 0.10.
    np.testing.assert_allclose(
        Deletion(steps=3, order="signed")(case).scores, [0.90, 0.40, 0.15, 0.10], atol=1e-6
    )


def test_insertion_of_three_players_by_hand() -> None:
    # 2, then 0, then 1 come: 0.10, v(3) = 0.15, v(13) = 0.50, 0.90.
    found = Insertion(steps=3)(table_case(THREE, [0.5, 0.1, -0.9], (1, 3)))
    np.testing.assert_allclose(found.scores, [0.10, 0.15, 0.50, 0.90], atol=1e-6)
    assert found.value == pytest.approx((0.05 + 0.15 + 0.50 + 0.45) / 3, abs=1e-6)


def test_comprehensiveness_and_sufficiency_of_four_players_by_hand() -> None:
    rng = np.random.default_rng(0)
    table = rng.uniform(0.05, 0.95, 16)
    case = table_case(table, [0.1, 0.8, 0.3, 0.2], (2, 2))
    # 1, 5, 10 and 20 % of four players are one player, number 1; 50 % are two, numbers 1 and 2.
    without, only = [15 - 2] * 4 + [15 - 2 - 4], [2] * 4 + [2 + 4]
    assert Comprehensiveness()(case) == pytest.approx(table[15] - table[without].mean(), abs=1e-6)
    assert Sufficiency()(case) == pytest.approx(table[15] - table[only].mean(), abs=1e-6)


def test_perturbations_of_accuracy_by_hand() -> None:
    # "a" is the answer while two players are there. Of four, at 0, 25, 50, 75, 80, 85, 90, 95, 100
    # % there have gone 0, 1, 2, 3, 3, 3, 4, 4, 4.
    table = [0.9 if bin(s).count("1") >= 2 else 0.2 for s in range(16)]
    case = table_case(table, [4, 3, 2, 1], (2, 2))
    expected = [1, 1, 1, 0, 0, 0, 0, 0, 0]
    np.testing.assert_array_equal(PerturbationPositive()(case).scores, expected)
    assert PerturbationPositive()(case).value == pytest.approx(0.25 + 0.25 + 0.125)
    # "a" needs player 0: taken first or last.
    case = table_case([0.9 if s & 1 else 0.2 for s in range(16)], [4, 3, 2, 1], (2, 2))
    np.testing.assert_array_equal(PerturbationPositive()(case).scores, [1, 0, 0, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(PerturbationNegative()(case).scores, [1, 1, 1, 1, 1, 1, 0, 0, 0])
    wrong = table_case(table, [4, 3, 2, 1], (2, 2), answer="b")
    np.testing.assert_array_equal(PerturbationPositive()(wrong).scores, [0, 0, 0, 1, 1, 1, 1, 1, 1])


@pytest.mark.parametrize("scaled", [False, True])
def test_infidelity_is_captums(monkeypatch: pytest.MonkeyPatch, scaled: bool) -> None:
    rng = np.random.default_rng(1)
    table, values = rng.uniform(0.05, 0.95, 16), rng.normal(size=4)
    case = table_case(table, values, (2, 2))
    drawn: list[np.ndarray] = []
    from vqa_explain.metrics import faithfulness

    real = faithfulness._drawn

    def kept(*given: Any) -> np.ndarray:
        drawn.append(real(*given))
        return drawn[-1]

    monkeypatch.setattr(faithfulness, "_drawn", kept)
    ours = Infidelity(draws=50, scaled=scaled)(case)
    odds = torch.logit(torch.tensor(table))

    def score(x: torch.Tensor) -> torch.Tensor:  # four numbers that are 0 or 1
        return odds[(x.round().long() * torch.tensor([1, 2, 4, 8])).sum(1)]

    def perturb(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        gone = torch.from_numpy(drawn[0]).double()[: len(x)]
        return gone, x - gone

    # Captum draws all perturbations of one input in one batch.
    x, a = torch.ones(1, 4, dtype=torch.float64), torch.from_numpy(values)[None]
    theirs = captum.metrics.infidelity(score, perturb, x, a, n_perturb_samples=50, normalize=scaled)
    assert ours == pytest.approx(float(theirs), rel=1e-5)


class Quadratic(nn.Module):
    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.w = nn.Parameter(torch.rand(2, size, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.flatten(1) ** 2) @ self.w.T


def test_sensitivity_is_captums() -> None:
    picture = data.astronaut()[::64, ::64]
    network = Quadratic(3 * 64)
    case = network_case(network, picture, np.zeros(64), (8, 8))
    method = create("input_x_gradient", {})
    case = case.of(method, method(case.task), case.task.cost)
    ours = SensitivityMax(draws=6, radius=0.05)(case)
    rng = np.random.default_rng((0, 13))
    noise = torch.from_numpy(
        np.stack([rng.uniform(-0.05, 0.05, (1, 3, 8, 8)) for _ in range(6)])
    ).float()[:, 0]
    x = case.task.encoded.pixels

    def explained(inputs: Any) -> Any:
        (leaf,) = inputs if isinstance(inputs, tuple) else (inputs,)
        leaf = leaf.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(network(leaf)[:, 0].sum(), leaf)
        return ((leaf * gradient).sum(1).detach(),)

    theirs = captum.metrics.sensitivity_max(
        explained, x, perturb_func=lambda inputs, r: inputs + noise, n_perturb_samples=6
    )
    assert ours == pytest.approx(float(theirs), rel=1e-5)


class Small(nn.Module):
    """Grey pictures (B, 1, 8, 8) or their three equal channels → two scores."""

    def __init__(self) -> None:
        super().__init__()
        torch_rng = torch.Generator().manual_seed(3)
        self.first = nn.Parameter(torch.randn(12, 64, generator=torch_rng) / 3)
        self.second = nn.Parameter(torch.randn(2, 12, generator=torch_rng))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(x[:, :1].flatten(1) @ self.first.T) @ self.second.T


@pytest.fixture
def grey() -> tuple[vx.Case, dict[str, Any]]:
    """A grey picture of 8 × 8, its case with random values, and what Quantus takes."""
    picture = np.repeat(data.camera()[40::64, 40::64][:, :, None], 3, axis=2)
    values = np.random.default_rng(5).normal(size=64)
    network = Small().eval()
    case = network_case(network, picture, values, (8, 8))
    x = case.task.encoded.pixels[:, :1].numpy()
    return case, {
        "model": network,
        "x_batch": x,
        "y_batch": np.array([0]),
        "a_batch": values.reshape(1, 1, 8, 8),
        "device": "cpu",
    }


def test_deletion_is_quantus_pixel_flipping(grey: tuple[vx.Case, dict[str, Any]]) -> None:
    case, given = grey
    metric = QUANTUS.PixelFlipping(
        features_in_step=4, abs=False, normalise=False, disable_warnings=True, perturb_baseline=0.0,
        return_aggregate=False,
    )  # fmt: skip
    theirs = metric(**given, softmax=True, channel_first=True)[0]
    ours = Deletion(steps=16, order="signed")(case)
    np.testing.assert_allclose(ours.scores[1:], theirs, atol=1e-6)


def test_faithfulness_correlation_is_quantus(
    grey: tuple[vx.Case, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    case, given = grey
    ours = FaithfulnessCorrelation(draws=80, share=0.25)(case)
    rng = np.random.default_rng((0, 7))
    monkeypatch.setattr(
        np.random, "choice", lambda n, size, replace: rng.choice(n, size, replace=replace)
    )
    metric = QUANTUS.FaithfulnessCorrelation(
        nr_runs=80, subset_size=16, perturb_baseline=0.0, normalise=False, disable_warnings=True,
        return_aggregate=False,
    )  # fmt: skip
    theirs = metric(**given, softmax=False, channel_first=True)[0]
    assert ours == pytest.approx(theirs, abs=1e-5)


def test_correlation_of_a_linear_game_with_its_own_values_is_one() -> None:
    linear = nn.Linear(12, 2, bias=False)
    network = nn.Sequential(nn.Flatten(), linear)
    picture = np.random.default_rng(0).integers(0, 256, (2, 2, 3), dtype=np.uint8)
    weights = linear.weight[0].detach().numpy().reshape(3, 4)
    own = (weights * (picture.reshape(4, 3).T / 255)).sum(0)
    assert FaithfulnessCorrelation(share=0.5)(
        network_case(network, picture, own, (2, 2))
    ) == pytest.approx(1, abs=1e-5)
    assert Infidelity()(network_case(network, picture, own, (2, 2))) == pytest.approx(0, abs=1e-9)
    assert np.isnan(FaithfulnessCorrelation()(network_case(network, picture, np.zeros(4), (2, 2))))


class Still(np.random.Generator):
    """Draws zeros."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))

    def standard_normal(self, size: Any = None, *_: Any, **__: Any) -> Any:
        return np.zeros(size)


@pytest.mark.parametrize("share", [0.02, 0.4, 0.97])
def test_imputation_is_roads(share: float) -> None:
    frame = np.moveaxis(data.astronaut()[:40, :30] / 255.0, 2, 0)
    gone = np.random.default_rng(2).random((40, 30)) < share
    ours = imputed(frame, gone, Still())
    theirs = ROAD_IMPUTATION(frame, np.flatnonzero(gone), noise=0.0)
    np.testing.assert_allclose(ours, theirs, atol=1e-9)
    np.testing.assert_array_equal(ours[:, ~gone], frame[:, ~gone])


def test_road_follows_the_definition(grey: tuple[vx.Case, dict[str, Any]]) -> None:
    case, given = grey
    found = Road(steps=4, order="signed")(case)
    assert case.attribution is not None
    order = np.argsort(-case.attribution.values["image"].ravel(), kind="stable")
    rng = np.random.default_rng((0, 11))
    whole = case.task.encoded.pixels[0].numpy()
    scores = [float(given["model"](case.task.encoded.pixels).softmax(1)[0, 0])]
    for count in (16, 32, 48):
        noise = 0.01 * rng.standard_normal((3, count))
        filled = ROAD_IMPUTATION(whole.astype(float), np.sort(order[:count]), noise=0.0)
        filled.reshape(3, 64)[:, np.sort(order[:count])] += noise
        scores.append(
            float(given["model"](torch.from_numpy(filled)[None].float()).softmax(1)[0, 0])
        )
    np.testing.assert_allclose(found.scores[:4], scores, atol=1e-5)
