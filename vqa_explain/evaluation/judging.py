"""One example judged: the model's answer, every method's explanation of it,
and what the metrics say.
"""

import math
import time
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from vqa_explain import registry
from vqa_explain._memory import is_of_the_system, may_pass
from vqa_explain._shown import shown
from vqa_explain.choosing import resolved_fills, with_chosen_fills
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.evaluation.plan import Plan
from vqa_explain.evaluation.reference import RandomValues
from vqa_explain.examples import Example, check_readable
from vqa_explain.explaining import divisions
from vqa_explain.features.text import TextFeature
from vqa_explain.game import Players, make_players, with_players
from vqa_explain.methods import METHODS
from vqa_explain.methods.base import Method, Task, asked_fills, check_support, for_players
from vqa_explain.metrics import read_metric
from vqa_explain.metrics.answers import Accuracy
from vqa_explain.metrics.base import Case, Curve, Metric, Noted, NotMeasured, credits_of, targets_of
from vqa_explain.metrics.sanity import randomized
from vqa_explain.models.base import Model, OpenModel, answers, check_fills, has_open_inputs
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.matching import check_inputs
from vqa_explain.models.sharing import network_held
from vqa_explain.target import REAL, Answer, Target, folded

SCHEMA = pa.schema(
    [
        ("index", pa.int64()),
        ("id", pa.string()),
        ("family", pa.string()),
        ("question", pa.string()),
        ("answer", pa.string()),
        ("predicted", pa.string()),
        ("probability", pa.float64()),
        ("right", pa.bool_()),  # null where no true answer is known, or none is chosen
        ("method", pa.string()),  # "" for what is said of the answer alone
        ("metric", pa.string()),  # "" for an explanation's cost, "error" for what went wrong
        ("value", pa.float64()),
        ("curve", pa.list_(pa.float64())),
        ("note", pa.string()),  # why there is no value
        ("forwards", pa.int64()),
        ("backwards", pa.int64()),
        ("seconds", pa.float64()),
    ]
)
ERROR = "error"
UNDEFINED = "the metric is not defined there"  # it gave NaN
Row = dict[str, Any]


