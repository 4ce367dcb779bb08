"""Fills of the user's own: scores against plain calls on examples that are changed by hand."""

import logging
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import llava
from families import encoded_for, on_all
from PIL import Image

import vqa_explain as vx
from vqa_explain.features.base import Feature, undivided
from vqa_explain.game import Game, make_players
from vqa_explain.models.classifier import ClassifierModel
from vqa_explain.models.vilt import ViltModel
from vqa_explain.target import Target
from vqa_explain.viewer.whatif import changed

Made = Callable[..., Any]


def mirrored(picture: np.ndarray, absent: np.ndarray, seed: int) -> np.ndarray:
    """The picture from right to left, darker by the seed."""
    found: np.ndarray = picture[:, ::-1] // 2 + np.uint8(seed)
    return found


def reversed_words(words: list[str], absent: list[bool], seed: int) -> list[str]:
    return [word[::-1] + "s" * seed for word in words]


def by_hand(picture: np.ndarray, gone: np.ndarray, seed: int) -> np.ndarray:
    """The same, written for the whole picture."""
    changed_picture = picture.copy()
    changed_picture[gone] = (np.fliplr(picture) // 2 + seed)[gone]
    return changed_picture


def answers_by_plain_calls(model: Any, example: vx.Example, labels: Any) -> np.ndarray:
    encoded = model.encode(example)
    if model.labels is None:
        encoded = model.with_answers(encoded, list(labels))
    found: np.ndarray = model.scores(encoded, model.leaves(encoded))[0].double().detach().numpy()
    return found


@torch.no_grad()
@pytest.mark.parametrize("kind", ["two streams", "a chat"])
def test_scores_are_those_of_the_example_changed_by_hand(kind: str, scenes_model: Any) -> None:
    picture = np.random.default_rng(0).integers(0, 200, (48, 48, 3), dtype=np.uint8)
    labels = scenes_model.labels
    model = scenes_model
    if kind == "a chat":
        module, processor = llava()
        model = vx.load(module, processor=processor, device="cpu")
        labels = ("red", "blue")
    text = "What color, is it?"
    encoded = model.encode(vx.Example(picture, text))
    if model.labels is None:
        encoded = model.with_answers(encoded, list(labels))
    players = make_players(encoded, {"image": 2, "question": ["What color", "is", "it"]})
    words = [word.text for word in players.of["question"].division.words]  # type: ignore[attr-defined]
    assert words[:3] == ["What color", ",", "is"]
    fills = {"image": vx.Fill(mirrored), "question": vx.Fill(reversed_words)}
    game = Game(model, encoded, players, dict(fills), Target(0), seed=2)
    rows = np.random.default_rng(1).random((6, len(players))) < 0.5
    rows[0], rows[1, :4], rows[1, 4:] = True, False, True
    found = game.logits(torch.from_numpy(rows)).double().numpy()
    where = encoded.image.geometry.labels_to_original(players.of["image"].division.owner)
    for row, scores in zip(rows, found, strict=True):
        gone = np.isin(where, np.flatnonzero(~row[:4]))
        parts = [
            word if there else word[::-1] + "ss" for word, there in zip(words, row[4:], strict=True)
        ]
        asked = f"{parts[0]}{parts[1]} {parts[2]} {parts[3]}{''.join(parts[4:])}"
        plain = answers_by_plain_calls(model, vx.Example(by_hand(picture, gone, 2), asked), labels)
        np.testing.assert_allclose(scores, plain, atol=2e-4)


@torch.no_grad()
@on_all(("vit", "clip", "blip", "custom", "qwen2_vl", "lxmert"))
def test_every_family_scores_what_the_fill_gives(
    models: Made, noise_picture: np.ndarray, family: str
) -> None:
    """With one region absent, the score is that of the picture that is changed by hand."""
    model = models(family)
    encoded = encoded_for(model, noise_picture)
    players = make_players(encoded, {} if family == "lxmert" else {"image": 2})
    usual = {one.name: one.feature.default_fill for one in encoded.inputs}
    fills = usual | {"image": vx.Fill(mirrored)}
    game = Game(model, encoded, players, fills, Target(0, kind=model.kind), seed=2)
    present = torch.ones(1, len(players), dtype=torch.bool)
    present[0, 1] = False
    if family == "lxmert":
        with pytest.raises(vx.Unsupported, match="a detector's boxes of 'image'"):
            game.logits(present)
        return
    where = encoded.image.geometry.labels_to_original(players.of["image"].division.owner)
    plain = encoded_for(model, by_hand(noise_picture, where == 1, 2))
    wanted = model.scores(plain, model.leaves(plain)).double()
    torch.testing.assert_close(game.logits(present).double(), wanted, atol=2e-4, rtol=1e-4)


def test_it_is_called_once_for_each_coalition_with_something_absent(
    linear: ClassifierModel, picture: np.ndarray
) -> None:
    calls: list[tuple[bytes, int]] = []

    def gray(given: np.ndarray, absent: np.ndarray, seed: int) -> np.ndarray:
        assert np.array_equal(given, picture)
        given[:] = 128  # it is a copy
        calls.append((absent.tobytes(), seed))
        return given

    why = vx.explain(linear, picture, method="shapley", regions=2, image_fill=vx.Fill(gray), seed=5)
    masks = [
        np.kron(~np.array(there).reshape(2, 2), np.ones((4, 4), bool)).tobytes()
        for there in product((False, True), repeat=4)
    ]
    of_game = calls[:15]  # then everything is absent once more, for the answer that is left
    assert {mask for mask, _ in of_game} == {*masks} - {np.zeros((8, 8), bool).tobytes()}
    assert {seed for _, seed in calls} == {5}
    # The game is linear: each region's value is its weights times its change of the pixels.
    weights = linear.module.weight[why.answers[0].index].detach().numpy()
    moved = weights * (picture.astype(float) - 128).transpose(2, 0, 1) / 255
    true = moved.sum(axis=0).reshape(2, 4, 2, 4).sum(axis=(1, 3)).ravel()
    np.testing.assert_allclose([one.value for one in why.regions], true, atol=1e-5)


@pytest.mark.parametrize("method", ["leave_one_out", "banzhaf", "owen", "lime"])
def test_methods_over_coalitions_take_it(
    method: str, linear: ClassifierModel, picture: np.ndarray
) -> None:
    """A fill that gives the middle of the model's range is the model's own of that kind."""
    shift = vx.Fill(lambda given, absent, seed: np.zeros_like(given), name="black")
    how: dict[str, Any] = {"budget": 200} if method == "lime" else {}
    ours = vx.explain(linear, picture, method=method, regions=2, image_fill=shift, **how)
    theirs = vx.explain(linear, picture, method=method, regions=2, image_fill="constant", **how)
    values = [one.value for one in ours.regions]
    np.testing.assert_allclose(values, [one.value for one in theirs.regions], atol=1e-5)
    assert ours.parameters["image_fill"] == shift


def test_words_are_drawn_by_place_and_seed() -> None:
    fill = vx.Fill(["red", "blue", "green"], name="colors")
    words = ["a"] * 2000
    first = fill(words, [True] * 2000, 3)
    assert fill(words, [False, True] * 1000, 3) == first  # whichever else is absent
    assert fill(words, [True] * 2000, 4) != first
    counts = np.array([first.count(one) for one in ("red", "blue", "green")])
    # Chi-squared with 2 degrees of freedom is above 13.8 once in a thousand.
    assert float(((counts - 2000 / 3) ** 2 / (2000 / 3)).sum()) < 13.8


def raises(picture: np.ndarray, absent: np.ndarray, seed: int) -> np.ndarray:
    raise KeyError("weights")


BAD_PICTURES: dict[str, tuple[Any, str]] = {
    "another size": (lambda p, a, s: p[:4], r"shape \(4, 8, 3\).*\(8, 8, 3\)"),
    "one channel": (lambda p, a, s: p[..., 0], r"shape \(8, 8\)"),
    "NaN": (lambda p, a, s: np.full(p.shape, np.nan), "NaN"),
    "shares": (lambda p, a, s: p / 255, "float64.*uint8"),
    "nothing": (lambda p, a, s: None, "NoneType"),
    "a text": (lambda p, a, s: "red", "a str"),
    "a small PIL image": (lambda p, a, s: Image.new("RGB", (3, 3)), r"shape \(3, 3, 3\)"),
    "an error": (raises, "failed: KeyError: 'weights'; mend"),
}
BAD_WORDS: dict[str, tuple[Any, str]] = {
    "too few": (lambda w, a, s: w[:2], r"2 texts for \d+ words"),
    "a text": (lambda w, a, s: "red", "a list of"),
    "numbers": (lambda w, a, s: [1] * len(w), "a list of"),
    "nothing": (lambda w, a, s: None, "a list of"),
    "no word at all": (lambda w, a, s: [""] * len(w), "leaves no word where all words"),
}


@pytest.mark.parametrize("what", [*BAD_PICTURES])
def test_a_picture_that_cannot_be_used_is_one_sentence(
    what: str, linear: ClassifierModel, picture: np.ndarray
) -> None:
    function, told = BAD_PICTURES[what]
    fill = vx.Fill(function, name="bad_picture")
    with pytest.raises(vx.InvalidInput, match=rf"fill 'bad_picture' .*{told}") as caught:
        vx.explain(linear, picture, method="shapley", regions=2, image_fill=fill)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("what", [*BAD_WORDS])
def test_words_that_cannot_be_used_are_one_sentence(
    what: str, scenes_model: ViltModel, scene: vx.Example
) -> None:
    function, told = BAD_WORDS[what]
    fill = vx.Fill(function, name="bad_words")
    with pytest.raises(vx.InvalidInput, match=told) as caught:
        vx.explain(scenes_model, scene, method="leave_one_out", regions=2, text_fill=fill)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("function", "name", "told"),
    [
        (lambda p, a, s: p, None, "needs a name"),
        (mirrored, "two words", "needs a name"),
        (mirrored, "", "needs a name"),
        (3, None, "is a function, or a list"),
        ("blur", None, "is a function, or a list"),
        ([], None, "at least one text"),
        (["red", 3], None, "at least one text"),
    ],
)
def test_what_is_no_fill_is_refused(function: Any, name: Any, told: str) -> None:
    with pytest.raises(vx.InvalidInput, match=told):
        vx.Fill(function, name=name)


