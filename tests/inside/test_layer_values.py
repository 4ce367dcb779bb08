"""`vx.layers`: conductance of all blocks in one pass, early answers, and states exchanged, by hand."""

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from families import example_for
from matplotlib import style
from matplotlib.text import Text
from networks import QUESTION, convolutions, photo, reader
from PIL import Image
from text_checkpoints import text_checkpoint
from torch import Tensor

import vqa_explain as vx
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell.app import app


@pytest.fixture(scope="module")
def scene() -> vx.Example:
    """A question whose answer is read off the picture."""
    found: vx.Example = vx.load_dataset("scenes:test")[0]
    return found


@pytest.fixture(scope="module")
def found(scenes_model: ViltModel, scene: vx.Example) -> vx.Layers:
    return vx.layers(scenes_model, scene, steps=16)


def states_of(model: ViltModel, leaves: dict[str, Tensor], encoded: Any) -> list[Tensor]:
    """What each block gives, by transformers' own hidden states."""
    with torch.no_grad():
        patches = model._patches(leaves["image"])
        seen = torch.ones(patches.shape[:2], dtype=torch.long)
        given = model.module.vilt(
            inputs_embeds=leaves["question"],
            image_embeds=patches,
            pixel_mask=seen,
            output_hidden_states=True,
        )
    return list(given.hidden_states[1:])


def test_each_block_has_the_conductance_that_it_has_alone(
    found: vx.Layers, scenes_model: ViltModel, scene: vx.Example
) -> None:
    """All blocks in one pass of the path, against one layer at a time."""
    encoded = scenes_model.encode(scene)
    words = len(encoded.tokens)
    for number in (0, 3, 5):
        alone = vx.layer_values(scenes_model, scene, layer=found.blocks[number], steps=16)
        by_position = alone.values.sum(axis=1)
        said = [i for i, token in enumerate(encoded.tokens) if token.word >= 0]
        expected = [by_position[words + 1 :].sum(), by_position[said].sum()]
        expected.append(by_position.sum() - sum(expected))
        np.testing.assert_allclose(found.conductance[number], expected, atol=1e-5)
    assert found.groups == ("image", "question", "readout")
    assert (found.gaps < 0.05 * abs(found.change)).all()
    # One pass of 17 points; the example and its baselines, the early answers and the exchanges.
    assert found.cost.backwards == 17
    assert found.cost.forwards <= 17 + 1 + 1 + 1 + 1 + 2 + 6 * 3 + 1


def test_the_map_of_each_block_has_the_conductance_of_its_words_and_patches(
    found: vx.Layers, scenes_model: ViltModel, scene: vx.Example
) -> None:
    """Captum's own class agrees with `layer_values`: see test_layer_methods.py."""
    encoded = scenes_model.encode(scene)
    words = len(encoded.tokens)
    for number in (1, 4):
        alone = vx.layer_values(scenes_model, scene, layer=found.blocks[number], steps=16)
        by_position = alone.values.sum(axis=1)
        why = found.maps[number]
        patches = [region.value for region in why.regions]
        np.testing.assert_allclose(patches, by_position[words + 1 :], atol=1e-5)
        for index, word in enumerate(why.words):
            own = [i for i, token in enumerate(encoded.tokens) if token.word == index]
            assert word.value == pytest.approx(by_position[own].sum(), abs=1e-5)
        seen = sum(patches) + sum(word.value for word in why.words)
        assert why.error == pytest.approx(abs(found.change - seen), abs=1e-4)
        assert float(why.error or 0) > 1  # what the readout holds is no word's and no region's


