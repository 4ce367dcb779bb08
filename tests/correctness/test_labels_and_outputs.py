"""Answers are the ones that were asked for,
and their probabilities are what the network's outputs mean.
"""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import checkpoints
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
import transformers as tf
from conftest import Linear, ToTensor
from custom_net import VOCABULARY, network
from scipy.special import expit, softmax
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.methods import METHODS
from vqa_explain.models.base import answers
from vqa_explain.models.transformer import eager_attention
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell.app import app
from vqa_explain.target import Answer, find_answer

BIRD_AND_MACHINE = ["crane", "dog", "Cardigan", "crane", "cardigan", "517", "3"]


def loaded(labels: list[str], classes: int | None = None, **settings: Any) -> vx.Model:
    module = Linear(len(labels) if classes is None else classes)
    return vx.load(module, transform=ToTensor(), labels=labels, device="cpu", **settings)


def weight_of(model: vx.Model) -> torch.Tensor:
    """Of the linear network: (K, 3, H, W)."""
    assert isinstance(model.module, Linear)
    return model.module.weight


def probability_of(answer: Answer) -> float:
    """Of an answer that has one."""
    assert answer.probability is not None
    return answer.probability


def plain(model: Any, picture: np.ndarray) -> Any:
    """The network called by itself: its outputs (K,)."""
    with torch.no_grad():
        return model.module(ToTensor()(picture)[None])[0].double().numpy()


def rows_of(folder: Path, metric: str, method: str = "saliency") -> list[Any]:
    """What a run wrote of one metric, with its curves."""
    rows = [
        row for path in sorted(folder.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()
    ]
    return [row for row in rows if row["metric"] == metric and row["method"] == method]


def gradient(model: vx.Model, picture: np.ndarray, index: int) -> Any:
    """Of one output, by hand: the network is linear."""
    return np.abs(weight_of(model)[index].detach().double().numpy()).max(axis=0)


# Which answer


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        ("Cardigan", 2),
        ("cardigan", 4),
        ("517", 5),
        ("3", 6),
        ("DOG", 1),
        (" dog ", 1),
        (0, 0),
        (3, 3),
        (np.int64(3), 3),
        (np.uint8(6), 6),
        (np.str_("cardigan"), 4),
        (torch.tensor(3), 3),
    ],
)
def test_the_answer_that_is_asked_for_is_explained(
    asked: Any, index: int, picture: np.ndarray
) -> None:
    model = loaded(BIRD_AND_MACHINE)
    why = vx.explain(model, picture, method="saliency", target=asked)
    assert why.target == BIRD_AND_MACHINE[index]
    assert why.provenance["target_index"] == index
    expected = weight_of(model)[index].detach().double().numpy()
    np.testing.assert_allclose(
        vx.explain(model, picture, method="input_x_gradient", target=asked).image,
        (expected * ToTensor()(picture).double().numpy()).sum(axis=0),
        atol=1e-6,
    )
    other = vx.explain(
        model, picture, method="saliency", target=1 if index != 1 else 0, contrast=asked
    )
    assert other.provenance["contrast_index"] == index


@pytest.mark.parametrize(
    ("asked", "both"), [("crane", (0, 3)), ("CRANE", (0, 3)), ("CARDIGAN", (2, 4))]
)
def test_a_text_of_several_answers_is_refused_with_their_numbers(
    asked: str, both: tuple[int, int], picture: np.ndarray
) -> None:
    model = loaded(BIRD_AND_MACHINE)
    for given in (
        {"target": asked},
        {"target": "dog", "contrast": asked},
        {"target": ["dog", asked]},
    ):
        with pytest.raises(vx.InvalidInput) as caught:
            vx.explain(model, picture, method="saliency", **given)
        assert all(f"number {index}" in str(caught.value) for index in both)


@pytest.mark.parametrize("asked", [7, -1, 10**20])
def test_a_number_of_no_answer_is_refused(asked: int, picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="numbered 0 to 6"):
        vx.explain(loaded(BIRD_AND_MACHINE), picture, target=asked)


@pytest.mark.parametrize(
    "asked", [True, np.True_, 1.0, np.float32(1), b"dog", np.array([1, 2]), {"dog": 1}]
)
def test_what_is_neither_text_nor_number_is_refused(asked: Any, picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput, match="text or its label number"):
        vx.explain(loaded(BIRD_AND_MACHINE), picture, target=asked)


def test_both_of_two_answers_of_one_name_can_be_explained_and_compared(picture: np.ndarray) -> None:
    model = loaded(["crane", "crane"])
    first, second = vx.explain(model, picture, method="saliency", target=[0, 1])
    np.testing.assert_allclose(first.image, gradient(model, picture, 0), rtol=1e-5)
    np.testing.assert_allclose(second.image, gradient(model, picture, 1), rtol=1e-5)
    against = vx.explain(model, picture, method="input_x_gradient", target=1, contrast=0)
    scores = plain(model, picture)
    assert against.image.sum() == pytest.approx(scores[1] - scores[0], abs=1e-4)
    assert [answer.index for answer in against.answers] == list(np.argsort(-scores))
    best = vx.explain(model, picture, method="saliency")
    assert best.provenance["target_index"] == np.argmax(scores)
    with pytest.raises(vx.InvalidInput, match="two different"):
        vx.explain(model, picture, target=1, contrast=1)


