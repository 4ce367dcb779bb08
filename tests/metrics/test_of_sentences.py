"""Metrics of answers that are sentences, against explanations asked for by themselves."""

from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
from architectures.trying import PICTURE, loaded

import vqa_explain as vx
from vqa_explain.game import Game, make_players
from vqa_explain.methods import METHODS
from vqa_explain.models.base import check_fills

ANSWER = "a red circle, a dog"
MASKS = np.zeros((2, 60, 90), dtype=bool)
MASKS[0, :30, :40] = MASKS[1, 20:, 50:] = True
MENTIONS = ((2, 12, (0,)), (16, 19, (0, 1)))
STEPS = 4


def captioner() -> Any:
    """A model that reads pictures alone."""
    return loaded("blip_caption")


def example() -> vx.Example:
    return vx.Example(PICTURE, answer=ANSWER, masks=MASKS, mentions=MENTIONS, id="one")


def judged(asked: list[Any], folder: Path, one: vx.Example | None = None) -> list[Any]:
    """What the metrics say of leave one out, by `evaluate`."""
    report = vx.evaluate(
        captioner(), [one or example()], ["leave_one_out"], asked, folder, regions=3
    )
    frame = report.frame()
    own = frame[(frame["method"] == "leave_one_out") & (frame["metric"] != "")]
    return list(zip(own["value"], own["note"], strict=True))


def explained() -> vx.Explanation:
    """The same words, asked for by themselves."""
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 3, "answers": [ANSWER]}
    found: vx.Explanation = vx.explain(captioner(), vx.Example(PICTURE), target="sentence", **asked)
    return found


def wanted(why: vx.Explanation) -> list[float]:
    """Mass and pointing of the words of a sentence that name the two objects."""
    rows = {row.target: row.image for row in why.outputs}
    both = [(rows["red"] + rows["circle"], MASKS[0]), (rows["dog"], MASKS.any(axis=0))]
    positive = [(np.maximum(values, 0), truth) for values, truth in both]
    mass = np.mean([values[truth].sum() / max(values.sum(), 1e-30) for values, truth in positive])
    points = np.mean([truth[values == values.max()].mean() for values, truth in both])
    return [float(mass), float(points)]


@pytest.mark.slow
def test_words_that_name_objects_are_looked_for_on_them(tmp_path: Path) -> None:
    why = explained()
    assert [row.target for row in why.outputs] == ["a", "red", "circle", ",", "a", "dog"]
    found = judged(["mention_mass", "mention_pointing"], tmp_path)
    assert [value for value, _ in found] == pytest.approx(wanted(why), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("shapley", {"estimator": "permutation", "budget": "12n", "tolerance": 0.2}),
        ("saliency", {}),
        ("integrated_gradients", {"steps": 3}),
    ],
)
def test_all_metrics_read_one_run_of_the_method(
    method: str, parameters: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Words take what the whole answer took, as those of `target="sentence"` do."""
    asked: dict[str, Any] = {"method": method, **parameters, "regions": 3, "answers": [ANSWER]}
    why = vx.explain(captioner(), vx.Example(PICTURE), target="sentence", **asked)
    runs: list[tuple[str | None, int]] = []
    cls = METHODS[method]
    plain = cls.__call__

    def counted(self: Any, task: Any) -> Any:
        found = plain(self, task)
        words = task.encoded.candidates.spans is not None
        runs.append((task.encoded.labels[task.target.index] if words else None, task.cost.forwards))
        return found

    monkeypatch.setattr(cls, "__call__", counted)
    metrics = ["mention_mass", "mention_pointing"]
    report = vx.evaluate(
        captioner(), [example()], [(method, parameters)], metrics, tmp_path, regions=3
    )
    frame = report.frame()
    own = frame[(frame["method"] != "random") & frame["metric"].isin(metrics)]
    assert own["value"].tolist() == pytest.approx(wanted(why), abs=1e-4)
    assert [text for text, _ in runs] == [None, ANSWER, "red", "circle", "dog"]
    if method != "integrated_gradients":  # a pass of its own for every word
        assert [forwards for _, forwards in runs[2:]] == [0, 0, 0]


@pytest.mark.slow
def test_a_letter_of_two_small_letters_moves_no_mention(tmp_path: Path) -> None:
    text = "İİİİ " + ANSWER
    moved = tuple((start + 5, end + 5, objects) for start, end, objects in MENTIONS)
    one = vx.Example(PICTURE, answer=text, masks=MASKS, mentions=moved, id="one")
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 3, "answers": [text]}
    why = vx.explain(captioner(), vx.Example(PICTURE), target="sentence", **asked)
    found = [value for value, _ in judged(["mention_mass", "mention_pointing"], tmp_path, one)]
    assert found == pytest.approx(wanted(why), abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("metric", ["sentence_deletion", "sentence_insertion"])
def test_curves_are_log_probabilities_per_token(metric: str, tmp_path: Path) -> None:
    """Of what the model writes by itself, and of each of its words, coalition by coalition."""
    model = captioner()
    encoded = model.encode(vx.Example(PICTURE))
    said = model.generate(encoded)[0]
    words = model.as_words(model.with_answers(encoded, [said]), 0)
    players = make_players(words, {"image": 3})
    game = Game(model, words, players, check_fills(model, {}, words.features), ())
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 3, "answers": [said]}
    why = vx.explain(model, vx.Example(PICTURE), target="sentence", **asked)

    def area(values: np.ndarray, column: int) -> float:
        order = np.argsort(-values, kind="stable")
        gone = np.rint(np.linspace(0, len(order), STEPS + 1)).astype(int)
        if metric == "sentence_insertion":
            order, gone = order[::-1], gone[::-1]
        present = np.ones((len(gone), len(order)), dtype=bool)
        for row, count in enumerate(gone):
            present[row, order[:count]] = False
        with torch.no_grad():
            scores = game.logits(torch.from_numpy(present))[:, column].double().numpy()
        first, behind = words.candidates.spans[column]
        return float(np.trapezoid(scores, np.linspace(0, 1, STEPS + 1)) / (behind - first))

    count = len(why.outputs)
    whole = area(why.matrix.values.sum(axis=0), count)
    each = [area(why.matrix.values[number], number) for number in range(count)]
    several = [(metric, {"of": of, "steps": STEPS}) for of in ("whole", "words")]
    found = [value for value, _ in judged(several, tmp_path)]
    assert found == pytest.approx([whole, np.mean(each)], abs=1e-3)


def test_what_names_nothing_is_not_measured(tmp_path: Path) -> None:
    bare = vx.Example(PICTURE, answer=ANSWER, id="two")
    found = judged(["mention_mass"], tmp_path, bare)
    assert found[0][0] is None or np.isnan(found[0][0])
    assert "does not say which words of its answer" in found[0][1]
