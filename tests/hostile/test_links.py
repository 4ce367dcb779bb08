"""Pipes, devices and links in place of files, as a stranger's folder or archive may hold them."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from guard import answered_or_refused, refused

import vqa_explain as vx
from vqa_explain.models.api.kept import KeptAnswers
from vqa_explain.shell.app import main

Run = tuple[vx.Report, Callable[[Path], vx.Report]]
OF_A_RUN = (
    "lock",
    "plan.json",
    "shards/examples-000001.parquet",
    "shards/old-examples-000001.parquet",
    "explanations/x.vqax",
    "gallery/best-0000001.vqax",
    "report.html",
    "viewer.html",
)
PRECIOUS = b"precious"


@contextmanager
def never_waiting() -> Iterator[None]:
    """Inside, what waits without end ends in an error."""

    def late(*_: Any) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def put(kind: str, path: Path) -> None:
    """A pipe, a folder, or a link to something, in place of a file."""
    path.unlink(missing_ok=True)
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    else:
        path.symlink_to(kind)


@pytest.mark.parametrize("kind", ["pipe", "folder", "loop", "/dev/null", "/dev/full", "/no/where"])
@pytest.mark.parametrize("name", OF_A_RUN)
def test_what_is_no_file_in_a_runs_folder_is_made_again_or_named(
    finished: Run, tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished[0].folder, folder)
    put(kind, folder / name)

    def report() -> vx.Report:
        found = vx.Report(folder)
        found.to_html(tmp_path / "report.html")
        return found

    with never_waiting():
        before = answered_or_refused(report, f"{folder}|shard")
        after = answered_or_refused(lambda: finished[1](folder), f"{folder}|shard")
    assert before is None or len(before.frame()) <= len(finished[0].frame())
    assert after is None or after.frame().equals(finished[0].frame())


@pytest.mark.parametrize("name", OF_A_RUN)
def test_a_link_in_a_runs_folder_leads_to_no_file_that_is_written(
    finished: Run, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, other = tmp_path / "run", tmp_path / "precious"
    shutil.copytree(finished[0].folder, folder)
    other.write_bytes(PRECIOUS)
    put(str(other), folder / name)
    answered_or_refused(lambda: finished[1](folder), f"{folder}|shard")
    for command in ("report", "view"):
        monkeypatch.setattr("sys.argv", ["vqa-explain", command, str(folder)])
        with pytest.raises(SystemExit):
            main()
    assert other.read_bytes() == PRECIOUS


@pytest.mark.parametrize("kind", ["pipe", "folder", "/dev/full"])
@pytest.mark.parametrize("name", ["a.csv", "a.json", "a.jsonl", "a.parquet", "a.vqax", "a.png"])
def test_what_is_no_file_is_not_read(tmp_path: Path, name: str, kind: str, linear: Any) -> None:
    path = tmp_path / name
    put(kind, path)
    doors: dict[str, Callable[[Path], Any]] = {
        ".vqax": vx.load_explanation,
        ".png": lambda one: vx.explain(linear, one, method="saliency"),
    }
    with never_waiting():
        refused(lambda: doors.get(path.suffix, vx.load_dataset)(path), name)


@pytest.mark.parametrize("kind", ["pipe", "/dev/full"])
@pytest.mark.parametrize(
    "name", ["config.json", "preprocessor_config.json", "tokenizer.json", "model.safetensors"]
)
def test_what_is_no_file_in_a_checkpoint_is_named(
    folders: Callable[[str], Path], tmp_path: Path, name: str, kind: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(folders("vilt"), folder)
    put(kind, folder / name)
    with never_waiting():
        refused(lambda: vx.load(folder, device="cpu"), f"holds '{name}', which is a pipe or a dev")


def test_answers_that_cannot_be_kept_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """They are paid for, so that they are not lost with an error."""
    kept = KeptAnswers(tmp_path / "kept")
    (tmp_path / "kept" / "ab").write_text("a file in place of a folder")
    kept.put("abcdef", {"answer": "red"})
    assert "the answer cannot be kept" in caplog.text
    assert kept.get("abcdef") is None
