"""What the shell prints acts on no terminal, can be written by every terminal, and ends in one
sentence where nothing can be written.
"""

import errno
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from building import explanation
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

import vqa_explain as vx
from vqa_explain.cost import Cost
from vqa_explain.features.parts import RegionValue, TokenValue, WordValue
from vqa_explain.shell import app, terminal
from vqa_explain.shell.tables import explanation_tables
from vqa_explain.target import Answer

HOSTILE = {
    "clears the screen": "\x1b[2J\x1b[H",
    "colors": "\x1b[31mred",
    "a title": "\x1b]0;owned\x07",
    "a link": "\x1b]8;;http://x\x1b\\here\x1b]8;;\x1b\\",
    "a clipboard": "\x1b]52;c;eA==\x07",
    "one byte controls": "\x9b2J\x9d0;x\x9c\x85",
    "overwrites": "a\rb\x08c\x7f",
    "turns": "\u202eevil\u2066\u2069",
    "shifts": "\x0e\x0f\x00",
    "half a character": "\ud800",
}
MARKUP = {
    "bold": "[bold]x[/bold]",
    "ends": "[/INST]",
    "links": "[link=http://x]x[/link]",
    "emoji": ":smile:",
    "a function": "[@click=app.bell]x[/]",
    "a backslash": "\\[bold]",
}
# Sequences of rich's own: colors and their end.
OWN = re.compile(r"\x1b\[[0-9;]*m")


def why(text: str) -> vx.Explanation:
    """An explanation in which every text is this one."""
    return explanation(
        question=text,
        picture=np.zeros((4, 4, 3), np.uint8),
        image=np.zeros((4, 4)),
        labels=np.zeros((4, 4), np.int32),
        regions=(RegionValue((0, 0, 4, 4), 0.5, 0.1),),
        words=(WordValue(text, 0, len(text), 1.0, 0.1),),
        tokens=(TokenValue(text, 0, False, 1.0),),
        answers=(Answer(text, 0.9, 0), Answer("b", 0.1, 1)),
        target=text,
        contrast=None,
        score="logit",
        share={"image": 0.4, "question": 0.6},
        error=None,
        error_kind=text,
        cost=Cost(),
        method="saliency",
        parameters={},
        provenance={"model": text, "seed": 0, "target_index": 0},
        notes=(text,),
    )


def printed(text: str, color: bool) -> str:
    sink = io.StringIO()
    console = terminal.console()
    console.file = sink
    console.width = 200
    console._force_terminal, console._color_system = color, None
    for table in explanation_tables(why(text)):
        console.print(table)
    console.print(text)
    console.print(text, markup=False)
    return sink.getvalue()


def acts(text: str) -> list[str]:
    """The characters that do anything but print."""
    left = OWN.sub("", text)
    return [c for c in left if ord(c) in terminal._VISIBLE]


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_acts_on_the_terminal(kind: str) -> None:
    assert acts(printed(f"a{HOSTILE[kind]}b", True)) == []
    assert "\x1b" not in printed(f"a{HOSTILE[kind]}b", False)


@pytest.mark.parametrize("kind", MARKUP)
def test_markup_is_shown_as_it_is(kind: str) -> None:
    sink = io.StringIO()
    console = terminal.console()
    console.file, console.width = sink, 200
    for table in explanation_tables(why(MARKUP[kind])):
        console.print(table)
    assert sink.getvalue().count(MARKUP[kind]) >= 4