def test_the_predicted_one_of_two_names_is_right_and_the_others_of_like_name_are_not(
    picture: np.ndarray, tmp_path: Path
) -> None:
    labels = ["Cardigan", "cardigan", "crane", "crane"]
    model = loaded(labels)
    best = int(np.argmax(plain(model, picture)))
    other = {0: 1, 1: 0}.get(best)
    with torch.no_grad():  # so that each is predicted once
        best_first = torch.tensor([best, *[i for i in range(4) if i != best]])
        orders = [weight_of(model)[best_first].clone()]
        orders += [orders[0].roll(shift, dims=0) for shift in (1, 2, 3)]
    assert other is None or other != best
    for weight in orders:
        weight_of(model).data = weight.clone()
        predicted = int(np.argmax(plain(model, picture)))
        truths = ["Cardigan", "cardigan", "crane"]
        data = [vx.Example(picture, answer=truth, id=truth) for truth in truths]
        report = vx.evaluate(
            model,
            data,
            ["saliency"],
            ["accuracy", "perturbation_positive"],
            tmp_path / str(predicted),
            workers=1,
        )
        frame = report.frame()
        found = frame[frame["metric"] == "accuracy"].set_index("id")["value"]
        assert found.to_dict() == {truth: float(labels[predicted] == truth) for truth in truths}
        curves = rows_of(tmp_path / str(predicted), "perturbation_positive")
        assert {row["id"]: row["curve"][0] for row in curves} == found.to_dict()


@pytest.mark.parametrize(
    ("typed", "index"), [("517", 5), ("3", 6), ("4", 4), ("0", 0), ("cardigan", 4)]
)  # fmt: skip
def test_the_shell_takes_a_number_where_no_answer_is_spelled_so(
    typed: str,
    index: int,
    picture: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from PIL import Image

    monkeypatch.setattr(
        "vqa_explain.models.loading.load", lambda _name, **_: loaded(BIRD_AND_MACHINE)
    )
    Image.fromarray(picture).save(tmp_path / "p.png")
    asked = [
        "explain",
        str(tmp_path / "p.png"),
        "--model",
        "x",
        "--method",
        "saliency",
        "--target",
        typed,
        "--json",
    ]
    app(asked, exit_on_error=False, result_action="return_value")
    assert json.loads(capsys.readouterr().out)["provenance"]["target_index"] == index


# Labels as people keep them

NAMED = ("one", "two", "three")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["one", "two", "three"], NAMED),
        (("one", "two", "three"), NAMED),
        ({0: "one", 1: "two", 2: "three"}, NAMED),
        ({2: "three", 0: "one", 1: "two"}, NAMED),
        ({"2": "three", "0": "one", "1": "two"}, NAMED),
        ({np.int64(1): "two", np.int64(2): "three", np.int64(0): "one"}, NAMED),
        (np.array(["one", "two", "three"]), NAMED),
        (np.array(["one", "two", "three"], dtype=object), NAMED),
        (pd.Series(["one", "two", "three"], index=[7, 8, 9]), NAMED),
        (
            dict.fromkeys(["one", "two", "three"]).keys() | set() and iter(["one", "two", "three"]),
            NAMED,
        ),
        ([0, 1, 2], ("0", "1", "2")),
        (range(3), ("0", "1", "2")),
        (np.arange(3), ("0", "1", "2")),
        ([np.int64(4), np.float64(0.5), np.str_("x")], ("4", "0.5", "x")),
        (torch.arange(3), ("0", "1", "2")),
    ],
)
def test_labels_are_read_in_the_order_of_the_scores(
    given: Any, expected: tuple[str, ...], picture: np.ndarray
) -> None:
    model = loaded(given, classes=3)
    assert model.labels == expected
    scores = plain(model, picture)
    why = vx.explain(model, picture, method="saliency")
    assert [answer.text for answer in why.answers] == [expected[i] for i in np.argsort(-scores)]
    np.testing.assert_allclose(
        [probability_of(a) for a in why.answers], np.sort(softmax(scores))[::-1], rtol=1e-5
    )
    settings = {"image": transforms.ToTensor(), "text": VOCABULARY, "device": "cpu"}
    if not hasattr(given, "__next__"):
        assert vx.CustomModel(network(), labels=given, **settings).labels == expected


@pytest.mark.parametrize(
    "given",
    [
        {1: "one", 2: "two", 3: "three"},
        {"one": 0, "two": 1, "three": 2},
        {0: "one", 2: "three"},
        {False: "one", True: "two", 2: "three"},
        {"one", "two", "three"},
        frozenset(NAMED),
        "abc",
        3,
        [],
        {},
        ["one", None, "three"],
        ["one", float("nan"), "three"],
        ["one", ["two"], "three"],
        np.array([["one", "two"], ["three", "four"]]),
        [b"one", b"two", b"three"],
    ],
)
def test_labels_that_cannot_be_read_are_refused(given: Any, picture: np.ndarray) -> None:
    with pytest.raises(vx.InvalidInput):
        vx.explain(loaded(given, classes=3), picture, method="saliency")


def small_vit(**more: Any) -> tf.ViTConfig:
    """The configuration of a ViT for pictures of 8 × 8."""
    settings = {
        "hidden_size": 8,
        "num_hidden_layers": 1,
        "num_attention_heads": 1,
        "intermediate_size": 8,
        "image_size": 8,
        "patch_size": 4,
        **more,
    }
    return tf.ViTConfig(**settings)


def test_the_numbers_of_a_configuration_may_have_no_gap() -> None:
    config = small_vit(num_labels=2)
    config.id2label = {1: "cat", 2: "dog"}
    module = tf.ViTForImageClassification(config)
    with pytest.raises(vx.InvalidInput, match="number 0 is missing"):
        vx.load(
            module, transform=tf.ViTImageProcessor(size={"height": 8, "width": 8}), device="cpu"
        )


