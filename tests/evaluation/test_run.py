"""Runs that are interrupted, resumed, divided among workers, or asked for what cannot be done."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import crash
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.evaluation.behavior import PROBE
from vqa_explain.evaluation.plan import model_fingerprint, read_plan
from vqa_explain.evaluation.store import Store
from vqa_explain.files import write_atomically
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.vilt import ViltModel

DATA = "scenes:test"


def run(model: Any, folder: Path, **settings: Any) -> vx.Report:
    given = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "deletion:steps=4"],
        "limit": 4,
        "shard": 2,
        "workers": 1,
    }
    return vx.evaluate(model, vx.load_dataset(DATA), out=folder, **{**given, **settings})


def same(one: vx.Report, other: vx.Report) -> None:
    """Both reports bit for bit, but for seconds."""
    pd.testing.assert_frame_equal(one.frame(), other.frame(), check_exact=True)
    left, right = one.to_json(), other.to_json()
    for found in (left, right):
        for row in found["costs"]:
            del row["seconds"]
    assert left == right


@pytest.mark.slow
def test_fifty_kills_lose_nothing(scenes_model: ViltModel, tmp_path: Path) -> None:
    script = Path(__file__).with_name("crash.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "killed"), "50"],
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stderr
    kills, shards = map(int, done.stdout.split())
    print(
        f"{kills} of 50 were killed at work, {shards} of {crash.EXAMPLES} shards were finished by "
        "then"
    )
    assert kills >= 25
    # What a kill leaves is never read.
    assert list((tmp_path / "killed" / "shards").glob(".*")) == [] or kills
    whole = crash.work(scenes_model, str(tmp_path / "whole"))
    same(vx.Report(tmp_path / "killed"), whole)


@pytest.mark.slow
def test_what_is_finished_is_not_done_again(
    scenes_model: ViltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(scenes_model, tmp_path)
    Store(tmp_path).shard_path("examples", 1).unlink()
    calls, real = [], scenes_model.encode

    def noted(example: vx.Example) -> Encoded:
        calls.append(example.id)
        return real(example)

    monkeypatch.setattr(scenes_model, "encode", noted)
    second = run(scenes_model, tmp_path)
    # Besides the pictures that tell whether the model has changed.
    assert [call for call in calls if call != PROBE] == ["scenes/test/0/2", "scenes/test/0/3"]
    same(first, second)


@pytest.mark.slow
def test_a_grid_that_fails_is_said_and_is_whole_in_the_end(
    scenes_model: ViltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A piece without a row that others have would give sums over other questions."""
    asked: dict[str, Any] = {"metrics": ["emap:count=11"], "limit": 11}
    whole = run(scenes_model, tmp_path / "whole", **asked).emap()
    failing, left, real = "", 0, scenes_model.encode

    def fails_later(example: vx.Example) -> Encoded:
        nonlocal left
        if sys._getframe(1).f_code.co_name == failing:
            left -= 1
            if left < 0:
                raise MemoryError("no room")
        return real(example)

    monkeypatch.setattr(scenes_model, "encode", fails_later)
    # The fifth row of the first piece, then the first example of the second piece.
    for failing, left in (("row_of_grid", 4), ("_grid", 11)):  # noqa: B007
        words = r"EMAP's grid cannot be computed at example \d+: .*no room; leave emap out"
        with pytest.raises(vx.VQAExplainError, match=words):
            run(scenes_model, tmp_path / "run", **asked)
    failing = ""
    assert run(scenes_model, tmp_path / "run", **asked).emap() == whole


@pytest.mark.slow
def test_a_damaged_shard_is_computed_again(scenes_model: ViltModel, tmp_path: Path) -> None:
    first = run(scenes_model, tmp_path)
    path = Store(tmp_path).shard_path("examples", 0)
    path.write_bytes(path.read_bytes()[:200])
    same(first, run(scenes_model, tmp_path))


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one(scenes_model: ViltModel, tmp_path: Path) -> None:
    settings = {
        "methods": ["saliency", "leave_one_out"],
        "metrics": ["deletion", "relevance_mass", "emap:count=4"],
    }
    one = run(scenes_model, tmp_path / "one", **settings)
    two = run(scenes_model, tmp_path / "two", workers=2, **settings)
    same(one, two)
    assert one.emap() == two.emap()


@pytest.mark.slow
def test_a_lost_local_worker_is_replaced(scenes_model: ViltModel, tmp_path: Path) -> None:
    data = Fatal(tmp_path / "once")
    found = vx.evaluate(
        scenes_model, data, ["saliency"], ["accuracy"], tmp_path / "run", shard=1, workers=2
    )
    assert (tmp_path / "once").exists()
    assert found.count == 3
    assert len(found.errors()) == 0


