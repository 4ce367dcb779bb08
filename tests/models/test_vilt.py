"""The ViLT adapter against transformers' own forward."""

from typing import Any

import numpy as np
import pytest
import torch
from building import present

import vqa_explain as vx
from vqa_explain.features.image import fill_in
from vqa_explain.features.regions import grid_regions
from vqa_explain.game import make_players
from vqa_explain.models.network import footprint
from vqa_explain.models.vilt import ViltModel
from vqa_explain.training import vilt as training


def test_scores_equal_the_plain_transformers_call(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")
    with torch.no_grad(), torch.random.fork_rng():
        theirs = scenes_model.module(**inputs).logits
        ours = scenes_model.scores(encoded, scenes_model.leaves(encoded))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(40, 70), (150, 97), (12, 12)])
def test_scores_equal_the_plain_call_for_pictures_of_any_shape(
    scenes_model: ViltModel, shape: tuple[int, int]
) -> None:
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    encoded = scenes_model.encode(vx.Example(image, "What color is the circle?"))
    inputs = scenes_model.processor(image, "What color is the circle?", return_tensors="pt")
    with torch.no_grad(), torch.random.fork_rng():
        theirs = scenes_model.module(**inputs).logits
        ours = scenes_model.scores(encoded, scenes_model.leaves(encoded))
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_patches_are_in_raster_order(scenes_model: ViltModel, scene: vx.Example) -> None:
    """Fails when the random order of ViLT's own `visual_embed` is left in place."""
    encoded = scenes_model.encode(scene)
    patches = scenes_model._patches(encoded.pixels)[0, 1:]
    for number in (0, 7, 8, 35, 63):
        changed = encoded.pixels.clone()
        row, column = divmod(number, 8)
        changed[:, :, 12 * row : 12 * row + 12, 12 * column : 12 * column + 12] += 1
        moved = (scenes_model._patches(changed)[0, 1:] - patches).abs().sum(1)
        assert (moved > 1e-6).nonzero().flatten().tolist() == [number]


