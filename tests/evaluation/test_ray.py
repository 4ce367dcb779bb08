"""Runs on Ray that lose a node or their driver, over data that Ray Data reads."""

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import ray_run
from troubled import ByNumber, Endless

import vqa_explain as vx
from vqa_explain.evaluation.ray_data import FolderReader, ParquetReader, reader_of
from vqa_explain.evaluation.ray_engine import _most_at_once
from vqa_explain.examples import PictureFile, read_image


def same(one: Path, other: Path) -> None:
    """Both runs bit for bit, with what their rows depend on; but for seconds."""
    left, right = vx.Report(one), vx.Report(other)
    pd.testing.assert_frame_equal(left.frame(), right.frame(), check_exact=True)
    files = sorted(path.name for path in (one / "shards").iterdir())
    assert files == sorted(path.name for path in (other / "shards").iterdir())
    for name in files:
        about = [pq.read_schema(folder / "shards" / name).metadata for folder in (one, other)]
        assert about[0] == about[1]


def environment(folder: Path) -> dict[str, str]:
    """Of the processes of Ray, that they listen on 127.0.0.1 alone, and lose no time."""
    # What checks the form of addresses, which Ray needs not, takes two seconds in each process.
    (folder / "rfc3987_syntax.py").write_text("raise ImportError('left out')")
    return {
        **os.environ,
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        # A node that is gone is noticed at once; by default it takes many seconds.
        "RAY_health_check_initial_delay_ms": "1000",
        "RAY_health_check_period_ms": "300",
        "RAY_health_check_timeout_ms": "300",
        "RAY_prestart_worker_first_driver": "0",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), *sys.path]),
    }


@pytest.mark.slow
def test_what_is_killed_on_ray_loses_no_finished_shard(tmp_path: Path) -> None:
    """A worker and a node are killed in a run over a Parquet file, and the driver in one over a
    folder; an example without end is given up; and the results are those of one process.
    """
    pytest.importorskip("ray")
    places = [ray_run.parquet(tmp_path), ray_run.folder(tmp_path)]
    rows, pictures = (vx.load_dataset(place) for place in places)
    assert isinstance(reader_of(rows), ParquetReader)
    assert isinstance(reader_of(pictures), FolderReader)
    done = subprocess.run(
        [sys.executable, ray_run.__file__, *map(str, places), str(tmp_path / "ray")],
        capture_output=True,
        text=True,
        env=environment(tmp_path),
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert 1 <= told["at"][0] <= told["at"][1] < ray_run.ROWS
    assert 0 < len(told["finished"]) < ray_run.ROWS
    assert told["left"] == 0
    shards = (tmp_path / "ray" / "pictures" / "shards").glob("examples-*")
    after = {path.name: path.stat().st_mtime_ns for path in shards}
    assert told["finished"].items() <= after.items()  # none was computed again
    for name, data in (("rows", rows), ("pictures", pictures)):
        plain = ray_run.run(data, tmp_path / "plain" / name)
        assert plain.errors()["index"].tolist() == [7]
        same(tmp_path / "ray" / name, tmp_path / "plain" / name)
    ray_run.run_scenes(tmp_path / "plain" / "scenes")
    same(tmp_path / "ray" / "scenes", tmp_path / "plain" / "scenes")
    given_up(tmp_path)
    for seed in ray_run.SEEDS:
        ray_run.run(ByNumber(4, 4), tmp_path / "plain" / str(seed), seed, limit=4)
        same(tmp_path / "ray" / str(seed), tmp_path / "plain" / str(seed))
    # Of jobs on a GPU each has one for itself, in one process that keeps the model.
    on_gpu, beside = told["placed"]["cuda"], told["placed"]["cpu"]
    assert [one["gpus"] for one in on_gpu] == [[0]] * ray_run.JOBS
    assert len({one["process"] for one in on_gpu}) == 1
    assert [one["gpus"] for one in beside] == [[]] * ray_run.JOBS


def given_up(folder: Path) -> None:
    """The run with an example without end has the others, and goes on where it stopped."""
    report = vx.Report(folder / "ray" / "endless")
    assert report.errors()["index"].tolist() == [1]
    assert f"it took longer than example_timeout={ray_run.TIMEOUT:g} seconds" in str(
        report.errors()["note"][0]
    )
    assert len(ray_run.run(Endless(3, 1), report.folder, shard=3).errors()) == 0
    ray_run.run(ByNumber(3, 3), folder / "plain" / "endless", shard=3)
    pd.testing.assert_frame_equal(
        vx.Report(report.folder).frame(),
        vx.Report(folder / "plain" / "endless").frame(),
        check_exact=True,
    )


@pytest.mark.parametrize(
    ("has", "gpus", "said"),
    [
        ({"CPU": 4.0}, 0, 4),
        ({"CPU": 4.0, "GPU": 2.0}, 0, 4),
        ({"CPU": 4.0, "GPU": 2.0}, 1, 2),
        ({}, 0, 1),
        ({"CPU": 4.0}, 1, None),
        ({"CPU": 4.0, "GPU": 0.5}, 1, None),
    ],
)
def test_a_cluster_without_a_gpu_is_refused_to_a_model_on_one(
    has: dict[str, float], gpus: int, said: int | None
) -> None:
    """Ray would wait for one without end."""
    if said is not None:
        assert _most_at_once(has, gpus) == said
        return
    with pytest.raises(vx.InvalidInput, match="no node of the Ray cluster has one; load the model"):
        _most_at_once(has, gpus)


@pytest.mark.slow
def test_ray_data_that_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "ray://127.0.0.1:1", "[::1]:1", "127.0.0.1:99999"]
)
def test_an_address_where_nothing_listens_is_said_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    """Ray itself tries for many minutes."""
    ray = pytest.importorskip("ray")
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("Ray was asked"))
    data = vx.load_dataset(ray_run.folder(tmp_path))
    with pytest.raises(vx.InvalidInput, match=r"no Ray cluster answers at .*; start one with"):
        ray_run.run(data, tmp_path / "run", engine="ray", address=address)


def test_a_folder_of_pictures_is_a_data_set(tmp_path: Path) -> None:
    place = ray_run.folder(tmp_path)
    (place / "notes.txt").write_text("no picture")
    (place / ".hidden.png").write_bytes(b"")
    data = vx.load_dataset(place)
    paths = sorted(f"{'abc'[n % 3]}/{n}.png" for n in range(ray_run.ROWS))
    assert [example.id for example in data] == paths
    assert [example.answer for example in data] == [path[0] for path in paths]
    assert data[0].image == place / paths[0]
    (place / "loose.png").write_bytes(ray_run.pictures()[0])  # no folder names its answer
    assert {example.answer for example in vx.load_dataset(place)} == {None}
    with pytest.raises(vx.InvalidInput, match="holds pictures and no table"):
        vx.load_dataset(place, fields={"image": "file"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(vx.InvalidInput, match="must hold one table"):
        vx.load_dataset(tmp_path / "empty")


@pytest.mark.parametrize("content", [None, b"", b"no picture"])
def test_a_picture_that_is_read_already_is_that_of_its_file(
    tmp_path: Path, content: bytes | None
) -> None:
    """What cannot be read is told in the same words."""
    path = tmp_path / "a.png"
    path.write_bytes(ray_run.pictures()[0] if content is None else content)
    held = PictureFile(str(path), path.read_bytes())
    if content is None:
        np.testing.assert_array_equal(read_image(held), read_image(path))
        return
    said = []
    for source in (path, held):
        with pytest.raises(vx.InvalidInput) as caught:
            read_image(source)
        said.append(str(caught.value))
    assert said[0] == said[1]
