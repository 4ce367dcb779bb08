"""Networks that use token numbers besides the one embedding: nothing that misses this is shown
(issue's section A).

Truth is the plain call of the network with other token numbers.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from checkpoints import checkpoint
from custom_net import IMAGE, VOCABULARY, AttendsToGrid
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

import vqa_explain as vx
from vqa_explain.metrics.additive import stacked_scores

LABELS = ["yes", "no", "red", "blue"]
QUESTION = "What color is the circle?"
NUMBERS = torch.tensor([[2, 3, 4, 5, 6]])
WIDE = 16


class Words(nn.Module):
    """Words by an embedding, pictures by a convolution; what joins them differs."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(8, WIDE)
        self.picture = nn.Conv2d(3, WIDE, 3, stride=4)
        self.answer = nn.Linear(WIDE, len(LABELS))

    def joined(self, words: Any, pixels: torch.Tensor) -> Any:
        return self.answer(torch.tanh(words) * self.picture(pixels).mean((2, 3)))


class Bag(Words):
    def __init__(self) -> None:
        super().__init__()
        self.counts = nn.Linear(8, len(LABELS))

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        counted = self.counts(F.one_hot(tokens, 8).float().sum(1))
        result: torch.Tensor = self.joined(self.words(tokens).sum(1), pixels) + 3 * counted
        return result


class PadMask(Words):
    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        there = (tokens != 0).float()[:, :, None]
        result: torch.Tensor = self.joined(
            (self.words(tokens) * there).sum(1) / (1e-6 + there.sum(1)), pixels
        )
        return result


class Lengths(Words):
    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        length = (tokens != 0).sum(1, keepdim=True)
        result: torch.Tensor = self.joined(self.words(tokens).sum(1), pixels) + 0.5 * length
        return result


class SecondEmbedding(Words):
    def __init__(self) -> None:
        super().__init__()
        self.gates = nn.Embedding(8, WIDE)

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        result: torch.Tensor = self.joined((self.words(tokens) * self.gates(tokens)).sum(1), pixels)
        return result


class Packed(Words):
    """Fails where no word is left, as `pack_padded_sequence` does."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = nn.GRU(WIDE, WIDE, batch_first=True)

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        lengths = (tokens != 0).sum(1)
        packed = pack_padded_sequence(self.words(tokens), lengths, True, enforce_sorted=False)
        result: torch.Tensor = self.joined(self.reader(packed)[1][0], pixels)
        return result


class OneWordOnly(Words):
    """The number matters for one word only."""

    number = VOCABULARY["circle"]

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        named = (tokens == self.number).any(1, keepdim=True).float()
        result: torch.Tensor = self.joined(
            self.words(tokens).sum(1), pixels
        ) + named * torch.arange(4.0)
        return result


class Square(OneWordOnly):
    """For a word that the self-check's question does not have."""

    number = VOCABULARY["square"]


class FromForms(Words):
    """Takes nothing but the shape of the numbers besides the embedding."""

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        places = torch.linspace(0, 1, tokens.shape[1])[None, :, None]
        result: torch.Tensor = self.joined(
            (self.words(tokens) + places * torch.ones_like(tokens)[..., None]).sum(1), pixels
        )
        return result


def made(kind: Any) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        net = kind()
        for part in net.parameters():
            nn.init.normal_(part, std=0.5)
    return net.eval()


def custom(net: torch.nn.Module, **settings: Any) -> vx.CustomModel:
    named = {"image": IMAGE, "text": VOCABULARY, "labels": LABELS, "device": "cpu"}
    embedding = "words" if isinstance(net, Words) else None
    return vx.CustomModel(net, embedding=embedding, **{**named, **settings})


READS = [Bag, PadMask, Lengths, SecondEmbedding, OneWordOnly]
GRADIENTS = ["integrated_gradients", "saliency", "gradient_shap", "deep_lift", "attn_lrp"]


@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("kind", [*READS, Packed])
def test_gradients_are_refused_where_they_miss_a_part_of_the_words(
    kind: Any, method: str, noise_picture: np.ndarray
) -> None:
    model = custom(made(kind))
    with pytest.raises(
        vx.Unsupported, match=r"token numbers besides the one word embedding.*these work: .*shapley"
    ):
        vx.explain(model, noise_picture, QUESTION, method=method)


