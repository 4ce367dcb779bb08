"""Inputs of unusual names, orders and kinds,
against closed forms and plain calls of the network.
"""

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ToTensor
from test_inputs import WORDS, Product, example, product, random_picture
from torch import Tensor, nn
from videos import FRAMES, LinearVideo

import vqa_explain as vx
from vqa_explain.evaluation.stamps import row_stamp

CLIP = np.random.default_rng(2).integers(0, 256, (FRAMES, 4, 4, 3), dtype=np.uint8)
A, B = random_picture(8, 8, 1), random_picture(6, 12, 2)


def explained(model: Any, asked: Any, **settings: Any) -> vx.Explanation:
    why: vx.Explanation = vx.explain(model, asked, **{"method": "shapley", **settings})
    return why


def clip() -> vx.Example:
    return vx.Example.of({"clip": CLIP})


# Blocks


@pytest.mark.parametrize("index", ["shapley", "banzhaf", "fsii"])
def test_a_block_is_paired_with_other_blocks_and_never_with_itself(index: str) -> None:
    """Frames 1 and 2 multiply: in blocks of one frame that is a pair,
    in blocks of two it is inside a block.
    """
    model = LinearVideo(product=3.0)
    settings: dict[str, Any] = {"method": "interactions", "index": index}
    apart = vx.explain(model, clip(), regions=vx.Blocks(1, 1), **settings)
    expected = 3.0 * (CLIP[0] / 255).mean() * (CLIP[1] / 255).mean()
    assert [len(apart.joint), len(apart.pairs)] == [6, 6]
    assert apart.joint[0].values[0, 0] == pytest.approx(expected, rel=1e-4)
    together = vx.explain(model, clip(), regions=vx.Blocks(2, 1), **settings)
    (one,) = together.joint
    assert (one.first, one.second) == ("clip frame 3", "clip frame 1")
    assert one.values[0, 0] == pytest.approx(0, abs=1e-4)


def test_one_block_of_all_frames_has_nothing_to_be_paired_with() -> None:
    with pytest.raises(vx.Unsupported, match="players in one only"):
        vx.explain(LinearVideo(), clip(), method="interactions", regions=vx.Blocks(FRAMES, 1))


def test_blocks_span_frames_in_a_row_fixed_ones_too() -> None:
    """Frames 1 and 3 are in different blocks of two, so they share no player."""
    model, frames = LinearVideo(), ["clip frame 1", "clip frame 3"]
    blocks = explained(model, clip(), regions=vx.Blocks(2, 1), players=frames)
    alone = explained(model, clip(), regions=1, players=frames)
    for name in frames:
        np.testing.assert_allclose(blocks[name].values, alone[name].values, atol=1e-6)


