"""Rows of Parquet files and pictures of folders, read by Ray Data on the nodes of a cluster.

The process that calls `evaluate` holds references to what was read, and not the content: a shard's
rows go from where they were read to where they are judged. Their order is that of the file.
"""

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from vqa_explain.datasets.columns import Table
from vqa_explain.datasets.folder import PictureFolder
from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.data import Unreadable
from vqa_explain.evaluation.jobs import Job
from vqa_explain.examples import Example, PictureFile


@dataclass(frozen=True)
class RemoteRow:
    """A row that Ray Data has read, in place of its example.

    Attributes:
        block: the reference of a table of rows.
        place: the row's in it.
        reader: the reference of what makes examples of rows.
    """

    block: Any
    place: int
    reader: Any


class ParquetReader:
    """Reads a Parquet file, and makes of its rows what the table makes of them."""

    def __init__(self, table: Table) -> None:
        self._table, self._types = table, table.types

    def data(self, ray: Any) -> Any:
        """The file's rows."""
        return ray.data.read_parquet(self._table.source)

    def example(self, block: Any, place: int, index: int) -> Example:
        """The example of a row."""
        (row,) = block.slice(place, 1).to_pylist()
        try:
            decoded = self._types.decode_example(row) if self._types else row
        except Exception as error:  # of any kind: it may be of a picture's decoder
            raise Unreadable(
                f"data set {self._table.name!r} cannot be read at row {index} "
                f"({type(error).__name__}: {error}); mend it, and the same call goes on"
            ) from error
        return self._table.read(decoded, index)


class FolderReader:
    """Reads the files of a folder's pictures. One that is gone is left to whoever judges it."""

    def __init__(self, folder: PictureFolder) -> None:
        self._folder = folder

    def data(self, ray: Any) -> Any:
        """Bytes and path of each file that is there."""
        paths = [self._path(number) for number in range(len(self._folder))]
        return ray.data.read_binary_files(paths, include_paths=True, ignore_missing_paths=True)

    def example(self, block: Any, place: int, index: int) -> Example:
        """The example of a number, of the row's bytes if they are those of its file."""
        (row,) = block.slice(place, 1).to_pylist()
        if row["path"] != self._path(index):  # a file before it is gone
            return self._folder.example(index)
        return self._folder.shown(index, PictureFile(self._path(index), row["bytes"]))

    def _path(self, index: int) -> str:
        return str((self._folder.folder / self._folder.paths[index]).absolute())


def reader_of(dataset: Any) -> ParquetReader | FolderReader | None:
    """What reads a data set by Ray Data; `None` where it is none of those that Ray Data reads."""
    if isinstance(dataset, PictureFolder):
        return FolderReader(dataset)
    if isinstance(dataset, Table) and dataset.kind == "parquet" and dataset.join is None:
        return ParquetReader(dataset)
    return None


class RemoteRows:
    """The rows of a data set in order, read as they are asked for, while Ray runs.

    Args:
        reader: what reads them.
        count: how many there are, where that is known: what is not read in the end is `None`.
    """

    def __init__(self, reader: ParquetReader | FolderReader, count: int | None) -> None:
        self._reader, self._count = reader, count
        self._reading: Generator[RemoteRow | None, None, None] | None = None

    def __iter__(self) -> Iterator[RemoteRow | None]:
        self._reading = self._read()
        return self._reading

    def close(self) -> None:
        """Ends the reading, which must not outlive Ray."""
        if self._reading is not None:
            self._reading.close()

    def _read(self) -> Generator[RemoteRow | None, None, None]:
        """The rows.

        Raises:
            InvalidInput: Ray Data is not installed.
            Unreadable: the file cannot be read to its end.
        """
        ray = _ray_with_data()
        reader, number = ray.put(self._reader), 0
        try:
            data = self._reader.data(ray)
            data.context.execution_options.preserve_order = True
            data.context.enable_progress_bars = False
            with _quiet():
                for block, rows in _blocks(data):
                    yield from (RemoteRow(block, place, reader) for place in range(rows))
                    number += rows
        except (ray.exceptions.RayError, OSError, ValueError) as error:
            told = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise Unreadable(
                f"Ray Data cannot read beyond the first {number:,} rows ({told}); mend the data, "
                "and the same call goes on; what is finished is kept"
            ) from error
        for _ in range(number, self._count or 0):
            yield None


def _blocks(data: Any) -> Iterator[tuple[Any, int]]:
    """The reference of each table of rows, and how many it has."""
    for bundle in data.iter_internal_ref_bundles():
        for entry in bundle.blocks:
            # Older versions of Ray have pairs.
            pair = entry if isinstance(entry, tuple) else (entry.ref, entry.metadata)
            yield pair[0], pair[1].num_rows


def _ray_with_data() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InvalidInput(
            "engine 'ray' reads Parquet files and folders of pictures by Ray Data, which is not "
            "installed; run: pip install 'vqa_explain[ray]'"
        ) from error
    return ray


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Ray Data tells errors alone."""
    told = logging.getLogger("ray.data")
    before = told.level
    told.setLevel(logging.ERROR)
    try:
        yield
    finally:
        told.setLevel(before)


def with_examples(job: Job) -> Job:
    """The job with the examples of its rows that Ray Data has read."""
    import ray

    given: tuple[tuple[int, Any], ...] = job.items
    rows = [row for _, row in given if isinstance(row, RemoteRow)]
    if not rows:
        return job
    blocks = {row.block: ray.get(row.block) for row in rows}
    reader = ray.get(rows[0].reader)
    items = []
    for index, row in given:
        found = row
        if isinstance(row, RemoteRow):
            found = reader.example(blocks[row.block], row.place, index)
        items.append((index, found))
    return replace(job, items=tuple(items))
