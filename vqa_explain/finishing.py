"""From what a method found to an `Explanation`: carried to what people see, with what they must
know of it.
"""

import dataclasses
import platform
import time
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vqa_explain import registry
from vqa_explain.choosing import FillChoice
from vqa_explain.cost import Cost
from vqa_explain.errors import InvalidInput, Unsupported, unknown
from vqa_explain.explanation import Explanation, Written
from vqa_explain.features.base import Found, Input
from vqa_explain.features.parts import Part
from vqa_explain.game import Players
from vqa_explain.methods.base import Attribution, Method, Task, asked_fills, for_players
from vqa_explain.methods.passes import OnePass, WholePass
from vqa_explain.models.base import WHOLE, Model, check_finite, sampled
from vqa_explain.models.encoded import Encoded
from vqa_explain.models.inside import UnitModel
from vqa_explain.target import FIT, REAL, Answer
from vqa_explain.units import unit_of
from vqa_explain.wording import everything_but

# Of number types whose rounding is too small to be seen in a probability.
EXACT_BYTES = 4


def first_pass(method: Method, model: Model, encoded: Encoded) -> WholePass | None:
    """The method's forward pass of the whole example, where the answer can be taken from it; else
    `None`.

    In short number types, what a method changes of the operations would show in the answer.

    Raises:
        NonFiniteScore: the model answers NaN or infinity.
    """
    if not isinstance(method, OnePass):
        return None
    began, leaves = time.perf_counter(), model.leaves(encoded)
    if any(leaf.itemsize < EXACT_BYTES for leaf in leaves.values()):
        return None
    whole = method.whole_pass(model, encoded, leaves)
    if whole is not None:
        check_finite(whole.scores, WHOLE)
        whole.seconds = time.perf_counter() - began
    return whole


def explained(task: Task, method: Method, best: list[Answer]) -> Explanation:
    """The explanation of the task's target by a method, with the `best` answers."""
    method, found = attributed(task, method)
    return finished(task, method, found, best)


def attributed(task: Task, method: Method) -> tuple[Method, Attribution]:
    """The method as it suits so many players, and what it found, timed."""
    began, method = time.perf_counter(), for_players(method, len(task.players))
    # The first target pays for the pass that serves all.
    before = 0.0 if task.first is None or task.first.is_counted else task.first.seconds
    found = method(task)
    task.cost.seconds = before + time.perf_counter() - began
    return method, found


def finished(task: Task, method: Method, found: Attribution, best: list[Answer]) -> Explanation:
    """What `finish` gives, and what the model says with everything absent."""
    explanation = finish(task, method, found, best)
    # Whoever stops wants no more work.
    absent = None if task.interrupted else _scores_without_inputs(task, method)
    if absent is None:
        return explanation
    if len(task.encoded.labels) < 2:  # the only candidate is always the answer
        return explanation
    if task.model.kind == FIT:  # each answer by itself, so that none is the model's one answer
        return _with_notes(explanation, _note_of_one(task, absent))
    left = int(absent[0].argmax())
    text = task.encoded.labels[left]
    stays = _note_of_staying(task, f"answers “{text}”") if left == best[0].index else ""
    return dataclasses.replace(
        _with_notes(explanation, stays), answer_without_inputs=text, without_inputs_index=left
    )


def with_choice(explanation: Explanation, choice: FillChoice | None, pays: bool) -> Explanation:
    """The explanation with what was measured to choose its fills, where they were chosen.

    Args:
        pays: whether the measurements are part of its cost: of several targets, the first's.
    """
    if choice is None:
        return explanation
    cost = explanation.cost
    if pays:
        forwards = cost.forwards + choice.cost.forwards
        cost = Cost(forwards, cost.backwards, cost.seconds + choice.cost.seconds)
    return dataclasses.replace(
        explanation, notes=(*explanation.notes, *choice.sentences), cost=cost
    )


def _with_notes(explanation: Explanation, note: str) -> Explanation:
    return dataclasses.replace(explanation, notes=explanation.notes + ((note,) if note else ()))


@torch.no_grad()
def _note_of_one(task: Task, absent: Tensor) -> str:
    """That the explained answer stays likely with everything absent, of scores (1, K) there;
    "" where it does not.
    """
    number = task.target.index
    if number is None or task.target.contrast is not None:
        return ""
    model, encoded = task.model, task.encoded
    known = None if task.first is None else task.first.scores
    with_inputs = model.scores(encoded, model.leaves(encoded)) if known is None else known
    likely = min(float(scores[0, number]) for scores in (absent, with_inputs)) > 0
    text = task.encoded.labels[number]
    return _note_of_staying(task, f"gives “{text}” more than 50%") if likely else ""


