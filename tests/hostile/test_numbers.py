"""Seeds and counts of any kind, in every call that takes one."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from guard import called, refused, unchanged

import vqa_explain as vx
from vqa_explain._numbers import checked_seed
from vqa_explain.datasets.everyday.dataset import Everyday
from vqa_explain.datasets.scenes import Scenes
from vqa_explain.models.classifier import ClassifierModel

PICTURES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), dtype=np.uint8)
EXAMPLES = [vx.Example(picture, answer="a", id=str(n)) for n, picture in enumerate(PICTURES)]
NO_SEEDS = [
    -1, 1.5, 2.0, "3", 2**63, 10**5000, True, np.True_, None, float("nan"), [1], (1, 2), b"1",
    np.array([1]), torch.tensor(1), 1 + 0j, object,
]  # fmt: skip
UNIT = vx.Unit("", 0)

Call = Callable[[Any, Any, Path], Any]
CALLS: dict[str, Call] = {
    "explain": lambda m, s, _: vx.explain(m, EXAMPLES[0], seed=s),
    "answer": lambda m, s, _: vx.answer(m, EXAMPLES[0], seed=s),
    "evidence": lambda m, s, _: vx.evidence(m, EXAMPLES[0], seed=s),
    "choose_fill": lambda m, s, _: vx.choose_fill(m, EXAMPLES, seed=s),
    "layers": lambda m, s, _: vx.layers(m, EXAMPLES[0], seed=s),
    "layer_values": lambda m, s, _: vx.layer_values(m, EXAMPLES[0], layer="", seed=s),
    "permutation": lambda m, s, _: vx.feature_permutation(m, EXAMPLES, seed=s),
    "driving": lambda m, s, _: vx.driving(m, UNIT, EXAMPLES, seed=s),
    "evaluate": lambda m, s, folder: vx.evaluate(
        m, EXAMPLES, ["rise"], ["accuracy"], folder, seed=s
    ),
    "viewer": lambda m, s, _: vx.Viewer(m, EXAMPLES, seed=s),
    "scenes": lambda m, s, _: Scenes(seed=s),
    "everyday": lambda m, s, _: Everyday(seed=s),
}


def called_briefly(value: object) -> str:
    return "huge" if isinstance(value, int) and value > 2**64 else called(value)


# A viewer without a seed has that of its run.
REFUSED = [
    (call, seed) for call in CALLS for seed in NO_SEEDS if not (call == "viewer" and seed is None)
]


@pytest.mark.parametrize(("call", "seed"), REFUSED, ids=called_briefly)
def test_what_is_no_seed_is_said_before_work(
    linear: ClassifierModel, tmp_path: Path, call: str, seed: Any
) -> None:
    seen = linear.module.register_forward_hook(lambda *_: pytest.fail("the model was called"))
    try:
        said = refused(
            lambda: CALLS[call](linear, seed, tmp_path / "run"), "^seed must be a whole number"
        )
    finally:
        seen.remove()
    assert len(said) < 150
    assert not (tmp_path / "run").exists()


SEEDED: dict[str, Call] = {
    "rise": lambda m, s, _: vx.explain(m, EXAMPLES[0], method="rise", regions=2, seed=s).image,
    "gradient_shap": lambda m, s, _: vx.explain(
        m, EXAMPLES[0], method="gradient_shap", seed=s
    ).image,
    "noise": lambda m, s, _: vx.explain(
        m, EXAMPLES[0], method="leave_one_out", regions=2, image_fill="noise", seed=s
    ).image,
    "permutation": lambda m, s, _: vx.feature_permutation(
        m, EXAMPLES, repeats=2, of="answer", seed=s
    ).lost,
    "randomization": lambda m, s, folder: vx.evaluate(
        m, EXAMPLES, ["rise:budget=100"], ["parameter_randomization"], folder / str(type(s)),
        workers=1, regions=2, seed=s,
    ).values("parameter_randomization", "rise:budget=100"),
}  # fmt: skip


@pytest.mark.each
@pytest.mark.parametrize("seed", [np.uint8(7), np.int64(2**63 - 1)], ids=called)
@pytest.mark.parametrize("call", SEEDED)
def test_numbers_of_numpy_and_the_largest_are_seeds(
    linear: ClassifierModel, tmp_path: Path, call: str, seed: Any
) -> None:
    with unchanged(linear.module):
        found = SEEDED[call](linear, seed, tmp_path)
    np.testing.assert_array_equal(found, SEEDED[call](linear, int(seed), tmp_path))
    assert type(checked_seed(seed)) is int


TOPS: dict[str, Any] = {
    "heads": vx.Heads.top,
    "layer values": vx.LayerValues.top,
    "permuted": vx.Permuted.top,
    "settled": vx.Explanation.settled,
}
HELD = SimpleNamespace(
    lost=np.arange(6.0), values=np.arange(6.0), errors=np.ones(6), parts=[("a", "b")] * 6
)


@pytest.mark.parametrize("count", [0, -1, 1.5, 2.0, True, "3", None, 10**5000], ids=called_briefly)
@pytest.mark.parametrize("top", TOPS)
def test_what_counts_nothing_is_said(top: str, count: Any) -> None:
    refused(lambda: TOPS[top](HELD, count), "^count must be a whole number from 1 on")


def test_a_count_of_numpy_counts() -> None:
    assert len(vx.LayerValues.top(HELD, np.int64(2))) == 2  # type: ignore[arg-type]
    assert len(vx.Permuted.top(HELD, np.uint8(3))) == 3  # type: ignore[arg-type]


COUNTS = ("limit", "workers", "shard", "max_errors")


@pytest.mark.parametrize(
    "count", [-1, 1.5, True, "3", [2], float("nan"), 10**5000], ids=called_briefly
)
@pytest.mark.parametrize("name", COUNTS)
def test_a_run_counts_in_whole_numbers(
    linear: ClassifierModel, tmp_path: Path, name: str, count: Any
) -> None:
    given: dict[str, Any] = {name: count}
    refused(
        lambda: vx.evaluate(linear, EXAMPLES, ["rise"], ["accuracy"], tmp_path / "run", **given),
        f"^{name} must be a whole number",
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["target", "image", "question"])
def test_what_drives_a_unit_is_explained_by_the_unit(linear: ClassifierModel, name: str) -> None:
    given: dict[str, Any] = {name: "a"}
    refused(lambda: vx.driving(linear, UNIT, EXAMPLES, **given), f"leave {name}= out")


HUGE = 10**5000  # Python writes no number of so many digits
PLACES: dict[str, Callable[[Any], Any]] = {
    "budget": lambda m: vx.explain(m, EXAMPLES[0], method="rise", budget=HUGE),
    "probability": lambda m: vx.explain(m, EXAMPLES[0], method="rise", probability=HUGE),
    "regions": lambda m: vx.explain(m, EXAMPLES[0], method="rise", regions=HUGE),
    "target": lambda m: vx.explain(m, EXAMPLES[0], method="rise", target=HUGE),
    "unit": lambda m: vx.Unit("", HUGE),
    "answers": lambda m: vx.explain(m, EXAMPLES[0], contrast=HUGE),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_number_of_five_thousand_digits_is_said(linear: ClassifierModel, place: str) -> None:
    refused(lambda: PLACES[place](linear), ".")


WRONG: dict[str, Any] = {"name": 5, "progress": 3, "seed": -1}


@pytest.mark.parametrize("name", WRONG)
def test_what_a_run_is_given_is_checked_before_its_folder(
    linear: ClassifierModel, tmp_path: Path, name: str
) -> None:
    given = {name: WRONG[name]}
    refused(
        lambda: vx.evaluate(linear, EXAMPLES, ["rise"], ["accuracy"], tmp_path / "run", **given),
        f"^{name} ",
    )
    assert not (tmp_path / "run").exists()
