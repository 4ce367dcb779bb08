"""`load`: a model from a shipped name, a folder or hub id, or an object in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vqa_explain.errors import InvalidInput, unknown
from vqa_explain.models.base import Model, choose_device


@dataclass(frozen=True)
class Shipped:
    """A trained model that comes with the package."""

    name: str
    about: str


SHIPPED = {
    "scenes": Shipped("scenes", "ViLT trained on generated scenes: ten families of questions"),
    "easy-vqa": Shipped("easy-vqa", "ViLT trained on easy-VQA: one shape, its colour, yes and no"),
}
FAMILIES = {
    "vilt": "ViltForQuestionAnswering checkpoints: hub id, folder, or the model with its processor",
    "classifier": "torchvision, timm and transformers image classifiers, or any nn.Module",
}


def data_folder() -> Path:
    """Where shipped files lie: inside the installed package, or beside it in a clone."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "data", package.parent / "data"):
        if folder.is_dir():
            return folder
    raise InvalidInput("the shipped data folder is missing; install the package again")


def load(
    model: Any,
    *,
    processor: Any = None,
    transform: Any = None,
    labels: Sequence[str] | None = None,
    device: str | None = None,
) -> Model:
    """Loads a model that can be explained.

    Args:
        model: "scenes" or "easy-vqa" (shipped), a hub id or folder with safetensors weights, a transformers
            model, or any `nn.Module` image classifier.
        processor: the processor of a transformers model given as an object.
        transform: how a picture becomes a classifier's input: torchvision transforms, a weights' preset, or a
            transformers image processor.
        labels: a classifier's class names; taken from its configuration where it has one.
        device: such as "cpu" or "cuda"; by default the fastest there is.

    Raises:
        InvalidInput: nothing of that name, an architecture that no adapter knows, or something is missing.
    """
    from torch import nn

    where = choose_device(device)
    if isinstance(model, nn.Module):
        return _wrap(model, processor, transform, labels, where)
    if not isinstance(model, str | Path):
        raise InvalidInput(f"a model is a name, a folder or an nn.Module, not {type(model).__name__}")
    name = str(model)
    if name in SHIPPED:
        source = data_folder() / name
        if not source.is_dir():
            raise InvalidInput(f"the shipped model {name!r} is missing from this installation; install it again")
    elif Path(name).is_dir() or ("/" in name and not name.startswith((".", "/"))):
        source = Path(name)
    else:
        raise unknown("model", name, SHIPPED) if name else InvalidInput("the model's name is empty")
    return _from_pretrained(name, source, where)


def _from_pretrained(name: str, source: Path, device: Any) -> Model:
    from transformers import AutoConfig
    from transformers.utils import logging

    if source.is_dir() and logging.is_progress_bar_enabled():  # reading a folder takes no time worth a bar
        logging.disable_progress_bar()
        try:
            return _from_pretrained(name, source, device)
        finally:
            logging.enable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(source.as_posix())
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidInput(f"model {name!r} cannot be loaded: {reason}") from error
    architecture = (config.architectures or ["?"])[0]
    try:
        if architecture == "ViltForQuestionAnswering":
            from transformers import ViltForQuestionAnswering, ViltProcessor

            module = ViltForQuestionAnswering.from_pretrained(source.as_posix(), use_safetensors=True)
            return _vilt(module, ViltProcessor.from_pretrained(source.as_posix()), name, device)
        if architecture.endswith("ForImageClassification"):
            from transformers import AutoImageProcessor, AutoModelForImageClassification

            classifier = AutoModelForImageClassification.from_pretrained(source.as_posix(), use_safetensors=True)
            return _classifier(classifier, AutoImageProcessor.from_pretrained(source.as_posix()), None, name, device)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InvalidInput(f"model {name!r} cannot be loaded: {reason}") from error
    raise InvalidInput(
        f"model {name!r} is a {architecture}, which no adapter knows; known are {', '.join(FAMILIES)}: "
        "for a classifier of your own pass the nn.Module with transform= and labels="
    )


def _wrap(module: Any, processor: Any, transform: Any, labels: Sequence[str] | None, device: Any) -> Model:
    name = type(module).__name__
    if name == "ViltForQuestionAnswering":
        if processor is None:
            raise InvalidInput("a ViLT model needs its processor: load(model, processor=ViltProcessor…)")
        return _vilt(module, processor, name, device)
    transform = transform if transform is not None else processor
    if transform is None:
        raise InvalidInput(
            f"how does a picture become the input of {name}? Give transform=, for example weights.transforms()"
        )
    return _classifier(module, transform, labels, name, device)


def _vilt(module: Any, processor: Any, name: str, device: Any) -> Model:
    from vqa_explain.models.vilt import ViltModel

    return ViltModel(module, processor, name, device)


def _classifier(module: Any, transform: Any, labels: Sequence[str] | None, name: str, device: Any) -> Model:
    from vqa_explain.models.classifier import ClassifierModel

    return ClassifierModel(module, transform, labels, name, device)
