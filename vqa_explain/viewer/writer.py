"""What a desk tells becomes the traits and messages of a widget."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example
from vqa_explain.methods import METHODS
from vqa_explain.methods.describing import describe_methods
from vqa_explain.target import Answer
from vqa_explain.viewer.payload import packed, payload, preview, raw, thumbnail
from vqa_explain.viewer.requests import (
    AskedTarget,
    Column,
    Entry,
    KeptExplanation,
    Options,
    Pending,
)
from vqa_explain.viewer.traits import OfDesk

_LOG = logging.getLogger("vqa_explain")
CLASSES_LISTED = 200  # a menu of more cannot be read, and makes each change of options heavy


class TraitWriter:
    """Writes what a desk tells into the traits that views read: a `Listener`."""

    def __init__(self, viewer: OfDesk) -> None:
        self._viewer = viewer
        self._example: Example | None = None  # that is on the screen
        self._step = (-1, -1)  # the example and the hundredth of its work that were told last

    def options_changed(self, options: Options) -> None:
        models = self._viewer._desk.models
        model = models[0]
        fitting = [
            described
            for described in describe_methods(None)
            if METHODS[described["name"]].needs <= model.capabilities
        ]
        self._viewer._mirror(method=options.method.name, parameters=options.method.parameters)
        self._viewer.options = {
            "methods": fitting,
            "method": options.method.name,
            "parameters": options.method.parameters,
            "filter": options.filter,
            "classes": list(model.labels or ())[:CLASSES_LISTED],
            "count": options.count,
            "models": [other.name for other in models[1:]],
            "fills": [
                {"name": one.name, "kind": one.kind, "fills": list(one.fills)}
                for one in model.features
            ],
            "line": self._viewer._desk.questions.measures_lines,
        }

    def target_changed(self, target: AskedTarget) -> None:
        self._viewer._mirror(target=target.answer, contrast=target.contrast)

    def columns_changed(self, columns: Sequence[Column]) -> None:
        self._viewer._mirror(columns=[asdict(one) for one in columns])

    def thumbnails_asked(self, kept: Mapping[int, KeptExplanation]) -> None:
        # Not by a trait, which would keep all that was ever sent.
        found = {i: thumbnail(one.explanation, packed) for i, one in kept.items()}
        self._viewer.send({"thumbnails": [[i, one] for i, one in found.items() if one]})

    def list_cleared(self) -> None:
        with self._viewer._sending:
            self._viewer.entries = []
        self._viewer.selection = []

    def entries_changed(self, changes: Mapping[int, Entry]) -> None:
        # The whole list with every change would be quadratic: 188 MiB for 1,000 examples.
        viewer = self._viewer
        told = [(index, asdict(entry)) for index, entry in changes.items()]
        with viewer._sending:
            for index, entry in told:
                viewer.entries[index : index + 1] = [entry]
            viewer.send({"entries": told})

    def pending_changed(self, pending: Pending | None) -> None:
        told = {} if pending is None else _told(pending)
        with self._viewer.hold_sync():
            if pending is None or self._viewer.preview.get("index") != pending.index:
                self._viewer.preview = {}
            self._viewer.pending = told

    def preview_found(self, index: int, example: Example, found: Sequence[Answer]) -> None:
        try:
            self._viewer.preview = {"index": index, **preview(example, found, raw)}
        except InvalidInput as error:  # a picture that cannot be read; its explanation says it too
            _LOG.info("there is no preview of example %d: %s", index + 1, error)

    def selection_changed(self, index: int) -> None:
        self._viewer.selected = index

    def screen_cleared(self) -> None:
        self._viewer.shown, self._viewer.compared = {}, []
        self._viewer.explanation = None

    def explanation_shown(
        self, shown: KeptExplanation, beside: Mapping[int, KeptExplanation]
    ) -> None:
        desk = self._viewer._desk
        sent = _sent(shown) | desk.questions.told_line(shown)
        sent_beside = [{**_sent(one), "column": number} for number, one in beside.items()]
        self._viewer.explanation = shown.explanation
        same = self._example is shown.request.example
        self._example = shown.request.example
        with self._viewer.hold_sync():  # views get all in one message
            if not same:
                self._viewer.hidden = {}
            self._viewer.compared = sent_beside
            self._viewer.shown = sent
            self._viewer.pending, self._viewer.preview = {}, {}
        self._viewer._stills.fill_once(shown.explanation)

    def comparison_ended(self) -> None:
        self._viewer.compared = []

    def progressed(self, index: int, done: int, total: int) -> None:
        # A long estimate tells of thousands of batches; a bar has a hundred steps.
        step = 100 * done // max(1, total)
        if (index, step) != self._step:
            self._step = (index, step)
            self._viewer.progress = {"index": index, "done": done, "total": total}

    def problem_found(self, problem: str) -> None:
        self._viewer.problem = problem

    def what_if_answered(self, serial: Any, answer: dict[str, Any]) -> None:
        self._viewer.whatif = {"serial": serial, **answer}


def _told(pending: Pending) -> dict[str, Any]:
    return {
        "index": pending.index,
        "state": pending.state,
        "message": pending.message,
        "method": pending.method.name,
        "parameters": pending.method.parameters,
        "target": pending.target.answer,
        "contrast": pending.target.contrast,
        "comparison": pending.comparison,
    }


def _sent(kept: KeptExplanation) -> dict[str, Any]:
    """What views get of an explanation: with its key, which their questions name it by."""
    return {**payload(kept.explanation, raw, kept.request.example), "id": kept.request.key}
