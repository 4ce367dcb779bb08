"""What a model does on fixed pictures and questions, as text that two runs can compare.

A hash of code does not see what a transform holds in a closure, or how steep a layer of the network
is. So the model is tried: what it makes of pictures and questions, what it answers, and what it
answers with a modality absent.
"""

import json
import logging
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from vqa_explain._memory import lacks_memory, must_fit
from vqa_explain._precision import in_float64
from vqa_explain._threads import one_thread
from vqa_explain.errors import VQAExplainError
from vqa_explain.evaluation.data import can_be_indexed, first_rows
from vqa_explain.evaluation.stamps import Stamp, digest, settings_of
from vqa_explain.examples import Example, read_image
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.text import Text, TextFeature
from vqa_explain.game import Game, make_players
from vqa_explain.models.base import Asking, Model, OpenModel, check_fills
from vqa_explain.models.checking import ANSWERS, SCRIPTS, SIZES, trial_values
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sharing import network_held
from vqa_explain.target import Target

# What a stamp is of → how a message calls it.
BEHAVIOR = {
    "pictures": "what the model makes of a picture",
    "questions": "what the model makes of a question",
    "answers": "what the model answers",
    "absence": "what the model answers with a modality absent",
    "settings": "the settings of the network's layers",
}
PROBE = "probe"  # the id of the examples that are tried
KEPT = 48  # numbers of each array, for machines whose last bits differ
# How far scores of two machines may be from each other, relative to the largest of their array.
ROUNDING = 1e-3
MOVES = "moves"  # for the value of a setting that changes while the network is used
# The rows whose questions are tried: the same ones, however many more rows there are.
PLACES = (0, 1, 3, 10, 100, 1_000, 10_000)
LISTED = 20  # rows of data that can only be read in order, of which some are tried
ROWS = 4  # in the largest batch that is tried
IMAGE = ImageFeature.kind
log = logging.getLogger("vqa_explain")


def behavior_stamps(model: Model, dataset: Iterable[Example]) -> Stamp:
    """Each of `BEHAVIOR` → what was found, to the bit and as some numbers; see `same_behavior`.

    Args:
        model: what is tried, in evaluation mode and with one thread.
        dataset: some of its questions are tried too, since its words may be others than the fixed
            ones; its first example says which sizes the model takes, where it does not take the
            fixed ones.

    A model behind an interface is not tried, since every answer may be paid for: it is known by its
    name and settings.

    Raises:
        OutOfMemory: not even one example fits.
    """
    if isinstance(model, Asking):
        return {}
    questions = _questions(dataset) if _text_name(model) else []
    # Gradients are allowed as in `explain`, whatever the caller does: some networks take another
    # way without.
    with (
        network_held(model.module),
        one_thread(model.device),
        torch.enable_grad(),
        must_fit(model),
    ):
        before = settings_of(model.module)
        tried = list(_tried(model, _first(dataset)))
        if not tried:
            log.warning(
                "model %r takes none of the examples that tell whether it has changed; a resumed "
                "run knows it by its code and weights alone",
                model.name,
            )
        asked = [_asked(model, tried[0], text) for text in questions] if tried else []
        found = {
            "pictures": _text(model, (leaf for one in tried for leaf in _non_texts(model, one))),
            "questions": _text(model, _question_numbers(model, tried)),
            "answers": _text(model, _said(model, tried)),
            "absence": _text(model, _absent(model, tried)),
        }
        after = settings_of(model.module)
    read = {digest(text): one for text, (one, _) in zip(questions, asked, strict=False)}
    said = {digest(text): one for text, (_, one) in zip(questions, asked, strict=False)}
    return {
        **found,
        "questions": _with_asked(found["questions"], read),
        "answers": _with_asked(found["answers"], said),
        "settings": json.dumps({"settings": _staying(before, after)}, sort_keys=True),
    }


def _staying(before: Stamp, after: Stamp) -> Stamp:
    """The settings; `MOVES` for one that counts calls, or keeps what it saw.

    What was not there before the first call was made by it, such as a table that is read then.
    """
    return {key: MOVES if before.get(key, told) != told else told for key, told in after.items()}


def _questions(dataset: Any) -> list[str]:
    """A few of the data's own questions, each once."""
    if can_be_indexed(dataset):
        rows = [dataset[i] for i in PLACES if i < len(dataset)]
    else:
        first = list(first_rows(dataset, LISTED))
        rows = [first[i] for i in PLACES if i < len(first)]
    return list(dict.fromkeys(row.question for row in rows if row.question))


def _text_name(model: Model) -> str | None:
    """The name of the model's only text, which questions are put to;
    `None` where it has none or several.
    """
    names = [one.name for one in model.features if one.kind == TextFeature.kind]
    return names[0] if len(names) == 1 else None


