"""The files of a checkpoint, judged before transformers reads them: weights are safetensors of the
checkpoint itself, and the network that `config.json` describes is no larger than they are.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from vqa_explain.errors import InvalidInput

SAFE, INDEX = "model.safetensors", "model.safetensors.index.json"
EXPLICIT = "transformers_weights"  # the key of config.json that names another file
ADAPTER_CONFIG, ADAPTER = "adapter_config.json", "adapter_model.safetensors"
PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
# Names of one rank's part of a distributed checkpoint, which transformers prefers to `SAFE`.
_OF_RANKS = re.compile(r"shard-\d{5}-model-\d{5}-of-\d{5}\.safetensors")
# Counts that transformers makes lists of while it reads a configuration, before there is a network
# whose size could be measured, and the most that any real network has.
_COUNTS = (
    (re.compile(r"(layers?|depths?|blocks?|stages?|experts?|heads?|groups?)$"), 10_000),
    (re.compile(r"labels$"), 100_000),
)
BEYOND = 2**63
# Settings that may name a repository whose compiled code is fetched and run.
_IMPLEMENTATIONS = re.compile(r"^_?(attn|experts)_implementation(_internal)?$")
# A network may hold more than its file: tied weights once more, tables that are not saved, a head
# that is still to be trained. Quantized files pack up to eight weights into a number.
_TIMES, _PACKED = 4, 8
_SPARE_NUMBERS, _SPARE_TENSORS = 2**24, 10_000
_FACTORIES = frozenset(
    (torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange)
)


@dataclass(frozen=True)
class Held:
    """How many tensors, and numbers in them, the weight files of a checkpoint hold."""

    tensors: int
    numbers: int


def check_configuration(config: Mapping[str, Any], name: str, trust: bool) -> None:
    """Refuses what no configuration can say, before a list is made of it.

    Args:
        config: what `config.json` holds.
        name: the model's.
        trust: whether the checkpoint's own code may run.

    Raises:
        InvalidInput: it counts more layers, heads or labels than any network has, or asks for code
            of a repository.
    """
    for key, value in _settings(config):
        if _largest(value) > BEYOND:
            raise InvalidInput(
                f"config.json of model {name!r} says a {key} beyond 64 bits; fetch or save it again"
            )
        for pattern, most in _COUNTS:
            too_many = _largest(value) > most
            if too_many and pattern.search(key):
                raise InvalidInput(
                    f"config.json of model {name!r} says {key} {_largest(value):,}, above {most:,} "
                    "that any network has; fetch or save it again"
                )
        if _IMPLEMENTATIONS.match(key) and not trust and "/" in json.dumps(value, default=str):
            raise InvalidInput(
                f"config.json of model {name!r} asks for code of a repository by {key}={value!r}; "
                "give trust_remote_code=True if you trust its author"
            )


def _settings(config: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Every key with its value, those of parts of a configuration too."""
    waiting = [config]
    while waiting:
        for key, value in waiting.pop().items():
            yield str(key), value
            if isinstance(value, Mapping):
                waiting.append(value)


def _largest(value: Any) -> int:
    """The largest whole number of a setting that is one or a list of some; else 0."""
    given = value if isinstance(value, list) else [value]
    return max((abs(one) for one in given if isinstance(one, int)), default=0)


def check_folder(folder: Path, name: str) -> None:
    """Refuses a folder from which transformers would read other weights than those of `SAFE` or
    `INDEX`, or only an adapter.

    Raises:
        InvalidInput: it holds an adapter without its network or with pickled weights, parts of
            a distributed checkpoint, or a pipe or device, which would be read without end.
    """
    for path in chain(folder.glob("*"), folder.glob("*/*")):
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise InvalidInput(
                f"model {name!r} holds {path.name!r}, which is a pipe or a device and no file; "
                "remove it, or fetch the model again"
            )
    is_adapter = (folder / ADAPTER_CONFIG).is_file()
    if is_adapter and not (folder / "config.json").is_file():
        raise InvalidInput(
            f"model {name!r} is an adapter of PEFT without its network; give load the module that "
            f"peft.PeftModel.from_pretrained(network, {name!r}) returns, with processor="
        )
    if is_adapter and not (folder / ADAPTER).is_file():
        raise InvalidInput(
            f"model {name!r} has {ADAPTER_CONFIG!r} and no {ADAPTER!r}; save the adapter again "
            "with save_pretrained, which writes safetensors, or remove its configuration"
        )
    odd = next((path.name for path in folder.iterdir() if _OF_RANKS.fullmatch(path.name)), None)
    if odd is not None:
        raise InvalidInput(
            f"model {name!r} holds {odd!r}, a part of a distributed checkpoint, which would be "
            "read in place of its other weights; consolidate it, or remove these parts"
        )


