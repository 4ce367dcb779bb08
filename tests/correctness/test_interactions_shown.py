"""Interactions are shown with their standard errors; a value within them is not a finding."""

import io
from collections.abc import Callable
from math import erfc, sqrt
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from building import explanation
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, WordValue
from vqa_explain.findings import ENOUGH, Pair, expected_by_chance, needed_budget, ranked, sure_ratio
from vqa_explain.games import pairs
from vqa_explain.games.estimators import run_until
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.target import Answer
from vqa_explain.viewer.export import article
from vqa_explain.viewer.payload import payload, raw


def made(
    values: list[list[float]] | np.ndarray,
    errors: list[list[float]] | np.ndarray | None,
    budget: int = 1000,
    **more: Any,
) -> vx.Explanation:
    """An explanation with these interactions (words, regions) and nothing else of interest."""
    words, regions = np.shape(values)
    text = [f"word{i}" for i in range(words)]
    starts = np.cumsum([0] + [len(t) + 1 for t in text])
    labels = np.repeat(np.arange(regions, dtype=np.int32)[None], 4, axis=0)
    fields = {
        "question": " ".join(text),
        "answers": (Answer("red", 0.75, 0),),
        "target": "red",
        "contrast": None,
        "score": "logit",
        "words": tuple(
            WordValue(t, int(a), int(a) + len(t), 7.0, 0.1)
            for t, a in zip(text, starts, strict=False)
        ),
        "tokens": (),
        "image": np.ones(labels.shape),
        "regions": tuple(RegionValue((i, 0, i + 1, 4), 7.0, 0.1) for i in range(regions)),
        "labels": labels,
        "share": {"image": 0.5, "question": 0.5},
        "error": 1.0,
        "error_kind": "largest standard error",
        "cost": Cost(budget, 0, 0.5),
        "method": "interactions",
        "parameters": {"budget": budget},
        "provenance": {"model": "made", "seed": 0},
        "picture": np.zeros((*labels.shape, 3), dtype=np.uint8),
        "interactions": np.asarray(values, dtype=float),
        "interaction_errors": None if errors is None else np.asarray(errors, dtype=float),
    }
    return explanation(**{**fields, **more})


def everywhere(why: vx.Explanation) -> dict[str, str]:
    """The text of every place that shows interactions."""
    console = Console(width=400, record=True, file=io.StringIO())
    for table in explanation_tables(why):
        console.print(table)
    figure = why.plot()
    drawn = " ".join(text.get_text() for axes in figure.axes for text in axes.texts)
    return {
        "repr": repr(why),
        "article": article(why),
        "figure": drawn,
        "table": console.export_text(),
    }


def test_the_issues_case_is_no_finding_and_says_the_budget() -> None:
    """+1.32 ± 1.69 at 1,000 evaluations is within two errors until 1,000 · (2 · 1.69 / 1.32)² =
    6,557.
    """
    why = made([[1.32, 0.1], [0.2, -0.3]], [[1.69, 0.5], [0.5, 0.5]])
    assert needed_budget(why.pairs[0], 1000) == 6600
    found, said = why.findings()
    assert found == []
    assert said.startswith("none of 4 pairs beyond 2 standard errors")
    # 1,000 · (2.4977 · 1.69 / 1.32)² = 10,226, in two digits.
    assert "raise the budget to about 11,000" in said
    for place, text in everywhere(why).items():
        assert "1.32" not in text, place
        assert "none of 4 pairs beyond 2 standard errors" in " ".join(text.split()), place


def test_what_stands_out_is_ranked_by_value_over_error_and_shown_with_it() -> None:
    why = made([[5.0, 1.0, 0.0], [-2.0, 0.5, 9.0]], [[1.0, 0.1, 0.1], [0.1, 0.5, 9.0]])
    assert [(p.first, p.second) for p in why.pairs[:3]] == [(1, 0), (0, 1), (0, 0)]
    assert why.pairs[0].ratio == pytest.approx(20)
    for place, told in everywhere(why).items():
        text = told.replace("−", "-")  # of figures
        assert "-2.0 ± 0.1" in text, place
        assert text.index("-2.0 ± 0.1") < text.index("+1.0 ± 0.1") < text.index("+5 ± 1"), place
        assert "+9" not in text, place


def test_pairs_at_the_level_of_chance_are_counted_and_not_named() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(7, 49))
    why = made(values, np.ones((7, 49)))
    beyond = int((np.abs(values) >= 2).sum())
    by_chance = 343 * erfc(2 / sqrt(2))
    assert expected_by_chance(why.pairs) == pytest.approx(by_chance)
    found, said = why.findings()
    assert found == [] or beyond > by_chance
    assert f"{beyond} of 343 pairs" in said
    assert f"chance alone would put about {by_chance:.0f}" in said
    assert "raise the budget to about" in said


def test_exact_values_need_no_budget_and_zeros_are_no_findings() -> None:
    why = made([[1.0, 1e-17], [0.0, -0.5]], np.zeros((2, 2)))
    found, said = why.findings()
    assert [(p.first, p.second) for p in found] == [(0, 0), (1, 1)]
    assert said == "2 of 4 pairs beyond 2 standard errors"


