"""The self-check at load finds what would make explanations wrong (issue's section H, and A 4).

Truth is the network's own forward, and networks that are broken on purpose.
"""

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import MAKERS, checkpoint
from custom_net import IMAGE, VOCABULARY, AttendsToGrid
from more_checkpoints import MORE, made
from torch import nn

import vqa_explain as vx
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.models import checking, loading
from vqa_explain.models.checking import check_model
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.generative import pixels

LABELS = ["yes", "no", "red", "blue"]
QUESTION = "What color is the circle?"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def custom(net: Any = None, **settings: Any) -> vx.CustomModel:
    named = {"image": IMAGE, "text": VOCABULARY, "labels": LABELS, "device": "cpu"}
    return vx.CustomModel(net or AttendsToGrid(), **{**named, **settings})


@pytest.mark.parametrize("family", MAKERS)
def test_every_family_passes(family: Any, tmp_path: Path) -> None:
    model = vx.load(checkpoint(family, tmp_path), device="cpu")
    assert not getattr(model, "unchecked", False)


@pytest.mark.parametrize("name", MORE)
def test_models_with_other_pictures_and_prompts_pass(name: str) -> None:
    module, processor = made(name)
    vx.load(module, processor=processor, device="cpu")


WRITTEN = 3  # tokens of an answer


@pytest.mark.parametrize("name", ["llava", "qwen2_vl", "llava_onevision", "paligemma"])
def test_it_takes_few_forward_passes(name: str, tmp_path: Path) -> None:
    model = vx.load(checkpoint(name, tmp_path), device="cpu", check=False)
    network: Any = model.module
    passes: list[int] = []

    def note(_layer: Any, _args: Any, output: Any) -> None:
        states = output[0] if isinstance(output, tuple) else output
        passes.append(states.shape[1])

    handle = network.get_decoder().layers[0].register_forward_hook(note)
    check_model(model)
    handle.remove()
    # Of whole prompts; what reads a few tokens behind one costs next to nothing. Eight of them find
    # out how the network is run, and whether batches and prompts can be shared.
    assert 1 <= sum(tokens > WRITTEN for tokens in passes) <= 11
    assert len(passes) <= 16


class AddsToABatch(vx.CustomModel):
    """An adapter that scores a batch otherwise than one by one."""

    def scores(
        self, encoded: Encoded, leaves: dict[str, torch.Tensor] | dict[str, Any]
    ) -> torch.Tensor:
        return super().scores(encoded, leaves) + 0.1 * (len(leaves["image"]) - 1)


class Remembers(vx.CustomModel):
    """An adapter that answers about the first picture of a batch."""

    def scores(
        self, encoded: Encoded, leaves: dict[str, torch.Tensor] | dict[str, Any]
    ) -> torch.Tensor:
        return super().scores(
            encoded, {**leaves, "image": encoded.pixels.expand_as(leaves["image"])}
        )


@pytest.mark.parametrize(
    ("adapter", "check"),
    [
        (AddsToABatch, "scores equal the plain call"),
        (Remembers, "a changed frame scores as the changed picture"),
    ],
)
def test_a_broken_adapter_is_refused_by_the_check_that_it_fails(
    adapter: type[AddsToABatch] | type[Remembers], check: str
) -> None:
    named = {"image": IMAGE, "text": VOCABULARY, "labels": LABELS, "device": "cpu"}
    with pytest.raises(vx.InvalidInput, match=check):
        adapter(wide_awake(AttendsToGrid), **named)


