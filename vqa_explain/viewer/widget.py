"""`Viewer`: explanations of a data set in a notebook, computed while one looks."""

import logging
import threading
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import traitlets

from vqa_explain._fields import WrongField
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
from vqa_explain.models.base import Model
from vqa_explain.viewer.columns import is_number
from vqa_explain.viewer.desk import EVERY_EXAMPLE, MOST_LISTED, Desk
from vqa_explain.viewer.export import page
from vqa_explain.viewer.messages import HELLO, act, number_of, read_plain
from vqa_explain.viewer.payload import payload, raw, title_of
from vqa_explain.viewer.requests import Column, MethodChoice
from vqa_explain.viewer.runs import FinishedRun, OpenedRun
from vqa_explain.viewer.state import NAMES, checked
from vqa_explain.viewer.still import Stills, in_notebook, still
from vqa_explain.viewer.traits import OfDesk, View
from vqa_explain.viewer.whatif import check_players
from vqa_explain.viewer.writer import TraitWriter

if TYPE_CHECKING:
    import pandas as pd

_LOG = logging.getLogger("vqa_explain")


class Viewer(OfDesk):
    """Explanations of examples, one beside another: an ipywidgets `DOMWidget`.

    Work is done by one thread in the background: results come one by one, can be cancelled, and
    are kept, so that going back is instant.

    Args:
        model: what `vqa_explain.load` gave; or a `Report`, whose model and data set are loaded by
            their names. Its examples come with their metrics, and each is explained when it is
            selected, by the run's first method.
        dataset: examples, as any iterable or by their places; it is read no further than needed.
        method: the method at first; by default the one of `explain`, or the run's first.
        count: how many examples to fetch; a run's are all there.
        seed: for methods that draw; 0, or the run's.
        regions, words, columns: how inputs are divided, as `explain` takes them.
        players: the inputs whose parts are players, as `explain` takes them.
        score: what the points are of, as `explain` takes it.
        others: further models that may be compared with the first, side by side.
        run: a finished `Report` of this model and data set, where its plan cannot load them.
        **parameters: the method's own.

    Attributes:
        selected: the place of the example that is shown, from 0; set it to show another.
        explanation: the `Explanation` that is shown, or `None`. While one is computed for another
            example, it is still the one on the screen; what-ifs are answered for that one.
        examples: the fetched examples.
        method, parameters: by what all examples are explained. Another method has its default
            parameters, unless both are set within `viewer.hold_trait_notifications()`.
        target, contrast: the answer that is explained, and the one it is compared with, by text
            or label number; `None` is the model's own answer. Another example begins with `None`.
        columns: what stands beside the explanation, at most five: a list of mappings with any of
            "method", "parameters" (a layer among them), "target", "contrast", "example" (a place)
            and "model" (0 is the viewer's own, then the `others`).
        hidden: what is taken away: input name → numbers of its players. Another example begins
            with none.
        look: how explanations are drawn: see `vqa_explain.viewer.state.Look`.
        filter: which examples are listed, and in which order: see
            `vqa_explain.viewer.state.Filter`.
        selection: places of the examples that are selected; takes the index of a table too.
        notes: an example's name (its id, or its place as text) → {"star": bool, "note": str}.

    All of these can be set, observed, and linked to other widgets. Each holds plain data; give a
    new value rather than change the old one in place.

    Raises:
        InvalidInput: the data set is none of examples, or a parameter is wrong; also where
            what one of its traits is set to does not fit.
    """

    explanation = traitlets.Any(None, allow_none=True)
    method = traitlets.Unicode()
    parameters = traitlets.Dict()
    target = traitlets.Any(None, allow_none=True)
    contrast = traitlets.Any(None, allow_none=True)

    def __init__(
        self,
        model: Model | FinishedRun,
        dataset: Iterable[Example] | None = None,
        *,
        method: str | None = None,
        count: int = 8,
        seed: int | None = None,
        regions: Any = None,
        words: Any = None,
        columns: Any = None,
        players: str | Sequence[str] | None = None,
        score: str | None = None,
        others: Sequence[Model] = (),
        run: FinishedRun | None = None,
        **parameters: Any,
    ) -> None:
        opened = _opened(model, dataset, run)
        if opened is not None:
            model, dataset = opened.model, opened.examples
            asked = {"regions": regions, "words": words, "columns": columns, "players": players}
            regions, words, columns, players = (
                opened.divided[name] if own is None else own for name, own in asked.items()
            )
            seed = opened.seed if seed is None else seed
            if method is None and opened.method is not None:
                method, parameters = opened.method.name, opened.method.parameters | parameters
        check_loaded(model, "Viewer")
        model = cast(Model, model)
        if dataset is None:
            raise InvalidInput("a viewer needs a data set: vqa_explain.Viewer(model, dataset)")
        if method is None:
            method, parameters = DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters}
            regions = usual_division(model) if regions is None else regions
            score = usual_score(model) if score is None else score
        # Before the widget exists, so that a viewer that is refused leaves none behind.
        self._desk = Desk(
            model,
            dataset,
            TraitWriter(self),
            method=MethodChoice(method, parameters),
            seed=0 if seed is None else seed,
            regions=regions,
            words=words,
            columns=columns,
            players=players,
            score=score,
            others=others,
        )
        super().__init__()
        self.model: Model = model
        self._stills = Stills()
        # The list and the messages about it change together, whichever thread changes them.
        self._sending = threading.RLock()
        self.on_msg(self._on_message)
        self._mirrored = 0  # how many calls write into traits what the desk already knows
        self.observe(lambda change: self._desk.choose(change["new"]), "selected")
        self.observe(self._choose_method, ["method", "parameters"])
        self.observe(self._choose_target, ["target", "contrast"])
        self.observe(self._choose_columns, ["columns"])
        if opened is None:
            self._desk.fetch(EVERY_EXAMPLE, count)
        else:
            self._desk.open_run(opened.examples, opened.entries)

    @property
    def examples(self) -> Sequence[Example]:
        """The fetched examples."""
        return self._desk.examples

    def fetch(self, filter: str = EVERY_EXAMPLE, count: int = 8) -> None:
        """Reads examples of the data set anew, and explains them.

        Args:
            filter: "all", "correct", "incorrect", or "answer: " with what the model answers.
            count: how many examples that pass it.

        Raises:
            InvalidInput: the count is below 0, or more than can be listed.
        """
        self._desk.fetch(filter, count)

    def frame(self) -> "pd.DataFrame":
        """The list as a table, one row for each example: its name, question, answer, the true
        answer, the kind of question, what the explanation says in numbers, stars and notes.

        The index is the example's place, so that `viewer.frame().loc[viewer.selection]` is what
        is selected, and `viewer.selection = table.index` selects it.
        """
        import pandas as pd

        rows = []
        for place, entry in enumerate(self.entries):
            note = self.notes.get(entry["id"] or str(place), {})
            named = {
                "id": entry["id"],
                "question": entry["title"],
                "answer": entry["answer"],
                "true answer": entry["label"],
                "kind": entry["kind"],
                "correct": entry["correct"],
                "probability": entry["probability"],
                "state": entry["state"],
            }
            said = {"star": note.get("star", False), "note": note.get("note", "")}
            rows.append({**named, **entry["numbers"], **said})
        return pd.DataFrame(rows, index=pd.RangeIndex(len(rows), name="example"))

    @traitlets.validate("hidden")
    def _check_hidden(self, proposal: Mapping[str, Any]) -> Any:
        hidden = {name: numbers for name, numbers in proposal["value"].items() if numbers}
        if hidden and self.explanation is None:
            raise InvalidInput(
                "nothing is shown yet that could be taken away; wait for the viewer, or call "
                "viewer.wait()"
            )
        if hidden:
            check_players(self.explanation, hidden)
        return hidden

    @traitlets.validate("selection")
    def _check_selection(self, proposal: Mapping[str, Any]) -> Any:
        count = len(self.entries)
        wrong = next((place for place in proposal["value"] if place >= count), None)
        if wrong is not None:
            raise InvalidInput(
                f"there is no example {wrong}: the list has {count:,}, counted from 0"
            )
        return proposal["value"]

    def _mirror(self, **values: Any) -> None:
        """Writes into traits what the desk already does."""
        self._mirrored += 1
        try:
            for name, value in values.items():
                setattr(self, name, value)
        finally:
            self._mirrored -= 1

    def _choose_method(self, _change: Any) -> None:
        now = self._desk.options.method
        if self._mirrored or (self.method, self.parameters) == (now.name, now.parameters):
            return
        # Parameters that nobody changed are those of the method before.
        kept = self.method == now.name or self.parameters != now.parameters
        try:
            self._desk.set_method(self.method, self.parameters if kept else {})
        except InvalidInput:
            self._mirror(method=now.name, parameters=now.parameters)
            raise

    def _choose_target(self, _change: Any) -> None:
        now = self._desk.target
        if self._mirrored or (self.target, self.contrast) == tuple(now):
            return
        try:
            self._desk.explain_answer(self.target, self.contrast)
        except InvalidInput:
            self._mirror(target=now.answer, contrast=now.contrast)
            raise

    def _choose_columns(self, _change: Any) -> None:
        now = self._desk.columns
        if self._mirrored:
            return
        try:
            asked = [read_plain(Column, column) for column in self.columns]
            self._desk.set_columns(asked)
        except (InvalidInput, WrongField) as error:
            self._mirror(columns=[asdict(one) for one in now])
            raise InvalidInput(f"the viewer cannot show these columns: {error}") from error

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
        """What a view may change by itself: what `NAMES` lists, and the example that is shown.
        What does not fit is left out, and said.
        """
        given = sync_data if isinstance(sync_data, Mapping) else {}
        allowed: dict[str, Any] = {}
        selected = given.get("selected")
        if is_number(selected) and 0 <= selected < MOST_LISTED:
            allowed["selected"] = selected
        for name in NAMES:
            if name in given:
                try:
                    allowed[name] = checked(name, given[name])
                except InvalidInput as error:
                    self.problem = str(error)
        try:
            super().set_state(allowed)
        except InvalidInput as error:  # of another explanation, or another list
            self.problem = str(error)

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
        text = page(explained, examples=examples, lines=lines, notes=self.notes)
        return write_atomically(path, text.encode())

    def __repr__(self) -> str:
        states = [entry["state"] for entry in self.entries]
        done = states.count("done")
        method = self._desk.options.method.name
        return (
            f"Viewer of {self.model.name!r}: {len(states)} examples, {done} explained by {method}"
        )


def _opened(
    model: Model | FinishedRun, dataset: Iterable[Example] | None, run: FinishedRun | None
) -> OpenedRun | None:
    """The run that is given, with its model and data set; `None` where none is."""
    if isinstance(model, FinishedRun):
        return model.opened(None, dataset)
    return None if run is None else run.opened(model, dataset)


def shown_alone(explanation: Explanation) -> View:
    """A viewer of one explanation, without a model behind it."""
    entry = {
        "title": title_of(explanation),
        "state": "done",
        "answer": explanation.target,
    }
    return View(live=False, entries=[entry], shown=payload(explanation, raw))
