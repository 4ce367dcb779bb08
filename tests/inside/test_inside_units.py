"""Units as targets, against Captum's classes of neurons, by hand, and by enumeration."""

import itertools
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from networks import (
    QUESTION,
    Convolutions,
    Twos,
    convolutions,
    photo,
    pixels,
    reader,
    to_tensor,
)
from PIL import Image
from torch import nn
from transformers import ViltForQuestionAnswering, ViltProcessor

import vqa_explain as vx
from vqa_explain.models.loading import data_folder
from vqa_explain.models.vilt import ViltModel
from vqa_explain.viewer.whatif import changed

BLACK = {"image_baseline": "constant"}
# Our name of a unit of layer "second", and Captum's.
SECOND = [(3, lambda maps: maps[:, 3].mean(dim=(1, 2))), ((3, 1, 2), (3, 1, 2))]


def colors_removed() -> torch.Tensor:
    """The baseline of one color: every pixel gray."""
    model = convolutions()
    encoded = model.encode(vx.Example(photo()))
    fill = BLACK["image_baseline"]
    start: torch.Tensor = model.baselines(encoded, {"image": fill}, 0)["image"]
    return start


@pytest.mark.each
@pytest.mark.parametrize(("index", "theirs"), SECOND)
@pytest.mark.parametrize(
    ("method", "settings", "name", "given"),
    [
        ("saliency", {"channels": "sum"}, "NeuronGradient", {}),
        ("integrated_gradients", {"steps": 40, **BLACK}, "NeuronIntegratedGradients",
         {"n_steps": 40, "method": "gausslegendre"}),
        ("deep_lift", BLACK, "NeuronDeepLift", {}),
        ("guided_backprop", {}, "NeuronGuidedBackprop", {}),
        ("deconvolution", {}, "NeuronDeconvolution", {}),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Setting forward")
def test_gradient_methods_equal_captums_of_neurons(
    index: Any, theirs: Any, method: str, settings: Any, name: str, given: Any
) -> None:
    module = Convolutions().eval()
    other = getattr(captum.attr, name)(module, module.second)
    if "image_baseline" in settings:
        given = {**given, "baselines": colors_removed()}
    expected = other.attribute(pixels().requires_grad_(), theirs, **given)[0].detach()
    expected = (expected.abs() if method == "saliency" else expected).sum(dim=0)
    unit = vx.Unit("second", index)
    why = vx.explain(convolutions(), photo(), method=method, target=unit, **settings)
    np.testing.assert_allclose(why.image, expected, atol=1e-6)
    assert np.abs(why.image).max() > 1e-4


def test_taking_pixels_away_equals_captums_ablation_of_neurons() -> None:
    module = Convolutions().eval()
    mask = torch.arange(16).reshape(4, 4).repeat_interleave(4, 0).repeat_interleave(4, 1)
    expected = captum.attr.NeuronFeatureAblation(module, module.second).attribute(
        pixels(), (3, 1, 2), baselines=colors_removed(), feature_mask=mask[None, None]
    )
    why = vx.explain(
        convolutions(),
        photo(),
        method="leave_one_out",
        target=vx.Unit("second", (3, 1, 2)),
        regions=4,
        image_fill="constant",
    )
    found = [region.value for region in why.regions]
    np.testing.assert_allclose(found, expected[0, 0, ::4, ::4].flatten(), atol=1e-6)


def shapley_values(game: Callable[[tuple[int, ...]], float], count: int) -> np.ndarray:
    """By the definition, over all coalitions."""
    values = np.zeros(count)
    for player in range(count):
        others = [one for one in range(count) if one != player]
        for size in range(count):
            share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for some in itertools.combinations(others, size):
                values[player] += share * (game((*some, player)) - game(some))
    return values


@pytest.mark.slow
def test_words_and_regions_of_a_unit_are_the_sum_over_all_coalitions() -> None:
    model = reader()
    encoded = model.encode(vx.Example(photo(), QUESTION))
    gray = model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)["image"]
    absent = model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)["question"]
    words = model.leaves(encoded)["question"]

    def value(present: tuple[int, ...]) -> float:
        frame = gray.clone()
        for cell in range(4):
            if cell in present:
                here = (
                    ...,
                    slice(cell // 2 * 8, cell // 2 * 8 + 8),
                    slice(cell % 2 * 8, cell % 2 * 8 + 8),
                )
                frame[here] = pixels()[here]
        said = [4 + number in present for number in range(4)]
        text = torch.where(torch.tensor(said)[None, :, None], words, absent)
        with torch.no_grad():
            seen = torch.tanh(model.module.look(frame)).flatten(1)
            both = torch.cat([seen, text.mean(dim=1)], dim=1)
            return float(model.module.hidden(both)[0, 5])

    why = vx.explain(
        model, photo(), QUESTION, method="shapley", target=vx.Unit(model.module.hidden, 5),
        regions=2, budget=256, image_fill="mean", text_fill="mask",
    )  # fmt: skip
    expected = shapley_values(value, 8)
    found = [region.value for region in why.regions] + [word.value for word in why.words]
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert why.error_kind == "exact"


def test_several_units_are_explained_by_one_pass_over_coalitions() -> None:
    units = [vx.Unit("hidden", 5), vx.Unit("hidden", direction=np.eye(7)[5]), vx.Unit("look", 1)]
    whys = vx.explain(reader(), photo(), QUESTION, method="shapley", target=units, regions=2)
    one, direction, other = ([region.value for region in why.regions] for why in whys)
    np.testing.assert_allclose(one, direction, atol=1e-6)
    assert np.abs(np.subtract(one, other)).max() > 1e-3
    assert whys[0].cost.forwards > 0
    assert whys[2].cost.forwards == 0
    assert [why.target for why in whys] == [
        "unit 5 of hidden",
        "a direction of hidden",
        "unit 1 of look",
    ]


def test_a_unit_of_scenes_by_autograd(scenes_model: ViltModel, scene: vx.Example) -> None:
    layer = "vilt.encoder.layer.3"
    why = vx.explain(
        scenes_model, scene, method="saliency", target=vx.Unit(layer, (0, 17)), channels="sum"
    )
    encoded = scenes_model.encode(scene)
    leaves = {name: x.requires_grad_() for name, x in scenes_model.leaves(encoded).items()}
    states: list[torch.Tensor] = []
    handle = scenes_model.module.get_submodule(layer).register_forward_hook(
        lambda _module, _inputs, output: states.append(
            output[0] if isinstance(output, tuple) else output
        )
    )
    with torch.enable_grad():
        scenes_model.scores(encoded, leaves)
    handle.remove()
    gradient = torch.autograd.grad(
        states[0].reshape(-1, states[0].shape[-1])[0, 17], leaves["question"]
    )[0]
    found = [token.value for token in why.tokens]
    np.testing.assert_allclose(found, gradient[0].abs().sum(dim=-1), rtol=1e-4, atol=1e-6)
    assert why.answers[0].value == pytest.approx(
        float(states[0].detach().reshape(-1, states[0].shape[-1])[0, 17]), abs=1e-5
    )


@pytest.mark.slow
def test_a_unit_of_scenes_changes_as_the_network_says(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """The whole and the empty coalition, in batches, through the network with hooks."""
    why = vx.explain(
        scenes_model, scene, method="shapley", target=vx.Unit("vilt.encoder.layer.5", (0, 3)),
        regions=2, image_fill="mean", text_fill="mask", budget=300,
    )  # fmt: skip
    encoded = scenes_model.encode(scene)
    fills = {"image": "mean", "question": "mask"}
    values = []
    for leaves in (scenes_model.leaves(encoded), scenes_model.baselines(encoded, fills, 0)):
        states: list[Any] = []
        layer = scenes_model.module.vilt.encoder.layer[5]
        handle = layer.register_forward_hook(
            lambda _module, _inputs, output, kept=states: kept.append(output)
        )
        with torch.no_grad():
            scenes_model.scores(encoded, leaves)
        handle.remove()
        found = states[0][0] if isinstance(states[0], tuple) else states[0]
        values.append(float(found.reshape(-1, found.shape[-1])[0, 3]))
    whole = sum(region.value for region in why.regions) + sum(word.value for word in why.words)
    assert whole == pytest.approx(values[0] - values[1], abs=1e-4)


def test_a_run_of_a_layer_that_runs_twice() -> None:
    module = Convolutions().eval()
    hidden = module.relu2(module.second(module.relu1(module.first(pixels())))).mean(dim=(2, 3))
    first = module.again(hidden)
    expected = (first, module.again(torch.tanh(first)))
    for run in range(2):
        unit = vx.Unit("again", 4, run=run)
        why = vx.explain(convolutions(), photo(), method="saliency", target=unit)
        assert why.answers[0].value == pytest.approx(float(expected[run][0, 4].detach()), abs=1e-6)
        assert why.target == f"unit 4 of again, run {run}"
        assert why.explained == f"value of “unit 4 of again, run {run}”"


def test_a_network_of_fixed_batches_gives_the_same() -> None:
    twos = vx.load(Twos().eval(), transform=to_tensor, labels=["a", "b", "c"], device="cpu")
    how: Any = {"method": "shapley", "regions": 2, "image_fill": "mean"}
    for name, layer in (("first", "first"), ("again", "again")):
        run = 1 if name == "again" else None
        one = vx.explain(convolutions(), photo(), target=vx.Unit(layer, 2, run=run), **how)
        other = vx.explain(twos, photo(), target=vx.Unit(f"body.{layer}", 2, run=run), **how)
        found = [[region.value for region in why.regions] for why in (one, other)]
        np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: vx.Unit("secnd", 0), r"no layer 'secnd'; did you mean 'second'"),
        (lambda: vx.Unit("second", 8), r"no unit 8; its 8 units are numbered 0 to 7"),
        (lambda: vx.Unit("second", (3, 4, 0)), r"\(8, 4, 4\) for one example, which has no element"),
        (lambda: vx.Unit("second", (3, 0)), r"has no element \(3, 0\)"),
        (lambda: vx.Unit("second", direction=[1, 2]), r"8 units, and the direction has shape \(2,\)"),
        (lambda: vx.Unit("again", 0), r"runs 2 times in one pass.*run=, from 0 to 1"),
        (lambda: vx.Unit("again", 0, run=2), r"no run 2; it runs 2 times"),
        (lambda: vx.Unit("first", 0, run=1), r"no run 1; it runs once"),
        (lambda: vx.Unit(nn.ReLU(), 0), r"a ReLU, is not one inside the network"),
        (lambda: vx.Unit(nn.Sequential(nn.ReLU())[0], 0), r"is not one inside the network"),
        (lambda: vx.Unit("second", direction="abc"), r"direction is a row of numbers"),
        (lambda: vx.Unit("second", direction=[1, None]), r"direction is a row of finite numbers"),
        (lambda: vx.Unit("second", direction=[[1, 2], [3]]), r"direction is a row of numbers"),
        (lambda: vx.Unit("second", direction=np.eye(8)), r"finite numbers, not of shape \(8, 8\)"),
        (lambda: vx.Unit("second"), r"index= or by direction="),
        (lambda: vx.Unit("second", -1), r"whole numbers from 0, not -1"),
        (lambda: vx.Unit("second", 1.5), r"whole numbers from 0, not 1.5"),  # type: ignore[arg-type]
        (lambda: vx.Unit(3, 1), r"its path or the layer itself, not int"),  # type: ignore[arg-type]
        (lambda: [vx.Unit("second", 1), "a"], r"the list holds both"),
    ],
)  # fmt: skip
@pytest.mark.each
def test_what_is_no_unit_is_told(made: Callable[[], Any], said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(convolutions(), photo(), method="saliency", target=made())


def test_what_belongs_to_answers_is_refused() -> None:
    unit = vx.Unit("second", 1)
    with pytest.raises(vx.InvalidInput, match="contrast= is of answers"):
        vx.explain(convolutions(), photo(), method="saliency", target=unit, contrast="a")
    with pytest.raises(vx.InvalidInput, match="leave score= out"):
        vx.explain(convolutions(), photo(), method="saliency", target=unit, score="probability")


@pytest.mark.filterwarnings("ignore:`torch.jit.script`")
def test_a_compiled_network_is_refused() -> None:
    scripted = torch.jit.script(Convolutions().eval())
    model = vx.load(scripted, transform=to_tensor, labels=["a", "b", "c"], device="cpu")
    with pytest.raises(vx.Unsupported, match="compiled by TorchScript"):
        vx.explain(model, photo(), method="shapley", target=vx.Unit("second", 0))


def test_attention_to_a_unit_is_refused(scenes_model: ViltModel, scene: vx.Example) -> None:
    unit = vx.Unit("vilt.encoder.layer.3", 0)
    with pytest.raises(vx.Unsupported, match="the target is a unit inside the network"):
        vx.explain(scenes_model, scene, method="relevance", target=unit)


def test_a_position_that_a_fill_would_move_is_told(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """The first position stays, and under fills that keep the sequence each does."""
    layer = "vilt.encoder.layer.3"
    for fills in ({"text_fill": "delete"}, {"text_fill": "mask", "image_fill": "drop"}):
        how: Any = {"method": "leave_one_out", "regions": 2, **fills}
        with pytest.raises(vx.InvalidInput, match="position 3 is another one then; choose fills"):
            vx.explain(scenes_model, scene, target=vx.Unit(layer, (3, 5)), **how)
        vx.explain(scenes_model, scene, target=vx.Unit(layer, (0, 5)), **how)
    kept: Any = {"method": "leave_one_out", "regions": 2, "text_fill": "mask"}
    vx.explain(scenes_model, scene, target=vx.Unit(layer, (3, 5)), image_fill="mean", **kept)


@pytest.mark.slow
def test_means_do_not_count_what_fills_a_batch_up(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """Values of words and phrases add up to what plain transformers has with all and no words."""
    layer = "vilt.encoder.layer.3"
    folder = data_folder() / "scenes"
    processor = ViltProcessor.from_pretrained(folder)
    network = ViltForQuestionAnswering.from_pretrained(folder).eval()
    means = []
    hook = network.get_submodule(layer).register_forward_hook(
        lambda _layer, _inputs, output: means.append(
            float((output[0] if isinstance(output, tuple) else output)[..., 17].mean())
        )
    )
    for question in (scene.question, ""):
        given = processor(Image.fromarray(scene.image), question, return_tensors="pt")
        with torch.no_grad():
            network(**given)
    hook.remove()
    how: dict[str, Any] = {"method": "shapley", "target": vx.Unit(layer, 17), "budget": 10_000}
    for words in ("ngrams:2", "ngrams:3"):
        why = vx.explain(
            scenes_model, scene, players="question", text_fill="delete", words=words, **how
        )
        assert sum(why.parts[1].values) == pytest.approx(means[0] - means[1], abs=1e-3)
    for regions in ((1, 2), 2):
        cut: Any = {"image_fill": "drop", "regions": regions, "words": "ngrams:3"}
        why = vx.explain(scenes_model, scene, **cut, **how)
        whole = sum(sum(part.values) for part in why.parts)
        if regions == (1, 2):
            first = whole
    assert whole == pytest.approx(first, abs=1e-4)


def test_two_threads_explain_units_of_one_network() -> None:
    """Each as alone."""
    units = [vx.Unit("second", number) for number in range(4)]

    def values(unit: vx.Unit) -> list[float]:
        why = vx.explain(convolutions(), photo(), method="shapley", target=unit, regions=2)
        return [region.value for region in why.regions]

    alone = [values(unit) for unit in units]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(values, units))
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_hooks_are_gone_after_an_error_and_after_success() -> None:
    model = convolutions()
    vx.explain(model, photo(), method="saliency", target=vx.Unit("second", 0))
    with pytest.raises(vx.InvalidInput):
        vx.explain(model, photo(), method="saliency", target=vx.Unit("second", 99))
    assert not any(part._forward_hooks for part in model.module.modules())


def test_a_file_keeps_it_and_what_scores_answers_refuses_it(tmp_path: Path) -> None:
    model = reader()
    unit = vx.Unit("hidden", 2)
    why = vx.explain(model, photo(), QUESTION, method="leave_one_out", target=unit, regions=2)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert repr(again) == repr(why)
    assert "unit 2 of hidden" in repr(again)
    with pytest.raises(vx.Unsupported, match="inside the network, and this scores answers"):
        changed(model, vx.Example(photo(), QUESTION), again, {"image": [0]})


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
@pytest.mark.slow
def test_units_of_models_that_write(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    paths = [path for path, _ in model.module.named_modules()]
    layer = next(path for path in paths if path.endswith("language_model.layers.1"))
    how: Any = {"regions": 2, "answers": ["red circle"]}
    with pytest.raises(vx.InvalidInput, match="say which with run="):
        vx.explain(
            model, noise_picture, "what is it?", method="saliency", target=vx.Unit(layer, 3), **how
        )
    unit = vx.Unit(layer, 3, run=0)
    why = vx.explain(model, noise_picture, "what is it?", method="shapley", target=unit, **how)
    assert np.abs([region.value for region in why.regions]).max() > 0
