"""Metrics about pictures, where an example has several pictures or none whose parts are players."""

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.game import make_players, with_players
from vqa_explain.methods import create
from vqa_explain.methods.base import Task
from vqa_explain.metrics.additive import row_of_grid
from vqa_explain.metrics.answers import AccuracyWithoutImage
from vqa_explain.metrics.base import Case, NotMeasured, read_metric, targets_of
from vqa_explain.models.base import answers
from vqa_explain.models.encoded import Encoded
from vqa_explain.target import Target

WHITE = np.full((2, 2, 3), 255, np.uint8)
TRUTH = np.array([[[True, False], [False, False]]])


class Sum(nn.Module):
    """Two answers from the means of all inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(2))

    def forward(self, *given: torch.Tensor) -> torch.Tensor:
        total = torch.stack([one.flatten(1).mean(dim=1) for one in given]).sum(dim=0)
        return total[:, None] * self.scale * torch.tensor([1.0, -1.0])


def judged(inputs: Mapping[str, Any], values: Mapping[str, Any], players: Any = None) -> vx.Case:
    """A case of leave-one-out values over inputs of `Sum`."""
    model = vx.CustomModel(Sum(), inputs=inputs, labels=["a", "b"], device="cpu")
    example = vx.Example.of(values, answer="a", masks=TRUTH, about=(0,))
    encoded = with_players(model.encode(example), players)
    target = Target(0, None, "logit")
    targets = targets_of(model, encoded, target)
    task = Task(model, encoded, target, make_players(encoded), targets)
    method = create("leave_one_out", {})
    return Case(task, answers(model, encoded), task.fills()).of(method, method(task), Cost())


@pytest.mark.parametrize("metric", ["pointing_game", "relevance_mass", "relevance_rank"])
def test_a_mask_of_one_of_several_pictures_is_not_measured(metric: str) -> None:
    picture = vx.Image(ToTensor())
    case = judged({"image 1": picture, "image 2": picture}, {"image 1": WHITE, "image 2": WHITE})
    with pytest.raises(NotMeasured, match="several pictures"):
        read_metric(metric)(case)


@pytest.mark.parametrize(
    "metric",
    [
        "pointing_game",
        "relevance_mass",
        "relevance_rank",
        "road",
        "sensitivity_max",
        "deletion:players=image",
    ],
)
def test_a_picture_that_is_fixed_is_not_judged(metric: str) -> None:
    inputs = {"image": vx.Image(ToTensor()), "row": vx.Table(["age"], baseline=0)}
    case = judged(inputs, {"image": WHITE, "row": {"age": 2}}, players=["row"])
    with pytest.raises(NotMeasured, match=r"no picture with players|no players of 'image'"):
        read_metric(metric)(case)


class Stub:
    """Scores that are the picture's mean and the row's age,
    for an adapter that keeps something of each example.
    """

    device = torch.device("cpu")
    labels = ("picture", "age")

    def encode(self, example: vx.Example) -> Encoded:
        return Encoded(example, (), self.labels, state="its own")

    def leaves(self, encoded: Encoded) -> dict[str, torch.Tensor]:
        return {"image": torch.from_numpy(np.asarray(encoded.example.given[0].value))[None]}

    def scores(self, encoded: Encoded, leaves: Any) -> torch.Tensor:
        age = encoded.example.given[1].value["age"]
        return torch.tensor([[float(leaves["image"].float().mean()), age]])


def test_a_row_of_a_table_belongs_to_the_question() -> None:
    """Only pictures are exchanged in the grid of EMAP, whatever an adapter keeps."""
    examples = [
        vx.Example.of({"image": np.full((2, 2, 3), level, np.uint8), "row": {"age": age}})
        for level, age in ((10, 1), (20, 2), (30, 3))
    ]
    model: Any = Stub()
    found = row_of_grid(model, examples[1], [model.encode(one) for one in examples])
    np.testing.assert_allclose(found, [[10, 2], [20, 2], [30, 2]])


class Writer:
    """It writes "white" where any frame has a white pixel."""

    labels = None

    def encode(self, example: vx.Example) -> vx.Example:
        return example

    def generate(self, example: vx.Example) -> tuple[str, ...]:
        white = any((np.asarray(one.value) == 255).any() for one in example.given[:1])
        return ("white" if white else "dark",)


@pytest.mark.parametrize(("seen", "expected"), [([WHITE, WHITE], 0.0), (WHITE, 0.0)])
def test_a_video_without_its_frames_is_gray(seen: Any, expected: float) -> None:
    example = vx.Example.of({"clip": seen, "question": "What color?"}, answer="white")
    case: Any = SimpleNamespace(task=SimpleNamespace(model=Writer()), example=example)
    assert AccuracyWithoutImage()(case) == expected


def test_without_a_picture_nothing_is_taken_away() -> None:
    example = vx.Example.of({"question": "What color?"}, answer="dark")
    case: Any = SimpleNamespace(task=SimpleNamespace(model=Writer()), example=example)
    with pytest.raises(NotMeasured, match="no picture"):
        AccuracyWithoutImage()(case)


def test_a_fixed_picture_is_not_taken_away() -> None:
    picture = vx.Image(ToTensor())
    pictures = {"image 1": WHITE, "image 2": WHITE}
    case = judged({"image 1": picture, "image 2": picture}, pictures, players=["image 1"])
    with pytest.raises(NotMeasured, match="image 2 is fixed"):
        AccuracyWithoutImage()(case)
