"""`load`: a model from a shipped name, a folder or hub id, or an object in memory."""

import copy
import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack, cast

import numpy as np

from vqa_explain._memory import lacks_memory
from vqa_explain._numbers import checked_whole
from vqa_explain.errors import InvalidInput, OutOfMemory, VQAExplainError, is_one_of, unknown
from vqa_explain.models.base import Model
from vqa_explain.models.calling import Call
from vqa_explain.models.checking import checked, warn_unchecked
from vqa_explain.models.families import FAMILIES, Family, Options, refuse_outputs
from vqa_explain.models.network import choose_device
from vqa_explain.models.processor_sizes import check_sizes
from vqa_explain.models.recognizing import CLASSIFIER, family_of
from vqa_explain.models.unwrapping import home_of, outside_inference_mode, unwrapped
from vqa_explain.models.weight_files import (
    check_configuration,
    check_folder,
    held,
    no_larger_than,
    weight_files,
)

if TYPE_CHECKING:
    from vqa_explain.models.api.endpoint import EndpointSettings

MOST_OF_REASON = 300  # characters of what another library says
ENDPOINT = "openai:"  # how the names of chat-completion endpoints begin


@dataclass(frozen=True)
class Shipped:
    """A trained model that comes with the package."""

    name: str
    about: str


SHIPPED = {
    "everyday": Shipped(
        "everyday", "ViLT trained on everyday: 15 families of questions about things"
    ),
    "captions": Shipped("captions", "LLaVA trained on everyday: writes what is where in a picture"),
    "scenes": Shipped("scenes", "ViLT trained on generated scenes: ten families of questions"),
    "easy-vqa": Shipped("easy-vqa", "ViLT trained on easy-VQA: one shape, its color, yes and no"),
}


_own: dict[str, Callable[[Any], Model]] = {}  # by name, makers of models that users registered


def register_model(name: str) -> Callable[[Callable[[Any], Model]], Callable[[Any], Model]]:
    """Makes `load(name)` give what the decorated function of a device gives.

    Raises:
        InvalidInput: a shipped model has that name.
    """
    if name in SHIPPED:
        raise InvalidInput(f"there is a shipped model named {name!r}; choose another name")

    def keep(make: Callable[[Any], Model]) -> Callable[[Any], Model]:
        _own[name] = make
        return make

    return keep


