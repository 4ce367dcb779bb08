"""Where the pictures and videos of an example are in the processor's tensors, and lie there."""

import inspect
import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vqa_explain.errors import InvalidInput, Unsupported, VQAExplainError
from vqa_explain.features.geometry import Geometry
from vqa_explain.models.generative.conversation import (
    PLAIN,
    SAME_WORDS,
    Conversation,
    Visual,
    plain_conversation,
)
from vqa_explain.models.generative.following import (
    Followed,
    FollowedTogether,
    Follower,
    follow_together,
)
from vqa_explain.models.generative.pixels import (
    Gains,
    Layout,
    Patches,
    Single,
    gains_of,
    lay_out,
    pattern,
)
from vqa_explain.models.generative.prompts import Inputs, bare_settings
from vqa_explain.models.generative.slots import (
    GRIDS,
    Slot,
    check_apart,
    slots_between,
    whole_tensor,
)
from vqa_explain.models.measuring import PictureReader

Form = tuple[tuple[bool, int, int, int], ...]  # `Visual.form` of each of an example
Slots = dict[str, Slot]  # tensor name → slot of one picture
log = logging.getLogger("vqa_explain")
FOLLOWED = (Followed, FollowedTogether)
# A frame that is so many times longer than the picture is a row of patches.
STRIP = 8.0
KINDS = "mm_token_type_ids"  # the tensor of the kind of each token, of a word or of a picture
LINE = 0.1  # how far a line may differ along itself, of what all lines differ
FPS = 24.0  # frames a second of a video without times, as transformers' own default is
FAILURES = (ValueError, ZeroDivisionError, RuntimeError, IndexError, TypeError, KeyError)


@dataclass(frozen=True, eq=False)
class Shown:
    """One picture, or one frame of a video, in the processor's tensors.

    Attributes:
        visual: the number of the picture or video that it is of.
        slots: where it is.
        layout: how it is there.
        geometries: where its frame, and whatever else shows it, lie in the picture.
    """

    visual: int
    slots: Slots
    layout: Layout
    geometries: tuple[Geometry, ...]


class LeftOut(InvalidInput):
    """The processor does not read a picture or frame that it was given."""


