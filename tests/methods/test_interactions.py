"""Interaction indices against their definitions by enumeration, a polynomial, and shapiq."""

from collections.abc import Callable
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import shapiq

import vqa_explain as vx
from vqa_explain.games import pairs as estimators
from vqa_explain.games.estimators import Estimate, run_until
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

PLAYERS = 8
CROSS = np.array([(w, r) for w in (5, 6, 7) for r in range(5)])
ESTIMATORS: dict[str, Callable[..., Any]] = {
    "shapley": lambda score, rng: estimators.adjusted(score, PLAYERS, rng, 1200, CROSS),
    "banzhaf": lambda score, rng: estimators.banzhaf_interactions(score, PLAYERS, CROSS, rng, 1200),
}


def random_game(seed: int, smooth: float = 1.0) -> Callable[..., Any]:
    """A table over coalitions: a polynomial of players and pairs with noise of every order on
    top.
    """
    rng = np.random.default_rng(seed)
    rows = (np.arange(2**PLAYERS)[:, None] >> np.arange(PLAYERS)) & 1
    own, mixed = rng.normal(size=PLAYERS), rng.normal(size=(PLAYERS, PLAYERS))
    table = smooth * (rows @ own + np.einsum("ni,ij,nj->n", rows, np.triu(mixed, 1), rows))
    table = table + 0.3 * rng.normal(size=len(rows))
    return lambda coalitions: table[np.asarray(coalitions) @ (1 << np.arange(PLAYERS))]


def by_definition(score: Callable[..., Any], index: str) -> np.ndarray:
    """The two formulas of Grabisch & Roubens 1999, written as sums over subsets."""

    def value(members: set[Any] | set[int]) -> float:
        return float(score(np.isin(np.arange(PLAYERS), list(members))[None])[0])

    found = []
    for w, r in CROSS.tolist():
        others, total = [k for k in range(PLAYERS) if k not in (w, r)], 0.0
        for size in range(PLAYERS - 1):
            weight = factorial(size) * factorial(PLAYERS - size - 2) / factorial(PLAYERS - 1)
            if index == "banzhaf":
                weight = 0.5 ** (PLAYERS - 2)
            for chosen in combinations(others, size):
                s = set(chosen)
                total += weight * (value(s | {w, r}) - value(s | {w}) - value(s | {r}) + value(s))
        found.append(total)
    return np.array(found)


@pytest.mark.parametrize("index", ["shapley", "banzhaf"])
def test_exact_interactions_equal_the_definition(index: str) -> None:
    score = random_game(0)
    np.testing.assert_allclose(
        estimators.exact_interactions(score, PLAYERS, CROSS, index),
        by_definition(score, index),
        atol=1e-12,
    )


def shapiq_values(
    score: Callable[..., Any], index: Literal["SII", "FSII"]
) -> dict[tuple[int, ...], float]:
    """All values of order 1 and 2 from shapiq's exact computer."""
    found = shapiq.ExactComputer(game=lambda c: score(c).astype(float), n_players=PLAYERS)(
        index=index, order=2
    )
    return {key: found[key] for order in (1, 2) for key in combinations(range(PLAYERS), order)}


def test_exact_interactions_equal_those_of_shapiq() -> None:
    score = random_game(1)
    theirs = shapiq_values(score, "SII")
    ours = estimators.exact_interactions(score, PLAYERS, CROSS, "shapley")
    np.testing.assert_allclose(ours, [theirs[tuple(sorted(p))] for p in CROSS.tolist()], atol=1e-8)


