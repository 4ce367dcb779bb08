"""The viewer's state machine, without a widget and without a browser.

The network is linear: leaving a region out changes an answer's score by the weights times the
region's pixels, which these tests compute by hand.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pytest
from conftest import Linear, ToTensor
from torch import Tensor, nn

import vqa_explain as vx
from vqa_explain import _batches
from vqa_explain.methods import METHODS
from vqa_explain.models.base import Model
from vqa_explain.target import Answer
from vqa_explain.viewer.desk import Desk
from vqa_explain.viewer.jobs import Worker
from vqa_explain.viewer.requests import (
    AskedTarget,
    Column,
    Entry,
    KeptExplanation,
    MethodChoice,
    Options,
    Pending,
)

SIDE, CELLS = 8, 4  # CELLS × CELLS regions of a square picture
LABELS = ["a", "b", "c"]
HANG = 120  # seconds; only a test that hangs waits so long
LEAVE_ONE_OUT = MethodChoice("leave_one_out", {"image_fill": "constant"})
# Values of the first pixel. Other pictures are in between, and a region that is left out is 0.
DARK, BROKEN = 30, 255


class Network(nn.Module):
    """A linear network that waits at a gate for dark pictures and fails for broken ones."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Linear(len(LABELS), SIDE)
        self.gate, self.is_waiting = threading.Event(), threading.Event()
        self.gate.set()

    def forward(self, pixels: Tensor) -> Tensor:
        first = (pixels[:, 0, 0, 0] * 255).round()
        if bool((first == BROKEN).any()):
            raise RuntimeError("the picture is broken")
        if bool((first == DARK).any()) and not self.gate.is_set():
            self.is_waiting.set()
            assert self.gate.wait(HANG)
        scores: Tensor = self.body(pixels)
        return scores

    def shut(self) -> None:
        self.is_waiting.clear()
        self.gate.clear()


class Recorder:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, Any]] = []
        self.entries: list[Entry] = []
        self.pending: Pending | None = None
        self.shown: KeptExplanation | None = None
        self.beside: Mapping[int, KeptExplanation] = {}
        self.problems: list[str] = []
        self.answers: dict[Any, dict[str, Any]] = {}
        self.on_selection: Callable[[int], None] = lambda _: None
        self.on_progress: Callable[[], object] | None = None  # at the next progress alone

    def _tell(self, name: str, value: Any) -> None:
        self.calls.append((name, value))

    def named(self, name: str) -> list[Any]:
        return [value for called, value in self.calls if called == name]

    def state(self, index: int) -> str:
        return self.entries[index].state if index < len(self.entries) else "not listed"

    @property
    def states(self) -> list[str]:
        return [entry.state for entry in self.entries]

    def options_changed(self, options: Options) -> None:
        self._tell("options", options)

    def list_cleared(self) -> None:
        self.entries = []

    def entries_changed(self, changes: Mapping[int, Entry]) -> None:
        for index, entry in changes.items():
            self.entries[index : index + 1] = [entry]
        self._tell("changes", dict(changes))
        self._tell("entries", list(self.entries))

    def pending_changed(self, pending: Pending | None) -> None:
        self.pending = pending
        self._tell("pending", pending)

    def preview_found(self, index: int, example: vx.Example, found: Sequence[Answer]) -> None:
        self._tell("preview", (example.id, [answer.text for answer in found]))

    def selection_changed(self, index: int) -> None:
        self._tell("selection", index)
        self.on_selection(index)

    def screen_cleared(self) -> None:
        self.shown, self.beside = None, {}
        self._tell("cleared", None)

    def explanation_shown(
        self, shown: KeptExplanation, beside: Mapping[int, KeptExplanation]
    ) -> None:
        self.shown, self.beside, self.pending = shown, beside, None
        self._tell("shown", shown.request.example.id)

    def comparison_ended(self) -> None:
        self.beside = {}
        self._tell("comparison ended", None)

    def target_changed(self, target: AskedTarget) -> None:
        self._tell("target", target)

    def columns_changed(self, columns: Sequence[Column]) -> None:
        self._tell("columns", list(columns))

    def thumbnails_asked(self, kept: Mapping[int, KeptExplanation]) -> None:
        self._tell("thumbnails", sorted(kept))

    def progressed(self, index: int, done: int, total: int) -> None:
        self._tell("progress", (index, done, total))
        act, self.on_progress = self.on_progress, None
        if act is not None:
            act()

    def problem_found(self, problem: str) -> None:
        self.problems.append(problem)
        self._tell("problem", problem)

    def what_if_answered(self, serial: Any, answer: dict[str, Any]) -> None:
        self.answers[serial] = answer
        self._tell("answer", serial)


def example(seed: int, first: int | None = None, answer: str | None = None) -> vx.Example:
    picture = np.random.default_rng(seed).integers(60, 250, (SIDE, SIDE, 3), dtype=np.uint8)
    if first is not None:
        picture[0, 0] = first
    return vx.Example(picture, answer=answer, id=f"picture {seed}")


def replaced_picture(of: vx.Example, picture: np.ndarray) -> vx.Example:
    return vx.Example(picture, answer=of.answer, id=of.id)


def scores_by_hand(network: Network, of: vx.Example, without: Sequence[int] = ()) -> np.ndarray:
    """The sum of weights times pixels for each label, without some regions."""
    pixels = np.asarray(of.image, dtype=np.float64).transpose(2, 0, 1) / 255
    for number in without:
        row, column = divmod(number, CELLS)
        wide = SIDE // CELLS
        rows = slice(row * wide, (row + 1) * wide)
        columns = slice(column * wide, (column + 1) * wide)
        pixels[:, rows, columns] = 0
    weight = network.body.weight.detach().numpy().astype(np.float64)
    return np.asarray((weight * pixels).sum(axis=(1, 2, 3)))


