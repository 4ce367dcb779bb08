"""`load_dataset`: examples by name."""

from collections.abc import Iterator
from typing import Protocol

from vqa_explain.datasets.easy_vqa import EasyVQA
from vqa_explain.datasets.scenes import Scenes
from vqa_explain.errors import unknown
from vqa_explain.examples import Example

DATASETS = {"scenes": Scenes, "easy-vqa": EasyVQA}


class Dataset(Protocol):
    """A sequence of examples."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...
    def __iter__(self) -> Iterator[Example]: ...


def load_dataset(name: str) -> Dataset:
    """The examples of "scenes", "easy-vqa", or one of their splits such as "scenes:validation".

    Raises:
        InvalidInput: no data set or split of that name.
    """
    base, _, split = name.partition(":")
    if base not in DATASETS:
        raise unknown("data set", base, DATASETS)
    return DATASETS[base](split or "test")
