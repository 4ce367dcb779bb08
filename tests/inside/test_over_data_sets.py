"""Parts exchanged between examples, against Captum's and by hand; and the examples that drive a
unit.
"""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import captum.attr
import numpy as np
import pytest
import torch
from families import example_for
from matplotlib.text import Text
from networks import SIDE, Convolutions, convolutions, photo, reader, to_tensor
from torch import nn

import vqa_explain as vx
from vqa_explain.inside.permuting import drawn_permutations
from vqa_explain.models.vilt import ViltModel

COUNT = 5


def pictures(count: int = COUNT) -> np.ndarray:
    shape = (count, SIDE, SIDE, 3)
    return np.random.default_rng(9).integers(0, 256, shape, dtype=np.uint8)


def rows() -> list[vx.Example]:
    return [vx.Example(one) for one in pictures()]


def batch() -> torch.Tensor:
    return torch.stack([to_tensor(one) for one in pictures()])


def cells(side: int) -> torch.Tensor:
    """(SIDE, SIDE) the number of each pixel's cell."""
    step = SIDE // side
    numbers = torch.arange(side * side).reshape(side, side)
    return numbers.repeat_interleave(step, 0).repeat_interleave(step, 1)


@pytest.mark.each
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("side", [2, 4])
def test_exchanged_cells_equal_captums_permutations(side: int, seed: int) -> None:
    repeats = 3
    draws = drawn_permutations(COUNT, side * side, repeats, seed)
    expected = np.zeros((repeats, COUNT, side * side))
    for repeat in range(repeats):
        waiting = iter(draws[repeat])

        def exchanged(x: torch.Tensor, mask: torch.Tensor, waiting: Any = waiting) -> torch.Tensor:
            return torch.where(mask, x[torch.from_numpy(next(waiting))], x)

        theirs = captum.attr.FeaturePermutation(Convolutions().eval(), exchanged).attribute(
            batch(), target=1, feature_mask=cells(side)[None, None]
        )
        step = SIDE // side
        expected[repeat] = theirs[:, 0, ::step, ::step].flatten(1).detach().numpy()
    found = vx.feature_permutation(
        convolutions(), rows(), target="b", parts={"image": side}, repeats=repeats, seed=seed
    )
    np.testing.assert_allclose(found.by_example, expected.mean(axis=0), atol=1e-6)
    means = expected.mean(axis=1)
    np.testing.assert_allclose(found.lost, means.mean(axis=0), atol=1e-6)
    errors = means.std(axis=0, ddof=1) / np.sqrt(repeats)
    np.testing.assert_allclose(found.errors, errors, atol=1e-6)
    assert found.parts[side] == ("image", "row 2, column 1")
    assert found.cost.forwards == COUNT * (1 + repeats * side * side)


def test_words_at_one_place_are_exchanged() -> None:
    """Against questions written out; a place behind a question's end gains or loses a word."""
    model = reader()
    asked = ["what color is it", "is it", "color it is"]
    own = [vx.Example(photo(), one) for one in asked]
    found = vx.feature_permutation(
        model, own, target="a", parts={"image": "whole"}, repeats=4, seed=2
    )
    names = [text for name, text in found.parts if name == "question"]
    assert names == ["word 1", "word 2", "word 3", "word 4"]
    draws = drawn_permutations(3, 5, 4, 2)

    def score(question: str) -> float:
        encoded = model.encode(vx.Example(photo(), question))
        with torch.no_grad():
            return float(model.scores(encoded, model.leaves(encoded))[0, 0])

    for place in range(4):
        column = found.parts.index(("question", f"word {place + 1}"))
        for number, question in enumerate(asked):
            losses = []
            for repeat in range(4):
                words, other = question.split(), asked[draws[repeat, column, number]].split()
                changed = [*words[:place], *other[place : place + 1], *words[place + 1 :]]
                losses.append(score(question) - score(" ".join(changed)))
            assert found.by_example[number, column] == pytest.approx(np.mean(losses), abs=1e-6)
    image = found.parts.index(("image", "whole"))
    assert np.abs(found.by_example[:, image]).max() < 1e-6  # one picture for all


def test_columns_of_a_linear_table_lose_what_they_differ_by() -> None:
    """Of f = w · x, exchanging column c loses w_c (x_ic − x_jc)."""
    network = nn.Linear(3, 2)
    names = ["a", "b", "c"]
    model = vx.CustomModel(
        network, inputs={"row": vx.Table(names, baseline=0)}, labels=["x", "y"], device="cpu"
    )
    table = np.random.default_rng(0).normal(size=(6, 3))
    own = [vx.Example.of({"row": dict(zip(names, one.tolist(), strict=True))}) for one in table]
    found = vx.feature_permutation(model, own, target="y", repeats=3, seed=1)
    assert [text for _, text in found.parts] == names
    draws = drawn_permutations(6, 3, 3, 1)
    weights = network.weight[1].detach().numpy()
    for column in range(3):
        moved = table[:, column] - table[draws[:, column], column]
        np.testing.assert_allclose(
            found.by_example[:, column], weights[column] * moved.mean(axis=0), atol=1e-5
        )