def test_blocks_of_regions_that_lie_elsewhere_in_each_frame_are_refused() -> None:
    model = LinearVideo()
    turned = np.stack([np.arange(16).reshape(4, 4) // 8, np.arange(16).reshape(4, 4) % 4 // 2])
    regions = {f"clip frame {n + 1}": vx.Blocks(2, turned[n % 2]) for n in range(FRAMES)}
    with pytest.raises(vx.InvalidInput, match="'clip frame 2' is divided in another way"):
        explained(model, clip(), regions=regions)


@pytest.mark.parametrize("frames", [True, "2", None, 2.0])
def test_a_block_spans_a_whole_number_of_frames(frames: Any) -> None:
    with pytest.raises(vx.InvalidInput, match="a whole number of them"):
        explained(LinearVideo(), clip(), regions=vx.Blocks(frames, 1))


def test_a_video_is_divided_and_filled_by_its_name() -> None:
    model = LinearVideo()
    two: Any = np.int64(2)
    by_name = explained(
        model, clip(), regions={"clip": vx.Blocks(two, 1)}, fills={"clip": "constant"}
    )
    plain = explained(model, clip(), regions=vx.Blocks(2, 1))
    assert [p.values for p in by_name.parts] == [p.values for p in plain.parts]


# Names


class TwoPictures(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 2)
        nn.init.constant_(self.words.weight, 0.5)

    def forward(self, one: Tensor, other: Tensor, tokens: Tensor) -> Tensor:
        said: Tensor = self.words(tokens).sum(dim=1)
        return said * (one.mean((1, 2, 3)) - 2 * other.mean((1, 2, 3)))[:, None]


@pytest.mark.parametrize(
    "names",
    [
        ("image", "photo", "question"),
        ("text", "image", "note"),
        ("question", "text", "image"),
        ("写真", "table", "質問 🙂"),
    ],
)
def test_names_that_are_kinds_mean_the_input_of_that_name(names: tuple[str, str, str]) -> None:
    """`regions` of the first picture alone; the other is divided as usual,
    and the text by its words.
    """
    specs = (vx.Image(ToTensor()), vx.Image(ToTensor()), vx.Text(WORDS))
    inputs: Any = dict(zip(names, specs, strict=True))
    model = vx.CustomModel(TwoPictures(), inputs=inputs, labels=["x", "y"], device="cpu")
    asked = vx.Example.of(dict(zip(names, (A, B, "old red"), strict=True)))
    settings: dict[str, Any] = {"method": "leave_one_out", "target": "x"}
    usual = vx.explain(model, asked, **settings)
    some = vx.explain(model, asked, regions={names[0]: 1}, **settings)
    assert [len(part.values) for part in some.parts] == [1, len(usual.parts[1].values), 2]
    both = vx.explain(model, asked, regions=2, **settings)
    assert [len(part.values) for part in both.parts] == [4, 4, 2]


@pytest.mark.parametrize("turned", [False, True])
def test_what_is_asked_of_one_input_comes_before_what_is_asked_of_its_kind(turned: bool) -> None:
    asked: dict[str, Any] = {"clip frame 2": 2, "clip": 1}
    asked = dict(reversed(asked.items())) if turned else asked
    why = explained(LinearVideo(), clip(), regions=asked)
    assert [len(part.values) for part in why.parts] == [1, 4, 1, 1]


class Sums(nn.Module):
    """The sum of all numbers, and the same below zero; of words, of their two embedded numbers."""

    def __init__(self, *, words: bool = False) -> None:
        super().__init__()
        if words:
            self.words = nn.Embedding.from_pretrained(torch.arange(12.0).reshape(6, 2))

    def forward(self, given: Tensor) -> Tensor:
        if hasattr(self, "words"):
            said: Tensor = self.words(given).sum(dim=1)
            return said
        total = given.flatten(1).sum(dim=1)
        return torch.stack([total, -total], dim=1)


@pytest.mark.parametrize(
    ("name", "spec", "value", "expected"),
    [
        ("question", vx.Table(["a"], baseline=0), {"a": 3}, [3.0]),
        ("image", vx.Table(["a"], baseline=0), {"a": 3}, [3.0]),
        ("image", vx.Text(WORDS), "old red", [4.0, 10.0]),
    ],
)
def test_an_input_of_any_kind_may_be_called_image_or_question(
    name: str, spec: Any, value: Any, expected: list[float]
) -> None:
    network = Sums(words=isinstance(spec, vx.Text))
    model = vx.CustomModel(network, inputs={name: spec}, labels=["x", "y"], device="cpu")
    why = explained(model, vx.Example.of({name: value}), target="x")
    assert why.parts[0].name == name
    np.testing.assert_allclose(why.parts[0].values, expected, atol=1e-5)


def test_a_picture_may_be_called_question() -> None:
    """A white corner on black, filled with the mean: the corner adds what is above the mean,
    12 · (1 − 1/4).
    """
    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = 255
    inputs: Any = {"question": vx.Image(ToTensor())}
    model = vx.CustomModel(Sums(), inputs=inputs, labels=["x", "y"], device="cpu")
    asked = vx.Example.of({"question": picture})
    why = explained(model, asked, target="x", regions=2, image_fill="mean")
    assert why.parts[0].name == "question"
    np.testing.assert_allclose(why.parts[0].values, [9, -3, -3, -3], atol=1e-5)


@pytest.mark.parametrize("inputs", [{1: A}, {"": A}, {None: A}, {" ": "what?"}, [A]])
def test_inputs_without_names_are_refused(inputs: Any) -> None:
    with pytest.raises(vx.InvalidInput, match=r"named by text|given by name"):
        vx.Example(inputs=inputs)


# Tables


def test_a_number_beyond_all_floats_is_refused() -> None:
    with pytest.raises(vx.InvalidInput, match=r"'age' .* must hold a finite number"):
        explained(product(), example(A, {"age": 10**400, "smokes": 0}))


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (pd.Series([1.0, 2.0, 3.0], index=["age", "smokes", "age"]), "has a column twice"),
        (pd.DataFrame({"age": [1.0], "smokes": [0]}), r"one of its rows, such as frame\.iloc"),
    ],
)
def test_rows_of_pandas_that_are_no_single_row(row: Any, message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        explained(product(), example(A, row))


def test_a_category_is_a_single_value() -> None:
    table = vx.Table(["age", "smokes"], baseline=0, categories=None)
    kinds = replace(table, baseline={"age": 1, "smokes": 0}, categories={"age": [1, 2]})
    inputs: Any = {"photo": vx.Image(ToTensor()), "patient": kinds}
    model = vx.CustomModel(Product(), inputs=inputs, labels=["ill", "well"], device="cpu")
    with pytest.raises(vx.InvalidInput, match="unknown category in column 'age'"):
        explained(model, example(A, {"age": np.array([1, 2]), "smokes": 0}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: vx.Table(["a"], baseline={"a": 1}, categories={"a": [1, 1]}), "1 twice"),
        (lambda: vx.Table(["a"], baseline={"a": 1}, categories=["a"]), "categories= is a mapping"),  # type: ignore[arg-type]
        (lambda: vx.Table(["a"], baseline=10**400), "'a' of the baseline holds"),
        (
            lambda: vx.Table(["a"], background=pd.DataFrame([[1, 2]], columns=["a", "a"])),
            "background set has a column twice",
        ),
    ],
)
def test_tables_that_cannot_be(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        make()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"columns": [1]}, "a player of 'patient' is a column, or a list of columns, not '1'"),
        ({"columns": [[], ["age"]]}, "a player of 'patient' is a column"),
        ({"players": 3}, "3 is no list of names"),
        ({"players": [3]}, "unknown input in players '3'"),
    ],
)
def test_players_that_cannot_be(settings: Any, message: str) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        explained(product(), example(A), **settings)


