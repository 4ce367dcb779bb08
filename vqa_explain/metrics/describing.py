"""Metrics as plain values, read from their dataclasses: for lists and machines."""

from typing import Any

from vqa_explain import registry
from vqa_explain.errors import is_one_of, unknown
from vqa_explain.metrics.base import METRICS


def describe_metrics(name: str | None) -> list[dict[str, Any]]:
    """Metrics with direction, range, needs and parameters."""
    if name is not None and not is_one_of(name, METRICS):
        raise unknown("metric", name, METRICS)
    return [
        {
            **registry.describe(cls),
            "better": cls.better,
            "range": cls.range,
            "judges": cls.judges,
            "needs": sorted(cls.needs),
        }
        for cls in ([METRICS[name]] if name else METRICS.values())
    ]
