"""What results depend on besides the plan's words, as hashes: rows of data, code,
and versions of packages.
"""

import ast
import dataclasses
import dis
import hashlib
import importlib.util
import inspect
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any

import numpy as np
import torch

from vqa_explain import registry
from vqa_explain.errors import VQAExplainError
from vqa_explain.examples import Example, Given, Page, read_image
from vqa_explain.features.parts import TextPart
from vqa_explain.files import check_is_file
from vqa_explain.models.base import Model
from vqa_explain.models.weights import bits
from vqa_explain.own_fills import fills_among

Stamp = dict[str, str]
PACKAGES = (
    "vqa_explain",
    "torch",
    "torchvision",
    "transformers",
    "timm",
    "numpy",
    "scipy",
    "pillow",
)
# Parts of this package that only show results, so that a change of them changes no number.
_SHOWING = (
    "viewer",
    "training",
    "figures",
    "showing",
    "colors",
    "shell",
    "evaluation.page",
    "evaluation.charts",
    "evaluation.gallery",
)
# These register everything; what one method needs is in its own module's imports.
_REGISTERING = ("vqa_explain", "vqa_explain.methods", "vqa_explain.metrics")
# What `dataclass` writes follows from the fields.
_BY_DATACLASS = (
    "__init__",
    "__repr__",
    "__eq__",
    "__hash__",
    "__setattr__",
    "__delattr__",
    "__replace__",
)


# Types of tensors that arrays can have.
_OF_NUMPY = (
    torch.bool,
    torch.uint8,
    torch.int8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.float16,
    torch.float32,
    torch.float64,
    torch.complex64,
    torch.complex128,
)
# What a layer holds besides its settings: torch's own books, and where it was read from.
_NO_SETTINGS = {*vars(torch.nn.Module()), "name_or_path", "_name_or_path"}
# Values that their own text tells in full.
_PLAIN = (bool, int, float, complex, str, bytes, Path, type(None))


def digest(*parts: Any) -> str:
    """A short hash of texts and bytes."""
    found = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode(errors="surrogatepass")
        found.update(len(data).to_bytes(8, "little") + data)
    return found.hexdigest()[:16]


