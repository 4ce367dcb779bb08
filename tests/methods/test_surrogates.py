"""RISE and LIME against closed forms of linear games and a ridge regression that is not ours."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

import vqa_explain as vx
from vqa_explain.methods.surrogates import ridge

CELLS = [slice(0, 4), slice(4, 8)]


def worth(linear, picture):
    """What each quarter of the picture adds to class a of the linear network over black."""
    parts = linear.module.weight.detach().numpy()[0] * (picture.transpose(2, 0, 1) / 255)
    return np.array([parts[:, rows, columns].sum() for rows in CELLS for columns in CELLS])


def test_lime_finds_the_weights_of_a_linear_game(linear, picture):
    why = vx.explain(
        linear, picture, method="lime", target="a", regions=2, image_fill="constant", penalty=1e-9, budget=64
    )
    np.testing.assert_allclose([r.value for r in why.regions], worth(linear, picture), atol=1e-4)


def test_the_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(0)
    rows = rng.random((80, 6)) < 0.5
    values = rng.normal(size=80)
    distance = 1 - np.sqrt(rows.sum(axis=1) / 6)
    theirs = Ridge(alpha=0.7).fit(rows, values, sample_weight=np.exp(-(distance**2) / 0.25**2))
    np.testing.assert_allclose(ridge(rows, values, 0.25, 0.7)[0], theirs.coef_, atol=1e-10)


def test_rise_of_a_linear_game_is_the_own_worth_plus_half_of_the_others(linear, picture):
    why = vx.explain(linear, picture, method="rise", target="a", regions=2, image_fill="constant", budget=4000)
    own = worth(linear, picture)
    values, errors = (np.array([getattr(r, name) for r in why.regions]) for name in ("value", "error"))
    assert np.all(np.abs(values - (own / 2 + own.sum() / 2)) < 4 * errors)
    assert errors.max() < 0.1 * np.ptp(values)


@pytest.mark.parametrize(("method", "message"), [("lime", r"coefficients of \d+ players"), ("rise", "too small")])
def test_budgets_that_cannot_do_are_refused(scenes_model, scene, method, message):
    with pytest.raises(vx.InvalidInput, match=message):
        vx.explain(scenes_model, scene, method=method, budget=4)