def test_chance_finds_nothing_among_exact_values() -> None:
    """One of 100 exact pairs is no zero, where chance would put five of as many estimates."""
    values = np.zeros((10, 10))
    values[3, 4] = -0.5
    why = made(values, np.zeros((10, 10)))
    found, said = why.findings()
    assert [(p.first, p.second) for p in found] == [(3, 4)]
    assert said == "1 of 100 pairs beyond 2 standard errors"


def test_pairs_that_stand_out_alike_are_ranked_by_size() -> None:
    why = made([[0.5, -2.0], [1.0, 0.0]], np.zeros((2, 2)))
    assert [pair.value for pair in why.pairs] == [-2.0, 1.0, 0.5, 0.0]


def test_a_method_that_states_no_errors_has_no_findings() -> None:
    why = made([[3.0, 1.0]], None)
    assert why.findings() == ([], "the method states no error of its 2 pairs, so none is named")
    for place, text in everywhere(why).items():
        assert "states no error" in " ".join(text.split()), place


@given(
    value=st.floats(1e-3, 1e3),
    error=st.floats(1e-3, 1e3),
    spent=st.integers(10, 1_000_000),
    ratio=st.floats(1.0, 5.0),
)
@settings(deadline=None, max_examples=100)
def test_the_needed_budget_brings_the_value_to_so_many_errors(
    value: Any, error: Any, spent: Any, ratio: Any
) -> None:
    needed = needed_budget(Pair(0, 0, value, error, value / error), spent, ratio)
    assert needed is not None
    then = error * sqrt(spent / needed)
    if needed > 10:  # below, two digits are whole numbers
        assert 0.9999 * ratio <= value / then <= 1.06 * ratio


@given(st.integers(1, 5000))
@settings(deadline=None, max_examples=50)
def test_the_strongest_of_many_is_sure_only_beyond_bonferronis_bound(count: Any) -> None:
    ratio = sure_ratio(count)
    assert count * erfc(ratio / sqrt(2)) == pytest.approx(0.05, rel=1e-6)


def test_noise_gives_a_sure_pair_in_about_one_of_twenty_runs() -> None:
    rng, runs, wrong = np.random.default_rng(1), 400, 0
    for _ in range(runs):
        top = ranked([(rng.normal(size=(7, 49)), np.ones((7, 49)))])[0]
        wrong += top.ratio >= sure_ratio(343)
    assert wrong / runs < 0.08
    assert ENOUGH == 2


def noisy_game(seed: int) -> Callable[..., np.ndarray]:
    """Twelve players, one interaction of 0.4 between 8 and 0, and a rough rest of higher order."""
    table = 0.5 * np.random.default_rng(seed).normal(size=2**12)

    def score(coalitions: Any) -> np.ndarray:
        x = np.asarray(coalitions, dtype=int)
        result: np.ndarray = 0.4 * x[:, 8] * x[:, 0] + table[x @ (1 << np.arange(12))]
        return result

    return score


def test_errors_shrink_as_the_advice_supposes() -> None:
    """By Banzhaf interactions, drawn anew: eight times the budget, errors less by √8."""
    cross, score = np.array([(8, 0), (9, 1), (10, 2)]), noisy_game(2)
    errors = []
    for budget in (400, 3200):
        rng = np.random.default_rng(3)
        found = run_until(pairs.banzhaf_interactions(score, 12, cross, rng, budget))
        assert found.pair_errors is not None
        errors.append(found.pair_errors.mean())
    assert errors[0] / errors[1] == pytest.approx(sqrt(8), rel=0.15)


@pytest.mark.slow
def test_what_the_readme_shows_holds_for_another_seed_and_a_larger_budget(
    scenes_model: ViltModel,
) -> None:
    """The settings of the guides: every pair that is named is found again, with its sign,
    at the stated errors.
    """
    example = vx.load_dataset("scenes:test")[0]
    shown = vx.explain(scenes_model, example, method="interactions", regions=4, budget=2000)
    other = vx.explain(scenes_model, example, method="interactions", regions=4, budget=3000, seed=1)
    found, _ = shown.findings()
    assert other.interactions is not None
    assert other.interaction_errors is not None
    assert len(found) == 3
    for pair in found:
        assert pair.error is not None
        assert pair.ratio >= sure_ratio(len(shown.pairs))
        again = other.interactions[pair.first, pair.second]
        apart = np.hypot(pair.error, other.interaction_errors[pair.first, pair.second])
        assert np.sign(again) == np.sign(pair.value)
        assert abs(again - pair.value) <= 4 * apart


def test_the_viewer_is_sent_every_error() -> None:
    why = made([[1.32, 0.1, 0.7], [0.2, -0.3, 0.4]], [[1.69, 0.5, 0.6], [0.2, 0.3, 0.4]])
    sent = payload(why, raw)
    (joint,) = sent["joint"]
    assert (joint["first"], joint["second"]) == ("question", "image")
    for key, expected in (("values", why.interactions), ("errors", why.interaction_errors)):
        assert expected is not None
        values = np.frombuffer(joint[key]["data"], np.float32).reshape(2, 3)
        np.testing.assert_allclose(values, expected, rtol=1e-6)
        assert joint[key]["shape"] == [2, 3]
    assert sent["pairs"]["spent"] == 1000
    assert sent["pairs"]["sure"] == pytest.approx(NormalDist().inv_cdf(1 - 0.025 / 6))
    assert sent["pairs"]["text"] == why.findings()[1]
