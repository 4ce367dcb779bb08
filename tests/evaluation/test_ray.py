"""Runs on Ray that lose a node or their driver, over data that Ray Data reads."""

import builtins
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import ray_run

import vqa_explain as vx
from vqa_explain.evaluation.ray_data import FolderReader, ParquetReader, reader_of

HERE = "127.0.0.1"
NODE = {"num_cpus": 1, "node_ip_address": HERE}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one processor each, on this machine."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        found = Cluster(True, head_node_args={**NODE, "include_dashboard": False})
        try:
            yield found
        finally:
            found.shutdown()


def same(one: Path, other: Path) -> None:
    """Both runs bit for bit, with what their rows depend on; but for seconds."""
    left, right = vx.Report(one), vx.Report(other)
    pd.testing.assert_frame_equal(left.frame(), right.frame(), check_exact=True)
    files = sorted(path.name for path in (one / "shards").iterdir())
    assert files == sorted(path.name for path in (other / "shards").iterdir())
    for name in files:
        about = [pq.read_schema(folder / "shards" / name).metadata for folder in (one, other)]
        assert about[0] == about[1]


@pytest.mark.slow
def test_a_killed_node_loses_no_shard_of_a_parquet_file(cluster: Any, tmp_path: Path) -> None:
    data = vx.load_dataset(ray_run.parquet(tmp_path))
    assert isinstance(reader_of(data), ParquetReader)
    second = cluster.add_node(**NODE)
    killed = []

    def progress(done: int, total: int | None, failed: int) -> None:
        if done >= 3 and not killed:
            cluster.remove_node(second, allow_graceful=False)
            killed.append(done)

    ray_run.run(
        data, tmp_path / "ray", engine="ray", address=cluster.address, progress=progress
    )
    assert killed
    assert killed[0] < ray_run.ROWS
    ray_run.run(data, tmp_path / "plain")
    same(tmp_path / "ray", tmp_path / "plain")
    assert vx.Report(tmp_path / "ray").errors()["index"].tolist() == [7]


@pytest.mark.slow
def test_a_killed_driver_loses_no_shard_of_a_folder(cluster: Any, tmp_path: Path) -> None:
    place = ray_run.folder(tmp_path)
    data = vx.load_dataset(place)
    assert isinstance(reader_of(data), FolderReader)
    driver = subprocess.run(
        [sys.executable, ray_run.__file__, cluster.address, str(place), str(tmp_path / "ray")],
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert driver.returncode == -9, driver.stderr
    shards = tmp_path / "ray" / "shards"
    finished = {path.name: path.stat().st_mtime_ns for path in shards.glob("examples-*")}
    assert 0 < len(finished) < ray_run.ROWS
    ray_run.run(data, tmp_path / "ray", engine="ray", address=cluster.address)
    after = {path.name: path.stat().st_mtime_ns for path in shards.glob("examples-*")}
    assert finished.items() <= after.items()  # none was computed again
    ray_run.run(data, tmp_path / "plain")
    same(tmp_path / "ray", tmp_path / "plain")


def test_ray_data_that_is_missing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqa_explain.evaluation.ray_data import RemoteRows

    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name == "ray.data":
            raise ImportError("No module named 'fsspec'")
        return real(name, *rest)

    rows = RemoteRows(ParquetReader(vx.load_dataset(ray_run.parquet(tmp_path))), None)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(vx.InvalidInput, match=r"by Ray Data, which is not installed; run: pip"):
        next(iter(rows))
