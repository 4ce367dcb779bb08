"""Data sets, metrics, methods and galleries that fail, and what of a run is kept."""

import logging
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from troubled import ByNumber, InOrder, example

import vqa_explain as vx
from vqa_explain.evaluation.gallery import Gallery
from vqa_explain.metrics.base import METRICS, Curve, Noted
from vqa_explain.models.classifier import ClassifierModel


def judged(model: Any, data: Any, folder: Path, **settings: Any) -> vx.Report:
    given: dict[str, Any] = {"metrics": ["accuracy"], "shard": 20, "workers": 1, **settings}
    return vx.evaluate(model, data, [], out=folder, **given)


def failing(row: int, error: Exception) -> Any:
    """What gives examples, and raises at a row."""

    def at(number: int) -> vx.Example:
        if number == row:
            raise error
        return example(number)

    return at


@pytest.mark.parametrize("error", [ValueError("bad"), OSError("gone"), vx.InvalidInput("torn")])
@pytest.mark.parametrize("row", [1, 40, 57])
def test_data_that_raise_in_the_middle_keep_what_was_before(
    linear: ClassifierModel, tmp_path: Path, row: int, error: Exception
) -> None:
    data = InOrder(80, failing(row, error))
    said = rf"cannot be read beyond its first {row} examples \(.*{error}\); mend it"
    for _ in range(2):  # the same call again finds what is finished
        with pytest.raises(vx.InvalidInput, match=said):
            judged(linear, data, tmp_path / "run", name="rows")
        assert vx.Report(tmp_path / "run").count == row
    told: list[Any] = []
    data.at = example
    report = judged(
        linear, data, tmp_path / "run", name="rows", progress=lambda *one: told.append(one)
    )
    assert report.count == 80
    assert told[0][0] == row // 20 * 20  # whole shards are found again
    whole = judged(linear, InOrder(80), tmp_path / "whole", name="rows")
    assert report.frame().equals(whole.frame())


def test_rows_that_cannot_be_read_today_are_not_forgotten(
    linear: ClassifierModel, tmp_path: Path
) -> None:
    data = InOrder(80)
    before = judged(linear, data, tmp_path, name="rows").frame()
    data.at = failing(30, OSError("the disk is away"))
    with pytest.raises(vx.InvalidInput, match="beyond its first 30 examples"):
        judged(linear, data, tmp_path, name="rows")
    assert vx.Report(tmp_path).frame().equals(before)


def test_a_row_by_number_that_raises_is_one_error(linear: ClassifierModel, tmp_path: Path) -> None:
    data = ByNumber(30, 30, failing(7, KeyError("label")))
    report = judged(linear, data, tmp_path, name="rows")
    assert report.count == 30
    (note,) = report.errors()["note"]
    assert note.startswith("row 7 of data set 'rows' cannot be read: KeyError: 'label'")


@pytest.mark.parametrize("strange", [{"image": "a.png"}, None, "a.png", 7])
def test_an_item_that_is_no_example_is_one_error(
    linear: ClassifierModel, tmp_path: Path, strange: Any
) -> None:
    for number, kind in enumerate((InOrder, ByNumber)):
        sizes = (5,) if kind is InOrder else (5, 5)
        data: Any = kind(*sizes, lambda row: strange if row == 3 else example(row))
        report = judged(linear, data, tmp_path / str(number))
        (note,) = report.errors()["note"]
        assert f"is of type {type(strange).__name__}, and no Example" in note
        assert report.interval("accuracy", "").count == 4


def test_a_length_that_is_too_long_is_said_before_work(
    linear: ClassifierModel, tmp_path: Path
) -> None:
    data = ByNumber(100, 60)
    with pytest.raises(
        vx.InvalidInput, match="says that it has 100 examples, and number 99 is not there"
    ):
        judged(linear, data, tmp_path / "a")
    assert not (tmp_path / "a").exists()
    assert judged(linear, data, tmp_path / "b", limit=60).count == 60


