"""Several pictures, chats and videos, against transformers called with the same messages."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from math import factorial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from chats import BODY, with_roles
from checkpoints import GENERATIVE
from more_checkpoints import MORE, made
from PIL import Image

import vqa_explain as vx
from vqa_explain.features.base import Present, undivided
from vqa_explain.game import Blocks, Game, make_players
from vqa_explain.models.network import method_replaced
from vqa_explain.target import Target

ANSWERS = ["yes", "red circle"]
QUESTION = "Which is older?"


def picture(height: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


WIDE, TALL = picture(60, 90, 1), picture(90, 40, 2)


@pytest.fixture(scope="module")
def chatting(folders: Callable[[str], Path]) -> Callable[[str], Any]:
    """Family → a model whose chat template knows roles."""
    loaded: dict[str, Any] = {}

    def model(family: str) -> Any:
        if family not in loaded:
            loaded[family] = with_roles(vx.load(folders(family), device="cpu"), family)
        return loaded[family]

    return model


def user(*contents: Any) -> dict[str, Any]:
    """A turn of the user's, of pictures and texts."""
    return {
        "role": "user",
        "content": [
            {"type": "text", "text": one}
            if isinstance(one, str)
            else {"type": "image", "image": Image.fromarray(one)}
            for one in contents
        ],
    }


CHAT = [
    {"role": "system", "content": "Answer in one word."},
    user(TALL, "What color is the circle?"),
    {"role": "assistant", "content": "red"},
    user(WIDE, "What color is the square?"),
]


def plain_inputs(processor: Any, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the processor's own apply_chat_template gives for the messages."""
    return dict(
        processor.apply_chat_template(
            messages,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )
    )


def plain_score(model: Any, inputs: Mapping[str, Any], answer: str, **more: Any) -> float:
    """Log-probability of the answer, by one plain call over the prompt and the answer."""
    ids = torch.tensor([model.processor.tokenizer(answer, add_special_tokens=False)["input_ids"]])
    tails = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": torch.zeros_like(ids),
        "token_type_ids": torch.ones_like(ids)
        if "PaliGemma" in type(model.module).__name__
        else torch.zeros_like(ids),
    }
    whole = dict(inputs)
    for name, tail in tails.items():
        if name in whole:
            whole[name] = torch.cat([whole[name], tail], dim=1)
    with torch.no_grad():
        logits = model.module.eval()(**whole, **more).logits
    start = inputs["input_ids"].shape[1]
    steps = logits[0, start - 1 : -1].log_softmax(-1).gather(1, ids[0][:, None])
    return float(steps.sum())


def our_scores(model: Any, example: vx.Example) -> np.ndarray:
    encoded = model.with_answers(model.encode(example), ANSWERS)
    with torch.no_grad():
        found: np.ndarray = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
    return found


def two_pictures() -> vx.Example:
    return vx.Example.of({"image 1": WIDE, "image 2": TALL, "question": QUESTION})


@pytest.mark.parametrize("family", [*GENERATIVE, *MORE])
def test_two_pictures_of_different_sizes_score_as_a_plain_call(
    models: Callable[[str], Any], family: str
) -> None:
    if family in MORE:
        module, processor = made(family)
        model: Any = vx.load(module, processor=processor, device="cpu")
    else:
        model = models(family)
    processor = model.processor
    if processor.chat_template:
        inputs = plain_inputs(processor, [user(WIDE, TALL, QUESTION)])
    else:
        both = [Image.fromarray(WIDE), Image.fromarray(TALL)]
        inputs = dict(
            processor(text=f"<image><image>{QUESTION}", images=[both], return_tensors="pt")
        )
        inputs.pop("labels")
    plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
    np.testing.assert_allclose(our_scores(model, two_pictures()), plain, atol=1e-5)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen2_5_vl", "idefics3"])
