"""What the file of a finished shard may hold: its plan's rows, and nothing else.

A file with right checksums may still say anything, and more than fits into memory. So each column
is compared with what the plan can have written, before a table is made of it.
"""

import json
import re
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from vqa_explain._fields import WrongField, check
from vqa_explain.evaluation.judging import ERROR, SCHEMA
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.reference import NAME as RANDOM
from vqa_explain.metrics import read_metric

EXAMPLES, GRID = "examples", "grid"
# Parts of the grid: a question's mean over pictures, its own pair, what each answer is worth, a
# picture's sum over questions; and a row that is left out.
ROW, OWN, CREDITS, COLUMN, LACKING = "row", "own", "credits", "column", "lacking"
GRID_SCHEMA = pa.schema(
    {
        "part": pa.string(),
        "index": pa.int64(),
        "values": pa.list_(pa.float64()),
        "note": pa.string(),  # why a row is no part of the grid
    }
)
GRID_ROWS = 10  # questions in one piece of the grid
SCHEMAS = {EXAMPLES: SCHEMA, GRID: GRID_SCHEMA}
TIMES_THE_FILE, SPARE = 4, 2**26  # bytes of memory that a shard may take: this many files, and this
# In the stamp of a row that is tried again, since no fault of its own was seen; with how many calls
# have tried it, where that counts.
LOST = "lost"
STAMPS = b"stamps"  # in a shard's metadata: what its rows depend on, as JSON
NAMED = {"question", LOST}  # one of these is in the stamp of every row
DAMAGED = (OSError, pa.ArrowException, WrongField)  # what a file raises that is none of ours


def read_shard(source: Any, size: int, kind: str, number: int, plan: Plan) -> pa.Table:
    """The rows of a shard's file, in the types of its kind.

    Args:
        source: what pyarrow reads.
        size: how many bytes it has.
        kind: `EXAMPLES` or `GRID`.
        number: the shard's.
        plan: whose it is.

    Raises:
        OSError, ArrowException: the file is damaged.
        WrongField: it holds what the plan cannot have written.
    """
    file = pq.ParquetFile(source, page_checksum_verification=True, read_dictionary=_texts(kind))
    schema = SCHEMAS[kind]
    stored = file.schema_arrow
    check(stored.names == schema.names, "its columns are others")
    for given, wanted in zip(stored, schema, strict=True):
        plain = given.type.value_type if pa.types.is_dictionary(given.type) else given.type
        check(plain == wanted.type, f"{wanted.name} is of another type")
    _check_counts(file.metadata, size)
    if kind == EXAMPLES:
        check(file.metadata.num_rows <= _most_rows(plan), "it has more rows than the plan")
    table = file.read()
    _check_texts(table, size)
    table = table.cast(schema.with_metadata(table.schema.metadata))
    (_check_examples if kind == EXAMPLES else _check_grid)(table, number, plan)
    return table


def _texts(kind: str) -> list[str]:
    """The columns that are read as numbers of texts, so that no text is in memory twice."""
    return [one.name for one in SCHEMAS[kind] if pa.types.is_string(one.type)]


def _most_rows(plan: Plan) -> int:
    """Of each example: one error, or by each method (and of the answer) a cost and all metrics."""
    return plan.shard * (len(plan.methods) + 2) * (len(plan.metrics) + 2)


def _check_counts(metadata: pq.FileMetaData, size: int) -> None:
    """Refuses more values than fit, since many equal ones take next to no room in a file."""
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    count = sum(chunk.num_values for chunk in chunks)
    unpacked = sum(chunk.total_uncompressed_size for chunk in chunks)
    room = TIMES_THE_FILE * size + SPARE
    check(max(8 * count, unpacked) <= room, "its values would not fit into memory")


def _check_texts(table: pa.Table, size: int) -> None:
    """The same of texts, which stand in the file once however often they are used."""
    total = 0
    for column in table.columns:
        if pa.types.is_dictionary(column.type):
            for chunk in column.chunks:
                lengths = pc.binary_length(chunk.dictionary)
                total += pc.sum(pc.take(lengths, chunk.indices)).as_py() or 0
    check(total <= TIMES_THE_FILE * size + SPARE, "its texts would not fit into memory")


