"""DeepLift against Captum, AttnLRP against the authors' rules written plainly and against
conservation.
"""

from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from conftest import ToTensor
from lxt.explicit import functional as lf
from lxt.explicit import rules
from torch import nn

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel


class Pooled(nn.Module):
    """Convolution, ReLU, pooling, tanh: every rule of DeepLift at once."""

    def __init__(self, pool: Any, inplace: bool = False) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.body = nn.Sequential(
                nn.Conv2d(3, 5, 3, padding=1),
                nn.ReLU(inplace=inplace),
                pool,
                nn.Flatten(),
                nn.Linear(80, 12),
                nn.Tanh(),
                nn.Linear(12, 3),
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.body(x)
        return result


def test_deep_lift_equals_captum(picture: np.ndarray) -> None:
    model = vx.load(Pooled(nn.AvgPool2d(2)), transform=ToTensor())
    why = vx.explain(model, picture, method="deep_lift", target="class 1")
    encoded = model.encode(vx.Example(picture))
    start = model.baselines(encoded, {"image": "mean"}, 0)["image"]
    theirs = captum.attr.DeepLift(model.module).attribute(encoded.pixels, start, target=1)
    np.testing.assert_allclose(why.image, theirs.sum(1)[0].detach().numpy(), atol=1e-7)


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.MaxPool2d(3, stride=2, padding=1)])
@pytest.mark.parametrize("inplace", [False, True])
def test_deep_lift_adds_up_through_max_pooling(
    picture: np.ndarray, pool: Any, inplace: bool
) -> None:
    """Captum's rule for it does not: its sum is off by more than the change of the score on this
    network.
    """
    model = vx.load(Pooled(pool, inplace), transform=ToTensor())
    why = vx.explain(
        model, picture, method="deep_lift", image_baseline="constant", target="class 1"
    )
    encoded = model.encode(vx.Example(picture))
    with torch.no_grad():
        both = model.module(torch.cat([encoded.pixels, torch.zeros_like(encoded.pixels)]))[:, 1]
    assert why.image.sum() == pytest.approx(float(both[0] - both[1]), abs=1e-5)
    assert why.error is not None
    assert why.error < 1e-5


def test_deep_lift_is_refused_where_activations_are_multiplied(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    with pytest.raises(vx.Unsupported, match=r"ViltAttention.*attn_lrp"):
        vx.explain(scenes_model, scene, method="deep_lift")


class Attends(nn.Module):
    """One attention layer without biases over four tokens of the picture, normalized,
    with a GELU network.
    """

    def __init__(self, written_out: bool) -> None:
        super().__init__()
        self.written_out = written_out
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.embed = nn.Linear(48, 8, bias=False)
            self.norm = nn.LayerNorm(8, bias=False, eps=0)
            self.q, self.k, self.v, self.up = (nn.Linear(8, 8, bias=False) for _ in range(4))
            self.head = nn.Linear(8, 3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.embed(
            x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).permute(0, 2, 1, 3, 4).flatten(2)
        )
        h = self.norm(tokens)
        if self.written_out:
            weights = (self.q(h) @ self.k(h).transpose(1, 2) / 8**0.5).softmax(-1)
            mixed = torch.matmul(weights, self.v(h))
        else:
            mixed = nn.functional.scaled_dot_product_attention(self.q(h), self.k(h), self.v(h))
        tokens = tokens + mixed
        result: torch.Tensor = self.head((tokens + nn.functional.gelu(self.up(tokens))).mean(1))
        return result


def by_the_authors_rules(net: Attends, x: torch.Tensor, target: int) -> Any:
    """Relevance layer by layer with the paper's formulas on explicit relevances, not gradients."""
    with torch.no_grad():
        patches = (
            x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).permute(0, 2, 1, 3, 4).flatten(2)[0]
        )
        tokens = patches @ net.embed.weight.T
        h = net.norm(tokens)
        q, k, v = h @ net.q.weight.T, h @ net.k.weight.T, h @ net.v.weight.T
        s = q @ k.T / 8**0.5
        a = s.softmax(-1)
        t2 = tokens + a @ v
        u = t2 @ net.up.weight.T
        final = t2 + nn.functional.gelu(u)

        def linear(
            inputs: torch.Tensor,
            weight: torch.Tensor,
            outputs: torch.Tensor,
            relevance: torch.Tensor,
        ) -> torch.Tensor:  # the ε rule, equation 8, ε → 0
            return inputs * ((relevance / outputs) @ weight)

        # Mean over tokens.
        r = (final.mean(0) * net.head.weight[target])[None] * final / final.sum(0)
        r_t2 = r * t2 / final
        r_u = r * nn.functional.gelu(u) / final  # equation 9: the curve passes relevance unchanged
        r_t2 = r_t2 + linear(t2, net.up.weight, u, r_u)
        r_tokens, r_mixed = r_t2 * tokens / t2, r_t2 * (a @ v) / t2
        share = r_mixed / (2 * (a @ v))  # equation 14: half to attention, half to values
        r_a, r_v = a * (share @ v.T), v * (a.T @ share)
        r_s = s * (r_a - a * r_a.sum(-1, keepdim=True))  # equation 13
        share = r_s / (2 * s)
        r_q, r_k = q * (share @ k) / 8**0.5, k * (share.T @ q) / 8**0.5
        r_h = sum(
            linear(h, m.weight, o, part)
            for m, o, part in ((net.q, q, r_q), (net.k, k, r_k), (net.v, v, r_v))
        )
        # Section 3.3.3: the scale is fixed and the rest of the normalization linear: (x − mean) ·
        # weight / std.
        scale = net.norm.weight / tokens.std(-1, correction=0, keepdim=True)
        per_input = r_h / h * scale
        r_tokens = r_tokens + tokens * (per_input - per_input.mean(-1, keepdim=True))
        return patches * ((r_tokens / tokens) @ net.embed.weight)


