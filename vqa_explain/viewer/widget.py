"""`Viewer`: explanations of a data set in a notebook, computed while one looks."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vqa_explain.asking import check_loaded
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.explaining import (
    DEFAULT_METHOD,
    DEFAULT_PARAMETERS,
    usual_division,
    usual_score,
)
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.methods import METHODS
from vqa_explain.methods.describing import describe_methods
from vqa_explain.models.base import Model
from vqa_explain.target import Answer
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.desk import EVERY_EXAMPLE, Desk
from vqa_explain.viewer.export import page
from vqa_explain.viewer.messages import HELLO, act, number_of
from vqa_explain.viewer.payload import payload, preview, raw, title_of
from vqa_explain.viewer.requests import Entry, KeptExplanation, MethodChoice, Options, Pending
from vqa_explain.viewer.still import STYLE as STILL_STYLE
from vqa_explain.viewer.still import Stills, in_notebook, still

_LOG = logging.getLogger("vqa_explain")
CLASSES_LISTED = 200  # a menu of more cannot be read, and makes each change of options heavy


class _View(anywidget.AnyWidget):
    """What views read: see `static/widget.js`."""

    _esm = traitlets.Unicode(script("widget")).tag(sync=True)
    _css = traitlets.Unicode(style() + STILL_STYLE).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    # Changed in place; views hear of each change by a message: see `_TraitWriter`.
    entries: traitlets.List[Any] = traitlets.List().tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    compared = traitlets.Dict().tag(sync=True)
    selected = traitlets.Int(0).tag(sync=True)
    # What was asked for and is not shown yet; what is shown meanwhile is older. {}: nothing.
    pending = traitlets.Dict().tag(sync=True)
    preview = traitlets.Dict().tag(sync=True)  # the pending example, before it is explained
    progress = traitlets.Dict().tag(sync=True)
    problem = traitlets.Unicode("").tag(sync=True)
    whatif = traitlets.Dict().tag(sync=True)
    # The number of the last message, so that a view knows of a dead kernel.
    heard = traitlets.Int(0).tag(sync=True)


class Viewer(_View):
    """Explanations of examples, one beside another: an ipywidgets `DOMWidget`.

    Work is done by one thread in the background: results come one by one, can be cancelled, and
    are kept, so that going back is instant.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples, as any iterable; it is read no further than needed.
        method: the method at first; by default the one of `explain`.
        count: how many examples to fetch.
        seed: for methods that draw.
        regions, words, columns: how inputs are divided, as `explain` takes them.
        players: the inputs whose parts are players, as `explain` takes them.
        score: what the points are of, as `explain` takes it.
        others: further models that may be compared with the first, side by side.
        **parameters: the method's own.

    Attributes:
        selected: the number of the example that is shown; set it to show another.
        explanation: the `Explanation` that is shown, or `None`. While one is computed for another
            example, it is still the one on the screen; what-ifs are answered for that one.
        examples: the fetched examples.

    Raises:
        InvalidInput: the data set is no iterable of examples, or a parameter is wrong.
    """

    explanation = traitlets.Any(None, allow_none=True)

    def __init__(
        self,
        model: Model,
        dataset: Iterable[Example],
        *,
        method: str | None = None,
        count: int = 8,
        seed: int = 0,
        regions: Any = None,
        words: Any = None,
        columns: Any = None,
        players: str | Sequence[str] | None = None,
        score: str | None = None,
        others: Sequence[Model] = (),
        **parameters: Any,
    ) -> None:
        check_loaded(model, "Viewer")
        if method is None:
            method, parameters = DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters}
            regions = usual_division(model) if regions is None else regions
            score = usual_score(model) if score is None else score
        # Before the widget exists, so that a viewer that is refused leaves none behind.
        self._desk = Desk(
            model,
            dataset,
            _TraitWriter(self),
            method=MethodChoice(method, parameters),
            seed=seed,
            regions=regions,
            words=words,
            columns=columns,
            players=players,
            score=score,
            others=others,
        )
        super().__init__()
        self.model = model
        self._stills = Stills()
        # The list and the messages about it change together, whichever thread changes them.
        self._sending = threading.RLock()
        self.on_msg(self._on_message)
        self.observe(lambda change: self._desk.choose(change["new"]), "selected")
        self._desk.fetch(EVERY_EXAMPLE, count)

    @property
    def examples(self) -> list[Example]:
        """The fetched examples."""
        return self._desk.examples

    def _on_message(self, _widget: Any, message: Any, _buffers: Any) -> None:
        """What a person did in a view."""
        # Before acting: the worker may tell of a problem while this thread is still in the call.
        self.problem = ""
        try:
            act(self._desk, message)
        except VQAExplainError as error:
            self.problem = str(error)
        except Exception as error:  # a notebook shows no error of a kernel's message
            _LOG.exception("a message of a view failed")
            self.problem = f"the viewer failed: {type(error).__name__}: {error}"
        if isinstance(message, Mapping) and message.get("action") == HELLO:
            self.send_state("entries")  # messages that came before the view are lost
        self.heard = max(self.heard, number_of(message))

    def set_state(self, sync_data: Any) -> None:
        """What a view may change by itself: the selection, and what all widgets have."""
        own = set(_View.class_own_traits())
        allowed = {name: value for name, value in dict(sync_data).items() if name not in own}
        selected = dict(sync_data).get("selected")
        if isinstance(selected, int) and not isinstance(selected, bool):
            allowed["selected"] = selected
        super().set_state(allowed)

    def send_state(self, key: Any = None) -> None:
        """The same as every widget's; it is never older than the messages that went before it."""
        # The base class sends once while the widget is made.
        with getattr(self, "_sending", nullcontext()):
            super().send_state(key)

    def _ipython_display_(self) -> None:
        """The widget and, below it, a place for its picture."""
        if not in_notebook():
            raise NotImplementedError  # then IPython shows `_repr_mimebundle_`
        from IPython import display

        publish: Any = display.publish_display_data  # it has no types
        publish(*self._shown_as_widget())
        self._stills.add_place()
        self._stills.fill(self.explanation)

    def _shown_as_widget(self) -> tuple[dict[str, Any], dict[str, Any]]:
        found: Any = super()._repr_mimebundle_() or {}
        return found if isinstance(found, tuple) else (found, {})

    def _repr_mimebundle_(self, **_: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The widget, and for front ends that show none its picture once there is one."""
        data, metadata = self._shown_as_widget()
        if self.explanation is not None:
            data = {**data, "text/html": still(self.explanation)}
        return data, metadata

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to compute, at most `timeout` seconds; whether that is so."""
        is_done = self._desk.wait(timeout)
        self._stills.fill(self.explanation)
        return is_done

    def cancel_all(self) -> None:
        """Stops all work; what is computed stays."""
        self._desk.cancel_all()

    def close(self) -> None:
        """Ends the work and takes the views away."""
        if hasattr(self, "_desk"):  # a viewer that was refused is closed before it has one
            self._desk.close()
        super().close()

    def to_html(self, path: str | Path) -> Path:
        """Writes the explanations that are kept as one page that needs no network or kernel.

        Raises:
            InvalidInput: there are none yet, or the file cannot be written.
        """
        kept = self._desk.kept()
        if not kept:
            raise InvalidInput(
                "nothing is explained yet; wait for the viewer, or call viewer.wait()"
            )
        explained = [one.explanation for one in kept]
        examples = [one.request.example for one in kept]
        lines = [self._desk.questions.told_line(one).get("line") for one in kept]
        text = page(explained, examples=examples, lines=lines)
        return write_atomically(Path(path), text.encode())

    def __repr__(self) -> str:
        states = [entry["state"] for entry in self.entries]
        done = states.count("done")
        method = self._desk.options.method.name
        return (
            f"Viewer of {self.model.name!r}: {len(states)} examples, {done} explained by {method}"
        )


class _TraitWriter:
    """Writes what a desk tells into the traits that views read: a `Listener`."""

    def __init__(self, viewer: Viewer) -> None:
        self._viewer = viewer
        self._step = (-1, -1)  # the example and the hundredth of its work that were told last

    def options_changed(self, options: Options) -> None:
        models = self._viewer._desk.models
        model = models[0]
        fitting = [
            described
            for described in describe_methods(None)
            if METHODS[described["name"]].needs <= model.capabilities
        ]
        self._viewer.options = {
            "methods": fitting,
            "method": options.method.name,
            "parameters": options.method.parameters,
            "filter": options.filter,
            "classes": list(model.labels or ())[:CLASSES_LISTED],
            "count": options.count,
            "models": [other.name for other in models[1:]],
            "line": self._viewer._desk.questions.measures_lines,
        }

    def list_cleared(self) -> None:
        with self._viewer._sending:
            self._viewer.entries = []

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
        self._viewer.shown, self._viewer.compared = {}, {}
        self._viewer.explanation = None

    def explanation_shown(self, shown: KeptExplanation, beside: KeptExplanation | None) -> None:
        desk = self._viewer._desk
        sent = _sent(shown) | desk.questions.told_line(shown)
        sent_beside = {} if beside is None else _sent(beside)
        self._viewer.explanation = shown.explanation
        with self._viewer.hold_sync():  # views get all in one message
            self._viewer.compared = sent_beside
            self._viewer.shown = sent
            self._viewer.pending, self._viewer.preview = {}, {}
        self._viewer._stills.fill_once(shown.explanation)

    def comparison_ended(self) -> None:
        self._viewer.compared = {}

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


def shown_alone(explanation: Explanation) -> _View:
    """A viewer of one explanation, without a model behind it."""
    entry = {
        "title": title_of(explanation),
        "state": "done",
        "answer": explanation.target,
    }
    return _View(live=False, entries=[entry], shown=payload(explanation, raw))
