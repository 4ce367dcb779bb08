"""Convolutions that do what follows them give what the network gives,
and give way where they would not.
"""

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from conftest import ToTensor
from torch import nn
from torch.nn import functional as F

import vqa_explain as vx
from vqa_explain.models.fast.fused import Followed, Strayed, available, follow, hooked
from vqa_explain.models.fast.quick import FUSED, PLAIN, SIDE_BY_SIDE

pytestmark = pytest.mark.skipif(not available(), reason="this torch is built without oneDNN")


def seeded(make: Any) -> Any:
    """A network in which every normalization does something."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = make().eval()
        for layer in network.modules():
            if isinstance(layer, nn.BatchNorm2d):
                nn.init.normal_(layer.weight, 1, 0.2)
                nn.init.normal_(layer.bias, 0, 0.2)
                assert layer.running_mean is not None
                assert layer.running_var is not None
                layer.running_mean.normal_(0, 0.1)
                layer.running_var.uniform_(0.5, 1.5)
    return network


def pixels(count: int, side: int) -> torch.Tensor:
    made = torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(2))
    return made.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def both(network: torch.nn.Module, given: torch.Tensor) -> tuple[Any, ...]:
    """What the network gives, and what it gives followed."""
    plan = follow(network, network, given[:1])
    with Followed(plan):
        found = network(given)
    return network(given), found, plan


@pytest.mark.parametrize(
    ("name", "sums"),
    [
        # Of 8: the first block's input is max pooling's, which is not ours to overwrite.
        (
            "resnet18",
            7,
        ),
        ("mobilenet_v2", 10),
        ("mobilenet_v3_small", 6),
        ("efficientnet_b0", 9),
        ("shufflenet_v2_x0_5", 0),
        ("densenet121", 0),
        ("vgg11_bn", 0),
        ("googlenet", 0),
        ("regnet_y_400mf", 16),
        ("squeezenet1_0", 0),
    ],
)
def test_networks_of_torchvision(name: str, sums: int) -> None:
    given = {"init_weights": True} if name == "googlenet" else {}
    network = seeded(lambda: getattr(torchvision.models, name)(weights=None, **given))
    plain, found, plan = both(network, pixels(3, 96))
    assert len(plan.added) == sums
    assert len(plan.done) >= len(plan.convolutions) - 2
    torch.testing.assert_close(found, plain, rtol=0, atol=1e-5 * float(plain.abs().max()))


class Padded(nn.Module):
    """A convolution of stride 2 whose input is padded before, as TensorFlow pads."""

    def __init__(self, zeros: tuple[int, ...], **given: Any) -> None:
        super().__init__()
        self.see = nn.Conv2d(3, 8, given.pop("kernel", 3), stride=2, **given)
        self.scale, self.zeros = nn.BatchNorm2d(8), zeros

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.silu(self.scale(self.see(F.pad(x, self.zeros)))).mean((2, 3))


@pytest.mark.parametrize("side", [16, 17])
@pytest.mark.parametrize(
    "zeros", [(0, 1, 0, 1), (1, 1, 1, 1), (1, 2, 0, 3), (2, 1, 1, 2), (0, 0, 0, 0)]
)
@pytest.mark.parametrize("given", [{}, {"kernel": 5, "padding": 1}, {"dilation": 2}, {"kernel": 1}])
def test_zeros_laid_round_the_input(
    side: int, zeros: tuple[int, int, int, int], given: dict[str, Any] | dict[str, int]
) -> None:
    plain, found, _ = both(seeded(lambda: Padded(zeros, **given)), pixels(2, side))
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)


def test_zeros_are_the_convolutions_own() -> None:
    _, _, plan = both(seeded(lambda: Padded((0, 1, 0, 1))), pixels(2, 16))
    assert len(plan.done) == 3, "zeros, normalization, activation"


class Twisted(nn.Module):
    """Ways in which an output goes elsewhere too."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.one, self.two = nn.BatchNorm2d(8), nn.BatchNorm2d(8)
        self.script = torch.jit.script(nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        maps = self.first(x)
        known = self.one(maps)
        match self.way:
            case "before normalization":
                known = F.relu(known) + maps.sigmoid()
            case "before activation":
                known = F.relu(known) * known
            case "added and needed again":
                known = F.relu(known)
                known = F.relu(self.two(self.second(self.second(known))) + known) - known
            case "added twice":
                known = F.relu(known)
                known = self.second(self.second(self.second(known)) + known) + known
            case "its own input added":
                known = F.relu(known)
                known = F.relu(self.two(self.second(known)) + known)
            case "a view needed again":
                known = F.relu(known)
                half = known[:, :4]
                known = self.two(self.second(self.second(known))) + known
                known = known * half.mean()
            case "added to itself":
                maps = self.second(F.relu(known))
                known = F.relu(maps + maps)
            case "the input added":
                known = self.first(x)[:, :3] + x
            case "in place":
                known = F.relu(known, inplace=True)
                kept = self.two(self.second(self.second(known)))
                kept += known
                known = F.relu(kept, inplace=True).mul_(2)
            case "a scaled sum":
                known = F.relu(known)
                known = torch.add(self.two(self.second(self.second(known))), known, alpha=0.5)
            case "a sum of two layers":
                known = F.relu(torch.add(self.two(self.second(F.relu(known))), self.one(maps)))
            case "a script":
                known = self.script(maps) + known
            case "shapes":
                known = F.hardtanh(known, min_val=-0.2, max_val=0.3) * known.shape[1] / maps.size(2)
        result: torch.Tensor = known.mean((2, 3))
        return result


@pytest.mark.parametrize(
    "way",
    [
        "before normalization",
        "before activation",
        "added and needed again",
        "added twice",
        "its own input added",
        "a view needed again",
        "added to itself",
        "the input added",
        "in place",
        "a scaled sum",
        "a sum of two layers",
        "shapes",
    ],
)
def test_an_output_that_goes_elsewhere_too(way: str) -> None:
    given = pixels(3, 12)
    before = given.clone()
    plain, found, _ = both(seeded(lambda: Twisted(way)), given)
    torch.testing.assert_close(found, plain, rtol=1e-5, atol=1e-6)
    assert torch.equal(given, before)


class Forked(nn.Module):
    """Does something else with pictures that are dark."""

    def __init__(self, way: str = "an activation") -> None:
        super().__init__()
        self.way, self.see, self.other = way, nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.scale, self.rescale, self.answer = (
            nn.BatchNorm2d(4),
            nn.BatchNorm2d(4),
            nn.Linear(4, 3),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        dark = float(x.mean()) < 0.4
        match self.way:
            case "an activation":
                maps = self.see(x).relu() if dark else self.scale(self.see(x))
            case "a convolution's weights":
                maps = self.scale((self.other if dark else self.see)(x))
            case "a normalization's weights":
                maps = (self.rescale if dark else self.scale)(self.see(x))
            case "a number":
                maps = F.hardtanh(self.scale(self.see(x)), -2.0, 0.1 if dark else 0.3)
            case "a named number":
                maps = F.hardtanh(self.scale(self.see(x)), max_val=0.1 if dark else 0.3)
            case "padding":
                maps = self.scale(self.see(F.pad(x, (0, 2, 0, 2) if dark else (0, 1, 0, 1))))
            case "one operation more":
                maps = self.scale(self.see(x))
                maps = maps.relu() if dark else maps
            case "weights made of the picture":
                maps = self.scale(F.conv2d(x, self.see.weight * x.mean()))
            case "a scale made of the picture":
                scale = self.scale.weight * x.mean()
                maps = F.batch_norm(
                    self.see(x), self.scale.running_mean, self.scale.running_var, scale
                )
        result: torch.Tensor = self.answer(maps.mean((2, 3)))
        return result


STRAYING = [
    "an activation",
    "a convolution's weights",
    "a normalization's weights",
    "a number",
    "a named number",
    "padding",
    "one operation more",
]


@pytest.mark.parametrize("first", [1, 1 / 9])
@pytest.mark.parametrize("way", STRAYING)
def test_another_path_is_noticed(way: str, first: float) -> None:
    network = seeded(lambda: Forked(way))
    plan = follow(network, network, pixels(1, 8) * first)
    with pytest.raises(Strayed), torch.no_grad(), Followed(plan):
        network(pixels(1, 8) / 9 / first)


def small() -> torch.nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU6(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def explained(model: Any, picture: np.ndarray) -> vx.Explanation:
    return vx.explain(
        model, picture, method="leave_one_out", image_fill="constant", regions=4, target="b"
    )


def by_hand(network: torch.nn.Module, picture: np.ndarray, why: vx.Explanation) -> list[float]:
    """The same differences, by the network alone."""
    with torch.no_grad():
        given = ToTensor()(picture)[None]
        gone = [
            torch.where(torch.from_numpy(why.labels == n), torch.zeros(()), given)
            for n in range(len(why.regions))
        ]
        return [float(network(given)[0, 1] - network(without)[0, 1]) for without in gone]


def values(why: vx.Explanation) -> list[float]:
    return [region.value for region in why.regions]


def test_explanations_use_them_and_follow_the_weights(picture: np.ndarray) -> None:
    network = seeded(small)
    model: Any = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    for change in (0.0, 0.5, 1e-4):
        for parameter in network.parameters():
            parameter.data += change * parameter.data.roll(1)  # which no version counter sees
        why = explained(model, picture)
        assert values(why) == pytest.approx(by_hand(network, picture, why), abs=2e-6)
        assert model._quick._ways[0] == FUSED
        assert len(model._quick._plan.convolutions) == 1
    network[1].running_mean += 1
    why = explained(model, picture)
    assert values(why) == pytest.approx(by_hand(network, picture, why), abs=2e-6)


def two_numbers(network: Any) -> None:
    network[1].bias[0] += 2
    network[1].bias[1] -= 2


def two_numbers_of_data(network: Any) -> None:
    network[1].bias.data[0] += 2
    network[1].bias.data[1] -= 2


def filters_change_places(network: Any) -> None:
    network[0].weight.copy_(network[0].weight.flip(0))


def filters_change_places_in_data(network: Any) -> None:
    network[0].weight.data.copy_(network[0].weight.data.flip(0))


def filters_are_turned(network: Any) -> None:
    network[0].weight.data = network[0].weight.data.rot90(1, (2, 3)).contiguous()


def statistics_change_places(network: Any) -> None:
    network[1].running_mean.copy_(network[1].running_mean.roll(1))


# Each leaves the sum of every tensor where it was, but for rounding.
KEEP_SUMS = [
    two_numbers,
    two_numbers_of_data,
    filters_change_places,
    filters_change_places_in_data,
    filters_are_turned,
    statistics_change_places,
]


@pytest.mark.parametrize("change", KEEP_SUMS)
def test_changes_that_keep_every_sum_are_followed(change: Any, picture: np.ndarray) -> None:
    network = seeded(small)
    for tensor in (*network.parameters(), *network.buffers()):  # so that sums are exact
        if tensor.is_floating_point():
            tensor.data = (tensor.data * 1024).round() / 1024
    model = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    before = values(explained(model, picture))
    with torch.no_grad():
        change(network)
    why = explained(model, picture)
    assert values(why) != pytest.approx(before, abs=1e-4)
    assert values(why) == pytest.approx(by_hand(network, picture, why), abs=5e-6)


@torch.no_grad()
@pytest.mark.parametrize("change", [two_numbers, filters_change_places, filters_are_turned])
def test_changes_are_followed_within_one_example(change: Any, picture: np.ndarray) -> None:
    network = seeded(small)
    model = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    encoded = model.encode(vx.Example(picture))
    frames = encoded.pixels.repeat(2, 1, 1, 1)
    model.scores(encoded, {"image": frames})
    change(network)
    torch.testing.assert_close(
        model.scores(encoded, {"image": frames}), network(frames), rtol=1e-5, atol=1e-5
    )


def test_hooks_see_what_a_layer_gives_by_itself(picture: np.ndarray) -> None:
    network = seeded(small)
    model = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    explained(model, picture)
    assert not hooked(network)
    seen = []
    handle = network[0].register_forward_hook(
        lambda _layer, given, output: seen.append((given[0], output))
    )
    assert hooked(network)
    explained(model, picture)
    handle.remove()
    assert len(seen) > 1
    for given, output in seen:
        alone = F.conv2d(given, network[0].weight, network[0].bias, padding=1)
        torch.testing.assert_close(output, alone, rtol=1e-5, atol=1e-6)


def test_copies_have_plans_of_their_own(picture: np.ndarray) -> None:
    network = seeded(small)
    model = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    first = values(explained(model, picture))
    with_pickle = pickle.loads(pickle.dumps(model))
    other: Any = copy.deepcopy(model)
    with torch.no_grad():
        other.module[0].weight *= -1
    assert values(explained(with_pickle, picture)) == first
    why = explained(other, picture)
    assert values(why) == pytest.approx(by_hand(other.module, picture, why), abs=2e-6)
    assert values(explained(model, picture)) == first


class Particular(nn.Module):
    """Gives something else where channels lie side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = small()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.rest(x) + x.is_contiguous(memory_format=torch.channels_last)
        return result


@pytest.mark.parametrize(
    ("make", "way"),
    [
        (
            lambda: nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.AvgPool2d(6), nn.Flatten(), nn.Linear(4, 3)
            ),
            SIDE_BY_SIDE,
        ),
        (lambda: nn.Sequential(Twisted("a script"), nn.Linear(8, 3)), SIDE_BY_SIDE),
        (Particular, PLAIN),
    ],
    ids=["nothing follows", "a script takes the output unseen", "the layout matters"],
)
def test_the_next_way_is_taken_where_one_does_not_work(
    make: Any, way: Any, picture: np.ndarray
) -> None:
    network = seeded(make)
    model: Any = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    why = explained(model, picture)
    assert model._quick._ways[0] == way
    assert values(why) == pytest.approx(by_hand(network, picture, why), abs=2e-6)


@pytest.mark.parametrize("first", [1, 1 / 9])
@pytest.mark.parametrize(
    "way", [*STRAYING, "weights made of the picture", "a scale made of the picture"]
)
def test_a_path_that_depends_on_the_picture(way: str, first: float, picture: np.ndarray) -> None:
    """What was followed with bright pictures must not answer for dark ones,
    nor the other way round.
    """
    network = seeded(lambda: Forked(way))
    # The self-check would refuse some: their scale is made of the whole batch.
    model: Any = vx.load(
        network, transform=ToTensor(), labels=list("abc"), device="cpu", check=False
    )
    encoded = model.encode(vx.Example(picture))
    for light in (first, 1 / 9 / first, first):
        given = pixels(2, 8) * light
        with torch.no_grad():
            torch.testing.assert_close(
                model._quick(encoded, given), network(given), rtol=1e-5, atol=1e-6
            )


def test_pictures_of_another_size() -> None:
    """Whose zeros TensorFlow's rule lays otherwise."""

    class Same(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.see, self.scale = nn.Conv2d(3, 3, 3, stride=2), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            right, below = (side % 2 == 0 for side in (x.shape[3], x.shape[2]))
            result: torch.Tensor = self.scale(
                self.see(F.pad(x, (1, 1 - right, 1, 1 - below)))
            ).mean((2, 3))
            return result

    network = seeded(Same)
    model: Any = vx.load(network, transform=ToTensor(), labels=list("abc"), device="cpu")
    for side in (8, 9, 8):
        picture = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
        why = explained(model, picture)
        assert values(why) == pytest.approx(by_hand(network, picture, why), abs=2e-6)
        assert model._quick._ways[0] == FUSED


def test_the_same_call_gives_the_same_bits(picture: np.ndarray) -> None:
    model = vx.load(seeded(small), transform=ToTensor(), labels=list("abc"), device="cpu")
    first, second = explained(model, picture), explained(model, picture)
    np.testing.assert_array_equal(first.image, second.image)