def wide_awake(make: type[Any]) -> Any:
    """A network whose answer depends on everything."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make()
        for part in module.parameters():
            nn.init.normal_(part, std=0.3)
    return module


class Hooks(AttendsToGrid):
    def forward(self, seen: Any, tokens: torch.Tensor) -> torch.Tensor:
        self.register_forward_hook(lambda *_: None)
        return super().forward(seen, tokens)


class Draws(AttendsToGrid):
    def forward(self, seen: Any, tokens: torch.Tensor) -> torch.Tensor:
        torch.rand(1)
        return super().forward(seen, tokens)


class DrawsWithNumpy(AttendsToGrid):
    def forward(self, seen: Any, tokens: torch.Tensor) -> torch.Tensor:
        np.random.rand()
        return super().forward(seen, tokens)


class Counts(AttendsToGrid):
    calls: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, seen: Any, tokens: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return super().forward(seen, tokens)


class Trains(AttendsToGrid):
    def forward(self, seen: Any, tokens: torch.Tensor) -> torch.Tensor:
        self.grid.train()
        return super().forward(seen, tokens)


@pytest.mark.parametrize(
    ("net", "check"),
    [
        (Hooks, "hooks stay as they were"),
        (Draws, "random states stay as they were"),
        (DrawsWithNumpy, "random states stay as they were"),
        (Counts, "weights and buffers stay as they were"),
        (Trains, "modes stay as they were"),
    ],
)
def test_a_broken_network_is_refused_by_the_check_that_it_fails(
    net: Any, check: str, caplog: pytest.LogCaptureFixture
) -> None:
    module = wide_awake(net)
    with pytest.raises(vx.InvalidInput, match=check):
        custom(module)
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        custom(module, check=False)
    assert "is not checked" in caplog.text


def test_a_map_that_lies_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = AlignedGeometry.to_original
    monkeypatch.setattr(
        AlignedGeometry,
        "to_original",
        lambda self, values: np.roll(carried(self, values), 20, axis=1),
    )
    with pytest.raises(vx.InvalidInput, match=r"a block returns to its place.*outside the block"):
        custom()


def test_a_map_of_which_a_fifth_lies_elsewhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    carried = AlignedGeometry.to_original
    monkeypatch.setattr(
        AlignedGeometry,
        "to_original",
        lambda self, values: (
            0.8 * carried(self, values) + 0.2 * np.roll(carried(self, values), 20, axis=1)
        ),
    )
    with pytest.raises(vx.InvalidInput, match=r"2[0-9]% of the change came back"):
        custom()


class Misspells(vx.CustomModel):
    """An adapter that puts another word in the place of the first."""

    def encode(self, example: vx.Example) -> Encoded:
        encoded = super().encode(example)
        first = dataclasses.replace(encoded.words[0], text="Which")
        text = encoded["question"].content
        words = (first, *encoded.words[1:])
        return encoded.replaced("question", dataclasses.replace(text, words=words))


def test_an_adapter_whose_words_are_others_than_the_questions_is_refused() -> None:
    named = {"image": IMAGE, "text": VOCABULARY, "labels": LABELS, "device": "cpu"}
    with pytest.raises(vx.InvalidInput, match=r"the tokens of words spell them.*read as 'Which"):
        Misspells(wide_awake(AttendsToGrid), **named)


def test_a_second_tensor_that_does_not_follow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module, processor = made("deepseek_vl_hybrid")
    monkeypatch.setattr(
        pixels,
        "followed",
        lambda change, _, target: change.new_zeros(len(change), 3, *target.frame),
    )
    with pytest.raises(vx.InvalidInput, match="a changed frame scores as the changed picture"):
        vx.load(module, processor=processor, device="cpu")


def log_probabilities(model: Any, encoded: Encoded, text: str) -> float:
    """Of a text's first token, by transformers' own generation."""
    found = model.module.generate(
        **encoded.state.inputs,
        max_new_tokens=1,
        do_sample=False,
        return_dict_in_generate=True,
        output_logits=True,
    )
    first = model.processor.tokenizer(text, add_special_tokens=False)["input_ids"][0]
    return float(found.logits[0].log_softmax(-1)[0, first])


@pytest.mark.parametrize("size", [(40, 96), (100, 60)])
@pytest.mark.parametrize("name", MORE)
def test_every_tensor_that_shows_the_picture_follows_the_frame(
    name: str, size: tuple[int, int]
) -> None:
    module, processor = made(name)
    model: Any = vx.load(module, processor=processor, device="cpu", check=False)
    rows, columns = np.indices(size) / np.array(size).reshape(2, 1, 1)
    first = np.stack([255 * rows, 255 * columns, 90 + 0 * rows], axis=2).astype(np.uint8)
    second = np.stack([255 * columns**2, 128 + 0 * rows, 255 * rows * columns], axis=2).astype(
        np.uint8
    )
    encoded, other = (
        model.with_answers(model.encode(vx.Example(picture, QUESTION)), ["yes"], 0)
        for picture in (first, second)
    )
    with torch.no_grad():
        leaves = {**model.leaves(encoded), "image": other.pixels}
        found = float(model.scores(encoded, leaves)[0, 0])
        before, after = (log_probabilities(model, one, "yes") for one in (encoded, other))
    assert abs(after - before) > 1e-3, "the test itself shows nothing"
    # The smaller of two sizes follows the larger by another smoothing than the processor's.
    share = 0.25 if name == "deepseek_vl_hybrid" else 0.03
    assert found == pytest.approx(after, abs=share * abs(after - before) + 1e-4)


def test_a_network_of_one_picture_size_is_checked_on_its_first_example(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(3 * 20 * 30, 3)

        def forward(self, seen: Any) -> torch.Tensor:
            self.last.register_forward_hook(lambda *_: None)
            result: torch.Tensor = self.last(seen.flatten(1))
            return result

    def whole(picture: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1).float() / 255

    model = vx.load(Fixed(), transform=whole, labels=["a", "b", "c"], device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for _ in range(2):  # it is not taken for a good one after it was refused
        with pytest.raises(vx.InvalidInput, match="hooks stay as they were"):
            vx.explain(model, picture, method="saliency")


def test_a_pass_is_kept_for_a_network_and_for_a_checkpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tried = []
    monkeypatch.setattr(checking, "check_model", lambda model: tried.append(model.name))
    net = AttendsToGrid()
    custom(net)
    custom(net)
    assert len(tried) == 1
    custom(net, image=lambda picture: IMAGE(picture))  # another transform is another model
    assert len(tried) == 2
    folder = checkpoint("llava", tmp_path)
    vx.load(folder, device="cpu")
    vx.load(folder, device="cpu")
    assert len(tried) == 3
    config = folder / "preprocessor_config.json"
    if not config.exists():
        config = folder / "processor_config.json"
    config.write_text(config.read_text() + " ")
    vx.load(folder, device="cpu")
    assert len(tried) == 4, "the files changed"


def test_a_pass_that_cannot_be_written_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    vx.load(checkpoint("clip", tmp_path), device="cpu")


class Own:
    """An adapter of a user's own, around one of ours, as far as methods see it."""

    def __init__(self, wrong: Any = None) -> None:
        self._inner, self._wrong = custom(wide_awake(AttendsToGrid)), wrong

    def __getattr__(self, name: str) -> Any:
        if name in ("plain_scores", "unchecked") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.__dict__["_inner"], name)

    def scores(
        self, encoded: Encoded, leaves: dict[str, torch.Tensor] | dict[str, Any]
    ) -> torch.Tensor:
        found = self._inner.scores(encoded, leaves)
        if self._wrong == "batch":
            return found + 0.1 * (len(found) - 1)
        return found.roll(1, dims=0) if self._wrong == "rows" else found


