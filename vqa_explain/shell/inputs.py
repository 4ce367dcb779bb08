"""What a person types as the inputs of an example."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vqa_explain import registry
from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, kind_of, read_image
from vqa_explain.features.parts import PicturePart, TablePart


def example_of(
    image: Path | None, question: str | None, inputs: Sequence[str], messages: Path | None
) -> Example:
    """The example that a person typed, in one of three ways; its pictures can be read.

    Raises:
        InvalidInput: it is typed in two ways or in none, or an input cannot be read.
    """
    ways = [image is not None or question is not None, bool(inputs), messages is not None]
    if sum(ways) != 1:
        raise InvalidInput(
            "say what is explained in one way: a picture and perhaps a question, or --input "
            "name=value, or --messages"
        )
    if messages is not None:
        example = Example(messages=_json_of(messages, "--messages"))
    elif inputs:
        example = Example.of(_named(inputs))
    else:
        example = Example(image=image, question=question)
    # Before a model is loaded, which takes long.
    for one in example.given:
        if one.kind == PicturePart.kind:
            read_image(one.value)
    return example


def _named(inputs: Sequence[str]) -> dict[str, Any]:
    """Name → what was given, of texts such as "patient=row.json"."""
    found: dict[str, Any] = {}
    for text in inputs:
        name, equals, value = text.partition("=")
        name = name.strip()
        if not equals or not name:
            raise InvalidInput(f"--input {text[:60]!r} must be name=value, such as question=Why?")
        if name in found:
            raise InvalidInput(f"--input names {name!r} twice; give each input a name of its own")
        found[name] = _value(name, value)
    return found


def _value(name: str, text: str) -> Any:
    """A row or frames where the text is JSON of such, else the text,
    which may be the path of a picture.
    """
    if text.endswith(".json"):
        return _json_of(Path(text), f"--input {name}")
    if not text.lstrip().startswith(("{", "[")):
        return text
    try:
        value = json.loads(text)
    except json.JSONDecodeError:  # a text that begins so
        return text
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = [Path(one) for one in value]
    return value if kind_of(value, name) in (TablePart.kind, "video") else text


def _json_of(path: Path, what: str) -> Any:
    """What a .json file holds.

    Raises:
        InvalidInput: there is no such file, or it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"the file {str(path)!r} of {what} cannot be read: {reason}") from error


def column_groups(text: str | None) -> list[list[str]] | None:
    """Columns that are one player, as people type them.

    >>> column_groups("height+weight, age")
    [['height', 'weight'], ['age']]
    """
    if text is None:
        return None
    groups = [[name.strip() for name in group.split("+")] for group in text.split(",")]
    if not all(name for group in groups for name in group):
        raise InvalidInput(f"--columns {text!r} must name columns, such as height+weight,age")
    return groups


def check_answers(model: str, *answers: str | None) -> None:
    """Refuses answers that a shipped model does not have, before it is loaded.

    Args:
        model: as the shell takes it.
        *answers: texts or label numbers.

    Raises:
        InvalidInput: the model has no such answer.
    """
    from vqa_explain.models.loading import SHIPPED, data_folder, own_models
    from vqa_explain.target import find_answer, matching_answers

    if model not in SHIPPED or model in own_models():
        return
    path = data_folder() / model / "config.json"
    if not path.is_file():  # told where it is loaded
        return
    labels = list(json.loads(path.read_text(encoding="utf-8"))["id2label"].values())
    for answer in answers:
        if answer is None or matching_answers(labels, answer):
            continue
        is_number = answer.isascii() and answer.isdigit()
        find_answer(labels, int(answer) if is_number else answer)


def check_method(method: str | None, parameters: dict[str, Any]) -> None:
    """Refuses a method that there is not, or parameters that it cannot have.

    Raises:
        InvalidInput: a name or a value cannot be used.
    """
    from vqa_explain.methods import METHODS

    if method is not None:
        registry.create("method", METHODS, method, parameters)
