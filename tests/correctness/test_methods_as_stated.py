"""LIME, the ReLU rules, parameter randomization and budgets are what they say. The truth is
Captum, scikit-learn, a hand.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from conftest import ToTensor
from sklearn.linear_model import Ridge
from sklearn.metrics import pairwise_distances
from torch import nn
from torch.nn import functional as F

import vqa_explain as vx
from vqa_explain.games import estimators
from vqa_explain.methods import create
from vqa_explain.methods.base import for_players
from vqa_explain.methods.shapley import Shapley
from vqa_explain.methods.surrogates import lime, ridge
from vqa_explain.metrics.sanity import randomized
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


# LIME
def lime_image(rows: np.ndarray, values: np.ndarray, width: float, penalty: float) -> Any:
    """The authors' code: `LimeBase.explain_instance_with_data` with the kernel of
    `LimeImageExplainer`.
    """
    distances = pairwise_distances(rows, rows[:1], metric="cosine").ravel()
    weights = np.sqrt(np.exp(-(distances**2) / width**2))
    return Ridge(alpha=penalty, fit_intercept=True).fit(rows, values, sample_weight=weights).coef_


@pytest.mark.parametrize("width", [0.1, 0.25, 1.0])
@pytest.mark.parametrize("players", [3, 9, 40])
def test_lime_is_the_authors_regression(width: float, players: int) -> None:
    rng = np.random.default_rng(players)
    rows = rng.random((200, players)) < 0.5
    rows[0] = True
    rows[1] = False
    values = rng.normal(size=200)
    theirs = lime_image(rows.astype(float), values, width, 1.0)
    np.testing.assert_allclose(ridge(rows, values, width, 1.0)[0], theirs, atol=1e-9)


@pytest.mark.parametrize("penalty", [0.0, 1.0, 20.0])
@pytest.mark.parametrize("scale", [0.01, 10.0])
def test_limes_errors_count_the_bias_of_the_penalty(penalty: float, scale: float) -> None:
    players, rng = 6, np.random.default_rng(0)
    every = (np.arange(2**players)[:, None] >> np.arange(players) & 1).astype(bool)
    worth, pair = scale * rng.normal(size=players), scale

    def score(rows: np.ndarray) -> np.ndarray:
        result: np.ndarray = rows @ worth + pair * (rows[:, 0] & rows[:, 1])
        return result

    # The fit over all coalitions, and without a penalty: what the coefficients are estimates of.
    truth = ridge(every, score(every), 0.25, 0.0)[0]
    inside = []
    for seed in range(60):
        *_, last = lime(score, players, np.random.default_rng(seed), 40, 0.25, penalty)
        found = last.estimate()
        inside += (np.abs(found.values - truth) <= 1.96 * found.errors + 1e-9).tolist()
    assert np.mean(inside) >= 0.88


def test_lime_says_what_its_error_is_of(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="lime", regions=2, budget=64)
    assert "bias included" in why.error_kind


# Guided backpropagation and deconvolution
RELUS: dict[str, Callable[..., Any]] = {
    "F.relu": F.relu,
    "F.relu in place": lambda x: F.relu(x, inplace=True),
    "torch.relu": torch.relu,
    "torch.relu_": torch.relu_,
    "Tensor.relu": lambda x: x.relu(),
    "Tensor.relu_": lambda x: x.relu_(),
    "relu_ whose result is not used": lambda x: (x.relu_(), x)[1],
    "clamp": lambda x: x.clamp(min=0),
    "clamp by position": lambda x: torch.clamp(x, 0),
    "clamp_": lambda x: x.clamp_(min=0.0),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "clamp_min_": lambda x: x.clamp_min_(0),
    "clip": lambda x: torch.clip(x, min=0),
    "maximum": lambda x: torch.maximum(x, torch.zeros_like(x)),
    "max": lambda x: torch.max(x, torch.tensor(0.0)),
    "threshold": lambda x: F.threshold(x, 0.0, 0.0),
    "keywords": lambda x: F.relu(input=x),
}
RELUS6: dict[str, Callable[..., Any]] = {
    "F.relu6": F.relu6,
    "hardtanh": lambda x: F.hardtanh(x, 0.0, 6.0),
    "nn.Hardtanh": nn.Hardtanh(0.0, 6.0),
    "clamp": lambda x: x.clamp(0, 6),
}


class Rectifies(nn.Module):
    """Two convolutions and a linear layer, rectified by one module between the first and by a
    function after.
    """

    def __init__(self, function: Any, scale: float = 1.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.one, self.two = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 3, padding=1)
            self.head = nn.Linear(6 * 64, 3)
        self.act, self.function, self.scale = nn.ReLU(), function, scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.act(self.one(x * self.scale))
        result: torch.Tensor = self.head(self.function(self.two(x)).flatten(1))
        return result


@pytest.mark.parametrize(
    ("method", "theirs"),
    [("guided_backprop", "GuidedBackprop"), ("deconvolution", "Deconvolution")],
)
@pytest.mark.parametrize("form", RELUS)
def test_functional_relus_follow_the_rule(
    picture: np.ndarray, method: str, theirs: str, form: str
) -> None:
    truth = vx.load(Rectifies(nn.ReLU()), transform=ToTensor(), device="cpu")
    pixels = truth.encode(vx.Example(picture)).pixels
    # Captum needs a module for each rectifier.
    expected = getattr(captum.attr, theirs)(truth.module).attribute(
        pixels.clone().requires_grad_(True), target=1
    )
    model = vx.load(Rectifies(RELUS[form]), transform=ToTensor(), device="cpu")
    why = vx.explain(model, picture, method=method, target="class 1")
    np.testing.assert_allclose(why.image, expected.sum(1)[0].detach().numpy(), atol=1e-6)


@pytest.mark.parametrize("method", ["guided_backprop", "deconvolution"])
@pytest.mark.parametrize("form", RELUS6)
def test_functional_relus_with_a_ceiling_follow_the_rule(
    picture: np.ndarray, method: str, form: str
) -> None:
    scale = 40.0  # so that the ceiling is met
    maps = [
        vx.explain(
            vx.load(Rectifies(f, scale), transform=ToTensor()),
            picture,
            method=method,
            target="class 1",
        ).image
        for f in (nn.ReLU6(), RELUS6[form])
    ]
    np.testing.assert_allclose(maps[0], maps[1], atol=1e-6)


class ByTheRule(torch.autograd.Function):
    """A rectifier with a ceiling: only positive gradients pass,
    and for one method only where the input is inside.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, ceiling: Any, everywhere: Any) -> torch.Tensor:
        ctx.inside = torch.ones_like(x) if everywhere else ((x > 0) & (x < ceiling)).float()
        return x.clamp(0, ceiling)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> tuple[Any, None, None]:
        return gradient.clamp(min=0) * ctx.inside, None, None


