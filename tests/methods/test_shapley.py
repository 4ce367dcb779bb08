"""Shapley values against enumeration by the definition, closed forms,
and the model called by hand.
"""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations, permutations, product
from math import factorial
from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.games.estimators import (
    Round,
    banzhaf,
    exact_banzhaf,
    exact_owen,
    exact_shapley,
    kernel,
    permutation,
    run_until,
    union_order,
)
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


def by_definition(value: Callable[..., float], players: int) -> np.ndarray:
    """Σ_S s!(p−s−1)!/p! (v(S∪i) − v(S)), written as the formula."""
    phi = np.zeros(players)
    for i in range(players):
        others = [j for j in range(players) if j != i]
        for size in range(players):
            for chosen in combinations(others, size):
                weight = factorial(size) * factorial(players - size - 1) / factorial(players)
                phi[i] += weight * (value(frozenset(chosen) | {i}) - value(frozenset(chosen)))
    return phi


def game(value: Callable[..., float]) -> Callable[..., np.ndarray]:
    return lambda coalitions: np.array(
        [value(frozenset(np.flatnonzero(row).tolist())) for row in coalitions]
    )


def test_glove_game_has_its_textbook_values() -> None:
    def value(
        s: frozenset[int] | frozenset[Any],
    ) -> float:  # one left glove (player 0), two right gloves
        return float(0 in s and (1 in s or 2 in s))

    np.testing.assert_allclose(exact_shapley(game(value), 3), [2 / 3, 1 / 6, 1 / 6])


def test_exact_equals_the_definition_on_random_games() -> None:
    rng = np.random.default_rng(1)
    table = {frozenset(np.flatnonzero(row).tolist()): rng.normal() for row in np.ndindex(*[2] * 6)}
    np.testing.assert_allclose(
        exact_shapley(game(table.__getitem__), 6), by_definition(table.__getitem__, 6), atol=1e-12
    )


