"""`Viewer`: explanations of a data set in a notebook, computed while one looks."""

import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import anywidget
import traitlets

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.explaining import DEFAULT_METHOD, DEFAULT_PARAMETERS, explain
from vqa_explain.explanation import Explanation
from vqa_explain.files import write_atomically
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

# By label number, or by text where the model's answers are any texts.
AskedAnswer = int | str | None


@dataclass(frozen=True, eq=False)
class _Wanted:
    """An explanation that is to be seen.

    It holds the example itself: after another Fetch, the number alone would mean another one.
    """

    fetch: int  # the number of the Fetch that brought the example
    index: int  # the example's place in the list
    example: Example
    model: int
    method: tuple[str, dict[str, Any]]
    target: tuple[AskedAnswer, AskedAnswer]

    @property
    def key(self) -> str:
        """The same for the same explanation."""
        name, parameters = self.method
        return repr(
            (
                self.fetch,
                self.index,
                self.model,
                name,
                sorted(parameters.items(), key=str),
                self.target,
            )
        )


@dataclass(frozen=True, eq=False)
class _Kept:
    """An explanation with all that a question about it needs: its example, its model, its place in the list."""

    wanted: _Wanted
    model: Model
    explanation: Explanation


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

    Work is done by one thread in the background: results come one by one, can be cancelled, and are kept, so that
    going back is instant.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples, as any iterable; it is read no further than needed.
        method: the method at first; by default the one of `explain`.
        count: how many examples to fetch.
        seed: for methods that draw.
        regions, words: how picture and question are divided, as `explain` takes them.
        others: further models that may be compared with the first, side by side.
        **parameters: the method's own.

    Attributes:
        selected: the number of the example that is shown; set it to show another.
        explanation: the `Explanation` that is shown, or `None`. While one is computed for another example, it is still
            the one on the screen; what-ifs are answered for that one.
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
        others: Sequence[Model] = (),
        **parameters: Any,
    ) -> None:
        if not isinstance(dataset, Iterable) or isinstance(dataset, str | bytes | dict):
            raise InvalidInput(
                f"a data set is a sequence of Examples, not {type(dataset).__name__}"
            )
        if method is None:
            method, parameters = DEFAULT_METHOD, {**DEFAULT_PARAMETERS, **parameters}
        check_support(create(method, parameters), model)
        super().__init__()
        self.model, self._dataset, self._seed = model, dataset, seed
        self._models = (model, *others)
        self.examples: list[Example] = []
        self._method: tuple[str, dict[str, Any]] = (method, parameters)
        self._divided = {"regions": regions, "words": words}
        self._target: tuple[AskedAnswer, AskedAnswer] = (None, None)
        self._other: tuple[str, Any] | None = None
        self._kept: dict[str, _Kept] = {}
        self._fetches = 0
        # Held while the list, what is kept and what is shown change together: two threads change them.
        self._changing = threading.RLock()
        self._worker = Worker()
        self._show_options("all", count)
        self.on_msg(self._on_message)
        self.observe(lambda _: self._choose(), "selected")
        self._fetch("all", count)

    def _show_options(self, filter_: str, count: int) -> None:
        able = [
            m for m in describe_methods(None) if METHODS[m["name"]].needs <= self.model.capabilities
        ]
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
            "target": lambda m: self._set_target(m["target"], m["contrast"], m.get("explanation")),
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

    def _set_target(
        self, target: AskedAnswer, contrast: AskedAnswer, about: str | None = None
    ) -> None:
        """Explains an answer that was clicked in the explanation of that id, by default the one on the screen."""
        kept = self._about(about)
        if kept.wanted.index != self.selected:
            raise InvalidInput(
                f"that answer is of example {kept.wanted.index + 1}, and example {self.selected + 1} is being "
                "explained; choose its answer when it is shown"
            )
        self._target = (self._answer_of(kept, target), self._answer_of(kept, contrast))
        self._explain(self.selected)

    def _about(self, key: str | None) -> _Kept:
        """The kept explanation of that id; without one, the one on the screen.

        Raises:
            InvalidInput: nothing is shown yet, or it is no longer kept.
        """
        with self._changing:
            found = self._kept.get(str(self.shown.get("id", "") if key is None else key))
        if found is None:
            raise InvalidInput(
                "that explanation is no longer kept; wait until the new one is shown, and ask again"
            )
        return found

    def _answer_of(self, kept: _Kept, answer: AskedAnswer) -> AskedAnswer:
        """A label number as `explain` takes it: itself, or its text where the model has no labels of its own."""
        if not isinstance(answer, int) or kept.model.labels is not None:
            return answer
        for one in kept.explanation.answers:
            if one.index == answer:
                return one.text
        raise InvalidInput(
            f"the explanation has no answer number {answer}; choose one that is shown"
        )

    def _compare(self, what: str | None, which: Any) -> None:
        """Sets beside what is shown: another "method", "answer", "model" (from 1) or "example" (from 0)."""
        if what == "model":
            check_support(create(*self._method), self._models[which])
        if what == "answer":
            which = self._answer_of(self._about(None), which)
        self._other = None if what is None else (what, which)
        if self._other is None:
            self.compared = {}
        else:
            self._explain(self.selected)

    def _fetch(self, filter_: str, count: int) -> None:
        """Reads examples until `count` pass the filter, then explains them one by one."""
        self._worker.clear()
        with self._changing:
            self._fetches += 1
            fetch = self._fetches
            self._kept.clear()
            self._target = (None, None)
            self.examples, self.entries, self.shown, self.compared, self.explanation = (
                [],
                [],
                {},
                {},
                None,
            )
            self._show_options(filter_, count)
            if self.selected:
                self.selected = 0
        if filter_ == "all":
            for example in islice(iter(self._dataset), count):
                self._add(fetch, example)
            self._explain_all()
        else:
            self._worker.put(
                "fetch", lambda cancelled: self._filter(fetch, filter_, count, cancelled)
            )

    def _filter(self, fetch: int, filter_: str, count: int, cancelled: Callable[[], bool]) -> None:
        for example in islice(iter(self._dataset), LOOKED_AT):
            if cancelled() or fetch != self._fetches:
                return
            if len(self.examples) == count:
                break
            found = answers(self.model, self.model.encode(example))[0].text
            outcome = (
                None
                if example.answer is None
                else "correct"
                if found == example.answer
                else "incorrect"
            )
            if filter_ in (outcome, f"answer: {found}"):
                self._add(fetch, example)
        with self._changing:
            if fetch != self._fetches:
                return
            if not self.examples:
                self.problem = (
                    f"none of the first {LOOKED_AT:,} examples is {filter_}; choose another filter"
                )
            self._explain_all()

    def _add(self, fetch: int, example: Example) -> None:
        with self._changing:
            if fetch != self._fetches:
                return
            self.examples.append(example)
            title = example.question or example.id or f"example {len(self.examples)}"
            self.entries = [
                *self.entries,
                {"title": title[:300], "state": "waiting", "answer": "", "correct": None},
            ]

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

    def _set_entry(self, fetch: int, index: int, **changes: Any) -> None:
        with self._changing:
            entries = list(self.entries)
            if fetch == self._fetches and index < len(entries):
                entries[index] = {**entries[index], **changes}
                self.entries = entries

    def _explain(self, index: int) -> None:
        """Shows an example's explanation, at once where it is kept."""
        with self._changing:
            wanted = self._wanted(index)
            if all(one.key in self._kept for one in wanted):
                self._present(wanted)
                return
            self._set_entry(wanted[0].fetch, index, state="waiting")
            self._worker.put(
                f"explain {index}",
                lambda cancelled: self._compute(wanted, cancelled),
                first=index == self.selected,
            )

    def _wanted(self, index: int) -> list[_Wanted]:
        """What is to be seen of an example: its explanation and, for the one shown, what it is compared with."""

        def of(
            index: int,
            method: tuple[str, dict[str, Any]],
            target: tuple[AskedAnswer, AskedAnswer],
            model: int = 0,
        ) -> _Wanted:
            return _Wanted(self._fetches, index, self.examples[index], model, method, target)

        if index != self.selected:
            return [of(index, self._method, (None, None))]
        found = of(index, self._method, self._target)
        if self._other is None:
            return [found]
        what, which = self._other
        beside: _Wanted = {
            "method": lambda: of(index, (which, {}), self._target),
            "answer": lambda: of(index, self._method, (which, None)),
            "model": lambda: of(index, self._method, self._target_text(), which),
            "example": lambda: of(min(which, len(self.examples) - 1), self._method, (None, None)),
        }[what]()
        return [found, beside]

    def _target_text(self) -> tuple[AskedAnswer, AskedAnswer]:
        """Target and contrast as texts, since another model numbers its labels in its own way."""

        def text(answer: AskedAnswer) -> AskedAnswer:
            labels = self.model.labels
            return labels[answer] if isinstance(answer, int) and labels is not None else answer

        target, contrast = self._target
        return text(target), text(contrast)

    def _compute(self, wanted: list[_Wanted], cancelled: Callable[[], bool]) -> None:
        fetch, index = wanted[0].fetch, wanted[0].index
        self._set_entry(fetch, index, state="running", message="")

        def progress(done: int, total: int) -> None:
            if cancelled() or fetch != self._fetches:
                raise Cancelled
            self.progress = {"index": index, "done": done, "total": total}

        for count, one in enumerate(wanted):
            try:
                self._keep(one, progress)
                if cancelled():  # methods that tell no progress end all the same
                    raise Cancelled
            except Cancelled:
                self._set_entry(fetch, index, state="cancelled")
                return
            except (
                Exception
            ) as error:  # a model's own failure too is shown in its place, and the rest go on
                said = (
                    str(error)
                    if isinstance(error, VQAExplainError)
                    else f"{type(error).__name__}: {error}"
                )
                if count == 0:
                    self._set_entry(fetch, index, state="error", message=said)
                    return
                self.problem = f"the comparison could not be made: {said}"
                wanted = wanted[:1]
        self._present(wanted)

    def _keep(self, one: _Wanted, progress: Any) -> None:
        """Explains what is wanted, unless it is kept. What another Fetch has made old is not kept."""
        if one.key in self._kept:
            return
        model = self._models[one.model]
        name, parameters = one.method
        target, contrast = one.target
        explanation = explain(
            model,
            one.example,
            method=name,
            target=target,
            contrast=contrast,
            seed=self._seed,
            progress=progress,
            **self._divided,
            **parameters,
        )
        with self._changing:
            if one.fetch == self._fetches:
                self._kept[one.key] = _Kept(one, model, explanation)

    def _present(self, wanted: list[_Wanted]) -> None:
        """Puts what is kept where the views look."""
        with self._changing:
            kept = [self._kept[one.key] for one in wanted if one.key in self._kept]
            if len(kept) != len(wanted):  # another Fetch came in between
                return
            sent = [
                {**payload(one.explanation, raw, one.wanted.example), "id": one.wanted.key}
                for one in kept
            ]
            index, best = wanted[0].index, kept[0].explanation.answers[0].text
            answer = wanted[0].example.answer
            correct = None if answer is None else best == answer
            self._set_entry(
                wanted[0].fetch, index, state="done", answer=best, correct=correct, message=""
            )
            if index == self.selected:
                self.explanation = kept[0].explanation
                with self.hold_sync():
                    self.compared = sent[1] if len(sent) > 1 else {}
                    self.shown = sent[0]

    def _what_if(self, message: dict[str, Any]) -> None:
        """Asked about the explanation that the person saw, whatever is being computed."""
        kept = self._about(message.get("explanation"))
        words, regions = list(map(int, message["words"])), list(map(int, message["regions"]))

        def call() -> dict[str, Any]:
            return changed(
                kept.model,
                kept.wanted.example,
                kept.explanation,
                words,
                regions,
                self._divided["regions"],
            )

        self._answer(message["serial"], call)

    def _ask(self, message: dict[str, Any]) -> None:
        kept = self._about(message.get("explanation"))
        self._answer(
            message["serial"], lambda: asked(kept.model, kept.wanted.example, message["question"])
        )

    def _answer(self, serial: Any, call: Callable[[], dict[str, Any]]) -> None:
        def work(_: Any) -> None:
            try:
                self.whatif = {"serial": serial, **call()}
            except Exception as error:  # shown beside the picture
                self.whatif = {"serial": serial, "error": str(error)}

        # The latest takes the place of one that waits.
        self._worker.put("what if", work, first=True)

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
        with self._changing:
            kept: Sequence[Explanation] = [one.explanation for one in self._kept.values()]
        if not kept:
            raise InvalidInput(
                "nothing is explained yet; wait for the viewer, or call viewer.wait()"
            )
        return write_atomically(Path(path), page(kept).encode())

    def __repr__(self) -> str:
        states = [entry["state"] for entry in self.entries]
        done = states.count("done")
        return f"Viewer of {self.model.name!r}: {len(states)} examples, {done} explained by {self._method[0]}"


def shown_alone(explanation: Explanation) -> _View:
    """A viewer of one explanation, without a model behind it."""
    entry = {
        "title": explanation.question or "Image classification",
        "state": "done",
        "answer": explanation.target,
    }
    return _View(live=False, entries=[entry], shown=payload(explanation, raw))
