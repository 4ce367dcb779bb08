"""Tables as people have them: any separator and encoding, and pictures in cells of every kind.

The truth is what was written, by pandas, pyarrow or Python's own csv module.
"""

import csv
import io
import json
import logging
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import vqa_explain as vx
from vqa_explain.datasets.rows import csv_columns, csv_rows
from vqa_explain.datasets.written import SEPARATORS, encoding_of, layout_of
from vqa_explain.examples import read_image
from vqa_explain.models.classifier import ClassifierModel

PICTURE = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
QUESTIONS = ["Wie heißt das, bitte?", "One; two\tthree | four", 'He said "no",\nand left', " 1,5 "]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    return tmp_path


def table(questions: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"image": "a.png", "question": questions, "answer": [str(i) for i in range(len(questions))]}
    )


ENCODINGS = [
    "utf-8",
    "utf-8-sig",
    "latin-1",
    "cp1252",
    "utf-16",
    "utf-16-le",
    "utf-16-be",
    "utf-32",
]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_separator_and_encoding_are_found_out(folder: Path, separator: str, encoding: str) -> None:
    path = folder / "rows.csv"
    table(QUESTIONS).to_csv(path, sep=separator, encoding=encoding, index=False)
    data = vx.load_dataset(path)
    assert [example.question for example in data] == QUESTIONS
    assert [example.answer for example in data] == ["0", "1", "2", "3"]
    assert data.count == 4


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["json", "jsonl"])
def test_encodings_of_json(folder: Path, kind: str, encoding: str) -> None:
    path = folder / f"rows.{kind}"
    table(QUESTIONS).to_json(path, orient="records", lines=kind == "jsonl", force_ascii=False)
    path.write_bytes(path.read_bytes().decode().encode(encoding))
    data = vx.load_dataset(path)
    assert [example.question for example in data] == QUESTIONS
    assert data.count == 4


CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.lists(st.tuples(CELL, CELL, CELL), min_size=1, max_size=6),
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    ends=st.sampled_from(["\n", "\r\n"]),
)
def test_any_cells_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str, str]],
    separator: str,
    encoding: str,
    ends: str,
) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=ends, quoting=csv.QUOTE_ALL)
    writer.writerows([("image", "question", "answer"), *rows])
    path = tmp_path_factory.mktemp("cells") / "rows.csv"
    path.write_bytes(text.getvalue().encode(encoding))
    wanted = [row for row in rows if any(row)]
    assert [tuple(row.values()) for row in csv_rows(path)] == wanted


@pytest.mark.parametrize(
    ("written", "names", "rows"),
    [
        (" image , question \na.png,Why?\n", ["image", "question"], [("a.png", "Why?")]),
        ('image, question\na.png, "Why, then?"\n', ["image", "question"], [("a.png", "Why, then?")]),
        ("image,question\na.png, Why?\n", ["image", "question"], [("a.png", " Why?")]),
        ("sep=;\r\nimage;question\r\na.png;Why?\r\n", ["image", "question"], [("a.png", "Why?")]),
        ("\nimage,question\n\na.png,Why?\n,\n", ["image", "question"], [("a.png", "Why?")]),
        ("image\na.png\n", ["image"], [("a.png",)]),
        ("image;question, asked\na.png;1,5\n", ["image", "question, asked"], [("a.png", "1,5")]),
        ("image,question\na.png,a;b;c\nb.png,d;e;f\n", ["image", "question"],
         [("a.png", "a;b;c"), ("b.png", "d;e;f")]),
    ],
)  # fmt: skip
def test_headers_as_people_write_them(
    folder: Path, written: str, names: list[str], rows: list[tuple[str, ...]]
) -> None:
    path = folder / "rows.csv"
    path.write_bytes(written.encode())
    assert csv_columns(path) == names
    assert [tuple(row.values()) for row in csv_rows(path)] == rows


def test_a_line_with_too_many_cells_names_the_separator(folder: Path) -> None:
    path = folder / "rows.csv"
    path.write_text("image;question\na.png;Why?\na.png;Why;then?\n")
    with pytest.raises(vx.InvalidInput, match=r"line 3 of .* 3 cells .*hold a semicolon into quot"):
        list(vx.load_dataset(path))