class VisualReader:
    """Reads pictures and videos as one processor does.

    What depends on their sizes alone is measured once for each set of sizes.

    Args:
        processor: the processor.
        name: the model, for errors.
        marks: the numbers of tokens that stand for pictures in the model's prompts.
        wordless: whether the model takes pictures alone.
    """

    def __init__(
        self, processor: Any, name: str, marks: Sequence[int] = (), wordless: bool = False
    ) -> None:
        self.wordless = wordless
        self._processor, self._name, self._marks = processor, name, marks
        self._marked: bool | None = None
        self._more: dict[str, Any] = {}  # what else the processor is asked for
        # Of which forms it would leave out frames, and so is told to read every one.
        self._every: set[Form] = set()
        self._alone = PictureReader(self._frames_alone, name)
        self._gains: dict[tuple[int, int], Gains] = {}
        self._followers: dict[tuple[str, tuple[int, int]], Follower] = {}
        self._in_order: dict[tuple[int, int], bool] = {}
        self._slots: dict[Form, list[list[Slots]]] = {}
        self._among_others: dict[tuple[Form, int], PictureReader] = {}

    @cached_property
    def videos_alone(self) -> bool:
        """Whether the processor takes videos, by the name of pictures, and no pictures."""
        pictures = getattr(self._processor, "image_processor", None)
        videos = getattr(self._processor, "video_processor", None)
        named = inspect.signature(self._processor.__call__).parameters
        return pictures is None and videos is not None and "videos" not in named

    def process(self, prompt: str | None, visuals: Sequence[Visual]) -> Inputs:
        """What the processor gives for a prompt and what is shown; `None` for no words.

        Raises:
            InvalidInput: the processor fails.
        """
        given: dict[str, Any] = {}
        pictures = [Image.fromarray(one.frames[0]) for one in visuals if not one.is_video]
        videos = [np.stack(one.frames) for one in visuals if one.is_video]
        if pictures:
            # Those of one prompt in a list of their own, as the processor's apply_chat_template
            # does.
            given["images"] = pictures[0] if len(visuals) == 1 else [pictures]
        if videos:
            given |= {"images": videos} if self.videos_alone else {"videos": [videos]}
        if prompt is not None:
            given["text"] = prompt
            given |= self._more
            given |= bare_settings(self._processor.tokenizer, prompt)
        try:
            inputs = self._called(given, _form(visuals) in self._every)
        except VQAExplainError:
            raise
        except FAILURES as error:
            raise InvalidInput(
                f"the processor of model {self._name!r} fails on this example: {error}; give "
                f"{'a video of more or larger frames' if videos else 'a picture of another size'}, "
                "or the processor and chat template of its training"
            ) from error
        inputs.pop("labels", None)
        return inputs

    def _called(self, given: dict[str, Any], every_frame: bool) -> Inputs:
        """What the processor gives; frames that it cannot choose from are all read, with times."""
        try:
            if not every_frame:
                return dict(self._processor(return_tensors="pt", **given))
        except FAILURES as error:
            if "videos" not in given or isinstance(error, VQAExplainError):
                raise
            log.info("model %r reads every frame, with times: %s", self._name, error)
        timed = [_times(len(frames)) for frames in given["videos"][0]]
        every = {"do_sample_frames": False, "video_metadata": [timed], "return_metadata": True}
        found = dict(self._processor(return_tensors="pt", **given, **every))
        found.pop("video_metadata", None)
        return found

    def slots(self, conversation: Conversation, inputs: Inputs) -> list[list[Slots]]:
        """Of each picture and video, where each of its frames is in the tensors.

        Raises:
            LeftOut: the processor leaves one out.
            Unsupported: it mixes them, so that they have no places of their own.
        """
        visuals = conversation.visuals
        if len(visuals) == 1 and not visuals[0].is_video:
            gains = self.gains(visuals[0].size)
            return [[{name: whole_tensor(inputs[name]) for name in gains if name in inputs}]]
        form = _form(visuals)
        if form not in self._slots:
            self._slots[form] = self._measured(visuals)
        return self._slots[form]

    def reads_every_frame(self, visuals: Sequence[Visual]) -> bool:
        """Has the processor read every frame of such videos from now on; `False` if it does so
        already, or there is no video.
        """
        form = _form(visuals)
        if form in self._every or self.videos_alone or not any(one.is_video for one in visuals):
            return False
        self._every.add(form)
        return True

    def _measured(self, visuals: Sequence[Visual]) -> list[list[Slots]]:
        gray = [_gray(one) for one in visuals]
        found = []
        for number, one in enumerate(gray):
            mark = pattern(one.size)
            steps = self._steps(one)
            of_frames = []
            for frame, name in enumerate(one.names):
                pair = [
                    self.plain([*gray[:number], one.with_frame(frame, shown), *gray[number + 1 :]])
                    for shown in (mark, 255 - mark)
                ]
                slots = slots_between(pair[0], pair[1], steps)
                if not slots:
                    raise LeftOut(
                        f"the processor of model {self._name!r} leaves out {name!r}; give fewer "
                        "pictures or frames"
                    )
                of_frames.append(slots)
            found.append(of_frames)
        names = [name for one in visuals for name in one.names]
        check_apart([slots for of_frames in found for slots in of_frames], names)
        return found

    def marked(self, conversation: Conversation) -> Conversation:
        """The conversation with a token that marks each picture, or without if the processor puts
        its own.
        """
        if not conversation.visuals or getattr(self._processor, "chat_template", None):
            return conversation
        if self._marked is None:
            self._marked = self._needs_marks(conversation.visuals[:1])
        return replace(conversation, marked=self._marked)

    def _needs_marks(self, visuals: Sequence[Visual]) -> bool:
        """Whether pictures must be marked in a prompt."""
        counts = []
        for marked in (True, False):
            conversation = replace(plain_conversation(visuals), marked=marked)
            try:
                inputs = self.process(conversation.prompt(self._processor), visuals)
            except VQAExplainError:
                counts.append(-1)
                continue
            ids = inputs["input_ids"] if "input_ids" in inputs else torch.zeros(0)
            counts.append(int(torch.isin(ids, torch.tensor(self._marks)).sum()))
        with_marks, without = counts
        if without > 0:  # marks of the processor's own
            return with_marks == without
        return with_marks > 0 or (with_marks == 0 and without < 0)

    def ask_more(self, visuals: Sequence[Visual], known: Collection[str]) -> bool:
        """Has the processor give what it gives on demand and the network takes; `False` if nothing.

        That is the kind of each token, without which some networks do not run.

        Args:
            visuals: what is shown.
            known: the names of what the network takes.
        """
        if KINDS not in known or self._more or KINDS in self.plain(visuals):
            return False
        self._more = {f"return_{KINDS}": True}
        try:
            if KINDS in self.plain(visuals):
                return True
        except VQAExplainError as error:
            log.info("the processor of model %r gives no more: %s", self._name, error)
        self._more = {}
        return False

    def words_elsewhere(self, visuals: Sequence[Visual]) -> list[str]:
        """The tensors besides the prompt's tokens that depend on what the question says."""
        one, other = (self.plain(visuals, question) for question in SAME_WORDS)
        return [
            name
            for name, value in one.items()
            if name != "input_ids"
            and isinstance(value, Tensor)
            and not (value.shape == other[name].shape and torch.equal(value, other[name]))
        ]

    def token_axes(self, visuals: Sequence[Visual]) -> dict[str, int]:
        """The tensors with one entry per token of the prompt, and the axis that holds these.

        A question that is longer makes it longer, by as much as the prompt.
        """
        short, long = (
            self.plain(visuals, question) for question in (PLAIN, f"{PLAIN} {PLAIN} {PLAIN}")
        )
        found: dict[str, int] = {}
        grown = long["input_ids"].shape[1] - short["input_ids"].shape[1]
        for name, value in short.items():
            if not isinstance(value, Tensor):
                continue
            longer = [b - a for a, b in zip(value.shape, long[name].shape, strict=True)]
            if sum(bool(one) for one in longer) == 1 and grown in longer:
                found[name] = longer.index(grown)
        return found

    def plain(self, visuals: Sequence[Visual], question: str = PLAIN) -> Inputs:
        """What the processor gives for these with a question that does not matter."""
        if self.wordless:
            return self.process(None, visuals)
        conversation = self.marked(plain_conversation(visuals, question))
        return self.process(conversation.prompt(self._processor), visuals)

    def _steps(self, visual: Visual) -> Any:
        """What the processor treats this with.

        Raises:
            Unsupported: it treats no videos.
        """
        if not visual.is_video:
            return self._processor.image_processor
        steps = getattr(self._processor, "video_processor", None)
        if steps is None:
            raise Unsupported(
                f"model {self._name!r} takes no videos; give the frames of {visual.name!r} as "
                "pictures"
            )
        return steps

    def gains(self, size: tuple[int, int]) -> Gains:
        """Which tensors show a picture (H, W), and how strongly."""
        if size not in self._gains:
            self._gains[size] = gains_of(
                lambda picture: self.plain([Visual("image", (picture,))]), size
            )
        return self._gains[size]

    def check_videos(self, visuals: Sequence[Visual]) -> None:
        """Refuses videos where the processor takes none, before anything else is done.

        Raises:
            Unsupported: it takes none.
        """
        for one in visuals:
            self._steps(one)

    def layout(
        self,
        visuals: Sequence[Visual],
        number: int,
        frame: int,
        slots: Slots,
        inputs: Inputs,
        tokens: int,
        exact: Layout | None = None,
    ) -> Layout:
        """How one frame of one picture or video is in the tensors.

        Args:
            visuals: all that is shown.
            number, frame: which picture or video, and which frame of it.
            slots: where it is.
            inputs: the processor's tensors.
            tokens: how many tokens the model makes of it.
            exact: the same of these tensors in full precision, where it is known.
        """
        one = visuals[number]
        gains = dict.fromkeys(slots, torch.ones(3)) if one.is_video else self.gains(one.size)
        if set(gains) != set(slots) and len(visuals) > 1:
            raise Unsupported(
                f"the processor of model {self._name!r} shows {one.name!r} otherwise among "
                "several pictures than alone, which no adapter can follow; give one picture"
            )
        alone = {name: _values(slots[name], inputs[name]) for name in slots}
        before = sum(other.is_video == one.is_video for other in visuals[:number])
        rest = {name: value for name, value in inputs.items() if name not in alone}
        for name in (*GRIDS.values(), "image_sizes"):
            # Of each picture or of each video, a row.
            if name in rest and name.startswith("video") == one.is_video:
                rest[name] = inputs[name][before : before + 1]
        if isinstance(exact, FOLLOWED):  # its processor need not be asked again
            return exact.given_as(alone)
        picture = one.frames[frame]
        known = lay_out({**rest, **alone}, self._steps(one), picture, tokens, gains)
        if known is not None and self._is_frame(known, visuals, alone, picture):
            return known
        if one.is_video:
            raise Unsupported(
                f"the processor of model {self._name!r} gives the frames of {one.name!r} in a form "
                "that no adapter can follow; give them as pictures"
            )
        parts = [
            self._follower(name, picture).read(name, values, picture)
            for name, values in alone.items()
        ]
        return parts[0] if len(parts) == 1 else follow_together(parts, gains)

    def _is_frame(
        self, known: Layout, visuals: Sequence[Visual], alone: Inputs, picture: np.ndarray
    ) -> bool:
        """Whether what a layout was put together to shows rows and columns of the picture."""
        if isinstance(known, Single):
            return not _is_strip(known, picture)
        if not isinstance(known, Patches) or any(one.is_video for one in visuals):
            return True
        if not torch.equal(known.values(known.frame, ())[known.name], alone[known.name]):
            return False
        size = (picture.shape[0], picture.shape[1])
        if size not in self._in_order:
            self._in_order[size] = all(self._shows_lines(size, axis) for axis in (0, 1))
        return self._in_order[size]

    def _shows_lines(self, size: tuple[int, int], axis: int) -> bool:
        """Whether lines of equal brightness along an axis are such lines in the frame, too.

        Patches may have been put together in another order than that in which they were cut.
        """
        shades = np.linspace(0, 255, size[axis]).astype(np.uint8)
        lines = shades[:, None] if axis == 0 else shades[None]
        picture = np.repeat(np.broadcast_to(lines, size)[:, :, None], 3, axis=2)
        inputs = self.plain([Visual("image", (picture,))])
        found = lay_out(inputs, self._processor.image_processor, picture, 0, self.gains(size))
        assert isinstance(found, Patches)
        along = 3 - axis
        apart = found.frame.amax(dim=along) - found.frame.amin(dim=along)
        return float(apart.max()) < LINE * float(found.frame.max() - found.frame.min())

    def _follower(self, name: str, picture: np.ndarray) -> Follower:
        """What is known of a tensor that shows pictures of this one's size."""
        key = (name, (picture.shape[0], picture.shape[1]))
        if key not in self._followers:

            def make(shown: np.ndarray) -> Tensor:
                found: Tensor = self.plain([Visual("image", (shown,))])[name]
                return found.float()

            self._followers[key] = Follower(make, picture, self._name)
        return self._followers[key]

    def locate(
        self,
        visuals: Sequence[Visual],
        number: int,
        frame: int,
        layout: Layout,
        slots: list[list[Slots]],
    ) -> tuple[Geometry, ...]:
        """Where a frame, and whatever else shows the picture, lie in it.

        Raises:
            InvalidInput: that depends on more than the sizes, or cannot be followed.
        """
        if isinstance(layout, FOLLOWED):
            return (layout.geometry,)
        picture = visuals[number].frames[frame]
        frames = (layout.frame, *layout.others)
        if not visuals[number].is_video and (
            len(visuals) == 1 or _same(frames, self._frames_alone(picture))
        ):
            return self._alone.locate(picture, frames)
        key = (_form(visuals), number)
        if key not in self._among_others:
            gray = [_gray(one) for one in visuals]

            def prepare(shown: np.ndarray) -> tuple[Tensor, ...]:
                same = Visual(
                    gray[number].name, (shown,) * len(gray[number].frames), gray[number].is_video
                )
                given = [*gray[:number], same, *gray[number + 1 :]]
                inputs = self.plain(given)
                found = self.layout(given, number, 0, slots[number][0], inputs, 0)
                return found.frame, *found.others

            self._among_others[key] = PictureReader(prepare, self._name)
        reader = self._among_others[key]
        if not _same(frames, reader.prepare(picture)):
            raise InvalidInput(
                f"the processor of model {self._name!r} makes something else of "
                f"{visuals[number].names[frame]!r} than of the same picture elsewhere, which no "
                "adapter can follow; give it alone"
            )
        return reader.locate(picture, frames)

    def _frames_alone(self, picture: np.ndarray) -> tuple[Tensor, ...]:
        """What shows a picture alone: its frame, and what follows it."""
        alone = [Visual("image", (picture,))]
        inputs = self.plain(alone)
        slots = self.slots(plain_conversation(alone), inputs)[0][0]
        layout = self.layout(alone, 0, 0, slots, inputs, 0)
        return layout.frame, *layout.others