def test_a_chat_scores_as_a_plain_call_with_the_same_messages(
    chatting: Callable[[str], Any], family: str
) -> None:
    model = chatting(family)
    inputs = plain_inputs(model.processor, CHAT)
    plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
    np.testing.assert_allclose(our_scores(model, vx.Example(messages=CHAT)), plain, atol=1e-5)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_a_chat_may_show_a_picture_and_ask_in_its_system_prompt(
    chatting: Callable[[str], Any], family: str
) -> None:
    model = chatting(family)
    chat = [{"role": "system", "content": "Name the color."}, user(WIDE)]
    plain = [plain_score(model, plain_inputs(model.processor, chat), one) for one in ANSWERS]
    example = vx.Example(messages=chat)
    np.testing.assert_allclose(our_scores(model, example), plain, atol=1e-5)
    why = vx.explain(model, example, method="leave_one_out", answers=ANSWERS, regions=2)
    assert [part.fixed for part in why.parts] == [True, False]
    with pytest.raises(vx.InvalidInput, match="no message is a user's"):
        vx.Example(messages=chat[:1])


def test_a_division_of_what_a_chat_does_not_have_is_refused(
    chatting: Callable[[str], Any],
) -> None:
    chat = vx.Example(messages=[{"role": "user", "content": "Is it red?"}])
    asked: Any
    for asked in ({"regions": 2}, {"regions": {"image": 2}}, {"regions": {"image 1": 2}}):
        with pytest.raises(
            vx.InvalidInput, match="regions= divides pictures, and the example has none"
        ):
            vx.explain(chatting("llava"), chat, method="leave_one_out", answers=ANSWERS, **asked)


def test_the_question_is_what_the_user_asks_whatever_has_players(
    chatting: Callable[[str], Any],
) -> None:
    model, example = chatting("llava"), vx.Example(messages=CHAT)
    how: dict[str, Any] = {"method": "leave_one_out", "answers": ANSWERS, "regions": 1}
    for players in (None, ["system"], ["system", "image 1"], ["image 2"], ["question"]):
        why = vx.explain(model, example, players=players, **how)
        assert why.question == "What color is the square?"
        assert "What color is the square?" in why.heading


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "idefics3"])
def test_each_text_and_each_picture_has_its_own_tokens(
    chatting: Callable[[str], Any], family: str
) -> None:
    """Also where a text occurs in others, and in the template."""
    model = chatting(family)
    chat = [
        {"role": "system", "content": "USER: red"},
        user(TALL, WIDE, "red"),
        {"role": "assistant", "content": "red"},
        user("red", WIDE, "USER: red"),
    ]
    encoded = model.encode(vx.Example(messages=chat))
    assert [one.name for one in encoded.inputs] == [
        "system", "image 1", "image 2", "user 1", "assistant 1", "question 1", "image 3",
        "question 2",
    ]  # fmt: skip
    ids = encoded.state.inputs["input_ids"][0]
    tokenizer = model.processor.tokenizer
    texts = {"system": "USER: red", "user 1": "red", "assistant 1": "red", "question 1": "red",
             "question 2": "USER: red"}  # fmt: skip
    before = -1
    for one in encoded.inputs:
        where = encoded.state.prompt.places[one.name]
        if one.name not in texts:
            assert set(ids[where].tolist()) == {tokenizer.convert_tokens_to_ids(
                "<|image_pad|>" if family == "qwen2_vl" else "<image>")}  # fmt: skip
            assert where.min() > before
            before = where.max()
            continue
        own = [where[i] for i, token in enumerate(one.content.tokens) if token.word >= 0]
        assert tokenizer.decode(ids[own]).strip() == texts[one.name]
        assert min(own) > before
        before = max(own)
    everywhere = np.concatenate(list(encoded.state.prompt.places.values()))
    assert sorted(everywhere) == list(range(len(ids)))


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "qwen2_5_vl", "idefics3"])
def test_a_changed_picture_changes_its_own_tokens_alone(
    chatting: Callable[[str], Any], family: str
) -> None:
    """Of what the decoder receives in a plain call."""
    model = chatting(family)
    pictures = {"image 1": TALL, "image 2": WIDE}
    encoded = model.encode(vx.Example(messages=CHAT))

    def received(shown: Mapping[str, np.ndarray]) -> torch.Tensor:
        messages = [CHAT[0], user(shown["image 1"], "What color is the circle?"), CHAT[2],
                    user(shown["image 2"], "What color is the square?")]  # fmt: skip
        caught: list[torch.Tensor] = []
        handle = model.module.get_decoder().register_forward_pre_hook(
            lambda _m, _args, given: caught.append(given["inputs_embeds"]), with_kwargs=True
        )
        try:
            with torch.no_grad():
                model.module.eval()(**plain_inputs(model.processor, messages))
        finally:
            handle.remove()
        return caught[0][0]

    plain = received(pictures)
    for name, own in pictures.items():
        other = received({**pictures, name: 255 - own})
        moved = np.flatnonzero((other - plain).abs().amax(dim=1) > 1e-6)
        np.testing.assert_array_equal(moved, encoded.state.prompt.places[name])


