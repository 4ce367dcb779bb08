"""Methods as plain values, read from their dataclasses: for lists, forms and machines."""

import dataclasses
import inspect
from typing import Any

from vqa_explain.errors import unknown
from vqa_explain.methods import METHODS


def describe_methods(name: str | None) -> list[dict[str, Any]]:
    """Methods with their parameters, read from the dataclasses."""
    if name is not None and name not in METHODS:
        raise unknown("method", name, METHODS)
    rows = []
    for cls in [METHODS[name]] if name else METHODS.values():
        parameters = [
            {
                "name": f.name,
                "default": f.default,
                **{k: v for k, v in f.metadata.items() if v not in (None, (), False)},
            }
            for f in dataclasses.fields(cls)
        ]
        rows.append(
            {
                "name": cls.name,
                "about": (cls.__doc__ or "").split("\n\n")[0],
                "definition": inspect.cleandoc(cls.__doc__ or ""),
                "source": cls.source,
                "needs": sorted(cls.needs),
                "error": cls.error,
                "cost": cls.cost,
                "parameters": parameters,
            }
        )
    return rows
