"""The game: what it remembers, how it batches, and what happens when memory or the user ends it."""

import tracemalloc
from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.game import Game, make_players
from vqa_explain.games import estimators, pairs
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.vilt import ViltModel
from vqa_explain.target import Target


def new_game(model: Any, example: vx.Example, fill: str = "drop", **options: Any) -> Game:
    encoded = model.encode(example)
    return Game(
        model,
        encoded,
        make_players(encoded),
        {"image": fill, "question": "mask"},
        Target(16),
        **options,
    )


def coalitions_of(game: Game, count: int, seed: int = 0) -> np.ndarray:
    """Distinct ones."""
    rng = np.random.default_rng(seed)
    rows = np.unique(rng.random((2 * count, len(game))) < rng.random((2 * count, 1)), axis=0)
    return rng.permutation(rows)[:count]


@pytest.mark.slow
def test_batches_give_the_scores_of_one_by_one_and_repeat_nothing(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    for fill in ("drop", "blur"):
        game = new_game(scenes_model, scene, fill)
        rows = coalitions_of(game, 300)
        together = game(np.concatenate([rows, rows]))
        assert game.cost.forwards == 300
        alone = [new_game(scenes_model, scene, fill)(row)[0] for row in rows[:10]]
        np.testing.assert_allclose(together[:10], alone, atol=1e-4)
        np.testing.assert_array_equal(together[:300], together[300:])


@pytest.mark.slow
def test_a_batch_that_does_not_fit_is_halved_and_the_work_goes_on(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    game = new_game(scenes_model, scene)
    rows = coalitions_of(game, 200)
    whole, sizes, plain = new_game(scenes_model, scene)(rows), [], scenes_model.coalition_scores

    def small_memory(encoded: Encoded, regions: Any, shown: Any, *rest: Any) -> torch.Tensor:
        sizes.append(len(shown))
        if len(shown) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(encoded, regions, shown, *rest)

    monkeypatch.setattr(scenes_model, "coalition_scores", small_memory)
    np.testing.assert_allclose(game(rows), whole, atol=1e-4)
    assert game.cost.forwards == 200
    assert len([s for s in sizes if s > 5]) <= 6, "the smaller size is kept"

    def no_memory(*_: Any) -> None:
        raise RuntimeError(
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 1 bytes"
        )

    monkeypatch.setattr(scenes_model, "coalition_scores", no_memory)
    with pytest.raises(vx.OutOfMemory, match="another device"):
        new_game(scenes_model, scene)(rows)


def test_other_failures_of_the_model_are_not_taken_for_memory(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(scenes_model, "coalition_scores", broken)
    with pytest.raises(RuntimeError, match="shapes"):
        new_game(scenes_model, scene).ends()


def test_nan_names_the_coalition(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scenes_model.coalition_scores

    def sometimes(encoded: Encoded, present: Any, *rest: Any) -> torch.Tensor:
        scores = plain(encoded, present, *rest)
        scores[~present["image"].players[:, 5]] = torch.nan
        return scores

    monkeypatch.setattr(scenes_model, "coalition_scores", sometimes)
    game = new_game(scenes_model, scene)
    with pytest.raises(vx.NonFiniteScore, match=r"players \[5\] absent"):
        game(~np.eye(len(game), dtype=bool))


@pytest.mark.slow
@pytest.mark.parametrize("estimator", ["permutation", "kernel", "adjusted"])
def test_a_stopped_run_returns_what_it_has_when_asked_to(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch, estimator: str
) -> None:
    plain, calls = scenes_model.coalition_scores, []

    def stopped(*arguments: Any) -> torch.Tensor:
        calls.extend(arguments[1]["image"].players)  # coalitions
        if len(calls) > 800:
            raise KeyboardInterrupt
        return plain(*arguments)

    monkeypatch.setattr(scenes_model, "coalition_scores", stopped)
    options: dict[str, Any] = {
        "method": "shapley",
        "estimator": estimator,
        "regions": 3,
        "budget": 100_000,
    }
    why = vx.explain(scenes_model, scene, on_interrupt="return", **options)
    assert "stopped by the user" in why.error_text
    assert 0 < why.error < 5
    calls.clear()
    with pytest.raises(KeyboardInterrupt):
        vx.explain(scenes_model, scene, **options)
    monkeypatch.setattr(scenes_model, "coalition_scores", plain)
    assert vx.explain(scenes_model, scene, method="leave_one_out").error_kind == "completeness gap"


@pytest.mark.slow
def test_100_000_coalitions_of_60_players_fit_in_500_megabytes(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    def quick(encoded: Encoded, present: Any, fills: Any, seed: int) -> Any:
        shown, said = present["image"].players, present["question"].elements
        value = shown.double().mean(1) * said.double().mean(1)
        return value[:, None].expand(-1, 23)

    monkeypatch.setattr(scenes_model, "coalition_scores", quick)
    tracemalloc.start()
    game = new_game(scenes_model, scene)
    found = estimators.run_until(
        pairs.adjusted(
            game,
            len(game),
            np.random.default_rng(0),
            100_000,
            game.players.pairs("question", "image"),
        )
    )
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(game) >= 60
    assert game.cost.forwards > 90_000
    assert found.pairs is not None
    assert np.isfinite(found.pairs).all()
    assert peak < 500e6