def _note_of_staying(task: Task, what: str) -> str:
    """That the model still does something with every player absent, and why that may be."""
    fixed = [one.name for one in task.encoded.inputs if one.fixed]
    needs = "no more than what is fixed" if fixed else "no input"
    return (
        f"the model still {what} with {everything_but(fixed)} absent: the fill shows too much, or "
        f"the answer needs {needs}"
    )


@torch.no_grad()
def _scores_without_inputs(task: Task, method: Method) -> Tensor | None:
    """Scores (1, K) with everything absent, under the method's fill or baseline if it has one.

    Raises:
        NonFiniteScore: the model answers NaN or infinity to that.
    """
    model, encoded = task.model, task.encoded
    found = encoded.candidates
    in_part = found is not None and (
        found.token is not None or found.spans is not None or found.temperature is not None
    )
    if model.kind == REAL or in_part:  # then scores do not choose an answer
        return None
    game = next(iter(task.games.values()), None)
    if game is not None:
        nobody = torch.zeros(1, len(game), dtype=torch.bool, device=model.device)
        return _finite(game.logits(nobody))
    named = registry.parameters_of(method)
    if not any(name.endswith(("_fill", "_baseline")) for name in named):
        return None  # it replaces nothing
    asked = asked_fills(method, encoded.inputs)
    known = {one.name: one.feature.fills for one in encoded.inputs}
    if any(fill not in known[name] for name, fill in asked.items()):
        return None  # several fills, or any
    return _finite(model.scores(encoded, task.baselines(asked)))


def _finite(scores: Tensor) -> Tensor:
    check_finite(scores, "the model's answer with everything absent")
    return scores


def finish(task: Task, method: Method, found: Attribution, best: list[Answer]) -> Explanation:
    """Carries an attribution to what people see of each input, and gathers what belongs to it.

    Raises:
        Unsupported: a value is not finite.
    """
    encoded, labels = task.encoded, task.encoded.labels
    found = _of_every_input(task, method, found)
    players = found.players or task.players
    values = found.player_values
    if values is None:
        values = players.sums(found.values)
    if not all(np.isfinite(one).all() for one in (*found.values.values(), values)):
        raise Unsupported(
            f"method {method.name!r} gave values that are not finite; try another method"
        )
    parts: list[Part] = []
    notes: list[str] = []
    for one in encoded.inputs:
        mine = _found_of(one, players, found, values)
        part = one.feature.carry(one.content, mine)
        parts.append(part)
        notes += one.feature.notes(one.content, mine, part)
    return Explanation(
        answers=tuple(best),
        target=task.target.text(labels),
        contrast=None if task.target.contrast is None else labels[task.target.contrast],
        score=task.target.score,
        parts=tuple(parts),
        share=shares(parts),
        error=None if found.error is None else float(found.error),
        error_kind=found.error_kind + (", stopped by the user" if task.interrupted else ""),
        cost=task.cost,
        method=method.name,
        parameters=registry.parameters_of(method),
        provenance=_provenance(task),
        by_player=found.players is not None,
        joint=found.joint,
        notes=(
            *notes,
            *_notes_of_fixed(encoded.inputs),
            *_notes_of_weights(task.model),
            *_notes_of_prompt(task.model),
            *_notes_of_thinking(encoded),
            *_notes_of_samples(task, found.counts_sampling),
        ),
        unit=unit_of(method),
        target_index=task.target.index,
        contrast_index=task.target.contrast,
        target_function=task.target.function is not None,
        written=_written_of(encoded, task.target.index),
    )


def _of_every_input(task: Task, method: Method, found: Attribution) -> Attribution:
    """The attribution with values of every input: 0 of those that the method says nothing of.

    Raises:
        InvalidInput: the method gave values of something else, or of another shape.
    """
    values = dict(found.values)
    shapes = {one.name: one.shape for one in task.encoded.inputs}
    for name, one in values.items():
        if name not in shapes:
            raise unknown(f"input in the values of method {method.name!r}", str(name), shapes)
        if np.shape(one) != shapes[name]:
            raise InvalidInput(
                f"method {method.name!r} gave values of shape {np.shape(one)} for input {name!r}, "
                f"which has elements {shapes[name]}; give one value for each"
            )
    empty = {name: np.zeros(shape) for name, shape in shapes.items()}
    return dataclasses.replace(found, values=empty | values)


