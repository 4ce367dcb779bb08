"""What an answer stands on: sets, precision and overlap by enumeration of tables of scores."""

from collections.abc import Callable
from itertools import chain, combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cases import Table, network_case, table_case
from conftest import ToTensor

import vqa_explain as vx
from vqa_explain.datasets.scenes import Scenes
from vqa_explain.metrics import read_metric
from vqa_explain.metrics.base import Noted, NotMeasured
from vqa_explain.models.vilt import ViltModel

PIXELS = 5


def table_of(works: Callable[[frozenset[int]], bool]) -> list[float]:
    """The probability of "a" for each set of white pixels."""
    return [
        0.9 if works(frozenset(n for n in range(PIXELS) if number >> n & 1)) else 0.2
        for number in range(2**PIXELS)
    ]


def smallest_by_hand(works: Callable[[frozenset[int]], bool]) -> list[frozenset[int]]:
    """All sets that work and of which no part does, the smallest first."""
    every = chain.from_iterable(combinations(range(PIXELS), size) for size in range(PIXELS + 1))
    found: list[frozenset[int]] = []
    for some in map(frozenset, every):
        if works(some) and not any(other < some for other in found):
            found.append(some)
    return found


GAMES: dict[str, Callable[[frozenset[int]], bool]] = {
    "both of two": lambda s: {1, 3} <= s,
    "either of two pairs": lambda s: {0, 1} <= s or {2, 3} <= s,
    "one, unless another is there": lambda s: 0 in s and (4 not in s or 2 in s),
    "three of five": lambda s: len(s) >= 3,
}


def value_of(case: vx.Case, metric: str) -> float:
    found = read_metric(metric)(case)
    return float(found.value if isinstance(found, Noted) else found)  # type: ignore[arg-type]


@pytest.mark.parametrize("game", [*GAMES])
def test_metrics_of_evidence_are_those_of_enumeration(game: str) -> None:
    works = GAMES[game]
    case = table_case(table_of(works), np.zeros(PIXELS), (1, PIXELS))
    smallest = smallest_by_hand(works)[0]
    assert value_of(case, "evidence_size") == len(smallest)
    others = [n for n in range(PIXELS) if n not in smallest]
    around = chain.from_iterable(combinations(others, k) for k in range(len(others) + 1))
    held = [works(smallest | set(some)) for some in around]
    ties = {
        np.mean([works(one | set(some)) for some in chain.from_iterable(
            combinations([n for n in range(PIXELS) if n not in one], k) for k in range(PIXELS))])
        for one in smallest_by_hand(works) if len(one) == len(smallest)
    }  # fmt: skip
    assert np.mean(held) in ties
    assert value_of(case, "evidence_precision") in ties


@pytest.mark.parametrize("game", [*GAMES])
def test_values_are_shares_of_the_smallest_sets(game: str) -> None:
    works = GAMES[game]
    case = table_case(table_of(works), np.zeros(PIXELS), (1, PIXELS))
    task = case.task
    sets = smallest_by_hand(works)
    for most in (1, 2, 100):
        found = vx.explain(
            task.model, task.encoded.example, method="evidence", sets=most, target="a",
            regions=(1, PIXELS), image_fill="constant",
        )  # fmt: skip
        values = np.array([one.value for one in found.regions])
        if most == 100:
            shares = [np.mean([n in one for one in sets]) for n in range(PIXELS)]
            np.testing.assert_allclose(values, shares)
        else:
            assert values.max() <= 1
            assert values.sum() == pytest.approx(np.mean([len(s) for s in sets[:most]]))
    assert found.unit == "share of sets"
    assert "exactly the smallest sets" in found.error_kind


