"""Answers are the ones that were asked for, and their probabilities are what the network's outputs mean."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from conftest import Linear, ToTensor
from custom_net import VOCABULARY, network
from scipy.special import expit, softmax
from torch import nn
from torchvision import transforms

import vqa_explain as vx
from vqa_explain.cli import app
from vqa_explain.models.base import answers, find_answer

BIRD_AND_MACHINE = ["crane", "dog", "Cardigan", "crane", "cardigan", "517", "3"]


def loaded(labels, classes=None, **settings):
    module = Linear(len(labels) if classes is None else classes)
    return vx.load(module, transform=ToTensor(), labels=labels, device="cpu", **settings)


def plain(model, picture):
    """The network called by itself: its outputs (K,)."""
    with torch.no_grad():
        return model.module(ToTensor()(picture)[None])[0].double().numpy()


def rows_of(folder, metric, method="saliency"):
    """What a run wrote of one metric, with its curves."""
    rows = [row for path in sorted(folder.rglob("*.parquet")) for row in pq.read_table(path).to_pylist()]
    return [row for row in rows if row["metric"] == metric and row["method"] == method]


def gradient(model, picture, index):
    """Of one output, by hand: the network is linear."""
    return np.abs(model.module.weight[index].detach().double().numpy()).max(axis=0)


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
def test_the_answer_that_is_asked_for_is_explained(asked, index, picture):
    model = loaded(BIRD_AND_MACHINE)
    why = vx.explain(model, picture, method="saliency", target=asked)
    assert why.target == BIRD_AND_MACHINE[index]
    assert why.provenance["target_index"] == index
    expected = model.module.weight[index].detach().double().numpy()
    np.testing.assert_allclose(
        vx.explain(model, picture, method="input_x_gradient", target=asked).image,
        (expected * ToTensor()(picture).double().numpy()).sum(axis=0),
        atol=1e-6,
    )
    other = vx.explain(model, picture, method="saliency", target=1 if index != 1 else 0, contrast=asked)
    assert other.provenance["contrast_index"] == index


@pytest.mark.parametrize(("asked", "both"), [("crane", (0, 3)), ("CRANE", (0, 3)), ("CARDIGAN", (2, 4))])
def test_a_text_of_several_answers_is_refused_with_their_numbers(asked, both, picture):
    model = loaded(BIRD_AND_MACHINE)
    for given in ({"target": asked}, {"target": "dog", "contrast": asked}, {"target": ["dog", asked]}):
        with pytest.raises(vx.InvalidInput) as caught:
            vx.explain(model, picture, method="saliency", **given)
        assert all(f"number {index}" in str(caught.value) for index in both)


@pytest.mark.parametrize("asked", [7, -1, 10**20])
def test_a_number_of_no_answer_is_refused(asked, picture):
    with pytest.raises(vx.InvalidInput, match="numbered 0 to 6"):
        vx.explain(loaded(BIRD_AND_MACHINE), picture, target=asked)


@pytest.mark.parametrize("asked", [True, np.True_, 1.0, np.float32(1), b"dog", np.array([1, 2]), {"dog": 1}])
def test_what_is_neither_text_nor_number_is_refused(asked, picture):
    with pytest.raises(vx.InvalidInput, match="text or its label number"):
        vx.explain(loaded(BIRD_AND_MACHINE), picture, target=asked)


def test_both_of_two_answers_of_one_name_can_be_explained_and_compared(picture):
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


def test_the_predicted_one_of_two_names_is_right_and_the_others_of_like_name_are_not(picture, tmp_path):
    model = loaded(["Cardigan", "cardigan", "crane", "crane"])
    best = int(np.argmax(plain(model, picture)))
    other = {0: 1, 1: 0}.get(best)
    with torch.no_grad():  # so that each is predicted once
        orders = [model.module.weight[torch.tensor([best, *[i for i in range(4) if i != best]])].clone()]
        orders += [orders[0].roll(shift, dims=0) for shift in (1, 2, 3)]
    assert other is None or other != best
    for weight in orders:
        model.module.weight.data = weight.clone()
        predicted = int(np.argmax(plain(model, picture)))
        truths = ["Cardigan", "cardigan", "crane"]
        data = [vx.Example(picture, answer=truth, id=truth) for truth in truths]
        report = vx.evaluate(
            model, data, ["saliency"], ["accuracy", "perturbation_positive"], tmp_path / str(predicted), workers=1
        )
        frame = report.frame()
        found = frame[frame["metric"] == "accuracy"].set_index("id")["value"]
        assert found.to_dict() == {truth: float(model.labels[predicted] == truth) for truth in truths}
        curves = rows_of(tmp_path / str(predicted), "perturbation_positive")
        assert {row["id"]: row["curve"][0] for row in curves} == found.to_dict()


@pytest.mark.parametrize(
    ("typed", "index"), [("517", 5), ("3", 6), ("4", 4), ("0", 0), ("cardigan", 4)]
)  # fmt: skip
def test_the_shell_takes_a_number_where_no_answer_is_spelled_so(typed, index, picture, tmp_path, monkeypatch, capsys):
    from PIL import Image

    monkeypatch.setattr("vqa_explain.models.loading.load", lambda _name, **_: loaded(BIRD_AND_MACHINE))
    Image.fromarray(picture).save(tmp_path / "p.png")
    asked = ["explain", str(tmp_path / "p.png"), "--model", "x", "--method", "saliency", "--target", typed, "--json"]
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
        (dict.fromkeys(["one", "two", "three"]).keys() | set() and iter(["one", "two", "three"]), NAMED),
        ([0, 1, 2], ("0", "1", "2")),
        (range(3), ("0", "1", "2")),
        (np.arange(3), ("0", "1", "2")),
        ([np.int64(4), np.float64(0.5), np.str_("x")], ("4", "0.5", "x")),
        (torch.arange(3), ("0", "1", "2")),
    ],
)
def test_labels_are_read_in_the_order_of_the_scores(given, expected, picture):
    model = loaded(given, classes=3)
    assert model.labels == expected
    scores = plain(model, picture)
    why = vx.explain(model, picture, method="saliency")
    assert [answer.text for answer in why.answers] == [expected[i] for i in np.argsort(-scores)]
    np.testing.assert_allclose([a.probability for a in why.answers], np.sort(softmax(scores))[::-1], rtol=1e-5)
    settings = {"image": transforms.ToTensor(), "text": VOCABULARY, "device": "cpu"}
    if not hasattr(given, "__next__"):
        assert vx.CustomModel(network(), labels=given, **settings).labels == expected


@pytest.mark.parametrize(
    "given",
    [
        {1: "one", 2: "two", 3: "three"},
        {"one": 0, "two": 1, "three": 2},
        {0: "one", 2: "three"},
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
def test_labels_that_cannot_be_read_are_refused(given, picture):
    with pytest.raises(vx.InvalidInput):
        vx.explain(loaded(given, classes=3), picture, method="saliency")


def test_the_numbers_of_a_configuration_may_have_no_gap():
    import transformers as tf

    config = tf.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
                          image_size=8, patch_size=4, num_labels=2)  # fmt: skip
    config.id2label = {1: "cat", 2: "dog"}
    module = tf.ViTForImageClassification(config)
    with pytest.raises(vx.InvalidInput, match="number 0 is missing"):
        vx.load(module, transform=tf.ViTImageProcessor(size={"height": 8, "width": 8}), device="cpu")


def test_find_answer_agrees_with_a_plain_search():
    from hypothesis import given
    from hypothesis import strategies as st

    names = st.lists(st.sampled_from(["a", "A", " a", "b", "B b", "b  B", "ß", "SS"]), min_size=1, max_size=6)

    @given(names, st.sampled_from(["a", "A", "b b", "B b", "ss", "ß", "c"]))
    def check(labels, asked):
        exact = [i for i, label in enumerate(labels) if label == asked]
        alike = [i for i, label in enumerate(labels) if label.casefold().split() == asked.casefold().split()]
        meant = exact or alike
        if len(meant) == 1:
            assert find_answer(labels, asked) == meant[0]
        else:
            with pytest.raises(vx.InvalidInput):
                find_answer(labels, asked)

    check()


# What outputs mean


def outputs_of(model, picture):
    return {answer.index: answer for answer in answers(model, model.encode(vx.Example(picture)), 10)}


def test_sigmoid_outputs_have_probabilities_of_their_own(picture):
    model = loaded(["a", "b", "c"], outputs="sigmoid")
    scores = plain(model, picture)
    for index, answer in outputs_of(model, picture).items():
        assert answer.probability == pytest.approx(expit(scores[index]), rel=1e-5)


@pytest.mark.parametrize("classes", [1, 3])
@pytest.mark.parametrize("method", ["occlusion", "leave_one_out", "shapley", "integrated_gradients"])
def test_a_score_of_probability_is_a_sigmoids(classes, method, picture):
    """Values that add up add up to the difference of two sigmoids, taken of the network by itself."""
    model = loaded([f"c{i}" for i in range(classes)], outputs="sigmoid")
    model.module.weight.data /= 20  # away from the flat ends of the curve
    regions = {"regions": 2} if method in ("leave_one_out", "shapley") else {}
    fill = {"image_baseline": "constant"} if method == "integrated_gradients" else {"image_fill": "constant"}
    why = vx.explain(model, picture, method=method, target=0, score="probability", **regions, **fill)
    assert np.abs(why.image).max() > 1e-4
    if method in ("shapley", "integrated_gradients"):
        whole = expit(plain(model, picture)[0])
        encoded = model.encode(vx.Example(picture))
        blank = model.baselines(encoded, {"image": "constant"}, 0)["image"]
        with torch.no_grad():
            empty = expit(float(model.module(blank)[0, 0]))
        assert why.image.sum() == pytest.approx(whole - empty, abs=2e-3)


def test_one_logit_asks_what_it_is(picture):
    for build in (
        lambda: loaded(["defect"]),
        lambda: loaded(["defect"], outputs="softmax"),
        lambda: vx.explain(vx.load(Linear(1), transform=ToTensor(), device="cpu"), picture),
        lambda: vx.CustomModel(
            network(), image=transforms.ToTensor(), text=VOCABULARY, labels=["defect"], embedding="embedding"
        ),
    ):
        with pytest.raises(vx.InvalidInput, match=r'outputs="sigmoid".*outputs="real"'):
            build()


def test_an_unknown_kind_of_output_is_refused():
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
def test_a_configuration_says_what_outputs_are(problem_type, count, expected, picture, tmp_path):
    import transformers as tf

    config = tf.ViTConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8,
                          image_size=8, patch_size=4, num_labels=count, problem_type=problem_type)  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = tf.ViTForImageClassification(config)
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


def test_real_numbers_have_no_probabilities(picture, tmp_path):
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


def test_metrics_of_probabilities_use_the_sigmoid(picture, tmp_path):
    """Deletion's ends, by hand: the sigmoid of the whole picture's logit and of the emptied one's."""
    model = loaded(["defect"], outputs="sigmoid")
    model.module.weight.data /= 20
    data = [vx.Example(picture, answer="defect", id="0")]
    report = vx.evaluate(model, data, ["saliency"], METRICS, tmp_path, workers=1, image_fill="constant")
    frame = report.frame()
    curve = rows_of(tmp_path, "deletion:steps=4")[0]["curve"]
    blank = model.baselines(model.encode(data[0]), {"image": "constant"}, 0)["image"]
    with torch.no_grad():
        ends = [plain(model, picture)[0], float(model.module(blank)[0, 0])]
    np.testing.assert_allclose([curve[0], curve[-1]], expit(ends), rtol=1e-5)
    assert rows_of(tmp_path, "road:steps=3")[0]["curve"][0] == pytest.approx(expit(ends[0]), rel=1e-5)
    assert "accuracy" not in frame.dropna(subset=["value"])["metric"].tolist()  # nothing is chosen among


