"""Intervals of estimated values hold the exact value about as often as they say."""

import importlib.util
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

import vqa_explain as vx
from vqa_explain.games import estimators, intervals, pairs
from vqa_explain.games.estimators import run_until
from vqa_explain.methods.base import METHODS
from vqa_explain.models.classifier import ClassifierModel


def _benchmark() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "games.py"
    spec = importlib.util.spec_from_file_location("benchmark_of_games", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


games = _benchmark()
PLAYERS, ROUNDS = 10, 30
# Of 30 games of 10 players, whose values are not independent: 0.95 less about three errors.
LEAST = 0.88
RARE = 0.83  # where one coalition in 64 tells, and few are drawn


@pytest.mark.slow
@pytest.mark.parametrize("kind", games.KINDS)
@pytest.mark.parametrize("name", games.ESTIMATORS)
def test_intervals_hold(name: str, kind: str) -> None:
    entry = games.ESTIMATORS[name]
    rounds = ROUNDS // 2 if entry.of_pairs else ROUNDS  # 45 values of each
    for each in (8, 20):
        share = games.coverage(entry, kind, PLAYERS, each, rounds, seed=7)
        assert share >= (RARE if "AND" in kind and each == 8 else LEAST), each


@pytest.mark.parametrize("name", ["permutation", "kernel", "adjusted"])
def test_no_wrong_value_has_an_error_of_zero(name: str) -> None:
    """Of an OR of 4, few orders often agree on wrong values."""
    entry = games.ESTIMATORS[name]
    for seed in range(100):
        table = games.disjunction(8, np.random.default_rng(seed))
        score = games.score_of(table)
        found = run_until(entry.run(score, 8, np.random.default_rng(seed), 60))
        wrong = np.abs(found.values - entry.exact(score, 8)) > 1e-9
        assert (found.errors[wrong] > 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("stop", [{"tolerance": 0.05}, {"settle": 1}])
@pytest.mark.parametrize("name", ["permutation", "kernel", "adjusted"])
def test_whoever_stops_early_is_not_too_sure(name: str, stop: dict[str, Any]) -> None:
    entry, held, early = games.ESTIMATORS[name], [], 0
    for seed in range(30):
        table = games.noisy(10, np.random.default_rng(seed))
        score, asked = games.score_of(table), 0

        def counted(coalitions: np.ndarray, score: Any = score) -> np.ndarray:
            nonlocal asked
            asked += len(coalitions)
            found: np.ndarray = score(coalitions)
            return found

        found = run_until(entry.run(counted, 10, np.random.default_rng(seed), 1500), **stop)
        early += asked < 1000
        held.append(games.held(entry, found, entry.exact(score, 10)).mean())
    assert early > 5  # or it tests nothing
    assert np.mean(held) >= 0.93


@pytest.mark.slow
def test_what_is_settled_is_so() -> None:
    """In at most one game in 20 are other parts the most important ones."""
    wrong = settled = 0
    for seed in range(150):
        score = games.score_of(games.saturated(9, np.random.default_rng(seed)))
        rounds = estimators.kernel(score, 9, np.random.default_rng(seed), 400)
        found = run_until(rounds, settle=2)
        if intervals.settled(found.values, found.errors, 2):
            settled += 1
            exact = estimators.exact_shapley(score, 9)
            top = [set(np.argsort(-np.abs(v))[:2].tolist()) for v in (exact, found.values)]
            wrong += top[0] != top[1]
    assert settled > 30  # or it tests nothing
    assert wrong <= 0.05 * settled + 2


@pytest.mark.parametrize(("freedom", "table"), [(1, 12.706), (4, 2.776), (7, 2.365), (30, 2.042)])
def test_few_draws_ask_for_students_t(freedom: int, table: float) -> None:
    """By a printed table of the two-sided 95 % points."""
    assert intervals.widened(freedom) * 1.959964 == pytest.approx(table, abs=6e-4)


def test_widths_of_other_levels() -> None:
    assert intervals.half_width(0.9) == pytest.approx(1.6449, abs=1e-4)
    t = stats.t(intervals.FEW)
    errors = intervals.widened(intervals.FEW)
    assert errors * intervals.half_width(0.99) == pytest.approx(t.ppf(0.995))


@pytest.mark.parametrize(
    ("values", "errors", "count", "is_settled"),
    [
        ([3, -5, 1], [0, 0, 0], 2, True),
        ([3, -5, 3], [0, 0, 0], 2, False),  # two alike
        ([3, -5, 1], [0.5, 0.5, 0.5], 2, False),
        ([3, -5, 1], [0.2, 9.0, 0.2], 1, False),
        ([3, -5, 1], [0.2, 0.2, 0.2], 1, True),
        ([3, -5, 1], [9, 9, 9], 3, True),  # all of them
    ],
)
def test_settled_by_hand(
    values: list[float], errors: list[float], count: int, is_settled: bool
) -> None:
    assert intervals.settled(np.array(values), np.array(errors), count) == is_settled


@pytest.mark.slow
def test_repeated_coalitions_are_not_taken_for_news() -> None:
    """Of 9 players at a budget of 300, coalitions come twice, and the proxy has seen their like."""
    held = []
    for seed in range(40):
        score = games.score_of(games.unanimity(9, np.random.default_rng(seed)))
        found = run_until(pairs.adjusted(score, 9, np.random.default_rng(seed), 300))
        held.append(games.held(games.ESTIMATORS["adjusted"], found, _exact(score)).mean())
    assert np.mean(held) >= 0.9


def _exact(score: Any) -> np.ndarray:
    return estimators.exact_shapley(score, 9)


def test_an_explanation_states_intervals(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="shapley", regions=(2, 2), estimator="kernel")
    exact = vx.explain(linear, picture, method="shapley", regions=(2, 2))
    bounds = why.interval()["image"]
    assert bounds.shape == (4, 2)
    values, errors = (
        np.array([getattr(region, name) for region in why.regions]) for name in ("value", "error")
    )
    np.testing.assert_allclose(bounds.mean(axis=1), values)
    np.testing.assert_allclose(np.ptp(bounds, axis=1), 2 * 1.959964 * errors, rtol=1e-6)
    np.testing.assert_array_equal(np.ptp(exact.interval(0.99)["image"], axis=1), 0)
    assert exact.settled(1)
    wide = np.ptp(why.interval(0.99)["image"], axis=1)
    assert (wide >= np.ptp(bounds, axis=1)).all()


def test_what_has_no_errors_has_no_intervals(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="saliency")
    for asked in (why.interval, why.settled):
        with pytest.raises(vx.Unsupported, match="saliency states no standard errors"):
            asked()


@pytest.mark.parametrize("level", [0, 1, -0.5, 95, float("nan")])
def test_a_level_is_a_share(linear: ClassifierModel, picture: np.ndarray, level: float) -> None:
    why = vx.explain(linear, picture, method="shapley", regions=(2, 2))
    with pytest.raises(vx.InvalidInput, match="level must be between 0 and 1"):
        why.interval(level)
    with pytest.raises(vx.InvalidInput, match="level must be between 0 and 1"):
        why.settled(1, level)


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "3"])
def test_a_count_is_a_number(linear: ClassifierModel, picture: np.ndarray, count: Any) -> None:
    why = vx.explain(linear, picture, method="shapley", regions=(2, 2))
    with pytest.raises(vx.InvalidInput, match="count must be a whole number"):
        why.settled(count)