def best_by_hand(network: Network, of: vx.Example) -> str:
    return LABELS[int(scores_by_hand(network, of).argmax())]


def assert_explains(kept: KeptExplanation | None, network: Network, of: vx.Example) -> None:
    """Every region's value is the change of the target's score, by hand."""
    assert kept is not None
    target = LABELS.index(kept.explanation.target)
    for number, region in enumerate(kept.explanation.regions):
        change = scores_by_hand(network, of) - scores_by_hand(network, of, [number])
        assert region.value == pytest.approx(float(change[target]), abs=1e-4)


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network()
    yield made
    made.gate.set()


@pytest.fixture
def model(network: Network) -> Model:
    return vx.load(network, transform=ToTensor(), labels=LABELS, device="cpu")


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


def desk_of(
    model: Model,
    dataset: Any,
    recorder: Recorder,
    method: MethodChoice = LEAVE_ONE_OUT,
    others: Sequence[Model] = (),
) -> Desk:
    return Desk(model, dataset, recorder, method=method, regions=CELLS, others=others)


def finished(desk: Desk) -> Desk:
    assert desk.wait(HANG)
    return desk


def fetched(desk: Desk, filter_: str = "all", count: int = 9) -> Desk:
    desk.fetch(filter_, count)
    return finished(desk)


# Fetching and filtering.


def test_a_fetch_lists_and_explains_every_example(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(seed, answer="a") for seed in range(3)]
    desk = desk_of(model, data, recorder)
    assert recorder.calls == []  # nothing is told before somebody asks
    fetched(desk)
    assert desk.examples == data
    assert [entry.title for entry in recorder.entries] == [f"picture {i}" for i in range(3)]
    assert [entry.answer for entry in recorder.entries] == [best_by_hand(network, e) for e in data]
    assert [entry.correct for entry in recorder.entries] == [
        best_by_hand(network, e) == "a" for e in data
    ]
    assert recorder.named("shown") == ["picture 0"]
    assert_explains(recorder.shown, network, data[0])
    assert len(desk.explanations()) == 3


def test_an_entry_waits_runs_and_is_done(model: Model, recorder: Recorder) -> None:
    fetched(desk_of(model, [example(0)], recorder))
    states = [entries[0].state for entries in recorder.named("entries") if entries]
    assert [state for at, state in enumerate(states) if states[at - 1 : at] != [state]] == [
        "waiting",
        "running",
        "done",
    ]
    done = [done for _, done, _ in recorder.named("progress")]
    assert done == sorted(done)
    assert done


def test_no_more_examples_are_read_than_asked_for(model: Model, recorder: Recorder) -> None:
    read = []

    class Endless:
        def __iter__(self) -> Iterator[vx.Example]:
            seed = 0
            while True:
                read.append(seed)
                yield example(seed)
                seed += 1

    desk = fetched(desk_of(model, Endless(), recorder), count=2)
    assert (len(desk.examples), read) == (2, [0, 1])
    answer = recorder.entries[0].answer
    read.clear()
    fetched(desk, f"answer: {answer}", count=1)
    assert (len(desk.examples), read) == (1, [0])


@pytest.mark.parametrize("filter_", ["correct", "incorrect", "answer: b", "answer: c"])
def test_a_filter_lists_what_passes_it(
    network: Network, model: Model, recorder: Recorder, filter_: str
) -> None:
    data = [example(seed, answer="b") for seed in range(12)]
    best = {each.id: best_by_hand(network, each) for each in data}
    assert {"b", "c"} <= set(best.values())  # otherwise this would test nothing
    passing = {
        "correct": [each for each in data if best[each.id] == "b"],
        "incorrect": [each for each in data if best[each.id] != "b"],
        "answer: b": [each for each in data if best[each.id] == "b"],
        "answer: c": [each for each in data if best[each.id] == "c"],
    }[filter_]
    desk = fetched(desk_of(model, data, recorder), filter_, count=2)
    assert desk.examples == passing[:2]
    assert set(recorder.states) == {"done"}
    assert recorder.problems == []
    assert recorder.named("options")[-1].filter == filter_


def test_a_filter_that_nothing_passes_says_so(model: Model, recorder: Recorder) -> None:
    fetched(desk_of(model, [example(0)], recorder), "correct")  # without a label
    assert recorder.entries == []
    assert recorder.problems == [
        "none of the first 5,000 examples is correct; choose another filter"
    ]


def test_a_filter_passes_over_an_example_that_fails(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(0, first=BROKEN, answer="a"), example(1)]
    data.append(vx.Example(data[1].image, answer=best_by_hand(network, data[1]), id="right"))
    desk = fetched(desk_of(model, data, recorder), "correct")
    assert [each.id for each in desk.examples] == ["right"]
    (problem,) = recorder.problems
    assert problem.startswith("examples that failed and are left out: 1; first: ")
    assert "the picture is broken" in problem


def test_a_data_set_that_fails_ends_the_filter_and_nothing_else(
    network: Network, model: Model, recorder: Recorder
) -> None:
    def failing() -> Iterator[vx.Example]:
        yield vx.Example(first.image, answer=best_by_hand(network, first), id="right")
        raise OSError("the disk is gone")

    first = example(0)
    desk = fetched(desk_of(model, failing(), recorder), "correct")
    assert recorder.states == ["done"]
    assert recorder.problems == [
        "the data set cannot be read to its end: OSError: the disk is gone"
    ]
    desk.dataset = [first]
    fetched(desk)
    assert recorder.states == ["done"]


