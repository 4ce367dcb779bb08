"""Worker processes of this machine, each of which can be lost and is replaced."""

import logging
import math
import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol

from vqa_explain.errors import InvalidInput, VQAExplainError, unwritable
from vqa_explain.evaluation import worker as worker_process
from vqa_explain.evaluation.jobs import Done, Job, Jobs, Workshop
from vqa_explain.models.sharing import network_held

log = logging.getLogger("vqa_explain")

SILENCE = 60.0  # seconds without a sign of life, after which a worker is replaced
TURN = 1.0  # seconds that are waited for workers at once
LOSSES = 3  # workers that may be lost at one example before it is given up
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
# The parent's own path, since what the user's code imports is found by it.
_START = (
    "import sys; sys.path[:] = {path!r}; "
    "from vqa_explain.evaluation.worker import work; work({channel}, {workshop}, {parent})"
)


class Watch(Protocol):
    """Who is told how far jobs are."""

    def judged(self, job: Job, failed: bool) -> None:
        """One more example of the job is judged, perhaps with an error."""

    def lost(self, job: Job) -> None:
        """The job begins anew."""


class Workers:
    """Processes that each have the model and one thread.

    A worker that ends, or gives no sign of life for `SILENCE` seconds, is replaced, and its job is
    done again. Losses are counted for each example: one that takes several workers with it is
    given up, noted as an error, and the rest goes on. So is one that takes longer than it may, at
    once. All workers end with the block, and when this process ends, however it ends.

    Args:
        workshop: what each process needs to do jobs, or that as `packed` gives it.
        most: how many processes; fewer start where there are fewer jobs.
        watch: who is told of every example.
        timeout: seconds that one example may take; `None` for any time.

    Raises:
        InvalidInput: the model, the data or a method cannot be sent to another process.
    """

    def __init__(
        self,
        workshop: Workshop | bytes,
        most: int,
        watch: Watch,
        timeout: float | None = None,
    ) -> None:
        self._most, self._watch, self._timeout = most, watch, timeout
        self._packed = _in_file(workshop if isinstance(workshop, bytes) else packed(workshop))
        self._workers: list[_Worker] = []
        self._losses: Counter[tuple[str, int, int]] = Counter()
        self._in_a_row = 0  # losses since an example was last judged

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.end()
        os.close(self._packed)

    def do(self, source: Jobs) -> Iterator[Done]:
        """The results of jobs as they come. What reading jobs raised is raised when all that was
        begun is done.

        Raises:
            VQAExplainError: workers were lost again and again before they judged anything.
        """
        while True:
            self._hand_out(source)
            if not any(worker.job for worker in self._workers):
                source.check()
                return
            yield from self._turn(source)

    def _hand_out(self, source: Jobs) -> None:
        """Gives each idle worker a job, and starts workers while there are jobs."""
        idle = [worker for worker in self._workers if worker.job is None]
        while idle or len(self._workers) < self._most:
            job = source.take()
            if job is None:
                return
            if not idle:
                idle.append(_started(self._packed))
                self._workers += idle
            worker = idle.pop()
            try:
                worker.give(job)
            except OSError:  # it ended, or it was stopped
                self._replace(worker, source, "took no job")
        source.look_ahead()

    def _turn(self, source: Jobs) -> Iterator[Done]:
        """Waits for messages for a while; the results among them."""
        began = time.monotonic()
        ready = wait([worker.channel for worker in self._workers], TURN)
        # Time in which this process itself was stopped or busy says nothing of workers.
        waited = min(time.monotonic() - began, TURN)
        found: list[Done] = []
        for worker in list(self._workers):
            worker.passed(waited)
            if worker.channel in ready:
                try:
                    message = worker.hear()
                except (EOFError, OSError):
                    self._replace(worker, source, worker.ending())
                    continue
                found += self._heard(worker, *message)
            if worker.silent > SILENCE:
                self._replace(worker, source, f"gave no sign of life for {SILENCE:g} s")
            elif self._timeout is not None and worker.at_work > self._timeout:
                self._give_up(worker, source, self._timeout)
        yield from found

    def _heard(self, worker: "_Worker", kind: str, *content: Any) -> list[Done]:
        """What a message of a worker gives."""
        if kind == worker_process.BEGUN:
            worker.at_work = 0.0
        elif kind == worker_process.JUDGED:
            assert worker.job is not None
            if worker.next_index not in worker.job.given_up:
                self._in_a_row = 0
            worker.judged += 1
            worker.at_work = 0.0
            self._watch.judged(worker.job, content[0])
        elif kind == worker_process.RAISED:
            raise content[0]
        elif kind == worker_process.DONE:
            if worker.job is not None and not worker.job.of_examples:
                self._in_a_row = 0
            worker.job = None
            return list(content)
        return []

    def _give_up(self, worker: "_Worker", source: Jobs, timeout: float) -> None:
        """Ends a worker whose example takes longer than it may; the job is done again without."""
        job, index = worker.job, worker.next_index
        assert job is not None
        self._end(worker)
        self._watch.lost(job)
        log.warning(
            "example %d of shard %d took longer than %g s, and is given up",
            index, job.number, timeout,
        )  # fmt: skip
        told = (
            f"it took longer than example_timeout={timeout:g} seconds; mend it or allow more, and "
            "the same call tries it again"
        )
        source.give_back(replace(job, given_up={**job.given_up, index: told}))

    def _end(self, worker: "_Worker") -> None:
        worker.end()
        self._workers.remove(worker)

    def _replace(self, worker: "_Worker", source: Jobs, why: str) -> None:
        """Ends a worker; another one is started when its job is given out again."""
        self._end(worker)
        self._in_a_row += 1
        if self._in_a_row > LOSSES * self._most:
            raise VQAExplainError(
                f"{self._in_a_row} worker processes in a row were lost before they judged an "
                f"example (the last one {why}), most likely for want of memory; run again with "
                "fewer workers, and what is finished is kept"
            )
        if worker.job is not None:
            self._watch.lost(worker.job)
            source.give_back(self._without_the_fatal(worker.job, worker.next_index, why))

    def _without_the_fatal(self, job: Job, index: int, why: str) -> Job:
        """The job to do again; the example at which workers are lost is left out in the end."""
        at = (job.kind, job.number, index)
        self._losses[at] += 1
        log.warning(
            "a worker process %s at example %d of shard %d; another one does it again",
            why, index, job.number,
        )  # fmt: skip
        if self._losses[at] < LOSSES:
            return job
        told = f"{LOSSES} worker processes were lost at it; the last one {why}"
        if index < 0:
            raise VQAExplainError(
                f"piece {job.number} of {job.kind}: {told}; run again with fewer workers, and "
                "what is finished is kept"
            )
        return replace(job, given_up={**job.given_up, index: told})


