"""vqa_explain: which words and which image regions made a model answer so.

Names are imported when first used, so that `import vqa_explain` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vqa_explain.showing import register_output

if TYPE_CHECKING:
    __version__: str
    from vqa_explain.answering import Reply, answer
    from vqa_explain.baselines import Baselines
    from vqa_explain.choosing import FillChoice, choose_fill
    from vqa_explain.cost import Requests
    from vqa_explain.datasets.loading import load_dataset
    from vqa_explain.errors import (
        InvalidInput,
        NonFiniteScore,
        OutOfMemory,
        Unsupported,
        VQAExplainError,
    )
    from vqa_explain.evaluation.comparison import compare
    from vqa_explain.evaluation.report import Report
    from vqa_explain.evaluation.run import evaluate
    from vqa_explain.examples import Example, Page
    from vqa_explain.explaining import estimate_cost, explain
    from vqa_explain.explanation import Explanation
    from vqa_explain.features.regions import Boxes, Masks
    from vqa_explain.game import Blocks
    from vqa_explain.inside.driving import Driving, driving
    from vqa_explain.inside.heads import Heads, heads
    from vqa_explain.inside.layers import Layers, layers
    from vqa_explain.inside.patching import Patched, patch
    from vqa_explain.inside.permuting import Permuted, feature_permutation
    from vqa_explain.inside.values import LayerValues, layer_values
    from vqa_explain.matrix import AnswerMatrix
    from vqa_explain.methods.base import Attribution, Method, Task, register_method
    from vqa_explain.metrics.base import Case, Curve, register_metric
    from vqa_explain.models.api.adapter import ApiModel
    from vqa_explain.models.base import Model
    from vqa_explain.models.custom import CustomModel
    from vqa_explain.models.inputs import Image, Table, Text
    from vqa_explain.models.inside import Unit
    from vqa_explain.models.loading import load, register_model
    from vqa_explain.own_fills import Fill
    from vqa_explain.plugins import use
    from vqa_explain.reading import load_explanation
    from vqa_explain.registry import parameter
    from vqa_explain.sampling import AnswerClass
    from vqa_explain.searching import Evidence, evidence
    from vqa_explain.showing import register_drawing
    from vqa_explain.viewer.widget import Viewer

_HOMES = {
    "answer": "answering",
    "Reply": "answering",
    "AnswerClass": "sampling",
    "AnswerMatrix": "matrix",
    "Baselines": "baselines",
    "ApiModel": "models.api.adapter",
    "Requests": "cost",
    "estimate_cost": "explaining",
    "Attribution": "methods.base",
    "Case": "metrics.base",
    "Curve": "metrics.base",
    "Method": "methods.base",
    "Model": "models.base",
    "choose_fill": "choosing",
    "FillChoice": "choosing",
    "compare": "evaluation.comparison",
    "Task": "methods.base",
    "parameter": "registry",
    "register_drawing": "showing",
    "register_method": "methods.base",
    "register_metric": "metrics.base",
    "register_model": "models.loading",
    "use": "plugins",
    "Evidence": "searching",
    "evidence": "searching",
    "Fill": "own_fills",
    "Blocks": "game",
    "Boxes": "features.regions",
    "CustomModel": "models.custom",
    "Example": "examples",
    "Explanation": "explanation",
    "Image": "models.inputs",
    "InvalidInput": "errors",
    "Page": "examples",
    "Masks": "features.regions",
    "Table": "models.inputs",
    "Text": "models.inputs",
    "Unit": "models.inside",
    "LayerValues": "inside.values",
    "Layers": "inside.layers",
    "Driving": "inside.driving",
    "driving": "inside.driving",
    "Permuted": "inside.permuting",
    "feature_permutation": "inside.permuting",
    "Heads": "inside.heads",
    "heads": "inside.heads",
    "Patched": "inside.patching",
    "patch": "inside.patching",
    "layers": "inside.layers",
    "layer_values": "inside.values",
    "NonFiniteScore": "errors",
    "OutOfMemory": "errors",
    "Unsupported": "errors",
    "VQAExplainError": "errors",
    "Viewer": "viewer.widget",
    "Report": "evaluation.report",
    "evaluate": "evaluation.run",
    "explain": "explaining",
    "load": "models.loading",
    "load_dataset": "datasets.loading",
    "load_explanation": "reading",
}
__all__ = [
    "AnswerClass",
    "AnswerMatrix",
    "ApiModel",
    "Attribution",
    "Baselines",
    "Blocks",
    "Boxes",
    "Case",
    "Curve",
    "CustomModel",
    "Driving",
    "Evidence",
    "Example",
    "Explanation",
    "Fill",
    "FillChoice",
    "Heads",
    "Image",
    "InvalidInput",
    "LayerValues",
    "Layers",
    "Masks",
    "Method",
    "Model",
    "NonFiniteScore",
    "OutOfMemory",
    "Page",
    "Patched",
    "Permuted",
    "Reply",
    "Report",
    "Requests",
    "Table",
    "Task",
    "Text",
    "Unit",
    "Unsupported",
    "VQAExplainError",
    "Viewer",
    "__version__",
    "answer",
    "choose_fill",
    "compare",
    "driving",
    "estimate_cost",
    "evaluate",
    "evidence",
    "explain",
    "feature_permutation",
    "heads",
    "layer_values",
    "layers",
    "load",
    "load_dataset",
    "load_explanation",
    "parameter",
    "patch",
    "register_drawing",
    "register_method",
    "register_metric",
    "register_model",
    "use",
]

register_output("figure", "vqa_explain.figures.plotting", "plot")
register_output("evidence figure", "vqa_explain.figures.evidence", "plot")
register_output("evidence page", "vqa_explain.viewer.evidence_page", "page")
register_output("layers figure", "vqa_explain.figures.layers", "plot")
register_output("layers page", "vqa_explain.viewer.inside", "page")
register_output("heads figure", "vqa_explain.figures.inside", "plot_heads")
register_output("patch figure", "vqa_explain.figures.inside", "plot_patched")
register_output("driving figure", "vqa_explain.figures.inside", "plot_driving")
register_output("permutation figure", "vqa_explain.figures.inside", "plot_permuted")
register_output("page", "vqa_explain.viewer.export", "page")
register_output("fragment", "vqa_explain.viewer.export", "fragment")
register_output("widget", "vqa_explain.viewer.widget", "shown_alone")


if not TYPE_CHECKING:  # a type checker would take every name for one that exists

    def __getattr__(name: str) -> Any:
        if name == "__version__":
            # It takes nine tenths of the time of `import vqa_explain`.
            from importlib.metadata import version

            value: Any = version("vqa_explain")
        elif name in _HOMES:
            value = getattr(import_module(f"vqa_explain.{_HOMES[name]}"), name)
        else:
            raise AttributeError(f"module 'vqa_explain' has no attribute {name!r}")
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted(__all__)
