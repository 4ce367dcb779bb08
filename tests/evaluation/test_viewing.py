"""A finished run in the viewer: its list, its page, and what is computed when an example is chosen."""

import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from command import command
from conftest import Linear, ToTensor

import vqa_explain as vx
from vqa_explain.models.base import Model
from vqa_explain.shell.app import app

SIDE = 8
METRICS = ["accuracy", "deletion", "insertion"]


@pytest.fixture(scope="module")
def model() -> Model:
    return vx.load(Linear(3, SIDE), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


@pytest.fixture(scope="module")
def data() -> list[vx.Example]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 250, (6, SIDE, SIDE, 3), dtype=np.uint8)
    return [
        vx.Example(one, id=f"picture {i}", answer="abc"[i % 3]) for i, one in enumerate(pictures)
    ]


@pytest.fixture(scope="module")
def report(model: Model, data: list[vx.Example], tmp_path_factory: Any) -> vx.Report:
    folder = tmp_path_factory.mktemp("run") / "run"
    methods = ["leave_one_out", "saliency"]
    return vx.evaluate(
        model, data, methods=methods, metrics=METRICS, regions=2, out=folder, workers=1
    )


def test_a_run_is_listed_with_its_metrics(
    report: vx.Report, model: Model, data: list[vx.Example]
) -> None:
    viewer = vx.Viewer(model, data, run=report)
    assert viewer.wait(600)
    table = viewer.frame()
    assert list(table["id"]) == [example.id for example in data]
    rows = report.frame()
    for metric, method in (("deletion", "saliency"), ("insertion", "leave_one_out")):
        expected = rows[(rows["metric"] == metric) & (rows["method"] == method)]
        found = table[f"{metric}, {method}"]
        assert list(found) == list(expected.sort_values("index")["value"])
    answered = rows[rows["metric"] == "accuracy"].sort_values("index")
    assert list(table["accuracy"]) == list(answered["value"])
    assert list(table["correct"]) == [bool(value) for value in answered["value"]]
    assert (viewer.method, viewer.selected) == ("leave_one_out", 0)


class Counted(list[vx.Example]):
    """A data set that tells which examples were read."""

    def __init__(self, examples: Iterable[vx.Example]) -> None:
        super().__init__(examples)
        self.read: list[int] = []

    def __getitem__(self, number: Any) -> Any:
        self.read.append(number)
        return super().__getitem__(number)


def test_only_what_is_chosen_is_read_and_explained(
    report: vx.Report, model: Model, data: list[vx.Example]
) -> None:
    counted = Counted(data)
    viewer = vx.Viewer(model, counted, run=report)
    assert viewer.wait(600)
    viewer.selected = 4
    assert viewer.wait(600)
    assert set(counted.read) == {0, 4}
    why = vx.explain(model, data[4], method="leave_one_out", regions=2)
    assert [r.value for r in viewer.explanation.regions] == [r.value for r in why.regions]
    assert "deletion, saliency" in viewer.entries[4]["numbers"]  # it keeps what the run measured
    viewer.method = "saliency"
    assert viewer.wait(600)
    assert viewer.explanation.method == "saliency"
    assert set(counted.read) == {0, 4}


def test_a_run_of_ones_own_model_says_how_to_open_it(report: vx.Report) -> None:
    with pytest.raises(vx.InvalidInput, match=r"give both: vqa_explain.Viewer\(model, dataset"):
        vx.Viewer(report)


def test_a_viewer_without_data_is_refused(model: Model) -> None:
    with pytest.raises(vx.InvalidInput, match="needs a data set"):
        vx.Viewer(model)


@pytest.mark.slow
def test_a_run_of_shipped_names_opens_by_itself(tmp_path: Path) -> None:
    model, data = vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")
    run = vx.evaluate(
        model, data, methods=["saliency"], metrics=["relevance_mass"], limit=2, out=tmp_path / "r",
        workers=1,
    )  # fmt: skip
    viewer = vx.Viewer(run)
    assert viewer.wait(600)
    assert viewer.explanation.question == data[0].question
    values = run.values("relevance_mass", "saliency")
    assert [one["numbers"]["relevance_mass"] for one in viewer.entries] == list(values)


def test_the_command_writes_the_page_of_a_run(
    report: vx.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        app(["view", str(report.folder)], exit_on_error=False, print_error=False)
    assert ended.value.code == 0
    path = report.folder / "viewer.html"
    assert str(path) in capsys.readouterr().out.replace("\n", "")
    text = path.read_text()
    held = json.loads(text.split('id="explanations">')[1].split("</script>")[0])
    assert [one["entry"]["id"] for one in held] == [f"picture {i}" for i in range(6)]
    kept = {shown.index for shown, _ in report.shown()}
    assert {i for i, one in enumerate(held) if "parts" in one} == kept
    for i, one in enumerate(held):
        assert one["entry"]["numbers"]["accuracy"] in (0.0, 1.0)
        assert ("not in this page" in one["entry"]["message"]) == (i not in kept)


def shell_commands(page: str) -> list[str]:
    """What a report tells to type."""
    return [one.split("</code>")[0] for one in page.split("<code>")[1:]]


def test_a_card_without_a_page_beside_it_says_the_command(
    report: vx.Report, tmp_path: Path
) -> None:
    text = report.to_html(tmp_path / "report.html").read_text()
    told = shell_commands(text)
    assert len(told) == len(report.shown()) > 0
    assert "viewer.html#" not in text
    for line, (shown, _) in list(zip(told, report.shown(), strict=True))[::5]:
        name, *arguments = shlex.split(line)
        assert name == "vqa-explain"
        done = command(*arguments, "--out", tmp_path / "other.html")
        assert (done.returncode, done.stderr) == (0, "")
        assert f"other.html#example={shown.index}" in done.stdout.replace("\n", "")


def test_a_page_of_other_results_is_not_linked(report: vx.Report, tmp_path: Path) -> None:
    page = report.to_viewer(tmp_path / "viewer.html")
    assert "viewer.html#" in report.to_html(tmp_path / "report.html").read_text()
    stamp = page.read_text().split('name="vqa-explain" content="')[1][:16]
    page.write_text(page.read_text().replace(stamp, "0" * 16))
    assert "viewer.html#" not in report.to_html(tmp_path / "report.html").read_text()


def test_an_example_that_is_not_there_is_refused(report: vx.Report, tmp_path: Path) -> None:
    out = tmp_path / "viewer.html"
    done = command("view", report.folder, "--example", 6, "--out", out)
    assert done.returncode == 2
    assert "there is no example 6 to view; they go from 0 to 5" in done.stderr
    assert not out.exists()
