"""Runs on Ray over a Parquet file, over a folder of pictures and over rows by number.

`python ray_run.py PARQUET FOLDER OUT` kills a run over the folder that has a Ray of its own. Then it
starts two nodes on this machine, kills a worker of one of them and the node itself in a run over the
Parquet file, calls the killed run again, gives up an example that is computed without end, explains
scenes, runs two models at once, and asks where jobs of a model on a GPU are done.
"""

import io
import json
import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn
from troubled import ByNumber, Endless

import vqa_explain as vx
from vqa_explain.evaluation.jobs import Done, Job, Workshop
from vqa_explain.evaluation.ray_engine import run_on_ray
from vqa_explain.evaluation.shards import EXAMPLES

ROWS = 12
KILLED_AT = 3
LOOKS = 200
TIMEOUT = 10.0  # seconds
AT_WORK = 0.03  # seconds of a forward pass, so that a worker is found at work
NODE: dict[str, Any] = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}
SEEDS = (3, 4)  # of the weights of two models
JOBS = 3


class Sum(nn.Module):
    """w · x for each of three classes."""

    def __init__(self, seed: int = SEEDS[0]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.weight = nn.Parameter(torch.randn(3, 3, 8, 8, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        time.sleep(AT_WORK)
        return torch.einsum("bchw,kchw->bk", x, self.weight)


def to_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def model(seed: int = SEEDS[0]) -> Any:
    return vx.load(Sum(seed), transform=to_tensor, labels=["a", "b", "c"], device="cpu")


def pictures() -> list[bytes]:
    """Files of PNG; one of them holds no picture."""
    found, rng = [], np.random.default_rng(0)
    for _ in range(ROWS):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(file, "PNG")
        found.append(file.getvalue())
    found[7] = b"no picture"
    return found


def parquet(folder: Path) -> Path:
    """A file in which pictures are bytes and answers texts, in several groups of rows."""
    cells = [{"bytes": content, "path": None} for content in pictures()]
    texts = ["abc"[number % 3] for number in range(ROWS)]
    table = pa.table({"image": cells, "answer": texts, "id": [f"row {n}" for n in range(ROWS)]})
    pq.write_table(table, folder / "rows.parquet", row_group_size=5)
    return folder / "rows.parquet"


def folder(place: Path) -> Path:
    """Pictures in folders that are called as their answers."""
    for number, content in enumerate(pictures()):
        path = place / "pictures" / "abc"[number % 3] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place / "pictures"


def run(data: Any, out: Path, seed: int = SEEDS[0], **settings: Any) -> vx.Report:
    given: dict[str, Any] = {"shard": 1, "workers": 1, **settings}
    metrics = ["accuracy", "deletion:steps=4"]
    return vx.evaluate(model(seed), data, ["saliency"], metrics, out, **given)


def run_models(out: Path, **settings: Any) -> None:
    """Two models at once, each in a thread of its own."""

    def one(seed: int) -> None:
        run(ByNumber(4, 4), out / str(seed), seed, limit=4, **settings)

    with ThreadPoolExecutor(len(SEEDS)) as threads:
        list(threads.map(one, SEEDS))


class Placed:
    """In place of a workshop, says of each job which process did it and which GPUs it was given."""

    def __init__(self, device: str) -> None:
        # A network of no device, since the machine may have none of this kind.
        self.model = SimpleNamespace(device=torch.device(device), module=nn.Identity())

    def __call__(self, job: Job) -> Done:
        import ray

        found = {"process": os.getpid(), "gpus": ray.get_gpu_ids()}
        return Done(job.kind, job.number, json.dumps(found).encode(), {}, 0, ())


def placed(device: str, **settings: Any) -> list[dict[str, Any]]:
    """Where jobs of a model on a device are done."""
    jobs = iter([Job(EXAMPLES, number, ()) for number in range(JOBS)])
    done = run_on_ray(cast(Workshop, Placed(device)), jobs, 1, None, **settings)
    return [json.loads(one.content) for one in done]


def run_scenes(out: Path, **settings: Any) -> vx.Report:
    """Two examples of a network whose rounding depends on threads and batches."""
    scenes, data = vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")
    metrics = ["accuracy", "deletion:steps=4"]
    return vx.evaluate(scenes, data, ["saliency"], metrics, out, limit=2, shard=1, **settings)


def killed(data: str, out: str) -> None:
    """A run on a Ray of its own, whose process is killed once some examples are finished."""

    def told(done: int, total: Any, failed: int) -> None:
        if done >= KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    run(vx.load_dataset(data), Path(out), engine="ray", progress=told)


def loses_its_driver(data: str, out: str) -> tuple[dict[str, int], int]:
    """A run that is killed: the shards that were finished, and when; and how many of its processes
    outlive it, but for Ray's agents, which look for their parent now and then.

    It is forked before this process imports Ray, so that torch need not be imported again.
    """
    driver = multiprocessing.get_context("fork").Process(target=killed, args=(data, out))
    driver.start()
    others: list[psutil.Process] = []
    while driver.exitcode is None:
        others = psutil.Process(driver.pid).children(recursive=True) or others
        time.sleep(0.05)
    assert driver.exitcode == -signal.SIGKILL
    agents = [one for one in others if one.is_running() and "Agent" in one.name()]
    _, alive = psutil.wait_procs(set(others) - set(agents), timeout=60)
    for agent in agents:
        agent.kill()
    shards = (Path(out) / "shards").glob("examples-*")
    return {path.name: path.stat().st_mtime_ns for path in shards}, len(alive)


def loses_a_worker_and_a_node(cluster: Any, second: Any, data: str, out: str) -> list[int]:
    """A run that loses a worker at work, and later one of its two nodes; how many examples were
    finished by then.
    """
    at: list[int] = []

    def told(done: int, total: Any, failed: int) -> None:
        if done >= 1 and not at and kill_a_worker([second, cluster.head_node]):
            at.append(done)
        if done >= KILLED_AT and len(at) == 1:
            cluster.remove_node(second, allow_graceful=False)
            at.append(done)

    run(vx.load_dataset(data), Path(out), engine="ray", progress=told)
    return at


def kill_a_worker(nodes: list[Any]) -> bool:
    """Kills a process that is at work on one of the nodes, the first of them rather than the last.
    There is none where all that was given out is done; then it is tried at the next example.
    """
    raylets = [psutil.Process(one.all_processes["raylet"][0].process.pid) for one in nodes]
    for _ in range(LOOKS):
        for child in [child for raylet in raylets for child in raylet.children()]:
            if child.name().startswith("ray::_work"):
                child.kill()
                return True
        time.sleep(0.005)
    return False


def main(rows: str, pictures: str, out: str) -> None:
    finished, left = loses_its_driver(pictures, f"{out}/pictures")
    import ray
    from ray.cluster_utils import Cluster

    from vqa_explain.evaluation.ray_engine import _start

    head = {**NODE, "num_gpus": 1, "include_dashboard": False}  # said, and not there
    cluster = Cluster(True, head_node_args=head)
    second = cluster.add_node(**NODE)
    # All runs that follow share its workers, which each take seconds to import torch.
    _start(ray, None, cluster.address)
    try:
        at = loses_a_worker_and_a_node(cluster, second, rows, f"{out}/rows")
        run(vx.load_dataset(pictures), Path(out, "pictures"), engine="ray")
        run(Endless(3, 1), Path(out, "endless"), engine="ray", example_timeout=TIMEOUT, shard=3)
        run_scenes(Path(out, "scenes"), engine="ray")
        run_models(Path(out), engine="ray")
        found = {device: placed(device) for device in ("cpu", "cuda")}
    finally:
        ray.shutdown()
        cluster.shutdown()
    print(json.dumps({"at": at, "finished": finished, "left": left, "placed": found}))


if __name__ == "__main__":
    main(*sys.argv[1:])