@dataclass(eq=False)
class _Worker:
    """A process, its job, and how many of its examples are judged."""

    process: "subprocess.Popen[bytes]"
    channel: Connection
    job: Job | None = None
    judged: int = 0
    silent: float = 0.0  # seconds
    at_work: float = -math.inf  # seconds at its example; none before the job begins

    def passed(self, seconds: float) -> None:
        """So much time has passed, in which nothing was heard yet."""
        self.silent += seconds
        # What is left of a job behind its last example is not an example's.
        if self.next_index >= 0:
            self.at_work += seconds

    @property
    def next_index(self) -> int:
        """The example that it is at; -1 where it is at none."""
        if self.job is None or not self.job.of_examples or self.judged >= len(self.job.items):
            return -1
        return self.job.items[self.judged][0]

    def give(self, job: Job) -> None:
        content = _pickled(job, "an example")
        self.job, self.judged, self.at_work = job, 0, -math.inf
        self.channel.send_bytes(content)

    def hear(self) -> Any:
        self.silent = 0.0
        return pickle.loads(self.channel.recv_bytes())

    def ending(self) -> str:
        """How the process ended, in words."""
        try:
            code = self.process.wait(TURN)
        except subprocess.TimeoutExpired:
            return "closed its channel"
        return f"was ended by {_signal_name(-code)}" if code < 0 else f"ended with code {code}"

    def end(self) -> None:
        """Ends the process, even where it is stopped."""
        self.process.kill()
        self.process.wait()
        self.channel.close()


def _signal_name(number: int) -> str:
    known = {one.value: one.name for one in signal.Signals}
    return known.get(number, f"signal {number}")


def _started(packed: int) -> _Worker:
    """A new process, which reads the workshop by itself.

    It has a session of its own, so that Ctrl-C in a terminal reaches this process alone, which
    ends the workers.
    """
    ours, theirs = socket.socketpair()
    # A worker that is stopped in the middle of a message must not hold this process.
    limit = struct.pack("ll", int(SILENCE) + 1, 0)
    for option in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
        ours.setsockopt(socket.SOL_SOCKET, option, limit)
    channel = theirs.fileno()
    path = [str(folder) for folder in sys.path]
    code = _START.format(path=path, channel=channel, workshop=packed, parent=os.getpid())
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", code],
            stdin=subprocess.DEVNULL,
            env={**os.environ, **_ENVIRONMENT},
            pass_fds=(channel, packed),
            start_new_session=True,
        )
    except OSError as error:
        raise VQAExplainError(
            f"a worker process cannot be started ({error.strerror}); run again with fewer workers"
        ) from error
    finally:
        theirs.close()
    return _Worker(process, Connection(ours.detach()))


def packed(workshop: Workshop) -> bytes:
    """The workshop, to be sent to other processes.

    Raises:
        InvalidInput: something in it cannot be sent.
    """
    # Not while another thread has hooks on the network: they would be copied with it.
    with network_held(workshop.model.module):
        return _pickled(workshop, "the model, the data set or a method")


def _pickled(thing: Any, called: str) -> bytes:
    """The thing as bytes.

    Raises:
        InvalidInput: something in it cannot be sent to another process.
    """
    import cloudpickle

    try:
        content: bytes = cloudpickle.dumps(thing)
    except Exception as error:  # of any kind, since it is the objects' own code
        raise InvalidInput(
            f"{called} cannot be sent to worker processes ({type(error).__name__}: {error}); work "
            "in one process (workers=1)"
        ) from error
    return content


def _in_file(content: bytes) -> int:
    """A file descriptor of a file without a name; every worker reads it, and none copies it."""
    try:
        with tempfile.TemporaryFile() as file:
            file.write(content)
            file.flush()
            return os.dup(file.fileno())
    except OSError as error:
        raise unwritable(tempfile.gettempdir(), error) from error
