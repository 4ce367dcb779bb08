"""Answers that are sentences: words, their scores, and their explanations."""

import csv
import dataclasses
from collections.abc import Callable
from functools import cache, partial
from itertools import combinations, product
from math import factorial
from pathlib import Path
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
import transformers
from architectures.base import ARCHITECTURES, plain_steps
from architectures.trying import PICTURE, example_of, loaded, network
from chats import with_roles
from checkpoints import tokenizer
from single_tokens import word_score

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart
from vqa_explain.features.words import split_words
from vqa_explain.game import Game, make_players
from vqa_explain.models.base import check_fills
from vqa_explain.models.candidates import Candidates
from vqa_explain.models.sentences import words_of

SENTENCE = "red circle, and a dog's 3.5 T-shirt."
# One decoder that runs alone, one network that runs as a whole, and an encoder with a decoder.
NAMES = ["qwen3_vl", "paligemma", "florence2"]

# Sentences, and their words where each token is in one word.
TEXTS = {
    "marks": ("a red circle, left of it.", ["a", "red", "circle", ",", "left", "of", "it", "."]),
    "numbers": ("3.5 of 1,000 T-shirts", ["3.5", "of", "1,000", "T-shirts"]),
    "apostrophes": ("it's the dog's", ["it's", "the", "dog's"]),
    "blanks": ("  red   circle \n", ["red", "circle"]),
    "chinese": ("它是红色的圆圈。", None),
    "japanese": ("これは赤い丸です", None),
    "russian": ("красный круг", ["красный", "круг"]),
    "devanagari": ("लाल वृत्त", ["लाल", "वृत्त"]),
    "emoji": ("two 🍎🍏 and 👩‍🚀", None),
    "one word": ("cyan", ["cyan"]),
    "a mark alone": ("?", ["?"]),
}


def byte_level() -> Any:
    return tokenizer(["<pad>"])


