"""Things that are known by name: frozen dataclasses whose fields are their parameters. Methods and
metrics are such.

A thing is asked for by its name, by a text such as "shapley:budget=500,estimator=kernel", by (name,
parameters), or as itself; its text is what tables and files call it.
"""

import dataclasses
import importlib
import inspect
import json
import numbers
import pkgutil
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vqa_explain._shown import shown
from vqa_explain.baselines import as_baselines
from vqa_explain.errors import InvalidInput, is_one_of, unknown
from vqa_explain.own_fills import own_fill

AUTO = "auto"


def parameter(
    default: Any,
    about: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[Any, ...] = (),
    several: bool = False,
    per_player: bool = False,
    mapping: bool = False,
    functions: bool = False,
    examples: bool = False,
) -> Any:
    """A dataclass field that says what it means and which values it takes (`None` only where it is
    the default).

    With `several` a list of choices does as well as one. With `per_player` a text such as "4n" does
    as well as a number: so many for each player of the example. With `mapping` it takes texts by
    texts. With `functions` a `vqa_explain.Fill`, its name, or "auto" does as well as a
    choice. With `examples` it takes a list of examples, `vqa_explain.Baselines`, or the name of a
    data set.
    """
    data = {
        "help": about,
        "low": low,
        "high": high,
        "choices": choices,
        "several": several,
        "per_player": per_player,
        "mapping": mapping,
        "functions": functions,
        "examples": examples,
    }
    return field(default=default, metadata=data)


@dataclass(frozen=True)
class FactSheet:
    """Which facts the things of one kind state when they are registered.

    Attributes:
        kind: "method" or "metric".
        required: the facts that every one must state, in the order of messages.
        defaults: fact → its value where it is not stated.
        choices: fact → the values that it can take; a fact that is not here is any text. The fact
            "needs" is a set of such values.
    """

    kind: str
    required: tuple[str, ...]
    defaults: Mapping[str, object]
    choices: Mapping[str, Collection[str]]

    def checked(self, name: object, stated: Mapping[str, object]) -> dict[str, object]:
        """All facts of one thing, its name and the defaults included.

        Raises:
            InvalidInput: the name or a fact is missing, unknown, or of a wrong value.
        """
        self._check_name(name)
        what = f"{self.kind} {name!r}"
        for fact in stated:
            if not is_one_of(fact, self.required) and fact not in self.defaults:
                raise unknown(f"fact of {what}:", fact, (*self.required, *self.defaults))
        missing = [fact for fact in self.required if fact not in stated]
        if missing:
            raise InvalidInput(
                f"{what} does not say its {', '.join(missing)}; "
                f"add {_as_keywords(missing)} to @register_{self.kind}"
            )
        facts = {**self.defaults, **stated}
        for fact, value in facts.items():
            if fact != "needs":
                self._check_text(f"{fact} of {what}", value, self.choices.get(fact))
        needs = self._needs(what, facts["needs"])
        return {"name": name, **facts, "needs": needs}

    def _check_name(self, name: object) -> None:
        if isinstance(name, type):
            raise InvalidInput(
                f"{self.kind} class {name.__name__} is registered without its facts; write "
                f'@register_{self.kind}("name", {_as_keywords(self.required)}) '
                "above @dataclass(frozen=True)"
            )
        # A text such as "shapley:budget=500" asks for a thing and its parameters.
        if not isinstance(name, str) or not re.fullmatch(r"[^\s:]+", name):
            raise InvalidInput(
                f"a {self.kind}'s name must be a text without spaces and colons, not {name!r}"
            )

    def _check_text(self, what: str, value: object, choices: Collection[str] | None) -> None:
        if not isinstance(value, str) or not value.strip():
            raise InvalidInput(f"{what} must be a text that is not empty, not {value!r}")
        if choices is not None and not is_one_of(value, choices):
            raise unknown(f"{what}:", value, choices)

    def _needs(self, what: str, value: object) -> frozenset[str]:
        known = self.choices["needs"]
        if isinstance(value, str) or not isinstance(value, Collection):
            example = f"{{{next(iter(known))!r}}}"
            raise InvalidInput(f"needs of {what} must be a set such as {example}, not {value!r}")
        for need in value:
            if not is_one_of(need, known):
                raise unknown(f"need of {what}:", need, known)
        return frozenset(value)


def _as_keywords(facts: Iterable[str]) -> str:
    """How one writes these facts in a call."""
    return ", ".join(f'{fact}="…"' for fact in facts)


def register(
    kind: str, known: dict[str, type[Any]], cls: type[Any], facts: Mapping[str, object]
) -> None:
    """Puts a class among the known ones of its kind, and its facts on it as class attributes.

    Args:
        kind: "method" or "metric".
        known: name → class, which gains this one.
        cls: the class.
        facts: what `FactSheet.checked` gave; its "name" is the name.

    Raises:
        InvalidInput: it is no dataclass, states a fact itself, or its name is another's.
    """
    # A subclass of a dataclass that is not decorated itself would lose its own parameters.
    if "__dataclass_fields__" not in vars(cls):
        raise InvalidInput(
            f"{kind} class {cls.__name__} must be a dataclass; write @dataclass(frozen=True) below "
            f"@register_{kind}(…)"
        )
    own = {*vars(cls), *(entry.name for entry in dataclasses.fields(cls))}
    twice = [fact for fact in facts if fact in own]
    if twice:
        raise InvalidInput(
            f"{kind} class {cls.__name__} has {', '.join(twice)} of its own, which "
            f"@register_{kind}(…) states; leave the attribute out, or rename it"
        )
    name = str(facts["name"])
    before = known.get(name)
    if before is not None and _place(before) != _place(cls):
        raise InvalidInput(f"there is a {kind} named {name!r} already; choose another name")
    for fact, value in facts.items():
        setattr(cls, fact, value)
    known[name] = cls


