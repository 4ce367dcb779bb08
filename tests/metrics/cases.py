"""Cases whose games are known: a network that reads which pixels are there and answers from a
table.
"""

from typing import Any

import numpy as np
import torch
from conftest import ToTensor
from torch import nn

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.game import make_players
from vqa_explain.methods import create
from vqa_explain.methods.base import Attribution, Task
from vqa_explain.metrics.base import Case, targets_of
from vqa_explain.models.base import answers
from vqa_explain.target import Target


class Table(nn.Module):
    """The probability of "a" is table[S], S being the white pixels read as binary digits,
    the first as the lowest.
    """

    def __init__(self, table: Any) -> None:
        super().__init__()
        self.log_odds = nn.Parameter(torch.logit(torch.tensor(table, dtype=torch.float64)).float())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        white = (x[:, 0].flatten(1) > 0.5).long()
        index = (white * 2 ** torch.arange(white.shape[1])).sum(1)
        return torch.stack([self.log_odds[index], torch.zeros(len(x))], dim=1)


def table_case(table: Any, values: Any, shape: Any, answer: str = "a") -> vx.Case:
    """A case of one player per pixel with these values (P,), on a white picture of `shape`,
    absent pixels black.
    """
    return network_case(
        Table(table), np.full((*shape, 3), 255, np.uint8), values, shape, answer=answer
    )


def network_case(
    network: torch.nn.Module,
    picture: np.ndarray,
    values: Any,
    grid: Any,
    answer: str = "a",
    labels: Any = ("a", "b"),
    truth: Any = None,
    seed: int = 0,
) -> vx.Case:
    model = vx.load(network, transform=ToTensor(), labels=list(labels), device="cpu")
    masks, about = (None, ()) if truth is None else (truth[None], (0,))
    encoded = model.encode(vx.Example(picture, answer=answer, masks=masks, about=about))
    players = make_players(encoded, {"image": grid})
    best = answers(model, encoded)
    target = Target(0, None, "logit")
    targets = targets_of(model, encoded, target)
    task = Task(model, encoded, target, players, targets, seed)
    case = Case(task, best, {"image": "constant"})
    values = np.asarray(values, dtype=float)
    labels = players.of["image"].division.owner
    image = (values / np.bincount(labels.ravel()))[labels]
    found = Attribution({"image": image}, None, "given", players, values)
    return case.of(create("leave_one_out", {}), found, Cost())
