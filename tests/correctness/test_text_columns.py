"""Text columns keep every text as it is written,
whatever else their columns hold. The truth is what was written.
"""

import csv
import json
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from conftest import ToTensor
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import nn

import vqa_explain as vx

HOSTILE = [
    "1", "1.0", "1.50", "007", "1,000", "1e3", "0x1F", "+5", "-0", "None", "NA", "N/A", "nan", "NaN", "null", "NULL",
    "inf", "True", "true", "FALSE", "yes", "2020-01-01", "2020-01-01 10:00:00", "12:30", " two blanks ", "a,b",
    'say "hi"', "two\nlines", "two\r\nlines", "₂", "हाँ", "#N/A", "-", "<NA>",
]  # fmt: skip


def as_csv(path: Path, rows: list[dict[str, Any]] | list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def as_jsonl(path: Path, rows: list[dict[str, str]]) -> Path:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def as_json(path: Path, rows: Any) -> Path:
    path.write_text(json.dumps(rows))
    return path


def as_parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    datasets.Dataset.from_list(rows).to_parquet(path)
    return path


WRITERS = {"csv": as_csv, "jsonl": as_jsonl, "json": as_json, "parquet": as_parquet}


@pytest.mark.parametrize("kind", WRITERS)
def test_every_text_comes_back_as_it_was_written(tmp_path: Path, kind: str) -> None:
    rows = [
        {"image": "a.png", "question": text, "answer": text, "id": text, "family": text}
        for text in HOSTILE
    ]
    data = vx.load_dataset(WRITERS[kind](tmp_path / f"rows.{kind}", rows))
    for field in ("question", "answer", "id", "family"):
        assert [getattr(example, field) for example in data] == HOSTILE


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    "answers", [["1", "1", "", "1"], ["007", "7"], ["1", "1.0"], ["2020-01-01", ""], ["NA", "x"]]
)
def test_what_other_rows_hold_changes_no_answer(
    tmp_path: Path, kind: str, answers: list[str]
) -> None:
    rows = [{"image": "a.png", "answer": answer} for answer in answers]
    found = list(vx.load_dataset(WRITERS[kind](tmp_path / f"rows.{kind}", rows)))
    assert [example.answer for example in found] == [answer or None for answer in answers]


@pytest.mark.slow
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), min_size=1),
        min_size=1,
        max_size=5,
    )
)
def test_any_text_survives_a_csv_file(tmp_path: Path, texts: Any) -> None:
    path = as_csv(
        tmp_path / "rows.csv", [{"image": "a.png", "answer": text, "id": "1"} for text in texts]
    )
    assert [example.answer for example in vx.load_dataset(path)] == texts


@pytest.mark.parametrize(
    ("kind", "begin", "between", "end"), [("jsonl", "", "\n", ""), ("json", "[", ",", "]")]
)
def test_numbers_in_json_keep_their_digits(
    tmp_path: Path, kind: str, begin: str, between: str, end: str
) -> None:
    path = tmp_path / f"rows.{kind}"
    written = ["1", "1.0", "1.50", "7", "true", "12345678901234567890", "null", "NaN"]
    rows = [f'{{"image": "a.png", "answer": {text}}}' for text in written]
    path.write_text(begin + between.join(rows) + end)
    assert [e.answer for e in vx.load_dataset(path)] == [*written[:-2], None, None]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json"])
def test_a_mark_of_byte_order_is_no_text(tmp_path: Path, kind: str) -> None:
    """As Excel writes it before the name of the first column."""
    path = WRITERS[kind](tmp_path / f"rows.{kind}", [{"answer": "007", "image": "a.png"}])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert [example.answer for example in vx.load_dataset(path)] == ["007"]


@pytest.mark.parametrize("values", [[1.0, None, 1.0], [True, False], [1.5]])
def test_a_typed_column_that_lost_the_text_is_refused(
    tmp_path: Path, values: list[float | None] | list[bool] | list[float]
) -> None:
    path = as_parquet(
        tmp_path / "rows.parquet", [{"image": "a.png", "answer": value} for value in values]
    )
    with pytest.raises(vx.InvalidInput, match=r"column 'answer' .* store the column as text"):
        list(vx.load_dataset(path))


def test_lists_of_answers_keep_their_texts(tmp_path: Path) -> None:
    path = as_csv(
        tmp_path / "rows.csv", [{"image": "a.png", "answers": '["1.0", "None", 1.50, 7]'}]
    )
    (example,) = vx.load_dataset(path)
    assert example.answers == ("1.0", "None", "1.50", "7")


def test_a_line_with_a_cell_too_many_is_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("image,answer\na.png,red,white\n")
    with pytest.raises(
        vx.InvalidInput, match=r"line 2 of .rows\.csv. has 3 cells and the first line 2"
    ):
        list(vx.load_dataset(tmp_path / "rows.csv"))


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("image,answer,answer\na.png,red,white\n")
    with pytest.raises(vx.InvalidInput, match="several columns named 'answer'"):
        list(vx.load_dataset(tmp_path / "rows.csv"))


def test_a_row_without_a_key_does_not_hide_the_column(tmp_path: Path) -> None:
    path = as_jsonl(
        tmp_path / "rows.jsonl", [{"image": "a.png"}, {"image": "a.png", "answer": "7"}]
    )
    assert [example.answer for example in vx.load_dataset(path)] == [None, "7"]


class Ones(nn.Module):
    """Always answers its first label."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x.mean((1, 2, 3))[:, None] * 0 + 1, (0, 1))


def test_accuracy_over_a_table_with_a_row_without_answer(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "a.png")
    path = as_csv(
        tmp_path / "rows.csv",
        [{"image": "a.png", "answer": answer} for answer in ("1", "", "1", "1")],
    )
    model = vx.load(Ones(), transform=ToTensor(), labels=["1", "2"], device="cpu")
    report = vx.evaluate(
        model, vx.load_dataset(path), [], ["accuracy"], tmp_path / "run", workers=1
    )
    assert report.interval("accuracy", "").mean == 1.0
    assert report.interval("accuracy", "").count == 3