@dataclass
class Judge:
    """A model and a plan, ready to judge examples one by one.

    Attributes:
        kept: file name → bytes of the explanations that the plan keeps, until they are taken.
        passing: the indices of examples that failed where another try may succeed, since memory or
            an endpoint was at fault.
        of_system: those that failed by an error of the system, or of code that raises such.
    """

    model: Model
    plan: Plan
    kept: dict[str, bytes] = field(default_factory=dict)
    passing: set[int] = field(default_factory=set)
    of_system: set[int] = field(default_factory=set)
    _twins: dict[float, Model] = field(default_factory=dict)

    @cached_property
    def methods(self) -> list[tuple[str, Method]]:
        return [
            (text, cast(Method, registry.read("method", METHODS, text)))
            for text in self.plan.methods
        ]

    @cached_property
    def metrics(self) -> list[tuple[str, Metric]]:
        return [(text, read_metric(text)) for text in self.plan.metrics]

    def __call__(self, index: int, example: Example) -> list[Row]:
        """The rows of one example; what fails is a row too, and the rest goes on."""
        return self._judge(index, example, None, frozenset())

    def again(
        self,
        index: int,
        example: Example,
        known: list[Row],
        methods: frozenset[str],
        metrics: frozenset[str],
    ) -> list[Row]:
        """The rows of an example of which those by some methods, and of some metrics,
        no longer hold.
        """
        if not methods and not metrics:
            return known
        kept = [r for r in known if r["method"] not in methods and self.metric_of(r) not in metrics]
        if all(self.metric_of(row) == ERROR and not row["method"] for row in known):
            return self(index, example)  # the example itself failed
        rows = [*kept, *self._judge(index, example, methods, metrics)]
        order = ["", *self.plan.methods, RandomValues.name]
        texts = ["", *self.plan.metrics, ERROR]
        return sorted(
            rows, key=lambda row: (order.index(row["method"]), texts.index(self.metric_of(row)))
        )

    def metric_of(self, row: Row) -> str:
        """The metric that a row is of, also where it tells of an error;
        "error" where that is of no metric.
        """
        if row["metric"] != ERROR:
            return str(row["metric"])
        return next(
            (text for text in self.plan.metrics if str(row["note"]).startswith(f"{text}: ")), ERROR
        )

    def _judge(
        self, index: int, example: Example, methods: frozenset[str] | None, metrics: frozenset[str]
    ) -> list[Row]:
        """The rows by these methods (`None` for all, and of the answer),
        and of these metrics by any method.
        """
        # Methods and metrics put hooks on it.
        with (
            network_held(self.model.module),
            torch.enable_grad(),
        ):
            return self._rows(index, example, methods, metrics)

    def _rows(
        self, index: int, example: Example, methods: frozenset[str] | None, metrics: frozenset[str]
    ) -> list[Row]:
        def wanted(method: str) -> list[tuple[str, Metric]]:
            every = methods is None or method in methods
            return [(text, metric) for text, metric in self.metrics if every or text in metrics]

        base: Row = dict.fromkeys(SCHEMA.names)
        base |= {
            "index": index,
            "id": as_text(example.id),
            "family": as_text(example.family),
            "question": as_text(example.asked),
        }
        base |= {"answer": as_text(example.answer), "method": "", "metric": ERROR}
        try:
            case = self.case(example)
            right = _right(case)
        except Exception as error:  # of any kind: one bad example must not end the run
            return [{**base, "note": self._noted(base, error)}]
        best = case.best[0]
        base |= {"predicted": as_text(best.text), "probability": best.probability, "right": right}
        rows = self._values(case, base, "answer", wanted(""))
        if all(metric.judges == "answer" for _, metric in self.metrics):
            return rows
        for text, method in [*self.methods, (RandomValues.name, cast(Method, RandomValues(index)))]:
            chosen = [(t, m) for t, m in wanted(text) if m.judges == "explanation"]
            every = methods is None or text in methods
            if chosen or every:
                found = self._explained(case, method, {**base, "method": text}, index, chosen)
                # The cost stays as it was measured.
                rows += [row for row in found if every or row["metric"] != ""]
        return rows

    def case(self, example: Example) -> Case:
        """The example with the model's answer, before anything is explained."""
        check_readable(example)
        wrong = wrong_truth(example)
        if wrong:
            raise InvalidInput(wrong)
        if example.inputs is not None or example.messages is not None:
            # A row of a picture and a question is judged by a classifier too, which reads no
            # question.
            check_inputs(self.model, example)
        encoded, players = self.divided(self.model.encode(example))
        if self.model.labels is None:
            encoded, best = self._written(encoded)
            score = "log_probability"
        else:
            best = answers(self.model, encoded)
            score = "value" if self.model.kind == REAL else "logit"
        target = Target(best[0].index, None, score, kind=self.model.kind)
        targets = targets_of(self.model, encoded, target)
        task = Task(self.model, encoded, target, players, targets, self.plan.seed)
        asked = asked_fills(self.plan, encoded.inputs)
        asked, _ = resolved_fills(self.model, encoded, asked, self.plan.seed)
        fills = check_fills(self.model, asked, encoded.features)
        return Case(task, best, fills, twin=partial(self._twin, example))

    def divided(self, encoded: Encoded) -> tuple[Encoded, Players]:
        """An example with its players, as the plan divides it.

        Raises:
            InvalidInput: the plan asks for a part that it does not have.
        """
        asked = self.plan.divided
        encoded = with_players(encoded, asked.pop("players"))
        return encoded, make_players(encoded, divisions(encoded.inputs, **asked))

    def _written(self, encoded: Encoded) -> tuple[Encoded, list[Answer]]:
        """The example with candidates, and the answers best first, of a model that writes them.

        The true answer is a candidate too, for metrics that compare. It is never taken for the
        model's own answer, even where its probability is higher: the model did not write it.
        """
        model, true = cast(OpenModel, self.model), encoded.example.answer
        own = {folded(text): text for text in reversed(model.generate(encoded))}
        texts = list(reversed(own.values()))
        written = len(texts)
        if true is not None and folded(true) not in own:
            texts.append(true)
        encoded = model.with_answers(encoded, texts)
        found = answers(model, encoded, top=len(texts))
        return encoded, sorted(found, key=lambda answer: answer.index >= written)

    def _twin(self, example: Example, share: float) -> Model:
        if share not in self._twins:
            self._twins[share] = randomized(self.model, share, self.plan.seed, example)
        return self._twins[share]

    def _explained(
        self, case: Case, method: Method, base: Row, index: int, metrics: list[tuple[str, Metric]]
    ) -> list[Row]:
        cost, began = Cost(), time.perf_counter()
        method = for_players(method, len(case.task.players))
        try:
            # A game of its own, so that the cost is what the method costs alone.
            task = replace(case.task, targets=(case.task.target,), cost=cost, games={})
            method, choice = with_chosen_fills(method, task.model, task.encoded, task.seed)
            cost.forwards += 0 if choice is None else choice.cost.forwards
            if not isinstance(method, RandomValues):
                # What a network of one's own can do is measured with the example.
                check_support(method, task.model, task.encoded)
            explained = case.of(method, method(task), cost)
            cost.seconds = time.perf_counter() - began
            if "explanations" in self.plan.keep and not isinstance(method, RandomValues):
                self.kept[f"{index:07d}-{file_name(base['method'])}.vqax"] = (
                    explained.explanation.to_bytes()
                )
        except Exception as error:  # of any kind, as above
            return [{**base, "note": self._noted(base, error)}]
        spent = {"forwards": cost.forwards, "backwards": cost.backwards, "seconds": cost.seconds}
        return [
            {**base, "metric": "", **spent},
            *self._values(explained, base, "explanation", metrics),
        ]

    def _values(
        self, case: Case, base: Row, judges: str, metrics: list[tuple[str, Metric]]
    ) -> list[Row]:
        rows = []
        for text, metric in metrics:
            if metric.judges != judges:
                continue
            row = {**base, "metric": text}
            try:
                row |= _measured(case, metric)
            except Exception as error:  # of any kind, as above
                rows.append({**base, "note": f"{text}: {self._noted(base, error)}"})
                continue
            rows.append(row)
        return rows

    def _noted(self, base: Row, error: Exception) -> str:
        """An error of an example in one line; whether another try may succeed is kept."""
        if is_of_the_system(error):
            self.of_system.add(base["index"])
        elif may_pass(error):
            self.passing.add(base["index"])
        return said(error)


