"""What a metric is: a frozen dataclass whose fields are its parameters and whose one act is to
judge a case.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import (
    Any,
    ClassVar,
    Final,
    Literal,
    NotRequired,
    Protocol,
    TypedDict,
    TypeVar,
    Unpack,
    cast,
    get_args,
)

import numpy as np
import torch

from vqa_explain import registry
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, VQAExplainError
from vqa_explain.examples import Example
from vqa_explain.explanation import Explanation
from vqa_explain.features.base import Input
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.finishing import finish
from vqa_explain.game import Game, called_inputs
from vqa_explain.methods.base import Attribution, Method, Task
from vqa_explain.metrics.official import true_answers
from vqa_explain.models.base import Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.target import REAL, Answer, Target, folded, matching_answers

Better = Literal["higher", "lower", "neither"]
Judges = Literal["explanation", "answer", "data set"]
HIGHER: Final = "higher"
LOWER: Final = "lower"
NEITHER: Final = "neither"

ALL = "all"  # in `players`: of every input

# What an example or a model must have for a metric to mean something, and what to say where it has
# not.
LACKS = {
    "answer": "the example has no true answer",
    "truth": "the example has no mask of the true region",
    "decisive": "the example does not say which words decide",
    "question": "the model takes no question",
    "picture": "the model takes no picture",
    "pixels": "the model sees no pixels",
    "weights": "the weights of the model are not here",
    "labels": "the model has no fixed set of answers",
    "probability": "the model gives real numbers, which have no probabilities",
    "choice": "the model has one output, or real numbers, and so no answer that it chooses",
}


@dataclass(frozen=True)
class Curve:
    """A score at shares of the players in [0, 1]; its value is the area under it, by trapezoids."""

    at: np.ndarray
    scores: np.ndarray

    @property
    def value(self) -> float:
        return float(np.trapezoid(self.scores, self.at))


@dataclass(eq=False)
class Case:
    """One example with the model's answer and, for metrics of explanations, one explanation of it.

    Attributes:
        task: model, encoded example, players, the explained target, and all `targets` that games
            may be asked about.
        best: the model's answers, best first.
        fills: what absent players become.
        games: the one game of the example, which all metrics share; filled when first asked.
        method, attribution: the explanation, in the model's frame; `None` for metrics of answers.
        twin: stage → the model with that share of its layers randomized (see `sanity`).
        evidence: what the answer stands on, once a metric has searched it (see `evidence`).
        words: the explanations of the words of an answer, once a metric has asked for them (see
            `sentences.word_cases`).
    """

    task: Task
    best: list[Answer]
    fills: dict[str, str]
    games: list[Game] = field(default_factory=list)
    method: Method | None = None
    attribution: Attribution | None = None
    twin: Callable[[float], Model] | None = None
    evidence: Any = None  # a `searching.Evidence`, which few metrics need
    words: dict[tuple[int, ...], Any] = field(default_factory=dict)

    @property
    def example(self) -> Example:
        return self.task.encoded.example

    def of(self, method: Method, attribution: Attribution, cost: Cost) -> "Case":
        """The same example with an explanation of it, which cost this much."""
        task = replace(self.task, cost=cost)
        return replace(self, method=method, attribution=attribution, task=task, words={})

    @cached_property
    def explanation(self) -> Explanation:
        return finish(
            self.task, cast(Method, self.method), cast(Attribution, self.attribution), self.best
        )

    @cached_property
    def values(self) -> np.ndarray:
        """(P,) the explanation's value of each player."""
        found = cast(Attribution, self.attribution)
        if found.player_values is not None:
            return np.asarray(found.player_values)
        return (found.players or self.task.players).sums(found.values)

    @property
    def pictures(self) -> tuple[Input, ...]:
        """The example's pictures that have players.

        Raises:
            NotMeasured: it has none.
        """
        found = self.task.encoded.pictures
        if not found:
            raise NotMeasured("the example has no picture with players")
        return found

    def players(self, called: str) -> np.ndarray:
        """The numbers of the players of the inputs of that name, group or kind; of all inputs for
        "all".

        Raises:
            NotMeasured: they have none.
            InvalidInput: no input is called so.
        """
        inputs = self.task.encoded.inputs
        names = (
            tuple(one.name for one in inputs) if called == ALL else called_inputs(inputs, called)
        )
        of = self.task.players.of
        found = np.unique(np.concatenate([of[name].numbers for name in names]))
        if not len(found):
            raise NotMeasured(f"the example has no players of {called!r}")
        return found

    def game(self, target: Target) -> Game:
        """The example's game as this one of its targets sees it."""
        if not self.games:
            task = self.task
            self.games.append(
                Game(
                    task.model, task.encoded, task.players, self.fills, task.targets, seed=task.seed
                )
            )
        return self.games[0].for_target(target, Cost())

    @property
    def points(self) -> Game:
        """Coalitions → the explained score."""
        return self.game(self.task.target)

    @property
    def probability(self) -> Game:
        """Coalitions → the probability of the explained answer."""
        found = next(
            (t for t in self.task.targets if t.score == "probability" and t.function is None), None
        )
        if found is None:
            raise Unsupported(
                f"model {self.task.model.name!r}: {LACKS['probability']}; use case.points"
            )
        return self.game(found)

    @property
    def correct(self) -> Game:
        """Coalitions → what the model's answer is worth: 1 where it is the true one,
        else 0 (see `official.credit`).
        """
        return self.game(next(t for t in self.task.targets if isinstance(t.function, CreditOfBest)))

    def again(self, encoded: Encoded | None = None, model: Model | None = None) -> Attribution:
        """The same method on a changed example, or of a changed model."""
        encoded, model = encoded or self.task.encoded, model or self.task.model
        return cast(Method, self.method)(
            replace(
                self.task,
                model=model,
                encoded=encoded,
                cost=Cost(),
                games={},
                plain=None,
                shared=None,
            )
        )

    def lacks(self, metric: "Metric") -> str:
        """Why this metric means nothing here, or ""."""
        held = {
            **held_by_example(self.example),
            **held_by_model(self.task.model),
            **holds_probabilities(self.task.model.kind, self.task.encoded.labels),
        }
        return lacking(metric, held)


