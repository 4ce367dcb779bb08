"""Metrics give a number only where something can be measured. Truth from plain calls and by
hand.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, ToTensor
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan

SETTINGS: dict[str, Any] = {"workers": 1, "regions": 2, "image_fill": "constant"}
LABELS = ["edema", "mass", "mass", "none"]


class Reading(nn.Module):
    """Scores in which words and picture interact."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(2)
        self.words = nn.Embedding(8, 4)
        with torch.no_grad():
            self.words.weight.copy_(torch.randn(8, 4, generator=generator))
        self.look = nn.Parameter(torch.randn(3, 4, generator=generator) * 4)

    def forward(self, pixels: torch.Tensor, ids: Any) -> torch.Tensor:
        told, seen = self.words(ids).sum(1), pixels.mean((2, 3)) @ self.look
        result: torch.Tensor = told * seen + 0.3 * told + seen
        return result


VOCABULARY = {"<pad>": 0, "<unk>": 1, "is": 2, "it": 3, "there": 4, "small": 5, "bright": 6}


@pytest.fixture
def reading() -> vx.CustomModel:
    return vx.CustomModel(
        Reading(), image=transforms.ToTensor(), text=VOCABULARY, labels=LABELS, device="cpu"
    )


@pytest.fixture
def classifier() -> vx.Model:
    return vx.load(Linear(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


def pictures(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(4)
    return [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) // (1 + i % 3) for i in range(count)]


QUESTIONS = ["is it there", "is it small", "is it bright", "there is small", "it is it", "bright"]


def examples(**more: Any) -> list[vx.Example]:
    return [
        vx.Example(picture, question, id=str(i), **{k: v(i) for k, v in more.items()})
        for i, (picture, question) in enumerate(zip(pictures(6), QUESTIONS, strict=True))
    ]


def plain_scores(model: Any, pairs: list[tuple[Any, Any]]) -> np.ndarray:
    """(N, K) by the network itself."""
    found = []
    for picture, question in pairs:
        pixels = transforms.ToTensor()(picture)[None]
        ids = torch.tensor([[VOCABULARY[word] for word in question.split()]])
        with torch.no_grad():
            found.append(model.module(pixels, ids)[0].double().numpy())
    return np.array(found)


def emap_by_hand(model: Any, data: list[vx.Example], right: Any) -> tuple[Any, Any]:
    """Accuracy and EMAP over these examples, from the plain network;
    `right` says which labels are right.
    """
    count = len(data)
    pairs = [(p.image, q.question) for q in data for p in data]
    grid = plain_scores(model, pairs).reshape(count, count, -1)
    own = grid[np.arange(count), np.arange(count)]
    projected = grid.mean(1) + grid.mean(0) - grid.mean((0, 1))
    hits = [
        [right(example, LABELS[k]) for example, k in zip(data, s.argmax(1), strict=True)]
        for s in (own, projected)
    ]
    return np.mean(hits[0]), np.mean(hits[1])


KNOWN: dict[str, Callable[..., Any]] = {
    "one true answer": lambda e, label: label == e.answer,
    "people's answers": lambda e, label: label in e.answers,
    "rows without an answer": lambda e, label: label == e.answer,
}
TRUTH = {
    "one true answer": {"answer": lambda i: LABELS[i % 4]},
    "people's answers": {"answers": lambda i: (LABELS[i % 4],) * 3},
    "rows without an answer": {"answer": lambda i: LABELS[i % 4] if i % 3 else None},
}


@pytest.mark.parametrize("what", TRUTH)
def test_emap_counts_what_each_answer_is_worth(
    reading: vx.CustomModel, tmp_path: Path, what: str
) -> None:
    data = examples(**TRUTH[what])
    # Two labels are spelled "mass"; both are right.
    report = vx.evaluate(reading, data, [], ["emap", "accuracy"], tmp_path, **SETTINGS)
    answered = [e for e in data if e.answer or e.answers]
    accuracy, emap = emap_by_hand(reading, answered, KNOWN[what])
    additive = report.emap()
    assert additive is not None
    assert additive.count == len(answered)
    assert additive.accuracy == pytest.approx(accuracy)
    assert additive.emap == pytest.approx(emap)
    assert report.interval("accuracy", "").mean == pytest.approx(accuracy)
    gone = len(data) - len(answered)
    said = f"emap: {gone} rows are left out of its grid, since the example has no true answer"
    assert (said in report.notes()) == (gone > 0)


def test_emap_means_nothing_for_a_model_without_questions(
    classifier: vx.Model, tmp_path: Path
) -> None:
    data = [vx.Example(p, answer="a") for p in pictures(3)]
    report = vx.evaluate(classifier, data, [], ["emap", "accuracy"], tmp_path, **SETTINGS)
    assert report.emap() is None
    assert "emap: left out, since the model takes no question" in report.notes()


PEOPLE = {
    ("edema", "mass"): {"edema": 1, "mass": 1, "none": 0},
    ("edema", "Mass", "mass "): {"edema": 0, "mass": 1, "none": 0},
    ("none", "none", "edema"): {"edema": 0, "mass": 0, "none": 1},
    ("other", "other", "edema"): {"edema": 0, "mass": 0, "none": 0},
    ("", "", "edema"): {"edema": 1, "mass": 0, "none": 0},
}


@pytest.mark.parametrize("people", PEOPLE)
def test_accuracy_takes_the_most_frequent_answer_for_true(
    reading: vx.CustomModel, people: Any
) -> None:
    judge = Judge(reading, Plan("m", "", "d", "", None, (), ("accuracy", "vqa_accuracy")))
    for picture in pictures(6):
        rows = judge(0, vx.Example(picture, QUESTIONS[0], answers=people))
        said = LABELS[plain_scores(reading, [(picture, QUESTIONS[0])])[0].argmax()]
        assert rows[0]["value"] == PEOPLE[people][said]
        assert rows[0]["right"] == bool(PEOPLE[people][said])
        assert rows[1]["note"] == "there are fewer than 10 people's answers"


def test_ten_answers_need_no_note(reading: vx.CustomModel) -> None:
    judge = Judge(reading, Plan("m", "", "d", "", None, (), ("vqa_accuracy",)))
    (row,) = judge(0, vx.Example(pictures(1)[0], QUESTIONS[0], answers=("mass",) * 10))
    assert row["note"] is None


# What cannot be measured → the metric, the example's truth, and what is said.
FULL, EMPTY = np.ones((1, 8, 8), bool), np.zeros((1, 8, 8), bool)
NOT_MEASURED: dict[str, tuple[Any, ...]] = {
    "text players of a classifier": (
        "deletion:players=question",
        {},
        "the model takes no question",
    ),
    "insertion": ("insertion:players=question", {}, "the model takes no question"),
    "accuracy as they leave": (
        "perturbation_positive:players=question",
        {},
        "the model takes no question",
    ),
    "accuracy as others leave": (
        "perturbation_negative:players=question",
        {},
        "the model takes no question",
    ),
    "an empty mask": ("relevance_mass", {"masks": EMPTY}, "the true mask is empty"),
    "an empty mask, rank": ("relevance_rank", {"masks": EMPTY}, "the true mask is empty"),
    "an empty mask, point": ("pointing_game", {"masks": EMPTY}, "the true mask is empty"),
}


@pytest.mark.parametrize("what", NOT_MEASURED)
def test_what_cannot_be_measured_is_left_out_with_a_note(
    classifier: vx.Model, tmp_path: Path, what: str
) -> None:
    metric, more, said = NOT_MEASURED[what]
    about: dict[str, Any] = {"masks": FULL, "about": (0,), "answer": "a"}
    data = [vx.Example(p, **about) for p in pictures(2)]
    data.append(vx.Example(pictures(3)[2], **{**about, **more}))
    report = vx.evaluate(
        classifier, data, ["saliency"], [metric, "sparseness"], tmp_path, **SETTINGS
    )
    left = 1 if more else 3
    assert report.interval(metric, "saliency").count == 3 - left
    assert report.notes() == [
        f"{metric}: left out for {left} of 3 examples, since {said}",
    ]


def test_shares_are_measured_where_words_and_regions_compare(
    reading: vx.CustomModel, tmp_path: Path
) -> None:
    data = examples(answer=lambda i: "mass")
    methods = ["saliency", "leave_one_out"]
    report = vx.evaluate(reading, data, methods, ["text_share"], tmp_path, **SETTINGS)
    assert report.interval("text_share", "saliency").count == 0
    assert report.interval("text_share", "leave_one_out").count == 6
    assert 0 < report.interval("text_share", "random").mean < 1
    assert any(
        note.startswith("text_share: left out for 6 of 6 examples by saliency")
        for note in report.notes()
    )


@pytest.mark.parametrize("spans", [((0, 0),), ((100, 104),), ((2, 3),)])
def test_spans_without_a_word_decide_nothing(
    reading: vx.CustomModel, spans: tuple[tuple[int, int]]
) -> None:
    judge = Judge(reading, Plan("m", "", "d", "", None, ("leave_one_out",), ("word_mass",)))
    rows = judge(0, vx.Example(pictures(1)[0], QUESTIONS[0], decisive=spans))
    found = [row for row in rows if row["metric"] == "word_mass"]
    assert [row["value"] for row in found] == [None, None]
    assert {row["note"] for row in found} == {"no word of the question lies in the decisive spans"}


def test_a_stage_without_a_correlation_is_left_out_of_the_mean(
    reading: vx.CustomModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    metric = vx.metrics.METRICS["parameter_randomization"]()
    alike = iter([0.5, float("nan"), 0.1])
    monkeypatch.setattr(type(metric), "_alike", lambda *_: next(alike))
    judge = Judge(reading, Plan("m", "", "d", "", None, ("saliency",), (metric.name,)))
    example = vx.Example(pictures(1)[0], QUESTIONS[0])
    rows = judge._explained(
        judge.case(example), judge.methods[0][1], {"method": "saliency"}, 0, judge.metrics
    )
    assert rows[-1]["value"] == pytest.approx(0.3)
    assert rows[-1]["note"] == "only 2 of 3 stages could be compared"


CASES: dict[str, tuple[Any, ...]] = {
    "Mass said, mass true": ({"answer": "MASS"}, {"mass"}),
    "people's answers": ({"answers": ("mass", "mass", "edema")}, {"mass"}),
    "no true answer": ({}, set()),
}


@pytest.mark.parametrize("what", CASES)
def test_the_gallery_shows_as_right_what_accuracy_counts(
    reading: vx.CustomModel, tmp_path: Path, what: str
) -> None:
    more, right = CASES[what]
    about = {"masks": FULL & (np.arange(8) < 4), "about": (0,)}
    data = [vx.Example(**{**vars(e), **about, **more}) for e in examples()]
    report = vx.evaluate(reading, data, ["saliency"], ["relevance_mass"], tmp_path, **SETTINGS)
    scores = plain_scores(reading, [(e.image, e.question) for e in data])
    expected = {i for i, s in enumerate(scores) if LABELS[s.argmax()] in right}
    shown = {one.index for one in report.gallery() if one.kind == "suspicious"}
    assert shown <= expected
    assert len(shown) == min(4, len(expected))


def test_a_label_that_differs_by_case_is_wrong_in_the_gallery_too(tmp_path: Path) -> None:
    class Two(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return pixels.mean((2, 3))[:, :2] * 0 + torch.tensor([0.0, 1.0])

    model = vx.load(Two(), transform=ToTensor(), labels=["cardigan", "Cardigan"], device="cpu")
    about: dict[str, Any] = {"masks": FULL, "about": (0,), "answer": "cardigan"}
    data = [vx.Example(p, **about) for p in pictures(2)]
    report = vx.evaluate(
        model, data, ["leave_one_out"], ["accuracy", "relevance_rank"], tmp_path, **SETTINGS
    )
    assert report.values("accuracy").tolist() == [0.0, 0.0]
    assert [one.kind for one in report.gallery() if one.kind == "suspicious"] == []