@pytest.mark.parametrize("method", GRADIENTS)
@pytest.mark.parametrize("kind", [FromForms, AttendsToGrid])
def test_gradients_work_where_words_pass_the_embedding_alone(
    kind: type[FromForms] | type[Any], method: str, noise_picture: np.ndarray
) -> None:
    why = vx.explain(custom(made(kind)), noise_picture, QUESTION, method=method)
    assert np.isfinite([word.value for word in why.words]).all()


def test_a_word_that_matters_by_its_number_is_found_when_it_is_asked(
    noise_picture: np.ndarray,
) -> None:
    model = custom(made(Square))
    vx.explain(model, noise_picture, QUESTION, method="saliency")
    with pytest.raises(vx.Unsupported, match="token numbers"):
        vx.explain(model, noise_picture, "What color is the square?", method="saliency")


SQUARE = "What color is the square?"  # the question that `Square` reads numbers of


class SquareAtNight(Square):
    """Uses the number only with dark pictures."""

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        named = (tokens == self.number).any(1, keepdim=True)
        dark = pixels.mean((1, 2, 3))[:, None] < 0.5
        embedded = self.joined(self.words(tokens).sum(1), pixels)
        result: torch.Tensor = embedded + (named & dark).float() * torch.arange(4.0)
        return result


def values_or_refusal(
    model: Any, picture: Any, question: str, method: str
) -> str | tuple[list[float], Any]:
    """What `explain` gives: its values, or the sentence that refuses."""
    try:
        why = vx.explain(model, picture, question, method=method)
    except vx.Unsupported as error:
        return str(error)
    return [word.value for word in why.words], why.image.tolist()


NIGHT, DAY = (np.full((32, 48, 3), shade, np.uint8) for shade in (20, 235))


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("method", ["saliency", "integrated_gradients", "occlusion"])
@pytest.mark.parametrize(
    ("kind", "asked"),
    [
        (Square, [(NIGHT, QUESTION), (NIGHT, SQUARE)]),
        (OneWordOnly, [(NIGHT, QUESTION), (NIGHT, SQUARE)]),
        (SquareAtNight, [(NIGHT, SQUARE), (DAY, SQUARE)]),
        (SquareAtNight, [(NIGHT, QUESTION), (NIGHT, SQUARE), (DAY, SQUARE)]),
    ],
)
@pytest.mark.slow
def test_results_do_not_depend_on_what_was_asked_before(
    kind: type[Square] | type[OneWordOnly] | type[SquareAtNight],
    asked: list[tuple[np.ndarray, str]],
    method: str,
    check: bool,
) -> None:
    alone = [
        values_or_refusal(custom(made(kind), check=check), *example, method) for example in asked
    ]
    refused = [isinstance(one, str) for one in alone]
    assert any(refused) == (method != "occlusion")
    assert not all(refused)
    for order in (1, -1):
        model = custom(made(kind), check=check)
        found = [values_or_refusal(model, *example, method) for example in asked[::order]]
        assert found[::order] == alone
        assert "gradients" in model.capabilities


@pytest.mark.slow
def test_an_evaluation_gives_the_same_rows_in_any_order(tmp_path: Path) -> None:
    picture = np.random.default_rng(3).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    examples = [
        vx.Example(picture, question, id=question, answer="red") for question in (QUESTION, SQUARE)
    ]
    tables = []
    for order in (1, -1):
        report = vx.evaluate(
            custom(made(Square)),
            examples[::order],
            ["saliency", "occlusion"],
            ["insertion"],
            out=tmp_path / str(order),
            workers=1,
        )
        rows = report.frame()
        rows = rows[rows["method"] != "random"]  # which draws by the example's number
        values = rows.set_index(["id", "method", "metric"])["value"].sort_index()
        refused = report.errors()[["id", "method", "note"]].sort_values(["id", "method"])
        tables.append((values, refused.reset_index(drop=True)))
    (values, refused), (other_values, other_refused) = tables
    pd.testing.assert_series_equal(values, other_values)
    assert len(values) == 3  # of four, one is refused
    pd.testing.assert_frame_equal(refused, other_refused)
    assert set(refused["id"]) == {SQUARE}
    assert refused["note"].str.contains("token numbers").all()


def held(model: Any) -> dict[Any, int]:
    """How many things each collection of the model holds."""
    return {
        name: len(one) for name, one in vars(model).items() if isinstance(one, dict | set | list)
    }


def test_questions_leave_nothing_in_the_model(noise_picture: np.ndarray) -> None:
    model = custom(made(Square))
    before = held(model)
    for word in ("circle", "square", "color", "what"):
        model.encode(vx.Example(noise_picture, f"Is the {word} the square?"))
    assert held(model) == before


