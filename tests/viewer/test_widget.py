"""The viewer's Python side, without a front end."""

import base64
import json
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel
from vqa_explain.viewer.jobs import Cancelled, Worker
from vqa_explain.viewer.line import measured_line
from vqa_explain.viewer.payload import NOWHERE, packed, raw


@pytest.fixture
def data() -> list[Any]:
    return [vx.load_dataset("scenes:test")[i] for i in range(3)]


def made(model: Any, dataset: list[Any] | list[vx.Example], **settings: Any) -> vx.Viewer:
    viewer = vx.Viewer(model, dataset, **{"method": "saliency", **settings})
    assert viewer.wait(600)
    return viewer


@pytest.mark.slow
def test_what_is_sent_is_the_explanation(scenes_model: ViltModel, data: list[Any]) -> None:
    viewer = made(scenes_model, data, method="interactions", budget=700)
    why, sent = viewer.explanation, viewer.shown

    picture, question = sent["parts"]
    (joint,) = sent["joint"]

    def array(found: dict[str, Any]) -> np.ndarray:
        return np.frombuffer(found["data"], found["type"]).reshape(found["shape"])

    np.testing.assert_array_equal(
        array(picture["labels"]), np.where(why.labels < 0, NOWHERE, why.labels)
    )
    values, limit = why.heat
    np.testing.assert_allclose(
        array(picture["heat"]) / 127 * limit, np.clip(values, -limit, limit), atol=limit / 250
    )
    np.testing.assert_allclose(array(joint["values"]), why.interactions, rtol=1e-6)
    np.testing.assert_array_equal(array(picture["truth"]).astype(bool), data[0].truth)
    assert [w["value"] for w in question["players"]] == [w.value for w in why.words]
    assert [e["state"] for e in viewer.entries] == ["done"] * 3
    assert [e["correct"] for e in viewer.entries] == [
        vx.explain(scenes_model, e, method="saliency").target == e.answer for e in data
    ]


def test_packing_is_deflated_base64() -> None:
    import base64
    import zlib

    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    found = packed(values)
    assert (
        zlib.decompress(base64.b64decode(found["data64"]), -15)
        == values.tobytes()
        == raw(values)["data"]
    )
    assert (found["type"], found["shape"]) == ("float32", [3, 4])


def test_selecting_shows_what_is_kept_at_once(scenes_model: ViltModel, data: list[Any]) -> None:
    viewer = made(scenes_model, data)
    calls = []
    scenes_model.module.register_forward_hook(lambda *_: calls.append(1))
    viewer.selected = 2
    assert viewer.wait(600)
    assert calls == []
    assert viewer.explanation.question == data[2].question
    scenes_model.module._forward_hooks.clear()


def test_an_empty_data_set_shows_nothing(scenes_model: ViltModel) -> None:
    viewer = made(scenes_model, [])
    assert viewer.entries == []
    assert viewer.explanation is None
    with pytest.raises(vx.InvalidInput, match="nothing is explained yet"):
        viewer.to_html("x.html")


def test_examples_without_labels_have_no_outcome(scenes_model: ViltModel, data: list[Any]) -> None:
    viewer = made(scenes_model, [vx.Example(data[0].image, data[0].question)])
    assert viewer.entries[0]["correct"] is None
    assert viewer.shown["label"] is None
    assert viewer.shown["parts"][0]["truth"] is None


