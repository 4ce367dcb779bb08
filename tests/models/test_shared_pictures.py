"""What coalitions share is computed once, and each has the score of a plain call of its own."""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from typing import Any

import architectures.every  # so that the table is full  # noqa: F401
import numpy as np
import pytest
import torch
from architectures.base import ARCHITECTURES, plain_steps
from architectures.trying import ANSWERS, NEAR, PICTURE, encoded_with_answers, loaded, network

import vqa_explain as vx
from vqa_explain.game import Game, make_players
from vqa_explain.models.generative.decoding import Prompted
from vqa_explain.models.generative.memory import PictureMemory
from vqa_explain.models.generative.vision import Pictures, find_vision
from vqa_explain.target import Target

FILLS = {"image": "mean", "question": "mask"}
REGIONS = 4
# Of each network, the part that must see every picture once.
VISION = {
    "qwen3_vl": "model.visual",
    "mllama": "model.vision_model",
    "florence2": "model.vision_tower",
    "gemma4": "model.vision_tower",
    "llava": "model.vision_tower",
    "smolvlm": "model.vision_model",
    "qwen2_5_vl": "model.visual",
    "idefics": "model.vision_model",
    "blip2_t5": "vision_model",
}
DECODER = {
    "llava": "model.language_model.layers.0.mlp",
    "smolvlm": "model.text_model.layers.0.mlp",
}
FAST = ("qwen3_vl", "mllama", "florence2", "llava")
CASES = [pytest.param(n, marks=[] if n in FAST else [pytest.mark.slow]) for n in VISION]


def game_of(name: str) -> Game:
    return game_with(loaded(name))


def game_with(model: Any) -> Game:
    encoded = encoded_with_answers(model)
    players = make_players(encoded, {"image": 2})
    targets = tuple(Target(index) for index in range(len(ANSWERS)))
    return Game(model, encoded, players, FILLS, targets)


def coalitions(count: int) -> np.ndarray:
    """Three pictures, each with four sets of words."""
    rng = np.random.default_rng(0)
    rows = rng.random((12, count)) < 0.6
    rows[:, :REGIONS] = np.repeat([[1, 1, 1, 1], [1, 0, 0, 1], [0, 1, 1, 1]], 4, axis=0)
    return rows


def plain_score(name: str, game: Game, row: np.ndarray) -> float:
    """The first answer's log-probability, by plain calls with other pixels and token numbers."""
    one, (module, processor) = ARCHITECTURES[name], network(name)
    inputs = one.inputs(processor, PICTURE)
    present = game.players.present(torch.from_numpy(row[None]))
    pixels, shown = game.encoded.pixels, present["image"].elements[:, None]
    mean = torch.where(shown, pixels, loaded(name).baselines(game.encoded, FILLS, 0)["image"])
    inputs |= game.encoded.state.sequences.changed({"image": mean})
    words = processor.tokenizer
    absent = words.mask_token_id or words.pad_token_id
    ids = inputs["input_ids"].clone()
    places = torch.from_numpy(game.encoded.state.prompt.places["question"])
    ids[0, places[~present["question"].elements[0]]] = absent
    inputs["input_ids"] = ids
    with torch.no_grad():
        return float(plain_steps(one, module, processor, inputs, ANSWERS[0]).double().sum())


@contextmanager
def numbers_given(module: Any, path: str) -> Iterator[list[int]]:
    """How many numbers each call of the first layer with weights in a part is given."""
    kinds = (torch.nn.Conv2d, torch.nn.Conv3d, torch.nn.Linear)
    part = module.get_submodule(path)
    layer = next(one for one in part.modules() if isinstance(one, kinds))
    found: list[int] = []
    handle = layer.register_forward_pre_hook(lambda _layer, args: found.append(args[0].numel()))
    try:
        yield found
    finally:
        handle.remove()


