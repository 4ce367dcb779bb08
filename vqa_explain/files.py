"""Files that are written whole or not at all."""

import os
import tempfile
from pathlib import Path

from vqa_explain.errors import unwritable


def write_atomically(path: Path, content: bytes) -> Path:
    """Writes a file whole or not at all.

    Raises:
        InvalidInput: the folder is missing or cannot be written.
    """
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.chmod(name, 0o644)
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except (OSError, ValueError) as error:
        raise unwritable(path, error) from error
    return path
