"""A sentence explained: each of its words against every part of the inputs, and the whole.

The score of a word is its log-probability given the words before it, and that of the sentence is
their sum, so the values of the words add up to those of the sentence. One forward pass of a
coalition scores all words.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from vqa_explain._memory import must_fit
from vqa_explain._precision import in_float64
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, NonFiniteScore, OutOfMemory, Unsupported
from vqa_explain.explanation import ALONE, EARLIER, Explanation
from vqa_explain.features.base import Input
from vqa_explain.features.image import Picture
from vqa_explain.features.parts import JointValues, PicturePart
from vqa_explain.finishing import attributed, finished, first_pass
from vqa_explain.game import Players
from vqa_explain.games.estimators import AllKnown, every_coalition, exact_shapley
from vqa_explain.history import earlier_words, looked_up, scores_of
from vqa_explain.methods.base import Attribution, Method, Task
from vqa_explain.methods.shared import SharedPasses
from vqa_explain.models.base import Model, OpenModel, answer_scores, best_answers, check_finite
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded, candidates_of, with_few
from vqa_explain.models.sentences import Wording
from vqa_explain.target import Target
from vqa_explain.units import unit_named, unit_of

SENTENCE = "sentence"  # the target that stands for every word of the answer
THINKING = "thinking"  # and for every word of what the model thinks before it
MOST_INPUTS = 3  # that are players of their own there
WORDS_AT_ONCE = 8  # that are read without those before them: each is a sequence of its own
UNASKED_BYTES = 2**28  # of maps that words nobody asked for may take
SHORT = 3  # tokens of an answer whose words are told only where they are asked for


def asks_for_words(model: Model, target: Any) -> bool:
    """Whether `target=` asks for every word of the answer, or of the thoughts before it, and is no
    answer that the model chooses among.

    Raises:
        InvalidInput: a list of targets does.
    """
    several = list(target) if isinstance(target, list | tuple) and model.labels is None else []
    for one in (SENTENCE, THINKING):
        if one in several:
            raise InvalidInput(
                f"target={one!r} stands alone: it explains every word of one answer; leave the "
                "other targets out"
            )
    words = isinstance(target, str) and target in (SENTENCE, THINKING)
    return words and target not in (model.labels or ())


def check_history(history: Any, target: Any, contrast: Any = None) -> None:
    """Checks whether earlier words are to be players.

    Raises:
        InvalidInput: `history` is no truth value, or beside another target or a contrast.
    """
    if not isinstance(history, bool):
        raise InvalidInput(f"history must be True or False, not {history!r}")
    if history and contrast is not None:
        raise InvalidInput(
            "history=True tells the earlier words of one sentence, and contrast= compares two; "
            "leave one of them out"
        )
    if history and target not in (SENTENCE, THINKING):
        raise InvalidInput(
            "history=True divides what a word owes to the words before it; give target='sentence'"
        )


def check_words(
    model: Model,
    target: str,
    answers: Sequence[str] | None,
    contrast: Any,
    token: int | None,
    score: str,
) -> None:
    """Checks what is asked beside the words of an answer, or of the thoughts before it.

    Raises:
        InvalidInput: a contrast that is no text, one token, or probabilities or means, which do not add up; or
            answers beside thoughts.
        Unsupported: the model does not write its answers word by word, or does not think.
    """
    if not isinstance(model, Wording):
        raise Unsupported(
            f"model {model.name!r} does not write its answers word by word; name an answer as "
            "target="
        )
    if target == THINKING and model.marks is None:
        raise Unsupported(
            f"model {model.name!r} declares no marks around what it thinks, so its thoughts cannot "
            "be told from its answer; give target='sentence'"
        )
    if target == THINKING and answers is not None:
        raise InvalidInput(
            "target='thinking' explains what the model thinks by itself; leave answers= out"
        )
    if contrast is not None and (target == THINKING or not isinstance(contrast, str)):
        raise InvalidInput(
            f"target={target!r} takes the text of another sentence as contrast=, and thoughts take "
            "none; leave contrast= out"
        )
    if token is not None:
        raise InvalidInput(
            f"target={target!r} explains every token of the answer; leave target_token= out"
        )
    if getattr(model, "lengths", "sum") == "mean":
        raise InvalidInput(
            "words add up to an answer whose score is the sum of its tokens; load the model "
            "without lengths='mean'"
        )
    if score == "probability":
        raise InvalidInput(
            "the probabilities of words do not add up to that of a sentence, and their logarithms "
            "do; leave score= out"
        )


def is_long(model: Model, encoded: Encoded, score: str) -> bool:
    """Whether the words of what a model wrote are told though nobody asked for them: it is one
    answer of more than three tokens, whose score is the sum of theirs.
    """
    if not isinstance(model, Wording) or score != "log_probability" or len(encoded.labels) != 1:
        return False
    found = candidates_of(encoded)
    return found.lengths == "sum" and len(found.ids[0]) > SHORT


def explain_words(
    model: OpenModel,
    encoded: Encoded,
    players: Players,
    method: Method,
    how: dict[str, Any],
    asked: bool,
    history: bool = False,
) -> Explanation:
    """The explanation of the model's best answer, or of the one that was given, with an explanation
    of each of its words in `outputs`.

    Args:
        model: a `Wording`.
        encoded: the example with its candidates.
        players: the parts that get values.
        method: how.
        how: the other fields of `Task`.
        asked: whether the words were asked for. Else there are none where they would cost more
            passes, as of methods that use gradients, or much memory.
        history: whether each word is told what it owes to each word before it.

    Raises:
        InvalidInput: an input has the name of another source of words.
    """
    if asked:
        _check_names(encoded.inputs)
    several = len(encoded.labels) > 1
    best = model_answers(model, encoded) if several else []
    number = best[0].index if several else 0
    encoded = cast(Wording, model).as_words(encoded, number)
    goals = [
        Target(index, None, "log_probability", kind=model.kind)
        for index in range(len(encoded.labels))
    ]
    first = first_pass(method, model, encoded)
    scores = answer_scores(model, encoded) if first is None else in_float64(first.scores)
    words = best_answers(model.kind, encoded, scores.detach(), top=len(goals))
    scored = {one.index: one for one in words}
    best = best or [dataclasses.replace(scored[len(goals) - 1], index=number)]
    plain = scores if first is None else None
    task = Task(model, encoded, goals[-1], players, tuple(goals), first=first, plain=plain, **how)
    task.shared = SharedPasses() if asked else None
    method, whole = attributed(task, method)
    rows: list[Explanation] = []
    if asked or (task.games and _fits(encoded)):
        found = [(one, word_found(one, method)) for one in each_word(task)]
        rows = [
            finished(one, method, mine, [scored[number]])
            for number, (one, mine) in enumerate(found)
        ]
        if unit_named(unit_of(method)).adds_up:
            whole = summed(whole, [mine for _, mine in found])
    explanation = finished(task, method, whole, best)
    if asked and not task.interrupted:
        rows, notes = _with_sources(task, rows, history)
        explanation = dataclasses.replace(explanation, notes=(*explanation.notes, *notes))
    return dataclasses.replace(
        explanation,
        outputs=tuple(shared(row, explanation) for row in rows),
        target_index=number,
        provenance={**explanation.provenance, "target_index": number},
    )


def _check_names(inputs: Sequence[Input]) -> None:
    """Checks that no input has the name of another source of words, before anything is computed.

    Raises:
        InvalidInput: one has.
    """
    taken = next((one.name for one in inputs if one.name in (EARLIER, ALONE)), None)
    if taken is not None:
        raise InvalidInput(
            f"an input is called {taken!r}, as a source of words is; give it another name"
        )


def _fits(encoded: Encoded) -> bool:
    """Whether a map of every picture for every word takes little memory."""
    pictures = [one.content for one in encoded.inputs if isinstance(one.content, Picture)]
    pixels = sum(one.original.shape[0] * one.original.shape[1] for one in pictures)
    return bool(8 * pixels * len(encoded.labels) <= UNASKED_BYTES)


def shared(row: Explanation, whole: Explanation) -> Explanation:
    """The word's explanation with the pictures and regions of the whole, so that each is in memory
    once.
    """
    parts = [
        dataclasses.replace(own, picture=one.picture, labels=one.labels)
        if isinstance(own, PicturePart) and isinstance(one, PicturePart)
        else own
        for own, one in zip(row.parts, whole.parts, strict=True)
    ]
    return dataclasses.replace(row, parts=tuple(parts))


def each_word(task: Task) -> Iterator[Task]:
    """The task of each word, one after another; what they cost is added to that of the whole.

    Words take the coalitions that the whole took, wherever it stopped.
    """
    *goals, _ = task.targets
    for number, goal in enumerate(goals):
        one = dataclasses.replace(
            task, target=goal, cost=Cost(), known_only=bool(task.games), progress=None
        )
        yield one
        _add(task.cost, one.cost)
        task.interrupted |= one.interrupted
        if task.progress and not task.games:  # else the words were scored with the sentence
            task.progress(number + 1, len(goals))


def word_found(task: Task, method: Method) -> Attribution:
    """What the method finds of a word; with more coalitions where it needs others than the whole's
    are.
    """
    try:
        return attributed(task, method)[1]
    except AllKnown:
        task.known_only = False
        return attributed(task, method)[1]


def _with_sources(
    task: Task, rows: list[Explanation], history: bool
) -> tuple[list[Explanation], tuple[str, ...]]:
    """The words with where they come from; without, and with a note, where that cannot be
    computed, so that nothing that is computed is lost.
    """
    try:
        with must_fit(task.model):
            inputs = _whole_inputs(task)
            found = _sources(task, *inputs)
            rows = [
                dataclasses.replace(row, sources=sources, with_pictures=gain)
                for row, (sources, gain) in zip(rows, found, strict=True)
            ]
            if history:
                _, present, fills = inputs
                told = earlier_words(task, present, fills)
                rows = [
                    dataclasses.replace(row, earlier=values, earlier_errors=errors)
                    for row, (values, errors) in zip(rows, told, strict=True)
                ]
    except (OutOfMemory, NonFiniteScore) as error:
        return rows, (f"where the words come from is not known: {error}",)
    except KeyboardInterrupt:
        if task.on_interrupt != "return":
            raise
        return rows, ("where the words come from is not known: stopped by the user",)
    return rows, ()


def _whole_inputs(task: Task) -> tuple[dict[str, list[str]], np.ndarray, dict[str, str]]:
    """The groups of inputs that are players as wholes, the parts (2^G, P) bool that are present in
    each coalition of them, and the fills: the method's where it plays a game.
    """
    encoded = task.encoded
    known = next(iter(task.games.values()), None)
    fills = task.fills() if known is None else known.fills
    groups = _grouped(encoded.inputs)
    numbers = {one.name: task.players.of[one.name].numbers for one in encoded.inputs}
    present = np.zeros((2 ** len(groups), len(task.players)), dtype=bool)
    chosen = every_coalition(len(groups))
    for column, names in enumerate(groups.values()):
        for name in names:
            present[np.ix_(chosen[:, column], numbers[name])] = True
    return groups, present, fills


def _sources(
    task: Task, groups: dict[str, list[str]], present: np.ndarray, fills: dict[str, str]
) -> list[tuple[dict[str, float], float | None]]:
    """For each word `Explanation.sources` and `with_pictures`.

    The players are the inputs, or their kinds where there are many, and the earlier words as one.
    All coalitions are computed; see `_whole_inputs`.
    """
    encoded = task.encoded
    without = cast(Wording, task.model).without_earlier_words(encoded)
    unsaid = [scores_of(task, part, present, fills) for part in _in_parts(without)]
    said = scores_of(task, encoded, present, fills)[:, :-1]  # the last is the sentence
    # Earlier words are the last player.
    found = np.concatenate([np.concatenate(unsaid, axis=1), said])
    check_finite(torch.from_numpy(found), "the log-probability of a word without inputs")
    pictures = [_shows(encoded, names) for names in groups.values()]
    blind = len(found) - 1 - sum(1 << number for number, shows in enumerate(pictures) if shows)
    told = []
    for column in found.T:
        values = exact_shapley(partial(looked_up, column), len(groups) + 1)
        sources = dict(zip([*groups, EARLIER], values.tolist(), strict=True))
        gain = float(column[-1] - column[blind]) if any(pictures) else None
        told.append(({**sources, ALONE: float(column[0])}, gain))
    return told


def _in_parts(encoded: Encoded) -> Iterator[Encoded]:
    """The example with few of its words at once, of which each is read by itself, and without the
    sentence.
    """
    count = len(encoded.labels) - 1
    for first in range(0, count, WORDS_AT_ONCE):
        yield with_few(encoded, range(first, min(first + WORDS_AT_ONCE, count)))


def _shows(encoded: Encoded, names: Sequence[str]) -> bool:
    """Whether these inputs are pictures."""
    return all(encoded[name].kind == PicturePart.kind for name in names)


def _grouped(inputs: Sequence[Input]) -> dict[str, list[str]]:
    """The inputs that have players, each by itself; by kind where there are more than three, or
    frames, which may have players in common.
    """
    valued = [one for one in inputs if not one.fixed]
    by_name = len(valued) <= MOST_INPUTS and not any(one.group for one in valued)
    found: dict[str, list[str]] = {}
    for one in valued:
        found.setdefault(one.name if by_name else one.kind, []).append(one.name)
    return found


def _add(cost: Cost, more: Cost) -> None:
    cost.forwards += more.forwards
    cost.backwards += more.backwards
    cost.seconds += more.seconds


def summed(whole: Attribution, rows: Sequence[Attribution]) -> Attribution:
    """The sum of the words' values, with the errors of the whole.

    Its own values would differ: by rounding, and where they are estimated more, since an estimator
    may fit each score in another way. Both are estimates of one number from the same coalitions.
    """
    values = {name: np.sum([row.values[name] for row in rows], axis=0) for name in whole.values}
    each = [row.player_values for row in rows if row.player_values is not None]
    joint = [
        JointValues(
            one.first,
            one.second,
            np.sum([row.joint[number].values for row in rows], axis=0),
            one.errors,
        )
        for number, one in enumerate(whole.joint)
    ]
    return dataclasses.replace(
        whole,
        values=values,
        player_values=np.sum(each, axis=0) if each else None,
        joint=tuple(joint),
    )