def _with_text(model: Model, example: Example, text: str) -> Example:
    """The example with another text."""
    given = {one.name for one in example.given}
    name = _text_name(model)
    # The short form calls its text "question", whatever the model does.
    if name in given:
        return example.changed({str(name): text})
    return replace(example, question=text, mentions=())


def _asked(model: Model, encoded: Encoded, question: str) -> tuple[str, str]:
    """How a question is read, and what is answered, about the other inputs of an example."""
    one = _encoded(model, _with_text(model, encoded.example, question))
    if one is None:
        return _text(model, [None]), _text(model, [None])
    read = list(_numbers_of_texts(one))
    return _text(model, read), _text(model, [_scores(model, one)])


def _numbers_of_texts(encoded: Encoded) -> Iterator[Any]:
    """Token numbers and words of each text of an example."""
    for one in encoded.inputs:
        if isinstance(one.content, Text):
            yield one.content.ids
            yield [(word.start, word.end) for word in one.content.words]


def _with_asked(told: str, asked: dict[str, str]) -> str:
    """A stamp with those of the data's own questions, by the question."""
    return json.dumps({**json.loads(told), "asked": asked})


def same_behavior(one: str | None, other: str | None) -> bool:
    """Whether two stamps are the same: to the bit on one machine, else up to rounding of scores.

    Whole numbers, such as those of tokens and the places of words, are never rounded.
    """
    if one == other or one is None or other is None:
        return one == other
    if not (one.startswith("{") and other.startswith("{")):  # a hash alone
        return False
    here, there = json.loads(one), json.loads(other)
    if "settings" in here:
        return _same_settings(here["settings"], there.get("settings", {}))
    # Rows of the data may come and go; that is no change of the model.
    asked, before = here.pop("asked", {}), there.pop("asked", {})
    both = asked.keys() & before.keys()
    return _same_numbers(here, there) and all(same_behavior(asked[q], before[q]) for q in both)


def _same_settings(here: Stamp, there: Stamp) -> bool:
    """Whether all settings are the same that move in neither of two runs."""
    pairs = [(here.get(key), there.get(key)) for key in here.keys() | there.keys()]
    return all(MOVES in pair or pair[0] == pair[1] for pair in pairs)


def _same_numbers(here: dict[str, Any], there: dict[str, Any]) -> bool:
    if here == there:
        return True
    if here["where"] == there["where"] and here["exact"]:
        return False
    if (here["shapes"], here["whole"]) != (there["shapes"], there["whole"]):
        return False
    return all(map(_near, here["numbers"], there["numbers"]))


def _near(one: list[float], other: list[float]) -> bool:
    """Whether numbers of one array on two machines are the same up to rounding."""
    left, right = np.array(one, dtype=float), np.array(other, dtype=float)
    scale = np.nanmax(np.abs(np.concatenate([left, right])), initial=0)
    return bool(np.allclose(left, right, rtol=0, atol=ROUNDING * scale, equal_nan=True))


def _first(dataset: Iterable[Example]) -> Example | None:
    """The data's first example with pictures of the same sizes; `None` where it has none,
    or it cannot be read.
    """
    first = next(first_rows(dataset, 1), None)
    if first is None:
        return None
    try:
        return replace(_with_pictures(first, _like), id=PROBE, answer=None, answers=())
    except VQAExplainError:  # told where that example is judged
        return None


def _with_pictures(example: Example, change: Callable[[Any], Any]) -> Example:
    """The example, every picture of which is changed."""
    pictures = {one.name: change(one.value) for one in example.given if one.kind == IMAGE}
    return example.changed(pictures)


def _like(picture: Any) -> np.ndarray:
    """A picture of the same size."""
    height, width = read_image(picture).shape[:2]
    return _picture((height, width))


def _negative(picture: np.ndarray) -> np.ndarray:
    found: np.ndarray = 255 - picture
    return found


