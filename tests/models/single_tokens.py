"""The log-probability of a word from the scores of its single tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from vqa_explain.game import Game, make_players


def word_score(
    model: Any,
    plain: Any,
    read: Sequence[int],
    own: Sequence[int],
    there: tuple[bool, bool],
    fills: Mapping[str, str],
) -> float:
    """The log-probability of the tokens `own` behind the tokens `read` of an answer.

    Args:
        model: the model.
        plain: the example.
        read: the tokens before the word.
        own: those of the word.
        there: whether the picture is there, and whether the question is.
        fills: what stands for what is not.
    """
    total = 0.0
    for place in range(len(own)):  # each token of the word, given those before it
        ids = (*read, *own[: place + 1])
        one = model.with_answers(plain, ["a text"], len(ids) - 1, {"a text": ids})
        players = make_players(one, {"image": 2})
        here = torch.tensor([[there[0]] * 4 + [there[1]] * (len(players) - 4)])
        with torch.no_grad():
            total += float(Game(model, one, players, dict(fills), ()).logits(here)[0, 0])
    return total