def test_find_answer_agrees_with_a_plain_search() -> None:
    from hypothesis import given
    from hypothesis import strategies as st

    names = st.lists(
        st.sampled_from(["a", "A", " a", "b", "B b", "b  B", "ß", "SS"]), min_size=1, max_size=6
    )

    @given(names, st.sampled_from(["a", "A", "b b", "B b", "ss", "ß", "c"]))
    def check(labels: Any, asked: Any) -> None:
        exact = [i for i, label in enumerate(labels) if label == asked]
        alike = [
            i
            for i, label in enumerate(labels)
            if label.casefold().split() == asked.casefold().split()
        ]
        meant = exact or alike
        if len(meant) == 1:
            assert find_answer(labels, asked) == meant[0]
        else:
            with pytest.raises(vx.InvalidInput):
                find_answer(labels, asked)

    check()


# What outputs mean


def outputs_of(model: Any, picture: np.ndarray) -> dict[int, Any]:
    return {
        answer.index: answer for answer in answers(model, model.encode(vx.Example(picture)), 10)
    }


def test_sigmoid_outputs_have_probabilities_of_their_own(picture: np.ndarray) -> None:
    model = loaded(["a", "b", "c"], outputs="sigmoid")
    scores = plain(model, picture)
    for index, answer in outputs_of(model, picture).items():
        assert answer.probability == pytest.approx(expit(scores[index]), rel=1e-5)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize(
    "method", ["occlusion", "leave_one_out", "shapley", "integrated_gradients"]
)
def test_a_score_of_probability_is_a_sigmoids(
    classes: int, method: str, picture: np.ndarray
) -> None:
    """Values that add up add up to the difference of two sigmoids,
    taken of the network by itself.
    """
    model = loaded([f"c{i}" for i in range(classes)], outputs="sigmoid")
    weight_of(model).data /= 20  # away from the flat ends of the curve
    parameters: dict[str, Any] = {"regions": 2} if method in ("leave_one_out", "shapley") else {}
    fill = "image_baseline" if method == "integrated_gradients" else "image_fill"
    parameters[fill] = "constant"
    why = vx.explain(model, picture, method=method, target=0, score="probability", **parameters)
    assert np.abs(why.image).max() > 1e-4
    if method in ("shapley", "integrated_gradients"):
        whole = expit(plain(model, picture)[0])
        encoded = model.encode(vx.Example(picture))
        blank = model.baselines(encoded, {"image": "constant"}, 0)["image"]
        with torch.no_grad():
            empty = expit(float(model.module(blank)[0, 0]))
        assert why.image.sum() == pytest.approx(whole - empty, abs=2e-3)


def test_one_logit_asks_what_it_is(picture: np.ndarray) -> None:
    for build in (
        lambda: loaded(["defect"]),
        lambda: loaded(["defect"], outputs="softmax"),
        lambda: vx.explain(vx.load(Linear(1), transform=ToTensor(), device="cpu"), picture),
        lambda: vx.CustomModel(
            network(),
            image=transforms.ToTensor(),
            text=VOCABULARY,
            labels=["defect"],
            embedding="embedding",
        ),
    ):
        with pytest.raises(vx.InvalidInput, match=r'outputs="sigmoid".*outputs="real"'):
            build()


def test_an_unknown_kind_of_output_is_refused() -> None:
    with pytest.raises(vx.InvalidInput, match="sigmoid"):
        loaded(["a", "b"], outputs="sigmiod")


@pytest.mark.parametrize(
    ("problem_type", "count", "expected"),
    [
        ("single_label_classification", 3, softmax),
        ("multi_label_classification", 3, expit),
        ("multi_label_classification", 1, expit),
        (None, 3, softmax),
        ("regression", 1, None),
        ("regression", 3, None),
    ],
)
def test_a_configuration_says_what_outputs_are(
    problem_type: str | None, count: int, expected: Any, picture: np.ndarray, tmp_path: Path
) -> None:
    config = small_vit(num_labels=count, problem_type=problem_type)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = tf.ViTForImageClassification(config)
        assert isinstance(module.classifier, nn.Linear)
        nn.init.normal_(module.classifier.weight, std=3.0)
    steps = tf.ViTImageProcessor(size={"height": 8, "width": 8})
    module.save_pretrained(tmp_path)
    steps.save_pretrained(tmp_path)
    for model in (vx.load(module, processor=steps, device="cpu"), vx.load(tmp_path, device="cpu")):
        encoded = model.encode(vx.Example(picture))
        with torch.no_grad():
            scores = module.eval()(encoded.pixels).logits[0].double().numpy()
        for index, answer in outputs_of(model, picture).items():
            if expected is None:
                assert answer.probability is None
                assert answer.value == pytest.approx(scores[index], rel=1e-4)
            else:
                assert answer.probability == pytest.approx(expected(scores)[index], rel=1e-4)
    stated = vx.load(tmp_path, device="cpu", outputs="sigmoid")
    for index, answer in outputs_of(stated, picture).items():
        assert answer.probability == pytest.approx(expit(scores[index]), rel=1e-4)


