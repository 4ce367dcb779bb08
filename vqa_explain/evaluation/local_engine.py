"""Jobs on this machine: in this process, or in several that each have the model and one thread."""

import logging
import os
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.jobs import Done, Job, Jobs, Judged, Workshop
from vqa_explain.evaluation.tally import Tally
from vqa_explain.evaluation.workers import Workers

log = logging.getLogger("vqa_explain")

START = 5.0  # seconds until workers have torch and the model: two of them on two cores


def default_workers(device: str) -> int:
    """One for each core, where the model is on the processor."""
    return (os.cpu_count() or 1) if device == "cpu" else 1


def run_here(workshop: Workshop, jobs: Iterable[Job], tally: Tally) -> Generator[Done, None, None]:
    """One after another in this process."""
    for job in jobs:
        yield workshop(job, partial(tally.judged, job))


def run_in_processes(
    workshop: Workshop,
    jobs: Iterator[Job],
    most: int,
    tally: Tally,
    timeout: float | None = None,
) -> Generator[Done, None, None]:
    """In worker processes; one that is lost is replaced and its job is done again.

    Args:
        timeout: seconds that one example may take; `None` for any time.

    Raises:
        InvalidInput: the model, the data or a method cannot be sent to another process.
        VQAExplainError: workers were lost again and again.
    """
    with Workers(workshop, most, tally, timeout) as workers:
        yield from workers.do(Jobs(jobs))


def run_where_it_pays(
    workshop: Workshop,
    jobs: Iterator[Job],
    most: int,
    tally: Tally,
    clock: Callable[[], float] = time.perf_counter,
) -> Generator[Done, None, None]:
    """In this process, until what is left would take workers less time than they take to start.

    The first examples tell how long one takes. The shard that is begun when workers start is
    begun anew by one of them.
    """
    source, pace = Jobs(jobs), _Pace(tally, most, clock)
    while not (pace.workers_pay() and source.has_more):
        job = source.take()
        if job is None:
            source.check()
            return
        try:
            done = workshop(job, _told_at_pace(tally, job, source, pace))
        except _HandedOver:
            tally.lost(job)
            source.give_back(job)
            break
        pace.job(job)
        yield done
    try:
        workers = Workers(workshop, most, tally)
    except InvalidInput as error:
        log.warning("%s; this run goes on in one process", error)
        yield from run_here(workshop, source, tally)
        return
    with workers:
        yield from workers.do(source)


class _HandedOver(Exception):
    """Workers pay, and the job that this process does is theirs."""


class _Pace:
    """How long examples take in this process, and whether workers would pay."""

    def __init__(self, tally: Tally, most: int, clock: Callable[[], float]) -> None:
        self._tally, self._most, self._clock = tally, most, clock
        self._began = self._last = clock()
        self._first = 0.0
        self._count = 0
        self._beside = 0.0  # seconds of work that is counted by no example

    def example(self) -> None:
        """One more is judged."""
        self._last = self._clock()
        self._count += 1
        if self._count == 1:
            self._first = self._last - self._began

    def job(self, job: Job) -> None:
        """One more is done."""
        now = self._clock()
        if not job.of_examples:
            self._beside += now - self._last
        self._last = now

    @property
    def _each(self) -> float:
        """Seconds for an example. The first also warms up, which is told from work by its length:
        no warming up takes as long as a start.
        """
        if self._count < 2:
            return self._first if self._first > START else 0.0
        return (self._last - self._began - self._first - self._beside) / (self._count - 1)

    def workers_pay(self) -> bool:
        """Whether they would save more than their start costs.

        Where it is not known how much is left, they start when as much time is spent as they cost:
        then a run takes at most twice the time of the better choice.
        """
        left = self._tally.left
        if left is None or self._beside:
            return self._last - self._began > START
        return left * self._each * (1 - 1 / self._most) > START


def _told_at_pace(tally: Tally, job: Job, source: Jobs, pace: _Pace) -> Judged:
    judged = 0

    def told(failed: bool) -> None:
        nonlocal judged
        judged += 1
        tally.judged(job, failed)
        pace.example()
        # What is finished with this example is kept, and a single shard cannot be shared.
        if judged < len(job.items) and source.has_more and pace.workers_pay():
            raise _HandedOver

    return told
