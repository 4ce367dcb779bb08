"""Methods over noise against Captum on the same noisy leaves, its NoiseTunnel, and closed forms."""

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


def forward_of(model: Any, example: vx.Example, target: str) -> Any:
    encoded = model.encode(example)
    leaves = model.leaves(encoded)

    def forward(*inputs: Any) -> torch.Tensor:
        result: torch.Tensor = model.scores(encoded, dict(zip(leaves, inputs, strict=True)))[
            :, model.labels.index(target)
        ]
        return result

    return leaves, forward


def test_smoothgrad_is_the_mean_and_vargrad_the_variance_of_captums_saliency(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    leaves, forward = forward_of(scenes_model, scene, "yes")
    generator, images, texts = torch.Generator().manual_seed(4), [], []
    for _ in range(5):
        noisy = []
        for leaf in leaves.values():
            noise = torch.randn(leaf.shape, generator=generator) * 0.2
            noisy.append((leaf + noise * (leaf.max() - leaf.min())).requires_grad_())
        image, text = captum.attr.Saliency(forward).attribute(tuple(noisy))
        images.append(image.amax(1)[0].numpy())
        texts.append(text.sum(2)[0].numpy())
    smooth = vx.explain(
        scenes_model, scene, method="smoothgrad", target="yes", samples=5, noise=0.2, seed=4
    )
    np.testing.assert_allclose(smooth.image, np.mean(images, 0), atol=1e-5)
    np.testing.assert_allclose([t.value for t in smooth.tokens], np.mean(texts, 0), rtol=1e-4)
    spread = vx.explain(
        scenes_model, scene, method="vargrad", target="yes", samples=5, noise=0.2, seed=4
    )
    np.testing.assert_allclose(spread.image, np.var(images, 0, ddof=1), atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_smoothgrad_meets_captums_noise_tunnel(
    curved: ClassifierModel, picture: np.ndarray
) -> None:
    leaves, forward = forward_of(curved, vx.Example(image=picture), "a")
    width = float(leaves["image"].max() - leaves["image"].min())
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = captum.attr.NoiseTunnel(captum.attr.InputXGradient(forward)).attribute(
            leaves["image"].requires_grad_(),
            nt_type="smoothgrad",
            nt_samples=4000,
            stdevs=0.1 * width,
        )
    ours = vx.explain(
        curved,
        picture,
        method="smoothgrad",
        of="input_x_gradient",
        target="a",
        samples=1000,
        noise=0.1,
    )
    theirs = theirs.sum(1)[0].detach().numpy()
    assert np.abs(ours.image - theirs).max() < 0.05 * np.abs(theirs).max()


def test_gradient_shap_of_a_linear_model_is_exact_at_once(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    ours = vx.explain(
        linear, picture, method="gradient_shap", target="b", samples=4, image_baseline="constant"
    )
    terms = linear.module.weight[1].detach().numpy() * picture.transpose(2, 0, 1) / 255
    np.testing.assert_allclose(ours.image, terms.sum(0), atol=1e-5)
    assert ours.error is not None
    assert ours.error < 1e-5


@pytest.mark.slow
def test_gradient_shap_meets_integrated_gradients_of_captum(
    curved: ClassifierModel, picture: np.ndarray
) -> None:
    """With one baseline the expectation over α is the path integral."""
    leaves, forward = forward_of(curved, vx.Example(image=picture), "a")
    theirs = (
        captum.attr.IntegratedGradients(forward)
        .attribute(leaves["image"], n_steps=200)
        .sum(1)[0]
        .numpy()
    )
    ours = vx.explain(
        curved, picture, method="gradient_shap", target="a", samples=4000, image_baseline="constant"
    )
    truth = np.bincount(ours.labels.ravel(), theirs.ravel())
    assert ours.error is not None
    assert np.abs([r.value for r in ours.regions] - truth).max() < 4.5 * ours.error


@pytest.mark.parametrize("method", ["smoothgrad", "gradient_shap"])
def test_the_same_seed_gives_the_same_bits(
    scenes_model: ViltModel, scene: vx.Example, method: str
) -> None:
    state = torch.random.get_rng_state()
    one, two = (vx.explain(scenes_model, scene, method=method, samples=3, seed=5) for _ in range(2))
    assert one.image.tobytes() == two.image.tobytes()
    assert torch.equal(state, torch.random.get_rng_state())
