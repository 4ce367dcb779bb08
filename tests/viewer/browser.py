"""A headless Chromium, and notebook servers that it looks at."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

CHROMIUM = (
    shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
)
REQUIRED = os.environ.get("VQA_EXPLAIN_REQUIRE_BROWSER") == "1"


@contextmanager
def opened_browser() -> Iterator[Browser]:
    """Playwright's browser; the test is skipped, or fails where one is required,
    if there is none.
    """
    if CHROMIUM is None:
        if REQUIRED:
            pytest.fail("VQA_EXPLAIN_REQUIRE_BROWSER=1 and there is no chromium; install it")
        pytest.skip(
            "no chromium on this machine; VQA_EXPLAIN_REQUIRE_BROWSER=1 makes that a failure"
        )
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def watched_page(browser: Browser, **settings: Any) -> Iterator[tuple[Page, list[Any]]]:
    """A page, and what went wrong in it: errors, and requests that leave the machine."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 1000}, **settings})
    page, wrong = context.new_page(), []
    page.on("pageerror", lambda error: wrong.append(f"error: {error}"))
    page.on("console", lambda m: wrong.append(f"console: {m.text}") if m.type == "error" else None)
    page.on(
        "request",
        lambda r: (
            None
            if r.url.startswith(("file:", "blob:", "data:", "http://127.0.0.1", "ws://127.0.0.1"))
            else wrong.append(r.url)
        ),
    )
    try:
        yield page, wrong
        keep_screenshot(page)
    finally:
        context.close()


def keep_screenshot(page: Page, part: str = "") -> None:
    """A picture of the page, named by the running test,
    in the folder that VQA_EXPLAIN_SCREENSHOTS names, if it does.
    """
    folder = os.environ.get("VQA_EXPLAIN_SCREENSHOTS")
    if folder:
        name = re.sub(
            r"\W+", "-", os.environ["PYTEST_CURRENT_TEST"].split("::")[-1].split(" ")[0] + part
        )[:100]
        page.screenshot(path=str(Path(folder) / f"{name}.png"))


def add_column(page: Page, example: int) -> None:
    """Sets another explanation of a page beside the one on the screen."""
    page.get_by_label("compare with").select_option(
        json.dumps({"example": example}).replace(" ", "")
    )


def axe_problems(page: Any, folder: Any, within: str = "body") -> Any:
    """What axe-core finds: [rule, elements]; the test is skipped where npm cannot get it."""
    script = folder / "node_modules/axe-core/axe.min.js"
    command = ["npm", "install", "--silent", "--prefix", str(folder), "axe-core@4"]
    done = subprocess.run(command, capture_output=True, text=True)
    if not script.exists():
        pytest.skip(f"axe-core cannot be had: {done.stderr[:200]}")
    page.add_script_tag(path=str(script))
    return page.evaluate(
        "async (within) => (await axe.run(within)).violations.map(v => [v.id, v.nodes.map(n => "
        "n.html.slice(0, 120))])",
        within,
    )


def free_port() -> Any:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextmanager
def notebook_server(application: Any, folder: Any) -> Iterator[str]:
    """JupyterLab ("lab") or Notebook 7 ("notebook") over a folder; gives its address."""
    port = free_port()
    own = {
        "JUPYTER_CONFIG_DIR": str(folder / ".config"),
        "JUPYTER_DATA_DIR": str(folder / ".data"),
        "HF_HUB_OFFLINE": "1",
    }
    expose = {
        "lab": "--LabApp.expose_app_in_browser=True",
        "notebook": "--JupyterNotebookApp.expose_app_in_browser=True",
    }
    command = [
        sys.executable, "-m", "jupyter", application, "--no-browser", "--allow-root", f"--port={port}", "--ip=127.0.0.1",
        "--ServerApp.token=", "--ServerApp.password=", "--ServerApp.disable_check_xsrf=True", expose[application],
        f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    paths = os.pathsep.join([os.path.dirname(sys.executable), os.environ["PATH"]])
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **own, "PATH": paths}, stdout=log, stderr=log
        )
    try:
        while server.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api", timeout=2)
                break
            except OSError:
                time.sleep(0.25)
        else:
            pytest.fail(f"the server did not start: {(folder / 'server.log').read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(600)


def write_notebook(path: Path, *cells: Any) -> None:
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    body = [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": f"c{i}",
            "metadata": {},
            "outputs": [],
            "source": cell,
        }
        for i, cell in enumerate(cells)
    ]
    path.write_text(
        json.dumps(
            {"cells": body, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
        )
    )


def run_all(page: Any, address: Any, application: Any, name: str) -> None:
    """Opens a notebook, waits for its kernel, and runs all cells without waiting for them."""
    where = {"lab": f"{address}/lab/tree/{name}", "notebook": f"{address}/notebooks/{name}"}[
        application
    ]
    page.goto(where)
    page.wait_for_function(
        "window.jupyterapp && window.jupyterapp.shell.currentWidget", timeout=600_000
    )
    page.wait_for_function(
        "() => "
        "window.jupyterapp.shell.currentWidget?.context?.sessionContext?.session?.kernel?.connectionStatus === 'connected'",
        timeout=600_000,
    )
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
