"""Pictures in the cells of a table: paths, bytes, or both."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqa_explain.datasets.rows import Number
from vqa_explain.errors import InvalidInput

_KEYS = {"bytes", "path"}  # of a picture as `datasets` and `pandas` write it to Parquet


def holds_picture(value: Any) -> bool:
    """Whether a cell surely holds a picture and no text, number or row: bytes, or {bytes, path}."""
    if isinstance(value, Mapping):
        return bool(value) and set(value) <= _KEYS
    return isinstance(value, bytes | bytearray | memoryview)


def picture_of(value: Any, column: str, folder: Path) -> Any:
    """The picture of a cell, as `read_image` takes it.

    Args:
        value: a path relative to `folder`, the bytes of a picture's file, {"bytes": …, "path": …},
            or a picture itself.
        column: where it stands, for errors.
        folder: the table's.

    Raises:
        InvalidInput: the cell is empty, or holds something else.
    """
    if isinstance(value, Mapping) and holds_picture(value):
        content = value.get("bytes")
        value = content if content is not None else value.get("path")
    if _is_missing(value):
        raise InvalidInput(f"column {column!r} is empty; give the path of a picture")
    if isinstance(value, bool | int | float | Number | Mapping):
        raise InvalidInput(
            f"column {column!r} holds {str(value)[:60]!r} for a picture; give a path, or the "
            "bytes of a picture's file"
        )
    if isinstance(value, str):
        return folder / value
    if isinstance(value, bytes | bytearray | memoryview):
        return _from_bytes(bytes(value), column)
    return value


def _is_missing(value: Any) -> bool:
    """Whether a cell is empty; tables write that as null, "", or NaN."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, float) and value != value)


def _from_bytes(content: bytes, column: str) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(io.BytesIO(content))
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError) as error:
        raise InvalidInput(
            f"column {column!r} holds {len(content):,} bytes that are no picture that Pillow can "
            "read; convert it to PNG"
        ) from error
