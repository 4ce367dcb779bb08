"""Evidence: smallest sets by a search over all coalitions, precision by enumeration, and scores by
plain calls.
"""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import llava
from command import command
from conftest import Linear, ToTensor
from PIL import Image
from torch import nn

import vqa_explain as vx
from vqa_explain.games.evidence import Asker, minimal_sets, smallest_sets, surroundings
from vqa_explain.models.classifier import ClassifierModel

Works = Callable[[np.ndarray], np.ndarray]
UNLIKELY = " ".join(["the"] * 20)  # a text of many tokens, less likely than what is written


def orders_of(players: int, seed: int, count: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.permutation(players) for _ in range(count)]


def as_sets(found: np.ndarray) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(row).tolist()) for row in found}


def smallest_by_hand(works: Works, players: int) -> set[frozenset[int]]:
    """All sets that work and of which no proper part works, by trying every part of every set."""
    working: set[frozenset[int]] = set()
    for size in range(players + 1):
        for members in combinations(range(players), size):
            row = np.zeros((1, players), dtype=bool)
            row[0, list(members)] = True
            if works(row)[0]:
                working.add(frozenset(members))
    return {one for one in working if not any(other < one for other in working)}


def random_game(players: int, share: float, seed: int) -> Works:
    """A property that is not monotone: each set has it by a throw of dice."""
    table = np.random.default_rng(seed).random(2**players) < share

    def works(sets: np.ndarray) -> np.ndarray:
        found: np.ndarray = table[sets @ (1 << np.arange(players))]
        return found

    return works


