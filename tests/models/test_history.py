"""What a word owes to each word before it."""

from functools import cache
from itertools import permutations, product
from math import factorial
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
from architectures.trying import PICTURE, example_of, loaded
from single_tokens import word_score

import vqa_explain as vx
from vqa_explain.errors import InvalidInput
from vqa_explain.models.base import check_fills

SHORT, LONG = "red circle, a dog", "a red circle and a dog on the left of it"


@cache
def explained(name: str, text: str, seed: int = 0) -> vx.Explanation:
    model = loaded(name)
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 2, "history": True}
    found: vx.Explanation = vx.explain(
        model, example_of(model), target="sentence", answers=[text], seed=seed, **asked
    )
    return found


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_vl", "florence2"])
def test_each_earlier_word_has_the_value_of_its_definition(name: str) -> None:
    """Owen's value: the mean over all orders of picture, question and earlier words that keep the
    earlier words together, of scores of single tokens in each coalition.
    """
    model, why = loaded(name), explained(name, SHORT)
    plain = model.with_answers(model.encode(example_of(model)), [SHORT])
    spans = model.as_words(plain, 0).candidates.spans[:-1]
    tokens, words = plain.candidates.ids[0], model.processor.tokenizer
    absent = words.pad_token_id if words.mask_token_id is None else words.mask_token_id
    features = model.encode(example_of(model)).features
    fills = check_fills(model, {}, features)

    @cache
    def score(shown: bool, said: bool, kept: tuple[bool, ...], number: int) -> float:
        first, behind = spans[number]
        read: list[int] = []
        for here, (start, end) in zip(kept, spans, strict=False):
            read += tokens[start:end] if here else [absent] * (end - start)
        return word_score(model, plain, read, tokens[first:behind], (shown, said), fills)

    for number in range(1, 4):
        wanted = np.zeros(number)
        for shown, said in product((False, True), repeat=2):
            size = shown + said
            weight = factorial(size) * factorial(2 - size) / factorial(3) / factorial(number)
            for order in permutations(range(number)):
                kept = [False] * number
                for word in order:
                    before = score(shown, said, tuple(kept), number)
                    kept[word] = True
                    wanted[word] += weight * (score(shown, said, tuple(kept), number) - before)
        np.testing.assert_allclose(why.outputs[number].earlier, wanted, rtol=0, atol=3e-4)
        assert why.outputs[number].earlier_errors == (0.0,) * number


@pytest.mark.parametrize("text", [SHORT, LONG])
def test_earlier_words_add_up_to_their_share(text: str, tmp_path: Path) -> None:
    why = explained("qwen3_vl", text)
    assert len(why.outputs) > (7 if text is LONG else 4)
    for number, row in enumerate(why.outputs):
        assert len(row.earlier) == len(row.earlier_errors) == number
        assert sum(row.earlier) == pytest.approx(row.sources["earlier words"], abs=2e-4)
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert [row.earlier for row in again.outputs] == [row.earlier for row in why.outputs]
    assert again.outputs[-1].earlier_errors == why.outputs[-1].earlier_errors


@pytest.mark.slow
def test_estimates_lie_around_the_exact_values(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = explained("qwen3_vl", SHORT).outputs[4]
    monkeypatch.setattr("vqa_explain.history.EXACT_WORDS", 0)
    estimates = [explained("qwen3_vl", SHORT, seed).outputs[4] for seed in range(1, 7)]
    errors = np.array([row.earlier_errors for row in estimates])
    assert (errors.max(axis=0) > 0).all()
    mean = np.mean([row.earlier for row in estimates], axis=0)
    error = np.sqrt(np.square(errors).mean(axis=0) / len(errors))
    assert np.all(np.abs(mean - exact.earlier) < 5 * error)


def test_history_belongs_to_a_sentence() -> None:
    model = loaded("qwen3_vl")
    for asked, said in (
        ({"history": True}, "give target='sentence'"),
        ({"history": True, "target": "red"}, "give target='sentence'"),
        ({"history": 1, "target": "sentence"}, "must be True or False"),
    ):
        with pytest.raises(InvalidInput, match=said):
            vx.explain(model, PICTURE, "What color?", **asked)


def test_history_is_of_one_sentence() -> None:
    model = loaded("qwen3_vl")
    with pytest.raises(InvalidInput, match="leave one of them out"):
        vx.explain(
            model, example_of(model), target="sentence", answers=["a red dog"], contrast="a cat",
            history=True,
        )  # fmt: skip
