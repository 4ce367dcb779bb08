"""What a method is: a frozen dataclass whose fields are its parameters and whose one act is a
call.
"""

import math
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, ClassVar, NotRequired, Protocol, TypedDict, TypeVar, Unpack, cast

import numpy as np
import torch
from torch import Tensor

from vqa_explain import registry, units
from vqa_explain._batches import Batches
from vqa_explain._memory import HalvingBatches, must_fit
from vqa_explain._precision import in_float64
from vqa_explain.cost import Cost
from vqa_explain.errors import Unsupported
from vqa_explain.features.base import Input, by_input
from vqa_explain.features.image import BLANKS, DROP, FILLS
from vqa_explain.features.parts import JointValues
from vqa_explain.game import Game, Players
from vqa_explain.games.progress import Progress
from vqa_explain.methods.passes import (
    Slopes,
    WholePass,
    WholeRun,
    attention_pass,
    streams_pass,
)
from vqa_explain.methods.shared import SharedPasses, digest
from vqa_explain.models.attending import Attention, Stepwise, StreamingSteps, Streams
from vqa_explain.models.base import Leaves, Model, check_fills, check_finite
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.network import footprint
from vqa_explain.own_fills import Fill
from vqa_explain.target import Target

T = TypeVar("T")
S = TypeVar("S", Attention, Streams)
Differentiate = Callable[[], Slopes]

AUTO_SETTLES, AUTO_MOST = 3, "100n"  # what budget="auto" stands for: settle=, and the budget
NODES_AT_ONCE = 16  # examples through the model in one forward and backward pass, at most
# That the states of all layers of such a batch may take: the outputs and as much again.
GRADIENT_BYTES = 2 * 2**30

# Why a method refuses a model, by the capability that it needs.
LACKS = {
    "gradients": (
        "it needs gradients, and this model gives scores only: it has none, or they are zero "
        "everywhere"
    ),
    "pixels": "it needs the pixels of a picture, and this model sees none",
    "flow": "it needs attention that the answer is reached through, which this model does not give",
    "attention": (
        "it needs attention from the answer to every token and patch, which this model does not "
        "give"
    ),
}
FILLS_HELP = (
    "what absent parts of single inputs become, such as {'image 2': 'blur'}; before the other fills"
)
# What errors and values are called, everywhere.
STANDARD_ERROR = "largest standard error"
GAP = "completeness gap"
# Every fill that some model has; `check_fills` asks the model at hand.
IMAGE_FILLS = (DROP, *FILLS)
TEXT_FILLS = ("mask", "pad", "delete")
BASELINES = tuple(BLANKS)


def fill_parameter(part: str, choices: tuple[str, ...]) -> Any:
    """The parameter of a method over coalitions that says what an absent part becomes.

    Args:
        part: what is absent, such as "region".
        choices: every fill that some model has; the user's own and "auto" are taken too.
    """
    about = f"what an absent {part} becomes (default: the model's; 'auto' measures which)"
    return registry.parameter(None, about, choices=choices, functions=True)


