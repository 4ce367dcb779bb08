"""Gradient methods against Captum, called directly on the same leaves, and against closed forms."""

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.games.quadrature import gauss, patterson, refined
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


def leaves_and_forward(model: Any, example: vx.Example, target: str) -> Any:
    """The leaves as a tuple and a forward that Captum can call."""
    encoded = model.encode(example)
    leaves = model.leaves(encoded)

    def forward(image: Any, text: str) -> torch.Tensor:
        result: torch.Tensor = model.scores(encoded, {"image": image, "question": text})[
            :, model.labels.index(target)
        ]
        return result

    return encoded, leaves, forward


def test_saliency_equals_captum(scenes_model: ViltModel, scene: vx.Example) -> None:
    _, leaves, forward = leaves_and_forward(scenes_model, scene, "yes")
    image, text = captum.attr.Saliency(forward).attribute(
        tuple(leaf.requires_grad_() for leaf in leaves.values())
    )
    ours = vx.explain(scenes_model, scene, method="saliency", target="yes", channels="sum")
    np.testing.assert_allclose(ours.image, image.sum(1)[0].numpy(), atol=1e-5)
    np.testing.assert_allclose([t.value for t in ours.tokens], text.sum(2)[0].numpy(), atol=1e-4)
    largest = vx.explain(scenes_model, scene, method="saliency", target="yes")
    np.testing.assert_allclose(largest.image, image.amax(1)[0].numpy(), atol=1e-5)


def test_input_x_gradient_equals_captum(scenes_model: ViltModel, scene: vx.Example) -> None:
    _, leaves, forward = leaves_and_forward(scenes_model, scene, "no")
    method = captum.attr.InputXGradient(forward)
    image, text = method.attribute(tuple(leaf.requires_grad_() for leaf in leaves.values()))
    ours = vx.explain(scenes_model, scene, method="input_x_gradient", target="no")
    np.testing.assert_allclose(ours.image, image.sum(1)[0].detach().numpy(), atol=1e-5)
    np.testing.assert_allclose(
        [t.value for t in ours.tokens], text.sum(2)[0].detach().numpy(), atol=1e-4
    )


@pytest.mark.slow
def test_integrated_gradients_agree_with_captum_of_many_steps(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded, leaves, forward = leaves_and_forward(scenes_model, scene, "yes")
    start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
    image, text = captum.attr.IntegratedGradients(forward).attribute(
        tuple(leaves.values()), tuple(start.values()), n_steps=400, internal_batch_size=50
    )
    ours = vx.explain(scenes_model, scene, method="integrated_gradients", target="yes", steps=256)
    assert ours.error is not None
    assert ours.error < 1e-2
    np.testing.assert_allclose(ours.image, image.sum(1)[0].detach().numpy(), atol=2e-3)
    np.testing.assert_allclose(
        [t.value for t in ours.tokens], text.sum(2)[0].detach().numpy(), atol=1e-2
    )


def test_integrated_gradients_of_a_linear_model_are_its_terms(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    ours = vx.explain(
        linear,
        picture,
        method="integrated_gradients",
        target="b",
        steps=2,
        image_baseline="constant",
    )
    terms = linear.module.weight[1].detach().numpy() * picture.transpose(2, 0, 1) / 255
    np.testing.assert_allclose(ours.image, terms.sum(0), atol=1e-5)
    assert ours.error is not None
    assert ours.error < 1e-4


def test_integrated_gradients_stop_within_tolerance(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    ours = vx.explain(
        scenes_model, scene, method="integrated_gradients", tolerance=0.01, steps=1024
    )
    encoded = scenes_model.encode(scene)
    index = scenes_model.labels.index(ours.target)
    with torch.no_grad():
        full = scenes_model.scores(encoded, scenes_model.leaves(encoded))[0, index]
        start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
        change = float(full - scenes_model.scores(encoded, start)[0, index])
    total = ours.image.sum() + sum(t.value for t in ours.tokens)
    assert abs(total - change) == pytest.approx(ours.error, abs=1e-3)
    assert ours.error is not None
    assert ours.error <= 0.0101 * abs(change)
    assert ours.cost.backwards < 1025


def test_special_tokens_get_nothing_because_they_stay(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    ours = vx.explain(scenes_model, scene, method="integrated_gradients", steps=8)
    assert [t.text for t in ours.tokens if t.special] == ["[CLS]", "[SEP]"]
    assert all(t.value == 0 for t in ours.tokens if t.special)


@pytest.mark.parametrize("count", [3, 7, 15, 31, 63])
def test_nested_rules_are_exact_for_polynomials_of_their_degree(count: int) -> None:
    nodes, weights = patterson(count)
    for degree in range((3 * count + 1) // 2 + 1):
        assert weights @ nodes**degree == pytest.approx(1 / (degree + 1), abs=1e-12)
    assert (weights > 0).all()
    if count > 3:
        np.testing.assert_allclose(nodes[1::2], patterson(count // 2)[0], atol=1e-14)


def test_the_second_rule_is_kronrods_as_published() -> None:
    published = [0.0, 0.434243749346802558, 0.774596669241483377, 0.960491268708020283]
    weights = [
        0.450916538658474142,
        0.401397414775962223,
        0.268488089868333441,
        0.104656226026467265,
    ]
    ours = patterson(7)
    np.testing.assert_allclose(2 * ours[0][3:] - 1, published, atol=1e-14)
    np.testing.assert_allclose(2 * ours[1][3:], weights, atol=1e-14)


@pytest.mark.parametrize(
    ("most", "counts"), [(2, [2]), (20, [7, 15]), (300, [7, 15, 31, 63, 127, 254])]
)
def test_refined_rules_stay_within_their_nodes(most: int, counts: list[int]) -> None:
    rules = list(refined(most))
    assert [len(nodes) for nodes, _ in rules] == counts
    assert all(weights.sum() == pytest.approx(1) for _, weights in rules)


def test_integrated_gradients_of_so_many_steps_are_captums(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded, leaves, forward = leaves_and_forward(scenes_model, scene, "yes")
    start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
    image, _ = captum.attr.IntegratedGradients(forward).attribute(
        tuple(leaves.values()), tuple(start.values()), n_steps=12
    )
    ours = vx.explain(scenes_model, scene, method="integrated_gradients", target="yes", steps=12)
    np.testing.assert_allclose(ours.image, image.sum(1)[0].detach().numpy(), atol=1e-5)
    assert len(gauss(12)[0]) == 12