def test_a_filter_that_is_left_adds_nothing_to_the_next_list(
    network: Network, model: Model, recorder: Recorder
) -> None:
    dark = example(0, first=DARK)
    desk = desk_of(model, [dark] * 3, recorder)
    network.shut()
    desk.fetch(f"answer: {best_by_hand(network, dark)}", 3)
    assert network.is_waiting.wait(HANG)
    desk.dataset = [example(1)]
    desk.fetch("all", 1)
    network.gate.set()
    finished(desk)
    assert [each.id for each in desk.examples] == ["picture 1"]
    assert_explains(recorder.shown, network, desk.examples[0])
    assert recorder.problems == []


@pytest.mark.parametrize("method", [LEAVE_ONE_OUT, MethodChoice("saliency", {})])
def test_a_fetch_forgets_what_is_still_computed(
    network: Network, model: Model, recorder: Recorder, method: MethodChoice
) -> None:
    """Saliency tells no progress, so that it runs to its end although nobody waits for it."""
    desk = desk_of(model, [example(0, first=DARK), example(1)], recorder, method)
    network.shut()
    desk.fetch("all", 2)
    assert network.is_waiting.wait(HANG)
    desk.dataset = [example(2)]
    desk.fetch("all", 2)
    network.gate.set()
    finished(desk)
    assert recorder.states == ["done"]
    (kept,) = desk.explanations()
    np.testing.assert_array_equal(kept.picture, desk.examples[0].image)
    assert recorder.named("shown") == ["picture 2"]


@pytest.mark.parametrize("selects", [False, True])
def test_a_fetch_selects_the_first_example(model: Model, recorder: Recorder, selects: bool) -> None:
    """A widget's observer selects again what it is told of; other listeners do not."""
    desk = fetched(desk_of(model, [example(0), example(1)], recorder))
    if selects:
        recorder.on_selection = desk.choose
    desk.choose(1)
    fetched(desk)
    assert recorder.named("selection") == [0]
    assert recorder.named("shown")[-1] == "picture 0"


# Choosing and canceling.


def test_an_example_that_is_chosen_comes_next_and_the_screen_stays_until_then(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(0), example(1, first=DARK), example(2), example(3)]
    desk = desk_of(model, data, recorder)
    network.shut()
    desk.fetch("all", 4)
    assert network.is_waiting.wait(HANG)
    desk.choose(3)
    assert recorder.named("shown") == ["picture 0"]
    assert recorder.states == ["done", "running", "waiting", "waiting"]
    network.gate.set()
    finished(desk)
    assert recorder.named("shown") == ["picture 0", "picture 3"]
    assert_explains(recorder.shown, network, data[3])
    ran = [
        next(index for index, entry in enumerate(entries) if entry.state == "running")
        for entries in recorder.named("entries")
        if any(entry.state == "running" for entry in entries)
    ]
    assert list(dict.fromkeys(ran)) == [0, 1, 3, 2]


def test_what_is_kept_is_shown_at_once(network: Network, model: Model, recorder: Recorder) -> None:
    desk = fetched(desk_of(model, [example(0, first=DARK), example(1, first=DARK)], recorder))
    network.shut()  # any call of the model would wait
    desk.choose(1)
    assert recorder.named("shown") == ["picture 0", "picture 1"]
    assert not network.is_waiting.is_set()


def test_work_that_runs_is_canceled_and_can_be_asked_for_again(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = desk_of(model, [example(0, first=DARK), example(1)], recorder)
    network.shut()
    desk.fetch("all", 2)
    assert network.is_waiting.wait(HANG)
    desk.cancel(0)
    network.gate.set()
    finished(desk)
    assert recorder.states == ["cancelled", "done"]
    assert recorder.shown is None
    desk.choose(0)
    finished(desk)
    assert recorder.states == ["done", "done"]
    assert_explains(recorder.shown, network, desk.examples[0])


def test_work_that_waits_is_canceled(network: Network, model: Model, recorder: Recorder) -> None:
    desk = desk_of(model, [example(0, first=DARK), example(1)], recorder)
    network.shut()
    desk.fetch("all", 2)
    assert network.is_waiting.wait(HANG)
    desk.cancel(1)
    assert recorder.states == ["running", "cancelled"]
    network.gate.set()
    finished(desk)
    assert recorder.states == ["done", "cancelled"]


def test_another_method_explains_all_anew(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0), example(1)], recorder))
    desk.set_method("saliency", {"layer": None})
    finished(desk)
    assert recorder.shown is not None
    assert recorder.shown.explanation.method == "saliency"
    assert recorder.named("options")[-1].method == MethodChoice("saliency", {})
    assert len(desk.explanations()) == 4
    with pytest.raises(vx.InvalidInput, match="did you mean 'shapley'"):
        desk.set_method("shapely", {})
    assert desk.options.method.name == "saliency"


def test_a_chosen_answer_is_explained_and_left_with_the_example(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0), example(1)], recorder))
    for target in range(len(LABELS)):
        desk.set_target(target, None)
        finished(desk)
        assert recorder.shown is not None
        assert recorder.shown.explanation.target == LABELS[target]
        assert_explains(recorder.shown, network, desk.examples[0])
    desk.choose(1)
    shown: KeptExplanation | None = recorder.shown
    assert shown is not None
    assert shown.explanation.target == best_by_hand(network, desk.examples[1])


