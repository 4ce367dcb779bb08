"""Heads set to zero, against networks whose weights were set to zero; copied states, by hand."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import example_for
from matplotlib import style
from matplotlib.text import Text
from networks import QUESTION, SIDE, TwoBlocks, convolutions, photo, reader, to_tensor, two_blocks

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel

BLOCKS = ["blocks.0", "blocks.1"]


@pytest.fixture(scope="module")
def scene() -> vx.Example:
    """What color is the large circle?"""
    found: vx.Example = vx.load_dataset("scenes:test")[0]
    return found


@pytest.fixture(scope="module")
def found(scenes_model: ViltModel, scene: vx.Example) -> vx.Heads:
    return vx.heads(scenes_model, scene)


def scores_of_copy(model: Any, encoded: Any, path: str, columns: slice) -> torch.Tensor:
    """Scores with these columns of a matrix at zero, for a while."""
    kept = model.module.get_submodule(path).weight
    own = kept.detach().clone()
    try:
        with torch.no_grad():
            kept[:, columns] = 0
            found: torch.Tensor = model.scores(encoded, model.leaves(encoded))
            return found
    finally:
        with torch.no_grad():
            kept.copy_(own)


def test_a_head_at_zero_is_its_part_of_the_projection_at_zero(
    found: vx.Heads, scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    with torch.no_grad():
        whole = scenes_model.scores(encoded, scenes_model.leaves(encoded))[0, found.answer.index]
    assert found.whole == pytest.approx(float(whole), abs=1e-4)
    assert found.lost.shape == (6, 4)
    for block in range(6):
        for head in range(4):
            columns = slice(head * 32, head * 32 + 32)
            path = f"{found.blocks[block]}.attention.output.dense"
            scores = scores_of_copy(scenes_model, encoded, path, columns)
            lost = float(whole - scores[0, found.answer.index])
            assert found.lost[block, head] == pytest.approx(lost, abs=1e-4)
            assert found.becomes[block][head].index == int(scores.argmax())
    assert found.cost.forwards == 27


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "vit"])
@pytest.mark.slow
def test_heads_of_other_networks(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    """Answers of several tokens, whose later tokens run in passes of their own."""
    model = models(family)
    how: dict[str, Any] = {}
    if model.labels is None:
        how = {"answers": ["yes", "red circle"], "target": "red circle"}
    example = example_for(model, noise_picture)
    found = vx.heads(model, example, **how)
    encoded = model.encode(example)
    index = found.answer.index
    if model.labels is None:
        encoded, index = model.with_answers(encoded, how["answers"]), 1
    joins = {"llava": "self_attn.o_proj", "qwen2_vl": "self_attn.o_proj"}
    path = f"{found.blocks[1]}.{joins.get(family, 'attention.o_proj')}"
    if family == "vit":
        names = dict(model.module.named_modules())
        path = next(
            one for one in (path, f"{found.blocks[1]}.attention.output.dense") if one in names
        )
    count = found.lost.shape[1]
    wide = model.module.get_submodule(path).in_features // count
    for head in range(count):
        scores = scores_of_copy(model, encoded, path, slice(head * wide, head * wide + wide))
        assert found.lost[1, head] == pytest.approx(found.whole - float(scores[0, index]), abs=1e-4)


def test_heads_look_where_transformers_says(
    found: vx.Heads, scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    with torch.no_grad():
        patches = scenes_model._patches(scenes_model.leaves(encoded)["image"])
        given = scenes_model.module.vilt(
            inputs_embeds=scenes_model.leaves(encoded)["question"],
            image_embeds=patches,
            pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long),
            output_attentions=True,
        )
    read = np.stack([layer[0, :, 0].numpy() for layer in given.attentions])  # from the first token
    said = [i for i, token in enumerate(encoded.tokens) if token.word >= 0]
    expected = np.concatenate(
        [read[..., len(encoded.tokens) + 1 :], read[..., said]], axis=-1
    )  # every word of this question is one token
    assert found.attention is not None
    np.testing.assert_allclose(found.attention, expected, atol=1e-6)


def test_the_largest_losses_are_named(found: vx.Heads, tmp_path: Path) -> None:
    block, head, lost = found.top(1)[0]
    assert abs(lost) == np.abs(found.lost).max() == abs(found.lost[block, head])
    assert len(found) == 24
    with found.to_csv(tmp_path / "heads.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert float(rows[5]["lost"]) == found.lost[1, 1]
    assert f"block {block}, head {head}" in repr(found)
    with pytest.raises(vx.InvalidInput, match="count must be a whole number from 1"):
        found.top(0)


def by_hand(clean: np.ndarray, other: np.ndarray, number: int, positions: slice) -> torch.Tensor:
    """Scores of two blocks with the states of some positions behind one taken from another
    picture.
    """
    net = TwoBlocks().eval()
    with torch.no_grad():
        given = []
        for picture in (clean, other):
            patches = net.look(to_tensor(picture)[None]).flatten(2).transpose(1, 2)
            given.append(torch.cat([net.first, patches], dim=1))
        for at, block in enumerate(net.blocks):
            given = [block(states) for states in given]
            if at == number:
                given[0][:, positions] = given[1][:, positions]
        found: torch.Tensor = net.head(given[0][:, 0])
        return found


def test_copied_states_of_two_blocks_by_hand() -> None:
    model, clean = two_blocks(), photo()
    other = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    found = vx.patch(model, vx.Example(clean), vx.Example(other), target="b", blocks=BLOCKS)
    ends = [
        float(TwoBlocks().eval()(to_tensor(one)[None])[0, 1].detach()) for one in (clean, other)
    ]
    assert found.groups == ("image", "readout")
    for number in range(2):
        for column, positions in enumerate((slice(1, None), slice(0, 1))):
            score = float(by_hand(clean, other, number, positions)[0, 1])
            share = (score - ends[0]) / (ends[1] - ends[0])
            assert found.shares[number, column] == pytest.approx(share, abs=1e-4)
    # The head reads the first token alone.
    np.testing.assert_allclose(found.shares[1], [0, 1], atol=1e-4)
    assert found.difference == pytest.approx(ends[1] - ends[0], abs=1e-6)


def test_copied_states_of_a_word_and_of_the_picture_in_scenes(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path
) -> None:
    """The word that changes what is asked carries all of the difference, then the picture."""
    other = vx.Example(scene.image, "What color is the small circle?")
    found = vx.patch(scenes_model, scene, other)
    network = scenes_model.module
    both = [scenes_model.encode(one) for one in (scene, other)]
    ends, states = [], []
    for encoded in both:
        leaves = scenes_model.leaves(encoded)
        patches = scenes_model._patches(leaves["image"])
        seen = torch.ones(patches.shape[:2], dtype=torch.long)
        with torch.no_grad():
            ends.append(scenes_model.scores(encoded, leaves)[0])
            given = network.vilt(
                inputs_embeds=leaves["question"], image_embeds=patches, pixel_mask=seen,
                output_hidden_states=True,
            )  # fmt: skip
        states.append(given.hidden_states[1:])
    mine, theirs = int(ends[0].argmax()), int(ends[1].argmax())
    assert (found.clean.index, found.other.index) == (mine, theirs)

    def lead(scores: torch.Tensor) -> float:
        return float(scores[mine] - scores[theirs])

    words = len(both[0].tokens)
    column = found.groups.index("large")
    (position,) = (i for i, token in enumerate(both[0].tokens) if token.text == "large")
    for number, at, where in ((1, column, [position]), (3, 0, list(range(words + 1, words + 65)))):
        own = states[0][number].clone()
        own[:, where] = states[1][number][:, where]
        with torch.no_grad():
            for block in network.vilt.encoder.layer[number + 1 :]:
                result = block(own)
                own = result[0] if isinstance(result, tuple) else result
            scores = network.classifier(network.vilt.pooler(network.vilt.layernorm(own)))[0]
        share = (lead(scores) - lead(ends[0])) / (lead(ends[1]) - lead(ends[0]))
        assert found.shares[number, at] == pytest.approx(share, abs=1e-3)
    assert found.shares[-1, -1] == pytest.approx(1, abs=1e-3)
    rows = list(csv.DictReader(found.to_csv(tmp_path / "patch.csv").open()))
    assert len(rows) == found.shares.size
    assert "becomes" in repr(found)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
@pytest.mark.slow
def test_copied_states_of_models_that_write(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    """Nothing of the same example is carried over, and the last prompt position carries a first
    token.
    """
    model = models(family)
    clean = vx.Example(noise_picture, "what color is it?")
    other = vx.Example(255 - noise_picture, "what color is it?")
    found = vx.patch(model, clean, other, answers=["yes", "no"], target="yes", contrast="no")
    assert found.shares[-1, -1] == pytest.approx(1, abs=1e-2)
    assert np.abs(found.shares[-1, :-1]).max() < 1e-3


def test_copied_heads_of_scenes_by_hand(scenes_model: ViltModel, scene: vx.Example) -> None:
    """Against torch's own hooks on the layer that joins the heads."""
    other = vx.Example(scene.image, "What color is the small circle?")
    found = vx.patch(scenes_model, scene, other, of="heads")
    join = scenes_model.module.vilt.encoder.layer[3].attention.output.dense
    encoded = [scenes_model.encode(one) for one in (scene, other)]
    given: list[torch.Tensor] = []

    def run(one: Any, hook: Any) -> torch.Tensor:
        handle = join.register_forward_pre_hook(hook)
        with torch.no_grad():
            scores = scenes_model.scores(one, scenes_model.leaves(one))[0]
        handle.remove()
        lead: torch.Tensor = scores[found.clean.index] - scores[found.other.index]
        return lead

    ends = [run(one, lambda _layer, inputs: given.append(inputs[0].clone())) for one in encoded]
    for head in (0, 3):
        part = slice(head * 32, head * 32 + 32)

        def copied(_layer: Any, inputs: Any, part: slice = part) -> Any:
            states = inputs[0].clone()
            states[..., part] = given[1][..., part]
            return (states,)

        share = (run(encoded[0], copied) - ends[0]) / (ends[1] - ends[0])
        assert found.shares[3, head] == pytest.approx(float(share), abs=1e-4)
    assert found.groups == ("head 0", "head 1", "head 2", "head 3")
    with pytest.raises(vx.InvalidInput, match=r"unknown kind of states: of= 'neurons'"):
        vx.patch(scenes_model, scene, other, of="neurons")  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [3.2, 7.2])
