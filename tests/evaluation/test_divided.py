"""Runs over inputs of any number and kind: how they are divided, which have players, how they fill."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from torch import nn
from videos import FRAMES, SIDE, LinearVideo

import vqa_explain as vx

DARK, LIGHT = np.full((8, 8, 3), 40, np.uint8), np.full((8, 8, 3), 120, np.uint8)


class Clip(nn.Module):
    """Two scores of two pictures and a row: a weighted sum."""

    def forward(self, first: Any, second: Any, row: torch.Tensor) -> torch.Tensor:
        score = first.mean((1, 2, 3)) + 2 * second.mean((1, 2, 3)) + 3 * row[:, 0] + row[:, 1]
        return torch.stack([score, -score], dim=1)


def clip(**more: Any) -> Any:
    columns: Any = ["a", "b"]
    inputs: Any = {
        "first": vx.Image(ToTensor()),
        "second": vx.Image(ToTensor()),
        "row": vx.Table(columns, **({"baseline": 0} | more)),
    }
    return vx.CustomModel(Clip(), inputs=inputs, labels=["x", "y"])


def examples() -> list[vx.Example]:
    rows = [{"a": 2.0, "b": 1.0}, {"a": -1.0, "b": 4.0}]
    return [vx.Example.of({"first": DARK, "second": LIGHT, "row": row}, answer="x") for row in rows]


# What is asked → the players of each input in the run's explanations.
DIVIDED: dict[str, tuple[dict[str, Any], dict[str, int]]] = {
    "a number": ({"regions": 2}, {"first": 4, "second": 4, "row": 2}),
    "rows and columns": ({"regions": (1, 2)}, {"first": 2, "second": 2, "row": 2}),
    "by input": ({"regions": {"first": 2, "second": (1, 3)}}, {"first": 4, "second": 3, "row": 2}),
    "by kind": ({"regions": {"image": 2}}, {"first": 4, "second": 4, "row": 2}),
    "boxes": (
        {"regions": vx.Boxes([[0, 0, 4, 8]], rest="one")},
        {"first": 2, "second": 2, "row": 2},
    ),
    "boxes of one input": (
        {"regions": {"first": vx.Boxes([(0, 0, 4, 8), (4, 0, 8, 8)]), "second": 1}},
        {"first": 2, "second": 1, "row": 2},
    ),
    "columns": ({"regions": 1, "columns": [["a", "b"]]}, {"first": 1, "second": 1, "row": 1}),
    "columns by input": (
        {"regions": 1, "columns": {"row": ["a"]}},
        {"first": 1, "second": 1, "row": 2},
    ),
    "players": ({"regions": 1, "players": ["row"]}, {"first": 0, "second": 0, "row": 2}),
    "players of a kind": ({"regions": 1, "players": "image"}, {"first": 1, "second": 1, "row": 0}),
}


@pytest.mark.parametrize("name", DIVIDED)
def test_inputs_are_divided_as_explain_divides_them(name: str, tmp_path: Path) -> None:
    model, data = clip(), examples()
    asked, expected = DIVIDED[name]
    for _ in range(2):  # the second call finds the first's folder, and does nothing again
        report = vx.evaluate(
            model, data, ["leave_one_out"], ["deletion"], tmp_path / "run", workers=1,
            keep=["explanations"], **asked,
        )  # fmt: skip
    assert len(report.errors()) == 0
    kept = sorted((tmp_path / "run").rglob("*.vqax"))
    found = [vx.load_explanation(path) for path in kept if "leave_one_out" in path.name]
    assert len(found) == len(data)
    for one, example in zip(found, data, strict=True):
        alone = vx.explain(model, example, method="leave_one_out", **asked)
        for part, other in zip(one.parts, alone.parts, strict=True):
            assert len(part.players) == (0 if part.fixed else expected[part.name])
            values = [player.value for player in part.players]
            assert values == pytest.approx([player.value for player in other.players], abs=1e-6)
    # A weighted sum: what a part loses is its weight times its value.
    row = {part.name: part for part in found[0].parts}["row"]
    if not row.fixed:
        assert sum(player.value for player in row.players) == pytest.approx(7.0, abs=1e-4)


def test_space_time_blocks_of_a_video(tmp_path: Path) -> None:
    """Four players of two frames each: what they lose is a sum over both, by the weights."""
    model: Any = LinearVideo()
    frames = np.random.default_rng(2).integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    data = [vx.Example.of({"clip": frames})]
    for asked in (vx.Blocks(2, (1, 2)), {"clip": vx.Blocks(2, (1, 2))}):
        report = vx.evaluate(
            model, data, ["leave_one_out"], ["infidelity"], tmp_path / str(type(asked)),
            regions=asked, workers=1, keep=["explanations"],
        )  # fmt: skip
        assert len(report.errors()) == 0
        (path,) = (tmp_path / str(type(asked))).rglob("*leave_one_out.vqax")
        why = vx.load_explanation(path)
        pixels = torch.from_numpy(frames / 255).float().permute(0, 3, 1, 2)
        halves = (pixels * model.weights).sum(dim=1).reshape(2, 2, SIDE, 2, 2).sum(dim=(1, 2, 4))
        values = np.array([[region.value for region in part.players] for part in why.parts])
        blocks = values.reshape(2, 2, 2).sum(axis=1)  # each frame has its part of a block's value
        np.testing.assert_allclose(blocks, halves, atol=1e-4)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "labels": ({"regions": np.zeros((8, 8), int)}, "one way for all examples"),
    "labels of one input": ({"regions": {"first": np.zeros((8, 8), int)}}, "one way for all"),
    "masks": ({"regions": vx.Masks(np.ones((1, 8, 8), bool))}, "one way for all examples"),
    "a function": ({"regions": len}, "one way for all examples"),
    "truth": ({"regions": True}, "one way for all examples"),
    "no input": ({"regions": {"third": 2}}, "third"),
    "no column": ({"columns": ["c"]}, "'c'"),
    "no player": ({"players": ["third"]}, "third"),
    "a number of players": ({"players": 3}, "players= names inputs"),
    "numbers as players": ({"players": [3]}, "players= names inputs"),
    "no fill": ({"fills": {"third": "mean"}}, "third"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_divided_is_told_before_anything_is_written(
    name: str, tmp_path: Path
) -> None:
    asked, said = REFUSED[name]
    with pytest.raises(vx.InvalidInput, match=said):
        vx.evaluate(
            clip(),
            examples(),
            ["leave_one_out"],
            ["deletion"],
            tmp_path / "run",
            workers=1,
            **asked,
        )
    assert not (tmp_path / "run" / "plan.json").exists()
    vx.evaluate(
        clip(), examples(), ["leave_one_out"], ["deletion"], tmp_path / "run", workers=1, regions=2
    )


@pytest.mark.parametrize("called", ["image", "question"])
def test_metrics_over_players_go_by_the_inputs_name(called: str, tmp_path: Path) -> None:
    """An input that is called as another kind's usual one."""

    class Sum(nn.Module):
        def forward(self, row: torch.Tensor) -> torch.Tensor:
            return torch.stack([row.sum(1), -row.sum(1)], dim=1)

    columns: Any = ["a", "b"]
    model: Any = vx.CustomModel(
        Sum(), inputs={called: vx.Table(columns, baseline=0)}, labels=["x", "y"]
    )
    data = [vx.Example.of({called: {"a": 2.0, "b": 1.0}}, answer="x")]
    metrics = [f"deletion:players={called}", "deletion"]
    report = vx.evaluate(model, data, ["shapley"], metrics, tmp_path, workers=1)
    frame = report.frame()
    values = frame[frame.method == "shapley"].set_index("metric")["value"]
    assert values[metrics[0]] == pytest.approx(values[metrics[1]])
    # p(x) with both, with b, with neither: by trapezoids over the two steps that move.
    p = 1 / (1 + np.exp(-2 * np.array([3.0, 1.0, 0.0])))
    assert values["deletion"] == pytest.approx((p[0] / 2 + p[1] + p[2] / 2) / 2, abs=0.05)


def test_the_metrics_game_fills_as_it_is_asked(tmp_path: Path) -> None:
    """With a background of one row, absent columns become that row's."""
    background = [{"a": 2.0, "b": 1.0}]
    model = clip(background=background)
    told = {}
    for fill in ("baseline", "background"):
        report = vx.evaluate(
            model, examples()[:1], ["leave_one_out"], ["deletion:players=row"], tmp_path / fill,
            regions=1, fills={"row": fill}, workers=1,
        )  # fmt: skip
        frame = report.frame()
        told[fill] = float(frame[frame.method == "leave_one_out"]["value"].iloc[0])
    light, dark = 120 / 255, 40 / 255
    whole = 1 / (1 + np.exp(-2 * (dark + 2 * light + 7)))
    assert told["background"] == pytest.approx(whole, abs=1e-4)  # nothing changes
    assert told["baseline"] < whole - 1e-3
