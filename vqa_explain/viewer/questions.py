"""What a person asks about an explanation: what-ifs, other questions, the line in words."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.features.parts import PicturePart, TablePart
from vqa_explain.models.base import Asking, Model
from vqa_explain.models.sharing import asked_before_use
from vqa_explain.viewer.inside import looked_inside
from vqa_explain.viewer.jobs import Cancelled, IsCancelled, Worker, raising
from vqa_explain.viewer.line import measured_line
from vqa_explain.viewer.listener import Listener
from vqa_explain.viewer.payload import raw
from vqa_explain.viewer.reading import reason_of
from vqa_explain.viewer.requests import KeptExplanation
from vqa_explain.viewer.whatif import asked, changed

WHAT_IF = "what if"  # the name of the jobs that answer questions
LINE = "line"  # the same of those that measure lines
INSIDE = "inside"  # the same of those that look inside networks


class Questions:
    """Answers questions about kept explanations, between two batches of what is computed.

    Args:
        models: the desk's.
        find_kept: gives the explanation of a key, of `None` the one on the screen; raises an
            `InvalidInput` where it is not kept.
        worker: whose urgent jobs the questions are.
        listener: who is told the answers.
        divided: "regions" and "columns" as `explain` takes them.
        line_found: is told of each line that was measured.
    """

    def __init__(
        self,
        models: Sequence[Model],
        find_kept: Callable[[str | None], KeptExplanation],
        worker: Worker,
        listener: Listener,
        divided: Mapping[str, Any],
        line_found: Callable[[KeptExplanation, dict[str, Any] | None], None],
    ) -> None:
        self._models = models
        self._find_kept = find_kept
        self._worker = worker
        self._listener = listener
        self._divided_as = divided
        self._line_found = line_found
        # By the keys of explanations. Keys name their fetch, so that none means another later.
        self._lines: dict[str, dict[str, Any] | None] = {}
        self._insides: dict[str, dict[str, Any]] = {}
        self._open: dict[str, Any] = {}  # the name of a job → the serial that it will answer

    def clear(self) -> None:
        """Forgets what was measured of explanations that are no longer kept."""
        self._lines.clear()
        self._insides.clear()
        self._open.clear()

    def tell_cancelled(self) -> None:
        """Answers what is open by the word that it was cancelled: its jobs are gone."""
        for name in list(self._open):
            serial = self._open.pop(name, None)
            if serial is not None:
                self._listener.what_if_answered(serial, {"error": "cancelled; ask again"})

    def ask_without(
        self,
        serial: Any,
        away: Mapping[str, Sequence[int]],
        about: str | None = None,
        fills: Mapping[str, str] | None = None,
    ) -> None:
        """Asks what the model answers without some players of an explanation.

        Args:
            serial: comes back with the answer.
            away: input name → the numbers of its players that are taken away.
            about: the explanation's key; by default, the one on the screen.
            fills: input name or kind → what its absent parts become, in place of the
                explanation's.

        Raises:
            InvalidInput: that explanation is not kept.
        """
        # Found now, not when the worker comes to it: the question is about what the person saw.
        kept = self._find_kept(about)
        example, explanation = kept.request.example, kept.explanation
        divided = self._divided()
        answer = partial(changed, kept.model, example, explanation, away, divided, fills)
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
            self._line_found(kept, self._lines[key])
            return {"line": self._lines[key]}

        self._answer_soon(LINE, serial, answer)

    def look_inside(self, serial: Any, about: str | None = None) -> None:
        """Measures what blocks and heads of the network do to an explanation's answer: see
        `looked_inside`.

        The answer has "inside".

        Raises:
            InvalidInput: that explanation is not kept.
        """
        kept = self._find_kept(about)

        def answer() -> dict[str, Any]:
            key = kept.request.key
            if key not in self._insides:
                self._insides[key] = looked_inside(
                    kept.model, kept.request.example, kept.explanation, raw
                )
            return {"inside": self._insides[key]}

        self._answer_soon(INSIDE, serial, answer)

    def told_line(self, kept: KeptExplanation) -> dict[str, Any]:
        """{"line": …} of an explanation whose line is measured, and {} of others."""
        key = kept.request.key
        return {"line": self._lines[key]} if key in self._lines else {}

    @property
    def measures_lines(self) -> bool:
        """Whether the model may be asked a few questions more for each explanation."""
        return not any(isinstance(model, Asking) for model in self._models)

    def _divided(self) -> dict[str, Any]:
        """Input name or kind → how it is divided, where the explanation does not say it itself,
        as texts do.
        """
        found: dict[str, Any] = {}
        kinds = (
            (PicturePart.kind, self._divided_as["regions"]),
            (TablePart.kind, self._divided_as["columns"]),
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

    def _answer_soon(self, name: str, serial: Any, call: Callable[[], dict[str, Any]]) -> None:
        """Lets the worker answer a question next, in place of one of that name that waits."""

        def work(is_cancelled: IsCancelled) -> None:
            try:
                with asked_before_use(raising(is_cancelled)):
                    answer = call()
            except Cancelled:
                raise
            except BaseException as error:  # the view shows it in the answer's place
                answer = {"error": reason_of(error)}
            if self._open.get(name) == serial:
                self._open.pop(name, None)
            self._listener.what_if_answered(serial, answer)

        self._open[name] = serial
        self._worker.put_urgent(name, work)
