"""Layers of a network of two pictures: what they refuse, and that the remedies work."""

from typing import Any

import numpy as np
import pytest
import torch
from networks import LABELS, SIDE, Twos, convolutions, photo, to_tensor
from torch import nn

import vqa_explain as vx
from vqa_explain.methods import METHODS
from vqa_explain.methods.inside import LayerMethod


class Pair(nn.Module):
    """One layer sees each picture in a run of its own, one sees one picture, one sees both."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(6)
            self.each = nn.Conv2d(3, 4, 4, stride=4)
            self.right = nn.Conv2d(3, 4, 4, stride=4)
            self.joint = nn.Conv2d(8, 5, 3, padding=1)
            self.curve, self.last = nn.ReLU(), nn.Linear(5, 3)

    def forward(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        seen = torch.cat([self.each(left), self.each(right) + self.right(right)], dim=1)
        scores: torch.Tensor = self.last(self.curve(self.joint(torch.tanh(seen))).mean(dim=(2, 3)))
        return scores


def pair() -> Any:
    inputs: Any = {"left": vx.Image(to_tensor), "right": vx.Image(to_tensor)}
    return vx.CustomModel(Pair().eval(), inputs=inputs, labels=LABELS, device="cpu")


def example() -> vx.Example:
    other = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return vx.Example.of({"left": photo(), "right": other})


OF_LAYERS = sorted(name for name, cls in METHODS.items() if issubclass(cls, LayerMethod))
OF_LAYERS.remove("neuron_conductance")  # whose values are of the inputs


@pytest.mark.each
@pytest.mark.parametrize("method", OF_LAYERS)
@pytest.mark.parametrize("layer", ["right", "joint"])
def test_one_map_of_two_pictures_is_refused_with_a_remedy(layer: str, method: str) -> None:
    model = pair()
    with pytest.raises(vx.InvalidInput, match="one map, and the example has 2 pictures") as told:
        vx.explain(model, example(), method=method, layer=layer)
    assert "such as integrated_gradients, or vx.layer_values" in str(told.value)
    found = vx.layer_values(model, example(), method=method, layer=layer)
    assert found.values.any()


@pytest.mark.each
@pytest.mark.parametrize("method", [*OF_LAYERS, "grad_cam"])
def test_a_layer_that_runs_for_each_picture_is_refused_with_a_remedy(method: str) -> None:
    model = pair()
    if method == "grad_cam":
        with pytest.raises(vx.InvalidInput, match="not one output"):
            vx.explain(model, example(), method=method, layer="each")
        return
    said = r"runs 2 times .* such as target=vx.Unit\('each', 0, run=0\)"
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(model, example(), method=method, layer="each")
    with pytest.raises(vx.InvalidInput, match=said):
        vx.layer_values(model, example(), method=method, layer="each")


def test_the_remedies_work_for_both_pictures() -> None:
    model = pair()
    whole = vx.explain(model, example(), method="integrated_gradients", steps=8)
    assert all(np.abs(part.values).sum() > 0 for part in whole.parts)
    for run, name in enumerate(("left", "right")):
        unit = vx.Unit("each", 0, run=run)
        why = vx.explain(model, example(), method="leave_one_out", target=unit, regions=2)
        of = {part.name: np.abs(part.values).sum() for part in why.parts}
        assert of.pop(name) > 0
        assert sum(of.values()) == 0  # each run sees one picture
    through = vx.explain(model, example(), method="neuron_conductance", layer="joint", steps=8)
    assert all(np.abs(part.values).sum() > 0 for part in through.parts)


def test_a_network_of_fixed_batches_is_refused_with_a_remedy() -> None:
    twos = vx.load(Twos().eval(), transform=to_tensor, labels=LABELS, device="cpu")
    for method in ("layer_ablation", "layer_integrated_gradients"):
        with pytest.raises(vx.Unsupported, match="cannot be replaced; use layer_conductance"):
            vx.layer_values(twos, photo(), method=method, layer="body.second")
    for method in ("layer_conductance", "internal_influence"):
        how: Any = {"method": method, "steps": 8, "target": "a"}
        found = vx.layer_values(twos, photo(), layer="body.second", **how)
        alone = vx.layer_values(convolutions(), photo(), layer="second", **how)
        np.testing.assert_allclose(found.values, alone.values, atol=1e-6)
