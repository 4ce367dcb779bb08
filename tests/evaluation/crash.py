"""Kills an evaluation at random moments, again and again: `python crash.py FOLDER KILLS`. Prints
how many it took.

One process loads the model and forks for each attempt, so that an attempt costs no start. It has
one thread, which a fork can copy.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

import torch

import vqa_explain as vx

EXAMPLES = 40
METHODS = ["saliency"]
METRICS = ["accuracy", "deletion:steps=4", "relevance_mass", "sparseness"]


def work(model: Any, folder: str) -> vx.Report:
    data = vx.load_dataset("scenes:test")
    return vx.evaluate(model, data, METHODS, METRICS, folder, limit=EXAMPLES, shard=1, workers=1)


def main(folder: str, kills: int) -> None:
    torch.set_num_threads(1)
    model = vx.load("scenes", device="cpu")
    model.encode(vx.load_dataset("scenes:test")[0])
    rng, sure, done = random.Random(0), 0, 0
    for _ in range(kills):
        child = os.fork()
        if child == 0:
            try:
                work(model, folder)
            finally:
                os._exit(0)
        time.sleep(rng.uniform(0, 0.6))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        sure += os.WIFSIGNALED(status)
        now = len(list(Path(folder).glob("shards/examples-*.parquet")))
        assert now >= done, "a finished shard was lost"
        done = now
    print(sure, done)
    work(model, folder)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
