"""The viewer's state machine: what is listed, explained, compared and asked, without any view.

A `Desk` knows no widget, no browser and no traits. It tells a `Listener` what has changed.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Any, NamedTuple

from vqa_explain._numbers import checked_seed
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example
from vqa_explain.explaining import explain
from vqa_explain.explanation import Explanation
from vqa_explain.games.progress import Progress
from vqa_explain.models.base import Asking, Model
from vqa_explain.models.sharing import asked_before_use, let_go_between_batches
from vqa_explain.target import SCORES
from vqa_explain.viewer.columns import answer_of, checked, is_number, method_of
from vqa_explain.viewer.jobs import Cancelled, IsCancelled, Worker, raising
from vqa_explain.viewer.listener import Listener
from vqa_explain.viewer.listing import Listing
from vqa_explain.viewer.measured import numbers_of
from vqa_explain.viewer.questions import Questions
from vqa_explain.viewer.reading import Reading, can_be_read, reason_of
from vqa_explain.viewer.requests import (
    AskedAnswer,
    AskedTarget,
    Column,
    Entry,
    KeptExplanation,
    MethodChoice,
    Options,
    Pending,
    Request,
    ScreenRequest,
    State,
)
from vqa_explain.viewer.searching import SEARCH_LIMIT, matching
from vqa_explain.viewer.whatif import best_answers_of, with_question

EVERY_EXAMPLE = "all"  # the filter that every example passes
MOST_LISTED = 100_000  # examples; a typing error must not read a data set without an end
MOST_COLUMNS = 6  # explanations side by side, the one on the screen among them
PREVIEW = "preview"  # the name of the jobs that show an example before it is explained


class _Computing(NamedTuple):
    """What the worker explains: the keys of a screen's requests, and whether it is to end."""

    keys: tuple[str, ...]
    is_cancelled: IsCancelled


