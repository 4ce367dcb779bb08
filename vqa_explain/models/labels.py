"""The names of a model's answers, in whatever form people keep them."""

import numbers
from collections.abc import Iterable, Mapping, Set
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput

ASKED = "labels must be the list of the network's answers, in the order of its scores"


def read_labels(labels: Any) -> tuple[str, ...]:
    """Labels as texts, in the order of the model's scores.

    Args:
        labels: texts or numbers, in a list, tuple, array or series; or a mapping of label numbers 0
            … K − 1 to them.

    Raises:
        InvalidInput: there are none, they have no order, or one of them is no name.
    """
    if isinstance(labels, str | bytes) or not isinstance(labels, Iterable):
        raise InvalidInput(f"{ASKED}, not {type(labels).__name__}")
    if isinstance(labels, Set):
        raise InvalidInput(f"{ASKED}; a set has no order")
    if isinstance(labels, Mapping):
        labels = _in_order(labels)
    elif hasattr(labels, "tolist"):  # arrays, tensors and series
        labels = labels.tolist()
    found = list(labels) if isinstance(labels, Iterable) else [labels]
    if not found:
        raise InvalidInput(f"{ASKED}; there is none")
    return tuple(_name(label, number) for number, label in enumerate(found))


def _in_order(labels: Mapping[Any, Any]) -> list[Any]:
    """The names of a mapping {0: name, 1: name, …}, whose numbers may be texts,
    as JSON has them.
    """
    try:
        by_number = {_number(key): label for key, label in labels.items()}
    except ValueError as error:
        raise InvalidInput(
            f"labels as a mapping must be {{0: name, 1: name, …}}; {error} is no label number"
        ) from error
    missing = next((number for number in range(len(labels)) if number not in by_number), None)
    if missing is not None:
        raise InvalidInput(
            f"labels as a mapping must name 0 to {len(labels) - 1}; number {missing} is missing"
        )
    return [by_number[number] for number in range(len(labels))]


def _number(key: Any) -> int:
    whole = isinstance(key, numbers.Integral) and not isinstance(key, bool)
    if whole or (isinstance(key, str) and key.isascii() and key.isdigit()):
        return int(key)
    raise ValueError(repr(key))


def _name(label: Any, number: int) -> str:
    """A label as text; numbers as Python writes them, so that `numpy.int64(3)` is "3"."""
    label = label.item() if isinstance(label, np.generic) else label
    missing = label != label  # NaN, which tables have where a name is missing
    if missing is True or not isinstance(label, str | int | float):
        raise InvalidInput(f"label number {number} is {label!r}, which is no name; give a text")
    return str(label)
