"""`evidence`: the smallest sets of words and regions that keep an answer, or flip it."""

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from vqa_explain._memory import must_fit
from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain._threads import quiet_linear_algebra
from vqa_explain.asking import asked_example, check_loaded
from vqa_explain.choosing import resolved_fills
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.evidence_sets import chosen_answer, importance_orders, lead_of
from vqa_explain.examples import Example
from vqa_explain.explaining import (
    check_divisions,
    divisions,
    with_candidates,
)
from vqa_explain.features.base import Found, Input
from vqa_explain.features.parts import Part
from vqa_explain.files import write_atomically
from vqa_explain.game import Game, Players, make_players, with_players
from vqa_explain.games.evidence import smallest_sets, surroundings
from vqa_explain.games.intervals import Interval, mean_interval
from vqa_explain.methods.base import fills_in
from vqa_explain.models.base import Model, OpenModel, check_fills, sampled
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sharing import network_held
from vqa_explain.showing import drawing
from vqa_explain.target import REAL, Answer, find_answer

log = logging.getLogger("vqa_explain")
KEEP, FLIP, INTO = "keep", "flip", "into"
WHOLE = "whole"  # everything is present


@dataclass(frozen=True, eq=False)
class EvidenceSet:
    """A set of words and regions that keeps the answer alone, or flips it by its absence.

    Attributes:
        goal: "keep", "flip" or "into".
        members: input name → numbers of its players that belong to the set, as in `parts`.
        precision: the share of surroundings in which it does so, others being present at random
            with probability ½; with Wilson's 95% interval, or without width where all
            surroundings were tried.
        becomes: what the model answers with everything but the set, all others being present.
    """

    goal: str
    members: Mapping[str, tuple[int, ...]]
    precision: Interval
    becomes: str

    @property
    def often(self) -> str:
        """Its precision in words, such as "in 97% of surroundings (94 to 99)"."""
        share = self.precision
        low, high = (f"{100 * end:.0f}" for end in (share.low, share.high))
        between = "" if low == high else f" ({low} to {high})"
        return f"in {100 * share.mean:.0f}% of surroundings{between}"

    def __len__(self) -> int:
        return sum(len(numbers) for numbers in self.members.values())


@dataclass(frozen=True)
class EvidenceState:
    """A state of the inputs that shows a set: which players are present, and what is said of it.

    Attributes:
        goal: "whole", "keep", "flip" or "into".
        head: what is present, in words.
        answer: what the model answers then.
        present: input name → numbers of the players present; `None` where all are.
        said: the precision, or the answer's probability.
        stressed: whether what is present is the set.
    """

    goal: str
    head: str
    answer: str
    present: Mapping[str, frozenset[int]] | None
    said: str
    stressed: bool = False

    def holds(self, name: str, player: int) -> bool:
        """Whether a player of an input is present."""
        return self.present is None or player in self.present.get(name, frozenset())