class Fatal:
    """Three examples; reading the second ends the process, the first time."""

    fingerprint = "fatal"

    def __init__(self, mark: Path) -> None:
        self.mark, self.parent = mark, os.getpid()

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: Any) -> Any:
        if index == 1 and os.getpid() != self.parent and not self.mark.exists():
            self.mark.touch()
            os._exit(1)
        return vx.load_dataset(DATA)[index]

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(3))


@pytest.mark.slow
def test_the_thread_count_and_the_random_state_stay(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    run(scenes_model, tmp_path)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.slow
def test_values_are_those_of_explain(scenes_model: ViltModel, tmp_path: Path) -> None:
    report = run(
        scenes_model, tmp_path, metrics=["relevance_mass", "text_share"], keep=["explanations"]
    )
    for index in range(4):
        example = vx.load_dataset(DATA)[index]
        why = vx.explain(scenes_model, example, method="saliency")
        positive = np.maximum(why.image, 0)
        expected = positive[example.truth].sum() / positive.sum()
        assert report.values("relevance_mass", "saliency")[index] == pytest.approx(
            expected, abs=1e-6
        )
        # Gradients in pixels and in words have no common scale.
        assert np.isnan(report.values("text_share", "saliency")[index])
        kept = vx.load_explanation(tmp_path / "explanations" / f"{index:07d}-saliency.vqax")
        np.testing.assert_allclose(kept.image, why.image, rtol=1e-4, atol=1e-7)


@pytest.mark.slow
def test_another_plan_in_the_folder_is_refused_with_the_difference(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    run(scenes_model, tmp_path)
    with pytest.raises(vx.InvalidInput, match=r"another plan.*\n.*seed: 0 there, 5 now"):
        run(scenes_model, tmp_path, seed=5)
    with pytest.raises(vx.InvalidInput, match="methods: \\('saliency',\\) there"):
        run(scenes_model, tmp_path, methods=["leave_one_out"])
    other = vx.load("easy-vqa", device="cpu")
    with pytest.raises(vx.InvalidInput, match="model_fingerprint"):
        run(other, tmp_path)


class Scaled(nn.Module):
    """Has a buffer that is never saved."""

    def __init__(self) -> None:
        super().__init__()
        self.look = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 2))
        self.register_buffer("scale", torch.tensor([1.0, 2.0]), persistent=False)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.look(pixels) * self.scale
        return result


@pytest.mark.parametrize("name", ["scale", "look.2.weight"])
def test_weights_and_buffers_that_change_places_are_another_model(name: str) -> None:
    module = Scaled()
    model = vx.load(module, transform=ToTensor(), labels=["a", "b"], device="cpu")
    before = model_fingerprint(model)
    tensor = dict([*module.named_buffers(), *module.named_parameters()])[name]
    tensor.data = tensor.data.flip(0)
    assert model_fingerprint(model) != before


@pytest.mark.slow
def test_a_second_run_at_the_same_time_is_told(scenes_model: ViltModel, tmp_path: Path) -> None:
    run(scenes_model, tmp_path)
    with (
        Store(tmp_path).locked(),
        pytest.raises(vx.InvalidInput, match=f"at work in .*process {os.getpid()}"),
    ):
        run(scenes_model, tmp_path)
    run(scenes_model, tmp_path)


