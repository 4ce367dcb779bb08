"""How many frames networks read that take videos and no pictures, found by trying.

Some make as many tokens of every video, so that shorter ones fail and frames at the end of longer
ones are left out.
"""

import logging
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from vqa_explain._memory import lacks_memory
from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.models.calling import FAILURES
from vqa_explain.models.generative.conversation import Visual
from vqa_explain.models.generative.pixels import pattern

log = logging.getLogger("vqa_explain")
MOST = 32  # frames of the longest video that is tried
TRIED = (48, 72)  # (H, W) of its frames


class VideoLengths:
    """The lengths of videos that one network reads to their ends.

    Args:
        name: the model, for errors.
        logits: videos → what the network says of them with a question that does not matter.
    """

    def __init__(self, name: str, logits: Callable[[Sequence[Visual]], Tensor]) -> None:
        self._name, self._logits = name, logits
        self._known: dict[tuple[int, ...], bool] = {}

    @cached_property
    def fewest(self) -> int | None:
        """The frames of the shortest video that it reads; `None` if it reads none that is tried."""
        return next((length for length in range(1, MOST + 1) if self._reads((length,))), None)

    def check(self, visuals: Sequence[Visual]) -> None:
        """Refuses what the network does not read to its end.

        Raises:
            InvalidInput: there is a picture, or videos are too short, too long or too many.
        """
        if not visuals:
            return
        still = next((one.name for one in visuals if not one.is_video), None)
        if still is None and self._reads(tuple(len(one.frames) for one in visuals)):
            return
        if self.fewest is None:  # why is said where the network is run
            return
        frames = f"{self.fewest} frame{'s' if self.fewest > 1 else ''}"
        if still is not None:
            what = f"{still!r} is a picture"
        elif len(visuals) > 1:
            what = f"there are {len(visuals)} videos"
        else:
            what = f"{visuals[0].name!r} has {len(visuals[0].frames)}"
        raise InvalidInput(
            f"model {self._name!r} reads one video of {frames} and no pictures, and {what}; give "
            f"Example.of({{'video': frames, 'question': text}}) with {frames}"
        )

    def _reads(self, lengths: tuple[int, ...]) -> bool:
        """Whether the network runs on videos of these lengths, and their last frames count."""
        if lengths not in self._known:
            self._known[lengths] = self._last_counts(lengths)
        return self._known[lengths]

    def _last_counts(self, lengths: tuple[int, ...]) -> bool:
        gray, mark = np.full((*TRIED, 3), 128, dtype=np.uint8), pattern(TRIED)
        videos = [
            Visual(f"video {number}", (gray,) * length, is_video=True)
            for number, length in enumerate(lengths)
        ]
        try:
            plain = self._logits(videos)
            for number, video in enumerate(videos):
                changed = video.with_frame(len(video.frames) - 1, mark)
                other = self._logits([*videos[:number], changed, *videos[number + 1 :]])
                if torch.equal(plain, other):
                    return False
        except (VQAExplainError, *FAILURES) as error:
            if lacks_memory(error):
                raise
            log.info("model %r does not run on videos of %s frames: %s", self._name, lengths, error)
            return False
        return True
