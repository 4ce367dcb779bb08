"""What of a run's finished shards still holds,
and what must be computed again because something changed.
"""

import json
import logging
import re
from dataclasses import replace
from itertools import islice
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.evaluation.behavior import BEHAVIOR, same_behavior
from vqa_explain.evaluation.data import Data, Unreadable
from vqa_explain.evaluation.jobs import Redo, Resumed
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.shards import EXAMPLES, GRID, LOST
from vqa_explain.evaluation.stamps import Stamp, digest, row_stamp
from vqa_explain.evaluation.store import Store

log = logging.getLogger("vqa_explain")
Stamps = dict[str, Any]
# The keys of `Plan.code` that every number of a run depends on.
_SHARED = ("package", "model", "given", *BEHAVIOR)


def grid_stamp(dataset: Data, plan: Plan, count: int) -> str:
    """One hash of the rows that EMAP's grid is over,
    since each of its numbers depends on all of them.
    """
    most = count if plan.limit is None else min(count, plan.limit)
    return digest(*(json.dumps(row_stamp(e, plan.pictures)) for e in islice(iter(dataset), most)))


def resume(store: Store, plan: Plan, dataset: Data) -> Resumed:
    """Compares the finished shards with the data, the code and the versions of now; says what
    changed.

    Shards of which a row does not hold are set aside, so that no report reads them before they are
    mended.

    Raises:
        InvalidInput: not one row is the same: it is another data set.
    """
    known = store.stamped(EXAMPLES, plan)
    if not known:
        return Resumed()
    rows, whole = _rows_now(dataset, plan, (max(known) + 1) * plan.shard)
    noted = {
        int(i): stamp for _, about in known.values() for i, stamp in about.get("rows", {}).items()
    }
    # Of rows that cannot be read now nothing is known, so what is finished of them is kept.
    noted = {i: stamp for i, stamp in noted.items() if whole or i in rows}
    before = {i: stamp for i, stamp in noted.items() if "question" in stamp}
    _check_same_data(store, plan, before, rows)
    said = _changed_rows(before, rows) | _lost_rows(sum(LOST in stamp for stamp in noted.values()))
    found = Resumed()
    for number, (path, about) in sorted(known.items()):
        expected = [i for i in range(number * plan.shard, (number + 1) * plan.shard) if i in rows]
        old = {int(i): stamp for i, stamp in about.get("rows", {}).items()}
        if not whole and not set(old) <= set(rows):
            found.finished.add(number)
            found.examples += len(old)
            continue
        for index in sorted(set(old) - set(expected)):
            store.remove_explanations(index)
        if not expected:
            store.remove(EXAMPLES, number)
            continue
        redo = _redo(plan, about, {i for i in expected if old.get(i) != rows[i]}, expected)
        redo = replace(redo, tries=_tries(old))
        said |= dict.fromkeys(_changed_code(plan, about))
        if redo == Redo() and set(old) == set(expected) and not path.name.startswith("old-"):
            found.finished.add(number)
            found.examples += len(expected)
            continue
        store.set_aside(EXAMPLES, number)
        found.redo[number] = (path if path.exists() else store.aside(EXAMPLES, number)), redo
    for line in said:
        log.warning("%s: %s; what depends on it is computed again", store.folder, line)
    return found


def resume_grid(store: Store, plan: Plan, stamp: str) -> set[int]:
    """The pieces of EMAP's grid that still hold; others are removed."""
    found = set()
    for number, (_, about) in store.stamped(GRID, plan).items():
        code = about.get("code", {})
        same = about.get("rows") == stamp and about.get("versions") == plan.versions
        if same and all(_is_same(k, code.get(k), v) for k, v in _of_emap(plan.code).items()):
            found.add(number)
        else:
            store.remove(GRID, number)
    return found


def _of_emap(code: Stamp) -> Stamp:
    return {k: v for k, v in code.items() if k in _SHARED or k.startswith("metric emap")}


def _rows_now(dataset: Data, plan: Plan, most: int) -> tuple[dict[int, Stamp], bool]:
    """Index → stamp of the first `most` rows, fewer where there are no more; and whether these are
    all, and not only those before one that cannot be read.
    """
    most = most if plan.limit is None else min(most, plan.limit)
    rows: dict[int, Stamp] = {}
    try:
        for index, example in enumerate(islice(iter(dataset), most)):
            rows[index] = row_stamp(example, plan.pictures)
    except Unreadable:  # told when the run comes there
        return rows, False
    return rows, True


def _check_same_data(
    store: Store, plan: Plan, before: dict[int, Stamp], rows: dict[int, Stamp]
) -> None:
    texts = {stamp["question"] for stamp in rows.values()}
    if before and not any(stamp["question"] in texts for stamp in before.values()):
        raise InvalidInput(
            f"{str(store.folder)!r} holds the evaluation of another plan; choose another folder, "
            f"or ask for the same:\n  data: none of the {len(before)} rows evaluated there is in "
            f"{plan.data!r} now"
        )


def _redo(plan: Plan, about: Stamps, changed: set[int], expected: list[int]) -> Redo:
    code = about.get("code", {})
    stale = {k for k, v in plan.code.items() if not _is_same(k, code.get(k), v)}
    if about.get("versions") != plan.versions or stale & set(_SHARED):
        changed = set(expected)
    methods = frozenset(k.removeprefix("method ") for k in stale if k.startswith("method "))
    metrics = frozenset(k.removeprefix("metric ") for k in stale if k.startswith("metric "))
    return Redo(None, frozenset(changed), methods, metrics)


def _tries(stamps: dict[int, Stamp]) -> dict[int, int]:
    """How many calls have tried the rows that failed by the system."""
    told = {index: stamp.get(LOST, "") for index, stamp in stamps.items()}
    return {index: int(count) for index, count in told.items() if re.fullmatch("[0-9]", count)}


def _changed_code(plan: Plan, about: Stamps) -> list[str]:
    old = about.get("versions", {})
    names = sorted(set(old) | set(plan.versions))
    lines = [
        f"{name} {old.get(name, 'none')} became {plan.versions.get(name, 'none')}"
        for name in names
        if old.get(name) != plan.versions.get(name)
    ]
    code = about.get("code", {})
    words = {
        "package": "the code of vqa_explain",
        "model": "the code of the model",
        "given": "what the model was given (its transform, vocabulary or call=)",
        **BEHAVIOR,
    }
    return lines + [
        f"{words.get(k) or f'the code of {k}'} changed"
        for k, v in sorted(plan.code.items())
        if not _is_same(k, code.get(k), v)
    ]


def _is_same(kind: str, before: str | None, now: str) -> bool:
    """Whether a stamp of `Plan.code` says the same as before."""
    return same_behavior(before, now) if kind in BEHAVIOR else before == now


def _lost_rows(count: int) -> dict[str, None]:
    """A line on rows that are tried again."""
    if not count:
        return {}
    return {
        f"{count:,} rows were given up for want of memory, time, worker processes or an endpoint's "
        "answers, or by an error of the system": None
    }


def _changed_rows(before: dict[int, Stamp], rows: dict[int, Stamp]) -> dict[str, None]:
    """Lines on what is no longer as it was."""
    lines = []
    for what in ("question", "picture", "truth"):
        changed = sorted(
            i for i in before.keys() & rows.keys() if before[i].get(what) != rows[i][what]
        )
        if changed:
            lines.append(
                f"the {what} of {len(changed):,} rows changed (the first: example {changed[0]})"
            )
    gone = before.keys() - rows.keys()
    if gone:
        lines.append(f"{len(gone):,} rows are gone (the first: example {min(gone)})")
    return dict.fromkeys(lines)
