"""The user's call: targets, contrasts, files, errors, and whether the truth is found."""

import dataclasses
import inspect
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import ToTensor
from PIL import Image
from torch import nn
from transformers import ViltForQuestionAnswering, ViltProcessor

import vqa_explain as vx
from vqa_explain.datasets.easy_vqa import EasyVQA
from vqa_explain.datasets.everyday.dataset import Everyday
from vqa_explain.datasets.scenes import FAMILIES, Scenes
from vqa_explain.methods import METHODS
from vqa_explain.metrics.localization import decisive_words, mass
from vqa_explain.models.loading import data_folder
from vqa_explain.models.vilt import ViltModel
from vqa_explain.target import Answer


@pytest.fixture(scope="module")
def why(scenes_model: ViltModel, scene: vx.Example) -> vx.Explanation:
    return vx.explain(scenes_model, scene, method="shapley", budget=400, regions=4)


@pytest.mark.slow
def test_contrast_is_the_difference_of_two_explanations(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    for method in ("integrated_gradients", "leave_one_out"):
        yes, no = (vx.explain(scenes_model, scene, method=method, target=t) for t in ("yes", "no"))
        both = vx.explain(scenes_model, scene, method=method, target="yes", contrast="no")
        np.testing.assert_allclose(both.image, yes.image - no.image, atol=1e-4)
        for b, y, n in zip(both.words, yes.words, no.words, strict=True):
            assert b.value == pytest.approx(y.value - n.value, abs=1e-3)


def test_scores_are_logit_log_probability_and_probability(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    with torch.no_grad():
        logits = scenes_model.scores(encoded, scenes_model.leaves(encoded))[0].double()
    from vqa_explain.target import Target

    assert Target(3, None, "logit")(logits[None]).item() == pytest.approx(logits[3].item())
    assert Target(3, None, "probability")(logits[None]).item() == pytest.approx(
        (logits.exp() / logits.exp().sum())[3].item()
    )
    assert Target(3, 4, "log_probability")(logits[None]).item() == pytest.approx(
        (logits[3] - logits[4]).item()
    )


@pytest.mark.slow
def test_what_an_explanation_carries(why: vx.Explanation, scene: vx.Example) -> None:
    assert why.image.shape == scene.image.shape[:2]
    assert sum(why.share.values()) == pytest.approx(1)
    of_words = sum(abs(word.value) for word in why.words)
    of_regions = sum(abs(region.value) for region in why.regions)
    assert why.share["question"] == pytest.approx(of_words / (of_words + of_regions))
    errors = [word.error for word in why.words] + [region.error for region in why.regions]
    assert None not in errors
    assert why.error == max(error for error in errors if error is not None)
    assert why.cost.forwards <= 400
    assert why.provenance["model"] == "scenes"
    assert scene.question is not None
    assert scene.question[why.words[0].start : why.words[0].end] == why.words[0].text
    assert why.region_mask(0).sum() == 24 * 24
    assert "words" in repr(why)
    assert why.target in why._repr_html_()


def test_the_file_comes_back_exactly_and_no_half_file_is_left(
    why: vx.Explanation, tmp_path: Path
) -> None:
    path = why.save(tmp_path / "why.vqax")
    back = vx.load_explanation(path)
    assert back.summary() == why.summary()
    assert (back.words, back.regions, back.answers) == (why.words, why.regions, why.answers)
    for name in ("image", "labels", "picture"):
        np.testing.assert_array_equal(getattr(back, name), getattr(why, name))
    assert os.listdir(tmp_path) == ["why.vqax"]
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(vx.InvalidInput, match="damaged"):
        vx.load_explanation(path)
    with pytest.raises(vx.InvalidInput, match="cannot be written"):
        why.save(tmp_path / "none" / "why.vqax")


class Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.scripts = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: Any, attrs: Any) -> None:
        self.scripts += tag == "script"
        self.found += [v for k, v in attrs if k in ("src", "href", "action", "data") and v]
        if tag not in ("meta", "img", "br", "link"):
            self.open.append(tag)

    def handle_startendtag(self, tag: Any, attrs: Any) -> None:
        self.found += [v for k, v in attrs if k in ("src", "href") and v]

    def handle_endtag(self, tag: Any) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole_has_no_remote_links_and_shows_hostile_text_as_text(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path
) -> None:
    question = '<script>x()</script> "><img src=x> red?'
    why = vx.explain(scenes_model, scene.image, question, method="saliency")
    text = why.to_html(tmp_path / "why.html").read_text()
    page = Links()
    page.feed(text)
    assert page.open == []
    assert page.scripts == 3  # the explanations, the notes of the reader, and the viewer
    assert page.found == []
    assert "<script>x()" not in text
    # The name of SVG's elements looks like an address, and is never asked for.
    assert not re.search(r"https?://", text.replace('"http://www.w3.org/2000/svg"', ""))
    assert "Content-Security-Policy" in text
    fragment = Links()
    fragment.feed(why._repr_html_())
    assert (fragment.open, fragment.scripts, len(fragment.found)) == ([], 0, 2)
    assert all(link.startswith("data:image/") for link in fragment.found)


def test_the_figure_draws(why: vx.Explanation, tmp_path: Path) -> None:
    why.plot().savefig(tmp_path / "why.png")
    assert (tmp_path / "why.png").stat().st_size > 10_000


def test_a_notebook_shows_the_figure_without_pyplot(why: vx.Explanation) -> None:
    assert why.plot()._repr_png_().startswith(b"\x89PNG")


def test_the_views_of_a_figure_show_their_part_of_the_values(why: vx.Explanation) -> None:
    def shown(figure: Any) -> list[Any]:
        return [axes.get_images()[-1] for axes in figure.axes if axes.get_images()]

    values, scale = why.heat
    scale = max(abs(region.value) for region in why.regions)  # regions have a scale of their own
    picture, positive, negative, masked = shown(
        why.plot(views=["picture", "positive", "negative", "masked"])
    )
    np.testing.assert_array_equal(picture.get_array(), why.picture)
    for view, visible in ((positive, values > 0.02 * scale), (negative, values < -0.02 * scale)):
        np.testing.assert_array_equal(
            (view.get_array() != 255).any(axis=2) & (np.abs(values) > 0.02 * scale), visible
        )
    assert (masked.get_array()[values <= 0] == 255).all()
    strongest = np.unravel_index(values.argmax(), values.shape)
    if values[strongest] == scale:
        np.testing.assert_array_equal(masked.get_array()[strongest], why.picture[strongest])
    signed = shown(why.plot(views=["signed"], cmap="PuOr"))[-1]
    np.testing.assert_array_equal(signed.get_array(), values)
    assert (signed.get_clim(), signed.cmap.name) == ((-scale, scale), "PuOr")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"views": ["overlays"]}, "unknown view 'overlays'"),
        ({"views": []}, "no view"),
        ({"cmap": "virids"}, "unknown color map 'virids'"),
    ],
)
def test_a_figure_that_cannot_be_drawn(
    why: vx.Explanation, given: dict[str, list[str]] | dict[str, Any] | dict[str, str], said: str
) -> None:
    with pytest.raises(vx.InvalidInput, match=said):
        why.plot(**given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": ""}, "the question is empty"),
        ({"question": "   "}, "the question is empty"),
        ({"question": "?!…"}, "no words"),
        ({"question": 7}, "must be text"),
        ({"question": None}, "'question' is missing; give a text"),
        ({"method": "shapely"}, "did you mean 'shapley'"),
        ({"method": "shapley", "budgte": 3}, "did you mean 'budget'"),
        ({"method": "shapley", "budget": 0}, "at least 1|from 1"),
        ({"method": "shapley", "budget": 10.5}, "whole number"),
        ({"method": "shapley", "image_fill": "blurr"}, "did you mean 'blur'"),
        ({"method": "occlusion", "window": 4, "stride": 8}, "stride 8 is above window 4"),
        ({"method": "leave_one_out", "regions": 9, "image_fill": "drop"}, "holds most of none"),
        ({"target": "gren"}, "did you mean 'green'"),
        ({"contrast": "reed"}, "did you mean 'red'"),
        ({"target": "red", "contrast": "red"}, "two different answers"),
        ({"score": "logits"}, "did you mean 'logit'"),
        ({"image": "nowhere.png"}, "does not exist"),
    ],
)
def test_bad_input_is_named_with_its_remedy(
    scenes_model: ViltModel, scene: vx.Example, change: Any, message: str
) -> None:
    call = {"image": scene.image, "question": scene.question} | change
    with pytest.raises(vx.VQAExplainError, match=message):
        vx.explain(scenes_model, call.pop("image"), call.pop("question"), **call)


