"""How much a word of a sentence owes to each word that was written before it.

The earlier words together are one player beside the whole inputs (`Explanation.sources`). Here
their share is divided among them by Owen's value (1977): in every coalition of the inputs, each
word gets its Shapley value of the game of the earlier words, and these are averaged with the
weights that the earlier words have as one player. So the words add up to the share.
"""

from collections.abc import Iterator, Mapping
from functools import partial
from math import comb
from typing import cast

import numpy as np
import torch

from vqa_explain._precision import in_float64
from vqa_explain.game import Game
from vqa_explain.games.estimators import every_coalition, exact_shapley
from vqa_explain.methods.base import Task
from vqa_explain.models.base import check_finite
from vqa_explain.models.encoded import Encoded, with_few
from vqa_explain.models.sentences import Wording

EXACT_WORDS = 5  # of which all 32 coalitions are computed
PAIRS = 4  # of orders, each with its reverse, that are drawn where there are more
ROWS = 8  # answers that are read at once: each is a sequence of its own

Earlier = tuple[tuple[float, ...], tuple[float, ...]]  # values and standard errors


def scores_of(
    task: Task, encoded: Encoded, present: np.ndarray, fills: Mapping[str, str]
) -> np.ndarray:
    """(N, K) float64 of coalitions (N, P), counted, one after another for memory's sake."""
    game = Game(task.model, encoded, task.players, dict(fills), task.targets, seed=task.seed)
    with torch.no_grad():
        rows = [game.logits(torch.from_numpy(row[None]).to(task.model.device)) for row in present]
    task.cost.forwards += len(rows)
    found: np.ndarray = in_float64(torch.cat(rows)).cpu().numpy()
    return found


def earlier_words(task: Task, present: np.ndarray, fills: Mapping[str, str]) -> list[Earlier]:
    """For each word what it owes to each word before it.

    Args:
        task: of a sentence, whose candidates are its words and the sentence.
        present: (2^G, P) bool, the coalitions of the G whole inputs, numbered by their members.
        fills: input name → what absent parts become.
    """
    weights = _weights(len(present))
    return [
        _of_word(task, word, present, fills, weights)
        for word in range(len(task.encoded.labels) - 1)
    ]


def _weights(count: int) -> np.ndarray:
    """(2^G,) the weight of each coalition of G others for one more player: s!(G−s)!/(G+1)!."""
    others = count.bit_length() - 1
    sizes = every_coalition(others).sum(axis=1)
    return np.array([1 / ((others + 1) * comb(others, int(size))) for size in sizes])


def _of_word(
    task: Task, word: int, present: np.ndarray, fills: Mapping[str, str], weights: np.ndarray
) -> Earlier:
    if word == 0:
        return (), ()
    if word <= EXACT_WORDS:
        every = every_coalition(word)
        scores = weights @ _scores_with(task, word, every, present, fills)
        values = exact_shapley(partial(looked_up, scores), word)
        return tuple(values.tolist()), (0.0,) * word
    orders = _orders(word, task.seed)
    kept = np.stack([_steps(order) for order in orders])  # (orders, words + 1, words)
    rows = kept.reshape(-1, word)
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    scores = weights @ _scores_with(task, word, distinct, present, fills)
    gains = np.diff(scores[which.ravel()].reshape(len(orders), word + 1), axis=1)
    each = np.empty_like(gains)
    for number, order in enumerate(orders):
        each[number, order] = gains[number]
    pairs = each.reshape(-1, 2, word).mean(axis=1)
    errors = pairs.std(axis=0, ddof=1) / np.sqrt(len(pairs))
    return tuple(pairs.mean(axis=0).tolist()), tuple(errors.tolist())


def looked_up(scores: np.ndarray, coalitions: np.ndarray) -> np.ndarray:
    """Scores (N,) of coalitions (N, P), of those (2^P,) of all."""
    found: np.ndarray = scores[coalitions @ (1 << np.arange(coalitions.shape[1]))]
    return found


def _orders(words: int, seed: int) -> list[np.ndarray]:
    """Random orders, each before its reverse."""
    generator = np.random.default_rng(seed)
    drawn = [generator.permutation(words) for _ in range(PAIRS)]
    return [order for one in drawn for order in (one, one[::-1])]


def _steps(order: np.ndarray) -> np.ndarray:
    """(words + 1, words) bool, which words are there before each of an order comes, and at its
    end.
    """
    found = np.zeros((len(order) + 1, len(order)), dtype=bool)
    for number, word in enumerate(order):
        found[number + 1 :, word] = True
    return found


def _scores_with(
    task: Task, word: int, kept: np.ndarray, present: np.ndarray, fills: Mapping[str, str]
) -> np.ndarray:
    """(2^G, M) the score of a word in every coalition of the inputs, with only some of the words
    before it (M, words).
    """
    model = cast(Wording, task.model)
    encoded = model.with_earlier_words(task.encoded, word, kept)
    parts = [scores_of(task, part, present, fills) for part in _parts(encoded)]
    found = np.concatenate(parts, axis=1)
    check_finite(torch.from_numpy(found), "the log-probability of a word without earlier words")
    return found


def _parts(encoded: Encoded) -> Iterator[Encoded]:
    """The example with few of its candidates at once."""
    count = len(encoded.labels)
    for first in range(0, count, ROWS):
        yield with_few(encoded, range(first, min(first + ROWS, count)))
