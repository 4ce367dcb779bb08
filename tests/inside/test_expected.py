"""Baselines that are drawn from examples: against Captum's classes, by hand, and what is refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from families import example_for
from networks import (
    LABELS,
    QUESTION,
    SIDE,
    VOCABULARY,
    Convolutions,
    Reader,
    convolutions,
    photo,
    pixels,
    reader,
    to_tensor,
)
from torch import nn

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel

COUNT = 6


def others() -> list[vx.Example]:
    drawn = np.random.default_rng(9).integers(0, 256, (COUNT, SIDE, SIDE, 3), dtype=np.uint8)
    return [vx.Example(one) for one in drawn]


def starts() -> torch.Tensor:
    return torch.stack([to_tensor(one.image) for one in others()])


@pytest.mark.each
@pytest.mark.parametrize("target", [0, 1, 2])
@pytest.mark.filterwarnings("ignore:Setting forward")
def test_deep_lift_shap_equals_captums(target: int) -> None:
    theirs = captum.attr.DeepLiftShap(Convolutions().eval()).attribute(
        pixels(), baselines=starts(), target=target
    )
    why = vx.explain(
        convolutions(), photo(), method="deep_lift_shap", target=target, baselines=others()
    )
    np.testing.assert_allclose(why.image, theirs[0].sum(dim=0).detach(), atol=1e-6)
    assert str(why.parameters["baselines"]) == "6 examples"


@pytest.mark.each
@pytest.mark.parametrize("layer", ["first", "second"])
@pytest.mark.filterwarnings("ignore:Setting forward")
def test_deep_lift_shap_of_a_layer_equals_captums(layer: str) -> None:
    module = Convolutions().eval()
    theirs = captum.attr.LayerDeepLiftShap(module, module.get_submodule(layer)).attribute(
        pixels(), baselines=starts(), target=1
    )
    found = vx.layer_values(
        convolutions(), photo(), layer=layer, method="layer_deep_lift_shap", target=1,
        baselines=others(),
    )  # fmt: skip
    np.testing.assert_allclose(found.values, theirs[0].detach(), atol=1e-6)
    with torch.no_grad():
        change = float((module(pixels()) - module(starts()).mean(dim=0))[0, 1])
    assert found.change == pytest.approx(change, abs=1e-6)
    assert found.errors is not None
    assert found.errors.shape == found.values.shape


def drawn_by_ours(samples: int) -> tuple[list[int], list[float]]:
    """Which examples and places our draws take with seed 0, as the code says it draws them."""
    rng = np.random.default_rng(0)
    which, places = [], []
    for _ in range(samples):
        rng.choice(["constant"], 1)
        rng.integers(2**31, size=1)
        which += rng.integers(COUNT, size=1).tolist()
        places += rng.random(1).tolist()
    return which, places


@pytest.mark.each
@pytest.mark.parametrize("layer", ["first", "relu1", "second", "relu2"])
def test_gradient_shap_of_a_layer_equals_captums_at_the_same_draws(
    layer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = Convolutions().eval()
    which, places = drawn_by_ours(8)
    monkeypatch.setattr(np.random, "uniform", lambda _low, _high, _size: np.array(places))
    monkeypatch.setattr(np.random, "choice", lambda _count, _size: np.array(which))
    theirs = captum.attr.LayerGradientShap(module, module.get_submodule(layer)).attribute(
        pixels(), baselines=starts(), n_samples=8, stdevs=0.0, target=2
    )
    found = vx.layer_values(
        convolutions(), photo(), layer=layer, method="layer_gradient_shap", target=2, samples=8,
        image_baseline="constant", baselines=others(),
    )  # fmt: skip
    np.testing.assert_allclose(found.values, theirs[0].detach(), atol=1e-6)


@pytest.mark.slow
def test_draws_meet_the_mean_of_integrated_gradients_within_their_errors() -> None:
    """Expected gradients are integrated gradients averaged over the baselines."""
    module = Convolutions().eval()
    path = captum.attr.IntegratedGradients(module)
    each = [
        path.attribute(pixels(), baselines=one[None], target=0, n_steps=64)[0].sum(dim=0)
        for one in starts()
    ]
    expected = torch.stack(each).mean(dim=0).detach().numpy()
    why = vx.explain(
        convolutions(), photo(), method="gradient_shap", target=0, samples=3000, regions=4,
        baselines=others(),
    )  # fmt: skip
    assert why.error is not None
    cells = expected.reshape(4, 4, 4, 4).sum(axis=(1, 3)).ravel()
    found = [region.value for region in why.regions]
    assert np.abs(found - cells).max() < 4.5 * why.error


def test_all_examples_are_taken_or_some_none_twice() -> None:
    """Of more baselines than samples, the mean is over some of them."""
    how: Any = {"method": "deep_lift_shap", "target": 0}
    each = [vx.explain(convolutions(), photo(), baselines=[one], **how).image for one in others()]
    whole = vx.explain(convolutions(), photo(), baselines=others(), **how).image
    np.testing.assert_allclose(whole, np.mean(each, axis=0), atol=1e-6)
    pair = vx.explain(convolutions(), photo(), baselines=others(), samples=2, **how).image
    pairs = [(each[i] + each[j]) / 2 for i in range(COUNT) for j in range(i)]
    assert min(np.abs(pair - one).max() for one in pairs) < 1e-6


class Curves(Reader):
    """The same network with its curves as modules, which the rescale rule knows."""

    def __init__(self) -> None:
        super().__init__()
        self.seen, self.joined = nn.Tanh(), nn.Tanh()

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        seen = self.seen(self.look(pixels)).flatten(1)
        both = torch.cat([seen, self.embedding(tokens).mean(dim=1)], dim=1)
        scores: torch.Tensor = self.answer(self.joined(self.hidden(both)))
        return scores


def test_words_may_begin_elsewhere_than_the_picture() -> None:
    """The picture begins at examples, and words at their fill; or both at examples."""
    model = vx.CustomModel(Curves(), image=to_tensor, text=VOCABULARY, labels=LABELS, device="cpu")
    own = vx.Baselines(others(), inputs="image")
    why = vx.explain(
        model, photo(), QUESTION, method="deep_lift_shap", target="a", baselines=own, regions=2
    )
    encoded = model.encode(vx.Example(photo(), QUESTION))
    default = {one.name: one.feature.default_fill for one in encoded.inputs}
    blank = model.baselines(encoded, default, 0)
    with torch.no_grad():
        whole = model.scores(encoded, model.leaves(encoded))[0, 0]
        begin = [model.scores(encoded, {**blank, "image": one[None]})[0, 0] for one in starts()]
    change = float(whole - torch.stack(begin).mean())
    assert sum(sum(part.values) for part in why.parts) == pytest.approx(change, abs=1e-5)
    asked = [vx.Example(one.image, "is it it color") for one in others()]
    both = vx.explain(
        model, photo(), QUESTION, method="deep_lift_shap", target="a", baselines=asked, regions=2
    )
    begin = []
    for one in asked:
        other = model.encode(one)
        with torch.no_grad():
            begin.append(model.scores(other, model.leaves(other))[0, 0])
    change = float(whole - torch.stack(begin).mean())
    assert sum(sum(part.values) for part in both.parts) == pytest.approx(change, abs=1e-5)


@pytest.mark.slow
def test_a_data_set_by_its_name_gives_baselines(scenes_model: ViltModel, tmp_path: Path) -> None:
    example = vx.load_dataset("scenes:test")[0]
    pictures = vx.Baselines("scenes:test", inputs="image")
    how: Any = {"method": "gradient_shap", "samples": 4}
    why = vx.explain(scenes_model, example, baselines=pictures, **how)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert again.parameters["baselines"] == "scenes:test"
    rows = list(vx.load_dataset("scenes:test"))
    same = vx.explain(scenes_model, example, baselines=vx.Baselines(rows, "image"), **how)
    np.testing.assert_array_equal(why.image, same.image)
    other = vx.explain(scenes_model, example, **how)
    assert not np.allclose(why.image, other.image)


@pytest.mark.parametrize("family", ["vilt", "llava", "resnet", "custom"])
@pytest.mark.parametrize("method", ["gradient_shap", "layer_gradient_shap"])
@pytest.mark.slow
def test_families_begin_at_examples(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str, method: str
) -> None:
    """At the example itself nothing changes."""
    model = models(family)
    example = example_for(model, noise_picture)
    how: Any = {"method": method, "samples": 2}
    if model.labels is None:
        how |= {"answers": ["yes", "red circle"], "target": "red circle"}
    other = example_for(model, 255 - noise_picture)
    assert np.abs(vx.explain(model, example, baselines=[other], **how).image).max() > 0
    assert np.abs(vx.explain(model, example, baselines=[example], **how).image).max() < 1e-6


@pytest.mark.each
@pytest.mark.parametrize(
    ("baselines", "said"),
    [
        ([], "list of baselines is empty"),
        (3, "list of examples or the name of a data set, not int"),
        ("scenez", "scenez"),
        (
            [np.zeros((4, 4, 3))],
            r"baselines are examples, such as vx.Example\(image\), not ndarray",
        ),
        ([vx.Example(None, "what is it")], "the baselines have the inputs question"),
        ([vx.Example(None, None)], "the baselines have the inputs"),
    ],
)
def test_what_are_no_baselines_is_told(baselines: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(convolutions(), photo(), method="gradient_shap", baselines=baselines)


def test_inputs_that_do_not_align_are_told() -> None:
    how: Any = {"method": "deep_lift_shap", "target": "a"}
    longer = [vx.Example(photo(), "what color is it it")]
    with pytest.raises(vx.InvalidInput, match=r"input 'question' of example 0 .*inputs=…"):
        vx.explain(reader(), photo(), QUESTION, baselines=longer, **how)
    alone = vx.Baselines(longer, inputs=["image"])
    vx.explain(reader(), photo(), QUESTION, baselines=alone, **how)  # the remedy
    with pytest.raises(vx.InvalidInput, match="no input 'table' to be taken"):
        vx.explain(reader(), photo(), QUESTION, baselines=vx.Baselines(longer, "table"), **how)
    mixed = [vx.Example(photo(), QUESTION), vx.Example(photo())]
    with pytest.raises(vx.InvalidInput, match="example 1 of the baselines has no input 'question'"):
        vx.explain(reader(), photo(), QUESTION, baselines=mixed, **how)


def test_a_network_that_the_rule_does_not_fit_is_told(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    for method in ("deep_lift_shap", "layer_deep_lift_shap"):
        with pytest.raises(vx.Unsupported, match="multiplies activations"):
            vx.explain(scenes_model, scene, method=method, baselines="no such data set")
    assert isinstance(scenes_model.module, nn.Module)
    assert not any(part._forward_hooks for part in scenes_model.module.modules())
