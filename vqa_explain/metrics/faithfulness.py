"""Does the score follow the explanation when players are taken away or put in?"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from vqa_explain._precision import in_float64
from vqa_explain.features.image import ImageFeature
from vqa_explain.methods.base import Attribution
from vqa_explain.metrics.base import (
    ALL,
    HIGHER,
    LOWER,
    Case,
    Curve,
    not_all_zero,
    register_metric,
)
from vqa_explain.metrics.imputation import imputed
from vqa_explain.registry import parameter

ORDERS = ("absolute", "signed")
_ORDER = "players go by |a|, or by a with the most positive first"
_SIDE = "players that go: all, or those of an input or of a kind of input; the others stay"
# Chefer et al. 2021, section 5: the shares at which accuracy is measured.
CHEFER = (0.0, 0.25, 0.5, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)


def ranking(values: np.ndarray, order: str) -> np.ndarray:
    """Players with the most relevant first; of equal ones the first."""
    return np.argsort(-(np.abs(values) if order == "absolute" else values), kind="stable")


def absent(case: Case, order: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Coalitions (N, P): everybody but the first `counts` (N,) of `order`."""
    coalitions = np.ones((len(counts), len(case.values)), dtype=bool)
    for row, count in enumerate(counts):
        coalitions[row, order[:count]] = False
    return coalitions


class Even:
    """A curve of `steps` + 1 evenly spaced points."""

    steps: int

    @property
    def at(self) -> np.ndarray:
        return np.linspace(0, 1, self.steps + 1)


def _steps(total: int, steps: int) -> np.ndarray:
    """How many players have gone at each of `steps` + 1 points."""
    return np.rint(np.linspace(0, total, steps + 1)).astype(int)


@register_metric(
    "deletion",
    source="Petsiuk et al. 2018",
    better=LOWER,
    range="0 … 1",
    needs={"probability"},
)
@dataclass(frozen=True)
class Deletion(Even):
    """Area under the target's probability as players leave, the most relevant first.

    Petsiuk et al. 2018 (RISE), section 4.1, over players: at point k of `steps` + 1 the first k /
    steps of them are absent; trapezoids on [0, 1].
    """

    players: str = parameter(ALL, _SIDE)
    order: str = parameter("absolute", _ORDER, choices=ORDERS)
    steps: int = parameter(20, "points of the curve after the first", low=1, high=1000)

    def __call__(self, case: Case) -> Curve:
        who = case.players(self.players)
        order = who[ranking(case.values[who], self.order)]
        scores = case.probability(absent(case, order, _steps(len(who), self.steps)))
        return Curve(self.at, scores)


@register_metric(
    "insertion",
    source="Petsiuk et al. 2018",
    better=HIGHER,
    range="0 … 1",
    needs={"probability"},
)
@dataclass(frozen=True)
class Insertion(Even):
    """Area under the target's probability as players come, the most relevant first.

    Petsiuk et al. 2018 (RISE), section 4.1, over players; those of other inputs are present
    throughout.
    """

    players: str = parameter(ALL, "players that come, likewise; the others are there")
    order: str = parameter("absolute", _ORDER, choices=ORDERS)
    steps: int = parameter(20, "points of the curve after the first", low=1, high=1000)

    def __call__(self, case: Case) -> Curve:
        who = case.players(self.players)
        last = who[ranking(case.values[who], self.order)][::-1]
        scores = case.probability(absent(case, last, _steps(len(who), self.steps)[::-1]))
        return Curve(self.at, scores)


@dataclass(frozen=True)
class _Perturbation:
    """Accuracy as players of one kind of input leave; per example 0 or 1 at each share,
    so that areas average.
    """

    players: str = parameter(ImageFeature.kind, _SIDE)

    @property
    def at(self) -> np.ndarray:
        return np.array(CHEFER)

    def curve(self, case: Case, sign: int) -> Curve:
        who = case.players(self.players)
        order = who[np.argsort(sign * case.values[who], kind="stable")]
        gone = np.rint(self.at * len(who)).astype(int)
        return Curve(self.at, case.correct(absent(case, order, gone)))


# What the two curves say of themselves alike.
_register_perturbation = partial(
    register_metric,
    source="Chefer, Gur & Wolf, ICCV 2021, section 5",
    range="0 … 1",
    needs={"answer", "choice", "labels"},
)