@dataclass(frozen=True, eq=False)
class Evidence:
    """The smallest sets of words and regions behind an answer.

    Attributes:
        answer: what the model answers.
        keep: sets that keep it where all else is absent, the smallest first.
        flip: sets without which the answer is another.
        into: sets without which it is the answer that was named.
        parts: the inputs with their players: words, regions and columns.
        fills: input name → what absent players become.
        example: what was asked about.
        wanted: that answer; `None` where none was named.
        without: what the model answers with everything absent.
        precision: the precision that was asked for; `None` where none was.
        exact: whether every coalition was tried, so that no part of a set does the same and no
            smaller set exists.
        complete: whether the search ended by itself, not by its budget.
        cost: what it took.
    """

    answer: Answer
    keep: tuple[EvidenceSet, ...]
    flip: tuple[EvidenceSet, ...]
    into: tuple[EvidenceSet, ...]
    parts: tuple[Part, ...]
    fills: Mapping[str, str]
    example: Example = field(repr=False)
    wanted: str | None
    without: str
    precision: float | None
    exact: bool
    complete: bool
    cost: Cost

    @property
    def sets(self) -> tuple[EvidenceSet, ...]:
        """All sets."""
        return (*self.keep, *self.flip, *self.into)

    def part(self, name: str) -> Part:
        """The input of that name."""
        return next(part for part in self.parts if part.name == name)

    def named(self, one: EvidenceSet) -> str:
        """The members of a set in words, such as "“large” and 2 regions"."""
        said: list[str] = []
        for name, numbers in one.members.items():
            part = self.part(name)
            texts = [part.players[number].text for number in numbers]
            if part.player == "word":
                said += [f"“{text}”" for text in texts]
            elif texts:
                said.append(f"{len(texts)} {part.player}{'s' * (len(texts) > 1)}")
        if not said:
            return "nothing at all"
        return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"

    def sentence(self, one: EvidenceSet) -> str:
        """What a set does, in one sentence with its precision."""
        often = one.often
        if one.goal == FLIP:
            return f"without {self.named(one)}: “{one.becomes}”; another answer {often}"
        if one.goal != KEEP:
            return f"without {self.named(one)}: “{one.becomes}”; this answer {often}"
        keeps = "keeps" if len(one) <= 1 else "keep"
        them = "it" if len(one) == 1 else "them"
        without = f"; without {them}: “{one.becomes}”" if len(one) else ""
        return f"{self.named(one)} alone {keeps} “{self.answer.text}” {often}{without}"

    def __str__(self) -> str:
        fills = ", ".join(f"{name}: {fill}" for name, fill in self.fills.items())
        lines = [f"evidence for “{self.answer.text}” ({self.answer.shown}); absent is {fills}"]
        lines += [f"  {self.sentence(one)}" for one in self.sets]
        if not self.flip:
            asked = "" if self.precision is None else f" in {100 * self.precision:g}%"
            lines.append(f"  no set that flips it{asked} was found")
        if self.without == self.answer.text:
            lines.append(
                "  it stays with everything absent: the fill shows too much, or it needs no input"
            )
        if not self.complete:
            lines.append("  the budget ended the search; smaller sets may exist")
        return "\n".join(lines)

    def states(self, most: int = 1) -> list[EvidenceState]:
        """What is drawn of it: everything, and the smallest sets of each goal, at most so many."""
        found = [EvidenceState(WHOLE, "everything", self.answer.text, None, self.answer.shown)]
        for sets in (self.keep, self.flip, self.into):
            found += [self._state(one) for one in sets[:most]]
        return found

    def _state(self, one: EvidenceSet) -> EvidenceState:
        members = {name: frozenset(numbers) for name, numbers in one.members.items()}
        said = f"holds {one.often}"
        if one.goal == KEEP:
            head = "this alone keeps the answer" if len(one) else "nothing at all keeps the answer"
            return EvidenceState(KEEP, head, self.answer.text, members, said, stressed=True)
        flips = one.goal == FLIP
        head = "without this it flips" if flips else f"without this: “{self.wanted}”"
        rest = {
            part.name: frozenset(range(len(part.players))) - members.get(part.name, frozenset())
            for part in self.parts
        }
        return EvidenceState(one.goal, head, one.becomes, rest, said)

    def to_html(self, path: str | os.PathLike[str], *, most: int = 1) -> Path:
        """Writes one HTML file that needs no network and no script: one chooses between the whole,
        what keeps the answer and what flips it, and sees the rest fade.

        Args:
            path: the file.
            most: how many sets of each goal.

        Raises:
            InvalidInput: `most` is below 1.
        """
        if most < 1:
            raise InvalidInput(f"most must be at least 1, not {most!r}")
        content: str = drawing("evidence page")(self, most=most)
        return write_atomically(path, content.encode())

    def summary(self) -> dict[str, Any]:
        """All that was found but the pictures, for JSON."""

        def told(one: EvidenceSet) -> dict[str, Any]:
            share = one.precision
            return {
                "members": {name: list(numbers) for name, numbers in one.members.items()},
                "named": self.named(one),
                "precision": [share.mean, share.low, share.high],
                "becomes": one.becomes,
            }

        return {
            "answer": self.answer.text,
            "probability": self.answer.probability,
            "keep": [told(one) for one in self.keep],
            "flip": [told(one) for one in self.flip],
            "into": [{"answer": self.wanted, **told(one)} for one in self.into],
            "fills": {name: str(fill) for name, fill in self.fills.items()},
            "without_inputs": self.without,
            "exact": self.exact,
            "complete": self.complete,
            "cost": self.cost.forwards,
        }

    def plot(self, path: Any = None, *, most: int = 1, dpi: int = 150) -> Any:
        """A figure of cut-outs: the whole, and what keeps the answer and what flips it, the rest
        faded.

        Args:
            path: a file to write; else a matplotlib figure is given.
            most: how many sets of each goal.
            dpi: dots per inch of a file.
        """
        return drawing("evidence figure")(self, path, most=most, dpi=dpi)