class Numbers(nn.Module):
    """One number for each picture, in some form."""

    def __init__(self, form: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.weight = nn.Parameter(torch.randn(3))
        self.form = form

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.form(pixels.mean((2, 3)) @ self.weight)


FORMS: dict[str, Callable[..., Any]] = {
    "(B,)": lambda found: found,
    "squeezed": lambda found: found[:, None].squeeze(),
    "(B, 1)": lambda found: found[:, None],
    "in a dict": lambda found: {"value": found},
    "named logits": lambda found: {"logits": found, "features": found[:, None] * torch.ones(7)},
}


@pytest.mark.parametrize("outputs", ["real", "sigmoid"])
@pytest.mark.parametrize("form", FORMS)
def test_one_number_for_each_picture_is_one_output(
    form: str, outputs: str, picture: np.ndarray
) -> None:
    network = Numbers(FORMS[form])
    model = vx.load(network, transform=ToTensor(), labels=["age"], outputs=outputs, device="cpu")
    why = vx.explain(model, picture, method="occlusion", window=8, stride=8)
    assert why.answers[0].text == "age"
    pixels = ToTensor()(picture)[None]
    with torch.no_grad():
        value = float(pixels.mean((2, 3)) @ network.weight)
    expected = value if outputs == "real" else expit(value)
    answer = why.answers[0]
    found = answer.value if outputs == "real" else answer.probability
    assert found == pytest.approx(expected, abs=1e-5)
    encoded = model.encode(vx.Example(picture))
    frames = torch.cat([encoded.pixels, encoded.pixels * 0.5])
    with torch.no_grad():
        each = torch.stack([frame.mean((1, 2)) @ network.weight for frame in frames])
        torch.testing.assert_close(model.scores(encoded, {"image": frames})[:, 0], each)


def test_scores_without_rows_name_the_remedy(picture: np.ndarray) -> None:
    network = Numbers(lambda found: torch.cat([found, -found]))
    model = vx.load(network, transform=ToTensor(), labels=["a", "b"], device="cpu")
    with pytest.raises(vx.InvalidInput, match=r"shape \(2,\) for one picture.*call="):
        vx.explain(model, picture, method="occlusion")


def test_real_numbers_have_no_probabilities(picture: np.ndarray, tmp_path: Path) -> None:
    model = loaded(["price"], outputs="real")
    value = plain(model, picture)[0]
    why = vx.explain(model, picture, method="input_x_gradient")
    assert why.score == "value"
    assert why.answers[0].probability is None
    assert why.answers[0].value == pytest.approx(value, rel=1e-5)
    assert why.image.sum() == pytest.approx(value, abs=1e-3)
    shown = f"{value:.4g}"
    assert shown in repr(why)
    assert "%" not in repr(why).split("answers")[1].split("\n")[0]
    assert shown in why._repr_html_()
    why.plot()
    why.save(tmp_path / "why.vqax")
    assert vx.load_explanation(tmp_path / "why.vqax").answers == why.answers
    why.to_html(tmp_path / "why.html")
    for score in ("probability", "log_probability"):
        with pytest.raises(vx.InvalidInput, match="real numbers"):
            vx.explain(model, picture, score=score)
    again = vx.explain(model, picture, method="input_x_gradient", score=why.score)
    np.testing.assert_array_equal(again.image, why.image)
    with pytest.raises(vx.InvalidInput, match="no plain values"):
        vx.explain(loaded(["a", "b"]), picture, score="value")


METRICS = ("deletion:steps=4", "insertion:steps=4", "comprehensiveness", "sufficiency", "road:steps=3", "accuracy",
           "infidelity")  # fmt: skip


def test_metrics_of_probabilities_use_the_sigmoid(picture: np.ndarray, tmp_path: Path) -> None:
    """Deletion's ends, by hand: the sigmoid of the whole picture's logit and of the emptied
    one's.
    """
    model = loaded(["defect"], outputs="sigmoid")
    weight_of(model).data /= 20
    data = [vx.Example(picture, answer="defect", id="0")]
    report = vx.evaluate(
        model, data, ["saliency"], METRICS, tmp_path, workers=1, image_fill="constant"
    )
    frame = report.frame()
    curve = rows_of(tmp_path, "deletion:steps=4")[0]["curve"]
    blank = model.baselines(model.encode(data[0]), {"image": "constant"}, 0)["image"]
    with torch.no_grad():
        ends = [plain(model, picture)[0], float(model.module(blank)[0, 0])]
    np.testing.assert_allclose([curve[0], curve[-1]], expit(ends), rtol=1e-5)
    assert rows_of(tmp_path, "road:steps=3")[0]["curve"][0] == pytest.approx(
        expit(ends[0]), rel=1e-5
    )
    # Nothing is chosen among.
    assert "accuracy" not in frame.dropna(subset=["value"])["metric"].tolist()


def test_metrics_of_probabilities_are_refused_for_real_numbers(
    picture: np.ndarray, tmp_path: Path
) -> None:
    model = loaded(["price", "size"], outputs="real")
    data = [vx.Example(picture, answer="price", id="0")]
    frame = vx.evaluate(model, data, ["saliency"], METRICS, tmp_path / "some", workers=1).frame()
    assert set(frame.dropna(subset=["value"])["metric"]) == {"infidelity"}
    with pytest.raises(vx.InvalidInput, match="no probabilities"):
        vx.evaluate(model, data, ["saliency"], ["deletion"], tmp_path / "none", workers=1)


class Ends(nn.Module):
    """A network with a last step of its own."""

    def __init__(self, step: Any, classes: int = 3) -> None:
        super().__init__()
        self.body, self.step = Linear(classes), step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.step(self.body(x) / 20)
        return result


@pytest.mark.parametrize(
    ("step", "outputs"),
    [
        (nn.Softmax(-1), None),
        (nn.Sigmoid(), None),
        (nn.Sigmoid(), "sigmoid"),
        (torch.sigmoid, "sigmoid"),
        (lambda x: x.softmax(-1).view(-1, 3), "softmax"),
        (lambda x: torch.sigmoid(x)[None].squeeze(0), "sigmoid"),
        (nn.functional.logsigmoid, "sigmoid"),
        (nn.LogSoftmax(-1), "sigmoid"),
        (lambda x: x.detach().softmax(-1), None),
        (lambda x: x.detach().double().softmax(-1).float(), None),
    ],
)
def test_a_network_that_gives_probabilities_is_refused(
    step: Any, outputs: str | None, picture: np.ndarray
) -> None:
    """A softmax of a softmax, or a sigmoid of a sigmoid, is a plausible wrong number."""
    model = vx.load(
        Ends(step), transform=ToTensor(), labels=["a", "b", "c"], outputs=outputs, device="cpu"
    )
    with pytest.raises(vx.InvalidInput, match="probabilities already"):
        vx.explain(model, picture, method="leave_one_out")
    real = vx.load(
        Ends(step), transform=ToTensor(), labels=["a", "b", "c"], outputs="real", device="cpu"
    )
    expected = Ends(step)(ToTensor()(picture)[None])[0].detach()
    assert vx.explain(real, picture, method="leave_one_out").answers[0].value == pytest.approx(
        float(expected.max())
    )


class OneOrNothing(nn.Module):
    """Scores 1 and 0, which sum to 1 and are no probabilities: a softmax gives no 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = x.mean((1, 2, 3)) > 0
        return torch.stack([first, ~first], dim=1).float()


def test_scores_of_one_and_nothing_are_no_probabilities(picture: np.ndarray) -> None:
    model = vx.load(OneOrNothing(), transform=ToTensor(), labels=["a", "b"], device="cpu")
    best = vx.explain(model, picture, method="leave_one_out", regions=2).answers[0]
    assert best.probability == pytest.approx(np.e / (1 + np.e))


class SumsToOne(nn.Module):
    """Scores that sum to 1, of which one is below zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.tensor([1.5, -0.75, 0.25]) + 0 * x.mean((1, 2, 3))[:, None]


def test_scores_below_zero_are_no_probabilities_whatever_they_sum_to(picture: np.ndarray) -> None:
    model = vx.load(SumsToOne(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    best = vx.explain(model, picture, method="leave_one_out", regions=2).answers[0]
    assert best.probability == pytest.approx(softmax([1.5, -0.75, 0.25])[0])


class ChangesItsInput(Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x.sub_(0.5)
        return super().forward(x)


class RunsWithoutGradients(Linear):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.is_grad_enabled():
            raise RuntimeError("this network has no backward pass")
        return super().forward(x)


@pytest.mark.parametrize("kind", [ChangesItsInput, RunsWithoutGradients])
def test_networks_that_allow_no_graph_are_still_explained(
    kind: type[ChangesItsInput] | type[RunsWithoutGradients], picture: np.ndarray
) -> None:
    model = vx.load(kind(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    scores = plain(model, picture)
    why = vx.explain(model, picture, method="leave_one_out", regions=2)
    assert why.answers[0].probability == pytest.approx(softmax(scores).max(), rel=1e-5)


@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "leave_one_out", "shapley"])
def test_a_network_that_changes_its_input_is_explained_as_one_that_does_not(
    method: str, picture: np.ndarray
) -> None:
    """Each call gets a copy, else the second call of one example would see another picture."""

    class LeavesIt(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x - 0.5)

    regions: dict[str, Any] = {"regions": 2} if method != "saliency" else {}
    found = [
        vx.explain(
            vx.load(kind(), transform=ToTensor(), labels=["a", "b", "c"], device="cpu"),
            picture,
            method=method,
            target="b",
            **regions,
        )
        for kind in (ChangesItsInput, LeavesIt)
    ]
    np.testing.assert_allclose(found[0].image, found[1].image, rtol=1e-5, atol=1e-6)
    assert found[0].answers[0].probability == pytest.approx(
        found[1].answers[0].probability, rel=1e-6
    )


def test_log_probabilities_of_a_network_are_taken_as_logits(picture: np.ndarray) -> None:
    model = vx.load(
        Ends(nn.LogSoftmax(-1)), transform=ToTensor(), labels=["a", "b", "c"], device="cpu"
    )
    with torch.no_grad():
        expected = model.module(ToTensor()(picture)[None])[0].exp()
    for index, answer in outputs_of(model, picture).items():
        assert answer.probability == pytest.approx(float(expected[index]), rel=1e-5)


def test_a_network_of_ones_own_with_sigmoid_outputs(noise_picture: np.ndarray) -> None:
    steps = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    settings = {
        "image": steps,
        "text": VOCABULARY,
        "labels": ["yes", "no", "red", "blue"],
        "device": "cpu",
    }
    for outputs, function in (("softmax", softmax), ("sigmoid", expit)):
        model = vx.CustomModel(network(), outputs=outputs, **settings)
        encoded = model.encode(vx.Example(noise_picture, "what color is the circle"))
        with torch.no_grad():
            scores = network().eval()(encoded.pixels, encoded.ids)[0].double().numpy()
        for answer in answers(model, encoded):
            assert answer.probability == pytest.approx(function(scores)[answer.index], rel=1e-5)


def test_models_that_say_themselves_what_they_give_take_no_outputs(
    folders: Callable[[str], Path],
) -> None:
    for family in ("blip", "llava", "clip"):
        with pytest.raises(vx.InvalidInput, match="outputs"):
            vx.load(folders(family), device="cpu", outputs="sigmoid")


@pytest.mark.slow
def test_answers_of_a_model_that_writes_are_kept_apart(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    """Texts that differ in case are other tokens; each is scored as it is written."""
    model = models("llava")
    asked = (noise_picture, "What color is the circle?")
    given: dict[str, Any] = {"method": "saliency", "answers": ["Yes", "yes", "YES"]}
    texts = vx.explain(model, *asked, **given).answers
    assert {a.text for a in texts} == {"Yes", "yes", "YES"}
    assert len({a.probability for a in texts}) == 3
    for number, text in enumerate(given["answers"]):
        assert vx.explain(model, *asked, target=text, **given).target == text
        assert vx.explain(model, *asked, target=number, **given).target == text
    assert vx.explain(model, *asked, target="yEs", **given).target == "yEs"
    with pytest.raises(vx.InvalidInput, match="must be text"):
        vx.explain(model, *asked, method="saliency", answers=["yes", 3])  # type: ignore[list-item]


# Answers of several tokens, by hand

QUESTION = "What color is the circle?"


def qwen3_5() -> vx.Model:
    """A decoder whose layers attend by turns: 0 and 2 are recurrent, 1 and 3 attend."""
    names = ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
    words = checkpoints.tokenizer(
        ["<pad>", "<s>", "</s>", *names], pad_token="<pad>", eos_token="</s>"
    )
    keys = ("vision_start_token_id", "vision_end_token_id", "image_token_id", "video_token_id")
    ids: dict[str, Any] = {
        key: checkpoints.token_id(words, name) for key, name in zip(keys, names, strict=True)
    }
    rope = {"rope_type": "default", "mrope_section": [1, 1, 0], "mrope_interleaved": True, "rope_theta": 10000.0,
            "partial_rotary_factor": 0.5}  # fmt: skip
    text = checkpoints.text_settings(len(words), rope_parameters=rope, head_dim=8)
    text |= {"num_hidden_layers": 4, "layer_types": ["linear_attention", "full_attention"] * 2,
             "linear_key_head_dim": 8, "linear_value_head_dim": 8, "linear_num_key_heads": 2,
             "linear_num_value_heads": 4}  # fmt: skip
    vision = {"depth": 3, "hidden_size": 32, "intermediate_size": 48, "num_heads": 2, "patch_size": 16,
              "spatial_merge_size": 2, "temporal_patch_size": 2, "out_hidden_size": 32,
              "num_position_embeddings": 16}  # fmt: skip
    size = {"shortest_edge": 64 * 64, "longest_edge": 64 * 128}
    pictures = tf.Qwen2VLImageProcessor(
        patch_size=16, merge_size=2, temporal_patch_size=2, size=size
    )
    processor = tf.Qwen3VLProcessor(
        pictures,
        words,
        tf.Qwen3VLVideoProcessor(patch_size=16, size=size),
        chat_template=checkpoints.chat("<|vision_start|><|image_pad|><|vision_end|>"),
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = tf.Qwen3_5ForConditionalGeneration(
            tf.Qwen3_5Config(text_config=text, vision_config=vision, **ids)
        )
        for parameter in module.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.2)
    return vx.load(module, processor=processor, device="cpu")


WRITES = ("llava", "qwen2_vl", "qwen2_5_vl", "qwen3_5")


@pytest.fixture(scope="module")
def writing(models: Callable[[str], Any]) -> Callable[..., Any]:
    made = {}

    def model(name: str) -> Any:
        if name not in made:
            made[name] = qwen3_5() if name == "qwen3_5" else models(name)
        return made[name]

    return model


def tokens_of(model: Any, text: str) -> Any:
    return model.processor.tokenizer(text, add_special_tokens=False)["input_ids"]


class Plain:
    """A model called by transformers alone, token by token."""

    def __init__(self, model: Any, picture: np.ndarray) -> None:
        encoded = model.encode(vx.Example(picture, QUESTION))
        prompt = encoded.state.prompt
        self.model, self.inputs = model, dict(encoded.state.inputs)
        self.length = prompt.length
        self.text, self.image = prompt.places["question"], prompt.places["image"]
        self.attends = [
            number
            for number, kind in enumerate(
                getattr(model.module.config.get_text_config(), "layer_types", None) or []
            )
            if kind == "full_attention"
        ]

    def __call__(self, behind: Any, **more: Any) -> Any:
        ids = torch.cat([self.inputs["input_ids"], torch.tensor([behind], dtype=torch.long)], dim=1)
        inputs = {**self.inputs, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
        if "mm_token_type_ids" in inputs:
            inputs["mm_token_type_ids"] = torch.nn.functional.pad(
                inputs["mm_token_type_ids"], (0, len(behind))
            )
        with eager_attention(self.model.module):
            return self.model.module(**inputs, use_cache=False, **more)

    def step(self, before: Any, wanted: dict[int, float]) -> tuple[list[Any], list[Any]]:
        """Attention maps (heads, N + A, N + A),
        and their slopes for Σ weight · log p(token | before).
        """
        found = self(list(before), output_attentions=True)
        said = found.logits[0, -1].log_softmax(-1)
        value = sum(weight * said[token] for token, weight in wanted.items())
        maps = [one for one in found.attentions if one is not None]
        slopes = torch.autograd.grad(value, maps)
        return [one[0].detach() for one in maps], [one[0] for one in slopes]

    def relevance(self, before: Any, wanted: dict[Any, float]) -> Any:
        maps, slopes = self.step(before, wanted)
        flow = torch.eye(maps[0].shape[-1])
        for one, slope in zip(maps, slopes, strict=True):
            flow = flow + (one * slope).clamp(min=0).mean(0) @ flow
        return flow[-1, : self.length]

    def rollout(self, before: Any) -> Any:
        maps, _ = self.step(before, {0: 1.0})
        flow = torch.eye(maps[0].shape[-1])
        for one in maps:
            flow = (0.5 * one.mean(0) + 0.5 * torch.eye(len(flow))) @ flow
        return flow[-1, : self.length]

    def attention(self, layer: int, before: Any) -> Any:
        return self.step(before, {0: 1.0})[0][layer].mean(0)[-1, : self.length]

    def same(self, why: vx.Explanation, row: torch.Tensor) -> None:
        expected = row.detach().double().numpy()
        np.testing.assert_allclose(
            [t.value for t in why.tokens], expected[self.text], rtol=2e-3, atol=2e-6
        )
        np.testing.assert_allclose(
            [r.value for r in why.regions], expected[self.image], rtol=2e-3, atol=2e-6
        )


@pytest.mark.parametrize("name", WRITES)
def test_relevance_of_an_answer_is_the_sum_over_its_tokens(
    name: str, writing: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    model = writing(name)
    plain = Plain(model, noise_picture)
    ids = tokens_of(model, "red circle")
    assert len(ids) > 1
    explained = partial(
        vx.explain, model, noise_picture, QUESTION, method="relevance", answers=["red circle", "no"]
    )
    by_hand = [plain.relevance(ids[:place], {ids[place]: 1.0}) for place in range(len(ids))]
    plain.same(explained(target="red circle"), torch.stack(by_hand).sum(0))
    for place, row in enumerate(by_hand[: len(tokens_of(model, "no"))]):
        plain.same(explained(target="red circle", target_token=place), row)


@pytest.mark.parametrize("name", WRITES)
def test_relevance_of_a_contrast_shares_what_both_answers_begin_with(
    name: str, writing: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    model = writing(name)
    plain = Plain(model, noise_picture)
    ours, theirs = tokens_of(model, "red circle"), tokens_of(model, "red square")
    wanted: dict[tuple[int, ...], dict[int, float]] = {}
    for ids, sign in ((ours, 1.0), (theirs, -1.0)):
        for place, token in enumerate(ids):
            at = wanted.setdefault(tuple(ids[:place]), {})
            at[token] = at.get(token, 0.0) + sign
    assert any(set(at.values()) == {0.0} for at in wanted.values())  # what both begin with
    row = torch.stack([plain.relevance(before, at) for before, at in wanted.items()]).sum(0)
    why = vx.explain(
        model, noise_picture, QUESTION, method="relevance", answers=["red circle", "red square"], target="red circle",
        contrast="red square",
    )  # fmt: skip
    plain.same(why, row)


@pytest.mark.parametrize("name", WRITES)
def test_attention_of_an_answer_is_the_mean_over_its_positions(
    name: str, writing: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    model = writing(name)
    plain = Plain(model, noise_picture)
    ids = tokens_of(model, "red circle")
    given: dict[str, Any] = {"answers": ["red circle", "no"], "target": "red circle"}
    why = vx.explain(model, noise_picture, QUESTION, method="attention_rollout", **given)
    plain.same(why, torch.stack([plain.rollout(ids[:place]) for place in range(len(ids))]).mean(0))
    why = vx.explain(model, noise_picture, QUESTION, method="attention", layer=-1, **given)
    plain.same(
        why, torch.stack([plain.attention(-1, ids[:place]) for place in range(len(ids))]).mean(0)
    )
    one = vx.explain(
        model, noise_picture, QUESTION, method="attention", target_token=1, answers=["red circle"]
    )
    plain.same(one, plain.attention(-1, ids[:1]))


def state_and_slope(plain: Plain, path: Path, ids: Any, token: int | None) -> Any:
    """A layer's states (N + A, D), and the slopes of Σ log p of the answer's tokens, or of one's,
    in them.
    """
    caught = []

    def note(_module: Any, _inputs: Any, output: Any) -> None:
        caught.append(output[0] if isinstance(output, tuple) else output)

    handle = plain.model.module.get_submodule(path).register_forward_hook(note)
    said = plain(ids[:-1]).logits[0, plain.length - 1 :].log_softmax(-1)
    handle.remove()
    steps = said.gather(1, torch.tensor(ids)[:, None])[:, 0]
    (slope,) = torch.autograd.grad(steps.sum() if token is None else steps[token], caught[0])
    return caught[0][0].detach(), slope[0]


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("token", [None, 1])
def test_grad_cam_explains_the_sum_over_tokens(
    name: str, token: int | None, writing: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    model = writing(name)
    plain = Plain(model, noise_picture)
    path = model.default_layer(model.encode(vx.Example(noise_picture, QUESTION)))
    state, slope = state_and_slope(plain, path, tokens_of(model, "red circle"), token)

    def weighed(at: Any) -> Any:
        at = torch.from_numpy(at)
        return (state[at] * slope[at].mean(0)).sum(1).clamp(min=0).double().numpy()

    # The longer answer is second, where answers have rows of their own.
    answers = ["no", "red circle"] if token is None else ["red circle"]
    why = vx.explain(
        model, noise_picture, QUESTION, method="grad_cam", answers=answers, target="red circle", target_token=token,
        interpolate="nearest",
    )  # fmt: skip
    cells, words = weighed(plain.image), weighed(plain.text)
    assert cells.any() or words.any()
    found = np.array([region.value for region in why.regions])
    area = found.sum() / cells.sum() if cells.any() else 1.0  # pixels of a cell
    scale = max(cells.max(), words.max())
    np.testing.assert_allclose(found / area, cells, rtol=5e-3, atol=1e-4 * scale)
    np.testing.assert_allclose([t.value for t in why.tokens], words, rtol=5e-3, atol=1e-4 * scale)


@pytest.mark.slow
def test_an_answers_score_is_that_of_the_network_called_plainly(
    writing: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    """A decoder with recurrent layers cannot share its memory among answers,
    and reads each whole.
    """
    model = writing("qwen3_5")
    plain = Plain(model, noise_picture)
    texts = ("red circle", "no", "a green square")
    why = vx.explain(model, noise_picture, QUESTION, method="saliency", answers=list(texts))
    for answer in why.answers:
        ids = tokens_of(model, answer.text)
        with torch.no_grad():
            said = plain(ids[:-1]).logits[0, plain.length - 1 :].log_softmax(-1)
        expected = float(said.gather(1, torch.tensor(ids)[:, None]).sum())
        assert np.log(probability_of(answer)) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["attention", "attention_rollout", "relevance"])
def test_layers_without_attention_are_named(
    method: str,
    writing: Callable[..., Any],
    models: Callable[[str], Any],
    noise_picture: np.ndarray,
) -> None:
    given: dict[str, Any] = {"method": method, "answers": ["red circle"]}
    why = vx.explain(writing("qwen3_5"), noise_picture, QUESTION, **given)
    assert "of layers 0 to 3 only 1, 3 attend" in why.error_text
    assert "layers" not in vx.explain(models("llava"), noise_picture, QUESTION, **given).error_text
    if method == "attention":
        by_number = [
            vx.explain(writing("qwen3_5"), noise_picture, QUESTION, layer=n, **given)
            for n in (3, -1, 1, -2)
        ]
        np.testing.assert_array_equal(by_number[0].image, by_number[1].image)
        np.testing.assert_array_equal(by_number[2].image, by_number[3].image)
        for missing in (0, 2, 4, -3):
            with pytest.raises(vx.InvalidInput, match="has no attention"):
                vx.explain(writing("qwen3_5"), noise_picture, QUESTION, layer=missing, **given)


@pytest.mark.slow
def test_the_mean_of_lengths_divides_by_the_tokens(
    folders: Callable[[str], Path], noise_picture: np.ndarray
) -> None:
    given: dict[str, Any] = {"method": "relevance", "answers": ["red circle"]}
    total, mean = (
        vx.explain(
            vx.load(folders("llava"), device="cpu", lengths=lengths),
            noise_picture,
            QUESTION,
            **given,
        )
        for lengths in ("sum", "mean")
    )
    model = vx.load(folders("llava"), device="cpu")
    assert np.abs(mean.image).sum() < np.abs(total.image).sum()
    assert mean.image.shape == total.image.shape
    assert len(tokens_of(model, "red circle")) > 1


def test_the_list_of_methods_says_which_cost_more_for_longer_answers() -> None:
    assert "each token of the answer" in METHODS["relevance"].cost


def margin(scores: Any) -> Any:
    return scores[:, 0] - scores[:, 1:].logsumexp(1)


@pytest.mark.parametrize(
    ("target", "score", "said"),
    [
        (margin, "logit", "“margin”, a function of the logits"),
        (lambda scores: margin(scores), "logit", "a function of the logits"),
        (margin, "probability", "“margin”, a function of the probabilities"),
        (margin, "log_probability", "“margin”, a function of the log probabilities"),
    ],
)
def test_a_function_of_the_scores_is_no_logit_of_an_answer(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path, target: Any, score: str, said: str
) -> None:
    why = vx.explain(scenes_model, scene, method="leave_one_out", target=target, score=score)
    kept = vx.load_explanation(why.save(tmp_path / "one.vqax"))
    for one in (why, kept):
        assert one.explained == said
        assert one.unit_text == f"points of {said}"


class Findings(nn.Module):
    """Independent findings, whose logits are their own constants and little of the picture."""

    def __init__(self, *constants: Any) -> None:
        super().__init__()
        self.constants = nn.Parameter(torch.tensor(constants))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.constants + 0.1 * pixels.mean(dim=(2, 3))


@pytest.mark.parametrize(
    ("constants", "target", "noted"),
    [
        ((-3.0, -4.0, -5.0), None, False),  # the largest of three findings that are not there
        ((3.0, -4.0, -5.0), None, True),
        ((3.0, -4.0, -5.0), "mass", False),
        ((3.0, 4.0, -5.0), "edema", True),
    ],
)
def test_a_finding_stays_only_where_it_is_found(
    constants: tuple[float, float, float], target: str | None, noted: bool
) -> None:
    """Of outputs that stand each by themselves, the largest is no answer."""
    model = vx.load(
        Findings(*constants),
        transform=transforms.ToTensor(),
        labels=["edema", "mass", "fracture"],
        outputs="sigmoid",
        device="cpu",
    )
    picture = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    why = vx.explain(model, picture, method="leave_one_out", regions=2, target=target)
    assert why.answer_without_inputs is None
    said = [note for note in why.notes if "with everything absent" in note]
    assert len(said) == noted
    if noted:
        assert f"gives “{why.target}” more than 50%" in said[0]