def versions() -> Stamp:
    """The versions of the packages that compute; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def row_stamp(example: Example, pictures: str = "time") -> Stamp:
    """Hashes of a row's texts, its other inputs and its truth, so that one can say which of them
    changed.

    Args:
        example: the row.
        pictures: "time" knows a picture file by its path, size and time of change; "content" by its
            bytes.
    """
    try:
        return _row_stamp(example, pictures)
    except Exception as error:  # of any kind, since it is of the user's own objects
        told = f"error {type(error).__name__}"  # where the example is judged, it is told in full
        return dict.fromkeys(("question", "picture", "truth"), told)


def _row_stamp(example: Example, pictures: str) -> Stamp:
    e = example
    texts = [(one.name, one.value) for one in e.given if isinstance(one.value, str)]
    # One question is the usual case; a path is a text too, and its file is read below.
    short = e.inputs is None and e.messages is None
    said = e.question if short else (texts, _arrangement(e))
    others = [_input(one, pictures) for one in e.given if not _is_plain_text(one)]
    return {
        "question": digest(repr((said, e.answer, tuple(e.answers), e.id, e.family))),
        "picture": digest(*others, _array(e.features), _array(e.boxes)),
        "truth": digest(_array(e.masks), repr((tuple(e.about), tuple(map(tuple, e.decisive))))),
    }


def _arrangement(example: Example) -> list[Any]:
    """In which order, under which names and in which turns the inputs are given:
    a prompt depends on these too.
    """
    inputs = [(one.name, one.kind, one.turn, one.role) for one in example.given]
    # Templates may read more of a message than its role and content, such as who speaks.
    more = [
        sorted((str(key), repr(held)) for key, held in message.items() if key != "content")
        for message in example.messages or ()
    ]
    return [inputs, more]


def _is_plain_text(given: Given) -> bool:
    """Whether an input is a text without more, such as boxes."""
    return given.kind == TextPart.kind and not isinstance(given.value, Page)


def _input(given: Given, pictures: str) -> str:
    """A hash of an input that is no plain text."""
    value = given.value
    if isinstance(value, Page):
        words, size = list(value.words), tuple(value.size)
        return digest(given.name, repr((words, size)), _array(value.boxes))
    value = value.to_dict() if hasattr(value, "to_dict") else value  # a pandas Series
    if isinstance(value, Mapping):
        return digest(
            given.name, repr(sorted((str(key), repr(held)) for key, held in value.items()))
        )
    if isinstance(value, list | tuple):
        return digest(given.name, *(_picture(frame, pictures) for frame in value))
    return _picture(value, pictures)


def _picture(image: Any, pictures: str) -> str:
    if isinstance(image, Exception):
        return f"error {image}"
    if isinstance(image, str | os.PathLike):
        return _file(Path(image), pictures)
    if hasattr(image, "getbands"):
        return _of_pillow(image)
    return _array(image)


def _of_pillow(image: Any) -> str:
    """A hash of what models see of a picture in memory, and of its own numbers.

    A palette, transparency, a color profile and a turn change only what is seen. What is below a
    transparent place is not seen, but an adapter of the user's own may read it.
    """
    try:
        own = digest(image.mode, image.size, image.tobytes())
        return digest(own, _array(read_image(image)))
    except (VQAExplainError, OSError, SyntaxError, ValueError) as error:
        # Told where the example is judged; no address of the object, which differs each time.
        message = _without_addresses(str(error))
        return f"error {image.mode} {image.size} {type(error).__name__} {message}"


def _file(path: Path, pictures: str) -> str:
    try:
        if pictures == "content":
            check_is_file(path)
            return digest("file", path.read_bytes())
        about = path.stat()
    except (OSError, ValueError) as error:
        return f"{path} {type(error).__name__}"
    return f"{path} {about.st_size} {about.st_mtime_ns}"


def _array(values: Any) -> str:
    if values is None:
        return ""
    if isinstance(values, torch.Tensor):
        return _tensor(values.detach())
    array = np.asarray(values)
    if array.dtype.hasobject:  # its bytes are addresses, which differ in each process
        return digest(array.shape, _value(array.tolist()))
    return digest(array.dtype.str, array.shape, np.ascontiguousarray(array).tobytes())


def _tensor(tensor: torch.Tensor) -> str:
    """A hash of a tensor's numbers: that of the same array where NumPy knows the type."""
    if tensor.is_meta:  # it has no numbers
        return digest("meta", tensor.dtype, tuple(tensor.shape))
    if tensor.layout != torch.strided:
        tensor = tensor.to_dense()
    tensor = tensor.resolve_conj().resolve_neg()
    if not tensor.is_quantized and tensor.dtype in _OF_NUMPY:
        return _array(tensor.cpu().numpy())
    scales = repr(tensor) if tensor.is_quantized else ""
    return digest(tensor.dtype, tuple(tensor.shape), bits(tensor).tobytes(), scales)


def code_stamps(
    model: Model,
    methods: dict[str, Any],
    metrics: dict[str, Any],
    fills: Sequence[str | None] = (),
) -> Stamp:
    """Hashes of the code that judges ("package"), of the model's code and what it was given, and of
    each method's and metric's code, by its text; that of the user's own fills is part of what uses
    them.

    Args:
        model: the model.
        methods, metrics: text → the thing.
        fills: those of the game that metrics are over.
    """
    found = {"package": _of_modules(["vqa_explain.evaluation.judging"])}
    found |= {"model": model_code(model), "given": given_stamp(model)}
    found |= {f"method {text}": _code_with_fills(thing) for text, thing in methods.items()}
    metric_codes = {text: _code_with_fills(thing, fills) for text, thing in metrics.items()}
    return found | {f"metric {text}": code for text, code in metric_codes.items()}


def _code_with_fills(thing: Any, more: Sequence[str | None] = ()) -> str:
    """A hash of the code of a method or metric, and of the functions that fill for it."""
    found = fills_among([*registry.parameters_of(thing).values(), *more])
    code = code_of(type(thing))
    return digest(code, *(_code_of_value(fill.function) for fill in found)) if found else code


