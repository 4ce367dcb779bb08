"""Models of two towers against transformers called plainly: see `tower_checkpoints`."""

import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from PIL import Image
from tower_checkpoints import TOWERS, tower_checkpoint
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES as ZERO_SHOT,
)

import vqa_explain as vx
from vqa_explain.game import Game, make_players
from vqa_explain.models.families import FAMILIES
from vqa_explain.target import Target

QUESTION = "a red circle"
LABELS = ["a photo of a cat", "a red circle", "the mug"]
FAST = ("align", "siglip2")
IN_PAIRS = (
    "blip_retrieval",
    "bridgetower",
    "flava",
)  # those that read a text together with the picture
WITHOUT_GRADIENTS = ("groupvit",)  # its gradient is that of a softmax, its choice a hard one

Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def tower_folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    root, made = tmp_path_factory.mktemp("towers"), {}

    def folder(name: str) -> Path:
        if name not in made:
            made[name] = tower_checkpoint(name, root)
        return made[name]

    return folder


def on_towers(names: Any = tuple(TOWERS)) -> pytest.MarkDecorator:
    """A test of these towers, of which the fast loop takes those of `FAST`."""
    cases = [pytest.param(name, marks=[] if name in FAST else [pytest.mark.slow]) for name in names]
    return pytest.mark.parametrize("tower", cases)


