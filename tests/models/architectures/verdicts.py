"""The verdicts that the package ships, as the tests read them."""

import json
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import vqa_explain
from architectures.base import ARCHITECTURES

PATH = Path(vqa_explain.__file__).parent / "models" / "verdicts.json"
VERDICTS: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))["tasks"]


def working() -> list[str]:
    """The checkpoints that work, of the architectures that write."""
    rows = VERDICTS["image-text-to-text"]
    return [n for n, one in ARCHITECTURES.items() if n in rows[one.name].get("checkpoints", ())]
