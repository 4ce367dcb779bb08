"""Lists of methods, metrics and models: told without torch, and as the classes state them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

# Runs a command, and says which large packages it brought.
WATCHED = """
import json, sys
from vqa_explain.shell import app
sys.argv = ["vqa-explain", *{arguments}]
try:
    app.main()
finally:
    brought = [name for name in ("torch", "transformers", "pandas") if name in sys.modules]
    print(json.dumps(brought), file=sys.stderr)
"""
OWN = """
from dataclasses import dataclass
import vqa_explain as vx

@vx.register_method("of_mine", source="ours", error="none", cost="nothing")
@dataclass(frozen=True)
class Mine:
    '''Nothing.'''

    def __call__(self, task):
        raise NotImplementedError
"""


def run(*arguments: str) -> tuple[str, list[str], int]:
    """What a command printed, which large packages it brought, and its exit code."""
    code = WATCHED.format(arguments=list(arguments))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    return done.stdout, json.loads(done.stderr.splitlines()[-1]), done.returncode


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ("methods",),
        ("methods", "shapley"),
        ("methods", "--json"),
        ("metrics",),
        ("metrics", "deletion", "--json"),
        ("models",),
        ("models", "--json"),
    ],
)
def test_lists_bring_no_large_package(arguments: tuple[str, ...]) -> None:
    printed, brought, code = run(*arguments)
    assert code == 0
    assert len(printed) > 200
    assert brought == []


def test_a_name_that_is_none_is_told_without_torch() -> None:
    _, brought, code = run("methods", "shaply")
    assert code == 2
    assert brought == []


@pytest.mark.slow
def test_what_a_file_of_the_users_registers_is_listed(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    path.write_text(OWN)
    printed, _, code = run("--use", str(path), "methods", "--json")
    assert code == 0
    assert {"shapley", "of_mine"} <= {row["name"] for row in json.loads(printed)}


# In a process of its own, since other tests register things.
SAME = """
from rich.console import Console
from vqa_explain.shell import facts
from vqa_explain.shell.evaluation_tables import metrics_tables
from vqa_explain.shell.tables import methods_tables, models_tables

def printed():
    tables = models_tables()
    for name in (None, "shapley", "saliency"):
        tables += methods_tables(name)
    for name in (None, "deletion"):
        tables += metrics_tables(facts.listed_metrics(name), name)
    console = Console(width=200, no_color=True)
    with console.capture() as caught:
        for table in tables:
            console.print(table)
    return caught.get()

assert facts.PATH.read_text(encoding="utf-8") == facts.stated()
by_classes = printed()
facts._is_imported = lambda *_: False
assert printed() == by_classes
print(len(by_classes))
"""


@pytest.mark.slow
def test_what_is_kept_is_what_the_classes_state() -> None:
    done = subprocess.run([sys.executable, "-c", SAME], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000
