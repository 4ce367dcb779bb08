"""How a network of one's own reads a row of a table: numbers as they are,
categories by their place in a list.
"""

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np

from vqa_explain.errors import InvalidInput, unknown

BASELINE, MEAN, DRAWN = "baseline", "mean", "background"


@dataclass(frozen=True, eq=False)
class Columns:
    """The columns of a table, and how what they hold becomes numbers.

    Attributes:
        names: the C columns, in the network's order.
        categories: column → what it may hold, of those that hold categories; each is its place in
            the list.
    """

    names: tuple[str, ...]
    categories: Mapping[str, tuple[Any, ...]]

    def numbers(self, row: Any, what: str) -> np.ndarray:
        """(C,) float64, the numbers of a row {column: value}.

        Args:
            row: a mapping, or a pandas Series.
            what: what the row is, for errors.

        Raises:
            InvalidInput: a column is missing or unknown, or holds what it cannot.
        """
        given = as_row(row, what)
        for column in given:
            if column not in self.names:
                raise unknown(f"column of {what}:", str(column), self.names)
        missing = next((column for column in self.names if column not in given), None)
        if missing is not None:
            raise InvalidInput(
                f"{what} has no column {missing!r}; give a value for each of "
                f"{', '.join(self.names)}"
            )
        return np.array([self.number(column, given[column], what) for column in self.names])

    def number(self, column: str, value: Any, what: str) -> float:
        """The number that stands for what a column holds.

        Raises:
            InvalidInput: it is no number, or none of the column's categories.
        """
        own = _as_python(value)
        if column in self.categories:
            return float(self._place(column, own, what))
        if isinstance(own, str) or not isinstance(own, numbers.Real | Decimal):
            raise InvalidInput(
                f"column {column!r} of {what} holds {own!r}, which is no number; give a number, or "
                "name the column's values in categories="
            )
        try:
            number = float(own)
        except OverflowError:  # a whole number beyond all floats
            number = float("inf")
        if not np.isfinite(number):
            raise InvalidInput(
                f"column {column!r} of {what} holds {str(own)[:40]}, and must hold a finite "
                "number; fill it in first"
            )
        return number

    def _place(self, column: str, value: Any, what: str) -> int:
        """The place of a category in its column's list; True is not the same as 1."""
        for place, known in enumerate(self.categories[column]):
            # What is no single value, such as an array, equals no category.
            if (
                np.ndim(value) == 0
                and (known == value or (_is_nan(known) and _is_nan(value)))
                and isinstance(known, bool) == isinstance(value, bool)
            ):
                return place
        # A table in a text file does not say whether "7" is a number; the categories do.
        if isinstance(value, bool | int | float) and _written(value) in self.categories[column]:
            return self.categories[column].index(_written(value))
        raise unknown(f"category in column {column!r} of {what}:", str(value), self._told(column))

    def _told(self, column: str) -> list[str]:
        return [str(one) for one in self.categories[column]]

    def contents(self, row: Any) -> tuple[str, ...]:
        """(C,) what a row holds, for people."""
        given = as_row(row, "the row")
        return tuple(_written(given[column]) for column in self.names)


def as_row(row: Any, what: str) -> Mapping[str, Any]:
    """A row as a mapping {column: value}.

    Raises:
        InvalidInput: it is no row of a table, or it has a column twice.
    """
    if hasattr(row, "columns") and hasattr(row, "iloc"):
        raise InvalidInput(
            f"{what} must be one row, and a DataFrame is a table; give one of its rows, such as "
            "frame.iloc[0]"
        )
    if not getattr(getattr(row, "index", None), "is_unique", True):
        raise InvalidInput(f"{what} has a column twice; give each column one value")
    found = row if isinstance(row, Mapping) or not hasattr(row, "to_dict") else row.to_dict()
    if not isinstance(found, Mapping):
        raise InvalidInput(
            f"{what} must be a row {{column: value}}, not {type(row).__name__}; give a mapping or "
            "a pandas Series"
        )
    return found


def _written(value: Any) -> str:
    own = value.item() if isinstance(value, np.generic) else value
    return f"{own:g}" if isinstance(own, float) else str(own)


