"""The examples of a run that are worth a look, and their explanations, kept in the run's folder."""

import json
import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from vqa_explain import registry
from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.data import can_be_indexed, first_rows
from vqa_explain.evaluation.judging import as_judged, said
from vqa_explain.evaluation.results import Results
from vqa_explain.evaluation.shards import EXAMPLES
from vqa_explain.evaluation.stamps import digest
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.files import without_link
from vqa_explain.methods import METHODS
from vqa_explain.metrics.base import LOWER
from vqa_explain.models.base import Model
from vqa_explain.reading import load_explanation

log = logging.getLogger("vqa_explain")

RUN = "run"  # in a gallery file's provenance: which results it belongs to
EXAMPLES_OF_A_KIND = 4
SUSPICIOUS, BEST, WORST = "suspicious", "best", "worst"
# By which metric examples are best and worst: the first of these that was asked for.
_PRIMARY = ("relevance_mass", "relevance_rank", "insertion", "comprehensiveness", "deletion")


@dataclass(frozen=True)
class Shown:
    """An example of the gallery: why it is there, and whose explanation is shown."""

    kind: str
    index: int
    method: str
    metric: str
    value: float

    @property
    def file(self) -> str:
        return f"{self.kind}-{self.index:07d}.vqax"


class Gallery:
    """The examples to look at, chosen by a run's results."""

    def __init__(self, results: Results) -> None:
        self._results = results
        self._folder = results.folder / "gallery"
        self.failures: dict[str, str] = {}  # file → why its explanation could not be made

    def chosen(self) -> list[Shown]:
        """Right for the wrong reason, best and worst."""
        plan, metrics = self._results.plan, self._results.metrics
        method = next(iter(plan.methods), None)
        primary = next((t for p in _PRIMARY for t, m in metrics.items() if m.name == p), None)
        if method is None or primary is None:
            return []
        sign = -1.0 if metrics[primary].better == LOWER else 1.0
        values = sign * self._results.values(primary, method).dropna()
        ordered = values.sort_values(kind="stable")
        picks = [(BEST, ordered.index[::-1]), (WORST, ordered.index)]
        if primary.startswith("relevance"):
            right = self._results.answered_right
            picks.insert(0, (SUSPICIOUS, pd.Index([i for i in ordered.index if i in right])))
        return [
            Shown(kind, int(index), method, primary, sign * float(values[index]))
            for kind, indices in picks
            for index in indices[:EXAMPLES_OF_A_KIND]
        ]

    def write(self, model: Model, dataset: Iterable[Example]) -> None:
        """Explains the chosen examples again, with the run's seed, and keeps the explanations.

        What fails is noted in `failures`: the numbers of the run do not depend on it.
        """
        chosen = self.chosen()
        files = {shown.file for shown in chosen}
        for path in self._folder.glob("*.vqax"):
            if path.name not in files:
                path.unlink()  # of results that no longer hold
        missing = self.unwritten()
        if not missing:
            return
        examples = _examples_at(dataset, {shown.index for shown in missing})
        for shown in missing:
            try:
                self._write_one(model, examples[shown.index], shown)
            except Exception as error:  # of any kind: the method may be the user's own
                self.failures[shown.file] = said(error)
                log.warning(
                    "example %d of the gallery cannot be explained again: %s",
                    shown.index, said(error),
                )  # fmt: skip

    def _write_one(self, model: Model, example: Example, shown: Shown) -> None:
        plan = self._results.plan
        method = registry.read("method", METHODS, shown.method)
        why = explain(
            model,
            as_judged(model, example),
            method=method.name,
            seed=plan.seed,
            **plan.divided,
            **registry.parameters_of(method),
        )
        provenance = {**why.provenance, RUN: self._run_of(shown)}
        replace(why, provenance=provenance).save(without_link(self._folder / shown.file))

    def unwritten(self) -> list[Shown]:
        """The chosen examples whose explanations are not kept yet."""
        return [shown for shown in self.chosen() if self._kept(shown) is None]

    def explained(self) -> list[tuple[Shown, Explanation]]:
        """The chosen examples whose explanations are kept."""
        kept = [(shown, self._kept(shown)) for shown in self.chosen()]
        return [(shown, why) for shown, why in kept if why is not None]

    def _kept(self, shown: Shown) -> Explanation | None:
        """The explanation that belongs to the results, if it is there."""
        path: Path = self._folder / shown.file
        if not path.is_file():
            return None
        try:
            found = load_explanation(path)
        except InvalidInput:  # damaged: it is made again
            return None
        return found if found.provenance.get(RUN) == self._run_of(shown) else None

    def _run_of(self, shown: Shown) -> str:
        """A hash of the plan and of what the example's rows depend on.

        A gallery's file is known by it.
        """
        plan = self._results.plan
        of_shard = self._stamps.get(shown.index // plan.shard, {})
        row = of_shard.get("rows", {}).get(str(shown.index))
        return digest(
            plan.hash,
            shown.method,
            json.dumps([row, of_shard.get("versions"), of_shard.get("code")]),
        )

    @cached_property
    def _stamps(self) -> dict[int, dict[str, Any]]:
        stamped = self._results.store.stamped(EXAMPLES, self._results.plan)
        return {number: stamps for number, (_, stamps) in stamped.items()}


def _examples_at(dataset: Any, indices: set[int]) -> dict[int, Example]:
    """The examples at these places."""
    if can_be_indexed(dataset):
        return {index: dataset[index] for index in indices}
    last = max(indices, default=-1)
    return {
        index: example
        for index, example in enumerate(first_rows(dataset, last + 1))
        if index in indices
    }