def shapley_of(value: Callable[[frozenset[int]], float], count: int) -> np.ndarray:
    """By the definition, over all coalitions."""
    known = {
        frozenset(some): value(frozenset(some))
        for size in range(count + 1)
        for some in combinations(range(count), size)
    }
    found = np.zeros(count)
    for coalition, score in known.items():
        size = len(coalition)
        for player in range(count):
            if player in coalition:
                found[player] += factorial(size - 1) * factorial(count - size) * score
            else:
                found[player] -= factorial(size) * factorial(count - size - 1) * score
    return found / factorial(count)


WORDS = ("Which is", "older?")


def test_shapley_values_over_two_pictures_and_a_question_are_the_sum_over_all_coalitions(
    chatting: Callable[[str], Any],
) -> None:
    """LLaVA: halves of frames set to zero, words hidden by the mask, in plain calls."""
    model = chatting("llava")
    inputs = plain_inputs(model.processor, [user(WIDE, TALL, QUESTION)])
    spelled = [model.processor.tokenizer.decode([i]) for i in inputs["input_ids"][0].tolist()]
    text = "".join(spelled)
    starts = np.cumsum([0, *map(len, spelled)])
    spans = []
    for word in WORDS:
        at = text.rindex(word)
        spans.append(
            [i for i, s in enumerate(starts[:-1]) if s < at + len(word) and starts[i + 1] > at]
        )

    def value(present: frozenset[int]) -> float:
        changed = {**inputs, "pixel_values": inputs["pixel_values"].clone(),
                   "attention_mask": inputs["attention_mask"].clone()}  # fmt: skip
        pixels = changed["pixel_values"]
        halves = [pixels[0, :, :, :16], pixels[0, :, :, 16:], pixels[1, :, :16], pixels[1, :, 16:]]
        for player in set(range(4)) - present:
            halves[player].zero_()
        for word, span in enumerate(spans):
            if 4 + word not in present:
                changed["attention_mask"][0, span] = 0
        return plain_score(model, changed, "yes")

    expected = shapley_of(value, 6)
    why = vx.explain(model, two_pictures(), method="shapley", answers=ANSWERS, target="yes",
                     regions={"image 1": (1, 2), "image 2": (2, 1)}, words="ngrams:2", budget=64,
                     image_fill="constant")  # fmt: skip
    assert why.error_kind == "exact"
    found = np.concatenate([part.values for part in why.parts])
    assert [word.text for word in why.words] == list(WORDS)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert set(why.share) == {"image 1", "image 2", "question"}


