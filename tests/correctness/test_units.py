"""Every method's values have the unit that they are said to have, everywhere they are shown."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import summary_of_format_1
from matplotlib.axes import Axes
from matplotlib.text import Text
from rich.console import Console

import vqa_explain as vx
from vqa_explain import colors
from vqa_explain._explanation_file import _checksum
from vqa_explain.explanation import Explanation
from vqa_explain.methods import METHODS
from vqa_explain.methods.describing import describe_methods
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell.tables import explanation_tables, methods_tables
from vqa_explain.target import Answer
from vqa_explain.units import UNITS, unit_named
from vqa_explain.viewer.export import article, page
from vqa_explain.viewer.payload import payload, raw

# The table "Units of values" of the methods' definitions.
EXPECTED = {
    "input_x_gradient": "points",
    "integrated_gradients": "points",
    "gradient_shap": "points",
    "deep_lift": "points",
    "attn_lrp": "points",
    "occlusion": "points",
    "leave_one_out": "points",
    "shapley": "points",
    "owen": "points",
    "banzhaf": "points",
    "interactions": "points",
    "lime": "points",
    "guided_backprop": "gradient",
    "deconvolution": "gradient",
    "saliency": "gradient size",
    "smoothgrad": "gradient size",
    "vargrad": "squared gradient size",
    "rise": "mean score",
    "grad_cam": "activation × gradient",
    "grad_cam_plus_plus": "activation × gradient",
    "hires_cam": "activation × gradient",
    "guided_grad_cam": "activation map × gradient",
    "attention": "share of attention",
    "attention_rollout": "share of attention",
    "relevance": "relevance",
    "evidence": "share of sets",
    "layer_activation": "activation",
    "layer_gradient_x_activation": "points",
    "layer_conductance": "points",
    "layer_integrated_gradients": "points",
    "layer_deep_lift": "points",
    "layer_ablation": "points",
    "internal_influence": "influence",
    "neuron_conductance": "points",
    "lrp": "points",
    "layer_lrp": "points",
    "deep_lift_shap": "points",
    "layer_deep_lift_shap": "points",
    "layer_gradient_shap": "points",
    "layer_cam": "activation × gradient",
    "xgrad_cam": "activation × gradient",
    "eigen_cam": "activation",
    "eigen_grad_cam": "activation × gradient",
    "ablation_cam": "activation",
    "score_cam": "activation",
}
SIGNED = {
    *("points", "gradient", "mean score", "activation map × gradient"),
    *("activation", "influence"),
}
UNSIGNED = {method for method, unit in EXPECTED.items() if unit not in SIGNED}
# How values grow where the score is three times as large: 3 to this power.
POWER = {
    "points": 1,
    "mean score": 1,
    "gradient": 1,
    "gradient size": 1,
    "squared gradient size": 2,
    "activation × gradient": 1,
    "activation map × gradient": 2,
    "share of attention": 0,
    "share of sets": 0,
    "activation": 0,
    "influence": 1,
}
CHEAP = {
    "integrated_gradients": {"steps": 8},
    "layer_conductance": {"steps": 8},
    "layer_integrated_gradients": {"steps": 8},
    "internal_influence": {"steps": 8},
    "neuron_conductance": {"steps": 8},
    "gradient_shap": {"samples": 4},
    "layer_gradient_shap": {"samples": 4},
    "deep_lift_shap": {"samples": 4},
    "layer_deep_lift_shap": {"samples": 4},
    "smoothgrad": {"samples": 4},
    "vargrad": {"samples": 4},
    **{
        name: {"budget": 400}
        for name in ("rise", "lime", "shapley", "owen", "banzhaf", "interactions", "evidence")
    },
}
# Of networks with ReLU.
OF_RELUS = (
    "guided_backprop",
    "deconvolution",
    "guided_grad_cam",
    "deep_lift",
    "deep_lift_shap",
    "layer_deep_lift",
    "layer_deep_lift_shap",
    "lrp",
    "layer_lrp",
)


@pytest.fixture(scope="module")
def explained(
    scenes_model: ViltModel,
    scene: vx.Example,
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
) -> Callable[..., Any]:
    """Method → an explanation by it, made when first asked for;
    `factor` scales the explained score.
    """
    made = {}

    def explanation(method: str, factor: Any = None, **parameters: Any) -> Any:
        key = (method, factor, *parameters.items())
        if key not in made:
            target = None if factor is None else (lambda scores: factor * scores[:, 1])
            model, example = scenes_model, scene
            if method in OF_RELUS:
                model, example = (
                    models("custom"),
                    vx.Example(noise_picture, "what color is the circle"),
                )
            few = {**CHEAP.get(method, {}), **parameters}
            made[key] = vx.explain(model, example, method=method, regions=4, target=target, **few)
        return made[key]

    return explanation


def values_of(why: vx.Explanation) -> np.ndarray:
    """All numbers of an explanation."""
    return np.concatenate(
        [
            why.image.ravel(),
            [r.value for r in why.regions],
            [w.value for w in why.words],
            [t.value for t in why.tokens],
        ]
    )


def printed(tables: list[Any]) -> str:
    console = Console(width=300, record=True, file=io.StringIO())
    for table in tables:
        console.print(table)
    return console.export_text()


def test_the_table_of_units_names_every_method() -> None:
    shipped = {name for name, cls in METHODS.items() if cls.__module__.startswith("vqa_explain.")}
    assert {name: METHODS[name].unit for name in shipped} == EXPECTED
    assert {
        m["name"]: m["unit"] for m in describe_methods(None) if m["name"] in shipped
    } == EXPECTED
    assert set(EXPECTED.values()) <= set(UNITS)
    for name in shipped:
        assert EXPECTED[name] in printed(methods_tables(name))


@pytest.mark.parametrize("method", EXPECTED)
def test_every_place_says_the_methods_unit(explained: Callable[..., Any], method: str) -> None:
    why = explained(method)
    unit = unit_named(EXPECTED[method])
    assert why.unit == unit.name
    figure = why.plot(views=["overlay"])
    told = [text.get_text() for text in figure.findobj(Text)]
    sent = payload(why, raw)
    places = {
        "repr": repr(why),
        "article": article(why),
        "table": printed(explanation_tables(why)),
        "figure": " ".join(text for text in told if ", per " in text),
        "viewer": sent["unitText"],
    }
    named = unit.text.split("{")[0].split(",")[0].strip()
    for place, text in places.items():
        assert named in " ".join(text.split()), place
        assert unit.adds_up == ("points of" in text), place
    assert sent["addsUp"] == unit.adds_up
    claims = "are in one unit: points" in page([why])
    assert claims == (unit.adds_up and why.by_player)  # a pixel's value is on no scale of a word's
    assert ("no shares" in repr(why) or "none: values" in repr(why)) == (not unit.shared)


@pytest.mark.parametrize("method", EXPECTED)
def test_the_legend_begins_at_zero_where_no_value_is_below(
    explained: Callable[..., Any], method: str
) -> None:
    why = explained(method)
    values = values_of(why)
    axes = why.plot(views=["overlay"]).findobj(Axes)
    bar = next(one for one in axes if one.get_label() == "color bar")
    assert (method in UNSIGNED) == (not unit_named(EXPECTED[method]).signed)
    if method in UNSIGNED:
        assert values.min() >= 0
        assert bar.get_xlim()[0] == 0
        assert '<div class="scale">0<i' in article(why)
        assert " +" not in repr(why).split("\n  words")[1].split("\n")[0]
        assert why.palette is colors.SIZES
        with pytest.raises(vx.InvalidInput, match="never below zero"):
            why.plot(views=["negative"])
    elif method == "rise":
        assert bar.get_xlim() == pytest.approx((why.image.min(), why.image.max()))
        assert why.palette is colors.SIZES
        with pytest.raises(vx.InvalidInput, match="no changes for or against"):
            why.plot(views=["negative"])
    else:
        assert bar.get_xlim()[0] == pytest.approx(-bar.get_xlim()[1])
        assert why.palette is colors.SIGNED
    assert payload(why, raw)["signed"] == (method not in UNSIGNED)


# Relevance multiplies layers, Grad-CAM++ divides powers of gradients, and Score-CAM has a softmax of
# scores: none grows by a power.
@pytest.mark.parametrize(
    "method",
    [m for m in EXPECTED if EXPECTED[m] in POWER and m not in ("grad_cam_plus_plus", "score_cam")],
)
def test_values_grow_with_the_score_as_their_unit_says(
    explained: Callable[..., Any], method: str
) -> None:
    """Dimensional analysis: an explanation of 3 f against one of f."""
    if method == "lime":  # its ridge penalty pulls to zero by another share
        one, three = (explained(method, factor, penalty=0.0) for factor in (1.0, 3.0))
    else:
        one, three = (explained(method, factor) for factor in (1.0, 3.0))
    grown = 3.0 ** POWER[EXPECTED[method]]
    np.testing.assert_allclose(
        values_of(three), grown * values_of(one), rtol=2e-2, atol=1e-3 * grown
    )


@pytest.mark.parametrize(
    ("method", "of", "unit", "power"),
    [
        ("smoothgrad", "saliency", "gradient size", 1),
        ("smoothgrad", "input_x_gradient", "points", 1),
        ("vargrad", "saliency", "squared gradient size", 2),
        ("vargrad", "input_x_gradient", "squared points", 2),
    ],
)
def test_a_mean_and_a_variance_take_the_unit_of_their_method(
    explained: Callable[..., Any], tmp_path: Path, method: str, of: str, unit: str, power: int
) -> None:
    one, three = (explained(method, factor, of=of) for factor in (1.0, 3.0))
    assert one.unit == unit
    np.testing.assert_allclose(values_of(three), 3.0**power * values_of(one), rtol=1e-2, atol=1e-6)
    assert vx.load_explanation(one.save(tmp_path / "a.vqax")).unit == unit


@pytest.mark.parametrize(
    "method",
    [
        name
        for name, unit in EXPECTED.items()
        if unit == "points"
        and name != "interactions"
        and not name.startswith(("layer_", "neuron_"))
    ],
)
def test_points_add_up_to_the_change_of_a_linear_score(
    linear: ClassifierModel, picture: np.ndarray, method: str
) -> None:
    """f = w · x: what all regions add is f(x) − f(0), by hand. LIME's penalty is left out."""
    given: dict[str, Any] = {
        **CHEAP.get(method, {}),
        **({"penalty": 0.0} if method == "lime" else {}),
        **({"budget": 600} if method == "banzhaf" else {}),  # exact
    }
    fields = METHODS[method].__dataclass_fields__
    given |= {name: "constant" for name in ("image_fill", "image_baseline") if name in fields}
    why = vx.explain(linear, picture, method=method, regions=3, target="b", **given)
    expected = float(
        (linear.module.weight[1].detach().numpy() * picture.transpose(2, 0, 1) / 255).sum()
    )
    assert sum(r.value for r in why.regions) == pytest.approx(expected, abs=2e-2)


