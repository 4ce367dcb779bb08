"""JSON values read as the types that a dataclass states.

A file with the right checksum may still say anything. Each field is compared with its annotation,
and the first that does not fit is named, so that no value of a wrong type travels on.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from vqa_explain._shown import LARGEST, shown

T = TypeVar("T")
PLAIN = {str: "text", bool: "true or false", int: "whole number", float: "finite number"}


class WrongField(ValueError):
    """A field of a file or message does not hold what it must. The message names it."""


def read_dataclass(kind: Callable[..., T], data: Any, where: str = "") -> T:
    """The dataclass of a mapping that was read from JSON.

    Fields that are arrays or already objects are taken as they are.

    Args:
        kind: a dataclass whose annotations are `str`, `bool`, `int`, `float`, `None`, `Any`,
            arrays, literals, other dataclasses, or unions, tuples, lists and mappings of them.
        data: the mapping.
        where: what it is called in messages.

    Raises:
        WrongField: a field is missing, unknown, or of another type; a number is not finite; or a
            text cannot be written as UTF-8.
    """
    if not isinstance(data, Mapping):
        raise _wrong(where or "it", data, "mapping")
    prefix = f"{where}." if where else ""
    known = _fields_of(kind)
    for name in data:
        if name not in known:
            raise WrongField(f"{prefix}{shown(name)} is not known")
    for name, (_, needed) in known.items():
        if needed and name not in data:
            raise WrongField(f"{prefix}{name} is missing")
    return kind(
        **{name: _read_as(known[name][0], value, prefix + name) for name, value in data.items()}
    )


def check(holds: object, what: str) -> None:
    """Raises `WrongField` with this text where a condition does not hold."""
    if not holds:
        raise WrongField(what)


@cache
def _fields_of(kind: Any) -> dict[str, tuple[Any, bool]]:
    """Name → annotation, and whether the field has no default."""
    hints = get_type_hints(kind)
    return {one.name: (hints[one.name], _is_needed(one)) for one in fields(kind) if one.init}


def _is_needed(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _read_as(kind: Any, value: Any, where: str) -> Any:
    origin = get_origin(kind)
    if kind is Any:
        _check_texts_in(value, where)
        return value
    if origin is Literal:
        check(value in get_args(kind), f"{where} is {shown(value)}, not one of {get_args(kind)}")
        return value
    if origin in (Union, UnionType):
        return _read_union(get_args(kind), value, where)
    if origin in (tuple, list):
        return origin(_read_items(kind, value, where))
    if origin is dict:
        return _read_mapping(get_args(kind)[1], value, where)
    if kind in PLAIN:
        return _read_plain(kind, value, where)
    if isinstance(value, kind):
        return value
    if is_dataclass(kind):
        of_kind: Any = kind  # a class, since it is an annotation
        return read_dataclass(of_kind, value, where)
    raise _wrong(where, value, "array" if kind is np.ndarray else kind.__name__)


def _read_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    others = [kind for kind in kinds if kind is not NoneType]
    for kind in others[:-1]:
        try:
            return _read_as(kind, value, where)
        except WrongField:
            continue
    return _read_as(others[-1], value, where)


def _read_items(kind: Any, value: Any, where: str) -> list[Any]:
    """The items of a tuple or list, as many as it must have."""
    kinds = get_args(kind)
    if not isinstance(value, list | tuple):
        raise _wrong(where, value, "list")
    any_number = get_origin(kind) is list or kinds[-1] is Ellipsis
    if not any_number and len(value) != len(kinds):
        raise WrongField(f"{where} has {len(value)} items, not {len(kinds)}")
    of_each = [kinds[0]] * len(value) if any_number else kinds
    return [
        _read_as(one, item, f"{where}[{number}]")
        for number, (one, item) in enumerate(zip(of_each, value, strict=True))
    ]


def _read_mapping(kind: Any, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(where, value, "mapping")
    return {
        _read_plain(str, name, f"a key of {where}"): _read_as(kind, one, f"{where}.{shown(name)}")
        for name, one in value.items()
    }


def _read_plain(kind: type, value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind in (int, float) and not is_number:
        raise _wrong(where, value, PLAIN[kind])
    if kind in (str, bool, int) and not isinstance(value, kind):
        raise _wrong(where, value, PLAIN[kind])
    if kind is str:
        _check_text(value, where)
    elif is_number and not -LARGEST - 1 <= value <= LARGEST and not _is_large_float(value):
        raise _wrong(where, value, PLAIN[kind])
    return float(value) if kind is float else value


def _is_large_float(value: float) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _check_text(value: str, where: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise WrongField(f"{where} holds half a character, which is no text") from error


def _check_texts_in(value: Any, where: str) -> None:
    """The same of every text within a value that may be anything."""
    if isinstance(value, str):
        _check_text(value, where)
    elif isinstance(value, Mapping):
        for name, one in value.items():
            _check_texts_in(name, f"a key of {where}")
            _check_texts_in(one, where)
    elif isinstance(value, list | tuple):
        for one in value:
            _check_texts_in(one, where)


def _wrong(where: str, value: Any, wanted: str) -> WrongField:
    return WrongField(f"{where} is {shown(value)}, not a {wanted}")
