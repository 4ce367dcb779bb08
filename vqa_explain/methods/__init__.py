"""Explanation methods. Importing this package registers all of them."""

from vqa_explain.methods import (
    gradients,
    interactions,
    layers,
    noise,
    perturbation,
    rectifiers,
    relevance,
    shapley,
    surrogates,
)
from vqa_explain.methods.base import METHODS, create

__all__ = [
    "METHODS",
    "create",
    "gradients",
    "interactions",
    "layers",
    "noise",
    "perturbation",
    "rectifiers",
    "relevance",
    "shapley",
    "surrogates",
]
