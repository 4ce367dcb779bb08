"""Explanation methods. Importing this package registers all of them:
each module registers its own.
"""

from vqa_explain.methods.base import METHODS, create
from vqa_explain.registry import import_modules

__all__ = ["METHODS", "create"]

import_modules(__name__, __path__)