def test_a_fill_where_none_can_be_is_refused(
    linear: ClassifierModel, picture: np.ndarray, scenes_model: ViltModel, scene: vx.Example
) -> None:
    fill = vx.Fill(mirrored)
    with pytest.raises(vx.Unsupported, match="use a method over coalitions"):
        vx.explain(
            linear, picture, method="integrated_gradients", fills={"image": vx.Fill(mirrored)}
        )
    for method, parameter in (("occlusion", "image_fill"), ("saliency", "image_fill")):
        given: dict[str, Any] = {parameter: fill}
        with pytest.raises(vx.InvalidInput, match="unknown"):
            vx.explain(linear, picture, method=method, **given)
    with pytest.raises(vx.InvalidInput, match="has a fill 'blur' already"):
        vx.explain(linear, picture, method="shapley", image_fill=vx.Fill(mirrored, name="blur"))
    with pytest.raises(vx.InvalidInput, match="draws words"):
        vx.explain(
            scenes_model, scene, method="leave_one_out", regions=2, image_fill=vx.Fill(["red"])
        )


def test_kinds_that_take_no_function_say_so() -> None:
    class Signal(Feature):
        kind = "signal"

    plain = Signal("ecg", ("flat",), "flat")
    with pytest.raises(vx.Unsupported, match="'ecg' is a signal; choose one of flat"):
        plain.refilled(None, undivided((1,)), np.array([True]), vx.Fill(mirrored), 0)


