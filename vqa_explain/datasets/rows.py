"""Rows of a table's file, with every value as it is written: "007" stays "007",
and "None" is an answer.
"""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa_explain.errors import InvalidInput

Row = dict[str, Any]


def csv_columns(path: Path) -> list[str]:
    """The names in the first line."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        return next(csv.reader(file, strict=True), [])


def csv_rows(path: Path) -> Iterator[Row]:
    """Each line as column → text. An empty cell is "", and no text stands for a missing value.

    Raises:
        InvalidInput: a line has more or fewer cells than the first.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        names = next(reader, [])
        for cells in reader:
            if not cells:  # an empty line
                continue
            if len(cells) != len(names):
                raise InvalidInput(
                    f"line {reader.line_num} of {path.name!r} has {len(cells)} cells and the first "
                    f"line {len(names)}; put cells that hold a comma into quotation marks"
                )
            yield dict(zip(names, cells, strict=True))


def json_rows(path: Path, under: str | None = None) -> Iterator[Row]:
    """The objects of a JSON file: one a line, a list of them, a list under a key, or lists by
    column.

    Numbers are the text that stands there (1.50 stays 1.50, and 1e3 stays 1e3) and dates stay
    texts.

    Raises:
        InvalidInput: the file holds no such thing.
    """
    if path.suffix == ".jsonl":
        yield from _lines(path)
        return
    try:
        content = read_json(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError:
        yield from _lines(path)  # many a file of lines is called .json
        return
    if under is not None:
        if not isinstance(content, dict) or under not in content:
            raise InvalidInput(f"{path.name!r} has no list under {under!r}; check the file")
        content = content[under]
    if isinstance(content, dict):
        content = (
            _by_column(content) if all(isinstance(v, list) for v in content.values()) else [content]
        )
    yield from (_row(path, number, one) for number, one in enumerate(content))


def json_columns(path: Path, under: str | None = None) -> list[str]:
    """The keys of all rows, in the order in which they first come."""
    found: dict[str, None] = {}
    for row in json_rows(path, under):
        found |= dict.fromkeys(row)
    return list(found)


class Number(str):
    """A number of a JSON file, as the text that stands there: 1e3 is no 1000, and -0 no 0."""

    def __repr__(self) -> str:
        return str(self)


def read_json(text: str) -> Any:
    """The value that a JSON text holds, with each number as a `Number`."""
    return json.loads(text, parse_float=Number, parse_int=Number)


def _lines(path: Path) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file):
            if line.strip():
                yield _row(path, number, read_json(line))


def _by_column(columns: dict[str, list[Any]]) -> list[Row]:
    return [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]


def _row(path: Path, number: int, value: Any) -> Row:
    if not isinstance(value, dict):
        raise InvalidInput(
            f"row {number} of {path.name!r} is no JSON object but {str(value)[:40]!r}; mend it"
        )
    return value


def as_written(value: Any, what: str) -> str | None:
    """A value of a text column; `None` where it is missing.

    Raises:
        InvalidInput: the file keeps it as a number or date whose written form is lost.
    """
    # JSON of other tools writes NaN for what is missing.
    if value is None or value == "" or value != value:
        return None
    if isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str | int):  # a `Number` among them
        return str(value)
    raise InvalidInput(
        f"the {what} {value!r} is kept as {type(value).__name__}, so how it was written (1 or "
        "1.0?) is not known; store the column as text"
    )
