"""Methods that draw random coalitions and fit or average something simple: RISE and LIME."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.errors import InvalidInput
from vqa_explain.games.estimators import DRAWS_AT_ONCE, Estimate, Round, Score, ends
from vqa_explain.methods.base import (
    STANDARD_ERROR,
    Attribution,
    Task,
    asked_fills,
    register_method,
    until_stopped,
)
from vqa_explain.methods.shapley import OverPlayers, check_budget
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

MASKS_AT_ONCE = 32


def _draws(
    score: Score, players: int, rng: np.random.Generator, budget: int, probability: float
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Random coalitions in which each player is with this probability, and their scores,
    `budget` in all.
    """
    for start in range(0, budget, DRAWS_AT_ONCE):
        coalitions = rng.random((min(DRAWS_AT_ONCE, budget - start), players)) < probability
        yield coalitions, score(coalitions)


def rise(
    score: Score, players: int, rng: np.random.Generator, budget: int, probability: float
) -> Iterator[Round]:
    """(P,) E[v(S) · 1(i ∈ S)] / E[1(i ∈ S)], errors compared with v(P)."""
    nothing, change = ends(score, players)
    # Number, total and squares of the scores with each player.
    done, sums = 0, np.zeros((3, players))
    for rows, values in _draws(score, players, rng, budget - 2, probability):
        done += len(rows)
        sums = sums + np.array([rows.sum(axis=0), values @ rows, values**2 @ rows])

        def estimate(sums: np.ndarray = sums) -> Estimate:
            mean = sums[1] / sums[0]
            return Estimate(
                mean, np.sqrt(np.maximum(sums[2] / sums[0] - mean**2, 0) / (sums[0] - 1))
            )

        if sums[0].min() >= 2:
            yield Round(done, budget - 2, nothing + change, estimate)


@register_method(
    "rise",
    source="Petsiuk et al. 2018, arXiv:1806.07421, equation 6 and section 3.2",
    unit=units.MEAN_SCORE,
    error=STANDARD_ERROR + " per value",
    cost="budget forwards",
)
@dataclass(frozen=True)
class Rise(OverPlayers):
    """E[f(x ⊙ M) · M] / E[M]: the mean score over random masks that show the pixel or word,
    weighted by how much.

    The values are levels, not differences, as in the paper: compare them with each other, not with
    zero. Masks of the picture are random coarse grids, enlarged smoothly at random offsets, between
    the picture and its fill; words are there or not. With `masks="regions"`, and for models that
    see boxes, whole regions are there or not, by any fill.
    """

    masks: str = parameter(
        "smooth",
        "what is hidden: smooth parts of the picture, or regions",
        choices=("smooth", "regions"),
    )
    cells: int = parameter(7, "rows and columns of the coarse grid of smooth masks", low=2, high=64)
    probability: float = parameter(0.5, "how often a player is present", low=0.01, high=0.99)

    def __call__(self, task: Task) -> Attribution:
        # So that each player is there twice but for one case in a million or so.
        players = len(task.players)
        least = 2 + int(np.ceil(16 / self.probability * np.log2(2 + players)))
        check_budget(self.budget, least, f"{players} players with probability {self.probability}")
        rng = np.random.default_rng(task.seed)
        if self.masks == "smooth" and "pixels" in task.model.capabilities:
            return self._smooth(task, rng)
        game = self.game(task)
        return self.estimated(task, game, rise(game, players, rng, self.budget, self.probability))

    def _smooth(self, task: Task, rng: np.random.Generator) -> Attribution:
        asked = asked_fills(self, task.encoded.inputs)
        for one in task.encoded.inputs:
            fill = asked.get(one.name)
            if fill is not None and fill not in one.feature.leaf_fills():
                raise InvalidInput(
                    f"smooth masks blend the {one.name} with its fill, which {fill!r} cannot be; "
                    f"choose one of {', '.join(one.feature.leaf_fills())}, or masks='regions'"
                )
        leaves, blank = task.leaves(), task.baselines(asked)
        whole = abs(float(task.score_as_is(leaves)))
        sums = _Sums(task)
        for masks, values in until_stopped(task, self._looks(task, rng, leaves, blank)):
            sums.add(masks, values)
            if task.progress:
                task.progress(sums.count, self.budget)
            if (
                self.tolerance is not None
                and sums.count >= 2 * DRAWS_AT_ONCE
                and sums.error() <= self.tolerance * whole
            ):
                break
        return sums.attribution()

    @torch.no_grad()
    def _looks(
        self, task: Task, rng: np.random.Generator, leaves: Leaves, blank: Leaves
    ) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray]]:
        """Batches of masks (B, …) of each input's elements, from 0 to 1, and scores (B,)."""
        for start in range(0, self.budget, MASKS_AT_ONCE):
            count = min(MASKS_AT_ONCE, self.budget - start)
            masks, points = {}, {}
            for one in task.encoded.inputs:
                mask = one.feature.soft_masks(
                    one.content,
                    task.players.of[one.name].division,
                    rng,
                    count,
                    cells=self.cells,
                    probability=self.probability,
                )
                if one.fixed:
                    mask = torch.ones_like(mask)
                masks[one.name] = mask.numpy()
                shown = one.feature.over_channels(mask).to(leaves[one.name])
                points[one.name] = torch.lerp(blank[one.name], leaves[one.name], shown)
            yield masks, task.score_as_is(points).cpu().numpy()