def evidence(
    model: Model,
    image: Any = None,
    question: str | None = None,
    *,
    into: str | int | None = None,
    answers: Sequence[str] | None = None,
    regions: Any = None,
    words: Any = None,
    columns: Any = None,
    players: str | Sequence[str] | None = None,
    image_fill: str | None = None,
    text_fill: str | None = None,
    fills: Mapping[str, str] | None = None,
    most: int = 3,
    precision: float | None = None,
    draws: int = 200,
    budget: int = 4096,
    seed: int = 0,
) -> Evidence:
    """The smallest sets of words and regions, jointly, that keep an answer where all else is
    absent, and that flip it by their absence.

    A set K is sufficient where the answer with only K present is the answer with everything, and
    necessary where the answer without K is another. Up to 12 players every coalition is tried
    where the budget holds all 2^P, and no part of a set does the same. Beyond, sets are made
    smaller by removal and by exchange of two members for one, until neither helps. Precision is that of anchors
    (Ribeiro et al. 2018), over surroundings in which others are present at random.

    Args:
        model, image, question: as `explain` takes them.
        into: another answer: also look for the sets whose absence turns the answer into it.
        answers: candidates of a model that writes its answers.
        regions, words, columns, players: as `explain` takes them.
        image_fill, text_fill, fills: likewise; an input for which none is given gets the first of
            its fills, its default before others, under which the answer does not stay where that
            input alone is absent. "auto" measures more: see `choose_fill`.
        most: how many sets of each goal at most; they differ where there are several.
        precision: make sets larger until this share of surroundings keeps (or flips) the answer.
        draws: surroundings that each precision is measured in, at least 20; all of them are tried
            where there are no more.
        budget: most evaluations of the search for each goal. Orders of importance take about 14 for
            each player more, and each measurement of a precision takes `draws`: one for each set,
            and with `precision` one for each member that is added.
        seed: for what is drawn.

    Raises:
        InvalidInput: an input or a setting cannot be used, or the answer is to turn into itself.
        Unsupported: the model gives numbers, and chooses no answer.
    """
    began = time.perf_counter()
    _check(model, most, precision, draws, budget)
    seed = checked_seed(seed)
    check_divisions(model, regions, words)
    example = asked_example(model, image, question)
    with network_held(model.module), torch.no_grad(), must_fit(model), quiet_linear_algebra():
        encoded = with_players(model.encode(example), players)
        parts = make_players(encoded, divisions(encoded.inputs, regions, words, columns))
        if model.labels is None:
            # `None` stands for what the model answers by itself.
            asked = [None, into]
            encoded = with_candidates(cast(OpenModel, model), encoded, answers, asked, None)
        elif answers is not None:
            raise InvalidInput(
                f"model {model.name!r} chooses among {len(model.labels)} answers of its own; leave "
                "answers out"
            )
        if len(encoded.labels) < 2:
            raise InvalidInput(
                f"with {encoded.labels[0]!r} as the only candidate the answer can never be "
                "another; name others, such as answers=['yes', 'no']"
            )
        given = {"image_fill": image_fill, "text_fill": text_fill, "fills": fills}
        asked_fills = fills_in({k: v for k, v in given.items() if v is not None}, encoded.inputs)
        asked_fills, fill_choice = resolved_fills(model, encoded, asked_fills, seed)
        check_fills(model, asked_fills, encoded.features)
        best = model_answers(model, encoded)[0]
        wanted = None if into is None else find_answer(encoded.labels, into)
        if wanted == best.index:
            raise InvalidInput(f"the answer is {best.text!r} already; name another for into=")
        cost = Cost(forwards=1)  # the answer itself
        cost.forwards += 0 if fill_choice is None else fill_choice.cost.forwards
        game = _telling_least(model, encoded, parts, asked_fills, best.index, seed, cost)
        search = _Search(game, cost, best, most, precision, draws, budget, seed)
        found = search.run(wanted)
        cost.seconds = time.perf_counter() - began
        return found