def test_exact_shapley_of_a_network_equals_enumeration_in_plain_torch(
    curved: ClassifierModel, picture: np.ndarray
) -> None:
    ours = vx.explain(
        curved, picture, method="shapley", target="a", regions=2, image_fill="constant", budget=16
    )
    x = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255

    def value(present: frozenset[int] | frozenset[Any]) -> float:
        shown = torch.zeros_like(x)
        for cell in present:
            rows, columns = (
                slice(4 * (cell // 2), 4 * (cell // 2) + 4),
                slice(4 * (cell % 2), 4 * (cell % 2) + 4),
            )
            shown[:, rows, columns] = x[:, rows, columns]
        with torch.no_grad():
            return float(curved.module(shown[None])[0, 0])

    np.testing.assert_allclose([r.value for r in ours.regions], by_definition(value, 4), atol=1e-6)
    assert ours.error == 0


def random_table(players: int, seed: int) -> dict[frozenset[int], float]:
    rng = np.random.default_rng(seed)
    return {
        frozenset(np.flatnonzero(row).tolist()): rng.normal() for row in np.ndindex(*[2] * players)
    }


def banzhaf_by_definition(value: Callable[..., float], players: int) -> list[Any]:
    everybody = [frozenset(np.flatnonzero(row).tolist()) for row in np.ndindex(*[2] * players)]
    return [
        np.mean([value(s | {i}) - value(s) for s in everybody if i not in s])
        for i in range(players)
    ]


def owen_by_definition(value: Callable[..., float], unions: list[list[int]]) -> np.ndarray:
    """The mean gain over every order that keeps the unions whole, written as that."""
    phi, orders = np.zeros(sum(map(len, unions))), 0
    for order in permutations(range(len(unions))):
        for inner in product(*(permutations(unions[k]) for k in order)):
            present: frozenset[int] = frozenset()
            for player in (p for union in inner for p in union):
                phi[player] += value(present | {player}) - value(present)
                present |= {player}
            orders += 1
    return phi / orders


def test_exact_banzhaf_and_owen_equal_their_definitions() -> None:
    table = random_table(6, 3)
    np.testing.assert_allclose(
        exact_banzhaf(game(table.__getitem__), 6),
        banzhaf_by_definition(table.__getitem__, 6),
        atol=1e-12,
    )
    unions = [[0, 1], [2, 3, 4], [5]]
    np.testing.assert_allclose(
        exact_owen(game(table.__getitem__), [np.array(u) for u in unions]),
        owen_by_definition(table.__getitem__, unions),
        atol=1e-12,
    )


@pytest.mark.parametrize("name", ["permutation", "kernel", "owen", "banzhaf"])
@pytest.mark.slow
def test_intervals_cover_the_truth_as_often_as_they_say(name: str) -> None:
    """Over 200 seeds, 95 % intervals hold the value by the definition in 92 to 98 % of the cases;
    no bias.
    """
    players = 8
    # A smooth part, as models have, and pure noise on top.
    table = {
        s: sum(s) / 4 + 0.2 * len(s) ** 2 / 8 + 0.3 * v for s, v in random_table(players, 2).items()
    }
    value, score = table.__getitem__, game(table.__getitem__)
    unions = [[0, 1, 2], [3, 4, 5, 6, 7]]
    order = union_order([np.array(u) for u in unions])
    estimators: dict[str, tuple[Callable[..., Iterator[Round]], np.ndarray]] = {
        "permutation": (permutation, by_definition(value, players)),
        "kernel": (kernel, by_definition(value, players)),
        "owen": (partial(permutation, order=order), owen_by_definition(value, unions)),
        "banzhaf": (banzhaf, np.array(banzhaf_by_definition(value, players))),
    }
    estimate, truth = estimators[name]
    found = [
        run_until(estimate(score, players, np.random.default_rng(seed), 600)) for seed in range(200)
    ]
    values, errors = np.array([e.values for e in found]), np.array([e.errors for e in found])
    covered = np.mean(np.abs(values - truth) <= 1.96 * errors)
    bias = (values.mean(0) - truth) / (values.std(0, ddof=1) / np.sqrt(len(values)))
    assert 0.92 <= covered <= 0.98
    assert np.abs(bias).max() < 4  # of eight players, so a little above three
    if name != "banzhaf":
        np.testing.assert_allclose(
            values.sum(1), value(frozenset(range(players))) - value(frozenset())
        )


@pytest.mark.parametrize("estimate", [permutation, kernel])
def test_additive_games_are_exact_at_once(estimate: Any) -> None:
    worth = np.array([1.0, -2.0, 0.5, 3.0])
    found = run_until(
        estimate(lambda c: c @ worth, 4, np.random.default_rng(0), 30), tolerance=0.01
    )
    np.testing.assert_allclose(found.values, worth)
    assert found.errors.max() < 1e-12


def test_words_and_regions_share_the_change_of_the_score(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    ours = vx.explain(
        scenes_model,
        scene,
        method="shapley",
        target="yes",
        regions=4,
        budget=200,
        image_fill="drop",
    )
    encoded = scenes_model.encode(scene)
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")
    with torch.no_grad(), torch.random.fork_rng():
        index = scenes_model.labels.index("yes")
        full = float(scenes_model.module(**inputs).logits[0, index])
        ids = inputs["input_ids"].clone()
        ids[0, 1 : 1 + len(encoded.words)] = scenes_model.processor.tokenizer.mask_token_id
        vilt = scenes_model.module.vilt.embeddings
        only_cls = vilt.cls_token + vilt.position_embeddings[:, :1]
        empty = float(
            scenes_model.module(
                input_ids=ids,
                attention_mask=inputs["attention_mask"],
                image_embeds=only_cls,
                pixel_mask=torch.ones(1, 1, dtype=torch.long),
            ).logits[0, index]
        )
    total = sum(w.value for w in ours.words) + sum(r.value for r in ours.regions)
    assert total == pytest.approx(full - empty, abs=1e-4)
    assert ours.image.sum() == pytest.approx(sum(r.value for r in ours.regions), abs=1e-6)


def test_tolerance_stops_early(scenes_model: ViltModel, scene: vx.Example) -> None:
    loose = vx.explain(
        scenes_model,
        scene,
        method="shapley",
        regions=2,
        estimator="permutation",
        budget=4000,
        tolerance=0.5,
    )
    assert loose.cost.forwards < 500


def test_a_budget_below_two_pairs_is_refused_with_the_least(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    with pytest.raises(vx.InvalidInput, match=r"budget 50 is too small.*at least"):
        vx.explain(scenes_model, scene, method="shapley", budget=50)


def test_exact_with_too_many_players_is_refused(scenes_model: ViltModel, scene: vx.Example) -> None:
    with pytest.raises(vx.InvalidInput, match="evaluations"):
        vx.explain(scenes_model, scene, method="shapley", estimator="exact")
