"""The viewer's state machine: what is listed, explained, compared and asked, without any view.

A `Desk` knows no widget, no browser and no traits. It tells a `Listener` what has changed.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from vqa_explain.models.base import Asking, Model
from vqa_explain.models.sharing import asked_before_use
from vqa_explain.target import SCORES, Answer
from vqa_explain.viewer.jobs import Cancelled, Worker
from vqa_explain.viewer.line import measured_line
from vqa_explain.viewer.whatif import asked, best_answers_of, changed

EVERY_EXAMPLE = "all"  # the filter that every example passes
SEARCH_LIMIT = 5000  # examples that a filter looks at before it gives up
MOST_LISTED = 100_000  # examples; a typing error must not read a data set without an end
LONGEST_TITLE = 300  # characters
WHAT_IF = "what if"  # the name of the jobs that answer questions
PREVIEW, LINE = "preview", "line"  # the same of other short jobs

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
    probability: float | None = None  # the answer's; `None` where there is none
    correct: bool | None = None  # `None` where the example has no label, or is not explained yet
    message: str = ""  # what went wrong
    id: str = ""  # the example's own
    label: str | None = None  # the true answer, where it is known


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

    @property
    def keys(self) -> tuple[str, ...]:
        return tuple(request.key for request in self.requests)


class _Computing(NamedTuple):
    """What the worker explains: the keys of a screen's requests, and whether it is to end."""

    keys: tuple[str, ...]
    is_cancelled: IsCancelled