def _code_of_value(thing: Any) -> str:
    """A hash of the code of a function or other object, and of what it holds."""
    home = (getattr(thing, "__module__", None) or type(thing).__module__).split(".")[0]
    parts: list[str] = []
    _describe(thing, home, {}, parts)
    return digest(*parts)


def model_code(model: Model) -> str:
    """A hash of the adapter's code, of the network's own classes,
    and of how pictures are prepared.
    """
    parts = [code_of(type(model))]
    classes = {type(module) for module in model.module.modules()}
    parts += sorted(code_of(cls) for cls in classes if _is_own(cls.__module__))
    for name, value in sorted(vars(model).items()):
        # A method that someone watches; the adapter's code is known already.
        if hasattr(type(model), name):
            continue
        if isinstance(value, FunctionType) or _is_own(type(value).__module__):
            parts.append(
                f"{name} {code_of(value if isinstance(value, FunctionType) else type(value))}"
            )
        elif type(value).__module__.startswith("torchvision."):
            parts.append(f"{name} {_without_addresses(repr(value))}")
        elif hasattr(value, "image_processor"):
            parts.append(
                f"{name} {json.dumps(value.image_processor.to_dict(), sort_keys=True, default=str)}"
            )
    return digest(*parts)


def given_stamp(model: Model) -> str:
    """A hash of what a user's network came with: its transform, vocabulary, `call` and the like."""
    parts: list[str] = []
    # The network is known by its weights, its classes and its answers; some networks count their
    # calls.
    seen: dict[int, Any] = {id(part): part for part in model.module.modules()}
    _describe(getattr(model, "given", {}), "", seen, parts)
    return digest(*parts)


def settings_of(network: torch.nn.Module) -> Stamp:
    """A hash of each layer and name → a hash of the value that the layer holds by that name.

    That is a number, a table, a tensor that is no weight and no buffer, a function, or an object
    of the user's own; of another package's object, its class alone. Numbers that calls of the
    layer write are left out.
    """
    layers = {id(part): part for part in network.modules()}
    found: Stamp = {}
    configs: dict[int, str] = {}  # every layer of a network from transformers holds the same one
    for path, layer in network.named_modules():
        own = _is_own(type(layer).__module__)
        for name, value in vars(layer).items():
            # What other packages call private are their books, such as the graph of compiled code.
            if name in _NO_SETTINGS or (name.startswith("_") and not own):
                continue
            # `None` stands for what is not there yet, such as a table that the first call reads.
            if value is None or _is_memory(layer, name, value):
                continue
            if hasattr(type(value), "to_diff_dict"):
                configs.setdefault(id(value), _setting(_without_paths(value.to_dict()), layers))
                told = configs[id(value)]
            else:
                told = _setting(value, layers)
            # Short, since each shard notes them all.
            found[digest(path, name)[:10]] = told[:12]
    return found


def _is_memory(layer: torch.nn.Module, name: str, value: Any) -> bool:
    """Whether a number is one that calls of the layer write, such as the largest batch so far."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and name in _written_by_calls(type(layer))  # type: ignore[arg-type]


@cache
def _written_by_calls(cls: type[Any]) -> frozenset[str]:
    """The names of a layer that `forward`, or a method that it names, gives a value."""
    written: set[str] = set()
    seen: set[str] = set()
    waiting = ["forward"]
    own = [one for one in cls.__mro__ if one not in torch.nn.Module.__mro__]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        for one in own:
            function = inspect.unwrap(vars(one).get(name))  # type: ignore[arg-type]
            if isinstance(function, FunctionType):
                for code in _codes(function.__code__):
                    steps = dis.get_instructions(code)
                    written |= {step.argval for step in steps if step.opname == "STORE_ATTR"}
                    waiting += code.co_names
    return frozenset(written)


def _codes(code: CodeType) -> Iterator[CodeType]:
    """A function's code, and that of the functions within."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _codes(constant)


def _setting(value: Any, layers: dict[int, Any]) -> str:
    if isinstance(value, _PLAIN):
        return digest(_value(value))
    # A network may be moved to another processor.
    if isinstance(value, torch.device):
        return digest("device")
    if _is_foreign(value):
        return digest(_value(value))
    parts: list[str] = []
    _describe(value, "", dict(layers), parts)
    return digest(*parts)