def test_metrics_of_probabilities_are_refused_for_real_numbers(picture, tmp_path):
    model = loaded(["price", "size"], outputs="real")
    data = [vx.Example(picture, answer="price", id="0")]
    frame = vx.evaluate(model, data, ["saliency"], METRICS, tmp_path / "some", workers=1).frame()
    assert set(frame.dropna(subset=["value"])["metric"]) == {"infidelity"}
    with pytest.raises(vx.InvalidInput, match="no probabilities"):
        vx.evaluate(model, data, ["saliency"], ["deletion"], tmp_path / "none", workers=1)


class Ends(nn.Module):
    """A network with a last step of its own."""

    def __init__(self, step, classes=3):
        super().__init__()
        self.body, self.step = Linear(classes), step

    def forward(self, x):
        return self.step(self.body(x) / 20)


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
def test_a_network_that_gives_probabilities_is_refused(step, outputs, picture):
    """A softmax of a softmax, or a sigmoid of a sigmoid, is a plausible wrong number."""
    model = vx.load(Ends(step), transform=ToTensor(), labels=["a", "b", "c"], outputs=outputs, device="cpu")
    with pytest.raises(vx.InvalidInput, match="probabilities already"):
        vx.explain(model, picture, method="leave_one_out")
    real = vx.load(Ends(step), transform=ToTensor(), labels=["a", "b", "c"], outputs="real", device="cpu")
    expected = Ends(step)(ToTensor()(picture)[None])[0].detach()
    assert vx.explain(real, picture, method="leave_one_out").answers[0].value == pytest.approx(float(expected.max()))


