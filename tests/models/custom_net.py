"""A network like that of Captum's tutorial on visual question answering: a grid of convolutions, a
recurrent reading of the question, attention of the one over the other, a classifier.
"""

from typing import Any

import torch
from torch import nn
from torchvision import transforms

import vqa_explain as vx

VOCABULARY = {
    "<pad>": 0,
    "<unk>": 1,
    "what": 2,
    "color": 3,
    "is": 4,
    "the": 5,
    "circle": 6,
    "square": 7,
}


class AttendsToGrid(nn.Module):
    def __init__(self, words: int = 8, answers: int = 4, wide: int = 16) -> None:
        super().__init__()
        self.grid = nn.Sequential(
            nn.Conv2d(3, wide, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(wide, wide, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.embedding = nn.Embedding(words, wide, padding_idx=0)
        self.reader = nn.LSTM(wide, wide, batch_first=True)
        self.look = nn.Conv2d(2 * wide, 1, 1)
        self.answer = nn.Sequential(nn.Linear(2 * wide, wide), nn.ReLU(), nn.Linear(wide, answers))

    def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        maps = self.grid(pixels)
        asked = self.reader(torch.tanh(self.embedding(tokens)))[1][0][-1]
        both = torch.cat([maps, asked[:, :, None, None].expand(-1, -1, *maps.shape[2:])], dim=1)
        weights = self.look(both).flatten(2).softmax(-1)
        scores: torch.Tensor = self.answer(
            torch.cat([(maps.flatten(2) * weights).sum(-1), asked], dim=1)
        )
        return scores


def network() -> AttendsToGrid:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        module = AttendsToGrid()
        for p in module.parameters():
            nn.init.normal_(p, std=0.3)
    return module


IMAGE = transforms.Compose([transforms.Resize((32, 32)), transforms.ToTensor()])


def custom(**settings: Any) -> vx.CustomModel:
    named = {
        "image": IMAGE,
        "text": VOCABULARY,
        "labels": ["yes", "no", "red", "blue"],
        "device": "cpu",
    }
    return vx.CustomModel(network(), **{**named, **settings})
