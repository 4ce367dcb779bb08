"""easy-VQA (Victor Zhou, MIT license, PyPI package `easy-vqa`): one colored shape a picture,
thirteen answers.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path

from vqa_explain.datasets.lazy import LazySequence
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example

SPLITS = ("train", "test")
_COLORS = ("black", "gray", "teal", "brown", "red", "green", "blue", "yellow")


def family_of(question: str, answer: str) -> str:
    """The kind of an easy-VQA question: "color", "shape", or "existence" (yes and no)."""
    if answer in ("yes", "no"):
        return "existence"
    return "color" if answer in _COLORS else "shape"


def package_folder() -> Path:
    """Where the package `easy-vqa` keeps its data."""
    found = find_spec("easy_vqa")
    if found is None or not found.submodule_search_locations:
        raise InvalidInput("the easy-VQA data is not installed; run: pip install easy-vqa")
    return Path(next(iter(found.submodule_search_locations))) / "data"


@dataclass(frozen=True)
class EasyVQA(LazySequence):
    """All questions of one split, in the package's order. Pictures are 64 × 64 files,
    read when needed.
    """

    split: str = "test"

    def __post_init__(self) -> None:
        if not is_one_of(self.split, SPLITS):
            raise unknown("split of easy-VQA", self.split, SPLITS)

    @cached_property
    def _rows(self) -> list[tuple[str, str, int]]:
        result: list[tuple[str, str, int]] = json.loads(
            (package_folder() / self.split / "questions.json").read_text(encoding="utf-8")
        )
        return result

    def __len__(self) -> int:
        return len(self._rows)

    def example(self, index: int) -> Example:
        """The question of that number."""
        question, answer, image = self._rows[index]
        return Example(
            image=package_folder() / self.split / "images" / f"{image}.png",
            question=question,
            answer=answer,
            id=f"easy-vqa/{self.split}/{index}",
            family=family_of(question, answer),
        )
