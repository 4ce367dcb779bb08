"""Pieces of an evaluation that can be done anywhere: a shard of examples, or some rows of EMAP's grid."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa

from vqa_explain import plugins
from vqa_explain.errors import VQAExplainError
from vqa_explain.evaluation.judging import ERROR, Judge, table_of
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.store import EXAMPLES, GRID, PLAN_HASH, as_bytes
from vqa_explain.examples import Example
from vqa_explain.metrics.additive import row_of_grid, stacked_scores
from vqa_explain.metrics.base import right_answers
from vqa_explain.models.base import Model
from vqa_explain.threads import one_thread

GRID_ROWS = 10  # questions in one piece of the grid
GRID_SCHEMA = pa.schema(
    {"part": pa.string(), "index": pa.int64(), "answer": pa.int64(), "values": pa.list_(pa.float64())}
)


@dataclass(frozen=True)
class Job:
    """One piece of work: a shard's number and its examples.

    Attributes:
        items: (index, example) to judge; with an indexed data set, the index alone and `None`.
        rows: of a grid: the positions in `items` whose questions are this piece's.
    """

    kind: str
    number: int
    items: tuple[tuple[int, Example | None], ...]
    rows: tuple[int, ...] = ()


@dataclass(frozen=True)
class Done:
    """What a job gave: the shard's file, the explanations kept, how many examples, and the errors among them."""

    kind: str
    number: int
    content: bytes
    kept: dict[str, bytes]
    examples: int
    errors: tuple[str, ...]


@dataclass
class Workshop:
    """A model, a plan and perhaps a data set that can be indexed: all that a process needs to do jobs.

    Attributes:
        own: methods and metrics of the user's own, which a worker does not know.
    """

    model: Model
    plan: Plan
    dataset: Any = None
    own: tuple[type[Any], ...] = field(default_factory=plugins.own)
    _judge: Judge | None = field(default=None, repr=False)

    def __call__(self, job: Job) -> Done:
        if self._judge is None:
            plugins.adopt(self.own)
            self._judge = Judge(self.model, self.plan)
        with one_thread(self.model.device):
            return self._grid(job) if job.kind == GRID else self._examples(job, self._judge)

    def _items(self, job: Job) -> Iterator[tuple[int, Example]]:
        for index, example in job.items:
            yield index, self.dataset[index] if example is None else example

    def _examples(self, job: Job, judge: Judge) -> Done:
        rows = [row for index, example in self._items(job) for row in judge(index, example)]
        wrong = {row["index"]: f"example {row['index']}: {row['note']}" for row in rows if row["metric"] == ERROR}
        kept, judge.kept = judge.kept, {}
        table = table_of(rows, {PLAN_HASH.decode(): self.plan.hash})
        return Done(EXAMPLES, job.number, as_bytes(table), kept, len(job.items), tuple(wrong.values()))

    def _grid(self, job: Job) -> Done:
        """Means over pictures for this piece's questions, and sums over them for every picture."""
        usable, pictures = [], []
        for index, example in self._items(job):
            try:
                pictures.append(self.model.encode(example))
                usable.append((index, example))
            except VQAExplainError:  # counted where the example itself is judged
                continue
        labels = self.model.labels or ()
        found, columns = [], np.zeros((len(usable), len(labels)))
        for row in job.rows:
            position = next((p for p, (index, _) in enumerate(usable) if index == job.items[row][0]), None)
            if position is None:
                continue
            index, example = usable[position]
            scores = row_of_grid(self.model, example, pictures)
            own = stacked_scores(self.model, pictures[position : position + 1])[0]
            number = next(iter(right_answers(labels, example, fixed=True)), -1)
            found.append({"part": "row", "index": index, "answer": number, "values": scores.mean(axis=0).tolist()})
            found.append({"part": "own", "index": index, "answer": number, "values": own.tolist()})
            columns += scores
        for (index, _), values in zip(usable, columns, strict=True):
            found.append({"part": "column", "index": index, "answer": None, "values": values.tolist()})
        about = GRID_SCHEMA.with_metadata({PLAN_HASH.decode(): self.plan.hash})
        table = pa.Table.from_pylist(found, schema=about)
        return Done(GRID, job.number, as_bytes(table), {}, 0, ())


def example_jobs(dataset: Iterable[Example], plan: Plan, finished: set[int]) -> Iterator[Job]:
    """The shards that are not there yet. A data set that has an order and a length is not read here."""
    indexed = can_be_indexed(dataset)
    if indexed:
        total = len(dataset) if plan.limit is None else min(plan.limit, len(dataset))  # type: ignore[arg-type]
        for number, start in enumerate(range(0, total, plan.shard)):
            if number not in finished:
                yield Job(EXAMPLES, number, tuple((i, None) for i in range(start, min(start + plan.shard, total))))
        return
    reader = enumerate(islice(iter(dataset), plan.limit))
    number = 0
    while part := tuple(islice(reader, plan.shard)):
        if number not in finished:
            yield Job(EXAMPLES, number, part)
        number += 1


def grid_jobs(dataset: Iterable[Example], plan: Plan, count: int, finished: set[int]) -> Iterator[Job]:
    """The pieces of the grid over the first `count` examples that are not there yet."""
    most = count if plan.limit is None else min(count, plan.limit)
    items: tuple[tuple[int, Example | None], ...]
    if can_be_indexed(dataset):
        items = tuple((i, None) for i in range(min(most, len(dataset))))  # type: ignore[arg-type]
    else:
        items = tuple(enumerate(islice(iter(dataset), most)))
    for number, start in enumerate(range(0, len(items), GRID_ROWS)):
        if number not in finished:
            yield Job(GRID, number, items, tuple(range(start, min(start + GRID_ROWS, len(items)))))


def can_be_indexed(dataset: Any) -> bool:
    """Whether workers can take examples from it by number."""
    return isinstance(dataset, Sequence) or (hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__"))
