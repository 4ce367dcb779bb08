"""Thread counts inside an explanation, and after it."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from conftest import LINEAR_ALGEBRA, linear_algebra_threads

import vqa_explain as vx
from vqa_explain._threads import one_thread
from vqa_explain.models.classifier import ClassifierModel


@pytest.fixture(autouse=True)
def two() -> Iterator[None]:
    """As on a machine of two cores, where nothing else explains:
    a viewer that an earlier test left would hold the limit.
    """
    assert "vqa_explain viewer" not in {thread.name for thread in threading.enumerate()}
    with LINEAR_ALGEBRA.limit(limits=2):
        yield


@pytest.mark.each
@pytest.mark.parametrize("in_a_thread", [False, True])
def test_linear_algebra_keeps_to_one_thread_inside(
    linear: ClassifierModel,
    picture: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    in_a_thread: bool,
) -> None:
    """In a thread too where the main thread, as the user's own code may, has set a limit."""
    seen, plain = [], linear.scores

    def looked(*arguments: Any) -> torch.Tensor:
        seen.append(linear_algebra_threads())
        return plain(*arguments)

    monkeypatch.setattr(linear, "scores", looked)
    before = linear_algebra_threads()
    if in_a_thread:
        thread = threading.Thread(target=lambda: vx.explain(linear, picture, method="saliency"))
        thread.start()
        thread.join(600)
    else:
        vx.explain(linear, picture, method="saliency")
    assert set(np.ravel(seen)) == {1}
    assert linear_algebra_threads() == before
    assert set(before) == {2}


def test_the_limit_holds_until_the_last_of_several_threads_ends(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    """One begins first and ends first: the other would compute other bits from there on, and must
    not take the limit for the rule.
    """
    begun, ended = threading.Event(), threading.Event()

    def first(done: Any, total: Any) -> None:
        begun.set()
        ended.wait(600)

    given: dict[str, Any] = {"method": "rise", "image_fill": "constant", "budget": 1000}
    other = threading.Thread(target=lambda: vx.explain(linear, picture, progress=first, **given))
    with one_thread(torch.device("cpu")):
        other.start()
        assert begun.wait(600)
    assert set(linear_algebra_threads()) == {1}
    ended.set()
    other.join(600)
    assert set(linear_algebra_threads()) == {2}
