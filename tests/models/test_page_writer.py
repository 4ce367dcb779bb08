"""Answers that are written about pages, against plain calls of transformers."""

import itertools
from math import factorial
from typing import Any

import numpy as np
import page_checkpoints
import pytest
import torch
from page_checkpoints import BOXES, QUESTION, WORDS, example_of
from PIL import Image

import vqa_explain as vx

ANSWERS = ("red", "circle is", "the red circle")


@pytest.fixture(scope="module")
def made() -> tuple[Any, Any]:
    return page_checkpoints.made("udop")


@pytest.fixture(scope="module")
def model(made: tuple[Any, Any]) -> Any:
    module, processor = made
    return vx.load(module, processor=processor, device="cpu")


def plain_inputs(processor: Any, picture: np.ndarray, words: tuple[str, ...] = WORDS) -> Any:
    return dict(
        processor(
            Image.fromarray(picture),
            QUESTION,
            text_pair=list(words),
            boxes=BOXES,
            return_tensors="pt",
        )
    )


def plain_steps(made: tuple[Any, Any], inputs: Any, answer: str) -> np.ndarray:
    """(A,) the log-probability of each token of an answer."""
    module, processor = made
    ids = processor.tokenizer(text_target=answer)["input_ids"][:-1]
    with torch.no_grad():
        found = module(**inputs, decoder_input_ids=torch.tensor([[0, *ids[:-1]]])).logits[0]
    return np.array([float(row[i]) for row, i in zip(found.log_softmax(-1), ids, strict=True)])


def test_scores_are_those_of_the_plain_call(
    made: tuple[Any, Any], model: Any, noise_picture: np.ndarray
) -> None:
    inputs = plain_inputs(made[1], noise_picture)
    wanted = [plain_steps(made, inputs, text).sum() for text in ANSWERS]
    encoded = model.with_answers(model.encode(example_of(model, noise_picture)), ANSWERS)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0].numpy()
    np.testing.assert_allclose(ours, wanted, rtol=1e-5)


def test_what_it_writes_is_what_generate_writes(
    made: tuple[Any, Any], model: Any, noise_picture: np.ndarray
) -> None:
    module, processor = made
    inputs = plain_inputs(processor, noise_picture)
    ids = module.generate(**inputs, max_new_tokens=5, do_sample=False)[0]
    said = vx.answer(model, example_of(model, noise_picture), max_new_tokens=5)
    assert said == processor.tokenizer.decode(ids, skip_special_tokens=True).strip()


def test_each_word_of_an_answer_has_what_leaving_a_word_out_takes_from_it(
    made: tuple[Any, Any], model: Any, noise_picture: np.ndarray
) -> None:
    why = vx.explain(
        model,
        example_of(model, noise_picture),
        method="leave_one_out",
        players=["page"],
        answers=["the red circle"],
        target="sentence",
    )
    assert why.matrix is not None
    assert why.matrix.words == ("the", "red", "circle")
    inputs = plain_inputs(made[1], noise_picture)
    ids = inputs["input_ids"].clone()
    ids[0, ids[0].tolist().index(made[1].tokenizer.convert_tokens_to_ids("▁circle"), 15)] = 0
    less = plain_steps(made, {**inputs, "input_ids": ids}, "the red circle")
    taken = plain_steps(made, inputs, "the red circle") - less
    place = why.matrix.parts.index(("page", "circle"))
    np.testing.assert_allclose(why.matrix.values[:, place], taken, atol=1e-5)


def test_shapley_values_of_page_words_are_the_sum_over_all_coalitions(
    made: tuple[Any, Any], model: Any, noise_picture: np.ndarray
) -> None:
    """An absent word is padding in the boxes of its tokens."""
    found = vx.explain(
        model,
        example_of(model, noise_picture),
        method="shapley",
        players=["page"],
        answers=["red"],
        words="ngrams:4",
    )
    module, processor = made
    inputs = plain_inputs(processor, noise_picture)
    encoding = processor.tokenizer(
        QUESTION, list(WORDS), boxes=BOXES, return_tensors="pt"
    ).encodings[0]
    of_page = [
        None if text != 1 or word is None else word // 4
        for text, word in zip(encoding.sequence_ids, encoding.word_ids, strict=True)
    ]
    players = 3  # of 4, 4 and 2 words

    def score(kept: frozenset[int]) -> float:
        ids = inputs["input_ids"].clone()
        for place, player in enumerate(of_page):
            if player is not None and player not in kept:
                ids[0, place] = 0
        return float(plain_steps((module, processor), {**inputs, "input_ids": ids}, "red").sum())

    scores = {
        frozenset(kept): score(frozenset(kept))
        for size in range(players + 1)
        for kept in itertools.combinations(range(players), size)
    }
    for player, word in enumerate(found.words):
        value = sum(
            factorial(len(kept))
            * factorial(players - len(kept) - 1)
            / factorial(players)
            * (scores[kept | {player}] - scores[kept])
            for kept in scores
            if player not in kept
        )
        assert word.value == pytest.approx(value, abs=1e-5)


def test_gradients_are_the_slopes_of_the_plain_score(
    made: tuple[Any, Any], model: Any, noise_picture: np.ndarray
) -> None:
    """Along the gradient of the pixels, by central differences."""
    module, processor = made
    inputs = plain_inputs(processor, noise_picture)
    encoded = model.with_answers(model.encode(example_of(model, noise_picture)), ANSWERS)
    leaves = model.leaves(encoded)
    leaves["image"] = leaves["image"].requires_grad_(True)
    (slope,) = torch.autograd.grad(model.scores(encoded, leaves)[0, 0], leaves["image"])
    step = 1e-2 * slope / slope.norm()
    moved = [
        plain_steps(
            (module, processor),
            {**inputs, "pixel_values": inputs["pixel_values"] + sign * step},
            "red",
        ).sum()
        for sign in (1, -1)
    ]
    assert (moved[0] - moved[1]) / 2e-2 == pytest.approx(float(slope.norm()), rel=2e-2)
