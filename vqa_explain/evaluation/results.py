"""What a run measured: tables with intervals, from its shards."""

from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.judging import ERROR
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.evaluation.shards import COLUMN, CREDITS, EXAMPLES, GRID, LACKING, OWN, ROW
from vqa_explain.evaluation.store import Store
from vqa_explain.files import path_of
from vqa_explain.games.intervals import (
    UNBOUNDED,
    Bounds,
    Interval,
    mean_interval,
    mean_intervals,
    paired_intervals,
)
from vqa_explain.metrics import read_metric
from vqa_explain.metrics.additive import Additive, additive
from vqa_explain.metrics.base import HIGHER, LOWER, NEITHER, Metric

VALUES = [
    "index",
    "id",
    "family",
    "question",
    "answer",
    "predicted",
    "probability",
    "method",
    "metric",
    "value",
    "note",
]


class Results:
    """The results of a run's finished shards, as tables.

    Args:
        folder: what `evaluate` wrote.

    Raises:
        InvalidInput: the folder holds no evaluation, or none that this version can read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.store = Store(path_of(folder))
        self.plan: Plan = self.store.plan()

    @property
    def folder(self) -> Path:
        return self.store.folder

    @cached_property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that were asked for, by their text."""
        return {text: read_metric(text) for text in self.plan.metrics}

    @cached_property
    def methods(self) -> list[str]:
        """The methods that were asked for, and the random reference where any was needed."""
        judged = any(metric.judges == "explanation" for metric in self.metrics.values())
        return [*self.plan.methods, RANDOM] if judged else []

    @cached_property
    def _rows(self) -> pd.DataFrame:
        # All at once, since opening the many files takes longer than reading them.
        columns = [*VALUES, "right", "forwards", "backwards", "seconds", "curve"]
        table = self.store.read(EXAMPLES, self.plan, columns)
        if table is None:
            raise InvalidInput(
                f"{str(self.folder)!r} has no finished shard yet; run the evaluation again"
            )
        return table.to_pandas()

    def frame(self) -> pd.DataFrame:
        """One row per example, method and metric: `VALUES`;
        "" as the method of what is said of answers alone.
        """
        rows = self._rows[~self._rows["metric"].isin(["", ERROR])]
        return rows[VALUES].reset_index(drop=True)

    def answered(self) -> pd.DataFrame:
        """One row per example: index, id, family, question, answer, predicted, probability,
        right.
        """
        columns = [*VALUES[: VALUES.index("method")], "right"]
        return self._rows.drop_duplicates("index").sort_values("index")[columns]

    def errors(self) -> pd.DataFrame:
        """What failed: index, id, method, note."""
        rows = self._rows[self._rows["metric"] == ERROR]
        return rows[["index", "id", "method", "note"]].reset_index(drop=True)

    @property
    def count(self) -> int:
        """How many examples were looked at."""
        return int(self._rows["index"].nunique())

    @cached_property
    def _wide(self) -> dict[str, pd.DataFrame]:
        """Metric → examples × methods."""
        frame = self.frame()
        return {
            text: part.pivot(index="index", columns="method", values="value")
            for text, part in frame.groupby("metric", sort=False)
        }

    def values(self, metric: str, method: str = "") -> pd.Series:
        """A metric's value of each example, by its index."""
        wide = self._wide.get(metric)
        if wide is None or method not in wide:
            return pd.Series(dtype=float)
        return wide[method]

    def by_id(self, metric: str, method: str = "") -> pd.Series:
        """A metric's value of each example, by its id,
        or by its number where ids are not told apart.
        """
        values = self.values(metric, method)
        ids = self._rows.drop_duplicates("index").set_index("index")["id"]
        return values.rename(ids) if ids.is_unique and (ids != "").all() else values

    @cached_property
    def answered_right(self) -> set[int]:
        """The examples that were answered right, by the credits that accuracy gives."""
        rows = self._rows.drop_duplicates("index")
        return set(rows.loc[rows["right"].eq(True), "index"])

    def common(self, metric: str) -> pd.DataFrame:
        """The examples × methods that means are over: those examples for which every method has a
        value.

        Else a method that fails for hard examples would look better than one that does not. A
        method without any value is left out. Metrics of answers have one method, "", and share
        their examples with each other.
        """
        if self.metrics[metric].judges == "answer":
            texts = [text for text, one in self.metrics.items() if one.judges == "answer"]
            values = (
                pd.DataFrame({text: self.values(text) for text in texts})
                .dropna(axis=1, how="all")
                .dropna()
            )
            return values[[metric]].set_axis([""], axis=1) if metric in values else pd.DataFrame()
        return self._wide.get(metric, pd.DataFrame()).dropna(axis=1, how="all").dropna()

    def _common_values(self, metric: str, method: str) -> pd.Series:
        values = self.common(metric)
        return values[method] if method in values else pd.Series(dtype=float)

    def failed(self, metric: str, method: str = "") -> int:
        """The examples for which the method, the metric or the model raised an error."""
        found = self._failures
        concerned = found["method"].isin(["", method]) & found["metric"].isin(["", metric])
        return int(found[concerned]["index"].nunique())

    @cached_property
    def _failures(self) -> pd.DataFrame:
        """index, method and metric of every error; "" where it is of all of them."""
        errors = self.errors()
        of_metric = [
            next((t for t in self.metrics if str(n).startswith(f"{t}: ")), "")
            for n in errors["note"]
        ]
        return errors.assign(metric=of_metric)

    def summary(self) -> pd.DataFrame:
        """Methods × metrics: mean and 95% interval over the examples that all methods have (see
        `common`).

        `count` is the number of these examples, `failed` how many the method, metric or model
        failed for.
        """
        rows: list[dict[str, Any]] = []
        for text, metric in self.metrics.items():
            for method in {"answer": [""], "explanation": self.methods}.get(metric.judges, []):
                told = {
                    "failed": self.failed(text, method),
                    "better": metric.better,
                    "range": metric.range,
                }
                rows.append(
                    {
                        "metric": text,
                        "method": method,
                        **asdict(self.interval(text, method)),
                        **told,
                    }
                )
        if (emap := self.emap()) is not None:
            text = next(t for t, m in self.metrics.items() if m.judges == "data set")
            nothing = {
                "low": np.nan,
                "high": np.nan,
                "failed": 0,
                "better": NEITHER,
                "range": "0 … 1",
            }
            rows.append(
                {"metric": text, "method": "", "mean": emap.emap, "count": emap.count, **nothing}
            )
        return pd.DataFrame(rows)

    def interval(self, metric: str, method: str) -> Interval:
        """One cell of the summary."""
        known = self._intervals.get((metric, method))
        if known is not None:
            return known
        values = self._common_values(metric, method).to_numpy()
        return mean_interval(values, bounds(self.metrics[metric]))

    @cached_property
    def _intervals(self) -> dict[tuple[str, str], Interval]:
        """Metric and method → that cell, "" being the method of metrics of answers."""
        cells = [
            (text, method)
            for text, metric in self.metrics.items()
            for method in {"answer": [""], "explanation": self.methods}.get(metric.judges, [])
        ]
        found = mean_intervals(
            (self._common_values(text, method).to_numpy(), bounds(self.metrics[text]))
            for text, method in cells
        )
        return dict(zip(cells, found, strict=True))

    def differences(self, metric: str, reference: str = RANDOM) -> dict[str, Interval]:
        """Method → the mean of its paired differences from the reference's values,
        with its interval.
        """
        if reference not in self._differences:
            self._differences[reference] = self._differences_from(reference)
        return self._differences[reference][metric]

    @cached_property
    def _differences(self) -> dict[str, dict[str, dict[str, Interval]]]:
        """Reference → metric → method → what `differences` gave."""
        return {}

    def _differences_from(self, reference: str) -> dict[str, dict[str, Interval]]:
        """Of all metrics of explanations."""
        methods = [m for m in self.methods if m != reference]
        texts = [text for text, metric in self.metrics.items() if metric.judges == "explanation"]
        pairs = []
        for text in texts:
            base = self._common_values(text, reference).to_numpy()
            nothing = np.full(len(base), np.nan)
            for method in methods:
                values = self._common_values(text, method).to_numpy()
                pairs.append((base, values if len(values) else nothing))
        found = iter(paired_intervals(pairs))
        return {text: {method: next(found) for method in methods} for text in texts}

    def families(self) -> pd.DataFrame:
        """Accuracies of each kind of question, "all" first: mean and interval of every metric of
        answers.

        `count` is the number of questions, `judged` how many of them every metric has a value of.
        """
        texts = [text for text, metric in self.metrics.items() if metric.judges == "answer"]
        kinds = self._rows.drop_duplicates("index").set_index("index")["family"].fillna("")
        named = sorted(set(kinds) - {""})
        members = {"all": kinds.index}
        if len(named) > 1:
            members |= {family: kinds.index[kinds == family] for family in named}
        values = {text: self._common_values(text, "") for text in texts}
        found = iter(
            mean_intervals(
                (values[text][values[text].index.isin(some)].to_numpy(), bounds(self.metrics[text]))
                for some in members.values()
                for text in texts
            )
        )
        rows = []
        for family, some in members.items():
            row: dict[str, Any] = {"family": family, **{text: next(found) for text in texts}}
            row["count"] = len(some)
            row["judged"] = max((row[text].count for text in texts), default=0)
            rows.append(row)
        return pd.DataFrame(rows)

    def emap(self) -> Additive | None:
        """Accuracy of the best additive projection,
        where it was asked for and its whole grid is there.
        """
        frame = self._grid()
        if frame is None or not (frame["part"] == ROW).any():
            return None
        if frame["values"].dropna().map(len).nunique() > 1:
            raise InvalidInput(
                f"pieces of the grid in {str(self.folder)!r} are of different answers; delete "
                "shards/grid-*.parquet and evaluate again"
            )
        parts = dict(iter(frame.groupby("part")))
        columns = parts[COLUMN].groupby("index")["values"].sum().sort_index()
        rows, own, credits = (
            np.stack(parts[name].sort_values("index")["values"]) for name in (ROW, OWN, CREDITS)
        )
        if len(rows) != len(columns):
            return None  # some of the grid is still missing
        return additive(own, rows, np.stack(columns.to_numpy()) / len(rows), credits)

    def _grid(self) -> pd.DataFrame | None:
        """The pieces of EMAP's grid, where it was asked for and some are there."""
        if not any(m.judges == "data set" for m in self.metrics.values()):
            return None
        table = self.store.read(GRID, self.plan)
        return None if table is None else table.to_pandas()

    def curves(self) -> dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]:
        """Metric → method → (shares of players, mean score there over the examples that all
        methods have).
        """
        frame = self._rows[self._rows["curve"].notna()]
        found: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {}
        for text, metric in self.metrics.items():
            if not (frame["metric"] == text).any():
                continue
            shared = self.common(text)
            of_metric = frame[(frame["metric"] == text) & frame["index"].isin(shared.index)]
            for method in [m for m in self.methods if m in shared]:
                part = of_metric[of_metric["method"] == method]["curve"]
                if len(part):
                    at = cast(Any, metric).at  # metrics that give curves say where
                    scores = np.stack(part.to_numpy()).mean(axis=0)
                    found.setdefault(text, {})[method] = (at, scores)
        return found

    def costs(self) -> pd.DataFrame:
        """What an explanation cost on the average: forwards, backwards, seconds with one thread.

        `count` is the number of examples, those that every method explained.
        """
        rows = self._rows[(self._rows["metric"] == "") & (self._rows["method"] != RANDOM)]
        methods = rows["method"].nunique()
        shared = rows.groupby("index")["method"].transform("nunique") == methods
        grouped = rows[shared].groupby("method", sort=False)
        means = grouped[["forwards", "backwards", "seconds"]].mean().assign(count=grouped.size())
        return means.reindex([m for m in self.methods if m in means.index]).reset_index()

    def measuring_notes(self) -> list[str]:
        """What a reader of the tables must know: what was skipped and why, and what failed."""
        frame = self.frame()
        found = [f"{text}: {how}" for text, how in self.plan.hiding.items() if how]
        noted = frame[frame["note"].notna()]
        for (metric, note, skipped), part in noted.groupby(
            ["metric", "note", noted["value"].isna()]
        ):
            # Where only some methods are concerned, they are named.
            named = [m for m in self.methods if m in set(part["method"])]
            whose = "" if len(named) in (0, len(self.methods)) else f" by {', '.join(named)}"
            examples = f"{part['index'].nunique():,} of {self.count:,} examples"
            how = f"left out for {examples}{whose}, since" if skipped else f"in {examples}{whose}:"
            found.append(f"{metric}: {how} {note}")
        found += self._lacking_grid()
        errors = self.errors()
        for method in errors["method"].unique():
            part = errors[errors["method"] == method]
            whose = f"by {method}" if method else "altogether"
            found.append(
                f"{len(part):,} failed {whose}; the first: example {part['index'].iloc[0]}: "
                f"{part['note'].iloc[0]}"
            )
        return found + self._unequal()

    def _lacking_grid(self) -> list[str]:
        """Why rows are no part of EMAP's grid."""
        grid = self._grid()
        if grid is None:
            return []
        text = next(t for t, m in self.metrics.items() if m.judges == "data set")
        lacking = grid[grid["part"] == LACKING].groupby("note").size()
        return [
            f"{text}: {count:,} rows are left out of its grid, since {note}"
            for note, count in lacking.items()
        ]

    def _unequal(self) -> list[str]:
        """Where methods have values of different examples, which their means then leave out."""
        found = []
        for text, metric in self.metrics.items():
            counts = {m: self.values(text, m).notna().sum() for m in self.methods}
            if metric.judges != "explanation" or not any(counts.values()):
                continue
            shared, most = len(self.common(text)), max(counts.values())
            if shared < most:
                lacking = ", ".join(
                    f"{m} lacks {most - n:,}" for m, n in counts.items() if 0 < n < most
                )
                lacking = lacking or "each lacks others"
                found.append(
                    f"{text}: means are over the {shared:,} examples that every method has "
                    f"({lacking})"
                )
        return found


def better_text(metric: Metric) -> str:
    """An arrow towards what is better."""
    return {HIGHER: "↑", LOWER: "↓", NEITHER: ""}[metric.better]


def bounds(metric: Metric) -> Bounds:
    """The least and the largest value that a metric says it can take."""
    ends = [end.strip().replace("−", "-") for end in metric.range.split("…")]
    try:
        low, high = (
            float(end) if end else default for end, default in zip(ends, UNBOUNDED, strict=True)
        )
    except ValueError:  # a range in words
        return UNBOUNDED
    return low, high


def plain(value: Any) -> Any:
    """Values that JSON has; NaN and infinity become `None`."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not np.isfinite(value) else value
