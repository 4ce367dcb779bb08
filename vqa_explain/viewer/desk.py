"""The viewer's state machine: what is listed, explained, compared and asked, without any view.

A `Desk` knows no widget, no browser and no traits. It tells a `Listener` what has changed.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, NamedTuple, Protocol, get_args

from vqa_explain.errors import InvalidInput, VQAExplainError, unknown
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import PicturePart, TablePart
from vqa_explain.games.progress import Progress
from vqa_explain.methods import create
from vqa_explain.methods.base import check_support
from vqa_explain.models.base import Model, answers
from vqa_explain.viewer.jobs import Cancelled, Worker
from vqa_explain.viewer.whatif import asked, changed

EVERY_EXAMPLE = "all"  # the filter that every example passes
SEARCH_LIMIT = 5000  # examples that a filter looks at before it gives up
LONGEST_TITLE = 300  # characters

# By label number, or by text where the model's answers are any texts.
AskedAnswer = int | str | None
IsCancelled = Callable[[], bool]
State = Literal["waiting", "running", "done", "error", "cancelled"]
ComparedBy = Literal["method", "answer", "model", "example"]


class AskedTarget(NamedTuple):
    """The answer that is explained, and the one that it is compared with; `None`: the default."""

    answer: AskedAnswer = None
    contrast: AskedAnswer = None


@dataclass(frozen=True)
class MethodChoice:
    """A method's name and the parameters that differ from its defaults."""

    name: str
    parameters: dict[str, Any]

    def check(self, model: Model) -> None:
        """Raises an `InvalidInput` where the method does not exist or the model lacks its needs."""
        check_support(create(self.name, self.parameters), model)


@dataclass(frozen=True)
class Comparison:
    """What is set beside the explanation on the screen.

    `which` is a method's name, an answer, a model's number (from 1) or an example's (from 0).
    """

    by: ComparedBy
    which: Any


@dataclass(frozen=True)
class Options:
    """What was chosen for all examples."""

    method: MethodChoice
    filter: str
    count: int


@dataclass(frozen=True)
class Entry:
    """An example's line in the list."""

    title: str
    state: State = "waiting"
    answer: str = ""
    correct: bool | None = None  # `None` where the example has no label, or is not explained yet
    message: str = ""  # what went wrong


@dataclass(frozen=True, eq=False)
class Request:
    """One explanation that is asked for.

    It holds the example itself: after another fetch, the number alone would mean another one.
    """

    fetch: int  # the number of the fetch that brought the example
    index: int  # the example's place in the list
    example: Example
    model: int  # 0 is the viewer's own, then the others
    method: MethodChoice
    target: AskedTarget

    @property
    def key(self) -> str:
        """The same for the same explanation."""
        parameters = sorted(self.method.parameters.items(), key=str)
        target = tuple(self.target)
        parts = (self.fetch, self.index, self.model, self.method.name, parameters, target)
        return repr(parts)


@dataclass(frozen=True, eq=False)
class KeptExplanation:
    """An explanation with what a later question about it needs: its request and its model."""

    request: Request
    model: Model
    explanation: Explanation


@dataclass(frozen=True, eq=False)
class ScreenRequest:
    """What an example's screen is to show: its explanation, and one beside it where asked for."""

    main: Request
    beside: Request | None = None

    @property
    def requests(self) -> list[Request]:
        return [self.main] if self.beside is None else [self.main, self.beside]


class Listener(Protocol):
    """What a view is told.

    Calls come from the thread that asked the desk and from its worker. Calls that change the
    list or the screen come one at a time, in the order of the changes.
    """

    def options_changed(self, options: Options) -> None: ...

    def entries_changed(self, entries: Sequence[Entry]) -> None: ...

    def selection_changed(self, index: int) -> None:
        """The desk itself selected another example."""

    def screen_cleared(self) -> None:
        """Nothing is shown any more."""

    def explanation_shown(self, shown: KeptExplanation, beside: KeptExplanation | None) -> None: ...

    def comparison_ended(self) -> None:
        """Nothing is shown beside the explanation any more."""

    def progressed(self, index: int, done: int, total: int) -> None:
        """`done` of `total` evaluations of the model are made for the example at `index`."""

    def problem_found(self, problem: str) -> None:
        """One sentence for the person who looks."""

    def what_if_answered(self, serial: Any, answer: dict[str, Any]) -> None:
        """`answer` has "error" where there is none; `serial` is the question's."""