def test_leaving_a_patch_out_hits_the_region_where_it_lies(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    """The region that leave-one-out finds important is the one whose patch changed the plain
    network's answer.
    """
    encoded = scenes_model.encode(scene)
    regions = grid_regions((96, 96), (8, 8))
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    fills = {"image": "drop", "question": "mask"}
    inputs = scenes_model.processor.tokenizer(scene.question, return_tensors="pt")
    embeddings = scenes_model.module.vilt.embeddings
    for number in (3, 20, 50):
        shown = torch.ones(1, 64, dtype=torch.bool)
        shown[0, number] = False
        ours = scenes_model.coalition_scores(
            encoded, present(encoded, regions, shown, said), fills, 0
        )
        projected = embeddings.patch_embeddings(encoded.pixels).flatten(2).transpose(1, 2)
        placed = projected + embeddings.position_embeddings[:, 1:]
        rest = torch.cat([placed[:, :number], placed[:, number + 1 :]], dim=1)
        first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        with torch.no_grad():
            theirs = scenes_model.module(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                image_embeds=torch.cat([first, rest], dim=1),
                pixel_mask=torch.ones(1, 64, dtype=torch.long),
            ).logits
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_hooks_on_a_layers_parts_see_what_they_give(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    regions = grid_regions((96, 96), (8, 8))
    shown = torch.from_numpy(np.random.default_rng(0).random((3, 64)) < 0.5)
    said = torch.ones(3, len(encoded.tokens), dtype=torch.bool)
    parts = present(encoded, regions, shown, said)
    given = (encoded, parts, {"image": "mean", "question": "mask"}, 0)
    wanted, caught = scenes_model.coalition_scores(*given), []
    for layer in (
        scenes_model.module.vilt.encoder.layer[0],
        scenes_model.module.vilt.encoder.layer[-1],
    ):
        for part in (layer.attention.attention.key, layer.intermediate.dense):
            handle = part.register_forward_hook(
                lambda p, x, output: caught.append((p, x[0], output))
            )
            found = scenes_model.coalition_scores(*given)
            handle.remove()
            torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert len(caught) == 4
    for part, x, output in caught:
        torch.testing.assert_close(output, x @ part.weight.T + part.bias, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
def test_a_batch_of_coalitions_equals_one_by_one(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    rng = np.random.default_rng(0)
    shown = torch.from_numpy(rng.random((6, 64)) < rng.random((6, 1)))
    said = torch.from_numpy(rng.random((6, len(encoded.tokens))) < 0.5)
    said |= torch.tensor([t.special for t in encoded.tokens])
    for image in ("drop", "mean", "inpaint"):
        for text in ("mask", "pad", "delete"):
            fills = {"image": image, "question": text}
            regions = grid_regions((96, 96), (8, 8))
            together = scenes_model.coalition_scores(
                encoded, present(encoded, regions, shown, said), fills, 0
            )
            for row in range(6):
                alone = scenes_model.coalition_scores(
                    encoded,
                    present(encoded, regions, shown[row : row + 1], said[row : row + 1]),
                    fills,
                    0,
                )
                torch.testing.assert_close(together[row : row + 1], alone, atol=1e-4, rtol=1e-4)


def numpy_state() -> np.ndarray:
    """NumPy's global random state."""
    state: np.ndarray = np.random.get_state(legacy=False)["state"]["key"]
    return state


@pytest.mark.parametrize(
    "method",
    [
        "saliency",
        "input_x_gradient",
        "integrated_gradients",
        "occlusion",
        "leave_one_out",
        "shapley",
    ],
)
def test_every_method_is_deterministic_and_leaves_the_global_random_state(
    scenes_model: ViltModel, scene: vx.Example, method: str
) -> None:
    few: dict[str, Any] = {"budget": 400, "regions": 4} if method == "shapley" else {}
    torch.manual_seed(11)
    np.random.seed(11)
    before, numpy_before = torch.random.get_rng_state(), numpy_state().copy()
    first = vx.explain(scenes_model, scene, method=method, **few)
    assert torch.equal(before, torch.random.get_rng_state())
    np.testing.assert_array_equal(numpy_before, numpy_state())
    torch.manual_seed(99)
    second = vx.explain(scenes_model, scene, method=method, **few)
    np.testing.assert_array_equal(first.image, second.image)
    assert first.words == second.words


def test_the_training_forward_equals_the_plain_call(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    inputs = scenes_model.processor(scene.image, scene.question, return_tensors="pt")
    pixels = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())[None]
    with torch.no_grad(), torch.random.fork_rng():
        theirs = scenes_model.module(**inputs).logits
        states = training.hidden_states(
            scenes_model.module, training.normalize(pixels), inputs["input_ids"], None
        )
        ours = training.logits(scenes_model.module, states[-1])
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_the_widest_layer_is_as_wide_as_measured(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    encoded = scenes_model.encode(scene)
    with torch.no_grad(), footprint(scenes_model.module) as found:
        scenes_model.scores(encoded, scenes_model.leaves(encoded))
    assert scenes_model.widest(encoded) == found.widest


def test_weights_keep_their_gradient_switch(scenes_model: ViltModel, scene: vx.Example) -> None:
    vx.explain(scenes_model, scene, method="saliency")
    assert all(p.requires_grad for p in scenes_model.module.parameters())


def test_a_question_that_is_too_long_is_refused_with_its_length(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    with pytest.raises(vx.InvalidInput, match=r"has 102 tokens and model 'scenes' takes 40"):
        vx.explain(scenes_model, scene.image, "what " * 100)


def test_a_thin_picture_is_refused(scenes_model: ViltModel) -> None:
    with pytest.raises(vx.InvalidInput, match="too long and thin"):
        vx.explain(scenes_model, np.zeros((2, 900, 3), np.uint8), "What color is the circle?")


def test_words_of_several_tokens_and_unicode_keep_their_spans(
    scenes_model: ViltModel, scene: vx.Example
) -> None:
    question = "¿What's the colour of naïve 🙂 circle?"
    why = vx.explain(scenes_model, scene.image, question, method="saliency")
    assert [question[w.start : w.end] for w in why.words] == [w.text for w in why.words]
    assert "What's" in [w.text for w in why.words]
    assert sum(w.value for w in why.words) == pytest.approx(
        sum(t.value for t in why.tokens if not t.special)
    )


@pytest.mark.parametrize("text", ["pad", "mask"])
@pytest.mark.parametrize("fill", ["blur", "mean", "constant", "inpaint", "drop"])
def test_coalitions_are_answered_as_transformers_does(
    scenes_model: ViltModel, scene: vx.Example, fill: str, text: str
) -> None:
    """Fused attention, the last layer's first token alone and chosen patches change nothing but
    the rounding.
    """
    model = scenes_model
    encoded = model.encode(scene)
    players = make_players(encoded)
    coalitions = torch.from_numpy(np.random.default_rng(0).random((6, len(players))) < 0.5)
    parts = players.present(coalitions)
    said = parts["question"].elements
    found = model.coalition_scores(
        encoded,
        parts,
        {"image": fill, "question": text},
        0,
    )
    with torch.no_grad():
        if fill == "drop":
            patches, seen = model._drop(encoded, parts["image"])
        else:
            patches = model._patches(fill_in(encoded.pixels, parts["image"].elements, fill, 0))
            seen = torch.ones(patches.shape[:2], dtype=torch.long)
        ids, heard = encoded.ids.expand(6, -1), said.long()
        if text == "mask":
            ids, heard = (
                ids.where(said, torch.tensor(model.processor.tokenizer.mask_token_id)),
                torch.ones_like(heard),
            )
        words = model.module.vilt.embeddings.text_embeddings.word_embeddings(ids)
        given = {
            "inputs_embeds": words,
            "attention_mask": heard,
            "image_embeds": patches,
            "pixel_mask": seen,
        }
        wanted = model.module(**given).logits
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
    assert (found[0] - found[1]).abs().max() > 1e-3
