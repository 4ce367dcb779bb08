"""`Viewer`: explanations of a data set in a notebook, computed while one looks."""

from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.explaining import DEFAULT_METHOD, DEFAULT_PARAMETERS, explain
from vqa_explain.explanation import Explanation, write_atomically
from vqa_explain.methods import METHODS, create
from vqa_explain.methods.base import check_support
from vqa_explain.methods.describing import describe_methods
from vqa_explain.models.base import Model, answers
from vqa_explain.viewer.bundle import script, style
from vqa_explain.viewer.export import page
from vqa_explain.viewer.jobs import Cancelled, Worker
from vqa_explain.viewer.payload import payload, raw
from vqa_explain.viewer.whatif import asked, changed

LOOKED_AT = 5000  # examples that a filter passes over before it gives up

Asked = tuple[int, int, tuple[str, dict[str, Any]], tuple[str | None, str | None]]  # model, example, method, target


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
    heard = traitlets.Int(0).tag(sync=True)  # the number of the last message, so that a view knows of a dead kernel


class Viewer(_View):
    """Explanations of examples, one beside another: an ipywidgets `DOMWidget`.

    Work is done by one thread in the background: results come one by one, can be cancelled, and are kept, so that
    going back is instant.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples, as any iterable; it is read no further than needed.
        method: the method at first; by default the one of `explain`.
        count: how many examples to fetch.
        seed: for methods that draw.
        others: further models that may be compared with the first, side by side.
        **parameters: the method's own.

    Attributes:
        selected: the number of the example that is shown; set it to show another.
        explanation: the `Explanation` that is shown, or `None`.
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
        others: Sequence[Model] = (),
        **parameters: Any,
    ) -> None:
        if not isinstance(dataset, Iterable) or isinstance(dataset, str | bytes | dict):
            raise InvalidInput(f"a data set is a sequence of Examples, not {type(dataset).__name__}")
        if method is None:
            method, parameters = DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters}
        check_support(create(method, parameters), model)
        super().__init__()
        self.model, self._dataset, self._seed = model, dataset, seed
        self._models = (model, *others)
        self.examples: list[Example] = []
        self._method: tuple[str, dict[str, Any]] = (method, parameters)
        self._target: tuple[str | None, str | None] = (None, None)
        self._other: tuple[str, Any] | None = None
        self._kept: dict[str, Explanation] = {}
        self._worker = Worker()
        self._show_options("all", count)
        self.on_msg(self._on_message)
        self.observe(lambda _: self._choose(), "selected")
        self._fetch("all", count)

    def _show_options(self, filter_: str, count: int) -> None:
        able = [m for m in describe_methods(None) if METHODS[m["name"]].needs <= self.model.capabilities]
        name, parameters = self._method
        self.options = {
            "methods": able,
            "method": name,
            "parameters": parameters,
            "filter": filter_,
            "classes": list(self.model.labels or ())[:200],
            "count": count,
            "models": [other.name for other in self._models[1:]],
        }

    def _on_message(self, _widget: Any, message: dict[str, Any], _buffers: Any) -> None:
        """What a person did in a view."""
        self.heard = max(self.heard, int(message.get("number", 0)))
        act = {
            "method": lambda m: self._set_method(m["method"], m["parameters"]),
            "target": lambda m: self._set_target(m["target"], m["contrast"]),
            "compare": lambda m: self._compare(m["what"], m["which"]),
            "fetch": lambda m: self._fetch(m["filter"], int(m["count"])),
            "cancel": lambda m: self._cancel(int(m["index"])),
            "whatif": self._what_if,
            "question": self._ask,
        }[message["action"]]
        try:
            act(message)
            self.problem = ""
        except VQAExplainError as error:
            self.problem = str(error)

    def _set_method(self, name: str, parameters: dict[str, Any]) -> None:
        given = {k: v for k, v in parameters.items() if v is not None}
        check_support(create(name, given), self.model)
        self._method = (name, given)
        self._show_options(self.options["filter"], self.options["count"])
        self._explain_all()

    def _set_target(self, target: str | None, contrast: str | None) -> None:
        self._target = (target, contrast)
        self._explain(self.selected)

    def _compare(self, what: str | None, which: Any) -> None:
        """Sets beside what is shown: another "method", "answer", "model" (from 1) or "example" (from 0)."""
        if what == "model":
            check_support(create(*self._method), self._models[which])
        self._other = None if what is None else (what, which)
        if self._other is None:
            self.compared = {}
        else:
            self._explain(self.selected)

    def _fetch(self, filter_: str, count: int) -> None:
        """Reads examples until `count` pass the filter, then explains them one by one."""
        self._worker.clear()
        self._kept.clear()
        self._target = (None, None)
        self.examples, self.entries, self.shown, self.compared, self.explanation = [], [], {}, {}, None
        self._show_options(filter_, count)
        if self.selected:
            self.selected = 0
        if filter_ == "all":
            for example in islice(iter(self._dataset), count):
                self._add(example)
            self._explain_all()
        else:
            self._worker.put("fetch", lambda _: self._filter(filter_, count))

    def _filter(self, filter_: str, count: int) -> None:
        for example in islice(iter(self._dataset), LOOKED_AT):
            if len(self.examples) == count:
                break
            found = answers(self.model, self.model.encode(example))[0].text
            outcome = None if example.answer is None else "correct" if found == example.answer else "incorrect"
            if filter_ in (outcome, f"answer: {found}"):
                self._add(example)
        if not self.examples:
            self.problem = f"none of the first {LOOKED_AT:,} examples is {filter_}; choose another filter"
        self._explain_all()

    def _add(self, example: Example) -> None:
        self.examples.append(example)
        title = example.question or example.id or f"example {len(self.examples)}"
        self.entries = [*self.entries, {"title": title[:300], "state": "waiting", "answer": "", "correct": None}]

    def _explain_all(self) -> None:
        order = [self.selected, *(i for i in range(len(self.examples)) if i != self.selected)]
        for index in order:
            if index < len(self.examples):
                self._explain(index)

    def _choose(self) -> None:
        self._target = (None, None)
        if self.selected < len(self.examples):
            self._explain(self.selected)

    def _cancel(self, index: int) -> None:
        self._worker.cancel(f"explain {index}")

    def _set_entry(self, index: int, **changes: Any) -> None:
        entries = list(self.entries)
        if index < len(entries):
            entries[index] = {**entries[index], **changes}
            self.entries = entries

    def _explain(self, index: int) -> None:
        """Shows an example's explanation, at once where it is kept."""
        wanted = self._wanted(index)
        if all(self._key(one) in self._kept for one in wanted):
            self._present(wanted)
            return
        self._set_entry(index, state="waiting")
        self._worker.put(
            f"explain {index}", lambda cancelled: self._compute(wanted, cancelled), first=index == self.selected
        )

    def _wanted(self, index: int) -> list[Asked]:
        """What is to be seen of an example: its explanation and, for the one shown, what it is compared with."""
        if index != self.selected:
            return [(0, index, self._method, (None, None))]
        found = (0, index, self._method, self._target)
        if self._other is None:
            return [found]
        what, which = self._other
        beside: Asked = {
            "method": lambda: (0, index, (which, {}), self._target),
            "answer": lambda: (0, index, self._method, (which, None)),
            "model": lambda: (which, index, self._method, self._target),
            "example": lambda: (0, min(which, len(self.examples) - 1), self._method, (None, None)),
        }[what]()
        return [found, beside]

    def _key(self, one: Asked) -> str:
        model, index, method, target = one
        return repr((model, index, method[0], sorted(method[1].items(), key=str), target))

    def _compute(self, wanted: list[Asked], cancelled: Any) -> None:
        index = wanted[0][1]
        self._set_entry(index, state="running", message="")

        def progress(done: int, total: int) -> None:
            if cancelled():
                raise Cancelled
            self.progress = {"index": index, "done": done, "total": total}

        for count, one in enumerate(wanted):
            try:
                self._keep(one, progress)
            except Cancelled:
                self._set_entry(index, state="cancelled")
                return
            except Exception as error:  # a model's own failure too is shown in its place, and the rest go on
                said = str(error) if isinstance(error, VQAExplainError) else f"{type(error).__name__}: {error}"
                if count == 0:
                    self._set_entry(index, state="error", message=said)
                    return
                self.problem = f"the comparison could not be made: {said}"
                wanted = wanted[:1]
        self._present(wanted)

    def _keep(self, one: Asked, progress: Any) -> None:
        key, (model, index, method, target) = self._key(one), one
        if key not in self._kept:
            self._kept[key] = explain(
                self._models[model],
                self.examples[index],
                method=method[0],
                target=target[0],
                contrast=target[1],
                seed=self._seed,
                progress=progress,
                **method[1],
            )

    def _present(self, wanted: list[Asked]) -> None:
        """Puts what is kept where the views look."""
        found = [self._kept[self._key(one)] for one in wanted]
        sent = [payload(why, raw, self.examples[one[1]]) for why, one in zip(found, wanted, strict=True)]
        index, best = wanted[0][1], found[0].answers[0].text
        answer = self.examples[index].answer
        self._set_entry(
            index, state="done", answer=best, correct=None if answer is None else best == answer, message=""
        )
        if index == self.selected:
            self.explanation = found[0]
            with self.hold_sync():
                self.compared = sent[1] if len(sent) > 1 else {}
                self.shown = sent[0]

    def _what_if(self, message: dict[str, Any]) -> None:
        explanation, example, serial = self.explanation, self.examples[self.selected], message["serial"]
        words, regions = list(map(int, message["words"])), list(map(int, message["regions"]))
        self._answer(serial, lambda: changed(self.model, example, explanation, words, regions))

    def _ask(self, message: dict[str, Any]) -> None:
        example = self.examples[self.selected]
        self._answer(message["serial"], lambda: asked(self.model, example, message["question"]))

    def _answer(self, serial: int, call: Any) -> None:
        def work(_: Any) -> None:
            try:
                self.whatif = {"serial": serial, **call()}
            except Exception as error:  # shown beside the picture
                self.whatif = {"serial": serial, "error": str(error)}

        self._worker.put("what if", work, first=True)  # the latest takes the place of one that waits

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to compute, at most `timeout` seconds; says whether that is so."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Ends the work and takes the views away."""
        if hasattr(self, "_worker"):  # a viewer that was refused is closed before it has one
            self._worker.clear()
        super().close()

    def to_html(self, path: str | Path) -> Path:
        """Writes the explanations that are kept as one page that needs no network or kernel.

        Raises:
            InvalidInput: there are none yet, or the file cannot be written.
        """
        kept: Sequence[Explanation] = list(self._kept.values())
        if not kept:
            raise InvalidInput("nothing is explained yet; wait for the viewer, or call viewer.wait()")
        return write_atomically(Path(path), page(kept).encode())

    def __repr__(self) -> str:
        states = [entry["state"] for entry in self.entries]
        done = states.count("done")
        return f"Viewer of {self.model.name!r}: {len(states)} examples, {done} explained by {self._method[0]}"


def shown_alone(explanation: Explanation) -> _View:
    """A viewer of one explanation, without a model behind it."""
    entry = {"title": explanation.question or "Image classification", "state": "done", "answer": explanation.target}
    return _View(live=False, entries=[entry], shown=payload(explanation, raw))
