"""Shapley, Owen and Banzhaf values of regions and words in one game."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from vqa_explain import units
from vqa_explain._shapes import Coalitions
from vqa_explain.errors import InvalidInput
from vqa_explain.game import Game
from vqa_explain.games import estimators, pairs, sampling
from vqa_explain.games.estimators import Estimate, Round, Score, run_until
from vqa_explain.games.sampling import linear_errors
from vqa_explain.methods.base import (
    FILLS_HELP,
    IMAGE_FILLS,
    STANDARD_ERROR,
    TEXT_FILLS,
    Attribution,
    Task,
    asked_fills,
    fill_parameter,
    from_players,
    register_method,
    with_sampling,
)
from vqa_explain.registry import parameter

EXACT_PLAYERS = 14  # 16,384 coalitions


@dataclass(frozen=True)
class OverPlayers:
    """The parameters of every method that plays the game of regions and words."""

    budget: int = parameter(
        2000,
        "most evaluations of the model; '4n' for four a player, 'auto' until the three most "
        "important parts are settled, at most '100n'",
        low=1,
        high=100_000_000,
        per_player=True,
    )
    tolerance: float | None = parameter(
        None,
        "stop at this largest standard error, as a share of the score's change",
        low=0.0,
        high=1.0,
    )
    settle: int | None = parameter(
        None,
        "stop once so many most important parts, or pairs, are told from all others, at 95%",
        low=1,
        high=1_000_000,
    )
    image_fill: str | None = fill_parameter("region", IMAGE_FILLS)
    text_fill: str | None = fill_parameter("word", TEXT_FILLS)
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def game(self, task: Task) -> Game:
        """The game with these fills."""
        return task.game(asked_fills(self, task.encoded.inputs))

    def until_enough(self, task: Task, rounds: Iterator[Round]) -> Estimate:
        """What the estimator finds before its budget, tolerance, `settle` or the user stops it."""
        found = run_until(rounds, self.tolerance, task.progress, task.on_interrupt, self.settle)
        task.interrupted = found.interrupted
        return found

    def estimated(self, task: Task, game: Game, rounds: Iterator[Round]) -> Attribution:
        """An attribution with standard errors."""
        found = self.until_enough(task, rounds)
        return from_players(
            game, found.values, found.errors, float(found.errors.max()), STANDARD_ERROR
        )


def _exactly(
    task: Task,
    game: Game,
    total: int,
    values: Callable[[Score], np.ndarray],
    weights: Callable[[Coalitions], np.ndarray],
) -> Attribution:
    """An attribution from an exact sum over `total` coalitions.

    Args:
        values: the sum, of a score over coalitions.
        weights: (N, P) the weight of each coalition in it, which carries sampling errors.
    """
    done = 0

    def tell(more: int) -> None:
        nonlocal done
        done += more
        if task.progress:
            task.progress(min(done, total), total)

    found = values(lambda coalitions: game(coalitions, tell))
    if not game.is_sampled:
        return from_players(game, found, np.zeros(len(game)), 0.0, "exact")
    known = game.sampling_errors()
    errors = linear_errors(weights(known.coalitions), known.questions, known.variances)
    return with_sampling(
        from_players(game, found, errors, float(errors.max()), STANDARD_ERROR), None
    )


def _with_draws(game: Game, found: Attribution, errors: Callable[[], np.ndarray]) -> Attribution:
    """An estimate whose standard errors also count the sampling errors (P,) of its scores."""
    if not game.is_sampled:
        return found
    both = with_sampling(found, errors())
    assert both.player_errors is not None
    return replace(both, error=float(both.player_errors.max()))


def check_budget(budget: int, least: int, what: str) -> None:
    """Raises `InvalidInput` when a budget is below what an estimator needs for values with
    standard errors.
    """
    if budget < least:
        raise InvalidInput(
            f"budget {budget} is too small: {what} need at least {least} evaluations for values "
            f"with standard errors; give budget={least} or more, or ask for fewer regions or words"
        )


def _check_exact(estimator: str, players: int, needed: float, budget: int) -> bool:
    """Whether to sum exactly: asked for, or left to us and affordable."""
    if estimator == "exact" and (players > EXACT_PLAYERS or budget < needed):
        raise InvalidInput(
            f"exact values of {players} players need {needed:.3g} evaluations (at most "
            f"{EXACT_PLAYERS} players, and a budget that allows them); ask for fewer regions, such "
            "as regions=2, or use another estimator"
        )
    if players == 1:
        return True  # there is nothing to draw
    # A budget that holds all coalitions would draw most of them twice.
    return (
        estimator in ("auto", "adjusted", "exact") and players <= EXACT_PLAYERS and needed <= budget
    )


@register_method(
    "shapley",
    source="Shapley 1953; Lundberg & Lee 2017, arXiv:1705.07874; Mitchell et al. 2022, JMLR 23; "
    "Witter et al. 2025",
    unit=units.POINTS,
    error=STANDARD_ERROR + " per value; 0 when exact",
    cost="budget forwards; 2^P when exact",
)
@dataclass(frozen=True)
class Shapley(OverPlayers):
    """The average of what a region or word adds, over all orders in which players can arrive.

    Exact with up to 14 players where the budget holds all 2^P coalitions (10 players with the
    default budget), else estimated with standard errors. "auto" takes "adjusted", which sums
    exactly likewise: a smooth function is fitted to the scores of complementary coalitions, its
    Shapley values are known, and those of what it misses are estimated by regression.
    "permutation" takes antithetic random orders, "kernel" the paired kernel regression. The values
    sum to v(P) − v(∅), the score with everything minus that with nothing. Where scores are sampled,
    standard errors count their sampling errors, also of exact sums.
    """

    estimator: str = parameter(
        "auto", "how it is computed", choices=("auto", "exact", "adjusted", "permutation", "kernel")
    )

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        players = len(game)
        if _check_exact(self.estimator, players, 2.0**players, self.budget):
            return _exactly(
                task,
                game,
                2**players,
                lambda score: estimators.exact_shapley(score, players),
                sampling.shapley_weights,
            )
        check_budget(self.budget, self._least(players), f"{players} players")
        rng = np.random.default_rng(task.seed)
        rounds: Callable[[], Iterator[Round]] = {
            "permutation": lambda: estimators.permutation(game, players, rng, self.budget),
            "kernel": lambda: estimators.kernel(game, players, rng, self.budget),
        }.get(self.estimator, lambda: pairs.adjusted(game, players, rng, self.budget))
        found = self.estimated(task, game, rounds())

        def sampled() -> np.ndarray:
            known = game.sampling_errors()
            return sampling.shapley_errors(known.coalitions, known.variances, game.active())

        return _with_draws(game, found, sampled)

    def _least(self, players: int) -> int:
        """Evaluations that tell the errors of an estimate."""
        if self.estimator == "permutation":
            return estimators.least_of_orders(players)
        return 2 + 2 * estimators.least_pairs(players)


@register_method(
    "owen",
    source="Owen 1977, Values of games with a priori unions, equation 4",
    unit=units.POINTS,
    error=STANDARD_ERROR + " per value; 0 when exact",
    cost="budget forwards; 2^(regions + 1) + 2^(words + 1) when exact",
)
@dataclass(frozen=True)
class Owen(OverPlayers):
    """Shapley values among orders in which one input arrives whole, such as the picture, then the
    others.

    What inputs bring together is so split evenly between them, whatever their numbers of players.
    Exact where each has at most 14 players and the budget allows, else from antithetic orders with
    standard errors.
    """

    estimator: str = parameter(
        "auto", "how it is computed", choices=("auto", "exact", "permutation")
    )

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        players, unions = len(game), game.players.unions
        needed = sum(2.0 ** len(u) for u in unions) * 2 ** (len(unions) - 1)
        if _check_exact(self.estimator, max(map(len, unions)), needed, self.budget):
            return _exactly(
                task,
                game,
                int(needed),
                lambda score: estimators.exact_owen(score, unions),
                lambda coalitions: sampling.owen_weights(coalitions, unions),
            )
        check_budget(self.budget, estimators.least_of_orders(players), f"{players} players")
        rng, order = np.random.default_rng(task.seed), estimators.union_order(unions)
        return self.estimated(
            task, game, estimators.permutation(game, players, rng, self.budget, order)
        )


@register_method(
    "banzhaf",
    source="Banzhaf 1965; Wang & Jia 2023, arXiv:2205.15466, section 4.2",
    unit=units.POINTS,
    error=STANDARD_ERROR + " per value; 0 when exact",
    cost="budget forwards; 2^P when exact",
)
@dataclass(frozen=True)
class Banzhaf(OverPlayers):
    """The mean of what a region or word adds to all coalitions of the others, each counted alike.

    The values need not sum to the score's change. Exact with up to 14 players where the budget
    holds all 2^P coalitions, else by maximum sample reuse, where every evaluation serves every
    player, with standard errors.
    """

    estimator: str = parameter("auto", "how it is computed", choices=("auto", "exact", "reuse"))

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        players = len(game)
        if _check_exact(self.estimator, players, 2.0**players, self.budget):
            return _exactly(
                task,
                game,
                2**players,
                lambda score: estimators.exact_banzhaf(score, players),
                sampling.banzhaf_weights,
            )
        check_budget(self.budget, 34, f"{players} players")
        rng = np.random.default_rng(task.seed)
        found = self.estimated(task, game, estimators.banzhaf(game, players, rng, self.budget))

        def sampled() -> np.ndarray:
            return sampling.banzhaf_errors(game.sampling_errors().variances, game.active())

        return _with_draws(game, found, sampled)