def test_shapley_values_over_two_pictures_of_patches_are_the_sum_over_all_coalitions(
    chatting: Callable[[str], Any],
) -> None:
    """Qwen: the top and bottom of a picture are the first and the last of its rows of patches."""
    model = chatting("qwen2_vl")
    inputs = plain_inputs(model.processor, [user(WIDE, TALL, QUESTION)])
    rows = inputs["image_grid_thw"].prod(dim=1).tolist()
    sides = [(int(g[1]) // 2, int(g[2])) for g in inputs["image_grid_thw"]]
    spans, start = [], 0
    for count, (blocks, columns) in zip(rows, sides, strict=True):
        top = start + (blocks // 2) * 2 * columns
        spans += [slice(start, top), slice(top, start + count)]
        start += count

    def value(present: frozenset[int]) -> float:
        pixels = inputs["pixel_values"].clone()
        for player in set(range(4)) - present:
            pixels[spans[player]] = 0
        return plain_score(model, {**inputs, "pixel_values": pixels}, "red circle")

    expected = shapley_of(value, 4)
    frames = model.encode(two_pictures())
    regions = {}
    for name, (blocks, _) in zip(("image 1", "image 2"), sides, strict=True):
        # Rows of the picture that the top blocks, of 28 pixels, are resized from.
        height, width = frames[name].content.original.shape[:2]
        share = (blocks // 2) * 28 / frames[name].shape[0]
        is_below = np.arange(height) >= share * height
        regions[name] = np.broadcast_to(is_below[:, None], (height, width)).astype(int)
    why = vx.explain(model, two_pictures(), method="shapley", answers=ANSWERS, target="red circle",
                     regions=regions, budget=16, players="image", fills={"image": "constant"})  # fmt: skip
    found = np.concatenate([why.parts[0].values, why.parts[1].values])
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert why.parts[2].fixed
    assert why.parts[2].values == []


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "llava_onevision", "deepseek_vl_hybrid"])
def test_mixed_coalitions_are_as_if_each_were_computed_alone(
    models: Callable[[str], Any], family: str
) -> None:
    """Pictures go through the encoder apart, and their tokens are put together."""
    if family in MORE:
        module, processor = made(family)
        model: Any = vx.load(module, processor=processor, device="cpu")
    else:
        model = models(family)
    encoded = model.with_answers(model.encode(two_pictures()), ANSWERS)
    divisions = {one.name: one.divide(2 if one.kind == "image" else None) for one in encoded.inputs}
    rng = np.random.default_rng(0)
    present = {
        name: Present(division, torch.from_numpy(rng.random((7, division.count)) < 0.5))
        for name, division in divisions.items()
    }
    fills = {"image 1": "blur", "image 2": "mean", "question": "pad"}
    together = model.coalition_scores(encoded, present, fills, 0)
    for row in range(7):
        one = {n: Present(p.division, p.players[row : row + 1]) for n, p in present.items()}
        alone = model.coalition_scores(encoded, one, fills, 0)
        np.testing.assert_allclose(together[row], alone[0], atol=2e-5)


def test_each_state_of_each_picture_goes_through_the_encoder_once(
    models: Callable[[str], Any],
) -> None:
    model = models("llava")
    encoded = model.with_answers(model.encode(two_pictures()), ANSWERS)
    model._encodes_apart(encoded)  # measured once
    halves = encoded["image 1"].divide((1, 2))
    states = torch.tensor([[1, 1], [0, 1], [1, 0]] * 4).bool()
    question = encoded["question"]
    present = {
        "image 1": Present(halves, states),
        "image 2": Present(undivided(encoded["image 2"].shape), torch.ones(12, 0).bool()),
        "question": Present(undivided(question.shape), torch.ones(12, 0).bool()),
    }
    seen: list[int] = []
    handle = model.module.model.vision_tower.register_forward_hook(
        lambda _m, _i, out: seen.append(len(out[0]))
    )
    try:
        fills = {"image 1": "blur", "image 2": "blur", "question": "pad"}
        model.coalition_scores(encoded, present, fills, 0)
    finally:
        handle.remove()
    assert sum(seen) == 3 + 1


def test_encoders_that_mix_pictures_are_given_all_of_them(
    models: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = models("llava")
    encoded = model.with_answers(model.encode(two_pictures()), ANSWERS)
    tower = model.module.model.vision_tower
    forward = tower.forward

    def mixed(pixels: torch.Tensor, *args: Any, **given: Any) -> Any:
        # Each pair of pictures sees the mean of both.
        pairs = pixels.unflatten(0, (-1, 2)) if len(pixels) % 2 == 0 else pixels[:, None]
        pixels = (0.8 * pairs + 0.2 * pairs.mean(dim=1, keepdim=True)).flatten(0, 1)
        return forward(pixels, *args, **given)

    known = dict(model._apart)
    model._apart.clear()
    try:
        with method_replaced(tower, "forward", mixed):
            assert not model._encodes_apart(encoded)
    finally:
        model._apart.clear()
        model._apart.update(known)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_gaps_of_integrated_gradients_are_small(
    chatting: Callable[[str], Any], family: str
) -> None:
    why = vx.explain(chatting(family), two_pictures(), method="integrated_gradients", steps=64,
                     answers=ANSWERS, target="yes")  # fmt: skip
    total = sum(np.abs(part.values).sum() for part in why.parts)
    assert why.error is not None
    assert why.error < 0.02 * total
    assert all(np.any(part.values) for part in why.parts)


@pytest.mark.parametrize(
    ("method", "cost"),
    [
        ("saliency", {}),
        ("attention", {}),
        ("attention_rollout", {}),
        ("relevance", {}),
        ("attn_lrp", {}),
        ("grad_cam", {}),
        ("smoothgrad", {"samples": 2}),
        ("occlusion", {"window": 16}),
        ("lime", {"budget": 100, "regions": 2}),
        ("rise", {"budget": 200, "regions": 2}),
        ("owen", {"budget": 300, "regions": 2}),
        ("interactions", {"budget": 300, "regions": 2}),
    ],
)
def test_methods_value_every_input(
    chatting: Callable[[str], Any], method: str, cost: dict[str, Any]
) -> None:
    asked: dict[str, Any] = {"answers": ANSWERS, "target": "yes", **cost}
    why = vx.explain(chatting("llava"), two_pictures(), method=method, **asked)
    assert all(np.any(part.values) for part in why.parts)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl"])
def test_patches_of_one_picture_can_leave_the_sequence(
    chatting: Callable[[str], Any], family: str
) -> None:
    """Against a plain mask over the same tokens."""
    model = chatting(family)
    encoded = model.with_answers(model.encode(two_pictures()), ["yes"])
    division = encoded["image 2"].divide(None)
    kept = torch.from_numpy(np.random.default_rng(0).random((1, division.count)) < 0.5)
    present = {
        one.name: Present(undivided(one.shape), torch.ones(1, 0).bool()) for one in encoded.inputs
    }
    present["image 2"] = Present(division, kept)
    fills = {"image 1": "blur", "image 2": "drop", "question": "pad"}
    ours = model.coalition_scores(encoded, present, fills, 0)
    inputs = plain_inputs(model.processor, [user(WIDE, TALL, QUESTION)])
    more: dict[str, Any] = {}
    if family == "qwen2_vl":  # which counts positions from the mask: give those of the whole
        ids = torch.tensor(
            [model.processor.tokenizer("yes", add_special_tokens=False)["input_ids"]]
        )
        more["position_ids"], _ = model.module.model.get_rope_index(
            torch.cat([inputs["input_ids"], ids], dim=1),
            mm_token_type_ids=torch.cat(
                [inputs["mm_token_type_ids"], torch.zeros_like(ids)], dim=1
            ),
            image_grid_thw=inputs["image_grid_thw"],
        )
    mark = "<|image_pad|>" if family == "qwen2_vl" else "<image>"
    number = model.processor.tokenizer.convert_tokens_to_ids(mark)
    second = np.flatnonzero(inputs["input_ids"][0] == number)[-division.count :]
    inputs["attention_mask"][0, second] = kept[0].long()
    assert float(ours[0, 0]) == pytest.approx(plain_score(model, inputs, "yes", **more), abs=1e-5)


def test_a_chat_explains_its_last_turn_and_says_what_is_fixed(
    chatting: Callable[[str], Any],
) -> None:
    model, example = chatting("llava"), vx.Example(messages=CHAT)
    parts: dict[str, Any] = {"method": "shapley", "regions": 1, "budget": 300, "answers": ANSWERS}
    why = vx.explain(model, example, **parts)
    fixed = [part.name for part in why.parts if part.fixed]
    assert fixed == ["system", "image 1", "user 1", "assistant 1"]
    assert all(part.values == [] for part in why.parts if part.fixed)
    assert any("system, image 1, user 1, assistant 1" in note for note in why.notes)
    assert set(why.share) == {"image 2", "question"}
    other = vx.explain(model, example, players=["system", "image 1"], **parts)
    assert [part.name for part in other.parts if not part.fixed] == ["system", "image 1"]
    assert [word.text for word in other.parts[0].players] == ["Answer", "in", "one", "word", "."]


def test_a_texts_hidden_word_is_hidden_by_the_mask(chatting: Callable[[str], Any]) -> None:
    """A word of the system prompt that another text has too."""
    model = chatting("llava")
    chat = [{"role": "system", "content": "the circle"}, user(WIDE, "Is the circle red?")]
    example = vx.Example(messages=chat)
    why = vx.explain(model, example, method="leave_one_out", players="system", answers=["yes"])
    inputs = plain_inputs(model.processor, chat)
    whole = plain_score(model, inputs, "yes")
    ids = inputs["input_ids"][0].tolist()
    pieces = model.processor.tokenizer.convert_ids_to_tokens(ids)
    system = [model.processor.tokenizer.decode([i]) for i in ids]
    text, first = "".join(system), "".join(system).index("circle")
    assert text.index("circle") < text.rindex("circle")
    starts = np.cumsum([0, *map(len, system)])
    hidden = [i for i in range(len(pieces)) if starts[i] < first + 6 and starts[i + 1] > first]
    inputs["attention_mask"][0, hidden] = 0
    assert why.parts[0].players[1].value == pytest.approx(
        whole - plain_score(model, inputs, "yes"), abs=1e-5
    )


def test_generate_writes_what_transformers_writes(chatting: Callable[[str], Any]) -> None:
    model = chatting("llava")
    encoded = model.encode(vx.Example(messages=CHAT))
    inputs = plain_inputs(model.processor, CHAT)
    with torch.no_grad():
        ids = model.module.generate(**inputs, max_new_tokens=12, do_sample=False)
    written = model.processor.tokenizer.decode(
        ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True
    )
    assert model.generate(encoded) == (written.strip(),)


def test_a_chat_without_pictures_is_explained_too(chatting: Callable[[str], Any]) -> None:
    model, chat = chatting("llava"), [{"role": "user", "content": "Is the circle red?"}]
    inputs = plain_inputs(model.processor, chat)
    plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
    np.testing.assert_allclose(our_scores(model, vx.Example(messages=chat)), plain, atol=1e-5)
    why = vx.explain(model, vx.Example(messages=chat), method="shapley", answers=ANSWERS, budget=64)
    assert [part.name for part in why.parts] == ["question"]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        ({"image": WIDE, "patient": {"age": 3}, "question": QUESTION}, "'patient' is none of them"),
        ({"image 1": WIDE, "question": TALL}, "the example has none; give a question"),
        ({"a": WIDE, "b": TALL, "question": "What is <image> here?"}, "takes for a command"),
        ({"video": [WIDE, TALL], "question": QUESTION}, "2 sizes"),
        ({"video": [WIDE, WIDE], "question": QUESTION}, "takes no videos"),
        ({"image 1": WIDE, "image 2": TALL, "question": "?"}, "no words"),
        ({"a": WIDE, "note": "!!!", "question": QUESTION}, "the text 'note'"),
    ],
)  # fmt: skip
def test_bad_inputs_are_refused_in_one_sentence(
    chatting: Callable[[str], Any], example: dict[str, Any], message: str
) -> None:
    with pytest.raises(vx.VQAExplainError, match=message) as caught:
        chatting("llava").encode(vx.Example.of(example))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% set messages = messages[1:] %}" + BODY, "changes the text 'system' or leaves it out"),
        (BODY.replace("{{ c['text'] }}", "{{ c['text'] | upper }}"), "changes the text 'user 1'"),
        (BODY.replace("IMAGE", "<image>") + "{{ messages[0]['content'] }}", "'system' 2 times"),
        (
            "{% if messages[0]['role'] == 'system' %}"
            "{{ raise_exception('no system role') }}{% endif %}",
            "refuses these messages: no system role",
        ),
        (BODY.replace("IMAGE", ""), "cannot be told which|fails on this example"),
    ],
)
def test_templates_that_lose_an_input_are_refused(
    folders: Callable[[str], Path], template: str, message: str
) -> None:
    model: Any = vx.load(folders("llava"), device="cpu")
    model.processor.chat_template = template.replace("IMAGE", "<image>")
    with pytest.raises(vx.VQAExplainError, match=message):
        model.encode(vx.Example(messages=CHAT))


