"""The proxy's closed forms against enumeration, and the intervals of what it adjusts."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from vqa_explain.games import proxy
from vqa_explain.games.estimators import (
    Estimate,
    Round,
    every_coalition,
    exact_shapley,
    run_until,
)
from vqa_explain.games.pairs import adjusted, exact_interactions


def fitted(degrees: tuple[int, ...], players: int = 8) -> Any:
    rng = np.random.default_rng(2)
    x = np.where(rng.random((60, players)) < 0.5, 1.0, -1.0)
    return proxy.fit(x, rng.normal(size=60), 0.7, rng.normal(size=players), degrees)


def as_game(found: Any) -> Callable[..., Any]:
    """The proxy itself as a table over all coalitions."""
    signs = np.where(every_coalition(8), 1.0, -1.0)
    table = found.prior.kernel(signs, found.x) @ found.mean
    return lambda coalitions: table[np.asarray(coalitions) @ (1 << np.arange(8))]


def test_values_of_the_odd_proxy_are_those_by_enumeration_and_it_has_no_interactions() -> None:
    found = fitted(proxy.ODD)
    score = as_game(found)
    np.testing.assert_allclose(found.shapley(), exact_shapley(score, 8), atol=1e-10)
    every = np.column_stack(np.triu_indices(8, 1))
    np.testing.assert_allclose(exact_interactions(score, 8, every, "shapley"), 0, atol=1e-10)


def test_interactions_of_the_even_proxy_are_those_by_enumeration_and_it_has_no_values() -> None:
    found = fitted(proxy.EVEN)
    score = as_game(found)
    every = np.column_stack(np.triu_indices(8, 1))
    np.testing.assert_allclose(
        found.interactions(every), exact_interactions(score, 8, every, "shapley"), atol=1e-10
    )
    np.testing.assert_allclose(exact_shapley(score, 8), 0, atol=1e-10)


def test_what_is_left_out_is_not_seen() -> None:
    """Leaving an observation out by the formula equals fitting without it."""
    rng = np.random.default_rng(0)
    x, y = np.where(rng.random((30, 6)) < 0.5, 1.0, -1.0), rng.normal(size=30)
    prior = proxy._Prior.of(proxy.ODD, (0.5, 0.5, 0.0), np.ones(6))
    kernel = prior.kernel(x, x)
    _, unseen, _ = proxy._solve(kernel, y, 0.1)
    rest = np.arange(1, 30)
    by_the_others = kernel[0, rest] @ np.linalg.solve(
        kernel[np.ix_(rest, rest)] + 0.1 * np.eye(29), y[rest]
    )
    assert unseen[0] == pytest.approx(y[0] - by_the_others)


@pytest.mark.slow
def test_adjusted_intervals_cover_the_truth_as_often_as_they_say() -> None:
    """A saturating game of 12 players, pairs and triples with noise of every order; 40 seeds."""
    rng, players = np.random.default_rng(3), 12
    rows = every_coalition(players)
    own, mixed = (
        rng.normal(size=players),
        rng.normal(size=(players, players)) * 2 / np.sqrt(players),
    )
    table = rows @ own + np.einsum("ni,ij,nj->n", rows, np.triu(mixed, 1), rows)
    for _ in range(players):
        table = table + rng.normal() * rows[:, rng.choice(players, 3, replace=False)].all(axis=1)
    table = 2 * np.tanh(table / table.std()) + 0.1 * rng.normal(size=len(rows))
    cross = np.array([(w, r) for w in range(8, 12) for r in range(8)])

    def score(coalitions: np.ndarray) -> Any:
        return table[np.asarray(coalitions) @ (1 << np.arange(players))]

    found = [
        run_until(adjusted(score, players, np.random.default_rng(s), 400, cross)) for s in range(40)
    ]
    for truth, values, errors in (
        (exact_shapley(score, players), [f.values for f in found], [f.errors for f in found]),
        (
            exact_interactions(score, players, cross, "shapley"),
            [f.pairs for f in found],
            [f.pair_errors for f in found],
        ),
    ):
        off = np.array(values) - truth
        assert 0.9 <= np.mean(np.abs(off) <= 1.96 * np.array(errors)) <= 0.99
        bias = off.mean(axis=0) / (off.std(axis=0, ddof=1) / np.sqrt(len(off)))
        assert np.abs(bias).max() < 4.2  # of 12 and 32
    np.testing.assert_allclose(
        [f.values.sum() for f in found], score(rows[-1:])[0] - score(rows[:1])[0]
    )


@pytest.mark.parametrize("players", [2, 3, 4, 5])
def test_coalitions_that_are_drawn_many_times_bias_nothing(players: int) -> None:
    """Every coalition is seen, so values must be near the exact ones, with an error that says so."""
    for seed in range(3):
        table = np.random.default_rng(seed).normal(size=2**players)

        def score(coalitions: np.ndarray, table: np.ndarray = table) -> np.ndarray:
            found: np.ndarray = table[np.asarray(coalitions) @ (1 << np.arange(players))]
            return found

        cross = np.column_stack(np.triu_indices(players, 1))
        rng = np.random.default_rng(seed)
        with np.errstate(invalid="raise"):
            found = run_until(adjusted(score, players, rng, 300, cross))
        assert found.pairs is not None
        assert found.pair_errors is not None
        size = np.abs(table).max()
        for values, errors, exact in (
            (found.values, found.errors, exact_shapley(score, players)),
            (
                found.pairs,
                found.pair_errors,
                exact_interactions(score, players, cross, "shapley"),
            ),
        ):
            np.testing.assert_allclose(values, exact, atol=0.05 * size)
            assert np.isfinite(errors).all()


def test_the_inverse_by_cholesky_is_the_inverse() -> None:
    rng = np.random.default_rng(3)
    x, y = np.where(rng.random((80, 7)) < 0.5, 1.0, -1.0), rng.normal(size=80)
    kernel = proxy._Prior.of(proxy.EVEN, (0.8, 0.2, 0.0), np.linspace(0.1, 1, 7)).kernel(x, x)
    coefficients, unseen, inverse = proxy._solve(kernel, y, 1e-3)
    expected = np.linalg.inv(kernel + 1e-3 * np.eye(80))
    np.testing.assert_allclose(coefficients, expected @ y, rtol=1e-8)
    np.testing.assert_allclose(inverse.diagonal, np.diag(expected), rtol=1e-9)
    np.testing.assert_allclose(unseen, expected @ y / np.diag(expected), rtol=1e-8)
    np.testing.assert_allclose(inverse.times(x[:, 0]), expected @ x[:, 0], rtol=1e-7, atol=1e-7)


def test_a_tolerance_that_is_not_met_estimates_the_last_round_once() -> None:
    estimated: list[int] = []

    def rounds() -> Iterator[Round]:
        for done in range(1, 6):

            def estimate(done: int = done) -> Estimate:
                estimated.append(done)
                return Estimate(np.zeros(3), np.ones(3))

            yield Round(done, 5, 1.0, estimate)

    found = run_until(rounds(), tolerance=0.01)
    assert len(estimated) == len(set(estimated))
    assert estimated[-1] == 5
    assert found.error > 1  # as wide as the number of looks asks for