def test_an_iterable_that_is_shorter_than_it_says(
    linear: ClassifierModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Longer(InOrder):
        def __len__(self) -> int:
            return 50

    with caplog.at_level(logging.WARNING, "vqa_explain"):
        assert judged(linear, Longer(30), tmp_path).count == 30
    assert "says that it has 50 examples, and it has 30" in caplog.text


@pytest.mark.parametrize("length", [TypeError("no length"), NotImplementedError()])
def test_data_without_end_are_taken_up_to_a_limit(
    linear: ClassifierModel, tmp_path: Path, length: Exception
) -> None:
    class Endless(InOrder):
        def __len__(self) -> int:
            raise length

    told: list[Any] = []
    report = judged(
        linear, Endless(None), tmp_path, limit=45, progress=lambda *one: told.append(one)
    )
    assert report.count == 45
    assert told[-1] == (45, 45, 0)


@pytest.mark.parametrize("length", [-1, 2**70])
def test_a_length_that_is_none_is_said(
    linear: ClassifierModel, tmp_path: Path, length: int
) -> None:
    with pytest.raises(vx.InvalidInput, match="mend its __len__"):
        judged(linear, ByNumber(length, 3), tmp_path)


def test_map_style_data_need_no_iter(linear: ClassifierModel, tmp_path: Path) -> None:
    found = judged(linear, ByNumber(25, 25), tmp_path / "a").frame()
    wanted = judged(linear, [example(i) for i in range(25)], tmp_path / "b").frame()
    assert found.equals(wanted)


TEXTS = [7, "half a pair \ud800", None, "[/INST]", "a\0b"]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_of_an_example_can_be_kept(
    linear: ClassifierModel, tmp_path: Path, text: Any
) -> None:
    strange = vx.Example(example(0).image, answer=text, id=text, family=text)
    report = judged(linear, [example(1), strange], tmp_path)
    assert report.count == 2
    assert report.interval("accuracy", "").count >= 1


def gives(value: Any) -> Any:
    """A metric of the user's own that gives this."""

    @vx.register_metric("strange", source="ours", better="neither", range="0 … 1")
    @dataclass(frozen=True)
    class Strange:
        """What it is."""

        def __call__(self, case: vx.Case) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

    return Strange


NO_NUMBERS = {
    "None": None,
    "text": "0.5",
    "list": [1.0, 2.0],
    "array": np.ones(2),
    "complex": 1j,
    "infinity": float("inf"),
    "nothing noted": Noted(None, "why"),  # type: ignore[arg-type]
    "texts in a curve": Curve(np.linspace(0, 1, 2), np.array(["a", "b"])),
    "an error": RuntimeError("no"),
}


@pytest.mark.parametrize("name", NO_NUMBERS)
def test_a_metric_that_gives_no_number_costs_its_own_values_alone(
    linear: ClassifierModel, tmp_path: Path, name: str
) -> None:
    gives(NO_NUMBERS[name])
    try:
        report = vx.evaluate(
            linear, [example(0), example(1)], ["saliency"], ["strange", "sparseness"], tmp_path,
            workers=1,
        )  # fmt: skip
    finally:
        del METRICS["strange"]
    notes = report.errors()["note"]
    assert len(notes) == 4  # of two methods, the random one included
    assert notes.str.startswith("strange: ").all()
    assert report.values("sparseness", "saliency").notna().all()


@pytest.mark.parametrize("noted", [None, 7, "half a pair \ud800"])
def test_a_note_may_be_anything(linear: ClassifierModel, tmp_path: Path, noted: Any) -> None:
    gives(Noted(0.5, noted))
    try:
        report = vx.evaluate(linear, [example(0)], ["saliency"], ["strange"], tmp_path, workers=1)
        assert report.values("strange", "saliency").tolist() == [0.5]
    finally:
        del METRICS["strange"]


def test_a_gallery_that_fails_leaves_the_numbers(
    linear: ClassifierModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise ValueError("no such picture")

    monkeypatch.setattr(Gallery, "_write_one", broken)
    data = [example(i) for i in range(3)]
    report = vx.evaluate(linear, data, ["saliency"], ["deletion:steps=2"], tmp_path, workers=1)
    assert report.values("deletion:steps=2", "saliency").notna().all()
    assert "could not be explained again; the first: ValueError: no such picture" in " ".join(
        report.notes()
    )
    monkeypatch.undo()
    again = vx.evaluate(linear, data, ["saliency"], ["deletion:steps=2"], tmp_path, workers=1)
    assert len(again.shown()) == 6
    assert again.notes() == []


def test_a_classifier_that_is_given_questions(linear: ClassifierModel, tmp_path: Path) -> None:
    """It reads none, and its gallery is the one without questions."""
    asked = [vx.Example(example(i).image, "What?", answer="a", id=f"e{i}") for i in range(3)]
    report = vx.evaluate(linear, asked, ["saliency"], ["deletion:steps=2"], tmp_path, workers=1)
    assert report.notes() == []
    assert len(report.shown()) == 6


def test_a_shard_that_was_copied_under_another_number_is_named(
    linear: ClassifierModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = [example(i) for i in range(6)]
    whole = judged(linear, data, tmp_path, shard=2, metrics=["accuracy", "emap:count=4"])
    shards = tmp_path / "shards"
    shutil.copy(shards / "examples-000000.parquet", shards / "examples-000007.parquet")
    shutil.copy(shards / "examples-000000.parquet", shards / "examples-000001.parquet")
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        torn = vx.Report(tmp_path)
        assert torn.count == 4
    assert "examples-000007.parquet is a copy of shard examples-0" in caplog.text
    again = judged(linear, data, tmp_path, shard=2, metrics=["accuracy", "emap:count=4"])
    assert again.frame().equals(whole.frame())
