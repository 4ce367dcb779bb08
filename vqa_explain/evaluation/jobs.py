"""Pieces of an evaluation that can be done anywhere: a shard of examples,
or some rows of EMAP's grid.
"""

import json
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vqa_explain import plugins
from vqa_explain._memory import may_pass
from vqa_explain._threads import one_thread
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.evaluation.data import Unreadable, can_be_indexed
from vqa_explain.evaluation.judging import ERROR, Judge, Row, said, table_of
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.shards import (
    COLUMN,
    CREDITS,
    DAMAGED,
    EXAMPLES,
    GRID,
    GRID_ROWS,
    GRID_SCHEMA,
    LACKING,
    LOST,
    OWN,
    ROW,
    STAMPS,
    read_shard,
)
from vqa_explain.evaluation.stamps import Stamp, row_stamp
from vqa_explain.evaluation.store import (
    PLACE,
    PLAN_HASH,
    as_bytes,
    place_of,
)
from vqa_explain.examples import Example
from vqa_explain.metrics.additive import Emap, row_of_grid, stacked_scores
from vqa_explain.metrics.base import Metric, credits_of, held_by_example, lacking
from vqa_explain.models.base import Model
from vqa_explain.own_fills import Fill

TRIES = 3  # calls that try an example which fails by errors of the system
Judged = Callable[[bool], None]  # told of each example whether it failed


@dataclass(frozen=True)
class Redo:
    """What of a finished shard no longer holds.

    Attributes:
        table: the shard's file; `None` until it is read.
        examples: the indices of the rows that changed.
        methods, metrics: the texts of those whose code changed.
        tries: of rows that failed by the system, how many calls have tried them.
    """

    table: bytes | None = None
    examples: frozenset[int] = frozenset()
    methods: frozenset[str] = frozenset()
    metrics: frozenset[str] = frozenset()
    tries: Mapping[int, int] = field(default_factory=dict)


@dataclass
class Resumed:
    """The finished shards that hold as they are;
    and files of those of which some rows are computed again.

    Attributes:
        examples: how many examples the shards that hold have.
    """

    finished: set[int] = field(default_factory=set)
    examples: int = 0
    redo: dict[int, tuple[Path, Redo]] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """One piece of work: a shard's number and its examples.

    Attributes:
        items: (index, example) to judge; with an indexed data set, the index alone and `None`.
        rows: of a grid: the positions in `items` whose questions are this piece's.
        redo: where only a part of the shard is to be computed again.
        stamp: of a grid: what all its rows are.
        given_up: the examples at which worker processes were lost again and again, and how.
    """

    kind: str
    number: int
    items: tuple[tuple[int, Example | None], ...]
    rows: tuple[int, ...] = ()
    redo: Redo | None = None
    stamp: str = ""
    given_up: Mapping[int, str] = field(default_factory=dict)

    @property
    def of_examples(self) -> bool:
        """Whether examples are judged, and told one by one."""
        return self.kind == EXAMPLES


@dataclass(frozen=True)
class Done:
    """What a job gave: the shard's file, the explanations kept, how many examples,
    and the errors among them.
    """

    kind: str
    number: int
    content: bytes
    kept: dict[str, bytes]
    examples: int
    errors: tuple[str, ...]


