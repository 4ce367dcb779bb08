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
from vqa_explain._numbers import checked_seed
from vqa_explain._shown import percent_text
from vqa_explain.asking import check_loaded
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.examples import Example
from vqa_explain.features.base import Input, inputs_called
from vqa_explain.features.geometry import BoxGeometry
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import TextFeature
from vqa_explain.game import Game, Players, make_players
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
NEAR = 0.03  # of the best share of answers kept: what is within that keeps as well


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
        told = ", ".join(
            f"{m.fill} {percent_text(m.kept)} and {percent_text(m.told)}" for m in others
        )
        rest = f" ({told})" if told else ""
        return (
            f"{one.kind} fill {str(one.fill)!r} was chosen: the answer stayed in "
            f"{percent_text(one.kept)} of draws without parts that matter little, and has "
            f"probability {percent_text(one.told)} with every {one.kind} part absent{rest}"
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
    that matter little. Those are, of each kind of input, the half of its parts whose absence alone
    changes the answer's probability least, on the average over the fills. All of them are absent
    once, and 8 random sets of them, those of the other kinds under their own fills. *Told*: the
    probability of the answer while every part of that kind is absent and all else is present.
    Chosen is the fill that tells least, among those that keep the answer as often as the best of
    them, or at most 3 in 100 draws less often; of those that tell the same to a hundredth, the
    model's default, or else the first.

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
    seed = checked_seed(seed)
    several = examples if isinstance(examples, Iterable) else ()
    given = [examples] if isinstance(examples, Example) else list(several)
    if not given or not all(isinstance(one, Example) for one in given):
        raise InvalidInput("choose_fill takes one vx.Example or several; give at least one")
    encoded = [_with_answers(model, model.encode(one), answers) for one in given]
    every = [one.kind for of in encoded for one in of.inputs if not one.fixed]
    kinds = list(dict.fromkeys(every))
    _check_among(fills or {}, kinds)
    return chosen_fills(model, encoded, kinds, fills or {}, seed=seed)


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
    usual: Mapping[str, str] | None = None,
    seed: int = 0,
) -> FillChoice:
    """The choice for some kinds of input, of examples that are read already.

    Args:
        kinds: those to choose for.
        among: kind → fills to choose from, as `choose_fill` takes them.
        usual: input name → the fill of inputs of other kinds, where that is not their default.
    """
    if model.kind == REAL:
        raise Unsupported(
            f"model {model.name!r} gives real numbers and chooses no answer by which fills could be "
            "compared; name a fill"
        )
    began, cost = time.perf_counter(), Cost()
    fills = {kind: _fills_among(encoded, kind, (among or {}).get(kind)) for kind in kinds}
    with network_held(model.module), torch.no_grad(), must_fit(model):
        trials = [_Trial(model, one, fills, usual or {}, seed, cost).run() for one in encoded]
    measured: list[MeasuredFill] = []
    for kind, tried in fills.items():
        measured += _measured_kind(kind, tried, [one[kind] for one in trials if kind in one])
    cost.seconds = time.perf_counter() - began
    chosen = {one.kind: one.fill for one in measured if one.chosen}
    return FillChoice(tuple(measured), chosen, len(encoded), cost)


Measured = dict[str, tuple[float, float]]  # fill → kept, told


def _measured_kind(
    kind: str, fills: Sequence[str], of_examples: Sequence[Measured]
) -> list[MeasuredFill]:
    """Every fill of a kind of input, with the chosen one marked."""
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


def _fills_among(encoded: Sequence[Encoded], kind: str, among: Sequence[str] | None) -> list[str]:
    """The fills to choose from: by default those that all inputs of a kind have, a default
    first.
    """
    if among:
        return list(dict.fromkeys(among))
    features = [one.feature for of in encoded for one in _inputs(of, kind)]
    first = features[0]
    ordered = dict.fromkeys([first.default_fill, *first.fills])
    return [fill for fill in ordered if all(fill in feature.fills for feature in features)]