def _is_foreign(value: Any) -> bool:
    """Whether a value is an object of an installed package that is no array and no function."""
    home = type(value).__module__
    known = home.split(".")[0] in (*sys.stdlib_module_names, "numpy", "torch")
    return not known and not _is_own(home)


def _without_paths(config: Any) -> Any:
    """A configuration without the folders that it was read from."""
    if isinstance(config, dict):
        kept = {key: value for key, value in config.items() if key not in _NO_SETTINGS}
        return {key: _without_paths(value) for key, value in kept.items()}
    return config


def code_of(thing: Any) -> str:
    """A hash of a class's or function's code: for this package's, of its module and what that
    imports.

    For others, of the code itself, its parameters, and the functions, classes and values that it
    names, as far as they are not an installed package's.
    """
    home = thing.__module__.split(".")[0]
    if home == "vqa_explain":
        return _of_modules([thing.__module__])
    parts: list[str] = []
    _describe(thing, home, {}, parts)
    return digest(*parts)


def _of_modules(names: Iterable[str]) -> str:
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _imports(name)
    return digest(*(f"{name} {_source(name)}" for name in sorted(found)))


@cache
def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    path = None if spec is None or spec.origin is None else Path(spec.origin)
    return path.read_text(encoding="utf-8") if path is not None and path.suffix == ".py" else ""


@cache
def _imports(name: str) -> tuple[str, ...]:
    """The modules of this package that a module imports, but for those that only show results."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(_source(name))):
        if (
            isinstance(node, ast.ImportFrom)
            and node.module
            and node.module.split(".")[0] == "vqa_explain"
        ):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    inner = {one.removeprefix("vqa_explain."): one for one in found - set(_REGISTERING)}
    counted = [one for rest, one in inner.items() if not rest.startswith(_SHOWING)]
    return tuple(sorted(one for one in counted if _is_module(one)))


@cache
def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # a name within a module
        return False


@cache
def _is_own(module: str) -> bool:
    """Whether a module is the user's: not Python's, not installed, not this package's."""
    top = module.split(".")[0]
    if top in sys.stdlib_module_names and top != "__main__":
        return False
    path = getattr(sys.modules.get(module), "__file__", None) or ""
    return top != "vqa_explain" and not {"site-packages", "dist-packages"} & set(Path(path).parts)


def _describe(thing: Any, home: str, seen: dict[int, Any], parts: list[str]) -> None:
    """Adds to `parts` what a value is, what its code names, and what it holds.

    Args:
        thing: any value.
        home: the package whose code is read besides the user's own.
        seen: by their ids, the objects that are described already; held, so that no id comes twice.
        parts: the description.
    """
    if isinstance(thing, staticmethod | classmethod):
        thing = thing.__func__
    if isinstance(thing, property):
        for function in (thing.fget, thing.fset):
            _describe(function, home, seen, parts)
        return
    if isinstance(thing, ModuleType):
        path = thing.__file__ if _counts(thing.__name__, home) else None
        parts.append(thing.__name__ + (digest(Path(path).read_bytes()) if path else ""))
        return
    if isinstance(thing, FunctionType | type):
        parts.append(thing.__qualname__)
        if id(thing) in seen:
            return
        seen[id(thing)] = thing
        if isinstance(thing, FunctionType):
            _describe_function(thing, home, seen, parts)
        elif _counts(thing.__module__, home):
            _describe_class(thing, home, seen, parts)
        return
    if isinstance(thing, dict | list | tuple | set | frozenset):
        _describe_members(thing, home, seen, parts)
        return
    if not _is_plain(thing):
        _describe_object(thing, home, seen, parts)
        return
    parts.append(_value(thing))


def _describe_members(things: Any, home: str, seen: dict[int, Any], parts: list[str]) -> None:
    """Adds what is in a dictionary, list, tuple or set, in an order that every process has."""
    parts.append(f"{type(things).__name__} {len(things)}")
    if id(things) in seen:  # it holds itself
        return
    seen[id(things)] = things
    if isinstance(things, dict):
        for key, member in sorted(things.items(), key=lambda item: _value(item[0])):
            parts.append(_value(key))
            _describe(member, home, seen, parts)
    elif isinstance(things, set | frozenset):
        parts += sorted(map(_value, things))
    else:
        for member in things:
            _describe(member, home, seen, parts)
    del seen[id(things)]


