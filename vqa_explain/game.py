"""The combinatorial view: parts of the inputs are players, and any set of them has a score."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from vqa_explain._batches import Batches
from vqa_explain._precision import in_float64
from vqa_explain._shapes import Pairs, PlayerValues, Scores
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, NonFiniteScore, unknown
from vqa_explain.features.base import Division, Input, Present, by_input, inputs_called
from vqa_explain.games.estimators import AllKnown
from vqa_explain.models import filling
from vqa_explain.models.base import Model, Remembering, sampled
from vqa_explain.models.encoded import Encoded, with_few
from vqa_explain.models.sharing import a_batch_is_over, network_held
from vqa_explain.target import Target


@dataclass(frozen=True, eq=False)
class InputPlayers:
    """The players of one input.

    Attributes:
        division: of the input's elements, with numbers of its own from 0.
        numbers: (P_i,) the number of each in the game; a number that two inputs hold is one player
            in both.
    """

    division: Division
    numbers: Int[np.ndarray, " P_i"]


@dataclass(frozen=True, eq=False)
class Players:
    """The players of a game: those of each input, in the inputs' order.

    Attributes:
        of: input name → its players.
        count: how many there are in all.
    """

    of: Mapping[str, InputPlayers]
    count: int

    def __len__(self) -> int:
        return self.count

    def present(self, coalitions: Bool[Tensor, "N P"]) -> dict[str, Present]:
        """Input name → its players in each coalition, of coalitions (N, P) bool."""
        return {
            name: Present(one.division, coalitions[:, torch.from_numpy(one.numbers)])
            for name, one in self.of.items()
        }

    @cached_property
    def area(self) -> np.ndarray:
        """(P,) the number of elements of each player, in all inputs."""
        return self._total({name: one.division.area for name, one in self.of.items()})

    def sums(self, values: Mapping[str, np.ndarray]) -> PlayerValues:
        """(P,) the sum over each player's elements of values (…) of each input."""
        return self._total({name: one.division.sums(values[name]) for name, one in self.of.items()})

    def _total(self, values: Mapping[str, np.ndarray]) -> np.ndarray:
        total = np.zeros(self.count)
        for name, one in self.of.items():
            np.add.at(total, one.numbers, values[name])
        return total

    def spread(self, values: PlayerValues) -> dict[str, np.ndarray]:
        """Input name → values (…) of its elements: the values (P,) of players,
        each spread evenly over its elements.
        """
        return {
            name: one.division.spread(self.in_input(name, values)) for name, one in self.of.items()
        }

    def _share(self, one: InputPlayers) -> np.ndarray:
        """(P_i,) the share of each player's elements that lies in one input:
        1 where it is in no other.
        """
        mine, whole = one.division.area, self.area[one.numbers]
        share: np.ndarray = np.ones(len(one.numbers))
        np.divide(mine, whole, out=share, where=mine < whole)
        return share

    def in_input(self, name: str, values: PlayerValues) -> Float[np.ndarray, " P_i"]:
        """(P_i,) what belongs to one input of values (P,): all of a player's value,
        but for one in several inputs.
        """
        one = self.of[name]
        mine: np.ndarray = values[one.numbers] * self._share(one)
        return mine

    @property
    def unions(self) -> list[np.ndarray]:
        """The players of each input, or of several inputs that have players in common."""
        found: list[set[int]] = []
        for one in self.of.values():
            mine = set(one.numbers.tolist())
            joined = [other for other in found if other & mine]
            found = [other for other in found if not other & mine]
            found += [mine.union(*joined)] if mine else []
        return [np.array(sorted(union)) for union in found]

    @property
    def input_pairs(self) -> list[tuple[str, str]]:
        """Pairs of inputs whose players can be paired, the later input first;
        no player is paired with itself.
        """
        names: list[str] = []
        known: set[int] = set()
        for name, one in self.of.items():
            # Frames of a block have the same players: the first of them stands for all.
            if not known.issuperset(one.numbers.tolist()):
                names.append(name)
            known.update(one.numbers.tolist())
        return [(later, name) for i, name in enumerate(names) for later in names[i + 1 :]]

    def pairs(self, first: str, second: str) -> Pairs:
        """(A · B, 2) the players of every pair of two inputs, row by row."""
        one, other = self.of[first].numbers, self.of[second].numbers
        return np.stack(np.meshgrid(one, other, indexing="ij"), axis=-1).reshape(-1, 2)

    def whole_parts(self, inputs: Sequence[Input], fills: Mapping[str, str]) -> "Players":
        """The players made of what each input's fill takes away as a whole, such as patches."""
        changed = {
            one.name: replace(
                self.of[one.name],
                division=one.feature.whole_parts(
                    one.content, self.of[one.name].division, fills[one.name]
                ),
            )
            for one in inputs
        }
        return Players(changed, self.count)


