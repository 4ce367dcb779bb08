"""BLIP against transformers called plainly."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from building import present
from families import QUESTION, encoded_for
from PIL import Image

import vqa_explain as vx
from vqa_explain.features.regions import grid_regions

ANSWERS = ["yes", "red circle", "two"]


@pytest.mark.parametrize("shape", [(60, 90), (90, 30)])
def test_scores_are_the_teacher_forced_log_probabilities(
    models: Callable[[str], Any], shape: tuple[int, int]
) -> None:
    model = models("blip")
    picture = np.random.default_rng(3).integers(0, 256, (*shape, 3), dtype=np.uint8)
    encoded = encoded_for(model, picture, answers=ANSWERS)
    with torch.no_grad():
        ours = model.scores(encoded, model.leaves(encoded))[0].numpy()
    inputs = model.processor(images=Image.fromarray(picture), text=QUESTION, return_tensors="pt")
    caught = []
    handle = model.module.text_decoder.register_forward_hook(
        lambda _m, _i, out: caught.append(out.logits)
    )
    try:
        for column, answer in zip(ours, ANSWERS, strict=True):
            ids = model.processor.tokenizer(answer, add_special_tokens=False, return_tensors="pt")[
                "input_ids"
            ]
            start = torch.full((1, 1), model.module.config.text_config.bos_token_id)
            with torch.no_grad():
                model.module(**inputs, decoder_input_ids=torch.cat([start, ids[:, :-1]], dim=1))
            steps = caught[-1][0].log_softmax(-1).gather(1, ids[0][:, None])
            assert column == pytest.approx(float(steps.sum()), abs=1e-5)
    finally:
        handle.remove()


def test_its_own_answer_is_what_generate_writes(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("blip")
    inputs = model.processor(
        images=Image.fromarray(noise_picture), text=QUESTION, return_tensors="pt"
    )
    with torch.no_grad():
        # The first starts every answer.
        ids = model.module.generate(**inputs, max_new_tokens=12, do_sample=False, num_beams=1)[
            0, 1:
        ]
    text = model.processor.tokenizer.decode(ids, skip_special_tokens=True).strip()
    why = vx.explain(model, noise_picture, QUESTION, method="saliency")
    assert why.target == text


def test_an_absent_word_is_one_that_attention_does_not_see(
    models: Callable[[str], Any], noise_picture: np.ndarray
) -> None:
    model = models("blip")
    encoded = encoded_for(model, noise_picture, answers=["red"])
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    said[0, 3] = False
    regions = grid_regions(encoded.geometry.frame, (1, 1))
    ours = model.coalition_scores(
        encoded,
        present(encoded, regions, torch.ones(1, 1).bool(), said),
        {"image": "blur", "question": "pad"},
        0,
    )
    inputs = model.processor(
        images=Image.fromarray(noise_picture), text=QUESTION, return_tensors="pt"
    )
    inputs["attention_mask"][0, 3] = 0
    caught = []
    handle = model.module.text_decoder.register_forward_hook(
        lambda _m, _i, out: caught.append(out.logits)
    )
    try:
        with torch.no_grad():
            model.module(
                **inputs,
                decoder_input_ids=torch.full((1, 1), model.module.config.text_config.bos_token_id),
            )
    finally:
        handle.remove()
    red = model.processor.tokenizer.convert_tokens_to_ids("red")
    assert float(ours[0, 0]) == pytest.approx(float(caught[0][0, 0].log_softmax(-1)[red]), abs=1e-5)
