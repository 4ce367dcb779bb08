"""`vqa-explain open`: what is served, to whom, and what is said where it cannot be."""

import ast
import importlib.util
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import vqa_explain as vx
from vqa_explain.shell.opening import app_of, app_of_run, command_of, open_

sys.path.insert(0, str(Path(__file__).parent / "viewer"))
from browser import free_port, opened_browser, watched_page

HOSTILE = ['x"); import os; os.abort() #', "a\nb", "\\", "{model}", "''' + 1 + '''", "ü 日本"]


@pytest.mark.parametrize("name", HOSTILE)
def test_names_are_text_and_never_code(name: str) -> None:
    text = app_of(name, name, 3, name, {"device": name})
    calls = [one for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Call)]
    named = [ast.unparse(one.func) for one in calls]
    assert sorted(named) == sorted(
        [
            "marimo.App",
            "vqa_explain.load",
            "vqa_explain.load_dataset",
            "vqa_explain.Viewer",
            "marimo.ui.anywidget",
            "app.run",
        ]
    )
    held = [one.value for one in ast.walk(ast.parse(text)) if isinstance(one, ast.Constant)]
    assert held.count(name) == 4
    compile(app_of_run(Path(name.replace("\n", " "))), "app", "exec")


def test_only_this_machine_is_served() -> None:
    command = command_of(Path("viewer.py"), 7, headless=True)
    assert command[1:4] == ["-m", "marimo", "run"]
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "7"
    assert "--headless" in command
    assert "--port" not in command_of(Path("viewer.py"), None, headless=False)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "name a model and a data set"),
        ({"model": "scenes"}, "name a model and a data set"),
        ({"model": "scenes", "data": "scenes:test", "count": 0}, "at least 1"),
        ({"model": "scenes", "data": "scenes:test"}, r"pip install .vqa_explain\[open\]"),
    ],
)
def test_what_cannot_be_opened_is_refused(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, Any], said: str
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(vx.InvalidInput, match=said):
        open_(**given)


@pytest.mark.slow
def test_the_live_viewer_opens_without_jupyter() -> None:
    if importlib.util.find_spec("marimo") is None:
        pytest.skip("marimo is not installed: the extra vqa_explain[open]")
    port = free_port()
    main = "from vqa_explain.shell.app import main; main()"
    asked = ["open", "--model", "scenes", "--data", "scenes:test", "--count", "3"]
    where = ["--method", "saliency", "--port", str(port), "--headless"]
    # In an environment of pytest's, marimo runs cells as tests.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    server = subprocess.Popen(
        [sys.executable, "-c", main, *asked, *where],
        env={**own, "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while server.poll() is None:  # pytest's timeout ends a hang
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
                break
            except OSError:
                time.sleep(0.25)
        with opened_browser() as browser, watched_page(browser) as (page, _):
            page.goto(f"http://127.0.0.1:{port}")
            page.wait_for_selector('[data-ready="0"]', timeout=600_000)
            page.locator(".vx-entry").nth(2).click()
            page.wait_for_selector('[data-ready="2"]', timeout=600_000)
            page.locator('[data-word="1"]').click()  # the kernel answers
            page.wait_for_selector(".vx-change", timeout=600_000)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(600)
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5)
