"""Methods that take something away and look at what the score does."""

from dataclasses import dataclass

import numpy as np
import torch

from vqa_explain import units
from vqa_explain.errors import InvalidInput
from vqa_explain.methods.base import (
    BASELINES,
    GAP,
    IMAGE_FILLS,
    TEXT_FILLS,
    Attribution,
    Task,
    from_players,
    register_method,
)
from vqa_explain.registry import parameter

WINDOWS_AT_ONCE = 64


def _starts(size: int, window: int, stride: int) -> list[int]:
    """First pixels of the windows along one axis; the last is cut at the edge so that all is covered."""
    count = 1 + max(0, -(-(size - window) // stride))
    return [i * stride for i in range(count)]


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
    """f(x) − f(x with a window replaced); each window's difference is spread over its pixels, overlaps averaged.

    Words are replaced in runs of `ngram` in the same way. The error is the completeness gap: how far all values
    together are from the score's change when everything is replaced (they need not agree when parts interact).
    """

    window: int | None = parameter(
        None, "side in pixels of the model's frame (default: an eighth of it)", low=1
    )
    stride: int | None = parameter(None, "pixels between windows (default: half a window)", low=1)
    ngram: int = parameter(1, "words replaced together", low=1, high=64)
    image_fill: str = parameter("blur", "what a window becomes", choices=BASELINES)
    text_fill: str | None = parameter(
        None, "what a word becomes (default: the model's)", choices=TEXT_FILLS
    )

    def __call__(self, task: Task) -> Attribution:
        encoded, model = task.encoded, task.model
        height, width = encoded.pixels.shape[2:]
        window = self.window or max(1, round(max(height, width) / 8))
        stride = self.stride or max(1, window // 2)
        if stride > window:
            raise InvalidInput(
                f"stride {stride} is above window {window}, so pixels would be left out; lower it"
            )
        fills = task.fills(self.image_fill, self.text_fill)
        leaves, blank = model.leaves(encoded), model.baselines(encoded, fills, task.seed)
        boxes = [
            (top, left)
            for top in _starts(height, window, stride)
            for left in _starts(width, window, stride)
        ]
        words = len(task.players.units.words)
        last = max(1, words - self.ngram + 1)
        runs = [list(range(i, min(i + self.ngram, words))) for i in range(last)] if words else []
        variants = len(boxes) + len(runs)
        owner = torch.from_numpy(task.players.units.owner).to(model.device)
        scores: list[float] = []
        with torch.no_grad():
            full = float(task.score(leaves))
            empty = float(task.score(blank))
            for first in range(0, variants, WINDOWS_AT_ONCE):
                batch = range(first, min(first + WINDOWS_AT_ONCE, variants))
                changed = {
                    name: leaf.expand(len(batch), *leaf.shape[1:]).clone()
                    for name, leaf in leaves.items()
                }
                for row, number in enumerate(batch):
                    if number < len(boxes):
                        top, left = boxes[number]
                        part = (slice(None), slice(top, top + window), slice(left, left + window))
                        changed["image"][row][part] = blank["image"][0][part]
                    else:
                        mine = torch.isin(
                            owner, torch.tensor(runs[number - len(boxes)], device=model.device)
                        )
                        changed["text"][row, mine] = blank["text"][0, mine]
                scores += task.score(changed).tolist()
                if task.progress:
                    task.progress(len(scores), variants)
        drops = full - np.array(scores)
        inside = encoded.geometry.inside
        image, tokens = self._gather(drops, boxes, runs, window, inside, owner.cpu().numpy(), words)
        gap = abs(image.sum() + tokens.sum() - (full - empty))
        return Attribution(image, tokens, gap, GAP)

    def _gather(
        self,
        drops: np.ndarray,
        boxes: list[tuple[int, int]],
        runs: list[list[int]],
        window: int,
        inside: np.ndarray,
        owner: np.ndarray,
        words: int,
    ) -> tuple[np.ndarray, np.ndarray]:
        image, times = np.zeros(inside.shape), np.zeros(inside.shape)
        for drop, (top, left) in zip(drops, boxes, strict=False):
            part = (slice(top, top + window), slice(left, left + window))
            image[part] += inside[part] * drop / max(1, inside[part].sum())  # padding never changes
            times[part] += 1
        values, seen = np.zeros(words), np.zeros(words)
        for drop, run in zip(drops[len(boxes) :], runs, strict=True):
            values[run] += drop / len(run)
            seen[run] += 1
        values /= np.maximum(seen, 1)
        tokens = np.zeros(len(owner))
        for word in range(words):
            tokens[owner == word] = values[word] / (owner == word).sum()
        return image / times, tokens


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

    The error is the completeness gap: how far the values together are from v(P) − v(∅).
    """

    image_fill: str | None = parameter(
        None, "what an absent region becomes (default: the model's)", choices=IMAGE_FILLS
    )
    text_fill: str | None = parameter(
        None, "what an absent word becomes (default: the model's)", choices=TEXT_FILLS
    )

    def __call__(self, task: Task) -> Attribution:
        game = task.game(self.image_fill, self.text_fill)
        nobody, everybody = game.ends()
        count, done = len(game), 0

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if task.progress:
                task.progress(done, count)

        values = everybody - game(~np.eye(count, dtype=bool), tell)
        gap = abs(values.sum() - (everybody - nobody))
        return from_players(task, game, values, None, gap, GAP)
