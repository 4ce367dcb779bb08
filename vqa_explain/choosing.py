"""`choose_fill`, and fills that are "auto": which fill keeps an answer and tells least of it."""

import dataclasses
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import numpy as np
import torch

from vqa_explain._memory import must_fit
from vqa_explain.asking import check_loaded
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.examples import Example
from vqa_explain.features.base import Input, inputs_called
from vqa_explain.features.geometry import BoxGeometry
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.game import Game, Players, make_players, with_players
from vqa_explain.methods.base import Method, asked_fills
from vqa_explain.models.base import Model, OpenModel, answers, check_fills
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sharing import network_held
from vqa_explain.own_fills import Fill
from vqa_explain.registry import AUTO, Texts
from vqa_explain.target import REAL, Target

log = logging.getLogger("vqa_explain")
MOST_PLAYERS = 16  # of a kind of input; each is tried alone under every fill
DRAWS = 8  # random sets of parts that matter little, besides all of them
ALIKE = 0.01  # probabilities that differ by less tell the same: the first fill is taken
NEAR = 0.1  # of the best share of answers kept: what is within that keeps as well


@dataclass(frozen=True)
class MeasuredFill:
    """A fill as it was measured.

    Attributes:
        kind: the kind of input that it fills.
        fill: its name.
        kept: the share of draws, from 0 to 1, in which the answer stayed with parts absent that
            matter little: the mean over examples.
        told: the probability of the answer, from 0 to 1, with every part of that kind absent and
            all else present: what the fill, or the rest, still tells. The mean over examples.
        chosen: whether it is the one.
    """

    kind: str
    fill: str
    kept: float
    told: float
    chosen: bool = False


@dataclass(frozen=True, eq=False)
class FillChoice:
    """Which fill was chosen for each kind of input, and what was measured.

    Attributes:
        measured: every fill that was tried, kind by kind.
        fills: kind of input → the fill that was chosen.
        examples: on how many examples.
        cost: what it took.
    """

    measured: tuple[MeasuredFill, ...]
    fills: Mapping[str, str]
    examples: int
    cost: Cost = field(default_factory=Cost)

    @property
    def image_fill(self) -> str | None:
        """The fill of pictures; `None` where there were none."""
        return self.fills.get(ImageFeature.kind)

    @property
    def text_fill(self) -> str | None:
        """The fill of texts; `None` where there were none."""
        return self.fills.get(TextFeature.kind)

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was chosen of each kind and why, a sentence each."""
        return tuple(self._sentence(one) for one in self.measured if one.chosen)

    def _sentence(self, one: MeasuredFill) -> str:
        others = [m for m in self.measured if m.kind == one.kind and not m.chosen]
        told = ", ".join(f"{m.fill} {m.kept:.0%} and {m.told:.0%}" for m in others)
        rest = f" ({told})" if told else ""
        return (
            f"{one.kind} fill {str(one.fill)!r} was chosen: the answer stayed in {one.kept:.0%} of "
            f"draws without parts that matter little, and has probability {one.told:.0%} with every "
            f"{one.kind} part absent{rest}"
        )

    def __str__(self) -> str:
        lines = [f"fills on {self.examples} example{'s' * (self.examples != 1)}"]
        lines.append(f"  {'':2}{'kind':8}{'fill':12}{'kept':>6}{'told':>7}")
        for one in self.measured:
            mark = "→" if one.chosen else ""
            lines.append(f"  {mark:2}{one.kind:8}{one.fill:12}{one.kept:6.0%}{one.told:7.0%}")
        lines.append("  kept: the answer stays without parts that matter little")
        lines.append("  told: the answer's probability with all parts of that kind absent")
        return "\n".join(lines)


def choose_fill(
    model: Model,
    examples: Example | Iterable[Example],
    *,
    fills: Mapping[str, Sequence[str]] | None = None,
    answers: Sequence[str] | None = None,
    seed: int = 0,
) -> FillChoice:
    """Measures the fills of a model on examples, and chooses one for each kind of input.

    Of each fill two things are measured. *Kept*: how often the answer stays while parts are absent
    that matter little: of parts that are tried alone under every fill, the half whose absence
    changes the answer's probability least, on the average over the fills; all of that half are
    absent once, and 8 random sets of it. *Told*: the probability of the answer while every part of
    that kind is absent and all else is present. Chosen is the fill that tells least, among those
    that keep the answer as often as the best of them, or at most a tenth less often; of those that
    tell the same to a hundredth, the model's default, or else the first.

    It takes about 25 evaluations for each fill and example: pictures are divided into at most 3 × 3
    cells, texts into at most 16 runs of words.

    Args:
        model: what `load` gave.
        examples: one or several.
        fills: kind of input → the fills to choose from, such as {"image": ["blur", "mean"]}, your
            own too; by default all that the model has.
        answers: candidates of a model that writes its answers.
        seed: for what is drawn.

    Returns:
        The choice, with all measurements; `image_fill` and `text_fill` are what `explain` takes.

    Raises:
        InvalidInput: there is no example, or a fill cannot be used.
        Unsupported: the model gives numbers, and chooses no answer.
    """
    check_loaded(model, "choose_fill")
    given = [examples] if isinstance(examples, Example) else list(examples)
    if not given or not all(isinstance(one, Example) for one in given):
        raise InvalidInput("choose_fill takes one vx.Example or several; give at least one")
    encoded = [_with_answers(model, model.encode(one), answers) for one in given]
    every = [one.kind for of in encoded for one in of.inputs if not one.fixed]
    kinds = list(dict.fromkeys(every))
    _check_among(fills or {}, kinds)
    return chosen_fills(model, encoded, kinds, fills or {}, seed)


def _check_among(fills: Mapping[str, Sequence[str]], kinds: Sequence[str]) -> None:
    """Refuses fills to choose from that are no lists by kinds of the examples' inputs."""
    for kind, some in fills.items():
        if kind not in kinds:
            raise unknown("kind of input in fills", kind, kinds)
        if isinstance(some, str) or not isinstance(some, Sequence) or not some:
            raise InvalidInput(
                f"fills[{kind!r}] must be a list of at least one fill, such as ['blur', 'mean'], "
                f"not {some!r}"
            )


