"""Explanation methods. Importing this package registers all of them."""

from vqa_explain.methods import (
    attn_lrp,
    gradients,
    interactions,
    layers,
    noise,
    perturbation,
    relevance,
    rules,
    shapley,
    surrogates,
)
from vqa_explain.methods.base import METHODS, create

__all__ = [
    "METHODS",
    "attn_lrp",
    "create",
    "gradients",
    "interactions",
    "layers",
    "noise",
    "perturbation",
    "relevance",
    "rules",
    "shapley",
    "surrogates",
]
