"""The line in words, against the model's plain calls."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart
from vqa_explain.game import make_players
from vqa_explain.models.vilt import ViltModel
from vqa_explain.viewer.line import measured_line


class Corners(nn.Module):
    """Says "left" where the upper left corner is bright, "right" where only the upper right is."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        left, right = x[:, :, :4, :4].mean((1, 2, 3)), x[:, :, :4, 4:].mean((1, 2, 3))
        return torch.stack([3 * left, 2 * right, torch.full_like(left, 0.5)], dim=1)


def corners() -> tuple[Any, vx.Example, vx.Explanation]:
    model = vx.load(
        Corners(), transform=ToTensor(), labels=["left", "right", "nothing"], device="cpu"
    )
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4] = 255
    example = vx.Example(picture)
    why = vx.explain(model, example, method="leave_one_out", regions=2, image_fill="constant")
    return model, example, why


def test_the_line_says_what_the_network_says() -> None:
    model, example, why = corners()
    line = measured_line(model, example, why, {"image": 2})
    assert line is not None
    assert line["members"] == {"image": [0]}
    assert line["alone"]["answer"] == "left"
    assert line["missing"] == {"image": [0]}
    black = np.zeros((8, 8, 3), np.uint8)  # the constant
    black[:4, 4:] = 255
    plain = model.module(torch.from_numpy(black.transpose(2, 0, 1)[None] / 255).float())
    expected = plain.softmax(dim=1).max()
    assert line["without"]["answer"] == ["left", "right", "nothing"][int(plain.argmax())]
    assert line["without"]["probability"] == pytest.approx(float(expected), abs=1e-5)
    assert line["blind"] is None  # the picture is all there is


def test_a_part_that_cannot_be_told_from_zero_is_not_named() -> None:
    model, example, why = corners()
    part = why.parts[0]
    assert isinstance(part, PicturePart)
    unsure = tuple(dataclasses.replace(region, error=10.0) for region in why.regions)
    vague = dataclasses.replace(why, parts=(dataclasses.replace(part, regions=unsure),))
    assert measured_line(model, example, vague, {"image": 2}) is None


def test_the_line_of_a_question_is_that_of_coalitions(scenes_model: ViltModel) -> None:
    """Every answer in it, by calls of the game that the explanation is of."""
    example = vx.load_dataset("scenes:test")[0]
    why = vx.explain(
        scenes_model, example, method="shapley", budget=200, regions=3, image_fill="mean"
    )
    line = measured_line(scenes_model, example, why, {"image": 3})
    assert line is not None
    counts = {part.name: len(part.players) for part in why.parts}
    everything = {name: set(range(count)) for name, count in counts.items()}

    def answered(away: dict[str, set[int]]) -> str:
        encoded = scenes_model.encode(example)
        players = make_players(encoded, {"image": 3})
        fills = {"image": "mean", "question": "mask"}
        present = np.ones((1, len(players)), dtype=bool)
        for name, numbers in away.items():
            present[0, players.of[name].numbers[sorted(numbers)]] = False
        scores = scenes_model.coalition_scores(
            encoded, players.present(torch.from_numpy(present)), fills, 0
        )
        assert scenes_model.labels is not None
        return scenes_model.labels[int(scores.argmax())]

    alone = {name: all_ - set(line["members"].get(name, ())) for name, all_ in everything.items()}
    assert line["alone"]["answer"] == answered(alone)
    without = {name: set(numbers) for name, numbers in line["missing"].items()}
    assert line["without"]["answer"] == answered(without)
    assert line["blind"]["answer"] == answered({"image": everything["image"]})
    assert line["blind"]["name"] == "picture"