def own_models() -> tuple[str, ...]:
    """The names given to `register_model`."""
    return tuple(_own)


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
    labels: Any = None,
    outputs: str | None = None,
    call: Call | None = None,
    boxes: Any = None,
    beams: int = 1,
    lengths: str = "sum",
    max_new_tokens: int | None = None,
    stop: str | Sequence[str] | None = None,
    temperature: float | None = None,
    device: str | None = None,
    dtype: Any = None,
    device_map: Any = None,
    trust_remote_code: bool = False,
    allow_missing: bool | str | Iterable[str] = (),
    check: bool = True,
    **endpoint: Unpack["EndpointSettings"],
) -> Model:
    """Loads a model that can be explained.

    Args:
        model: "everyday", "captions", "scenes" or "easy-vqa" (shipped), a name given to
            `register_model`, a hub id or folder with safetensors weights, a transformers model, any
            `nn.Module` image classifier, or "openai:" and the name of a model behind a
            chat-completion endpoint. What `torch.compile`, `DataParallel` or PEFT's LoRA wrapped is
            taken out, with the same weights and active adapters.
        processor: the processor of a transformers model given as an object.
        transform: how a picture becomes a classifier's input: torchvision transforms, a weights'
            preset or the weights themselves (which bring their labels), or a transformers image
            processor. A timm model brings its own.
        labels: a classifier's class names, in the order of its outputs, or {0: name, 1: name, …};
            taken from its configuration where it has one. Of CLIP and its like, the texts to choose
            among; without them, the question is a text that fits the picture or not.
        outputs: what a classifier's outputs are: "softmax", logits of classes that exclude each
            other; "sigmoid", of each class by itself; or "real", numbers without probabilities, as
            in regression. By default what the configuration's `problem_type` says; else softmax,
            and a network with one output must say it.
        call: calls a classifier where `module(pixels)` will not do, and returns its scores (B, K):
            for example `lambda module, pixels: module(pixels, scale)["age"]`.
        boxes: the detector of LXMERT or VisualBERT: see `models.boxes`.
        beams: how many answers a model that writes them gives by itself, by beam search; 1 is
            greedy.
        lengths: how the log-probabilities of an answer's tokens make its score: their "sum" or
            "mean".
        max_new_tokens: how many tokens an answer has at most that such a model writes by itself; by
            default what its generation configuration says, else 256.
        stop: a text, or several, that ends such an answer, which keeps it; by default those of its
            generation configuration, of which [] stands for none.
        temperature: of answers that are sampled, where `samples=` is asked for.
        device: such as "cpu" or "cuda"; by default the fastest there is.
        dtype: the number type of a checkpoint's weights, such as "bfloat16".
        device_map: as transformers takes it, to spread a checkpoint over devices.
        trust_remote_code: whether a checkpoint's own code may run.
        allow_missing: weights that a checkpoint may lack, as prefixes of their names such as
            ["classifier"], or `True` for any: they are drawn at random, for a head that is still to
            be trained. Otherwise such a checkpoint is refused.
        check: whether to try at once, on tiny pictures, what explanations rely on: see
            `models.checking`. It takes three to five forward passes, once for a checkpoint; the
            result is kept in the user's cache folder.
        **endpoint: how an endpoint is asked, such as answers= and base_url=: see
            `models.api.endpoint.EndpointSettings`. Nothing is asked before a method needs it.

    Raises:
        InvalidInput: nothing of that name, an architecture that no adapter knows, weights that are
            not there, or something is missing.
    """
    from vqa_explain.models.candidates import LENGTHS
    from vqa_explain.models.writing import Writing

    if isinstance(model, str) and model.startswith(ENDPOINT):
        local = (processor, transform, labels, outputs, call, boxes, dtype, device_map)
        return _behind_an_endpoint(model, local, endpoint)
    if endpoint:
        raise InvalidInput(
            f"{next(iter(endpoint))}= is for a model behind an endpoint, whose name begins with "
            f"{ENDPOINT!r}; leave it out"
        )
    if not is_one_of(lengths, LENGTHS):
        raise unknown("value of lengths:", lengths, LENGTHS)
    beams = checked_whole("beams", beams, 1)
    writing = Writing.asked(max_new_tokens, stop, temperature)
    generation = {"beams": beams, "lengths": lengths, "writing": writing}
    options = Options(
        "",
        choose_device(device),
        processor,
        transform,
        labels,
        boxes,
        outputs,
        call,
        _prefixes(allow_missing),
        generation,
        check,
    )
    with outside_inference_mode():
        return _loaded(model, options, dtype, device_map, trust_remote_code)


def _behind_an_endpoint(name: str, local: Iterable[Any], settings: "EndpointSettings") -> Model:
    """The model behind a chat-completion endpoint.

    Raises:
        InvalidInput: a setting cannot be used, or `local` holds one of models that run here.
    """
    from vqa_explain.models.api.endpoint import EndpointSettings, load_endpoint

    if any(one is not None for one in local):
        raise InvalidInput(
            f"model {name!r} runs behind an endpoint, which reads pictures and texts itself; give "
            "answers=, and no processor=, transform=, labels=, outputs=, call=, boxes=, dtype= or "
            "device_map="
        )
    for setting in settings:
        if not is_one_of(setting, EndpointSettings.__annotations__):
            raise unknown(f"setting of model {name!r}:", setting, EndpointSettings.__annotations__)
    return load_endpoint(name, **settings)


def _loaded(model: Any, options: Options, dtype: Any, device_map: Any, trust: bool) -> Model:
    from torch import nn

    if isinstance(model, nn.Module):
        module = unwrapped(model)
        device = home_of(module, options.device)
        return _wrap(module, replace(options, name=type(module).__name__, device=device))
    if not isinstance(model, str | Path):
        raise InvalidInput(
            f"a model is a name, a folder or an nn.Module, not {type(model).__name__}"
        )
    name = str(model)
    if name in _own:
        refuse_outputs(replace(options, name=name))
        return _registered(name, options)
    if name in SHIPPED:
        source = data_folder() / name
        if not source.is_dir():
            raise InvalidInput(
                f"the shipped model {name!r} is missing from this installation; install it again"
            )
    elif os.path.isdir(name) or ("/" in name and not name.startswith((".", "/", "~"))):
        source = Path(name)
    elif name.startswith((".", "/", "~")):
        raise InvalidInput(
            f"model {name!r} is no folder; check the path, which is taken as it is written"
        )
    else:
        raise (
            unknown("model", name, (*SHIPPED, *_own))
            if name
            else InvalidInput("the model's name is empty")
        )
    settings = {k: v for k, v in (("dtype", dtype), ("device_map", device_map)) if v is not None}
    return _from_pretrained(source, replace(options, name=name), settings, trust)