def test_faithful_interactions_equal_those_of_shapiq_and_sum_to_the_change() -> None:
    score = random_game(2)
    theirs = shapiq_values(score, "FSII")
    single, double = estimators.exact_faithful(score, PLAYERS)
    # shapiq weights the two ends with 1e6 or so instead of a constraint.
    np.testing.assert_allclose(single, [theirs[(i,)] for i in range(PLAYERS)], atol=1e-3)
    np.testing.assert_allclose(
        double, [theirs[p] for p in combinations(range(PLAYERS), 2)], atol=1e-3
    )
    ends = score(np.stack([np.zeros(PLAYERS, bool), np.ones(PLAYERS, bool)]))
    assert single.sum() + double.sum() == pytest.approx(ends[1] - ends[0])


def pairs_of(found: Estimate) -> tuple[np.ndarray, np.ndarray]:
    """The values of the pairs (M,) and their standard errors."""
    assert found.pairs is not None
    assert found.pair_errors is not None
    return found.pairs, found.pair_errors


@pytest.mark.parametrize("index", ["banzhaf", "fsii"])
@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say(index: str) -> None:
    score = random_game(3)
    truth = (
        estimators.exact_faithful(score, PLAYERS)[1]
        if index == "fsii"
        else by_definition(score, index)
    )
    covered, deviations = [], []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        if index == "fsii":
            found = run_until(estimators.faithful_interactions(score, PLAYERS, rng, 1200))
        else:
            found = run_until(ESTIMATORS[index](score, rng))
        pairs, errors = pairs_of(found)
        covered.append(np.abs(pairs - truth) <= 1.96 * errors)
        deviations.append(pairs - truth)
    assert 0.92 <= np.mean(covered) <= 0.98
    bias = np.mean(deviations, axis=0) / (np.std(deviations, axis=0, ddof=1) / np.sqrt(200))
    assert np.abs(bias).max() < 4.2


def test_a_polynomial_is_found_exactly() -> None:
    """v = 2·x5·x0 − x6·x1 + x2 has these interactions and no others, by any index and estimator."""

    def score(coalitions: np.ndarray) -> np.ndarray:
        x = np.asarray(coalitions, dtype=float)
        result: np.ndarray = 2 * x[:, 5] * x[:, 0] - x[:, 6] * x[:, 1] + x[:, 2]
        return result

    truth = np.array(
        [{(5, 0): 2.0, (6, 1): -1.0}.get(pair, 0.0) for pair in map(tuple, CROSS.tolist())]
    )
    rng = np.random.default_rng(0)
    pairs, _ = pairs_of(run_until(ESTIMATORS["banzhaf"](score, rng)))
    np.testing.assert_allclose(pairs, truth, atol=1e-8)
    found = run_until(ESTIMATORS["shapley"](score, rng))
    # The proxy shrinks what it finds a little.
    pairs, errors = pairs_of(found)
    np.testing.assert_allclose(pairs, truth, atol=0.01)
    assert np.all(np.abs(pairs - truth) <= 4 * errors + 1e-3)
    np.testing.assert_allclose(found.values, [1, -0.5, 1, 0, 0, 1, -0.5, 0], atol=1e-3)


@pytest.mark.slow
def test_words_and_regions_of_a_scene(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path
) -> None:
    why = vx.explain(scenes_model, scene, method="interactions", regions=4, budget=400)
    assert why.interactions is not None
    assert why.interaction_errors is not None
    assert why.interactions.shape == why.interaction_errors.shape == (len(why.words), 16)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert again.interactions is not None
    np.testing.assert_array_equal(again.interactions, why.interactions)


@pytest.mark.parametrize("index", ["shapley", "fsii"])
def test_a_budget_that_is_too_small_says_what_it_takes(
    scenes_model: ViltModel, scene: vx.Example, index: str
) -> None:
    with pytest.raises(vx.InvalidInput, match=r"need at least \d+ evaluations"):
        vx.explain(scenes_model, scene, method="interactions", index=index, budget=100)


def test_a_classifier_has_no_words_to_pair(linear: ClassifierModel, picture: np.ndarray) -> None:
    with pytest.raises(vx.Unsupported, match="players in one only"):
        vx.explain(linear, picture, method="interactions", regions=2)
