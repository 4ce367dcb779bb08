"""Who is told what has changed on a desk: a widget, or a test."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from vqa_explain.examples import Example
from vqa_explain.target import Answer
from vqa_explain.viewer.requests import (
    AskedTarget,
    Column,
    Entry,
    KeptExplanation,
    Options,
    Pending,
)


class Listener(Protocol):
    """What a view is told.

    Calls come from the thread that asked the desk and from its worker. Calls that change the
    list or the screen come one at a time, in the order of the changes.
    """

    def options_changed(self, options: Options) -> None: ...

    def list_cleared(self) -> None:
        """The list is empty now."""

    def entries_changed(self, changes: Mapping[int, Entry]) -> None:
        """Place in the list → its new entry; places beyond the end of the list extend it."""

    def selection_changed(self, index: int) -> None:
        """The desk itself selected another example."""

    def screen_cleared(self) -> None:
        """Nothing is shown any more."""

    def target_changed(self, target: AskedTarget) -> None:
        """The answer that is explained, of the selected example."""

    def columns_changed(self, columns: Sequence[Column]) -> None:
        """What is to stand beside the explanation."""

    def explanation_shown(
        self, shown: KeptExplanation, beside: Mapping[int, KeptExplanation]
    ) -> None:
        """All that was asked for is there, so nothing is pending any more; number of the column →
        what stands in it, without columns that could not be made.
        """

    def pending_changed(self, pending: Pending | None) -> None: ...

    def preview_found(self, index: int, example: Example, found: Sequence[Answer]) -> None:
        """An example of which nothing is on the screen yet, and its answers, best first; none
        before the model has answered.
        """

    def comparison_ended(self) -> None:
        """Nothing is shown beside the explanation any more."""

    def progressed(self, index: int, done: int, total: int) -> None:
        """`done` of `total` evaluations of the model are made for the example at `index`."""

    def problem_found(self, problem: str) -> None:
        """One sentence for the person who looks."""

    def what_if_answered(self, serial: Any, answer: dict[str, Any]) -> None:
        """`answer` has "error" where there is none; `serial` is the question's."""

    def thumbnails_asked(self, kept: Mapping[int, KeptExplanation]) -> None:
        """A view asks for small maps of these, by their place in the list."""