def test_interactions_stop_when_pairs_are_settled() -> None:
    """Of a game of which one pair makes all but the players' own parts."""
    rng = np.random.default_rng(0)
    inside = games.members(10)
    score = games.score_of(inside @ rng.normal(size=10) + 5 * inside[:, 1] * inside[:, 4])
    cross = games.all_pairs(10)
    found = run_until(pairs.adjusted(score, 10, rng, 4000, cross), settle=1)
    assert found.pairs is not None
    assert cross[np.abs(found.pairs).argmax()].tolist() == [1, 4]
    assert found.settled(1)
    own = run_until(pairs.adjusted(score, 10, np.random.default_rng(0), 4000), settle=1)
    assert own.pairs is None


def test_an_automatic_budget_stops_when_the_top_is_settled(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    how: dict[str, Any] = {"method": "shapley", "regions": (4, 4)}
    auto = vx.explain(linear, picture, budget="auto", **how)
    most = vx.explain(linear, picture, budget="100n", **how)
    assert auto.settled(3)
    assert auto.cost.forwards < most.cost.forwards / 2
    assert auto.parameters["settle"] == 3
    for values, near in zip(auto.interval()["image"], most.interval()["image"], strict=True):
        assert values[0] <= near.mean() <= values[1]


@pytest.mark.parametrize("method", ["shapley", "owen", "banzhaf"])
def test_one_player_has_the_whole_change_whatever_the_estimator(
    linear: ClassifierModel, picture: np.ndarray, method: str
) -> None:
    exact = vx.explain(linear, picture, method="shapley", regions=1).regions[0].value
    choices = METHODS[method].__dataclass_fields__["estimator"].metadata["choices"]
    for estimator in choices:
        why = vx.explain(linear, picture, method=method, regions=1, estimator=estimator)
        assert why.regions[0].value == pytest.approx(exact)
        assert why.regions[0].error == 0


@pytest.mark.each
@pytest.mark.parametrize("name", games.ESTIMATORS)
def test_a_constant_and_a_scale_change_no_error(name: str) -> None:
    """The score of nobody is in no value, however large it is."""
    entry = games.ESTIMATORS[name]
    table = games.noisy(7, np.random.default_rng(0))
    plain, moved, scaled = (
        run_until(entry.run(games.score_of(of), 7, np.random.default_rng(1), 200))
        for of in (table, table + 1000, table * 1e-9)
    )
    for other, size in ((moved, 1.0), (scaled, 1e-9)):
        np.testing.assert_allclose(other.values, size * plain.values, rtol=1e-4, atol=1e-6 * size)
        np.testing.assert_allclose(other.errors, size * plain.errors, rtol=1e-4, atol=1e-6 * size)
        if plain.pair_errors is not None:
            assert other.pair_errors is not None
            expected = size * plain.pair_errors
            np.testing.assert_allclose(other.pair_errors, expected, rtol=1e-4, atol=1e-6 * size)
