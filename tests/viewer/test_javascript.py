"""The viewer's modules under node's test runner, and joined as a page gets them."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from vqa_explain.viewer.bundle import MODULES, STATIC, script

HERE = Path(__file__).parent


def node(*arguments: Any) -> subprocess.CompletedProcess[str]:
    if shutil.which("node") is None:
        pytest.skip("no node on this machine")
    return subprocess.run(
        ["node", *map(str, arguments)], capture_output=True, text=True, timeout=1200
    )


@pytest.mark.slow
def test_pure_modules_pass_their_own_tests() -> None:
    done = node("--test", *sorted((HERE / "js").glob("*.test.mjs")))
    assert done.returncode == 0, done.stdout[-3000:]


@pytest.mark.parametrize("entry", ["widget", "page"])
def test_the_joined_modules_are_one_valid_module(entry: str, tmp_path: Path) -> None:
    joined = script(entry)
    assert not any(line.startswith("import ") for line in joined.splitlines())
    (tmp_path / "joined.mjs").write_text(joined)
    done = node("--check", tmp_path / "joined.mjs")
    assert done.returncode == 0, done.stderr


def test_every_module_is_small_and_known() -> None:
    files = {path.stem: path.read_text().splitlines() for path in STATIC.glob("*.js")}
    assert set(files) == {*MODULES, "widget", "page"}
    assert max(map(len, files.values())) < 400