@pytest.mark.parametrize("name", CASES)
def test_each_picture_is_looked_at_once_and_scores_are_those_of_plain_calls(name: str) -> None:
    game = game_of(name)
    rows = coalitions(len(game))
    module, processor = network(name)
    with numbers_given(module, VISION[name]) as plain, torch.no_grad():
        module(**ARCHITECTURES[name].inputs(processor, PICTURE), **decoder_start(name))
    with numbers_given(module, VISION[name]) as ours:
        found = np.concatenate([game(rows[::2]), game(rows[1::2])])
    assert sum(ours) == 3 * sum(plain)
    theirs = [plain_score(name, game, row) for row in np.concatenate([rows[::2], rows[1::2]])]
    np.testing.assert_allclose(found, theirs, atol=NEAR * np.abs(theirs).max(), rtol=0)
    assert np.ptp(theirs) > 1e-3


def decoder_start(name: str) -> dict[str, torch.Tensor]:
    one = ARCHITECTURES[name]
    return {"decoder_input_ids": torch.tensor([[one.start]])} if one.encoder_decoder else {}


@pytest.mark.parametrize("name", CASES)
def test_candidates_share_the_picture_where_gradients_flow(name: str) -> None:
    model, (module, processor) = loaded(name), network(name)
    encoded = encoded_with_answers(model)
    with numbers_given(module, VISION[name]) as plain, torch.no_grad():
        module(**ARCHITECTURES[name].inputs(processor, PICTURE), **decoder_start(name))
    leaves = {
        key: leaf.repeat(2, *[1] * (leaf.ndim - 1)).requires_grad_(True)
        for key, leaf in model.leaves(encoded).items()
    }
    with numbers_given(module, VISION[name]) as ours:
        scores = model.scores(encoded, leaves)
    assert sum(ours) == 2 * sum(plain)
    # Both rows show the same picture, and each has its own gradient.
    (slope,) = torch.autograd.grad(scores[0].sum() + 2 * scores[1].sum(), leaves["image"])
    largest = float(slope.abs().max())
    assert largest > 0
    assert float((2 * slope[0] - slope[1]).abs().max()) < 1e-3 * largest


@pytest.mark.parametrize("name", ["llava", pytest.param("smolvlm", marks=pytest.mark.slow)])
def test_what_all_prompts_begin_with_is_computed_once(name: str) -> None:
    game = game_of(name)
    rows = coalitions(len(game))[:4]
    rows[:, :REGIONS] = True
    first_word = next(n for n, token in enumerate(game.encoded.tokens) if token.word >= 0)
    before = int(game.encoded.state.prompt.places["question"][first_word])
    layer = DECODER[name]
    with numbers_given(network(name)[0], layer) as alone:
        for row in rows:
            game_of(name)(row)
    with numbers_given(network(name)[0], layer) as given:
        found = game(rows)
    width = network(name)[0].config.get_text_config().hidden_size
    assert sum(given) <= sum(alone) - (len(rows) - 1) * before * width
    theirs = [plain_score(name, game, row) for row in rows]
    np.testing.assert_allclose(found, theirs, atol=NEAR * np.abs(theirs).max(), rtol=0)


def test_a_memory_that_is_full_forgets_the_oldest_and_makes_it_again() -> None:
    memory = PictureMemory(limit=3 * 8)
    made: list[int] = []

    def make(fresh: list[int]) -> list[torch.Tensor]:
        made.extend(fresh)
        return [torch.full((2,), float(number)) for number in fresh]

    keys = [b"0", b"1", b"2", b"3"]
    assert [int(one[0]) for one in memory.rows(keys, make)] == [0, 1, 2, 3]
    assert [int(one[0]) for one in memory.rows(keys, make)][1:] == [1, 2, 3]
    assert made == [0, 1, 2, 3, 0]


def taking_one_at_a_time(module: Any) -> Any:
    """A copy that fails on a batch."""
    kind, alone = type(module), copy.deepcopy(module)

    @wraps(kind.forward)
    def forward(self: Any, *args: Any, **named: Any) -> Any:
        ids = [named[key] for key in named if key.endswith("input_ids")]
        if any(len(one) > 1 for one in ids if one is not None):
            raise ValueError("one example at a time")
        return kind.forward(self, *args, **named)

    alone.__class__ = type(kind.__name__, (kind,), {"forward": forward})
    return alone


