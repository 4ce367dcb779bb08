"""Fills that are chosen: what is measured of them against plain calls on pictures filled by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import llava
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.choosing import ALIKE, DRAWS, NEAR
from vqa_explain.features.regions import grid_regions
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


class Watching(nn.Module):
    """Answers by how bright the upper left is; exact black in more than three cells of nine, which
    no picture has, confuses it.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corner = x[:, :, :3, :3].mean(dim=(1, 2, 3))
        black = (x == 0).all(dim=1).float().mean(dim=(1, 2))
        bright = 6 * (corner - 0.5)
        confused = torch.where(black > 0.25, 40 * black, 0)
        return torch.stack([bright, -bright, confused - 3], dim=1)


@pytest.fixture(scope="module")
def watching() -> ClassifierModel:
    model = vx.load(Watching(), transform=ToTensor(), labels=["light", "dark", "?"], device="cpu")
    assert isinstance(model, ClassifierModel)
    return model


@pytest.fixture
def bright() -> np.ndarray:
    """Bright as a whole, so that its mean color gives the answer away."""
    return np.random.default_rng(4).integers(150, 256, (9, 9, 3), dtype=np.uint8)


def by_hand(
    network: nn.Module, picture: np.ndarray, fills: dict[str, np.ndarray], seed: int
) -> dict[str, tuple[float, float]]:
    """Fill → (kept, told) of a picture of which absent cells are those of another picture."""
    cells = grid_regions((9, 9), (3, 3)).owner

    def probabilities(blank: np.ndarray, absent: np.ndarray) -> np.ndarray:
        shown = np.where(np.isin(cells, np.flatnonzero(absent))[..., None], blank, picture / 255)
        pixels = torch.from_numpy(shown).permute(2, 0, 1)[None].float()
        found: np.ndarray = network(pixels).softmax(-1)[0].double().numpy()
        return found

    whole = probabilities(picture / 255, np.zeros(9, dtype=bool))
    best = int(whole.argmax())
    changes = np.zeros(9)
    for blank in fills.values():
        for cell in range(9):
            changes[cell] += abs(whole[best] - probabilities(blank, np.arange(9) == cell)[best])
    little = np.argsort(changes, kind="stable")[:4]
    drawn = [np.ones(4, dtype=bool), *(np.random.default_rng(seed).random((DRAWS, 4)) < 0.5)]
    found = {}
    for name, blank in fills.items():
        kept = []
        for some in drawn:
            absent = np.isin(np.arange(9), little[some])
            kept.append(probabilities(blank, absent).argmax() == best)
        told = probabilities(blank, np.ones(9, dtype=bool))[best]
        found[name] = float(np.mean(kept)), float(told)
    return found


def test_what_is_measured_is_what_plain_calls_give(
    watching: ClassifierModel, bright: np.ndarray
) -> None:
    blanks = {
        "mean": np.broadcast_to((bright / 255).mean(axis=(0, 1)), (9, 9, 3)),
        "constant": np.zeros((9, 9, 3)),
    }
    true = by_hand(watching.module, bright, blanks, 3)
    found = vx.choose_fill(
        watching, vx.Example(bright), fills={"image": ["mean", "constant"]}, seed=3
    )
    for one in found.measured:
        assert (one.kept, one.told) == pytest.approx(true[one.fill], abs=1e-5)
    # Black tells least and yet loses the answer where nothing of weight is absent.
    assert true["constant"][1] < 0.5 < true["mean"][1]
    assert true["constant"][0] < true["mean"][0] - NEAR
    assert found.fills == {"image": "mean"}
    assert found.image_fill == "mean"
    assert found.text_fill is None
    assert "image fill 'mean' was chosen" in found.sentences[0]
    assert "→ image   mean" in str(found)
    # Two counts of the whole and of each cell alone, at most; draws that are alike count once.
    assert found.cost.forwards <= 1 + 2 * (2 + 9 + 1 + DRAWS)


@pytest.mark.parametrize(
    ("shades", "wanted"),
    [({"light": 200, "gray": 10}, "gray"), ({"one": 200, "other": 200}, "one")],
)
def test_of_fills_that_keep_the_answer_the_one_that_tells_least_is_chosen(
    watching: ClassifierModel, bright: np.ndarray, shades: dict[str, int], wanted: str
) -> None:
    own = [
        vx.Fill(lambda given, absent, seed, shade=shade: np.full_like(given, shade), name=name)
        for name, shade in shades.items()
    ]
    found = vx.choose_fill(watching, [vx.Example(bright)] * 2, fills={"image": own})
    assert str(found.image_fill) == wanted
    assert found.examples == 2
    first, second = (one.told for one in found.measured)
    assert (abs(first - second) <= ALIKE) == (shades == {"one": 200, "other": 200})