class Failing(nn.Module):
    """Raises or gives NaN for dark pictures."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.weight = how, nn.Parameter(torch.ones(2, 192))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if float(x.mean()) < 0.1:
            if self.how == "raises":
                raise RuntimeError("the model broke")
            return x.flatten(1) @ self.weight.T * float("nan")
        return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize(("how", "words"), [("raises", "the model broke"), ("nan", "NaN")])
def test_a_models_failure_is_shown_in_its_place(how: str, words: str) -> None:
    model = vx.load(Failing(how), transform=ToTensor(), labels=["a", "b"], device="cpu")
    bright, dark = np.full((8, 8, 3), 200, np.uint8), np.zeros((8, 8, 3), np.uint8)
    viewer = made(model, [vx.Example(p) for p in (bright, dark, bright)])
    assert [e["state"] for e in viewer.entries] == ["done", "error", "done"]
    assert words in viewer.entries[1]["message"]


def test_a_wrong_message_is_said_and_changes_nothing(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = made(scenes_model, data)
    viewer._on_message(viewer, {"action": "method", "method": "shapely", "parameters": {}}, [])
    assert "did you mean 'shapley'" in viewer.problem
    viewer._on_message(
        viewer, {"action": "method", "method": "shapley", "parameters": {"budget": 3}}, []
    )
    assert viewer.wait(600)
    assert "budget 3" in viewer.entries[0]["message"]


def test_filters_take_what_fits(scenes_model: ViltModel, data: list[Any]) -> None:
    viewer = made(scenes_model, data)
    viewer._on_message(viewer, {"action": "fetch", "filter": "incorrect", "count": 2}, [])
    assert viewer.wait(600)
    assert viewer.entries == []
    assert "incorrect" in viewer.problem
    answer = vx.explain(scenes_model, data[1], method="saliency").target
    viewer._on_message(viewer, {"action": "fetch", "filter": f"answer: {answer}", "count": 9}, [])
    assert viewer.wait(600)
    assert {e["answer"] for e in viewer.entries} == {answer}


@pytest.mark.parametrize("dataset", ["scenes:test", 7, {"a": 1}])
def test_a_data_set_is_an_iterable_of_examples(
    scenes_model: ViltModel, dataset: str | int | dict[str, int]
) -> None:
    with pytest.raises(vx.InvalidInput, match="sequence of Examples"):
        vx.Viewer(scenes_model, dataset)  # type: ignore[arg-type]
    with pytest.raises(vx.InvalidInput, match="did you mean"):
        vx.Viewer(scenes_model, [], method="salience")


def test_the_latest_of_a_name_wins_and_any_can_be_cancelled() -> None:
    worker, done, started, go_on = Worker(), [], threading.Event(), threading.Event()

    def slow(cancelled: Any) -> None:
        started.set()
        go_on.wait(600)
        if cancelled():
            raise Cancelled
        done.append("slow")

    worker.put("a", slow)
    started.wait(600)
    worker.put("b", lambda _: done.append("first"))
    worker.put("b", lambda _: done.append("second"))
    worker.put("c", lambda _: done.append("never"))
    worker.cancel("c")
    worker.put("a", lambda _: done.append("new"), first=True)
    go_on.set()
    assert worker.wait(600)
    assert done == ["new", "second"]


@pytest.mark.slow
def test_python_may_end_while_it_works() -> None:
    script = """
import vqa_explain as vx
viewer = vx.Viewer(vx.load("scenes", device="cpu"), vx.load_dataset("scenes:test")[:4], method="shapley")
while all(entry["state"] == "waiting" for entry in viewer.entries):
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=1200
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_page_of_a_viewer_holds_what_is_kept(
    scenes_model: ViltModel, data: list[Any], tmp_path: Path
) -> None:
    text = made(scenes_model, data).to_html(tmp_path / "page.html").read_text()
    assert all(example.question in text for example in data)


def test_the_page_of_a_viewer_has_truth_names_and_outcomes(
    scenes_model: ViltModel, data: list[Any], tmp_path: Path
) -> None:
    text = made(scenes_model, data).to_html(tmp_path / "page.html").read_text()
    told = json.loads(text.split('id="explanations">')[1].split("</script>")[0])
    assert [one["exampleId"] for one in told] == [example.id for example in data]
    assert [one["label"] for one in told] == [example.answer for example in data]
    for one, example in zip(told, data, strict=True):
        sent = next(part["truth"] for part in one["parts"] if part["kind"] == "image")
        bits = zlib.decompress(base64.b64decode(sent["data64"]), -15)
        truth = np.frombuffer(bits, sent["type"]).reshape(sent["shape"])
        np.testing.assert_array_equal(truth.astype(bool), example.truth)


def test_it_composes_with_other_widgets(scenes_model: ViltModel, data: list[Any]) -> None:
    import ipywidgets

    viewer, number, seen = made(scenes_model, data), ipywidgets.IntText(0), []
    box = ipywidgets.VBox([number, viewer])
    link = ipywidgets.link((viewer, "selected"), (number, "value"))
    viewer.observe(lambda change: seen.append(change["new"].question), "explanation")
    number.value = 2
    assert viewer.wait(600)
    assert (viewer.selected, seen, box.children[1]) == (2, [data[2].question], viewer)
    link.unlink()