# Rows of a run


def turn(role: str, *texts: str, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": [{"type": "text", "text": one} for one in texts], **more}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        # The same pictures under each other's names, and a question between two pictures or behind
        # them.
        ({"inputs": {"left": A, "right": B}}, {"inputs": {"right": A, "left": B}}),
        ({"inputs": {"a": A, "q": "?", "b": B}}, {"inputs": {"a": A, "b": B, "q": "?"}}),
        # The same texts in other turns, and another speaker.
        (
            {"messages": [turn("user", "a"), turn("user", "b"), turn("user", "c")]},
            {"messages": [turn("user", "a", "b"), turn("user", "c")]},
        ),
        ({"messages": [turn("user", "a")]}, {"messages": [turn("user", "a", name="Ada")]}),
    ],
)
def test_rows_of_the_same_inputs_otherwise_arranged_are_other_rows(one: Any, other: Any) -> None:
    assert row_stamp(vx.Example(**one)) == row_stamp(vx.Example(**one))
    assert row_stamp(vx.Example(**one)) != row_stamp(vx.Example(**other))


# Numbers, columns and pictures as people hold them


@pytest.mark.parametrize(
    "number",
    [4, 4.0, np.float32(4), np.array(4), torch.tensor(4.0), torch.tensor(4), Decimal("4"), True],
    ids=repr,
)
def test_a_number_of_a_table_may_be_of_any_type(number: Any) -> None:
    class Sum(nn.Module):
        def forward(self, row: Tensor) -> Tensor:
            return row.sum(1, keepdim=True)

    columns: Any = ["a", "b"]
    model: Any = vx.CustomModel(
        Sum(), inputs={"row": vx.Table(columns, baseline=0)}, labels=["y"], outputs="real"
    )
    why = vx.explain(model, vx.Example.of({"row": {"a": number, "b": 1}}), method="leave_one_out")
    assert [one.value for one in why.columns] == pytest.approx([float(number), 1.0])
    with pytest.raises(vx.InvalidInput, match="columns of 'row' is empty"):
        vx.explain(
            model, vx.Example.of({"row": {"a": 1, "b": 1}}), method="leave_one_out", columns=[]
        )


@pytest.mark.parametrize("address", ["http://a.test/b.png", "HTTPS://a.test/b", "s3://b/c.png"])
def test_an_address_is_no_path(address: str) -> None:
    with pytest.raises(vx.InvalidInput, match="is an address, and nothing is fetched"):
        vx.explain(vx.load("scenes", device="cpu"), address, "What color is it?")


def test_a_transform_that_cannot_be_called_is_told_at_once() -> None:
    with pytest.raises(vx.InvalidInput, match="Image takes a transform"):
        vx.Image(3)
