"""What is asked of the inside of a network: one example, and the score that is explained."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, cast

import torch

from vqa_explain._memory import must_fit
from vqa_explain._numbers import checked_seed, checked_whole
from vqa_explain._threads import quiet_linear_algebra
from vqa_explain.asking import asked_example, check_loaded
from vqa_explain.datasets.loading import load_dataset
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.examples import Example
from vqa_explain.explaining import AskedTarget, named_score, targets_of, with_candidates
from vqa_explain.game import make_players
from vqa_explain.methods.base import Task
from vqa_explain.models.base import Model, OpenModel, answers
from vqa_explain.models.encoded import Encoded, behind, candidates_of
from vqa_explain.models.inside import Unit, UnitModel
from vqa_explain.models.sharing import network_held
from vqa_explain.target import SCORES, Answer, Target


@dataclass(frozen=True)
class Asked:
    """What is asked, as `explain` takes it."""

    target: AskedTarget | None = None
    contrast: str | int | None = None
    score: str | None = None
    answers: Sequence[str] | None = None
    seed: int = 0
    progress: Any = None


@contextmanager
def asked_task(
    model: Model, image: Any, question: str | None, asked: Asked, what: str
) -> Iterator[tuple[Task, Answer]]:
    """The task of one example, with the model's best answer; inside, the network is held.

    Args:
        model, image, question: as `explain` takes them.
        asked: the rest.
        what: the function that was called, for errors.

    Raises:
        InvalidInput: an input or a name cannot be used.
    """
    check_loaded(model, what)
    asked = replace(asked, seed=checked_seed(asked.seed))
    if isinstance(asked.target, list | tuple):
        raise InvalidInput(f"{what} takes one target, not a list; call it once for each")
    target, given = asked.target, asked.answers
    if isinstance(target, Unit):
        model, target, given = UnitModel(model, [target], given), 0, None
    if model.labels is not None and given is not None:
        raise InvalidInput(f"model {model.name!r} has answers of its own; leave answers= out")
    score = named_score(model, asked.score or "logit")
    if not is_one_of(score, (*SCORES, "value")):
        raise unknown("score", score, SCORES)
    example = asked_example(model, image, question)
    with network_held(model.module), torch.enable_grad(), must_fit(model), quiet_linear_algebra():
        encoded = model.encode(example)
        if model.labels is None:
            encoded = with_candidates(
                cast(OpenModel, model), encoded, given, [target], asked.contrast
            )
        best = answers(model, encoded)[0]
        targets = targets_of(model.kind, encoded.labels, [target], asked.contrast, score, best)
        players = make_players(encoded)
        yield Task(model, encoded, targets[0], players, targets, asked.seed, asked.progress), best


def encoded_like(task: Task, example: Example) -> Encoded:
    """Another example as the model reads it, with the candidates of the task's own."""
    encoded = task.model.encode(example)
    if task.model.labels is not None:
        return encoded
    known = candidates_of(task.encoded)
    open_model = cast(OpenModel, task.model)
    encoded = open_model.with_answers(encoded, known.texts, known=known.known)
    return behind(encoded, known)


def names_of(task: Task, goal: Target | None = None) -> tuple[str, str | None]:
    """The answer whose score a target is, and the one it is compared with.

    Args:
        task: the task, whose own target is meant unless there is another.
        goal: the other one.
    """
    goal, labels = goal or task.target, task.encoded.labels
    return goal.text(labels), None if goal.contrast is None else labels[goal.contrast]


def checked_rows(
    model: Model, examples: Sequence[Example] | str, limit: int | None, least: int, what: str
) -> list[Example]:
    """The examples of a list or of a data set, each checked against what the model takes.

    Args:
        model: the model.
        examples: they, or the name of a data set.
        limit: the first ones only; `None` for all.
        least: how many there must be.
        what: the function that was called, for errors.

    Raises:
        InvalidInput: there are fewer, or one is none.
    """
    check_loaded(model, what)
    if limit is not None:
        limit = checked_whole("limit", limit, least)
    given = load_dataset(examples) if isinstance(examples, str) else examples
    found = []
    for number, one in enumerate(islice(given, limit)):
        if not isinstance(one, Example):
            raise InvalidInput(
                f"examples are vx.Example(image, question), and number {number} is a "
                f"{type(one).__name__}"
            )
        found.append(asked_example(model, one, None))
    if len(found) < least:
        raise InvalidInput(
            f"{what} needs at least {least} {'example' if least == 1 else 'examples'}, and there "
            f"are {len(found)}; give more"
        )
    return found
