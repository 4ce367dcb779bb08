"""Numbers of evaluations, with truth from plain calls of the network,
closed forms and simulation.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from families import example_for

import vqa_explain as vx
from vqa_explain.evaluation.comparison import compare
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan
from vqa_explain.games.intervals import LEAST, mean_interval, paired_interval
from vqa_explain.metrics import read_metric
from vqa_explain.models.vilt import ViltModel

DATA = "scenes:test"
ANSWERING = ["vilt", "lxmert", "blip", "llava", "qwen2_vl", "smolvlm", "custom"]


def pictures(count: int = 3) -> list[np.ndarray]:
    """Pictures of one size that differ in color, place and content."""
    rng = np.random.default_rng(5)
    found = [np.full((60, 90, 3), color, np.uint8) for color in ((250, 10, 10), (10, 10, 250))]
    found.append(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    return found[:count]


def values(model: Any, example: vx.Example, metric: str) -> list[Any]:
    """The metric's values of one example, by an evaluation's own code."""
    judge = Judge(model, Plan("m", "", "d", "", None, (), (metric,)))
    rows = judge(0, example)
    assert [row["note"] for row in rows] == [None] * len(rows)
    return [row["value"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("family", ANSWERING)
def test_without_the_picture_every_picture_is_worth_the_same(
    models: Callable[[str], Any], family: str
) -> None:
    model = models(family)
    examples = [example_for(model, picture) for picture in pictures()]
    if family == "lxmert":  # its pictures are features of boxes and their places
        features = [
            np.random.default_rng(seed).normal(size=(5, 16)).astype(np.float32) for seed in range(3)
        ]
        boxes = [e.boxes + shift for shift, e in enumerate(examples)]
        examples = [
            vx.Example(**{**vars(e), "features": f, "boxes": b})
            for e, f, b in zip(examples, features, boxes, strict=True)
        ]
    # The answer to be hit: what is said of a gray picture, by a plain call where the network takes
    # pixels.
    answer = said_of_nothing(model, examples[0])
    found = [
        values(model, vx.Example(**{**vars(e), "answer": answer}), "accuracy_without_image")
        for e in examples
    ]
    assert found == [[1.0]] * len(examples)


def said_of_nothing(model: Any, example: vx.Example) -> Any:
    if model.labels is None:
        gray = vx.Example(**{**vars(example), "image": np.full((60, 90, 3), 127, np.uint8)})
        return model.generate(model.encode(gray))[0]
    encoded = model.encode(example)
    if model.family == "lxmert":  # no box is to be seen
        with torch.no_grad():
            found = model.module(
                encoded.ids,
                torch.zeros(1, 5, 16),
                torch.zeros(1, 5, 4),
                visual_attention_mask=torch.zeros(1, 5),
            )
        return model.labels[int(found.question_answering_score.argmax())]
    leaves = model.leaves(encoded)
    with torch.no_grad():
        scores = model.scores(encoded, {**leaves, "image": torch.zeros_like(leaves["image"])})
    return model.labels[int(scores.argmax())]


@pytest.mark.slow
def test_without_the_picture_the_scenes_model_is_right_where_its_plain_call_is(
    scenes_model: ViltModel, tmp_path: Path
) -> None:
    examples = [vx.load_dataset(DATA)[i] for i in range(60)]
    right = []
    for example in examples:
        encoded = scenes_model.encode(example)
        leaves = scenes_model.leaves(encoded)
        with torch.no_grad():
            scores = scenes_model.scores(
                encoded, {**leaves, "image": torch.zeros_like(leaves["image"])}
            )
        right.append(scenes_model.labels[int(scores.argmax())] == example.answer)
    report = vx.evaluate(
        scenes_model,
        examples,
        [],
        ["accuracy_without_image"],
        tmp_path,
        workers=1,
        image_fill="blur",
    )
    assert report.values("accuracy_without_image").tolist() == right
    colors = [r for r, e in zip(right, examples, strict=True) if e.family == "color"]
    assert np.mean(colors) < 0.3  # five colors; blurred pictures gave half of them away
    assert any("accuracy_without_image" in note and "'constant'" in note for note in report.notes())


@pytest.mark.parametrize("fill", ["blur", "mean", "noise", "inpaint"])
def test_a_fill_that_shows_the_picture_is_refused(fill: str) -> None:
    with pytest.raises(vx.InvalidInput, match="choose one of: constant, drop"):
        read_metric(f"accuracy_without_image:fill={fill}")


@pytest.mark.parametrize("matches", [0, 1, 2, 3, 10])
@pytest.mark.parametrize("metric", ["accuracy_without_image", "accuracy_without_question"])
def test_accuracy_without_a_modality_counts_people_as_accuracy_does(
    scenes_model: ViltModel, matches: int, metric: str
) -> None:
    example = vx.load_dataset(DATA)[0]
    encoded = scenes_model.encode(example)
    leaves, fills = scenes_model.leaves(encoded), {"image": "constant", "question": "mask"}
    nothing = scenes_model.baselines(encoded, fills, 0)
    absent = "image" if metric == "accuracy_without_image" else "question"
    with torch.no_grad():
        said = scenes_model.labels[
            int(scenes_model.scores(encoded, {**leaves, absent: nothing[absent]}).argmax())
        ]
    people = (said,) * matches + tuple(f"other {i}" for i in range(10 - matches))
    one = vx.Example(example.image, example.question, answers=people)
    # The others all differ, so that one person already gives one of the most frequent answers.
    assert values(scenes_model, one, metric) == [float(matches > 0)]
    alone = vx.Example(example.image, example.question, answer=said)
    assert values(scenes_model, alone, metric) == [1.0]


@pytest.mark.slow
@pytest.mark.parametrize("family", ["llava", "blip"])
def test_what_a_model_writes_is_its_answer_even_if_the_truth_is_likelier(
    models: Callable[[str], Any], family: str
) -> None:
    model = models(family)
    example = example_for(model, pictures()[2])
    own = model.generate(model.encode(example))[0]
    judge = Judge(model, Plan("m", "", "d", "", None, (), ("accuracy",)))
    for truth in ("yes", "no", "red", "circle", own):
        (row,) = judge(0, vx.Example(example.image, example.question, answer=truth))
        assert row["predicted"] == own
        assert row["value"] == float(truth.strip().casefold() == own.strip().casefold())


@pytest.mark.slow
def test_an_answer_that_needs_no_input_is_said(scenes_model: ViltModel) -> None:
    examples = [vx.load_dataset(DATA)[i] for i in range(12)]
    seen = set()
    for example in examples:
        why = vx.explain(scenes_model, example, method="leave_one_out", image_fill="blur")
        encoded = scenes_model.encode(example)
        start = scenes_model.baselines(encoded, {"image": "blur", "question": "mask"}, 0)
        with torch.no_grad():
            nothing = scenes_model.labels[int(scenes_model.scores(encoded, start).argmax())]
        assert why.answer_without_inputs == nothing
        assert why.survives_without_inputs == (nothing == why.answers[0].text)
        assert ("still answers" in repr(why)) == why.survives_without_inputs
        seen.add(why.survives_without_inputs)
    assert seen == {True, False}
    assert vx.explain(scenes_model, examples[0], method="saliency").survives_without_inputs is None


# 18: intervals. Draws of n values by a generator, and their true mean.
POPULATIONS: dict[str, tuple[Any, ...]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0),
    "beta": (lambda rng, n: rng.beta(0.5, 2, size=n), 0.2),
    "beta near 1": (lambda rng, n: rng.beta(5, 0.5, size=n), 10 / 11),
    "a third at 0": (lambda rng, n: np.where(rng.random(n) < 1 / 3, 0, rng.random(n)), 1 / 3),
    "levels": (lambda rng, n: rng.integers(0, 4, n) / 10, 0.15),
    "shares at the ends": (lambda rng, n: rng.choice([0, 0.5, 1], n, p=[0.1, 0.1, 0.8]), 0.85),
    "lognormal": (lambda rng, n: rng.lognormal(size=n), np.exp(0.5)),
    "0 or 1": (lambda rng, n: (rng.random(n) < 0.5).astype(float), 0.5),
    "mostly 1": (lambda rng, n: (rng.random(n) < 0.9).astype(float), 0.9),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("count", [5, 8, 20, 60])
def test_intervals_hold_the_true_mean_as_often_as_they_say(name: str, count: int) -> None:
    draw, truth = POPULATIONS[name]
    rng = np.random.default_rng(count)
    bounds = (0, 1) if name == "shares at the ends" else (-np.inf, np.inf)
    found = [mean_interval(draw(rng, count), bounds) for _ in range(250)]
    known = [one for one in found if one.is_known]
    if name in ("0 or 1", "mostly 1", "shares at the ends"):
        assert len(known) == len(found)
    elif count < LEAST:
        assert all(one.mean == 0 for one in known)  # all of them 0, as only shares are
    if len(known) > 50:
        held = np.mean([one.low <= truth <= one.high for one in known])
        assert held >= (0.85 if name == "lognormal" else 0.9)


@pytest.mark.parametrize(
    ("right", "of"), [(4, 4), (0, 4), (1, 1), (0, 1), (7, 10), (120, 120), (1, 300)]
)
def test_shares_have_the_score_interval_of_scipy(right: int, of: int) -> None:
    from scipy.stats import binomtest

    found = mean_interval(np.array([1.0] * right + [0.0] * (of - right)))
    theirs = binomtest(right, of).proportion_ci(0.95, method="wilson")
    assert (found.low, found.high) == pytest.approx((theirs.low, theirs.high), abs=1e-9)
    assert found.low < found.high
    assert "nan" not in str(found)


@pytest.mark.parametrize(
    "values", [[0.3], [0.3, 0.3], [0.2, 0.4, 0.1], [0.25] * 100, [0.3] * 40 + [0.2] * 3]
)
def test_too_few_values_are_said_to_be(values: list[float]) -> None:
    found = mean_interval(np.array(values))
    assert found.mean == pytest.approx(np.mean(values))
    assert not found.is_known
    assert str(found).endswith("too few for an interval")


@pytest.mark.parametrize("most", [1, 5])
def test_an_interval_needs_so_many_values_that_differ(most: int) -> None:
    """The most common value counts once."""
    enough = np.array([0.3] * (most - 1) + [0.3, *np.linspace(0.4, 0.9, LEAST - 1)])
    assert mean_interval(enough).is_known
    assert not mean_interval(enough[:-1]).is_known


def test_paired_differences_have_the_interval_of_agresti_and_min() -> None:
    """By hand: of 20 pairs 5 got better and 2 worse;
    half a pair is added to each of the four cells.
    """
    base = np.array([0.0] * 5 + [1.0] * 2 + [1.0] * 13)
    other = np.array([1.0] * 5 + [0.0] * 2 + [1.0] * 13)
    half = 1.959964 * np.sqrt((8 / 22 - (3 / 22) ** 2) / 22)
    found = paired_interval(base, other)
    assert found.mean == pytest.approx(3 / 20)
    assert (found.low, found.high) == pytest.approx((3 / 22 - half, 3 / 22 + half), abs=1e-6)


@pytest.mark.parametrize("better", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("count", [4, 15, 60])
def test_paired_differences_of_right_and_wrong_hold_the_true_one(better: float, count: int) -> None:
    rng = np.random.default_rng(3)
    held = []
    for _ in range(400):
        kind = rng.choice(4, count, p=[better, 0.05, 0.5, 0.45 - better])
        base, other = np.isin(kind, (1, 2)), np.isin(kind, (0, 2))
        found = paired_interval(base.astype(float), other.astype(float))
        assert found.low <= found.mean <= found.high
        held.append(found.low <= better - 0.05 <= found.high)
    assert np.mean(held) >= 0.92


def test_a_run_that_differs_nowhere_is_not_told_to_differ_by_exactly_nothing() -> None:
    found = paired_interval(np.ones(4), np.ones(4))
    assert found.low < 0 < found.high
    assert not found.tells_from_zero


# 17: means over the same examples.
class Cautious(torch.nn.Module):
    """Answers by the picture's brightness; very dark pictures make it fail when gradients are
    asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(2, 192) * torch.tensor([[0.01], [-0.01]]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled() and float(x.mean().detach()) < 0.3:
            raise RuntimeError("the gradient failed")
        return x.flatten(1) @ self.weight.T


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> tuple[vx.Report, vx.Report]:
    """A run in which gradients fail for the dark half of the pictures."""
    rng = np.random.default_rng(0)
    ceilings = np.repeat([60, 256], 12)
    examples = [
        vx.Example(rng.integers(0, c, (8, 8, 3), dtype=np.uint8), answer="a", id=str(i))
        for i, c in enumerate(ceilings)
    ]
    model = vx.load(Cautious(), transform=ToTensor(), labels=["a", "b"], device="cpu")
    model.encode(examples[-1])  # a bright one, at which the network shows that it has gradients
    methods, metrics = (
        ["saliency", "leave_one_out:image_fill=constant"],
        ["accuracy", "deletion:steps=4", "sparseness"],
    )

    def run(folder: Path, keep: Any = slice(None)) -> vx.Report:
        return vx.evaluate(
            model,
            examples[keep],
            methods,
            metrics,
            folder,
            regions=2,
            image_fill="constant",
            workers=1,
        )

    folder = tmp_path_factory.mktemp("uneven")
    return run(folder / "all"), run(folder / "bright", slice(12, None))


@pytest.mark.slow
def test_methods_are_compared_over_the_examples_that_all_of_them_have(
    uneven: tuple[vx.Report, vx.Report],
) -> None:
    report, bright = uneven
    table = report.summary().set_index(["metric", "method"])
    for metric in ("deletion:steps=4", "sparseness"):
        for method in report.methods:
            # Random values are drawn by the example's number, so only the methods' own can be those
            # of the other run.
            if method != "random":
                assert table.loc[(metric, method), "mean"] == pytest.approx(
                    bright.interval(metric, method).mean
                )
            assert table.loc[(metric, method), "count"] == 12
    assert table.loc[("sparseness", "saliency"), "failed"] == 12
    assert table.loc[("sparseness", "random"), "failed"] == 0
    assert report.interval("accuracy", "").count == 24
    assert any(
        "means are over the 12 examples that every method has (saliency lacks 12)" in n
        for n in report.notes()
    )
    at, scores = report.curves()["deletion:steps=4"]["random"]
    assert np.trapezoid(scores, at) == pytest.approx(
        table.loc[("deletion:steps=4", "random"), "mean"]
    )
    assert report.costs()["count"].tolist() == [12, 12]


@pytest.mark.slow
def test_what_no_method_could_look_at_failed_for_every_one(tmp_path: Path) -> None:
    model = vx.load(Cautious(), transform=ToTensor(), labels=["a", "b"], device="cpu")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (8, 8, 3), dtype=np.uint8) for _ in range(3)]
    examples = [vx.Example(one, answer="a") for one in (*pictures, tmp_path / "missing.png")]
    methods, metrics = ["leave_one_out"], ["accuracy", "sparseness"]
    report = vx.evaluate(model, examples, methods, metrics, tmp_path / "run", regions=2, workers=1)
    table = report.summary().set_index(["metric", "method"])["failed"]
    assert table.to_dict() == {
        ("accuracy", ""): 1,
        ("sparseness", "leave_one_out"): 1,
        ("sparseness", "random"): 1,
    }


