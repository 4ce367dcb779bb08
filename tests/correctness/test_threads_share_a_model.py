"""One network used from several threads gives the values that it gives alone."""

import gc
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Curved, ToTensor
from families import example_for, on_all
from torch import nn

import vqa_explain as vx
from vqa_explain.models.sharing import network_held

LABELS = ["a", "b", "c"]
METHODS = ("saliency", "grad_cam", "leave_one_out")


def loaded(module: torch.nn.Module) -> vx.Model:
    return vx.load(module, transform=ToTensor(), labels=LABELS, device="cpu")


def run_all(*calls: Any) -> None:
    """Runs calls at once, each in a thread; raises what any of them raised."""
    start, raised = threading.Barrier(len(calls)), []

    def work(call: Any) -> None:
        try:
            start.wait(600)
            call()
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=work, args=(call,), daemon=True) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    if raised:
        raise raised[0]


def same(found: np.ndarray, expected: np.ndarray) -> None:
    """Equal up to rounding, which depends on where in memory a thread's tensors begin."""
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


def values(why: vx.Explanation) -> np.ndarray:
    return np.concatenate([why.image.ravel(), [word.value for word in why.words]])


@on_all(("custom", "clip", "blip", "llava", "vilt", "lxmert", "qwen2_vl"))
@pytest.mark.slow
def test_two_explainers_at_once_give_what_each_gives_alone(
    family: Any, models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models(family)
    given: dict[str, Any] = {} if model.labels is not None else {"answers": ["yes", "no"]}
    methods = [name for name in METHODS if name != "grad_cam" or family not in ("lxmert",)]
    questions = ("what color is the circle", "is there the square")

    def explained(question: str, method: str) -> Any:
        return vx.explain(
            model, example_for(model, noise_picture, question), method=method, **given
        )

    alone = {(q, m): values(explained(q, m)) for q in questions for m in methods}

    def check(question: str) -> Callable[..., None]:
        def call() -> None:
            for _ in range(2):
                for method in methods:
                    same(values(explained(question, method)), alone[question, method])

        return call

    run_all(*(check(question) for question in questions * 2))


@pytest.mark.slow
def test_two_viewers_a_cell_and_an_evaluation_at_once(
    models: Callable[[str], Any], noise_picture: np.ndarray, tmp_path: Path
) -> None:
    model = models("custom")
    questions = (
        "what color is the circle",
        "what color is the square",
        "is the circle",
        "is the square",
    )
    data = [
        vx.Example(noise_picture, question, answer="yes", id=question) for question in questions
    ]
    alone = [vx.explain(model, example, method="shapley", budget=300) for example in data]
    plan: dict[str, Any] = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "deletion:steps=4"],
        "workers": 1,
    }
    report = vx.evaluate(model, data, out=tmp_path / "alone", **plan)
    viewers = [vx.Viewer(model, data, method="shapley", budget=300) for _ in range(2)]
    reports = []

    def cell() -> None:
        for example, expected in zip(data, alone, strict=True):
            why = vx.explain(model, example, method="shapley", budget=300)
            same(values(why), values(expected))

    def look(viewer: vx.Viewer) -> None:
        for number, expected in enumerate(alone):
            viewer.selected = number
            assert viewer.wait(600)
            assert viewer.entries[number]["state"] == "done", viewer.entries[number]
            same(values(viewer.explanation), values(expected))

    run_all(
        cell,
        lambda: reports.append(vx.evaluate(model, data, out=tmp_path / "beside", **plan)),
        *(lambda viewer=viewer: look(viewer) for viewer in viewers),
    )
    same(reports[0].frame()["value"], report.frame()["value"])
    for viewer in viewers:
        viewer.close()


@pytest.mark.slow
def test_two_adapters_of_one_network_share_its_lock(models: Callable[[str], Any]) -> None:
    """A classifier by texts is made of the encoder that CLIP's own adapter explains."""
    clip = models("clip")
    zero_shot = vx.load(
        clip.module, processor=clip.processor, labels=["a cat", "a dog"], device="cpu"
    )
    again = vx.load(clip.module, processor=clip.processor, device="cpu")
    for other in (zero_shot, again):
        assert waits(other.module, while_held=clip.module)
        assert waits(clip.module, while_held=other.module)


@pytest.mark.parametrize("inner_first", [True, False])
def test_networks_that_share_a_part_wait_for_each_other(inner_first: bool) -> None:
    part = nn.Linear(2, 2)
    one, other = nn.Sequential(part), nn.Sequential(part, nn.Linear(2, 2))
    seen = (one, other) if inner_first else (other, one)
    for network in seen:
        with network_held(network):
            pass
    assert waits(one, while_held=other)
    assert waits(other, while_held=one)


def test_networks_that_share_nothing_do_not_wait() -> None:
    assert not waits(Curved(), while_held=Curved())


def waits(network: torch.nn.Module, *, while_held: torch.nn.Module | torch.nn.Sequential) -> bool:
    """Whether another thread cannot use `network` while this one holds `while_held`."""
    inside = threading.Event()

    def work() -> None:
        with network_held(network):
            inside.set()

    thread = threading.Thread(target=work, daemon=True)
    with network_held(while_held):
        thread.start()
        blocked = not inside.wait(0.2)
    assert inside.wait(600)
    thread.join(600)
    return blocked


