"""Runs on Ray over a Parquet file and over a folder of pictures.

`python ray_run.py PARQUET FOLDER OUT` starts two nodes on this machine, kills one of them in a run
over the Parquet file, and kills a run over the folder and calls it again.
"""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

import vqa_explain as vx

ROWS = 12
KILLED_AT = 3
NODE = {"num_cpus": 1, "node_ip_address": "127.0.0.1"}


class Sum(nn.Module):
    """w · x for each of three classes."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(3, 3, 8, 8, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


def to_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def model() -> Any:
    return vx.load(Sum(), transform=to_tensor, labels=["a", "b", "c"], device="cpu")


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


def run(data: Any, out: Path, **settings: Any) -> vx.Report:
    given: dict[str, Any] = {"shard": 1, "workers": 1, **settings}
    return vx.evaluate(model(), data, ["saliency"], ["accuracy", "deletion:steps=4"], out, **given)


def killed(address: str, data: str, out: str) -> None:
    """A run whose process is killed once some examples are finished."""

    def told(done: int, total: Any, failed: int) -> None:
        if done >= KILLED_AT:
            os.kill(os.getpid(), signal.SIGKILL)

    run(vx.load_dataset(data), Path(out), engine="ray", address=address, progress=told)


def loses_its_node(cluster: Any, data: str, out: str) -> int:
    """A run of whose two nodes one is killed; how many examples were finished by then."""
    second = cluster.add_node(**NODE)
    at: list[int] = []

    def told(done: int, total: Any, failed: int) -> None:
        if done >= KILLED_AT and not at:
            cluster.remove_node(second, allow_graceful=False)
            at.append(done)

    run(vx.load_dataset(data), Path(out), engine="ray", address=cluster.address, progress=told)
    return at[0]


def loses_its_driver(cluster: Any, data: str, out: str) -> dict[str, int]:
    """A run that is killed, and called again; the shards that were finished in between, and when."""
    command = [sys.executable, __file__, "killed", cluster.address, data, out]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    shards = (Path(out) / "shards").glob("examples-*")
    finished = {path.name: path.stat().st_mtime_ns for path in shards}
    run(vx.load_dataset(data), Path(out), engine="ray", address=cluster.address)
    return finished


def main(rows: str, pictures: str, out: str) -> None:
    from ray.cluster_utils import Cluster

    cluster = Cluster(True, head_node_args={**NODE, "include_dashboard": False})
    try:
        at = loses_its_node(cluster, rows, f"{out}/rows")
        finished = loses_its_driver(cluster, pictures, f"{out}/pictures")
    finally:
        cluster.shutdown()
    print(json.dumps([at, finished]))


if __name__ == "__main__":
    killed(*sys.argv[2:]) if sys.argv[1] == "killed" else main(*sys.argv[1:])
