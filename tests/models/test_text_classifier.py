"""Text classifiers: scores of plain transformers, Captum's integrated gradients,
Shapley values by enumeration.
"""

from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from captum.attr import LayerIntegratedGradients
from text_checkpoints import ATTENDING, TEXT_MAKERS, bert_tokenizer, settings, text_checkpoint

import vqa_explain as vx

QUESTION = "What color is the circle?"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("texts")


@pytest.fixture(scope="module", params=ATTENDING)
def model(request: pytest.FixtureRequest, folder: Path) -> Any:
    return vx.load(text_checkpoint(request.param, folder), device="cpu")


def plain(model: Any, ids: torch.Tensor) -> torch.Tensor:
    """transformers called as its documentation says."""
    with torch.no_grad():
        found: torch.Tensor = model.module.eval()(input_ids=ids).logits
    return found


def ids_of(model: Any) -> torch.Tensor:
    found: torch.Tensor = model.tokenizer(QUESTION, return_tensors="pt").input_ids
    return found


def test_scores_are_those_of_transformers(model: Any) -> None:
    encoded = model.encode(vx.Example(question=QUESTION))
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))
    np.testing.assert_allclose(ours, plain(model, ids_of(model)), atol=1e-5)
    assert model.labels == ("negative", "neutral", "positive")


def word_tokens(model: Any) -> list[list[int]]:
    """The places of the tokens of each word, by their characters in the text."""
    spans = model.tokenizer(QUESTION, return_offsets_mapping=True).offset_mapping
    words = [("What", 0), ("color", 5), ("is", 11), ("the", 14), ("circle", 18), ("?", 24)]
    places = []
    for word, start in words:
        inside = [
            place
            for place, (a, b) in enumerate(spans)
            if a < b and QUESTION[a:b].strip() and start <= b - 1 < start + len(word)
        ]
        places.append(inside)
    return places


def test_shapley_values_are_those_of_masked_token_numbers(model: Any) -> None:
    if model.tokenizer.mask_token_id is None:
        pytest.skip("absent words are pad tokens, by which this network finds the end of a text")
    ids, places = ids_of(model), word_tokens(model)
    count = len(places)

    def score(present: tuple[int, ...]) -> float:
        masked = ids.clone()
        for word in set(range(count)) - set(present):
            masked[:, places[word]] = model.tokenizer.mask_token_id
        return float(plain(model, masked)[0, 1])

    known = {
        present: score(present)
        for size in range(count + 1)
        for present in combinations(range(count), size)
    }
    values = np.zeros(count)
    for present, before in known.items():
        for word in set(range(count)) - set(present):
            weight = factorial(len(present)) * factorial(count - len(present) - 1)
            after = known[tuple(sorted((*present, word)))]
            values[word] += weight / factorial(count) * (after - before)
    why = vx.explain(model, question=QUESTION, method="shapley", target="neutral", budget=100)
    np.testing.assert_allclose([word.value for word in why.words], values, atol=1e-4)
    assert why.error == 0


@pytest.mark.parametrize("name", ["bert", "roberta"])
def test_integrated_gradients_are_captums(name: str, folder: Path) -> None:
    model: Any = vx.load(text_checkpoint(name, folder), device="cpu")
    ids, net = ids_of(model), model.module.eval()
    masked = ids.clone()
    for places in word_tokens(model):
        masked[:, places] = model.tokenizer.mask_token_id
    captum = LayerIntegratedGradients(
        lambda given: net(input_ids=given).logits, net.get_input_embeddings()
    )
    theirs = captum.attribute(
        ids, masked, target=2, n_steps=24, method="gausslegendre", internal_batch_size=24
    )
    why = vx.explain(
        model, question=QUESTION, method="integrated_gradients", target="positive", steps=24
    )
    ours = [token.value for token in why.tokens]
    np.testing.assert_allclose(ours, theirs.sum(dim=2)[0].detach(), atol=1e-4)


