"""Regions, pieces of the question, fills and targets that a user can ask for."""

from typing import Any

import numpy as np
import pytest
import skimage.data
import torch
from skimage.segmentation import felzenszwalb

import vqa_explain as vx
from vqa_explain.features.geometry import AlignedGeometry
from vqa_explain.features.image import fill_in
from vqa_explain.features.regions import divide
from vqa_explain.features.text import Token, group_words
from vqa_explain.features.words import split_words
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel


def masks_of(labels: Any) -> np.ndarray:
    return np.stack([labels == k for k in range(labels.max() + 1)])


@pytest.mark.parametrize(
    ("regions", "count"),
    [
        (3, 9),
        ("3", 9),
        ((2, 4), 8),
        ("2x4", 8),
        (None, 64),
        (vx.Boxes([(0, 0, 48, 96), (48, 0, 96, 96)]), 2),
    ],
)
def test_regions_divide_the_whole_picture(
    scenes_model: ViltModel, scene: vx.Example, regions: Any, count: int
) -> None:
    why = vx.explain(
        scenes_model, scene, method="leave_one_out", regions=regions, image_fill="blur"
    )
    assert len(why.regions) == count
    assert set(np.unique(why.labels)) == set(range(count))
    assert why.image.sum() == pytest.approx(sum(r.value for r in why.regions))


def test_superpixels_follow_the_picture_and_pixel_methods_are_summed_over_them(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    why = vx.explain(scenes_model, scene, method="input_x_gradient", regions="slic:30")
    sums = [why.image[why.labels == k].sum() for k in range(len(why.regions))]
    np.testing.assert_allclose([r.value for r in why.regions], sums, atol=1e-6)
    assert scene.masks is not None
    whole = max(scene.masks, key=np.sum)
    inside = why.labels[whole]
    assert np.bincount(inside).max() > 0.5 * whole.sum(), "most of an object is one superpixel"


def segments(picture: np.ndarray, most: int | None = None) -> np.ndarray:
    height, width = picture.shape[:2]
    geometry = AlignedGeometry.resized((height, width), (height, width))
    asked = "segments" if most is None else f"segments:{most}"
    return divide(asked, picture, geometry, (1, 1)).labels


@pytest.mark.parametrize("most", [None, 5, 12])
@pytest.mark.parametrize("name", ["astronaut", "coffee", "rocket"])
def test_segments_are_the_finest_that_are_few_enough(name: str, most: int | None) -> None:
    picture = np.ascontiguousarray(getattr(skimage.data, name)()[:200, :240])
    found = segments(picture, most)
    count, limit = found.max() + 1, most or 24
    assert count <= limit
    least = 200 * 240 // (9 * limit)
    scales = [100 * 1.5**step for step in range(30)]
    truth = next(
        labels
        for scale in scales
        if (labels := felzenszwalb(picture, scale=scale, sigma=0.8, min_size=least)).max() < limit
    )
    np.testing.assert_array_equal(found, truth)


def test_segments_of_a_large_picture_lie_where_its_areas_are() -> None:
    picture = np.full((900, 1500, 3), 255, dtype=np.uint8)
    picture[200:500, 300:800] = (200, 30, 30)
    found = segments(picture)
    assert found.shape == (900, 1500)
    inside = found[210:490, 310:790]
    assert len(np.unique(inside)) == 1
    assert (found == inside[0, 0]).mean() == pytest.approx(300 * 500 / (900 * 1500), rel=0.03)


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (60, 40)])
def test_a_picture_of_one_color_has_cells(size: tuple[int, int]) -> None:
    found = segments(np.full((*size, 3), 90, dtype=np.uint8))
    assert found.max() + 1 == min(4, size[0]) * min(4, size[1])