@_register_perturbation("perturbation_positive", better=LOWER)
@dataclass(frozen=True)
class PerturbationPositive(_Perturbation):
    """Area under the model's accuracy as the most relevant players leave first:
    a good explanation makes it fall.
    """

    def __call__(self, case: Case) -> Curve:
        return self.curve(case, -1)


@_register_perturbation("perturbation_negative", better=HIGHER)
@dataclass(frozen=True)
class PerturbationNegative(_Perturbation):
    """Area under the model's accuracy as the least relevant players leave first:
    a good explanation keeps it up.
    """

    def __call__(self, case: Case) -> Curve:
        return self.curve(case, 1)


# DeYoung et al. 2020, section 4.2: the shares of players over which comprehensiveness and
# sufficiency are averaged.
BINS = (0.01, 0.05, 0.10, 0.20, 0.50)


def _tops(case: Case, order: str) -> np.ndarray:
    """Coalitions (5, P) of the top shares; each has a player at least."""
    counts = np.ceil(np.array(BINS) * len(case.values) - 1e-9).astype(int)
    return ~absent(case, ranking(case.values, order), counts)


@register_metric(
    "comprehensiveness",
    source="DeYoung et al. 2020, equation 1",
    better=HIGHER,
    range="−1 … 1",
    needs={"probability"},
)
@dataclass(frozen=True)
class Comprehensiveness:
    """f(x) − f(x without the top k %), the target's probability, averaged over k in 1, 5, 10, 20,
    50.

    DeYoung et al. 2020 (ERASER), equation 1, over the players of all inputs.
    """

    order: str = parameter("absolute", _ORDER, choices=ORDERS)

    def __call__(self, case: Case) -> float:
        whole = np.ones((1, len(case.values)), dtype=bool)
        scores = case.probability(np.concatenate([whole, ~_tops(case, self.order)]))
        return float(scores[0] - scores[1:].mean())


@register_metric(
    "sufficiency",
    source="DeYoung et al. 2020, equation 2",
    better=LOWER,
    range="−1 … 1",
    needs={"probability"},
)
@dataclass(frozen=True)
class Sufficiency:
    """f(x) − f(only the top k %), the target's probability, averaged over k in 1, 5, 10, 20, 50.

    DeYoung et al. 2020 (ERASER), equation 2, over the players of all inputs.
    """

    order: str = parameter("absolute", _ORDER, choices=ORDERS)

    def __call__(self, case: Case) -> float:
        whole = np.ones((1, len(case.values)), dtype=bool)
        scores = case.probability(np.concatenate([whole, _tops(case, self.order)]))
        return float(scores[0] - scores[1:].mean())


def _drawn(case: Case, draws: int, size: int | None) -> np.ndarray:
    """Coalitions (draws, P) of absent players: `size` of them each, or each with probability ½."""
    rng = np.random.default_rng((case.task.seed, 7))
    players = len(case.values)
    if size is None:
        return rng.random((draws, players)) < 0.5
    chosen = np.zeros((draws, players), dtype=bool)
    for row in chosen:
        row[rng.choice(players, size, replace=False)] = True
    return chosen


@register_metric(
    "infidelity",
    source="Yeh et al. 2019, definition 2.1",
    better=LOWER,
    range="0 …",
)
@dataclass(frozen=True)
class Infidelity:
    """E[(Iᵀa − (f(x) − f(x − I)))²] in squared points of the score, where I takes each player away
    with probability ½.

    Yeh et al. 2019, definition 2.1, with the perturbation of removal: Iᵀa is the sum of the absent
    players' values. With `scaled`, a is first multiplied by what makes the value least (their
    section 4.3), so that methods whose values are no points of the score can be compared.
    """

    draws: int = parameter(64, "coalitions drawn", low=2, high=100_000)
    scaled: bool = parameter(False, "whether the values are scaled to fit best")

    def __call__(self, case: Case) -> float:
        gone = _drawn(case, self.draws, None)
        scores = case.points(np.concatenate([np.zeros_like(gone[:1]), gone]) == 0)
        told, fell = gone @ case.values, scores[0] - scores[1:]
        if self.scaled and (told**2).sum() > 0:
            told = told * (told * fell).sum() / (told**2).sum()
        return float(((told - fell) ** 2).mean())