def held_by_example(example: Example) -> dict[str, bool]:
    """Keys of `LACKS` that an example answers for → whether it has them."""
    return {
        "answer": bool(true_answers(example)),
        "truth": example.truth is not None,
        "decisive": bool(example.decisive),
    }


def held_by_model(model: Model) -> dict[str, bool]:
    """Keys of `LACKS` that a model answers for, whatever the example → whether it has them."""
    kinds = {feature.kind for feature in model.features}
    return {
        "question": TextFeature.kind in kinds,
        "picture": ImageFeature.kind in kinds,
        "pixels": "pixels" in model.capabilities,
        "weights": any(True for _ in model.module.parameters()),
        "labels": model.labels is not None,
        **holds_probabilities(model.kind, model.labels),
        **{f"{INPUT}{feature.name}": True for feature in model.features},
    }


INPUT = "input "  # before a name: the key of whether a model has that input
# What a metric over the players of one kind of input needs besides what it says itself.
PLAYERS_THAT_NEED = {
    called: needs
    for feature, needs in ((ImageFeature(), {"picture"}), (TextFeature(), {"question"}))
    for called in (feature.kind, feature.name)
}


def lacking(metric: "Metric", held: Mapping[str, bool]) -> str:
    """Why a metric means nothing where only these keys of `LACKS` are held, or "";
    unknown keys count as held.
    """
    called = getattr(metric, "players", "")
    # An input may have the name of a kind, and be of another.
    known = held.get(f"{INPUT}{called}", False)
    needs = metric.needs | (set() if known else PLAYERS_THAT_NEED.get(called, set()))
    return next((LACKS[need] for need in sorted(needs) if not held.get(need, True)), "")


class NotMeasured(VQAExplainError):
    """Raised by a metric where there is nothing to measure; the example is left out,
    and the report says why.
    """


def not_all_zero(values: np.ndarray) -> np.ndarray:
    """The values of an explanation, of which some must differ from 0.

    Raises:
        NotMeasured: all are 0.
    """
    if not values.any():
        raise NotMeasured("every value of the explanation is 0")
    return values


@dataclass(frozen=True)
class Noted:
    """A metric's value, with a note for those who read it.

    Attributes:
        value: the value.
        note: one clause, such as "only 2 of 3 stages could be compared".
    """

    value: float
    note: str


