"""Two runs side by side, example by example."""

from dataclasses import asdict, dataclass
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.intervals import Interval, mean_interval
from vqa_explain.evaluation.report import Report, plain


@dataclass(frozen=True)
class Compared:
    """A metric of a method in both runs, and the mean of B − A over the examples that both have."""

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
        methods = {"answer": [""], "explanation": [m for m in one.methods if m in other.methods]}.get(metric.judges, [])
        for method in methods:
            a, b = one.by_id(text, method), other.by_id(text, method)
            both = a.index.intersection(b.index)
            difference = mean_interval((b[both] - a[both]).to_numpy())
            if difference.count:
                pair = mean_interval(a[both].to_numpy()), mean_interval(b[both].to_numpy())
                rows.append(Compared(text, method, metric.better, *pair, difference))
    if not rows:
        raise InvalidInput(
            f"{str(one.folder)!r} and {str(other.folder)!r} have no metric of the same examples in common; evaluate "
            "both on the same data with the same metrics"
        )
    names = tuple(f"{r.plan.model} on {r.plan.data} ({r.folder})" for r in (one, other))
    return Comparison((names[0], names[1]), tuple(rows))