@register_metric(
    "faithfulness_correlation",
    source="Bhatt et al. 2020, definition 3",
    better=HIGHER,
    range="−1 … 1",
)
@dataclass(frozen=True)
class FaithfulnessCorrelation:
    """Pearson correlation of Σ_{i∈S} a_i and f(x) − v(P∖S) over random S of one size; NaN where
    either is constant.

    Bhatt, Weller & Moura 2020, definition 3.
    """

    draws: int = parameter(64, "sets drawn", low=3, high=100_000)
    share: float = parameter(0.25, "of the players that each set holds", low=0.0, high=1.0)

    def __call__(self, case: Case) -> float:
        size = min(len(case.values), max(1, round(self.share * len(case.values))))
        gone = _drawn(case, self.draws, size)
        scores = case.points(np.concatenate([np.zeros_like(gone[:1]), gone]) == 0)
        told, fell = gone @ case.values, scores[0] - scores[1:]
        if told.std() < 1e-12 or fell.std() < 1e-12:
            return float("nan")
        return float(np.corrcoef(told, fell)[0, 1])


@register_metric(
    "road",
    source="Rong et al. 2022, section 4",
    better=LOWER,
    range="0 … 1",
    needs={"pixels", "probability"},
)
@dataclass(frozen=True)
class Road(Even):
    """Area under the target's probability as the pictures' pixels are imputed, the most relevant
    first.

    Rong et al. 2022 (ROAD), section 4: a removed pixel becomes the weighted mean of its neighbors
    (1/6 beside, 1/12 across corners; a sparse linear system) plus noise of deviation 0.01. In the
    model's frame; the question stays.
    """

    order: str = parameter(
        "absolute", "pixels go by |a|, or by a with the most positive first", choices=ORDERS
    )
    steps: int = parameter(10, "points of the curve after the first", low=1, high=100)

    def __call__(self, case: Case) -> Curve:
        task, found = case.task, case.attribution
        assert found is not None
        pictures = case.pictures
        values = [found.values[one.name] for one in pictures]
        order = ranking(np.concatenate([one.ravel() for one in values]), self.order)
        ends = np.cumsum([one.size for one in values])[:-1]
        rng = np.random.default_rng((task.seed, 11))
        target = next(t for t in task.targets if t.score == "probability")
        leaves = task.model.leaves(task.encoded)
        scores = []
        for count in _steps(len(order), self.steps):
            gone = np.zeros(len(order), dtype=bool)
            gone[order[:count]] = True
            for one, mask in zip(pictures, np.split(gone, ends), strict=True):
                pixels = one.content.pixels
                whole = in_float64(pixels[0]).numpy()
                frame = imputed(whole, mask.reshape(one.shape), rng)
                leaves[one.name] = torch.from_numpy(frame)[None].to(pixels)
            with torch.no_grad():
                score = target(in_float64(task.model.scores(task.encoded, leaves)))
            scores.append(float(score))
        return Curve(self.at, np.array(scores))


@register_metric(
    "sensitivity_max",
    source="Yeh et al. 2019, equation 7",
    better=LOWER,
    range="0 …",
    needs={"pixels"},
)
@dataclass(frozen=True)
class SensitivityMax:
    """max ‖a(x + ε) − a(x)‖ / ‖a(x)‖ over random ε of the picture with ‖ε‖∞ ≤ radius; a over pixels
    and tokens.

    Yeh et al. 2019, equation 7, by drawing. The radius is in units of the model's normalized
    pixels.
    """

    radius: float = parameter(0.02, "largest change of a pixel", low=0.0, high=10.0)
    draws: int = parameter(5, "changed pictures", low=1, high=1000)

    def __call__(self, case: Case) -> float:
        encoded, found = case.task.encoded, case.attribution
        assert found is not None
        here = not_all_zero(_flat(found))
        size = np.linalg.norm(here)
        rng, most = np.random.default_rng((case.task.seed, 13)), 0.0
        for _ in range(self.draws):
            frames = {}
            for one in case.pictures:
                pixels = one.content.pixels
                noise = rng.uniform(-self.radius, self.radius, pixels.shape)
                frames[one.name] = pixels + torch.from_numpy(noise).to(pixels)
            there = _flat(case.again(encoded.with_frames(frames)))
            most = max(most, float(np.linalg.norm(there - here) / size))
        return most


def _flat(found: Attribution) -> np.ndarray:
    """The values of all elements of all inputs, in a row."""
    return np.concatenate([values.ravel() for values in found.values.values()])
