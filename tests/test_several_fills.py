"""One explanation over several fills: means and bands in closed form, where they are shown and
kept, and what cannot be compared.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib import pyplot
from rich.console import Console

import vqa_explain as vx
from vqa_explain.features.parts import TextPart, WordValue
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.viewer.whatif import changed
from vqa_explain.wording import DEPENDS

FILLS = ["mean", "constant"]


def closed_form(model: ClassifierModel, picture: np.ndarray, answer: int) -> np.ndarray:
    """(2, 4) the value of each quarter of a picture under both fills: a linear network adds up."""
    module: Any = model.module
    weights = module.weight[answer].detach().double().numpy()
    pixels = picture.transpose(2, 0, 1) / 255
    blanks = pixels.mean(axis=(1, 2), keepdims=True), 0.0
    moved = np.array([(weights * (pixels - blank)).sum(axis=0) for blank in blanks])
    found: np.ndarray = moved.reshape(2, 2, 4, 2, 4).sum(axis=(2, 4)).reshape(2, 4)
    return found


@pytest.mark.parametrize("method", ["shapley", "banzhaf", "leave_one_out"])
def test_values_are_means_and_bands_hold_every_fill(
    method: str, linear: ClassifierModel, picture: np.ndarray
) -> None:
    why = vx.explain(linear, picture, method=method, regions=2, target="a", fills=FILLS)
    true = closed_form(linear, picture, 0)
    np.testing.assert_allclose([one.value for one in why.regions], true.mean(axis=0), atol=1e-5)
    bands = why.bands["image"]
    np.testing.assert_allclose(bands, np.array([true.min(axis=0), true.max(axis=0)]).T, atol=1e-5)
    same_sign = np.abs(np.sign(true).sum(axis=0)) == 2
    assert why.steady["image"].tolist() == same_sign.tolist()
    assert 0 < same_sign.sum() < 4  # so that both are seen
    np.testing.assert_allclose(why.image.sum(), true.mean(axis=0).sum(), atol=1e-5)
    assert why.parameters["fills"] == {"image": FILLS}
    assert why.notes[0].startswith(
        f"values are means over the fills mean and constant; {same_sign.sum()} of 4 keep their sign"
    )


def test_bands_count_the_errors_of_estimates(curved: ClassifierModel, picture: np.ndarray) -> None:
    how: dict[str, Any] = {"method": "shapley", "regions": 4, "budget": 120, "target": "a"}
    why = vx.explain(curved, picture, fills=FILLS, **how)
    single = [vx.explain(curved, picture, image_fill=fill, **how) for fill in FILLS]
    values = np.array([[one.value for one in each.regions] for each in single])
    errors = np.array([[one.error for one in each.regions] for each in single], dtype=float)
    np.testing.assert_allclose([one.value for one in why.regions], values.mean(axis=0))
    np.testing.assert_allclose([one.error for one in why.regions], errors.mean(axis=0))
    low, high = why.bands["image"].T
    np.testing.assert_allclose(low, (values - 1.959964 * errors).min(axis=0), rtol=1e-6)
    np.testing.assert_allclose(high, (values + 1.959964 * errors).max(axis=0), rtol=1e-6)
    assert why.cost.forwards == sum(each.cost.forwards for each in single)
    assert why.error == pytest.approx(np.mean([each.error for each in single]))


def test_each_of_several_targets_has_its_bands(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    found = vx.explain(linear, picture, method="shapley", regions=2, target=["a", "b"], fills=FILLS)
    for number, why in enumerate(found):
        true = closed_form(linear, picture, number)
        np.testing.assert_allclose(why.bands["image"][:, 0], true.min(axis=0), atol=1e-5)


def test_it_is_told_everywhere_and_kept(
    linear: ClassifierModel, picture: np.ndarray, tmp_path: Path
) -> None:
    why = vx.explain(linear, picture, method="shapley", regions=2, target="a", fills=FILLS)
    kept = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert repr(kept) == repr(why)
    np.testing.assert_array_equal(kept.bands["image"], why.bands["image"])
    assert "means over the fills mean and constant" in repr(why)
    console = Console(width=200, record=True, file=None, quiet=False)
    with console.capture() as shown:
        for table in explanation_tables(why):
            console.print(table)
    text = shown.get()
    assert "over the fills" in text
    ends = [f"{low:+.4g} … {high:+.4g}" for low, high in why.bands["image"]]
    assert all(one in text for one in ends)
    assert text.count(f"{DEPENDS} ") == (~why.steady["image"]).sum() + 1  # and in the note
    page = Path(why.to_html(tmp_path / "why.html")).read_text(encoding="utf-8")
    assert "means over the fills mean and constant" in page


def test_the_change_that_values_foretell_is_the_mean_over_the_fills(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    why = vx.explain(linear, picture, method="shapley", regions=2, target="a", fills=FILLS)
    told = changed(linear, vx.Example(picture), why, {"image": [2]}, {"image": 2})
    assert told["change"] == pytest.approx(-why.regions[2].value, abs=1e-5)
    assert told["predicted"] == pytest.approx(-why.regions[2].value)
    assert told["fills"] == "regions: mean over mean, constant"


def drawn(why: vx.Explanation) -> str:
    figure = why.plot()
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    pyplot.close(figure)
    return "\n".join(texts)


def test_words_of_any_sign_are_marked_in_figures_and_pages(
    scenes_model: ViltModel, scene: vx.Example, tmp_path: Path
) -> None:
    why = vx.explain(
        scenes_model, scene, method="leave_one_out", regions=2, fills=["mask", "pad", "delete"]
    )
    part = why["question"]
    assert isinstance(part, TextPart)
    words = [dataclasses.replace(word, band=(0.5, 2.0), value=1.0) for word in part.words]
    words[1] = dataclasses.replace(words[1], band=(-0.5, 2.0))
    shown = dataclasses.replace(part, words=tuple(words))
    marked = dataclasses.replace(
        why, parts=tuple(shown if one is part else one for one in why.parts), notes=()
    )
    assert drawn(marked).count(DEPENDS) == 1
    assert marked._repr_html_().count(DEPENDS) == 1
    # The picture keeps its own fill.
    assert why.parameters["fills"] == {"question": ["mask", "pad", "delete"]}


@pytest.mark.slow
def test_one_division_serves_fills_that_take_away_patches(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    fills = ["mean", "drop"]
    why = vx.explain(scenes_model, scene, fills=fills, budget="6n")
    assert len(why.regions) == 64
    assert why.score == "probability"
    single = [
        vx.explain(
            scenes_model, scene, method="shapley", budget="6n", score="probability",
            image_fill=fill,
        )
        for fill in fills
    ]  # fmt: skip
    values = np.array([[word.value for word in each.words] for each in single])
    np.testing.assert_allclose([word.value for word in why.words], values.mean(axis=0))


@pytest.mark.parametrize(
    "fills",
    [
        ["mean", "mask"],
        [{"image": "mean"}, {"question": "mask"}],
        ["mean", {"image": "mean", "question": "mask"}],
    ],
    ids=str,
)
def test_two_that_mean_the_same_for_every_input_are_alike(
    fills: Any, scenes_model: ViltModel, scene: vx.Example
) -> None:
    """Each leaves the other input its usual fill, which is that of the other."""
    with pytest.raises(vx.InvalidInput, match="at least two that differ"):
        vx.explain(scenes_model, scene, method="leave_one_out", regions=2, fills=fills)


def test_a_fill_beside_the_list_is_for_inputs_that_the_list_leaves(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    how: dict[str, Any] = {"method": "leave_one_out", "regions": 2, "fills": ["mean", "blur"]}
    why = vx.explain(scenes_model, scene, text_fill="pad", **how)
    each = [
        vx.explain(
            scenes_model, scene, method="leave_one_out", regions=2, image_fill=fill, text_fill="pad"
        )
        for fill in how["fills"]
    ]
    values = np.array([[word.value for word in one.words] for one in each])
    np.testing.assert_allclose([word.value for word in why.words], values.mean(axis=0))
    with pytest.raises(vx.InvalidInput, match="'constant' beside the list would never be used"):
        vx.explain(scenes_model, scene, image_fill="constant", **how)


def test_fills_of_ones_own_can_be_compared(linear: ClassifierModel, picture: np.ndarray) -> None:
    black = vx.Fill(lambda given, absent, seed: np.zeros_like(given), name="black")
    why = vx.explain(
        linear, picture, method="shapley", regions=2, target="a", fills=["mean", black]
    )
    true = closed_form(linear, picture, 0)
    np.testing.assert_allclose([one.value for one in why.regions], true.mean(axis=0), atol=1e-5)
    assert why.parameters["fills"] == {"image": ["mean", "black"]}


@pytest.mark.parametrize(
    ("fills", "how", "told"),
    [
        (["mean"], {}, "at least two that differ"),
        ([], {}, "at least two that differ"),
        (["mean", "mean"], {}, "at least two that differ"),
        (["mean", "maen"], {}, "unknown fill 'maen'; did you mean 'mean'"),
        (["mean", "mask"], {}, "unknown fill 'mask'"),
        (["mean", "auto"], {}, "'auto' is none"),
        (["mean", 3], {}, "3 is none"),
        ([{"image": "mean"}, {"imag": "blur"}], {}, "unknown input in fills 'imag'"),
        (["mean", "blur"], {"method": "integrated_gradients"}, "takes no list of fills"),
        (["mean", "blur"], {"method": "saliency"}, "takes no list of fills"),
    ],
)
def test_what_cannot_be_compared_is_one_sentence(
    fills: Any, how: dict[str, Any], told: str, linear: ClassifierModel, picture: np.ndarray
) -> None:
    settings = {"method": "shapley", "regions": 2, **how}
    with pytest.raises(vx.InvalidInput, match=told):
        vx.explain(linear, picture, fills=fills, **settings)


def test_one_fill_has_no_bands(linear: ClassifierModel, picture: np.ndarray) -> None:
    why = vx.explain(linear, picture, method="leave_one_out", regions=2)
    with pytest.raises(vx.InvalidInput, match="is of one fill"):
        _ = why.bands


def test_a_file_whose_value_lies_outside_its_band_is_refused() -> None:
    part = TextPart(name="question", source="a", words=(WordValue("a", 0, 1, 3.0, None, (0, 1)),))
    with pytest.raises(ValueError, match="outside its band"):
        part.check()


def test_progress_is_told_as_one_piece_of_work(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    told: list[tuple[int, int]] = []
    vx.explain(
        linear, picture, method="shapley", regions=2, fills=FILLS,
        progress=lambda done, whole: told.append((done, whole)),
    )  # fmt: skip
    assert {whole for _, whole in told} == {32}
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (32, 32)