def test_an_answer_of_another_example_is_not_explained_for_the_selected_one(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0), example(1)], recorder))
    assert recorder.shown is not None
    first = recorder.shown.request.key
    desk.choose(1)
    with pytest.raises(vx.InvalidInput, match="that answer is of example 1, and example 2"):
        desk.set_target(0, None, first)


# Failures.


def test_an_example_that_fails_is_told_in_its_place(model: Model, recorder: Recorder) -> None:
    data = [example(0), example(1, first=BROKEN), example(2)]
    desk = fetched(desk_of(model, data, recorder))
    assert recorder.states == ["done", "error", "done"]
    assert recorder.entries[1].message == "RuntimeError: the picture is broken"
    desk.choose(1)
    finished(desk)
    assert recorder.named("shown") == ["picture 0"]
    assert recorder.states == ["done", "error", "done"]


def test_a_listener_that_fails_does_not_end_the_work(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing(Recorder):
        def explanation_shown(
            self, shown: KeptExplanation, beside: Mapping[int, KeptExplanation]
        ) -> None:
            raise ValueError("the observer is broken")

    recorder = Failing()
    fetched(desk_of(model, [example(0), example(1)], recorder))
    assert recorder.states == ["done", "done"]
    assert "the observer is broken" in caplog.text


@pytest.mark.parametrize("dataset", ["scenes:test", 7, {"a": 1}])
def test_a_data_set_is_an_iterable_of_examples(
    model: Model, recorder: Recorder, dataset: Any
) -> None:
    with pytest.raises(vx.InvalidInput, match="sequence of Examples"):
        desk_of(model, dataset, recorder)


class ByPlace:
    """As torch's data sets are: a length and items, and no iterator."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: int) -> vx.Example:
        return example(number)


@pytest.mark.parametrize("filter_", ["all", "answer: "])
def test_a_data_set_may_be_read_by_place_alone(
    network: Network, model: Model, recorder: Recorder, filter_: str
) -> None:
    wanted = filter_ if filter_ == "all" else f"answer: {best_by_hand(network, example(2))}"
    desk = fetched(desk_of(model, ByPlace(), recorder), wanted)
    assert "picture 2" in [each.id for each in desk.examples]
    assert set(recorder.states) == {"done"}
    assert recorder.problems == []


# Comparisons.


@pytest.mark.parametrize(
    ("column", "index", "method", "target"),
    [
        (Column(method="saliency"), 0, "saliency", None),
        (Column(target=2), 0, "leave_one_out", "c"),
        (Column(target="b"), 0, "leave_one_out", "b"),
        (Column(example=1), 1, "leave_one_out", None),
        (Column(example=7), 1, "leave_one_out", None),  # the list is shorter
        (Column(parameters={"image_fill": "mean"}), 0, "leave_one_out", None),
    ],
)
def test_what_is_set_beside_is_what_was_asked_for(
    network: Network, model: Model, recorder: Recorder, column: Column, index: int,
    method: str, target: str | None,
) -> None:  # fmt: skip
    desk = fetched(desk_of(model, [example(0), example(1)], recorder))
    desk.set_columns([column])
    finished(desk)
    beside = recorder.beside[0]
    assert beside.request.example is desk.examples[index]
    assert beside.explanation.method == method
    assert beside.explanation.target == (target or best_by_hand(network, desk.examples[index]))
    if method == "leave_one_out" and not column.parameters:
        assert_explains(beside, network, desk.examples[index])
    assert column.parameters.items() <= beside.explanation.parameters.items()
    assert_explains(recorder.shown, network, desk.examples[0])
    desk.set_columns([])
    assert recorder.named("comparison ended") == [None]
    desk.choose(1)
    assert recorder.beside == {}


def test_six_columns_stand_side_by_side_and_one_that_fails_is_left_out(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(0), example(1, first=BROKEN), example(2)]
    desk = fetched(desk_of(model, data, recorder))
    columns = [Column(target="a"), Column(example=1), Column(target="b"), Column(example=2)]
    desk.set_columns([*columns, Column(target="b", contrast="c")])
    finished(desk)
    assert sorted(recorder.beside) == [0, 2, 3, 4]
    found = {
        n: (one.explanation.target, one.explanation.contrast) for n, one in recorder.beside.items()
    }
    best = best_by_hand(network, data[2])
    assert found == {0: ("a", None), 2: ("b", None), 3: (best, None), 4: ("b", "c")}
    for number, of in ((0, data[0]), (2, data[0]), (3, data[2])):
        assert_explains(recorder.beside[number], network, of)
    assert len(recorder.problems) == 1
    desk.set_columns(columns[:1])  # those that are kept need no computation
    assert sorted(recorder.beside) == [0]
    with pytest.raises(vx.InvalidInput, match="6 columns can be compared"):
        desk.set_columns([Column()] * 6)


def test_another_model_is_asked_for_the_answer_by_its_text(
    network: Network, model: Model, recorder: Recorder
) -> None:
    """Label numbers belong to one model: "b" is 1 here and 0 there."""
    other = vx.load(network.body, transform=ToTensor(), labels=["b", "c", "a"], device="cpu")
    desk = fetched(desk_of(model, [example(0)], recorder, others=[other]))
    desk.set_target(1, 2)
    desk.set_columns([Column(model=1)])
    finished(desk)
    assert recorder.shown is not None
    found = [
        (e.explanation.target, e.explanation.contrast) for e in (recorder.shown, recorder.beside[0])
    ]
    assert found == [("b", "c"), ("b", "c")]
    assert (
        recorder.shown.explanation.target_index,
        recorder.beside[0].explanation.target_index,
    ) == (
        1,
        0,
    )


def test_a_comparison_that_fails_leaves_the_explanation(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0), example(1, first=BROKEN)], recorder))
    desk.set_columns([Column(example=1)])
    finished(desk)
    assert recorder.problems == [
        "the comparison could not be made: RuntimeError: the picture is broken"
    ]
    assert recorder.beside == {}
    assert recorder.state(0) == "done"
    assert_explains(recorder.shown, network, desk.examples[0])


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (Column(method="salience"), "did you mean 'saliency'"),
        (Column(method="saliency", parameters={"step": 3}), "step"),
        (Column(parameters={"regoins": 3}), "regoins"),
        (Column(model=1), "there is no model number 1"),
        (Column(example=-1), "named by its place from 0"),
    ],
)
def test_an_unknown_column_is_refused(
    model: Model, recorder: Recorder, column: Column, said: str
) -> None:
    desk = desk_of(model, [], recorder)
    with pytest.raises(vx.InvalidInput, match=said):
        desk.set_columns([column])
    desk.set_columns([Column(method="saliency")])  # nothing is listed, so that nothing is explained
    assert desk.explanations() == []


# Questions about an explanation.


def test_a_what_if_is_about_the_explanation_that_was_seen(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(0), example(1, first=DARK)]
    desk = fetched(desk_of(model, data, recorder))
    assert recorder.shown is not None
    seen = recorder.shown.request.key
    desk.choose(1)  # the first one has left the screen
    desk.questions.ask_without("first", {"image": [5, 10]}, seen)
    finished(desk)
    desk.questions.ask_without("second", {"image": [5, 10]})  # the one on the screen
    finished(desk)
    for serial, of in zip(("first", "second"), data, strict=True):
        change = scores_by_hand(network, of, [5, 10]) - scores_by_hand(network, of)
        best = LABELS.index(best_by_hand(network, of))
        assert recorder.answers[serial]["change"] == pytest.approx(float(change[best]), abs=1e-4)
    desk.fetch("all", 1)
    finished(desk)
    with pytest.raises(vx.InvalidInput, match="no longer kept"):
        desk.questions.ask_without("third", {"image": [1]}, seen)


def test_a_what_if_of_another_fill_is_measured_and_predicts_nothing(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0)], recorder))
    own = {"image": [5, 10]}
    desk.questions.ask_without("own", own, fills={"image": "constant"})  # the explanation's
    desk.questions.ask_without("another", own, fills={"image": "mean"})
    with pytest.raises(vx.InvalidInput, match="no longer kept"):
        desk.questions.ask_without("none", own, "no such key", fills={"image": "mean"})
    finished(desk)
    desk.questions.ask_without("another", own, fills={"image": "mean"})
    finished(desk)
    desk.questions.ask_without("wrong", own, fills={"image": "nothing"})
    finished(desk)
    desk.questions.ask_without("own", own, fills={"image": "constant"})
    finished(desk)
    told, other = recorder.answers["own"], recorder.answers["another"]
    assert (told["otherFills"], told["used"]) == (False, {"image": ["constant"]})
    assert told["predicted"] == pytest.approx(told["change"], abs=1e-4)  # the network is linear
    assert (other["otherFills"], other["predicted"]) == (True, None)
    assert other["used"] == {"image": ["mean"]}
    # By hand: the two regions become the mean color of the picture.
    of = desk.examples[0]
    picture = np.asarray(of.image, dtype=np.float64)
    filled = picture.copy()
    cell = SIDE // CELLS
    for region in own["image"]:
        row, column = region // CELLS * cell, region % CELLS * cell
        filled[row : row + cell, column : column + cell] = picture.mean(axis=(0, 1))
    change = scores_by_hand(network, replaced_picture(of, filled)) - scores_by_hand(network, of)
    best = LABELS.index(best_by_hand(network, of))
    assert other["change"] == pytest.approx(float(change[best]), abs=1e-3)
    assert "nothing" in recorder.answers["wrong"]["error"]


def test_another_question_becomes_an_example_of_its_own(recorder: Recorder) -> None:
    model = vx.load("scenes", device="cpu")
    data = [vx.load_dataset("scenes:test")[i] for i in (0, 1)]
    method = MethodChoice("saliency", {})
    desk = fetched(Desk(model, data, recorder, method=method))
    desk.explain_question("How many stars are there?")
    finished(desk)
    assert [entry.title for entry in recorder.entries][-1] == "How many stars are there?"
    assert recorder.shown is not None
    assert recorder.shown.request.index == 2
    assert recorder.shown.explanation.question == "How many stars are there?"
    expected = vx.explain(model, data[0].image, "How many stars are there?", method="saliency")
    found = recorder.shown.explanation
    assert [w.value for w in found.words] == [w.value for w in expected.words]
    # Nothing is known of the true answer, or of where it is seen.
    assert (recorder.entries[2].label, recorder.entries[2].correct) == (None, None)
    assert recorder.shown.request.example.truth is None
    assert (recorder.named("selection")[-1], len(desk.examples)) == (2, 3)


def test_nothing_can_be_asked_before_anything_is_shown(model: Model, recorder: Recorder) -> None:
    desk = desk_of(model, [], recorder)
    with pytest.raises(vx.InvalidInput, match="no longer kept"):
        desk.questions.ask_question(1, "why?")
    with pytest.raises(vx.InvalidInput, match="no longer kept"):
        desk.set_target(0, None)


def test_the_latest_question_takes_the_place_of_one_that_waits(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0, first=DARK)], recorder))
    network.shut()
    desk.set_target(1, None)
    assert network.is_waiting.wait(HANG)
    for number in range(3):
        desk.questions.ask_without(number, {"image": [number]})
    network.gate.set()
    finished(desk)
    assert recorder.named("answer") == [2]


def test_a_question_that_fails_is_answered_by_its_error(model: Model, recorder: Recorder) -> None:
    desk = fetched(desk_of(model, [example(0)], recorder))
    desk.questions.ask_without("x", {"image": [99]})
    finished(desk)
    assert set(recorder.answers["x"]) == {"error"}


# Threads.


def test_two_threads_leave_a_desk_that_agrees_with_itself(
    network: Network, model: Model, recorder: Recorder
) -> None:
    data = [example(seed) for seed in range(4)]
    desk = desk_of(model, data, recorder)
    together = threading.Barrier(2)
    errors: list[BaseException] = []

    def act(*actions: Callable[[], object]) -> None:
        together.wait(HANG)
        for action in actions:
            try:
                action()
            except BaseException as error:
                errors.append(error)

    rounds = 6
    choosing = [partial(desk.choose, number % 4) for number in range(4 * rounds)]
    fetching: list[Callable[[], object]] = [
        partial(desk.fetch, "all", 4),
        partial(desk.set_method, "saliency", {}),
        desk.explanations,
        partial(desk.set_method, LEAVE_ONE_OUT.name, LEAVE_ONE_OUT.parameters),
    ] * rounds
    threads = [threading.Thread(target=act, args=actions) for actions in (choosing, fetching)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(HANG)
    desk.choose(2)
    finished(desk)
    assert errors == []
    assert desk.examples == data
    assert recorder.states == ["done"] * 4
    assert [entry.answer for entry in recorder.entries] == [best_by_hand(network, e) for e in data]
    assert recorder.shown is not None
    assert recorder.shown.request.example is data[2]
    assert recorder.shown.request.method == LEAVE_ONE_OUT
    assert_explains(recorder.shown, network, data[2])


def test_a_fetch_in_another_thread_replaces_the_list_as_a_whole(
    model: Model, recorder: Recorder
) -> None:
    """The data set of the first fetch is read while the second comes: no list mixes them."""
    reading, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[vx.Example]:
        yield example(0)
        reading.set()
        assert go_on.wait(HANG)
        yield example(1)

    desk = desk_of(model, slow(), recorder)
    thread = threading.Thread(target=desk.fetch, args=("all", 2))
    thread.start()
    assert reading.wait(HANG)
    desk.dataset = [example(7)]
    desk.fetch("all", 2)
    go_on.set()
    thread.join(HANG)
    finished(desk)
    assert [each.id for each in desk.examples] == ["picture 7"]
    assert recorder.states == ["done"]


def test_a_closed_desk_does_no_more_work(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = desk_of(model, [example(0, first=DARK), example(1)], recorder)
    network.shut()
    desk.fetch("all", 2)
    assert network.is_waiting.wait(HANG)
    desk.close()
    network.gate.set()
    finished(desk)
    assert desk.explanations() == []


def test_a_job_that_fails_leaves_the_worker_alive(caplog: pytest.LogCaptureFixture) -> None:
    worker, done = Worker(), []

    def fail(_: object) -> None:
        raise ValueError("no job")

    worker.put("a", fail)
    worker.put("b", lambda _: done.append("b"))
    assert worker.wait(HANG)
    assert done == ["b"]
    assert "ValueError: no job" in caplog.text


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, MemoryError])
def test_no_error_of_a_job_ends_the_worker(
    error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    told: list[BaseException] = []
    worker, done = Worker(told.append), []

    def fail(_: object) -> None:
        raise error("over")

    worker.put("a", fail)
    worker.put_urgent("b", fail)
    worker.put("c", lambda _: done.append("c"))
    assert worker.wait(HANG)
    assert done == ["c"]
    assert [type(one) for one in told] == [error, error]
    worker.put("d", lambda _: done.append("d"))
    assert worker.wait(HANG)
    assert done == ["c", "d"]


def test_a_job_that_waits_for_all_jobs_does_not_wait_for_itself() -> None:
    worker, found = Worker(), []
    worker.put("a", lambda _: found.append(worker.wait()))
    assert worker.wait(HANG)
    assert found == [False]


def test_results_that_still_come_do_not_end_the_work_of_the_next_fetch(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = desk_of(model, [example(seed) for seed in range(6)], recorder)
    for _ in range(8):  # each while the worker is somewhere in the one before
        desk.fetch("all", 6)
        desk.fetch("answer: a", 6)
    fetched(desk, count=6)
    assert recorder.states == ["done"] * 6
    assert_explains(recorder.shown, network, desk.examples[0])
    assert recorder.pending is None


class Unreadable(Sequence[vx.Example]):
    """Three examples, of which the second cannot be read; it has its own way to say so."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __len__(self) -> int:
        return 3

    def __getitem__(self, number: Any) -> Any:
        if number == 1:
            raise self.error
        if number > 2:
            raise IndexError
        return example(number)


@pytest.mark.parametrize("filter_", ["all", "answer: "])
@pytest.mark.parametrize("error", [OSError("no disk"), SystemExit("no disk")])
def test_an_unreadable_example_is_told_and_the_others_go_on(
    network: Network, model: Model, recorder: Recorder, filter_: str, error: BaseException
) -> None:
    desk = desk_of(model, Unreadable(error), recorder)
    wanted = filter_ if filter_ == "all" else f"answer: {best_by_hand(network, example(2))}"
    fetched(desk, wanted)
    assert "picture 2" in [each.id for each in desk.examples]
    assert set(recorder.states) == {"done"}
    (problem,) = recorder.problems
    assert problem == (
        f"examples that failed and are left out: 1; first: {type(error).__name__}: no disk"
    )


def test_what_is_no_example_is_told(model: Model, recorder: Recorder) -> None:
    fetched(desk_of(model, ["picture.png", example(0)], recorder))
    assert recorder.states == ["done"]
    assert "it is no Example but a str" in recorder.problems[0]


@pytest.mark.parametrize("count", [-1, 10**9])
def test_a_count_that_no_list_has_is_refused(model: Model, recorder: Recorder, count: int) -> None:
    with pytest.raises(vx.InvalidInput, match="from 0 to 100,000"):
        desk_of(model, [example(0)], recorder).fetch("all", count)


# What is not there yet.


def test_what_is_asked_for_is_pending_until_it_is_shown(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0, first=DARK)], recorder))
    assert recorder.pending is None
    network.shut()
    desk.set_method("saliency", {})
    assert network.is_waiting.wait(HANG)
    assert recorder.pending == Pending(
        0, "running", "", MethodChoice("saliency", {}), AskedTarget(), comparison=False
    )
    desk.cancel(0)
    network.gate.set()
    finished(desk)
    found = recorder.pending
    assert found is not None
    assert found.state == "cancelled"
    desk.choose(0)
    finished(desk)
    assert recorder.pending is None


