"""Intervals of many cells at once: those of each alone, by few draws and in little memory."""

import tracemalloc
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vqa_explain as vx
from vqa_explain.games import intervals
from vqa_explain.games.intervals import (
    LEVEL,
    RESAMPLES,
    UNBOUNDED,
    Interval,
    mean_interval,
    mean_intervals,
    paired_interval,
    paired_intervals,
)


def by_definition(values: np.ndarray) -> tuple[float, float]:
    """Efron & Tibshirani 1993, section 12.5, resample by resample."""
    count, mean = len(values), values.mean()
    error = values.std(ddof=1) / np.sqrt(count)
    rng, ratios = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        drawn = values[rng.integers(count, size=count)]
        of_resample = drawn.std(ddof=1) / np.sqrt(count)
        if of_resample > 1e-9 * error:
            ratios.append((drawn.mean() - mean) / of_resample)
    low, high = np.quantile(ratios, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return mean - high * error, mean - low * error


def same(one: Interval, other: Interval) -> bool:
    """Whether two intervals are one up to rounding."""
    return bool(np.allclose(astuple(one), astuple(other), rtol=1e-9, equal_nan=True))


def samples(count: int) -> dict[str, np.ndarray]:
    """Values of one size that are unlike in every way that matters to rounding."""
    rng = np.random.default_rng(count)
    nearly_alike = np.full(count, 0.3)
    nearly_alike[:9] = rng.normal(size=9)
    return {
        "normal": rng.normal(size=count),
        "far from zero": 1e6 + rng.normal(size=count),
        "one far away": np.append(rng.normal(size=count - 1), 1e5),
        "nearly all alike": rng.permutation(nearly_alike),
        "steps": rng.integers(0, 5, count) / 4 + 2.0,
        "skew": rng.lognormal(0, 2, count),
    }


@pytest.mark.parametrize("count", [12, 499, 500, 1203])
def test_each_interval_is_that_of_the_definition(count: int) -> None:
    of = samples(count)
    found = mean_intervals([(values, UNBOUNDED) for values in of.values()])
    for (name, values), one in zip(of.items(), found, strict=True):
        assert same(one, mean_interval(values)), name
        if not one.is_known:
            assert count < 20
            continue
        wide = values.std() / np.sqrt(count)
        low, high = by_definition(values)
        assert one.low == pytest.approx(low, abs=1e-5 * wide), name
        assert one.high == pytest.approx(high, abs=1e-5 * wide), name


def test_cells_of_all_kinds_are_told_together_as_alone() -> None:
    rng = np.random.default_rng(1)
    asked: list[Any] = [
        (rng.normal(size=40), UNBOUNDED),
        (np.array([0.0, 1.0, 1.0]), UNBOUNDED),  # Wilson's
        (np.array([]), UNBOUNDED),
        (np.array([1.0, 2.0]), UNBOUNDED),  # too few
        (np.where(rng.random(700) < 0.1, np.nan, rng.random(700)), (0, 1)),
        (rng.normal(size=40), (0.0, np.inf)),
    ]
    for one, ask in zip(mean_intervals(asked), asked, strict=True):
        assert same(one, mean_interval(*ask))
    pairs = [(rng.normal(size=600), rng.normal(size=600)) for _ in range(3)]
    pairs.append((np.ones(600), np.zeros(600)))
    for one, pair in zip(paired_intervals(pairs), pairs, strict=True):
        assert same(one, paired_interval(*pair))


def test_twenty_cells_of_ten_thousand_examples_draw_once_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(intervals, "RESAMPLES", 200)
    values = np.random.default_rng(0).normal(size=(20, 10_000))
    tracemalloc.start()
    mean_intervals([(row, UNBOUNDED) for row in values])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 60 * 2**20


def test_a_page_draws_once_for_its_cells_and_once_for_their_differences(
    finished: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = vx.Report(finished[0].folder)
    calls: list[int] = []
    real = intervals._with_bootstraps

    def counting(found: Any) -> Any:
        calls.append(len(found))
        return real(found)

    monkeypatch.setattr(intervals, "_with_bootstraps", counting)
    report.to_html(tmp_path / "report.html")
    report.summary()
    report.to_json()
    assert len(calls) <= 4  # cells, differences, and the families of questions each time
