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

from vqa_explain._precision import in_float64
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.explanation import ALONE, EARLIER, Explanation
from vqa_explain.features.base import Input
from vqa_explain.features.parts import JointValues
from vqa_explain.finishing import attributed, finished, first_pass
from vqa_explain.game import Game, Players
from vqa_explain.games.estimators import every_coalition, exact_shapley
from vqa_explain.methods.base import Attribution, Method, Task
from vqa_explain.models.base import Model, OpenModel, answer_scores, best_answers, check_finite
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded, candidates_of
from vqa_explain.models.sentences import Wording
from vqa_explain.target import Target
from vqa_explain.units import unit_named, unit_of

SENTENCE = "sentence"  # the target that stands for every word of the answer
MOST_INPUTS = 3  # that are players of their own there
SHORT = 3  # tokens of an answer whose words are told only where they are asked for


def asks_for_words(model: Model, target: Any) -> bool:
    """Whether `target=` asks for every word of the answer, of a model whose answers are any
    texts.
    """
    return model.labels is None and isinstance(target, str) and target == SENTENCE


def check_words(model: Model, contrast: Any, token: int | None, score: str) -> None:
    """Checks what is asked beside the words of an answer.

    Raises:
        InvalidInput: a contrast, one token, or probabilities, which do not add up.
        Unsupported: the model does not write its answers word by word.
    """
    if not isinstance(model, Wording):
        raise Unsupported(
            f"model {model.name!r} does not write its answers word by word; name an answer as "
            "target="
        )
    if contrast is not None:
        raise InvalidInput(
            "target='sentence' explains the words of one answer; leave contrast= out"
        )
    if token is not None:
        raise InvalidInput(
            "target='sentence' explains every token of the answer; leave target_token= out"
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
) -> Explanation:
    """The explanation of the model's best answer, or of the one that was given, with one of each
    of its words as `outputs`.

    Args:
        model: a `Wording`.
        encoded: the example with its candidates.
        players: the parts that get values.
        method: how.
        how: the other fields of `Task`.
        asked: whether the words were asked for. Else they are told only where they cost nothing
            more, as of methods over coalitions.
    """
    several = len(encoded.labels) > 1
    best = model_answers(model, encoded) if several else []
    number = best[0].index if several else 0
    encoded = cast(Wording, model).worded(encoded, number)
    goals = [
        Target(index, None, "log_probability", kind=model.kind)
        for index in range(len(encoded.labels))
    ]
    first = first_pass(method, model, encoded)
    scores = answer_scores(model, encoded) if first is None else in_float64(first.scores)
    words = best_answers(model.kind, encoded, scores.detach(), top=len(goals))
    scored = {one.index: one for one in words}
    best = best or [dataclasses.replace(scored[len(goals) - 1], index=number)]
    task = Task(model, encoded, goals[-1], players, tuple(goals), first=first, **how)
    method, whole = attributed(task, method)
    rows: list[Explanation] = []
    if asked or task.games:
        found = [(one, attributed(one, method)[1]) for one in _of_words(task)]
        rows = [
            finished(one, method, mine, [scored[number]])
            for number, (one, mine) in enumerate(found)
        ]
        if unit_named(unit_of(method)).adds_up:
            whole = _summed(whole, [mine for _, mine in found])
    if asked and not task.interrupted:
        told = zip(rows, _sources(task), strict=True)
        rows = [dataclasses.replace(row, sources=sources) for row, sources in told]
    explanation = finished(task, method, whole, best)
    return dataclasses.replace(
        explanation,
        outputs=tuple(rows),
        target_index=number,
        provenance={**explanation.provenance, "target_index": number},
    )


def _of_words(task: Task) -> Iterator[Task]:
    """The task of each word, one after another; what they cost is added to that of the whole."""
    *goals, _ = task.targets
    for number, goal in enumerate(goals):
        one = dataclasses.replace(
            task, target=goal, cost=Cost(), known_only=task.interrupted, progress=None
        )
        yield one
        _add(task.cost, one.cost)
        if task.progress and not task.games:  # else the words were scored with the sentence
            task.progress(number + 1, len(goals))


def _sources(task: Task) -> list[dict[str, float]]:
    """Where each word comes from; see `Explanation.sources`.

    The players are the inputs, or their kinds where there are many, and the earlier words as one.
    All coalitions are computed, under the method's fills where it plays a game.
    """
    model, encoded = task.model, task.encoded
    known = next(iter(task.games.values()), None)
    fills = task.fills() if known is None else known.fills
    groups = _grouped(encoded.inputs)
    unsaid = cast(Wording, model).unsaid(encoded)
    numbers = {one.name: task.players.of[one.name].numbers for one in encoded.inputs}
    present = np.zeros((2 ** len(groups), len(task.players)), dtype=bool)
    chosen = every_coalition(len(groups))
    for column, names in enumerate(groups.values()):
        for name in names:
            present[np.ix_(chosen[:, column], numbers[name])] = True
    scores = []
    with torch.no_grad():
        for one in (unsaid, encoded):
            game = Game(model, one, task.players, fills, task.targets, seed=task.seed)
            rows = [game.logits(torch.from_numpy(row[None]).to(model.device)) for row in present]
            task.cost.forwards += len(rows)
            scores.append(in_float64(torch.cat(rows)))
    found = torch.cat(scores)[:, :-1].cpu().numpy()  # earlier words are the last player
    check_finite(torch.from_numpy(found), "the log-probability of a word without inputs")
    names = [*groups, EARLIER]
    told = []
    for column in found.T:
        values = exact_shapley(partial(_looked_up, column), len(names))
        told.append({**dict(zip(names, values.tolist(), strict=True)), ALONE: float(column[0])})
    return told


def _looked_up(scores: np.ndarray, coalitions: np.ndarray) -> np.ndarray:
    """Scores (N,) of coalitions (N, P), of those (2^P,) of all."""
    found: np.ndarray = scores[coalitions @ (1 << np.arange(coalitions.shape[1]))]
    return found


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


def _summed(whole: Attribution, rows: Sequence[Attribution]) -> Attribution:
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
