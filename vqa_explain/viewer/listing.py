"""The list of a viewer: examples, and a line of what became of each."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.viewer.listener import Listener
from vqa_explain.viewer.requests import Entry, State

LONGEST_TITLE = 300  # characters


class Listing:
    """Examples and their entries, as the last fetch brought them; a listener is told of changes.

    Whoever calls it holds the desk's lock. Changes of an older fetch are left out: its list is
    gone.
    """

    def __init__(self, listener: Listener) -> None:
        self.examples: Sequence[Example] = []
        self.is_of_run = False  # then explanations are computed one by one, when they are asked for
        self.entries: list[Entry] = []
        self.fetch = 0  # the number of the last fetch
        self._listener = listener

    def clear(self) -> None:
        """Empties the list for another fetch."""
        self.fetch += 1
        self.examples, self.entries = [], []
        self.is_of_run = False
        self._listener.list_cleared()

    def add(self, fetch: int, examples: Sequence[Example]) -> None:
        """Lists examples, as one change."""
        if fetch != self.fetch or not examples:
            return
        first = len(self.examples)
        if isinstance(self.examples, list):
            self.examples.extend(examples)
        else:  # of a run, whose examples are read when they are needed
            self.examples = Joined(self.examples, examples)
        added = [_new_entry(example, first + i) for i, example in enumerate(examples)]
        self.entries += added
        self._listener.entries_changed(dict(enumerate(added, first)))

    def open(self, fetch: int, examples: Sequence[Example], entries: Sequence[Entry]) -> None:
        """Lists examples of which all is known but their explanations."""
        if fetch != self.fetch:
            return
        self.examples, self.entries = examples, list(entries)
        self.is_of_run = True
        self._listener.entries_changed(dict(enumerate(self.entries)))

    def change(self, fetch: int, changes: Mapping[int, Mapping[str, Any]]) -> dict[int, Entry]:
        """Changes fields of lines, as one change; gives the lines that are asked for and listed."""
        if fetch != self.fetch:
            return {}
        found = {
            index: replace(self.entries[index], **fields)
            for index, fields in changes.items()
            if 0 <= index < len(self.entries)
        }
        told = {index: entry for index, entry in found.items() if entry != self.entries[index]}
        for index, entry in told.items():
            self.entries[index] = entry
        if told:
            self._listener.entries_changed(told)
        return found

    def change_states(self, fetch: int, states: Mapping[int, State]) -> dict[int, Entry]:
        """The same of states alone."""
        return self.change(fetch, {index: {"state": state} for index, state in states.items()})


class Joined(Sequence[Example]):
    """Two sequences as one, without reading them."""

    def __init__(self, first: Sequence[Example], second: Sequence[Example]) -> None:
        self._first = first
        self._second = second

    def __len__(self) -> int:
        return len(self._first) + len(self._second)

    def __getitem__(self, number: Any) -> Any:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        before = len(self._first)
        return self._first[number] if number < before else self._second[number - before]


def _new_entry(example: Example, place: int) -> Entry:
    try:
        asked_for = example.asked
    except InvalidInput:  # a chat that cannot be read; its explanation will say why
        asked_for = None
    title = asked_for or example.id or f"example {place + 1}"
    return Entry(
        title[:LONGEST_TITLE], id=example.id or "", label=example.answer, kind=example.family
    )