def test_a_file_keeps_the_name_and_a_what_if_finds_the_fill_by_it(
    linear: ClassifierModel, picture: np.ndarray, tmp_path: Path
) -> None:
    fill = vx.Fill(mirrored, name="kept_in_a_file")
    why = vx.explain(linear, picture, method="shapley", regions=2, image_fill=fill)
    kept = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert kept.parameters["image_fill"] == "kept_in_a_file"
    asked = changed(linear, vx.Example(picture), kept, {"image": [1]}, {"image": 2})
    example = by_hand(picture, np.arange(64).reshape(8, 8) % 8 >= 4, 0)
    example[4:] = picture[4:]
    best = why.answers[0].index
    plain = answers_by_plain_calls(linear, vx.Example(example), None)[best]
    before = answers_by_plain_calls(linear, vx.Example(picture), None)[best]
    assert asked["change"] == pytest.approx(plain - before, abs=1e-5)
    assert asked["fills"] == "regions: kept_in_a_file"
    object.__setattr__(kept, "parameters", {**kept.parameters, "image_fill": "of_elsewhere"})
    with pytest.raises(vx.InvalidInput, match="'of_elsewhere'"):
        changed(linear, vx.Example(picture), kept, {"image": [1]}, {"image": 2})


def of_shade(shade: int) -> vx.Fill:
    return vx.Fill(lambda given, absent, seed: np.full_like(given, shade), name="shade")