@pytest.mark.slow
@pytest.mark.parametrize("name", ["qwen3_vl", "florence2", "llava"])
def test_a_network_that_takes_one_example_at_a_time_looks_at_each_picture_once(name: str) -> None:
    module, processor = network(name)
    alone = taking_one_at_a_time(module)
    game = game_with(vx.load(alone, processor=processor, device="cpu"))
    rows = coalitions(len(game))
    with numbers_given(module, VISION[name]) as plain, torch.no_grad():
        module(**ARCHITECTURES[name].inputs(processor, PICTURE), **decoder_start(name))
    with numbers_given(alone, VISION[name]) as ours:
        found = game(rows)
    assert sum(ours) == 3 * sum(plain)
    theirs = [plain_score(name, game, row) for row in rows]
    np.testing.assert_allclose(found, theirs, atol=NEAR * np.abs(theirs).max(), rtol=0)


def test_a_decoder_that_forgets_what_stands_before_several_tokens_reads_prompts_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module, processor = network("llava")
    forgetful = copy.deepcopy(module)
    decoder = forgetful.get_decoder()
    own = decoder.forward

    @wraps(own)
    def forward(*, cache: Any = None, **named: Any) -> Any:
        count = named["inputs_embeds"].shape[1]
        if cache is None or count == 1 or not cache.get_seq_length():
            return own(cache=cache, **named)
        mask = named["attention_mask"][:, -count:]
        return own(**{**named, "attention_mask": mask, "use_cache": False})

    monkeypatch.setattr(decoder, "forward", forward)
    game = game_with(vx.load(forgetful, processor=processor, device="cpu"))
    rows = coalitions(len(game))[:4]
    theirs = [plain_score("llava", game, row) for row in rows]
    np.testing.assert_allclose(game(rows), theirs, atol=NEAR * np.abs(theirs).max(), rtol=0)


def test_tokens_that_are_no_words_stay_in_sequences_joined_and_cut() -> None:
    fixed = torch.tensor([[True, False, False, True]])
    one = Prompted(
        torch.zeros(1, 4, 2), torch.arange(4)[None], torch.ones(1, 4).bool(), None, fixed
    )
    words = torch.ones(1, 1, 2)
    changed = Prompted.joined([one, one.put(torch.tensor([1]), words)])
    put = changed.put(torch.arange(4), words.expand(1, 4, 2)).states[..., 0]
    assert put.tolist() == [[0.0, 1.0, 1.0, 0.0]] * 2
    behind = changed.behind(2)
    put = behind.put(torch.arange(2), words.expand(1, 2, 2)).states[..., 0]
    assert put.tolist() == [[1.0, 0.0]] * 2
    beginning = changed.beginning(2)
    put = beginning.put(torch.arange(2), words.expand(1, 2, 2)).states[..., 0]
    assert put.tolist() == [[0.0, 1.0]]


class Eyes(torch.nn.Module):
    """A vision side that gives one tensor for each picture."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)
        with torch.no_grad():
            self.layer.weight.copy_(torch.arange(6.0).view(2, 3))
            self.layer.bias.zero_()

    def forward(self, pictures: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [self.layer(picture) for picture in pictures]


class AddingInPlace(torch.nn.Module):
    """A network that adds to what its vision side gave, in place."""

    def __init__(self) -> None:
        super().__init__()
        self.eyes = Eyes()

    def forward(self, pictures: Sequence[torch.Tensor], words: float) -> torch.Tensor:
        seen = self.eyes(pictures)
        return torch.stack([one.add_(1.0) for one in seen]) * words


@pytest.mark.parametrize("count", [1, 2])
@torch.no_grad()
def test_what_is_kept_of_a_picture_stays_as_it_is_where_the_network_changes_it(count: int) -> None:
    network, picture = AddingInPlace(), torch.tensor([1.0, 2.0, 4.0])
    others = [picture, -picture][2 - count :]
    side = find_vision(
        network,
        lambda: network([picture], 1.0),
        lambda: network([picture], 2.0),
        lambda: network(others, 1.0),
        count,
    )
    assert side is not None
    plain, memory = network([picture], 3.0), PictureMemory()
    for _ in range(3):
        with side.shared(Pictures(torch.zeros(1, dtype=torch.long), [b"it"], memory)):
            assert torch.equal(network([picture], 3.0), plain)
