"""A self-check at load: what explanations rely on is tried on tiny examples,
before anybody relies on it.
"""

import hashlib
import logging
import os
import pickle
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from vqa_explain._memory import lacks_memory
from vqa_explain._precision import in_float64
from vqa_explain._shown import percent_text
from vqa_explain.errors import InvalidInput, OutOfMemory, Unsupported, VQAExplainError
from vqa_explain.examples import Example, read_image
from vqa_explain.features.image import ImageFeature, Picture
from vqa_explain.features.text import TextFeature
from vqa_explain.models.base import Leaves, Model, OpenModel
from vqa_explain.models.calling import FAILURES, quantized_layer
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.filling import changed_example
from vqa_explain.models.matching import matched
from vqa_explain.models.sharing import network_held
from vqa_explain.models.weights import places

log = logging.getLogger("vqa_explain")
SIZES = ((48, 72), (80, 56))  # (H, W) of the pictures that are tried; neither is square
# Of a block's middle, as shares of the sides; the last is the one that crops leave in most of all.
PLACES = ((0.3, 0.3), (0.65, 0.35), (0.5, 0.6))
QUESTION = "What color is the circle?"
# The same in other scripts. A tokenizer need not know them, but must not put values on other words.
SCRIPTS = (QUESTION, "यह गोला किस रंग का है?", "这个圆是什么颜色的?", "ما لون هذه الدائرة؟")
# Candidates of models that write. With only two, a block may hardly change the score of either.
ANSWERS = (
    "yes",
    "no",
    "red",
    "blue",
    "green",
    "a",
    "the",
    "it",
    "on",
    "left",
    "cat",
    "none",
    "1",
    "2",
    "7",
    "x",
)
LARGER = (336, 448)  # (H, W) of the picture that is tried where the network takes no small ones
# What the checks of scores are called in messages.
AS_CALLED = "scores equal the plain call"
IN_BATCHES = "two in a batch score as one by one"
CHANGED = "a changed frame scores as the changed picture"
INSIDE = 0.9  # share of a block's change that must come back to its place
# How far scores may be from the network's own, relative to the largest: what rounding does in many
# layers, by number type; and as a share of the change between two pictures, where one tensor
# follows another.
ROUNDING = {torch.float64: 1e-8, torch.float32: 2e-4, torch.float16: 2e-2, torch.bfloat16: 0.15}
OF_CHANGE = 0.25
# Layers that are quantized as they run round by the largest number of the whole batch.
QUANTIZED = 0.1

_passed: WeakKeyDictionary[nn.Module, list[Any]] = WeakKeyDictionary()


@runtime_checkable
class Plain(Protocol):
    """A model that can be called as its authors call it."""

    def plain_scores(self, encoded: Encoded) -> Tensor:
        """(1, K) the scores of an example by the network's own forward,
        from its processor's output.
        """
        ...


@runtime_checkable
class Following(Protocol):
    """A model whose frame becomes the network's tensors by steps of the adapter's own."""

    def missed_change(self, encoded: Encoded, other: Encoded) -> float:
        """The share of the change between two pictures that the second's frame misses in these
        tensors.
        """
        ...


class Untried(Exception):
    """The network does not take pictures of the check's sizes, so nothing could be tried."""


def checked(model: Model, processor: Any, source: Path | None = None) -> Model:
    """The model, after it has passed the self-check; one that has passed before is not tried again.

    Args:
        model: what was loaded.
        processor: what reads its pictures; a network with another one is tried again.
        source: the folder that it was loaded from, under which a pass is kept on disk.

    Raises:
        InvalidInput: a check failed; the message names it and says what was seen. Or the model
            takes no picture that was tried.
        Unsupported: the adapter says why it cannot use the model.
    """
    known = _passed.setdefault(model.module, [])
    mark = None if source is None else _kept_result(source, model)
    if any(one is processor for one in known) or (mark is not None and mark.exists()):
        return model
    try:
        check_model(model)
    except Untried as error:
        if hasattr(model, "unchecked"):
            log.info("model %r is checked on its first example: %s", model.name, error)
            cast(Any, model).unchecked = True
            return model
        _check_larger(model)
    known.append(processor)
    if mark is not None:
        _keep(mark)
    return model


