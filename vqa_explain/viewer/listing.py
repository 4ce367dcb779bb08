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
        self.examples: list[Example] = []
        self.entries: list[Entry] = []
        self.fetch = 0  # the number of the last fetch
        self._listener = listener

    def clear(self) -> None:
        """Empties the list for another fetch."""
        self.fetch += 1
        self.examples, self.entries = [], []
        self._listener.list_cleared()

    def add(self, fetch: int, examples: Sequence[Example]) -> None:
        """Lists examples, as one change."""
        if fetch != self.fetch or not examples:
            return
        first = len(self.examples)
        self.examples += examples
        added = [_new_entry(example, first + i) for i, example in enumerate(examples)]
        self.entries += added
        self._listener.entries_changed(dict(enumerate(added, first)))

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


def _new_entry(example: Example, place: int) -> Entry:
    try:
        asked_for = example.asked
    except InvalidInput:  # a chat that cannot be read; its explanation will say why
        asked_for = None
    title = asked_for or example.id or f"example {place + 1}"
    return Entry(title[:LONGEST_TITLE], id=example.id or "", label=example.answer)