@pytest.mark.parametrize("written_out", [True, False])
def test_attn_lrp_equals_the_papers_rules_on_explicit_relevances(
    picture: np.ndarray, written_out: bool
) -> None:
    net = Attends(written_out)
    model = vx.load(net, transform=ToTensor())
    why = vx.explain(model, picture, method="attn_lrp", target="class 2")
    x = model.encode(vx.Example(picture)).pixels
    theirs = by_the_authors_rules(net, x, 2).unflatten(1, (3, 4, 4)).sum(1)
    ours = why.image.reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(4, 4, 4)
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-3, atol=2e-5)


def test_attn_lrp_equals_the_authors_package(picture: np.ndarray) -> None:
    net = Attends(True)
    model = vx.load(net, transform=ToTensor())
    why = vx.explain(model, picture, method="attn_lrp", target="class 2")
    x = model.encode(vx.Example(picture)).pixels
    patches = (
        x.unfold(2, 4, 4).unfold(3, 4, 4).flatten(2, 3).permute(0, 2, 1, 3, 4).flatten(2).detach()
    )
    patches.requires_grad_(True)

    def linear(layer: nn.Linear, inputs: torch.Tensor) -> Any:
        return lf.linear_epsilon(inputs, layer.weight, None, 1e-9)

    tokens = linear(net.embed, patches)
    h = lf.layer_norm(tokens, net.norm.weight, torch.zeros(8), 0.0)
    weights = lf.matmul(linear(net.q, h), linear(net.k, h).transpose(1, 2), False, 1e-9)
    weights = lf.softmax(lf.mul2(weights, 8**-0.5), -1)
    tokens = lf.add2(tokens, lf.matmul(weights, linear(net.v, h), False, 1e-9), False, 1e-9)
    tokens = lf.add2(
        tokens, rules.identity(nn.functional.gelu, linear(net.up, tokens)), False, 1e-9
    )
    score = linear(net.head, lf.mean(tokens, 1, False, 1e-9))[0, 2]
    (theirs,) = torch.autograd.grad(score, patches, score.detach())
    ours = why.image.reshape(2, 4, 2, 4).swapaxes(1, 2).reshape(4, 4, 4)
    np.testing.assert_allclose(
        ours, theirs[0].unflatten(1, (3, 4, 4)).sum(1).numpy(), rtol=2e-3, atol=2e-5
    )


def test_attn_lrp_conserves_the_score_without_biases(picture: np.ndarray) -> None:
    class NoAttention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.random.fork_rng():
                torch.manual_seed(1)
                self.body = nn.Sequential(
                    nn.Flatten(),
                    nn.Linear(192, 16, bias=False),
                    nn.GELU(),
                    nn.Linear(16, 3, bias=False),
                )

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.body(x)
            return result

    model = vx.load(NoAttention(), transform=ToTensor())
    why = vx.explain(model, picture, method="attn_lrp")
    with torch.no_grad():
        score = float(model.module(model.encode(vx.Example(picture)).pixels).max())
    assert why.image.sum() == pytest.approx(score, abs=1e-5)
    assert why.error is not None
    assert why.error < 1e-5


def test_the_rules_leave_no_trace(scenes_model: ViltModel, scene: vx.Example) -> None:
    before = vx.explain(scenes_model, scene, method="input_x_gradient").image
    vx.explain(scenes_model, scene, method="attn_lrp")
    np.testing.assert_array_equal(
        vx.explain(scenes_model, scene, method="input_x_gradient").image, before
    )
