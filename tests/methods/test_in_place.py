"""Methods that change a network's operations, where the network works in place; and batch norms
behind convolutions of every kind.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fusion

import vqa_explain as vx

SIZE = 6


def drawn(module: nn.Module) -> nn.Module:
    """The module with parameters and statistics drawn anew."""
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(0.5 + noise.abs() if "var" in name else 0.4 * noise)
    return module.eval()


def loaded(module: nn.Module) -> Any:
    return vx.load(module, transform=ToTensor(), device="cpu")


@pytest.fixture(scope="module")
def photo() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)


SHAPES = ((6, 6, 1), (6, 6, 2), (6, 12, 2), (12, 6, 2), (6, 6, 6), (6, 12, 6), (6, 4, 1))


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("composite", ["epsilon_plus", "epsilon_gamma"])
def test_a_norm_behind_any_convolution_is_one_with_it(
    photo: np.ndarray, kind: Any, shape: tuple[int, int, int], composite: str
) -> None:
    """As torch makes them one."""
    given, gives, groups = shape
    layer = kind(given, gives, 3, padding=1, groups=groups)
    module = drawn(
        nn.Sequential(
            nn.Conv2d(3, layer.in_channels, 1), layer, nn.BatchNorm2d(layer.out_channels),
            nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(layer.out_channels, 3),
        )
    )  # fmt: skip
    parts = list(module.children())
    by_torch = fused(parts[1], parts[2])
    found = vx.explain(loaded(module), photo, method="lrp", composite=composite, target=1)
    merged = nn.Sequential(parts[0], by_torch, *parts[3:])
    expected = vx.explain(loaded(merged), photo, method="lrp", composite=composite, target=1)
    size = np.abs(expected.image).max()
    np.testing.assert_allclose(found.image, expected.image, atol=1e-4 * size)


def fused(layer: Any, norm: Any) -> nn.Module:
    """One convolution for both. Torch's own function fuses transposed ones of one group alone, so
    that a transposed one of several is fused group by group.
    """
    if not layer.transposed or layer.groups == 1:
        both: nn.Module = fusion.fuse_conv_bn_eval(layer, norm, transpose=layer.transposed)
        return both
    given, gives = layer.in_channels // layer.groups, layer.out_channels // layer.groups
    whole = type(layer)(
        layer.in_channels, layer.out_channels, 3, padding=1, groups=layer.groups
    ).eval()
    for group in range(layer.groups):
        rows, outputs = (slice(n * group, n * (group + 1)) for n in (given, gives))
        weight, bias = fusion.fuse_conv_bn_weights(
            layer.weight[rows], layer.bias[outputs], norm.running_mean[outputs],
            norm.running_var[outputs], norm.eps, norm.weight[outputs], norm.bias[outputs],
            transpose=True,
        )  # fmt: skip
        with torch.no_grad():
            whole.weight[rows], whole.bias[outputs] = weight, bias
    joined: nn.Module = whole
    return joined


class Network(nn.Module):
    """A convolution, a step between, a batch norm and a head."""

    def __init__(self, step: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 5, 3, padding=1), nn.Conv2d(5, 5, 3, padding=1)
        self.norm, self.head = nn.BatchNorm2d(5), nn.Linear(5, 3)
        self.relu, self.inplace = nn.ReLU(), nn.ReLU(inplace=True)
        self.leaky = nn.LeakyReLU(0.3, inplace=True)
        self.pool = nn.MaxPool2d(2)
        self.step = step

    def forward(self, x: Tensor) -> Tensor:
        x = self.step(self, self.first(x))
        scores: Tensor = self.head(x.mean(dim=(2, 3)))
        return scores


def summed(net: Any, a: Tensor) -> Tensor:
    y = net.second(net.relu(a))
    y += a
    return net.norm(y)  # type: ignore[no-any-return]


def summed_anew(net: Any, a: Tensor) -> Tensor:
    return net.norm(net.second(net.relu(a)) + a)  # type: ignore[no-any-return]


def scaled(net: Any, a: Tensor) -> Tensor:
    y = net.second(net.relu(a))
    y *= 2.0
    return net.norm(y)  # type: ignore[no-any-return]


def scaled_anew(net: Any, a: Tensor) -> Tensor:
    return net.norm(net.second(net.relu(a)) * 2.0)  # type: ignore[no-any-return]


def rectified(net: Any, a: Tensor) -> Tensor:
    return net.norm(net.inplace(net.second(net.relu(a))))  # type: ignore[no-any-return]


def rectified_anew(net: Any, a: Tensor) -> Tensor:
    return net.norm(net.relu(net.second(net.relu(a))))  # type: ignore[no-any-return]


def by_module(net: Any, a: Tensor) -> Tensor:
    return net.second(net.inplace(a)) + a  # type: ignore[no-any-return]


def by_function(net: Any, a: Tensor) -> Tensor:
    F.relu_(a)
    return net.second(a) + a  # type: ignore[no-any-return]


def by_position(net: Any, a: Tensor) -> Tensor:
    F.relu(a, True)
    return net.second(a) + a  # type: ignore[no-any-return]


def by_method(net: Any, a: Tensor) -> Tensor:
    a.relu_()
    return net.second(a) + a  # type: ignore[no-any-return]


def used_again(net: Any, a: Tensor) -> Tensor:
    a = net.relu(a)
    return net.second(a) + a  # type: ignore[no-any-return]


def leaky(net: Any, a: Tensor) -> Tensor:
    return net.second(net.leaky(a)) + net.relu(a)  # type: ignore[no-any-return]


def leaky_anew(net: Any, a: Tensor) -> Tensor:
    a = net.leaky(a.clone())
    return net.second(a) + net.relu(a)  # type: ignore[no-any-return]


def pooled(net: Any, a: Tensor) -> Tensor:
    return net.second(net.inplace(net.pool(a)))  # type: ignore[no-any-return]


def pooled_anew(net: Any, a: Tensor) -> Tensor:
    return net.second(net.relu(net.pool(a)))  # type: ignore[no-any-return]


PAIRS = {
    "sum": (summed, summed_anew), "scale": (scaled, scaled_anew),
    "rectified": (rectified, rectified_anew), "module": (by_module, used_again),
    "function": (by_function, used_again), "position": (by_position, used_again),
    "method": (by_method, used_again), "leaky": (leaky, leaky_anew),
    "pooled": (pooled, pooled_anew),
}  # fmt: skip
METHODS = (
    *("lrp", "attn_lrp", "deep_lift", "guided_backprop", "deconvolution"),
    *("layer_lrp", "layer_deep_lift", "saliency"),
)


@pytest.mark.parametrize("pair", PAIRS)
@pytest.mark.parametrize("method", METHODS)
def test_what_works_in_place_is_explained_as_what_does_not(
    photo: np.ndarray, pair: str, method: str
) -> None:
    functions = "function", "position", "method"
    found, expected = (drawn(Network(step)) for step in PAIRS[pair])
    if method in ("deep_lift", "layer_deep_lift") and pair in functions:
        expected.relu = Plain()  # functions keep their gradient
    kwargs: dict[str, Any] = {"layer": "first"} if method.startswith("layer") else {}
    # What a layer gave, where the next operation changes it in place, is another tensor.
    if kwargs and pair in ("module", "leaky", *functions):
        kwargs["layer"] = "second"
    one, other = (
        vx.explain(loaded(module), photo, method=method, target=1, **kwargs).image
        for module in (found, expected)
    )
    assert np.abs(other).max() > 0
    np.testing.assert_allclose(one, other, atol=1e-5 * np.abs(other).max())


class Plain(nn.Module):
    """A rectifier that is no module of torch."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


def hidden(net: Any, a: Tensor) -> Tensor:
    """Another function where a method looks on, which no rule can know."""
    rewritten = torch.overrides._get_current_function_mode() is not None
    rewritten |= "forward" in vars(net.relu)
    return net.second(net.relu(a)) + (3.0 if rewritten else 0.0)  # type: ignore[no-any-return]


@pytest.mark.each
@pytest.mark.parametrize(
    "method", [*METHODS[:-1], "deep_lift_shap", "layer_deep_lift_shap", "guided_grad_cam"]
)
def test_a_score_that_the_rules_change_is_refused(photo: np.ndarray, method: str) -> None:
    kwargs: dict[str, Any] = {"layer": "first"} if method.startswith("layer") else {}
    with pytest.raises(vx.Unsupported, match=r"without them.*inplace=False"):
        vx.explain(loaded(drawn(Network(hidden))), photo, method=method, target=1, **kwargs)