@torch.no_grad()
def evidence_of_answer(
    model: Model,
    encoded: Encoded,
    players: Players,
    best: Answer,
    *,
    draws: int = 200,
    budget: int = 4096,
    seed: int = 0,
) -> Evidence:
    """What `evidence` finds, one set of each goal, of an example that is read and divided.

    Raises:
        Unsupported: the model chooses no answer, or its scores are samples.
    """
    _check(model, 1, None, draws, budget)
    cost = Cost()
    game = _telling_least(model, encoded, players, {}, best.index, seed, cost)
    return _Search(game, cost, best, 1, None, draws, budget, seed).run(None)


def _check(model: Model, most: int, precision: float | None, draws: int, budget: int) -> None:
    check_loaded(model, "evidence")
    if model.kind == REAL:
        raise Unsupported(
            f"model {model.name!r} gives real numbers and chooses no answer that could be kept or "
            "flipped"
        )
    for name, value, least in (("most", most, 1), ("draws", draws, 20), ("budget", budget, 20)):
        checked_whole(name, value, least)
    if sampled(model) is not None:
        raise Unsupported(
            f"the scores of model {model.name!r} are frequencies in samples, by which an answer may "
            "flip by chance; use a method with standard errors, such as shapley"
        )
    if precision is not None and not 0.5 <= precision < 1:
        raise InvalidInput(
            f"precision must be from 0.5 to below 1, and is {precision!r}; no number of random "
            "surroundings shows a precision of 1"
        )


def _telling_least(
    model: Model,
    encoded: Encoded,
    players: Players,
    asked: Mapping[str, str],
    answer: int,
    seed: int,
    cost: Cost,
) -> Game:
    """The game whose fills tell least of the answer.

    Of an input whose fill is not asked for, that is the first under which the answer does not stay
    where this input alone is absent as a whole, its default before others; else the one under which
    the answer leads least then. So a blur that keeps colors is no fill for a question about colors.
    """

    targets = (chosen_answer(model), lead_of(model, answer))

    def game(fills: Mapping[str, str]) -> Game:
        used = check_fills(model, fills, encoded.features)
        return Game(model, encoded, players, used, targets, seed=seed)

    chosen = dict(asked)
    for one in encoded.inputs:
        if one.fixed or one.name in asked:
            continue
        others = np.ones((1, len(players)), dtype=bool)
        others[:, players.of[one.name].numbers] = False
        leads: dict[str, float] = {}
        for fill in _fills_of(one):
            trial = game({**chosen, one.name: fill}).for_target(targets[1], cost)
            try:
                leads[fill] = float(trial(others)[0])
            except Unsupported as error:  # such as leaving out patches that have no place
                log.info("fill %r of %r cannot be tried: %s", fill, one.name, error)
                continue
            if leads[fill] < 0:
                break
        chosen[one.name] = min(leads, key=lambda fill: leads[fill])
    return game(chosen)


def _fills_of(one: Input) -> list[str]:
    """An input's fills, its default first."""
    default = one.feature.default_fill
    return [default, *(fill for fill in one.feature.fills if fill != default)]