def test_a_mask_is_the_player_that_the_network_misses(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """Hiding one object's mask by hand gives what leave one out says of it."""
    assert scene.masks is not None
    why = vx.explain(
        scenes_model,
        scene,
        method="leave_one_out",
        image_fill="mean",
        regions=vx.Masks(scene.masks, rest="one"),
    )
    encoded = scenes_model.encode(scene)
    hidden = encoded.pixels.clone()
    hidden[:, :, scene.masks[0]] = encoded.pixels.mean(dim=(2, 3))[0][:, None]
    with torch.no_grad():
        words = scenes_model.leaves(encoded)["question"]
        scores = scenes_model.scores(
            encoded,
            {"image": torch.cat([encoded.pixels, hidden]), "question": words.repeat(2, 1, 1)},
        )[:, scenes_model.labels.index(why.target)]
    assert why.regions[0].value == pytest.approx(float(scores[0] - scores[1]), abs=1e-4)
    assert len(why.regions) == len(scene.masks) + 1


def test_the_rest_can_be_a_grid(scenes_model: ViltModel, scene: vx.Example) -> None:
    why = vx.explain(scenes_model, scene, method="leave_one_out", image_fill="blur",
                     regions=vx.Boxes([(0, 0, 30, 30)], rest="grid"))  # fmt: skip
    assert (why.labels[:30, :30] == 0).all()
    assert len(why.regions) > 50


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (
            vx.Boxes([(0, 0, 50, 96), (40, 0, 96, 96)]),
            r"regions 0 and 1 overlap at pixel \(40, 0\)",
        ),
        (vx.Boxes([(0, 0, 48, 96)]), "leave out 50% of the picture"),
        (vx.Boxes([(0, 0, 48, 96), (200, 0, 300, 10)], rest="one"), "region 1 holds no pixel"),
        (vx.Boxes([(0, 0, 48)]), r"boxes must be \(R, 4\)"),
        (
            vx.Boxes([(0, 0, 96, 96), (0, 0, 96, 96)], overlap="smaller"),
            "region 0 is wholly covered",
        ),
        (vx.Boxes([(0, 0, 48, 96)], rest="none"), "unknown rest of regions"),
        (vx.Masks(np.zeros((1, 5, 5), bool)), r"masks must be \(R, 96, 96\)"),
        ("slic:none", "write their number as in 'slic:30'"),
        ("segments:few", "write their number as in 'segments:30'"),
        ("segments:0", "write their number"),
        ("hexagons", "are unknown"),
        (0, "are unknown"),
        (500, "does not fit"),
        (np.zeros((4, 4), int), "are unknown"),
    ],
)
def test_regions_that_cannot_be_are_named(
    scenes_model: ViltModel, scene: vx.Example, regions: Any, message: str
) -> None:
    with pytest.raises(vx.InvalidInput, match=message):
        vx.explain(scenes_model, scene, method="leave_one_out", image_fill="blur", regions=regions)


def test_a_segmenters_labels_on_a_photograph_that_is_cropped() -> None:
    """Labels of the original pixels come back as they went in, where the model sees them."""
    from conftest import Linear
    from torchvision import transforms

    steps = transforms.Compose(
        [transforms.Resize(16), transforms.CenterCrop(8), transforms.ToTensor()]
    )
    model = vx.load(Linear(), transform=steps, device="cpu")
    image = skimage.data.chelsea()
    labels = (np.arange(image.shape[1]) > image.shape[1] // 2).astype(int) + np.zeros(
        image.shape[:2], int
    )
    why = vx.explain(model, image, method="leave_one_out", regions=labels)
    seen = why.labels >= 0
    assert (why.labels[seen] == labels[seen]).mean() > 0.9
    with pytest.raises(vx.InvalidInput, match="cropped away"):
        vx.explain(
            model,
            image,
            method="leave_one_out",
            regions=labels + (np.arange(300) < 20)[:, None] * 5,
        )