def _describe_object(thing: Any, home: str, seen: dict[int, Any], parts: list[str]) -> None:
    """Adds the class of an object, and its state as Python would pickle it.

    What cannot be pickled, such as a lock or an open file, is known by its class alone.
    """
    parts.append(_value(thing))
    if id(thing) in seen:
        return
    seen[id(thing)] = thing
    _describe(type(thing), home, seen, parts)
    inner = getattr(thing, "__wrapped__", None)
    if inner is not None:  # what a decorator such as `lru_cache` stands before
        _describe(inner, home, seen, parts)
    try:
        state = thing.__reduce_ex__(4)
    except Exception:  # of any kind, since it is the object's own code
        return
    if isinstance(state, str):
        parts.append(state)
        return
    for part in state:
        # Items of subclasses of lists and dictionaries come one by one.
        listed = list(part) if isinstance(part, Iterator) else part
        _describe(listed, home, seen, parts)


def _counts(module: str | None, home: str) -> bool:
    return module is None or module.split(".")[0] == home or _is_own(module)


def _describe_function(
    function: FunctionType, home: str, seen: dict[int, Any], parts: list[str]
) -> None:
    """Adds what a function holds; the code and the names of one that counts too."""
    cells = [cell.cell_contents for cell in function.__closure__ or () if _is_filled(cell)]
    if not _counts(function.__module__, home):
        _describe(cells, home, seen, parts)
        return
    names = _describe_code(function.__code__, parts)
    keywords = sorted((function.__kwdefaults__ or {}).items())
    for value in [*(function.__defaults__ or ()), *keywords, *cells]:
        _describe(value, home, seen, parts)
    for name in sorted(names & set(function.__globals__)):
        parts.append(name)
        _describe(function.__globals__[name], home, seen, parts)


def _is_filled(cell: Any) -> bool:
    try:
        return cell.cell_contents is not cell
    except ValueError:  # a name that is not set yet
        return False


def _describe_code(code: CodeType, parts: list[str]) -> set[str]:
    """Adds the instructions and constants; gives the names that they use,
    functions within included.
    """
    names = set(code.co_names)
    parts += [digest(code.co_code), repr(code.co_names), repr(code.co_varnames)]
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _describe_code(constant, parts)
        else:
            parts.append(_value(constant))
    return names


def _describe_class(cls: type[Any], home: str, seen: dict[int, Any], parts: list[str]) -> None:
    for base in cls.__bases__:
        _describe(base, home, seen, parts)
    if dataclasses.is_dataclass(cls):
        for entry in dataclasses.fields(cls):
            parts.append(
                f"{entry.name} {entry.type} {_value(entry.default)} {_value(dict(entry.metadata))}"
            )
    for name, value in sorted(vars(cls).items()):
        written = getattr(getattr(value, "__code__", None), "co_filename", "")
        is_code = isinstance(value, FunctionType | staticmethod | classmethod | property)
        # Python's own notes, some of them made when a class is pickled.
        if name.startswith("__") and not is_code:
            continue
        if name in _BY_DATACLASS and written == "<string>":
            continue
        parts.append(name)
        _describe(value, home, seen, parts)


def _is_plain(value: Any) -> bool:
    return isinstance(value, (*_PLAIN, np.ndarray)) or hasattr(value, "detach")


def _value(value: Any) -> str:
    """A value in words that are the same in every process."""
    if isinstance(value, set | frozenset):
        return f"set {sorted(map(_value, value))}"
    if isinstance(value, dict):
        return f"dict {sorted((_value(k), _value(v)) for k, v in value.items())}"
    if isinstance(value, list | tuple):
        return f"{type(value).__name__} {[_value(one) for one in value]}"
    if isinstance(value, np.ndarray) or hasattr(value, "detach"):
        return _array(value)
    if isinstance(value, _PLAIN):
        return f"{type(value).__name__} {value!r}"
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _without_addresses(text: str) -> str:
    return re.sub(r" at 0x[0-9a-f]+", "", text)