def test_a_part_that_decides_changes_the_answer(scenes_model: ViltModel, tmp_path: Path) -> None:
    """Whole pictures and whole questions; against true answers; and as a figure and a table."""
    found = vx.feature_permutation(
        scenes_model, "scenes:test", limit=6, of="truth", repeats=3,
        parts={"image": "whole", "question": "whole"},
    )  # fmt: skip
    data = vx.load_dataset("scenes:test")
    assert found.targets == tuple(data[number].answer for number in range(6))
    assert (found.changed > 0.3).all()
    assert (found.lost > 0).all()
    with found.to_csv(tmp_path / "parts.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["part"] for row in table] == ["whole", "whole"]
    assert float(table[0]["lost"]) == found.lost[0]
    assert "the answer changes in" in repr(found)
    figure = found.plot(tmp_path / "parts.png")
    assert figure.stat().st_size > 3000
    with pytest.raises(vx.InvalidInput, match="width must be at least 3"):
        found.plot(width=1)


@pytest.mark.parametrize("family", ["vilt", "llava", "resnet", "clip"])
@pytest.mark.slow
def test_families_exchange_pictures_and_words(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    one = example_for(model, noise_picture)
    other = example_for(model, 255 - noise_picture)
    found = vx.feature_permutation(model, [one, other], repeats=2, parts={"image": 2})
    pictures = [number for number, (name, _) in enumerate(found.parts) if name == "image"]
    assert np.abs(found.lost[pictures]).max() > 0
    # Both questions are one, so that its words tell nothing.
    assert np.abs(np.delete(found.lost, pictures)).max(initial=0) < 1e-4


@pytest.mark.each
@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"examples": []}, "needs at least 2 examples, and there are 0"),
        ({"limit": 1}, "limit must be a whole number from 2"),
        ({"repeats": 1}, "repeats must be a whole number from 2"),
        ({"examples": [photo(), photo()]}, "number 0 is a ndarray"),
        ({"parts": {"picture": 2}}, "unknown input in parts 'picture'"),
        ({"of": "luck"}, "unknown kind of answers: of= 'luck'"),
        ({"of": "truth"}, "example 0 has no true answer"),
    ],
)
def test_what_cannot_be_exchanged_is_told(how: Any, said: str) -> None:
    given: dict[str, Any] = {"examples": rows(), **how}
    with pytest.raises(vx.InvalidInput, match=said):
        vx.feature_permutation(convolutions(), **given)


UNIT = vx.Unit("second", 3)


def test_the_examples_that_drive_a_unit_are_those_of_the_largest_values(tmp_path: Path) -> None:
    found = vx.driving(convolutions(), UNIT, rows(), k=2, steps=8)
    module = Convolutions().eval()
    with torch.no_grad():
        maps = module.second(module.relu1(module.first(batch())))
    expected = maps[:, 3].mean(dim=(1, 2)).numpy()
    np.testing.assert_allclose(found.values, expected, atol=1e-6)
    assert found.indices == tuple(np.argsort(-expected)[:2])
    for number, why in zip(found.indices, found.explanations, strict=True):
        alone = vx.explain(
            convolutions(), rows()[number], method="integrated_gradients", target=UNIT, steps=8
        )
        np.testing.assert_array_equal(why.image, alone.image)
    assert "unit 3 of second over 5 examples" in repr(found)
    lines = found.to_csv(tmp_path / "values.csv").read_text().splitlines()
    assert float(lines[2].split(",")[1]) == found.values[1]


@pytest.mark.slow
def test_the_gallery_of_a_unit_shows_words_and_regions(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    unit = vx.Unit("vilt.encoder.layer.3", head=2, position="readout")
    found = vx.driving(scenes_model, unit, "scenes:test", k=2, limit=4, steps=2)
    assert len(found) == 2
    assert all(why.words and why.regions for why in found.explanations)
    page = found.to_html(tmp_path / "unit.html").read_text()
    assert "norm of head 2 at the readout" in page
    for width in (3.2, 7.2):
        figure = found.plot(width=width, dpi=50)
        figure.draw_without_rendering()
        texts: list[Text] = [axes.title for axes in figure.axes]
        for text in [*texts, *figure.texts]:
            box = text.get_window_extent()
            assert box.x0 >= figure.bbox.x0 - 1, text.get_text()
            assert box.x1 <= figure.bbox.x1 + 1, text.get_text()
    assert set(found.titles) <= {text.get_text() for text in texts}
    assert found.plot(tmp_path / "unit.png", dpi=50).stat().st_size > 10_000


@pytest.mark.each
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((UNIT, []), "needs at least 1 example, and there are 0"),
        ((3, rows()), "takes one vx.Unit, such as"),
        ((vx.Unit("second", 9), rows()), "no unit 9; its 8 units"),
    ],
)
def test_what_drives_no_unit_is_told(given: Any, said: str) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        vx.driving(convolutions(), *given)
    with pytest.raises(vx.InvalidInput, match="k must be a whole number from 1"):
        vx.driving(convolutions(), UNIT, rows(), k=0)
    assert not any(part._forward_hooks for part in convolutions().module.modules())


@pytest.mark.parametrize("repeats", [10**8, 10**12, 2**62])
def test_more_permutations_than_memory_holds_are_refused(repeats: int) -> None:
    with pytest.raises(vx.InvalidInput, match="changed examples; give fewer of either"):
        vx.feature_permutation(convolutions(), rows(), target="b", repeats=repeats)