@dataclass(frozen=True)
class Blocks:
    """A division of the frames of a video into blocks of space and time, which are players in
    several frames.

    Attributes:
        frames: how many frames in a row a block spans; the last of a video may span fewer.
        regions: how each frame is divided: see `features.regions.divide`. It must be alike in all
            frames.
    """

    frames: int
    regions: Any = None


def make_players(encoded: Encoded, divided: Mapping[str, Any] | None = None) -> Players:
    """The players that were asked for.

    Args:
        encoded: the example.
        divided: how inputs are divided, by name, group or kind; `None` is the usual division. See
            `Feature.divide`.

    Raises:
        InvalidInput: a division cannot be used or is of no input, or no input has players.
    """
    of: dict[str, InputPlayers] = {}
    count, blocks = 0, _BlockNumbers()
    divisions = by_input(divided or {}, encoded.inputs, "the divisions")
    for number, one in enumerate(encoded.inputs):
        asked = divisions.get(one.name)
        spans = asked if isinstance(asked, Blocks) else None
        division = one.divide(asked if spans is None else spans.regions)
        numbers = np.arange(count, count + division.count)
        if spans is not None:
            place = sum(other.group == one.group for other in encoded.inputs[:number])
            numbers = blocks.numbers(one, spans, division, place, count)
        of[one.name] = InputPlayers(division, numbers)
        count = max(count, int(numbers.max(initial=-1)) + 1)
    if not count:
        raise InvalidInput("no input has players; name at least one in players=")
    return Players(of, count)