@pytest.mark.slow
def test_auto_explains_as_the_fill_that_it_chose(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    how: dict[str, Any] = {"method": "shapley", "regions": 3, "budget": 200, "seed": 1}
    choice = vx.choose_fill(scenes_model, scene, seed=1)
    auto = vx.explain(scenes_model, scene, image_fill="auto", text_fill="auto", **how)
    named = vx.explain(
        scenes_model, scene, image_fill=choice.image_fill, text_fill=choice.text_fill, **how
    )
    assert [part.values for part in auto.parts] == [part.values for part in named.parts]
    assert auto.parameters == named.parameters
    assert auto.notes == (*named.notes, *choice.sentences)
    assert auto.cost.forwards == named.cost.forwards + choice.cost.forwards


def test_the_first_of_several_targets_pays(watching: ClassifierModel, bright: np.ndarray) -> None:
    how: dict[str, Any] = {"method": "leave_one_out", "regions": 2}
    one, other = vx.explain(
        watching, bright, target=["light", "dark"], fills={"image": "auto"}, **how
    )
    choice = vx.choose_fill(watching, vx.Example(bright))
    assert one.parameters["fills"] == {"image": choice.image_fill}
    plain = vx.explain(watching, bright, target="light", image_fill=choice.image_fill, **how)
    assert one.cost.forwards == plain.cost.forwards + choice.cost.forwards
    assert other.cost.forwards == 0
    assert other.notes == one.notes


@pytest.mark.slow
def test_runs_and_evidence_take_auto(
    watching: ClassifierModel, bright: np.ndarray, tmp_path: Path
) -> None:
    wanted = vx.choose_fill(watching, vx.Example(bright)).image_fill
    values = []
    for number, fill in enumerate(("auto", wanted)):
        report = vx.evaluate(
            watching, [vx.Example(bright, answer="light")], [f"shapley:image_fill={fill}"],
            ["deletion", "sufficiency"], tmp_path / str(number), regions=2, image_fill=fill,
            workers=1,
        )  # fmt: skip
        rows = report.frame()
        values.append(rows.loc[rows.method.str.startswith("shapley"), "value"].tolist())
    assert values[0] == values[1]
    auto = vx.evidence(watching, bright, regions=2, image_fill="auto")
    assert auto.fills == {"image": wanted}
    named = vx.evidence(watching, bright, regions=2, image_fill=wanted)
    assert auto.cost.forwards > named.cost.forwards


def test_a_model_that_writes_is_measured_by_what_it_writes() -> None:
    module, processor = llava()
    model = vx.load(module, processor=processor, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    asked = vx.Example(picture, "What is it?")
    found = vx.choose_fill(model, asked, answers=["red"], fills={"image": ["mean", "blur"]})
    assert {one.kind for one in found.measured} == {"image", "text"}
    assert all(0 <= one.kept <= 1 and 0 <= one.told <= 1 for one in found.measured)


@pytest.mark.parametrize(
    ("examples", "fills", "told"),
    [
        ([], None, "at least one"),
        (["a.png"], None, "one vx.Example or several"),
        (None, {"image": ["bluur"]}, "'bluur'; did you mean 'blur'"),
        (None, {"text": ["mask"]}, "unknown kind of input in fills 'text'"),
        (None, {"image": []}, "a list of at least one"),
        (None, {"image": "blur"}, "a list"),
    ],
)
def test_what_cannot_be_chosen_among_is_refused(
    watching: ClassifierModel, bright: np.ndarray, examples: Any, fills: Any, told: str
) -> None:
    given = [vx.Example(bright)] if examples is None else examples
    with pytest.raises(vx.InvalidInput, match=told):
        vx.choose_fill(watching, given, fills=fills)


def test_numbers_and_paths_have_no_fill_to_choose(bright: np.ndarray) -> None:
    model = vx.load(
        Watching(), transform=ToTensor(), labels=["a", "b", "c"], outputs="real", device="cpu"
    )
    with pytest.raises(vx.Unsupported, match="chooses no answer"):
        vx.choose_fill(model, vx.Example(bright))
    with pytest.raises(vx.InvalidInput, match=r"unknown image fill .*'auto'"):
        vx.explain(model, bright, method="integrated_gradients", fills={"image": "auto"})
