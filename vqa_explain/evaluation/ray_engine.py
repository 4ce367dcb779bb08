"""Jobs on Ray: tasks over the same shard function; the model is put into the object store once."""

import logging
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.jobs import Done, Job, Workshop
from vqa_explain.evaluation.local_engine import AHEAD

RETRIES = 5  # times that Ray does a job again whose worker was lost

_workshops: dict[str, Workshop] = {}  # of a worker process, by run


def run_on_ray(
    workshop: Workshop, jobs: Iterator[Job], workers: int | None, address: str | None
) -> Iterator[Done]:
    """On a cluster's address, or on a Ray of this machine's own with `workers` processes.

    Raises:
        InvalidInput: Ray is not installed, or there is no cluster at the address.
    """
    try:
        import ray
    except ImportError as error:
        raise InvalidInput("engine 'ray' needs Ray; run: pip install 'vqa_explain[ray]'") from error
    import cloudpickle

    ours = not ray.is_initialized()
    if ours:
        options: dict[str, Any] = (
            {"num_cpus": workers, "include_dashboard": False}
            if address is None
            else {"address": address}
        )
        try:
            ray.init(
                log_to_driver=False,
                logging_level=logging.ERROR,
                runtime_env={
                    "env_vars": {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
                },
                **options,
            )
        except ConnectionError as error:
            raise InvalidInput(f"no Ray cluster answers at {address!r}: {error}") from error
    run = uuid4().hex  # a worker may outlive the run, and the next one's code or data may differ
    packed = ray.put(cloudpickle.dumps(workshop))
    task = ray.remote(num_cpus=1, max_retries=RETRIES)(_work)
    most = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)))
    running: list[Any] = []
    try:
        while True:
            while len(running) < most and (job := next(jobs, None)) is not None:
                # Within a list the model stays a reference, and a worker fetches it once.
                running.append(task.remote([packed], run, job))
            if not running:
                return
            ready, running = ray.wait(running)
            yield from ray.get(ready)
    finally:
        if ours:
            ray.shutdown()


def _work(packed: list, name: str, job: Job) -> Done:  # type: ignore[type-arg]
    import cloudpickle
    import ray

    if name not in _workshops:
        _workshops[name] = cloudpickle.loads(ray.get(packed[0]))
    return _workshops[name](job)