@dataclass
class Workshop:
    """A model, a plan and perhaps a data set that can be indexed: all that a process needs to do
    jobs.

    Attributes:
        own: methods and metrics of the user's own, which a worker does not know.
        fills: those of the user's own that the plan names.
    """

    model: Model
    plan: Plan
    dataset: Any = None
    own: tuple[type[Any], ...] = field(default_factory=plugins.own)
    fills: tuple[Fill, ...] = ()
    _judge: Judge | None = field(default=None, repr=False)

    def __call__(self, job: Job, judged: Judged = lambda failed: None) -> Done:
        """Does a job; `judged` is told after each example whether it failed."""
        if self._judge is None:
            plugins.adopt(self.own, self.fills)
            self._judge = Judge(self.model, self.plan)
        with one_thread(self.model.device):
            return self._grid(job) if job.kind == GRID else self._examples(job, self._judge, judged)

    def _items(self, job: Job) -> Iterator[tuple[int, Example]]:
        for index, example in job.items:
            if index in job.given_up:
                yield index, _lost(index, job.given_up[index])
            else:
                yield index, self.dataset[index] if example is None else example

    def _examples(self, job: Job, judge: Judge, judged: Judged) -> Done:
        stamps: dict[int, Stamp] = {}
        rows: list[Row] = []
        known = _by_index(job.redo)
        for index, example in self._items(job):
            before = len(rows)
            if index not in job.given_up:  # before the picture is read
                stamps[index] = row_stamp(example, self.plan.pictures)
            if job.redo is None or index in job.redo.examples or index not in known:
                rows += judge(index, example)
            else:
                rows += judge.again(
                    index, example, known[index], job.redo.methods, job.redo.metrics
                )
            judged(any(row["metric"] == ERROR for row in rows[before:]))
        wrong = {
            row["index"]: f"example {row['index']}: {row['note']}"
            for row in rows
            if row["metric"] == ERROR
        }
        for index, told in _to_try_again(job, judge).items():
            stamps[index] = {**stamps.get(index, {}), LOST: told}
        judge.passing.clear()
        judge.of_system.clear()
        kept, judge.kept = judge.kept, {}
        table = table_of(rows, self._about(job, stamps))
        return Done(
            EXAMPLES, job.number, as_bytes(table), kept, len(job.items), tuple(wrong.values())
        )

    def _grid(self, job: Job) -> Done:
        """Means over pictures for this piece's questions, and sums over them for every picture."""
        usable, pictures, lacking_rows = [], [], {}
        for index, example in self._items(job):
            try:
                lacks = lacking(cast(Metric, Emap()), held_by_example(example))
                if lacks:
                    lacking_rows[index] = lacks
                    continue
                pictures.append(self.model.encode(example))
                usable.append((index, example))
            # Of any kind: it is an error, too, where the example itself is judged.
            except Exception as error:
                if may_pass(error):  # in another piece the row may be there, and sums would differ
                    raise _no_grid(index, error) from error
                lacking_rows[index] = said(error)
        places = {index: place for place, (index, _) in enumerate(usable)}
        found: list[dict[str, Any]] = []
        columns = np.zeros((len(usable), len(self.model.labels or ())))
        for row in job.rows:
            index = job.items[row][0]
            if index in lacking_rows:
                found.append({"part": LACKING, "index": index, "note": lacking_rows[index]})
                continue
            place = places[index]
            try:
                scores = row_of_grid(self.model, usable[place][1], pictures)
            except Exception as error:  # of any kind, since it may be of the user's network
                raise _no_grid(index, error) from error
            values = {
                ROW: scores.mean(axis=0),
                OWN: stacked_scores(self.model, pictures[place : place + 1])[0],
                CREDITS: np.array(credits_of(self.model, pictures[place])),
            }
            for part, one in values.items():
                found.append({"part": part, "index": index, "values": one.tolist()})
            columns += scores
        for (index, _), column in zip(usable, columns, strict=True):
            found.append({"part": COLUMN, "index": index, "values": column.tolist()})
        table = pa.Table.from_pylist(
            found, schema=GRID_SCHEMA.with_metadata(self._about(job, job.stamp))
        )
        return Done(GRID, job.number, as_bytes(table), {}, 0, ())

    def _about(self, job: Job, rows: Any) -> dict[str, str]:
        """A shard's metadata: whose it is, which one, and what its rows depend on."""
        stamps = {"rows": rows, "versions": self.plan.versions, "code": self.plan.code}
        return {
            PLAN_HASH.decode(): self.plan.hash,
            PLACE.decode(): place_of(job.kind, job.number),
            STAMPS.decode(): json.dumps(stamps),
        }


def _to_try_again(job: Job, judge: Judge) -> dict[int, str]:
    """The rows that a later call tries again → how many calls have tried them, where that counts.

    Whether the system or a user's code is at fault for an error of the system cannot be told, so
    after some calls it counts as the example's own.
    """
    before = {} if job.redo is None else job.redo.tries
    tries = {index: before.get(index, 0) + 1 for index in judge.of_system}
    found = {index: str(count) for index, count in tries.items() if count < TRIES}
    return found | dict.fromkeys((*job.given_up, *judge.passing), "")


def _no_grid(index: int, error: Exception) -> VQAExplainError:
    return VQAExplainError(
        f"EMAP's grid cannot be computed at example {index}: {said(error)}; leave emap out, or mend "
        "it, and the same call goes on: what is finished is kept"
    )


