"""How a table's file was written: its encoding, and what separates its cells."""

import codecs
import csv
import io
import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from vqa_explain.errors import InvalidInput

log = logging.getLogger("vqa_explain")

SEPARATORS = (",", ";", "\t", "|")
_LOOKED_AT = 50  # lines that are split to find the separator
_BLOCK = 2**20  # bytes that are decoded at once
# Letters of a cell: far above any table's, and few enough that quotation marks which are not closed
# do not fill the memory with the rest of a large file.
LONGEST_CELL = 2**27
# The limit of Python's csv module belongs to the process.
_limit_held = threading.Lock()
# The longer marks first, since that of UTF-32 begins as that of UTF-16 does.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


@dataclass(frozen=True)
class Layout:
    """How the lines of a CSV file are divided.

    Attributes:
        separator: between two cells.
        skipped: lines before the header: Excel's "sep=;".
        blanks: whether a blank after a separator is none of the cell.
    """

    separator: str
    skipped: int
    blanks: bool

    def rows(self, file: TextIO) -> Iterator[tuple[int, list[str]]]:
        """The number of each row's last line, and its cells, header included.

        Raises:
            csv.Error: quotation marks are not closed, or not followed by a separator; the message
                names the row's first line.
        """
        for _ in range(self.skipped):
            file.readline()
        reader = csv.reader(
            file, delimiter=self.separator, skipinitialspace=self.blanks, strict=True
        )
        while True:
            first = reader.line_num + self.skipped + 1
            try:
                cells = _next_cells(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise csv.Error(
                    f"the row that begins in line {first} has no end ({error}); close its "
                    'quotation marks, and write "" for one within a cell'
                ) from error
            yield reader.line_num + self.skipped, cells


def _next_cells(reader: Any) -> list[str]:
    """The next row, with cells of any length that Python's csv module alone would refuse.

    Raises:
        StopIteration: there is none.
        csv.Error: it cannot be divided.
    """
    with _limit_held:
        before = csv.field_size_limit(LONGEST_CELL)
        try:
            cells: list[str] = next(reader)
        finally:
            csv.field_size_limit(before)
    return cells


@contextmanager
def opened(path: Path) -> Iterator[TextIO]:
    """The file as text, with its line ends as they are."""
    with path.open(encoding=encoding_of(path), newline="") as file:
        yield file


def encoding_of(path: Path) -> str:
    """The encoding of a text file: by its mark, else UTF-8 or UTF-16 where it is such, else
    Windows-1252, which holds latin-1.

    Raises:
        OSError: it cannot be read.
    """
    about = path.stat()
    return _encoding(path, about.st_size, about.st_mtime_ns)


@lru_cache(maxsize=64)
def _encoding(path: Path, size: int, changed: int) -> str:
    """The encoding of a file of this size and time of change; it is read through for it."""
    with path.open("rb") as file:
        start = file.read(4096)
    for mark, name in _MARKS:
        if start.startswith(mark):
            return name
    # Letters of ASCII take two bytes there, of which one is 0.
    if start[1::2].count(0) > len(start) / 4:
        return "utf-16-le"
    if start[::2].count(0) > len(start) / 4:
        return "utf-16-be"
    if _is_in(path, "utf-8"):
        return "utf-8"
    found = "cp1252" if _is_in(path, "cp1252") else "latin-1"
    log.warning(
        "%s is not written in UTF-8 and is read as %s; if letters look wrong, save it as UTF-8",
        path, found,
    )  # fmt: skip
    return found


def _is_in(path: Path, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def layout_of(path: Path) -> Layout:
    """How a CSV file's lines are divided: by the separator that gives its header the most names
    and its lines as many cells.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is text of no kind.
    """
    with opened(path) as file:
        lines = list(islice(file, _LOOKED_AT))
    named = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None
    if named:
        return Layout(named[1], 1, _has_blanks(lines[1:2], named[1]))
    found = [_tried(lines, separator) for separator in SEPARATORS]
    best = max(range(len(SEPARATORS)), key=lambda place: found[place])  # the first of equals
    separator = SEPARATORS[best]
    return Layout(separator, 0, _has_blanks(lines[:1], separator))


def _tried(lines: list[str], separator: str) -> tuple[bool, int, int]:
    """Whether the lines have as many cells as the first one, more than one; how many it has; and
    how many of these are one word, as names are.
    """
    reader = csv.reader(io.StringIO("".join(lines), newline=""), delimiter=separator)
    rows = []
    try:
        while True:
            rows.append(_next_cells(reader))
    except StopIteration:
        rows = [cells for cells in rows if cells]
    except csv.Error:
        rows = []
    if not rows:
        return False, 0, 0
    count = len(rows[0])
    # The last one may be cut within its quotation marks.
    same = all(len(cells) == count for cells in rows[:-1] or rows)
    words = sum(name.isidentifier() for name in rows[0])
    return same and count > 1, count, words


def _has_blanks(header: list[str], separator: str) -> bool:
    """Whether the header has a blank after each of its separators."""
    if not header or separator not in header[0]:
        return False
    _, *later = header[0].split(separator)
    return all(name.startswith(" ") for name in later)


def names_of(cells: list[str]) -> list[str]:
    """The names of a header's cells, without the blanks around them."""
    return [name.strip() for name in cells]


def read_text(path: Path) -> str:
    """All of a text file.

    Raises:
        InvalidInput: it is text of no kind.
    """
    try:
        return path.read_text(encoding=encoding_of(path))
    except UnicodeDecodeError as error:
        raise InvalidInput(
            f"{path.name!r} is no text that can be read ({error}); save it as UTF-8"
        ) from error