class _Sums:
    """Running sums over masks, of elements and of players,
    from which means and their errors follow.
    """

    def __init__(self, task: Task) -> None:
        self.task, self.count = task, 0
        shapes = {one.name: one.shape for one in task.encoded.inputs}
        self.seen = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.scored = {name: np.zeros(shape) for name, shape in shapes.items()}
        self.moments = np.zeros((5, len(task.players)))  # Σm, Σfm, Σm², Σfm², Σf²m²

    def add(self, masks: dict[str, np.ndarray], values: np.ndarray) -> None:
        """A batch of masks (B, …) by input, and scores (B,)."""
        self.count += len(values)
        for name, mask in masks.items():
            self.seen[name] += mask.sum(axis=0)
            self.scored[name] += np.tensordot(values, mask, 1)
        players = self.task.players
        rows = [{name: mask[row] for name, mask in masks.items()} for row in range(len(values))]
        means = np.array([players.sums(row) / np.maximum(players.area, 1) for row in rows])
        m, f = means, values[:, None]
        self.moments += np.array([m, f * m, m**2, f * m**2, f**2 * m**2]).sum(axis=1)

    def players(self) -> tuple[np.ndarray, np.ndarray]:
        """(P,) values Σfm / Σm, and their standard errors as ratios of means."""
        m, fm, mm, fmm, ffmm = self.moments
        value = fm / np.maximum(m, 1e-12)
        return value, np.sqrt(np.maximum(ffmm - 2 * value * fmm + value**2 * mm, 0)) / np.maximum(
            m, 1e-12
        )

    def error(self) -> float:
        """The largest standard error."""
        return float(self.players()[1].max())

    def attribution(self) -> Attribution:
        """The map of the means, so spread that a player's elements sum to their mean."""
        _, errors = self.players()
        # Each element's share of its player; padding and special tokens have none.
        shares = self.task.players.spread(np.ones(len(self.task.players)))
        values = {
            name: scored / np.maximum(self.seen[name], 1e-12) * shares[name]
            for name, scored in self.scored.items()
        }
        return Attribution(values, self.error(), STANDARD_ERROR, player_errors=errors)


def ridge(
    coalitions: np.ndarray, values: np.ndarray, width: float, penalty: float
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (P,) of the local linear model with intercept, and their errors.

    Weights √exp(−d² / width²), d the cosine distance to the coalition of all, 1 − √(s/p), as in the
    authors' `lime_image`. An error is the root of the squared standard error plus the squared bias:
    what the penalty moves the coefficient away from the same fit without it.
    """
    size, players = coalitions.sum(axis=1), coalitions.shape[1]
    weight = np.sqrt(np.exp(-((1 - np.sqrt(size / players)) ** 2) / width**2))
    design = np.column_stack([np.ones(len(coalitions)), coalitions])
    shrink = penalty * np.eye(players + 1)
    shrink[0, 0] = 0  # the intercept is free
    gram, moments = (design * weight[:, None]).T @ design, (design * weight[:, None]).T @ values
    inverse = np.linalg.pinv(gram + shrink, hermitian=True)
    beta = inverse @ moments
    influence = (design * (weight * (values - design @ beta))[:, None]) @ inverse
    freedom = len(values) / max(1, len(values) - players - 1)
    variance = (influence**2).sum(axis=0) * freedom
    bias = beta - np.linalg.pinv(gram, hermitian=True) @ moments
    return beta[1:], np.sqrt(variance + bias**2)[1:]


def lime(
    score: Score, players: int, rng: np.random.Generator, budget: int, width: float, penalty: float
) -> Iterator[Round]:
    """(P,) coefficients of `ridge` on uniform coalitions and the whole,
    errors compared with the scores' range.
    """
    rows = np.ones((1, players), dtype=bool)
    scores = score(rows)
    for coalitions, values in _draws(score, players, rng, budget - 1, 0.5):
        rows, scores = np.concatenate([rows, coalitions]), np.concatenate([scores, values])

        def estimate(rows: np.ndarray = rows, scores: np.ndarray = scores) -> Estimate:
            return Estimate(*ridge(rows, scores, width, penalty))

        if len(rows) >= 2 * players:
            yield Round(len(rows), budget, float(np.ptp(scores)), estimate)


@register_method(
    "lime",
    source="Ribeiro et al. 2016, arXiv:1602.04938, section 3.4 and its code's cosine kernel",
    unit=units.POINTS,
    error=STANDARD_ERROR + " per coefficient, the penalty's bias included",
    cost="budget forwards",
)
@dataclass(frozen=True)
class Lime(OverPlayers):
    """Coefficients of a linear model fitted to the scores of random coalitions, those near the
    whole weighted most.

    Ridge regression with the weights √exp(−d² / width²) of the authors' `lime_image`, d being the
    cosine distance to the whole (the paper has them without the root). The penalty draws
    coefficients towards zero; the stated errors count that bias as well as the chance of the draw.
    """

    width: float = parameter(
        0.25, "width of the exponential kernel over cosine distance", low=0.01, high=100.0
    )
    penalty: float = parameter(1.0, "ridge penalty", low=0.0, high=1e6)

    def __call__(self, task: Task) -> Attribution:
        game = self.game(task)
        check_budget(self.budget, 2 * len(game), f"the coefficients of {len(game)} players")
        rng = np.random.default_rng(task.seed)
        found = self.estimated(
            task, game, lime(game, len(game), rng, self.budget, self.width, self.penalty)
        )
        return replace(found, error_kind=f"{STANDARD_ERROR}, the penalty's bias included")
