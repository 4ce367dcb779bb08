"""Which adapter serves a network in memory: by what it is, whatever its author calls it."""

import inspect
from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn

from vqa_explain.errors import InvalidInput

CLASSIFIER, WRITES = "classifier", "generative"
# What transformers calls the part of a configuration that is about text, and the input that is
# text.
TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
TEXT_INPUT = "input_ids"


class Serving(Protocol):
    """A family of models: see `loading.Family`."""

    @property
    def about(self) -> str: ...

    def serves(self, architecture: str) -> bool: ...


def family_of(module: nn.Module, name: str, families: Mapping[str, Serving]) -> str:
    """The name of the family that serves a network.

    Classes of transformers that it is made of come first, so that a subclass of one's own is served
    as they are, whatever its name. A network of no known class that takes pictures alone is a
    classifier.

    Raises:
        InvalidInput: it takes text, or is a class of transformers without a head, and no adapter
            knows it.
    """
    from transformers import PreTrainedModel

    if isinstance(module, PreTrainedModel):
        found = _by_class(module, families)
        if found is not None:
            _check_sees(module, found, name)
            return found
    _refuse_text(module, name, families)
    if isinstance(module, PreTrainedModel) and type(module).__module__.startswith("transformers."):
        raise InvalidInput(
            f"{name} of transformers has no head that chooses among classes, and no adapter knows "
            "it; give a network with one, such as AutoModelForImageClassification makes, or say "
            "with call= what its scores are"
        )
    return CLASSIFIER


def _by_class(module: Any, families: Mapping[str, Serving]) -> str | None:
    from transformers import PreTrainedModel

    kinds = [kind for kind in type(module).__mro__ if issubclass(kind, PreTrainedModel)]
    # The order is kept otherwise.
    kinds.sort(key=lambda kind: not kind.__module__.startswith("transformers."))
    for kind in kinds:
        for key, family in families.items():
            if family.serves(kind.__name__):
                return key
    return None


def _check_sees(module: Any, family: str, name: str) -> None:
    """Refuses networks that write about text or sound alone."""
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES as SEE,
    )

    if (
        family != WRITES
        or module.config.model_type in SEE
        or hasattr(module.config, "vision_config")
    ):
        return
    raise InvalidInput(
        f"{name} writes, and takes no picture as far as its configuration says "
        f"({module.config.model_type}); give a model of pictures and questions"
    )


def _refuse_text(module: nn.Module, name: str, families: Mapping[str, Serving]) -> None:
    """Refuses a network that takes text, or may pass it on to one that does:
    it is no image classifier.
    """
    inner = _text_model(module)
    arguments = _arguments(module)
    if TEXT_INPUT not in arguments and (inner is None or _plain(module, arguments)):
        return
    known = "; ".join(family.about for key, family in families.items() if key != CLASSIFIER)
    if inner is None or inner is module:
        remedy = "wrap it in vqa_explain.CustomModel, or give a classifier of pictures alone"
    else:
        remedy = (
            f"give the {type(inner).__name__} inside it with processor=, or wrap it in "
            "vqa_explain.CustomModel"
        )
    raise InvalidInput(
        f"{name} takes text besides the picture, so it is no image classifier, and no adapter "
        f"knows it: {remedy}. Known with processor= are: {known}"
    )


def _plain(module: nn.Module, arguments: Mapping[str, inspect.Parameter]) -> bool:
    """Whether its own forward takes a fixed list of arguments, of which one is needed:
    a picture.
    """
    from transformers import PreTrainedModel

    kinds = [parameter.kind for parameter in arguments.values()]
    open_ended = inspect.Parameter.VAR_POSITIONAL in kinds or inspect.Parameter.VAR_KEYWORD in kinds
    return not open_ended and not isinstance(module, PreTrainedModel) and len(needed(module)) <= 1


def _text_model(module: nn.Module) -> nn.Module | None:
    """The first part of a network, itself included,
    whose configuration or arguments are about text too.
    """
    from transformers import PreTrainedModel

    for part in module.modules():
        known = getattr(part, "config", None)
        if known is None or not (part is module or isinstance(part, PreTrainedModel)):
            continue
        if any(
            getattr(known, key, None) is not None for key in TEXT_CONFIGS
        ) or TEXT_INPUT in _arguments(part):
            return part
    return None


def _arguments(module: nn.Module) -> Mapping[str, inspect.Parameter]:
    """What its forward takes, by name; nothing where that cannot be known, as in TorchScript."""
    try:
        return inspect.signature(module.forward).parameters
    except (TypeError, ValueError):
        return {}


def needed(module: nn.Module) -> list[str]:
    """The names of what its forward must be given."""
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [
        name
        for name, one in _arguments(module).items()
        if one.default is inspect.Parameter.empty
        and one.kind in (*positional, inspect.Parameter.KEYWORD_ONLY)
    ]
