"""What goes between the kernel and views: how much, and what may come from a view."""

import json
import logging
import random
from typing import Any

import numpy as np
import pytest
from conftest import Linear, ToTensor

import vqa_explain as vx
from vqa_explain.models.base import Model
from vqa_explain.viewer.state import NAMES

SIDE = 8
ACTIONS = [
    "method",
    "target",
    "columns",
    "thumbnails",
    "fetch",
    "cancel",
    "cancel all",
    "whatif",
    "question",
    "explain question",
    "line",
]


@pytest.fixture
def model() -> Model:
    return vx.load(Linear(3, SIDE), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")


def examples(count: int) -> list[vx.Example]:
    picture = np.random.default_rng(0).integers(60, 250, (SIDE, SIDE, 3), dtype=np.uint8)
    return [vx.Example(picture, id=f"picture {i}") for i in range(count)]


class Counted(vx.Viewer):
    """A viewer that counts the bytes that it sends, in place of a connection."""

    sent = 0

    def _send(self, msg: Any, buffers: Any = None) -> None:
        # As Jupyter writes it, which refuses infinite numbers and halves of characters.
        text = json.dumps(msg, ensure_ascii=False, allow_nan=False).encode()
        Counted.sent += len(text) + sum(map(len, buffers or []))


@pytest.fixture(autouse=True)
def nothing_sent() -> None:
    Counted.sent = 0


def bytes_of(model: Model, count: int) -> int:
    """What is sent while so many examples are explained and one is chosen."""
    Counted.sent = 0
    viewer = Counted(model, examples(count), method="saliency", count=count)
    assert viewer.wait(600)
    assert [entry["state"] for entry in viewer.entries] == ["done"] * count
    return Counted.sent


@pytest.mark.slow
def test_traffic_grows_with_the_examples_and_not_with_their_square(model: Model) -> None:
    few, more, most = (bytes_of(model, count) for count in (10, 30, 90))
    of_few, of_more = (more - few) / 20, (most - more) / 60
    # A longer list has longer numbers in it, which is all that may grow for each example.
    assert of_more < 1.1 * of_few
    assert of_more < 2000


@pytest.mark.slow
def test_a_long_list_is_sent_once(model: Model) -> None:
    viewer = Counted(model, [], method="saliency", count=0)
    viewer._desk.dataset = examples(10_000)
    Counted.sent = 0
    viewer._desk.fetch("all", 10_000)
    viewer._desk.cancel_all()
    # At most twice: listed, and cancelled.
    assert Counted.sent < 2.5 * len(json.dumps(list(viewer.entries)))
    assert viewer.wait(600)
    assert len(viewer.entries) == 10_000


def test_a_view_that_opens_gets_the_whole_list(model: Model) -> None:
    viewer = Counted(model, examples(30), method="saliency", count=30)
    assert viewer.wait(600)
    assert viewer.get_state("entries")["entries"] == viewer.entries
    Counted.sent = 0
    viewer._on_message(viewer, {"action": "hello", "number": 4}, [])
    assert Counted.sent > len(json.dumps(viewer.entries))
    assert viewer.heard == 4


def test_progress_is_told_in_hundredths(model: Model) -> None:
    viewer = Counted(model, examples(1), method="saliency", count=1)
    assert viewer.wait(600)
    Counted.sent = 0
    for done in range(100_000):
        viewer._desk._listener.progressed(0, done, 100_000)
    assert Counted.sent < 100 * 200


def nested(depth: int) -> list[Any]:
    """A list in a list in a list, so deep."""
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


WEIRD: list[Any] = [
    10**5000, 2**63, 2**53, -0.0, float("-inf"), nested(300), nested(5000), {"layer": nested(5000)},
    b"", b"abc", memoryview(b"abc"), "\ud800", "x" * 200_000, list(range(200_000)), {"image": [True]},
    {"image": [10**5000]}, {"image": 0}, {"": 1}, {"\ud800": 1}, {"nothing": [0]}, [{"example": -1}],
    [{"model": 2**40}], [{"method": "saliency", "parameters": {"a": nested(300)}}], {"steps": 10**18},
    None, True, -1, 0, 3.5, 2.0, 1e300, float("nan"), float("inf"), 10**30, "", "a", "saliency", "all",
    "image", "answer: a", [], [1], [[]], [None], {}, {"image": [0]}, {"image": [-9]}, {"image": "x"},
    {"x": {"y": 1}}, {"budget": "x"}, "\x00", "𝕏" * 50,
]  # fmt: skip
FIELDS = [
    "action", "method", "parameters", "target", "contrast", "columns", "indices", "filter", "index", "away",
    "serial", "question", "explanation", "number",
]  # fmt: skip


def malformed(rng: random.Random) -> Any:
    """A message with wrong values, missing fields, or no message at all."""
    if rng.random() < 0.05:
        return rng.choice(WEIRD)
    message = {name: rng.choice(WEIRD) for name in FIELDS if rng.random() < 0.8}
    if rng.random() < 0.9:
        message["action"] = rng.choice(ACTIONS)
    message["count"] = rng.choice([-1, None, "x", 10**9, float("nan"), 2.5, 1])
    return message


def receive(viewer: vx.Viewer, data: Any) -> None:
    """What comes from a page, as ipywidgets gets it."""
    viewer._handle_msg({"content": {"data": data}, "buffers": []})


def test_a_thousand_malformed_messages_raise_nothing(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(7)
    viewer = Counted(model, examples(2), method="saliency", count=2)
    logging.getLogger("traitlets").addHandler(caplog.handler)  # where ipywidgets tells of errors
    names = ["selected", *NAMES, *sorted(viewer.keys), "x"]
    try:
        for _ in range(1000):
            receive(viewer, {"method": "custom", "content": malformed(rng)})
            one = {rng.choice(names): rng.choice(WEIRD)}
            state = rng.choice(WEIRD) if rng.random() < 0.05 else one
            receive(viewer, {"method": "update", "state": state, "buffer_paths": []})
            assert len(viewer.problem) < 600
    finally:
        logging.getLogger("traitlets").removeHandler(caplog.handler)
    assert "Traceback" not in caplog.text  # each was refused where it came in
    assert viewer.wait(600)
    before = viewer.heard
    method = {"action": "method", "method": "saliency", "parameters": {}, "number": before + 1}
    viewer._on_message(viewer, method, [])
    assert viewer.heard == before + 1 < 2**53
    viewer._on_message(viewer, {"action": "fetch", "filter": "all", "count": 2}, [])
    viewer.set_state({"selected": 1})
    assert viewer.wait(600)
    assert [entry["state"] for entry in viewer.entries] == ["done", "done"]
    assert (viewer.problem, viewer.selected) == ("", 1)
    assert viewer.explanation is not None


def test_a_view_changes_nothing_but_the_selection(model: Model) -> None:
    viewer = Counted(model, examples(2), method="saliency", count=2)
    assert viewer.wait(600)
    entries = list(viewer.entries)
    viewer.set_state({"entries": [], "shown": {}, "selected": 1})
    assert viewer.entries == entries
    assert viewer.shown != {}
    assert viewer.selected == 1
