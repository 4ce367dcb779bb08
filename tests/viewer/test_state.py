"""The state of a viewer: set, observed and refused from Python, and what a view may set of it."""

import re
from typing import Any

import numpy as np
import pytest
from conftest import Linear, ToTensor

import vqa_explain as vx
from vqa_explain.models.base import Model
from vqa_explain.viewer.state import NAMES, checked, initial

SIDE = 8


@pytest.fixture
def model() -> Model:
    return vx.load(Linear(3, SIDE), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


def examples(count: int) -> list[vx.Example]:
    rng = np.random.default_rng(0)
    pictures = rng.integers(60, 250, (count, SIDE, SIDE, 3), dtype=np.uint8)
    return [vx.Example(one, id=f"picture {i}", answer="a") for i, one in enumerate(pictures)]


@pytest.fixture
def viewer(model: Model) -> vx.Viewer:
    found = vx.Viewer(model, examples(3), method="leave_one_out", regions=2)
    assert found.wait(600)
    return found


def seen(viewer: vx.Viewer, *names: str) -> list[Any]:
    """What an observer of these traits hears, as it comes."""
    heard: list[Any] = []
    viewer.observe(lambda change: heard.append((change["name"], change["new"])), list(names))
    return heard


def test_a_method_is_set_and_observed(viewer: vx.Viewer) -> None:
    heard = seen(viewer, "method", "parameters")
    viewer.method = "saliency"
    assert viewer.wait(600)
    assert viewer.explanation.method == "saliency"
    viewer.method = "shapley"
    viewer.parameters = {"budget": 40}
    assert viewer.wait(600)
    assert (viewer.explanation.method, viewer.explanation.parameters["budget"]) == ("shapley", 40)
    message = {"action": "method", "method": "leave_one_out", "parameters": {}}
    viewer._on_message(viewer, message, [])
    assert (viewer.method, viewer.parameters) == ("leave_one_out", {})
    assert heard == [
        ("method", "saliency"),
        ("method", "shapley"),
        ("parameters", {"budget": 40}),
        ("method", "leave_one_out"),
        ("parameters", {}),
    ]


def test_a_method_and_its_parameters_are_set_at_once(viewer: vx.Viewer) -> None:
    viewer.parameters = {"image_fill": "mean"}
    with viewer.hold_trait_notifications():
        viewer.method, viewer.parameters = "shapley", {"budget": 50}
    assert viewer.wait(600)
    assert viewer.problem == ""
    assert viewer.explanation.parameters["budget"] == 50
    viewer.method = "saliency"  # which knows no budget
    assert viewer.parameters == {}
    assert viewer.wait(600)
    assert viewer.explanation.method == "saliency"


def test_a_target_is_set_and_observed_until_another_example_is_chosen(viewer: vx.Viewer) -> None:
    heard = seen(viewer, "target", "contrast")
    viewer.target = "c"
    viewer.contrast = 1
    assert viewer.wait(600)
    assert (viewer.explanation.target, viewer.explanation.contrast) == ("c", "b")
    viewer.selected = 1
    assert viewer.wait(600)
    assert [viewer.target, viewer.contrast] == [None, None]
    viewer._on_message(viewer, {"action": "target", "target": 2, "contrast": None}, [])
    assert heard == [
        ("target", "c"),
        ("contrast", 1),
        ("target", None),
        ("contrast", None),
        ("target", 2),
    ]


def test_columns_are_set_and_observed(viewer: vx.Viewer) -> None:
    viewer.columns = [{"method": "saliency"}, {"target": "b"}, {"example": 2}]
    assert viewer.wait(600)
    assert [(one["column"], one["method"], one["target"]) for one in viewer.compared[:2]] == [
        (0, "saliency", viewer.explanation.target),
        (1, "leave_one_out", "b"),
    ]
    assert viewer.compared[2]["exampleId"] == "picture 2"
    assert viewer.columns[0]["parameters"] == {}  # whole, whoever set it
    heard = seen(viewer, "columns")
    viewer._on_message(viewer, {"action": "columns", "columns": [{"method": "saliency"}]}, [])
    assert len(heard) == 1
    assert [one["method"] for one in viewer.compared] == ["saliency"]


def test_a_selection_goes_to_pandas_and_back(viewer: vx.Viewer) -> None:
    table = viewer.frame()
    assert list(table["id"]) == [f"picture {i}" for i in range(3)]
    assert list(table["correct"]) == [one["answer"] == "a" for one in viewer.entries]
    viewer.selection = table.sort_values("probability").index[1:]
    least = int(table["probability"].argmin())
    assert viewer.selection == sorted({0, 1, 2} - {least})
    picked = viewer.frame().loc[viewer.selection]
    assert list(picked["probability"]) == [
        viewer.entries[i]["probability"] for i in viewer.selection
    ]
    viewer.notes = {"picture 1": {"star": True, "note": "why?"}}
    assert list(viewer.frame()["star"]) == [False, True, False]
    assert viewer.frame()["note"][1] == "why?"
    viewer.fetch("all", 2)
    assert viewer.selection == []  # of another list


def test_what_is_taken_away_is_of_what_is_shown(viewer: vx.Viewer) -> None:
    viewer.hidden = {"image": [1, 3]}
    assert viewer.hidden == {"image": [1, 3]}
    viewer.method = "saliency"
    assert viewer.wait(600)
    assert viewer.hidden == {"image": [1, 3]}  # of the same example
    viewer.selected = 2
    assert viewer.wait(600)
    assert viewer.hidden == {}


REFUSED: list[tuple[str, Any, str]] = [
    ("method", "salience", "did you mean 'saliency'"),
    ("method", "nothing at all", "unknown method"),
    ("parameters", {"steps": 3}, "steps"),
    ("target", 9, "no label number 9"),
    ("contrast", -1, "no label number -1"),
    ("columns", [{"method": "salience"}], "did you mean 'saliency'"),
    ("columns", [{"metod": "saliency"}], "'metod' is not known"),
    ("columns", ["saliency"], "not a mapping"),
    ("columns", [{}] * 6, "6 columns can be compared"),
    ("columns", [{"model": 1}], "no model number 1"),
    ("hidden", {"image": [99]}, "has no region number 99"),
    ("hidden", {"picture": [0]}, "picture"),
    ("hidden", {"image": 3}, "not a list"),
    ("look", {"map": "jet"}, "not one of"),
    ("look", {"strength": 0.0}, "0.1 to 1"),
    ("look", {"threshold": 7}, "0 to 1"),
    ("look", {"colour": "red"}, "'colour' is not known"),
    ("look", "dark", "not a mapping"),
    ("filter", {"outcome": "correct"}, "not one of"),
    ("filter", {"ranges": {"error": [1]}}, "has 1 items, not 2"),
    ("filter", {"ranges": {"error": [0, float("nan")]}}, "not a finite number"),
    ("filter", {"only": [-1]}, "below 0"),
    ("filter", {"equals": {"kinds": "color"}}, "equals has no 'kinds'; it knows kind, answer"),
    ("filter", {"equals": {"kind": 3}}, "not a text"),
    ("selection", [0, 3], "there is no example 3"),
    ("selection", [-1], "below 0"),
    ("selection", ["picture 1"], "places of examples"),
    ("selection", 3, "places of examples"),
    ("notes", {"picture 1": "good"}, "not a mapping"),
    ("notes", {"picture 1": {"star": 1}}, "not a true or false"),
]


@pytest.mark.parametrize(("name", "value", "said"), REFUSED)
def test_what_does_not_fit_is_refused_in_one_sentence(
    viewer: vx.Viewer, name: str, value: Any, said: str
) -> None:
    before = getattr(viewer, name)
    with pytest.raises(vx.InvalidInput, match=re.escape(said)) as caught:
        setattr(viewer, name, value)
    assert "\n" not in str(caught.value)
    assert getattr(viewer, name) == before
    assert viewer.wait(600)
    assert viewer.explanation.method == "leave_one_out"


def test_nothing_can_be_taken_away_before_anything_is_shown(model: Model) -> None:
    with pytest.raises(vx.InvalidInput, match="nothing is shown yet"):
        vx.Viewer(model, [], count=0).hidden = {"image": [0]}


@pytest.mark.parametrize("name", NAMES)
def test_what_a_trait_holds_at_first_fits_it(name: str) -> None:
    assert checked(name, initial(name)) == initial(name)


FROM_VIEW: dict[str, Any] = {
    "look": {"map": "red-blue", "page": "table"},
    "hidden": {"image": [2.0]},  # JavaScript has one kind of numbers
    "filter": {
        "outcome": "wrong",
        "ranges": {"error": [0, 0.5]},
        "sort": "error",
        "equals": {"kind": "a"},
    },
    "selection": [1, 2],
    "notes": {"picture 1": {"star": True}},
}


@pytest.mark.parametrize("name", NAMES)
def test_a_view_sets_state_that_fits_and_no_other(viewer: vx.Viewer, name: str) -> None:
    viewer.set_state({name: FROM_VIEW[name], "entries": [], "columns": [{"method": "x"}]})
    assert getattr(viewer, name) == checked(name, FROM_VIEW[name])
    assert getattr(viewer, name) != initial(name)
    assert (viewer.problem, len(viewer.entries), viewer.columns) == ("", 3, [])
    kept = getattr(viewer, name)
    viewer.set_state({name: {"x": object}})
    assert getattr(viewer, name) == kept
    assert viewer.problem != ""


def test_state_is_linked_to_other_widgets(viewer: vx.Viewer) -> None:
    import ipywidgets

    menu = ipywidgets.Dropdown(options=["leave_one_out", "saliency"])
    link = ipywidgets.link((viewer, "method"), (menu, "value"))
    menu.value = "saliency"
    assert viewer.wait(600)
    assert viewer.explanation.method == "saliency"
    link.unlink()
