"""Memory, models, disks, signals and clocks that fail at any moment."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, ToTensor
from guard import refused, started_since, state, unchanged

import vqa_explain as vx
from vqa_explain._memory import lacks_memory
from vqa_explain.evaluation.store import Store
from vqa_explain.models.vilt import ViltModel

QUESTION = "What color is the circle?"
METHODS: dict[str, dict[str, Any]] = {
    "shapley": {"budget": 300, "regions": 3},
    "leave_one_out": {"regions": 3},
    "integrated_gradients": {"steps": 8},
    "rise": {"budget": 200, "regions": 3},
    "occlusion": {"window": 48, "stride": 48},
    "grad_cam": {},
}


class Net(torch.nn.Module):
    """A small network over pixels and words with every kind of layer that the methods look for."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(6, 8)
        self.see = torch.nn.Conv2d(3, 8, 8, 8)
        self.relu = torch.nn.ReLU()
        self.answer = torch.nn.Linear(8, 3)
        self.act, self.at, self.calls = None, 0, 0

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        seen = self.relu(self.see(pixels)).mean(dim=(2, 3))
        scores = self.answer(seen * self.words(tokens).mean(dim=1))
        result: torch.Tensor = self.act(scores) if self.act and self.calls >= self.at else scores
        return result


def net() -> vx.CustomModel:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = Net()
    text = {"<unk>": 0, "<pad>": 1, "what": 2, "color": 3, "is": 4, "circle": 5}
    return vx.CustomModel(module, image=ToTensor(), text=text, labels=["a", "b", "c"], device="cpu")


PICTURE = np.random.default_rng(0).integers(0, 256, (96, 96, 3), dtype=np.uint8)


def out_of_memory(scores: Any) -> None:
    raise torch.OutOfMemoryError("no memory is left")


def host_memory(scores: Any) -> None:
    raise RuntimeError(
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"
    )


def broken(scores: Any) -> None:
    raise ValueError("the network is broken")


def interrupted(scores: Any) -> None:
    raise KeyboardInterrupt


ACTS: dict[str, Callable[..., Any]] = {
    "NaN": lambda scores: scores * float("nan"),
    "infinity": lambda scores: scores + float("inf"),
    "one NaN": lambda scores: torch.cat([scores[:-1], scores[-1:] * float("nan")]),
    "memory": out_of_memory,
    "host memory": host_memory,
    "an error": broken,
    "Ctrl-C": interrupted,
}


@pytest.mark.parametrize("at", [1, 2, 3, 5])
@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.slow
def test_a_model_that_fails_at_its_nth_call(method: str, act: str, at: int) -> None:
    model = net()

    def call() -> Any:
        return vx.explain(model, PICTURE, QUESTION, method=method, **METHODS[method])

    call()  # the first time an adapter looks at the network
    model.module.calls = 0
    whole = call()
    calls, model.module.calls = model.module.calls, 0
    model.module.act, model.module.at = ACTS[act], at
    with unchanged(model.module):
        if at > calls:
            call()
        elif act in ("an error", "Ctrl-C"):
            kind = KeyboardInterrupt if act == "Ctrl-C" else ValueError
            with pytest.raises((kind, vx.VQAExplainError)):
                call()
        elif act in ("memory", "host memory"):
            with pytest.raises(vx.OutOfMemory, match="load the model on another device"):
                call()
        else:
            # The last: no map's gradient is finite.
            refused(call, "nan|inf|NaN|infin|no layer with maps")
    model.module.act, model.module.calls = None, 0
    np.testing.assert_array_equal(call().image, whole.image)  # the model is as it was


FIT: dict[str, dict[str, Any]] = {
    "shapley": {"budget": 300},
    "leave_one_out": {},
    "banzhaf": {"budget": 300},
    "interactions": {"budget": 300},
    "lime": {"budget": 200},
    "rise": {"budget": 200},
    "occlusion": {"window": 24},
    "integrated_gradients": {},
    "gradient_shap": {},
}


