"""Smallest sets of players that keep an answer, or flip it: exactly for few players, else by
removal and exchange.

A set "works" where it has the property that is sought: with it alone the answer is kept, or
without it the answer is another. The property need not be monotone: a set that works may lie in one
that does not.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

EXACT_PLAYERS = 12  # 4,096 coalitions
AT_ONCE = 256  # sets that are asked about together

Works = Callable[[np.ndarray], np.ndarray]  # sets (N, P) bool → (N,) bool
# Gives each set on the way, and the last one in the end.
Searching = Generator[np.ndarray, None, np.ndarray]


@dataclass(frozen=True, eq=False)
class FoundSets:
    """What a search found.

    Attributes:
        sets: (N, P) bool, the smallest first.
        exact: whether every set was asked about; then these are the smallest of all that work and
            of which no part does.
        complete: whether the search ended by itself, not by its budget.
    """

    sets: np.ndarray
    exact: bool
    complete: bool


class Spent(Exception):
    """The budget is spent."""


class Asker:
    """Asks each set once, and counts.

    Attributes:
        asked: how many different sets were asked about.
    """

    def __init__(self, works: Works, budget: int) -> None:
        self._works, self._budget = works, budget
        self._known: dict[bytes, bool] = {}

    @property
    def asked(self) -> int:
        return len(self._known)

    def __call__(self, sets: np.ndarray) -> np.ndarray:
        """(N,) bool of sets (N, P) bool.

        Raises:
            Spent: they are more than the budget allows; those that it allows are known then.
        """
        keys = [row.tobytes() for row in np.packbits(sets, axis=1)]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        room = self._budget - len(self._known)
        rows = list(fresh.values())[: max(0, room)]
        for first in range(0, len(rows), AT_ONCE):
            part = rows[first : first + AT_ONCE]
            for row, found in zip(part, self._works(sets[part]), strict=True):
                self._known[keys[row]] = bool(found)
        if len(rows) < len(fresh):
            raise Spent
        return np.array([self._known[key] for key in keys], dtype=bool)

    def one(self, members: np.ndarray) -> bool:
        """Whether one set (P,) works."""
        return bool(self(members[None])[0])


def smallest_sets(
    works: Works, players: int, orders: Sequence[np.ndarray], *, most: int, budget: int
) -> FoundSets:
    """The smallest sets that work.

    Args:
        works: sets (N, P) bool → (N,) bool.
        players: P.
        orders: (P,) players, the least important first: what a search removes first.
        most: how many sets at most.
        budget: how many sets are asked about at most.
    """
    asker = Asker(works, budget)
    if players <= EXACT_PLAYERS and 2**players <= budget:
        found = minimal_sets(asker, players)
        return FoundSets(found[:most], exact=True, complete=True)
    known: list[np.ndarray] = []
    complete = True
    try:
        for found_set in _searched(asker, players, orders, most):
            known = _with(known, found_set)
    except Spent:
        complete = False
    known.sort(key=lambda members: int(members.sum()))
    sets = np.array(known[:most], dtype=bool).reshape(-1, players)
    return FoundSets(sets, exact=False, complete=complete)


def minimal_sets(asker: Asker, players: int) -> np.ndarray:
    """(N, P) all sets that work and of which no part works, the smallest first."""
    numbers = np.arange(2**players)
    sets = (numbers[:, None] >> np.arange(players)) & 1 == 1
    works = asker(sets)
    sizes = sets.sum(axis=1)
    covered = np.zeros(len(sets), dtype=bool)  # a part of it works
    minimal = []
    for number in np.argsort(sizes, kind="stable"):
        parts = number ^ (1 << np.flatnonzero(sets[number]))
        covered[number] = (works[parts] | covered[parts]).any()
        if works[number] and not covered[number]:
            minimal.append(number)
    found: np.ndarray = sets[minimal]
    return found


def _with(known: list[np.ndarray], more: np.ndarray) -> list[np.ndarray]:
    """The sets with one more, none of which holds another."""
    if any((one <= more).all() for one in known):
        return known
    return [one for one in known if not (more <= one).all()] + [more]


def _searched(
    asker: Asker, players: int, orders: Sequence[np.ndarray], most: int
) -> Iterator[np.ndarray]:
    """Sets that work: from every order, better by exchange, and then such that avoid those."""
    firsts = [(_first(asker, order), order) for order in orders]
    starts = [(start, order) for start, order in firsts if start is not None]
    if not starts:
        return
    best = min((start for start, _ in starts), key=lambda members: int(members.sum()))
    for start, order in starts:
        found = yield from _reduced(asker, start, order)
        best = found if found.sum() < best.sum() else best
    avoided = np.zeros(players, dtype=bool)
    best = yield from _exchanged(asker, best, orders[0], avoided)
    avoided = best.copy()
    for _ in range(most - 1):
        # Members of the sets that are known count least, so that another set is found if there is
        # one.
        order = np.array(sorted(orders[0], key=lambda player: not avoided[player]))
        another = _first(asker, order)
        if another is None or not avoided.any():
            return
        other = yield from _reduced(asker, another, order)
        other = yield from _exchanged(asker, other, orders[0], avoided)
        if (other <= avoided).all():
            return
        avoided |= other


def _first(asker: Asker, order: np.ndarray) -> np.ndarray | None:
    """The smallest set that works among the most important players, in an order that has them
    last; `None` where none does.
    """
    players = len(order)
    rank = np.empty(players, dtype=int)
    rank[order[::-1]] = np.arange(players)
    prefixes = rank[None] < np.arange(players + 1)[:, None]
    works = asker(prefixes)
    return prefixes[int(works.argmax())] if works.any() else None


def _reduced(asker: Asker, start: np.ndarray, order: np.ndarray) -> Searching:
    """Removes players until none can go alone: half of the rest at once at first, then fewer
    (delta debugging, Zeller & Hildebrandt 2002).
    """
    members = start.copy()
    size = max(1, int(members.sum()) // 2)
    while True:
        went = False
        rest = [player for player in order if members[player]]
        for first in range(0, len(rest), size):
            fewer = members.copy()
            fewer[rest[first : first + size]] = False
            if asker.one(fewer):
                members, went = fewer, True
        yield members
        if size == 1 and not went:
            return members
        if not went or size > len(rest) // 2:
            size = max(1, size // 2)


def _exchanged(
    asker: Asker, members: np.ndarray, order: np.ndarray, avoided: np.ndarray
) -> Searching:
    """Puts one player in for two, the most important first, until no such exchange works; none of
    those that are avoided (P,).
    """
    while members.sum() >= 2:
        inside = list(combinations(np.flatnonzero(members), 2))
        better = None
        for player in order[::-1]:
            if members[player] or avoided[player]:
                continue
            tried = np.repeat(members[None], len(inside), axis=0)
            tried[:, player] = True
            for row, pair in enumerate(inside):
                tried[row, list(pair)] = False
            works = asker(tried)
            if works.any():
                better = tried[int(works.argmax())]
                break
        if better is None:
            return members
        members = yield from _reduced(asker, better, order)
    return members


def surroundings(
    members: np.ndarray, draws: int, rng: np.random.Generator
) -> tuple[np.ndarray, bool]:
    """Sets of other players that may be present besides a set (P,): (N, P) bool.

    All of them where they are no more than `draws` (and then True), else drawn at random, each
    player present with probability ½.
    """
    others = np.flatnonzero(~members)
    every = len(others) < 31 and 2 ** len(others) <= draws
    if every:
        numbers = np.arange(2 ** len(others))
        present = (numbers[:, None] >> np.arange(len(others))) & 1 == 1
    else:
        present = rng.random((draws, len(others))) < 0.5
    around = np.zeros((len(present), len(members)), dtype=bool)
    around[:, others] = present
    return around, every