class _Search:
    """The search for all goals in one game."""

    def __init__(
        self,
        game: Game,
        cost: Cost,
        best: Answer,
        most: int,
        precision: float | None,
        draws: int,
        budget: int,
        seed: int,
    ) -> None:
        self.cost = cost
        self.game = game.for_target(game.targets[0], self.cost)
        self.lead = game.for_target(game.targets[1], self.cost)
        self.best, self.most, self.precision, self.draws = best, most, precision, draws
        self.budget = budget
        self.rng = np.random.default_rng(seed)

    def answers(self, present: np.ndarray) -> np.ndarray:
        """(N,) numbers of the answers to coalitions (N, P)."""
        return self.game(present).astype(int)

    def run(self, wanted: int | None) -> Evidence:
        """Looks for sets of every goal."""
        labels = self.game.encoded.labels
        count = len(self.game)
        orders = importance_orders(self.lead, count, self.rng)
        goals: dict[str, Callable[[np.ndarray], np.ndarray]] = {
            KEEP: lambda sets: self.answers(sets) == self.best.index,
            FLIP: lambda sets: self.answers(~sets) != self.best.index,
        }
        if wanted is not None:
            goals[INTO] = lambda sets: self.answers(~sets) == wanted
        found = {
            goal: smallest_sets(works, count, orders, most=self.most, budget=self.budget)
            for goal, works in goals.items()
        }
        sets = {
            goal: self._all_measured(goal, goals[goal], one.sets) for goal, one in found.items()
        }
        nobody = int(self.answers(np.zeros((1, count), dtype=bool))[0])
        return Evidence(
            answer=self.best,
            keep=sets[KEEP],
            flip=sets[FLIP],
            into=sets.get(INTO, ()),
            wanted=None if wanted is None else labels[wanted],
            parts=_parts(self.game.encoded, self.game),
            fills=self.game.fills,
            example=self.game.encoded.example,
            without=labels[nobody],
            precision=self.precision,
            # Sets that were made larger for their precision are not minimal.
            exact=self.precision is None and all(one.exact for one in found.values()),
            complete=all(one.complete for one in found.values()),
            cost=self.cost,
        )

    def _all_measured(
        self, goal: str, works: Callable[[np.ndarray], np.ndarray], sets: np.ndarray
    ) -> tuple[EvidenceSet, ...]:
        """The sets (N, P) with their precisions, the smallest first; of equal sizes the most
        precise. None holds another: two that were made larger may.
        """
        measured = [self._measured(goal, works, members) for members in sets]
        found = [one for one in measured if one is not None]
        found.sort(key=lambda one: (len(one), -one.precision.mean))
        kept: list[EvidenceSet] = []
        for one in found:
            if not any(_lies_in(smaller, one) for smaller in kept):
                kept.append(one)
        return tuple(kept)

    def _measured(
        self, goal: str, works: Callable[[np.ndarray], np.ndarray], members: np.ndarray
    ) -> EvidenceSet | None:
        """A set with its precision, made larger where one was asked for; `None` where no larger set
        has that.
        """
        while True:
            around, every = surroundings(members, self.draws, self.rng)
            # A set keeps with others present besides it, and flips where others are absent too.
            held = works(around | members)
            if self.precision is None:
                break
            # A larger set must do by itself what the smaller one did.
            if held.mean() >= self.precision and bool(works(members[None])[0]):
                break
            if members.all():
                return None
            members = self._larger(members, around, held)
        mean = float(held.mean())
        exactly = Interval(mean, mean, mean, len(held))
        becomes = int(self.answers(~members[None])[0])
        return EvidenceSet(
            goal,
            self._by_input(members),
            exactly if every else mean_interval(held.astype(float), (0, 1)),
            self.game.encoded.labels[becomes],
        )

    def _larger(self, members: np.ndarray, around: np.ndarray, held: np.ndarray) -> np.ndarray:
        """The set with the player whose presence helped most in these surroundings."""
        others = np.flatnonzero(~members)
        there = around[:, others]
        helped = [
            held[column].mean() - held[~column].mean() if 0 < column.sum() < len(held) else -1.0
            for column in there.T
        ]
        larger = members.copy()
        larger[others[int(np.argmax(helped))]] = True
        return larger

    def _by_input(self, members: np.ndarray) -> dict[str, tuple[int, ...]]:
        """Input name → numbers of its players, of members (P,)."""
        return {
            name: tuple(np.flatnonzero(members[one.numbers]).tolist())
            for name, one in self.game.players.of.items()
        }


def _lies_in(smaller: EvidenceSet, larger: EvidenceSet) -> bool:
    """Whether every member of a set is one of another."""
    return all(set(some) <= set(larger.members[name]) for name, some in smaller.members.items())


def _parts(encoded: Encoded, game: Game) -> tuple[Part, ...]:
    """The inputs with their players, whose values are 0."""
    parts = []
    for one in encoded.inputs:
        division = game.players.of[one.name].division
        zeros = np.zeros(division.count)
        found = Found(one.name, np.zeros(one.shape), division, zeros, None, one.fixed)
        parts.append(one.feature.carry(one.content, found))
    return tuple(parts)