@pytest.mark.parametrize("ground", ["default", "dark_background"])
def test_figures_keep_within_their_paper(
    found: vx.Heads, width: float, ground: str, tmp_path: Path
) -> None:
    other = np.random.default_rng(5).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    copied = vx.patch(two_blocks(), vx.Example(photo()), vx.Example(other), blocks=BLOCKS)
    for one, said in ((found, "lost without each head"), (copied, "by copied states")):
        with style.context(ground):
            figure = one.plot(width=width)
            figure.draw_without_rendering()
            texts = [text for text in figure.findobj(Text) if text.get_text()]
            for text in texts:
                box = text.get_window_extent()
                assert box.x0 >= figure.bbox.x0 - 1, text.get_text()
                assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
            assert one.plot(tmp_path / "figure.png", width=width).stat().st_size > 3000
        assert said in " ".join(text.get_text() for text in texts)
        with pytest.raises(vx.InvalidInput, match="width must be at least 3"):
            one.plot(width=2)


def test_examples_that_do_not_align_are_told(scenes_model: ViltModel, scene: vx.Example) -> None:
    longer = vx.Example(scene.image, "What color is the large circle there?")
    with pytest.raises(vx.InvalidInput, match=r"input 'question' has elements .* do not align"):
        vx.patch(scenes_model, scene, longer)
    with pytest.raises(vx.InvalidInput, match="is the same for both examples"):
        vx.patch(scenes_model, scene, scene)
    with pytest.raises(vx.InvalidInput, match=r"are examples.*not ndarray"):
        vx.patch(scenes_model, scene.image, scene)
    with pytest.raises(vx.InvalidInput, match="patch compares scores of answers"):
        vx.patch(scenes_model, scene, longer, target=vx.Unit("vilt.layernorm", 0))


def test_networks_without_heads_are_told() -> None:
    with pytest.raises(vx.Unsupported, match="no attention whose heads can be told apart"):
        vx.heads(two_blocks(), photo(), blocks=BLOCKS)
    with pytest.raises(vx.Unsupported, match="no row of blocks that are alike"):
        vx.heads(reader(), photo(), QUESTION)
    with pytest.raises(vx.Unsupported, match="no one sequence of positions"):
        vx.patch(convolutions(), vx.Example(photo()), vx.Example(photo()), blocks=["first"])
    for model in (two_blocks(), reader(), convolutions()):
        assert not any(
            part._forward_hooks or part._forward_pre_hooks for part in model.module.modules()
        )
