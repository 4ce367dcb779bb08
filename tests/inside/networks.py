"""Small networks whose layers the tests look into, and one that knows words and pictures."""

from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import vqa_explain as vx

SIDE = 16


class Convolutions(nn.Module):
    """Maps of 8 × 8 and of 4 × 4, and a layer that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.first = nn.Conv2d(3, 6, 3, padding=1, stride=2)
            self.relu1 = nn.ReLU()
            self.second = nn.Conv2d(6, 8, 3, padding=1, stride=2)
            self.relu2 = nn.ReLU()
            self.again = nn.Linear(8, 8)
            self.last = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu2(self.second(self.relu1(self.first(x)))).mean(dim=(2, 3))
        x = torch.tanh(self.again(torch.tanh(self.again(x))))
        scores: Tensor = self.last(x)
        return scores


class Reader(nn.Module):
    """Words and a picture: one hidden layer over a mean embedding and a small map."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(4)
            self.look = nn.Conv2d(3, 4, 8, stride=8)
            self.embedding = nn.Embedding(8, 5, padding_idx=0)
            self.hidden = nn.Linear(4 * 4 + 5, 7)
            self.answer = nn.Linear(7, 3)

    def forward(self, pixels: Tensor, tokens: Tensor) -> Tensor:
        seen = torch.tanh(self.look(pixels)).flatten(1)
        both = torch.cat([seen, self.embedding(tokens).mean(dim=1)], dim=1)
        scores: Tensor = self.answer(torch.tanh(self.hidden(both)))
        return scores


VOCABULARY = {"<pad>": 0, "<unk>": 1, "what": 2, "color": 3, "is": 4, "it": 5}
QUESTION = "what color is it"
LABELS = ["a", "b", "c"]


def to_tensor(image: Any) -> Tensor:
    return torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1).float() / 255


def photo() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


def pixels() -> Tensor:
    return to_tensor(photo())[None]


@cache
def convolutions() -> Any:
    return vx.load(Convolutions().eval(), transform=to_tensor, labels=LABELS, device="cpu")


@cache
def reader() -> vx.CustomModel:
    return vx.CustomModel(Reader(), image=to_tensor, text=VOCABULARY, labels=LABELS, device="cpu")


class Idle(Convolutions):
    """The same, of which the second convolution runs for nothing."""

    def forward(self, x: Tensor) -> Tensor:
        self.second(self.first(x)).sum()
        scores: Tensor = self.last(self.first(x).mean(dim=(2, 3)).repeat(1, 2)[:, :8])
        return scores


class Twos(nn.Module):
    """A network that takes pictures in twos only."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Convolutions()

    def forward(self, x: Tensor) -> Tensor:
        assert len(x) == 2
        scores: Tensor = self.body(x)
        return scores


class Mixing(nn.Module):
    """A block that mixes positions by their mean, and units by a matrix."""

    def __init__(self, wide: int) -> None:
        super().__init__()
        self.own, self.mean = nn.Linear(wide, wide), nn.Linear(wide, wide)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + torch.tanh(self.own(x) + self.mean(x.mean(dim=1, keepdim=True)))
        return found


class TwoBlocks(nn.Module):
    """Sixteen patches and a first token of its own, two blocks, and a head on the first token."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(8)
            self.look = nn.Conv2d(3, 6, 4, stride=4)
            self.first = nn.Parameter(torch.randn(1, 1, 6))
            self.blocks = nn.ModuleList([Mixing(6), Mixing(6)])
            self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.look(x).flatten(2).transpose(1, 2)
        states = torch.cat([self.first.expand(len(x), -1, -1), patches], dim=1)
        for block in self.blocks:
            states = block(states)
        scores: Tensor = self.head(states[:, 0])
        return scores


@cache
def two_blocks() -> Any:
    return vx.load(TwoBlocks().eval(), transform=to_tensor, labels=LABELS, device="cpu")
