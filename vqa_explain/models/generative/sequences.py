"""A processor's tensors with other pictures in them, in batches, or cut to one picture alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from vqa_explain.models.generative.conversation import Visual
from vqa_explain.models.generative.reading import Shown
from vqa_explain.models.generative.slots import Cut, Slot

# Tensors with a row for each picture, and those with a row for each video.
OF_PICTURES = ("image_grid_thw", "image_sizes")
OF_VIDEOS = ("video_grid_thw", "second_per_grid_ts")


@dataclass(frozen=True, eq=False)
class Sequences:
    """A processor's tensors, and where pictures are in them.

    Attributes:
        inputs: the tensors of one example.
        shown: input name → where that picture or frame is.
    """

    inputs: Mapping[str, Tensor]
    shown: Mapping[str, Shown]

    def showing(self, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of B examples.

        Args:
            leaves: input name → frames (B, 3, H', W'); pictures that are not there stay as they
                are. Of other inputs only B counts.
        """
        batch = len(next(iter(leaves.values()))) if leaves else 1
        frames = {name: leaf for name, leaf in leaves.items() if name in self.shown}
        rows = {name: _repeated(value, batch) for name, value in self.inputs.items()}
        return {**rows, **self.changed(frames)}

    def changed(self, frames: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors that show pictures, of frames (B, 3, H', W') by input name."""
        found: dict[str, Tensor] = {}
        for name, frame in frames.items():
            one = self.shown[name]
            for tensor, values in one.layout.values(frame, one.geometries).items():
                before = found.get(tensor)
                if before is None:
                    before = _repeated(self.inputs[tensor], len(frame))
                found[tensor] = one.slots[tensor].put(before, values)
        return found


def _repeated(value: Tensor, batch: int) -> Tensor:
    return value.repeat(batch, *[1] * (value.ndim - 1))


def alone(
    whole: Sequences, visuals: Sequence[Visual], number: int, positions: np.ndarray
) -> tuple[Sequences, np.ndarray]:
    """One picture or video cut out of the tensors: its tokens and its values alone.

    What is not known to belong to one picture stays as it is, so whether the network takes it so is
    to be measured.

    Args:
        whole: the tensors of all.
        visuals: what is shown.
        number: which of it is cut out.
        positions: of its tokens in the prompt.

    Returns:
        The tensors, and the positions of the tokens in them.
    """
    length = whole.inputs["input_ids"].shape[1]
    start, stop = int(positions[0]), int(positions[-1]) + 1
    own = {name: one for name, one in whole.shown.items() if one.visual == number}
    slots = {name: [one.slots[name] for one in own.values()] for name in _tensors(own)}
    cuts = {name: Cut.around(several) for name, several in slots.items()}
    is_video = visuals[number].is_video
    row = sum(one.is_video == is_video for one in visuals[:number])
    by_row = OF_VIDEOS if is_video else OF_PICTURES
    inputs: dict[str, Any] = {}
    for name, value in whole.inputs.items():
        masked = name.replace("attention_mask", "values")  # such as of padding in tiles
        if name in cuts:
            inputs[name] = cuts[name].tensor(value)
        elif name in by_row:
            inputs[name] = value[row : row + 1]
        elif value.shape[:2] == (1, length):
            inputs[name] = value[:, start:stop]
        elif masked != name and masked in cuts:
            inputs[name] = value[cuts[masked].region.index]
        elif not _shows_others(name, whole, own):
            inputs[name] = value
    moved = {name: replace(one, slots=_within(one.slots, cuts)) for name, one in own.items()}
    return Sequences(inputs, moved), positions - start


def _tensors(shown: Mapping[str, Shown]) -> set[str]:
    return {tensor for one in shown.values() for tensor in one.slots}


def _shows_others(name: str, whole: Sequences, own: Mapping[str, Shown]) -> bool:
    """Whether a tensor is about other pictures or videos alone."""
    others = {key: one for key, one in whole.shown.items() if key not in own}
    return name in _tensors(others) or name in (*OF_PICTURES, *OF_VIDEOS)


def _within(slots: Mapping[str, Slot], cuts: Mapping[str, Cut]) -> dict[str, Slot]:
    return {name: cuts[name].inside(slot) for name, slot in slots.items()}
