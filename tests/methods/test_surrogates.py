"""RISE and LIME against closed forms of linear games and a ridge regression that is not ours."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from skimage.transform import resize
from sklearn.linear_model import Ridge

import vqa_explain as vx
from vqa_explain.methods.surrogates import ridge
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

CELLS = [slice(0, 4), slice(4, 8)]


def worth(linear: ClassifierModel, picture: np.ndarray) -> np.ndarray:
    """What each quarter of the picture adds to class a of the linear network over black."""
    parts = linear.module.weight.detach().numpy()[0] * (picture.transpose(2, 0, 1) / 255)
    return np.array([parts[:, rows, columns].sum() for rows in CELLS for columns in CELLS])


def test_lime_finds_the_weights_of_a_linear_game(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    why = vx.explain(
        linear,
        picture,
        method="lime",
        target="a",
        regions=2,
        image_fill="constant",
        penalty=1e-9,
        budget=64,
    )
    np.testing.assert_allclose([r.value for r in why.regions], worth(linear, picture), atol=1e-4)


def test_the_regression_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    rows = rng.random((80, 6)) < 0.5
    values = rng.normal(size=80)
    distance = 1 - np.sqrt(rows.sum(axis=1) / 6)
    theirs = Ridge(alpha=0.7).fit(
        rows, values, sample_weight=np.sqrt(np.exp(-(distance**2) / 0.25**2))
    )
    np.testing.assert_allclose(ridge(rows, values, 0.25, 0.7)[0], theirs.coef_, atol=1e-10)


def test_rise_of_a_linear_game_is_the_own_worth_plus_half_of_the_others(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    why = vx.explain(
        linear,
        picture,
        method="rise",
        masks="regions",
        target="a",
        regions=2,
        image_fill="constant",
        budget=4000,
    )
    own = worth(linear, picture)
    values, errors = (
        np.array([getattr(r, name) for r in why.regions]) for name in ("value", "error")
    )
    assert np.all(np.abs(values - (own / 2 + own.sum() / 2)) < 4 * errors)
    assert errors.max() < 0.1 * np.ptp(values)


def authors_rise(
    score: Callable[..., np.ndarray],
    picture: np.ndarray,
    count: int,
    cells: int,
    probability: float,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The authors' published code for their masks and map,
    in its own words but for the random generator.
    """
    size = np.array(picture.shape[:2])
    cell = np.ceil(size / cells).astype(int)
    up = (cells + 1) * cell
    masks = np.empty((count, *size))
    for i, grid in enumerate((rng.random((count, cells, cells)) < probability).astype(float)):
        x, y = rng.integers(0, cell[0]), rng.integers(0, cell[1])
        masks[i] = resize(grid, up, order=1, mode="reflect", anti_aliasing=False)[
            x : x + size[0], y : y + size[1]
        ]
    scores = score(masks[..., None] * picture)
    return np.tensordot(scores, masks, 1) / count / probability, np.tensordot(
        scores**2, masks**2, 1
    ) / count


@pytest.mark.slow
def test_smooth_rise_is_the_authors(linear: ClassifierModel, picture: np.ndarray) -> None:
    weight = linear.module.weight.detach().numpy()[0].transpose(1, 2, 0)

    def score(pictures: np.ndarray) -> np.ndarray:
        return np.tensordot(pictures / 255, weight, 3)

    theirs, squares = authors_rise(score, picture, 40_000, 4, 0.5, np.random.default_rng(1))
    why = vx.explain(
        linear,
        picture,
        method="rise",
        target="a",
        regions=4,
        image_fill="constant",
        budget=40_000,
        cells=4,
    )
    noise = np.sqrt(squares / 40_000) / 0.5
    assert np.abs(why.image * 4 - theirs).max() < 5 * np.sqrt(2) * noise.max()
    assert np.corrcoef(why.image.ravel(), theirs.ravel())[0, 1] > 0.98


@pytest.mark.slow
def test_smooth_rise_states_its_errors(linear: ClassifierModel, picture: np.ndarray) -> None:
    parts: dict[str, Any] = {
        "method": "rise",
        "target": "a",
        "regions": 2,
        "image_fill": "constant",
    }
    truth = vx.explain(linear, picture, budget=60_000, **parts)
    inside = []
    for seed in range(60):
        why = vx.explain(linear, picture, budget=300, seed=seed, **parts)
        inside += [
            abs(a.value - b.value) < 1.96 * a.error
            for a, b in zip(why.regions, truth.regions, strict=True)
        ]
    assert 0.88 < np.mean(inside) <= 1


@pytest.mark.slow
def test_smooth_rise_values_words_too(scenes_model: ViltModel, scene: vx.Example) -> None:
    why = vx.explain(scenes_model, scene, method="rise", budget=400)
    assert all(w.error is not None and w.error > 0 for w in why.words)
    assert not why.by_player
    with pytest.raises(vx.InvalidInput, match="masks='regions'"):
        vx.explain(scenes_model, scene, method="rise", budget=400, image_fill="drop")


@pytest.mark.parametrize(
    ("method", "message"), [("lime", r"coefficients of \d+ players"), ("rise", "too small")]
)
def test_budgets_that_cannot_do_are_refused(
    scenes_model: ViltModel, scene: vx.Example, method: str, message: str
) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        vx.explain(scenes_model, scene, method=method, budget=4)
