"""Values of strange types where a name, a list or a path is asked for. Arrays compare to arrays,
lists have no hash, and numbers are no lists: each is refused in one sentence.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from guard import answered_or_refused, called, refused, unchanged

import vqa_explain as vx
from vqa_explain import registry
from vqa_explain.methods.base import METHODS
from vqa_explain.methods.base import create as create_method
from vqa_explain.models.classifier import ClassifierModel


class Incomparable:
    """Raises when it is compared."""

    __hash__ = object.__hash__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __repr__(self) -> str:
        return "Incomparable()"


ODD: list[Any] = [
    np.zeros(3),
    np.zeros((2, 2)),
    torch.zeros(3),
    [1],
    {1},
    1.5,
    True,
    b"x",
    float("nan"),
    ...,
    int,
    Incomparable(),
    "\x1b[31m",
    "a" * 300,  # longer than names of files may be
]
PICTURE = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
ROW = vx.Example(PICTURE, answer="a")
LISTS = (np.ndarray, torch.Tensor, list, set)


def explained(model: Any, **given: Any) -> vx.Explanation:
    found: vx.Explanation = vx.explain(model, ROW, **given)
    return found


def judged(model: Any, folder: Path, **given: Any) -> vx.Report:
    how: dict[str, Any] = {"methods": ["saliency"], "metrics": ["accuracy"], "out": folder / "run"}
    return vx.evaluate(model, [ROW], **{**how, **given}, workers=1)


# What is asked for → a call with the value, and types that may stand there.
DOORS: dict[str, tuple[Callable[[Any, Path, Any], Any], tuple[type, ...]]] = {
    "method": (lambda m, f, v: explained(m, method=v), ()),
    "score": (lambda m, f, v: explained(m, method="saliency", score=v), ()),
    "quality": (lambda m, f, v: explained(m, quality=v), ()),
    "fill": (lambda m, f, v: explained(m, method="leave_one_out", image_fill=v), ()),
    "fills": (lambda m, f, v: explained(m, method="leave_one_out", fills=v), ()),
    "players": (lambda m, f, v: explained(m, method="leave_one_out", players=v), ()),
    "methods": (lambda m, f, v: judged(m, f, methods=v), ()),
    "a method": (lambda m, f, v: judged(m, f, methods=[v]), ()),
    "metrics": (lambda m, f, v: judged(m, f, metrics=v), ()),
    "a metric": (lambda m, f, v: judged(m, f, metrics=[v]), ()),
    "keep": (lambda m, f, v: judged(m, f, keep=v), ()),
    "one to keep": (lambda m, f, v: judged(m, f, keep=[v]), ()),
    "engine": (lambda m, f, v: judged(m, f, engine=v), ()),
    "pictures": (lambda m, f, v: judged(m, f, pictures=v), ()),
    "fills of a run": (lambda m, f, v: judged(m, f, fills=v), ()),
    "a fill of a run": (lambda m, f, v: judged(m, f, image_fill=v), ()),
    "shard": (lambda m, f, v: judged(m, f, shard=v), ()),
    "out": (lambda m, f, v: judged(m, f, out=v), (str,)),
    "view": (lambda m, f, v: explained(m, method="saliency").plot([v]), ()),
    "device": (lambda m, f, v: vx.load("scenes", device=v), ()),
    "examples": (lambda m, f, v: vx.choose_fill(m, v), ()),
    "data set": (lambda m, f, v: vx.load_dataset(v), ()),
    "fields": (lambda m, f, v: vx.load_dataset(table(f), fields=v), ()),
    "report": (lambda m, f, v: vx.Report(v), ()),
    "explanation": (lambda m, f, v: vx.load_explanation(v), ()),
    "file": (lambda m, f, v: explained(m, method="saliency").save(v), (str,)),
    "page": (lambda m, f, v: explained(m, method="saliency").to_html(v), (str,)),
}  # fmt: skip


def table(folder: Path) -> Path:
    path = folder / "table.csv"
    path.write_text("image,answer\na.png,a\n")
    return path


@pytest.mark.parametrize("value", ODD, ids=lambda value: called(value)[:20])
@pytest.mark.parametrize("door", DOORS)
def test_strange_values_are_refused_in_one_sentence(
    linear: ClassifierModel, tmp_path: Path, door: str, value: Any
) -> None:
    call, may_stand = DOORS[door]
    if isinstance(value, may_stand):
        pytest.skip("any text may stand there")
    with unchanged(linear.module, tmp_path, may_add=("table.csv",)):
        text = refused(lambda: call(linear, tmp_path, value), ".")
    assert "\x1b" not in text


@pytest.mark.parametrize("value", [np.int64(3), np.float32(2), np.array(4)], ids=called)
@pytest.mark.parametrize("name", sorted(METHODS))
def test_numbers_of_numpy_are_parameters_or_refused(name: str, value: Any) -> None:
    """A run writes the parameters into its plan."""
    for key in METHODS[name].__dataclass_fields__:
        method = answered_or_refused(lambda key=key: create_method(name, {key: value}), name)
        if method is not None:
            assert registry.text_of(create_method(name, registry.parameters_of(method)))


def test_a_missing_shard_size_is_refused(linear: ClassifierModel, tmp_path: Path) -> None:
    refused(lambda: judged(linear, tmp_path, shard=None), "shard must be a whole number from 1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"answer": np.zeros(3)},
        {"answer": ["a"]},
        {"answers": np.zeros(3)},
        {"answers": "red"},
        {"answers": 1.5},
        {"answers": None},
        {"answers": ("a", 7)},
        {"decisive": 7},
        {"decisive": np.zeros((2, 2))},
        {"decisive": ((1, 2, 3),)},
        {"decisive": (("a", "b"),)},
    ],
    ids=str,
)
def test_a_row_whose_truth_has_a_strange_form_is_its_own_error(
    linear: ClassifierModel, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    given: dict[str, Any] = {"answer": "a", **wrong}
    rows = [vx.Example(PICTURE, **given), ROW]
    report = vx.evaluate(linear, rows, ["saliency"], ["accuracy"], tmp_path / "run", workers=1)
    assert report.errors()["index"].tolist() == [0]
    assert "true answer" in report.errors()["note"][0] or "decisive" in report.errors()["note"][0]