@dataclass(frozen=True)
class Pending:
    """What was asked for and is not on the screen yet. What is there meanwhile is older.

    Attributes:
        index: the example's place in the list.
        state: "waiting", "running", "error" or "cancelled".
        message: what went wrong.
        method, target: what was asked for.
        comparison: whether only what it is compared with is still to come.
    """

    index: int
    state: State
    message: str
    method: MethodChoice
    target: AskedTarget
    comparison: bool


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

    def explanation_shown(self, shown: KeptExplanation, beside: KeptExplanation | None) -> None:
        """All that was asked for is there, so nothing is pending any more."""

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
        score: what the points are of, as `explain` takes it.
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
        score: str | None = None,
        others: Sequence[Model] = (),
    ) -> None:
        if score is not None and score not in SCORES:
            raise unknown("score", score, SCORES)
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
        self._asked = {
            "regions": regions,
            "words": words,
            "columns": columns,
            "players": players,
            "score": score,
        }
        self._entries: list[Entry] = []
        self._selected = 0
        self._target = AskedTarget()
        self._comparison: Comparison | None = None
        self._kept: dict[str, KeptExplanation] = {}
        # By the keys of explanations. Keys name their fetch, so that none means another later.
        self._lines: dict[str, dict[str, Any] | None] = {}
        self._shown: Request | None = None
        self._pending: Pending | None = None
        self._previewed: tuple[int, int] | None = None  # the example's fetch and place
        self._computing: _Computing | None = None
        self._fetch_number = 0
        # The caller's thread and the worker change the list, what is kept and what is shown.
        # These belong together, so they change under one lock, and the listener is told under it
        # too: otherwise an older state could reach the view after a newer one. A listener may
        # call the desk back (a widget that is told of a selection selects), hence an RLock.
        self._lock = threading.RLock()
        self._worker = Worker(self._job_failed)

    @property
    def model(self) -> Model:
        return self.models[0]

    # What a person does.

    def fetch(self, filter_: str, count: int) -> None:
        """Reads examples until `count` of them pass the filter, and explains them one by one.

        Args:
            filter_: "all", "correct", "incorrect", or "answer: " with what the model answers.

        Raises:
            InvalidInput: the count is below 0 or above `MOST_LISTED`.
        """
        if not 0 <= count <= MOST_LISTED:
            raise InvalidInput(
                f"the number of examples must be from 0 to {MOST_LISTED:,}, not {count:,}"
            )
        fetch = self._clear_for_fetch(filter_, count)
        if filter_ != EVERY_EXAMPLE:
            # The model has to answer each example first: too slow for the caller's thread.
            self._worker.put(
                "fetch", lambda is_cancelled: self._search(fetch, filter_, count, is_cancelled)
            )
            return
        reading = _Reading(self.dataset)
        # As one change, so that a long list is sent once and not once for each example.
        self._add_examples(fetch, list(islice(reading, count)))
        self._explain_fetched(fetch, reading.problem())

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
                self.options.method.check(self._other_model(which))
            if by == "example" and not (_is_number(which) and which >= 0):
                raise InvalidInput(f"an example is named by its place from 0, not by {which!r}")
            if by == "answer":
                which = _answer_of(self._find_kept(None), which)
            self._comparison = None if by is None else Comparison(by, which)
            if self._comparison is None:
                self._listener.comparison_ended()
                if self._pending is not None and self._pending.comparison:
                    self._set_pending(None)
            else:
                self._explain_selected()

    def _other_model(self, which: Any) -> Model:
        if not _is_number(which) or not 1 <= which < len(self.models):
            count = len(self.models) - 1
            raise InvalidInput(f"there is no model number {which!r}; {count} can be compared")
        found: Model = self.models[which]
        return found

    def cancel(self, index: int) -> None:
        """Stops the work for an example."""
        with self._lock:
            if self._worker.cancel(_job_name(index)):
                # It had not begun, so that no job is left that would say so.
                self._change_entry(self._fetch_number, index, state="cancelled")

    def cancel_all(self) -> None:
        """Stops all work: what runs, what waits, and the reading of a filter."""
        with self._lock:
            waiting = [i for i, entry in enumerate(self._entries) if entry.state == "waiting"]
            self._worker.clear()
            # What runs says itself that it has ended.
            self._change_entries(self._fetch_number, dict.fromkeys(waiting, "cancelled"))

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
        answer = partial(changed, kept.model, example, explanation, away, divided)
        self._answer_soon(WHAT_IF, serial, answer)

    def measure_line(self, serial: Any, about: str | None = None) -> None:
        """Measures what a line in words may say of an explanation: see `measured_line`.

        The answer has "line". None is given for models that have a price for each question.

        Raises:
            InvalidInput: that explanation is not kept, or its model has a price.
        """
        kept = self._find_kept(about)
        if not self.measures_lines:
            raise InvalidInput("the line in words is not measured where each question has a price")
        example, explanation, divided = kept.request.example, kept.explanation, self._divided()

        def answer() -> dict[str, Any]:
            key = kept.request.key
            if key not in self._lines:
                self._lines[key] = measured_line(kept.model, example, explanation, divided)
            return {"line": self._lines[key]}

        self._answer_soon(LINE, serial, answer)

    def told_line(self, kept: KeptExplanation) -> dict[str, Any]:
        """{"line": …} of an explanation whose line is measured, and {} of others."""
        key = kept.request.key
        return {"line": self._lines[key]} if key in self._lines else {}

    @property
    def measures_lines(self) -> bool:
        """Whether the model may be asked a few questions more for each explanation."""
        return not any(isinstance(model, Asking) for model in self.models)

    def _divided(self) -> dict[str, Any]:
        """Input name or kind → how it is divided, where the explanation does not say it itself,
        as texts do.
        """
        found: dict[str, Any] = {}
        kinds = (
            (PicturePart.kind, self._asked["regions"]),
            (TablePart.kind, self._asked["columns"]),
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
        answer = partial(asked, kept.model, kept.request.example, question)
        self._answer_soon(WHAT_IF, serial, answer)

    # What a view asks.

    def kept(self) -> list[KeptExplanation]:
        """What is explained, with its examples, in the order of the list."""
        with self._lock:
            return sorted(self._kept.values(), key=lambda one: one.request.index)

    def explanations(self) -> list[Explanation]:
        """Those that are kept."""
        return [one.explanation for one in self.kept()]

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
            self._lines.clear()
            self._target = AskedTarget()
            self.examples = []
            self._shown = self._previewed = None
            self._entries = []
            self._listener.list_cleared()
            self._listener.screen_cleared()
            self._set_pending(None)
            self._set_options(replace(self.options, filter=filter_, count=count))
            if self._selected:
                self._selected = 0
                self._listener.selection_changed(0)
            return self._fetch_number

    def _search(self, fetch: int, filter_: str, count: int, is_cancelled: IsCancelled) -> None:
        """Lists the examples that pass the filter, then explains them."""
        reading = _Reading(self.dataset)
        is_over = self._is_over(fetch, is_cancelled)
        with asked_before_use(_raising(is_over)):
            for example in islice(self._matching(filter_, reading, is_over), count):
                self._add_examples(fetch, [example])
        with self._lock:
            problem = reading.problem()
            if not self.examples:
                limit = f"{SEARCH_LIMIT:,}"
                none = f"none of the first {limit} examples is {filter_}; choose another filter"
                problem = "; ".join([none, *filter(None, [problem])])
            self._explain_fetched(fetch, problem)

    def _matching(
        self, filter_: str, reading: "_Reading", is_over: IsCancelled
    ) -> Iterator[Example]:
        """The examples that pass the filter; the reading notes those that the model fails for."""
        for example in islice(reading, SEARCH_LIMIT):
            if is_over():
                raise Cancelled
            try:
                answer = best_answers_of(self.model, example)[0].text
                passes = filter_ in (_outcome(example, answer), f"answer: {answer}")
            except Cancelled:
                raise
            except BaseException as error:  # one broken example must not end the search
                reading.failures.append(_reason(error))
                continue
            if passes:
                yield example

    def _explain_fetched(self, fetch: int, problem: str) -> None:
        """Explains what a fetch has listed, and tells what a person must know of it."""
        with self._lock:
            if fetch != self._fetch_number:
                return
            if problem:
                self._listener.problem_found(problem)
            self._explain_all()

    def _add_examples(self, fetch: int, examples: list[Example]) -> None:
        with self._lock:
            if fetch != self._fetch_number or not examples:
                return
            first = len(self.examples)
            self.examples += examples
            added = [_new_entry(example, first + i) for i, example in enumerate(examples)]
            self._entries += added
            self._listener.entries_changed(dict(enumerate(added, first)))

    def _change_entry(self, fetch: int, index: int, **changes: Any) -> None:
        """Changes a line of the list, unless another fetch has replaced the list."""
        with self._lock:
            if fetch != self._fetch_number or not 0 <= index < len(self._entries):
                return
            changed_entry = replace(self._entries[index], **changes)
            if changed_entry != self._entries[index]:
                self._entries[index] = changed_entry
                self._listener.entries_changed({index: changed_entry})
            if index == self._selected:
                self._follow(changed_entry)

    def _change_entries(self, fetch: int, states: Mapping[int, State]) -> None:
        """Gives lines of the list other states, as one change."""
        with self._lock:
            if fetch != self._fetch_number:
                return
            found = {
                index: replace(self._entries[index], state=state)
                for index, state in states.items()
                if self._entries[index].state != state
            }
            for index, entry in found.items():
                self._entries[index] = entry
            if found:
                self._listener.entries_changed(found)
            if self._selected in found:
                self._follow(found[self._selected])

    # What is not there yet.

    def _set_pending(self, pending: Pending | None) -> None:
        if pending != self._pending:
            self._pending = pending
            self._listener.pending_changed(pending)

    def _follow(self, entry: Entry) -> None:
        """What is pending has the state of its example."""
        if self._pending is not None and entry.state != "done":
            self._set_pending(replace(self._pending, state=entry.state, message=entry.message))

    def _await(self, screen: ScreenRequest) -> None:
        """Tells that the screen does not show what was asked for, and what it is to show."""
        main = screen.main
        is_shown = self._shown is not None and self._shown.key == main.key
        self._set_pending(
            Pending(main.index, "waiting", "", main.method, main.target, comparison=is_shown)
        )
        # In the midst of another example's explanation, which may take long. Where none runs, the
        # example's own job begins with it.
        if self._worker.is_at_work():
            self._worker.put_urgent(PREVIEW, partial(self._preview_urgently, main))

    def _preview_urgently(self, request: Request, is_cancelled: IsCancelled) -> None:
        with asked_before_use(_raising(is_cancelled)):
            self._preview(request)

    def _preview(self, request: Request) -> None:
        """Tells of the selected example before it is explained: its inputs, then its answers."""
        example, place = request.example, (request.fetch, request.index)
        with self._lock:
            if not self._is_awaited(request) or self._previewed == place:
                return
            self._previewed = place
            self._listener.preview_found(request.index, example, [])
        if isinstance(self.model, Asking):  # each question has a price
            return
        try:
            found = best_answers_of(self.model, example)
        except Exception:  # the explanation will fail alike, and say why
            return
        with self._lock:
            if self._is_awaited(request):
                self._listener.preview_found(request.index, example, found)

    def _is_awaited(self, request: Request) -> bool:
        """Whether a request's example is the selected one, and nothing of it is shown."""
        is_new = self._shown is None or self._shown.example is not request.example
        selected = (self._fetch_number, self._selected) == (request.fetch, request.index)
        return selected and is_new

    def _set_options(self, options: Options) -> None:
        self.options = options
        self._listener.options_changed(options)

    # What is to be explained.

    def _explain_all(self) -> None:
        """Explains every listed example, the selected one first."""
        with self._lock:
            self._explain_selected()
            others = [i for i in range(len(self.examples)) if i != self._selected]
            put = [index for index in others if self._explain(index)]
            self._change_entries(self._fetch_number, dict.fromkeys(put, "waiting"))

    def _explain_selected(self) -> None:
        if 0 <= self._selected < len(self.examples) and self._explain(self._selected):
            self._change_entry(self._fetch_number, self._selected, state="waiting", message="")

    def _explain(self, index: int) -> bool:
        """Shows an example's explanation at once where it is kept; else puts a job that computes
        it, and gives True.
        """
        # One lock from the look at what is kept until the job is put: a fetch in between would
        # clear both, and the job would be of an example that is no longer listed.
        with self._lock:
            screen = self._screen_request(index)
            if all(key in self._kept for key in screen.keys):
                self._present(screen)
                return False
            is_selected = index == self._selected
            if self._is_computing(screen):  # it would only begin again
                if is_selected:
                    self._await(screen)
                    self._follow(self._entries[index])
                return False
            self._worker.put(
                _job_name(index),
                lambda is_cancelled: self._compute(screen, is_cancelled),
                first=is_selected,
            )
            if is_selected:
                self._await(screen)
            return True

    def _is_computing(self, screen: ScreenRequest) -> bool:
        now = self._computing
        return now is not None and now.keys == screen.keys and not now.is_cancelled()

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
        with self._lock:
            self._computing = _Computing(screen.keys, is_cancelled)
            self._change_entry(fetch, index, state="running", message="")
        try:
            with asked_before_use(_raising(self._is_over(fetch, is_cancelled))):
                self._preview(screen.main)
            failure = self._keep(screen.main, index, is_cancelled)
            if failure:
                self._change_entry(fetch, index, state="error", message=failure)
                return
            if screen.beside is not None:
                failure = self._keep(screen.beside, index, is_cancelled)
        except Cancelled:
            with self._lock:
                # Unless another job for the example has taken this one's place.
                if not self._worker.is_waiting(_job_name(index)):
                    self._change_entry(fetch, index, state="cancelled")
            return
        finally:
            self._computing = None
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
            # Between two batches: a question about what is on the screen need not wait for the end.
            self._worker.let_urgent_go_first()

        try:
            # Methods of one or few passes tell no progress, and end before the next pass.
            with asked_before_use(_raising(is_over)):
                explanation = self._explanation_of(request, progress)
        except Cancelled:
            raise
        except BaseException as error:  # the model is the user's code; the other examples go on
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
            **self._asked,
            **request.method.parameters,
        )

    def _present(self, screen: ScreenRequest) -> None:
        """Tells of an explanation, and shows it where its example is the selected one."""
        with self._lock:
            kept = [self._kept.get(request.key) for request in screen.requests]
            main, beside = kept[0], kept[-1] if screen.beside else None
            if main is None or (screen.beside and beside is None):
                return  # another fetch came in between
            request, best = screen.main, main.explanation.answers[0]
            expected = request.example.answer
            found = {
                "answer": best.text,
                "probability": best.probability,
                "correct": None if expected is None else best.text == expected,
            }
            self._change_entry(request.fetch, request.index, state="done", message="", **found)
            if request.index == self._selected:
                self._shown, self._pending = request, None
                self._listener.explanation_shown(main, beside)

    def _answer_soon(self, name: str, serial: Any, call: Callable[[], dict[str, Any]]) -> None:
        """Lets the worker answer a question next, in place of one of that name that waits."""

        def work(is_cancelled: IsCancelled) -> None:
            try:
                with asked_before_use(_raising(is_cancelled)):
                    answer = call()
            except Cancelled:
                raise
            except BaseException as error:  # the view shows it in the answer's place
                answer = {"error": _reason(error)}
            self._listener.what_if_answered(serial, answer)

        self._worker.put_urgent(name, work)

    def _job_failed(self, error: BaseException) -> None:
        """Says what no job has said itself."""
        self._tell_problem(self._fetch_number, f"the viewer failed: {_reason(error)}")

    def _find_kept(self, key: str | None) -> KeptExplanation:
        """The kept explanation of that key; without one, the one on the screen.

        Raises:
            InvalidInput: nothing is shown yet, or it is no longer kept.
        """
        with self._lock:
            if key is None and self._shown is not None:
                key = self._shown.key
            kept = self._kept.get(key or "")
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