def test_no_hook_is_put_on_a_network_that_another_thread_holds(picture: np.ndarray) -> None:
    model = loaded(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(144, 3)))
    encoded, found = model.encode(vx.Example(picture)), []
    thread = threading.Thread(
        target=lambda: found.append(model.default_layer(encoded)), daemon=True
    )
    with network_held(model.module):
        thread.start()
        thread.join(0.5)
        assert not any(part._forward_hooks for part in model.module.modules())
    thread.join(600)
    assert found == ["0"]


def test_a_network_that_is_held_may_be_held_again() -> None:
    network = Curved().train()
    with network_held(network):
        with network_held(network), network_held(network.body):
            assert not network.training
        assert not network.training
    assert network.training


def test_networks_made_of_each_other_are_all_in_evaluation_mode() -> None:
    part = nn.Linear(2, 2)
    whole = nn.Sequential(part, nn.Dropout())
    with network_held(whole):
        pass
    with network_held(part), network_held(whole):
        assert not any(module.training for module in whole.modules())
    assert all(module.training for module in whole.modules())


def test_many_threads_over_shared_parts_never_lock_each_other_out() -> None:
    parts = [nn.Linear(2, 2) for _ in range(4)]
    for part in parts:
        with network_held(part):
            pass
    runs = [parts[a:b] for a in range(4) for b in range(a + 1, 5)]
    networks = [nn.Sequential(*order) for run in runs for order in (run, run[::-1])]

    def call(shift: int) -> Callable[..., None]:
        def work() -> None:
            for step in range(200):
                with network_held(networks[(7 * step + shift) % len(networks)]):
                    pass

        return work

    run_all(*(call(shift) for shift in range(6)))
    assert all(part.training for part in parts)


def test_a_stop_frees_the_network(picture: np.ndarray) -> None:
    model = loaded(Curved())

    def stop(_done: Any, _total: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        vx.explain(model, picture, method="shapley", budget=3000, progress=stop)
    assert not waits(model.module, while_held=Curved())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_does_not_have() -> None:
    network = nn.Linear(2, 2).train()
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        with network_held(network):
            entered.set()
            leave.wait(600)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert entered.wait(600)
    child = os.fork()
    if child == 0:
        good = network.training  # as the user left it
        with network_held(network):
            good = good and not network.training
        os._exit(0 if good and network.training else 1)
    good = ended(child)
    leave.set()
    thread.join(600)
    assert good


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_was_taking_a_lock() -> None:
    listed, leave = threading.Event(), threading.Event()

    class Slow(nn.Linear):
        """Says when its modules are listed, and waits."""

        def modules(self, *args: Any, **settings: Any) -> Iterator[torch.nn.Module]:
            listed.set()
            leave.wait(600)
            return super().modules(*args, **settings)

    def work() -> None:
        with network_held(Slow(2, 2)):
            pass

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert listed.wait(600)
    child = os.fork()
    if child == 0:
        with network_held(nn.Linear(2, 2)):
            os._exit(0)
    try:
        assert ended(child)
    finally:
        leave.set()
        thread.join(600)


def ended(child: int) -> bool:
    """Whether a forked process ends well by itself; it is ended if it hangs."""
    deadline = (
        time.monotonic() + 120
    )  # far beyond a busy machine: a child that hangs hangs for good
    while time.monotonic() < deadline:
        found, status = os.waitpid(child, os.WNOHANG)
        if found:
            return status == 0
        time.sleep(0.01)
    os.kill(child, 9)
    os.waitpid(child, 0)
    return False


@pytest.mark.slow
def test_an_evaluation_in_processes_while_a_viewer_works(
    models: Callable[[str], Any], noise_picture: np.ndarray, tmp_path: Path
) -> None:
    model = models("custom")
    data = [
        vx.Example(noise_picture, "what color is the circle", answer="yes", id=str(i))
        for i in range(4)
    ]
    plan: dict[str, Any] = {
        "methods": ["saliency"],
        "metrics": ["accuracy", "deletion:steps=4"],
        "shard": 2,
    }
    alone = vx.evaluate(model, data, out=tmp_path / "alone", workers=1, **plan)
    viewer = vx.Viewer(model, data, method="shapley", budget=300)
    beside = vx.evaluate(model, data, out=tmp_path / "beside", workers=2, **plan)
    assert viewer.wait(600)
    viewer.close()
    same(beside.frame()["value"], alone.frame()["value"])


@pytest.mark.slow
def test_a_lock_does_not_keep_its_network_alive() -> None:
    network = Curved()
    with network_held(network):
        pass
    gone = weakref.ref(network)
    del network
    gc.collect()
    assert gone() is None


def test_holding_a_network_twice_costs_next_to_nothing() -> None:
    """The inner calls of an explanation look at no module."""
    looked = []

    class Watched(nn.Linear):
        @property
        def training(self) -> Any:
            looked.append(1)
            return False

        @training.setter
        def training(self, mode: Any) -> None:
            pass

    network = nn.Sequential(Watched(2, 2))
    with network_held(network):
        first = len(looked)
        for _ in range(10):
            with network_held(network):
                pass
        assert len(looked) == first
    assert torch.is_grad_enabled()
