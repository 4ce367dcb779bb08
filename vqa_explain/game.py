"""The combinatorial view: regions and words are players, and any set of them has a score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from vqa_explain.errors import NonFiniteScore
from vqa_explain.features.image import Regions, grid_regions
from vqa_explain.models.base import Encoded, Model, Target


@dataclass
class Cost:
    """What was spent: examples through the model forward and backward, and seconds."""

    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class Players:
    """The players of a game: the regions of a division of the frame, then the words of the question."""

    regions: Regions
    words: int

    def __len__(self) -> int:
        return self.regions.count + self.words


def make_players(encoded: Encoded, grid: tuple[int, int] | None = None) -> Players:
    """Players from a grid (rows, columns) over the frame (default: the model's own) and all words."""
    frame = (encoded.pixels.shape[2], encoded.pixels.shape[3])
    return Players(grid_regions(frame, grid or encoded.grid), len(encoded.words))


class Game:
    """Coalitions (N, P) bool → scores (N,) float64 of the target with only those players present.

    A coalition is never computed twice: scores are kept under the coalition's packed bits. Players that a coalition
    lacks become the fill of their feature.
    """

    def __init__(
        self,
        model: Model,
        encoded: Encoded,
        players: Players,
        fills: dict[str, str],
        target: Target,
        *,
        seed: int = 0,
        batch: int = 64,
        cost: Cost | None = None,
    ) -> None:
        self.model, self.encoded, self.players, self.target = model, encoded, players, target
        self.fills, self.seed, self.batch = fills, seed, batch
        self.cost = cost if cost is not None else Cost()
        self._known: dict[bytes, float] = {}

    def __len__(self) -> int:
        """The number of players P."""
        return len(self.players)

    def __call__(self, coalitions: np.ndarray, progress: Callable[[int], None] | None = None) -> np.ndarray:
        """Scores (N,) of coalitions (N, P).

        Raises:
            NonFiniteScore: the model gave NaN or infinity; the message names the coalition.
        """
        coalitions = np.atleast_2d(np.asarray(coalitions, dtype=bool))
        keys = [row.tobytes() for row in np.packbits(coalitions, axis=1)]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        # Coalitions of like size share a batch, so that dropped patches shorten the sequence of all of them.
        todo = sorted(fresh.values(), key=lambda row: int(coalitions[row].sum()))
        for start in range(0, len(todo), self.batch):
            rows = todo[start : start + self.batch]
            for row, value in zip(rows, self._compute(coalitions[rows]), strict=True):
                self._known[keys[row]] = value
            if progress:
                progress(len(rows))
        return np.array([self._known[key] for key in keys])

    def _compute(self, coalitions: np.ndarray) -> list[float]:
        present = torch.from_numpy(coalitions).to(self.model.device)
        shown, said = present.split([self.players.regions.count, self.players.words], dim=1)
        logits = self.model.coalition_scores(self.encoded, self.players.regions, shown, said, self.fills, self.seed)
        self.cost.forwards += len(coalitions)
        values = self.target(logits.double()).tolist()
        for row, value in enumerate(values):
            if not np.isfinite(value):
                absent = np.flatnonzero(~coalitions[row])[:8].tolist()
                raise NonFiniteScore(
                    f"the model gave {value} with players {absent} absent; check its weights, or try another fill"
                )
        return values

    def ends(self) -> tuple[float, float]:
        """v(∅) and v(P): the score with nobody and with everybody present."""
        nobody, everybody = self(np.stack([np.zeros(len(self), bool), np.ones(len(self), bool)]))
        return float(nobody), float(everybody)
