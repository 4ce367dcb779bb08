"""Class activation maps and attention read what they say, by what follows the picture (issue's
section A, 3).

Truth is a forward pass and autograd by hand, Captum on a copy of the network without operations in
place, or the network itself with a part of the picture changed.
"""

import copy
from collections.abc import Callable
from typing import Any

import captum.attr
import numpy as np
import pytest
import timm
import torch
import torchvision
import transformers as tf
from torch import nn
from torch.nn import functional as F
from torchvision.transforms import v2

import vqa_explain as vx


def made(make: Any, seed: int = 0) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make().eval()


def plain(size: tuple[Any, ...]) -> Any:
    """A transform that only resizes."""
    return v2.Compose([v2.ToImage(), v2.Resize(size), v2.ToDtype(torch.float32, scale=True)])


def picture_of(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blobs of color, so that each place differs."""
    small = np.random.default_rng(seed).integers(
        0, 256, (height // 16 + 1, width // 16 + 1, 3), dtype=np.uint8
    )
    large = np.kron(small, np.ones((16, 16, 1), dtype=np.uint8))
    return large[:height, :width]


def loaded(net: torch.nn.Module, size: tuple[Any, ...], classes: int) -> vx.Model:
    labels = [f"class {i}" for i in range(classes)]
    return vx.load(net, transform=plain(size), labels=labels, device="cpu")


def enlarged(cam: Any, size: tuple[Any, ...]) -> np.ndarray:
    values = torch.as_tensor(cam)[None, None].double()
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)[0, 0].numpy()


def cam_by_hand(
    net: torch.nn.Module, pixels: torch.Tensor, layer: Any, target: int, to_map: Callable[..., Any]
) -> Any:
    """relu(Σ_c mean(∂f/∂A_c) · A_c) of what `layer` gives, laid out by `to_map` as (C, h, w)."""
    caught = []
    handle = layer.register_forward_hook(lambda _m, _i, out: caught.append(out))
    with torch.enable_grad():
        score = net(pixels)
        score = score if isinstance(score, torch.Tensor) else score.logits
        gradient = torch.autograd.grad(score[0, target], caught[0])[0]
    handle.remove()
    activation, slope = to_map(caught[0].detach()[0]), to_map(gradient[0])
    return (slope.mean(dim=(1, 2))[:, None, None] * activation).sum(dim=0).clamp(min=0)


def like(found: Any, wanted: Any) -> Any:
    """Correlation of two maps; equal ones give 1."""
    assert np.abs(wanted).sum() > 0, "the test itself shows nothing"
    return np.corrcoef(found.ravel(), wanted.ravel())[0, 1]


VITS: dict[str, Callable[..., Any]] = {
    "timm ViT": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=(64, 64), num_classes=5, depth=3, qk_norm=True
    ),
    "timm ViT, not square": lambda: timm.create_model(
        "vit_tiny_patch16_224", img_size=(32, 128), num_classes=5, depth=3
    ),
    "timm DeiT, distilled": lambda: timm.create_model(
        "deit_tiny_distilled_patch16_224", img_size=(64, 96), num_classes=5, depth=3
    ),
    "timm ViT with registers": lambda: timm.create_model(
        "vit_small_patch16_dinov3", img_size=(64, 96), num_classes=5, depth=3
    ),
}


@pytest.mark.parametrize("name", VITS)
@pytest.mark.slow
def test_a_vision_transformers_default_map_is_of_its_blocks_patches(name: Any) -> None:
    """Neither the norm of its keys, whose heads look like channels,
    nor a square that happens to fit.
    """
    net = made(VITS[name])
    size = tuple(net.patch_embed.img_size)
    rows, columns = net.patch_embed.grid_size
    model = loaded(net, size, 5)
    picture = picture_of(*size)
    path = model.default_layer(model.encode(vx.Example(picture)))
    # The last block is read at its first tokens alone, unless all are averaged.
    number = 2 if net.global_pool == "avg" else 1
    assert path == f"blocks.{number}"
    own = net.num_prefix_tokens
    pixels = model.encode(vx.Example(picture)).pixels
    for target in range(5):
        why = vx.explain(model, picture, method="grad_cam", target=f"class {target}")
        cam = cam_by_hand(
            net, pixels, net.blocks[number], target, lambda s: s[own:].T.reshape(-1, rows, columns)
        )
        if float(cam.abs().sum()) == 0:
            assert any("0" in note for note in why.notes)
            continue
        np.testing.assert_allclose(
            why.image, enlarged(cam, size), atol=1e-6 + 1e-5 * float(cam.max())
        )


@pytest.mark.slow
@pytest.mark.parametrize("size", [(64, 96), (96, 64), (64, 64)])
def test_maps_that_keep_channels_last_are_turned(size: tuple[int, int]) -> None:
    """torchvision's Swin: (B, h, w, C), with 16 × 24 × 96 at its first stage."""
    net = made(lambda: torchvision.models.swin_t(weights=None, num_classes=3))
    model, picture = loaded(net, size, 3), picture_of(*size)
    pixels = model.encode(vx.Example(picture)).pixels
    for path in ("features.1", "features.3", "features.1.0.norm1"):
        why = vx.explain(model, picture, method="grad_cam", target="class 1", layer=path)
        cam = cam_by_hand(net, pixels, net.get_submodule(path), 1, lambda s: s.movedim(-1, 0))
        np.testing.assert_allclose(
            why.image, enlarged(cam, size), atol=1e-5 * float(cam.max()) + 1e-9
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "path"), [((256, 384), "layer1"), ((384, 256), "layer1"), ((64, 128), "layer2.0")]
)
def test_maps_as_high_as_they_have_channels_are_not_turned(
    size: tuple[int, int], path: str
) -> None:
    """resnet18's layer1 gives 64 × 64 × 96 for 256 × 384."""
    net = made(lambda: torchvision.models.resnet18(weights=None, num_classes=3))
    model, picture = loaded(net, size, 3), picture_of(*size)
    why = vx.explain(model, picture, method="grad_cam", target="class 0", layer=path)
    wanted = captum.attr.LayerGradCam(without_places(net), without_places(net).get_submodule(path))
    pixels = model.encode(vx.Example(picture)).pixels
    twin = without_places(net)
    wanted = captum.attr.LayerGradCam(twin, twin.get_submodule(path))
    cam = wanted.attribute(pixels, target=0, relu_attributions=True)[0, 0].detach()
    np.testing.assert_allclose(why.image, enlarged(cam, size), atol=1e-5 * float(cam.max()))


