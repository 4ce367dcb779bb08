"""Relevance in networks of an encoder and a decoder, against the paper's equations written out."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from architectures import every  # so that the table is full
from architectures.base import ARCHITECTURES, QUESTION
from architectures.trying import PICTURE, example_of, loaded, network

import vqa_explain as vx

assert every.FILES
ANSWER = "red circle"
PAPER = ("blip2_t5", "florence2")


def weighted(attention: torch.Tensor, slope: torch.Tensor) -> torch.Tensor:
    """Equation 5: the mean over heads of the positive part of ∇A ⊙ A."""
    return (slope[0] * attention[0].detach()).clamp(min=0).mean(dim=0)


def normalized(flow: torch.Tensor) -> torch.Tensor:
    """Equations 8 and 9."""
    own = torch.eye(len(flow))
    sums = (flow - own).sum(dim=-1, keepdim=True)
    return torch.where(sums > 0, (flow - own) / sums.clamp(min=1e-30), flow - own) + own


def paper_row(found: Any, value: torch.Tensor) -> torch.Tensor:
    """(N,) how relevant each position of the prompt is to the decoder's last.

    Every map must have a slope: autograd refuses one that has no part in the value.
    """
    kinds = (found.encoder_attentions, found.decoder_attentions, found.cross_attentions)
    slopes = [torch.autograd.grad(value, maps, retain_graph=True) for maps in kinds]
    encoder, decoder, across = (
        [weighted(one, slope) for one, slope in zip(maps, own, strict=True)]
        for maps, own in zip(kinds, slopes, strict=True)
    )
    ii, qq = torch.eye(encoder[0].shape[0]), torch.eye(decoder[0].shape[0])
    qi = torch.zeros(len(qq), len(ii))
    for a in encoder:
        ii = ii + a @ ii  # equation 6
    for own, cross in zip(decoder, across, strict=True):
        qq, qi = qq + own @ qq, qi + own @ qi  # equations 6 and 7
        # Equation 10. Equation 11 adds nothing: the encoder never looks at the decoder.
        qi = qi + normalized(qq).T @ cross @ normalized(ii)
    return qi[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_relevance_of_words_follows_the_papers_equations(name: str) -> None:
    one = ARCHITECTURES[name]
    given, processor = network(name)
    module = copy.deepcopy(given).requires_grad_(True)
    module.set_attn_implementation("eager")
    inputs = one.inputs(processor, PICTURE)
    model = loaded(name)
    words = processor.tokenizer
    ids = words(ANSWER, add_special_tokens=False)["input_ids"]
    rows = []
    for place, token in enumerate(ids):
        before = torch.tensor([[one.start, *ids[:place]]])
        said = module(**inputs, decoder_input_ids=before, output_attentions=True)
        inner = getattr(said, "language_model_outputs", None) or said
        rows.append(paper_row(inner, said.logits[0, -1].log_softmax(-1)[token]))
    total = torch.stack(rows).sum(dim=0).detach().numpy()
    why = vx.explain(
        model, example_of(model), method="relevance", target=ANSWER, players=["question"]
    )
    asked = words(QUESTION, add_special_tokens=False)["input_ids"]
    whole = inputs["input_ids"][0].tolist()
    at = next(i for i in range(len(whole)) if whole[i : i + len(asked)] == asked)
    np.testing.assert_allclose(
        [token.value for token in why.tokens if token.word >= 0],
        total[at : at + len(asked)],
        rtol=1e-4,
        atol=1e-7,
    )
    assert total[at : at + len(asked)].max() > 1e-4


def test_a_resampled_picture_has_no_relevance_of_its_own() -> None:
    model = loaded("blip2_t5")
    with pytest.raises(vx.Unsupported, match="leave the picture as it is by players="):
        vx.explain(model, example_of(model), method="relevance", target=ANSWER)


def test_a_decoder_that_mixes_both_kinds_of_attention_is_refused() -> None:
    """T5Gemma 2's decoder attends to itself and to the encoder in one softmax."""
    model = loaded("t5gemma2")
    with pytest.raises(vx.Unsupported, match="which this model does not give"):
        vx.explain(model, example_of(model), method="relevance", target=ANSWER)