def test_a_comparison_alone_is_pending_as_such(model: Model, recorder: Recorder) -> None:
    desk = fetched(desk_of(model, [example(0)], recorder))
    desk.set_columns([Column(method="saliency")])
    finished(desk)
    told = [one.comparison for one in recorder.named("pending") if one is not None]
    assert told[:1] == [False]
    assert told[-1] is True
    assert recorder.pending is None


def test_inputs_and_answers_are_told_before_the_explanation(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0)], recorder))
    scores = scores_by_hand(network, desk.examples[0])
    ranked = [LABELS[i] for i in np.argsort(-scores)]
    assert recorder.named("preview") == [("picture 0", []), ("picture 0", ranked)]
    order = [name for name, _ in recorder.calls if name in ("preview", "progress", "shown")]
    assert order[:3] == ["preview", "preview", "progress"]
    assert order[-1] == "shown"


def test_a_preview_need_not_wait_for_another_example(model: Model, recorder: Recorder) -> None:
    method = MethodChoice("shapley", {"budget": 2000})
    desk = desk_of(model, [example(0), example(1)], recorder, method)
    recorder.on_progress = lambda: desk.choose(1)
    desk.fetch("all", 2)
    finished(desk)
    order = [value for name, value in recorder.calls if name in ("preview", "progress")]
    first = next(i for i, value in enumerate(order) if value[0] == "picture 1")
    assert any(value[0] == 0 for value in order[first:])  # the first one is still computed


