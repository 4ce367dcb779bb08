"""Accuracy as the official evaluation counts it; EMAP on tables worked by hand."""

from typing import Any

import numpy as np
import pytest

from vqa_explain.metrics.additive import additive, project
from vqa_explain.metrics.official import normalized, vqa_score


# What the official evaluation's code makes of answers, traced through by hand.
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("The Cat", "cat"),
        ("a dog.", "dog"),
        ("Two", "2"),
        ("none", "0"),
        ("ten apples", "10 apples"),
        ("3.5", "3.5"),
        ("1.", "1"),
        ("10,000", "10000"),
        ("red, white", "red white"),
        ("red,white", "red white"),
        ("yes!", "yes"),
        ("t-shirt", "t shirt"),
        ("it is - so", "it is so"),
        ("dont know", "don't know"),
        ("couldntve", "couldntve"),
        ("couldnt've", "couldn't've"),
        ("it's", "it's"),
        ("Im", "im"),
        ("lets go", "lets go"),
        ("  an\n umbrella ", "umbrella"),
        ("who's there?", "who's there"),
        ("(left)", "left"),
    ],
)
def test_answers_are_normalized(answer: str, expected: str) -> None:
    assert normalized(answer) == expected


@pytest.mark.parametrize(
    ("matches", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)]
)
def test_accuracy_over_nine_of_ten_people(matches: int, expected: float) -> None:
    # One match: it is left out once (0), and counts 1/3 nine times: 0.3. Two: 2 × 1/3 + 8 × 2/3 =
    # 6, a tenth of it.
    given = ("cat",) * matches + tuple(f"other {i}" for i in range(10 - matches))
    assert vqa_score("cat", given) == pytest.approx(expected)


def test_where_people_agree_letter_by_letter_nothing_is_normalized() -> None:
    assert vqa_score("two", ("two",) * 10) == 1.0
    assert vqa_score("2", ("two",) * 10) == 0.0
    assert vqa_score("2", ("two",) * 9 + ("2",)) == 1.0


def grid_means(scores: np.ndarray) -> tuple[np.ndarray, Any, Any]:
    """(N, N, K) scores of question × picture → own, rows, columns."""
    own = scores[np.arange(len(scores)), np.arange(len(scores))]
    return own, scores.mean(axis=1), scores.mean(axis=0)


def test_an_additive_model_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    text, picture = rng.normal(size=(7, 4)), rng.normal(size=(7, 4))
    scores = text[:, None] + picture[None]
    own, rows, columns = grid_means(scores)
    np.testing.assert_allclose(project(rows, columns), own, atol=1e-12)
    found = additive(own, rows, columns, np.eye(4)[own.argmax(axis=1)])
    assert (found.accuracy, found.emap, found.gap) == (1.0, 1.0, 0.0)


def test_xor_needs_both() -> None:
    # Answer 1 where exactly one of text and picture is 1, all four pairs on the diagonal in turn.
    text, picture = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    answer = text[:, None] ^ picture[None]
    scores = np.stack([1.0 - answer, answer.astype(float)], axis=-1)
    own, rows, columns = grid_means(scores)
    np.testing.assert_allclose(project(rows, columns), 0.5)
    found = additive(own, rows, columns, np.eye(2)[np.diag(answer)])
    assert found.accuracy == 1.0
    assert found.emap == 0.5  # a tie everywhere: the first answer, right for two of four
