"""Sampled answers: their classes and exact probabilities, and what one class owes to the inputs."""

import copy
import pickle
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES
from architectures.trying import PICTURE, example_of, loaded, network
from transformers import GenerationConfig

import vqa_explain as vx
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.models.writing import CHANGES_PROBABILITIES, Draws, Writing

# Decoders that run alone, and an encoder with a decoder that runs as a whole.
NAMES = ["qwen2_vl", "internvl", "florence2"]
T = 0.7


def plain_logs(name: str, ids: tuple[int, ...]) -> float:
    """The log-probability of tokens at the temperature, each step by transformers' `generate`."""
    module, processor = network(name)
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    left = list(ids)

    def forced(_batch: int, _ids: Any) -> list[int]:
        return [left.pop(0)] if left else [0]

    with torch.no_grad():
        found = module.generate(
            **inputs,
            max_new_tokens=len(ids),
            min_new_tokens=len(ids),
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
            prefix_allowed_tokens_fn=forced,
        )
    steps = [logits[0].double() / T for logits in found.logits[-len(ids) :]]
    return float(sum(s.log_softmax(-1)[i] for s, i in zip(steps, ids, strict=True)))


@pytest.mark.parametrize("name", NAMES)
def test_a_sequence_has_its_exact_probability(name: str) -> None:
    model = loaded(name)
    encoded = model.encode(example_of(model))
    rows = model.sample(encoded, Writing(most=3), Draws(6, T))
    assert len(set(rows)) > 1
    found = model.as_sequences(encoded, rows, T)
    with torch.no_grad():
        ours = model.scores(found, model.leaves(found))[0].double().numpy()
    ends = set(network(name)[1].tokenizer.all_special_ids)
    several = [n for n, row in enumerate(rows) if not ends & set(row[:-1])][:3]
    wanted = [plain_logs(name, rows[number]) for number in several]
    np.testing.assert_allclose(ours[several], wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_shares_are_those_of_the_network(name: str) -> None:
    """Of answers of one token, by the plain probabilities of all tokens."""
    module, processor = network(name)
    inputs = ARCHITECTURES[name].inputs(processor, PICTURE)
    asked: dict[str, Any] = {"max_new_tokens": 1, "temperature": T, "samples": 600}
    classes = vx.answer(loaded(name), example_of(loaded(name)), **asked).classes
    with torch.no_grad():
        plain = module.generate(
            **inputs,
            max_new_tokens=1,
            do_sample=False,
            num_beams=1,
            output_logits=True,
            return_dict_in_generate=True,
        )
    likely = (plain.logits[-1][0].double() / T).softmax(-1).numpy()
    assert sum(one.count for one in classes) == 600
    texts = [processor.tokenizer.decode([n], skip_special_tokens=True).strip()
             for n in range(len(likely))]  # fmt: skip
    for one in classes[:4]:
        exact = sum(p for text, p in zip(texts, likely, strict=True) if text == one.text)
        assert abs(one.share - exact) < 4.5 * one.error
        assert one.probability <= exact + 1e-6
        assert one.share == one.count / 600


def test_draws_are_those_of_the_seed_and_leave_the_state() -> None:
    model = loaded("qwen2_vl")
    asked: dict[str, Any] = {"max_new_tokens": 2, "temperature": 1.5, "samples": 8}
    before = torch.random.get_rng_state()
    found = [vx.answer(model, example_of(model), seed=seed, **asked) for seed in (0, 0, 1)]
    assert torch.equal(before, torch.random.get_rng_state())
    assert found[0].classes == found[1].classes != found[2].classes
    assert pickle.loads(pickle.dumps(found[0])).classes == found[0].classes  # our own


def test_classes_are_those_of_the_users_function() -> None:
    model = loaded("qwen2_vl")
    asked: dict[str, Any] = {"max_new_tokens": 1, "temperature": 1.0, "samples": 60}
    single = vx.answer(model, example_of(model), **asked).classes
    alike = vx.answer(
        model, example_of(model), same=lambda a, b: a[:1].isalpha() == b[:1].isalpha(), **asked
    ).classes
    assert len(alike) == 2
    for one in alike:
        is_word = one.text[:1].isalpha()
        own = [other for other in single if other.text[:1].isalpha() == is_word]
        assert one.texts == {other.text: other.count for other in own}
        assert one.count == sum(other.count for other in own)
        np.testing.assert_allclose(one.probability, sum(other.probability for other in own))
    assert len(single) > 2


def test_a_truth_of_numpy_is_one() -> None:
    """As comparisons of numpy's numbers give it."""
    model = loaded("qwen2_vl")
    asked: dict[str, Any] = {"max_new_tokens": 1, "temperature": 1.0, "samples": 12}
    plain, of_numpy = (
        vx.answer(model, example_of(model), same=same, **asked).classes
        for same in (
            lambda a, b: len(a) == len(b),
            lambda a, b: np.int64(len(a)) == np.int64(len(b)),
        )
    )
    assert plain == of_numpy


@pytest.mark.parametrize("method", ["shapley", "leave_one_out", "integrated_gradients"])
def test_a_class_is_the_sum_of_its_answers(method: str) -> None:
    """Of answers of one token, each explained by itself at temperature 1."""
    model = loaded("qwen2_vl")
    how: dict[str, Any] = {"method": method}
    how |= {"regions": 1} if method != "integrated_gradients" else {"steps": 4}
    how |= {"estimator": "exact", "budget": 2**9} if method == "shapley" else {}
    asked: dict[str, Any] = {"max_new_tokens": 1, "temperature": 1.0, "samples": 12}
    asked |= {"same": lambda a, b: a[:1].isalpha() == b[:1].isalpha()}
    classes = vx.answer(model, example_of(model), **asked).classes
    assert len(classes[0].texts) > 1
    why = vx.explain(model, example_of(model), **how, **asked)
    encoded = model.encode(example_of(model))
    rows = list(dict.fromkeys(model.sample(encoded, Writing(most=1), Draws(12, 1.0))))
    labels = model.as_sequences(encoded, rows, 1.0).labels
    total = np.zeros(len(np.concatenate([part.values for part in why.parts])))
    for row, label in zip(rows, labels, strict=True):
        if label not in classes[0].texts:
            continue
        one = model.with_answers(encoded, ["it"], None, {"it": row})
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(model, "generate", lambda *_args, **_more: ("it",))
            patch.setattr(model, "with_answers", lambda *_args, one=one, **_more: one)
            own = vx.explain(model, example_of(model), score="probability", target="it", **how)
        total += np.concatenate([part.values for part in own.parts])
    found = np.concatenate([part.values for part in why.parts])
    np.testing.assert_allclose(found, total, rtol=0, atol=1e-6 * np.abs(total).sum())
    assert why.target == classes[0].text
    assert why.answers[0].probability is not None
    told = why.provenance["sampling"]
    assert (told["samples"], told["count"]) == (12, classes[0].count)
    assert told["standard_error"] == classes[0].error > 0
    assert any("sampled answers" in note and "standard error" in note for note in why.notes)


def test_the_class_of_a_text_is_explained(tmp_path: Any) -> None:
    model = loaded("qwen2_vl")
    asked: dict[str, Any] = {"max_new_tokens": 1, "temperature": 1.0, "samples": 12}
    classes = vx.answer(model, example_of(model), **asked).classes
    how: dict[str, Any] = {"method": "leave_one_out", "regions": 1}
    why = vx.explain(model, example_of(model), target=classes[1].text, **how, **asked)
    assert why.target == classes[1].text
    assert vx.load_explanation(why.save(tmp_path / "why.vqax")).provenance == why.provenance
    with pytest.raises(InvalidInput, match="answer among the samples"):
        vx.explain(model, example_of(model), target="no such answer", **how, **asked)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"samples": 20}, "needs a temperature; give temperature="),
    ({"samples": 1, "temperature": 1}, "samples must be"),
    ({"samples": True, "temperature": 1}, "samples must be"),
    ({"samples": 2.5, "temperature": 1}, "samples must be"),
    ({"samples": 20, "temperature": 0}, "temperature must be a number above 0"),
    ({"samples": 20, "temperature": -1}, "temperature must be a number above 0"),
    ({"samples": 20, "temperature": float("nan")}, "temperature must be a number above 0"),
    ({"samples": 20, "temperature": "warm"}, "temperature must be a number above 0"),
    ({"temperature": 1}, "give samples= too"),
    ({"same": str.__eq__}, "give samples= too"),
    ({"samples": 20, "temperature": 1, "same": 3}, "same must be a function"),
]
BESIDE: list[tuple[dict[str, Any], str]] = [
    ({"contrast": "a"}, "leave contrast= out"),
    ({"answers": ["a"]}, "leave answers= out"),
    ({"target_token": 0}, "leave target_token= out"),
    ({"score": "logit"}, "leave score='logit' out"),
    ({"target": 1}, "the text of one"),
    ({"target": ["a"]}, "the text of one"),
]


