"""What a method is: a frozen dataclass whose fields are its parameters and whose one act is a call."""

import math
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NotRequired, Protocol, TypedDict, TypeVar, Unpack, cast

import numpy as np
import torch

from vqa_explain import registry, units
from vqa_explain.errors import Unsupported
from vqa_explain.features.image import BLANKS, FILLS
from vqa_explain.features.regions import Regions, grid_regions
from vqa_explain.game import Batches, Cost, Game, Players
from vqa_explain.memory import Fitting
from vqa_explain.models.base import (
    Attention,
    Attentive,
    Encoded,
    Leaves,
    Model,
    Stepwise,
    Streaming,
    Streams,
    Target,
    check_fills,
    check_finite,
    footprint,
)
from vqa_explain.precision import in_float64

T = TypeVar("T")
Progress = Callable[[int, int], None]  # done, in all

NODES_AT_ONCE = 16  # examples through the model in one forward and backward pass, at most
# That the states of all layers of such a batch may take: the outputs and as much again.
GRADIENT_BYTES = 2 * 2**30

# Why a method refuses a model, by the capability that it needs.
LACKS = {
    "gradients": "it needs gradients, and this model gives scores only: it has none, or they are zero everywhere",
    "pixels": "it needs pixels, and this model sees features of boxes",
    "flow": "it needs attention that the answer is reached through, which this model does not give",
    "attention": "it needs attention from the answer to every token and patch, which this model does not give",
}
# What errors and values are called, everywhere.
STANDARD_ERROR = "largest standard error"
GAP = "completeness gap"
# Every fill that some model has; `check_fills` asks the model at hand.
IMAGE_FILLS = ("drop", *FILLS)
TEXT_FILLS = ("mask", "pad", "delete")
BASELINES = tuple(BLANKS)


