"""Things that are known by name: frozen dataclasses whose fields are their parameters. Methods and metrics are such.

A thing is asked for by its name, by a text such as "shapley:budget=500,estimator=kernel", by (name, parameters), or as
itself; its text is what tables and files call it.
"""

import dataclasses
import inspect
import json
import numbers
import re
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from vqa_explain.errors import InvalidInput, unknown


def parameter(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    several: bool = False,
    per_player: bool = False,
) -> Any:
    """A dataclass field that says what it means and which values it takes (`None` only where it is the default).

    With `several` a list of choices does as well as one. With `per_player` a text such as "4n" does as well as a
    number: so many for each player of the example.
    """
    data = {
        "help": about,
        "low": low,
        "high": high,
        "choices": choices,
        "several": several,
        "per_player": per_player,
    }
    return field(default=default, metadata=data)


def registered(
    kind: str, known: dict[str, type[Any]], needed: tuple[str, ...], cls: type[Any]
) -> type[Any]:
    """Puts a class among the known ones of its kind.

    Raises:
        InvalidInput: it is no dataclass, lacks something, or its name is another's.
    """
    if not dataclasses.is_dataclass(cls):
        raise InvalidInput(
            f"{kind} class {cls.__name__} must be a dataclass; write @dataclass(frozen=True) below"
        )
    missing = [name for name in needed if not hasattr(cls, name)]
    if missing:
        raise InvalidInput(
            f"{kind} class {cls.__name__} does not say its {', '.join(missing)}; add class attributes"
        )
    given: Any = cls
    name = given.name  # its own, or its base's, which then is taken
    before = known.get(name)
    if before is not None and (before.__module__, before.__qualname__) != (
        cls.__module__,
        cls.__qualname__,
    ):
        raise InvalidInput(f"there is a {kind} named {name!r} already; choose another name")
    known[name] = cls
    return cls


def create(kind: str, known: Mapping[str, type[Any]], name: str, parameters: dict[str, Any]) -> Any:
    """The thing of that kind ("method", "metric") and name, each parameter checked against its type and range."""
    if name not in known:
        raise unknown(kind, name, known)
    cls = known[name]
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in parameters.items():
        if key not in fields:
            if not fields:
                raise InvalidInput(
                    f"{kind} {name!r} takes no parameters, but {key!r} was given; leave it out"
                )
            raise unknown(f"parameter of {kind} {name!r}", key, fields)
        _check(f"{kind} {name!r}", fields[key], value)
    return cls(**parameters)


def _check(owner: str, entry: Any, value: Any) -> None:
    data, default = entry.metadata, entry.default
    if value is None and default is None:
        return
    what = f"parameter {entry.name!r} of {owner}"
    if data["choices"]:
        listed = (
            list(value)
            if data["several"] and isinstance(value, list | tuple) and value
            else [value]
        )
        for one in listed:
            if one not in data["choices"]:
                raise unknown(f"value of {what}:", one, [str(c) for c in data["choices"]])
        return
    if isinstance(default, bool) and not isinstance(value, bool):
        raise InvalidInput(f"{what} must be true or false, not {value!r}")
    if data["low"] is None and data["high"] is None:
        if "str" in str(entry.type) and not isinstance(value, str):
            raise InvalidInput(f"{what} must be text, not {value!r}")
        return
    if data["per_player"] and isinstance(value, str):
        if not re.fullmatch(r"\d{1,9}(\.\d{1,9})?n", value) or float(value[:-1]) <= 0:
            raise InvalidInput(
                f"{what} must be a number, or a number for each player such as '4n', not {value!r}"
            )
        return
    whole = "int" in str(entry.type)
    good = isinstance(value, numbers.Integral if whole else numbers.Real)
    if not good or isinstance(value, bool):
        raise InvalidInput(f"{what} must be a {'whole ' if whole else ''}number, not {value!r}")
    low, high = data["low"], data["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidInput(f"{what} must be {span}, not {value}")


def read(kind: str, known: Mapping[str, type[Any]], asked: Any) -> Any:
    """The thing asked for as a text, as (name, parameters), or as itself.

    Raises:
        InvalidInput: it is none of these, or its name or a parameter is unknown.
    """
    if isinstance(asked, str):
        name, _, rest = asked.partition(":")
        return create(
            kind, known, name.strip(), values(rest.split(",") if rest else [], f"{kind} {asked!r}:")
        )
    if isinstance(asked, list | tuple) and len(asked) == 2 and isinstance(asked[1], Mapping):
        return create(kind, known, asked[0], dict(asked[1]))
    if dataclasses.is_dataclass(asked) and not isinstance(asked, type) and hasattr(asked, "name"):
        return asked
    raise InvalidInput(
        f"a {kind} is a name such as {next(iter(known))!r}, or (name, parameters); not {asked!r}"
    )


def values(pairs: list[str], option: str) -> dict[str, Any]:
    """The values of texts "name=value": JSON where they are, else text.

    >>> values(["steps=32", "fill=blur"], "--set")
    {'steps': 32, 'fill': 'blur'}
    """
    found: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInput(f"{option} {pair!r} must be name=value")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError:
            found[name.strip()] = text
    return found


def parameters_of(thing: Any) -> dict[str, Any]:
    """Its parameters, as `create` takes them."""
    return {f.name: getattr(thing, f.name) for f in dataclasses.fields(thing)}


def text_of(thing: Any) -> str:
    """What a thing is called: its name, and the parameters that are not the default, as `read` takes them."""
    changed = {
        f.name: getattr(thing, f.name)
        for f in dataclasses.fields(thing)
        if getattr(thing, f.name) != f.default
    }
    parts = [f"{k}={v if isinstance(v, str) else json.dumps(v)}" for k, v in changed.items()]
    result: str = thing.name + (":" + ",".join(parts) if parts else "")
    return result


def describe(cls: type[Any]) -> dict[str, Any]:
    """Name, first paragraph, whole docstring and parameters of a thing's class, as plain values."""
    return {
        "name": cls.name,
        "about": (cls.__doc__ or "").split("\n\n")[0],
        "definition": inspect.cleandoc(cls.__doc__ or ""),
        "source": cls.source,
        "parameters": [
            {
                "name": f.name,
                "default": f.default,
                # 0 is a bound.
                **{
                    k: v
                    for k, v in f.metadata.items()
                    if v is not None and v != () and v is not False
                },
            }
            for f in dataclasses.fields(cls)
        ],
    }
