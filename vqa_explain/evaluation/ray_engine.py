"""Jobs on Ray: tasks over the same shard function; the model is put into the object store once."""

import logging
import os
import pickle
import socket
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any
from uuid import uuid4

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.evaluation.jobs import Done, Job, Jobs, Workshop
from vqa_explain.evaluation.ray_data import RemoteRows, with_examples
from vqa_explain.evaluation.workers import Workers, packed

RETRIES = 5  # times that Ray does a job again whose worker was lost
ANSWERS = 10.0  # seconds in which a cluster's address must answer
AHEAD = 2  # jobs that wait for each processor, so that none stands idle and few are in memory
# With "0", a Ray that begins now listens on 127.0.0.1 alone, on any system and not only on those in
# its name. Ray reads it when it is imported.
_HERE_ALONE = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"

# Of a worker process, by run.
_workshops: dict[str, Workshop] = {}
_crews: dict[str, Workers] = {}


def run_on_ray(
    workshop: Workshop,
    jobs: Iterator[Job],
    workers: int | None,
    address: str | None,
    timeout: float | None = None,
    reading: RemoteRows | None = None,
) -> Generator[Done, None, None]:
    """On a cluster's address, or on a Ray of this machine's own with `workers` processes.

    Args:
        timeout: seconds that one example may take; `None` for any time.
        reading: the rows of the jobs, where Ray Data reads them.

    Raises:
        InvalidInput: Ray is not installed or does not start, there is no cluster at the address, or
            none of its nodes has the GPU that the model is on.
        VQAExplainError: Ray gave up a job, whose workers were lost again and again.
    """
    with _reached_from_here_alone() if address is None else nullcontext():
        try:
            import ray
        except ImportError as error:
            raise InvalidInput(
                "engine 'ray' needs Ray; run: pip install 'vqa_explain[ray]'"
            ) from error
        ours = not ray.is_initialized()
        if ours:
            _start(ray, workers, address)
    try:
        run = uuid4().hex  # a worker may outlive the run; the next one's code or data may differ
        gpus = 1 if workshop.model.device.type == "cuda" else 0
        at_once = _most_at_once(ray.cluster_resources(), gpus)
        sent = ray.put(packed(workshop))
        # By default Ray ends a process that used a GPU after each job, and the model with it.
        task = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES, max_calls=0)(_work)
        most = AHEAD * at_once
        source, running = Jobs(jobs), dict[Any, Job]()
        while True:
            while len(running) < most and (job := source.take()) is not None:
                # Within a list the model stays a reference, and a worker fetches it once.
                running[task.remote([sent], run, job, timeout)] = job
            if not running:
                source.check()
                return
            ready, _ = ray.wait(list(running))
            for one in ready:
                yield _result(ray, one, running.pop(one))
    finally:
        if reading is not None:
            reading.close()
        if ours:
            ray.shutdown()


def _most_at_once(has: dict[str, float], gpus: int) -> int:
    """How many jobs the cluster can do at once.

    Args:
        has: resource → how much of it the cluster has.
        gpus: how many a job needs.

    Raises:
        InvalidInput: it has none, for which Ray would wait without end.
    """
    if gpus and has.get("GPU", 0) < gpus:
        raise InvalidInput(
            "the model is on a GPU, and no node of the Ray cluster has one; load the model with "
            "device='cpu', or start a node that has a GPU"
        )
    return max(1, int(has.get("GPU" if gpus else "CPU", 1)))


@contextmanager
def _reached_from_here_alone() -> Iterator[None]:
    """Inside, a Ray that is imported and begins is reached from this machine alone."""
    before = os.environ.get(_HERE_ALONE)
    os.environ[_HERE_ALONE] = "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HERE_ALONE]
        else:
            os.environ[_HERE_ALONE] = before


def _start(ray: Any, workers: int | None, address: str | None) -> None:
    """Starts a Ray of this machine's own, or connects to a cluster."""
    if address is not None:
        _check_answers(address)
    options: dict[str, Any] = {"address": address}
    variables = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    if address is None:
        options = {"num_cpus": workers, "include_dashboard": False}
        # This process's own path, since what the user's code imports is found by it.
        variables["PYTHONPATH"] = os.pathsep.join(
            str(Path(folder).absolute()) for folder in sys.path
        )
    try:
        ray.init(
            log_to_driver=False,
            logging_level=logging.ERROR,
            runtime_env={"env_vars": variables},
            **options,
        )
    except Exception as error:  # of many kinds, from wrong addresses to processes that do not start
        if address is not None:
            raise _no_cluster(address, error) from error
        told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise InvalidInput(
            f"Ray does not start on this machine ({told}); engine='local' needs no Ray"
        ) from error


def _no_cluster(address: str, error: Exception) -> InvalidInput:
    told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return InvalidInput(
        f"no Ray cluster answers at {address!r} ({told}); start one with `ray start --head`, or "
        "leave the address out"
    )


def _check_answers(address: str) -> None:
    """Refuses an address where nothing listens, for which Ray would wait many minutes.

    Raises:
        InvalidInput: nothing answers there.
    """
    if not isinstance(address, str):
        raise InvalidInput(f"address is a text such as '10.0.0.1:6379', not {address!r}")
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):  # such as "auto"
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWERS).close()
    except (OSError, OverflowError, UnicodeError) as error:
        raise _no_cluster(address, error) from error


def _result(ray: Any, one: Any, job: Job) -> Done:
    """What a task gave; an error of the job itself is raised as it is."""
    try:
        done: Done = ray.get(one)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ray.exceptions.RayError):  # what it was to read is gone
            raise _given_up(job, error.cause) from error
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise _given_up(job, error) from error
    return done


def _given_up(job: Job, error: Exception) -> VQAExplainError:
    return VQAExplainError(
        f"shard {job.number}: Ray lost its workers {RETRIES + 1} times, or what they were to read "
        f"({type(error).__name__}), most likely for want of memory; give Ray fewer processors, and "
        "the same call goes on: what is finished is kept"
    )


def _work(sent: list[Any], run: str, job: Job, timeout: float | None) -> Done:
    """Does a job in this process, or, where the time of an example is limited, in one of its own
    that can be ended.
    """
    import ray

    job = with_examples(job)
    if timeout is None:
        if run not in _workshops:
            _workshops.clear()  # the model of an earlier run, which may fill the memory
            _workshops[run] = _read_here(ray.get(sent[0]))
        return _workshops[run](job)
    if run not in _crews:
        for other in _crews.values():
            other.close()
        _crews.clear()
        _crews[run] = Workers(ray.get(sent[0]), 1, _Nobody(), timeout)
    (done,) = _crews[run].do(Jobs(iter([job])))
    return done


def _read_here(content: bytes) -> Workshop:
    """The workshop in this process.

    Raises:
        InvalidInput: what the user's own code needs is not here.
    """
    try:
        found: Workshop = pickle.loads(content)
    except Exception as error:  # of any kind: classes of the user's own are imported here
        raise InvalidInput(
            f"a worker of Ray cannot read the model, the data set or a method ("
            f"{type(error).__name__}: {error}); install on each node what they are of, in the same "
            "versions"
        ) from error
    return found


class _Nobody:
    """Is told how far jobs are, and tells nobody."""

    def judged(self, job: Job, failed: bool) -> None: ...

    def lost(self, job: Job) -> None: ...
