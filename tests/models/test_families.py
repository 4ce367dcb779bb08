"""What every family must hold, on tiny random checkpoints that are saved in hub format and
loaded back.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import MAKERS
from families import OF_BOXES, encoded_for, example_for, on_all

import vqa_explain as vx
from vqa_explain.game import Game, make_players
from vqa_explain.methods import METHODS
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.families import FAMILIES
from vqa_explain.shell.facts import describe_models
from vqa_explain.target import Target

TILED = ("llava_onevision", "idefics3", "smolvlm")
OVER_TOKENS = {
    "grad_cam",
    "grad_cam_plus_plus",
    "hires_cam",
    "attention",
    "attention_rollout",
    "relevance",
    "layer_activation",
    "layer_gradient_x_activation",
    "layer_conductance",
    "layer_integrated_gradients",
    "layer_ablation",
    "internal_influence",
    "layer_gradient_shap",
    "layer_cam",
    "xgrad_cam",
    "eigen_cam",
    "eigen_grad_cam",
    "ablation_cam",
    "score_cam",
}
CHEAP: dict[str, dict[str, Any]] = {
    "integrated_gradients": {"steps": 4},
    "layer_conductance": {"steps": 4},
    "layer_integrated_gradients": {"steps": 4},
    "internal_influence": {"steps": 4},
    "neuron_conductance": {"steps": 4},
    "gradient_shap": {"samples": 4},
    "layer_gradient_shap": {"samples": 2},
    "evidence": {"budget": 120},
    "smoothgrad": {"samples": 4},
    "vargrad": {"samples": 4},
    "occlusion": {"window": 16, "stride": 16},
    **{
        name: {"budget": 160}
        for name in ("rise", "lime", "shapley", "owen", "banzhaf", "interactions")
    },
}


def game(model: Any, encoded: Encoded, **fills: Any) -> Game:
    chosen = {f.name: fills.get(f.name, f.default_fill) for f in model.features}
    regions = None if model.family in OF_BOXES else 2
    return Game(
        model,
        encoded,
        make_players(encoded, {"image": regions}),
        chosen,
        Target(0, kind=model.kind),
    )


@on_all()
@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_or_refuses_as_the_table_says(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any, method: str
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    own: dict[str, Any] = {}
    if model.labels is None:
        own = {"answers": ["yes", "red circle"], "target": "red circle"}
    parts: dict[str, Any] = {} if model.family in OF_BOXES else {"regions": 2}
    refuses = FAMILIES[model.family].refuses
    works = METHODS[method].needs <= model.capabilities and method not in refuses
    if family in TILED and method in OVER_TOKENS:
        works = False  # as the family's note says
    if family in ("vit", "swin") and method in FAMILIES["vilt"].refuses:
        works = False  # likewise
    if not works:
        with pytest.raises(vx.Unsupported, match=r"use|work|read|place|pair"):
            vx.explain(model, example, method=method, **own, **parts, **CHEAP.get(method, {}))
        return
    why = vx.explain(model, example, method=method, **own, **parts, **CHEAP.get(method, {}))
    assert why.image.shape == noise_picture.shape[:2]
    assert np.isfinite(why.image).all()
    # Maps show only what raises the score, and evidence only what is enough for it.
    may_be_nothing = "cam" in method or method == "evidence"
    assert np.abs(why.image).sum() > 0 or may_be_nothing
    assert len(why.words) == (0 if len(model.features) == 1 else 6 if family != "custom" else 5)
    listed = describe_models()["families"][model.family]["works"]
    assert method in listed or family == "vit"


@on_all()
def test_the_coalition_of_all_is_the_untouched_example(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = encoded_for(model, noise_picture)
    with torch.no_grad():
        untouched = float(model.scores(encoded, model.leaves(encoded))[0, 0])
    for feature in model.features:
        for fill in feature.fills:
            if fill == "drop" and family in TILED:
                continue
            values = game(model, encoded, **{feature.name: fill}).ends()
            assert values[1] == pytest.approx(untouched, abs=1e-5)
            assert values[0] != pytest.approx(untouched, abs=1e-4)


@on_all()
def test_a_batch_of_coalitions_is_as_one_by_one(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = encoded_for(model, noise_picture)
    for image in model.features[0].fills:
        if image in ("noise", "inpaint", "mean", "constant") or (
            image == "drop" and family in TILED
        ):
            continue
        players = game(model, encoded, image=image)
        coalitions = np.random.default_rng(2).random((12, len(players))) < 0.6
        together = players(coalitions)
        alone = [float(game(model, encoded, image=image)(row[None])[0]) for row in coalitions]
        np.testing.assert_allclose(together, alone, atol=2e-5)


@on_all()
def test_gradients_are_those_of_finite_differences(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = encoded_for(model, noise_picture)
    leaves = {name: leaf.requires_grad_(True) for name, leaf in model.leaves(encoded).items()}
    scores = model.scores(encoded, leaves)
    slopes = torch.autograd.grad(scores[0, 1 if scores.shape[1] > 1 else 0], list(leaves.values()))
    generator = torch.Generator().manual_seed(4)
    for number, (name, leaf) in enumerate(leaves.items()):
        way = torch.randn(leaf.shape, generator=generator)
        size = 2e-3 * float(leaf.detach().norm() / way.norm())
        with torch.no_grad():
            ends = [
                model.scores(encoded, {**leaves, name: leaf + sign * size * way})[
                    0, 1 if scores.shape[1] > 1 else 0
                ]
                for sign in (1, -1)
            ]
        measured = float(ends[0] - ends[1]) / (2 * size)
        expected = float((slopes[number] * way).sum())
        scale = float(slopes[number].norm())
        assert measured == pytest.approx(expected, abs=0.05 * scale)


@on_all()
def test_the_same_call_gives_the_same_bits_and_leaves_no_trace(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    example = example_for(model, noise_picture)
    own: dict[str, Any] = {"answers": ["yes", "no"]} if model.labels is None else {}
    parts: dict[str, Any] = {} if model.family in OF_BOXES else {"regions": 2}

    def hooks() -> int:
        return sum(
            len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules()
        )

    def call() -> Any:
        return vx.explain(model, example, method="shapley", seed=5, budget=160, **own, **parts)

    learns = [p.requires_grad for p in model.module.parameters()]
    before, random = hooks(), torch.random.get_rng_state()
    first, second = call(), call()
    np.testing.assert_array_equal(first.image, second.image)
    with pytest.raises(vx.InvalidInput):
        vx.explain(model, example, method="saliency", target=lambda scores: scores, **own)
    assert hooks() == before
    assert torch.equal(torch.random.get_rng_state(), random)
    assert not any("forward" in vars(m) for m in model.module.modules())
    assert [p.requires_grad for p in model.module.parameters()] == learns


@pytest.mark.slow
def test_no_family_is_left_out(models: Callable[[str], Any]) -> None:
    tried = {models(family).family for family in (*MAKERS, "custom")}
    # They have tests of their own: test_text_classifier.py, test_api.py, test_endpoint.py,
    # test_documents.py and test_page_writer.py.
    assert tried | {"text classifier", "api", "document", "page writer"} == set(FAMILIES)


SHAPES = [(300, 120), (120, 300), (5, 7), (900, 1200)]


@on_all()
@pytest.mark.parametrize("shape", SHAPES)
def test_values_return_to_the_place_they_came_from(
    models: Callable[[str], Any], family: Any, shape: tuple[int, int]
) -> None:
    """A bright block on black: what the frame has more than that of a black picture lies on the
    block.
    """
    model = models(family)
    if model.family in OF_BOXES:
        pytest.skip("it sees boxes: see test_lxmert and test_visual_bert")
    height, width = shape
    dark, lit = np.zeros((*shape, 3), np.uint8), np.zeros((*shape, 3), np.uint8)
    rows = slice(height // 2, height // 2 + max(1, height // 6))
    columns = slice(width // 2, width // 2 + max(1, width // 6))
    lit[rows, columns] = 255
    frames = [model.encode(example_for(model, picture)) for picture in (dark, lit)]
    difference = (frames[1].pixels - frames[0].pixels).abs().sum(dim=1)[0].double().numpy()
    carried = frames[1].geometry.to_original(difference)
    assert carried.shape == shape
    assert carried.sum() == pytest.approx(difference.sum())
    down, across = np.indices(shape)
    middle = (
        (carried * (down + 0.5)).sum() / carried.sum(),
        (carried * (across + 0.5)).sum() / carried.sum(),
    )
    aim = ((rows.start + rows.stop) / 2, (columns.start + columns.stop) / 2)
    reach = [max(1.5, 0.06 * side) for side in shape]
    assert abs(middle[0] - aim[0]) < reach[0]
    assert abs(middle[1] - aim[1]) < reach[1]


QUESTIONS = [
    "What's the circle's color?",
    "Is the naïve café 🍩 red?",
    "What   color\nis the — circle…",
    "是 红色 的 吗",
]


@on_all(("vilt", "blip", "lxmert", "clip", "siglip", "llava", "qwen2_vl", "idefics3", "paligemma"))
@pytest.mark.parametrize("question", QUESTIONS)
def test_words_stand_where_the_question_has_them(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any, question: str
) -> None:
    model = models(family)
    encoded = model.encode(example_for(model, noise_picture, question))
    assert encoded.words
    for word in encoded.words:
        assert question[word.start : word.end] == word.text
    for token in encoded.tokens:
        if token.word >= 0:
            word = encoded.words[token.word]
            assert token.start < word.end  # some tokens hold the blank before their word
            assert word.start < token.end
    letters = {w.text for w in encoded.words if any(c.isalnum() for c in w.text)}
    assert letters == {
        w
        for w in question.replace("—", " ").replace("…", " ").replace("?", " ").split()
        if w[0].isalnum()
    }