def test_a_processor_that_takes_one_picture_refuses_two(folders: Callable[[str], Path]) -> None:
    model: Any = vx.load(folders("llava"), device="cpu")
    processor = model.processor.image_processor
    call = type(processor).preprocess

    def first_only(images: Any, *args: Any, **given: Any) -> Any:
        found = call(processor, images, *args, **given)
        found["pixel_values"] = found["pixel_values"][:1].repeat(
            len(found["pixel_values"]), 1, 1, 1
        )
        return found

    with (
        method_replaced(processor, "preprocess", first_only),
        pytest.raises(vx.InvalidInput, match="leaves out 'image 2'; give fewer pictures"),
    ):
        model.encode(two_pictures())


def test_a_processor_without_a_template_takes_no_chat(models: Callable[[str], Any]) -> None:
    with pytest.raises(vx.InvalidInput, match="no chat template"):
        models("paligemma").encode(vx.Example(messages=CHAT))


def test_more_pictures_than_the_sequence_holds_are_refused(folders: Callable[[str], Path]) -> None:
    model: Any = vx.load(folders("llava"), device="cpu")
    model.module.config.get_text_config().max_position_embeddings = 40  # two pictures have 32
    with pytest.raises(vx.InvalidInput, match=r"tokens and model .* takes 40; .* fewer"):
        model.encode(two_pictures())


