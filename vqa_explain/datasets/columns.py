"""Examples from tables: which column holds what, kept as data; rows are read one by one."""

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload

import numpy as np

from vqa_explain._shown import shown
from vqa_explain.datasets.inputs import (
    Columns,
    check_inputs,
    columns_of,
    read_inputs,
    read_messages,
)
from vqa_explain.datasets.pictures import picture_of
from vqa_explain.datasets.rows import (
    Number,
    as_written,
    csv_columns,
    csv_count,
    csv_rows,
    json_columns,
    json_rows,
    read_json,
)
from vqa_explain.errors import InvalidInput, MissingColumn
from vqa_explain.examples import Example, read_image
from vqa_explain.features.words import places_of_phrase
from vqa_explain.files import check_is_file

# What inputs by name stand in place of.
IN_PLACE_OF = ("image", "question", "messages")

# The fields of an Example that a column can fill. "boxes" are true regions here: left, top, right,
# bottom in pixels.
FIELDS = (
    "image",
    "question",
    "answer",
    "answers",
    "id",
    "family",
    "mask",
    "boxes",
    "decisive",
    "messages",
)
FILES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".json": "json",
    ".jsonl": "json",
    ".ndjson": "json",
    ".parquet": "parquet",
}
# Of a Parquet file. `datasets` would take as many as the first group has, which may be none.
ROWS_AT_ONCE = 64
# Fields that hold a text as it is written.
TEXTS = (
    "question",
    "answer",
    "answers",
    "id",
    "family",
)


@dataclass(frozen=True)
class Schema:
    """Where a public data set keeps what.

    Attributes:
        about: what it is.
        hub: its id on the hub, or "" where only its official release in a folder can be read.
        fields: field of an Example → column; "a.b" is b within a, "a.*.b" a list of all b, and a
            text with {braces} is a path with columns in it, relative to the folder.
        config: the hub's configuration; "{split}" in it stands for the split.
        split: the split that is read unless told otherwise.
        files: for a folder: the table's path with "{split}", and the key under which a JSON file
            keeps its rows.
        join: the configuration that keeps the pictures, the column here that names one, and its
            columns there.
    """

    about: str
    hub: str
    fields: Mapping[str, str]
    split: str
    config: str | None = None
    files: tuple[str, str | None] | None = None
    join: tuple[str, str, str, str] | None = None


# Columns as the data sets' own cards list them.
SCHEMAS: dict[str, Schema] = {
    "vqav2": Schema(
        "VQA v2 (Goyal et al. 2017), ten people's answers",
        "lmms-lab/VQAv2",
        {
            "image": "image",
            "question": "question",
            "answer": "multiple_choice_answer",
            "answers": "answers.*.answer",
            "id": "question_id",
            "family": "answer_type",
        },
        "validation",
    ),
    "ok-vqa": Schema(
        "OK-VQA (Marino et al. 2019), questions that need knowledge",
        "lmms-lab/OK-VQA",
        {
            "image": "image",
            "question": "question",
            "answers": "answers",
            "id": "question_id",
            "family": "question_type",
        },
        "val2014",
    ),
    "vizwiz": Schema(
        "VizWiz (Gurari et al. 2018), photographs and questions of blind people",
        "lmms-lab/VizWiz-VQA",
        {
            "image": "image",
            "question": "question",
            "answers": "answers",
            "id": "question_id",
            "family": "category",
        },
        "val",
    ),
    "gqa": Schema(
        "GQA (Hudson & Manning 2019), questions from scene graphs",
        "lmms-lab/GQA",
        {"question": "question", "answer": "answer", "id": "id", "family": "types.structural"},
        "testdev",
        config="{split}_balanced_instructions",
        join=("{split}_balanced_images", "imageId", "id", "image"),
    ),
    "clevr": Schema(
        "CLEVR (Johnson et al. 2017), its official release in a folder",
        "",
        {
            "image": "images/{split}/{image_filename}",
            "question": "question",
            "answer": "answer",
            "id": "question_index",
            "family": "question_family_index",
        },
        "val",
        files=("questions/CLEVR_{split}_questions.json", "questions"),
    ),
}


