"""Networks as people hold them: wrapped, subclassed, with outputs, channels,
number types and batches of their own.
"""

import copy
import dataclasses
import logging
import warnings
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers as tf
from checkpoints import MAKERS, randomized
from conftest import ToTensor
from custom_net import VOCABULARY
from families import QUESTION, example_for
from torch import nn

import vqa_explain as vx
from vqa_explain.methods import METHODS
from vqa_explain.metrics.base import METRICS
from vqa_explain.models.base import answers

LABELS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(7).integers(0, 255, (36, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made() -> Callable[..., Any]:
    """Family → its network and processor, made once."""
    known = {}

    def make(family: str) -> Any:
        if family not in known:
            known[family] = randomized(MAKERS[family])
        module, processor = known[family]
        return copy.deepcopy(module).eval(), processor

    return make


def explained(model: Any, picture: np.ndarray, **settings: Any) -> Any:
    settings = {"method": "leave_one_out", "regions": 2, **settings}
    if model.labels is None:
        settings["answers"] = ["yes", "no"]
    return vx.explain(model, example_for(model, picture), **settings)


def same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(
        [a.probability for a in one.answers], [a.probability for a in other.answers], rtol=1e-4
    )
    assert [a.text for a in one.answers] == [a.text for a in other.answers]
    np.testing.assert_allclose(one.image, other.image, atol=1e-4 * (1 + np.abs(other.image).max()))


# Wrappers


def with_lora(module: torch.nn.Module) -> Any:
    """LoRA in every layer of attention, with weights that change the scores."""
    peft = pytest.importorskip("peft")
    layers = {n.split(".")[-1] for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    chosen = sorted(layers & {"query", "value", "q_proj", "v_proj", "qkv"})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = peft.get_peft_model(
            module, peft.LoraConfig(r=4, target_modules=chosen, init_lora_weights=False)
        )
    return wrapped.eval()


class Subclassed:
    """Gives a module the class of a user's own, which does what its parent does."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, module: torch.nn.Module) -> torch.nn.Module:
        module.__class__ = type(self.name, (type(module),), {})
        return module


WRAPPERS: dict[str, Callable[..., Any]] = {
    "compile": lambda module: torch.compile(module, backend="eager"),
    "data parallel": nn.DataParallel,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "both": lambda module: nn.DataParallel(torch.compile(module, backend="eager")),
    "subclass": Subclassed("Ours"),
    "subclass with another's name": Subclassed("OursForConditionalGeneration"),
    "subclass named as a classifier": Subclassed("OursForImageClassification"),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("family", ["vilt", "clip", "llava", "vit"])
@pytest.mark.slow
def test_wrapped_models_are_explained_as_what_they_are(
    family: str, wrapper: str, made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made(family)
    plain = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
    model = vx.load(WRAPPERS[wrapper](module), processor=processor, device="cpu")
    assert model.family == plain.family
    same(explained(model, picture), explained(plain, picture))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["vilt", "blip", "clip", "llava", "qwen2_vl", "vit"])
@pytest.mark.parametrize("compiled", [False, True])
def test_adapters_of_peft_stay_active(
    family: str, compiled: bool, made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made(family)
    base = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
    wrapped = with_lora(module)
    merged = vx.load(copy.deepcopy(wrapped).merge_and_unload(), processor=processor, device="cpu")
    held = torch.compile(wrapped, backend="eager") if compiled else wrapped
    model = vx.load(held, processor=processor, device="cpu")
    assert (
        model.family == family
        if family in ("vilt", "blip", "clip")
        else model.family in ("generative", "classifier")
    )
    found = explained(model, picture)
    same(found, explained(merged, picture))
    without = explained(base, picture)
    assert not np.allclose(found.image, without.image, rtol=1e-2)


@pytest.mark.slow
def test_lora_gives_the_scores_of_its_plain_call(
    made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made("vilt")
    wrapped = with_lora(module)
    inputs = processor(picture, QUESTION, return_tensors="pt")
    with torch.no_grad():
        expected = wrapped(**inputs).logits.softmax(-1)[0]
    found = explained(vx.load(wrapped, processor=processor, device="cpu"), picture)
    for answer in found.answers:
        assert answer.probability == pytest.approx(float(expected[answer.index]), rel=1e-4)


@pytest.mark.slow
def test_adapters_that_are_no_layers_are_refused(made: Callable[..., Any]) -> None:
    peft = pytest.importorskip("peft")
    module, processor = made("llava")
    learned = peft.PromptTuningConfig(
        num_virtual_tokens=2,
        task_type="CAUSAL_LM",
        token_dim=32,
        num_layers=3,
        num_attention_heads=4,
    )
    wrapped = peft.PeftModel(module, learned)
    with pytest.raises(vx.InvalidInput, match=r"PROMPT_TUNING.*merge_and_unload"):
        vx.load(wrapped, processor=processor, device="cpu")


def test_distributed_data_parallel(made: Callable[..., Any], picture: np.ndarray) -> None:
    if not torch.distributed.is_available():
        pytest.skip("this build of torch has no distributed part")
    distributed: Any = torch.distributed  # its types do not list the store
    store = distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        module, processor = made("vilt")
        plain = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
        wrapped = nn.parallel.DistributedDataParallel(module)
        same(
            explained(vx.load(wrapped, processor=processor, device="cpu"), picture),
            explained(plain, picture),
        )
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.slow
@pytest.mark.parametrize("way", ["whole", "layer", "function"])
def test_networks_compiled_in_place(way: str, picture: np.ndarray) -> None:
    """Compiled code ignores hooks that are put on its layers later, as class activation maps do."""
    torch._dynamo.reset()
    network: Any = small()
    expected = vx.explain(loaded(copy.deepcopy(network)), picture, method="grad_cam", layer="0")
    if way == "whole":
        network.compile(backend="eager")
    elif way == "layer":
        network[1] = torch.compile(network[1], backend="eager")
    else:
        network.forward = torch.compile(network.forward, backend="eager")
    network(ToTensor()(picture)[None])  # compiled before it is explained
    model = loaded(network)
    before = {name: dict(vars(part)) for name, part in network.named_modules()}
    found = vx.explain(model, picture, method="grad_cam", layer="0")
    np.testing.assert_allclose(found.image, expected.image, atol=1e-6)
    assert expected.image.any()
    after = {name: dict(vars(part)) for name, part in network.named_modules()}
    for name, own in before.items():
        for key in ("_compiled_call_impl", "forward"):
            assert after[name].get(key) is own.get(key)


def test_words_reach_a_network_that_was_compiled_in_place(picture: np.ndarray) -> None:
    from custom_net import IMAGE, VOCABULARY, custom, network

    torch._dynamo.reset()
    expected = vx.explain(custom(), picture, "what color is the circle", method="saliency")
    module = network()
    module.compile(backend="eager")
    module(torch.zeros(1, 3, 32, 32), torch.zeros(1, 5, dtype=torch.long))
    model = vx.CustomModel(module, image=IMAGE, text=VOCABULARY,
                           labels=["yes", "no", "red", "blue"], device="cpu")  # fmt: skip
    found = vx.explain(model, picture, "what color is the circle", method="saliency")
    np.testing.assert_allclose(
        [w.value for w in found.words], [w.value for w in expected.words], rtol=1e-4
    )


# What is no image classifier


class Passing(nn.Module):
    """A wrapper of nobody's that passes everything on."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        result: torch.Tensor = self.inner(*args, **kwargs)
        return result


class WithConfig(Passing):
    def __init__(self, inner: Any) -> None:
        super().__init__(inner)
        self.config = inner.config


class Asking(nn.Module):
    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def forward(
        self, input_ids: "torch.Tensor | OwnVqa", pixel_values: torch.Tensor
    ) -> torch.Tensor:
        result: torch.Tensor = self.inner(input_ids=input_ids, pixel_values=pixel_values)
        return result


@pytest.mark.parametrize("family", ["vilt", "blip", "clip", "llava", "qwen2_vl", "lxmert"])
@pytest.mark.parametrize("hold", [Passing, WithConfig, Asking])
def test_networks_that_take_text_are_no_classifiers(
    family: str, hold: type[Passing] | type[WithConfig] | type[Asking], made: Callable[..., Any]
) -> None:
    module, _ = made(family)
    with pytest.raises(vx.InvalidInput, match="processor="):
        vx.load(hold(module), transform=ToTensor(), labels=LABELS, device="cpu")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tf.LlavaModel(MAKERS["llava"]()[0].config), "processor="),
        (lambda: tf.ViltModel(MAKERS["vilt"]()[0].config), "processor="),
        (
            lambda: tf.BertModel(
                tf.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)
            ),
            "processor=",
        ),
        (lambda: tf.ViTModel(MAKERS["vit"]()[0].config), "no head"),
        (
            lambda: tf.T5ForConditionalGeneration(
                tf.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
            ),
            "takes no picture",
        ),
    ],
)
def test_other_networks_of_transformers_are_refused(make: Callable[..., Any], told: str) -> None:
    with pytest.raises(vx.InvalidInput, match=told):
        vx.load(make(), transform=ToTensor(), processor=ToTensor(), labels=LABELS, device="cpu")