def either(*terms: tuple[int, ...]) -> Works:
    """One of several groups is there as a whole."""

    def works(sets: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.any([sets[:, list(t)].all(axis=1) for t in terms], axis=0)
        return found

    return works


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("share", [0.03, 0.3, 0.8])
def test_few_players_have_all_minimal_sets(share: float, seed: int) -> None:
    players = 7
    works = random_game(players, share, seed)
    found = minimal_sets(Asker(works, 10**6), players)
    assert as_sets(found) == smallest_by_hand(works, players)
    sizes = found.sum(axis=1)
    assert (np.diff(sizes) >= 0).all()


@pytest.mark.parametrize("terms", [((2, 7, 11),), ((3, 4), (10, 20, 30)), ((0,), (39,), (5, 6))])
@pytest.mark.parametrize("seed", range(4))
def test_planted_groups_are_found_among_many_players(
    terms: tuple[tuple[int, ...], ...], seed: int
) -> None:
    found = smallest_sets(either(*terms), 40, orders_of(40, seed), most=3, budget=20_000)
    assert found.complete
    assert not found.exact
    sets = [frozenset(np.flatnonzero(row).tolist()) for row in found.sets]
    assert set(sets) <= {frozenset(term) for term in terms}
    assert len(sets[0]) == min(map(len, terms))
    assert len(sets) == min(3, len(terms))


@pytest.mark.parametrize("seed", range(4))
def test_no_removal_and_no_exchange_makes_a_found_set_smaller(seed: int) -> None:
    players = 14
    rng = np.random.default_rng(seed)
    weights = rng.normal(size=players)
    pairs = rng.normal(size=(players, players))
    bar = 0.6 * (weights.sum() + pairs.sum())

    def works(sets: np.ndarray) -> np.ndarray:
        there = sets.astype(float)
        found: np.ndarray = there @ weights + ((there @ pairs) * there).sum(1) >= bar
        return found

    found = smallest_sets(works, players, orders_of(players, seed), most=1, budget=16_000)
    assert found.complete
    if not works(np.ones((1, players), dtype=bool))[0]:
        return
    members = found.sets[0]
    assert works(members[None])[0]
    for player in np.flatnonzero(members):
        fewer = members.copy()
        fewer[player] = False
        assert not works(fewer[None])[0]
    for pair in combinations(np.flatnonzero(members), 2):
        for player in np.flatnonzero(~members):
            other = members.copy()
            other[list(pair)], other[player] = False, True
            assert not works(other[None])[0]


def test_a_spent_budget_leaves_what_is_known() -> None:
    asked = 0

    def works(sets: np.ndarray) -> np.ndarray:
        nonlocal asked
        asked += len(sets)
        return either((2, 7, 11))(sets)

    found = smallest_sets(works, 40, orders_of(40, 0), most=3, budget=50)
    assert not found.complete
    assert asked <= 50
    assert all(either((2, 7, 11))(found.sets))


def test_where_no_set_works_none_is_found() -> None:
    found = smallest_sets(
        lambda sets: np.zeros(len(sets), dtype=bool), 20, orders_of(20, 0), most=3, budget=1000
    )
    assert found.complete
    assert len(found.sets) == 0


def test_surroundings_are_all_of_them_where_they_are_few() -> None:
    members = np.array([True, False, False, True, False])
    around, every = surroundings(members, 8, np.random.default_rng(0))
    assert every
    assert as_sets(around) == {
        frozenset(some) for n in range(4) for some in combinations((1, 2, 4), n)
    }
    drawn, every = surroundings(members, 7, np.random.default_rng(0))
    assert not every
    assert len(drawn) == 7
    assert not drawn[:, members].any()
    drawn, _ = surroundings(np.eye(1, 20, dtype=bool)[0], 4000, np.random.default_rng(0))
    assert np.abs(drawn[:, 1:].mean(axis=0) - 0.5).max() < 0.05


def chosen(picture: np.ndarray, present: np.ndarray) -> int:
    """The class that the linear network gives a picture of four quarters, absent ones gray."""
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255
    gray = torch.full_like(pixels, float(pixels.mean()))
    gray[:] = pixels.mean(dim=(1, 2), keepdim=True)
    shown = gray.clone()
    for number in np.flatnonzero(present):
        rows, columns = (slice(4 * at, 4 * at + 4) for at in divmod(int(number), 2))
        shown[:, rows, columns] = pixels[:, rows, columns]
    return int(Linear()(shown[None]).argmax())


@pytest.mark.parametrize("seed", range(5))
def test_sets_and_precision_are_those_of_plain_calls(linear: ClassifierModel, seed: int) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = vx.evidence(linear, picture, regions=2, image_fill="mean", most=20)
    answer = chosen(picture, np.ones(4, dtype=bool))
    labels = ["a", "b", "c"]
    assert found.answer.text == labels[answer]
    assert found.exact

    def keeps(sets: np.ndarray) -> np.ndarray:
        return np.array([chosen(picture, row) == answer for row in sets])

    def flips(sets: np.ndarray) -> np.ndarray:
        return np.array([chosen(picture, ~row) != answer for row in sets])

    for works, sets in ((keeps, found.keep), (flips, found.flip)):
        members = [frozenset(one.members["image"]) for one in sets]
        assert set(members) == smallest_by_hand(works, 4)
        for one, numbers in zip(sets, members, strict=True):
            row = np.zeros(4, dtype=bool)
            row[list(numbers)] = True
            others = np.flatnonzero(~row)
            held = []
            for size in range(len(others) + 1):
                for some in combinations(others, size):
                    more = row.copy()
                    more[list(some)] = True
                    held.append(works(more[None])[0])
            assert one.precision.mean == pytest.approx(np.mean(held))
            assert one.becomes == labels[chosen(picture, ~row)]


@pytest.mark.parametrize("seed", range(5))
def test_a_set_that_was_made_larger_still_keeps_the_answer_alone(
    linear: ClassifierModel, seed: int
) -> None:
    picture = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    found = vx.evidence(linear, picture, regions=2, image_fill="mean", most=20, precision=0.95)
    answer = chosen(picture, np.ones(4, dtype=bool))
    assert found.keep
    assert not found.exact
    for sets, by_set in ((found.keep, True), (found.flip, False)):
        for one in sets:
            row = np.zeros(4, dtype=bool)
            row[list(one.members["image"])] = True
            assert (chosen(picture, row if by_set else ~row) == answer) == by_set


def test_answers_may_be_called_as_goals_are(picture: np.ndarray) -> None:
    labels = ["keep", "flip", "into"]
    model = vx.load(Linear(), transform=ToTensor(), labels=labels, device="cpu")
    answer = chosen(picture, np.ones(4, dtype=bool))
    other = labels[(answer + 1) % 3]
    found = vx.evidence(model, picture, regions=2, image_fill="mean", into=other, most=20)
    members = {frozenset(one.members["image"]) for one in found.keep}
    assert members == smallest_by_hand(
        lambda sets: np.array([chosen(picture, row) == answer for row in sets]), 4
    )


def test_a_model_that_writes_needs_no_candidates_but_the_other_answer() -> None:
    module, processor = llava()
    model = vx.load(module, processor=processor, device="cpu", check=False, max_new_tokens=12)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    settings: dict[str, Any] = {"regions": 2, "budget": 40, "draws": 20}
    found = vx.evidence(model, picture, "is it red", into=UNLIKELY, **settings)
    assert found.wanted == UNLIKELY
    assert found.answer.text != found.wanted
    with pytest.raises(vx.InvalidInput, match="only candidate"):
        vx.evidence(model, picture, "is it red", **settings)


@pytest.mark.slow
def test_a_precision_that_is_asked_for_is_reached(scenes_model: Any, scene: vx.Example) -> None:
    found = vx.evidence(scenes_model, scene, regions=3, precision=0.9, most=2, budget=400)
    assert found.keep
    assert all(one.precision.mean >= 0.9 for one in found.sets)


@pytest.mark.slow
def test_the_same_call_gives_the_same_sets(scenes_model: Any, scene: vx.Example) -> None:
    settings: dict[str, Any] = {"regions": 3, "most": 2, "budget": 300}
    first, again = (vx.evidence(scenes_model, scene, **settings).summary() for _ in range(2))
    assert first == again


@pytest.mark.slow
def test_a_fill_that_keeps_colors_is_not_taken_for_a_question_about_colors(
    scenes_model: Any,
) -> None:
    """With the whole picture blurred, the model still says its color."""
    example = vx.load_dataset("scenes:test")[0]
    assert example.question == "What color is the large circle?"
    found = vx.evidence(scenes_model, example, regions=4, most=1, budget=100)
    assert found.fills["image"] != "blur"
    asked = vx.evidence(scenes_model, example, regions=4, most=1, budget=100, image_fill="blur")
    assert asked.fills["image"] == "blur"


def test_an_answer_can_be_turned_into_another(linear: ClassifierModel) -> None:
    turned = 0
    for seed in range(8):
        picture = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        answer = chosen(picture, np.ones(4, dtype=bool))
        other = (answer + 1) % 3
        found = vx.evidence(linear, picture, regions=2, image_fill="mean", into=other, most=20)

        def turns(sets: np.ndarray, picture: np.ndarray = picture, to: int = other) -> np.ndarray:
            return np.array([chosen(picture, ~row) == to for row in sets])

        members = {frozenset(one.members["image"]) for one in found.into}
        assert members == smallest_by_hand(turns, 4)
        turned += len(members)
    assert turned > 3


class Columns(nn.Module):
    """Scores of each combination of columns of 0 and 1, by a table."""

    def __init__(self, table: np.ndarray) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.tensor(table, dtype=torch.float32))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.table[(x > 0.5).long() @ (1 << torch.arange(x.shape[1]))]
        return found


