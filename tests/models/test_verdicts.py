"""The table of architectures lists all that transformers has."""

from pathlib import Path
from typing import Any

import pytest
import transformers
from architectures.base import ARCHITECTURES
from architectures.verdicts import VERDICTS
from transformers.models.auto import modeling_auto

from vqa_explain.models.verdicts import tried_version, verdicts
from vqa_explain.shell.facts import describe_models

PAGE = Path(__file__).parents[2] / "docs" / "architectures.md"
TASKS = {
    "image-text-to-text": modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
    "visual-question-answering": modeling_auto.MODEL_FOR_VISUAL_QUESTION_ANSWERING_MAPPING_NAMES,
    "zero-shot-image-classification": (
        modeling_auto.MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES
    ),
    "document-question-answering": (
        modeling_auto.MODEL_FOR_DOCUMENT_QUESTION_ANSWERING_MAPPING_NAMES
    ),
}


@pytest.mark.skipif(
    transformers.__version__ != tried_version(), reason="the table is of another version"
)
@pytest.mark.parametrize("task", TASKS)
def test_every_architecture_of_transformers_has_a_verdict(task: str) -> None:
    listed = {one.name: one.network for one in verdicts() if one.task == task}
    assert listed == dict(TASKS[task])


def test_a_verdict_is_one_of_four_and_says_why() -> None:
    for one in verdicts():
        assert one.verdict in ("works", "refuses", "fails", "not tried")
        assert one.verdict == "works" or one.because
        assert "\n" not in one.because


def test_every_checkpoint_is_of_a_known_architecture() -> None:
    rows: dict[str, Any] = VERDICTS["image-text-to-text"]
    assert {one.name for one in ARCHITECTURES.values()} <= set(rows)
    tried = {name for name, row in rows.items() if row["verdict"] != "not tried"}
    assert {one.name for one in ARCHITECTURES.values()} <= tried


def test_the_page_and_the_command_say_the_same() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for one, said in zip(verdicts(), describe_models()["architectures"], strict=True):
        assert f"| `{one.name}` | `{one.network}` | {one.verdict} |" in page
        assert said["verdict"] == one.verdict
