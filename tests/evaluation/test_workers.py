"""Worker processes that end, stop, or are left alone; and when they are started."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import ToTensor
from torch import nn
from troubled import ByNumber, Dangerous, Endless, InOrder, example

import vqa_explain as vx
from vqa_explain.errors import Unanswered
from vqa_explain.evaluation import local_engine, workers
from vqa_explain.evaluation.jobs import Done, Job
from vqa_explain.evaluation.local_engine import run_where_it_pays
from vqa_explain.evaluation.plan import read_plan
from vqa_explain.evaluation.shards import EXAMPLES, GRID
from vqa_explain.evaluation.store import Store
from vqa_explain.evaluation.tally import Tally
from vqa_explain.metrics.base import METRICS
from vqa_explain.models.classifier import ClassifierModel

HERE = Path(__file__).parent


def judged(model: Any, data: Any, folder: Path, **settings: Any) -> vx.Report:
    given: dict[str, Any] = {"shard": 2, "workers": 1, **settings}
    return vx.evaluate(model, data, ["saliency"], ["accuracy", "sparseness"], folder, **given)


def spent(report: vx.Report) -> dict[tuple[int, str], float]:
    """Seconds of each explanation, which tell whether it was computed anew."""
    plan, store = read_plan(report.folder / "plan.json"), Store(report.folder)
    table = store.read(EXAMPLES, plan)
    assert table is not None
    rows = table.to_pylist()
    return {(r["index"], r["method"]): r["seconds"] for r in rows if r["seconds"] is not None}


@pytest.mark.slow
def test_lost_and_stopped_workers_are_replaced_and_the_fatal_row_is_given_up(
    linear: ClassifierModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of ten rows, one ends every worker that reads it, and one stops the first that does."""
    monkeypatch.setattr(workers, "LOSSES", 2)
    monkeypatch.setattr(workers, "SILENCE", 6.0)
    told: list[tuple[int, int | None, int]] = []
    data = Dangerous(10, ends=3, stops=6, mark=tmp_path / "mark")
    report = judged(
        linear, data, tmp_path / "run", workers=2, progress=lambda *one: told.append(one)
    )
    assert data.mark.exists()
    assert report.errors()["index"].tolist() == [3]
    assert "2 worker processes were lost at it; the last one ended with code 7" in str(
        report.errors()["note"][0]
    )
    assert told[0] == (0, 10, 0)
    assert told[-1] == (10, 10, 1)
    # One that goes on tries the row again, and no other; in this process it can be read.
    seconds = spent(report)
    again = judged(linear, data, tmp_path / "run")
    assert spent(again).items() >= seconds.items()
    whole = judged(linear, ByNumber(10, 10), tmp_path / "whole")
    assert len(again.errors()) == 0
    pd.testing.assert_frame_equal(again.frame(), whole.frame(), check_exact=True)


@pytest.mark.slow
def test_an_example_that_is_computed_without_end_is_given_up(
    linear: ClassifierModel, tmp_path: Path
) -> None:
    """The others are judged, no shard is lost, and the next call tries that row again."""
    told: list[tuple[int, int | None, int]] = []
    found = judged(
        linear, Endless(5, 2), tmp_path / "run", example_timeout=2.0,
        progress=lambda *one: told.append(one),
    )  # fmt: skip
    assert found.errors()["index"].tolist() == [2]
    assert "it took longer than example_timeout=2 seconds" in str(found.errors()["note"][0])
    assert told[0] == (0, 5, 0)
    assert told[-1] == (5, 5, 1)
    whole = judged(linear, ByNumber(5, 5), tmp_path / "whole")
    kept = found.frame()
    others = whole.frame()[whole.frame()["index"] != 2]
    pd.testing.assert_frame_equal(
        kept[kept["index"] != 2].reset_index(drop=True),
        others.reset_index(drop=True),
        check_exact=True,
    )
    again = judged(linear, Endless(5, 2), tmp_path / "run")
    pd.testing.assert_frame_equal(again.frame(), whole.frame(), check_exact=True)