class Sums(torch.nn.Module):
    """Three answers by sums of parts of the picture."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        white = (x[:, 0].flatten(1) > 0.5).float()
        weights = torch.tensor([[3.0, 1, 0, 0, 0], [0, 0, 2.5, 1, 0], [0.5, 0, 0, 0, 0.1]])
        return white @ weights.T + torch.tensor([0.0, 0.0, 0.4])


@pytest.mark.parametrize(
    ("target", "how", "members"),
    [
        ("one", {}, {0}),  # its score 3 is above all others
        ("two", {}, {2}),
        ("one", {"contrast": "two"}, {0}),
        (lambda scores: scores[:, 0], {}, {0}),  # 3 of 4, at least half
        (lambda scores: -scores[:, 1], {}, {2}),  # 2.5 of 3.5, below zero
        (lambda scores: 0 * scores[:, 1], {}, set()),  # nothing to reach
    ],
)
def test_every_kind_of_target_has_its_sets(target: Any, how: dict[str, Any], members: Any) -> None:
    model = vx.load(Sums(), transform=ToTensor(), labels=["one", "two", "three"], device="cpu")
    white = np.full((1, 5, 3), 255, np.uint8)
    why = vx.explain(
        model, white, method="evidence", sets=1, regions=(1, 5), target=target,
        image_fill="constant", **how,
    )  # fmt: skip
    assert {n for n, one in enumerate(why.regions) if one.value} == members


def test_overlap_is_the_share_of_the_area_in_the_truth() -> None:
    truth = np.zeros((2, 4), dtype=bool)
    truth[0, :1] = True  # half of the upper left cell of 2 × 4 in two cells

    class Left(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            lit = x[:, 0, :, :2].mean(dim=(1, 2))
            return torch.stack([10 * lit, torch.full_like(lit, 5.0)], dim=1)

    white = np.full((2, 4, 3), 255, np.uint8)
    case = network_case(Left(), white, np.zeros(2), (1, 2), truth=truth)
    assert value_of(case, "evidence_overlap") == pytest.approx(1 / 4)
    assert value_of(case, "evidence_size") == 1
    assert value_of(case, "evidence_precision") == 1


def test_an_answer_that_needs_nothing_has_an_empty_set() -> None:
    white, truth = np.full((1, PIXELS, 3), 255, np.uint8), np.ones((1, PIXELS), dtype=bool)
    table = Table([0.9] * 2**PIXELS)
    case = network_case(table, white, np.zeros(PIXELS), (1, PIXELS), truth=truth)
    assert value_of(case, "evidence_size") == 0
    with pytest.raises(NotMeasured, match="has no region"):
        read_metric("evidence_overlap")(case)


@pytest.mark.slow
def test_a_run_finds_answers_that_stand_on_words_alone(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    """Each row that says so is checked by a plain call: with only those words, the answer stays."""
    examples = list(Scenes("test", 2, families=("existence",)))
    report = vx.evaluate(
        scenes_model, examples, ["evidence:budget=200"],
        ["without_regions", "evidence_size", "evidence_precision", "evidence_overlap",
         "relevance_mass"],
        tmp_path, regions=2, words="ngrams:3", workers=1,
    )  # fmt: skip
    rows = report.frame()
    told = rows[rows.metric == "without_regions"].set_index("index")
    assert len(told) == len(examples)
    for number, example in enumerate(examples):
        found = vx.evidence(scenes_model, example, regions=2, words="ngrams:3")
        alone = [part.player for part in found.parts if found.keep[0].members[part.name]]
        assert told.loc[number, "value"] == float("region" not in alone)
        assert "alone keep" in told.loc[number, "note"] or "nothing at all" in str(
            told.loc[number, "note"]
        )
    mass = rows[(rows.metric == "relevance_mass") & (rows.method == "evidence:budget=200")]
    assert len(mass)


def test_sampled_scores_are_refused() -> None:
    model = vx.ApiModel(
        lambda images, messages, answers: [-0.1, -2.0], answers=["yes", "no"], samples=10
    )
    with pytest.raises(vx.Unsupported, match="flip by chance"):
        vx.explain(model, None, "Is it raining?", method="evidence")