class Desk:
    """Explains the examples of a data set one after another, in a thread of its own.

    Explanations are kept, so that going back is instant. Any thread may call any method.

    Args:
        model: what `vqa_explain.load` gave.
        dataset: examples, as any iterable or by their places; it is read no further than needed.
        listener: who is told what has changed. It is told nothing before the first call.
        method: the method at first.
        seed: for methods that draw random numbers.
        regions, words, columns: how inputs are divided, as `explain` takes them.
        players: the inputs whose parts are players, as `explain` takes them.
        score: what the points are of, as `explain` takes it.
        others: further models that can be compared with the first.

    Raises:
        InvalidInput: the data set holds no examples that can be read one after another or by their
            place, or the method does not fit.
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
        if score is not None and not is_one_of(score, SCORES):
            raise unknown("score", score, SCORES)
        if not can_be_read(dataset):
            raise InvalidInput(
                f"a data set is a sequence of Examples, not {type(dataset).__name__}"
            )
        method.check(model)
        self.models = (model, *others)
        self.dataset = dataset
        self.options = Options(method, EVERY_EXAMPLE, 0)
        self._listener = listener
        self._seed = checked_seed(seed)
        self._asked = {
            "regions": regions,
            "words": words,
            "columns": columns,
            "players": players,
            "score": score,
        }
        self._listing = Listing(listener)
        self._selected = 0
        self._target = AskedTarget()
        self.columns: tuple[Column, ...] = ()
        self._kept: dict[str, KeptExplanation] = {}
        self._shown: Request | None = None
        self._pending: Pending | None = None
        self._previewed: tuple[int, int] | None = None  # the example's fetch and place
        self._computing: _Computing | None = None
        # The caller's thread and the worker change the list, what is kept and what is shown.
        # These belong together, so they change under one lock, and the listener is told under it
        # too: otherwise an older state could reach the view after a newer one. A listener may
        # call the desk back (a widget that is told of a selection selects), hence an RLock.
        self._lock = threading.RLock()
        self._worker = Worker(self._job_failed)
        self.questions = Questions(
            self.models, self._find_kept, self._worker, listener, self._asked, self._line_found
        )

    @property
    def examples(self) -> Sequence[Example]:
        """The fetched examples."""
        return self._listing.examples

    @property
    def target(self) -> AskedTarget:
        """The answer of the selected example that is explained."""
        return self._target

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
        reading = Reading(self.dataset)
        # As one change, so that a long list is sent once and not once for each example.
        self._add_examples(fetch, list(islice(reading, count)))
        self._explain_fetched(fetch, reading.problem())

    def open_run(self, examples: Sequence[Example], entries: Sequence[Entry]) -> None:
        """Lists the examples of a finished run, with what is known of each. An explanation is
        computed when its example is selected.
        """
        fetch = self._clear_for_fetch(EVERY_EXAMPLE, len(entries))
        with self._lock:
            self._listing.open(fetch, examples, entries)
            self._explain_selected()

    def choose(self, index: int) -> None:
        """Selects an example, with the default answer as its target."""
        with self._lock:
            self._selected = index
            self._set_target(AskedTarget())
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
            self._set_target(AskedTarget(answer_of(kept, answer), answer_of(kept, contrast)))
            self._explain_selected()

    def explain_answer(self, answer: AskedAnswer, contrast: AskedAnswer = None) -> None:
        """Explains an answer of the selected example, by its text or label number; `None` is the
        model's own answer.

        Raises:
            InvalidInput: a number is none of a label, or of an answer on the screen.
        """
        with self._lock:
            target = AskedTarget(self._label_of(answer), self._label_of(contrast))
            self._set_target(target)
            self._explain_selected()

    def _label_of(self, answer: AskedAnswer) -> AskedAnswer:
        labels = self.model.labels
        if labels is None:
            return answer_of(self._find_kept(None), answer) if is_number(answer) else answer
        if isinstance(answer, int) and not 0 <= answer < len(labels):
            raise InvalidInput(
                f"the model has no label number {answer}; they go from 0 to {len(labels) - 1}"
            )
        return answer

    def explain_question(self, question: str, about: str | None = None) -> None:
        """Lists another question about an explanation's example as an example of its own, and
        selects it.

        Raises:
            InvalidInput: that explanation is not kept, or the example has no one text.
        """
        with self._lock:
            example = with_question(self._find_kept(about).request.example, question)
            self._listing.add(self._listing.fetch, [example])
            self._selected = len(self.examples) - 1
            self._set_target(AskedTarget())
            self._listener.selection_changed(self._selected)
            self._explain_selected()

    def set_columns(self, columns: Sequence[Column]) -> None:
        """Sets explanations beside the one on the screen; no column ends the comparison.

        Raises:
            InvalidInput: there are too many; a method or parameter does not exist; a model lacks
                what the method needs; there is no such model, example or answer.
        """
        if len(columns) > MOST_COLUMNS - 1:
            raise InvalidInput(
                f"{MOST_COLUMNS} columns can be compared, the explanation itself among them, not "
                f"{len(columns) + 1}; take one away first"
            )
        with self._lock:
            shown = None if self._shown is None else self._find_kept(None)
            chosen = self.options.method
            found = [checked(column, self.models, chosen, shown) for column in columns]
            self.columns = tuple(found)
            self._listener.columns_changed(self.columns)
            if self.columns:
                self._explain_selected()
                return
            self._listener.comparison_ended()
            if self._pending is not None and self._pending.comparison:
                self._set_pending(None)

    def cancel(self, index: int) -> None:
        """Stops the work for an example."""
        with self._lock:
            if self._worker.cancel(_job_name(index)):
                # It had not begun, so that no job is left that would say so.
                self._change_entry(self._listing.fetch, index, state="cancelled")

    def cancel_all(self) -> None:
        """Stops all work: what runs, what waits, and the reading of a filter."""
        with self._lock:
            waiting = [
                i for i, entry in enumerate(self._listing.entries) if entry.state == "waiting"
            ]
            self._worker.clear()
            self.questions.tell_cancelled()
            # What runs says itself that it has ended.
            self._change_entries(self._listing.fetch, dict.fromkeys(waiting, "cancelled"))

    # What a view asks.

    def kept(self) -> list[KeptExplanation]:
        """What is explained, with its examples, in the order of the list."""
        with self._lock:
            return sorted(self._kept.values(), key=lambda one: one.request.index)

    def explanations(self) -> list[Explanation]:
        """Those that are kept."""
        return [one.explanation for one in self.kept()]

    def send_thumbnails(self, indices: Sequence[int]) -> None:
        """Tells the listener of what is explained of these examples, by the chosen method and for
        the model's own answer.
        """
        with self._lock:
            listed = [i for i in indices if 0 <= i < len(self.examples)]
            keys = {i: self._request(i).key for i in listed}
            self._listener.thumbnails_asked(
                {i: self._kept[key] for i, key in keys.items() if key in self._kept}
            )

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
            self._kept.clear()
            self.questions.clear()
            self._set_target(AskedTarget())
            self._shown = self._previewed = None
            self._listing.clear()
            self._listener.screen_cleared()
            self._set_pending(None)
            self._set_options(replace(self.options, filter=filter_, count=count))
            if self._selected:
                self._selected = 0
                self._listener.selection_changed(0)
            return self._listing.fetch

    def _search(self, fetch: int, filter_: str, count: int, is_cancelled: IsCancelled) -> None:
        """Lists the examples that pass the filter, then explains them."""
        reading = Reading(self.dataset)
        is_over = self._is_over(fetch, is_cancelled)
        with asked_before_use(raising(is_over)):
            for example in islice(matching(self.model, filter_, reading, is_over), count):
                self._add_examples(fetch, [example])
        with self._lock:
            problem = reading.problem()
            if not self._listing.examples:
                limit = f"{SEARCH_LIMIT:,}"
                none = f"none of the first {limit} examples is {filter_}; choose another filter"
                problem = "; ".join([none, *filter(None, [problem])])
            self._explain_fetched(fetch, problem)

    def _explain_fetched(self, fetch: int, problem: str) -> None:
        """Explains what a fetch has listed, and tells what a person must know of it."""
        with self._lock:
            if fetch != self._listing.fetch:
                return
            if problem:
                self._listener.problem_found(problem)
            self._explain_all()

    def _add_examples(self, fetch: int, examples: list[Example]) -> None:
        with self._lock:
            self._listing.add(fetch, examples)

    def _change_entry(self, fetch: int, index: int, **changes: Any) -> None:
        """Changes a line of the list, unless another fetch has replaced the list."""
        with self._lock:
            self._follow_changes(self._listing.change(fetch, {index: changes}))

    def _change_entries(self, fetch: int, states: Mapping[int, State]) -> None:
        """Gives lines of the list other states, as one change."""
        with self._lock:
            self._follow_changes(self._listing.change_states(fetch, states))

    def _line_found(self, kept: KeptExplanation, line: dict[str, Any] | None) -> None:
        """The list tells the answer without pictures, as the viewer's own model gave it."""
        request, blind = kept.request, (line or {}).get("blind")
        if blind and request.model == 0:
            self._change_entry(request.fetch, request.index, without=blind["answer"])

    def _follow_changes(self, changes: Mapping[int, Entry]) -> None:
        if self._selected in changes:
            self._follow(changes[self._selected])

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
        with asked_before_use(raising(is_cancelled)):
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
        selected = (self._listing.fetch, self._selected) == (request.fetch, request.index)
        return selected and is_new

    def _set_target(self, target: AskedTarget) -> None:
        if target != self._target:
            self._target = target
            self._listener.target_changed(target)

    def _set_options(self, options: Options) -> None:
        self.options = options
        self._listener.options_changed(options)

    # What is to be explained.

    def _explain_all(self) -> None:
        """Explains every listed example, the selected one first; of a run, that one alone."""
        with self._lock:
            self._explain_selected()
            if self._listing.is_of_run:
                return
            others = [i for i in range(len(self._listing.examples)) if i != self._selected]
            put = [index for index in others if self._explain(index)]
            self._change_entries(self._listing.fetch, dict.fromkeys(put, "waiting"))

    def _explain_selected(self) -> None:
        if 0 <= self._selected < len(self._listing.examples) and self._explain(self._selected):
            self._change_entry(self._listing.fetch, self._selected, state="waiting", message="")

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
                    self._follow(self._listing.entries[index])
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
        """Only the selected example has a chosen target and columns beside it."""
        if index != self._selected:
            return ScreenRequest(self._request(index))
        main = self._request(index, target=self._target)
        beside = {number: self._request_of(column) for number, column in enumerate(self.columns)}
        return ScreenRequest(main, beside)

    def _request_of(self, column: Column) -> Request:
        # The list may have become shorter since the example was chosen.
        last = len(self._listing.examples) - 1
        index = self._selected if column.example is None else min(column.example, last)
        target = AskedTarget(column.target, column.contrast)
        if column.target is None and column.example is None:
            target = self._target_as_texts() if column.model else self._target
            if column.contrast is not None:
                target = target._replace(contrast=column.contrast)
        method = method_of(column, self.options.method)
        return self._request(index, method=method, target=target, model=column.model)

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
            fetch=self._listing.fetch,
            index=index,
            example=self._listing.examples[index],
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
            with asked_before_use(raising(self._is_over(fetch, is_cancelled))):
                self._preview(screen.main)
            failure = self._keep(screen.main, index, is_cancelled)
            if failure:
                self._change_entry(fetch, index, state="error", message=failure)
                return
            failures = {
                number: self._keep(request, index, is_cancelled)
                for number, request in screen.beside.items()
            }
        except Cancelled:
            with self._lock:
                # Unless another job for the example has taken this one's place.
                if not self._worker.is_waiting(_job_name(index)):
                    self._change_entry(fetch, index, state="cancelled")
            return
        finally:
            self._computing = None
        told = [failure for failure in failures.values() if failure]
        if told:
            self._tell_problem(fetch, f"the comparison could not be made: {'; '.join(told)}")
        made = {n: one for n, one in screen.beside.items() if not failures[n]}
        self._present(ScreenRequest(screen.main, made))

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
            # Methods of one or few passes tell no progress, and end before the next pass. A game tells
            # its progress at the end of a round, which may have thousands of coalitions.
            with (
                asked_before_use(raising(is_over)),
                let_go_between_batches(self._worker.let_urgent_go_first),
            ):
                explanation = self._explanation_of(request, progress)
        except Cancelled:
            raise
        except BaseException as error:  # the model is the user's code; the other examples go on
            return reason_of(error)
        with self._lock:
            # Of another fetch: the list that it belongs to is gone.
            if request.fetch == self._listing.fetch:
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
            if not all(key in self._kept for key in screen.keys):
                return  # another fetch came in between
            main = self._kept[screen.main.key]
            beside = {number: self._kept[one.key] for number, one in screen.beside.items()}
            request, best = screen.main, main.explanation.answers[0]
            expected = request.example.answer
            known = self._listing.entries[request.index]
            found = {
                "answer": best.text,
                "probability": best.probability,
                "correct": None if expected is None else best.text == expected,
                "numbers": {**known.numbers, **numbers_of(main.explanation, request.example)},
            }
            self._change_entry(request.fetch, request.index, state="done", message="", **found)
            if request.index == self._selected:
                self._shown, self._pending = request, None
                self._listener.explanation_shown(main, beside)

    def _job_failed(self, error: BaseException) -> None:
        """Says what no job has said itself."""
        self._tell_problem(self._listing.fetch, f"the viewer failed: {reason_of(error)}")

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
        return lambda: is_cancelled() or fetch != self._listing.fetch

    def _tell_problem(self, fetch: int, problem: str) -> None:
        """Tells of a problem, unless another fetch has made it old."""
        with self._lock:
            if fetch == self._listing.fetch:
                self._listener.problem_found(problem)


def _job_name(index: int) -> str:
    """One name for each example: a new job for it takes the place of the old one."""
    return f"explain {index}"
