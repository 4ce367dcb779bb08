"""Methods, metrics and models of one's own, known by name everywhere once their file is used."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from vqa_explain.errors import InvalidInput, VQAExplainError
from vqa_explain.methods import METHODS
from vqa_explain.metrics import METRICS
from vqa_explain.own_fills import Fill, remember


def use(source: str | Path) -> ModuleType:
    """Imports a Python file or an installed module, so that what it registers is known by name.

    Worker processes get what a file registers by value, so that it need not be importable there.

    Args:
        source: a path that ends in .py, or a module's name.

    Raises:
        InvalidInput: there is no such file or module, or it raises an error.
    """
    text = str(source)
    try:
        if not text.endswith(".py"):
            return importlib.import_module(text)
        return _import_file(Path(text))
    except VQAExplainError:
        raise
    except Exception as error:  # a stranger's code may raise anything
        raise InvalidInput(
            f"{text!r} cannot be used: {type(error).__name__}: {error}; mend it"
        ) from error


def _import_file(path: Path) -> ModuleType:
    import cloudpickle

    if not path.is_file():
        raise InvalidInput(f"there is no file {str(path)!r} to use")
    spec = importlib.util.spec_from_file_location(f"used_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        raise
    cloudpickle.register_pickle_by_value(module)
    return module


def own() -> tuple[type[Any], ...]:
    """The registered classes that are not this package's."""
    known = (*METHODS.values(), *METRICS.values())
    return tuple(cls for cls in known if cls.__module__.split(".")[0] != "vqa_explain")


def adopt(classes: tuple[type[Any], ...], fills: tuple[Fill, ...] = ()) -> None:
    """Makes classes and fills that another process registered known in this one."""
    for cls in classes:  # a worker may know an older class of that name
        (METRICS if hasattr(cls, "judges") else METHODS)[cls.name] = cls
    for fill in fills:
        remember(fill)
