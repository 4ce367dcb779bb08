"""Generative models against transformers called plainly: teacher-forced log-probabilities, masks,
generation.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from building import present
from checkpoints import GENERATIVE
from families import QUESTION, encoded_for, on_all
from PIL import Image

import vqa_explain as vx
from vqa_explain.features.regions import grid_regions
from vqa_explain.target import Target

ANSWERS = ["yes", "red circle", "blue"]


def plain_inputs(model: Any, picture: np.ndarray, question: str = QUESTION) -> dict[Any, Any]:
    """What the processor gives when it is called as its documentation says."""
    processor = model.processor
    if processor.chat_template:
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = processor.apply_chat_template(
            [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
        )
    else:
        text = f"<image>{question}"
    inputs = dict(processor(text=text, images=Image.fromarray(picture), return_tensors="pt"))
    inputs.pop("labels", None)
    return inputs


def plain_steps(model: Any, inputs: dict[Any, Any], answer: str, **more: Any) -> Any:
    """Log-probability of each token of the answer, by one call over the prompt and the answer."""
    ids = torch.tensor([model.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]])
    whole = dict(inputs)
    longer = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    longer |= {"mm_token_type_ids": torch.zeros_like(ids), "token_type_ids": torch.ones_like(ids)}
    for name, tail in longer.items():
        if name in whole:
            whole[name] = torch.cat([whole[name], tail], dim=1)
    with torch.no_grad():
        logits = model.module(**whole, **more).logits
    start = inputs["input_ids"].shape[1]
    steps = logits[0, start - 1 : -1].log_softmax(-1).gather(1, ids[0][:, None])[:, 0]
    return steps.double().numpy()


@on_all(GENERATIVE)
@pytest.mark.parametrize("shape", [(60, 90), (90, 40), (32, 32), (200, 70)])
def test_scores_are_the_teacher_forced_log_probabilities(
    models: Callable[[str], Any], family: Any, shape: tuple[int, int]
) -> None:
    model = models(family)
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    encoded = encoded_for(model, picture, answers=ANSWERS)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
    inputs = plain_inputs(model, picture)
    plain = [plain_steps(model, inputs, answer) for answer in ANSWERS]
    np.testing.assert_allclose(ours, [steps.sum() for steps in plain], atol=1e-5, rtol=1e-5)
    for token in (0, 1):
        long = [a for a, steps in zip(ANSWERS, plain, strict=True) if len(steps) > token]
        one = model.with_answers(encoded, long, token)
        with torch.no_grad():
            found = model.scores(one, model.leaves(one))[0].double().numpy()
        wanted = [steps[token] for steps in plain if len(steps) > token]
        np.testing.assert_allclose(found, wanted, atol=1e-5, rtol=1e-5)


@on_all(GENERATIVE)
def test_an_absent_word_is_one_that_attention_does_not_see(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = encoded_for(model, noise_picture, answers=ANSWERS)
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    gone = [i for i, token in enumerate(encoded.tokens) if token.word in (1, 4)]
    said[0, gone] = False
    regions = grid_regions(encoded.geometry.frame, (1, 1))
    players = present(encoded, regions, torch.ones(1, 1).bool(), said)
    ours = model.coalition_scores(encoded, players, {"image": "blur", "question": "pad"}, 0)
    inputs = plain_inputs(model, noise_picture)
    where = encoded.state.prompt.places["question"][gone]
    more = {}
    if family.startswith("qwen"):  # which counts positions from the mask: give those of the whole
        ids = torch.tensor(
            [model.processor.tokenizer("yes", add_special_tokens=False)["input_ids"]]
        )
        length = inputs["input_ids"].shape[1]
        kinds = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
        whole = torch.cat([inputs["input_ids"], ids], dim=1)
        more["position_ids"], _ = model.module.model.get_rope_index(
            whole, mm_token_type_ids=kinds, image_grid_thw=inputs["image_grid_thw"]
        )
        assert more["position_ids"].shape[-1] == length + ids.shape[1]
    inputs["attention_mask"][0, where] = 0
    assert float(ours[0, 0]) == pytest.approx(
        plain_steps(model, inputs, "yes", **more).sum(), abs=1e-5
    )


def test_coalitions_of_a_batch_hide_their_own_words_from_answers_of_several_tokens(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    encoded = encoded_for(model, noise_picture, answers=ANSWERS)
    absent = [(), (1, 4), (0, 1, 2, 3)]
    words = np.array([token.word for token in encoded.tokens])
    said = torch.from_numpy(np.stack([~np.isin(words, some) for some in absent]))
    regions = grid_regions(encoded.geometry.frame, (1, 1))
    players = present(encoded, regions, torch.ones(3, 1).bool(), said)
    ours = model.coalition_scores(encoded, players, {"image": "blur", "question": "pad"}, 0)
    for row, kept in zip(ours.numpy(), said.numpy(), strict=True):
        inputs = plain_inputs(model, noise_picture)
        inputs["attention_mask"][0, encoded.state.prompt.places["question"][~kept]] = 0
        plain = [plain_steps(model, inputs, answer).sum() for answer in ANSWERS]
        np.testing.assert_allclose(row, plain, atol=1e-5)


@on_all(("llava", "qwen2_vl", "qwen2_5_vl", "paligemma"))
def test_dropping_is_as_hiding_from_attention(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    """The tokens that leave the sequence, against the same tokens hidden by the mask with their
    places kept.
    """
    model = models(family)
    encoded = encoded_for(model, noise_picture, answers=ANSWERS)
    regions = grid_regions(encoded.geometry.frame, encoded.grid)
    shown = torch.from_numpy(np.random.default_rng(1).random((5, regions.count)) < 0.5)
    said = torch.from_numpy(np.random.default_rng(2).random((5, len(encoded.tokens))) < 0.7)
    said[:, [i for i, token in enumerate(encoded.tokens) if token.word < 0]] = True
    dropped = model.coalition_scores(
        encoded, present(encoded, regions, shown, said), {"image": "drop", "question": "pad"}, 0
    )
    with torch.no_grad():
        given = model._received(encoded, {}).times(torch.zeros(5, dtype=torch.long))
        places = encoded.state.prompt.places
        given = given.hidden(torch.from_numpy(places["image"]), shown)
        given = given.hidden(torch.from_numpy(places["question"]), said)
        hidden = encoded.state.language.answer(given, encoded.candidates)
    np.testing.assert_allclose(dropped.numpy(), hidden.numpy(), atol=2e-5)


@on_all(GENERATIVE)
def test_its_own_answer_is_what_generate_writes(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    inputs = plain_inputs(model, noise_picture)
    with torch.no_grad():
        ids = model.module.generate(**inputs, max_new_tokens=12, do_sample=False)[
            0, inputs["input_ids"].shape[1] :
        ]
    written = model.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    if not written:  # this random one stops at once
        with pytest.raises(vx.InvalidInput, match="answers nothing"):
            model.generate(encoded)
        return
    texts = model.generate(encoded)
    assert texts == (written,)
    why = vx.explain(model, noise_picture, QUESTION, method="saliency")
    assert why.target == texts[0]
    probability = why.answers[0].probability
    assert probability is not None
    assert 0 < probability < 1


def test_beams_give_several_answers_best_first(
    folders: Callable[[str], Path], noise_picture: np.ndarray
) -> None:
    model: Any = vx.load(folders("llava"), beams=3, device="cpu")
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    assert 1 < len(model.generate(encoded)) <= 3


def test_answers_of_different_lengths_are_compared_by_sum_or_mean(
    folders: Callable[[str], Path], models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    by = {"sum": models("llava"), "mean": vx.load(folders("llava"), lengths="mean", device="cpu")}
    steps = {a: plain_steps(by["sum"], plain_inputs(by["sum"], noise_picture), a) for a in ANSWERS}
    for lengths, join in (("sum", np.sum), ("mean", np.mean)):
        encoded = encoded_for(by[lengths], noise_picture, answers=ANSWERS)
        contrast = Target(1, 0, "log_probability", kind="log_probabilities")
        with torch.no_grad():
            found = float(contrast(by[lengths].scores(encoded, by[lengths].leaves(encoded)))[0])
        assert found == pytest.approx(join(steps["red circle"]) - join(steps["yes"]), abs=1e-5)


def test_contrast_explains_the_difference_of_two_texts(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    parts: dict[str, Any] = {
        "method": "shapley",
        "regions": 2,
        "budget": 160,
        "answers": ["yes", "red circle"],
    }
    why = vx.explain(model, noise_picture, QUESTION, target="red circle", contrast="yes", **parts)
    both = [
        vx.explain(model, noise_picture, QUESTION, target=t, **parts) for t in ("red circle", "yes")
    ]
    assert why.explained == "log probability of “red circle” minus “yes”"
    totals = [sum(w.value for w in e.words) + sum(r.value for r in e.regions) for e in (why, *both)]
    assert totals[0] == pytest.approx(totals[1] - totals[2], abs=1e-5)


def test_one_token_of_an_answer_can_be_explained(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("llava")
    steps = plain_steps(model, plain_inputs(model, noise_picture), "red circle")
    why = vx.explain(
        model,
        noise_picture,
        QUESTION,
        target="red circle",
        target_token=1,
        method="shapley",
        regions=2,
        budget=160,
    )
    encoded = model.with_answers(
        model.encode(vx.Example(noise_picture, QUESTION)), ["red circle"], 1
    )
    with torch.no_grad():
        start = model.coalition_scores(
            encoded,
            present(
                encoded,
                grid_regions(encoded.geometry.frame, (1, 1)),
                torch.zeros(1, 1).bool(),
                torch.tensor([[token.word < 0 for token in encoded.tokens]]),
            ),
            {"image": "mean", "question": "pad"},
            0,
        )
    total = sum(w.value for w in why.words) + sum(r.value for r in why.regions)
    assert total == pytest.approx(steps[1] - float(start[0, 0]), abs=1e-4)


@on_all(("llava", "idefics3"))
def test_the_vision_encoder_runs_once_for_a_picture(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any
) -> None:
    model = models(family)
    encoded = encoded_for(model, noise_picture, answers=["yes"])
    vision = next(
        m for n, m in model.module.named_modules() if n.endswith(("vision_tower", "vision_model"))
    )
    seen = []
    handle = vision.register_forward_hook(lambda _m, _i, out: seen.append(len(out[0])))
    try:
        regions = grid_regions(encoded.geometry.frame, (1, 1))
        said = torch.from_numpy(np.random.default_rng(2).random((16, len(encoded.tokens))) < 0.7)
        fills = {"image": "blur", "question": "pad"}
        players = present(encoded, regions, torch.ones(16, 1).bool(), said)
        model.coalition_scores(encoded, players, fills, 0)
    finally:
        handle.remove()
    tiles = encoded.state.inputs["pixel_values"].shape[1] if family == "idefics3" else 1
    assert seen == [tiles]


@on_all(("llava", "qwen2_vl", "idefics3", "paligemma"))
@pytest.mark.parametrize("mark", ["<image>", "<|image_pad|>", "</s>", "<pad>"])
def test_a_question_that_spells_a_special_token_is_refused(
    models: Callable[[str], Any], noise_picture: np.ndarray, family: Any, mark: str
) -> None:
    model = models(family)
    if mark not in model.processor.tokenizer.get_vocab():
        pytest.skip("not a token of this model")
    with pytest.raises(vx.InvalidInput, match="takes for a command"):
        vx.explain(model, noise_picture, f"What is {mark} here?", answers=["a"], method="saliency")


@pytest.mark.slow
def test_bad_answers_are_named(models: Callable[[str], Any], noise_picture: np.ndarray) -> None:
    model = models("llava")
    for answers, words in (
        ([], "at least one"),
        ("yes", "list"),
        ([""], "no tokens"),
        ([3], "must be text"),
    ):
        with pytest.raises(vx.InvalidInput, match=words):
            vx.explain(
                model,
                noise_picture,
                QUESTION,
                answers=answers,  # type: ignore[arg-type]
                method="saliency",
            )
    with pytest.raises(vx.InvalidInput, match="no token 7"):
        vx.explain(
            model, noise_picture, QUESTION, answers=["yes"], target_token=7, method="saliency"
        )
    with pytest.raises(vx.InvalidInput, match="chooses among 4 answers"):
        vx.explain(models("vilt"), noise_picture, QUESTION, answers=["yes"])
    with pytest.raises(vx.InvalidInput, match="tokens and model"):
        vx.explain(model, noise_picture, "is " * 3000 + "it?", answers=["yes"])


@on_all(GENERATIVE)
@pytest.mark.parametrize("shape", [(60, 90), (90, 40), (130, 120)])
def test_a_changed_frame_is_the_processors_values_of_a_changed_picture(
    models: Callable[[str], Any], family: Any, shape: tuple[int, int]
) -> None:
    """Tiles and patches in their places: the layout of one smooth picture carries the frame of
    another.
    """
    model = models(family)
    down, across = np.indices(shape) / np.array(shape).reshape(2, 1, 1)
    pictures = [
        np.stack([255 * down, 255 * across, 128 + 0 * down], axis=2).astype(np.uint8),
        np.stack([255 * across**2, 128 + 0 * down, 255 * down * across], axis=2).astype(np.uint8),
    ]
    states = [model.encode(vx.Example(picture, QUESTION)).state for picture in pictures]
    one, other = (state.shown["image"] for state in states)
    carried = one.layout.values(other.layout.frame, one.geometries)["pixel_values"]
    wanted = plain_inputs(model, pictures[1])["pixel_values"]
    assert carried.shape == wanted.shape
    tiled = family in ("llava_onevision", "idefics3", "smolvlm")
    # The tile of the whole is resized from the frame instead of the picture: a little softer,
    # nowhere else.
    np.testing.assert_allclose(carried, wanted, atol=0.12 if tiled else 1e-6)
    if tiled and carried.shape[1] > 1:
        whole = 0 if family == "llava_onevision" else carried.shape[1] - 1
        parts = [i for i in range(carried.shape[1]) if i != whole]
        np.testing.assert_allclose(carried[:, parts], wanted[:, parts], atol=1e-5)