def _picture(size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 blocks of many colors, dark and bright."""
    height, width = size
    colors = np.random.default_rng(18).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    rows, columns = np.arange(height) * 6 // height, np.arange(width) * 9 // width
    return np.asarray(colors[rows][:, columns])


def _tried(model: Model, first: Example | None) -> Iterator[Encoded]:
    """The fixed examples as the model reads them; the data's own where it takes none of them."""
    # The first call of a model learns how the network is called, which an example of the data's
    # own size is sure to suit.
    known = None if first is None else _encoded(model, first)
    # A network that is still to be checked takes its first picture as the size that it is made for.
    waits = getattr(model, "unchecked", False)
    fixed = [] if waits else [_fixed(model, size) for size in SIZES]
    found = [one for example in fixed if (one := _encoded(model, example)) is not None]
    usable = [one for one in found if _scores(model, one) is not None]
    if usable:
        yield from usable
    elif known is not None and first is not None:
        yield known
        yield from filter(None, [_encoded(model, _with_pictures(first, _negative))])


def _fixed(model: Model, size: tuple[int, int]) -> Example:
    """What the self-check tries, with pictures of many colors."""
    return Example.of(trial_values(model, size, _picture), id=PROBE)


def _encoded(model: Model, example: Example) -> Encoded | None:
    """The example, with candidates; `None` where the model does not take it."""

    def encode() -> Encoded:
        encoded = model.encode(example)
        if model.labels is None:
            encoded = cast(OpenModel, model).with_answers(encoded, ANSWERS)
        return encoded

    result: Encoded | None = _or_none(encode)
    return result


def _or_none(function: Callable[[], Any]) -> Any:
    """What a function gives; `None` where the model does not take what it is given."""
    try:
        return function()
    except Exception as error:  # of any kind: what cannot be tried must not end the run
        if lacks_memory(error):  # then nothing is known of the model
            raise
        log.info("not tried, to tell whether the model has changed: %s", error)
        return None


@torch.no_grad()
def _scores(model: Model, encoded: Encoded) -> Any:
    return _or_none(lambda: model.scores(encoded, model.leaves(encoded)))


def _non_texts(model: Model, encoded: Encoded) -> list[torch.Tensor]:
    """What the model makes of pictures, tables and other inputs that are no text."""
    leaves = model.leaves(encoded)
    return [leaves[one.name] for one in encoded.inputs if one.kind != TextFeature.kind]


def _question_numbers(model: Model, tried: list[Encoded]) -> Iterator[Any]:
    """Token numbers and words of the examples, and of their text in several scripts."""
    for one in tried:
        yield from _numbers_of_texts(one)
    if _text_name(model) is None:
        return
    for text in SCRIPTS:
        for example in tried[:1]:
            found = _encoded(model, _with_text(model, example.example, text))
            yield from (None, None) if found is None else _numbers_of_texts(found)


def _said(model: Model, tried: list[Encoded]) -> Iterator[Any]:
    for encoded in tried:
        yield _scores(model, encoded)
    if model.labels is None and tried:
        written = _or_none(lambda: cast(OpenModel, model).generate(tried[0]))
        yield [list(text.encode()) for text in written or ()]


def _absent(model: Model, tried: list[Encoded]) -> Iterator[Any]:
    """Scores of an example without its regions, and without its words under each fill; as a batch.

    A batch, since some layers remember the largest that they saw.
    """
    if not tried:
        return
    encoded = tried[0]
    fills = check_fills(model, {}, encoded.features)
    for one in encoded.inputs:
        # The fills of words are ways of the tokenizer, which may differ where the network does not.
        tried_fills = one.feature.fills if one.kind == TextFeature.kind else (fills[one.name],)
        for fill in tried_fills:
            given = {**fills, one.name: fill}
            yield _or_none(partial(_scores_without, model, encoded, given, one.name))


@torch.no_grad()
def _scores_without(
    model: Model, encoded: Encoded, fills: dict[str, str], absent: str
) -> torch.Tensor:
    players = make_players(encoded)
    target = Target(0, None, "logit", kind=model.kind)
    game = Game(model, encoded, players, fills, target, seed=0)
    present = torch.ones(ROWS, len(game), dtype=torch.bool, device=model.device)
    present[:, torch.from_numpy(players.of[absent].numbers)] = False
    return game.logits(present)


def _text(model: Model, values: Iterable[Any]) -> str:
    """Arrays as JSON: where they were computed, hashes of their bits,
    and some of their fractions.
    """
    arrays = [_array(value) for value in values]
    whole = [array for array in arrays if array.dtype.kind != "f"]
    return json.dumps(
        {
            "where": _where(model.device),
            "exact": model.device.type == "cpu",
            "hash": digest(*(array.tobytes() for array in arrays)),
            "whole": digest(*(array.tobytes() for array in whole)),
            "shapes": [list(array.shape) for array in arrays],
            "numbers": [_some(array) for array in arrays if array.dtype.kind == "f"],
        }
    )


def _some(array: np.ndarray) -> list[float]:
    """At most `KEPT` numbers of an array, from all over it."""
    numbers = array.ravel()
    chosen = np.linspace(0, max(0, len(numbers) - 1), min(KEPT, len(numbers))).round().astype(int)
    return [float(f"{number:.9g}") for number in numbers[chosen]]


def _array(value: Any) -> np.ndarray:
    """An array, of int64 or float64; one NaN for what could not be tried."""
    if value is None:
        return np.full((), np.nan)
    if isinstance(value, torch.Tensor):
        fractions = value.is_floating_point()
        return in_float64(value.detach()).numpy() if fractions else value.cpu().long().numpy()
    return np.array([number for part in value for number in part], dtype=np.int64)


def _where(device: torch.device) -> str:
    """The kind of processor, whose kernels decide on the last bits."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} {platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
