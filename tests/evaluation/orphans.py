"""Starts two workers, stops one of them, prints their numbers and waits to be killed."""

import os
import signal
import time
from types import SimpleNamespace
from typing import Any

import torch

from vqa_explain.evaluation import workers
from vqa_explain.evaluation.jobs import Job, Jobs
from vqa_explain.evaluation.shards import EXAMPLES


def main() -> None:
    model = SimpleNamespace(module=torch.nn.Identity())
    workshop: Any = SimpleNamespace(model=model)
    watch: Any = SimpleNamespace()
    jobs = Jobs(iter([Job(EXAMPLES, number, ((number, None),)) for number in range(2)]))
    crew = workers.Workers(workshop, 2, watch)
    crew._hand_out(jobs)
    for worker in crew._workers:
        worker.hear()  # it is alive
    first, second = (worker.process.pid for worker in crew._workers)
    os.kill(second, signal.SIGSTOP)
    print(first, second, flush=True)
    time.sleep(600)


if __name__ == "__main__":
    main()