def _place(cls: type[Any]) -> tuple[str, str]:
    """Where a class is written: a cell or file that runs again may replace its own class."""
    return cls.__module__, cls.__qualname__


def import_modules(package: str, folders: Iterable[str]) -> None:
    """Imports every module of a package by the order of names, so that each registers its things.

    Args:
        package: the package's name.
        folders: where its modules lie, its `__path__`.
    """
    for name in sorted(module.name for module in pkgutil.iter_modules(folders)):
        importlib.import_module(f"{package}.{name}")


def create(kind: str, known: Mapping[str, type[Any]], name: str, parameters: dict[str, Any]) -> Any:
    """The thing of that kind ("method", "metric") and name,
    each parameter checked against its type and range.
    """
    if not is_one_of(name, known):
        raise unknown(kind, name, known)
    cls, owner = known[name], f"{kind} {name!r}"
    fields = {f.name: f for f in dataclasses.fields(cls)}
    for key, value in parameters.items():
        if key not in fields:
            if not fields:
                raise InvalidInput(
                    f"{kind} {name!r} takes no parameters, but {key!r} was given; leave it out"
                )
            raise unknown(f"parameter of {kind} {name!r}", key, fields)
        _check(owner, fields[key], value)
    return cls(**{key: _kept(owner, fields[key], value) for key, value in parameters.items()})


class Texts(dict[str, str]):
    """Texts by names, which can be part of a key: not to be changed."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))


def _kept(owner: str, entry: Any, value: Any) -> Any:
    """A parameter so that the thing that has it can be a key."""
    if entry.metadata["examples"] and value is not None:
        try:
            return as_baselines(value)
        except InvalidInput as error:
            raise InvalidInput(f"parameter {entry.name!r} of {owner}: {error}") from error
    if isinstance(value, Mapping):
        return Texts(value)
    if isinstance(value, numbers.Number) and hasattr(value, "item"):
        return value.item()  # numpy's numbers cannot be written as JSON
    return tuple(value) if isinstance(value, list) else value


def _check(owner: str, entry: Any, value: Any) -> None:
    data, default = entry.metadata, entry.default
    if data["examples"] or (value is None and default is None):
        return
    what = f"parameter {entry.name!r} of {owner}"
    if data["choices"]:
        listed = (
            list(value)
            if data["several"] and isinstance(value, list | tuple) and value
            else [value]
        )
        for one in listed:
            own = own_fill(one) if data["functions"] and isinstance(one, str) else None
            is_auto = data["functions"] and isinstance(one, str) and one == AUTO
            if not is_one_of(one, data["choices"]) and own is None and not is_auto:
                raise unknown(f"value of {what}:", one, [str(c) for c in data["choices"]])
        return
    if isinstance(default, bool) and not isinstance(value, bool):
        raise InvalidInput(f"{what} must be true or false, not {value!r}")
    if data["mapping"]:
        if not isinstance(value, Mapping) or not all(isinstance(v, str) for v in value.values()):
            raise InvalidInput(
                f"{what} must be texts by names, such as {{'image 2': 'blur'}}, not {value!r}"
            )
        return
    if data["low"] is None and data["high"] is None:
        if "str" in str(entry.type) and not isinstance(value, str):
            raise InvalidInput(f"{what} must be text, not {value!r}")
        return
    if data["per_player"] and isinstance(value, str):
        number = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)n", value)
        if value != AUTO and not (number and float(number[1]) > 0):
            raise InvalidInput(
                f"{what} must be a number, a number for each player such as '4n', or '{AUTO}', not "
                f"{value!r}"
            )
        return
    whole = "int" in str(entry.type)
    good = isinstance(value, numbers.Integral if whole else numbers.Real)
    if not good or isinstance(value, bool):
        raise InvalidInput(f"{what} must be a {'whole ' if whole else ''}number, not {value!r}")
    low, high = data["low"], data["high"]
    if (low is not None and not value >= low) or (high is not None and not value <= high):
        span = f"at least {low}" if high is None else f"from {low} to {high}"
        raise InvalidInput(f"{what} must be {span}, not {shown(value)}")


def read(kind: str, known: Mapping[str, type[Any]], asked: Any) -> Any:
    """The thing asked for as a text, as (name, parameters), or as itself.

    Raises:
        InvalidInput: it is none of these, or its name or a parameter is unknown.
    """
    if isinstance(asked, str):
        name, _, rest = asked.partition(":")
        return create(
            kind, known, name.strip(), values(_pairs(rest) if rest else [], f"{kind} {asked!r}:")
        )
    if isinstance(asked, list | tuple) and len(asked) == 2 and isinstance(asked[1], Mapping):
        return create(kind, known, asked[0], dict(asked[1]))
    if dataclasses.is_dataclass(asked) and not isinstance(asked, type) and hasattr(asked, "name"):
        return asked
    raise InvalidInput(
        f"a {kind} is a name such as {next(iter(known))!r}, or (name, parameters); not {asked!r}"
    )


def _pairs(text: str) -> list[str]:
    """The parts between commas that are outside of lists and mappings.

    >>> _pairs('steps=8,fills={"scan": "blur", "note": "pad"}')
    ['steps=8', 'fills={"scan": "blur", "note": "pad"}']
    """
    return re.split(r",(?![^\[{]*[\]}])", text)


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
    """What a thing is called: its name, and the parameters that are not the default,
    as `read` takes them.
    """
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
