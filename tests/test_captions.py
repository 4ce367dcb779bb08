"""The shipped model that writes: what captions say is read by a rule, the words for objects look at
them, and objects that were planted are marked.
"""

import random
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import LlavaForConditionalGeneration, LlavaProcessor

import vqa_explain as vx
from vqa_explain.datasets.everyday.dataset import Everyday, ground_seed, plan
from vqa_explain.datasets.everyday.drawing import draw
from vqa_explain.datasets.everyday.objects import COLORS, KINDS
from vqa_explain.models.loading import data_folder
from vqa_explain.training import captions_card as card
from vqa_explain.training import llava
from vqa_explain.training.caption_facts import judge, read_caption
from vqa_explain.training.captions import caption_words, mirrored

FOLDER = data_folder() / "captions"
SCENES = [plan("captions", number) for number in range(120)]


@pytest.fixture(scope="module")
def writer() -> vx.Model:
    return vx.load("captions", device="cpu")


def test_captions_of_the_data_set_are_true_and_complete() -> None:
    for scene in SCENES:
        facts = read_caption(scene.text)
        assert judge(facts, scene.items).is_complete, scene.text
        ends = [mention.end for mention in scene.mentions]
        assert [thing.end for thing in facts.things] == ends
        assert [thing.start for thing in facts.things] == [one.start for one in scene.mentions]


def changed(text: str, pattern: str, rng: random.Random, instead: list[str]) -> str | None:
    """The text with another word in place of the first that fits."""
    found = re.search(pattern, text)
    if found is None:
        return None
    other = rng.choice([word for word in instead if word != found[1]])
    return text[: found.start(1)] + other + text[found.end(1) :]


@pytest.mark.parametrize(
    ("pattern", "instead"),
    [
        (rf"\b({'|'.join(KINDS)})\b", [kind for kind in KINDS if kind != "orange"]),
        (rf"\ban? ({'|'.join(COLORS)}) ", list(COLORS)),
        (r"\b(left|right) of", ["left", "right"]),
        (r" (above|over) ", ["below", "under"]),
        (r"\b(two|three) ", ["two", "three"]),
    ],
)
def test_a_caption_with_one_wrong_word_is_false(pattern: str, instead: list[str]) -> None:
    rng, count = random.Random(0), 0
    for scene in SCENES:
        said = {item.kind for item in scene.items}
        wrong = changed(scene.text, pattern, rng, [word for word in instead if word not in said])
        if wrong is not None:
            count += 1
            assert not judge(read_caption(wrong), scene.items).is_true, wrong
    assert count >= 10


def test_a_mirrored_example_has_a_true_caption_and_its_own_mentions() -> None:
    for number, scene in enumerate(SCENES[:30]):
        picture = draw(scene, ground_seed("captions", number, 0))
        other, flipped = mirrored(scene, picture)
        assert judge(read_caption(other.text), other.items).is_complete, other.text
        for one, two in zip(scene.mentions, other.mentions, strict=True):
            assert scene.text[one.start : one.end] == other.text[two.start : two.end]
        np.testing.assert_array_equal(flipped.masks[:, :, ::-1], picture.masks)


