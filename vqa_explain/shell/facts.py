"""What the shell lists of methods, metrics and models, told without torch where that can be.

`facts.json` keeps what the package's own classes state. `docs/tables.py` writes it, and a test
compares it with them. Where something was registered since, the classes were imported, and are
asked themselves.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from vqa_explain.errors import is_one_of, unknown
from vqa_explain.models.verdicts import tried_version, verdicts

PATH = Path(__file__).parent / "facts.json"
Facts = list[dict[str, Any]]


def listed_methods(name: str | None) -> Facts:
    """All methods, or one, as `describe_methods` gives them.

    Raises:
        InvalidInput: there is no method of this name.
    """
    return _listed("method", name)


def listed_metrics(name: str | None) -> Facts:
    """All metrics, or one, as `describe_metrics` gives them.

    Raises:
        InvalidInput: there is no metric of this name.
    """
    return _listed("metric", name)


def _listed(kind: str, name: str | None) -> Facts:
    if _is_imported("methods", "metrics"):
        return _described(kind, name)
    known = {row["name"]: row for row in _kept()[kind]}
    if name is not None and not is_one_of(name, known):
        raise unknown(kind, name, known)
    return list(known.values()) if name is None else [known[name]]


def _described(kind: str, name: str | None) -> Facts:
    from vqa_explain.methods.describing import describe_methods
    from vqa_explain.metrics.describing import describe_metrics

    return describe_methods(name) if kind == "method" else describe_metrics(name)


def describe_models() -> dict[str, Any]:
    """Shipped models, the user's own, loadable families with what each can do and which methods
    work on it, and what came of every architecture of transformers.
    """
    own: list[str] = []
    if _is_imported("methods", "models.loading"):
        from vqa_explain.models.loading import own_models

        own, found = list(own_models()), _models()
    else:
        found = _kept()["models"]
    return {
        "shipped": found["shipped"],
        "own": own,
        "families": found["families"],
        "transformers": tried_version(),
        "architectures": [asdict(one) for one in verdicts()],
    }


def stated() -> str:
    """The content of `facts.json`, by what the classes state."""
    found = {
        "method": _described("method", None),
        "metric": _described("metric", None),
        "models": _models(),
    }
    return json.dumps(found, ensure_ascii=False, indent=1) + "\n"


def _is_imported(*parts: str) -> bool:
    """Whether a part of the package was imported, with which one registers things."""
    return any(f"vqa_explain.{part}" in sys.modules for part in parts)


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def _models() -> dict[str, Any]:
    from vqa_explain.methods import METHODS
    from vqa_explain.models.families import FAMILIES
    from vqa_explain.models.loading import SHIPPED

    families = {}
    for name, family in FAMILIES.items():
        able = family.capabilities
        works = [m for m, cls in METHODS.items() if cls.needs <= able and m not in family.refuses]
        families[name] = {
            "about": family.about,
            "capabilities": sorted(able),
            "works": works,
            "refuses": [m for m in METHODS if m not in works],
            "note": family.note,
        }
    return {"shipped": {name: s.about for name, s in SHIPPED.items()}, "families": families}