class Unlucky(nn.Module):
    """Fails for dark pictures while a file is there, in one of several ways."""

    def __init__(self, mark: Path, how: str) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 192))
        self.mark, self.how = str(mark), how

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if os.path.exists(self.mark) and float(x.detach().mean()) < 0.1:
            raise {
                "memory": MemoryError("no room"),
                "memory of torch": torch.OutOfMemoryError("out"),
                "memory of oneDNN": RuntimeError("could not create a primitive"),
                "connection": ConnectionResetError("gone"),
                "time": TimeoutError("late"),
                "system": OSError(28, "No space left on device"),
                "endpoint": Unanswered("wait"),
                "itself": RuntimeError("too dark"),
                "itself in words of memory": ValueError("light is allocated to bright pixels"),
            }[self.how]
        return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize(
    "how",
    [
        "memory",
        "memory of torch",
        "memory of oneDNN",
        "connection",
        "time",
        "system",
        "endpoint",
        "itself",
        "itself in words of memory",
    ],
)
def test_what_failed_by_no_fault_of_the_example_is_tried_again(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The others of its shard are not, nor is what fails by the example itself."""
    mark = tmp_path / "mark"
    model = vx.load(Unlucky(mark, how), transform=ToTensor(), labels=["a", "b"], device="cpu")
    bright, dark = np.full((8, 8, 3), 200, np.uint8), np.full((8, 8, 3), 9, np.uint8)
    data = [vx.Example(one, answer="a", id=str(i)) for i, one in enumerate([bright, dark, bright])]

    def run(name: str) -> vx.Report:
        return vx.evaluate(model, data, ["saliency"], ["accuracy"], tmp_path / name, workers=1)

    whole = run("whole")
    mark.touch()
    first = run("run")
    assert first.errors()["index"].tolist() == [1]
    mark.unlink()
    second = run("run")
    assert spent(second).items() >= spent(first).items()
    told = "1 rows were given up for want of memory, time, worker processes or an endpoint"
    assert (told in caplog.text) == (not how.startswith("itself"))
    if how.startswith("itself"):
        assert second.errors()["index"].tolist() == [1]
    else:
        pd.testing.assert_frame_equal(second.frame(), whole.frame(), check_exact=True)


def raising(kind: type[Exception], tried: Path) -> None:
    """A metric of the user's own that raises this for one example, and notes each try in a file."""

    @vx.register_metric("raising", source="ours", better="neither", range="0 … 1", judges="answer")
    @dataclass(frozen=True)
    class Raising:
        """What it is."""

        def __call__(self, case: vx.Case) -> float:
            if case.task.encoded.example.id != "e1":
                return 0.5
            with tried.open("a") as file:
                file.write("x")
            raise kind("as always")


@pytest.mark.parametrize(
    ("kind", "calls"),
    [
        (OSError, 3),
        (ConnectionResetError, 3),
        (TimeoutError, 3),
        (FileNotFoundError, 3),
        (ValueError, 1),
        (MemoryError, 5),
        (Unanswered, 5),
    ],
)
def test_an_error_of_the_system_is_tried_by_three_calls_at_most(
    tmp_path: Path, linear: ClassifierModel, kind: type[Exception], calls: int
) -> None:
    """Code of one's own may raise it whatever the system does; memory and answers may come."""
    tried, data = tmp_path / "tried", [example(number) for number in range(3)]
    raising(kind, tried)
    try:
        for _ in range(5):
            report = vx.evaluate(linear, data, [], ["raising"], tmp_path / "run", workers=1)
            assert report.errors()["index"].tolist() == [1]
    finally:
        del METRICS["raising"]
    assert len(tried.read_text()) == calls


@pytest.mark.parametrize("timeout", [0, -1, float("nan"), float("inf"), True, "3", [1]])
def test_a_limit_that_is_no_time_is_said(
    linear: ClassifierModel, tmp_path: Path, timeout: Any
) -> None:
    with pytest.raises(vx.InvalidInput, match="example_timeout must be a number of seconds"):
        judged(linear, ByNumber(4, 4), tmp_path / "run", example_timeout=timeout)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_workers_end_with_their_parent_even_if_they_are_stopped() -> None:
    parent = subprocess.Popen(
        [sys.executable, str(HERE / "orphans.py")], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    numbers = [int(text) for text in parent.stdout.readline().split()]
    found = [psutil.Process(number) for number in numbers]
    assert len(found) == 2
    try:
        parent.kill()
        parent.wait()
        _, alive = psutil.wait_procs(found, timeout=60)
        assert alive == []
    finally:
        for one in found:
            if one.is_running():
                one.kill()


def test_what_cannot_be_sent_to_workers_is_said(linear: ClassifierModel, tmp_path: Path) -> None:
    data = ByNumber(4, 4)
    data.file = (tmp_path / "open").open("w")  # type: ignore[attr-defined]
    with pytest.raises(vx.InvalidInput, match=r"cannot be sent to worker processes .*workers=1"):
        judged(linear, data, tmp_path / "run", workers=2)
    assert judged(linear, data, tmp_path / "run").count == 4


class Clock:
    """Seconds that pass only where work is done."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Working:
    """A workshop whose examples and jobs take a stated time."""

    def __init__(self, clock: Clock, first: float, each: float) -> None:
        self.clock, self.first, self.each = clock, first, each
        self.model = SimpleNamespace(module=None)
        self.done = 0

    def __call__(self, job: Job, judged: Any = lambda failed: None) -> Done:
        for _ in job.items:
            self.clock.now += self.each if self.done else self.first
            self.done += 1
            if job.of_examples:
                judged(False)
        count = len(job.items) if job.of_examples else 0
        return Done(job.kind, job.number, b"", {}, count, ())


class Others:
    """Stands for worker processes: notes the jobs that they get."""

    jobs: list[int]

    def __init__(self, workshop: Any, most: int, tally: Tally) -> None:
        Others.jobs = []

    def __enter__(self) -> "Others":
        return self

    def __exit__(self, *_: object) -> None: ...

    def do(self, source: Any) -> Iterator[Done]:
        for job in source:
            Others.jobs.append(job.number)
            yield Done(job.kind, job.number, b"", {}, len(job.items), ())


@pytest.mark.parametrize(
    ("kind", "count", "shard", "total", "first", "each", "handed"),
    [
        pytest.param(EXAMPLES, 2, 20, 2, 1.0, 0.1, [], id="two examples"),
        pytest.param(EXAMPLES, 20, 20, 20, 60.0, 60.0, [], id="one shard"),
        pytest.param(EXAMPLES, 100, 10, 100, 4.0, 0.05, [], id="short"),
        pytest.param(EXAMPLES, 40, 10, 40, 3.0, 1.0, [0, 1, 2, 3], id="long"),
        pytest.param(EXAMPLES, 40, 10, 40, 60.0, 60.0, [0, 1, 2, 3], id="very long"),
        pytest.param(EXAMPLES, 12, 1, 12, 3.0, 3.0, [*range(2, 12)], id="shards of one"),
        pytest.param(EXAMPLES, 40, 10, None, 1.0, 1.0, [0, 1, 2, 3], id="of unknown length"),
        pytest.param(EXAMPLES, 40, 10, None, 0.1, 0.1, [], id="short of unknown length"),
        pytest.param(GRID, 40, 10, 0, 1.0, 1.0, [1, 2, 3], id="a grid"),
    ],
)
def test_workers_start_where_they_pay(
    monkeypatch: pytest.MonkeyPatch, kind: str, count: int, shard: int, total: int | None,
    first: float, each: float, handed: list[int],
) -> None:  # fmt: skip
    """Two workers save half of what is left, and cost five seconds."""
    monkeypatch.setattr(local_engine, "Workers", Others)
    Others.jobs = []
    clock, tally = Clock(), Tally(0, total, None)
    items = [(number, None) for number in range(count)]
    jobs = [
        Job(kind, number, tuple(items[start : start + shard]))
        for number, start in enumerate(range(0, count, shard))
    ]
    workshop: Any = Working(clock, first, each)
    found = list(run_where_it_pays(workshop, iter(jobs), 2, tally, clock))
    assert Others.jobs == handed
    assert sorted(done.number for done in found) == list(range(len(jobs)))


def test_examples_are_told_one_by_one_and_what_was_found_first(
    linear: ClassifierModel, tmp_path: Path
) -> None:
    told: list[tuple[int, int | None, int]] = []
    data = [example(0), vx.Example("none.png", id="bad"), example(2), example(3)]
    judged(linear, data, tmp_path / "run", progress=lambda *one: told.append(one))
    assert told == [(0, 4, 0), (1, 4, 0), (2, 4, 1), (3, 4, 1), (4, 4, 1)]
    told.clear()
    next((tmp_path / "run" / "shards").glob("*1.parquet")).unlink()
    judged(linear, data, tmp_path / "run", progress=lambda *one: told.append(one))
    assert told == [(2, 4, 0), (3, 4, 0), (4, 4, 0)]


@pytest.mark.slow
def test_of_two_runs_that_begin_at_once_exactly_one_gets_the_folder(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(HERE / "race.py"), str(tmp_path), "60"],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([1] * 60)


@pytest.mark.slow
def test_a_stopped_parent_does_not_take_its_workers_for_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time in which this process did not look counts as one turn at most."""
    monkeypatch.setattr(workers, "wait", lambda channels, turn: [])
    now = iter(range(0, 10**9, 10_000))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(now)))
    channel: Any = object()
    worker = workers._Worker(channel, channel)
    crew = workers.Workers.__new__(workers.Workers)
    crew._workers, crew._timeout = [worker], 1.0
    for _ in range(5):
        assert list(crew._turn(Any)) == []  # type: ignore[arg-type]
    assert worker.silent == 5 * workers.TURN