def test_the_change_is_that_of_the_score(
    found: vx.Layers, scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    fills = {one.name: one.feature.default_fill for one in encoded.inputs}
    with torch.no_grad():
        here = scenes_model.scores(encoded, scenes_model.leaves(encoded))
        there = scenes_model.scores(encoded, scenes_model.baselines(encoded, fills, 0))
    expected = (here - there)[0, found.answer.index]
    assert found.change == pytest.approx(float(expected), abs=1e-4)
    assert found.conductance.sum(axis=1) == pytest.approx(found.change, rel=0.05)


def test_early_answers_are_those_of_the_networks_own_head(
    found: vx.Layers, scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    network = scenes_model.module
    for states, early in zip(
        states_of(scenes_model, scenes_model.leaves(encoded), encoded), found.early, strict=True
    ):
        with torch.no_grad():
            read = network.vilt.pooler(network.vilt.layernorm(states))
            likely = network.classifier(read).softmax(-1)[0]
        assert early.index == int(likely.argmax())
        assert early.probability == pytest.approx(float(likely.max()), abs=1e-5)
    assert found.early[-1].text == found.answer.text
    assert found.early[found.decided()].text == found.answer.text


def test_answers_without_the_picture_are_those_of_exchanged_states(
    found: vx.Layers, scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    network, leaves = scenes_model.module, scenes_model.leaves(encoded)
    fills = {one.name: one.feature.default_fill for one in encoded.inputs}
    blank = scenes_model.baselines(encoded, fills, 0)["image"]
    own, other = (
        states_of(scenes_model, one, encoded) for one in (leaves, {**leaves, "image": blank})
    )
    first = len(encoded.tokens) + 1
    for number in (1, 4):
        states = own[number].clone()
        states[:, first:] = other[number][:, first:]
        with torch.no_grad():
            for block in network.vilt.encoder.layer[number + 1 :]:
                given = block(states)
                states = given[0] if isinstance(given, tuple) else given
            read = network.vilt.pooler(network.vilt.layernorm(states))
            scores = network.classifier(read)[0]
        assert found.without["image"][number].index == int(scores.argmax())
        whole = float(scenes_model.scores(encoded, leaves)[0, found.answer.index].detach())
        lost = whole - float(scores[found.answer.index])
        assert found.lost["image"][number] == pytest.approx(lost, abs=1e-4)
    # The last block hands on its first token alone.
    assert found.lost["image"][-1] == pytest.approx(0, abs=1e-5)
    assert found.without["image"][0].index != found.answer.index


def test_what_is_settled_is_so_in_every_later_block(found: vx.Layers) -> None:
    for name, answers in found.without.items():
        behind = found.settled(name)
        same = [one.index == found.answer.index for one in answers]
        assert behind is not None
        assert all(same[behind:])
        assert behind == 0 or not same[behind - 1]
    with pytest.raises(vx.InvalidInput, match="unknown input 'picture'"):
        found.settled("picture")


def test_the_table_is_written(found: vx.Layers, tmp_path: Path) -> None:
    with found.to_csv(tmp_path / "layers.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert float(rows[2]["image"]) == found.conductance[2, 0]
    assert rows[1]["early answer"] == found.early[1].text
    assert [row["without image"] for row in rows] == [one.text for one in found.without["image"]]
    assert found.summary()["blocks"] == found.table()
    assert "no longer changes the answer behind block" in repr(found)


@pytest.mark.parametrize("width", [3.2, 7.2])
@pytest.mark.parametrize("ground", ["default", "dark_background"])
def test_the_figure_says_it_and_keeps_within_its_paper(
    found: vx.Layers, width: float, ground: str, tmp_path: Path
) -> None:
    with style.context(ground):
        figure = found.plot(width=width)
        figure.draw_without_rendering()
        paper = figure.bbox
        texts = [text for text in figure.findobj(Text) if text.get_text()]
        for text in texts:
            box = text.get_window_extent()
            assert box.x0 >= paper.x0 - 1, text.get_text()
            assert box.x1 <= paper.x1 + 1, text.get_text()
        assert found.plot(tmp_path / "layers.png", width=width).stat().st_size > 5000
    said = " ".join(text.get_text() for text in texts)
    assert "early answer" in " ".join(said.split())
    assert found.answer.text in said
    with pytest.raises(vx.InvalidInput, match="width must be at least 3 inches"):
        found.plot(width=1)


@pytest.mark.slow
def test_the_shell_shows_it(
    found: vx.Layers, scene: vx.Example, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = tmp_path / "scene.png"
    Image.fromarray(scene.image).save(picture)
    how = ["layers", str(picture), str(scene.question), "--steps", "16"]
    app([*how, "--json", "--out", str(tmp_path / "layers.csv")], result_action="return_value")
    said = json.loads(capsys.readouterr().out)
    assert said["settled"] == {name: found.settled(name) for name in found.without}
    assert (tmp_path / "layers.csv").read_text().startswith("block,layer,image,question,readout")
    app([*how, "--out", str(tmp_path / "layers.png")], result_action="return_value")
    assert "early answer" in capsys.readouterr().out
    assert (tmp_path / "layers.png").stat().st_size > 5000


def test_a_figure_of_many_blocks_writes_each_run_of_an_answer_once(found: vx.Layers) -> None:
    """Whose cells have no room for it."""
    long = replace(found.answer, text="a red mug on the table")
    other = replace(long, text="two dogs", index=long.index + 1)
    early = (other,) * 14 + (long,) * 18
    many = replace(
        found,
        blocks=tuple(f"layer.{number}" for number in range(32)),
        conductance=np.tile(found.conductance[:1], (32, 1)),
        gaps=np.zeros(32),
        early=early,
        without={},
        answer=long,
    )
    figure = many.plot(width=7.2)
    texts = [text.get_text() for text in figure.findobj(Text)]
    assert texts.count("a red mug on the table") == 1
    assert texts.count("two dogs") == 1
    assert not any(text in ("a…", "t…") for text in texts)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "paligemma", "vit"])
@pytest.mark.slow
def test_decoders_and_vision_transformers(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    more: dict[str, Any] = {}
    if model.labels is None:
        more = {"answers": ["yes", "red circle"], "target": "red circle"}
    found = vx.layers(model, example_for(model, noise_picture), steps=24, **more)
    assert found.early[-1].index == found.answer.index
    sizes = np.abs(found.conductance).sum(axis=1)
    assert (found.gaps < 0.05 * sizes + 1e-3).all()
    assert found.groups[0] == "image"
    assert found.groups[-1] == "readout"


@pytest.mark.parametrize("name", ["bert", "gpt2"])
@pytest.mark.slow
def test_text_classifiers(tmp_path: Path, name: str) -> None:
    """Whose blocks are the longest row of layers that are alike."""
    model = vx.load(text_checkpoint(name, tmp_path), device="cpu")
    found = vx.layers(model, None, "what color is it", steps=32)
    assert found.blocks[0].endswith(".0")
    assert found.groups == ("question", "readout")
    assert (found.gaps < 0.05 * np.abs(found.conductance).sum(axis=1) + 1e-3).all()
    assert found.early[-1].index == found.answer.index
    heads = vx.heads(model, None, "what color is it")
    assert heads.blocks == found.blocks
    assert heads.lost.shape[0] == len(found.blocks)


def test_what_has_no_row_of_blocks_is_told(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    with pytest.raises(vx.Unsupported, match="no row of blocks that are alike; name them"):
        vx.layers(convolutions(), photo())
    with pytest.raises(vx.Unsupported, match="no one sequence of positions"):
        vx.layers(convolutions(), photo(), blocks=["first", "second"])
    with pytest.raises(vx.InvalidInput, match="no layer 'frist'; did you mean 'first'"):
        vx.layers(convolutions(), photo(), blocks=["frist"])
    with pytest.raises(vx.InvalidInput, match="named by its path or given as itself, not by int"):
        vx.layers(convolutions(), photo(), blocks=[1])
    with pytest.raises(vx.InvalidInput, match="layers follows an answer"):
        vx.layers(convolutions(), photo(), target=vx.Unit("first", 1))
    with pytest.raises(vx.InvalidInput, match="blocks= is empty"):
        vx.layers(reader(), photo(), QUESTION, blocks=[])
    with pytest.raises(vx.InvalidInput, match="steps must be a whole number from 2"):
        vx.layers(convolutions(), photo(), steps=1)
    assert not any(part._forward_hooks for part in convolutions().module.modules())
