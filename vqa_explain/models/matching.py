"""Which input of an example goes to which input of a model."""

from collections.abc import Sequence
from typing import Any

from vqa_explain.errors import InvalidInput
from vqa_explain.examples import Example, Given
from vqa_explain.features.base import Feature
from vqa_explain.features.image import ImageFeature
from vqa_explain.features.table import TableFeature
from vqa_explain.features.text import PageFeature, TextFeature
from vqa_explain.models.base import Model, has_open_inputs

# What each kind of input is called in messages.
NOUNS = {
    ImageFeature.kind: "a picture",
    TextFeature.kind: "a text",
    TableFeature.kind: "a row of a table",
    "video": "a video",
}


def matched(example: Example, features: Sequence[Feature], name: str) -> dict[str, Any]:
    """Input name → what the example gives for it, in the model's order.

    Inputs go by name. The picture or question of an example in its short form goes to the model's
    only picture or text, whatever that is called.

    Args:
        example: the example.
        features: the model's inputs.
        name: the model's, for errors.

    Raises:
        InvalidInput: an input is missing, is none of the model's, or is of another kind.
    """
    if example.messages is not None:
        raise InvalidInput(
            f"model {name!r} takes no chat, only {_listed(features)}; give these as inputs by name"
        )
    found: dict[str, Any] = {}
    for one in example.given:
        feature = _feature_for(one, features, short=example.inputs is None)
        if feature is None:
            raise InvalidInput(_of_extra(one, features, name))
        # Of other kinds the model knows itself.
        if feature.kind in NOUNS and not _is_of_kind(one, feature, short=example.inputs is None):
            raise InvalidInput(_of_other_kind(one, feature, name))
        found[feature.name] = one.value
    missing = [feature for feature in features if feature.name not in found]
    if missing:
        raise InvalidInput(_of_missing(missing[0], features, name))
    return {feature.name: found[feature.name] for feature in features}


def check_inputs(model: Model, example: Example) -> None:
    """Refuses an example whose inputs are not those that a model takes.

    A model that takes any number of inputs checks them itself, when it reads them.

    Raises:
        InvalidInput: an input is missing, is none of the model's, or is of another kind.
    """
    if not has_open_inputs(model):
        matched(example, model.features, model.name)


def _feature_for(one: Given, features: Sequence[Feature], short: bool) -> Feature | None:
    """The model's input that one of an example is for; `None` where it has none."""
    same_name = [feature for feature in features if feature.name == one.name]
    if same_name:
        return same_name[0]
    same_kind = [feature for feature in features if feature.kind == one.kind]
    return same_kind[0] if short and len(same_kind) == 1 else None


def _noun_of(one: Given) -> str:
    """What an example gives, for messages."""
    return NOUNS.get(one.kind) or f"a value of type {type(one.value).__name__}"


def _is_of_kind(one: Given, feature: Feature, short: bool) -> bool:
    """Whether the value suits the model's input; in the short form,
    a text stands for a picture's path or itself.
    """
    itself = short and feature.kind == TextFeature.kind and isinstance(one.value, str)
    return itself or feature.kind == one.kind


def _listed(features: Sequence[Feature]) -> str:
    return ", ".join(f"{one.name!r} ({_noun_for(one)})" for one in features)


def _noun_for(feature: Feature) -> str:
    """What a model's input takes, for messages."""
    if isinstance(feature, PageFeature):
        return "a vqa_explain.Page"
    return NOUNS.get(feature.kind, feature.kind)


def _of_missing(missing: Feature, features: Sequence[Feature], name: str) -> str:
    noun = _noun_for(missing)
    if len(features) == 1 or missing.name in ("image", "question"):
        return (
            f"model {name!r} takes {_listed(features)}, and {missing.name!r} is missing; give "
            f"{noun}"
        )
    return (
        f"model {name!r} takes {_listed(features)}, and {missing.name!r} is missing; give an "
        f"Example.of with {noun} named {missing.name!r}"
    )


def _of_extra(one: Given, features: Sequence[Feature], name: str) -> str:
    kinds = {feature.kind for feature in features}
    if one.kind == "video":
        return (
            f"model {name!r} takes no video, only {_listed(features)}; give one of its frames as a "
            "picture"
        )
    if one.kind == TextFeature.kind and one.kind not in kinds:
        return f"model {name!r} takes no question, only {_listed(features)}; leave {one.name!r} out"
    return (
        f"model {name!r} has no input {one.name!r} for {_noun_of(one)}; it takes "
        f"{_listed(features)}"
    )


def _of_other_kind(one: Given, feature: Feature, name: str) -> str:
    got, wanted = _noun_of(one), NOUNS[feature.kind]
    remedy = f"give {wanted}"
    if feature.kind == ImageFeature.kind and one.kind == TextFeature.kind:
        remedy = "give a picture, or a path as pathlib.Path"
    if feature.kind == TableFeature.kind:
        remedy = "give a row of a table, as {column: value}"
    if feature.kind == TextFeature.kind and isinstance(one.value, str):
        remedy = (
            "a text that ends as a picture's file does is taken for a path, so end it otherwise"
        )
    return f"input {one.name!r} of model {name!r} takes {wanted}, not {got}; {remedy}"
