"""Models that can only be asked: what they are asked, what it costs, and how sure sampled scores are.

Truth is a sum over all coalitions whose pictures and texts are made here by hand, or a simulation.
"""

import itertools
import math
import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vqa_explain as vx
from vqa_explain.features.words import split_words
from vqa_explain.methods import METHODS
from vqa_explain.models.api.adapter import ApiModel
from vqa_explain.models.api.frequencies import covariance, scores_of
from vqa_explain.models.api.questions import Question, text_without
from vqa_explain.models.base import answers as best_answers

ANSWERS = ["yes", "no"]
QUESTION = "Is it red?"
WORDS = ["Is", "it", "red", "?"]


def text_of(messages: Sequence[Any]) -> str:
    """All that messages say."""
    said = []
    for message in messages:
        content = message["content"]
        parts = [{"text": content}] if isinstance(content, str) else content
        said += [part["text"] for part in parts if "text" in part]
    return " | ".join(said)


def probability(picture: np.ndarray, text: str) -> float:
    """Of "yes": it needs the left half bright, and the word "red" with it."""
    left = picture[:, : picture.shape[1] // 2].astype(float).mean() / 255
    right = picture[:, picture.shape[1] // 2 :].astype(float).mean() / 255
    score = 3 * left * ("red" in text) - right + 0.5 * ("it" in text) - 0.4
    return 1 / (1 + math.exp(-score))


class Asked:
    """A function to ask, which notes what it was asked."""

    def __init__(self) -> None:
        self.pictures: list[list[np.ndarray]] = []
        self.texts: list[str] = []
        self.messages: list[Any] = []

    def __call__(
        self, pictures: list[Any], messages: list[dict[str, Any]], answers: list[str]
    ) -> list[float]:
        assert answers == ANSWERS
        self.pictures.append([np.asarray(one) for one in pictures])
        self.texts.append(text_of(messages))
        self.messages.append(messages)
        yes = probability(self.pictures[-1][0], self.texts[-1])
        return [math.log(yes), math.log(1 - yes)]


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def without(picture: np.ndarray, halves: Sequence[bool]) -> np.ndarray:
    """The picture, halves that are absent in middle gray."""
    found = picture.copy()
    for number, there in enumerate(halves):
        if not there:
            found[:, 4 * number : 4 * (number + 1)] = 128
    return found


def said(words: Sequence[bool]) -> str:
    """The question without its absent words, as a person would type it."""
    kept = [word for word, there in zip(WORDS, words, strict=True) if there]
    return " ".join(kept).replace(" ?", "?")


def shapley_by_hand(score: Callable[[tuple[bool, ...]], float], count: int) -> list[float]:
    """The mean over all orders of what each player adds."""
    found = [0.0] * count
    for order in itertools.permutations(range(count)):
        there = [False] * count
        for player in order:
            before = score(tuple(there))
            there[player] = True
            found[player] += score(tuple(there)) - before
    return [value / math.factorial(count) for value in found]


def test_values_are_those_of_all_coalitions_drawn_by_hand(
    asked: Asked, picture: np.ndarray
) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    how: dict[str, Any] = {
        "method": "shapley",
        "regions": (1, 2),
        "image_fill": "constant",
        "target": "yes",
    }
    why = vx.explain(model, picture, QUESTION, **how)

    def score(there: tuple[bool, ...]) -> float:
        return math.log(probability(without(picture, there[:2]), said(there[2:])))

    truth = shapley_by_hand(score, 6)
    found = [region.value for region in why.regions] + [word.value for word in why.words]
    assert found == pytest.approx(truth, abs=1e-12)
    assert why.score == "log_probability"
    assert [word.text for word in why.words] == WORDS
    assert why.answers[0].probability == pytest.approx(
        max(probability(picture, QUESTION), 1 - probability(picture, QUESTION))
    )


def test_the_whole_example_is_asked_as_it_was_given_and_nothing_twice(
    asked: Asked, picture: np.ndarray
) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    vx.explain(model, picture, QUESTION, method="shapley", regions=(1, 2))
    assert np.array_equal(asked.pictures[0][0], picture)
    assert asked.pictures[0][0].dtype == np.uint8
    assert asked.texts[0] == QUESTION
    pairs = [
        (shown[0].tobytes(), text) for shown, text in zip(asked.pictures, asked.texts, strict=True)
    ]
    assert len(pairs) == len(set(pairs)) == 2**6


def test_regions_that_look_like_their_fill_cost_nothing(asked: Asked) -> None:
    gray = np.full((6, 8, 3), 128, dtype=np.uint8)
    model = vx.ApiModel(asked, answers=ANSWERS)
    vx.explain(model, gray, "red", method="shapley", regions=(1, 2), image_fill="constant")
    assert len(asked.texts) == 2


@pytest.mark.parametrize("fill", ["mean", "blur", "noise", "inpaint", "constant"])
def test_absent_regions_are_drawn_after_the_fill(
    asked: Asked, picture: np.ndarray, fill: str
) -> None:
    from torchvision.transforms.functional import gaussian_blur

    model = vx.ApiModel(asked, answers=ANSWERS)
    vx.explain(model, picture, "red", method="leave_one_out", regions=(1, 2), image_fill=fill)
    changed = next(
        shown[0]
        for shown in asked.pictures
        if np.array_equal(shown[0][:, 4:], picture[:, 4:])
        and not np.array_equal(shown[0][:, :4], picture[:, :4])
    )
    left = changed[:, :4].astype(float)
    if fill == "mean":
        assert np.abs(left - picture.mean(axis=(0, 1))).max() <= 0.5
    elif fill == "constant":
        assert (left == 128).all()
    elif fill == "blur":
        side = 2 * min(int(2 * 8 / 12), 5) + 1
        plain = torch.from_numpy(picture).permute(2, 0, 1).float()
        truth = gaussian_blur(plain, [side, side], [8 / 12, 8 / 12])[:, :, :4]
        assert np.abs(left - truth.permute(1, 2, 0).numpy()).max() <= 0.51
    else:
        assert left.std() > 0


@pytest.mark.parametrize(
    ("source", "gone", "left"),
    [
        ("Is it red?", ["it"], "Is red?"),
        ("Is it red?", ["Is"], "it red?"),
        ("Is it red?", ["red"], "Is it?"),
        ("Is it red?", ["red", "?"], "Is it"),
        ("Is it red?", ["Is", "it", "red", "?"], ""),
        ("red and/or blue", ["/"], "red and or blue"),
        ("  two  blanks\nand a line", ["blanks"], "  two\nand a line"),
        ("这个圆是什么", ["圆"], "这个是什么"),
        ("a (small) mug", ["small"], "a () mug"),
    ],
)
def test_a_text_is_left_as_a_person_would_type_it(source: str, gone: list[str], left: str) -> None:
    words = split_words(source)
    assert set(gone) <= {word.text for word in words}
    states = [0 if word.text in gone else 1 for word in words]
    assert text_without(source, words, states) == left


def test_absent_words_may_be_marked(asked: Asked, picture: np.ndarray) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    vx.explain(model, picture, QUESTION, method="leave_one_out", regions=1, text_fill="mask")
    assert "Is it ___?" in asked.texts
    assert "___ ___ ___ ___" not in asked.texts
    assert "___ ___ ______" in asked.texts  # everything absent: the question mark touched its word


def test_chats_and_several_pictures_are_asked_in_order(picture: np.ndarray) -> None:
    asked = Asked()
    model = vx.ApiModel(asked, answers=ANSWERS)
    chat: list[dict[str, Any]] = [
        {"role": "system", "content": "Answer yes or no."},
        {
            "role": "user",
            "content": [
                {"type": "image", "image": picture},
                {"type": "text", "text": "Is it red?"},
                {"type": "image", "image": 255 - picture},
            ],
        },
    ]
    why = vx.explain(model, vx.Example(messages=chat), method="leave_one_out", regions=1)
    first = asked.messages[0]
    assert first[0] == chat[0]
    assert [part["type"] for part in first[1]["content"]] == ["image", "text", "image"]
    assert np.array_equal(np.asarray(first[1]["content"][2]["image"]), 255 - picture)
    assert all(messages[0] == chat[0] for messages in asked.messages)  # the system text is fixed
    assert [part.name for part in why.parts] == ["system", "image 1", "question", "image 2"]
    two = vx.Example.of({"a": picture, "b": picture, "question": "red?"})
    assert [p.name for p in vx.explain(model, two, method="leave_one_out", regions=1).parts] == [
        "a",
        "b",
        "question",
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ([-1.0, None], "does not say the log-probability of 'no'"),
        ([-1.0], "one log-probability for each of its 2 answers, and returned 1 values"),
        (0.5, "and returned 0.5"),
        ([0.7, 0.3], "a log-probability is at most 0"),
        (["a", "b"], "gave 'a' for 'yes'"),
        ([float("nan"), -1.0], "NaN"),
        ([-math.inf, -1.0], "infinite"),
    ],
)
def test_what_is_no_log_probability_is_refused(picture: np.ndarray, given: Any, told: str) -> None:
    model = vx.ApiModel(lambda *_: given, answers=ANSWERS)
    with pytest.raises(vx.VQAExplainError, match=told):
        vx.explain(model, picture, QUESTION, method="shapley", regions=1)


def test_what_is_no_picture_and_no_text_is_refused(asked: Asked, picture: np.ndarray) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    with pytest.raises(vx.InvalidInput, match="'row' is a row of a table; leave it out"):
        vx.explain(model, vx.Example.of({"row": {"a": 1}, "question": "why?"}), method="shapley")
    with pytest.raises(vx.InvalidInput, match="give its frames as pictures"):
        vx.explain(
            model, vx.Example.of({"clip": [picture, picture], "question": "why?"}), method="lime"
        )
    with pytest.raises(vx.InvalidInput, match="answers"):
        vx.ApiModel("no function", answers=ANSWERS)  # type: ignore[arg-type]
    with pytest.raises(vx.InvalidInput, match="concurrency must be a whole number"):
        vx.ApiModel(asked, answers=ANSWERS, concurrency=0)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_works_or_says_why_not(asked: Asked, picture: np.ndarray, method: str) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    cheap: dict[str, Any] = {
        "rise": {"budget": 120},
        "occlusion": {"window": 4},
        "lime": {"budget": 80},
    }
    if METHODS[method].needs - {"pixels"}:
        with pytest.raises(
            vx.Unsupported, match=r"cannot explain model 'api'.*these work: .*shapley"
        ):
            vx.explain(model, picture, QUESTION, method=method)
        assert not asked.texts
        return
    why = vx.explain(
        model, picture, QUESTION, method=method, regions=(1, 2), **cheap.get(method, {})
    )
    values = [player.value for part in why.parts for player in part.players]
    assert np.abs(values).sum() > 0


@pytest.mark.slow
def test_the_cost_is_known_before_anything_is_asked(asked: Asked, picture: np.ndarray) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    hows: list[dict[str, Any]] = [
        {"method": "shapley", "budget": 100},
        {"method": "leave_one_out", "image_fill": "mean"},
        {"method": "rise", "budget": 120},
        {"method": "banzhaf", "budget": 70},
    ]
    for how in hows:
        asked.texts.clear()
        told = vx.estimate_cost(model, picture, QUESTION, regions=(2, 2), **how)
        assert not asked.texts
        vx.explain(model, picture, QUESTION, regions=(2, 2), **how)
        assert told.count == len(asked.texts)
    early: dict[str, Any] = {
        "method": "shapley",
        "budget": 200,
        "tolerance": 0.5,
        "estimator": "permutation",
    }
    asked.texts.clear()
    told = vx.estimate_cost(model, picture, QUESTION, regions=(2, 2), **early)
    vx.explain(model, picture, QUESTION, regions=(2, 2), **early)
    assert told.count > len(asked.texts)


def test_a_model_that_runs_here_has_no_price(linear: Any) -> None:
    with pytest.raises(vx.Unsupported, match="runs here"):
        vx.estimate_cost(linear, np.zeros((8, 8, 3), np.uint8), method="shapley")


def test_several_threads_ask_at_once_and_change_nothing(picture: np.ndarray) -> None:
    how: dict[str, Any] = {"method": "shapley", "regions": (1, 2)}
    one = vx.explain(vx.ApiModel(Asked(), answers=ANSWERS), picture, QUESTION, **how)
    many = vx.explain(
        vx.ApiModel(Asked(), answers=ANSWERS, concurrency=4), picture, QUESTION, **how
    )
    assert [w.value for w in one.words] == [w.value for w in many.words]
    assert np.array_equal(one.image, many.image)


@pytest.mark.usefixtures("ctrl_c")
def test_whoever_stops_waits_for_no_answer(picture: np.ndarray) -> None:
    """Ctrl-C while several threads wait for an answer that does not come."""
    released, timed_out = threading.Event(), []
    stopped = threading.Event()

    def ask(pictures: list[Any], messages: list[Any], answers: list[str]) -> list[float]:
        if text_of(messages) in (QUESTION, ""):
            return [-1.0, -1.0]
        if not stopped.is_set():
            stopped.set()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        timed_out.append(not released.wait(20))
        return [-1.0, -1.0]

    model = vx.ApiModel(ask, answers=ANSWERS, concurrency=4)
    with pytest.raises(KeyboardInterrupt):
        vx.explain(model, picture, QUESTION, method="leave_one_out", regions=1)
    assert timed_out == []
    released.set()


def test_an_evaluation_is_resumed_without_asking(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        vx.Example(np.roll(picture, i, axis=1), QUESTION, answer="yes", id=str(i)) for i in range(2)
    ]
    metrics = ["accuracy", "deletion:steps=4", "parameter_randomization", "emap:count=2"]
    count = 0
    ask_one = ApiModel._ask_one

    def counted(self: ApiModel, question: Question) -> tuple[float, ...]:
        nonlocal count
        count += 1
        return ask_one(self, question)

    monkeypatch.setattr(ApiModel, "_ask_one", counted)

    def run() -> vx.Report:
        model = vx.ApiModel(probabilities, answers=ANSWERS)
        how: dict[str, Any] = {"regions": (1, 2), "workers": 1}
        return vx.evaluate(model, rows, ["leave_one_out"], metrics, tmp_path / "run", **how)

    run()
    asked = count
    # Coalitions of leave one out and of deletion, and the grid's pairs; no weights to draw anew.
    assert 2 * 8 < asked < 100
    run()
    assert count == asked


def probabilities(pictures: list[Any], messages: list[Any], answers: list[str]) -> list[float]:
    yes = probability(np.asarray(pictures[0]), text_of(messages))
    return [math.log(yes), math.log(1 - yes)]


# Sampled answers


@pytest.mark.parametrize("p", [0.2, 0.5, 0.9])
def test_scores_of_samples_have_almost_no_bias_and_the_stated_error(p: float) -> None:
    """Against the exact binomial distribution of the counts."""
    n = 60
    chances = [math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in range(n + 1)]
    found = [scores_of(["Yes."] * x + ["no"] * (n - x), ANSWERS) for x in range(n + 1)]
    mean = sum(chance * one[0] for chance, one in zip(chances, found, strict=True))
    plain = sum(chance * math.log(max(x, 0.5) / n) for x, chance in enumerate(chances))
    assert abs(mean - math.log(p)) < min(2e-3, 0.2 * abs(plain - math.log(p)))
    both = covariance(torch.tensor(found), n).numpy()
    stated = sum(chance * one for chance, one in zip(chances, both, strict=True))
    values = np.array(found)
    true = np.cov(values.T, fweights=None, aweights=chances, ddof=0)
    assert stated[0, 0] == pytest.approx(true[0, 0], rel=0.15)
    contrast = np.array([1, -1])
    assert contrast @ stated @ contrast == pytest.approx(contrast @ true @ contrast, rel=0.15)


SAMPLES = 40


class Sampling:
    """The same model, of which answers are sampled."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def __call__(self, pictures: list[Any], messages: list[Any], answers: list[str]) -> list[float]:
        yes = probability(np.asarray(pictures[0]), text_of(messages))
        count = int(self.rng.binomial(SAMPLES, yes))
        return scores_of(["yes"] * count + ["no"] * (SAMPLES - count), answers)


def values_of(why: vx.Explanation) -> tuple[np.ndarray, np.ndarray]:
    """The values and standard errors of all players."""
    players = [player for part in why.parts for player in part.players]
    assert all(player.error is not None for player in players)
    return np.array([p.value for p in players]), np.array([p.error for p in players], dtype=float)


HOWS = [
    {"method": "leave_one_out"},
    {"method": "shapley"},
    {"method": "shapley", "contrast": "no"},
    {"method": "shapley", "score": "probability"},
    {"method": "banzhaf"},
    {"method": "owen"},
]
ESTIMATED = [
    {"method": "shapley", "regions": (2, 4), "budget": 120},
    {"method": "shapley", "regions": (2, 4), "budget": 150, "estimator": "permutation"},
    {"method": "shapley", "regions": (2, 4), "budget": 120, "estimator": "kernel"},
    {"method": "banzhaf", "regions": (2, 4), "budget": 120},
]


def covered(picture: np.ndarray, how: dict[str, Any], runs: int) -> tuple[np.ndarray, np.ndarray]:
    """(runs, P) how many of its standard errors each value is from the truth, and the errors."""
    how = {"regions": (1, 2), "target": "yes", "image_fill": "mean", **how}
    exact = {k: v for k, v in how.items() if k not in ("budget", "estimator")} | (
        {"budget": 10_000} if how["method"] != "leave_one_out" else {}
    )
    true = vx.explain(vx.ApiModel(Asked(), answers=ANSWERS), picture, QUESTION, **exact)
    truth = np.array([player.value for part in true.parts for player in part.players])
    scores, errors = [], []
    for run in range(runs):
        model = vx.ApiModel(Sampling(run), answers=ANSWERS, samples=SAMPLES)
        why = vx.explain(model, picture, QUESTION, seed=run, **how)
        values, stated = values_of(why)
        assert any("counted in the standard errors" in note for note in why.notes)
        scores.append((values - truth) / stated)
        errors.append(stated)
    return np.array(scores), np.array(errors)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: "-".join(map(str, how.values())))
@pytest.mark.slow
def test_sampling_errors_are_carried_into_exact_values(
    picture: np.ndarray, how: dict[str, Any]
) -> None:
    scores, _ = covered(picture, how, 40)
    assert 0.85 < np.sqrt((scores**2).mean()) < 1.15


@pytest.mark.slow
@pytest.mark.parametrize("how", ESTIMATED, ids=lambda how: "-".join(map(str, how.values())))
def test_sampling_errors_are_carried_into_estimated_values(
    picture: np.ndarray, how: dict[str, Any]
) -> None:
    scores, _ = covered(picture, how, 20)
    assert 0.75 < np.sqrt((scores**2).mean()) < 1.25


def test_a_region_that_changes_nothing_has_no_sampling_error() -> None:
    half = np.full((6, 8, 3), 128, dtype=np.uint8)
    half[:, :4] = 30
    model = vx.ApiModel(Sampling(0), answers=ANSWERS, samples=SAMPLES)
    for method in ("shapley", "leave_one_out"):
        how: dict[str, Any] = {"regions": (1, 2), "image_fill": "constant"}
        why = vx.explain(model, half, "red it", method=method, **how)
        assert (why.regions[1].value, why.regions[1].error) == (0, 0)
        assert (why.regions[0].error or 0) > 0


def test_methods_without_sampling_errors_say_so(picture: np.ndarray) -> None:
    model = vx.ApiModel(Sampling(0), answers=ANSWERS, samples=SAMPLES)
    why = vx.explain(model, picture, QUESTION, method="lime", regions=1, budget=60)
    assert any("not counted in this method's errors; use shapley" in note for note in why.notes)


def test_samples_that_never_give_an_answer_are_refused(picture: np.ndarray) -> None:
    floor = math.log(0.5 / (SAMPLES + 0.5))
    model = vx.ApiModel(lambda *_: [floor, floor], answers=ANSWERS, samples=SAMPLES)
    with pytest.raises(vx.InvalidInput, match=r"none of the 40 answers .* is one of 'yes', 'no'"):
        vx.explain(model, picture, QUESTION, method="shapley", regions=1)


def test_the_model_says_its_best_answer(asked: Asked, picture: np.ndarray) -> None:
    model = vx.ApiModel(asked, answers=ANSWERS)
    found = best_answers(model, model.encode(vx.Example(picture, QUESTION)))
    assert {one.text for one in found} == set(ANSWERS)
    assert sum(one.probability or 0 for one in found) == pytest.approx(1)