def _with_answers(model: Model, encoded: Encoded, texts: Sequence[str] | None) -> Encoded:
    if model.labels is not None:
        return encoded
    writing = cast(OpenModel, model)
    written = list(writing.generate(encoded)) if texts is None else list(texts)
    return writing.with_answers(encoded, written)


def chosen_fills(
    model: Model,
    encoded: Sequence[Encoded],
    kinds: Collection[str],
    among: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> FillChoice:
    """The choice for some kinds of input, of examples that are read already."""
    if model.kind == REAL:
        raise Unsupported(
            f"model {model.name!r} gives real numbers and chooses no answer by which fills could be "
            "compared; name a fill"
        )
    began, cost = time.perf_counter(), Cost()
    measured: list[MeasuredFill] = []
    with network_held(model.module), torch.no_grad(), must_fit(model):
        for kind in kinds:
            measured += _measured_kind(model, encoded, kind, (among or {}).get(kind), seed, cost)
    cost.seconds = time.perf_counter() - began
    fills = {one.kind: one.fill for one in measured if one.chosen}
    return FillChoice(tuple(measured), fills, len(encoded), cost)


def _measured_kind(
    model: Model,
    encoded: Sequence[Encoded],
    kind: str,
    among: Sequence[str] | None,
    seed: int,
    cost: Cost,
) -> list[MeasuredFill]:
    """Every fill of a kind of input, with the chosen one marked."""
    having = [one for one in encoded if _inputs(one, kind)]
    fills = list(dict.fromkeys(among or _fills_of(having, kind)))
    of_examples = [_Trial(model, one, kind, fills, seed, cost).run() for one in having]
    # A fill counts where it can be used on every example.
    usable = [fill for fill in fills if all(fill in one for one in of_examples)]
    if not usable:
        raise Unsupported(
            f"none of the {kind} fills {', '.join(map(str, fills))} can be used on every example"
        )
    found: dict[str, list[float]] = {
        fill: np.mean([one[fill] for one in of_examples], axis=0).tolist() for fill in usable
    }
    best = max(kept for kept, _ in found.values())
    keeping = [fill for fill in usable if found[fill][0] >= best - NEAR]
    least = min(found[fill][1] for fill in keeping)
    chosen = next(fill for fill in keeping if found[fill][1] <= least + ALIKE)
    return [
        MeasuredFill(kind, fill, kept, told, fill == chosen) for fill, (kept, told) in found.items()
    ]


def _inputs(encoded: Encoded, kind: str) -> list[Input]:
    return [one for one in encoded.inputs if one.kind == kind and not one.fixed]


def _fills_of(encoded: Sequence[Encoded], kind: str) -> list[str]:
    """The fills that all inputs of a kind have, a default first."""
    features = [one.feature for of in encoded for one in _inputs(of, kind)]
    first = features[0]
    ordered = [first.default_fill, *(f for f in first.fills if f != first.default_fill)]
    return [fill for fill in ordered if all(fill in feature.fills for feature in features)]


def _few_players(encoded: Encoded, kind: str) -> Players:
    """The parts of the inputs of one kind, at most `MOST_PLAYERS` where that can be."""
    own = _inputs(encoded, kind)
    asked: Any = None
    if kind == ImageFeature.kind:
        side = next((n for n in (3, 2) if n * n * len(own) <= MOST_PLAYERS), 1)
        asked = None if any(isinstance(_geometry(one), BoxGeometry) for one in own) else side
    elif kind == TextFeature.kind:
        words = sum(one.divide(None).count for one in own)
        run = -(-words // MOST_PLAYERS)
        asked = f"ngrams:{run}" if run > 1 else None
    return make_players(encoded, {} if asked is None else {kind: asked})


def _geometry(one: Input) -> Any:
    return one.content.geometry


def _stays(best: int, whole: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Whether an answer stays, of probabilities (B, K): it is the most likely one; where it is the
    only one, it is at least half as likely as with everything.
    """

    def stays(likely: torch.Tensor) -> torch.Tensor:
        alone = likely.shape[1] == 1
        kept = likely[:, best] >= whole / 2 if alone else likely.argmax(dim=1) == best
        return kept.to(likely.dtype)

    return stays


class _Trial:
    """One example under each fill of one kind of input; all other inputs are there."""

    def __init__(
        self,
        model: Model,
        encoded: Encoded,
        kind: str,
        fills: Sequence[str],
        seed: int,
        cost: Cost,
    ) -> None:
        self.names = [one.name for one in _inputs(encoded, kind)]
        self.model, self.encoded = model, with_players(encoded, self.names)
        self.fills, self.seed, self.cost = fills, seed, cost
        self.players = _few_players(self.encoded, kind)

    def run(self) -> dict[str, tuple[float, float]]:
        """Fill → how often the answer is kept, and what is told of it; fills that cannot be used
        are left out.
        """
        games, count = self._games(), len(self.players)
        if not games:
            return {}
        alone = np.concatenate([np.ones((1, count), dtype=bool), ~np.eye(count, dtype=bool)])
        changes = []
        for _, probability in games.values():
            whole, *without_one = probability(alone)
            changes.append(np.abs(whole - without_one))
        little = np.argsort(np.mean(changes, axis=0), kind="stable")[: count // 2]
        drawn = np.random.default_rng(self.seed).random((DRAWS, len(little))) < 0.5
        absent = np.concatenate([np.ones((1, len(little)), dtype=bool), drawn])
        around = np.ones((len(absent), count), dtype=bool)
        around[:, little] = ~absent
        nobody = np.zeros((1, count), dtype=bool)
        return {
            fill: (float(stays(around).mean()), float(probability(nobody)[0]))
            for fill, (stays, probability) in games.items()
        }

    def _games(self) -> dict[str, tuple[Game, Game]]:
        """Fill → whether the answer stays, and its probability; of fills that can be used."""
        model, encoded = self.model, self.encoded
        best = answers(model, encoded)[0]
        self.cost.forwards += 1
        likely = Target(best.index, None, "probability", kind=model.kind)
        kept = _stays(best.index, cast(float, best.probability))
        stays = Target(None, None, "probability", kept, model.kind)
        found = {}
        for fill in self.fills:
            used = check_fills(model, dict.fromkeys(self.names, fill), encoded.features)
            try:
                game = Game(
                    model, encoded, self.players, used, (stays, likely), seed=self.seed,
                    cost=self.cost,
                )  # fmt: skip
                game(np.zeros((1, len(game)), dtype=bool))  # whether it can be used at all
            except (Unsupported, InvalidInput) as error:
                if isinstance(fill, Fill):
                    raise
                # Such as leaving out patches that have no place.
                log.info("fill %r cannot be tried: %s", fill, error)
                continue
            found[fill] = game.for_target(stays, self.cost), game.for_target(likely, self.cost)
        return found


def resolved_fills(
    model: Model, encoded: Encoded, asked: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], FillChoice | None]:
    """Input name → fill, of which "auto" is the one that suits this example; and the choice, where
    there was one to make.
    """
    kinds = [one.kind for one in encoded.inputs if asked.get(one.name) == AUTO and not one.fixed]
    choice = None
    if kinds:
        choice = chosen_fills(model, [encoded], list(dict.fromkeys(kinds)), seed=seed)
    fills = {} if choice is None else choice.fills
    usual = {one.name: fills.get(one.kind, one.feature.default_fill) for one in encoded.inputs}
    chosen = {name: usual[name] if fill == AUTO else fill for name, fill in asked.items()}
    return chosen, choice


def with_chosen_fills(
    method: Method, model: Model, encoded: Encoded, seed: int
) -> tuple[Method, FillChoice | None]:
    """A method whose fills that are "auto" are those that suit this example; and the choice, where
    there was one to make.
    """
    settings: dict[str, Any] = {
        f.name: getattr(method, f.name)
        for f in dataclasses.fields(cast(Any, method))
        if f.metadata.get("functions") or f.name == "fills"
    }
    by_name = settings.get("fills") or {}
    if AUTO not in (*settings.values(), *by_name.values()) or len(settings) < 2:
        return method, None
    asked = asked_fills(method, encoded.inputs)
    chosen, choice = resolved_fills(model, encoded, asked, seed)
    changed: dict[str, Any] = {}
    for name, value in settings.items():
        if value == AUTO:
            kind = name.rpartition("_")[0]
            of_kind = [
                chosen[one.name]
                for one in encoded.inputs
                if one.kind == kind and one.name in chosen
            ]
            changed[name] = of_kind[0] if of_kind else None
    if by_name:
        changed["fills"] = Texts(
            {
                called: chosen[inputs_called(encoded.inputs, called)[0]] if fill == AUTO else fill
                for called, fill in by_name.items()
            }
        )
    return cast(Method, replace(cast(Any, method), **changed)), choice
