"""Rows of tables of one's own that hold inputs of any number and kind."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import vqa_explain as vx
from vqa_explain.models.own_table import read_columns

CHAT = [
    {"role": "system", "content": "One word."},
    {"role": "user", "content": [{"type": "image", "image": "b.png"}, {"type": "text", "text": "Color?"}]},
]  # fmt: skip
ROWS: list[dict[str, Any]] = [
    {"left": "a.png", "right": "sub/b.png", "ask": "Which is older?", "age": 61.5, "smokes": "yes"},
    {"left": "a.png", "right": "a.png", "ask": "7", "age": 30, "smokes": "no"},
]
INPUTS = {"before": "left", "after": "right", "question": "ask", "patient": ["age", "smokes"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name, shade in (("a.png", 10), ("b.png", 20), ("sub/b.png", 30)):
        Image.fromarray(np.full((8, 8, 3), shade, np.uint8)).save(tmp_path / name)
    return tmp_path


def csv_of(rows: list[dict[str, Any]]) -> str:
    lines = [",".join(rows[0]), *(",".join(map(str, row.values())) for row in rows)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_inputs_are_read_by_their_columns(folder: Path, kind: str) -> None:
    path = folder / f"rows.{kind}"
    if kind == "csv":
        path.write_text(csv_of(ROWS))
    elif kind == "jsonl":
        path.write_text("\n".join(map(json.dumps, ROWS)))
    else:
        import pandas as pd

        pd.DataFrame(ROWS).to_parquet(path)
    first, second = vx.load_dataset(path, inputs=INPUTS)
    assert [(one.name, one.kind) for one in first.given] == [
        ("before", "image"),
        ("after", "image"),
        ("question", "text"),
        ("patient", "table"),
    ]
    values = {one.name: one.value for one in first.given}
    assert Path(values["after"]) == folder / "sub/b.png"
    assert values["patient"] == {"age": 61.5, "smokes": "yes"}
    assert second.given[2].value == "7"  # a text as it was written
    assert first.asked == "Which is older?"


def test_a_chat_of_a_row_finds_its_pictures(folder: Path) -> None:
    (folder / "rows.jsonl").write_text(json.dumps({"messages": CHAT, "answer": "gray"}))
    (row,) = vx.load_dataset(folder / "rows.jsonl")
    assert [one.name for one in row.given] == ["system", "image", "question"]
    assert Path(row.given[1].value) == folder / "b.png"
    assert row.answer == "gray"


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"before": "lost"}, "has no column 'lost'"),
        ({"patient": ["age", "weight"]}, "has no column 'weight'"),
        ({"patient": []}, "is read from"),
        ({"patient": 3}, "is read from"),
        ({}, "names columns by input"),
    ],
)
def test_columns_that_are_not_there(folder: Path, inputs: Any, said: str) -> None:
    (folder / "rows.csv").write_text(csv_of(ROWS))
    with pytest.raises(vx.InvalidInput, match=said):
        next(iter(vx.load_dataset(folder / "rows.csv", inputs=inputs)))


def test_an_empty_cell_spoils_its_row_alone(folder: Path) -> None:
    rows = [{**ROWS[0], "left": ""}, ROWS[1]]
    (folder / "rows.csv").write_text(csv_of(rows))
    first, second = vx.load_dataset(folder / "rows.csv", inputs=INPUTS)
    assert "column 'left' of input 'before' is empty" in str(first.image)
    assert len(second.given) == 4


def test_a_shipped_data_set_has_inputs_of_its_own() -> None:
    with pytest.raises(vx.InvalidInput, match="leave inputs= out"):
        vx.load_dataset("scenes", inputs={"image": "file"})


def test_numbers_truths_and_codes_of_a_text_file(folder: Path) -> None:
    """A code keeps its zeros; what is a number or a category is what the table's columns say."""
    cells = ["007", "1_000", "nan", "inf", "7", "-2.5e1", " 3", "True", "٣", ""]
    rows = "".join(f"b.png,{cell},x\n" for cell in cells)
    (folder / "codes.csv").write_text(f"file,code,answer\n{rows}", encoding="utf-8")
    inputs = {"scan": "file", "patient": ["code"]}
    read = [
        one.given[1].value["code"] for one in vx.load_dataset(folder / "codes.csv", inputs=inputs)
    ]
    assert read == ["007", "1_000", "nan", "inf", 7.0, -25.0, 3.0, True, "٣", ""]
    assert [type(one) for one in read[4:8]] == [float, float, float, bool]
    table = vx.Table(["code"], baseline={"code": "7"}, categories={"code": ["007", "7", "True"]})
    columns = read_columns(table.columns, table.categories)
    places = [columns.number("code", read[at], "the row") for at in (0, 4, 7)]
    assert places == [0, 1, 2]
    with pytest.raises(vx.InvalidInput, match="unknown category"):
        columns.number("code", read[6], "the row")
