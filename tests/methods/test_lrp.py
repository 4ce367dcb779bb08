"""Rules of relevance against zennit's composites and Captum's LRP, and their conservation."""

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
import zennit.attribution
import zennit.canonizers
import zennit.composites
import zennit.layer
import zennit.rules
from conftest import ToTensor
from torch import nn
from torch.nn import functional as F

import vqa_explain as vx


def wide(given: int, gives: int, bias: bool = True) -> nn.Module:
    """A convolution that keeps the map's size."""
    return nn.Conv2d(given, gives, 3, padding=1, bias=bias)


def drawn(module: nn.Module, seed: int = 3) -> nn.Module:
    """The module with parameters and statistics drawn anew."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(0.5 + noise.abs() if "var" in name else 0.6 * noise)
    return module.eval()


def plain(bias: bool = True) -> nn.Module:
    return nn.Sequential(
        wide(3, 6, bias), nn.ReLU(),
        nn.MaxPool2d(2), wide(6, 5, bias), nn.ReLU(inplace=True),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(5 * 4, 7, bias=bias), nn.ReLU(),
        nn.Linear(7, 3, bias=bias),
    )  # fmt: skip


def normalized() -> nn.Module:
    """A batch norm behind each convolution and behind a fully connected layer."""
    return nn.Sequential(
        wide(3, 6), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 4, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 6), nn.BatchNorm1d(6), nn.ReLU(),
        nn.Linear(6, 3),
    )  # fmt: skip


def curved() -> nn.Module:
    """Groups, dilation, negative activations and other curves."""
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, dilation=2, groups=3), nn.Tanh(),
        nn.Conv2d(6, 4, 3, groups=2), nn.Sigmoid(), nn.AvgPool2d(2), nn.Flatten(),
        nn.Linear(4, 3),
    )  # fmt: skip


NETWORKS = {"plain": plain, "normalized": normalized, "curved": curved}
COMPOSITES: dict[str, type[Any]] = {
    "epsilon_plus": zennit.composites.EpsilonPlus,
    "epsilon_alpha2_beta1": zennit.composites.EpsilonAlpha2Beta1,
    "epsilon_plus_flat": zennit.composites.EpsilonPlusFlat,
    "epsilon_alpha2_beta1_flat": zennit.composites.EpsilonAlpha2Beta1Flat,
}


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (8, 8, 3), dtype=np.uint8)


def as_input(photo: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255


def loaded(module: nn.Module) -> Any:
    return vx.load(module, transform=ToTensor(), device="cpu")


def assert_alike(found: np.ndarray, expected: np.ndarray) -> None:
    """Up to what zennit adds to a pool's mean before it divides by it, which is 1e-6."""
    largest = np.abs(expected).max()
    assert largest > 5e-3
    np.testing.assert_allclose(found, expected, atol=max(1e-6, 3e-5 * largest))


def zennits(module: nn.Module, composite: Any, photo: np.ndarray) -> np.ndarray:
    """(H, W) relevance of the second output, by zennit."""
    with zennit.attribution.Gradient(module, composite) as attributor:
        output = module(as_input(photo)).detach()
        start = torch.zeros_like(output)
        start[:, 1] = output[:, 1]
        _, found = attributor(as_input(photo), start)
    relevance: np.ndarray = found[0].sum(dim=0).numpy()
    return relevance


@pytest.mark.each
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("name", COMPOSITES)
def test_relevance_equals_zennits(network: str, name: str, photo: np.ndarray) -> None:
    merged = [zennit.canonizers.SequentialMergeBatchNorm()]
    module = drawn(NETWORKS[network]())
    expected = zennits(module, COMPOSITES[name](canonizers=merged), photo)
    why = vx.explain(loaded(module), photo, method="lrp", composite=name, target=1)
    assert_alike(why.image, expected)


def test_gamma_equals_zennits(photo: np.ndarray) -> None:
    module = drawn(normalized())
    layers = [
        (zennit.composites.Convolution, zennit.rules.Gamma(gamma=0.25)),
        (nn.Linear, zennit.rules.Epsilon()),
    ]
    composite = zennit.composites.LayerMapComposite(
        layer_map=zennit.composites.layer_map_base() + layers,
        canonizers=[zennit.canonizers.SequentialMergeBatchNorm()],
    )
    expected = zennits(module, composite, photo)
    why = vx.explain(loaded(module), photo, method="lrp", composite="epsilon_gamma", target=1)
    assert_alike(why.image, expected)


class Residual(nn.Module):
    """Two ways that are summed by an operator, and pooling by functions."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = wide(3, 4), nn.BatchNorm2d(4)
        self.inner, self.beside = wide(4, 4), nn.Conv2d(4, 4, 1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        x = torch.relu_(self.inner(x) + self.beside(x))
        scores: torch.Tensor = self.head(x.mean(dim=(2, 3)))
        return scores


class Summed(nn.Module):
    """The same network in zennit's modules."""

    def __init__(self, other: Residual) -> None:
        super().__init__()
        self.stem, self.norm, self.relu = other.stem, other.norm, nn.ReLU()
        self.inner, self.beside = other.inner, other.beside
        self.sum, self.relu2 = zennit.layer.Sum(), nn.ReLU()
        self.pool, self.flat, self.head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), other.head

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.relu(self.norm(self.stem(x)))
        x = self.relu2(self.sum(torch.stack([self.inner(x), self.beside(x)], dim=-1)))
        scores: torch.Tensor = self.head(self.flat(self.pool(x)))
        return scores


