"""`Viewer`: explanations of a data set in a notebook, computed while one looks."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.explaining import DEFAULT_METHOD, DEFAULT_PARAMETERS
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
from vqa_explain.methods import METHODS
from vqa_explain.methods.describing import describe_methods
from vqa_explain.models.base import Model
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.desk import (
    EVERY_EXAMPLE,
    Desk,
    Entry,
    KeptExplanation,
    MethodChoice,
    Options,
)
from vqa_explain.viewer.export import page
from vqa_explain.viewer.payload import payload, raw, title_of

CLASSES_LISTED = 200  # a menu of more cannot be read, and makes each change of options heavy


class _View(anywidget.AnyWidget):
    """What views read: see `static/widget.js`."""

    _esm = traitlets.Unicode(script("widget")).tag(sync=True)
    _css = traitlets.Unicode(style()).tag(sync=True)
    live = traitlets.Bool(True).tag(sync=True)
    entries = traitlets.List(traitlets.Dict()).tag(sync=True)
    options = traitlets.Dict().tag(sync=True)
    shown = traitlets.Dict().tag(sync=True)
    compared = traitlets.Dict().tag(sync=True)
    selected = traitlets.Int(0).tag(sync=True)
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
        others: Sequence[Model] = (),
        **parameters: Any,
    ) -> None:
        if method is None:
            method, parameters = DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters}
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
            others=others,
        )
        super().__init__()
        self.model = model
        self.on_msg(self._on_message)
        self.observe(lambda change: self._desk.choose(change["new"]), "selected")
        self._desk.fetch(EVERY_EXAMPLE, count)

    @property
    def examples(self) -> list[Example]:
        """The fetched examples."""
        return self._desk.examples

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        """What a person did in a view."""
        # Before acting: the worker may tell of a problem while this thread is still in the call.
        self.problem = ""
        try:
            self._act(message)
        except VQAExplainError as error:
            self.problem = str(error)
        finally:
            self.heard = max(self.heard, int(message.get("number", 0)))

    def _act(self, message: dict[str, Any]) -> None:
        """Calls the desk with what the message says."""
        desk, about = self._desk, message.get("explanation")
        match message["action"]:
            case "method":
                desk.set_method(message["method"], message["parameters"])
            case "target":
                desk.set_target(message["target"], message["contrast"], about)
            case "compare":
                desk.compare(message["what"], message["which"])
            case "fetch":
                desk.fetch(message["filter"], int(message["count"]))
            case "cancel":
                desk.cancel(int(message["index"]))
            case "whatif":
                away = {
                    str(name): [int(number) for number in numbers]
                    for name, numbers in message["away"].items()
                }
                desk.ask_without(message["serial"], away, about)
            case "question":
                desk.ask_question(message["serial"], message["question"], about)
            case action:
                raise InvalidInput(
                    f"the viewer knows no action {action!r}; reload the page, so that the view and "
                    "the kernel are of one version"
                )

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to compute, at most `timeout` seconds; whether that is so."""
        return self._desk.wait(timeout)

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
        kept = self._desk.explanations()
        if not kept:
            raise InvalidInput(
                "nothing is explained yet; wait for the viewer, or call viewer.wait()"
            )
        return write_atomically(Path(path), page(kept).encode())

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
        }

    def entries_changed(self, entries: Sequence[Entry]) -> None:
        self._viewer.entries = [asdict(entry) for entry in entries]

    def selection_changed(self, index: int) -> None:
        self._viewer.selected = index

    def screen_cleared(self) -> None:
        self._viewer.shown, self._viewer.compared = {}, {}
        self._viewer.explanation = None

    def explanation_shown(self, shown: KeptExplanation, beside: KeptExplanation | None) -> None:
        sent = _sent(shown)
        sent_beside = {} if beside is None else _sent(beside)
        self._viewer.explanation = shown.explanation
        with self._viewer.hold_sync():  # views get both in one message
            self._viewer.compared = sent_beside
            self._viewer.shown = sent

    def comparison_ended(self) -> None:
        self._viewer.compared = {}

    def progressed(self, index: int, done: int, total: int) -> None:
        self._viewer.progress = {"index": index, "done": done, "total": total}

    def problem_found(self, problem: str) -> None:
        self._viewer.problem = problem

    def what_if_answered(self, serial: Any, answer: dict[str, Any]) -> None:
        self._viewer.whatif = {"serial": serial, **answer}


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
