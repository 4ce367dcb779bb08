"""A network of one's own: gradients by hand, vocabularies, and what is refused."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import tokenizer
from custom_net import IMAGE, VOCABULARY, custom, network
from families import QUESTION
from torch import nn

import vqa_explain as vx


def test_scores_and_gradients_are_the_networks_own(noise_picture: np.ndarray) -> None:
    model = custom()
    why = vx.explain(
        model, noise_picture, QUESTION, method="saliency", target="red", channels="sum"
    )
    net = network().eval()
    pixels = model.encode(vx.Example(noise_picture, QUESTION)).pixels.requires_grad_(True)
    embedded = net.embedding(torch.tensor([[2, 3, 4, 5, 6]])).detach().requires_grad_(True)
    handle = net.embedding.register_forward_hook(lambda *_: embedded)
    slopes = torch.autograd.grad(
        net(pixels, torch.tensor([[2, 3, 4, 5, 6]]))[0, 2], [pixels, embedded]
    )
    handle.remove()
    np.testing.assert_allclose([t.value for t in why.tokens], slopes[1].abs().sum(2)[0], atol=1e-6)
    assert why.image.sum() == pytest.approx(float(slopes[0].abs().sum()), rel=1e-5)
    assert [w.text for w in why.words] == ["What", "color", "is", "the", "circle"]


@pytest.mark.parametrize(
    "method", ["integrated_gradients", "shapley", "interactions", "grad_cam", "deep_lift"]
)
def test_methods_work_on_it(noise_picture: np.ndarray, method: str) -> None:
    sampled = method in ("shapley", "interactions")
    settings: dict[str, Any] = {"budget": 300, "regions": 2} if sampled else {}
    why = vx.explain(custom(), noise_picture, QUESTION, method=method, **settings)
    assert np.isfinite(why.image).all()
    if method in ("integrated_gradients", "shapley"):
        assert why.error < 0.05


@pytest.mark.slow
def test_text_may_be_a_vocabulary_a_tokenizer_or_a_function(noise_picture: np.ndarray) -> None:
    pieces = tokenizer(["<pad>", "<unk>"], pad_token="<pad>", unk_token="<unk>")

    def numbers(question: str) -> list[tuple[str, int]]:
        pieces = question.strip("?").split()
        return [(piece, VOCABULARY.get(piece.lower(), 1)) for piece in pieces]

    by_function = vx.explain(custom(text=numbers), noise_picture, QUESTION, method="saliency")
    by_vocabulary = vx.explain(custom(), noise_picture, QUESTION, method="saliency")
    assert [w.value for w in by_function.words] == [w.value for w in by_vocabulary.words]
    net = network()
    net.embedding = nn.Embedding(len(pieces), 16)
    model = vx.CustomModel(
        net,
        image=IMAGE,
        text=pieces,
        labels=["a", "b", "c", "d"],
        embedding="embedding",
        device="cpu",
    )
    assert len(vx.explain(model, noise_picture, QUESTION, method="saliency").words) == 6


def test_other_arguments_go_through_call(noise_picture: np.ndarray) -> None:
    class Swapped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = network()

        def forward(self, question: torch.Tensor, length: Any, image: Any) -> dict[str, Any]:
            assert length == question.shape[1]
            return {"scores": self.inner(image, question)}

    model = vx.CustomModel(
        Swapped(),
        image=IMAGE,
        text=VOCABULARY,
        labels=["yes", "no", "red", "blue"],
        call=lambda net, pixels, tokens: net(tokens, tokens.shape[1], pixels)["scores"],
        device="cpu",
    )
    ours = vx.explain(model, noise_picture, QUESTION, method="saliency", target="red")
    plain = vx.explain(custom(), noise_picture, QUESTION, method="saliency", target="red")
    np.testing.assert_array_equal(ours.image, plain.image)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"labels": ["a", "b"]}, "4 scores and 2 labels"),
        ({"labels": []}, "labels must be"),
        ({"labels": "yes"}, "labels must be"),
        ({"embedding": "nothing"}, "no layer 'nothing'"),
        ({"embedding": "answer"}, "name the right one"),
        ({"call": lambda net, pixels, tokens: net.grid(pixels)}, r"not scores \(B, K\)"),
        ({"call": lambda net, pixels, tokens: net(pixels)}, "cannot be called"),
        ({"text": {"what": 1}}, 'no "<unk>"'),
        ({"text": lambda question: [1, 2]}, "gave 2 numbers .* return .piece, number. pairs"),
    ],
)
def test_what_does_not_fit_is_named(noise_picture: np.ndarray, settings: Any, words: str) -> None:
    with pytest.raises((vx.InvalidInput, vx.Unsupported), match=words):
        vx.explain(custom(**settings), noise_picture, QUESTION, method="saliency")


def test_a_network_with_two_embeddings_needs_a_path() -> None:
    net = network()
    net.places = nn.Embedding(4, 4)
    with pytest.raises(vx.InvalidInput, match=r"2 embedding layers \(embedding, places\)"):
        vx.CustomModel(net, image=IMAGE, text=VOCABULARY, labels=["a"])


NUMBERS = [2, 3, 4, 5, 6]
PIECES = ["What", "color", "is", "the", "circle"]


@pytest.mark.parametrize(
    "form",
    [
        lambda numbers: torch.tensor(numbers),
        lambda numbers: torch.tensor([numbers]),
        lambda numbers: np.array([numbers]),
        lambda numbers: [numbers],
        lambda numbers: (tuple(numbers),),
        lambda numbers: [torch.tensor(numbers)],
        lambda numbers: {"input_ids": [numbers]},
        lambda numbers: iter(numbers),
        lambda numbers: [list(zip(PIECES, numbers, strict=True))],
    ],
)
def test_numbers_of_a_question_may_be_a_batch_of_one(
    form: Callable[..., Any], noise_picture: np.ndarray
) -> None:
    def text(_question: Any) -> Any:
        return form(NUMBERS)

    def words(question: str) -> list[str]:
        return question.strip("?").split()

    model = custom(text=text, words=words)
    encoded = model.encode(vx.Example(noise_picture, QUESTION))
    assert encoded.ids.tolist() == [NUMBERS]
    assert [word.text for word in encoded.words] == PIECES


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (torch.tensor([NUMBERS, NUMBERS]), "a batch of 2"),
        ([NUMBERS, NUMBERS], "a batch of 2"),
        (torch.tensor(3), "a single number"),
        (3, "of type int"),
        ("23456", "of type str"),
        ({"tokens": NUMBERS}, "of type dict"),
        ([2.5, 3, 4, 5, 6], "2.5.*not a token number"),
        (["2", "3", "4", "5", "6"], "'2'.*not a token number"),
        ([float("nan"), 3, 4, 5, 6], "nan.*not a token number"),
        (None, "of type NoneType"),
    ],
)
def test_what_a_text_function_may_not_give(
    given: Any, message: str, noise_picture: np.ndarray
) -> None:
    model = custom(text=lambda _: given, words=lambda question: question.strip("?").split())
    with pytest.raises(vx.InvalidInput, match=message):
        model.encode(vx.Example(noise_picture, QUESTION))
