"""The example that a call asks about, checked against what the model takes."""

from collections.abc import Mapping
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, check_readable
from vqa_explain.features.image import ImageFeature
from vqa_explain.models.base import Model, has_open_inputs
from vqa_explain.models.matching import check_inputs


def check_loaded(model: Any, what: str) -> None:
    """Raises an `InvalidInput` where `what` is given something else than a loaded model."""
    if not hasattr(model, "capabilities"):
        raise InvalidInput(
            f"{what} needs a model from vqa_explain.load, not {type(model).__name__}; load it first"
        )


def asked_example(model: Model, image: Any, question: str | None) -> Example:
    """The example that was asked about, whose inputs are the model's.

    Raises:
        InvalidInput: it could not be read, or an input is missing, too many, or of another kind.
    """
    if isinstance(image, Example):
        if question is not None:
            raise InvalidInput("an Example brings its own question; leave the question out")
        example = image
    elif isinstance(image, Mapping):
        raise InvalidInput(
            "inputs by name are an example; write explain(model, Example.of({name: value, …}))"
        )
    else:
        pictures = [one for one in model.features if one.kind == ImageFeature.kind]
        if isinstance(image, str) and not pictures and not has_open_inputs(model):
            raise InvalidInput(
                f"model {model.name!r} takes no picture; write the text as question={image[:40]!r}"
            )
        example = Example(image=image, question=question)
    check_readable(example)
    check_inputs(model, example)
    return example
