"""Means with bootstrap intervals."""

from dataclasses import dataclass

import numpy as np

LEVEL = 0.95
RESAMPLES = 2000
AT_ONCE = 50_000_000  # numbers drawn into memory together


@dataclass(frozen=True)
class Interval:
    """A mean over `count` values with its 95 % interval; NaN where there are too few."""

    mean: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        if not self.count:
            return "–"
        if np.isnan(self.low):
            return f"{self.mean:.3f}"
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def mean_interval(values: np.ndarray) -> Interval:
    """The mean of the values that are numbers, with its percentile bootstrap interval (Efron & Tibshirani 1993)."""
    from scipy.stats import bootstrap

    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, float("nan"), float("nan"), len(values))
    if values.std() == 0:
        return Interval(mean, mean, mean, len(values))
    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=RESAMPLES,
        batch=max(1, AT_ONCE // len(values)),
        confidence_level=LEVEL,
        method="percentile",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return Interval(mean, float(found.low), float(found.high), len(values))
