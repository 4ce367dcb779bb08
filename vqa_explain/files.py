"""Files that are written whole or not at all."""

import errno
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from vqa_explain._shown import shown
from vqa_explain.errors import InvalidInput, unwritable


def path_of(given: Any) -> Path:
    """A path that a user gave.

    Raises:
        InvalidInput: it is no text and no path.
    """
    try:
        return Path(given)
    except TypeError as error:
        raise InvalidInput(
            f"a path is a text or a pathlib.Path, not {shown(given)} of type {type(given).__name__}"
        ) from error


def write_atomically(path: str | os.PathLike[str], content: bytes) -> Path:
    """Writes a file whole or not at all.

    A new file has the permissions that the umask leaves, one that is there keeps its own. A
    symbolic link stays, and what it points to is written.

    Raises:
        InvalidInput: the folder is missing or cannot be written, or there is a folder or device of
            this name; or the path is none.
    """
    path = path_of(path)
    try:
        target = Path(os.path.realpath(path))
        mode = _mode_of(target)
        # A long name must not become too long by what is put around it.
        name = target.with_name(f".{target.name[:40]}.{secrets.token_hex(8)}")
        handle = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                if mode is not None:
                    os.fchmod(handle, mode)
                os.fsync(handle)
            os.replace(name, target)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return path


def check_is_file(path: str | os.PathLike[str]) -> None:
    """Refuses what is there in place of a file: a pipe or a device may be read without end.

    Raises:
        OSError: there is no file, or something else.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise OSError(errno.EINVAL, "it is a folder, a pipe or a device, and no file")


def without_link(path: Path) -> Path:
    """The path of a file in a folder of this package, such as a run's, to be written.

    A symbolic link there goes away: in a stranger's folder it could point at any file.

    Raises:
        InvalidInput: it cannot be removed.
    """
    try:
        if path.is_symlink():
            path.unlink()
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return path


def _mode_of(target: Path) -> int | None:
    """The permissions of the file that is there; `None` where there is none.

    Raises:
        OSError: it is a folder or a device, which must not be replaced.
    """
    try:
        there = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(there.st_mode):
        raise OSError(errno.EINVAL, "it is a folder or a device")
    return stat.S_IMODE(there.st_mode)
