"""Tries every architecture of transformers that has a tiny checkpoint and writes the verdicts.

    python benchmarks/architectures.py            # all of them
    python benchmarks/architectures.py git emu3   # these alone; the others stay as they are

The table is `vqa_explain/models/verdicts.json`; `docs/tables.py` puts it into the docs.
"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import shorten
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "models")]

import architectures.every  # noqa: E402, F401 – fills the table
import checkpoints  # noqa: E402
import page_checkpoints  # noqa: E402
import tower_checkpoints  # noqa: E402
import transformers  # noqa: E402
from architectures.base import ARCHITECTURES  # noqa: E402
from architectures.trying import (  # noqa: E402
    Verdict,
    verdict_of,
    verdict_of_choice,
    verdict_of_page,
)
from transformers.models.auto import modeling_auto  # noqa: E402

TABLE = ROOT / "vqa_explain" / "models" / "verdicts.json"
TASKS = {
    "image-text-to-text": "IMAGE_TEXT_TO_TEXT",
    "visual-question-answering": "VISUAL_QUESTION_ANSWERING",
    "zero-shot-image-classification": "ZERO_SHOT_IMAGE_CLASSIFICATION",
    "document-question-answering": "DOCUMENT_QUESTION_ANSWERING",
}
LONGEST = 240  # characters of a cause
# Models that choose among answers of their own, or say whether a text fits.
CHOOSING: dict[str, dict[str, Callable[[], tuple[Any, Any]]]] = {
    "visual-question-answering": {"vilt": checkpoints.vilt, "blip": checkpoints.blip},
    "zero-shot-image-classification": {
        **tower_checkpoints.TOWERS,
        "blip-2": tower_checkpoints.blip_2_retrieval,
    },
}
# Models that answer questions about pages by spans of their words.
READING: dict[str, dict[str, Callable[[], tuple[Any, Any]]]] = {
    "document-question-answering": page_checkpoints.PAGE_MAKERS,
    "image-text-to-text": page_checkpoints.PAGE_WRITERS,
}
NOT_TRIED = {
    "diffusion_gemma": "it writes whole blocks by diffusion, not token by token",
    "evolla": "it reads proteins, not pictures",
    "mistral4": "it reads no pictures",
    "videoprism": "it reads videos, not pictures",
    "layoutlmv2": "it needs the library detectron2, which is not on PyPI, so that no tiny "
    "checkpoint can be made here",
    "pi0": "it moves a robot and writes no text",
}


def writing(name: str) -> dict[str, Any]:
    """The row of an architecture that writes: works where one of its checkpoints does."""
    makers = [maker for maker, one in ARCHITECTURES.items() if one.name == name]
    verdicts = {maker: verdict_of(maker) for maker in makers}
    works = [maker for maker, one in verdicts.items() if one.verdict == "works"]
    causes = [
        f"{maker}: {one.because}" if works else one.because
        for maker, one in verdicts.items()
        if one.because
    ]
    verdict = "works" if works else next(iter(verdicts.values())).verdict
    return row(Verdict(verdict, "; ".join(causes)), works)


def row(verdict: Verdict, works: list[str] | None = None) -> dict[str, Any]:
    """What the table says of one architecture."""
    found: dict[str, Any] = {"verdict": verdict.verdict}
    if verdict.because:
        found["because"] = shorten(verdict.because, LONGEST, placeholder=" …")
    if works:
        found["checkpoints"] = works
    return found


def rows_of(task: str, known: dict[str, Any], names: list[str]) -> dict[str, Any]:
    """Architecture → its row, of one task; `known` are those of before, which stay but for `names`."""
    classes = getattr(modeling_auto, f"MODEL_FOR_{TASKS[task]}_MAPPING_NAMES")
    made = {one.name for one in ARCHITECTURES.values()}
    rows: dict[str, Any] = {}
    for name, kind in classes.items():
        if names and name not in names and name in known:
            rows[name] = known[name]
            continue
        print(f"{task}: {name}", flush=True)
        makers = CHOOSING.get(task, {})
        if name in makers:
            found = row(verdict_of_choice(makers[name]))
        elif name in READING.get(task, {}):
            found = row(verdict_of_page(READING[task][name]))
        elif name in made and kind == class_of(name):
            found = writing(name)
        elif (same := same_class(name, kind, classes, made)) is not None:
            found = row(Verdict("works", f"by {same}, whose class it shares"))
        else:
            cause = NOT_TRIED.get(name, "no tiny checkpoint is made yet")
            found = row(Verdict("not tried", cause))
        rows[name] = {"class": kind, **found}
    return rows


def class_of(name: str) -> str:
    """The class of an architecture that writes."""
    found: str = modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES[name]
    return found


def same_class(name: str, kind: str, classes: dict[str, str], made: set[str]) -> str | None:
    """Another architecture of the same class that works."""
    if name in NOT_TRIED:
        return None
    others = [other for other in made if other != name and classes.get(other) == kind]
    return next((other for other in others if writing(other)["verdict"] == "works"), None)


def main() -> None:
    """Writes the table."""
    transformers.utils.logging.set_verbosity_error()
    names = sys.argv[1:]
    known = json.loads(TABLE.read_text(encoding="utf-8"))["tasks"] if names else {}
    tasks = {task: rows_of(task, known.get(task, {}), names) for task in TASKS}
    table = {"transformers": transformers.__version__, "tasks": tasks}
    TABLE.write_text(json.dumps(table, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