class Plain:
    """A checkpoint as transformers alone reads and calls it.

    Args:
        folder: the checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        kind = getattr(tf, tf.AutoConfig.from_pretrained(folder).architectures[0])
        self.module = kind.from_pretrained(folder).eval()
        self.processor: Any = tf.AutoProcessor.from_pretrained(folder)
        self.is_siglip = kind.__name__.startswith("Siglip")

    def inputs(self, texts: list[str], picture: np.ndarray) -> dict[str, Any]:
        more: dict[str, Any] = {}
        if len(texts) > 1 and not isinstance(self.module, tf.AlignModel | tf.Tipsv2Model):
            more = {"padding": True}
        if self.is_siglip:
            longest = self.module.config.text_config.max_position_embeddings
            more = {"padding": "max_length", "max_length": longest}
        given = {"text": texts, "images": [Image.fromarray(picture)]}
        found = dict(self.processor(**given, return_tensors="pt", **more))
        if self.is_siglip:  # its authors call it without a mask
            found.pop("attention_mask")
        return found

    @torch.no_grad()
    def scores(self, **inputs: Any) -> torch.Tensor:
        found = self.module(**inputs)
        pair = getattr(found, "itm_score", getattr(found, "logits", None))
        if pair is not None:
            match: torch.Tensor = pair[:, 1:] - pair[:, :1]
            return match
        pretraining = hasattr(found, "contrastive_logits_per_image")
        logits: torch.Tensor = (
            found.contrastive_logits_per_image if pretraining else found.logits_per_image
        )
        return logits


@on_towers()
def test_the_score_is_that_of_the_plain_call(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str
) -> None:
    model: Any = vx.load(tower_folders(tower), device="cpu")
    plain = Plain(tower_folders(tower))
    for picture in (noise_picture, noise_picture[:, :47].copy()):
        encoded = model.encode(vx.Example(picture, QUESTION))
        with torch.no_grad():
            found = model.scores(encoded, model.leaves(encoded))
        expected = plain.scores(**plain.inputs([QUESTION], picture))
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert encoded.labels == ("fits",)


@on_towers([name for name in TOWERS if name not in IN_PAIRS])
def test_labels_score_as_several_texts_in_the_plain_call(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str
) -> None:
    model: Any = vx.load(tower_folders(tower), labels=LABELS, device="cpu")
    plain = Plain(tower_folders(tower))
    encoded = model.encode(vx.Example(noise_picture))
    with torch.no_grad():
        found = model.scores(encoded, model.leaves(encoded))
    expected = plain.scores(**plain.inputs(LABELS, noise_picture))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    why = vx.explain(model, noise_picture, method="leave_one_out", regions=2)
    assert why.target == LABELS[int(expected.argmax())]
    assert why.question is None


def test_the_texts_of_labels_run_once_for_all_pictures(
    tower_folders: Folders, noise_picture: np.ndarray
) -> None:
    model: Any = vx.load(tower_folders("align"), labels=LABELS, device="cpu")
    runs = []
    layer = model.module.text_model.encoder.layer[0]
    handle = layer.register_forward_hook(lambda *_: runs.append(1))
    vx.explain(model, noise_picture, method="occlusion", window=30, stride=30)
    handle.remove()
    assert not runs


@on_towers([name for name in TOWERS if name not in WITHOUT_GRADIENTS])
def test_gradients_are_those_of_finite_differences(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str
) -> None:
    plain = Plain(tower_folders(tower))
    model: Any = vx.load(plain.module.double(), processor=plain.processor, device="cpu")
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    leaves = {name: leaf.requires_grad_(True) for name, leaf in model.leaves(encoded).items()}
    slopes = torch.autograd.grad(model.scores(encoded, leaves).sum(), list(leaves.values()))
    rng = torch.Generator().manual_seed(0)
    # The attention of BERT rounds to float32 in any number type, so smaller steps drown in it.
    for (name, leaf), slope in zip(leaves.items(), slopes, strict=True):
        step = 1e-4 * torch.randn(leaf.shape, generator=rng, dtype=leaf.dtype)
        with torch.no_grad():
            ends = [model.scores(encoded, {**leaves, name: leaf + s}) for s in (step, -step)]
        expected = float(ends[0] - ends[1]) / 2
        assert float((slope * step).sum()) == pytest.approx(expected, rel=1e-3, abs=1e-8)


@pytest.mark.slow
@on_towers()
def test_a_batch_of_coalitions_is_as_one_by_one(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str
) -> None:
    model: Any = vx.load(tower_folders(tower), device="cpu")
    encoded = model.encode(vx.Example(noise_picture, QUESTION))

    def game(fill: str) -> Game:
        fills = {"image": "mean", "question": fill}
        players = make_players(encoded, {"image": 2})
        return Game(model, encoded, players, fills, Target(0, kind=model.kind))

    for fill in model.features[1].fills:
        rows = np.random.default_rng(2).random((10, len(game(fill)))) < 0.6
        rows[0] = True
        together = game(fill)(rows)
        alone = [float(game(fill)(row[None])[0]) for row in rows]
        np.testing.assert_allclose(together, alone, atol=2e-5)
        with torch.no_grad():
            whole = float(model.scores(encoded, model.leaves(encoded)))
        assert together[0] == pytest.approx(whole, abs=1e-5)


def quadrants(side: int) -> list[tuple[slice, slice]]:
    halves = (slice(0, side // 2), slice(side // 2, side))
    return [(rows, columns) for rows in halves for columns in halves]


def with_words_masked(plain: Plain, words: list[bool], picture: np.ndarray) -> dict[str, Any]:
    """The plain call's inputs where absent words are written as the mask token."""
    own = QUESTION.split()
    spelled = [word if there else "[MASK]" for word, there in zip(own, words, strict=True)]
    return plain.inputs([" ".join(spelled)], picture)


def with_words_as_padding(plain: Plain, words: list[bool], picture: np.ndarray) -> dict[str, Any]:
    """The plain call's inputs where absent words are padding tokens that are attended to."""
    inputs = plain.inputs([QUESTION], picture)
    ids = inputs["input_ids"].clone()
    ids[0, ~token_is_there(plain, words, ids.shape[1])] = 0
    return {**inputs, "input_ids": ids}


def token_is_there(plain: Plain, words: list[bool], length: int) -> torch.Tensor:
    """(length,) bool: whether each token is special or of a word that is there."""
    there = torch.ones(length, dtype=torch.bool)
    spans = plain.processor.tokenizer(QUESTION, return_offsets_mapping=True)["offset_mapping"]
    for token, (start, end) in enumerate(spans):
        if end > start:
            middle = (start + end) // 2  # a token may begin with the blank before its word
            there[token] = words[QUESTION[:middle].count(" ")]
    return there