def holds_probabilities(kind: str, labels: Sequence[str] | None) -> dict[str, bool]:
    """Whether a model's outputs have probabilities, and whether it chooses among answers: keys of
    `LACKS`.

    `labels` are `None` for a model whose answers are any texts, and empty where they are not known
    yet.
    """
    several = labels is None or len(labels) != 1 or kind == "log_probabilities"
    return {"probability": kind != REAL, "choice": kind != REAL and several}


@dataclass(frozen=True)
class CreditOfBest:
    """Scores (B, K) → (B,): what the answer with the highest score is worth.

    Attributes:
        credits: (K,) what each answer is worth, from 0 to 1.
    """

    credits: tuple[float, ...]

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        return torch.tensor(self.credits, dtype=torch.float64, device="cpu")[
            scores.argmax(-1).cpu()
        ]


def right_answers(labels: Sequence[str], example: Example, fixed: bool) -> frozenset[int]:
    """The label numbers of an example's true answers, without regard to case; none where the model
    cannot give them.

    Where answers are a `fixed` set that has the text exactly, only that is right: "cardigan" is no
    "Cardigan".
    """
    true = true_answers(example)
    if fixed:
        return frozenset(index for text in true for index in matching_answers(labels, text.strip()))
    wanted = set(map(folded, true))
    return frozenset(index for index, label in enumerate(labels) if folded(label) in wanted)


def credits_of(model: Model, encoded: Encoded) -> tuple[float, ...]:
    """(K,) what each of the model's answers is worth for an example: 1 or 0."""
    right = right_answers(encoded.labels, encoded.example, fixed=model.labels is not None)
    return tuple(float(index in right) for index in range(len(encoded.labels)))


def targets_of(model: Model, encoded: Encoded, target: Target) -> tuple[Target, ...]:
    """The explained target, its probability, and what the model's answer is worth,
    where that can be known.
    """
    found = [target]
    if model.kind != REAL and (target.score != "probability" or target.contrast is not None):
        found.append(Target(target.index, None, "probability", kind=model.kind))
    found.append(Target(None, None, "logit", CreditOfBest(credits_of(model, encoded)), model.kind))
    return tuple(found)


class Metric(Protocol):
    """A registered metric: a frozen dataclass, a call, and the facts of `register_metric`."""

    name: ClassVar[str]
    source: ClassVar[str]
    better: ClassVar[Better]
    range: ClassVar[str]
    judges: ClassVar[Judges]
    needs: ClassVar[frozenset[str]]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __call__(self, case: Case) -> "float | Curve | Noted": ...


class MetricFacts(TypedDict):
    """The facts that `register_metric` takes besides the name."""

    source: str
    better: Better
    range: str
    judges: NotRequired[Judges]
    needs: NotRequired[Collection[str]]


METRICS: dict[str, type[Metric]] = {}
_FACTS = registry.FactSheet(
    "metric",
    required=("source", "better", "range"),
    defaults={"judges": "explanation", "needs": ()},
    choices={"better": get_args(Better), "judges": get_args(Judges), "needs": tuple(LACKS)},
)
# Without a bound: what judges a whole data set is computed by jobs of its own, and has no call.
M = TypeVar("M")


def register_metric(name: str, **facts: Unpack[MetricFacts]) -> Callable[[type[M]], type[M]]:
    """Makes a metric known by its name everywhere: `evaluate`, the shell, the lists.

    It stands above `@dataclass(frozen=True)`. The facts become attributes of the class.

    Args:
        name: how it is asked for.
        source: the paper and equation.
        better: "higher", "lower" or "neither".
        range: the values that it can take, in words.
        judges: "explanation", the default; or "answer" for what needs no explanation. "data set" is
            for `emap` of this package alone, which needs many examples at once.
        needs: what an example or a model must have, keys of `LACKS`; nothing by default.

    Raises:
        InvalidInput: a fact is missing, unknown or wrong; the class is no dataclass; or the name
            is another's.
    """
    checked = _FACTS.checked(name, facts)

    def decorate(cls: type[M]) -> type[M]:
        # No job computes it, and reports would take it for `emap`.
        if checked["judges"] == "data set" and cls.__module__.split(".")[0] != "vqa_explain":
            raise InvalidInput(
                f"metric {name!r} judges a data set, which only 'emap' can; "
                "let it judge an explanation or an answer"
            )
        registry.register("metric", METRICS, cls, checked)
        return cls

    return decorate


def read_metric(asked: Any) -> Metric:
    """The metric asked for: see `registry.read`."""
    return cast(Metric, registry.read("metric", METRICS, asked))
