"""Metrics of answers and of explanations. Importing this package registers all of them."""

from vqa_explain.metrics import additive, answers, faithfulness, localization, modality, sanity
from vqa_explain.metrics.base import METRICS, read_metric

__all__ = [
    "METRICS",
    "additive",
    "answers",
    "faithfulness",
    "localization",
    "modality",
    "read_metric",
    "sanity",
]