def with_words_hidden(plain: Plain, words: list[bool], picture: np.ndarray) -> dict[str, Any]:
    """The plain call's inputs where absent words are there and not attended to."""
    inputs = plain.inputs([QUESTION], picture)
    if all(words):
        return inputs
    mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
    mask = mask * token_is_there(plain, words, mask.shape[1])
    return {**inputs, "attention_mask": mask}


def shapley(values: dict[tuple[bool, ...], float], players: int) -> list[float]:
    """Shapley values by their definition."""
    found = []
    for own in range(players):
        total = 0.0
        for coalition, value in values.items():
            if coalition[own]:
                size = sum(coalition)
                orders = math.factorial(size - 1) * math.factorial(players - size)
                without = (*coalition[:own], False, *coalition[own + 1 :])
                total += orders / math.factorial(players) * (value - values[without])
        found.append(total)
    return found


@pytest.mark.parametrize(
    ("tower", "fill"),
    [
        ("align", "mask"),
        pytest.param("siglip", "pad", marks=pytest.mark.slow),
        pytest.param("clip", "pad", marks=pytest.mark.slow),
        pytest.param("align", "pad", marks=pytest.mark.slow),
        pytest.param("chinese_clip", "mask", marks=pytest.mark.slow),
        pytest.param("blip_retrieval", "mask", marks=pytest.mark.slow),
        pytest.param("metaclip_2", "pad", marks=pytest.mark.slow),
        pytest.param("tipsv2", "pad", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow
def test_shapley_values_are_those_of_all_coalitions_by_plain_calls(
    tower_folders: Folders, tower: str, fill: Any
) -> None:
    side = 64 if tower == "align" else 32  # of the network's own frame, so that nothing is resized
    picture = np.random.default_rng(1).integers(0, 256, (side, side, 3), dtype=np.uint8)
    plain = Plain(tower_folders(tower))
    given = with_words_masked if fill == "mask" else with_words_hidden
    if tower == "tipsv2":
        given = with_words_as_padding
    values = {}
    for coalition in itertools.product((False, True), repeat=7):
        inputs = given(plain, list(coalition[4:]), picture)
        pixels = inputs["pixel_values"].clone()
        blank = pixels.mean(dim=(2, 3), keepdim=True)
        for there, (rows, columns) in zip(coalition[:4], quadrants(side), strict=True):
            if not there:
                pixels[:, :, rows, columns] = blank
        values[coalition] = float(plain.scores(**{**inputs, "pixel_values": pixels}))
    why = vx.explain(
        vx.load(tower_folders(tower), device="cpu"),
        picture,
        QUESTION,
        method="shapley",
        regions=2,
        budget=128,
        image_fill="mean",
        text_fill=fill,
    )
    found = [*(one.value for one in why.regions), *(one.value for one in why.words)]
    np.testing.assert_allclose(found, shapley(values, 7), atol=2e-5)
    assert np.abs(found).min() > 0


@on_towers()
@pytest.mark.parametrize("method", ["integrated_gradients", "occlusion", "grad_cam", "rise"])
def test_methods_work_on_every_tower(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str, method: str
) -> None:
    cheap: dict[str, dict[str, Any]] = {
        "integrated_gradients": {"steps": 4},
        "occlusion": {"window": 30, "stride": 30},
        "rise": {"budget": 110, "regions": 2},
    }
    model = vx.load(tower_folders(tower), device="cpu")
    more = cheap.get(method, {})
    refused = tower in WITHOUT_GRADIENTS and method in ("integrated_gradients", "grad_cam")
    if refused or (tower == "flava" and method == "grad_cam"):  # which runs each layer twice
        with pytest.raises(vx.Unsupported, match=r"gradient|no layer with maps"):
            vx.explain(model, noise_picture, QUESTION, method=method, **more)
        return
    why = vx.explain(model, noise_picture, QUESTION, method=method, **more)
    assert why.image.shape == noise_picture.shape[:2]
    assert np.isfinite(why.image).all()
    assert len(why.words) == 3


def test_every_zero_shot_classifier_of_transformers_has_its_adapter() -> None:
    assert [name for name in ZERO_SHOT.values() if not FAMILIES["clip"].serves(name)] == []


def test_a_tower_inside_another_network_is_explained_as_an_object(
    tower_folders: Folders, noise_picture: np.ndarray
) -> None:
    whole = Plain(tower_folders("clipseg"))
    segments = tf.CLIPSegForImageSegmentation(whole.module.config)
    with pytest.raises(vx.InvalidInput, match="takes text besides the picture"):
        vx.load(segments, processor=whole.processor, device="cpu")
    model: Any = vx.load(segments.clip, processor=whole.processor, device="cpu")
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    with torch.no_grad():
        expected = segments.clip.eval()(**whole.inputs([QUESTION], noise_picture))
        found = model.scores(encoded, model.leaves(encoded))
    torch.testing.assert_close(found, expected.logits_per_image, atol=1e-5, rtol=1e-5)


class DeafToMasks(tf.CLIPModel):
    """It reads words that it is told not to read."""

    def forward(self, attention_mask: Any = None, **inputs: Any) -> Any:
        return super().forward(**inputs)


class Doubled(tf.CLIPModel):
    """Each text is put in two times, so no single call of the embedding is for the text."""

    def forward(self, **inputs: Any) -> Any:
        super().forward(**inputs)
        return super().forward(**{**inputs, "input_ids": inputs["input_ids"].flip(1)})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (DeafToMasks, "'hidden words are not read'.* wrap the network in vqa_explain.CustomModel"),
        (Doubled, "'one embedding reads the words'.* wrap the network"),
    ],
)
def test_networks_that_fail_a_check_are_refused_by_its_name(
    tower_folders: Folders, kind: Any, message: str
) -> None:
    processor: Any = tf.AutoProcessor.from_pretrained(tower_folders("clip"))
    module = kind.from_pretrained(tower_folders("clip"))
    with pytest.raises(vx.Unsupported, match=message):
        vx.load(module, processor=processor, device="cpu", check=False)


@pytest.mark.parametrize(
    ("tower", "settings", "message"),
    [
        (
            "flava_alone",
            {},
            "says of no text how well it fits a picture.* give one with such a head",
        ),
        ("xclip", {}, "takes videos, .* give a model of pictures"),
        ("flava", {"labels": LABELS}, "judges one text at a time"),
        ("blip_retrieval", {"labels": LABELS}, "judges one text at a time .* as the question"),
        ("clip", {"labels": ["a cat", "the mug " * 30]}, "a label has .* tokens and .* takes 40"),
        ("clip", {"outputs": "sigmoid"}, "says itself what its scores are"),
    ],
)
def test_what_cannot_be_explained_is_refused_in_one_sentence(
    tower_folders: Folders, tower: str, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(vx.VQAExplainError, match=message):
        vx.load(tower_folders(tower), device="cpu", **settings)


@pytest.mark.parametrize("part", ["tokenizer", "image_processor"])
def test_half_a_processor_is_refused(tower_folders: Folders, part: str) -> None:
    plain = Plain(tower_folders("clip"))
    with pytest.raises(vx.InvalidInput, match=r"does not read both .* give what .*AutoProcessor"):
        vx.load(plain.module, processor=getattr(plain.processor, part), device="cpu")


@pytest.mark.parametrize(("tower", "limit"), [("altclip", 39), ("tipsv2", 64), ("clip", 40)])
def test_texts_are_as_long_as_the_network_takes(
    tower_folders: Folders, noise_picture: np.ndarray, tower: str, limit: int
) -> None:
    model = vx.load(tower_folders(tower), device="cpu")
    longest = vx.Example(noise_picture, " ".join(["a"] * 200))
    with pytest.raises(vx.InvalidInput, match=f"takes {limit}; shorten the question"):
        model.encode(longest)
