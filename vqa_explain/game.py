"""The combinatorial view: regions and words are players, and any set of them has a score."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain.batches import Batches
from vqa_explain.cost import Cost
from vqa_explain.errors import NonFiniteScore
from vqa_explain.features.regions import Regions, divide, present_elements
from vqa_explain.features.text import Units, group_words
from vqa_explain.models.base import Model
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sharing import network_held
from vqa_explain.precision import in_float64
from vqa_explain.target import Target


@dataclass(frozen=True, eq=False)
class Players:
    """The players of a game: the regions of a division of the frame, then the pieces of the question."""

    regions: Regions
    units: Units

    def __len__(self) -> int:
        return self.regions.count + len(self.units.words)

    @property
    def cross(self) -> np.ndarray:
        """(W · R, 2) the players of every pair of a word and a region, word by word."""
        regions, words = np.arange(self.regions.count), np.arange(len(self.units.words))
        pairs = np.stack(np.meshgrid(words + len(regions), regions, indexing="ij"), axis=-1)
        return pairs.reshape(-1, 2)


def make_players(encoded: Encoded, regions: Any = None, words: Any = None) -> Players:
    """The players that were asked for: see `features.regions.divide` and `features.text.group_words`."""
    return Players(
        divide(regions, encoded.picture, encoded.geometry, encoded.grid),
        group_words(words, encoded.example.question, encoded.words, encoded.tokens),
    )


class Game:
    """Coalitions (N, P) bool → scores (N,) float64 of the target with only those players present.

    A coalition is never computed twice: the scores of all `targets` are kept under the coalition's packed bits, and
    the games that `facing` gives share them. Players that a coalition lacks become the fill of their feature; with
    the fill "drop", regions are first made of whole patches (`Regions.snapped`).
    """

    def __init__(
        self,
        model: Model,
        encoded: Encoded,
        players: Players,
        fills: dict[str, str],
        targets: Target | tuple[Target, ...],
        *,
        seed: int = 0,
        cost: Cost | None = None,
    ) -> None:
        if fills["image"] == "drop":
            players = Players(players.regions.snapped(encoded.grid), players.units)
        self.model, self.encoded, self.players = model, encoded, players
        self.targets = targets if isinstance(targets, tuple) else (targets,)
        self.fills, self.seed = fills, seed
        self.cost = cost if cost is not None else Cost()
        self._column = 0
        self._known: dict[bytes, tuple[float, ...]] = {}
        self._batches = Batches(model, encoded)
        area = players.regions.area
        # The share of the whole sequence that each present player keeps, where absent patches leave it.
        image, words = encoded.grid[0] * encoded.grid[1], len(encoded.tokens)
        self._length = (
            area / area.sum() * image / (image + words)
            if fills["image"] == "drop"
            else np.zeros(len(area))
        )

    def __len__(self) -> int:
        """The number of players P."""
        return len(self.players)

    def facing(self, target: Target, cost: Cost) -> "Game":
        """The same game as another of its targets sees it, which costs only the coalitions that nobody asked before."""
        other = copy.copy(self)
        other._column, other.cost = self.targets.index(target), cost
        return other

    def __call__(
        self, coalitions: np.ndarray, progress: Callable[[int], None] | None = None
    ) -> np.ndarray:
        """Scores (N,) of coalitions (N, P).

        Raises:
            NonFiniteScore: the model gave NaN or infinity; the message names the coalition.
            OutOfMemory: not even one coalition fits.
        """
        coalitions = np.atleast_2d(np.asarray(coalitions, dtype=bool))
        keys = [row.tobytes() for row in np.packbits(coalitions, axis=1)]
        fresh = {key: row for row, key in enumerate(keys) if key not in self._known}
        rows = np.fromiter(fresh.values(), dtype=int, count=len(fresh))
        lengths = 1 - self._length.sum() + coalitions[rows, : len(self._length)] @ self._length
        # Coalitions of like length share a batch, so that dropped patches shorten the sequence of all of them.
        order = np.argsort(lengths, kind="stable")
        for part in self._batches.split(lengths[order]):
            batch = rows[order[part]]
            longest = float(lengths[order[part]][-1])
            for row, values in zip(batch, self._compute(coalitions[batch], longest), strict=True):
                self._known[keys[row]] = values
            if progress:
                progress(len(batch))
        return np.array([self._known[key][self._column] for key in keys])

    def _compute(self, coalitions: np.ndarray, longest: float) -> list[tuple[float, ...]]:
        """One batch, the longest being this share of a whole example."""

        def run(rows: slice) -> list[tuple[float, ...]]:
            part = coalitions[rows]
            with (
                network_held(self.model.module),
                self._batches.measured(self.model.module, len(part) * longest),
            ):
                logits = self.logits(torch.from_numpy(part).to(self.model.device))
            self.cost.forwards += len(part)
            return self._values(logits, part)

        return [
            values for part in self._batches.fitting.parts(len(coalitions), run) for values in part
        ]

    @torch.no_grad()
    def _values(self, logits: Tensor, coalitions: np.ndarray) -> list[tuple[float, ...]]:
        """Every target's score of each coalition."""
        values = torch.stack(
            [in_float64(target(in_float64(logits.detach()))) for target in self.targets], dim=1
        ).numpy()
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            absent = np.flatnonzero(~coalitions[wrong[0]])[:8].tolist()
            raise NonFiniteScore(
                f"the model gave {values[wrong[0]].tolist()} with players {absent} absent; check its weights, or try "
                "another fill"
            )
        return [tuple(row) for row in values.tolist()]

    def logits(self, present: Tensor) -> Tensor:
        """Answer scores (N, K) of coalitions (N, P) bool; they are neither kept nor counted."""
        shown, spoken = present.split(
            [self.players.regions.count, len(self.players.units.words)], dim=1
        )
        said = present_elements(spoken, self.players.units.owner)
        return self.model.coalition_scores(
            self.encoded, self.players.regions, shown, said, self.fills, self.seed
        )

    def ends(self) -> tuple[float, float]:
        """v(∅) and v(P): the score with nobody and with everybody present."""
        nobody, everybody = self(np.stack([np.zeros(len(self), bool), np.ones(len(self), bool)]))
        return float(nobody), float(everybody)