def metaspace() -> Any:
    """A tokenizer that marks blanks, and falls back on bytes, as those of sentencepiece do."""
    from tokenizers import Tokenizer, decoders, models, normalizers

    letters = {chr(code) for code in range(33, 127)}
    pieces = ["<unk>", "<pad>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *sorted(letters)]
    pieces += ["▁r", "▁re", "▁red", "ir", "cir", "c▁", "▁a"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    merges = [("▁", "r"), ("▁r", "e"), ("▁re", "d"), ("i", "r"), ("c", "ir"), ("▁", "a")]
    inner = Tokenizer(models.BPE(vocabulary, merges, byte_fallback=True, unk_token="<unk>"))
    inner.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return transformers.PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="<pad>")


TOKENIZERS: dict[str, Callable[[], Any]] = {"bytes": byte_level, "metaspace": metaspace}


def candidates(words: Any, text: str) -> Candidates:
    return Candidates.of([text], words, None, "sum", {})


@pytest.mark.parametrize("made", TOKENIZERS)
@pytest.mark.parametrize("case", TEXTS)
def test_every_token_is_in_one_word(made: str, case: str) -> None:
    words = TOKENIZERS[made]()
    text, expected = TEXTS[case]
    found = words_of(candidates(words, text), 0, words)
    *spans, whole = found.spans or ()
    count = len(found.ids[0])
    assert whole == (0, count)
    assert found.texts[-1] == text
    covered = [number for first, behind in spans for number in range(first, behind)]
    assert covered == list(range(count))
    assert list(found.texts[:-1]) == (expected or [one.text for one in split_words(text)])
    for word, (first, behind) in zip(found.texts, spans, strict=False):
        assert words.decode(found.ids[0][first:behind]).strip() == word


def test_words_that_share_a_token_are_one() -> None:
    from tokenizers import Tokenizer, decoders, models

    pieces = ["<unk>", "red", " ", "circle of", " it"]
    inner = Tokenizer(models.WordLevel(dict(zip(pieces, range(5), strict=True)), unk_token="<unk>"))
    inner.decoder = decoders.Fuse()
    words = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    text = "red circle of it"
    given = Candidates.of([text], words, None, "sum", {text: (1, 2, 3, 4)})
    found = words_of(given, 0, words)
    assert found.texts[:-1] == ("red", "circle of", "it")
    assert found.spans == ((0, 1), (1, 3), (3, 4), (0, 4))


@pytest.mark.parametrize(
    ("text", "words", "tokens"),
    [
        ("red 🍎🍏 circle", ["red", "🍎🍏", "circle"], [1, 1, 1]),
        ("красный круг red", ["красный", "круг", "red"], [1, 1, 1]),
        ("red it's it", ["red", "it's", "it"], [1, 3, 1]),
        ("  red…\nit ", ["red", "…", "it"], [1, 1, 1]),
        ("它 red", ["它", "red"], [1, 1]),
    ],
)
def test_a_word_that_the_tokenizer_does_not_know_keeps_its_text(
    text: str, words: list[str], tokens: list[int]
) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = ["<unk>", "red", "it", "circle", "s"]
    inner = Tokenizer(models.WordLevel(dict(zip(pieces, range(5), strict=True)), unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    made = transformers.PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
    found = words_of(candidates(made, text), 0, made)
    assert list(found.texts[:-1]) == words
    assert [behind - first for first, behind in (found.spans or ())[:-1]] == tokens


def test_a_sentence_that_ends_within_a_character() -> None:
    words = byte_level()
    red = len(words("red", add_special_tokens=False)["input_ids"])
    whole = tuple(words("red 🍎", add_special_tokens=False)["input_ids"])
    for count in range(red + 1, len(whole) + 1):
        text = words.decode(whole[:count])
        cut = Candidates.of([text], words, None, "sum", {text: whole[:count]})
        found = words_of(cut, 0, words)
        assert found.texts[0] == "red"
        first, *rest = (found.spans or ())[:-1]
        assert first == (0, red) or not rest  # a blank alone belongs to the last word


@pytest.mark.parametrize("name", NAMES)
def test_words_score_as_plain_transformers_says(name: str) -> None:
    one, (module, processor), model = ARCHITECTURES[name], network(name), loaded(name)
    encoded = model.with_answers(model.encode(example_of(model)), ["yes", SENTENCE])
    words = model.as_words(encoded, 1)
    with torch.no_grad():
        ours = model.scores(words, model.leaves(words))[0].double().numpy()
        inputs = one.inputs(processor, PICTURE)
        steps = plain_steps(one, module, processor, inputs, SENTENCE).double().numpy()
    wanted = [steps[first:behind].sum() for first, behind in words.candidates.spans]
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-5 * np.abs(steps).sum())


@pytest.mark.parametrize("name", NAMES)
def test_words_are_differences_of_answers_that_are_cut(name: str) -> None:
    """Shapley values of a word, by a sum over all coalitions of log p(up to it) less log p(before
    it).
    """
    model = loaded(name)
    why = vx.explain(
        model,
        example_of(model),
        method="shapley",
        estimator="exact",
        budget=2**9,
        target="sentence",
        answers=["red circle, a dog"],
        regions=1,
    )
    encoded = model.encode(example_of(model))
    assert why.written is not None
    ids = why.written.tokens["red circle, a dog"]
    spans = model.as_words(model.with_answers(encoded, ["red circle, a dog"]), 0).candidates.spans
    ends = [0, *(behind for _, behind in spans[:-1])]
    cut = {f"up to {end}": ids[:end] for end in ends[1:]}
    encoded = model.with_answers(encoded, list(cut), None, cut)
    players = make_players(encoded, {"image": 1})
    game = Game(model, encoded, players, check_fills(model, {}, encoded.features), ())
    count = len(players)
    present = (np.arange(2**count)[:, None] >> np.arange(count)) & 1 > 0
    with torch.no_grad():
        found = [
            game.logits(torch.from_numpy(some)) for some in np.array_split(present, 2**count // 16)
        ]
    until = torch.cat(found).double().numpy()
    logs = np.diff(np.concatenate([np.zeros((2**count, 1)), until], axis=1), axis=1)
    for player in range(count):
        wanted = np.zeros(logs.shape[1])
        others = [one for one in range(count) if one != player]
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for some in combinations(others, size):
                number = sum(2**one for one in some)
                wanted += weight * (logs[number + 2**player] - logs[number])
        np.testing.assert_allclose(why.matrix.values[:, player], wanted, rtol=0, atol=2e-4)


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        ("shapley", {"budget": "8n", "regions": 2}),
        ("owen", {"budget": "40n", "regions": 2}),
        ("leave_one_out", {"regions": 2}),
        ("occlusion", {"regions": 2}),
        ("input_x_gradient", {}),
        ("integrated_gradients", {"steps": 3}),
        ("attn_lrp", {}),
    ],
)
@pytest.mark.parametrize("name", ["qwen3_vl"])
def test_rows_add_up_to_the_sentence(name: str, method: str, parameters: dict[str, Any]) -> None:
    model = loaded(name)
    asked: dict[str, Any] = {"method": method, "answers": [SENTENCE], **parameters}
    why = vx.explain(model, example_of(model), target="sentence", **asked)
    whole = np.concatenate([part.values for part in why.parts])
    size = np.abs(why.matrix.values).sum()
    np.testing.assert_allclose(why.matrix.values.sum(axis=0), whole, rtol=0, atol=1e-6 * size)
    for part in why.parts:
        rows = [row[part.name] for row in why.outputs]
        if isinstance(part, PicturePart):
            pixels = sum(row.image for row in rows)
            np.testing.assert_allclose(pixels, part.image, rtol=0, atol=1e-6 * size)
    # The answer as a whole has the same values, asked for by itself.
    plain = vx.explain(model, example_of(model), target=SENTENCE, **asked)
    by_itself = np.concatenate([part.values for part in plain.parts])
    errors = np.concatenate([[one.error or 0.0 for one in part.players] for part in plain.parts])
    assert np.all(np.abs(by_itself - whole) <= 1e-5 * size + 4 * errors)


@pytest.mark.parametrize("method", ["saliency", "relevance", "attention", "grad_cam"])
def test_each_token_has_the_values_of_target_token(method: str) -> None:
    """Of a word of one token, by methods whose values do not add up."""
    model = loaded("qwen3_vl")
    asked: dict[str, Any] = {"method": method, "answers": [SENTENCE]}
    why = vx.explain(model, example_of(model), target="sentence", **asked)
    encoded = model.with_answers(model.encode(example_of(model)), [SENTENCE])
    spans = model.as_words(encoded, 0).candidates.spans
    single = [number for number, (first, behind) in enumerate(spans) if behind == first + 1]
    assert single, "some word has one token"
    for number in single:
        one = vx.explain(model, example_of(model), target_token=spans[number][0], **asked)
        for mine, wanted in zip(why.outputs[number].parts, one.parts, strict=True):
            np.testing.assert_allclose(mine.values, wanted.values, rtol=1e-3, atol=1e-6)


def passes_of(module: Any, call: Callable[[], Any]) -> int:
    """How many examples run through the decoder's first layer, times the answers behind them."""
    rows = 0

    def count(_layer: Any, args: Any, kwargs: Any) -> None:
        nonlocal rows
        states = args[0] if args else kwargs["hidden_states"]
        rows += states.shape[0] * states.shape[1]

    layer = module.model.language_model.layers[0]
    hook = layer.register_forward_pre_hook(count, with_kwargs=True)
    try:
        call()
    finally:
        hook.remove()
    return rows


def test_a_coalition_scores_all_words_at_the_price_of_one_target() -> None:
    model = loaded("qwen3_vl")
    example = example_of(model)
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 3}
    why = vx.explain(model, example, **asked)  # whose answer is long enough to tell its words
    assert len(why.outputs) > 3
    words = passes_of(model.module, lambda: vx.explain(model, example, **asked))
    whole = passes_of(model.module, lambda: vx.explain(model, example, target=why.target, **asked))
    assert words <= 1.05 * whole
    assert why.cost.forwards == len(why.matrix.parts) + 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "parameters", "times", "room"),
    [
        ("occlusion", {"window": 24, "stride": 24}, 1, 0),
        ("rise", {"masks": "smooth", "budget": 124}, 1, 0),
        ("integrated_gradients", {"steps": 8, "image_baseline": "mean"}, 2, 2**28),
        ("integrated_gradients", {"steps": 8}, 20, 0),
        ("integrated_gradients", {"steps": 15, "tolerance": 0.5}, 2, 2**28),
        ("gradient_shap", {"samples": 8}, 2, 2**28),
    ],
)
def test_words_share_the_passes_of_methods_without_a_game(
    method: str,
    parameters: dict[str, Any],
    times: int,
    room: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Scores always, and gradients of ten words at once as far as there is room; values are those
    of one token alone.
    """
    monkeypatch.setattr("vqa_explain.methods.shared.KEPT_BYTES", room)
    model = loaded("qwen3_vl")
    text = "red circle, a dog, two cups, a cat"  # of at most 19 words, which are two groups
    asked: dict[str, Any] = {"method": method, "answers": [text], **parameters}
    found: list[vx.Explanation] = []

    def rows(**how: Any) -> int:
        explain = partial(vx.explain, model, example_of(model), **how)
        return passes_of(model.module, lambda: found.append(explain()))

    fast = {"method": "saliency", "answers": [text]}
    # Saliency takes one pass, and what words cost besides.
    own = rows(target="sentence", **asked) - rows(target="sentence", **fast)
    alone = rows(target=text, **asked) - rows(target=text, **fast)
    why = found[0]
    assert len(why.outputs) < 2 * 10
    assert own <= 1.1 * times * alone
    encoded = model.with_answers(model.encode(example_of(model)), [text])
    spans = model.as_words(encoded, 0).candidates.spans
    single = [number for number, (first, behind) in enumerate(spans) if behind == first + 1]
    assert single
    for number in single[:2]:
        one = vx.explain(model, example_of(model), target_token=spans[number][0], **asked)
        for mine, wanted in zip(why.outputs[number].parts, one.parts, strict=True):
            size = np.abs(wanted.values).max()
            np.testing.assert_allclose(mine.values, wanted.values, rtol=0, atol=1e-4 * size)


def listed(found: vx.Explanation | list[vx.Explanation]) -> list[vx.Explanation]:
    return found if isinstance(found, list) else [found]


MANY = ["a red dog", "two blue cups", *(f"number {i} of them" for i in range(60))]


@pytest.mark.slow
@pytest.mark.parametrize(
    "asked",
    [
        {"target": MANY[0]},
        {"target": MANY[3], "contrast": MANY[1]},
        {"target": MANY[2], "score": "probability"},
        {"target": [MANY[1], MANY[4]]},
    ],
    ids=str,
)
def test_a_coalition_scores_the_candidates_that_are_read_alone(asked: dict[str, Any]) -> None:
    """Those of the example itself, and with nobody present, are scored once; values stay."""
    model = loaded("qwen3_vl")
    how: dict[str, Any] = {"method": "shapley", "budget": 400, "regions": 3, **asked}
    rows: list[int] = []
    found: list[list[vx.Explanation]] = []
    for answers in (MANY[:5], MANY):
        own = {**how, "answers": answers, "max_new_tokens": 1}
        explain = partial(vx.explain, model, example_of(model), **own)
        rows.append(passes_of(model.module, lambda: found.append(listed(explain()))))  # noqa: B023
    assert rows[1] < 1.5 * rows[0]
    one, other = found
    for mine, theirs in zip(one, other, strict=True):
        values = [[p.value for part in why.parts for p in part.players] for why in (mine, theirs)]
        np.testing.assert_allclose(values[0], values[1], atol=1e-6)
        assert theirs.written is not None
        assert len(theirs.written.tokens) >= len(MANY)


@cache
def explained() -> vx.Explanation:
    """A sentence, by few coalitions."""
    model = loaded("qwen3_vl")
    asked: dict[str, Any] = {"method": "shapley", "budget": "8n", "regions": 2}
    found: vx.Explanation = vx.explain(
        model, example_of(model), target="sentence", answers=[SENTENCE], **asked
    )
    return found


def test_the_matrix_in_a_file(tmp_path: Path) -> None:
    why = explained()
    again = vx.load_explanation(why.save(tmp_path / "why.vqax"))
    assert repr(again) == repr(why)
    np.testing.assert_array_equal(again.matrix.values, why.matrix.values)
    np.testing.assert_array_equal(again.matrix.errors, why.matrix.errors)
    for mine, theirs in zip(again.outputs, why.outputs, strict=True):
        assert repr(mine) == repr(theirs)
        np.testing.assert_array_equal(mine.image, theirs.image)
        np.testing.assert_array_equal(mine.picture, theirs.picture)
    with why.matrix.to_csv(tmp_path / "why.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    read = np.array([float(row["value"]) for row in rows])
    np.testing.assert_array_equal(read, why.matrix.values.ravel())
    assert [row["word"] for row in rows[:: len(why.matrix.parts)]] == list(why.matrix.words)
    together = why.matrix.of(["red", 1])
    np.testing.assert_allclose(together, why.matrix.values[:2].sum(axis=0))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "regions"),
    [("leave_one_out", 12), ("leave_one_out", "segments"), ("saliency", 4), ("grad_cam", 4)],
    ids=str,
)
@pytest.mark.parametrize("size", [(300, 420), (1500, 1400)], ids=str)
def test_a_file_keeps_every_bit_of_every_word_in_little_room(
    tmp_path: Path, method: str, regions: Any, size: tuple[int, int]
) -> None:
    """Boxes, texts and pictures are there once, and a map as the values that it is made of."""
    rows, columns = np.indices(size)
    picture = np.stack([rows % 256, columns % 256, (rows + columns) % 256], axis=2).astype(np.uint8)
    why = vx.explain(
        loaded("llava"),
        picture,
        "What is it?",
        method=method,
        regions=regions,
        target="sentence",
        answers=[SENTENCE],
    )
    file = why.save(tmp_path / "why.vqax")
    alone = dataclasses.replace(why, outputs=()).save(tmp_path / "alone.vqax")
    added = file.stat().st_size - alone.stat().st_size
    assert added < 60_000 * len(why.outputs)
    assert added < 0.1 * why.image.nbytes * len(why.outputs)
    again = vx.load_explanation(file)
    for mine, theirs in zip(again.outputs, why.outputs, strict=True):
        assert mine.parts[0].players == theirs.parts[0].players
        assert mine.summary() == theirs.summary()
        np.testing.assert_array_equal(mine.image, theirs.image)
        assert mine.picture is again.picture


@pytest.mark.parametrize("name", ["qwen3_vl", "mllama", "florence2"])
def test_what_is_streamed_is_the_answer(name: str) -> None:
    model = loaded(name)
    example = example_of(model)
    pieces: list[str] = []
    found = vx.answer(model, example, stream=pieces.append)
    assert "".join(pieces).strip() == found
    assert len(pieces) > 1
    encoded = model.encode(example)
    assert found == model.generate(encoded)[0]
    short = vx.answer(model, example, max_new_tokens=2)
    assert short
    assert found.startswith(short)
    assert len(short) < len(found)


def test_an_answer_is_as_long_as_was_asked(models: Callable[[str], Any]) -> None:
    module, processor = network("qwen3_vl")
    model = vx.load(module, processor=processor, device="cpu", max_new_tokens=20)
    example = example_of(model)
    inputs = ARCHITECTURES["qwen3_vl"].inputs(processor, PICTURE)
    prompt = inputs["input_ids"].shape[1]
    for asked, count in ((None, 20), (5, 5)):
        plain = module.generate(**inputs, max_new_tokens=count, do_sample=False)[0, prompt:]
        text = processor.tokenizer.decode(plain, skip_special_tokens=True).strip()
        assert vx.answer(model, example, max_new_tokens=asked) == text
    why = vx.explain(model, example, target="sentence", method="saliency", max_new_tokens=5)
    assert why.written is not None
    assert len(next(iter(why.written.tokens.values()))) <= 5


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"target_token": 0}, "leave target_token= out"),
        ({"score": "probability"}, "do not add up"),
        ({"max_new_tokens": 0}, "whole number from 1 on"),
        ({"max_new_tokens": True}, "whole number from 1 on"),
        ({"answers": []}, "at least one text"),
        ({"answers": [""]}, "no tokens"),
    ],
)
def test_what_is_asked_of_a_sentence_in_vain(asked: dict[str, Any], said: str) -> None:
    model = loaded("qwen3_vl")
    with pytest.raises(vx.InvalidInput, match=said):
        vx.explain(model, example_of(model), target="sentence", method="saliency", **asked)


def test_a_model_that_chooses_writes_no_sentence(models: Callable[[str], Any]) -> None:
    model = models("vilt")
    with pytest.raises(vx.Unsupported, match="does not write its answers"):
        vx.answer(model, PICTURE, "What is it?", max_new_tokens=4)
    with pytest.raises(vx.Unsupported, match="word by word"):
        vx.explain(model, PICTURE, "What is it?", method="saliency", target="sentence")
    with pytest.raises(vx.InvalidInput, match="not of a sentence"):
        _ = vx.explain(model, PICTURE, "What is it?", method="saliency").matrix
    assert vx.answer(model, PICTURE, "What is it?") in model.labels


def test_a_list_with_sentence_in_it_is_refused() -> None:
    model = loaded("qwen3_vl")
    with pytest.raises(vx.InvalidInput, match="stands alone"):
        vx.explain(model, example_of(model), target=["sentence", "yes"], method="saliency")


def test_words_of_means_are_refused() -> None:
    module, processor = network("qwen3_vl")
    model = vx.load(module, processor=processor, device="cpu", lengths="mean")
    with pytest.raises(vx.InvalidInput, match="lengths='mean'"):
        vx.explain(model, example_of(model), target="sentence", method="saliency")


@pytest.mark.parametrize(
    "parameters",
    [
        {"method": "shapley", "estimator": "permutation", "budget": "60n", "tolerance": 0.2},
        {"method": "shapley", "budget": "60n", "settle": 1},
        {"method": "owen", "budget": "100n", "tolerance": 0.2},
        {"method": "banzhaf", "budget": "100n", "tolerance": 0.2},
    ],
)
def test_words_take_the_coalitions_of_the_whole(parameters: dict[str, Any]) -> None:
    """An estimate that stops early computes no more for a word."""
    model = loaded("qwen3_vl")
    why = vx.explain(model, example_of(model), regions=2, **parameters)
    assert why.outputs
    plain = vx.explain(model, example_of(model), regions=2, target=why.target, **parameters)
    assert why.cost.forwards == plain.cost.forwards
    assert all(row.cost.forwards == 0 for row in why.outputs)
    assert "stopped" not in why.error_kind


@pytest.mark.parametrize("asked", ["video", "four pictures", "fixed picture"])
def test_where_a_word_comes_from_of_many_inputs(asked: str) -> None:
    module, processor = ARCHITECTURES["qwen2_vl"].made()
    model = with_roles(vx.load(module, processor=processor, device="cpu"), "qwen2_vl")
    pictures = [np.roll(PICTURE, 7 * number, axis=1) for number in range(4)]
    given: dict[str, Any] = {f"image {number}": one for number, one in enumerate(pictures)}
    more: dict[str, Any] = {}
    if asked == "video":
        given = {"clip": np.stack(pictures[:2])}
    elif asked == "fixed picture":
        given, more = {"image": PICTURE}, {"players": ["question"]}
    example = vx.Example.of({**given, "question": "Which is red?"})
    why = vx.explain(
        model,
        example,
        target="sentence",
        method="leave_one_out",
        answers=["a red one"],
        regions=1,
        **more,
    )
    expected = {"question"} if asked == "fixed picture" else {"image", "text"}
    for row, log in zip(why.outputs, why.matrix.log_probabilities, strict=True):
        assert set(row.sources) == {*expected, "earlier words", "alone"}
        assert sum(row.sources.values()) == pytest.approx(log, abs=1e-4)
        assert (row.with_pictures is None) == (asked == "fixed picture")
    assert why.plot("matrix") is not None


def test_a_source_needs_a_name_of_its_own() -> None:
    model = loaded("qwen2_vl")
    example = vx.Example.of({"alone": PICTURE, "question": "Which is red?"})
    with pytest.raises(vx.InvalidInput, match="give it another name"):
        vx.explain(model, example, target="sentence", method="saliency", answers=["a red one"])


def test_words_that_are_not_asked_for_take_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded("qwen3_vl")
    monkeypatch.setattr("vqa_explain.sentence.UNASKED_BYTES", 8 * 60 * 90 * 3)
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 2}
    assert not vx.explain(model, example_of(model), **asked).outputs
    why = vx.explain(model, example_of(model), target="sentence", **asked)
    assert all(row.picture is why.picture and row.labels is why.labels for row in why.outputs)


def test_what_is_computed_is_kept_where_sources_do_not_fit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("vqa_explain.sentence._sources", full)
    model = loaded("qwen3_vl")
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 2}
    why = vx.explain(model, example_of(model), target="sentence", answers=[SENTENCE], **asked)
    assert len(why.outputs) > 3
    assert any("where the words come from is not known" in note for note in why.notes)


def test_a_stopped_sentence_has_all_its_words(ctrl_c: None) -> None:
    """What the user stopped computes nothing more: the words get what is known."""
    model = loaded("qwen3_vl")
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if len(told) == 2:
            raise KeyboardInterrupt

    why = vx.explain(
        model,
        example_of(model),
        target="sentence",
        answers=[SENTENCE],
        method="shapley",
        estimator="permutation",
        budget="200n",
        regions=2,
        progress=stop,
        on_interrupt="return",
    )
    assert "stopped by the user" in why.error_kind
    assert len(told) == 2
    assert all(row.cost.forwards == 0 for row in why.outputs)
    assert len(why.matrix.words) == len(why.outputs) > 3


def test_a_figure_has_the_pictures_of_the_words_asked_for() -> None:
    why = explained()
    titles = [text.get_text() for text in why.plot(outputs=["dog's", 0]).texts]
    assert [title.split(",")[0] for title in titles[:2]] == ["“dog's”", "“red”"]
    sizes = [np.abs(row["image"].values).sum() for row in why.outputs]
    largest = sorted(np.argsort(sizes)[-6:].tolist())
    titles = [text.get_text() for text in why.plot().texts]
    assert [title.rsplit("”")[0][1:] for title in titles[:6]] == [
        why.outputs[number].target for number in largest
    ]
    with pytest.raises(vx.InvalidInput, match="unknown word of the answer"):
        why.plot(outputs=["cat"])
    with pytest.raises(vx.InvalidInput, match="words 0 to"):
        why.plot(outputs=[99])
    with pytest.raises(vx.InvalidInput, match="words of a sentence"):
        why.outputs[0].plot(outputs=["red"])


def test_a_long_answer_tells_its_words_unasked() -> None:
    model = loaded("qwen3_vl")
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 2}
    why = vx.explain(model, example_of(model), **asked)
    assert why.written is not None
    assert len(next(iter(why.written.tokens.values()))) > 3
    assert why.outputs
    np.testing.assert_allclose(
        why.matrix.values.sum(axis=0),
        np.concatenate([part.values for part in why.parts]),
        atol=1e-9,
    )
    # What would cost a pass for each word has to be asked for.
    assert not vx.explain(model, example_of(model), method="saliency").outputs
    assert not vx.explain(model, example_of(model), answers=[SENTENCE], **asked).outputs
    short = vx.explain(model, example_of(model), max_new_tokens=3, **asked)
    assert not short.outputs


def test_the_shell_tells_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    from vqa_explain.shell.tables import explanation_tables

    why = explained()
    from rich.console import Console

    console = Console(width=160)
    for table in explanation_tables(why):
        console.print(table)
    said = capsys.readouterr().out
    assert "Words of the answer" in said
    for word, told in zip(why.matrix.words, why.matrix.log_probabilities, strict=True):
        assert word in said
        assert f"{told:.2f}" in said


@pytest.mark.parametrize("name", NAMES)
def test_where_a_word_comes_from(name: str) -> None:
    """Exact Shapley values of picture, question and earlier words, by the definition, of the
    log-probabilities of single tokens in each coalition.
    """
    model, sentence = loaded(name), "red circle, a dog"
    features = model.encode(example_of(model)).features
    fills = check_fills(model, {"image": "constant"}, features)
    asked: dict[str, Any] = {"method": "leave_one_out", "regions": 2, "fills": fills}
    why = vx.explain(model, example_of(model), target="sentence", answers=[sentence], **asked)
    plain = model.with_answers(model.encode(example_of(model)), [sentence])
    spans = model.as_words(plain, 0).candidates.spans[:-1]
    tokens, words = plain.candidates.ids[0], model.processor.tokenizer
    absent = words.pad_token_id if words.mask_token_id is None else words.mask_token_id

    def score(shown: bool, said: bool, earlier: bool, first: int, behind: int) -> float:
        read = tokens[:first] if earlier else (absent,) * first
        return word_score(model, plain, read, tokens[first:behind], (shown, said), fills)

    coalitions = list(product((False, True), repeat=3))
    for row, (first, behind) in zip(why.outputs, spans, strict=True):
        found: dict[tuple[bool, ...], float] = {
            (a, b, c): score(a, b, c, first, behind) for a, b, c in coalitions
        }
        for player, called in enumerate(["image", "question", "earlier words"]):
            wanted = 0.0
            for here in coalitions:
                without = tuple(on and place != player for place, on in enumerate(here))
                weight = factorial(sum(without)) * factorial(2 - sum(without)) / factorial(3)
                wanted += weight * (found[here] - found[without]) if here[player] else 0.0
            assert row.sources[called] == pytest.approx(wanted, abs=2e-4)
        gain = found[True, True, True] - found[False, True, True]
        assert row.with_pictures == pytest.approx(gain, abs=2e-4)
        assert row.is_not_from_pictures == (np.exp(gain) < 1.1)
        assert row.sources["alone"] == pytest.approx(found[False, False, False], abs=2e-4)
    whole = [sum(row.sources.values()) for row in why.outputs]
    np.testing.assert_allclose(whole, why.matrix.log_probabilities, rtol=0, atol=1e-4)