@pytest.mark.parametrize("method", ["guided_backprop", "deconvolution"])
def test_what_is_above_a_ceiling_follows_the_rule(picture: np.ndarray, method: str) -> None:
    """Captum has no rule for ReLU6, so the truth is the rule written out."""
    net = Rectifies(nn.ReLU6(), scale=40.0)
    model = vx.load(net, transform=ToTensor(), device="cpu")
    why = vx.explain(model, picture, method=method, target="class 1")
    pixels = model.encode(vx.Example(picture)).pixels.clone().requires_grad_(True)
    everywhere = method == "deconvolution"
    first = ByTheRule.apply(net.one(pixels * 40.0), float("inf"), everywhere)
    second = net.two(first)
    assert float((second > 6).float().mean()) > 0.05, "the test itself shows nothing"
    score = net.head(ByTheRule.apply(second, 6.0, everywhere).flatten(1))[0, 1]
    (slope,) = torch.autograd.grad(score, pixels)
    np.testing.assert_allclose(why.image, slope.sum(1)[0].numpy(), atol=1e-5)


@pytest.mark.parametrize(
    "function", [lambda x: x.clamp(min=1e-3), lambda x: x.clamp(-1, 1), nn.GELU()]
)
def test_what_is_no_relu_keeps_its_gradient(picture: np.ndarray, function: Any) -> None:
    net = Rectifies(function)
    why = vx.explain(
        vx.load(net, transform=ToTensor()), picture, method="guided_backprop", target="class 1"
    )
    pixels = ToTensor()(picture)[None].requires_grad_(True)
    first = net.one(pixels)
    inner = torch.relu(first.detach()).requires_grad_(True)
    (above,) = torch.autograd.grad(net.head(function(net.two(inner)).flatten(1))[0, 1], inner)
    (expected,) = torch.autograd.grad(first, pixels, above.clamp(min=0) * (first > 0))
    np.testing.assert_allclose(why.image, expected.sum(1)[0].detach().numpy(), atol=1e-6)


