"""Files are written whole, where they belong, with the permissions that people expect."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from vqa_explain.errors import InvalidInput
from vqa_explain.files import write_atomically


@pytest.fixture(params=[0o022, 0o002, 0o077, 0o027, 0o000], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_file_has_the_permissions_of_the_umask(tmp_path: Path, umask: int) -> None:
    write_atomically(tmp_path / "new", b"x")
    (tmp_path / "plain").write_bytes(b"x")
    assert mode_of(tmp_path / "new") == mode_of(tmp_path / "plain") == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o664, 0o440, 0o755], ids=oct)
def test_a_file_that_is_there_keeps_its_permissions(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "there"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", mode)


@pytest.mark.parametrize("kind", ["absolute", "relative", "two links", "dangling", "of a folder"])
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path, kind: str) -> None:
    target, link = tmp_path / "folder" / "target", tmp_path / "link"
    target.parent.mkdir()
    if kind != "dangling":
        target.write_bytes(b"old")
    if kind == "two links":
        (tmp_path / "between").symlink_to(target)
        link.symlink_to("between")
    elif kind == "of a folder":
        (tmp_path / "there").symlink_to(target.parent)
        link = tmp_path / "there" / "target"
    else:
        link.symlink_to(Path("folder", "target") if kind == "relative" else target)
    assert write_atomically(link, b"new") == link
    assert target.read_bytes() == link.read_bytes() == b"new"
    assert link.is_symlink() == (kind != "of a folder")
    assert {path.name for path in tmp_path.rglob("*")} <= {
        "folder", "target", "link", "between", "there"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a link to a device", "a loop"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "path"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/dev/null" if kind == "a link to a device" else "path")
    before = path.lstat()
    with pytest.raises(InvalidInput, match="cannot be written"):
        write_atomically(path, b"x")
    assert path.lstat().st_ino == before.st_ino
    assert list(tmp_path.iterdir()) == [path]
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("name", ["a" * 250, "é" * 120, "🟥" * 60])
def test_a_name_as_long_as_names_may_be(tmp_path: Path, name: str) -> None:
    assert write_atomically(tmp_path / name, b"x").read_bytes() == b"x"
    assert len(list(tmp_path.iterdir())) == 1