def evidence_of_columns(table: np.ndarray, **settings: Any) -> vx.Evidence:
    """Of a row of ones under which absent columns are 0."""
    names = [f"c{number}" for number in range(int(np.log2(len(table))))]
    model = vx.CustomModel(
        Columns(table),
        labels=[f"answer {number}" for number in range(table.shape[1])],
        inputs={"row": vx.Table(columns=names, baseline=0.0)},
        device="cpu",
        check=False,
    )
    return vx.evidence(model, vx.Example.of({"row": dict.fromkeys(names, 1.0)}), **settings)


@pytest.mark.parametrize("tied", [(0, 1), (1, 2, 3), (0, 1, 2, 3)])
def test_of_tied_answers_all_look_at_the_same_one(tied: tuple[int, ...]) -> None:
    table = np.zeros((8, 4))
    table[:, list(tied)] = 1
    found = evidence_of_columns(table)
    assert found.answer.text == f"answer {tied[0]}"
    assert [len(one) for one in found.keep] == [0]
    assert found.flip == ()


@pytest.mark.parametrize("seed", range(4))
def test_no_set_that_was_made_larger_holds_another(seed: int) -> None:
    table = np.random.default_rng(seed).normal(size=(128, 2))
    for precision in (0.5, 0.8, 0.95):
        found = evidence_of_columns(table, precision=precision, most=20)
        for sets in (found.keep, found.flip):
            members = [set(one.members["row"]) for one in sets]
            assert not any(a < b for a in members for b in members)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"into": "a"}, "already"),
        ({"precision": 1.0}, "below 1"),
        ({"most": 0}, "most must be a whole number from 1 on"),
        ({"draws": 3}, "draws must be a whole number from 20 on"),
        ({"budget": 1.5}, "whole number"),
        ({"answers": ["a"]}, "answers of its own"),
        ({"image_fill": "paint"}, "paint"),
    ],
)
def test_bad_settings_are_named(
    linear: ClassifierModel, settings: dict[str, Any], message: str
) -> None:
    picture = next(
        picture
        for seed in range(20)
        if chosen(
            picture := np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8),
            np.ones(4, dtype=bool),
        )
        == 0
    )
    with pytest.raises(vx.InvalidInput, match=message):
        vx.evidence(linear, picture, regions=2, **settings)


@pytest.mark.slow
def test_the_figure_shows_the_set_and_fades_the_rest(
    scenes_model: Any, scene: vx.Example, tmp_path: Path
) -> None:
    found = vx.evidence(scenes_model, scene, regions=3, most=1, budget=300)
    path = found.plot(tmp_path / "evidence.png")
    assert np.asarray(Image.open(path)).std() > 10
    figure = found.plot()
    assert len(figure.axes) == 1 + len(found.keep[:1]) + len(found.flip[:1])
    with pytest.raises(vx.InvalidInput, match="cannot be written"):
        found.plot(tmp_path / "evidence.xyz")


@pytest.mark.slow
def test_the_shell_prints_sets(tmp_path: Path) -> None:
    picture = tmp_path / "scene.png"
    example = vx.load_dataset("scenes:test")[0]
    Image.fromarray(example.image).save(picture)
    done = command(
        "evidence", picture, example.question, "--regions", "3", "--json", "--set", "budget=200"
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["answer"] == "cyan"
    assert found["keep"]
    page = tmp_path / "evidence.html"
    settings = ("--regions", "2", "--set", "budget=50", "--out", page)
    assert command("evidence", picture, example.question, *settings).returncode == 0
    assert 'id="state0"' in page.read_text(encoding="utf-8")
    done = command("evidence", picture, example.question, "--set", "bugdet=200")
    assert done.returncode == 2
    assert "did you mean 'budget'" in done.stderr