class _BlockNumbers:
    """Players' numbers where frames in a row share them."""

    def __init__(self) -> None:
        self._begun: dict[tuple[str, int, int], tuple[np.ndarray, Division]] = {}

    def numbers(
        self, one: Input, blocks: Blocks, division: Division, place: int, fresh: int
    ) -> np.ndarray:
        """The numbers of a frame's players: those of its block, or new ones from `fresh`.

        Args:
            one: the frame.
            blocks: what was asked.
            division: the frame's own.
            place: its number in the video, from 0. Frames that are fixed count, for blocks span
                frames in a row.
            fresh: the first number that no player has.

        Raises:
            InvalidInput: the input is no frame of a video, or its division is another than that of
                the frame before.
        """
        if not one.group:
            raise InvalidInput(
                f"blocks span frames of a video, and input {one.name!r} is a picture alone; divide "
                "it by regions"
            )
        whole = isinstance(blocks.frames, Integral) and not isinstance(blocks.frames, bool)
        if not whole or blocks.frames < 1:
            raise InvalidInput(
                f"a block spans at least 1 frame, a whole number of them, not {blocks.frames!r}"
            )
        if one.fixed:
            return np.empty(0, dtype=int)
        new = np.arange(fresh, fresh + division.count)
        span = int(blocks.frames)
        block = (one.group, span, place // span)
        numbers, first = self._begun.setdefault(block, (new, division))
        if not _alike(first, division):
            raise InvalidInput(
                f"blocks need frames that are divided alike, and {one.name!r} is divided in "
                f"another way than the frames before it; give a grid, such as Blocks({span}, 4)"
            )
        return numbers


def _alike(one: Division, other: Division) -> bool:
    """Whether two frames are divided alike: with the same regions, where they have one shape."""
    same = one.owner.shape != other.owner.shape or np.array_equal(one.owner, other.owner)
    return one.count == other.count and same


def called_inputs(inputs: Sequence[Input], called: str) -> tuple[str, ...]:
    """The names of the inputs that a text means in `players`: of that name, of that group, or of
    that kind.

    Raises:
        InvalidInput: no input is called so.
    """
    names = inputs_called(inputs, called)
    if not names:
        groups = [one.group for one in inputs if one.group]
        kinds = [one.kind for one in inputs]
        known = dict.fromkeys([*(one.name for one in inputs), *groups, *kinds])
        raise unknown("input in players", str(called), known)
    return names


def with_players(encoded: Encoded, only: str | Sequence[str] | None) -> Encoded:
    """The example, of whose inputs only those that are named, by name, group or kind, have players.

    Raises:
        InvalidInput: a name is no input's, or they are no list of names.
    """
    if only is None:  # as the model says
        return encoded
    if not isinstance(only, str | Iterable):
        raise InvalidInput(
            f"players= names inputs, such as ['question'], and {only!r} is no list of names"
        )
    inputs = encoded.inputs
    wanted: set[str] = set()
    for called in [only] if isinstance(only, str) else only:
        wanted.update(called_inputs(inputs, called))
    chosen = [replace(one, fixed=one.name not in wanted) for one in inputs]
    return replace(encoded, inputs=tuple(chosen))


@dataclass(frozen=True, eq=False)
class SamplingErrors:
    """How far the scores of coalitions may be off, where they are frequencies in samples.

    Attributes:
        coalitions: (N, P) bool.
        questions: (N,) what each was asked as: equal ones share one error.
        variances: (N,) of the scores.
    """

    coalitions: np.ndarray
    questions: list[str]
    variances: np.ndarray


class Game:
    """Coalitions (N, P) bool → scores (N,) float64 of the target with only those players present.

    A coalition is never computed twice: the scores of all `targets` are kept under the coalition's
    packed bits, and the games that `for_target` gives share them. Players that a coalition lacks
    become the fill of their input; under a fill that takes away whole patches, players are first
    made of these (`Feature.whole_parts`).
    """

    def __init__(
        self,
        model: Model,
        encoded: Encoded,
        players: Players,
        fills: dict[str, str],
        targets: Target | tuple[Target, ...],
        *,
        seed: int = 0,
        cost: Cost | None = None,
    ) -> None:
        self.model = model
        self.encoded = model.for_game(encoded) if isinstance(model, Remembering) else encoded
        self.players = players.whole_parts(encoded.inputs, fills)
        self.targets = targets if isinstance(targets, tuple) else (targets,)
        # Coalitions score the candidates that the targets read, and no others.
        self._asked, self._goals = _of_what_is_read(encoded, self.targets)
        if isinstance(model, Remembering):
            self._asked = model.for_game(self._asked)
        self.fills, self.seed = fills, seed
        self.cost = cost if cost is not None else Cost()
        self._column, self._known_only = 0, False
        self._known: dict[bytes, tuple[float, ...]] = {}
        # Where scores are sampled: what was asked, and the variance of each target's score.
        self._errors: dict[bytes, tuple[str, tuple[float, ...]]] = {}
        self._batches = Batches(model, self._asked)
        self._length = self._lengths()

    def _lengths(self) -> np.ndarray:
        """(P,) the share of the whole sequence that each present player keeps,
        where absent ones leave it.
        """
        inputs = self.encoded.inputs
        whole = sum(one.feature.length(one.content) for one in inputs)
        lengths = np.zeros(len(self.players))
        for one in inputs:
            mine = self.players.of[one.name]
            if one.feature.shortens(self.fills[one.name]) and len(mine.numbers):
                share = mine.division.area / mine.division.area.sum()
                lengths[mine.numbers] += share * one.feature.length(one.content) / whole
        return lengths

    def __len__(self) -> int:
        """The number of players P."""
        return len(self.players)

    def for_target(self, target: Target, cost: Cost, known_only: bool = False) -> "Game":
        """The same game as another of its targets sees it,
        which costs only the coalitions that nobody asked before.

        With `known_only` it computes none, and estimates end where one is asked for.
        """
        other = copy.copy(self)
        other._column, other.cost = self.targets.index(target), cost
        other._known_only = known_only
        return other

    def __call__(
        self, coalitions: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> Scores:
        """Scores (N,) of coalitions (N, P).

        Raises:
            NonFiniteScore: the model gave NaN or infinity; the message names the coalition.
            OutOfMemory: not even one coalition fits.
            AllKnown: one of them is not known, of a game that computes none.
        """
        coalitions = np.atleast_2d(np.asarray(coalitions, dtype=bool))
        keys = [row.tobytes() for row in np.packbits(coalitions, axis=1)]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        if fresh and self._known_only:
            raise AllKnown
        rows = np.fromiter(fresh.values(), dtype=int, count=len(fresh))
        lengths = 1 - self._length.sum() + coalitions[rows] @ self._length
        # Coalitions of like length share a batch, so that dropped patches shorten the sequence of
        # all of them.
        order = np.argsort(lengths, kind="stable")
        for part in self._batches.split(lengths[order]):
            batch = rows[order[part]]
            longest = float(lengths[order[part]][-1])
            for row, values in zip(batch, self._compute(coalitions[batch], longest), strict=True):
                self._known[keys[row]] = values
            if progress:
                progress(len(batch))
            a_batch_is_over()
        return np.array([self._known[key][self._column] for key in keys])

    def _compute(self, coalitions: np.ndarray, longest: float) -> list[tuple[float, ...]]:
        """One batch, the longest being this share of a whole example."""

        def run(rows: slice) -> list[tuple[float, ...]]:
            part = coalitions[rows]
            with (
                network_held(self.model.module),
                self._batches.measured(self.model.module, len(part) * longest),
            ):
                logits = self._scored(torch.from_numpy(part).to(self.model.device), self._asked)
            self.cost.forwards += len(part)
            values = self._values(logits, part)
            self._note_errors(logits, part)
            return values

        return [
            values for part in self._batches.fitting.parts(len(coalitions), run) for values in part
        ]

    @torch.no_grad()
    def _values(self, logits: Tensor, coalitions: np.ndarray) -> list[tuple[float, ...]]:
        """Every target's score of each coalition."""
        values = torch.stack(
            [in_float64(target(in_float64(logits.detach()))) for target in self._goals], dim=1
        ).numpy()
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            absent = np.flatnonzero(~coalitions[wrong[0]])[:8].tolist()
            raise NonFiniteScore(
                f"the model gave {values[wrong[0]].tolist()} with players {absent} absent; check "
                "its weights, or try another fill"
            )
        return [tuple(row) for row in values.tolist()]

    def _note_errors(self, logits: Tensor, coalitions: np.ndarray) -> None:
        """Keeps the variance of every target's score, by its slopes in the sampled scores."""
        model = sampled(self.model)
        if model is None:
            return
        covariance = model.score_covariance(logits)
        found = []
        for target in self._goals:
            with torch.enable_grad():
                scores = in_float64(logits.detach()).requires_grad_(True)
                (slopes,) = torch.autograd.grad(target(scores).sum(), scores)
            found.append(torch.einsum("nk,nkl,nl->n", slopes, covariance.to(slopes), slopes))
        variances = torch.stack(found, dim=1).clamp(min=0).tolist()
        questions = self._questions(coalitions)
        rows = np.packbits(coalitions, axis=1)
        for row, question, variance in zip(rows, questions, variances, strict=True):
            self._errors[row.tobytes()] = (question, tuple(variance))

    def _questions(self, coalitions: np.ndarray) -> list[str]:
        """What each of N coalitions is asked as, of a model whose scores are sampled."""
        model = sampled(self.model)
        assert model is not None, "the model's scores are exact"
        present = self.players.present(torch.from_numpy(coalitions).to(self.model.device))
        return filling.contents(model, self.encoded, present, self.fills, self.seed)

    @property
    def is_sampled(self) -> bool:
        """Whether scores are frequencies in samples, with errors of their own."""
        return sampled(self.model) is not None

    def sampling_errors(self) -> SamplingErrors:
        """How far the scores of all coalitions that were asked may be off, of a sampled game."""
        rows = np.array([np.frombuffer(key, dtype=np.uint8) for key in self._errors])
        coalitions = np.unpackbits(rows, axis=1, count=len(self)).astype(bool)
        questions = [question for question, _ in self._errors.values()]
        variances = np.array([found[self._column] for _, found in self._errors.values()])
        return SamplingErrors(coalitions, questions, variances)

    def active(self) -> np.ndarray:
        """(P,) bool, the players whose absence alone changes what a sampled model is asked."""
        everybody = np.ones((1, len(self)), dtype=bool)
        found = self._questions(np.concatenate([everybody, ~np.eye(len(self), dtype=bool)]))
        return np.array([one != found[0] for one in found[1:]])

    def logits(self, present: Bool[Tensor, "N P"]) -> Float[Tensor, "N K"]:
        """Answer scores (N, K) of coalitions (N, P) bool; they are neither kept nor counted."""
        return self._scored(present, self.encoded)

    def _scored(self, present: Tensor, encoded: Encoded) -> Tensor:
        """The same for the example with all of its candidates, or some."""
        with_players = self.players.present(present)
        return filling.coalition_scores(self.model, encoded, with_players, self.fills, self.seed)

    def ends(self) -> tuple[float, float]:
        """v(∅) and v(P): the score with nobody and with everybody present."""
        nobody, everybody = self(np.stack([np.zeros(len(self), bool), np.ones(len(self), bool)]))
        return float(nobody), float(everybody)


def _of_what_is_read(
    encoded: Encoded, targets: tuple[Target, ...]
) -> tuple[Encoded, tuple[Target, ...]]:
    """The example with no more candidates than the targets read, and the targets among these."""
    found = encoded.candidates
    read = [target.reads for target in targets]
    # Words of one sentence share a pass, and are few tokens each.
    if found is None or found.spans is not None or None in read:
        return encoded, targets
    labels = sorted({number for one in read if one is not None for number in one})
    if len(labels) == len(found):
        return encoded, targets
    return with_few(encoded, labels), tuple(target.among(labels) for target in targets)
