"""Methods and metrics are found by their files,
and state their facts in one call that checks them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from unittest.mock import patch

import pytest

import vqa_explain as vx
from vqa_explain.methods import METHODS
from vqa_explain.metrics import METRICS

PACKAGE = Path(vx.__file__).parent
METHOD_FACTS: dict[str, Any] = {"source": "ours", "error": "none", "cost": "nothing"}
METRIC_FACTS: dict[str, Any] = {"source": "ours", "better": "higher", "range": "0 … 1"}

NEW_METHOD = '''
from dataclasses import dataclass
from vqa_explain.methods.base import register_method

@register_method("found_method", source="ours", error="none", cost="nothing")
@dataclass(frozen=True)
class Found:
    """A new method."""
'''
NEW_METRIC = '''
from dataclasses import dataclass
from vqa_explain.metrics.base import register_metric

@register_metric("found_metric", source="ours", better="neither", range="any")
@dataclass(frozen=True)
class Found:
    """A new metric."""
'''
LIST_NAMES = (
    "import vqa_explain.metrics as k, vqa_explain.methods as m; print(*m.METHODS, *k.METRICS)"
)


@pytest.fixture(autouse=True)
def registers_stay() -> Iterator[None]:
    with patch.dict(METHODS), patch.dict(METRICS):
        yield


@dataclass(frozen=True)
class Half:
    """A class to be registered; each test has a fresh subclass of it."""

    share: float = 0.5

    def __call__(self, asked: Any) -> Any:
        return self.share


def fresh() -> type[Any]:
    """A dataclass that nobody has registered."""

    @dataclass(frozen=True)
    class Fresh(Half):
        """A class to be registered."""

    return Fresh


@pytest.mark.slow
def test_a_new_file_is_found_and_nothing_else_is_edited(tmp_path: Path) -> None:
    copy = tmp_path / "vqa_explain"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__", "data"))
    (copy / "methods" / "zz_new.py").write_text(NEW_METHOD)
    (copy / "metrics" / "aa_new.py").write_text(NEW_METRIC)
    listed = subprocess.run(
        [sys.executable, "-c", LIST_NAMES],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert listed.returncode == 0, listed.stderr
    # Files are read by the order of their names, and the others' order stays.
    shipped = [name for name, cls in METHODS.items() if cls.__module__.startswith("vqa_explain.")]
    judges = [name for name, cls in METRICS.items() if cls.__module__.startswith("vqa_explain.")]
    assert listed.stdout.split() == [*shipped, "found_method", "found_metric", *judges]


def test_facts_become_attributes_and_the_rest_has_defaults() -> None:
    method = vx.register_method("half", **METHOD_FACTS)(fresh())
    assert (method.name, method.source, method.error, method.cost) == (
        "half",
        "ours",
        "none",
        "nothing",
    )
    assert (method.unit, method.needs) == ("no unit", frozenset())
    assert METHODS["half"] is method
    metric = vx.register_metric("half", needs=["truth"], **METRIC_FACTS)(fresh())
    assert (metric.name, metric.source, metric.better, metric.range) == (
        "half",
        "ours",
        "higher",
        "0 … 1",
    )
    assert (metric.judges, metric.needs) == ("explanation", frozenset({"truth"}))
    assert METRICS["half"] is metric
    made: Any = method
    assert made() == made(0.5)  # facts are no parameters


def test_everything_registered_states_every_fact_on_its_own_class() -> None:
    texts = {
        "method": ("name", "unit", "source", "error", "cost"),
        "metric": ("name", "source", "better", "range", "judges"),
    }
    for kind, known in (("method", METHODS), ("metric", METRICS)):
        assert known
        for name, cls in known.items():
            own = vars(cls)
            assert own["name"] == name
            assert all(isinstance(own[fact], str) and own[fact] for fact in texts[kind]), name
            assert isinstance(own["needs"], frozenset), name


WITHOUT_SOURCE: dict[str, Any] = {"error": "none", "cost": "nothing"}


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (WITHOUT_SOURCE, 'does not say its source; add source="…" to @register_method'),
        ({}, "does not say its source, error, cost"),
        ({**METHOD_FACTS, "sorce": "ours"}, "unknown fact of method 'half': 'sorce'; did you"),
        ({**METHOD_FACTS, "better": "higher"}, "unknown fact of method 'half': 'better'"),
        ({**METHOD_FACTS, "source": " "}, "source of method 'half' must be a text"),
        ({**METHOD_FACTS, "unit": None}, "unit of method 'half' must be a text"),
        ({**METHOD_FACTS, "needs": "pixels"}, "needs of method 'half' must be a set"),
        ({**METHOD_FACTS, "needs": None}, "needs of method 'half' must be a set"),
        ({**METHOD_FACTS, "needs": [["pixels"]]}, "unknown need of method 'half': a list"),
        ({**METHOD_FACTS, "needs": {"gradient"}}, "unknown need of method 'half': 'gradient'; did"),
    ],
)
def test_a_methods_facts_are_checked(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(vx.InvalidInput) as caught:
        vx.register_method("half", **facts)
    assert said in str(caught.value)
    assert "half" not in METHODS


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({"source": "ours", "range": "any"}, "does not say its better; add better="),
        ({**METRIC_FACTS, "better": "highest"}, "better of metric 'half': 'highest'; did you mean"),
        ({**METRIC_FACTS, "judges": "explanations"}, "judges of metric 'half': 'explanations'"),
        ({**METRIC_FACTS, "judges": ["answer"]}, "judges of metric 'half' must be a text"),
        ({**METRIC_FACTS, "needs": {"truht"}}, "unknown need of metric 'half': 'truht'; did you"),
        ({**METRIC_FACTS, "unit": "points"}, "unknown fact of metric 'half': 'unit'"),
    ],
)
def test_a_metrics_facts_are_checked(facts: dict[str, Any], said: str) -> None:
    with pytest.raises(vx.InvalidInput) as caught:
        vx.register_metric("half", **facts)
    assert said in str(caught.value)
    assert "half" not in METRICS


@pytest.mark.parametrize("name", ["", "two words", "half:share=1", 3])
def test_a_name_that_nobody_could_ask_for(name: Any) -> None:
    with pytest.raises(vx.InvalidInput, match="without spaces and colons"):
        vx.register_method(name, **METHOD_FACTS)


@pytest.mark.parametrize(
    ("register", "form"),
    [
        (vx.register_method, '@register_method("name", source="…", error="…", cost="…")'),
        (vx.register_metric, '@register_metric("name", source="…", better="…", range="…")'),
    ],
)
def test_the_bare_form_of_before_is_answered_with_the_new_one(register: Any, form: str) -> None:
    with pytest.raises(vx.InvalidInput) as caught:
        register(fresh())
    assert f"class Fresh is registered without its facts; write {form} above" in str(caught.value)


def test_a_name_is_taken_once_but_a_cell_may_run_again() -> None:
    vx.register_method("half", **METHOD_FACTS)(fresh())
    again = vx.register_method("half", **METHOD_FACTS)(fresh())
    assert METHODS["half"] is again
    for name in ("half", "saliency"):

        @dataclass(frozen=True)
        class Other(Half):
            """Another class."""

        with pytest.raises(vx.InvalidInput, match=f"a method named '{name}' already"):
            vx.register_method(name, **METHOD_FACTS)(cast(Any, Other))
    assert METHODS["half"] is again


def test_a_class_must_be_a_dataclass_itself() -> None:
    class Undecorated(Half):
        steps: int = 3

    for cls in (Undecorated, type("Plain", (), {})):
        with pytest.raises(vx.InvalidInput, match=f"{cls.__name__} must be a dataclass; write"):
            vx.register_metric("half", **METRIC_FACTS)(cls)


def test_a_fact_cannot_also_be_a_parameter_or_an_attribute() -> None:
    @dataclass(frozen=True)
    class WithParameter(Half):
        range: int = vx.parameter(3, "how far", low=1)

    @dataclass(frozen=True)
    class WithAttribute(Half):
        source = "theirs"

    for cls, fact in ((WithParameter, "range"), (WithAttribute, "source")):
        with pytest.raises(vx.InvalidInput, match=f"has {fact} of its own"):
            vx.register_metric("half", **METRIC_FACTS)(cls)
    assert "half" not in METRICS


def test_a_metric_of_a_whole_data_set_is_refused_since_no_job_would_compute_it() -> None:
    with pytest.raises(vx.InvalidInput, match="'half' judges a data set"):
        vx.register_metric("half", **METRIC_FACTS, judges="data set")(fresh())