def without_places(net: torch.nn.Module) -> torch.nn.Module:
    """A copy whose activations do not work in place."""
    twin = copy.deepcopy(net)
    in_place: list[Any] = [part for part in twin.modules() if getattr(part, "inplace", False)]
    for part in in_place:
        part.inplace = False
    return twin


class EndsInPlace(nn.Module):
    """A network with functional operations in place behind the layer."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, 6, 5, stride=4)
        self.last = nn.Linear(6, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = self.convolution(pixels)
        maps.mul_(2).sub_(0.3).relu_()
        result: torch.Tensor = self.last(maps.mean(dim=(2, 3)))
        return result


class EndsElsewhere(EndsInPlace):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        maps = (self.convolution(pixels) * 2 - 0.3).relu()
        result: torch.Tensor = self.last(maps.mean(dim=(2, 3)))
        return result


@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: torchvision.models.resnet18(weights=None, num_classes=3), "layer4.1.bn2"),
        (lambda: torchvision.models.resnet18(weights=None, num_classes=3), "conv1"),
        (lambda: torchvision.models.vgg11(weights=None, num_classes=3), "features.18"),
        (EndsInPlace, "convolution"),
    ],
)
@pytest.mark.parametrize("method", ["grad_cam", "hires_cam"])
@pytest.mark.slow
def test_a_layer_is_read_before_what_changes_it_in_place(make: Any, path: str, method: str) -> None:
    net = made(make)
    size = (64, 80)
    model, picture = loaded(net, size, 3), picture_of(*size)
    twin = made(EndsElsewhere) if make is EndsInPlace else without_places(net)
    pixels = model.encode(vx.Example(picture)).pixels
    for target in range(3):
        why = vx.explain(model, picture, method=method, target=f"class {target}", layer=path)
        if method == "grad_cam":
            reader = captum.attr.LayerGradCam(twin, twin.get_submodule(path))
            cam = reader.attribute(pixels, target=target, relu_attributions=True)
        else:
            reader = captum.attr.LayerGradientXActivation(twin, twin.get_submodule(path))
            cam = reader.attribute(pixels, target=target).sum(dim=1, keepdim=True).clamp(min=0)
        wanted = enlarged(cam[0, 0].detach(), size)
        np.testing.assert_allclose(why.image, wanted, atol=1e-5 * wanted.max() + 1e-9)


@pytest.mark.slow
def test_densenets_default_layer_is_read_as_it_is() -> None:
    net = made(lambda: torchvision.models.densenet121(weights=None, num_classes=3))
    size = (64, 96)
    model, picture = loaded(net, size, 3), picture_of(*size)
    encoded = model.encode(vx.Example(picture))
    path = model.default_layer(encoded)
    twin = without_places(net)
    forward = type(net).forward  # its own forward works in place behind the features

    def elsewhere(self: Any, x: torch.Tensor) -> Any:
        maps = F.relu(self.features(x))
        return self.classifier(F.adaptive_avg_pool2d(maps, 1).flatten(1))

    assert forward is not elsewhere
    twin.forward = elsewhere.__get__(twin)
    for target in range(3):
        why = vx.explain(model, picture, method="grad_cam", target=f"class {target}")
        reader = captum.attr.LayerGradCam(twin, twin.get_submodule(path))
        cam = reader.attribute(encoded.pixels, target=target, relu_attributions=True)[0, 0].detach()
        wanted = enlarged(cam, size)
        np.testing.assert_allclose(why.image, wanted, atol=1e-5 * wanted.max() + 1e-12)


def test_a_layer_that_is_no_map_is_refused() -> None:
    net = made(VITS["timm ViT"])
    model = loaded(net, (64, 64), 5)
    with pytest.raises(vx.InvalidInput, match="no two axes of it follow the picture"):
        vx.explain(model, picture_of(64, 64), method="grad_cam", layer="blocks.1.attn.k_norm")


def test_an_all_zero_map_is_said_to_be_one() -> None:
    class Falls(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.maps = nn.Sequential(nn.Conv2d(3, 2, 1), nn.ReLU())

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = -self.maps(pixels).mean(dim=(2, 3))
            return result

    model = loaded(made(Falls), (32, 48), 2)
    why = vx.explain(model, picture_of(32, 48), method="grad_cam", layer="maps.1", target="class 0")
    assert not why.image.any()
    assert any("every value of the picture is 0" in note for note in why.notes)
    assert "every value of the picture is 0" in repr(why)


def relevance_by_hand(
    net: torch.nn.Module,
    pixels: torch.Tensor,
    target: int,
    readouts: tuple[Any, ...],
    attention: Callable[..., Any],
) -> Any:
    """Chefer et al. 2021, equations 5 and 6: R ← R + mean(relu(∇A ⊙ A)) R,
    read where the logits are.
    """
    found = attention(net, pixels)
    slopes = torch.autograd.grad(found.logits[0, target], found.attentions)
    flow = torch.eye(found.attentions[0].shape[-1])
    for maps, slope in zip(found.attentions, slopes, strict=True):
        flow = flow + (maps[0] * slope[0]).clamp(min=0).mean(dim=0).detach() @ flow
    return flow[list(readouts)].mean(dim=0).numpy()


def with_attention(net: torch.nn.Module, pixels: torch.Tensor) -> Any:
    return net(pixels.clone().requires_grad_(True), output_attentions=True)


@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("size", [(16, 64), (64, 16), (32, 32)])
def test_relevance_reads_every_token_that_the_answer_is_read_from(
    distilled: bool, size: tuple[int, int]
) -> None:
    """A distilled DeiT's logits are the mean of two heads, on two tokens;
    2 × 8 patches are no 4 × 4.
    """
    # Settings that its types do not list.
    of_any_model: dict[str, Any] = {"num_labels": 3, "attn_implementation": "eager"}
    config = tf.DeiTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=48,
        image_size=size,
        patch_size=8,
        **of_any_model,
    )
    kind = tf.DeiTForImageClassificationWithTeacher if distilled else tf.DeiTForImageClassification
    net = made(lambda: kind(config))
    for part in net.parameters():
        if part.ndim > 1:
            nn.init.normal_(part, std=0.3, generator=torch.Generator().manual_seed(part.numel()))
    processor = tf.DeiTImageProcessor(
        size={"height": size[0], "width": size[1]}, do_center_crop=False
    )
    model = vx.load(net, processor=processor, device="cpu")
    picture = picture_of(2 * size[0], 2 * size[1])
    encoded = model.encode(vx.Example(picture))
    rows, columns = size[0] // 8, size[1] // 8
    readouts = (0, 1) if distilled else (0,)
    wanted = relevance_by_hand(net, encoded.pixels, 1, readouts, with_attention)
    cells = wanted[2:].reshape(rows, columns)  # DeiT has a distillation token, read or not
    why = vx.explain(model, picture, method="relevance", target=1)
    found = why.image.reshape(rows, 16, columns, 16).sum(axis=(1, 3))
    np.testing.assert_allclose(found, cells, atol=1e-6)
    for layer in range(3):
        maps = with_attention(net, encoded.pixels).attentions[layer][0].mean(dim=0).detach()
        row = maps[list(readouts)].mean(dim=0)[2:].reshape(rows, columns)
        found = vx.explain(model, picture, method="attention", layer=layer).image
        np.testing.assert_allclose(
            found.reshape(rows, 16, columns, 16).sum(axis=(1, 3)), row, atol=1e-6
        )


def test_a_vit_that_reads_its_patches_has_no_readout() -> None:
    of_any_model: dict[str, Any] = {"num_labels": 3}  # a setting that its types do not list
    net = made(lambda: tf.ViTForImageClassification(tf.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, image_size=32,
        patch_size=8, **of_any_model)))  # fmt: skip
    head = net.classifier
    net.classifier = nn.Identity()
    net.classifier = Pooled(net, head)
    model = vx.load(
        net, processor=tf.ViTImageProcessor(size={"height": 32, "width": 32}), device="cpu"
    )
    with pytest.raises(vx.Unsupported, match="reads its answer from the patches"):
        vx.explain(model, picture_of(32, 32), method="attention")


class Pooled(nn.Module):
    """A head that takes the mean of all states, which it hears of by a hook on the last norm."""

    def __init__(self, net: tf.ViTForImageClassification, head: Any) -> None:
        super().__init__()
        self.head = head
        self.states = torch.empty(0)
        net.vit.layernorm.register_forward_hook(self.hear)

    def hear(self, _module: Any, _inputs: Any, output: Any) -> None:
        self.states = output

    def forward(self, _first: Any) -> torch.Tensor:
        result: torch.Tensor = self.head(self.states.mean(dim=1))
        return result


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "size", "path"),
    [
        (lambda: torchvision.models.maxvit_t(num_classes=3), (224, 224), "blocks.3"),
        (
            lambda: torchvision.models.VisionTransformer(64, 16, 3, 2, 32, 64, num_classes=3),
            (64, 64),
            "encoder.layers.encoder_layer_1",
        ),
        (
            lambda: torchvision.models.inception_v3(num_classes=3, init_weights=False),
            (128, 160),
            "Mixed_7c",
        ),
    ],
)
def test_the_default_layer_is_no_part_of_a_block(
    make: Callable[..., Any], size: tuple[int, int], path: str
) -> None:
    """What the classifier pools, or the last block that its first token looks at."""
    net = made(make)
    if isinstance(net, torchvision.models.VisionTransformer):
        nn.init.normal_(net.heads.head.weight, std=0.05, generator=torch.Generator().manual_seed(0))
    model = loaded(net, size, 3)
    assert model.default_layer(model.encode(vx.Example(picture_of(*size)))) == path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("levit_128s", (224, 224)),
        ("resnet18", (96, 128)),
        ("maxvit_pico_rw_256", (256, 256)),
        ("convnext_atto", (96, 128)),
        ("densenet121", (64, 96)),
    ],
)
def test_all_that_the_answer_knows_of_the_picture_goes_through_the_default_layer(
    name: str, size: tuple[int, int]
) -> None:
    """So an attention's queries are none. With the layer's output held,
    another picture changes nothing.
    """
    net = made(lambda: timm.create_model(name, num_classes=3))
    model = loaded(net, size, 3)
    encoded = model.encode(vx.Example(picture_of(*size)))
    layer = net.get_submodule(model.default_layer(encoded))
    held = []
    with torch.no_grad():
        hearing = layer.register_forward_hook(lambda _m, _i, output: held.append(output))
        expected = net(encoded.pixels)
        hearing.remove()
        holding = layer.register_forward_hook(lambda _m, _i, _output: held[0].clone())
        found = net(encoded.pixels.flip(3) * 0.5)
        holding.remove()
        assert not torch.equal(net(encoded.pixels.flip(3) * 0.5), expected)
    assert torch.equal(found, expected)


TOKEN_VITS = [name for name in VITS if "registers" not in name]  # those average all patches


@pytest.mark.parametrize("name", TOKEN_VITS)
def test_hires_cam_of_a_vision_transformer_is_no_rounding(name: str) -> None:
    """States that only a normalization reads have no gradient along themselves;
    it reads the normalization.
    """
    net = made(VITS[name])
    model = loaded(net, tuple(net.patch_embed.img_size), 5)
    picture = picture_of(*net.patch_embed.img_size)
    pixels = model.encode(vx.Example(picture)).pixels
    caught = []
    handle = net.blocks[2].norm1.register_forward_hook(lambda _m, _i, out: caught.append(out))
    scores = net(pixels)[0]
    handle.remove()
    slopes = [torch.autograd.grad(score, caught, retain_graph=True)[0] for score in scores]
    products = [(slope * caught[0])[0, net.num_prefix_tokens :].sum(dim=1) for slope in slopes]
    target = int(torch.stack(products).amax(dim=1).argmax())
    product = products[target].clamp(min=0).detach().reshape(net.patch_embed.grid_size)
    expected = enlarged(product, pixels.shape[2:])
    assert expected.max() > 1e-6, "the test itself shows nothing"
    why = vx.explain(model, picture, method="hires_cam", target=target)
    assert "'blocks.2.norm1'" in why.error_kind
    np.testing.assert_allclose(why.image, expected, rtol=1e-3, atol=1e-6 * expected.max())
    with pytest.raises(vx.InvalidInput, match=r"zero at layer 'blocks.1'.*layer='blocks.2.norm1'"):
        vx.explain(model, picture, method="hires_cam", target=target, layer="blocks.1")


@pytest.mark.parametrize("index", [0, 5, 9])
@pytest.mark.slow
def test_hires_cam_of_a_question_is_the_same_in_float32_and_float64(index: int) -> None:
    scene = vx.load_dataset("scenes:test")[index]
    one, two = (
        vx.explain(vx.load("scenes", device="cpu", dtype=dtype), scene, method="hires_cam")
        for dtype in ("float32", "float64")
    )
    np.testing.assert_allclose(one.image, two.image, rtol=1e-3, atol=1e-4 * two.image.max())
    found, expected = ([word.value for word in why.words] for why in (one, two))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * max(expected))


class HandsOn(nn.Module):
    """Gives its first input as it is, beside what it makes of its second."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 3, padding=1)

    def forward(self, one: Any, two: Any) -> tuple[Any, Any]:
        return one, self.inner(two)


