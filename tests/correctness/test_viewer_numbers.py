"""What the viewer measures and sends is of the explanation on the screen: its example, fills,
target and seed.
"""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Linear, ToTensor
from families import OF_BOXES, example_for, on_all
from torch import nn

import vqa_explain as vx
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel
from vqa_explain.viewer.whatif import changed

SIDE, CELLS = 8, 4  # CELLS × CELLS regions of a square picture


def cell(number: Any, cells: Any = CELLS, side: Any = SIDE) -> tuple[Any, Any]:
    """The rows and columns of a region of the grid."""
    wide = side // cells
    row, column = divmod(number, cells)
    return slice(row * wide, (row + 1) * wide), slice(column * wide, (column + 1) * wide)


def scores_by_hand(
    network: torch.nn.Module, picture: np.ndarray, regions: list[int] | list[Any], fill: str
) -> tuple[Any, Any]:
    """The network called plainly on the picture with cells replaced by their mean color or by
    zero.
    """
    pixels = torch.from_numpy(picture.copy()).permute(2, 0, 1).float()[None] / 255
    changed_pixels = pixels.clone()
    for number in regions:
        rows, columns = cell(number)
        instead = (
            pixels.mean(dim=(-2, -1), keepdim=True) if fill == "mean" else torch.zeros(1, 3, 1, 1)
        )
        changed_pixels[:, :, rows, columns] = instead.expand(
            1, 3, rows.stop - rows.start, columns.stop - columns.start
        )
    with torch.no_grad():
        return network(pixels)[0], network(changed_pixels)[0]


@pytest.mark.parametrize("fill", ["mean", "constant"])
@pytest.mark.parametrize("regions", [[0], [5, 6], [15, 0, 3]])
@pytest.mark.parametrize(
    "method", ["leave_one_out", "shapley", "integrated_gradients", "occlusion"]
)
def test_the_measured_change_is_that_of_the_explanations_fill(
    linear: ClassifierModel, picture: np.ndarray, fill: str, regions: list[int], method: str
) -> None:
    setting = "image_baseline" if method == "integrated_gradients" else "image_fill"
    given: dict[str, Any] = {"regions": CELLS, setting: fill}
    why = vx.explain(linear, picture, method=method, target="b", contrast="c", **given)
    found = changed(linear, vx.Example(picture), why, {"question": [], "image": regions})
    before, after = scores_by_hand(linear.module, picture, regions, fill)
    expected = (after[1] - after[2]) - (before[1] - before[2])
    assert found["change"] == pytest.approx(float(expected), abs=1e-4)
    assert fill in found["fills"]
    assert found["answers"][0]["probability"] == pytest.approx(
        float(after.softmax(0).max()), abs=1e-5
    )
    if method != "occlusion":  # which spreads overlapping windows over their pixels
        # The network is linear.
        assert found["predicted"] == pytest.approx(found["change"], abs=1e-3)


def test_several_baselines_are_averaged(linear: ClassifierModel, picture: np.ndarray) -> None:
    baselines = ("mean", "constant")
    why = vx.explain(
        linear, picture, method="integrated_gradients", regions=CELLS, image_baseline=baselines
    )
    found = changed(linear, vx.Example(picture), why, {"question": [], "image": [3, 9]})
    index = why.answers[0].index
    pairs = [scores_by_hand(linear.module, picture, [3, 9], fill) for fill in baselines]
    expected = np.mean([float(after[index] - before[index]) for before, after in pairs])
    assert found["change"] == pytest.approx(expected, abs=1e-4)
    assert found["predicted"] == pytest.approx(expected, abs=1e-3)
    assert "mean over mean, constant" in found["fills"]


