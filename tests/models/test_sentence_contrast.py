"""Two sentences against each other: their alignment, and the explanation of their difference."""

from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, plain_steps
from architectures.trying import PICTURE, example_of, loaded, network
from hypothesis import given
from hypothesis import strategies as st

import vqa_explain as vx
from vqa_explain.errors import InvalidInput
from vqa_explain.features.words import split_words
from vqa_explain.sentence_contrast import aligned

ONE, OTHER = "a red dog, left of it", "a big red cat left of the mug"
NAMES = ["qwen3_vl", "florence2"]
WORDS = st.lists(st.sampled_from("abc"), max_size=6)


def longest(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, by trying all."""
    for size in range(min(len(one), len(other)), 0, -1):
        if set(combinations(one, size)) & set(combinations(other, size)):
            return size
    return 0


@given(WORDS, WORDS)
def test_words_are_aligned_by_the_longest_common_subsequence(
    one: list[str], other: list[str]
) -> None:
    rows = aligned(one, other)
    for words, side in ((one, 0), (other, 1)):
        covered = [n for row in rows for n in range(*row[side])]
        assert covered == list(range(len(words)))
    alike = [row for row in rows if one[slice(*row[0])] == other[slice(*row[1])]]
    assert all(row[0][1] - row[0][0] == 1 for row in alike)
    assert len(alike) == longest(one, other)
    # What differs is one row between two common words.
    differs = [row not in alike for row in rows]
    assert not any(a and b for a, b in pairwise(differs))


@pytest.mark.parametrize("name", NAMES)
def test_rows_have_the_scores_of_plain_transformers(name: str) -> None:
    one, (module, processor), model = ARCHITECTURES[name], network(name), loaded(name)
    why = difference(name)
    logs = []
    with torch.no_grad():
        for text in (ONE, OTHER):
            inputs = one.inputs(processor, PICTURE)
            steps = plain_steps(one, module, processor, inputs, text).double().numpy()
            encoded = model.with_answers(model.encode(example_of(model)), [text])
            spans = model.as_words(encoded, 0).candidates.spans[:-1]
            logs.append([steps[first:behind].sum() for first, behind in spans])
    words = [[word.text for word in split_words(text)] for text in (ONE, OTHER)]
    rows = aligned(*words)
    wanted = [sum(logs[0][slice(*own)]) - sum(logs[1][slice(*its)]) for own, its in rows]
    allowed = 1e-5 * sum(abs(value) for side in logs for value in side)
    np.testing.assert_allclose(why.matrix.log_probabilities, wanted, rtol=0, atol=allowed)
    # A comma stands behind its word without a blank.
    sides = [[" ".join(w[slice(*run)]) for w, run in zip(words, row, strict=True)] for row in rows]
    told = [
        (own.replace(" ,", ",") or "nothing", its.replace(" ,", ",") or "nothing")
        for own, its in sides
    ]
    assert [(row.target, row.contrast) for row in why.outputs] == told
    assert [told[n] for n in why.differing] == [
        ("nothing", "big"), ("dog,", "cat"), ("it", "the mug")
    ]  # fmt: skip


def difference(name: str, **asked: Any) -> vx.Explanation:
    model = loaded(name)
    how: dict[str, Any] = {"method": "leave_one_out", "regions": 2, **asked}
    found: vx.Explanation = vx.explain(
        model, example_of(model), target="sentence", answers=[ONE], contrast=OTHER, **how
    )
    return found


METHODS: list[tuple[str, dict[str, Any]]] = [
    ("leave_one_out", {}),
    ("shapley", {"budget": "8n"}),
    ("input_x_gradient", {"regions": None}),
    ("integrated_gradients", {"regions": None, "steps": 3}),
]


@pytest.mark.parametrize(("method", "asked"), METHODS, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_rows_add_up_to_the_difference(name: str, method: str, asked: dict[str, Any]) -> None:
    why = difference(name, method=method, **asked)
    whole = np.concatenate([part.values for part in why.parts])
    size = np.abs(why.matrix.values).sum()
    np.testing.assert_allclose(why.matrix.values.sum(axis=0), whole, rtol=0, atol=1e-6 * size)
    model = loaded(name)
    given: dict[str, Any] = {"regions": 2, **asked, "method": method}
    plain = vx.explain(model, example_of(model), target=ONE, answers=[ONE], contrast=OTHER, **given)
    by_itself = np.concatenate([part.values for part in plain.parts])
    errors = np.concatenate([[one.error or 0.0 for one in part.players] for part in plain.parts])
    assert np.all(np.abs(by_itself - whole) <= 1e-5 * size + 4 * errors)
    assert (why.target, why.contrast) == (ONE, OTHER) == (plain.target, plain.contrast)
    assert why.explained == plain.explained
    differing = why.matrix.of(why.differing)
    common = [n for n in range(len(why.outputs)) if n not in why.differing]
    np.testing.assert_allclose(differing + why.matrix.of(common), whole, atol=1e-6 * size)


PAIRS = {
    "a word that is called nothing": ("there is nothing here", "there is here", ["nothing"]),
    "the other way round": ("there is here", "there is nothing here", ["nothing"]),
    "no blanks": ("a red-hot (dog)", "a blue cat", ["red-hot (dog)"]),
    "blanks of several kinds": ("a red  dog", "a cat", ["red dog"]),
    "nothing differs": ("a red dog", "a red dog .", ["nothing"]),
}


@pytest.mark.parametrize("case", PAIRS)
def test_what_differs_is_told_by_the_words_themselves(case: str, tmp_path: Path) -> None:
    one, other, wanted = PAIRS[case]
    model = loaded("qwen3_vl")
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 1, "target": "sentence"}
    why = vx.explain(model, example_of(model), answers=[one], contrast=other, **asked)
    assert [why.outputs[n].target for n in why.differing] == wanted
    assert vx.load_explanation(why.save(tmp_path / "why.vqax")).differing == why.differing


def test_the_price_is_that_of_one_difference() -> None:
    why = difference("qwen3_vl")
    assert why.cost.forwards == len(why.matrix.parts) + 2


def test_a_difference_in_a_file_and_a_page(tmp_path: Path) -> None:
    why = difference("qwen3_vl")
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert repr(again) == repr(why)
    assert again.differing == why.differing
    np.testing.assert_array_equal(again.matrix.values, why.matrix.values)
    np.testing.assert_allclose(again.matrix.log_probabilities, why.matrix.log_probabilities)
    assert why.to_html(tmp_path / "why.html").is_file()
    why.plot()


def test_what_is_no_other_sentence_is_refused() -> None:
    model = loaded("qwen3_vl")
    for asked, said in (
        ({"target": "sentence", "answers": [ONE], "contrast": ONE}, "are both"),
        ({"target": "sentence", "contrast": 1}, "leave contrast= out"),
        ({"target": "sentence", "answers": [ONE], "contrast": " "}, "has no tokens"),
    ):
        with pytest.raises(InvalidInput, match=said):
            vx.explain(model, example_of(model), method="leave_one_out", **asked)
