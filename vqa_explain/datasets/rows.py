"""Rows of a table's file, with every value as it is written: "007" stays "007",
and "None" is an answer.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vqa_explain.datasets.written import layout_of, names_of, opened, read_text
from vqa_explain.errors import InvalidInput

Row = dict[str, Any]


def csv_columns(path: Path) -> list[str]:
    """The names in the first line, without the blanks around them."""
    with opened(path) as file:
        return _header(layout_of(path).rows(file))


def csv_rows(path: Path) -> Iterator[Row]:
    """Each line as column → text. An empty cell is "", and no text stands for a missing value.

    Lines without anything in any cell are left out, as spreadsheets write them.

    Raises:
        InvalidInput: a line has more or fewer cells than the first.
    """
    layout = layout_of(path)
    with opened(path) as file:
        rows = layout.rows(file)
        names = _header(rows)
        for line, cells in rows:
            if not any(cells):
                continue
            if len(cells) != len(names):
                raise InvalidInput(
                    f"line {line} of {path.name!r} has {len(cells)} cells and the first line "
                    f"{len(names)}; put cells that hold {_called(layout.separator)} into "
                    "quotation marks"
                )
            yield dict(zip(names, cells, strict=True))


def _header(rows: Iterator[tuple[int, list[str]]]) -> list[str]:
    """The names of the first line that holds any."""
    return names_of(next((cells for _, cells in rows if any(cells)), []))


def csv_count(path: Path) -> int:
    """How many rows there are; the file is read through for it."""
    with opened(path) as file:
        rows = layout_of(path).rows(file)
        _header(rows)
        return sum(any(cells) for _, cells in rows)


def _called(separator: str) -> str:
    known = {",": "a comma", ";": "a semicolon", "\t": "a tab"}
    return known.get(separator, repr(separator))


def json_rows(path: Path, under: str | None = None) -> Iterator[Row]:
    """The objects of a JSON file: one a line, a list of them, a list under a key, or lists by
    column.

    Numbers are the text that stands there (1.50 stays 1.50, and 1e3 stays 1e3) and dates stay
    texts.

    Raises:
        InvalidInput: the file holds no such thing.
    """
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        yield from _lines(path)
        return
    try:
        content = read_json(read_text(path))
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
    """The value that a JSON text holds, with each number as a `Number`.

    Raises:
        ValueError: it holds none, or lists in lists beyond what Python follows.
    """
    try:
        return json.loads(text, parse_float=Number, parse_int=Number)
    except RecursionError as error:
        raise ValueError("it is nested too deeply; mend it") from error


def _lines(path: Path) -> Iterator[Row]:
    with opened(path) as file:
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