def test_sizes_of_words_and_of_pixels_have_scales_of_their_own(
    explained: Callable[..., Any],
) -> None:
    why = explained("saliency")
    assert why.word_scale == max(w.value for w in why.words)
    assert why.region_scale == max(r.value for r in why.regions)
    assert why.word_scale != why.region_scale
    points = explained("leave_one_out")
    largest = max(abs(part.value) for part in (*points.words, *points.regions))
    assert points.word_scale == points.region_scale == largest


def older(why: vx.Explanation) -> bytes:
    """The bytes of a file as older versions wrote it: without a unit and without label numbers."""
    from safetensors.numpy import save

    left_out = ("unit", "target_index", "contrast_index")
    text = json.dumps(
        {k: value for k, value in summary_of_format_1(why).items() if k not in left_out}
    )
    tensors: dict[str, np.ndarray] = {
        "image": np.ascontiguousarray(why.image, dtype=np.float64),
        "labels": np.ascontiguousarray(why.labels, dtype=np.int32),
        "picture": np.ascontiguousarray(why.picture, dtype=np.uint8),
    }
    return save(tensors, {"format": "1", "explanation": text, "checksum": _checksum(text, tensors)})


@pytest.mark.parametrize("method", ["saliency", "attention", "leave_one_out", "vargrad", "rise"])
def test_files_carry_the_unit_and_older_ones_take_their_methods(
    explained: Callable[..., Any], tmp_path: Path, method: str
) -> None:
    why = explained(method)
    again = vx.load_explanation(why.save(tmp_path / "new.vqax"))
    assert (again.unit, again.target_index) == (EXPECTED[method], why.target_index)
    (tmp_path / "old.vqax").write_bytes(older(why))
    old = vx.load_explanation(tmp_path / "old.vqax")
    assert (old.unit, old.target_index) == (EXPECTED[method], None)
    assert repr(old) == repr(why)


def test_a_method_of_ones_own_claims_no_unit_that_it_does_not_state(
    explained: Callable[..., Any],
) -> None:
    why = explained("saliency")
    unknown = Explanation(**{**vars_of(why), "method": "mine", "unit": ""})
    assert unknown.unit == "no unit"
    assert "points" not in repr(unknown)
    assert "points" not in article(unknown)
    stated = Explanation(**{**vars_of(why), "method": "mine", "unit": "bits"})
    assert "unit      bits" in repr(stated)


def vars_of(why: vx.Explanation) -> dict[str, Any]:
    """The fields, without what was computed of them."""
    return {name: getattr(why, name) for name in why.__dataclass_fields__}


def test_two_answers_of_one_text_are_told_apart_in_words(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    why = vx.explain(linear, picture, method="saliency", target="b")
    same = tuple(Answer("b", a.probability, a.index) for a in why.answers)
    assert Explanation(**{**vars_of(why), "answers": same}).explained == "logit of “b” (label 1)"
    assert why.explained == "logit of “b”"