@dataclass(frozen=True, eq=False)
class Table:
    """Examples from rows; read anew each time, no more of them at once than one.

    Attributes:
        name: what it is called.
        fields: see `Schema`.
        source: an id on the hub or a folder of its layout; or the path of a file.
        folder: what paths in columns are relative to.
        inputs: input name → its column, or the columns of a table's row; in place of image and
            question.
    """

    name: str
    fields: Mapping[str, str]
    source: str
    split: str = "train"
    config: str | None = None
    kind: str | None = None
    rows_under: str | None = None
    join: tuple[str, str, str, str] | None = None
    folder: Path = field(default_factory=Path)
    inputs: Mapping[str, Columns] | None = None

    @cached_property
    def fingerprint(self) -> str:
        """A hash of the table's file; of data on the hub,
        of its name and its first rows' questions.
        """
        inputs = [] if self.inputs is None else [dict(self.inputs)]
        digest = hashlib.sha256(
            json.dumps([self.name, self.source, self.split, dict(self.fields), *inputs]).encode()
        )
        if self.kind is not None:
            digest.update(Path(self.source).read_bytes())
        else:
            for _, row in zip(range(64), self._rows(), strict=False):
                digest.update(
                    repr(
                        [row.get(c) for c in sorted(row) if isinstance(row[c], str | int)]
                    ).encode()
                )
        return digest.hexdigest()[:16]

    @cached_property
    def count(self) -> int | None:
        """How many rows there are; `None` where one would have to read data of the hub for it."""
        if self.kind is None:
            return None
        path = Path(self.source)
        with self._read_here():
            if self.kind == "csv":
                return csv_count(path)
            if self.kind == "json":
                return sum(1 for _ in json_rows(path, self.rows_under))
            import pyarrow.parquet as pq

            return int(pq.read_metadata(path).num_rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        """The example of a number, or those of a slice;
        the table is read from its start up to there.
        """
        if isinstance(index, slice):
            edges = [edge for edge in (index.start, index.stop, index.step) if edge is not None]
            backwards = any(edge < 0 for edge in edges)
            reader = iter(self)
            stop = None if backwards else index.stop
            return list(islice(reader, stop))[index]
        if index < 0:
            return list(self)[index]
        found = next(islice(iter(self), index, None), None)
        if found is None:
            raise IndexError(f"data set {self.name!r} has no example number {index}")
        return found

    def __iter__(self) -> Iterator[Example]:
        for number, row in enumerate(self._rows()):
            yield self.read(row, number)

    def read(self, row: Mapping[str, Any], number: int) -> Example:
        """The example of a row; one that cannot be read says why where it is judged.

        Args:
            row: column → value.
            number: of the row, from 0.
        """
        try:
            return self._example(dict(row), number)
        except Exception as error:  # of any kind: one bad row must not end the run
            wrong = InvalidInput(
                f"row {number} of data set {self.name!r} cannot be read: {error}; mend it"
            )
            return Example(image=wrong, id=f"{self.name}/{number}")

    @property
    def types(self) -> Any:
        """The types of the columns of a Parquet file, as `datasets` reads them; `None` where it
        knows none.
        """
        return self._opened().features

    def _rows(self) -> Iterator[dict[str, Any]]:
        with self._read_here():
            columns, rows = self._read()
            self.check(columns)
            yield from rows

    @contextmanager
    def _read_here(self) -> Iterator[None]:
        """Inside, what is wrong with the file is told as such."""
        try:
            yield
        except (OSError, ValueError, csv.Error) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(
                f"data set {self.name!r} cannot be read from {self.source!r}: {error}"
            ) from error

    def _read(self) -> tuple[list[str], Iterator[dict[str, Any]]]:
        """The names of the columns, and the rows."""
        path = Path(self.source)
        if self.kind == "csv":
            return csv_columns(path), csv_rows(path)
        if self.kind == "json":
            return self._keys, json_rows(path, self.rows_under)
        return self._typed_rows()

    @cached_property
    def _keys(self) -> list[str]:
        """The keys of a JSON file's rows; the file is read through once for them,
        since a row may lack some.
        """
        return json_columns(Path(self.source), self.rows_under)

    def _typed_rows(self) -> tuple[list[str], Iterator[dict[str, Any]]]:
        """Rows of Parquet files and of the hub, which keep each column's type."""
        import datasets

        try:
            rows = self._opened()
            known = rows.column_names
            if known is None:
                known = list(next(iter(rows.take(1)), {}))
        except datasets.exceptions.DatasetsError as error:
            raise InvalidInput(
                f"data set {self.name!r} cannot be read from {self.source!r}: {error}"
            ) from error
        self._check_types(rows.features or {})
        return known, iter(rows)

    def _opened(self) -> Any:
        """The rows as `datasets` reads them, one by one."""
        import datasets

        options: dict[str, Any] = {"split": self.split, "streaming": True}
        if self.kind is not None:
            options |= {"data_files": {self.split: self.source}}
        if self.kind == "parquet":
            options |= {"batch_size": ROWS_AT_ONCE}
        return datasets.load_dataset(self.kind or self.source, self.config, **options)

    def _check_types(self, types: Mapping[str, Any]) -> None:
        """Raises where a text's column has a type that does not keep how a text was written."""
        for what in TEXTS:
            column = self.fields.get(what, "")
            kind = getattr(_type_at(types, column), "dtype", "")
            if isinstance(kind, str) and kind.startswith(
                ("float", "double", "decimal", "bool", "date", "time")
            ):
                raise InvalidInput(
                    f"column {column!r} of data set {self.name!r} holds {kind}, so how each {what} "
                    "was written is not known (1 or 1.0?); store the column as text"
                )

    def check(self, known: list[str]) -> None:
        """Refuses columns that are asked for and not there.

        Args:
            known: the columns of the table.

        Raises:
            MissingColumn: one is not there; the message names those that are.
            InvalidInput: several have its name.
        """
        asked = [(what, path) for what, path in self.fields.items()]
        asked += [("inputs", column) for column in columns_of(self.inputs or {})]
        for what, path in asked:
            for column in re.findall(r"\{(\w+)\}", path) or [path.split(".")[0]]:
                if known.count(column) > 1:
                    raise InvalidInput(
                        f"data set {self.name!r} has several columns named {column!r}; give each "
                        "its own name"
                    )
                if column not in (*known, "split"):
                    raise MissingColumn(
                        f"data set {self.name!r} has no column {column!r} for the {what}; there "
                        f"are: {', '.join(known)}",
                        what,
                    )

    @cached_property
    def _pictures(self) -> Any:
        """The table of pictures, and the row of each by its key."""
        import datasets

        assert self.join is not None
        config, _, key, _ = self.join
        table = datasets.load_dataset(self.source, config, split=self.split)
        return table, {name: row for row, name in enumerate(table[key])}

    def _example(self, row: dict[str, Any], number: int) -> Example:
        found = {what: self._value(row, path) for what, path in self.fields.items()}
        if self.join is not None:
            _, here, _, column = self.join
            table, rows = self._pictures
            if row[here] not in rows:
                raise InvalidInput(f"data set {self.name!r} has no picture {row[here]!r}")
            found["image"] = table[rows[row[here]]][column]
        image = None
        if "image" in found:
            column = self.fields.get("image", "image")
            image = picture_of(found["image"], column, self.folder)
        question = as_written(found.get("question"), "question")
        masks = self._masks(found, image)
        given: dict[str, Any] = {"image": image, "question": question}
        if self.inputs is not None:
            given = {"inputs": read_inputs(row, self.inputs, self.folder)}
        elif "messages" in self.fields:
            given = {"messages": read_messages(found["messages"], self.folder)}
        return Example(
            **given,
            answer=as_written(found.get("answer"), "answer"),
            answers=_answers(found.get("answers")),
            id=as_written(found.get("id"), "id") or f"{self.name}/{number}",
            family=as_written(found.get("family"), "family") or "",
            masks=masks,
            about=() if masks is None else tuple(range(len(masks))),
            decisive=decisive_spans(
                found.get("decisive"), question or "", self.fields.get("decisive", "")
            ),
        )

    def _value(self, row: Any, path: str) -> Any:
        if "{" in path:
            return re.sub(r"\{(\w+)\}", lambda m: str({**row, "split": self.split}[m[1]]), path)
        parts = path.split(".")
        for number, part in enumerate(parts):
            if part == "*":
                return [self._value(item, ".".join(parts[number + 1 :])) for item in row]
            row = None if row is None else row.get(part)
        return row

    def _masks(self, found: dict[str, Any], image: Any) -> np.ndarray | None:
        """(objects, H, W) bool, from a mask's picture or from boxes."""
        mask, boxes = found.get("mask"), found.get("boxes")
        if mask is not None and not (isinstance(mask, str) and not mask.strip()):
            pixels = read_image(picture_of(mask, self.fields.get("mask", "mask"), self.folder))
            result: np.ndarray | None = (pixels.max(axis=2) > 127)[None]
            return result
        corners = _corners(boxes, self.fields.get("boxes", ""))
        if not len(corners):
            return None
        height, width = read_image(image).shape[:2]
        masks = np.zeros((len(corners), height, width), dtype=bool)
        for one, (left, top, right, bottom) in zip(masks, corners, strict=True):
            one[max(0, top) : max(0, bottom), max(0, left) : max(0, right)] = True
        return masks


def _answers(value: Any) -> tuple[str, ...]:
    """What several people answered; those who gave nothing are left out."""
    if isinstance(value, str) and value:
        try:
            value = read_json(value)
        except ValueError as error:
            raise InvalidInput(
                f'the answers {value[:60]!r} should be a list written as JSON, such as ["a cup"]'
            ) from error
    if value is None or value == "":
        return ()
    if not _is_list(value):
        raise InvalidInput(f'the answers must be a list such as ["a cup"], not {value!r}')
    written = (as_written(one, "answer") for one in value)
    return tuple(one for one in written if one is not None)


def _type_at(types: Any, path: str) -> Any:
    """The type of what a column holds, of its items where they are lists;
    `None` where it is not known.
    """
    found = types
    for part in path.split("."):
        if part != "*":
            found = found.get(part) if isinstance(found, Mapping) else None
        while True:
            if isinstance(found, list) and found:
                found = found[0]
            elif getattr(found, "feature", None) is not None:
                found = found.feature
            else:
                break
    return found


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple | np.ndarray)


