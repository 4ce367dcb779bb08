"""The axioms of the values, on games that hypothesis makes up, exact and estimated."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import shap
import shapiq
from hypothesis import given, settings
from hypothesis import strategies as st

from vqa_explain.games import estimators, pairs
from vqa_explain.games.estimators import every_coalition, run_until

PLAYERS = 5
tables = st.lists(st.floats(-10, 10), min_size=2**PLAYERS, max_size=2**PLAYERS).map(np.array)


def as_score(table: Any) -> Callable[..., Any]:
    return lambda coalitions: table[np.asarray(coalitions) @ (1 << np.arange(PLAYERS))]


def values(kind: str, table: Any) -> np.ndarray:
    score = as_score(table)
    if kind == "exact":
        return estimators.exact_shapley(score, PLAYERS)
    estimate = {
        "permutation": estimators.permutation,
        "kernel": estimators.kernel,
        "adjusted": pairs.adjusted,
    }[kind]
    return run_until(estimate(score, PLAYERS, np.random.default_rng(0), 120)).values


@pytest.mark.parametrize("kind", ["exact", "permutation", "kernel", "adjusted"])
@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_efficiency(kind: str, table: Any) -> None:
    assert values(kind, table).sum() == pytest.approx(table[-1] - table[0], abs=1e-6)


@pytest.mark.parametrize("kind", ["exact", "permutation"])
@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_a_dummy_adds_what_it_adds_alone(kind: str, table: Any) -> None:
    rows = every_coalition(PLAYERS)
    table = table[np.arange(len(rows)) & ~1] + 3.0 * rows[:, 0]  # player 0 adds 3 to everybody
    assert values(kind, table)[0] == pytest.approx(3, abs=1e-9)


@settings(max_examples=25, deadline=None)
@given(table=tables)
def test_symmetric_players_get_the_same(table: Any) -> None:
    numbers = np.arange(2**PLAYERS)
    swapped = (numbers & ~3) | ((numbers & 1) << 1) | ((numbers & 2) >> 1)
    exact = values("exact", table + table[swapped])
    assert exact[0] == pytest.approx(exact[1], abs=1e-9)


@pytest.mark.parametrize("kind", ["exact", "permutation", "kernel"])
@settings(max_examples=25, deadline=None)
@given(first=tables, second=tables)
def test_linearity(kind: str, first: Any, second: Any) -> None:
    """Also of the estimators, which are linear for the same draws."""
    both = values(kind, 2 * first - second)
    np.testing.assert_allclose(both, 2 * values(kind, first) - values(kind, second), atol=1e-6)


@pytest.mark.slow
@settings(max_examples=10, deadline=None)
@given(table=tables)
def test_exact_values_equal_those_of_shap_and_shapiq(table: Any) -> None:
    score, nobody, everybody = as_score(table), np.zeros((1, PLAYERS)), np.ones((1, PLAYERS))
    ours = estimators.exact_shapley(score, PLAYERS)
    explainer = shap.explainers.Exact(lambda z: score(z > 0.5), shap.maskers.Independent(nobody))
    np.testing.assert_allclose(ours, explainer(everybody).values[0], atol=1e-6)
    theirs = shapiq.ExactComputer(game=lambda c: score(c).astype(float), n_players=PLAYERS)(
        index="SV", order=1
    )
    np.testing.assert_allclose(ours, [theirs[(i,)] for i in range(PLAYERS)], atol=1e-6)
    banzhaf = shapiq.ExactComputer(game=lambda c: score(c).astype(float), n_players=PLAYERS)(
        index="BV", order=1
    )
    np.testing.assert_allclose(
        estimators.exact_banzhaf(score, PLAYERS), [banzhaf[(i,)] for i in range(PLAYERS)], atol=1e-6
    )