def _registered(name: str, options: Options) -> Model:
    """What a function given to `register_model` makes, checked if it is an adapter of the user's
    own.

    Adapters of this package are checked, or not, where the function makes them.

    Raises:
        InvalidInput: it makes no model, or one that fails the self-check.
    """
    make = _own[name]
    model = make(options.device)
    if not hasattr(model, "capabilities") or not hasattr(model, "module"):
        raise InvalidInput(
            f"the function registered as {name!r} returns {type(model).__name__}, not a model; "
            "return a vqa_explain.CustomModel, what vqa_explain.load returns, or an adapter of "
            "your own"
        )
    ours = {family.module for family in FAMILIES.values()}
    if any(kind.__module__ in ours for kind in type(model).__mro__):
        return model
    return _tried(model, make, replace(options, name=name))


def _prefixes(allowed: Any) -> bool | tuple[str, ...]:
    """What `allow_missing` says, a text alone being one prefix."""
    if isinstance(allowed, bool):
        return allowed
    given = (allowed,) if isinstance(allowed, str) else tuple(allowed)
    if not all(isinstance(prefix, str) and prefix.strip(".") for prefix in given):
        raise InvalidInput(
            f"allow_missing is True or the first parts of weights' names, not {allowed!r}"
        )
    return given


def _from_pretrained(
    source: Path, options: Options, settings: dict[str, Any], trust: bool
) -> Model:
    from transformers.utils import logging

    # Reading a folder takes no time worth a bar.
    if source.is_dir() and logging.is_progress_bar_enabled():
        logging.disable_progress_bar()
        try:
            return _from_pretrained(source, options, settings, trust)
        finally:
            logging.enable_progress_bar()
    if source.is_dir():
        check_folder(source, options.name)
    try:
        return _read(source.as_posix(), options, settings, trust)
    except VQAExplainError:
        raise
    # Of any kind: a stranger's files choose which line of transformers fails, and tokenizers raise
    # nothing but `Exception`.
    except Exception as error:
        if lacks_memory(error):
            raise OutOfMemory(
                f"model {options.name!r} does not fit into the memory of {options.device}; load it "
                "on another device, or with dtype='bfloat16'"
            ) from error
        raise InvalidInput(f"model {options.name!r} cannot be loaded: {_reason(error)}") from error


def _align(module: Any) -> None:
    """Gives the weights memory of their own. Mapped from a file they begin anywhere, and the
    processor's kernels round differently there, so that a copy of the model in another process
    would not give the same bits.
    """
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.device.type == "cpu" and tensor.data_ptr() % 64:
            tensor.data = tensor.data.clone()


def _read(source: str, options: Options, settings: dict[str, Any], trust: bool) -> Model:
    import torch
    import transformers
    from transformers import AutoConfig

    told = _configuration_of(source, options.name)
    check_configuration(told, options.name, trust)
    files = weight_files(source, told, options.name, _file_of)
    config = AutoConfig.from_pretrained(source, trust_remote_code=trust)
    architecture = _architecture_of(config, options.name)
    family = _family(architecture, options.name)
    if options.call is not None and family is not FAMILIES[CLASSIFIER]:
        raise InvalidInput(
            f"call= is for image classifiers, and model {options.name!r} is none; leave it out"
        )
    kind = _class_of(family, architecture, options.name)
    if family.auto and trust:
        settings = {**settings, "trust_remote_code": True}
    limit = no_larger_than(held(files), options.name, "quantization_config" in told)
    with (
        torch.random.fork_rng(devices=[]),  # weights that a checkpoint lacks are drawn
        limit if files else nullcontext(),
    ):
        module, found = kind.from_pretrained(
            source, use_safetensors=True, output_loading_info=True, **settings
        )
    _check_complete(found["missing_keys"], module, options)
    if found["missing_keys"]:
        initialize_missing(module, found["missing_keys"])
    _align(module)
    if "device_map" in settings:
        options = replace(options, device=module.device)
    processor = options.processor
    if processor is None and family.processor:
        try:
            processor = getattr(transformers, family.processor).from_pretrained(
                source, trust_remote_code=trust
            )
        except (OSError, ValueError) as error:
            raise InvalidInput(
                f"model {options.name!r} has no processor beside its weights ({_reason(error)}); "
                "save it there with save_pretrained, or give processor="
            ) from error
        _check_vocabulary(processor, options.name)
    check_sizes(processor, options.name)
    kept = Path(source) if options.processor is None else None
    model = _tried(family.wrap(module, processor, options), processor, options, kept)
    if found["missing_keys"]:  # which were allowed
        cast(Any, model).drawn_weights = tuple(sorted(found["missing_keys"]))
    return model