def judged(model: Any, out: Path, fill: Any, method: str, **settings: Any) -> vx.Report:
    rng = np.random.default_rng(0)
    rows = [
        vx.Example(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8), answer="a", id=str(number))
        for number in range(2)
    ]
    return vx.evaluate(
        model, rows, [method], ["deletion", "sufficiency"], out, regions=2, image_fill=fill,
        **{"workers": 1, **settings},
    )  # fmt: skip


@pytest.mark.slow
def test_a_run_knows_a_fill_by_its_code(
    linear: ClassifierModel, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another shade under the same name is computed again; the same one made anew is not."""
    text = "leave_one_out:image_fill=shade"
    first = judged(linear, tmp_path / "run", of_shade(10), text)
    with caplog.at_level(logging.INFO):
        again = judged(linear, tmp_path / "run", of_shade(10), text)
        assert "the code of" not in caplog.text
        other = judged(linear, tmp_path / "run", of_shade(200), text)
    assert "code of method leave_one_out:image_fill=shade changed" in caplog.text
    assert "code of metric deletion changed" in caplog.text
    anew = judged(linear, tmp_path / "anew", of_shade(200), text)
    names = ["method", "metric", "value"]
    told = [one.frame()[names].astype(str).values.tolist() for one in (first, again, other, anew)]
    assert told[0] == told[1]
    assert told[2] == told[3]
    assert told[0] != told[2]


def test_two_fills_of_one_name_are_refused_by_a_run(
    linear: ClassifierModel, tmp_path: Path
) -> None:
    one, _ = of_shade(10), of_shade(20)
    with pytest.raises(vx.InvalidInput, match="two fills are named 'shade'"):
        judged(linear, tmp_path, one, "leave_one_out")


@pytest.mark.slow
def test_worker_processes_know_it(linear: ClassifierModel, tmp_path: Path) -> None:
    text = "leave_one_out:image_fill=shade"
    one = judged(linear, tmp_path / "one", of_shade(10), text)
    two = judged(linear, tmp_path / "two", of_shade(10), text, workers=2, shard=1)
    names = ["index", "method", "metric", "value"]
    assert one.frame()[names].astype(str).equals(two.frame()[names].astype(str))


def test_a_sampled_model_is_asked_with_what_the_fill_gives() -> None:
    asked: list[str] = []

    def ask(images: Any, messages: Any, answers: list[str]) -> list[float]:
        asked.append(str(messages))
        return [-0.1, -2.0]

    model = vx.ApiModel(ask, answers=["yes", "no"])
    fill = vx.Fill(reversed_words, name="turned")
    vx.explain(model, None, "Is it raining?", method="leave_one_out", text_fill=fill)
    assert any("sI it raining?" in one for one in asked)
    assert any("Is it gniniar?" in one for one in asked)


def test_evidence_takes_it(linear: ClassifierModel, picture: np.ndarray) -> None:
    found = vx.evidence(linear, picture, regions=2, image_fill=vx.Fill(mirrored))
    assert found.fills == {"image": vx.Fill(mirrored)}
    assert found.summary()["fills"] == {"image": "mirrored"}


def test_the_names_of_usual_fills_stay_theirs(linear: ClassifierModel, picture: np.ndarray) -> None:
    def values() -> list[float]:
        why = vx.explain(linear, picture, method="leave_one_out", regions=2, image_fill="mean")
        return [one.value for one in why.regions]

    before = values()
    vx.Fill(mirrored, name="mean")
    assert values() == before
