"""Methods that take something away and look at what the score does."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.features.base import Windows
from vqa_explain.game import Game
from vqa_explain.games.sampling import linear_errors
from vqa_explain.methods.base import (
    BASELINES,
    FILLS_HELP,
    GAP,
    IMAGE_FILLS,
    TEXT_FILLS,
    Attribution,
    Task,
    asked_fills,
    fill_parameter,
    from_players,
    register_method,
    total,
    with_sampling,
)
from vqa_explain.models.base import Leaves
from vqa_explain.registry import parameter

WINDOWS_AT_ONCE = 64


@register_method(
    "occlusion",
    source="Zeiler & Fergus 2014, arXiv:1311.2901, section 4.2",
    unit=units.POINTS,
    needs={"pixels"},
    error=GAP,
    cost="one forward a window and a word: about 225 + W by default",
)
@dataclass(frozen=True)
class Occlusion:
    """f(x) − f(x with a window replaced); each window's difference is spread over its pixels,
    overlaps averaged.

    Words are replaced in runs of `ngram` in the same way. The error is the completeness gap: how
    far all values together are from the score's change when everything is replaced (they need not
    agree when parts interact).
    """

    window: int | None = parameter(
        None, "side in pixels of the model's frame (default: an eighth of it)", low=1
    )
    stride: int | None = parameter(None, "pixels between windows (default: half a window)", low=1)
    ngram: int = parameter(1, "words replaced together", low=1, high=64)
    image_fill: str = parameter("mean", "what a window becomes", choices=BASELINES)
    text_fill: str | None = parameter(
        None, "what a word becomes (default: the model's)", choices=TEXT_FILLS
    )
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def __call__(self, task: Task) -> Attribution:
        windows = {
            one.name: one.feature.windows(
                one.content,
                task.players.of[one.name].division,
                side=self.window,
                stride=self.stride,
                run=self.ngram,
            )
            for one in task.encoded.inputs
            if not one.fixed
        }
        leaves = task.leaves()
        blank = task.baselines(asked_fills(self, task.encoded.inputs))
        with torch.no_grad():
            full, empty = float(task.score_as_is(leaves)), float(task.score_as_is(blank))
            scores = np.array(list(self._scores(task, leaves, blank, windows)))
        values = {one.name: np.zeros(one.shape) for one in task.encoded.inputs}
        drops = full - scores
        for name, some in windows.items():
            mine, drops = np.split(drops, [len(some.masks)])
            values[name] = some.gather(mine)
        return Attribution(values, abs(total(values) - (full - empty)), GAP)

    def _scores(
        self, task: Task, leaves: Leaves, blank: Leaves, windows: dict[str, Windows]
    ) -> Iterator[float]:
        """The score with each window of each input replaced alone."""
        every = [
            (name, number) for name, some in windows.items() for number in range(len(some.masks))
        ]
        for first in range(0, len(every), WINDOWS_AT_ONCE):
            batch = every[first : first + WINDOWS_AT_ONCE]
            changed = {
                name: leaf.expand(len(batch), *leaf.shape[1:]).clone()
                for name, leaf in leaves.items()
            }
            for row, (name, number) in enumerate(batch):
                gone = torch.from_numpy(windows[name].masks[number]).to(leaves[name].device)
                gone = task.encoded[name].feature.over_channels(gone[None])
                changed[name][row] = torch.where(gone, blank[name], leaves[name])[0]
            yield from task.score_as_is(changed).tolist()
            if task.progress:
                task.progress(first + len(batch), len(every))


@register_method(
    "leave_one_out",
    source="Li et al. 2016, arXiv:1612.08220; Covert et al. 2021, arXiv:2011.14878",
    unit=units.POINTS,
    error=GAP,
    cost="P + 2 forwards",
)
@dataclass(frozen=True)
class LeaveOneOut:
    """v(P) − v(P∖{i}): what is lost when one region or word alone is absent.

    The error is the completeness gap: how far the values together are from v(P) − v(∅). Where
    scores are sampled, each value has the standard error of its two scores besides.
    """

    image_fill: str | None = fill_parameter("region", IMAGE_FILLS)
    text_fill: str | None = fill_parameter("word", TEXT_FILLS)
    fills: Mapping[str, str] | None = parameter(None, FILLS_HELP, mapping=True)

    def __call__(self, task: Task) -> Attribution:
        game = task.game(asked_fills(self, task.encoded.inputs))
        nobody, everybody = game.ends()
        count, done = len(game), 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if task.progress:
                task.progress(done, count)

        values = everybody - game(~np.eye(count, dtype=bool), tell)
        gap = abs(values.sum() - (everybody - nobody))
        found = from_players(game, values, None, gap, GAP)
        return with_sampling(found, _of_differences(game)) if game.is_sampled else found


def _of_differences(game: Game) -> np.ndarray:
    """(P,) the sampling errors of v(P) − v(P∖{i})."""
    known = game.sampling_errors()
    size = known.coalitions.sum(axis=1)
    alone = (size == len(game) - 1)[:, None] & ~known.coalitions
    weights = (size == len(game))[:, None].astype(float) - alone
    return linear_errors(weights, known.questions, known.variances)