def weight_files(
    source: str, config: Mapping[str, Any], name: str, find: Callable[[str, str], Path | None]
) -> list[Path]:
    """The safetensors files that transformers will read; [] where a hub's repository has none.

    Args:
        source: the folder or hub id.
        config: what `config.json` holds.
        name: the model's, for messages.
        find: source and a file's name → the file here; `None` where there is none.

    Raises:
        InvalidInput: `config.json` or an index names what is no safetensors file of the checkpoint,
            the index cannot be read, or a folder has no such weights.
    """
    explicit = config.get(EXPLICIT)
    if explicit is not None:
        _check_name(explicit, "config.json", name, (".safetensors", ".safetensors.index.json"))
    for one in (SAFE, INDEX) if explicit is None else (explicit,):
        path = find(source, one)
        if path is None:
            continue
        if not one.endswith(".json"):
            return [path]
        return [_part(source, part, one, name, find) for part in _parts_of(path, one, name)]
    folder = Path(source)
    if folder.is_dir():
        raise _without_weights(folder, name)
    return []


def _part(
    source: str, part: str, index: str, name: str, find: Callable[[str, str], Path | None]
) -> Path:
    found = find(source, part)
    if found is None:
        raise InvalidInput(
            f"{index!r} of model {name!r} names {part!r}, which is not there; fetch or save the "
            "model again"
        )
    return found


def _parts_of(path: Path, index: str, name: str) -> list[str]:
    """The files that an index names.

    Raises:
        InvalidInput: it is no index, or names what is no safetensors file beside it.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        weights, about = told["weight_map"], told["metadata"]
        tensors = [tensor for tensor in weights if isinstance(tensor, str)]
        is_index = bool(tensors) and isinstance(weights, dict) and isinstance(about, dict)
    except (OSError, KeyError, TypeError, ValueError, RecursionError):
        is_index = False
    if not is_index:
        raise InvalidInput(
            f"{index!r} of model {name!r} is no index of weights, with a weight_map and metadata; "
            "fetch or save the model again"
        )
    for part in weights.values():
        _check_name(part, index, name, (".safetensors",))
    return sorted(set(weights.values()))


def _check_name(part: Any, by: str, name: str, endings: tuple[str, ...]) -> None:
    """Refuses a name that is no safetensors file beside the one that names it."""
    is_plain = isinstance(part, str) and not re.search(r"[/\\\0]", part)
    if not is_plain or not part.endswith(endings):
        raise InvalidInput(
            f"{by!r} of model {name!r} names {part!r} for weights, which is no safetensors file "
            "beside it: pickles may run any code, and weights of other folders are not the "
            "model's; save it again with save_pretrained"
        )


def _without_weights(folder: Path, name: str) -> InvalidInput:
    pickled = next((p.name for kind in PICKLED for p in folder.glob(kind)), None)
    if pickled is None:
        return InvalidInput(
            f"model {name!r} cannot be loaded: its folder has neither {SAFE!r} nor {INDEX!r}; "
            "fetch or save it again"
        )
    return InvalidInput(
        f"model {name!r} has its weights in {pickled!r}, a pickle, which may run any code when "
        "it is read; save them with save_pretrained, which writes safetensors"
    )


def held(files: list[Path]) -> Held:
    """What the headers of weight files say; no weight is read.

    Raises:
        SafetensorError: one is damaged.
    """
    from safetensors import safe_open

    tensors, numbers = 0, 0
    for path in files:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():  # noqa: SIM118 - it is no mapping
                tensors += 1
                numbers += torch.Size(file.get_slice(key).get_shape()).numel()
    return Held(tensors, numbers)


class _Counting(TorchFunctionMode):
    """Counts the tensors that are made without memory, as transformers makes those of a network
    before it reads any weight.

    Modes of torch hold in one thread alone, and need nothing of the network.
    """

    def __init__(self, most: Held, refusal: Callable[[], InvalidInput]) -> None:
        super().__init__()
        self.most, self.refusal = most, refusal
        self.tensors, self.numbers = 0, 0

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:  # as torch calls it
        made = function(*args, **(kwargs or {}))
        if function in _FACTORIES and isinstance(made, Tensor) and made.is_meta:
            self.tensors += 1
            self.numbers += made.numel()
            if self.tensors > self.most.tensors or self.numbers > self.most.numbers:
                raise self.refusal()
        return made


@contextmanager
def no_larger_than(weights: Held, name: str, packed: bool) -> Iterator[None]:
    """Ends the making of a network inside that needs far more than its weights hold, before any
    memory is taken for it.

    Args:
        weights: what the files hold.
        name: the model's.
        packed: whether a number of the files may hold several weights.

    Raises:
        InvalidInput: the network is larger.
    """
    times = _TIMES * (_PACKED if packed else 1)
    most = Held(times * weights.tensors + _SPARE_TENSORS, times * weights.numbers + _SPARE_NUMBERS)

    def refusal() -> InvalidInput:
        return InvalidInput(
            f"config.json of model {name!r} describes a far larger network than its weights make "
            f"({weights.numbers:,} numbers in {weights.tensors:,} tensors); the two do not belong "
            "together: fetch or save it again"
        )

    counting = _Counting(most, refusal)
    with counting:
        yield
