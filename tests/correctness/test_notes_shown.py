"""What a reader must know of an explanation stands in every place that shows one."""

import dataclasses
import html
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from building import summary_of_format_1
from custom_net import VOCABULARY, custom
from matplotlib.backends.backend_agg import FigureCanvasAgg
from rich.console import Console
from safetensors.numpy import save
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain._explanation_file import _checksum
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.viewer.export import article, page
from vqa_explain.viewer.payload import payload, raw

# Fields that older files lack.
NEWER_KEYS = (
    "padding",
    "notes",
    "answer_without_inputs",
    "without_inputs_index",
)


class Indifferent(nn.Module):
    """Answers "b" whatever it sees."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(3))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.flatten(1).sum(1, keepdim=True) * self.weight + torch.tensor([0.0, 2.0, 1.0])


class Bright(nn.Module):
    """The score of "a" is how bright the picture is; "b" has no score."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0, 0.0]))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((1, 2, 3))[:, None] * self.weight


def wide_crop() -> Any:
    """A crop that is taller than the picture, so that most of the frame is padding."""
    return transforms.Compose([transforms.ToTensor(), transforms.CenterCrop(32)])


def all_zero() -> vx.Explanation:
    model = vx.load(
        Indifferent(), transform=transforms.ToTensor(), labels=["a", "b", "c"], device="cpu"
    )
    return vx.explain(model, np.full((8, 8, 3), 90, dtype=np.uint8), method="saliency")


def padded() -> vx.Explanation:
    model = vx.load(Bright(), transform=wide_crop(), labels=["a", "b"], device="cpu")
    picture = np.full((16, 32, 3), 200, dtype=np.uint8)
    return vx.explain(model, picture, method="saliency", target="a")


def characters() -> vx.Explanation:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    lao = "ສີຫຍັງ"
    model = custom(text={**VOCABULARY, **dict.fromkeys(lao, 2)})
    return vx.explain(model, picture, lao, method="saliency")


def survives() -> vx.Explanation:
    model = vx.load(
        Indifferent(), transform=transforms.ToTensor(), labels=["a", "b", "c"], device="cpu"
    )
    return vx.explain(
        model, np.full((8, 8, 3), 90, dtype=np.uint8), method="leave_one_out", regions=4
    )


# Case → an explanation, and what its note says. Truth by hand: the networks' weights are known.
CASES: dict[str, tuple[Any, ...]] = {
    "all zero": (all_zero, "every value of the picture is 0"),
    "padding": (padded, "50% of the values of the picture fell on padding"),
    "characters": (characters, "the script Lao are divided into characters"),
    "survives": (survives, "still answers “b” with everything absent"),
}


@pytest.fixture(scope="module", params=CASES)
def told(request: pytest.FixtureRequest) -> tuple[vx.Explanation, str]:
    """An explanation with a note, and what the note says."""
    make, said = CASES[request.param]
    return make(), said