def _found_of(one: Input, players: Players, found: Attribution, values: np.ndarray) -> Found:
    """What a method found of one input, of the values (P,) of all players."""
    errors = found.player_errors
    return Found(
        one.name,
        found.values[one.name],
        players.of[one.name].division,
        players.in_input(one.name, values),
        None if errors is None else players.in_input(one.name, errors),
        one.fixed,
    )


def shares(parts: Sequence[Part]) -> dict[str, float]:
    """Input name → its share of the absolute values of all players."""
    totals = {part.name: float(np.abs(part.values).sum()) for part in parts if not part.fixed}
    whole = sum(totals.values())
    return {name: size / whole if whole else 0.0 for name, size in totals.items()}


def _notes_of_fixed(inputs: Sequence[Input]) -> tuple[str, ...]:
    """Which inputs were left as they are."""
    fixed = [one.name for one in inputs if one.fixed]
    if not fixed:
        return ()
    return (
        f"fixed, so without values: {', '.join(fixed)}; players= says which inputs have values",
    )


def _written_of(encoded: Encoded, answer: int | None) -> Written | None:
    """The tokens of the candidates, of which number `answer` is explained; `None` of a model that
    chooses among answers of its own.
    """
    found = encoded.candidates
    if found is None:
        return None
    if found.spans is not None:  # the words of one sentence, and the sentence
        word = None if answer == len(found) - 1 else answer
        whole = found.texts[-1]
        written = Written({whole: found.ids[-1]}, {whole: found.pieces[-1]}, word=word)
    else:
        pieces = dict(zip(found.texts, found.pieces, strict=True))
        written = Written(found.known, pieces, found.token, found.lengths)
    return dataclasses.replace(written, history=found.history, thinking=found.thinking)


def _notes_of_thinking(encoded: Encoded) -> tuple[str, ...]:
    """That the answer stands behind what the model thought."""
    found = encoded.candidates
    if found is None or not found.thinking:
        return ()
    return (
        f"the model thought before it answered, in {len(found.history)} tokens that are fixed here; "
        "target='thinking' explains them",
    )


def _notes_of_weights(model: Model) -> tuple[str, ...]:
    """That some weights were drawn at random, as `allow_missing` permits."""
    drawn = getattr(model, "drawn_weights", ())
    if not drawn:
        return ()
    more = f" and {len(drawn) - 3} more" if len(drawn) > 3 else ""
    return (
        "weights of the model are random, since its checkpoint lacks them: "
        f"{', '.join(drawn[:3])}{more}",
    )


def _notes_of_prompt(model: Model) -> tuple[str, ...]:
    """That a question was asked without a template, which many models are trained to see."""
    if not getattr(model, "bare_prompt", False):
        return ()
    return (
        "the processor has no chat template, so the question was asked as it stands; a model "
        "trained for chats needs its template: set processor.chat_template",
    )


def _notes_of_samples(task: Task, counted: bool) -> tuple[str, ...]:
    """That scores are frequencies in samples, whether the errors count it, and whether the samples
    are any.
    """
    model = sampled(task.model)
    if model is None:
        return ()
    where = (
        "their sampling errors are counted in the standard errors"
        if counted
        else "their sampling errors are not counted in this method's errors; use shapley, banzhaf "
        "or leave_one_out for that"
    )
    notes = (f"scores are frequencies among {model.samples} sampled answers, and {where}",)
    if not model.always_alike(task.encoded):
        return notes
    return (
        *notes,
        "all sampled answers to each question were alike: either the model is sure of each, or the "
        "endpoint does not sample, and then scores and errors say nothing",
    )


def _provenance(task: Task) -> dict[str, Any]:
    return {
        "model": task.model.name,
        "family": task.model.family,
        "seed": task.seed,
        "example": task.encoded.example.id,
        "target_index": task.target.index,
        "contrast_index": task.target.contrast,
        **({"inside": True} if isinstance(task.model, UnitModel) else {}),
        "versions": dict(_versions()),
    }


@cache
def _versions() -> dict[str, str]:  # reading them takes longer than a small model takes to answer
    installed = {name: version(name) for name in ("vqa_explain", "torch", "transformers")}
    return {**installed, "python": platform.python_version()}