@pytest.mark.each
@pytest.mark.parametrize("letters", [131_072, 131_073, 400_000])
@pytest.mark.parametrize("where", ["header", "row"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_cell_of_any_length_is_read(
    folder: Path, separator: str, where: str, letters: int
) -> None:
    """Python's csv module refuses it, unless a setting of the whole process is changed."""
    path, frame = folder / "rows.csv", table(["Why?", "How?"])
    frame["n" * letters if where == "header" else "note"] = "n" * letters
    frame.to_csv(path, sep=separator, index=False)
    data = vx.load_dataset(path)
    assert [example.question for example in data] == ["Why?", "How?"]
    assert data.count == 2
    assert csv.field_size_limit() == 131_072
    assert {len(value) for row in csv_rows(path) for value in row.values()} >= {letters}


@pytest.mark.parametrize(
    "written", ['a.png,"Why?\n' + "a.png,b\n" * 20_000, 'a.png,"Why?\n', 'a.png,"Why" not?\n']
)
def test_a_row_without_an_end_is_named_with_its_line(folder: Path, written: str) -> None:
    path = folder / "rows.csv"
    path.write_text('image,question\na.png,"Who\nand how?"\n' + written)
    data = vx.load_dataset(path)
    for read in (lambda: list(data), lambda: data.count):
        with pytest.raises(vx.InvalidInput, match=r"rows\.csv'.* line 4 .*close its quotation"):
            read()


@pytest.mark.parametrize("name", ["rows.csv", "rows.tsv", "rows.json", "rows.jsonl"])
@pytest.mark.parametrize("written", ["", "\n\n"])
def test_a_file_with_nothing_in_it_is_said(folder: Path, name: str, written: str) -> None:
    (folder / name).write_text(written)
    with pytest.raises(vx.InvalidInput, match=rf"{name}' holds no column; give a table that has"):
        vx.load_dataset(folder / name)


@pytest.mark.parametrize("groups", [[0], [], [0, 2], [2, 0, 1], [0, 0, 70, 0, 1]])
def test_groups_of_rows_in_parquet_may_be_empty(folder: Path, groups: list[int]) -> None:
    """Each group has as many rows as pyarrow writes into it."""
    path = folder / "rows.parquet"
    schema = pa.schema([("image", pa.string()), ("question", pa.string())])
    questions = [f"{group}: {row}?" for group, rows in enumerate(groups) for row in range(rows)]
    left = iter(questions)
    with pq.ParquetWriter(path, schema) as writer:
        for rows in groups:
            asked = [next(left) for _ in range(rows)]
            writer.write_table(pa.table({"image": ["a.png"] * rows, "question": asked}, schema))
    data = vx.load_dataset(path)
    assert [example.question for example in data] == questions
    assert data.count == len(questions)


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_table_without_rows_is_named(folder: Path, kind: str, linear: ClassifierModel) -> None:
    path, frame = folder / f"answers.{kind}", table([]).astype(str)
    frame.to_csv(path, index=False) if kind == "csv" else frame.to_parquet(path)
    data = vx.load_dataset(path)
    with pytest.raises(vx.InvalidInput, match=r"data set 'answers.*' is empty; give one"):
        vx.evaluate(linear, data, ["saliency"], ["accuracy"], folder / "run")


@pytest.mark.parametrize("name", ["ROWS.CSV", "rows.tsv", "rows.JSONL", "rows.ndjson", "r.Parquet"])
def test_endings_of_names(folder: Path, name: str) -> None:
    path, frame = folder / name, table(["Why?"])
    if name.lower().endswith("json") or name.lower().endswith("jsonl"):
        frame.to_json(path, orient="records", lines=True)
    elif name.lower().endswith("parquet"):
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, sep="\t" if name.endswith("tsv") else ",")
    (example,) = vx.load_dataset(folder)
    assert example.question == "Why?"


def test_a_guess_is_told(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = folder / "rows.csv"
    path.write_bytes("image,question\na.png,Größe – wie?\n".encode("cp1252"))
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        (example,) = vx.load_dataset(path)
    assert example.question == "Größe – wie?"
    assert "is not written in UTF-8 and is read as cp1252" in caplog.text
    assert layout_of(path).separator == ","
    assert encoding_of(path) == "cp1252"


def encoded(kind: str = "png") -> bytes:
    sink = io.BytesIO()
    Image.fromarray(PICTURE).save(sink, kind)
    return sink.getvalue()


CELLS: dict[str, Any] = {
    "a path": "a.png",
    "bytes": encoded(),
    "bytes and path": {"bytes": encoded(), "path": "a.png"},
    "bytes alone": {"bytes": encoded(), "path": None},
    "a path in a struct": {"bytes": None, "path": "a.png"},
}
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written_parquet(path: Path, cell: Any) -> Path:
    kinds: dict[type[Any], Any] = {dict: STRUCT, bytes: pa.binary()}
    kind = kinds.get(type(cell))
    column = pa.array([cell], kind) if kind is not None else pa.array([cell])
    pq.write_table(pa.table({"image": column, "question": ["Why?"]}), path)
    return path


@pytest.mark.parametrize("cell", CELLS)
def test_pictures_in_parquet(folder: Path, cell: str) -> None:
    data = vx.load_dataset(written_parquet(folder / "rows.parquet", CELLS[cell]))
    (example,) = data
    np.testing.assert_array_equal(read_image(example.image), PICTURE)
    assert data.count == 1
    named = vx.load_dataset(folder / "rows.parquet", inputs={"scan": "image", "note": "question"})
    (example,) = named
    assert [one.kind for one in example.given] == ["image", "text"]
    np.testing.assert_array_equal(read_image(example.given[0].value), PICTURE)


NO_PICTURES = {
    "null": (None, "column 'image' is empty"),
    "an empty text": (" ", "column 'image' is empty"),
    "an empty struct": ({"bytes": None, "path": None}, "column 'image' is empty"),
    "a number": (3, "column 'image' holds '3' for a picture"),
    "a broken picture": (
        encoded()[:4] + b"x" * 9,
        "column .image. holds 13 bytes that are no picture",
    ),
    "no bytes": (b"", "column .image. holds 0 bytes that are no picture"),
}


@pytest.mark.parametrize("cell", NO_PICTURES)
def test_cells_that_hold_no_picture_are_named(folder: Path, cell: str) -> None:
    value, said = NO_PICTURES[cell]
    (example,) = vx.load_dataset(written_parquet(folder / "rows.parquet", value))
    with pytest.raises(vx.InvalidInput, match=f"row 0 of data set 'rows' cannot be read: {said}"):
        read_image(example.image)
    if not isinstance(value, bytes):
        (folder / "rows.parquet").unlink()
        (folder / "rows.jsonl").write_text(json.dumps({"image": value, "question": "Why?"}))
        (example,) = vx.load_dataset(folder / "rows.jsonl")
        with pytest.raises(vx.InvalidInput, match=said):
            read_image(example.image)


def test_pictures_of_the_hub_stay_pictures(folder: Path) -> None:
    rows = datasets.Dataset.from_list([{"image": Image.fromarray(PICTURE), "question": "Why?"}])
    rows.cast_column("image", datasets.Image()).to_parquet(folder / "rows.parquet")
    (example,) = vx.load_dataset(folder / "rows.parquet")
    np.testing.assert_array_equal(read_image(example.image), PICTURE)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"fields": {"question": "words"}}, "no column 'words' for the question"),
        ({"fields": {"questoin": "question"}}, "did you mean 'question'"),
        ({"inputs": {"scan": "photo"}}, "no column 'photo' for the inputs"),
        ({"inputs": {"row": ["answer", "age"]}}, "no column 'age' for the inputs"),
    ],
)
@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_columns_that_are_not_there_are_refused_at_once(
    folder: Path, kind: str, given: dict[str, Any], said: str
) -> None:
    path, frame = folder / f"rows.{kind}", table(["Why?"])
    if kind == "csv":
        frame.to_csv(path, index=False)
    elif kind == "jsonl":
        frame.to_json(path, orient="records", lines=True)
    else:
        frame.to_parquet(path)
    with pytest.raises(vx.InvalidInput, match=said):
        vx.load_dataset(path, **given)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        ("no/such/folder", {}, "folder 'no/such/folder' does not exist"),
        ("rows.csv", {}, "data set 'rows.csv' does not exist"),
        ("pictures", {}, "there is no file or folder of that name either"),
        ("clevr", {"source": "nowhere"}, "folder 'nowhere' of data set 'clevr' does not exist"),
        ("vqav2", {"source": "nowhere"}, "folder 'nowhere' of data set 'vqav2' does not exist"),
        ("scenes", {"source": "nowhere"}, "ships with the package; leave source= out"),
        ("scenes", {"fields": {"image": "photo"}}, "columns of its own; leave fields= out"),
    ],
)
def test_what_is_missing_is_called_missing(name: str, given: dict[str, Any], said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.load_dataset(name, **given)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.ndjson"])
def test_a_file_that_is_nested_without_end_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("[" * 100_000)
    with pytest.raises(vx.InvalidInput, match="cannot be read as a table: it is nested too deep"):
        vx.load_dataset(tmp_path / name)