@pytest.mark.slow
def test_tables_and_pages_say_how_many_and_what_failed(
    uneven: tuple[vx.Report, vx.Report], tmp_path: Path
) -> None:
    from rich.console import Console

    from vqa_explain.shell.evaluation_tables import report_tables

    console = Console(width=200, record=True, file=open(tmp_path / "out", "w"))  # noqa: SIM115
    for table in report_tables(uneven[0]):
        console.print(table)
    assert "12 failed" in console.export_text()
    assert "12 failed" in uneven[0].to_html(tmp_path / "r.html").read_text()


def test_runs_are_compared_over_the_examples_that_both_have_by_every_method(
    uneven: tuple[vx.Report, vx.Report],
) -> None:
    found = compare(*uneven)
    assert {row.difference.count for row in found.rows if row.method} == {12}
    assert {row.a.count for row in found.rows if row.method} == {12}
    methods = [row for row in found.rows if row.method not in ("", "random")]
    assert [row.difference.mean for row in methods] == pytest.approx([0.0] * len(methods))


def test_the_difference_of_two_runs_is_the_second_less_the_first(tmp_path: Path) -> None:
    """The labels of the second model are the other way round, so that it is wrong everywhere."""
    picture = np.full((8, 8, 3), 200, dtype=np.uint8)
    examples = [vx.Example(picture, answer="a", id=str(i)) for i in range(4)]
    right, wrong = (
        vx.evaluate(
            vx.load(Cautious(), transform=ToTensor(), labels=labels, device="cpu"), examples, [], ["accuracy"],
            tmp_path / labels[0], workers=1,
        )
        for labels in (["a", "b"], ["b", "a"])
    )  # fmt: skip
    (row,) = compare(right, wrong).rows
    assert (row.a.mean, row.b.mean, row.difference.mean) == (1.0, 0.0, -1.0)
    assert row.difference.high < 0