# Videos.


def video(frames: int) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (frames, 60, 90, 3), dtype=np.uint8)


def plain_video(model: Any, frames: np.ndarray) -> dict[str, Any]:
    message = {"role": "user", "content": [{"type": "video"}, {"type": "text", "text": QUESTION}]}
    text = model.processor.apply_chat_template(
        [message], add_generation_prompt=True, tokenize=False
    )
    return dict(model.processor(text=text, videos=[frames], return_tensors="pt"))


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl", "llava_onevision", "smolvlm"])
@pytest.mark.parametrize("count", [1, 3, 4])
def test_a_video_scores_as_a_plain_call(
    chatting: Callable[[str], Any], family: str, count: int
) -> None:
    model, frames = chatting(family), video(count)
    inputs = plain_video(model, frames)
    plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
    for given in (frames, list(frames)):
        example = vx.Example.of({"video": given, "question": QUESTION})
        np.testing.assert_allclose(our_scores(model, example), plain, atol=1e-5)
    encoded = model.encode(example)
    names = [f"video frame {number + 1}" for number in range(count)]
    assert [one.name for one in encoded.inputs] == [*names, "question"]
    assert {one.group for one in encoded.inputs[:-1]} == {"video"}


@pytest.mark.parametrize("family", ["qwen2_vl", "llava_onevision", "smolvlm"])
def test_a_changed_frame_of_a_video_scores_as_the_changed_video(
    chatting: Callable[[str], Any], family: str
) -> None:
    """The last of three too, which Qwen's processor repeats."""
    model, frames = chatting(family), video(3)
    encoded = model.with_answers(
        model.encode(vx.Example.of({"video": frames, "question": QUESTION})), ANSWERS
    )
    for number in range(3):
        changed = frames.copy()
        changed[number] = 255 - changed[number]
        other = model.encode(vx.Example.of({"video": changed, "question": QUESTION}))
        name = f"video frame {number + 1}"
        leaves = {**model.leaves(encoded), name: model.leaves(other)[name]}
        with torch.no_grad():
            ours = model.scores(encoded, leaves)[0].double().numpy()
        inputs = plain_video(model, changed)
        plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
        np.testing.assert_allclose(ours, plain, atol=1e-5)


