"""Tables: columns of numbers and categories, columns as players,
and what an absent column becomes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.features.base import Division, Feature, Found
from vqa_explain.features.parts import ColumnValue, TablePart


@dataclass(frozen=True, eq=False)
class Row:
    """One row of a table as a model reads it.

    Attributes:
        columns: the C columns' names.
        contents: (C,) what each holds, for people.
        values: (1, C) its numbers.
    """

    columns: tuple[str, ...]
    contents: tuple[str, ...]
    values: Tensor


@dataclass(frozen=True, eq=False)
class ColumnGroups(Division):
    """A division of a table: the players are columns, or groups of columns.

    Attributes:
        groups: the numbers of each player's columns.
    """

    groups: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class TableFeature(Feature):
    """Tables: one leaf of numbers (B, C), elements and players that are columns."""

    name: str = "table"
    fills: tuple[str, ...] = ("baseline",)
    default_fill: str = "baseline"
    kind: ClassVar[str] = TablePart.kind
    channels: ClassVar[int | None] = None

    def shape(self, content: Row) -> tuple[int, ...]:
        return (len(content.columns),)

    def divide(self, content: Row, asked: Any) -> ColumnGroups:
        """Each column is a player, or each of the groups asked for; columns in none are their own.

        Raises:
            InvalidInput: a column is unknown, or in two groups, or a group is empty.
        """
        groups = self._groups(content.columns, asked)
        owner = np.empty(len(content.columns), dtype=int)
        for number, group in enumerate(groups):
            owner[list(group)] = number
        return ColumnGroups(owner, len(groups), groups)

    def _groups(self, columns: tuple[str, ...], asked: Any) -> tuple[tuple[int, ...], ...]:
        if asked is None:
            return tuple((number,) for number in range(len(columns)))
        if isinstance(asked, str) or not isinstance(asked, Sequence):
            raise InvalidInput(
                "columns are divided by a list of columns, or of lists of columns, not "
                f"{str(asked)[:60]!r}"
            )
        if not asked:
            raise InvalidInput(
                f"the list of columns of {self.name!r} is empty; name one, or leave columns= out"
            )
        groups = [self._group(one) for one in asked]
        named = [column for group in groups for column in group]
        for column in named:
            if column not in columns:
                raise unknown(f"column of {self.name!r}", str(column), columns)
            if named.count(column) > 1:
                raise InvalidInput(f"column {column!r} is in two groups; name it once")
        groups += [(column,) for column in columns if column not in named]
        numbers = [tuple(columns.index(column) for column in group) for group in groups]
        return tuple(sorted(numbers))

    def _group(self, asked: Any) -> tuple[str, ...]:
        """The columns of one player."""
        if isinstance(asked, str):
            return (asked,)
        if not isinstance(asked, Sequence) or not asked:
            raise InvalidInput(
                f"a player of {self.name!r} is a column, or a list of columns, not "
                f"{str(asked)[:60]!r}"
            )
        return tuple(asked)

    def carry(self, content: Row, found: Found) -> TablePart:
        """The values of columns as people know them."""
        groups = found.division.groups if isinstance(found.division, ColumnGroups) else ()
        columns = []
        for number, group in enumerate(groups):
            name = " + ".join(content.columns[column] for column in group)
            holds = ", ".join(content.contents[column] for column in group)
            columns.append(
                ColumnValue(name, holds, float(found.values[number]), found.error(number))
            )
        return TablePart(name=found.name, fixed=found.fixed, columns=tuple(columns))
