"""Models and examples shared by the tests. Nothing here is downloaded."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
if "PYTEST_XDIST_WORKER" in os.environ:  # workers, and what they start, share the processor
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
from threadpoolctl import ThreadpoolController
from torch import nn

import vqa_explain as vx
from vqa_explain.datasets.scenes import Scenes
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel

pytest.register_assert_rewrite("guard")  # so that it says what has changed


CASES_OF_THE_FAST_LOOP = 1


@pytest.hookimpl(tryfirst=True)  # before `-m` selects
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of a test with many cases, the fast loop runs the first one: the others are slow.

    A case marked `each` is one that the fast loop runs as well.
    """
    taken: Counter[str] = Counter()
    for item in items:
        if any(item.get_closest_marker(name) is not None for name in ("slow", "each")):
            continue
        test = item.nodeid.partition("[")[0]
        taken[test] += 1
        if taken[test] > CASES_OF_THE_FAST_LOOP:
            item.add_marker(pytest.mark.slow)


LINEAR_ALGEBRA = ThreadpoolController().select(user_api="blas")


def linear_algebra_threads() -> list[Any]:
    """Of each library that numpy and scipy compute with."""
    return [library["num_threads"] for library in LINEAR_ALGEBRA.info()]


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the package keeps for the user goes to a folder of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def ctrl_c() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt, as at a prompt; a shell's background jobs ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def scenes_model() -> ViltModel:
    model = vx.load("scenes", device="cpu")
    assert isinstance(model, ViltModel)
    return model


@pytest.fixture(scope="session")
def scene() -> vx.Example:
    """A question with two named objects."""
    return next(iter(Scenes("test", 200, families=("relation",))))


class Linear(nn.Module):
    """f(x) = w · x for each class, in closed form."""

    def __init__(self, classes: int = 3, side: int = 8) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(classes, 3, side, side, generator=generator))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.weight)


class Curved(nn.Module):
    """A smooth network in which pixels interact."""

    def __init__(self, classes: int = 3, side: int = 8) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.body = nn.Sequential(
                nn.Flatten(), nn.Linear(3 * side * side, 24), nn.Tanh(), nn.Linear(24, classes)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.body(x)
        return scores


def to_tensor(image: Any) -> torch.Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


class ToTensor:
    """A step that moves no pixel, under the name that torchvision gives it."""

    def __call__(self, image: Any) -> torch.Tensor:
        return to_tensor(image)


@pytest.fixture(scope="session")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def linear() -> ClassifierModel:
    model = vx.load(Linear(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    assert isinstance(model, ClassifierModel)
    return model


@pytest.fixture(scope="session")
def curved() -> ClassifierModel:
    model = vx.load(Curved(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    assert isinstance(model, ClassifierModel)
    return model


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Family → its checkpoint's folder, made when first asked for."""
    from checkpoints import checkpoint

    root, made = tmp_path_factory.mktemp("checkpoints"), {}

    def folder(family: str) -> Any:
        if family not in made:
            made[family] = checkpoint(family, root)
        return made[family]

    return folder


@pytest.fixture(scope="session")
def models(folders: Callable[[str], Path]) -> Callable[[str], Any]:
    """Family → the loaded model."""
    from custom_net import custom

    loaded = {}

    def model(family: str) -> Any:
        if family not in loaded:
            loaded[family] = (
                custom() if family == "custom" else vx.load(folders(family), device="cpu")
            )
        return loaded[family]

    return model


@pytest.fixture(scope="session")
def noise_picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[vx.Report, Callable[[Path], vx.Report]]:
    """The report of a finished run over a small network,
    and the call that does the same in another folder.
    """
    folder, rng = tmp_path_factory.mktemp("run"), np.random.default_rng(0)
    model = vx.load(Linear(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    data = [
        vx.Example(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), answer="a", id=str(i))
        for i in range(6)
    ]

    def again(out: Path) -> vx.Report:
        return vx.evaluate(
            model, data, ["saliency"], ["accuracy", "deletion:steps=4"], out, shard=2, workers=1
        )

    return again(folder / "whole"), again