@pytest.mark.slow
def test_words_tokens_runs_and_phrases(scenes_model: ViltModel, scene: vx.Example) -> None:
    question = "What colour is the big circle?"  # "colour" and "big" are several tokens each
    encoded = scenes_model.encode(vx.Example(scene.image, question))

    def texts(asked: str | list[Any]) -> list[str]:
        why = vx.explain(scenes_model, scene.image, question, method="leave_one_out", words=asked)
        for word, token_sum in zip(why.words, range(len(why.words)), strict=True):
            mine = [t.value for t in why.tokens if t.word == token_sum]
            assert word.value == pytest.approx(sum(mine))
        return [w.text for w in why.words]

    assert texts("words") == ["What", "colour", "is", "the", "big", "circle", "?"]
    assert texts("ngrams:3") == ["What colour is", "the big circle", "?"]
    assert texts(["big circle", (0, 11)]) == ["What colour", "is", "the", "big circle", "?"]
    assert len(texts("tokens")) == sum(not t.special for t in encoded.tokens)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["red square"], "is not in the question"),
        (["ig circle"], "cuts the token 'big'"),
        (["the big", "big circle"], "overlaps another phrase"),
        ("ngrams:0", "are unknown"),
        ("letters", "are unknown"),
    ],
)
def test_phrases_that_cannot_be_are_named(words: list[str] | str, message: str) -> None:
    question = "What is the big circle?"
    found = split_words(question)
    tokens = tuple(Token(w.text, n, w.start, w.end, n, False) for n, w in enumerate(found))
    with pytest.raises(vx.InvalidInput, match=message):
        group_words(words, question, found, tokens)


@pytest.mark.slow
def test_several_targets_cost_one_pass_and_equal_single_ones(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    options: dict[str, Any] = {"method": "shapley", "regions": 3, "budget": 300}
    many = vx.explain(scenes_model, scene, target=["yes", "no", "red"], **options)
    assert [m.cost.forwards > 0 for m in many] == [True, False, False]
    for one in many:
        alone = vx.explain(scenes_model, scene, target=one.target, **options)
        np.testing.assert_array_equal(alone.image, one.image)
        assert alone.words == one.words


@pytest.mark.slow
def test_a_function_of_the_scores_is_a_target(scenes_model: ViltModel, scene: vx.Example) -> None:
    yes, no = (scenes_model.labels.index(a) for a in ("yes", "no"))

    def margin(scores: Any) -> Any:
        return scores[:, yes] - scores[:, no]

    for method in ("leave_one_out", "integrated_gradients"):
        ours = vx.explain(scenes_model, scene, method=method, target=margin)
        theirs = vx.explain(scenes_model, scene, method=method, target="yes", contrast="no")
        np.testing.assert_allclose(ours.image, theirs.image, atol=1e-6)
        assert ours.target == "margin"
    with pytest.raises(vx.InvalidInput, match=r"must turn scores \(B, K\)"):
        vx.explain(scenes_model, scene, target=lambda scores: scores)
    with pytest.raises(vx.InvalidInput, match="its own contrast"):
        vx.explain(scenes_model, scene, target=margin, contrast="no")


def test_inpainting_continues_a_gradient_and_fills_nothing_with_the_mean() -> None:
    ramp = torch.linspace(0, 1, 32).expand(1, 3, 32, 32)
    present = torch.ones(1, 32, 32, dtype=torch.bool)
    present[0, 12:20, 12:20] = False
    filled = fill_in(ramp, present, "inpaint", 0)
    assert torch.equal(filled[:, :, :12], ramp[:, :, :12])
    assert (filled - ramp).abs().max() < 0.1
    assert (fill_in(ramp, present, "mean", 0) - ramp).abs().max() > 0.1
    nothing = fill_in(ramp, torch.zeros_like(present), "inpaint", 0)
    torch.testing.assert_close(nothing, torch.full_like(nothing, 0.5))


def test_a_deleted_word_is_the_question_without_it(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    question = "What color is the large circle?"
    why = vx.explain(
        scenes_model,
        scene.image,
        question,
        method="leave_one_out",
        text_fill="delete",
        target="red",
    )

    def score(text: str) -> float:
        encoded = scenes_model.encode(vx.Example(scene.image, text))
        with torch.no_grad():
            return float(scenes_model.scores(encoded, scenes_model.leaves(encoded))[0, 0])

    expected = score(question) - score("What color is the circle?")
    assert why.words[4].value == pytest.approx(expected, abs=1e-4)


def test_several_baselines_are_averaged(curved: ClassifierModel, picture: np.ndarray) -> None:
    each = [
        vx.explain(
            curved, picture, method="integrated_gradients", target="a", image_baseline=b, steps=32
        ).image
        for b in ("mean", "constant")
    ]
    both = vx.explain(
        curved,
        picture,
        method="integrated_gradients",
        target="a",
        image_baseline=["mean", "constant"],
        steps=32,
    )
    np.testing.assert_allclose(both.image, np.mean(each, axis=0), atol=1e-6)