def _check_examples(table: pa.Table, number: int, plan: Plan) -> None:
    frame = table.drop_columns(["curve"]).to_pandas()
    for name in ("index", "method", "metric"):
        check(frame[name].notna().all(), f"a row has no {name}")
    first = number * plan.shard
    is_own = frame["index"].between(first, first + plan.shard - 1)
    check(is_own.all(), "it has rows of another shard")
    check(set(frame["method"]) <= {"", RANDOM, *plan.methods}, "it has a method of no plan")
    check(set(frame["metric"]) <= {"", ERROR, *plan.metrics}, "it has a metric of no plan")
    values = frame[frame["metric"] != ERROR]
    check(not values.duplicated(["index", "method", "metric"]).any(), "it has a row twice")
    # The values themselves, since pandas tells no NaN from what is missing.
    for name in ("probability", "value", "seconds"):
        numbers = table[name].drop_null().to_numpy()
        check(np.isfinite(numbers).all(), f"{name} is not a number somewhere")
    check(frame["probability"].dropna().between(0, 1 + 1e-6).all(), "a probability is above 1")
    for name in ("forwards", "backwards", "seconds"):
        spent = frame[name].dropna()
        check((spent >= 0).all() and np.isfinite(spent).all(), f"{name} are below 0")
    stamps = stamps_of((table.schema.metadata or {}).get(STAMPS, b"{}"), EXAMPLES)
    if stamps is not None:
        told = {int(index) for index in stamps["rows"]}
        check(set(frame["index"]) == told, "it lacks an example, or has one too many")
    _check_curves(table)


def _check_curves(table: pa.Table) -> None:
    """Every curve of a metric has a score at each of its places."""
    curves = table.filter(pc.is_valid(table["curve"]))
    lengths = pd.DataFrame(
        {
            "metric": curves["metric"].to_pylist(),
            "length": pc.list_value_length(curves["curve"]).to_pylist(),
        }
    )
    for text, of_metric in lengths.groupby("metric"):
        at = getattr(read_metric(str(text)), "at", None) if text not in ("", ERROR) else None
        check(at is not None, "a row has a curve and its metric has none")
        check((of_metric["length"] == len(cast(Any, at))).all(), "a curve has other places")
    _check_numbers(curves["curve"], "a curve")


def _check_numbers(lists: pa.ChunkedArray, name: str) -> None:
    for chunk in lists.chunks:
        flat = chunk.flatten()
        check(flat.null_count == 0, f"{name} lacks a number")
        check(np.isfinite(flat.to_numpy()).all(), f"{name} has a number that is not finite")


def _check_grid(table: pa.Table, number: int, _: Plan) -> None:
    parts = table["part"].to_pylist()
    check(set(parts) <= {ROW, OWN, CREDITS, COLUMN, LACKING}, "it has a part of no grid")
    indices = table["index"].to_pylist()
    check(all(index is not None and index >= 0 for index in indices), "a row has no index")
    for part in (ROW, OWN, CREDITS):
        of_part = {index for one, index in zip(parts, indices, strict=True) if one == part}
        pieces = range(number * GRID_ROWS, (number + 1) * GRID_ROWS)
        check(of_part <= set(pieces), "it has rows of another shard")
        check(len(of_part) == parts.count(ROW), "it lacks a part of a row")
    pairs = list(zip(parts, indices, strict=True))
    check(len(set(pairs)) == len(pairs), "it has a row twice")
    lacking = pc.equal(table["part"], LACKING)
    left_out = table.filter(lacking)["values"]
    check(left_out.null_count == len(left_out), "a row that is left out has values")
    values = table.filter(pc.invert(lacking))["values"]
    check(values.null_count == 0, "a row has no values")
    check(len(set(pc.list_value_length(values).to_pylist())) <= 1, "rows are of unequal length")
    _check_numbers(values, "a row")


def stamps_of(told: bytes, kind: str) -> dict[str, Any] | None:
    """What a shard's metadata says that its rows depend on; `None` where it says no such thing.

    Args:
        told: JSON.
        kind: `EXAMPLES` or `GRID`.
    """
    try:
        stamps = json.loads(told)
    except (ValueError, RecursionError):
        return None
    if not isinstance(stamps, dict):
        return None
    rows = stamps.get("rows")
    # All rows of a grid have one stamp.
    is_right = isinstance(rows, str) if kind == GRID else _are_rows(rows)
    if not is_right or not all(_are_texts(stamps.get(name)) for name in ("versions", "code")):
        return None
    return stamps


def _are_rows(rows: Any) -> bool:
    """Whether these are stamps of rows by their index."""
    numbered = isinstance(rows, dict) and all(re.fullmatch("[0-9]{1,15}", key) for key in rows)
    return numbered and all(_are_texts(one) and one.keys() & NAMED for one in rows.values())


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(one, str) for one in value.values())
