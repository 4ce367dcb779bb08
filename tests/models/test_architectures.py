"""Every architecture of transformers that writes about a picture, against plain calls of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, QUESTION, plain_steps, with_answer
from architectures.trying import (
    ANSWERS,
    NEAR,
    PICTURE,
    encoded_with_answers,
    example_of,
    frame_of,
    loaded,
    network,
    plain_scores,
)
from architectures.verdicts import VERDICTS, working
from building import present

import vqa_explain as vx
from vqa_explain.features.parts import PicturePart
from vqa_explain.features.regions import grid_regions

FAST = ("llava", "qwen3_vl", "internvl", "gemma4", "mllama", "florence2")
WORKING = working()
SHAPES = ((60, 90), (90, 40), (64, 64))


def on_each(names: Any = WORKING) -> pytest.MarkDecorator:
    """A test of these checkpoints, of which the fast loop takes those of `FAST`."""
    cases = [
        pytest.param(name, marks=[pytest.mark.each] if name in FAST else [pytest.mark.slow])
        for name in names
    ]
    return pytest.mark.parametrize("name", cases)


def near(ours: Any, theirs: Any) -> None:
    """The same but for rounding, relative to the largest."""
    theirs = np.asarray(theirs)
    np.testing.assert_allclose(np.asarray(ours), theirs, atol=NEAR * np.abs(theirs).max(), rtol=0)


def has_gradients(name: str) -> bool:
    """Whether the table says nothing of gradients that are refused."""
    row = VERDICTS["image-text-to-text"][ARCHITECTURES[name].name]
    return "no gradient" not in row.get("because", "")


def our_scores(model: Any, encoded: Any) -> np.ndarray:
    with torch.no_grad():
        found: np.ndarray = model.scores(encoded, model.leaves(encoded))[0].double().numpy()
    return found


@on_each()
def test_the_plain_call_is_what_the_network_computes_when_it_writes(name: str) -> None:
    one, (module, processor) = ARCHITECTURES[name], network(name)
    inputs = one.inputs(processor, PICTURE)
    with torch.no_grad():
        written = module.generate(
            **inputs,
            max_new_tokens=3,
            min_new_tokens=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_logits=True,
        )
        steps = len(written.logits)
        theirs = torch.stack(written.logits, dim=1)[0].float()
        before, ids = written.sequences[:, :-steps], written.sequences[:, -steps:]
        if one.encoder_decoder:
            given = torch.cat([before, ids[:, :-1]], dim=1)
            ours = module(**inputs, decoder_input_ids=given).logits[0, -steps:]
        else:
            ours = module(**with_answer(one, inputs, ids)).logits[0, -steps - 1 : -1]
    likely = theirs > torch.finfo(torch.float32).min / 2  # some may never be written
    largest = float(theirs[likely].abs().max())
    assert float((ours.float() - theirs)[likely].abs().max()) < 3 * NEAR * largest


@on_each()
def test_scores_are_those_of_the_plain_call(name: str) -> None:
    model, one, (module, processor) = loaded(name), ARCHITECTURES[name], network(name)
    encoded = encoded_with_answers(model)
    near(our_scores(model, encoded), plain_scores(name))
    first = model.with_answers(model.encode(example_of(model)), ANSWERS, 0)
    inputs = one.inputs(processor, PICTURE)
    with torch.no_grad():
        steps = [plain_steps(one, module, processor, inputs, text) for text in ANSWERS]
    near(our_scores(model, first), [float(each[0]) for each in steps])


@on_each()
def test_words_of_another_question_give_its_score(name: str) -> None:
    """The leaves carry all that a question says: those of one, in another, give its scores."""
    model = loaded(name)
    encoded = encoded_with_answers(model)
    if not encoded.tokens:
        return  # it reads no question
    words = "What circle is the color?"  # as many tokens
    theirs = model.leaves(encoded_with_answers(model, question=words))
    ours = model.leaves(encoded)
    assert theirs["question"].shape == ours["question"].shape
    with torch.no_grad():
        found = model.scores(encoded, {**ours, "question": theirs["question"]})[0]
    near(found.double(), plain_scores(name, question=words))


STEP = 0.01  # of a change by two levels of brightness
# How far slopes may be from those of plain calls, of their root mean square.
ROUGHLY = {"llava_next": 0.5}


@on_each()
def test_gradients_are_the_slopes_of_plain_scores(name: str) -> None:
    """In the picture: small steps towards others, in the tensors of plain calls."""
    model, one, (module, processor) = loaded(name), ARCHITECTURES[name], network(name)
    if not has_gradients(name):
        return  # a code book has no slope
    middle = np.clip(PICTURE, 1, 254)
    encoded = encoded_with_answers(model, middle)
    frame = frame_of(encoded)
    leaves = {key: leaf.clone().requires_grad_() for key, leaf in model.leaves(encoded).items()}
    score = model.scores(encoded, leaves)[0, 1]
    gradient = torch.autograd.grad(score, leaves[frame])[0]

    def plain(base: Any, change: dict[str, Any], step: float) -> float:
        moved = {key: base[key] + step * value for key, value in change.items()}
        with torch.no_grad():
            steps = plain_steps(one, module, processor, {**base, **moved}, ANSWERS[1])
        return float(steps.double().sum())

    rng = np.random.default_rng(7)
    ours, theirs = [], []
    for _ in range(7):
        way = rng.choice([-1, 1], size=(15, 18, 3)).repeat(4, 0).repeat(5, 1)
        sides = [(middle + sign * way).astype(np.uint8) for sign in (1, -1)]
        frames = [model.encode(example_of(model, side))[frame].content.pixels for side in sides]
        ours.append(float(((frames[0] - frames[1]) * gradient).sum()))
        base = one.inputs(processor, middle)
        above, below = (one.inputs(processor, side) for side in sides)
        change = {
            key: above[key] - below[key]
            for key, value in base.items()
            if isinstance(value, torch.Tensor) and value.is_floating_point()
        }
        apart = plain(base, change, STEP) - plain(base, change, -STEP)
        theirs.append(apart / (2 * STEP))
    # The median, since a step may lead over an edge: of a choice among experts. Tiles of another
    # scale follow the frame by weights that are not quite the processor's.
    missed = np.median(np.abs(np.subtract(ours, theirs)))
    assert missed < ROUGHLY.get(name, 0.25) * np.sqrt(np.mean(np.square(theirs))) + 1e-3


@on_each()
def test_all_players_are_the_plain_call_and_a_batch_is_as_one_by_one(name: str) -> None:
    model = loaded(name)
    encoded = encoded_with_answers(model)
    regions = grid_regions(encoded[frame_of(encoded)].content.geometry.frame, (2, 2))
    shown = torch.tensor([[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    said = torch.ones(3, len(encoded.tokens), dtype=torch.bool)
    players = [i for i, token in enumerate(encoded.tokens) if token.word in (1, 4)]
    said[1, players[:1]] = False
    said[2, players] = False
    fills = {one.name: one.feature.default_fill for one in encoded.inputs}

    def scored(rows: Any) -> Any:
        coalitions = present(encoded, regions, shown[rows], said[rows])
        return model.coalition_scores(encoded, coalitions, fills, 0).double().numpy()

    together = scored(slice(None))
    near(together[0], plain_scores(name))
    for row in range(3):
        near(together[row], scored(slice(row, row + 1))[0])
    assert np.abs(together[0] - together[2]).max() > 1e-3


@on_each()
def test_a_hidden_word_is_one_that_attention_does_not_see(name: str) -> None:
    """By a plain call with the mask set and the positions of the whole prompt."""
    model, one, (module, processor) = loaded(name), ARCHITECTURES[name], network(name)
    encoded = encoded_with_answers(model)
    if not encoded.tokens or "pad" not in encoded["question"].feature.fills:
        return  # its words cannot be hidden, and the model says so
    gone = [i for i, token in enumerate(encoded.tokens) if token.word in (1, 4)]
    said = torch.ones(1, len(encoded.tokens), dtype=torch.bool)
    said[0, gone] = False
    whole = grid_regions(encoded[frame_of(encoded)].content.geometry.frame, (1, 1))
    players = present(encoded, whole, torch.ones(1, 1).bool(), said)
    fills = {**{one.name: "blur" for one in encoded.pictures}, "question": "pad"}
    ours = model.coalition_scores(encoded, players, fills, 0)
    inputs = one.inputs(processor, PICTURE)
    places = encoded.state.prompt.places["question"][gone]
    theirs = []
    for text in ANSWERS:
        with positions_noted(module) as noted, torch.no_grad():
            plain_steps(one, module, processor, inputs, text)
        masked = {**inputs, "attention_mask": inputs["attention_mask"].clone()}
        masked["attention_mask"][0, places] = 0
        hide_in_second(processor, masked)
        with positions_put(module, noted), torch.no_grad():
            steps = plain_steps(one, module, processor, masked, text)
        theirs.append(float(steps.double().sum()))
    near(ours[0].double(), theirs)


def hide_in_second(processor: Any, inputs: dict[str, Any]) -> None:
    """The second and fifth word hidden where a second tokenizer says that they are."""
    if "qformer_attention_mask" in inputs:
        words = processor.qformer_tokenizer(QUESTION).word_ids()
        hidden = [place for place, word in enumerate(words) if word in (1, 4)]
        inputs["qformer_attention_mask"] = inputs["qformer_attention_mask"].clone()
        inputs["qformer_attention_mask"][0, hidden] = 0


@contextmanager
def positions_noted(module: Any) -> Iterator[list[Any]]:
    """The positions that the decoder receives inside."""
    noted: list[Any] = []

    def note(_layer: Any, _args: Any, named: dict[str, Any]) -> None:
        noted.append(named.get("position_ids"))

    handle = module.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    try:
        yield noted
    finally:
        handle.remove()


@contextmanager
def positions_put(module: Any, noted: list[Any]) -> Iterator[None]:
    """Inside, the decoder receives these positions."""

    def put(_layer: Any, args: Any, named: dict[str, Any]) -> Any:
        if noted and noted[0] is not None:
            return args, {**named, "position_ids": noted[0]}
        return None

    handle = module.get_decoder().register_forward_pre_hook(put, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


@pytest.mark.parametrize("shape", SHAPES)
@on_each()
def test_a_bright_block_returns_to_its_place(name: str, shape: tuple[int, int]) -> None:
    model = loaded(name)
    dark = np.full((*shape, 3), 40, dtype=np.uint8)
    top, left = int(0.4 * shape[0]), int(0.45 * shape[1])
    bottom, right = top + shape[0] // 4, left + shape[1] // 4
    bright = dark.copy()
    bright[top:bottom, left:right] = 230
    encoded, other = (model.encode(example_of(model, one)) for one in (dark, bright))
    frame = frame_of(encoded)
    geometry = encoded[frame].content.geometry
    moved = (other[frame].content.pixels - encoded[frame].content.pixels).abs().sum(1)[0].numpy()
    values = geometry.to_original(np.where(moved > 0.3 * moved.max(), moved, 0.0))
    margins = [int(np.ceil(1.5 * max(1.0, extent))) for extent in geometry.extents]
    inside = values[
        max(0, top - margins[0]) : bottom + margins[0],
        max(0, left - margins[1]) : right + margins[1],
    ]
    assert values.shape == shape
    assert inside.sum() > 0.9 * values.sum() > 0


@on_each()
@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("integrated_gradients", {"steps": 4}),
        ("leave_one_out", {"regions": 4}),
    ],
)
def test_methods_run(name: str, method: str, settings: dict[str, Any]) -> None:
    model = loaded(name)
    if method != "leave_one_out" and not has_gradients(name):
        return
    why = vx.explain(
        model, example_of(model), method=method, answers=ANSWERS, target="blue", **settings
    )
    maps = [part.image for part in why.parts if isinstance(part, PicturePart)]
    assert all(np.isfinite(values).all() and np.abs(values).max() > 0 for values in maps)


@on_each([name for name in ARCHITECTURES if name not in WORKING])
def test_what_does_not_work_is_refused_in_one_sentence(name: str) -> None:
    row = VERDICTS["image-text-to-text"][ARCHITECTURES[name].name]
    if row["verdict"] == "fails":
        with pytest.raises(Exception):  # noqa: B017 – whatever transformers raises
            plain_scores(name)
        return
    refused = refusal_of(name)
    assert refused
    assert "\n" not in refused


def refusal_of(name: str) -> str:
    """What is said of a checkpoint that does not load, or that no method explains."""
    try:
        model = loaded(name)
        vx.explain(model, example_of(model), method="leave_one_out", answers=ANSWERS, target="blue")
    except vx.VQAExplainError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"), [("pix2struct", (31, 257)), ("pix2struct", (3, 3)), ("mistral3", (3, 3))]
)
def test_a_network_that_fails_on_what_its_processor_made_says_so(
    name: str, size: tuple[int, int]
) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    module, processor = network(name)
    inputs = ARCHITECTURES[name].inputs(processor, picture)
    model = loaded(name)
    try:
        with torch.no_grad():
            module.generate(**inputs, max_new_tokens=3)
    except (IndexError, RuntimeError):
        with pytest.raises(vx.InvalidInput, match="fails on this example"):
            vx.explain(model, example_of(model, picture), method="leave_one_out", regions=2)
    else:
        why = vx.explain(model, example_of(model, picture), method="leave_one_out", regions=2)
        assert np.isfinite([region.value for region in why.regions]).all()


@pytest.mark.slow
def test_a_picture_that_is_smaller_than_a_patch_asks_for_a_larger_one() -> None:
    model = loaded("fuyu")
    with pytest.raises(vx.Unsupported, match="give a larger picture"):
        model.encode(example_of(model, PICTURE[:7, :5]))