@pytest.mark.parametrize("fits", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("method", FIT)
@pytest.mark.slow
def test_batches_that_do_not_fit_are_made_smaller(method: str, fits: int) -> None:
    """The values do not depend on how much memory there is."""
    model, found = net(), []
    for most in (10**6, fits):

        def act(scores: Any, most: Any = most) -> Any:
            return out_of_memory(scores) if len(scores) > most else scores

        model.module.act = act
        with unchanged(model.module):
            why = vx.explain(model, PICTURE, QUESTION, method=method, regions=3, **FIT[method])
        found.append(np.array([part.value for part in (*why.regions, *why.words)]))
    np.testing.assert_allclose(found[1], found[0], atol=1e-6)


@pytest.mark.slow
def test_what_the_system_gives_no_memory_for_is_halved_or_one_sentence(tmp_path: Path) -> None:
    """By the system's own limit, in a process of its own; a run loses no shard and goes on."""
    script = Path(__file__).with_name("short_of_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == 12
    for what, room, same, said, *more in found:
        assert same or said.startswith("OutOfMemory: "), (what, room, said)
        if room == 2:
            assert said, what
        if room == 400:
            assert same, what
            assert not said, what
        if more:
            shards, notes = more
            assert same
            assert shards == 2 or said, (room, shards)
            assert all("does not fit into the memory" in note for note in notes)


@pytest.mark.parametrize(
    "said", ["could not create a primitive", "could not create a memory object"]
)
def test_memory_that_one_dnn_lacks_is_told_as_such(said: str) -> None:
    """Batches are made smaller; other errors of its stay what they are."""
    model = net()

    def act(scores: Any, most: int = 2) -> Any:
        if len(scores) > most:
            raise RuntimeError(said)
        return scores

    asked: dict[str, Any] = {"method": "rise", "regions": 3, "budget": 200}
    whole = vx.explain(model, PICTURE, QUESTION, **asked).image
    model.module.act = act
    with unchanged(model.module):
        found = vx.explain(model, PICTURE, QUESTION, **asked).image
    np.testing.assert_allclose(found, whole, atol=1e-6)
    assert not lacks_memory(RuntimeError("could not create a primitive descriptor for a matmul"))


@pytest.mark.parametrize("size", [0, 1, 100, 1_000, 5_000, 20_000])
@pytest.mark.parametrize("what", ["save", "to_html"])
def test_a_disk_that_is_full_leaves_no_partial_file(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path, what: str, size: int
) -> None:
    """By the system's own limit on a file's size,
    which fails in the middle of writing as a full disk does.
    """
    why = vx.explain(scenes_model, scene, method="saliency")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        with unchanged(folder=tmp_path):
            refused(lambda: getattr(why, what)(tmp_path / "why"), "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, old)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 256 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)], capture_output=True
    )
    if done.returncode:
        pytest.skip("no file system may be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def linear_run(out: Path, **more: Any) -> vx.Report:
    model = vx.load(Linear(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    rng = np.random.default_rng(0)
    data = [
        vx.Example(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), answer="a", id=str(i))
        for i in range(40)
    ]
    given = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "deletion:steps=4"],
        "shard": 1,
        "workers": 1,
        **more,
    }
    return vx.evaluate(model, data, out=out, **given)


@pytest.mark.slow
def test_a_full_disk_names_the_shard_and_keeps_the_others(small_disk: Path, tmp_path: Path) -> None:
    said = refused(
        lambda: linear_run(small_disk / "run", keep=["explanations"]),
        r"shard \d+ cannot be written",
    )
    assert "the same command goes on" in said
    kept = vx.Report(small_disk / "run").frame()
    whole = linear_run(tmp_path / "whole").frame()
    assert 0 < kept["index"].nunique() < 40
    assert kept.equals(whole[whole["index"].isin(kept["index"])].reset_index(drop=True))
    assert list((small_disk / "run").rglob(".*")) == []


@pytest.mark.parametrize("out", ["file", "file/run", "link", "a\0b", "/proc/run"])
def test_a_folder_that_cannot_be_written(tmp_path: Path, out: str) -> None:
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "link").symlink_to(tmp_path / "link")
    with unchanged(folder=tmp_path):
        refused(
            lambda: linear_run(tmp_path / out), "cannot be written|no folder|not a folder|is a file"
        )


@pytest.mark.slow
def test_two_runs_in_one_folder(tmp_path: Path) -> None:
    code = f"import sys; sys.path[:0] = {sys.path!r}; import test_faults, time\n"
    code += "from vqa_explain.evaluation import run\nreal = run._collect\n"
    code += "def slow(*a, **k):\n    print('at work', flush=True); time.sleep(60)\nrun._collect = slow\n"
    code += f"test_faults.linear_run({str(tmp_path / 'run')!r})"
    first = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent
    )
    try:
        assert first.stdout is not None
        assert first.stdout.readline() == "at work\n"
        refused(lambda: linear_run(tmp_path / "run"), rf"another run is at work .*{first.pid}")
    finally:
        first.kill()
        first.wait()
    assert linear_run(tmp_path / "run").count == 40  # a dead one lets go