@dataclass
class Task:
    """What a method is asked: explain this target of this example by this model.

    Attributes:
        players: the parts of the inputs that get a value each.
        targets: all targets of the call, which share one pass over coalitions; `target` is one of
            them.
        on_interrupt: "return" what is known so far, or "raise", when the user stops a long
            estimate.
    """

    model: Model
    encoded: Encoded
    target: Target
    players: Players
    targets: tuple[Target, ...] = ()
    seed: int = 0
    progress: Progress | None = None
    on_interrupt: str = "raise"
    cost: Cost = field(default_factory=Cost)
    games: dict[tuple[str, ...], Game] = field(default_factory=dict)
    first: WholePass | None = None  # that the answer was taken from, of a `OnePass`
    plain: Tensor | None = None  # (1, K) scores of the network as it is, where they are known
    shift: Leaves | None = None  # what SmoothGrad adds to the leaves
    interrupted: bool = False
    known_only: bool = False  # coalitions that are known, and no others
    shared: SharedPasses | None = None  # of the words of an answer, which run one method in turn
    fitting: HalvingBatches = field(init=False)
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        self.fitting = HalvingBatches(self.model, sys.maxsize)
        self.batches = Batches(self.model, self.encoded)

    def leaves(self) -> Leaves:
        """The example's leaves, shifted where a shift is set."""
        leaves = self.model.leaves(self.encoded)
        if self.shift is None:
            return leaves
        return {name: leaf + self.shift[name] for name, leaf in leaves.items()}

    def fills(self, asked: Mapping[str, str] | None = None) -> dict[str, str]:
        """Input name → its fill: the one asked for, by input name, or else the model's default."""
        return check_fills(self.model, asked or {}, self.encoded.features)

    def baselines(self, asked: Mapping[str, str] | None = None, seed: int | None = None) -> Leaves:
        """The leaves with every player absent, under fills as `fills` takes them;
        fixed inputs as they are.
        """
        seed = self.seed if seed is None else seed
        own = next((fill for fill in self.fills(asked).values() if isinstance(fill, Fill)), None)
        if own is not None:
            raise Unsupported(
                f"fill {str(own)!r} is a function of your own, and this method needs a baseline "
                "that the network can be led to; use a method over coalitions, such as shapley"
            )
        return self.kept_fixed(self.model.baselines(self.encoded, self.fills(asked), seed))

    def kept_fixed(self, leaves: Leaves) -> Leaves:
        """Leaves (B, …), those of fixed inputs being the example's own."""
        fixed = [one.name for one in self.encoded.inputs if one.fixed]
        own = self.model.leaves(self.encoded) if fixed else {}
        return leaves | {name: own[name].expand_as(leaves[name]) for name in fixed}

    def game(self, asked: Mapping[str, str] | None = None) -> Game:
        """The game of all players; an absent one becomes its input's fill,
        as `fills` takes them.
        """
        fills = self.fills(asked)
        key = tuple(fills.values())
        if key not in self.games:
            targets = self.targets or (self.target,)
            self.games[key] = Game(
                self.model, self.encoded, self.players, fills, targets, seed=self.seed
            )
        return self.games[key].for_target(self.target, self.cost, self.known_only)

    def opened(self, run: WholeRun) -> WholePass:
        """A forward pass of the whole example, counted: the one that the answer was taken from,
        where there is one, else what `run` gives.
        """
        if self.first is None or self.shift is not None:
            return self.fresh(run)
        return self._counted(self.first)

    def fresh(self, run: WholeRun) -> WholePass:
        """A forward pass of its own, counted."""
        with must_fit(self.model):
            return self._counted(run(self.model, self.encoded, self.leaves()))

    def _counted(self, whole: WholePass) -> WholePass:
        if not whole.is_counted:
            whole.is_counted = True
            self.cost.forwards += 1
            if whole.is_rewritten:
                self._check_same(whole.scores.detach(), self._plain_scores())
        return whole

    def check_value(self, value: Tensor) -> None:
        """Compares the target's score () of the example, from a pass whose operations a method
        changed, with that of the network as it is. Takes one more forward pass, counted, where that
        is not known.

        Raises:
            Unsupported: they differ by more than rounding.
        """
        with torch.no_grad():
            own = in_float64(self.target(self._plain_scores()))
        self._check_same(value.reshape(1), own)

    @torch.no_grad()
    def _plain_scores(self) -> Tensor:
        """(1, K) scores of the leaves by the network as it is."""
        if self.plain is not None and self.shift is None:
            return self.plain
        scores = self.model.scores(self.encoded, self.leaves())
        self.cost.forwards += 1
        if self.shift is None:
            self.plain = scores
        return scores

    def _check_same(self, changed: Tensor, plain: Tensor) -> None:
        """
        Raises:
            Unsupported: two lists of scores, of changed operations and of the network as it is,
                differ by more than rounding.
        """
        found, own = in_float64(changed).flatten(), in_float64(plain).flatten()
        allowed = self._rounding()
        apart = (found - own).abs()
        if bool((apart <= allowed * max(float(own.abs().max()), allowed)).all()):
            return
        worst = int(apart.argmax())
        raise Unsupported(
            f"under the rules of this method model {self.model.name!r} gives a score of "
            f"{float(found[worst]):.4g}, and {float(own[worst]):.4g} without them, as where an "
            "in-place operation changes a tensor that is used again; load the network with "
            "inplace=False, or use integrated_gradients"
        )

    def _rounding(self) -> float:
        """The share of a score that rounding may change.

        It is the third root of the number type's precision, 0.5 % of float32: sums of another
        order, and shorter types inside matrix products, change less than that.
        """
        held = [*self.leaves().values(), *self.model.module.parameters()]
        types = {one.dtype for one in held if one.is_floating_point()}
        precision: float = max(torch.finfo(one).eps for one in types)
        return math.cbrt(precision)

    def slopes_of(self, whole: WholePass) -> Slopes:
        """The gradient of the target in each tensor that the pass is differentiated in, counted;
        `None` where it does not depend on it.
        """
        # A pass that is shared serves all targets, and any other this one alone.
        targets = self.targets if whole is self.first else (self.target,)
        with must_fit(self.model):
            found = whole.slopes(targets, targets.index(self.target))
        self.cost.backwards += 1
        return found

    def gradients_of(self, whole: WholePass) -> Leaves:
        """The gradient of the target in each leaf, of a pass over leaves.

        Raises:
            Unsupported: see `slopes`.
        """
        leaves: Leaves = whole.found
        slopes = self._all_given(leaves, self.slopes_of(whole))
        for slope in slopes:
            check_finite(slope, "the gradient")
        return dict(zip(leaves, slopes, strict=True))

    def answer_steps(self) -> Iterator[tuple[Attention, Differentiate]]:
        """The model's attention at each place where the answer is read, counted, and what gives the
        gradient in `every_map` of what that place adds to the target.

        One for most models. A model that writes its answer reads it once for each of its tokens:
        what they add are the terms of the target, linear in the answers' scores with the slopes
        that it has there.
        """
        if isinstance(self.model, Stepwise):
            yield from self._steps(self.model, self.model.attention)
        else:
            yield self._read_once(attention_pass)

    def answer_streams(self) -> Iterator[tuple[Streams, Differentiate]]:
        """The same of the attention of a network of two streams."""
        if isinstance(self.model, StreamingSteps):
            yield from self._steps(self.model, self.model.streams)
        else:
            yield self._read_once(streams_pass)

    def _read_once(self, run: WholeRun) -> tuple[Any, Differentiate]:
        whole = self.opened(run)
        return whole.found, partial(self.slopes_of, whole)

    def _steps(
        self, model: Stepwise | StreamingSteps, read: Callable[[Encoded, tuple[int, ...]], S]
    ) -> Iterator[tuple[S, Differentiate]]:
        """What is read at each token of the answer, and what differentiates what it adds to the
        target.
        """
        target = self.target
        named = [one for one in (target.index, target.contrast) if one is not None]
        places = model.answer_steps(self.encoded, named or range(len(self.encoded.labels)))
        slopes = None if len(places) == 1 else self._slopes()
        for before in places:
            self.cost.forwards += 1
            found = read(self.encoded, before)
            check_finite(found.scores, "the model's answer")
            value = target(found.scores) if slopes is None else found.scores @ slopes
            yield found, partial(self._slopes_in, value.sum(), found.every_map)

    def _slopes_in(self, value: torch.Tensor, maps: Sequence[torch.Tensor]) -> Slopes:
        """The gradient of one number in each map, counted."""
        self.cost.backwards += 1
        return torch.autograd.grad(value, list(maps), allow_unused=True)

    def _slopes(self) -> torch.Tensor:
        """(K,) the target's derivative in each answer's score, at the whole example."""
        with torch.no_grad():
            scores = self.model.scores(self.encoded, self.leaves())
        self.cost.forwards += 1
        with torch.enable_grad():
            scores = scores.detach().requires_grad_(True)
            return torch.autograd.grad(self.target(scores).sum(), scores)[0][0]

    def score(self, leaves: Leaves) -> torch.Tensor:
        """The target's scores (B,) float64 of leaves, counted;
        without gradients in the batches that suit the model.
        """
        if torch.is_grad_enabled():
            return torch.cat(self._in_parts(leaves, self._score))
        return self._value(self._all_scores(leaves))

    @torch.no_grad()
    def score_as_is(self, leaves: Leaves) -> torch.Tensor:
        """The same without gradients, of the network as it is: words of an answer share it.

        Not for a network with hooks that change what it computes.
        """
        if self.shared is None:
            return self.score(leaves)
        key, known = digest(leaves), self.shared.scores
        if key not in known:
            known[key] = self._all_scores(leaves)
        return self._value(known[key])

    def _all_scores(self, leaves: Leaves) -> torch.Tensor:
        """(B, K) scores of leaves without gradients, in the batches that suit the model."""
        found = []
        for batch in self.batches.split(np.ones(rows_of(leaves))):
            rows = {name: leaf[batch] for name, leaf in leaves.items()}
            with self.batches.measured(self.model.module, rows_of(rows)):
                found += self._in_parts(rows, self._scores)
        return torch.cat(found)

    def _score(self, leaves: Leaves) -> torch.Tensor:
        return self._value(self._scores(leaves))

    def _scores(self, leaves: Leaves) -> torch.Tensor:
        scores = self.model.scores(self.encoded, leaves)
        self.cost.forwards += len(scores)
        return scores

    def _value(self, scores: torch.Tensor) -> torch.Tensor:
        """The target's scores (B,) float64, of scores (B, K)."""
        values = in_float64(self.target(scores))
        check_finite(values, "the target's score")
        return values

    def _in_parts(self, leaves: Leaves, run: Callable[[Leaves], T]) -> list[T]:
        def part(rows: slice) -> T:
            return run({name: leaf[rows] for name, leaf in leaves.items()})

        return list(self.fitting.parts(rows_of(leaves), part))

    def whole(self, leaves: Leaves) -> tuple[float, int]:
        """The score of one example's leaves, and how many such a forward and backward pass takes
        in at once.
        """
        with torch.no_grad(), footprint(self.model.module) as found:
            value = float(self.score(leaves))
        return value, max(1, min(NODES_AT_ONCE, GRADIENT_BYTES // (2 * found.total)))

    def whole_as_is(self, leaves: Leaves) -> tuple[float, int]:
        """The same of the network as it is: words of an answer share it."""
        if self.shared is None:
            return self.whole(leaves)
        if not self.shared.at_once:
            _, self.shared.at_once = self.whole(leaves)
        return float(self.score_as_is(leaves)), self.shared.at_once

    def gradients(self, leaves: Leaves, *, whole: bool = False) -> tuple[torch.Tensor, Leaves]:
        """Scores (B,) and their gradient in each leaf (B, …), one backward for all inputs together.

        In parts where they do not fit into memory, unless the rows belong together (`whole`).
        """
        if whole:
            return self._gradients(leaves)
        return _joined(self._in_parts(leaves, self._gradients))

    def gradients_as_is(self, leaves: Leaves) -> tuple[torch.Tensor, Leaves]:
        """The same of the network as it is: words of an answer share forward passes."""
        if self.shared is None:
            return self.gradients(leaves)
        return _joined(self._in_parts(leaves, partial(self._shared_gradients, self.shared)))

    def _gradients(self, leaves: Leaves) -> tuple[torch.Tensor, Leaves]:
        leaves = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
        with torch.enable_grad():
            return self._gradients_of(self._scores(leaves), leaves, again=False)

    def _shared_gradients(
        self, shared: SharedPasses, leaves: Leaves
    ) -> tuple[torch.Tensor, Leaves]:
        """The same, with those of the words that come next: one forward pass serves them all."""
        leaves = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
        key = digest(leaves)
        known = shared.gradients(key, self.targets, self.target)
        if known is not None:
            return known
        together = shared.with_next(self.targets, self.target, leaves)
        with torch.enable_grad():
            scores = self._scores(leaves)
            mine = self._gradients_of(scores, leaves, again=len(together) > 1)
            for other in together[1:]:
                one = replace(self, target=other)  # whose backward pass this target pays for
                found = one._gradients_of(scores, leaves, again=other is not together[-1])
                shared.keep(key, self.targets, other, found)
        return mine

    def _gradients_of(
        self, scores: torch.Tensor, leaves: Leaves, again: bool
    ) -> tuple[torch.Tensor, Leaves]:
        """The target's scores (B,) and gradients, of scores (B, K) whose graph stays where it is
        needed `again`.
        """
        values = self._value(scores)
        found = self.slopes(values, leaves, again)
        self.cost.backwards += len(values)
        for slope in found:
            check_finite(slope, "the gradient")
        return values.detach(), dict(zip(leaves, found, strict=True))

    def slopes(
        self, values: torch.Tensor, leaves: Leaves, again: bool = False
    ) -> tuple[torch.Tensor, ...]:
        """The gradient of the sum of values (B,) in each leaf; zeros where they do not depend on
        it. The graph stays where it is needed `again`.

        Raises:
            Unsupported: they depend on it, and the network gives no gradient.
        """
        given = list(leaves.values())
        found: Slopes = (None,) * len(given)
        if values.requires_grad:
            found = torch.autograd.grad(values.sum(), given, allow_unused=True, retain_graph=again)
        return self._all_given(leaves, found)

    def _all_given(self, leaves: Leaves, found: Slopes) -> tuple[torch.Tensor, ...]:
        """Gradients in leaves, zeros where the score does not depend on one.

        Raises:
            Unsupported: it depends on it, and there is none.
        """
        for name, slope in zip(leaves, found, strict=True):
            if slope is None and self._depends(leaves, name):
                raise Unsupported(
                    f"the network of model {self.model.name!r} gives no gradient of its score in "
                    f"its {name}, as where layers are quantized or run under torch.no_grad; use a "
                    "method over coalitions, such as shapley"
                )
        return tuple(
            torch.zeros_like(x) if slope is None else slope
            for x, slope in zip(leaves.values(), found, strict=True)
        )

    @torch.no_grad()
    def _depends(self, leaves: Leaves, name: str) -> bool:
        """Whether the score changes when a leaf does."""
        noise = torch.randn(leaves[name].shape, generator=torch.Generator().manual_seed(0)).to(
            leaves[name]
        )
        moved = {**leaves, name: leaves[name] + (leaves[name].std(correction=0) + 0.1) * noise}
        return not torch.equal(self._score(leaves), self._score(moved))


def _joined(parts: list[tuple[torch.Tensor, Leaves]]) -> tuple[torch.Tensor, Leaves]:
    """Scores (B,) and gradients (B, …) of parts of a batch, as one."""
    _, first = parts[0]
    gradients = {name: torch.cat([found[name] for _, found in parts]) for name in first}
    return torch.cat([values for values, _ in parts]), gradients


def rows_of(leaves: Leaves) -> int:
    """B, how many examples the leaves (B, …) hold."""
    return len(next(iter(leaves.values())))


# Input name → a value per element (…), such as per pixel or token.
Values = Mapping[str, np.ndarray]


def of_leaves(encoded: Encoded, leaves: Leaves, largest: bool = False) -> dict[str, np.ndarray]:
    """Input name → values (B, …) per element of numbers shaped as the leaves; 0 of inputs that are
    fixed.

    See `Feature.collect`.
    """
    found = {}
    for name, values in leaves.items():
        one = encoded[name]
        own = torch.zeros_like(values) if one.fixed else values
        found[name] = one.feature.collect(own, largest)
    return found


def of_one(encoded: Encoded, leaves: Leaves, largest: bool = False) -> dict[str, np.ndarray]:
    """The same of leaves of batch 1: input name → values (…)."""
    return {name: values[0] for name, values in of_leaves(encoded, leaves, largest).items()}


def total(values: Values) -> float:
    """The sum of all values of all inputs."""
    return float(sum(one.sum() for one in values.values()))


@dataclass(frozen=True)
class Attribution:
    """What a method found, in the model's frame and tokens, in the method's unit.

    Attributes:
        values: input name → (…) a value per element: per pixel (H', W'), token (T,) or column.
        error: completeness gap or largest standard error; `None` where the method has no such
            notion.
        error_kind: what `error` is.
        players: the players that got values, or `None` for a method that values elements.
        player_values: (P,) their values; `None` for the sums over their elements.
        player_errors: (P,) their standard errors.
        joint: what players of two inputs bring only together.
        counts_sampling: whether the errors count those of sampled scores, as of a
            `models.base.Sampled`.
    """

    values: Values
    error: float | None
    error_kind: str
    players: Players | None = None
    player_values: np.ndarray | None = None
    player_errors: np.ndarray | None = None
    joint: tuple[JointValues, ...] = ()
    counts_sampling: bool = False


class Explains(Protocol):
    """What a class must do before it is registered as a method."""

    def __call__(self, task: Task) -> Attribution: ...


class Method(Explains, Protocol):
    """A registered method: a frozen dataclass, a call, and the facts of `register_method`."""

    name: ClassVar[str]
    unit: ClassVar[str]
    source: ClassVar[str]
    needs: ClassVar[frozenset[str]]
    error: ClassVar[str]
    cost: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


class MethodFacts(TypedDict):
    """The facts that `register_method` takes besides the name."""

    source: str
    error: str
    cost: str
    unit: NotRequired[str]
    needs: NotRequired[Collection[str]]


METHODS: dict[str, type[Method]] = {}
_FACTS = registry.FactSheet(
    "method",
    required=("source", "error", "cost"),
    defaults={"unit": units.NO_UNIT, "needs": ()},
    choices={"needs": tuple(LACKS)},
)
M = TypeVar("M", bound=Explains)


def register_method(name: str, **facts: Unpack[MethodFacts]) -> Callable[[type[M]], type[M]]:
    """Makes a method known by its name everywhere: `explain`, the viewer, the shell, runs.

    It stands above `@dataclass(frozen=True)`. The facts become attributes of the class.

    Args:
        name: how it is asked for.
        source: the paper and equation.
        error: the error that it states of its values.
        cost: what it typically spends.
        unit: what its values are, a name of `vqa_explain.units` or a text of one's own. By default
            values have "no unit", of which nothing is claimed.
        needs: the capabilities that a model must have, keys of `LACKS`; none by default.

    Raises:
        InvalidInput: a fact is missing, unknown or wrong; the class is no dataclass; or the name
            is another's.
    """
    checked = _FACTS.checked(name, facts)

    def decorate(cls: type[M]) -> type[M]:
        registry.register("method", METHODS, cls, checked)
        return cls

    return decorate


def create(name: str, parameters: dict[str, Any]) -> Method:
    """The method of that name with these parameters, each checked against its type and range."""
    return cast(Method, registry.create("method", METHODS, name, parameters))


def for_players(method: Method, players: int) -> Method:
    """The method with a budget per player ("4n") made a number for this many players, and "auto"
    a number at which it stops at the latest.
    """
    budget = getattr(method, "budget", None)
    if not isinstance(budget, str):
        return method
    if budget == registry.AUTO:
        settle = getattr(method, "settle", None) or AUTO_SETTLES
        method = cast(Method, replace(cast(Any, method), settle=settle))
        budget = AUTO_MOST
    whole = math.ceil(float(budget.removesuffix("n")) * players)
    return cast(Method, replace(cast(Any, method), budget=whole))


def unit_of_values(name: str, parameters: dict[str, Any]) -> str:
    """The unit of what the method of that name gives with these parameters;
    `NO_UNIT` of an unknown one.
    """
    cls = METHODS.get(name)
    if cls is None:
        return units.NO_UNIT
    if not hasattr(cls, "unit_of_values"):
        return units.unit_of(cls)
    known = {key: value for key, value in parameters.items() if key in cls.__dataclass_fields__}
    return units.unit_of(cls(**known))


def check_support(method: Method, model: Model, encoded: Encoded | None = None) -> None:
    """Refuses a method that needs something that the model lacks.

    Args:
        method: the method.
        model: the model.
        encoded: the example to explain, for which the model may lack more; `None` before there is
            one.

    Raises:
        Unsupported: with the reason, and the methods that work.
    """
    refusals = {} if encoded is None else encoded.refusals
    capable = model.capabilities - set(refusals)
    missing = method.needs - capable
    if missing:
        able = ", ".join(name for name, cls in METHODS.items() if cls.needs <= capable)
        reasons = {**LACKS, **refusals}
        why = "; ".join(reasons[what] for what in sorted(missing))
        raise Unsupported(
            f"method {method.name!r} cannot explain model {model.name!r}: {why}; these work: {able}"
        )


def asked_fills(method: object, inputs: Sequence[Input]) -> dict[str, Any]:
    """Input name → the fill or baseline that a method's parameters ask for; nothing where they
    leave it to the model.

    A parameter such as `text_fill` or `text_baseline` is for all inputs of that kind; `fills` goes
    by names, groups or kinds.

    Raises:
        InvalidInput: `fills` names no input.
    """
    return fills_in(registry.parameters_of(method), inputs)


def fills_in(given: Mapping[str, Any], inputs: Sequence[Input]) -> dict[str, Any]:
    """The same of a method's parameters by name."""
    found: dict[str, Any] = {}
    for one in inputs:
        for role in ("fill", "baseline"):
            if (fill := given.get(f"{one.kind}_{role}")) is not None:
                found[one.name] = fill
    return found | by_input(given.get("fills") or {}, inputs, "fills")


def alternatives(asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was asked, once for each of several fills where an input has a list of them."""
    lists = {name: tuple(a) if isinstance(a, list | tuple) else (a,) for name, a in asked.items()}
    most = max(map(len, lists.values()), default=1)
    several = [
        {name: some[number % len(some)] for name, some in lists.items()} for number in range(most)
    ]
    # `None` is the usual fill of an input, where other inputs have a list.
    return [{name: one for name, one in asked.items() if one is not None} for asked in several]


def until_stopped(task: Task, work: Iterator[T]) -> Iterator[T]:
    """The steps of `work` until the user stops it, where the task allows that and two are done."""
    done = 0
    while True:
        try:
            step = next(work)
        except StopIteration:
            return
        except KeyboardInterrupt:
            if task.on_interrupt != "return" or done < 2:
                raise
            task.interrupted = True
            return
        done += 1
        yield step


def from_states(
    task: Task, states: Values, kind: str, grid: tuple[int, int] | None = None
) -> Attribution:
    """An attribution without an error from values of the states of a layer that stand for each
    input.

    Args:
        task: what was asked.
        states: input name → (N,) values of the cells of a grid, of tokens or of columns.
        kind: why there is no error.
        grid: (rows, columns) of cells; `None` for the inputs' own.
    """
    values = {}
    for one in task.encoded.inputs:
        mine = states.get(one.name)
        if mine is None or one.fixed:
            values[one.name] = np.zeros(one.shape)
        else:
            values[one.name] = one.feature.of_states(one.content, mine, grid)
    return Attribution(values, None, kind, task.players, task.players.sums(values))


def from_players(
    game: Game, values: np.ndarray, errors: np.ndarray | None, error: float, kind: str
) -> Attribution:
    """An attribution from one value per player, spread evenly over its elements."""
    return Attribution(game.players.spread(values), error, kind, game.players, values, errors)


def with_sampling(found: Attribution, errors: np.ndarray | None = None) -> Attribution:
    """An attribution whose errors count those of sampled scores.

    Args:
        found: the attribution.
        errors: (P,) the players' standard errors from sampling alone, to be added to those that
            there are; `None` where these count them already.
    """
    own = found.player_errors
    whole = own if errors is None else np.hypot(0.0 if own is None else own, errors)
    return replace(found, player_errors=whole, counts_sampling=True)