@pytest.mark.parametrize(("asked", "said"), BAD, ids=str)
def test_what_samples_nothing_is_refused(
    asked: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: Any, **_more: Any) -> Any:
        raise AssertionError("nothing is computed")

    model = loaded("qwen2_vl")
    monkeypatch.setattr(model, "encode", refuse)
    for ask in (vx.answer, vx.explain):
        with pytest.raises(InvalidInput, match=said):
            ask(model, example_of(model), **asked)


@pytest.mark.parametrize(("asked", "said"), BESIDE, ids=str)
def test_what_means_nothing_beside_samples_is_refused(asked: dict[str, Any], said: str) -> None:
    model = loaded("qwen2_vl")
    with pytest.raises(InvalidInput, match=said):
        vx.explain(model, example_of(model), samples=4, temperature=1.0, **asked)


def test_models_and_methods_that_sample_nothing() -> None:
    model = loaded("qwen2_vl")
    given: dict[str, Any] = {"samples": 4, "temperature": 1.0}
    with pytest.raises(Unsupported, match="know no temperature"):
        vx.explain(model, example_of(model), method="attention", **given)
    with pytest.raises(InvalidInput, match="leave stream= out"):
        vx.answer(model, example_of(model), stream=print, **given)
    with pytest.raises(InvalidInput, match="return True or False"):
        vx.answer(model, example_of(model), same=lambda a, b: None, **given)  # type: ignore[arg-type, return-value]
    with pytest.raises(Unsupported, match="leave samples= out"):
        vx.answer(vx.load("easy-vqa", device="cpu"), PICTURE, "What color?", **given)