@dataclass
class Task:
    """What a method is asked: explain this target of this example by this model.

    Attributes:
        players: the regions and pieces of the question that get a value each.
        targets: all targets of the call, which share one pass over coalitions; `target` is one of them.
        on_interrupt: "return" what is known so far, or "raise", when the user stops a long estimate.
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
    shift: Leaves | None = None  # what SmoothGrad adds to the leaves
    interrupted: bool = False
    fitting: Fitting = field(init=False)
    batches: Batches = field(init=False)

    def __post_init__(self) -> None:
        self.fitting = Fitting(self.model, sys.maxsize)
        self.batches = Batches(self.model, self.encoded)

    def leaves(self) -> Leaves:
        """The example's leaves, shifted where a shift is set."""
        leaves = self.model.leaves(self.encoded)
        return (
            leaves
            if self.shift is None
            else {name: leaf + self.shift[name] for name, leaf in leaves.items()}
        )

    def fills(self, image: str | None, text: str | None) -> dict[str, str]:
        """Every feature's fill, with the model's default where `None`."""
        asked = {"image": image, "text": text}
        names = {feature.name for feature in self.model.features}
        return check_fills(
            self.model, {k: v for k, v in asked.items() if v is not None and k in names}
        )

    def game(self, image: str | None = None, text: str | None = None) -> Game:
        """The game of regions and words; an absent one becomes the fill, the model's default where `None`."""
        fills = self.fills(image, text)
        key = tuple(fills.values())
        if key not in self.games:
            targets = self.targets or (self.target,)
            self.games[key] = Game(
                self.model, self.encoded, self.players, fills, targets, seed=self.seed
            )
        return self.games[key].facing(self.target, self.cost)

    def attention(self) -> Attention:
        """The model's attention for this example (capability "attention"), counted."""
        self.cost.forwards += 1
        found = cast(Attentive, self.model).attention(self.encoded)
        check_finite(found.scores, "the model's answer")
        return found

    def answer_steps(self) -> Iterator[tuple[Attention, torch.Tensor]]:
        """The model's attention at each place where the answer is read, with the scalar that it adds to the target.

        One for most models. A model that writes its answer reads it once for each of its tokens: the scalars are the
        terms of the target, linear in the answers' scores with the slopes that it has there.
        """
        model, target = self.model, self.target
        if not isinstance(model, Stepwise):
            found = self.attention()
            yield found, target(found.scores).sum()
            return
        named = [one for one in (target.index, target.contrast) if one is not None]
        places = model.answer_steps(self.encoded, named or range(len(self.encoded.labels)))
        slopes = None if len(places) == 1 else self._slopes()
        for before in places:
            self.cost.forwards += 1
            found = model.attention(self.encoded, before)
            check_finite(found.scores, "the model's answer")
            yield found, (target(found.scores) if slopes is None else found.scores @ slopes).sum()

    def _slopes(self) -> torch.Tensor:
        """(K,) the target's derivative in each answer's score, at the whole example."""
        with torch.no_grad():
            scores = self.model.scores(self.encoded, self.leaves())
        self.cost.forwards += 1
        with torch.enable_grad():
            scores = scores.detach().requires_grad_(True)
            return torch.autograd.grad(self.target(scores).sum(), scores)[0][0]

    def streams(self) -> Streams:
        """The model's attention for this example (capability "flow", two streams), counted."""
        self.cost.forwards += 1
        found = cast(Streaming, self.model).streams(self.encoded)
        check_finite(found.scores, "the model's answer")
        return found

    def score(self, leaves: Leaves) -> torch.Tensor:
        """The target's scores (B,) float64 of leaves, counted; without gradients in the batches that suit the model."""
        if torch.is_grad_enabled():
            return torch.cat(self._in_parts(leaves, self._score))
        found = []
        for batch in self.batches.split(np.ones(len(leaves["image"]))):
            rows = {name: leaf[batch] for name, leaf in leaves.items()}
            with self.batches.measured(self.model.module, len(rows["image"])):
                found += self._in_parts(rows, self._score)
        return torch.cat(found)

    def _score(self, leaves: Leaves) -> torch.Tensor:
        values = in_float64(self.target(self.model.scores(self.encoded, leaves)))
        self.cost.forwards += len(values)
        check_finite(values, "the target's score")
        return values

    def _in_parts(self, leaves: Leaves, run: Callable[[Leaves], T]) -> list[T]:
        def part(rows: slice) -> T:
            return run({name: leaf[rows] for name, leaf in leaves.items()})

        return list(self.fitting.parts(len(leaves["image"]), part))

    def whole(self, leaves: Leaves) -> tuple[float, int]:
        """The score of one example's leaves, and how many such a forward and backward pass takes in at once."""
        with torch.no_grad(), footprint(self.model.module) as found:
            value = float(self.score(leaves))
        return value, max(1, min(NODES_AT_ONCE, GRADIENT_BYTES // (2 * found.total)))

    def gradients(self, leaves: Leaves, *, whole: bool = False) -> tuple[torch.Tensor, Leaves]:
        """Scores (B,) and their gradient in each leaf (B, …), one backward for all features together.

        In parts where they do not fit into memory, unless the rows belong together (`whole`).
        """
        if whole:
            return self._gradients(leaves)
        parts = self._in_parts(leaves, self._gradients)
        gradients = {name: torch.cat([found[name] for _, found in parts]) for name in leaves}
        return torch.cat([values for values, _ in parts]), gradients

    def _gradients(self, leaves: Leaves) -> tuple[torch.Tensor, Leaves]:
        leaves = {name: leaf.detach().requires_grad_(True) for name, leaf in leaves.items()}
        with torch.enable_grad():
            values = self._score(leaves)
            found = self.slopes(values, leaves)
        self.cost.backwards += len(values)
        for slope in found:
            check_finite(slope, "the gradient")
        return values.detach(), dict(zip(leaves, found, strict=True))

    def slopes(self, values: torch.Tensor, leaves: Leaves) -> tuple[torch.Tensor, ...]:
        """The gradient of the sum of values (B,) in each leaf; zeros where they do not depend on it.

        Raises:
            Unsupported: they depend on it, and the network gives no gradient.
        """
        given = list(leaves.values())
        found: Sequence[torch.Tensor | None] = [None] * len(given)
        if values.requires_grad:
            found = torch.autograd.grad(values.sum(), given, allow_unused=True)
        for name, slope in zip(leaves, found, strict=True):
            if slope is None and self._depends(leaves, name):
                raise Unsupported(
                    f"the network of model {self.model.name!r} gives no gradient of its score in its {name}, as where "
                    "layers are quantized or run under torch.no_grad; use a method over coalitions, such as shapley"
                )
        return tuple(
            torch.zeros_like(x) if slope is None else slope
            for x, slope in zip(given, found, strict=True)
        )

    @torch.no_grad()
    def _depends(self, leaves: Leaves, name: str) -> bool:
        """Whether the score changes when a leaf does."""
        noise = torch.randn(leaves[name].shape, generator=torch.Generator().manual_seed(0)).to(
            leaves[name]
        )
        moved = {**leaves, name: leaves[name] + (leaves[name].std(correction=0) + 0.1) * noise}
        return not torch.equal(self._score(leaves), self._score(moved))


@dataclass(frozen=True)
class Attribution:
    """What a method found, in the model's frame and tokens, in the method's unit.

    Attributes:
        image: (H', W') per pixel.
        tokens: (T,) per token.
        error: completeness gap or largest standard error; `None` where the method has no such notion.
        error_kind: what `error` is.
        regions: the division that players were, or `None` for a method without players.
        region_values, region_errors: (R,).
        word_errors: (W,).
        interactions, interaction_errors: (W, R), what a word and a region bring only together.
    """

    image: np.ndarray
    tokens: np.ndarray
    error: float | None
    error_kind: str
    regions: Regions | None = None
    region_values: np.ndarray | None = None
    region_errors: np.ndarray | None = None
    word_errors: np.ndarray | None = None
    interactions: np.ndarray | None = None
    interaction_errors: np.ndarray | None = None


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
    """The method with a budget per player ("4n") made a number for this many players."""
    budget = getattr(method, "budget", None)
    if not isinstance(budget, str):
        return method
    return cast(
        Method,
        replace(cast(Any, method), budget=math.ceil(float(budget.removesuffix("n")) * players)),
    )


def unit_of_values(name: str, parameters: dict[str, Any]) -> str:
    """The unit of what the method of that name gives with these parameters; `NO_UNIT` of an unknown one."""
    cls = METHODS.get(name)
    if cls is None:
        return units.NO_UNIT
    if not hasattr(cls, "unit_of_values"):
        return units.unit_of(cls)
    return units.unit_of(
        cls(**{key: value for key, value in parameters.items() if key in cls.__dataclass_fields__})
    )


def check_support(method: Method, model: Model, encoded: Encoded | None = None) -> None:
    """Refuses a method that needs something that the model lacks.

    Args:
        method: the method.
        model: the model.
        encoded: the example to explain, for which the model may lack more; `None` before there is one.

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


def over_regions(task: Task, image: np.ndarray) -> np.ndarray:
    """(R,) sums of (H', W') values over the regions."""
    return task.players.regions.sums(image)


def over_words(task: Task, tokens: np.ndarray) -> np.ndarray:
    """(W,) sums of (T,) values over the pieces of the question; special tokens belong to none."""
    owner = task.players.units.owner
    return np.bincount(
        owner[owner >= 0], tokens[owner >= 0], minlength=len(task.players.units.words)
    )


def over_tokens(task: Task, in_words: np.ndarray) -> np.ndarray:
    """(T,) the values (W,) of the question's pieces, each spread evenly over its tokens."""
    owner = task.players.units.owner
    pieces = np.bincount(owner[owner >= 0], minlength=len(in_words))
    tokens = np.zeros(len(owner))
    tokens[owner >= 0] = (in_words / np.maximum(pieces, 1))[owner[owner >= 0]]
    return tokens


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


def from_cells(
    task: Task,
    cells: np.ndarray,
    tokens: np.ndarray,
    kind: str,
    grid: tuple[int, int] | None = None,
) -> Attribution:
    """An attribution without an error from values of a grid, or the model's own, and of tokens.

    `kind` says why it has none.
    """
    encoded = task.encoded
    own = grid_regions(encoded.geometry.frame, grid or encoded.grid)
    image = _over_picture(own, cells, encoded.geometry.inside)
    return Attribution(image, tokens, None, kind, task.players.regions, over_regions(task, image))


def _over_picture(cells: Regions, values: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """(H', W') each cell's value spread over its pixels in the picture, or over all if none are."""
    shown = np.bincount(cells.labels[inside], minlength=cells.count)
    over = np.where(shown > 0, shown, cells.area)
    counts = inside | (shown == 0)[cells.labels]
    return np.where(counts, (values / over)[cells.labels], 0.0)


def from_players(
    task: Task, game: Game, values: np.ndarray, errors: np.ndarray | None, error: float, kind: str
) -> Attribution:
    """An attribution from one value per player: spread evenly over a region's pixels or a word's tokens."""
    regions = game.players.regions
    in_regions, in_words = np.split(values, [regions.count])
    return Attribution(
        image=regions.spread(in_regions),
        tokens=over_tokens(task, in_words),
        error=error,
        error_kind=kind,
        regions=regions,
        region_values=in_regions,
        region_errors=None if errors is None else errors[: regions.count],
        word_errors=None if errors is None else errors[regions.count :],
    )