@pytest.mark.slow
@pytest.mark.parametrize(
    ("address", "said"),
    [
        (None, r"Ray does not start on this machine \(RuntimeError: no room\); engine='local'"),
        ("auto", r"no Ray cluster answers at 'auto' \(RuntimeError: no room\); start one"),
    ],
)
def test_a_ray_that_does_not_start_is_one_sentence(
    linear: ClassifierModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    address: str | None,
    said: str,
) -> None:
    ray = pytest.importorskip("ray")
    given: dict[str, Any] = {}

    def init(**options: Any) -> None:
        given.update(options, alone=os.environ.get("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"))
        raise RuntimeError("no room")

    monkeypatch.setattr(ray, "init", init)
    with pytest.raises(vx.InvalidInput, match=said):
        judged(linear, ByNumber(4, 4), tmp_path, workers=1, engine="ray", address=address)
    assert given["alone"] == ("0" if address is None else None)  # it listens on 127.0.0.1
    assert "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER" not in os.environ
    assert given.get("address") == address


def test_an_example_that_cannot_be_sent_is_said(linear: ClassifierModel, tmp_path: Path) -> None:
    def held(number: int) -> vx.Example:
        found = example(number)
        object.__setattr__(found, "file", (tmp_path / "open").open("w"))
        return found

    with pytest.raises(vx.InvalidInput, match=r"an example cannot be sent .*workers=1"):
        judged(linear, InOrder(4, held), tmp_path / "run", workers=2)