class OwnWithPlain(Own):
    def plain_scores(self, encoded: Encoded) -> torch.Tensor:
        return self._inner.plain_scores(encoded) + (0.5 if self._wrong == "plain" else 0)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    monkeypatch.setattr(loading, "_own", {})
    return lambda make: vx.register_model("mine")(lambda _device: make())


@pytest.mark.parametrize("make", [Own, OwnWithPlain])
def test_a_registered_adapter_that_is_right_passes(
    make: type[Own] | type[OwnWithPlain], registered: Callable[..., Any]
) -> None:
    registered(make)
    assert isinstance(vx.load("mine", device="cpu"), make)


@pytest.mark.parametrize(
    ("make", "wrong", "check"),
    [
        (Own, "batch", "two in a batch score as one by one"),
        (Own, "rows", "two in a batch score as one by one"),
        (OwnWithPlain, "plain", "scores equal the plain call"),
    ],
)
def test_a_registered_adapter_that_is_wrong_is_refused(
    make: type[Own] | type[OwnWithPlain],
    wrong: str,
    check: str,
    registered: Callable[..., Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    registered(lambda: make(wrong))
    with pytest.raises(vx.InvalidInput, match=check):
        vx.load("mine", device="cpu")
    with caplog.at_level(logging.WARNING, "vqa_explain"):
        vx.load("mine", device="cpu", check=False)
    assert "is not checked" in caplog.text


def test_a_registered_function_must_make_a_model(registered: Callable[..., Any]) -> None:
    registered(lambda: "a model")
    with pytest.raises(vx.InvalidInput, match="registered as 'mine' returns str, not a model"):
        vx.load("mine", device="cpu")
