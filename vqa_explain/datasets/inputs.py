"""Inputs of any number and kind in the rows of a table of one's own."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vqa_explain.datasets.pictures import holds_picture, picture_of
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import kind_of

Columns = str | Sequence[str]  # a picture, text, video or object; or the columns of a table's row


def columns_of(inputs: Mapping[str, Columns]) -> list[str]:
    """Every column that inputs are read from."""
    found: list[str] = []
    for columns in inputs.values():
        found += [columns] if isinstance(columns, str) else list(columns)
    return found


def check_inputs(inputs: Mapping[str, Columns]) -> None:
    """Refuses what names no columns.

    Raises:
        InvalidInput: there are none, or a value is no column and no list of columns.
    """
    if not isinstance(inputs, Mapping) or not inputs:
        raise InvalidInput(
            "inputs= names columns by input, such as {'image 1': 'left', 'note': 'text'}"
        )
    for name, columns in inputs.items():
        some = [columns] if isinstance(columns, str) else columns
        if not isinstance(some, Sequence) or not some or not all(isinstance(c, str) for c in some):
            raise InvalidInput(
                f"input {name!r} is read from {columns!r}; give a column, or a list of columns "
                "that are a table's row"
            )


def read_inputs(
    row: Mapping[str, Any], inputs: Mapping[str, Columns], folder: Path
) -> dict[str, Any]:
    """Input name → its value in a row; paths of pictures are relative to `folder`.

    Raises:
        InvalidInput: the row has nothing in a column.
    """
    return {name: _value(row, name, columns, folder) for name, columns in inputs.items()}


def _value(row: Mapping[str, Any], name: str, columns: Columns, folder: Path) -> Any:
    if not isinstance(columns, str):
        return {column: _cell(row.get(column)) for column in columns}
    value = row.get(columns)
    if value is None or value == "":
        raise InvalidInput(f"column {columns!r} of input {name!r} is empty")
    if isinstance(value, list | tuple):  # the frames of a video
        return [_in_folder(frame, columns, folder) for frame in value]
    if isinstance(value, Mapping) and not holds_picture(value):
        return {column: _cell(held) for column, held in value.items()}
    return _in_folder(value, columns, folder)


def _in_folder(value: Any, column: str, folder: Path) -> Any:
    """A picture of a path within the folder, or of bytes; anything else as it is."""
    if holds_picture(value):
        return picture_of(value, column, folder)
    if isinstance(value, str):
        return folder / value if kind_of(value) != "text" else str(value)
    return value


_NUMBER = re.compile(r"[+-]?((0|[1-9]\d*)(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _cell(value: Any) -> Any:
    """What a column of a table's row holds: a number or truth where it is written as one, else the
    text. Codes such as 007 are texts.
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    text = str(value)
    if text.strip() in ("True", "False"):
        return text.strip() == "True"
    return float(text) if _NUMBER.fullmatch(text.strip()) else text


def read_messages(value: Any, folder: Path) -> list[dict[str, Any]]:
    """A chat of a column: a list of messages, or the same as JSON; paths of pictures are relative
    to `folder`.

    Raises:
        InvalidInput: it is no list of messages.
    """
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"the messages {value[:60]!r} are no JSON: {error}") from error
    if not isinstance(value, list) or not all(isinstance(one, Mapping) for one in value):
        raise InvalidInput(f"messages are a list of mappings, not {str(value)[:60]!r}")
    return [{**message, "content": _contents(message.get("content"), folder)} for message in value]


def _contents(content: Any, folder: Path) -> Any:
    if not isinstance(content, list):
        return content
    found = []
    for one in content:
        pictures = {
            key: picture_of(one[key], "messages", folder)
            for key in ("image", "path")
            if isinstance(one, Mapping) and _is_picture(one.get(key))
        }
        found.append({**one, **pictures} if pictures else one)
    return found


def _is_picture(value: Any) -> bool:
    """Whether what a message gives as a picture is a path or bytes of one."""
    return isinstance(value, str) or holds_picture(value)
