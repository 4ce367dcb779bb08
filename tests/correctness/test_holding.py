"""Networks as people hold them: wrapped, subclassed, with outputs, channels, number types and batches of their own."""

import copy
import logging

import numpy as np
import pytest
import torch
import transformers as tf
from checkpoints import MAKERS
from conftest import ToTensor
from families import QUESTION, example_for
from torch import nn

import vqa_explain as vx
from vqa_explain.models.base import answers

LABELS = ["red", "green", "blue"]


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(7).integers(0, 255, (36, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def made():
    """Family → its network and processor, made once."""
    known = {}

    def make(family):
        if family not in known:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                known[family] = MAKERS[family]()
                for p in known[family][0].parameters():
                    if p.ndim > 1:
                        nn.init.normal_(p, std=0.2)
        module, processor = known[family]
        return copy.deepcopy(module).eval(), processor

    return make


def explained(model, picture, **settings):
    settings = {"method": "leave_one_out", "regions": 2, **settings}
    if model.labels is None:
        settings["answers"] = ["yes", "no"]
    return vx.explain(model, example_for(model, picture), **settings)


def same(one, other):
    np.testing.assert_allclose([a.probability for a in one.answers], [a.probability for a in other.answers], rtol=1e-4)
    assert [a.text for a in one.answers] == [a.text for a in other.answers]
    np.testing.assert_allclose(one.image, other.image, atol=1e-4 * (1 + np.abs(other.image).max()))


# Wrappers


def with_lora(module):
    """LoRA in every layer of attention, with weights that change the scores."""
    peft = pytest.importorskip("peft")
    layers = {n.split(".")[-1] for n, m in module.named_modules() if isinstance(m, nn.Linear)}
    chosen = sorted(layers & {"query", "value", "q_proj", "v_proj", "qkv"})
    with torch.random.fork_rng():
        torch.manual_seed(1)
        wrapped = peft.get_peft_model(module, peft.LoraConfig(r=4, target_modules=chosen, init_lora_weights=False))
    return wrapped.eval()


class Subclassed:
    """Gives a module the class of a user's own, which does what its parent does."""

    def __init__(self, name):
        self.name = name

    def __call__(self, module):
        module.__class__ = type(self.name, (type(module),), {})
        return module


WRAPPERS = {
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
def test_wrapped_models_are_explained_as_what_they_are(family, wrapper, made, picture):
    module, processor = made(family)
    plain = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
    model = vx.load(WRAPPERS[wrapper](module), processor=processor, device="cpu")
    assert model.family == plain.family
    same(explained(model, picture), explained(plain, picture))


@pytest.mark.parametrize("family", ["vilt", "blip", "clip", "llava", "qwen2_vl", "vit"])
@pytest.mark.parametrize("compiled", [False, True])
def test_adapters_of_peft_stay_active(family, compiled, made, picture):
    module, processor = made(family)
    base = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
    wrapped = with_lora(module)
    merged = vx.load(copy.deepcopy(wrapped).merge_and_unload(), processor=processor, device="cpu")
    held = torch.compile(wrapped, backend="eager") if compiled else wrapped
    model = vx.load(held, processor=processor, device="cpu")
    assert (
        model.family == family if family in ("vilt", "blip", "clip") else model.family in ("generative", "classifier")
    )
    found = explained(model, picture)
    same(found, explained(merged, picture))
    without = explained(base, picture)
    assert not np.allclose(found.image, without.image, rtol=1e-2)


def test_lora_gives_the_scores_of_its_plain_call(made, picture):
    module, processor = made("vilt")
    wrapped = with_lora(module)
    inputs = processor(picture, QUESTION, return_tensors="pt")
    with torch.no_grad():
        expected = wrapped(**inputs).logits.softmax(-1)[0]
    found = explained(vx.load(wrapped, processor=processor, device="cpu"), picture)
    for answer in found.answers:
        assert answer.probability == pytest.approx(float(expected[answer.index]), rel=1e-4)


def test_adapters_that_are_no_layers_are_refused(made):
    peft = pytest.importorskip("peft")
    module, processor = made("llava")
    learned = peft.PromptTuningConfig(
        num_virtual_tokens=2, task_type="CAUSAL_LM", token_dim=32, num_layers=3, num_attention_heads=4
    )
    wrapped = peft.PeftModel(module, learned)
    with pytest.raises(vx.InvalidInput, match=r"PROMPT_TUNING.*merge_and_unload"):
        vx.load(wrapped, processor=processor, device="cpu")


def test_distributed_data_parallel(made, picture):
    if not torch.distributed.is_available():
        pytest.skip("this build of torch has no distributed part")
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        module, processor = made("vilt")
        plain = vx.load(copy.deepcopy(module), processor=processor, device="cpu")
        wrapped = nn.parallel.DistributedDataParallel(module)
        same(explained(vx.load(wrapped, processor=processor, device="cpu"), picture), explained(plain, picture))
    finally:
        torch.distributed.destroy_process_group()


@pytest.mark.parametrize("way", ["whole", "layer", "function"])
def test_networks_compiled_in_place(way, picture):
    """Compiled code ignores hooks that are put on its layers later, as class activation maps do."""
    torch._dynamo.reset()
    network = small()
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


def test_words_reach_a_network_that_was_compiled_in_place(picture):
    from custom_net import custom, network

    torch._dynamo.reset()
    expected = vx.explain(custom(), picture, "what color is the circle", method="saliency")
    module = network()
    module.compile(backend="eager")
    module(torch.zeros(1, 3, 32, 32), torch.zeros(1, 5, dtype=torch.long))
    model = vx.CustomModel(module, image=custom()._pictures._prepare.args[0], text=custom()._text,
                           labels=["yes", "no", "red", "blue"], device="cpu")  # fmt: skip
    found = vx.explain(model, picture, "what color is the circle", method="saliency")
    np.testing.assert_allclose([w.value for w in found.words], [w.value for w in expected.words], rtol=1e-4)


# What is no image classifier


class Passing(nn.Module):
    """A wrapper of nobody's that passes everything on."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        return self.inner(*args, **kwargs)


class WithConfig(Passing):
    def __init__(self, inner):
        super().__init__(inner)
        self.config = inner.config


class Asking(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, pixel_values):
        return self.inner(input_ids=input_ids, pixel_values=pixel_values)


@pytest.mark.parametrize("family", ["vilt", "blip", "clip", "llava", "qwen2_vl", "lxmert"])
@pytest.mark.parametrize("hold", [Passing, WithConfig, Asking])
def test_networks_that_take_text_are_no_classifiers(family, hold, made):
    module, _ = made(family)
    with pytest.raises(vx.InvalidInput, match="processor="):
        vx.load(hold(module), transform=ToTensor(), labels=LABELS, device="cpu")


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: tf.LlavaModel(MAKERS["llava"]()[0].config), "processor="),
        (lambda: tf.ViltModel(MAKERS["vilt"]()[0].config), "processor="),
        (lambda: tf.BertModel(tf.BertConfig(hidden_size=8, num_attention_heads=2, num_hidden_layers=1)), "processor="),
        (lambda: tf.ViTModel(MAKERS["vit"]()[0].config), "no head"),
        (
            lambda: tf.T5ForConditionalGeneration(tf.T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)),
            "takes no picture",
        ),
    ],
)
def test_other_networks_of_transformers_are_refused(make, told):
    with pytest.raises(vx.InvalidInput, match=told):
        vx.load(make(), transform=ToTensor(), processor=ToTensor(), labels=LABELS, device="cpu")


def test_a_classifier_around_a_model_of_both_says_how_it_is_called(made, picture):
    module, processor = made("vilt")
    fixed = processor.tokenizer(QUESTION, return_tensors="pt")["input_ids"]

    def call(network, pixels):
        return network(input_ids=fixed.expand(len(pixels), -1), pixel_values=pixels).logits

    # It draws the order of its patches, which changes no score; the self-check refuses what draws.
    named = {"transform": ToTensor(), "call": call, "labels": ["yes", "no", "red", "blue"]}
    with pytest.raises(vx.InvalidInput, match="random states stay as they were"):
        vx.load(module, device="cpu", **named)
    model = vx.load(module, device="cpu", check=False, **named)
    encoded = model.encode(vx.Example(picture))
    with torch.no_grad():
        expected = call(module, encoded.pixels).softmax(-1)[0]
    for answer in answers(model, encoded):
        assert answer.probability == pytest.approx(float(expected[answer.index]), rel=1e-4)


# Networks of one's own


def small(channels=3, classes=3):
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


def loaded(network, **settings):
    return vx.load(network, **{"transform": ToTensor(), "labels": LABELS, "device": "cpu", **settings})


__all__ = ["logging"]