def _form(visuals: Sequence[Visual]) -> Form:
    return tuple(one.form for one in visuals)


def _times(frames: int) -> dict[str, Any]:
    """What processors ask of a video that is no file: the frames follow each other at `FPS`."""
    return {
        "total_num_frames": frames,
        "fps": FPS,
        "duration": frames / FPS,
        "frames_indices": list(range(frames)),
    }


def _is_strip(layout: Layout, picture: np.ndarray) -> bool:
    """Whether a frame is so much longer than the picture that patches stand in one row."""
    tall, wide = layout.frame.shape[2:]
    ratio = (wide / tall) / (picture.shape[1] / picture.shape[0])
    return isinstance(layout, Single) and not 1 / STRIP < ratio < STRIP


def _gray(one: Visual) -> Visual:
    """A picture or video of the same size that shows nothing."""
    plain = np.full_like(one.frames[0], 128)
    return Visual(one.name, (plain,) * len(one.frames), one.is_video)


def _values(slot: Slot, whole: Tensor) -> Tensor:
    """The slot as a tensor of that picture alone."""
    part = slot.get(whole)
    return part.flatten(1) if whole.ndim == 2 else part


def _same(one: Sequence[Tensor], other: Sequence[Tensor]) -> bool:
    return len(one) == len(other) and all(
        a.shape == b.shape and torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )
