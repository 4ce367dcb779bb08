"""A finished run in the viewer: a line for each example, with its metrics."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd

from vqa_explain import registry
from vqa_explain.datasets.loading import load_dataset
from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.data import can_be_indexed, first_rows
from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.evaluation.results import Results
from vqa_explain.evaluation.stamps import digest
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.methods import METHODS
from vqa_explain.models.base import Model
from vqa_explain.models.loading import load
from vqa_explain.viewer.export import page, stamp_tag
from vqa_explain.viewer.requests import Entry, MethodChoice
from vqa_explain.viewer.runs import ExamplesAt, OpenedRun

PAGE = "viewer.html"  # in a run's folder
_HEAD = 1000  # characters of a page, of which the stamp is one of the first
NOT_HERE = (
    "the explanation of this example is not in this page; vqa_explain.Viewer(report) computes it"
)


def entries_of(results: Results) -> dict[int, Entry]:
    """Place in the data set → the example's line, with every metric of every method in numbers; a
    method is named where there are several.
    """
    frame = results.frame()
    frame = frame[(frame["method"] != RANDOM) & frame["value"].notna()]
    several = len(results.plan.methods) > 1
    numbers: dict[int, dict[str, float]] = {}
    for index, method, metric, value in zip(
        frame["index"], frame["method"], frame["metric"], frame["value"], strict=True
    ):
        name = f"{metric}, {method}" if several and method else str(metric)
        numbers.setdefault(int(index), {})[name] = float(value)
    failed = dict(zip(results.errors()["index"], results.errors()["note"], strict=True))
    found = results.answered()
    return {int(row["index"]): _entry(row, numbers, failed) for row in found.to_dict("records")}


def _entry(
    row: Mapping[str, Any], numbers: Mapping[int, dict[str, float]], failed: Mapping[int, str]
) -> Entry:
    index = int(row["index"])
    answered = isinstance(row["predicted"], str)
    return Entry(
        title=str(row["question"] or row["id"] or f"example {index}"),
        state="done" if answered else "error",
        answer=row["predicted"] if answered else "",
        probability=None if pd.isna(row["probability"]) else float(row["probability"]),
        correct=None if pd.isna(row["right"]) else bool(row["right"]),
        message="" if answered else str(failed.get(index, "")),
        id=str(row["id"] or index),
        label=row["answer"] if isinstance(row["answer"], str) else None,
        numbers=numbers.get(index, {}),
        kind=str(row["family"] or ""),
    )


def open_run(results: Results, model: Model | None, dataset: Iterable[Example] | None) -> OpenedRun:
    """A run with its model and data set, for `vqa_explain.Viewer`.

    Raises:
        InvalidInput: the plan's model or data set cannot be loaded by its name, and none is given.
    """
    plan = results.plan
    entries = entries_of(results)
    model = _loaded(load, plan.model, "model") if model is None else model
    data: Any = _loaded(load_dataset, plan.data, "data set") if dataset is None else dataset
    if not can_be_indexed(data):
        data = list(first_rows(data, max(entries, default=-1) + 1))
    method = None
    if plan.methods:
        first = registry.read("method", METHODS, plan.methods[0])
        method = MethodChoice(first.name, registry.parameters_of(first))
    return OpenedRun(
        model=model,
        examples=ExamplesAt(data, list(entries)),
        entries=list(entries.values()),
        method=method,
        divided=plan.divided,
        seed=plan.seed,
    )


def _loaded(by: Callable[[str], Any], name: str, what: str) -> Any:
    try:
        return by(name)
    except InvalidInput as error:
        raise InvalidInput(
            f"the run's {what} {name!r} cannot be loaded by its name ({error}); give both: "
            "vqa_explain.Viewer(model, dataset, run=report)"
        ) from error


def write_viewer(results: Results, explained: Mapping[int, Explanation], path: Path) -> Path:
    """Writes a page with the viewer: every example of the run with its metrics, and those
    explanations that are kept.

    Args:
        explained: place in the data set → an explanation that is kept.
    """
    lines, held = [], []
    for index, entry in entries_of(results).items():
        held.append(explained.get(index))
        lines.append(entry if held[-1] is not None else replace(entry, message=NOT_HERE))
    title = f"{results.plan.model} on {results.plan.data}"
    stamp = _stamp(results, explained)
    text = page(held, title, entries=[asdict(line) for line in lines], stamp=stamp)
    return write_atomically(path, text.encode())


def places_of(results: Results) -> dict[int, int]:
    """Place in the data set → place in the list of the viewer's page."""
    return {int(index): place for place, index in enumerate(results.answered()["index"])}


def addresses_in(
    path: Path, results: Results, explained: Mapping[int, Explanation]
) -> dict[int, str]:
    """Place in the data set → the address of that example in the viewer's page, from a page beside
    it. Empty where there is no page, or it was written when the run had other results.
    """
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.read(_HEAD)
    if stamp_tag(_stamp(results, explained)) not in head:
        return {}
    return {index: address_of(path.name, place) for index, place in places_of(results).items()}


def address_of(page: str, place: int) -> str:
    """The address of an example in a page with the viewer: see link.js."""
    return f"{page}#example={place}"


def _stamp(results: Results, explained: Mapping[int, Explanation]) -> str:
    """A hash of which examples the page lists, and which of them it explains."""
    listed = [list(places_of(results)), sorted(explained)]
    return digest(results.plan.hash, json.dumps(listed))