def initialize_missing(module: Any, missing: Iterable[str]) -> None:
    """Gives weights that the checkpoint lacks the numbers of a new network, the same each time.

    transformers draws some of them itself, and leaves others as they lay in memory: those that a
    network sets in its constructor, such as CLIP's scale. So a second whole network, of the same
    number type, is held in memory for a moment.

    Args:
        module: the network, of transformers.
        missing: names of weights. One that is not in the `state_dict` keeps what transformers gave
            it.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # `torch.manual_seed` would seed every GPU too
        # A copy, since making a network writes the number type into its configuration.
        made = type(module)._from_config(copy.deepcopy(module.config), dtype=module.dtype)
    new, held = made.state_dict(), module.state_dict()
    with torch.no_grad():
        for name in set(missing) & held.keys() & new.keys():
            held[name].copy_(new[name])


def _tried(model: Model, processor: Any, options: Options, source: Path | None = None) -> Model:
    """The model, checked, or said not to be."""
    if options.check:
        return checked(model, processor, source)
    warn_unchecked(options.name)
    return model


def _check_complete(missing: Iterable[str], module: Any, options: Options) -> None:
    """Refuses a checkpoint that lacks weights, except those that the user allows to be random.

    transformers leaves out of `missing` what is tied to weights that are there, and what is
    computed.

    Args:
        missing: their names.
        module: the network.
        options: what the user allows.
    """
    if options.allow_missing is True:
        return
    allowed = tuple(prefix.rstrip(".") for prefix in options.allow_missing or ())
    lacking = sorted(key for key in missing if not any(_within(key, one) for one in allowed))
    if not lacking:
        return
    more = f" and {len(lacking) - 8} more" if len(lacking) > 8 else ""
    parts = _lacking_parts(lacking, set(module.state_dict()) - set(missing))
    body = module.base_model_prefix
    given: Any = [one for one in allowed if not any(_within(one, part) for part in parts)] + parts
    if len(parts) > 8:
        given, purpose = True, "if all of them may be random"
    elif set(parts) & set(lacking) or any(_within(part, body) for part in parts):
        purpose = "if they may be random"
    else:
        purpose = "for a head that is still to be trained"
    raise InvalidInput(
        f"model {options.name!r} lacks weights, which would be random: "
        f"{', '.join(lacking[:8])}{more}; fetch or save it again, or give allow_missing={given!r} "
        f"{purpose}"
    )


def _within(key: str, prefix: str) -> bool:
    """Whether a weight has this name, or belongs to the module of this name."""
    return key == prefix or key.startswith(f"{prefix}.")


def _lacking_parts(lacking: Sequence[str], there: Iterable[str]) -> list[str]:
    """Names that cover the lacking weights and none that is there: whole modules, and single
    weights of others.

    >>> _lacking_parts(["body.bias", "head.0.weight", "head.2.weight"], ["body.weight"])
    ['body.bias', 'head']
    """
    kept = set(there)
    found = []
    for key in lacking:
        steps = key.split(".")
        prefixes = [".".join(steps[:length]) for length in range(1, len(steps) + 1)]
        found.append(next(p for p in prefixes if not any(_within(name, p) for name in kept)))
    return list(dict.fromkeys(found))


def _check_vocabulary(processor: Any, name: str) -> None:
    """Refuses the empty tokenizer that transformers makes where a checkpoint's files are
    missing.
    """
    tokenizer = getattr(processor, "tokenizer", processor)
    if hasattr(tokenizer, "all_special_ids") and len(tokenizer) <= len(
        set(tokenizer.all_special_ids)
    ):
        raise InvalidInput(
            f"the tokenizer of model {name!r} knows no word: its files are missing beside the "
            "weights; save it there with save_pretrained, or give processor="
        )


def _file_of(source: str, name: str) -> Path | None:
    """The file of a folder, or of a repository of the hub; `None` where there is none."""
    from transformers.utils.hub import cached_file

    if os.path.isdir(source):
        path = Path(source, name)
        return path if path.is_file() else None
    found = cached_file(source, name, _raise_exceptions_for_missing_entries=False)
    return None if found is None else Path(found)


def _configuration_of(source: str, name: str) -> dict[str, Any]:
    """What `config.json` of a folder or repository holds.

    Raises:
        InvalidInput: it holds no mapping.
    """
    from transformers import PreTrainedConfig

    try:
        told, _ = PreTrainedConfig.get_config_dict(source)
    except (AttributeError, RecursionError, TypeError) as error:
        raise InvalidInput(
            f"config.json of model {name!r} holds no mapping; fetch or save it again"
        ) from error
    return dict(told)


def _architecture_of(config: Any, name: str) -> str:
    """What the configuration calls the network.

    Raises:
        InvalidInput: it says what is no list of names.
    """
    told = getattr(config, "architectures", None) or ["?"]
    if not isinstance(told, list | tuple) or not isinstance(told[0], str):
        raise InvalidInput(
            f"config.json of model {name!r} says architectures {told!r}, which is no list of "
            "names; fetch or save it again"
        )
    return told[0]


def _class_of(family: Family, architecture: str, name: str) -> Any:
    """The class of transformers that reads a network.

    Raises:
        InvalidInput: there is none of this name.
    """
    import transformers

    found = getattr(transformers, family.auto or architecture, None)
    if not hasattr(found, "from_pretrained"):
        raise InvalidInput(
            f"model {name!r} is a {architecture}, which transformers does not have; check "
            "architectures in its config.json, or upgrade transformers"
        )
    return found


def _family(architecture: str, name: str) -> Family:
    for family in FAMILIES.values():
        if family.serves(architecture):
            return family
    known = ", ".join(FAMILIES)
    raise InvalidInput(
        f"model {name!r} is a {architecture}, which no adapter knows. Known are: {known} (see "
        "`vqa-explain models`). For a network of your own use vqa_explain.CustomModel, or for a "
        "classifier pass the nn.Module with transform= and labels="
    )


def _reason(error: BaseException) -> str:
    """One sentence of why a checkpoint cannot be loaded, from the innermost cause that says it."""
    text, chain = str(error), [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and len(chain) < 8:
        chain.append(inner)
    kinds = {type(e).__name__ for e in chain}
    if "GatedRepoError" in kinds or "gated repo" in text:
        return "its weights are gated; ask for access on the hub and log in with `hf auth login`"
    if "ignore_mismatched_sizes" in text:
        return (
            "its weights do not have the shapes that its config.json says; fetch or save it again"
        )
    if "trust_remote_code" in text:
        return "it brings code of its own; give trust_remote_code=True if you trust its author"
    if "RepositoryNotFoundError" in kinds or "not a valid model identifier" in text:
        return (
            "the hub has no model of this name, or it is private; check the spelling or log in "
            "with `hf auth login`"
        )
    if kinds & {
        "OfflineModeIsEnabled",
        "LocalEntryNotFoundError",
        "ConnectError",
        "ConnectionError",
    } or ("couldn't connect" in text.lower() or "offline" in text.lower()):
        return (
            "the hub cannot be reached and no copy is kept here; connect, or give the folder of a "
            "copy"
        )
    first = next(iter(text.strip().splitlines()), "")[:MOST_OF_REASON]
    says_all = first and isinstance(error, OSError | ValueError | RuntimeError | ImportError)
    return first if says_all else f"{type(error).__name__} {first}".strip()


def _wrap(module: Any, options: Options) -> Model:
    # With call=, the user says how pictures alone make its scores.
    family = FAMILIES[
        CLASSIFIER if options.call is not None else family_of(module, options.name, FAMILIES)
    ]
    if family is not FAMILIES[CLASSIFIER]:
        if options.processor is None:
            raise InvalidInput(f"{options.name} needs its processor: load(model, processor=…)")
        check_sizes(options.processor, options.name)
        return _tried(family.wrap(module, options.processor, options), options.processor, options)
    transform = options.transform
    if transform is None and options.processor is not None:
        check_sizes(options.processor, options.name)
        _check_reads_pictures(options.processor, options.name)
        transform = options.processor
    if transform is None:
        from vqa_explain.models.transforms import timm_transform

        transform = timm_transform(module)
    if transform is None:
        raise InvalidInput(
            f"how does a picture become the input of {options.name}? Give transform=, for example "
            "weights.transforms()"
        )
    return _tried(family.wrap(module, transform, options), transform, options)


def _check_reads_pictures(processor: Any, name: str) -> None:
    """Refuses a processor of transformers that reads no picture, such as a tokenizer alone."""
    if not hasattr(processor, "model_input_names"):  # a function of the user's own
        return
    try:
        processor(images=[np.full((336, 448, 3), 128, dtype=np.uint8)], return_tensors="pt")
    except Exception as error:  # of any kind: a stranger's code
        cause = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
        raise InvalidInput(
            f"processor= of {name} is {type(processor).__name__}, which reads no picture: {cause}; "
            "give its image processor, or transform="
        ) from error