def test_a_relu_in_compiled_code_is_refused(picture: np.ndarray) -> None:
    class Scripted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            net = Rectifies(nn.ReLU())
            self.body = torch.jit.trace(nn.Sequential(net.two, nn.ReLU()), torch.rand(1, 6, 8, 8))
            self.one, self.head = net.one, net.head

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.head(self.body(torch.relu(self.one(x))).flatten(1))
            return result

    model = vx.load(Scripted(), transform=ToTensor())
    with pytest.raises(vx.Unsupported, match="within compiled code"):
        vx.explain(model, picture, method="guided_backprop")


def test_a_network_without_relu_is_refused(curved: ClassifierModel, picture: np.ndarray) -> None:
    with pytest.raises(vx.Unsupported, match="the rule is about ReLU"):
        vx.explain(curved, picture, method="deconvolution")


# Parameter randomization
class Backwards(nn.Module):
    """Lists its layers in the opposite order of their work."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.head = nn.Linear(4, 3)
            self.norm_after = nn.BatchNorm2d(4)
            self.loose = nn.Parameter(torch.randn(4, 4, 3, 3))
            self.norm_before = nn.BatchNorm2d(4, affine=False)
            self.first = nn.Conv2d(3, 4, 3)
            for norm in (self.norm_after, self.norm_before):
                norm.get_buffer("running_mean").normal_()
                norm.get_buffer("running_var").uniform_(2, 3)
        self.eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.norm_before(self.first(x))
        x = self.norm_after(F.conv2d(x.relu(), self.loose))
        result: torch.Tensor = self.head(x.mean((2, 3)))
        return result


@pytest.mark.parametrize(
    ("share", "changed"),
    [
        (2 / 7, {"head"}),
        (4 / 7, {"head", "norm_after"}),
        (5 / 7, {"head", "norm_after", "loose"}),
        (1.0, {"head", "norm_after", "loose", "norm_before", "first"}),
    ],
)
def test_layers_are_randomized_in_the_order_of_their_work(share: float, changed: set[str]) -> None:
    model = vx.load(Backwards(), transform=ToTensor(), device="cpu")
    twin = randomized(model, share, seed=0)
    before, after = model.module.state_dict(), twin.module.state_dict()
    differing = {
        name.split(".")[0]
        for name in before
        if "num_batches" not in name and not torch.equal(before[name], after[name])
    }
    assert differing == changed
    for norm in ("norm_after", "norm_before"):
        if norm in changed:
            assert torch.equal(after[f"{norm}.running_mean"], torch.zeros(4))
            assert torch.equal(after[f"{norm}.running_var"], torch.ones(4))


# Budgets for each player
@pytest.mark.parametrize(
    ("budget", "players", "expected"), [("4n", 10, 40), ("2.5n", 3, 8), ("1n", 1, 1), (7, 10, 7)]
)
def test_a_budget_for_each_player_is_a_number(
    budget: str | int, players: int, expected: int
) -> None:
    method = for_players(create("shapley", {"budget": budget}), players)
    assert isinstance(method, Shapley)
    assert method.budget == expected


@pytest.mark.parametrize("budget", ["4", "n", "-4n", "0n", "4m", "4n4", "", "1e3n"])
def test_other_texts_are_no_budget(budget: str) -> None:
    with pytest.raises(vx.InvalidInput, match="such as '4n'"):
        create("shapley", {"budget": budget})


@pytest.mark.slow
@pytest.mark.parametrize("method", ["shapley", "owen", "banzhaf", "lime", "interactions"])
def test_a_budget_for_each_player_works_everywhere(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path, method: str
) -> None:
    why = vx.explain(scenes_model, scene, method=method, budget="20n", regions=3)
    players = len(why.regions) + len(why.words)
    assert why.parameters["budget"] == 20 * players
    assert why.cost.forwards <= 20 * players
    data = vx.load_dataset("scenes:test")
    report = vx.evaluate(
        scenes_model,
        data,
        [f"{method}:budget=20n"],
        ["sparseness"],
        tmp_path,
        limit=2,
        regions=3,
        workers=1,
    )
    assert len(report.errors()) == 0
    assert report.methods[0] == f"{method}:budget=20n"


# The official accuracy
@pytest.mark.parametrize("given", ["dark\nred", "dark\tred", " dark red\n", "dark red"])
@pytest.mark.parametrize("answer", ["dark red", "dark\nred", "dark\tred "])
def test_line_breaks_and_tabs_are_blanks_where_all_agree(given: str, answer: str) -> None:
    from vqa_explain.metrics.official import vqa_score

    assert vqa_score(answer, (given,) * 10) == 1.0
    assert vqa_score(answer, ("dark red", given) * 5) == 1.0


PLAYERS = 12
MAJORITY_BANZHAF = math.comb(PLAYERS - 1, 6) / 2 ** (PLAYERS - 1)


@pytest.mark.parametrize("budget", [64, 150, 600])
@pytest.mark.parametrize(
    ("estimator", "game", "values"),
    [
        (estimators.permutation, lambda c: c.sum(axis=1) > 6, np.full(PLAYERS, 1 / PLAYERS)),
        (estimators.banzhaf, lambda c: c.sum(axis=1) > 6, np.full(PLAYERS, MAJORITY_BANZHAF)),
        (estimators.permutation, lambda c: c[:, :8].all(axis=1), np.r_[[1 / 8] * 8, [0] * 4]),
        (estimators.banzhaf, lambda c: c[:, :8].all(axis=1), np.r_[[1 / 2**7] * 8, [0] * 4]),
    ],
    ids=["majority", "majority, Banzhaf", "all of eight", "all of eight, Banzhaf"],
)
def test_the_error_of_a_score_that_seldom_changes_is_not_zero(
    estimator: Any, game: Callable[..., Any], values: Any, budget: int
) -> None:
    """Few draws agree by chance. Truth is the closed form of a symmetric game."""
    found = [
        estimators.run_until(
            estimator(lambda c: game(c).astype(float), PLAYERS, np.random.default_rng(seed), budget)
        )
        for seed in range(100)
    ]
    wrong = np.abs(np.array([one.values for one in found]) - values)
    errors = np.array([one.errors for one in found])
    assert ((errors == 0) & (wrong > 1e-9)).mean() <= 0.03
    assert (wrong <= 2 * errors + 1e-12).mean() >= 0.83
    real = np.sqrt((wrong**2).mean())
    assert 0.9 * real < np.sqrt((errors**2).mean()) < 2.5 * real


@pytest.mark.parametrize("budget", [130, 600])
@pytest.mark.slow
def test_players_that_matter_have_no_smaller_errors_for_those_that_do_not(budget: int) -> None:
    """Of 30 players three make the score together, and have a third of it each (Shapley 1953)."""

    def game(coalitions: Any) -> Any:
        return coalitions[:, :3].all(axis=1).astype(float)

    found = [
        estimators.run_until(estimators.permutation(game, 30, np.random.default_rng(seed), budget))
        for seed in range(200)
    ]
    wrong = np.array([one.values[:3] for one in found]) - 1 / 3
    errors = np.array([one.errors[:3] for one in found])
    real, stated = (np.sqrt((values**2).mean(axis=0)) for values in (wrong, errors))
    assert (stated > 0.9 * real).all()
    assert (stated < 1.5 * real).all()