class PartByNumber(Words):
    """A fixed score of 1, and 0.3 more for one answer where a word is absent:
    a share of the largest.
    """

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        embedded = 1e-3 * self.joined(self.words(tokens).sum(1), pixels.to(self.answer.weight))
        absent = (tokens == 0).any(1, keepdim=True).to(embedded)
        result: torch.Tensor = embedded + torch.tensor([1.0, 0, 0, 0]).to(embedded) + 0.3 * absent
        return result


@pytest.mark.parametrize("number_type", [torch.float32, torch.float16, torch.bfloat16])
def test_a_part_that_is_small_beside_the_score_is_found(
    number_type: torch.dtype, noise_picture: np.ndarray
) -> None:
    model = custom(made(PartByNumber).to(number_type), check=False)
    with pytest.raises(vx.Unsupported, match="token numbers"):
        vx.explain(model, noise_picture, QUESTION, method="saliency")


def plain(net: torch.nn.Module, pixels: torch.Tensor, numbers: torch.Tensor) -> Any:
    with torch.no_grad():
        return net(pixels, numbers)[0].double()


@pytest.mark.parametrize("kind", READS)
def test_occlusion_takes_words_away_as_the_plain_call_does(
    kind: Any, noise_picture: np.ndarray
) -> None:
    net = made(kind)
    model = custom(net)
    asked: dict[str, Any] = {"method": "occlusion", "target": "red"}
    why = vx.explain(model, noise_picture, QUESTION, **asked)
    pixels = model.encode(vx.Example(noise_picture, QUESTION)).pixels
    whole = plain(net, pixels, NUMBERS)[2]
    for place, word in enumerate(why.words):
        without = NUMBERS.clone()
        without[0, place] = 0
        assert word.value == pytest.approx(float(whole - plain(net, pixels, without)[2]), abs=1e-4)


@pytest.mark.parametrize("method", ["occlusion", "rise", "shapley", "lime"])
@pytest.mark.parametrize("kind", READS)
def test_the_answer_without_inputs_is_the_plain_call_of_absent_words(
    kind: Any, method: str, noise_picture: np.ndarray
) -> None:
    net = made(kind)
    model = custom(net)
    budget: dict[str, Any] = {} if method == "occlusion" else {"budget": 300}
    why = vx.explain(
        model, noise_picture, QUESTION, method=method, image_fill="constant", regions=2, **budget
    )
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    blank = model.baselines(encoded, {"image": "constant", "question": "mask"}, 0)["image"]
    best = plain(net, blank, torch.zeros_like(NUMBERS)).argmax()
    assert why.answer_without_inputs == LABELS[best]


@pytest.mark.parametrize("kind", READS)
def test_questions_of_one_length_keep_their_own_numbers(
    kind: Any, noise_picture: np.ndarray
) -> None:
    net = made(kind)
    model = custom(net)
    questions = [QUESTION, "Is the circle the square?"]
    encoded = [model.encode(vx.Example(noise_picture, one)) for one in questions]
    expected = [plain(net, one.pixels, one.ids) for one in encoded]
    np.testing.assert_allclose(stacked_scores(model, encoded), torch.stack(expected), atol=1e-5)


# Two questions of the same pieces in another order, so that both have as many tokens. "circle" has
# the highest number, where this CLIP reads its text, and stays in its place.
FIRST, SECOND = "Is the red circle blue?", "Is the blue circle red?"


@pytest.mark.parametrize(
    "family", ["vilt", "blip", "clip", "siglip", "llava", "qwen2_vl", "paligemma", "idefics3"]
)
def test_words_of_a_checkpoint_pass_the_embedding_alone(
    family: str, tmp_path: Path, noise_picture: np.ndarray
) -> None:
    model: Any = vx.load(checkpoint(family, tmp_path), device="cpu")
    one, other = (model.encode(vx.Example(noise_picture, q)) for q in (FIRST, SECOND))
    assert one.ids.shape == other.ids.shape
    assert not torch.equal(one.ids, other.ids)
    if model.labels is None:
        one, other = (model.with_answers(each, ["yes", "no"], 0) for each in (one, other))
    with torch.no_grad():
        found = model.scores(
            one, {**model.leaves(one), "question": model.leaves(other)["question"]}
        )
        expected = model.plain_scores(other.with_frames({other.image_name: other.pixels.clone()}))
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