def test_a_fill_of_ones_own_changes_the_frames_of_a_video(chatting: Callable[[str], Any]) -> None:
    model, frames = chatting("llava_onevision"), video(3)
    encoded = model.encode(vx.Example.of({"video": frames, "question": QUESTION}))
    encoded = model.with_answers(encoded, ANSWERS)
    players = make_players(encoded, {"image": 1})
    negative = vx.Fill(lambda picture, absent, seed: 255 - picture, name="negative")
    fills = {one.name: negative if one.group else "pad" for one in encoded.inputs}
    present = np.ones((1, len(players)), dtype=bool)
    present[0, [0, 2]] = False
    ours = Game(model, encoded, players, fills, Target(0)).logits(torch.from_numpy(present))
    changed = frames.copy()
    changed[[0, 2]] = 255 - changed[[0, 2]]
    inputs = plain_video(model, changed)
    plain = [plain_score(model, inputs, answer) for answer in ANSWERS]
    np.testing.assert_allclose(ours[0].double().numpy(), plain, atol=1e-5)


def test_players_span_the_frames_of_a_video(chatting: Callable[[str], Any]) -> None:
    """Two frames share each patch of Qwen's, whose top block row is then one player."""
    model, frames = chatting("qwen2_vl"), video(4)
    example = vx.Example.of({"video": frames, "question": QUESTION})
    why = vx.explain(model, example, method="shapley", regions=Blocks(frames=2, regions=1),
                     players=["video"], answers=ANSWERS, target="yes", image_fill="constant",
                     budget=4)  # fmt: skip
    inputs = plain_video(model, frames)
    rows = len(inputs["pixel_values_videos"]) // 2

    def value(present: frozenset[int]) -> float:
        pixels = inputs["pixel_values_videos"].clone()
        for block in {0, 1} - present:
            pixels[block * rows : (block + 1) * rows] = 0
        return plain_score(model, {**inputs, "pixel_values_videos": pixels}, "yes")

    expected = shapley_of(value, 2)
    found = [float(np.sum(part.values)) for part in why.parts[:4]]
    np.testing.assert_allclose([found[0] + found[1], found[2] + found[3]], expected, atol=1e-5)
    assert why.parts[4].fixed


def test_frames_that_share_tokens_have_no_attention(chatting: Callable[[str], Any]) -> None:
    example = vx.Example.of({"video": video(4), "question": QUESTION})
    with pytest.raises(vx.Unsupported, match="no place of their own"):
        vx.explain(chatting("qwen2_vl"), example, method="attention_rollout", answers=ANSWERS)


def test_a_replaced_method_comes_back_whatever_happens() -> None:
    class Owner:
        def name(self) -> str:
            return "own"

    def stop() -> str:
        raise ZeroDivisionError

    owner = Owner()
    with method_replaced(owner, "name", lambda: "other"):
        assert owner.name() == "other"
    assert owner.name() == "own"
    with pytest.raises(ZeroDivisionError), method_replaced(owner, "name", stop):
        owner.name()
    assert owner.name() == "own"
    assert not vars(owner)