@pytest.mark.slow
def test_plans_that_cannot_be_read_are_refused(scenes_model: ViltModel, tmp_path: Path) -> None:
    run(scenes_model, tmp_path)
    path = tmp_path / "plan.json"
    plan = json.loads(path.read_text())
    path.write_text(json.dumps({**plan, "format": 99}))
    with pytest.raises(vx.InvalidInput, match="newer version"):
        vx.Report(tmp_path)
    path.write_text("{")
    with pytest.raises(vx.InvalidInput, match="damaged"):
        run(scenes_model, tmp_path)
    with pytest.raises(vx.InvalidInput, match="does not exist; check the path"):
        vx.Report(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(vx.InvalidInput, match="holds no evaluation"):
        vx.Report(tmp_path / "empty")


@pytest.mark.slow
def test_a_plan_survives_its_file(scenes_model: ViltModel, tmp_path: Path) -> None:
    run(scenes_model, tmp_path, regions=(4, 6))
    plan = read_plan(tmp_path / "plan.json")
    assert plan.divided["regions"] == (4, 6)
    run(scenes_model, tmp_path, regions=(4, 6))


class Failing(nn.Module):
    """Raises for dark pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 192))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.mean().detach()) < 0.1:
            raise RuntimeError("the model broke")
        return x.flatten(1) @ self.weight.T


def mixed() -> list[vx.Example]:
    bright, dark = np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)
    pictures = [bright, dark, "missing.png", bright]
    return [vx.Example(p, answer="a", id=f"e{i}") for i, p in enumerate(pictures)]


def test_bad_examples_are_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    model = vx.load(Failing(), transform=ToTensor(), labels=["a", "b"], device="cpu")
    settings: dict[str, Any] = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "sparseness"],
        "workers": 1,
        "shard": 1,
    }
    report = vx.evaluate(model, mixed(), out=tmp_path / "a", **settings)
    errors = report.errors()
    assert errors["id"].tolist() == ["e1", "e2"]
    assert errors["note"][0] == "RuntimeError: the model broke"
    assert "does not exist" in errors["note"][1]
    assert report.interval("accuracy", "").count == 2
    assert any("failed altogether" in note for note in report.notes())
    with pytest.raises(vx.InvalidInput, match="2 examples failed, above 1; the last: example 2"):
        vx.evaluate(model, mixed(), out=tmp_path / "b", max_errors=1, **settings)
    assert len(list((tmp_path / "b" / "shards").iterdir())) == 3


def test_a_folder_that_cannot_be_written_is_said_before_work(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(vx.InvalidInput, match="cannot be written"):
        run(scenes_model, tmp_path / "file" / "run")


@pytest.mark.slow
def test_a_full_disk_names_the_shard_and_keeps_the_finished(
    scenes_model: ViltModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from vqa_explain.evaluation import store

    count = []

    def write(path: Path, content: Any) -> Path:
        if path.suffix == ".parquet":
            count.append(path)
            if len(count) == 2:
                raise vx.InvalidInput("no space left on device")
        return write_atomically(path, content)

    monkeypatch.setattr(store, "write_atomically", write)
    with pytest.raises(vx.InvalidInput, match="shard 1 cannot be written: no space left"):
        run(scenes_model, tmp_path)
    assert Store(tmp_path).finished("examples", read_plan(tmp_path / "plan.json")) == {0}
    run(scenes_model, tmp_path)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"methods": ["salience"]}, "did you mean 'saliency'"),
        ({"methods": ["saliency", "saliency"]}, "asked for twice"),
        ({"methods": ["shapley:budgets=5"]}, "did you mean 'budget'"),
        ({"methods": ["shapley:budget"]}, "must be name=value"),
        ({"methods": [7]}, "a method is a name"),
        ({"metrics": ["deletions"]}, "did you mean 'deletion'"),
        ({"metrics": ["deletion:players=words"]}, "choose one of: all, image, question"),
        ({"metrics": []}, "no metric is asked for"),
        ({"engine": "dask"}, "choose one of: local, ray"),
        ({"keep": ["everything"]}, "thing to keep"),
        ({"limit": 0}, "limit must be a whole number from 1"),
        ({"workers": 0}, "workers must be a whole number from 1"),
    ],
)
def test_what_cannot_be_asked_is_said_before_work(
    scenes_model: ViltModel, tmp_path: Path, settings: Any, words: str
) -> None:
    with pytest.raises(vx.InvalidInput, match=words):
        run(scenes_model, tmp_path / "run", **settings)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "is empty"),
        ("scenes:test", "sequence of Examples"),
        (iter([vx.Example("a.png")]), "read only once"),
        ([{"image": "a.png"}], "first item is of type dict"),
    ],
)
def test_what_is_no_data_set_is_said(
    scenes_model: ViltModel,
    tmp_path: Path,
    data: object,
    words: str,
) -> None:
    with pytest.raises(vx.InvalidInput, match=words):
        vx.evaluate(scenes_model, data, out=tmp_path / "run")  # type: ignore[arg-type]


def test_metrics_without_their_truth(scenes_model: ViltModel, tmp_path: Path) -> None:
    first = vx.load_dataset(DATA)[0]
    bare = [vx.Example(first.image, first.question)]
    with pytest.raises(
        vx.InvalidInput, match="relevance_mass: the example has no mask of the true region"
    ):
        vx.evaluate(
            scenes_model, bare, ["saliency"], ["relevance_mass", "accuracy"], tmp_path / "a"
        )
    report = vx.evaluate(
        scenes_model,
        bare,
        ["saliency"],
        ["relevance_mass", "text_share"],
        tmp_path / "b",
        workers=1,
    )
    assert report.notes() == [
        "relevance_mass: left out for 1 of 1 examples, since the example has no mask of the true "
        "region",
        "text_share: left out for 1 of 1 examples by saliency, since values of words and regions "
        "cannot be compared",
    ]
    assert report.interval("relevance_mass", "saliency").count == 0


def test_a_method_that_the_model_lacks_is_refused(scenes_model: ViltModel, tmp_path: Path) -> None:
    with pytest.raises(vx.Unsupported):
        run(scenes_model, tmp_path, methods=["guided_backprop"])


@pytest.mark.slow
def test_every_shard_says_whose_it_is(scenes_model: ViltModel, tmp_path: Path) -> None:
    report = run(scenes_model, tmp_path)
    for path in (tmp_path / "shards").iterdir():
        assert pq.read_schema(path).metadata[b"plan"].decode() == report.plan.hash