@pytest.mark.parametrize("question", ["", "What do you see?"])
def test_the_fast_forward_pass_is_that_of_transformers(question: str) -> None:
    network = LlavaForConditionalGeneration.from_pretrained(FOLDER).eval()
    network.set_attn_implementation("eager")
    processor = LlavaProcessor.from_pretrained(FOLDER)
    example = Everyday("captions", 1)[0]
    asked = [{"type": "text", "text": question}] if question else []
    turn: list[Any] = [{"role": "user", "content": [{"type": "image"}, *asked]}]
    prompt = processor.apply_chat_template(turn, add_generation_prompt=True, tokenize=False)
    given = processor(text=prompt, images=Image.fromarray(example.image), return_tensors="pt")
    told = processor.tokenizer(str(example.answer), add_special_tokens=False).input_ids
    ids = torch.cat([given["input_ids"], torch.tensor([told])], dim=1)
    attended = torch.ones_like(ids)
    attended[0, 103:105] = 0  # hidden words
    pixels = given["pixel_values"]
    patches, text = torch.arange(100)[None], ids[:, 101:]
    with torch.no_grad():
        plain = network(
            input_ids=ids, pixel_values=pixels, attention_mask=attended, output_attentions=True
        )
        seen = llava.seen_patches(network, pixels, None)
        heard = attended[:, 101:].bool()
        row = llava.sequence(network, seen, patches, text, heard, int(ids[0, 0]))
        states = llava.decoded(network, row, 101)
        owned = (torch.arange(100) % 3 == 0).float()[None]
        look = llava.Look(2, 1)
        mass = llava.looked_at(network, states, row, look, torch.tensor([[0, 106]]), owned)
    shown = heard[0].nonzero()[:, 0]
    found = llava.logits(network, states[-1])[0]
    torch.testing.assert_close(found[shown], plain.logits[0, 101:][shown], atol=1e-4, rtol=1e-4)
    weights = plain.attentions[look.layer][0, look.head, 106, 1:101]
    torch.testing.assert_close(mass[0], (weights * owned[0]).sum(), atol=1e-5, rtol=1e-4)


def test_the_words_of_training_are_tokens_of_the_shipped_model(writer: vx.Model) -> None:
    tokens = LlavaProcessor.from_pretrained(FOLDER).tokenizer
    assert all(len(tokens(word, add_special_tokens=False).input_ids) == 1 for word in KINDS)
    assert set(caption_words()) <= set(tokens.get_vocab())


def stated(what: str) -> float:
    """The share that the card says."""
    row = re.search(rf"^\| {re.escape(what)} \| ([\d.]+)", (FOLDER / "README.md").read_text(), re.M)
    assert row is not None
    return float(row[1]) / 100


@pytest.mark.slow
def test_the_captions_are_as_right_as_the_card_says(writer: vx.Model) -> None:
    found = card.shares(card.write_captions(writer, 60))
    for what, one in found.items():
        near = 4 * max(stated(what) * (1 - stated(what)) / one.count, 1e-4) ** 0.5
        assert one.mean == pytest.approx(stated(what), abs=near), what


@pytest.mark.slow
def test_words_for_objects_light_their_objects(writer: vx.Model) -> None:
    """On pictures that training did not show: far more of a noun's relevance lies on its object
    than of random values.
    """
    found = card.ground(writer, 2)
    assert found.method.mean > 2 * found.random.mean
    assert found.method.mean > 3 * found.area


@pytest.mark.slow
def test_planted_objects_are_marked_and_true_ones_are_not(writer: vx.Model) -> None:
    found = card.flag(writer, 10)
    assert found.recall.mean > 0.8
    assert found.spared.mean > 0.8


def test_what_is_planted_is_not_in_the_picture() -> None:
    rng = random.Random(1)
    for number, scene in enumerate(SCENES[:40]):
        example = vx.Example(np.zeros((4, 4, 3), np.uint8), answer=scene.text, id=str(number))
        text, (start, end) = card.plant(example, rng)
        verdict = judge(read_caption(text), scene.items)
        assert verdict.nouns.count(False) == 1
        wrong = read_caption(text).things[verdict.nouns.index(False)]
        assert wrong.end == end
        assert text[start:end] == text[wrong.start : wrong.end].split()[-1]
        assert not re.search(r"\ba [aeiou]|\ban [^aeiou]", text), text


def test_a_picture_alone_is_described_as_transformers_does(writer: vx.Model) -> None:
    network = LlavaForConditionalGeneration.from_pretrained(FOLDER).eval()
    processor = LlavaProcessor.from_pretrained(FOLDER)
    example = Everyday("captions", 1)[0]
    given = processor(text="<image>", images=Image.fromarray(example.image), return_tensors="pt")
    with torch.no_grad():
        ids = network.generate(**given, do_sample=False)[0, given["input_ids"].shape[1] :]
    text = processor.tokenizer.decode(ids, skip_special_tokens=True)
    assert vx.answer(writer, example.image) == text
    why = vx.explain(
        writer, replace(example, answer=None, mentions=()), method="saliency", target="sentence"
    )
    assert [part.name for part in why.parts] == ["image"]
    assert " ".join(row.target for row in why.outputs).replace(" ,", ",") == text
