"""A sentence explained: each of its words against every part of the inputs, and the whole.

The score of a word is its log-probability given the words before it, and that of the sentence is
their sum, so the values of the words add up to those of the sentence. One forward pass of a
coalition scores all words.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, cast

import numpy as np

from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported
from vqa_explain.explanation import Explanation
from vqa_explain.features.parts import JointValues
from vqa_explain.finishing import attributed, finished
from vqa_explain.game import Players
from vqa_explain.methods.base import STANDARD_ERROR, Attribution, Method, Task
from vqa_explain.models.base import Model, OpenModel
from vqa_explain.models.base import answers as model_answers
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.sentences import Wording
from vqa_explain.target import Target
from vqa_explain.units import unit_named, unit_of

SENTENCE = "sentence"  # the target that stands for every word of the answer


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


def explain_words(
    model: OpenModel, encoded: Encoded, players: Players, method: Method, how: dict[str, Any]
) -> Explanation:
    """The explanation of the model's best answer, or of the one that was given, with one of each
    of its words as `outputs`.

    Args:
        model: a `Wording`.
        encoded: the example with its candidates.
        players: the parts that get values.
        method: how.
        how: the other fields of `Task`.
    """
    best = model_answers(model, encoded)
    number = best[0].index
    encoded = cast(Wording, model).worded(encoded, number)
    goals = [
        Target(index, None, "log_probability", kind=model.kind)
        for index in range(len(encoded.labels))
    ]
    scored = {one.index: one for one in model_answers(model, encoded, top=len(goals))}
    task = Task(model, encoded, goals[-1], players, tuple(goals), **how)
    method, whole = attributed(task, method)
    rows = []
    found = []
    for index, goal in enumerate(goals[:-1]):
        one = dataclasses.replace(task, target=goal, cost=Cost(), known_only=task.interrupted)
        _, mine = attributed(one, method)
        found.append(mine)
        rows.append(finished(one, method, mine, [scored[index]]))
        _add(task.cost, one.cost)
    if whole.error_kind == STANDARD_ERROR and unit_named(unit_of(method)).adds_up:
        whole = _summed(whole, found)
    explanation = finished(task, method, whole, best)
    return dataclasses.replace(
        explanation,
        outputs=tuple(rows),
        target_index=number,
        provenance={**explanation.provenance, "target_index": number},
    )


def _add(cost: Cost, more: Cost) -> None:
    cost.forwards += more.forwards
    cost.backwards += more.backwards
    cost.seconds += more.seconds


def _summed(whole: Attribution, rows: Sequence[Attribution]) -> Attribution:
    """The sum of the words' values, with the errors of the whole.

    Both are estimates of one number from the same coalitions, and need not be equal: an estimator
    may fit each score in another way.
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
