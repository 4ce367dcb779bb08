"""What a column of the comparison asks for: checked, and as `explain` takes it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeGuard

from vqa_explain.errors import InvalidInput
from vqa_explain.models.base import Model
from vqa_explain.viewer.requests import AskedAnswer, Column, KeptExplanation, MethodChoice


def checked(
    column: Column, models: Sequence[Model], chosen: MethodChoice, shown: KeptExplanation | None
) -> Column:
    """The column, with its answers as `explain` takes them.

    Args:
        models: the viewer's own, then the others.
        chosen: the method of the explanation on the screen.
        shown: that explanation, whose answers a label number may mean.

    Raises:
        InvalidInput: a method or parameter does not exist; a model lacks what the method needs;
            there is no such model, example or answer.
    """
    model = models[0] if column.model == 0 else _other_model(column.model, models)
    if column.model or column.method is not None or column.parameters:
        method_of(column, chosen).check(model)
    if column.example is not None and not (is_number(column.example) and column.example >= 0):
        raise InvalidInput(f"an example is named by its place from 0, not by {column.example!r}")
    if column.model or shown is None:
        return column
    target, contrast = (answer_of(shown, one) for one in (column.target, column.contrast))
    return replace(column, target=target, contrast=contrast)


def method_of(column: Column, chosen: MethodChoice) -> MethodChoice:
    """The column's method; without one, the chosen one with the column's parameters."""
    if column.method is not None:
        return MethodChoice(column.method, column.parameters)
    return MethodChoice(chosen.name, {**chosen.parameters, **column.parameters})


def _other_model(which: Any, models: Sequence[Model]) -> Model:
    if not is_number(which) or not 1 <= which < len(models):
        count = len(models) - 1
        raise InvalidInput(f"there is no model number {which!r}; {count} can be compared")
    found: Model = models[which]
    return found


def answer_of(kept: KeptExplanation, answer: AskedAnswer) -> AskedAnswer:
    """A label number as `explain` takes it: its text where the model has no labels of its own.

    Raises:
        InvalidInput: the explanation has no answer of that number.
    """
    if not isinstance(answer, int) or kept.model.labels is not None:
        return answer
    for one in kept.explanation.answers:
        if one.index == answer:
            return one.text
    raise InvalidInput(f"the explanation has no answer number {answer}; choose one that is shown")


def is_number(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number, which True is not meant to be."""
    return isinstance(value, int) and not isinstance(value, bool)
