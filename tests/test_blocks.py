"""Players that span frames of a video: one player in several inputs,
with values known in closed form.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from videos import FRAMES, SIDE, LinearVideo

import vqa_explain as vx
from vqa_explain.examples import Example
from vqa_explain.features.base import Division, named
from vqa_explain.features.image import ImageFeature, Picture
from vqa_explain.game import make_players
from vqa_explain.viewer.whatif import changed


@pytest.fixture
def clip() -> Example:
    frames = np.random.default_rng(2).integers(0, 256, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)
    return Example.of({"clip": frames})


def effects(model: LinearVideo, clip: Example) -> np.ndarray:
    """(F, 2, 2) what each cell of each frame adds over black."""
    frames = torch.from_numpy(np.asarray(clip.given[0].value) / 255).float().permute(0, 3, 1, 2)
    whole = (frames * model.weights).sum(dim=1).numpy()
    cells: np.ndarray = whole.reshape(FRAMES, 2, 2, 2, 2).sum(axis=(2, 4))
    return cells


@pytest.mark.parametrize("span", [1, 2, 3, 4])
@pytest.mark.parametrize("method", ["shapley", "leave_one_out", "integrated_gradients", "owen"])
def test_a_block_has_what_its_cells_add_in_all_its_frames(
    clip: Example, span: int, method: str
) -> None:
    model = LinearVideo()
    blocks = vx.Blocks(frames=span, regions=2)
    why = vx.explain(model, clip, method=method, regions=blocks)
    cells = effects(model, clip)
    assert why.error == pytest.approx(0, abs=1e-4)
    for start in range(0, FRAMES, span):
        some = range(start, min(start + span, FRAMES))
        of_block = cells[list(some)].sum(axis=0).ravel()
        parts = [why[f"clip frame {frame + 1}"].values for frame in some]
        np.testing.assert_allclose(np.sum(parts, axis=0), of_block, atol=1e-4)
        if method != "integrated_gradients":  # a player's value is spread evenly over its frames
            for part in parts:
                np.testing.assert_allclose(part, of_block / len(some), atol=1e-4)
    assert sum(why.share.values()) == pytest.approx(1)


def test_blocks_are_one_player_in_all_their_frames(clip: Example) -> None:
    players = make_players(LinearVideo().encode(clip), {"clip": vx.Blocks(2, 2)})
    assert len(players) == 8
    assert [one.numbers.tolist() for one in players.of.values()] == [
        [0, 1, 2, 3],
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [4, 5, 6, 7],
    ]
    assert [union.tolist() for union in players.unions] == [[0, 1, 2, 3], [4, 5, 6, 7]]
    np.testing.assert_array_equal(players.area, 8)


def test_interactions_of_two_frames_are_those_of_the_product(clip: Example) -> None:
    """Only the means of the first two frames multiply: the pair (i,
    j) has product × its two terms.
    """
    model = LinearVideo(product=3.0)
    why = vx.explain(
        model, clip, method="interactions", regions=1, players=["clip frame 1", "clip frame 2"]
    )
    frames = np.asarray(clip.given[0].value) / 255
    expected = 3.0 * frames[0].mean() * frames[1].mean()
    assert why.error_kind == "exact"
    assert len(why.joint) == 1
    assert why.joint[0].values[0, 0] == pytest.approx(expected, rel=1e-4)
    assert [part.fixed for part in why.parts] == [False, False, True, True]
    assert any("fixed" in note for note in why.notes)


@pytest.mark.parametrize(
    ("blocks", "said"),
    [
        (vx.Blocks(0, 2), "at least 1 frame"),
        (vx.Blocks(frames=1.5, regions=2), "at least 1 frame"),  # type: ignore[arg-type]
    ],
)
def test_blocks_that_cannot_be(clip: Example, blocks: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(LinearVideo(), clip, method="shapley", regions=blocks)


def test_blocks_need_a_video(clip: Example) -> None:
    encoded = LinearVideo().encode(clip)
    alone = replace(encoded, inputs=tuple(replace(one, group="") for one in encoded.inputs))
    with pytest.raises(vx.InvalidInput, match="a picture alone"):
        make_players(alone, {"image": vx.Blocks(2, 2)})


@pytest.mark.parametrize("asked", ["clip", ["clip frame 2"], ["image"], ["clip frame 1", "clip"]])
def test_players_are_named_by_input_group_or_kind(clip: Example, asked: Any) -> None:
    why = vx.explain(LinearVideo(), clip, method="saliency", players=asked)
    free = [part.name for part in why.parts if not part.fixed]
    expected = ["clip frame 2"] if asked == ["clip frame 2"] else [p.name for p in why.parts]
    assert free == expected
    assert all(not part.values for part in why.parts if part.fixed)


@pytest.mark.parametrize("asked", ["clop", ["clip frame 9"], ["question"], []])
def test_players_that_name_no_input(clip: Example, asked: Any) -> None:
    with pytest.raises(vx.InvalidInput, match=r"unknown input in players|no input has players"):
        vx.explain(LinearVideo(), clip, method="saliency", players=asked)


@pytest.mark.parametrize("region", range(4))
@pytest.mark.parametrize("frame", [1, 2, 3, 4])
def test_a_block_that_is_taken_away_leaves_all_its_frames(
    clip: Example, frame: int, region: int
) -> None:
    """As its value says: by definition of leave one out,
    and by a sum over pixels worked by hand.
    """
    model, blocks = LinearVideo(), vx.Blocks(frames=2, regions=2)
    why = vx.explain(model, clip, method="leave_one_out", regions=blocks)
    found = changed(model, clip, why, {f"clip frame {frame}": [region]}, {"image": blocks})
    some = [0, 1] if frame <= 2 else [2, 3]
    expected = effects(model, clip)[some].sum(axis=0).ravel()[region]
    assert found["change"] == pytest.approx(-expected, abs=1e-4)
    assert found["predicted"] == pytest.approx(found["change"], abs=1e-4)


def test_a_division_by_name_is_of_that_input_alone(clip: Example) -> None:
    """An input may have the name of its kind, and others of that kind stay as they are."""
    encoded = LinearVideo().encode(clip)
    first, *others = encoded.inputs
    renamed = replace(first, feature=named(first.feature, "image"))
    players = make_players(replace(encoded, inputs=(renamed, *others)), {"image": 1})
    assert [one.division.count for one in players.of.values()] == [1, 4, 4, 4]


@pytest.mark.parametrize("last", ["clip frame 3", "clip", "image"])
def test_the_nearer_name_counts_whatever_the_order(clip: Example, last: str) -> None:
    asked = {"image": 1, "clip": 4, "clip frame 3": 2}
    asked = {**{key: value for key, value in asked.items() if key != last}, last: asked[last]}
    why = vx.explain(LinearVideo(), clip, method="leave_one_out", regions=asked)
    assert [len(part.values) for part in why.parts] == [16, 16, 4, 16]


def test_a_group_can_be_divided_by_its_name(clip: Example) -> None:
    why = vx.explain(LinearVideo(), clip, method="leave_one_out", regions={"clip": vx.Blocks(4, 1)})
    total = effects(LinearVideo(), clip).sum()
    assert sum(sum(part.values) for part in why.parts) == pytest.approx(total, rel=1e-4)


def test_interactions_leave_out_a_block_with_itself(clip: Example) -> None:
    """Without a product nothing is joint, so every pair that is told is 0."""
    model = LinearVideo()
    why = vx.explain(model, clip, method="interactions", regions=vx.Blocks(2, 1))
    told = {(one.first, one.second) for one in why.joint}
    assert told == {("clip frame 3", "clip frame 1")}  # a block stands once, under its first frame
    for one in why.joint:
        np.testing.assert_allclose(one.values, 0, atol=1e-4)


def test_frames_of_a_block_must_be_divided_in_the_same_places(clip: Example) -> None:
    """Two masks a frame, in other places of each: their number alone does not make them blocks."""

    class Shifting(ImageFeature):
        def divide(self, content: Picture, asked: Any) -> Any:
            number = next(frames)
            return Division(
                np.roll(np.repeat([[0, 1]], SIDE * SIDE // 2).reshape(SIDE, SIDE), number), 2
            )

    frames = iter(range(FRAMES))
    encoded = LinearVideo().encode(clip)
    inputs = tuple(replace(one, feature=Shifting(one.name)) for one in encoded.inputs)
    with pytest.raises(vx.InvalidInput, match="divided alike"):
        make_players(replace(encoded, inputs=inputs), {"clip": vx.Blocks(2, 2)})