def _by_index(redo: Redo | None) -> dict[int, list[Row]]:
    """The rows of a finished shard, by their example."""
    found: dict[int, list[Row]] = {}
    if redo is not None and redo.table is not None:
        for row in pq.read_table(
            pa.BufferReader(redo.table), page_checksum_verification=True
        ).to_pylist():
            found.setdefault(row["index"], []).append(row)
    return found


def example_jobs(dataset: Iterable[Example], plan: Plan, resumed: Resumed) -> Iterator[Job]:
    """The shards that are not there yet, or not as they should be.

    A data set that has an order and a length is not read here.
    """
    if can_be_indexed(dataset):
        total = len(dataset) if plan.limit is None else min(plan.limit, len(dataset))  # type: ignore[arg-type]
        parts: Iterator[tuple[tuple[int, Example | None], ...]] = (
            tuple((i, None) for i in range(start, min(start + plan.shard, total)))
            for start in range(0, total, plan.shard)
        )
    else:
        parts = _parts(enumerate(islice(iter(dataset), plan.limit)), plan.shard)
    for number, part in enumerate(parts):
        if number not in resumed.finished:
            yield Job(EXAMPLES, number, part, redo=_read(resumed, number, plan))


def _parts(
    reader: Iterator[tuple[int, Example]], size: int
) -> Iterator[tuple[tuple[int, Example], ...]]:
    """The examples in shards; where they end in an error, it comes after the last of them."""
    part: list[tuple[int, Example]] = []
    trouble: Unreadable | None = None
    try:
        for numbered in reader:
            part.append(numbered)
            if len(part) == size:
                yield tuple(part)
                part = []
    except Unreadable as error:
        trouble = error
    if part:
        yield tuple(part)
    if trouble is not None:
        raise trouble


def _lost(index: int, how: str) -> Example:
    """An example in place of one at which worker processes were lost."""
    return Example(image=InvalidInput(how), id=str(index))


def _read(resumed: Resumed, number: int, plan: Plan) -> Redo | None:
    """What is to be done again of a shard, with its file; everything where the file is damaged."""
    if number not in resumed.redo:
        return None
    path, redo = resumed.redo[number]
    content = path.read_bytes()
    try:
        read_shard(pa.BufferReader(content), len(content), EXAMPLES, number, plan)
    except DAMAGED:
        return None
    return replace(redo, table=content)


def grid_jobs(
    dataset: Iterable[Example], plan: Plan, count: int, finished: set[int], stamp: str
) -> Iterator[Job]:
    """The pieces of the grid over the first `count` examples that are not there yet."""
    most = count if plan.limit is None else min(count, plan.limit)
    items: tuple[tuple[int, Example | None], ...]
    if can_be_indexed(dataset):
        items = tuple((i, None) for i in range(min(most, len(dataset))))  # type: ignore[arg-type]
    else:
        items = tuple(enumerate(islice(iter(dataset), most)))
    for number, start in enumerate(range(0, len(items), GRID_ROWS)):
        if number not in finished:
            yield Job(
                GRID,
                number,
                items,
                tuple(range(start, min(start + GRID_ROWS, len(items)))),
                stamp=stamp,
            )


class Jobs:
    """Jobs to give out: those that came back first, then those of an iterator."""

    def __init__(self, jobs: Iterator[Job]) -> None:
        self._jobs, self._waiting = jobs, deque[Job]()
        self._trouble: Exception | None = None

    def __iter__(self) -> Iterator[Job]:
        """What is left, one by one; then what reading jobs raised."""
        while (job := self.take()) is not None:
            yield job
        self.check()

    def take(self) -> Job | None:
        """The next job; `None` where there is none now."""
        self.look_ahead()
        return self._waiting.popleft() if self._waiting else None

    def give_back(self, job: Job) -> None:
        """A job that is to be done again, before others."""
        self._waiting.appendleft(job)

    @property
    def has_more(self) -> bool:
        """Whether there is a job to take now."""
        self.look_ahead()
        return bool(self._waiting)

    def look_ahead(self) -> None:
        """Reads one job ahead, while others are busy; reading may take a while."""
        if self._waiting or self._trouble is not None:
            return
        try:
            following = next(self._jobs, None)
        except Exception as error:  # of any kind: it is raised when the others are done
            self._trouble = error
            return
        if following is not None:
            self._waiting.append(following)

    def check(self) -> None:
        """Raises what reading jobs raised."""
        if self._trouble is not None:
            raise self._trouble