@pytest.mark.parametrize("step", [-3600.0, -0.5, 1e9])
@pytest.mark.slow
def test_a_clock_that_goes_astray(
    scenes_model: ViltModel,
    scene: vx.Example,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    step: float,
) -> None:
    real, turns = time.time, itertools.count()
    monkeypatch.setattr(time, "time", lambda: real() + step * next(turns))
    why = vx.explain(scenes_model, scene, method="leave_one_out", regions=3)
    assert 0 <= why.cost.seconds < 600
    costs = linear_run(tmp_path / "run").costs()
    assert (costs["seconds"] >= 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "after"),
    [(signal.SIGINT, 0.0), (signal.SIGINT, 0.7), (signal.SIGINT, 1.9), (signal.SIGTERM, 0.7)],
)
def test_a_signal_ends_a_run_cleanly_and_it_goes_on(
    tmp_path: Path, name: Any, after: float
) -> None:
    shell = [
        sys.executable,
        "-m",
        "vqa_explain.shell.app",
        "evaluate",
        "--model",
        "scenes",
        "--data",
        "scenes:test",
    ]
    shell += [
        "--methods",
        "saliency",
        "--metrics",
        "accuracy",
        "deletion:steps=4",
        "--limit",
        "400",
        "--workers",
        "1",
    ]
    out = tmp_path / "run"
    running = subprocess.Popen(
        [*shell, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell's background jobs ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        assert running.stderr is not None
        while not (out / "plan.json").exists():
            assert running.poll() is None, running.stderr.read()
            time.sleep(0.05)
        time.sleep(after)
        running.send_signal(name)
        _, said = running.communicate(timeout=1200)
    finally:
        running.kill()
    assert running.returncode == 130, said
    assert "the same command goes on" in said
    assert "Traceback" not in said
    assert list(out.rglob(".*.parquet.*")) == []
    with Store(out).locked():  # the folder is free again
        pass


@pytest.mark.slow
@pytest.mark.usefixtures("ctrl_c")
@pytest.mark.parametrize("after", [0.0, 0.4, 1.1, 2.3])
def test_ctrl_c_in_the_middle_of_an_explanation(
    scenes_model: ViltModel, scene: vx.Example, after: float
) -> None:
    """The model, the threads and the random state are as before,
    and the next call gives what it always gave.
    """
    code = "import os, signal, time\n"
    wanted = vx.explain(scenes_model, scene, method="saliency")
    before, threads = state(scenes_model.module), set(threading.enumerate())
    killer = subprocess.Popen(
        [sys.executable, "-c", f"{code}time.sleep({after}); os.kill({os.getpid()}, signal.SIGINT)"]
    )

    def many() -> None:
        for _ in range(1000):
            vx.explain(scenes_model, scene, method="shapley", budget=2000)
            vx.explain(scenes_model, scene, method="attn_lrp")

    try:
        with pytest.raises(KeyboardInterrupt):
            many()
    finally:
        killer.wait()
    assert state(scenes_model.module) == before
    assert started_since(threads) == []
    np.testing.assert_array_equal(
        vx.explain(scenes_model, scene, method="saliency").image, wanted.image
    )