def test_attention_is_what_transformers_gives(model: Any) -> None:
    why = vx.explain(model, question=QUESTION, method="attention")
    net = model.module.eval()
    before = net.config._attn_implementation
    net.set_attn_implementation("eager")
    with torch.no_grad():
        last = net(input_ids=ids_of(model), output_attentions=True).attentions[-1][0]
    net.set_attn_implementation(before)
    causal = model.module.config.model_type == "gpt2"  # it reads its answer from the last token
    expected = last.mean(dim=0)[-1 if causal else 0]
    np.testing.assert_allclose([token.value for token in why.tokens], expected, atol=1e-5)


@pytest.mark.parametrize("method", ["relevance", "attention_rollout", "attn_lrp", "lime", "rise"])
def test_other_methods_work(model: Any, method: str) -> None:
    budget: dict[str, Any] = {"budget": 128} if method in ("lime", "rise") else {}
    why = vx.explain(model, question=QUESTION, method=method, **budget)
    assert np.isfinite([word.value for word in why.words]).all()
    assert any(word.value for word in why.words)


def test_methods_over_pixels_and_pairs_are_refused(folder: Path) -> None:
    model = vx.load(text_checkpoint("bert", folder), device="cpu")
    for method in ("grad_cam", "occlusion", "interactions"):
        with pytest.raises(vx.Unsupported):
            vx.explain(model, question=QUESTION, method=method)


def test_networks_whose_attention_is_no_single_stream_refuse_it(folder: Path) -> None:
    words = bert_tokenizer()
    config = tf.SqueezeBertConfig(
        **settings(words, embedding_size=32), q_groups=1, post_attention_groups=1
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = tf.SqueezeBertForSequenceClassification(config)
    module.config._attn_implementation = "eager"
    convolved = torch.nn.Conv1d(32, 32, 3, padding=1)
    module.add_module("beside", convolved)  # a network with a convolution over its tokens
    model = vx.load(module, processor=words, device="cpu")
    assert "attention" not in model.capabilities
    with pytest.raises(vx.Unsupported, match="needs attention"):
        vx.explain(model, question=QUESTION, method="attention")
    why = vx.explain(model, question=QUESTION, method="leave_one_out")
    assert len(why.words) == 6


def test_a_network_whose_decoder_reads_the_words_too_is_refused(folder: Path) -> None:
    assert set(TEXT_MAKERS) - set(ATTENDING) == {"bart"}
    with pytest.raises(vx.InvalidInput, match="do not reach it by one call of one embedding"):
        vx.load(text_checkpoint("bart", folder), device="cpu")


def test_a_network_that_takes_boxes_too_is_refused() -> None:
    words = bert_tokenizer()
    module = tf.LayoutLMForSequenceClassification(tf.LayoutLMConfig(**settings(words)))
    with pytest.raises(vx.InvalidInput, match="takes 'bbox' besides the text"):
        vx.load(module, processor=words, device="cpu")


def test_a_text_that_is_too_long_or_missing(folder: Path) -> None:
    model = vx.load(text_checkpoint("roberta", folder), device="cpu")
    # Places are counted from behind the padding, so that a table of 64 takes 63 tokens.
    with pytest.raises(vx.InvalidInput, match="takes 63; shorten"):
        vx.explain(model, question="color " * 70)
    with pytest.raises(vx.InvalidInput, match="'question' is missing; give a text"):
        vx.explain(model)
    with pytest.raises(vx.InvalidInput, match="no input 'image' for a picture"):
        vx.explain(model, np.zeros((8, 8, 3), np.uint8), QUESTION)


def test_labels_that_do_not_fit(folder: Path) -> None:
    with pytest.raises(vx.InvalidInput, match="3 classes and 2 labels"):
        vx.load(text_checkpoint("bert", folder), labels=["a", "b"], device="cpu")


def test_a_run_over_texts(folder: Path, tmp_path: Path) -> None:
    model = vx.load(text_checkpoint("bert", folder), device="cpu")
    texts = [QUESTION, "Is there a red square?"]
    data = [vx.Example(question=text, answer="positive") for text in texts]
    metrics = ["accuracy", "deletion:players=question", "relevance_mass", "accuracy_without_image"]
    report = vx.evaluate(model, data, ["shapley:budget=64"], metrics, tmp_path, workers=1)
    left_out = [note for note in report.notes() if "the model takes no picture" in note]
    assert len(left_out) == 2
