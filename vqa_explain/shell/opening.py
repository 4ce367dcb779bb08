"""`vqa-explain open`: the live viewer in a browser, served by marimo."""

import importlib.util
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from vqa_explain.errors import InvalidInput
from vqa_explain.shell.evaluation import load_settings

REMEDY = (
    "the live viewer is served by marimo, which is not installed: "
    'pip install "vqa_explain[open]"; or write a page: vqa-explain view FILES'
)
APP = """import marimo

app = marimo.App(width="full", app_title={title!r})


@app.cell
def _():
    import marimo
    import vqa_explain

{lines}
    marimo.ui.anywidget(viewer)
    return


if __name__ == "__main__":
    app.run()
"""


def app_of(
    model: str, data: str, count: int, method: str | None, settings: dict[str, object]
) -> str:
    """The text of a marimo app that shows one viewer. Names are written as Python literals, so
    that none is taken for code.
    """
    chosen = {} if method is None else {"method": method}
    lines = [
        f"model = vqa_explain.load({model!r}, **{settings!r})",
        f"examples = vqa_explain.load_dataset({data!r})",
        f"viewer = vqa_explain.Viewer(model, examples, count={count!r}, **{chosen!r})",
    ]
    return APP.format(title=f"{model} on {data}", lines="\n".join(f"    {line}" for line in lines))


def app_of_run(run: Path) -> str:
    """The same of a finished run."""
    lines = [f"viewer = vqa_explain.Viewer(vqa_explain.Report({str(run.resolve())!r}))"]
    return APP.format(title=run.name, lines="\n".join(f"    {line}" for line in lines))


def open_(
    run: Path | None = None,
    /,
    *,
    model: str | None = None,
    data: str | None = None,
    count: int = 50,
    method: str | None = None,
    port: int | None = None,
    headless: bool = False,
    load: Annotated[list[str] | None, Parameter(consume_multiple=True)] = None,
) -> None:
    """Open the live viewer in the browser, without Jupyter. It ends with Ctrl-C.

    Args:
        run: the folder of a finished run of a model and data set that load by their names; else
            give --model and --data.
        model: a shipped model, a hub id or a folder.
        data: a data set, as scenes:test, or the path of a table.
        count: how many examples, from the first.
        method: the method at first; by default the one of `explain`.
        port: of 127.0.0.1, the only address that is served; by default a free one.
        headless: do not open a browser; the address is printed.
        load: how the model is loaded, as name=value.
    """
    if (run is None) == (model is None or data is None):
        raise InvalidInput("name a model and a data set (--model NAME --data NAME), or one run")
    if count < 1:
        raise InvalidInput(f"--count must be at least 1, not {count}")
    if importlib.util.find_spec("marimo") is None:
        raise InvalidInput(REMEDY)
    if run is not None:
        from vqa_explain.evaluation.report import Report

        Report(run)  # a folder that holds none is refused here
        text = app_of_run(run)
    else:
        text = app_of(str(model), str(data), count, method, load_settings(load))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "viewer.py"
        path.write_text(text, encoding="utf-8")
        # A terminated command ends the server too, as Ctrl-C does.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        raise SystemExit(subprocess.run(command_of(path, port, headless), check=False).returncode)


def command_of(path: Path, port: int | None, headless: bool) -> list[str]:
    """How marimo serves an app, to this machine alone."""
    command = [sys.executable, "-m", "marimo", "run", str(path), "--host", "127.0.0.1"]
    return [
        *command,
        *([] if port is None else ["--port", str(port)]),
        *(["--headless"] if headless else []),
    ]