@pytest.mark.parametrize(
    ("column", "question", "method", "target"),
    [
        ({"method": "leave_one_out"}, 0, "leave_one_out", None),
        ({"target": "yes"}, 0, "saliency", "yes"),
        ({"target": 1}, 0, "saliency", 1),
        ({"example": 2}, 2, "saliency", None),
        ({"model": 1}, 0, "saliency", None),
    ],
)
@pytest.mark.slow
def test_what_is_set_beside_is_what_was_asked(
    scenes_model: ViltModel,
    data: list[Any],
    column: dict[str, Any],
    question: int,
    method: str,
    target: str | int | None,
) -> None:
    other = vx.load("easy-vqa", device="cpu")
    viewer = made(scenes_model, data, others=[other])
    viewer._on_message(viewer, {"action": "columns", "columns": [column]}, [])
    assert viewer.wait(600)
    model = other if "model" in column else scenes_model
    expected = vx.explain(model, data[question], method=method, target=target)
    assert viewer.problem == ""
    assert [w["value"] for w in viewer.compared[0]["parts"][1]["players"]] == [
        w.value for w in expected.words
    ]
    assert viewer.compared[0]["target"] == expected.target
    assert viewer.compared[0]["model"] == model.name


def test_a_comparison_that_fails_leaves_the_explanation(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = made(scenes_model, data)
    viewer._on_message(viewer, {"action": "columns", "columns": [{"target": "seventeen"}]}, [])
    assert viewer.wait(600)
    assert "the comparison could not be made" in viewer.problem
    assert "seventeen" in viewer.problem
    assert viewer.entries[0]["state"] == "done"
    assert viewer.compared == []


def test_what_is_asked_for_is_told_until_it_is_shown(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = made(scenes_model, data)
    told: list[dict[str, Any]] = []
    viewer.observe(lambda change: told.append(change["new"]), "pending")
    previews: list[dict[str, Any]] = []
    viewer.observe(lambda change: previews.append(change["new"]), "preview")
    viewer._desk.fetch("all", 2)
    assert viewer.wait(600)
    assert told[0]["method"] == "saliency"
    assert [one.get("state") for one in told][-2:] == ["running", None]
    texts = [part["title"] for part in previews[0]["parts"] if part["kind"] == "text"]
    assert (texts, previews[0]["label"]) == ([data[0].question], data[0].answer)
    assert previews[0]["parts"][0]["size"] == list(viewer.explanation.picture.shape[:2])
    assert [a["text"] for a in previews[1]["answers"]] == [
        a.text for a in viewer.explanation.answers
    ]
    assert (viewer.pending, viewer.preview) == ({}, {})


def test_a_filter_asks_a_model_that_writes_for_what_it_writes(
    folders: Callable[[str], Path],
) -> None:
    model = vx.load(folders("blip"), device="cpu")
    pictures = [np.full((30, 30, 3), 40 * i, np.uint8) for i in range(3)]
    asked = [vx.Example(picture, "what is it?", id=str(i)) for i, picture in enumerate(pictures)]
    encoded = model.encode(asked[1])
    written = model.generate(encoded)[0]  # type: ignore[attr-defined]  # a model that writes
    viewer = made(model, asked)
    viewer._on_message(viewer, {"action": "fetch", "filter": f"answer: {written}", "count": 3}, [])
    assert viewer.wait(600)
    assert viewer.problem == ""
    assert "1" in [entry["id"] for entry in viewer.entries]
    assert {entry["answer"] for entry in viewer.entries} == {written}


NOTEBOOK = """
import numpy as np, torch, vqa_explain as vx
class Sum(torch.nn.Module):
    def forward(self, x):
        return torch.stack([x.sum((1, 2, 3)), -x.sum((1, 2, 3))], 1)
from torchvision.transforms import ToTensor
model = vx.load(Sum(), transform=ToTensor(), labels=["a", "b"], device="cpu")
viewer = vx.Viewer(model, [vx.Example(np.full((8, 8, 3), 99, np.uint8))], method="occlusion")
"""


@pytest.mark.slow
def test_a_viewer_leaves_a_picture_in_the_notebook() -> None:
    import nbformat
    from nbclient import NotebookClient

    made_by: Any = nbformat.v4  # it has no types
    cells = [made_by.new_code_cell(code) for code in (NOTEBOOK + "viewer", "viewer.wait()")]
    book = made_by.new_notebook(cells=cells)
    NotebookClient(book, timeout=600, kernel_name="python3", store_widget_state=False).execute()
    nbformat.validate(book)
    outputs = [output.get("data", {}) for output in book.cells[0].outputs]
    assert any("application/vnd.jupyter.widget-view+json" in data for data in outputs)
    (left,) = [data["text/html"] for data in outputs if "vx-still" in data.get("text/html", "")]
    assert 'src="data:image/png;base64,iVBOR' in left
    assert "<script" not in left
    assert "http" not in left


def test_where_no_widget_is_shown_a_viewer_is_its_picture(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    bundle, _ = made(scenes_model, data)._repr_mimebundle_()
    assert bundle["text/html"].startswith('<div class="vx-still"><img src="data:image/png;base64,')
    assert "<script" not in bundle["text/html"]
    assert "application/vnd.jupyter.widget-view+json" in bundle
    assert vx.Viewer(scenes_model, [], count=0)._repr_mimebundle_()[0].get("text/html") is None


@pytest.mark.slow
def test_a_line_in_words_is_measured_when_it_is_asked_for(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = made(scenes_model, data[:1], method="leave_one_out", regions=3)
    message = {"action": "line", "serial": "line x", "explanation": viewer.shown["id"]}
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    assert (viewer.problem, viewer.options["line"]) == ("", True)
    assert viewer.whatif["serial"] == "line x"
    expected = measured_line(scenes_model, data[0], viewer.explanation, {"image": 3})
    assert viewer.whatif["line"] == expected
    assert expected is not None
    assert viewer.entries[0]["without"] == expected["blind"]["answer"]
    assert list(viewer.frame()["kind"]) == [data[0].family]


@pytest.mark.slow
def test_what_is_inside_is_measured_when_it_is_asked_for(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = made(scenes_model, data[:1], method="leave_one_out", regions=3)
    serial = f"inside {viewer.shown['id']} 1"
    message = {"action": "inside", "serial": serial, "explanation": viewer.shown["id"]}
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    assert (viewer.problem, viewer.whatif["serial"]) == ("", serial)
    inside = viewer.whatif["inside"]
    expected = vx.layers(scenes_model, data[0], target=viewer.explanation.target)
    assert [one["early"]["text"] for one in inside["blocks"]] == [a.text for a in expected.early]
    values = [one["values"] for one in inside["blocks"]]
    assert values == pytest.approx(expected.conductance)
    lost = vx.heads(scenes_model, data[0], target=viewer.explanation.target).lost
    assert inside["heads"]["lost"] == pytest.approx(lost, abs=1e-5)


def test_a_network_without_blocks_says_so_in_their_place() -> None:
    network = nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 2))
    model = vx.load(network, transform=ToTensor(), labels=["a", "b"], device="cpu")
    viewer = made(model, [vx.Example(np.full((8, 8, 3), 200, np.uint8))])
    message = {"action": "inside", "serial": "x", "explanation": viewer.shown["id"]}
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    assert "blocks" in viewer.whatif["error"]


@pytest.mark.slow
def test_a_viewer_without_a_method_explains_as_explain_does(
    scenes_model: ViltModel, data: list[Any]
) -> None:
    viewer = vx.Viewer(scenes_model, data[:1])
    assert viewer.wait(600)
    alone, found = vx.explain(scenes_model, data[0]), viewer.explanation
    assert (found.score, found.method) == (alone.score, alone.method)
    assert [r.value for r in found.regions] == [r.value for r in alone.regions]
    assert [w.value for w in found.words] == [w.value for w in alone.words]
    message = {"action": "whatif", "away": {"image": [0]}, "serial": "x"}
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    predicted = viewer.whatif["predicted"]
    assert predicted == pytest.approx(-alone.regions[0].value)
