"""Jobs on this machine: in this process, or in several that each have the model and one thread."""

import os
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

from vqa_explain.errors import VQAExplainError
from vqa_explain.evaluation.jobs import Done, Job, Workshop
from vqa_explain.models.sharing import network_held

AHEAD = 2  # jobs that wait for each worker, so that none stands idle and few examples are in memory
RETRIES = 3  # times that lost workers are replaced

_workshop: Workshop | None = None


def _open(packed: bytes) -> None:
    """In a worker: takes the model in, once."""
    import cloudpickle

    global _workshop
    _workshop = cloudpickle.loads(packed)


def _work(job: Job) -> Done:
    assert _workshop is not None
    return _workshop(job)


def default_workers(device: str) -> int:
    """One for each core, where the model is on the processor."""
    return (os.cpu_count() or 1) if device == "cpu" else 1


def run_here(workshop: Workshop, jobs: Iterator[Job]) -> Iterator[Done]:
    """One after another in this process."""
    return map(workshop, jobs)


def run_in_processes(workshop: Workshop, jobs: Iterator[Job], workers: int) -> Iterator[Done]:
    """In worker processes; one that is lost is replaced and its jobs are done again.

    Raises:
        VQAExplainError: workers were lost again and again.
    """
    import cloudpickle
    from loky import ProcessPoolExecutor

    # Not while another thread has hooks on the network: they would be copied with it.
    with network_held(workshop.model.module):
        packed = cloudpickle.dumps(workshop)
    waiting, lost = list[Job](), 0
    environment = {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }

    def start() -> Any:
        return ProcessPoolExecutor(workers, initializer=_open, initargs=(packed,), env=environment)

    executor, running = start(), dict[Future[Done], Job]()
    try:
        while True:
            while len(running) < workers * AHEAD:
                job = waiting.pop() if waiting else next(jobs, None)
                if job is None:
                    break
                running[executor.submit(_work, job)] = job
            if not running:
                return
            ready, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in sorted(ready, key=lambda f: running[f].number):
                job = running.pop(future)
                if isinstance(future.exception(), RuntimeError | OSError) and _is_lost(
                    future.exception()
                ):
                    waiting.append(job)
                else:
                    yield future.result()
            if waiting:
                lost += 1
                if lost > RETRIES:
                    raise VQAExplainError(
                        f"worker processes ended {lost} times without a word, most likely for want "
                        "of memory; run again with fewer workers, and what is finished is kept"
                    )
                waiting += running.values()
                running.clear()
                executor.shutdown(kill_workers=True)
                executor = start()
    finally:
        executor.shutdown(kill_workers=True)


def _is_lost(error: BaseException | None) -> bool:
    from concurrent.futures.process import BrokenProcessPool

    return isinstance(error, BrokenProcessPool)
