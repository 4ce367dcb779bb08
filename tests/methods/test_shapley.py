"""Shapley values against enumeration by the definition, closed forms, and the model called by hand."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.methods.shapley import exact_shapley, permutation_shapley


def by_definition(value, players):
    """Σ_S s!(p−s−1)!/p! (v(S∪i) − v(S)), written as the formula."""
    phi = np.zeros(players)
    for i in range(players):
        others = [j for j in range(players) if j != i]
        for size in range(players):
            for chosen in combinations(others, size):
                weight = factorial(size) * factorial(players - size - 1) / factorial(players)
                phi[i] += weight * (value(frozenset(chosen) | {i}) - value(frozenset(chosen)))
    return phi


def game(value):
    return lambda coalitions: np.array([value(frozenset(np.flatnonzero(row).tolist())) for row in coalitions])


def test_glove_game_has_its_textbook_values():
    def value(s):  # one left glove (player 0), two right gloves
        return float(0 in s and (1 in s or 2 in s))

    np.testing.assert_allclose(exact_shapley(game(value), 3), [2 / 3, 1 / 6, 1 / 6])


def test_exact_equals_the_definition_on_random_games():
    rng = np.random.default_rng(1)
    table = {frozenset(np.flatnonzero(row).tolist()): rng.normal() for row in np.ndindex(*[2] * 6)}
    np.testing.assert_allclose(
        exact_shapley(game(table.__getitem__), 6), by_definition(table.__getitem__, 6), atol=1e-12
    )


def test_exact_shapley_of_a_network_equals_enumeration_in_plain_torch(curved, picture):
    ours = vx.explain(curved, picture, method="shapley", target="a", grid=2, image_fill="constant", budget=16)
    x = torch.from_numpy(picture.transpose(2, 0, 1).copy()).float() / 255

    def value(present):
        shown = torch.zeros_like(x)
        for cell in present:
            rows, columns = slice(4 * (cell // 2), 4 * (cell // 2) + 4), slice(4 * (cell % 2), 4 * (cell % 2) + 4)
            shown[:, rows, columns] = x[:, rows, columns]
        with torch.no_grad():
            return float(curved.module(shown[None])[0, 0])

    np.testing.assert_allclose([r.value for r in ours.regions], by_definition(value, 4), atol=1e-6)
    assert ours.error == 0


def test_permutation_estimates_cover_the_truth_and_keep_the_sum():
    rng = np.random.default_rng(2)
    players = 8
    table = {frozenset(np.flatnonzero(row).tolist()): rng.normal() for row in np.ndindex(*[2] * players)}
    truth = by_definition(table.__getitem__, players)
    inside = []
    for seed in range(60):
        values, errors = permutation_shapley(game(table.__getitem__), players, np.random.default_rng(seed), 600, None)
        assert values.sum() == pytest.approx(table[frozenset(range(players))] - table[frozenset()])
        inside.append(np.abs(values - truth) <= 1.96 * errors)
    assert 0.90 <= np.mean(inside) <= 0.98


def test_permutation_is_exact_at_once_for_an_additive_game():
    worth = np.array([1.0, -2.0, 0.5, 3.0])
    values, errors = permutation_shapley(lambda c: c @ worth, 4, np.random.default_rng(0), 30, 0.01)
    np.testing.assert_allclose(values, worth)
    assert errors.max() < 1e-12


def test_words_and_regions_share_the_change_of_the_score(scenes_model, scene):
    ours = vx.explain(scenes_model, scene, method="shapley", target="yes", grid=4, budget=200)
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


def test_tolerance_stops_early(scenes_model, scene):
    loose = vx.explain(
        scenes_model, scene, method="shapley", grid=2, estimator="permutation", budget=4000, tolerance=0.5
    )
    assert loose.cost.forwards < 500


def test_a_budget_below_two_pairs_is_refused_with_the_least(scenes_model, scene):
    with pytest.raises(vx.InvalidInput, match=r"budget 50 is too small.*at least"):
        vx.explain(scenes_model, scene, method="shapley", budget=50)


def test_exact_with_too_many_players_is_refused(scenes_model, scene):
    with pytest.raises(vx.InvalidInput, match="evaluations"):
        vx.explain(scenes_model, scene, method="shapley", estimator="exact")
