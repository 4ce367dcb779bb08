"""Does the score follow the explanation when players are taken away?"""

import numpy as np

from vqa_explain.game import Game


def deletion(game: Game, values: np.ndarray, steps: int = 20) -> float:
    """Area under the score as players leave in descending order of value; lower is better.

    Petsiuk et al. 2018 (RISE), over the players of a game: at k of `steps` + 1 points the first k / steps of them are
    absent; trapezoid on [0, 1]. With a game of the target's probability the range is 0 … 1.
    """
    order = np.argsort(-values, kind="stable")
    gone = np.rint(np.linspace(0, len(values), steps + 1)).astype(int)
    coalitions = np.ones((steps + 1, len(values)), dtype=bool)
    for row, count in enumerate(gone):
        coalitions[row, order[:count]] = False
    return float(np.trapezoid(game(coalitions), dx=1 / steps))
