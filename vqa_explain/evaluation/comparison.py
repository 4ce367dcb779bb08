"""Two runs side by side, example by example."""

from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.report import Report
from vqa_explain.evaluation.results import bounds, plain
from vqa_explain.games.intervals import Interval, mean_interval, paired_interval


@dataclass(frozen=True)
class Compared:
    """A metric of a method in both runs, and the mean of B − A,
    over the examples that both have by every method.
    """

    metric: str
    method: str
    better: str
    a: Interval
    b: Interval
    difference: Interval


@dataclass(frozen=True)
class Comparison:
    """What two runs have in common.

    Attributes:
        names: of the runs: model, data and folder.
        rows: every metric and method that both have.
    """

    names: tuple[str, str]
    rows: tuple[Compared, ...]

    def to_json(self) -> Any:
        """As plain values."""
        return plain({"names": list(self.names), "rows": [asdict(row) for row in self.rows]})


def compare(one: Report, other: Report) -> Comparison:
    """Pairs the examples of two runs by their ids, and where these are missing by their numbers.

    Raises:
        InvalidInput: they have no metric or no example in common.
    """
    rows = []
    for text, metric in one.metrics.items():
        if text not in other.metrics:
            continue
        methods = {
            "answer": [""],
            "explanation": [m for m in one.methods if m in other.methods],
        }.get(metric.judges, [])
        a, b = _shared(one, other, text, methods)
        for method in a:
            ours, theirs = a[method].to_numpy(), b[method].to_numpy()
            pair = mean_interval(ours, bounds(metric)), mean_interval(theirs, bounds(metric))
            difference = paired_interval(ours, theirs)
            rows.append(Compared(text, method, metric.better, *pair, difference))
    if not rows:
        raise InvalidInput(
            f"{str(one.folder)!r} and {str(other.folder)!r} have no metric of the same examples in "
            "common; evaluate both on the same data with the same metrics"
        )
    names = tuple(f"{r.plan.model} on {r.plan.data} ({r.folder})" for r in (one, other))
    return Comparison((names[0], names[1]), tuple(rows))


def _shared(
    one: Report, other: Report, metric: str, methods: list[str]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Examples × methods of both runs: the examples for which both have a value by every method
    that has any.
    """
    frames = [
        pd.DataFrame({m: report.by_id(metric, m) for m in methods}) for report in (one, other)
    ]
    some = [m for m in methods if all(frame[m].notna().any() for frame in frames)]
    kept = [frame[some].dropna() for frame in frames]
    both = kept[0].index.intersection(kept[1].index)
    if not len(both):
        return pd.DataFrame(), pd.DataFrame()
    return kept[0].loc[both], kept[1].loc[both]