@on_all()
@pytest.mark.slow
def test_leaving_one_out_foretells_what_is_measured(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    """By definition: v(P) − v(P∖{i}) is the value of i, for every fill of every family."""
    model = models(family)
    example = example_for(model, noise_picture)
    own: dict[str, Any] = {"answers": ["yes", "no"]} if model.labels is None else {}
    parts: dict[str, Any] = {} if model.family in OF_BOXES else {"regions": 2}
    fills = {feature.kind: feature.fills for feature in model.features}
    for number in range(max(map(len, fills.values()))):
        chosen = {f"{name}_fill": known[number % len(known)] for name, known in fills.items()}
        if chosen["image_fill"] == "drop" and family in ("llava_onevision", "idefics3", "smolvlm"):
            continue  # their tiles cannot be dropped
        why = vx.explain(model, example, method="leave_one_out", seed=7, **chosen, **own, **parts)
        found = changed(model, example, why, {"question": [], "image": [1]})
        assert found["change"] == pytest.approx(-why.regions[1].value, abs=2e-5), chosen
        assert found["predicted"] == pytest.approx(-why.regions[1].value)
        if why.words:
            found = changed(model, example, why, {"question": [2], "image": []})
            assert found["change"] == pytest.approx(-why.words[2].value, abs=2e-5), chosen


@pytest.mark.parametrize(
    "asked",
    [
        {"target": "blue", "contrast": "yes"},
        {"score": "probability"},
        {"score": "log_probability", "target": "no"},
        {"words": "ngrams:2", "regions": 3},
        {"words": "tokens", "regions": (2, 4)},
        {"regions": vx.Boxes([[3, 5, 40, 41], [50, 50, 91, 90]], rest="one")},
        {"regions": 5, "image_fill": "drop"},
        {"image_fill": "noise", "seed": 11},
    ],
)
@pytest.mark.slow
def test_target_score_division_and_seed_are_the_explanations(
    scenes_model: ViltModel, scene: vx.Example, asked: Any
) -> None:
    why = vx.explain(scenes_model, scene, method="leave_one_out", **asked)
    for region in range(0, len(why.regions), 3):
        found = changed(
            scenes_model,
            scene,
            why,
            {"question": [], "image": [region]},
            {"image": asked.get("regions")},
        )
        assert found["change"] == pytest.approx(-why.regions[region].value, abs=1e-4)
    for word in range(len(why.words)):
        found = changed(scenes_model, scene, why, {"question": [word], "image": []})
        assert found["change"] == pytest.approx(-why.words[word].value, abs=1e-4)


@pytest.mark.parametrize(
    "method", ["saliency", "attention", "relevance", "vargrad", "rise", "grad_cam"]
)
def test_values_that_are_no_points_predict_nothing(
    scenes_model: ViltModel, scene: vx.Example, method: str
) -> None:
    few: dict[str, dict[str, Any]] = {"vargrad": {"samples": 3}, "rise": {"budget": 300}}
    why = vx.explain(scenes_model, scene, method=method, **few.get(method, {}))
    assert changed(scenes_model, scene, why, {"question": [0], "image": [3]})["predicted"] is None


def test_the_linear_part_of_a_polynomial_predicts_nothing(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    why = vx.explain(
        scenes_model, scene, method="interactions", index="fsii", regions=2, budget=400
    )
    assert changed(scenes_model, scene, why, {"question": [0], "image": [3]})["predicted"] is None


class Gated(nn.Module):
    """A linear network that waits at the gate where the picture is dark."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.gate, self.waiting = Linear(3, SIDE), threading.Event(), threading.Event()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if bool((x.flatten(1)[:, 0] < 0.1).any()):
            self.waiting.set()
            assert self.gate.wait(600)
        result: torch.Tensor = self.body(x)
        return result


def gated(rng: np.random.Generator, dark: bool) -> vx.Example:
    picture = rng.integers(60, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    if dark:
        picture[0, 0] = 0
    return vx.Example(picture, id="dark" if dark else "bright")


FILLED = {"method": "leave_one_out", "image_fill": "mean"}
SILENT = {"method": "saliency"}  # it tells no progress, so that it cannot be stopped half way


@pytest.fixture(params=[FILLED])
def slow(
    request: pytest.FixtureRequest,
) -> Iterator[tuple[vx.Viewer, Gated, vx.Example, vx.Example]]:
    """A viewer of a bright example that is explained and of a dark one whose explanation waits
    at the gate.
    """
    network, rng = Gated(), np.random.default_rng(4)
    network.gate.set()  # until the viewer has started
    model = vx.load(network, transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    network.gate.clear()
    bright, dark = gated(rng, False), gated(rng, True)
    viewer = vx.Viewer(model, [bright, dark], regions=CELLS, **request.param)
    assert network.waiting.wait(600)
    assert viewer.explanation is not None
    yield viewer, network, bright, dark
    network.gate.set()
    viewer.close()


def heard(viewer: vx.Viewer, name: str) -> list[Any]:
    """Every value that a trait takes from here on."""
    found = []
    viewer.observe(lambda change: found.append(change["new"]), name)
    return found


def test_a_what_if_is_of_the_example_on_the_screen_while_another_is_computed(
    slow: tuple[vx.Viewer, Gated, vx.Example, vx.Example],
) -> None:
    viewer, network, bright, _ = slow
    seen = viewer.explanation
    viewer.selected = 1  # which is not shown yet
    assert viewer.explanation is seen
    answers = heard(viewer, "whatif")
    message = {"action": "whatif", "away": {"image": [5, 10]}, "serial": "x 1"}
    viewer._on_message(viewer, {**message, "explanation": viewer.shown.get("id")}, [])
    network.gate.set()
    assert viewer.wait(600)
    before, after = scores_by_hand(network.body, bright.image, [5, 10], "mean")
    index = seen.answers[0].index
    assert answers[0]["serial"] == "x 1"
    assert answers[0]["change"] == pytest.approx(float(after[index] - before[index]), abs=1e-4)
    assert answers[0]["predicted"] == pytest.approx(answers[0]["change"], abs=1e-4)


def test_an_answer_of_the_example_on_the_screen_is_not_explained_for_another(
    slow: tuple[vx.Viewer, Gated, vx.Example, vx.Example],
) -> None:
    viewer, network, _, _ = slow
    message = {
        "action": "target",
        "target": 2,
        "contrast": None,
        "explanation": viewer.shown.get("id"),
    }
    viewer.selected = 1
    viewer._on_message(viewer, message, [])
    assert "that answer is of example 1" in viewer.problem
    network.gate.set()
    assert viewer.wait(600)
    assert viewer.explanation.target_index == viewer.explanation.answers[0].index


@pytest.mark.parametrize("slow", [FILLED, SILENT], indirect=True)
def test_an_old_explanation_is_not_kept_under_a_new_example(
    slow: tuple[vx.Viewer, Gated, vx.Example, vx.Example],
) -> None:
    viewer, network, _, dark = slow
    others = [gated(np.random.default_rng(seed), False) for seed in (8, 9)]
    viewer._desk.dataset = others
    old = viewer.shown.get("id")
    viewer._on_message(viewer, {"action": "fetch", "filter": "all", "count": 2}, [])
    network.gate.set()
    assert viewer.wait(600)
    for index, example in enumerate(others):
        viewer.selected = index
        assert viewer.wait(600)
        np.testing.assert_array_equal(viewer.explanation.picture, example.image)
        method = viewer._desk.options.method
        expected = vx.explain(
            viewer.model, example, method=method.name, regions=CELLS, **method.parameters
        )
        assert [r.value for r in viewer.explanation.regions] == [r.value for r in expected.regions]
    assert all(not np.array_equal(kept.picture, dark.image) for kept in viewer._desk.explanations())
    assert [e["state"] for e in viewer.entries] == ["done", "done"]
    message = {"action": "whatif", "away": {"image": [1]}, "serial": "y", "explanation": old}
    viewer._on_message(viewer, message, [])
    assert "no longer kept" in viewer.problem


def test_a_filter_that_is_left_adds_no_example_to_the_next_list(
    slow: tuple[vx.Viewer, Gated, vx.Example, vx.Example],
) -> None:
    viewer, network, _, dark = slow
    bright = gated(np.random.default_rng(3), False)
    viewer._desk.dataset = [dark, dark, dark]
    network.gate.set()
    assert viewer.wait(600)
    network.gate.clear()
    network.waiting.clear()
    best = "abc"[int(scores_by_hand(network.body, dark.image, [], "mean")[0].argmax())]
    viewer._on_message(viewer, {"action": "fetch", "filter": f"answer: {best}", "count": 3}, [])
    assert network.waiting.wait(600)
    viewer._desk.dataset = [bright]
    viewer._on_message(viewer, {"action": "fetch", "filter": "all", "count": 1}, [])
    network.gate.set()
    assert viewer.wait(600)
    assert [e.id for e in viewer.examples] == ["bright"]
    assert len(viewer.entries) == 1
    np.testing.assert_array_equal(viewer.explanation.picture, bright.image)


@pytest.mark.parametrize("labels", [["crane", "crane", "dog"], ["dog", "Dog", "dog "]])
@pytest.mark.parametrize("index", [0, 1, 2])
def test_a_click_explains_the_clicked_answer_by_its_number(labels: list[str], index: int) -> None:
    network = Linear(3, SIDE)
    model = vx.load(network, transform=ToTensor(), labels=labels, device="cpu")
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    viewer = vx.Viewer(
        model, [vx.Example(picture)], method="leave_one_out", image_fill="constant", regions=CELLS
    )
    assert viewer.wait(600)
    message = {
        "action": "target",
        "target": index,
        "contrast": None,
        "explanation": viewer.shown.get("id"),
    }
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    assert viewer.problem == ""
    assert viewer.explanation.target_index == viewer.shown["targetIndex"] == index
    for region in (0, 7):
        before, after = scores_by_hand(network, picture, [region], "constant")
        assert viewer.explanation.regions[region].value == pytest.approx(
            float(before[index] - after[index]), abs=1e-4
        )
    found = changed(model, vx.Example(picture), viewer.explanation, {"question": [], "image": [7]})
    assert found["change"] == pytest.approx(-viewer.explanation.regions[7].value, abs=1e-4)
    other = (index + 1) % 3
    viewer._on_message(
        viewer, {**message, "contrast": other, "explanation": viewer.shown.get("id")}, []
    )
    assert viewer.wait(600)
    before, after = scores_by_hand(network, picture, [7], "constant")
    expected = float((before[index] - before[other]) - (after[index] - after[other]))
    assert viewer.explanation.regions[7].value == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("family", ["blip", "llava"])
def test_a_click_on_a_candidate_of_a_model_that_writes_explains_its_text(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: str
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    viewer = vx.Viewer(model, [example], method="leave_one_out", regions=2)
    assert viewer.wait(600)
    first = viewer.explanation.answers[0]
    message = {
        "action": "target",
        "target": first.index,
        "contrast": None,
        "explanation": viewer.shown.get("id"),
    }
    viewer._on_message(viewer, message, [])
    assert viewer.wait(600)
    assert viewer.problem == ""
    assert viewer.explanation.target == first.text
    viewer._on_message(viewer, {**message, "target": 99, "explanation": viewer.shown.get("id")}, [])
    assert "no answer number 99" in viewer.problem


def test_a_clicked_answer_is_found_by_its_text_in_another_model() -> None:
    """Label numbers belong to one model: "b" is 1 here and 0 there."""
    one, other = (
        vx.load(Linear(3, SIDE), transform=ToTensor(), labels=labels, device="cpu")
        for labels in (["a", "b", "c"], ["b", "c", "a"])
    )
    picture = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    viewer = vx.Viewer(one, [vx.Example(picture)], method="saliency", others=[other])
    assert viewer.wait(600)
    message = {"action": "target", "target": 1, "contrast": 2, "explanation": viewer.shown["id"]}
    viewer._on_message(viewer, message, [])
    viewer._on_message(viewer, {"action": "columns", "columns": [{"model": 1}]}, [])
    assert viewer.wait(600)
    assert viewer.problem == ""
    assert (viewer.shown["targetIndex"], viewer.shown["contrastIndex"]) == (1, 2)
    assert (viewer.compared[0]["targetIndex"], viewer.compared[0]["contrastIndex"]) == (0, 1)
    assert (viewer.compared[0]["target"], viewer.compared[0]["contrast"]) == ("b", "c")