class Desk:
    """Explains the examples of a data set one after another, in a thread of its own.

    Explanations are kept, so that going back is instant. Any thread may call any method.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples, as any iterable; it is read no further than needed.
        listener: who is told what has changed. It is told nothing before the first call.
        method: the method at first.
        seed: for methods that draw random numbers.
        regions, words, columns: how inputs are divided, as `explain` takes them.
        players: the inputs whose parts are players, as `explain` takes them.
        others: further models that can be compared with the first.

    Raises:
        InvalidInput: the data set is no iterable of examples, or the method does not fit.
    """

    def __init__(
        self,
        model: Model,
        dataset: Iterable[Example],
        listener: Listener,
        *,
        method: MethodChoice,
        seed: int = 0,
        regions: Any = None,
        words: Any = None,
        columns: Any = None,
        players: str | Sequence[str] | None = None,
        others: Sequence[Model] = (),
    ) -> None:
        if not isinstance(dataset, Iterable) or isinstance(dataset, str | bytes | dict):
            raise InvalidInput(
                f"a data set is a sequence of Examples, not {type(dataset).__name__}"
            )
        method.check(model)
        self.models = (model, *others)
        self.dataset = dataset
        self.examples: list[Example] = []
        self.options = Options(method, EVERY_EXAMPLE, 0)
        self._listener = listener
        self._seed = seed
        self._division = {
            "regions": regions,
            "words": words,
            "columns": columns,
            "players": players,
        }
        self._entries: list[Entry] = []
        self._selected = 0
        self._target = AskedTarget()
        self._comparison: Comparison | None = None
        self._kept: dict[str, KeptExplanation] = {}
        self._shown_key = ""
        self._fetch_number = 0
        # The caller's thread and the worker change the list, what is kept and what is shown.
        # These belong together, so they change under one lock, and the listener is told under it
        # too: otherwise an older state could reach the view after a newer one. A listener may
        # call the desk back (a widget that is told of a selection selects), hence an RLock.
        self._lock = threading.RLock()
        self._worker = Worker()

    @property
    def model(self) -> Model:
        return self.models[0]

    # What a person does.

    def fetch(self, filter_: str, count: int) -> None:
        """Reads examples until `count` of them pass the filter, and explains them one by one.

        Args:
            filter_: "all", "correct", "incorrect", or "answer: " with what the model answers.
        """
        fetch = self._clear_for_fetch(filter_, count)
        if filter_ != EVERY_EXAMPLE:
            # The model has to answer each example first: too slow for the caller's thread.
            self._worker.put(
                "fetch", lambda is_cancelled: self._search(fetch, filter_, count, is_cancelled)
            )
            return
        for example in islice(iter(self.dataset), count):
            self._add_example(fetch, example)
        self._explain_all()

    def choose(self, index: int) -> None:
        """Selects an example, with the default answer as its target."""
        with self._lock:
            self._selected = index
            self._target = AskedTarget()
            self._explain_selected()

    def set_method(self, name: str, parameters: dict[str, Any]) -> None:
        """Explains all examples by another method; a parameter that is `None` has its default.

        Raises:
            InvalidInput: the method or a parameter does not exist, or the model lacks its needs.
        """
        given = {key: value for key, value in parameters.items() if value is not None}
        method = MethodChoice(name, given)
        method.check(self.model)
        with self._lock:
            self._set_options(replace(self.options, method=method))
            self._explain_all()

    def set_target(
        self, answer: AskedAnswer, contrast: AskedAnswer, about: str | None = None
    ) -> None:
        """Explains an answer of an explanation.

        Args:
            answer, contrast: label numbers or texts, as that explanation lists them.
            about: the explanation's key; by default, the one on the screen.

        Raises:
            InvalidInput: that explanation is not kept, is of another example, or lacks the answer.
        """
        with self._lock:
            kept = self._find_kept(about)
            if kept.request.index != self._selected:
                raise InvalidInput(
                    f"that answer is of example {kept.request.index + 1}, and example "
                    f"{self._selected + 1} is being explained; choose its answer when it is shown"
                )
            self._target = AskedTarget(_answer_of(kept, answer), _answer_of(kept, contrast))
            self._explain_selected()

    def compare(self, by: ComparedBy | None, which: Any) -> None:
        """Sets something beside the explanation on the screen (see `Comparison`); `None` ends it.

        Raises:
            InvalidInput: there is no such comparison, the other model cannot be explained by the
                method, or the explanation lacks the answer.
        """
        if by is not None and by not in get_args(ComparedBy):
            raise unknown("comparison", by, get_args(ComparedBy))
        with self._lock:
            if by == "model":
                self.options.method.check(self.models[which])
            if by == "answer":
                which = _answer_of(self._find_kept(None), which)
            self._comparison = None if by is None else Comparison(by, which)
            if self._comparison is None:
                self._listener.comparison_ended()
            else:
                self._explain_selected()

    def cancel(self, index: int) -> None:
        """Stops the work for an example."""
        with self._lock:
            if self._worker.cancel(_job_name(index)):
                # It had not begun, so that no job is left that would say so.
                self._change_entry(self._fetch_number, index, state="cancelled")

    def ask_without(
        self, serial: Any, away: Mapping[str, Sequence[int]], about: str | None = None
    ) -> None:
        """Asks what the model answers without some players of an explanation.

        Args:
            serial: comes back with the answer.
            away: input name → the numbers of its players that are taken away.
            about: the explanation's key; by default, the one on the screen.

        Raises:
            InvalidInput: that explanation is not kept.
        """
        # Found now, not when the worker comes to it: the question is about what the person saw.
        kept = self._find_kept(about)
        example, explanation = kept.request.example, kept.explanation
        divided = self._divided()
        self._answer_soon(serial, lambda: changed(kept.model, example, explanation, away, divided))

    def _divided(self) -> dict[str, Any]:
        """Input name or kind → how it is divided, where the explanation does not say it itself,
        as texts do.
        """
        found: dict[str, Any] = {}
        kinds = (
            (PicturePart.kind, self._division["regions"]),
            (TablePart.kind, self._division["columns"]),
        )
        for kind, asked_for in kinds:
            own = asked_for if isinstance(asked_for, Mapping) else {kind: asked_for}
            found |= own
        return found

    def ask_question(self, serial: Any, question: str, about: str | None = None) -> None:
        """Asks another question about an explanation's example.

        Raises:
            InvalidInput: that explanation is not kept.
        """
        kept = self._find_kept(about)
        self._answer_soon(serial, lambda: asked(kept.model, kept.request.example, question))

    # What a view asks.

    def explanations(self) -> list[Explanation]:
        """Those that are kept."""
        with self._lock:
            return [kept.explanation for kept in self._kept.values()]

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until nothing is left to compute, at most `timeout` seconds; whether that is so."""
        return self._worker.wait(timeout)

    def close(self) -> None:
        """Cancels all work."""
        self._worker.clear()

    # The list.

    def _clear_for_fetch(self, filter_: str, count: int) -> int:
        """Empties the list and the screen; the new fetch's number."""
        with self._lock:
            # Under the lock, so that no job of the old list can be put in between.
            self._worker.clear()
            self._fetch_number += 1
            self._kept.clear()
            self._target = AskedTarget()
            self.examples = []
            self._shown_key = ""
            self._set_entries([])
            self._listener.screen_cleared()
            self._set_options(replace(self.options, filter=filter_, count=count))
            if self._selected:
                self._selected = 0
                self._listener.selection_changed(0)
            return self._fetch_number

    def _search(self, fetch: int, filter_: str, count: int, is_cancelled: IsCancelled) -> None:
        """Lists the examples that pass the filter, then explains them."""
        failures: list[str] = []
        unreadable = ""
        matching = self._matching(filter_, failures, self._is_over(fetch, is_cancelled))
        try:
            for example in islice(matching, count):
                self._add_example(fetch, example)
        except Exception as error:  # the data set is the user's code: any error can come
            unreadable = _reason(error)
        with self._lock:
            if fetch != self._fetch_number:
                return
            problem = _search_problem(filter_, bool(self.examples), failures, unreadable)
            if problem:
                self._listener.problem_found(problem)
            self._explain_all()

    def _matching(
        self, filter_: str, failures: list[str], is_over: IsCancelled
    ) -> Iterator[Example]:
        """The examples that pass the filter; those that the model fails for go to `failures`."""
        for example in islice(iter(self.dataset), SEARCH_LIMIT):
            if is_over():
                raise Cancelled
            try:
                answer = answers(self.model, self.model.encode(example))[0].text
            except Exception as error:  # one broken example must not end the search
                failures.append(_reason(error))
                continue
            if filter_ in (_outcome(example, answer), f"answer: {answer}"):
                yield example

    def _add_example(self, fetch: int, example: Example) -> None:
        with self._lock:
            if fetch != self._fetch_number:
                return
            self.examples.append(example)
            title = example.asked or example.id or f"example {len(self.examples)}"
            self._set_entries([*self._entries, Entry(title[:LONGEST_TITLE])])

    def _set_entries(self, entries: list[Entry]) -> None:
        self._entries = entries
        self._listener.entries_changed(entries)

    def _change_entry(self, fetch: int, index: int, **changes: Any) -> None:
        """Changes a line of the list, unless another fetch has replaced the list."""
        with self._lock:
            if fetch != self._fetch_number or index >= len(self._entries):
                return
            entries = list(self._entries)
            entries[index] = replace(entries[index], **changes)
            self._set_entries(entries)

    def _set_options(self, options: Options) -> None:
        self.options = options
        self._listener.options_changed(options)

    # What is to be explained.

    def _explain_all(self) -> None:
        """Explains every listed example, the selected one first."""
        with self._lock:
            self._explain_selected()
            for index in range(len(self.examples)):
                if index != self._selected:
                    self._explain(index)

    def _explain_selected(self) -> None:
        if self._selected < len(self.examples):
            self._explain(self._selected)

    def _explain(self, index: int) -> None:
        """Shows an example's explanation: at once where it is kept, otherwise when computed."""
        # One lock from the look at what is kept until the job is put: a fetch in between would
        # clear both, and the job would be of an example that is no longer listed.
        with self._lock:
            screen = self._screen_request(index)
            if all(request.key in self._kept for request in screen.requests):
                self._present(screen)
                return
            self._change_entry(screen.main.fetch, index, state="waiting")
            self._worker.put(
                _job_name(index),
                lambda is_cancelled: self._compute(screen, is_cancelled),
                first=index == self._selected,
            )

    def _screen_request(self, index: int) -> ScreenRequest:
        """Only the selected example has a chosen target and something beside it."""
        if index != self._selected:
            return ScreenRequest(self._request(index))
        main = self._request(index, target=self._target)
        return ScreenRequest(main, self._request_beside(index))

    def _request_beside(self, index: int) -> Request | None:
        if self._comparison is None:
            return None
        which = self._comparison.which
        match self._comparison.by:
            case "method":
                return self._request(index, method=MethodChoice(which, {}), target=self._target)
            case "answer":
                return self._request(index, target=AskedTarget(which))
            case "model":
                return self._request(index, target=self._target_as_texts(), model=which)
            case "example":
                # The list may have become shorter since the example was chosen.
                return self._request(min(which, len(self.examples) - 1))

    def _request(
        self,
        index: int,
        *,
        method: MethodChoice | None = None,
        target: AskedTarget | None = None,
        model: int = 0,
    ) -> Request:
        """A request with the chosen method and the default target, unless given."""
        return Request(
            fetch=self._fetch_number,
            index=index,
            example=self.examples[index],
            model=model,
            method=method or self.options.method,
            target=target or AskedTarget(),
        )

    def _target_as_texts(self) -> AskedTarget:
        """Target and contrast as texts, since another model numbers its labels in its own way."""
        labels = self.model.labels
        if labels is None:
            return self._target
        named = [labels[one] if isinstance(one, int) else one for one in self._target]
        return AskedTarget(*named)

    # The worker's thread.

    def _compute(self, screen: ScreenRequest, is_cancelled: IsCancelled) -> None:
        """Explains what the screen lacks, and shows it."""
        fetch, index = screen.main.fetch, screen.main.index
        self._change_entry(fetch, index, state="running", message="")
        try:
            failure = self._keep(screen.main, index, is_cancelled)
            if failure:
                self._change_entry(fetch, index, state="error", message=failure)
                return
            if screen.beside is not None:
                failure = self._keep(screen.beside, index, is_cancelled)
        except Cancelled:
            self._change_entry(fetch, index, state="cancelled")
            return
        if failure:
            self._tell_problem(fetch, f"the comparison could not be made: {failure}")
            screen = ScreenRequest(screen.main)
        self._present(screen)

    def _keep(self, request: Request, index: int, is_cancelled: IsCancelled) -> str | None:
        """Explains and keeps what is asked for, unless it is kept; why it failed, if it did.

        Args:
            index: the example whose progress is told; that of the screen, also for what stands
                beside it.

        Raises:
            Cancelled: nobody waits for it any more.
        """
        if request.key in self._kept:
            return None
        is_over = self._is_over(request.fetch, is_cancelled)

        def progress(done: int, total: int) -> None:
            if is_over():
                raise Cancelled
            self._listener.progressed(index, done, total)

        try:
            explanation = self._explanation_of(request, progress)
        except Exception as error:  # the model is the user's code; the other examples go on
            return _reason(error)
        with self._lock:
            # Of another fetch: the list that it belongs to is gone.
            if request.fetch == self._fetch_number:
                kept = KeptExplanation(request, self.models[request.model], explanation)
                self._kept[request.key] = kept
        if is_cancelled():  # a method that tells no progress ends only here
            raise Cancelled
        return None

    def _explanation_of(self, request: Request, progress: Progress) -> Explanation:
        return explain(
            self.models[request.model],
            request.example,
            method=request.method.name,
            target=request.target.answer,
            contrast=request.target.contrast,
            seed=self._seed,
            progress=progress,
            **self._division,
            **request.method.parameters,
        )

    def _present(self, screen: ScreenRequest) -> None:
        """Tells of an explanation, and shows it where its example is the selected one."""
        with self._lock:
            kept = [self._kept.get(request.key) for request in screen.requests]
            main, beside = kept[0], kept[-1] if screen.beside else None
            if main is None or (screen.beside and beside is None):
                return  # another fetch came in between
            request, best = screen.main, main.explanation.answers[0].text
            expected = request.example.answer
            correct = None if expected is None else best == expected
            self._change_entry(
                request.fetch, request.index, state="done", answer=best, correct=correct, message=""
            )
            if request.index == self._selected:
                self._shown_key = request.key
                self._listener.explanation_shown(main, beside)

    def _answer_soon(self, serial: Any, call: Callable[[], dict[str, Any]]) -> None:
        """Lets the worker answer a question next, in place of one that still waits."""

        def work(_: IsCancelled) -> None:
            try:
                answer = call()
            except Exception as error:  # the view shows it in the answer's place
                answer = {"error": str(error)}
            self._listener.what_if_answered(serial, answer)

        self._worker.put("what if", work, first=True)

    def _find_kept(self, key: str | None) -> KeptExplanation:
        """The kept explanation of that key; without one, the one on the screen.

        Raises:
            InvalidInput: nothing is shown yet, or it is no longer kept.
        """
        with self._lock:
            kept = self._kept.get(self._shown_key if key is None else key)
        if kept is None:
            raise InvalidInput(
                "that explanation is no longer kept; wait until the new one is shown, and ask again"
            )
        return kept

    def _is_over(self, fetch: int, is_cancelled: IsCancelled) -> IsCancelled:
        """Whether a job's result would be of no use. It needs no lock: one number is read."""
        return lambda: is_cancelled() or fetch != self._fetch_number

    def _tell_problem(self, fetch: int, problem: str) -> None:
        """Tells of a problem, unless another fetch has made it old."""
        with self._lock:
            if fetch == self._fetch_number:
                self._listener.problem_found(problem)