@given(st.text(st.characters(codec=None), max_size=40))
@settings(max_examples=200, deadline=None)
def test_what_is_made_visible_does_not_act(text: str) -> None:
    shown = terminal.visible(text)
    assert acts(shown) == []
    shown.encode()
    if not acts(text):
        assert shown == text


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437", "utf-8", "cp1252"])
def test_every_terminal_can_write_every_text(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with terminal.written_whole():
        print("“red” 0.5 ± 0.1 … → é 红 🟥 \ud800")
    shown = raw.getvalue().decode(encoding)
    if encoding == "ascii":
        assert shown == '"red" 0.5 +- 0.1 ... -> \\xe9 \\u7ea2 \\U0001f7e5 \\ud800\n'
    assert "red" in shown


def run(*arguments: Any, **more: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "vqa_explain.shell.app", *map(str, arguments)]
    return subprocess.run(
        command, stderr=subprocess.PIPE, text=True, timeout=1200, check=False, **more
    )


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--version", "methods"])
def test_a_full_disk_is_one_sentence(command: str) -> None:
    with open("/dev/full", "w") as full:
        done = run(*command.split(), stdout=full)
    assert done.stderr.strip().splitlines() == [
        "vqa-explain: the result cannot be written: No space left on device; make room, or write "
        "elsewhere"
    ]
    assert done.returncode == 2


@pytest.mark.slow
@pytest.mark.parametrize("command", ["methods"])
def test_a_reader_that_has_gone_away_is_no_error(command: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = run(*command.split(), stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


@pytest.mark.slow
@pytest.mark.parametrize("command", ["--help", "models"])
@pytest.mark.parametrize("encoding", ["ascii"])
def test_a_terminal_of_few_characters_shows_every_list(command: str, encoding: str) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = run(*command.split(), stdout=subprocess.PIPE, env=environment, encoding=encoding)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(done.stdout) > 200


WRITING: dict[str, Callable[[str], list[str]]] = {
    "a file that is not there": lambda text: ["view", f"{text}.vqax"],
    "a folder that is not there": lambda text: ["report", f"{text}"],
    "a method that is not there": lambda text: ["methods", text],
    "a command that is not there": lambda text: [text],
    "an option that is not there": lambda text: [f"--{text}"],
}


@pytest.mark.filterwarnings("ignore:Cyclopts application invoked")
@pytest.mark.parametrize("kind", WRITING)
def test_a_mistake_with_hostile_text_acts_on_no_terminal(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["vqa-explain", *WRITING[kind]("a\x1b[2J\x9b[/b]\u202e")])
    with pytest.raises(SystemExit) as caught:
        app.main()
    told = capsys.readouterr()
    assert caught.value.code == 2
    assert acts(told.out + told.err) == []
    assert told.err.startswith("vqa-explain: ")


@pytest.mark.parametrize("name", ["cyclopts", "rich", "vqa_explain.shell.app"])
def test_ctrl_c_while_the_command_starts_is_one_line(name: str) -> None:
    """It says one line at most. Imports take most of that time."""
    code = f"""
import sys

class Interrupting:
    def find_spec(self, name, *rest):
        if name.startswith({name!r}):
            sys.meta_path.remove(self)
            raise KeyboardInterrupt

sys.meta_path.insert(0, Interrupting())
sys.argv = ["vqa-explain", "methods"]
from vqa_explain.shell.start import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 130
    # Where cyclopts itself is at work, it says nothing.
    assert done.stderr in ("", "vqa-explain: stopped\n")


def test_the_command_imports_next_to_nothing_before_it_begins() -> None:
    """What is imported before, Ctrl-C ends with a traceback."""
    load = "before = set(sys.modules); import vqa_explain.shell.start"
    code = f"import sys; {load}; print(*before ^ {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0
    loaded = {one for one in done.stdout.split() if not one.startswith("vqa_explain")}
    assert loaded.isdisjoint({"importlib.metadata", "cyclopts", "rich", "json", "numpy", "email"})


def test_a_figure_is_written_whole_or_not_at_all(
    tmp_path: Path, linear: Any, picture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    why = vx.explain(linear, picture, method="saliency")
    path, link = tmp_path / "why.png", tmp_path / "link.png"
    link.symlink_to(path)
    app._write(why, link)
    assert link.is_symlink()
    before = path.read_bytes()

    def fails(figure: Any, sink: Any, **_: Any) -> None:
        with open(sink, "wb") if isinstance(sink, Path) else nullcontext(sink) as file:
            file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(OSError, match="No space"):
        app._write(why, link)
    assert path.read_bytes() == before