def check_model(model: Model, values: Mapping[str, Any] | None = None) -> None:
    """Checks what explanations rely on, with three forward passes, and two more where it is to be
    found out how the network is run.

    Blocks return to their places; scores are the network's own, of a changed frame too, in a batch
    as one by one; the tokens of words spell them; hooks, modes and random states stay as they were.

    Args:
        model: the model.
        values: input name → the picture, text or row that is tried; by default those of
            `trial_values`.

    Raises:
        InvalidInput: a check failed.
        Untried: the network does not take these.
    """
    pictures = [one.name for one in model.features if one.kind == ImageFeature.kind]
    if pictures and "pixels" not in model.capabilities:  # it sees boxes, which only its user has
        return
    with network_held(model.module), torch.no_grad():
        before = _state(model.module)
        tried = dict(trial_values(model) if values is None else values)
        encoded = _encoded(model, tried)
        theirs = _plain(model, encoded)
        # A network may put hooks on itself, or fill a table, when it first runs.
        before |= {"hooks": _hooks(model.module), "weights and buffers": places(model.module)}
        with _left_alone(model, before):
            for name in pictures:
                changed = _check_blocks(model, encoded, name)
                if values is None:  # then a picture of another shape is tried too
                    other = {**tried, name: trial_values(model, SIZES[1])[name]}
                    _check_blocks(model, model.encode(Example.of(other)), name)
                _check_scores(model, encoded, changed, theirs, _shown(encoded, name)[-1])
            if not pictures:
                _check_batch(model, encoded, theirs)
            _check_words(model, tried)


def trial_values(
    model: Model,
    size: tuple[int, int] = SIZES[0],
    picture: Callable[[tuple[int, int]], np.ndarray] | None = None,
) -> dict[str, Any]:
    """Input name → what is tried: what the model says that it can read,
    else a picture of this size, a video where it takes no pictures, or `QUESTION`.

    Args:
        model: the model.
        size: (H, W) of pictures.
        picture: makes one of a size; by default one of smooth colors.
    """
    found: dict[str, Any] = {}
    known = getattr(model, "known_inputs", {})
    length = getattr(model, "video_length", None)
    for feature in model.features:
        if feature.kind == ImageFeature.kind:
            shown = (picture or _picture)(size)
            found[feature.name] = shown if length is None else _video(shown, length)
        else:
            found[feature.name] = known.get(feature.name, QUESTION)
    return found


def _check_larger(model: Model) -> None:
    """The check with a picture of a usual size, where no small one could be tried.

    Raises:
        InvalidInput: a check failed, or the model does not take this picture either.
        Unsupported: the adapter says why it cannot use the model.
    """
    try:
        check_model(model, trial_values(model, LARGER))
    except Untried as error:
        cause = error.__cause__
        if isinstance(cause, VQAExplainError):
            raise cause from cause.__cause__
        raise InvalidInput(
            f"model {model.name!r} fails on what its processor makes of a picture and a question: "
            f"{_first_line(cause)}; give the processor that it was trained with, or wrap the "
            "network in vqa_explain.CustomModel"
        ) from cause


def _first_line(error: BaseException | None) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__} {lines[0]}".strip()


def check_first(model: Model, example: Example) -> None:
    """The check with pictures of the sizes of the first example, where no others could be tried.

    Raises:
        InvalidInput: a check failed.
    """
    values = matched(example, model.features, model.name)
    for feature in model.features:
        if feature.kind == ImageFeature.kind:
            height, width = read_image(values[feature.name]).shape[:2]
            values[feature.name] = _picture((height, width))
    waiting = cast(Any, model)
    waiting.unchecked = False  # the check encodes too
    try:
        check_model(model, values)
    except Untried as error:
        log.warning("model %r could not be checked: %s", model.name, error)
    except InvalidInput:
        waiting.unchecked = True
        raise