def _job_name(index: int) -> str:
    """One name for each example: a new job for it takes the place of the old one."""
    return f"explain {index}"


def _answer_of(kept: KeptExplanation, answer: AskedAnswer) -> AskedAnswer:
    """A label number as `explain` takes it: its text where the model has no labels of its own.

    Raises:
        InvalidInput: the explanation has no answer of that number.
    """
    if not isinstance(answer, int) or kept.model.labels is not None:
        return answer
    for one in kept.explanation.answers:
        if one.index == answer:
            return one.text
    raise InvalidInput(f"the explanation has no answer number {answer}; choose one that is shown")


def _outcome(example: Example, answer: str) -> str | None:
    """The filter that the answer passes: correct or incorrect; `None` without a label."""
    if example.answer is None:
        return None
    return "correct" if answer == example.answer else "incorrect"


def _reason(error: Exception) -> str:
    """An error as one sentence; the type's name tells an error that is not ours."""
    if isinstance(error, VQAExplainError):
        return str(error)
    return f"{type(error).__name__}: {error}"


def _search_problem(filter_: str, has_found: bool, failures: list[str], unreadable: str) -> str:
    """What a person must know of a search, or ""."""
    sentences = []
    if not has_found:
        sentences.append(
            f"none of the first {SEARCH_LIMIT:,} examples is {filter_}; choose another filter"
        )
    if failures:
        count = f"{len(failures):,}"
        sentences.append(f"examples that failed and are left out: {count}; first: {failures[0]}")
    if unreadable:
        sentences.append(f"the data set cannot be read to its end: {unreadable}")
    return "; ".join(sentences)
