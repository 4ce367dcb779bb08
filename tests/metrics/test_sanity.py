"""Parameter randomization tells explanations of the model from maps of the picture;
shortcuts are exposed.
"""

import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan
from vqa_explain.methods import METHODS
from vqa_explain.methods.base import from_states, register_method
from vqa_explain.metrics.sanity import randomized
from vqa_explain.models.vilt import ViltModel


def digest(module: torch.nn.Module) -> str:
    return hashlib.sha256(
        b"".join(p.detach().numpy().tobytes() for p in module.parameters())
    ).hexdigest()


def test_the_model_itself_stays_and_no_random_state_moves(scenes_model: ViltModel) -> None:
    before, state = digest(scenes_model.module), torch.get_rng_state()
    twins = [randomized(scenes_model, share, seed=0) for share in (0.3, 1.0)]
    assert digest(scenes_model.module) == before
    assert torch.equal(torch.get_rng_state(), state)
    changed = [
        [
            not torch.equal(a, b)
            for a, b in zip(scenes_model.module.parameters(), t.module.parameters(), strict=True)
        ]
        for t in twins
    ]
    names = [name for name, _ in scenes_model.module.named_parameters()]
    lowest = ("embeddings", "layer.0.", "layer.1.", "layer.2.", "layer.3.")
    below = [
        change
        for name, change in zip(names, changed[0], strict=True)
        if any(part in name for part in lowest)
    ]
    above = [
        change
        for name, change in zip(names, changed[0], strict=True)
        if "classifier" in name or "pooler" in name
    ]
    assert not any(below)
    assert np.mean(above) > 0.9
    assert sum(changed[0]) <= round(0.3 * len(names))
    assert np.mean(changed[1]) > 0.9
    assert digest(randomized(scenes_model, 1.0, seed=0).module) == digest(twins[1].module)


@pytest.fixture
def edges() -> Iterator[type[Any]]:
    """A method that shows the picture's edges, whatever the model."""

    @register_method("edges", source="-", error="-", cost="-")
    @dataclass(frozen=True)
    class Edges:
        """Differences of neighboring pixels."""

        def __call__(self, task: Any) -> vx.Attribution:
            grey = task.encoded.pixels[0].mean(0).numpy()
            steps = np.abs(np.gradient(grey)[0]) + np.abs(np.gradient(grey)[1])
            rows, columns = task.encoded.grid
            cells = (
                steps.reshape(rows, steps.shape[0] // rows, columns, -1).sum(axis=(1, 3)).ravel()
            )
            words = np.ones(len(task.encoded.tokens))
            return from_states(task, {"image": cells, "question": words}, "none")

    yield Edges
    del METHODS["edges"]


def judged(
    model: Any, examples: list[Any], methods: list[str], metrics: list[str]
) -> dict[Any, Any]:
    """(method, metric) → values."""
    plan = Plan("m", "", "d", "", None, tuple(methods), tuple(metrics))
    judge = Judge(model, plan)
    rows = [row for i, example in enumerate(examples) for row in judge(i, example)]
    assert [row["note"] for row in rows if row["metric"] == "error"] == []
    found: dict[Any, Any] = {}
    for row in rows:
        found.setdefault((row["method"], row["metric"]), []).append(row["value"])
    return found


@pytest.mark.parametrize("measure", ["spearman", "ssim"])
@pytest.mark.slow
def test_randomization_tells_saliency_from_edges(
    scenes_model: ViltModel, edges: type[Any], measure: str
) -> None:
    examples = [vx.load_dataset("scenes:test")[i] for i in range(4)]
    metric = f"parameter_randomization:measure={measure}"
    found = judged(scenes_model, examples, ["edges", "saliency"], [metric])
    np.testing.assert_allclose(found["edges", metric], 1.0, atol=1e-9)
    assert np.mean(found["saliency", metric]) < 0.75


def blind(model: Any) -> Any:
    """The model edited so that it never sees the picture: its pictures are all one grey."""
    other = copy.deepcopy(model)
    patch = other.module.vilt.embeddings.patch_embeddings.projection
    with torch.no_grad():
        patch.weight.zero_()
    return other


@pytest.mark.slow
def test_a_model_that_ignores_the_picture_is_exposed(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    examples = [
        e
        for e in (vx.load_dataset("scenes:test")[i] for i in range(60))
        if e.family in ("color", "shape")
    ]
    metrics = ["text_share", "accuracy", "accuracy_without_image", "emap:count=10"]
    reports = {
        name: vx.evaluate(model, examples, ["leave_one_out"], metrics, tmp_path / name, workers=1)
        for name, model in (("seeing", scenes_model), ("blind", blind(scenes_model)))
    }

    def mean(name: str, metric: str, method: str = "") -> float:
        return reports[name].interval(metric, method).mean

    def gap(name: str) -> float:
        emap = reports[name].emap()
        assert emap is not None
        return emap.gap

    method = "leave_one_out"
    assert [len(r.errors()) for r in reports.values()] == [0, 0]
    np.testing.assert_allclose(reports["blind"].values("text_share", method), 1.0, atol=1e-4)
    assert mean("seeing", "text_share", method) < 0.95
    assert mean("blind", "accuracy") == mean("blind", "accuracy_without_image")
    assert mean("seeing", "accuracy") > mean("seeing", "accuracy_without_image") + 0.3
    assert gap("blind") == pytest.approx(0)
    assert gap("seeing") > 0.3


@pytest.mark.slow
def test_the_best_method_finds_regions_and_words_of_scenes(scenes_model: ViltModel) -> None:
    data = vx.load_dataset("scenes:test")
    examples = [data[i] for i in range(12)]
    method = "integrated_gradients:steps=32"
    metrics = ["relevance_mass", "relevance_rank", "pointing_game", "word_mass", "word_rank"]
    found = judged(scenes_model, examples, [method], metrics)
    means = {key: np.mean(values) for key, values in found.items() if key[1]}
    share = np.mean([e.truth.mean() for e in examples])
    assert means["random", "relevance_mass"] == pytest.approx(share, abs=0.05)
    for metric in metrics[:3]:
        assert means[method, metric] > means["random", metric] + 0.3
    for metric in metrics[3:]:
        assert means[method, metric] > means["random", metric] + 0.15


def test_examples_without_truth_leave_localisation_out(scenes_model: ViltModel) -> None:
    example = replace(vx.load_dataset("scenes:test")[0], masks=None, about=())
    plan = Plan("m", "", "d", "", None, ("saliency",), ("relevance_mass", "word_mass"))
    rows = Judge(scenes_model, plan)(0, example)
    notes = {
        row["metric"]: row["note"] for row in rows if row["method"] == "saliency" and row["metric"]
    }
    assert notes == {
        "relevance_mass": "the example has no mask of the true region",
        "word_mass": None,
    }