def read_columns(names: Any, categories: Any) -> Columns:
    """The columns that a user names.

    Raises:
        InvalidInput: they are no list of different names, or categories name another column or have
            no list.
    """
    if isinstance(names, str) or not isinstance(names, Sequence) or not names:
        raise InvalidInput(
            "the columns of a table are a list of names, such as ['age', 'sex'], not "
            f"{str(names)[:60]!r}"
        )
    strange = next((one for one in names if not isinstance(one, str)), None)
    if strange is not None:
        raise InvalidInput(f"a column is named by text, not by {strange!r}; give its name")
    twice = next((one for one in names if list(names).count(one) > 1), None)
    if twice is not None:
        raise InvalidInput(f"column {twice!r} is named twice; name each column once")
    if not isinstance(categories, Mapping | None):
        raise InvalidInput(
            f"categories= is a mapping {{column: values}}, not {type(categories).__name__}"
        )
    kinds: dict[str, tuple[Any, ...]] = {}
    for column, known in dict(categories or {}).items():
        if column not in names:
            raise unknown("column in categories=", str(column), names)
        if isinstance(known, str) or not isinstance(known, Sequence) or len(known) < 2:
            raise InvalidInput(
                f"the categories of column {column!r} are a list of at least two values, not "
                f"{str(known)[:60]!r}"
            )
        kinds[column] = _different(column, known)
    return Columns(tuple(names), kinds)


def _is_nan(value: Any) -> bool:
    """Whether it is the number of a missing value, which equals nothing, itself not either."""
    return isinstance(value, float) and np.isnan(value)


def _different(column: str, known: Sequence[Any]) -> tuple[Any, ...]:
    """The categories of a column, if they differ: of two that are equal,
    nobody knows which number is meant.
    """
    for place, one in enumerate(known):
        before = known[:place]
        nan_again = _is_nan(one) and any(_is_nan(other) for other in before)
        if np.ndim(one) > 0:
            raise InvalidInput(
                f"column {column!r} has the category {one!r}, which is no single value; name each "
                "by a text or a number"
            )
        is_bool = isinstance(one, bool)
        alike = any(one == other and is_bool == isinstance(other, bool) for other in before)
        if nan_again or alike:
            raise InvalidInput(f"column {column!r} has category {one!r} twice; name each once")
    return tuple(known)


def read_baseline(baseline: Any, columns: Columns) -> np.ndarray:
    """(C,) what absent columns hold, of one number for all or {column: value}.

    Raises:
        InvalidInput: a column has none, or one that it cannot hold.
    """
    if isinstance(baseline, Mapping) or hasattr(baseline, "to_dict"):
        return columns.numbers(baseline, "the baseline")
    # The first category is no more absent than another: the user must choose.
    named = next(iter(columns.categories), None)
    if named is not None:
        raise InvalidInput(
            f"column {named!r} holds categories, so one number is no baseline of it; give "
            "baseline={column: value}"
        )
    return np.array([columns.number(one, baseline, "the baseline") for one in columns.names])


def read_background(background: Any, columns: Columns) -> np.ndarray:
    """(N, C) the numbers of a background set: rows {column: value}, or a pandas DataFrame.

    Raises:
        InvalidInput: it has no rows, or one that cannot be read.
    """
    if not getattr(getattr(background, "columns", None), "is_unique", True):
        raise InvalidInput("the background set has a column twice; give each column once")
    rows = background.to_dict("records") if hasattr(background, "columns") else background
    if isinstance(rows, str | Mapping) or not hasattr(rows, "__iter__"):
        raise InvalidInput(
            "a background set is a list of rows {column: value} or a DataFrame, not "
            f"{type(rows).__name__}"
        )
    found = [
        columns.numbers(_only(row, columns), f"row {number} of the background set")
        for number, row in enumerate(rows)
    ]
    if not found:
        raise InvalidInput("the background set has no rows; give at least one")
    return np.stack(found)


def _only(row: Any, columns: Columns) -> Any:
    """A row of a background set without other columns, which training tables have,
    such as the answer.
    """
    given = as_row(row, "a row of the background set")
    return {column: given[column] for column in columns.names if column in given}


def middle(background: np.ndarray, columns: Columns) -> np.ndarray:
    """(C,) the mean of each column of a background set (N, C); of one with categories, the most
    frequent.

    A mean of places in a list would be a category that nobody has.
    """
    found: np.ndarray = background.mean(axis=0)
    for place, column in enumerate(columns.names):
        if column in columns.categories:
            values, counts = np.unique(background[:, place], return_counts=True)
            found[place] = values[counts.argmax()]
    return found


def _as_python(value: Any) -> Any:
    """A number of numpy or torch, or an array of one, as Python has it."""
    is_one = getattr(value, "ndim", None) == 0 and hasattr(value, "item")
    return value.item() if is_one else value
