"""Answers of models that write: which tokens are scored, everywhere alike (issue's sections C and
F).

Truth is `transformers` called plainly: the log-probability of the very tokens that the model wrote.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import GENERATIVE
from families import QUESTION, on_all
from torch import nn

import vqa_explain as vx
from vqa_explain.viewer.whatif import changed

WRITING = [family for family in GENERATIVE if family in ("llava", "qwen2_vl", "idefics3", "blip")]
ANSWERS = ["red circle", "a dog on the left", "yes it is"]


class WithBias(nn.Module):
    """A head that prefers one token, whatever it reads."""

    def __init__(self, head: Any, token: Any, size: float) -> None:
        super().__init__()
        self.weight, self.token, self.size = head.weight, token, size

    def forward(self, states: Any) -> torch.Tensor:
        found = nn.functional.linear(states, self.weight)
        return found + self.size * nn.functional.one_hot(
            torch.tensor(self.token), found.shape[-1]
        ).to(found)


@pytest.fixture
def blanks(models: Callable[[str], Any]) -> Iterator[Any]:
    """A LLaVA that answers " red red …", in tokens that its tokenizer does not give for the
    text.
    """
    model = models("llava")
    tokenizer, network = model.processor.tokenizer, model.module
    token = tokenizer(" red", add_special_tokens=False)["input_ids"][0]
    assert tokenizer("red", add_special_tokens=False)["input_ids"][0] != token
    head, ends = network.lm_head, network.generation_config.eos_token_id
    network.lm_head = WithBias(head, token, 3.0)
    network.generation_config.eos_token_id = None
    yield model
    network.lm_head, network.generation_config.eos_token_id = head, ends


def log_probability(model: Any, picture: np.ndarray, tokens: Sequence[int]) -> float:
    """Of these tokens as the answer, by one plain call over prompt and answer."""
    encoded = model.encode(vx.Example(picture, QUESTION))
    inputs = dict(encoded.state.inputs)
    ids = torch.tensor([tokens])
    for name, tail in {"input_ids": ids, "attention_mask": torch.ones_like(ids)}.items():
        inputs[name] = torch.cat([inputs[name], tail], dim=1)
    with torch.no_grad():
        logits = model.module(**inputs).logits[0, -len(tokens) - 1 : -1]
    return float(logits.log_softmax(-1).gather(1, ids[0][:, None]).sum())


def tokens_of(why: vx.Explanation) -> tuple[int, ...]:
    """The tokens of the answer that is explained."""
    assert why.written is not None
    return why.written.tokens[why.target]


def test_what_the_model_wrote_is_scored_by_its_own_tokens_everywhere(
    blanks: Any, noise_picture: np.ndarray
) -> None:
    picture = noise_picture
    why = vx.explain(blanks, picture, QUESTION, method="leave_one_out", regions=2)
    tokens = tokens_of(why)
    expected = log_probability(blanks, picture, tokens)
    assert why.answers[0].probability == pytest.approx(np.exp(expected), rel=1e-4)
    named = vx.explain(blanks, picture, QUESTION, method="saliency", target=why.target)
    among = vx.explain(
        blanks, picture, QUESTION, method="saliency", answers=["no", why.target], target=why.target
    )
    for other in (named, among):
        assert other.target == why.target
        assert tokens_of(other) == tokens
        found = next(a for a in other.answers if a.text == why.target)
        assert found.probability == pytest.approx(np.exp(expected), rel=1e-4)
    example = vx.Example(picture, QUESTION)
    whole = changed(blanks, example, why, {"question": [], "image": []}, {"image": 2})
    assert whole["answers"][0]["probability"] == pytest.approx(np.exp(expected), rel=1e-4)
    for region in range(4):  # leaving one out is what the values of this method measure
        without = changed(blanks, example, why, {"question": [], "image": [region]}, {"image": 2})
        assert without["change"] == pytest.approx(-why.regions[region].value, abs=1e-4)


@on_all(WRITING)
@pytest.mark.parametrize("token", [None, 0, 1])
def test_a_what_if_measures_the_score_that_was_explained(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any, token: int | None
) -> None:
    model = models(family)
    why = vx.explain(
        model,
        noise_picture,
        QUESTION,
        method="leave_one_out",
        regions=2,
        answers=ANSWERS,
        target_token=token,
    )
    example = vx.Example(noise_picture, QUESTION)
    for words, regions in (([1], []), ([], [2]), ([2, 3], [])):
        found = changed(model, example, why, {"question": words, "image": regions}, {"image": 2})
        if len(words) + len(regions) == 1:
            assert found["change"] == pytest.approx(found["predicted"], abs=1e-4)
        probabilities = [answer["probability"] for answer in found["answers"]]
        assert probabilities == sorted(probabilities, reverse=True)
    plain = vx.explain(model, noise_picture, QUESTION, method="saliency", answers=ANSWERS)
    assert [a.text for a in why.answers] == [a.text for a in plain.answers]
    assert why.target == plain.target


def test_one_token_of_an_answer_is_named_and_the_answer_is_chosen_as_a_whole(
    models: Callable[[str], Any], noise_picture: np.ndarray, tmp_path: Path
) -> None:
    model = models("llava")
    whole = vx.explain(model, noise_picture, QUESTION, method="saliency", answers=ANSWERS)
    tokenizer = model.processor.tokenizer
    for token in (0, 1):
        why = vx.explain(
            model,
            noise_picture,
            QUESTION,
            method="leave_one_out",
            answers=[*ANSWERS, "no"],  # which has one token alone, and is not explained
            target="red circle",
            contrast="yes it is",
            target_token=token,
        )
        pieces = [
            tokenizer.decode([tokenizer(text, add_special_tokens=False)["input_ids"][token]])
            for text in ("red circle", "yes it is")
        ]
        assert why.explained == (
            f"log probability of token {token}, “{pieces[0].strip()}”, of “red circle” minus "
            f"token {token}, “{pieces[1].strip()}”, of “yes it is”"
        )
        assert why.explained in why.unit_text
        of_whole = {a.text: a.probability for a in whole.answers}
        for answer in why.answers:
            if answer.text in of_whole:
                assert answer.probability == pytest.approx(of_whole[answer.text], rel=1e-5)
        assert why.answer_without_inputs is None
        kept = vx.load_explanation(why.save(tmp_path / "one.vqax"))
        assert (kept.written, kept.explained) == (why.written, why.explained)
    with pytest.raises(vx.InvalidInput, match="answer 'no' has tokens 0 to 0 and no token 1"):
        vx.explain(
            model,
            noise_picture,
            QUESTION,
            answers=ANSWERS,
            target="red circle",
            contrast="no",
            target_token=1,
        )


def test_a_mean_over_tokens_is_named_and_shown_as_no_probability(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    tokens = model.processor.tokenizer
    before, model.lengths = model.lengths, "mean"
    try:
        why = vx.explain(model, noise_picture, QUESTION, method="saliency", answers=ANSWERS)
        as_probability = vx.explain(
            model, noise_picture, QUESTION, answers=ANSWERS, score="probability", method="saliency"
        )
    finally:
        model.lengths = before
    means = []
    for answer in why.answers:
        ids = tokens(answer.text, add_special_tokens=False)["input_ids"]
        expected = log_probability(model, noise_picture, ids)
        assert answer.probability == pytest.approx(np.exp(expected), rel=1e-4)
        means.append(expected / len(ids))
    assert means == sorted(means, reverse=True)
    assert why.explained == f"mean log probability of the tokens of “{why.target}”"
    explained = f"geometric mean probability of the tokens of “{why.target}”"
    assert as_probability.explained == explained


@pytest.mark.parametrize("token", [1.0, True, "1"])
def test_a_token_is_named_by_a_whole_number(
    models: Callable[[str], Any], noise_picture: np.ndarray, token: float | bool | str
) -> None:
    with pytest.raises(vx.InvalidInput, match="target_token must be a whole number from 0"):
        vx.explain(
            models("llava"),
            noise_picture,
            QUESTION,
            answers=ANSWERS,
            target_token=token,  # type: ignore[arg-type]
        )