def warn_unchecked(name: str) -> None:
    """Logs that a model is used without the self-check."""
    log.warning("model %r is not checked (check=False); its explanations may be wrong", name)


def _failed_check(model: Model, check: str, seen: str) -> InvalidInput:
    return InvalidInput(
        f"model {model.name!r} fails the self-check {check!r}: {seen}; its explanations would be "
        "wrong. check=False loads it anyway"
    )


def _picture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 smooth colors."""
    rows, columns = np.indices(size) / np.array(size).reshape(2, 1, 1)
    waves = [60 + 50 * rows, 90 + 40 * np.sin(5 * columns), 80 + 50 * rows * columns]
    return np.stack(waves, axis=2).astype(np.uint8)


def _video(picture: np.ndarray, length: int) -> np.ndarray:
    """(F, H, W, 3) uint8 frames that differ from each other."""
    return np.stack([np.roll(picture, number, axis=1) for number in range(length)])


def _shown(encoded: Encoded, name: str) -> list[str]:
    """What an input is called in an example: by its name, or by those of its frames."""
    return [one.name for one in encoded.inputs if name in (one.name, one.group)]


def _block(picture: np.ndarray, place: tuple[float, float]) -> tuple[slice, slice]:
    """Rows and columns of a block about a place."""
    spans = []
    for side, middle in zip(picture.shape[:2], place, strict=True):
        length = max(2, side // 5)
        start = int(middle * side - length / 2)
        spans.append(slice(start, start + length))
    return spans[0], spans[1]


def _marked(picture: np.ndarray, place: tuple[float, float]) -> np.ndarray:
    marked = picture.copy()
    where = _block(picture, place)
    marked[where] = 255 - marked[where]
    return marked


def _encoded(model: Model, values: Mapping[str, Any]) -> Encoded:
    """The example, with candidates; the first token alone where answers are written.

    Raises:
        Untried: the network does not take such an example.
    """
    try:
        encoded = model.encode(Example.of(values))
        if model.labels is None:
            encoded = cast(OpenModel, model).with_answers(encoded, ANSWERS, 0)
    except OutOfMemory:
        raise
    except (VQAExplainError, *FAILURES) as error:
        if lacks_memory(error):
            raise
        raise Untried(str(error)) from error
    return encoded


def _plain(model: Model, encoded: Encoded) -> Tensor | None:
    """The network's own scores; `None` of a model that cannot be called so.

    Raises:
        Untried: it does not take such a picture.
    """
    if not isinstance(model, Plain):
        return None
    try:
        return in_float64(model.plain_scores(_with_own_pixels(encoded)))
    except (VQAExplainError, *FAILURES) as error:
        if lacks_memory(error):
            raise
        raise Untried(str(error)) from error


def _with_own_pixels(encoded: Encoded) -> Encoded:
    """The same with copies of its frames, since some networks change their input in place."""
    for one in encoded.inputs:
        if isinstance(one.content, Picture):
            copied = replace(one.content, pixels=one.content.pixels.clone())
            encoded = encoded.replaced(one.name, copied)
    return encoded


def _check_blocks(model: Model, encoded: Encoded, name: str) -> Encoded:
    """The change of a block of one picture, or of each frame, lies on the block where it is carried
    to the picture.

    Returns the example with the last block.
    """
    found = [_check_blocks_of(model, encoded, shown) for shown in _shown(encoded, name)]
    return found[-1]


def _check_blocks_of(model: Model, encoded: Encoded, name: str) -> Encoded:
    """The same of one picture or frame."""
    content = encoded[name].content
    picture, geometry = content.original, content.geometry
    margins = [int(np.ceil(1.5 * max(1.0, extent))) for extent in geometry.extents]
    for place in PLACES:
        changed = model.encode(changed_example(encoded, {name: _marked(picture, place)}))
        moved = (changed[name].content.pixels - content.pixels).abs()
        change = in_float64(moved.sum(dim=1)[0]).numpy()
        carried = geometry.to_original(np.where(change > 0.3 * change.max(), change, 0.0))
        if not carried.any():  # cropped away
            continue
        around = tuple(
            slice(max(0, span.start - margin), span.stop + margin)
            for span, margin in zip(_block(picture, place), margins, strict=True)
        )
        share = carried[around].sum() / carried.sum()
        if share < INSIDE:
            raise _failed_check(
                model,
                "a block returns to its place",
                f"a block of the picture was changed, and {percent_text(1 - share)} of the change "
                "came back outside the block",
            )
    return changed


def _check_batch(model: Model, encoded: Encoded, plain: Tensor | None) -> None:
    """An example without pictures scores as the network itself scores it,
    and beside another one as alone.
    """
    own = model.leaves(encoded)
    # Words in another order, and columns with other numbers.
    other = {
        name: leaf.flip(1) if leaf.ndim > 2 else 0.5 * leaf + 0.25 for name, leaf in own.items()
    }
    together = {name: torch.cat([leaf, other[name]]) for name, leaf in own.items()}
    ours = _batch_scores(model, encoded, together)
    alone = torch.cat([in_float64(model.scores(encoded, one)) for one in (own, other)])
    for theirs, claim in ((plain, AS_CALLED), (alone, IN_BATCHES)):
        if theirs is None:
            continue
        largest = float(theirs.abs().max())
        gap = float((ours[: len(theirs)] - theirs).abs().max())
        if not gap <= _rounding(model, encoded) * max(1.0, largest):
            seen = f"scores of up to {largest:.3g} differ by {gap:.3g}"
            raise _failed_check(model, claim, seen)


def _batch_scores(model: Model, encoded: Encoded, leaves: Leaves) -> Tensor:
    """(2, K) the scores of a batch of two.

    Raises:
        InvalidInput: the network does not take one.
    """
    try:
        return in_float64(model.scores(encoded, leaves))
    except FAILURES as error:
        if lacks_memory(error):
            raise
        raise _failed_check(model, IN_BATCHES, f"a batch of two fails: {error}") from error


def _check_scores(
    model: Model, encoded: Encoded, other: Encoded, plain: Tensor | None, changed_input: str
) -> None:
    """Two frames in one batch score as the network itself scores the two pictures, one by one."""
    _check_following(model, encoded, other)
    both = {name: torch.cat([leaf, leaf]) for name, leaf in model.leaves(encoded).items()}
    frames = [one[changed_input].content.pixels for one in (encoded, other)]
    leaves = both | {changed_input: torch.cat(frames)}
    ours = _batch_scores(model, encoded, leaves)
    if model.labels is None:
        other = cast(OpenModel, model).with_answers(other, ANSWERS, 0)
    claim = AS_CALLED
    if plain is None:  # then only batches can be checked
        claim = IN_BATCHES
        alone = [{name: leaf[i : i + 1] for name, leaf in leaves.items()} for i in range(2)]
        theirs = torch.cat([in_float64(model.scores(encoded, one)) for one in alone])
    else:
        changed = _plain(model, other)
        assert changed is not None
        theirs = torch.cat([plain, changed])
    allowed = _rounding(model, encoded) * max(1.0, float(theirs.abs().max()))
    first_gap, second_gap = (float(gap) for gap in (ours - theirs).abs().amax(dim=1))
    if not first_gap <= allowed:
        largest = float(theirs[0].abs().max())
        seen = f"scores of up to {largest:.3g} differ by {first_gap:.3g}"
        raise _failed_check(model, claim, seen)
    if plain is None and not second_gap <= allowed:
        seen = f"scores of the second differ by {second_gap:.3g}"
        raise _failed_check(model, IN_BATCHES, seen)
    moved = float((theirs[1] - theirs[0]).abs().max())
    if not second_gap <= allowed + OF_CHANGE * moved:
        seen = (
            f"a changed block changes the scores by {moved:.3g}, and the scores of its frame "
            f"differ by {second_gap:.3g} from those of the picture"
        )
        raise _failed_check(model, CHANGED, seen)


def _check_following(model: Model, encoded: Encoded, other: Encoded) -> None:
    """The tensors that an adapter makes of a changed frame hold the change."""
    if not isinstance(model, Following):
        return
    missed = model.missed_change(encoded, other)
    if not missed <= OF_CHANGE:
        seen = f"{percent_text(missed)} of a change of the picture does not reach the network"
        raise _failed_check(model, CHANGED, seen)


def _rounding(model: Model, encoded: Encoded) -> float:
    """What rounding may change, as a share of the largest score."""
    if quantized_layer(model.module) is not None:
        return QUANTIZED
    leaves = model.leaves(encoded).values()
    kinds = {*(leaf.dtype for leaf in leaves), *(p.dtype for p in model.module.parameters())}
    return max(ROUNDING.get(kind, 0.0) for kind in kinds)


def _check_words(model: Model, values: Mapping[str, Any]) -> None:
    """The tokens of every word of each text spell it, or the text is refused."""
    if getattr(model, "says_pieces", False):  # the user's function may leave words out
        return
    for feature in model.features:
        if feature.kind == TextFeature.kind:
            for text in SCRIPTS:
                _check_words_of(model, {**values, feature.name: text}, feature.name)


def _check_words_of(model: Model, values: Mapping[str, Any], name: str) -> None:
    text = values[name]
    try:
        encoded = model.encode(Example.of(values))
    except (InvalidInput, Unsupported) as error:
        log.debug("model %r refuses %r: %s", model.name, text, error)
        return
    spelled = "".join(c for word in encoded[name].content.words for c in word.text if c.isalnum())
    asked = "".join(c for c in text if c.isalnum())
    if spelled != asked:
        raise _failed_check(
            model, "the tokens of words spell them", f"{text!r} is read as {spelled!r}"
        )


@contextmanager
def _left_alone(model: Model, before: dict[str, Any]) -> Iterator[None]:
    """Refuses a model whose hooks, modes, weights or random states are not what they were
    `before`.
    """
    yield
    after = _state(model.module)
    odd = next((name for name, value in before.items() if after[name] != value), None)
    if odd is not None:
        raise _failed_check(model, f"{odd} stay as they were", "the check changed them")


def _state(module: nn.Module) -> dict[str, Any]:
    parts = list(module.modules())
    return {
        "hooks": _hooks(module),
        "modes": [p.training for p in parts],
        "weights and buffers": places(module),
        "gradients wanted": [part.requires_grad for part in module.parameters()],
        "random states": (
            random.getstate(),
            pickle.dumps(np.random.get_state()),
            torch.get_rng_state().numpy().tobytes(),
        ),
    }


def _hooks(module: nn.Module) -> list[tuple[int, int, int]]:
    """How many hooks each part has."""
    return [
        (len(part._forward_hooks), len(part._forward_pre_hooks), len(part._backward_hooks))
        for part in module.modules()
    ]


def _kept_result(source: Path, model: Model) -> Path | None:
    """The file that says that this checkpoint passed;
    `None` where nothing tells one from another.
    """
    told = [model.name, model.family, *map(version, ("vqa_explain", "transformers"))]
    told += sorted({str(part.dtype) for part in model.module.parameters()})
    if source.is_dir():
        files = sorted(path for path in source.iterdir() if path.is_file())
        told += [
            f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files
        ]
    elif commit := getattr(getattr(model.module, "config", None), "_commit_hash", None):
        told.append(commit)
    else:
        return None
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return folder / "vqa_explain" / "checked" / hashlib.sha256("\n".join(told).encode()).hexdigest()


def _keep(mark: Path) -> None:
    try:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    except OSError as error:  # it will be checked again next time
        log.info("the result of the self-check cannot be kept: %s", error)