def test_a_classifier_around_a_model_of_both_says_how_it_is_called(
    made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made("vilt")
    fixed = processor.tokenizer(QUESTION, return_tensors="pt")["input_ids"]

    def call(network: torch.nn.Module, pixels: torch.Tensor) -> Any:
        return network(input_ids=fixed.expand(len(pixels), -1), pixel_values=pixels).logits

    # It draws the order of its patches, which changes no score; the self-check refuses what draws.
    named: dict[str, Any] = {
        "transform": ToTensor(),
        "call": call,
        "labels": ["yes", "no", "red", "blue"],
    }
    with pytest.raises(vx.InvalidInput, match="random states stay as they were"):
        vx.load(module, device="cpu", **named)
    model = vx.load(module, device="cpu", check=False, **named)
    encoded = model.encode(vx.Example(picture))
    with torch.no_grad():
        expected = call(module, encoded.pixels).softmax(-1)[0]
    for answer in answers(model, encoded):
        assert answer.probability == pytest.approx(float(expected[answer.index]), rel=1e-4)


# Networks of one's own


class OwnVqa(nn.Module):
    def __init__(self, see: torch.nn.Sequential | None = None) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(6)
            self.words = nn.Embedding(8, 6)
            self.mix = nn.Linear(6, 6)
            self.join = nn.Linear(9, 4)
        self.see = see or small()

    def forward(
        self, pixels: torch.Tensor, tokens: torch.Tensor, dtype: torch.dtype | None = None
    ) -> torch.Tensor:
        asked = torch.tanh(self.mix(self.words(tokens).to(dtype or self.words.weight.dtype))).mean(
            1
        )
        if dtype is not None:
            asked = asked.to(dtype)
        seen = self.see(pixels)
        result: torch.Tensor = self.join(
            torch.cat([seen, asked * seen.mean(1, keepdim=True)], dim=1)
        )
        return result


def own_vqa(module: nn.Module | None = None, form: Any = None, **settings: Any) -> vx.CustomModel:
    network: nn.Module = OwnVqa() if module is None else module
    if form is not None:
        settings["call"] = None
        network = Formed(network, form)
    named = {
        "image": ToTensor(),
        "text": VOCABULARY,
        "labels": ["yes", "no", "red", "blue"],
        "device": "cpu",
    }
    return vx.CustomModel(network, **{**named, **settings})


class Formed(nn.Module):
    def __init__(self, network: torch.nn.Module, form: Any) -> None:
        super().__init__()
        self.network, self.form = network, form

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.form(self.network(pixels, tokens))
        return result


def small(channels: int = 3, classes: int = 3) -> torch.nn.Sequential:
    """A convolutional network in which places differ."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        return nn.Sequential(
            nn.Conv2d(channels, 4, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(36, classes),
        ).eval()


def loaded(network: torch.nn.Module, **settings: Any) -> vx.Model:
    return vx.load(
        network, **{"transform": ToTensor(), "labels": LABELS, "device": "cpu", **settings}
    )


class Giving(nn.Module):
    """A network whose scores are somewhere in what it gives."""

    def __init__(
        self,
        form: Callable[..., Any] | Callable[..., dict[str, Any]] | Callable[..., torch.Tensor],
        network: Any = None,
    ) -> None:
        super().__init__()
        self.network = network or small()
        self.form = form

    def forward(self, pixels: torch.Tensor) -> Any:
        return self.form(self.network(pixels))


@dataclasses.dataclass
class Boxed:
    features: torch.Tensor
    logits: torch.Tensor


Pair = namedtuple("Pair", ["embedding", "logits"])
FORMS: dict[str, Callable[..., Any]] = {
    "tuple of one": lambda y: (y,),
    "list with features": lambda y: [y.repeat(1, 3), y],
    "tuple with maps": lambda y: (y[:, :, None, None].expand(-1, -1, 2, 2), y),
    "tuple with a loss": lambda y: (y.sum(), y),
    "logits in a dict": lambda y: {"probs": y.softmax(-1), "logits": y},
    "output in a dict": lambda y: {"output": y, "aux": y * 2},
    "scores in a dict": lambda y: {"boxes": y.flip(-1), "scores": y},
    "an only one in a dict": lambda y: {"emotion": y, "embedding": y.repeat(1, 2)},
    "with a table of other rows": lambda y: (y.new_ones(5, y.shape[1]), y),
    "within two": lambda y: {"head": {"class": y, "count": y[:, 0].long()}},
    "named tuple": lambda y: Pair(y * 3, y),
    "data class": lambda y: Boxed(y * 3, y),
    "transformers' output": lambda y: tf.modeling_outputs.ImageClassifierOutput(
        logits=y, loss=y.sum()
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_scores_are_found_in_what_a_network_gives(form: str, picture: np.ndarray) -> None:
    expected = loaded(small())
    model = loaded(Giving(FORMS[form]))
    cases: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"regions": 3}, {"regions": 3}),
        ({"method": "saliency"}, {"method": "saliency"}),
        ({"method": "grad_cam", "layer": "network.0"}, {"method": "grad_cam", "layer": "0"}),
    ]
    for settings, named in cases:
        same(explained(model, picture, **settings), explained(expected, picture, **named))


@pytest.mark.parametrize("form", FORMS)
def test_scores_of_custom_models_are_found(form: str, picture: np.ndarray) -> None:
    expected, model = own_vqa(), own_vqa(form=FORMS[form])
    for method in ("leave_one_out", "saliency"):
        one, other = (explained(m, picture, method=method) for m in (model, expected))
        same(one, other)
        np.testing.assert_allclose(
            [w.value for w in one.words], [w.value for w in other.words], atol=1e-5
        )


UNCLEAR: dict[str, Callable[..., Any]] = {
    "two alike": lambda y: (y, y * 2),
    "two names": lambda y: {"first": y, "second": y},
    "two that are named": lambda y: {"scores": y, "output": -y},
    "none": lambda y: {"text": "cat"},
    "numbers": lambda y: y.tolist(),
    "maps alone": lambda y: (y[:, :, None, None],),
}


@pytest.mark.parametrize("form", UNCLEAR)
def test_unclear_outputs_are_refused_and_call_says_them(form: str, picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="call="):
        explained(loaded(Giving(UNCLEAR[form])), picture)
    with pytest.raises(vx.InvalidInput, match="call="):
        explained(own_vqa(form=UNCLEAR[form]), picture)
    model = loaded(Giving(UNCLEAR[form]), call=lambda network, pixels: network.network(pixels))
    same(explained(model, picture), explained(loaded(small()), picture))


def test_without_labels_several_tensors_are_unclear(picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="call="):
        explained(loaded(Giving(lambda y: (y, y.repeat(1, 3))), labels=None), picture)
    model = loaded(Giving(lambda y: (y, y.sum())), labels=None)
    assert len(explained(model, picture).answers) == 3


def test_a_wrong_number_of_labels_is_told_also_within_a_dict(picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="has 3 classes and 2 labels"):
        explained(loaded(Giving(lambda y: {"class": y}), labels=["a", "b"]), picture)


# A second input


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    def forward(self, pixels: torch.Tensor, scale: torch.Tensor, *, shift: Any) -> torch.Tensor:
        result: torch.Tensor = self.network(pixels) * scale + shift
        return result


def test_a_second_input_is_named(picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match=r"'scale', 'shift'.*call="):
        loaded(Scaled())
    model = loaded(Scaled(), call=lambda network, pixels: network(pixels, 2.0, shift=0.5))
    doubled, single = explained(model, picture), explained(loaded(small()), picture)
    np.testing.assert_allclose(doubled.image, 2 * single.image, atol=1e-5)


def test_a_second_input_of_a_scripted_network_is_named(picture: np.ndarray) -> None:
    class TakesTwo(nn.Module):
        def forward(self, pixels: torch.Tensor, metadata: torch.Tensor) -> torch.Tensor:
            return pixels.mean((2, 3)) + metadata

    with pytest.raises(vx.InvalidInput, match=r"metadata.*call="):
        loaded(torch.jit.script(TakesTwo()))


def test_a_third_input_of_a_custom_model_is_named() -> None:
    class TakesThree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = OwnVqa()

        def forward(self, pixels: torch.Tensor, tokens: torch.Tensor, lengths: torch.Tensor) -> Any:
            return self.network(pixels, tokens)

    with pytest.raises(vx.InvalidInput, match=r"'lengths'.*call="):
        own_vqa(TakesThree())


# Channels


def as_channels(count: int) -> Callable[..., torch.Tensor]:
    """A transform whose channels are mixtures of the picture's."""
    mixture = np.random.default_rng(count).uniform(0.1, 1, (count, 3)).astype(np.float32)

    def transform(image: Any) -> torch.Tensor:
        values = np.asarray(image, dtype=np.float32) / 255
        return torch.from_numpy(np.einsum("kc,hwc->khw", mixture, values))

    return transform


@pytest.mark.parametrize("channels", [1, 2, 4, 6])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_networks_of_any_number_of_channels(
    channels: int, method: str, picture: np.ndarray
) -> None:
    """Values add up as those of a network of three channels, with the mixture as its first layer,
    do.
    """
    model = loaded(small(channels), transform=as_channels(channels))
    mixture = np.random.default_rng(channels).uniform(0.1, 1, (channels, 3)).astype(np.float32)
    mixing = nn.Conv2d(3, channels, 1, bias=False)
    mixing.weight.data = torch.from_numpy(mixture)[:, :, None, None]
    joint = loaded(nn.Sequential(mixing, *small(channels)))
    settings: dict[str, Any] = {"method": method, "regions": 2}
    if not METHODS[method].needs <= model.capabilities or method == "interactions":
        pytest.skip("not for classifiers")
    if "budget" in METHODS[method].__dataclass_fields__:
        settings["budget"] = 100
    if "samples" in METHODS[method].__dataclass_fields__:
        settings["samples"] = 4
    found = vx.explain(model, picture, **settings)
    assert found.image.shape == picture.shape[:2]
    if method in (
        "leave_one_out",
        "occlusion",
        "shapley",
        "input_x_gradient",
        "integrated_gradients",
    ):
        settings |= (
            {"image_fill": "mean"} if "image_fill" in METHODS[method].__dataclass_fields__ else {}
        )
        one, other = vx.explain(model, picture, **settings), vx.explain(joint, picture, **settings)
        values = np.array([[r.value for r in e.regions] for e in (one, other)])
        np.testing.assert_allclose(values[0], values[1], atol=2e-5 * (1 + np.abs(values).max()))


def rows_of(folder: Path) -> list[Any]:
    """What a run wrote, of which nothing may be an error."""
    rows = [
        row for path in sorted(folder.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    assert [row["note"] for row in rows if row["metric"] == "error"] == []
    return rows


@pytest.mark.parametrize("channels", [1, 4])
@pytest.mark.slow
def test_metrics_and_viewer_of_other_channels(
    channels: int, picture: np.ndarray, tmp_path: Path
) -> None:
    model = loaded(small(channels), transform=as_channels(channels))
    rows = [vx.Example(picture, answer="red"), vx.Example(255 - picture, answer="blue")]
    metrics = ["deletion", "insertion", "road", "sensitivity_max", "parameter_randomization"]
    vx.evaluate(model, rows, ["saliency", "leave_one_out"], metrics, tmp_path, regions=2, workers=1)
    assert {row["metric"] for row in rows_of(tmp_path)} >= {
        "deletion",
        "insertion",
        "road",
        "sensitivity_max",
    }
    viewer = vx.Viewer(model, rows, method="leave_one_out", count=2)
    viewer.wait() if hasattr(viewer, "wait") else None
    assert viewer.problem == ""


@pytest.mark.parametrize(("given", "wanted"), [(1, 3), (3, 1), (4, 3), (3, 4)])
def test_a_wrong_number_of_channels_names_both(
    given: int, wanted: int, picture: np.ndarray
) -> None:
    told = rf"{given} channels, and its layer '0' takes {wanted}"
    with pytest.raises(vx.InvalidInput, match=told):
        explained(loaded(small(wanted), transform=as_channels(given)), picture)
    with pytest.raises(
        vx.InvalidInput, match=rf"{given} channels, and its layer 'see.0' takes {wanted}"
    ):
        explained(own_vqa(OwnVqa(see=small(wanted)), image=as_channels(given)), picture)


# Batches


class One(nn.Module):
    """Takes one picture only, as code with `view(1, …)` or `squeeze(0)` does."""

    def __init__(self, way: str, rows: int = 1) -> None:
        super().__init__()
        self.network, self.way, self.rows = small(), way, rows

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        if self.way == "refuses" and len(pixels) != self.rows:
            raise ValueError(f"takes {self.rows}")
        maps = self.network[:3](pixels)
        if self.way == "view":
            maps = maps.reshape(self.rows, 4, 3, -1)
        # Rows influence each other, as in batch normalization without statistics.
        if self.way == "mean":
            maps = maps - maps.mean(dim=0, keepdim=True) + maps.mean()
        result: torch.Tensor = self.network[3:](maps)
        return result


@pytest.mark.parametrize("way", ["refuses", "view", "mean"])
@pytest.mark.parametrize(
    "method", ["shapley", "saliency", "integrated_gradients", "grad_cam", "rise", "occlusion"]
)
def test_networks_that_take_one_picture(
    way: str, method: str, picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """The truth is a game of single calls, which a network that takes any number is made to be."""
    budget = {"budget": 100} if method in ("shapley", "rise") else {}
    network = One(way)
    model = loaded(network)
    with caplog.at_level(logging.WARNING, logger="vqa_explain"):
        found = explained(model, picture, method=method, **budget)
    assert "one example at a time" in caplog.text

    def one_by_one(inner: Any, pixels: torch.Tensor) -> torch.Tensor:
        return torch.cat([inner(one[None]) for one in pixels])

    expected = explained(loaded(network, call=one_by_one), picture, method=method, **budget)
    same(found, expected)


def test_a_network_that_takes_any_number_of_pictures_is_given_several(
    picture: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    counts = []

    class Counts(Giving):
        def forward(self, pixels: torch.Tensor) -> Any:
            counts.append(len(pixels))
            return super().forward(pixels)

    with caplog.at_level(logging.WARNING, "vqa_explain"):
        explained(loaded(Counts(lambda scores: scores)), picture, method="leave_one_out", regions=3)
    assert max(counts) > 2
    assert "one example at a time" not in caplog.text


def test_deep_lift_refuses_networks_of_one_picture(picture: np.ndarray) -> None:
    with pytest.raises(vx.Unsupported, match="two pictures in one call"):
        explained(loaded(One("refuses")), picture, method="deep_lift")


@pytest.mark.parametrize("rows", [2, 4, 5])
@pytest.mark.parametrize("method", ["shapley", "saliency", "integrated_gradients", "grad_cam"])
def test_networks_of_a_fixed_batch(rows: int, method: str, picture: np.ndarray) -> None:
    found = explained(loaded(One("refuses", rows)), picture, method=method)
    same(found, explained(loaded(small()), picture, method=method))


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.slow
def test_custom_models_of_a_fixed_batch(rows: int, picture: np.ndarray) -> None:
    class Fixed(OwnVqa):
        def forward(
            self, pixels: torch.Tensor, tokens: torch.Tensor, dtype: torch.dtype | None = None
        ) -> torch.Tensor:
            assert len(pixels) == len(tokens) == rows
            return super().forward(pixels, tokens, dtype)

    for method in ("leave_one_out", "integrated_gradients"):
        found, expected = (
            explained(m, picture, method=method) for m in (own_vqa(Fixed()), own_vqa())
        )
        same(found, expected)
        np.testing.assert_allclose(
            [w.value for w in found.words], [w.value for w in expected.words], atol=1e-5
        )


# Number types and where weights are


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "method", ["leave_one_out", "saliency", "integrated_gradients", "smoothgrad"]
)
def test_number_types(dtype: torch.dtype, method: str, picture: np.ndarray) -> None:
    """Values are those of the network in single precision,
    as closely as the number type can have them.
    """
    fill = {"image_fill": "constant"} if method == "leave_one_out" else {}
    for make in (lambda d: loaded(small().to(d)), lambda d: own_vqa(OwnVqa().to(d))):
        settings = {"method": method, "target": 1, **fill}
        found, expected = (
            explained(make(d), picture, **settings).image for d in (dtype, torch.float32)
        )
        assert expected.any()
        if dtype == torch.float64:
            np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
        else:
            assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.98


def test_a_network_of_two_number_types(picture: np.ndarray) -> None:
    """The pixels get the type that the network can take,
    not that of the weights that come first.
    """
    module: Any = OwnVqa()
    module.words.double()
    module.forward = lambda pixels, tokens: OwnVqa.forward(module, pixels, tokens, torch.float32)
    found, expected = explained(own_vqa(module), picture), explained(own_vqa(), picture)
    same(found, expected)


@pytest.mark.parametrize(
    "method", ["leave_one_out", "saliency", "integrated_gradients", "grad_cam", "guided_backprop"]
)
def test_inference_mode_anywhere(
    method: str, picture: np.ndarray, made: Callable[..., Any]
) -> None:
    expected = explained(loaded(small()), picture, method=method)
    with torch.inference_mode():
        network = small()
        model = loaded(network)
        same(explained(model, picture, method=method), expected)
    same(explained(model, picture, method=method), expected)
    same(explained(loaded(network), picture, method=method), expected)
    with torch.inference_mode():
        same(explained(loaded(small().requires_grad_(False)), picture, method=method), expected)


@pytest.mark.parametrize("family", ["vilt", "llava", "vit"])
def test_transformers_made_under_inference_mode(
    family: str, made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made(family)
    plain = explained(
        vx.load(copy.deepcopy(module), processor=processor, device="cpu"),
        picture,
        method="saliency",
    )
    with torch.inference_mode():
        for p in module.parameters():
            p.data = p.data.clone()
        held = copy.deepcopy(module)
        model = vx.load(held, processor=processor, device="cpu")
        same(explained(model, picture, method="saliency"), plain)
    same(explained(model, picture, method="saliency"), plain)


def test_weights_on_the_meta_device_are_refused() -> None:
    with torch.device("meta"):
        network = nn.Sequential(nn.Conv2d(3, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(vx.InvalidInput, match="meta device"):
        loaded(network)
    with torch.device("meta"):
        module = OwnVqa()
    with pytest.raises(vx.InvalidInput, match="meta device"):
        own_vqa(module)


def test_a_device_that_is_not_there_is_named() -> None:
    missing = "cuda" if not torch.cuda.is_available() else "xpu"
    with pytest.raises(vx.InvalidInput, match=f"cannot be moved to {missing}"):
        loaded(small(), device=missing)


class NoWeights(nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.stack([pixels[:, c].mean((1, 2)) * (c + 1) for c in range(3)], dim=1)


def test_networks_without_parameters(picture: np.ndarray) -> None:
    model = loaded(NoWeights())
    found = explained(model, picture, method="input_x_gradient", target="blue")
    assert found.image.sum() == pytest.approx(3 * (picture[:, :, 2] / 255).mean(), rel=1e-4)
    same(
        found,
        explained(
            model, picture, method="integrated_gradients", target="blue", image_baseline="constant"
        ),
    )


# Gradients that are not there


def quantized(network: torch.nn.Module) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(network, {nn.Linear}, dtype=torch.qint8)


class Step(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sign(x)


class Frozen(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.network = small()

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.network(pixels)
        return result


class Residual(nn.Module):
    """A quantized branch beside one of real numbers: a gradient exists, and is not the score's."""

    def __init__(self) -> None:
        super().__init__()
        self.network, self.branch = small(), quantized(nn.Sequential(nn.Linear(3, 3)))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        y = self.network(pixels)
        result: torch.Tensor = y + self.branch(y)
        return result


BLIND: dict[str, Callable[..., Any]] = {
    "quantized": lambda: quantized(small()),
    "a quantized branch": Residual,
    "steps": lambda: nn.Sequential(*small()[:1], Step(), *small()[2:]),
    "no_grad": Frozen,
    "numpy": lambda: Giving(lambda y: torch.from_numpy(y.detach().numpy()).clone()),
}


@pytest.mark.parametrize("kind", BLIND)
@pytest.mark.slow
def test_networks_without_gradients_are_not_given_maps_of_zeros(
    kind: str, picture: np.ndarray
) -> None:
    for method in (m for m in METHODS if "gradients" in METHODS[m].needs):
        with pytest.raises(vx.Unsupported, match="gradient"):
            vx.explain(loaded(BLIND[kind]()), picture, method=method)
    network = BLIND[kind]()
    model = loaded(network)
    found = explained(model, picture, method="shapley", regions=2, image_fill="mean")
    with torch.no_grad():
        pixels = ToTensor()(picture)[None]
        mean = pixels.mean((2, 3), keepdim=True).expand_as(pixels)
        index = int(network(pixels).argmax())
        change = float((network(pixels) - network(mean))[0, index])
    assert sum(r.value for r in found.regions) == pytest.approx(change, abs=1e-4)
    assert change != 0


def test_a_network_that_does_not_look_at_the_picture_has_true_zeros(picture: np.ndarray) -> None:
    class Blind(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.answer = nn.Parameter(torch.tensor([[1.0, 2.0, 3.0]]))

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return self.answer.expand(len(pixels), -1)

    for method in ("saliency", "integrated_gradients", "leave_one_out"):
        assert not explained(loaded(Blind()), picture, method=method).image.any()


def test_a_custom_model_with_quantized_words(picture: np.ndarray) -> None:
    class Quantized(OwnVqa):
        def __init__(self) -> None:
            super().__init__()
            self.mix = quantized(nn.Sequential(nn.Linear(6, 6)))

    model = own_vqa(Quantized())
    with pytest.raises(vx.Unsupported, match="gradient"):
        explained(model, picture, method="saliency")
    assert np.any([w.value for w in explained(model, picture).words])


@pytest.mark.parametrize("family", ["vilt", "llava"])
def test_quantized_models_of_transformers_are_refused_by_gradients(
    family: str, made: Callable[..., Any], picture: np.ndarray
) -> None:
    module, processor = made(family)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.ao.quantization.quantize_dynamic(module, {nn.Linear}, dtype=torch.qint8)
    model = vx.load(module, processor=processor, device="cpu")
    assert explained(model, picture).image.any()
    with pytest.raises(vx.Unsupported, match="gradient"):
        explained(model, picture, method="saliency")


def test_quantized_networks_are_evaluated(picture: np.ndarray, tmp_path: Path) -> None:
    rows = [vx.Example(picture, answer="red"), vx.Example(255 - picture, answer="blue")]
    model = loaded(quantized(small()))
    settings: dict[str, Any] = {"regions": 2, "workers": 1}
    vx.evaluate(model, rows, ["leave_one_out"], ["accuracy", "deletion"], tmp_path, **settings)
    assert {row["metric"] for row in rows_of(tmp_path)} >= {"accuracy", "deletion"}
    with pytest.raises(vx.Unsupported, match="gradient"):
        vx.evaluate(model, rows, ["saliency"], ["deletion"], tmp_path / "other", **settings)


# Devices without float64


class Device(torch.Tensor):
    """A tensor of a device that has no float64, as "mps" has none:
    it must be moved to the CPU first.
    """

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        if func is torch.Tensor.numpy:
            raise TypeError("can't convert a device's tensor to numpy; use Tensor.cpu() first")
        plain: Any = super().__torch_function__
        found = plain(func, types, args, kwargs)
        if any(isinstance(one, cls) and one.dtype == torch.float64 for one in _flat(found)):
            raise TypeError(f"{func} makes float64, which this device does not support")
        return found


def _flat(found: Any) -> list[Any]:
    return (
        [part for one in found for part in _flat(one)]
        if isinstance(found, list | tuple)
        else [found]
    )


def test_the_device_refuses_float64() -> None:
    x = torch.ones(3).as_subclass(Device)
    for wrong in (
        x.double,
        lambda: x.to(torch.float64),
        lambda: x * torch.ones(3).double(),
        x.numpy,
    ):
        with pytest.raises(TypeError):
            wrong()
    (slope,) = torch.autograd.grad((x.requires_grad_(True) ** 2).sum().cpu().double(), x)
    assert isinstance(slope, Device)
    assert x.detach().cpu().double().tolist() == [1, 1, 1]


def on_device(model: Any) -> Any:
    """The model with pixels, and everything that is made of them, on such a device."""
    encode = model.encode

    def moved(example: vx.Example) -> Any:
        encoded = encode(example)
        return encoded.with_frames({encoded.image_name: encoded.pixels.as_subclass(Device)})

    model.encode = moved
    return model


def loader_of(family: str) -> Callable[..., vx.Model]:
    """Loads the family's tiny checkpoint, which the fixture `made` gives."""

    def load(made: Callable[..., Any]) -> vx.Model:
        module, processor = made(family)
        return vx.load(module, processor=processor, device="cpu")

    return load


HELD: dict[str, Callable[..., vx.Model]] = {
    "classifier": lambda made: loaded(small()),
    "custom": lambda made: own_vqa(),
    **{
        family: loader_of(family)
        for family in ("vilt", "blip", "lxmert", "clip", "llava", "qwen2_vl", "vit")
    },
}


WRITE = ("blip", "llava", "qwen2_vl")


@pytest.mark.parametrize("kind", HELD)
@pytest.mark.slow
def test_no_method_needs_float64_of_a_device(
    kind: str, made: Callable[..., Any], picture: np.ndarray
) -> None:
    plain, model = HELD[kind](made), on_device(HELD[kind](made))
    assert isinstance(model.encode(example_for(model, picture)).pixels, Device)
    assert isinstance(model.leaves(model.encode(example_for(model, picture)))["image"], Device)
    tried = 0
    for method, cls in METHODS.items():
        # Its regions are its boxes.
        settings: dict[str, Any] = {
            "method": method,
            "regions": None if kind == "lxmert" else 2,
        }
        if kind in WRITE and method != "shapley":  # they write for one method, and not for each
            settings["answers"] = ["red", "blue"]
        settings |= {"budget": 60} if "budget" in cls.__dataclass_fields__ else {}
        settings |= {"samples": 2} if "samples" in cls.__dataclass_fields__ else {}
        settings |= {"steps": 2} if "steps" in cls.__dataclass_fields__ else {}
        try:
            expected = explained(plain, picture, **settings)
        except (vx.Unsupported, vx.InvalidInput):
            continue
        same(explained(model, picture, **settings), expected)
        tried += 1
    assert tried > (8 if kind == "lxmert" else 15)


@pytest.mark.parametrize("kind", ["classifier", "custom", "vilt"])
@pytest.mark.slow
def test_no_metric_needs_float64_of_a_device(
    kind: str, made: Callable[..., Any], picture: np.ndarray, tmp_path: Path
) -> None:
    model = on_device(HELD[kind](made))
    rows = [
        dataclasses.replace(example_for(model, p), answer=str(model.labels[0]))
        for p in (picture, 255 - picture)
    ]
    of_one = [name for name, metric in METRICS.items() if metric.judges != "data set"]
    vx.evaluate(model, rows, ["saliency"], of_one, tmp_path, regions=2, workers=1)
    assert len({row["metric"] for row in rows_of(tmp_path)}) > 6


def test_whatifs_need_no_float64(made: Callable[..., Any], picture: np.ndarray) -> None:
    from vqa_explain.viewer.whatif import changed

    model = on_device(loaded(small()))
    why = explained(model, picture)
    found = changed(model, vx.Example(picture), why, {"question": [], "image": [0]})
    assert found["change"] == pytest.approx(-why.regions[0].value, abs=1e-5)