def test_unknown_models_and_explanations_of_no_model_are_refused(scene: vx.Example) -> None:
    with pytest.raises(vx.InvalidInput, match="did you mean 'scenes'"):
        vx.load("scene")
    with pytest.raises(vx.InvalidInput, match="is no folder; check the path"):
        vx.load("./nowhere")
    name: Any = "scenes"  # where a model belongs
    with pytest.raises(vx.InvalidInput, match="load it first"):
        vx.explain(name, scene)


def test_inputs_by_name_are_pointed_to_the_example_that_takes_them(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    inputs = {"image": scene.image, "question": scene.question}
    with pytest.raises(vx.InvalidInput, match=r"Example\.of"):
        vx.explain(scenes_model, inputs)


def test_a_name_where_a_list_of_methods_belongs_is_refused(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    with pytest.raises(vx.InvalidInput, match=r"write methods=\['shapley'\]"):
        vx.evaluate(scenes_model, [scene], "shapley")


def test_nan_scores_are_refused(
    scenes_model: ViltModel, scene: vx.Example, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        scenes_model,
        "scores",
        lambda encoded, leaves: torch.full((len(leaves["image"]), 23), torch.nan),
    )
    with pytest.raises(vx.NonFiniteScore, match="NaN"):
        vx.explain(scenes_model, scene)


def accuracy(model: Any, examples: Any) -> Any:
    encoded = [(model.encode(x), x.answer) for x in examples]
    return np.mean(
        [
            model.labels[int(model.scores(e, model.leaves(e)).argmax())] == answer
            for e, answer in encoded
        ]
    )


SHOWN: dict[str, tuple[Any, float]] = {
    "everyday": (lambda: Everyday("test", 240), 0.75),
    "scenes": (lambda: Scenes("test", 240), 0.8),
    "easy-vqa": (lambda: [EasyVQA("test")[i] for i in range(0, 9673, 48)], 0.8),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SHOWN)
def test_the_shipped_models_answer_as_their_cards_say(name: str) -> None:
    examples, least = SHOWN[name]
    card = (data_folder() / name / "README.md").read_text()
    row = re.search(r"^\| all \| ([\d.]+)", card, re.M)
    assert row is not None
    stated = float(row[1])
    assert accuracy(vx.load(name, device="cpu"), examples()) == pytest.approx(stated, abs=0.05)
    assert stated > least


@pytest.mark.slow
def test_everyday_answers_as_plain_transformers_does() -> None:
    folder = data_folder() / "everyday"
    processor = ViltProcessor.from_pretrained(folder)
    network = ViltForQuestionAnswering.from_pretrained(folder).eval()
    model = vx.load("everyday", device="cpu")
    for example in Everyday("test", 20):
        picture = Image.fromarray(example.image)
        given = processor(picture, example.question, return_tensors="pt")
        with torch.no_grad():
            scores = network(**given).logits[0]
        encoded = model.encode(example)
        found = model.scores(encoded, model.leaves(encoded))[0]
        torch.testing.assert_close(found, scores, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_the_default_method_finds_the_things_of_everyday() -> None:
    """Of a right answer of each family: far more of the relevance is on what the question is
    about than its share of the picture.
    """
    model = vx.load("everyday", device="cpu")
    found, share = [], []
    for family in ("vertical", "color", "colored"):
        right = (
            example
            for example in Everyday("test", 20, families=(family,))
            if example.masks is not None
            and len(example.masks) >= 3
            and vx.answer(model, example) == example.answer
        )
        example = next(right)
        why, truth = vx.explain(model, example), example.truth
        assert truth is not None
        found.append(mass(np.abs(why.image), truth))
        share.append(truth.mean())
    assert np.mean(found) > 3 * np.mean(share)


@pytest.mark.slow
def test_the_default_method_finds_regions_and_words_far_better_than_chance(
    scenes_model: ViltModel, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    found_shares: list[tuple[float, float]] = []
    chance_shares: list[tuple[float, float]] = []
    for family in FAMILIES:
        for example in list(Scenes("test", 200, families=(family,)))[:40]:
            assert example.masks is not None
            if len(example.masks) < 3 or len(found_shares) >= 1 + FAMILIES.index(family):
                continue
            encoded = scenes_model.encode(example)
            if (
                scenes_model.labels[
                    int(scenes_model.scores(encoded, scenes_model.leaves(encoded)).argmax())
                ]
                != example.answer
            ):
                continue
            truth = example.truth
            assert truth is not None
            found = vx.explain(scenes_model, example)
            words = decisive_words(found, example)
            in_words = np.array([w.value for w in found.words])
            found_shares.append((mass(found.image, truth), mass(in_words, words)))
            noise = np.abs(rng.normal(size=len(words)))
            chance_shares.append((truth.mean(), noise[words].sum() / noise.sum()))
    ours, chance = np.mean(found_shares, axis=0), np.mean(chance_shares, axis=0)
    with capsys.disabled():
        print(
            f"\nregion mass {ours[0]:.2f} (random {chance[0]:.2f}), word mass {ours[1]:.2f} "
            f"(random {chance[1]:.2f})"
        )
    assert ours[0] > 2 * chance[0]
    assert ours[1] > chance[1] + 0.1


def test_json_of_a_summary_is_plain(why: vx.Explanation) -> None:
    assert json.loads(json.dumps(why.summary()))["method"] == "shapley"


@pytest.mark.parametrize("fixed", ["image", "question"])
def test_what_is_fixed_is_told_and_is_never_absent(
    scenes_model: ViltModel, scene: vx.Example, fixed: str
) -> None:
    free = {"image": "question", "question": "image"}[fixed]
    why = vx.explain(scenes_model, scene, method="leave_one_out", players=free, regions=4)
    assert why.share == {free: 1.0}
    assert why[fixed].values == []
    encoded = scenes_model.encode(scene)
    start = scenes_model.baselines(encoded, {"image": "mean", "question": "mask"}, 0)
    with torch.no_grad():
        left = scenes_model.scores(encoded, {**scenes_model.leaves(encoded), free: start[free]})
    # Words are left out by default, which no leaf can show; regions are the mean in both.
    if free == "image":
        assert why.answer_without_inputs == scenes_model.labels[int(left[0].argmax())]
    said = " ".join([why.without_inputs_text, *why.notes])
    assert f"everything but {fixed} absent" in said
    # The heading is what was asked, whether its words are players or not.
    assert why.heading == scene.question


@pytest.mark.parametrize(
    ("probability", "shown"),
    [
        (0.5, "50%"),
        (0.9001, "90.0%"),
        (0.9996, "100%"),
        (0.0005, "0.1%"),
        (0.0004, "<0.1%"),
        (1e-12, "<0.1%"),
    ],
)
def test_an_unlikely_answer_is_not_shown_as_impossible(probability: float, shown: str) -> None:
    assert Answer("a long text", probability, 0).shown == shown


def test_only_samples_is_a_parameter_of_methods_and_of_explain() -> None:
    """A name that both have would never reach the method."""
    own = set(inspect.signature(vx.explain).parameters)
    shared = {
        field.name
        for method in METHODS.values()
        for field in dataclasses.fields(method)
        if field.name in own - {"fills"}
    }
    assert shared == {"samples"}


SAMPLED = [
    name
    for name, method in METHODS.items()
    if any(field.name == "samples" for field in dataclasses.fields(method))
]


@pytest.mark.parametrize("name", SAMPLED)
def test_samples_of_a_method_reach_it(name: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2))
    model: Any = vx.load(network, transform=ToTensor(), labels=["a", "b"], device="cpu")
    picture = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    more: dict[str, Any] = {"layer": "0"} if name.startswith("layer") else {}
    why = vx.explain(model, picture, method=name, samples=3, **more)
    assert why.parameters["samples"] == 3
    few = vx.explain(model, picture, method=name, samples=2, **more)
    assert few.cost.forwards < why.cost.forwards or name in (
        "deep_lift_shap",
        "layer_deep_lift_shap",
    )
    with pytest.raises(vx.InvalidInput, match="explain sampled answers by another method"):
        vx.explain(model, picture, method=name, temperature=0.7, **more)
