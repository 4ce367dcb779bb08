"""The folder of a run: its plan, and one Parquet file for every finished shard."""

import fcntl
import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vqa_explain.errors import InvalidInput, unwritable
from vqa_explain.evaluation.plan import Plan, read_plan
from vqa_explain.evaluation.shards import DAMAGED, STAMPS, read_shard, stamps_of
from vqa_explain.files import check_is_file, without_link, write_atomically

log = logging.getLogger("vqa_explain")

PLAN_HASH = b"plan"  # in a shard's metadata: whose it is
PLACE = b"place"  # and which shard it is, since a file can be copied under another name
ASIDE = "old-"  # before the name of a shard of which some rows no longer hold


class Store:
    """Where a run keeps what it has: `plan.json`, `shards/`, `explanations/`, `gallery/`.

    Args:
        folder: the run's; made when something is first written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def plan_path(self) -> Path:
        return self.folder / "plan.json"

    def plan(self) -> Plan:
        """The plan of this run. Raises `InvalidInput` where there is none."""
        if not os.path.isdir(self.folder):  # false, too, for names that are too long
            raise InvalidInput(f"the folder {str(self.folder)!r} does not exist; check the path")
        if not self.plan_path.is_file():
            raise InvalidInput(
                f"{str(self.folder)!r} holds no evaluation; run `vqa-explain evaluate --out` first"
            )
        return read_plan(self.plan_path)

    @contextmanager
    def opened(self, plan: Plan) -> Iterator[None]:
        """The folder is this plan's, and nobody else writes there meanwhile.

        Of several runs that begin at once in a new folder, exactly one gets it.

        Raises:
            InvalidInput: it cannot be written, belongs to another plan, or another run is at work
                in it.
        """
        self._check_plan(plan)
        self._make_folders()
        with self.locked():
            # Another run may have begun since.
            self._check_plan(plan)
            if not self.plan_path.exists():
                self.write_plan(plan)
            yield

    def _check_plan(self, plan: Plan) -> None:
        if not self.plan_path.exists():
            return
        known = read_plan(self.plan_path)
        if known.hash != plan.hash:
            lines = "\n  ".join(known.differences(plan))
            raise InvalidInput(
                f"{str(self.folder)!r} holds the evaluation of another plan; choose another "
                f"folder, or ask for the same:\n  {lines}"
            )

    def _make_folders(self) -> None:
        try:
            for name in ("shards", "explanations", "gallery"):
                (self.folder / name).mkdir(parents=True, exist_ok=True)
        except (OSError, ValueError) as error:
            raise unwritable(self.folder, error) from error

    def write_plan(self, plan: Plan) -> None:
        """Notes the plan with its code and versions."""
        write_atomically(without_link(self.plan_path), plan.to_json().encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else writes here meanwhile; a process that ends, however it ends, lets go.

        Raises:
            InvalidInput: another run is at work in the folder.
        """
        path = self.folder / "lock"
        try:
            # A link could point at a file of somebody's, which would be overwritten.
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
        except OSError as error:
            raise _no_lock(path, error) from error
        try:
            self._lock(path, handle)
            yield
        finally:
            os.close(handle)

    def _lock(self, path: Path, handle: int) -> None:
        """Locks an open file, and notes this process in it."""
        try:
            check_is_file(path)
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError as error:
            other = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            raise InvalidInput(
                f"another run is at work in {str(self.folder)!r} (process {other}); wait for "
                "it or stop it"
            ) from error
        except OSError as error:
            raise _no_lock(path, error) from error

    def shard_path(self, kind: str, number: int) -> Path:
        return self.folder / "shards" / f"{kind}-{number:06d}.parquet"

    def aside(self, kind: str, number: int) -> Path:
        """Where a shard is kept while it is mended."""
        path = self.shard_path(kind, number)
        return path.with_name(ASIDE + path.name)

    def set_aside(self, kind: str, number: int) -> None:
        """From now on the shard counts as missing, and is kept for the rows that still hold."""
        if self.shard_path(kind, number).exists():
            os.replace(self.shard_path(kind, number), self.aside(kind, number))

    def remove(self, kind: str, number: int) -> None:
        """The shard is gone."""
        for path in (self.shard_path(kind, number), self.aside(kind, number)):
            path.unlink(missing_ok=True)

    def remove_explanations(self, index: int) -> None:
        """The kept explanations of an example are gone."""
        for path in (self.folder / "explanations").glob(f"{index:07d}-*"):
            path.unlink()

    def stamped(self, kind: str, plan: Plan) -> dict[int, tuple[Path, dict[str, Any]]]:
        """Number → file and stamps of every whole shard of the plan,
        also of those that were set aside.
        """
        found = {}
        for prefix in (ASIDE, ""):  # a shard that is there replaces the one set aside
            for number, path, about in self._of_plan(f"{prefix}{kind}", kind, plan):
                stamps = stamps_of(about.get(STAMPS, b"{}"), kind)
                if stamps is not None:
                    found[number] = path, stamps
        return found

    def _of_plan(
        self, name: str, kind: str, plan: Plan
    ) -> Iterator[tuple[int, Path, dict[bytes, bytes]]]:
        """Number, file and metadata of every whole shard of the plan whose file is called so.

        One that was copied under another number is named, and counts as missing.
        """
        for path in sorted((self.folder / "shards").glob(f"{name}-*.parquet")):
            number = re.fullmatch(rf"{name}-(\d+)\.parquet", path.name)
            about = self._about(path)
            if number is None or about.get(PLAN_HASH) != plan.hash.encode():
                continue
            place = about.get(PLACE, b"").decode(errors="replace")
            if place and place != place_of(kind, int(number[1])):
                log.warning("%s is a copy of shard %s, so it is left out; delete it", path, place)
                continue
            yield int(number[1]), path, about

    def finished(self, kind: str, plan: Plan) -> set[int]:
        """The numbers of the shards that are there, whole, and of this plan."""
        return {number for number, _, _ in self._of_plan(kind, kind, plan)}

    def _about(self, path: Path) -> dict[bytes, bytes]:
        try:
            check_is_file(path)
            return pq.read_schema(path).metadata or {}
        except (OSError, pa.ArrowException):
            return {}  # damaged: it is computed again

    def write_shard(self, kind: str, number: int, content: bytes, kept: dict[str, bytes]) -> None:
        """Writes a shard whole or not at all, after the explanations that belong to it.

        Raises:
            InvalidInput: it cannot be written; the message names the shard.
        """
        try:
            for name, explanation in kept.items():
                path = without_link(self.folder / "explanations" / name)
                write_atomically(path, explanation)
            write_atomically(without_link(self.shard_path(kind, number)), content)
            self.aside(kind, number).unlink(missing_ok=True)
        except (InvalidInput, OSError) as error:
            raise InvalidInput(
                f"shard {number} cannot be written: {error}; finished ones are kept, and the same "
                "command goes on"
            ) from error

    def read(self, kind: str, plan: Plan, columns: list[str] | None = None) -> pa.Table | None:
        """All finished shards as one table in order; `None` where there is none.

        Raises:
            InvalidInput: a shard is damaged; the message names it.
        """
        numbers = sorted(self.finished(kind, plan))
        if not numbers:
            return None
        parts = [self._read(kind, number, plan) for number in numbers]
        whole = pa.concat_tables([part.replace_schema_metadata() for part in parts])
        return whole if columns is None else whole.select(columns)

    def _read(self, kind: str, number: int, plan: Plan) -> pa.Table:
        path = self.shard_path(kind, number)
        try:
            return read_shard(path, path.stat().st_size, kind, number, plan)
        except DAMAGED as error:
            raise InvalidInput(
                f"shard {str(path)!r} is damaged ({' '.join(str(error).split())[:200]}); delete it "
                "and evaluate again"
            ) from error


def _no_lock(path: Path, error: OSError) -> InvalidInput:
    """An error for a lock that a run cannot have."""
    return InvalidInput(
        f"{str(path)!r} cannot be locked: {error.strerror}; delete it, or choose another folder"
    )


def place_of(kind: str, number: int) -> str:
    """Which shard a file is, in its metadata."""
    return f"{kind}-{number}"


def as_bytes(table: pa.Table) -> bytes:
    """The table as a Parquet file."""
    sink: Any = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return bytes(sink.getvalue())


def check_place(folder: Path) -> None:
    """Refuses a folder that cannot be made or written, before expensive work.

    Raises:
        InvalidInput: it is a file or within one, its name is too long, or the system does not let
            this user write there.
    """
    there = folder
    try:
        while not there.exists() and there != there.parent:
            there = there.parent
    except (OSError, ValueError) as error:
        raise unwritable(folder, error) from error
    if not there.is_dir():
        raise InvalidInput(
            f"{str(folder)!r} cannot be written: {str(there)!r} is not a folder; choose another "
            "folder"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        raise InvalidInput(
            f"{str(folder)!r} cannot be written: {str(there)!r} may not be changed by this user; "
            "choose another folder"
        )