def test_log_probabilities_of_a_network_are_taken_as_logits(picture):
    model = vx.load(Ends(nn.LogSoftmax(-1)), transform=ToTensor(), labels=["a", "b", "c"], device="cpu")
    with torch.no_grad():
        expected = model.module(ToTensor()(picture)[None])[0].exp()
    for index, answer in outputs_of(model, picture).items():
        assert answer.probability == pytest.approx(float(expected[index]), rel=1e-5)


def test_a_network_of_ones_own_with_sigmoid_outputs(noise_picture):
    steps = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])
    settings = {"image": steps, "text": VOCABULARY, "labels": ["yes", "no", "red", "blue"], "device": "cpu"}
    for outputs, function in (("softmax", softmax), ("sigmoid", expit)):
        model = vx.CustomModel(network(), outputs=outputs, **settings)
        encoded = model.encode(vx.Example(noise_picture, "what color is the circle"))
        with torch.no_grad():
            scores = network().eval()(encoded.pixels, encoded.ids)[0].double().numpy()
        for answer in answers(model, encoded):
            assert answer.probability == pytest.approx(function(scores)[answer.index], rel=1e-5)


def test_models_that_say_themselves_what_they_give_take_no_outputs(folders):
    for family in ("blip", "llava", "clip"):
        with pytest.raises(vx.InvalidInput, match="outputs"):
            vx.load(folders(family), device="cpu", outputs="sigmoid")


def test_answers_of_a_model_that_writes_are_kept_apart(models, noise_picture):
    """Texts that differ in case are other tokens; each is scored as it is written."""
    model = models("llava")
    asked = (noise_picture, "What color is the circle?")
    given = {"method": "saliency", "answers": ["Yes", "yes", "YES"]}
    texts = vx.explain(model, *asked, **given).answers
    assert {a.text for a in texts} == {"Yes", "yes", "YES"}
    assert len({a.probability for a in texts}) == 3
    for number, text in enumerate(given["answers"]):
        assert vx.explain(model, *asked, target=text, **given).target == text
        assert vx.explain(model, *asked, target=number, **given).target == text
    assert vx.explain(model, *asked, target="yEs", **given).target == "yEs"
    with pytest.raises(vx.InvalidInput, match="must be text"):
        vx.explain(model, *asked, method="saliency", answers=["yes", 3])