def _few_players(encoded: Encoded) -> Players:
    """The parts of the inputs, at most `MOST_PLAYERS` of each kind where that can be."""
    pictures = _inputs(encoded, ImageFeature.kind)
    texts = _inputs(encoded, TextFeature.kind)
    asked: dict[str, Any] = {}
    if pictures and not any(isinstance(_geometry(one), BoxGeometry) for one in pictures):
        sides = (n for n in (3, 2) if n * n * len(pictures) <= MOST_PLAYERS)
        asked[ImageFeature.kind] = next(sides, 1)
    run = -(-sum(one.divide(None).count for one in texts) // MOST_PLAYERS)
    if run > 1:
        asked[TextFeature.kind] = f"ngrams:{run}"
    return make_players(encoded, asked)


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
    """One example under each fill of some kinds of input."""

    def __init__(
        self,
        model: Model,
        encoded: Encoded,
        fills: Mapping[str, Sequence[str]],
        usual: Mapping[str, str],
        seed: int,
        cost: Cost,
    ) -> None:
        self.model, self.encoded, self.seed, self.cost = model, encoded, seed, cost
        self.usual = check_fills(model, usual, encoded.features)
        self.players = _few_players(encoded)
        self.own = {
            kind: self._numbers(kind)
            for kind in dict.fromkeys(one.kind for one in encoded.inputs if not one.fixed)
        }
        # Of a kind for which nothing is chosen, its own fill says which parts matter little.
        self.fills = {kind: fills.get(kind, (None,)) for kind in self.own}
        best = answers(model, encoded)[0]
        cost.forwards += 1
        self.likely = Target(best.index, None, "probability", kind=model.kind)
        kept = _stays(best.index, cast(float, best.probability))
        self.stays = Target(None, None, "probability", kept, model.kind)

    def _numbers(self, kind: str) -> np.ndarray:
        names = [one.name for one in _inputs(self.encoded, kind)]
        return np.unique(np.concatenate([self.players.of[name].numbers for name in names]))

    def run(self) -> dict[str, Measured]:
        """Kind → fill → how often the answer is kept, and what is told of it; fills that cannot be
        used are left out.
        """
        games = {
            kind: {fill: game for fill in fills if (game := self._game(kind, fill)) is not None}
            for kind, fills in self.fills.items()
        }
        around = self._without_little(games)
        return {
            kind: {
                fill: (
                    float(game.for_target(self.stays, self.cost)(around).mean()),
                    float(game.for_target(self.likely, self.cost)(self._absent(own))[0]),
                )
                for fill, game in games[kind].items()
                if fill is not None
            }
            for kind, own in self.own.items()
        }

    def _absent(self, numbers: np.ndarray) -> np.ndarray:
        """(1, P) bool, everybody but these players."""
        present = np.ones((1, len(self.players)), dtype=bool)
        present[0, numbers] = False
        return present

    def _without_little(self, games: Mapping[str, Mapping[str | None, Game]]) -> np.ndarray:
        """(N, P) bool, coalitions in which absent parts are of those that matter little: of each
        kind, the half whose absence alone changes the answer's probability least.
        """
        little = np.zeros(len(self.players), dtype=bool)
        for kind, own in self.own.items():
            alone = np.concatenate(
                [self._absent(own[:0]), *(self._absent(n) for n in own[:, None])]
            )
            changes = []
            for game in games[kind].values():
                whole, *without_one = game.for_target(self.likely, self.cost)(alone)
                changes.append(np.abs(whole - without_one))
            if changes:
                order = np.argsort(np.mean(changes, axis=0), kind="stable")
                little[own[order[: len(own) // 2]]] = True
        drawn = np.random.default_rng(self.seed).random((DRAWS, int(little.sum()))) < 0.5
        absent = np.concatenate([np.ones((1, drawn.shape[1]), dtype=bool), drawn])
        around = np.ones((len(absent), len(self.players)), dtype=bool)
        around[:, little] = ~absent
        return around

    def _game(self, kind: str, fill: str | None) -> Game | None:
        """The game under a fill of a kind, or the kind's own fill; `None` where it cannot be
        used.
        """
        names = [one.name for one in _inputs(self.encoded, kind)]
        given = self.usual if fill is None else self.usual | dict.fromkeys(names, fill)
        used = check_fills(self.model, given, self.encoded.features)
        try:
            game = Game(
                self.model, self.encoded, self.players, used, (self.stays, self.likely),
                seed=self.seed, cost=self.cost,
            )  # fmt: skip
            game(self._absent(self.own[kind]))  # whether it can be used at all
        except (Unsupported, InvalidInput) as error:
            if isinstance(fill, Fill):
                raise
            # Such as leaving out patches that have no place.
            log.info("fill %r cannot be tried: %s", fill, error)
            return None
        return game


def resolved_fills(
    model: Model, encoded: Encoded, asked: Mapping[str, Any], seed: int
) -> tuple[dict[str, Any], FillChoice | None]:
    """Input name → fill, of which "auto" is the one that suits this example; and the choice, where
    there was one to make.
    """
    kinds = [one.kind for one in encoded.inputs if asked.get(one.name) == AUTO and not one.fixed]
    choice = None
    if kinds:
        usual = {name: fill for name, fill in asked.items() if fill != AUTO}
        choice = chosen_fills(model, [encoded], list(dict.fromkeys(kinds)), usual=usual, seed=seed)
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