def _corners(value: Any, column: str) -> np.ndarray:
    """(N, 4) int, the left, top, right and bottom of boxes in pixels.

    Raises:
        InvalidInput: they are not written as [[left, top, right, bottom], …].
    """
    if value is None or (not isinstance(value, np.ndarray) and value in ("", [], ())):
        return np.zeros((0, 4), dtype=int)
    try:
        listed = read_json(value) if isinstance(value, str) else value
        corners = np.array([_edges(box) for box in listed])
        if not np.isfinite(corners).all() or (corners[:, :2] >= corners[:, 2:]).any():
            raise ValueError
    except (TypeError, ValueError) as error:
        raise InvalidInput(
            f"column {column!r} holds {str(value)[:60]!r} for boxes; write "
            "[[left, top, right, bottom], …] in pixels"
        ) from error
    result: np.ndarray = np.rint(corners).astype(int)
    return result


def _edges(box: Any) -> list[float]:
    """The four edges of a box.

    Raises:
        TypeError, ValueError: it is no list of four numbers.
    """
    if not _is_list(box) or len(box) != 4 or any(map(_is_phrase, box)):
        raise ValueError
    return [float(edge) for edge in box]


def decisive_spans(value: Any, question: str, column: str) -> tuple[tuple[int, int], ...]:
    """The character spans (start, end) of the words that decide the answer.

    Args:
        value: spans [[start, end], …]; a word or phrase that stands once in the question, or a list
            of such; in a CSV file also as JSON.
        question: what is asked.
        column: where the value stands, for errors.

    Raises:
        InvalidInput: it is none of these, a span is not within the question, or a word stands in it
            never or more than once.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if _is_phrase(value):
        value = _listed(value)
    if not _is_list(value):
        raise _no_spans(value, column)
    return tuple(_span(one, question, column) for one in value)


def _is_phrase(value: Any) -> bool:
    """Whether it is a text that was written as one, and no number of a JSON file."""
    return isinstance(value, str) and not isinstance(value, Number)


def _listed(text: str) -> Any:
    """What a cell of a CSV file lists; a word that is no list is the one of its list."""
    if not text.lstrip().startswith(("[", '"')):
        return [text]
    try:
        found = read_json(text)
    except ValueError:
        return [text]  # a word in brackets
    return [found] if _is_phrase(found) else found


def _span(value: Any, question: str, column: str) -> tuple[int, int]:
    if _is_phrase(value):
        return _only_place(value, question, column)
    try:
        start, end = (float(edge) for edge in value)
    except (TypeError, ValueError, OverflowError) as error:
        raise _no_spans(value, column) from error
    whole = start.is_integer() and end.is_integer()
    if isinstance(value, str) or not whole or not 0 <= start < end <= len(question):
        raise _no_spans(value, column)
    return int(start), int(end)


def _only_place(phrase: str, question: str, column: str) -> tuple[int, int]:
    """Where a word or phrase stands in the question, without regard to case."""
    found = places_of_phrase(phrase.strip(), question)
    if len(found) != 1:
        raise InvalidInput(
            f"column {column!r} names the word {phrase[:60]!r}, which stands {len(found)} times in "
            "the question; give character spans instead, such as [[5, 10]]"
        )
    return found[0]


def _no_spans(value: Any, column: str) -> InvalidInput:
    return InvalidInput(
        f"column {column!r} holds {str(value)[:60]!r}; write spans of characters within the "
        'question, such as [[5, 10]], or words of it, such as ["circle"]'
    )


def open_schema(name: str, split: str, source: Path | None) -> Table:
    """A public data set from the hub, or from a folder of its layout."""
    schema = SCHEMAS[name]
    split = split or schema.split
    if schema.files is not None:
        if source is None:
            raise InvalidInput(
                f"data set {name!r} is read from its official release; give its folder as source"
            )
        _check_folder(name, source)
        path, rows_under = schema.files
        file = source / path.format(split=split)
        if not file.is_file():
            raise InvalidInput(
                f"data set {name!r} has no file {str(file)!r}; check the folder and the split"
            )
        return Table(
            name,
            schema.fields,
            str(file),
            split,
            None,
            FILES[file.suffix],
            rows_under,
            folder=source,
        )
    if source is not None:
        _check_folder(name, source)
    config = None if schema.config is None else schema.config.format(split=split)
    join = schema.join and (schema.join[0].format(split=split), *schema.join[1:])
    return Table(
        name,
        schema.fields,
        str(source or schema.hub),
        split,
        config,
        join=join,
        folder=source or Path(),
    )


def _check_folder(name: str, source: Path) -> None:
    if not source.is_dir():
        raise InvalidInput(
            f"the folder {str(source)!r} of data set {name!r} does not exist; check the path"
        )


def open_file(
    path: Path, fields: Mapping[str, str] | None, inputs: Mapping[str, Columns] | None = None
) -> Table:
    """A table of one's own: a CSV, JSON, JSON-lines or Parquet file, or a folder that holds exactly
    one.

    The separator of a CSV file (comma, semicolon, tab or bar) and the encoding of a text file are
    found out. In Parquet, pictures may be bytes, or {bytes, path}.

    Columns are called like the fields of an Example unless `fields` says otherwise: image (a path
    relative to the file's folder), question, answer, answers, id, family, mask (a path), boxes,
    decisive; or messages, a chat, in place of image and question. `inputs` names the columns of
    inputs of any number and kind, likewise: a column of pictures' paths or of texts, or a list of
    columns that are a table's row.

    Lists are written as JSON in a CSV file. `answers` is a list of texts. `boxes`, true regions, is
    [[left, top, right, bottom], …] in pixels of the picture. `decisive`, the words that decide the
    answer, is a list of character spans [[start, end], …], counted from 0 with the end outside, or
    of words that stand once in the question. Of masks and boxes, the question is about all
    (`Example.about`).
    """
    if path.is_dir():
        tables = sorted(p for p in path.iterdir() if p.suffix.lower() in FILES)
        if len(tables) != 1:
            found = ", ".join(p.name for p in tables[:5]) or "none"
            raise InvalidInput(
                f"folder {str(path)!r} must hold one table ({', '.join(FILES)}); found: {found}"
            )
        path = tables[0]
    if path.suffix.lower() not in FILES:
        raise InvalidInput(
            f"{str(path)!r} is no table that can be read; give one of: {', '.join(FILES)}"
        )
    if not isinstance(fields, Mapping | None):
        raise InvalidInput(
            f"fields= is a mapping such as {{'image': 'photo'}}, not {shown(fields)}"
        )
    if fields is not None:
        strange = next((f for f in fields if f not in FIELDS), None)
        if strange is not None:
            from vqa_explain.errors import unknown

            raise unknown("field of an example", strange, FIELDS)
    known = _columns(path)
    if not any(known):
        raise InvalidInput(
            f"{str(path)!r} holds no column; give a table that has rows and named columns"
        )
    named = {f: f for f in FIELDS if f in known}
    named |= dict(fields or {})
    if inputs is not None:
        check_inputs(inputs)
        named = {what: column for what, column in named.items() if what not in IN_PLACE_OF}
    elif "messages" in named:
        named = {
            what: column for what, column in named.items() if what not in ("image", "question")
        }
    elif "image" not in named:
        raise MissingColumn(
            f"{str(path)!r} has no column 'image'; there are: {', '.join(known)}", "image"
        )
    kind = FILES[path.suffix.lower()]
    table = Table(path.stem, named, str(path), kind=kind, folder=path.parent, inputs=inputs)
    table.check(known)
    return table


def _columns(path: Path) -> list[str]:
    import datasets

    try:
        check_is_file(path)
        kind = FILES[path.suffix.lower()]
        if kind == "csv":
            return csv_columns(path)
        if kind == "json":
            return json_columns(path)
        rows = datasets.load_dataset(kind, data_files=str(path), split="train", streaming=True)
        return list(rows.column_names or next(iter(rows.take(1)), {}))
    except (OSError, ValueError, csv.Error, datasets.exceptions.DatasetsError) as error:
        raise InvalidInput(f"{str(path)!r} cannot be read as a table: {error}") from error
