"""Numbers of evaluations, with truth from plain calls of the network, closed forms and simulation."""

import numpy as np
import pytest
import torch
from families import example_for

import vqa_explain as vx
from vqa_explain.evaluation.judging import Judge
from vqa_explain.evaluation.plan import Plan
from vqa_explain.metrics import read_metric

DATA = "scenes:test"
ANSWERING = ["vilt", "lxmert", "blip", "llava", "qwen2_vl", "smolvlm", "custom"]


def pictures(count=3):
    """Pictures of one size that differ in color, place and content."""
    rng = np.random.default_rng(5)
    found = [np.full((60, 90, 3), color, np.uint8) for color in ((250, 10, 10), (10, 10, 250))]
    found.append(rng.integers(0, 256, (60, 90, 3), dtype=np.uint8))
    return found[:count]


def values(model, example, metric):
    """The metric's values of one example, by an evaluation's own code."""
    judge = Judge(model, Plan("m", "", "d", "", None, (), (metric,)))
    rows = judge(0, example)
    assert [row["note"] for row in rows] == [None] * len(rows)
    return [row["value"] for row in rows]


@pytest.mark.parametrize("family", ANSWERING)
def test_without_the_picture_every_picture_is_worth_the_same(models, family):
    model = models(family)
    examples = [example_for(model, picture) for picture in pictures()]
    if family == "lxmert":  # its pictures are features of boxes and their places
        features = [np.random.default_rng(seed).normal(size=(5, 16)).astype(np.float32) for seed in range(3)]
        boxes = [e.boxes + shift for shift, e in enumerate(examples)]
        examples = [
            vx.Example(**{**vars(e), "features": f, "boxes": b})
            for e, f, b in zip(examples, features, boxes, strict=True)
        ]
    # The answer to be hit: what is said of a gray picture, by a plain call where the network takes pixels.
    answer = said_of_nothing(model, examples[0])
    found = [values(model, vx.Example(**{**vars(e), "answer": answer}), "accuracy_without_image") for e in examples]
    assert found == [[1.0]] * len(examples)


def said_of_nothing(model, example):
    if model.labels is None:
        gray = vx.Example(**{**vars(example), "image": np.full((60, 90, 3), 127, np.uint8)})
        return model.generate(model.encode(gray))[0]
    encoded = model.encode(example)
    if model.family == "lxmert":  # no box is to be seen
        with torch.no_grad():
            found = model.module(
                encoded.ids, torch.zeros(1, 5, 16), torch.zeros(1, 5, 4), visual_attention_mask=torch.zeros(1, 5)
            )
        return model.labels[int(found.question_answering_score.argmax())]
    leaves = model.leaves(encoded)
    with torch.no_grad():
        scores = model.scores(encoded, {**leaves, "image": torch.zeros_like(leaves["image"])})
    return model.labels[int(scores.argmax())]


def test_without_the_picture_the_scenes_model_is_right_where_its_plain_call_is(scenes_model, tmp_path):
    examples = [vx.load_dataset(DATA)[i] for i in range(60)]
    right = []
    for example in examples:
        encoded = scenes_model.encode(example)
        leaves = scenes_model.leaves(encoded)
        with torch.no_grad():
            scores = scenes_model.scores(encoded, {**leaves, "image": torch.zeros_like(leaves["image"])})
        right.append(scenes_model.labels[int(scores.argmax())] == example.answer)
    report = vx.evaluate(scenes_model, examples, [], ["accuracy_without_image"], tmp_path, workers=1, image_fill="blur")
    assert report.values("accuracy_without_image").tolist() == right
    colors = [r for r, e in zip(right, examples, strict=True) if e.family == "color"]
    assert np.mean(colors) < 0.3  # five colors; blurred pictures gave half of them away
    assert any("accuracy_without_image" in note and "'constant'" in note for note in report.notes())


@pytest.mark.parametrize("fill", ["blur", "mean", "noise", "inpaint"])
def test_a_fill_that_shows_the_picture_is_refused(fill):
    with pytest.raises(vx.InvalidInput, match="choose one of: constant, drop"):
        read_metric(f"accuracy_without_image:fill={fill}")


@pytest.mark.parametrize("people", [("red",) * 10, ("red",) * 4 + ("pink",) * 6, ("red", "pink", "blue") * 3])
def test_accuracy_without_a_modality_counts_people_as_accuracy_does(scenes_model, people):
    example = vx.load_dataset(DATA)[0]
    picture = np.zeros_like(example.image)
    both = {}
    for answers in (people, ()):
        one = vx.Example(picture, example.question, answer=None if answers else "red", answers=answers)
        both[answers] = values(scenes_model, one, "accuracy_without_image")
    said = said_of_nothing(scenes_model, scenes_model.encode(vx.Example(picture, example.question)).example)
    matches = people.count(said)
    # Of ten people n say so: left out one by one, n times n − 1 of them match and 10 − n times n.
    n, total = matches, len(people)
    expected = (n * min((n - 1) / 3, 1) + (total - n) * min(n / 3, 1)) / total
    assert both[people] == [pytest.approx(expected)]
    assert both[()] == [float(said == "red")]


@pytest.mark.parametrize("family", ["llava", "blip"])
def test_what_a_model_writes_is_its_answer_even_if_the_truth_is_likelier(models, family):
    model = models(family)
    example = example_for(model, pictures()[2])
    own = model.generate(model.encode(example))[0]
    judge = Judge(model, Plan("m", "", "d", "", None, (), ("accuracy",)))
    for truth in ("yes", "no", "red", "circle", own):
        (row,) = judge(0, vx.Example(example.image, example.question, answer=truth))
        assert row["predicted"] == own
        assert row["value"] == float(truth.strip().casefold() == own.strip().casefold())


def test_an_answer_that_needs_no_input_is_said(scenes_model):
    examples = [vx.load_dataset(DATA)[i] for i in range(12)]
    seen = set()
    for example in examples:
        why = vx.explain(scenes_model, example, method="leave_one_out", image_fill="blur")
        encoded = scenes_model.encode(example)
        start = scenes_model.baselines(encoded, {"image": "blur", "text": "mask"}, 0)
        with torch.no_grad():
            nothing = scenes_model.labels[int(scenes_model.scores(encoded, start).argmax())]
        assert why.answer_without_inputs == nothing
        assert why.survives_without_inputs == (nothing == why.answers[0].text)
        assert ("still answers" in repr(why)) == why.survives_without_inputs
        seen.add(why.survives_without_inputs)
    assert seen == {True, False}
    assert vx.explain(scenes_model, examples[0], method="saliency").survives_without_inputs is None
