"""Which architectures of transformers were tried, and what came of it: `verdicts.json`."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What came of one architecture for one task.

    Attributes:
        task: the task, as transformers names it.
        name: the architecture, as its configuration names it.
        network: the class of the network.
        verdict: "works", "refuses", "fails" in transformers itself, or "not tried".
        because: the cause where it does not work, or what of it does not.
    """

    task: str
    name: str
    network: str
    verdict: str
    because: str


@cache
def tried_version() -> str:
    """The version of transformers that was tried."""
    version: str = _table()["transformers"]
    return version


@cache
def verdicts() -> tuple[Verdict, ...]:
    """Every architecture of every task."""
    return tuple(
        Verdict(task, name, row["class"], row["verdict"], row.get("because", ""))
        for task, rows in _table()["tasks"].items()
        for name, row in rows.items()
    )


@cache
def _table() -> dict[str, Any]:
    path = Path(__file__).parent / "verdicts.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
