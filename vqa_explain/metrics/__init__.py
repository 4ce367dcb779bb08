"""Metrics of answers and of explanations. Importing this package registers all of them."""

from vqa_explain.metrics.base import METRICS, read_metric
from vqa_explain.registry import import_modules

__all__ = ["METRICS", "read_metric"]

import_modules(__name__, __path__)
