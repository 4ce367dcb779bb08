"""Conductance through a unit against Captum's, and heads as units, by hand."""

from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from families import example_for
from networks import (
    LABELS,
    QUESTION,
    Convolutions,
    Idle,
    convolutions,
    photo,
    pixels,
    reader,
    to_tensor,
    two_blocks,
)
from text_checkpoints import text_checkpoint

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel

GRAY: Any = {"image_baseline": "constant"}


def start() -> torch.Tensor:
    """The baseline of one color."""
    model = convolutions()
    encoded = model.encode(vx.Example(photo()))
    found: torch.Tensor = model.baselines(encoded, {"image": "constant"}, 0)["image"]
    return found


@pytest.mark.each
@pytest.mark.parametrize("layer", ["first", "relu1", "second", "relu2"])
@pytest.mark.parametrize(("unit", "position"), [(0, 0), (3, 6), (5, 15)])
def test_an_elements_conductance_equals_captums(layer: str, unit: int, position: int) -> None:
    module = Convolutions().eval()
    wide = 8 if layer in ("first", "relu1") else 4
    element = (unit, position // wide, position % wide)
    theirs = captum.attr.NeuronConductance(module, module.get_submodule(layer)).attribute(
        pixels(), element, baselines=start(), target=1, n_steps=32, method="gausslegendre"
    )
    why = vx.explain(
        convolutions(), photo(), method="neuron_conductance", layer=layer, neuron=unit,
        position=position, target="b", steps=32, **GRAY,
    )  # fmt: skip
    np.testing.assert_allclose(why.image, theirs.detach()[0].sum(dim=0), atol=1e-6)


def test_units_add_up_to_integrated_gradients_and_a_unit_to_its_positions() -> None:
    how: Any = {"target": "c", "steps": 24, **GRAY}
    whole = vx.explain(convolutions(), photo(), method="integrated_gradients", **how)
    how |= {"method": "neuron_conductance", "layer": "relu2"}
    units = [vx.explain(convolutions(), photo(), neuron=unit, **how) for unit in range(8)]
    np.testing.assert_allclose(sum(one.image for one in units), whole.image, atol=1e-6)
    places = [
        vx.explain(convolutions(), photo(), neuron=4, position=place, **how).image
        for place in range(16)
    ]
    np.testing.assert_allclose(sum(places), units[4].image, atol=1e-6)
    assert units[0].error == pytest.approx(whole.error, abs=1e-6)


def test_words_and_regions_reach_the_answer_through_a_unit() -> None:
    """Over all hidden units, of words as of the picture."""
    how: Any = {"target": "a", "steps": 16, "regions": 2}
    whole = vx.explain(reader(), photo(), QUESTION, method="integrated_gradients", **how,
                       image_baseline="constant")  # fmt: skip
    units = [
        vx.explain(reader(), photo(), QUESTION, method="neuron_conductance", layer="hidden",
                   neuron=unit, **how, **GRAY)
        for unit in range(7)
    ]  # fmt: skip
    for number in range(4):
        parts = sum(one.words[number].value for one in units)
        assert parts == pytest.approx(whole.words[number].value, abs=1e-6)
    regions = sum(np.array([region.value for region in one.regions]) for one in units)
    np.testing.assert_allclose(regions, [region.value for region in whole.regions], atol=1e-6)


def test_a_unit_may_be_the_target_of_another() -> None:
    """What of a unit of the second layer runs through units of the first."""
    target = vx.Unit("second", (3, 1, 2))
    how: Any = {"target": target, "steps": 24, **GRAY}
    whole = vx.explain(convolutions(), photo(), method="integrated_gradients", **how)
    how |= {"method": "neuron_conductance", "layer": "relu1"}
    units = [vx.explain(convolutions(), photo(), neuron=unit, **how).image for unit in range(6)]
    np.testing.assert_allclose(sum(units), whole.image, atol=1e-6)


@pytest.mark.each
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"layer": "second", "neuron": 8}, "no unit 8; its 8 units are numbered 0 to 7"),
        ({"layer": "second", "position": 16}, "no position 16; its 16 positions are numbered"),
        ({"layer": "last", "position": 1}, "no position 1; its 1 positions are numbered 0 to 0"),
        ({"layer": "again"}, "runs 2 times in one pass"),
        ({"layer": "secnd"}, "did you mean 'second'"),
        ({"layer": "second", "neuron": -1}, "neuron"),
    ],
)
def test_what_is_no_unit_is_told(how: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(convolutions(), photo(), method="neuron_conductance", **how)
    assert not any(part._forward_hooks for part in convolutions().module.modules())


def test_a_layer_beside_the_way_to_the_score_is_told() -> None:
    model = vx.load(Idle().eval(), transform=to_tensor, labels=LABELS, device="cpu")
    with pytest.raises(vx.InvalidInput, match="does not depend on layer 'second'"):
        vx.explain(model, photo(), method="neuron_conductance", layer="second")


@pytest.mark.parametrize("family", ["vilt", "llava", "qwen2_vl", "vit"])
@pytest.mark.slow
def test_families_have_conductance_through_their_units(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    """Positions of a unit add up to the unit; a rule of few steps does as well as one of many."""
    model = models(family)
    example = example_for(model, noise_picture)
    how: Any = {"method": "neuron_conductance", "neuron": 2, "steps": 2}
    if model.labels is None:
        how |= {"answers": ["yes", "red circle"], "target": "red circle"}
    whole = vx.explain(model, example, **how)
    first = vx.explain(model, example, position=0, **how)
    assert np.isfinite(whole.image).all()
    assert np.abs(whole.image).max() > 0
    assert not np.allclose(first.image, whole.image)


def given_to(model: Any, path: str, example: vx.Example, **more: Any) -> list[torch.Tensor]:
    """What a layer is given while the example runs, by torch's own hook."""
    found: list[torch.Tensor] = []
    handle = model.module.get_submodule(path).register_forward_pre_hook(
        lambda _layer, inputs: found.append(inputs[0].detach().clone())
    )
    encoded = model.encode(example)
    if model.labels is None:
        encoded = model.with_answers(encoded, **more)
    with torch.no_grad():
        model.scores(encoded, model.leaves(encoded))
    handle.remove()
    return found


def test_a_heads_norm_is_that_of_its_part_of_what_is_joined(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    block = "vilt.encoder.layer.3"
    (states,) = given_to(scenes_model, f"{block}.attention.output.dense", scene)
    norms = states[0, :, 64:96].norm(dim=-1)
    expected = {
        vx.Unit(block, head=2): float(norms.mean()),
        vx.Unit(block, head=2, position=5): float(norms[5]),
        vx.Unit(block, head=2, position="readout"): float(norms[0]),
    }
    how: Any = {"method": "input_x_gradient"}
    whys = vx.explain(scenes_model, scene, target=list(expected), **how)
    for why, value in zip(whys, expected.values(), strict=True):
        found = next(one.value for one in why.answers if one.text == why.target)
        assert found == pytest.approx(value, rel=1e-5)
        assert np.abs(why.image).max() > 0
    assert whys[2].target == f"norm of head 2 at the readout of {block}"


def test_words_and_regions_of_a_head_add_up_to_its_change(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    block = "vilt.encoder.layer.2"
    unit = vx.Unit(block, head=1, position="readout")
    why = vx.explain(
        scenes_model, scene, method="leave_one_out", target=unit, regions=2, text_fill="mask",
        image_fill="mean",
    )  # fmt: skip
    join = f"{block}.attention.output.dense"
    whole = given_to(scenes_model, join, scene)[0][0, 0, 32:64].norm()
    encoded = scenes_model.encode(scene)
    parts = scenes_model.leaves(encoded)
    blank = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
    cell = parts["image"].shape[2] // 2
    frame = parts["image"].clone()
    frame[..., :cell, :cell] = blank["image"][..., :cell, :cell]
    found: list[torch.Tensor] = []
    handle = scenes_model.module.get_submodule(join).register_forward_pre_hook(
        lambda _layer, inputs: found.append(inputs[0])
    )
    with torch.no_grad():
        scenes_model.scores(encoded, {**parts, "image": frame})
    handle.remove()
    left = found[0][0, 0, 32:64].norm()
    assert why.regions[0].value == pytest.approx(float(whole - left), abs=1e-4)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "vit"])
@pytest.mark.slow
def test_heads_of_families_at_the_readout(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    answers = ["yes"] if model.labels is None else None
    more: Any = {} if answers is None else {"answers": answers}
    block = vx.layers(model, example, steps=2, **more).blocks[1]
    names = [name for name, _ in model.module.named_modules() if name.startswith(f"{block}.")]
    join = next(name for name in names if name.endswith(("o_proj", "attention.output.dense")))
    states = given_to(model, join, example, texts=answers)[0][0]
    wide = states.shape[-1] // len(vx.heads(model, example, blocks=[block], **more).lost[0])
    place = 0 if family == "vit" else -1
    expected = states.flatten(0, -2)[place, wide : 2 * wide].norm()
    unit = vx.Unit(block, head=1, position="readout", run=0 if model.labels is None else None)
    why = vx.explain(model, example, method="saliency", target=unit, **more)
    assert why.answers[0].value == pytest.approx(float(expected), rel=1e-4)


@pytest.mark.slow
def test_a_head_of_gpt_2_is_a_part_of_what_its_projection_is_given(tmp_path: Any) -> None:
    """Whose projection is a layer of a class of its own."""
    model = vx.load(text_checkpoint("gpt2", tmp_path), device="cpu")
    question = "what color is it"
    found = vx.heads(model, None, question)
    projection: Any = model.module.get_submodule(f"{found.blocks[0]}.attn.c_proj")
    wide = projection.weight.shape[0] // found.lost.shape[1]
    encoded = model.encode(vx.Example(None, question))
    own = projection.weight.detach().clone()
    for head in range(found.lost.shape[1]):
        with torch.no_grad():
            projection.weight[head * wide : (head + 1) * wide] = 0
            scores = model.scores(encoded, model.leaves(encoded))[0]
            projection.weight.copy_(own)
        lost = found.whole - float(scores[found.answer.index])
        assert found.lost[0, head] == pytest.approx(lost, abs=1e-5)


@pytest.mark.each
@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: vx.Unit("blocks.0", 1, head=0), "by index= or by direction= or by head="),
        (lambda: vx.Unit("blocks.0", 1, position=2), "position= is of heads"),
        (lambda: vx.Unit("blocks.0", head=-1), "whole numbers from 0, not -1"),
        (lambda: vx.Unit("blocks.0", head=0, position="first"), "from 0, not 'first'"),  # type: ignore[arg-type]
    ],
)
def test_what_is_no_head_is_told(made: Callable[[], vx.Unit], said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(two_blocks(), photo(), method="saliency", target=made())


def test_heads_that_are_not_there_are_told(scenes_model: ViltModel, scene: vx.Example) -> None:
    block = "vilt.encoder.layer.2"
    how: Any = {"method": "saliency"}
    with pytest.raises(vx.InvalidInput, match="no head 4; its 4 heads are numbered 0 to 3"):
        vx.explain(scenes_model, scene, target=vx.Unit(block, head=4), **how)
    with pytest.raises(vx.InvalidInput, match=r"no position 900; its \d+ positions are numbered"):
        vx.explain(scenes_model, scene, target=vx.Unit(block, head=0, position=900), **how)
    with pytest.raises(vx.Unsupported, match="no attention whose heads can be told apart"):
        vx.explain(two_blocks(), photo(), target=vx.Unit("blocks.0", head=0), **how)
    with pytest.raises(vx.InvalidInput, match="position 3 is another one then; choose fills"):
        vx.explain(
            scenes_model, scene, method="leave_one_out", regions=2, text_fill="delete",
            target=vx.Unit(block, head=0, position=3),
        )  # fmt: skip