def printed(tables: list[Any]) -> str:
    console = Console(width=400, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def texts_of(figure: Any) -> Any:
    """All that stands in a figure, on one line."""
    found = figure.findobj(lambda artist: hasattr(artist, "get_text"))
    return " ".join(" ".join(artist.get_text() for artist in found).split())


def places(why: vx.Explanation) -> dict[str, Any]:
    """Every place that shows an explanation → what it says."""
    carried = re.search(r'id="explanations">(.*?)</script>', page([why]))
    assert carried is not None
    return {
        "repr": repr(why),
        "notebook": html.unescape(why._repr_html_()),
        "figure": texts_of(why.plot()),
        "page": json.loads(carried[1])[0]["notes"][-1],
        "viewer": " ".join(payload(why, raw)["notes"]),
        "terminal": printed(explanation_tables(why)),
        "summary": " ".join(why.summary()["notes"]),
    }


def test_every_place_shows_the_note(told: tuple[vx.Explanation, str]) -> None:
    why, said = told
    for place, text in places(why).items():
        assert said.lower() in text.lower(), place


def test_what_needs_no_note_has_none_anywhere(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="saliency")
    assert why.notes == ()
    assert "note" not in repr(why)
    assert 'class="notes"' not in article(why)
    assert "note:" not in texts_of(why.plot())
    assert payload(why, raw)["notes"] == []
    assert "Notes" not in printed(explanation_tables(why))


def test_the_share_on_padding_is_half_of_the_frame() -> None:
    why = padded()  # 16 of 32 rows of the frame are padding, and every pixel has the same gradient
    assert why.padding == pytest.approx(0.5, abs=1e-6)
    assert "50%" in article(why)
    assert "50%" in " ".join(payload(why, raw)["facts"])


def test_what_the_model_answers_without_inputs_is_said_once(linear: ClassifierModel) -> None:
    """Where it is the answer itself, a note says so; else a line of its own does."""
    pictures = [np.full((8, 8, 3), level, dtype=np.uint8) for level in (0, 255)]
    found = [
        vx.explain(linear, one, method="leave_one_out", regions=4, image_fill="constant")
        for one in pictures
    ]
    found.append(survives())
    assert {why.survives_without_inputs for why in found} == {True, False}
    for why in found:
        said = f"with everything absent, the model answers “{why.answer_without_inputs}”"
        for text in (repr(why), article(why), " ".join(payload(why, raw)["facts"])):
            assert (said in text) != why.survives_without_inputs
        assert any("still answers" in note for note in why.notes) == why.survives_without_inputs


class BirdOrMachine(nn.Module):
    """The bird in a bright picture, the machine in the dark."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        bright = pixels.mean((1, 2, 3))
        return torch.stack([4 * bright, 0 * bright, 2 - 4 * bright], dim=1)


def test_another_label_of_the_same_text_is_another_answer() -> None:
    labels = ["crane", "dog", "crane"]
    model = vx.load(BirdOrMachine(), transform=transforms.ToTensor(), labels=labels, device="cpu")
    bright = np.full((8, 8, 3), 250, dtype=np.uint8)
    for method in ("leave_one_out", "integrated_gradients"):
        fill = "image_fill" if method == "leave_one_out" else "image_baseline"
        constant: dict[str, Any] = {fill: "constant"}  # zeros: the machine
        mean: dict[str, Any] = {fill: "mean"}
        why = vx.explain(model, bright, method=method, **constant)
        assert (why.answers[0].index, why.without_inputs_index) == (0, 2)
        assert not why.survives_without_inputs
        assert why.notes == ()
        assert "the model answers “crane” (label 2)" in repr(why)
        assert vx.explain(model, bright, method=method, **mean).survives_without_inputs


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("method", ["leave_one_out", "integrated_gradients"])
def test_no_answer_is_made_up_of_numbers_that_are_none(
    bad: float,
    method: str,
    linear: ClassifierModel,
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A word taken from NaN would be a plausible wrong one."""
    name = "coalition_scores" if method == "leave_one_out" else "scores"
    plain = getattr(linear, name)
    whole = vx.explain(linear, picture, method=method)
    calls: list[None] = []

    def counted(*arguments: Any) -> Any:
        calls.append(None)
        scores = plain(*arguments)
        return scores if len(calls) < last else scores * bad

    last = 10**9
    monkeypatch.setattr(linear, name, counted)
    vx.explain(linear, picture, method=method)
    last = len(calls)
    calls.clear()
    with pytest.raises(vx.NonFiniteScore, match="with everything absent"):
        vx.explain(linear, picture, method=method)
    assert whole.answer_without_inputs is not None


def test_a_note_stays_inside_the_figure_and_off_the_rest() -> None:
    why = padded()
    long = "a sentence that goes on and on " * 12
    why = dataclasses.replace(why, notes=(*why.notes, long, "$x_1$ is no mathematics"))
    figure = why.plot()
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    room = figure.bbox
    note = next(text for text in figure.texts if "note:" in text.get_text())
    box = note.get_window_extent(renderer)
    assert room.x0 <= box.x0
    assert box.x1 <= room.x1
    assert room.y0 <= box.y0
    assert all(axes.get_tightbbox(renderer).y0 >= box.y1 - 1 for axes in figure.axes)


def test_files_keep_notes_and_older_files_have_none(
    told: tuple[vx.Explanation, str], tmp_path: Path
) -> None:
    why, said = told
    again = vx.load_explanation(why.save(tmp_path / "new.vqax"))
    assert (again.notes, again.padding) == (why.notes, why.padding)
    assert again.answer_without_inputs == why.answer_without_inputs
    (tmp_path / "old.vqax").write_bytes(without_newer_keys(why))
    old = vx.load_explanation(tmp_path / "old.vqax")
    assert (old.notes, old.padding, old.answer_without_inputs) == ((), 0.0, None)
    assert said not in repr(old)
    assert 'class="notes"' not in article(old)


def without_newer_keys(why: vx.Explanation) -> bytes:
    """The bytes of a file as versions without notes wrote it."""
    summary = {k: v for k, v in summary_of_format_1(why).items() if k not in NEWER_KEYS}
    text = json.dumps(summary)
    arrays: dict[str, np.ndarray] = {
        "image": np.ascontiguousarray(why.image, dtype=np.float64),
        "labels": np.ascontiguousarray(why.labels, dtype=np.int32),
        "picture": np.ascontiguousarray(why.picture, dtype=np.uint8),
    }
    return save(arrays, {"format": "1", "explanation": text, "checksum": _checksum(text, arrays)})


def test_hostile_notes_are_text(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="saliency")
    why = dataclasses.replace(why, notes=("</script><script>alert(1)</script>",))
    assert "<script>alert" not in article(why)
    assert "<script>alert" not in page([why])