def _measured(case: Case, metric: Metric) -> Row:
    """Of a row: the value and perhaps the curve; or no value, and a note on why not."""
    lacks = case.lacks(metric)
    if lacks:
        return {"note": lacks}
    try:
        found = metric(case)
    except NotMeasured as why:
        return {"note": said(why)}
    value = _number(found.value if isinstance(found, Curve | Noted) else found)
    if np.isnan(value):
        return {"note": UNDEFINED}
    if isinstance(found, Curve):
        return {"value": value, "curve": [_number(score) for score in found.scores]}
    return {"value": value, "note": as_text(found.note) if isinstance(found, Noted) else None}


def _number(given: Any) -> float:
    """What a metric gave, as a number; NaN where it is not defined.

    Raises:
        InvalidInput: it is no number, or infinite.
    """
    try:
        if isinstance(given, str | bytes):
            raise TypeError
        value = float(given)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise InvalidInput(
            f"the metric gave {str(given)[:40]!r} of type {type(given).__name__}, and no number; "
            "let it return a float"
        ) from error
    if math.isinf(value):
        raise InvalidInput("the metric gave infinity, of which there is no mean")
    return value


def _right(case: Case) -> bool | None:
    """Whether the model's answer is a true one; `None` where that means nothing."""
    if case.lacks(cast(Metric, Accuracy())):
        return None
    return credits_of(case.task.model, case.task.encoded)[case.best[0].index] == 1


def said(error: Exception) -> str:
    """An error in one line."""
    text = str(error) if isinstance(error, VQAExplainError) else f"{type(error).__name__}: {error}"
    return as_text(" ".join(text.split())[:1000]) or ""


def as_text(value: Any) -> str | None:
    """A text as a table can hold it: without halves of surrogate pairs, and of any other type."""
    if value is None:
        return None
    return str(value).encode("utf-8", "backslashreplace").decode()


def wrong_truth(example: Example) -> str:
    """What is wrong with the form of an example's true answers and decisive words; "" for nothing."""
    if not isinstance(example.answer, str | None):
        return f"the true answer {shown(example.answer)} is no text; give it as text"
    answers, spans = example.answers, example.decisive
    if not isinstance(answers, list | tuple):
        return f"the true answers are a list of texts, not {shown(answers)}"
    strange = [one for one in answers if not isinstance(one, str)]
    if strange:
        return f"the true answer {shown(strange[0])} is no text; give it as text"
    if not isinstance(spans, list | tuple) or not all(map(_is_span, spans)):
        return f"decisive words are spans (start, end) in characters, not {str(spans)[:60]}"
    return ""


def _is_span(one: Any) -> bool:
    is_pair = isinstance(one, list | tuple) and len(one) == 2
    return is_pair and all(isinstance(end, int | np.integer) for end in one)


def as_judged(model: Model, example: Example) -> Example:
    """The example as it is judged: a classifier of pictures reads no question."""
    is_short = example.inputs is None and example.messages is None
    reads_texts = any(feature.kind == TextFeature.kind for feature in model.features)
    if not is_short or reads_texts or has_open_inputs(model) or example.image is None:
        return example
    # Mentions are of the question, if there is one.
    mentions = example.mentions if example.question is None else ()
    return replace(example, question=None, mentions=mentions)


def file_name(method: str) -> str:
    """A method's text as part of a file's name."""
    return "".join(c if c.isalnum() or c in "_-=." else "-" for c in method)


def table_of(rows: list[Row], about: dict[str, str]) -> pa.Table:
    """The rows as one table that says what it belongs to."""
    return pa.Table.from_pylist(rows, schema=SCHEMA.with_metadata(about))