@pytest.mark.each
@pytest.mark.parametrize("name", COMPOSITES)
def test_sums_and_means_by_operators_have_rules_too(name: str, photo: np.ndarray) -> None:
    network = Residual()
    drawn(network)
    merged = [zennit.canonizers.SequentialMergeBatchNorm()]
    expected = zennits(Summed(network).eval(), COMPOSITES[name](canonizers=merged), photo)
    why = vx.explain(loaded(network), photo, method="lrp", composite=name, target=1)
    assert_alike(why.image, expected)


class Gated(nn.Module):
    """A gate of each channel, as in squeeze-and-excitation, and a normalization of groups."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = wide(3, 4, bias=False), nn.GroupNorm(2, 4)
        self.gate, self.head = nn.Linear(4, 4, bias=False), nn.Linear(4, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = F.relu(self.norm(self.stem(x)))
        gates = torch.sigmoid(self.gate(x.mean(dim=(2, 3))))
        x = F.layer_norm((x * gates[:, :, None, None]).mean(dim=(2, 3)), (4,))
        scores: torch.Tensor = self.head(x)
        return scores


def test_gates_and_normalizations_hand_on_what_they_get(photo: np.ndarray) -> None:
    network = drawn(Gated())
    why = vx.explain(loaded(network), photo, method="lrp", composite="epsilon", target=1)
    score = float(network(as_input(photo))[0, 1].detach())
    assert why.image.sum() == pytest.approx(score, rel=2e-2)


def test_black_pixels_have_their_part_of_a_flat_layer() -> None:
    black = np.zeros((8, 8, 3), dtype=np.uint8)
    module = drawn(plain())
    expected = zennits(module, zennit.composites.EpsilonPlusFlat(), black)
    why = vx.explain(loaded(module), black, method="lrp", composite="epsilon_plus_flat", target=1)
    assert_alike(why.image, expected)


@pytest.mark.each
@pytest.mark.parametrize("name", ["epsilon", "epsilon_plus", "epsilon_alpha2_beta1", *COMPOSITES])
def test_without_biases_relevance_adds_up_to_the_score(name: str, photo: np.ndarray) -> None:
    module = drawn(plain(bias=False))
    why = vx.explain(loaded(module), photo, method="lrp", composite=name, target=1)
    score = float(module(as_input(photo))[0, 1].detach())
    assert why.image.sum() == pytest.approx(score, rel=2e-3)
    assert why.error == pytest.approx(abs(why.image.sum() - score), abs=1e-5)


class Joined(nn.Module):
    """Two parts, with a view between them that is no module, for which Captum has no rule."""

    def __init__(self, features: nn.Module, classifier: nn.Module) -> None:
        super().__init__()
        self.features, self.classifier = features, classifier

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classifier(self.features(x).flatten(1))
        return scores


@pytest.mark.each
@pytest.mark.parametrize("layer", ["0", "2", "3", "5", "7"])
@pytest.mark.filterwarnings("ignore:Setting backward hooks", "ignore:Setting forward")
def test_relevance_of_a_layer_equals_captums(layer: str, photo: np.ndarray) -> None:
    parts = list(drawn(plain()).children())
    parts[4] = nn.ReLU()  # Captum follows no operation in place
    network = Joined(nn.Sequential(*parts[:6]), nn.Sequential(*parts[7:]))
    path = f"features.{layer}" if int(layer) < 6 else f"classifier.{int(layer) - 7}"
    theirs = captum.attr.LayerLRP(network, network.get_submodule(path)).attribute(
        as_input(photo), target=1
    )
    found = vx.layer_values(
        loaded(drawn(plain())), photo, layer=layer, method="layer_lrp", composite="epsilon",
        target=1,
    )  # fmt: skip
    expected = theirs[0].detach().numpy()
    assert_alike(found.values, expected)


@pytest.mark.each
@pytest.mark.parametrize("layer", ["0", "1", "2", "3", "4"])
@pytest.mark.parametrize("name", COMPOSITES)
def test_relevance_of_a_layer_equals_zennits(layer: str, name: str, photo: np.ndarray) -> None:
    """Also of a convolution that is one with the batch norm behind it."""
    module = drawn(normalized())
    merged = [zennit.canonizers.SequentialMergeBatchNorm()]
    kept: list[torch.Tensor] = []

    def keep(_layer: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        kept.append(output)

    with zennit.attribution.Gradient(module, COMPOSITES[name](canonizers=merged)) as attributor:
        handle = module.get_submodule(layer).register_forward_hook(keep)
        output = module(as_input(photo)).detach()
        start = torch.zeros_like(output)
        start[:, 1] = output[:, 1]
        kept.clear()
        attributor(as_input(photo), start)
        handle.remove()
    assert kept[0].grad is not None
    expected = kept[0].grad[0].numpy()
    found = vx.layer_values(
        loaded(module), photo, layer=layer, method="layer_lrp", composite=name, target=1
    )
    assert_alike(found.values, expected)


class Whitened(nn.Module):
    """A network that scales its pictures itself."""

    def __init__(self) -> None:
        super().__init__()
        self.body = drawn(plain())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.body((x - 0.5) / 0.2)
        return scores


def test_what_the_rules_do_not_fit_is_told(
    photo: np.ndarray, scenes_model: Any, scene: vx.Example
) -> None:
    model = loaded(Whitened().eval())
    assert np.isfinite(vx.explain(model, photo, method="lrp").image).all()
    with pytest.raises(vx.Unsupported, match="changes its input before the first layer"):
        vx.explain(model, photo, method="lrp", composite="epsilon_plus_flat")
    for method in ("lrp", "layer_lrp"):
        with pytest.raises(vx.Unsupported, match=r"multiplies activations .*use attn_lrp"):
            vx.explain(scenes_model, scene, method=method)
    with pytest.raises(vx.InvalidInput, match="unknown value of parameter 'composite'"):
        vx.explain(model, photo, method="lrp", composite="epsilon_minus")
