"""Methods as plain values, read from their dataclasses: for lists, forms and machines."""

from typing import Any

from vqa_explain import registry, units
from vqa_explain.errors import is_one_of, unknown
from vqa_explain.methods.base import METHODS


def describe_methods(name: str | None) -> list[dict[str, Any]]:
    """Methods with their unit, needs, error, cost and parameters."""
    if name is not None and not is_one_of(name, METHODS):
        raise unknown("method", name, METHODS)
    return [
        {
            **registry.describe(cls),
            "unit": units.unit_of(cls),
            "needs": sorted(cls.needs),
            "error": cls.error,
            "cost": cls.cost,
        }
        for cls in ([METHODS[name]] if name else METHODS.values())
    ]