class WithHandedOn(nn.Module):
    """What `last` hands on is not used any more; what came into it was, before."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, stride=4)
        self.second = nn.Conv2d(4, 4, 3, padding=1)
        self.last = HandsOn()
        self.head = nn.Linear(4, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        one = self.first(pixels)
        two = self.second(one.relu())
        _, three = self.last(one, two)
        result: torch.Tensor = self.head(three.relu().mean(dim=(2, 3)))
        return result


def test_a_layer_that_hands_on_a_tensor_is_not_read_for_what_others_do_with_it() -> None:
    net = made(WithHandedOn)
    model = loaded(net, (64, 64), 3)
    picture = picture_of(64, 64)
    assert model.default_layer(model.encode(vx.Example(picture))) == "last.inner"
    with pytest.raises(vx.InvalidInput, match="score does not depend on layer 'last'"):
        vx.explain(model, picture, method="grad_cam", layer="last")


class Branched(nn.Module):
    """Two branches, the first normalized by a function,
    and a layer beside them that nothing needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Conv2d(3, 8, 3, stride=4)
        self.two = nn.Conv2d(3, 8, 3, stride=4)
        self.beside = nn.Conv2d(8, 8, 1)
        self.head = nn.Linear(16, 3)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        one, two = self.one(pixels), self.two(pixels)
        self.beside(one)
        normal = F.layer_norm(one.permute(0, 2, 3, 1), (8,), eps=1e-9).relu().mean(dim=(1, 2))
        result: torch.Tensor = self.head(torch.cat([normal, two.relu().mean(dim=(2, 3))], dim=1))
        return result


def test_hires_cam_names_no_layer_that_does_not_read_the_states() -> None:
    net = made(Branched)
    with pytest.raises(vx.InvalidInput, match=r"zero at layer 'one'.*use grad_cam"):
        vx.explain(loaded(net, (64, 64), 3), picture_of(64, 64), method="hires_cam", layer="one")