@pytest.mark.slow
def test_a_question_is_answered_between_two_batches(
    network: Network, model: Model, recorder: Recorder
) -> None:
    method = MethodChoice("shapley", {"budget": 4000, "image_fill": "constant"})
    desk = fetched(desk_of(model, [example(0), example(1)], recorder), count=1)
    assert recorder.shown is not None
    seen = recorder.shown.request.key
    recorder.calls.clear()
    recorder.on_progress = lambda: desk.questions.ask_without("x", {"image": [3]}, seen)
    desk.set_method(method.name, method.parameters)
    finished(desk)
    order = [name for name, _ in recorder.calls if name in ("progress", "answer", "shown")]
    assert order[:3] == ["progress", "answer", "progress"]
    assert order[-1] == "shown"
    change = scores_by_hand(network, desk.examples[0], [3]) - scores_by_hand(
        network, desk.examples[0]
    )
    best = LABELS.index(best_by_hand(network, desk.examples[0]))
    assert recorder.answers["x"]["change"] == pytest.approx(float(change[best]), abs=1e-4)


def test_a_question_is_cancelled_with_all_work_and_says_so(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = fetched(desk_of(model, [example(0, first=DARK)], recorder), count=1)
    network.shut()
    desk.set_method("saliency", {})
    assert network.is_waiting.wait(HANG)
    assert recorder.shown is not None
    desk.questions.ask_without("x", {"image": [3]}, recorder.shown.request.key)
    desk.cancel_all()
    assert recorder.answers["x"] == {"error": "cancelled; ask again"}
    network.gate.set()
    finished(desk)
    assert recorder.named("answer") == ["x"]
    desk.cancel_all()
    assert recorder.named("answer") == ["x"]


ROUNDS: dict[str, dict[str, Any]] = {
    "shapley": {"budget": 4000, "image_fill": "constant"},
    "banzhaf": {"budget": 4000, "image_fill": "constant"},
}


@pytest.mark.parametrize("name", ROUNDS)
def test_a_question_does_not_wait_for_the_end_of_a_round(
    network: Network,
    model: Model,
    recorder: Recorder,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A round of an estimate has thousands of coalitions, and tells its progress once."""
    of = example(0)
    desk = fetched(desk_of(model, [of], recorder), count=1)
    assert recorder.shown is not None
    seen = recorder.shown.request.key
    passes, asked, answered = 0, 0, 0

    def count(*_: object) -> None:
        nonlocal passes, asked, answered
        passes += 1
        if recorder.state(0) == "running" and not asked and passes > 20:
            asked = passes
            desk.questions.ask_without("x", {"image": [3]}, seen)
        if "x" in recorder.answers and not answered:
            answered = passes

    monkeypatch.setitem(_batches.MOST, "cpu", 16)
    with_hook = network.register_forward_hook(count)
    desk.set_method(name, ROUNDS[name])
    finished(desk)
    with_hook.remove()
    assert 0 < asked < answered < asked + 9  # what is away, what is there, and their batch
    monkeypatch.undo()
    found: KeptExplanation | None = recorder.shown
    assert found is not None
    alone = vx.explain(model, of, method=name, regions=CELLS, **ROUNDS[name])
    values = [region.value for region in found.explanation.regions]
    assert values == pytest.approx([region.value for region in alone.regions], abs=1e-5)


TELLING: dict[str, dict[str, Any]] = {
    "shapley": {"budget": 2000},
    "lime": {"budget": 2000},
    "rise": {"budget": 2000},
    "occlusion": {},
    "integrated_gradients": {"steps": 64},
    "smoothgrad": {"samples": 4},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", TELLING)
def test_a_question_in_the_midst_changes_no_value(
    model: Model, recorder: Recorder, name: str
) -> None:
    of = example(0)
    desk = fetched(desk_of(model, [of], recorder), count=1)
    assert recorder.shown is not None
    seen = recorder.shown.request.key
    recorder.on_progress = lambda: desk.questions.ask_without("x", {"image": [3]}, seen)
    desk.set_method(name, TELLING[name])
    finished(desk)
    assert "change" in recorder.answers["x"]
    alone = vx.explain(model, of, method=name, regions=CELLS, **TELLING[name])
    found: KeptExplanation | None = recorder.shown
    assert found is not None
    assert found.explanation.method == name
    assert [r.value for r in found.explanation.regions] == [r.value for r in alone.regions]


# Canceling what tells no progress.


@pytest.fixture
def silent() -> Iterator[str]:
    """A method of many passes that tell no progress."""
    name = "many_silent_passes"

    @vx.register_method(
        name, source="ours", unit="gradient size", needs={"pixels"}, error="none", cost="many"
    )
    @dataclass(frozen=True)
    class ManySilentPasses:
        """Nothing, after many passes."""

        passes: int = vx.parameter(1_000_000, "how many", low=1, high=10_000_000)

        def __call__(self, task: vx.Task) -> vx.Attribution:
            leaves = task.leaves()
            for _ in range(self.passes):
                task.score(leaves)
            return vx.Attribution({"image": np.zeros(task.encoded["image"].shape)}, None, "none")

    yield name
    del METHODS[name]


@pytest.mark.parametrize("all_work", [False, True])
def test_a_method_that_tells_no_progress_is_canceled_too(
    network: Network, model: Model, recorder: Recorder, silent: str, all_work: bool
) -> None:
    desk = desk_of(model, [example(0), example(1)], recorder, MethodChoice(silent, {}))
    passes = 0

    def count(*_: object) -> None:
        nonlocal passes
        passes += 1
        # Later than the first passes, which find out what the network can do.
        if passes == 30:
            desk.cancel_all() if all_work else desk.cancel(0)
        if passes == 60 and not all_work:
            desk.cancel(1)

    with_hook = network.register_forward_hook(count)
    desk.fetch("all", 2)
    finished(desk)
    with_hook.remove()
    assert recorder.states == ["cancelled", "cancelled"]
    assert passes == (30 if all_work else 60)


def test_a_job_in_place_of_another_is_not_told_as_cancelled(
    network: Network, model: Model, recorder: Recorder
) -> None:
    desk = desk_of(model, [example(0, first=DARK)], recorder)
    network.shut()
    desk.fetch("all", 1)
    assert network.is_waiting.wait(HANG)
    desk.set_method("saliency", {})
    network.gate.set()
    finished(desk)
    assert "cancelled" not in {entries[0].state for entries in recorder.named("entries")}
    assert recorder.states == ["done"]


def test_choosing_what_is_computed_does_not_begin_it_again(
    network: Network, model: Model, recorder: Recorder, silent: str
) -> None:
    method = MethodChoice(silent, {"passes": 20})
    desk = desk_of(model, [example(0), example(1)], recorder, method)
    passes = {True: 0, False: 0}
    chooses = False

    def count(*_: object) -> None:
        passes[chooses] += 1
        if chooses and recorder.state(1) == "running":
            desk.choose(1)

    fetched(desk, count=2)  # once what the network can do is measured, all are alike
    with_hook = network.register_forward_hook(count)
    fetched(desk, count=2)
    chooses = True
    fetched(desk, count=2)
    with_hook.remove()
    assert recorder.named("shown") == [*["picture 0"] * 3, "picture 1"]
    assert passes[True] == passes[False]


# What is told.


def test_a_change_of_one_example_tells_of_no_other(model: Model, recorder: Recorder) -> None:
    fetched(desk_of(model, [example(seed) for seed in range(7)], recorder))
    first, *later = recorder.named("changes")
    assert sorted(first) == list(range(7))
    told = [index for changes in later for index in changes]
    assert sorted(told) == sorted([*range(7)] * 2)  # each runs, and is done