def test_a_model_is_loaded_with_a_temperature() -> None:
    module, processor = network("qwen2_vl")
    model = vx.load(module, processor=processor, device="cpu", temperature=1.5)
    found = vx.answer(model, example_of(model), samples=4, max_new_tokens=1)
    same = vx.answer(
        loaded("qwen2_vl"), example_of(model), samples=4, max_new_tokens=1, temperature=1.5
    )
    assert found.classes == same.classes


def test_every_setting_of_transformers_is_known() -> None:
    """Which of them change probabilities is decided here for each."""
    ends = {"max_length", "max_new_tokens", "max_time", "stop_strings", "eos_token_id"}
    asked = {"do_sample", "num_beams", "num_return_sequences", "temperature", "early_stopping"}
    beams = {"length_penalty", "num_beam_groups", "low_memory"}
    numbers = {"pad_token_id", "bos_token_id", "decoder_start_token_id"}
    speed = {
        "use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config",
        "disable_compile", "continuous_batching_config", "prefill_chunk_size", "return_legacy_cache",
    }  # fmt: skip
    helpers = {
        "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule",
        "assistant_confidence_threshold", "max_matching_ngram_size", "assistant_early_exit",
        "assistant_lookbehind", "target_lookbehind", "assistant_ensemble_weight",
        "speculation_type",
    }  # fmt: skip
    told = {name for name in vars(GenerationConfig()) if name.startswith(("output_", "return_"))}
    own = {"transformers_version", "generation_kwargs"}
    others = ends | asked | beams | numbers | speed | helpers | told | own
    known = {name for name in vars(GenerationConfig()) if not name.startswith("_")}
    assert known <= others | set(CHANGES_PROBABILITIES)


def changing(ids: list[int]) -> dict[str, dict[str, Any]]:
    """Settings that each change what comes first, where these are the likeliest tokens."""
    return {
        "top_k": {"top_k": 1},
        "top_p": {"top_p": 0.01},
        "min_p": {"min_p": 0.99},
        "top_h": {"top_h": 0.01},
        "typical_p": {"typical_p": 0.01},
        "epsilon_cutoff": {"epsilon_cutoff": 0.9},
        "eta_cutoff": {"eta_cutoff": 0.9},
        "suppress_tokens": {"suppress_tokens": ids},
        "bad_words_ids": {"bad_words_ids": [[one] for one in ids]},
        "sequence_bias": {"sequence_bias": [[[ids[-1]], 50.0]]},
        "forced_eos_token_id": {"forced_eos_token_id": ids[-1]},
        "begin_suppress_tokens": {"begin_suppress_tokens": ids},
        "repetition_penalty": {"repetition_penalty": 50.0},
        "no_repeat_ngram_size": {"no_repeat_ngram_size": 1},
        "watermarking_config": {
            "watermarking_config": {"bias": 50.0, "seeding_scheme": "lefthash"}
        },
    }


# A decoder, and an encoder with a decoder.
@pytest.mark.parametrize("setting", changing([0]))
@pytest.mark.parametrize("name", ["qwen2_vl", "florence2"])
def test_settings_of_the_checkpoint_change_no_sample(
    name: str, setting: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The likeliest tokens come as often as the plain network's softmax says."""
    module, processor = network(name)
    model = loaded(name)
    encoded = model.encode(example_of(model))
    plain: Any = module.generate(
        **ARCHITECTURES[name].inputs(processor, PICTURE), max_new_tokens=1,
        do_sample=False, num_beams=1, output_logits=True, return_dict_in_generate=True,
    )  # fmt: skip
    likely = (plain.logits[-1][0].double() / T).softmax(-1)
    ids = likely.topk(4).indices.tolist()
    own = copy.deepcopy(module.generation_config)
    own.update(**changing(ids)[setting])
    monkeypatch.setattr(module, "generation_config", own)
    many = 500
    rows = model.sample(encoded, Writing(most=1), Draws(many, T))
    for one in ids:
        exact = float(likely[one])
        share = sum(row[0] == one for row in rows) / many
        assert abs(share - exact) < 4.5 * (exact * (1 - exact) / many) ** 0.5 + 1e-9