def _new_entry(example: Example, place: int) -> Entry:
    try:
        asked_for = example.asked
    except InvalidInput:  # a chat that cannot be read; its explanation will say why
        asked_for = None
    title = asked_for or example.id or f"example {place + 1}"
    return Entry(title[:LONGEST_TITLE], id=example.id or "", label=example.answer)


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _raising(is_over: IsCancelled) -> Callable[[], None]:
    """A call that ends the job it is made in, once nobody waits for it."""

    def check() -> None:
        if is_over():
            raise Cancelled

    return check


def _reason(error: BaseException) -> str:
    """An error as one sentence; the type's name tells an error that is not ours."""
    if isinstance(error, VQAExplainError):
        return str(error)
    return f"{type(error).__name__}: {error}"


class _Reading:
    """Iterates over the examples of a data set, and notes what cannot be read.

    Where examples can be read by their place, an unreadable one does not end the rest.
    """

    def __init__(self, dataset: Iterable[Example]) -> None:
        self._dataset: Any = dataset
        self.failures: list[str] = []  # one for each example that is left out
        self._end = ""  # why the rest cannot be read

    def __iter__(self) -> Iterator[Example]:
        for found in self._all():
            if isinstance(found, Example):
                yield found
            elif isinstance(found, BaseException):
                self.failures.append(_reason(found))
            else:
                self.failures.append(f"it is no Example but a {type(found).__name__}")

    def _all(self) -> Iterator[Any]:
        """What the data set holds; an error stands for what cannot be read."""
        try:
            if not (hasattr(self._dataset, "__getitem__") and hasattr(self._dataset, "__len__")):
                yield from self._dataset
                return
            for number in range(len(self._dataset)):
                yield self._one(number)
        except GeneratorExit:  # nobody wants more
            raise
        except BaseException as error:  # the data set is the user's code: any error can come
            self._end = _reason(error)

    def _one(self, number: int) -> Any:
        try:
            return self._dataset[number]
        except BaseException as error:
            return error

    def problem(self) -> str:
        """What a person must know of the reading, or ""."""
        sentences = []
        if self.failures:
            sentences.append(
                f"examples that failed and are left out: {len(self.failures):,}; first: "
                f"{self.failures[0]}"
            )
        if self._end:
            sentences.append(f"the data set cannot be read to its end: {self._end}")
        return "; ".join(sentences)
